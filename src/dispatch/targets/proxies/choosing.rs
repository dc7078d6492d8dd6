//! The choice of a proxy for a request, over a pool and those after it.

use super::Proxies;
use super::pool::{Choice, Link, Moving, PoolId, ProxyPool, Situation};
use super::slots::Slots;
use crate::dispatch::decision::Tried;
use crate::dispatch::select::{Ask, mix};
use crate::dispatch::targets::proxy::{Precedence, State as Health};
use crate::ids::ProxyId;
use crate::time::Time;

/// Most members that get a request whose proxy is not known.
const POSSIBLE: usize = 16;

/// The reason why no member of a pool takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool has no member with an address, and neither have those after it.
    Empty,
    /// Those that could take it have had it.
    AllTried,
    /// Those that could take it and have not had it answer too late.
    Slow,
    /// Members that are up have no room; this one and others may have it again.
    Full,
    /// Members that are up do not want it, as they want only a part of the requests (RFC 7339).
    Overloaded,
    /// All are down, or the operator has them take nothing.
    Down,
}

/// Members of a redirect pool, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Several {
    ids: [ProxyId; Several::LIMIT],
    count: usize,
}

impl Several {
    /// Most members of one answer.
    pub const LIMIT: usize = Tried::LIMIT;

    /// The members.
    pub fn as_slice(&self) -> &[ProxyId] {
        &self.ids[..self.count]
    }

    fn add(&mut self, id: ProxyId) {
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = id;
            self.count += 1;
        }
    }
}

impl Proxies {
    /// The member of a pool that gets a request, or of the pools after it. `workers` is the number of workers that take
    /// new work.
    pub fn choose(&mut self, pool: PoolId, ask: &Ask, workers: usize, now: Time) -> Result<Choice, Refused> {
        self.choose_by(pool, (ask, || Precedence::Ordinary), workers, now)
    }

    /// The same for a request of a precedence, which is asked for where a server wants only a part of the requests.
    pub fn choose_by(
        &mut self,
        pool: PoolId,
        (ask, precedence): (&Ask, impl Fn() -> Precedence),
        workers: usize,
        now: Time,
    ) -> Result<Choice, Refused> {
        self.choose_for(pool, (ask, None, precedence), workers, now)
    }

    /// The same for a request that others have had.
    pub fn choose_next(
        &mut self,
        pool: PoolId,
        (ask, moving): (&Ask, Moving<'_>),
        workers: usize,
        now: Time,
    ) -> Result<Choice, Refused> {
        self.choose_for(pool, (ask, Some(moving), || moving.precedence), workers, now)
    }

    /// Where a server wants only a part of the requests (RFC 7339), it is drawn which member would get this one. An
    /// overloaded one gets its part of what it draws, and all else goes to members and pools that want all (§5.10).
    fn choose_for(
        &mut self,
        pool: PoolId,
        (ask, moving, precedence): (&Ask, Option<Moving<'_>>, impl Fn() -> Precedence),
        workers: usize,
        now: Time,
    ) -> Result<Choice, Refused> {
        let Proxies { slots, pools, random, lanes, overloaded_until, .. } = self;
        let Some(first) = pools.get_mut(usize::from(pool.0)) else { return Err(Refused::Empty) };
        let chain = std::mem::take(&mut first.chain);
        let is_first = ask.tried.as_slice().is_empty() && moving.is_none();
        // A request that looks for another proxy was counted when it came.
        if is_first {
            first.on_asked(now);
        }
        let mut pick = |pools: &mut Vec<ProxyPool>, slots: &Slots, spares: bool| {
            let mut situation = Situation { slots, random, workers, lanes: *lanes, spares, now, moving };
            chain.iter().find_map(|link| match link {
                Link::Workers => (workers > 0).then_some(Choice::Workers),
                Link::Pool(id) => pools.get_mut(usize::from(id.0))?.pick(ask, &mut situation),
            })
        };
        let mut found = match (now < *overloaded_until, is_first) {
            (false, _) => pick(pools, slots, false),
            (true, true) => {
                let drawn = chain.iter().find_map(|link| match link {
                    Link::Workers => (workers > 0).then_some(Choice::Workers),
                    Link::Pool(id) => pools.get_mut(usize::from(id.0))?.draw(ask, slots, workers, now),
                });
                let admitted = drawn.filter(|choice| match choice {
                    Choice::Proxy(id) => slots.is_overloaded(*id, now) && slots.admits(*id, precedence(), now),
                    Choice::Workers => false,
                });
                admitted.or_else(|| pick(pools, slots, true))
            }
            // A request that another proxy has had must not add to the overload of the next one.
            (true, false) => pick(pools, slots, precedence() == Precedence::Ordinary),
        };
        let refused = found.is_none().then(|| Proxies::refused((&chain, pools), slots, (ask, moving), now));
        // A request that another proxy has had must not go to one that is known to be down.
        let is_panic = is_first && refused.is_some_and(|why| why != Refused::Overloaded);
        if is_panic {
            let panics =
                [true, false].into_iter().flat_map(|by_probes| chain.iter().map(move |link| (by_probes, *link)));
            let tried = panics.into_iter().find_map(|(by_probes_alone, link)| match link {
                Link::Workers => None,
                Link::Pool(id) => pools.get_mut(usize::from(id.0))?.pick_in_panic(by_probes_alone, slots, now),
            });
            found = tried.filter(|id| slots.admits(*id, precedence(), now)).map(Choice::Proxy);
        }
        if let Some(first) = self.pools.get_mut(usize::from(pool.0)) {
            first.chain = chain;
            first.is_panic = is_panic && found.is_some();
        }
        found.ok_or(refused.unwrap_or(Refused::Empty))
    }

    /// Whether the workers are asked after a pool.
    pub fn falls_back_on_workers(&self, pool: PoolId) -> bool {
        self.pools.get(usize::from(pool.0)).is_some_and(|pool| pool.chain.contains(&Link::Workers))
    }

    /// The members of a pool that may have got a call: those that are up, that which a hash of the call names first.
    pub fn possible(&mut self, pool: PoolId, call: u64, now: Time) -> Vec<ProxyId> {
        let Proxies { slots, pools, .. } = self;
        let Some(pool) = pools.get_mut(usize::from(pool.0)) else { return Vec::new() };
        let is_up = |id: &ProxyId| slots.get(*id).is_some_and(|slot| slot.proxy.state(now) == Health::Up);
        let first = pool.by_hash(call, is_up);
        let mut drawn: Vec<(u64, ProxyId)> =
            pool.with_names().filter(|(_, id)| is_up(id)).map(|(name, id)| (mix(call ^ name), id)).collect();
        drawn.sort_unstable_by_key(|(drawn, id)| (Some(*id) != first, std::cmp::Reverse(*drawn)));
        drawn.truncate(POSSIBLE);
        drawn.into_iter().map(|(_, id)| id).collect()
    }

    /// Up to `most` members of a redirect pool: the one chosen first, then those of the highest weights. `None`: the
    /// workers are to have the request, as no member takes it and they are its fallback. No redirect names a worker.
    pub fn choose_several(
        &mut self,
        pool: PoolId,
        ask: &Ask,
        most: u8,
        workers: usize,
        now: Time,
    ) -> Result<Option<Several>, Refused> {
        let mut several = Several::default();
        let Choice::Proxy(first) = self.choose(pool, ask, workers, now)? else { return Ok(None) };
        several.add(first);
        let mut ask = *ask;
        ask.tried.add(first);
        let Proxies { slots, pools, random, lanes, .. } = self;
        let mut situation = Situation { slots, random, workers: 0, lanes: *lanes, spares: false, now, moving: None };
        let Some(pool) = pools.get_mut(usize::from(pool.0)) else { return Ok(Some(several)) };
        while several.count < usize::from(most).min(Several::LIMIT)
            && let Some(next) = pool.pick_best(&ask, &mut situation)
        {
            several.add(next);
            ask.tried.add(next);
        }
        let weight = |id: &ProxyId| situation.slots.weight(*id, now);
        several.ids[1..several.count].sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        Ok(Some(several))
    }

    fn refused(
        (chain, pools): (&[Link], &[ProxyPool]),
        slots: &Slots,
        (ask, moving): (&Ask, Option<Moving<'_>>),
        now: Time,
    ) -> Refused {
        let of = chain.iter().filter_map(|link| match link {
            Link::Pool(id) => pools.get(usize::from(id.0)),
            Link::Workers => None,
        });
        let proxy = |id: &ProxyId| Some((*id, &slots.get(*id)?.proxy));
        let members = || of.clone().flat_map(|pool| pool.members()).filter_map(proxy);
        let had = |id: ProxyId| ask.tried.contains(id) || moving.is_some_and(|moving| moving.had.contains(&id));
        let open = || members().filter(|(_, proxy)| proxy.is_open(now));
        if open().next().is_some() {
            let left = || open().filter(|(id, _)| !had(*id));
            return match left().next() {
                None => Refused::AllTried,
                Some(_) if left().all(|(_, proxy)| proxy.is_overloaded(now)) => Refused::Overloaded,
                Some(_) => Refused::Slow,
            };
        }
        if members().any(|(_, proxy)| proxy.is_full(now)) {
            return Refused::Full;
        }
        if members().any(|(_, proxy)| proxy.address().is_some()) { Refused::Down } else { Refused::Empty }
    }
}
