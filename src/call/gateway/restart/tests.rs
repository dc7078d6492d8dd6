//! The life of endpoints towards their call agents: RFC 3435 §4.4.5 to §4.4.7.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::call::exchange::{Hop, Transmit};
use crate::call::gateway::exchange::Output;
use crate::ids::{TransactionRange, WorkerId};
use crate::slab::Handle;
use crate::wire::mgcp::{Message, parse, parts};

const AGENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 5)), 2_727);
const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 6)), 2_727);
const WAY: Egress = Egress { hop: Hop::Listener(0), from: None };

/// Restarts with their client, and a clock.
struct Scene {
    restarts: Restarts,
    client: Client,
    now: Time,
}

impl Scene {
    fn new() -> Self {
        Self::with(vec![agent()])
    }

    fn with(agents: Vec<CallAgent>) -> Self {
        let client = Client::new(TransactionRange::of(WorkerId(0)), 11);
        Scene { restarts: Restarts::new("pm0".into(), agents, []), client, now: Time(1_000_000) }
    }

    fn tell(&mut self, method: Method) {
        self.restarts.tell_all(method, &mut self.client, self.now);
    }

    fn lose(&mut self, endpoint: u32) {
        let name = format!("ann/pm0/{endpoint}@ms");
        let key = EndpointKey::new(endpoint, 0);
        self.restarts.on_lost(key, name.as_bytes(), agent().entity, WAY, &mut self.client, self.now);
    }

    /// Lets time pass in steps of 10 ms; returns what was sent, with its time in ms since the start of the call.
    fn pass(&mut self, ms: u64) -> Vec<(u64, SocketAddr, String)> {
        let mut all = Vec::new();
        for step in 0..=ms / 10 {
            if step > 0 {
                self.now = self.now + Duration::from_millis(10);
            }
            self.restarts.handle_timeout(&mut self.client, self.now);
            self.client.handle_timeout(self.now);
            let _ = self.settle();
            while let Some(output) = self.client.poll_output() {
                let Output::Transmit(Transmit { to, bytes, .. }) = output else { panic!() };
                all.push((step * 10, to, String::from_utf8(bytes.to_vec()).unwrap()));
            }
        }
        all
    }

    fn settle(&mut self) -> Option<Change> {
        let mut change = None;
        while let Some((purpose, _, end)) = self.client.poll_end() {
            let Purpose::Restart(number) = purpose else { panic!() };
            change = self.restarts.on_end(number, end, &mut self.client, self.now).or(change);
        }
        change
    }

    /// Answers every command of a datagram with this code and these parameter lines.
    fn answer(&mut self, datagram: &str, code: u16, lines: &str) -> Option<Change> {
        self.answer_from(AGENT, datagram, code, lines)
    }

    fn answer_from(&mut self, source: SocketAddr, datagram: &str, code: u16, lines: &str) -> Option<Change> {
        for part in parts(datagram.as_bytes()) {
            let Ok(Message::Command(command)) = parse(part) else { panic!() };
            let text = format!("{code} {} X\r\n{lines}", command.transaction());
            let Ok(Message::Response(response)) = parse(text.as_bytes()) else { panic!() };
            self.client.on_response(&response, source, WAY, self.now);
        }
        self.settle()
    }
}

fn agent() -> CallAgent {
    CallAgent { entity: Entity::parse(b"ca@[192.0.2.5]").unwrap(), way: WAY, domain: "ms".into() }
}

/// Method and endpoint of each command in a datagram.
fn told(datagram: &str) -> Vec<(String, String)> {
    let told = |part: &[u8]| {
        let Ok(Message::Command(command)) = parse(part) else { panic!() };
        assert_eq!(command.verb(), Verb::Rsip);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(command.param(Field::RestartMethod).unwrap()), text(command.endpoint().as_bytes()))
    };
    parts(datagram.as_bytes()).map(told).collect()
}

fn kinds(method: &str, token: &str) -> Vec<(String, String)> {
    ["ann", "cnf", "ivr", "bridge"].map(|kind| (method.to_owned(), format!("{kind}/{token}/*@ms"))).to_vec()
}

#[test]
fn a_start_tells_of_all_kinds_of_endpoints_in_one_datagram_soon() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    let sent = scene.pass(150);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((sent[0].1, told(&sent[0].2)), (AGENT, kinds("restart", "pm0")));
    assert_eq!(scene.answer(&sent[0].2, 200, ""), None);
    assert_eq!(scene.pass(60_000), []);
}

#[test]
fn without_a_configured_call_agent_nobody_is_told() {
    let mut scene = Scene::with(Vec::new());
    for method in [Method::Restart, Method::Graceful, Method::Forced] {
        scene.tell(method);
    }
    assert_eq!(scene.pass(1_000), []);
    assert_eq!(scene.restarts.poll_timeout(), None);
}

#[test]
fn the_first_command_of_a_call_agent_brings_the_restart_forward() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    scene.restarts.on_command(EndpointKey::new(9, 0), &mut scene.client, scene.now);
    assert_eq!(told(&scene.pass(0)[0].2), kinds("restart", "pm0"));
}

#[test]
fn a_drain_is_graceful_and_its_end_cancels_it_and_a_stop_is_forced() {
    let mut scene = Scene::new();
    for (method, name) in
        [(Method::Graceful, "graceful"), (Method::CancelGraceful, "cancel-graceful"), (Method::Forced, "forced")]
    {
        scene.tell(method);
        let sent = scene.pass(0);
        assert_eq!(told(&sent[0].2), kinds(name, "pm0"));
        assert_eq!(scene.restarts.is_saying_goodbye(), method == Method::Forced);
        scene.answer(&sent[0].2, 200, "");
    }
    assert!(!scene.restarts.is_saying_goodbye());
}

#[test]
fn a_successor_says_that_the_endpoints_of_the_dead_worker_are_gone() {
    let mut scene = Scene::new();
    scene.restarts.succeed("pmdead", &mut scene.client, scene.now);
    scene.tell(Method::Restart);
    let sent = scene.pass(150);
    assert_eq!(told(&sent[0].2), kinds("forced", "pmdead"));
    let restart = sent.iter().find(|(_, _, text)| text.contains("restart")).unwrap();
    assert_eq!(told(&restart.2), kinds("restart", "pm0"));
}

#[test]
fn a_goodbye_that_nobody_hears_is_given_up_after_t_max() {
    let mut scene = Scene::new();
    scene.tell(Method::Forced);
    let sent = scene.pass(25_000);
    assert!(sent.last().unwrap().0 <= 20_000);
    assert!(!scene.restarts.is_saying_goodbye() && scene.client.is_idle());
}

#[test]
fn a_restart_that_nobody_hears_or_that_is_refused_is_told_again_ever_more_rarely() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    let first = scene.pass(150);
    assert_eq!(scene.answer(&first[0].2, 400, ""), None);
    let mut refused = vec![0];
    for step in 0..24_000u64 {
        for (_, _, text) in scene.pass(100) {
            refused.push(step / 10);
            assert_eq!(told(&text), kinds("restart", "pm0"));
            scene.answer(&text, 500, "");
        }
    }
    assert!((5..=40).contains(&refused.len()), "{refused:?}");
    assert!(refused[1] <= 15 && refused.windows(2).any(|pair| pair[1] - pair[0] > 60), "{refused:?}");
}

#[test]
fn a_redirected_restart_is_told_to_the_call_agent_that_was_named() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    let sent = scene.pass(150);
    let entity = Entity::parse(b"CA-1@[192.0.2.6]").unwrap();
    let change = scene.answer(&sent[0].2, 521, "N: CA-1@[192.0.2.6]\r\n");
    assert_eq!(change, Some(Change { scope: Scope::Agent(0), entity: Some(entity.clone()), connected: false }));
    assert_eq!(scene.restarts.agents()[0].entity, entity);
    let sent = scene.pass(20);
    assert_eq!((sent[0].1, told(&sent[0].2)), (OTHER, kinds("restart", "pm0")));
}

#[test]
fn call_agents_that_redirect_in_a_circle_are_left_alone_for_a_while() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    let mut sent = scene.pass(150);
    for round in 0..20 {
        let Some((_, to, text)) = sent.pop() else {
            assert!(round > 3, "{round}");
            return;
        };
        let next = if to == AGENT { OTHER } else { AGENT };
        scene.answer_from(to, &text, 521, &format!("N: ca@[{}]\r\n", next.ip()));
        sent = scene.pass(0);
    }
    panic!("redirected without end");
}

#[test]
fn the_answer_to_a_restart_may_name_the_call_agent_of_the_endpoints() {
    let mut scene = Scene::new();
    scene.tell(Method::Restart);
    let sent = scene.pass(150);
    let entity = Entity::parse(b"CA-1@whatever.net").unwrap();
    let change = scene.answer(&sent[0].2, 200, "N: CA-1@whatever.net\r\n").unwrap();
    assert_eq!((change.entity, change.connected), (Some(entity.clone()), false));
    assert_eq!(scene.restarts.agents()[0].entity, entity);
    assert_eq!(scene.pass(1_000), []);
}

#[test]
fn a_disconnected_endpoint_says_so_within_15_s_and_is_connected_when_it_is_answered() {
    let mut scene = Scene::new();
    scene.lose(7);
    scene.lose(7);
    let sent = scene.pass(15_000);
    assert!(!sent.is_empty());
    assert_eq!(told(&sent[0].2), [("disconnected".to_owned(), "ann/pm0/7@ms".to_owned())]);
    let scope = Scope::Endpoint(EndpointKey::new(7, 0));
    let change = scene.answer(&sent[0].2, 200, "");
    assert_eq!(change, Some(Change { scope, entity: None, connected: true }));
    assert_eq!(scene.pass(60_000), []);
}

#[test]
fn a_command_for_a_disconnected_endpoint_makes_it_speak_but_not_twice_in_15_s() {
    let mut scene = Scene::new();
    scene.lose(7);
    let key = EndpointKey::new(7, 0);
    scene.restarts.on_command(key, &mut scene.client, scene.now);
    let sent = scene.pass(0);
    assert_eq!(sent.len(), 1);
    scene.answer(&sent[0].2, 400, "");
    let mut earliest = 0;
    for round in 0..30 {
        scene.restarts.on_command(key, &mut scene.client, scene.now);
        let sent = scene.pass(1_000);
        if let Some((ms, ..)) = sent.first() {
            earliest = round * 1_000 + ms;
            break;
        }
    }
    assert!(earliest > 0 && earliest <= 16_000, "{earliest}");
}

#[test]
fn many_endpoints_that_lose_the_same_call_agent_speak_as_one() {
    let mut scene = Scene::new();
    for endpoint in 0..ONE_BY_ONE as u32 + 20 {
        scene.lose(endpoint);
    }
    let sent = scene.pass(15_000);
    assert_eq!(told(&sent[0].2), kinds("disconnected", "pm0"));
    let change = scene.answer(&sent[0].2, 200, "").unwrap();
    assert_eq!((change.scope, change.connected), (Scope::Agent(0), true));
}

#[test]
fn an_endpoint_that_is_gone_says_no_more() {
    let mut scene = Scene::new();
    scene.lose(7);
    scene.restarts.forget(EndpointKey::new(7, 0), &mut scene.client);
    assert_eq!(scene.pass(60_000), []);
}

#[test]
fn a_restart_message_is_not_repeated_after_a_later_one() {
    use Method::{CancelGraceful, Forced, Graceful, Restart};
    for (before, then) in [
        (Graceful, CancelGraceful),
        (CancelGraceful, Graceful),
        (Restart, Forced),
        (Graceful, Forced),
        (Forced, Restart),
    ] {
        let mut scene = Scene::new();
        scene.tell(before);
        assert!(!scene.pass(150).is_empty());
        scene.tell(then);
        let late = scene.pass(15_000);
        assert!(!late.is_empty());
        for (_, _, text) in late {
            assert!(told(&text).iter().all(|(method, _)| method == then.name()), "behind {before:?}: {text}");
        }
    }
}

#[test]
fn the_goodbye_of_a_predecessor_is_repeated_whatever_its_successor_says() {
    let mut scene = Scene::new();
    scene.restarts.succeed("pmdead", &mut scene.client, scene.now);
    scene.tell(Method::Restart);
    let sent = scene.pass(15_000);
    let goodbyes = sent.iter().flat_map(|(_, _, text)| told(text)).filter(|(method, _)| method == "forced");
    assert!(goodbyes.count() > 4, "{sent:?}");
}

#[test]
fn an_endpoint_that_is_gone_while_it_speaks_does_not_repeat_it() {
    let mut scene = Scene::new();
    scene.lose(7);
    scene.restarts.on_command(EndpointKey::new(7, 0), &mut scene.client, scene.now);
    assert_eq!(scene.pass(0).len(), 1);
    scene.restarts.forget(EndpointKey::new(7, 0), &mut scene.client);
    assert_eq!(scene.pass(60_000), []);
}
