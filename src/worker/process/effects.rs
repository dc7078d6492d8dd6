//! Effects that the user agent asks for: messages sent, events told to the application, names looked up.

use std::net::SocketAddr;

use super::{LOOKUP_WITHIN, Meanwhile, Question, Worker};
use crate::call::{CallKey, Event, Hop, Output, Transmit};
use crate::names::{self, Asked, Endpoint};
use crate::net::clock;
use crate::net::udp::Delivery;
use crate::station::call_log::call_id_of;
use crate::station::conferences::{self};
use crate::time::Time;
use crate::worker::application::{Application, Call, Open, Standalone};

impl<A: Application> Worker<A> {
    /// Does what the user agent and the gateway ask for, until they ask for nothing more.
    pub(super) fn carry_out(&mut self) {
        self.carry_out_gateway();
        loop {
            self.carry_out_calls();
            let failed = self.streams.take_failed();
            if failed.is_empty() {
                return;
            }
            self.uas.on_streams_failed(&failed, |conn| self.streams.takes_requests(conn), clock::now());
        }
    }

    fn carry_out_calls(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            let now = clock::now();
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit, now),
                Output::Event(key, event) => self.on_event(key, event, now),
                Output::Standalone(key) => {
                    let mut request = Standalone { uas: &mut self.uas, key, now };
                    self.application.on_request(&mut request);
                    // Refuses a request that the application has left unanswered; without effect on an answered one.
                    self.uas.refuse_standalone(key, now);
                }
                Output::Final { seq, status, why } => self.tie.links.outcome(seq, status, why),
                Output::Answered(seq) => self.answered(seq, now),
                Output::Refuse(seq, reason) => self.refuse(seq, reason),
                Output::Resolve(key, question) => self.look_up(Question::Request(key), question, now),
            }
        }
    }

    /// Looks up the address that a message goes to.
    pub(super) fn look_up(&mut self, whose: Question, question: names::Question, now: Time) {
        match self.resolver.ask(whose, question, now + LOOKUP_WITHIN, now) {
            Ok(Asked::Now(endpoint)) => self.found(whose, &[endpoint], now),
            Ok(Asked::Later) => {}
            Err(error) => {
                tracing::debug!(%error, "a message cannot be sent");
                self.found(whose, &[], now);
            }
        }
    }

    pub(super) fn on_found(&mut self, now: Time) {
        while let Some(answer) = self.resolver.poll(now) {
            let endpoints = answer.found.unwrap_or_else(|error| {
                tracing::debug!(%error, "a message cannot be sent");
                Vec::new()
            });
            self.found(answer.key, &endpoints, now);
        }
    }

    fn found(&mut self, whose: Question, endpoints: &[Endpoint], now: Time) {
        match whose {
            Question::Request(key) => self.uas.on_resolved(key, endpoints, now),
            Question::CallAgent(key) => {
                let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                self.mgcp.gateway.on_resolved(key, &addresses, now);
            }
        }
    }

    /// Sends a message. One that cannot be sent is lost like a packet on the way: the transaction's timers repeat it. A
    /// request without a route goes to its next address, if it has one.
    pub(super) fn transmit(&mut self, transmit: &Transmit, now: Time) {
        let Transmit { hop, to, from, bytes } = transmit;
        let socket = match *hop {
            Hop::Own(number) => self.own.get(usize::from(number)),
            // A listener that a new dispatcher has given up: from our own port then, as if `reply-from` said so.
            Hop::Listener(number) => self
                .tie
                .listeners
                .get(number)
                .or_else(|| self.own.iter().find(|own| own.local_addr().is_ipv4() == to.is_ipv4())),
            Hop::Stream(conn) => {
                return self.streams.send(conn, *to, bytes, now, |conn| self.uas.carries_call(conn));
            }
            Hop::Dial => return self.streams.dial(*to, bytes, now, |conn| self.uas.carries_call(conn)),
            Hop::Dispatcher(conn) => {
                if let Err(error) = self.tie.links.reply(conn, bytes) {
                    tracing::debug!(%error, "a reply on a connection of the dispatcher is dropped");
                }
                return;
            }
        };
        let Some(socket) = socket else { return };
        match socket.send(bytes, *to, *from) {
            Ok(Delivery::Undeliverable(errno @ (libc::ENETUNREACH | libc::EHOSTUNREACH))) => {
                tracing::debug!(call_id = call_id_of(bytes), errno, %to, "no route leads to where a message goes");
                self.uas.on_unsent(bytes, now);
            }
            // Other faults pass with time.
            Ok(_) => {}
            Err(error) => tracing::debug!(call_id = call_id_of(bytes), %error, %to, "a message could not be sent"),
        }
    }

    pub(super) fn on_event(&mut self, key: CallKey, event: Event, now: Time) {
        let Worker { uas, media, application, call_log, .. } = self;
        match event {
            Event::Offer(offer) if media.has(key) => return media.on_offer(uas, key, &offer, now),
            Event::OfferWanted if media.has(key) => return media.on_offer_wanted(uas, key, now),
            Event::Answer(answer) if media.has(key) => return media.on_answer(uas, key, &answer, now),
            Event::Ended(reason) => {
                call_log.ended(key, reason);
                media.on_ended(key);
                application.on_ended(key, reason);
                return self.leave_conference(key);
            }
            _ => {}
        }
        let mut call = Call { uas, media, key, now, offer: None, open: Open::Call };
        match event {
            Event::Incoming { offer, .. } => {
                call_log.comes(key, call.uas.call_id(key).unwrap_or_default());
                call.offer = offer.as_deref();
                let conference = call.invite(conferences::name_of).flatten();
                application.on_call(&mut call);
                if let Some(name) = conference.filter(|_| self.uas.size(key).is_some()) {
                    self.join_conference(key, name, now);
                }
            }
            Event::Established => {
                call_log.stands(key);
                application.on_established(&mut call);
            }
            Event::Offer(offer) => {
                (call.offer, call.open) = (Some(offer.as_ref()), Open::Offer);
                application.on_offer(&mut call);
            }
            Event::OfferWanted => {
                call.open = Open::Offer;
                application.on_offer_wanted(&mut call);
            }
            Event::Answer(answer) => application.on_answer(&mut call, &answer),
            Event::Info { content_type, body } => {
                application.on_info(&mut call, &String::from_utf8_lossy(&content_type), &body);
            }
            Event::Ended(_) => {}
        }
    }

    pub(super) fn join_conference(&mut self, key: CallKey, name: Box<[u8]>, now: Time) {
        if self.conferences.join(key, name.clone(), now) {
            self.tell(Meanwhile::Opened(name, now));
        }
    }

    pub(super) fn leave_conference(&mut self, key: CallKey) {
        if let Some(name) = self.conferences.leave(key) {
            self.tell(Meanwhile::Closed(name));
        }
    }
}
