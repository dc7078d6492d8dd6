//! Messages for connections that are gone, ours or the dispatcher's: an answer goes on a new connection, where there
//! may be one (RFC 3261 §18.2.2), and a request goes on by another way or is over at once.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Client, ClientKey};
use crate::call::exchange::{Hop, Output, Transmit};
use crate::call::uas::Uas;
use crate::call::uas::addresses::Addresses;
use crate::call::uas::next_hop::Towards;
use crate::time::Time;
use crate::wire::sip::Message;

impl Uas {
    /// The connection `to` is gone, ours or the dispatcher's, and `bytes`, a message of ours, with it.
    pub fn on_undelivered(&mut self, to: Hop, bytes: &[u8], now: Time) {
        self.aliases.lose_where(|hop| hop.is_on(to));
        let mut scanner = self.scanner.take().unwrap_or_default();
        if let Ok(msg) = scanner.scan(bytes) {
            match msg.is_request() {
                true => self.on_request_undelivered(to, &msg, now),
                false => self.on_response_undelivered(to, &msg),
            }
        }
        self.scanner.get_or_insert(scanner);
    }

    /// Connections to our ports are closed: the requests on them that wait for an answer get none.
    pub fn on_connections_closed(&mut self, is_closed: impl Fn(u64) -> bool, now: Time) {
        let is_gone = |hop| matches!(hop, Hop::Stream(conn) if is_closed(conn));
        self.aliases.lose_where(is_gone);
        for key in self.trying(|client, _| is_gone(client.hop)) {
            let Some(Client { call, hop, .. }) = self.clients.get(key) else { continue };
            let call = self.calls.get_mut(*call);
            call.into_iter().for_each(|call| call.addresses.lose(*hop));
            self.send_elsewhere(key, now);
        }
    }

    /// The dispatcher's connections are gone, and the call of this request knows it. Its ACK will take the way that the
    /// call has now.
    pub(in crate::call::uas) fn leave_dispatcher(&mut self, key: ClientKey, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.heard = client.heard.take().filter(|heard| !heard.hop.is_dispatchers_connection());
        if !client.hop.is_dispatchers_connection() {
            return;
        }
        if client.sent.as_ref().is_some_and(|sent| sent.transaction.is_trying()) {
            return self.send_elsewhere(key, now);
        }
        let (hop, peer) = self.way_of(key).map_or((Hop::Gone, None), |way| (way.hop, way.peer));
        if let Some(client) = self.clients.get_mut(key) {
            (client.hop, client.peer) = (hop, peer);
            client.sent.iter_mut().for_each(|sent| sent.leaving.hop = hop);
        }
    }

    /// The way that the call of this request has now.
    fn way_of(&self, key: ClientKey) -> Option<Towards> {
        let call = self.calls.get(self.clients.get(key)?.call)?;
        Some(self.identity.towards(&call.addresses, call.dialog.next_hop(), call.dialog.has_route()))
    }

    fn on_request_undelivered(&mut self, to: Hop, request: &Message<'_>, now: Time) {
        let Some(key) = self.find_client(request) else { return };
        let Some(client) = self.clients.get(key) else { return };
        let is_trying = client.sent.as_ref().is_some_and(|sent| sent.transaction.is_trying());
        if let Some(call) = self.calls.get_mut(client.call) {
            call.addresses.lose(to);
        }
        if client.hop.is_on(to) && is_trying {
            self.send_elsewhere(key, now);
        }
    }

    /// Sends a request on another way than the one that has failed.
    fn send_elsewhere(&mut self, key: ClientKey, now: Time) {
        if let Some(Towards { hop, peer, to }) = self.way_of(key).filter(|way| way.hop != Hop::Gone)
            && let Some(next) = self.same_request(key, hop, now)
        {
            self.clients.remove(key);
            self.begin_again(key, Client { peer, ..next }, to, now);
        } else {
            // RFC 3261 §8.1.3.1: a destination that cannot be reached counts as 503.
            self.on_failed(key, 503, now);
        }
    }

    fn on_response_undelivered(&mut self, to: Hop, response: &Message<'_>) {
        let Some((via, status)) = response.via().zip(response.status()) else { return };
        let server = self.prints.answered(response).and_then(|name| self.servers.find(name));
        let way = server.and_then(|key| {
            self.servers.change(key, |server| {
                server.lose(to);
                server.way()
            })
        });
        let (hop, peer) = match via.transport.to_ascii_uppercase().as_slice() {
            b"TCP" => (Hop::Dial, None),
            b"TLS" => (Hop::DialSecure, via.host.name().map(Arc::from)),
            // A browser takes no connections (RFC 7118 §5).
            _ => return,
        };
        let ip = via.received().or_else(|| via.host.ip());
        // The port of the sent-by, never the one that the connection came from.
        let stated = ip.map(|ip| SocketAddr::new(ip, via.port.unwrap_or(via.default_port())));
        // A 100 says no more than that the connection stood.
        if let Some(to) = stated.filter(|_| status > 100) {
            let (from, bytes) = (way.and_then(|way| way.from), response.bytes().into());
            self.outputs.push_back(Output::Transmit(Transmit { hop, to, peer, from, bytes }));
        }
    }
}

impl Addresses {
    /// The connection `connection` is gone.
    fn lose(&mut self, connection: Hop) {
        if self.heard.hop.is_on(connection) {
            self.heard.hop = Hop::without_connection(self.heard.transport);
        }
    }

    /// All connections of the dispatcher are gone.
    pub(in crate::call::uas) fn lose_any(&mut self) {
        if self.heard.hop.is_dispatchers_connection() {
            self.lose(self.heard.hop);
        }
    }
}
