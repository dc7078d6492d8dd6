//! `pointsman stat`: the load and state of each worker.

use clap::Args;
use pointsman::admin::client::Client;
use pointsman::admin::protocol::Command;
use pointsman::admin::proxies::{self, Proxies};
use pointsman::admin::table::{missing, table, trouble};
use pointsman::server::stats::{Counters, ListenerCounters, Snapshot, Total};

use crate::flags::Ask;
use crate::output::{Failure, print};

/// The stats of a running dispatcher.
#[derive(Args, Debug)]
#[command(after_help = "\
Exit code 1 when no dispatcher answers, or when a worker or a downstream proxy that is not in `maint` is not up.

Examples:
  pointsman stat                    a table
  pointsman stat --json             one JSON object
  pointsman stat --watch --json     one JSON object a second
  pointsman stat --counters         every total by reason
  pointsman stat proxies            the downstream proxies, their weights and what these come from
  echo load | nc -N -U /run/pointsman/stats.sock")]
pub struct Flags {
    /// `proxies`: the downstream proxies
    #[arg(value_name = "WHAT", conflicts_with_all = ["watch", "counters"])]
    what: Option<What>,
    #[command(flatten)]
    ask: Ask,
    /// Repeat once a second
    #[arg(long)]
    watch: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Every total broken down by reason
    #[arg(long, conflicts_with = "watch")]
    counters: bool,
}

/// Figures other than those of the workers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Proxies,
}

/// Shows the stats once, or until the dispatcher or the reader is gone.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    if flags.what.is_some() {
        let reply = client.ask(&Command::Proxies)?;
        let downstream: Proxies = client.read(&reply)?;
        print(&if flags.json { reply + "\n" } else { proxies::table(&downstream) })?;
        return judged(&proxies::missing(&downstream));
    }
    if flags.counters {
        return counters(&mut client, flags.json);
    }
    if !flags.watch {
        let reply = client.ask(&Command::Load)?;
        let load: Snapshot = client.read(&reply)?;
        let downstream: Proxies = client.read(&reply)?;
        print(&if flags.json { reply + "\n" } else { table(&load) })?;
        return judged(&[missing(&load), proxies::missing(&downstream)].concat());
    }
    client.send(&Command::Watch)?;
    loop {
        let reply = client.next_reply()?;
        let text = if flags.json { reply + "\n" } else { table(&client.read(&reply)?) + "\n" };
        print(&text)?;
    }
}

/// Fails if something is missing.
fn judged(missing: &[String]) -> Result<(), Failure> {
    trouble(missing).map_or(Ok(()), |what| Err(Failure::unhealthy(what)))
}

fn counters(client: &mut Client, json: bool) -> Result<(), Failure> {
    let reply = client.ask(&Command::Counters)?;
    if json {
        return print(&(reply + "\n"));
    }
    let counters: Counters = client.read(&reply)?;
    let mut text = String::new();
    let connections = &counters.connections;
    let totals: [(&str, &Total); 12] = [
        ("received", &counters.received),
        ("handed over", &counters.handed_over),
        ("forwarded", &counters.forwarded),
        ("responses", &counters.responses),
        ("relayed", &counters.relayed),
        ("replied", &counters.replied),
        ("dropped", &counters.dropped),
        ("refused", &counters.refused),
        ("returned", &counters.returned),
        ("vacant", &counters.vacant),
        ("connections accepted", &connections.accepted),
        ("connections closed", &connections.closed),
    ];
    for (name, total) in totals {
        text += &format!("{:>12}  {name}\n", total.total);
        for (reason, count) in total.reasons.iter().filter(|(_, count)| **count > 0) {
            text += &format!("{count:>12}    {reason}\n");
        }
    }
    let entries = &counters.table;
    text += &format!("table: {} of {} entries, {} unrecorded\n", entries.entries, entries.cap, entries.unrecorded);
    for listener in counters.listeners.iter().filter(|listener| !takes_connections(listener)) {
        text += &format!(
            "listener {}: received {}, overflow {}, receive buffer {}, send buffer {}\n",
            listener.address, listener.received, listener.rx_overflow, listener.receive_buffer, listener.send_buffer
        );
    }
    for listener in counters.listeners.iter().filter(|listener| takes_connections(listener)) {
        text += &format!(
            "listener {}:{}: received {}, {} connections, {} accepted\n",
            listener.transport, listener.address, listener.received, listener.connections, listener.accepted
        );
    }
    if connections.limit > 0 {
        text += &format!(
            "connections: {} open, {} handshakes under way, of {} in all; of {} handshakes\n",
            connections.open, connections.handshakes, connections.limit, connections.handshakes_limit
        );
    }
    for link in &counters.links {
        text += &format!(
            "link {}: {} records in {} frames, {} of {} bytes retained\n",
            link.worker, link.records, link.frames, link.retained_bytes, link.retention
        );
    }
    print(&text)
}

/// Whether a listener has connections in place of datagrams.
fn takes_connections(listener: &ListenerCounters) -> bool {
    matches!(&*listener.transport, "tcp" | "tls" | "ws" | "wss")
}
