//! Records written and read back; bytes that are no frames.

use std::time::Duration;

use super::frame::put_record_header;
use super::numbers::put_u16;
use super::*;
use crate::ids::{ConnId, ListenerId, Seq, TokenKey};
use crate::time::Time;
use crate::words::{
    AccessAction, AccessRule, Bypass, Dispatched, Drain, DrainMode, Envelope, Hello, LanTerms, Message, Mgcp,
    MgcpListener, OpenTransaction, Outcome, PassedSocket, Permit, RefuseReason, ReplyFrom, ReplyTo, Report, Resume,
    SocketRole, Transport, Welcome, features,
};

fn envelope() -> Envelope {
    Envelope {
        seq: Seq(7),
        received: Time(1_000_001),
        deadline: Some(Time(2_000_002)),
        reply_to: ReplyTo::Stream(ConnId(3)),
        size: 120,
        listener: ListenerId(1),
        transport: Transport::Tcp,
        pinned: true,
        again: false,
        ring_first: false,
        alias: false,
        names_size: false,
        follows: true,
        source: "[fe80::1%5]:5060".parse().unwrap(),
        local: "192.0.2.1:5061".parse().unwrap(),
    }
}

fn access_rules() -> Vec<AccessRule> {
    let rule = |network: &str, prefix, action| AccessRule { network: network.parse().unwrap(), prefix, action };
    vec![
        rule("10.0.0.0", 8, AccessAction::Allow),
        rule("2001:db8::", 32, AccessAction::Deny),
        rule("0.0.0.0", 0, AccessAction::Limit { rate: 20, burst: 60, ban_ms: 300_000 }),
    ]
}

#[test]
fn every_record_comes_back_as_it_was_written() {
    let seqs: Vec<u8> = [4_u64, 9, u64::MAX].iter().flat_map(|seq| seq.to_le_bytes()).collect();
    let welcome = Welcome {
        name: "w2".into(),
        slot: 2,
        token: "pm".into(),
        incarnation: 5,
        secret: 6,
        key: Some(TokenKey::new([7; 32])),
        capacity: 1000,
        advertise: vec!["192.0.2.1".parse().unwrap()],
        contact_name: Some("ms.example.net".into()),
        rtp_ports: (20_000, 20_998),
        reply_from: ReplyFrom::Worker,
        sockets: vec![PassedSocket {
            role: SocketRole::Listener,
            address: "0.0.0.0:5060".parse().unwrap(),
            listener: Some(0),
        }],
        listeners: vec!["0.0.0.0:5060".parse().unwrap()],
        access: access_rules(),
        mgcp: Some(Mgcp {
            aliases: [("rtpbridge".to_owned(), "bridge".to_owned())].into(),
            listeners: vec![MgcpListener {
                listener: 1,
                bypass: Bypass::Domain,
                domain: "w2.ms.example.net".into(),
                own: Some("192.0.2.22:2427".parse().unwrap()),
                call_agent: Some("ca@ca.example.net:2727".into()),
            }],
            timeout_ms: Some(600_000),
            predecessor: Some("pm".into()),
        }),
        features: features::over_a_network(),
        lan: Some(LanTerms { link: 21, lanes: 2 }),
    };
    let report = Report {
        number: 1,
        taken_through: Seq(2),
        covers: Seq(3),
        units_used: 4,
        units_total: 5,
        sessions: 6,
        cpu: 7,
        no_room: true,
        draining: false,
        direct: 8,
        answered: 9,
    };
    let records = [
        Record::Welcome(welcome),
        Record::Message(Message { envelope: envelope(), payload: b"INVITE" }),
        Record::Message(Message {
            envelope: Envelope { transport: Transport::Mgcp, ..envelope() },
            payload: b"CRCX 1 ann/$@ms.example.net MGCP 1.0",
        }),
        Record::Drain(Drain { mode: DrainMode::Stop, within: Duration::from_secs(3) }),
        Record::Ping(11),
        Record::Goodbye("no"),
        Record::Hello(Hello {
            name: Some("w1".into()),
            features: features::over_a_network(),
            resume: Some(Resume { link: 21, lane: 1, frames: 22 }),
            ..Hello::default()
        }),
        Record::Report(report),
        Record::Answered(Seqs(&seqs)),
        Record::Refuse { seq: Seq(12), reason: RefuseReason::Full },
        Record::Reply { to: ReplyTo::Stream(ConnId(13)), bytes: b"SIP/2.0" },
        Record::Access(AccessRules { bytes: &[0; 80], stride: 40 }),
        Record::Certificates,
        Record::Undelivered { to: ReplyTo::Stream(ConnId(14)), bytes: b"BYE" },
        Record::Release(Released(&[8; 32])),
        Record::Holding(Transactions { bytes: &[9; 96], stride: 48 }),
        Record::GroupOpen { opened: Time(15), name: b"conf=1" },
        Record::GroupClosed { name: b"conf=1" },
        Record::Pong(16),
        Record::Outcome(Outcome { seq: Seq(17), status: 488, why: "no format" }),
        Record::Unanswered(Message { envelope: envelope(), payload: b"INVITE" }),
        Record::Clock { asked: Time(18), at: Time(19) },
        Record::ClockAsk(Time(20)),
        Record::Send(Dispatched {
            listener: ListenerId(1),
            to: "[fe80::9%4]:5080".parse().unwrap(),
            permit: Permit::new(u64::MAX),
            from: "2001:db8::1".parse().unwrap(),
            bytes: b"SIP/2.0 200 OK",
        }),
    ];
    let mut builder = FrameBuilder::new();
    records.iter().for_each(|record| builder.push(record));
    let read: Result<Vec<_>, _> = Frame::parse(builder.bytes()).unwrap().collect();
    assert_eq!(read.unwrap(), records);
}

#[test]
fn access_rules_come_back_from_entries_and_those_of_a_newer_version_as_far_as_they_are_known() {
    let mut builder = FrameBuilder::new();
    builder.push_access(&access_rules());
    let frame = builder.bytes().to_vec();
    let Some(Ok(Record::Access(rules))) = Frame::parse(&frame).unwrap().next() else { panic!("no rules") };
    assert_eq!(rules.iter().collect::<Vec<_>>(), access_rules());
    let mut longer: Vec<u8> = rules.bytes.chunks_exact(32).flat_map(|entry| [entry, &[0xff; 8]].concat()).collect();
    assert_eq!(AccessRules { bytes: &longer, stride: 40 }.iter().collect::<Vec<_>>(), access_rules());
    (longer[0], longer[42]) = (9, 9);
    let known: Vec<AccessAction> = AccessRules { bytes: &longer, stride: 40 }.iter().map(|rule| rule.action).collect();
    assert_eq!(known, [AccessAction::Other, access_rules()[2].action]);
    let text = r#"{"network":"10.0.0.0","prefix":8,"action":"greylist","days":3}"#;
    assert_eq!(serde_json::from_str::<AccessRule>(text).unwrap().action, AccessAction::Other);
}

#[test]
fn a_transaction_comes_back_from_an_entry_and_from_the_longer_one_of_a_newer_version() {
    let one = OpenTransaction {
        name: [1; 16],
        call: [2; 16],
        cseq: 3,
        is_invite: true,
        is_answered: false,
        is_cancelled: true,
    };
    let two = OpenTransaction { is_invite: false, is_answered: true, ..one };
    let mut builder = FrameBuilder::new();
    builder.push_holding(&[one, two]);
    builder.push_release(&[[4; 16], [5; 16]]);
    let frame = builder.bytes().to_vec();
    let records: Vec<_> = Frame::parse(&frame).unwrap().map(Result::unwrap).collect();
    let [Record::Holding(held), Record::Release(released)] = records[..] else { panic!("{records:?}") };
    assert_eq!((held.len(), held.iter().collect::<Vec<_>>()), (2, vec![one, two]));
    assert_eq!(released.iter().collect::<Vec<_>>(), [[4; 16], [5; 16]]);
    let longer: Vec<u8> = held.bytes.chunks_exact(40).flat_map(|entry| [entry, &[0xff; 8]].concat()).collect();
    assert_eq!(Transactions { bytes: &longer, stride: 48 }.iter().collect::<Vec<_>>(), [one, two]);
    for (stride, length) in [(0_u16, 0), (39, 39), (40, 41)] {
        let mut fixed = [0; 8];
        put_u16(&mut fixed, 0, stride);
        let mut bad = FrameBuilder::new();
        bad.push_record(75, &fixed, &vec![0; length]);
        assert!(Frame::parse(bad.bytes()).unwrap().next().unwrap().is_err(), "{stride} {length}");
    }
}

#[test]
fn answered_numbers_are_written_in_one_record() {
    let mut builder = FrameBuilder::new();
    builder.push_answered(&[Seq(1), Seq(5)]);
    let mut frame = Frame::parse(builder.bytes()).unwrap();
    let Some(Ok(Record::Answered(seqs))) = frame.next() else { panic!("no Answered record") };
    assert_eq!(seqs.iter().collect::<Vec<_>>(), [Seq(1), Seq(5)]);
    assert_eq!(frame.next(), None);
}

#[test]
fn records_and_fields_of_a_newer_version_are_skipped() {
    let mut bytes = Vec::new();
    let mut longer = [0; RECORD_HEADER + 12];
    put_record_header(&mut longer, 5, 12, RECORD_HEADER + 12);
    longer[RECORD_HEADER] = 42;
    let mut unknown = [0; RECORD_HEADER + 4];
    put_record_header(&mut unknown, 200, 4, RECORD_HEADER + 4);
    bytes.extend_from_slice(&frame_header(longer.len() + unknown.len()));
    bytes.extend_from_slice(&unknown);
    bytes.extend_from_slice(&longer);
    let records: Vec<_> = Frame::parse(&bytes).unwrap().collect();
    assert_eq!(records, [Ok(Record::Ping(42))]);
}

#[test]
fn an_older_ends_records_are_read_without_what_is_gone() {
    let mut frame = FrameBuilder::new();
    frame.push_record(4, &[], &[]);
    frame.push_record(65, &[], br#"{"name":"w1","groups":["room"],"links":2}"#);
    let records: Vec<_> = Frame::parse(frame.bytes()).unwrap().collect();
    assert_eq!(records, [Ok(Record::Hello(Hello { name: Some("w1".into()), links: 2, ..Hello::default() }))]);
}

#[test]
fn bytes_that_are_no_frame_are_refused_with_the_reason() {
    assert_eq!(Frame::parse(b"").unwrap_err(), FrameError::Short { got: 0, stated: 8 });
    assert_eq!(Frame::parse(b"GET / HTTP/1.1").unwrap_err(), FrameError::Magic(0x4547));
    let mut newer = frame_header(0);
    newer[2] = 2;
    assert_eq!(Frame::parse(&newer).unwrap_err(), FrameError::Version(2));
    assert_eq!(Frame::parse(&frame_header(1)).unwrap_err(), FrameError::Short { got: 8, stated: 9 });
    assert_eq!(Frame::parse(&frame_header(80_000)).unwrap_err(), FrameError::Oversized(80_008));
}

#[test]
fn no_cut_or_flipped_byte_makes_the_reader_panic() {
    let mut builder = FrameBuilder::new();
    builder.push(&Record::Message(Message { envelope: envelope(), payload: b"INVITE sip:a@b SIP/2.0" }));
    builder.push(&Record::Hello(Hello::default()));
    let bytes = builder.bytes().to_vec();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            if let Ok(frame) = Frame::parse(&changed) {
                frame.for_each(drop);
            }
        }
        let mut cut = bytes[..at].to_vec();
        if at >= FRAME_HEADER {
            let header = frame_header(at - FRAME_HEADER);
            cut[..FRAME_HEADER].copy_from_slice(&header);
            Frame::parse(&cut).unwrap().for_each(drop);
        }
    }
}

#[test]
fn a_reason_that_is_too_long_or_no_text_is_read_as_far_as_it_goes() {
    let read = |why: &[u8]| {
        let mut builder = FrameBuilder::new();
        builder.push(&Record::Outcome(Outcome { seq: Seq(1), status: 400, why: "" }));
        let mut frame = builder.bytes().to_vec();
        frame.extend_from_slice(why);
        let (whole, record) = (frame.len() as u32, (frame.len() - FRAME_HEADER) as u32);
        frame[4..8].copy_from_slice(&whole.to_le_bytes());
        frame[FRAME_HEADER + 4..FRAME_HEADER + 8].copy_from_slice(&record.to_le_bytes());
        match Frame::parse(&frame).unwrap().next() {
            Some(Ok(Record::Outcome(outcome))) => outcome.why.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(b"so\xffand so"), "so");
    assert_eq!(read(&[b'x'; 500]).len(), Outcome::LONGEST);
}

/// `Hello` and `Welcome` as the version before wrote them, without `features`.
const HELLO_BEFORE: &str = r#"{"name":"w1","secret":3,"incarnation":4,"program":"p","pid":5,"capacity":null,"services":["sip"],"ports":[],"wants-listeners":true,"links":1,"sockets":[],"key":null,"units-used":0,"sessions":0,"draining":false,"transactions":0,"conferences":0,"messages":0}"#;
const WELCOME_BEFORE: &str = r#"{"name":"w1","slot":1,"token":"pm","incarnation":4,"secret":3,"capacity":10,"advertise":[],"rtp-ports":[0,0],"reply-from":"listener","sockets":[],"listeners":["192.0.2.1:5060"]}"#;

#[test]
fn an_end_of_the_version_before_is_understood_and_is_sent_what_it_knows() {
    let frame = |kind, text: &str| {
        let mut frame = FrameBuilder::new();
        frame.push_record(kind, &[], text.as_bytes());
        frame.bytes().to_vec()
    };
    for (kind, text) in [(65, HELLO_BEFORE), (1, WELCOME_BEFORE)] {
        let before = frame(kind, text);
        let record = Frame::parse(&before).unwrap().next().unwrap().unwrap();
        let named = match &record {
            Record::Hello(hello) => &hello.features,
            Record::Welcome(welcome) => &welcome.features,
            other => panic!("{other:?}"),
        };
        assert!(!features::has(named, features::CLOCK) && !features::has(named, features::SEND));
        let mut again = FrameBuilder::new();
        again.push(&record);
        assert_eq!(again.bytes(), before, "{text}");
    }
}
