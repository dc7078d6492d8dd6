//! Our side of a call's negotiation: the numbering of our descriptions, and our lines so far.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::media::{Codec, Direction, Payload, Payloads};

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
    said: String,
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
            said: String::new(),
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
        let mut text = String::with_capacity(256);
        let family = family(self.address);
        // Writing to a String cannot fail.
        let _ = write!(text, "s=-\r\nc=IN {family} {}\r\nt={} {}\r\n", self.address, time.0, time.1);
        lines.iter().for_each(|line| line.write(&mut text, self.address));
        self.lines = lines;
        if text != self.said {
            // The first description has the first version.
            self.version += u64::from(!self.said.is_empty());
            self.said = text;
        }
        let mut description = String::with_capacity(self.said.len() + 64);
        let _ = write!(description, "v=0\r\no=- {} {} IN {family} {}\r\n", self.session, self.version, self.address);
        description.push_str(&self.said);
        description.into_bytes()
    }
}

impl LocalLine {
    /// Whether it is a disabled audio stream over plain RTP.
    pub(super) fn is_disabled_audio(&self) -> bool {
        matches!(self, LocalLine::Refused { media, proto, .. }
            if media.eq_ignore_ascii_case("audio") && proto.eq_ignore_ascii_case("RTP/AVP"))
    }

    fn write(&self, text: &mut String, address: IpAddr) {
        let audio = match self {
            LocalLine::Refused { media, proto, fmt } => {
                let _ = write!(text, "m={media} 0 {proto} {fmt}\r\n");
                return;
            }
            LocalLine::Audio(audio) => audio,
        };
        let port = audio.rtp.map_or(DISCARD, |rtp| rtp.port());
        let _ = write!(text, "m=audio {port} {}", audio.proto);
        for payload in audio.payloads.iter() {
            let _ = write!(text, " {}", payload.receive);
        }
        text.push_str("\r\n");
        if audio.ip != address {
            let _ = write!(text, "c=IN {} {}\r\n", family(audio.ip), audio.ip);
        }
        for Payload { codec, receive, .. } in audio.payloads.iter() {
            let _ = write!(text, "a=rtpmap:{receive} {}/8000\r\n", codec.name());
            if codec == Codec::TelephoneEvent {
                // The sixteen keys (RFC 4733 §3.2).
                let _ = write!(text, "a=fmtp:{receive} 0-15\r\n");
            }
        }
        if let Some(ptime) = audio.ptime {
            let _ = write!(text, "a=ptime:{ptime}\r\n");
        }
        let _ = write!(text, "a={}\r\n", audio.direction.attribute());
    }
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IP4",
        IpAddr::V6(_) => "IP6",
    }
}
