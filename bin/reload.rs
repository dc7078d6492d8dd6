//! `pointsman reload`: the dispatcher reads its configuration file again.

use clap::Args;
use pointsman::admin::protocol::Command;
use serde::Deserialize;

use crate::flags::Ask;
use crate::output::{Failure, print};

/// The dispatcher that is to read its file again.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Deserialize)]
struct Reloaded {
    changed: Vec<Changed>,
}

#[derive(Deserialize)]
struct Changed {
    key: String,
    from: String,
    to: String,
}

/// Has the file read and shows what changed.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    let reply = client.ask(&Command::Reload)?;
    let Reloaded { changed } = client.read(&reply)?;
    if changed.is_empty() {
        return print("nothing changed\n");
    }
    print(&changed.iter().map(|c| format!("{}: {} -> {}\n", c.key, c.from, c.to)).collect::<String>())
}
