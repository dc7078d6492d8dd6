//! The log: to stderr, a line an event, chosen with POINTSMAN_LOG (`info`, `debug`, `pointsman::dispatch=debug`).

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::output::Failure;

/// The environment variable that chooses what is logged.
const VARIABLE: &str = "POINTSMAN_LOG";

/// Starts the log. `-v` counts where the variable is not set.
pub fn start(verbose: u8) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(chosen) if !chosen.is_empty() => EnvFilter::try_new(&chosen)
            .map_err(|error| Failure::usage(format_args!("{VARIABLE}={chosen}: {error}; use info, debug or trace")))?,
        _ => EnvFilter::new(match verbose {
            0 => "info",
            1 => "debug",
            _ => "trace",
        }),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Told on stderr as well, it would be a panic where stderr is a pipe whose reader has gone; the calls go on.
        .log_internal_errors(false)
        .init();
    Ok(())
}
