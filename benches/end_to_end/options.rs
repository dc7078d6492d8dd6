//! The command line of the benchmark.

use std::collections::BTreeSet;
use std::time::Duration;

/// The measurements to make, and their length.
#[derive(Clone, Debug)]
pub struct Options {
    /// The processes in front; all when none is named.
    pub only: BTreeSet<String>,
    /// The parts; all when none is named.
    pub parts: BTreeSet<String>,
    /// Runs of each measurement, interleaved.
    pub runs: usize,
    /// Length of each run.
    pub span: Duration,
}

/// The parts there are.
pub const PARTS: [&str; 10] =
    ["cpu", "initial", "latency", "tcp", "systems", "beside", "sizes", "memory", "start", "flood"];

const USAGE: &str = "\
usage: cargo bench --bench end_to_end [-- OPTIONS]
  --only A,B     processes in front: pointsman, bare, kamailio-rawsend, kamailio-stateless,
                 kamailio-callload-stateless, kamailio-stateful, kamailio-callload, relay,
                 pointsman-proxy, pointsman-stateful, pointsman-message, tcp-relay
  --parts A,B    cpu, initial, latency, tcp, systems, beside, sizes, memory, start, flood
  --runs N       runs of each measurement, interleaved (7)
  --seconds S    length of a run (2)";

impl Options {
    /// Reads the words after the program's name; the error is the text to print.
    pub fn read(words: &[String]) -> Result<Self, String> {
        let mut options =
            Options { only: BTreeSet::new(), parts: BTreeSet::new(), runs: 7, span: Duration::from_secs(2) };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                // `cargo bench` adds this word by itself.
                "--bench" => {}
                "--only" => options.only = list(value()?),
                "--parts" => options.parts = list(value()?),
                "--runs" => options.runs = value()?.parse().ok().filter(|&runs| runs > 0).ok_or(USAGE)?,
                "--seconds" => {
                    let seconds = value()?.parse().ok().filter(|&seconds: &f64| seconds > 0.0).ok_or(USAGE)?;
                    options.span = Duration::from_secs_f64(seconds);
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        match options.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            Some(part) => Err(format!("there is no part {part}\n{USAGE}")),
            None => Ok(options),
        }
    }

    /// Whether a process in front takes part.
    pub fn takes(&self, front: &str) -> bool {
        self.only.is_empty() || self.only.contains(front)
    }

    /// Whether a part is to be measured.
    pub fn measures(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.contains(part)
    }
}

fn list(value: &str) -> BTreeSet<String> {
    value.split(',').map(|word| word.trim().to_owned()).collect()
}
