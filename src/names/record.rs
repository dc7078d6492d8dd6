//! Records of name servers, as far as they matter here.

use std::net::IpAddr;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Servers of a service (RFC 2782).
    Srv,
    /// Transports of a domain (RFC 3263 §4.1).
    Naptr,
}

/// The answer of name servers to a query, or their silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses, and the seconds they hold for.
    Addresses(Vec<IpAddr>, u32),
    /// Servers of a service, and the seconds they hold for.
    Services(Vec<Service>, u32),
    /// Transports of a domain, the one it likes best first, and the seconds they hold for.
    Pointers(Vec<Pointer>, u32),
    /// There is no such name, with the seconds this holds for if the name servers say so.
    NoName(Option<u32>),
    /// There is no such record of the name, with the seconds this holds for if the name servers say so (RFC 2308
    /// §5).
    Nothing(Option<u32>),
    /// The name servers report a failure, or do not answer.
    Failed,
}

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Servers with the lowest number come first.
    pub priority: u16,
    /// The share of a server among those of its priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its name; empty when the service is expressly not there.
    pub target: Box<str>,
}

/// A transport of a domain, with the name of its SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The service, such as `sip+d2u`, in lower case.
    pub service: Box<str>,
    /// The name of its SRV records.
    pub name: Box<str>,
}

impl Outcome {
    /// Seconds that it holds for, if the name servers say so.
    pub(super) const fn seconds(&self) -> Option<u32> {
        match self {
            Outcome::Addresses(_, ttl) | Outcome::Services(_, ttl) | Outcome::Pointers(_, ttl) => Some(*ttl),
            Outcome::NoName(ttl) | Outcome::Nothing(ttl) => *ttl,
            Outcome::Failed => None,
        }
    }
}

/// Puts servers in the order in which they are tried: by priority, and by chance among those of one priority, in
/// proportion to their weights (RFC 2782).
pub(super) fn in_order(services: &[Service], mut seed: u64) -> Vec<&Service> {
    let mut rest: Vec<&Service> = services.iter().collect();
    // Servers without weight stand first in their priority, so that they have a small chance.
    rest.sort_by_key(|service| (service.priority, service.weight > 0));
    let mut ordered = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|service| service.priority == first.priority).count();
        let total: u64 = rest.iter().take(same).map(|service| u64::from(service.weight)).sum();
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let drawn = (seed >> 33) % (total + 1);
        let mut sum = 0;
        let at = rest.iter().take(same).position(|service| {
            sum += u64::from(service.weight);
            sum >= drawn
        });
        ordered.push(rest.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> Service {
        Service { priority, weight, port: 5060, target: target.into() }
    }

    #[test]
    fn servers_come_by_priority_and_by_weight_within_one() {
        let services = [service(2, 0, "c"), service(1, 10, "a"), service(1, 90, "b")];
        let orders = (0..1_000).map(|seed| {
            let order = in_order(&services, seed * 7_919);
            order.iter().map(|service| &*service.target).collect::<String>()
        });
        let orders: Vec<String> = orders.collect();
        assert!(orders.iter().all(|order| order == "abc" || order == "bac"));
        let heavy = orders.iter().filter(|order| *order == "bac").count();
        assert!((850..950).contains(&heavy), "{heavy} of 1,000 for nine tenths of the weight");
    }
}
