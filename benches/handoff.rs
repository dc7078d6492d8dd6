//! The cost of a handover: frames written and read, the retention of messages, and the write to a real link.
//!
//! The figures for `link` are the dispatcher's side alone: the time of the pushes and the write, not of the reader.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pointsman::dispatch::note::Note;
use pointsman::ids::{ListenerId, Seq};
use pointsman::link::Transmit;
use pointsman::link::dispatcher_end::DispatcherEnd;
use pointsman::net::unix::{SEND_BUFFER, SeqPacket};
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::{Envelope, Message, ReplyTo, Transport};

/// A usual INVITE with SDP.
const PAYLOAD: [u8; 1100] = [b'x'; 1100];
const STORE: usize = 16 << 20;
/// Frames written between two readings of the clock.
const FRAMES: u64 = 16;

fn envelope(seq: u64) -> Envelope {
    Envelope {
        seq: Seq(seq),
        received: Time(1),
        deadline: Some(Time(2)),
        reply_to: ReplyTo::Datagram,
        size: 1,
        listener: ListenerId(0),
        transport: Transport::Udp,
        pinned: false,
        again: false,
        ring_first: false,
        alias: false,
        names_size: false,
        follows: false,
        source: SocketAddr::from(([192, 0, 2, 1], 5060)),
        local: SocketAddr::from(([192, 0, 2, 2], 5060)),
    }
}

fn frame(c: &mut Criterion) {
    let mut builder = FrameBuilder::new();
    let fill = |builder: &mut FrameBuilder| {
        builder.clear();
        for seq in 0..16 {
            builder.push(&Record::Message(Message { envelope: envelope(seq), payload: &PAYLOAD }));
        }
    };
    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Elements(16));
    group.bench_function("write 16 messages", |b| b.iter(|| fill(black_box(&mut builder))));
    fill(&mut builder);
    let bytes = builder.bytes().to_vec();
    let payloads = |bytes| {
        Frame::parse(bytes).into_iter().flatten().flatten().map(|record| match record {
            Record::Message(message) => message.payload.len(),
            _ => 0,
        })
    };
    group.bench_function("read 16 messages", |b| b.iter(|| payloads(black_box(&bytes)).sum::<usize>()));
    group.finish();
}

/// A front, and the frames that answer what it has handed over.
struct Bench {
    front: DispatcherEnd<Note>,
    seq: u64,
    answers: FrameBuilder,
    pending: Vec<Seq>,
}

impl Bench {
    fn new() -> Self {
        Bench { front: DispatcherEnd::new(STORE), seq: 0, answers: FrameBuilder::new(), pending: Vec::new() }
    }

    fn push(&mut self, records: u64) {
        for _ in 0..records {
            self.seq += 1;
            self.front.push(&envelope(self.seq), Note::default(), &[&PAYLOAD]).expect("the store has room");
            self.pending.push(Seq(self.seq));
        }
    }

    fn transmit(&mut self) {
        let sent = self.front.poll_transmit(|pieces| {
            black_box(pieces);
            Ok(())
        });
        assert_eq!(sent.expect("nothing can fail"), Transmit::Drained);
    }

    fn answer(&mut self) {
        self.answers.clear();
        self.answers.push_answered(&self.pending);
        self.front.on_frame(self.answers.bytes(), &mut |event| drop(black_box(event))).expect("a good frame");
        self.pending.clear();
    }
}

fn retain(c: &mut Criterion) {
    let mut group = c.benchmark_group("front");
    for standing in [0, 4000] {
        for records in [1, 16] {
            group.throughput(Throughput::Elements(records));
            let name = format!("push, gather, answer; {standing} messages standing");
            group.bench_function(BenchmarkId::new(name, records), |b| {
                let mut bench = Bench::new();
                bench.push(standing);
                bench.transmit();
                bench.pending.clear();
                b.iter(|| {
                    bench.push(records);
                    bench.transmit();
                    bench.answer();
                });
            });
        }
    }
    group.bench_function("new, 16 MiB", |b| {
        b.iter_batched(|| (), |()| <DispatcherEnd<Note>>::new(STORE), BatchSize::SmallInput)
    });
    group.finish();
}

fn link(c: &mut Criterion) {
    let (one, two) = SeqPacket::pair().expect("a socket pair");
    let granted = one.set_buffers(SEND_BUFFER, 0).expect("a send buffer");
    println!("send buffer granted: {granted} bytes");
    let mut buffer = vec![0; FRAME_HARD_LIMIT];
    let mut group = c.benchmark_group("link");
    for records in [1, 8, 16] {
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::new("push and write a frame", records), |b| {
            let mut bench = Bench::new();
            b.iter_custom(|frames| {
                let mut spent = Duration::ZERO;
                let mut left = frames;
                while left > 0 {
                    let now = left.min(FRAMES);
                    left -= now;
                    let begin = Instant::now();
                    for _ in 0..now {
                        bench.push(records);
                        let sent = bench.front.poll_transmit(|pieces| one.send(pieces, &[]));
                        assert_eq!(sent.expect("the link stands"), Transmit::Drained);
                    }
                    spent += begin.elapsed();
                    for _ in 0..now {
                        two.recv(&mut buffer, &mut Vec::new()).expect("a frame");
                    }
                    bench.answer();
                }
                spent
            });
        });
    }
    // The same bytes without a front: the time of the kernel alone.
    for records in [1, 8, 16] {
        group.throughput(Throughput::Elements(records));
        group.bench_function(BenchmarkId::new("write the bytes alone", records), |b| {
            let bytes = vec![0; 8 + records as usize * (PAYLOAD.len() + 92)];
            b.iter_custom(|frames| {
                let mut spent = Duration::ZERO;
                let mut left = frames;
                while left > 0 {
                    let now = left.min(FRAMES);
                    left -= now;
                    let begin = Instant::now();
                    for _ in 0..now {
                        one.send(&[std::io::IoSlice::new(&bytes)], &[]).expect("the link stands");
                    }
                    spent += begin.elapsed();
                    for _ in 0..now {
                        two.recv(&mut buffer, &mut Vec::new()).expect("a frame");
                    }
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frame, retain, link);
criterion_main!(benches);
