//! Requests under way that go on to another proxy, or to a worker.

use std::time::Duration;

use super::precedence;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{ContextId, Moves, UnderWay};
use crate::dispatch::decision::{Decision, Forward, Protocol, Reason, Target, Tried};
use crate::dispatch::select::Ask;
use crate::dispatch::targets::proxies::{Choice, Moving, PoolId, Refused};
use crate::dispatch::targets::proxy::Precedence;
use crate::fingerprint::Fingerprint;
use crate::ids::ProxyId;
use crate::time::Time;
use crate::transaction::response_context::{Candidate, Effect, Next, Why};
use crate::wire::sip::Scanner;

impl Dispatch {
    /// Answers the question whether another proxy may have a request: only one that is quick itself, or overload would
    /// move from each to the next. `is_last`: none but a worker may have it. Returns why it has moved, or stays.
    pub(super) fn move_context(
        &mut self,
        id: ContextId,
        (left, why, is_last): (ProxyId, Why, bool),
        effects: &mut Vec<Effect>,
        now: Time,
    ) -> Option<Reason> {
        let under_way = self.contexts.get_mut(id)?;
        if under_way.moves == Moves::ByAddress {
            self.go_to_next_address(id, why, effects, now);
            return None;
        }
        let UnderWay { pool, call, moves, .. } = *under_way;
        let had: Vec<ProxyId> = under_way.context.tried().collect();
        let is_lost = matches!(why, Why::Unsent | Why::Down);
        let is_begun = under_way.entry.is_some();
        let mut scanner = Scanner::new();
        let precedence = match scanner.scan(&under_way.request) {
            Ok(request) if is_begun => precedence(&request),
            // A request inside a dialog goes on with what stands.
            _ => Precedence::Kept,
        };
        let within = match moves {
            // Its proxy is gone, and it is placed once more: others do not fail by that.
            Moves::WhenLost => Duration::MAX,
            _ => under_way.context.terms().answer_within,
        };
        let find = |dispatch: &mut Self, workers: usize| match (moves, is_last) {
            (Moves::WhenLost, _) if !is_lost => (Next::None, Reason::AllTried),
            (_, false) => dispatch.next_proxy((pool, call), Moving { had: &had, within, precedence }, workers, now),
            (_, true) if workers > 0 && dispatch.proxies.falls_back_on_workers(pool) => {
                (Next::Worker, Reason::AllTried)
            }
            (_, true) => (Next::None, Reason::AllTried),
        };
        // A request inside a dialog is nothing for a worker.
        let workers = if is_begun { self.pool.open_count(Protocol::Sip) } else { 0 };
        let (mut next, mut stays) = find(self, workers);
        if next == Next::Worker {
            if let Some(reason) = self.hand_under_way(id, why, now) {
                self.proxies.on_moved(left);
                self.contexts.get_mut(id)?.context.on_next(next, now, effects);
                return Some(reason);
            }
            // They have no room for it, or take none of its kind.
            (next, stays) = find(self, 0);
        }
        let under_way = self.contexts.get_mut(id)?;
        under_way.context.on_next(next, now, effects);
        let Next::This(Candidate { proxy, .. }) = next else {
            // A response in hand shows the reason. Without one it is said once, however often this is asked.
            let is_said = matches!(why, Why::Status(_)) || under_way.stays.replace(stays) == Some(stays);
            if !is_said {
                self.note_attempt(id, left, (0, stays), now);
            }
            return Some(stays);
        };
        let weight = self.proxies.get(proxy).map_or(0.0, |proxy| proxy.weight(now)).ceil() as u16;
        self.proxies.on_moved(left);
        let sent = self.proxies.on_sent(proxy, now);
        if !is_begun {
            self.proxies.on_kept(proxy, now);
        }
        under_way.unheard.push((proxy, sent));
        if let Some(entry) = under_way.entry {
            let hold = self.table.move_to(entry, (proxy.into(), sent.life), 0, now);
            self.give_back(hold, now);
        }
        let reason = moved_by(why);
        self.note_attempt(id, proxy, (weight, reason), now);
        Some(reason)
    }

    /// Notes for `explain` that a request under way has gone to a proxy, or stays there.
    fn note_attempt(&mut self, id: ContextId, proxy: ProxyId, (weight, reason): (u16, Reason), now: Time) {
        let Some(under_way) = self.contexts.get(id) else { return };
        let (request, arrival, forward) = (under_way.request.clone(), under_way.arrival, under_way.forward);
        let decision = Decision { target: Target::Forward(Forward { proxy, weight, ..forward }), reason };
        self.note_again(&request, &arrival, &decision, now);
    }

    /// The proxy that gets a request of a pool next, one that has not had it and is quick for this time, or why none
    /// does. `workers`: the number of workers that may get it.
    fn next_proxy(
        &mut self,
        (pool, call): (PoolId, Fingerprint),
        moving: Moving<'_>,
        workers: usize,
        now: Time,
    ) -> (Next, Reason) {
        let ask = Ask { size: 1, key: call.short(), tried: Tried::default() };
        match self.proxies.choose_next(pool, (&ask, moving), workers, now) {
            Ok(Choice::Proxy(id)) => match self.proxies.hop_to(id) {
                Some(to) => (Next::This(Candidate { proxy: id, attempt: 0, to }), Reason::Proxied),
                None => (Next::None, Reason::NotBetter),
            },
            Ok(Choice::Workers) => (Next::Worker, Reason::AllTried),
            Err(Refused::Full | Refused::Down | Refused::Empty) => (Next::Nowhere, Reason::NoProxy),
            Err(Refused::Slow) => (Next::None, Reason::NotBetter),
            Err(Refused::AllTried) => (Next::None, Reason::AllTried),
            Err(Refused::Overloaded) => (Next::None, Reason::Overloaded),
        }
    }
}

/// The reason to show for a request that has gone on.
pub(super) const fn moved_by(why: Why) -> Reason {
    match why {
        Why::Silent | Why::TimedOut => Reason::MovedSilent,
        Why::Status(_) => Reason::MovedStatus,
        Why::Unsent | Why::Down => Reason::MovedError,
    }
}
