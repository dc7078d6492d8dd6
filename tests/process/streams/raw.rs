//! Peers that no library lets one be: a script of Python's that writes their bytes itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::support::own_address;

/// Everything that the script says, in its order.
const OUTCOMES: &str = "\
reads-nothing is not read
beside-the-deaf 200
beside-the-greedy 200
half-hello ended in time
half-upgrade ended in time
half-hello-on-wss-0 ended in time
half-hello-on-wss-1 ended in time
half-hello-on-wss-2 ended in time
half-hello-on-wss-3 ended in time
byte-by-byte ended in time
length-missing 400 ended
length-negative 400 ended
length-twice 400 ended
length-65536 513 ended
length-twice-the-same 200 ended
head-without-end nothing ended
97-fields nothing ended
tls-on-tcp nothing ended
http-on-tcp nothing ended
keepalive-flood nothing ended
sip-on-ws 400 ended
tls-on-ws 400 ended
post-on-ws 400 ended
wrong-subprotocol 400 ended
wrong-origin 403 ended
cookies-without-end 400 ended
unmasked 1002 ended
large-frame 1009 ended
frame-of-2-to-63 1009 ended
large-message 1009 ended
million-empty-fragments 1008 ended
million-pings 1008 ended
million-pongs 1008 ended
million-line-ends 1008 ended
invalid-utf8 1007 ended
no-sip 1008 ended
two-messages-in-one 400 1008 ended
wrong-length 400 1008 ended
second-upgrade 1002 ended
continuation-of-nothing 1002 ended
begin-within-a-message 1002 ended
ping-of-126 1002 ended
ping-in-pieces 1002 ended
reserved-bit 1002 ended
reserved-opcode 1002 ended
close 1000 ended
close-of-one-byte 1002 ended
good 200 1000 ended
garbage-on-tls alert 50 ended
sip-on-tls alert 50 ended
http-on-wss alert 50 ended
tls-1.0 alert 40 ended
tls-1.1 alert 40 ended
hello-of-64-kib alert 0 ended
length-negative-in-tls 400 ended
end-of-tls answered
";

/// A script that says what happens, killed when the test gives up.
pub struct Script(Child);

impl Script {
    pub fn start(name: &str, words: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/streams").join(name);
        let script = Command::new("python3").arg(path).args(words).stdout(Stdio::piped()).spawn();
        Script(script.expect("python3 is installed"))
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Everything that it has said.
    pub fn said(mut self) -> String {
        std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kilobytes of memory that a process has.
fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn peers_that_break_the_rules_are_closed_for_their_reason_and_disturb_no_other() {
    let setup = Setup::new(2);
    let (ws, wss) = (format!("ws:{}:5080", setup.ip), format!("wss:{}:5081", setup.ip));
    let lines = "max-connections-per-source = 200\norigins = [\"https://phone.example\"]";
    let rig = Rig::with(setup.with(["--listen", &ws, "--listen", &wss]), lines);
    let mut honest = rig.line(true);
    let answered = honest.call(rig.tls, "before").unwrap();
    let (pid, uri) = (rig.pointsman.pid(), format!("sip:service@{}", rig.tls));
    honest.bye(&answered, &uri).unwrap();
    let before = memory(pid);
    let [host, peers, greedy] = [rig.tcp.ip(), own_address().into(), own_address().into()].map(|ip| ip.to_string());
    let [tcp, tls] = [rig.tcp, rig.tls].map(|address| address.port().to_string());
    let mut script = Script::start("raw.py", &[&host, &peers, &greedy, &tcp, &tls, "5080", "5081"]);
    let (mut calls, mut most) = (0, before);
    while script.is_running() {
        let answered = honest.call(rig.tls, &format!("honest-{calls}")).unwrap();
        assert!(honest.bye(&answered, &uri).unwrap().starts_with("SIP/2.0 200"));
        (calls, most) = (calls + 1, most.max(memory(pid)));
    }
    assert_eq!(script.said(), OUTCOMES);
    assert!(calls > 100 && most < before + (32 << 10), "{calls} calls, {before} kB grew to {most} kB");
    let expected = json!({
        "no-content-length": 1, "content-length": 5, "message-too-large": 1, "head-too-large": 2, "not-sip": 4,
        "keepalive-flood": 1, "slow-message": 1, "slow-handshake": 6, "too-many-of-source": 19_801,
        "tls-garbage": 3, "tls-misbehaved": 1, "tls-version": 2,
        "ws-upgrade": 4, "ws-subprotocol": 1, "ws-origin": 1, "ws-protocol": 8, "ws-unmasked": 1, "ws-too-large": 3,
        "ws-utf8": 1, "ws-fragments": 1, "ws-flood": 3,
    });
    // The last ones end a moment after their peers have seen it.
    let mut closed = Value::Null;
    wait_for("the end of all but one", DEADLINE, || {
        closed = rig.pointsman.stats("counters")["connections"].clone();
        (closed["open"] == 1).then_some(())
    });
    let reasons = closed["closed"]["reasons"].as_object_mut().unwrap();
    // How a peer ends that has lost interest is its own affair.
    for reason in ["ended", "broken", "closed", "reads-nothing"] {
        reasons.remove(reason);
    }
    assert_eq!(closed["closed"]["reasons"], expected);
}
