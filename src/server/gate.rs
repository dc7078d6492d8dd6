//! The gate: one thread that accepts all stream connections, and hands those whose handshakes are done to the lanes in
//! turn.
//!
//! A handshake costs as much as a hundred messages, so none runs in a lane. Access rules and the caps on connections
//! are applied here, before anything is read.

mod caps;
mod door;
mod room;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token, Waker};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use self::caps::{Cap, CapLog};
use self::door::{Accepted, Door};
use self::room::Crowds;
pub use self::room::Limits;
use super::Command;
use crate::access::Access;
use crate::ids::ListenerId;
use crate::net::clock;
use crate::net::conns::{CloseReason, Closed, Closures, Conns, Ends, Moved};
use crate::net::tcp::Listener;
use crate::seldom::Seldom;
use crate::stream::{self, Kind, Stream};
use crate::time::Time;
use crate::words::AccessRule;

/// Connections accepted at one listener before others have their turn.
const ACCEPTED_A_TURN: usize = 64;
/// Time for handshakes in one turn: those with long keys take milliseconds each, and orders wait.
const READ_FOR: Duration = Duration::from_millis(10);
/// Most handshakes under way, whatever a reload makes of `max-handshakes`.
const MOST_HANDSHAKES: usize = 65_536;
/// When no descriptor was left for a connection, it is accepted after this time.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

const WAKER: Token = Token(0);
const FIRST_DOOR: usize = 1;
/// Handshakes under way are numbered from here on.
const FIRST_CONN: usize = 1 << 20;

/// A listener for connections, and the protocol that is spoken on them.
#[derive(Debug)]
pub struct StreamListener {
    /// Its number.
    pub id: ListenerId,
    /// The listening socket.
    pub socket: Listener,
    /// Protocol spoken on its connections.
    pub kind: Kind,
}

/// Everything that the gate starts with.
#[derive(Debug)]
pub struct GateSetup {
    /// The listeners.
    pub listeners: Vec<StreamListener>,
    /// Caps on connections.
    pub limits: Limits,
    /// Rules about sources.
    pub access: Vec<AccessRule>,
    /// Whether nothing is accepted until [`Order::Resume`].
    pub is_paused: bool,
}

/// An order of the control side to the gate.
#[derive(Debug)]
pub enum Order {
    /// Rules, caps and certificates change: new connections get the new ones.
    Reload {
        /// The protocol of each listener, in their order.
        kinds: Vec<Kind>,
        /// Caps on connections.
        limits: Limits,
        /// Rules about sources.
        access: Vec<AccessRule>,
    },
    /// Asks for the totals.
    Counters(oneshot::Sender<GateCounters>),
    /// Accepts nothing more, and closes the connections whose handshakes are under way. Answered once all others have
    /// been handed to the lanes.
    Pause(oneshot::Sender<()>),
    /// Ends the pause.
    Resume,
    /// Does nothing any more, for ever: the process closes the sockets.
    End,
}

/// Counts of the gate since its start.
#[derive(Clone, Debug, Default)]
pub struct GateCounters {
    /// Handshakes under way.
    pub handshakes: usize,
    /// Caps on connections.
    pub limits: Limits,
    /// Connections accepted at each listener, in their order.
    pub accepted: Vec<(ListenerId, u64)>,
    /// Connections closed before a lane had them, by reason.
    pub closed: Closures,
}

/// A change in the connections of a lane, by the source of the connection.
#[derive(Clone, Copy, Debug)]
pub enum Census {
    /// One is closed.
    Closed(IpAddr),
    /// The lane has taken one over from another dispatcher.
    Inherited(IpAddr),
}

/// The way to a lane.
#[derive(Clone, Debug)]
pub struct LaneEnd {
    /// Its commands.
    pub commands: crossbeam_channel::Sender<Command>,
    /// The waker that makes it look at them.
    pub waker: Arc<Waker>,
}

/// The thread's state.
#[derive(Debug)]
pub struct Gate {
    poll: Poll,
    events: Events,
    orders: Receiver<Order>,
    /// Connections that lanes have closed, and those that they have from another dispatcher.
    census: Receiver<Census>,
    doors: Vec<Door>,
    /// Handshakes under way.
    conns: Conns,
    crowds: Crowds,
    access: Access,
    lanes: Vec<LaneEnd>,
    /// The lane that gets the next connection.
    next: usize,
    /// Lanes that have got a connection in this turn.
    given: Vec<bool>,
    /// The time to accept again the connections that no descriptor was left for: the poll tells an edge only once.
    accept_at: Option<Time>,
    is_paused: bool,
    closures: Closures,
    unaccepted: Seldom,
    cap_log: CapLog,
}

impl Gate {
    /// A gate that hands connections to `lanes`, and the waker that makes it look at `orders`.
    ///
    /// # Errors
    ///
    /// The kernel gives no poll, or watches a listener no more.
    pub fn new(
        setup: GateSetup,
        lanes: Vec<LaneEnd>,
        orders: Receiver<Order>,
        census: Receiver<Census>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let registry = Arc::new(poll.registry().try_clone()?);
        let doors = setup
            .listeners
            .into_iter()
            .enumerate()
            .map(|(at, listener)| Door::open(listener, poll.registry(), Token(FIRST_DOOR + at)));
        let doors = doors.collect::<io::Result<_>>()?;
        let gate = Gate {
            conns: Conns::of_handshakes(registry, FIRST_CONN, MOST_HANDSHAKES),
            crowds: Crowds::new(setup.limits),
            access: Access::new(&setup.access),
            events: Events::with_capacity(256),
            given: vec![false; lanes.len()],
            orders,
            census,
            doors,
            lanes,
            next: 0,
            accept_at: None,
            is_paused: setup.is_paused,
            closures: Closures::default(),
            unaccepted: Seldom::default(),
            cap_log: CapLog::default(),
            poll,
        };
        Ok((gate, waker))
    }

    /// Runs until the process ends.
    pub fn run(&mut self) {
        loop {
            if let Err(error) = self.turn() {
                // Only a kernel that is out of memory gets here; the gate can do nothing but try again.
                warn!(%error, "the gate cannot poll its sockets");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        let now = clock::now();
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.doors.iter_mut().for_each(|door| door.is_ready = true);
        }
        if !self.is_paused {
            self.accept(now);
        }
        // A message that comes with the end of a handshake waits in the connection for its lane.
        self.conns.read_while(now, || clock::now().since(now) < READ_FOR, &mut |_, _| ());
        self.conns.flush();
        self.conns.handle_timeout(now, |_| false);
        while let Some(key) = self.conns.poll_opened() {
            if let Some(moved) = self.conns.remove(key) {
                self.crowds.on_handshake_over(moved.ends.remote.ip());
                self.give(moved);
            }
        }
        self.note_closed();
        self.wake_lanes();
        Ok(())
    }

    /// Counts the connections that ended before they were open.
    fn note_closed(&mut self) {
        while let Some(Closed { ends, reason, .. }) = self.conns.poll_closed() {
            debug!(remote = %ends.remote, reason = reason.label(), "a connection ended before it was open");
            self.closures.count(reason);
            self.crowds.on_handshake_over(ends.remote.ip());
            self.crowds.on_closed(ends.remote.ip());
        }
    }

    fn wait(&mut self) -> io::Result<()> {
        let is_busy = self.conns.has_readable() || !self.is_paused && self.doors.iter().any(|door| door.is_ready);
        let due = self.conns.poll_timeout().into_iter().chain(self.accept_at).min();
        // Rounds up: a wait cut to whole milliseconds would spin until the deadline.
        let until = due.map(|at| at.since(clock::now()) + Duration::from_micros(999));
        let timeout = if is_busy { Some(Duration::ZERO) } else { until };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        let mut is_ordered = false;
        for event in self.events.iter() {
            match event.token() {
                WAKER => is_ordered = true,
                Token(at) if at >= FIRST_CONN => self.conns.on_event(event),
                Token(at) => {
                    if let Some(door) = self.doors.get_mut(at - FIRST_DOOR) {
                        door.is_ready = true;
                    }
                }
            }
        }
        if is_ordered {
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Time) {
        while let Ok(change) = self.census.try_recv() {
            match change {
                Census::Closed(source) => self.crowds.on_closed(source),
                Census::Inherited(source) => self.crowds.on_open(source),
            }
        }
        for at in 0..self.doors.len() {
            for _ in 0..ACCEPTED_A_TURN {
                let Some(door) = self.doors.get_mut(at).filter(|door| door.is_ready) else { break };
                match door.accept() {
                    Accepted::Connection(socket, ends, kind) => {
                        if let Err(reason) = self.admit((socket, ends), kind, now) {
                            self.closures.count(reason);
                        }
                    }
                    Accepted::Nothing => {}
                    Accepted::Failed(error) => {
                        if let Some(times) = self.unaccepted.comes_up(now) {
                            warn!(%error, times, "cannot accept a connection");
                        }
                        self.accept_at = Some(now + ACCEPT_AGAIN);
                    }
                }
            }
        }
    }

    /// Lets a connection in, or closes it.
    fn admit(&mut self, (socket, ends): (std::net::TcpStream, Ends), kind: Kind, now: Time) -> Result<(), CloseReason> {
        let source = ends.remote.ip();
        if self.access.denies(source) {
            return Err(CloseReason::Denied);
        }
        if let Err(reason) = self.crowds.room(source) {
            let cap = if reason == CloseReason::TooMany { Cap::Connections } else { Cap::OfSource };
            self.cap_log.note(cap, source, self.crowds.limits(), now);
            return Err(reason);
        }
        let has_handshake = kind.has_handshake();
        let stream = Stream::new(kind, stream::Limits::default(), now);
        let moved = Moved { socket, stream, outgoing: Vec::new(), ends };
        if !has_handshake {
            self.crowds.on_open(source);
            self.give(moved);
            return Ok(());
        }
        let conns = &self.conns;
        let standing = conns.keys().filter_map(|key| Some((key, conns.ends(key)?.remote.ip(), conns.heard(key)?)));
        let room = self.crowds.room_for_handshake(source, standing);
        if room != Ok(None) {
            self.cap_log.note(Cap::Handshakes, source, self.crowds.limits(), now);
        }
        if let Some(key) = room? {
            self.conns.close(key, CloseReason::MadeRoom);
            self.note_closed();
        }
        self.conns.insert(moved, now).map_err(|_| CloseReason::Broken)?;
        self.crowds.on_open(source);
        self.crowds.on_handshake(source);
        Ok(())
    }

    /// Hands a connection to the next lane.
    fn give(&mut self, moved: Moved) {
        let at = self.next;
        self.next = (at + 1) % self.lanes.len().max(1);
        let Some(lane) = self.lanes.get(at) else { return };
        // A lane that is gone has ended the process's work already.
        let _ = lane.commands.send(Command::Connection(Box::new(moved)));
        self.given[at] = true;
    }

    fn wake_lanes(&mut self) {
        for (lane, given) in self.lanes.iter().zip(&mut self.given) {
            if std::mem::take(given) {
                // A lane that cannot be woken looks at its queue by itself within a second.
                let _ = lane.waker.wake();
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Reload { kinds, limits, access } => {
                self.doors.iter_mut().zip(kinds).for_each(|(door, kind)| door.kind = kind);
                self.crowds.set_limits(limits);
                self.access.set_rules(&access);
            }
            Order::Counters(reply) => {
                let counters = GateCounters {
                    handshakes: self.conns.count(),
                    limits: self.crowds.limits().clone(),
                    accepted: self.doors.iter().map(|door| (door.id, door.accepted)).collect(),
                    closed: self.closures.clone(),
                };
                // The one who asked may be gone: then its answer is dropped, which does no harm.
                let _ = reply.send(counters);
            }
            Order::Pause(reply) => {
                self.is_paused = true;
                self.conns.close_where(CloseReason::Takeover, |_| true);
                self.note_closed();
                // Same as above.
                let _ = reply.send(());
            }
            Order::End => loop {
                std::thread::park();
            },
            Order::Resume => {
                self.is_paused = false;
                self.doors.iter_mut().for_each(|door| door.is_ready = true);
            }
        }
    }
}
