//! The process around a [`Station`]: one thread, one poll. It reads from the links and carries out what the station
//! asks for. The sockets beside the links are the [`Ports`] of the two kinds of workers.

mod lan;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use mio::event::Event;
use mio::{Poll, Token};

use crate::net::{clock, memory};
use crate::station::{DispatcherLinks, Intervals, Lost, Next, Output, Sessions, Station};
use crate::time::Time;
use crate::words::{Hello, PassedSocket, Port, Welcome};
use crate::worker::comeback::{Comeback, Progress};
use crate::worker::duplicates::Duplicates;
use crate::worker::link::{self, Introduced, LINKS, LinkEnd, Received};
use crate::worker::network::Redial;
use crate::worker::own_ports::OwnPorts;
use crate::worker::settings::{MOST_LINKS, WorkerError};
use crate::worker::slot_lock::SlotLock;
use crate::worker::sources::{DIALLED, SIGNALS, Sources, TURNS};

/// Most bytes of certificates and keys.
const MOST_CERTIFICATES: usize = 64 << 20;

/// A worker's process, but for its ports.
pub(super) struct Shell<S> {
    pub(super) sources: Sources,
    pub(super) station: Station<S>,
    /// Duplicates of the well-known sockets; only sent on.
    pub(super) duplicates: Duplicates,
    links: Vec<LinkEnd>,
    /// A new link, while the dispatcher at its other end has not welcomed us.
    comeback: Option<Comeback>,
    /// The slot's lock, held as long as its sockets are. `None` for a worker that came by itself, whose sockets are its
    /// own.
    slot: Option<SlotLock>,
    /// The handoff socket where a new dispatcher is looked for.
    handoff: Option<PathBuf>,
    /// The tries of a worker on another host to reach its dispatcher.
    redial: Option<Redial>,
}

/// The sockets of a worker beside its links, and what is done with them.
pub(super) trait Ports<S: Sessions> {
    /// The source that an event is of.
    fn source_of(&mut self, event: &Event) -> Token {
        event.token()
    }

    /// Reads from a source; true when it may have more.
    fn on_ready(&mut self, token: Token, shell: &mut Shell<S>) -> bool;

    /// Does what the station asks for.
    fn carry_out(&mut self, effect: S::Effect, shell: &mut Shell<S>, now: Time);

    /// Sends the datagrams that have been held back; true when the station was told that one of them cannot be sent.
    fn send_held(&mut self, _shell: &mut Shell<S>, _now: Time) -> bool {
        false
    }

    /// Writes to connections what the turn has left for them. More may be left to read then.
    fn flush(&mut self, _sources: &mut Sources) {}

    /// Tells the station what could not be carried out; false when there is nothing of the kind.
    fn tell_failed(&mut self, _station: &mut Station<S>) -> bool {
        false
    }

    /// The time has come.
    fn handle_timeout(&mut self, _shell: &mut Shell<S>, _now: Time) {}

    /// When [`Ports::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// The `Hello` for every dispatcher.
    fn hello(&self) -> Hello;

    /// The ports of a worker that came by itself.
    fn named(&self) -> Vec<Port> {
        Vec::new()
    }

    /// The slot's sockets, for a new dispatcher.
    fn passed(&self) -> Vec<(PassedSocket, BorrowedFd<'_>)> {
        Vec::new()
    }
}

/// A worker that has been welcomed, before it has sessions.
pub(super) struct Joined {
    pub(super) dispatcher: DispatcherLinks,
    pub(super) wires: Wires,
}

/// The sockets that a worker has from its dispatcher.
pub(super) struct Wires {
    links: Vec<LinkEnd>,
    duplicates: Duplicates,
}

impl Joined {
    /// The links and duplicates of a worker that has been introduced, and the ports that are its own.
    ///
    /// # Errors
    ///
    /// The poll watches nothing more.
    pub(super) fn new(introduced: Introduced, poll: &Poll) -> Result<(Self, OwnPorts), WorkerError> {
        let Introduced { link, end, welcome, own, listeners, more, clock } = introduced;
        let held = link::held(&listeners);
        let mut dispatcher = DispatcherLinks::new(welcome, end, more.len(), &held, Intervals::default());
        if let Some((asked, theirs, heard)) = clock {
            dispatcher.set_clock(asked, theirs, heard);
        }
        let mut duplicates = Duplicates::default();
        duplicates.set(dispatcher.listeners(), listeners);
        let links = watched(link, more, poll).map_err(WorkerError::system("cannot watch the links"))?;
        Ok((Joined { dispatcher, wires: Wires { links, duplicates } }, own))
    }

    /// Says why the process ends, so that the dispatcher does not report it as missing.
    pub(super) fn goodbye(&mut self, reason: &str) {
        let Joined { dispatcher, wires } = self;
        dispatcher.goodbye(reason, clock::now(), |lane, pieces| link::send(&mut wires.links, lane, pieces));
    }
}

/// All links of one dispatcher. The first one is watched already.
fn watched(first: LinkEnd, more: Vec<LinkEnd>, poll: &Poll) -> io::Result<Vec<LinkEnd>> {
    for (number, end) in more.iter().enumerate() {
        end.watch(poll, link::token(1 + number))?;
    }
    Ok(std::iter::once(first).chain(more).collect())
}

impl<S: Sessions> Shell<S> {
    /// The process of a worker with these sessions.
    pub(super) fn new(
        sources: Sources,
        station: Station<S>,
        wires: Wires,
        slot: Option<SlotLock>,
        handoff: Option<PathBuf>,
    ) -> Self {
        let Wires { links, duplicates } = wires;
        Shell { sources, station, duplicates, links, comeback: None, slot, handoff, redial: None }
    }

    /// The dispatcher is on another host.
    pub(super) fn over_network(mut self, mut redial: Redial) -> Self {
        redial.set_terms(self.station.dispatcher().welcome().lan);
        self.redial = Some(redial);
        self
    }

    /// Runs until the station has the process leave.
    ///
    /// # Errors
    ///
    /// The system refuses to wait for events.
    pub(super) fn run(mut self, mut ports: impl Ports<S>) -> Result<(), WorkerError> {
        loop {
            let now = clock::now();
            let due = if self.sources.has_more() { None } else { self.poll_timeout(&ports, now) };
            self.sources.wait(due.map(|due| due.since(now)), |event| ports.source_of(event))?;
            while let Some(token) = self.sources.next() {
                if self.on_ready(token, &mut ports) {
                    self.sources.add(token);
                }
                self.carry_out(&mut ports);
            }
            let now = clock::now();
            self.keep_links(now);
            self.station.handle_timeout(now);
            ports.handle_timeout(&mut self, now);
            if let Some(slot) = &mut self.slot {
                slot.handle_timeout(now);
            }
            self.carry_out(&mut ports);
            self.flush(&mut ports);
            if self.is_over(&ports, now) {
                return Ok(());
            }
            self.speak(now);
        }
    }

    fn poll_timeout(&self, ports: &impl Ports<S>, now: Time) -> Option<Time> {
        let all = [
            self.station.poll_timeout(now),
            ports.poll_timeout(),
            self.comeback.as_ref().map(Comeback::poll_timeout),
            self.slot.as_ref().map(SlotLock::poll_timeout),
            self.links_due(),
        ];
        all.into_iter().flatten().min()
    }

    /// Reads from a source; true when it may have more.
    fn on_ready(&mut self, token: Token, ports: &mut impl Ports<S>) -> bool {
        match token {
            // More frames may follow the welcome.
            Token(LINKS) if self.comeback.is_some() => self.on_comeback(clock::now()),
            Token(token) if (LINKS..LINKS + MOST_LINKS).contains(&token) => self.on_link(token - LINKS, ports),
            SIGNALS => {
                while self.sources.signals.poll() {
                    self.station.on_stop_signal(clock::now());
                }
                false
            }
            DIALLED => {
                self.on_dialled(clock::now());
                false
            }
            token => ports.on_ready(token, self),
        }
    }

    /// Frames from lane `number` of the dispatcher.
    fn on_link(&mut self, number: usize, ports: &mut impl Ports<S>) -> bool {
        for _ in 0..TURNS {
            let Shell { station, links, .. } = self;
            let Some(link) = links.get_mut(number).filter(|_| station.wants_frames(number)) else { return false };
            let now = clock::now();
            let mut files = Vec::new();
            let goes_on = match link.receive_with(&mut files) {
                Ok(Received::Frame(frame)) => {
                    let goes_on = station.on_frame(number, frame, now);
                    // Once the worker is welcomed, nothing but certificates comes beside a frame.
                    for file in files {
                        match memory::read_sealed(file, MOST_CERTIFICATES) {
                            Ok(content) => station.sessions_mut().set_certificates(content),
                            Err(error) => tracing::warn!(%error, "certificates that cannot be read"),
                        }
                    }
                    goes_on
                }
                Ok(Received::Nothing) => return false,
                Ok(Received::End) => {
                    station.on_link_end(number, "the dispatcher is gone".to_owned());
                    false
                }
                Err(error) => {
                    station.on_link_end(number, error.to_string());
                    false
                }
            };
            self.carry_out(ports);
            if !goes_on {
                return false;
            }
        }
        true
    }

    /// Does what the station asks for, until it asks for nothing more. Every datagram has left then.
    pub(super) fn carry_out(&mut self, ports: &mut impl Ports<S>) {
        loop {
            let now = clock::now();
            match self.station.poll_output(now) {
                Some(Output::Effect(effect)) => ports.carry_out(effect, self, now),
                Some(Output::DispatcherLost(lost)) => {
                    // The sockets that datagrams are held back for may be closed now.
                    ports.send_held(self, now);
                    self.on_dispatcher_lost(lost);
                }
                None if ports.send_held(self, now) || ports.tell_failed(&mut self.station) => {}
                None => return,
            }
        }
    }

    /// Sends what the turn has left, and what comes of that.
    fn flush(&mut self, ports: &mut impl Ports<S>) {
        ports.flush(&mut self.sources);
        while ports.tell_failed(&mut self.station) {
            self.carry_out(ports);
            ports.flush(&mut self.sources);
        }
    }

    /// Reports when due, and sends what waits for the links.
    fn speak(&mut self, now: Time) {
        let Shell { station, links, sources, .. } = self;
        let send = |lane, pieces: &[io::IoSlice<'_>]| link::send(links, lane, pieces);
        station.speak(now, clock::cpu, send, |lane| sources.add(link::token(lane)));
    }

    fn is_over(&mut self, ports: &impl Ports<S>, now: Time) -> bool {
        if self.comeback.as_ref().is_some_and(|comeback| comeback.poll_timeout() <= now) {
            self.on_comeback(now);
        }
        match self.station.next_step(now) {
            Next::Wait => false,
            Next::Try => {
                // No dispatcher there is the common case, so it is not logged.
                if self.come_back(ports, now).is_err() {
                    self.station.on_failed(now);
                }
                false
            }
            Next::Leave => {
                let Shell { station, links, .. } = self;
                station.goodbye("stopped", now, |lane, pieces| link::send(links, lane, pieces));
                true
            }
        }
    }

    // -- the dispatcher, as it comes and goes --

    fn on_dispatcher_lost(&mut self, lost: Lost) {
        self.links.clear();
        match lost {
            Lost::Kept => {}
            Lost::Closed => self.duplicates.close(),
            Lost::LeftToTheNext => {
                // The next dispatcher looks for the slot's lock before anything else.
                if let Some(slot) = &mut self.slot {
                    slot.restore();
                }
                self.duplicates.stamp_arrivals();
            }
        }
    }

    /// Links to a new dispatcher and begins to tell it what there is.
    fn come_back(&mut self, ports: &impl Ports<S>, now: Time) -> io::Result<()> {
        if let Some(redial) = &mut self.redial {
            let hello = Hello { ports: ports.named(), ..ports.hello() };
            let (hello, _) = self.station.come_back(hello, now);
            return redial.begin(hello);
        }
        let path = self.handoff.as_deref().ok_or(io::ErrorKind::NotFound)?;
        if let Some(slot) = &mut self.slot {
            slot.restore();
        }
        let link = LinkEnd::connect(path, &self.sources.poll)?;
        let (mut hello, mut sockets) = (ports.hello(), Vec::new());
        if self.slot.is_some() {
            let listeners = self.station.dispatcher().listeners();
            let all = ports.passed().into_iter().chain(self.duplicates.passed(listeners));
            (hello.sockets, sockets) = all.unzip();
            let Welcome { name, key, .. } = self.station.dispatcher().welcome();
            (hello.name, hello.key) = (Some(name.clone()), key.clone());
        } else {
            hello.ports = ports.named();
        }
        let (hello, account) = self.station.come_back(hello, now);
        self.comeback = Some(Comeback::begin(link, hello, &sockets, account, now)?);
        Ok(())
    }

    /// The link to a new dispatcher has something to say, or takes more, or its time is over; true when that dispatcher
    /// has welcomed us: its links and sockets are ours.
    fn on_comeback(&mut self, now: Time) -> bool {
        let Some(comeback) = self.comeback.take() else { return false };
        match comeback.go_on(now) {
            Progress::Waiting(comeback) => self.comeback = Some(comeback),
            Progress::Refused(reason) => self.station.on_refused(&reason, now),
            Progress::Failed => self.station.on_failed(now),
            Progress::Welcome(link, welcome, descriptors) => {
                self.on_welcome(link, *welcome, descriptors, now);
                return true;
            }
        }
        false
    }

    fn on_welcome(&mut self, link: LinkEnd, welcome: Welcome, descriptors: Vec<OwnedFd>, now: Time) {
        // The slot's sockets, which it gave back, are ours already.
        let (listeners, more) = match link::sort(&welcome, descriptors) {
            Ok(sorted) => (sorted.listeners, sorted.more),
            Err(error) => {
                tracing::warn!(%error, "the new dispatcher's sockets cannot be used");
                (welcome.listeners.iter().map(|_| None).collect(), Vec::new())
            }
        };
        self.station.on_welcome(welcome, more.len(), &link::held(&listeners), now);
        self.duplicates.set(self.station.dispatcher().listeners(), listeners);
        let links = 1 + more.len();
        match watched(link, more, &self.sources.poll) {
            Ok(links) => self.links = links,
            Err(error) => {
                tracing::warn!(%error, "the link to a lane of the dispatcher cannot be watched");
                // Without its links the dispatcher is lost at once, and is looked for again.
                for number in 0..links {
                    self.station.on_link_end(number, error.to_string());
                }
            }
        }
    }
}
