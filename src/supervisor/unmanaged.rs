//! Unmanaged workers: they came to the handoff socket by themselves, with ports of their own.

use std::net::SocketAddr;

use super::admission::Occupancy;
use crate::dispatch::decision::Admin;
use crate::ids::{Incarnation, LinkId};
use crate::pack::packed;
use crate::words::Hello;

/// A worker that came by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmanagedWorker {
    pub(super) pid: u32,
    /// Its incarnation.
    pub(super) incarnation: Incarnation,
    /// The id of the links that it has, or had last.
    pub(super) link: LinkId,
    /// Address at which it takes calls.
    pub(super) address: SocketAddr,
    /// All its addresses.
    pub(super) addresses: Vec<SocketAddr>,
    /// The name it gave itself.
    pub(super) name: Option<String>,
    /// The program that it named in its `Hello`.
    pub(super) program: String,
    /// Admin state that the operator has set.
    pub(super) admin: Admin,
    /// Whether it is gone without a goodbye: it is shown as down until it comes back, or is forgotten.
    pub(super) is_down: bool,
    /// Whether it is on another host.
    pub(super) is_on_lan: bool,
}

packed!(UnmanagedWorker { pid, incarnation, link, address, addresses, name, program, admin, is_down, is_on_lan });

impl UnmanagedWorker {
    /// Whether a worker that introduces itself so looks like this one.
    pub(super) fn is_alike(&self, hello: &Hello) -> bool {
        self.name == hello.name && self.program == hello.program
    }

    /// Whether it is here, by these links. One lane after the other reports the end of links that it had before; that
    /// does not touch those with which the same incarnation, or another, has come back.
    pub(super) fn is_here_by(&self, link: LinkId) -> bool {
        self.link == link && !self.is_down
    }

    /// Occupancy of its slot for a worker that introduces itself so.
    pub(super) fn occupancy_for(&self, hello: &Hello) -> Occupancy {
        if self.is_down { Occupancy::Down { alike: self.is_alike(hello) } } else { Occupancy::Taken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_links_that_a_worker_had_before_is_not_the_end_of_those_it_has_come_back_by() {
        let here = |link| UnmanagedWorker {
            pid: 1,
            incarnation: Incarnation::new(7),
            link: LinkId(link),
            address: "0.0.0.0:0".parse().unwrap(),
            addresses: Vec::new(),
            name: None,
            program: String::new(),
            admin: Admin::Ready,
            is_down: false,
            is_on_lan: false,
        };
        let mut first = here(1);
        // The first lane has seen the end of the worker's link.
        assert!(first.is_here_by(LinkId(1)));
        first.is_down = true;
        assert!(!first.is_here_by(LinkId(1)), "the second lane tells nothing new");
        // The same incarnation is back before the second lane has reported.
        let back = here(2);
        assert!(!back.is_here_by(LinkId(1)));
        assert!(back.is_here_by(LinkId(2)));
    }
}
