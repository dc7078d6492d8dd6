//! The choice of a connection's worker: by load, by its call, by its endpoint name.

use super::*;

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
    rig.dispatch.on_group_open(first.worker, b"C:A1b2", rig.now);
    rig.answered(&first);
    let third = rig.hand(&crcx(3, "a1B2"));
    assert_eq!((third.worker, third.follows), (first.worker, true), "opened: it has one worker only");
    rig.dispatch.on_group_closed(first.worker, b"C:a1b2");
}

#[test]
fn a_leg_whose_calls_worker_is_full_goes_there_all_the_same() {
    let mut rig = rig(2);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now);
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
    assert_eq!(rig.dispatch.conferences(), 1);
    rig.answered(&second);
    assert_eq!(rig.dispatch.conferences(), 0, "it was answered, by an error");
    let text = crcx(2, "b");
    let first = rig.hand(&text);
    let Target::Worker(second) = rig.refused(&text, &first).target else { panic!() };
    assert_eq!(answer(rig.refused(&text, &second)).0, 403);
    assert_eq!(rig.dispatch.conferences(), 0, "refused by all");
    rig.hand(&crcx(3, "c"));
    rig.hand(&command("CRCX", 4, &format!("ann/{}/$@ms", rig.token(1, 1)), "C: d\n"));
    assert_eq!(rig.dispatch.conferences(), 2);
    rig.pass(33 * SECOND);
    assert_eq!((rig.dispatch.conferences(), rig.dispatch.table_len()), (0, 0), "nobody has answered");
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
