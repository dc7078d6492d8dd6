//! Servers of other projects as downstream proxies: on Sofia-SIP (FreeSWITCH's stack), sipp, and Pointsman itself.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};

use super::*;

/// Calls of each test.
const FEW: u64 = 1_000;

/// A server, killed when the test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/proxies")
}

/// A server of sipp's that follows a scenario of ours.
fn sipp(scenario: &str, address: SocketAddr) -> Server {
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(folder().join(scenario)).args(["-i", &address.ip().to_string()]);
    // Two of them must not want the same port for media.
    let media = 30_000 + 10 * (address.port() % 100);
    command.args(["-p", &address.port().to_string(), "-mp", &media.to_string(), "-nostdin"]);
    command.args(["-buff_size", "4194304"]).current_dir(std::env::temp_dir());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(child.expect("sipp is installed"));
    support::wait_for("the server's socket", support::DEADLINE, || {
        std::net::UdpSocket::bind(address).is_err().then_some(())
    });
    server
}

/// A server on Sofia-SIP, compiled here, that does `answer` its calls, or lets them `ring`.
fn sofia(address: SocketAddr, does: &str, dir: &Path) -> Server {
    let flags = Command::new("pkg-config").args(["--cflags", "--libs", "sofia-sip-ua"]).output().unwrap();
    let flags = String::from_utf8(flags.stdout).unwrap();
    let program = dir.join(format!("sofia-{}", address.port()));
    let mut compiler = Command::new("gcc");
    compiler.arg("-w").arg("-o").arg(&program).arg(folder().join("sofia.c")).args(flags.split_whitespace());
    assert!(compiler.status().unwrap().success(), "libsofia-sip-ua-dev is installed");
    let mut command = Command::new(program);
    command.arg(format!("sip:{address}")).arg(does).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Server(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "up");
    server
}

/// A dispatcher in front of these servers, in this mode, without workers.
fn in_front(mode: &str, servers: &[SocketAddr], dir: &Path) -> Pointsman {
    let mut text = format!("[[pool]]\nname = \"default\"\nmode = \"{mode}\"\npolicy = \"round-robin\"\n");
    for (number, address) in servers.iter().enumerate() {
        text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"sip:{address}\"\n");
    }
    let file = dir.join(format!("{mode}.toml"));
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

fn file(name: &str) -> std::path::PathBuf {
    if name == "follow_contact.xml" { folder().join("..").join(name) } else { folder().join(name) }
}

/// Nothing of a call passes the dispatcher but the request that begins it and its responses.
#[track_caller]
fn only_invites_passed(front: &Pointsman) {
    let (forwarded, responses) = (front.dispatcher("forwarded"), front.dispatcher("responses"));
    let counters = front.stats("counters");
    assert!((FEW..FEW + FEW / 10).contains(&forwarded) && responses >= FEW, "{}", counters["received"]);
    // In mode `stateful` the provisional 100 of a server ends at the dispatcher (RFC 3261 §16.7 step 5).
    let here = front.dispatcher("replied") + front.dispatcher("dropped");
    assert_eq!(front.dispatcher("received"), forwarded + responses + here);
}

fn calls_to_servers_on_sofia(mode: &str) {
    let (dir, [one, other]) = (dir(), addresses());
    // A server of sipp's would answer a BYE to the address that its call came from, whatever the Via says.
    let _servers = [one, other].map(|address| sofia(address, "answer", dir.path()));
    let front = in_front(mode, &[one, other], dir.path());
    place_so_many(FEW, &front, &Scenario::File(&file("follow_contact.xml")), "u1");
    only_invites_passed(&front);
}

#[test]
fn calls_to_servers_on_sofia_bypass_the_dispatcher_after_their_answer() {
    calls_to_servers_on_sofia("proxy");
}

#[test]
fn calls_with_state_to_servers_on_sofia_bypass_the_dispatcher_after_their_answer() {
    calls_to_servers_on_sofia("stateful");
}

fn a_pointsman_in_front_of_pointsmen(mode: &str) {
    let (dir, servers) = (dir(), [Setup::new(2).start(), Setup::new(2).start()]);
    let front = in_front(mode, &servers.each_ref().map(Pointsman::address), dir.path());
    place_so_many(FEW, &front, &Scenario::File(&file("follow_contact.xml")), "u1");
    only_invites_passed(&front);
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

fn a_client_that_ignores_contact(mode: &str) {
    let (dir, [one, other]) = (dir(), addresses());
    let _servers = [sipp("server.xml", one), sipp("server.xml", other)];
    let front = in_front(mode, &[one, other], dir.path());
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

fn calls_that_are_cancelled(mode: &str) {
    let (dir, [one, other]) = (dir(), addresses());
    let _servers = [one, other].map(|address| sofia(address, "ring", dir.path()));
    let front = in_front(mode, &[one, other], dir.path());
    place_so_many(FEW, &front, &Scenario::File(&file("cancelling.xml")), "u1");
}

#[test]
fn calls_that_are_cancelled_while_they_ring_end_at_their_server() {
    calls_that_are_cancelled("proxy");
}

#[test]
fn calls_with_state_that_are_cancelled_while_they_ring_end_at_their_server() {
    calls_that_are_cancelled("stateful");
}

#[test]
fn redirected_callers_call_the_server_that_the_302_names_first() {
    let (dir, [one, other]) = (dir(), addresses());
    let _servers = [sofia(one, "answer", dir.path()), sipp("server.xml", other)];
    let front = in_front("redirect", &[one, other], dir.path());
    place_so_many(FEW, &front, &Scenario::File(&file("redirected.xml")), "u1");
    assert!(front.dispatcher("replied") >= FEW);
    assert_eq!(front.dispatcher("forwarded"), 0);
}

#[test]
fn calls_with_state_go_to_the_server_that_lives_when_the_other_is_gone() {
    let (dir, [one, other]) = (dir(), addresses());
    let _server = sofia(one, "answer", dir.path());
    let front = in_front("stateful", &[other, one], dir.path());
    place_so_many(FEW, &front, &Scenario::File(&file("follow_contact.xml")), "u1");
}
