//! Reasons why an address cannot be listened on: the operator reads these texts.

use std::io;
use std::net::SocketAddr;

use super::holders::{self, PortHolder};

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error(
        "cannot listen on {place}: the port is in use{}; stop {} or choose another with {}",
        by(.holders), if .holders.is_empty() { "the other program" } else { "it" }, .place.flag
    )]
    InUse {
        /// Address that was tried.
        place: Place,
        /// Its holders, if they were [looked up](BindError::with_holders) and this user may see them.
        holders: Vec<PortHolder>,
    },
    /// No interface of this host has it.
    #[error(
        "cannot listen on {place}: no interface of this host has that address; name one that `ip address` shows with {}, \
         or, for a virtual address that comes later, allow it with `{}`", .place.flag, nonlocal(place)
    )]
    NotOurs {
        /// Address that was tried.
        place: Place,
    },
    /// The address needs a right (ports below 1024: `CAP_NET_BIND_SERVICE`), or a security module forbids it.
    #[error("cannot listen on {place}: no permission; {}", permission_hint(place))]
    Permission {
        /// Address that was tried.
        place: Place,
    },
    /// The host has no such protocol, IPv6 for instance.
    #[error("cannot listen on {place}: this host does not support that protocol; choose another address with {}", .place.flag)]
    Unsupported {
        /// Address that was tried.
        place: Place,
    },
    /// A link-local address without its interface, or an IPv4 address in the form of IPv6.
    #[error("cannot listen on {place}: {fault}; give another with {}", .place.flag)]
    Form {
        /// Address that was tried.
        place: Place,
        /// The fault in it, and how it is to be written.
        fault: String,
    },
    /// All descriptors are in use.
    #[error("cannot listen on {place}: no file descriptor left; raise the limit (`ulimit -n`, `LimitNOFILE=`)")]
    Descriptors {
        /// Address that was tried.
        place: Place,
    },
    /// Any other error.
    #[error("cannot listen on {place}: {error}; choose another with {}", .place.flag)]
    Other {
        /// Address that was tried.
        place: Place,
        /// The system's error.
        error: io::Error,
    },
}

/// Address that was to be listened on, with its protocol and flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// The flag with which the operator sets it.
    pub flag: &'static str,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

/// Most holders that are named.
const NAMED: usize = 4;

fn by(holders: &[PortHolder]) -> String {
    let mut named: Vec<String> = holders.iter().take(NAMED).map(PortHolder::to_string).collect();
    match holders.len().saturating_sub(NAMED) {
        0 => {}
        more => named.push(format!("{more} more")),
    }
    if named.is_empty() { String::new() } else { format!(" by {}", named.join(", ")) }
}

const fn nonlocal(place: &Place) -> &'static str {
    match place.address {
        SocketAddr::V4(_) => "sysctl net.ipv4.ip_nonlocal_bind=1",
        SocketAddr::V6(_) => "sysctl net.ipv6.ip_nonlocal_bind=1",
    }
}

fn permission_hint(place: &Place) -> String {
    if place.address.port() < 1024 {
        format!("ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another with {}", place.flag)
    } else {
        format!("a security policy forbids it; change that or choose another with {}", place.flag)
    }
}

/// The fault for which no socket can have an address as it is written, and how it is to be written.
fn fault_of_form(address: SocketAddr) -> Option<String> {
    let SocketAddr::V6(address) = address else { return None };
    let ip = address.ip();
    if let Some(v4) = ip.to_ipv4_mapped() {
        return Some(format!("it is the IPv4 address {v4} in the form of IPv6: write it as {v4}"));
    }
    let has_no_interface = ip.is_unicast_link_local() && address.scope_id() == 0;
    has_no_interface.then(|| format!("it is link-local: `ip link` shows the number of its interface, as in [{ip}%2]"))
}

impl BindError {
    pub(super) fn new(protocol: &'static str, address: SocketAddr, error: io::Error) -> Self {
        let place = Place { protocol, address, flag: "--listen" };
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => BindError::InUse { place, holders: Vec::new() },
            Some(libc::EADDRNOTAVAIL) => BindError::NotOurs { place },
            Some(libc::EACCES | libc::EPERM) => BindError::Permission { place },
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BindError::Unsupported { place },
            Some(libc::EMFILE | libc::ENFILE) => BindError::Descriptors { place },
            code => match fault_of_form(address).filter(|_| code == Some(libc::EINVAL)) {
                Some(fault) => BindError::Form { place, fault },
                None => BindError::Other { place, error },
            },
        }
    }

    /// The same error, for an address that is set with `flag` instead of `--listen`.
    #[must_use]
    pub fn chosen_with(mut self, flag: &'static str) -> Self {
        self.place_mut().flag = flag;
        self
    }

    /// The same error, with the processes that hold the port. Slow: it reads the open files of all processes.
    #[must_use]
    pub fn with_holders(mut self) -> Self {
        if let BindError::InUse { place, holders } = &mut self {
            *holders = holders::of(place.protocol, place.address);
        }
        self
    }

    /// Address that was to be listened on, with its protocol and flag.
    pub fn place(&self) -> Place {
        match self {
            BindError::InUse { place, .. }
            | BindError::NotOurs { place }
            | BindError::Permission { place }
            | BindError::Unsupported { place }
            | BindError::Form { place, .. }
            | BindError::Descriptors { place }
            | BindError::Other { place, .. } => *place,
        }
    }

    fn place_mut(&mut self) -> &mut Place {
        match self {
            BindError::InUse { place, .. }
            | BindError::NotOurs { place }
            | BindError::Permission { place }
            | BindError::Unsupported { place }
            | BindError::Form { place, .. }
            | BindError::Descriptors { place }
            | BindError::Other { place, .. } => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_those_who_have_it() {
        let error = |held: &[u32]| {
            let place = Place { protocol: "udp", address: "0.0.0.0:5060".parse().unwrap(), flag: "--listen" };
            let holder = |pid: &u32| PortHolder { pid: *pid, command: "kamailio -f k.cfg".to_owned() };
            BindError::InUse { place, holders: held.iter().map(holder).collect() }.to_string()
        };
        assert_eq!(
            error(&[7]),
            "cannot listen on udp 0.0.0.0:5060: the port is in use by process 7 (kamailio -f k.cfg); stop it or choose another with --listen"
        );
        assert!(error(&[1, 2, 3, 4, 5, 6]).contains("process 4 (kamailio -f k.cfg), 2 more; stop it"));
    }

    #[test]
    fn an_address_in_a_form_that_no_socket_can_have_is_told_how_to_write_it() {
        let text = |address: &str| {
            BindError::new("udp", address.parse().unwrap(), io::Error::from_raw_os_error(libc::EINVAL)).to_string()
        };
        assert_eq!(
            text("[::ffff:192.0.2.1]:5060"),
            "cannot listen on udp [::ffff:192.0.2.1]:5060: it is the IPv4 address 192.0.2.1 in the form of IPv6: write it as \
             192.0.2.1; give another with --listen"
        );
        assert!(text("[fe80::1]:5060").contains("`ip link` shows the number of its interface, as in [fe80::1%2]"));
        assert!(text("192.0.2.1:5060").contains("Invalid argument"));
    }

    #[test]
    fn the_text_names_the_address_and_what_to_do() {
        let text = |code, flag| {
            let error = io::Error::from_raw_os_error(code);
            BindError::new("udp", "0.0.0.0:506".parse().unwrap(), error).chosen_with(flag).to_string()
        };
        assert_eq!(
            text(libc::EADDRINUSE, "--worker-ports"),
            "cannot listen on udp 0.0.0.0:506: the port is in use; stop the other program or choose another with --worker-ports"
        );
        assert!(text(libc::EADDRNOTAVAIL, "--listen").ends_with("allow it with `sysctl net.ipv4.ip_nonlocal_bind=1`"));
        assert_eq!(
            text(libc::EACCES, "--listen"),
            "cannot listen on udp 0.0.0.0:506: no permission; ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another with --listen"
        );
    }
}
