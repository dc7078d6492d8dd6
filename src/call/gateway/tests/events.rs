//! Requests on endpoints, the events they see, and the notifications to the call agents.

use crate::call::exchange::Egress;
use crate::call::gateway::notify::Entity;
use crate::call::gateway::restart::CallAgent;
use crate::wire::mgcp::{Command, parts};

use super::*;

/// A gateway that tells a call agent of its restarts.
fn with_call_agent() -> Rig {
    let mut rig = Rig::new();
    let way = Egress { hop: crate::call::exchange::Hop::Listener(0), from: None };
    let agent = CallAgent { entity: Entity::parse(b"ca@[192.0.2.7]").unwrap(), way, domain: "gw".into() };
    let voice = Voice { agents: vec![agent], ..voice() };
    rig.gateway = Gateway::new(identity(), voice, Limits::default());
    rig
}

fn command<T>(text: &str, read: impl FnOnce(&Command<'_>) -> T) -> T {
    match parse(text.as_bytes()) {
        Ok(Message::Command(command)) => read(&command),
        other => panic!("{other:?} {text}"),
    }
}

fn value(text: &str, field: Field) -> String {
    command(text, |command| String::from_utf8_lossy(command.param(field).unwrap_or_default()).into_owned())
}

/// The restart methods and the endpoints' names of all commands in datagrams.
fn told(datagrams: &[String]) -> Vec<String> {
    let told = |part: &[u8]| {
        let text = std::str::from_utf8(part).unwrap();
        let name = command(text, |command| String::from_utf8_lossy(command.endpoint().as_bytes()).into_owned());
        format!("{} {name}", value(text, Field::RestartMethod))
    };
    datagrams.iter().flat_map(|datagram| parts(datagram.as_bytes()).map(told).collect::<Vec<_>>()).collect()
}

fn confirm(rig: &mut Rig, notify: &str) -> Vec<String> {
    let id = command(notify, |command| command.transaction());
    rig.arrive(&format!("200 {id} OK\r\n"), &Arrival::own(0, rig.agent, OWN.parse().unwrap(), 1));
    rig.outputs.drain(..).filter_map(transmitted).map(|sent| text(&sent)).collect()
}

#[test]
fn the_first_packet_of_a_connection_is_notified_once() {
    let mut rig = Rig::new();
    let made = rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX: A1\r\nR: R/ma@$\r\nQ: loop\r\n");
    assert_eq!(code(&made), 200);
    assert_eq!(rig.pass(Duration::from_secs(5)), [""; 0]);
    rig.counters.packets_received = 3;
    let sent = rig.pass(Duration::from_secs(2));
    assert_eq!(value(&sent[0], Field::ObservedEvents), format!("R/ma@{}", id(1)));
    assert_eq!(value(&sent[0], Field::RequestIdentifier), "A1");
    assert_eq!(confirm(&mut rig, &sent[0]), [""; 0]);
    assert_eq!(rig.pass(Duration::from_secs(60)), [""; 0]);
    assert!(rig.gateway.jobs.is_empty() && rig.gateway.asked.is_empty());
}

#[test]
fn without_a_request_the_media_is_not_asked_for_its_packets() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    rig.pass(Duration::from_secs(10));
    assert!(!rig.asked.iter().any(|(_, ask)| *ask == Ask::Count));
}

#[test]
fn a_connection_that_comes_later_is_listened_to_as_well() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("cnf", 1);
    assert_eq!(code(&rig.send(&format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma@*\r\nQ: loop\r\n"))), 200);
    rig.pass(Duration::from_secs(1));
    let second = rig.send(&format!("CRCX 3 {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n"));
    rig.counters.packets_received = 1;
    let first = rig.pass(Duration::from_secs(4));
    let next = confirm(&mut rig, &first[0]);
    let mut seen = [value(&first[0], Field::ObservedEvents), value(&next[0], Field::ObservedEvents)];
    seen.sort();
    assert_eq!(seen, [format!("R/ma@{}", id(1)), format!("R/ma@{}", param(&second, Field::ConnectionId))]);
}

#[test]
fn a_notify_without_an_answer_goes_in_front_of_the_answer_to_the_next_request() {
    let mut rig = Rig::new();
    let made = rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX: A1\r\nR: R/ma\r\n");
    rig.counters.packets_received = 1;
    let notify = rig.pass(Duration::from_millis(150)).remove(0);
    let endpoint = param(&made, Field::SpecificEndpointId);
    let both = rig.send(&format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: A2\r\nR: R/ma\r\n"));
    let parts: Vec<&str> = parts(both.as_bytes()).map(|part| std::str::from_utf8(part).unwrap()).collect();
    assert_eq!((parts.len(), parts[0]), (2, notify.as_str()));
    assert_eq!(code(parts[1]), 200);
    // The repeated command gets its answer alone.
    let again = rig.send(&format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: A2\r\nR: R/ma\r\n"));
    assert_eq!(again, parts[1]);
}

#[test]
fn a_refused_request_makes_no_connection_and_changes_none() {
    let mut rig = Rig::new();
    let crcx =
        |id: u32, lines: &str| format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX: 1\r\n{lines}\r\n");
    for (number, (lines, expected)) in
        [("S: ann(x)", 514), ("S: G/rt", 513), ("R: L/hd", 518), ("R: D/1", 512), ("R: R/zz", 522), ("Q: zz", 508)]
            .into_iter()
            .enumerate()
    {
        assert_eq!(code(&rig.send(&crcx(number as u32 + 1, lines))), expected, "{lines}");
    }
    rig.check_empty();
    let (endpoint, connection) = rig.create("ann", 20);
    let mdcx = format!("MDCX 21 {endpoint} MGCP 1.0\r\nC: 14\r\nI: {connection}\r\nM: inactive\r\nX: 1\r\nS: G/rt\r\n");
    assert_eq!(code(&rig.send(&mdcx)), 513);
    let audit = rig.send(&format!("AUCX 22 {endpoint} MGCP 1.0\r\nI: {connection}\r\nF: M\r\n"));
    assert_eq!(param(&audit, Field::ConnectionMode), "recvonly");
}

#[test]
fn an_endpoint_stays_while_a_request_holds_it() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    assert_eq!(code(&rig.send(&format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma\r\n"))), 200);
    assert_eq!(code(&rig.send(&format!("DLCX 3 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"))), 250);
    let audited = rig.send(&format!("AUEP 4 {endpoint} MGCP 1.0\r\nF: X,R\r\n"));
    assert_eq!((code(&audited), param(&audited, Field::RequestedEvents)), (200, "R/ma".into()));
    assert_eq!(code(&rig.send(&format!("RQNT 5 {endpoint} MGCP 1.0\r\nX: 2\r\n"))), 200);
    assert_eq!(code(&rig.send(&format!("AUEP 6 {endpoint} MGCP 1.0\r\n"))), 500);
    rig.check_empty();
}

#[test]
fn an_event_on_a_connection_of_another_endpoint_is_515() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let (_, other) = rig.create("ann", 2);
    let mut rqnt = |number: u32, id: &str| {
        let text = format!("RQNT {number} {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma@{id}\r\n");
        code(&rig.send(&text))
    };
    assert_eq!((rqnt(3, &connection), rqnt(4, &other), rqnt(5, "$")), (200, 515, 515));
}

#[test]
fn the_life_of_the_worker_is_told_to_the_configured_call_agent() {
    let mut rig = with_call_agent();
    let kinds = |method: &str, token: &str| {
        ["ann", "cnf", "ivr", "bridge", "rtpbridge", "mobicents/cnf"]
            .map(|kind| format!("{method} {kind}/{token}/*@gw"))
            .to_vec()
    };
    rig.gateway.succeed("pmdead", rig.now);
    rig.settle();
    rig.gateway.start(rig.now);
    let sent = rig.pass(Duration::from_millis(150));
    assert_eq!(told(&sent), [kinds("forced", "pmdead"), kinds("restart", TOKEN)].concat());
    for datagram in &sent {
        for part in parts(datagram.as_bytes()) {
            confirm(&mut rig, std::str::from_utf8(part).unwrap());
        }
    }
    rig.gateway.set_draining(true, rig.now);
    rig.gateway.set_draining(true, rig.now);
    rig.settle();
    let graceful = rig.pass(Duration::ZERO);
    assert_eq!(told(&graceful), kinds("graceful", TOKEN));
    rig.gateway.set_draining(false, rig.now);
    rig.settle();
    assert_eq!(told(&rig.pass(Duration::ZERO)), kinds("cancel-graceful", TOKEN));
    rig.gateway.end_all(rig.now);
    rig.settle();
    let forced = rig.pass(Duration::ZERO);
    assert_eq!(told(&forced), kinds("forced", TOKEN));
    assert!(!rig.gateway.is_quiet());
    for part in parts(forced[0].as_bytes()) {
        confirm(&mut rig, std::str::from_utf8(part).unwrap());
    }
    assert!(rig.gateway.is_quiet());
}
