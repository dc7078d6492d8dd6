//! A pool of downstream proxies: its members, and the choice among them.

use std::ops::Range;
use std::time::Duration;

use super::turns::{Share, Turns};
use crate::config::{self, PoolPolicy};
use crate::dispatch::select::latency::lowest;
use crate::dispatch::select::{Ask, Random, mix};
use crate::dispatch::targets::proxy::Precedence;
use crate::ids::{ProxyId, TargetId};
use crate::pack::packed;
use crate::time::Time;

use super::slots::Slots;

/// A pool, by its number; a pool keeps it over reloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolId(pub u16);

impl PoolId {
    /// No pool.
    pub const NONE: PoolId = PoolId(u16::MAX);
}

packed!(PoolId(u16));

/// The choice of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This proxy gets it.
    Proxy(ProxyId),
    /// A worker gets it.
    Workers,
}

/// One link of the chain of pools that are asked in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Pool(PoolId),
    Workers,
}

/// Weight of a worker beside members: that of the handicap which proxies have by default.
const WORKER: f64 = 100.0;

/// The members of a pool and the memory of its selections.
#[derive(Debug, Default)]
pub(super) struct ProxyPool {
    /// `None`: the settings have no such pool any more.
    pub(super) settings: Option<config::Pool>,
    pub(super) name: String,
    /// Members, those of the first rank first.
    members: Vec<ProxyId>,
    /// Hash of each member's name.
    names: Vec<u64>,
    /// Members of each rank. Those of a later one get requests when no earlier one takes any.
    ranks: Vec<Rank>,
    /// Pools that are asked in turn, itself first.
    pub(super) chain: Vec<Link>,
    cursor: usize,
    /// Requests a second, smoothed over about a second.
    rate: f64,
    asked: Time,
    pub(super) calls: u64,
    /// Whether the last request found all members down.
    pub(super) is_panic: bool,
}

/// Members of the same rank and the memory of their selections.
#[derive(Debug, Default)]
struct Rank {
    members: Range<usize>,
    turns: Turns,
    /// Turns by which requests are drawn while a member is overloaded.
    drawn: Turns,
    keys: Keys,
}

/// What a choice is made by besides the pool: proxies, workers that take the request, random numbers, the time.
pub(super) struct Situation<'a> {
    pub(super) slots: &'a Slots,
    pub(super) random: &'a mut Random,
    /// Workers that take new work.
    pub(super) workers: usize,
    /// Lanes that choose beside each other.
    pub(super) lanes: u32,
    /// Whether proxies get nothing that want only a part of the requests.
    pub(super) spares: bool,
    pub(super) now: Time,
    pub(super) moving: Option<Moving<'a>>,
}

/// A request that goes on from proxies that have had it.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'a> {
    /// Those.
    pub had: &'a [ProxyId],
    /// The next one answers within this time, or overload would move from each to the next.
    pub within: Duration,
    /// Whether it is among those that an overloaded proxy does not get.
    pub precedence: Precedence,
}

impl Moving<'_> {
    fn may_go_to(&self, id: ProxyId, slots: &Slots, now: Time) -> bool {
        !self.had.contains(&id) && slots.get(id).is_some_and(|slot| slot.proxy.is_quick(self.within, now))
    }
}

impl ProxyPool {
    /// A pool without settings and members.
    pub(super) fn named(name: &str) -> Self {
        ProxyPool { name: name.to_owned(), ..ProxyPool::default() }
    }

    /// Sets the members: number, rank, and hash of the name of each.
    pub(super) fn set_members(&mut self, mut members: Vec<(u16, ProxyId, u64)>) {
        members.sort_by_key(|&(rank, _, _)| rank);
        let same = members.iter().map(|&(_, id, _)| id).eq(self.members.iter().copied());
        let mut ranks: Vec<Rank> = Vec::new();
        let mut last = None;
        for (at, &(rank, _, _)) in members.iter().enumerate() {
            match ranks.last_mut() {
                Some(same) if last == Some(rank) => same.members.end = at + 1,
                _ => ranks.push(Rank { members: at..at + 1, ..Rank::default() }),
            }
            last = Some(rank);
        }
        // The same members go on with their turns.
        if !same || ranks.len() != self.ranks.len() {
            self.ranks = ranks;
        }
        self.members = members.iter().map(|&(_, id, _)| id).collect();
        self.names = members.iter().map(|&(_, _, name)| name).collect();
        self.ranks.iter_mut().for_each(|rank| rank.keys = Keys::default());
    }

    /// The member that the policy `hash` gives a key to.
    pub(super) fn by_hash(&mut self, key: u64, takes: impl Fn(&ProxyId) -> bool) -> Option<ProxyId> {
        let (members, names) = (&self.members, &self.names);
        self.ranks.iter_mut().find_map(|Rank { members: range, keys, .. }| {
            let member = |at: usize| members.get(range.start + at);
            let names = names.get(range.clone()).unwrap_or_default();
            let at = keys.member(key, names, |at| member(at).is_some_and(&takes))?;
            member(at).copied()
        })
    }

    /// The hash of each member's name, and the member.
    pub(super) fn with_names(&self) -> impl Iterator<Item = (u64, ProxyId)> + '_ {
        self.names.iter().copied().zip(self.members.iter().copied())
    }

    pub(super) fn members(&self) -> &[ProxyId] {
        &self.members
    }

    /// Counts a request, and measures their rate.
    pub(super) fn on_asked(&mut self, now: Time) {
        self.calls += 1;
        if self.settings.as_ref().is_some_and(|settings| settings.round_robin_below > 0) {
            self.rate = self.rate * (-now.since(self.asked).as_secs_f64()).exp() + 1.0;
            self.asked = now;
        }
    }

    /// The member that gets the request by the pool's policy.
    pub(super) fn pick(&mut self, ask: &Ask, situation: &mut Situation<'_>) -> Option<Choice> {
        let settings = self.settings.as_ref()?;
        let below = f64::from(settings.round_robin_below) / f64::from(situation.lanes.max(1));
        let policy = if self.rate < below { PoolPolicy::RoundRobin } else { settings.policy };
        let workers = if settings.workers { situation.workers } else { 0 };
        let Situation { slots, random, spares, now, moving, .. } = situation;
        let (slots, spares, now, moving, members) = (*slots, *spares, *now, *moving, &self.members);
        let takes = |at: usize| members.get(at).is_some_and(|id| slots.is_open(*id, now));
        let may_move = |id: ProxyId| moving.is_none_or(|moving| moving.may_go_to(id, slots, now));
        let is_spared = |id: ProxyId| spares && slots.is_overloaded(id, now);
        let may_have = |id: ProxyId| !ask.tried.contains(TargetId::Proxy(id)) && !is_spared(id) && may_move(id);
        let may = |at: usize| members.get(at).is_some_and(|id| may_have(*id));
        let weight = |at: usize| members.get(at).map_or(1.0, |id| slots.weight(*id, now));
        let returned = |at: usize| members.get(at).and_then(|id| slots.returned(*id, now));
        let share = |at: usize| takes(at).then(|| Share { weight: weight(at), returned: returned(at) });
        let cost = |at: usize| match (policy, members.get(at)) {
            (_, None) => 0.0,
            (PoolPolicy::LeastLoad, Some(id)) => slots.burden(*id, now),
            (_, Some(id)) => f64::from(slots.awaited(*id, now) + 1) / slots.weight(*id, now),
        };
        let is_for_worker = match policy {
            // Their turns come after those of the first rank.
            PoolPolicy::RoundRobin => false,
            PoolPolicy::Hash => workers_draw_higher(ask.key, &self.names, workers),
            _ => random.below(members.len() + workers) < workers,
        };
        if is_for_worker {
            return Some(Choice::Workers);
        }
        for Rank { members: range, turns, keys, .. } in &mut self.ranks {
            let (first, count) = (range.start, range.len());
            let both = |at: usize| may(first + at) && takes(first + at);
            let found = match policy {
                PoolPolicy::Latency | PoolPolicy::LeastLoad => {
                    let found = lowest(count, &mut self.cursor, random, both, |at| {
                        if returned(first + at).is_some() { f64::INFINITY } else { cost(first + at) }
                    });
                    // While few requests wait, one of a small weight would never have the lowest cost; one that has
                    // just started has the lowest load, and would get all of them. It has its turns.
                    let share = |at: usize| share(first + at);
                    let sees_returned = turns.sees_returned(count, now, share);
                    let mut turn = || turns.next(count, now, share, |at| may(first + at));
                    let of_returned = sees_returned.then(&mut turn).flatten();
                    of_returned.filter(|at| returned(first + at).is_some()).or(found)
                }
                PoolPolicy::Weighted => turns.next(count, now, |at| share(first + at), |at| may(first + at)),
                PoolPolicy::RoundRobin => in_turn(count + workers, &mut self.cursor, |at| at >= count || both(at)),
                PoolPolicy::Hash => keys.member(ask.key, self.names.get(range.clone()).unwrap_or_default(), both),
            };
            if let Some(at) = found {
                // Turns beyond those of the members are the workers'.
                let member = members.get(range.clone()).and_then(|members| members.get(at));
                return Some(member.map_or(Choice::Workers, |id| Choice::Proxy(*id)));
            }
        }
        (workers > 0).then_some(Choice::Workers)
    }

    /// The member that would get the request if none were overloaded, by weight or by hash. Other policies see what
    /// servers have, and that is less where they are spared.
    pub(super) fn draw(&mut self, ask: &Ask, slots: &Slots, workers: usize, now: Time) -> Option<Choice> {
        let settings = self.settings.as_ref()?;
        let workers = if settings.workers { workers } else { 0 };
        let members = &self.members;
        if settings.policy == PoolPolicy::Hash && workers_draw_higher(ask.key, &self.names, workers) {
            return Some(Choice::Workers);
        }
        for Rank { members: range, drawn, keys, .. } in &mut self.ranks {
            let (first, count) = (range.start, range.len());
            let open = |at: usize| members.get(first + at).copied().filter(|id| slots.is_open(*id, now));
            let share = |at: usize| {
                // The workers beside the members have turns as well.
                let weight = if at < count { slots.weight(open(at)?, now) } else { WORKER };
                Some(Share { weight, returned: None })
            };
            let at = match settings.policy {
                PoolPolicy::Hash => {
                    keys.member(ask.key, self.names.get(range.clone()).unwrap_or_default(), |at| open(at).is_some())
                }
                _ => drawn.next(count + workers, now, share, |_| true),
            };
            if let Some(at) = at {
                return if at < count { open(at).map(Choice::Proxy) } else { Some(Choice::Workers) };
            }
        }
        None
    }

    /// The next member in turn while all are down.
    pub(super) fn pick_in_panic(&mut self, by_probes_alone: bool, slots: &Slots, now: Time) -> Option<ProxyId> {
        let members = &self.members;
        let takes = |at: usize| members.get(at).is_some_and(|id| slots.takes_in_panic(*id, by_probes_alone, now));
        in_turn(members.len(), &mut self.cursor, takes).and_then(|at| members.get(at)).copied()
    }

    /// The member of the highest weight that takes the request; in a large pool the better of two drawn.
    pub(super) fn pick_best(&self, ask: &Ask, situation: &mut Situation<'_>) -> Option<ProxyId> {
        let Situation { slots, random, now, .. } = situation;
        // The turns of the pool stay as they are: a second address must not take the next request's first.
        let mut cursor = self.cursor;
        let (members, slots, now) = (&self.members, *slots, *now);
        for Rank { members: range, .. } in &self.ranks {
            let id = |at: usize| members.get(range.start + at).copied().unwrap_or_default();
            let takes = |at: usize| slots.takes_new(id(at), now) && !ask.tried.contains(TargetId::Proxy(id(at)));
            let found = lowest(range.len(), &mut cursor, random, takes, |at| slots.weight(id(at), now).recip());
            if let Some(at) = found {
                return Some(id(at));
            }
        }
        None
    }
}

/// Whether one of the workers, of which each counts as a member, draws the highest number with the key.
fn workers_draw_higher(key: u64, names: &[u64], workers: usize) -> bool {
    let best = names.iter().map(|name| mix(key ^ name)).max();
    best < (0..workers as u64).map(|slot| mix(key ^ mix(slot + 1))).max()
}

/// The next member from `cursor` on that takes it.
fn in_turn(members: usize, cursor: &mut usize, takes: impl Fn(usize) -> bool) -> Option<usize> {
    let start = if *cursor >= members { 0 } else { *cursor };
    let found = (start..members).chain(0..start).find(|&member| takes(member))?;
    *cursor = found + 1;
    Some(found)
}

/// The members of keys: the same for the same key, and a member that leaves gives its keys to all others evenly.
///
/// Keys fall into buckets. The member whose name draws the highest number with a bucket has it (rendezvous hashing); it
/// is drawn when the first key falls there, so that a later key costs no more in a large pool than in a small one.
#[derive(Debug, Default)]
struct Keys {
    /// The member of each bucket; [`Keys::UNDRAWN`] before its first key. Empty before the first key of all.
    buckets: Vec<u16>,
}

impl Keys {
    const UNDRAWN: u16 = u16::MAX;
    /// Many times the members of the largest pool, so that they have keys evenly.
    const BUCKETS: usize = 1 << 16;
    /// Buckets that are looked at before the members are tried one by one.
    const DRAWS: u64 = 32;

    /// The member of `key` among those of these names, of those for which `takes` is true.
    fn member(&mut self, key: u64, names: &[u64], takes: impl Fn(usize) -> bool) -> Option<usize> {
        if self.buckets.is_empty() {
            self.buckets = vec![Keys::UNDRAWN; Keys::BUCKETS];
        }
        let bucket_of = |draw: u64| mix(key.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15))) as usize;
        let mut drawn = (0..Keys::DRAWS).filter_map(|draw| {
            let bucket = bucket_of(draw) % Keys::BUCKETS;
            let member = self.buckets.get_mut(bucket)?;
            if *member == Keys::UNDRAWN {
                *member = rendezvous(mix(bucket as u64 + 1), names, |_| true)? as u16;
            }
            Some(usize::from(*member))
        });
        drawn.find(|member| takes(*member)).or_else(|| rendezvous(key, names, takes))
    }
}

/// The member whose name draws the highest number with the key.
fn rendezvous(key: u64, names: &[u64], takes: impl Fn(usize) -> bool) -> Option<usize> {
    let drawn = |at: usize| names.get(at).map_or(0, |name| mix(key ^ name));
    (0..names.len()).filter(|&at| takes(at)).max_by_key(|&at| drawn(at))
}
