//! A switch in front of downstream proxies over TCP, fed from memory.

#![allow(dead_code, reason = "tests and benches each use their part")]

use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::{Insert, Pool, Proxy, RecordRoute, Route};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{ConnId, ListenerId};
use pointsman::switch::owner::Owner;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::words::Transport;

use super::no_link::NoLink;
use super::numbered::KEY;

/// The end of a way that messages come and leave by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// Datagrams, from and to this address.
    Address(SocketAddr),
    /// A connection.
    Connection(ConnId),
}

/// A switch in front of downstream proxies over TCP, with a connection to each.
pub struct Balancer {
    switch: Switch<NoLink>,
    now: Time,
}

impl Balancer {
    /// A switch in front of so many.
    pub fn new(proxies: u8) -> Self {
        let proxy = |number: u8| Proxy {
            name: format!("system{number}"),
            host: format!("192.0.2.{number}"),
            port: Some(5060),
            transport: Transport::Tcp,
            ..Proxy::default()
        };
        let rules = Rules {
            proxies: (1..=proxies).map(proxy).collect(),
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            pools: vec![Pool { record_route: RecordRoute::Always, ..Pool::default() }],
            udp_listeners: vec![(ListenerId(0), local())],
            stream_listeners: vec![(ListenerId(1), Transport::Tcp, local())],
            slow_start: Duration::ZERO,
            ..Rules::default()
        };
        let setup = Setup { rules, keys: Keyring::new(KEY), table_cap: 10_000, group_cap: 16, workers: 0, seed: 3 };
        let mut switch = Switch::new(Dispatch::new(setup), Insert::None, 0, Owners::new(0, 1, 3));
        let now = Time(1_000_000);
        while let Some(dial) = switch.poll_dial(now) {
            let SocketAddr::V4(to) = dial.to else { unreachable!("all addresses are of IPv4") };
            let conn = ConnId(u64::from(to.ip().octets()[3]));
            switch.on_dialled(&dial, Some(conn), now);
            switch.on_connection_open(conn, now);
        }
        Balancer { switch, now }
    }

    /// Has messages come.
    pub fn come(&mut self, came: &[(Vec<u8>, End)]) {
        let Balancer { switch, now } = self;
        let (now, local) = (*now, self::local());
        for (bytes, from) in came {
            let way = match from {
                End::Address(source) => {
                    let owner = Owner::Listener(ListenerId(0));
                    Way::of_datagram(owner, ListenerId(0), Transport::Udp, (*source, local), now)
                }
                End::Connection(conn) => {
                    let source = SocketAddr::from(([192, 0, 2, conn.0 as u8], 5060));
                    Way::of_stream(*conn, ListenerId(1), Transport::Tcp, (source, local), now)
                }
            };
            switch.on_message(bytes, &way, now);
        }
        switch.handle_timeout(now);
    }

    /// All that leaves; 5 ms pass.
    pub fn left(&mut self) -> Vec<(Vec<u8>, End)> {
        let mut out = Vec::new();
        self.switch.flush_answers(|leaving| out.extend(leaving.map(|(bytes, to)| (bytes.to_vec(), End::Address(to)))));
        self.switch.flush_replies(|conn: ConnId, bytes: &[u8]| {
            out.push((bytes.to_vec(), End::Connection(conn)));
            true
        });
        self.now = self.now + Duration::from_millis(5);
        out
    }
}

fn local() -> SocketAddr {
    ([192, 0, 2, 200], 5060).into()
}

/// The responses of the servers to requests.
pub fn responses(requests: &[(Vec<u8>, End)], status: &str) -> Vec<(Vec<u8>, End)> {
    let response = |(request, at): &(Vec<u8>, End)| {
        let text = String::from_utf8_lossy(request);
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        let (_, fields) = head.split_once("\r\n").unwrap();
        let fields = fields.lines().filter(|line| !line.starts_with("Content-"));
        let fields = fields.map(|line| match line.starts_with("To: ") && !line.contains("tag=") {
            true => format!("{line};tag=s\r\n"),
            false => format!("{line}\r\n"),
        });
        let fields: String = fields.collect();
        (format!("SIP/2.0 {status}\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes(), *at)
    };
    requests.iter().map(response).collect()
}

/// The callers' requests in the dialogs that these responses have begun.
pub fn in_dialog(method: &str, answers: &[(Vec<u8>, End)]) -> Vec<(Vec<u8>, End)> {
    let request = |(answer, at): &(Vec<u8>, End)| {
        let text = String::from_utf8_lossy(answer);
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let [from, to, call] = ["From: ", "To: ", "Call-ID: "].map(field);
        // The caller says again what it has said before the dispatcher completed it.
        let as_sent = |param: &&str| !param.starts_with("received=");
        let params = field("Via: ").split(';').filter(as_sent);
        let params = params.map(|param| if param.starts_with("rport=") { "rport" } else { param });
        let via = params.collect::<Vec<_>>().join(";").replace("z9hG4bK", &format!("z9hG4bK{method}"));
        let routes: Vec<_> = field("Record-Route: ").split(", ").collect();
        let [server, caller] = routes[..] else { panic!("{text}") };
        let text = format!(
            "{method} sip:ivr@192.0.2.1 SIP/2.0\r\nVia: {via}\r\nRoute: {caller}, {server}\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        (text.into_bytes(), *at)
    };
    answers.iter().map(request).collect()
}
