//! `pointsman drain`: workers and downstream proxies get no new sessions; those they have go on.

use std::fmt::Display;
use std::time::Instant;

use clap::Args;
use pointsman::admin::client::{Client, ClientError};
use pointsman::admin::protocol::{Command, NotACommand};
use pointsman::config::Span;
use pointsman::server::stats::{AdminState, State, WorkerLoad};
use serde::Deserialize;

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
    /// Wait until none of them has a session left: a proxy by its reports, or else when the session-time of its calls
    /// is over
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

/// Sets the state of each worker, in the order they are named; one that cannot have it keeps none of the others from
/// it.
pub fn order(workers: &Workers, admin: AdminState) -> Result<(), Failure> {
    set(&mut workers.ask.connect()?, workers, admin).map(drop)
}

fn set(client: &mut Client, workers: &Workers, admin: AdminState) -> Result<Vec<String>, Failure> {
    let names = match workers.all {
        true => client.load()?.workers.into_iter().map(|worker| worker.name).collect(),
        false => workers.workers.clone(),
    };
    if names.is_empty() {
        return Err(Failure::unhealthy("there is no worker: name the downstream proxies that are meant"));
    }
    let words = format!(": {}\n", admin.label());
    each(client, &names, |name| Command::set(name, admin).map_err(Failure::usage), &words)?;
    Ok(names)
}

/// Asks for the same with each name, says `done` of those with which it was done, and fails with what was said of the
/// others.
pub fn each<N: Display>(
    client: &mut Client,
    names: &[N],
    command: impl Fn(&N) -> Result<Command, Failure>,
    done: &str,
) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for name in names {
        match client.ask(&command(name)?) {
            Ok(_) => print(&format!("{name}{done}"))?,
            Err(ClientError::Refused { error }) => refused.push(error),
            Err(error) => return Err(error.into()),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failure::unhealthy(refused.join("; "))) }
}

/// The part of the stats that a drain watches.
#[derive(Debug, Deserialize)]
struct Watched {
    workers: Vec<WorkerLoad>,
    proxies: Vec<Proxy>,
}

/// A downstream proxy at one address.
#[derive(Debug, Deserialize)]
struct Proxy {
    name: String,
    used: u32,
    outstanding: u32,
}

impl Proxy {
    /// Whether it is one of these. One with several addresses has each behind its name, and is known by either.
    fn is_one_of(&self, names: &[String]) -> bool {
        let entry = self.name.split('/').next();
        names.iter().any(|named| *named == self.name || Some(named.as_str()) == entry)
    }
}

/// Watches workers and proxies until none has a session left.
fn wait(client: &mut Client, names: &[String], within: Option<Span>) -> Result<(), Failure> {
    let began = Instant::now();
    client.send(&Command::Watch)?;
    loop {
        let reply = client.next_reply()?;
        let load: Watched = client.read(&reply)?;
        let workers = load
            .workers
            .iter()
            .filter(|it| names.contains(&it.name) || names.contains(&it.certified))
            .filter_map(left_at_worker);
        let proxies = load.proxies.iter().filter(|it| it.is_one_of(names)).filter_map(left_at_proxy);
        let left: Vec<String> = workers.chain(proxies).collect();
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

/// Sessions that a worker still has, in words; `None`: none, and no call just handed over. One that is down has none.
fn left_at_worker(worker: &WorkerLoad) -> Option<String> {
    match (worker.sessions, worker.ledger) {
        _ if worker.state == State::Down => None,
        (0, 0) => None,
        (0, _) => Some(format!("{} has a call just handed over", worker.name)),
        (sessions, _) => Some(format!("{} has {}", worker.name, counted(sessions))),
    }
}

/// Sessions that a proxy still has, as far as is known of it, in words; `None`: none, and no request without a
/// response.
fn left_at_proxy(proxy: &Proxy) -> Option<String> {
    match (proxy.used, proxy.outstanding) {
        (0, 0) => None,
        (0, _) => Some(format!("{} has a request without a response", proxy.name)),
        (used, _) => Some(format!("{} has {}", proxy.name, counted(used))),
    }
}

fn counted(sessions: u32) -> String {
    if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") }
}
