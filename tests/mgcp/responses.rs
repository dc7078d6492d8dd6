//! Responses and acknowledgements.

use super::*;

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
    rig.dispatch.share_among(0, 2, 0);
    rig.hand(&format!("{}K: 7-8\n", crcx(1, "a")));
    assert_eq!(rig.send("000 9\n").reason, Reason::AckElsewhere);
    let unknown: Vec<u32> = std::iter::from_fn(|| rig.dispatch.poll_unknown_ack()).map(|id| id.0).collect();
    assert_eq!(unknown, [9, 8, 7]);
    let had = rig.hand(&crcx(20, "b"));
    rig.dispatch.on_ack_elsewhere(rig.arrival.source, TransactionId(20), rig.now);
    rig.dispatch.on_ack_elsewhere(rig.arrival.source, TransactionId(21), rig.now);
    assert_eq!(rig.acks(), [(had.worker.0, 20)]);
}
