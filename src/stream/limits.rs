//! The times that a connection has.

use std::time::Duration;

/// The times that a connection has for what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its begin to its first byte.
    pub first: Duration,
    /// From its begin to the end of its handshakes.
    pub handshake: Duration,
    /// From the first byte of a message to its last.
    pub message: Duration,
    /// Between two bytes.
    pub idle: Duration,
    /// Between our Pings on a WebSocket.
    pub ping: Duration,
}

impl Limits {
    /// The limits of a connection that is kept open to a server: it may be silent for as long as it likes.
    pub(super) fn of_persistent() -> Self {
        Limits { first: FOREVER, idle: FOREVER, ..Limits::default() }
    }

    /// The limits of a connection that we have opened for a message of our own.
    pub(super) fn of_called() -> Self {
        let limits = Limits::default();
        Limits { first: limits.idle, ..limits }
    }
}

/// Ten years.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Default for Limits {
    fn default() -> Self {
        Limits {
            first: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            message: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            ping: Duration::from_secs(30),
        }
    }
}
