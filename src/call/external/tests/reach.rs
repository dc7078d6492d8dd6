//! A gateway that is silent, gone or new.

use super::*;

#[test]
fn a_gateway_that_says_nothing_has_no_room_until_it_answers_a_question() {
    let mut world = World::up();
    world.connect(1, 1);
    world.pass(SECOND);
    world.agent("MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    let said = world.pass(1_100 * MS);
    assert!(
        said.iter()
            .any(|said| matches!(said, Said::Gateway(it) if it.starts_with("AUEP") && it.contains("rtpbridge/1@mgw"))),
        "{said:?}"
    );
    assert!(!world.external.is_without_gateway(), "it has some time for its answer");
    world.pass(1_500 * MS);
    assert!(world.external.is_without_gateway());
    let crcx = "CRCX 10 rtpbridge/*@mgw MGCP 1.0\r\nC: 2\r\n";
    assert_eq!(world.agent(crcx), [Said::Refused(3, RefuseReason::Exhausted)]);
    let probes = world.pass(10 * SECOND);
    let asked = probes.iter().filter(|said| matches!(said, Said::Gateway(it) if it.starts_with("AUEP"))).count();
    assert!((6..=12).contains(&asked), "{asked}");
    world.gateway("500 2 FAIL\n");
    assert!(!world.external.is_without_gateway());
    assert!(matches!(&world.agent(crcx)[..], [Said::Opened(_), Said::Gateway(_)]));
}

#[test]
fn a_missing_gateway_is_noticed_at_once() {
    let mut world = World::up();
    world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\n");
    world.agent("MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    world.external.on_gateway_gone(Time(world.now));
    assert_eq!(world.said(), [Said::Agent("400 7 Transient error\n".into()), Said::Answered(1)]);
    assert!(world.external.is_without_gateway());
    let said = world.pass(SECOND);
    assert!(said.iter().any(|said| matches!(said, Said::Gateway(it) if it.starts_with("AUEP"))), "{said:?}");
    assert!(said.iter().any(|said| matches!(said, Said::Gateway(it) if it.starts_with("MDCX"))), "{said:?}");
}

#[test]
fn a_gateway_that_restarts_has_no_connections() {
    let mut world = World::up();
    world.connect(1, 1);
    let said = world.gateway("RSIP 5 *@mgw MGCP 1.0\nRM: restart\n");
    assert_eq!(said, [Said::Closed("c1".into()), Said::Gateway("200 5 OK\n".into())]);
    assert_eq!(world.external.load(), Load { answered: 1, ..Load::default() });
}

#[test]
fn a_gateway_that_was_killed_has_no_connections() {
    let mut world = World::up();
    world.connect(1, 4);
    world.connect(2, 6);
    world.external.on_gateway_gone(Time(world.now));
    assert_eq!(world.said(), [Said::Closed("c1".into())]);
    world.external.on_gateway_gone(Time(world.now));
    assert_eq!(world.said(), []);
    assert_eq!(world.external.load(), Load { answered: 2, ..Load::default() });
    world.pass(SECOND);
    world.gateway("500 5 FAIL\n");
    world.connect(3, 10);
    assert_eq!(world.external.load().units_used, 10);
}
