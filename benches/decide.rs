//! The cost of a decision: a new INVITE or CRCX by pool size, policy and table size; a retransmission; a BYE or DLCX by
//! token; an INVITE for downstream proxies, with its 200; and the table alone. `scan` is measured beside it, so that
//! "scan + decide + table" can be read off.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

#[path = "../tests/support/balancer.rs"]
mod balancer;
#[path = "../tests/support/no_link.rs"]
mod no_link;
#[path = "../tests/support/numbered.rs"]
mod numbered;

use std::hint::black_box;
use std::time::{Duration, Instant};

use balancer::{Balancer, End, responses};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use numbered::{KEY, Numbered, arrival, dispatch, enter};
use pointsman::config::{Policy, Pool, PoolPolicy, Proxy, RecordRoute, Route};
use pointsman::dispatch::decision::{Arrival, Forward, Hop, Target};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::table::Table;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::fingerprint::Printer;
use pointsman::ids::{ConnId, Incarnation, ListenerId};
use pointsman::time::Time;
use pointsman::transaction::forwarded::{Flow, ForwardedBranch};
use pointsman::wire::mgcp;
use pointsman::wire::sip::Scanner;

/// An INVITE of about 1 KB with an offer; `NNNNNNNNNN` is the place of its number.
fn template() -> Vec<u8> {
    let sdp = "v=0\r\no=as 2890844526 2890844526 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\nt=0 0\r\n\
        m=audio 49172 RTP/AVP 0 8 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    format!(
        "INVITE sip:ivr@ms.example.net:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5:5060;rport;branch=z9hG4bK-NNNNNNNNNN\r\n\
         Max-Forwards: 70\r\nFrom: \"AS\" <sip:as@example.net>;tag=NNNNNNNNNN\r\nTo: <sip:ivr@ms.example.net>\r\n\
         Call-ID: NNNNNNNNNN@203.0.113.5\r\nCSeq: 1 INVITE\r\nContact: <sip:as@203.0.113.5:5060>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY, MESSAGE\r\n\
         Supported: replaces, timer, 100rel\r\nSession-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n\
         User-Agent: application-server/1.0\r\nP-Asserted-Identity: <sip:+4930123456@example.net>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

/// A CRCX with a description, as a call agent sends it; `NNNNNNNNN` is the place of its number.
fn crcx() -> Vec<u8> {
    b"CRCX NNNNNNNNN bridge/$@ms.example.net MGCP 1.0\r\nC: 5f00NNNNNNNNN\r\nL: p:20, a:PCMU;PCMA, nt:IN\r\n\
        M: sendrecv\r\nX-Size: 1\r\n\r\nv=0\r\no=- NNNNNNNNN 1 IN IP4 203.0.113.5\r\ns=-\r\nc=IN IP4 203.0.113.5\r\n\
        t=0 0\r\nm=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
        .to_vec()
}

/// Scan and decision of new INVITEs against a table that holds `held` entries all the time: each new one answered, each
/// pushing out the oldest.
fn new_invites(criterion: &mut Criterion, name: &str, workers: usize, policy: Policy, held: usize) {
    let mut dispatch = dispatch(workers, policy, held);
    let (mut caller, mut scanner, now) = (Numbered::new(template(), 10), Scanner::new(), Time(1_000_000));
    let mut step = |caller: &mut Numbered| {
        caller.next();
        let message = scanner.scan(&caller.bytes).unwrap();
        let decision = dispatch.on_message(&message, &arrival(now), now);
        let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
        dispatch.on_answered(handoff.entry.unwrap(), now);
        handoff.seq
    };
    (0..held).for_each(|_| {
        step(&mut caller);
    });
    criterion.bench_function(name, |bench| bench.iter(|| black_box(step(&mut caller))));
}

/// The same of new connections.
fn new_connections(criterion: &mut Criterion, name: &str, workers: usize, policy: Policy, held: usize) {
    let mut dispatch = dispatch(workers, policy, held);
    let (mut caller, now) = (Numbered::new(crcx(), 9), Time(1_000_000));
    let mut step = |caller: &mut Numbered| {
        caller.next();
        let message = mgcp::parse(&caller.bytes).unwrap();
        let decision = dispatch.on_message(&message, &arrival(now), now);
        let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
        dispatch.on_answered(handoff.entry.unwrap(), now);
        handoff.seq
    };
    (0..held).for_each(|_| {
        step(&mut caller);
    });
    criterion.bench_function(name, |bench| bench.iter(|| black_box(step(&mut caller))));
}

fn connections(criterion: &mut Criterion) {
    let mut caller = Numbered::new(crcx(), 9);
    criterion.bench_function("parse of a CRCX alone, with the number written", |bench| {
        bench.iter(|| {
            caller.next();
            black_box(mgcp::parse(&caller.bytes).unwrap().transaction())
        });
    });
    for workers in [4, 32, 64, 1024] {
        new_connections(
            criterion,
            &format!("CRCX parse+decide+table/{workers} workers"),
            workers,
            Policy::LeastLoad,
            100_000,
        );
    }
    for held in [1_000, 1_000_000] {
        new_connections(criterion, &format!("CRCX parse+decide+table/{held} entries"), 4, Policy::LeastLoad, held);
    }
    let now = Time(1_000_000);
    for (workers, held) in [(4, 1_000), (4, 1_000_000), (1024, 1_000_000)] {
        let mut known = dispatch(workers, Policy::LeastLoad, held);
        let mut caller = Numbered::new(
            format!(
                "DLCX NNNNNNNNN bridge/{}/17@ms.example.net MGCP 1.0\r\nC: 5f00NNNNNNNNN\r\nI: 0123456789abcdef\r\n",
                KEY.token(Incarnation::new(2))
            )
            .into_bytes(),
            9,
        );
        criterion.bench_function(&format!("DLCX parse+decide by name/{workers} workers/{held} entries"), |bench| {
            bench.iter(|| {
                caller.next();
                let message = mgcp::parse(&caller.bytes).unwrap();
                black_box(known.on_message(&message, &arrival(now), now))
            });
        });
    }
}

fn decide(criterion: &mut Criterion) {
    let mut caller = Numbered::new(template(), 10);
    let mut scanner = Scanner::new();
    criterion.bench_function("scan alone, with the number written", |bench| {
        bench.iter(|| {
            caller.next();
            black_box(scanner.scan(&caller.bytes).unwrap().call_id().len())
        });
    });
    for workers in [4, 32, 64, 1024] {
        new_invites(criterion, &format!("scan+decide+table/{workers} workers"), workers, Policy::LeastLoad, 100_000);
    }
    for &policy in Policy::ALL {
        for workers in [4, 1024] {
            new_invites(criterion, &format!("scan+decide+table/{}/{workers}", policy.label()), workers, policy, 10_000);
        }
    }
    for held in [1_000, 1_000_000] {
        new_invites(criterion, &format!("scan+decide+table/{held} entries"), 4, Policy::LeastLoad, held);
    }
    let mut known = dispatch(4, Policy::LeastLoad, 1000);
    let now = Time(1_000_000);
    criterion.bench_function("scan+retransmission", |bench| {
        bench.iter(|| {
            let message = scanner.scan(&caller.bytes).unwrap();
            black_box(known.on_message(&message, &arrival(now), now))
        });
    });
    let text = String::from_utf8(template()).unwrap();
    let to = format!("To: <sip:ivr@ms.example.net>;tag={}-1", KEY.token(Incarnation::new(2)));
    let bye = text.replace("INVITE", "BYE").replace("To: <sip:ivr@ms.example.net>", &to);
    criterion.bench_function("scan+BYE by token", |bench| {
        bench.iter(|| {
            let message = scanner.scan(bye.as_bytes()).unwrap();
            black_box(known.on_message(&message, &arrival(now), now))
        });
    });
}

/// Scan and decision of new INVITEs for downstream proxies and of the 200 to each, against a full table.
fn forwarded(criterion: &mut Criterion) {
    let policies = [PoolPolicy::Latency, PoolPolicy::Weighted, PoolPolicy::Hash];
    for (policy, proxies) in policies.into_iter().flat_map(|policy| [4, 32, 64, 1024].map(|proxies| (policy, proxies)))
    {
        let proxy = |number: u32| Proxy {
            name: format!("fs{number}"),
            host: format!("10.1.{}.{}", number / 250, number % 250 + 1),
            port: Some(5060),
            ..Proxy::default()
        };
        let rules = Rules {
            proxies: (0..proxies).map(proxy).collect(),
            pools: vec![Pool { policy, record_route: RecordRoute::Never, ..Pool::default() }],
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), "198.51.100.1:5060".parse().unwrap())],
            slow_start: Duration::ZERO,
            ..Rules::default()
        };
        let setup = Setup { rules, keys: Keyring::new(KEY), table_cap: 10_000, group_cap: 16, workers: 0, seed: 3 };
        let mut dispatch = Dispatch::new(setup);
        let (mut caller, mut scanner, mut now) = (Numbered::new(template(), 10), Scanner::new(), Time(1_000_000));
        let completed = String::from_utf8(template()).unwrap().replace(";rport;", ";rport=5060;received=203.0.113.5;");
        let (_, fields) = completed.split_once("\r\n").unwrap();
        let status = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=";
        let places = [b'b'; ForwardedBranch::LEN].into_iter().chain(*b";flow=").chain([b'f'; Flow::LEN]);
        let head: Vec<u8> = status.iter().copied().chain(places).chain(*b"\r\n").collect();
        let mut answer = Numbered::new([&head, fields.as_bytes()].concat(), 10);
        let mut step = || {
            caller.next();
            answer.next();
            now = now + Duration::from_micros(50);
            let came = arrival(now);
            let message = scanner.scan(&caller.bytes).unwrap();
            let decision = dispatch.on_message(&message, &came, now);
            let Target::Forward(Forward { to: Hop::Address(server), branch, flow, .. }) = decision.target else {
                panic!("{decision:?}")
            };
            let at = status.len();
            answer.bytes[at..at + ForwardedBranch::LEN].copy_from_slice(branch.as_bytes());
            let at = at + ForwardedBranch::LEN + 6;
            answer.bytes[at..at + Flow::LEN].copy_from_slice(&flow.text());
            let message = scanner.scan(&answer.bytes).unwrap();
            let decision = dispatch.on_message(&message, &Arrival { source: server, ..came }, now);
            assert!(matches!(decision.target, Target::ForwardResponse(_)), "{decision:?}");
            dispatch.handle_timeout(now);
            server
        };
        (0..20_000).for_each(|_| {
            step();
        });
        let name = format!("INVITE and 200 scan+decide+table/{}/{proxies} proxies", policy.label());
        criterion.bench_function(&name, |bench| bench.iter(|| black_box(step())));
    }
}

/// All that the switch does with an INVITE on a connection that leaves on another one, and with its 200: scan,
/// decision, table, response context and the edited message, without the system calls.
fn between_connections(criterion: &mut Criterion) {
    let text = String::from_utf8(template()).unwrap().replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let (mut caller, mut balancer) = (Numbered::new(text.into(), 10), Balancer::new(4));
    // The time that the INVITEs of some batches take, and that their answers take.
    let mut batches = |count: u64| {
        let mut spent = [Duration::ZERO; 2];
        for _ in 0..count.div_ceil(BATCH) {
            let came: Vec<_> = (0..BATCH)
                .map(|_| {
                    caller.next();
                    (caller.bytes.to_vec(), End::Connection(ConnId(77)))
                })
                .collect();
            let begin = Instant::now();
            balancer.come(&came);
            spent[0] += begin.elapsed();
            let answers = responses(&balancer.left(), "200 OK");
            let begin = Instant::now();
            balancer.come(&answers);
            spent[1] += begin.elapsed();
            assert_eq!(balancer.left().len(), BATCH as usize);
        }
        spent.map(|all| all.mul_f64(count as f64 / (count.div_ceil(BATCH) * BATCH) as f64))
    };
    batches(20_000);
    for (at, name) in
        ["INVITE between connections, scan to edit", "200 between connections, scan to edit"].iter().enumerate()
    {
        criterion.bench_function(name, |bench| bench.iter_custom(|count| batches(count)[at]));
    }
}

/// Messages that come together.
const BATCH: u64 = 32;

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
