//! The whole prober, on connections of this host.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::super::names::Own;
use super::super::{Plan, Prober};
use super::sockets::ticks;
use super::*;
use crate::config::{Config, Proxy};
use crate::dispatch::probed::{Finding, Found};
use crate::names::{Endpoint, Protocol};
use crate::net::tls::proxy_kinds;

const WITHIN: Duration = Duration::from_secs(20);
const PING: &str = "\r\n\r\n";

fn prober() -> (Prober, Receiver<Arc<[Finding]>>) {
    let (told, findings) = crossbeam_channel::unbounded();
    let mut prober = Prober::new(1, printer(), move |found| told.send(Arc::clone(found)).unwrap());
    prober.set_resting(false);
    (prober, findings)
}

/// Probes servers over TCP.
fn plan(servers: impl IntoIterator<Item = SocketAddr>, interval: Duration) -> Plan {
    let proxies = servers.into_iter().enumerate().map(|(at, server)| Proxy {
        name: format!("p{at}"),
        host: server.ip().to_string(),
        port: Some(server.port()),
        transport: Transport::Tcp,
        probe_interval: interval,
        probe_within: interval,
        ..Proxy::default()
    });
    let config = Config { proxies: proxies.collect(), ..Config::default() };
    Plan { kinds: proxy_kinds(&config).unwrap(), proxies: config.proxies, ..Plan::default() }
}

fn next(findings: &Receiver<Arc<[Finding]>>) -> Found {
    findings.recv_timeout(WITHIN).expect("a finding").first().expect("one at least").what.clone()
}

fn is_answered(found: &Found) -> bool {
    matches!(found, Found::Answered { status: 200, .. })
}

/// A server's end of a connection.
struct Call(BufReader<TcpStream>);

impl Call {
    fn of(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.set_nodelay(true).unwrap();
        Call(BufReader::new(stream))
    }

    /// The next request; `None` at the end of the connection.
    fn request(&mut self) -> Option<String> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut text).ok()? == 0 {
                return None;
            }
        }
        Some(text)
    }

    fn says(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }
}

#[test]
fn probes_share_one_connection_on_which_answers_come_in_pieces_with_keepalives_and_requests_between() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut prober, findings) = prober();
    prober.follow(plan(listener.local_addr(), Duration::from_millis(100))).unwrap();
    let mut call = Call::of(&listener);
    let local = call.0.get_ref().peer_addr().unwrap();
    let first = call.request().unwrap();
    assert!(field(&first, "Via").starts_with(&format!("SIP/2.0/TCP {local};branch=")), "{first}");
    for byte in response(&first, "200 OK", "X-Load: used=7;total=10\r\n").chars() {
        call.says(&byte.to_string());
    }
    let Found::Answered { status: 200, load: Some(load), .. } = next(&findings) else { panic!("no load") };
    assert_eq!((load.used, load.total), (Some(7), Some(10)));
    // A keepalive, a request and two answers in one write, and the begin of a third.
    let second = call.request().unwrap();
    let ok = response(&second, "200 OK", "");
    let options = second.replace("branch=", "branch=z9hG4bKserver");
    call.says(&format!("{PING}{options}{}{ok}SIP/2.0 200", response(&second, "100 Trying", "")));
    assert!(is_answered(&next(&findings)));
    let mut pong = [0; 2];
    call.0.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    // A probe that gets no answer: the next one has a new connection, and ends this one.
    call.request().unwrap();
    assert!(matches!(next(&findings), Found::Lost { .. }));
    let mut another = Call::of(&listener);
    let third = another.request().unwrap();
    another.says(&response(&third, "200 OK", ""));
    assert!(is_answered(&next(&findings)));
    assert_eq!(call.request(), None);
    prober.set_resting(true);
    assert_eq!(another.request(), None, "no connection is kept that is not wanted");
}

#[test]
fn a_server_that_is_gone_is_refused_at_once_and_is_answered_again_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut prober, findings) = prober();
    prober.follow(plan([address], Duration::from_secs(3600))).unwrap();
    // The first probe comes somewhen in this hour, unless a request has had no answer.
    prober.on_silence(address);
    let mut call = Call::of(&listener);
    let first = call.request().unwrap();
    call.says(&response(&first, "200 OK", ""));
    assert!(is_answered(&next(&findings)));
    drop((listener, call));
    prober.on_silence(address);
    assert!(matches!(next(&findings), Found::Refused { .. }));
    assert!(matches!(next(&findings), Found::Refused { .. }), "the second try follows by itself");
    let listener = TcpListener::bind(address).unwrap();
    prober.on_silence(address);
    let mut call = Call::of(&listener);
    let probe = call.request().unwrap();
    call.says(&response(&probe, "200 OK", ""));
    assert!(is_answered(&next(&findings)));
}

#[test]
fn a_server_that_takes_connections_and_says_nothing_garbage_or_half_a_message_loses_its_probes() {
    let long = format!("SIP/2.0 200 OK\r\n{}", "a: b\r\n".repeat(100_000));
    for says in ["", "hello\r\n\r\n", "SIP/2.0 200 OK\r\nVia: x", "\r\n\r\n", &long] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut prober, findings) = prober();
        prober.follow(plan(listener.local_addr(), Duration::from_millis(100))).unwrap();
        let says = says.to_owned();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                // It may be closed at any byte.
                let _ = stream.write_all(says.as_bytes());
                std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
            }
        });
        for _ in 0..3 {
            assert!(matches!(next(&findings), Found::Lost { .. }));
        }
    }
}

#[test]
fn a_listener_is_our_own_for_its_transport_alone() {
    let own = address("192.0.2.1:5060");
    let (udp, other) = (address("192.0.2.1:5070"), address("192.0.2.1:5061"));
    let mut plan = plan([own, udp, other], Duration::from_secs(2));
    (plan.own, plan.streams) = (vec![udp], vec![(Transport::Tcp, own), (Transport::Tls, other)]);
    let names: Vec<&str> = plan.own_proxies().map(|proxy| proxy.name.as_str()).collect();
    assert_eq!(names, ["p0"]);
    let is_own = |protocol, address| plan.is_own("sip.example.net", Endpoint { protocol, address });
    assert!(is_own(Protocol::Tcp, own) && is_own(Protocol::Udp, udp) && is_own(Protocol::Tls, other));
    assert!(!is_own(Protocol::Udp, own) && !is_own(Protocol::Tcp, udp) && !is_own(Protocol::Tcp, other));
    assert!(is_own(Protocol::Tcp, address("127.0.0.1:9")), "only this host should reach its own ports");
}

#[test]
#[ignore = "a measurement of 20 s"]
fn a_thousand_servers_over_tcp_are_probed_at_little_cost() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        loop {
            let mut call = Call::of(&listener);
            std::thread::spawn(move || {
                while let Some(request) = call.request() {
                    call.says(&response(&request, "200 OK", ""));
                }
            });
        }
    });
    let (mut prober, findings) = prober();
    let places = (0..1000_u16).map(|n| SocketAddr::from(([127, 1, (n >> 8) as u8, n as u8], port)));
    prober.follow(plan(places, Duration::from_secs(2))).unwrap();
    let (begin, before, mut counts) = (Instant::now(), ticks("prober"), (0, 0));
    while begin.elapsed() < WITHIN {
        for found in findings.recv_timeout(WITHIN).unwrap().iter() {
            if is_answered(&found.what) { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
    let used = ticks("prober") - before;
    println!("answered, other: {counts:?}; {} % of a core", used as f64 / WITHIN.as_secs_f64());
    assert!(counts.0 > 8_000);
}
