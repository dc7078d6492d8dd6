//! Caps on connections that are reached, as the log tells of them.

use std::net::IpAddr;

use tracing::info;

use super::Limits;
use crate::seldom::Seldom;
use crate::time::Time;

/// A cap that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cap {
    /// Connections in all.
    Connections,
    /// Connections of one source.
    OfSource,
    /// Handshakes under way.
    Handshakes,
}

/// Caps that are reached: each is logged the first time, and seldom from then on.
#[derive(Debug, Default)]
pub(super) struct CapLog {
    connections: Seldom,
    of_source: Seldom,
    handshakes: Seldom,
}

impl CapLog {
    /// A connection of `source` meets a cap.
    pub(super) fn note(&mut self, cap: Cap, source: IpAddr, limits: &Limits, now: Time) {
        let (seldom, limit, what) = match cap {
            Cap::Connections => (
                &mut self.connections,
                limits.connections,
                "a new connection is closed: there are as many as max-connections allows; raise it for more",
            ),
            Cap::OfSource => (
                &mut self.of_source,
                limits.per_source,
                "a new connection is closed: its source has as many as max-connections-per-source allows; raise it, or \
                 name the source in connection-exempt",
            ),
            Cap::Handshakes => (
                &mut self.handshakes,
                limits.handshakes,
                "no handshake more fits into max-handshakes, or into the eighth of it that one source has: the most \
                 silent one is closed; raise it for more",
            ),
        };
        if let Some(times) = seldom.comes_up(now) {
            info!(%source, limit, times, "{what}");
        }
    }
}
