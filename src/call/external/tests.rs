use std::collections::HashMap;

use super::*;
use crate::call::exchange::Hop;
use crate::ids::{GatheringId, ListenerId, WorkerId};
use crate::words::{ReplyTo, Transport};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// A worker, and its outputs.
struct World {
    external: External,
    now: u64,
    seq: u64,
}

/// One output, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Agent(String),
    Gateway(String),
    Answered(u64),
    Refused(u64, RefuseReason),
    Opened(String),
    Closed(String),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

impl World {
    /// A worker that has not heard its gateway.
    fn new() -> Self {
        let range = TransactionRange::of(WorkerId(0));
        let identity = Identity { token: "pmtok".into(), range, units: 10, seed: [0, 1] };
        World { external: External::new(identity), now: SECOND, seq: 0 }
    }

    /// A worker whose gateway has answered.
    fn up() -> Self {
        let mut world = World::new();
        let asked = world.pass(0);
        assert_eq!(asked, [Said::Gateway("AUEP 1 null@mgw MGCP 1.0\n".into())]);
        assert_eq!(world.gateway("500 1 FAIL\n"), []);
        assert!(!world.external.is_without_gateway());
        world
    }

    fn arrival(&mut self) -> Arrival {
        self.seq += 1;
        let source = "203.0.113.9:2727".parse().unwrap();
        let path = Path::Handoff { seq: Seq(self.seq), listener: ListenerId(2), reply_to: ReplyTo::Datagram };
        let own = Arrival::own(0, source, "192.0.2.1:2427".parse().unwrap(), 1);
        Arrival { path, transport: Transport::Mgcp, ..own }
    }

    fn agent(&mut self, message: &str) -> Vec<Said> {
        let arrival = self.arrival();
        self.agent_by(message, &arrival)
    }

    fn agent_by(&mut self, message: &str, arrival: &Arrival) -> Vec<Said> {
        self.external.on_message(&parse(message.as_bytes()).unwrap(), arrival, Time(self.now));
        self.said()
    }

    fn gateway(&mut self, datagram: &str) -> Vec<Said> {
        self.external.on_gateway(datagram.as_bytes(), Time(self.now));
        self.said()
    }

    /// Lets time pass, doing what falls due at its time.
    fn pass(&mut self, micros: u64) -> Vec<Said> {
        let end = self.now + micros;
        let mut said = Vec::new();
        while let Some(due) = self.external.poll_timeout().filter(|due| due.0 <= end) {
            self.now = self.now.max(due.0);
            self.external.handle_timeout(Time(self.now));
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    fn said(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.external.poll_output())
            .map(|output| match output {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.to, "203.0.113.9:2727".parse().unwrap());
                    assert_eq!(transmit.from, Some("192.0.2.1".parse().unwrap()));
                    assert!(matches!(transmit.hop, Hop::Listener(2) | Hop::Dispatcher(_)), "{:?}", transmit.hop);
                    Said::Agent(text(&transmit.bytes))
                }
                Output::Gateway(bytes) => Said::Gateway(text(&bytes)),
                Output::Answered(seq) => Said::Answered(seq.0),
                Output::Refuse(seq, reason) => Said::Refused(seq.0, reason),
                Output::CallOpened(call, _) => Said::Opened(text(&call)),
                Output::CallClosed(call) => Said::Closed(text(&call)),
            })
            .collect()
    }

    /// A connection of call `c1` at `rtpbridge/1@mgw`, of `size` units.
    fn connect(&mut self, id: u32, size: u32) {
        let arrival = Arrival { size, ..self.arrival() };
        let said = self.agent_by(&format!("CRCX {id} rtpbridge/*@mgw MGCP 1.0\r\nC: C1\r\n"), &arrival);
        let own = own_of(&said);
        self.gateway(&format!("200 {own} OK\r\nZ: rtpbridge/1@mgw\r\nI: A{id}\r\n"));
    }
}

/// The transaction id of the last command sent to the gateway.
fn own_of(said: &[Said]) -> u32 {
    let sent = said.iter().rev().find_map(|said| match said {
        Said::Gateway(text) => text.split(' ').nth(1)?.parse().ok(),
        _ => None,
    });
    sent.unwrap_or_else(|| panic!("{said:?}"))
}

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
fn a_command_that_comes_again_gets_the_same_response_for_30_s() {
    let mut world = World::up();
    let mdcx = "MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n";
    world.agent(mdcx);
    world.gateway("200 2 OK\nI: 1\n");
    world.pass(29 * SECOND);
    let again = "mdcx 008 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n";
    assert_eq!(world.agent(again), [Said::Agent("200 8 OK\nI: 1\n".into()), Said::Answered(2)]);
    world.pass(2 * SECOND);
    assert!(matches!(&world.agent(mdcx)[..], [Said::Gateway(_)]), "another command with an old number");
}

#[test]
fn a_flood_of_unknown_verbs_leaves_half_of_the_memory_to_commands_that_were_carried_out() {
    let mut world = World::up();
    for id in 1..=MOST + 10 {
        world.agent(&format!("XYZW {id} rtpbridge/1@mgw MGCP 1.0\r\n"));
    }
    assert_eq!(world.external.transactions.len(), MOST / 2);
}

#[test]
fn a_verb_that_the_gateway_does_not_know_is_504_and_a_lost_answer_406() {
    let mut world = World::up();
    world.agent("EPCF 7 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nB: e:mu\r\n");
    world.agent("MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    let own = own_of(&world.agent("MDCX 9 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n"));
    world.pass(500 * MS);
    world.gateway(&format!("200 {own} OK\n"));
    let said = world.pass(4 * SECOND);
    for expected in ["504 7 Unknown or unsupported command\n", "406 8 Transaction timed out\n"] {
        assert!(said.contains(&Said::Agent(expected.into())), "{expected} {said:?}");
    }
    let said = world.agent("XFOO 10 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    assert_eq!(said, [Said::Agent("504 10 Unknown or unsupported command\n".into()), Said::Answered(4)]);
    assert!(!world.external.is_without_gateway());
}

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
fn a_gateway_that_restarts_has_no_connections() {
    let mut world = World::up();
    world.connect(1, 1);
    let said = world.gateway("RSIP 5 *@mgw MGCP 1.0\nRM: restart\n");
    assert_eq!(said, [Said::Closed("c1".into()), Said::Gateway("200 5 OK\n".into())]);
    assert_eq!(world.external.load(), Load { answered: 1, ..Load::default() });
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

/// A gateway that opens another endpoint for each copy of a CRCX, as some do, and recognises copies of all other
/// commands.
#[derive(Default)]
struct Forgetful {
    endpoints: HashMap<u32, u32>,
    last: u32,
}

impl Forgetful {
    fn answer(&mut self, command: &str) -> String {
        let mut words = command.split(' ');
        let (verb, own): (&str, u32) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        if verb != "CRCX" {
            return format!("200 {own} OK\r\n");
        }
        *self.endpoints.entry(own).or_default() += 1;
        self.last += 1;
        format!("200 {own} OK\r\nZ: rtpbridge/{0}@mgw\r\nI: A{0}\r\n", self.last)
    }
}

#[test]
fn however_much_is_lost_each_call_is_one_endpoint_and_each_handover_ends_once() {
    for seed in 1..=60_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut lost = move |percent: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % 100 < percent
        };
        let mut world = World::up();
        world.external.set_units(1_000);
        let mut gateway = Forgetful::default();
        let (mut ends, mut finals) = (HashMap::new(), HashMap::<u32, u32>::new());
        for turn in 0..400_u64 {
            let mut said = Vec::new();
            let call = (turn / 8) as u32 + 1;
            // Each call agent repeats its CRCX until it has heard of it.
            if !lost(20) && !finals.contains_key(&call) {
                said = world.agent(&format!("CRCX {call} rtpbridge/*@mgw MGCP 1.0\r\nC: {call}\r\n"));
            }
            said.extend(world.pass(150 * MS));
            while let Some(what) = said.pop() {
                match what {
                    Said::Gateway(command) if !lost(20) => {
                        let answer = gateway.answer(&command);
                        if !lost(20) {
                            said.extend(world.gateway(&answer));
                        }
                    }
                    Said::Agent(response) if !lost(20) => {
                        let mut words = response.split(' ');
                        if words.next().is_some_and(|code| !code.starts_with('1')) {
                            *finals.entry(words.next().unwrap().parse().unwrap()).or_default() += 1;
                        }
                    }
                    Said::Answered(seq) | Said::Refused(seq, _) => *ends.entry(seq).or_insert(0) += 1,
                    _ => {}
                }
            }
        }
        for said in world.pass(40 * SECOND) {
            if let Said::Answered(seq) | Said::Refused(seq, _) = said {
                *ends.entry(seq).or_insert(0) += 1;
            }
        }
        assert!(gateway.endpoints.values().all(|copies| *copies == 1), "seed {seed}: {:?}", gateway.endpoints);
        assert!(gateway.endpoints.len() > 30, "seed {seed}");
        assert_eq!(ends.len() as u64, world.seq, "seed {seed}: each that was handed over");
        assert!(ends.values().all(|times| *times == 1), "seed {seed}");
        let load = world.external.load();
        assert_eq!(load.units_used, load.sessions, "seed {seed}: nothing is left of what was asked");
    }
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
fn whatever_the_gateway_says_nothing_is_answered_twice() {
    let mut dice = 7_u64;
    let mut roll = move |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice as usize % sides
    };
    let mut world = World::up();
    let mut ends = HashMap::new();
    for id in 1..=4_000_u32 {
        let said = world.agent(&format!("CRCX {id} rtpbridge/$@mgw MGCP 1.0\r\nC: {}\r\n", id % 7));
        let mut answer = match said.iter().find(|said| matches!(said, Said::Gateway(_))) {
            Some(Said::Gateway(sent)) => {
                let own = sent.split(' ').nth(1).unwrap();
                format!("200 {own} OK\r\nK:\r\nZ: rtpbridge/{id}@mgw\r\nI: A{id}\r\n.\r\nNTFY 9 rtpbridge/{id}@mgw MGCP 1.0\r\n")
            }
            _ => "RSIP 1 *@mgw MGCP 1.0\r\nRM: restart\r\n".to_owned(),
        }
        .into_bytes();
        for _ in 0..roll(4) {
            let at = roll(answer.len());
            answer[at] = b"0159 /@$*\r\n.:Z"[roll(14)];
        }
        world.external.on_gateway(&answer, Time(world.now));
        let mut all = said;
        all.extend(std::iter::from_fn(|| world.external.poll_output()).filter_map(|output| match output {
            Output::Answered(seq) => Some(Said::Answered(seq.0)),
            Output::Refuse(seq, reason) => Some(Said::Refused(seq.0, reason)),
            _ => None,
        }));
        all.extend(world.pass(20 * MS));
        for said in all {
            if let Said::Answered(seq) | Said::Refused(seq, _) = said {
                *ends.entry(seq).or_insert(0) += 1;
            }
        }
    }
    for said in world.pass(100 * SECOND) {
        if let Said::Answered(seq) | Said::Refused(seq, _) = said {
            *ends.entry(seq).or_insert(0) += 1;
        }
    }
    assert_eq!(ends.len() as u64, world.seq);
    assert!(ends.values().all(|times| *times == 1));
    assert!(world.external.load().units_used <= 10);
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
fn call_agents_at_one_address_that_count_alike_have_an_answer_each() {
    let mut world = World::up();
    let mdcx = "MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: 1\r\nI: 1\r\n";
    let own = own_of(&world.agent(mdcx));
    world.gateway(&format!("200 {own} OK\n"));
    let other = Arrival { source: "203.0.113.9:5555".parse().unwrap(), ..world.arrival() };
    world.external.on_message(&parse(mdcx.as_bytes()).unwrap(), &other, Time(world.now));
    let Some(Output::Transmit(copy)) = world.external.poll_output() else { panic!("a copy from another port") };
    assert_eq!((text(&copy.bytes), copy.to), ("200 8 OK\n".into(), other.source));
    world.external.poll_output();
    let another = mdcx.replace("C: 1", "C: 2").replace("I: 1", "I: 2");
    world.external.on_message(&parse(another.as_bytes()).unwrap(), &other, Time(world.now));
    assert!(matches!(world.external.poll_output(), Some(Output::Gateway(_))), "another agent's command");
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
