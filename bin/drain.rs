//! `pointsman drain`: workers get no new sessions; those they have go on.

use std::time::Instant;

use clap::Args;
use pointsman::admin::client::Client;
use pointsman::admin::protocol::{Command, NotACommand};
use pointsman::config::Span;
use pointsman::server::stats::{AdminState, Snapshot, State, WorkerLoad};

use crate::flags::Ask;
use crate::output::{Failure, print};

/// Workers or proxies, and the dispatcher they belong to.
#[derive(Args, Debug)]
pub struct Workers {
    /// Workers, such as w2, or downstream proxies, by name
    #[arg(value_name = "NAME", required_unless_present = "all", value_parser = name)]
    workers: Vec<String>,
    /// All workers there are
    #[arg(long, conflicts_with = "workers")]
    all: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Reads the name of a worker or of a proxy.
fn name(text: &str) -> Result<String, NotACommand> {
    Command::set(text, AdminState::Ready).map(|_| text.to_owned())
}

/// Workers to drain, and whether to wait for their sessions.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit code 0 when it is ordered; with --wait, when nothing is left; 1 when something is left after --within.

Examples:
  pointsman drain w2
  pointsman drain --all --within 10m && systemctl stop pointsman")]
pub struct Flags {
    #[command(flatten)]
    workers: Workers,
    /// Wait until none of them has a session left
    #[arg(long)]
    wait: bool,
    /// Wait so long at most, such as 90s or 10m
    #[arg(long, value_name = "TIME")]
    within: Option<Span>,
}

/// Drains the workers, and waits where that is wanted.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.workers.ask.connect()?;
    let workers = set(&mut client, &flags.workers, AdminState::Drain)?;
    if flags.wait || flags.within.is_some() { wait(&mut client, &workers, flags.within) } else { Ok(()) }
}

/// Sets the state of each worker, in the order they are named; stops at the first that cannot have it.
pub fn order(workers: &Workers, admin: AdminState) -> Result<(), Failure> {
    set(&mut workers.ask.connect()?, workers, admin).map(drop)
}

fn set(client: &mut Client, workers: &Workers, admin: AdminState) -> Result<Vec<String>, Failure> {
    let names = match workers.all {
        true => client.load()?.workers.into_iter().map(|worker| worker.name).collect(),
        false => workers.workers.clone(),
    };
    for name in &names {
        client.ask(&Command::set(name, admin).map_err(Failure::usage)?)?;
        print(&format!("{name}: {}\n", admin.label()))?;
    }
    Ok(names)
}

/// Watches the workers until none has a session left.
fn wait(client: &mut Client, workers: &[String], within: Option<Span>) -> Result<(), Failure> {
    let began = Instant::now();
    client.send(&Command::Watch)?;
    loop {
        let reply = client.next_reply()?;
        let load: Snapshot = client.read(&reply)?;
        let left: Vec<String> = load.workers.iter().filter(|worker| is_left(worker, workers)).map(words).collect();
        if left.is_empty() {
            return print("nothing is left\n");
        }
        if let Some(Span::Of(within)) = within
            && began.elapsed() >= within
        {
            return Err(Failure::unhealthy(format_args!("after {}: {}", Span::Of(within), left.join(", "))));
        }
    }
}

/// Whether this is one of the workers and it still has a session, or a call just handed over. One that is down has
/// none.
fn is_left(worker: &WorkerLoad, workers: &[String]) -> bool {
    let is_named = workers.contains(&worker.name);
    is_named && worker.state != State::Down && (worker.sessions > 0 || worker.ledger > 0)
}

fn words(worker: &WorkerLoad) -> String {
    match (worker.sessions, worker.ledger) {
        (0, _) => format!("{} has a call just handed over", worker.name),
        (1, _) => format!("{} has 1 session", worker.name),
        (sessions, _) => format!("{} has {sessions} sessions", worker.name),
    }
}
