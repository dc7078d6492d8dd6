//! The end-to-end benchmark: real calls through Pointsman, through a bare forwarder and, where it is installed, through
//! Kamailio, all with the same workers. `cargo bench --bench end_to_end` measures everything; `benches/README.md` says
//! what the figures mean.

mod beside;
mod flood;
mod forged;
mod forwarder;
mod front;
mod generator;
mod load;
mod options;
mod over_tcp;
mod placement;
mod relay;
mod report;
mod singles;
mod sink;
mod stream_relay;
#[path = "../../tests/support/mod.rs"]
mod support;
mod systems;

use std::process::ExitCode;

use front::Front;
use options::Options;
use placement::Placement;
use report::Report;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("forwarder", rest)) => return run_forwarder(rest),
        Some(("relay", rest)) => return outcome("bare relay", relay::run(rest)),
        Some(("stream-relay", rest)) => return outcome("bare relay over TCP", stream_relay::run(rest)),
        Some(("sink", rest)) => return outcome("sink", sink::run(rest)),
        _ => {}
    }
    match Options::read(&words) {
        Ok(options) => {
            let report = measure(&options);
            report.print();
            report.write().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn run_forwarder(words: &[String]) -> ExitCode {
    let Some(setup) = forwarder::Setup::from_words(words) else { return ExitCode::from(2) };
    outcome("bare forwarder", forwarder::run(&setup))
}

fn outcome(who: &str, result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{who}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Report {
    let mut report = Report::default();
    if options.measures("start") {
        report.start = singles::start(options);
    }
    if ["cpu", "latency", "initial", "tcp", "systems"].iter().any(|part| options.measures(part)) {
        let mut present = |name: String, missing: Option<String>| {
            let line = missing.map(|why| format!("{name}: {why}"));
            report.skipped.extend(line.clone());
            line.is_none()
        };
        let wanted = Front::ALL.into_iter().filter(|front| options.takes(&front.name()));
        let fronts: Vec<_> = wanted.filter(|front| present(front.name(), front.missing())).collect();
        let placements = Placement::ALL.into_iter();
        let placements: Vec<_> = placements.filter(|place| present(place.name().to_owned(), place.missing())).collect();
        if options.measures("cpu") || options.measures("latency") {
            report.series = load::measure(options, &fronts, &placements);
        }
        if options.measures("initial") {
            report.floods = flood::measure(options, &fronts, &placements);
        }
        if options.measures("tcp") {
            report.over_tcp = over_tcp::measure(options);
        }
        if options.measures("systems") {
            report.systems = systems::measure(options, &placements);
        }
        report.buffers = if fronts.contains(&Front::Pointsman) { load::buffers() } else { None };
    }
    if options.measures("beside") {
        report.beside = beside::measure(options);
    }
    if options.measures("sizes") {
        report.evenness = singles::evenness(options);
    }
    if options.measures("memory") {
        report.memory = Some(singles::memory());
    }
    if options.measures("flood") {
        report.forged = forged::measure();
    }
    report
}
