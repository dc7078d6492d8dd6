//! The addresses by which the far end of a call and this worker reach each other, and our Contact.

use std::net::{IpAddr, SocketAddr};

use crate::call::exchange::{Arrival, Hop, Path};
use crate::call::uas::Uas;
use crate::call::uas::heard::Heard;
use crate::call::uas::request::Request;
use crate::wire::{push_address, push_number};
use crate::words::Transport;

/// The addresses by which the peer and we reach each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The address in our Contact and Via.
    pub(super) contact: SocketAddr,
    pub(super) transport: Transport,
    pub(super) pinned: bool,
    /// The way of our own requests to a route or a Contact.
    pub(super) hop: Hop,
    pub(super) from: Option<IpAddr>,
    /// Whether our Contact is a SIPS URI (RFC 3261 §12.1.1).
    pub(super) secure: bool,
    /// Source of the INVITE.
    pub(super) source: SocketAddr,
    /// Address and socket where the far end was heard last.
    pub(super) heard: Heard,
    /// Whether it has shown that it hears us.
    pub(super) is_heard: bool,
    /// The host that our tag was told to, as long as it is one host only: a sender that knows the tag hears us there.
    pub(super) told: Option<IpAddr>,
}

impl Uas {
    /// The addresses by which the peer of a call and we reach each other.
    pub(super) fn addresses(&self, request: &Request<'_>, arrival: &Arrival) -> Addresses {
        let local = arrival.local.ip();
        let here = self.identity.here(local);
        let own = self.identity.own_socket(here);
        let (listener, through_dispatcher) = match arrival.path {
            Path::Handoff { listener, reply_to, .. } => (Some(listener.0), reply_to.is_through_dispatcher()),
            Path::Own(_) | Path::Stream(_) => (None, false),
        };
        let well_known = listener.and_then(|number| self.identity.listeners.get(usize::from(number)));
        // A port that does not speak the caller's transport would have it send the rest of the call in the clear.
        let is_spoken = match arrival.transport {
            Transport::Udp | Transport::Tcp | Transport::Mgcp => true,
            Transport::Tls => self.identity.speaks_tls,
            Transport::Ws | Transport::Wss => false,
        };
        let pinned = well_known.is_some() && (arrival.pinned || !is_spoken);
        let port = match well_known.filter(|_| pinned) {
            Some(address) => address.port(),
            None => self.identity.own.get(usize::from(own)).map_or(0, SocketAddr::port),
        };
        let ip = if pinned {
            self.identity.dispatcher_ip(listener, local)
        } else {
            self.identity.public_ip(listener, local)
        };
        let heard = self.way_back(request, arrival);
        let hop = match (arrival.path, through_dispatcher) {
            (_, true) => Hop::Dial,
            (Path::Own(socket), _) => Hop::Own(socket),
            (Path::Handoff { .. } | Path::Stream(_), _) => Hop::Own(own),
        };
        Addresses {
            contact: SocketAddr::new(ip, port),
            transport: arrival.transport,
            pinned,
            hop,
            from: Some(here),
            secure: false,
            source: arrival.source,
            heard,
            is_heard: false,
            told: Some(arrival.source.ip()),
        }
    }

    /// The Contact value of a call.
    pub(super) fn contact(&self, addresses: &Addresses) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(if addresses.secure { b"<sips:" } else { b"<sip:" });
        // The port does not identify a pinned dialog's worker, so the token is added.
        if addresses.pinned {
            out.extend_from_slice(self.identity.token.as_bytes());
            out.push(b'@');
        }
        match (&self.identity.contact_name, addresses.transport) {
            // A certificate is made for a name.
            (Some(name), Transport::Tls) => {
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                push_number(&mut out, addresses.contact.port());
            }
            _ => push_address(&mut out, addresses.contact),
        }
        let transport: &[u8] = match addresses.transport {
            Transport::Udp | Transport::Mgcp => b"",
            Transport::Tcp => b";transport=tcp",
            // RFC 5630 §3.1.4: a SIPS URI means TLS by itself.
            Transport::Tls if addresses.secure => b"",
            Transport::Tls => b";transport=tls",
            // RFC 7118 §5.2.2: over TLS as well.
            Transport::Ws | Transport::Wss => b";transport=ws",
        };
        out.extend_from_slice(transport);
        out.push(b'>');
        out
    }
}
