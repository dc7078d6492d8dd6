//! SIP over WebSocket (RFC 7118): the upgrade of an HTTP connection, then one SIP message in each message.

mod frame;
mod open;
mod upgrade;

use std::sync::Arc;

pub use upgrade::Rules;

use self::open::Open;
use self::upgrade::Upgrade;
use super::fault::Fault;
use super::{Limits, Received};
use crate::time::Time;

/// The WebSocket of a connection.
#[derive(Debug)]
pub(super) enum WebSocket {
    Upgrading(Upgrade),
    Open(Box<Open>),
}

impl WebSocket {
    /// One whose upgrade is to come.
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        WebSocket::Upgrading(Upgrade::new(rules))
    }

    /// One whose upgrade has been made.
    pub(super) fn open(limits: &Limits, now: Time) -> Self {
        WebSocket::Open(Box::new(Open::new(limits, now)))
    }

    /// Gives each message to `sink`, and adds answers to `out`: of the upgrade, Pongs, at a fault a Close.
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        (limits, now): (&Limits, Time),
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        match self {
            WebSocket::Upgrading(upgrade) => {
                if upgrade.on_bytes(bytes, out).map_err(Fault::WebSocket)? {
                    *self = WebSocket::open(limits, now);
                }
                Ok(())
            }
            WebSocket::Open(open) => open.on_bytes(bytes, now, out, sink).inspect_err(|fault| open.fail(*fault, out)),
        }
    }

    /// Adds the frame of a message to `out`. False where there is no WebSocket for it.
    pub(super) fn write(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            WebSocket::Upgrading(_) => false,
            WebSocket::Open(open) => open.write(message, out),
        }
    }

    /// Says why it ends, or that we go away.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if let WebSocket::Open(open) = self {
            open.close(out);
        }
    }

    /// The bytes of the message that is not whole yet.
    pub(super) fn pending(&self) -> &[u8] {
        match self {
            WebSocket::Upgrading(_) => &[],
            WebSocket::Open(open) => &open.raw.bytes,
        }
    }

    /// The time at which the message began that is not whole yet.
    pub(super) fn begun(&self) -> Time {
        match self {
            WebSocket::Upgrading(_) => Time::NEVER,
            WebSocket::Open(open) => open.raw.begun(),
        }
    }

    /// The time of a message that is not whole yet counts from now on.
    pub(super) const fn begin_again(&mut self, now: Time) {
        if let WebSocket::Open(open) = self {
            open.raw.begin_again(now);
        }
    }

    /// The time of the next Ping.
    pub(super) fn ping_at(&self) -> Time {
        match self {
            WebSocket::Upgrading(_) => Time::NEVER,
            WebSocket::Open(open) => open.ping_at,
        }
    }

    /// Sends a Ping that is due, or finds that the last ones had no answer.
    pub(super) fn handle_timeout(&mut self, (limits, now): (&Limits, Time), out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            WebSocket::Upgrading(_) => Ok(()),
            WebSocket::Open(open) => open.handle_timeout((limits, now), out),
        }
    }
}
