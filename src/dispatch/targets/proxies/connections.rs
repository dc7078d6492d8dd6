//! The persistent connections of all proxies: which are to be opened or closed now, and what becomes of them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Proxies;
use super::slots::Slot;
use crate::dispatch::decision::Hop;
use crate::dispatch::targets::proxy::Ended;
use crate::ids::{ConnId, ProxyId};
use crate::time::Time;
use crate::words::Transport;

/// A connection that is to be opened to a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The proxy.
    pub proxy: ProxyId,
    /// Name of its entry in the settings.
    pub entry: Arc<str>,
    /// Its address.
    pub to: SocketAddr,
    /// TCP or TLS.
    pub transport: Transport,
    life: u32,
    place: usize,
}

impl Proxies {
    /// The next connection that is to be opened now: the owner opens it, and says so by [`Proxies::on_dialled`].
    pub fn poll_dial(&mut self, now: Time) -> Option<Dial> {
        if self.next_connection > now {
            return None;
        }
        let dial =
            self.slots.iter_mut_numbered().filter(|(_, slot)| slot.removed.is_none()).find_map(|(proxy, slot)| {
                let to = slot.proxy.address()?;
                let place = slot.proxy.connections_mut().poll_due(now)?;
                let (life, transport) = (slot.proxy.life(), slot.proxy.transport());
                Some(Dial { proxy, entry: slot.entry.as_str().into(), to, transport, life, place })
            });
        if dial.is_none() {
            self.arm_connections();
        }
        dial
    }

    /// Takes note that a connection is being opened as this one; `None`: that cannot even begin.
    pub fn on_dialled(&mut self, dial: &Dial, conn: Option<ConnId>, now: Time) {
        let spread = self.spread();
        match self.slots.get_mut(dial.proxy).filter(|slot| slot.proxy.life() == dial.life) {
            Some(slot) => slot.proxy.connections_mut().on_begun(dial.place, conn, spread, now),
            None => self.hang_ups.extend(conn),
        }
        self.note_connections(dial.proxy, now);
    }

    /// The next connection that its owner has to close. `is_idle` says whether nothing waits for an answer on one of a
    /// proxy's.
    pub fn poll_hang_up(&mut self, now: Time, is_idle: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        if let Some(conn) = self.hang_ups.pop() {
            return Some(conn);
        }
        if self.next_connection > now {
            return None;
        }
        let spread = self.spread();
        self.slots
            .iter_mut_numbered()
            .find_map(|(_, slot)| slot.proxy.connections_mut().poll_unwanted(spread, now, &is_idle))
    }

    /// Takes note that a connection is open. Returns the proxy that it leads to.
    pub fn on_connection_open(&mut self, conn: ConnId, now: Time) -> Option<ProxyId> {
        let id = self.of_connection(conn)?;
        self.slots.get_mut(id)?.proxy.on_connected(conn, now);
        self.note_connections(id, now);
        Some(id)
    }

    /// Takes note that a connection of an earlier dispatcher is open to this address. Returns whether it is wanted. It
    /// stays with its proxy, and is another one's at that address only where that proxy is not known any more. One
    /// over TLS is replaced: the earlier process enciphers for us until nothing waits for an answer on it. One that the
    /// settings no longer ask for stays for the answers that still come on it.
    pub fn on_connection_kept(&mut self, conn: ConnId, to: SocketAddr, transport: Transport, now: Time) -> bool {
        let find = |is_it: &dyn Fn(&Slot) -> bool| {
            let mut there = self.slots.iter().filter(|(_, slot)| slot.proxy.address() == Some(to));
            there.find(|(_, slot)| is_it(slot)).map(|(id, _)| id)
        };
        let is_same = |slot: &Slot| slot.proxy.transport() == transport;
        let lacks_one = |slot: &Slot| slot.removed.is_none() && slot.proxy.connections().lacks_one(now);
        let earlier = self.earlier_connections.remove(&conn);
        let is_there = |slot: &Slot| slot.proxy.address() == Some(to);
        let id = earlier
            .filter(|id| self.slots.get(*id).is_some_and(is_there))
            .or_else(|| find(&|slot| is_same(slot) && lacks_one(slot)))
            .or_else(|| find(&|slot| is_same(slot) && slot.removed.is_some()))
            .or_else(|| find(&|_| true));
        let Some((id, slot)) = id.and_then(|id| Some((id, self.slots.get_mut(id)?))) else { return false };
        let is_removed = slot.removed.is_some();
        match slot.proxy.transport() {
            other if other != transport => slot.proxy.connections_mut().on_retired(conn, now),
            _ if is_removed => slot.proxy.connections_mut().on_kept(conn, now),
            Transport::Tls => slot.proxy.connections_mut().on_leaving(conn, now),
            _ => match slot.proxy.connections_mut().poll_due(now) {
                Some(place) => {
                    slot.proxy.connections_mut().on_begun(place, Some(conn), 0.0, now);
                    slot.proxy.on_connected(conn, now);
                }
                None => slot.proxy.connections_mut().on_leaving(conn, now),
            },
        }
        self.note_connections(id, now);
        true
    }

    /// Takes note that a connection has ended. Returns the proxy that it led to.
    pub fn on_connection_closed(&mut self, conn: ConnId, ended: Ended, now: Time) -> Option<ProxyId> {
        self.hang_ups.retain(|other| *other != conn);
        let (id, spread) = (self.of_connection(conn)?, self.spread());
        self.slots.get_mut(id)?.proxy.connections_mut().on_closed(conn, ended, spread, now);
        self.note_connections(id, now);
        Some(id)
    }

    /// Takes note whether a proxy takes the bytes that are sent on a connection.
    pub fn on_connection_taken(&mut self, conn: ConnId, is_taken: bool) {
        if let Some(slot) = self.of_connection(conn).and_then(|id| self.slots.get_mut(id)) {
            slot.proxy.connections_mut().on_taken(conn, is_taken);
        }
    }

    /// The proxy that a connection leads to.
    pub fn of_connection(&self, conn: ConnId) -> Option<ProxyId> {
        self.slots.iter().find(|(_, slot)| slot.proxy.connections().has(conn)).map(|(id, _)| id)
    }

    /// The name of the proxy that a connection leads to.
    pub fn name_of_connection(&self, conn: ConnId) -> Option<&str> {
        self.slots.get(self.of_connection(conn)?).map(|slot| slot.name.as_str())
    }

    /// The way that a request to a proxy goes: to its address, or by one of its connections. `None`: none is open.
    pub fn hop_to(&mut self, id: ProxyId) -> Option<Hop> {
        let proxy = &mut self.slots.get_mut(id)?.proxy;
        match proxy.transport() {
            Transport::Udp => proxy.address().map(Hop::Address),
            _ => proxy.connections_mut().next().map(Hop::Connection),
        }
    }

    /// Whether there is a way to a proxy: an address, or an open connection where it is reached over these.
    pub fn has_way_to(&self, id: ProxyId) -> bool {
        self.get(id).is_some_and(|proxy| match proxy.transport() {
            Transport::Udp => proxy.address().is_some(),
            _ => proxy.connections().has_open(),
        })
    }

    /// This connection to a proxy if it is open, else another one.
    pub fn connection_like(&self, id: ProxyId, conn: ConnId) -> Option<ConnId> {
        self.get(id)?.connections().like(conn)
    }

    /// Whether proxies are reached over connections, and none of these has been open yet.
    pub fn awaits_first_connection(&self) -> bool {
        let mut streams = self.iter().filter(|(_, proxy)| !proxy.connections().is_unused()).peekable();
        streams.peek().is_some()
            && streams.all(|(_, proxy)| proxy.connections().open() == 0 && !proxy.connections().has_failed())
    }

    /// A number from 0 to 1 that keeps many from trying at the same time.
    fn spread(&mut self) -> f64 {
        self.random.below(1_000) as f64 / 1_000.0
    }

    fn note_connections(&mut self, id: ProxyId, now: Time) {
        self.note(id, now);
        self.arm_connections();
    }

    /// Finds out when there is something to do for connections.
    pub(super) fn arm_connections(&mut self) {
        let due = |slot: &Slot| {
            let is_wanted = slot.removed.is_none() && slot.proxy.address().is_some();
            let connections = slot.proxy.connections();
            if is_wanted { connections.poll_timeout() } else { connections.next_unwanted() }
        };
        self.next_connection = self.slots.iter().map(|(_, slot)| due(slot)).min().unwrap_or(Time::NEVER);
    }
}
