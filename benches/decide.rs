//! The cost of a decision: a new INVITE or CRCX by pool size, policy and table size; a retransmission; a BYE or DLCX by
//! token; an INVITE for downstream proxies, with its 200; and the table alone. `scan` is measured beside it, so that
//! "scan + decide + table" can be read off.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

mod hot_path;

use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hot_path::{
    Between, ByName, Bye, Forwarded, InvitesTogether, KEY, NewConnections, NewInvites, Parse, Retransmission, Scan,
    Step, enter,
};
use pointsman::config::{Policy, PoolPolicy};
use pointsman::dispatch::table::Table;
use pointsman::fingerprint::Printer;

/// Measures a step, with what makes it ready.
fn measure(criterion: &mut Criterion, name: &str, mut step: impl Step) {
    criterion.bench_function(name, |bench| {
        bench.iter(|| {
            step.prepare();
            step.run();
        });
    });
}

fn decide(criterion: &mut Criterion) {
    let invites = |workers, policy, held| NewInvites::new(workers, policy, held);
    measure(criterion, "scan alone, with the number written", Scan::new());
    for workers in [4, 32, 64, 1024] {
        let step = invites(workers, Policy::LeastLoad, 100_000);
        measure(criterion, &format!("scan+decide+table/{workers} workers"), step);
    }
    for &policy in Policy::ALL {
        for workers in [4, 1024] {
            let step = invites(workers, policy, 10_000);
            measure(criterion, &format!("scan+decide+table/{}/{workers}", policy.label()), step);
        }
    }
    for held in [1_000, 1_000_000] {
        let step = invites(4, Policy::LeastLoad, held);
        measure(criterion, &format!("scan+decide+table/{held} entries"), step);
    }
    // As in a lane: the time is that of four messages.
    for held in [1_000, 1_000_000] {
        let step = InvitesTogether::new(4, Policy::LeastLoad, held);
        measure(criterion, &format!("four together, scan+decide+table/{held} entries"), step);
    }
    measure(criterion, "scan+retransmission", Retransmission::new());
    measure(criterion, "scan+BYE by token", Bye::new());
}

fn connections(criterion: &mut Criterion) {
    measure(criterion, "parse of a CRCX alone, with the number written", Parse::new());
    for workers in [4, 32, 64, 1024] {
        let step = NewConnections::new(workers, Policy::LeastLoad, 100_000);
        measure(criterion, &format!("CRCX parse+decide+table/{workers} workers"), step);
    }
    for held in [1_000, 1_000_000] {
        let step = NewConnections::new(4, Policy::LeastLoad, held);
        measure(criterion, &format!("CRCX parse+decide+table/{held} entries"), step);
    }
    for (workers, held) in [(4, 1_000), (4, 1_000_000), (1024, 1_000_000)] {
        let name = format!("DLCX parse+decide by name/{workers} workers/{held} entries");
        measure(criterion, &name, ByName::new(workers, held));
    }
}

fn forwarded(criterion: &mut Criterion) {
    let policies = [PoolPolicy::Latency, PoolPolicy::Weighted, PoolPolicy::Hash];
    for (policy, proxies) in policies.into_iter().flat_map(|policy| [4, 32, 64, 1024].map(|proxies| (policy, proxies)))
    {
        let name = format!("INVITE and 200 scan+decide+table/{}/{proxies} proxies", policy.label());
        measure(criterion, &name, Forwarded::new(policy, proxies));
    }
}

fn between_connections(criterion: &mut Criterion) {
    for (mut step, name) in [
        (Between::invites(), "INVITE between connections, scan to edit"),
        (Between::answers(), "200 between connections, scan to edit"),
    ] {
        // To make a batch ready takes longer than the step, and is not measured.
        let mut batches = |count: u64| {
            let (batches, mut spent) = (count.div_ceil(step.messages()), Duration::ZERO);
            for _ in 0..batches {
                step.prepare();
                let begin = Instant::now();
                step.run();
                spent += begin.elapsed();
            }
            spent.mul_f64(count as f64 / (batches * step.messages()) as f64)
        };
        criterion.bench_function(name, |bench| bench.iter_custom(&mut batches));
    }
}

fn table(criterion: &mut Criterion) {
    let printer = Printer::new(&KEY);
    for held in [1_000_u64, 1_000_000] {
        let mut table = Table::new(held as usize, Duration::from_secs(300));
        let mut number = 0_u64;
        let mut step = |table: &mut Table| {
            number += 1;
            enter(table, &printer, number);
        };
        (0..held).for_each(|_| step(&mut table));
        criterion.bench_function(&format!("table insert+answered+evict/{held}"), |bench| {
            bench.iter_batched(|| (), |()| step(&mut table), BatchSize::SmallInput);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = decide, connections, forwarded, between_connections, table
}
criterion_main!(benches);
