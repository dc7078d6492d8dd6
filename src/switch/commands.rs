//! MGCP at the switch: a datagram is taken apart into its messages, each of which is decided about by itself.
//!
//! Responses go at once. Commands go one after the other: the next one when the one before it has its answer (RFC 3435
//! §3.5.5). If the next command belongs to another lane, that lane gets all that are left.

use super::in_hand::InHand;
use super::outbox::{Asked, acknowledgement};
use super::{Channel, Switch, Way};
use crate::dispatch::mgcp::MOST_ACKS;
use crate::dispatch::mgcp::chain::Rest;
use crate::time::Time;
use crate::wire::line;
use crate::wire::mgcp::{Field, MOST_PARTS, Message, Ranges, TransactionId, Unparsable, parse, parts, separator};

impl<C: Channel> Switch<C> {
    /// Acts on a message that another lane has read for this one: a command, several commands that wait for each other,
    /// or an acknowledgement whose transaction the other lane does not know.
    pub(super) fn on_passed(&mut self, bytes: &[u8], way: &Way, now: Time) {
        // A response begins with a digit; every other message is a command, which begins with a letter.
        if !bytes.first().is_some_and(u8::is_ascii_digit) {
            return self.on_commands(bytes, way, now);
        }
        let Ok(Message::Response(response)) = parse(bytes) else { return };
        let source = way.arrival.source;
        match response.param(Field::ResponseAck).map(Ranges::new) {
            None => self.dispatch.on_ack_elsewhere(source, response.transaction(), now),
            Some(all) => all.iter().flatten().take(MOST_ACKS).for_each(|id| {
                self.dispatch.on_ack_elsewhere(source, TransactionId(id), now);
            }),
        }
        self.send_acks(way, now);
    }

    /// Acts on several messages in one datagram.
    pub(super) fn on_several(&mut self, bytes: &[u8], way: &Way, now: Time) {
        let mut commands = Vec::new();
        for (number, part) in parts(bytes).enumerate() {
            self.count_received(way);
            match parse(part) {
                Ok(message) if number >= MOST_PARTS => {
                    self.overflow(&message, way, now);
                    self.outbox.answers.join_last();
                }
                Err(bad) if number >= MOST_PARTS => {
                    self.decide_parsed(&Err(bad), way, None, None, now);
                    self.outbox.answers.join_last();
                }
                Ok(Message::Command(_)) => {
                    commands.extend_from_slice(part);
                    if !part.ends_with(b"\n") {
                        commands.extend_from_slice(b"\r\n");
                    }
                    separator(&mut commands);
                }
                message @ (Ok(Message::Response(_)) | Err(_)) => {
                    self.decide_parsed(&message, way, None, None, now);
                }
            }
        }
        let Some(first) = parts(&commands).next() else { return };
        let lane = self.lane_of_part(first, way);
        if !self.is_passed(lane, &commands, way) {
            self.on_commands(&commands, way, now);
        }
    }

    /// Acts on the commands of one datagram, the first of which belongs to this lane.
    fn on_commands(&mut self, bytes: &[u8], way: &Way, now: Time) {
        let mut all = parts(bytes);
        let Some(first) = all.next() else { return };
        if all.next().is_none() {
            self.decide(first, way, None, now);
        } else if self.chains.has_place(way.arrival.source.ip()) {
            self.go_on(Rest::new(bytes, *way, way.arrival.source.ip()), now);
        } else {
            for part in parts(bytes) {
                if let Ok(message) = parse(part) {
                    self.overflow(&message, way, now);
                }
            }
        }
    }

    /// Decides about the commands that are left, up to one whose answer the next has to wait for.
    pub(super) fn go_on(&mut self, mut rest: Rest<Way>, now: Time) {
        loop {
            let way = rest.way;
            let Some(next) = parts(rest.left()).next() else { return };
            let lane = self.lane_of_part(next, &way);
            if self.is_passed(lane, rest.left(), &way) {
                return;
            }
            let bytes = rest.bytes();
            let Some(part) = rest.next_part().and_then(|range| bytes.get(range)) else { return };
            if rest.is_empty() {
                self.decide(part, &way, None, now);
                return;
            }
            let id = self.chains.wait(rest, now);
            if self.decide(part, &way, Some(id), now) {
                return;
            }
            let Some(left) = self.chains.go_on(id) else { return };
            rest = left;
        }
    }

    /// Sends the answers that have been gathered, and goes on with the datagrams that waited for an answer that is
    /// there now.
    pub(super) fn go_on_chains(&mut self, now: Time) {
        loop {
            while let Some(id) = self.dispatch.poll_gathered() {
                let Some(Asked { owner, chain }) = self.outbox.asked.remove(&id) else { continue };
                if let Some((bytes, arrival)) = self.dispatch.gathered(id) {
                    self.outbox.answers.write_bytes(&Way { owner, arrival: *arrival }, bytes);
                }
                self.resumed.extend(chain);
            }
            let Some(id) = self.resumed.pop_front() else { return };
            if let Some(rest) = self.chains.go_on(id) {
                self.go_on(rest, now);
            }
        }
    }

    /// Answers a message that is one too many.
    fn overflow(&mut self, message: &Message<'_>, way: &Way, now: Time) {
        let decision = self.dispatch.on_overflow(message, &way.arrival, now);
        let in_hand = InHand { message: message.into(), way, chain: None, now };
        self.outbox.carry_out(&mut self.dispatch, decision, &in_hand);
    }

    /// Passes acknowledgements on: to workers of this lane, and to the other lanes those whose transactions it does not
    /// know.
    pub(super) fn send_acks(&mut self, way: &Way, now: Time) {
        let Switch { outbox, dispatch, parcels, owners, .. } = self;
        while let Some((handoff, transaction)) = dispatch.poll_ack(now) {
            outbox.acknowledge(dispatch, &handoff, transaction, &way.arrival);
        }
        let Some(first) = dispatch.poll_unknown_ack() else { return };
        // One message for all of them: a call agent that acknowledges many costs the other lanes no more than this one.
        let (bytes, length) = acknowledgement(first);
        let mut all = bytes[..length].to_vec();
        if let Some(second) = dispatch.poll_unknown_ack() {
            let mut list = format!("{first},{second}");
            while let Some(next) = dispatch.poll_unknown_ack() {
                list.push_str(&format!(",{next}"));
            }
            line::write(&mut all, "K", list.as_bytes());
        }
        let others = parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != owners.own());
        others.for_each(|(_, parcel)| parcel.add(&all, way));
    }

    fn lane_of_part(&self, part: &[u8], way: &Way) -> usize {
        if self.owners.lanes() == 1 {
            return self.owners.own();
        }
        self.lane_of_message(&parse(part), way)
    }

    pub(super) fn lane_of_message(&self, message: &Result<Message<'_>, Unparsable<'_>>, way: &Way) -> usize {
        if self.owners.lanes() == 1 {
            return self.owners.own();
        }
        match message {
            Ok(Message::Command(command)) => self.owners.lane_of_command(command, way.arrival.source.ip()),
            // A response names its worker itself. A message that cannot be parsed belongs to no lane: its reader
            // decides about it.
            _ => self.owners.own(),
        }
    }
}
