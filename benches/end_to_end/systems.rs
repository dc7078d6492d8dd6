//! Message balancing over TCP: whole dialogs of callers on one connection through the process in front, which has one
//! connection to each of four servers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::front::{Front, Running};
use crate::generator::{Generator, Pace, Plan, Routing, Until};
use crate::load::cpu_of_a_dialog;
use crate::options::Options;
use crate::placement::Placement;
use crate::report::{Spread, cell};

/// Calls a second of the latency measurement.
const RATE: f64 = 1_000.0;

/// The process in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// The bare relay.
    Relay,
    /// This project's dispatcher, with the servers as downstream proxies.
    Pointsman,
    /// Kamailio in this mode.
    Kamailio(&'static str),
}

impl Between {
    const ALL: [Between; 4] =
        [Between::Relay, Between::Pointsman, Between::Kamailio("callload-stateless"), Between::Kamailio("stateful")];

    fn name(self) -> String {
        match self {
            Between::Relay => "tcp-relay".to_owned(),
            Between::Pointsman => "pointsman-message".to_owned(),
            Between::Kamailio(mode) => format!("kamailio-{mode}"),
        }
    }

    fn is_here(self) -> bool {
        match self {
            Between::Kamailio(mode) => Front::Kamailio(mode).missing().is_none(),
            Between::Relay | Between::Pointsman => true,
        }
    }

    fn start(self) -> Running {
        match self {
            Between::Relay => Running::of_stream_relay(),
            Between::Pointsman => Running::of_systems(),
            Between::Kamailio(mode) => Running::of_kamailio_over_tcp(mode),
        }
    }

    /// The plan of a load through it. The relay names itself in no message: its callers send it all.
    fn plan(self, running: &Running) -> Plan {
        let routing = if self == Between::Relay { Routing::Target } else { Routing::Dialog };
        Plan { connections: 1, routing, ..running.plan() }
    }
}

/// Measurements of one process in front in one placement, run by run.
pub struct Systems {
    between: Between,
    placement: Placement,
    /// CPU of the front per call, in µs.
    cpu: Vec<f64>,
    /// INVITE to 200 in µs.
    p50: Vec<f64>,
    p99: Vec<f64>,
}

/// Measures the fronts that are here, in turn, as many rounds as the options ask for.
pub fn measure(options: &Options, placements: &[Placement]) -> Vec<Systems> {
    let fronts = Between::ALL.into_iter().filter(|between| between.is_here() && options.takes(&between.name()));
    let row = |between, &placement| Systems { between, placement, cpu: vec![], p50: vec![], p99: vec![] };
    let rows = fronts.flat_map(|between| placements.iter().map(move |placement| row(between, placement)));
    let mut rows: Vec<Systems> = rows.collect();
    for round in 1..=options.runs {
        for row in &mut rows {
            let running = row.between.start();
            row.placement.apply(&running);
            let plan = row.between.plan(&running);
            let cpu = cpu_of_a_dialog(&running, plan.clone(), options.span);
            let (p50, p99) = latency(plan, options.span);
            let name = row.between.name();
            eprintln!("round {round}: {name}, {}: {cpu:.2} µs a call; p50 {p50} µs", row.placement.name());
            row.cpu.push(cpu);
            row.p50.push(p50);
            row.p99.push(p99);
        }
    }
    rows
}

fn latency(plan: Plan, span: Duration) -> (f64, f64) {
    let plan = Plan { pace: Pace::Rate(RATE), until: Until::After(span), ..plan };
    let mut generator = Generator::new(plan).expect("a connection for the generator");
    let outcome = generator.run();
    assert_eq!(outcome.failed("INVITE") + outcome.failed("BYE"), 0, "calls failed: {:?}", outcome.failures);
    let quantile = |part| outcome.latency.value_at_quantile(part) as f64;
    (quantile(0.5), quantile(0.99))
}

impl Systems {
    fn spread(of: &[f64]) -> Option<Spread> {
        Spread::of(of.iter().copied())
    }

    /// Prints the table.
    pub fn print(rows: &[Systems]) {
        println!(
            "\nMessage balancing over TCP: CPU of the process in front per call, and INVITE to 200 at {RATE} calls/s"
        );
        println!("| front | placement | µs per call | × Pointsman | p50 | p50 × relay | p99 |");
        println!("|---|---|---|---|---|---|---|");
        for row in rows {
            let beside = |between| rows.iter().find(|it| it.between == between && it.placement == row.placement);
            let ratio = |of: fn(&Systems) -> &[f64], other: Option<&Systems>| {
                let pair = Systems::spread(of(row)).zip(other.and_then(|other| Systems::spread(of(other))));
                pair.map(|(own, other)| format!("{:.2}", own.median / other.median)).unwrap_or_default()
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.between.name(),
                row.placement.name(),
                cell(Systems::spread(&row.cpu), 2),
                ratio(|row| &row.cpu, beside(Between::Pointsman)),
                cell(Systems::spread(&row.p50), 0),
                ratio(|row| &row.p50, beside(Between::Relay)),
                cell(Systems::spread(&row.p99), 0),
            );
        }
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        json!({
            "front": self.between.name(),
            "placement": self.placement.name(),
            "front_cpu_us_per_call": self.cpu,
            "p50_us": self.p50,
            "p99_us": self.p99,
        })
    }
}
