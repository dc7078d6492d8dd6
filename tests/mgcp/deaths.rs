//! Commands that a worker dies with, or gives back.

use super::*;

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
fn an_endpoint_of_a_dead_worker_is_unknown_and_its_connections_are_incorrect() {
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
