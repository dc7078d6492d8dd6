//! The part of the dispatcher's table that is about this worker: the transactions that were handed over and whose
//! messages may still come to the well-known port. A dispatcher that dies takes its table with it; the worker tells the
//! next one from here.
//!
//! Each is kept from its handover until 64·T1 after its final response, as the table does; MGCP's T-HIST is about the
//! same (RFC 3435 §3.5.1).

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::call::{Arrival, Path, Request};
use crate::fingerprint::Printer;
use crate::ids::{Seq, TokenKey};
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::name::mgcp::Names;
use crate::wire::handoff::MESSAGE_HEADER;
use crate::wire::mgcp;
use crate::words::{Envelope, OpenTransaction};

/// Transactions at most. Beyond it the oldest answered ones go, as in the dispatcher's table.
const LIMIT: usize = 1 << 17;
/// Most bytes of unanswered requests that are handed back: as many as a dispatcher keeps for a worker by default.
const UNANSWERED_BYTES: usize = 16 << 20;

/// The transactions that were handed over.
#[derive(Debug, Default)]
pub(super) struct OpenTransactions {
    key: Option<(TokenKey, Printer)>,
    /// Transactions by their names. The names are keyed hashes already, so a fixed hasher is safe.
    held: HashMap<[u8; 16], OpenTransaction, FixedState>,
    /// Transactions without a final response, by the number of their first copy.
    open: HashMap<Seq, Unanswered, FixedState>,
    /// Transactions with a final response, in the order in which they are forgotten.
    answered: VecDeque<(Time, [u8; 16])>,
}

/// A transaction without a final response.
#[derive(Debug)]
struct Unanswered {
    name: [u8; 16],
    /// The envelope of its request. `None` for MGCP: a call agent sends its command again.
    envelope: Option<Envelope>,
}

impl OpenTransactions {
    /// Names transactions with `key` from now on. Names made with another key are dropped: no dispatcher can use them
    /// any more.
    pub(super) fn set_key(&mut self, key: Option<TokenKey>) {
        if self.key.as_ref().map(|(key, _)| key) != key.as_ref() {
            *self = OpenTransactions {
                key: key.map(|key| (key.clone(), Printer::new(&key))),
                ..OpenTransactions::default()
            };
        }
    }

    /// A request was handed over.
    pub(super) fn on_request(&mut self, request: &Request<'_>, envelope: &Envelope, now: Time) {
        let Some((_, printer)) = &self.key else { return };
        let Some(opened) = request.opened(printer) else {
            let cancelled = request.cancelled(printer);
            if let Some(held) = cancelled.and_then(|name| self.held.get_mut(&name)) {
                held.is_cancelled = true;
            }
            return;
        };
        self.open(opened, envelope.seq, Some(*envelope), now);
    }

    fn open(&mut self, opened: OpenTransaction, seq: Seq, envelope: Option<Envelope>, now: Time) {
        self.forget(now);
        // A retransmission: the answer to the first copy answers it as well.
        if self.held.contains_key(&opened.name) {
            return;
        }
        if self.held.len() >= LIMIT && !self.forget_oldest() {
            return;
        }
        self.held.insert(opened.name, opened);
        self.open.insert(seq, Unanswered { name: opened.name, envelope });
    }

    /// An MGCP message was handed over.
    pub(super) fn on_mgcp(&mut self, message: &mgcp::Message<'_>, arrival: &Arrival, now: Time) {
        let (Some((_, printer)), mgcp::Message::Command(command)) = (&self.key, message) else { return };
        let Path::Handoff { seq, .. } = arrival.path else { return };
        if let Some(opened) = Names::opened_by(command, arrival.source.ip(), printer) {
            self.open(opened, seq, None, now);
        }
    }

    /// The final response to message `seq` has left, or none will. Gives the transaction's name, if it is one of these.
    pub(super) fn on_answered(&mut self, seq: Seq, now: Time) -> Option<[u8; 16]> {
        let Unanswered { name, .. } = self.open.remove(&seq)?;
        self.held.get_mut(&name)?.is_answered = true;
        self.answered.push_back((now + LIFETIME, name));
        Some(name)
    }

    /// Message `seq` went back to the dispatcher: its transaction belongs to another worker now.
    pub(super) fn on_refused(&mut self, seq: Seq) {
        if let Some(Unanswered { name, .. }) = self.open.remove(&seq) {
            self.held.remove(&name);
        }
    }

    /// Messages of `requests`, which have no final response, for a new dispatcher: each as it came, the first one
    /// first, and no more than a dispatcher keeps.
    pub(super) fn unanswered(&self, requests: impl Iterator<Item = (Seq, Arc<[u8]>)>) -> Vec<(Envelope, Arc<[u8]>)> {
        let of = |(seq, bytes)| Some((self.open.get(&seq)?.envelope?, bytes));
        let mut unanswered: Vec<(Envelope, Arc<[u8]>)> = requests.filter_map(of).collect();
        unanswered.sort_unstable_by_key(|(envelope, _)| (envelope.received, envelope.seq));
        let mut bytes = 0;
        let mut fits = |(_, request): &(Envelope, Arc<[u8]>)| {
            bytes += MESSAGE_HEADER + request.len();
            bytes <= UNANSWERED_BYTES
        };
        let kept = unanswered.iter().take_while(|it| fits(it)).count();
        unanswered.truncate(kept);
        unanswered
    }

    /// All that may still matter.
    pub(super) fn all(&mut self, now: Time) -> Vec<OpenTransaction> {
        self.forget(now);
        self.held.values().copied().collect()
    }

    fn forget(&mut self, now: Time) {
        while self.answered.front().is_some_and(|(over, _)| *over <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, name)) = self.answered.pop_front() else { return false };
        self.held.remove(&name);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;
    use crate::words::Transport;

    const SECOND: u64 = 1_000_000;

    fn take(transactions: &mut OpenTransactions, text: &str, seq: u64, now: u64) {
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        transactions.on_request(&Request::read(&message).unwrap(), &Envelope::plain(seq), Time(now));
    }

    fn hand_over(transactions: &mut OpenTransactions, name: &str, seq: u64, now: u64) {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{name}\r\nFrom: <sip:c@d>;tag=f\r\n\
             To: <sip:a@b>\r\nCall-ID: {name}\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        take(transactions, &text, seq, now);
    }

    fn with_key() -> OpenTransactions {
        let mut transactions = OpenTransactions::default();
        transactions.set_key(Some(TokenKey::new([1; 32])));
        transactions
    }

    fn answered(transactions: &mut OpenTransactions, now: u64) -> Vec<bool> {
        let mut held: Vec<bool> = transactions.all(Time(now)).iter().map(|held| held.is_answered).collect();
        held.sort_unstable();
        held
    }

    #[test]
    fn a_transaction_is_held_until_64_t1_after_its_final_response() {
        let mut transactions = with_key();
        hand_over(&mut transactions, "a", 1, 0);
        hand_over(&mut transactions, "b", 2, 0);
        // A minute of ringing.
        assert!(transactions.on_answered(Seq(1), Time(60 * SECOND)).is_some());
        assert_eq!(answered(&mut transactions, 60 * SECOND), [false, true]);
        assert_eq!(answered(&mut transactions, 92 * SECOND), [false]);
        assert_eq!(transactions.on_answered(Seq(1), Time(93 * SECOND)), None, "it is not answered twice");
    }

    #[test]
    fn a_retransmission_opens_nothing_and_one_that_went_back_is_not_held() {
        let mut transactions = with_key();
        hand_over(&mut transactions, "a", 1, 0);
        hand_over(&mut transactions, "a", 2, 0);
        assert_eq!(transactions.on_answered(Seq(2), Time(0)), None);
        assert_eq!(answered(&mut transactions, 0), [false]);
        transactions.on_refused(Seq(1));
        assert_eq!(answered(&mut transactions, 0), [false; 0]);
    }

    #[test]
    fn unanswered_requests_are_handed_back_as_they_came_and_never_more_than_a_dispatcher_keeps() {
        let mut transactions = with_key();
        (1..=3).for_each(|seq| hand_over(&mut transactions, &format!("b{seq}"), seq, 0));
        transactions.on_answered(Seq(2), Time(0));
        let requests = |length: usize| [3, 2, 1, 9].map(|seq| (Seq(seq), Arc::from(vec![b'x'; length])));
        let back = |length| {
            let back = transactions.unanswered(requests(length).into_iter());
            back.iter().map(|(envelope, bytes)| (envelope.seq.0, bytes.len())).collect::<Vec<_>>()
        };
        assert_eq!(back(5), [(1, 5), (3, 5)], "the second is answered, the ninth was never handed over");
        assert_eq!(back(10 << 20), [(1, 10 << 20)]);
    }

    #[test]
    fn a_transaction_whose_cancel_has_come_is_told_as_such() {
        let mut transactions = with_key();
        hand_over(&mut transactions, "a", 1, 0);
        hand_over(&mut transactions, "b", 2, 0);
        let text = "CANCEL sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKb\r\nFrom: <sip:c@d>;tag=f\r\n\
             To: <sip:a@b>\r\nCall-ID: b\r\nCSeq: 1 CANCEL\r\n\r\n";
        take(&mut transactions, text, 3, 0);
        let mut cancelled: Vec<bool> = transactions.all(Time(0)).iter().map(|held| held.is_cancelled).collect();
        cancelled.sort_unstable();
        assert_eq!(cancelled, [false, true]);
    }

    #[test]
    fn an_mgcp_transaction_is_held_by_the_name_that_the_dispatcher_gives_it_whatever_port_it_comes_from() {
        let mut transactions = with_key();
        let mut hand_over = |text: &str, source: &str, seq| {
            let arrival = Arrival::handed_over(&Envelope {
                transport: Transport::Mgcp,
                source: source.parse().unwrap(),
                ..Envelope::plain(seq)
            });
            transactions.on_mgcp(&mgcp::parse(text.as_bytes()).unwrap(), &arrival, Time(0));
        };
        hand_over("CRCX 7 ann/$@ms MGCP 1.0\nC: 1\n", "192.0.2.1:2727", 1);
        hand_over("CRCX 7 ann/$@ms MGCP 1.0\nC: 1\n", "192.0.2.1:2728", 2);
        hand_over("MDCX 8 ann/pm1/1@ms MGCP 1.0\nC: 1\n", "192.0.2.1:2727", 3);
        hand_over("200 9 OK\n", "192.0.2.1:2727", 4);
        assert_eq!(answered(&mut transactions, 0), [false], "what names its worker is found without a table");
        assert!(transactions.on_answered(Seq(1), Time(0)).is_some());
        assert_eq!(answered(&mut transactions, 1), [true]);
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let source = "192.0.2.1".parse().unwrap();
        let name = Names::transaction(source, mgcp::TransactionId(7), &printer);
        assert_eq!(transactions.all(Time(1))[0].name, name.to_bytes());
    }

    #[test]
    fn names_of_another_key_are_forgotten_and_without_a_key_nothing_is_named() {
        let mut transactions = with_key();
        hand_over(&mut transactions, "a", 1, 0);
        transactions.set_key(Some(TokenKey::new([1; 32])));
        assert_eq!(answered(&mut transactions, 0), [false]);
        transactions.set_key(None);
        hand_over(&mut transactions, "b", 2, 0);
        assert_eq!(answered(&mut transactions, 0), [false; 0]);
    }

    #[test]
    fn the_oldest_answered_one_makes_room() {
        let mut transactions = with_key();
        for seq in 0..LIMIT as u64 {
            let name = u128::from(seq).to_le_bytes();
            transactions.held.insert(name, OpenTransaction { name, ..OpenTransaction::default() });
            transactions.open.insert(Seq(seq), Unanswered { name, envelope: None });
        }
        hand_over(&mut transactions, "a", 1 << 40, 0);
        assert_eq!(transactions.held.len(), LIMIT);
        assert_eq!(transactions.on_answered(Seq(1 << 40), Time(0)), None, "all others wait for their answer");
        transactions.on_answered(Seq(7), Time(0));
        hand_over(&mut transactions, "b", 1 << 41, 0);
        assert!(transactions.on_answered(Seq(1 << 41), Time(0)).is_some());
        assert!(!transactions.held.contains_key(&7_u128.to_le_bytes()));
    }
}
