use std::net::SocketAddr;

use super::*;
use crate::call::gateway::{Ask, ConnectionKey, Told};
use crate::call::{Arrival, CallKey, Hop, SessionTimer, Uas};
use crate::ids::{ConnId, Incarnation, TokenKey};
use crate::link::worker_end::WorkerEnd;
use crate::wire::handoff::{FrameBuilder, Record};
use crate::words::{Envelope, Message, ReplyFrom, Transport};

/// An application that turns calls down, or lets them ring.
struct Reception {
    is_closed: bool,
}

impl Application for Reception {
    fn on_call(&mut self, call: &mut Call<'_>) {
        if self.is_closed {
            call.reject(486).unwrap();
        }
    }
}

struct NoMedia;

impl Media for NoMedia {
    fn is_exhausted(&self, _now: Time) -> bool {
        false
    }

    fn has(&self, _key: CallKey) -> bool {
        false
    }

    fn echo(&mut self, _uas: &mut Uas, _key: CallKey, _offer: Option<&[u8]>, _now: Time) -> bool {
        false
    }

    fn on_offer(&mut self, _uas: &mut Uas, _key: CallKey, _offer: &[u8], _now: Time) {}

    fn on_offer_wanted(&mut self, _uas: &mut Uas, _key: CallKey, _now: Time) {}

    fn on_answer(&mut self, _uas: &mut Uas, _key: CallKey, _answer: &[u8], _now: Time) {}

    fn on_ended(&mut self, _key: CallKey) {}

    fn carry_out(&mut self, _key: ConnectionKey, _ask: &Ask, _now: Time) -> Told {
        Told::Failed
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn station(is_closed: bool) -> Station<MediaServer<Reception, NoMedia>> {
    let key = TokenKey::new([1; 32]);
    let welcome = Welcome {
        name: "w2".to_owned(),
        slot: 2,
        token: key.token(Incarnation::new(5)).to_string(),
        incarnation: 5,
        secret: 7,
        key: Some(key.clone()),
        capacity: 1_000,
        advertise: Vec::new(),
        contact_name: None,
        rtp_ports: (20_000, 20_099),
        reply_from: ReplyFrom::Listener,
        sockets: Vec::new(),
        listeners: vec![address("192.0.2.1:5060")],
        access: Vec::new(),
        mgcp: None,
        features: vec![],
        lan: None,
    };
    let setup = Setup {
        sip: vec![address("192.0.2.1:5071")],
        mgcp: Vec::new(),
        hosts: Vec::new(),
        program: "".into(),
        capacity: None,
        has_gateway: false,
        session_timer: SessionTimer { expires: None, min_se: 90 },
        gate_key: key,
        seeds: [1; 5],
    };
    let dispatcher = DispatcherLinks::new(welcome, WorkerEnd::new(), 0, &[true], Intervals::default());
    let sessions = MediaServer::new(setup, &dispatcher, Reception { is_closed }, NoMedia, Time(0));
    Station::new(dispatcher, sessions, Ways { can_return: true, has_slot: true, answers_while_stopping: true })
}

fn invite(number: u16) -> String {
    format!(
        "INVITE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:b@198.51.100.1>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:b@198.51.100.1>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn hand_over(station: &mut Station<MediaServer<Reception, NoMedia>>, number: u16) {
    let envelope = Envelope { size: 1, source: address("127.0.0.1:5060"), ..Envelope::plain(number.into()) };
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Message(Message { envelope, payload: invite(number).as_bytes() }));
    assert!(station.on_frame(0, frame.bytes(), Time(0)));
}

/// The outputs, until there are none: the statuses of responses, and what becomes of the duplicates.
fn outputs(station: &mut Station<MediaServer<Reception, NoMedia>>) -> Vec<String> {
    std::iter::from_fn(|| station.poll_output(Time(0)))
        .map(|output| match output {
            Output::Effect(Effect::Sip(transmit)) => String::from_utf8_lossy(&transmit.bytes[8..11]).into_owned(),
            Output::DispatcherLost(lost) => format!("{lost:?}"),
            Output::Effect(other) => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn answers_for_the_dispatcher_come_out_before_the_end_of_its_link() {
    let mut station = station(true);
    hand_over(&mut station, 1);
    station.on_link_end(0, "it is gone".to_owned());
    station.on_link_end(0, "the poll says so again".to_owned());
    assert_eq!(outputs(&mut station), ["486", "LeftToTheNext"]);
    assert!(!station.wants_frames(0));
    assert_eq!(station.next_step(Time(0)), Next::Try);
}

#[test]
fn a_worker_that_stops_ends_all_its_calls_however_many_and_keeps_its_sockets_for_the_answers() {
    let mut station = station(false);
    (1..=200).for_each(|number| hand_over(&mut station, number));
    outputs(&mut station);
    station.on_stop_signal(Time(0));
    assert_eq!(station.next_step(Time(0)), Next::Wait);
    assert_eq!(outputs(&mut station), vec!["480"; 200]);
    station.on_link_end(0, "it is gone".to_owned());
    assert_eq!(outputs(&mut station), ["Kept"]);
}

#[test]
fn a_new_dispatcher_is_told_of_calls_that_wait_and_of_answers_to_them() {
    let mut station = station(false);
    hand_over(&mut station, 1);
    station.on_link_end(0, "it is gone".to_owned());
    outputs(&mut station);
    let (hello, account) = station.come_back(Hello::default(), Time(0));
    assert_eq!((hello.secret, hello.sessions), (Some(7), 1));
    assert_eq!((account.transactions.len(), account.messages.len()), (1, 1));
    let welcome = station.dispatcher().welcome().clone();
    station.on_welcome(welcome, 0, &[true], Time(0));
    let mut frames = 0;
    let send = |lane, _: &[IoSlice<'_>]| {
        assert_eq!(lane, 0);
        frames += 1;
        Ok(())
    };
    station.speak(Time(0), || Duration::ZERO, send, |_| {});
    assert_eq!(frames, 1, "a report leaves at once");
}

/// The station weighs a call that an [`Arrival`] at the own port begins: no dispatcher has done it.
#[test]
fn a_call_at_the_own_port_is_reported_with_its_size() {
    let mut station = station(false);
    let text = invite(1).replace("Content-Length", "X-Session-Size: 40\r\nContent-Length");
    let arrival = Arrival::own(0, address("127.0.0.1:5060"), address("192.0.2.1:5071"), 1);
    station.sessions_mut().on_sip(text.as_bytes(), arrival, Time(0));
    assert_eq!(station.sessions().report(Time(0)).units_used, 40);
}

/// A dispatcher that holds the callers' connections gives back what it cannot write.
#[test]
fn an_answer_that_the_dispatcher_gives_back_is_dialled() {
    let mut station = station(true);
    let text = invite(1).replace("/UDP", "/TCP");
    let reply_to = ReplyTo::Stream(ConnId(7));
    let envelope = Envelope { size: 1, transport: Transport::Tcp, reply_to, ..Envelope::plain(1) };
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Message(Message { envelope, payload: text.as_bytes() }));
    assert!(station.on_frame(0, frame.bytes(), Time(0)));
    let sent = |station: &mut Station<_>| match station.poll_output(Time(0)) {
        Some(Output::Effect(Effect::Sip(transmit))) => transmit,
        other => panic!("{other:?}"),
    };
    let answer = sent(&mut station);
    assert_eq!(answer.hop, Hop::Dispatcher(reply_to));
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Undelivered { to: reply_to, bytes: &answer.bytes });
    assert!(station.on_frame(0, frame.bytes(), Time(0)));
    let again = sent(&mut station);
    assert_eq!((again.hop, again.to, &again.bytes), (Hop::Dial, address("192.0.2.9:5060"), &answer.bytes));
}
