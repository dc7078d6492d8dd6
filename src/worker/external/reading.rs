//! What comes in: frames from the dispatcher, datagrams from the gateway.

use std::io;

use super::Adapter;
use crate::call::Arrival;
use crate::handoff::back::BackEvent;
use crate::net::clock;
use crate::wire::mgcp::{self, Message, Verb};
use crate::worker::link::Received;
use crate::worker::links::Lane;
use crate::worker::process::TURNS;
use crate::worker::size::size_of_command;

impl Adapter {
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
            let (external, listeners) = (&mut self.external, &self.listeners);
            let (mut drain, mut queried, mut goodbye) = (None, false, None);
            let mut unread = Vec::new();
            let result = back.on_frame(frame, &mut |event| match event {
                BackEvent::Message(message) => {
                    let Ok(parsed) = mgcp::parse(message.payload) else {
                        // The dispatcher answers what nobody can read; this came through by mistake.
                        unread.push(message.envelope.seq);
                        return;
                    };
                    let mut envelope = message.envelope;
                    envelope.seq = numbers.of(number, envelope.seq);
                    envelope.listener = listeners.number(envelope.listener);
                    envelope.conn = numbers.conn(number, envelope.conn);
                    let mut arrival = Arrival::handed_over(&envelope);
                    if let Message::Command(command) = &parsed
                        && arrival.size == 0
                        && command.verb() == Verb::Crcx
                    {
                        // It follows a call of ours, so that nobody has weighed it.
                        arrival.size = size_of_command(command);
                    }
                    external.on_message(&parsed, &arrival, now);
                }
                BackEvent::Drain(change) => drain = Some(change),
                BackEvent::Query => queried = true,
                BackEvent::Goodbye(reason) => goodbye = Some(reason.to_owned()),
                // It has no port for others, and one welcome is enough.
                BackEvent::Access(_) | BackEvent::Welcome(_) => {}
            });
            unread.into_iter().for_each(|seq| back.done(seq, now));
            if queried {
                self.pace.ask();
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
    fn on_link_over(&mut self, number: usize, reason: &str) -> bool {
        if self.links.on_end(number) {
            self.on_dispatcher_lost(reason);
        }
        false
    }

    /// Datagrams from the gateway.
    pub(super) fn on_gateway(&mut self) -> bool {
        // Reading would pass over it: nobody listens there.
        if let Ok(Some(error)) = self.socket.take_error()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.external.on_gateway_gone(clock::now());
            self.carry_out();
        }
        for _ in 0..TURNS {
            let read = match self.socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the gateway");
                    return false;
                }
            };
            let now = clock::now();
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                self.external.on_gateway(datagram.bytes, now);
            }
            self.carry_out();
            if read < self.batch.places() {
                return false;
            }
        }
        true
    }
}
