//! `pointsman connections`: open stream connections by listener and source, or one of them.

use clap::Args;
use pointsman::admin::connections::{figures, listing};
use pointsman::admin::protocol::Command;
use pointsman::server::stats::connections::{Connection, Connections};

use crate::flags::Ask;
use crate::output::{Failure, print};

/// Connections, and the dispatcher that has them.
#[derive(Args, Debug)]
#[command(after_help = "\
Without a number: how many connections each listener has open, and the sources with most of them, at most 100 a \
listener. A source is an IPv4 address or an IPv6 /64, as max-connections-per-source counts it. Connections whose \
handshakes are under way are not open yet; `pointsman stat --counters` has their number, the caps, and why connections \
were closed.

Exit code 1 when there is no connection with that number (any more).

Examples:
  pointsman connections             who has how many
  pointsman explain CALL-ID         names the connection of a call's messages, such as 1048577
  pointsman connections 1048577     its peer, its age, what waits on it
  echo connections | nc -N -U /run/pointsman/stats.sock")]
pub struct Flags {
    /// A connection's number, as `explain` shows it
    #[arg(value_name = "NUMBER", value_parser = number)]
    number: Option<u64>,
    #[command(flatten)]
    ask: Ask,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Reads the number of a connection.
fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "connections have numbers; `explain` shows them")
}

/// Shows the connections.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    let reply = client.ask(&Command::Connections { number: flags.number })?;
    if flags.json {
        return print(&(reply + "\n"));
    }
    let text = match flags.number {
        None => listing(&client.read::<Connections>(&reply)?),
        Some(_) => figures(&client.read::<Connection>(&reply)?),
    };
    print(&text)
}
