//! The other lanes: parcels come from them and go to them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use mio::Waker;

use crate::switch::parcel::Parcel;

/// Most parcels that wait for one lane. Messages for a lane that lags further behind wait in the lane that read them,
/// up to a megabyte; beyond that they are dropped and counted.
pub const PARCELS: usize = 32;
/// Empty parcels that are kept.
const SPARE: usize = 16;

/// The way to another lane.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its queue of parcels.
    pub parcels: Sender<Parcel>,
    /// The waker that makes it look at the queue.
    pub waker: Arc<Waker>,
}

/// A lane's connections with the other lanes.
#[derive(Debug)]
pub struct Peers {
    /// Parcels of other lanes for this one.
    incoming: Receiver<Parcel>,
    /// The way to each other lane, by lane number; `None` for this lane itself.
    others: Vec<Option<Peer>>,
    /// Empty parcels that are used again.
    spare: Vec<Parcel>,
}

impl Peers {
    /// The peers of a lane that has parcels from `incoming`.
    pub const fn new(incoming: Receiver<Parcel>, others: Vec<Option<Peer>>) -> Self {
        Peers { incoming, others, spare: Vec::new() }
    }

    /// The next parcel for this lane.
    pub fn next(&self) -> Option<Parcel> {
        self.incoming.try_recv().ok()
    }

    /// Keeps a parcel that has been read, to be filled again.
    pub fn recycle(&mut self, mut parcel: Parcel) {
        if self.spare.len() < SPARE {
            parcel.clear();
            self.spare.push(parcel);
        }
    }

    /// Sends a parcel to another lane and puts an empty one in its place; false where that lane takes no more.
    pub fn send(&mut self, lane: usize, parcel: &mut Parcel) -> bool {
        let Some(Some(peer)) = self.others.get(lane) else { return false };
        let full = std::mem::replace(parcel, self.spare.pop().unwrap_or_default());
        match peer.parcels.try_send(full) {
            Ok(()) => {
                // A lane that cannot be woken checks its queue by itself within a second.
                let _ = peer.waker.wake();
                true
            }
            Err(error) => {
                *parcel = error.into_inner();
                false
            }
        }
    }
}

impl Default for Peers {
    fn default() -> Self {
        Peers::new(crossbeam_channel::never(), Vec::new())
    }
}
