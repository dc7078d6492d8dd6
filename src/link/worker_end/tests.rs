use std::net::SocketAddr;

use super::*;
use crate::link::dispatcher_end::{DispatcherEnd, FromWorker};
use crate::link::store::SMALLEST;
use crate::words::Room;
use crate::words::{Envelope, ReplyTo};

const NOW: Time = Time(1_000_000);

fn frame(records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    records.iter().for_each(|record| builder.push(record));
    builder.bytes().to_vec()
}

fn message(seq: u64, payload: &[u8]) -> Record<'_> {
    let here = SocketAddr::from(([127, 0, 0, 1], 5060));
    let envelope = Envelope { received: NOW, source: here, local: here, ..Envelope::plain(seq) };
    Record::Message(Message { envelope, payload })
}

/// Sends everything that is due. Returns the frames.
fn transmit(back: &mut WorkerEnd, now: Time) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let state = back.poll_transmit(now, |pieces| {
        frames.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
        Ok(())
    });
    assert_eq!(state.unwrap(), Transmit::Drained);
    frames
}

/// The records that are due, in short.
fn due(back: &mut WorkerEnd, now: Time) -> Vec<String> {
    let frames = transmit(back, now);
    let text = |record: Result<Record<'_>, _>| match record.unwrap() {
        Record::Answered(seqs) => format!("Answered {:?}", seqs.iter().map(|seq| seq.0).collect::<Vec<_>>()),
        Record::Report(report) => format!("Report {} {} {}", report.number, report.taken_through.0, report.covers.0),
        record => format!("{record:?}"),
    };
    frames.iter().flat_map(|frame| Frame::parse(frame).unwrap().map(text)).collect()
}

fn read(back: &mut WorkerEnd, bytes: &[u8]) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut sink = |event: FromDispatcher<'_>| {
        if let FromDispatcher::Message(message) = event {
            seqs.push(message.envelope.seq.0);
        }
    };
    back.on_frame(bytes, &mut sink).unwrap();
    seqs
}

#[test]
fn messages_come_in_order_and_the_last_is_known_as_read() {
    let mut back = WorkerEnd::new();
    assert_eq!(read(&mut back, &frame(&[message(1, b"a"), message(2, b"b"), message(5, b"c")])), [1, 2, 5]);
    assert_eq!(back.taken_through(), Seq(5));
}

#[test]
fn answered_numbers_wait_ten_milliseconds_for_company() {
    let mut back = WorkerEnd::new();
    assert_eq!(back.poll_timeout(), None);
    back.answered(Seq(3), NOW);
    back.done(Seq(1), NOW + Duration::from_millis(4));
    assert_eq!(back.poll_timeout(), Some(NOW + ANSWERED_WITHIN));
    assert_eq!(due(&mut back, NOW + Duration::from_micros(9_999)), Vec::<String>::new());
    assert_eq!(due(&mut back, NOW + ANSWERED_WITHIN), ["Answered [3, 1]"]);
    assert_eq!((back.poll_timeout(), due(&mut back, NOW + ANSWERED_WITHIN * 2).len()), (None, 0));
}

#[test]
fn many_answered_numbers_leave_at_once() {
    let mut back = WorkerEnd::new();
    (0..256).for_each(|seq| back.answered(Seq(seq), NOW));
    assert_eq!(back.poll_timeout(), Some(Time(0)));
    assert_eq!(due(&mut back, NOW).len(), 1);
}

#[test]
fn a_refusal_leaves_at_once_and_takes_answered_numbers_along() {
    let mut back = WorkerEnd::new();
    back.answered(Seq(1), NOW);
    back.refuse(Seq(2), RefuseReason::Full);
    assert_eq!(back.poll_timeout(), Some(Time(0)));
    assert_eq!(due(&mut back, NOW), ["Refuse { seq: Seq(2), reason: Full }", "Answered [1]"]);
    assert_eq!(back.poll_timeout(), None);
}

#[test]
fn a_report_says_what_was_read_and_the_newest_replaces_those_that_wait() {
    let mut back = WorkerEnd::new();
    read(&mut back, &frame(&[message(1, b""), message(2, b"")]));
    back.report(Report { covers: Seq(1), ..Report::default() });
    back.report(Report { covers: Seq(9), sessions: 4, ..Report::default() });
    assert_eq!(due(&mut back, NOW), ["Report 1 2 2"]);
    back.report(Report { covers: Seq(1), ..Report::default() });
    assert_eq!(due(&mut back, NOW), ["Report 2 2 1"]);
}

#[test]
fn a_report_is_due_when_much_has_been_read_since_the_last() {
    let mut back = WorkerEnd::new();
    read(&mut back, &frame(&[message(UNREAD_LIMIT / 8 - 1, b"")]));
    assert!(!back.report_due());
    read(&mut back, &frame(&[message(UNREAD_LIMIT / 8, b"")]));
    assert!(back.report_due());
    back.report(Report::default());
    assert!(!back.report_due());
}

#[test]
fn a_ping_is_answered_and_other_records_reach_the_worker() {
    let mut back = WorkerEnd::new();
    let mut events = Vec::new();
    let said = frame(&[Record::Ping(7), Record::Goodbye("bye")]);
    back.on_frame(&said, &mut |event| events.push(event)).unwrap();
    assert_eq!(events, [FromDispatcher::Goodbye("bye")]);
    assert_eq!(due(&mut back, NOW), ["Pong(7)"]);
}

#[test]
fn a_workers_own_records_close_the_link() {
    for (record, name) in [
        (Record::Pong(1), "Pong"),
        (Record::Outcome(Outcome { seq: Seq(1), status: 200, why: "" }), "Outcome"),
        (Record::Hello(Hello::default()), "Hello"),
        (Record::GroupClosed { name: b"" }, "GroupClosed"),
    ] {
        assert_eq!(WorkerEnd::new().on_frame(&frame(&[record]), &mut |_| ()), Err(DispatcherFault::Unexpected(name)));
    }
    assert!(matches!(WorkerEnd::new().on_frame(b"\0", &mut |_| ()), Err(DispatcherFault::Frame(_))));
}

#[test]
fn a_link_that_takes_nothing_gets_everything_later_in_order() {
    let mut back = WorkerEnd::new();
    let blocked = |back: &mut WorkerEnd| back.poll_transmit(NOW, |_| Err(io::ErrorKind::WouldBlock.into())).unwrap();
    let payload = [9; 3000];
    for number in 0..100 {
        back.reply(ReplyTo::of(number), &payload).unwrap();
        assert_eq!(blocked(&mut back), Transmit::Blocked);
    }
    let frames = transmit(&mut back, NOW);
    let conns: Vec<_> = frames
        .iter()
        .flat_map(|frame| Frame::parse(frame).unwrap())
        .map(|record| match record.unwrap() {
            Record::Reply { to, bytes } if bytes == payload => to.number(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(conns, (0..100).collect::<Vec<_>>());
    assert!(frames.len() < 8 && frames.iter().all(|frame| frame.len() <= FRAME_SOFT_LIMIT), "{}", frames.len());
    assert_eq!(transmit(&mut back, NOW).len(), 0);
}

#[test]
fn waiting_records_are_bounded_and_the_worker_is_told_to_read_no_more() {
    let mut back = WorkerEnd::new();
    let reply = [0; 50_000];
    let taken = (0..100).take_while(|_| back.reply(ReplyTo::of(1), &reply).is_ok()).count();
    assert_eq!(taken, BACKLOG_LIMIT / (50_000 + 16));
    assert!(matches!(back.group_open(NOW, &reply), Err(Backlog::Full(_))));
    assert_eq!(back.reply(ReplyTo::of(1), &[0; FRAME_SOFT_LIMIT + 1]), Err(Backlog::Oversized(FRAME_SOFT_LIMIT + 1)));
    assert!(back.wants_frames());
    (0..10_000).for_each(|seq| back.answered(Seq(seq), NOW));
    assert!(!back.wants_frames(), "what must not be dropped still gets in, but nothing more is read");
    let frames = transmit(&mut back, NOW);
    assert!(frames.iter().all(|frame| frame.len() <= crate::wire::handoff::FRAME_HARD_LIMIT));
    assert!(back.wants_frames());
    assert!(back.reply(ReplyTo::of(1), &reply).is_ok());
}

#[test]
fn both_ends_agree() {
    let (mut front, mut back) = (DispatcherEnd::new(SMALLEST), WorkerEnd::new());
    for seq in 1..=40 {
        let Record::Message(Message { envelope, .. }) = message(seq, b"") else { unreachable!() };
        front.push(&envelope, (), &[&[seq as u8; 3000]]).unwrap();
    }
    let mut frames = Vec::new();
    let mut keep = |pieces: &[IoSlice<'_>]| {
        frames.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>());
        Ok(())
    };
    front.poll_transmit(&mut keep).unwrap();
    let seqs: Vec<_> = frames.iter().flat_map(|frame| read(&mut back, frame)).collect();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    for seq in seqs {
        match seq % 3 {
            0 => back.refuse(Seq(seq), RefuseReason::Draining),
            1 => back.answered(Seq(seq), NOW),
            _ => back.done(Seq(seq), NOW),
        }
    }
    back.report(Report { covers: back.taken_through(), ..Report::default() });
    let (mut answered, mut refused, mut reports) = (0, 0, 0);
    for frame in transmit(&mut back, NOW) {
        let mut sink = |event: FromWorker<'_, ()>| match event {
            FromWorker::Answered(all) => answered += all.len(),
            FromWorker::Refused { message: returned, .. } => {
                assert_eq!(returned.payload, [returned.envelope.seq.0 as u8; 3000]);
                refused += 1;
            }
            FromWorker::Report(report) => {
                assert_eq!((report.taken_through, report.covers), (Seq(40), Seq(40)));
                reports += 1;
            }
            other => panic!("{other:?}"),
        };
        front.on_frame(&frame, &mut sink).unwrap();
    }
    assert_eq!((answered, refused, reports), (27, 13, 1));
    assert_eq!((front.stats().retained, front.stats().faults, front.room()), (0, 0, Room::All));
}
