//! Downstream proxies over TCP: what leaves on which connection.

mod dialled;
mod leaving;
mod outbound;
mod secure;
mod taken_over;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::{Pool, Proxy, Route};
use crate::dispatch::targets::proxy::Ended;
use crate::ids::ConnId;

const UDP: &str = "192.0.2.2:5060";
const TCP: &str = "192.0.2.2:5070";
const CALLER: &str = "198.51.100.7:4711";
/// The connection of a caller.
const CALLERS: ConnId = ConnId(7);

/// A dispatcher in front of two servers: listener 0 is for UDP, 1 for TCP.
struct Rig {
    switch: Switch<Mute>,
    now: Time,
    /// Numbers of the connections so far.
    opened: u64,
    /// Connections that are gone.
    gone: Vec<ConnId>,
}

/// A message that has left: its text, and where to.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    to: String,
    text: String,
}

impl Sent {
    fn shown(&self) -> String {
        let words: Vec<_> = self.text.lines().next().unwrap().split(' ').take(2).collect();
        format!("{} to {}", if words[0] == "SIP/2.0" { words[1] } else { words[0] }, self.to)
    }

    fn field(&self, name: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name}: {}", self.text))
    }

    fn routes(&self) -> Vec<String> {
        self.field("Record-Route").split(", ").map(str::to_owned).collect()
    }
}

impl Rig {
    fn new(connections: u8) -> Self {
        Rig::with(connections, |_| {})
    }

    /// The same with changes of the settings of each server.
    fn with(connections: u8, change: impl Fn(&mut Proxy)) -> Self {
        let proxy = |name: &str, host: &str| Proxy {
            name: name.to_owned(),
            host: host.to_owned(),
            port: Some(5080),
            transport: Transport::Tcp,
            connections,
            ..Proxy::default()
        };
        let proxies = ["a", "b"].into_iter().zip(["192.0.2.11", "192.0.2.12"]).map(|(name, host)| {
            let mut proxy = proxy(name, host);
            change(&mut proxy);
            proxy
        });
        let rules = Rules {
            pools: vec![Pool { policy: crate::config::PoolPolicy::RoundRobin, ..Pool::default() }],
            proxies: proxies.collect(),
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), UDP.parse().unwrap())],
            stream_listeners: vec![(ListenerId(1), Transport::Tcp, TCP.parse().unwrap())],
            ..Rules::default()
        };
        let keys = Keyring::new(TokenKey::new([1; 32]));
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 });
        let switch = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0));
        Rig { switch, now: NOW, opened: 0, gone: Vec::new() }
    }

    /// Two servers with this many connections each: a has those from 1 on, b those from 101 on.
    fn connected(connections: u8) -> Self {
        let mut rig = Rig::new(connections);
        rig.open();
        rig
    }

    /// A dispatcher that has started later, with the same key.
    fn later(connections: u8) -> Self {
        let mut rig = Rig::new(connections);
        let rules = rig.switch.dispatch().rules().clone();
        let keys = Keyring::new(TokenKey::new([1; 32]));
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 });
        rig.switch = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 77));
        rig.open();
        rig
    }

    /// Opens all connections that are due.
    fn open(&mut self) {
        while let Some(dial) = self.switch.poll_dial(self.now) {
            self.opened += 1;
            let of = u64::from(dial.to == "192.0.2.12:5080".parse().unwrap()) * 100;
            let conn = ConnId(of + self.opened);
            self.switch.on_dialled(&dial, Some(conn), self.now);
            self.switch.on_connection_open(conn, self.now);
        }
    }

    /// The settings have these servers alone from now on.
    fn reload(&mut self, change: impl FnOnce(&mut Vec<Proxy>)) {
        let mut rules = self.switch.dispatch().rules().clone();
        change(&mut rules.proxies);
        self.switch.reload(rules, Insert::None, 0, self.now);
    }

    fn left(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.switch.flush_answers(|batch| {
            all.extend(batch.map(|(bytes, to)| Sent { to: to.to_string(), text: text(bytes) }));
        });
        let gone = &self.gone;
        self.switch.flush_replies(|conn: ConnId, bytes: &[u8]| {
            all.push(Sent { to: format!("#{}", conn.0), text: text(bytes) });
            !gone.contains(&conn)
        });
        self.switch.check();
        all
    }

    fn udp(&mut self, text: &str) -> Vec<Sent> {
        let ends = (CALLER.parse().unwrap(), UDP.parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    fn stream(&mut self, text: &str, conn: ConnId, source: &str) -> Vec<Sent> {
        let ends: (SocketAddr, SocketAddr) = (source.parse().unwrap(), TCP.parse().unwrap());
        let way = Way::of_stream(conn, ListenerId(1), Transport::Tcp, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    /// The server responds to a request on the connection that it came by.
    fn responds(&mut self, request: &Sent, status: &str) -> Vec<Sent> {
        let number: u64 = request.to.strip_prefix('#').unwrap().parse().unwrap();
        let source = if number < 100 { "192.0.2.11:5080" } else { "192.0.2.12:5080" };
        self.stream(&response(&request.text, status), ConnId(number), source)
    }

    /// The connection ends.
    fn ends(&mut self, number: u64) -> Vec<Sent> {
        self.gone.push(ConnId(number));
        self.switch.on_connection_closed(ConnId(number), Ended::Broken, self.now);
        self.left()
    }

    /// All that leaves until `until` (ms).
    fn passes(&mut self, until: u64) -> Vec<Sent> {
        let mut all = Vec::new();
        let end = NOW + Duration::from_millis(until);
        while let Some(at) = self.switch.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at) + Duration::from_micros(1);
            self.switch.handle_timeout(self.now);
            self.open();
            all.extend(self.left());
        }
        self.now = end;
        all
    }
}

fn request(method: &str, via: &str, branch: u32, routes: &[String], to_tag: &str) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "{method} sip:7@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/{via};rport;branch=z9hG4bK-{branch}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:b@example.net>;tag=1\r\nTo: <sip:7@192.0.2.2>{to_tag}\r\nCall-ID: c\r\n\
         CSeq: 1 {method}\r\nContact: <sip:b@10.0.0.1:5062>\r\nContent-Length: 0\r\n\r\n"
    )
}

const BY_UDP: &str = "UDP 10.0.0.1:5062";
const BY_TCP: &str = "TCP 10.0.0.1:5062";

fn invite(via: &str) -> String {
    request("INVITE", via, 1, &[], "")
}

/// The INVITE of another call.
fn another(via: &str, call: &str) -> String {
    invite(via).replace("Call-ID: c", &format!("Call-ID: {call}")).replace("z9hG4bK-1", &format!("z9hG4bK-{call}"))
}

/// The response to a request that came so.
fn response(request: &str, status: &str) -> String {
    let rest = request.split_once("\r\n").unwrap().1;
    format!("SIP/2.0 {status}\r\n{}", rest.replace("To: <sip:7@192.0.2.2>\r\n", "To: <sip:7@192.0.2.2>;tag=s\r\n"))
}

#[track_caller]
fn one(sent: Vec<Sent>) -> Sent {
    let [one] = &sent[..] else { panic!("not one message: {sent:?}") };
    one.clone()
}

fn shown(all: &[Sent]) -> Vec<String> {
    all.iter().map(Sent::shown).collect()
}

#[test]
fn a_call_over_udp_goes_by_a_connection_to_its_server_and_its_answer_comes_back() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP).replace("Content-Length: 0\r\n", "")));
    assert_eq!(sent.shown(), "INVITE to #1");
    assert!(sent.field("Via").starts_with("SIP/2.0/TCP 192.0.2.2:5070;branch=z9hG4bK"), "{}", sent.text);
    assert_eq!(sent.field("Content-Length"), "0", "a message on a connection says how long it is");
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!(ok.shown(), "200 to 198.51.100.7:4711");
    assert!(ok.field("Via").starts_with("SIP/2.0/UDP 10.0.0.1:5062;"));
}

#[test]
fn a_dialog_between_udp_and_tcp_goes_by_two_record_routes_of_each_sides_own_transport() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let [server, caller] = &sent.routes()[..] else { panic!("{}", sent.text) };
    assert!(server.contains("@192.0.2.2:5070;transport=tcp;system=") && server.ends_with(";lr>"), "{server}");
    assert!(caller.contains("@192.0.2.2:5060;system=") && caller.ends_with(";lr>"), "{caller}");
    let ok = one(rig.responds(&sent, "200 OK"));
    let mut routes = ok.routes();
    routes.reverse();
    for method in ["ACK", "BYE"] {
        let sent = one(rig.udp(&request(method, BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(sent.shown(), format!("{method} to #1"));
        assert!(!sent.text.contains("\r\nRoute:"), "{}", sent.text);
    }
    // The server's own, on the connection that we have opened, and on one that it has opened.
    routes.reverse();
    let bye = request("BYE", "TCP 192.0.2.11:5080", 3, &routes, ";tag=1").replace("From", "X").replace("X:", "From:");
    for conn in [1, 8] {
        let bye = bye.replace("z9hG4bK-3", &format!("z9hG4bK-{conn}9"));
        let sent = one(rig.stream(&bye, ConnId(conn), "192.0.2.11:5080"));
        assert_eq!(sent.shown(), "BYE to 198.51.100.7:4711");
        let ok = one(rig.udp(&response(&sent.text, "200 OK")));
        assert_eq!(ok.shown(), format!("200 to #{conn}"));
    }
}

#[test]
fn copies_cancel_and_ack_of_a_call_over_udp_are_dealt_with_here_and_the_server_gets_each_once() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert!(rig.udp(&invite(BY_UDP)).is_empty(), "a copy is absorbed");
    assert_eq!(shown(&rig.passes(250)), ["100 to 198.51.100.7:4711"]);
    assert_eq!(shown(&rig.passes(4_000)), [""; 0], "TCP loses nothing, so nothing is sent again");
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to 198.51.100.7:4711"]);
    let cancelled = rig.udp(&request("CANCEL", BY_UDP, 1, &[], ""));
    assert_eq!(shown(&cancelled), ["200 to 198.51.100.7:4711", "CANCEL to #1"]);
    let refused = rig.responds(&sent, "487 Request Terminated");
    assert_eq!(shown(&refused), ["487 to 198.51.100.7:4711", "ACK to #1"]);
    assert_eq!(shown(&rig.passes(4_600)), ["487 to 198.51.100.7:4711"], "until its ACK");
    assert!(rig.udp(&request("ACK", BY_UDP, 1, &[], ";tag=s")).is_empty());
    assert!(rig.passes(40_000).is_empty());
}

#[test]
fn a_call_without_response_whose_connection_ends_goes_to_another_server_and_one_that_rings_gets_503() {
    let mut rig = Rig::connected(1);
    let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(first.shown(), "INVITE to #1");
    let second = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
    assert_eq!(second.shown(), "INVITE to #102");
    rig.responds(&second, "180 Ringing");
    let moved = one(rig.ends(1));
    assert_eq!(moved.shown(), "INVITE to #102");
    assert_eq!(shown(&rig.responds(&moved, "200 OK")), ["200 to #7"]);
    let cut = one(rig.ends(102));
    assert_eq!(cut.shown(), "503 to #7", "nobody knows what became of it");
    assert!(!cut.text.contains("Retry-After"), "another server may take the next call: {}", cut.text);
    // Once is enough: the next one gets an answer.
    let third = one(rig.stream(&another(BY_TCP, "e"), CALLERS, CALLER));
    assert_eq!(third.shown(), "503 to #7", "no connection is open");
}

impl Rig {
    /// Action, status and reason of each decision that `explain` has of a call.
    fn explained(&self, call: &str) -> Vec<String> {
        let all = self.switch.explain(call.as_bytes(), self.now);
        all.iter().map(|it| format!("{:?} {} {}", it.action, it.status, it.reason)).collect()
    }
}

#[test]
fn explain_and_the_counters_tell_of_final_responses_that_the_dispatcher_gives_to_requests_under_way() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    let returned = |rig: &Rig| rig.switch.dispatch().counters().returned;
    let before = returned(&rig);
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"]);
    assert_eq!(rig.explained("c").last().unwrap(), "Replied 503 flow-failed");
    assert_eq!(returned(&rig), before + 1);
    one(rig.udp(&another(BY_UDP, "d")));
    assert_eq!(shown(&rig.passes(40_000)).last().unwrap(), "408 to 198.51.100.7:4711");
    assert_eq!(rig.explained("d").last().unwrap(), "Replied 408 unanswered");
    // Of the last two connections, that without the request ends first.
    let mut rig = Rig::connected(1);
    assert_eq!(one(rig.udp(&another(BY_UDP, "e"))).to, "#1");
    assert_eq!(rig.ends(102), []);
    assert_eq!(shown(&rig.ends(1)), ["503 to 198.51.100.7:4711"]);
    let told = rig.explained("e");
    assert_eq!(told[told.len() - 2..], ["Stays 0 no-proxy", "Replied 503 no-proxy"]);
}

#[test]
fn a_call_without_response_whose_connection_ends_goes_by_another_one_to_the_same_server() {
    let mut rig = Rig::connected(2);
    let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(first.shown(), "INVITE to #1");
    let again = one(rig.ends(1));
    assert_eq!(again.shown(), "INVITE to #2");
    assert_eq!(again.field("Via"), first.field("Via"), "it is the same transaction");
    assert_eq!(shown(&rig.responds(&again, "200 OK")), ["200 to #7"]);
}

#[test]
fn a_server_that_has_no_connection_gets_none_of_the_new_calls_and_its_own_again_once_it_has() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    for call in ["d", "e", "f"] {
        let sent = one(rig.udp(&another(BY_UDP, call)));
        assert_eq!(sent.shown(), "INVITE to #102");
    }
    let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "503 to 198.51.100.7:4711");
    rig.open();
    let bye = one(rig.udp(&request("BYE", BY_UDP, 3, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "BYE to #3");
}

#[test]
fn a_cancel_on_another_connection_than_its_invite_reaches_the_server_with_the_branch_of_the_invite() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    let cancel = request("CANCEL", "TCP 203.0.113.1:9", 1, &[], "");
    let got = rig.stream(&cancel, ConnId(9), CALLER);
    let cancel = got.iter().find(|sent| sent.to == "#1").unwrap_or_else(|| panic!("{got:?}"));
    assert_eq!(cancel.field("Via"), sent.field("Via"));
    assert!(shown(&got).contains(&"200 to #9".to_owned()), "{got:?}");
}

#[test]
fn between_connections_no_100_of_our_own_leaves_and_that_of_the_server_passes() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(shown(&rig.passes(10_000)), [""; 0], "the caller repeats nothing, whatever it hears");
    let copy = rig.stream(&invite(BY_TCP), CALLERS, CALLER);
    assert_eq!(shown(&copy), [""; 0], "a copy is absorbed");
    assert_eq!(shown(&rig.responds(&sent, "100 Trying")), ["100 to #7"]);
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
    let copy = rig.stream(&invite(BY_TCP), CALLERS, CALLER);
    assert_eq!(shown(&copy), [""; 0], "and has its 180 on the connection");
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!((ok.shown().as_str(), ok.field("Via").contains("z9hG4bK-1")), ("200 to #7", true), "{}", ok.text);
}

#[test]
fn a_100_of_a_server_does_not_keep_a_call_whose_connection_ends() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "100 Trying");
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"], "it has got there, and nobody knows what became of it");
}

#[test]
fn a_late_refusal_of_a_call_that_has_got_503_for_its_connection_goes_no_further() {
    let mut rig = Rig::connected(2);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"]);
    rig.stream(&request("ACK", BY_TCP, 1, &[], ";tag=x"), CALLERS, CALLER);
    let by_another = Sent { to: "#2".to_owned(), ..sent.clone() };
    assert_eq!(shown(&rig.responds(&by_another, "302 Moved")), ["ACK to #2"], "its server is told, and nobody else");
    assert!(rig.passes(70_000).is_empty());
}

#[test]
fn after_a_2xx_nothing_but_a_2xx_of_its_server_reaches_a_caller() {
    for by_udp in [true, false] {
        let mut rig = Rig::connected(1);
        let come = |rig: &mut Rig, text: &str| if by_udp { rig.udp(text) } else { rig.stream(text, CALLERS, CALLER) };
        let via = if by_udp { BY_UDP } else { BY_TCP };
        let sent = one(come(&mut rig, &invite(via)));
        let mut routes = one(rig.responds(&sent, "200 OK")).routes();
        routes.reverse();
        for status in ["180 Ringing", "486 Busy Here", "603 Decline"] {
            assert_eq!(rig.responds(&sent, status), [], "{status} over UDP: {by_udp}");
        }
        assert_eq!(rig.responds(&sent, "200 OK").len(), 1, "RFC 6026 §8.4: its ACK may be lost");
        let reinvite = one(come(&mut rig, &request("INVITE", via, 5, &routes, ";tag=s").replace("CSeq: 1", "CSeq: 2")));
        assert_eq!(rig.responds(&reinvite, "200 OK").len(), 1);
        assert_eq!(rig.responds(&reinvite, "488 Not Acceptable Here"), [], "over UDP: {by_udp}");
    }
}

#[test]
fn a_response_to_the_request_of_one_server_counts_from_no_other_server() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    let by_another = Sent { to: "#101".to_owned(), ..sent.clone() };
    for status in ["180 Ringing", "200 OK", "486 Busy Here"] {
        assert_eq!(rig.responds(&by_another, status), [], "{status}");
    }
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
    let elsewhere = another(BY_UDP, "d");
    let mut rig = Rig::with(1, |proxy| {
        let network = if proxy.name == "a" { "203.0.113.0/24" } else { "198.18.0.0/15" };
        proxy.from = vec![network.parse().unwrap()];
    });
    rig.open();
    let sent = one(rig.udp(&elsewhere));
    assert_eq!(sent.to, "#1");
    let answer = response(&sent.text, "200 OK");
    assert_eq!(rig.stream(&answer, ConnId(55), "198.18.0.9:5060"), [], "a network of the other one");
    assert_eq!(shown(&rig.stream(&answer, ConnId(56), "203.0.113.9:5060")), ["200 to 198.51.100.7:4711"]);
}

#[test]
fn a_request_inside_a_dialog_whose_connection_ends_goes_to_another_server_or_gets_503_as_the_operator_wants() {
    use crate::config::SystemDown;
    for (system_down, expected) in
        [(SystemDown::Refuse, "503 to 198.51.100.7:4711"), (SystemDown::Move, "INFO to #102")]
    {
        let mut rig = Rig::with(1, |proxy| proxy.system_down = system_down);
        rig.open();
        let sent = one(rig.udp(&invite(BY_UDP)));
        let mut routes = one(rig.responds(&sent, "200 OK")).routes();
        routes.reverse();
        let info = one(rig.udp(&request("INFO", BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(info.to, "#1");
        let then = one(rig.ends(1));
        assert_eq!(then.shown(), expected);
        match system_down {
            SystemDown::Refuse => assert!(!then.field("Retry-After").is_empty()),
            SystemDown::Move => assert_eq!(shown(&rig.responds(&then, "200 OK")), ["200 to 198.51.100.7:4711"]),
        }
    }
}

/// Two servers whose messages name them in the extension header, with a connection each.
fn identified() -> Rig {
    let mut rig = Rig::with(1, |proxy| proxy.identifier = true);
    rig.open();
    rig
}

const HEADER: &str = "X-Pointsman-System";

#[test]
fn a_server_and_its_caller_see_its_identifier_which_leads_the_next_call_to_it() {
    let mut rig = identified();
    let forged = invite(BY_UDP).replace("Contact:", "x-pointsman-system: me\r\nX-Pointsman-System: you\r\nContact:");
    let sent = one(rig.udp(&forged));
    let identifier = sent.field(HEADER).to_owned();
    assert_eq!(sent.text.to_lowercase().matches("x-pointsman-system").count(), 1, "{}", sent.text);
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!(ok.field(HEADER), identifier);
    let with =
        |call: &str, value: &str| another(BY_UDP, call).replace("Contact:", &format!("{HEADER}: {value}\r\nContact:"));
    for call in ["d", "e", "f"] {
        assert_eq!(one(rig.udp(&with(call, &identifier))).to, sent.to);
    }
    let others: Vec<_> = ["g", "h"].iter().map(|call| one(rig.udp(&with(call, "0000000000000"))).to).collect();
    assert_ne!(others[0], others[1], "one that is none of ours leads nowhere");
}

#[test]
fn a_request_inside_a_dialog_finds_its_server_by_the_header_alone() {
    let mut rig = identified();
    let sent = one(rig.udp(&invite(BY_UDP)));
    let identifier = sent.field(HEADER).to_owned();
    // Another dispatcher with the same key knows nothing of the call.
    let mut rig = identified();
    for (method, branch) in [("INFO", 2), ("ACK", 3), ("BYE", 4)] {
        let text = request(method, BY_UDP, branch, &[], ";tag=s");
        let found = one(rig.udp(&text.replace("Contact:", &format!("{HEADER}: {identifier}\r\nContact:"))));
        assert_eq!(found.shown(), format!("{method} to {}", sent.to));
    }
    assert_eq!(one(rig.udp(&request("BYE", BY_UDP, 5, &[], ";tag=s"))).shown(), "481 to 198.51.100.7:4711");
}

#[test]
fn an_identifier_in_a_datagram_counts_also_from_the_host_of_the_server_that_it_names() {
    let mut rig = identified();
    let first = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(first.to, "#1");
    let with = |call: &str| {
        another(BY_UDP, call).replace("Contact:", &format!("{HEADER}: {}\r\nContact:", first.field(HEADER)))
    };
    for call in ["d", "e", "f"] {
        assert_eq!(one(rig.datagram(&with(call), "192.0.2.11:5999")).to, "#1", "servers over TCP send no datagrams");
    }
    // A server that copies the header into a call of its own does not call itself.
    assert_ne!(one(rig.stream(&with("g"), ConnId(1), "192.0.2.11:5080")).to, "#1");
}

#[test]
fn a_caller_on_a_connection_of_an_earlier_dispatcher_finds_its_server_by_the_identifier_in_its_route() {
    let mut rig = Rig::connected(1);
    another_call(&mut rig);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(sent.to, "#102");
    let mut routes = sent.routes();
    routes.reverse();
    let mut later = Rig::later(1);
    let found = one(later.stream(&request("BYE", BY_TCP, 2, &routes, ";tag=s"), ConnId(9), CALLER));
    assert_eq!(found.shown(), "BYE to #102");
    assert!(!found.text.contains("\r\nRoute:"), "{}", found.text);
    // The server's own request has nobody to go to.
    routes.reverse();
    let bye = request("BYE", "TCP 192.0.2.12:5080", 3, &routes, ";tag=1");
    assert_eq!(later.stream(&bye, ConnId(102), "192.0.2.12:5080").len(), 1);
}

/// A call that takes the first turn.
fn another_call(rig: &mut Rig) {
    assert_eq!(one(rig.udp(&another(BY_UDP, "first"))).to, "#1");
}

#[test]
fn a_request_inside_a_dialog_without_route_and_header_follows_the_call_while_it_is_remembered() {
    let mut rig = Rig::connected(1);
    let rules = Rules { remember: Duration::from_secs(600), ..rig.switch.dispatch().rules().clone() };
    rig.switch.reload(rules, Insert::None, 0, NOW);
    let sent = one(rig.udp(&invite(BY_UDP)));
    rig.responds(&sent, "200 OK");
    for (branch, at) in [(2, 599_000), (3, 1_198_000)] {
        rig.passes(at);
        let info = one(rig.udp(&request("INFO", BY_UDP, branch, &[], ";tag=s")));
        assert_eq!(info.shown(), "INFO to #1");
        rig.responds(&info, "200 OK");
    }
    rig.passes(1_800_000);
    assert_eq!(one(rig.udp(&request("INFO", BY_UDP, 4, &[], ";tag=s"))).shown(), "481 to 198.51.100.7:4711");
}

#[test]
fn requests_inside_the_dialogs_of_a_dead_server_move_to_another_one_where_the_operator_wants_that() {
    let mut rig = Rig::with(1, |proxy| proxy.system_down = crate::config::SystemDown::Move);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "BYE to #102");
    assert!(!bye.text.contains("\r\nRoute:"), "{}", bye.text);
    assert!(rig.udp(&request("ACK", BY_UDP, 3, &routes, ";tag=s")).is_empty(), "an ACK is for one server");
}

#[test]
fn a_cancelled_call_without_response_does_not_ring_anew_when_its_connection_ends() {
    let mut rig = Rig::connected(2);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.shown(), "INVITE to #1");
    assert_eq!(shown(&rig.udp(&request("CANCEL", BY_UDP, 1, &[], ""))), ["200 to 198.51.100.7:4711"]);
    assert_eq!(shown(&rig.ends(1)), ["487 to 198.51.100.7:4711"]);
}

#[test]
fn a_call_whose_connections_end_one_after_the_other_is_not_sent_without_end() {
    let mut rig = Rig::connected(3);
    assert_eq!(one(rig.stream(&invite(BY_TCP), CALLERS, CALLER)).shown(), "INVITE to #1");
    assert_eq!(shown(&rig.ends(1)), ["INVITE to #2"]);
    assert_eq!(shown(&rig.ends(2)), ["INVITE to #104"], "another server has its turn");
}

#[test]
fn a_registration_that_comes_again_goes_to_another_server_when_its_own_is_dead() {
    let mut rig = Rig::connected(1);
    let register = |branch| request("REGISTER", BY_UDP, branch, &[], "");
    let sent = one(rig.udp(&register(1)));
    assert_eq!(sent.shown(), "REGISTER to #1");
    rig.responds(&sent, "200 OK");
    rig.ends(1);
    assert_eq!(one(rig.udp(&register(2))).shown(), "REGISTER to #102");
}

#[test]
fn a_request_inside_a_remembered_dialog_moves_as_well_when_its_server_is_dead() {
    let mut rig = Rig::with(1, |proxy| proxy.system_down = crate::config::SystemDown::Move);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    rig.responds(&sent, "200 OK");
    rig.ends(1);
    assert_eq!(one(rig.udp(&request("BYE", BY_UDP, 2, &[], ";tag=s"))).shown(), "BYE to #102");
}

#[test]
fn a_response_from_a_source_that_is_no_server_goes_nowhere() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let answer = response(&sent.text, "603 Decline");
    assert!(rig.udp(&answer).is_empty(), "a callee behind the server sees our Via too");
    assert!(rig.stream(&answer, ConnId(55), "203.0.113.66:5060").is_empty());
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
}

#[test]
fn a_call_that_rings_for_long_at_a_server_that_the_settings_have_lost_gets_its_answer() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(sent.shown(), "INVITE to #1");
    rig.reload(|proxies| proxies.retain(|proxy| proxy.name == "b"));
    // Each 180 has timer C begin anew (RFC 3261 §16.7 step 2).
    for at in [100, 300, 500, 700] {
        assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
        assert_eq!(shown(&rig.passes(at * 1_000)), [""; 0]);
        assert_eq!(rig.switch.poll_hang_up(rig.now), None, "after {at} s");
    }
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to #7"]);
    rig.passes(750_000);
    assert_eq!(rig.switch.poll_hang_up(rig.now), Some(ConnId(1)), "nothing waits for an answer any more");
}

#[test]
fn callers_hear_of_it_when_a_server_is_let_go_that_has_their_calls() {
    let mut rig = Rig::connected(1);
    let ringing = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&ringing, "180 Ringing");
    let other = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
    rig.responds(&other, "200 OK");
    let unheard = one(rig.stream(&another(BY_TCP, "e"), CALLERS, CALLER));
    assert_eq!((ringing.to.as_str(), unheard.to.as_str()), ("#1", "#1"));
    // The settings lose so many others afterwards that the oldest of them goes before its time.
    let other = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Proxy { name: format!("o{number}"), host: format!("10.1.{high}.{low}"), ..Proxy::default() }
    };
    rig.reload(|proxies| *proxies = proxies.drain(1..).chain((0..5_000).map(other)).collect());
    rig.passes(1_000);
    rig.reload(|proxies| proxies.truncate(1));
    let mut told = shown(&rig.passes(2_000));
    told.sort();
    assert_eq!(told, ["503 to #7", "INVITE to #102"]);
    assert_eq!(rig.switch.poll_hang_up(rig.now), Some(ConnId(1)));
}

#[test]
fn a_request_of_a_strict_router_that_moves_to_a_server_over_udp_has_the_uri_that_its_caller_gave_it() {
    let mut rig = Rig::with(1, |proxy| {
        proxy.system_down = crate::config::SystemDown::Move;
        proxy.transport = if proxy.name == "a" { Transport::Tcp } else { Transport::Udp };
    });
    let mut rules = rig.switch.dispatch().rules().clone();
    rules.pools[0].rewrite_uri = true;
    rig.switch.reload(rules, Insert::None, 0, NOW);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    // RFC 3261 §16.6 step 6: the router has put our value into the request-URI, and the URI of the callee last.
    let ours = routes.remove(0);
    let uri = ours.trim_start_matches('<').trim_end_matches('>').to_owned();
    routes.push("<sip:7@192.0.2.9:5099>".to_owned());
    let bye = request("BYE", BY_UDP, 2, &routes, ";tag=s").replacen("sip:7@192.0.2.2", &uri, 1);
    let moved = one(rig.udp(&bye));
    assert_eq!(moved.text.lines().next(), Some("BYE sip:7@192.0.2.9:5099 SIP/2.0"), "{}", moved.text);
    assert_eq!(moved.shown(), "BYE to 192.0.2.12:5080");
}

#[test]
fn a_uri_names_the_server_over_tcp_where_the_pool_says_so_and_inside_the_dialog_it_stays_a_contact() {
    let rewriting = || {
        let mut rig = Rig::connected(1);
        let mut rules = rig.switch.dispatch().rules().clone();
        rules.pools[0].rewrite_uri = true;
        rig.switch.reload(rules, Insert::None, 0, NOW);
        rig
    };
    let mut rig = rewriting();
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    assert_eq!(sent.text.lines().next(), Some("INVITE sip:7@192.0.2.11:5080 SIP/2.0"));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    // Another dispatcher knows the call by its Route alone.
    for mut rig in [rig, rewriting()] {
        let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(bye.text.lines().next(), Some("BYE sip:7@192.0.2.2 SIP/2.0"));
    }
}

#[test]
fn a_copy_of_a_request_inside_a_dialog_is_absorbed_though_the_settings_have_lost_its_server_meanwhile() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    let bye = request("BYE", BY_UDP, 2, &routes, ";tag=s");
    let sent = one(rig.udp(&bye));
    assert_eq!(sent.shown(), "BYE to #1");
    rig.reload(|proxies| proxies.retain(|proxy| proxy.name == "b"));
    assert_eq!(rig.udp(&bye), [], "its server answers it");
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
    let other = one(rig.udp(&request("INFO", BY_UDP, 3, &routes, ";tag=s")));
    assert_eq!(other.shown(), "480 to 198.51.100.7:4711");
}

#[test]
fn an_ack_with_the_branch_of_another_calls_invite_goes_to_the_server_of_its_own_call() {
    for status in ["200 OK", "486 Busy Here"] {
        let mut rig = Rig::connected(1);
        let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
        assert_eq!(first.shown(), "INVITE to #1");
        assert!(shown(&rig.responds(&first, status)).iter().any(|it| it.ends_with(" to #7")));
        let second = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
        assert_eq!(second.shown(), "INVITE to #102");
        let mut routes = one(rig.responds(&second, "200 OK")).routes();
        routes.reverse();
        let ack = request("ACK", BY_TCP, 1, &routes, ";tag=s").replace("Call-ID: c", "Call-ID: d");
        assert_eq!(one(rig.stream(&ack, CALLERS, CALLER)).shown(), "ACK to #102", "{status}");
    }
}
