//! Commands on their way to the gateway, and its answers on their way back.

use super::*;

#[test]
fn a_crcx_goes_to_the_gateway_as_it_came_and_its_answer_has_the_token_in_its_names() {
    let mut world = World::up();
    let crcx = "CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nK: 5-6\r\nc: C1\r\nX-Osmux: *\r\nL: p:20\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n";
    assert_eq!(
        world.agent(crcx),
        [
            Said::Opened("c1".into()),
            Said::Gateway(
                "CRCX 2 rtpbridge/*@mgw MGCP 1.0\nc: C1\nX-Osmux: *\nL: p:20\n\nv=0\nm=audio 1 RTP/AVP 0\n".into()
            ),
        ]
    );
    assert_eq!(
        world.gateway("200 2 OK\nI: A1\nZ: rtpbridge/1@mgw\nZ2: rtpbridge/2@mgw\n\nv=0\n"),
        [
            Said::Agent("200 7 OK\nI: A1\nZ: rtpbridge/pmtok/1@mgw\nZ2: rtpbridge/pmtok/2@mgw\n\nv=0\n".into()),
            Said::Answered(1),
        ]
    );
}

#[test]
fn a_gateway_that_knows_no_dollar_is_asked_with_a_star() {
    let mut world = World::up();
    let said = world.agent("CRCX 7 rtpbridge/$@mgw MGCP 1.0\r\nC: 1\r\nZ2: rtpbridge/$@mgw\r\n");
    assert_eq!(said[1], Said::Gateway("CRCX 2 rtpbridge/$@mgw MGCP 1.0\nC: 1\nZ2: rtpbridge/$@mgw\n".into()));
    let again = world.gateway("500 2 FAIL\n");
    assert_eq!(again, [Said::Gateway("CRCX 3 rtpbridge/*@mgw MGCP 1.0\nC: 1\nZ2: rtpbridge/*@mgw\n".into())]);
    assert_eq!(world.agent("CRCX 7 rtpbridge/$@mgw MGCP 1.0\r\nC: 1\r\n"), [], "it is under way");
    assert_eq!(
        world.gateway("500 3 FAIL\n"),
        [Said::Closed("1".into()), Said::Agent("500 7 FAIL\n".into()), Said::Answered(1), Said::Answered(2)]
    );
    let said = world.agent("CRCX 8 rtpbridge/9@mgw MGCP 1.0\r\nC: 1\r\n");
    let said = world.gateway(&format!("500 {} FAIL\n", own_of(&said)));
    assert!(said.contains(&Said::Agent("500 8 FAIL\n".into())), "a name is a name");
}

#[test]
fn commands_with_the_token_go_to_the_gateway_without_it() {
    let mut world = World::up();
    let said = world.agent("MDCX 8 rtpbridge/PMTOK/1@mgw MGCP 1.0\r\nI: A1\r\n");
    assert_eq!(said, [Said::Gateway("MDCX 2 rtpbridge/1@mgw MGCP 1.0\nI: A1\n".into())]);
    assert_eq!(world.gateway("200 2 OK\n"), [Said::Agent("200 8 OK\n".into()), Said::Answered(1)]);
    let said = world.agent("AUEP 9 rtpbridge/pmtok/*@mgw MGCP 1.0\r\n");
    assert_eq!(said, [Said::Gateway("AUEP 3 rtpbridge/*@mgw MGCP 1.0\n".into())]);
    assert_eq!(
        world.gateway("200 3 OK\nZ: rtpbridge/1@mgw\nZ: rtpbridge/2@mgw\n"),
        [Said::Agent("200 9 OK\nZ: rtpbridge/pmtok/1@mgw\nZ: rtpbridge/pmtok/2@mgw\n".into()), Said::Answered(2)]
    );
}

#[test]
fn a_named_command_is_retransmitted_with_growing_pauses() {
    // RFC 3435 §3.5.3.
    let mut world = World::up();
    world.agent("MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    let sent = |said: Vec<Said>| {
        said.iter().filter(|said| matches!(said, Said::Gateway(it) if it.starts_with("MDCX 2"))).count()
    };
    assert_eq!(sent(world.pass(199 * MS)), 0);
    assert_eq!(sent(world.pass(2 * MS)), 1);
    assert_eq!(sent(world.pass(398 * MS)), 0);
    assert_eq!(sent(world.pass(2 * MS)), 1);
    assert_eq!(sent(world.pass(800 * MS)), 1);
    world.gateway("200 2 OK\n");
    assert_eq!(sent(world.pass(30 * SECOND)), 0);
}

#[test]
fn a_crcx_with_a_wildcard_is_sent_once_whatever_the_call_agent_repeats() {
    let mut world = World::up();
    let crcx = "CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: 1\r\n";
    let mut said = world.agent(crcx);
    for _ in 0..37 {
        said.extend(world.pass(500 * MS));
        said.extend(world.agent(crcx));
    }
    said.extend(world.pass(SECOND));
    let count = |wanted: &str| {
        said.iter().filter(|said| matches!(said, Said::Gateway(it) | Said::Agent(it) if it.starts_with(wanted))).count()
    };
    assert_eq!(count("CRCX"), 1);
    assert!(count("101 7") >= 1, "{said:?}");
    assert_eq!(count("406 7"), 1, "{said:?}");
    let answered = said.iter().filter(|said| matches!(said, Said::Answered(_))).count();
    assert_eq!(answered, 37 + 1, "every copy that was handed over is dealt with");
}

#[test]
fn the_call_agent_hears_101_after_a_second_and_the_end_before_it_gives_up() {
    let mut world = World::up();
    world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: 1\r\n");
    let agent = |said: Vec<Said>| said.into_iter().filter(|said| !matches!(said, Said::Gateway(_))).collect::<Vec<_>>();
    assert_eq!(agent(world.pass(999 * MS)), []);
    assert_eq!(agent(world.pass(2 * MS)), [Said::Agent("101 7 Transaction queued for execution\n".into())]);
    assert_eq!(agent(world.pass(17_998 * MS)), []);
    assert_eq!(
        agent(world.pass(2 * MS)),
        [Said::Closed("1".into()), Said::Agent("406 7 Transaction timed out\n".into()), Said::Answered(1)]
    );
    assert!(world.external.is_without_gateway());
}

#[test]
fn a_notification_of_the_gateway_goes_to_the_call_agent_of_the_endpoint_and_its_answer_back() {
    let mut world = World::up();
    world.connect(1, 1);
    let said = world.gateway("NTFY 77 rtpbridge/1@mgw MGCP 1.0\nX: 1\nO: D/1\n");
    let Said::Agent(ntfy) = &said[0] else { panic!("{said:?}") };
    let own: u32 = ntfy.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(TransactionRange::of(WorkerId(0)).contains(own));
    assert_eq!(*ntfy, format!("NTFY {own} rtpbridge/pmtok/1@mgw MGCP 1.0\nX: 1\nO: D/1\n"));
    assert_eq!(world.gateway("NTFY 77 rtpbridge/1@mgw MGCP 1.0\nX: 1\nO: D/1\n"), said, "a copy is one");
    assert_eq!(world.agent(&format!("200 {own} OK\r\n")), [Said::Gateway("200 77 OK\n".into()), Said::Answered(2)]);
    let unknown = world.gateway("NTFY 78 rtpbridge/9@mgw MGCP 1.0\nX: 1\n");
    assert_eq!(unknown, [Said::Gateway("400 78 Transient error\n".into())]);
}

#[test]
fn a_gathered_answer_goes_to_the_dispatcher_that_gathers_and_to_no_other() {
    let mut world = World::up();
    let path = Path::Handoff { seq: Seq(40), listener: ListenerId(2), reply_to: ReplyTo::Gathering(GatheringId(6)) };
    let gathered = Arrival { path, ..world.arrival() };
    world.agent_by("AUEP 3 *@mgw MGCP 1.0\r\n", &gathered);
    world.external.on_gateway(b"200 2 OK\r\n", Time(world.now));
    let Some(Output::Transmit(transmit)) = world.external.poll_output() else { panic!() };
    assert_eq!(transmit.hop, Hop::Dispatcher(ReplyTo::Gathering(GatheringId(6))));
    world.said();
    world.agent_by("AUEP 4 *@mgw MGCP 1.0\r\n", &gathered);
    world.external.on_dispatcher_lost();
    assert_eq!(world.gateway("200 3 OK\r\n"), [Said::Answered(40)]);
}

#[test]
fn a_provisional_response_is_passed_on_and_what_follows_is_waited_for() {
    let mut world = World::up();
    world.agent("CRCX 7 rtpbridge/*@mgw MGCP 1.0\r\nC: 1\r\n");
    assert_eq!(world.gateway("100 2 Pending\n"), [Said::Agent("100 7 Pending\n".into())]);
    let said = world.pass(25 * SECOND);
    assert!(!said.iter().any(|said| matches!(said, Said::Agent(_))), "{said:?}");
    let said = world.gateway("200 2 OK\nK:\nI: A1\nZ: rtpbridge/1@mgw\n");
    assert_eq!(said[0], Said::Gateway("000 2 Response acknowledgement\n".into()));
    assert!(matches!(&said[1], Said::Agent(it) if it.starts_with("200 7 OK\nK:\nI: A1")), "{said:?}");
}

#[test]
fn a_burst_goes_to_the_gateway_a_window_at_a_time_and_in_order() {
    let mut world = World::up();
    world.external.set_units(1_000);
    let mut sent = Vec::new();
    let asked = |said: Vec<Said>| -> Vec<u32> {
        said.iter()
            .filter(|said| matches!(said, Said::Gateway(it) if it.starts_with("CRCX")))
            .map(|said| own_of(std::slice::from_ref(said)))
            .collect()
    };
    for id in 1..=200 {
        sent.extend(asked(world.agent(&format!("CRCX {id} rtpbridge/*@mgw MGCP 1.0\r\n"))));
    }
    assert_eq!(sent.len(), window::WINDOW);
    let more = asked(world.gateway(&format!("200 {} OK\nZ: rtpbridge/1@mgw\nI: 1\n", sent[0])));
    assert_eq!(more, [sent[window::WINDOW - 1] + 1]);
    // The others are lost: after a second they no longer hold up the commands that wait.
    let said = world.pass(1_001 * MS);
    assert_eq!(asked(said).len(), window::WINDOW);
    // A command that waits when the gateway goes is given back for other workers, unless its call agent was told to
    // wait.
    let late = asked(world.agent("CRCX 300 rtpbridge/*@mgw MGCP 1.0\r\n"));
    assert!(late.is_empty());
    world.external.on_gateway_gone(Time(world.now));
    let said = world.said();
    assert!(said.contains(&Said::Refused(201, RefuseReason::Exhausted)), "{said:?}");
    assert_eq!(said.iter().filter(|said| matches!(said, Said::Agent(it) if it.starts_with("400"))).count(), 199);
    assert_eq!(world.external.load().units_used, 0);
    assert_eq!(world.external.under_way, 1, "the question whether it is there");
}

#[test]
fn ids_of_our_own_stay_in_the_range_and_are_not_used_twice_at_a_time() {
    let mut world = World::up();
    let range = TransactionRange::of(WorkerId(0));
    world.external.next = range.pick(u64::from(TransactionRange::LEN) - 1);
    let first = own_of(&world.agent("MDCX 1 a/1@b MGCP 1.0\r\n"));
    let second = own_of(&world.agent("MDCX 2 a/1@b MGCP 1.0\r\n"));
    assert_eq!((first, second), (TransactionRange::LEN, 1));
    world.external.next = first;
    assert_eq!(own_of(&world.agent("MDCX 3 a/1@b MGCP 1.0\r\n")), 2);
}

#[test]
fn a_crcx_that_leaves_its_second_endpoint_open_is_sent_once_as_well() {
    let mut world = World::up();
    world.agent("CRCX 7 rtpbridge/1@mgw MGCP 1.0\r\nC: 1\r\nM: inactive\r\nZ2: rtpbridge/$@mgw\r\n");
    let said = world.pass(18 * SECOND);
    assert!(!said.iter().any(|said| matches!(said, Said::Gateway(it) if it.starts_with("CRCX"))), "{said:?}");
    let said = world.pass(2 * SECOND);
    assert!(said.contains(&Said::Agent("406 7 Transaction timed out\n".into())), "{said:?}");
    // Both connections of the CRCX that was given up are deleted when they come about after all.
    let said = world.gateway("200 2 OK\nI: A1\nZ2: rtpbridge/2@mgw\nI2: A2\n");
    let deleted: Vec<&str> = said
        .iter()
        .map(|said| match said {
            Said::Gateway(text) => text.split_once("rtpbridge").unwrap().1,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(deleted, ["/1@mgw MGCP 1.0\nC: 1\nI: A1\n", "/2@mgw MGCP 1.0\nC: 1\nI: A2\n"]);
}
