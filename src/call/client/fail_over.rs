//! The next place for a request of ours when one fails (RFC 3263 §4.3): a name may stand for several.

use std::collections::VecDeque;
use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Client, ClientKey, State};
use crate::call::exchange::Hop;
use crate::call::server::NEVER;
use crate::call::uas::Uas;
use crate::time::Time;

/// Places that a request is sent to, one after the other, at most: whoever names them may mean somebody else's.
pub(super) const PLACES: usize = 3;
/// Copies of a request to each of several places, as [`super::COPIES_ELSEWHERE`] for one.
pub(super) const COPIES_OF_SEVERAL: u8 = 2;

/// The places that a request may still be sent to, the best first.
pub(super) type Places = VecDeque<(Hop, SocketAddr)>;

impl Uas {
    /// Nothing can be sent to an address: a connection to it could not be opened, or ended before anything came; or no
    /// network leads there. Requests that have another place go to that. Those that have none are repeated by their timers.
    pub fn on_transport_failed(&mut self, to: SocketAddr, is_stream: bool, now: Time) {
        let is_failed = |client: &Client| {
            let is_reliable = client.leaving.is_some_and(|leaving| leaving.hop.is_reliable());
            client.state == State::Trying(to) && is_reliable == is_stream && !client.others.is_empty()
        };
        let keys = self.clients.keys().filter(|key| self.clients.get(*key).is_some_and(is_failed));
        for key in keys.collect::<Vec<ClientKey>>() {
            let next = self.next_place(key, now);
            self.clients.remove(key);
            self.fail_over(key, next, now);
        }
    }

    /// The same request for its next place, in a transaction of its own (RFC 3263 §4.3: another branch, and nothing else).
    pub(super) fn next_place(&mut self, key: ClientKey, now: Time) -> Option<(Client, SocketAddr)> {
        let number = self.number(b'b');
        let end = now + self.timers.t64();
        let client = self.clients.get_mut(key)?;
        self.calls.get(client.call)?;
        let (hop, to) = client.others.pop_front()?;
        let next = Client {
            kind: client.kind,
            call: client.call,
            number,
            cseq: client.cseq,
            state: State::Resolving,
            hop,
            others: take(&mut client.others),
            are_several: true,
            leaving: None,
            bytes: Arc::default(),
            resend: None,
            copies: None,
            heard: client.heard.take(),
            end,
            armed: NEVER,
        };
        Some((next, to))
    }

    /// Sends a request to its next place; false when there is none. `old`: the transaction that has failed.
    pub(super) fn fail_over(&mut self, old: ClientKey, next: Option<(Client, SocketAddr)>, now: Time) -> bool {
        let Some((next, to)) = next else { return false };
        let call = next.call;
        let Some(key) = self.clients.insert(next) else { return false };
        if let Some(call) = self.calls.get_mut(call).filter(|call| call.refresh == Some(old)) {
            call.refresh = Some(key);
        }
        self.start(key, to, now);
        self.arm_client(key);
        true
    }
}
