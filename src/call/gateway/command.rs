//! The way of a command to the function that carries it out, at most once; and of a response to what waits for it.

use crate::call::exchange::Arrival;
use crate::call::gateway::answer::Denial;
use crate::call::gateway::exchange::Output;
use crate::call::gateway::{Gateway, params};
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, Response, ReturnCode, TransactionId, Unparsable, Verb, Wildcard};
use crate::words::RefuseReason;

/// Transactions that one message can confirm: more than a call agent begins between two messages.
const CONFIRMED_AT_ONCE: usize = 5_000;

/// The purpose of the fingerprint of a command's text.
const TEXT: u8 = b't';

impl Gateway {
    /// Takes bytes that are no readable message. Bytes that start like a response are never answered.
    pub fn on_unparsable(&mut self, unparsable: &Unparsable<'_>, arrival: &Arrival) {
        match unparsable.answer() {
            Some((code, id)) => self.answer_once(code, id, arrival),
            None => self.dealt_with(arrival),
        }
    }

    /// Refuses a command that is one too many in its datagram: it is not carried out, and its sender is told.
    pub fn on_overflow(&mut self, command: &Command<'_>, arrival: &Arrival) {
        self.answer_once(ReturnCode::OVERLOAD, command.transaction(), arrival);
    }

    /// Whether a command belongs to no known endpoint and no known transaction, and would be answered: a flood consists
    /// of such commands.
    pub fn begins(&self, command: &Command<'_>, arrival: &Arrival) -> bool {
        let known = self.transactions.find(transaction_of(command, arrival), self.text_print(command));
        known.is_none() && self.find_endpoint(&command.endpoint()).is_none()
    }

    pub(super) fn on_command(&mut self, command: &Command<'_>, arrival: &Arrival, now: Time) {
        let key = transaction_of(command, arrival);
        let print = self.text_print(command);
        if let Some(known) = self.transactions.find(key, print) {
            return self.on_repeated(known, arrival);
        }
        if self.goes_back(key, arrival, now) {
            return;
        }
        // Confirmations take effect after the look-up: a copy that confirms its own command must get its answer all the
        // same.
        let mut budget = CONFIRMED_AT_ONCE;
        for range in command.acks().iter().flat_map(|acks| acks.iter()) {
            self.transactions.confirm(key, TransactionId(*range.start()), TransactionId(*range.end()), &mut budget);
        }
        let verb = command.verb();
        if matches!(verb, Verb::Ntfy | Verb::Rsip | Verb::Mesg | Verb::Other(_)) {
            return self.answer_once(ReturnCode::UNKNOWN_COMMAND, command.transaction(), arrival);
        }
        // A CRCX for a named endpoint can be carried out here only.
        let is_selected = verb == Verb::Crcx && command.endpoint().wildcard() != Wildcard::None;
        let may_go_back = is_selected && arrival.seq().is_some() && !arrival.follows;
        if self.transactions.is_full() {
            return match arrival.seq() {
                Some(seq) if may_go_back => {
                    self.refused.insert(key.print(&self.printer), now);
                    self.outputs.push_back(Output::Refuse(seq, RefuseReason::Exhausted));
                }
                _ => self.answer_once(ReturnCode::OVERLOAD, command.transaction(), arrival),
            };
        }
        let work = self.work(arrival, may_go_back);
        self.transactions.begin(key, print, work, now);
        if verb == Verb::Crcx && arrival.seq().is_none() {
            self.load.direct += 1;
        }
        if let Err(denial) = self.carry_out(command, arrival, key, now) {
            self.deny(key, denial, now);
        }
        self.arm(key);
    }

    fn carry_out(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        key: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        self.believe(command);
        self.hear_of(command, now);
        self.acquaint(command, arrival.source.ip());
        params::check(command)?;
        match command.verb() {
            Verb::Crcx => self.on_crcx(command, arrival, key, now),
            Verb::Mdcx => self.on_mdcx(command, arrival, key, now),
            Verb::Dlcx => self.on_dlcx(command, arrival, key, now),
            Verb::Rqnt => self.on_rqnt(command, arrival, key, now),
            Verb::Epcf => self.on_epcf(command, key, now),
            Verb::Auep => self.on_auep(command, key, now),
            Verb::Aucx => self.on_aucx(command, key, now),
            Verb::Ntfy | Verb::Rsip | Verb::Mesg | Verb::Other(_) => Err(ReturnCode::UNKNOWN_COMMAND.into()),
        }
    }

    /// Gives back a message that comes too late, or that is a copy of one that was given back.
    fn goes_back(&mut self, key: TransactionKey, arrival: &Arrival, now: Time) -> bool {
        let Some(seq) = arrival.seq() else { return false };
        let print = key.print(&self.printer);
        let reason = if self.refused.contains(print, now) {
            RefuseReason::Follows
        } else if !arrival.follows && arrival.deadline.is_some_and(|deadline| deadline < now) {
            self.refused.insert(print, now);
            RefuseReason::Late
        } else {
            return false;
        };
        self.outputs.push_back(Output::Refuse(seq, reason));
        true
    }

    /// A response: to a command of ours, or the acknowledgement of an answer (RFC 3435 §3.5.6).
    pub(super) fn on_response(&mut self, response: &Response<'_>, arrival: &Arrival, now: Time) {
        if response.code().is_ack() {
            let key = key_of(response.transaction(), arrival);
            self.transactions.confirm(key, key.id(), key.id(), &mut 16);
        } else {
            self.events.on_response(response, self.sender(arrival), now);
        }
        self.dealt_with(arrival);
    }

    /// The hash that the copies of a command share.
    fn text_print(&self, command: &Command<'_>) -> u64 {
        self.printer.print(TEXT, &[command.bytes()]).short()
    }
}

fn transaction_of(command: &Command<'_>, arrival: &Arrival) -> TransactionKey {
    key_of(command.transaction(), arrival)
}

fn key_of(transaction: TransactionId, arrival: &Arrival) -> TransactionKey {
    TransactionKey::new(arrival.source, transaction)
}
