//! Workers that come back from an earlier dispatcher.

use super::*;

/// The record in which a worker tells of a transaction that it has.
fn held(text: &str, is_answered: bool) -> OpenTransaction {
    let mut scanner = Scanner::new();
    let opened = Names::opened_by(&scanner.scan(text.as_bytes()).unwrap(), &Printer::new(&KEY));
    OpenTransaction { is_answered, ..opened.unwrap() }
}

fn come_back(rig: &mut Rig, worker: u16, brought: &Brought) {
    let joined = Joined::sip(Incarnation::new(9), 100, Vec::new());
    rig.dispatch.on_worker_back(WorkerId(worker), &joined, brought, rig.now);
}

#[test]
fn a_transaction_that_a_worker_brings_back_is_found_as_if_this_dispatcher_had_placed_it() {
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
    rig.dispatch.on_released(WorkerId(0), rings.name, rig.now);
    rig.pass(Duration::from_secs(100));
    assert_eq!(rig.dispatch.table_len(), 1);
    rig.dispatch.on_released(WorkerId(1), rings.name, rig.now);
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
