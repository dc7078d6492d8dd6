//! Softphones behind a NAT: two network namespaces, and a third between them that masquerades with ports at random, so
//! that a caller is seen at another port by each port of ours.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};

use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, pass_over_outside_ci};

/// Our address, which the telephone reaches through the NAT.
const OURS: &str = "203.0.113.1";

/// A network namespace, as long as the process in it lives.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Self, String> {
        let child = Command::new("unshare").args(["-n", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Ok(Namespace(child.map_err(|error| format!("unshare: {error}"))?))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// A command that runs in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n", program]);
        command
    }

    /// Runs lines of a shell in it.
    fn shell(&self, lines: &str) -> Result<(), String> {
        run(self.command("sh").args(["-ec", lines]))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

/// The networks of a test: this thread's own, that of the NAT, and that of the telephone.
struct Networks {
    _nat: Namespace,
    phone: Namespace,
}

impl Networks {
    /// This thread, and the processes it starts, leave the network that it was in.
    fn new() -> Result<Self, String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network namespace: {error}"))?;
        let (nat, phone) = (Namespace::new()?, Namespace::new()?);
        let ours = format!(
            "ip link set lo up; ip link add outer type veth peer name out netns {nat}
             ip addr add {OURS}/24 dev outer; ip link set outer up
             ip link add inner netns {nat} type veth peer name eth0 netns {phone}",
            nat = nat.pid(),
            phone = phone.pid()
        );
        // `unshare` has to have come so far that there is a namespace to put something into.
        let begin = Instant::now();
        while is_same_network(&nat)? || is_same_network(&phone)? {
            if begin.elapsed() > DEADLINE {
                return Err("`unshare -n` makes no network namespace".to_owned());
            }
            thread::yield_now();
        }
        run(Command::new("sh").args(["-ec", &ours]))?;
        nat.shell(
            "ip addr add 203.0.113.2/24 dev out; ip addr add 192.168.7.1/24 dev inner
             ip link set lo up; ip link set out up; ip link set inner up
             echo 1 > /proc/sys/net/ipv4/ip_forward
             nft add table ip nat
             nft 'add chain ip nat out { type nat hook postrouting priority 100 ; }'
             nft add rule ip nat out oifname out masquerade random",
        )?;
        phone.shell(
            "ip addr add 192.168.7.2/24 dev eth0; ip link set lo up; ip link set eth0 up
             ip route add default via 192.168.7.1",
        )?;
        Ok(Networks { _nat: nat, phone })
    }
}

fn is_same_network(namespace: &Namespace) -> Result<bool, String> {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).map_err(|error| error.to_string());
    Ok(of("thread-self")? == of(&namespace.pid())?)
}

/// A softphone.
struct Softphone {
    process: Child,
    orders: ChildStdin,
    said: Receiver<String>,
}

impl Softphone {
    /// It calls us.
    fn call(networks: &Networks, uri: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/pjsua.py");
        let mut command = networks.phone.command("python3");
        command.arg(program).arg(uri).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3 starts");
        let orders = process.stdin.take().expect("a pipe");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let (sender, said) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Softphone { process, orders, said }
    }

    /// Waits until it says that.
    fn waits_for(&self, what: &str) {
        let (begin, mut heard) = (Instant::now(), Vec::new());
        loop {
            let left = DEADLINE.saturating_sub(begin.elapsed());
            match self.said.recv_timeout(left) {
                Ok(line) if line == what => return,
                Ok(line) => heard.push(line),
                Err(_) => panic!("waited for {what:?}, heard {heard:#?}"),
            }
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it listens");
    }
}

impl Drop for Softphone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a test on a thread of its own, with networks of its own. Passes it over on a machine where there cannot be any,
/// or where the telephone is not installed; in CI that is a failure.
fn behind_a_nat(test: fn(&Networks)) {
    let knows_pjsua = Command::new("python3").args(["-c", "import pjsua2"]).stderr(Stdio::null()).status();
    let missing = match knows_pjsua {
        Ok(status) if status.success() => None,
        _ => Some("pjsua2 is not installed (pip install pjsua2-python)".to_owned()),
    };
    let why = match missing {
        None => thread::spawn(move || Networks::new().map(|networks| test(&networks))).join(),
        Some(why) => Ok(Err(why)),
    };
    match why {
        Ok(Ok(())) => {}
        Ok(Err(why)) => pass_over_outside_ci(&why),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn pointsman() -> Pointsman {
    let ip: IpAddr = OURS.parse().expect("an address");
    Setup { ip, ..Setup::new(2) }.start()
}

/// Whether nothing of any call but its INVITE, and copies of that, has come to the well-known port.
fn is_bypassed(pointsman: &Pointsman) -> bool {
    let relayed = &pointsman.stats("counters")["relayed"];
    relayed["total"] == relayed["reasons"]["retransmission"]
}

fn sessions(load: &serde_json::Value) -> u64 {
    load["workers"].as_array().into_iter().flatten().filter_map(|worker| worker["sessions"].as_u64()).sum()
}

#[test]
fn pjsua_behind_a_nat_talks_to_the_worker_alone_and_survives_the_dispatcher() {
    behind_a_nat(|networks| {
        let mut pointsman = pointsman();
        let mut phone = Softphone::call(networks, &format!("sip:{OURS}"));
        phone.waits_for("call CONFIRMED 200");
        pointsman.wait_until("the session", |load| sessions(load) == 1);
        assert_eq!((pointsman.dispatcher("handed_over"), pointsman.dispatcher("pinned")), (1, 0));
        assert!(is_bypassed(&pointsman), "{}", pointsman.stats("counters"));
        pointsman.crash();
        phone.order("reinvite");
        phone.waits_for("reinvite: INVITE 200");
        pointsman.start_again();
        pointsman.wait_until_up();
        pointsman.wait_until("the session", |load| sessions(load) == 1);
        assert_eq!(pointsman.dispatcher("received"), 0, "the re-INVITE went past it");
        // The worker's own BYE gets in through the NAT.
        pointsman.ask_to_stop();
        phone.waits_for("call DISCONNECTED 200");
    });
}

#[test]
fn the_bye_of_pjsua_behind_a_nat_needs_no_dispatcher() {
    behind_a_nat(|networks| {
        let mut pointsman = pointsman();
        let mut phone = Softphone::call(networks, &format!("sip:{OURS}"));
        phone.waits_for("call CONFIRMED 200");
        pointsman.crash();
        phone.order("hangup");
        phone.waits_for("call DISCONNECTED 200");
    });
}
