//! Two million INVITEs with forged sources, and a hundred honest callers beside them: the fate of their calls, and the
//! memory that the dispatcher takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::front::WORKERS;
use crate::support::flood::{Flood, Honest, memory_cap};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{own_address, proc};

/// INVITEs that the dispatcher reads in all.
const FLOOD: u64 = 2_000_000;
const HONEST: usize = 100;
/// The defaults of `table-cap` and `retention`.
const TABLE: u64 = 1 << 18;
const RETENTION: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(300);

/// When the honest callers call.
#[derive(Clone, Copy)]
enum Callers {
    /// Their calls ring when the flood begins, and are cancelled in the middle of it.
    Before,
    /// They call, and cancel, in the middle of the flood.
    Amid,
}

/// One flood and its effects.
pub struct Forged {
    name: &'static str,
    addresses: u32,
    /// INVITEs and other messages read while it went on, a second.
    rate: f64,
    /// Until all the honest calls rang.
    rang: Duration,
    /// Until all of them had 200 to their CANCEL and 487.
    cancelled: Duration,
    counts: [(&'static str, u64); 5],
    resident: u64,
}

/// Both floods, in turn.
pub fn measure() -> Vec<Forged> {
    vec![
        run("each from another address; honest calls rang before it", 1 << 21, Callers::Before),
        run("from 16 addresses; honest calls came in the middle of it", 16, Callers::Amid),
    ]
}

fn run(name: &'static str, addresses: u32, callers: Callers) -> Forged {
    let pointsman = Setup::new(WORKERS).with(["--capacity", "1000000"]).start();
    let mut honest = Honest::new(own_address().into(), pointsman.address());
    let mut rang = Duration::ZERO;
    if matches!(callers, Callers::Before) {
        rang = honest.ring(HONEST);
    }
    let over = AtomicBool::new(false);
    let (cancelled, elapsed) = thread::scope(|scope| {
        let begin = Instant::now();
        scope.spawn(|| Flood::new(pointsman.address(), addresses).run(&pointsman, &over));
        wait(&pointsman, FLOOD / 2);
        if matches!(callers, Callers::Amid) {
            rang = honest.ring(HONEST);
        }
        let cancelled = honest.cancel();
        wait(&pointsman, FLOOD);
        over.store(true, Ordering::Relaxed);
        (cancelled, begin.elapsed())
    });
    let counters = pointsman.stats("counters");
    let answered = |reason: &str| counters["replied"]["reasons"][reason].as_u64().unwrap_or_default();
    let counts = [
        ("recorded", counters["handed_over"]["reasons"]["selected"].as_u64().unwrap_or_default()),
        ("unrecorded", counters["table"]["unrecorded"].as_u64().unwrap_or_default()),
        ("refused: over their share", answered("over-share")),
        ("refused: no room at all", answered("full") + answered("answered-before")),
        ("dropped by the kernel", pointsman.dispatcher("rx_overflow")),
    ];
    Forged {
        name,
        addresses,
        rate: pointsman.dispatcher("received") as f64 / elapsed.as_secs_f64(),
        rang,
        cancelled,
        counts,
        resident: proc::resident(pointsman.pid()),
    }
}

fn wait(pointsman: &Pointsman, messages: u64) {
    pointsman.wait_until_within("the flood to be read", PATIENCE, |load| {
        load["dispatcher"]["received"].as_u64().is_some_and(|received| received >= messages)
    });
}

impl Forged {
    /// Prints the table.
    pub fn print(all: &[Forged]) {
        println!("\n{FLOOD} forged INVITEs beside {HONEST} honest calls, {WORKERS} workers, defaults");
        println!(
            "| flood | messages/s | recorded, unrecorded | refused: over share, no room | honest: all rang, all cancelled | memory, cap |"
        );
        println!("|---|---|---|---|---|---|");
        let cap = memory_cap(TABLE, WORKERS as u64, RETENTION);
        for it in all {
            let [recorded, unrecorded, over_share, full, _] = it.counts.map(|(_, count)| count);
            println!(
                "| {} | {:.0} | {recorded}, {unrecorded} | {over_share}, {full} | {HONEST} in {} ms, {HONEST} in {} ms | {} MiB, {} MiB |",
                it.name,
                it.rate,
                it.rang.as_millis(),
                it.cancelled.as_millis(),
                it.resident >> 20,
                cap >> 20,
            );
        }
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        json!({
            "flood": self.name,
            "addresses": self.addresses,
            "messages": FLOOD,
            "messages_per_second": self.rate,
            "honest_calls": HONEST,
            "all_rang_ms": self.rang.as_millis() as u64,
            "all_cancelled_ms": self.cancelled.as_millis() as u64,
            "counts": self.counts.iter().map(|(name, count)| (name.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "resident_bytes": self.resident,
            "resident_cap_bytes": memory_cap(TABLE, WORKERS as u64, RETENTION),
        })
    }
}
