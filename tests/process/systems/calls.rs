//! sipp as systems, one of which is killed under calls.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::{PROMPT, own_address, pass_over_outside_ci};

/// A process of sipp's. It ends with this value.
struct Sipp(Child);

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether sipp is missing.
fn lacks_sipp() -> bool {
    let lacks = Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err();
    if lacks {
        pass_over_outside_ci("sipp is not installed (apt-get install sip-tester)");
    }
    lacks
}

const ANSWER: &str = "[last_Via:]
      [last_From:]
      [last_To:];tag=s[pid]-[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      [last_Record-Route:]
      Contact: <sip:[local_ip]:[local_port];transport=tcp>
      Content-Length: 0
";

/// A system: it rings, answers, and waits for the BYE. It answers OPTIONS.
fn system() -> String {
    let tagged = ANSWER.replace(";tag=s[pid]-[call_number]", "");
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="system">
  <recv request="OPTIONS" optional="true" next="1"/>
  <recv request="INVITE" rrs="true"/>
  <send><![CDATA[
      SIP/2.0 180 Ringing
      {ANSWER}
  ]]></send>
  <send retrans="500"><![CDATA[
      SIP/2.0 200 OK
      {ANSWER}
  ]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send next="2"><![CDATA[
      SIP/2.0 200 OK
      {tagged}
  ]]></send>
  <label id="1"/>
  <send><![CDATA[
      SIP/2.0 200 OK
      {ANSWER}
  ]]></send>
  <label id="2"/>
  <timewait milliseconds="200"/>
</scenario>
"#
    )
}

fn sipp(dir: &Path, scenario: &str, text: &str) -> Command {
    let file = dir.join(format!("{scenario}.xml"));
    fs::write(&file, text).unwrap();
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(file).args(["-nostdin", "-buff_size", "4194304", "-max_socket", "1000"]);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A system of sipp's at this address.
fn start_system(dir: &Path, address: SocketAddr) -> Sipp {
    let mut command = sipp(dir, &format!("system-{}", address.port()), &system());
    let media = 30_000 + 10 * (address.port() % 100);
    command.args(["-t", "t1", "-i", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-mp", &media.to_string()]);
    Sipp(command.spawn().unwrap())
}

/// Four systems of sipp's, and a dispatcher in front of them.
struct Rig {
    front: Front,
    addresses: Vec<SocketAddr>,
    systems: Vec<Sipp>,
    dir: tempfile::TempDir,
}

impl Rig {
    fn start(lanes: usize, policy: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-systems-").tempdir().unwrap();
        let ip = own_address();
        let addresses: Vec<SocketAddr> = (0..4).map(|number| SocketAddr::from((ip, 5_080 + number))).collect();
        let systems = addresses.iter().map(|address| start_system(dir.path(), *address)).collect();
        for address in &addresses {
            wait_for("sipp", DEADLINE, || std::net::TcpStream::connect(address).ok());
        }
        let pool = format!("[[pool]]\nname = \"default\"\npolicy = \"{policy}\"\n");
        let front = start(&(pool + &settings(&addresses, "")), lanes);
        let rig = Rig { front, addresses, systems, dir };
        (0..4).for_each(|number| rig.wait_until_called(number));
        rig
    }

    /// Waits until a system is up and gets calls, or may.
    fn wait_until_called(&self, number: usize) {
        self.front.wait_until(&format!("s{number}"), "to get calls", |row| row["weight"].as_u64() > Some(0));
    }

    fn calls(&self, number: usize) -> u64 {
        self.front.row(&format!("s{number}"))["calls"].as_u64().unwrap()
    }
}

#[test]
fn each_accepted_call_is_answered_while_a_system_is_killed_and_started_again() {
    if lacks_sipp() {
        return;
    }
    for (connections, policy, rate) in [(0, "round-robin", 500.0), (4, "round-robin", 500.0), (0, "latency", 50.0)] {
        let mut rig = Rig::start(1, policy);
        let plan = Plan {
            pace: Pace::Rate(rate),
            connections,
            at_most: 2_000,
            until: Until::Stopped,
            hold: Some(Duration::from_millis(300)),
            ..Plan::new(rig.front.pointsman.address())
        };
        let mut generator = Generator::new(plan).unwrap();
        let progress = generator.progress();
        let load = std::thread::spawn(move || generator.run().clone());
        let more = |calls| {
            let before = progress.answered();
            wait_for("more calls", DEADLINE, || (progress.answered() >= before + calls).then_some(()));
        };
        more(rate as u64);
        rig.systems[0].0.kill().unwrap();
        let killed = Instant::now();
        rig.systems[0].0.wait().unwrap();
        rig.front.wait_until("s0", "to get nothing new", |row| row["weight"] == 0);
        let alone = killed.elapsed();
        let before = rig.calls(0);
        more(rate as u64 / 2);
        assert_eq!(rig.calls(0), before, "it is dead and gets calls");
        rig.systems[0] = start_system(rig.dir.path(), rig.addresses[0]);
        wait_for("sipp again", DEADLINE, || std::net::TcpStream::connect(rig.addresses[0]).ok());
        let back = Instant::now();
        rig.front.wait_until("s0", "to get calls again", |row| row["calls"].as_u64() > Some(before));
        let again = back.elapsed();
        more(rate as u64 / 2);
        progress.stop();
        let outcome = load.join().unwrap();
        println!(
            "{connections} connections, {policy}: {} calls; passed by {alone:?} after its death, used {again:?} after its return; {:?}",
            outcome.started, outcome.failures
        );
        assert!(alone < PROMPT && again < PROMPT);
        // Those that rang, or were answered, when it died. Each has a final response.
        let is_answered =
            |failure: &String| failure == "INVITE 503" || failure.starts_with("BYE ") && failure.len() == 7;
        assert!(outcome.failures.keys().all(is_answered), "{:?}", outcome.failures);
        assert!(outcome.failed("INVITE") < 50, "{:?}", outcome.failures);
        assert_eq!(outcome.second_answers, 0);
    }
}
