//! Connections that a lane opens for requests of systems that go over TCP to where they name (RFC 3261 §18.1.1).
//!
//! An address has one, which all requests for it share. Its owner closes one that is silent for long; the next request
//! opens another. Where there are too many, the one goes that was not asked for the longest.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::ids::ConnId;

/// Most connections of a lane, with those that are being opened.
pub const MOST: usize = 1_024;

/// The connections by their addresses.
#[derive(Debug, Default)]
pub(super) struct Callees {
    by_address: BTreeMap<SocketAddr, Callee>,
    by_conn: BTreeMap<ConnId, SocketAddr>,
    /// Addresses that a connection is to be opened to.
    asked: VecDeque<SocketAddr>,
    /// Connections that are to be closed.
    hang_ups: Vec<ConnId>,
    /// Number of times that connections were asked for.
    uses: u64,
}

/// The connection to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callee {
    /// Its owner has not begun to open it.
    Asked,
    /// It is being opened.
    Opening(ConnId),
    /// It is open, and was asked for last at this number of uses.
    Open(ConnId, u64),
}

impl Callees {
    /// The connection that is open to an address, for a request.
    pub(super) fn open_to(&mut self, to: SocketAddr) -> Option<ConnId> {
        let Some(Callee::Open(conn, used)) = self.by_address.get_mut(&to) else { return None };
        self.uses += 1;
        *used = self.uses;
        Some(*conn)
    }

    /// The address that a connection leads to.
    pub(super) fn address_of(&self, conn: ConnId) -> Option<SocketAddr> {
        self.by_conn.get(&conn).copied()
    }

    /// Asks for a connection to an address. False: there are too many, and `is_idle` says yes to none.
    pub(super) fn ask(&mut self, to: SocketAddr, is_idle: impl Fn(ConnId) -> bool) -> bool {
        if self.by_address.contains_key(&to) {
            return true;
        }
        if self.by_address.len() >= MOST && !self.hang_up_one(is_idle) {
            return false;
        }
        self.by_address.insert(to, Callee::Asked);
        self.asked.push_back(to);
        true
    }

    fn hang_up_one(&mut self, is_idle: impl Fn(ConnId) -> bool) -> bool {
        let open = self.by_address.iter().filter_map(|(to, callee)| match callee {
            Callee::Open(conn, used) => Some((*used, *to, *conn)),
            Callee::Asked | Callee::Opening(_) => None,
        });
        let Some((_, to, conn)) = open.filter(|(.., conn)| is_idle(*conn)).min() else { return false };
        self.by_address.remove(&to);
        self.by_conn.remove(&conn);
        self.hang_ups.push(conn);
        true
    }

    /// Whether its owner has something to open or to close.
    pub(super) fn is_due(&self) -> bool {
        !self.asked.is_empty() || !self.hang_ups.is_empty()
    }

    /// The next address that a connection is to be opened to now.
    pub(super) fn poll_asked(&mut self) -> Option<SocketAddr> {
        self.asked.pop_front()
    }

    /// The next connection that is to be closed.
    pub(super) fn poll_hang_up(&mut self) -> Option<ConnId> {
        self.hang_ups.pop()
    }

    /// The connection to an address is being opened as this one.
    pub(super) fn on_begun(&mut self, to: SocketAddr, conn: ConnId) {
        match self.by_address.get_mut(&to) {
            Some(callee @ Callee::Asked) => {
                *callee = Callee::Opening(conn);
                self.by_conn.insert(conn, to);
            }
            // Nothing waits for it any more, or there is one.
            _ => self.hang_ups.push(conn),
        }
    }

    /// A connection is open. Returns its address.
    pub(super) fn on_open(&mut self, conn: ConnId) -> Option<SocketAddr> {
        let to = self.address_of(conn)?;
        self.by_address.insert(to, Callee::Open(conn, self.uses));
        Some(to)
    }

    /// A connection that an earlier dispatcher has opened to this address is open.
    pub(super) fn on_kept(&mut self, conn: ConnId, to: SocketAddr) {
        if self.by_address.len() < MOST && !self.by_address.contains_key(&to) {
            self.by_address.insert(to, Callee::Open(conn, 0));
            self.by_conn.insert(conn, to);
        } else {
            self.hang_ups.push(conn);
        }
    }

    /// A connection has ended. Returns its address.
    pub(super) fn on_closed(&mut self, conn: ConnId) -> Option<SocketAddr> {
        self.hang_ups.retain(|other| *other != conn);
        let to = self.by_conn.remove(&conn)?;
        self.by_address.remove(&to);
        Some(to)
    }

    /// Gives up a connection that cannot be opened, or not in time. One that is open stays.
    pub(super) fn give_up(&mut self, to: SocketAddr) {
        match self.by_address.get(&to) {
            None | Some(Callee::Open(..)) => return,
            Some(Callee::Asked) => self.asked.retain(|other| *other != to),
            Some(Callee::Opening(conn)) => {
                self.hang_ups.push(*conn);
                self.by_conn.remove(conn);
            }
        }
        self.by_address.remove(&to);
    }

    /// Panics if it contradicts itself.
    pub(super) fn check(&self) {
        let conn = |callee: &Callee| match callee {
            Callee::Asked => None,
            Callee::Opening(conn) | Callee::Open(conn, _) => Some(*conn),
        };
        let named = self.by_address.iter().filter_map(|(to, callee)| Some((conn(callee)?, *to)));
        assert!(named.clone().all(|(conn, to)| self.address_of(conn) == Some(to)), "{self:?}");
        assert_eq!(named.count(), self.by_conn.len(), "{self:?}");
        assert!(self.by_address.len() <= MOST, "too many connections");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u16) -> SocketAddr {
        ([203, 0, 113, 9], number).into()
    }

    #[test]
    fn an_address_has_one_connection_from_its_first_request_to_its_end() {
        let mut callees = Callees::default();
        assert!(callees.ask(at(1), none) && callees.ask(at(1), none));
        assert_eq!((callees.poll_asked(), callees.poll_asked()), (Some(at(1)), None));
        callees.on_begun(at(1), ConnId(7));
        callees.check();
        assert_eq!((callees.open_to(at(1)), callees.address_of(ConnId(7))), (None, Some(at(1))));
        assert_eq!(callees.on_open(ConnId(7)), Some(at(1)));
        callees.give_up(at(1));
        assert_eq!((callees.open_to(at(1)), callees.poll_hang_up()), (Some(ConnId(7)), None), "it is open");
        assert_eq!((callees.on_closed(ConnId(7)), callees.on_closed(ConnId(7))), (Some(at(1)), None));
        callees.check();
        assert_eq!((callees.open_to(at(1)), callees.on_open(ConnId(7))), (None, None));
    }

    #[test]
    fn one_that_is_not_open_in_time_is_closed_and_the_next_request_begins_anew() {
        let mut callees = Callees::default();
        callees.ask(at(1), none);
        callees.give_up(at(1));
        assert_eq!(callees.poll_asked(), None);
        callees.on_begun(at(1), ConnId(6));
        assert_eq!(callees.poll_hang_up(), Some(ConnId(6)), "nothing waits for it");
        callees.ask(at(1), none);
        callees.on_begun(at(1), ConnId(7));
        callees.give_up(at(1));
        callees.check();
        assert_eq!((callees.poll_hang_up(), callees.on_closed(ConnId(7))), (Some(ConnId(7)), None));
        assert!(callees.ask(at(1), none) && callees.poll_asked() == Some(at(1)));
    }

    #[test]
    fn there_are_no_more_than_so_many_and_the_idle_one_goes_that_was_not_used_for_the_longest() {
        let mut callees = Callees::default();
        let asked = (1..=2 * MOST as u16).filter(|number| callees.ask(at(*number), |_| true)).count();
        assert_eq!(asked, MOST);
        callees.check();
        for number in 1..=3 {
            callees.on_begun(at(number), ConnId(number.into()));
            callees.on_open(ConnId(number.into()));
        }
        callees.open_to(at(1));
        assert!(callees.ask(at(u16::MAX), |conn| conn != ConnId(2)));
        assert_eq!((callees.poll_hang_up(), callees.on_closed(ConnId(3))), (Some(ConnId(3)), None));
        assert!(!callees.ask(at(u16::MAX - 1), none));
        callees.check();
        callees.give_up(at(9));
        assert!(callees.ask(at(u16::MAX - 1), none));
    }

    const fn none(_: ConnId) -> bool {
        false
    }
}
