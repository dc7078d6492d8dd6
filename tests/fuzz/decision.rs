//! The decision as a machine: operations in the order of the input's bytes, its tables looked at after each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use pointsman::config::{Insert, Policy};
use pointsman::dispatch::counters::Kind;
use pointsman::dispatch::decision::{Admin, Brought, Joined, Services};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::reason::Reason;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, Seq, TokenKey, WorkerId};
use pointsman::switch::links::Channel;
use pointsman::switch::owner::Owner;
use pointsman::switch::{LinkRead, Switch, Way};
use pointsman::time::Time;
use pointsman::wire::handoff::{FrameBuilder, Record};
use pointsman::wire::mgcp;
use pointsman::words::Transport;
use pointsman::words::{RefuseReason, ReplyTo, Report};

use crate::runner::Seen;

const KEY: TokenKey = TokenKey::new([9; 32]);
const TABLE_CAP: usize = 12;
const GROUP_CAP: usize = 3;
/// Operations of one input.
const LONGEST: usize = 400;

/// An operation on the dispatcher.
#[derive(Clone, Debug)]
enum Operation {
    /// A message of a caller.
    Message(Spoken),
    /// Bytes of a stranger.
    Bytes(Vec<u8>),
    /// Messages of a call agent, in one datagram.
    Mgcp(Vec<Asked>),
    /// Bytes of a stranger, to an MGCP port.
    MgcpBytes(Vec<u8>),
    /// A worker says something that has the form of a record.
    Says(WorkerId, Word),
    /// A worker says anything.
    Babbles(WorkerId, Vec<u8>),
    Up(WorkerId),
    Back(WorkerId),
    Down(WorkerId),
    Admin(WorkerId, Admin),
    Reload(usize, Policy, Insert),
    Retire(WorkerId),
    Passes(Duration),
    /// The links are written; they take nothing when true.
    Flush(bool),
}

/// A message, by the indices of the values it is made from.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    method: u8,
    call: u8,
    branch: u8,
    cseq: u8,
    to_tag: u8,
    uri: u8,
    extra: u8,
}

/// A message of MGCP, by the indices of the values it is made from.
#[derive(Clone, Copy, Debug)]
struct Asked {
    verb: u8,
    transaction: u8,
    endpoint: u8,
    call: u8,
    extra: u8,
}

/// A worker's record.
#[derive(Clone, Debug)]
enum Word {
    Answered(Vec<Seq>),
    Refused(Seq, RefuseReason),
    Report(Report),
    Opens(u8, Time),
    Closes(u8),
    Goodbye,
    Replies(u8, u8),
}

/// Bytes as a source of choices; zeros when they are used up.
struct Source<'a>(std::slice::Iter<'a, u8>);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn worker(&mut self) -> WorkerId {
        WorkerId(u16::from(self.byte() % 5))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte());
        self.0.by_ref().take(length).copied().collect()
    }

    fn seq(&mut self) -> Seq {
        Seq(match self.byte() {
            255 => u64::MAX,
            number => u64::from(number),
        })
    }

    fn spoken(&mut self) -> Spoken {
        let [method, call, branch, cseq, to_tag, uri, extra] = std::array::from_fn(|_| self.byte());
        Spoken { method, call, branch, cseq, to_tag, uri, extra }
    }

    fn asked(&mut self) -> Asked {
        let [verb, transaction, endpoint, call, extra] = std::array::from_fn(|_| self.byte());
        Asked { verb, transaction, endpoint, call, extra }
    }

    fn word(&mut self) -> Word {
        match self.byte() % 8 {
            0 | 1 => Word::Answered((0..=self.byte() % 4).map(|_| self.seq()).collect()),
            2 => Word::Refused(self.seq(), RefuseReason::ALL[usize::from(self.byte()) % RefuseReason::ALL.len()]),
            3 => Word::Report(Report {
                number: u64::from(self.byte()),
                taken_through: self.seq(),
                covers: self.seq(),
                units_used: u32::from(self.byte()),
                units_total: u32::from(self.byte()),
                no_room: self.byte() == 1,
                draining: self.byte() == 1,
                ..Report::default()
            }),
            4 => Word::Opens(self.byte() % 5, Time(u64::from(self.byte()))),
            5 => Word::Closes(self.byte() % 5),
            7 => Word::Replies(self.byte(), self.byte()),
            _ => Word::Goodbye,
        }
    }

    fn operation(&mut self) -> Operation {
        match self.byte() % 32 {
            0..=9 => Operation::Message(self.spoken()),
            10 => Operation::Bytes(self.bytes()),
            11..=13 => Operation::Says(self.worker(), self.word()),
            14 => Operation::Babbles(self.worker(), self.bytes()),
            15 => Operation::Up(self.worker()),
            16 => Operation::Back(self.worker()),
            17 => Operation::Down(self.worker()),
            18 => Operation::Admin(
                self.worker(),
                [Admin::Ready, Admin::Drain, Admin::Maint][usize::from(self.byte()) % 3],
            ),
            19 => {
                let inserts = [Insert::None, Insert::Header, Insert::RequestUri];
                let [workers, policy, insert] = std::array::from_fn(|_| usize::from(self.byte()));
                Operation::Reload(workers % 5, Policy::ALL[policy % Policy::ALL.len()], inserts[insert % 3])
            }
            20 => Operation::Retire(self.worker()),
            24..=30 => Operation::Mgcp((0..=self.byte() % 5).map(|_| self.asked()).collect()),
            31 => Operation::MgcpBytes(self.bytes()),
            21 => Operation::Passes(Duration::from_millis(1 << (self.byte() % 20))),
            _ => Operation::Flush(self.byte() == 1),
        }
    }
}

/// A link in memory.
#[derive(Clone, Debug, Default)]
struct Wire(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    said: VecDeque<Vec<u8>>,
    is_blocked: bool,
}

impl Channel for Wire {
    fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<()> {
        if self.0.borrow().is_blocked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(frame) = self.0.borrow_mut().said.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(frame.len())
    }

    fn watch_writable(&mut self, _: bool) {}
}

struct Machine {
    switch: Switch<Wire>,
    wires: Vec<Wire>,
    lives: u64,
    /// The incarnation that each slot had last.
    last: [u64; 5],
    now: Time,
    read: u64,
    /// MGCP commands of all that was read, and answers to them.
    commands: u64,
    answered: u64,
}

pub fn seeds() -> Vec<Vec<u8>> {
    let up = |worker: u8| vec![15, worker];
    let invite = |call: u8, uri: u8| vec![0, 0, call, 0, 0, 0, uri, 0];
    let flush = vec![22, 0];
    let story = |parts: &[Vec<u8>]| parts.concat();
    vec![
        // A call: handed over, answered, reported, a BYE.
        story(&[
            up(0),
            up(1),
            invite(0, 0),
            flush.clone(),
            vec![11, 0, 0, 0, 1],
            vec![11, 1, 0, 0, 1],
            vec![0, 3, 0, 1, 1, 1, 0, 0],
        ]),
        // A death with a CANCEL after the INVITE.
        story(&[up(0), up(1), invite(1, 0), vec![0, 1, 1, 0, 0, 0, 0, 0], flush.clone(), vec![17, 0], vec![17, 1]]),
        // Two legs of a conference, one refused.
        story(&[
            up(0),
            up(1),
            invite(2, 1),
            invite(3, 1),
            flush.clone(),
            vec![11, 0, 2, 1, 0],
            vec![12, 1, 2, 1, 0],
            vec![12, 0, 4, 1, 5],
        ]),
        // A full table, and time.
        story(&[up(0), (0..20).flat_map(|call| invite(call, 0)).collect(), vec![21, 19], vec![21, 19], flush.clone()]),
        // A worker that comes back, a reload, a drain.
        story(&[
            up(0),
            invite(0, 0),
            vec![17, 0],
            vec![16, 0],
            vec![19, 3, 1, 1],
            vec![18, 0, 1],
            invite(4, 2),
            vec![20, 0],
            flush.clone(),
        ]),
        // Two legs of a call in one datagram with everyone's audit, an answer, a death.
        story(&[
            up(1),
            up(0),
            vec![24, 2, 0, 1, 0, 1, 0, 0, 2, 0, 1, 3, 7, 3, 3, 0, 0],
            flush.clone(),
            vec![11, 0, 0, 0, 1],
            vec![11, 1, 0, 0, 1],
            vec![11, 0, 7, 1, 1],
            vec![24, 0, 4, 9, 4, 1, 3],
            vec![17, 0],
            vec![24, 0, 4, 9, 4, 1, 3],
            vec![21, 19],
        ]),
    ]
}

pub fn run(input: &[u8], seen: &mut Seen) {
    let rules = Rules { slow_start: Duration::ZERO, ..Rules::default() };
    let keys = Keyring::new(KEY);
    let setup = Setup { rules, keys, table_cap: TABLE_CAP, group_cap: GROUP_CAP, workers: 2, seed: 1 };
    let mut machine = Machine {
        switch: Switch::new(Dispatch::new(setup), Insert::None, 0, Owners::new(0, 1, 0)),
        wires: vec![Wire::default(); 5],
        lives: 0,
        last: [0; 5],
        now: Time(1_000_000_000),
        read: 0,
        commands: 0,
        answered: 0,
    };
    let mut source = Source(input.iter());
    for _ in 0..LONGEST {
        if source.0.len() == 0 {
            break;
        }
        let operation = source.operation();
        machine.apply(operation);
        machine.check();
    }
    let counters = machine.switch.dispatch().counters();
    let kinds = [Kind::HandedOver, Kind::Relayed, Kind::Replied, Kind::Dropped, Kind::Returned];
    for (at, kind) in kinds.into_iter().enumerate() {
        for reason in Reason::all() {
            let count = counters.of_kind(kind, *reason);
            if count > 0 {
                seen.note((at, reason.index(), count.ilog2()));
            }
        }
    }
    seen.note((
        "conflicts",
        counters.group_conflicts.min(3),
        counters.groups_unrecorded.min(3),
        counters.evicted.min(3),
    ));
}

impl Machine {
    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Message(spoken) => {
                let text = self.text(&spoken);
                self.receive(text.as_bytes(), spoken.call);
            }
            Operation::Bytes(bytes) => self.receive(&bytes, 0),
            Operation::Mgcp(messages) => {
                let texts: Vec<String> = messages.iter().map(|asked| self.mgcp_text(asked)).collect();
                self.receive_mgcp(texts.join(".\n").as_bytes());
            }
            Operation::MgcpBytes(bytes) => self.receive_mgcp(&bytes),
            Operation::Says(worker, word) => {
                let frame = word.frame();
                self.hear(worker, frame);
            }
            Operation::Babbles(worker, bytes) => self.hear(worker, bytes),
            Operation::Up(worker) => {
                self.lives += 1;
                self.last[usize::from(worker.0)] = self.lives;
                let joined = self.joined(worker);
                let wire = self.link(worker);
                self.switch.on_link(worker, wire, &joined, now);
            }
            Operation::Back(worker) => {
                let joined = self.joined(worker);
                let wire = self.link(worker);
                let conferences = vec![(Time(3), b"conf=1"[..].into())];
                let brought = Brought { units_used: 3, sessions: 1, conferences, ..Brought::default() };
                self.switch.on_link_back(worker, wire, &joined, &brought, now);
            }
            Operation::Down(worker) => drop(self.switch.on_link_lost(worker, now)),
            Operation::Admin(worker, admin) => self.switch.set_admin(worker, admin, None),
            Operation::Reload(workers, policy, insert) => {
                let rules = Rules { policy, slow_start: Duration::ZERO, ..Rules::default() };
                self.switch.reload(rules, insert, workers, now);
            }
            Operation::Retire(worker) => self.switch.retire(worker, Duration::from_secs(1)),
            Operation::Passes(span) => {
                self.now = now + span;
                self.switch.handle_timeout(self.now);
                while self.switch.poll_hung().is_some() {}
            }
            Operation::Flush(is_blocked) => {
                for (worker, wire) in (0..).map(WorkerId).zip(&self.wires) {
                    wire.0.borrow_mut().is_blocked = is_blocked;
                    self.switch.on_link_event(worker, false, !is_blocked);
                }
                self.switch.flush_links();
            }
        }
        self.switch.flush_answers(|_| ());
    }

    /// As the lane does: the predecessor's link is over before the next begins.
    fn link(&mut self, worker: WorkerId) -> Wire {
        let _ = self.switch.on_link_lost(worker, self.now);
        let wire = Wire::default();
        self.wires[usize::from(worker.0)] = wire.clone();
        wire
    }

    fn joined(&self, worker: WorkerId) -> Joined {
        let address = ([192, 0, 2, 1], 5070 + worker.0).into();
        Joined {
            services: [Services::ALL, Services::SIP, Services::MGCP][usize::from(worker.0 % 4).saturating_sub(1)],
            mgcp: vec![([192, 0, 2, 1], 2430 + worker.0).into()],
            ..Joined::sip(self.incarnation(worker), 10, vec![address])
        }
    }

    fn incarnation(&self, worker: WorkerId) -> Incarnation {
        Incarnation::new(self.last[usize::from(worker.0)] << 8 | u64::from(worker.0))
    }

    fn receive(&mut self, bytes: &[u8], source: u8) {
        let source = ([203, 0, 113, source], 5060).into();
        let (owner, listener) = (Owner::Listener(ListenerId(0)), ListenerId(0));
        let way = Way::of_datagram(owner, listener, Transport::Udp, (source, ([192, 0, 2, 1], 5060).into()), self.now);
        self.switch.on_message(bytes, &way, self.now);
        self.read += 1;
        let mut answers = 0;
        self.switch.flush_answers(|leaving| answers += leaving.len());
        let is_silent = bytes.starts_with(b"ACK") || bytes.starts_with(b"SIP/2.0");
        assert!(answers <= 1 && !(is_silent && answers > 0), "{answers} answers to {}", bytes.escape_ascii());
    }

    fn receive_mgcp(&mut self, bytes: &[u8]) {
        let source = ([203, 0, 113, 1], 2727).into();
        let (owner, listener) = (Owner::Listener(ListenerId(1)), ListenerId(1));
        let way = Way::of_datagram(owner, listener, Transport::Mgcp, (source, ([192, 0, 2, 1], 2427).into()), self.now);
        self.switch.on_message(bytes, &way, self.now);
        self.commands += mgcp::parts(bytes).filter(|part| !part.trim_ascii_start().starts_with(b"0")).count() as u64;
        self.read += mgcp::parts(bytes).count().max(1) as u64;
        // A command that waits for several workers is answered later, maybe together with a copy of it.
        self.switch.flush_answers(|leaving| self.answered += leaving.len() as u64);
        let (answered, commands) = (self.answered, self.commands);
        assert!(answered <= commands, "{answered} answers to {commands} commands; last {}", bytes.escape_ascii());
    }

    fn mgcp_text(&self, asked: &Asked) -> String {
        let Asked { verb, transaction, endpoint, call, extra } = *asked;
        let transaction = transaction % 40 + 1;
        let verbs = ["CRCX", "CRCX", "CRCX", "MDCX", "DLCX", "RQNT", "EPCF", "AUEP", "AUCX", "NTFY", "WINK"];
        let Some(verb) = verbs.get(usize::from(verb % 13)) else {
            let code = if verb % 13 == 11 { "000" } else { "200" };
            let id = u32::from(extra % 5) * 900_000 + u32::from(transaction);
            return format!("{code} {id} OK\n");
        };
        let life = |worker: u8| self.incarnation(WorkerId(u16::from(worker % 5)));
        let name = match endpoint % 8 {
            0..=2 => "ann/$@ms".to_owned(),
            3 => "*@ms".to_owned(),
            4 => format!("ann/{}/1@ms", KEY.token(life(endpoint / 8))),
            5 => format!("ann/{}/$@ms", KEY.token(life(endpoint / 8))),
            6 => format!("ann/$@ms:{}", 2430 + u16::from(endpoint / 8 % 5)),
            _ => "ann/1@ms".to_owned(),
        };
        let connection = KEY.hex(life(extra / 8));
        let extra = match extra % 8 {
            1 => "X-Size: 4\n".to_owned(),
            2 => format!("I: {}01\n", String::from_utf8_lossy(connection.as_bytes())),
            3 => "K: 1-30\n".to_owned(),
            4 => format!("Z2: cnf/{}/1@ms\n", KEY.token(life(extra / 8))),
            5 => "L: x-size:11\n".to_owned(),
            _ => String::new(),
        };
        let call = if call % 4 == 0 { String::new() } else { format!("C: {}\n", call % 4) };
        format!("{verb} {transaction} {name} MGCP 1.0\n{call}{extra}")
    }

    fn hear(&mut self, worker: WorkerId, frame: Vec<u8>) {
        self.wires[usize::from(worker.0)].0.borrow_mut().said.push_back(frame);
        if let LinkRead::Over(..) = self.switch.read_link(worker, self.now) {
            self.switch.on_link_lost(worker, self.now);
        }
    }

    fn text(&self, spoken: &Spoken) -> String {
        let Spoken { method, call, branch, cseq, to_tag, uri, extra } = *spoken;
        let methods = ["INVITE", "CANCEL", "ACK", "BYE", "OPTIONS", "MESSAGE", "UPDATE", "SUBSCRIBE"];
        let method = methods[usize::from(method) % methods.len()];
        let (call, branch, cseq) = (call % 24, branch % 3, cseq % 3);
        let token = |worker: u8| KEY.token(self.incarnation(WorkerId(u16::from(worker % 5))));
        let to_tag = match to_tag {
            0 => String::new(),
            1..=100 => format!(";tag={}-1", token(to_tag)),
            101..=150 => format!(";tag={}", KEY.token(Incarnation::new(77))),
            _ => ";tag=stranger".to_owned(),
        };
        let uri = match uri % 8 {
            0 | 7 => "sip:ivr@192.0.2.1".to_owned(),
            at @ 1..=4 => format!("sip:conf={at}@192.0.2.1"),
            5 => format!("sip:ivr@192.0.2.1:{}", 5070 + u16::from(uri / 8 % 5)),
            _ => format!("sip:{}@192.0.2.1", token(uri / 8)),
        };
        let extra = match extra % 6 {
            1 => format!("Replaces: x;to-tag={};from-tag=f\r\n", token(extra / 6)),
            2 => "X-Session-Size: 11\r\n".to_owned(),
            3 => format!("Authorization: Digest nonce=\"{}\"\r\n", token(extra / 6)),
            4 => "Route: <sip:192.0.2.1;lr>\r\n".to_owned(),
            5 => "X-Session-Size: 4\r\n".to_owned(),
            _ => String::new(),
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK-{call}-{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=f{call}\r\nTo: <sip:ivr@192.0.2.1>{to_tag}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:a@203.0.113.5>\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }

    fn check(&self) {
        self.switch.check();
        assert_eq!(self.switch.totals().received, self.read);
        let dispatch = self.switch.dispatch();
        let counters = dispatch.counters();
        assert_eq!(counters.received, counters.handed_over + counters.relayed + counters.replied + counters.dropped);
        assert!(dispatch.table_len() <= TABLE_CAP && dispatch.conferences() <= GROUP_CAP);
        for (worker, link) in self.switch.links().iter() {
            let stats = link.front.stats();
            assert!(stats.retained_bytes <= 1 << 20);
            let handoffs = dispatch.pool().get(worker).map_or(0, |slot| slot.handoffs);
            // A command is acknowledged once at most (`K:`), by a record that is in no total.
            assert!(stats.retained <= handoffs + counters.relayed + counters.returned + self.commands);
        }
    }
}

impl Word {
    fn frame(&self) -> Vec<u8> {
        let mut builder = FrameBuilder::new();
        let name = |group: &u8| if *group > 2 { format!("C:{group}") } else { format!("conf={group}") };
        match self {
            Word::Answered(seqs) => builder.push_answered(seqs),
            Word::Refused(seq, reason) => builder.push(&Record::Refuse { seq: *seq, reason: *reason }),
            Word::Report(report) => builder.push(&Record::Report(*report)),
            Word::Opens(conference, opened) => {
                builder.push(&Record::GroupOpen { opened: *opened, name: name(conference).as_bytes() });
            }
            Word::Closes(conference) => builder.push(&Record::GroupClosed { name: name(conference).as_bytes() }),
            Word::Goodbye => builder.push(&Record::Goodbye("")),
            Word::Replies(conn, code) => {
                let code = ["100", "200", "250", "500", "x"][usize::from(code % 5)];
                let bytes = format!("{code} 1 OK\nZ: ann/1@ms\nZN: 1\n");
                builder.push(&Record::Reply { to: ReplyTo::of(u64::from(*conn)), bytes: bytes.as_bytes() });
            }
        }
        builder.bytes().to_vec()
    }
}
