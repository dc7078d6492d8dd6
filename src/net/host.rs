//! This host's own addresses.

use std::net::{IpAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The address at which others most likely reach this host: the first of an interface that is up, of the same family as
/// `like`; the loopback address where there is no other.
pub fn own_address(like: IpAddr) -> IpAddr {
    let loopback = match like {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1]),
    };
    let Ok(interfaces) = getifaddrs() else { return loopback };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let addresses = up.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| Some(IpAddr::from(address.as_sockaddr_in6()?.ip())))
    });
    let mut usable = addresses.filter(|ip| ip.is_ipv4() == like.is_ipv4() && !ip.is_loopback() && !is_link_local(*ip));
    usable.next().unwrap_or(loopback)
}

/// The source address of datagrams that this host sends to `to`; `None` when no route leads there.
pub fn address_towards(to: IpAddr) -> Option<IpAddr> {
    let any = match to {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    // Connecting a datagram socket sends nothing: the kernel only looks for the route.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Whether this host has the address.
pub fn has(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// An address of each family that this host has: the one of [`own_address`], but no loopback address.
pub fn addresses() -> Vec<IpAddr> {
    let wildcards = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    wildcards.into_iter().map(own_address).filter(|ip| !ip.is_loopback()).collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_oneself_begins_at_oneself() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(address_towards(loopback), Some(loopback));
        assert_eq!(address_towards("fe80::1".parse().unwrap()), None, "without an interface it leads nowhere");
    }

    #[test]
    fn a_host_has_an_address_of_each_family_that_is_not_the_wildcard() {
        for wildcard in ["0.0.0.0", "::"] {
            let wildcard: IpAddr = wildcard.parse().unwrap();
            let own = own_address(wildcard);
            assert!(!own.is_unspecified() && own.is_ipv4() == wildcard.is_ipv4(), "{own}");
        }
    }
}
