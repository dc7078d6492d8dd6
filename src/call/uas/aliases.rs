//! Connections over TLS that their peers take requests on (RFC 5923): the table of aliases.
//!
//! An alias stands for the connection that would be opened to the same address and name. Whoever offers one has shown a
//! certificate for the name (§9.2), and the address is the one that the offer came from.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::call::exchange::{Arrival, Hop};
use crate::call::uas::way::back_at;
use crate::wire::sip::Via;
use crate::words::Transport;

/// Most aliases. One more takes the place of any: its peer is dialled then.
const MOST: usize = 4_096;

/// Connections by the address and the name that they stand for.
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<(SocketAddr, Box<str>), Hop>);

impl Aliases {
    /// Notes the connection `hop`, on which a request with this Via has come, and whose sender offers it.
    pub(super) fn note(&mut self, via: &Via<'_>, arrival: &Arrival, hop: Hop) {
        if arrival.transport != Transport::Tls {
            return;
        }
        let Some(name) = via.host.name() else { return };
        let place = (back_at(hop, Some(via), arrival.source), name.into());
        self.0.insert(place, hop);
        if self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// The connection to this address that stands for this name.
    pub(super) fn find(&self, to: SocketAddr, peer: &str) -> Option<Hop> {
        self.0.get(&(to, peer.into())).copied()
    }

    /// These connections are gone.
    pub(super) fn lose_where(&mut self, is_gone: impl Fn(Hop) -> bool) {
        self.0.retain(|_, hop| !is_gone(*hop));
    }
}
