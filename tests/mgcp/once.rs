//! A command is carried out once, however often it comes.

use super::*;

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
    (0..2).for_each(|worker| rig.heard(worker));
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
    rig.heard(0);
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
