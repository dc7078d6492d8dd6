//! The dispatcher process: the lane (the hot loop) and what it holds.
//!
//! The treatment of a message is in [`switch`](crate::switch), as a value: the lane feeds it from sockets, a test from
//! memory.
//!
//! A lane owns its state and shares none: the control side sends it [`Command`]s and gets [`Event`]s back. A lane never
//! blocks and never waits for the control side.

pub mod gate;
mod lane;
pub mod link_socket;
mod moderation;
mod ports;
mod snapshot;
pub mod stats;
mod stream_counters;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::gate::{Census, Gate, GateSetup, LaneEnd, Order};
use self::link_socket::GivenLink;
use self::stats::{Decided, WorkerLoad};
use crate::config::Insert;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Admin, Brought, Joined};
use crate::dispatch::owner::Owners;
use crate::dispatch::probed::Finding;
use crate::dispatch::rules::Rules;
use crate::dispatch::targets::proxies::{PoolRow, StateChange};
use crate::dispatch::targets::proxy::Row;
use crate::ids::{ConnId, Incarnation, LinkId, ListenerId, WorkerId};
use crate::net::conns::{ConnName, ConnState, Moved, Pumped, SourceCount};
use crate::net::lan::{Connected, Connection};
use crate::net::tls::ProxyKinds;
use crate::net::udp;
use crate::net::unix::SeqPacket;
use crate::prober::Mailbox;
use crate::switch::Parting;
use crate::switch::totals::Totals;
use crate::words::{LoadReport, Transport};

pub use lane::Lane;
use lane::peers::{PARCELS, Peer, Peers};
pub use stream_counters::{LaneCounters, StreamCounters};

/// An order of the control side to a lane.
#[derive(Debug)]
pub enum Command {
    /// A worker has been welcomed: hand messages to it over this link.
    Link {
        /// Its slot.
        worker: WorkerId,
        /// The link, after the welcome.
        link: GivenLink,
        /// Its incarnation, the id of its links, its capacity, its services and its addresses.
        joined: Joined,
        /// Load, transactions, conferences and messages that it has from the time of an earlier dispatcher.
        brought: Option<Box<Brought>>,
    },
    /// A worker on another host has opened a connection for its link to this lane.
    Attach {
        /// The worker.
        worker: WorkerId,
        /// Id of the worker's links, one for each lane.
        link: LinkId,
        /// The connection, after the worker's `Hello`.
        connection: Box<Connection>,
        /// Number of frames that the worker has read on earlier connections.
        read: u64,
        /// Shows the control side whether the link has a connection.
        shown: Connected,
    },
    /// The certificates of the workers' own ports, as the content of a file.
    Certificates(Arc<[u8]>),
    /// The protocol of the connections to downstream proxies from now on.
    ProxyKinds(ProxyKinds),
    /// The gate has accepted a connection, and its handshakes are done.
    Connection(Box<Moved>),
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
        /// Time that its calls get when it drains; `None`: as long as they like.
        drain_within: Option<Duration>,
    },
    /// A worker has lost its link to another lane: its link to this lane is of no use any more.
    EndLink {
        /// The worker.
        worker: WorkerId,
        /// Id of the worker's links, one for each lane.
        link: LinkId,
    },
    /// A slot was removed: the lane closes its sockets.
    Close {
        /// The slot.
        worker: WorkerId,
    },
    /// The rules and the number of slots change; calls and table stay.
    Reload {
        /// The new rules.
        rules: Box<Rules>,
        /// Information to write into messages that are handed over.
        insert: Insert,
        /// The new number of slots.
        workers: usize,
    },
    /// The operator's order for a downstream proxy.
    Proxy {
        /// Name of its entry, or its own.
        name: Arc<str>,
        /// The order.
        order: ProxyOrder,
    },
    /// Closes a worker's link; the messages retained for it go to other workers.
    HangUp {
        /// The worker.
        worker: WorkerId,
        /// Id of the worker's links, one for each lane.
        link: LinkId,
    },
    /// Gives workers no new work, and has them end their calls within the time.
    Stop {
        /// Longest time for which calls may go on.
        within: Duration,
    },
    /// Has one worker end its calls within the time and exit.
    Retire {
        /// The worker.
        worker: WorkerId,
        /// Longest time for which its calls may go on.
        within: Duration,
    },
    /// Asks for the sockets of the lane's connections, for the dispatcher that takes over: it watches them before the
    /// pause.
    GiveSockets(oneshot::Sender<std::io::Result<Vec<GivenSocket>>>),
    /// Gives a lane that waits for its state the sockets of the connections in it.
    Adopt(Vec<GivenSocket>, oneshot::Sender<std::io::Result<()>>),
    /// Asks a lane that has given its state, and does nothing any more, for the TLS connections whose plaintext goes to
    /// the dispatcher that has taken over.
    GivePumped(oneshot::Sender<Vec<Pumped>>),
    /// Stops reading. Answered once every message that was read has been decided about, or was passed to its lane.
    Pause(oneshot::Sender<()>),
    /// Has a lane that pauses, as all others do, decide about everything that waits. Answered once what it has for
    /// connections of other lanes has been passed to these.
    Settle(oneshot::Sender<()>),
    /// Asks a lane that pauses, as all others do, for its state, in this memory. The lane keeps its state as well.
    Give(Vec<u8>, oneshot::Sender<std::io::Result<LaneState>>),
    /// Gives a lane that waits for it the state of the old dispatcher's lane. It goes on from there at `Resume`.
    Take(LaneState, oneshot::Sender<std::io::Result<()>>),
    /// The prober has found something out about downstream proxies.
    Found(Arc<[Finding]>),
    /// The prober's mailbox for this lane.
    Prober(Mailbox),
    /// Ends the pause.
    Resume,
    /// Asks for the load figures.
    Load(oneshot::Sender<LaneLoad>),
    /// Asks for every total by reason.
    Counters(oneshot::Sender<LaneCounters>),
    /// Asks for the number of connections of each source.
    Sources(oneshot::Sender<Vec<SourceCount>>),
    /// Asks for the state of a connection, which another lane may have, or none, and its downstream proxy.
    State(ConnId, oneshot::Sender<Option<(ConnState, String)>>),
    /// Asks for the decisions about a call.
    Explain {
        /// The Call-ID.
        call_id: Vec<u8>,
        /// Receiver of the decisions, oldest first.
        reply: oneshot::Sender<Vec<Decided>>,
    },
}

/// An operator's order for a downstream proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyOrder {
    /// Another administrative state.
    Admin(Admin),
    /// Another handicap, until the settings change it.
    Handicap(u16),
}

/// A report of a lane to the control side.
#[derive(Debug)]
pub enum Event {
    /// A link has ended; all that was retained for the worker has been moved.
    LinkLost {
        /// The worker.
        worker: WorkerId,
        /// Incarnation of the worker: a successor may be there already.
        incarnation: Incarnation,
        /// Id of the worker's links, one for each lane: the same incarnation may have come back with new ones.
        link: LinkId,
        /// Whether the worker ended the link in order.
        parting: Parting,
        /// Reason, for the log.
        why: String,
    },
    /// Requests for a downstream proxy at this address have had no answer for a while.
    Silence {
        /// The address.
        address: SocketAddr,
    },
    /// Downstream proxies at this address have reported their load by themselves.
    Reported {
        /// The address.
        address: SocketAddr,
        /// The load.
        load: LoadReport,
    },
    /// A lane sees a downstream proxy in another state.
    ProxyChanged {
        /// Number of the lane.
        lane: usize,
        /// The state.
        change: StateChange,
    },
    /// A worker has sent or read nothing for too long. The supervisor kills it if it can; messages that the worker has
    /// not read go to other workers when its link ends.
    Hung {
        /// The worker.
        worker: WorkerId,
        /// Incarnation of the worker.
        incarnation: Incarnation,
        /// Id of the worker's links, one for each lane.
        link: LinkId,
    },
}

/// Sends findings of the prober to every lane, from a thread of its own.
#[derive(Clone, Debug)]
pub struct Teller(Vec<(crossbeam_channel::Sender<Command>, Arc<mio::Waker>)>);

impl Teller {
    /// Tells every lane.
    pub fn tell(&self, findings: &Arc<[Finding]>) {
        for (commands, waker) in &self.0 {
            // A lane that is gone has ended the process's work already.
            let _ = commands.send(Command::Found(Arc::clone(findings)));
            let _ = waker.wake();
        }
    }
}

/// A lane's figures for the stats socket.
#[derive(Clone, Debug, Default)]
pub struct LaneLoad {
    /// One entry for each slot.
    pub workers: Vec<WorkerLoad>,
    /// Totals of what the lane has done with messages.
    pub totals: Totals,
    /// Stream connections that the lane has.
    pub connections: u64,
    /// Every downstream proxy of the settings.
    pub proxies: Vec<Row>,
    /// Every pool of them.
    pub pools: Vec<PoolRow>,
}

/// Everything that a lane starts with.
#[derive(Debug)]
pub struct Setup {
    /// The well-known sockets that take datagrams.
    pub listeners: Vec<DatagramListener>,
    /// The decision.
    pub dispatch: Dispatch,
    /// Information to write into messages that are handed over.
    pub insert: Insert,
    /// Size of the store of each link, in bytes.
    pub retention_bytes: usize,
    /// Workers of an earlier dispatcher whose links are to come. The lane reads no messages before: one that belongs to
    /// such a worker would be given to another.
    pub awaited: usize,
    /// The lane's own number, and the number of lanes.
    pub owners: Owners,
    /// About how many entries the table of the old dispatcher's lane has. This lane waits for that state; `None` unless
    /// this is a takeover.
    pub inherited_entries: Option<usize>,
    /// Most stream connections that the lane may have.
    pub connections: usize,
    /// Longest time for which TLS connections of an earlier dispatcher stay open.
    pub linger: Duration,
    /// The protocol of the connections to downstream proxies.
    pub proxy_kinds: ProxyKinds,
}

/// A well-known socket that a lane reads: each lane has a duplicate of it.
#[derive(Debug)]
pub struct DatagramListener {
    /// Its number.
    pub id: ListenerId,
    /// Transport of the messages that come to it.
    pub transport: Transport,
    /// The socket.
    pub socket: udp::Socket,
}

/// A lane's state, for the dispatcher that takes over.
#[derive(Debug)]
pub struct LaneState {
    /// Everything but the sockets.
    pub state: Vec<u8>,
    /// Duplicates of its links.
    pub links: Vec<(WorkerId, SeqPacket)>,
}

/// The socket of a connection that another dispatcher takes over.
pub type GivenSocket = (ConnName, OwnedFd);

/// The control side's end of the running lanes and of the gate before them.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Handle>,
    gate: Option<GateHandle>,
}

/// The control side's end of the gate. There is one where connections are accepted.
#[derive(Debug)]
struct GateHandle {
    orders: crossbeam_channel::Sender<Order>,
    waker: mio::Waker,
    thread: JoinHandle<()>,
}

/// The control side's end of one lane.
#[derive(Debug)]
struct Handle {
    commands: crossbeam_channel::Sender<Command>,
    waker: Arc<mio::Waker>,
    thread: JoinHandle<()>,
}

impl LaneLoad {
    /// Adds up the figures of two lanes. A worker reports its own figures to each lane, so those are not added.
    pub fn plus(mut self, other: LaneLoad) -> LaneLoad {
        if self.workers.len() < other.workers.len() {
            self.workers.resize_with(other.workers.len(), WorkerLoad::default);
        }
        for (own, other) in self.workers.iter_mut().zip(other.workers) {
            own.add_lane(&other);
        }
        self.connections += other.connections;
        for row in &other.proxies {
            // Lanes may know of a change one after the other.
            if let Some(own) = self.proxies.iter_mut().find(|own| own.name == row.name) {
                own.add(row);
            }
        }
        for row in &other.pools {
            if let Some(own) = self.pools.iter_mut().find(|own| own.name == row.name) {
                own.add(row);
            }
        }
        let (own, other) = (self.totals, other.totals);
        self.totals = Totals {
            received: own.received + other.received,
            handed_over: own.handed_over + other.handed_over,
            forwarded: own.forwarded + other.forwarded,
            responses: own.responses + other.responses,
            relayed: own.relayed + other.relayed,
            replied: own.replied + other.replied,
            dropped: own.dropped + other.dropped,
            pinned: own.pinned + other.pinned,
            table_entries: own.table_entries + other.table_entries,
            // The socket's own count, which each lane reads in full.
            rx_overflow: own.rx_overflow.max(other.rx_overflow),
            transports: own.transports.plus(other.transports),
        };
        self
    }
}

impl Lanes {
    /// Starts a lane for each setup, on a thread of its own, and the gate where it has a listener.
    ///
    /// # Errors
    ///
    /// The kernel gives no thread or poll.
    pub fn start(setups: Vec<Setup>, gate: GateSetup, events: &mpsc::UnboundedSender<Event>) -> std::io::Result<Self> {
        let mut lanes = Vec::new();
        let mut peers = Vec::new();
        let (census, changes) = crossbeam_channel::unbounded();
        for setup in setups {
            let (commands, receiver) = crossbeam_channel::unbounded();
            let (lane, waker) = Lane::new(setup, census.clone(), receiver, events.clone())?;
            let waker = Arc::new(waker);
            let (parcels, incoming) = crossbeam_channel::bounded(PARCELS);
            peers.push(Peer { parcels, waker: Arc::clone(&waker) });
            lanes.push((lane, incoming, commands, waker));
        }
        let ends =
            lanes.iter().map(|(_, _, commands, waker)| LaneEnd { commands: commands.clone(), waker: waker.clone() });
        let gate = GateHandle::start(gate, ends.collect(), changes)?;
        let start = |(own, (mut lane, incoming, commands, waker)): (usize, (Lane, _, _, _))| {
            let others = peers.iter().enumerate().map(|(at, peer)| (at != own).then(|| peer.clone()));
            lane.meet(Peers::new(incoming, others.collect()));
            let thread = std::thread::Builder::new().name(format!("lane{own}")).spawn(move || lane.run())?;
            Ok(Handle { commands, waker, thread })
        };
        let lanes = lanes.into_iter().enumerate().map(start).collect::<std::io::Result<_>>()?;
        Ok(Lanes { lanes, gate })
    }

    /// The number of lanes.
    pub const fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Sends a command to every lane; `make` is told which lane it is for. Each acts on it in its next turn.
    pub fn send(&self, mut make: impl FnMut(usize) -> Command) {
        for (at, lane) in self.lanes.iter().enumerate() {
            // A lane that is gone has ended the process's work already; `are_running` watches its thread.
            let _ = lane.commands.send(make(at));
            let _ = lane.waker.wake();
        }
    }

    /// Gives each lane its mailbox of the prober, in the lanes' order.
    pub fn give(&self, mailboxes: Vec<Mailbox>) {
        for (lane, mailbox) in self.lanes.iter().zip(mailboxes) {
            // A lane that is gone has ended the process's work already; `are_running` watches its thread.
            let _ = lane.commands.send(Command::Prober(mailbox));
            let _ = lane.waker.wake();
        }
    }

    /// The way by which the prober tells the lanes.
    pub fn teller(&self) -> Teller {
        Teller(self.lanes.iter().map(|lane| (lane.commands.clone(), Arc::clone(&lane.waker))).collect())
    }

    /// Announces a worker that has been welcomed: one link for each lane, in their order. `brought` is what a worker of
    /// an earlier dispatcher has brought. Every lane gets all of it, because the worker cannot know which call belongs
    /// to which lane.
    pub fn link(&self, worker: WorkerId, links: Vec<GivenLink>, joined: &Joined, brought: Option<&Brought>) {
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

    /// Gives a lane a new connection of the link to a worker on another host.
    pub fn attach(
        &self,
        lane: usize,
        (worker, link): (WorkerId, LinkId),
        connection: Connection,
        (read, shown): (u64, Connected),
    ) {
        let Some(lane) = self.lanes.get(lane) else { return };
        let _ = lane.commands.send(Command::Attach { worker, link, connection: Box::new(connection), read, shown });
        let _ = lane.waker.wake();
    }

    /// Gives the lanes a slot's UDP sockets for SIP and for MGCP. Every lane answers from them; one lane reads them
    /// while the slot has no worker.
    pub fn slot(&self, worker: WorkerId, sip: &[udp::Socket], mgcp: &[(ListenerId, udp::Socket)]) {
        self.send(|_| Command::Slot {
            worker,
            sockets: sip.iter().filter_map(|socket| socket.try_clone().ok()).collect(),
            mgcp: mgcp.iter().filter_map(|(of, socket)| Some((*of, socket.try_clone().ok()?))).collect(),
        });
    }

    /// Whether all threads of lanes and gate still run.
    pub fn are_running(&self) -> bool {
        let is_gate_running = self.gate.as_ref().is_none_or(|gate| !gate.thread.is_finished());
        is_gate_running && self.lanes.iter().all(|lane| !lane.thread.is_finished())
    }

    /// Sends an order to the gate; false where there is none, because no listener takes connections.
    pub fn order(&self, order: Order) -> bool {
        let Some(gate) = &self.gate else { return false };
        // A gate that is gone has ended the process's work already; `are_running` watches its thread.
        let _ = gate.orders.send(order);
        let _ = gate.waker.wake();
        true
    }
}

impl GateHandle {
    fn start(
        setup: GateSetup,
        lanes: Vec<LaneEnd>,
        census: crossbeam_channel::Receiver<Census>,
    ) -> std::io::Result<Option<Self>> {
        if setup.listeners.is_empty() {
            return Ok(None);
        }
        let (orders, receiver) = crossbeam_channel::unbounded();
        let (mut gate, waker) = Gate::new(setup, lanes, receiver, census)?;
        let thread = std::thread::Builder::new().name("gate".into()).spawn(move || gate.run())?;
        Ok(Some(GateHandle { orders, waker, thread }))
    }
}
