//! `pointsman forget`: dead workers that the dispatcher had not started are removed from the stats.

use clap::Args;
use pointsman::admin::client::Client;
use pointsman::admin::protocol::Command;
use pointsman::ids::{NotAWorkerName, WorkerId};
use pointsman::server::stats::WorkerLoad;

use crate::drain::each;
use crate::flags::Ask;
use crate::output::Failure;

/// Workers that are down, and the dispatcher they belonged to.
#[derive(Args, Debug)]
pub struct Flags {
    /// Workers, such as w4; one on another host also by the name in its certificate
    #[arg(value_name = "WORKER", required = true)]
    workers: Vec<String>,
    #[command(flatten)]
    ask: Ask,
}

/// Forgets the workers; one that cannot be keeps none of the others from it.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    let workers = flags.workers.iter().map(|name| named(&mut client, name)).collect::<Result<Vec<_>, _>>()?;
    each(&mut client, &workers, |worker| Ok(Command::Forget { worker: *worker }), ": forgotten\n")
}

/// The worker of this name, or with a certificate for it.
fn named(client: &mut Client, name: &str) -> Result<WorkerId, Failure> {
    let fault: NotAWorkerName = match name.parse() {
        Ok(worker) => return Ok(worker),
        Err(fault) => fault,
    };
    let is_certified = |worker: &&WorkerLoad| !name.is_empty() && worker.certified == name;
    let found = client.load()?.workers.iter().find(is_certified).and_then(|worker| worker.name.parse().ok());
    found.ok_or_else(|| Failure::usage(fault))
}
