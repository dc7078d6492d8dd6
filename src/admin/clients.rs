//! The connections to the stats socket: how many there may be, and which one makes room for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::{AbortHandle, Id};

use crate::crowd::{Crowd, Room, Standing};
use crate::net::clock;
use crate::time::Time;

/// Connections at the same time, at most.
pub const MOST_CONNECTIONS: usize = 64;
/// Most connections of one user; all read-only users count as one.
pub const MOST_OF_ONE_USER: usize = MOST_CONNECTIONS / 2;

/// All connections.
pub(super) struct Clients {
    crowd: Crowd,
    clients: BTreeMap<Id, Served>,
}

struct Served {
    source: u64,
    state: Arc<Activity>,
    task: AbortHandle,
}

/// Activity on a connection, as the task that serves it sees it.
#[derive(Debug)]
pub(super) struct Activity(AtomicU64);

/// Value of [`Activity`] while a request is being answered: such a connection makes no room.
const IN_USE: u64 = u64::MAX;

impl Activity {
    /// A connection on which nothing has been asked yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Activity(AtomicU64::new(clock::now().0)))
    }

    /// A request is being answered.
    pub(super) fn begin(&self) {
        self.0.store(IN_USE, Ordering::Relaxed);
    }

    /// The request has been answered.
    pub(super) fn end(&self) {
        self.0.store(clock::now().0, Ordering::Relaxed);
    }
}

impl Clients {
    /// None yet.
    pub(super) fn new() -> Self {
        Clients { crowd: Crowd::new(MOST_CONNECTIONS, MOST_OF_ONE_USER), clients: BTreeMap::new() }
    }

    /// Makes room for one more connection of this source, if need be by closing an idle one; false if none can be
    /// closed.
    pub(super) fn make_room(&mut self, source: u64) -> bool {
        let standing = self.clients.iter().map(|(id, client)| {
            let heard = client.state.0.load(Ordering::Relaxed);
            Standing { key: *id, source: client.source, heard: Time(heard), in_use: heard == IN_USE }
        });
        match self.crowd.room(source, standing) {
            Room::Free => true,
            Room::InPlaceOf(id) => {
                self.remove(id);
                true
            }
            Room::None => false,
        }
    }

    /// Adds a connection and the task that serves it.
    pub(super) fn add(&mut self, source: u64, state: Arc<Activity>, task: AbortHandle) {
        self.crowd.add(source);
        self.clients.insert(task.id(), Served { source, state, task });
    }

    /// Removes a connection that is over, or closes it.
    pub(super) fn remove(&mut self, id: Id) {
        if let Some(client) = self.clients.remove(&id) {
            self.crowd.remove(client.source);
            client.task.abort();
        }
    }
}
