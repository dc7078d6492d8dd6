//! The names of parameters (RFC 3435 §3.2.2 and Appendix A).

/// A parameter that RFC 3435 names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Field {
    /// `A`, §3.2.2.2.
    Capabilities,
    /// `B`, §3.2.2.3.
    BearerInformation,
    /// `C`, §3.2.2.5.
    CallId,
    /// `D`, §3.2.2.9 and §2.1.5.
    DigitMap,
    /// `E`, §3.2.2.13.
    ReasonCode,
    /// `ES`, §3.2.2.
    EventStates,
    /// `F`, §3.2.2.18.
    RequestedInfo,
    /// `I`, §3.2.2.6.
    ConnectionId,
    /// `I2`, §2.3.5.
    SecondConnectionId,
    /// `K`, §3.2.2.16.
    ResponseAck,
    /// `L`, §3.2.2.10.
    LocalConnectionOptions,
    /// `M`, §3.2.2.8.
    ConnectionMode,
    /// `MD`, §2.3.10: the largest datagram taken, in bytes.
    MaxDatagram,
    /// `N`, §3.2.2.11.
    NotifiedEntity,
    /// `O`, §3.2.2.12.
    ObservedEvents,
    /// `P`, §3.2.2.7.
    ConnectionParameters,
    /// `PL`, §2.3.10.
    PackageList,
    /// `Q`, §3.2.2.15.
    QuarantineHandling,
    /// `R`, §3.2.2.12.
    RequestedEvents,
    /// `RD`, §3.2.2.
    RestartDelay,
    /// `RM`, §3.2.2.17.
    RestartMethod,
    /// `S`, §3.2.2.12.
    SignalRequests,
    /// `T`, §3.2.2.12.
    DetectEvents,
    /// `X`, §3.2.2.
    RequestIdentifier,
    /// `Z`, §3.2.2.
    SpecificEndpointId,
    /// `Z2`, §2.3.5.
    SecondEndpointId,
    /// `RC` in RequestedInfo only (§3.2.2.18): the remote session description.
    RemoteConnectionDescriptor,
    /// `LC` in RequestedInfo only (§3.2.2.18): the local session description.
    LocalConnectionDescriptor,
}

impl Field {
    /// Every parameter.
    pub const ALL: [Field; 28] = [
        Field::Capabilities,
        Field::BearerInformation,
        Field::CallId,
        Field::DigitMap,
        Field::ReasonCode,
        Field::EventStates,
        Field::RequestedInfo,
        Field::ConnectionId,
        Field::SecondConnectionId,
        Field::ResponseAck,
        Field::LocalConnectionOptions,
        Field::ConnectionMode,
        Field::MaxDatagram,
        Field::NotifiedEntity,
        Field::ObservedEvents,
        Field::ConnectionParameters,
        Field::PackageList,
        Field::QuarantineHandling,
        Field::RequestedEvents,
        Field::RestartDelay,
        Field::RestartMethod,
        Field::SignalRequests,
        Field::DetectEvents,
        Field::RequestIdentifier,
        Field::SpecificEndpointId,
        Field::SecondEndpointId,
        Field::RemoteConnectionDescriptor,
        Field::LocalConnectionDescriptor,
    ];

    /// The parameter that `name` names, in any case; `None` for extensions.
    #[inline]
    pub const fn new(name: &[u8]) -> Option<Self> {
        Some(match *name {
            [one] => match one.to_ascii_uppercase() {
                b'A' => Field::Capabilities,
                b'B' => Field::BearerInformation,
                b'C' => Field::CallId,
                b'D' => Field::DigitMap,
                b'E' => Field::ReasonCode,
                b'F' => Field::RequestedInfo,
                b'I' => Field::ConnectionId,
                b'K' => Field::ResponseAck,
                b'L' => Field::LocalConnectionOptions,
                b'M' => Field::ConnectionMode,
                b'N' => Field::NotifiedEntity,
                b'O' => Field::ObservedEvents,
                b'P' => Field::ConnectionParameters,
                b'Q' => Field::QuarantineHandling,
                b'R' => Field::RequestedEvents,
                b'S' => Field::SignalRequests,
                b'T' => Field::DetectEvents,
                b'X' => Field::RequestIdentifier,
                b'Z' => Field::SpecificEndpointId,
                _ => return None,
            },
            [one, two] => match (one.to_ascii_uppercase(), two.to_ascii_uppercase()) {
                (b'E', b'S') => Field::EventStates,
                (b'I', b'2') => Field::SecondConnectionId,
                (b'M', b'D') => Field::MaxDatagram,
                (b'P', b'L') => Field::PackageList,
                (b'R', b'D') => Field::RestartDelay,
                (b'R', b'M') => Field::RestartMethod,
                (b'Z', b'2') => Field::SecondEndpointId,
                (b'R', b'C') => Field::RemoteConnectionDescriptor,
                (b'L', b'C') => Field::LocalConnectionDescriptor,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Capabilities => "A",
            Field::BearerInformation => "B",
            Field::CallId => "C",
            Field::DigitMap => "D",
            Field::ReasonCode => "E",
            Field::EventStates => "ES",
            Field::RequestedInfo => "F",
            Field::ConnectionId => "I",
            Field::SecondConnectionId => "I2",
            Field::ResponseAck => "K",
            Field::LocalConnectionOptions => "L",
            Field::ConnectionMode => "M",
            Field::MaxDatagram => "MD",
            Field::NotifiedEntity => "N",
            Field::ObservedEvents => "O",
            Field::ConnectionParameters => "P",
            Field::PackageList => "PL",
            Field::QuarantineHandling => "Q",
            Field::RequestedEvents => "R",
            Field::RestartDelay => "RD",
            Field::RestartMethod => "RM",
            Field::SignalRequests => "S",
            Field::DetectEvents => "T",
            Field::RequestIdentifier => "X",
            Field::SpecificEndpointId => "Z",
            Field::SecondEndpointId => "Z2",
            Field::RemoteConnectionDescriptor => "RC",
            Field::LocalConnectionDescriptor => "LC",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_its_field_in_either_case() {
        for (at, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, at);
            assert_eq!(Field::new(field.name().as_bytes()), Some(field));
            assert_eq!(Field::new(field.name().to_ascii_lowercase().as_bytes()), Some(field));
        }
        for other in [&b""[..], b"Y", b"XX", b"X-Size", b"X+Size", b"aasrv/Hdr"] {
            assert_eq!(Field::new(other), None);
        }
    }
}
