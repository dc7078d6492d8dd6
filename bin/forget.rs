//! `pointsman forget`: dead workers that the dispatcher had not started are removed from the stats.

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::ids::WorkerId;

use crate::drain::each;
use crate::flags::Ask;
use crate::output::Failure;

/// Workers that are down, and the dispatcher they belonged to.
#[derive(Args, Debug)]
pub struct Flags {
    /// Workers, such as w4
    #[arg(value_name = "WORKER", required = true)]
    workers: Vec<WorkerId>,
    #[command(flatten)]
    ask: Ask,
}

/// Forgets the workers; one that cannot be keeps none of the others from it.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    each(&mut client, &flags.workers, |worker| Ok(Command::Forget { worker: *worker }), ": forgotten\n")
}
