//! What comes in: frames from the dispatcher, datagrams and bytes at the slot's own port.

use mio::Token;

use super::{TURNS, Worker};
use crate::call::Arrival;
use crate::dispatch::SMALLEST_ANSWERED;
use crate::handoff::back::BackEvent;
use crate::handoff::frame::AccessRule;
use crate::handoff::frame::Transport;
use crate::net::clock;
use crate::wire::mgcp;
use crate::wire::sip::Method;
use crate::worker::application::Application;
use crate::worker::link::Received;
use crate::worker::links::Lane;
use crate::worker::size::size_of;

impl<A: Application> Worker<A> {
    /// Frames from lane `number` of the dispatcher.
    pub(super) fn on_link(&mut self, number: usize) -> bool {
        for _ in 0..TURNS {
            let numbers = self.links.numbers();
            let Some(Lane { end, back, .. }) = self.links.get_mut(number) else { return false };
            if !back.wants_frames() {
                // Read on once the link has taken what waits for it.
                return false;
            }
            let frame = match end.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::Nothing) => return false,
                Ok(Received::End) => return self.on_link_over(number, "the dispatcher is gone"),
                Err(error) => return self.on_link_over(number, &error.to_string()),
            };
            let now = clock::now();
            let Worker { uas, mgcp: gateway, media, scanner, holdings, listeners, .. } = self;
            let (mut drain, mut queried, mut goodbye) = (None, false, None);
            let (mut unread, mut access) = (Vec::new(), None);
            let result = back.on_frame(frame, &mut |event| match event {
                BackEvent::Message(message) => {
                    let mut envelope = message.envelope;
                    envelope.seq = numbers.of(number, envelope.seq);
                    envelope.listener = listeners.number(envelope.listener);
                    envelope.conn = numbers.conn(number, envelope.conn);
                    if envelope.transport == Transport::Mgcp {
                        let arrival = Arrival::handed_over(&envelope);
                        gateway.share(uas);
                        match mgcp::parse(message.payload) {
                            Ok(msg) => {
                                holdings.on_mgcp(&msg, &arrival, now);
                                gateway.on_message(&msg, &arrival, media, now);
                            }
                            Err(bad) => gateway.on_unparsable(&bad, &arrival, media, now),
                        }
                        gateway.share(uas);
                        return;
                    }
                    let mut arrival = Arrival::handed_over(&envelope);
                    match scanner.scan(message.payload) {
                        Ok(msg) => {
                            holdings.on_message(&msg, envelope.seq, now);
                            if arrival.size == 0 && msg.method() == Some(Method::Invite) {
                                // It follows something of ours (its conference, its first try without credentials), so
                                // that nobody has weighed it; it opens a session all the same.
                                arrival.size = size_of(&msg);
                            }
                            uas.on_message(&msg, &arrival, now);
                        }
                        // The dispatcher answers what nobody can read; this came through by mistake.
                        Err(_) => unread.push(message.envelope.seq),
                    }
                }
                BackEvent::Drain(change) => drain = Some(change),
                BackEvent::Query => queried = true,
                BackEvent::Access(rules) => access = Some(rules.iter().collect::<Vec<_>>()),
                BackEvent::Goodbye(reason) => goodbye = Some(reason.to_owned()),
                // Once is enough.
                BackEvent::Welcome(_) => {}
            });
            unread.into_iter().for_each(|seq| back.done(seq, now));
            if queried {
                self.pace.ask();
            }
            if let Some(rules) = access {
                self.set_access(&rules);
            }
            let order = drain.and_then(|drain| self.stage.on_drain(drain, now));
            self.obey(order, now);
            self.carry_out();
            if let Some(reason) = goodbye.or_else(|| result.err().map(|error| error.to_string())) {
                return self.on_link_over(number, &reason);
            }
        }
        true
    }

    /// A link has been read to its end. What the other lanes have sent is still to be read.
    pub(super) fn on_link_over(&mut self, number: usize, reason: &str) -> bool {
        if self.links.on_end(number) {
            self.on_dispatcher_lost(reason);
        }
        false
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
            let Worker { uas, scanner, screen, .. } = self;
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                let (scanned, from) = (scanner.scan(datagram.bytes), datagram.source.ip());
                // Nobody gets more from us than was put in, as from the dispatcher.
                let is_tiny = datagram.bytes.len() < SMALLEST_ANSWERED;
                if is_tiny && scanned.as_ref().map_or(true, |msg| uas.begins(msg)) {
                    continue;
                }
                if !screen.lets_in(from, now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                    continue;
                }
                match scanned {
                    Ok(msg) => {
                        let size = size_of(&msg);
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, size);
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
        let Worker { uas, scanner, screen, streams, .. } = self;
        let more = streams.on_readable(token, now, &mut |bytes, conn, source, local| {
            let scanned = scanner.scan(bytes);
            if !screen.lets_in(source.ip(), now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                return;
            }
            match scanned {
                Ok(msg) => {
                    let size = size_of(&msg);
                    uas.on_message(&msg, &Arrival::stream(conn, source, local, size), now);
                }
                Err(unparsable) => uas.on_unparsable(&unparsable, &Arrival::stream(conn, source, local, 1)),
            }
        });
        if streams.is_listener(token) {
            streams.close_where(|address| screen.denies(address));
        }
        more
    }

    /// Other access rules: they hold for connections that are there, too.
    pub(super) fn set_access(&mut self, rules: &[AccessRule]) {
        let Worker { screen, streams, .. } = self;
        screen.set_rules(rules);
        streams.close_where(|address| screen.denies(address));
    }
}
