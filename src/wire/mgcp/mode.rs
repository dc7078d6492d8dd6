//! Connection modes (RFC 3435 §2.3.5, §3.2.2.8).

/// The mode of a connection: the directions of its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionMode {
    /// Only to the network.
    SendOnly,
    /// Only from the network.
    RecvOnly,
    /// Both ways.
    SendRecv,
    /// Mixed with the endpoint's other connections of this mode.
    Conference,
    /// Neither way.
    Inactive,
    /// Media from the circuit goes back to it.
    Loopback,
    /// A continuity test of the circuit.
    ContinuityTest,
    /// Media from the network goes back to it.
    NetworkLoop,
    /// Media from the network goes back to it through the endpoint's codec.
    NetworkTest,
}

impl ConnectionMode {
    /// Every mode.
    pub const ALL: [ConnectionMode; 9] = [
        ConnectionMode::SendOnly,
        ConnectionMode::RecvOnly,
        ConnectionMode::SendRecv,
        ConnectionMode::Conference,
        ConnectionMode::Inactive,
        ConnectionMode::Loopback,
        ConnectionMode::ContinuityTest,
        ConnectionMode::NetworkLoop,
        ConnectionMode::NetworkTest,
    ];

    /// The mode that `name` names, in any case. `None` for modes of packages and unknown ones; the answer is 517.
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| name.eq_ignore_ascii_case(mode.name().as_bytes()))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            ConnectionMode::SendOnly => "sendonly",
            ConnectionMode::RecvOnly => "recvonly",
            ConnectionMode::SendRecv => "sendrecv",
            ConnectionMode::Conference => "confrnce",
            ConnectionMode::Inactive => "inactive",
            ConnectionMode::Loopback => "loopback",
            ConnectionMode::ContinuityTest => "conttest",
            ConnectionMode::NetworkLoop => "netwloop",
            ConnectionMode::NetworkTest => "netwtest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case_and_others_are_none() {
        for mode in ConnectionMode::ALL {
            assert_eq!(ConnectionMode::parse(mode.name().to_ascii_uppercase().as_bytes()), Some(mode));
        }
        assert_eq!(ConnectionMode::parse(b"conference"), None);
        assert_eq!(ConnectionMode::parse(b"fxr/fax"), None);
    }
}
