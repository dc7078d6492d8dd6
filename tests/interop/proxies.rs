//! Servers of other projects as downstream proxies: on Sofia-SIP (FreeSWITCH's and drachtio's stack), on pjsip
//! (Asterisk's), Kamailio, sipp, and Pointsman itself.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};

use super::*;
use scenario::{Kind, Way};

mod capture;
mod scenario;
mod secure;
mod systems;

/// Calls of each test.
const FEW: u64 = 1_000;

/// A server, killed when the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        support::proc::kill_all(&support::proc::children(self.0.id()));
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(command: &mut Command) -> Server {
        let child = command.stdin(Stdio::null()).spawn();
        Server(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// One that says `up` when it can be called.
    fn says_up(command: &mut Command) -> Server {
        let mut server = Server::start(command.stdout(Stdio::piped()));
        let lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
        // pjsip says more before it.
        assert!(lines.map_while(Result::ok).any(|line| line == "up"), "{command:?}");
        server
    }

    /// One that can be called when its socket is bound.
    fn binds(command: &mut Command, address: SocketAddr) -> Server {
        let server = Server::start(command.stdout(Stdio::null()));
        support::wait_for("the server's socket", support::DEADLINE, || is_bound(address).then_some(()));
        server
    }
}

/// Whether a UDP socket has this address, as the kernel lists it: an attempt to bind one would take it from the server.
fn is_bound(address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else { panic!("the list has other addresses: {address}") };
    let listed = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port());
    let sockets = fs::read_to_string("/proc/net/udp").unwrap();
    sockets.lines().any(|line| line.split_whitespace().nth(1) == Some(&listed))
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/proxies")
}

/// A server of sipp's.
fn sipp(address: SocketAddr, dir: &Path) -> Server {
    let scenario = dir.join("server.xml");
    fs::write(&scenario, scenario::server()).unwrap();
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(scenario).args(["-i", &address.ip().to_string()]);
    // Two of them must not want the same port for media.
    let media = 30_000 + 10 * (address.port() % 100);
    command.args(["-p", &address.port().to_string(), "-mp", &media.to_string(), "-nostdin"]);
    command.args(["-buff_size", "4194304"]).current_dir(dir);
    Server::binds(&mut command, address)
}

/// A server on Sofia-SIP.
fn sofia(address: SocketAddr, dir: &Path) -> Server {
    Server::says_up(sofia_of(address.port(), dir).arg(format!("sip:{address}")))
}

/// The program of a server on Sofia-SIP at this port, compiled here.
fn sofia_of(port: u16, dir: &Path) -> Command {
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "sofia-sip-ua"]).output().unwrap();
    let flags = String::from_utf8(flags.stdout).unwrap();
    let program = dir.join(format!("sofia-{port}"));
    let mut compiler = Command::new("gcc");
    compiler.arg("-w").arg("-o").arg(&program).arg(folder().join("sofia.c")).args(flags.split_whitespace());
    assert!(compiler.status().unwrap().success(), "libsofia-sip-ua-dev is installed");
    Command::new(program)
}

/// A server on pjsip.
fn pjsip(address: SocketAddr, dir: &Path) -> Server {
    let mut command = Command::new("python3");
    command.arg(folder().join("pjsip.py")).args([address.ip().to_string(), address.port().to_string()]);
    Server::says_up(command.current_dir(dir))
}

/// Whether pjsip is missing, which there is no package of.
fn lacks_pjsip() -> bool {
    let knows = Command::new("python3").args(["-c", "import pjsua2"]).stderr(Stdio::null()).status();
    let lacks = !knows.is_ok_and(|status| status.success());
    if lacks {
        support::pass_over_outside_ci("pjsua2 is not installed (pip install pjsua2-python)");
    }
    lacks
}

/// A Kamailio that relays to a server of sipp's ten ports further on.
fn kamailio(address: SocketAddr, dir: &Path) -> [Server; 2] {
    let behind = SocketAddr::new(address.ip(), address.port() + 10);
    let run = dir.join(format!("kamailio-{}", address.port()));
    fs::create_dir(&run).unwrap();
    let mut command = Command::new("kamailio");
    command.arg("-DD").arg("-f").arg(folder().join("kamailio.cfg")).args(["-m", "64", "-M", "8"]);
    for define in
        [format!("ADDRESS=udp:{address}"), format!("METRICS=tcp:{address}"), format!("SERVER=\"sip:{behind}\"")]
    {
        command.args(["-A", &define]);
    }
    command.arg("-P").arg(run.join("pid")).arg("-Y").arg(&run).arg("-w").arg(&run);
    [sipp(behind, dir), Server::binds(&mut command, address)]
}

/// A dispatcher in front of these servers, with these lines in its pool, without workers.
fn in_front(pool: &str, servers: &[SocketAddr], dir: &Path) -> Pointsman {
    let mut text = format!("[[pool]]\nname = \"default\"\npolicy = \"round-robin\"\n{pool}\n");
    for (number, address) in servers.iter().enumerate() {
        text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"sip:{address}\"\n");
    }
    let file = dir.join("front.toml");
    fs::write(&file, text).unwrap();
    Setup::new(0).with(["--config", &file.display().to_string()]).start()
}

fn dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pm-proxies-").tempdir().unwrap()
}

/// Two addresses for servers.
fn addresses() -> [SocketAddr; 2] {
    let ip: IpAddr = own_address().into();
    [6_501, 6_502].map(|port| SocketAddr::new(ip, port))
}

/// Places calls of one kind.
fn place(kind: Kind, calls: u64, pace: &[&str], front: &Pointsman, dir: &Path) {
    place_over("u1", Way::Direct, kind, (calls, pace), front, dir);
}

/// The same over another transport of sipp's.
fn place_over(transport: &str, way: Way, kind: Kind, (calls, pace): (u64, &[&str]), front: &Pointsman, dir: &Path) {
    let file = dir.join(format!("{}.xml", kind.user()));
    fs::write(&file, scenario::caller(kind, way)).unwrap();
    place_with(pace, calls, front, &Scenario::File(&file), transport);
}

/// A server that loses an ACK in its socket refuses the re-INVITE after it, so that calls must not outrun a busy
/// machine.
const FAST: &[&str] = &["-r", "200"];

/// Nothing of a call passes the dispatcher but the request that begins it, its responses, CANCEL, and the ACK to a
/// final response that is no 2xx: no message of a dialog.
#[track_caller]
fn no_message_of_a_dialog_passed(front: &Pointsman, calls: u64) {
    let counters = front.stats("counters");
    let reasons = counters["received"]["reasons"].as_object().unwrap();
    let mut seen: Vec<_> = reasons.iter().map(|(reason, count)| (reason.as_str(), count.as_u64().unwrap())).collect();
    seen.retain(|(_, count)| *count > 0);
    let of = |names: &[&str]| seen.iter().filter(|(name, _)| names.contains(name)).map(|(_, count)| count).sum::<u64>();
    assert_eq!(of(&["proxied", "redirected"]), calls, "{seen:?}");
    // A busy machine makes its peers send some again.
    let known = ["proxied", "redirected", "branch", "ack", "own-ack", "cancel", "retransmission"];
    assert_eq!(of(&known), counters["received"]["total"].as_u64().unwrap(), "{seen:?}");
}

/// Calls of each kind, through a dispatcher with this in its pool, to two servers.
fn calls_of_every_kind<S>(pool: &str, server: impl Fn(SocketAddr, &Path) -> S, each: u64, pace: &[&str]) {
    let (dir, addresses) = (dir(), addresses());
    let _servers = addresses.map(|address| server(address, dir.path()));
    let front = in_front(pool, &addresses, dir.path());
    for kind in Kind::ALL {
        place(kind, each, pace, &front, dir.path());
    }
    no_message_of_a_dialog_passed(&front, 5 * each);
}

#[test]
fn calls_of_every_kind_are_proxied_to_servers_on_sofia() {
    calls_of_every_kind("mode = \"proxy\"", sofia, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_proxied_with_state_to_servers_on_sofia() {
    calls_of_every_kind("mode = \"stateful\"", sofia, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_redirected_to_servers_on_sofia() {
    calls_of_every_kind("mode = \"redirect\"", sofia, FEW / 5, FAST);
}

/// pjsip opens two sockets for the media of a call, keeps them for 500 ms after it, and ends with an assertion when it
/// has more than 64.
const AS_PJSIP_CAN: &[&str] = &["-r", "50", "-l", "10"];
/// Calls of each kind that take a few seconds at that rate.
const EACH_OF_PJSIP: u64 = 40;

#[test]
fn calls_of_every_kind_are_proxied_to_servers_on_pjsip() {
    if lacks_pjsip() {
        return;
    }
    calls_of_every_kind("mode = \"proxy\"", pjsip, EACH_OF_PJSIP, AS_PJSIP_CAN);
}

#[test]
fn calls_of_every_kind_are_proxied_with_state_to_servers_on_pjsip() {
    if lacks_pjsip() {
        return;
    }
    calls_of_every_kind("mode = \"stateful\"", pjsip, EACH_OF_PJSIP, AS_PJSIP_CAN);
}

#[test]
fn calls_of_every_kind_are_redirected_to_servers_on_pjsip() {
    if lacks_pjsip() {
        return;
    }
    calls_of_every_kind("mode = \"redirect\"", pjsip, EACH_OF_PJSIP, AS_PJSIP_CAN);
}

#[test]
fn calls_of_every_kind_are_proxied_to_servers_of_sipp() {
    calls_of_every_kind("mode = \"proxy\"", sipp, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_proxied_with_state_to_servers_of_sipp() {
    calls_of_every_kind("mode = \"stateful\"", sipp, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_redirected_to_servers_of_sipp() {
    calls_of_every_kind("mode = \"redirect\"", sipp, FEW / 5, FAST);
}

// This Kamailio takes for its own what names its address.

#[test]
fn calls_of_every_kind_are_proxied_to_kamailios_by_their_own_addresses() {
    calls_of_every_kind("mode = \"proxy\"\nrewrite-uri = true", kamailio, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_proxied_with_state_to_kamailios_by_their_own_addresses() {
    calls_of_every_kind("mode = \"stateful\"\nrewrite-uri = true", kamailio, FEW / 5, FAST);
}

#[test]
fn calls_of_every_kind_are_redirected_to_kamailios() {
    calls_of_every_kind("mode = \"redirect\"", kamailio, FEW / 5, FAST);
}

/// The lines of README about a server's load, for one at this address.
fn lines_of_readme(name: &str, written: &str, address: SocketAddr) -> String {
    let (_, rest) = include_str!("../../README.md").split_once(&format!("\nname = \"{name}\"\n")).unwrap();
    let lines: Vec<&str> = rest.lines().take_while(|line| line.contains(" = ")).collect();
    format!("[[proxy]]\nname = \"{name}\"\n{}\n", lines.join("\n").replace(written, &address.to_string()))
}

#[test]
fn the_dialogs_of_a_kamailio_are_its_load_by_the_lines_of_the_readme() {
    let (dir, [address, _]) = (dir(), addresses());
    let _servers = kamailio(address, dir.path());
    let file = dir.path().join("front.toml");
    fs::write(&file, lines_of_readme("kamailio", "192.0.2.32:5060", address)).unwrap();
    let front = Setup::new(0).with(["--config", &file.display().to_string()]).start();
    // A call that the dispatcher has not seen.
    let phone = support::phone::Phone::new(address.ip());
    phone.call(&phone.invite(address, None), address);
    support::wait_for("a dialog of Kamailio in the stats", support::DEADLINE, || {
        let row = front.stats("proxies")["proxies"][0].clone();
        (row["used"] == 1 && row["load"] == 0.005).then_some(())
    });
}

/// Workers answer every call: only the caller sends a re-INVITE and hangs up.
fn a_pointsman_in_front_of_pointsmen(mode: &str) {
    let (dir, servers) = (dir(), [Setup::new(2).start(), Setup::new(2).start()]);
    let addresses = servers.each_ref().map(Pointsman::address);
    let front = in_front(&format!("mode = \"{mode}\""), &addresses, dir.path());
    place(Kind::Answer, FEW, FAST, &front, dir.path());
    no_message_of_a_dialog_passed(&front, FEW);
    let [one, other] = servers.each_ref().map(|server| server.dispatcher("handed_over"));
    assert!(one >= FEW / 2 - 50 && other >= FEW / 2 - 50, "{one} and {other}");
}

#[test]
fn a_pointsman_in_front_of_pointsmen_proxies_their_calls() {
    a_pointsman_in_front_of_pointsmen("proxy");
}

#[test]
fn a_pointsman_with_state_in_front_of_pointsmen_proxies_their_calls() {
    a_pointsman_in_front_of_pointsmen("stateful");
}

#[test]
fn a_pointsman_in_front_of_pointsmen_redirects_their_calls() {
    a_pointsman_in_front_of_pointsmen("redirect");
}

fn a_client_that_ignores_contact(mode: &str) {
    let (dir, addresses) = (dir(), addresses());
    let _servers = addresses.map(|address| sipp(address, dir.path()));
    let front = in_front(&format!("mode = \"{mode}\""), &addresses, dir.path());
    place_so_many(FEW, &front, &Scenario::BuiltIn("uac"), "u1");
    assert!(front.dispatcher("forwarded") >= 3 * FEW);
}

#[test]
fn a_client_that_ignores_contact_has_its_whole_call_proxied_to_one_server() {
    a_client_that_ignores_contact("proxy");
}

#[test]
fn a_client_that_ignores_contact_has_its_whole_call_proxied_with_state_to_one_server() {
    a_client_that_ignores_contact("stateful");
}

#[test]
fn calls_with_state_go_to_the_server_that_lives_when_the_other_is_gone() {
    let (dir, [one, other]) = (dir(), addresses());
    let _server = sofia(one, dir.path());
    let front = in_front("mode = \"stateful\"", &[other, one], dir.path());
    place(Kind::Answer, FEW / 5, &["-r", "50"], &front, dir.path());
}
