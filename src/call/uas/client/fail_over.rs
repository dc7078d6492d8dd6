//! The next place for a request of ours when one fails (RFC 3263 §4.3): a name may stand for several.
//!
//! A place fails by what it, or our own network, reports at once: a 503, a connection that is refused or ends before
//! anything came, no route. §4.3 counts a timeout as well. Here silence ends the request instead. A peer that makes up
//! a name may list addresses of hosts that have no part in the call, and each would get copies in turn. After 64·T1 of
//! silence the session is mostly over anyway.

use std::collections::VecDeque;
use std::mem::take;
use std::net::SocketAddr;

use super::{Client, ClientKey, Sent};
use crate::call::exchange::Hop;
use crate::call::uas::Uas;
use crate::call::uas::next_hop::NextHop;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::sip::Message;

/// Places that a request is sent to in turn, at most: a peer that names them may mean other people's hosts.
pub(super) const PLACES: usize = 3;

/// The places that a request may still be sent to, the best first.
pub(super) type Places = VecDeque<(Hop, SocketAddr)>;

impl Uas {
    /// Connections of ours could not be opened, or are closed. A request is not repeated over a connection, so one that
    /// waits for an answer and has no other place is over, as by 503 (RFC 3261 §8.1.3.1). `is_failed` tells whether a
    /// connection to an address, and over TLS to a name, is one of these.
    pub fn on_dialled_failed(&mut self, is_failed: impl Fn(SocketAddr, Option<&str>) -> bool, now: Time) {
        let keys = self.trying(|client, to| {
            let peer = client.peer.as_deref().filter(|_| client.hop == Hop::DialSecure);
            client.hop.is_dialled() && is_failed(to, peer)
        });
        for key in keys {
            let next = self.next_place(key, now);
            match next {
                Some(_) => {
                    self.clients.remove(key);
                    self.fail_over(key, next, now);
                }
                None => self.on_failed(key, 503, now),
            }
        }
    }

    /// The requests that wait for a first answer and are such: asked with the address that each has left for.
    pub(super) fn trying(&self, is_such: impl Fn(&Client, SocketAddr) -> bool) -> Vec<ClientKey> {
        let is_found = |client: &Client| {
            let sent = client.sent.as_ref().filter(|sent| sent.transaction.is_trying());
            sent.is_some_and(|Sent { transaction, .. }| is_such(client, transaction.to()))
        };
        self.clients.keys().filter(|key| self.clients.get(*key).is_some_and(is_found)).collect()
    }

    /// The network has no route for this datagram. A request of ours goes to its next place; one that has no other
    /// place is repeated by its timers, because a route may come back. The datagram never left, so it does not count as
    /// a copy.
    pub fn on_unsent(&mut self, bytes: &[u8], now: Time) {
        let Some(key) = self.sent_by(bytes) else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(sent) = client.sent.as_mut().filter(|sent| sent.transaction.is_trying()) else { return };
        if sent.transaction.on_unsent() {
            client.unanswered = client.unanswered.saturating_sub(1);
            let call = self.calls.get_mut(client.call);
            call.into_iter().for_each(|call| call.unanswered = call.unanswered.saturating_sub(1));
        }
        let next = self.next_place(key, now);
        if next.is_some() {
            self.clients.remove(key);
            self.fail_over(key, next, now);
        }
    }

    /// The transaction of a request of ours.
    fn sent_by(&mut self, bytes: &[u8]) -> Option<ClientKey> {
        let mut scanner = self.scanner.take().unwrap_or_default();
        let msg = scanner.scan(bytes).ok().filter(Message::is_request);
        let key = msg.and_then(|msg| self.find_client(&msg));
        self.scanner = Some(scanner);
        key
    }

    /// The same request for its next place, in a transaction of its own (RFC 3263 §4.3: it has another branch, and no
    /// other difference).
    pub(super) fn next_place(&mut self, key: ClientKey, now: Time) -> Option<(Client, SocketAddr)> {
        let (hop, to) = self.clients.get_mut(key)?.others.pop_front()?;
        Some((self.same_request(key, hop, now)?, to))
    }

    /// The same request on another way.
    pub(super) fn same_request(&mut self, key: ClientKey, hop: Hop, now: Time) -> Option<Client> {
        let number = self.number(b'b');
        let client = self.clients.get_mut(key)?;
        let peer = client.peer.clone();
        self.calls.get(client.call)?;
        Some(Client {
            kind: client.kind,
            call: client.call,
            number,
            cseq: client.cseq,
            hop,
            peer,
            others: take(&mut client.others),
            sent: None,
            unanswered: 0,
            heard: client.heard.take(),
            end: now + LIFETIME,
            armed: Time::NEVER,
        })
    }

    /// Sends a request to its next place; false when there is none. `old`: the transaction that has failed.
    pub(super) fn fail_over(&mut self, old: ClientKey, next: Option<(Client, SocketAddr)>, now: Time) -> bool {
        let Some((next, to)) = next else { return false };
        self.begin_again(old, next, NextHop::Address(to), now)
    }

    /// Begins `next` in place of `old`, which has failed; false when there is no room for it.
    pub(super) fn begin_again(&mut self, old: ClientKey, next: Client, to: NextHop, now: Time) -> bool {
        let call = next.call;
        let Some(key) = self.clients.insert(next) else { return false };
        if let Some(call) = self.calls.get_mut(call).filter(|call| call.refresh == Some(old)) {
            call.refresh = Some(key);
        }
        self.go(key, to, now);
        true
    }
}
