//! The formats and the direction of a stream: the vocabulary that the SDP of a call and its packets share.

/// An audio format that is taken. All run at 8,000 samples a second, one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law (RFC 3551 §4.5.14), payload type 0.
    Pcmu,
    /// G.711 A-law (RFC 3551 §4.5.14), payload type 8.
    Pcma,
    /// Keys and tones as events (RFC 4733), a dynamic payload type.
    TelephoneEvent,
}

/// Samples a second of every [`Codec`].
pub const CLOCK_RATE: u32 = 8_000;

impl Codec {
    /// Its encoding name in an `rtpmap` (RFC 8866 §6.6).
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::TelephoneEvent => "telephone-event",
        }
    }

    /// The payload type that stands for it without an `rtpmap`, or the one offered by custom.
    pub const fn usual_payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::TelephoneEvent => 101,
        }
    }

    /// The codec of a static payload type (RFC 3551 §6).
    pub const fn of_static(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Codec::Pcmu),
            8 => Some(Codec::Pcma),
            _ => None,
        }
    }

    /// The codec that an `rtpmap` names: `PCMU/8000`, with or without `/1`. Names are compared without regard to case.
    pub fn of_rtpmap(encoding: &[u8]) -> Option<Self> {
        let mut parts = encoding.trim_ascii().split(|byte| *byte == b'/');
        let (name, rate, channels) = (parts.next()?, parts.next()?, parts.next().unwrap_or(b"1"));
        let mut codecs = [Codec::Pcmu, Codec::Pcma, Codec::TelephoneEvent].into_iter();
        let codec = codecs.find(|codec| codec.name().as_bytes().eq_ignore_ascii_case(name))?;
        let number = |text: &[u8]| std::str::from_utf8(text.trim_ascii()).ok()?.parse::<u32>().ok();
        (number(rate) == Some(CLOCK_RATE) && number(channels) == Some(1)).then_some(codec)
    }

    /// Whether it carries sound by itself; events only accompany a sound.
    pub const fn is_sound(self) -> bool {
        !matches!(self, Codec::TelephoneEvent)
    }
}

/// One negotiated format with the numbers it has in either direction.
///
/// The numbers are nearly always equal. They differ when an answer gives a format another number than the offer did
/// (RFC 3264 §6.1 allows it): each side is sent the number that it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The format.
    pub codec: Codec,
    /// The payload type that arriving packets carry.
    pub receive: u8,
    /// The payload type of packets that are sent.
    pub send: u8,
}

/// The formats of one stream, first choice first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payloads {
    list: [Option<Payload>; Payloads::LIMIT],
}

impl Payloads {
    /// Formats one stream can have; more are left out.
    pub const LIMIT: usize = 4;

    /// Adds a format; false when the list is full.
    pub fn push(&mut self, payload: Payload) -> bool {
        let Some(place) = self.list.iter_mut().find(|place| place.is_none()) else { return false };
        *place = Some(payload);
        true
    }

    /// The formats, first choice first.
    pub fn iter(&self) -> impl Iterator<Item = Payload> + '_ {
        self.list.iter().flatten().copied()
    }

    /// The format of an arriving packet with this payload type.
    pub fn received_as(&self, payload_type: u8) -> Option<Payload> {
        self.iter().find(|payload| payload.receive == payload_type)
    }

    /// Whether one of them carries sound.
    pub fn has_sound(&self) -> bool {
        self.iter().any(|payload| payload.codec.is_sound())
    }
}

impl FromIterator<Payload> for Payloads {
    fn from_iter<I: IntoIterator<Item = Payload>>(payloads: I) -> Self {
        let mut list = Payloads::default();
        payloads.into_iter().all(|payload| list.push(payload));
        list
    }
}

/// The direction in which media flows, seen from one side (RFC 3264 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// This side sends.
    SendOnly,
    /// This side receives.
    RecvOnly,
    /// Neither side sends.
    Inactive,
}

impl Direction {
    /// The direction with these two halves.
    pub const fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The direction that an attribute's name states, in any case.
    pub fn of_attribute(name: &[u8]) -> Option<Self> {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|direction| name.eq_ignore_ascii_case(direction.attribute().as_bytes()))
    }

    /// The name of its attribute.
    pub const fn attribute(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// Whether this side sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether this side receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The direction that both sides allow; both are told from the same side.
    pub const fn and(self, other: Direction) -> Self {
        Direction::new(self.sends() && other.sends(), self.receives() && other.receives())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rtpmap_names_a_codec_in_any_case_and_with_one_channel_only() {
        assert_eq!(Codec::of_rtpmap(b"PCMU/8000"), Some(Codec::Pcmu));
        assert_eq!(Codec::of_rtpmap(b"pcma/8000/1"), Some(Codec::Pcma));
        assert_eq!(Codec::of_rtpmap(b"Telephone-Event/8000"), Some(Codec::TelephoneEvent));
        for other in ["PCMU/16000", "PCMU/8000/2", "PCMU", "opus/48000/2", "telephone-event/48000", "", "/", "PCMU/x"] {
            assert_eq!(Codec::of_rtpmap(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn directions_meet() {
        use Direction::*;
        for direction in [SendRecv, SendOnly, RecvOnly, Inactive] {
            assert_eq!(direction.and(SendRecv), direction);
            assert_eq!(direction.and(Inactive), Inactive);
            assert_eq!(Direction::of_attribute(direction.attribute().as_bytes()), Some(direction));
        }
        assert_eq!(SendOnly.and(RecvOnly), Inactive);
    }

    #[test]
    fn a_full_list_of_payloads_takes_no_more() {
        let payload = |number| Payload { codec: Codec::Pcmu, receive: number, send: number };
        let payloads: Payloads = (0..9).map(payload).collect();
        assert_eq!(payloads.iter().count(), Payloads::LIMIT);
        assert_eq!(payloads.received_as(3), Some(payload(3)));
        assert_eq!(payloads.received_as(4), None);
    }
}
