use std::io::IoSlice;
use std::time::Duration;

use super::*;
use crate::net::unix::SeqPacket;
use crate::wire::handoff::{Frame, FrameBuilder, Record};
use crate::words::{Drain, ReplyFrom};
use crate::worker::comeback::Account;
use crate::worker::link::LinkEnd;

fn welcome(name: &str) -> Welcome {
    Welcome {
        name: name.to_owned(),
        slot: 2,
        token: String::new(),
        incarnation: 5,
        secret: 7,
        key: None,
        capacity: 10,
        advertise: Vec::new(),
        rtp_ports: (0, 0),
        reply_from: ReplyFrom::Listener,
        sockets: Vec::new(),
        listeners: Vec::new(),
        access: Vec::new(),
        mgcp: None,
    }
}

/// A tie, and the dispatcher's end of it.
fn tie() -> (Tie, SeqPacket) {
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let (link, back, own) = (LinkEnd::on(ours), WorkerEnd::new(), OwnPorts::default());
    let introduced = Introduced { link, back, welcome: welcome("w2"), own, listeners: Vec::new(), more: Vec::new() };
    (Tie::new(introduced, &Poll::new().unwrap()).unwrap().0, theirs)
}

fn say(dispatcher: &SeqPacket, records: &[Record<'_>]) {
    let mut frame = FrameBuilder::new();
    records.iter().for_each(|record| frame.push(record));
    dispatcher.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
}

fn read(tie: &mut Tie) -> Option<Heard> {
    tie.read(0, Time(0), |_, _| true)
}

#[test]
fn of_two_orders_in_one_frame_the_later_one_counts() {
    let (mut tie, dispatcher) = tie();
    let order = |mode| Record::Drain(Drain { mode, within: Duration::ZERO });
    say(&dispatcher, &[order(DrainMode::Stop), order(DrainMode::Ready)]);
    assert_eq!(read(&mut tie).and_then(|heard| heard.order), Some(DrainMode::Ready));
    assert!(!tie.stage.is_stopping());
    say(&dispatcher, &[order(DrainMode::Stop)]);
    assert_eq!(read(&mut tie).and_then(|heard| heard.order), Some(DrainMode::Stop));
    assert!(read(&mut tie).is_none(), "there is no more for now");
}

#[test]
fn a_link_is_over_when_the_dispatcher_says_so_or_is_gone_or_says_what_nobody_can_read() {
    let over = |said: &dyn Fn(SeqPacket) -> SeqPacket| {
        let (mut tie, dispatcher) = tie();
        let _kept = said(dispatcher);
        read(&mut tie).and_then(|heard| heard.over)
    };
    let goodbye = |dispatcher| {
        say(&dispatcher, &[Record::Goodbye("enough")]);
        dispatcher
    };
    assert_eq!(over(&goodbye).as_deref(), Some("enough"));
    assert_eq!(over(&|_| SeqPacket::pair().unwrap().0).as_deref(), Some("the dispatcher is gone"));
    let noise = |dispatcher: SeqPacket| {
        dispatcher.send(&[IoSlice::new(b"noise")], &[]).unwrap();
        dispatcher
    };
    assert!(over(&noise).is_some());
}

#[test]
fn a_worker_that_has_lost_its_dispatcher_is_tied_to_the_next_one_by_its_welcome() {
    let (mut tie, _) = tie();
    tie.on_dispatcher_lost(true, Time(0));
    assert_eq!(tie.poll(true, Time(0)), Next::Try);
    tie.on_hello(Err(io::ErrorKind::NotFound.into()), Time(0));
    assert_eq!(
        tie.poll_timeout(Report::default()),
        Some(Time(50_500)),
        "nobody is there yet, and w2 waits for its turn"
    );
    assert_eq!(tie.poll(true, Time(50_500)), Next::Try);
    let (ours, next) = SeqPacket::pair().unwrap();
    let report = Report { sessions: 3, ..Report::default() };
    let hello = tie.hello_again(&report, Hello::default());
    assert_eq!((hello.secret, hello.incarnation, hello.sessions), (Some(7), Some(5), 3));
    tie.on_hello(Comeback::begin(LinkEnd::on(ours), hello, &[], Account::default(), Time(0)), Time(0));
    let poll = Poll::new().unwrap();
    assert!(!tie.on_comeback(&poll, Time(0)) && tie.is_coming_back(), "it has not answered yet");
    say(&next, &[Record::Welcome(welcome("w3"))]);
    assert!(tie.on_comeback(&poll, Time(0)) && !tie.is_coming_back() && tie.links.is_up());
    assert_eq!(tie.welcome.name, "w3");
    assert_eq!([0, u64::MAX].map(|now| tie.poll(false, Time(now))), [Next::Wait; 2], "it stays without calls");
    assert_eq!(tie.poll_timeout(report), Some(Time(0)), "a report is due at once");
}

#[test]
fn a_worker_that_leaves_says_goodbye() {
    let (mut tie, dispatcher) = tie();
    tie.stage.on_stop_signal(Time(0));
    assert_eq!(tie.poll(false, Time(0)), Next::Leave);
    let mut frame = [0; 4096];
    let length = dispatcher.recv(&mut frame, &mut Vec::new()).unwrap();
    let records: Vec<_> = Frame::parse(&frame[..length]).unwrap().collect();
    assert!(matches!(records[..], [Ok(Record::Goodbye("stopped"))]), "{records:?}");
}
