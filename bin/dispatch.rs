//! `pointsman dispatch`: the dispatcher and its workers.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use pointsman::config::Config;
use pointsman::net::lock_file::LockFile;
use pointsman::net::run_dir::RunDir;
use pointsman::supervisor::{self, StartError, StartMode};
use tracing::warn;

use crate::flags;
use crate::log;
use crate::notes;
use crate::output::Failure;

/// The dispatcher's settings, and the way in which it starts.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    settings: flags::Dispatch,
    /// Take over from the dispatcher that runs in the run directory: sockets, workers and all its state; calls go on
    #[arg(long)]
    takeover: bool,
    /// With --takeover: run in the background, and return once the new dispatcher serves
    #[arg(long, requires = "takeover")]
    detach: bool,
}

/// Runs the dispatcher until it is told to stop.
pub fn run(flags: Flags, verbose: u8) -> Result<(), Failure> {
    let source = flags.settings.source;
    if flags.detach {
        return in_background(&source.load()?);
    }
    log::start(verbose)?;
    let mode = if flags.takeover { StartMode::Takeover } else { StartMode::Start };
    let config = source.load()?;
    for note in notes::of(&source, &config) {
        warn!("{note}");
    }
    supervisor::run(config, source, mode).map_err(|error| match error {
        // The dispatcher had started: the service manager may start it again, unlike after a start that is not
        // possible.
        StartError::Lane(_) => Failure::unhealthy(error),
        _ => Failure::usage(error),
    })
}

/// Interval at which the lock is read, to see whether the dispatcher in the background serves.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Has a process of its own take over, and waits until the run directory's lock names it, or until it ends with the
/// reason why it could not. It keeps stderr, where its log goes, and neither stdin nor stdout of this command: a shell
/// or ssh that reads the output of the command to its end would wait for as long as the dispatcher runs.
fn in_background(config: &Config) -> Result<(), Failure> {
    let lock = RunDir::open(config.run_dir.as_deref()).map_err(Failure::usage)?.lock_file();
    let failed = |error| Failure::usage(format!("cannot start a dispatcher in the background: {error}"));
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let mut command = Command::new("/proc/self/exe");
    command.arg0("pointsman").args(words).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            // The process has reported the reason itself.
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Err(Failure::Told(code));
        }
        if LockFile::holder(&lock).is_ok_and(|holder| holder.and_then(|holder| holder.pid) == Some(child.id())) {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
