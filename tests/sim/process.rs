//! A worker process: the worker's own value, and what a kernel does with it: deliver, hold, kill. Its observations go
//! into the [`Truth`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pointsman::call::{Arrival, Hop, SessionTimer, Transmit};
use pointsman::dispatch::decision::{Brought, Unanswered};
use pointsman::ids::{Incarnation, TokenKey, WorkerId};
use pointsman::link::worker_end::WorkerEnd;
use pointsman::station::{DispatcherLinks, Effect, Intervals, MediaServer, Next, Output, Setup, Station, Ways};
use pointsman::time::Time;
use pointsman::wire::handoff::Record;
use pointsman::wire::mgcp;
use pointsman::wire::sip::Scanner;
use pointsman::words::{Hello, Message, ReplyFrom, Transport, Welcome};

use crate::air::Datagram;
use crate::application::{Obedient, Seen, Silence};
use crate::pipe::{Pipe, records};
use crate::truth::Truth;
use crate::{text, town};

/// The point at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// With a frame on its link that it has not read.
    BeforeRead,
    /// Right after its 100.
    AfterTrying,
    /// Right after its 180.
    AfterRinging,
    /// With its 200 written and not sent.
    BeforeAnswer,
    /// With its 200 sent and `Answered` not.
    AfterAnswer,
    /// With `Answered` sent.
    AfterAnswered,
    /// At a refusal that it has not sent.
    BeforeRefuse,
}

impl CrashPoint {
    pub const ALL: [CrashPoint; 7] = [
        CrashPoint::BeforeRead,
        CrashPoint::AfterTrying,
        CrashPoint::AfterRinging,
        CrashPoint::BeforeAnswer,
        CrashPoint::AfterAnswer,
        CrashPoint::AfterAnswered,
        CrashPoint::BeforeRefuse,
    ];
}

/// Whether a process lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Lives,
    /// It has crashed.
    Crashed,
    /// It has said goodbye and gone.
    Left,
}

/// One life of a worker.
pub struct Process {
    pub slot: WorkerId,
    pub incarnation: Incarnation,
    /// Whether it is held (SIGSTOP), and since when.
    pub held_since: Option<Time>,
    pub doom: Option<CrashPoint>,
    pub pipe: Rc<RefCell<Pipe>>,
    station: Station<MediaServer<Obedient, Silence>>,
    /// The facts that its application has seen and the truth has not been told yet.
    seen: Receiver<Seen>,
    scanner: Scanner,
    own: SocketAddr,
    /// Whether its link took nothing when it was written last.
    blocked: bool,
    crashed: bool,
}

/// Reports leave a third as often as a worker's own, so that most steps are about calls.
const REPORTS: Intervals = Intervals {
    on_change: Duration::from_millis(30),
    under_load: Duration::from_millis(400),
    idle: Duration::from_secs(2),
};

impl Process {
    /// A process that has just been welcomed.
    pub fn new(slot: WorkerId, incarnation: Incarnation, units: u32, pipe: Rc<RefCell<Pipe>>, key: &TokenKey) -> Self {
        let own = town::port_of(slot);
        let welcome = Welcome {
            name: slot.to_string(),
            slot: slot.0,
            token: key.token(incarnation).to_string(),
            incarnation: incarnation.bits(),
            secret: 0,
            key: Some(key.clone()),
            capacity: units,
            advertise: Vec::new(),
            contact_name: None,
            rtp_ports: (20_000, 20_999),
            reply_from: ReplyFrom::Listener,
            sockets: Vec::new(),
            listeners: vec![town::WELL_KNOWN, town::MGCP, town::STREAMS],
            access: Vec::new(),
            mgcp: None,
            features: vec![],
            lan: None,
        };
        let setup = Setup {
            sip: vec![own],
            mgcp: Vec::new(),
            hosts: Vec::new(),
            program: "".into(),
            capacity: None,
            has_gateway: true,
            session_timer: SessionTimer { expires: None, min_se: 90 },
            gate_key: key.clone(),
            seeds: [incarnation.bits(), 7, incarnation.bits(), 7, incarnation.bits()],
        };
        let dispatcher = DispatcherLinks::new(welcome, WorkerEnd::new(), 0, &[true, true, false], REPORTS);
        let (tell, seen) = channel();
        let sessions = MediaServer::new(setup, &dispatcher, Obedient::new(slot, tell), Silence, Time(0));
        let ways = Ways { can_return: true, has_slot: true, answers_while_stopping: true };
        Process {
            slot,
            incarnation,
            held_since: None,
            doom: None,
            pipe,
            station: Station::new(dispatcher, sessions, ways),
            seen,
            scanner: Scanner::new(),
            own,
            blocked: false,
            crashed: false,
        }
    }

    /// Does all that can be done now: reads so many frames from its link, and `inbox`, the datagrams at its own port.
    /// Datagrams that it sends go to `out`.
    pub fn turn(
        &mut self,
        frames: usize,
        inbox: &mut VecDeque<Datagram>,
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) -> Fate {
        if self.held_since.is_some() {
            return Fate::Lives;
        }
        self.read_link(frames, now, truth, out);
        while let Some(datagram) = inbox.pop_front().filter(|_| !self.crashed) {
            let arrival = Arrival::own(0, datagram.from, datagram.to, 1);
            self.station.sessions_mut().on_sip(datagram.text.as_bytes(), arrival, now);
            self.carry_out(now, truth, out);
        }
        if self.crashed {
            return Fate::Crashed;
        }
        self.station.handle_timeout(now);
        self.carry_out(now, truth, out);
        if self.crashed {
            return Fate::Crashed;
        }
        let leaves = self.station.next_step(now) == Next::Leave;
        self.speak(leaves, now, truth);
        match (self.crashed, leaves) {
            (true, _) => Fate::Crashed,
            (_, true) => Fate::Left,
            _ => Fate::Lives,
        }
    }

    /// When it has something to do of itself.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        self.station.poll_timeout(now).filter(|_| self.held_since.is_none())
    }

    /// The link may take frames again; whether it had taken none.
    pub fn on_writable(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Whether nothing is left of any call.
    pub fn is_idle(&self) -> bool {
        let sessions = self.station.sessions();
        sessions.is_idle() && sessions.application().is_idle()
    }

    /// The dispatcher is gone: its last frames are still read, and the account for a new one is sent over `pipe`.
    pub fn come_back(
        &mut self,
        pipe: Rc<RefCell<Pipe>>,
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) -> Option<Brought> {
        self.read_link(usize::MAX, now, truth, out);
        self.station.on_link_end(0, "killed".to_owned());
        self.carry_out(now, truth, out);
        if self.crashed {
            return None;
        }
        (self.pipe, self.blocked) = (pipe, false);
        let (hello, mut account) = self.station.come_back(Hello::default(), now);
        account.transactions.sort_unstable_by_key(|transaction| transaction.name);
        let welcome = self.station.dispatcher().welcome().clone();
        self.station.on_welcome(welcome, 0, &[true, true, false], now);
        let messages = account.messages.into_iter();
        Some(Brought {
            units_used: hello.units_used,
            sessions: hello.sessions,
            draining: hello.draining,
            transactions: account.transactions,
            conferences: account.conferences,
            messages: messages.map(|(envelope, bytes)| Unanswered { envelope, payload: (&*bytes).into() }).collect(),
        })
    }

    fn read_link(&mut self, frames: usize, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        for _ in 0..frames {
            if !self.station.wants_frames(0) || self.crashed {
                return;
            }
            if self.doom == Some(CrashPoint::BeforeRead) && self.pipe.borrow().has_frames() {
                return self.crash();
            }
            let Some(frame) = self.pipe.borrow_mut().worker_recv() else { return };
            for record in records(&frame) {
                if let Record::Message(message) = record {
                    self.witness(&message, now, truth);
                }
            }
            if !self.station.on_frame(0, &frame, now) {
                truth.broken("a frame that ends the worker's link".into());
            }
            self.carry_out(now, truth, out);
        }
    }

    /// Tells the truth of a message that the worker reads.
    fn witness(&mut self, message: &Message<'_>, now: Time, truth: &mut Truth) {
        let deadline = self.pipe.borrow().books.open.get(&message.envelope.seq).and_then(|entry| entry.deadline);
        truth.on_handed(self.incarnation, message, deadline, now);
        let is_readable = match message.envelope.transport {
            Transport::Mgcp => mgcp::parse(message.payload).is_ok(),
            _ => self.scanner.scan(message.payload).is_ok(),
        };
        if !is_readable {
            truth.broken("an unreadable message was handed over".into());
        }
    }

    fn carry_out(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        while !self.crashed {
            let output = self.station.poll_output(now);
            self.tell_seen(now, truth);
            match output {
                None => return,
                Some(Output::Effect(Effect::Sip(transmit))) => self.send(&transmit, now, truth, out),
                Some(Output::Effect(Effect::Mgcp(transmit))) => self.send_mgcp(&transmit, truth, out),
                // The town has no names.
                Some(Output::Effect(Effect::LookUp(whose, _))) => {
                    self.station.sessions_mut().on_found(whose, &[], now);
                }
                Some(Output::Effect(Effect::Access | Effect::Certificates(_)) | Output::DispatcherLost(_)) => {}
            }
        }
    }

    fn tell_seen(&mut self, now: Time, truth: &mut Truth) {
        let life = self.incarnation;
        for seen in self.seen.try_iter() {
            match seen {
                Seen::Incoming { caller: None, .. } => truth.broken("a call came in that nobody made".into()),
                Seen::Incoming { caller: Some(caller), conference, size } => {
                    truth.on_incoming(life, caller, conference.as_deref(), Some(size), now);
                }
                Seen::Established { caller } => truth.on_established(life, caller),
                Seen::Ended { caller, reason } => truth.on_ended(life, caller, reason, now),
            }
        }
    }

    fn send(&mut self, transmit: &Transmit, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        let text = std::str::from_utf8(&transmit.bytes).expect("callers write plain text");
        let (status, is_invite) = (text::status(text), text::method(text) == "INVITE");
        let point = match status.filter(|_| is_invite) {
            Some(100) => Some(CrashPoint::AfterTrying),
            Some(180) => Some(CrashPoint::AfterRinging),
            Some(200..) => Some(CrashPoint::AfterAnswer),
            _ => None,
        };
        if point == Some(CrashPoint::AfterAnswer) && self.doom == Some(CrashPoint::BeforeAnswer) {
            return self.crash();
        }
        if transmit.hop == Hop::Gone {
            return;
        }
        truth.on_sent(Some(self.incarnation), text, now);
        let from = match transmit.hop {
            Hop::Listener(_) => Some(town::WELL_KNOWN),
            Hop::Dial | Hop::DialSecure => Some(town::dialling(self.slot)),
            Hop::Own(_) | Hop::Stream(_) => Some(self.own),
            Hop::Dispatcher(_) | Hop::Permitted(..) | Hop::Gone => None,
        };
        if let Hop::Dispatcher(to) = transmit.hop {
            self.station.reply(to, &transmit.bytes);
        }
        out.extend(from.map(|from| Datagram { from, to: transmit.to, text: text.into() }));
        if point.is_some() && point == self.doom {
            self.crash();
        }
    }

    fn send_mgcp(&mut self, transmit: &Transmit, truth: &mut Truth, out: &mut Vec<Datagram>) {
        let text = std::str::from_utf8(&transmit.bytes).expect("call agents write plain text");
        let makes = text.starts_with("200 ") && text::header(text, "I").is_some();
        if makes && self.doom == Some(CrashPoint::BeforeAnswer) {
            return self.crash();
        }
        truth.on_returned(Some(self.incarnation), text);
        match transmit.hop {
            Hop::Dispatcher(to) => self.station.reply(to, &transmit.bytes),
            _ => out.push(Datagram { from: town::MGCP, to: transmit.to, text: text.into() }),
        }
        if makes && self.doom == Some(CrashPoint::AfterAnswer) {
            self.crash();
        }
    }

    fn speak(&mut self, leaves: bool, now: Time, truth: &mut Truth) {
        // Units that strangers claim are not counted in full. How many are left out is a rule of the user agent and the
        // gateway, which is not checked here.
        let left_out = self.station.sessions().units_not_counted();
        let says = (truth.units_of(self.incarnation) - left_out, self.station.taken_through(0));
        let Process { station, pipe, incarnation, doom, crashed, blocked, .. } = self;
        *blocked = false;
        let mut answered = false;
        let mut send = |_lane, pieces: &[IoSlice<'_>]| -> io::Result<()> {
            let told = || pieces.iter().flat_map(|frame| records(frame));
            let refuses = told().any(|record| matches!(record, Record::Refuse { .. }));
            if refuses && *doom == Some(CrashPoint::BeforeRefuse) {
                *crashed = true;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            pipe.borrow_mut().worker_send(pieces).inspect_err(|_| *blocked = true)?;
            for record in told() {
                match record {
                    Record::Answered(seqs) => {
                        answered = true;
                        seqs.iter().for_each(|seq| truth.on_settled(*incarnation, seq));
                    }
                    Record::Refuse { seq, .. } => truth.on_settled(*incarnation, seq),
                    _ => {}
                }
            }
            Ok(())
        };
        if leaves {
            station.goodbye("stopped", now, &mut send);
        } else {
            // Asked for when a report is made.
            let cpu = || {
                pipe.borrow_mut().books.says = says;
                Duration::ZERO
            };
            station.speak(now, cpu, &mut send, |_| {});
        }
        if answered && self.doom == Some(CrashPoint::AfterAnswered) {
            self.crash();
        }
    }

    fn crash(&mut self) {
        self.crashed = true;
    }
}
