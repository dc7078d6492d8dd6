//! Downstream proxies over TCP: what leaves on which connection, in front of two servers.

mod calls;
mod dialled;
mod ended;
mod identified;
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

impl Rig {
    /// Action, status and reason of each decision that `explain` has of a call.
    fn explained(&self, call: &str) -> Vec<String> {
        let all = self.switch.explain(call.as_bytes(), self.now);
        all.iter().map(|it| format!("{:?} {} {}", it.action, it.status, it.reason)).collect()
    }
}

/// A call that takes the first turn.
fn another_call(rig: &mut Rig) {
    assert_eq!(one(rig.udp(&another(BY_UDP, "first"))).to, "#1");
}
