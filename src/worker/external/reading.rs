//! Input: frames from the dispatcher, datagrams from the gateway.

use std::io;

use super::Adapter;
use crate::call::Arrival;
use crate::net::clock;
use crate::station::size::size_of_command;
use crate::wire::mgcp::{self, Message, Verb};
use crate::worker::sources::TURNS;

impl Adapter {
    /// Frames from lane `number` of the dispatcher.
    pub(super) fn on_link(&mut self, number: usize) -> bool {
        for _ in 0..TURNS {
            let now = clock::now();
            let Adapter { tie, external, .. } = self;
            let heard = tie.read(number, now, |envelope, payload| {
                let Ok(parsed) = mgcp::parse(payload) else { return false };
                let mut arrival = Arrival::handed_over(envelope);
                if let Message::Command(command) = &parsed
                    && arrival.size == 0
                    && command.verb() == Verb::Crcx
                {
                    // The dispatcher has not weighed this CRCX, because it follows a call of ours.
                    arrival = arrival.weighing(size_of_command(command));
                }
                external.on_message(&parsed, &arrival, now);
                true
            });
            // This worker has no port of its own for callers, so that it needs no access rules.
            let Some(heard) = heard else { return false };
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

    /// Datagrams from the gateway.
    pub(super) fn on_gateway(&mut self) -> bool {
        // ECONNREFUSED: no process listens at the gateway's port. Reading datagrams would pass over that error.
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
