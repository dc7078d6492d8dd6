//! Connections that a lane opens for requests of systems that go over TCP or TLS to where they name (RFC 3261 §18.1.1).
//!
//! A far end has one, which all requests for it share. Its owner closes one that is silent for long; the next request
//! opens another. Where there are too many, the one goes that was not asked for the longest.
//!
//! Over TLS the far end is an address and the host that its certificate is for (RFC 5922): what is for another host at
//! that address never goes by the connection.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::targets::proxies::Security;
use crate::ids::ConnId;
use crate::pack::packed;
use crate::words::Transport;

/// Most connections of a lane, with those that are being opened.
pub const MOST: usize = 1_024;

/// The far end of such a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Callee {
    /// Its address.
    pub address: SocketAddr,
    /// Over TLS, the host that its certificate has to be for; `None`: over TCP.
    pub name: Option<Arc<str>>,
}

packed!(Callee { address, name });

/// The connections by their far ends.
#[derive(Debug, Default)]
pub(super) struct Callees {
    by_callee: BTreeMap<Callee, State>,
    by_conn: BTreeMap<ConnId, Callee>,
    /// Far ends that a connection is to be opened to.
    asked: VecDeque<Callee>,
    /// Connections that are to be closed.
    hang_ups: Vec<ConnId>,
    /// Number of times that connections were asked for.
    uses: u64,
    /// The security of connections over TLS.
    security: Security,
}

/// The connection to a far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its owner has not begun to open it.
    Asked,
    /// It is being opened.
    Opening(ConnId),
    /// It is open, and was asked for last at this number of uses.
    Open(ConnId, u64),
}

impl Callee {
    /// The transport of its connection.
    pub const fn transport(&self) -> Transport {
        if self.name.is_some() { Transport::Tls } else { Transport::Tcp }
    }
}

impl Callees {
    /// Sets the security of connections over TLS. Requests go by none that was opened with another one: it ends by its
    /// silence.
    pub(super) fn set_security(&mut self, security: Security) {
        if std::mem::replace(&mut self.security, security) != security {
            let Callees { by_callee, by_conn, asked, hang_ups, .. } = self;
            by_callee.retain(|callee, state| callee.name.is_none() || !matches!(state, State::Open(..)));
            // One whose handshake has begun would be verified by the old one.
            for (callee, state) in by_callee.iter_mut().filter(|(callee, _)| callee.name.is_some()) {
                if let State::Opening(conn) = *state {
                    by_conn.remove(&conn);
                    hang_ups.push(conn);
                    asked.push_back(callee.clone());
                    *state = State::Asked;
                }
            }
        }
    }

    /// The connection that is open to a far end, for a request.
    pub(super) fn open_to(&mut self, to: &Callee) -> Option<ConnId> {
        let Some(State::Open(conn, used)) = self.by_callee.get_mut(to) else { return None };
        self.uses += 1;
        *used = self.uses;
        Some(*conn)
    }

    /// The far end of a connection.
    pub(super) fn of(&self, conn: ConnId) -> Option<&Callee> {
        self.by_conn.get(&conn)
    }

    /// Asks for a connection to a far end. False: there are too many, and `is_idle` says yes to none.
    pub(super) fn ask(&mut self, to: &Callee, is_idle: impl Fn(ConnId) -> bool) -> bool {
        if self.by_callee.contains_key(to) {
            return true;
        }
        if self.by_callee.len() >= MOST && !self.hang_up_one(is_idle) {
            return false;
        }
        self.by_callee.insert(to.clone(), State::Asked);
        self.asked.push_back(to.clone());
        true
    }

    fn hang_up_one(&mut self, is_idle: impl Fn(ConnId) -> bool) -> bool {
        let open = self.by_callee.values().filter_map(|state| match state {
            State::Open(conn, used) => Some((*used, *conn)),
            State::Asked | State::Opening(_) => None,
        });
        let Some((_, conn)) = open.filter(|(_, conn)| is_idle(*conn)).min() else { return false };
        if let Some(to) = self.by_conn.remove(&conn) {
            self.by_callee.remove(&to);
        }
        self.hang_ups.push(conn);
        true
    }

    /// Whether its owner has something to open or to close.
    pub(super) fn is_due(&self) -> bool {
        !self.asked.is_empty() || !self.hang_ups.is_empty()
    }

    /// The next far end that a connection is to be opened to now.
    pub(super) fn poll_asked(&mut self) -> Option<Callee> {
        self.asked.pop_front()
    }

    /// The next connection that is to be closed.
    pub(super) fn poll_hang_up(&mut self) -> Option<ConnId> {
        self.hang_ups.pop()
    }

    /// The connection to a far end is being opened as this one.
    pub(super) fn on_begun(&mut self, to: &Callee, conn: ConnId) {
        match self.by_callee.get_mut(to) {
            Some(state @ State::Asked) => {
                *state = State::Opening(conn);
                self.by_conn.insert(conn, to.clone());
            }
            // Nothing waits for it any more, or there is one.
            _ => self.hang_ups.push(conn),
        }
    }

    /// A connection is open. Returns its far end.
    pub(super) fn on_open(&mut self, conn: ConnId) -> Option<Callee> {
        let to = self.of(conn)?.clone();
        self.by_callee.insert(to.clone(), State::Open(conn, self.uses));
        Some(to)
    }

    /// A connection over TCP that an earlier dispatcher has opened to this address is open.
    pub(super) fn on_kept(&mut self, conn: ConnId, address: SocketAddr) {
        let to = Callee { address, name: None };
        if self.by_callee.len() < MOST && !self.by_callee.contains_key(&to) {
            self.by_callee.insert(to.clone(), State::Open(conn, 0));
            self.by_conn.insert(conn, to);
        } else {
            self.hang_ups.push(conn);
        }
    }

    /// A connection has ended. Returns its far end, unless another one leads or will lead there.
    pub(super) fn on_closed(&mut self, conn: ConnId) -> Option<Callee> {
        self.hang_ups.retain(|other| *other != conn);
        let to = self.by_conn.remove(&conn)?;
        match self.by_callee.get(&to) {
            Some(state) if state.conn() != Some(conn) => return None,
            _ => self.by_callee.remove(&to),
        };
        Some(to)
    }

    /// Gives up a connection that cannot be opened, or not in time. One that is open stays.
    pub(super) fn give_up(&mut self, to: &Callee) {
        match self.by_callee.get(to) {
            None | Some(State::Open(..)) => return,
            Some(State::Asked) => self.asked.retain(|other| other != to),
            Some(State::Opening(conn)) => {
                self.hang_ups.push(*conn);
                self.by_conn.remove(conn);
            }
        }
        self.by_callee.remove(to);
    }

    /// Panics if it contradicts itself.
    pub(super) fn check(&self) {
        let mut named = self.by_callee.iter().filter_map(|(to, state)| Some((state.conn()?, to)));
        assert!(named.all(|(conn, to)| self.of(conn) == Some(to)), "{self:?}");
        // One over TLS may be older than the security.
        let is_used = |(conn, to): (&ConnId, &Callee)| self.by_callee.get(to).and_then(State::conn) == Some(*conn);
        assert!(self.by_conn.iter().all(|it| it.1.name.is_some() || is_used(it)), "{self:?}");
        assert!(self.by_callee.len() <= MOST, "too many connections");
    }
}

impl State {
    const fn conn(&self) -> Option<ConnId> {
        match self {
            State::Asked => None,
            State::Opening(conn) | State::Open(conn, _) => Some(*conn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u16) -> Callee {
        Callee { address: ([203, 0, 113, 9], number).into(), name: None }
    }

    fn secure(name: &str) -> Callee {
        Callee { name: Some(name.into()), ..at(5061) }
    }

    fn opened(callees: &mut Callees, to: &Callee, conn: ConnId) {
        assert!(callees.ask(to, none) && callees.poll_asked().as_ref() == Some(to));
        callees.on_begun(to, conn);
        assert_eq!(callees.on_open(conn).as_ref(), Some(to));
        callees.check();
    }

    #[test]
    fn an_address_has_one_connection_from_its_first_request_to_its_end() {
        let mut callees = Callees::default();
        assert!(callees.ask(&at(1), none) && callees.ask(&at(1), none));
        assert_eq!((callees.poll_asked(), callees.poll_asked()), (Some(at(1)), None));
        callees.on_begun(&at(1), ConnId(7));
        callees.check();
        assert_eq!((callees.open_to(&at(1)), callees.of(ConnId(7))), (None, Some(&at(1))));
        assert_eq!(callees.on_open(ConnId(7)), Some(at(1)));
        callees.give_up(&at(1));
        assert_eq!((callees.open_to(&at(1)), callees.poll_hang_up()), (Some(ConnId(7)), None), "it is open");
        assert_eq!((callees.on_closed(ConnId(7)), callees.on_closed(ConnId(7))), (Some(at(1)), None));
        callees.check();
        assert_eq!((callees.open_to(&at(1)), callees.on_open(ConnId(7))), (None, None));
    }

    #[test]
    fn one_that_is_not_open_in_time_is_closed_and_the_next_request_begins_anew() {
        let mut callees = Callees::default();
        callees.ask(&at(1), none);
        callees.give_up(&at(1));
        assert_eq!(callees.poll_asked(), None);
        callees.on_begun(&at(1), ConnId(6));
        assert_eq!(callees.poll_hang_up(), Some(ConnId(6)), "nothing waits for it");
        callees.ask(&at(1), none);
        callees.on_begun(&at(1), ConnId(7));
        callees.give_up(&at(1));
        callees.check();
        assert_eq!((callees.poll_hang_up(), callees.on_closed(ConnId(7))), (Some(ConnId(7)), None));
        assert!(callees.ask(&at(1), none) && callees.poll_asked() == Some(at(1)));
    }

    #[test]
    fn there_are_no_more_than_so_many_and_the_idle_one_goes_that_was_not_used_for_the_longest() {
        let mut callees = Callees::default();
        let asked = (1..=2 * MOST as u16).filter(|number| callees.ask(&at(*number), |_| true)).count();
        assert_eq!(asked, MOST);
        callees.check();
        for number in 1..=3 {
            callees.on_begun(&at(number), ConnId(number.into()));
            callees.on_open(ConnId(number.into()));
        }
        callees.open_to(&at(1));
        assert!(callees.ask(&at(u16::MAX), |conn| conn != ConnId(2)));
        assert_eq!((callees.poll_hang_up(), callees.on_closed(ConnId(3))), (Some(ConnId(3)), None));
        assert!(!callees.ask(&at(u16::MAX - 1), none));
        callees.check();
        callees.give_up(&at(9));
        assert!(callees.ask(&at(u16::MAX - 1), none));
    }

    #[test]
    fn over_tls_each_host_at_an_address_has_a_connection_of_its_own() {
        let mut callees = Callees::default();
        opened(&mut callees, &secure("a.example.net"), ConnId(7));
        opened(&mut callees, &secure("b.example.net"), ConnId(8));
        assert_eq!(callees.open_to(&secure("a.example.net")), Some(ConnId(7)));
        assert_eq!(callees.open_to(&secure("b.example.net")), Some(ConnId(8)));
        assert_eq!(callees.open_to(&at(5061)), None, "nothing goes over TLS that did not ask for it");
        assert_eq!([secure("a").transport(), at(1).transport()], [Transport::Tls, Transport::Tcp]);
    }

    #[test]
    fn after_a_change_of_the_certificates_requests_go_by_new_connections_over_tls_and_by_the_old_ones_over_tcp() {
        let mut callees = Callees::default();
        let other = secure("a.example.net");
        opened(&mut callees, &other, ConnId(7));
        opened(&mut callees, &at(1), ConnId(8));
        callees.set_security(Security::default());
        assert_eq!(callees.open_to(&other), Some(ConnId(7)), "nothing has changed");
        callees.set_security(Security(5));
        assert_eq!((callees.open_to(&other), callees.open_to(&at(1))), (None, Some(ConnId(8))));
        assert_eq!(callees.of(ConnId(7)), Some(&other), "it has responses to bring");
        opened(&mut callees, &other, ConnId(9));
        assert_eq!(callees.on_closed(ConnId(7)), None, "another one leads there");
        assert_eq!(callees.open_to(&other), Some(ConnId(9)));
        callees.check();
    }

    #[test]
    fn a_handshake_that_has_begun_before_a_change_of_the_certificates_begins_anew() {
        let mut callees = Callees::default();
        let other = secure("a.example.net");
        assert!(callees.ask(&other, none) && callees.poll_asked() == Some(other.clone()));
        callees.on_begun(&other, ConnId(7));
        callees.set_security(Security(5));
        callees.check();
        assert_eq!((callees.poll_hang_up(), callees.on_open(ConnId(7))), (Some(ConnId(7)), None));
        assert_eq!(callees.on_closed(ConnId(7)), None);
        assert_eq!(callees.poll_asked(), Some(other.clone()));
        callees.on_begun(&other, ConnId(8));
        assert_eq!((callees.on_open(ConnId(8)), callees.open_to(&other)), (Some(other.clone()), Some(ConnId(8))));
    }

    const fn none(_: ConnId) -> bool {
        false
    }
}
