//! Identities: tokens of workers, keys, and the dispatcher's own tag.

use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::joined::{Joined, Protocol, Services};
use crate::fingerprint::Fingerprint;
use crate::ids::{Incarnation, Token, TokenKey, WorkerId, encode};
use crate::pack::{packed, saved};

/// The keys that tokens are made and checked with.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// The key that new tokens are made with.
    pub current: TokenKey,
    /// The key before it: its tokens stay valid.
    pub previous: Option<TokenKey>,
}

impl Keyring {
    /// One key.
    pub const fn new(current: TokenKey) -> Self {
        Keyring { current, previous: None }
    }

    /// Reads the token that `field` starts with, in either case.
    pub fn read(&self, field: &[u8]) -> Option<Incarnation> {
        self.current.read(field).or_else(|| self.previous.as_ref()?.read(field))
    }

    /// Reads the hexadecimal token that an MGCP connection id starts with.
    pub fn read_hex(&self, field: &[u8]) -> Option<Incarnation> {
        self.current.read_hex(field).or_else(|| self.previous.as_ref()?.read_hex(field))
    }

    /// The tag for an answer to the transaction with this fingerprint: the same for every retransmission (RFC 3261
    /// §8.2.7). It is a separate hash, so that a tag tells a peer nothing about places in the table.
    pub fn dispatcher_tag(&self, transaction: Fingerprint) -> DispatcherTag {
        let mut text = *b"pd..........";
        encode(self.current.hash(b'd', &transaction.to_bytes()), &mut text[2..]);
        DispatcherTag(text)
    }
}

/// The To-tag of the dispatcher's own answers: 12 ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DispatcherTag([u8; 12]);

impl DispatcherTag {
    /// Reads a To-tag that has this form; it is not checked whether this dispatcher has made it.
    pub fn read(tag: &[u8]) -> Option<Self> {
        let text: [u8; 12] = tag.try_into().ok()?;
        // Tags compare in any case (RFC 3261 §7.3.1), and ours are written in lower case.
        let text = text.map(|byte| byte.to_ascii_lowercase());
        text.starts_with(b"pd").then_some(DispatcherTag(text))
    }

    /// The text, for a buffer.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

packed!(DispatcherTag([u8; 12]));

impl std::fmt::Debug for DispatcherTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// The worker that a token or an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A worker that lives.
    Live(WorkerId),
    /// A worker's life that is over.
    Gone,
}

/// Tokens and own addresses of the live workers.
#[derive(Debug)]
pub struct Directory {
    keys: Keyring,
    // Incarnations pass a keyed check before they are looked up, so that peers cannot choose them.
    lives: HashMap<u64, Life, FixedState>,
    addresses: HashMap<SocketAddr, Place, FixedState>,
    mgcp: HashMap<SocketAddr, Place, FixedState>,
    /// The same by port, if only one worker has that port: an MGCP name has no room for the address.
    mgcp_ports: HashMap<u16, Place, FixedState>,
}

/// A life and its services: a token given in one protocol does not lead a message of another protocol to the worker.
#[derive(Clone, Copy, Debug)]
struct Life {
    worker: WorkerId,
    services: Services,
}

saved!(Directory { lives, addresses, mgcp, mgcp_ports } else { keys });
packed!(Life { worker, services });

#[derive(Clone, Copy, Debug)]
struct Place {
    worker: WorkerId,
    is_live: bool,
}

packed!(Place { worker, is_live });

impl Place {
    const fn named(&self) -> Named {
        if self.is_live { Named::Live(self.worker) } else { Named::Gone }
    }
}

impl Directory {
    /// A directory without workers.
    pub fn new(keys: Keyring) -> Self {
        Directory {
            keys,
            lives: HashMap::default(),
            addresses: HashMap::default(),
            mgcp: HashMap::default(),
            mgcp_ports: HashMap::default(),
        }
    }

    /// The keys.
    pub const fn keys(&self) -> &Keyring {
        &self.keys
    }

    /// Adds a live worker, with its token and its addresses.
    pub fn add(&mut self, worker: WorkerId, joined: &Joined) {
        self.lives.retain(|_, life| life.worker != worker);
        self.addresses.retain(|_, place| place.worker != worker);
        self.mgcp.retain(|_, place| place.worker != worker);
        self.mgcp_ports.retain(|_, place| place.worker != worker);
        let Joined { incarnation, services, ref addresses, ref mgcp, .. } = *joined;
        self.lives.insert(incarnation.bits(), Life { worker, services });
        let place = Place { worker, is_live: true };
        for &address in addresses.iter().filter(|_| services.sip) {
            self.addresses.insert(address, place);
        }
        for &address in mgcp.iter().filter(|_| services.mgcp) {
            self.mgcp.insert(address, place);
            // If each worker has an address of its own, all use the same port, and the port alone names none of them.
            let shared =
                |(other, place): (&SocketAddr, &Place)| place.worker != worker && other.port() == address.port();
            match self.mgcp.iter().any(shared) {
                true => self.mgcp_ports.remove(&address.port()),
                false => self.mgcp_ports.insert(address.port(), place),
            };
        }
    }

    /// Marks a worker's life as over. Its addresses belong to the slot and are remembered.
    pub fn remove(&mut self, worker: WorkerId) {
        self.lives.retain(|_, life| life.worker != worker);
        let own = self.addresses.values_mut().chain(self.mgcp.values_mut()).chain(self.mgcp_ports.values_mut());
        own.filter(|place| place.worker == worker).for_each(|place| place.is_live = false);
    }

    /// The worker that the token at the front of a SIP `field` names; `None` if there is no token.
    pub fn token(&self, field: &[u8]) -> Option<Named> {
        self.keys.read(field).map(|incarnation| self.life(incarnation, Protocol::Sip))
    }

    /// The worker that the token at the front of a term of an MGCP name names; `None` if there is no token.
    pub fn mgcp_token(&self, term: &[u8]) -> Option<Named> {
        self.keys.read(term).map(|incarnation| self.life(incarnation, Protocol::Mgcp))
    }

    /// The worker that an MGCP connection id belongs to; `None` if it holds no token.
    pub fn connection(&self, id: &[u8]) -> Option<Named> {
        self.keys.read_hex(id).map(|incarnation| self.life(incarnation, Protocol::Mgcp))
    }

    /// The worker that has this address as its own MGCP port.
    pub fn mgcp(&self, address: SocketAddr) -> Option<Named> {
        self.mgcp.get(&address).map(Place::named)
    }

    /// The worker that has this port as its own MGCP port.
    pub fn mgcp_port(&self, port: u16) -> Option<Named> {
        self.mgcp_ports.get(&port).map(Place::named)
    }

    fn life(&self, incarnation: Incarnation, protocol: Protocol) -> Named {
        let life = self.lives.get(&incarnation.bits()).filter(|life| life.services.has(protocol));
        life.map_or(Named::Gone, |life| Named::Live(life.worker))
    }

    /// The worker that has `host:port` as its own port. A worker bound to every address of this host is meant by each
    /// address for which `is_ours` is true.
    pub fn address(&self, host: IpAddr, port: u16, is_ours: impl FnOnce(IpAddr) -> bool) -> Option<Named> {
        let unspecified: IpAddr = if host.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let exact = self.addresses.get(&SocketAddr::new(host, port));
        let place = match exact {
            Some(place) => place,
            None => self.addresses.get(&SocketAddr::new(unspecified, port)).filter(|_| is_ours(host))?,
        };
        Some(place.named())
    }
}

/// The token in the branch of a worker's own Via (RFC 3261 §8.1.1.7: the cookie comes first).
pub fn branch_token(branch: &[u8]) -> Option<&[u8]> {
    let (cookie, rest) = branch.split_at_checked(7)?;
    (cookie.eq_ignore_ascii_case(b"z9hG4bK") && rest.len() >= Token::LEN).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new([byte; 32])
    }

    #[test]
    fn tokens_of_the_previous_key_stay_valid() {
        let keys = Keyring { current: key(2), previous: Some(key(1)) };
        let life = Incarnation::new(5);
        assert_eq!(keys.read(key(1).token(life).as_bytes()), Some(life));
        assert_eq!(keys.read(key(2).token(life).as_bytes()), Some(life));
        assert_eq!(keys.read(key(3).token(life).as_bytes()), None);
    }

    #[test]
    fn tokens_and_tags_are_read_in_either_case() {
        let keys = Keyring::new(key(1));
        let tag = keys.dispatcher_tag(Fingerprint::from_bytes([7; 16]));
        assert_eq!(DispatcherTag::read(&tag.as_bytes().to_ascii_uppercase()), Some(tag));
        let branch = format!("z9hG4bK{}-1", key(1).token(Incarnation::new(5))).to_uppercase();
        assert_eq!(branch_token(branch.as_bytes()).and_then(|token| keys.read(token)), Some(Incarnation::new(5)));
    }

    #[test]
    fn a_life_that_is_over_is_gone_and_not_its_successor() {
        let mut directory = Directory::new(Keyring::new(key(1)));
        let address: SocketAddr = "192.0.2.1:5070".parse().unwrap();
        directory.add(WorkerId(0), &Joined::sip(Incarnation::new(1), 1, vec![address]));
        let first = key(1).token(Incarnation::new(1));
        assert_eq!(directory.token(first.as_bytes()), Some(Named::Live(WorkerId(0))));
        directory.remove(WorkerId(0));
        assert_eq!(directory.token(first.as_bytes()), Some(Named::Gone));
        assert_eq!(directory.address(address.ip(), 5070, |_| false), Some(Named::Gone));
        directory.add(WorkerId(0), &Joined::sip(Incarnation::new(2), 1, vec![address]));
        assert_eq!(directory.token(first.as_bytes()), Some(Named::Gone));
        assert_eq!(directory.address(address.ip(), 5070, |_| false), Some(Named::Live(WorkerId(0))));
        assert_eq!(directory.address(address.ip(), 5071, |_| true), None);
        assert_eq!(directory.token(b"1928301774"), None);
    }

    #[test]
    fn a_worker_on_every_address_is_meant_by_our_addresses_only() {
        let mut directory = Directory::new(Keyring::new(key(1)));
        directory.add(WorkerId(3), &Joined::sip(Incarnation::new(1), 1, vec!["0.0.0.0:5073".parse().unwrap()]));
        let ours: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(directory.address(ours, 5073, |host| host == ours), Some(Named::Live(WorkerId(3))));
        assert_eq!(directory.address("198.51.100.1".parse().unwrap(), 5073, |host| host == ours), None);
        assert_eq!(directory.address("::1".parse().unwrap(), 5073, |_| true), None);
    }
}
