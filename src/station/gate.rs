//! The operator's access rules at this worker's own ports: messages that bypass the dispatcher are held against the
//! same rules. So are messages that the dispatcher hands over without counting them, because they name this worker, if
//! they belong to nothing here.
//!
//! A message that a rule turns away is dropped here: an honest caller has its 503 from the dispatcher, and has no
//! business at a worker's port before it has a call there.

use std::net::IpAddr;

use crate::access::{Access, Admission};
use crate::fingerprint::Printer;
use crate::ids::TokenKey;
use crate::seldom::Seldom;
use crate::time::Time;
use crate::words::{AccessRule, Envelope};

/// The filter at a worker's own ports.
#[derive(Debug)]
pub(super) struct AccessGate {
    access: Access,
    printer: Printer,
    /// Counts dropped messages: a source that floods a port does not flood the log.
    dropped: Seldom,
}

impl AccessGate {
    /// Makes a gate with these rules. `key` keys the hash of sources, so that no attacker foresees which sources
    /// share a counter.
    pub(super) fn new(rules: &[AccessRule], key: &TokenKey) -> Self {
        AccessGate { access: Access::new(rules), printer: Printer::new(key), dropped: Seldom::default() }
    }

    pub(super) fn set_rules(&mut self, rules: &[AccessRule]) {
        self.access.set_rules(rules);
    }

    /// Whether nothing from this address may come.
    pub(super) fn denies(&self, address: IpAddr) -> bool {
        self.access.denies(address)
    }

    /// Whether a message that the dispatcher has handed over is let in. The dispatcher has counted the messages it
    /// placed. It has not counted those that follow something of this worker by their own word and open nothing.
    pub(super) fn lets_in_from_link(&mut self, envelope: &Envelope, now: Time, begins: impl FnOnce() -> bool) -> bool {
        !envelope.follows || envelope.size > 0 || self.lets_in(envelope.source.ip(), now, begins)
    }

    /// Whether a message is let in. `begins`: whether it belongs to no call and no transaction that is known; asked
    /// only where there is a limit to what its source may begin.
    pub(super) fn lets_in(&mut self, address: IpAddr, now: Time, begins: impl FnOnce() -> bool) -> bool {
        if self.access.is_empty() {
            return true;
        }
        let is_in = !self.access.denies(address)
            && (!self.access.limits(address)
                || !begins()
                || self.access.admit(address, || self.printer.source(address), now) == Admission::Granted);
        if !is_in && let Some(messages) = self.dropped.comes_up(now) {
            tracing::info!(messages, last = %address, "dropped at this worker's own ports by the access rules");
        }
        is_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::AccessAction;

    #[test]
    fn a_request_that_the_dispatcher_has_counted_is_not_counted_again() {
        let limit = AccessAction::Limit { rate: 1, burst: 1, ban_ms: 0 };
        let rule = AccessRule { network: "0.0.0.0".parse().unwrap(), prefix: 0, action: limit };
        let mut gate = AccessGate::new(&[rule], &TokenKey::new([1; 32]));
        let mut come = |size, begins| {
            let envelope = Envelope { size, follows: true, ..Envelope::plain(1) };
            gate.lets_in_from_link(&envelope, Time(1), || begins)
        };
        assert_eq!([come(1, true), come(1, true), come(0, false)], [true; 3]);
        assert_eq!([come(0, true), come(0, true), come(0, false), come(1, true)], [true, false, true, true]);
    }

    #[test]
    fn only_requests_that_begin_something_are_rated_and_a_denied_source_sends_nothing() {
        let rule = |network: &str, prefix, action| AccessRule { network: network.parse().unwrap(), prefix, action };
        let limit = AccessAction::Limit { rate: 1, burst: 2, ban_ms: 0 };
        let rules = [rule("10.0.0.0", 8, AccessAction::Deny), rule("0.0.0.0", 0, limit)];
        let mut gate = AccessGate::new(&rules, &TokenKey::new([1; 32]));
        let mut come = |address: &str, begins| gate.lets_in(address.parse().unwrap(), Time(1), || begins);
        assert_eq!([come("10.0.0.1", true), come("10.0.0.1", false)], [false, false]);
        assert_eq!([(); 4].map(|()| come("192.0.2.1", true)), [true, true, false, false]);
        assert_eq!([come("192.0.2.1", false), come("192.0.2.2", true), come("2001:db8::1", true)], [true; 3]);
        assert_eq!(gate.dropped.unsaid(), 3, "said once");
    }
}
