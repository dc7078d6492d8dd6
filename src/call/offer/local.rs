//! Our side of a call's negotiation: the numbering of our descriptions, and our lines so far.

use std::net::{IpAddr, SocketAddr};

use crate::media::{Codec, Direction, Payload, Payloads};
use crate::wire::{push_ip, push_number};

/// Our session descriptions of a call, from the first to the last.
///
/// RFC 3264 §8: descriptions of one session share the session id; the version rises by one whenever the description
/// differs from the one before, and only then. Lines keep their place and are never fewer than before.
#[derive(Clone, Debug)]
pub struct Local {
    session: u64,
    version: u64,
    address: IpAddr,
    /// Our address of the other family, if one is known.
    other: Option<IpAddr>,
    lines: Vec<LocalLine>,
    /// The last description without its `o=` line.
    said: Vec<u8>,
}

/// One of our lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LocalLine {
    /// A line with port 0, and the other fields of its m-line.
    Refused { media: String, proto: String, fmt: String },
    /// A stream we take.
    Audio(Audio),
}

/// An audio line as we state it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Audio {
    pub(super) proto: String,
    /// Our address in the line.
    pub(super) ip: IpAddr,
    /// The address at which we receive; `None` while the stream is inactive and has no port.
    pub(super) rtp: Option<SocketAddr>,
    pub(super) direction: Direction,
    pub(super) payloads: Payloads,
    pub(super) ptime: Option<u16>,
}

/// The discard port: an inactive stream without a port of its own names it. Port 0 would end the stream.
const DISCARD: u16 = 9;

impl Local {
    /// The side of a call before its first description. `session` becomes the session id, and should be different for
    /// each call; `address` is the address we are reached at.
    pub const fn new(session: u64, address: IpAddr) -> Self {
        // Some peers read the id as a double or a signed number: 53 bits suit all.
        Local {
            session: session & ((1 << 53) - 1),
            version: 1,
            address,
            other: None,
            lines: Vec::new(),
            said: Vec::new(),
        }
    }

    /// The address we are reached at.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Sets our address of the other family; without one, streams of that family are refused.
    pub fn set_other(&mut self, other: IpAddr) {
        if other.is_ipv4() != self.address.is_ipv4() {
            self.other = Some(other);
        }
    }

    /// Our address of this family.
    pub fn address_of(&self, is_ipv4: bool) -> Option<IpAddr> {
        [Some(self.address), self.other].into_iter().flatten().find(|ip| ip.is_ipv4() == is_ipv4)
    }

    /// The address that one of our lines names, or the next description will name in it.
    pub fn address_at(&self, line: usize) -> IpAddr {
        match self.lines.get(line) {
            Some(LocalLine::Audio(audio)) => audio.ip,
            _ => self.address,
        }
    }

    /// The version of the last description.
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn lines(&self) -> &[LocalLine] {
        &self.lines
    }

    pub(super) fn line_mut(&mut self, line: usize) -> Option<&mut LocalLine> {
        self.lines.get_mut(line)
    }

    /// States `lines`; returns the description, with its version raised when it differs from the last.
    pub(super) fn say(&mut self, lines: Vec<LocalLine>, time: (u64, u64)) -> Vec<u8> {
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(b"s=-\r\nc=");
        push_connection(&mut text, self.address);
        text.extend_from_slice(b"\r\nt=");
        push_number(&mut text, time.0);
        text.push(b' ');
        push_number(&mut text, time.1);
        text.extend_from_slice(b"\r\n");
        lines.iter().for_each(|line| line.write(&mut text, self.address));
        self.lines = lines;
        if text != self.said {
            // The first description has the first version.
            self.version += u64::from(!self.said.is_empty());
            self.said = text;
        }
        let mut description = Vec::with_capacity(self.said.len() + 64);
        description.extend_from_slice(b"v=0\r\no=- ");
        push_number(&mut description, self.session);
        description.push(b' ');
        push_number(&mut description, self.version);
        description.push(b' ');
        push_connection(&mut description, self.address);
        description.extend_from_slice(b"\r\n");
        description.extend_from_slice(&self.said);
        description
    }
}

impl LocalLine {
    /// Whether it is a disabled audio stream over plain RTP.
    pub(super) fn is_disabled_audio(&self) -> bool {
        matches!(self, LocalLine::Refused { media, proto, .. }
            if media.eq_ignore_ascii_case("audio") && proto.eq_ignore_ascii_case("RTP/AVP"))
    }

    fn write(&self, text: &mut Vec<u8>, address: IpAddr) {
        let audio = match self {
            LocalLine::Refused { media, proto, fmt } => {
                let pieces = ["m=", media, " 0 ", proto, " ", fmt, "\r\n"];
                return pieces.iter().for_each(|piece| text.extend_from_slice(piece.as_bytes()));
            }
            LocalLine::Audio(audio) => audio,
        };
        text.extend_from_slice(b"m=audio ");
        push_number(text, audio.rtp.map_or(DISCARD, |rtp| rtp.port()));
        text.push(b' ');
        text.extend_from_slice(audio.proto.as_bytes());
        for payload in audio.payloads.iter() {
            text.push(b' ');
            push_number(text, payload.receive);
        }
        text.extend_from_slice(b"\r\n");
        if audio.ip != address {
            text.extend_from_slice(b"c=");
            push_connection(text, audio.ip);
            text.extend_from_slice(b"\r\n");
        }
        for Payload { codec, receive, .. } in audio.payloads.iter() {
            text.extend_from_slice(b"a=rtpmap:");
            push_number(text, receive);
            text.push(b' ');
            text.extend_from_slice(codec.name().as_bytes());
            text.extend_from_slice(b"/8000\r\n");
            if codec == Codec::TelephoneEvent {
                // The sixteen keys (RFC 4733 §3.2).
                text.extend_from_slice(b"a=fmtp:");
                push_number(text, receive);
                text.extend_from_slice(b" 0-15\r\n");
            }
        }
        if let Some(ptime) = audio.ptime {
            text.extend_from_slice(b"a=ptime:");
            push_number(text, ptime);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"a=");
        text.extend_from_slice(audio.direction.attribute().as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

/// Appends an address as `o=` and `c=` state it.
fn push_connection(text: &mut Vec<u8>, address: IpAddr) {
    text.extend_from_slice(if address.is_ipv4() { b"IN IP4 " } else { b"IN IP6 " });
    push_ip(text, address);
}
