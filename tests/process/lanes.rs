//! Several lanes: what one of them promises, two and four promise together. (All process tests can be had with any number
//! of lanes: `POINTSMAN_TEST_LANES=4`.)

use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, wait_for};

fn start(lanes: usize) -> Pointsman {
    let mut setup = Setup::new(4);
    // Whatever the whole run is for, this is for so many.
    setup.more = vec!["--lanes".to_owned(), lanes.to_string()];
    setup.start()
}

/// Records that left for a worker, for each lane's link to it.
fn records(pointsman: &Pointsman, worker: &str) -> Vec<u64> {
    let counters = pointsman.stats("counters");
    let links = counters["links"].as_array().map(Vec::as_slice).unwrap_or_default();
    links.iter().filter(|link| link["worker"] == worker).filter_map(|link| link["records"].as_u64()).collect()
}

#[test]
fn calls_are_shared_among_lanes_and_none_fails_while_a_worker_is_killed() {
    for lanes in [2, 4] {
        let pointsman = start(lanes);
        let plan = Plan {
            pace: Pace::Rate(1_000.0),
            until: Until::Calls(3_000),
            hold: Some(Duration::from_millis(100)),
            ..Plan::new(pointsman.address())
        };
        let mut generator = Generator::new(plan).unwrap();
        let progress = generator.progress();
        let load = std::thread::spawn(move || generator.run().clone());
        wait_for("1,500 answered calls", DEADLINE, || (progress.answered() >= 1_500).then_some(()));
        let shared = records(&pointsman, "w0");
        assert_eq!(shared.len(), lanes);
        assert!(shared.iter().all(|records| *records > 0), "{shared:?}");
        pointsman.kill_worker(1);
        let outcome = load.join().unwrap();
        assert_eq!(outcome.failed("INVITE"), 0, "{:?}", outcome.failures);
        assert_eq!((outcome.started, outcome.answered), (3_000, 3_000));
        let load = pointsman.load();
        let total = |field: &str| load["dispatcher"][field].as_u64().unwrap();
        let done = total("handed_over") + total("relayed") + total("replied") + total("dropped");
        assert_eq!(total("received"), done, "{load}");
        pointsman.wait_until("no load at all, in all lanes", |load| {
            let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
            workers.iter().all(|worker| worker["units_used"] == 0 && worker["sessions"] == 0 && worker["ledger"] == 0)
        });
    }
}

#[test]
fn legs_of_one_conference_meet_whichever_lane_reads_them() {
    let pointsman = start(4);
    let phone = Phone::new(pointsman.address().ip());
    for conference in 0..6 {
        let legs: Vec<_> = (0..6)
            .map(|_| {
                let mut leg = phone.invite(pointsman.address(), None);
                leg.uri = format!("sip:conf=room{conference}@{}", pointsman.address());
                phone.call(&leg, pointsman.address())
            })
            .collect();
        assert!(legs.iter().all(|leg| leg.target == legs[0].target), "a conference on two workers");
    }
}

#[test]
fn a_cancel_finds_its_invite_whichever_lane_reads_it() {
    let pointsman = start(4);
    let phone = Phone::new(pointsman.address().ip());
    for _ in 0..60 {
        let invite = phone.invite(pointsman.address(), None);
        let cancel = invite.cancel();
        phone.send(&invite, pointsman.address());
        phone.send(&cancel, pointsman.address());
        assert_eq!(phone.final_response(&cancel).status(), 200);
    }
}
