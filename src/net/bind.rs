//! Why an address cannot be listened on: the text is what the operator reads.

use std::io;
use std::net::SocketAddr;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has it.
    #[error("cannot listen on {place}: the port is in use; stop the other program or choose another with {}", .place.flag)]
    InUse {
        /// What was tried.
        place: Place,
    },
    /// No interface of this host has it.
    #[error("cannot listen on {place}: no interface of this host has that address; name one that `ip address` shows with {}", .place.flag)]
    NotOurs {
        /// What was tried.
        place: Place,
    },
    /// Ports below 1024 need a right (`CAP_NET_BIND_SERVICE`), or a security module forbids it.
    #[error("cannot listen on {place}: no permission; {}", permission_hint(place))]
    Permission {
        /// What was tried.
        place: Place,
    },
    /// The host has no such protocol, IPv6 for instance.
    #[error("cannot listen on {place}: this host does not support that protocol; choose another address with {}", .place.flag)]
    Unsupported {
        /// What was tried.
        place: Place,
    },
    /// All descriptors are in use.
    #[error("cannot listen on {place}: no file descriptor left; raise the limit (`ulimit -n`, `LimitNOFILE=`)")]
    Descriptors {
        /// What was tried.
        place: Place,
    },
    /// Anything else.
    #[error("cannot listen on {place}: {error}; choose another with {}", .place.flag)]
    Other {
        /// What was tried.
        place: Place,
        /// What the system said.
        error: io::Error,
    },
}

/// What was to be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The flag that the operator chooses it with.
    pub flag: &'static str,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.protocol, self.address)
    }
}

fn permission_hint(place: &Place) -> String {
    if place.address.port() < 1024 {
        format!("ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another with {}", place.flag)
    } else {
        format!("a security policy forbids it; change that or choose another with {}", place.flag)
    }
}

impl BindError {
    pub(super) fn new(protocol: &'static str, address: SocketAddr, error: io::Error) -> Self {
        let place = Place { protocol, address, flag: "--listen" };
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => BindError::InUse { place },
            Some(libc::EADDRNOTAVAIL) => BindError::NotOurs { place },
            Some(libc::EACCES | libc::EPERM) => BindError::Permission { place },
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BindError::Unsupported { place },
            Some(libc::EMFILE | libc::ENFILE) => BindError::Descriptors { place },
            _ => BindError::Other { place, error },
        }
    }

    /// The same, for an address that is chosen with `flag` instead of `--listen`.
    #[must_use]
    pub fn chosen_with(mut self, flag: &'static str) -> Self {
        self.place_mut().flag = flag;
        self
    }

    /// What was to be listened on.
    pub fn place(&self) -> Place {
        match self {
            BindError::InUse { place }
            | BindError::NotOurs { place }
            | BindError::Permission { place }
            | BindError::Unsupported { place }
            | BindError::Descriptors { place }
            | BindError::Other { place, .. } => *place,
        }
    }

    fn place_mut(&mut self) -> &mut Place {
        match self {
            BindError::InUse { place }
            | BindError::NotOurs { place }
            | BindError::Permission { place }
            | BindError::Unsupported { place }
            | BindError::Descriptors { place }
            | BindError::Other { place, .. } => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            text(libc::EACCES, "--listen"),
            "cannot listen on udp 0.0.0.0:506: no permission; ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another with --listen"
        );
    }
}
