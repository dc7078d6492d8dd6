//! Connections that a lane keeps open to downstream proxies over TCP and TLS, and those that it opens for their
//! requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Dispatch;
use super::callees::Callee;
use super::targets::proxies::{Dial, STAYS, Security};
use super::targets::proxy::Ended;
use crate::ids::ConnId;
use crate::time::Time;
use crate::words::Transport;

impl Dispatch {
    /// Sets the security of the connections to the proxies of each entry of the settings. Connections that were opened
    /// with another one are replaced.
    pub fn set_securities(&mut self, securities: BTreeMap<String, Security>, now: Time) {
        self.proxies.set_securities(securities, now);
    }

    /// Sets the security of connections over TLS that are opened for requests of systems.
    pub fn set_callee_security(&mut self, security: Security) {
        self.callees.set_security(security);
    }

    /// The next connection that is to be opened now: the owner opens it, and says so by [`Dispatch::on_dialled`].
    pub fn poll_dial(&mut self, now: Time) -> Option<Dial> {
        self.proxies.poll_dial(now)
    }

    /// Takes note that a connection is being opened as this one; `None`: that cannot even begin.
    pub fn on_dialled(&mut self, dial: &Dial, conn: Option<ConnId>, now: Time) {
        self.proxies.on_dialled(dial, conn, now);
    }

    /// The next connection that its owner has to close.
    pub fn poll_hang_up(&mut self, now: Time) -> Option<ConnId> {
        let Dispatch { proxies, contexts, callees, .. } = self;
        callees.poll_hang_up().or_else(|| proxies.poll_hang_up(now, |conn| !contexts.waits_on(conn)))
    }

    /// Takes note that a connection is open: requests go by it.
    pub fn on_connection_open(&mut self, conn: ConnId, now: Time) {
        self.proxies.on_connection_open(conn, now);
        self.on_callee_connected(conn, now);
    }

    /// Whether connections for requests of systems are to be opened or closed now.
    pub fn has_dials(&self) -> bool {
        self.callees.is_due()
    }

    /// The next far end that a connection is to be opened to for a request of a system: the owner opens it, and says so
    /// by [`Dispatch::on_callee_dialled`].
    pub fn poll_callee(&mut self) -> Option<Callee> {
        self.callees.poll_asked()
    }

    /// Takes note that a connection to this far end is being opened as this one; `None`: that cannot even begin.
    pub fn on_callee_dialled(&mut self, to: &Callee, conn: Option<ConnId>, now: Time) {
        match conn {
            Some(conn) => self.callees.on_begun(to, conn),
            None => {
                self.callees.give_up(to);
                self.on_callee_unreachable(to, now);
            }
        }
    }

    /// Takes note that a connection of an earlier dispatcher is open to this address. Returns whether it is wanted.
    pub fn on_connection_kept(&mut self, conn: ConnId, to: SocketAddr, transport: Transport, now: Time) -> bool {
        self.proxies.on_connection_kept(conn, to, transport, now)
    }

    /// Takes note that a connection of an earlier dispatcher over TCP, opened for a request of a system, is open to
    /// this address.
    pub fn on_callee_kept(&mut self, conn: ConnId, to: SocketAddr) {
        self.callees.on_kept(conn, to);
    }

    /// Takes note whether a proxy takes the bytes that are sent on a connection.
    pub fn on_connection_taken(&mut self, conn: ConnId, is_taken: bool) {
        self.proxies.on_connection_taken(conn, is_taken);
    }

    /// Lets go of proxies that the settings have lost long ago, once nothing waits for an answer of theirs. To requests
    /// that still do it is as if the connection had ended.
    pub(super) fn let_go_of_proxies(&mut self, now: Time) {
        if self.proxies.is_farewell_due(now) {
            let mut awaited = self.contexts.proxies();
            // Since it is removed a proxy gets no requests but those. One that rings again is as one that begins then.
            awaited.extend(self.table.awaited_since(now - STAYS));
            let ended = self.proxies.let_go(&awaited, now);
            ended.into_iter().for_each(|(proxy, conn)| self.leave_connection(proxy, conn, now));
        }
    }

    /// Takes note that a connection has ended. Requests that have gone by it and have no response go to another proxy,
    /// or by another connection.
    pub fn on_connection_closed(&mut self, conn: ConnId, ended: Ended, now: Time) {
        if let Some(proxy) = self.proxies.on_connection_closed(conn, ended, now) {
            self.leave_connection(proxy, conn, now);
        }
        if let Some(to) = self.callees.on_closed(conn) {
            self.on_callee_unreachable(&to, now);
        }
    }
}
