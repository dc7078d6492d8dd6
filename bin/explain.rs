//! `pointsman explain`: the decisions about a call, with their reasons.

use clap::Args;
use pointsman::admin::protocol::Command;
use pointsman::server::stats::{Action, Decided, Explained, Sender};

use crate::flags::Ask;
use crate::output::{Failure, print};

/// A call, and the dispatcher that saw it.
#[derive(Args, Debug)]
#[command(after_help = "\
Each lane remembers its last 65,536 decisions, also of calls long gone. Exit code 1 when nothing is remembered.")]
pub struct Flags {
    /// The Call-ID; of MGCP the call id, or the endpoint or the transaction of a command without one
    #[arg(value_name = "CALL-ID")]
    call_id: String,
    #[command(flatten)]
    ask: Ask,
    /// JSON instead of sentences
    #[arg(long)]
    json: bool,
}

/// Shows the decisions, oldest first.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let mut client = flags.ask.connect()?;
    let reply = client.ask(&Command::Explain { call_id: flags.call_id })?;
    let explained: Explained = client.read(&reply)?;
    let text = if flags.json { reply + "\n" } else { explained.decisions.iter().map(sentence).collect() };
    print(&text)?;
    if explained.decisions.is_empty() {
        return Err(Failure::unhealthy(format_args!("nothing is remembered about the call {}", explained.call_id)));
    }
    Ok(())
}

fn sentence(decided: &Decided) -> String {
    let worker = decided.worker.as_deref().unwrap_or("nobody");
    let proxy = decided.proxy.as_deref().unwrap_or("a proxy that is gone");
    let done = match decided.action {
        Action::HandedOver => format!("handed over to {worker}"),
        Action::Relayed if decided.worker.is_none() => "relayed to everyone".to_owned(),
        Action::Relayed => format!("relayed to {worker}"),
        Action::Forwarded if decided.weight > 0 => {
            let took = decided.ms.map_or(String::new(), |ms| format!(", {ms} ms"));
            format!("forwarded to {proxy}, weight {}{took}", decided.weight)
        }
        Action::Forwarded if decided.sent_by == Some(Sender::Proxy) => format!("forwarded from {proxy} to the caller"),
        Action::Forwarded if decided.sent_by == Some(Sender::Other) => {
            format!("not from {proxy}, forwarded to the caller")
        }
        Action::Forwarded => format!("forwarded to {proxy}"),
        Action::Stays => format!("stays with {proxy}"),
        Action::Response if decided.sent_by == Some(Sender::Caller) => format!("of the caller, forwarded to {proxy}"),
        Action::Response => format!("of {proxy}, forwarded"),
        Action::Replied if decided.status == 0 => "answered as before".to_owned(),
        Action::Replied => format!("answered with {}", decided.status),
        Action::Dropped => "dropped".to_owned(),
    };
    let size = if decided.size > 0 { format!(", size {}", decided.size) } else { String::new() };
    let over = match decided.connection {
        Some(connection) => format!(", over {}, connection {connection}", decided.transport),
        None => String::new(),
    };
    let pinned = match &decided.pinned_by {
        Some(why) => format!(", pinned by {why}"),
        None if decided.pinned => ", pinned".to_owned(),
        None => String::new(),
    };
    let method = if decided.method.is_empty() { String::new() } else { format!("{} ", decided.method) };
    let end = if decided.final_status == 0 { String::new() } else { format!(", ended with {}", decided.final_status) };
    let why = if decided.why.is_empty() { String::new() } else { format!(": {}", decided.why) };
    let age = decided.age_ms as f64 / 1000.0;
    format!("{age:>10.3} s ago: {method}{done} ({}{size}{over}{pinned}){end}{why}\n", decided.reason)
}
