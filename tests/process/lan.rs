//! Workers on other hosts: calls, cuts, and those that are refused.

mod hostile;
mod mgcp;
mod network;
mod refused;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::generator::{Generator, Outcome, Pace, Plan, Progress, Until};
use crate::support::lan::{PORT, Relay, Site};
use crate::support::phone::Phone;
use crate::support::pointsman::Pointsman;
use crate::support::{DEADLINE, PROMPT, own_address, wait_for};

/// Waits until so many workers are up.
fn wait_until_up(pointsman: &Pointsman, count: usize) {
    pointsman.wait_until("the workers to be up", |load| {
        states(load).iter().filter(|state| **state == "up").count() == count
    });
}

fn states(load: &Value) -> Vec<&str> {
    load["workers"].as_array().into_iter().flatten().filter_map(|worker| worker["state"].as_str()).collect()
}

/// A dispatcher without workers of its own, at which workers on other hosts can connect.
fn started(site: &Site, more: &str) -> Pointsman {
    // Room for the calls of a worker whose wire is cut: the other one gets them all at once on a busy machine.
    let pointsman = site.setup(0, more).with(["--capacity", "1000"]).spawn();
    let at = SocketAddr::new(pointsman.address().ip(), PORT);
    wait_for("the dispatcher", DEADLINE, || TcpStream::connect(at).ok());
    pointsman
}

/// A wire to that dispatcher.
fn wire(ip: IpAddr, pointsman: &Pointsman, delay: Duration) -> Relay {
    Relay::new(ip, SocketAddr::new(pointsman.address().ip(), PORT), delay)
}

/// The processes of the workers.
fn pids(pointsman: &Pointsman) -> Vec<u64> {
    pointsman.load()["workers"].as_array().into_iter().flatten().filter_map(|it| it["pid"].as_u64()).collect()
}

/// Calls that come in until they are stopped.
struct Load {
    progress: std::sync::Arc<Progress>,
    thread: JoinHandle<Outcome>,
}

impl Load {
    fn begin(pointsman: &Pointsman, rate: f64) -> Self {
        let plan = Plan {
            pace: Pace::Rate(rate),
            at_most: 4_000,
            until: Until::Stopped,
            hold: Some(Duration::from_millis(300)),
            ..Plan::new(pointsman.address())
        };
        let mut generator = Generator::new(plan).unwrap();
        Load { progress: generator.progress(), thread: std::thread::spawn(move || generator.run().clone()) }
    }

    fn wait_for_more(&self, calls: u64) {
        let before = self.progress.answered();
        wait_for("more answers", 2 * DEADLINE, || (self.progress.answered() >= before + calls).then_some(()));
    }

    /// Stops, and checks that each call was answered once and ended.
    fn end(self) -> Outcome {
        self.progress.stop();
        let outcome = self.thread.join().unwrap();
        let (p50, p99) = (outcome.latency.value_at_quantile(0.5), outcome.latency.value_at_quantile(0.99));
        let most = outcome.latency.max();
        println!("{} calls, INVITE to 2xx p50 {p50} µs, p99 {p99} µs, most {most} µs", outcome.started);
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
        assert_eq!((outcome.answered, outcome.completed), (outcome.started, outcome.started));
        assert_eq!(outcome.second_answers, 0, "calls were answered twice");
        outcome
    }
}

#[test]
fn ten_thousand_calls_over_a_wire_of_a_millisecond_are_answered_from_the_well_known_port_and_none_fails() {
    let (ip, between) = (own_address().into(), own_address().into());
    let site = Site::new(ip, &[between]);
    let pointsman = started(&site, "");
    let relay = wire(between, &pointsman, Duration::from_millis(1));
    let workers = [site.worker("media1", relay.address()), site.worker("media2", relay.address())];
    wait_until_up(&pointsman, 2);
    let plan = Plan {
        pace: Pace::Rate(1_000.0),
        until: Until::Calls(10_000),
        hold: Some(Duration::from_millis(100)),
        t1: PROMPT,
        ..Plan::new(pointsman.address())
    };
    let outcome = Generator::new(plan).unwrap().run().clone();
    println!("INVITE to 2xx p50 {} µs", outcome.latency.value_at_quantile(0.5));
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (10_000, 10_000));
    assert_eq!((outcome.second_answers, outcome.strangers, outcome.from_elsewhere), (0, 0, 0));
    let hosts: Vec<_> = outcome.contacts.keys().map(SocketAddr::ip).collect();
    assert!(workers.iter().all(|worker| hosts.contains(&worker.address)), "{:?}", outcome.contacts);
    assert_eq!(hosts.len(), 2);
}

#[test]
fn a_caller_without_rport_is_answered_from_the_workers_own_address() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let pointsman = started(&site, "");
    let worker = site.worker("media1", SocketAddr::new(ip, PORT));
    wait_until_up(&pointsman, 1);
    let plan = Plan { until: Until::Calls(1), rport: false, ..Plan::new(pointsman.address()) };
    let outcome = Generator::new(plan).unwrap().run().clone();
    assert_eq!((outcome.completed, outcome.contacts.keys().next().unwrap().ip()), (1, worker.address));
    assert!(outcome.from_elsewhere > 0, "{outcome:?}");
    let phone = Phone::new(ip);
    let (dialog, _sound) = phone.call_with_sound(pointsman.address());
    assert_eq!(dialog.target.ip(), worker.address);
}

#[test]
fn connections_that_break_under_load_lose_no_call_and_no_call_is_answered_twice() {
    let (ip, between) = (own_address().into(), own_address().into());
    let site = Site::new(ip, &[between]);
    let pointsman = started(&site, "");
    let relay = wire(between, &pointsman, Duration::ZERO);
    let workers = ["media1", "media2"].map(|name| site.worker(name, relay.address()));
    wait_until_up(&pointsman, 2);
    let before = pids(&pointsman);
    let load = Load::begin(&pointsman, 500.0);
    for _ in 0..10 {
        load.wait_for_more(100);
        let connected = relay.connections();
        relay.reset();
        wait_for("the workers to connect again", DEADLINE, || (relay.connections() >= connected + 2).then_some(()));
    }
    load.wait_for_more(100);
    load.end();
    assert!(before.contains(&u64::from(workers[0].child.id())));
    assert_eq!(pids(&pointsman), before, "no worker was taken for dead");
    assert!(!pointsman.log().contains("died"), "{}", pointsman.log());
}

#[test]
fn a_wire_that_is_cut_for_five_seconds_loses_no_call_and_no_call_is_answered_twice() {
    let (ip, between) = (own_address().into(), own_address().into());
    let site = Site::new(ip, &[between]);
    let pointsman = started(&site, "");
    let relay = wire(between, &pointsman, Duration::ZERO);
    let _workers = [site.worker("media1", relay.address()), site.worker("media2", SocketAddr::new(ip, PORT))];
    wait_until_up(&pointsman, 2);
    let load = Load::begin(&pointsman, 200.0);
    load.wait_for_more(200);
    relay.cut();
    std::thread::sleep(Duration::from_secs(5));
    relay.mend();
    pointsman.wait_until("both workers to be up again", |load| states(load) == ["up", "up"]);
    load.wait_for_more(400);
    load.end();
    assert!(!pointsman.log().contains("died"), "{}", pointsman.log());
}

#[test]
fn a_worker_that_was_cut_off_for_so_long_that_it_was_taken_for_dead_comes_back_with_its_calls() {
    let (ip, between) = (own_address().into(), own_address().into());
    let site = Site::new(ip, &[between]);
    let pointsman = started(&site, "");
    let relay = wire(between, &pointsman, Duration::ZERO);
    let worker = site.worker("media1", relay.address());
    wait_until_up(&pointsman, 1);
    let phone = Phone::new(ip);
    let calls: Vec<_> =
        (0..4).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect();
    relay.cut();
    pointsman.wait_until("the worker to be given up", |load| states(load) == ["down"]);
    // Its callers reach it all the while.
    assert_eq!(phone.transact(&calls[0].request("BYE", 1), calls[0].target).status(), 200);
    relay.mend();
    wait_until_up(&pointsman, 1);
    assert_eq!(pids(&pointsman), [u64::from(worker.child.id())]);
    pointsman.wait_until("its calls to be known", |load| load["workers"][0]["sessions"] == 3);
    for dialog in &calls[1..] {
        // Through the well-known port: its token is still its own.
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn a_worker_that_is_gone_for_good_is_down_and_its_successor_gets_its_place() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let pointsman = started(&site, "");
    let mut worker = site.worker("media1", SocketAddr::new(ip, PORT));
    wait_until_up(&pointsman, 1);
    worker.child.kill().unwrap();
    worker.child.wait().unwrap();
    // It may have to come several times: the first one's connection has to be seen to end.
    let mut successor = site.start("media1", SocketAddr::new(ip, PORT), &[own_address().into()]);
    wait_for("the successor to be let in", DEADLINE, || {
        if successor.child.try_wait().unwrap().is_some() {
            successor = site.start("media1", SocketAddr::new(ip, PORT), &[own_address().into()]);
        }
        let is_in = pids(&pointsman) == [u64::from(successor.child.id())] && states(&pointsman.load()) == ["up"];
        is_in.then_some(())
    });
    let phone = Phone::new(ip);
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn a_takeover_and_a_restart_are_cut_wires_to_workers_on_other_hosts_and_their_calls_go_on() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let mut pointsman = site.setup(2, "").start();
    let workers = ["media1", "media2"].map(|name| site.worker(name, SocketAddr::new(ip, PORT)));
    wait_until_up(&pointsman, 4);
    let load = Load::begin(&pointsman, 200.0);
    for _ in 0..3 {
        load.wait_for_more(100);
        pointsman.take_over();
        wait_until_up(&pointsman, 4);
    }
    load.wait_for_more(100);
    load.end();
    assert!(!pointsman.log().contains("cannot connect"), "{}", pointsman.log());
    let phone = Phone::new(ip);
    let calls: Vec<_> =
        (0..24).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect();
    pointsman.crash();
    pointsman.start_again();
    wait_until_up(&pointsman, 4);
    let afar = calls.iter().filter(|dialog| workers.iter().any(|worker| worker.address == dialog.target.ip())).count();
    assert!(afar > 0);
    for dialog in &calls {
        // Through the well-known port: the tokens are those of before.
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}
