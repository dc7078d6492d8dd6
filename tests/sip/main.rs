//! The rules by value: a message in, a decision out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod access;
mod answers;
mod conferences;
mod fallback;
mod floods;
mod forwarding;
mod identity;
mod operator;
mod outbound;
mod pinned;
mod reattached;
mod returned;
#[path = "../support/rig.rs"]
mod rig;
mod selection;
mod sizes;
mod stateful;
mod systems;
mod table;
mod unserved;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pointsman::config::{MethodRule, Policy, SizeSource};
use pointsman::dispatch::decision::{
    Admin, Answer, Brought, Decision, EntryId, Handoff, Joined, Operational, Pinned, Reason, Room, Says, Target, Tried,
};
use pointsman::dispatch::history::ShortTarget;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::returned::Cause;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::sip::EXTENSION;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::fingerprint::Printer;
use pointsman::ids::{ConnId, Incarnation, ListenerId, Seq, WorkerId};
use pointsman::time::Time;
use pointsman::transaction::name::sip::Names;
use pointsman::wire::Label;
use pointsman::wire::sip::{Fault, Scanner};
use pointsman::words::{AccessAction, AccessRule, OpenTransaction, RefuseReason, ReplyTo, Report, Transport};
use rig::{KEY, Rig, START, returned};

fn rules() -> Rules {
    Rules { slow_start: Duration::ZERO, ..Rules::default() }
}

fn rig(workers: usize) -> Rig {
    rig_with(workers, rules(), 1000)
}

fn rig_with(workers: usize, rules: Rules, table_cap: usize) -> Rig {
    Rig::new(Transport::Udp, workers, rules, table_cap)
}

impl Rig {
    fn report(&mut self, worker: u16, report: Report) {
        self.dispatch.on_report(WorkerId(worker), &report, self.now);
    }

    fn send(&mut self, text: &str) -> Decision {
        self.send_bytes(text.as_bytes())
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> Decision {
        self.arrival.received = self.now;
        match Scanner::new().scan(bytes) {
            Ok(message) => self.dispatch.on_message(&message, &self.arrival, self.now),
            Err(bad) => self.dispatch.on_message(&bad, &self.arrival, self.now),
        }
    }

    fn back(&mut self, text: &str, had: &Handoff, cause: Cause) -> Decision {
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        self.dispatch.on_returned(&message, &returned(text, had, &self.arrival, cause), self.now)
    }

    fn refuse(&mut self, text: &str, had: &Handoff) -> Decision {
        self.back(text, had, Cause::Refused(RefuseReason::Full))
    }

    fn send_from(&mut self, source: &str, text: &str) -> Decision {
        let before = std::mem::replace(&mut self.arrival.source, SocketAddr::new(source.parse().unwrap(), 5060));
        let decision = self.send(text);
        self.arrival.source = before;
        decision
    }
}

fn invite(call: &str) -> String {
    format!(
        "INVITE sip:ivr@ms.example.net SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK-{call};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:as@example.net>;tag=f-{call}\r\nTo: <sip:ivr@ms.example.net>\r\n\
         Call-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <sip:as@203.0.113.5>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Another request of the same call with the INVITE's branch: CANCEL, ACK to a non-2xx.
fn same(invite: &str, method: &str) -> String {
    invite.replace("INVITE", method)
}

/// A request inside the dialog that `to_tag` names, with a branch of its own.
fn in_dialog(call: &str, method: &str, to_tag: &str) -> String {
    let to = format!("To: <sip:ivr@ms.example.net>;tag={to_tag}");
    same(&invite(call), method)
        .replace("z9hG4bK-", "z9hG4bK-in-")
        .replace("To: <sip:ivr@ms.example.net>", &to)
        .replace("CSeq: 1", "CSeq: 2")
}

fn with_header(request: &str, line: &str) -> String {
    request.replace("Content-Length", &format!("{line}\r\nContent-Length"))
}

fn with_body(request: &str, content_type: &str, body: &str) -> String {
    let fields = format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    request.replace("Content-Length: 0\r\n\r\n", &fields)
}

#[track_caller]
fn handoff(decision: Decision) -> Handoff {
    let Target::Worker(handoff) = decision.target else { panic!("no handover: {decision:?}") };
    handoff
}

#[track_caller]
fn answer(decision: Decision) -> Answer {
    let Target::Answer(answer) = decision.target else { panic!("no answer: {decision:?}") };
    answer
}

/// The worker and the reason of a handover.
#[track_caller]
fn to(decision: Decision) -> (u16, Reason) {
    (handoff(decision).worker.0, decision.reason)
}

/// The status and the reason of an answer.
#[track_caller]
fn status(decision: Decision) -> (u16, Reason) {
    (answer(decision).status, decision.reason)
}

fn dropped(reason: Reason) -> Decision {
    Decision { target: Target::Drop, reason }
}

fn response(branch: &str) -> String {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n"
    )
}

fn leg(call: &str, conference: &str) -> String {
    invite(call).replace("INVITE sip:ivr@", &format!("INVITE sip:conf={conference}@"))
}

fn ledger(rig: &Rig, worker: WorkerId) -> Option<u32> {
    rig.dispatch.pool().get(worker).map(|slot| slot.ledger())
}
