//! A worker process: its end of the link, its user agent, and an application that does what the URI of a call asks for.
//!
//! It carries out the outputs of the two values, as the worker's own loop does, and adds nothing. Its observations go
//! into the [`Truth`].

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::call::gateway::events::Voice;
use pointsman::call::gateway::{self, Gateway};
use pointsman::call::{Arrival, CallKey, Delivery, Event, Hop, Identity, Limits, Output, SessionTimer, Uas};
use pointsman::dispatch::decision::{Brought, Unanswered};
use pointsman::ids::{Incarnation, Seq, TokenKey, TransactionRange, WorkerId};
use pointsman::link::Transmit;
use pointsman::link::worker_end::{FromDispatcher, WorkerEnd};
use pointsman::reservation::Weight;
use pointsman::station::OpenTransactions;
use pointsman::time::Time;
use pointsman::wire::handoff::Record;
use pointsman::wire::mgcp;
use pointsman::wire::sip::{Message, Method, Scanner};
use pointsman::words::{Drain, DrainMode, Envelope, RefuseReason, ReplyFrom, Report, Transport};

use crate::air::Datagram;
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
    uas: Uas,
    gateway: Gateway,
    /// Requests of the gateway beside media; media requests are carried out at once.
    asked: VecDeque<gateway::Output>,
    /// Units of all its sessions, calls and connections alike.
    units: u32,
    back: WorkerEnd,
    /// The number of dispatchers it has had before this one. The holdings are for the next one.
    dispatchers: u64,
    holdings: OpenTransactions,
    scanner: Scanner,
    calls: BTreeMap<CallKey, Talk>,
    /// Legs of each conference, and since when there are some.
    legs: BTreeMap<String, (usize, Time)>,
    /// Deeds that the application does later.
    agenda: BTreeMap<(Time, CallKey), Deed>,
    blocked: bool,
    reported: Option<(Time, (u32, u32, bool))>,
    stopping: Option<Time>,
    own: SocketAddr,
    crashed: bool,
}

/// A call as the application knows it.
struct Talk {
    caller: usize,
    conference: Option<String>,
    wishes: Wishes,
}

/// The wishes in the URI of a call.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    /// Milliseconds before it is answered.
    wait: u64,
    /// Whether it rings meanwhile.
    ring: bool,
    /// The status it is answered with.
    status: u64,
    /// Slots that give it back, as bits.
    refuse: u64,
    /// Milliseconds until the worker hangs up.
    talk: u64,
    /// Whether it is challenged first.
    challenge: bool,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Answer,
    HangUp,
}

const ANSWER: &[u8] =
    b"v=0\r\no=- 7 7 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n";
/// Reports: as the worker's own, but a third as often, so that most steps are about calls.
const ON_CHANGE: Duration = Duration::from_millis(30);
const UNDER_LOAD: Duration = Duration::from_millis(400);
const IDLE: Duration = Duration::from_secs(2);

impl Process {
    /// A process that has just been welcomed.
    pub fn new(slot: WorkerId, incarnation: Incarnation, units: u32, pipe: Rc<RefCell<Pipe>>, key: &TokenKey) -> Self {
        let own = town::port_of(slot);
        let identity = Identity {
            token: key.token(incarnation).as_str().into(),
            own: vec![own],
            listeners: vec![town::WELL_KNOWN],
            duplicates: vec![true],
            advertise: Vec::new(),
            hosts: Vec::new(),
            reply_from: ReplyFrom::Listener,
            program: "".into(),
            seed: [incarnation.bits(), 7],
        };
        let mut holdings = OpenTransactions::default();
        holdings.set_key(Some(key.clone()));
        let limits = Limits { units, ..Limits::default() };
        let gateway = gateway::Identity {
            token: identity.token.clone(),
            hex: String::from_utf8_lossy(key.hex(incarnation).as_bytes()).into(),
            own: Vec::new(),
            own_naming: Vec::new(),
            listeners: vec![town::WELL_KNOWN, town::MGCP],
            naming: Vec::new(),
            duplicates: vec![true, true],
            advertise: Vec::new(),
            aliases: Vec::new(),
            seed: identity.seed,
        };
        let of_gateway = gateway::Limits { units, ..gateway::Limits::default() };
        let voice = Voice {
            token: identity.token.clone(),
            range: TransactionRange::of(slot),
            agents: Vec::new(),
            seed: incarnation.bits(),
        };
        Process {
            gateway: Gateway::new(gateway, voice, of_gateway),
            asked: VecDeque::new(),
            units,
            slot,
            incarnation,
            held_since: None,
            doom: None,
            pipe,
            uas: Uas::new(identity, limits, SessionTimer { expires: None, min_se: 90 }),
            back: WorkerEnd::new(),
            dispatchers: 0,
            holdings,
            scanner: Scanner::new(),
            calls: BTreeMap::new(),
            legs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            blocked: false,
            reported: None,
            stopping: None,
            own,
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
            let Process { uas, scanner, .. } = self;
            if let Ok(message) = scanner.scan(datagram.text.as_bytes()) {
                let arrival = Arrival::own(0, datagram.from, datagram.to, 1).weighing(size_of(&message));
                uas.on_message(&message, &arrival, now);
            }
            self.carry_out(now, truth, out);
        }
        if self.crashed {
            return Fate::Crashed;
        }
        self.uas.handle_timeout(now);
        self.gateway.handle_timeout(now);
        self.carry_out(now, truth, out);
        while let Some(due) = self.agenda.first_entry().filter(|due| due.key().0 <= now) {
            let ((_, key), deed) = due.remove_entry();
            match deed {
                Deed::Answer => self.answer(key, now),
                Deed::HangUp => self.uas.hang_up(key, now),
            }
            self.carry_out(now, truth, out);
        }
        if self.crashed {
            return Fate::Crashed;
        }
        let is_quiet = self.uas.is_quiet() && self.gateway.is_quiet();
        let is_over = self.stopping.is_some_and(|until| is_quiet || until <= now);
        if is_over {
            self.back.goodbye("stopped");
        }
        self.speak(now, truth);
        match (self.crashed, is_over) {
            (true, _) => Fate::Crashed,
            (_, true) => Fate::Left,
            _ => Fate::Lives,
        }
    }

    /// When it has something to do of itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.held_since.is_some() {
            return None;
        }
        let back = self.back.poll_timeout().filter(|_| !self.blocked);
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let values = [self.uas.poll_timeout(), self.gateway.poll_timeout()];
        [Some(self.report_due()), back, agenda, self.stopping].into_iter().chain(values).flatten().min()
    }

    /// The link may take frames again; whether it had taken none.
    pub fn on_writable(&mut self) -> bool {
        std::mem::take(&mut self.blocked)
    }

    /// Whether nothing is left of any call.
    pub fn is_idle(&self) -> bool {
        self.uas.is_idle() && self.gateway.is_idle() && self.calls.is_empty() && self.legs.is_empty()
    }

    /// The number that the present dispatcher gave a message; `None` when it came from an earlier one.
    fn numbered(&self, seq: Seq) -> Option<Seq> {
        (seq.0 >> 32 == self.dispatchers).then_some(Seq(seq.0 & u64::from(u32::MAX)))
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
        self.carry_out(now, truth, out);
        if self.crashed {
            return None;
        }
        self.dispatchers += 1;
        self.back = WorkerEnd::new();
        self.uas.on_dispatcher_lost();
        self.gateway.on_dispatcher_lost();
        (self.pipe, self.blocked, self.reported) = (pipe, false, None);
        let mut transactions = self.holdings.all(now);
        transactions.sort_unstable_by_key(|transaction| transaction.branch);
        let conferences = self.legs.iter().map(|(name, (_, since))| (*since, name.as_bytes().into()));
        let calls = self.gateway.calls().map(|(call, since)| (since, [b"C:", call].concat().into()));
        let conferences = conferences.chain(calls).collect();
        let (units_used, sessions, _) = self.figures();
        let messages = self.holdings.unanswered(self.uas.unanswered()).into_iter();
        let messages = messages.map(|(envelope, bytes)| Unanswered { envelope, payload: (&*bytes).into() }).collect();
        Some(Brought { units_used, sessions, draining: self.uas.is_draining(), transactions, conferences, messages })
    }

    fn read_link(&mut self, frames: usize, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        for _ in 0..frames {
            if !self.back.wants_frames() || self.crashed {
                return;
            }
            if self.doom == Some(CrashPoint::BeforeRead) && self.pipe.borrow().has_frames() {
                return self.crash();
            }
            let Some(frame) = self.pipe.borrow_mut().worker_recv() else { return };
            let mut drains = Vec::new();
            let Process { back, uas, gateway, asked, scanner, incarnation, pipe, dispatchers, holdings, .. } = self;
            let read = back.on_frame(&frame, &mut |event| match event {
                FromDispatcher::Message(message) => {
                    let deadline = pipe.borrow().books.open.get(&message.envelope.seq).and_then(|entry| entry.deadline);
                    truth.on_handed(*incarnation, &message, deadline, now);
                    let seq = Seq(*dispatchers << 32 | message.envelope.seq.0);
                    if message.envelope.transport == Transport::Mgcp {
                        let arrival = Arrival::handed_over(&Envelope { seq, ..message.envelope });
                        let Ok(command) = mgcp::parse(message.payload) else {
                            return truth.broken("an unreadable command was handed over".into());
                        };
                        holdings.on_mgcp(&command, &arrival, now);
                        gateway.on_message(&command, &arrival, now);
                        return settle(gateway, asked, now);
                    }
                    let mut arrival = Arrival::handed_over(&Envelope { seq, ..message.envelope });
                    let Ok(scanned) = scanner.scan(message.payload) else {
                        return truth.broken("an unreadable message was handed over".into());
                    };
                    holdings.on_message(&scanned, &Envelope { seq, ..message.envelope }, now);
                    if arrival.size == 0 && scanned.method() == Some(Method::Invite) {
                        arrival = arrival.weighing(size_of(&scanned));
                    }
                    uas.on_message(&scanned, &arrival, now);
                }
                FromDispatcher::Drain(drain) => drains.push(drain),
                FromDispatcher::Welcome(_) | FromDispatcher::Access(_) | FromDispatcher::Goodbye(_) => {}
            });
            if let Err(error) = read {
                truth.broken(format!("a frame that the worker cannot read: {error}"));
            }
            drains.into_iter().for_each(|drain| self.on_drain(drain, now));
            self.carry_out(now, truth, out);
        }
    }

    fn on_drain(&mut self, drain: Drain, now: Time) {
        match drain.mode {
            DrainMode::Ready if self.stopping.is_none() => self.set_draining(false, now),
            DrainMode::Ready => {}
            DrainMode::Drain => self.set_draining(true, now),
            DrainMode::Stop => {
                self.set_draining(true, now);
                self.gateway.end_all(now);
                self.stopping = Some(now + drain.within);
                let calls: Vec<CallKey> = self.uas.calls().collect();
                calls.into_iter().for_each(|key| self.uas.hang_up(key, now));
            }
        }
    }

    fn set_draining(&mut self, draining: bool, now: Time) {
        self.uas.set_draining(draining);
        self.gateway.set_draining(draining, now);
    }

    fn carry_out(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        self.carry_out_commands(now, truth, out);
        self.uas.set_units(self.units.saturating_sub(self.gateway.load().units_used));
        while let Some(output) = self.uas.poll_output().filter(|_| !self.crashed) {
            match output {
                Output::Standalone(key) => drop(self.uas.refuse_standalone(key, now)),
                Output::Transmit(transmit) => {
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
                    truth.on_sent(Some(self.incarnation), text, now);
                    let from = if let Hop::Listener(_) = transmit.hop { town::WELL_KNOWN } else { self.own };
                    out.push(Datagram { from, to: transmit.to, text: text.into() });
                    if point.is_some() && point == self.doom {
                        return self.crash();
                    }
                }
                Output::Event(key, event) => self.on_event(key, event, now, truth),
                Output::Final { .. } => {}
                Output::Answered(seq) => self.on_settled(seq, now),
                Output::Refuse(seq, reason) => {
                    if self.doom == Some(CrashPoint::BeforeRefuse) {
                        return self.crash();
                    }
                    self.give_back(seq, reason, truth);
                }
                // The town has no names.
                Output::Resolve(key, _) => self.uas.on_resolved(key, &[], now),
            }
        }
    }

    fn on_event(&mut self, key: CallKey, event: Event, now: Time, truth: &mut Truth) {
        match event {
            Event::Incoming { .. } => {
                let talk = self.uas.with_invite(key, |invite| {
                    let bytes = std::str::from_utf8(invite.bytes()).expect("callers write plain text");
                    (text::caller(bytes), conference(invite), Wishes::of(invite, bytes))
                });
                // Its CANCEL came in the same frame: there is nothing to decide any more.
                let Some((caller, conference, wishes)) = talk else { return };
                let Some(caller) = caller else { return truth.broken("a call came in that nobody made".into()) };
                truth.on_incoming(self.incarnation, caller, conference.as_deref(), self.uas.size(key), now);
                self.calls.insert(key, Talk { caller, conference: conference.clone(), wishes });
                let later = (wishes.wait > 0).then(|| now + Duration::from_millis(wishes.wait));
                match later {
                    Some(at) => {
                        if wishes.ring {
                            self.uas.ring(key, 180, None, Delivery::AsRequired, now);
                        }
                        self.agenda.insert((at, key), Deed::Answer);
                    }
                    None => self.answer(key, now),
                }
                if let Some(name) = conference.filter(|_| self.uas.size(key).is_some()) {
                    let (legs, _) = self.legs.entry(name.clone()).or_insert((0, now));
                    *legs += 1;
                    if *legs == 1 {
                        let _ = self.back.group_open(now, name.as_bytes());
                    }
                } else if let Some(talk) = self.calls.get_mut(&key) {
                    talk.conference = None;
                }
            }
            Event::Established => {
                let Some(talk) = self.calls.get(&key) else { return };
                truth.on_established(self.incarnation, talk.caller);
                let talks = Duration::from_millis(talk.wishes.talk.max(1));
                self.agenda.insert((now + talks, key), Deed::HangUp);
            }
            Event::OfferWanted => drop(self.uas.offer_again(key, now)),
            Event::Offer(_) => drop(self.uas.answer_offer(key, ANSWER, now)),
            Event::Answer(_) | Event::Info { .. } => {}
            Event::Ended(reason) => {
                let Some(talk) = self.calls.remove(&key) else { return };
                truth.on_ended(self.incarnation, talk.caller, reason, now);
                self.agenda.retain(|(_, other), _| *other != key);
                if let Some(name) = talk.conference
                    && let Some((legs, _)) = self.legs.get_mut(&name)
                {
                    *legs -= 1;
                    if *legs == 0 {
                        self.legs.remove(&name);
                        let _ = self.back.group_closed(name.as_bytes());
                    }
                }
            }
        }
    }

    fn answer(&mut self, key: CallKey, now: Time) {
        let Some(wishes) = self.calls.get(&key).map(|talk| talk.wishes) else { return };
        if wishes.refuse >> self.slot.0 & 1 == 1 {
            self.uas.refuse(key, RefuseReason::Exhausted, now);
        } else if wishes.challenge {
            self.uas.reject(key, 401, now);
        } else if wishes.status >= 300 {
            self.uas.reject(key, wishes.status as u16, now);
        } else {
            self.uas.accept(key, Some(ANSWER), now);
        }
    }

    fn figures(&self) -> (u32, u32, bool) {
        let (calls, connections) = (self.uas.load(), self.gateway.load());
        let (units, sessions) = (calls.units_used + connections.units_used, calls.sessions + connections.sessions);
        (units, sessions, self.stopping.is_some())
    }

    fn report_due(&self) -> Time {
        let Some((at, figures)) = self.reported else { return Time(0) };
        let now = self.figures();
        at + if figures != now {
            ON_CHANGE
        } else if now.1 > 0 {
            UNDER_LOAD
        } else {
            IDLE
        }
    }

    fn speak(&mut self, now: Time, truth: &mut Truth) {
        if self.report_due() <= now || self.back.report_due() {
            let figures @ (units_used, sessions, draining) = self.figures();
            let covers = self.back.taken_through();
            self.back.report(Report {
                taken_through: covers,
                covers,
                units_used,
                units_total: self.units,
                sessions,
                draining,
                ..Report::default()
            });
            // Units that strangers claim are not counted in full. How many are left out is a rule of the user agent and
            // the gateway, which is not checked here.
            let left_out = self.uas.units_not_counted() + self.gateway.units_not_counted();
            self.pipe.borrow_mut().books.says = (truth.units_of(self.incarnation) - left_out, covers);
            self.reported = Some((now, figures));
        }
        let pipe = self.pipe.clone();
        let mut answered = false;
        let sent = self.back.poll_transmit(now, |pieces: &[IoSlice<'_>]| {
            pipe.borrow_mut().worker_send(pieces)?;
            for record in pieces.iter().flat_map(|frame| records(frame)) {
                match record {
                    Record::Answered(seqs) => {
                        answered = true;
                        seqs.iter().for_each(|seq| truth.on_settled(self.incarnation, seq));
                    }
                    Record::Refuse { seq, .. } => truth.on_settled(self.incarnation, seq),
                    _ => {}
                }
            }
            Ok(())
        });
        self.blocked = matches!(sent, Ok(Transmit::Blocked));
        if answered && self.doom == Some(CrashPoint::AfterAnswered) {
            self.crash();
        }
    }

    /// Carries out the gateway's requests, as the worker's own loop does; its media is a number.
    fn carry_out_commands(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        use gateway::Output;
        settle(&mut self.gateway, &mut self.asked, now);
        while let Some(output) = self.asked.pop_front().filter(|_| !self.crashed) {
            match output {
                Output::Transmit(transmit) => {
                    let text = std::str::from_utf8(&transmit.bytes).expect("call agents write plain text");
                    let makes = text.starts_with("200 ") && text::header(text, "I").is_some();
                    if makes && self.doom == Some(CrashPoint::BeforeAnswer) {
                        return self.crash();
                    }
                    truth.on_returned(Some(self.incarnation), text);
                    match transmit.hop {
                        Hop::Dispatcher(conn) => drop(self.back.reply(conn, text.as_bytes())),
                        _ => out.push(Datagram { from: town::MGCP, to: transmit.to, text: text.into() }),
                    }
                    if makes && self.doom == Some(CrashPoint::AfterAnswer) {
                        return self.crash();
                    }
                }
                // It has been told already.
                Output::Media(..) => {}
                Output::Answered(seq) => self.on_settled(seq, now),
                Output::Refuse(seq, reason) => {
                    if self.doom == Some(CrashPoint::BeforeRefuse) {
                        return self.crash();
                    }
                    self.give_back(seq, reason, truth);
                }
                Output::CallOpened(call, since) => drop(self.back.group_open(since, &[b"C:", &*call].concat())),
                Output::CallClosed(call) => drop(self.back.group_closed(&[b"C:", &*call].concat())),
                Output::Resolve { key, .. } => self.gateway.on_resolved(key, &[], now),
            }
            settle(&mut self.gateway, &mut self.asked, now);
        }
        self.gateway.set_units(self.units.saturating_sub(self.uas.load().units_used));
    }

    /// The dispatcher hears that a message is answered.
    fn on_settled(&mut self, seq: Seq, now: Time) {
        let named = self.holdings.on_answered(seq, now);
        match (self.numbered(seq), named) {
            (Some(seq), _) => self.back.answered(seq, now),
            (None, Some(branch)) => self.back.release(branch),
            (None, None) => {}
        }
    }

    /// The dispatcher gets a message back.
    fn give_back(&mut self, seq: Seq, reason: RefuseReason, truth: &mut Truth) {
        self.holdings.on_refused(seq);
        match self.numbered(seq) {
            Some(seq) => self.back.refuse(seq, reason),
            None => truth.broken(format!("{} gives back what no dispatcher knows", self.slot)),
        }
    }

    fn crash(&mut self) {
        self.crashed = true;
    }
}

/// Tells the gateway what came of the media it asks for; all else that it asks for waits in `asked`.
fn settle(gateway: &mut Gateway, asked: &mut VecDeque<gateway::Output>, now: Time) {
    use gateway::{Ask, Counters, Output, Told};
    while let Some(output) = gateway.poll_output() {
        match output {
            Output::Media(key, Ask::Open { .. }) => gateway.on_media(key, Told::Opened(20_000), now),
            Output::Media(key, Ask::Change(_)) => gateway.on_media(key, Told::Changed, now),
            Output::Media(key, Ask::Close) => gateway.on_media(key, Told::Closed(Counters::default()), now),
            Output::Media(key, Ask::Count) => gateway.on_media(key, Told::Counted(Counters::default()), now),
            other => asked.push_back(other),
        }
    }
}

impl Wishes {
    fn of(invite: &Message<'_>, text: &str) -> Self {
        let number = |name: &str| -> u64 {
            let value = invite.uri().and_then(|uri| std::str::from_utf8(uri.param(name.as_bytes())?).ok());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Wishes {
            wait: number("wait"),
            ring: number("ring") == 1,
            status: number("status"),
            refuse: number("refuse"),
            talk: number("talk"),
            challenge: number("auth") == 1 && text::header(text, "Authorization").is_none(),
        }
    }
}

fn conference(invite: &Message<'_>) -> Option<String> {
    let user = std::str::from_utf8(invite.uri()?.user?).ok()?;
    let name = user.split(';').next()?;
    name.starts_with("conf=").then(|| name.to_owned())
}

fn size_of(message: &Message<'_>) -> Weight {
    let stated = std::str::from_utf8(message.bytes()).ok().and_then(|text| text::header(text, "X-Session-Size"));
    let stated = stated.and_then(|size| size.parse().ok());
    Weight { units: stated.unwrap_or(1), named: stated.is_some() }
}
