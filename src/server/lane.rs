//! The lane: one thread that reads the well-known sockets and the links, and carries out the decisions.
//!
//! A turn: wait for the kernel (not at all while a socket may still hold something), carry out the control side's
//! commands, read the links (workers' frames make room in them), read the sockets, write what is due. Sockets are
//! edge-triggered: one that was read without being emptied stays on the list, and the next wait only polls.

mod commands;
mod dialled;
pub mod peers;
mod stage;
mod streams;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mio::{Events, Poll, Registry, Token, Waker};
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use self::dialled::Dialled;
use self::peers::{PARCELS, Peers};
use self::stage::Stage;
use super::gate::Census;
use super::link_socket::LinkSocket;
use super::moderation::Moderation;
use super::ports::Ports;
use super::{Command, Event, Setup};
use crate::dispatch::callees;
use crate::ids::{ConnId, Incarnation, LinkId, ProxyId, WorkerId};
use crate::net::conns::{Closures, Conns};
use crate::net::tls::ProxyKinds;
use crate::net::{clock, udp};
use crate::prober::Mailbox;
use crate::switch::{LinkRead, Parting, Switch, Way};
use crate::time::Time;

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
/// Ports are numbered from here on.
const FIRST_PORT: usize = 1;
/// Stream connections are numbered from here on.
const FIRST_CONN: usize = 1 << 21;
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
    ports: Ports,
    /// Stream connections that the gate has handed to this lane.
    conns: Conns,
    /// The connections that it keeps open to downstream proxies, and their protocol.
    dialled: Dialled,
    proxy_kinds: ProxyKinds,
    /// The downstream proxies that the peers of connections have shown to be, by their certificates. It is forgotten at
    /// each command, since that may change the proxies.
    certified: HashMap<ConnId, Option<ProxyId>, FixedState>,
    /// The gate's queue of what changes in this lane's connections.
    census: Sender<Census>,
    closures: Closures,
    /// Messages that have come on connections, by the number of their listener.
    on_streams: Vec<u64>,
    /// Longest time for which TLS connections of an earlier dispatcher stay open.
    linger: Duration,
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
    /// The other lanes.
    peers: Peers,
    /// The way to the prober; there is one once a downstream proxy is configured.
    mailbox: Option<Mailbox>,
}

/// Interval at which a parcel is offered again to a lane that took no more.
const PARCEL_AGAIN: Duration = Duration::from_millis(1);

impl Lane {
    /// A lane that reads `setup`'s sockets, and the waker that makes it look at `commands`. It tells the gate by
    /// `closed` the sources of connections that are closed.
    pub fn new(
        mut setup: Setup,
        census: Sender<Census>,
        commands: Receiver<Command>,
        control: UnboundedSender<Event>,
    ) -> io::Result<(Self, Waker)> {
        setup.dispatch.on_start(clock::now());
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let registry = Arc::new(poll.registry().try_clone()?);
        let mut ports = Ports::new(Arc::clone(&registry), FIRST_PORT);
        for listener in setup.listeners {
            ports.open_listener(listener, setup.awaited > 0)?;
        }
        // Where downstream proxies take calls, only workers that come back are waited for, and the first connection to
        // a proxy where all are reached over connections.
        let proxies = setup.dispatch.proxies();
        let waits = setup.awaited > 0 || proxies.is_empty() || proxies.awaits_first_connection();
        let mut lane = Lane {
            poll,
            events: Events::with_capacity(1024),
            commands,
            has_commands: false,
            control,
            ports,
            conns: Conns::new(Arc::clone(&registry), FIRST_CONN, setup.connections + callees::MOST),
            dialled: Dialled::default(),
            proxy_kinds: ProxyKinds::default(),
            certified: HashMap::default(),
            census,
            closures: Closures::default(),
            on_streams: Vec::new(),
            linger: setup.linger,
            batch: udp::Batch::new(),
            moderation: Moderation::default(),
            switch: Switch::new(setup.dispatch, setup.insert, setup.retention_bytes, setup.owners),
            holding_until: waits.then(|| clock::now() + FIRST_WORKER),
            awaited: setup.awaited,
            stage: Stage::Reading,
            overflow_read: clock::now(),
            peers: Peers::default(),
            mailbox: None,
            registry,
        };
        lane.set_proxy_kinds(setup.proxy_kinds, clock::now());
        if let Some(entries) = setup.inherited_entries {
            lane.stage = Stage::Given;
            lane.switch.make_room(entries);
        }
        Ok((lane, waker))
    }

    /// Connects this lane with the other lanes.
    pub(super) fn meet(&mut self, peers: Peers) {
        self.peers = peers;
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
        let (mut datagrams, mut on_connections) = (0, 0);
        if self.holding_until.is_none() {
            self.switch.set_prober_room(self.mailbox.as_ref().map_or(0, Mailbox::room));
            // Messages that other lanes have read are for this one what datagrams are: their senders do not wait.
            datagrams = self.read_parcels(now) + self.read_ports();
        }
        if self.holding_until.is_none() || self.awaited == 0 {
            // Messages of streams are not sent again: they wait in the kernel while another lane takes no more.
            if !self.switch.has_parcels() {
                on_connections = self.read_streams(now);
            }
        }
        self.moderation.on_read(datagrams, on_connections, now);
        self.switch.handle_timeout(now);
        self.conns.handle_timeout(now, |_| false);
        self.keep_connections(now);
        while let Some((worker, incarnation)) = self.switch.poll_hung() {
            let Some(link) = self.switch.links().get(worker).map(|link| link.id) else { continue };
            let _ = self.control.send(Event::Hung { worker, incarnation, link });
        }
        while let Some(address) = self.switch.poll_silence() {
            let _ = self.control.send(Event::Silence { address });
        }
        while let Some((address, load)) = self.switch.poll_report() {
            let _ = self.control.send(Event::Reported { address, load });
        }
        // After a start, and a takeover, the prober comes a moment later.
        if let Some(mailbox) = &self.mailbox {
            while let Some(look_up) = self.switch.poll_look_up() {
                if !mailbox.ask(&look_up) {
                    self.switch.on_found(&[look_up.found(Vec::new(), now)], now);
                }
            }
        }
        while let Some(change) = self.switch.poll_proxy_change() {
            let _ = self.control.send(Event::ProxyChanged { lane: self.switch.own(), change });
        }
        self.flush(now);
        if now.since(self.overflow_read) >= OVERFLOW_INTERVAL {
            self.overflow_read = now;
            self.switch.set_overflow(self.ports.overflow());
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
            // These search the lane's whole history, or all its connections, so messages are read before the next
            // command.
            let is_long = matches!(command, Command::Explain { .. } | Command::Sources(_) | Command::Counters(_));
            self.on_command(command);
            if is_long {
                return;
            }
        }
    }

    /// Waits for the kernel, and notes what can be read or written.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = if self.is_busy() {
            Duration::ZERO
        } else if let Some(pause) = self.moderation.pause().filter(|_| matches!(self.stage, Stage::Reading)) {
            thread::sleep(pause);
            // The sockets are read whether or not an edge was seen: at this rate there is something.
            self.ports.read_all();
            Duration::ZERO
        } else {
            self.until_due()
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            result => result?,
        }
        for event in self.events.iter() {
            match event.token() {
                WAKER => self.has_commands = true,
                Token(at) if at >= FIRST_CONN => self.conns.on_event(event),
                Token(at) if at >= FIRST_LINK => self.switch.on_link_event(
                    WorkerId((at - FIRST_LINK) as u16),
                    event.is_readable() || event.is_read_closed(),
                    event.is_writable(),
                ),
                Token(at) => self.ports.on_readable(at),
            }
        }
        Ok(())
    }

    /// Whether there is work without another event.
    fn is_busy(&self) -> bool {
        let may_read = self.holding_until.is_none();
        self.has_commands
            || matches!(self.stage, Stage::Reading)
                && (may_read && (self.ports.has_readable() || self.conns.has_readable() && !self.switch.has_parcels())
                    || self.switch.has_readable_link()
                    || self.switch.has_dials()
                    || self.switch.has_orphans()
                    || self.switch.is_behind())
    }

    /// Longest time for which nothing is due.
    fn until_due(&self) -> Duration {
        let again = if self.switch.has_parcels() { PARCEL_AGAIN } else { OVERFLOW_INTERVAL };
        if !matches!(self.stage, Stage::Reading) {
            return again;
        }
        let due =
            [self.switch.poll_timeout(), self.conns.poll_timeout(), self.holding_until].into_iter().flatten().min();
        let until = due.map_or(OVERFLOW_INTERVAL, |at| at.since(clock::now()));
        // Rounds up: a wait cut to whole milliseconds would spin until the deadline.
        until.min(again) + Duration::from_micros(999)
    }

    /// Reads the sockets, and tells how many datagrams there were.
    fn read_ports(&mut self) -> usize {
        let Lane { ports, batch, switch, .. } = self;
        let mut datagrams = 0;
        for place in 0..ports.places() {
            for _ in 0..BATCHES_A_TURN {
                let Some(port) = ports.readable(place) else { break };
                let has_waited = port.is_inherited;
                let read = port.read(batch);
                if read == 0 {
                    break;
                }
                datagrams += read;
                let now = clock::now();
                let (owner, listener, transport) = (port.owner, port.listener, port.transport);
                let came = (0..read).filter_map(|at| {
                    let udp::Datagram { bytes, source, local, .. } = batch.get(at)?;
                    let waited = if has_waited { batch.waited(at) } else { None };
                    let received = now - waited.unwrap_or_default();
                    Some((bytes, Way::of_datagram(owner, listener, transport, (source, local), received)))
                });
                switch.on_messages(came, now);
            }
        }
        datagrams
    }

    /// Reads the parcels: messages that other lanes have read for this one. They wake this lane with each parcel. Tells
    /// how many parcels there were.
    fn read_parcels(&mut self, now: Time) -> usize {
        for parcels in 0..PARCELS {
            let Some(parcel) = self.peers.next() else { return parcels };
            self.switch.on_parcel(&parcel, now);
            self.peers.recycle(parcel);
        }
        PARCELS
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
            // A frame may hold thousands of records, all of them false. Other links and sockets have their turn before
            // its link's next frame.
            if clock::now().since(now) >= FRAMES_WITHIN {
                break;
            }
        }
    }

    fn flush(&mut self, now: Time) {
        let Lane { ports, switch, .. } = self;
        let mut undeliverable = Vec::new();
        switch.flush_answers(|leaving| ports.send(leaving, &mut undeliverable));
        if !undeliverable.is_empty() {
            undeliverable.iter().for_each(|to| switch.on_undeliverable(*to, now));
            // Other proxies get the requests. What cannot be sent to them either waits for its timer.
            switch.flush_answers(|leaving| ports.send(leaving, &mut Vec::new()));
        }
        // Messages for connections of other lanes are put into their parcels, which leave last. A worker's message for
        // a connection that is gone goes back on its link.
        self.flush_streams(now);
        let Lane { switch, peers, mailbox, .. } = self;
        mailbox.iter().for_each(|mailbox| mailbox.put(switch.take_probe_answers()));
        switch.flush_links();
        switch.flush_parcels(now, |lane, parcel| peers.send(lane, parcel));
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

    /// Reads the slot's own sockets until a successor is there. One lane does it for all.
    fn serve_vacant(&mut self, worker: WorkerId) {
        if self.switch.is_first() {
            self.ports.serve_vacant(worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::oneshot;

    use super::*;
    use crate::config::{Insert, Pool, Proxy};
    use crate::dispatch::identity::Keyring;
    use crate::dispatch::owner::Owners;
    use crate::dispatch::rules::Rules;
    use crate::dispatch::{self, Dispatch};
    use crate::ids::{ListenerId, TokenKey};
    use crate::words::Transport;

    fn lane(rules: Rules, commands: Receiver<Command>, control: UnboundedSender<Event>) -> (Lane, Waker) {
        let dispatch = Dispatch::new(dispatch::Setup {
            rules,
            keys: Keyring::new(TokenKey::new([1; 32])),
            table_cap: 100,
            group_cap: 10,
            workers: 1,
            seed: 1,
        });
        let setup = Setup {
            listeners: Vec::new(),
            dispatch,
            insert: Insert::None,
            retention_bytes: 0,
            awaited: 0,
            owners: Owners::new(0, 1, 0),
            inherited_entries: None,
            connections: 1,
            linger: Duration::ZERO,
            proxy_kinds: ProxyKinds::default(),
        };
        let (census, _) = crossbeam_channel::unbounded();
        Lane::new(setup, census, commands, control).unwrap()
    }

    #[test]
    fn one_explain_is_answered_in_a_turn_however_many_wait() {
        let (commands, receiver) = crossbeam_channel::unbounded();
        let (control, _events) = tokio::sync::mpsc::unbounded_channel();
        let (mut lane, waker) = lane(Rules::default(), receiver, control);
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

    #[test]
    fn a_call_whose_way_was_sought_is_cancelled_by_the_first_message_after_a_takeover_that_has_failed() {
        let local: SocketAddr = "192.0.2.2:5060".parse().unwrap();
        let (host, transport) = ("192.0.2.11".to_owned(), Transport::Tcp);
        let rules = Rules {
            proxies: vec![Proxy { name: "a".to_owned(), host, transport, ..Proxy::default() }],
            pools: vec![Pool::default()],
            udp_listeners: vec![(ListenerId(0), local)],
            stream_listeners: vec![(ListenerId(1), transport, local)],
            ..Rules::default()
        };
        let (_commands, receiver) = crossbeam_channel::unbounded();
        let (control, _events) = tokio::sync::mpsc::unbounded_channel();
        let (mut lane, _waker) = lane(rules, receiver, control);
        let comes = |lane: &mut Lane, method: &str| {
            let text = format!(
                "{method} sip:phone@example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.11;branch=z9hG4bK-1\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:ivr@192.0.2.11>;tag=1\r\nTo: <sip:phone@example.net>\r\n\
                 Call-ID: 1\r\nCSeq: 1 {method}\r\nContact: <sip:ivr@192.0.2.11>\r\nContent-Length: 0\r\n\r\n"
            );
            let (now, ends) = (clock::now(), ("192.0.2.11:40000".parse().unwrap(), local));
            let way = Way::of_stream(ConnId(50), ListenerId(1), transport, ends, now);
            lane.switch.on_message(text.as_bytes(), &way, now);
            let mut left = Vec::new();
            lane.switch.flush_replies(|_, bytes: &[u8]| {
                left.push(String::from_utf8_lossy(bytes).split(' ').nth(1).unwrap().to_owned());
                true
            });
            left
        };
        assert_eq!(comes(&mut lane, "INVITE"), [""; 0]);
        lane.give(Vec::new()).unwrap();
        lane.resume();
        assert_eq!(comes(&mut lane, "CANCEL"), ["200", "487"]);
    }
}
