//! Refusals, and the return codes they are told with.

use super::*;

#[test]
fn a_connection_for_which_no_worker_has_room_gets_the_code_of_its_cause() {
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
fn where_no_worker_has_a_port_left_no_endpoint_is_there() {
    let mut rig = rig(2);
    let text = crcx(1, "a");
    let exhausted = Cause::Refused(RefuseReason::Exhausted);
    let first = rig.hand(&text);
    let Target::Worker(second) = rig.back(&text, &first, exhausted).target else { panic!() };
    assert_eq!(answer(rig.back(&text, &second, exhausted)), (410, Reason::RefusedByAll));
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
    rig.dispatch.on_group_open(begun.worker, b"C:be", rig.now);
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
    let copy = rig.dispatch.on_overflow(&parse(text.as_bytes()).unwrap(), &rig.arrival, rig.now);
    assert_eq!((copy.target, copy.reason), (Target::Drop, Reason::TooManyParts));
}

#[test]
fn a_forged_response_does_not_use_the_reserve_for_commands_of_calls() {
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
fn a_command_that_not_every_worker_can_take_goes_to_none() {
    let mut rig = rig(3);
    rig.dispatch.on_link_room(WorkerId(1), Room::Following);
    assert_eq!(answer(rig.send("DLCX 3 *@ms MGCP 1.0\n")), (409, Reason::HolderBusy), "250 would be said of all");
    rig.dispatch.on_link_room(WorkerId(1), Room::All);
    assert_eq!(answer(rig.send("DLCX 3 *@ms MGCP 1.0\n")), (409, Reason::AnsweredBefore));
    everyone(&mut rig, "DLCX 4 *@ms MGCP 1.0\n");
}

#[test]
fn the_rate_of_a_source_holds_for_connections_at_whatever_worker_it_names() {
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
    let with_token = command("CRCX", 4, &format!("ann/{}/$@ms.example.net", rig.token(1, 1)), "C: 4\n");
    assert_eq!(answer(rig.send(&with_token)), (409, Reason::OverRate), "a token grants nothing");
    rig.pass(Duration::from_secs(1));
    let (worker, reason, _) = given(rig.send(&with_token));
    assert_eq!((worker, reason), (1, Reason::Endpoint));
}

#[test]
fn responses_by_guessed_numbers_reach_a_worker_no_faster_than_eight_for_each_command_that_their_source_may_begin() {
    let limit = AccessRule {
        network: "0.0.0.0".parse().unwrap(),
        prefix: 0,
        action: AccessAction::Limit { rate: 1, burst: 2, ban_ms: 0 },
    };
    let mut rig = rig_with(2, Rules { access: vec![limit], ..rules() }, 1000);
    let range = TransactionRange::of(WorkerId(1));
    let forged: Vec<_> = (0..20).map(|number| rig.send(&format!("200 {} OK\n", range.pick(number))).reason).collect();
    assert!(forged[..16].iter().all(|reason| *reason == Reason::TransactionRange), "{forged:?}");
    assert!(forged[16..].iter().all(|reason| *reason == Reason::OverRate), "{forged:?}");
}

#[test]
fn an_answer_of_a_worker_to_another_transaction_is_no_part_of_the_gathered_one() {
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
fn a_call_agent_that_sends_too_much_hears_of_overload_and_then_nothing() {
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
    assert!((20..24).map(|id| rig.send(&crcx(id, &id.to_string())).reason).any(|reason| reason == Reason::Banned));
    rig.dispatch.set_rules(Rules { access: vec![deny], ..rules() }, rig.now);
    for text in [crcx(30, "30"), "200 5 OK\n".to_owned(), "X 1\n".to_owned()] {
        let denied = rig.send(&text);
        assert_eq!((denied.target, denied.reason), (Target::Drop, Reason::Denied));
    }
}

#[test]
fn a_verb_that_only_gateways_send_or_that_is_none_is_an_unknown_command() {
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
fn an_unreadable_command_is_answered_where_it_has_a_transaction_and_an_unreadable_response_never() {
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
fn a_command_too_many_for_one_datagram_is_overload_and_a_response_is_dropped() {
    let mut rig = rig(1);
    let text = crcx(1, "a");
    let overflow =
        |rig: &mut Rig, text: &str| rig.dispatch.on_overflow(&parse(text.as_bytes()).unwrap(), &rig.arrival, rig.now);
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
fn a_command_that_waited_in_the_kernel_for_longer_than_its_sender_waits_is_dropped() {
    let mut rig = rig(1);
    rig.arrival.received = START;
    let text = crcx(1, "a");
    let late = rig.dispatch.on_message(&parse(text.as_bytes()).unwrap(), &rig.arrival, START + 33 * SECOND);
    assert_eq!((late.target, late.reason), (Target::Drop, Reason::TooOld));
}
