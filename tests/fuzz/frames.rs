//! Frames of the handoff, read by both ends of a link.

use std::net::SocketAddr;

use pointsman::ids::{ConnId, ListenerId, Seq};
use pointsman::link::dispatcher_end::{DispatcherEnd, FromWorker};
use pointsman::link::worker_end::WorkerEnd;
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HEADER, Frame, FrameBuilder, Record};
use pointsman::words::{
    Dispatched, Drain, DrainMode, Envelope, Hello, Message, Permit, RefuseReason, ReplyTo, Report, Transport,
};

use crate::runner::Seen;

fn envelope(seq: u64) -> Envelope {
    let address: SocketAddr = "[2001:db8::1]:5060".parse().unwrap();
    Envelope {
        seq: Seq(seq),
        received: Time(1),
        deadline: Some(Time(2)),
        reply_to: ReplyTo::Datagram,
        size: 2,
        listener: ListenerId(0),
        transport: Transport::Udp,
        pinned: true,
        again: false,
        ring_first: false,
        alias: false,
        names_size: false,
        follows: false,
        source: address,
        local: address,
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello { name: Some("w2".into()), conferences: 1, ..Hello::default() };
    let report = Report { number: 1, taken_through: Seq(2), covers: Seq(2), units_used: 3, ..Report::default() };
    let records = [
        vec![Record::Hello(hello)],
        vec![Record::Report(report), Record::Refuse { seq: Seq(2), reason: RefuseReason::Full }],
        vec![Record::GroupOpen { opened: Time(5), name: b"conf=1" }, Record::GroupClosed { name: b"conf=1" }],
        vec![Record::Pong(1), Record::Reply { to: ReplyTo::Stream(ConnId(1)), bytes: b"x" }],
        vec![Record::Message(Message { envelope: envelope(7), payload: b"INVITE" }), Record::Ping(3)],
        vec![Record::Drain(Drain { mode: DrainMode::Stop, within: std::time::Duration::from_secs(1) })],
        vec![Record::ClockAsk(Time(1)), Record::Clock { asked: Time(1), at: Time(2) }],
        vec![Record::Send(Dispatched {
            listener: ListenerId(1),
            to: envelope(1).source,
            from: envelope(1).local.ip(),
            permit: Permit::new(9),
            bytes: b"SIP/2.0 200 OK",
        })],
        vec![Record::Goodbye("done")],
    ];
    let mut frames: Vec<Vec<u8>> = records.iter().map(|records| frame(records)).collect();
    let mut answered = FrameBuilder::new();
    answered.push_answered(&[Seq(1), Seq(3)]);
    frames.push(answered.bytes().to_vec());
    // A kind that is read and no longer written.
    let mut back = frame(&[Record::Refuse { seq: Seq(1), reason: RefuseReason::Full }]);
    back[FRAME_HEADER] = 70;
    frames.push(back);
    frames
}

pub fn frame(records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    records.iter().for_each(|record| builder.push(record));
    builder.bytes().to_vec()
}

pub fn run(input: &[u8], seen: &mut Seen) {
    round_trip(input, seen);
    let mut front = DispatcherEnd::new(0);
    for seq in 1..=3 {
        front.push(&envelope(seq), (), &[b"INVITE"]).unwrap();
    }
    front.poll_transmit(|_| Ok(())).unwrap();
    let (mut settled, mut events) = (0, 0);
    for _ in 0..2 {
        let result = front.on_frame(input, &mut |event| {
            events += 1;
            seen.note(("event", std::mem::discriminant(&event)));
            match event {
                FromWorker::Answered(all) => settled += all.len() as u64,
                FromWorker::Refused { .. } => settled += 1,
                FromWorker::Report(report) => assert!(report.covers <= Seq(3) && report.taken_through <= Seq(3)),
                _ => {}
            }
        });
        seen.note(("front", result.is_ok()));
    }
    assert!(settled <= 3 && events <= 2 * input.len());
    assert_eq!(front.stats().retained, 3 - settled);
    assert_eq!(front.into_orphans().count() as u64, 3 - settled);
    let mut back = WorkerEnd::new();
    let result = back.on_frame(input, &mut |event| seen.note(("back", std::mem::discriminant(&event))));
    seen.note(("back", result.is_ok()));
    let mut sent = 0;
    back.poll_transmit(Time(u64::MAX), |pieces| {
        sent += pieces.iter().map(|piece| piece.len()).sum::<usize>();
        Ok(())
    })
    .unwrap();
    assert!(sent <= 2 * input.len() + 64, "{} bytes in, {sent} out", input.len());
}

/// Checks that a record that can be read can be written, and is read again as the same.
fn round_trip(input: &[u8], seen: &mut Seen) {
    let Ok(frame) = Frame::parse(input) else { return seen.note("no frame") };
    let mut builder = FrameBuilder::new();
    let mut records = Vec::new();
    for record in frame {
        match record {
            Ok(record) => {
                seen.note(("record", std::mem::discriminant(&record)));
                builder.push(&record);
                records.push(record);
            }
            Err(error) => {
                seen.note(("error", std::mem::discriminant(&error)));
                break;
            }
        }
    }
    if let Ok(again) = Frame::parse(builder.bytes()) {
        let again: Result<Vec<_>, _> = again.collect();
        assert_eq!(again.as_ref(), Ok(&records));
    }
}
