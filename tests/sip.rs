//! The rules by value: a message in, a decision out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "support/rig.rs"]
mod rig;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pointsman::config::{MethodRule, Policy, SizeSource};
use pointsman::dispatch::decision::{
    Admin, Answer, Brought, Cause, Decision, EntryId, Handoff, Joined, Operational, Pinned, Reason, Room, Target, Tried,
};
use pointsman::dispatch::fingerprint::Printer;
use pointsman::dispatch::history::Outcome;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::sip::EXTENSION;
use pointsman::dispatch::size::SizeNote;
use pointsman::dispatch::transaction::Names;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::handoff::frame::{AccessAction, AccessRule, RefuseReason, Report, Transaction, Transport};
use pointsman::ids::{Incarnation, Seq, WorkerId};
use pointsman::time::Time;
use pointsman::wire::Label;
use pointsman::wire::sip::{Fault, Scanner};
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
            Err(bad) => self.dispatch.on_unparsable(&bad, &self.arrival, self.now),
        }
    }

    fn back(&mut self, text: &str, had: &Handoff, cause: Cause) -> Decision {
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        self.dispatch.on_returned(&message, &self.arrival, &returned(had, cause), self.now)
    }

    fn refuse(&mut self, text: &str, had: &Handoff) -> Decision {
        self.back(text, had, Cause::Refused(RefuseReason::Full))
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

// Messages that are not served.

#[test]
fn keepalives_get_a_pong_on_streams_and_silence_on_udp() {
    let mut rig = rig(1);
    assert_eq!(rig.send("\r\n\r\n"), dropped(Reason::KeepaliveDatagram));
    assert_eq!(rig.send("\0"), dropped(Reason::KeepaliveDatagram));
    assert_eq!(rig.send_bytes(b"\x00\x01\x00\x00\x21\x12\xa4\x42............"), dropped(Reason::Stun));
    rig.arrival.transport = Transport::Tcp;
    assert_eq!(rig.send("\r\n\r\n"), Decision { target: Target::Pong, reason: Reason::KeepaliveStream });
}

#[test]
fn what_cannot_be_read_is_answered_where_an_answer_finds_its_way() {
    let mut rig = rig(1);
    assert_eq!(rig.send("GET / HTTP/1.1\r\n\r\n"), dropped(Reason::Unparsable));
    let newer = invite("a").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia");
    assert_eq!(status(rig.send(&newer)), (505, Reason::Malformed));
    assert_eq!(status(rig.send(&invite("a").replace("Length: 0", "Length: 9"))), (400, Reason::Malformed));
    assert_eq!(rig.send(&same(&invite("a"), "ACK").replace("Length: 0", "Length: 9")), dropped(Reason::Unparsable));
    assert_eq!(status(rig.send(&invite("a").replace("70", "many"))), (400, Reason::Malformed));
    assert_eq!(
        status(rig.send(&invite("a").replace("sip:ivr@ms.example.net SIP", "soap:x SIP"))),
        (416, Reason::UnknownScheme)
    );
}

#[test]
fn unknown_methods_get_501_and_refused_ones_405_both_with_allow() {
    let mut rig = rig(1);
    let unknown = rig.send(&same(&invite("a"), "NEWMETHOD"));
    assert_eq!((status(unknown), answer(unknown).allow), ((501, Reason::UnknownMethod), true));
    for method in ["REGISTER", "PUBLISH", "SUBSCRIBE"] {
        let refused = rig.send(&same(&invite(method), method));
        assert_eq!((status(refused), answer(refused).allow), ((405, Reason::MethodRefused), true));
    }
    for method in ["MESSAGE", "REFER"] {
        assert_eq!(handoff(rig.send(&same(&invite(method), method))).size, 0);
    }
    for method in ["BYE", "UPDATE", "PRACK", "NOTIFY", "INFO"] {
        assert_eq!(status(rig.send(&same(&invite(method), method))), (481, Reason::UnknownDialog));
    }
    let mut rules = rules();
    (rules.methods.register, rules.methods.notify) = (MethodRule::Select, MethodRule::Select);
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(rig.send(&same(&invite("n"), "NOTIFY")).reason, Reason::Selected);
    assert_eq!(rig.send(&same(&invite("r"), "REGISTER")).reason, Reason::Selected);
    assert!(rig.dispatch.allow().contains("REGISTER"));
}

#[test]
fn a_register_is_accepted_where_the_rules_say_so() {
    let mut rig = rig(1);
    let mut rules = rules();
    rules.methods.register = MethodRule::Accept;
    rig.dispatch.set_rules(rules, rig.now);
    let accepted = rig.send(&same(&invite("r"), "REGISTER"));
    assert_eq!((status(accepted), answer(accepted).registered), ((200, Reason::Registered), true));
    assert!(rig.dispatch.allow().ends_with(", REGISTER"), "{}", rig.dispatch.allow());
}

#[test]
fn a_request_that_waited_longer_than_its_sender_is_dropped() {
    let mut rig = rig(1);
    let text = invite("a");
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes()).unwrap();
    let late = rig.now + Duration::from_secs(33);
    assert_eq!(rig.dispatch.on_message(&message, &rig.arrival, late), dropped(Reason::TooOld));
}

#[test]
fn a_400_says_what_is_wrong_and_explain_as_well() {
    let mut rig = rig(1);
    let text = invite("a").replace("CSeq: 1 INVITE", "CSeq: x INVITE");
    let mut scanner = Scanner::new();
    let bad = scanner.scan(text.as_bytes()).unwrap_err();
    let decision = rig.dispatch.on_unparsable(&bad, &rig.arrival, rig.now);
    assert_eq!((status(decision), answer(decision).fault), ((400, Reason::Malformed), Some(Fault::CSeq)));
    let noted = rig.dispatch.explain(b"a");
    assert_eq!(
        (noted[0].method, noted[0].fault, noted[0].outcome),
        (Label::Invite, Some(Fault::CSeq), Outcome::Answered(400))
    );
    let far = rig.send(&invite("b").replace("Max-Forwards: 70", "Max-Forwards: 300"));
    assert_eq!(answer(far).fault, Some(Fault::MaxForwards));
}

#[test]
fn explain_knows_what_was_dropped_as_unparsable() {
    let mut rig = rig(1);
    let text = invite("a").replace("From:", "Nobody:");
    let mut scanner = Scanner::new();
    let bad = scanner.scan(text.as_bytes()).unwrap_err();
    assert_eq!(rig.dispatch.on_unparsable(&bad, &rig.arrival, rig.now), dropped(Reason::Unparsable));
    let noted = rig.dispatch.explain(b"a");
    assert_eq!((noted[0].fault, noted[0].outcome), (Some(Fault::Missing), Outcome::Dropped));
}

#[test]
fn a_bye_that_waited_for_a_dispatcher_is_handed_on_however_late() {
    let mut rig = rig(2);
    let tag = format!("{}-x1", rig.token(1, 1));
    let late = rig.now + Duration::from_secs(3_600);
    for method in ["BYE", "ACK", "INFO", "INVITE"] {
        let text = in_dialog("a", method, &tag);
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        let decision = rig.dispatch.on_message(&message, &rig.arrival, late);
        assert_eq!((handoff(decision).worker, decision.reason), (WorkerId(1), Reason::ToTag), "{method}");
    }
}

#[test]
fn sources_that_insist_on_a_provisional_response_are_told_to_the_worker() {
    let mut rig = rig(1);
    assert!(!handoff(rig.send(&invite("a"))).ring_first);
    let mut rules = rules();
    let source = rig.arrival.source.ip();
    rules.ring_first = vec![format!("{source}/32").parse().unwrap()];
    rig.dispatch.set_rules(rules, rig.now);
    assert!(handoff(rig.send(&invite("b"))).ring_first);
}

// Echoed identity.

#[test]
fn a_token_in_the_to_tag_names_the_worker_of_a_dialog() {
    let mut rig = rig(4);
    let tag = format!("{}-x1", rig.token(2, 1));
    for method in ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "ACK", "CANCEL", "NOTIFY", "X"] {
        let decision = rig.send(&in_dialog("unseen", method, &tag));
        assert_eq!(to(decision), (2, Reason::ToTag), "{method}");
        let Handoff { entry, follows, size, .. } = handoff(decision);
        assert_eq!((entry, follows, size), (None, true, 0));
    }
}

#[test]
fn a_token_of_a_life_that_is_over_gets_481_and_its_ack_nothing() {
    let mut rig = rig(2);
    rig.down(1);
    rig.up(1, 100);
    let (gone, live) = (rig.token(1, 1), rig.token(1, 2));
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", &gone))), (481, Reason::WorkerGone));
    assert_eq!(status(rig.send(&in_dialog("a", "CANCEL", &gone))), (481, Reason::WorkerGone));
    assert_eq!(rig.send(&in_dialog("a", "ACK", &gone)), dropped(Reason::WorkerGone));
    assert_eq!(to(rig.send(&in_dialog("a", "BYE", &live))), (1, Reason::ToTag));
    let forged = live.replace("pm", "pm0");
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", &forged))), (481, Reason::UnknownDialog));
}

#[test]
fn an_initial_request_follows_any_identity_it_echoes() {
    let mut rig = rig(4);
    let token = rig.token(3, 1);
    let uri = |uri: String| invite("a").replace("INVITE sip:ivr@ms.example.net", &format!("INVITE {uri}"));
    let header = |line: String| with_header(&invite("a"), &line);
    let cases = [
        (uri(format!("sip:{token}-7@ms.example.net")), Reason::RequestUri),
        (uri(format!("sip:ivr@ms.example.net;pm={token}")), Reason::RequestUri),
        (uri("sip:ivr@198.51.100.1:5073".to_owned()), Reason::WorkerAddress),
        (header(format!("Route: <sip:{token}@198.51.100.1;lr>")), Reason::Route),
        (header("Route: <sip:198.51.100.1:5073;lr>, <sip:x>".to_owned()), Reason::Route),
        (header(format!("Replaces: other;to-tag={token}-1;from-tag=2")), Reason::Replaces),
        (header(format!("Join: other;from-tag=2;to-tag={token}-1")), Reason::Replaces),
        (header(format!("Target-Dialog: other;local-tag={token}-1;remote-tag=2")), Reason::TargetDialog),
        (header(format!("Authorization: Digest username=\"a\", nonce=\"{token}99\"")), Reason::Nonce),
        (header(format!("SIP-If-Match: {token}-etag")), Reason::Etag),
        (header(format!("{EXTENSION}: {token}")), Reason::Extension),
    ];
    for (at, (text, reason)) in cases.into_iter().enumerate() {
        let text = text.replace("-a", &format!("-a{at}")).replace("Call-ID: a", &format!("Call-ID: a{at}"));
        let decision = rig.send(&text);
        assert_eq!(to(decision), (3, reason), "{text}");
        let Handoff { entry, follows, .. } = handoff(decision);
        assert!(entry.is_some() && follows);
        assert_eq!(to(rig.send(&same(&text, "CANCEL"))), (3, Reason::Cancel), "its CANCEL finds it");
    }
}

#[test]
fn the_port_of_a_worker_on_another_host_is_not_ours() {
    let mut rig = rig(1);
    let text = invite("a").replace("INVITE sip:ivr@ms.example.net", "INVITE sip:ivr@192.0.2.77:5070");
    assert_eq!(rig.send(&text).reason, Reason::Selected);
    let mut rules = rules();
    rules.own_addresses = vec!["192.0.2.77".parse().unwrap()];
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(rig.send(&text.replace("-a", "-b").replace("ID: a", "ID: b")).reason, Reason::WorkerAddress);
}

#[test]
fn options_to_a_workers_own_port_go_to_that_worker() {
    let mut rig = rig(2);
    let text = same(&invite("a"), "OPTIONS").replace("OPTIONS sip:ivr@ms.example.net", "OPTIONS sip:198.51.100.1:5071");
    assert_eq!(to(rig.send(&text)), (1, Reason::WorkerAddress));
}

#[test]
fn replaces_of_a_dialog_that_is_gone_gets_481_and_other_old_tokens_are_selected_anew() {
    let mut rig = rig(2);
    let gone = rig.token(0, 77);
    let replaces = with_header(&invite("a"), &format!("Replaces: x;to-tag={gone};from-tag=2"));
    assert_eq!(status(rig.send(&replaces)), (481, Reason::ReplacesGone));
    for (call, line) in [
        ("n", format!("Authorization: Digest nonce=\"{gone}\"")),
        ("e", format!("SIP-If-Match: {gone}")),
        ("t", format!("Target-Dialog: x;local-tag={gone};remote-tag=1")),
    ] {
        assert_eq!(rig.send(&with_header(&invite(call), &line)).reason, Reason::Selected);
    }
}

fn response(branch: &str) -> String {
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\r\n"
    )
}

#[test]
fn a_response_goes_to_the_worker_whose_token_is_in_our_branch() {
    let mut rig = rig(3);
    let (live, gone) = (rig.token(2, 1), rig.token(2, 9));
    assert_eq!(to(rig.send(&response(&format!("{live}-1")))), (2, Reason::Branch));
    assert_eq!(rig.send(&response(&gone)), dropped(Reason::WorkerGone));
    assert_eq!(rig.send(&response("776asdhds")), dropped(Reason::UnknownResponse));
}

// The table.

#[test]
fn a_retransmission_reaches_the_same_worker_from_any_source_port() {
    let mut rig = rig(4);
    let first = rig.send(&invite("a"));
    rig.arrival.source = "203.0.113.5:33333".parse().unwrap();
    let again = rig.send(&invite("a"));
    assert_eq!(to(again), (handoff(first).worker.0, Reason::Retransmission));
    assert_eq!((handoff(again).entry, handoff(again).size), (None, 0), "its answer starts no clock");
    assert_eq!(rig.dispatch.table_len(), 1);
}

#[test]
fn a_cancel_finds_its_invite_by_branch_else_by_call_and_cseq() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    let cancel = same(&invite("a"), "CANCEL");
    assert_eq!(to(rig.send(&cancel)), (worker, Reason::Cancel));
    assert_eq!(to(rig.send(&cancel)), (worker, Reason::Cancel), "and so do its retransmissions");
    assert_eq!(to(rig.send(&cancel.replace("z9hG4bK-", "z9hG4bK-new-"))), (worker, Reason::Cancel));
    let other = cancel.replace("z9hG4bK-", "z9hG4bK-new-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(status(rig.send(&other)), (481, Reason::UnknownCancel));
    assert_eq!(status(rig.send(&same(&invite("b"), "CANCEL"))), (481, Reason::UnknownCancel));
}

#[test]
fn a_branch_of_rfc_2543_does_not_name_the_transaction() {
    let mut rig = rig(4);
    let old = |call: &str| invite(call).replace(&format!("branch=z9hG4bK-{call}"), "branch=1");
    let first = handoff(rig.send(&old("a"))).worker.0;
    assert_eq!(rig.send(&old("b")).reason, Reason::Selected);
    assert_eq!(to(rig.send(&old("a"))), (first, Reason::Retransmission));
    assert_eq!(to(rig.send(&same(&old("a"), "CANCEL"))), (first, Reason::Cancel));
}

#[test]
fn an_ack_goes_where_its_invite_went_and_is_never_answered() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    assert_eq!(to(rig.send(&same(&invite("a"), "ACK"))), (worker, Reason::Ack));
    assert_eq!(to(rig.send(&in_dialog("a", "ACK", "foreign"))), (worker, Reason::Ack));
    assert_eq!(rig.send(&same(&invite("b"), "ACK")), dropped(Reason::UnknownAck));
    rig.down(worker);
    assert_eq!(rig.send(&same(&invite("a"), "ACK")), dropped(Reason::WorkerGone));
}

#[test]
fn a_request_in_a_dialog_without_a_token_is_found_by_its_call() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    assert_eq!(to(rig.send(&in_dialog("a", "BYE", "foreign"))), (worker, Reason::InDialog));
    assert_eq!(status(rig.send(&in_dialog("b", "BYE", "foreign"))), (481, Reason::UnknownDialog));
    assert_eq!(answer(rig.send(&in_dialog("b", "BYE", "foreign"))).to_tag, None, "To has a tag already");
    rig.down(worker);
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", "foreign"))), (481, Reason::WorkerGone));
}

#[test]
fn the_request_again_and_merged_copies_reach_the_same_worker() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&invite("a")));
    rig.answered(&first);
    let again =
        with_header(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2"), "X-Session-Size: 5");
    let decision = rig.send(&again);
    assert_eq!(to(decision), (first.worker.0, Reason::Again));
    assert_eq!(handoff(decision).size, 5);
    assert_ne!(handoff(decision).entry, first.entry);
    let merged = rig.send(&again.replace("z9hG4bK-2-", "z9hG4bK-3-"));
    assert_eq!((to(merged), handoff(merged).size), ((first.worker.0, Reason::Merged), 0));
}

#[test]
fn an_entry_lives_pending_max_then_64_t1_after_its_answer() {
    let mut rig = rig(2);
    let ringing = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(299));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
    rig.answered(&ringing);
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.dispatch.table_len(), 0);
    rig.send(&invite("b"));
    rig.pass(Duration::from_secs(300));
    assert_eq!(rig.dispatch.table_len(), 0);
    rig.send(&same(&invite("c"), "MESSAGE"));
    rig.pass(Duration::from_secs(32));
    assert_eq!(rig.dispatch.table_len(), 0);
}

#[test]
fn an_acknowledged_invite_whose_worker_died_before_it_could_say_so_goes_after_64_t1() {
    let mut rig = rig(2);
    let answered = handoff(rig.send(&invite("a")));
    rig.send(&same(&invite("a"), "ACK"));
    rig.down(answered.worker.0);
    assert_eq!(rig.back(&invite("a"), &answered, Cause::Died), dropped(Reason::MovedAlready));
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.dispatch.table_len(), 1);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.dispatch.table_len(), 0);
}

#[test]
fn an_initial_request_whose_worker_died_is_selected_anew_and_its_entry_rewritten() {
    let mut rig = rig(2);
    let first = handoff(rig.send(&invite("a")));
    rig.down(first.worker.0);
    let anew = rig.send(&invite("a"));
    assert_eq!(to(anew), (1 - first.worker.0, Reason::SelectedAnew));
    assert_eq!((handoff(anew).entry, handoff(anew).again), (first.entry, true));
    assert_eq!(to(rig.send(&same(&invite("a"), "CANCEL"))), (1 - first.worker.0, Reason::Cancel));
    assert_eq!(rig.back(&invite("a"), &first, Cause::Died), dropped(Reason::MovedAlready));
}

// Answers of the dispatcher's own.

#[test]
fn a_verdict_stays_the_same_when_room_opens_and_its_ack_is_absorbed() {
    let mut rig = rig(1);
    rig.report(0, Report { number: 1, units_used: 100, units_total: 100, ..Report::default() });
    let first = rig.send(&invite("a"));
    assert_eq!((status(first), answer(first).retry_after), ((503, Reason::Full), Some(5)));
    rig.report(0, Report { number: 2, units_total: 100, ..Report::default() });
    let again = rig.send(&invite("a"));
    assert_eq!(status(again), (503, Reason::AnsweredBefore));
    assert_eq!(answer(again), answer(first), "tag included");
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (200, Reason::CancelTooLate));
    let tag = answer(first).to_tag.unwrap();
    let tag = std::str::from_utf8(tag.as_bytes()).unwrap();
    let ack = same(&invite("a"), "ACK")
        .replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"));
    assert_eq!(rig.send(&ack), dropped(Reason::OwnAck));
    assert_eq!(rig.send(&same(&invite("a"), "ACK")), dropped(Reason::OwnAck));
    assert_eq!(status(rig.send(&in_dialog("x", "BYE", tag))), (481, Reason::UnknownDialog));
    let next = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    assert_eq!(rig.send(&next).reason, Reason::Selected, "the verdict was for its branch");
}

#[test]
fn a_cancel_does_not_succeed_because_another_copy_of_its_invite_was_refused() {
    let mut rig = rig(1);
    rig.report(0, Report { number: 1, units_used: 100, units_total: 100, ..Report::default() });
    assert_eq!(status(rig.send(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-"))), (503, Reason::Full));
    rig.report(0, Report { number: 2, units_total: 100, ..Report::default() });
    // The INVITE that it cancels is still on its way, and will be answered (RFC 3261 §9.2: 481).
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (481, Reason::UnknownCancel));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Selected);
}

#[test]
fn the_next_attempt_of_a_proxy_that_hunts_is_selected_once_the_refusal_is_acknowledged() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let sized = with_header(&invite("a"), "X-Session-Size: 5");
    let attempt = |number: u32| sized.replace("z9hG4bK-", &format!("z9hG4bK-{number}-"));
    let ack = |attempt: &str, tag: &str| {
        same(attempt, "ACK").replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"))
    };
    let first = handoff(rig.send(&attempt(1)));
    rig.answered(&first);
    assert_eq!(to(rig.send(&attempt(2))), (first.worker.0, Reason::Merged), "it has not been acknowledged");
    let tag = rig.token(first.worker.0, 1);
    assert_eq!(to(rig.send(&ack(&attempt(1), &tag))), (first.worker.0, Reason::ToTag));
    assert_eq!(to(rig.send(&ack(&attempt(2), &tag))), (first.worker.0, Reason::ToTag));
    let next = rig.send(&attempt(3));
    assert_eq!((next.reason, handoff(next).size, handoff(next).follows), (Reason::Selected, 5, false));
    assert_ne!(handoff(next).worker, first.worker, "it is placed like any new request");
    assert_eq!(to(rig.send(&attempt(4))), (handoff(next).worker.0, Reason::Merged), "a copy of the next attempt");
    // With credentials it goes to the worker that asked for them.
    let again = attempt(5).replace("CSeq: 1", "CSeq: 2");
    assert_eq!(to(rig.send(&again)), (handoff(next).worker.0, Reason::Again));
    // The ACK was faster than the worker's word that it has answered: the next attempt is new before and after that
    // word.
    let other = |number| attempt(number).replace("Call-ID: a", "Call-ID: b");
    let early = handoff(rig.send(&other(6)));
    rig.send(&ack(&other(6), "tag-of-nobody"));
    let new = rig.send(&other(7));
    assert_eq!(new.reason, Reason::Selected);
    rig.send(&ack(&other(7), "tag-of-nobody"));
    rig.answered(&early);
    rig.answered(&handoff(new));
    assert_eq!(rig.send(&other(8)).reason, Reason::Selected);
    // No part of that call is left to be moved.
    rig.send(&ack(&attempt(3), "tag-of-nobody"));
    rig.down(handoff(next).worker.0);
    assert_eq!(rig.back(&attempt(3), &handoff(next), Cause::Died), dropped(Reason::MovedAlready));
    assert_eq!(rig.send(&attempt(3)), dropped(Reason::WorkerGone), "a late copy");
    assert_eq!(rig.send(&attempt(1)).reason, Reason::Retransmission);
}

#[test]
fn an_ack_to_an_answer_that_left_no_entry_is_known_by_its_tag() {
    let mut rig = rig(1);
    let refused = answer(rig.send(&invite("a").replace("70", "many")));
    assert_eq!(rig.dispatch.table_len(), 0);
    let tag = std::str::from_utf8(refused.to_tag.as_ref().unwrap().as_bytes()).unwrap().to_owned();
    let ack = same(&invite("a"), "ACK")
        .replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"));
    assert_eq!(rig.send(&ack), dropped(Reason::OwnAck));
}

#[test]
fn options_to_the_dispatcher_tell_whether_an_invite_would_be_taken() {
    let mut rig = rig(2);
    let options = same(&invite("o"), "OPTIONS");
    let well = rig.send(&options);
    assert_eq!(status(well), (200, Reason::Options));
    assert!(answer(well).allow && answer(well).capabilities);
    rig.dispatch.set_admin(WorkerId(0), Admin::Drain);
    assert_eq!(rig.send(&options).reason, Reason::Options);
    rig.dispatch.set_admin(WorkerId(1), Admin::Maint);
    let unwell = rig.send(&options);
    assert_eq!((status(unwell), answer(unwell).retry_after), ((503, Reason::OptionsUnavailable), Some(5)));
}

#[test]
fn nobody_has_room_503_only_when_not_even_size_1_fits() {
    let mut rig = rig(2);
    let sized = |call: &str, size: &str| with_header(&invite(call), &format!("X-Session-Size: {size}"));
    assert_eq!(status(rig.send(&sized("a", "101"))), (480, Reason::LargerThanAnyWorker));
    for call in ["b", "c"] {
        assert_eq!(rig.send(&sized(call, "60")).reason, Reason::Selected);
    }
    let busy = rig.send(&sized("d", "60"));
    assert_eq!((status(busy), answer(busy).retry_after), ((486, Reason::NoRoomForSize), None));
    for call in ["e", "f"] {
        assert_eq!(rig.send(&sized(call, "40")).reason, Reason::Selected);
    }
    assert_eq!(status(rig.send(&invite("g"))), (503, Reason::Full));
    (0..2).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Drain));
    assert_eq!(status(rig.send(&invite("h"))), (503, Reason::AllDraining));
    (0..2).for_each(|worker| rig.down(worker));
    assert_eq!(status(rig.send(&invite("i"))), (503, Reason::NoWorker));
}

// Sizes.

#[test]
fn each_source_names_a_size_and_the_first_in_order_wins() {
    const SDP: &str =
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    const MSCML: &str = "<?xml version=\"1.0\"?><MediaServerControl version=\"1.0\"><request>\
        <configure_conference reservedtalkers=\"12\"/></request></MediaServerControl>";
    const MSML: &str = "<?xml version='1.0'?><msml version='1.1'><createconference><reserve><resource n='9'/></reserve>\
        </createconference></msml>";
    let mut rig = rig(1);
    let mut size = |text: &str, call: &str| {
        let text = text.replace("-z", &format!("-{call}")).replace("ID: z", &format!("ID: {call}"));
        handoff(rig.send(&text)).size
    };
    let z = invite("z");
    let in_uri = z.replace("INVITE sip:ivr@ms.example.net", "INVITE sip:ivr@ms.example.net;size=7");
    assert_eq!(size(&z, "0"), 1);
    assert_eq!(size(&with_header(&z, "x-session-size: 3"), "1"), 3);
    assert_eq!(size(&in_uri, "2"), 7);
    assert_eq!(size(&with_header(&in_uri, "X-Session-Size: 3"), "3"), 3);
    assert_eq!(size(&with_body(&z, "application/mediaservercontrol+xml", MSCML), "4"), 12);
    assert_eq!(size(&with_body(&z, "application/msml+xml", MSML), "5"), 9);
    assert_eq!(size(&with_body(&z, "application/sdp", SDP), "6"), 5);
    assert_eq!(size(&with_body(&z, "application/sdp", &SDP.replace("4000", "0").replace("4002", "0")), "7"), 0);
    let parts = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b\r\nContent-Type: application/mediaservercontrol+xml\r\n\r\n{MSCML}\r\n--b--\r\n"
    );
    assert_eq!(size(&with_body(&z, "multipart/mixed;boundary=b", &parts), "8"), 12);
}

#[test]
fn absurd_sizes_are_values_with_reasons() {
    let mut rules = rules();
    rules.size.max = 80;
    let mut rig = rig_with(1, rules, 1000);
    let cases = [
        ("0", 1, SizeNote::Zero),
        ("-1", 1, SizeNote::Negative),
        ("1e3", 1, SizeNote::Garbage),
        ("1000000000", 80, SizeNote::Clamped),
        ("7", 7, SizeNote::Named),
    ];
    for (named, counted, note) in cases {
        assert_eq!(rig.dispatch.counters().size_notes(note), 0);
        let call = named.replace('-', "m");
        let decision = rig.send(&with_header(&invite(&call), &format!("X-Session-Size: {named}")));
        assert_eq!((handoff(decision).size, rig.dispatch.counters().size_notes(note)), (counted, 1), "{named}");
    }
}

#[test]
fn sizes_are_believed_from_size_from_only_and_asked_in_the_order_set() {
    let mut rules = rules();
    rules.size.from = vec!["192.0.2.0/24".parse().unwrap()];
    rules.size.order = vec![SizeSource::RequestUri, SizeSource::Header];
    let mut rig = rig_with(1, rules, 1000);
    let text = |call: &str| {
        with_header(&invite(call), "X-Session-Size: 3").replace("ms.example.net SIP", "ms.example.net;size=7 SIP")
    };
    assert_eq!(handoff(rig.send(&text("a"))).size, 1);
    assert_eq!(rig.dispatch.counters().size_notes(SizeNote::Untrusted), 1);
    rig.arrival.source = "192.0.2.9:5060".parse().unwrap();
    assert_eq!(handoff(rig.send(&text("b"))).size, 7);
}

// Selection.

#[test]
fn least_load_counts_what_was_handed_over_before_any_report() {
    let mut rig = rig(2);
    let big = with_header(&invite("a"), "X-Session-Size: 50");
    let first = handoff(rig.send(&big)).worker.0;
    let others: Vec<u16> = (0..50).map(|call| handoff(rig.send(&invite(&format!("c{call}")))).worker.0).collect();
    assert!(others.iter().all(|&worker| worker == 1 - first));
    assert_eq!(rig.dispatch.pool().get(WorkerId(first)).map(|worker| worker.ledger()), Some(50));
    rig.report(
        u32::from(first) as u16,
        Report { number: 1, covers: Seq(1), units_used: 0, units_total: 100, ..Report::default() },
    );
    assert_eq!(handoff(rig.send(&invite("d"))).worker.0, first, "the big one has ended");
}

#[test]
fn every_policy_hands_over_and_numbers_each_link_from_1() {
    for &policy in Policy::ALL {
        let mut rig = rig_with(3, Rules { policy, weights: vec![2, 1], ..rules() }, 1000);
        let mut next = [1; 3];
        for call in 0..30 {
            let Handoff { worker, seq, .. } = handoff(rig.send(&invite(&call.to_string())));
            let next = &mut next[usize::from(worker.0)];
            assert_eq!(seq, Seq(*next), "{policy:?}");
            *next += 1;
        }
        let used: Vec<bool> = next.iter().map(|&seq| seq > 1).collect();
        assert_eq!(used, if policy == Policy::Pack { [true, false, false] } else { [true; 3] }, "{policy:?}");
    }
}

#[test]
fn workers_that_drain_are_silent_or_have_a_full_link_get_nothing_new_and_keep_their_calls() {
    let mut rig = rig(2);
    let tag = rig.token(0, 1);
    let check = |rig: &mut Rig, call: &str| {
        for number in 0..4 {
            assert_eq!(handoff(rig.send(&invite(&format!("{call}{number}")))).worker.0, 1);
        }
        assert_eq!(to(rig.send(&in_dialog("x", "BYE", &tag))), (0, Reason::ToTag));
    };
    rig.dispatch.set_admin(WorkerId(0), Admin::Drain);
    check(&mut rig, "drain");
    rig.dispatch.set_admin(WorkerId(0), Admin::Ready);
    rig.report(0, Report { number: 1, units_total: 100, draining: true, ..Report::default() });
    check(&mut rig, "own");
    rig.report(0, Report { number: 2, units_total: 100, no_room: true, ..Report::default() });
    check(&mut rig, "no-room");
    rig.report(0, Report { number: 3, units_total: 100, ..Report::default() });
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    check(&mut rig, "link");
    rig.dispatch.on_link_room(WorkerId(0), Room::All);
    rig.pass(Duration::from_secs(4));
    rig.dispatch.on_worker_heard(WorkerId(1), rig.now);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.dispatch.pool().get(WorkerId(0)).map(|worker| worker.operational), Some(Operational::Silent));
    check(&mut rig, "silent");
    rig.dispatch.on_worker_heard(WorkerId(0), rig.now);
    assert!((0..4).any(|call| handoff(rig.send(&invite(&format!("back{call}")))).worker.0 == 0));
}

#[test]
fn a_full_link_loses_what_follows_and_spares_its_reserve_from_retransmissions() {
    let mut rig = rig(1);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    assert_eq!(rig.send(&invite("a")), dropped(Reason::LinkFull));
    assert_eq!(rig.send(&same(&invite("a"), "CANCEL")).reason, Reason::Cancel);
    assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)).reason, Reason::ToTag);
    let again = invite("a").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(status(rig.send(&again)), (486, Reason::HolderBusy));
    rig.dispatch.on_link_room(WorkerId(0), Room::None);
    assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)), dropped(Reason::LinkFull));
}

// Conferences.

fn leg(call: &str, conference: &str) -> String {
    invite(call).replace("INVITE sip:ivr@", &format!("INVITE sip:conf={conference}@"))
}

#[test]
fn all_legs_of_a_conference_meet_also_two_first_ones() {
    let mut rig = rig(8);
    let first = rig.send(&leg("a", "42"));
    assert_eq!(first.reason, Reason::SelectedGroup);
    for call in 0..20 {
        let next = rig.send(&leg(&format!("l{call}"), "42"));
        assert_eq!(to(next), (handoff(first).worker.0, Reason::Group));
        assert!(!handoff(next).follows, "it may still be given back, and all legs with it");
    }
    rig.dispatch.on_group_open(handoff(first).worker, b"conf=42", rig.now, rig.now);
    assert!(handoff(rig.send(&leg("late", "42"))).follows);
    assert_eq!(rig.send(&leg("other", "43")).reason, Reason::SelectedGroup);
}

#[test]
fn legs_that_write_the_name_of_their_conference_in_capitals_meet_the_others() {
    let mut rig = rig(8);
    let first = handoff(rig.send(&leg("a", "room-a"))).worker;
    for (call, name) in ["ROOM-A", "Room-a;leg=2"].iter().enumerate() {
        assert_eq!(to(rig.send(&leg(&format!("l{call}"), name))), (first.0, Reason::Group));
    }
    rig.dispatch.on_group_open(first, b"conf=room-a", rig.now, rig.now);
    let late = leg("late", "Room-A").replace("sip:conf=", "sip:CONF=");
    assert!(handoff(rig.send(&late)).follows);
}

#[test]
fn a_provisional_conference_goes_with_its_last_answer_and_a_confirmed_one_stays() {
    let mut rig = rig(8);
    let legs: Vec<Handoff> = ["a", "b"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    legs.iter().for_each(|leg| rig.answered(leg));
    assert_eq!(rig.dispatch.group_len(), 0);
    let first = handoff(rig.send(&leg("c", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now, rig.now);
    rig.answered(&first);
    assert_eq!(to(rig.send(&leg("d", "42"))), (first.worker.0, Reason::Group));
    rig.dispatch.on_group_open(WorkerId(7 - first.worker.0), b"conf=42", rig.now + Duration::from_secs(1), rig.now);
    assert_eq!(rig.dispatch.counters().group_conflicts, 1);
    assert_eq!(handoff(rig.send(&leg("e", "42"))).worker, first.worker, "the older opening holds");
    rig.down(first.worker.0);
    assert_eq!(rig.dispatch.group_len(), 0);
}

#[test]
fn the_legs_of_a_conference_whose_worker_refuses_move_together() {
    let mut rig = rig(4);
    let legs: Vec<Handoff> = ["a", "b", "c"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    let moved: Vec<(u16, Reason)> =
        legs.iter().zip(["a", "b", "c"]).map(|(had, call)| to(rig.refuse(&leg(call, "42"), had))).collect();
    assert_ne!(moved[0].0, legs[0].worker.0);
    assert!(moved.iter().all(|&leg| leg == (moved[0].0, Reason::Refused)), "{moved:?}");
    assert_eq!(handoff(rig.send(&leg("d", "42"))).worker.0, moved[0].0);
}

#[test]
fn the_legs_of_a_conference_whose_worker_dies_move_together() {
    let mut rig = rig(4);
    let legs: Vec<Handoff> = ["a", "b"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    rig.dispatch.on_group_open(legs[0].worker, b"conf=42", rig.now, rig.now);
    rig.down(legs[0].worker.0);
    let early = handoff(rig.send(&leg("c", "42"))).worker.0;
    let moved: Vec<(u16, Reason)> =
        legs.iter().zip(["a", "b"]).map(|(had, call)| to(rig.back(&leg(call, "42"), had, Cause::Died))).collect();
    assert_eq!(moved, [(early, Reason::Died); 2]);
}

#[test]
fn a_conference_that_is_open_and_full_refuses_for_itself() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&leg("a", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now, rig.now);
    let next = handoff(rig.send(&leg("b", "42")));
    assert_eq!(status(rig.refuse(&leg("b", "42"), &next)), (486, Reason::RefusedByHolder));
}

#[test]
fn a_first_leg_that_is_refused_does_not_take_along_a_conference_that_others_have_opened() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&leg("a", "42")));
    handoff(rig.send(&leg("b", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now, rig.now);
    assert_eq!(status(rig.refuse(&leg("a", "42"), &first)), (486, Reason::RefusedByHolder));
    assert_eq!(to(rig.send(&leg("c", "42"))), (first.worker.0, Reason::Group));
}

#[test]
fn a_leg_that_comes_again_with_credentials_goes_where_its_conference_is_by_then() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let again = |call: &str| leg(call, "42").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2");
    let first = handoff(rig.send(&leg("a", "42")));
    rig.answered(&first);
    let other = handoff(rig.send(&leg("b", "42")));
    assert_ne!(other.worker, first.worker);
    assert_eq!(to(rig.send(&again("a"))), (other.worker.0, Reason::Group));
    // No worker has conference 43: the caller's next attempt goes where the first one was, and opens it again there.
    let challenged = leg("c", "43");
    let first = handoff(rig.send(&challenged));
    rig.answered(&first);
    let second = rig.send(&challenged.replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2"));
    assert_eq!(to(second), (first.worker.0, Reason::Again));
    assert_eq!(to(rig.send(&leg("d", "43"))), (first.worker.0, Reason::Group));
}

fn ledger(rig: &Rig, worker: WorkerId) -> Option<u32> {
    rig.dispatch.pool().get(worker).map(|slot| slot.ledger())
}

#[test]
fn a_leg_inside_the_reservation_of_its_conference_is_counted_with_nothing_more() {
    let mut rig = rig(1);
    let sized = |call: &str, room: &str, units: u32| with_header(&leg(call, room), &format!("X-Session-Size: {units}"));
    let first = handoff(rig.send(&sized("a", "42", 10)));
    assert_eq!((first.size, first.names_size, ledger(&rig, first.worker)), (10, true, Some(10)));
    for call in 1..10 {
        let next = handoff(rig.send(&leg(&format!("l{call}"), "42")));
        assert_eq!((next.size, next.names_size, ledger(&rig, first.worker)), (1, false, Some(10)));
    }
    handoff(rig.send(&sized("m", "42", 2)));
    assert_eq!(ledger(&rig, first.worker), Some(12), "beyond it a leg counts as it says");
    handoff(rig.send(&sized("n", "43", 3)));
    assert_eq!(ledger(&rig, first.worker), Some(15));
    // The worker's word changes nothing, and its end of the conference everything.
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now, rig.now);
    handoff(rig.send(&leg("o", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(16));
    rig.dispatch.on_group_closed(first.worker, b"conf=42");
    handoff(rig.send(&sized("p", "42", 5)));
    handoff(rig.send(&leg("q", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(21));
}

#[test]
fn streams_that_weigh_much_and_conferences_that_began_elsewhere_reserve_nothing() {
    const VIDEO: &str =
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    let mut rig = rig(1);
    let first = handoff(rig.send(&with_body(&leg("a", "42"), "application/sdp", VIDEO)));
    assert_eq!((first.size, first.names_size), (5, false));
    handoff(rig.send(&leg("b", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(6));
    rig.dispatch.on_group_open(first.worker, b"conf=43", rig.now, rig.now);
    handoff(rig.send(&with_header(&leg("c", "43"), "X-Session-Size: 4")));
    handoff(rig.send(&leg("d", "43")));
    assert_eq!(ledger(&rig, first.worker), Some(11));
}

#[test]
fn the_first_leg_that_moves_to_another_worker_reserves_there() {
    let mut rig = rig(3);
    let first = with_header(&leg("a", "42"), "X-Session-Size: 10");
    let legs = [handoff(rig.send(&first)), handoff(rig.send(&leg("b", "42")))];
    let moved = [(&first, &legs[0]), (&leg("b", "42"), &legs[1])].map(|(text, had)| handoff(rig.refuse(text, had)));
    assert_ne!(moved[0].worker, legs[0].worker);
    assert_eq!(moved[1].worker, moved[0].worker);
    assert_eq!((ledger(&rig, legs[0].worker), ledger(&rig, moved[0].worker)), (Some(0), Some(10)));
    rig.down(moved[0].worker.0);
    let again = handoff(rig.back(&first, &moved[0], Cause::Died));
    handoff(rig.back(&leg("b", "42"), &moved[1], Cause::Died));
    assert_eq!((again.size, again.names_size, ledger(&rig, again.worker)), (10, true, Some(10)));
}

#[test]
fn legs_meet_by_their_name_when_the_list_of_conferences_is_full() {
    let setup = Setup { rules: rules(), keys: Keyring::new(KEY), table_cap: 1000, group_cap: 0, workers: 8, seed: 1 };
    let mut rig = rig(8);
    rig.dispatch = Dispatch::new(setup);
    (0..8).for_each(|worker| rig.up(worker, 100));
    let first = handoff(rig.send(&leg("a", "42"))).worker;
    assert!((0..10).all(|call| handoff(rig.send(&leg(&format!("b{call}"), "42"))).worker == first));
    assert_eq!(rig.dispatch.counters().groups_unrecorded, 11);
}

// Messages that come back from a worker.

#[test]
fn a_refused_request_is_offered_to_each_worker_once_and_then_answered() {
    let mut rig = rig(3);
    let mut had = handoff(rig.send(&invite("a")));
    let mut seen = vec![had.worker.0];
    for _ in 0..2 {
        let next = rig.refuse(&invite("a"), &had);
        assert_eq!(next.reason, Reason::Refused);
        had = handoff(next);
        assert!(!had.again && had.entry.is_some());
        seen.push(had.worker.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
    let last = rig.refuse(&invite("a"), &had);
    assert_eq!(status(last), (486, Reason::RefusedByAll));
    assert_eq!(status(rig.send(&invite("a"))), (486, Reason::AnsweredBefore));
    assert!(rig.dispatch.pool().iter().all(|(_, worker)| (worker.ledger(), worker.refused) == (0, 1)));
}

#[test]
fn where_no_worker_has_a_port_left_the_answer_is_503_and_not_busy() {
    let mut rig = rig(2);
    let exhausted = Cause::Refused(RefuseReason::Exhausted);
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.back(&invite("a"), &first, exhausted));
    let last = rig.back(&invite("a"), &second, exhausted);
    assert!(matches!(last.target, Target::Answer(answer) if answer.retry_after.is_some()), "{last:?}");
    assert_eq!(status(last), (503, Reason::RefusedByAll));
    assert_eq!(status(rig.send(&invite("b"))), (503, Reason::Full), "until a report says otherwise");
    (0..2).for_each(|worker| {
        let report = Report { number: 1, units_total: 100, ..Report::default() };
        rig.dispatch.on_report(WorkerId(worker), &report, rig.now);
    });
    handoff(rig.send(&invite("c")));
}

#[test]
fn a_refused_request_is_not_offered_around_for_longer_than_the_patience() {
    let mut rig = rig(3);
    let had = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_millis(401));
    assert_eq!(status(rig.refuse(&invite("a"), &had)), (486, Reason::RefusedByAll));
}

#[test]
fn a_request_that_a_worker_read_too_late_goes_to_the_next_however_long_that_took() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(3));
    let late = Cause::Refused(RefuseReason::Late);
    let next = rig.back(&invite("a"), &first, late);
    assert_eq!(next.reason, Reason::Refused);
    let second = handoff(next);
    assert_ne!(second.worker, first.worker);
    assert!(second.deadline > Some(rig.now), "its time begins anew");
    // So does the patience with refusals.
    rig.pass(Duration::from_millis(300));
    assert_eq!(rig.refuse(&invite("a"), &second).reason, Reason::Refused);
    let other = handoff(rig.send(&invite("b")));
    rig.pass(Duration::from_secs(33));
    (0..3).for_each(|worker| rig.dispatch.on_worker_heard(WorkerId(worker), rig.now));
    assert_eq!(status(rig.back(&invite("b"), &other, late)), (486, Reason::RefusedByAll), "its caller has given up");
}

#[test]
fn a_request_whose_worker_died_late_is_still_offered_around() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(2));
    rig.down(first.worker.0);
    let second = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let third = rig.refuse(&invite("a"), &second);
    assert_eq!(third.reason, Reason::Refused);
    assert!(![first.worker, second.worker].contains(&handoff(third).worker));
}

#[test]
fn a_refusal_of_what_only_one_worker_can_have_is_the_answer() {
    let mut rig = rig(3);
    let token = rig.token(1, 1);
    let text = with_header(&invite("a"), &format!("Replaces: x;to-tag={token};from-tag=2"));
    let had = handoff(rig.send(&text));
    assert_eq!(had.deadline, None);
    assert_eq!(status(rig.refuse(&text, &had)), (486, Reason::RefusedByHolder));
}

#[test]
fn a_dead_workers_requests_go_to_the_next_one_and_the_second_death_ends_it() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(100));
    (0..3).for_each(|worker| rig.dispatch.on_worker_heard(WorkerId(worker), rig.now));
    rig.down(first.worker.0);
    let next = rig.back(&invite("a"), &first, Cause::Died);
    assert_eq!(next.reason, Reason::Died);
    let second = handoff(next);
    assert!(second.again && second.deaths == 1 && second.worker != first.worker);
    rig.down(second.worker.0);
    assert_eq!(status(rig.back(&invite("a"), &second, Cause::Died)), (500, Reason::Poison));
    assert_eq!(status(rig.send(&invite("a"))), (500, Reason::AnsweredBefore));
}

#[test]
fn a_merged_copy_whose_worker_dies_follows_the_request_it_is_a_copy_of() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let copy = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.send(&copy));
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let decision = rig.back(&copy, &second, Cause::Died);
    assert_eq!(to(decision), (moved.worker.0, Reason::Died), "elsewhere it would be a second call");
    assert_eq!((handoff(decision).follows, handoff(decision).size), (true, 0));
    rig.answered(&moved);
    rig.answered(&second);
    rig.down(moved.worker.0);
    let anew = handoff(rig.send(&copy));
    assert_eq!(to(rig.send(&invite("a"))), (anew.worker.0, Reason::SelectedAnew), "found by a retransmission, too");
}

#[test]
fn a_merged_copy_that_is_refused_follows_the_request_it_is_a_copy_of() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let copy = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.send(&copy));
    let moved = handoff(rig.refuse(&invite("a"), &first));
    assert_eq!(to(rig.refuse(&copy, &second)), (moved.worker.0, Reason::Refused));
}

#[test]
fn a_copy_that_is_gone_with_its_worker_does_not_hide_the_call() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let first = handoff(rig.send(&invite("a")));
    let copy = handoff(rig.send(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-")));
    rig.answered(&copy);
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let again = invite("a").replace("z9hG4bK-", "z9hG4bK-3-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(to(rig.send(&again)), (moved.worker.0, Reason::Again));
    let bye = in_dialog("a", "BYE", "without-a-token");
    assert_eq!(to(rig.send(&bye)), (moved.worker.0, Reason::InDialog));
}

#[test]
fn a_copy_that_is_left_over_from_its_request_is_selected_with_its_size() {
    let mut rig = rig(2);
    let sized = with_header(&invite("a"), "X-Session-Size: 5");
    let first = handoff(rig.send(&sized));
    let copy = sized.replace("z9hG4bK-", "z9hG4bK-2-");
    let second = handoff(rig.send(&copy));
    rig.answered(&first);
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&copy, &second, Cause::Died));
    assert_eq!((moved.size, moved.follows), (5, false));
}

#[test]
fn poison_is_noticed_by_retransmissions_too() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.down(first.worker.0);
    let second = handoff(rig.send(&invite("a")));
    rig.down(second.worker.0);
    assert_eq!(status(rig.send(&invite("a"))), (500, Reason::Poison));
}

#[test]
fn the_only_worker_died_and_nobody_is_left() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    rig.down(0);
    assert_eq!(status(rig.back(&invite("a"), &had, Cause::Died)), (503, Reason::NoWorker));
}

#[test]
fn the_next_life_of_the_same_slot_may_have_it() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    rig.down(0);
    rig.up(0, 100);
    let next = rig.back(&invite("a"), &had, Cause::Died);
    assert_eq!((to(next), handoff(next).seq), ((0, Reason::Died), Seq(1)));
}

#[test]
fn an_invite_that_comes_back_after_its_cancel_gets_487_and_the_cancel_200() {
    for cause in [Cause::Refused(RefuseReason::Full), Cause::Died] {
        let mut rig = rig(3);
        let cancel = same(&invite("a"), "CANCEL");
        let had = handoff(rig.send(&invite("a")));
        let had_cancel = handoff(rig.send(&cancel));
        if cause == Cause::Died {
            rig.down(had.worker.0);
        }
        assert_eq!(status(rig.back(&invite("a"), &had, cause)), (487, Reason::Cancelled));
        assert_eq!(status(rig.back(&cancel, &had_cancel, cause)), (200, Reason::CancelAnswered));
        assert_eq!(status(rig.send(&invite("a"))), (487, Reason::AnsweredBefore));
    }
}

#[test]
fn a_cancel_between_a_death_and_its_orphans_is_answered_and_remembered() {
    let mut rig = rig(3);
    let had = handoff(rig.send(&invite("a")));
    rig.down(had.worker.0);
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (200, Reason::CancelAnswered));
    assert_eq!(status(rig.back(&invite("a"), &had, Cause::Died)), (487, Reason::Cancelled));
    let answered = handoff(rig.send(&invite("b")));
    rig.answered(&answered);
    rig.down(answered.worker.0);
    assert_eq!(status(rig.send(&same(&invite("b"), "CANCEL"))), (481, Reason::WorkerGone));
}

#[test]
fn what_follows_a_call_never_moves() {
    let mut rig = rig(2);
    let had = handoff(rig.send(&invite("a")));
    let copy = handoff(rig.send(&invite("a")));
    let bye = in_dialog("a", "BYE", "foreign");
    let had_bye = handoff(rig.send(&bye));
    let had_ack = handoff(rig.send(&same(&invite("a"), "ACK")));
    assert_eq!(status(rig.refuse(&bye, &had_bye)), (500, Reason::RefusedInDialog));
    assert_eq!(rig.refuse(&invite("a"), &copy), dropped(Reason::MovedAlready));
    rig.down(had.worker.0);
    assert_eq!(status(rig.back(&bye, &had_bye, Cause::Died)), (481, Reason::OrphanInDialog));
    assert_eq!(rig.back(&same(&invite("a"), "ACK"), &had_ack, Cause::Died), dropped(Reason::OrphanInDialog));
    assert_eq!(rig.back(&invite("a"), &copy, Cause::Died), dropped(Reason::MovedAlready));
}

// Floods.

#[test]
fn a_full_table_places_by_hash_and_what_follows_finds_the_same_worker() {
    let mut rig = rig_with(5, rules(), 2);
    ["a", "b"].iter().for_each(|call| {
        rig.send(&invite(call));
    });
    for call in 0..20 {
        let text = invite(&format!("c{call}"));
        let placed = rig.send(&text);
        let worker = handoff(placed).worker.0;
        assert_eq!((placed.reason, handoff(placed).entry), (Reason::Unrecorded, None));
        assert_eq!(to(rig.send(&text)), (worker, Reason::Unrecorded), "a retransmission");
        assert_eq!(to(rig.send(&same(&text, "CANCEL"))), (worker, Reason::FollowsUnrecorded));
        assert_eq!(to(rig.send(&same(&text, "ACK"))), (worker, Reason::FollowsUnrecorded));
        assert_eq!(
            to(rig.send(&in_dialog(&format!("c{call}"), "BYE", "foreign"))),
            (worker, Reason::FollowsUnrecorded)
        );
    }
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission, "who waits keeps its place");
    let had = handoff(rig.send(&invite("d")));
    assert_eq!(status(rig.refuse(&invite("d"), &had)), (486, Reason::RefusedByHolder));
    rig.down(had.worker.0);
    assert_eq!(rig.back(&invite("d"), &had, Cause::Died).reason, Reason::Unrecorded);
    rig.pass(Duration::from_secs(301));
    assert_eq!(status(rig.send(&same(&invite("e"), "CANCEL"))), (481, Reason::UnknownCancel));
}

impl Rig {
    fn send_from(&mut self, source: &str, text: &str) -> Decision {
        let before = std::mem::replace(&mut self.arrival.source, SocketAddr::new(source.parse().unwrap(), 5060));
        let decision = self.send(text);
        self.arrival.source = before;
        decision
    }
}

#[test]
fn under_pressure_a_source_over_its_share_is_placed_unrecorded_and_others_are_recorded() {
    let mut rig = rig_with(3, rules(), 80);
    let honest = handoff(rig.send_from("192.0.2.1", &invite("h"))).worker.0;
    for call in 0..200 {
        let placed = rig.send_from("203.0.113.66", &invite(&format!("c{call}")));
        let expected = if call < 69 { Reason::Selected } else { Reason::Unrecorded };
        assert_eq!(placed.reason, expected, "{call}");
    }
    assert_eq!(rig.send_from("192.0.2.2", &invite("n")).reason, Reason::Selected, "a newcomer");
    assert_eq!(rig.send_from("192.0.2.1", &invite("h2")).reason, Reason::Selected, "little of its own waits");
    assert_eq!(to(rig.send_from("192.0.2.1", &invite("h"))), (honest, Reason::Retransmission));
    assert_eq!(to(rig.send_from("192.0.2.1", &same(&invite("h"), "CANCEL"))), (honest, Reason::Cancel));
}

#[test]
fn a_network_of_64_bits_is_one_source() {
    let mut rig = rig_with(3, rules(), 80);
    rig.send(&invite("h"));
    for call in 0..100 {
        let placed = rig.send_from(&format!("2001:db8::{call:x}"), &invite(&format!("c{call}")));
        assert_eq!(placed.reason, if call < 69 { Reason::Selected } else { Reason::Unrecorded }, "{call}");
    }
}

#[test]
fn scarce_room_on_every_link_is_for_sources_below_their_share() {
    let mut rig = rig_with(2, rules(), 1000);
    rig.send_from("192.0.2.1", &invite("h"));
    (0..9).for_each(|call| {
        assert_eq!(rig.send_from("203.0.113.66", &invite(&format!("c{call}"))).reason, Reason::Selected)
    });
    rig.dispatch.on_link_room(WorkerId(0), Room::Scarce);
    for call in 0..4 {
        let placed = rig.send_from("203.0.113.66", &invite(&format!("d{call}")));
        assert_eq!(to(placed), (1, Reason::Selected), "the other has room for all");
    }
    rig.dispatch.on_link_room(WorkerId(1), Room::Scarce);
    let refused = rig.send_from("203.0.113.66", &invite("e"));
    assert_eq!((status(refused), answer(refused).retry_after), ((503, Reason::OverShare), Some(5)));
    assert_eq!(rig.send_from("192.0.2.1", &invite("h2")).reason, Reason::Selected);
    assert_eq!(rig.send_from("192.0.2.2", &invite("n")).reason, Reason::Selected);
    rig.dispatch.on_link_room(WorkerId(1), Room::All);
    assert_eq!(rig.send_from("203.0.113.66", &invite("e")).reason, Reason::Selected, "nothing was held against it");
}

#[test]
fn an_ack_behind_each_invite_hides_nobody_who_is_over_its_share() {
    let mut rig = rig_with(3, rules(), 80);
    rig.send_from("192.0.2.1", &invite("h"));
    for call in 0..100 {
        let invite = invite(&format!("c{call}"));
        let placed = rig.send_from("203.0.113.66", &invite);
        assert_eq!(placed.reason, if call < 69 { Reason::Selected } else { Reason::Unrecorded }, "{call}");
        // None of them has been answered.
        rig.send_from("203.0.113.66", &same(&invite, "ACK"));
    }
}

#[test]
fn forged_addresses_without_number_take_no_place_of_those_who_wait() {
    let mut rig = rig_with(4, rules(), 2000);
    (0..4).for_each(|worker| rig.report(worker, Report { number: 1, units_total: 1_000_000, ..Report::default() }));
    let honest: Vec<String> = (0..100).map(|call| invite(&format!("h{call}"))).collect();
    let workers: Vec<u16> = honest.iter().map(|call| handoff(rig.send_from("192.0.2.1", call)).worker.0).collect();
    for number in 0_u32..20_000 {
        let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        assert!(matches!(rig.send_from(&source, &invite(&format!("f{number}"))).target, Target::Worker(_)));
    }
    assert_eq!(rig.dispatch.table_len(), 2000);
    assert!(rig.dispatch.counters().of(Reason::Unrecorded) >= 18_000);
    for (call, worker) in honest.iter().zip(workers) {
        assert_eq!(to(rig.send_from("192.0.2.1", call)), (worker, Reason::Retransmission));
        assert_eq!(to(rig.send_from("192.0.2.1", &same(call, "CANCEL"))), (worker, Reason::Cancel));
    }
}

// Access lists and rates.

fn access(rules: &[(&str, u8, AccessAction)]) -> Rules {
    let rule = |&(network, prefix, action): &(&str, u8, AccessAction)| AccessRule {
        network: network.parse().unwrap(),
        prefix,
        action,
    };
    Rules { access: rules.iter().map(rule).collect(), ..self::rules() }
}

fn limit(rate: u32, burst: u32, ban_ms: u32) -> AccessAction {
    AccessAction::Limit { rate, burst, ban_ms }
}

#[test]
fn who_is_denied_gets_no_answer_to_anything() {
    let mut rig = rig(1);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    rig.dispatch.set_rules(access(&[("203.0.113.0", 24, AccessAction::Deny)]), rig.now);
    for text in [
        invite("a"),
        invite("b"),
        same(&invite("a"), "CANCEL"),
        in_dialog("a", "BYE", &tag),
        invite("o").replace("INVITE", "OPTIONS"),
        invite("m").replace("CSeq: 1", "CSeq: x"),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        assert_eq!(rig.send(&text), dropped(Reason::Denied), "{text}");
    }
    assert_eq!(rig.send_from("192.0.2.1", &invite("c")).reason, Reason::Selected);
    assert_eq!(rig.dispatch.counters().of(Reason::Denied), 7);
    assert_eq!(rig.dispatch.explain(b"b").last().map(|it| it.reason), Some(Reason::Denied));
    rig.dispatch.set_rules(rules(), rig.now);
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission, "no call was touched");
}

#[test]
fn a_datagram_too_small_for_its_answer_gets_none() {
    let mut rig = rig(1);
    let tiny = "OPTIONS sip:a SIP/2.0\nv:SIP/2.0/UDP a\nf:sip:a\nt:sip:a\ni:1\nCSeq:1 OPTIONS\n\n";
    assert_eq!(rig.send(tiny), dropped(Reason::TooSmall));
    rig.arrival.transport = Transport::Tcp;
    assert_eq!(status(rig.send(tiny)), (200, Reason::Options), "nobody forges the source of a connection");
}

#[test]
fn over_its_rate_a_source_is_refused_with_503_and_then_not_answered() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(2, 3, 0))]), 1000);
    let reasons: Vec<_> = (0..8).map(|call| rig.send(&invite(&format!("c{call}")))).collect();
    assert!(reasons[..3].iter().all(|decision| decision.reason == Reason::Selected));
    assert!(reasons[3..6].iter().all(|decision| status(*decision) == (503, Reason::OverRate)));
    assert_eq!(answer(reasons[3]).retry_after, Some(5));
    assert_eq!(reasons[6..], [dropped(Reason::OverRate); 2]);
    assert_eq!(rig.send_from("192.0.2.9", &invite("other")).reason, Reason::Selected);
    rig.pass(Duration::from_millis(500));
    assert_eq!(rig.send(&invite("later")).reason, Reason::Selected);
    assert_eq!(status(rig.send(&invite("o").replace("INVITE", "OPTIONS"))), (503, Reason::OverRate));
}

#[test]
fn what_belongs_to_a_call_is_never_rated() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    assert_eq!(rig.send(&invite("b")), dropped(Reason::Banned));
    for _ in 0..50 {
        assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
        assert_eq!(rig.send(&same(&invite("a"), "CANCEL")).reason, Reason::Cancel);
        assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)).reason, Reason::ToTag);
    }
    rig.now = rig.now + Duration::from_secs(61);
    assert_eq!(rig.send(&invite("b")).reason, Reason::Selected);
}

#[test]
fn forged_responses_reach_a_worker_no_faster_than_eight_for_each_request_that_their_source_may_begin() {
    let mut rig = rig_with(2, access(&[("0.0.0.0", 0, limit(10, 5, 60_000))]), 1000);
    let token = rig.token(1, 1);
    let forged: Vec<_> = (0..200).map(|number| rig.send(&response(&format!("{token}-{number}")))).collect();
    assert!(forged[..40].iter().all(|decision| to(*decision) == (1, Reason::Branch)));
    assert!(forged[40..].iter().all(|decision| *decision == dropped(Reason::OverRate)));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Selected, "nobody is banned for responses");
    assert_eq!(rig.send_from("192.0.2.9", &response(&token)).reason, Reason::Branch, "each source for itself");
    rig.pass(Duration::from_millis(100));
    let later = (0..20).filter(|_| rig.send(&response(&token)).reason == Reason::Branch).count();
    assert_eq!(later, 8);
    // A source that is banned ends its calls in order.
    for call in 0..9 {
        rig.send(&invite(&format!("b{call}")));
    }
    assert_eq!(rig.send(&invite("c")), dropped(Reason::Banned));
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.send(&response(&token)).reason, Reason::Branch);
}

#[test]
fn whatever_begins_something_is_rated_whoever_it_names() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    let token = rig.token(0, 1);
    rig.send(&invite("a"));
    let next = |number: u32| invite("a").replace("z9hG4bK-", &format!("z9hG4bK-{number}-"));
    let named = [
        with_header(&invite("b"), &format!("{EXTENSION}: {token}")),
        invite("c").replace("sip:ivr@ms", &format!("sip:{token}@ms")),
        invite("d").replace(" SIP/2.0\r\nVia", &format!(";pm={token} SIP/2.0\r\nVia")),
        with_header(&invite("e"), &format!("Route: <sip:{token}@198.51.100.1;lr>")),
        with_header(&invite("f"), &format!("Authorization: Digest username=\"a\", nonce=\"{token}x\"")),
        with_header(&invite("g"), &format!("Target-Dialog: x;local-tag=l;remote-tag={token}-y")),
        with_header(&invite("h"), &format!("Replaces: x;to-tag={token}-y;from-tag=z")),
        with_header(&invite("i"), "Replaces: x;to-tag=pm0000000000000000-y;from-tag=z"),
        with_header(&same(&invite("j"), "PUBLISH"), &format!("SIP-If-Match: {token}x")),
        next(2),
        next(3).replace("CSeq: 1", "CSeq: 2"),
    ];
    for text in &named {
        assert_eq!(rig.send(text), dropped(Reason::Banned), "{text}");
    }
    rig.now = rig.now + Duration::from_secs(61);
    assert_eq!(rig.send(&named[0]).reason, Reason::Extension, "the token chooses the worker");
    assert_eq!(rig.send(&named[1]), dropped(Reason::Banned));
}

#[test]
fn who_is_banned_gets_no_answer_to_what_belongs_to_nothing() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    rig.send(&invite("a"));
    for text in [
        invite("b"),
        same(&invite("c"), "CANCEL"),
        in_dialog("d", "BYE", "foreign"),
        invite("e").replace("INVITE", "BYE"),
        invite("f").replace("INVITE", "WINK"),
        invite("g").replace("INVITE", "REGISTER"),
        invite("h").replace("INVITE", "OPTIONS"),
        invite("i").replace("sip:ivr@ms", "http://ms"),
        invite("j").replace("Max-Forwards: 70", "Max-Forwards: x"),
    ] {
        assert_eq!(rig.send(&text), dropped(Reason::Banned), "{text}");
    }
}

// Pinned sources.

#[test]
fn a_softphone_a_nat_and_a_proxy_in_front_do_not_pin_a_call() {
    let mut rig = rig(1);
    let plain = invite("a");
    let variants = [
        plain.clone(),
        // pjsua2 with its defaults: `ob` is about requests towards the caller (RFC 5626 §5).
        plain.replace("<sip:as@203.0.113.5>", "<sip:as@203.0.113.5;ob>"),
        plain.replace("Contact: <sip:as@203.0.113.5>", "Contact: <sip:as@192.168.1.4>"),
        plain.replace("UDP 203.0.113.5", "UDP 10.1.2.3"),
        plain.replace("Contact: <sip:as@203.0.113.5>", "Contact: <sip:as@[fd00::1]>"),
        with_header(&plain, "Route: <sip:ms.example.net;lr>"),
        with_header(&plain, "Record-Route: <sip:203.0.113.5;lr>"),
    ];
    for (number, text) in variants.iter().enumerate() {
        let text = text.replace("-a", &format!("-{number}")).replace("ID: a", &format!("ID: {number}"));
        assert_eq!(handoff(rig.send(&text)).pinned, None, "{text}");
    }
    assert_eq!(rig.dispatch.counters().pinned, 0);
}

#[test]
fn pinned_sources_and_websockets_are_pinned_counted_and_explained() {
    let mut rig = rig(1);
    let networks = vec!["203.0.113.0/24".parse().unwrap()];
    rig.dispatch.set_rules(Rules { pinned: networks, ..rules() }, rig.now);
    assert_eq!(handoff(rig.send(&invite("a"))).pinned, Some(Pinned::Source));
    // The operator's setting holds also where a proxy has put itself into the dialog and is the source.
    let routed = with_header(&invite("b"), "Record-Route: <sip:203.0.113.5;lr>");
    assert_eq!(handoff(rig.send(&routed)).pinned, Some(Pinned::Source));
    rig.arrival.source = "198.51.100.7:5060".parse().unwrap();
    assert_eq!(handoff(rig.send(&invite("c"))).pinned, None);
    rig.arrival.transport = Transport::Wss;
    assert_eq!(handoff(rig.send(&invite("d"))).pinned, Some(Pinned::WebSocket));
    // Retransmissions are no calls, and a MESSAGE makes no dialog.
    rig.send(&invite("d"));
    assert_eq!(handoff(rig.send(&same(&invite("e"), "MESSAGE"))).pinned, None);
    assert_eq!(rig.dispatch.counters().pinned, 3);
    let explained = rig.dispatch.explain(b"d");
    assert!(matches!(explained[0].outcome, Outcome::Worker { pinned: Some(Pinned::WebSocket), .. }), "{explained:?}");
}

// The operator's views and orders.

#[test]
fn totals_add_up_and_explain_tells_a_calls_story() {
    let mut rig = rig(2);
    rig.send(&invite("a"));
    rig.send(&invite("a"));
    rig.send(&same(&invite("b"), "OPTIONS"));
    rig.send("\r\n\r\n");
    rig.send(&in_dialog("a", "BYE", "foreign"));
    let counters = rig.dispatch.counters();
    assert_eq!((counters.received, counters.handed_over, counters.relayed), (5, 1, 2));
    assert_eq!((counters.replied, counters.dropped), (1, 1));
    assert_eq!(counters.reasons().map(|(_, count)| count).sum::<u64>(), 5);
    let story: Vec<Reason> = rig.dispatch.explain(b"a").iter().map(|line| line.reason).collect();
    assert_eq!(story, [Reason::Selected, Reason::Retransmission, Reason::InDialog]);
    assert!(matches!(rig.dispatch.explain(b"a")[0].outcome, Outcome::Worker { size: 1, pinned: None, .. }));
    assert_eq!(rig.dispatch.explain(b"b")[0].outcome, Outcome::Answered(200));
}

#[test]
fn a_reload_keeps_table_load_and_conferences() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&leg("a", "42")));
    rig.dispatch.set_rules(Rules { policy: Policy::RoundRobin, ..rules() }, rig.now);
    rig.dispatch.set_workers(4);
    assert_eq!(to(rig.send(&leg("a", "42"))), (first.worker.0, Reason::Retransmission));
    assert_eq!(to(rig.send(&leg("b", "42"))), (first.worker.0, Reason::Group));
    assert_eq!(rig.dispatch.pool().get(first.worker).map(|worker| worker.ledger()), Some(2));
    rig.lives.push(0);
    rig.up(3, 100);
    let mut used: Vec<u16> = (0..4).map(|call| handoff(rig.send(&invite(&format!("r{call}")))).worker.0).collect();
    used.sort_unstable();
    assert_eq!(used, [0, 1, 2, 3]);
    rig.dispatch.set_workers(1);
    assert!((0..4).all(|call| handoff(rig.send(&invite(&format!("s{call}")))).worker.0 == 0));
}

#[test]
fn a_selected_request_has_a_deadline_and_timeouts_are_told() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    assert_eq!(had.deadline, Some(START + Duration::from_secs(2)));
    assert_eq!(had.since, START);
    assert_eq!(had.tried.as_slice(), [WorkerId(0)]);
    assert!(rig.dispatch.poll_timeout().is_some_and(|timeout| timeout <= START + Duration::from_secs(1)));
}

#[test]
fn an_entry_that_is_not_there_any_more_harms_nothing() {
    let mut rig = rig(2);
    let stale = EntryId { index: 77, generation: 3 };
    rig.dispatch.on_answered(stale, rig.now);
    let had = Handoff { entry: Some(stale), ..handoff(rig.send(&invite("a"))) };
    assert_eq!(rig.refuse(&invite("a"), &had), dropped(Reason::MovedAlready));
    let mut full = Tried::default();
    (0..8).for_each(|worker| assert!(full.add(WorkerId(worker))));
    assert!(!full.add(WorkerId(9)) && full.is_full());
    rig.dispatch.on_link_room(WorkerId(500), Room::None);
    rig.dispatch.on_worker_down(WorkerId(500), rig.now);
}

#[test]
fn what_another_lane_cannot_take_is_dropped_and_counted() {
    let mut rig = rig(1);
    rig.dispatch.on_lane_full(3);
    assert_eq!(rig.dispatch.counters().of(Reason::LaneFull), 3);
    assert_eq!(rig.dispatch.counters().dropped, 3);
}

#[test]
fn every_reason_is_given_by_a_test_here_or_of_mgcp() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let of_mgcp = fs::read_dir(tests.join("mgcp")).unwrap().map(|file| file.unwrap().path());
    let files = of_mgcp.chain([tests.join("sip.rs")]);
    let tests: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    for reason in Reason::all() {
        let name = format!("Reason::{reason:?}");
        let is_named = tests
            .match_indices(&name)
            .any(|(at, _)| !tests[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()));
        assert!(is_named, "{name}");
    }
}

// Workers that come back from an earlier dispatcher.

/// The record in which a worker tells of a transaction that it has.
fn held(text: &str, is_answered: bool) -> Transaction {
    let mut scanner = Scanner::new();
    let opened = Names::opened_by(&scanner.scan(text.as_bytes()).unwrap(), &Printer::new(&KEY));
    Transaction { is_answered, ..opened.unwrap() }
}

fn come_back(rig: &mut Rig, worker: u16, brought: &Brought) {
    let joined = Joined::sip(Incarnation::new(9), 100, Vec::new());
    rig.dispatch.on_worker_back(WorkerId(worker), &joined, brought, rig.now);
}

#[test]
fn what_a_worker_brings_back_is_found_as_if_this_dispatcher_had_placed_it() {
    let mut rig = rig(2);
    let (rings, answered) = (invite("rings"), invite("answered"));
    let brought = Brought { transactions: vec![held(&rings, false), held(&answered, true)], ..Brought::default() };
    come_back(&mut rig, 1, &brought);
    for text in [&rings, &answered] {
        assert_eq!(to(rig.send(text)), (1, Reason::Retransmission));
        assert_eq!(to(rig.send(&text.replace("z9hG4bK-", "z9hG4bK-copy-"))), (1, Reason::Merged));
    }
    assert_eq!(to(rig.send(&same(&rings, "CANCEL"))), (1, Reason::Cancel));
    // The first of two workers that claim one transaction has it.
    come_back(&mut rig, 0, &brought);
    assert_eq!(to(rig.send(&rings)), (1, Reason::Retransmission));
}

#[test]
fn the_clock_of_a_transaction_that_was_brought_back_starts_when_its_worker_says_so() {
    let mut rig = rig(2);
    let rings = held(&invite("rings"), false);
    come_back(&mut rig, 1, &Brought { transactions: vec![rings], ..Brought::default() });
    // Another's word changes nothing.
    rig.dispatch.on_released(WorkerId(0), rings.branch, rig.now);
    rig.pass(Duration::from_secs(100));
    assert_eq!(rig.dispatch.table_len(), 1);
    rig.dispatch.on_released(WorkerId(1), rings.branch, rig.now);
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.dispatch.table_len(), 1);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.dispatch.table_len(), 0);
}

#[test]
fn load_conferences_and_a_drain_come_back_with_their_worker() {
    let mut rig = rig(2);
    let conferences = vec![(Time(5), Box::from(&b"conf=1"[..]))];
    come_back(&mut rig, 1, &Brought { units_used: 40, sessions: 7, conferences, ..Brought::default() });
    assert_eq!(to(rig.send(&invite("leg").replace("sip:ivr@", "sip:conf=1@"))), (1, Reason::Group));
    let slot = rig.dispatch.pool().get(WorkerId(1)).map(|slot| (slot.units_used, slot.sessions, slot.admin));
    assert_eq!(slot, Some((40, 7, Admin::Ready)));
    come_back(&mut rig, 1, &Brought { draining: true, ..Brought::default() });
    assert_eq!(rig.dispatch.pool().get(WorkerId(1)).map(|slot| slot.admin), Some(Admin::Drain));
}
