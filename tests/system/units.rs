//! The units as shipped, installed as the README says, under a real systemd.

use std::net::{SocketAddr, UdpSocket};
use std::process::Output;
use std::thread;
use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::machine::Machine;
use crate::support::phone::{Dialog, Phone};
use crate::support::{DEADLINE, wait_for};

/// Address where the unit as shipped listens.
const WELL_KNOWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5060);

/// A machine with a systemd, where the units are installed.
struct Host {
    machine: Machine,
    phone: Phone,
}

impl Host {
    fn new() -> Option<Self> {
        let words = ["--system", "--unit=basic.target", "--log-target=null", "--show-status=false"];
        let machine = Machine::start(&[&["/usr/lib/systemd/systemd"], words.as_slice()].concat())?;
        wait_for("the boot", DEADLINE, || {
            let state = machine.try_sh("systemctl is-system-running").stdout;
            [&b"running\n"[..], b"degraded\n"].contains(&&*state).then_some(())
        });
        machine.write("/etc/systemd/system/pointsman.service", include_str!("../../systemd/pointsman.service"));
        machine.write("/etc/systemd/system/pointsman.socket", include_str!("../../systemd/pointsman.socket"));
        machine.sh("mkdir -p /etc/sysusers.d");
        machine.write("/etc/sysusers.d/pointsman.conf", include_str!("../../systemd/pointsman.sysusers"));
        machine.write("/etc/pointsman.toml", "workers = 2\n");
        machine.sh("systemd-sysusers && systemctl daemon-reload");
        let phone = Phone::new(WELL_KNOWN.ip());
        Some(Host { machine, phone })
    }

    /// [`Host::new`], with the service started and its workers up.
    fn started() -> Option<Self> {
        let host = Host::new()?;
        host.sh("systemctl start pointsman");
        host.wait_until_up();
        Some(host)
    }

    /// Adds to the unit what `systemctl edit` would.
    fn edit(&self, lines: &str) {
        self.sh("mkdir -p /etc/systemd/system/pointsman.service.d");
        self.machine.write("/etc/systemd/system/pointsman.service.d/test.conf", lines);
        self.sh("systemctl daemon-reload");
    }

    fn sh(&self, line: &str) -> String {
        self.machine.sh(line)
    }

    fn try_sh(&self, line: &str) -> Output {
        self.machine.try_sh(line)
    }

    /// A property of the service.
    fn show(&self, property: &str) -> String {
        self.sh(&format!("systemctl show pointsman --property {property} --value"))
    }

    fn wait_for(&self, property: &str, is_it: impl Fn(&str) -> bool) -> String {
        let begin = std::time::Instant::now();
        loop {
            let shown = self.show(property);
            if is_it(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < DEADLINE, "{property} is {shown}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_until_up(&self) {
        let begin = std::time::Instant::now();
        while !self.try_sh("pointsman stat").status.success() {
            assert!(begin.elapsed() < DEADLINE, "{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        self.sh(
            "journalctl --unit pointsman --no-pager --output short-precise; systemctl status pointsman --no-pager || :",
        )
    }

    /// Waits until the journal has `text`: its lines arrive after what they tell of.
    fn wait_for_log(&self, text: &str) {
        wait_for(text, DEADLINE, || self.log().contains(text).then_some(()));
    }

    /// The main process by its number on the machine.
    fn main(&self) -> u32 {
        self.show("MainPID").parse().unwrap()
    }

    fn kill(&self, signal: &str, pids: &[u32]) {
        let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
        self.sh(&format!("kill -{signal} {}", pids.join(" ")));
    }

    /// The processes of the service by their numbers on the machine.
    fn processes(&self) -> Vec<u32> {
        let all = self.try_sh("cat /sys/fs/cgroup/system.slice/pointsman.service/cgroup.procs").stdout;
        String::from_utf8_lossy(&all).lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    fn workers(&self) -> Vec<u32> {
        let main = self.main();
        self.processes().into_iter().filter(|&pid| pid != main).collect()
    }

    fn call(&self) -> Dialog {
        self.phone.call(&self.phone.invite(WELL_KNOWN, None), WELL_KNOWN)
    }

    fn hang_up(&self, dialog: &Dialog) {
        assert_eq!(self.phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
}

#[test]
fn the_unit_as_shipped_starts_answers_calls_says_how_it_stands_and_stops_in_order() {
    let Some(host) = Host::started() else { return };
    assert_eq!((host.show("ActiveState"), host.show("WatchdogUSec")), ("active".to_owned(), "10s".to_owned()));
    host.wait_for("StatusText", |status| status == "2 of 2 workers up, 0 sessions");
    let processes = host.processes().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // A worker learns its name from its welcome, after the dispatcher shows it as up.
    wait_for("the names of all processes", DEADLINE, || {
        let names = host.sh(&format!("ps -o user:32=,comm= -p {processes} | tr -s ' ' | sort"));
        (names == "pointsman pointsman\npointsman pointsman-w0\npointsman pointsman-w1").then_some(())
    });
    host.wait_for_log("listening on udp:0.0.0.0:5060, 2 workers");
    let dialog = host.call();
    host.hang_up(&dialog);

    host.call();
    let stop = host.machine.command("systemctl").args(["stop", "pointsman"]).spawn();
    let bye = host.phone.expect("BYE to the call that stood", |heard| heard.method() == "BYE");
    host.phone.answer(&bye, 200);
    assert!(stop.unwrap().wait().unwrap().success());
    assert_eq!((host.show("ActiveState"), host.show("Result")), ("inactive".to_owned(), "success".to_owned()));
    assert_eq!(host.processes(), Vec::<u32>::new());
}

#[test]
fn files_that_the_readme_removes_are_gone() {
    let Some(host) = Host::started() else { return };
    host.sh("systemctl enable pointsman.service pointsman.socket");
    host.sh("systemctl disable --now pointsman.service pointsman.socket");
    host.sh("rm -r /run/pointsman");
    host.sh(
        "rm -r /etc/systemd/system/pointsman.* /etc/sysusers.d/pointsman.conf /etc/pointsman.toml /usr/bin/pointsman",
    );
    host.sh("systemctl daemon-reload");
    assert_eq!(host.show("LoadState"), "not-found");
    assert_eq!(host.processes(), Vec::<u32>::new());
    assert_eq!(host.sh("find /run /etc /usr/bin /usr/lib/systemd /var/lib -name '*pointsman*'"), "");
    UdpSocket::bind(WELL_KNOWN).expect("nobody keeps the port");
}

#[test]
fn a_reload_takes_over_under_calls_with_a_new_executable_and_one_that_cannot_leaves_all_as_it_was() {
    let Some(host) = Host::started() else { return };
    let standing = host.call();
    let (first, workers) = (host.main(), host.workers());
    let plan = Plan {
        pace: Pace::Rate(100.0),
        until: Until::Stopped,
        hold: Some(Duration::from_millis(300)),
        ..Plan::new(WELL_KNOWN)
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = thread::spawn(move || generator.run().clone());
    let more_calls = || {
        let before = progress.answered();
        wait_for("more calls", DEADLINE, || (progress.answered() >= before + 20).then_some(()));
    };
    more_calls();
    host.sh("cp /usr/bin/pointsman /usr/bin/newer && mv /usr/bin/newer /usr/bin/pointsman");
    host.sh("systemctl reload pointsman");
    let second = host.wait_for("MainPID", |pid| pid != first.to_string()).parse::<u32>().unwrap();
    let runs = host.sh(&format!("readlink /proc/{second}/exe; cat /proc/{second}/comm"));
    assert_eq!(runs, "/usr/bin/pointsman\npointsman");
    more_calls();

    host.machine.write("/etc/pointsman.toml", "workers = \"two\"\n");
    let refused = host.try_sh("systemctl reload pointsman");
    assert!(!refused.status.success());
    host.wait_for_log("/etc/pointsman.toml:1:11");
    more_calls();
    progress.stop();
    let outcome = load.join().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (outcome.started, outcome.started));

    assert_eq!((host.main(), host.show("ActiveState")), (second, "active".to_owned()));
    assert_eq!(host.show("NRestarts"), "0");
    host.wait_for("StatusText", |status| status.starts_with("2 of 2 workers up"));
    assert_eq!(host.workers(), workers);
    host.hang_up(&standing);
}

#[test]
fn a_dispatcher_that_is_killed_is_started_again_and_has_its_workers_and_their_calls() {
    let Some(host) = Host::started() else { return };
    let standing = host.call();
    let (main, workers) = (host.main(), host.workers());
    host.kill("KILL", &[main]);
    // No process reads the well-known port now.
    let invite = host.phone.invite(WELL_KNOWN, None);
    host.phone.send(&invite, WELL_KNOWN);
    assert_eq!(host.phone.final_response(&invite).status(), 200);
    host.wait_for("NRestarts", |restarts| restarts == "1");
    host.wait_until_up();
    assert_eq!(host.workers(), workers);
    host.hang_up(&standing);
}

#[test]
fn with_every_process_killed_what_comes_waits_for_the_next_dispatcher() {
    let Some(host) = Host::started() else { return };
    let all = host.processes();
    // In one stroke: no successor of any is started in between.
    host.sh("echo 1 > /sys/fs/cgroup/system.slice/pointsman.service/cgroup.kill");
    let invite = host.phone.invite(WELL_KNOWN, None);
    host.phone.send(&invite, WELL_KNOWN);
    assert_eq!(host.phone.final_response(&invite).status(), 200);
    assert_eq!(host.show("NRestarts"), "1");
    assert!(host.processes().iter().all(|pid| !all.contains(pid)));
}

#[test]
fn a_dispatcher_that_hangs_is_ended_by_the_watchdog_and_its_workers_serve_on() {
    let Some(host) = Host::new() else { return };
    // As shipped, but sooner.
    host.edit("[Service]\nWatchdogSec=2s\n");
    host.sh("systemctl start pointsman");
    host.wait_until_up();
    let standing = host.call();
    let workers = host.workers();
    host.kill("STOP", &[host.main()]);
    host.wait_for("NRestarts", |restarts| restarts == "1");
    host.wait_until_up();
    assert_eq!(host.workers(), workers);
    host.hang_up(&standing);
}

#[test]
fn the_socket_unit_has_the_first_call_start_the_service() {
    let Some(host) = Host::new() else { return };
    host.sh("systemctl start pointsman.socket");
    assert_eq!(host.show("ActiveState"), "inactive");
    let invite = host.phone.invite(WELL_KNOWN, None);
    host.phone.send(&invite, WELL_KNOWN);
    assert_eq!(host.phone.final_response(&invite).status(), 200);
    host.wait_for("ActiveState", |state| state == "active");
    host.wait_until_up();
    let kept = host.sh("ss --udp --listening --numeric --processes 'sport = 5060'");
    assert!(kept.contains("\"systemd\"") && kept.contains("\"pointsman\""), "{kept}");
    assert_eq!(kept.lines().count(), 2, "one socket below the heading: {kept}");
}

#[test]
fn systemctl_status_says_why_no_worker_comes_up() {
    let Some(host) = Host::new() else { return };
    // Workers read their signals from a descriptor, the dispatcher does not.
    host.edit("[Service]\nSystemCallFilter=~signalfd4\n");
    host.sh("systemctl start pointsman");
    host.wait_for("StatusText", |status| {
        status.starts_with("0 of 2 workers up, 0 sessions; w0: exited with code 2") && status.ends_with(", see the log")
    });
    // The journal keeps each line with its priority, and not the dispatcher's heading among the faults.
    let faults = || host.sh("journalctl --unit pointsman --no-pager --priority err --output cat");
    wait_for("the line in the journal", DEADLINE, || faults().contains("no worker comes up").then_some(()));
    assert!(!faults().contains("listening on"), "{}", faults());
    host.wait_for_log("cannot take signals: Operation not permitted");
    assert_eq!(host.phone.transact(&host.phone.invite(WELL_KNOWN, None), WELL_KNOWN).status(), 503);
}
