//! The resolver in virtual time: questions and outcomes in, queries and answers out.

use std::time::Duration;

use super::*;
use crate::time::Time;

const BOTH: &[Protocol] = &[Protocol::Udp, Protocol::Tcp];
const WITHIN: Duration = Duration::from_secs(8);

/// A resolver, its clock, and the queries that are with a server.
struct Desk {
    resolver: Resolver<u32>,
    now: Time,
    with_server: Vec<Query>,
    last: u32,
}

impl Desk {
    fn new() -> Self {
        Desk::with(Limits::default(), "nameserver 192.0.2.53\noptions timeout:2 attempts:2\n")
    }

    fn with(limits: Limits, servers: &str) -> Self {
        let mut resolver = Resolver::new(limits, 7);
        resolver.set_servers(Servers::parse(servers));
        Desk { resolver, now: Time(1_000_000), with_server: Vec::new(), last: 0 }
    }

    /// A question of peer `peer`; its key.
    fn ask(&mut self, peer: u8, host: &str, port: Option<u16>) -> u32 {
        self.try_ask(peer, host, port).unwrap()
    }

    fn try_ask(&mut self, peer: u8, host: &str, port: Option<u16>) -> Result<u32, Unfound> {
        self.last += 1;
        let source = Source::peer([198, 51, 100, peer].into());
        let question = Question { host: host.into(), port, protocols: BOTH, asks_transports: false, source };
        assert_eq!(self.resolver.ask(self.last, question, self.now + WITHIN, self.now)?, Asked::Later);
        self.collect();
        Ok(self.last)
    }

    fn collect(&mut self) {
        self.with_server.extend(std::iter::from_fn(|| self.resolver.poll_query()));
    }

    /// The names and kinds that are asked for now, in order.
    fn asked(&self) -> Vec<(&str, Kind)> {
        self.with_server.iter().map(|query| (&*query.name, query.kind)).collect()
    }

    /// The server answers its query for these records.
    fn reply(&mut self, name: &str, kind: Kind, outcome: Outcome) {
        let is_it = |query: &Query| &*query.name == name && query.kind == kind;
        let at = self.with_server.iter().position(is_it);
        let at = at.unwrap_or_else(|| panic!("{name} {kind:?} is not asked: {:?}", self.asked()));
        let query = self.with_server.remove(at);
        self.resolver.on_outcome(query.number, outcome, self.now);
        self.collect();
    }

    fn nothing(&mut self, name: &str, kinds: &[Kind]) {
        kinds.iter().for_each(|kind| self.reply(name, *kind, Outcome::Nothing(None)));
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.resolver.poll_timeout().filter(|due| *due <= end && *due > Time(0)) {
            self.now = self.now.max(due);
            self.resolver.handle_timeout(self.now);
            self.collect();
            if self.resolver.poll_timeout() == Some(Time(0)) {
                break;
            }
        }
        self.now = end;
        self.resolver.handle_timeout(self.now);
        self.collect();
    }

    /// Answers since the last look: keys, and addresses with their transport or the reason.
    fn answers(&mut self) -> Vec<(u32, Result<Vec<String>, Unfound>)> {
        let text = |&Server { endpoint, .. }: &Server| match endpoint.protocol {
            Protocol::Udp => endpoint.address.to_string(),
            Protocol::Tcp => format!("tcp {}", endpoint.address),
            Protocol::Tls => format!("tls {}", endpoint.address),
        };
        let answers = std::iter::from_fn(|| self.resolver.poll_answer());
        answers.map(|answer| (answer.key, answer.found.map(|found| found.iter().map(text).collect()))).collect()
    }

    fn found(&mut self) -> Vec<String> {
        let answers = self.answers();
        let [(_, found)] = answers.as_slice() else { panic!("{answers:?}") };
        found.clone().unwrap()
    }
}

fn addresses(list: &[&str]) -> Outcome {
    Outcome::Addresses(list.iter().map(|text| text.parse().unwrap()).collect(), 60)
}

fn services(list: &[(u16, u16, &str)]) -> Outcome {
    let service = |(priority, port, target): &(u16, u16, &str)| Service {
        priority: *priority,
        weight: 1,
        port: *port,
        target: (*target).into(),
    };
    Outcome::Services(list.iter().map(service).collect(), 60)
}

use Kind::{A, Aaaa, Srv};

#[test]
fn a_name_with_a_port_is_looked_up_in_both_families_at_that_port() {
    let mut desk = Desk::new();
    desk.ask(1, "MS.example.net", Some(5088));
    assert_eq!(desk.asked(), [("ms.example.net", A), ("ms.example.net", Aaaa)]);
    desk.reply("ms.example.net", Aaaa, addresses(&["2001:db8::4"]));
    desk.reply("ms.example.net", A, addresses(&["192.0.2.4"]));
    assert_eq!(desk.found(), ["192.0.2.4:5088", "[2001:db8::4]:5088"]);
}

#[test]
fn a_name_without_a_port_is_looked_up_as_srv_first() {
    let mut desk = Desk::new();
    desk.ask(1, "pool.example.net", None);
    assert_eq!(desk.asked(), [("_sip._udp.pool.example.net", Srv), ("_sip._tcp.pool.example.net", Srv)]);
    desk.reply("_sip._udp.pool.example.net", Srv, services(&[(2, 5077, "b.example.net"), (1, 5078, "a.example.net")]));
    desk.reply("_sip._tcp.pool.example.net", Srv, services(&[(1, 5079, "a.example.net")]));
    desk.nothing("a.example.net", &[Aaaa]);
    desk.nothing("b.example.net", &[A, Aaaa]);
    desk.reply("a.example.net", A, addresses(&["192.0.2.2"]));
    assert_eq!(desk.found(), ["192.0.2.2:5078", "tcp 192.0.2.2:5079"], "a target without address stops no other");
}

#[test]
fn a_name_without_srv_records_is_looked_up_by_its_address_at_5060() {
    let mut desk = Desk::new();
    desk.ask(1, "plain.example.net", None);
    desk.nothing("_sip._udp.plain.example.net", &[Srv]);
    desk.nothing("_sip._tcp.plain.example.net", &[Srv]);
    desk.reply("plain.example.net", A, addresses(&["192.0.2.4"]));
    desk.nothing("plain.example.net", &[Aaaa]);
    assert_eq!(desk.found(), ["192.0.2.4:5060"]);
}

#[test]
fn a_service_that_is_expressly_not_there_is_not_looked_for_at_the_name_itself() {
    let mut desk = Desk::new();
    let key = desk.ask(1, "none.example.net", None);
    desk.reply("_sip._udp.none.example.net", Srv, services(&[(0, 0, "")]));
    desk.nothing("_sip._tcp.none.example.net", &[Srv]);
    assert_eq!(desk.answers(), [(key, Err(Unfound::Nothing { name: "none.example.net".into() }))]);
    assert_eq!(desk.asked(), []);
}

#[test]
fn a_name_of_the_hosts_file_is_asked_of_nobody() {
    let mut desk = Desk::new();
    desk.resolver.set_hosts(Hosts::parse("192.0.2.7 as.example.net\n2001:db8::7 as.example.net\n"));
    desk.ask(1, "as.example.net", None);
    assert_eq!(desk.asked(), []);
    assert_eq!(desk.found(), ["192.0.2.7:5060", "[2001:db8::7]:5060"]);
}

#[test]
fn an_answer_is_remembered_for_its_time_and_so_is_that_there_is_none() {
    let mut desk = Desk::new();
    desk.ask(1, "ms.example.net", Some(5060));
    desk.reply("ms.example.net", A, addresses(&["192.0.2.4"]));
    desk.nothing("ms.example.net", &[Aaaa]);
    desk.answers();
    desk.wait(Duration::from_secs(29));
    desk.ask(2, "ms.example.net", Some(5070));
    assert_eq!(desk.asked(), []);
    assert_eq!(desk.found(), ["192.0.2.4:5070"]);
    desk.wait(Duration::from_secs(2));
    desk.ask(2, "ms.example.net", Some(5070));
    assert_eq!(desk.asked(), [("ms.example.net", Aaaa)], "nothing has held for 30 s, the address for 60");
}

#[test]
fn one_query_serves_all_who_wait_for_it() {
    let mut desk = Desk::new();
    let keys = [desk.ask(1, "ms.example.net", Some(1)), desk.ask(2, "ms.example.net", Some(2))];
    assert_eq!(desk.asked().len(), 2);
    desk.nothing("ms.example.net", &[Aaaa]);
    desk.reply("ms.example.net", A, addresses(&["192.0.2.4"]));
    let found = |text: &str| Ok(vec![text.to_owned()]);
    assert_eq!(desk.answers(), [(keys[0], found("192.0.2.4:1")), (keys[1], found("192.0.2.4:2"))]);
}

#[test]
fn a_query_without_answer_is_sent_again_to_the_next_server_and_that_one_is_asked_first_from_then_on() {
    let mut desk = Desk::with(Limits::default(), "nameserver 192.0.2.53\nnameserver 192.0.2.54\n");
    desk.ask(1, "a.example.net", Some(1));
    let lost: Vec<Query> = desk.with_server.drain(..).collect();
    desk.wait(Duration::from_secs(2));
    let servers: Vec<String> = desk.with_server.iter().map(|query| query.server.ip().to_string()).collect();
    assert_eq!(servers, ["192.0.2.54"; 2]);
    desk.resolver.on_outcome(lost[0].number, addresses(&["192.0.2.66"]), desk.now);
    assert_eq!(desk.answers(), [], "what comes too late counts no more");
    desk.reply("a.example.net", A, addresses(&["192.0.2.4"]));
    desk.nothing("a.example.net", &[Aaaa]);
    assert_eq!(desk.found(), ["192.0.2.4:1"]);
    desk.ask(1, "b.example.net", Some(1));
    assert_eq!(desk.with_server[0].server.ip().to_string(), "192.0.2.54");
}

#[test]
fn an_address_is_not_held_back_by_one_of_the_other_family_that_does_not_come() {
    let mut desk = Desk::new();
    desk.ask(1, "ms.example.net", Some(1));
    desk.reply("ms.example.net", A, addresses(&["192.0.2.4"]));
    desk.wait(Duration::from_millis(900));
    assert_eq!(desk.answers(), []);
    desk.wait(Duration::from_millis(200));
    assert_eq!(desk.found(), ["192.0.2.4:1"]);
}

#[test]
fn servers_that_say_nothing_are_a_failure_that_is_remembered_for_5_s() {
    let mut desk = Desk::new();
    let key = desk.ask(1, "ms.slow.example", Some(1));
    desk.wait(Duration::from_secs(5));
    let failed = |key| (key, Err(Unfound::Failed { name: "ms.slow.example".into() }));
    assert_eq!((desk.answers(), desk.with_server.len()), (vec![failed(key)], 4), "two attempts for each record");
    desk.with_server.clear();
    let key = desk.ask(2, "ms.slow.example", Some(1));
    assert_eq!(desk.answers(), [failed(key)]);
    assert_eq!(desk.asked(), []);
    desk.wait(Duration::from_secs(5));
    desk.ask(2, "ms.slow.example", Some(1));
    assert_eq!(desk.asked().len(), 2);
}

#[test]
fn a_question_is_answered_by_its_deadline_whatever_its_queries_do() {
    let mut desk = Desk::with(Limits::default(), "options timeout:5 attempts:5\n");
    let key = desk.ask(1, "ms.slow.example", None);
    desk.wait(Duration::from_millis(7_999));
    assert_eq!(desk.answers(), []);
    desk.wait(Duration::from_millis(1));
    assert_eq!(desk.answers(), [(key, Err(Unfound::Late { name: "ms.slow.example".into() }))]);
}

#[test]
fn names_that_are_never_answered_hold_up_nobody_else() {
    let mut desk = Desk::new();
    for number in 0..400 {
        desk.ask(66, &format!("s{number}.slow.example"), None);
    }
    let of_the_stranger = desk.with_server.len();
    assert!(of_the_stranger <= 16, "{of_the_stranger}");
    for number in 0..20 {
        desk.ask(2, &format!("as{number}.example.net"), Some(5060));
        let name = format!("as{number}.example.net");
        desk.nothing(&name, &[Aaaa]);
        desk.reply(&name, A, addresses(&["192.0.2.4"]));
        assert_eq!(desk.found(), ["192.0.2.4:5060"], "{name}");
    }
}

#[test]
fn a_domain_that_is_never_answered_holds_up_no_other_name_of_its_source() {
    let mut desk = Desk::new();
    for number in 0..400 {
        desk.ask(1, &format!("s{number}.slow.example"), None);
    }
    desk.ask(1, "as.example.net", Some(5060));
    assert!(desk.asked().contains(&("as.example.net", A)), "{:?}", desk.asked());
}

#[test]
fn when_too_many_questions_wait_the_source_with_most_of_them_gives_way() {
    let limits = Limits { questions: 10, ..Limits::default() };
    let mut desk = Desk::with(limits, "");
    let keys: Vec<u32> = (0..10).map(|number| desk.ask(66, &format!("s{number}.slow.example"), None)).collect();
    let busy = |name: &str| Unfound::Busy { name: name.into() };
    assert_eq!(desk.try_ask(66, "more.slow.example", None), Err(busy("more.slow.example")));
    desk.ask(2, "as.example.net", None);
    assert_eq!(desk.answers(), [(keys[9], Err(busy("s9.slow.example")))]);
    assert_eq!(desk.resolver.waiting(), 10);
}

#[test]
fn nothing_is_kept_of_questions_that_were_given_up() {
    let mut desk = Desk::new();
    for round in 0..50 {
        (0..50).for_each(|number| {
            desk.ask(66, &format!("s{number}-{round}.slow.example"), None);
        });
        desk.wait(Duration::from_secs(9));
        desk.answers();
        desk.with_server.clear();
    }
    desk.wait(Duration::from_secs(60));
    assert_eq!(desk.resolver.kept(), 0);
}

#[test]
fn search_domains_are_tried_in_their_order() {
    let mut desk = Desk::with(Limits::default(), "search a.net b.net\n");
    desk.ask(1, "ms", Some(1));
    desk.nothing("ms.a.net", &[A, Aaaa]);
    desk.nothing("ms.b.net", &[Aaaa]);
    desk.reply("ms.b.net", A, addresses(&["192.0.2.4"]));
    assert_eq!(desk.found(), ["192.0.2.4:1"]);
}

#[test]
fn other_name_servers_are_asked_anew() {
    let mut desk = Desk::new();
    desk.ask(1, "ms.example.net", Some(1));
    desk.nothing("ms.example.net", &[A, Aaaa]);
    desk.answers();
    desk.resolver.set_servers(Servers::parse("nameserver 192.0.2.99\n"));
    desk.ask(1, "ms.example.net", Some(1));
    assert_eq!(desk.with_server[0].server, "192.0.2.99:53".parse().unwrap());
}

#[test]
fn a_service_is_found_before_the_address_of_the_name_however_slow_its_records_are() {
    let mut desk = Desk::new();
    desk.ask(1, "pool.example.net", None);
    desk.wait(Duration::from_millis(1_500));
    assert_eq!(desk.asked().len(), 2, "SRV records are waited for: another place would be the wrong one");
    desk.reply("_sip._udp.pool.example.net", Srv, services(&[(1, 5077, "a.example.net")]));
    desk.nothing("_sip._tcp.pool.example.net", &[Srv]);
    desk.nothing("a.example.net", &[Aaaa]);
    desk.reply("a.example.net", A, addresses(&["192.0.2.2"]));
    assert_eq!(desk.found(), ["192.0.2.2:5077"]);
}

impl Desk {
    /// A question about a downstream proxy.
    fn ask_for_proxy(&mut self, asks_transports: bool) {
        let (protocols, source) = (&[Protocol::Udp], Source::Proxies);
        let question = Question { host: "example.net".into(), port: None, protocols, asks_transports, source };
        self.resolver.ask(1, question, self.now + Duration::from_secs(60), self.now).unwrap();
        self.collect();
    }
}

#[test]
fn an_asker_that_is_free_in_its_transport_follows_the_domains_own_choice() {
    let mut desk = Desk::new();
    desk.ask_for_proxy(true);
    let pointer = |service: &str, name: &str| Pointer { service: service.into(), name: name.into() };
    let pointers = vec![pointer("sip+d2t", "_sip._tcp.example.net"), pointer("sip+d2u", "_sip._udp.b.example")];
    desk.reply("example.net", Kind::Naptr, Outcome::Pointers(pointers, 60));
    let service = Service { priority: 2, weight: 7, port: 5077, target: "b.example".into() };
    desk.reply("_sip._udp.b.example", Srv, Outcome::Services(vec![service], 30));
    desk.reply("b.example", A, addresses(&["192.0.2.4"]));
    desk.reply("b.example", Aaaa, Outcome::Nothing(None));
    let answer = desk.resolver.poll_answer().unwrap();
    let endpoint = Endpoint { protocol: Protocol::Udp, address: "192.0.2.4:5077".parse().unwrap() };
    assert_eq!(answer.found, Ok(vec![Server { endpoint, priority: 2, weight: 7 }]));
    assert_eq!(answer.until, desk.now + Duration::from_secs(30), "the record that ends first");
}

#[test]
fn a_name_that_is_not_there_is_told_from_one_without_an_address() {
    let name = || Box::from("example.net");
    for (outcome, expected) in [
        (Outcome::NoName(None), Unfound::NoName { name: name() }),
        (Outcome::Nothing(None), Unfound::Nothing { name: name() }),
    ] {
        let mut desk = Desk::new();
        desk.ask_for_proxy(false);
        desk.reply("_sip._udp.example.net", Srv, Outcome::NoName(None));
        desk.reply("example.net", A, outcome);
        desk.reply("example.net", Aaaa, Outcome::NoName(None));
        assert_eq!(desk.resolver.poll_answer().unwrap().found, Err(expected));
    }
}
