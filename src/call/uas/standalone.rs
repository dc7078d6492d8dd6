//! Requests outside of calls that the application answers: the operator's `methods` have let them through.

use crate::call::exchange::{Output, StandaloneKey};
use crate::call::uas::Uas;
use crate::call::uas::request::Case;
use crate::call::uas::respond::{ALLOW, Keep, Response};
use crate::call::uas::server::ServerKey;
use crate::slab::Handle;
use crate::time::Time;
use crate::wire::sip::{Message, Method};

/// Whether a request outside of dialogs can be let through by `methods`.
pub(super) const fn may_stand_alone(method: Method<'_>) -> bool {
    matches!(
        method,
        Method::Message
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Info
            | Method::Publish
            | Method::Register
    )
}

impl Uas {
    /// Lets the application answer a request.
    pub(super) fn ask_application(&mut self, case: &Case<'_>) {
        match self.open(case, Keep::Request) {
            Some(key) => self.outputs.push_back(Output::Standalone(StandaloneKey::new(key.index(), key.generation()))),
            None => self.answer_statelessly(case, &Response::status(500)),
        }
    }

    /// Shows a request that waits for the application's answer.
    pub fn with_standalone<R>(&mut self, key: StandaloneKey, then: impl FnOnce(&Message<'_>) -> R) -> Option<R> {
        self.with_request(self.standalone(key)?, |_, request| then(request.msg))
    }

    /// Answers a request with a final status and these headers. A 405 lists the methods we serve by itself. False when
    /// it does not wait for an answer, or the status is not in 200–699.
    pub fn answer_standalone(&mut self, key: StandaloneKey, status: u16, headers: &[(&str, &[u8])], now: Time) -> bool {
        let Some(server) = self.standalone(key).filter(|_| (200..700).contains(&status)) else { return false };
        let mut all = headers.to_vec();
        if status == 405 {
            all.push(("Allow", ALLOW));
        }
        let response = Response { headers: &all, ..Response::status(status) };
        self.with_request(server, |uas, request| uas.respond(server, request, &response, now)).is_some()
    }

    /// Refuses a request as if no application were asked: 481 for INFO and NOTIFY, which belong into a dialog (RFC 6086
    /// §4.2.2, RFC 6665 §4.1.3), 405 for others. False when it does not wait for an answer.
    pub fn refuse_standalone(&mut self, key: StandaloneKey, now: Time) -> bool {
        let in_dialogs = self.with_standalone(key, |msg| matches!(msg.method(), Some(Method::Info | Method::Notify)));
        in_dialogs.is_some_and(|in_dialogs| self.answer_standalone(key, if in_dialogs { 481 } else { 405 }, &[], now))
    }

    /// The transaction of a request that waits.
    fn standalone(&self, key: StandaloneKey) -> Option<ServerKey> {
        let key = ServerKey::new(key.index(), key.generation());
        let waits = |key: &ServerKey| {
            self.servers.get(*key).is_some_and(|server| server.transaction().is_proceeding() && server.call().is_none())
        };
        Some(key).filter(waits)
    }
}
