//! The dispatcher process: the lane (the hot loop) and what it holds.
//!
//! What is done with a message is in [`switch`], as a value: the lane feeds it from sockets, a test from memory.
//!
//! A lane owns its state and shares none: the control side sends it [`Command`]s and gets [`Event`]s back. It never
//! blocks and never waits for the control side.

mod answers;
pub mod door;
mod early;
mod handed_back;
mod lane;
pub mod link_socket;
pub mod links;
mod moderation;
pub mod parcel;
mod repeats;
mod snapshot;
mod suspects;
pub mod switch;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::admin::snapshot::{Counters, Decided, WorkerLoad};
use crate::config::{Insert, Service};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Admin, Brought, Joined};
use crate::dispatch::owner::Owners;
use crate::dispatch::rules::Rules;
use crate::ids::{Incarnation, LinkId, ListenerId, WorkerId};
use crate::net::udp;
use crate::net::unix::SeqPacket;
use crate::pack::packed;

pub use lane::Lane;
use lane::Peer;

/// What the control side tells a lane.
#[derive(Debug)]
pub enum Command {
    /// A worker has been welcomed: hand messages to it over this link.
    Link {
        /// Its slot.
        worker: WorkerId,
        /// The link, after the welcome.
        link: SeqPacket,
        /// What it said of itself.
        joined: Joined,
        /// What it has from the time of an earlier dispatcher.
        brought: Option<Box<Brought>>,
    },
    /// A slot has sockets; the lane serves them while no worker does.
    Slot {
        /// The slot.
        worker: WorkerId,
        /// Duplicates of its SIP sockets over UDP.
        sockets: Vec<udp::Socket>,
        /// Duplicates of its MGCP sockets, each with the listener it belongs to.
        mgcp: Vec<(ListenerId, udp::Socket)>,
    },
    /// A worker's administrative state changes.
    Admin {
        /// The worker.
        worker: WorkerId,
        /// Its new state.
        admin: Admin,
        /// When it drains: how long its calls may go on; `None`: as long as they like.
        drain_within: Option<Duration>,
    },
    /// A worker has lost its link to another lane: this lane's is of no use any more.
    EndLink {
        /// The worker.
        worker: WorkerId,
        /// Which links of it.
        link: LinkId,
    },
    /// A slot is no more; its sockets are closed.
    Close {
        /// The slot.
        worker: WorkerId,
    },
    /// The rules and the number of slots change; calls and table stay.
    Reload {
        /// The new rules.
        rules: Box<Rules>,
        /// What is written into messages that are handed over.
        insert: Insert,
        /// The new number of slots.
        workers: usize,
    },
    /// A worker's link is closed; what it retained goes to others.
    HangUp {
        /// The worker.
        worker: WorkerId,
        /// Which links of it.
        link: LinkId,
    },
    /// No new work; workers end their calls within the time.
    Stop {
        /// How long calls may go on.
        within: Duration,
    },
    /// One worker ends its calls within the time and exits.
    Retire {
        /// The worker.
        worker: WorkerId,
        /// How long its calls may go on.
        within: Duration,
    },
    /// Nothing is to be read any more. Answered once all that was read has been decided about, or is another lane's.
    Pause(oneshot::Sender<()>),
    /// Asks a lane that pauses, as all others do, for its state, in this memory. It keeps it, too.
    Give(Vec<u8>, oneshot::Sender<std::io::Result<Given>>),
    /// Gives a lane that waits for it the state of another dispatcher's. It goes on from there when it is told.
    Take(Given, oneshot::Sender<std::io::Result<()>>),
    /// What was paused goes on.
    Resume,
    /// Asks for the load figures.
    Load(oneshot::Sender<LaneLoad>),
    /// Asks for every total by reason.
    Counters(oneshot::Sender<Counters>),
    /// Asks what was decided about a call.
    Explain {
        /// The Call-ID.
        call_id: Vec<u8>,
        /// Where the decisions go, oldest first.
        reply: oneshot::Sender<Vec<Decided>>,
    },
}

/// End of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The worker said goodbye.
    Goodbye,
    /// It did not.
    Lost,
}

/// What a lane tells the control side.
#[derive(Debug)]
pub enum Event {
    /// A link has ended; all that was retained for the worker has been moved.
    LinkLost {
        /// The worker.
        worker: WorkerId,
        /// Which life of it: a successor may be there already.
        incarnation: Incarnation,
        /// Which links of it: the same life may have come back by others.
        link: LinkId,
        /// Whether the worker wanted it.
        parting: Parting,
        /// Why, for the log.
        why: String,
    },
    /// A worker has said or read nothing for too long. What it has not read moves when its link ends: whoever can has
    /// to end it.
    Hung {
        /// The worker.
        worker: WorkerId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Which links of it.
        link: LinkId,
    },
}

/// A lane's figures for the stats socket.
#[derive(Clone, Debug, Default)]
pub struct LaneLoad {
    /// One entry a slot.
    pub workers: Vec<WorkerLoad>,
    /// What the lane has done with what it read.
    pub totals: Totals,
}

/// Counts of messages since the lane's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages read from the well-known sockets, retransmissions included.
    pub received: u64,
    /// Messages given to a worker by selection, table or group.
    pub handed_over: u64,
    /// Messages given to the worker that has their call.
    pub relayed: u64,
    /// Answers of the dispatcher's own.
    pub replied: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Initial requests whose dialog stays at the well-known port.
    pub pinned: u64,
    /// Entries in the table.
    pub table_entries: u64,
    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub rx_overflow: u64,
}

packed!(Totals { received, handed_over, relayed, replied, dropped, pinned, table_entries, rx_overflow });

/// What a lane starts with.
#[derive(Debug)]
pub struct Setup {
    /// The well-known sockets, by listener number, and what is spoken there.
    pub listeners: Vec<(ListenerId, Service, udp::Socket)>,
    /// The decision.
    pub dispatch: Dispatch,
    /// What is written into messages that are handed over.
    pub insert: Insert,
    /// Bytes of the store of each link, in bytes.
    pub retention_bytes: usize,
    /// Workers of an earlier dispatcher whose links are to come. Nothing is read before: a message that belongs to one of
    /// them would be given to another.
    pub awaited: usize,
    /// Which lane it is, and of how many.
    pub owners: Owners,
    /// Whether it waits for the state of another dispatcher's lane, whose table has so many entries, about.
    pub heir: Option<usize>,
}

/// A lane's state, for the dispatcher that takes over.
#[derive(Debug)]
pub struct Given {
    /// Everything but the sockets.
    pub state: Vec<u8>,
    /// Duplicates of its links.
    pub links: Vec<(WorkerId, SeqPacket)>,
}

/// The control side's end of the running lanes.
#[derive(Debug)]
pub struct Lanes(Vec<Handle>);

/// The control side's end of one lane.
#[derive(Debug)]
struct Handle {
    commands: crossbeam_channel::Sender<Command>,
    waker: Arc<mio::Waker>,
    thread: JoinHandle<()>,
}

impl LaneLoad {
    /// The figures of two lanes together. What a worker says of itself it says to each.
    pub fn plus(mut self, other: LaneLoad) -> LaneLoad {
        if self.workers.len() < other.workers.len() {
            self.workers.resize_with(other.workers.len(), WorkerLoad::default);
        }
        for (own, other) in self.workers.iter_mut().zip(other.workers) {
            own.add_lane(&other);
        }
        let (own, other) = (self.totals, other.totals);
        self.totals = Totals {
            received: own.received + other.received,
            handed_over: own.handed_over + other.handed_over,
            relayed: own.relayed + other.relayed,
            replied: own.replied + other.replied,
            dropped: own.dropped + other.dropped,
            pinned: own.pinned + other.pinned,
            table_entries: own.table_entries + other.table_entries,
            // The socket's own count, whoever reads it.
            rx_overflow: own.rx_overflow.max(other.rx_overflow),
        };
        self
    }
}

impl Lanes {
    /// Starts a lane for each setup, on a thread of its own.
    pub fn start(setups: Vec<Setup>, events: &mpsc::UnboundedSender<Event>) -> std::io::Result<Self> {
        let mut lanes = Vec::new();
        let mut peers = Vec::new();
        for setup in setups {
            let (commands, receiver) = crossbeam_channel::unbounded();
            let (lane, waker) = Lane::new(setup, receiver, events.clone())?;
            let waker = Arc::new(waker);
            let (parcels, incoming) = crossbeam_channel::bounded(lane::PARCELS);
            peers.push(Peer { parcels, waker: Arc::clone(&waker) });
            lanes.push((lane, incoming, commands, waker));
        }
        let start = |(own, (mut lane, incoming, commands, waker)): (usize, (Lane, _, _, _))| {
            let others = peers.iter().enumerate().map(|(at, peer)| (at != own).then(|| peer.clone()));
            lane.meet(incoming, others.collect());
            let thread = std::thread::Builder::new().name(format!("lane{own}")).spawn(move || lane.run())?;
            Ok(Handle { commands, waker, thread })
        };
        lanes.into_iter().enumerate().map(start).collect::<std::io::Result<_>>().map(Lanes)
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends a command to every lane; `make` is told which lane it is for. Each acts on it in its next turn.
    pub fn send(&self, mut make: impl FnMut(usize) -> Command) {
        for (at, lane) in self.0.iter().enumerate() {
            // A lane that is gone has ended the process's work already; its thread is watched by `are_running`.
            let _ = lane.commands.send(make(at));
            let _ = lane.waker.wake();
        }
    }

    /// A worker has been welcomed: one link for each lane, in their order. `brought` is what it has, where it has come back
    /// from an earlier dispatcher; every lane is told all of it, because which calls are whose the worker cannot know.
    pub fn link(&self, worker: WorkerId, links: Vec<SeqPacket>, joined: &Joined, brought: Option<&Brought>) {
        let mut links = links.into_iter();
        self.send(|_| match links.next() {
            Some(link) => {
                let brought = brought.map(|brought| Box::new(brought.clone()));
                Command::Link { worker, link, joined: joined.clone(), brought }
            }
            // Fewer links than lanes: this one hands nothing to that worker.
            None => Command::EndLink { worker, link: joined.link },
        });
    }

    /// A slot has these UDP sockets for SIP, and these for MGCP. Every lane answers from them, one reads them while the slot
    /// has no worker.
    pub fn slot(&self, worker: WorkerId, sip: &[udp::Socket], mgcp: &[(ListenerId, udp::Socket)]) {
        self.send(|_| Command::Slot {
            worker,
            sockets: sip.iter().filter_map(|socket| socket.try_clone().ok()).collect(),
            mgcp: mgcp.iter().filter_map(|(of, socket)| Some((*of, socket.try_clone().ok()?))).collect(),
        });
    }

    /// Whether the threads are all there.
    pub fn are_running(&self) -> bool {
        self.0.iter().all(|lane| !lane.thread.is_finished())
    }
}
