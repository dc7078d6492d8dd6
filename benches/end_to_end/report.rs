//! The table for people and the JSON for programs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::beside::Beside;
use crate::flood::Flood;
use crate::forged::Forged;
use crate::load::{RATE, Series};
use crate::over_tcp::OverTcp;
use crate::singles::Evenness;
use crate::systems::Systems;

/// Median and extremes of several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of all values; `None` when there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Spread { median, min: *values.first()?, max: *values.last()? })
    }

    /// As JSON.
    pub fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    /// Full load and latency.
    pub series: Vec<Series>,
    /// Initial requests only.
    pub floods: Vec<Flood>,
    /// Calls over connections.
    pub over_tcp: Vec<OverTcp>,
    /// Dialogs over TCP to servers.
    pub systems: Vec<Systems>,
    /// Calls beside busy connections.
    pub beside: Vec<Beside>,
    /// Socket buffers asked for and granted, as the dispatcher tells.
    pub buffers: Option<Value>,
    /// Policies under sessions of very different size.
    pub evenness: Vec<Evenness>,
    /// Standing calls.
    pub memory: Option<Value>,
    /// Forged INVITEs beside honest calls.
    pub forged: Vec<Forged>,
    /// Start to first answered call, in ms.
    pub start: Option<Spread>,
    /// The measurements that could not be made here, with the reason.
    pub skipped: Vec<String>,
}

impl Report {
    /// Prints the tables.
    pub fn print(&self) {
        for line in &self.skipped {
            println!("skipped: {line}");
        }
        if self.series.iter().any(|series| series.cpu().is_some()) {
            self.print_cpu();
        }
        if !self.floods.is_empty() {
            self.print_floods();
        }
        if self.series.iter().any(|series| series.p50().is_some()) {
            self.print_latency();
        }
        if !self.over_tcp.is_empty() {
            OverTcp::print(&self.over_tcp);
        }
        if !self.systems.is_empty() {
            Systems::print(&self.systems);
        }
        if !self.beside.is_empty() {
            Beside::print(&self.beside);
        }
        if !self.evenness.is_empty() {
            self.print_evenness();
        }
        if let Some(memory) = &self.memory {
            println!("\nStanding calls without media: {memory}");
        }
        if let Some(start) = self.start {
            println!("\nStart to first answered call, ms: {}", cell(Some(start), 0));
        }
        if !self.forged.is_empty() {
            Forged::print(&self.forged);
        }
        if let Some(buffers) = &self.buffers {
            println!("\nBuffers: {buffers}");
        }
    }

    fn print_cpu(&self) {
        println!("\nFull load: CPU of the process in front per INVITE, in µs; median (min–max)");
        println!(
            "| front | placement | µs per INVITE | × bare | calls/s | workers: µs per call | records per frame | failed, sent again |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for series in &self.series {
            let bare = self.same_placement(series, "bare").and_then(|bare| bare.cpu());
            let ratio = series.cpu().zip(bare).map(|(own, bare)| format!("{:.2}", own.median / bare.median));
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {}, {} |",
                series.front.name(),
                series.placement.name(),
                cell(series.cpu(), 2),
                ratio.unwrap_or_default(),
                cell(series.rate(), 0),
                cell(series.workers(), 1),
                cell(series.records_per_frame(), 1),
                series.troubles().0,
                series.troubles().1,
            );
        }
    }

    fn print_floods(&self) {
        println!("\nOne kind of message only, as many as the front takes: its CPU per message handed over, in µs");
        println!(
            "| message | front | placement | µs per message | × bare | messages/s | its share of a CPU | records per frame |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for flood in &self.floods {
            let alike = |it: &&Flood| it.flooding == flood.flooding && it.placement == flood.placement;
            let bare = self.floods.iter().filter(alike).find(|it| it.front.name() == "bare");
            let ratio = flood.cpu().zip(bare.and_then(Flood::cpu));
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                flood.flooding.name(),
                flood.front.name(),
                flood.placement.name(),
                cell(flood.cpu(), 2),
                ratio.map(|(own, bare)| format!("{:.2}", own.median / bare.median)).unwrap_or_default(),
                cell(flood.rate(), 0),
                cell(flood.share(), 2),
                cell(flood.records_per_frame(), 1),
            );
        }
    }

    fn print_latency(&self) {
        println!("\nINVITE to 200 at {RATE} calls/s, in µs; median (min–max)");
        println!("| front | placement | p50 | p99 | longest | p50 × bare | p99 × bare |");
        println!("|---|---|---|---|---|---|---|");
        for series in &self.series {
            let bare = self.same_placement(series, "bare");
            let ratio = |of: fn(&Series) -> Option<Spread>| {
                let pair = of(series).zip(bare.and_then(of));
                pair.map(|(own, bare)| format!("{:.2}", own.median / bare.median)).unwrap_or_default()
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                series.front.name(),
                series.placement.name(),
                cell(series.p50(), 0),
                cell(series.p99(), 0),
                series.longest().unwrap_or_default(),
                ratio(Series::p50),
                ratio(Series::p99),
            );
        }
    }

    fn print_evenness(&self) {
        println!("\nSessions of size 1–120 (bounded Pareto): fullest worker over mean load, and sessions refused");
        println!("| policy | mean | worst | refused | of |");
        println!("|---|---|---|---|---|");
        for row in &self.evenness {
            println!(
                "| {} | {:.2} | {:.2} | {} | {} |",
                row.policy, row.imbalance, row.worst, row.refused, row.offered
            );
        }
    }

    fn same_placement(&self, series: &Series, front: &str) -> Option<&Series> {
        self.series.iter().find(|other| other.placement == series.placement && other.front.name() == front)
    }

    /// Writes `target/bench/end_to_end.json`.
    pub fn write(&self) -> std::io::Result<()> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target")).join("bench");
        fs::create_dir_all(&folder)?;
        let value = json!({
            "machine": machine(),
            "series": self.series.iter().map(Series::json).collect::<Vec<_>>(),
            "initial": self.floods.iter().map(Flood::json).collect::<Vec<_>>(),
            "tcp": self.over_tcp.iter().map(OverTcp::json).collect::<Vec<_>>(),
            "systems": self.systems.iter().map(Systems::json).collect::<Vec<_>>(),
            "beside": self.beside.iter().map(Beside::json).collect::<Vec<_>>(),
            "flood": self.forged.iter().map(Forged::json).collect::<Vec<_>>(),
            "buffers": self.buffers,
            "evenness": self.evenness.iter().map(Evenness::json).collect::<Vec<_>>(),
            "memory": self.memory,
            "start_ms": self.start.map(Spread::json),
            "skipped": self.skipped,
        });
        let path = folder.join("end_to_end.json");
        fs::write(&path, format!("{value:#}\n"))?;
        println!("\n{}", path.display());
        Ok(())
    }
}

/// A cell of a table.
pub fn cell(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { median, min, max }) = spread else { return "–".to_owned() };
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    json!({
        "cpu": model.map(|(_, model)| model.trim()),
        "cpus": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}
