//! The directions that a connection mode lets through (RFC 3435 §2.3.5 and §3.2.2.8).

use crate::media::Direction;
use crate::wire::mgcp::{ConnectionMode, ReturnCode};

/// The modes of this gateway's connections.
pub(super) const MODES: &[ConnectionMode] = &[
    ConnectionMode::SendOnly,
    ConnectionMode::RecvOnly,
    ConnectionMode::SendRecv,
    ConnectionMode::Inactive,
    ConnectionMode::Loopback,
    ConnectionMode::ContinuityTest,
    ConnectionMode::NetworkLoop,
    ConnectionMode::NetworkTest,
];

/// Reads `M:`. Conferences are refused until there is a mixer; `data` and modes of packages are not for voice.
pub(super) fn parse(value: &[u8]) -> Result<ConnectionMode, ReturnCode> {
    ConnectionMode::parse(value).filter(|mode| MODES.contains(mode)).ok_or(ReturnCode::UNSUPPORTED_MODE)
}

/// The direction that a mode lets through, seen from our side.
pub(super) const fn direction(mode: ConnectionMode) -> Direction {
    match mode {
        ConnectionMode::SendOnly => Direction::SendOnly,
        ConnectionMode::RecvOnly => Direction::RecvOnly,
        ConnectionMode::Inactive => Direction::Inactive,
        ConnectionMode::SendRecv
        | ConnectionMode::Conference
        | ConnectionMode::Loopback
        | ConnectionMode::ContinuityTest
        | ConnectionMode::NetworkLoop
        | ConnectionMode::NetworkTest => Direction::SendRecv,
    }
}

/// Whether received sound goes back out. There is no circuit here that `loopback` and `conttest` could test: their test
/// ends at the network stream.
pub(super) const fn is_echo(mode: ConnectionMode) -> bool {
    matches!(
        mode,
        ConnectionMode::Loopback
            | ConnectionMode::ContinuityTest
            | ConnectionMode::NetworkLoop
            | ConnectionMode::NetworkTest
    )
}

/// Whether the mode sends to the other end, whose address must then be known. A test mode answers to the source of what
/// it receives.
pub(super) const fn needs_remote(mode: ConnectionMode) -> bool {
    matches!(mode, ConnectionMode::SendOnly | ConnectionMode::SendRecv | ConnectionMode::Conference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_in_any_case_and_those_we_lack_are_517() {
        assert_eq!(parse(b"SendRecv"), Ok(ConnectionMode::SendRecv));
        for mode in MODES {
            assert_eq!(parse(mode.name().as_bytes()), Ok(*mode));
        }
        for bad in [&b"confrnce"[..], b"data", b"", b"replcate", b"x/y"] {
            assert_eq!(parse(bad), Err(ReturnCode::UNSUPPORTED_MODE));
        }
    }
}
