//! A takeover: the side of the dispatcher that runs, the side of the one that asks, and the state that goes between.

pub mod error;
pub mod predecessor;
pub mod state;
pub mod successor;

use std::io;
use std::os::fd::OwnedFd;

use crate::time::Time;
use crate::upgrade::conversation::Conversation;

/// A dispatcher that waits to take over.
#[derive(Debug)]
pub(super) struct PendingTakeover {
    conversation: Conversation,
    /// The time at which the wait for workers that are being started is over.
    until: Time,
}

/// Descriptors of the dispatcher as such, beside listeners and slots.
#[derive(Debug)]
pub struct DispatcherFds {
    /// The run directory's lock, which belongs to the open file.
    pub lock: OwnedFd,
    /// The listening handoff socket.
    pub handoff: OwnedFd,
    /// The listening stats socket.
    pub stats: OwnedFd,
}

impl DispatcherFds {
    /// Duplicates all descriptors.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let DispatcherFds { lock, handoff, stats } = self;
        Ok(DispatcherFds { lock: lock.try_clone()?, handoff: handoff.try_clone()?, stats: stats.try_clone()? })
    }
}
