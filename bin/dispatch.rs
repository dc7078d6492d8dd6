//! `pointsman dispatch`: the dispatcher and its workers.

use pointsman::supervisor::{self, StartError};
use tracing::warn;

use crate::flags;
use crate::log;
use crate::output::Failure;

/// Runs the dispatcher until it is told to stop.
pub fn run(flags: flags::Dispatch, verbose: u8) -> Result<(), Failure> {
    log::start(verbose)?;
    let source = flags.source();
    let config = source.load()?;
    for note in config.notes() {
        warn!("{note}");
    }
    supervisor::run(config, source).map_err(|error| match error {
        // It had started: to start it again is right, unlike behind a start that is not possible.
        StartError::Lane(_) => Failure::unhealthy(error),
        _ => Failure::usage(error),
    })
}
