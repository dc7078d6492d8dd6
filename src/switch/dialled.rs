//! Connections that the lane keeps open to downstream proxies, as its owner hears of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::Switch;
use super::links::Channel;
use crate::dispatch::callees::Callee;
use crate::dispatch::targets::proxies::{Dial, Security};
use crate::dispatch::targets::proxy::Ended;
use crate::ids::{ConnId, ListenerId};
use crate::time::Time;
use crate::words::Transport;

impl<C: Channel> Switch<C> {
    /// Sets the security of the connections to the downstream proxies of each entry of the settings.
    pub fn set_securities(&mut self, securities: BTreeMap<String, Security>, now: Time) {
        self.dispatch.set_securities(securities, now);
    }

    /// Sets the security of connections over TLS that are opened for requests of downstream proxies.
    pub fn set_callee_security(&mut self, security: Security) {
        self.dispatch.set_callee_security(security);
    }

    /// The next connection that is to be opened to a downstream proxy now: see [`Switch::on_dialled`].
    pub fn poll_dial(&mut self, now: Time) -> Option<Dial> {
        self.dispatch.poll_dial(now)
    }

    /// A connection is being opened as this one; `None`: that cannot even begin.
    pub fn on_dialled(&mut self, dial: &Dial, conn: Option<ConnId>, now: Time) {
        self.dispatch.on_dialled(dial, conn, now);
    }

    /// The next connection to a downstream proxy that is to be closed.
    pub fn poll_hang_up(&mut self, now: Time) -> Option<ConnId> {
        self.dispatch.poll_hang_up(now)
    }

    /// Whether connections for requests of downstream proxies are to be opened or closed now.
    pub fn has_dials(&self) -> bool {
        self.dispatch.has_dials()
    }

    /// The next far end that a connection is to be opened to for a request of a downstream proxy: see
    /// [`Switch::on_callee_dialled`].
    pub fn poll_callee(&mut self) -> Option<Callee> {
        self.dispatch.poll_callee()
    }

    /// A connection to this far end is being opened as this one; `None`: that cannot even begin.
    pub fn on_callee_dialled(&mut self, to: &Callee, conn: Option<ConnId>, now: Time) {
        self.dispatch.on_callee_dialled(to, conn, now);
        self.send_leaving(now);
    }

    /// A connection of an earlier dispatcher leads to this address over TCP, and was opened for a request of a
    /// downstream proxy.
    pub fn on_callee_kept(&mut self, conn: ConnId, to: SocketAddr) {
        self.dispatch.on_callee_kept(conn, to);
    }

    /// A connection that was to be opened is open. Requests that wait for it leave.
    pub fn on_connection_open(&mut self, conn: ConnId, now: Time) {
        self.dispatch.on_connection_open(conn, now);
        self.send_leaving(now);
    }

    /// A connection of an earlier dispatcher leads to this address. Returns whether a downstream proxy is reached by
    /// it.
    pub fn on_connection_kept(&mut self, conn: ConnId, to: SocketAddr, transport: Transport, now: Time) -> bool {
        self.dispatch.on_connection_kept(conn, to, transport, now)
    }

    /// All connections of an earlier dispatcher are known: its requests under way go on.
    pub fn on_taken_over(&mut self, now: Time) {
        self.dispatch.on_taken_over(now);
        self.decide_sought(now);
    }

    /// Has the senders of requests that went by connections which were opened too late for a takeover hear of it: this
    /// lane does not have them.
    pub fn on_connections_missed(&mut self, has: impl Fn(ConnId) -> bool, now: Time) {
        let own = self.owners.own();
        let in_use = self.dispatch.connections_in_use();
        let missed: Vec<ConnId> = in_use.filter(|conn| conn.lane() == own && !has(*conn)).collect();
        missed.iter().for_each(|conn| self.dispatch.on_connection_missed(*conn, now));
        self.gone.extend(missed);
        self.answer_undelivered(now);
    }

    /// A downstream proxy takes the bytes that are sent on a connection again, or does not.
    pub fn on_connection_taken(&mut self, conn: ConnId, is_taken: bool) {
        self.dispatch.on_connection_taken(conn, is_taken);
    }

    /// A connection to a downstream proxy has ended. Requests on it that have no response go to another one.
    pub fn on_connection_closed(&mut self, conn: ConnId, ended: Ended, now: Time) {
        self.dispatch.on_connection_closed(conn, ended, now);
        self.send_leaving(now);
    }

    /// The listener to which a downstream proxy at this address sends what it does not send on a connection of ours.
    pub fn listener_beside(&self, transport: Transport, proxy: IpAddr) -> Option<ListenerId> {
        self.dispatch.rules().stream_listener(transport, proxy).map(|(listener, _)| listener)
    }
}
