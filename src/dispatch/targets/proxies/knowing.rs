//! The proxy that a message names, or comes from: by its identifier, its source, or a certificate.

use std::net::{IpAddr, SocketAddr};

use super::{Proxies, slots};
use crate::dispatch::targets::proxy::Proxy;
use crate::ids::ProxyId;
use crate::transaction::identifier::{Identifier, Identifiers};
use crate::words::Transport;

impl Proxies {
    /// Sets the keys of identifiers.
    pub fn set_naming(&mut self, naming: Identifiers) {
        self.naming = Some(naming);
        self.list_identifiers();
    }

    /// Lists the proxies of the settings by their identifiers.
    pub(super) fn list_identifiers(&mut self) {
        let Some(naming) = &self.naming else { return };
        let is_wanted = |slot: &slots::Slot| slot.removed.is_none() && slot.proxy.is_stream();
        let wanted = self.slots.iter().filter(|(_, slot)| is_wanted(slot));
        self.identifiers = wanted.flat_map(|(id, slot)| naming.known(&slot.name).map(move |it| (it, id))).collect();
        self.identifiers.sort_unstable_by_key(|(identifier, _)| *identifier);
        self.written.clear();
        for (id, slot) in self.slots.iter().filter(|(_, slot)| slot.proxy.is_stream()) {
            let place = usize::from(id.0);
            self.written.resize(self.written.len().max(place + 1), None);
            if let Some(written) = self.written.get_mut(place) {
                *written = Some(naming.of(&slot.name));
            }
        }
    }

    /// The identifier of a proxy; `None`: messages do not name it.
    pub fn identifier(&self, id: ProxyId) -> Option<Identifier> {
        self.written.get(usize::from(id.0)).copied().flatten()
    }

    /// Whether any proxy has an identifier.
    pub const fn has_identifiers(&self) -> bool {
        !self.identifiers.is_empty()
    }

    /// The proxy that has this identifier.
    pub fn identified(&self, text: &[u8]) -> Option<ProxyId> {
        let identifier = Identifier::read(text)?;
        let at = self.identifiers.binary_search_by_key(&identifier, |(of, _)| *of).ok()?;
        self.identifiers.get(at).map(|(_, id)| *id)
    }

    /// The proxy that a connection over this transport leads to, or comes from: it is at this address, or else on this
    /// host, or has this network.
    pub fn system_at(&self, address: SocketAddr, transport: Transport) -> Option<ProxyId> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let is_it = |id: &ProxyId| self.get(*id).is_some_and(|proxy| proxy.transport() == transport);
        let from = self.addresses.partition_point(|(other, _)| *other < SocketAddr::new(address.ip(), 0));
        let on_host = || {
            let rest = self.addresses.get(from..).unwrap_or_default();
            rest.iter().take_while(|(other, _)| other.ip() == address.ip()).map(|(_, id)| *id)
        };
        let of_network = || {
            let sources = self.sources.iter().filter(|(network, _)| network.contains(address.ip()));
            sources.map(|(_, id)| *id).find(is_it)
        };
        self.at(address).find(is_it).or_else(|| on_host().find(is_it)).or_else(of_network)
    }

    /// Whether what comes on a connection from this source comes from a proxy, or from another one of its entry: from
    /// the host of an address of theirs, from one of their networks, or from a peer that has shown their certificate.
    pub fn is_from(&self, id: ProxyId, source: IpAddr, certified: Option<ProxyId>) -> bool {
        let source = source.to_canonical();
        let is_at = |id: ProxyId| {
            self.get(id).and_then(Proxy::address).is_some_and(|address| address.ip().to_canonical() == source)
        };
        let entry_of = |id: ProxyId| {
            let name = &self.slots.get(id)?.entry;
            self.entries.iter().find(|entry| entry.settings.name == *name)
        };
        is_at(id)
            || entry_of(id).is_some_and(|entry| {
                entry.proxies.iter().any(|other| is_at(*other) || certified == Some(*other))
                    || entry.settings.from.iter().any(|network| network.contains(source))
            })
    }

    /// The proxy over TLS that a peer has shown to be, by a certificate for this name.
    pub fn certified(&self, has_shown: impl Fn(&str) -> bool) -> Option<ProxyId> {
        let settings = self.entries.iter().map(|entry| &entry.settings);
        let mut secure = settings.filter(|settings| settings.transport == Transport::Tls);
        let of = secure.find(|settings| has_shown(settings.certified_name()))?;
        let mut slots = self.slots.iter().filter(|(_, slot)| slot.removed.is_none());
        slots.find(|(_, slot)| slot.entry == of.name).map(|(id, _)| id)
    }

    /// Whether the certificate of a proxy over TLS is for this host, in lower case.
    pub fn is_named(&self, id: ProxyId, host: &str) -> bool {
        let of = |slot: &slots::Slot| self.entries.iter().find(|entry| entry.settings.name == slot.entry);
        self.slots.get(id).and_then(of).is_some_and(|entry| entry.settings.certified_name().eq_ignore_ascii_case(host))
    }
}
