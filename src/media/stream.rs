//! One RTP stream with its two halves: packets that arrive on a port, and packets that leave from it as a stream of
//! ours.
//!
//! The halves are one value because they share the terms, the latch and the RTCP. The caller decides whose sound goes
//! into which stream: [`super::Echo`] sends the sound that it receives, a bridge sends each stream the sound of the
//! other.
//!
//! A packet that leaves has a header of ours in front of the payload, written in the buffer the packet arrived in. It
//! has our SSRC and the sequence numbers and timestamps of one unbroken stream, whatever the sender does (it may start
//! over or be replaced by another). The sender's losses, reorderings and marker are kept. Contributing sources, header
//! extensions and padding are left out: they were not negotiated with us. The payload itself is not read. A rate cap
//! limits the loop that arises when two of our streams are pointed at each other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rtp_types::RtpPacket;

use crate::time::Time;

use super::codec::{Codec, Direction, Payloads};
use super::latch::{Expected, Latch, continues};
use super::rtcp::{self, Answered, Reception, Reporter, Sent};

/// Packets of one stream that are taken in a second: twice the rate of 5 ms packets, events included.
pub const RATE_LIMIT: u32 = 400;

const HEADER: usize = RtpPacket::MIN_RTP_PACKET_LEN;

/// The agreement of an offer and its answer on one line, seen from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The direction in which media flows.
    pub direction: Direction,
    /// The address at which the peer wants its packets; `None` when it named no usable one (hold, or a host name not
    /// yet resolved).
    pub remote: Option<SocketAddr>,
    /// The formats.
    pub payloads: Payloads,
}

/// One stream, both ways.
#[derive(Clone, Debug)]
pub struct Stream {
    ssrc: u32,
    payloads: Payloads,
    direction: Direction,
    latch: Latch,
    thread: Option<Thread>,
    last: Last,
    rate: Rate,
    reception: Option<Reception>,
    received: Received,
    sent: Sent,
    reporter: Reporter,
}

/// Counts of received packets, from all sources together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets.
    pub packets: u64,
    /// Octets of payload.
    pub octets: u64,
    /// Packets lost by the sources before the present one.
    lost_before: u64,
}

/// The mapping from the sender's sequence numbers and timestamps to ours, for as long as they continue.
#[derive(Clone, Copy, Debug)]
struct Thread {
    ssrc: u32,
    /// The highest of the sender's sequence numbers.
    highest: u16,
    sequence_shift: u16,
    timestamp_shift: u32,
}

/// The highest sequence number and timestamp that we have sent.
#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: u16,
    timestamp: u32,
    at: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    second: u64,
    count: u32,
}

/// The reason for which a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Not RTP version 2, or cut short.
    NotRtp,
    /// RTCP on the RTP port; it was not negotiated there (RFC 5761).
    Rtcp,
    /// A payload type that was not negotiated, or a format that the other stream does not send.
    PayloadType,
    /// The packet is from another sender than the stream's.
    OtherSender,
    /// Our own packet.
    Loop,
    /// The direction says that nothing is received, or nothing sent (hold).
    Held,
    /// More packets a second than any negotiated format makes.
    TooFast,
    /// The terms name no address to send to.
    NoAddress,
}

impl Dropped {
    /// Its name in counters.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::NotRtp => "not-rtp",
            Dropped::Rtcp => "rtcp",
            Dropped::PayloadType => "payload-type",
            Dropped::OtherSender => "other-sender",
            Dropped::Loop => "loop",
            Dropped::Held => "held",
            Dropped::TooFast => "too-fast",
            Dropped::NoAddress => "no-address",
        }
    }
}

impl Stream {
    /// A stream on these terms. From `seed` come our SSRC and the first sequence number and timestamp, which RFC 3550
    /// §5.1 wants random. `signalling` is the host that the signalling comes from, see [`Expected`].
    pub fn new(seed: u64, terms: &Terms, signalling: Option<IpAddr>) -> Self {
        let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let ssrc = (seed ^ seed >> 32) as u32;
        Stream {
            ssrc,
            payloads: terms.payloads,
            direction: terms.direction,
            latch: Latch::new(Expected { media: terms.remote, signalling }),
            thread: None,
            last: Last { sequence: spread as u16, timestamp: (spread >> 32) as u32, at: None },
            rate: Rate::default(),
            reception: None,
            received: Received::default(),
            sent: Sent::default(),
            reporter: Reporter::new(ssrc),
        }
    }

    /// Changes the terms; the packets we send go on as the same stream.
    pub fn set_terms(&mut self, terms: &Terms, signalling: Option<IpAddr>) {
        if terms.direction != self.direction {
            // Our numbers go on after a hold from the last one sent, so the pause does not look like a loss.
            self.thread = None;
        }
        self.payloads = terms.payloads;
        self.direction = terms.direction;
        self.latch.expect(Expected { media: terms.remote, signalling });
    }

    /// Judges and counts a packet from the RTP port. The caller checks the stream's direction before it passes the
    /// sound on.
    pub fn receive(&mut self, packet: &[u8], source: SocketAddr, now: Time) -> Result<Arrived, Dropped> {
        if rtcp::is_rtcp(packet) {
            return Err(Dropped::Rtcp);
        }
        let arrived = Arrived::read(packet, &self.payloads)?;
        if arrived.ssrc == self.ssrc {
            return Err(Dropped::Loop);
        }
        if !self.latch.on_packet(source, arrived.ssrc, arrived.sequence, now) {
            return Err(Dropped::OtherSender);
        }
        // The rate is checked after the latch: a stranger's flood must not use up the stream's allowance.
        if !self.rate.admits(now) {
            return Err(Dropped::TooFast);
        }
        self.received.packets += 1;
        self.received.octets += arrived.octets() as u64;
        match &mut self.reception {
            Some(reception) if reception.ssrc() == arrived.ssrc => {
                reception.on_packet(arrived.sequence, arrived.timestamp, now);
            }
            reception => {
                self.received.lost_before += reception.map_or(0, |before| before.lost().max(0) as u64);
                *reception = Some(Reception::new(arrived.ssrc, arrived.sequence, arrived.timestamp, now));
            }
        }
        Ok(arrived)
    }

    /// Turns a packet that arrived here, or at another stream, into one of ours, in the buffer that it lies in.
    pub fn send<'a>(
        &mut self,
        arrived: &Arrived,
        payload_type: u8,
        packet: &'a mut [u8],
        now: Time,
    ) -> Result<&'a [u8], Dropped> {
        if !self.direction.sends() {
            return Err(Dropped::Held);
        }
        let (sequence, timestamp) = self.renumber(arrived, now);
        self.sent.packets += 1;
        self.sent.octets += arrived.octets() as u64;
        self.sent.last = Some((timestamp, now));
        let marker = if arrived.marker { 0x80 } else { 0 };
        let header = write_header(marker | payload_type, sequence, timestamp, self.ssrc);
        // The payload lies behind a header of at least twelve bytes: there is always room in front of it.
        let out = packet.get_mut(arrived.payload_begin - HEADER..arrived.end).ok_or(Dropped::NotRtp)?;
        out.get_mut(..HEADER).ok_or(Dropped::NotRtp)?.copy_from_slice(&header);
        Ok(out)
    }

    /// As [`Stream::send`], for a packet that arrived at another stream: it leaves with the payload type that its
    /// format has here, to the address at which this stream's other end wants its packets.
    ///
    /// Behind a NAT that address is the source of this stream's packets, if their sender is believed. The sound comes
    /// from another caller and is not an echo, so a stranger who sends to an open port must not get to hear it.
    pub fn forward<'a>(
        &mut self,
        arrived: &Arrived,
        packet: &'a mut [u8],
        now: Time,
    ) -> Result<(SocketAddr, &'a [u8]), Dropped> {
        if !self.direction.sends() {
            return Err(Dropped::Held);
        }
        let to = self.latch.destination().ok_or(Dropped::NoAddress)?;
        let Some(payload) = self.payloads.iter().find(|payload| payload.codec == arrived.codec) else {
            self.pass_over(arrived);
            return Err(Dropped::PayloadType);
        };
        Ok((to, self.send(arrived, payload.send, packet, now)?))
    }

    /// Whether RTCP from `source` is the other end's.
    pub fn takes_rtcp(&self, source: SocketAddr) -> bool {
        self.latch.takes_rtcp(source)
    }

    /// Takes a packet from the RTCP port; an answer, when one is due, is appended to `out` and goes back to `source`.
    pub fn on_rtcp(&mut self, packet: &[u8], source: SocketAddr, now: Time, out: &mut Vec<u8>) -> Answered {
        if !self.latch.takes_rtcp(source) {
            return Answered::No;
        }
        self.reporter.on_rtcp(packet, self.reception.as_mut(), &self.sent, now, out)
    }

    /// The direction in which media flows.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The formats.
    pub const fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// The address that packets come from; `None` until one has arrived.
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.latch.remote()
    }

    /// When the stream's sender was last heard; `None` when never.
    pub const fn heard(&self) -> Option<Time> {
        self.latch.heard()
    }

    /// Our synchronisation source.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Counts of the packets sent so far.
    pub const fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Reception statistics of the present source.
    pub const fn reception(&self) -> Option<&Reception> {
        self.reception.as_ref()
    }

    /// Counts of the packets received, from all sources.
    pub const fn received(&self) -> Received {
        self.received
    }

    /// Packets that were expected and did not come, from all sources.
    pub fn lost(&self) -> u64 {
        self.received.lost_before + self.reception.as_ref().map_or(0, |reception| reception.lost().max(0) as u64)
    }

    /// Half the last round trip that the peer's reports gave; `None` before the first one.
    pub fn latency(&self) -> Option<Duration> {
        self.reporter.round_trip().map(|whole| whole / 2)
    }

    fn renumber(&mut self, arrived: &Arrived, now: Time) -> (u16, u32) {
        let thread = match &mut self.thread {
            Some(thread) if thread.ssrc == arrived.ssrc && continues(thread.highest, arrived.sequence) => thread,
            thread => {
                let next = self.last.sequence.wrapping_add(1);
                let passed = self.last.at.map_or(Duration::ZERO, |at| now.since(at));
                let timestamp = self.last.timestamp.wrapping_add(rtcp::samples(Time(passed.as_micros() as u64)));
                thread.insert(Thread {
                    ssrc: arrived.ssrc,
                    highest: arrived.sequence,
                    sequence_shift: next.wrapping_sub(arrived.sequence),
                    timestamp_shift: timestamp.wrapping_sub(arrived.timestamp),
                })
            }
        };
        let sequence = arrived.sequence.wrapping_add(thread.sequence_shift);
        let timestamp = arrived.timestamp.wrapping_add(thread.timestamp_shift);
        if arrived.sequence.wrapping_sub(thread.highest) < u16::MAX / 2 {
            thread.highest = arrived.sequence;
            self.last = Last { sequence, timestamp, at: Some(now) };
        }
        (sequence, timestamp)
    }

    /// Closes the gap that a packet which does not leave here would make in our numbers: the peer would count it as
    /// lost.
    fn pass_over(&mut self, arrived: &Arrived) {
        if let Some(thread) = self.thread.as_mut().filter(|thread| thread.ssrc == arrived.ssrc)
            && (1..u16::MAX / 2).contains(&arrived.sequence.wrapping_sub(thread.highest))
        {
            thread.highest = arrived.sequence;
            thread.sequence_shift = thread.sequence_shift.wrapping_sub(1);
        }
    }
}

impl Rate {
    fn admits(&mut self, now: Time) -> bool {
        let second = now.0 / 1_000_000;
        if second != self.second {
            *self = Rate { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= RATE_LIMIT
    }
}

/// A packet that has arrived: the fields of its header, and the bounds of its payload.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The format it came in.
    pub codec: Codec,
    /// The number that this format has in packets to its sender.
    pub answered_as: u8,
    marker: bool,
    payload_begin: usize,
    end: usize,
}

impl Arrived {
    fn read(packet: &[u8], payloads: &Payloads) -> Result<Self, Dropped> {
        let read = RtpPacket::parse(packet).map_err(|_| Dropped::NotRtp)?;
        let payload_begin = read.payload_offset();
        let end = packet.len().checked_sub(usize::from(read.padding().unwrap_or(0)));
        let end = end.filter(|end| payload_begin <= *end).ok_or(Dropped::NotRtp)?;
        let payload = payloads.received_as(read.payload_type()).ok_or(Dropped::PayloadType)?;
        Ok(Arrived {
            ssrc: read.ssrc(),
            sequence: read.sequence_number(),
            timestamp: read.timestamp(),
            codec: payload.codec,
            answered_as: payload.send,
            marker: read.marker_bit(),
            payload_begin,
            end,
        })
    }

    const fn octets(&self) -> usize {
        self.end - self.payload_begin
    }
}

fn write_header(marker_and_type: u8, sequence: u16, timestamp: u32, ssrc: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[0] = 0x80;
    header[1] = marker_and_type;
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[4..8].copy_from_slice(&timestamp.to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.to_be_bytes());
    header
}

#[cfg(test)]
mod tests;
