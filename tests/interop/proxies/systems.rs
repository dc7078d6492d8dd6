//! Message balancing: a dispatcher that keeps connections to servers of other projects, and takes calls over UDP, TCP
//! and WebSocket.

mod callers;
mod lost;
mod scenario;

use std::collections::BTreeMap;

use callers::Callers;
use nix::sys::signal::Signal;
use scenario::By;
use tempfile::TempDir;

use super::*;
use crate::streams::{Client, script, sipjs};

/// Four systems of sipp's behind a dispatcher.
struct Rig {
    front: Pointsman,
    systems: Vec<System>,
    dir: TempDir,
}

/// A system of sipp's, which writes down what it receives. It ends with this value.
struct System {
    process: Sipp,
    address: SocketAddr,
}

/// A line of a trace: a message that a process of sipp's has received.
struct Received {
    call: String,
    cseq: String,
    line: String,
}

/// The messages that a process of sipp's has received, probes left out.
fn trace(file: &Path) -> Vec<Received> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let read = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [_, _, _, "R", call, cseq, line] => {
            let owned = |text: &str| text.trim().to_owned();
            Some(Received { call: owned(call), cseq: owned(cseq.trim_start_matches("CSeq:")), line: owned(line) })
        }
        _ => None,
    };
    text.lines().filter_map(read).filter(|received| !received.cseq.ends_with("OPTIONS")).collect()
}

/// The command that runs a scenario of sipp's, which traces its messages into a file of this name.
fn sipp(dir: &Path, name: &str, scenario: &str) -> Command {
    let file = dir.join(format!("{name}.xml"));
    fs::write(&file, scenario).unwrap();
    // sipp shares connections where it may have no more sockets, and breaks some of them then.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -H -n) && exec sipp \"$@\"", "sipp", "-sf"]).arg(file);
    command.args(["-nostdin", "-buff_size", "4194304", "-max_socket", &SOCKETS.to_string()]);
    command.args(["-trace_err", "-error_file", &format!("{name}.errors")]);
    command.args(["-trace_shortmsg", "-shortmessage_file", &format!("{name}.messages")]);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Begin of the errors of a process of sipp's.
fn errors(dir: &Path, name: &str) -> String {
    let errors = fs::read(dir.join(format!("{name}.errors"))).unwrap_or_default();
    String::from_utf8_lossy(&errors).chars().take(4_000).collect()
}

impl System {
    fn start(dir: &Path, address: SocketAddr, scenario: &str) -> System {
        let (ip, port) = (address.ip().to_string(), address.port());
        let mut command = sipp(dir, &format!("system-{port}"), scenario);
        // Two of them must not want the same port for media.
        let media = 30_000 + 10 * (port % 100);
        command.args(["-t", "t1", "-i", &ip, "-p", &port.to_string(), "-mp", &media.to_string()]);
        System { process: Sipp(command.spawn().unwrap()), address }
    }

    /// Ends it. Returns what it has received.
    fn end(mut self, dir: &Path) -> Vec<Received> {
        assert!(support::proc::signal(self.process.0.id(), Signal::SIGTERM), "it has ended");
        self.process.0.wait().unwrap();
        trace(&dir.join(format!("system-{}.messages", self.address.port())))
    }
}

/// Four systems on Sofia-SIP.
fn four_of_sofia(dir: &Path) -> ([Server; 4], [SocketAddr; 4]) {
    let addresses = [6_501, 6_502, 6_503, 6_504].map(|port| SocketAddr::from((own_address(), port)));
    (addresses.map(|address| sofia(address, dir)), addresses)
}

/// A dispatcher in front of these systems, with these lines in the settings of their pool, and of each. All of them get
/// calls.
fn in_front_of(systems: &[SocketAddr], pool: &str, lines: &str, setup: Setup, dir: &Path) -> Pointsman {
    // The identifiers of two that have it are the same.
    let key = "5a".repeat(32);
    let mut text = format!("token-key = \"{key}\"\n[[pool]]\nname = \"default\"\n{pool}\n");
    for (number, address) in systems.iter().enumerate() {
        text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"sip:{address};transport=tcp\"\n{lines}\n");
    }
    let file = dir.join("front.toml");
    fs::write(&file, text).unwrap();
    let listen = [("tcp", setup.port), ("ws", setup.port + WEBSOCKET)];
    let listen = listen.map(|(transport, port)| format!("{transport}:{}", SocketAddr::new(setup.ip, port)));
    let words = ["--config", file.to_str().unwrap(), "--listen", &listen[0], "--listen", &listen[1]];
    // All callers have one address.
    let front = setup.with(words).with(["--max-connections-per-source", "9000"]).start();
    wait_until_called(&front);
    front
}

/// Waits until all systems get calls, or may.
fn wait_until_called(front: &Pointsman) {
    front.wait_until("all systems to get calls", |load| {
        if load.is_null() {
            return false;
        }
        let rows = front.stats("proxies")["proxies"].clone();
        rows.as_array().is_some_and(|rows| rows.iter().all(|row| row["weight"].as_u64() > Some(0)))
    });
}

impl Rig {
    /// Systems that name themselves so to callers, with these lines in the settings of each.
    fn start(by: By, lines: &str) -> Self {
        Rig::with_pool(ROUND_ROBIN, by, lines)
    }

    fn with_pool(pool: &str, by: By, lines: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-systems-").tempdir().unwrap();
        let setup = Setup::new(0).lanes(2);
        let front = SocketAddr::new(setup.ip, setup.port);
        let ip = own_address();
        let address = |number: u16| SocketAddr::from((ip, 5_080 + number));
        let start = |number: u16| System::start(dir.path(), address(number), &scenario::system(by, front));
        let systems: Vec<System> = (0..4).map(start).collect();
        for system in &systems {
            let connects = || std::net::TcpStream::connect(system.address).ok();
            support::wait_for("sipp", support::DEADLINE, connects);
        }
        let addresses: Vec<SocketAddr> = systems.iter().map(|system| system.address).collect();
        Rig { front: in_front_of(&addresses, pool, lines, setup, dir.path()), systems, dir }
    }

    /// Has sipp place all calls over this transport of its: `u1` UDP, `t1` one TCP connection, `tn` one for each call.
    /// Returns what the callers have received.
    fn place(&self, by: By, transport: &str, calls: u64) -> Vec<Received> {
        // sipp opens and closes connections slowly.
        let rate = if transport == "tn" { CALLS_PER_SECOND / 3 } else { CALLS_PER_SECOND };
        let name = format!("caller-{transport}");
        let mut command = sipp(self.dir.path(), &name, &scenario::caller(by));
        command.arg(self.front.address().to_string()).args(["-t", transport, "-i", &own_address().to_string()]);
        command.args(["-m", &calls.to_string(), "-r", &rate.to_string()]);
        command.args(["-timeout", &PATIENCE.as_secs().to_string(), "-timeout_error"]);
        let begin = Instant::now();
        let status = Sipp(command.spawn().unwrap()).0.wait().unwrap();
        println!("{calls} calls over {transport} in {:?}", begin.elapsed());
        // sipp says 0 when every call was successful, 1 when one was not.
        assert!(status.success(), "sipp over {transport}: {status}\n{}", errors(self.dir.path(), &name));
        trace(&self.dir.path().join(format!("{name}.messages")))
    }

    /// Ends the systems. Each of so many calls had all of its requests once, at one system, and each system had some.
    fn end(self, calls: u64) {
        let mut at: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
        let mut shares = Vec::new();
        for (number, system) in self.systems.into_iter().enumerate() {
            let received = system.end(self.dir.path());
            shares.push(received.iter().filter(|received| received.line.starts_with("INVITE ")).count() as u64);
            for Received { call, cseq, .. } in received {
                let (first, requests) = at.entry(call.clone()).or_insert_with(|| (number, Vec::new()));
                assert_eq!(*first, number, "{call} is at two systems");
                requests.push(cseq);
            }
        }
        println!("calls by system: {shares:?}");
        assert_eq!(at.len() as u64, calls);
        for (call, (_, mut requests)) in at {
            // Lanes read datagrams beside each other: a BYE right after its ACK may overtake it.
            requests.sort_unstable();
            assert_eq!(requests, ["1 ACK", "1 INVITE", "2 BYE"], "{call}");
        }
        // One that is slow to answer its probes on a busy machine gets less.
        assert!(shares.iter().all(|share| *share > calls / 8), "{shares:?}");
    }
}

const ROUND_ROBIN: &str = "policy = \"round-robin\"";

/// Distance of the port for WebSocket from that for UDP and TCP.
const WEBSOCKET: u16 = 2;

/// Each call has had these responses, and no other: over UDP a busy machine sees copies.
fn all_answered(received: &[Received], calls: u64) {
    let mut by_call: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for Received { call, cseq, line } in received.iter().filter(|received| !received.line.starts_with("SIP/2.0 100")) {
        by_call.entry(call).or_default().push((cseq, line));
    }
    assert_eq!(by_call.len() as u64, calls);
    for (call, mut responses) in by_call {
        responses.dedup();
        let statuses: Vec<(&str, &str)> = responses.iter().map(|(cseq, line)| (*cseq, &line[8..11])).collect();
        assert_eq!(statuses, [("1 INVITE", "180"), ("1 INVITE", "200"), ("2 BYE", "200")], "{call}");
    }
}

/// Messages that the dispatcher has forwarded for this reason.
fn forwarded(front: &Pointsman, reason: &str) -> u64 {
    front.stats("counters")["forwarded"]["reasons"][reason].as_u64().unwrap()
}

fn ten_thousand_dialogs(transport: &str) {
    let rig = Rig::start(By::Routes, "");
    all_answered(&rig.place(By::Routes, transport, CALLS), CALLS);
    assert_eq!(["proxied", "record-routed"].map(|reason| forwarded(&rig.front, reason)), [CALLS, 2 * CALLS]);
    rig.end(CALLS);
}

#[test]
fn ten_thousand_dialogs_over_udp_with_four_systems_of_sipp_are_complete_and_each_is_at_one() {
    ten_thousand_dialogs("u1");
}

#[test]
fn ten_thousand_dialogs_over_one_connection_with_four_systems_of_sipp_are_complete_and_each_is_at_one() {
    ten_thousand_dialogs("t1");
}

#[test]
fn ten_thousand_dialogs_over_websocket_with_four_systems_of_sipp_are_complete_and_each_is_at_one() {
    const CONNECTIONS: u64 = 8;
    let rig = Rig::start(By::Routes, "");
    let mut callers = Callers::websocket(rig.front.address(), CONNECTIONS as usize);
    let begin = Instant::now();
    callers.call_and_hang_up(By::Routes, CALLS / CONNECTIONS);
    println!("{CALLS} calls over WebSocket in {:?}", begin.elapsed());
    assert_eq!(["proxied", "record-routed"].map(|reason| forwarded(&rig.front, reason)), [CALLS, 2 * CALLS]);
    rig.end(CALLS);
}

#[test]
fn a_thousand_dialogs_of_sip_js_with_four_systems_of_sipp_are_complete_and_each_is_at_one() {
    let Some(modules) = sipjs() else { return };
    let rig = Rig::start(By::Routes, "");
    let to = rig.front.address();
    let websocket = SocketAddr::new(to.ip(), to.port() + WEBSOCKET);
    let words = [format!("ws://{websocket}"), format!("sip:service@{to}"), FEW.to_string()];
    let mut client = Client::start(Command::new("node").arg(script("sipjs.js")).args(words).env("NODE_PATH", modules));
    assert_eq!(client.line(), format!("complete {FEW}"));
    rig.end(FEW);
}

#[test]
fn a_thousand_dialogs_over_a_connection_each_with_four_systems_of_sipp_are_complete_and_each_is_at_one() {
    let rig = Rig::start(By::Routes, "");
    all_answered(&rig.place(By::Routes, "tn", FEW), FEW);
    rig.end(FEW);
}

/// Dialogs whose ACK and BYE find their system for these reasons.
fn dialogs_by(by: By, lines: &str, reasons: &[&str]) {
    let rig = Rig::start(by, lines);
    for transport in ["u1", "t1"] {
        all_answered(&rig.place(by, transport, FEW), FEW);
    }
    let sum: u64 = reasons.iter().map(|reason| forwarded(&rig.front, reason)).sum();
    assert_eq!(sum, 2 * 2 * FEW, "{}", rig.front.stats("counters"));
    rig.end(2 * FEW);
}

#[test]
fn dialogs_with_systems_that_strip_all_identifiers_are_complete_by_the_call_alone() {
    dialogs_by(By::Call, "", &["ack", "in-dialog"]);
}

#[test]
fn dialogs_with_systems_that_copy_the_extension_header_and_strip_the_routes_are_complete_by_it() {
    dialogs_by(By::Header, "identifier = true", &["identified"]);
}

/// Dialogs with servers on Sofia-SIP that end after a restart: the dispatcher remembers none of them.
fn dialogs_over_a_restart(by: By, lines: &str) {
    const EACH: u64 = 25;
    const CONNECTIONS: u64 = 10;
    let dir = dir();
    let (_servers, addresses) = four_of_sofia(dir.path());
    let mut front = in_front_of(&addresses, ROUND_ROBIN, lines, Setup::new(0).lanes(2), dir.path());
    let to = front.address();
    let mut callers = [Callers::tcp(to, CONNECTIONS as usize), Callers::websocket(to, CONNECTIONS as usize)];
    callers.iter_mut().for_each(|callers| callers.call(by, EACH));
    front.crash();
    front.start_again();
    wait_until_called(&front);
    // A server that does not have the call answers 481.
    callers.iter_mut().for_each(Callers::hang_up_on_new_connections);
    let reasons = ["proxied", "in-dialog", "identified"].map(|reason| forwarded(&front, reason));
    assert_eq!(reasons, [0, 0, 2 * CONNECTIONS * EACH]);
}

#[test]
fn dialogs_that_stand_over_a_restart_end_at_their_systems_by_the_identifier_in_their_routes() {
    dialogs_over_a_restart(By::Routes, "");
}

#[test]
fn dialogs_that_stand_over_a_restart_end_at_their_systems_by_the_extension_header() {
    dialogs_over_a_restart(By::Header, "identifier = true");
}

/// Calls of each kind to two systems, each message by way of the dispatcher.
fn calls_of_every_kind<S>(pool: &str, system: impl Fn(SocketAddr, &Path) -> S, each: u64, pace: &[&str]) {
    let (dir, addresses) = (dir(), addresses());
    let _systems = addresses.map(|address| system(address, dir.path()));
    // Of two lanes that read datagrams beside each other, a re-INVITE right after its ACK may overtake it.
    let front = in_front_of(&addresses, pool, "", Setup::new(0).lanes(1), dir.path());
    for transport in ["u1", "t1"] {
        for kind in Kind::ALL {
            place_over(transport, Way::Routed, kind, (each, pace), &front, dir.path());
        }
    }
    let reasons = ["proxied", "record-routed"].map(|reason| forwarded(&front, reason));
    // An INVITE each. ACK and BYE of three kinds, a re-INVITE with its ACK of two of them, and PRACK of the third. A
    // 2xx that comes again to a busy caller has another ACK.
    assert!(reasons[0] == 2 * 5 * each && reasons[1] >= 2 * 11 * each, "{reasons:?}");
}

#[test]
fn calls_of_every_kind_go_by_way_of_the_dispatcher_to_systems_on_sofia() {
    calls_of_every_kind(ROUND_ROBIN, sofia, FEW / 10, FAST);
}

#[test]
fn calls_of_every_kind_go_by_way_of_the_dispatcher_to_systems_on_pjsip() {
    if lacks_pjsip() {
        return;
    }
    calls_of_every_kind(ROUND_ROBIN, pjsip, EACH_OF_PJSIP, AS_PJSIP_CAN);
}

#[test]
fn calls_of_every_kind_go_by_way_of_the_dispatcher_to_kamailios() {
    calls_of_every_kind(&format!("{ROUND_ROBIN}\nrewrite-uri = true"), kamailio, FEW / 10, FAST);
}
