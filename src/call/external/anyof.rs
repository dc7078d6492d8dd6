//! The wildcard "any of": RFC 3435 §2.1.2 writes `$`. Some gateways know only `*` for it, because their own call agents
//! send that.
//!
//! A gateway's answer shows which of the two it is. With 500 (endpoint unknown) to `$` it has made no endpoint, so the
//! same CRCX with `*` does not open a second one.

use std::sync::Arc;

use super::asked::{AgentCommand, Purpose, VerbKind};
use super::window::Sending;
use super::{External, UNANSWERED, rewrite};
use crate::time::Time;
use crate::wire::mgcp::{Message, ReturnCode, Wildcard, parse};

impl External {
    /// Asks again with `*` if the gateway did not understand `$`. Returns the command if asking again is of no use.
    pub(super) fn ask_with_star(
        &mut self,
        asked: Box<AgentCommand>,
        sent: &[u8],
        code: ReturnCode,
        now: Time,
    ) -> Option<Box<AgentCommand>> {
        let is_candidate = asked.verb == VerbKind::Create && code == ReturnCode::ENDPOINT_UNKNOWN;
        let Ok(Message::Command(command)) = parse(sent) else { return Some(asked) };
        if !is_candidate || command.endpoint().wildcard() != Wildcard::AnyOf {
            return Some(asked);
        }
        let own = self.take_id();
        let bytes: Arc<[u8]> = rewrite::with_star(&command, own);
        if let Some(transaction) = self.transactions.get_mut(asked.key) {
            *transaction.work_mut() = own;
        }
        self.begin(own, Purpose::Command(asked), Sending { bytes, repeat: None, wait: UNANSWERED }, now);
        None
    }
}
