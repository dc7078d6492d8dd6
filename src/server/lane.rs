//! The lane: one thread that reads the well-known sockets and the links, and carries out the decisions.
//!
//! A turn: wait for the kernel (not at all while a socket may still hold something), carry out the control side's
//! commands, read the links (workers' frames make room in them), read the sockets, write what is due. Sockets are
//! edge-triggered: one that was read without being emptied stays on the list, and the next wait only polls.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::door::Door;
use super::link_socket::LinkSocket;
use super::moderation::Moderation;
use super::stats::{Counters, ListenerCounters};
use super::{Command, Event, LaneState, Listener, Setup};
use crate::dispatch::decision::Joined;
use crate::ids::{Incarnation, LinkId, ListenerId, WorkerId};
use crate::net::{clock, memory, udp};
use crate::pack::{Damaged, Pack, Packed};
use crate::switch::owner::Owner;
use crate::switch::parcel::Parcel;
use crate::switch::{LinkRead, Parting, Switch, Way};
use crate::time::Time;
use crate::words::Transport;

/// Batches read from one socket in one turn, so that no socket starves another. Messages of one turn leave in one frame
/// for each worker: with four workers, a frame filled from one batch alone is a quarter full.
const BATCHES_A_TURN: usize = 4;
/// Frames read from links in one turn.
const FRAMES_A_TURN: usize = 64;
/// Longest time for these frames, and for the control side's commands, in one turn: the sockets get their share.
const FRAMES_WITHIN: Duration = Duration::from_millis(4);
const COMMANDS_WITHIN: Duration = Duration::from_millis(4);
/// Interval at which the kernel's drop counters are read.
const OVERFLOW_INTERVAL: Duration = Duration::from_secs(1);

/// For this long after its start the lane leaves messages in the sockets, unless a worker is up earlier: a call that is
/// refused stays refused, and the first workers are up in a moment.
const FIRST_WORKER: Duration = Duration::from_secs(1);

const WAKER: Token = Token(0);
/// Doors are numbered from here on.
const FIRST_DOOR: usize = 1;
/// Links are numbered from here on, by worker.
const FIRST_LINK: usize = 1 << 20;

/// The hot loop and the sockets that it reads.
#[derive(Debug)]
pub struct Lane {
    poll: Poll,
    /// The poll's, for links to register with.
    registry: Arc<Registry>,
    events: Events,
    commands: Receiver<Command>,
    /// Whether the queue may still hold commands whose wake-up was used up already.
    has_commands: bool,
    control: UnboundedSender<Event>,
    /// Doors keep their index: a closed one leaves a hole, which the next door takes.
    doors: Vec<Option<Door>>,
    /// The sockets of each slot, kept for the times when no worker serves them.
    slot_sockets: Vec<SlotDoors>,
    batch: udp::Batch,
    moderation: Moderation,
    switch: Switch<LinkSocket>,
    /// The time until which the lane waits for the first worker, or for the workers of an earlier dispatcher; `None`
    /// once they are there or the time is over.
    holding_until: Option<Time>,
    /// Workers of an earlier dispatcher whose links are to come.
    awaited: usize,
    stage: Stage,
    overflow_read: Time,
    /// Messages that other lanes have read for this one.
    parcels: Receiver<Parcel>,
    /// The sender to each other lane, by lane number; `None` for this lane itself.
    peers: Vec<Option<Peer>>,
    /// Empty parcels that are used again.
    spare: Vec<Parcel>,
}

/// The sockets of a slot.
#[derive(Debug, Default)]
struct SlotDoors {
    sip: Vec<udp::Socket>,
    /// The sockets, each with the listener it belongs to.
    mgcp: Vec<(ListenerId, udp::Socket)>,
}

/// The lane's stage in a takeover.
#[derive(Debug)]
enum Stage {
    /// No takeover is under way.
    Reading,
    /// The lane comes to rest, and reports that on this channel.
    Pausing(oneshot::Sender<()>),
    /// The lane rests; another lane may still have a parcel for it.
    Paused,
    /// The lane's state was given away, or is still to come from another dispatcher: only a command changes anything
    /// here.
    Given,
}

/// The way to another lane.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) parcels: Sender<Parcel>,
    pub(super) waker: Arc<Waker>,
}

/// Most parcels that wait for one lane. Messages for a lane that lags further behind wait in the lane that read them,
/// up to a megabyte; beyond that they are dropped and counted.
pub(super) const PARCELS: usize = 32;
/// Interval at which a parcel is offered again to a lane that took no more.
const PARCEL_AGAIN: Duration = Duration::from_millis(1);
/// Empty parcels that are kept.
const SPARE: usize = 16;

impl Lane {
    /// A lane that reads `setup`'s sockets, and the waker that makes it look at `commands`.
    pub fn new(
        setup: Setup,
        commands: Receiver<Command>,
        control: UnboundedSender<Event>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let registry = Arc::new(poll.registry().try_clone()?);
        let mut lane = Lane {
            poll,
            registry,
            events: Events::with_capacity(1024),
            commands,
            has_commands: false,
            control,
            doors: Vec::new(),
            slot_sockets: Vec::new(),
            batch: udp::Batch::new(),
            moderation: Moderation::default(),
            switch: Switch::new(setup.dispatch, setup.insert, setup.retention_bytes, setup.owners),
            holding_until: Some(clock::now() + FIRST_WORKER),
            awaited: setup.awaited,
            stage: Stage::Reading,
            overflow_read: clock::now(),
            parcels: crossbeam_channel::never(),
            peers: Vec::new(),
            spare: Vec::new(),
        };
        for Listener { id, transport, socket } in setup.listeners {
            lane.open(socket, Owner::Listener(id), id, transport)?;
        }
        if let Some(entries) = setup.inherited_entries {
            lane.stage = Stage::Given;
            lane.switch.make_room(entries);
        }
        Ok((lane, waker))
    }

    /// Connects this lane with the other lanes.
    pub(super) fn meet(&mut self, parcels: Receiver<Parcel>, peers: Vec<Option<Peer>>) {
        (self.parcels, self.peers) = (parcels, peers);
    }

    /// Runs until the process ends.
    pub fn run(&mut self) {
        loop {
            if let Err(error) = self.turn() {
                // Only a kernel that is out of memory gets here; the lane can do nothing but try again.
                warn!(%error, "the lane cannot poll its sockets");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        for event in self.events.iter() {
            match event.token() {
                WAKER => self.has_commands = true,
                Token(at) if at >= FIRST_LINK => self.switch.on_link_event(
                    WorkerId((at - FIRST_LINK) as u16),
                    event.is_readable() || event.is_read_closed(),
                    event.is_writable(),
                ),
                Token(at) => {
                    if let Some(Some(door)) = self.doors.get_mut(at - FIRST_DOOR) {
                        door.readable = true;
                    }
                }
            }
        }
        if self.has_commands {
            self.obey();
        }
        let now = clock::now();
        if !matches!(self.stage, Stage::Reading) {
            self.bring_to_rest(now);
            return Ok(());
        }
        self.read_links(now);
        if self.holding_until.is_some_and(|until| until <= now) {
            self.holding_until = None;
        }
        if self.holding_until.is_none() {
            self.read_parcels(now);
            self.read_doors();
        }
        self.switch.handle_timeout(now);
        while let Some((worker, incarnation)) = self.switch.poll_hung() {
            let Some(link) = self.switch.links().get(worker).map(|link| link.id) else { continue };
            let _ = self.control.send(Event::Hung { worker, incarnation, link });
        }
        self.flush(now);
        if now.since(self.overflow_read) >= OVERFLOW_INTERVAL {
            self.overflow_read = now;
            self.read_overflow();
        }
        Ok(())
    }

    /// Carries out the control side's commands for a limited time: hundreds of workers may join at once, and callers
    /// must not wait for that.
    fn obey(&mut self) {
        let until = clock::now() + COMMANDS_WITHIN;
        while clock::now() < until {
            let Ok(command) = self.commands.try_recv() else {
                self.has_commands = false;
                return;
            };
            // `Explain` searches the lane's whole history, so messages are read before the next command.
            let is_long = matches!(command, Command::Explain { .. });
            self.on_command(command);
            if is_long {
                return;
            }
        }
    }

    /// Waits for the kernel: not at all while there is work, else until the next deadline.
    fn wait(&mut self) -> io::Result<()> {
        let may_read = self.holding_until.is_none();
        let busy = may_read && self.doors.iter().flatten().any(|door| door.readable)
            || self.switch.has_readable_link()
            || self.switch.has_orphans()
            || self.switch.is_behind();
        let timeout = if self.has_commands {
            Duration::ZERO
        } else if !matches!(self.stage, Stage::Reading) {
            if self.switch.has_parcels() { PARCEL_AGAIN } else { OVERFLOW_INTERVAL }
        } else if busy {
            Duration::ZERO
        } else if let Some(pause) = self.moderation.pause() {
            thread::sleep(pause);
            // The sockets are read whether or not an edge was seen: at this rate there is something.
            self.doors.iter_mut().flatten().for_each(|door| door.readable = true);
            Duration::ZERO
        } else {
            let now = clock::now();
            let due = self.switch.poll_timeout().into_iter().chain(self.holding_until).min();
            let until = due.map_or(OVERFLOW_INTERVAL, |at| at.since(now));
            let until = if self.switch.has_parcels() { until.min(PARCEL_AGAIN) } else { until };
            // Rounds up: a wait cut to whole milliseconds would spin until the deadline.
            until.min(OVERFLOW_INTERVAL) + Duration::from_micros(999)
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn read_doors(&mut self) {
        for at in 0..self.doors.len() {
            for _ in 0..BATCHES_A_TURN {
                let Some(Some(door)) = self.doors.get_mut(at) else { break };
                if !door.readable {
                    break;
                }
                let read = match door.socket.recv_batch(&mut self.batch) {
                    Ok(read) => read,
                    Err(error) => {
                        debug!(%error, "cannot read a socket");
                        0
                    }
                };
                // A short batch means that the socket is empty.
                let more = read == self.batch.places();
                door.readable = more;
                let (owner, listener, transport, is_inherited) =
                    (door.owner, door.listener, door.transport, door.is_inherited);
                door.received += read as u64;
                if is_inherited && !more {
                    door.is_inherited = false;
                    // From here on the kernel would take times of arrival that the lane does not read.
                    let _ = door.socket.stamp_arrivals(false);
                }
                let now = clock::now();
                self.moderation.on_read(read, now);
                if read == 0 {
                    break;
                }
                for place in 0..read {
                    let Some(datagram) = self.batch.get(place) else { continue };
                    let waited = if is_inherited { self.batch.waited(place) } else { None };
                    let received = now - waited.unwrap_or_default();
                    let udp::Datagram { bytes, source, local, .. } = datagram;
                    let way = Way::of_datagram(owner, listener, transport, (source, local), received);
                    self.switch.on_message(bytes, &way, now);
                }
            }
        }
    }

    /// Reads the parcels: messages that other lanes have read for this one. They wake this lane with each parcel.
    fn read_parcels(&mut self, now: Time) {
        for _ in 0..PARCELS {
            let Ok(mut parcel) = self.parcels.try_recv() else { break };
            self.switch.on_parcel(&parcel, now);
            if self.spare.len() < SPARE {
                parcel.clear();
                self.spare.push(parcel);
            }
        }
    }

    fn read_links(&mut self, now: Time) {
        for _ in 0..FRAMES_A_TURN {
            if self.switch.is_behind() {
                break;
            }
            let Some(worker) = self.switch.take_readable_link() else { break };
            if let LinkRead::Over(parting, why) = self.switch.read_link(worker, now) {
                self.on_link_lost(worker, parting, why);
            }
            // A frame may hold thousands of records, all of them false. Other links and sockets have their turn
            // before its link's next frame.
            if clock::now().since(now) >= FRAMES_WITHIN {
                break;
            }
        }
    }

    fn flush(&mut self, now: Time) {
        let Lane { doors, slot_sockets, switch, peers, spare, .. } = self;
        switch.flush_answers(|leaving| {
            let from = leaving.from;
            let socket = match leaving.owner {
                Owner::Listener(_) => {
                    doors.iter().flatten().find(|door| door.owner == leaving.owner).map(|door| &door.socket)
                }
                Owner::Vacant(worker) => {
                    slot_sockets.get(usize::from(worker.0)).and_then(|slot| socket_at(slot.sip.iter(), from))
                }
                Owner::VacantMgcp(worker, listener) => slot_sockets
                    .get(usize::from(worker.0))
                    .and_then(|slot| slot.mgcp.iter().find(|(of, _)| *of == listener))
                    .map(|(_, socket)| socket),
            };
            if let Some(socket) = socket {
                // An answer that the kernel does not take is lost like any datagram; the peer asks again.
                socket.send_batch(leaving.map(|(bytes, to)| udp::Answer { bytes, to, from: Some(from) }));
            }
        });
        switch.flush_links();
        switch.flush_parcels(now, |lane, parcel| {
            let Some(Some(peer)) = peers.get(lane) else { return false };
            let full = std::mem::replace(parcel, spare.pop().unwrap_or_default());
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
        });
    }

    /// Ends the link of a worker that is gone, or whose link a successor replaces.
    fn end_link(&mut self, worker: WorkerId, why: &str, now: Time) {
        let id = self.switch.links().get(worker).map(|link| link.id);
        let ended = id.and_then(|id| Some((self.switch.end_link_of(worker, id, now)?, id)));
        self.on_link_ended(worker, ended, Parting::Lost, why.to_owned());
    }

    fn on_link_lost(&mut self, worker: WorkerId, parting: Parting, why: String) {
        let id = self.switch.links().get(worker).map(|link| link.id);
        let lost = id.and_then(|id| Some((self.switch.on_link_lost(worker, clock::now())?, id)));
        self.on_link_ended(worker, lost, parting, why);
    }

    fn on_link_ended(&mut self, worker: WorkerId, ended: Option<(Incarnation, LinkId)>, parting: Parting, why: String) {
        let Some((incarnation, link)) = ended else { return };
        self.serve_vacant(worker);
        // The control side is gone only when the process ends.
        let _ = self.control.send(Event::LinkLost { worker, incarnation, link, parting, why });
    }

    /// Reads the slot's own sockets until a successor is there, so that messages to them get an answer. One lane does
    /// it for all.
    fn serve_vacant(&mut self, worker: WorkerId) {
        if !self.switch.is_first() {
            return;
        }
        let Some(SlotDoors { sip, mgcp }) = self.slot_sockets.get(usize::from(worker.0)) else { return };
        let sip = sip.iter().filter_map(|socket| {
            let copy = socket.try_clone().ok()?;
            Some((Owner::Vacant(worker), self.listener_beside(&copy), Transport::Udp, copy))
        });
        let mgcp = mgcp.iter().filter_map(|(listener, socket)| {
            Some((Owner::VacantMgcp(worker, *listener), *listener, Transport::Mgcp, socket.try_clone().ok()?))
        });
        let copies: Vec<_> = sip.chain(mgcp).collect();
        for (owner, listener, transport, socket) in copies {
            if let Err(error) = self.open(socket, owner, listener, transport) {
                warn!(%worker, %error, "the ports of a slot without a worker cannot be served");
            }
        }
    }

    fn open(
        &mut self,
        socket: udp::Socket,
        owner: Owner,
        listener: ListenerId,
        transport: Transport,
    ) -> io::Result<()> {
        let at = self.doors.iter().position(Option::is_none).unwrap_or(self.doors.len());
        let token = Token(FIRST_DOOR + at);
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        let is_inherited = self.awaited > 0 && matches!(owner, Owner::Listener(_));
        let door = Some(Door { socket, owner, transport, listener, readable: true, is_inherited, received: 0 });
        match self.doors.get_mut(at) {
            Some(hole) => *hole = door,
            None => self.doors.push(door),
        }
        Ok(())
    }

    /// The well-known SIP socket on the same address as a slot's.
    fn listener_beside(&self, socket: &udp::Socket) -> ListenerId {
        let beside = self
            .listener_doors()
            .find(|door| door.transport == Transport::Udp && door.socket.local_addr().ip() == socket.local_addr().ip());
        beside.map_or(ListenerId(0), |door| door.listener)
    }

    fn close_vacant(&mut self, worker: WorkerId) {
        for place in &mut self.doors {
            let is_its = |door: &Door| match door.owner {
                Owner::Vacant(of) | Owner::VacantMgcp(of, _) => of == worker,
                Owner::Listener(_) => false,
            };
            if place.as_ref().is_some_and(is_its)
                && let Some(door) = place.take()
            {
                let _ = self.poll.registry().deregister(&mut SourceFd(&door.socket.as_raw_fd()));
            }
        }
    }

    /// Stops reading sockets and links: messages wait there. Messages that were read are still decided about by the
    /// lane that they belong to, so parcels go between lanes until all lanes rest.
    fn bring_to_rest(&mut self, now: Time) {
        if matches!(self.stage, Stage::Given) {
            return;
        }
        self.read_parcels(now);
        self.flush(now);
        if self.switch.has_parcels() {
            return;
        }
        if let Stage::Pausing(reply) = std::mem::replace(&mut self.stage, Stage::Paused) {
            // The supervisor that asked may be gone: then its answer is dropped, which does no harm.
            let _ = reply.send(());
        }
    }

    fn resume(&mut self) {
        self.stage = Stage::Reading;
        // An edge that came during the pause is noted in its door; one that came before the socket was registered is
        // not.
        self.doors.iter_mut().flatten().for_each(|door| door.readable = true);
    }

    /// Returns the lane's state, between two messages. All lanes rest, so messages that another lane read for this one
    /// are here.
    fn give(&mut self, mut state: Vec<u8>) -> io::Result<LaneState> {
        let now = clock::now();
        self.read_parcels(now);
        self.switch.settle(now);
        self.flush(now);
        self.stage = Stage::Given;
        let received: Vec<u64> = self.listener_doors().map(|door| door.received).collect();
        received.pack(&mut state);
        self.switch.save(&mut state);
        let links = self.switch.links().iter().map(|(worker, link)| Ok((worker, link.channel().duplicate()?)));
        Ok(LaneState { state, links: links.collect::<io::Result<_>>()? })
    }

    /// Takes over the state of a lane of the old dispatcher. The lane reads again only at [`Command::Resume`].
    fn take(&mut self, given: LaneState) -> io::Result<()> {
        let invalid = |damaged: Damaged| io::Error::new(io::ErrorKind::InvalidData, damaged);
        let mut from = Packed::new(&given.state);
        let received = <Vec<u64>>::unpack(&mut from).map_err(invalid)?;
        for (door, received) in self.doors.iter_mut().flatten().zip(received) {
            door.received = received;
        }
        let mut channels = given.links.into_iter().map(|(worker, link)| {
            let token = Token(FIRST_LINK + usize::from(worker.0));
            Some((worker, LinkSocket::register(link, self.registry.clone(), token).ok()?))
        });
        let mut next = |worker| channels.next().flatten().filter(|(of, _)| *of == worker).map(|(_, channel)| channel);
        self.switch.restore(&mut from, &mut next).map_err(invalid)?;
        if self.switch.links().iter().next().is_some() {
            self.holding_until = None;
        }
        Ok(())
    }

    fn listener_doors(&self) -> impl Iterator<Item = &Door> {
        self.doors.iter().flatten().filter(|door| matches!(door.owner, Owner::Listener(_)))
    }

    fn read_overflow(&mut self) {
        let overflow = self.listener_doors().filter_map(|door| door.socket.drops().ok()).map(u64::from).sum();
        self.switch.set_overflow(overflow);
    }

    fn counters(&self) -> Counters {
        let listeners = self.listener_doors().map(|door| {
            let memory = door.socket.memory().unwrap_or_default();
            ListenerCounters {
                address: door.socket.local_addr(),
                received: door.received,
                rx_overflow: memory.drops.into(),
                receive_buffer: memory.receive as u64,
                send_buffer: memory.send as u64,
            }
        });
        Counters { listeners: listeners.collect(), ..self.switch.counters() }
    }

    fn on_command(&mut self, command: Command) {
        let now = clock::now();
        match command {
            Command::Link { worker, link, joined, brought } => {
                self.end_link(worker, "a successor has come", now);
                self.close_vacant(worker);
                let token = Token(FIRST_LINK + usize::from(worker.0));
                let socket = if memory::can_have([self.switch.retention_bytes()]) {
                    LinkSocket::register(link, self.registry.clone(), token)
                } else {
                    // Memory that the kernel refuses would end the process.
                    Err(io::ErrorKind::OutOfMemory.into())
                };
                match socket {
                    Ok(socket) => {
                        match brought {
                            None => {
                                if self.switch.is_first() {
                                    info!(%worker, "ready for calls");
                                }
                                self.switch.on_link(worker, socket, &joined, now);
                            }
                            Some(brought) => {
                                if self.switch.is_first() {
                                    info!(%worker, sessions = brought.sessions, "back, with its calls");
                                }
                                self.switch.on_link_back(worker, socket, &joined, &brought, now);
                                self.awaited = self.awaited.saturating_sub(1);
                            }
                        }
                        if self.awaited == 0 {
                            self.holding_until = None;
                        }
                    }
                    Err(error) => {
                        let (Joined { incarnation, link, .. }, parting) = (joined, Parting::Lost);
                        let why = error.to_string();
                        let _ = self.control.send(Event::LinkLost { worker, incarnation, link, parting, why });
                    }
                }
            }
            Command::EndLink { worker, link } => {
                let ended = self.switch.end_link_of(worker, link, now).map(|incarnation| (incarnation, link));
                let why = "its link to another lane has ended";
                self.on_link_ended(worker, ended, Parting::Lost, why.to_owned());
            }
            Command::Slot { worker, sockets, mgcp } => {
                let at = usize::from(worker.0);
                if self.slot_sockets.len() <= at {
                    self.slot_sockets.resize_with(at + 1, SlotDoors::default);
                }
                self.slot_sockets[at] = SlotDoors { sip: sockets, mgcp };
                self.close_vacant(worker);
                if !self.switch.has_link(worker) {
                    self.serve_vacant(worker);
                }
            }
            Command::Close { worker } => {
                self.close_vacant(worker);
                if let Some(sockets) = self.slot_sockets.get_mut(usize::from(worker.0)) {
                    *sockets = SlotDoors::default();
                }
            }
            Command::Admin { worker, admin, drain_within } => self.switch.set_admin(worker, admin, drain_within),
            Command::Reload { rules, insert, workers } => self.switch.reload(*rules, insert, workers, now),
            Command::HangUp { worker, link } => {
                if self.switch.links().get(worker).is_some_and(|it| it.id == link) {
                    self.on_link_lost(worker, Parting::Lost, "it was silent for too long".to_owned());
                }
            }
            Command::Stop { within } => self.switch.stop(within),
            Command::Retire { worker, within } => self.switch.retire(worker, within),
            Command::Resume => self.resume(),
            // The supervisor that asked may be gone: then its answer is dropped, which does no harm.
            Command::Pause(reply) => self.stage = Stage::Pausing(reply),
            Command::Give(memory, reply) => drop(reply.send(self.give(memory))),
            Command::Take(given, reply) => drop(reply.send(self.take(given))),
            Command::Load(reply) => drop(reply.send(self.switch.load(now))),
            Command::Counters(reply) => drop(reply.send(self.counters())),
            Command::Explain { call_id, reply } => drop(reply.send(self.switch.explain(&call_id, now))),
        }
    }
}

/// Finds the slot's socket that is bound to the local address `ip`.
fn socket_at<'s>(mut sockets: impl Iterator<Item = &'s udp::Socket>, ip: IpAddr) -> Option<&'s udp::Socket> {
    let at = |socket: &&udp::Socket| {
        let bound = socket.local_addr().ip();
        bound == ip || bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4()
    };
    sockets.find(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Insert;
    use crate::dispatch::identity::Keyring;
    use crate::dispatch::owner::Owners;
    use crate::dispatch::rules::Rules;
    use crate::dispatch::{self, Dispatch};
    use crate::ids::TokenKey;

    #[test]
    fn one_explain_is_answered_in_a_turn_however_many_wait() {
        let dispatch = Dispatch::new(dispatch::Setup {
            rules: Rules::default(),
            keys: Keyring::new(TokenKey::new([1; 32])),
            table_cap: 100,
            group_cap: 10,
            workers: 1,
            seed: 1,
        });
        let (commands, receiver) = crossbeam_channel::unbounded();
        let (control, _events) = tokio::sync::mpsc::unbounded_channel();
        let setup = Setup {
            listeners: Vec::new(),
            dispatch,
            insert: Insert::None,
            retention_bytes: 0,
            awaited: 0,
            owners: Owners::new(0, 1, 0),
            inherited_entries: None,
        };
        let (mut lane, waker) = Lane::new(setup, receiver, control).unwrap();
        let mut answers: Vec<_> = (0..5)
            .map(|_| {
                let (reply, answer) = oneshot::channel();
                commands.send(Command::Explain { call_id: b"Nobody".to_vec(), reply }).unwrap();
                answer
            })
            .collect();
        waker.wake().unwrap();
        for turn in 1..=5 {
            // One wake-up only: the lane carries out the rest without another.
            lane.turn().unwrap();
            let answered = answers.iter_mut().filter(|answer| !answer.is_empty()).count();
            assert_eq!(answered, turn);
        }
    }
}
