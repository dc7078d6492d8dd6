//! The outcome of a command at the gateway: its answer, its retransmission, its end without an answer.

use std::sync::Arc;

use super::asked::{AgentCommand, Flight, Pending, Purpose, Several, VerbKind};
use super::connections::{ConnectionName, Which, is_one};
use super::exchange::Output;
use super::{AT_MOST, External, PROVISIONAL, rewrite};
use crate::time::Time;
use crate::transaction::mgcp_client::{Due, Spread};
use crate::wire::mgcp::{Field, Response, ReturnCode, TransactionId};
use crate::words::RefuseReason;

/// The names of the connections that a CRCX has made (§2.3.5).
const ENDS: [(Field, Field); 2] =
    [(Field::SpecificEndpointId, Field::ConnectionId), (Field::SecondEndpointId, Field::SecondConnectionId)];

impl External {
    /// The gateway has answered.
    pub(super) fn on_response(&mut self, response: &Response<'_>, now: Time) {
        self.reach.on_heard(now);
        let (own, code) = (response.transaction().0, response.code());
        if code.is_ack() {
            return;
        }
        if response.asks_for_ack() && code.is_final() {
            self.outputs.push_back(Output::Gateway(rewrite::plain(ReturnCode::ACKNOWLEDGEMENT, TransactionId(own))));
        }
        let Some(pending) = self.take(own) else { return };
        if let Purpose::Command(asked) = &pending.purpose {
            self.known.add(asked.verbs);
        }
        match pending {
            pending if code.is_provisional() => self.on_provisional(own, pending, response, now),
            Pending { purpose: Purpose::Command(asked), transaction, .. } => {
                if let Some(asked) = self.ask_with_star(asked, transaction.message(), code, now) {
                    self.on_final(*asked, response, now);
                }
            }
            Pending { purpose: Purpose::Late { endpoint, call }, .. } => {
                if code.is_success() {
                    for (named, id) in ENDS {
                        let Some(id) = response.param(id) else { continue };
                        let endpoint = response.param(named).unwrap_or(&endpoint);
                        self.delete(
                            ConnectionName { endpoint: endpoint.into(), id: id.into(), call: call.clone() },
                            None,
                            now,
                        );
                    }
                }
            }
            Pending { purpose: Purpose::Delete { endpoint, id, of }, .. } => {
                // A gateway that answers with an error does not have the connection.
                self.forget(Which { name: &endpoint, id: Some(&id), call: None });
                self.one_is_deleted(of, ReturnCode::CONNECTION_DELETED, now);
            }
            // Nothing was sent to the gateway under this id.
            pending @ Pending { purpose: Purpose::Several(_), .. } => self.keep(own, pending),
            Pending { purpose: Purpose::Probe, .. } => self.reach.on_answer(),
        }
    }

    /// Something is due for a command that the gateway has not answered.
    pub(super) fn on_due(&mut self, own: u32, now: Time) {
        let Some(mut pending) = self.pending.remove(&own) else { return };
        self.under_way -= usize::from(pending.flight.is_counted());
        if let Flight::Counted(until) = pending.flight
            && until <= now
        {
            pending.flight = Flight::Over;
        }
        if pending.patience.take_if(|at| *at <= now).is_some() {
            self.tell_to_wait(&mut pending);
            if !self.reach.is_heard_since(pending.since()) {
                self.reach.suspect(now);
            }
        }
        match pending.transaction.due(now) {
            Due::Nothing => {}
            Due::Send => self.outputs.push_back(Output::Gateway(pending.transaction.send(Spread::NONE, now))),
            Due::Lost => return self.give_up(own, pending, now),
        }
        self.keep(own, pending);
    }

    /// Passes a provisional response of the gateway on to the call agent, and waits longer.
    fn on_provisional(&mut self, own: u32, mut pending: Pending, response: &Response<'_>, now: Time) {
        if let Purpose::Command(asked) = &mut pending.purpose {
            asked.is_told_to_wait = true;
            let bytes = rewrite::answer_to_agent(response, asked.key.id(), &self.tokens);
            self.outputs.extend(asked.transmit(bytes));
        }
        pending.transaction.on_provisional(None, now + PROVISIONAL, now);
        pending.patience = None;
        pending.flight = Flight::Over;
        self.keep(own, pending);
    }

    fn on_final(&mut self, asked: AgentCommand, response: &Response<'_>, now: Time) {
        let code = response.code();
        match asked.verb {
            VerbKind::Create if code.is_success() => self.on_created(&asked, response, now),
            VerbKind::Create if is_without_room(code) && asked.can_go_elsewhere() => {
                return self.give_back(asked, RefuseReason::Full);
            }
            // A DLCX that succeeds, or fails because the connection is unknown: the gateway does not have the
            // connection.
            VerbKind::Delete if code.is_success() || is_gone(&asked, code) => {
                let call = asked.call.as_deref().filter(|_| asked.connection.is_none());
                self.forget(Which { name: &asked.endpoint, id: asked.connection.as_deref(), call });
            }
            // A gateway that does not know the connection was restarted, or has ended the connection by itself.
            VerbKind::Other if is_gone(&asked, code) => {
                let id = asked.connection.as_deref().filter(|_| code == ReturnCode::INCORRECT_CONNECTION);
                self.forget(Which { name: &asked.endpoint, id, call: None });
            }
            _ => {}
        }
        let bytes = rewrite::answer_to_agent(response, asked.key.id(), &self.tokens);
        self.finish(asked, bytes, now);
    }

    /// The gateway has made a connection, or two of them (§2.3.5).
    fn on_created(&mut self, asked: &AgentCommand, response: &Response<'_>, now: Time) {
        self.answered += 1;
        for ((endpoint, id), units) in ENDS.into_iter().zip([asked.size, 0]) {
            let (named, id) = (response.param(endpoint), response.param(id));
            // A connection without an id could never be deleted, so it is not counted.
            let Some(id) = id else { continue };
            let endpoint = named.unwrap_or(&asked.endpoint);
            if let Some(call) = &asked.call {
                // The connection that was expected is settled by `finish`.
                self.connections.expect(call, Time(0));
            }
            self.connections.open(endpoint, id, asked.call.clone(), units);
            self.agents.note(endpoint, asked.way, asked.source);
            if self.ending {
                let name = ConnectionName { endpoint: endpoint.into(), id: id.into(), call: asked.call.clone() };
                self.delete(name, None, now);
            }
        }
    }

    /// No answer came. A gateway that answers others does not know the command, or its answer was lost. A gateway that
    /// is silent is given until shortly before the call agent gives up.
    fn give_up(&mut self, own: u32, mut pending: Pending, now: Time) {
        let is_there = self.reach.is_heard_since(pending.since());
        match pending.purpose {
            Purpose::Command(_) if !is_there && now < pending.begun + AT_MOST => {
                pending.transaction.wait_until(pending.begun + AT_MOST);
                self.keep(own, pending);
            }
            Purpose::Command(asked) => {
                let code = match asked.verb {
                    VerbKind::Other if is_there && !self.known.has(asked.verbs) => ReturnCode::UNKNOWN_COMMAND,
                    _ => ReturnCode::TIMED_OUT,
                };
                let sent_as = (pending.flight != Flight::Waiting).then_some(own);
                let call = asked.call.as_deref().filter(|_| asked.connection.is_none());
                let which = Which { name: &asked.endpoint, id: asked.connection.as_deref(), call };
                let wanted_gone =
                    if asked.verb == VerbKind::Delete { self.connections.meant(which) } else { Vec::new() };
                self.end(*asked, sent_as, code, now);
                // The call agent has given these connections up, so no other command will ever delete them.
                wanted_gone.into_iter().for_each(|name| self.delete(name, None, now));
            }
            Purpose::Delete { endpoint, id, of } => {
                self.forget(Which { name: &endpoint, id: Some(&id), call: None });
                self.one_is_deleted(of, ReturnCode::TIMED_OUT, now);
            }
            Purpose::Several(several) => self.end_several(Several { code: ReturnCode::TIMED_OUT, ..*several }, now),
            Purpose::Probe if is_there => self.reach.on_answer(),
            Purpose::Probe => self.reach.on_silence(now),
            Purpose::Late { .. } => {}
        }
    }

    /// The gateway is gone, and its answer with it. A command that has not been sent to it yet goes to another worker.
    pub(super) fn abandon(&mut self, own: u32, now: Time) {
        let Some(Pending { purpose: Purpose::Command(asked), flight, .. }) = self.take(own) else { return };
        let sent_as = (flight != Flight::Waiting).then_some(own);
        match sent_as.is_some() || !asked.can_go_elsewhere() {
            true => self.end(*asked, sent_as, ReturnCode::TRANSIENT_ERROR, now),
            false => self.give_back(*asked, RefuseReason::Exhausted),
        }
    }

    /// Gives back a command that has had no effect: another worker may have room for it.
    fn give_back(&mut self, mut asked: AgentCommand, reason: RefuseReason) {
        self.release(&asked);
        self.transactions.withdraw(asked.key);
        self.outputs.extend(asked.seqs.drain().map(|seq| Output::Refuse(seq, reason)));
    }

    /// A command ends without the gateway's answer. `sent_as`: the id under which the gateway may have it.
    fn end(&mut self, asked: AgentCommand, sent_as: Option<u32>, code: ReturnCode, now: Time) {
        if let Some(own) = sent_as.filter(|_| asked.verb == VerbKind::Create) {
            self.keep(own, Pending::late(asked.endpoint.clone(), asked.call.clone(), now, PROVISIONAL));
        }
        let response = rewrite::plain(code, asked.key.id());
        self.finish(asked, response, now);
    }

    /// The final response leaves.
    pub(super) fn finish(&mut self, mut asked: AgentCommand, bytes: Arc<[u8]>, now: Time) {
        self.release(&asked);
        self.outputs.extend(asked.transmit(Arc::clone(&bytes)));
        self.transactions.answer(asked.key, bytes, now);
        self.outputs.extend(asked.seqs.drain().map(Output::Answered));
    }

    /// Releases the units and the call that were reserved for a command that is over.
    fn release(&mut self, asked: &AgentCommand) {
        self.asked_units = self.asked_units.saturating_sub(asked.size);
        let call = asked.call.as_ref().filter(|_| asked.verb == VerbKind::Create);
        let closed = call.and_then(|call| self.connections.unexpect(call));
        self.outputs.extend(closed.map(Output::CallClosed));
    }

    fn tell_to_wait(&mut self, pending: &mut Pending) {
        let Some(asked) = pending.purpose.asked_mut() else { return };
        asked.is_told_to_wait = true;
        let bytes = rewrite::plain(ReturnCode::QUEUED, asked.key.id());
        self.outputs.extend(asked.transmit(bytes));
    }
}

/// Whether this code means that the gateway has made no connection for lack of room.
const fn is_without_room(code: ReturnCode) -> bool {
    matches!(
        code,
        ReturnCode::RESOURCES_NOT_NOW
            | ReturnCode::BANDWIDTH_NOT_NOW
            | ReturnCode::NO_ENDPOINT
            | ReturnCode::INSUFFICIENT_RESOURCES
    )
}

/// Whether an error means that the connection or endpoint named does not exist. If the command named several endpoints,
/// the error may be about the name only. A call id that does not fit says nothing about the connection that was named
/// with it.
fn is_gone(asked: &AgentCommand, code: ReturnCode) -> bool {
    let is_error = match code {
        ReturnCode::ENDPOINT_UNKNOWN => true,
        ReturnCode::INCORRECT_CONNECTION => asked.verb == VerbKind::Delete || asked.connection.is_some(),
        ReturnCode::INCORRECT_CALL => asked.verb == VerbKind::Delete && asked.connection.is_none(),
        _ => false,
    };
    is_error && is_one(&asked.endpoint)
}
