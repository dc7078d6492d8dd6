//! Commands that go back to the dispatcher.

use super::*;

#[test]
fn a_connection_for_which_the_gateway_has_no_room_goes_to_another_worker_where_it_can() {
    let mut world = World::up();
    let any = "CRCX 3 rtpbridge/*@mgw MGCP 1.0\r\nC: 9\r\n";
    let own = own_of(&world.agent(any));
    assert_eq!(
        world.gateway(&format!("403 {own} full\n")),
        [Said::Closed("9".into()), Said::Refused(1, RefuseReason::Full)]
    );
    let follows = Arrival { follows: true, ..world.arrival() };
    let own = own_of(&world.agent_by(any, &follows));
    let said = world.gateway(&format!("403 {own} full\n"));
    assert!(said.contains(&Said::Agent("403 3 full\n".into())), "{said:?}");
    let own = own_of(&world.agent("CRCX 4 rtpbridge/7@mgw MGCP 1.0\r\nC: 9\r\n"));
    let said = world.gateway(&format!("403 {own} full\n"));
    assert!(said.contains(&Said::Agent("403 4 full\n".into())), "this endpoint is nowhere else: {said:?}");
    let own = own_of(&world.agent("CRCX 5 rtpbridge/*@mgw MGCP 1.0\r\nC: 9\r\n"));
    world.external.on_dispatcher_lost();
    let said = world.gateway(&format!("410 {own} full\n"));
    assert!(said.contains(&Said::Agent("410 5 full\n".into())), "nobody is there to take it back: {said:?}");
    assert_eq!(world.external.load(), Load::default());
}

#[test]
fn a_draining_worker_gives_back_what_would_be_new_and_deletes_all_at_its_end() {
    let mut world = World::up();
    world.connect(1, 1);
    world.external.set_draining(true);
    let crcx = "CRCX 3 rtpbridge/*@mgw MGCP 1.0\r\nC: 9\r\n";
    assert_eq!(world.agent(crcx), [Said::Refused(2, RefuseReason::Draining)]);
    assert!(matches!(&world.agent("MDCX 4 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n")[..], [Said::Gateway(_)]));
    world.external.end_all(Time(world.now));
    let said = world.said();
    let own = own_of(&said);
    assert_eq!(said, [Said::Gateway(format!("DLCX {own} rtpbridge/1@mgw MGCP 1.0\nC: C1\nI: A1\n"))]);
    assert_eq!(world.gateway(&format!("250 {own} OK\n")), [Said::Closed("c1".into())]);
    assert_eq!(world.external.load().sessions, 0);
}

#[test]
fn a_command_that_is_read_too_late_goes_back() {
    let mut world = World::up();
    let late = Arrival { deadline: Some(Time(world.now - 1)), ..world.arrival() };
    let said = world.agent_by("CRCX 3 rtpbridge/*@mgw MGCP 1.0\r\n", &late);
    assert_eq!(said, [Said::Refused(1, RefuseReason::Late)]);
}
