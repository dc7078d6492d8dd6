//! Requests of systems that cannot leave yet: a name has to be looked up for them, or a connection to be opened.
//!
//! Each waits for one of the two at a time, and not for ever. A name is asked for once, however many wait for it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::callees::Callee;
use super::contexts::ContextId;
use super::decision::{Arrival, Forward};
use super::probed::LookUp;
use super::share::Shares;
use crate::fingerprint::{Fingerprint, SourcePrint};
use crate::ids::ProxyId;
use crate::pack::packed;
use crate::time::Time;

/// Most requests that wait. The last eighth of the places is for systems that have less than their fair share.
const MOST: usize = 1_024;
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(16);
const CONNECTED_WITHIN: Duration = Duration::from_secs(4);

/// Something that a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The addresses of a name.
    Name(LookUp),
    /// A connection to this far end.
    Connection(Callee),
}

/// A way to one of the addresses of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A datagram to this address.
    Datagram(SocketAddr),
    /// A connection to this far end.
    Connection(Callee),
    /// The connection of a downstream proxy.
    Proxy(ProxyId),
}

packed!(Destination as Datagram(address) = 0, Connection(callee) = 1, Proxy(proxy) = 2);

/// A request that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Waiter {
    /// One with the state of a transaction.
    Request(ContextId),
    /// An ACK to a 2xx, which has none.
    Ack(Box<WaitingAck>),
}

/// An ACK to a 2xx that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WaitingAck {
    /// It as it came.
    pub(super) request: Arc<Vec<u8>>,
    /// The way on which it came.
    pub(super) arrival: Arrival,
    /// The name of its call.
    pub(super) call: Fingerprint,
    pub(super) source: SourcePrint,
    /// Its way, but for the address or connection that is looked for.
    pub(super) forward: Forward,
    /// The ways that have not been tried, the last one first.
    pub(super) others: Vec<Destination>,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Awaiting {
    /// Those that give up first at the front.
    all: VecDeque<Waiting>,
    sources: Shares,
    /// Names that requests wait for and that the prober has not been asked for.
    look_ups: VecDeque<LookUp>,
}

#[derive(Debug)]
struct Waiting {
    /// When it gives up.
    until: Time,
    waiter: Waiter,
    source: SourcePrint,
    awaited: Awaited,
}

impl Awaiting {
    /// Whether another request of this source may wait.
    pub(super) fn has_room(&self, source: impl FnOnce() -> SourcePrint) -> bool {
        let left = MOST.saturating_sub(self.all.len());
        left > MOST / 8 || left > 0 && !self.sources.is_used_up(source())
    }

    /// Has a request of this source wait.
    pub(super) fn wait(&mut self, (waiter, source): (Waiter, SourcePrint), awaited: Awaited, now: Time) {
        let until = match &awaited {
            Awaited::Name(look_up) => {
                if !self.awaits(&awaited) {
                    self.look_ups.push_back(look_up.clone());
                }
                now + LOOKED_UP_WITHIN
            }
            Awaited::Connection(_) => now + CONNECTED_WITHIN,
        };
        self.sources.add(source);
        let place = self.all.partition_point(|other| other.until <= until);
        self.all.insert(place, Waiting { until, waiter, source, awaited });
    }

    /// Takes out a name that is to be looked up.
    pub(super) fn poll_look_up(&mut self) -> Option<LookUp> {
        self.look_ups.pop_front()
    }

    /// Whether a request waits for this.
    pub(super) fn awaits(&self, awaited: &Awaited) -> bool {
        self.all.iter().any(|waiting| waiting.awaited == *awaited)
    }

    /// Takes out the requests that wait for this, those that have waited longest first.
    pub(super) fn take(&mut self, awaited: &Awaited) -> Vec<Waiter> {
        if !self.awaits(awaited) {
            return Vec::new();
        }
        let (taken, kept): (VecDeque<Waiting>, _) = self.all.drain(..).partition(|it| it.awaited == *awaited);
        self.all = kept;
        taken.iter().for_each(|it| self.sources.remove(it.source));
        self.forget_unwanted(awaited);
        taken.into_iter().map(|it| it.waiter).collect()
    }

    /// Takes out a request that has waited for too long.
    pub(super) fn poll_expired(&mut self, now: Time) -> Option<(Waiter, Awaited)> {
        let Waiting { waiter, source, awaited, .. } = self.all.pop_front_if(|waiting| waiting.until <= now)?;
        self.sources.remove(source);
        self.forget_unwanted(&awaited);
        Some((waiter, awaited))
    }

    /// Has a name that nothing waits for any more not be asked for. The prober may never come.
    fn forget_unwanted(&mut self, awaited: &Awaited) {
        if let Awaited::Name(name) = awaited
            && let Some(at) = self.look_ups.iter().position(|other| other == name)
            && !self.awaits(awaited)
        {
            self.look_ups.remove(at);
        }
    }

    /// Takes out a request, however long it has waited, with what it waits for.
    pub(super) fn poll_any(&mut self) -> Option<(Waiter, Awaited)> {
        self.poll_expired(Time::NEVER)
    }

    /// When [`Awaiting::poll_expired`] is due next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.all.front().map(|waiting| waiting.until)
    }

    /// Panics if it contradicts itself.
    pub(super) fn check(&self) {
        assert_eq!(self.sources.waiting(), self.all.len());
        assert!(self.all.iter().is_sorted_by_key(|waiting| waiting.until), "one gives up before its turn");
        assert!(self.all.len() <= MOST, "too many wait");
        let is_wanted = |name: &LookUp| self.awaits(&Awaited::Name(name.clone()));
        assert!(self.look_ups.iter().all(is_wanted), "nothing waits for a name");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::slab::Handle;
    use crate::words::Transport;

    const FIRST: SourcePrint = SourcePrint(1);
    const SECOND: SourcePrint = SourcePrint(2);

    fn id(number: u32) -> Waiter {
        Waiter::Request(ContextId::new(number, 0))
    }

    fn name(host: &str) -> LookUp {
        let from = Ipv4Addr::new(192, 0, 2, 1).into();
        LookUp { host: host.into(), port: None, transport: Transport::Udp, asks_transports: true, from }
    }

    fn connection(number: u16) -> Awaited {
        Awaited::Connection(Callee { address: ([203, 0, 113, 9], number).into(), name: None })
    }

    fn filled(requests: usize, source: SourcePrint) -> Awaiting {
        let mut awaiting = Awaiting::default();
        (0..requests).for_each(|number| awaiting.wait((id(number as u32), source), connection(1), Time(0)));
        awaiting
    }

    #[test]
    fn a_name_is_asked_for_once_for_all_that_wait_for_it_and_again_for_those_that_come_later() {
        let mut awaiting = Awaiting::default();
        for (number, host) in ["a", "b", "a"].into_iter().enumerate() {
            awaiting.wait((id(number as u32), FIRST), Awaited::Name(name(host)), Time(0));
        }
        let asked: Vec<LookUp> = std::iter::from_fn(|| awaiting.poll_look_up()).collect();
        assert_eq!(asked, [name("a"), name("b")]);
        assert_eq!(awaiting.take(&Awaited::Name(name("a"))), [id(0), id(2)]);
        assert_eq!(awaiting.take(&Awaited::Name(name("a"))), []);
        awaiting.wait((id(3), FIRST), Awaited::Name(name("a")), Time(1));
        assert_eq!((awaiting.poll_look_up(), awaiting.poll_look_up()), (Some(name("a")), None));
        awaiting.check();
    }

    #[test]
    fn names_that_nobody_asks_for_in_time_do_not_pile_up() {
        let mut awaiting = Awaiting::default();
        for (number, host) in ["a", "b", "a", "c"].into_iter().enumerate() {
            awaiting.wait((id(number as u32), FIRST), Awaited::Name(name(host)), Time(number as u64));
        }
        let gives_up = |number: u64| Time(number) + LOOKED_UP_WITHIN;
        assert_eq!(awaiting.poll_expired(gives_up(0)), Some((id(0), Awaited::Name(name("a")))));
        assert_eq!(awaiting.poll_expired(gives_up(1)), Some((id(1), Awaited::Name(name("b")))));
        assert_eq!(awaiting.take(&Awaited::Name(name("c"))), [id(3)]);
        assert_eq!(awaiting.look_ups, [name("a")], "another waits for it");
        awaiting.check();
        assert_eq!(awaiting.poll_any().unwrap().0, id(2));
        assert_eq!(awaiting.poll_look_up(), None);
        awaiting.check();
    }

    #[test]
    fn a_connection_that_is_open_is_for_those_that_wait_for_its_address_alone() {
        let mut awaiting = Awaiting::default();
        for (number, port) in [1, 2, 1].into_iter().enumerate() {
            awaiting.wait((id(number as u32), FIRST), connection(port), Time(0));
        }
        assert_eq!(awaiting.take(&connection(1)), [id(0), id(2)]);
        assert!(awaiting.awaits(&connection(2)) && !awaiting.awaits(&connection(1)));
        awaiting.check();
    }

    #[test]
    fn each_gives_up_in_its_own_time_whatever_it_waits_for() {
        let mut awaiting = Awaiting::default();
        awaiting.wait((id(0), FIRST), Awaited::Name(name("a")), Time(0));
        awaiting.wait((id(1), FIRST), connection(1), Time(1));
        awaiting.wait((id(2), FIRST), connection(2), Time(2));
        awaiting.check();
        let connected_by = Time(1) + CONNECTED_WITHIN;
        assert_eq!((awaiting.poll_timeout(), awaiting.poll_expired(Time(2))), (Some(connected_by), None));
        assert_eq!(awaiting.poll_expired(connected_by), Some((id(1), connection(1))));
        assert_eq!(awaiting.poll_expired(connected_by), None);
        let all = [(); 3].map(|()| awaiting.poll_any().map(|(waiter, _)| waiter));
        assert_eq!(all, [Some(id(2)), Some(id(0)), None]);
        assert_eq!(awaiting.poll_timeout(), None);
        awaiting.check();
    }

    #[test]
    fn the_last_places_are_for_a_source_that_has_less_than_its_share_and_then_there_are_none() {
        let (first, second) = (|| FIRST, || SECOND);
        assert!(filled(MOST * 7 / 8 - 1, FIRST).has_room(first));
        let awaiting = filled(MOST * 7 / 8, FIRST);
        assert!(!awaiting.has_room(first) && awaiting.has_room(second));
        let mut awaiting = filled(MOST, FIRST);
        assert!(!awaiting.has_room(second));
        awaiting.take(&connection(1));
        assert!(awaiting.has_room(first));
        awaiting.check();
    }
}
