//! Orders of the operator, which the control side passes on.

use std::net::SocketAddr;
use std::time::Duration;

use super::Switch;
use super::links::Channel;
use crate::config::Insert;
use crate::dispatch::decision::Admin;
use crate::dispatch::probed::{Finding, LookUp, ProbeAnswer};
use crate::dispatch::rules::Rules;
use crate::dispatch::targets::proxies::StateChange;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::words::{Drain, DrainMode, LoadReport};

impl<C: Channel> Switch<C> {
    /// Number of this lane.
    pub const fn own(&self) -> usize {
        self.owners.own()
    }

    /// Whether this is the lane that passes the operator's orders to workers: one lane is enough.
    pub const fn is_first(&self) -> bool {
        self.owners.own() == 0
    }

    /// Changes a worker's administrative state, and tells the worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin, drain_within: Option<Duration>) {
        self.dispatch.set_admin(worker, admin);
        let mode = if admin == Admin::Ready { DrainMode::Ready } else { DrainMode::Drain };
        if !self.is_first() {
            return;
        }
        self.outbox.tell(worker, Drain { mode, within: drain_within.unwrap_or(Duration::MAX) });
    }

    /// Changes the administrative state of a downstream proxy.
    pub fn set_proxy_admin(&mut self, name: &str, admin: Admin) {
        self.dispatch.set_proxy_admin(name, admin);
    }

    /// Changes the handicap of a downstream proxy until the settings change it.
    pub fn set_handicap(&mut self, name: &str, handicap: u16, now: Time) {
        self.dispatch.set_handicap(name, handicap, now);
    }

    /// The prober has found something out about downstream proxies.
    pub fn on_found(&mut self, findings: &[Finding], now: Time) {
        self.dispatch.on_found(findings, now);
        self.send_leaving(now);
    }

    /// Takes out a name that the prober is to look up for a request of this lane.
    pub fn poll_look_up(&mut self) -> Option<LookUp> {
        self.dispatch.poll_look_up()
    }

    /// The prober can take so many responses before the next call of this.
    pub const fn set_prober_room(&mut self, room: usize) {
        self.dispatch.set_prober_room(room);
    }

    /// Takes out the responses that the prober is to have, in their order.
    pub fn take_probe_answers(&mut self) -> impl ExactSizeIterator<Item = ProbeAnswer> + '_ {
        self.outbox.probe_answers.drain(..)
    }

    /// Takes out the address of a downstream proxy that is to be probed at once.
    pub fn poll_silence(&mut self) -> Option<SocketAddr> {
        self.dispatch.poll_silence()
    }

    /// Takes out a load that the downstream proxies at this address have reported by themselves.
    pub fn poll_report(&mut self) -> Option<(SocketAddr, LoadReport)> {
        self.dispatch.poll_report()
    }

    /// Takes out a change of the state in which this lane sees a downstream proxy, for the log.
    pub fn poll_proxy_change(&mut self) -> Option<StateChange> {
        self.dispatch.poll_proxy_change()
    }

    /// The rules and the number of slots change; calls and table stay.
    pub fn reload(&mut self, rules: Rules, insert: Insert, workers: usize, now: Time) {
        let is_new = self.dispatch.rules().access != rules.access;
        self.dispatch.set_rules(rules, now);
        self.configured = workers;
        self.fit_pool();
        self.outbox.insert = insert;
        if is_new && self.is_first() {
            // A worker that connects later gets the rules in its `Welcome`.
            self.access_untold = self.outbox.links.iter().map(|(worker, _)| worker).collect();
            self.tell_access();
        }
    }

    /// Tells the access rules in force to the workers that have not been told them.
    pub(super) fn tell_access(&mut self) {
        let Switch { outbox, dispatch, access_untold, .. } = self;
        let rules = &dispatch.rules().access;
        access_untold.retain(|&worker| {
            let is_told = outbox.links.get_mut(worker).is_none_or(|link| link.front.push_access(rules));
            outbox.links.touch(worker);
            !is_told
        });
    }

    /// No new work anywhere; every worker ends its calls within the time.
    pub fn stop(&mut self, within: Duration) {
        let workers: Vec<WorkerId> = self.outbox.links.iter().map(|(worker, _)| worker).collect();
        for worker in workers {
            self.retire(worker, within);
        }
    }

    /// One worker ends its calls within the time and exits.
    pub fn retire(&mut self, worker: WorkerId, within: Duration) {
        self.dispatch.set_admin(worker, Admin::Drain);
        if self.is_first() {
            self.outbox.tell(worker, Drain { mode: DrainMode::Stop, within });
        }
    }
}
