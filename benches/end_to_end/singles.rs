//! Measurements made once, of Pointsman alone: memory of standing calls, start to first call, and how evenly each
//! policy spreads sessions of very different size.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::generator::{Generator, Pace, Plan, Sizes, Until};
use crate::options::Options;
use crate::report::Spread;
use crate::support::phone::Phone;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, proc};

/// Calls that stand in one worker.
const STANDING: u64 = 50_000;

/// Memory of one worker with standing calls without media.
pub fn memory() -> Value {
    let pointsman = Setup::new(1).with(["--capacity", "60000"]).start();
    let worker = pointsman.worker_pids()[0];
    let empty = proc::resident(worker);
    let plan = Plan {
        until: Until::Calls(STANDING),
        hold: None,
        inactive: true,
        pace: Pace::Window(100),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).expect("a socket for the generator");
    let outcome = generator.run().clone();
    json!({
        "standing_calls": generator.established(),
        "failures": outcome.failures,
        "worker_mib": mib(proc::resident(worker)),
        "worker_mib_empty": mib(empty),
        "dispatcher_mib": mib(proc::resident(pointsman.pid())),
        "seconds": outcome.elapsed.as_secs_f64(),
    })
}

/// From the start of the process, with a fresh run directory, to the first answered call.
pub fn start(options: &Options) -> Option<Spread> {
    Spread::of((0..options.runs).map(|_| {
        let setup = Setup::new(4);
        let phone = Phone::new(setup.ip);
        let begin = Instant::now();
        let pointsman = setup.spawn();
        let mut invite = phone.invite(pointsman.address(), None);
        loop {
            phone.send(&invite, pointsman.address());
            let reply = phone.receive(Duration::from_millis(10)).filter(|reply| reply.answers(&invite));
            match reply.map_or(0, |reply| reply.status()) {
                200 => return begin.elapsed().as_secs_f64() * 1e3,
                // No worker is up yet: that verdict stands for this transaction, the caller tries another.
                300.. => invite = phone.invite(pointsman.address(), None),
                _ => {}
            }
            assert!(begin.elapsed() < DEADLINE, "no call was answered");
        }
    }))
}

/// One policy under sessions of size 1–120.
pub struct Evenness {
    /// The policy.
    pub policy: &'static str,
    /// Load of the fullest worker over the mean load, averaged over time; 1 is even.
    pub imbalance: f64,
    /// The highest that ratio came.
    pub worst: f64,
    /// Sessions refused, of all.
    pub refused: u64,
    /// Sessions offered.
    pub offered: u64,
}

/// Units of each worker: the four of them hold little more than the average offered load, so that room is scarce.
const UNITS: u32 = 390;
/// New sessions a second, and how long each stands.
const SESSIONS_PER_SECOND: f64 = 200.0;
const HOLD: Duration = Duration::from_secs(2);

/// The policies, compared with real processes and the same stream of sizes.
pub fn evenness(options: &Options) -> Vec<Evenness> {
    let span = (options.span * 5).max(HOLD * 3);
    ["least-load", "round-robin", "hash"].map(|policy| spread_sizes(policy, span)).into()
}

fn spread_sizes(policy: &'static str, span: Duration) -> Evenness {
    let units = UNITS.to_string();
    let pointsman = Setup::new(4).with(["--capacity", &units, "--policy", policy]).start();
    let plan = Plan {
        pace: Pace::Rate(SESSIONS_PER_SECOND),
        until: Until::After(span),
        hold: Some(HOLD),
        sizes: Sizes::HeavyTailed { seed: 1 },
        inactive: true,
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).expect("a socket for the generator");
    let progress = generator.progress();
    let thread = std::thread::spawn(move || generator.run().clone());
    let begin = Instant::now();
    let mut ratios = Vec::new();
    while begin.elapsed() < span {
        std::thread::sleep(Duration::from_millis(20));
        if begin.elapsed() > HOLD {
            ratios.extend(fullest_over_mean(&pointsman.load()));
        }
    }
    progress.stop();
    let outcome = thread.join().expect("the generator's thread");
    Evenness {
        policy,
        imbalance: ratios.iter().sum::<f64>() / ratios.len().max(1) as f64,
        worst: ratios.iter().copied().fold(1.0, f64::max),
        refused: outcome.failed("INVITE"),
        offered: outcome.started,
    }
}

fn fullest_over_mean(load: &Value) -> Option<f64> {
    let used: Vec<f64> =
        load["workers"].as_array()?.iter().filter_map(|worker| worker["units_used"].as_f64()).collect();
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    (mean > 0.0).then(|| used.iter().copied().fold(0.0, f64::max) / mean)
}

impl Evenness {
    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "policy": self.policy,
            "fullest_over_mean": self.imbalance,
            "fullest_over_mean_worst": self.worst,
            "refused": self.refused,
            "offered": self.offered,
        })
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
