//! `pointsman handicap`: a downstream proxy gets another share of the calls.

use clap::Args;
use pointsman::admin::protocol::Command;

use crate::flags::Ask;
use crate::output::{Failure, print};

/// A proxy, its handicap, and the dispatcher it belongs to.
#[derive(Args, Debug)]
#[command(after_help = "\
The handicap holds until the configuration names another one for this proxy.

Examples:
  pointsman handicap fs1 50         half of what its neighbours of handicap 100 get")]
pub struct Flags {
    /// The proxy's name
    #[arg(value_name = "PROXY")]
    proxy: String,
    /// Its share beside others of the same delay and load, 1 to 1000
    #[arg(value_name = "N", value_parser = share)]
    handicap: u16,
    #[command(flatten)]
    ask: Ask,
}

/// Reads a handicap.
fn share(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|share| (1..=1000).contains(share)).ok_or("give a whole number, 1 to 1000")
}

/// Sets the handicap.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let command = Command::handicap(&flags.proxy, Some(flags.handicap)).map_err(Failure::usage)?;
    flags.ask.connect()?.ask(&command)?;
    print(&format!("{}: handicap {}\n", flags.proxy, flags.handicap))
}
