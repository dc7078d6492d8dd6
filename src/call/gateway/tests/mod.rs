//! The gateway by value: commands in, answers out, with a media that records the requests to it.

mod audit;
mod begin;
mod bridge;
mod change;
mod corpus;
mod doubt;
mod end;
mod events;
mod handoff;
mod history;
mod hostile;
mod measure;
mod silence;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::call::exchange::{Arrival, Path, Transmit};
use crate::call::gateway::events::Voice;
use crate::call::gateway::{Ask, ConnectionKey, Counters, Flow, Gateway, Identity, Kind, Limits, Naming, Output, Told};
use crate::ids::{ListenerId, Seq, TransactionRange, WorkerId};
use crate::time::Time;
use crate::wire::mgcp::{Field, Message, Response, parse};
use crate::words::{RefuseReason, ReplyTo, Transport};

const TOKEN: &str = "pm0123456789abcdef";
const HEX: &str = "0123456789abcdef0123";
const AGENT: &str = "192.0.2.1:2727";
const WELL_KNOWN: &str = "192.0.2.9:2427";
const OWN: &str = "192.0.2.9:2431";
const SDP: &str = "v=0\r\no=- 25678 753849 IN IP4 128.96.41.1\r\ns=-\r\nc=IN IP4 128.96.41.1\r\nt=0 0\r\n\
    m=audio 3456 RTP/AVP 0\r\n";

/// A gateway, its media, and a call agent.
struct Rig {
    gateway: Gateway,
    now: Time,
    media: BTreeMap<ConnectionKey, Flow>,
    /// All asks, oldest first.
    asked: Vec<(ConnectionKey, Ask)>,
    /// Whether the media refuses to open and to change.
    broken: bool,
    /// Whether asks stay without answer.
    silent: bool,
    counters: Counters,
    next_port: u16,
    seq: u64,
    agent: SocketAddr,
    outputs: VecDeque<Output>,
}

impl Rig {
    fn new() -> Self {
        Rig::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Rig::of(identity(), limits)
    }

    fn of(identity: Identity, limits: Limits) -> Self {
        Rig {
            gateway: Gateway::new(identity, voice(), limits),
            now: Time(1_000_000_000),
            media: BTreeMap::new(),
            asked: Vec::new(),
            broken: false,
            silent: false,
            counters: Counters::default(),
            next_port: 20_000,
            seq: 0,
            agent: AGENT.parse().unwrap(),
            outputs: VecDeque::new(),
        }
    }

    /// Sends a command to the worker's own port; returns the answer.
    fn send(&mut self, text: &str) -> String {
        self.arrive(text, &Arrival::own(0, self.agent, OWN.parse().unwrap(), 1));
        self.answer()
    }

    /// The same, with a size.
    fn send_sized(&mut self, text: &str, size: u32) -> String {
        self.arrive(text, &Arrival::own(0, self.agent, OWN.parse().unwrap(), size));
        self.answer()
    }

    /// Hands over a message that was placed by selection; returns all outputs.
    fn hand_over(&mut self, text: &str) -> Vec<Output> {
        let arrival = self.handed();
        self.arrive(text, &arrival);
        self.outputs.drain(..).collect()
    }

    fn handed(&mut self) -> Arrival {
        self.seq += 1;
        Arrival {
            path: Path::Handoff { seq: Seq(self.seq), listener: ListenerId(0), reply_to: ReplyTo::Datagram },
            transport: Transport::Mgcp,
            source: self.agent,
            local: WELL_KNOWN.parse().unwrap(),
            size: 1,
            pinned: false,
            follows: false,
            again: false,
            ring_first: false,
            alias: false,
            names_size: false,
            received: None,
            deadline: None,
        }
    }

    fn arrive(&mut self, text: &str, arrival: &Arrival) {
        self.arrive_bytes(text.as_bytes(), arrival);
    }

    fn arrive_bytes(&mut self, bytes: &[u8], arrival: &Arrival) {
        match parse(bytes) {
            Ok(message) => self.gateway.on_message(&message, arrival, self.now),
            Err(unparsable) => self.gateway.on_unparsable(&unparsable, arrival),
        }
        self.settle();
    }

    /// Carries out the gateway's requests to the media; keeps the other outputs.
    fn settle(&mut self) {
        while let Some(output) = self.gateway.poll_output() {
            let Output::Media(key, ask) = output else {
                self.outputs.push_back(output);
                continue;
            };
            self.asked.push((key, ask.clone()));
            if self.silent {
                continue;
            }
            let told = match ask {
                Ask::Open { .. } | Ask::Change(_) if self.broken => Told::Failed,
                Ask::Open { flow, .. } => {
                    assert!(self.media.insert(key, flow).is_none(), "opened twice");
                    self.next_port += 2;
                    Told::Opened(self.next_port - 2)
                }
                Ask::Change(flow) => {
                    *self.media.get_mut(&key).expect("changed while closed") = flow;
                    Told::Changed
                }
                Ask::Close => {
                    self.media.remove(&key).expect("closed twice");
                    Told::Closed(self.counters)
                }
                Ask::Count => Told::Counted(self.counters),
            };
            self.gateway.on_media(key, told, self.now);
        }
    }

    /// The one message that was sent; empty when none was.
    fn answer(&mut self) -> String {
        let mut sent = self.outputs.drain(..).filter_map(transmitted);
        let answer = sent.next().map(|sent| text(&sent)).unwrap_or_default();
        assert_eq!(sent.next(), None, "behind {answer}");
        answer
    }

    /// Lets time pass; returns the messages sent meanwhile.
    fn pass(&mut self, span: Duration) -> Vec<String> {
        let end = self.now + span;
        while let Some(due) = self.gateway.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.gateway.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.outputs.drain(..).filter_map(transmitted).map(|sent| text(&sent)).collect()
    }

    /// Makes a connection on a new endpoint of this kind; returns the endpoint's name and the connection's id.
    fn create(&mut self, kind: &str, id: u32) -> (String, String) {
        let answer = self.send(&format!("CRCX {id} {kind}/$@gw MGCP 1.0\r\nC: {id:x}\r\nM: recvonly\r\n"));
        assert!(answer.starts_with("200 "), "{answer}");
        (param(&answer, Field::SpecificEndpointId), param(&answer, Field::ConnectionId))
    }

    fn units(&self) -> u32 {
        self.gateway.load().units_used
    }

    /// Checks that the gateway holds nothing any more.
    fn check_empty(&self) {
        assert_eq!((self.gateway.load().units_used, self.gateway.load().sessions), (0, 0));
        assert!(self.gateway.is_quiet() && self.media.is_empty());
        assert_eq!(self.gateway.calls().count(), 0);
        assert!(self.gateway.by_id.is_empty() && self.gateway.by_number.is_empty() && self.gateway.lonely.is_empty());
        assert!(self.gateway.jobs.is_empty() && self.gateway.asked.is_empty());
    }
}

fn identity() -> Identity {
    Identity {
        token: TOKEN.into(),
        hex: HEX.into(),
        own: vec![OWN.parse().unwrap()],
        own_naming: vec![Naming::Relay],
        listeners: vec![WELL_KNOWN.parse().unwrap()],
        naming: vec![Naming::Relay],
        duplicates: vec![true],
        advertise: Vec::new(),
        aliases: vec![("rtpbridge".into(), Kind::Bridge), ("mobicents/cnf".into(), Kind::Conference)],
        seed: [1, 2],
    }
}

/// The settings of its own commands. It tells no restarts, because no call agent is configured.
fn voice() -> Voice {
    Voice { token: TOKEN.into(), range: TransactionRange::of(WorkerId(2)), agents: Vec::new(), seed: 3 }
}

fn transmitted(output: Output) -> Option<Transmit> {
    match output {
        Output::Transmit(transmit) => Some(transmit),
        _ => None,
    }
}

fn text(transmit: &Transmit) -> String {
    String::from_utf8(transmit.bytes.to_vec()).unwrap()
}

fn response(answer: &str) -> Response<'_> {
    match parse(answer.as_bytes()) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?} {answer}"),
    }
}

/// The return code of an answer.
fn code(answer: &str) -> u16 {
    response(answer).code().0
}

/// A parameter of an answer; empty when it is not there.
fn param(answer: &str, field: Field) -> String {
    String::from_utf8_lossy(response(answer).param(field).unwrap_or_default()).into_owned()
}

/// The session descriptions of an answer.
fn descriptions(answer: &str) -> Vec<String> {
    response(answer).descriptions().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// The line of a description that starts with `start`.
fn line<'a>(description: &'a str, start: &str) -> &'a str {
    description.lines().find(|line| line.starts_with(start)).unwrap_or_default()
}

fn name(kind: &str, number: u32) -> String {
    format!("{kind}/{TOKEN}/{number}@gw")
}

fn id(number: u32) -> String {
    format!("{HEX}{number:08x}")
}
