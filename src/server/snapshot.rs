//! The lane's state as plain values for the stats socket.

use super::LaneLoad;
use super::stats::connections::ConnectionCounters;
use super::stats::{
    Action, AdminState, Counters, Decided, LinkCounters, Sender, State, TableCounters, Total, WorkerLoad,
};
use crate::dispatch::counters::{self, Kind};
use crate::dispatch::decision::{Admin, Operational, Side};
use crate::dispatch::history::ShortTarget;
use crate::dispatch::reason::Reason;
use crate::dispatch::targets::worker::Worker;
use crate::switch::Switch;
use crate::switch::links::Channel;
use crate::switch::totals::Totals;
use crate::time::Time;

impl<C: Channel> Switch<C> {
    /// The figures of `load`. The lane adds the number of connections.
    pub fn load(&self, now: Time) -> LaneLoad {
        let workers = self.dispatch().pool().iter().map(|(_, worker)| worker_load(worker, now)).collect();
        let counters::Counters { handed_over, forwarded, responses, .. } = *self.dispatch().counters();
        let counters::Counters { relayed, replied, dropped, pinned, .. } = *self.dispatch().counters();
        let table_entries = self.dispatch().table_len() as u64;
        let totals = Totals { handed_over, forwarded, responses, relayed, replied, dropped, ..*self.totals() };
        let totals = Totals { pinned, table_entries, ..totals };
        let proxies = self.dispatch().proxies();
        LaneLoad { workers, totals, connections: 0, proxies: proxies.rows(now), pools: proxies.pool_rows(now) }
    }

    /// Every total by reason. The lane adds the counts of listeners, the supervisor those of connections.
    pub fn counters(&self) -> Counters {
        let counters = self.dispatch().counters();
        let by = |kinds: &[Kind]| -> Total { by_reason(counters, kinds) };
        let refused = self.refused().map(|(reason, count)| (reason.label(), count)).collect();
        let links = self.links().iter().map(|(worker, link)| {
            let stats = link.front.stats();
            LinkCounters {
                worker: worker.to_string(),
                frames: stats.frames,
                records: stats.records,
                retained_bytes: stats.retained_bytes,
                retention: self.retention_bytes() as u64,
            }
        });
        Counters {
            received: by(&Kind::READ),
            handed_over: by(&[Kind::HandedOver]),
            forwarded: by(&[Kind::Forwarded]),
            responses: by(&[Kind::Response]),
            relayed: by(&[Kind::Relayed]),
            replied: by(&[Kind::Replied]),
            dropped: by(&[Kind::Dropped]),
            refused,
            returned: by(&[Kind::Returned]),
            vacant: by(&[Kind::Vacant]),
            probes: counters.probes().map(|(end, count)| (end.label(), count)).collect(),
            table: TableCounters {
                entries: self.dispatch().table_len() as u64,
                cap: self.dispatch().table_cap() as u64,
                unrecorded: counters.of(Reason::Unrecorded),
            },
            conferences: TableCounters {
                entries: self.dispatch().conferences() as u64,
                cap: self.dispatch().conference_cap() as u64,
                unrecorded: counters.groups_unrecorded,
            },
            listeners: Vec::new(),
            links: links.collect(),
            connections: ConnectionCounters::default(),
        }
    }

    /// The decisions about a call, oldest first.
    pub fn explain(&self, call_id: &[u8], now: Time) -> Vec<Decided> {
        let decisions = self.dispatch().explain(call_id);
        let decided = decisions.into_iter().map(|explained| {
            let (proxy, sent_by) = match explained.target {
                ShortTarget::Forwarded { proxy, sent_by, .. } => {
                    (Some(proxy), Some(sent_by.map_or(Sender::Other, Sender::from)))
                }
                ShortTarget::Response { proxy, side } => (Some(proxy), Some(side.into())),
                ShortTarget::Stays { proxy } => (Some(proxy), None),
                _ => (None, None),
            };
            let (action, worker, status, size, pinned) = match explained.target {
                ShortTarget::Worker { worker, size, pinned, follows: false, .. } => {
                    (Action::HandedOver, Some(worker), 0, size, pinned)
                }
                ShortTarget::Worker { worker, size, pinned, .. } => (Action::Relayed, Some(worker), 0, size, pinned),
                ShortTarget::Forwarded { .. } => (Action::Forwarded, None, 0, 0, None),
                ShortTarget::Stays { .. } => (Action::Stays, None, 0, 0, None),
                ShortTarget::Response { .. } => (Action::Response, None, 0, 0, None),
                ShortTarget::Answered(status) => (Action::Replied, None, status, 0, None),
                ShortTarget::Everyone => (Action::Relayed, None, 0, 0, None),
                ShortTarget::AnsweredAgain => (Action::Replied, None, 0, 0, None),
                ShortTarget::Dropped => (Action::Dropped, None, 0, 0, None),
            };
            Decided {
                age_ms: now.since(explained.at).as_millis() as u64,
                method: explained.method.as_str().into(),
                action,
                worker: worker.map(|worker| worker.to_string()),
                proxy: proxy.and_then(|proxy| self.dispatch().proxies().name(proxy)).map(str::to_owned),
                sent_by,
                weight: match explained.target {
                    ShortTarget::Forwarded { weight, .. } => weight,
                    _ => 0,
                },
                ms: explained.took.map(|took| took.as_millis() as u64),
                status,
                reason: explained.reason.label().into(),
                size,
                transport: explained.transport.label().into(),
                connection: explained.connection.map(|connection| connection.0),
                pinned: pinned.is_some(),
                pinned_by: pinned.map(|pinned| pinned.label().into()),
                final_status: explained.answered.as_ref().map_or(0, |end| end.status),
                why: match (explained.fault, explained.answered.and_then(|end| end.why)) {
                    (Some(fault), _) => fault.phrase().to_owned(),
                    (None, why) => why.map_or(String::new(), String::from),
                },
            }
        });
        decided.collect()
    }
}

impl From<Side> for Sender {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Sender::Caller,
            Side::Server => Sender::Proxy,
        }
    }
}

impl From<Admin> for AdminState {
    fn from(admin: Admin) -> Self {
        match admin {
            Admin::Ready => AdminState::Ready,
            Admin::Drain => AdminState::Drain,
            Admin::Maint => AdminState::Maint,
        }
    }
}

impl From<AdminState> for Admin {
    fn from(admin: AdminState) -> Self {
        match admin {
            AdminState::Ready => Admin::Ready,
            AdminState::Drain => Admin::Drain,
            AdminState::Maint => Admin::Maint,
        }
    }
}

fn worker_load(worker: &Worker, now: Time) -> WorkerLoad {
    WorkerLoad {
        state: match worker.operational {
            Operational::Down => State::Down,
            Operational::Up => State::Up,
            Operational::Silent => State::Silent,
        },
        admin: worker.admin.into(),
        units_used: worker.units_used,
        units_total: worker.units_total,
        ledger: worker.ledger().into(),
        load: worker.load(),
        sessions: worker.sessions,
        cpu: f64::from(worker.cpu) / 1e6,
        handoffs: worker.handoffs,
        refused: worker.refused,
        report_age_ms: worker.report_age_ms(now).unwrap_or_default(),
        ..WorkerLoad::default()
    }
}

fn by_reason(counters: &counters::Counters, kinds: &[Kind]) -> Total {
    let count = |reason| kinds.iter().map(|kind| counters.of_kind(*kind, reason)).sum();
    Reason::all().iter().map(|&reason| (reason.label(), count(reason))).collect()
}
