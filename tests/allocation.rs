//! Counts allocations: a message on its way through a lane makes none, and the table is as large as it is at the start.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "support/balancer.rs"]
mod balancer;
#[path = "../src/stream/tests/certificates.rs"]
mod certificates;
#[path = "support/no_link.rs"]
mod no_link;
#[path = "support/numbered.rs"]
mod numbered;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use balancer::{Balancer, End, in_dialog, responses};
use no_link::NoLink;
use numbered::{KEY, Numbered, arrival, dispatch, enter};
use pointsman::config::{Insert, Policy, Pool, PoolPolicy, Proxy, RecordRoute, Route};
use pointsman::dispatch::decision::Target;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::note::Note;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::table::Table;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::fingerprint::Printer;
use pointsman::ids::{ConnId, Incarnation, ListenerId, Seq, WorkerId};
use pointsman::link::Transmit;
use pointsman::link::dispatcher_end::{DispatcherEnd, FromWorker};
use pointsman::stream::websocket;
use pointsman::stream::{Kind, Limits, Stream};
use pointsman::switch::owner::Owner;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::wire::handoff::FrameBuilder;
use pointsman::wire::mgcp;
use pointsman::wire::sip::Scanner;
use pointsman::words::{Report, Transport};
use rustls::{ClientConnection, DEFAULT_VERSIONS};

const WORKERS: usize = 4;

const CRCX: &str = "CRCX NNNNNNNN bridge/$@ms.example.net MGCP 1.0\r\nC: 5fNNNNNNNN\r\nK: 1-3\r\nL: p:20, a:PCMU, x-size:2\r\n\
    M: sendrecv\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n";

const INVITE: &str = "INVITE sip:ivr@ms.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5:5060;rport;branch=z9hG4bK-NNNNNNNN\r\n\
    Max-Forwards: 70\r\nFrom: \"AS\" <sip:as@example.net>;tag=NNNNNNNN\r\nTo: <sip:ivr@ms.example.net>\r\n\
    Call-ID: NNNNNNNN@203.0.113.5\r\nCSeq: 1 INVITE\r\nContact: <sip:as@203.0.113.5:5060>\r\nX-Session-Size: 2\r\n\
    Route: <sip:ms.example.net;lr>\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n\
    --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n--b--\r\n";

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

/// A lane without its sockets: scanner, decision, and the dispatcher's end of a link for each worker.
struct Lane {
    scanner: Scanner,
    dispatch: Dispatch,
    links: Vec<DispatcherEnd<Note>>,
    /// Messages that the worker of each link has not answered.
    waiting: Vec<Vec<Seq>>,
    answers: FrameBuilder,
    message: Numbered,
    reports: u64,
}

impl Lane {
    fn new(text: &str) -> Self {
        Lane {
            scanner: Scanner::new(),
            dispatch: dispatch(WORKERS, Policy::LeastLoad, 1000),
            links: (0..WORKERS).map(|_| DispatcherEnd::new(1 << 20)).collect(),
            waiting: (0..WORKERS).map(|_| Vec::with_capacity(64)).collect(),
            answers: FrameBuilder::new(),
            message: Numbered::new(text.into(), 8),
            reports: 0,
        }
    }

    /// A new message and its retransmission, decided and pushed to a link.
    fn receive(&mut self, now: Time) {
        self.message.next();
        let arrival = arrival(now);
        for _ in 0..2 {
            let decision = if let Ok(message) = self.scanner.scan(&self.message.bytes) {
                self.dispatch.on_message(&message, &arrival, now)
            } else {
                self.dispatch.on_message(&mgcp::parse(&self.message.bytes).unwrap(), &arrival, now)
            };
            let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
            let note = Note { entry: handoff.entry, search: handoff.search, chain: None };
            let at = usize::from(handoff.worker.0);
            self.links[at].push(&handoff.envelope(&arrival), note, &[&self.message.bytes]).unwrap();
            self.dispatch.on_link_room(handoff.worker, self.links[at].room());
            self.waiting[at].push(handoff.seq);
        }
    }

    /// Every link is written, and every worker answers all it got and reports.
    fn answer(&mut self, now: Time) {
        self.reports += 1;
        for (at, link) in self.links.iter_mut().enumerate() {
            assert_eq!(link.poll_transmit(|_| Ok(())).unwrap(), Transmit::Drained);
            let Some(&last) = self.waiting[at].last() else { continue };
            self.answers.clear();
            self.answers.push_answered(&self.waiting[at]);
            self.waiting[at].clear();
            let dispatch = &mut self.dispatch;
            link.on_frame(self.answers.bytes(), &mut |event| {
                if let FromWorker::Answered(all) = event {
                    dispatch.on_answered_together(all.iter().filter_map(|(_, note)| note.entry), now);
                }
            })
            .unwrap();
            let report = Report { number: self.reports, covers: last, units_total: 1_000_000, ..Report::default() };
            self.dispatch.on_report(WorkerId(at as u16), &report, now);
        }
        self.dispatch.handle_timeout(now);
    }

    /// `rounds` batches of sixteen INVITEs, 10 ms apart.
    fn run(&mut self, start: Time, rounds: u64) -> Time {
        let mut now = start;
        for _ in 0..rounds {
            (0..16).for_each(|_| self.receive(now));
            self.answer(now);
            now = now + Duration::from_millis(10);
        }
        now
    }
}

#[test]
fn a_message_on_its_way_through_a_lane_allocates_nothing() {
    let token = KEY.token(Incarnation::new(2));
    let named = format!("MDCX NNNNNNNN bridge/{token}/1@ms.example.net MGCP 1.0\r\nC: 5f\r\nI: 5f\r\nK: 4-5\r\n");
    // Legs of one conference: most of them inside its reservation.
    let leg =
        INVITE.replace("INVITE sip:ivr@", "INVITE sip:conf=1@").replace("Contact:", "X-Session-Size: 9\r\nContact:");
    assert_ne!(leg.len(), INVITE.len());
    for text in [INVITE, CRCX, &named, &leg] {
        let mut lane = Lane::new(text);
        // Lists that grow with use have their size after this.
        let now = lane.run(Time(1_000_000), 100);
        let before = lane.message.number;
        let counted = measure(|| {
            lane.run(now, 100);
        });
        assert_eq!(lane.message.number - before, 1600);
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{text}");
    }
}

/// A switch in front of downstream proxies.
fn in_front(pool: Pool, proxies: u8) -> Switch<NoLink> {
    let proxy = |number: u8| Proxy {
        name: format!("fs{number}"),
        host: format!("192.0.2.{number}"),
        port: Some(5060),
        ..Proxy::default()
    };
    let rules = Rules {
        proxies: (1..=proxies).map(proxy).collect(),
        unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
        pools: vec![pool],
        udp_listeners: vec![(ListenerId(0), "192.0.2.200:5060".parse().unwrap())],
        slow_start: Duration::ZERO,
        ..Rules::default()
    };
    let setup = Setup { rules, keys: Keyring::new(KEY), table_cap: 10_000, group_cap: 16, workers: 0, seed: 3 };
    Switch::new(Dispatch::new(setup), Insert::None, 0, Owners::new(0, 1, 3))
}

/// Has messages come, each from its source; adds what has left to `out`. Returns the number of allocations.
fn pass(
    switch: &mut Switch<NoLink>,
    came: &[(Vec<u8>, SocketAddr)],
    out: &mut Vec<(Vec<u8>, SocketAddr)>,
    now: Time,
) -> u64 {
    let local = "192.0.2.200:5060".parse().unwrap();
    let counted = measure(|| {
        for (bytes, source) in came {
            let owner = Owner::Listener(ListenerId(0));
            let way = Way::of_datagram(owner, ListenerId(0), Transport::Udp, (*source, local), now);
            switch.on_message(bytes, &way, now);
        }
        switch.handle_timeout(now);
    });
    switch.flush_answers(|leaving| out.extend(leaving.map(|(bytes, to)| (bytes.to_vec(), to))));
    counted.count_total
}

#[test]
fn a_request_and_its_responses_pass_to_and_from_a_downstream_proxy_without_an_allocation() {
    for (record_route, policy) in [
        (RecordRoute::Never, PoolPolicy::Latency),
        (RecordRoute::Always, PoolPolicy::Weighted),
        (RecordRoute::Auto, PoolPolicy::RoundRobin),
    ] {
        let mut switch = in_front(Pool { record_route, policy, ..Pool::default() }, 4);
        let mut message = Numbered::new(INVITE.into(), 8);
        let caller = "203.0.113.5:5060".parse().unwrap();
        let (mut now, mut allocations, mut responses) = (Time(1_000_000), 0, 0);
        for round in 0..200 {
            let came: Vec<_> = (0..16)
                .map(|_| {
                    message.next();
                    (message.bytes.to_vec(), caller)
                })
                .collect();
            let (mut requests, mut back) = (Vec::new(), Vec::new());
            let of_requests = pass(&mut switch, &came, &mut requests, now);
            assert_eq!(requests.len(), 16);
            let answer = |status: &str| -> Vec<_> {
                let answer = |(request, from): &(Vec<u8>, SocketAddr)| {
                    let text = String::from_utf8_lossy(request);
                    let (_, fields) = text.split_once("\r\n").unwrap();
                    (format!("SIP/2.0 {status}\r\n{fields}").into_bytes(), *from)
                };
                requests.iter().map(answer).collect()
            };
            now = now + Duration::from_millis(5);
            let of_responses = pass(&mut switch, &answer("180 Ringing"), &mut back, now)
                + pass(&mut switch, &answer("200 OK"), &mut back, now);
            assert!(back.iter().all(|(_, to)| *to == caller));
            // Lists that grow with use have their size after the first rounds.
            if round >= 100 {
                allocations += of_requests + of_responses;
                responses += back.len();
            }
            now = now + Duration::from_millis(5);
        }
        assert_eq!((allocations, responses), (0, 3200), "{record_route:?}");
    }
}

/// Allocations of so many whole dialogs of callers at this end, when lists that grow with use have their size.
fn allocations_of_dialogs(caller: End, rounds: u64) -> u64 {
    let mut balancer = Balancer::new(4);
    let text = match caller {
        End::Address(_) => INVITE.to_owned(),
        End::Connection(_) => INVITE.replace("SIP/2.0/UDP", "SIP/2.0/TCP"),
    };
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let mut message = Numbered::new(format!("{head}\r\n{length}{body}").into(), 8);
    let mut counted = 0;
    for round in 0..2 * rounds {
        let came: Vec<_> = (0..16)
            .map(|_| {
                message.next();
                (message.bytes.to_vec(), caller)
            })
            .collect();
        let mut allocations = 0;
        let mut pass = |came: &[(Vec<u8>, End)]| {
            allocations += measure(|| balancer.come(came)).count_total;
            let left = balancer.left();
            assert_eq!(left.len(), came.len());
            left
        };
        let invites = pass(&came);
        pass(&responses(&invites, "180 Ringing"));
        let answers = pass(&responses(&invites, "200 OK"));
        assert!(answers.iter().all(|(_, to)| *to == caller), "{answers:?}");
        pass(&in_dialog("ACK", &answers));
        let byes = pass(&in_dialog("BYE", &answers));
        assert!(pass(&responses(&byes, "200 OK")).iter().all(|(_, to)| *to == caller));
        if round >= rounds {
            counted += allocations;
        }
    }
    counted
}

#[test]
fn whole_dialogs_between_connections_allocate_nothing() {
    assert_eq!(allocations_of_dialogs(End::Connection(ConnId(77)), 100), 0);
}

#[test]
fn whole_dialogs_between_datagrams_and_a_connection_keep_two_responses_each() {
    // The 180 and the 200 to the BYE: copies of their requests get them again. The BYE is kept as long as its 200.
    let caller = End::Address("192.0.2.77:5060".parse().unwrap());
    let (rounds, dialogs) = (100, 16 * 100);
    let allocations = allocations_of_dialogs(caller, rounds);
    assert!((2 * dialogs..=4 * dialogs + 100).contains(&allocations), "{allocations}");
}

#[test]
fn a_million_transactions_fit_into_160_mib_and_take_no_more_as_they_come_and_go() {
    let printer = Printer::new(&KEY);
    let held = 1_000_000_u64;
    let mut table = None;
    let counted = measure(|| table = Some(Table::new(held as usize, Duration::from_secs(180))));
    // The lower bound shows that something was counted.
    assert!((64 << 20..=160 << 20).contains(&counted.bytes_max), "{} MiB", counted.bytes_max >> 20);
    let mut table = table.unwrap();
    let counted = measure(|| (0..held + held / 10).for_each(|number| enter(&mut table, &printer, number)));
    assert_eq!((table.len() as u64, counted.count_total), (held, 0));
}

#[test]
fn reading_a_crcx_allocates_nothing() {
    let datagram =
        b"CRCX 1204 ann/$@ms.example.net MGCP 1.0\r\nK: 1200-1202, 1199\r\nC: A3C4\r\nL: p:20, a:PCMU;PCMA, e:on, \
        x-size:3\r\nM: sendrecv\r\nX-Size: 3\r\n\r\nv=0\r\nm=audio 3456 RTP/AVP 0\r\n.\r\n000 1203\r\n";
    let allocated = measure(|| {
        for part in mgcp::parts(datagram) {
            let Ok(mgcp::Message::Command(command)) = mgcp::parse(part) else { continue };
            let options = command.param(mgcp::Field::LocalConnectionOptions).map(mgcp::LocalOptions::parse);
            assert!(options.is_some_and(|options| options.is_ok_and(|options| options.extensions().count() == 1)));
            assert!(command.acks().is_some_and(|acks| acks.contains(1201)));
            assert!(command.extension(b"x-size").is_some() && command.call_id().is_some());
            assert_eq!(command.endpoint().wildcard(), mgcp::Wildcard::AnyOf);
            assert_eq!(command.descriptions().count(), 1);
        }
    });
    assert_eq!(allocated.count_total, 0);
}

/// A message of a usual size, as it comes on a connection.
fn streamed() -> Vec<u8> {
    let (head, body) = INVITE.split_once("\r\n\r\n").unwrap();
    let filling = "x".repeat(400);
    format!("{head}\r\nSubject: {filling}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_message_on_a_plain_connection_allocates_nothing_whole_or_in_pieces() {
    let message = streamed();
    let two = [message.as_slice(), &message, b"\r\n\r\n"].concat();
    let mut stream = Stream::new(Kind::Plain, Limits::default(), Time(1));
    let (mut out, mut seen) = (Vec::with_capacity(64), 0);
    let mut read = |bytes: &[u8]| stream.on_bytes(bytes, Time(2), &mut out, &mut |_| seen += 1);
    for cuts in [&[0, two.len()][..], &[1, message.len() - 1, message.len() + 700]] {
        let mut round = || {
            for cut in cuts {
                let (front, back) = two.split_at(*cut);
                read(front).and_then(|()| read(back)).unwrap();
            }
        };
        // A buffer that grows has its size after this.
        round();
        assert_eq!(measure(round).count_total, 0, "{cuts:?}");
    }
    assert_eq!(seen, 2 * 2 * 5);
}

/// Bytes that each of many idle connections holds after a message, its peer not counted.
fn idle(make: impl Fn() -> Stream, mut talk: impl FnMut(&mut Stream)) -> u64 {
    const MANY: u64 = 100;
    let mut streams = Vec::with_capacity(MANY as usize);
    let counted = measure(|| {
        for _ in 0..MANY {
            let mut stream = make();
            talk(&mut stream);
            streams.push(stream);
        }
    });
    counted.bytes_current as u64 / MANY + size_of::<Stream>() as u64
}

/// A frame of a client, its mask of zeros.
fn frame(content: &[u8]) -> Vec<u8> {
    frame_of(0x82, content)
}

/// A frame with this first byte.
fn frame_of(first: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [&[first, 0xfe], length.to_be_bytes().as_slice(), &[0; 4], content].concat()
}

/// A message with a body of this length.
fn options(body: usize) -> Vec<u8> {
    let head = "OPTIONS sip:ms@ms.example.net SIP/2.0\r\nVia: SIP/2.0/WS h;branch=z9hG4bK-1\r\nCall-ID: 1\r\n\
        CSeq: 1 OPTIONS\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n";
    format!("{head}Content-Length: {body}\r\n\r\n{}", "x".repeat(body)).into_bytes()
}

#[test]
fn a_websocket_holds_no_memory_of_the_large_messages_that_it_has_brought() {
    let message = options(60_000);
    let middle = options(3_000);
    let (front, back) = message.split_at(50_000);
    let ping = [0x89, 0x80, 0, 0, 0, 0].as_slice();
    let in_frames = [frame_of(0x02, front), ping.to_vec(), frame_of(0x80, back)].concat();
    let tiny = message.split_at(message.len() - 1);
    let ends_small = [frame_of(0x02, tiny.0), frame_of(0x80, tiny.1)].concat();
    let rules = Arc::new(websocket::Rules::default());
    for (name, bytes) in [
        ("one frame", frame(&message)),
        ("two frames, a Ping between", in_frames),
        ("a small last frame", ends_small),
        ("of some KiB", frame(&middle)),
    ] {
        for piece in [usize::MAX, 1_500, 40_000] {
            let size = idle(
                || Stream::new(Kind::WebSocket(rules.clone()), Limits::default(), Time(1)),
                |stream| {
                    let mut seen = 0;
                    let mut read = |bytes: &[u8]| {
                        stream.on_bytes(bytes, Time(1), &mut Vec::new(), &mut |_| seen += 1).unwrap();
                    };
                    read(UPGRADE);
                    (0..3).for_each(|_| bytes.chunks(piece).for_each(&mut read));
                    assert_eq!(seen, 3);
                },
            );
            assert!((1_024..=3 << 10).contains(&size), "{name}, {piece}: {size} bytes");
        }
    }
}

#[test]
fn an_idle_connection_holds_few_bytes() {
    let (server, client) = (certificates::server(DEFAULT_VERSIONS), certificates::client(DEFAULT_VERSIONS));
    let message = streamed();
    let new = |kind: &Kind| Stream::new(kind.clone(), Limits::default(), Time(1));
    let in_pieces = |stream: &mut Stream, bytes: &[u8]| {
        let (front, back) = bytes.split_at(bytes.len() / 2);
        for piece in [front, back] {
            stream.on_bytes(piece, Time(1), &mut Vec::new(), &mut |_| {}).unwrap();
        }
    };
    // The client is dropped at the end.
    let over_tls = |stream: &mut Stream, plaintext: &[&[u8]]| {
        let mut client = ClientConnection::new(client.clone(), certificates::localhost()).unwrap();
        for bytes in plaintext {
            client.writer().write_all(bytes).unwrap();
            while client.wants_write() {
                let (mut to, mut from) = (Vec::new(), Vec::new());
                client.write_tls(&mut to).unwrap();
                stream.on_bytes(&to, Time(1), &mut from, &mut |_| {}).unwrap();
                let mut rest = from.as_slice();
                while !rest.is_empty() {
                    client.read_tls(&mut rest).unwrap();
                    client.process_new_packets().unwrap();
                }
            }
        }
        stream.on_bytes(&[], Time(1), &mut Vec::new(), &mut |_| {}).unwrap();
        assert!(stream.is_open());
    };
    let rules = Arc::new(websocket::Rules::default());
    let (secure, websocket) = (Kind::Tls(server.clone()), Kind::WebSocket(rules.clone()));
    let both = Kind::SecureWebSocket(server, rules);
    let framed = frame(&message);
    let sizes = [
        (
            "plain",
            250,
            idle(
                || new(&Kind::Plain),
                |stream| {
                    in_pieces(stream, &message);
                    in_pieces(stream, b"\r\n\r\n\r\n\r\n");
                },
            ),
        ),
        (
            "ws",
            5 << 10,
            idle(
                || new(&websocket),
                |stream| {
                    in_pieces(stream, UPGRADE);
                    in_pieces(stream, &framed);
                },
            ),
        ),
        ("tls", 10 << 10, idle(|| new(&secure), |stream| over_tls(stream, &[&message, &message]))),
        ("wss", 14 << 10, idle(|| new(&both), |stream| over_tls(stream, &[UPGRADE, &framed]))),
    ];
    println!("{sizes:?}");
    for (name, most, size) in sizes {
        assert!((200..=most).contains(&size), "{name}: {size} bytes");
    }
}
