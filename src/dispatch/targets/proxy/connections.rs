//! The persistent connections of one lane to a downstream proxy over TCP or TLS: when each is opened, and which one a
//! request goes by.
//!
//! ```text
//!          due                 handshakes done
//! Closed ──────▶ Opening ──────────────────────▶ Open
//!    ▲              │ not in time, refused         │ it has ended
//!    └──────────────┴──────────────────────────────┘
//! ```
//!
//! A connection that has ended is opened again at once. After that the time between two attempts doubles from 100 ms
//! on, until one has stayed open for a while: to a second where the host refuses each at once, so that a server that
//! has been started again gets its connections soon, and to 10 s where nothing answers.

use std::time::Duration;

use crate::ids::ConnId;
use crate::time::Time;

/// Time after a first failed attempt until the next.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest, and the longest after an attempt that was refused. Both vary by a quarter.
const LONGEST: Duration = Duration::from_secs(8);
const LONGEST_REFUSED: Duration = Duration::from_millis(800);
/// Time that a connection has until its handshakes are done.
const OPEN_WITHIN: Duration = Duration::from_secs(4);
/// Interval at which connections that are wanted no more are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A connection that was open for so long was no failure.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// The connections of one lane to one address.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    places: Vec<Place>,
    /// Place that the next request looks at first.
    turn: usize,
    /// Connections that are wanted no more: they end once nothing waits for an answer on them.
    leaving: Vec<ConnId>,
    /// The same for those that no request goes by any more: they lead elsewhere, or were never open.
    retired: Vec<ConnId>,
    /// The time from which it is worth asking whether something does.
    look: Time,
}

/// A connection that is to be there.
#[derive(Clone, Copy, Debug)]
struct Place {
    state: State,
    /// Attempts in a row that were none.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none; it is opened at this time.
    Closed(Time),
    /// It was begun at this time. `None`: its owner has not named it yet.
    Opening(Option<ConnId>, Time),
    /// It is open since this time. Whether its server takes the bytes that are sent.
    Open(ConnId, Time, bool),
}

/// The end of a connection, or of an attempt to open one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The host says that nothing listens there.
    Refused,
    /// Anything else.
    Broken,
}

impl Connections {
    /// Sets the number of connections that are to be there. New ones are due at once; those beyond it end when they
    /// may.
    pub fn set_count(&mut self, count: usize, now: Time) {
        for place in self.places.drain(self.places.len().min(count)..) {
            let list = if place.is_open() { &mut self.leaving } else { &mut self.retired };
            list.extend(place.conn());
        }
        self.places.resize(count, Place { state: State::Closed(now), failures: 0 });
    }

    /// All connections that there are lead elsewhere: no request goes by them from now on.
    pub fn retire_all(&mut self) {
        let conns = self.places.drain(..).filter_map(|place| place.conn());
        self.retired.extend(conns.chain(self.leaving.drain(..)));
    }

    /// All connections that there are lead to the right place by the wrong certificates: each is to be replaced.
    pub fn replace_all(&mut self, now: Time) {
        for place in &mut self.places {
            let list = if place.is_open() { &mut self.leaving } else { &mut self.retired };
            list.extend(place.conn());
            *place = Place { state: State::Closed(now), failures: 0 };
        }
    }

    /// Whether a request can be sent on one now.
    pub fn has_open(&self) -> bool {
        self.open() > 0 || !self.leaving.is_empty()
    }

    /// Whether none is wanted: it is reached without.
    pub fn is_unused(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether one is open, and its server takes what is sent.
    pub fn has_usable(&self) -> bool {
        self.places.iter().any(Place::is_usable) || self.open() == 0 && !self.leaving.is_empty()
    }

    /// Number of open ones.
    pub fn open(&self) -> usize {
        self.places.iter().filter(|place| place.is_open()).count()
    }

    /// Whether attempts have failed and none is open.
    pub fn has_failed(&self) -> bool {
        self.open() == 0 && self.places.iter().any(|place| place.failures > 0)
    }

    /// The open connection that a request goes by: they take turns. One whose server takes no bytes is the last resort,
    /// before one that is wanted no more.
    pub fn next(&mut self) -> Option<ConnId> {
        let count = self.places.len();
        let turns = || (0..count).map(|step| (self.turn + step) % count);
        let usable = turns().find(|at| self.places[*at].is_usable());
        let Some(found) = usable.or_else(|| turns().find(|at| self.places[*at].is_open())) else {
            return self.leaving.last().copied();
        };
        self.turn = found + 1;
        self.places[found].conn()
    }

    /// This one if it is open, else another one that is.
    pub fn like(&self, conn: ConnId) -> Option<ConnId> {
        let of_places = || self.places.iter().filter(|place| place.is_open()).filter_map(Place::conn);
        let open = || of_places().chain(self.leaving.iter().copied());
        open().find(|other| *other == conn).or_else(|| open().next())
    }

    /// All that there are, open or not.
    pub fn all(&self) -> impl Iterator<Item = ConnId> + '_ {
        self.places.iter().filter_map(Place::conn).chain(self.leaving.iter().chain(&self.retired).copied())
    }

    /// Whether it is one of these, open or not.
    pub fn has(&self, conn: ConnId) -> bool {
        self.all().any(|other| other == conn)
    }

    /// Whether one is to be opened now.
    pub fn lacks_one(&self, now: Time) -> bool {
        self.places.iter().any(|place| place.is_due(now))
    }

    /// The next place whose connection is to be opened now: the owner opens it, and says so by
    /// [`Connections::on_begun`].
    pub fn poll_due(&mut self, now: Time) -> Option<usize> {
        let at = self.places.iter().position(|place| place.is_due(now))?;
        self.places[at].state = State::Opening(None, now);
        Some(at)
    }

    /// The next connection that its owner has to close: it is not open in time, or wanted no more. `is_idle` says
    /// whether nothing waits for an answer on a connection; `spread` is that of [`Connections::on_begun`]. Until it is
    /// closed it comes again.
    pub fn poll_unwanted(&mut self, spread: f64, now: Time, is_idle: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let is_slow = |place: &&mut Place| matches!(place.state, State::Opening(Some(_), since) if now.since(since) >= OPEN_WITHIN);
        if let Some(slow) = self.places.iter_mut().find(is_slow) {
            let conn = slow.conn();
            slow.fail(Ended::Broken, spread, now);
            self.retired.extend(conn);
            return conn;
        }
        if self.leaving.is_empty() && self.retired.is_empty() || self.look > now {
            return None;
        }
        self.look = now + LOOK_AGAIN;
        // Until there is another one they serve, if any is wanted.
        let is_replaced = self.places.is_empty() || self.open() > 0;
        let is_idle = |conn: &ConnId| is_idle(*conn);
        let conn = match self.leaving.iter().position(is_idle).filter(|_| is_replaced) {
            Some(at) => self.leaving.remove(at),
            None => self.retired.remove(self.retired.iter().position(is_idle)?),
        };
        // The others come before it when its owner takes its time.
        self.retired.push(conn);
        Some(conn)
    }

    /// Takes note that the connection of a place is being opened; `None`: that cannot even begin. `spread`, 0 to 1,
    /// keeps many from trying at the same time.
    pub fn on_begun(&mut self, place: usize, conn: Option<ConnId>, spread: f64, now: Time) {
        let Some(place) = self.places.get_mut(place) else {
            self.retired.extend(conn);
            return;
        };
        match conn {
            Some(conn) => place.state = State::Opening(Some(conn), now),
            None => place.fail(Ended::Broken, spread, now),
        }
    }

    /// Takes note of an open connection of an earlier dispatcher, beyond those that are to be there: it stays.
    pub fn on_kept(&mut self, conn: ConnId, now: Time) {
        self.places.push(Place { state: State::Open(conn, now, true), failures: 0 });
    }

    /// Takes note of an open connection of an earlier dispatcher that is to be replaced: requests that went by it are
    /// answered on it.
    pub fn on_leaving(&mut self, conn: ConnId, now: Time) {
        self.look = now + LOOK_AGAIN;
        self.leaving.push(conn);
    }

    /// The same for one that leads elsewhere: no request goes by it.
    pub fn on_retired(&mut self, conn: ConnId, now: Time) {
        self.look = now + LOOK_AGAIN;
        self.retired.push(conn);
    }

    /// Takes note that a connection is open. Returns whether it is one of these.
    pub fn on_open(&mut self, conn: ConnId, now: Time) -> bool {
        let place = self.places.iter_mut().find(|place| place.conn() == Some(conn));
        place.map(|place| place.state = State::Open(conn, now, true)).is_some()
    }

    /// Takes note whether the server takes the bytes that are sent on a connection.
    pub fn on_taken(&mut self, conn: ConnId, is_taken: bool) {
        let open = self.places.iter_mut().find_map(|place| match &mut place.state {
            State::Open(of, _, takes) if *of == conn => Some(takes),
            _ => None,
        });
        open.into_iter().for_each(|takes| *takes = is_taken);
    }

    /// Takes note that a connection has ended, or could not be opened. Returns whether it was one of these.
    pub fn on_closed(&mut self, conn: ConnId, ended: Ended, spread: f64, now: Time) -> bool {
        for list in [&mut self.leaving, &mut self.retired] {
            if let Some(at) = list.iter().position(|other| *other == conn) {
                list.swap_remove(at);
                return true;
            }
        }
        let Some(place) = self.places.iter_mut().find(|place| place.conn() == Some(conn)) else { return false };
        match place.state {
            State::Open(_, since, _) if now.since(since) >= GOOD_AFTER => {
                *place = Place { state: State::Closed(now), failures: 0 };
            }
            // At once, but for those that end as soon as they are open.
            State::Open(..) if place.failures == 0 => *place = Place { state: State::Closed(now), failures: 1 },
            _ => place.fail(ended, spread, now),
        }
        true
    }

    /// The time at which there is something to do.
    pub fn poll_timeout(&self) -> Time {
        let due = |place: &Place| match place.state {
            State::Closed(at) => at,
            State::Opening(..) | State::Open(..) => Time::NEVER,
        };
        self.places.iter().map(due).min().unwrap_or(Time::NEVER).min(self.next_unwanted())
    }

    /// The time at which [`Connections::poll_unwanted`] is due.
    pub fn next_unwanted(&self) -> Time {
        let due = |place: &Place| match place.state {
            State::Opening(Some(_), since) => since + OPEN_WITHIN,
            State::Closed(_) | State::Opening(None, _) | State::Open(..) => Time::NEVER,
        };
        let look = if self.leaving.is_empty() && self.retired.is_empty() { Time::NEVER } else { self.look };
        self.places.iter().map(due).min().unwrap_or(Time::NEVER).min(look)
    }
}

impl Place {
    const fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Closed(_) => None,
            State::Opening(conn, _) => conn,
            State::Open(conn, ..) => Some(conn),
        }
    }

    fn is_due(&self, now: Time) -> bool {
        matches!(self.state, State::Closed(at) if at <= now)
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }

    const fn is_usable(&self) -> bool {
        matches!(self.state, State::Open(_, _, true))
    }

    fn fail(&mut self, ended: Ended, spread: f64, now: Time) {
        let longest = if ended == Ended::Refused { LONGEST_REFUSED } else { LONGEST };
        let wait = SHORTEST.saturating_mul(1 << self.failures.min(7)).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Closed(now + wait.mul_f64(0.75 + spread.clamp(0.0, 1.0) / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(0) + Duration::from_millis(ms)
    }

    fn conn(number: u64) -> ConnId {
        ConnId::new(0, number)
    }

    /// Opens all that are due, as connections from this number on.
    fn open(connections: &mut Connections, mut number: u64, now: Time) {
        while let Some(place) = connections.poll_due(now) {
            connections.on_begun(place, Some(conn(number)), 0.5, now);
            assert!(connections.on_open(conn(number), now));
            number += 1;
        }
    }

    #[test]
    fn requests_take_the_open_connections_in_turn() {
        let mut connections = Connections::default();
        assert!(connections.is_unused() && connections.poll_timeout() == Time::NEVER);
        connections.set_count(3, at(0));
        assert_eq!((connections.next(), connections.has_failed()), (None, false));
        open(&mut connections, 1, at(0));
        let turns: Vec<_> = (0..4).map(|_| connections.next()).collect();
        assert_eq!(turns, [1, 2, 3, 1].map(|number| Some(conn(number))));
        assert!(connections.on_closed(conn(2), Ended::Broken, 0.5, at(60_000)));
        let turns: Vec<_> = (0..3).map(|_| connections.next()).collect();
        assert_eq!(turns, [3, 1, 3].map(|number| Some(conn(number))));
        assert_eq!(connections.poll_due(at(60_000)), Some(1), "one that was open is opened again at once");
    }

    #[test]
    fn attempts_that_fail_come_ever_more_seldom_and_never_stop() {
        let mut connections = Connections::default();
        connections.set_count(1, at(0));
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..10 {
            assert_eq!(connections.poll_due(now), Some(0));
            connections.on_begun(0, None, 0.5, now);
            assert!(connections.has_failed());
            let due = connections.poll_timeout();
            assert_eq!(connections.poll_due(due - Duration::from_millis(1)), None);
            waits.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 8_000, 8_000, 8_000]);
        connections.poll_due(now);
        connections.on_begun(0, Some(conn(7)), 0.5, now);
        assert!(connections.on_closed(conn(7), Ended::Refused, 1.0, now));
        assert_eq!(connections.poll_timeout(), now + Duration::from_secs(1), "it is tried each second");
    }

    #[test]
    fn a_connection_whose_server_takes_no_bytes_is_the_last_resort() {
        let mut connections = Connections::default();
        connections.set_count(2, at(0));
        open(&mut connections, 1, at(0));
        connections.on_taken(conn(1), false);
        assert_eq!([connections.next(), connections.next()], [Some(conn(2)); 2]);
        connections.on_taken(conn(2), false);
        assert!(connections.next().is_some() && !connections.has_usable());
        connections.on_taken(conn(1), true);
        assert_eq!([connections.next(), connections.next()], [Some(conn(1)); 2]);
    }

    #[test]
    fn a_connection_that_ends_as_soon_as_it_is_open_is_not_opened_without_end() {
        let mut connections = Connections::default();
        connections.set_count(1, at(0));
        let (mut now, mut attempts) = (at(0), 0);
        while now < at(60_000) {
            let place = connections.poll_due(now).unwrap();
            connections.on_begun(place, Some(conn(7)), 0.5, now);
            assert!(connections.on_open(conn(7), now) && connections.on_closed(conn(7), Ended::Broken, 0.5, now));
            attempts += 1;
            now = connections.poll_timeout();
        }
        assert!((8..20).contains(&attempts), "{attempts}");
    }

    #[test]
    fn one_that_does_not_open_in_time_is_to_be_closed() {
        let mut connections = Connections::default();
        connections.set_count(1, at(0));
        assert_eq!(connections.poll_due(at(0)), Some(0));
        connections.on_begun(0, Some(conn(7)), 0.5, at(0));
        assert_eq!(
            (connections.poll_timeout(), connections.poll_unwanted(0.5, at(3_999), |_| true)),
            (at(4_000), None)
        );
        assert_eq!(connections.poll_unwanted(0.5, at(4_000), |_| true), Some(conn(7)));
        assert!(connections.on_closed(conn(7), Ended::Broken, 0.5, at(4_000)));
        assert_eq!(connections.poll_timeout(), at(4_100));
    }

    #[test]
    fn connections_beyond_a_smaller_number_end_when_nothing_waits_on_them_and_more_are_opened_for_a_larger_one() {
        let mut connections = Connections::default();
        connections.set_count(2, at(0));
        open(&mut connections, 1, at(0));
        connections.set_count(1, at(10));
        assert_eq!(connections.poll_unwanted(0.5, at(10), |_| false), None);
        assert!(connections.has(conn(2)) && connections.like(conn(2)) == Some(conn(2)));
        assert_eq!([connections.next(), connections.next()], [Some(conn(1)); 2], "it gets nothing new");
        let look = connections.poll_timeout();
        assert_eq!((connections.poll_unwanted(0.5, look, |_| true), look), (Some(conn(2)), at(1_010)));
        assert!(connections.on_closed(conn(2), Ended::Broken, 0.5, look) && !connections.has(conn(2)));
        assert_eq!((connections.has(conn(1)), connections.poll_timeout()), (true, Time::NEVER));
        connections.set_count(3, at(2_000));
        open(&mut connections, 3, at(2_000));
        assert_eq!(connections.open(), 3);
    }

    #[test]
    fn a_connection_that_its_owner_has_not_closed_yet_keeps_no_other_from_its_end() {
        let mut connections = Connections::default();
        connections.set_count(3, at(0));
        open(&mut connections, 1, at(0));
        connections.set_count(1, at(1));
        let mut unwanted = |second: u64| connections.poll_unwanted(0.5, at(second * 1_000), |_| true);
        let turns = [1, 2, 3].map(&mut unwanted);
        assert_eq!(turns, [2, 3, 2].map(|number| Some(conn(number))));
        assert_eq!(connections.like(conn(2)), Some(conn(1)), "no request goes by it any more");
    }

    #[test]
    fn one_that_is_to_be_replaced_serves_until_another_one_is_open() {
        let mut connections = Connections::default();
        connections.set_count(1, at(0));
        connections.on_leaving(conn(9), at(0));
        assert!(connections.has_usable() && connections.next() == Some(conn(9)));
        assert_eq!(connections.poll_unwanted(0.5, at(0), |_| true), None);
        open(&mut connections, 1, at(10));
        assert_eq!(connections.next(), Some(conn(1)));
        assert_eq!(connections.poll_unwanted(0.5, at(1_000), |_| false), None, "an answer is awaited on it");
        assert_eq!(connections.poll_unwanted(0.5, at(2_000), |_| true), Some(conn(9)));
    }

    #[test]
    fn connections_that_lead_elsewhere_take_no_request_and_end_once_nothing_waits_on_them() {
        let mut connections = Connections::default();
        connections.set_count(2, at(0));
        open(&mut connections, 1, at(0));
        connections.retire_all();
        connections.set_count(1, at(0));
        assert_eq!((connections.next(), connections.like(conn(1)), connections.has_usable()), (None, None, false));
        assert!(connections.has(conn(1)), "answers still come on it");
        assert_eq!(connections.poll_unwanted(0.5, at(1), |of| of == conn(2)), Some(conn(2)));
        assert!(connections.on_closed(conn(2), Ended::Broken, 0.5, at(1)));
        assert_eq!(connections.poll_unwanted(0.5, at(2_000), |_| true), Some(conn(1)));
    }

    #[test]
    fn a_connection_that_is_not_open_yet_and_no_more_wanted_takes_no_request() {
        let mut connections = Connections::default();
        connections.set_count(1, at(0));
        assert_eq!(connections.poll_due(at(0)), Some(0));
        connections.on_begun(0, Some(conn(7)), 0.5, at(0));
        connections.set_count(0, at(1));
        assert_eq!((connections.next(), connections.has_usable()), (None, false));
        assert_eq!(connections.poll_unwanted(0.5, at(1), |_| true), Some(conn(7)));
    }
}
