//! Effects that the gateway asks for: messages sent, calls told to the dispatcher, names looked up. Its own ports are
//! read here as well.

use super::{Meanwhile, Question, Worker};
use crate::call::Transmit;
use crate::call::exchange::Hop;
use crate::call::gateway::{LookupKey, Output};
use crate::names::{self, Protocol, Source};
use crate::net::clock;
use crate::time::Time;
use crate::wire::mgcp::MOST_PARTS;
use crate::wire::mgcp::{self, Message};
use crate::worker::application::Application;
use crate::worker::mgcp::arrival;
use crate::worker::sources::TURNS;

impl<A: Application> Worker<A> {
    /// Does what the gateway asks for, until it asks for nothing more.
    pub(super) fn carry_out_gateway(&mut self) {
        while let Some(output) = self.mgcp.poll_output(&mut self.media, clock::now()) {
            let now = clock::now();
            match output {
                Output::Transmit(transmit) => self.transmit_mgcp(&transmit),
                Output::Answered(seq) => self.answered(seq, now),
                Output::Refuse(seq, reason) => self.refuse(seq, reason),
                Output::CallOpened(id, since) => self.tell(Meanwhile::Opened(group_of(&id), since)),
                Output::CallClosed(id) => self.tell(Meanwhile::Closed(group_of(&id))),
                Output::Resolve { key, host, port } => self.look_up_agent(key, host, port, now),
                // Done already, see `Mgcp::settle`.
                Output::Media(..) => {}
            }
        }
        self.mgcp.share(&mut self.uas);
    }

    /// Datagrams at the slot's own MGCP port. Piggybacked messages are taken in their order (RFC 3435 §3.5.5).
    pub(super) fn on_own_mgcp(&mut self, number: usize) -> bool {
        for _ in 0..TURNS {
            let Worker { mgcp, media, gate, batch, uas, .. } = self;
            let Some(socket) = mgcp.own.get(number) else { return false };
            let read = match socket.recv_batch(batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the slot's own MGCP port");
                    return false;
                }
            };
            let now = clock::now();
            mgcp.share(uas);
            for datagram in batch.iter().filter(|datagram| !datagram.truncated) {
                for (place, part) in mgcp::parts(datagram.bytes).enumerate() {
                    let parsed = mgcp::parse(part);
                    let arrival = arrival(number as u16, datagram.source, datagram.local, parsed.as_ref().ok());
                    let begins = || match &parsed {
                        Ok(Message::Command(command)) => mgcp.gateway.begins(command, &arrival),
                        Ok(Message::Response(_)) => false,
                        Err(_) => true,
                    };
                    if !gate.lets_in(datagram.source.ip(), now, begins) {
                        continue;
                    }
                    match parsed {
                        Ok(Message::Command(command)) if place >= MOST_PARTS => {
                            mgcp.gateway.on_overflow(&command, &arrival);
                        }
                        Ok(message) => mgcp.on_message(&message, &arrival, media, now),
                        Err(bad) => mgcp.on_unparsable(&bad, &arrival, media, now),
                    }
                }
            }
            let more = read == batch.places();
            self.carry_out_gateway();
            if !more {
                return false;
            }
        }
        true
    }

    fn transmit_mgcp(&mut self, transmit: &Transmit) {
        let Transmit { hop, to, from, bytes } = transmit;
        if let Hop::Dispatcher(conn) = *hop {
            if let Err(error) = self.tie.links.reply(conn, bytes) {
                tracing::debug!(%error, "an answer that the dispatcher was to send is dropped");
            }
            return;
        }
        // A message that cannot be sent is lost like a packet on the way: its transaction's sender retransmits.
        let Some(socket) = self.mgcp.socket(*hop, *to, &self.tie.listeners) else { return };
        if let Err(error) = socket.send(bytes, *to, *from) {
            tracing::debug!(%error, %to, "an MGCP message could not be sent");
        }
    }

    fn look_up_agent(&mut self, key: LookupKey, host: Box<str>, port: u16, now: Time) {
        let source = Source::CallAgents;
        let question = names::Question { host, port: Some(port), protocols: &[Protocol::Udp], source };
        self.look_up(Question::CallAgent(key), question, now);
    }

    /// All calls that are open: since when, and their groups' names.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = (Time, Box<[u8]>)> + '_ {
        self.mgcp.gateway.calls().map(|(id, since)| (since, group_of(id)))
    }
}

/// The group that stands for a call: all its connections belong to one worker.
pub(in crate::worker) fn group_of(id: &[u8]) -> Box<[u8]> {
    [b"C:", id].concat().into()
}
