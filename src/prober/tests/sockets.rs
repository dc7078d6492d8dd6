//! The whole prober, on sockets of this host.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::super::{Mailbox, Plan, Prober};
use super::*;
use crate::config::{ProbeFrom, Proxy};
use crate::dispatch::probed::{Finding, Found, ProbeAnswer};
use crate::net::clock;
use crate::net::udp::{Batch, Buffers, Datagram, Socket};

const WITHIN: Duration = Duration::from_secs(20);

fn prober() -> (Prober, Receiver<Arc<[Finding]>>) {
    let (told, findings) = crossbeam_channel::unbounded();
    let mut prober = Prober::new(2, printer(), move |found| told.send(Arc::clone(found)).unwrap());
    prober.set_resting(false);
    (prober, findings)
}

fn plan(places: impl IntoIterator<Item = SocketAddr>, interval: Duration) -> Plan {
    let proxies = places.into_iter().enumerate().map(|(at, place)| Proxy {
        name: format!("p{at}"),
        host: place.ip().to_string(),
        port: Some(place.port()),
        probe_interval: interval,
        ..Proxy::default()
    });
    Plan { proxies: proxies.collect(), ..Plan::default() }
}

/// Answers probes until its socket has been silent for long.
fn serve(socket: UdpSocket) {
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = response(std::str::from_utf8(&buffer[..length]).unwrap(), "200 OK", "");
            socket.send_to(answer.as_bytes(), from).unwrap();
        }
    });
}

fn next(findings: &Receiver<Arc<[Finding]>>, wanted: impl Fn(&Finding) -> bool) -> Finding {
    loop {
        let told = findings.recv_timeout(WITHIN).expect("a finding");
        if let Some(found) = told.iter().find(|found| wanted(found)) {
            return found.clone();
        }
    }
}

#[test]
fn a_server_that_answers_and_one_that_is_not_there_are_told_apart() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = server.local_addr().unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    serve(server);
    let (mut prober, findings) = prober();
    prober.follow(plan([there, nobody], Duration::from_millis(100))).unwrap();
    let refused = next(&findings, |found| &*found.proxy == "p1");
    assert!(matches!(refused.what, Found::Refused { address, .. } if address == nobody), "{refused:?}");
    let answered = next(&findings, |found| &*found.proxy == "p0");
    let Found::Answered { address, status: 200, delay, .. } = answered.what else { panic!("{answered:?}") };
    assert!(address == there && delay < Duration::from_secs(1), "{delay:?}");
    prober.set_resting(true);
    while findings.recv_timeout(Duration::from_millis(300)).is_ok() {}
    prober.set_resting(false);
    next(&findings, |found| &*found.proxy == "p0");
    prober.follow(plan([nobody], Duration::from_millis(100))).unwrap();
    next(&findings, |found| matches!(found.what, Found::Refused { .. }) && &*found.proxy == "p0");
    drop(prober);
    while findings.recv_timeout(WITHIN).is_ok() {}
}

#[test]
fn probes_leave_from_a_listener_and_the_lanes_bring_their_answers() {
    for (bound, host) in [("0.0.0.0:0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "::1")] {
        let host: IpAddr = host.parse().unwrap();
        let server = UdpSocket::bind((host, 0)).unwrap();
        server.set_read_timeout(Some(WITHIN)).unwrap();
        let listener = Socket::bind(address(bound), Buffers::SIGNALLING).unwrap();
        let port = listener.local_addr().port();
        let mut plan = plan([server.local_addr().unwrap()], Duration::from_secs(1));
        (plan.proxies[0].probe_from, plan.proxies[0].probe_within) = (ProbeFrom::Listener, WITHIN);
        (plan.own, plan.sockets) = (vec![listener.local_addr()], vec![Arc::new(listener.try_clone().unwrap())]);
        let (mut prober, findings) = prober();
        assert!(prober.take_mailboxes().is_empty());
        prober.follow(plan.clone()).unwrap();
        let mailboxes = prober.take_mailboxes();
        assert_eq!(mailboxes.len(), 2, "one for each lane");
        let mut buffer = [0; 2048];
        for mailbox in &mailboxes {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            let request = std::str::from_utf8(&buffer[..length]).unwrap();
            assert_eq!(from, SocketAddr::new(host, port), "{request}");
            let via = field(request, "Via");
            assert!(via.starts_with(&format!("SIP/2.0/UDP {from};")), "{via}");
            let answer = |from, status| {
                let bytes = response(request, status, "").into_bytes().into();
                ProbeAnswer { from, at: clock::now(), bytes }
            };
            let there = server.local_addr().unwrap();
            let elsewhere = SocketAddr::new(host, there.port() ^ 1);
            mailbox.put([answer(elsewhere, "500 No"), answer(there, "200 OK"), answer(there, "500 No")].into_iter());
            let found = next(&findings, |_| true);
            assert!(matches!(found.what, Found::Answered { status: 200, .. }), "{found:?}");
        }
        // Nothing leaves while the prober rests, and from a socket of its own where the plan says so.
        prober.set_resting(true);
        plan.proxies[0].probe_from = ProbeFrom::Own;
        prober.follow(plan).unwrap();
        prober.set_resting(false);
        let from = loop {
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            if from.port() != port {
                break from;
            }
        };
        assert_eq!(from.ip(), host);
    }
}

#[test]
fn a_load_is_read_from_a_document_and_from_an_agent_line() {
    let serve = |answer: &'static str| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = server.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = server.accept() {
                let mut request = [0; 1024];
                let is_http = answer.starts_with("HTTP") && stream.read(&mut request).is_ok();
                assert!(!is_http || request.starts_with(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:"));
                // The other end may be gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        place
    };
    let http = serve("HTTP/1.0 200 OK\r\n\r\n# TYPE calls gauge\ncalls{dir=\"in\"} 9\ncalls{dir=\"out\"} 8\n");
    let agent = serve("up 50% maxconn:100 used:7\n");
    let nobody = serve("HTTP/1.1 404 Not Found\r\n\r\n");
    let (mut prober, findings) = prober();
    let mut plan = plan(["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(address), Duration::from_millis(200));
    let loads = [format!("http://{http}/metrics"), format!("agent:{agent}"), format!("http://{nobody}/metrics")];
    for (proxy, load) in plan.proxies.iter_mut().zip(loads) {
        (proxy.load, proxy.load_used) = (load.parse().unwrap(), "calls".into());
        proxy.probe = Probe::None;
    }
    prober.follow(plan).unwrap();
    let load = |name: &str| match next(&findings, |found| &*found.proxy == name).what {
        Found::Load(report) => (report.used, report.total, report.percent),
        other => panic!("{other:?}"),
    };
    assert_eq!(load("p0"), (Some(17), None, None));
    assert_eq!(load("p1"), (Some(7), Some(100), Some(50)));
    assert_eq!(load("p0"), (Some(17), None, None), "again and again");
}

/// CPU time of the thread of this name, in ticks of 10 ms.
pub(super) fn ticks(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let own = stats.filter(|stat| stat.contains(&format!("({name})")));
    own.map(|stat| {
        let fields: Vec<u64> = stat.rsplit(')').next().unwrap().split(' ').filter_map(|it| it.parse().ok()).collect();
        fields[10] + fields[11]
    })
    .sum()
}

#[test]
#[ignore = "a measurement of 20 s"]
fn a_thousand_servers_are_probed_at_little_cost() {
    probe_a_thousand(ProbeFrom::Own);
}

#[test]
#[ignore = "a measurement of 20 s"]
fn a_thousand_servers_are_probed_from_a_listener_at_little_cost() {
    probe_a_thousand(ProbeFrom::Listener);
}

/// Puts what comes to a listener into a mailbox, as a lane does.
fn read_listener(listener: Socket, mailbox: Mailbox) {
    std::thread::spawn(move || {
        let mut batch = Batch::new();
        loop {
            listener.recv_batch(&mut batch).unwrap();
            let answer = |datagram: Datagram<'_>| ProbeAnswer {
                from: datagram.source,
                at: clock::now(),
                bytes: datagram.bytes.into(),
            };
            mailbox.put(batch.iter().map(answer).collect::<Vec<_>>().into_iter());
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

fn probe_a_thousand(from: ProbeFrom) {
    let server = Socket::bind(address("0.0.0.0:0"), Buffers::SIGNALLING).unwrap();
    let port = server.local_addr().port();
    std::thread::spawn(move || {
        let mut batch = Batch::new();
        loop {
            // Each answer leaves from the address that the probe came to.
            server.recv_batch(&mut batch).unwrap();
            for datagram in batch.iter() {
                let answer = response(std::str::from_utf8(datagram.bytes).unwrap(), "200 OK", "");
                server.send(answer.as_bytes(), datagram.source, Some(datagram.local.ip())).unwrap();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let (mut prober, findings) = prober();
    let places = (0..1000_u16).map(|n| SocketAddr::from(([127, 1, (n >> 8) as u8, n as u8], port)));
    let mut plan = plan(places, Duration::from_secs(2));
    plan.proxies.iter_mut().for_each(|proxy| proxy.probe_from = from);
    let listener = Socket::bind(address("127.0.0.1:0"), Buffers::SIGNALLING).unwrap();
    (plan.own, plan.sockets) = (vec![listener.local_addr()], vec![Arc::new(listener.try_clone().unwrap())]);
    prober.follow(plan).unwrap();
    if from == ProbeFrom::Listener {
        prober
            .take_mailboxes()
            .into_iter()
            .take(1)
            .for_each(|mailbox| read_listener(listener.try_clone().unwrap(), mailbox));
    }
    let (begin, before) = (Instant::now(), ticks("prober"));
    let mut counts = (0, 0, 0);
    while begin.elapsed() < Duration::from_secs(20) {
        let Ok(told) = findings.recv_timeout(WITHIN) else { break };
        counts.0 += 1;
        for found in told.iter() {
            match found.what {
                Found::Answered { .. } => counts.1 += 1,
                _ => counts.2 += 1,
            }
        }
    }
    let used = ticks("prober") - before;
    println!("deliveries, answered, other: {counts:?}; {} % of a core", used as f64 / 20.0);
    assert!(counts.1 > 8_000);
}
