//! The rules for MGCP by value: a command in, a decision out.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "support/rig.rs"]
mod rig;

use std::time::Duration;

use pointsman::config::SizeSource;
use pointsman::dispatch::counters::Kind;
use pointsman::dispatch::decision::{Admin, Brought, Cause, Decision, Handoff, Reason, Return, Room, Services, Target};
use pointsman::dispatch::fingerprint::Printer;
use pointsman::dispatch::history::Outcome;
use pointsman::dispatch::mgcp::Names;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::size::SizeNote;
use pointsman::handoff::frame::{AccessAction, AccessRule, RefuseReason, Report, Transport};
use pointsman::ids::{Incarnation, Seq, TokenKey, TransactionRange, WorkerId};
use pointsman::time::Time;
use pointsman::wire::mgcp::{Message, ReturnCode, TransactionId, parse};
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
            Ok(message) => self.dispatch.on_mgcp(&message, &self.arrival, self.now),
            Err(bad) => self.dispatch.on_mgcp_unparsable(&bad, &self.arrival, self.now),
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
        let decision = self.dispatch.on_mgcp_returned(&message, &self.arrival, &returned(had, cause), self.now);
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

/// What a decision answers, and why.
fn answer(decision: Decision) -> (u16, Reason) {
    match decision.target {
        Target::Return(Return { code, .. }) => (code.0, decision.reason),
        _ => panic!("{decision:?}"),
    }
}

/// Who gets it, why, and with what size.
fn given(decision: Decision) -> (u16, Reason, u32) {
    match decision.target {
        Target::Worker(handoff) => (handoff.worker.0, decision.reason, handoff.size),
        _ => panic!("{decision:?}"),
    }
}

// -- selection --

#[test]
fn any_endpoint_is_where_a_worker_is_selected_and_all_in_a_crcx_means_any() {
    let mut rig = rig(3);
    let mut workers = Vec::new();
    for (id, name) in [(1, "ann/$"), (2, "$"), (3, "*"), (4, "bridge/*"), (5, "ann/$/x"), (6, "cnf/$")] {
        let (worker, reason, size) =
            given(rig.send(&command("CRCX", id, &format!("{name}@ms"), &format!("C: {id}\n"))));
        assert_eq!((reason, size), (Reason::SelectedGroup, 1), "{name}");
        workers.push(worker);
    }
    workers.sort_unstable();
    assert_eq!(workers, [0, 0, 1, 1, 2, 2], "by load");
    assert_eq!(given(rig.send(&command("CRCX", 9, "ann/$@ms", ""))).1, Reason::Selected, "without a call id");
}

#[test]
fn a_worker_gets_only_what_it_serves() {
    let mut rig = rig(0);
    rig.dispatch.set_workers(3);
    rig.lives = vec![0; 3];
    rig.up_serving(0, 100, Services::SIP);
    rig.up_serving(1, 100, Services::MGCP);
    for id in 1..8 {
        assert_eq!(rig.hand(&crcx(id, &id.to_string())).worker, WorkerId(1));
    }
    rig.down(1);
    assert_eq!(answer(rig.send(&crcx(20, "f"))), (410, Reason::NoWorker));
    assert_eq!(answer(rig.send("AUEP 21 *@ms MGCP 1.0\n")), (410, Reason::NoWorker));
}

#[test]
fn a_name_of_a_worker_that_does_not_serve_mgcp_leads_nobody_to_it() {
    let mut rig = rig(0);
    rig.dispatch.set_workers(2);
    rig.lives = vec![0; 2];
    rig.up_serving(0, 100, Services::SIP);
    rig.up_serving(1, 100, Services::MGCP);
    let (token, connection) = (rig.token(0, 1), rig.connection(0, 1));
    for (id, name) in
        (1..).zip([format!("ann/{token}/1@ms"), "ann/1@w0.ms.example.net".to_owned(), "ann/1@ms:2430".to_owned()])
    {
        assert_eq!(answer(rig.send(&command("MDCX", id, &name, ""))).0, 500, "{name}");
        assert_ne!(rig.send(&command("CRCX", 10 + id, &name, &format!("C: {id}\n"))).target, Target::Drop, "{name}");
    }
    assert_eq!(answer(rig.send(&command("DLCX", 20, "ann/1@ms", &format!("I: {connection}\n")))).0, 515);
    let decision = rig.send(&command("CRCX", 21, "ann/$@w0.ms.example.net", "C: 21\n"));
    assert_eq!(given(decision), (1, Reason::SelectedGroup, 1));
}

#[test]
fn a_name_with_a_workers_token_and_a_choice_behind_it_is_that_workers() {
    let mut rig = rig(3);
    let token = rig.token(2, 1);
    let decision = rig.send(&command("CRCX", 1, &format!("ann/{token}/$@ms"), "C: 1\n"));
    assert_eq!(given(decision), (2, Reason::Endpoint, 1));
    let upper = token.to_uppercase();
    let decision = rig.send(&command("MDCX", 2, &format!("ANN/{upper}/17@ms"), "C: 1\n"));
    assert_eq!(given(decision), (2, Reason::Endpoint, 0));
}

#[test]
fn the_second_endpoint_goes_along_with_the_first_or_leads_it() {
    let mut rig = rig(3);
    let (one, two) = (rig.token(1, 1), rig.token(2, 1));
    let with = |id, name: &str, second: &str| command("CRCX", id, name, &format!("C: {id}\nZ2: {second}\n"));
    assert_eq!(given(rig.send(&with(1, "ann/$@ms", "bridge/$@ms"))).1, Reason::SelectedGroup);
    let decision = rig.send(&with(2, "ann/$@ms", &format!("bridge/{one}/4@ms")));
    assert_eq!(given(decision), (1, Reason::SecondEndpoint, 1));
    let decision = rig.send(&with(3, &format!("ann/{two}/1@ms"), &format!("bridge/{one}/4@ms")));
    assert_eq!(given(decision), (2, Reason::Endpoint, 1), "the endpoint's worker answers");
}

#[test]
fn both_legs_of_a_call_go_to_one_worker_whatever_the_load_and_the_case() {
    let mut rig = rig(4);
    let first = rig.hand(&crcx(1, "a1b2"));
    assert_eq!(given(rig.send(&crcx(2, "A1B2"))), (first.worker.0, Reason::Group, 1));
    rig.dispatch.on_group_open(first.worker, b"C:A1b2", rig.now, rig.now);
    rig.answered(&first);
    let third = rig.hand(&crcx(3, "a1B2"));
    assert_eq!((third.worker, third.follows), (first.worker, true), "opened: it has one worker only");
    rig.dispatch.on_group_closed(first.worker, b"C:a1b2");
}

#[test]
fn a_leg_whose_calls_worker_is_full_goes_there_all_the_same() {
    let mut rig = rig(2);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now, rig.now);
    let report = Report { number: 1, covers: first.seq, units_used: 100, units_total: 100, ..Report::default() };
    rig.dispatch.on_report(first.worker, &report, rig.now);
    let second = crcx(2, "a");
    let had = rig.hand(&second);
    assert_eq!(had.worker, first.worker);
    assert_eq!(answer(rig.refused(&second, &had)), (403, Reason::RefusedByHolder));
    assert_eq!(answer(rig.send(&second)), (403, Reason::AnsweredBefore));
}

#[test]
fn a_connection_on_an_endpoint_of_one_workers_is_never_made_at_another() {
    let mut rig = rig(3);
    let text = command("CRCX", 1, &format!("ann/{}/$@ms", rig.token(1, 1)), "C: a\n");
    let had = rig.hand(&text);
    assert!(had.follows && had.deadline.is_none());
    assert_eq!(answer(rig.refused(&text, &had)), (403, Reason::RefusedByHolder));
    assert_eq!(answer(rig.send(&text)), (403, Reason::AnsweredBefore));
}

#[test]
fn a_call_that_no_worker_has_begun_is_forgotten_with_its_last_leg() {
    let mut rig = rig(2);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    let Target::Worker(second) = rig.refused(&text, &first).target else { panic!() };
    assert_eq!(rig.dispatch.group_len(), 1);
    rig.answered(&second);
    assert_eq!(rig.dispatch.group_len(), 0, "it was answered, by an error");
    let text = crcx(2, "b");
    let first = rig.hand(&text);
    let Target::Worker(second) = rig.refused(&text, &first).target else { panic!() };
    assert_eq!(answer(rig.refused(&text, &second)).0, 403);
    assert_eq!(rig.dispatch.group_len(), 0, "refused by all");
    rig.hand(&crcx(3, "c"));
    rig.hand(&command("CRCX", 4, &format!("ann/{}/$@ms", rig.token(1, 1)), "C: d\n"));
    assert_eq!(rig.dispatch.group_len(), 2);
    rig.pass(33 * SECOND);
    assert_eq!((rig.dispatch.group_len(), rig.dispatch.table_len()), (0, 0), "nobody has answered");
}

#[test]
fn the_legs_of_a_call_that_is_not_begun_move_together() {
    let mut rig = rig(3);
    let (one, two) = (crcx(1, "a"), crcx(2, "a"));
    let (first, second) = (rig.hand(&one), rig.hand(&two));
    let (moved, reason, _) = given(rig.refused(&one, &first));
    assert_eq!(reason, Reason::Refused);
    assert_ne!(moved, first.worker.0);
    assert_eq!(given(rig.refused(&two, &second)).0, moved);
    assert_eq!(given(rig.send(&crcx(3, "a"))).0, moved);
}

// -- at most once --

#[test]
fn a_retransmission_reaches_the_same_worker_from_any_port_whether_it_has_answered_or_not() {
    let mut rig = rig(4);
    let text = crcx(7, "a");
    let first = rig.hand(&text);
    rig.arrival.source.set_port(40_000);
    assert_eq!(given(rig.send(&text)), (first.worker.0, Reason::Retransmission, 0));
    rig.answered(&first);
    rig.pass(29 * SECOND);
    assert_eq!(given(rig.send("CRCX 0007 ann/$@ms MGCP 1.0\nC: a\n")), (first.worker.0, Reason::Retransmission, 0));
    rig.arrival.source.set_port(2727);
    assert_eq!(given(rig.send(&command("RQNT", 7, "ann/1@ms", ""))).1, Reason::Retransmission, "its sender's mistake");
    rig.arrival.source = "203.0.113.6:2727".parse().unwrap();
    assert_ne!(rig.send(&text).reason, Reason::Retransmission, "another source");
}

#[test]
fn call_agents_at_one_address_may_count_alike() {
    let mut rig = rig(2);
    let ports = [2727, 2728, 2729];
    let texts: Vec<String> = ports.iter().map(|port| crcx(1, &format!("{port:x}"))).collect();
    let mut had = Vec::new();
    for (port, text) in ports.into_iter().zip(&texts) {
        rig.arrival.source.set_port(port);
        assert_eq!(rig.send(text).reason, Reason::SelectedGroup, "a connection of its own");
        had.push(given(rig.send(text)));
    }
    for ((port, text), had) in ports.into_iter().zip(&texts).zip(had) {
        rig.arrival.source.set_port(port);
        assert_eq!((had.1, given(rig.send(text))), (Reason::Retransmission, had), "and one only");
        assert_eq!(given(rig.send("000 1\n")).0, had.0);
    }
    let first = rig.hand(&crcx(3, "a1"));
    rig.answered(&first);
    rig.now = rig.now + 20 * SECOND;
    rig.arrival.source.set_port(2728);
    let second = rig.hand(&crcx(3, "a2"));
    rig.answered(&second);
    rig.now = rig.now + 15 * SECOND;
    (0..2).for_each(|worker| rig.dispatch.on_worker_heard(WorkerId(worker), rig.now));
    rig.dispatch.handle_timeout(rig.now);
    let again = given(rig.send(&crcx(3, "a2")));
    assert_eq!((again.0, again.1), (second.worker.0, Reason::Retransmission), "though the other is forgotten");
    (0..2).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Drain));
    rig.arrival.source.set_port(1);
    assert_eq!(answer(rig.send(&crcx(5, "a"))).1, Reason::AllDraining);
    (0..2).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Ready));
    rig.arrival.source.set_port(2);
    assert_eq!(rig.send(&crcx(5, "b")).reason, Reason::SelectedGroup, "it is not for this one that nobody was there");
    everyone(&mut rig, "AUEP 6 *@ms MGCP 1.0\n");
    rig.arrival.source.set_port(3);
    everyone(&mut rig, "DLCX 6 *@ms MGCP 1.0\n");
}

#[test]
fn an_answer_of_the_dispatchers_own_is_repeated_though_room_has_opened() {
    let mut rig = rig(1);
    rig.dispatch.set_admin(WorkerId(0), Admin::Drain);
    assert_eq!(answer(rig.send(&crcx(1, "a"))), (410, Reason::AllDraining));
    rig.dispatch.set_admin(WorkerId(0), Admin::Ready);
    assert_eq!(answer(rig.send(&crcx(1, "a"))), (410, Reason::AnsweredBefore));
    assert_eq!(given(rig.send(&crcx(2, "a"))).0, 0);
    rig.now = rig.now + 33 * SECOND;
    rig.dispatch.on_worker_heard(WorkerId(0), rig.now);
    rig.dispatch.handle_timeout(rig.now);
    assert_eq!(given(rig.send(&crcx(1, "b"))).1, Reason::SelectedGroup);
}

#[test]
fn a_worker_that_comes_back_brings_its_transactions() {
    let mut rig = rig(3);
    let text = crcx(1, "a");
    let source = rig.arrival.source.ip();
    let Ok(Message::Command(had)) = parse(text.as_bytes()) else { panic!() };
    let opened = Names::opened_by(&had, source, &Printer::new(&KEY)).unwrap();
    let joined = rig.joined(2, 100, Services::ALL);
    let conferences = vec![(Time(5), Box::from(&b"C:a"[..]))];
    let brought = Brought { transactions: vec![opened], conferences, ..Brought::default() };
    rig.dispatch.on_worker_back(WorkerId(2), &joined, &brought, rig.now);
    assert_eq!(given(rig.send(&text)), (2, Reason::Retransmission, 0));
    assert_eq!(given(rig.send(&crcx(2, "A"))), (2, Reason::Group, 1));
}

// -- named commands --

#[test]
fn a_command_goes_where_its_endpoint_or_its_connection_is() {
    let mut rig = rig(3);
    let (token, connection) = (rig.token(1, 1), rig.connection(2, 1));
    for (id, verb) in (1..).zip(["MDCX", "DLCX", "RQNT", "EPCF", "AUEP", "AUCX"]) {
        let decision = rig.send(&command(verb, id, &format!("ann/{token}/17@ms"), ""));
        assert_eq!(given(decision), (1, Reason::Endpoint, 0), "{verb}");
    }
    let all = rig.send(&command("AUEP", 10, &format!("ann/{token}/*@ms"), ""));
    assert_eq!(given(all), (1, Reason::Endpoint, 0), "all of one worker's");
    let lines = format!("C: 1\nI: {connection}\n");
    assert_eq!(given(rig.send(&command("DLCX", 11, "*@ms", &lines))), (2, Reason::ConnectionId, 0));
    assert_eq!(given(rig.send(&command("MDCX", 12, "ann/9@ms", &lines.to_uppercase()))), (2, Reason::ConnectionId, 0));
}

#[test]
fn a_domain_of_a_workers_own_leads_to_it() {
    let mut rig = rig(3);
    for (id, domain) in (1..).zip(["w2.ms.example.net", "W2.MS.example.NET", "ms.example.net:2432", "[198.51.100.22]"])
    {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: 1\n"));
        assert_eq!(given(decision), (2, Reason::EndpointDomain, 0), "{domain}");
        let decision = rig.send(&command("CRCX", 100 + id, &format!("ann/$@{domain}"), &format!("C: {id}\n")));
        assert_eq!(given(decision), (2, Reason::EndpointDomain, 1), "{domain}");
    }
    for (id, domain) in (20..).zip(["w9.ms.example.net", "w2.other.net", "ms.example.net:2427", "[198.51.100.99]"]) {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: ff\n"));
        assert_eq!(answer(decision), (500, Reason::UnknownEndpoint), "{domain}");
    }
}

#[test]
fn a_port_that_every_worker_has_at_an_address_of_its_own_is_nobodys() {
    let mut rig = rig(3);
    // Asked at another listener than the one beside which they are.
    rig.arrival.local.set_port(3427);
    let decision = rig.send(&command("CRCX", 1, "ann/$@ms.example.net:2427", "C: 1\n"));
    assert_eq!(given(decision).1, Reason::SelectedGroup);
    rig.down(2);
    rig.up(2, 100);
    let decision = rig.send(&command("CRCX", 2, "ann/$@ms.example.net:2427", "C: 2\n"));
    assert_eq!(given(decision).1, Reason::SelectedGroup);
    let decision = rig.send(&command("CRCX", 3, "ann/$@ms.example.net:2432", "C: 3\n"));
    assert_eq!(given(decision), (2, Reason::EndpointDomain, 1));
}

#[test]
fn a_slot_without_a_worker_is_gone_but_any_endpoint_there_is_any_endpoint() {
    let mut rig = rig(2);
    rig.down(1);
    for (id, domain) in (1..).zip(["w1.ms.example.net", "ms.example.net:2431", "[198.51.100.21]"]) {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: 1\n"));
        assert_eq!(answer(decision), (500, Reason::WorkerGone), "{domain}");
        let decision = rig.send(&command("CRCX", 100 + id, &format!("ann/$@{domain}"), &format!("C: {id}\n")));
        assert_eq!(given(decision), (0, Reason::SelectedGroup, 1), "{domain}");
    }
}

#[test]
fn a_call_that_a_worker_has_leads_what_names_nobody() {
    let mut rig = rig(3);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now, rig.now);
    assert_eq!(given(rig.send(&command("MDCX", 2, "ann/3@ms", "C: A\n"))), (first.worker.0, Reason::Group, 0));
    assert_eq!(given(rig.send(&command("CRCX", 3, "ann/3@ms", "C: A\n"))), (first.worker.0, Reason::Group, 0));
}

#[test]
fn what_nobody_has_is_an_unknown_endpoint() {
    let mut rig = rig(2);
    let other = TokenKey::new([8; 32]).token(Incarnation::new(1));
    for (id, verb, name) in [
        (1, "CRCX", "ann/1@ms".to_owned()),
        (2, "MDCX", "ann/1@ms".to_owned()),
        (3, "RQNT", format!("ann/{other}/1@ms")),
        (4, "MDCX", "*@ms".to_owned()),
        (5, "AUCX", "*@ms".to_owned()),
        (6, "RQNT", "$@ms".to_owned()),
    ] {
        assert_eq!(
            answer(rig.send(&command(verb, id, &name, "C: f\n"))),
            (500, Reason::UnknownEndpoint),
            "{verb} {name}"
        );
    }
}

// -- refusals --

#[test]
fn what_does_not_fit_is_told_by_how_it_does_not() {
    let mut rig = rig(2);
    let sized = |id: u32, size: &str| format!("{}X-Size: {size}\n", crcx(id, &id.to_string()));
    assert_eq!(answer(rig.send(&sized(1, "101"))), (502, Reason::LargerThanAnyWorker));
    assert_eq!(given(rig.send(&sized(2, "60"))).2, 60);
    assert_eq!(given(rig.send(&sized(3, "60"))).2, 60);
    assert_eq!(answer(rig.send(&sized(4, "60"))), (403, Reason::NoRoomForSize));
    assert_eq!(given(rig.send(&sized(5, "40"))).2, 40);
    assert_eq!(given(rig.send(&sized(6, "40"))).2, 40);
    assert_eq!(answer(rig.send(&crcx(7, "7"))), (410, Reason::Full));
    rig.down(0);
    rig.down(1);
    assert_eq!(answer(rig.send(&crcx(8, "8"))), (410, Reason::NoWorker));
}

#[test]
fn refused_by_all_is_told_by_whether_anybody_takes_anything() {
    let mut rig = rig(2);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    let Target::Worker(second) = rig.refused(&text, &first).target else { panic!() };
    assert_eq!(answer(rig.refused(&text, &second)), (403, Reason::RefusedByAll));
    let text = crcx(2, "b");
    let first = rig.hand(&text);
    (0..2).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Drain));
    assert_eq!(answer(rig.refused(&text, &first)), (410, Reason::RefusedByAll));
}

#[test]
fn the_table_full_of_those_that_wait_is_overload_and_nothing_is_done() {
    let mut rig = rig_with(2, rules(), 16);
    let begun = rig.hand(&crcx(800, "be"));
    rig.dispatch.on_group_open(begun.worker, b"C:be", rig.now, rig.now);
    let mut placed = 0;
    while let Target::Worker(_) = rig.send(&crcx(placed + 1, &format!("{placed:x}"))).target {
        placed += 1;
    }
    assert_eq!(answer(rig.send(&crcx(900, "f00"))), (409, Reason::TableFull));
    assert!((12..=15).contains(&placed), "{placed}");
    let leg = rig.hand(&crcx(901, "be"));
    assert_eq!((leg.worker, leg.entry, leg.follows), (begun.worker, None, true), "what has one worker needs no place");
    let token = rig.token(1, 1);
    let named = rig.hand(&command("CRCX", 902, &format!("ann/{token}/$@ms"), "C: f\n"));
    assert_eq!((named.worker, named.entry), (WorkerId(1), None));
    rig.arrival.source = "203.0.113.77:2727".parse().unwrap();
    assert_eq!(given(rig.send(&crcx(900, "f01"))).1, Reason::SelectedGroup, "what is left is for others");
}

#[test]
fn a_link_that_takes_nothing_more_is_overload() {
    let mut rig = rig(1);
    let token = rig.token(0, 1);
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    let named = command("CRCX", 1, &format!("ann/{token}/$@ms"), "C: a\n");
    assert_eq!(answer(rig.send(&named)), (409, Reason::HolderBusy));
    assert_eq!(answer(rig.send(&crcx(2, "b"))), (410, Reason::Full));
    assert_eq!(
        given(rig.send(&command("DLCX", 3, &format!("ann/{token}/1@ms"), ""))).0,
        0,
        "what follows has a reserve"
    );
    rig.dispatch.on_link_room(WorkerId(0), Room::None);
    let lost = rig.send(&command("DLCX", 4, &format!("ann/{token}/1@ms"), ""));
    assert_eq!(answer(lost), (409, Reason::HolderBusy), "no silence");
    rig.dispatch.on_link_room(WorkerId(0), Room::All);
    for again in [command("DLCX", 4, &format!("ann/{token}/1@ms"), ""), named] {
        assert_eq!(answer(rig.send(&again)), (409, Reason::AnsweredBefore), "{again}");
    }
}

#[test]
fn a_copy_that_finds_the_link_full_is_not_told_of_overload_because_the_first_was_carried_out() {
    let mut rig = rig(1);
    let text = command("DLCX", 4, &format!("ann/{}/1@ms", rig.token(0, 1)), "");
    rig.hand(&text);
    rig.dispatch.on_link_room(WorkerId(0), Room::None);
    let copy = rig.send(&text);
    assert_eq!((copy.target, copy.reason), (Target::Drop, Reason::LinkFull));
    let copy = rig.dispatch.on_mgcp_overflow(&parse(text.as_bytes()).unwrap(), &rig.arrival, rig.now);
    assert_eq!((copy.target, copy.reason), (Target::Drop, Reason::TooManyParts));
}

#[test]
fn what_anybody_can_send_does_not_use_the_reserve_for_what_follows_a_call() {
    let mut rig = rig(2);
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    rig.dispatch.on_link_room(WorkerId(1), Room::Following);
    let id = TransactionRange::of(WorkerId(0)).pick(5);
    let forged = rig.send(&format!("200 {id} OK\n"));
    assert_eq!((forged.target, forged.reason), (Target::Drop, Reason::LinkFull));
    assert_eq!(answer(rig.send("MDCX 1 ann/1@x:2430 MGCP 1.0\n")), (409, Reason::HolderBusy));
    assert_eq!(answer(rig.send("MDCX 2 ann/1@w1.ms.example.net MGCP 1.0\n")), (409, Reason::HolderBusy));
}

#[test]
fn what_cannot_be_asked_of_everyone_is_asked_of_nobody() {
    let mut rig = rig(3);
    rig.dispatch.on_link_room(WorkerId(1), Room::Following);
    assert_eq!(answer(rig.send("DLCX 3 *@ms MGCP 1.0\n")), (409, Reason::HolderBusy), "250 would be said of all");
    rig.dispatch.on_link_room(WorkerId(1), Room::All);
    assert_eq!(answer(rig.send("DLCX 3 *@ms MGCP 1.0\n")), (409, Reason::AnsweredBefore));
    everyone(&mut rig, "DLCX 4 *@ms MGCP 1.0\n");
}

#[test]
fn the_rate_of_a_source_holds_for_connections_at_a_port_that_it_has_guessed() {
    let limit = AccessRule {
        network: "203.0.113.0".parse().unwrap(),
        prefix: 24,
        action: AccessAction::Limit { rate: 1, burst: 2, ban_ms: 0 },
    };
    let mut rig = rig_with(2, Rules { access: vec![limit], ..rules() }, 1000);
    let at = |id: u32, domain: &str| command("CRCX", id, &format!("ann/$@{domain}"), &format!("C: {id}\n"));
    assert_eq!(given(rig.send(&at(1, "x:2430"))).1, Reason::EndpointDomain);
    assert_eq!(given(rig.send(&at(2, "w1.ms.example.net"))).1, Reason::EndpointDomain);
    assert_eq!(answer(rig.send(&at(3, "x:2430"))), (409, Reason::OverRate));
    assert_eq!(given(rig.send(&at(1, "x:2430"))).1, Reason::Retransmission);
}

#[test]
fn what_a_worker_says_of_another_transaction_is_no_answer_of_everyones() {
    let mut rig = rig(2);
    let (id, _) = everyone(&mut rig, "AUEP 9 *@ms MGCP 1.0\n");
    for text in ["200 8 OK\r\nZ: a/1@ms\r\n", "100 9 OK\r\n", "NTFY 1 a@b MGCP 1.0\r\n.\r\n200 8 OK\r\n"] {
        rig.dispatch.on_gathered(id, WorkerId(0), text.as_bytes(), rig.now);
    }
    rig.dispatch.on_gathered(id, WorkerId(1), b"200 9 OK\r\nZ: b/1@ms\r\n", rig.now);
    assert_eq!(gathered(&mut rig, id), None, "the first is awaited");
    rig.dispatch.on_gathered(id, WorkerId(0), b"100 9 OK\r\n.\r\n200 9 OK\r\nZ: c/1@ms\r\n", rig.now);
    assert_eq!(gathered(&mut rig, id).unwrap(), "200 9 OK\r\nZ: b/1@ms\r\nZ: c/1@ms\r\n");
}

#[test]
fn who_sends_too_much_hears_of_overload_and_then_nothing() {
    let limit = |ban_ms| AccessRule {
        network: "203.0.113.0".parse().unwrap(),
        prefix: 24,
        action: AccessAction::Limit { rate: 1, burst: 2, ban_ms },
    };
    let mut rig = rig_with(2, Rules { access: vec![limit(0)], ..rules() }, 1000);
    let token = rig.token(1, 1);
    assert!((1..3).all(|id| rig.send(&crcx(id, &id.to_string())).reason == Reason::SelectedGroup));
    assert_eq!(answer(rig.send(&crcx(3, "3"))), (409, Reason::OverRate));
    assert_eq!(answer(rig.send("AUEP 4 *@ms MGCP 1.0\n")), (409, Reason::OverRate));
    let ignored = rig.send("XXXX 5 a@ms MGCP 1.0\n");
    assert_eq!((ignored.target, ignored.reason), (Target::Drop, Reason::OverRate));
    assert_eq!(given(rig.send(&crcx(1, "1"))).1, Reason::Retransmission, "what is known goes on");
    assert_eq!(given(rig.send(&command("DLCX", 6, &format!("ann/{token}/1@ms"), ""))).0, 1);
    let deny = AccessRule { action: AccessAction::Deny, ..limit(0) };
    rig.dispatch.set_rules(Rules { access: vec![limit(1_000)], ..rules() }, rig.now);
    assert!((20..23).map(|id| rig.send(&crcx(id, &id.to_string())).reason).any(|reason| reason == Reason::Banned));
    rig.dispatch.set_rules(Rules { access: vec![deny], ..rules() }, rig.now);
    for text in [crcx(30, "30"), "200 5 OK\n".to_owned(), "X 1\n".to_owned()] {
        let denied = rig.send(&text);
        assert_eq!((denied.target, denied.reason), (Target::Drop, Reason::Denied));
    }
}

#[test]
fn what_only_gateways_send_and_what_nobody_knows_is_an_unknown_command() {
    let mut rig = rig(1);
    let token = rig.token(0, 1);
    for (id, verb, reason) in [
        (1, "NTFY", Reason::MethodRefused),
        (2, "RSIP", Reason::MethodRefused),
        (3, "MESG", Reason::MethodRefused),
        (4, "XXXX", Reason::UnknownMethod),
    ] {
        assert_eq!(answer(rig.send(&command(verb, id, &format!("ann/{token}/1@ms"), ""))), (504, reason));
    }
}

#[test]
fn what_cannot_be_read_is_answered_where_it_has_a_transaction_and_is_no_response() {
    let mut rig = rig(1);
    assert_eq!(answer(rig.send("CRCX 1 nonsense MGCP 1.0\n")), (510, Reason::Malformed));
    assert_eq!(answer(rig.send("CRCX 1 ann/$@ms MGCP 2.0\n")), (528, Reason::Malformed));
    assert_eq!(answer(rig.send("CRCX 1\n")), (510, Reason::Malformed));
    for text in ["CRCX x ann/$@ms MGCP 1.0\n", "2000 1 OK\n", "", "\r\n", "\u{1}\u{2}"] {
        let decision = rig.send(text);
        assert_eq!((decision.target, decision.reason), (Target::Drop, Reason::Unparsable), "{text:?}");
    }
}

#[test]
fn what_is_too_much_for_one_datagram_is_overload_and_a_response_is_dropped() {
    let mut rig = rig(1);
    let text = crcx(1, "a");
    let overflow = |rig: &mut Rig, text: &str| {
        rig.dispatch.on_mgcp_overflow(&parse(text.as_bytes()).unwrap(), &rig.arrival, rig.now)
    };
    assert_eq!(answer(overflow(&mut rig, &text)), (409, Reason::TooManyParts));
    let response = overflow(&mut rig, "200 1 OK\n");
    assert_eq!((response.target, response.reason), (Target::Drop, Reason::TooManyParts));
    assert_eq!(given(rig.send(&text)).1, Reason::SelectedGroup, "it was not carried out");
}

#[test]
fn where_room_is_scarce_it_is_for_those_below_their_share() {
    let mut rig = rig(1);
    rig.send(&crcx(1, "a"));
    rig.dispatch.on_link_room(WorkerId(0), Room::Scarce);
    assert_eq!(answer(rig.send(&crcx(2, "b"))), (409, Reason::OverShare));
    rig.arrival.source = "203.0.113.77:2727".parse().unwrap();
    assert_eq!(given(rig.send(&crcx(2, "b"))).1, Reason::SelectedGroup);
}

#[test]
fn what_has_waited_in_the_kernel_for_longer_than_its_sender_waits_is_dropped() {
    let mut rig = rig(1);
    rig.arrival.received = START;
    let text = crcx(1, "a");
    let late = rig.dispatch.on_mgcp(&parse(text.as_bytes()).unwrap(), &rig.arrival, START + 33 * SECOND);
    assert_eq!((late.target, late.reason), (Target::Drop, Reason::TooOld));
}

// -- deaths --

#[test]
fn a_connection_of_a_worker_that_died_is_made_elsewhere_and_after_two_deaths_nowhere() {
    let mut rig = rig(3);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    rig.down(first.worker.0);
    let Target::Worker(second) = rig.back(&text, &first, Cause::Died).target else { panic!() };
    assert_ne!(second.worker, first.worker);
    assert!(second.again && !second.follows);
    assert_eq!(given(rig.send(&text)).0, second.worker.0, "its retransmission follows it");
    rig.down(second.worker.0);
    assert_eq!(answer(rig.back(&text, &second, Cause::Died)), (400, Reason::Poison));
    assert_eq!(answer(rig.send(&text)), (400, Reason::AnsweredBefore));
}

#[test]
fn a_retransmission_that_comes_before_the_dead_workers_command_comes_back_moves_it() {
    let mut rig = rig(2);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    rig.answered(&first);
    rig.down(first.worker.0);
    let (worker, reason, size) = given(rig.send(&text));
    assert_ne!(worker, first.worker.0);
    assert_eq!((reason, size), (Reason::SelectedAnew, 1));
    let back = rig.back(&text, &first, Cause::Died);
    assert_eq!((back.target, back.reason), (Target::Drop, Reason::MovedAlready));
}

#[test]
fn what_names_an_endpoint_of_a_dead_worker_is_unknown_and_its_connections_are_incorrect() {
    let mut rig = rig(2);
    let (token, connection) = (rig.token(1, 1), rig.connection(1, 1));
    let named = command("MDCX", 1, &format!("ann/{token}/17@ms"), &format!("C: 1\nI: {connection}\n"));
    let by_connection = command("DLCX", 2, "*@ms", &format!("C: 1\nI: {connection}\n"));
    let chosen = command("CRCX", 3, &format!("ann/{token}/$@ms"), "C: 2\n");
    let had: Vec<Handoff> = [&named, &by_connection, &chosen].into_iter().map(|text| rig.hand(text)).collect();
    rig.down(1);
    assert_eq!(answer(rig.back(&named, &had[0], Cause::Died)), (500, Reason::OrphanInDialog));
    assert_eq!(answer(rig.back(&by_connection, &had[1], Cause::Died)), (515, Reason::OrphanInDialog));
    assert_eq!(answer(rig.back(&chosen, &had[2], Cause::Died)), (500, Reason::OrphanInDialog));
    assert_eq!(answer(rig.send(&chosen)), (500, Reason::AnsweredBefore));
    rig.up(1, 100);
    assert_eq!(answer(rig.send(&named)), (500, Reason::WorkerGone));
    assert_eq!(answer(rig.send(&by_connection)), (515, Reason::WorkerGone));
    let second = command("CRCX", 5, "ann/$@ms", &format!("C: 3\nZ2: ann/{token}/1@ms\n"));
    assert_eq!(answer(rig.send(&second)), (500, Reason::WorkerGone));
}

#[test]
fn a_named_command_that_its_worker_gives_back_may_be_sent_again_later() {
    let mut rig = rig(2);
    let text = command("RQNT", 1, &format!("ann/{}/17@ms", rig.token(1, 1)), "X: 1\n");
    let had = rig.hand(&text);
    assert_eq!(answer(rig.refused(&text, &had)), (400, Reason::RefusedInDialog));
    assert_eq!(answer(rig.send(&text)), (400, Reason::AnsweredBefore), "under another number");
    let text = crcx(2, "a");
    rig.hand(&text);
    let copy = rig.hand(&text);
    let back = rig.refused(&text, &copy);
    assert_eq!((back.target, back.reason), (Target::Drop, Reason::MovedAlready), "the first copy's fate is its own");
}

// -- everyone --

fn everyone(rig: &mut Rig, text: &str) -> (pointsman::dispatch::decision::GatheringId, Vec<u16>) {
    let decision = rig.send(text);
    let Target::Everyone(id) = decision.target else { panic!("{decision:?}") };
    let mut workers: Vec<u16> =
        std::iter::from_fn(|| rig.dispatch.poll_everyone(id, rig.now)).map(|handoff| handoff.worker.0).collect();
    workers.sort_unstable();
    (id, workers)
}

fn gathered(rig: &mut Rig, id: pointsman::dispatch::decision::GatheringId) -> Option<String> {
    rig.dispatch.gathered(id).map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
}

#[test]
fn all_endpoints_are_everyones_who_lives_and_serves_mgcp_and_their_answers_become_one() {
    let mut rig = rig(4);
    rig.down(3);
    rig.up_serving(3, 100, Services::SIP);
    for (id, verb) in (1..).zip(["AUEP", "RQNT", "EPCF", "DLCX"]) {
        let text = command(verb, id, "*@ms", "");
        let (gathering, workers) = everyone(&mut rig, &text);
        assert_eq!(workers, [0, 1, 2], "{verb}");
        assert_eq!(answer(rig.send(&text)), (100, Reason::Gathering));
        for worker in 0..3 {
            assert_eq!(gathered(&mut rig, gathering), None);
            let said = format!("200 {id} OK\nZ: ann/{worker}@ms\n");
            rig.dispatch.on_gathered(gathering, WorkerId(worker), said.as_bytes(), rig.now);
        }
        assert_eq!(rig.dispatch.poll_gathered(), Some(gathering));
        let merged = format!("200 {id} OK\r\nZ: ann/0@ms\r\nZ: ann/1@ms\r\nZ: ann/2@ms\r\n");
        assert_eq!(gathered(&mut rig, gathering), Some(merged));
        assert!((0..7).all(|_| rig.send(&text).target == Target::Gathered(gathering)), "retransmissions");
        assert_eq!(rig.send(&text).target, Target::Drop, "nobody sends one as often");
    }
    assert_eq!(rig.dispatch.counters().of_kind(Kind::Relayed, Reason::Everyone), 4);
}

#[test]
fn a_worker_that_dies_is_left_out_and_one_that_says_nothing_for_five_seconds() {
    let mut rig = rig(3);
    let text = command("DLCX", 1, "*@ms", "");
    let (gathering, _) = everyone(&mut rig, &text);
    rig.dispatch.on_gathered(gathering, WorkerId(0), b"250 1 OK\n", rig.now);
    rig.down(1);
    assert_eq!(rig.dispatch.poll_gathered(), None);
    rig.pass(5 * SECOND);
    assert_eq!(rig.dispatch.poll_gathered(), Some(gathering));
    assert_eq!(gathered(&mut rig, gathering).unwrap(), "250 1 Connection deleted\r\n");
    rig.pass(33 * SECOND);
    assert_eq!(rig.dispatch.gathering_len(), 0);
}

#[test]
fn a_list_of_which_a_part_cannot_be_read_is_too_large() {
    let mut rig = rig(2);
    let (gathering, _) = everyone(&mut rig, "AUEP 1 *@ms MGCP 1.0\n");
    rig.dispatch.on_gathered(gathering, WorkerId(0), b"200 1 OK\nZ: a/1@ms\n", rig.now);
    let many = format!("200 1 OK\n{}", "Z: a/1@ms\n".repeat(200));
    rig.dispatch.on_gathered(gathering, WorkerId(1), many.as_bytes(), rig.now);
    assert_eq!(gathered(&mut rig, gathering).unwrap(), "533 1 Response too large\r\n");
}

#[test]
fn all_endpoints_of_one_worker_only_are_asked_there() {
    let mut rig = rig(1);
    assert_eq!(given(rig.send("AUEP 1 *@ms MGCP 1.0\n")), (0, Reason::Everyone, 0));
}

#[test]
fn what_is_left_of_a_call_is_deleted_everywhere_because_two_may_have_some_of_it() {
    let mut rig = rig(3);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now, rig.now);
    assert_eq!(everyone(&mut rig, &command("DLCX", 2, "*@ms", "C: a\n")).1, [0, 1, 2]);
}

#[test]
fn commands_for_everyone_have_an_end() {
    let mut rig = rig(2);
    let mut begun = 0;
    while let Target::Everyone(_) = rig.send(&format!("AUEP {} *@ms MGCP 1.0\n", begun + 1)).target {
        begun += 1;
    }
    assert_eq!(answer(rig.send("AUEP 900 *@ms MGCP 1.0\n")), (503, Reason::TooManyGatherings));
    assert!(begun >= 100, "{begun}");
    let mut wide = rig_with(300, rules(), 1000);
    assert_eq!(answer(wide.send("AUEP 1 *@ms MGCP 1.0\n")), (503, Reason::TooManyGatherings));
}

// -- responses --

#[test]
fn a_response_to_a_workers_own_command_goes_by_its_transaction_and_none_is_answered() {
    let mut rig = rig(2);
    let id = TransactionRange::of(WorkerId(1)).pick(77);
    assert_eq!(given(rig.send(&format!("200 {id} OK\n"))), (1, Reason::TransactionRange, 0));
    assert_eq!(given(rig.send(&format!("401 {id}\n"))), (1, Reason::TransactionRange, 0));
    rig.down(1);
    let gone = rig.send(&format!("200 {id} OK\n"));
    assert_eq!((gone.target, gone.reason), (Target::Drop, Reason::WorkerGone));
    let nobody = rig.send("200 999999999 OK\n");
    assert_eq!((nobody.target, nobody.reason), (Target::Drop, Reason::UnknownResponse));
}

#[test]
fn an_acknowledgement_goes_to_the_worker_that_has_the_transaction() {
    let mut rig = rig(3);
    let first = rig.hand(&crcx(1, "a"));
    let token = rig.token(2, 1);
    rig.hand(&command("DLCX", 2, &format!("ann/{token}/1@ms"), ""));
    assert_eq!(given(rig.send("000 1\n")), (first.worker.0, Reason::Ack, 0));
    assert_eq!(given(rig.send("000 2\n")), (2, Reason::Ack, 0), "of a named command, too");
    assert_eq!(rig.send("000 3\n").reason, Reason::UnknownAck);
    assert_eq!(answer(rig.send("AUCX 4 ann/1@ms MGCP 1.0\n")).0, 500);
    (0..3).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Drain));
    assert_eq!(answer(rig.send(&crcx(5, "b"))).0, 410);
    assert_eq!(rig.send("000 5\n").reason, Reason::OwnAck);
}

#[test]
fn acknowledgements_in_a_command_reach_the_other_workers() {
    let mut rig = rig(3);
    let workers: Vec<u16> = (1..=3).map(|id| rig.hand(&crcx(id, &id.to_string())).worker.0).collect();
    let token = rig.token(workers[0], 1);
    rig.hand(&command("DLCX", 9, &format!("ann/{token}/1@ms"), "K: 1-2, 3, 77-999999999\n"));
    let mut expected = vec![(workers[1], 2), (workers[2], 3)];
    expected.sort_unstable();
    assert_eq!(rig.acks(), expected, "the first worker reads them itself");
}

#[test]
fn where_there_are_other_lanes_they_are_asked_for_what_is_unknown() {
    let mut rig = rig(2);
    rig.dispatch.share_among(2);
    rig.hand(&format!("{}K: 7-8\n", crcx(1, "a")));
    assert_eq!(rig.send("000 9\n").reason, Reason::AckElsewhere);
    let unknown: Vec<u32> = std::iter::from_fn(|| rig.dispatch.poll_unknown_ack()).map(|id| id.0).collect();
    assert_eq!(unknown, [9, 8, 7]);
    let had = rig.hand(&crcx(20, "b"));
    rig.dispatch.on_ack_elsewhere(rig.arrival.source, TransactionId(20), rig.now);
    rig.dispatch.on_ack_elsewhere(rig.arrival.source, TransactionId(21), rig.now);
    assert_eq!(rig.acks(), [(had.worker.0, 20)]);
}

// -- size --

#[test]
fn a_size_is_read_from_parameter_options_or_description_and_is_one_otherwise() {
    let mut rig = rig_with(
        1,
        Rules { size: pointsman::dispatch::size::SizeRules { max: 50, ..Default::default() }, ..rules() },
        1000,
    );
    let sdp = "\nv=0\nm=audio 1 RTP/AVP 0\nm=video 2 RTP/AVP 96\n";
    for (id, (lines, size)) in (1..).zip([
        ("X-Size: 7\n".to_owned(), 7),
        ("x+size: 8\n".to_owned(), 8),
        ("L: p:20, a:PCMU, x-size:9\n".to_owned(), 9),
        ("L: X+Size : 3\nX-Size: 4\n".to_owned(), 4),
        (sdp.to_owned(), 5),
        (format!("X-Size: 2\n{sdp}"), 2),
        ("X-Size: 1000\n".to_owned(), 50),
        ("X-Size: 0\n".to_owned(), 1),
        ("L: a:PCMU\n".to_owned(), 1),
        ("\nv=0\nm=audio 0 RTP/AVP 0\n".to_owned(), 0),
    ]) {
        let text = command("CRCX", id, "ann/$@ms", &format!("C: {id}\n{lines}"));
        assert_eq!(given(rig.send(&text)).2, size, "{lines}");
    }
    assert_eq!(rig.dispatch.counters().size_notes(SizeNote::Clamped), 1);
    let order = vec![SizeSource::Sdp];
    let rules = Rules { size: pointsman::dispatch::size::SizeRules { order, ..Default::default() }, ..rules() };
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(50, "50")))).2, 1);
}

#[test]
fn a_size_is_believed_from_those_it_is_believed_from() {
    let from = vec!["192.0.2.0/24".parse().unwrap()];
    let size = pointsman::dispatch::size::SizeRules { from, ..Default::default() };
    let mut rig = rig_with(1, Rules { size, ..rules() }, 1000);
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(1, "1")))).2, 1);
    rig.arrival.source = "192.0.2.9:2727".parse().unwrap();
    assert_eq!(given(rig.send(&format!("{}X-Size: 7\n", crcx(2, "2")))).2, 7);
}

// -- looking in --

#[test]
fn explain_tells_of_a_call_else_of_endpoint_and_transaction() {
    let mut rig = rig(2);
    let token = rig.token(1, 1);
    let worker = rig.hand(&crcx(1, "A1")).worker;
    rig.send(&command("RQNT", 4711, &format!("ann/{token}/17@MS"), "X: 1\n"));
    for name in ["A1", "a1"] {
        let explained = rig.dispatch.explain(name.as_bytes());
        let outcome = Outcome::Worker { worker, size: 1, pinned: false, follows: false };
        assert_eq!(explained.iter().map(|line| line.outcome).collect::<Vec<_>>(), [outcome]);
    }
    let by_name = rig.dispatch.explain(format!("ann/{token}/17@MS").as_bytes());
    assert_eq!(by_name.iter().map(|line| line.reason).collect::<Vec<_>>(), [Reason::Endpoint]);
    assert_eq!(rig.dispatch.explain(b"4711"), by_name);
}

#[test]
fn a_vacant_slots_port_gets_the_same_answers() {
    let mut rig = rig(2);
    let token = rig.token(1, 1);
    rig.down(1);
    for (text, code) in [
        (command("MDCX", 1, &format!("ann/{token}/17@ms:2431"), ""), 500),
        (command("DLCX", 2, "ann/1@ms", &format!("I: {}\n", rig.connection(1, 1))), 515),
    ] {
        let message = parse(text.as_bytes()).unwrap();
        let decision = rig.dispatch.on_mgcp_vacant(Ok(&message), &rig.arrival, rig.now);
        assert_eq!(answer(decision), (code, Reason::WorkerGone));
    }
    let text = crcx(3, "a");
    let decision = rig.dispatch.on_mgcp_vacant(Ok(&parse(text.as_bytes()).unwrap()), &rig.arrival, rig.now);
    assert_eq!(given(decision), (0, Reason::SelectedGroup, 1));
    assert_eq!(rig.dispatch.counters().received, 0, "counted apart");
}

#[test]
fn a_state_that_was_saved_decides_on() {
    let mut rig = rig(3);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    let (gathering, _) = everyone(&mut rig, "AUEP 2 *@ms MGCP 1.0\n");
    let mut state = Vec::new();
    rig.dispatch.save(&mut state);
    let mut heir = rig_with(3, rules(), 1000);
    heir.dispatch.restore(&mut pointsman::pack::Packed::new(&state)).unwrap();
    assert_eq!(given(heir.send(&text)), (first.worker.0, Reason::Retransmission, 0));
    assert_eq!(given(heir.send(&crcx(3, "a"))), (first.worker.0, Reason::Group, 1));
    assert_eq!(given(heir.send(&command("MDCX", 4, "ann/1@ms:2431", ""))), (1, Reason::EndpointDomain, 0));
    let (again, _) = everyone(&mut heir, "AUEP 2 *@ms MGCP 1.0\n");
    assert_ne!(again, gathering, "an answer to the earlier one is none to this");
    assert_eq!(first.seq, Seq(1));
    assert_eq!(ReturnCode::OVERLOAD.0, 409);
}
