//! The crew as a value, for the dispatcher that takes over; the sockets and processes beside it go as descriptors, in the
//! order in which they stand here.

use super::crew::Outsider;
use super::slot::Slot;
use crate::dispatch::decision::Admin;
use crate::ids::{Incarnation, WorkerId};
use crate::pack::{Damaged, Pack, Packed, fingerprint, packed};
use crate::server::link_socket::LinkSocket;
use crate::server::switch::Switch;
use crate::time::Time;

/// All that a dispatcher is besides its lanes' states, which lie behind it in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Roster {
    /// When the lanes stopped to read.
    pub paused_at: Time,
    /// When the first dispatcher of this line started.
    pub started: Time,
    /// What says which call belongs to which lane.
    pub seed: u64,
    /// How many listeners there are.
    pub listeners: usize,
    /// The slots, w0 first.
    pub seats: Vec<Seat>,
    /// Workers that came by themselves.
    pub outsiders: Vec<(WorkerId, Outsider)>,
    /// The lanes' states.
    pub lanes: Vec<LaneState>,
}

/// A slot.
#[derive(Debug, PartialEq, Eq)]
pub struct Seat {
    /// What goes on in it.
    pub slot: Slot,
    /// How many descriptors its sockets are.
    pub sockets: usize,
    /// The process in it, which is one descriptor more.
    pub process: Option<u32>,
    /// Which life of the slot that process is.
    pub incarnation: Option<Incarnation>,
    /// What the operator wants of it.
    pub admin: Admin,
    /// Whether it goes with its worker.
    pub leaving: bool,
}

/// A lane's state: how long it is, and whose links go with it.
#[derive(Debug, PartialEq, Eq)]
pub struct LaneState {
    /// In bytes.
    pub length: usize,
    /// One descriptor each.
    pub links: Vec<WorkerId>,
}

packed!(Roster { paused_at, started, seed, listeners, seats, outsiders, lanes });
packed!(Seat { slot, sockets, process, incarnation, admin, leaving });
packed!(LaneState { length, links });

/// A number for the layout of the whole state: two dispatchers with the same one read each other's.
pub fn layout() -> u64 {
    let mut layout = String::new();
    Roster::layout(&mut layout);
    Switch::<LinkSocket>::layout(&mut layout);
    fingerprint(&layout)
}

impl Roster {
    /// Reads what [`Pack::pack`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are no roster.
    pub fn read(bytes: &[u8]) -> Result<Self, Damaged> {
        Roster::unpack(&mut Packed::new(bytes))
    }
}
