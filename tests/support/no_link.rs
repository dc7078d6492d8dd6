//! A link of a dispatcher that has no workers.

use std::io::{self, IoSlice};

use pointsman::switch::links::Channel;

/// A link that nothing is written to.
#[derive(Debug)]
pub struct NoLink;

impl Channel for NoLink {
    fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<()> {
        unreachable!("there are no workers")
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("there are no workers")
    }

    fn watch_writable(&mut self, _: bool) {}
}
