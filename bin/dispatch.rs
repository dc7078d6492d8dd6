//! `pointsman dispatch`: the dispatcher and its workers.

use clap::Args;
use pointsman::supervisor::{self, Beginning, StartError};
use tracing::warn;

use crate::flags;
use crate::log;
use crate::output::Failure;

/// The dispatcher's settings, and how it begins.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    settings: flags::Dispatch,
    /// Take over from the dispatcher that runs in the run directory: sockets, workers and all it knows; no call notices
    #[arg(long)]
    takeover: bool,
}

/// Runs the dispatcher until it is told to stop.
pub fn run(flags: Flags, verbose: u8) -> Result<(), Failure> {
    log::start(verbose)?;
    let beginning = if flags.takeover { Beginning::Takeover } else { Beginning::Start };
    let source = flags.settings.source();
    let config = source.load()?;
    for note in config.notes() {
        warn!("{note}");
    }
    supervisor::run(config, source, beginning).map_err(|error| match error {
        // It had started: to start it again is right, unlike behind a start that is not possible.
        StartError::Lane(_) => Failure::unhealthy(error),
        _ => Failure::usage(error),
    })
}
