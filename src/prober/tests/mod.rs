//! Probes by value: what leaves, and the meaning of what comes back.

mod exchange;
mod http;
mod names;
mod schedule;
mod sockets;
mod streams;

use std::net::SocketAddr;
use std::time::Duration;

use super::exchange::Subject;
use crate::config::Probe;
use crate::fingerprint::Printer;
use crate::ids::TokenKey;
use crate::words::Transport;

/// The printer of the lanes.
fn printer() -> Printer {
    Printer::new(&TokenKey::new([7; 32]))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn subject(kind: Probe) -> Subject {
    let to = address("192.0.2.21:5060");
    Subject { to, transport: Transport::Udp, kind, asks_load: true, within: Duration::from_secs(1) }
}

/// The value of a header in a message.
fn field<'m>(message: &'m str, name: &str) -> &'m str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {message}"))
}

/// A response to a request of ours.
fn response(request: &str, status: &str, more: &str) -> String {
    let copied = ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", field(request, name)));
    let to = field(request, "To");
    format!("SIP/2.0 {status}\r\n{}To: {to};tag=t\r\n{more}Content-Length: 0\r\n\r\n", copied.concat())
}
