//! Room for connections: in all, for each source, and for handshakes under way. Values only.

use std::net::IpAddr;

use crate::config::Network;
use crate::crowd::{Crowd, Room, Standing};
use crate::fingerprint::host;
use crate::net::conns::{CloseReason, ConnKey};
use crate::time::Time;

/// Divisor of the handshakes: no source has more than this fraction of them under way, but those that `per_source` does
/// not apply to.
const HANDSHAKE_SHARE: usize = 8;

/// Caps on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one source: an IPv4 address or an IPv6 /64.
    pub per_source: usize,
    /// Sources to which `per_source` does not apply: a balancer or a NAT before many callers.
    pub exempt: Vec<Network>,
    /// Handshakes under way.
    pub handshakes: usize,
}

/// Connections and handshakes, counted by source.
#[derive(Debug)]
pub(super) struct Crowds {
    limits: Limits,
    /// All connections, those whose handshakes are under way among them.
    all: Crowd,
    handshakes: Crowd,
}

impl Crowds {
    pub(super) fn new(limits: Limits) -> Self {
        Crowds { all: Crowd::new(0, 0), handshakes: Crowd::new(0, 0), limits: Limits::default() }.with_limits(limits)
    }

    fn with_limits(mut self, limits: Limits) -> Self {
        self.set_limits(limits);
        self
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.all.set_limits(limits.connections, limits.per_source);
        self.handshakes.set_limits(limits.handshakes, limits.handshakes / HANDSHAKE_SHARE);
        self.limits = limits;
    }

    /// The caps.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of connections.
    pub(super) const fn count(&self) -> usize {
        self.all.total()
    }

    /// Looks for room for one more connection of `source`.
    pub(super) fn room(&self, source: IpAddr) -> Result<(), CloseReason> {
        if self.count() >= self.limits.connections {
            return Err(CloseReason::TooMany);
        }
        if self.all.count(host(source)) < self.limits.per_source || self.is_exempt(source) {
            return Ok(());
        }
        Err(CloseReason::TooManyOfSource)
    }

    /// Looks for room for one more handshake of `source`: `Some` is a handshake that is closed for it, the most silent
    /// one of the source that has most. An exempt source has no share: its callers come back together when they have
    /// lost their connections. `standing` are those under way; they are read only when there is no free room.
    pub(super) fn room_for_handshake(
        &self,
        source: IpAddr,
        standing: impl Iterator<Item = (ConnKey, IpAddr, Time)>,
    ) -> Result<Option<ConnKey>, CloseReason> {
        let standing = standing.map(|(key, of, heard)| Standing { key, source: host(of), heard, in_use: false });
        let room = match self.is_exempt(source) {
            true => self.handshakes.room_beyond_share(standing),
            false => self.handshakes.room(host(source), standing),
        };
        match room {
            Room::Free => Ok(None),
            Room::InPlaceOf(key) => Ok(Some(key)),
            Room::None => Err(CloseReason::TooMany),
        }
    }

    /// A connection is let in.
    pub(super) fn on_open(&mut self, source: IpAddr) {
        self.all.add(host(source));
    }

    /// A connection is no more.
    pub(super) fn on_closed(&mut self, source: IpAddr) {
        self.all.remove(host(source));
    }

    /// The handshake of a connection begins.
    pub(super) fn on_handshake(&mut self, source: IpAddr) {
        self.handshakes.add(host(source));
    }

    /// The handshake of a connection is over.
    pub(super) fn on_handshake_over(&mut self, source: IpAddr) {
        self.handshakes.remove(host(source));
    }

    fn is_exempt(&self, source: IpAddr) -> bool {
        self.limits.exempt.iter().any(|network| network.contains(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn crowds() -> Crowds {
        let exempt = vec!["192.0.2.0/24".parse().unwrap()];
        Crowds::new(Limits { connections: 10, per_source: 3, exempt, handshakes: 16 })
    }

    #[test]
    fn a_source_has_its_cap_and_the_rest_are_served() {
        let mut crowds = crowds();
        let (greedy, other) = (ip("198.51.100.1"), ip("198.51.100.2"));
        for _ in 0..3 {
            assert_eq!(crowds.room(greedy), Ok(()));
            crowds.on_open(greedy);
        }
        assert_eq!((crowds.room(greedy), crowds.room(other)), (Err(CloseReason::TooManyOfSource), Ok(())));
        crowds.on_closed(greedy);
        assert_eq!(crowds.room(greedy), Ok(()));
    }

    #[test]
    fn an_ipv6_network_of_one_customer_is_one_source() {
        let mut crowds = crowds();
        (1..=3).for_each(|at| crowds.on_open(ip(&format!("2001:db8::{at}"))));
        assert_eq!(crowds.room(ip("2001:db8::4")), Err(CloseReason::TooManyOfSource));
    }

    #[test]
    fn an_exempt_source_has_all_the_room_there_is() {
        let mut crowds = crowds();
        for _ in 0..10 {
            assert_eq!(crowds.room(ip("192.0.2.7")), Ok(()));
            crowds.on_open(ip("192.0.2.7"));
        }
        assert_eq!(crowds.room(ip("192.0.2.7")), Err(CloseReason::TooMany));
        assert_eq!(crowds.count(), 10);
    }

    #[test]
    fn callers_that_come_back_together_from_an_exempt_source_close_no_handshake_while_there_is_room() {
        let mut crowds = crowds();
        let (nat, other) = (ip("192.0.2.7"), ip("198.51.100.1"));
        let standing: Vec<_> = (0..16).map(|at| (crate::slab::Handle::new(at, 0), nat, Time(u64::from(at)))).collect();
        for at in 0..16 {
            assert_eq!(crowds.room_for_handshake(nat, standing[..at].iter().copied()), Ok(None));
            crowds.on_handshake(nat);
        }
        for source in [nat, other] {
            let room = crowds.room_for_handshake(source, standing.iter().copied());
            assert_eq!(room, Ok(Some(standing[0].0)), "{source}: its most silent one");
        }
    }

    #[test]
    fn a_source_that_stalls_its_handshakes_makes_room_for_the_others_itself() {
        let mut crowds = crowds();
        let stalled = ip("198.51.100.1");
        let standing: Vec<_> =
            (0..2).map(|at| (crate::slab::Handle::new(at, 0), stalled, Time(100 - u64::from(at)))).collect();
        standing.iter().for_each(|_| crowds.on_handshake(stalled));
        let room = crowds.room_for_handshake(stalled, standing.iter().copied());
        assert_eq!(room, Ok(Some(standing[1].0)), "its most silent one");
        assert_eq!(crowds.room_for_handshake(ip("198.51.100.2"), std::iter::empty()), Ok(None));
    }
}
