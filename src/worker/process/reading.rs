//! Input: frames from the dispatcher, datagrams and bytes at the slot's own port.

use mio::Token;

use super::Worker;
use crate::call::Arrival;
use crate::net::clock;
use crate::station::size::size_of;
use crate::wire::mgcp;
use crate::wire::sip::Method;
use crate::wire::sip::SMALLEST_ANSWERED;
use crate::words::Transport;
use crate::words::{AccessRule, ReplyTo};
use crate::worker::application::Application;
use crate::worker::sources::TURNS;

impl<A: Application> Worker<A> {
    /// Frames from lane `number` of the dispatcher.
    pub(super) fn on_link(&mut self, number: usize) -> bool {
        for _ in 0..TURNS {
            let now = clock::now();
            let Worker { tie, uas, mgcp: gateway, media, scanner, transactions, gate, .. } = self;
            let heard = tie.read(number, now, |envelope, payload| {
                let mut arrival = Arrival::handed_over(envelope);
                if envelope.transport == Transport::Mgcp {
                    let parsed = mgcp::parse(payload);
                    let begins = || match &parsed {
                        Ok(mgcp::Message::Command(command)) => gateway.gateway.begins(command, &arrival),
                        Ok(mgcp::Message::Response(_)) | Err(_) => false,
                    };
                    // The dispatcher has counted a command for all workers, and waits for the answer.
                    let is_for_everyone = matches!(envelope.reply_to, ReplyTo::Gathering(_));
                    if !is_for_everyone && !gate.lets_in_from_link(envelope, now, begins) {
                        return false;
                    }
                    gateway.share(uas);
                    match parsed {
                        Ok(msg) => {
                            transactions.on_mgcp(&msg, &arrival, now);
                            gateway.on_message(&msg, &arrival, media, now);
                        }
                        Err(bad) => gateway.on_unparsable(&bad, &arrival, media, now),
                    }
                    gateway.share(uas);
                    return true;
                }
                let Ok(msg) = scanner.scan(payload) else { return false };
                if !gate.lets_in_from_link(envelope, now, || uas.begins(&msg)) {
                    return false;
                }
                transactions.on_message(&msg, envelope, now);
                if arrival.size == 0 && msg.method() == Some(Method::Invite) {
                    // The dispatcher has not weighed this INVITE, because it follows something of ours (its conference,
                    // its first try without credentials). It opens a session all the same.
                    arrival = arrival.weighing(size_of(&msg));
                }
                uas.on_message(&msg, &arrival, now);
                true
            });
            let Some(heard) = heard else { return false };
            if let Some(rules) = heard.access {
                self.set_access(&rules);
            }
            self.obey(heard.order, now);
            self.carry_out();
            if let Some(reason) = heard.over {
                // Frames of the other lanes are still to be read: the dispatcher is lost when all links have ended.
                if self.tie.links.on_end(number) {
                    self.on_dispatcher_lost(&reason);
                }
                return false;
            }
        }
        true
    }

    /// Datagrams at the slot's own port.
    pub(super) fn on_own(&mut self, number: usize) -> bool {
        let Some(socket) = self.own.get(number) else { return false };
        for _ in 0..TURNS {
            let read = match socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the slot's own port");
                    return false;
                }
            };
            let now = clock::now();
            let Worker { uas, scanner, gate, .. } = self;
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                let (scanned, from) = (scanner.scan(datagram.bytes), datagram.source.ip());
                // A datagram smaller than an answer is dropped, as at the dispatcher: a forged source must not be sent
                // more than was put in.
                let is_tiny = datagram.bytes.len() < SMALLEST_ANSWERED;
                if is_tiny && scanned.as_ref().map_or(true, |msg| uas.begins(msg)) {
                    continue;
                }
                if !gate.lets_in(from, now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                    continue;
                }
                match scanned {
                    Ok(msg) => {
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                        let arrival = arrival.weighing(size_of(&msg));
                        uas.on_message(&msg, &arrival, now);
                    }
                    Err(unparsable) => {
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                        uas.on_unparsable(&unparsable, &arrival);
                    }
                }
            }
            if read < self.batch.places() {
                return false;
            }
        }
        true
    }

    /// Bytes on a stream connection, or a new connection.
    pub(super) fn on_stream(&mut self, token: Token) -> bool {
        let now = clock::now();
        let Worker { uas, scanner, gate, streams, .. } = self;
        if streams.is_listener(token) {
            return streams.accept(token, now, |conn| uas.carries_call(conn), |address| gate.denies(address));
        }
        streams.on_ready(token, now, &mut |bytes, conn, source, local| {
            let scanned = scanner.scan(bytes);
            if !gate.lets_in(source.ip(), now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                return;
            }
            match scanned {
                Ok(msg) => {
                    uas.on_message(&msg, &Arrival::stream(conn, source, local, 1).weighing(size_of(&msg)), now);
                }
                Err(unparsable) => uas.on_unparsable(&unparsable, &Arrival::stream(conn, source, local, 1)),
            }
        })
    }

    /// Replaces the access rules. They hold for connections that are open already as well.
    pub(super) fn set_access(&mut self, rules: &[AccessRule]) {
        let Worker { gate, streams, .. } = self;
        gate.set_rules(rules);
        streams.close_where(|address| gate.denies(address));
    }
}
