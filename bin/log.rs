//! The log: to stderr, a line an event, chosen with POINTSMAN_LOG (`info`, `debug`, `pointsman::dispatch=debug`).
//!
//! Under systemd, where stderr is the journal, a line begins with its priority instead of its time, as sd-daemon(3) has
//! it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;

use pointsman::net::log;
use tracing::{Level, Metadata, error, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

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
    log::start(|lines| warn!(pid = std::process::id(), lines, "the log is read too slowly: lines were left out"))
        .map_err(|error| Failure::usage(format_args!("cannot start the log: {error}")))?;
    let to_journal = is_journal();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(ToLog { to_journal })
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // The subscriber would write its own errors to stderr directly.
        .log_internal_errors(false);
    if to_journal {
        subscriber.without_time().init();
    } else {
        subscriber.init();
    }
    panic::set_hook(Box::new(|panic| {
        panic.to_string().lines().for_each(|line| error!("{line}"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            trace.to_string().lines().for_each(|line| error!("{line}"));
        }
        // This line may be the last of the process.
        log::finish();
    }));
    Ok(())
}

/// Whether stderr is the journal: systemd names it by device and inode, because a child may have another stderr.
pub fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = rustix::fs::fstat(io::stderr().as_fd());
    own.is_ok_and(|own| named == format!("{}:{}", own.st_dev, own.st_ino))
}

/// The priority that syslog(3) has for a level.
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Takes each line to the queue.
struct ToLog {
    to_journal: bool,
}

/// One line on its way, with the priority it gets.
struct Line {
    priority: Option<u8>,
}

impl<'w> MakeWriter<'w> for ToLog {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { priority: None }
    }

    fn make_writer_for(&'w self, of: &Metadata<'_>) -> Line {
        Line { priority: self.to_journal.then(|| priority(*of.level())) }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.priority {
            Some(priority) => log::line(&marked(priority, bytes)),
            None => log::line(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text with a priority in front of each of its lines.
fn marked(priority: u8, text: &[u8]) -> Vec<u8> {
    let mark = [b'<', b'0' + priority, b'>'];
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [&mark[..], line]).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_text_has_its_priority() {
        let text = marked(priority(Level::WARN), b"WARN one\n  and its second line\n");
        assert_eq!(text, b"<4>WARN one\n<4>  and its second line\n");
        assert_eq!(marked(priority(Level::ERROR), b"x"), b"<3>x");
    }
}
