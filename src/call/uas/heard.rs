//! The far end of a dialog: whether it has shown that it hears us, and the address and socket where it was heard last.
//!
//! RFC 3261 §12.2.1.1 sends our requests to the URI of its Contact. Behind a NAT that URI means nothing here, and the
//! NAT lets in only packets from an address that the caller has sent to. So if no route leads to the Contact, requests
//! go back the way its last request has come.

use std::net::{IpAddr, SocketAddr};

use crate::call::exchange::{CallKey, Hop};
use crate::call::uas::Uas;
use crate::call::uas::request::Case;
use crate::words::Transport;

/// Address and socket where the far end of a dialog was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The way back.
    pub(super) hop: Hop,
    /// The transport that its message came over.
    pub(super) transport: Transport,
    /// Destination of answers to it.
    pub(super) to: SocketAddr,
    /// The local address that its message reached.
    pub(super) from: Option<IpAddr>,
    /// Whether the far end itself was heard. With a proxy in between its request has more than one Via.
    pub(super) is_direct: bool,
}

impl Uas {
    /// The host from which a call's far end was heard last; with a proxy in between, the proxy's host.
    pub fn host_of_peer(&self, key: CallKey) -> Option<IpAddr> {
        self.calls.get(key).map(|call| call.addresses.heard.to.ip())
    }

    /// A message with our tag has come in a call: its sender hears us.
    pub(super) fn on_heard(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, arrival, now, .. } = *case;
        let Some(addresses) = self.calls.get(key).map(|call| call.addresses) else { return };
        let heard = self.way_back(request, arrival);
        match addresses.told {
            Some(host) if !addresses.is_heard => self.acquaint(key, host),
            _ => self.unclaim(key),
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        call.addresses.is_heard = true;
        // A proxy that forwards a single request knows the far end's address less well than a request from the far end
        // itself.
        if heard.is_direct || !addresses.heard.is_direct {
            call.addresses.heard = heard;
        }
        let Some(invite) = call.invite else { return };
        let source = self.servers.get(invite).map(|server| server.way().source.ip());
        if source.is_some() && addresses.told == source {
            self.servers.change(invite, |server| server.on_heard(now));
            self.arm_server(invite);
        }
    }
}
