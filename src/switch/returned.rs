//! Messages that workers gave back, or died with: the dispatcher decides about them again.

use super::in_hand::{InHand, Way};
use super::links::Channel;
use super::outbox::Outbox;
use super::owner::Owner;
use super::{MOST_GIVEN_BACK, Switch};
use crate::dispatch::decision::{Answer, Arrival, Handoff, Search, Target, Unanswered};
use crate::dispatch::note::Note;
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::{Dispatch, Incoming};
use crate::ids::{ConnId, WorkerId};
use crate::link::store::LARGEST;
use crate::time::Time;
use crate::wire::handoff::MESSAGE_HEADER;
use crate::wire::mgcp;
use crate::wire::sip::Method;
use crate::words::{Envelope, HandedOver, RefuseReason, ReplyTo, Transport};

impl<C: Channel> Switch<C> {
    /// A worker of an earlier dispatcher has come back with `messages` that it has not answered: the dispatcher has a
    /// copy of each again. Each is kept by the lane that its call belongs to, as many as a link's store would hold.
    pub(super) fn take_back(&mut self, worker: WorkerId, messages: &[Unanswered], now: Time) {
        let mut bytes = 0;
        for Unanswered { envelope, payload } in messages {
            let Ok(message) = self.scanner.scan(payload) else { continue };
            if self.owners.lane_of(&message) != self.owners.own() {
                continue;
            }
            let Some((name, entry)) = self.dispatch.brought(worker, &message) else { continue };
            bytes += MESSAGE_HEADER + payload.len();
            if bytes > self.retention_bytes.max(LARGEST) {
                return;
            }
            let search = Search::after_deaths(u8::from(envelope.again), now).at(worker);
            let note = Note { entry: Some(entry), search, chain: None };
            // The connections of the earlier dispatcher are gone; their numbers are those of other peers by now.
            let reply_to = match envelope.reply_to {
                ReplyTo::Stream(_) => ReplyTo::Stream(ConnId::GONE),
                other => other,
            };
            let envelope = Envelope { reply_to, ..*envelope };
            let message = HandedOver { envelope, note, payload: payload.to_vec(), sent: true };
            self.brought.add(worker, name, message);
        }
    }

    /// Takes back messages that lie before a link without a connection and are late: their worker has not read them,
    /// and would refuse them.
    pub(super) fn take_unread(&mut self, now: Time) {
        let Switch { outbox, given_back, refused, .. } = self;
        for (from, link) in outbox.links.iter_mut().filter(|(_, link)| link.channel().is_cut()) {
            while given_back.len() < MOST_GIVEN_BACK
                && let Some(message) = link.front.take_late(now)
            {
                refused.count(RefuseReason::Late);
                given_back.push_back(Returned { message, from, cause: Cause::Refused(RefuseReason::Late) });
            }
        }
    }

    /// Decides again about messages that workers gave back, as many as this turn allows.
    pub(super) fn place_given_back(&mut self, now: Time) {
        while self.given_back_left > 0
            && let Some(back) = self.given_back.pop_front()
        {
            self.given_back_left -= 1;
            self.place_now(back, now);
        }
    }

    /// Decides again about one message.
    pub(super) fn place_now(&mut self, back: Returned, now: Time) -> Target {
        let target = self.place_again(back, now);
        self.place_not_taken(now);
        target
    }

    /// Sends the messages of requests under way that are to leave.
    pub(super) fn send_leaving(&mut self, now: Time) {
        self.outbox.send_leaving(&mut self.dispatch, now);
        self.place_not_taken(now);
    }

    /// Decides again about messages that a link did not take.
    pub(super) fn place_not_taken(&mut self, now: Time) {
        // No worker gets a message twice, so this comes to an end.
        while let Some(back) = self.outbox.not_taken.pop_front() {
            self.place_again(back, now);
        }
    }

    /// Decides again about messages that may have killed a worker, as many as may be out at a time.
    pub(super) fn place_suspects(&mut self, now: Time) {
        let links = &self.outbox.links;
        self.suspects.clear(now, |worker, seq| links.get(worker).is_some_and(|link| link.front.taken_through() >= seq));
        while self.orphans_left > 0
            && let Some(back) = self.suspects.next()
        {
            self.orphans_left -= 1;
            if let Target::Worker(Handoff { worker, seq, .. }) = self.place_now(back, now) {
                self.suspects.on_handed_over(worker, seq, now);
            }
        }
        self.may_clear = self.orphans_left == 0 && self.suspects.may_go();
    }

    fn place_again(&mut self, back: Returned, now: Time) -> Target {
        let HandedOver { envelope, note, payload, .. } = &back.message;
        let way = Way { owner: Owner::Listener(envelope.listener), arrival: Arrival::of(envelope) };
        let in_hand = |message| InHand { message, way: &way, chain: note.chain, now };
        let Switch { scanner, dispatch, outbox, resumed, .. } = self;
        // The message was read before it was handed over; a fault now would be a bug, and the message is dropped.
        let (target, waits) = match envelope.transport {
            Transport::Mgcp => {
                let Ok(message) = mgcp::parse(payload) else { return Target::Drop };
                outbox.decide_again(dispatch, &in_hand((&message).into()), &back)
            }
            _ => {
                let Ok(message) = scanner.scan(payload) else { return Target::Drop };
                outbox.decide_again(dispatch, &in_hand((&message).into()), &back)
            }
        };
        if !waits {
            resumed.extend(note.chain);
        }
        target
    }
}

impl<C: Channel> Outbox<C> {
    /// Decides again about a message. Returns the target, and whether its answer is still to come.
    fn decide_again(&mut self, dispatch: &mut Dispatch, in_hand: &InHand<'_>, back: &Returned) -> (Target, bool) {
        let InHand { message, now, .. } = *in_hand;
        let decision = dispatch.on_returned(message, back, now);
        let waits = self.carry_out(dispatch, decision, in_hand);
        if let Target::Answer(Answer { to_tag: Some(tag), .. }) = decision.target
            && let Incoming::Sip(request) = message
            && request.method() == Some(Method::Invite)
            && let Some(answer) = self.answers.last(in_hand.way)
        {
            self.retransmits.begin(tag, answer, now);
        }
        (decision.target, waits)
    }
}
