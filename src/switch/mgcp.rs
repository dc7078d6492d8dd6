//! MGCP at the switch: a datagram is taken apart into its messages, each of which is decided about by itself.
//!
//! Responses go at once. Commands go one after the other: the next one when the one before it has its answer (RFC 3435
//! §3.5.5). If the next command belongs to another lane, that lane gets all that are left.

use std::net::SocketAddr;

use super::outbox::{Outbox, push};
use super::returned_message::ReturnedMessage;
use super::{Channel, Datagram, Owner, Switch, decided};
use crate::config::Insert;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, ChainId, Decision, Handoff, Returned, Target};
use crate::dispatch::mgcp::MOST_ACKS;
use crate::dispatch::mgcp::chain::Rest;
use crate::ids::ListenerId;
use crate::time::Time;
use crate::wire::line;
use crate::wire::mgcp::MOST_PARTS;
use crate::wire::mgcp::{
    Field, MAX_PARAMS, Message, Ranges, TransactionId, Unparsable, Verb, parse, parts, patch, separator,
};
use crate::words::{ReplyTo, Transport};

/// Way of a datagram: the owner of its socket, and its arrival.
pub(super) type Way = (Owner, Arrival);

/// Receiver of a gathered answer: the owner of the command's socket, and the chain that waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    owner: Owner,
    chain: Option<ChainId>,
}

impl<C: Channel> Switch<C> {
    /// A datagram came to an MGCP socket of `owner`, and the kernel has had it since `received`. `listener` is the
    /// well-known socket that workers answer it from.
    pub fn on_mgcp_datagram(
        &mut self,
        owner: Owner,
        listener: ListenerId,
        datagram: &Datagram<'_>,
        received: Time,
        now: Time,
    ) {
        let arrival = Arrival {
            listener,
            transport: Transport::Mgcp,
            reply_to: ReplyTo::Datagram,
            source: datagram.source,
            local: datagram.local,
            received,
        };
        let mut all = parts(datagram.bytes);
        let first = all.next().unwrap_or(datagram.bytes);
        if all.next().is_some() {
            self.on_several(datagram.bytes, (owner, arrival), now);
        } else {
            self.count_received(owner);
            self.on_part(first, (owner, arrival), now);
        }
        self.go_on_chains(now);
    }

    /// Acts on a message that another lane has read for this one: a command, several commands that wait for each other,
    /// or an acknowledgement whose transaction the other lane does not know.
    pub(super) fn on_mgcp_parcel(&mut self, bytes: &[u8], owner: Owner, arrival: &Arrival, now: Time) {
        // A response begins with a digit; every other message is a command, which begins with a letter.
        if !bytes.first().is_some_and(u8::is_ascii_digit) {
            return self.on_commands(bytes, (owner, *arrival), now);
        }
        let Ok(Message::Response(response)) = parse(bytes) else { return };
        match response.param(Field::ResponseAck).map(Ranges::new) {
            None => self.dispatch.on_ack_elsewhere(arrival.source, response.transaction(), now),
            Some(all) => all.iter().flatten().take(MOST_ACKS).for_each(|id| {
                self.dispatch.on_ack_elsewhere(arrival.source, TransactionId(id), now);
            }),
        }
        self.send_acks(&(owner, *arrival), now);
    }

    /// Acts on a message that is alone in its datagram.
    fn on_part(&mut self, part: &[u8], way: Way, now: Time) {
        let message = parse(part);
        let lane = self.lane_of_message(&message, &way);
        match self.parcels.get_mut(lane) {
            Some(parcel) if lane != self.owners.own() => parcel.add(part, way.0, &way.1),
            _ => {
                self.decide_message(message, &way, None, now);
            }
        }
    }

    /// Acts on several messages in one datagram.
    fn on_several(&mut self, bytes: &[u8], way: Way, now: Time) {
        let mut commands = Vec::new();
        for (number, part) in parts(bytes).enumerate() {
            self.count_received(way.0);
            match parse(part) {
                Ok(message) if number >= MOST_PARTS => {
                    self.overflow(&message, &way, now);
                    self.outbox.answers.join_last();
                }
                Err(bad) if number >= MOST_PARTS => {
                    self.decide_message(Err(bad), &way, None, now);
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
                    self.decide_message(message, &way, None, now);
                }
            }
        }
        let Some(first) = parts(&commands).next() else { return };
        let lane = self.lane_of_part(first, &way);
        match self.parcels.get_mut(lane) {
            Some(parcel) if lane != self.owners.own() => parcel.add(&commands, way.0, &way.1),
            _ => self.on_commands(&commands, way, now),
        }
    }

    /// Acts on the commands of one datagram, the first of which belongs to this lane.
    fn on_commands(&mut self, bytes: &[u8], way: Way, now: Time) {
        let mut all = parts(bytes);
        let Some(first) = all.next() else { return };
        if all.next().is_none() {
            self.decide_part(first, &way, None, now);
        } else if self.chains.has_place(way.1.source.ip()) {
            self.go_on(Rest::new(bytes, way, way.1.source.ip()), now);
        } else {
            for part in parts(bytes) {
                if let Ok(message) = parse(part) {
                    self.overflow(&message, &way, now);
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
            if lane != self.owners.own()
                && let Some(parcel) = self.parcels.get_mut(lane)
            {
                return parcel.add(rest.left(), way.0, &way.1);
            }
            let bytes = rest.bytes();
            let Some(part) = rest.next_part().and_then(|range| bytes.get(range)) else { return };
            if rest.is_empty() {
                self.decide_part(part, &way, None, now);
                return;
            }
            let id = self.chains.wait(rest, now);
            if self.decide_part(part, &way, Some(id), now) {
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
                let Some(Asked { owner, chain }) = self.asked.remove(&id) else { continue };
                if let Some((bytes, arrival)) = self.dispatch.gathered(id) {
                    self.outbox.answers.write_bytes(owner, bytes, arrival);
                }
                self.resumed.extend(chain);
            }
            let Some(id) = self.resumed.pop_front() else { return };
            if let Some(rest) = self.chains.go_on(id) {
                self.go_on(rest, now);
            }
        }
    }

    /// Decides about one message; returns whether its answer is still to come.
    fn decide_part(&mut self, part: &[u8], way: &Way, chain: Option<ChainId>, now: Time) -> bool {
        self.decide_message(parse(part), way, chain, now)
    }

    fn decide_message(
        &mut self,
        message: Result<Message<'_>, Unparsable<'_>>,
        way: &Way,
        chain: Option<ChainId>,
        now: Time,
    ) -> bool {
        let (owner, arrival) = way;
        let waits = match message {
            Ok(message) => {
                let decision = match owner {
                    Owner::Listener(_) => self.dispatch.on_message(&message, arrival, now),
                    Owner::Vacant(_) | Owner::VacantMgcp(..) => self.dispatch.on_vacant(&message, arrival, now),
                };
                self.carry_out_mgcp(decision, &message, way, chain, now)
            }
            Err(bad) => {
                let decision = match owner {
                    Owner::Listener(_) => self.dispatch.on_message(&bad, arrival, now),
                    Owner::Vacant(_) | Owner::VacantMgcp(..) => self.dispatch.on_vacant(&bad, arrival, now),
                };
                decided::about_unparsable_mgcp(&bad, arrival, &decision);
                if let Target::Return(answer) = decision.target {
                    self.outbox.answers.write_return(*owner, &answer, bad.bytes.len(), arrival);
                }
                false
            }
        };
        self.send_acks(way, now);
        self.place_returned(now);
        waits
    }

    /// Decides again about a command that a worker gave back.
    pub(super) fn place_mgcp_again(
        &mut self,
        payload: &[u8],
        arrival: &Arrival,
        returned: &Returned,
        chain: Option<ChainId>,
        now: Time,
    ) -> Target {
        // The message was parsed before it was handed over; a fault now would be a bug, and the message is dropped.
        let Ok(message) = parse(payload) else { return Target::Drop };
        let decision = self.dispatch.on_returned(&message, arrival, returned, now);
        let way = (Owner::Listener(arrival.listener), *arrival);
        if !self.carry_out_mgcp(decision, &message, &way, chain, now) {
            self.resumed.extend(chain);
        }
        decision.target
    }

    fn carry_out_mgcp(
        &mut self,
        decision: Decision,
        message: &Message<'_>,
        (owner, arrival): &Way,
        chain: Option<ChainId>,
        now: Time,
    ) -> bool {
        decided::about_mgcp(message, arrival, &decision);
        let Switch { outbox, dispatch, asked, returned, .. } = self;
        match decision.target {
            Target::Worker(handoff) => {
                returned.extend(outbox.hand_over_mgcp(dispatch, &handoff, message, arrival, chain));
                true
            }
            Target::Everyone(id) => {
                asked.insert(id, Asked { owner: *owner, chain });
                let arrival = Arrival { reply_to: ReplyTo::Gathering(id), ..*arrival };
                while let Some(handoff) = dispatch.poll_everyone(id, now) {
                    returned.extend(outbox.hand_over_mgcp(dispatch, &handoff, message, &arrival, None));
                }
                true
            }
            Target::Return(answer) => {
                outbox.answers.write_return(*owner, &answer, message.bytes().len(), arrival);
                false
            }
            Target::Gathered(id) => {
                if let Some((bytes, _)) = dispatch.gathered(id) {
                    outbox.answers.write_bytes(*owner, bytes, arrival);
                }
                false
            }
            Target::Answer(_) | Target::Drop => false,
        }
    }

    /// Answers a message that is one too many.
    fn overflow(&mut self, message: &Message<'_>, way: &Way, now: Time) {
        let decision = self.dispatch.on_overflow(message, &way.1, now);
        self.carry_out_mgcp(decision, message, way, None, now);
    }

    /// Passes acknowledgements on: to workers of this lane, and to the other lanes those whose transactions it does not
    /// know.
    fn send_acks(&mut self, (owner, arrival): &Way, now: Time) {
        let Switch { outbox, dispatch, parcels, owners, .. } = self;
        while let Some((handoff, transaction)) = dispatch.poll_ack(now) {
            outbox.acknowledge(dispatch, &handoff, transaction, arrival);
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
        others.for_each(|(_, parcel)| parcel.add(&all, *owner, arrival));
    }

    fn lane_of_part(&self, part: &[u8], way: &Way) -> usize {
        if self.owners.lanes() == 1 {
            return self.owners.own();
        }
        self.lane_of_message(&parse(part), way)
    }

    fn lane_of_message(&self, message: &Result<Message<'_>, Unparsable<'_>>, (_, arrival): &Way) -> usize {
        if self.owners.lanes() == 1 {
            return self.owners.own();
        }
        match message {
            Ok(Message::Command(command)) => self.owners.lane_of_command(command, arrival.source.ip()),
            // A response names its worker itself. A message that cannot be parsed belongs to no lane: its reader
            // decides about it.
            _ => self.owners.own(),
        }
    }

    fn count_received(&mut self, owner: Owner) {
        if let Owner::Listener(_) = owner {
            self.outbox.totals.received += 1;
        }
    }
}

impl<C: Channel> Outbox<C> {
    fn hand_over_mgcp(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        message: &Message<'_>,
        arrival: &Arrival,
        chain: Option<ChainId>,
    ) -> Option<ReturnedMessage> {
        let port = || dispatch.pool().get(handoff.worker)?.mgcp.first().map(SocketAddr::port);
        self.patched.clear();
        let pieces = match (self.insert, message) {
            (Insert::Header, Message::Command(command))
                // A retransmission gets the line as the first copy did: a worker that compares the two must find them
                // alike.
                if command.verb() == Verb::Crcx
                    // One parameter line more would make it a command that no parser accepts.
                    && command.params().count() < MAX_PARAMS
                    && let Some(port) = port() =>
            {
                // The dispatcher alone writes this line: one of the sender's is removed.
                patch::without_param(&mut self.patched, command, Insert::HEADER);
                let rest = self.patched.len();
                line::write(&mut self.patched, Insert::HEADER, port.to_string().as_bytes());
                let (text, line) = self.patched.split_at(rest);
                let head = command.head_end().min(rest);
                match text.get(head.saturating_sub(1)) {
                    Some(b'\n') => [&text[..head], line, &text[head..]],
                    // The command line ends with the datagram, without a line end.
                    _ => [text, b"\r\n", line],
                }
            }
            _ => [message.bytes(), &[], &[]],
        };
        push(&mut self.links, dispatch, handoff, chain, arrival, &pieces, message.bytes())
    }

    /// Gives a worker the acknowledgement of a transaction. If its link does not take it, it is lost like any datagram.
    fn acknowledge(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        transaction: TransactionId,
        arrival: &Arrival,
    ) {
        let (bytes, length) = acknowledgement(transaction);
        let _ = push(&mut self.links, dispatch, handoff, None, arrival, &[&bytes[..length]], &[]);
    }
}

/// `000 TRANSACTION`, and its length.
fn acknowledgement(TransactionId(mut id): TransactionId) -> ([u8; 16], usize) {
    let mut bytes = *b"000 ............";
    let length = id.checked_ilog10().map_or(1, |digits| digits as usize + 1).min(10);
    for place in (4..4 + length).rev() {
        bytes[place] = b'0' + (id % 10) as u8;
        id /= 10;
    }
    bytes[4 + length..4 + length + 2].copy_from_slice(b"\r\n");
    (bytes, 4 + length + 2)
}
