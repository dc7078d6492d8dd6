//! The cost of reading a message: the scan alone, the fields that a decision reads, the check of a first request, a
//! response.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pointsman::fingerprint::Printer;
use pointsman::ids::{ListenerId, ProxyId, TokenKey};
use pointsman::transaction::flow_token::{Hop, Side};
use pointsman::transaction::forwarded::{Branches, Came};
use pointsman::transaction::name::sip::Names;
use pointsman::wire::mgcp::{self, Field};
use pointsman::wire::sip::{Edits, Name, ResponseWriter, Scanner, Via, ViaCompletion};

/// About 1 KB, as an application server sends it: fourteen fields and an offer of two codecs and DTMF.
const INVITE: &[u8] = b"INVITE sip:ivr@ms.example.net:5060;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.10:5061;branch=z9hG4bK-524287-1---7c2f0a1be0d4c911;rport\r\n\
    Max-Forwards: 70\r\n\
    Contact: <sip:as1@192.0.2.10:5061;transport=udp>\r\n\
    To: <sip:ivr@ms.example.net>\r\n\
    From: \"Application Server 1\" <sip:as1@as.example.net>;tag=58f1c3a9\r\n\
    Call-ID: 89123ZGI0ZTFhYmM2NzRkOTU2ZjFhN2E5NzVkM2U2MmI@192.0.2.10\r\n\
    CSeq: 1 INVITE\r\n\
    Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY, MESSAGE, SUBSCRIBE, INFO, UPDATE, PRACK\r\n\
    Content-Type: application/sdp\r\n\
    Supported: replaces, 100rel, timer, norefersub\r\n\
    Session-Expires: 1800;refresher=uac\r\n\
    User-Agent: example-application-server/4.7.1 (build 20260114)\r\n\
    X-Session-Size: 3\r\n\
    Content-Length: 303\r\n\
    \r\n\
    v=0\r\n\
    o=- 13376890161234567 1 IN IP4 192.0.2.10\r\n\
    s=example\r\n\
    c=IN IP4 192.0.2.10\r\n\
    t=0 0\r\n\
    m=audio 49170 RTP/AVP 0 8 9 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:9 G722/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\n\
    a=sendrecv\r\n\
    a=rtcp:49171 IN IP4 192.0.2.10\r\n\
    a=ptime:20\r\n\
    a=maxptime:150\r\n";

/// About 300 bytes, as a call agent sends it, with the fields that a dispatcher reads.
const CRCX: &[u8] = b"CRCX 1204 ann/$@ms.example.net MGCP 1.0\r\n\
    K: 1200-1202, 1199\r\n\
    C: A3C47F21456789F0\r\n\
    L: p:20, a:PCMU;PCMA, e:on, nt:IN\r\n\
    M: sendrecv\r\n\
    X-Size: 3\r\n\
    \r\n\
    v=0\r\n\
    o=- 25678 753849 IN IP4 192.0.2.10\r\n\
    s=-\r\n\
    c=IN IP4 192.0.2.10\r\n\
    t=0 0\r\n\
    m=audio 3456 RTP/AVP 0 8\r\n\
    a=ptime:20\r\n\
    a=sendrecv\r\n";

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("sip");
    group.throughput(Throughput::Bytes(INVITE.len() as u64));
    let mut scanner = Scanner::new();
    group.bench_function("scan", |b| b.iter(|| scanner.scan(black_box(INVITE)).is_ok()));
    let mut scanner = Scanner::new();
    group.bench_function("scan and read for a decision", |b| {
        b.iter(|| {
            let Ok(message) = scanner.scan(black_box(INVITE)) else { return };
            let via = message.via();
            black_box((
                message.method(),
                message.uri(),
                via.and_then(|via| via.unique_branch()),
                message.from().and_then(|from| from.tag()),
                message.to().and_then(|to| to.tag()),
                message.call_id(),
                message.cseq(),
                message.header(Name::Replaces),
                message.nonce(),
                message.extension(b"X-Session-Size"),
            ));
        });
    });
    let mut scanner = Scanner::new();
    if let Ok(message) = scanner.scan(INVITE) {
        group.bench_function("check", |b| b.iter(|| black_box(&message).check()));
        let source: SocketAddr = ([192, 0, 2, 10], 5061).into();
        let mut out = Vec::with_capacity(2048);
        group.bench_function("response", |b| {
            b.iter(|| {
                out.clear();
                ResponseWriter::new(&mut out, black_box(&message), 200, Some(source), Some(b"pm1")).finish();
            });
        });
        group.bench_function("weigh", |b| b.iter(|| pointsman::wire::sdp::weigh(black_box(message.body()), 4)));
    }
    group.finish();
    forwarding(c);
    mgcp(c);
}

/// A request that is forwarded, and the response to it.
fn forwarding(c: &mut Criterion) {
    let mut group = c.benchmark_group("forwarding");
    let key = TokenKey::new([7; 32]);
    let (branches, printer) = (Branches::new(&key, None), Printer::new(&key));
    let (mut scanner, mut response_scanner) = (Scanner::new(), Scanner::new());
    let Ok(message) = scanner.scan(INVITE) else { return };
    let read = message.essentials();
    let Some(via) = read.via else { return };
    let names = Names::of(&message, &read, &printer);
    let give = || {
        let came = Came { via, call: names.call, cseq: names.cseq };
        branches.give(&came, branches.way(black_box(&message)), (ListenerId(0), 0), (ProxyId(1), Side::Caller))
    };
    group.bench_function("branch", |b| b.iter(give));
    group.bench_function("loop", |b| {
        b.iter(|| branches.is_loop(black_box(&message), &message.via().expect("its Via"), branches.way(&message)))
    });
    let branch = give();
    group.bench_function("flow", |b| {
        b.iter(|| branches.flow(black_box(&branch), Hop::Address(([192, 0, 2, 10], 5061).into())))
    });
    let via = [b"SIP/2.0/UDP 192.0.2.1:5060;branch=", branch.as_bytes()].concat();
    let mut edits = Edits::default();
    let mut out = Vec::with_capacity(2048);
    let source: SocketAddr = ([192, 0, 2, 10], 5061).into();
    group.bench_function("edits of a request", |b| {
        let completed = message.via().map(|via| ViaCompletion::of(message.bytes(), &via, source));
        let completion = completed.unwrap_or_default();
        b.iter(|| {
            edits.clear();
            out.clear();
            edits.put_via(black_box(&message), &via);
            edits.complete_via(&message, completion, source);
            edits.count_hop(&message);
            edits.pieces(&message).for_each(|piece| out.extend_from_slice(piece));
        });
    });
    let mut ringing = Vec::new();
    let forwarded = out.clone();
    let mut scanner = Scanner::new();
    let Ok(sent) = scanner.scan(&forwarded) else { return };
    ResponseWriter::new(&mut ringing, &sent, 180, None, Some(b"pm1")).finish();
    let Ok(response) = response_scanner.scan(&ringing) else { return };
    let Some(ours) = response.via() else { return };
    let via_end = response.place_of(ours.raw).end as usize;
    group.bench_function("response believed", |b| {
        b.iter(|| {
            let below = black_box(&response).values_below(Name::Via, ours.raw).next().and_then(Via::parse);
            below.is_some_and(|below| branches.is_answered_by(&response, &branch, &below))
        });
    });
    group.bench_function("edits of a response", |b| {
        b.iter(|| {
            edits.clear();
            out.clear();
            edits.take_via(black_box(&response), via_end);
            edits.pieces(&response).for_each(|piece| out.extend_from_slice(piece));
        });
    });
    group.finish();
}

fn mgcp(c: &mut Criterion) {
    let mut group = c.benchmark_group("mgcp");
    group.throughput(Throughput::Bytes(CRCX.len() as u64));
    group.bench_function("parse", |b| b.iter(|| mgcp::parse(black_box(CRCX)).is_ok()));
    group.bench_function("parts, parse and read for a decision", |b| {
        b.iter(|| {
            for part in mgcp::parts(black_box(CRCX)) {
                let Ok(mgcp::Message::Command(command)) = mgcp::parse(part) else { return };
                black_box((
                    command.verb(),
                    command.transaction(),
                    command.endpoint(),
                    command.call_id(),
                    command.connection_id(),
                    command.extension(b"X-Size"),
                    command.param(Field::LocalConnectionOptions),
                    command.acks().map(|acks| acks.contains(1201)),
                ));
            }
        });
    });
    group.finish();
}

criterion_group!(scan, benches);
criterion_main!(scan);
