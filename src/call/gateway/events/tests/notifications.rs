//! Notifications of endpoints, from the command that asks for them to the call agent's answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::call::exchange::{Egress, Hop, Transmit};
use crate::call::gateway::events::{Events, Sender, Voice};
use crate::call::gateway::exchange::{EndpointKey, Output};
use crate::call::gateway::notify::Entity;
use crate::call::gateway::restart::CallAgent;
use crate::ids::{TransactionRange, WorkerId};
use crate::slab::Handle;
use crate::time::Time;
use crate::wire::mgcp::{Command, Field, Message, parse, parts};

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 2_427);
const WAY: Egress = Egress { hop: Hop::Listener(0), from: None };
const KEY: u32 = 1;

/// One endpoint's events and the datagrams that leave for its call agent.
struct Scene {
    events: Events,
    now: Time,
}

impl Scene {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(agents: Vec<CallAgent>) -> Self {
        let voice = Voice { token: "pm0".into(), range: TransactionRange::of(WorkerId(0)), agents, seed: 5 };
        Scene { events: Events::new(voice, []), now: Time(5_000_000) }
    }

    fn key() -> EndpointKey {
        EndpointKey::new(KEY, 0)
    }

    /// Carries a command out; returns the code it is refused with, or the messages that precede its response.
    fn command(&mut self, text: &str) -> Result<Vec<String>, u16> {
        let Ok(Message::Command(command)) = parse(text.as_bytes()) else { panic!("{text}") };
        let known = |id: &[u8]| id.eq_ignore_ascii_case(CONNECTION);
        let mut accepted =
            self.events.check(Some(Self::key()), Kind::Bridge, &command, &known).map_err(|code| code.0)?;
        accepted.resolve(CONNECTION);
        let sender = Sender { source: SOURCE, way: WAY };
        let name = command.endpoint().as_bytes();
        let ahead = self.events.apply(Self::key(), name, accepted, sender, self.now);
        Ok(ahead.iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect())
    }

    fn rqnt(&mut self, lines: &str) -> Result<Vec<String>, u16> {
        self.command(&format!("RQNT 1 bridge/pm0/1@ms MGCP 1.0\r\n{lines}"))
    }

    fn event(&mut self, name: &str) {
        self.events.on_event(Self::key(), seen(name), self.now);
    }

    fn sent(&mut self) -> Vec<(SocketAddr, String)> {
        let events = &mut self.events;
        let text = |output| match output {
            Output::Transmit(Transmit { to, bytes, .. }) => (to, String::from_utf8(bytes.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| events.poll_output()).map(text).collect()
    }

    /// The only command that is to be sent.
    fn one(&mut self) -> (SocketAddr, String) {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    fn answer(&mut self, command: &str, code: u16, lines: &str) {
        let Ok(Message::Command(command)) = parse(command.as_bytes()) else { panic!("{command}") };
        let text = format!("{code} {} X\r\n{lines}", command.transaction());
        let Ok(Message::Response(response)) = parse(text.as_bytes()) else { panic!() };
        self.events.on_response(&response, Sender { source: SOURCE, way: WAY }, self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.events.handle_timeout(self.now);
    }

    fn audit(&self, field: Field) -> String {
        String::from_utf8(self.events.audit(Self::key(), field).unwrap()).unwrap()
    }
}

fn with_command<T>(text: &str, read: impl FnOnce(&Command<'_>) -> T) -> T {
    let Ok(Message::Command(command)) = parse(text.as_bytes()) else { panic!("{text}") };
    read(&command)
}

fn observed(text: &str) -> String {
    with_command(text, |command| String::from_utf8(command.param(Field::ObservedEvents).unwrap().to_vec()).unwrap())
}

#[test]
fn a_notify_names_the_endpoint_the_request_the_entity_that_was_given_and_the_events() {
    let mut scene = Scene::new();
    scene.rqnt("N: ca@[192.0.2.5]:5678\r\nX: 12AB\r\nR: R/ma(A),G/oc(N)\r\n").unwrap();
    scene.event("R/ma");
    assert_eq!(scene.sent(), []);
    scene.event("G/oc");
    let (to, text) = scene.one();
    assert_eq!(to, "192.0.2.5:5678".parse().unwrap());
    with_command(&text, |command| {
        assert_eq!(command.endpoint().as_bytes(), b"bridge/pm0/1@ms");
        assert_eq!(command.param(Field::NotifiedEntity), Some(b"ca@[192.0.2.5]:5678".as_slice()));
        assert_eq!(command.param(Field::RequestIdentifier), Some(b"12AB".as_slice()));
        assert_eq!(command.param(Field::ObservedEvents), Some(b"R/ma@0A3F58, G/oc".as_slice()));
    });
}

#[test]
fn without_a_given_entity_the_configured_call_agent_is_notified_else_the_source() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc\r\n").unwrap();
    scene.event("G/oc");
    let (to, text) = scene.one();
    assert_eq!(to, SOURCE);
    assert!(!text.contains("\r\nN:"), "{text}");

    let entity = Entity::parse(b"ca@[192.0.2.9]").unwrap();
    let mut scene = Scene::with(vec![CallAgent { entity, way: WAY, domain: "ms".into() }]);
    scene.rqnt("X: 1\r\nR: G/oc\r\nQ: loop\r\n").unwrap();
    scene.event("G/oc");
    let (to, text) = scene.one();
    assert_eq!(to, "192.0.2.9:2727".parse().unwrap());
    scene.answer(&text, 200, "");
    scene.rqnt("X: 1\r\nR: G/oc\r\nN:\r\n").unwrap();
    scene.event("G/oc");
    assert_eq!(scene.one().0, SOURCE);
}

#[test]
fn the_entity_of_any_command_counts_for_the_notifications_after_it() {
    let mut scene = Scene::new();
    scene.rqnt("N: ca@[192.0.2.5]\r\nX: 1\r\nR: G/oc\r\n").unwrap();
    scene.command("MDCX 2 bridge/pm0/1@ms MGCP 1.0\r\nC: 1\r\nI: 0A3F58\r\nN: ca@[192.0.2.6]\r\n").unwrap();
    scene.event("G/oc");
    assert_eq!(scene.one().0, "192.0.2.6:2727".parse().unwrap());
    assert_eq!(scene.audit(Field::NotifiedEntity), "ca@[192.0.2.6]");
    assert_eq!(scene.command("MDCX 2 bridge/pm0/1@ms MGCP 1.0\r\nI: 0A3F58\r\nN: ca@\r\n"), Err(510));
}

#[test]
fn a_request_can_ride_in_a_command_for_a_connection() {
    let mut scene = Scene::new();
    scene.command("CRCX 2 bridge/pm0/1@ms MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nX: 77\r\nR: R/ma@$\r\n").unwrap();
    scene.event("R/ma");
    assert_eq!(observed(&scene.one().1), "R/ma@0A3F58");
    let crcx = "CRCX 2 bridge/pm0/1@ms MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nR: R/ma@$\r\n";
    assert_eq!(scene.command(crcx), Err(510), "no X");
    assert_eq!(scene.rqnt("R: G/oc\r\n"), Err(510), "no X");
}

#[test]
fn a_refused_request_leaves_the_one_before_in_force() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc\r\nD: (5xx)\r\n").unwrap();
    assert_eq!(scene.rqnt("X: 2\r\nR: R/ma\r\nS: G/rt\r\nD: (6xx)\r\n"), Err(513));
    assert_eq!(scene.audit(Field::RequestIdentifier), "1");
    assert_eq!(scene.audit(Field::DigitMap), "(5xx)");
    scene.event("G/oc");
    assert_eq!(observed(&scene.one().1), "G/oc");
}

#[test]
fn each_request_replaces_the_one_before_whole_but_for_the_digit_map() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc\r\nD: (5xx)\r\nQ: loop\r\nT: R/ma\r\n").unwrap();
    scene.rqnt("X: 2\r\n").unwrap();
    scene.event("G/oc");
    assert_eq!(scene.sent(), []);
    let audited = |field| scene.audit(field);
    assert_eq!(audited(Field::RequestedEvents), "");
    assert_eq!(audited(Field::QuarantineHandling), "step, process");
    assert_eq!(audited(Field::DetectEvents), "");
    assert_eq!(audited(Field::DigitMap), "(5xx)");
    assert!(!scene.events.is_active(Scene::key()));
}

#[test]
fn an_audit_shows_what_is_asked_and_what_has_been_observed() {
    let mut scene = Scene::new();
    assert_eq!(scene.audit(Field::RequestIdentifier), "0");
    scene.rqnt("X: 1f\r\nR: R/ma(A), G/oc(N,K)\r\nT: G/of\r\nQ: process,loop\r\nS:\r\n").unwrap();
    scene.event("R/ma");
    let audited = |field| scene.audit(field);
    assert_eq!(audited(Field::RequestIdentifier), "1f");
    assert_eq!(audited(Field::RequestedEvents), "R/ma(A), G/oc(N,K)");
    assert_eq!(audited(Field::DetectEvents), "G/of");
    assert_eq!(audited(Field::QuarantineHandling), "loop, process");
    assert_eq!(audited(Field::ObservedEvents), "R/ma@0A3F58");
    assert_eq!((audited(Field::SignalRequests), audited(Field::EventStates)), (String::new(), String::new()));
    assert_eq!(audited(Field::NotifiedEntity), "[192.0.2.1]:2427");
    assert_eq!(scene.events.audit(Scene::key(), Field::Capabilities), None);
}

#[test]
fn in_loop_mode_the_next_notify_waits_for_the_answer_to_the_one_before() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc,R/ma\r\nQ: loop\r\n").unwrap();
    scene.event("G/oc");
    let (_, first) = scene.one();
    scene.event("R/ma");
    assert_eq!(scene.sent(), []);
    scene.answer(&first, 400, "");
    assert_eq!(observed(&scene.one().1), "R/ma@0A3F58");
}

#[test]
fn a_new_request_carries_the_unanswered_notify_in_front_of_its_response() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc\r\n").unwrap();
    scene.event("G/oc");
    let (_, first) = scene.one();
    assert_eq!(scene.rqnt("X: 2\r\nR: G/of\r\n"), Ok(vec![first.clone()]));
    scene.event("G/of");
    // §4.4.1 d: the older notification precedes the newer one here as well.
    let (_, both) = scene.one();
    let texts: Vec<String> = parts(both.as_bytes()).map(observed_part).collect();
    assert_eq!(texts, ["G/oc", "G/of"]);
    scene.answer(&first, 200, "");
    assert_eq!(scene.rqnt("X: 3\r\n").unwrap().len(), 1);
}

fn observed_part(part: &[u8]) -> String {
    observed(std::str::from_utf8(part).unwrap())
}

#[test]
fn when_the_notify_is_lost_the_endpoint_is_disconnected_until_its_restart_is_answered() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc,R/ma\r\nQ: loop\r\n").unwrap();
    scene.event("G/oc");
    for _ in 0..2_000 {
        scene.pass(10);
    }
    let _ = scene.sent();
    scene.event("R/ma");
    assert_eq!(scene.sent(), []);
    let mut rsip = Vec::new();
    while rsip.is_empty() {
        scene.pass(100);
        rsip = scene.sent();
    }
    assert!(rsip[0].1.starts_with("RSIP ") && rsip[0].1.contains("RM: disconnected\r\n"), "{rsip:?}");
    assert!(rsip[0].1.contains(" bridge/pm0/1@ms "), "{rsip:?}");
    scene.answer(&rsip[0].1, 200, "");
    // The lost notification is not repeated; the events that waited in quarantine are reported now.
    assert_eq!(observed(&scene.one().1), "R/ma@0A3F58");
}

#[test]
fn a_call_agent_that_redirects_a_notify_is_notified_no_more() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc,R/ma\r\nQ: loop\r\n").unwrap();
    scene.event("G/oc");
    let (_, first) = scene.one();
    scene.event("R/ma");
    scene.answer(&first, 521, "N: ca@[192.0.2.77]\r\n");
    assert_eq!(scene.one().0, "192.0.2.77:2727".parse().unwrap());
}

#[test]
fn an_endpoint_that_is_gone_sees_nothing_and_its_notify_is_delivered() {
    let mut scene = Scene::new();
    scene.rqnt("X: 1\r\nR: G/oc,R/ma\r\nQ: loop\r\n").unwrap();
    scene.event("G/oc");
    let (_, first) = scene.one();
    scene.events.forget(Scene::key());
    scene.event("R/ma");
    scene.pass(300);
    assert_eq!(scene.one().1, first);
    scene.answer(&first, 200, "");
    assert!(scene.events.is_idle());
    for _ in 0..300 {
        scene.pass(100);
    }
    assert_eq!(scene.sent(), []);
}
