//! Pinned dialogs: those that stay at the well-known port, because their callers can reach no other.
//!
//! Neither a Route set, nor `;ob` in Contact (RFC 5626 §5: it is about requests towards the caller), nor an address behind
//! a NAT pins: such a caller reaches the port that the worker's Contact names, and the worker answers where it hears it.

use super::Dispatch;
use super::decision::Arrival;
use crate::handoff::frame::Transport;
use crate::wire::sip::Method;

/// Why a dialog is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pinned {
    /// `pinned-sources` names its source.
    Source,
    /// It came over a WebSocket, which ends at the dispatcher.
    WebSocket,
}

impl Pinned {
    /// Its stable name in `explain`.
    pub const fn label(self) -> &'static str {
        match self {
            Pinned::Source => "pinned-sources",
            Pinned::WebSocket => "websocket",
        }
    }
}

impl Dispatch {
    /// Why a dialog that this request begins would be pinned; `None` where it bypasses the dispatcher.
    pub(super) fn pinned(&self, method: Method<'_>, arrival: &Arrival) -> Option<Pinned> {
        // The others make no dialog.
        if !matches!(method, Method::Invite | Method::Subscribe | Method::Refer) {
            return None;
        }
        if matches!(arrival.transport, Transport::Ws | Transport::Wss) {
            return Some(Pinned::WebSocket);
        }
        let source = arrival.source.ip();
        self.rules.pinned.iter().any(|net| net.contains(source)).then_some(Pinned::Source)
    }
}
