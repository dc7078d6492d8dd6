//! The record of a message that is handed over (`Message`, `Unanswered`).
//!
//! Fixed part, offsets from its begin:
//!
//! ```text
//!  0  u64  sequence number            8  u64  received (µs, monotonic)     16  u64  deadline (µs, monotonic; 0: none)
//! 24  u64  way back, 0: datagram      32  u32  size                         36  u16  listener
//! 38  u8   transport: 0 UDP, 1 TCP, 2 TLS, 3 WS, 4 WSS, 5 MGCP
//! 39  u8   flags: 1 pinned, 2 handed over before, 4 follows a call, 8 a 180 is due before the answer,
//!          16 it names its size, 32 alias
//! 40  source: u16 port, u8 family (4, 6), u8 reserved, 16 bytes address (IPv4 in the first four)
//! 60  local address, same form        80  u32  IPv6 scope of the source
//! ```

use std::net::SocketAddr;

use super::frame::{FRAME_SOFT_LIMIT, FrameBuilder, FrameError, RECORD_HEADER, put_record_header};
use super::numbers::{put_address, put_u16, put_u32, put_u64, read_address, u16_at, u32_at, u64_at};
use crate::ids::{ListenerId, Seq};
use crate::time::Time;
use crate::words::{Envelope, Message, ReplyTo, Transport};

/// The bytes in front of a [`Message`] record's payload: record header and fixed part.
pub const MESSAGE_HEADER: usize = RECORD_HEADER + MESSAGE_FIXED;

pub(super) const MESSAGE_FIXED: usize = 84;

const PINNED: u8 = 1;
const AGAIN: u8 = 2;
const FOLLOWS: u8 = 4;
const RING_FIRST: u8 = 8;
const NAMES_SIZE: u8 = 16;
const ALIAS: u8 = 32;

impl FrameBuilder {
    /// Whether a record with `payload` bytes besides its fixed part fits below the soft limit.
    pub fn fits(&self, payload: usize) -> bool {
        self.len() + RECORD_HEADER + MESSAGE_FIXED + payload <= FRAME_SOFT_LIMIT
    }

    pub(super) fn push_message(&mut self, kind: u8, message: &Message<'_>) {
        let mut header = message_header(&message.envelope, message.payload.len());
        header[0] = kind;
        self.push_records(&header);
        self.push_records(message.payload);
    }
}

/// The bytes before a message's payload of `payload_length` bytes.
pub fn message_header(envelope: &Envelope, payload_length: usize) -> [u8; MESSAGE_HEADER] {
    let mut bytes = [0; MESSAGE_HEADER];
    put_record_header(&mut bytes, 2, MESSAGE_FIXED, MESSAGE_HEADER + payload_length);
    let fixed = &mut bytes[RECORD_HEADER..];
    put_u64(fixed, 0, envelope.seq.0);
    put_u64(fixed, 8, envelope.received.0);
    put_u64(fixed, 16, envelope.deadline.map_or(0, |deadline| deadline.0));
    put_u64(fixed, 24, envelope.reply_to.number());
    put_u32(fixed, 32, envelope.size);
    put_u16(fixed, 36, envelope.listener.0);
    fixed[38] = transport_code(envelope.transport);
    fixed[39] = if envelope.pinned { PINNED } else { 0 }
        | if envelope.again { AGAIN } else { 0 }
        | if envelope.follows { FOLLOWS } else { 0 }
        | if envelope.ring_first { RING_FIRST } else { 0 }
        | if envelope.names_size { NAMES_SIZE } else { 0 }
        | if envelope.alias { ALIAS } else { 0 };
    put_address(&mut fixed[40..60], envelope.source);
    put_address(&mut fixed[60..80], envelope.local);
    if let SocketAddr::V6(v6) = envelope.source {
        put_u32(fixed, 80, v6.scope_id());
    }
    bytes
}

/// The deadline of a `Message` record that begins with these bytes.
pub fn deadline_of(record: &[u8]) -> Option<Time> {
    let deadline = record.get(..MESSAGE_HEADER).map_or(0, |header| u64_at(header, RECORD_HEADER + 16));
    (deadline != 0).then_some(Time(deadline))
}

pub(super) fn read_envelope(fixed: &[u8]) -> Result<Envelope, FrameError> {
    let bad = |field| FrameError::Value { kind: 2, field };
    let mut source = read_address(&fixed[40..60]).ok_or(bad("source"))?;
    if let SocketAddr::V6(v6) = &mut source {
        v6.set_scope_id(u32_at(fixed, 80));
    }
    let deadline = u64_at(fixed, 16);
    Ok(Envelope {
        seq: Seq(u64_at(fixed, 0)),
        received: Time(u64_at(fixed, 8)),
        deadline: (deadline != 0).then_some(Time(deadline)),
        reply_to: ReplyTo::of(u64_at(fixed, 24)),
        size: u32_at(fixed, 32),
        names_size: fixed[39] & NAMES_SIZE != 0,
        listener: ListenerId(u16_at(fixed, 36)),
        transport: transport(fixed[38]).ok_or(bad("transport"))?,
        pinned: fixed[39] & PINNED != 0,
        again: fixed[39] & AGAIN != 0,
        follows: fixed[39] & FOLLOWS != 0,
        ring_first: fixed[39] & RING_FIRST != 0,
        alias: fixed[39] & ALIAS != 0,
        source,
        local: read_address(&fixed[60..80]).ok_or(bad("local address"))?,
    })
}

const fn transport_code(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
        Transport::Mgcp => 5,
    }
}

const fn transport(code: u8) -> Option<Transport> {
    Some(match code {
        0 => Transport::Udp,
        1 => Transport::Tcp,
        2 => Transport::Tls,
        3 => Transport::Ws,
        4 => Transport::Wss,
        5 => Transport::Mgcp,
        _ => return None,
    })
}
