//! The supervisor's state as values, for the dispatcher that takes over. As in a live migration it is copied in two
//! steps: the [`PreCopy`] is sent while the lanes still read, the [`FinalCopy`] while none does. Sockets and processes
//! go beside them as descriptors, in the order in which they stand here.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::error::TakeoverError;
use crate::dispatch::decision::Admin;
use crate::fingerprint::SCHEME;
use crate::ids::{Incarnation, WorkerId};
use crate::link::session::SavedSession;
use crate::net::conns::{ConnName, SavedConns};
use crate::pack::{Damaged, Pack, Packed, fingerprint, pack_bytes, packed};
use crate::server::link_socket::LinkSocket;
use crate::supervisor::slot_state::SlotState;
use crate::supervisor::unmanaged::UnmanagedWorker;
use crate::switch::Switch;
use crate::time::Time;

/// The part that does not change any more once the takeover is granted.
#[derive(Debug, PartialEq, Eq)]
pub struct PreCopy {
    /// The start of the first of the dispatchers that have taken over from one another.
    pub started: Time,
    /// Seed of the hash that assigns calls to lanes.
    pub seed: u64,
    /// Number of listeners.
    pub listeners: usize,
    /// The stream connections of each lane, one descriptor each.
    pub connections: Vec<Vec<ConnName>>,
    /// The slots, w0 first.
    pub slots: Vec<SlotCopy>,
    /// The service manager that waits for messages, if there is one.
    pub service_manager: Option<NotifyTarget>,
}

/// Address and watchdog of a service manager.
#[derive(Debug, PartialEq, Eq)]
pub struct NotifyTarget {
    /// Its socket.
    pub socket: Vec<u8>,
    /// Interval at which it wants a watchdog message.
    pub watchdog: Option<Duration>,
}

/// The part that is taken once the lanes have paused. The lanes' states follow it in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct FinalCopy {
    /// The time at which the lanes were told to stop reading.
    pub paused_at: Time,
    /// Unmanaged workers.
    pub unmanaged: Vec<(WorkerId, UnmanagedWorker)>,
    /// The lanes' states.
    pub lanes: Vec<LaneHeader>,
}

/// A slot.
#[derive(Debug, PartialEq, Eq)]
pub struct SlotCopy {
    /// Phase, restarts and deaths of the slot.
    pub state: SlotState,
    /// Number of its pairs of SIP sockets, of two descriptors each.
    pub sip: usize,
    /// The listeners of its MGCP sockets, one descriptor each.
    pub mgcp: Vec<u16>,
    /// The process in it, which is one descriptor more.
    pub process: Option<u32>,
    /// Incarnation of that process.
    pub incarnation: Option<Incarnation>,
    /// Admin state that the operator has set.
    pub admin: Admin,
    /// Whether the slot ends with its worker.
    pub leaving: bool,
}

/// Header of a lane's state: its length, and the workers whose links go with it.
#[derive(Debug, PartialEq, Eq)]
pub struct LaneHeader {
    /// In bytes.
    pub length: usize,
    /// One descriptor each.
    pub links: Vec<WorkerId>,
}

packed!(PreCopy { started, seed, listeners, connections, slots, service_manager });
packed!(NotifyTarget { socket, watchdog });
packed!(FinalCopy { paused_at, unmanaged, lanes });
packed!(SlotCopy { state, sip, mgcp, process, incarnation, admin, leaving });
packed!(LaneHeader { length, links });

/// A hash of the layout of the whole state: dispatchers with the same one can read each other's state.
pub fn layout_number() -> u64 {
    fingerprint(&described())
}

/// The layout of the whole state, and the scheme by which the fingerprints in it are made.
fn described() -> String {
    let mut layout = SCHEME.to_owned();
    PreCopy::layout(&mut layout);
    FinalCopy::layout(&mut layout);
    <Vec<(WorkerId, SavedSession)>>::layout(&mut layout);
    SavedConns::layout(&mut layout);
    Switch::<LinkSocket>::describe(&mut layout);
    layout
}

/// Bytes that the state of a lane with so many entries in its table takes, roughly: an entry takes 100, and the
/// messages retained for the workers rarely take more than a megabyte.
pub const fn room_for(entries: usize) -> usize {
    entries.saturating_mul(128).saturating_add(1 << 20)
}

/// Writes a value to the front of a file, with its length before it.
///
/// # Errors
///
/// No memory is left.
pub fn write(value: &impl Pack, file: &mut File) -> io::Result<()> {
    let (mut packed, mut head) = (Vec::new(), Vec::new());
    value.pack(&mut packed);
    pack_bytes(&packed, &mut head);
    file.write_all(&head)
}

/// Reads a value that [`write()`] wrote, and returns the position of its end.
///
/// # Errors
///
/// The file has no such value at its front.
pub fn read<T: Pack>(file: &File) -> Result<(T, u64), TakeoverError> {
    let mut length = [0; 4];
    file.read_exact_at(&mut length, 0)?;
    let length = u32::from_le_bytes(length);
    if u64::from(length) > file.metadata()?.len() {
        return Err(Damaged("a value longer than its file").into());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 4)?;
    Ok((T::unpack(&mut Packed::new(&bytes))?, 4 + u64::from(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dispatcher of another layout is refused by name, so every change of it costs each operator one takeover.
    #[test]
    fn the_layout_is_the_one_that_was_written_down() {
        let described = described().replace(',', ",\n");
        assert!(
            described == include_str!("layout.txt").trim_end(),
            "the layout of the state has changed: a takeover from a dispatcher with the layout before will be refused. \
             If that is meant, this is the new text of src/supervisor/takeover/layout.txt:\n{described}"
        );
    }

    #[test]
    fn the_layout_names_the_scheme_of_the_fingerprints_and_every_part_of_the_state() {
        let described = described();
        assert!(described.starts_with(SCHEME));
        let parts =
            ["unrecorded_until:Time", "next_look:", "gatherings:", "apart_until:", "report:u64", "incarnation:"];
        assert!(parts.iter().all(|part| described.contains(part)), "{described}");
    }
}
