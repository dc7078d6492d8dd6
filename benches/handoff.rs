//! The cost of a handover: frames written and read, the retention of messages, and the write to a real link.
//!
//! The figures for `link` are the dispatcher's side alone: the time of the pushes and the write, not of the reader.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

mod hot_path;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hot_path::{Link, PAYLOAD, envelope};
use pointsman::link::Transmit;
use pointsman::net::unix::{SEND_BUFFER, SeqPacket};
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::Message;

/// Frames written between two readings of the clock.
const FRAMES: u64 = 16;

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

fn retain(c: &mut Criterion) {
    let mut group = c.benchmark_group("front");
    for standing in [0, 4000] {
        for records in [1, 16] {
            group.throughput(Throughput::Elements(records));
            let name = format!("push, gather, answer; {standing} messages standing");
            group.bench_function(BenchmarkId::new(name, records), |b| {
                let mut bench = Link::holding(standing);
                b.iter(|| {
                    bench.push(records);
                    bench.transmit();
                    bench.answer();
                });
            });
        }
    }
    group.bench_function("new, 16 MiB", |b| b.iter_batched(|| (), |()| Link::new(), BatchSize::SmallInput));
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
            let mut bench = Link::new();
            b.iter_custom(|frames| {
                let mut spent = Duration::ZERO;
                let mut left = frames;
                while left > 0 {
                    let now = left.min(FRAMES);
                    left -= now;
                    let begin = Instant::now();
                    for _ in 0..now {
                        bench.push(records);
                        let sent = bench.end.poll_transmit(|pieces| one.send(pieces, &[]));
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
