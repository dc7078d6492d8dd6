//! Input: messages that the dispatcher has handed over, and those that come to the worker's own ports.

use crate::call::{Arrival, Path, Request};
use crate::time::Time;
use crate::wire::framing::StreamFault;
use crate::wire::mgcp::MOST_PARTS;
use crate::wire::mgcp::{self, Message};
use crate::wire::sip::{self, SMALLEST_ANSWERED};
use crate::words::{Envelope, ReplyTo, Transport};

use super::MediaServer;
use crate::station::application::Application;
use crate::station::media::Media;
use crate::station::mgcp::weighed;
use crate::station::size::size_of;

impl<A: Application, M: Media> MediaServer<A, M> {
    /// A message that the dispatcher has handed over. False when it is dropped.
    pub(super) fn on_handed_over(&mut self, envelope: &Envelope, payload: &[u8], now: Time) -> bool {
        if envelope.transport == Transport::Mgcp {
            return self.on_mgcp_handed_over(envelope, payload, now);
        }
        let MediaServer { uas, scanner, gate, transactions, .. } = self;
        let Ok(msg) = scanner.scan(payload) else { return false };
        if !gate.lets_in_from_link(envelope, now, || uas.begins(&msg)) {
            return false;
        }
        let mut arrival = Arrival::handed_over(envelope);
        if arrival.size == 0 {
            // The dispatcher has not weighed this message, because it follows something of ours (its conference, its
            // first try without credentials). An INVITE opens a session all the same.
            arrival = weighing(arrival, &msg);
        }
        match Request::read(&msg) {
            Some(request) => {
                transactions.on_request(&request, envelope, now);
                uas.on_request(&request, &arrival, now);
            }
            // A response, or a request that lacks something.
            None => uas.on_message(&msg, &arrival, now),
        }
        true
    }

    fn on_mgcp_handed_over(&mut self, envelope: &Envelope, payload: &[u8], now: Time) -> bool {
        let MediaServer { uas, mgcp: own, media, gate, transactions, .. } = self;
        let (mut arrival, parsed) = (Arrival::handed_over(envelope), mgcp::parse(payload));
        // On another host than the dispatcher's, connections and answers have an address of this one.
        arrival.local.set_ip(uas.here(arrival.local.ip()));
        let begins = || match &parsed {
            Ok(Message::Command(command)) => own.gateway.begins(command, &arrival),
            Ok(Message::Response(_)) | Err(_) => false,
        };
        // The dispatcher has counted a command for all workers, and waits for the answer.
        let is_for_everyone = matches!(envelope.reply_to, ReplyTo::Gathering(_));
        if !is_for_everyone && !gate.lets_in_from_link(envelope, now, begins) {
            return false;
        }
        own.share(uas);
        match parsed {
            Ok(msg) => {
                transactions.on_mgcp(&msg, &arrival, now);
                own.on_message(&msg, &arrival, media, now);
            }
            Err(bad) => own.on_unparsable(&bad, &arrival, media, now),
        }
        own.share(uas);
        true
    }

    /// Bytes at the worker's own SIP port: a datagram, or one message of a stream.
    pub fn on_sip(&mut self, bytes: &[u8], arrival: Arrival, now: Time) {
        let MediaServer { uas, scanner, gate, .. } = self;
        let scanned = scanner.scan(bytes);
        let begins = || scanned.as_ref().map_or(true, |msg| uas.begins(msg));
        // A datagram smaller than an answer is dropped, as at the dispatcher: a forged source must not be sent more
        // than was put in.
        let is_tiny = matches!(arrival.path, Path::Own(_)) && bytes.len() < SMALLEST_ANSWERED;
        if is_tiny && begins() || !gate.lets_in(arrival.source.ip(), now, begins) {
            return;
        }
        match scanned {
            Ok(msg) => uas.on_message(&msg, &weighing(arrival, &msg), now),
            Err(unparsable) => uas.on_unparsable(&unparsable, &arrival),
        }
    }

    /// The head of a message came on a connection of ours, and the end of its body cannot be found.
    pub fn on_faulty(&mut self, head: &[u8], fault: StreamFault, arrival: Arrival, now: Time) {
        let MediaServer { uas, scanner, gate, .. } = self;
        if gate.lets_in(arrival.source.ip(), now, || true) {
            uas.on_unparsable(&scanner.scan_head(head, fault.into()), &arrival);
        }
    }

    /// A datagram at the worker's own MGCP port. Piggybacked messages are taken in their order (RFC 3435 §3.5.5).
    pub fn on_mgcp(&mut self, datagram: &[u8], arrival: Arrival, now: Time) {
        let MediaServer { mgcp: own, media, gate, uas, .. } = self;
        own.share(uas);
        for (place, part) in mgcp::parts(datagram).enumerate() {
            let parsed = mgcp::parse(part);
            let arrival = weighed(arrival, parsed.as_ref().ok());
            let begins = || match &parsed {
                Ok(Message::Command(command)) => own.gateway.begins(command, &arrival),
                Ok(Message::Response(_)) => false,
                Err(_) => true,
            };
            if !gate.lets_in(arrival.source.ip(), now, begins) {
                continue;
            }
            match parsed {
                Ok(Message::Command(command)) if place >= MOST_PARTS => own.gateway.on_overflow(&command, &arrival),
                Ok(message) => own.on_message(&message, &arrival, media, now),
                Err(bad) => own.on_unparsable(&bad, &arrival, media, now),
            }
        }
    }
}

/// The arrival of a message that no dispatcher has weighed: an INVITE opens a session, so it gets a size.
fn weighing(arrival: Arrival, msg: &sip::Message<'_>) -> Arrival {
    if msg.method() == Some(sip::Method::Invite) { arrival.weighing(size_of(msg)) } else { arrival }
}
