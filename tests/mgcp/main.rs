//! The rules for MGCP by value: a command in, a decision out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod deaths;
mod everyone;
mod looking_in;
mod named;
mod once;
mod refusals;
mod responses;
#[path = "../support/rig.rs"]
mod rig;
mod selection;
mod size;

use std::time::Duration;

use pointsman::config::SizeSource;
use pointsman::dispatch::counters::Kind;
use pointsman::dispatch::decision::{Admin, Brought, Decision, Handoff, Reason, Return, Room, Services, Target};
use pointsman::dispatch::history::ShortTarget;
use pointsman::dispatch::returned::Cause;
use pointsman::dispatch::rules::Rules;
use pointsman::fingerprint::Printer;
use pointsman::ids::{GatheringId, Incarnation, Seq, TokenKey, TransactionRange, WorkerId};
use pointsman::time::Time;
use pointsman::transaction::name::mgcp::Names;
use pointsman::wire::mgcp::{Message, ReturnCode, TransactionId, parse};
use pointsman::words::{AccessAction, AccessRule, RefuseReason, Report, Transport};
use rig::{KEY, Rig, START, returned};

const SECOND: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    Rules { slow_start: Duration::ZERO, mgcp_domains: vec!["ms.example.net".to_owned()], ..Rules::default() }
}

fn rig(workers: usize) -> Rig {
    rig_with(workers, rules(), 1000)
}

fn rig_with(workers: usize, rules: Rules, table_cap: usize) -> Rig {
    Rig::new(Transport::Mgcp, workers, rules, table_cap)
}

impl Rig {
    fn up_serving(&mut self, worker: u16, capacity: u32, services: Services) {
        let joined = self.joined(worker, capacity, services);
        self.dispatch.on_worker_up(WorkerId(worker), &joined, self.now);
    }

    /// A connection id of a worker's life.
    fn connection(&self, worker: u16, life: u64) -> String {
        let token = KEY.hex(Incarnation::new(u64::from(worker) << 20 | life));
        format!("{}0000002a", std::str::from_utf8(token.as_bytes()).unwrap())
    }

    fn send(&mut self, text: &str) -> Decision {
        self.arrival.received = self.now;
        let decision = match parse(text.as_bytes()) {
            Ok(message) => self.dispatch.on_message(&message, &self.arrival, self.now),
            Err(bad) => self.dispatch.on_message(&bad, &self.arrival, self.now),
        };
        self.dispatch.check();
        decision
    }

    /// Sends what has to go to a worker.
    fn hand(&mut self, text: &str) -> Handoff {
        let decision = self.send(text);
        let Target::Worker(handoff) = decision.target else { panic!("{text}: {decision:?}") };
        handoff
    }

    fn back(&mut self, text: &str, had: &Handoff, cause: Cause) -> Decision {
        let message = parse(text.as_bytes()).unwrap();
        let decision = self.dispatch.on_returned(&message, &returned(text, had, &self.arrival, cause), self.now);
        self.dispatch.check();
        decision
    }

    fn refused(&mut self, text: &str, had: &Handoff) -> Decision {
        self.back(text, had, Cause::Refused(RefuseReason::Full))
    }

    fn acks(&mut self) -> Vec<(u16, u32)> {
        let all = std::iter::from_fn(|| self.dispatch.poll_ack(self.now));
        let mut all: Vec<_> = all.map(|(handoff, transaction)| (handoff.worker.0, transaction.0)).collect();
        all.sort_unstable();
        all
    }
}

fn crcx(transaction: u32, call: &str) -> String {
    format!("CRCX {transaction} ann/$@ms.example.net MGCP 1.0\r\nC: {call}\r\nM: sendrecv\r\n")
}

fn command(verb: &str, transaction: u32, endpoint: &str, lines: &str) -> String {
    format!("{verb} {transaction} {endpoint} MGCP 1.0\r\n{lines}")
}

/// The return code that a decision answers with, and the reason.
fn answer(decision: Decision) -> (u16, Reason) {
    match decision.target {
        Target::Return(Return { code, .. }) => (code.0, decision.reason),
        _ => panic!("{decision:?}"),
    }
}

/// The worker that gets the message, the reason, and the size.
fn given(decision: Decision) -> (u16, Reason, u32) {
    match decision.target {
        Target::Worker(handoff) => (handoff.worker.0, decision.reason, handoff.size),
        _ => panic!("{decision:?}"),
    }
}

/// Sends a command that goes to all workers; gives the workers that get it.
fn everyone(rig: &mut Rig, text: &str) -> (GatheringId, Vec<u16>) {
    let decision = rig.send(text);
    let Target::Everyone(id) = decision.target else { panic!("{decision:?}") };
    let mut workers: Vec<u16> =
        std::iter::from_fn(|| rig.dispatch.poll_everyone(id, rig.now)).map(|handoff| handoff.worker.0).collect();
    workers.sort_unstable();
    (id, workers)
}

/// The answer that everyone has given, if all have.
fn gathered(rig: &mut Rig, id: GatheringId) -> Option<String> {
    rig.dispatch.gathered(id).map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
}
