//! Commands for all endpoints.

use super::*;

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
    // check() runs after each message: a gathering that is found no longer takes no place either.
    assert_ne!(everyone(&mut rig, &text).0, gathering, "its answer is kept no longer");
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
fn the_rest_of_a_call_is_deleted_everywhere_because_two_workers_may_have_some_of_it() {
    let mut rig = rig(3);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now);
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
