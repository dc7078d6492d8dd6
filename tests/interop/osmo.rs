//! Osmocom's media gateway as a worker: `pointsman worker --gateway`, with Osmocom's own call agent and one of ours.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::agent::{self, Agent};
use crate::support::osmocom::{CallAgent, free_port};
use crate::support::pointsman::{EXECUTABLE, Pointsman, Setup};
use crate::support::{DEADLINE, own_address, wait_for};

const CALLS: usize = 500;

/// A process that is killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// osmo-mgw on an address of its own.
struct Gateway {
    process: Killed,
    dir: TempDir,
    address: SocketAddr,
}

impl Gateway {
    /// A gateway with room for all calls of a test.
    fn start() -> Self {
        Gateway::with(CALLS + 24)
    }

    /// A gateway with so many endpoints.
    fn with(endpoints: usize) -> Self {
        let ip = own_address();
        let dir = tempfile::Builder::new().prefix("pm-osmo-").tempdir().expect("a temporary directory");
        let text = format!(
            "log stderr\n logging level all error\nline vty\n no login\n bind {ip} 4243\n\
             mgcp\n bind ip {ip}\n bind port 2427\n domain mgw\n rtp net-range 20000 29999\n\
             \x20rtp net-bind-ip {ip}\n no rtp keep-alive\n number endpoints {endpoints}\n allow-transcoding\n"
        );
        fs::write(dir.path().join("mgw.cfg"), text).expect("a file for its configuration");
        let address = SocketAddr::new(ip.into(), 2427);
        Gateway { process: Gateway::run(dir.path()), dir, address }
    }

    fn run(dir: &Path) -> Killed {
        let log = File::options().append(true).create(true).open(dir.join("log")).expect("a file for its log");
        let mut command = Command::new("osmo-mgw");
        command.arg("-c").arg(dir.join("mgw.cfg")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn();
        Killed(child.unwrap_or_else(|error| panic!("cannot start osmo-mgw ({error}): apt-get install osmo-mgw")))
    }

    fn kill(&mut self) {
        self.process.0.kill().expect("a child of ours");
        self.process.0.wait().expect("a child of ours");
    }

    fn start_again(&mut self) {
        self.process = Gateway::run(self.dir.path());
    }
}

/// A dispatcher whose own worker takes nothing new, and a worker for that gateway.
fn behind(setup: Setup, gateway: SocketAddr) -> (Pointsman, Killed) {
    let pointsman = setup.with(["--slow-start", "0s"]).start();
    let drained = pointsman.command(&["drain", "w0"]);
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    let log = File::create(pointsman.run_dir().join("gateway.log")).expect("a file for its log");
    let mut command = Command::new(EXECUTABLE);
    command.args(["worker", "--dispatcher"]).arg(pointsman.run_dir().join("handoff.sock"));
    command.args(["--gateway", &gateway.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let worker = Killed(command.spawn().expect("the executable starts"));
    is_told(&pointsman, ANSWERS, 1);
    (pointsman, worker)
}

/// Waits until the worker of the gateway has said `what` of it for the `times`th time, and has reported since.
fn is_told(pointsman: &Pointsman, what: &str, times: usize) {
    let log = pointsman.run_dir().join("gateway.log");
    wait_for(what, DEADLINE, || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        (said.matches(what).count() >= times).then_some(())
    });
    // A report that was on its way then says nothing of it yet; the next one does.
    for _ in 0..2 {
        let begin = Instant::now();
        pointsman.wait_until("a report since then", |load| {
            load["workers"][1]["report_age_ms"]
                .as_u64()
                .is_some_and(|age| u128::from(age) < begin.elapsed().as_millis())
        });
    }
}

const ANSWERS: &str = "the gateway answers";
const IS_SILENT: &str = "the gateway does not answer";

#[test]
fn five_hundred_calls_of_osmocoms_call_agent_go_through_osmocoms_gateway() {
    let Some(agent) = CallAgent::build() else {
        return crate::support::pass_over("no source of Osmocom's call agent, no compiler or no library");
    };
    let gateway = Gateway::start();
    // It speaks to 127.0.0.1 alone.
    let (port, own) = (free_port(), free_port().to_string());
    let listen = format!("mgcp:127.0.0.1:{port}");
    let setup = Setup { sip: false, ip: Ipv4Addr::LOCALHOST.into(), port, ..Setup::new(1) };
    let (pointsman, _worker) = behind(setup.with(["--listen", &listen, "--worker-mgcp-ports", &own]), gateway.address);
    let said = agent.run(port, CALLS);
    assert_eq!(said.lines().last(), Some(format!("calls={CALLS} ok={CALLS} bad=0").as_str()), "{said}");
    assert_eq!(pointsman.worker_number(1, "handoffs"), CALLS as u64);
    pointsman.wait_until("all connections to be gone", |load| load["workers"][1]["sessions"] == 0);
}

/// A relay between any sender and one address; each sender is answered at its own port.
struct Relay {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    /// Datagrams that were passed on towards the address.
    passed: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay that loses `percent` of the datagrams it gets, in either direction.
    fn start(to: SocketAddr, percent: u64, seed: u64) -> Self {
        let front = UdpSocket::bind((own_address(), 0)).expect("a free port");
        let back = UdpSocket::bind((own_address(), 0)).expect("a free port");
        let address = front.local_addr().expect("a bound socket has an address");
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout above zero");
        }
        let (over, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_over, log) = (Arc::clone(&over), Arc::clone(&passed));
        let thread = thread::spawn(move || {
            let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut is_lost = move || {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                (dice >> 11) % 100 < percent
            };
            let mut buffer = vec![0; 65_536];
            let mut sender = None;
            while !is_over.load(Ordering::Relaxed) {
                while let Ok((length, from)) = front.recv_from(&mut buffer) {
                    sender = Some(from);
                    if !is_lost() {
                        log.lock()
                            .expect("no one panics with it")
                            .push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                        back.send_to(&buffer[..length], to).expect("loopback takes it");
                    }
                }
                while let Ok((length, _)) = back.recv_from(&mut buffer) {
                    if let Some(sender) = sender.filter(|_| !is_lost()) {
                        front.send_to(&buffer[..length], sender).expect("loopback takes it");
                    }
                }
            }
        });
        Relay { address, over, passed, thread: Some(thread) }
    }

    /// The number of times that each command of that verb was passed on, by its transaction.
    fn passed_on(&self, verb: &str) -> HashMap<String, usize> {
        let mut counted = HashMap::new();
        for datagram in self.passed.lock().expect("no one panics with it").iter() {
            let mut words = datagram.split_whitespace();
            if words.next().is_some_and(|word| word.eq_ignore_ascii_case(verb)) {
                *counted.entry(words.next().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        counted
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A call of a call agent of ours: the endpoint that it was given.
fn call(agent: &Agent, to: SocketAddr, call: &str) -> String {
    let created = agent.transact(&agent::Command::create("rtpbridge/*@mgw", call, "recvonly"), to);
    assert_eq!(created.code(), 200, "{}", created.text);
    let (endpoint, id) = (created.need("Z").to_owned(), created.need("I").to_owned());
    let named = |verb: &str| agent::Command::new(verb, &endpoint).with(&format!("C: {call}")).with(&format!("I: {id}"));
    let modified = agent.transact(&named("MDCX").with("M: sendrecv").with_sound_at(agent.address()), to);
    assert_eq!(modified.code(), 200, "{}", modified.text);
    let deleted = agent.transact(&named("DLCX"), to);
    assert!((200..300).contains(&deleted.code()), "{}", deleted.text);
    endpoint
}

/// Call agents that call at the same time, and how many calls each makes.
const AGENTS: u64 = 50;
const EACH: u64 = 10;

#[test]
fn with_a_fifth_of_all_packets_lost_each_call_is_one_endpoint_at_the_gateway() {
    let gateway = Gateway::start();
    let tap = Relay::start(gateway.address, 0, 1);
    let (pointsman, _worker) = behind(Setup::gateway(1), tap.address);
    let front = pointsman.address();
    let agents: Vec<_> = (1..=AGENTS)
        .map(|number| {
            thread::spawn(move || {
                let relay = Relay::start(front, 20, number);
                let agent = Agent::new(own_address().into());
                (0..EACH).map(|at| call(&agent, relay.address, &format!("{number:x}A{at:x}"))).collect::<Vec<_>>()
            })
        })
        .collect();
    let endpoints: Vec<String> = agents.into_iter().flat_map(|agent| agent.join().expect("all its calls")).collect();
    assert_eq!(endpoints.len() as u64, AGENTS * EACH);
    let terms: HashSet<&str> = endpoints.iter().filter_map(|name| name.split('/').nth(1)).collect();
    assert_eq!(terms.len(), 1, "all have the token of the worker: {terms:?}");
    let created = tap.passed_on("CRCX");
    assert_eq!(created.len() as u64, AGENTS * EACH, "{created:?}");
    assert!(created.values().all(|times| *times == 1), "{created:?}");
    pointsman.wait_until("all connections to be gone", |load| load["workers"][1]["sessions"] == 0);
}

#[test]
fn a_gateway_that_dies_gets_no_connections_until_it_is_there_again() {
    let mut gateway = Gateway::start();
    let (pointsman, _worker) = behind(Setup::gateway(1), gateway.address);
    let agent = Agent::new(pointsman.address().ip());
    call(&agent, pointsman.address(), "1");
    gateway.kill();
    let lost = agent.transact(&agent::Command::create("rtpbridge/*@mgw", "2", "recvonly"), pointsman.address());
    assert!((400..500).contains(&lost.code()), "{}", lost.text);
    is_told(&pointsman, IS_SILENT, 1);
    gateway.start_again();
    is_told(&pointsman, ANSWERS, 2);
    call(&agent, pointsman.address(), "3");
}

#[test]
fn connections_at_the_gateway_outlive_the_dispatcher_and_are_deleted_with_the_worker() {
    let gateway = Gateway::start();
    let tap = Relay::start(gateway.address, 0, 1);
    let (mut pointsman, mut worker) = behind(Setup::gateway(1), tap.address);
    let agent = Agent::new(pointsman.address().ip());
    // As RFC 3435 writes it; this gateway knows the `*` only.
    let create = agent::Command::create("rtpbridge/$@mgw", "A1", "recvonly");
    let created = agent.transact(&create, pointsman.address());
    assert_eq!(created.code(), 200, "{}", created.text);
    let asked = tap.passed_on("CRCX").len();
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until("its load to be known", |load| load["workers"][1]["sessions"] == 1);
    let again = agent.transact(&create, pointsman.address());
    assert_eq!(again.text, created.text, "its first answer was lost, for all that anybody knows");
    assert_eq!(tap.passed_on("CRCX").len(), asked);
    let second = agent::Command::create(created.need("Z"), "A1", "recvonly");
    let second = agent.transact(&second, pointsman.address());
    assert_eq!(second.code(), 200, "{}", second.text);
    pointsman.wait_until("both connections", |load| load["workers"][1]["sessions"] == 2);
    assert!(crate::support::proc::signal(worker.0.id(), nix::sys::signal::Signal::SIGTERM));
    let status = wait_for("its end", DEADLINE, || worker.0.try_wait().expect("a child of ours"));
    assert!(status.success());
    assert_eq!(tap.passed_on("DLCX").len(), 2);
}

#[test]
fn a_call_that_the_gateway_has_no_endpoint_for_goes_to_another_worker() {
    let gateway = Gateway::with(2);
    let (pointsman, _worker) = behind(Setup::gateway(1).with(["--policy", "round-robin"]), gateway.address);
    let agent = Agent::new(pointsman.address().ip());
    let create =
        |call: &str| agent.transact(&agent::Command::create("rtpbridge/*@mgw", call, "recvonly"), pointsman.address());
    assert_eq!([create("1").code(), create("2").code()], [200, 200]);
    pointsman.wait_until("both to be reported", |load| load["workers"][1]["sessions"] == 2);
    let ready = pointsman.command(&["ready", "w0"]);
    assert!(ready.status.success(), "{}", String::from_utf8_lossy(&ready.stderr));
    pointsman.wait_until("the order to have come to the lanes", |load| load["workers"][0]["admin"] == "ready");
    // Every other one goes to the gateway first, in each lane.
    for call in 3..27 {
        let elsewhere = create(&call.to_string());
        assert_eq!(elsewhere.code(), 200, "{}", elsewhere.text);
    }
    pointsman.wait_until("all to be the other worker's", |load| load["workers"][0]["sessions"] == 24);
    assert!(pointsman.worker_number(1, "refused") >= 1);
}

#[test]
fn deleting_one_call_everywhere_leaves_the_others_at_the_gateway() {
    let gateway = Gateway::start();
    let (pointsman, _worker) = behind(Setup::gateway(1), gateway.address);
    let agent = Agent::new(pointsman.address().ip());
    let create =
        |call: &str| agent.transact(&agent::Command::create("rtpbridge/*@mgw", call, "recvonly"), pointsman.address());
    let (first, second) = (create("A1"), create("A2"));
    assert_eq!([first.code(), second.code()], [200, 200]);
    let deleted = agent.transact(&agent::Command::new("DLCX", "*@mgw").with("C: A1"), pointsman.address());
    assert_eq!(deleted.code(), 250, "{}", deleted.text);
    let named = |created: &agent::Said, call: &str| {
        let command = agent::Command::new("MDCX", created.need("Z")).with(&format!("C: {call}"));
        command.with(&format!("I: {}", created.need("I"))).with("M: recvonly")
    };
    let gone = agent.transact(&named(&first, "A1"), pointsman.address());
    assert!(gone.code() >= 400, "{}", gone.text);
    let stands = agent.transact(&named(&second, "A2"), pointsman.address());
    assert_eq!(stands.code(), 200, "{}", stands.text);
    pointsman.wait_until("one connection", |load| load["workers"][1]["sessions"] == 1);
}
