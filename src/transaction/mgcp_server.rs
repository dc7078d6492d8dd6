//! MGCP server transactions (RFC 3435 §3.5): each command is carried out at most once, and its answer is kept for its
//! copies.
//!
//! ```text
//!               command
//!                  │
//!                  ▼          LONGTRAN, or a copy: 100
//!              Underway ───────────────────────────────► Underway, 100 sent ◄─ copy: 100
//!               │    │                                     │
//!               │    │ goes elsewhere                      │ final answer sent
//!  final answer │    └───────► forgotten                   │
//!  sent         ▼                                          ▼
//!           Answered ◄─ copy: again                    Answered ◄─ copy: again
//!            │    │                                     │    │  └─ RTO, doubled: again, until T-MAX
//!            │    │ K: or 000                 K: or 000 │    │
//!            │    └───────────► Confirmed ◄─────────────┘    │
//!            │                      │                        │
//!            │ T-HIST               │ T-HIST                 │ T-HIST
//!            └────────────────► forgotten ◄──────────────────┘
//! ```
//!
//! [`Transactions`] holds the commands of one worker, bounded in number and bytes, and knows which one a message is a
//! copy of. The owner carries commands out, writes the answers, and knows the way back.
//!
//! It departs from RFC 3435 in these points:
//!
//! - §3.5.1 names a transaction by its id and its call agent. Several call agents may share an address, each with ids
//!   from 1 on, and one call agent may send a copy from another port. So a command from another port is a copy only if
//!   its text is the same as well.
//! - §3.5.6 sends 100 at once if the command is known to take long. Here it is sent after LONGTRAN, or to a copy.
//! - A command for which there is no room is not carried out at all: its copy could not be told from a new one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::name::mgcp::TransactionKey;
use super::timers::{LONGTRAN, RTO, RTO_MAX, Resend, T_HIST, T_MAX};
use crate::time::Time;
use crate::wire::mgcp::TransactionId;

/// A command. `W` is what its owner needs to carry it out and to answer it.
#[derive(Debug)]
pub struct Transaction<W> {
    state: State,
    /// A hash of its text.
    print: u64,
    work: W,
    /// When a 100 is due; once it is answered, when it is forgotten.
    end: Time,
}

/// The states of the figure.
#[derive(Clone, Debug)]
enum State {
    Underway { said_100: bool },
    Answered { answer: Arc<[u8]>, resend: Option<Resend> },
    Confirmed,
}

/// The part of a copy of a command.
#[derive(Debug)]
pub enum Copied<'a, W> {
    /// The command is being carried out.
    Underway(&'a mut W),
    /// It gets this answer again.
    Answered(Arc<[u8]>),
    /// The call agent has confirmed the answer and does not wait for it.
    Confirmed,
}

/// Something for the owner to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Tell the call agent that the command takes time: 100 ([`Transactions::say_100`]).
    Provisional,
    /// Send the answer again.
    Again(Arc<[u8]>),
}

/// Transactions of one address and id that are searched for a copy, at most. Call agents at one address that use the
/// same ids, or ports that one call agent sends its copies from, are few. A sender that pretends to be more must not
/// make each command cost more.
const PORTS: usize = 16;

impl<W> Transaction<W> {
    /// The owner's part.
    pub const fn work(&self) -> &W {
        &self.work
    }

    /// The owner's part, to change.
    pub const fn work_mut(&mut self) -> &mut W {
        &mut self.work
    }

    /// While it has no final answer: whether a 100 has left. Its final answer must then ask for a confirmation (RFC
    /// 3435 §3.5.6).
    pub const fn said_100(&self) -> Option<bool> {
        match self.state {
            State::Underway { said_100 } => Some(said_100),
            State::Answered { .. } | State::Confirmed => None,
        }
    }

    /// Whether the call agent has confirmed its answer.
    #[cfg(test)]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed)
    }

    /// When [`Transactions::on_due`] is to be called for it.
    pub fn poll_timeout(&self) -> Time {
        match self.state {
            State::Underway { said_100: false } => self.end,
            State::Answered { resend: Some(resend), .. } => resend.at(),
            State::Underway { said_100: true } | State::Answered { resend: None, .. } | State::Confirmed => Time::NEVER,
        }
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Answered { answer, .. } => answer.len(),
            State::Underway { .. } | State::Confirmed => 0,
        }
    }
}

/// The commands that were answered or are being carried out.
#[derive(Debug)]
pub struct Transactions<W> {
    entries: BTreeMap<TransactionKey, Transaction<W>>,
    /// Those with an answer, in the order in which they are forgotten.
    answered: VecDeque<(Time, TransactionKey)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl<W> Transactions<W> {
    /// No transactions; at most `most`, whose answers have `most_bytes`.
    pub const fn new(most: usize, most_bytes: usize) -> Self {
        Transactions { entries: BTreeMap::new(), answered: VecDeque::new(), bytes: 0, most, most_bytes }
    }

    /// The command of which one with this key and text is a copy.
    pub fn find(&self, key: TransactionKey, print: u64) -> Option<TransactionKey> {
        if self.entries.contains_key(&key) {
            return Some(key);
        }
        let mut known = self.entries.range(key.of_any_port(key.id(), key.id())).take(PORTS);
        known.find(|(_, transaction)| transaction.print == print).map(|(known, _)| *known)
    }

    /// Begins a transaction, for which there must be room.
    pub fn begin(&mut self, key: TransactionKey, print: u64, work: W, now: Time) {
        let state = State::Underway { said_100: false };
        let before = self.entries.insert(key, Transaction { state, print, work, end: now + LONGTRAN });
        self.bytes -= before.map_or(0, |before| before.bytes());
    }

    /// A copy of a known command has come.
    pub fn on_copy(&mut self, key: TransactionKey) -> Option<Copied<'_, W>> {
        let Transaction { state, work, .. } = self.entries.get_mut(&key)?;
        Some(match state {
            State::Underway { .. } => Copied::Underway(work),
            State::Answered { answer, .. } => Copied::Answered(answer.clone()),
            State::Confirmed => Copied::Confirmed,
        })
    }

    /// A 100 leaves now.
    pub fn say_100(&mut self, key: TransactionKey) {
        if let Some(Transaction { state: State::Underway { said_100 }, .. }) = self.entries.get_mut(&key) {
            *said_100 = true;
        }
    }

    /// The final answer leaves now. Gives the owner's part; `None` if there is no such command without an answer.
    pub fn answer(&mut self, key: TransactionKey, answer: Arc<[u8]>, now: Time) -> Option<&mut W> {
        let transaction = self.entries.get_mut(&key)?;
        let said_100 = transaction.said_100()?;
        self.bytes += answer.len();
        let resend = said_100.then(|| Resend::first(RTO, now));
        transaction.state = State::Answered { answer, resend };
        transaction.end = now + T_HIST;
        self.answered.push_back((transaction.end, key));
        Some(&mut transaction.work)
    }

    /// Forgets a command that goes elsewhere, or whose answer need not be remembered.
    pub fn withdraw(&mut self, key: TransactionKey) -> Option<W> {
        self.entries.get(&key)?.said_100()?;
        self.entries.remove(&key).map(|transaction| transaction.work)
    }

    /// The call agent of `from` has the answers to these commands. At most `budget` of them are looked at, and the
    /// number is taken off `budget`: a confirmation saves room, and must not cost more than it saves.
    pub fn confirm(&mut self, from: TransactionKey, first: TransactionId, last: TransactionId, budget: &mut usize) {
        if first > last {
            return;
        }
        for (key, transaction) in self.entries.range_mut(from.of_any_port(first, last)).take(*budget) {
            *budget -= 1;
            if key.port() == from.port() && transaction.said_100().is_none() {
                self.bytes -= transaction.bytes();
                transaction.state = State::Confirmed;
            }
        }
    }

    /// A moment that [`Transaction::poll_timeout`] has named is there.
    pub fn on_due(&mut self, key: TransactionKey, now: Time) -> Due {
        let Some(transaction) = self.entries.get_mut(&key) else { return Due::Nothing };
        match &mut transaction.state {
            State::Underway { said_100: false } if transaction.end <= now => Due::Provisional,
            State::Answered { answer, resend } => {
                let Some(due) = resend.filter(|resend| resend.is_due(now)) else { return Due::Nothing };
                // RFC 3435 §4.3: nothing is sent again after T-MAX.
                let give_up = T_HIST.saturating_sub(T_MAX);
                *resend = Some(due.next(RTO_MAX, now)).filter(|next| next.at() + give_up <= transaction.end);
                Due::Again(answer.clone())
            }
            State::Underway { .. } | State::Confirmed => Due::Nothing,
        }
    }

    /// Time has passed: forgets answers that no copy can ask for any more.
    pub fn handle_timeout(&mut self, now: Time) {
        while self.answered.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
    }

    /// When [`Transactions::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.answered.front().map(|(end, _)| *end)
    }

    /// Makes room by forgetting the oldest answers, if need be; returns whether there is room.
    pub fn make_room(&mut self) -> bool {
        while self.is_full() && self.forget_oldest() {}
        !self.is_full()
    }

    /// Whether no further command can be remembered: then none can be carried out either.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.most || self.bytes >= self.most_bytes
    }

    /// Whether room is so scarce that it is kept for commands that were carried out: a refusal can be given again.
    pub fn is_crowded(&self) -> bool {
        self.entries.len() >= self.most / 2 || self.bytes >= self.most_bytes / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of commands.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A command.
    pub fn get(&self, key: TransactionKey) -> Option<&Transaction<W>> {
        self.entries.get(&key)
    }

    /// A command, with the owner's part to change.
    pub fn get_mut(&mut self, key: TransactionKey) -> Option<&mut Transaction<W>> {
        self.entries.get_mut(&key)
    }

    /// The owner's part of each command.
    pub fn works_mut(&mut self) -> impl Iterator<Item = &mut W> {
        self.entries.values_mut().map(|transaction| &mut transaction.work)
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, key)) = self.answered.pop_front() else { return false };
        self.bytes -= self.entries.remove(&key).map_or(0, |transaction| transaction.bytes());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn at(host: &str, id: u32, port: u16) -> TransactionKey {
        TransactionKey::new(std::net::SocketAddr::new(host.parse().unwrap(), port), TransactionId(id))
    }

    fn key(host: u8, id: u32) -> TransactionKey {
        at(&format!("192.0.2.{host}"), id, 2_727)
    }

    fn new() -> Transactions<()> {
        Transactions::new(1_000, 1 << 20)
    }

    fn answered(transactions: &mut Transactions<()>, key: TransactionKey, bytes: usize) {
        transactions.begin(key, bytes as u64, (), Time(0));
        transactions.answer(key, vec![0; bytes].into(), Time(0)).unwrap();
    }

    fn confirm(transactions: &mut Transactions<()>, from: TransactionKey, ids: (u32, u32), budget: &mut usize) {
        transactions.confirm(from, TransactionId(ids.0), TransactionId(ids.1), budget);
    }

    #[test]
    fn a_copy_is_found_by_its_port_or_by_its_text_and_a_mapped_address_is_an_ipv4_address() {
        let mut transactions = new();
        answered(&mut transactions, key(1, 5), 100);
        assert_eq!(transactions.find(key(1, 5), 0), Some(key(1, 5)));
        assert_eq!(transactions.find(at("192.0.2.1", 5, 1), 100), Some(key(1, 5)));
        assert_eq!(transactions.find(at("192.0.2.1", 5, 1), 99), None, "another call agent at the same address");
        assert_eq!(transactions.find(at("::ffff:192.0.2.1", 5, 1), 100), Some(key(1, 5)));
        assert_eq!(transactions.find(key(1, 6), 100), None);
    }

    #[test]
    fn a_forger_of_many_ports_hides_no_call_agents_own_command() {
        let mut transactions = new();
        (1..=100).for_each(|port| answered(&mut transactions, at("192.0.2.1", 5, port), 1));
        assert_eq!(transactions.find(at("192.0.2.1", 5, 90), 7), Some(at("192.0.2.1", 5, 90)));
        assert_eq!(transactions.find(at("192.0.2.1", 5, 900), 7), None);
    }

    #[test]
    fn a_confirmed_range_gives_its_bytes_back_and_keeps_its_ids() {
        let mut transactions = Transactions::new(1_000, 300);
        [key(1, 5), key(1, 6), key(1, 9), key(2, 6)].into_iter().for_each(|key| answered(&mut transactions, key, 100));
        assert!(transactions.is_full());
        confirm(&mut transactions, key(1, 0), (1, 8), &mut 100);
        assert_eq!((transactions.bytes, transactions.len()), (200, 4));
        assert!(matches!(transactions.on_copy(key(1, 6)), Some(Copied::Confirmed)));
        assert!(matches!(transactions.on_copy(key(2, 6)), Some(Copied::Answered(_))));
        confirm(&mut transactions, key(1, 0), (9, 1), &mut 100);
        let mut budget = 2;
        confirm(&mut transactions, key(1, 0), (0, u32::MAX), &mut budget);
        assert_eq!((transactions.bytes, budget), (200, 0), "the third is not reached");
        confirm(&mut transactions, key(1, 0), (0, u32::MAX), &mut 100);
        assert_eq!(transactions.bytes, 100);
        confirm(&mut transactions, at("192.0.2.2", 6, 1), (6, 6), &mut 100);
        assert_eq!(transactions.bytes, 100, "who is not asked confirms nothing");
        transactions.handle_timeout(Time(30 * SECOND));
        assert_eq!((transactions.bytes, transactions.len()), (0, 0));
    }

    #[test]
    fn a_long_command_gets_a_100_and_then_its_answer_until_t_max() {
        let mut transactions = new();
        transactions.begin(key(1, 5), 0, (), Time(0));
        assert_eq!(transactions.get(key(1, 5)).unwrap().poll_timeout(), Time(5 * SECOND));
        assert_eq!(transactions.on_due(key(1, 5), Time(5 * SECOND)), Due::Provisional);
        transactions.say_100(key(1, 5));
        assert_eq!(transactions.get(key(1, 5)).unwrap().poll_timeout(), Time::NEVER);
        transactions.answer(key(1, 5), Arc::from(&b"200"[..]), Time(6 * SECOND)).unwrap();
        let mut times = vec![];
        loop {
            let due = transactions.get(key(1, 5)).unwrap().poll_timeout();
            if due == Time::NEVER {
                break;
            }
            assert_eq!(transactions.on_due(key(1, 5), due), Due::Again(Arc::from(&b"200"[..])));
            times.push(due.0 / 1_000 - 6_000);
        }
        assert_eq!(times, [200, 600, 1_400, 3_000, 6_200, 10_200, 14_200, 18_200]);
    }

    #[test]
    fn a_command_is_answered_once_and_one_that_is_answered_does_not_go_elsewhere() {
        let mut transactions = new();
        answered(&mut transactions, key(1, 5), 3);
        assert_eq!(transactions.answer(key(1, 5), Arc::from(&b"x"[..]), Time(0)), None);
        assert_eq!((transactions.withdraw(key(1, 5)), transactions.bytes), (None, 3));
        transactions.begin(key(1, 6), 0, (), Time(0));
        assert_eq!((transactions.withdraw(key(1, 6)), transactions.len()), (Some(()), 1));
    }

    #[test]
    fn the_oldest_answers_make_room_and_commands_without_one_do_not() {
        let mut transactions = Transactions::new(3, 1 << 20);
        [1, 2].into_iter().for_each(|id| answered(&mut transactions, key(1, id), 1));
        transactions.begin(key(1, 3), 0, (), Time(0));
        assert!(transactions.make_room());
        assert_eq!((transactions.find(key(1, 1), 9), transactions.find(key(1, 2), 9)), (None, Some(key(1, 2))));
        transactions.begin(key(1, 4), 0, (), Time(0));
        assert!(transactions.make_room());
        transactions.begin(key(1, 5), 0, (), Time(0));
        assert!(!transactions.make_room());
    }
}
