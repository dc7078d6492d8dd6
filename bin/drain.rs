//! `pointsman drain`: workers get no new sessions; those they have go on.

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::admin::snapshot::AdminState;
use pointsman::ids::WorkerId;

use crate::flags::Ask;
use crate::output::{Failure, print};

/// Workers, and the dispatcher they belong to.
#[derive(Args, Debug)]
pub struct Flags {
    /// Workers, such as w2
    #[arg(value_name = "WORKER", required = true)]
    pub workers: Vec<WorkerId>,
    #[command(flatten)]
    pub ask: Ask,
}

/// Drains the workers.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    set(flags, AdminState::Drain)
}

/// Gives each worker the state, in the order they are named; stops at the first that cannot have it.
pub fn set(flags: &Flags, admin: AdminState) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    for &worker in &flags.workers {
        client.ask(&Command::Set { worker, admin })?;
        print(&format!("{worker}: {}\n", admin.label()))?;
    }
    Ok(())
}
