//! Pinned sources: those that can reach no port but the well-known one.

use std::net::{IpAddr, Ipv4Addr};

use super::Dispatch;
use super::decision::Arrival;
use super::sip::Summary;
use crate::handoff::frame::Transport;
use crate::wire::sip::{Message, Name};

impl Dispatch {
    /// Whether the source can only reach the well-known address.
    pub(super) fn is_pinned(&self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> bool {
        let source = arrival.source.ip();
        if matches!(arrival.transport, Transport::Ws | Transport::Wss)
            || message.header(Name::Route).is_some()
            || self.rules.pinned.iter().any(|net| net.contains(source))
        {
            return true;
        }
        let contact = message.contact().and_then(|contact| contact.uri());
        if contact.is_some_and(|uri| uri.param(b"ob").is_some()) {
            return true;
        }
        let is_hidden = |host: Option<IpAddr>| host.is_some_and(is_private);
        is_public(source)
            && (is_hidden(contact.and_then(|uri| uri.host.ip()))
                || is_hidden(summary.read.via.and_then(|via| via.host.ip())))
    }
}

/// An address of a private network or a link (RFC 1918, 6598, 3927, 4193, 4291).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// RFC 6598: behind a carrier's NAT.
const fn is_shared(ip: Ipv4Addr) -> bool {
    ip.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22
}

fn is_public(ip: IpAddr) -> bool {
    !is_private(ip) && !ip.to_canonical().is_loopback() && !ip.is_unspecified()
}
