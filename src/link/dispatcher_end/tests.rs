use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::ids::{ConnId, GatheringId};
use crate::link::store::SMALLEST;
use crate::pack::Packed;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HARD_LIMIT, MESSAGE_HEADER};
use crate::wire::handoff::{Frame, FrameError};
use crate::words::{Drain, DrainMode, HandedOver, Outcome, RefuseReason, ReplyTo, Report, Room, Welcome};

fn envelope(seq: u64) -> Envelope {
    Envelope {
        received: Time(seq * 10),
        deadline: Some(Time(seq * 10 + 400_000)),
        size: 3,
        source: SocketAddr::from(([192, 0, 2, 1], 5060)),
        local: SocketAddr::from(([192, 0, 2, 9], 5060)),
        ..Envelope::plain(seq)
    }
}

/// The note with a message: any value, which must come back with the message.
const fn note(seq: u64) -> u64 {
    seq + 7
}

/// Sends everything that waits. Returns the frames.
fn transmit(front: &mut DispatcherEnd<u64>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let state = front.poll_transmit(|pieces| {
        frames.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
        Ok(())
    });
    assert_eq!(state.unwrap(), Transmit::Drained);
    frames
}

fn seqs(frame: &[u8]) -> Vec<u64> {
    let record = |record: Result<_, _>| match record.unwrap() {
        Record::Message(message) => Some(message.envelope.seq.0),
        _ => None,
    };
    Frame::parse(frame).unwrap().filter_map(record).collect()
}

/// One frame with a worker's records.
fn said(records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    records.iter().for_each(|record| builder.push(record));
    builder.bytes().to_vec()
}

fn answered(seqs: &[u64]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    builder.push_answered(&seqs.iter().copied().map(Seq).collect::<Vec<_>>());
    builder.bytes().to_vec()
}

/// The front's events for a frame, in short.
fn hear(front: &mut DispatcherEnd<u64>, frame: &[u8]) -> Vec<String> {
    let mut heard = Vec::new();
    let mut sink = |event: FromWorker<'_, u64>| {
        heard.push(match event {
            FromWorker::Answered(all) => {
                return heard.extend(all.iter().map(|(seq, note)| format!("answered {} {}", seq.0, note - 7)));
            }
            FromWorker::Refused { message: returned, reason } => {
                format!("refused {} {reason:?}", returned.envelope.seq.0)
            }
            FromWorker::Report(report) => format!("report {} {}", report.taken_through.0, report.covers.0),
            other => format!("{other:?}"),
        });
    };
    front.on_frame(frame, &mut sink).unwrap();
    heard
}

#[test]
fn a_message_leaves_as_it_came_in_and_is_retained_until_it_is_answered() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(1), note(1), &[b"INVITE ", b"sip:a@b", b" SIP/2.0", b"\r\n", b"\r\n"]).unwrap();
    let frames = transmit(&mut front);
    let records: Vec<_> = Frame::parse(&frames[0]).unwrap().collect();
    let payload = b"INVITE sip:a@b SIP/2.0\r\n\r\n";
    assert_eq!(records, [Ok(Record::Message(crate::words::Message { envelope: envelope(1), payload }))]);
    assert_eq!(front.stats().retained, 1);
    assert_eq!(transmit(&mut front), Vec::<Vec<u8>>::new());
    assert_eq!(hear(&mut front, &answered(&[1])), ["answered 1 1"]);
    let stats = front.stats();
    assert_eq!((stats.retained, stats.retained_bytes, stats.unread), (0, 0, 0));
    assert_eq!((stats.frames, stats.records, stats.bytes), (1, 1, frames[0].len() as u64));
}

#[test]
fn all_messages_of_a_batch_travel_in_one_frame() {
    let mut front = DispatcherEnd::new(SMALLEST);
    for seq in 1..=16 {
        front.push(&envelope(seq), note(seq), &[&[seq as u8; 1100]]).unwrap();
    }
    let frames = transmit(&mut front);
    assert_eq!(frames.iter().map(|frame| seqs(frame)).collect::<Vec<_>>(), [(1..=16).collect::<Vec<_>>()]);
}

#[test]
fn a_frame_is_closed_before_it_would_pass_64_kib_and_a_larger_message_travels_alone() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let just_fits = FRAME_SOFT_LIMIT - FRAME_HEADER - 2 * MESSAGE_HEADER - 1000;
    for (seq, length) in [(1, 1000), (2, just_fits), (3, 1000), (4, just_fits + 1), (5, 65_535), (6, 10)] {
        front.push(&envelope(seq), note(seq), &[&vec![0; length]]).unwrap();
    }
    let frames = transmit(&mut front);
    let together: Vec<_> = frames.iter().map(|frame| seqs(frame)).collect();
    assert_eq!(together, [vec![1, 2], vec![3], vec![4], vec![5], vec![6]]);
    assert_eq!(frames[0].len(), FRAME_SOFT_LIMIT);
    assert!(frames[3].len() > FRAME_SOFT_LIMIT && frames[3].len() <= FRAME_HARD_LIMIT);
}

#[test]
fn a_message_in_many_scattered_blocks_still_leaves_whole() {
    let mut front = DispatcherEnd::new(SMALLEST);
    // Every other block is freed, so that the large message finds no two neighbours.
    for seq in 1..=400 {
        front.push(&envelope(seq), note(seq), &[b"x"]).unwrap();
    }
    transmit(&mut front);
    hear(&mut front, &answered(&(1..=400).step_by(2).collect::<Vec<_>>()));
    let large: Vec<u8> = (0..60_000_u32).map(|at| at as u8).collect();
    front.push(&envelope(401), note(401), &[&large]).unwrap();
    front.push_control(&Record::Ping(0));
    let frames = transmit(&mut front);
    assert_eq!(frames.len(), 1);
    let Some(Ok(Record::Message(message))) = Frame::parse(&frames[0]).unwrap().nth(1) else { panic!("no message") };
    assert_eq!(message.payload, large);
}

#[test]
fn hundreds_of_tiny_messages_are_spread_over_frames() {
    let mut front = DispatcherEnd::new(SMALLEST);
    for seq in 1..=500 {
        front.push(&envelope(seq), note(seq), &[b"x"]).unwrap();
    }
    let frames = transmit(&mut front);
    assert_eq!(frames.iter().flat_map(|frame| seqs(frame)).collect::<Vec<_>>(), (1..=500).collect::<Vec<_>>());
    assert!(frames.len() <= 2, "{}", frames.len());
}

#[test]
fn a_link_that_takes_no_more_gets_the_same_records_later() {
    for code in [11, 105] {
        let mut front = DispatcherEnd::new(SMALLEST);
        for seq in 1..=100 {
            front.push(&envelope(seq), note(seq), &[&[0; 1100]]).unwrap();
        }
        let mut sent = Vec::new();
        let state = front.poll_transmit(|pieces| {
            if sent.len() == 1 {
                return Err(io::Error::from_raw_os_error(code));
            }
            sent.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>());
            Ok(())
        });
        assert_eq!((state.unwrap(), front.wants_transmit()), (Transmit::Blocked, true));
        sent.extend(transmit(&mut front));
        assert_eq!(sent.iter().flat_map(|frame| seqs(frame)).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
        assert_eq!(front.stats().blocked, 1);
    }
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    let gone = front.poll_transmit(|_| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(front.into_orphans().count(), 1, "what could not be sent is still there");
}

#[test]
fn control_records_leave_in_front_of_the_messages_and_are_bounded() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    assert!(front.push_control(&Record::Drain(Drain { mode: DrainMode::Stop, within: std::time::Duration::ZERO })));
    let frames = transmit(&mut front);
    let kinds: Vec<_> =
        Frame::parse(&frames[0]).unwrap().map(|record| matches!(record, Ok(Record::Drain(_)))).collect();
    assert_eq!(kinds, [true, false]);
    let taken = (0..10_000).filter(|number| front.push_control(&Record::Ping(*number))).count();
    assert!((100..1000).contains(&taken), "{taken}");
    front.push(&envelope(2), note(2), &[&[0; 65_535]]).unwrap();
    assert!(transmit(&mut front).iter().all(|frame| frame.len() <= FRAME_HARD_LIMIT));
    assert!(front.push_control(&Record::Ping(0)), "there is room again");
}

#[test]
fn replies_that_found_no_connection_leave_in_frames_of_their_own_and_are_bounded() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let to = ReplyTo::Stream(ConnId(7));
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    assert!(front.push_undelivered(to, b"BYE"));
    let frames = transmit(&mut front);
    assert_eq!(frames.len(), 2);
    let first: Vec<_> = Frame::parse(&frames[0]).unwrap().map(Result::unwrap).collect();
    assert_eq!(first, [Record::Undelivered { to, bytes: b"BYE" }]);
    let taken = (0..2_000).filter(|_| front.push_undelivered(to, &[0; 1_000])).count();
    assert!((900..1_100).contains(&taken), "{taken}");
    assert!(!front.push_undelivered(to, &[0; 65_535]));
    assert!(transmit(&mut front).iter().all(|frame| frame.len() <= FRAME_HARD_LIMIT));
    assert!(front.push_undelivered(to, b"BYE"), "there is room again");
}

#[test]
fn a_refused_message_comes_back_whole() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let payload: Vec<u8> = (0..5000_u32).map(|at| at as u8).collect();
    front.push(&envelope(7), note(7), &[&payload]).unwrap();
    transmit(&mut front);
    let mut back = None;
    let frame = said(&[Record::Refuse { seq: Seq(7), reason: RefuseReason::Full }]);
    front
        .on_frame(&frame, &mut |event| {
            if let FromWorker::Refused { message: returned, reason } = event {
                back = Some((returned, reason));
            }
        })
        .unwrap();
    let returned = HandedOver { envelope: envelope(7), note: note(7), payload, sent: true };
    assert_eq!(back, Some((returned, RefuseReason::Full)));
    assert_eq!(hear(&mut front, &frame), Vec::<String>::new(), "once only");
    assert_eq!((front.stats().retained_bytes, front.stats().faults), (0, 1));
}

#[test]
fn a_message_that_a_worker_of_an_earlier_version_gives_back_is_refused_and_not_lost() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    transmit(&mut front);
    let mut frame = said(&[Record::Refuse { seq: Seq(1), reason: RefuseReason::Full }]);
    // Kind 70 has the layout of a refusal, with a count of hops in the place of the reason.
    frame[FRAME_HEADER] = 70;
    assert_eq!(hear(&mut front, &frame), ["refused 1 Other"]);
    assert_eq!(front.stats().retained, 0);
}

#[test]
fn numbers_that_were_never_sent_are_counted_and_change_nothing() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(5), note(5), &[b"x"]).unwrap();
    transmit(&mut front);
    front.push(&envelope(6), note(6), &[b"not sent yet"]).unwrap();
    let lies = [0, 4, 6, 7, u64::MAX];
    assert_eq!(hear(&mut front, &answered(&lies)), Vec::<String>::new());
    let refused: Vec<_> =
        lies.iter().map(|seq| Record::Refuse { seq: Seq(*seq), reason: RefuseReason::Full }).collect();
    assert_eq!(hear(&mut front, &said(&refused)), Vec::<String>::new());
    assert_eq!((front.stats().faults, front.stats().retained, front.stats().unread), (10, 2, 6));
    assert_eq!(hear(&mut front, &answered(&[5, 5, 5])), ["answered 5 5"]);
    assert_eq!(seqs(&transmit(&mut front)[0]), [6]);
}

#[test]
fn a_worker_that_goes_on_and_on_about_what_cannot_be_loses_its_link() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let lies: Vec<u64> = (1_000..2_000).collect();
    let mut ignore = |_: FromWorker<'_, u64>| {};
    for _ in 0..10 {
        assert_eq!(front.on_frame(&answered(&lies), &mut ignore), Ok(()), "a mistake is no lie");
    }
    assert_eq!(front.on_frame(&answered(&lies), &mut ignore), Err(WorkerFault::Untrue(11_000)));
    // The more messages a worker is handed, the more mistakes it may make: each message is answered twice here.
    let mut front = DispatcherEnd::new(SMALLEST);
    for seq in 1..=20_000 {
        front.push(&envelope(seq), note(seq), &[b"x"]).unwrap();
        transmit(&mut front);
        assert_eq!(front.on_frame(&answered(&[seq, seq]), &mut ignore), Ok(()));
    }
}

#[test]
fn a_worker_that_tells_of_messages_it_was_never_handed_loses_its_link() {
    let outcome = |seq| Record::Outcome(Outcome { seq: Seq(seq), status: 200, why: "all is well" });
    let reply = || Record::Reply { to: ReplyTo::Gathering(GatheringId(1)), bytes: b"200 1\r\n" };
    for lie in [outcome(2), outcome(1), reply(), Record::Pong(7)] {
        let mut front = DispatcherEnd::new(SMALLEST);
        front.push(&envelope(1), note(1), &[b"x"]).unwrap();
        transmit(&mut front);
        let frame = said(&vec![lie.clone(); 1_000]);
        let mut heard = 0;
        let frames = (0..).take_while(|_| front.on_frame(&frame, &mut |_| heard += 1).is_ok()).count();
        assert_eq!(frames, 10, "{lie:?}");
        assert!(heard <= 24, "{heard} times {lie:?} about one message");
    }
    // Two reports about each message are no fault, however many messages there are.
    let mut front = DispatcherEnd::new(SMALLEST);
    for seq in 1..=20_000 {
        front.push(&envelope(seq), note(seq), &[b"x"]).unwrap();
        transmit(&mut front);
        let frame = [outcome(seq), reply(), reply()];
        let mut heard = 0;
        assert_eq!(front.on_frame(&said(&frame), &mut |_| heard += 1), Ok(()));
        assert_eq!(heard, 3);
        front.on_frame(&answered(&[seq]), &mut |_| {}).unwrap();
    }
    assert_eq!(front.stats().faults, 0);
}

#[test]
fn a_report_cannot_cover_what_was_not_sent_nor_come_twice() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    transmit(&mut front);
    let report = |number, seq| Record::Report(Report { number, taken_through: seq, covers: seq, ..Report::default() });
    assert_eq!(hear(&mut front, &said(&[report(3, Seq(u64::MAX))])), ["report 1 1"]);
    assert_eq!(hear(&mut front, &said(&[report(3, Seq(1)), report(2, Seq(1))])), Vec::<String>::new());
    assert_eq!((front.stats().faults, front.stats().unread), (3, 0));
}

#[test]
fn a_worker_that_reads_nothing_has_no_room_until_it_reads_on() {
    let mut front = DispatcherEnd::new(64 << 20);
    let mut seq = 0;
    let mut push = |front: &mut DispatcherEnd<u64>, follows| {
        seq += 1;
        let pushed = front.push(&Envelope { follows, ..envelope(seq) }, note(seq), &[b"x"]);
        transmit(front);
        pushed
    };
    while front.room() == Room::All {
        push(&mut front, false).unwrap();
    }
    assert_eq!((front.room(), front.stats().unread), (Room::Scarce, UNREAD_LIMIT - UNREAD_LIMIT / 4));
    while front.room() == Room::Scarce {
        push(&mut front, false).unwrap();
    }
    assert_eq!(front.stats().unread, UNREAD_LIMIT - UNREAD_LIMIT / 8);
    assert_eq!((front.room(), push(&mut front, false)), (Room::Following, Err(NoRoom::Unread)));
    while front.room() == Room::Following {
        push(&mut front, true).unwrap();
    }
    assert_eq!((front.room(), push(&mut front, true)), (Room::None, Err(NoRoom::Unread)));
    let report = Report { number: 1, taken_through: Seq(8192), ..Report::default() };
    hear(&mut front, &said(&[Record::Report(report)]));
    assert_eq!(front.room(), Room::All);
    assert_eq!(push(&mut front, false), Ok(()));
}

#[test]
fn a_full_store_is_no_room_until_something_is_answered() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let mut seq = 0;
    while front.room().takes_new() {
        seq += 1;
        front.push(&envelope(seq), note(seq), &[&[0; 60_000]]).unwrap();
        transmit(&mut front);
    }
    assert_eq!(front.room(), Room::Following);
    hear(&mut front, &answered(&[3, 5]));
    assert_eq!(front.room(), Room::Scarce);
    hear(&mut front, &answered(&[1, 2]));
    assert_eq!(front.room(), Room::All);
}

#[test]
fn a_full_index_is_no_room_too() {
    let mut front = DispatcherEnd::new(SMALLEST);
    let pushed = (1..).take_while(|seq| front.push(&envelope(*seq), note(*seq), &[b"x"]).is_ok()).count();
    assert_eq!((pushed, front.room()), (1024 - 128, Room::Following));
    let following = |seq| Envelope { follows: true, ..envelope(seq) };
    let followed = (2000..).take_while(|seq| front.push(&following(*seq), note(*seq), &[b"x"]).is_ok()).count();
    assert_eq!((followed, front.room()), (128, Room::None));
}

#[test]
fn a_message_that_cannot_be_handed_over_changes_nothing() {
    let mut front = DispatcherEnd::new(SMALLEST);
    assert_eq!(front.push(&envelope(1), note(1), &[&[0; LARGEST]]), Err(NoRoom::Oversized(LARGEST)));
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    let repeated = front.push(&envelope(1), note(1), &[b"x"]);
    assert_eq!(repeated, Err(NoRoom::Number { seq: Seq(1), last: Seq(1) }));
    assert_eq!(front.stats().retained, 1);
}

#[test]
fn the_dispatchers_own_records_close_a_workers_link() {
    let welcome = Record::Welcome(Welcome {
        name: String::new(),
        slot: 0,
        token: String::new(),
        incarnation: 0,
        secret: 0,
        key: None,
        capacity: 0,
        advertise: Vec::new(),
        contact_name: None,
        rtp_ports: (0, 0),
        reply_from: Default::default(),
        sockets: Vec::new(),
        listeners: Vec::new(),
        access: Vec::new(),
        mgcp: None,
        features: vec![],
        lan: None,
    });
    for (record, name) in [(welcome, "Welcome"), (Record::Ping(1), "Ping")] {
        let refused = <DispatcherEnd<u64>>::new(SMALLEST).on_frame(&said(&[record]), &mut |_| ());
        assert_eq!(refused, Err(WorkerFault::Unexpected(name)));
    }
    let garbage = <DispatcherEnd<u64>>::new(SMALLEST).on_frame(b"GET / HTTP/1.1\r\n", &mut |_| ());
    assert!(matches!(garbage, Err(WorkerFault::Frame(FrameError::Magic(_)))));
}

#[test]
fn a_dead_workers_messages_come_back_in_order_sent_or_not() {
    let mut front = DispatcherEnd::new(SMALLEST);
    for seq in 1..=6 {
        front.push(&envelope(seq), note(seq), &[&[seq as u8; 700]]).unwrap();
    }
    transmit(&mut front);
    hear(&mut front, &answered(&[2, 4]));
    // Places are used again, so the order must not depend on them.
    for seq in 7..=9 {
        front.push(&envelope(seq), note(seq), &[&[seq as u8; 700]]).unwrap();
    }
    let orphans: Vec<_> =
        front.into_orphans().map(|orphan| (orphan.envelope.seq.0, orphan.sent, orphan.payload)).collect();
    let expected = [(1, true), (3, true), (5, true), (6, true), (7, false), (8, false), (9, false)];
    assert_eq!(orphans, expected.map(|(seq, sent)| (seq, sent, vec![seq as u8; 700])));
}

fn taken_over(front: &DispatcherEnd<u64>) -> DispatcherEnd<u64> {
    let mut state = Vec::new();
    front.save(&mut state);
    let mut from = Packed::new(&state);
    let next = DispatcherEnd::restored(SMALLEST, &mut from).unwrap();
    assert!(from.is_empty());
    next
}

#[test]
fn an_order_of_the_operator_waits_for_a_link_that_takes_nothing_also_over_a_takeover() {
    let mut front = DispatcherEnd::new(SMALLEST);
    front.push_control(&Record::Ping(0));
    front.push(&envelope(1), note(1), &[b"x"]).unwrap();
    let frames = transmit(&mut taken_over(&front));
    let records: Vec<_> = Frame::parse(&frames[0]).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(matches!(&records[..], [Record::Ping(0), Record::Message(_)]), "{records:?}");
}

#[derive(Clone, Debug)]
enum Operation {
    Push { length: usize, follows: bool, gap: u64 },
    Transmit { frames: usize },
    Answer { which: usize },
    Refuse { which: usize },
    Lie { seq: u64 },
    Report { behind: u64 },
    TakeOver,
}

fn operation() -> impl Strategy<Value = Operation> {
    let length = prop_oneof![4 => 0..3000_usize, 1 => 0..66_000_usize];
    prop_oneof![
        8 => (length, any::<bool>(), 1..4_u64).prop_map(|(length, follows, gap)| Operation::Push { length, follows, gap }),
        3 => (0..4_usize).prop_map(|frames| Operation::Transmit { frames }),
        4 => any::<usize>().prop_map(|which| Operation::Answer { which }),
        1 => any::<usize>().prop_map(|which| Operation::Refuse { which }),
        1 => prop_oneof![0..500_u64, any::<u64>()].prop_map(|seq| Operation::Lie { seq }),
        1 => (0..20_u64).prop_map(|behind| Operation::Report { behind }),
        1 => Just(Operation::TakeOver),
    ]
}

struct Kept {
    envelope: Envelope,
    payload: Vec<u8>,
    sent: bool,
}

/// A link with sent and unsent messages and a control record, one message answered.
fn saved() -> Vec<u8> {
    let mut front = DispatcherEnd::new(SMALLEST);
    let push =
        |front: &mut DispatcherEnd<u64>, seq| front.push(&envelope(seq), note(seq), &[&[seq as u8; 600]]).unwrap();
    (1..=4).for_each(|seq| push(&mut front, seq));
    transmit(&mut front);
    hear(&mut front, &answered(&[2]));
    (5..=6).for_each(|seq| push(&mut front, seq));
    front.push_control(&Record::Ping(0));
    let mut state = Vec::new();
    front.save(&mut state);
    state
}

#[test]
fn a_link_with_a_damaged_byte_is_refused_or_can_be_used() {
    let state = saved();
    for (at, flip) in (0..state.len()).flat_map(|at| [1, 2, 4, 0x80, 0xff].map(|flip| (at, flip))) {
        let mut changed = state.clone();
        changed[at] ^= flip;
        let Ok(mut front) = <DispatcherEnd<u64>>::restored(SMALLEST, &mut Packed::new(&changed)) else { continue };
        let send = |front: &mut DispatcherEnd<u64>| {
            let mut frames = 0;
            let sent = front.poll_transmit(|_| {
                frames += 1;
                assert!(frames < 1000, "frames without an end: byte {at}, {flip}");
                Ok(())
            });
            assert!(sent.is_ok());
        };
        let _ = front.push(&envelope(9), note(9), &[b"x"]);
        if at % 2 == 0 {
            let _ = front.on_frame(&answered(&[1, 3, 4, 5, 6, 9]), &mut |_| ());
        }
        send(&mut front);
        let _ = front.on_frame(&answered(&[1, 2, 3, 4, 5, 6, 9]), &mut |_| ());
        let _ = (front.stats(), front.room(), front.push(&envelope(10), note(10), &[b"x"]));
        send(&mut front);
        assert!(front.into_orphans().count() <= 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A model of the front: a map and a queue do the same, slowly.
    #[test]
    fn the_front_does_what_a_map_and_a_queue_do(operations in prop::collection::vec(operation(), 1..250)) {
        let mut front = DispatcherEnd::new(SMALLEST);
        let memory = |front: &DispatcherEnd<u64>| (front.held.capacity(), front.vacant.capacity(), front.control.len());
        let at_the_start = memory(&front);
        let mut kept: BTreeMap<u64, Kept> = BTreeMap::new();
        let mut queue = VecDeque::new();
        let mut last = 0;
        let mut report = 0;
        for operation in operations {
            match operation {
                Operation::Push { length, follows, gap } => {
                    let seq = last + gap;
                    let envelope = Envelope { follows, ..envelope(seq) };
                    let payload: Vec<u8> = (0..length).map(|at| (at as u64 ^ seq) as u8).collect();
                    let (one, two) = payload.split_at(length / 3);
                    let promised = front.room();
                    let pushed = front.push(&envelope, note(seq), &[one, two]);
                    if promised.takes_new() || promised == Room::Following && follows {
                        prop_assert_eq!(pushed, Ok(()), "room was promised");
                    }
                    if pushed.is_ok() {
                        last = seq;
                        kept.insert(seq, Kept { envelope, payload, sent: false });
                        queue.push_back(seq);
                    }
                }
                Operation::Transmit { frames } => {
                    let mut got: Vec<Vec<u8>> = Vec::new();
                    let state = front.poll_transmit(|pieces| {
                        if got.len() == frames {
                            return Err(io::ErrorKind::WouldBlock.into());
                        }
                        got.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
                        Ok(())
                    }).unwrap();
                    for frame in &got {
                        let mut records = 0;
                        for record in Frame::parse(frame).unwrap() {
                            let Ok(Record::Message(message)) = record else { panic!("not a message") };
                            let seq = queue.pop_front().expect("nothing else waited");
                            let expected = kept.get_mut(&seq).unwrap();
                            expected.sent = true;
                            prop_assert_eq!(message.envelope, expected.envelope);
                            prop_assert_eq!(message.payload, &expected.payload[..]);
                            records += 1;
                        }
                        prop_assert!(records == 1 || frame.len() <= FRAME_SOFT_LIMIT);
                    }
                    prop_assert_eq!(state == Transmit::Drained, queue.is_empty());
                }
                Operation::Answer { which } => {
                    let Some(&seq) = kept.keys().nth(which % kept.len().max(1)) else { continue };
                    let heard = hear(&mut front, &answered(&[seq]));
                    prop_assert_eq!(heard.len(), usize::from(kept[&seq].sent));
                    if kept[&seq].sent {
                        kept.remove(&seq);
                    }
                }
                Operation::Refuse { which } => {
                    let Some(&seq) = kept.keys().nth(which % kept.len().max(1)) else { continue };
                    let mut back = Vec::new();
                    let frame = said(&[Record::Refuse { seq: Seq(seq), reason: RefuseReason::Late }]);
                    front.on_frame(&frame, &mut |event| {
                        if let FromWorker::Refused { message: returned, .. } = event {
                            back.push(returned);
                        }
                    }).unwrap();
                    if kept[&seq].sent {
                        let Kept { envelope, payload, sent } = kept.remove(&seq).unwrap();
                        prop_assert_eq!(back, [HandedOver { envelope, note: note(seq), payload, sent }]);
                    } else {
                        prop_assert!(back.is_empty());
                    }
                }
                Operation::Lie { seq } if kept.contains_key(&seq) => {}
                Operation::Lie { seq } => prop_assert!(hear(&mut front, &answered(&[seq])).is_empty()),
                Operation::TakeOver => {
                    let (before, room) = (front.stats(), front.room());
                    front = taken_over(&front);
                    prop_assert_eq!((front.stats(), front.room()), (before, room));
                }
                Operation::Report { behind } => {
                    report += 1;
                    let taken_through = Seq(last.saturating_sub(behind));
                    let said = said(&[Record::Report(Report { number: report, taken_through, ..Report::default() })]);
                    prop_assert_eq!(hear(&mut front, &said).len(), 1);
                }
            }
            prop_assert_eq!(memory(&front), at_the_start);
            prop_assert_eq!(front.stats().retained, kept.len() as u64);
            let blocks: usize =
                kept.values().map(|kept| (MESSAGE_HEADER + kept.payload.len()).div_ceil(BLOCK) * BLOCK).sum();
            prop_assert_eq!(front.stats().retained_bytes, blocks as u64);
        }
        let orphans: Vec<_> = front.into_orphans().map(|orphan| (orphan.envelope, orphan.payload, orphan.sent)).collect();
        let expected: Vec<_> = kept.into_values().map(|kept| (kept.envelope, kept.payload, kept.sent)).collect();
        prop_assert_eq!(orphans, expected);
    }

    #[test]
    fn no_workers_bytes_make_the_front_panic_or_grow(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in prop_oneof![64..75_u8, any::<u8>()],
        fixed in 0..100_u16,
    ) {
        let mut front = DispatcherEnd::new(SMALLEST);
        front.push(&envelope(1), note(1), &[b"x"]).unwrap();
        transmit(&mut front);
        let mut frame = frame_header(8 + bytes.len()).to_vec();
        frame.extend_from_slice(&[kind, 0]);
        frame.extend_from_slice(&fixed.to_le_bytes());
        frame.extend_from_slice(&(8 + bytes.len() as u32).to_le_bytes());
        frame.extend_from_slice(&bytes);
        // Any worker's frame can give back or free at most the one message that is retained.
        let _ = front.on_frame(&frame, &mut |_| ());
        prop_assert!(front.stats().retained <= 1);
    }
}

#[test]
fn late_messages_that_have_not_left_are_taken_back_wherever_they_stand_and_the_others_leave() {
    for late in [&[1][..], &[2], &[3], &[1, 2], &[2, 3], &[1, 3], &[1, 2, 3]] {
        let mut front = DispatcherEnd::new(SMALLEST);
        front.push(&Envelope { deadline: Some(Time(1)), ..envelope(10) }, note(10), &[b"sent"]).unwrap();
        transmit(&mut front);
        for seq in 1..=3 {
            let deadline = late.contains(&seq).then_some(Time(5)).or((seq == 2).then_some(Time(100)));
            front.push(&Envelope { deadline, ..envelope(10 + seq) }, note(10 + seq), &[b"unsent"]).unwrap();
        }
        assert_eq!(front.take_late(Time(5)), None, "a deadline that is now has not passed");
        let taken: Vec<u64> =
            std::iter::from_fn(|| front.take_late(Time(6))).map(|it| it.envelope.seq.0 - 10).collect();
        assert_eq!(taken, late);
        front.push(&envelope(20), note(20), &[b"after"]).unwrap();
        let left: Vec<u64> = transmit(&mut front).iter().flat_map(|frame| seqs(frame)).collect();
        let rest = (1..=3).filter(|seq| !late.contains(seq)).map(|seq| seq + 10);
        assert_eq!(left, rest.chain([20]).collect::<Vec<_>>());
        let retained = front.into_orphans().count();
        assert_eq!(retained, 5 - late.len());
    }
}
