use std::time::Duration;

use super::*;
use crate::station::Next;
use crate::wire::handoff::{Frame, FrameBuilder, Record};
use crate::words::{Drain, ReplyFrom};

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
        contact_name: None,
        rtp_ports: (0, 0),
        reply_from: ReplyFrom::Listener,
        sockets: Vec::new(),
        listeners: Vec::new(),
        access: Vec::new(),
        mgcp: None,
        features: Vec::new(),
        lan: None,
    }
}

fn links() -> DispatcherLinks {
    DispatcherLinks::new(welcome("w2"), WorkerEnd::new(), 0, &[], Intervals::default())
}

fn frame(records: &[Record<'_>]) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    records.iter().for_each(|record| frame.push(record));
    frame.bytes().to_vec()
}

fn read(links: &mut DispatcherLinks, frame: &[u8]) -> Heard {
    links.on_frame(0, frame, Time(0), |_, _| true)
}

#[test]
fn of_two_orders_in_one_frame_the_later_one_counts() {
    let mut links = links();
    let order = |mode| Record::Drain(Drain { mode, within: Duration::ZERO });
    let both = frame(&[order(DrainMode::Stop), order(DrainMode::Ready)]);
    assert_eq!(read(&mut links, &both).order, Some(DrainMode::Ready));
    assert!(!links.stage.is_stopping());
    assert_eq!(read(&mut links, &frame(&[order(DrainMode::Stop)])).order, Some(DrainMode::Stop));
}

#[test]
fn a_link_is_over_when_the_dispatcher_says_so_or_sends_an_unreadable_frame() {
    assert_eq!(read(&mut links(), &frame(&[Record::Goodbye("enough")])).over.as_deref(), Some("enough"));
    assert!(read(&mut links(), b"noise").over.is_some());
}

#[test]
fn a_worker_that_has_lost_its_dispatcher_has_the_next_one_by_its_welcome() {
    let mut links = links();
    assert!(links.on_end(0));
    links.on_lost(true, Time(0));
    assert!(!links.is_up() && !links.on_end(0), "it is lost once");
    assert_eq!(links.stage.poll(true, Time(0)), Next::Try);
    links.on_failed(Time(0));
    assert_eq!(
        links.poll_timeout(Report::default()),
        Some(Time(50_500)),
        "nobody is there yet, and w2 waits for its turn"
    );
    assert_eq!(links.stage.poll(true, Time(50_500)), Next::Try);
    let report = Report { sessions: 3, ..Report::default() };
    let hello = links.hello_again(&report, Hello::default(), Vec::new());
    assert_eq!((hello.secret, hello.incarnation, hello.sessions), (Some(7), Some(5), 3));
    links.tell(Change::Closed((*b"conf=1").into()));
    links.on_welcome(welcome("w3"), 0, &[]);
    assert!(links.is_up());
    assert_eq!(links.welcome.name, "w3");
    assert_eq!([0, u64::MAX].map(|now| links.stage.poll(false, Time(now))), [Next::Wait; 2], "it stays without calls");
    assert_eq!(links.poll_timeout(report), Some(Time(0)), "a report is due at once");
    links.tell_meanwhile();
    assert_eq!(links.meanwhile, [], "what has changed meanwhile is told after the welcome");
}

#[test]
fn a_worker_that_leaves_says_goodbye() {
    let mut links = links();
    links.stage.on_stop_signal(Time(0));
    assert_eq!(links.stage.poll(false, Time(0)), Next::Leave);
    let mut sent = Vec::new();
    links.goodbye("stopped", Time(0), |_, pieces| {
        pieces.iter().for_each(|piece| sent.extend_from_slice(piece));
        Ok(())
    });
    let records: Vec<_> = Frame::parse(&sent).unwrap().collect();
    assert!(matches!(records[..], [Ok(Record::Goodbye("stopped"))]), "{records:?}");
}

#[test]
fn a_deadline_of_another_hosts_clock_is_judged_by_the_latest_that_the_clock_may_show() {
    let mut links = links();
    // Asked at 100 ms, heard at 104 ms: their clock is 50 s ahead, give or take 4 ms.
    let (asked, heard) = (Time(100_000), Time(104_000));
    links.set_clock(asked, Time(50_102_000), heard);
    let message = |deadline| {
        let envelope = Envelope { deadline: Some(Time(deadline)), ..Envelope::plain(1) };
        frame(&[Record::Message(crate::words::Message { envelope, payload: b"INVITE" })])
    };
    let mut judged = |deadline| {
        let mut seen = None;
        links.on_frame(0, &message(deadline), heard, |envelope, _| {
            seen = envelope.deadline;
            true
        });
        seen.unwrap()
    };
    assert!(judged(50_105_900) < heard, "it may have passed");
    assert!(judged(50_106_100) >= heard, "it has not passed for certain");
}

#[test]
fn a_worker_on_another_host_asks_for_the_clock_each_second_and_tells_of_conferences_in_the_dispatchers_time() {
    let mut links = links();
    links.set_clock(Time(0), Time(50_000_000), Time(0));
    let said = |links: &mut DispatcherLinks, now| {
        let mut said = Vec::new();
        let send = |_, pieces: &[IoSlice<'_>]| {
            let frame: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            said.extend(Frame::parse(&frame).unwrap().map(|record| format!("{:?}", record.unwrap())));
            Ok(())
        };
        links.speak(Report::default(), Time(now), || Duration::ZERO, send, |_| ());
        said
    };
    assert!(!said(&mut links, 999_999).iter().any(|record| record.starts_with("ClockAsk")));
    assert!(said(&mut links, 1_000_000).contains(&"ClockAsk(Time(1000000))".to_owned()));
    links.tell(Change::Opened((*b"conf=1").into(), Time(2_000_000)));
    let told = said(&mut links, 2_000_000);
    assert!(told.iter().any(|record| record.starts_with("GroupOpen { opened: Time(52000000)")), "{told:?}");
}
