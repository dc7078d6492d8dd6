//! The server transactions of the user agent: each with its way back, its call, and the messages that were handed over.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::call::exchange::{Arrival, CallKey, Hop, Way};
use crate::call::seqs::Seqs;
use crate::fingerprint::Fingerprint;
use crate::ids::Seq;
use crate::slab::{Handle, Slab, handle};
use crate::time::Time;
use crate::transaction::sip_server::{Due, Transaction};

handle! {
    /// A server transaction.
    pub(super) struct ServerKey;
}

/// One server transaction, and the user agent's part of it.
#[derive(Debug)]
pub(super) struct Server {
    transaction: Transaction,
    name: Fingerprint,
    /// [`super::request::Fingerprints::merged`], for requests outside a dialog that are no copies of another.
    merged: Option<Fingerprint>,
    way: Way,
    /// The call it belongs to, as long as there is one.
    call: Option<CallKey>,
    /// The handed-over copies of the request, until its final response has left.
    seqs: Seqs,
    /// Whether the request came to a port of ours, without the dispatcher.
    is_direct: bool,
    /// Whether it must be answered rather than given back.
    follows: bool,
    /// When the wheel looks at it next.
    armed: Time,
}

impl Server {
    /// The transaction of a request that came as `arrival` and is answered on `way`. `merged`: the name that its copies
    /// on other ways share, unless it is such a copy itself.
    pub(super) fn new(
        transaction: Transaction,
        name: Fingerprint,
        merged: Option<Fingerprint>,
        way: Way,
        arrival: &Arrival,
    ) -> Self {
        Server {
            transaction,
            name,
            merged,
            way,
            call: None,
            seqs: Seqs::new(arrival.seq()),
            is_direct: arrival.seq().is_none(),
            follows: arrival.follows,
            armed: Time::NEVER,
        }
    }

    /// It belongs to this call from now on.
    pub(super) fn belong_to(&mut self, call: CallKey) {
        self.call = Some(call);
    }

    /// The dispatcher is gone: a request without a final response can no longer be given back.
    pub(super) fn stay(&mut self) {
        self.follows |= self.transaction.is_proceeding();
    }

    /// A response leaves. Returns whether it may, and with a final response the messages that it answers.
    pub(super) fn respond(
        &mut self,
        status: u16,
        bytes: Arc<[u8]>,
        now: Time,
    ) -> (bool, impl Iterator<Item = Seq> + use<>) {
        let leaves = self.transaction.respond(status, bytes, now);
        let mut answered = if status < 200 { Seqs::default() } else { std::mem::take(&mut self.seqs) };
        (leaves, answered.drain())
    }

    /// A copy of the request has come. Returns the response that it gets, and the copy's number if it has been dealt
    /// with. `is_same_sender`: later responses go where this copy came from.
    pub(super) fn on_copy(
        &mut self,
        way: Way,
        is_same_sender: bool,
        seq: Option<Seq>,
    ) -> (Option<Arc<[u8]>>, Option<Seq>) {
        if self.way.source.ip() != way.source.ip() && !way.hop.is_reliable() {
            // The copy comes from another host: the worker cannot tell which of the two hears us.
            self.transaction.doubt();
        }
        if is_same_sender {
            self.transaction.change_transport(way.hop.is_reliable());
            self.way = way;
        }
        let over = if self.transaction.is_proceeding() { seq.and_then(|seq| self.seqs.add(seq)) } else { seq };
        (self.transaction.on_copy().cloned(), over)
    }

    /// The ACK to a 300–699 has come.
    pub(super) fn on_ack(&mut self, now: Time) {
        self.transaction.on_ack(now);
    }

    /// An ACK with this CSeq number has come in the call. Returns whether it is the one to this 2xx.
    pub(super) fn on_ack_of_success(&mut self, cseq: u32, now: Time) -> bool {
        let is_awaited = self.transaction.on_ack_of_success(cseq, now);
        self.call.take_if(|_| is_awaited);
        is_awaited
    }

    /// The caller has the 2xx, though no ACK has come.
    pub(super) fn stop_repeating(&mut self) {
        self.transaction.stop_repeating();
    }

    /// The sender has shown that it hears us.
    pub(super) fn on_heard(&mut self, now: Time) {
        self.transaction.on_heard(now);
    }

    /// Whether a reliable provisional response may be repeated now.
    pub(super) fn may_repeat_reliable(&mut self) -> bool {
        self.transaction.may_repeat_reliable()
    }

    /// The handed-over messages that wait for its final response.
    pub(super) fn take_seqs(&mut self) -> impl Iterator<Item = Seq> + use<> {
        self.seqs.drain()
    }

    /// The wheel points at it. `None`: too early.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Option<Due> {
        if now < self.armed {
            return None;
        }
        self.armed = Time::NEVER;
        Some(self.transaction.handle_timeout(now))
    }

    /// When it is to be filed with the wheel; `None`: the wheel looks at it early enough anyway.
    pub(super) fn arm(&mut self) -> Option<Time> {
        let due = self.transaction.poll_timeout();
        (due < self.armed).then(|| {
            self.armed = due;
            due
        })
    }

    /// The connection `connection` is gone: later responses go on a new one, where there may be one (RFC 3261 §18.2.2).
    pub(super) fn lose(&mut self, connection: Hop) {
        if self.way.hop.is_on(connection) {
            self.way.hop = Hop::without_connection(self.way.transport);
        }
    }

    /// All connections of the dispatcher are gone.
    pub(super) fn lose_any(&mut self) {
        if self.way.hop.is_dispatchers_connection() {
            self.lose(self.way.hop);
        }
    }

    pub(super) const fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    pub(super) const fn way(&self) -> Way {
        self.way
    }

    pub(super) const fn call(&self) -> Option<CallKey> {
        self.call
    }

    /// The number of the copy that came first.
    pub(super) const fn first_seq(&self) -> Option<Seq> {
        self.seqs.first()
    }

    /// Whether its request can go to another worker: it came through the dispatcher, which has selected this worker,
    /// and no response has left.
    pub(super) const fn may_go_back(&self) -> bool {
        !self.is_direct && !self.follows && self.seqs.first().is_some() && self.transaction.response().is_none()
    }
}

/// All server transactions, by key and by name, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Servers {
    slab: Slab<ServerKey, Server>,
    by_name: HashTable<u32>,
    by_merged: HashTable<u32>,
    bytes: usize,
    most_bytes: usize,
}

impl Servers {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        let (by_name, by_merged) = (HashTable::new(), HashTable::new());
        Servers { slab: Slab::new(most), by_name, by_merged, bytes: 0, most_bytes }
    }

    /// Whether there is room for one more, which keeps this many bytes.
    pub(super) const fn has_room(&self, bytes: usize) -> bool {
        !self.slab.is_full() && self.bytes + bytes <= self.most_bytes
    }

    pub(super) fn insert(&mut self, server: Server) -> Option<ServerKey> {
        let (name, merged) = (server.name, server.merged);
        self.bytes += server.transaction.bytes();
        let key = self.slab.insert(server)?;
        let slab = &self.slab;
        let name_of = |index: &u32| slab.at(*index).map_or(0, |(_, server)| server.name.short());
        self.by_name.insert_unique(name.short(), key.index(), name_of);
        if let Some(merged) = merged {
            let merged_of =
                |index: &u32| slab.at(*index).and_then(|(_, server)| server.merged).map_or(0, |merged| merged.short());
            self.by_merged.insert_unique(merged.short(), key.index(), merged_of);
        }
        Some(key)
    }

    pub(super) fn remove(&mut self, key: ServerKey) -> Option<Server> {
        self.unindex(key);
        let server = self.slab.remove(key)?;
        self.bytes -= server.transaction.bytes();
        Some(server)
    }

    /// Makes a transaction one that no message finds any more.
    pub(super) fn unindex(&mut self, key: ServerKey) {
        let Some(Server { name, merged, .. }) = self.slab.get(key) else { return };
        if let Ok(entry) = self.by_name.find_entry(name.short(), |index| *index == key.index()) {
            entry.remove();
        }
        if let Some(merged) = merged
            && let Ok(entry) = self.by_merged.find_entry(merged.short(), |index| *index == key.index())
        {
            entry.remove();
        }
    }

    pub(super) fn get(&self, key: ServerKey) -> Option<&Server> {
        self.slab.get(key)
    }

    /// Changes a transaction, and keeps count of its bytes.
    pub(super) fn change<R>(&mut self, key: ServerKey, change: impl FnOnce(&mut Server) -> R) -> Option<R> {
        let server = self.slab.get_mut(key)?;
        self.bytes -= server.transaction.bytes();
        let changed = change(server);
        self.bytes += server.transaction.bytes();
        Some(changed)
    }

    /// The transaction of this name.
    pub(super) fn find(&self, name: Fingerprint) -> Option<ServerKey> {
        let same = |index: &u32| self.slab.at(*index).is_some_and(|(_, server)| server.name == name);
        let index = self.by_name.find(name.short(), same)?;
        self.slab.at(*index).map(|(key, _)| key)
    }

    /// The transaction of a request outside a dialog by the name that its copies share.
    pub(super) fn find_merged(&self, merged: Fingerprint) -> Option<ServerKey> {
        let same = |index: &u32| self.slab.at(*index).is_some_and(|(_, server)| server.merged == Some(merged));
        let index = self.by_merged.find(merged.short(), same)?;
        self.slab.at(*index).map(|(key, _)| key)
    }

    /// Whether another copy of a request outside a dialog was being dealt with at this time.
    pub(super) fn is_merged(&self, merged: Fingerprint, at: Time) -> bool {
        let is_copy = |server: &Server| server.merged == Some(merged) && server.transaction.is_ongoing(at);
        let mut beside = self.by_merged.iter_hash(merged.short());
        beside.any(|index| self.slab.at(*index).is_some_and(|(_, server)| is_copy(server)))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = ServerKey> + '_ {
        self.slab.keys()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.slab.len()
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> (usize, usize) {
        (self.by_name.len(), self.by_merged.len())
    }
}
