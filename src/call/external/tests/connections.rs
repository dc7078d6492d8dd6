//! The connections that the gateway has: their weight, and their end.

use super::*;

#[test]
fn a_connection_that_comes_about_after_all_is_deleted() {
    let mut world = World::up();
    world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: C1\r\n");
    world.pass(20 * SECOND);
    let said = world.gateway("200 2 OK\nI: A1\nZ: rtpbridge/4@mgw\n");
    let own = own_of(&said);
    assert_eq!(said, [Said::Gateway(format!("DLCX {own} rtpbridge/4@mgw MGCP 1.0\nC: C1\nI: A1\n"))]);
    assert_eq!(world.external.load().units_used, 0);
    assert!(!world.external.is_quiet(), "the DLCX is under way");
    world.gateway(&format!("250 {own} OK\n"));
    assert!(world.external.is_quiet());
}

#[test]
fn connections_weigh_what_the_dispatcher_said_until_they_are_deleted() {
    let mut world = World::up();
    world.connect(1, 4);
    world.connect(2, 5);
    let load = world.external.load();
    assert_eq!((load.units_used, load.sessions, load.answered), (9, 2, 2));
    let large = Arrival { size: 2, ..world.arrival() };
    let crcx = "CRCX 3 rtpbridge/*@mgw MGCP 1.0\r\nC: 9\r\n";
    assert_eq!(world.agent_by(crcx, &large), [Said::Refused(3, RefuseReason::Full)]);
    let follows = Arrival { follows: true, ..large };
    assert_eq!(
        world.agent_by(crcx, &follows),
        [Said::Agent("403 3 Insufficient resources at this time\n".into()), Said::Answered(3)]
    );
    let said = world.agent("DLCX 4 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: C1\r\nI: a2\r\n");
    world.gateway(&format!("250 {} OK\n", own_of(&said)));
    assert_eq!((world.external.load().units_used, world.external.load().sessions), (4, 1));
    let said = world.agent("DLCX 5 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: C1\r\nI: A1\r\n");
    let said = world.gateway(&format!("515 {} unknown\n", own_of(&said)));
    assert_eq!(said[0], Said::Closed("c1".into()));
    assert!(world.external.is_quiet());
}

#[test]
fn a_deletion_at_several_endpoints_is_done_one_by_one_and_answered_once() {
    let mut world = World::up();
    world.connect(1, 1);
    world.connect(2, 2);
    let other = own_of(&world.agent("CRCX 3 rtpbridge/*@mgw MGCP 1.0\r\nC: C9\r\n"));
    world.gateway(&format!("200 {other} OK\r\nZ: rtpbridge/2@mgw\r\nI: B3\r\n"));
    let dlcx = "DLCX 4 *@mgw MGCP 1.0\r\nC: c1\r\n";
    let said = world.agent(dlcx);
    let owns: Vec<u32> = said.iter().map(|said| own_of(std::slice::from_ref(said))).collect();
    assert_eq!(
        said,
        [
            Said::Gateway(format!("DLCX {} rtpbridge/1@mgw MGCP 1.0\nC: C1\nI: A1\n", owns[0])),
            Said::Gateway(format!("DLCX {} rtpbridge/1@mgw MGCP 1.0\nC: C1\nI: A2\n", owns[1])),
        ]
    );
    assert_eq!(world.agent(dlcx), [], "it is under way");
    assert_eq!(world.gateway(&format!("250 {} OK\r\n", owns[1])), []);
    assert_eq!(
        world.gateway(&format!("515 {} gone\r\n", owns[0])),
        [
            Said::Closed("c1".into()),
            Said::Agent("250 4 Connection deleted\n".into()),
            Said::Answered(4),
            Said::Answered(5)
        ]
    );
    assert_eq!((world.external.load().units_used, world.external.load().sessions), (1, 1), "the other call stands");
    for (dlcx, code) in [
        ("DLCX 5 rtpbridge/pmtok/*@mgw MGCP 1.0\r\nC: 77\r\n", "250 5 Connection deleted\n"),
        ("DLCX 6 rtpbridge/*@mgw MGCP 1.0\r\nC: C9\r\nI: B3\r\n", "515 6 Incorrect connection-id\n"),
        ("DLCX 7 rtpbridge/$@mgw MGCP 1.0\r\n", "500 7 Endpoint unknown\n"),
    ] {
        let said = world.agent(dlcx);
        assert_eq!(said, [Said::Agent(code.into()), Said::Answered(world.seq)]);
    }
    assert!(world.external.load().sessions == 1);
}

#[test]
fn a_deletion_at_several_endpoints_that_the_gateway_does_not_answer_is_406() {
    let mut world = World::up();
    world.connect(1, 1);
    world.agent("DLCX 4 *@mgw MGCP 1.0\r\nC: c1\r\n");
    let said = world.pass(20 * SECOND);
    assert!(said.contains(&Said::Agent("101 4 Transaction queued for execution\n".into())), "{said:?}");
    assert!(said.contains(&Said::Agent("406 4 Transaction timed out\n".into())), "{said:?}");
    assert_eq!(said.iter().filter(|said| **said == Said::Answered(2)).count(), 1);
    assert!(world.external.is_quiet());
}

#[test]
fn a_connection_that_the_gateway_does_not_know_any_more_weighs_nothing() {
    let mut world = World::up();
    world.connect(1, 4);
    world.connect(2, 5);
    let own = own_of(&world.agent("MDCX 10 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: C1\r\nI: A1\r\n"));
    world.gateway(&format!("515 {own} FAIL\n"));
    assert_eq!(world.external.load().units_used, 5);
    let own = own_of(&world.agent("AUEP 11 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n"));
    let said = world.gateway(&format!("500 {own} FAIL\n"));
    assert_eq!((&said[0], world.external.load().units_used), (&Said::Closed("c1".into()), 0));
}

#[test]
fn a_deletion_that_fails_for_another_reason_leaves_the_connection() {
    let mut world = World::up();
    world.connect(1, 4);
    for (id, dlcx, code) in [
        (10, "rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: C9\r\nI: A1\r\n", 516),
        (13, "rtpbridge/pmtok/1@mgw MGCP 1.0\r\n", 400),
    ] {
        let own = own_of(&world.agent(&format!("DLCX {id} {dlcx}")));
        world.gateway(&format!("{code} {own} FAIL\n"));
        assert_eq!(world.external.load().units_used, 4, "{code}");
    }
    let own = own_of(&world.agent("DLCX 20 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: c1\r\n"));
    world.gateway(&format!("516 {own} FAIL\n"));
    assert_eq!(world.external.load().units_used, 0, "no connection of the call is there");
}

#[test]
fn a_connection_that_is_made_while_the_worker_ends_is_deleted() {
    let mut world = World::up();
    let own = own_of(&world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: 1\r\n"));
    world.external.end_all(Time(world.now));
    assert_eq!(world.said(), []);
    let said = world.gateway(&format!("200 {own} OK\nI: A1\nZ: rtpbridge/1@mgw\n"));
    let own = own_of(&said);
    assert!(said.contains(&Said::Gateway(format!("DLCX {own} rtpbridge/1@mgw MGCP 1.0\nC: 1\nI: A1\n"))), "{said:?}");
    let said = world.gateway(&format!("250 {own} OK\n"));
    assert_eq!(said, [Said::Closed("1".into())]);
    assert!(world.external.is_quiet());
}

#[test]
fn an_answer_without_a_connection_makes_none() {
    let mut world = World::up();
    let own = own_of(&world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: 1\r\n"));
    let said = world.gateway(&format!("200 {own} OK\n"));
    assert_eq!(said[0], Said::Closed("1".into()));
    assert_eq!(world.external.load().units_used, 0);
}

#[test]
fn a_connection_whose_deletion_is_never_answered_does_not_weigh_for_ever() {
    let mut world = World::up();
    world.connect(1, 4);
    world.connect(2, 3);
    world.agent("DLCX 10 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: C1\r\nI: A1\r\n");
    // The gateway answers others.
    let mut said = Vec::new();
    for id in 100..140 {
        let own = own_of(&world.agent(&format!("AUEP {id} rtpbridge/pmtok/2@mgw MGCP 1.0\r\n")));
        world.gateway(&format!("200 {own} OK\n"));
        said.extend(world.pass(SECOND));
    }
    assert!(said.contains(&Said::Agent("406 10 Transaction timed out\n".into())), "{said:?}");
    let load = world.external.load();
    assert_eq!((load.units_used, load.sessions), (3, 1));
}
