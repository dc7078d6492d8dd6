//! `pointsman forget`: dead workers that the dispatcher had not started are removed from the stats.

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::ids::WorkerId;

use crate::flags::Ask;
use crate::output::{Failure, print};

/// Workers that are down, and the dispatcher they belonged to.
#[derive(Args, Debug)]
pub struct Flags {
    /// Workers, such as w4
    #[arg(value_name = "WORKER", required = true)]
    workers: Vec<WorkerId>,
    #[command(flatten)]
    ask: Ask,
}

/// Forgets the workers; stops at the first that cannot be.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    for &worker in &flags.workers {
        client.ask(&Command::Forget { worker })?;
        print(&format!("{worker}: forgotten\n"))?;
    }
    Ok(())
}
