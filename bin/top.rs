//! `pointsman top`: the table of `stat`, again and again on a cleared screen.

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::admin::snapshot::Snapshot;
use pointsman::admin::table::{table, trouble};

use crate::flags::Ask;
use crate::output::{Failure, print};

/// The stats of a running dispatcher, once a second until Ctrl-C.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(flatten)]
    ask: Ask,
}

/// To the upper left corner; then, behind the text, clear the rest: the screen never flickers empty.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows the table until the dispatcher is gone.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    client.send(&Command::Watch)?;
    print("\x1b[2J")?;
    loop {
        let reply = client.next_reply()?;
        let load: Snapshot = client.read(&reply)?;
        let mut text = table(&load);
        if let Some(what) = trouble(&load) {
            text = format!("{text}\n{what}\n");
        }
        print(&format!("{HOME}{}{CLEAR_BELOW}", text.replace('\n', CLEAR_LINE)))?;
    }
}
