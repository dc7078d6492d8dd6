//! The cost of connections to a lane: new INVITEs over TCP, TLS and WebSocket against the same over UDP, in one run.
//!
//! Callers, lane and workers take turns in one thread. Only the lane's part is measured, by CPU time: the wait for
//! events, the reads, the whole of the switch, the writes to links and connections. Links are real sockets, and the
//! frames are read and answered by workers that cost the lane nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

mod callers;
#[allow(dead_code, reason = "the load generator's INVITE is all that is wanted here")]
#[path = "../end_to_end/generator/message.rs"]
mod message;
mod workers;

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use pointsman::config::{Insert, Policy};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{ConnId, ListenerId, TokenKey, WorkerId};
use pointsman::net::conns::{Conns, Ends, Moved};
use pointsman::net::{clock, udp};
use pointsman::server::link_socket::LinkSocket;
use pointsman::stream::{Limits, Received, Stream};
use pointsman::switch::owner::Owner;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::words::Transport;

use callers::{Callers, Secrets};
use workers::Workers;

const KEY: TokenKey = TokenKey::new([9; 32]);
const WORKERS: u16 = 4;
/// INVITEs that the callers send at once.
const BATCH: usize = 32;
/// INVITEs of a run.
const MESSAGES: usize = 256_000;
/// INVITEs of which one time is taken: the least of the run's is its result, the others met with something else.
const PART: usize = 2_000;
const RUNS: usize = 7;
const UDP: Token = Token(0);
const FIRST_CONN: usize = 1 << 21;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    transport: Transport,
    connections: usize,
    /// Whether each INVITE is answered, on its connection or from the well-known socket.
    answers: bool,
    /// Whether the links go over a network, as to workers on other hosts.
    afar: bool,
}

/// The lane, and all that is around it.
struct Rig {
    case: Case,
    poll: Poll,
    events: Events,
    socket: udp::Socket,
    batch: udp::Batch,
    conns: Conns,
    switch: Switch<LinkSocket>,
    workers: Workers,
    callers: Callers,
    now: Time,
}

impl Rig {
    fn new(case: Case, secrets: &Secrets) -> Self {
        let rules = Rules { policy: Policy::LeastLoad, slow_start: Duration::ZERO, ..Rules::default() };
        let keys = Keyring { current: KEY, previous: None };
        let workers = usize::from(WORKERS);
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 1_000_000, group_cap: 64, workers, seed: 1 });
        let mut switch = Switch::new(dispatch, Insert::None, 16 << 20, Owners::new(0, 1, 7));
        let poll = Poll::new().unwrap();
        let registry = Arc::new(poll.registry().try_clone().unwrap());
        let workers = Workers::new(&registry, &mut switch, case);
        let socket = udp::Socket::bind("127.0.0.1:0".parse().unwrap(), udp::Buffers::SIGNALLING).unwrap();
        registry.register(&mut SourceFd(&socket.as_raw_fd()), UDP, Interest::READABLE).unwrap();
        let mut conns = Conns::new(registry, FIRST_CONN, case.connections);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut callers = Callers::new(case, socket.local_addr());
        let now = clock::now();
        if case.transport != Transport::Udp {
            for _ in 0..case.connections {
                let stream = Stream::new(secrets.kind(case.transport), Limits::default(), now);
                let (socket, remote, stream, outgoing) = callers.connect(&listener, stream, secrets, now);
                let ends = Ends { remote, local: listener.local_addr().unwrap(), listener: Some(ListenerId(0)) };
                conns.insert(Moved { socket, stream, outgoing, ends }, now).unwrap();
            }
        }
        let (events, batch) = (Events::with_capacity(1_024), udp::Batch::new());
        Rig { case, poll, events, socket, batch, conns, switch, workers, callers, now }
    }

    /// Handles so many INVITEs; returns the lane's CPU time.
    fn part(&mut self) -> Duration {
        self.answer_once();
        let mut spent = Duration::ZERO;
        for _ in 0..PART / BATCH {
            self.now = clock::now();
            self.callers.send(BATCH);
            let before = self.switch.dispatch().counters().handed_over;
            let mut turns = 0;
            while self.switch.dispatch().counters().handed_over < before + BATCH as u64 {
                spent += measured(|| self.turn());
                turns += 1;
                assert!(turns < 10_000, "messages are missing: {:?}", self.switch.dispatch().counters());
            }
            self.workers.answer();
            spent += measured(|| self.turn());
            if self.case.answers {
                self.callers.read();
            }
        }
        spent
    }

    /// Sends something on each connection, as answers to earlier calls would be. After a pause the kernel acknowledges
    /// with every read until then, which is of no concern here: calls get answers.
    fn answer_once(&mut self) {
        for key in self.conns.keys().collect::<Vec<_>>() {
            self.conns.send(key, b"\r\n");
        }
        self.conns.flush();
        self.callers.read();
    }

    /// A turn of the lane.
    fn turn(&mut self) {
        let Rig { poll, events, socket, batch, conns, switch, now, .. } = self;
        let timeout = if conns.has_readable() { Duration::ZERO } else { Duration::from_millis(1) };
        poll.poll(events, Some(timeout)).unwrap();
        let mut has_datagrams = false;
        for event in events.iter() {
            match event.token() {
                UDP => has_datagrams = true,
                Token(token) if token >= FIRST_CONN => conns.on_event(event),
                Token(token) => switch.on_link_event(WorkerId(token as u16 - 1), event.is_readable(), false),
            }
        }
        while let Some(worker) = switch.take_readable_link() {
            switch.read_link(worker, *now);
        }
        while has_datagrams {
            let read = socket.recv_batch(batch).unwrap_or_default();
            for datagram in batch.iter().take(read) {
                let ends = (datagram.source, datagram.local);
                let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, *now);
                switch.on_message(datagram.bytes, &way, *now);
            }
            has_datagrams = read == batch.places();
        }
        conns.read(*now, &mut |origin, received| {
            let conn = ConnId::new(0, origin.key.number());
            let ends = (origin.ends.remote, origin.ends.local);
            let way = Way::of_stream(conn, ListenerId(0), origin.transport, ends, *now);
            if let Received::Message(bytes) = received {
                switch.on_message(bytes, &way, *now);
            }
        });
        switch.flush_replies(|conn: ConnId, bytes: &[u8]| {
            conns.numbered(conn.0).is_some_and(|key| conns.send(key, bytes))
        });
        conns.flush();
        switch.flush_answers(|leaving| {
            socket.send_batch(leaving.map(|(bytes, to)| udp::Answer { bytes, to, from: None }), |_, _| ());
        });
        switch.flush_links();
    }
}

fn measured(work: impl FnOnce()) -> Duration {
    let before = cpu_time();
    work();
    cpu_time() - before
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn main() {
    pointsman::net::process::raise_descriptor_limit(20_000).unwrap();
    let secrets = Secrets::new();
    let case = |transport, connections, answers| Case { transport, connections, answers, afar: false };
    let cases = [
        case(Transport::Udp, 1, false),
        Case { afar: true, ..case(Transport::Udp, 1, false) },
        Case { afar: true, ..case(Transport::Udp, 1, true) },
        case(Transport::Tcp, 1, false),
        case(Transport::Tcp, 100, false),
        case(Transport::Tcp, 9_000, false),
        case(Transport::Tcp, 1, true),
        case(Transport::Tcp, 100, true),
        case(Transport::Tls, 100, true),
        case(Transport::Wss, 100, true),
    ];
    let mut rigs: Vec<(Case, Rig, Vec<f64>)> =
        cases.into_iter().map(|case| (case, Rig::new(case, &secrets), Vec::new())).collect();
    for _ in 0..RUNS {
        for (_, rig, times) in &mut rigs {
            let least = (0..MESSAGES / PART / RUNS).map(|_| rig.part()).min().unwrap_or_default();
            times.push(least.as_secs_f64() * 1e6 / PART as f64);
        }
    }
    let median = |times: &[f64]| {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let udp = median(&rigs[0].2);
    println!(
        "| transport | connections | answers | CPU of an INVITE, µs | × UDP | UDP's rate |\n|---|---|---|---|---|---|"
    );
    for (Case { transport, connections, answers, afar }, _, times) in &rigs {
        let (time, answers) = (median(times), if *answers { "one each" } else { "none" });
        let name = transport.label().to_owned() + if *afar { ", workers on other hosts" } else { "" };
        println!("| {name} | {connections} | {answers} | {time:.2} | {:.2} | {:.2} |", time / udp, udp / time);
    }
}

/// The address of a loopback socket that the kernel has chosen.
fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
