//! Requests under way that go on to a worker: those of a pool that has `fallback = ["workers"]`, or the workers as
//! members, where its proxies do not answer them.
//!
//! A worker is chosen as for a request that has just come, and gets it on the way on which it came, in a datagram or on
//! a connection of whatever transport. It has the entry of the table from then on: copies, CANCEL and ACK find it, and
//! where it refuses the request or dies, another worker gets it, as with any other request. What is left of the
//! response context cancels the proxies that respond after all.
//!
//! Where no worker takes the request now, it ends as it would without them. So do requests that the dispatcher answers
//! in the place of workers, such as OPTIONS: their callers ask about the proxies, and get what these have responded.

use crate::config::MethodRule;
use crate::dispatch::Dispatch;
use crate::dispatch::case::Placement;
use crate::dispatch::contexts::{ContextId, LeavingMessage, Moves};
use crate::dispatch::decision::{Decision, Reason, Search, Target, Tried};
use crate::dispatch::targets::proxies::PoolId;
use crate::ids::{ProxyId, TargetId};
use crate::time::Time;
use crate::transaction::response_context::Why;
use crate::wire::sip::{Method, Scanner};

use super::Case;
use super::moving::moved_by;

impl Dispatch {
    /// Whether a worker may have a request of this method after as many proxies of a pool as may, if it moves like
    /// this.
    pub(super) fn falls_to_workers(&self, method: Method<'_>, (pool, moves): (PoolId, Moves)) -> bool {
        let moves_on = matches!(moves, Moves::Freely | Moves::WhenLost);
        moves_on && self.is_for_workers(method) && self.proxies.falls_back_on_workers(pool)
    }

    /// Whether workers get requests of this method outside a dialog.
    fn is_for_workers(&self, method: Method<'_>) -> bool {
        match method {
            Method::Invite => true,
            Method::Options => false,
            method => self.rules.methods.rule(method) == Some(MethodRule::Select),
        }
    }

    /// Hands a request under way that has an entry over to a worker. Returns why it has moved; `None`: no worker takes
    /// it now.
    pub(super) fn hand_under_way(&mut self, id: ContextId, why: Why, now: Time) -> Option<Reason> {
        let under_way = self.contexts.get(id)?;
        let (entry, request, arrival) = (under_way.entry?, under_way.request.clone(), under_way.arrival);
        if !self.table.get(entry).is_some_and(|entry| entry.is_pending() && !entry.is_cancelled()) {
            return None;
        }
        let mut scanner = Scanner::new();
        let message = scanner.scan(&request).ok()?;
        let read = message.essentials();
        let case = Case::of(&message, &read, &arrival, now, &self.printer)?;
        if !self.is_for_workers(case.request.method) {
            return None;
        }
        let (size, least) = (self.size(&case), self.least_room(&case));
        let placement = self.place_anew(&case, (entry, size), Tried::default(), least).ok()?;
        let reason = moved_by(why);
        let placed = (Placement { reason, ..placement }, least);
        let decision = self.move_to(&case, entry, placed, Search::new(now))?;
        self.count_again((&request, &arrival), &decision, now);
        if let Target::Worker(handoff) = decision.target {
            self.counters.pinned += u64::from(handoff.pinned.is_some());
            self.leave_for_worker(id, LeavingMessage::HandedOver(handoff));
        }
        Some(reason)
    }

    /// Takes a request under way from the worker that has it and has not answered it: this proxy has. The worker gets
    /// a CANCEL, and the call stands at the proxy. The 487 of the worker comes after the 2xx, and its caller drops it
    /// (RFC 6026 §7.2).
    pub(super) fn take_back(&mut self, id: ContextId, proxy: ProxyId, now: Time) {
        let Some(entry) = self.contexts.get(id).and_then(|under_way| under_way.entry) else { return };
        let Some(held) = self.table.get(entry).filter(|entry| entry.is_pending()) else { return };
        let TargetId::Worker(worker) = held.target else { return };
        if let Some(group) = held.group() {
            self.groups.withdraw(group, entry);
        }
        if let Decision { target: Target::Worker(handoff), .. } = self.follow(worker, Reason::Cancel, now) {
            self.leave_for_worker(id, LeavingMessage::TakenBack(handoff));
        }
        let life = self.proxies.get(proxy).map_or(0, |proxy| proxy.life());
        let hold = self.table.move_to(entry, (proxy.into(), life), 0, now);
        self.give_back(hold, now);
    }

    fn leave_for_worker(&mut self, id: ContextId, message: LeavingMessage) {
        let leaving = self.contexts.get(id).map(|under_way| under_way.leaving(message));
        leaving.into_iter().for_each(|leaving| self.contexts.leave(leaving));
    }
}
