//! The names of MGCP transactions and calls in table and groups.
//!
//! The dispatcher computes them from each command. A worker that comes back from an earlier dispatcher lists its
//! transactions by the same names, made with the same key.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::fingerprint::{Fingerprint, Printer};
use crate::wire::mgcp::{Command, TransactionId, Verb};
use crate::words;

/// The name of a call's group on a link begins with this; the call id follows.
pub const CALL: &[u8] = b"C:";

/// Purposes of fingerprints.
const TRANSACTION: u8 = b'm';
const GROUP: u8 = b'C';

/// Most characters of a call id that count; RFC 3435 §3.2.2.5 allows 32.
const CALL_ID: usize = 64;

/// The names of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// (source address, transaction identifier). The port is left out, since a call agent may retransmit from another
    /// one.
    pub transaction: Fingerprint,
    /// The call id, if there is one.
    pub call: Option<Fingerprint>,
}

impl Names {
    /// The names of a command from `source`.
    pub fn of(command: &Command<'_>, source: IpAddr, printer: &Printer) -> Self {
        let call = command.call_id().filter(|id| !id.is_empty()).map(|id| call(id, printer));
        Names { transaction: Names::transaction(source, command.transaction(), printer), call }
    }

    /// The name of transaction `id` of `source`.
    pub fn transaction(source: IpAddr, id: TransactionId, printer: &Printer) -> Fingerprint {
        let id = id.0.to_be_bytes();
        match source.to_canonical() {
            IpAddr::V4(address) => printer.print(TRANSACTION, &[&address.octets(), &id]),
            IpAddr::V6(address) => printer.print(TRANSACTION, &[&address.octets(), &id]),
        }
    }

    /// The name of transaction `id` of a call agent that shares its address with others and has transaction ids of its
    /// own.
    pub fn beside(source: SocketAddr, id: TransactionId, printer: &Printer) -> Fingerprint {
        let shared = Names::transaction(source.ip(), id, printer);
        printer.print(TRANSACTION, &[&shared.to_bytes(), &source.port().to_be_bytes()])
    }

    /// The transaction that a handed-over command has opened in the dispatcher's table; `None` for commands that name
    /// their worker themselves.
    pub fn opened_by(command: &Command<'_>, source: IpAddr, printer: &Printer) -> Option<words::OpenTransaction> {
        if command.verb() != Verb::Crcx {
            return None;
        }
        let Names { transaction, call } = Names::of(command, source, printer);
        let (name, call) = (transaction.to_bytes(), call.unwrap_or(transaction).to_bytes());
        Some(words::OpenTransaction { name, call, ..words::OpenTransaction::default() })
    }
}

/// A transaction of one call agent. Call agents number theirs (RFC 3435 §3.2.1.2), so the sender's address counts. So
/// does its port: several call agents at one address may use the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionKey {
    source: IpAddr,
    id: TransactionId,
    port: u16,
}

impl TransactionKey {
    /// Transaction `id` of the call agent at `source`. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn new(source: SocketAddr, id: TransactionId) -> Self {
        TransactionKey { source: source.ip().to_canonical(), id, port: source.port() }
    }

    /// The transaction id.
    pub const fn id(self) -> TransactionId {
        self.id
    }

    /// The port that the command came from.
    pub const fn port(self) -> u16 {
        self.port
    }

    /// The transactions of any port of this address, with ids from `first` to `last`.
    pub const fn of_any_port(self, first: TransactionId, last: TransactionId) -> RangeInclusive<Self> {
        TransactionKey { id: first, port: 0, ..self }..=TransactionKey { id: last, port: u16::MAX, ..self }
    }

    /// Its fingerprint.
    pub fn print(self, printer: &Printer) -> Fingerprint {
        Names::beside(SocketAddr::new(self.source, self.port), self.id, printer)
    }
}

/// The name of a call's group. Call ids compare in any case (RFC 3435 §3.2.2.5: hexadecimal characters).
pub fn call(id: &[u8], printer: &Printer) -> Fingerprint {
    let mut lower = [0; CALL_ID];
    printer.print(GROUP, &[lowered(id, &mut lower)])
}

/// As much of `text` in lower case as `buffer` holds.
pub fn lowered<'b>(text: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let length = text.len().min(buffer.len());
    let (lower, _) = buffer.split_at_mut(length);
    lower.iter_mut().zip(text).for_each(|(lower, byte)| *lower = byte.to_ascii_lowercase());
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TokenKey;
    use crate::wire::mgcp::{Message, parse};

    fn command(text: &str) -> Command<'_> {
        let Ok(Message::Command(command)) = parse(text.as_bytes()) else { panic!("{text}") };
        command
    }

    fn names(text: &str, source: &str) -> Names {
        Names::of(&command(text), source.parse().unwrap(), &Printer::new(&TokenKey::new([1; 32])))
    }

    #[test]
    fn transactions_compare_as_numbers_of_one_address_and_call_ids_in_any_case() {
        let first = names("CRCX 042 ann/$@ms MGCP 1.0\nC: A1F\n", "192.0.2.1");
        assert_eq!(first, names("CRCX 42 ann/$@ms MGCP 1.0\nC: a1f\n", "::ffff:192.0.2.1"));
        assert_ne!(first.transaction, names("CRCX 42 ann/$@ms MGCP 1.0\n", "192.0.2.2").transaction);
        assert_ne!(first.transaction, names("CRCX 43 ann/$@ms MGCP 1.0\n", "192.0.2.1").transaction);
        assert_ne!(first.call, names("CRCX 42 ann/$@ms MGCP 1.0\nC: a1f0\n", "192.0.2.1").call);
    }

    #[test]
    fn a_worker_names_a_transaction_as_the_dispatcher_does() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let source = "192.0.2.1".parse().unwrap();
        let text = "CRCX 42 ann/$@ms MGCP 1.0\nC: A1F\n";
        let opened = Names::opened_by(&command(text), source, &printer).unwrap();
        let names = Names::of(&command(text), source, &printer);
        assert_eq!(Fingerprint::from_bytes(opened.name), names.transaction);
        assert_eq!(Some(Fingerprint::from_bytes(opened.call)), names.call);
        assert!(!opened.is_invite && !opened.is_answered);
        assert_eq!(Names::opened_by(&command("MDCX 42 ann/1@ms MGCP 1.0\n"), source, &printer), None);
    }
}
