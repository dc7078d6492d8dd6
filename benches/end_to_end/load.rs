//! CPU time per call of the process in front at full load, and latency at a fixed rate.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::front::{Front, Running};
use crate::generator::{Generator, Outcome, Pace, Plan, Until};
use crate::options::Options;
use crate::placement::Placement;
use crate::report::Spread;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, proc, wait_for};

/// Transactions that the generator keeps open at full load.
const WINDOW: usize = 200;
/// Calls before the measurement begins.
const WARM_UP: u64 = 3_000;
/// Calls a second of the latency measurement.
pub const RATE: f64 = 2_000.0;

/// Measurements of one front in one placement, run by run.
pub struct Series {
    /// The front that was measured.
    pub front: Front,
    /// The placement that it ran in.
    pub placement: Placement,
    full: Vec<FullLoad>,
    latency: Vec<Latency>,
}

struct FullLoad {
    /// CPU of the front per INVITE, in µs.
    front: f64,
    /// CPU of the workers per completed call, in µs.
    workers: f64,
    /// Completed calls a second.
    rate: f64,
    /// INVITEs sent again: something was lost.
    again: u64,
    failed: u64,
    /// Messages handed over a write, where the front tells.
    records_per_frame: Option<f64>,
}

struct Latency {
    p50: u64,
    p99: u64,
    max: u64,
    failed: u64,
}

/// Measures every front in every placement, in turn, as many rounds as the options ask for.
pub fn measure(options: &Options, fronts: &[Front], placements: &[Placement]) -> Vec<Series> {
    let pairs = placements.iter().flat_map(|&placement| fronts.iter().map(move |&front| (front, placement)));
    let new = |(front, placement)| Series { front, placement, full: Vec::new(), latency: Vec::new() };
    let mut all: Vec<Series> = pairs.map(new).collect();
    for round in 1..=options.runs {
        for series in &mut all {
            let running = series.front.start();
            series.placement.apply(&running);
            if options.measures("cpu") {
                series.full.push(full_load(&running, running.plan(), options.span));
            }
            if options.measures("latency") {
                series.latency.push(latency(&running, options.span));
            }
            eprintln!("round {round}: {}, {}: {}", series.front.name(), series.placement.name(), series.last());
        }
    }
    all
}

/// CPU of the front per INVITE in µs, with calls over so many connections; 0: over UDP.
pub fn cpu_of_a_call(running: &Running, connections: usize, span: Duration) -> f64 {
    cpu_of_a_dialog(running, Plan { connections, ..running.plan() }, span)
}

/// CPU of the front per INVITE in µs, with calls of this plan.
pub fn cpu_of_a_dialog(running: &Running, plan: Plan, span: Duration) -> f64 {
    let load = full_load(running, plan, span);
    assert_eq!(load.failed, 0, "calls failed");
    load.front
}

fn full_load(running: &Running, plan: Plan, span: Duration) -> FullLoad {
    let plan = Plan { pace: Pace::Window(WINDOW), until: Until::Stopped, ..plan };
    let mut generator = Generator::new(plan).expect("a socket for the generator");
    let progress = generator.progress();
    let thread = thread::spawn(move || generator.run().clone());
    wait_for("the load to run", DEADLINE, || (progress.completed() >= WARM_UP).then_some(()));
    let (front, workers) = (running.front_pids(), running.worker_pids());
    let read = || {
        let cpu = |pids: &[u32]| pids.iter().map(|&pid| proc::precise_cpu(pid)).sum::<Duration>().as_secs_f64() * 1e6;
        (cpu(&front), cpu(&workers), progress.invites_sent() as f64, progress.completed() as f64)
    };
    let before = read();
    thread::sleep(span);
    let after = read();
    let frames = records_per_frame(running);
    progress.stop();
    let outcome: Outcome = thread.join().expect("the generator's thread");
    let completed = (after.3 - before.3).max(1.0);
    FullLoad {
        front: (after.0 - before.0) / (after.2 - before.2).max(1.0),
        workers: (after.1 - before.1) / completed,
        rate: completed / span.as_secs_f64(),
        again: outcome.invites_again,
        failed: outcome.failed("INVITE") + outcome.failed("BYE"),
        records_per_frame: frames,
    }
}

fn latency(running: &Running, span: Duration) -> Latency {
    let plan = Plan { pace: Pace::Rate(RATE), until: Until::After(span), ..running.plan() };
    let mut generator = Generator::new(plan).expect("a socket for the generator");
    let outcome = generator.run();
    Latency {
        p50: outcome.latency.value_at_quantile(0.5),
        p99: outcome.latency.value_at_quantile(0.99),
        max: outcome.latency.max(),
        failed: outcome.failed("INVITE") + outcome.failed("BYE"),
    }
}

/// Socket buffers as a dispatcher was granted them; `None` where its counters do not tell.
pub fn buffers() -> Option<Value> {
    let counters = Setup::new(1).start().stats("counters");
    member(&counters, "listeners").cloned()
}

/// The first member called `name`, wherever it stands in `value`.
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(name).or_else(|| members.values().find_map(|below| member(below, name))),
        Value::Array(members) => members.iter().find_map(|below| member(below, name)),
        _ => None,
    }
}

/// Records per frame since the start, from the front's own counters.
pub fn records_per_frame(running: &Running) -> Option<f64> {
    let counters = running.pointsman()?.stats("counters");
    let (records, frames) = (number(&counters, "records")?, number(&counters, "frames")?);
    (frames > 0.0).then(|| records / frames)
}

/// The sum of all numbers called `name`, wherever they stand in `value`.
pub fn number(value: &Value, name: &str) -> Option<f64> {
    match value {
        Value::Object(members) => {
            let own = members.get(name).and_then(Value::as_f64);
            let below = members.values().filter_map(|member| number(member, name)).reduce(|a, b| a + b);
            own.or(below)
        }
        Value::Array(members) => members.iter().filter_map(|member| number(member, name)).reduce(|a, b| a + b),
        _ => None,
    }
}

impl Series {
    /// CPU of the front per INVITE in µs.
    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.full.iter().map(|run| run.front))
    }

    /// CPU of the workers per completed call in µs.
    pub fn workers(&self) -> Option<Spread> {
        Spread::of(self.full.iter().map(|run| run.workers))
    }

    /// Completed calls a second.
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.full.iter().map(|run| run.rate))
    }

    /// Messages handed over in one write.
    pub fn records_per_frame(&self) -> Option<Spread> {
        Spread::of(self.full.iter().filter_map(|run| run.records_per_frame))
    }

    /// Median INVITE → 200 in µs.
    pub fn p50(&self) -> Option<Spread> {
        Spread::of(self.latency.iter().map(|run| run.p50 as f64))
    }

    /// 99th percentile INVITE → 200 in µs.
    pub fn p99(&self) -> Option<Spread> {
        Spread::of(self.latency.iter().map(|run| run.p99 as f64))
    }

    /// The longest INVITE → 200 of all runs in µs.
    pub fn longest(&self) -> Option<u64> {
        self.latency.iter().map(|run| run.max).max()
    }

    /// Requests that failed, and INVITEs sent again, over all runs.
    pub fn troubles(&self) -> (u64, u64) {
        let failed = self.full.iter().map(|run| run.failed).chain(self.latency.iter().map(|run| run.failed)).sum();
        (failed, self.full.iter().map(|run| run.again).sum())
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        let (failed, again) = self.troubles();
        json!({
            "front": self.front.name(),
            "placement": self.placement.name(),
            "front_cpu_us_per_invite": self.cpu().map(Spread::json),
            "worker_cpu_us_per_call": self.workers().map(Spread::json),
            "calls_per_second": self.rate().map(Spread::json),
            "records_per_frame": self.records_per_frame().map(Spread::json),
            "p50_us": self.p50().map(Spread::json),
            "p99_us": self.p99().map(Spread::json),
            "max_us": self.longest(),
            "failed": failed,
            "invites_again": again,
        })
    }

    fn last(&self) -> String {
        let full = self.full.last().map(|run| format!("{:.2} µs an INVITE, {:.0} calls/s", run.front, run.rate));
        let latency = self.latency.last().map(|run| format!("p50 {} µs, p99 {} µs", run.p50, run.p99));
        [full, latency].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}
