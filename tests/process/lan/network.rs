//! A worker in a network namespace of its own, at the far end of a wire that loses packets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Load, pids, states, wait_until_up};
use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::lan::{PORT, Site};
use crate::support::{DEADLINE, own_address, pass_over_outside_ci, wait_for};

/// Another host, with one wire to this one. Dropped, it and its wire are gone.
struct Host {
    holder: Child,
    here: IpAddr,
    there: IpAddr,
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| error.to_string())?;
    let said = || format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said()) }
}

impl Host {
    /// The other host; the reason why there can be none on this machine.
    fn new() -> Result<Self, String> {
        let holder = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let holder = holder.map_err(|error| error.to_string())?;
        let [_, _, high, low] = own_address().octets();
        // A network of four addresses for each test.
        let [here, there] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, high, low, last)));
        let host = Host { holder, here, there };
        let pid = host.holder.id().to_string();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let mut tries = 0;
        while namespace(&pid) == namespace("self") {
            tries += 1;
            if tries > 1_000 {
                return Err("no network namespace can be made".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let (near, far) = (format!("pm{high}x{low}"), "wire");
        run(&["ip", "link", "add", &near, "type", "veth", "peer", "name", far, "netns", &pid])?;
        run(&["ip", "address", "add", &format!("{here}/30"), "dev", &near])?;
        run(&["ip", "link", "set", &near, "up"])?;
        host.run(&["ip", "address", "add", &format!("{there}/30"), "dev", far])?;
        host.run(&["ip", "link", "set", "lo", "up"])?;
        host.run(&["ip", "link", "set", far, "up"])?;
        host.run(&["nft", "add table inet wire; add chain inet wire in { type filter hook input priority 0; }"])?;
        Ok(host)
    }

    /// The command in front of one that runs there.
    fn enter(&self) -> [String; 4] {
        ["nsenter".to_owned(), "--net".to_owned(), "--target".to_owned(), self.holder.id().to_string()]
    }

    fn run(&self, words: &[&str]) -> Result<(), String> {
        let enter = self.enter();
        let words: Vec<&str> = enter.iter().map(String::as_str).chain(words.iter().copied()).collect();
        run(&words)
    }

    /// Treatment of packets that come to it.
    fn filter(&self, rule: &str) {
        self.run(&["nft", &format!("flush chain inet wire in; add rule inet wire in {rule}")]).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_worker_behind_a_wire_that_loses_a_packet_in_a_thousand_loses_no_call_also_when_it_is_cut_for_five_seconds() {
    let host = match Host::new() {
        Ok(host) => host,
        Err(why) => return pass_over_outside_ci(&format!("no other host can be made: {why}")),
    };
    let site = Site::new(host.here, &[]);
    // One of its own takes the calls while the other cannot be reached.
    let pointsman = site.setup(1, "").with(["--policy", "round-robin", "--slow-start", "0s"]).start();
    let at = SocketAddr::new(host.here, PORT);
    site.certify("media1");
    let _worker = site.start_by(&host.enter(), "media1", at, &[host.there]);
    wait_until_up(&pointsman, 2);
    host.filter("numgen random mod 1000 == 0 drop");
    let plan = Plan {
        pace: Pace::Rate(1_000.0),
        until: Until::Calls(10_000),
        hold: Some(Duration::from_millis(100)),
        ..Plan::new(pointsman.address())
    };
    let outcome = Generator::new(plan).unwrap().run().clone();
    println!(
        "INVITE to 2xx p50 {} µs, most {} µs; {} INVITEs and {} BYEs again",
        outcome.latency.value_at_quantile(0.5),
        outcome.latency.max(),
        outcome.invites_again,
        outcome.byes_again
    );
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed, outcome.second_answers), (10_000, 10_000, 0));
    let before = pids(&pointsman);
    let load = Load::begin(&pointsman, 200.0);
    load.wait_for_more(200);
    host.filter("drop");
    std::thread::sleep(Duration::from_secs(5));
    host.filter("numgen random mod 1000 == 0 drop");
    wait_for("the worker to be up again", DEADLINE, || (states(&pointsman.load()) == ["up", "up"]).then_some(()));
    load.wait_for_more(400);
    load.end();
    assert_eq!(pids(&pointsman), before);
    assert!(!pointsman.log().contains("died"), "{}", pointsman.log());
}
