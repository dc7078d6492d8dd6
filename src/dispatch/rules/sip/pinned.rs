//! Pinned dialogs: dialogs that stay at the well-known port, because their callers can reach no other port.
//!
//! Three things do not pin, over no transport: a Route set, `;ob` in Contact (RFC 5626 §5: it concerns requests towards
//! the caller), and an address behind a NAT. Such a caller reaches the port that the worker's Contact names, and the
//! worker answers to the address from which it hears the caller.

use crate::dispatch::Dispatch;
use crate::dispatch::decision::Arrival;
use crate::wire::sip::Method;
use crate::words::Transport;

/// The reason why a dialog is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pinned {
    /// `pinned-sources` names its source.
    Source,
    /// It came over a WebSocket, which ends at the dispatcher.
    WebSocket,
    /// A rule of `sip` pins the calls of its listener.
    Listener,
}

impl Pinned {
    /// Its stable name in `explain`.
    pub const fn label(self) -> &'static str {
        match self {
            Pinned::Source => "pinned-sources",
            Pinned::WebSocket => "websocket",
            Pinned::Listener => "listener",
        }
    }
}

impl Dispatch {
    /// The reason for which a dialog that this request begins would be pinned; `None` if the dialog bypasses the
    /// dispatcher.
    pub(super) fn pinned(&self, method: Method<'_>, arrival: &Arrival) -> Option<Pinned> {
        // Other methods make no dialog.
        if !matches!(method, Method::Invite | Method::Subscribe | Method::Refer) {
            return None;
        }
        if matches!(arrival.transport, Transport::Ws | Transport::Wss) {
            return Some(Pinned::WebSocket);
        }
        if self.rules.pinned_listeners.get(usize::from(arrival.listener.0)) == Some(&true) {
            return Some(Pinned::Listener);
        }
        let source = arrival.source.ip();
        self.rules.pinned.iter().any(|net| net.contains(source)).then_some(Pinned::Source)
    }
}
