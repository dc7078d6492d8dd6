//! The `pointsman` executable: the command line. Each subcommand is a file.
//!
//! Exit codes: 0 fine, 1 not reachable or not healthy, 2 wrong use or a start that is not possible. Errors are one line
//! on stderr that names the fault and its remedy.

mod certify;
mod check;
mod connections;
mod dispatch;
mod drain;
mod explain;
mod flags;
mod forget;
mod handicap;
mod log;
mod maint;
mod notes;
mod output;
mod ready;
mod reload;
mod stat;
mod top;
mod worker;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use pointsman::net::process;

use crate::output::{Failure, print};

/// A dispatcher for media servers: one well-known port for SIP or MGCP, N worker processes, and out of the way after
/// the first message of each call.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    dispatch: dispatch::Flags,

    /// Log more: -v what happens to each message, -vv everything. POINTSMAN_LOG=debug does the same.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  pointsman --workers 4                       SIP on UDP port 5060, four workers on ports 5070 to 5073
  pointsman --workers 4 --listen udp:192.0.2.10:5060 --listen '[2001:db8::10]:5060'
  pointsman --workers 4 --listen mgcp:0.0.0.0:2427         MGCP, workers on ports 2430 to 2433
  pointsman --config /etc/pointsman.toml      settings from a file; flags win over it
  pointsman stat                              what each worker is doing
  pointsman drain w2                          no new sessions for w2; those it has go on
  pointsman check /etc/pointsman.toml         is this file fine?

Without a subcommand, `dispatch` runs. `pointsman SUBCOMMAND --help` tells more, and
`pointsman check --help` has the keys that stand in the file alone.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the dispatcher and its workers (this is the default).
    Dispatch(dispatch::Flags),
    /// Run one media worker by hand; the dispatcher starts its own.
    Worker(worker::Flags),
    /// Show each worker's load as a table.
    Stat(stat::Flags),
    /// Show the table again and again, on a cleared screen.
    Top(top::Flags),
    /// Give workers no new sessions; those they have go on.
    Drain(drain::Flags),
    /// Give workers new sessions again.
    Ready(ready::Flags),
    /// Take workers out of service: as drain, and their absence is no fault.
    Maint(maint::Flags),
    /// Give a downstream proxy another share, until the configuration changes it.
    Handicap(handicap::Flags),
    /// Remove from the stats dead workers that the dispatcher had not started.
    Forget(forget::Flags),
    /// Tell what was decided about a call, and why.
    Explain(explain::Flags),
    /// Show the open connections by listener and source, or one of them.
    Connections(connections::Flags),
    /// Have the dispatcher read its configuration file again (SIGHUP does the same).
    Reload(reload::Flags),
    /// Check a configuration file.
    Check(check::Flags),
    /// Make certificates for workers on other hosts.
    Certify(certify::Flags),
}

fn main() -> ExitCode {
    process::set_name(process::NAME);
    let command_line = match parse() {
        Ok(command_line) => command_line,
        Err(code) => return code,
    };
    let verbose = command_line.verbose;
    let done = match command_line.command.unwrap_or(Command::Dispatch(command_line.dispatch)) {
        Command::Dispatch(flags) => dispatch::run(flags, verbose),
        Command::Worker(flags) => worker::run(flags, verbose),
        Command::Stat(flags) => stat::run(&flags),
        Command::Top(flags) => top::run(&flags),
        Command::Drain(flags) => drain::run(&flags),
        Command::Ready(flags) => ready::run(&flags),
        Command::Maint(flags) => maint::run(&flags),
        Command::Handicap(flags) => handicap::run(&flags),
        Command::Forget(flags) => forget::run(&flags),
        Command::Explain(flags) => explain::run(flags),
        Command::Connections(flags) => connections::run(&flags),
        Command::Reload(flags) => reload::run(&flags),
        Command::Check(flags) => check::run(flags),
        Command::Certify(flags) => certify::run(flags),
    };
    let code = done.map_or_else(Failure::report, |()| ExitCode::SUCCESS);
    pointsman::net::log::finish();
    code
}

/// Reads the command line; help and version go to stdout, a fault is one line.
fn parse() -> Result<CommandLine, ExitCode> {
    let command = CommandLine::command();
    let parsed = command.try_get_matches().and_then(|mut found| CommandLine::from_arg_matches_mut(&mut found));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print(&error.render().to_string()).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
        }
        _ => Failure::usage(output::first_paragraph(&error.render().to_string())).report(),
    })
}
