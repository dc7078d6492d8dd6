//! A whole call in a worker, without its system calls: INVITE from the link, ACK and BYE at the worker's own port. Its
//! stream is inactive, so that it takes no media.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::call::gateway::{Ask, ConnectionKey, Told};
use pointsman::call::offer::{Capabilities, Local, Offer};
use pointsman::call::{Arrival, CallKey, SessionTimer, Uas};
use pointsman::ids::Incarnation;
use pointsman::link::worker_end::WorkerEnd;
use pointsman::media::{Ports, Session};
use pointsman::station::{DispatcherLinks, Echo, Effect, Intervals, Media, MediaServer, Output, Setup, Station, Ways};
use pointsman::time::Time;
use pointsman::wire::handoff::{FrameBuilder, Record};
use pointsman::words::{Envelope, Message, ReplyFrom, Welcome};

use super::Step;
use super::links::envelope;
use super::messages::inactive_invite;
use super::numbered::{KEY, Numbered};

const CALLER: ([u8; 4], u16) = ([203, 0, 113, 5], 5060);
const FRONT: ([u8; 4], u16) = ([198, 51, 100, 1], 5060);
const OWN: ([u8; 4], u16) = ([198, 51, 100, 1], 5070);
/// Time between two calls: some hundred transactions wait for copies.
const EVERY: Duration = Duration::from_millis(50);

/// Sessions as the process has them, but for the sockets.
struct WithoutSockets {
    capabilities: Capabilities,
    ports: Ports,
    calls: HashMap<CallKey, (Local, Session)>,
}

impl Media for WithoutSockets {
    fn is_exhausted(&self, _: Time) -> bool {
        self.ports.is_exhausted()
    }

    fn has(&self, key: CallKey) -> bool {
        self.calls.contains_key(&key)
    }

    fn echo(&mut self, uas: &mut Uas, key: CallKey, offer: Option<&[u8]>, now: Time) -> bool {
        let (mut local, mut session) = (Local::new(now.0, uas.address(key).unwrap()), Session::new(now.0));
        let offer = Offer::parse(offer.unwrap()).unwrap();
        assert!(offer.lines_to_open(&self.capabilities, &local).unwrap().is_empty());
        let answer = offer.answer(&self.capabilities, &mut local, &[]).unwrap();
        session.heard_from(uas.host_of_peer(key));
        session.apply(&answer.terms(), &mut self.ports);
        self.calls.insert(key, (local, session));
        uas.accept(key, Some(&answer.sdp), now)
    }

    fn on_offer(&mut self, _: &mut Uas, _: CallKey, _: &[u8], _: Time) {}

    fn on_offer_wanted(&mut self, _: &mut Uas, _: CallKey, _: Time) {}

    fn on_answer(&mut self, _: &mut Uas, _: CallKey, _: &[u8], _: Time) {}

    fn on_ended(&mut self, key: CallKey) {
        if let Some((_, mut session)) = self.calls.remove(&key) {
            session.close(&mut self.ports);
        }
    }

    fn carry_out(&mut self, _: ConnectionKey, _: &Ask, _: Time) -> Told {
        Told::Failed
    }
}

/// The part of a call that is measured: a request, what follows it at once, and its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Invite,
    Ack,
    Bye,
}

use Request::{Ack, Bye, Invite};

/// Calls that are answered, and that their callers acknowledge and end.
pub struct Calls {
    part: Request,
    station: Station<MediaServer<Echo, WithoutSockets>>,
    caller: Numbered,
    came: Vec<u8>,
    seq: u64,
    now: Time,
    /// The worker's answer that left last.
    answer: Vec<u8>,
    /// Frames that left on the link.
    frames: u64,
}

impl Calls {
    pub fn new(part: Request) -> Self {
        let welcome = Welcome {
            name: "w2".to_owned(),
            slot: 2,
            token: KEY.token(Incarnation::new(5)).to_string(),
            incarnation: 5,
            secret: 7,
            key: Some(KEY),
            capacity: 1_000_000,
            advertise: Vec::new(),
            contact_name: None,
            rtp_ports: (20_000, 20_999),
            reply_from: ReplyFrom::Listener,
            sockets: Vec::new(),
            listeners: vec![SocketAddr::from(FRONT)],
            access: Vec::new(),
            mgcp: None,
            features: vec![],
            lan: None,
        };
        let setup = Setup {
            sip: vec![SocketAddr::from(OWN)],
            mgcp: Vec::new(),
            hosts: Vec::new(),
            program: "pointsman/0.1.0".into(),
            capacity: None,
            has_gateway: true,
            session_timer: SessionTimer::default(),
            gate_key: KEY,
            seeds: [1; 5],
        };
        let now = Time(1_000_000);
        let media = WithoutSockets {
            capabilities: Capabilities::default(),
            ports: Ports::new((20_000, 20_999), 1),
            calls: HashMap::new(),
        };
        let dispatcher = DispatcherLinks::new(welcome, WorkerEnd::new(), 0, &[true], Intervals::default());
        let sessions = MediaServer::new(setup, &dispatcher, Echo::default(), media, now);
        let ways = Ways { can_return: true, has_slot: true, answers_while_stopping: true };
        let mut calls = Calls {
            part,
            station: Station::new(dispatcher, sessions, ways),
            caller: Numbered::new(inactive_invite(), 10),
            came: Vec::new(),
            seq: 0,
            now,
            answer: Vec::new(),
            frames: 0,
        };
        // After this time as many transactions end as begin.
        for _ in 0..1_000 {
            [Invite, Ack, Bye].into_iter().for_each(|request| calls.do_next(request));
        }
        // Each run is prepared by the requests after the one of the run before.
        [Invite, Ack, Bye].into_iter().take(1 + part as usize).for_each(|request| calls.do_next(request));
        assert!(calls.answer.starts_with(b"SIP/2.0 200 ") && calls.frames > 100);
        calls
    }

    /// Writes the call's next request.
    fn write(&mut self, request: Request) {
        let (method, cseq) = match request {
            Invite => return self.write_invite(),
            Ack => ("ACK", 1),
            Bye => ("BYE", 2),
        };
        let answer = std::str::from_utf8(&self.answer).unwrap();
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let (to, from, call_id) = (field("To: "), field("From: "), field("Call-ID: "));
        self.came = format!(
            "{method} sip:{own} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};branch=z9hG4bKj{call_id}{method};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            own = SocketAddr::from(OWN),
            caller = SocketAddr::from(CALLER),
        )
        .into_bytes();
    }

    fn write_invite(&mut self) {
        self.now = self.now + EVERY;
        self.seq += 1;
        self.caller.next();
        let envelope = Envelope {
            received: self.now,
            deadline: None,
            source: SocketAddr::from(CALLER),
            local: SocketAddr::from(FRONT),
            ..envelope(self.seq)
        };
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Message(Message { envelope, payload: &self.caller.bytes }));
        self.came = frame.bytes().to_vec();
    }

    /// A turn of the process: the request that has come, outputs, timers, a report.
    fn take(&mut self, request: Request) {
        let Calls { station, came, now, answer, frames, .. } = self;
        if request == Invite {
            assert!(station.on_frame(0, came, *now));
        } else {
            let arrival = Arrival::own(0, SocketAddr::from(CALLER), SocketAddr::from(OWN), 1);
            station.sessions_mut().on_sip(came, arrival, *now);
        }
        while let Some(output) = station.poll_output(*now) {
            if let Output::Effect(Effect::Sip(transmit)) = output {
                answer.clear();
                answer.extend_from_slice(&transmit.bytes);
            }
        }
        station.handle_timeout(*now);
        assert!(station.poll_output(*now).is_none());
        let send = |_, _: &[IoSlice<'_>]| {
            *frames += 1;
            Ok(())
        };
        station.speak(*now, || Duration::ZERO, send, |_| {});
    }

    fn do_next(&mut self, request: Request) {
        self.write(request);
        self.take(request);
    }
}

impl Step for Calls {
    fn prepare(&mut self) {
        match self.part {
            Invite => [Ack, Bye].into_iter().for_each(|request| self.do_next(request)),
            Ack => [Bye, Invite].into_iter().for_each(|request| self.do_next(request)),
            Bye => [Invite, Ack].into_iter().for_each(|request| self.do_next(request)),
        }
        self.write(self.part);
    }

    fn run(&mut self) {
        self.take(self.part);
    }
}
