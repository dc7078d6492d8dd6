//! Outputs of the user agent and the gateway: events told to the application, answers told to the dispatcher, and the
//! rest for the process.

use crate::call::gateway::Output as GatewayOutput;
use crate::call::{CallKey, Event, Output};
use crate::ids::Seq;
use crate::names::{self, Protocol, Source};
use crate::time::Time;
use crate::words::RefuseReason;

use super::{Effect, MediaServer, Question};
use crate::station::application::{Application, Call, Standalone, Undecided};
use crate::station::conferences;
use crate::station::dispatcher::{Change, DispatcherLinks};
use crate::station::media::Media;
use crate::station::mgcp::group_of;

impl<A: Application, M: Media> MediaServer<A, M> {
    /// The gateway's next request to the process.
    pub(super) fn poll_gateway(&mut self, dispatcher: &mut DispatcherLinks, now: Time) -> Option<Effect> {
        while let Some(output) = self.mgcp.poll_output(&mut self.media, now) {
            match output {
                GatewayOutput::Transmit(transmit) => return Some(Effect::Mgcp(transmit)),
                GatewayOutput::Answered(seq) => self.answered(seq, dispatcher, now),
                GatewayOutput::Refuse(seq, reason) => self.refuse(seq, reason, dispatcher),
                GatewayOutput::CallOpened(id, since) => dispatcher.tell(Change::Opened(group_of(&id), since)),
                GatewayOutput::CallClosed(id) => dispatcher.tell(Change::Closed(group_of(&id))),
                GatewayOutput::Resolve { key, host, port } => {
                    let (protocols, source) = (&[Protocol::Udp], Source::CallAgents);
                    let question =
                        names::Question { host, port: Some(port), protocols, asks_transports: false, source };
                    return Some(Effect::LookUp(Question::CallAgent(key), question));
                }
                // Done already, see `Mgcp::settle`.
                GatewayOutput::Media(..) => {}
            }
        }
        None
    }

    /// The user agent's next request to the process.
    pub(super) fn poll_calls(&mut self, dispatcher: &mut DispatcherLinks, now: Time) -> Option<Effect> {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Transmit(transmit) => return Some(Effect::Sip(transmit)),
                Output::Event(key, event) => self.on_event(key, event, dispatcher, now),
                Output::Standalone(key) => {
                    let mut request = Standalone { uas: &mut self.uas, key, now };
                    self.application.on_request(&mut request);
                    // Refuses a request that the application has left unanswered; without effect on an answered one.
                    self.uas.refuse_standalone(key, now);
                }
                Output::Final { seq, status, why } => dispatcher.outcome(seq, status, why),
                Output::Answered(seq) => self.answered(seq, dispatcher, now),
                Output::Refuse(seq, reason) => self.refuse(seq, reason, dispatcher),
                Output::Resolve(key, question) => return Some(Effect::LookUp(Question::Request(key), question)),
            }
        }
        None
    }

    /// The final response to a handed-over message has left. The dispatcher of an earlier link has no use for its
    /// number; the present one knows the transaction by its name.
    fn answered(&mut self, seq: Seq, dispatcher: &mut DispatcherLinks, now: Time) {
        let named = self.transactions.on_answered(seq, now);
        if !dispatcher.answered(seq, now)
            && let Some(name) = named
        {
            dispatcher.tell(Change::Released(name));
        }
    }

    /// Gives a message back. One of an earlier link cannot be given back: the user agent answers it instead.
    fn refuse(&mut self, seq: Seq, reason: RefuseReason, dispatcher: &mut DispatcherLinks) {
        self.transactions.on_refused(seq);
        dispatcher.refuse(seq, reason);
    }

    fn on_event(&mut self, key: CallKey, event: Event, dispatcher: &mut DispatcherLinks, now: Time) {
        let MediaServer { uas, media, application, call_log, .. } = self;
        match event {
            Event::Offer(offer) if media.has(key) => return media.on_offer(uas, key, &offer, now),
            Event::OfferWanted if media.has(key) => return media.on_offer_wanted(uas, key, now),
            Event::Answer(answer) if media.has(key) => return media.on_answer(uas, key, &answer, now),
            Event::Ended(reason) => {
                call_log.ended(key, reason);
                media.on_ended(key);
                application.on_ended(key, reason);
                return self.leave_conference(key, dispatcher);
            }
            _ => {}
        }
        let mut call = Call { uas, media, key, now, offer: None, open: Undecided::Call };
        match event {
            Event::Incoming { offer, .. } => {
                call_log.comes(key, call.uas.call_id(key).unwrap_or_default());
                call.offer = offer.as_deref();
                let conference = call.request_uri().and_then(conferences::name_of);
                application.on_call(&mut call);
                if let Some(name) = conference.filter(|_| self.uas.size(key).is_some()) {
                    self.join_conference(key, name, dispatcher, now);
                }
            }
            Event::Established => {
                call_log.stands(key);
                application.on_established(&mut call);
            }
            Event::Offer(offer) => {
                (call.offer, call.open) = (Some(offer.as_ref()), Undecided::Offer);
                application.on_offer(&mut call);
            }
            Event::OfferWanted => {
                call.open = Undecided::Offer;
                application.on_offer_wanted(&mut call);
            }
            Event::Answer(answer) => application.on_answer(&mut call, &answer),
            Event::Info { content_type, body } => {
                application.on_info(&mut call, &String::from_utf8_lossy(&content_type), &body);
            }
            Event::Ended(_) => {}
        }
    }
}
