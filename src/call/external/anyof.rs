//! "Any of": RFC 3435 §2.1.2 writes `$`, and some gateways know `*` alone for it, as their own call agents send it.
//!
//! Which of the two a gateway is shows in its answer: an endpoint that it does not know (500) is none that it has made, so
//! that the same CRCX with `*` is no second one.

use std::sync::Arc;

use super::asked::{Asked, Kind, Purpose};
use super::history::Entry;
use super::{External, UNANSWERED, rewrite};
use crate::time::Time;
use crate::wire::mgcp::{Message, ReturnCode, Wildcard, parse};

impl External {
    /// Asks again with `*` where the gateway did not understand `$`. Gives the command back where that is of no use.
    pub(super) fn ask_with_star(
        &mut self,
        asked: Box<Asked>,
        sent: &[u8],
        code: ReturnCode,
        now: Time,
    ) -> Option<Box<Asked>> {
        let is_candidate = asked.verb == Kind::Create && code == ReturnCode::ENDPOINT_UNKNOWN;
        let Ok(Message::Command(command)) = parse(sent) else { return Some(asked) };
        if !is_candidate || command.endpoint().wildcard() != Wildcard::AnyOf {
            return Some(asked);
        }
        let own = self.take_id();
        let bytes: Arc<[u8]> = rewrite::with_star(&command, own);
        self.history.insert(asked.key, Entry::Pending(own));
        self.begin(own, Purpose::Command(asked), bytes, None, UNANSWERED, now);
        None
    }
}
