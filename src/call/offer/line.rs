//! One m-line of a peer's description, read together with the session-level lines that apply to it.

use std::net::{IpAddr, SocketAddr};

use crate::media::{Codec, Direction};

use super::lenient::{FORMAT_LIMIT, MediaLine, Section};
use super::{Capabilities, Local};

/// One stream as the peer describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// `audio`, `video`, …, as written.
    pub(super) media: &'a str,
    pub(super) port: u16,
    /// The refusal that the line must get, whatever else it says.
    pub(super) fault: Option<LineRefusal>,
    /// `RTP/AVP`, as written.
    pub(super) proto: &'a str,
    /// The format list, as written.
    pub(super) fmt: &'a str,
    /// The direction, seen from the peer.
    pub(super) direction: Direction,
    pub(super) remote: Remote,
    /// Whether the peer's address is an IPv4 one (else it is an IPv6 one); `None` when the family is not known.
    is_ipv4: Option<bool>,
    /// Formats that we know, in the peer's order, each once.
    pub(super) formats: Vec<Format>,
    /// Milliseconds of sound the peer wants in a packet.
    pub(super) ptime: Option<u16>,
}

/// A format under its payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) payload_type: u8,
    pub(super) codec: Codec,
}

/// The destination that a peer wants for a stream's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// This address.
    Address(SocketAddr),
    /// This host and port; the name is not resolved.
    Name(String, u16),
    /// Nowhere: `0.0.0.0`, `::` or a name that cannot exist. It can still send (RFC 3264 §8.4, RFC 6157 §4.1).
    Nowhere,
    /// A multicast group.
    Multicast,
    /// The description names none.
    Missing,
}

/// The reason for which a stream is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LineRefusal {
    /// The peer itself has it disabled (port 0).
    #[error("the stream is disabled")]
    Disabled,
    /// A media type that is not audio.
    #[error("media type not available")]
    MediaType,
    /// A transport that is not plain RTP.
    #[error("incompatible transport protocol")]
    Transport,
    /// No address, or one of a family that we do not have here.
    #[error("incompatible network address format")]
    Address,
    /// A multicast group.
    #[error("multicast not available")]
    Multicast,
    /// No format in common.
    #[error("incompatible media format")]
    Format,
    /// A port number that is not valid.
    #[error("no such port")]
    Port,
    /// More streams than a call may have.
    #[error("too many streams")]
    TooMany,
}

impl LineRefusal {
    /// Code and text of a Warning header (RFC 3261 §20.43).
    pub const fn warning(self) -> (u16, &'static str) {
        match self {
            LineRefusal::MediaType => (304, "Media type not available"),
            LineRefusal::Transport => (302, "Incompatible transport protocol"),
            LineRefusal::Address => (301, "Incompatible network address formats"),
            LineRefusal::Multicast => (330, "Multicast not available"),
            LineRefusal::Format => (305, "Incompatible media format"),
            LineRefusal::Port => (399, "No such port"),
            LineRefusal::Disabled | LineRefusal::TooMany => (399, "Stream not available"),
        }
    }
}

impl<'a> Line<'a> {
    /// The stream of a media line, with the lines of its section and of the part before the first one.
    pub(super) fn read(line: MediaLine<'a>, section: &Section<'_>, session: &Section<'_>) -> Self {
        let MediaLine { media, port, proto, fmt, fault } = line;
        let connection = section.connection.or(session.connection);
        let remote = connection.map_or(Remote::Missing, |connection| Remote::read(connection.address, port));
        let is_ipv4 = match &remote {
            Remote::Address(address) => Some(address.is_ipv4()),
            _ => connection.map(|connection| connection.is_ipv4),
        };
        Line {
            formats: formats_of(fmt, section),
            media,
            port,
            fault,
            proto,
            fmt,
            direction: section.direction.or(session.direction).unwrap_or_default(),
            remote,
            is_ipv4,
            ptime: ptime_of(section),
        }
    }

    pub(super) fn is_media(&self, name: &str) -> bool {
        self.media.eq_ignore_ascii_case(name)
    }

    /// Whether anything may be sent to the peer on this stream.
    pub(super) fn wants_to_receive(&self) -> bool {
        self.direction.receives() && self.remote != Remote::Nowhere
    }

    /// Our direction of the stream, seen from our side (RFC 3264 §6.1).
    pub(super) fn our_direction(&self, capabilities: &Capabilities) -> Direction {
        Direction::new(self.wants_to_receive(), self.direction.sends()).and(capabilities.direction)
    }

    /// The formats that an answer to this line names: the first sound format that we take as well, and telephone
    /// events. One sound format is enough for both directions; a peer that is given a choice may ask again which one is
    /// meant.
    pub(super) fn chosen(&self, capabilities: &Capabilities) -> impl Iterator<Item = Format> {
        let sound = self.common(capabilities).find(|format| format.codec.is_sound());
        self.common(capabilities).filter(move |format| !format.codec.is_sound() || Some(*format) == sound)
    }

    /// Our address for the stream: of the family that the peer names, so that both ends of a stream use the same family
    /// (RFC 6157 §4). `None` when we have no address of that family.
    pub(super) fn address(&self, local: &Local) -> Option<IpAddr> {
        self.is_ipv4.map_or(Some(local.address()), |is_ipv4| local.address_of(is_ipv4))
    }

    /// The formats of this line that we take as well, in the peer's order.
    pub(super) fn common(&self, capabilities: &Capabilities) -> impl Iterator<Item = Format> {
        self.formats.iter().copied().filter(|format| capabilities.codecs.contains(&format.codec))
    }

    /// Whether the stream can be taken, when `taken` streams of the call have already been taken.
    pub(super) fn judge(&self, capabilities: &Capabilities, local: &Local, taken: usize) -> Result<(), LineRefusal> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.port == 0 {
            return Err(LineRefusal::Disabled);
        }
        if !self.is_media("audio") {
            return Err(LineRefusal::MediaType);
        }
        // RFC 4585 §3.1: a peer that answers AVPF and gives no feedback attributes behaves as with AVP.
        if !["RTP/AVP", "RTP/AVPF"].iter().any(|proto| self.proto.eq_ignore_ascii_case(proto)) {
            return Err(LineRefusal::Transport);
        }
        match &self.remote {
            Remote::Missing => return Err(LineRefusal::Address),
            Remote::Multicast => return Err(LineRefusal::Multicast),
            Remote::Address(_) if self.address(local).is_none() => return Err(LineRefusal::Address),
            Remote::Address(_) | Remote::Name(..) | Remote::Nowhere => {}
        }
        if !self.common(capabilities).any(|format| format.codec.is_sound()) {
            return Err(LineRefusal::Format);
        }
        if taken >= capabilities.audio_streams { Err(LineRefusal::TooMany) } else { Ok(()) }
    }
}

impl Remote {
    fn read(host: &str, port: u16) -> Self {
        // A multicast address carries a time to live: `224.2.1.1/127` (RFC 8866 §5.7).
        let host = host.split('/').next().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Remote::Nowhere,
            Ok(ip) if ip.is_multicast() => Remote::Multicast,
            Ok(ip) => Remote::Address(SocketAddr::new(ip.to_canonical(), port)),
            Err(_) if is_invalid(host) => Remote::Nowhere,
            Err(_) if is_host_name(host) => Remote::Name(host.to_owned(), port),
            Err(_) => Remote::Missing,
        }
    }
}

/// Whether a name lies under `.invalid` (RFC 2606); as an address it means "nowhere".
fn is_invalid(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("invalid"))
}

fn is_host_name(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // A name of digits and dots alone would be an address; one that is no valid address is no host name either.
    (1..=253).contains(&host.len()) && host.bytes().all(allowed) && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

fn formats_of(fmt: &str, section: &Section<'_>) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for text in fmt.split_ascii_whitespace().take(FORMAT_LIMIT) {
        let Some(payload_type) = text.parse::<u8>().ok().filter(|number| *number < 128) else { continue };
        let Some(codec) = section.codec(payload_type) else { continue };
        if !formats.iter().any(|known| known.codec == codec || known.payload_type == payload_type) {
            formats.push(Format { payload_type, codec });
        }
    }
    formats
}

/// The packet time, if it makes sense; another value counts as absent.
fn ptime_of(section: &Section<'_>) -> Option<u16> {
    let ptime = section.ptime.filter(|ms| (5..=200).contains(ms))?;
    let most = section.maxptime.filter(|ms| *ms >= 5).unwrap_or(u16::MAX);
    Some(ptime.min(most))
}
