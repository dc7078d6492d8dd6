//! The proxies by their numbers. One that the settings have no more stays for a while: requests that it got may be sent
//! again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::StateChange;
use super::pool::PoolId;
use crate::dispatch::targets::proxy::{Kept, Precedence, Proxy, Sent};
use crate::ids::ProxyId;
use crate::pack::packed;
use crate::time::Time;

/// Time for which a removed proxy stays at least: few transactions with it last longer (RFC 3261 §16.6 step 11: timer C
/// is more than three minutes, and begins anew with each 101–199).
pub const STAYS: Duration = Duration::from_secs(300);
/// Interval at which a proxy is looked at after that, until all that went to it is answered.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Most removed proxies; the oldest go first.
const REMOVED: usize = 4_096;

/// A proxy in its place.
#[derive(Debug)]
pub(super) struct Slot {
    /// Its own name.
    pub(super) name: String,
    /// Name of its entry in the settings.
    pub(super) entry: String,
    pub(super) proxy: Proxy,
    /// Its pool.
    pub(super) pool: Option<PoolId>,
    /// When the settings lost it.
    pub(super) removed: Option<Time>,
    /// The security that its connections have been opened with; `None`: it is not known yet, and none is open.
    pub(super) security: Option<Security>,
}

/// A hash of everything that secures the connections to a proxy: the name in its certificate, the certificates of the
/// CAs that it may be of, and the certificate that it is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Security(pub u64);

/// The proxies by their numbers.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    /// Every place before it is taken.
    first_free: usize,
    /// Number of lives so far.
    lives: u32,
}

/// State of a place that a takeover hands on.
#[derive(Debug)]
pub(super) struct KeptSlot {
    id: ProxyId,
    name: String,
    entry: String,
    proxy: Kept,
    removed: Option<Time>,
}

packed!(KeptSlot { id, name, entry, proxy, removed });

impl KeptSlot {
    /// Whether it does not contradict itself.
    pub(super) fn is_sound(&self) -> bool {
        self.proxy.is_sound()
    }
}

impl Slot {
    /// Takes out a change of state; each once.
    pub(super) fn poll_change(&mut self, now: Time) -> Option<StateChange> {
        let to = match self.removed {
            None => Some(self.proxy.poll_change(now)?),
            Some(_) => self.proxy.take_back_changes().then_some(None)?,
        };
        Some(StateChange { name: self.name.clone(), address: self.proxy.address(), to })
    }
}

impl Slots {
    /// Number of a life that no proxy has had.
    pub(super) const fn new_life(&mut self) -> u32 {
        self.lives = self.lives.wrapping_add(1);
        self.lives
    }

    /// Puts a proxy into a free place; `None` if there is none.
    pub(super) fn add(&mut self, slot: Slot) -> Option<ProxyId> {
        let free = self.slots.iter().skip(self.first_free).position(Option::is_none);
        let at = free.map_or(self.slots.len(), |free| self.first_free + free);
        let id = ProxyId(u16::try_from(at).ok()?);
        if at == self.slots.len() {
            self.slots.push(None);
        }
        *self.slots.get_mut(at)? = Some(slot);
        self.first_free = at + 1;
        Some(id)
    }

    /// The addresses and proxies of each entry, removed or not.
    pub(super) fn by_entry(&self) -> BTreeMap<String, Vec<(Option<SocketAddr>, ProxyId)>> {
        let mut entries: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (id, slot) in self.iter() {
            entries.entry(slot.entry.clone()).or_default().push((slot.proxy.address(), id));
        }
        entries
    }

    /// Takes note that the settings have lost a proxy.
    pub(super) fn remove(&mut self, id: ProxyId, now: Time) {
        let Some(place) = self.slots.get_mut(usize::from(id.0)) else { return };
        // Nothing can have been sent to one without an address.
        if place.as_ref().is_some_and(|slot| slot.proxy.address().is_none()) {
            *place = None;
            self.first_free = self.first_free.min(usize::from(id.0));
        } else if let Some(slot) = place {
            slot.removed = slot.removed.or(Some(now));
        }
    }

    /// When to let go of a removed one: its time is over, or there are too many.
    pub(super) fn next_farewell(&self, now: Time) -> Option<Time> {
        let removed = self.removed();
        let first = removed.first().map(|&(since, _)| since + STAYS);
        if removed.len() > REMOVED { Some(now) } else { first }
    }

    /// Lets go of those that were removed long ago, unless they are awaited, and of the oldest when there are too many.
    /// Returns when to look again, and those that are gone.
    pub(super) fn let_go(
        &mut self,
        is_awaited: impl Fn(ProxyId) -> bool,
        now: Time,
    ) -> (Option<Time>, Vec<(ProxyId, Slot)>) {
        self.first_free = 0;
        let (removed, mut gone, mut next) = (self.removed(), Vec::new(), Time::NEVER);
        let surplus = removed.len().saturating_sub(REMOVED);
        for (number, (since, id)) in removed.into_iter().enumerate() {
            let is_over = now.since(since) >= STAYS;
            if number < surplus || is_over && !is_awaited(id) {
                let place = self.slots.get_mut(usize::from(id.0));
                gone.extend(place.and_then(Option::take).map(|slot| (id, slot)));
            } else {
                next = next.min(if is_over { now + LOOK_AGAIN } else { since + STAYS });
            }
        }
        (Some(next).filter(|next| *next < Time::NEVER), gone)
    }

    /// Those that were removed, the oldest first.
    fn removed(&self) -> Vec<(Time, ProxyId)> {
        let mut removed: Vec<_> = self.iter().filter_map(|(id, slot)| Some((slot.removed?, id))).collect();
        removed.sort_unstable();
        removed
    }

    /// A proxy, also one that was removed.
    pub(super) fn get(&self, id: ProxyId) -> Option<&Slot> {
        self.slots.get(usize::from(id.0))?.as_ref()
    }

    /// A proxy, also one that was removed.
    pub(super) fn get_mut(&mut self, id: ProxyId) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id.0))?.as_mut()
    }

    /// Every proxy, also those that were removed.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProxyId, &Slot)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(at, slot)| slot.as_ref().map(|slot| (ProxyId(at as u16), slot)))
    }

    /// Every proxy with its number, also those that were removed.
    pub(super) fn iter_mut_numbered(&mut self) -> impl Iterator<Item = (ProxyId, &mut Slot)> {
        let numbered = self.slots.iter_mut().enumerate();
        numbered.filter_map(|(at, slot)| slot.as_mut().map(|slot| (ProxyId(at as u16), slot)))
    }

    /// Every proxy, also those that were removed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().flatten()
    }

    /// The proxy that a request was sent to, if that life lasts.
    pub(super) fn of(&mut self, id: ProxyId, sent: Sent) -> Option<&mut Proxy> {
        self.get_mut(id).map(|slot| &mut slot.proxy).filter(|proxy| proxy.life() == sent.life)
    }

    /// Number of places, free ones included.
    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_named(&self, id: ProxyId, name: &str) -> bool {
        self.get(id).is_some_and(|slot| slot.name == name)
    }

    pub(super) fn takes_new(&self, id: ProxyId, now: Time) -> bool {
        self.get(id).is_some_and(|slot| slot.removed.is_none() && slot.proxy.takes_new(now))
    }

    /// Whether it may get a new request, whatever part of them it does not want.
    pub(super) fn is_open(&self, id: ProxyId, now: Time) -> bool {
        self.get(id).is_some_and(|slot| slot.removed.is_none() && slot.proxy.is_open(now))
    }

    pub(super) fn admits(&mut self, id: ProxyId, precedence: Precedence, now: Time) -> bool {
        self.get_mut(id).is_none_or(|slot| slot.proxy.admits(precedence, now))
    }

    pub(super) fn is_overloaded(&self, id: ProxyId, now: Time) -> bool {
        self.get(id).is_some_and(|slot| slot.proxy.is_overloaded(now))
    }

    pub(super) fn takes_in_panic(&self, id: ProxyId, by_probes_alone: bool, now: Time) -> bool {
        self.get(id).is_some_and(|slot| slot.removed.is_none() && slot.proxy.takes_in_panic(now, by_probes_alone))
    }

    pub(super) fn weight(&self, id: ProxyId, now: Time) -> f64 {
        self.get(id).map_or(1.0, |slot| slot.proxy.weight(now))
    }

    /// See [`Proxy::returned`].
    pub(super) fn returned(&self, id: ProxyId, now: Time) -> Option<Time> {
        self.get(id)?.proxy.returned(now)
    }

    pub(super) fn awaited(&self, id: ProxyId, now: Time) -> u32 {
        self.get(id).map_or(0, |slot| slot.proxy.awaited(now))
    }

    pub(super) fn burden(&self, id: ProxyId, now: Time) -> f64 {
        self.get(id).map_or(0.0, |slot| slot.proxy.burden(now))
    }

    /// The state that a takeover hands on.
    pub(super) fn kept(&self) -> Vec<KeptSlot> {
        let keep = |(id, slot): (ProxyId, &Slot)| KeptSlot {
            id,
            name: slot.name.clone(),
            entry: slot.entry.clone(),
            proxy: slot.proxy.kept(),
            removed: slot.removed,
        };
        self.iter().map(keep).collect()
    }

    /// Puts every proxy into the place that it had. All count as removed until the settings are set again.
    pub(super) fn restore(&mut self, kept: Vec<KeptSlot>, now: Time) {
        self.slots.clear();
        self.first_free = 0;
        for KeptSlot { id, name, entry, proxy, removed } in kept {
            let at = usize::from(id.0);
            if self.slots.len() <= at {
                self.slots.resize_with(at + 1, || None);
            }
            let proxy = Proxy::restored(proxy);
            self.lives = self.lives.max(proxy.life());
            self.slots[at] =
                Some(Slot { name, entry, proxy, pool: None, removed: removed.or(Some(now)), security: None });
        }
    }
}
