//! The worker's process on loopback, opposite a front made by hand: real sockets, no dispatcher.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pointsman::ids::{Incarnation, ListenerId, Seq, TokenKey};
use pointsman::net::clock;
use pointsman::net::unix::{SeqListener, SeqPacket};
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::{
    Drain, DrainMode, Envelope, Message, PassedSocket, RefuseReason, ReplyFrom, ReplyTo, Report, SocketRole, Transport,
    Welcome,
};
use pointsman::worker::{Application, Call, Echo, Link, Misuse, Settings, WorkerError, run};

const WITHIN: Duration = Duration::from_secs(10);

/// The dispatcher's side: the link, the well-known socket, and the records that the worker has sent.
struct Front {
    link: SeqPacket,
    well_known: UdpSocket,
    slot: UdpSocket,
    seq: u64,
    answered: Vec<Seq>,
    refused: Vec<(Seq, RefuseReason)>,
    reports: Vec<Report>,
    worker: Option<JoinHandle<Result<(), WorkerError>>>,
}

impl Front {
    fn start(capacity: u32, rtp_ports: (u16, u16)) -> Front {
        Front::start_with(Echo::default(), capacity, rtp_ports)
    }

    fn start_with(application: impl Application + Send + 'static, capacity: u32, rtp_ports: (u16, u16)) -> Front {
        let (link, end) = SeqPacket::pair().unwrap();
        let own = Link::Inherited(OwnedFd::from(end).into_raw_fd());
        let settings = Settings { name: Some("w0".into()), ..Settings::new(own) };
        let worker = std::thread::spawn(move || run(settings, application));
        Front::welcome(link, Some(worker), capacity, rtp_ports)
    }

    fn welcome(
        link: SeqPacket,
        worker: Option<JoinHandle<Result<(), WorkerError>>>,
        capacity: u32,
        rtp_ports: (u16, u16),
    ) -> Front {
        let well_known = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (slot, tcp) = slot_sockets();
        let mut front = Front {
            link,
            well_known,
            slot,
            seq: 0,
            answered: Vec::new(),
            refused: Vec::new(),
            reports: Vec::new(),
            worker,
        };
        let mut hello = None;
        front.wait(
            |_| true,
            |record| match record {
                Record::Hello(it) => hello = Some(it.clone()),
                other => panic!("{other:?}"),
            },
        );
        assert!(hello.unwrap().wants_listeners);
        let address = |socket: &UdpSocket| socket.local_addr().unwrap();
        let welcome = Welcome {
            name: "w0".into(),
            slot: 0,
            token: TokenKey::new([1; 32]).token(Incarnation::new(7)).to_string(),
            incarnation: 7,
            secret: 8,
            key: None,
            capacity,
            advertise: Vec::new(),
            contact_name: None,
            rtp_ports,
            reply_from: ReplyFrom::Listener,
            sockets: vec![
                PassedSocket { role: SocketRole::SipUdp, address: address(&front.slot), listener: None },
                PassedSocket { role: SocketRole::SipTcp, address: address(&front.slot), listener: None },
                PassedSocket { role: SocketRole::Listener, address: address(&front.well_known), listener: Some(0) },
            ],
            listeners: vec![address(&front.well_known)],
            access: Vec::new(),
            mgcp: None,
            features: vec![],
            lan: None,
        };
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Welcome(welcome));
        let descriptors = [front.slot.as_fd(), tcp.as_fd(), front.well_known.as_fd()];
        front.link.send(&[IoSlice::new(frame.bytes())], &descriptors).unwrap();
        front
    }

    /// Hands a message over as if `source` had sent it to the well-known port.
    fn hand(&mut self, text: &str, source: SocketAddr) -> Seq {
        self.hand_together(&[(text.to_owned(), source)]);
        Seq(self.seq)
    }

    /// Hands messages over in one frame, each with its source.
    fn hand_together(&mut self, messages: &[(String, SocketAddr)]) {
        let mut frame = FrameBuilder::new();
        for (text, source) in messages {
            self.seq += 1;
            let envelope = Envelope {
                seq: Seq(self.seq),
                received: clock::now(),
                deadline: None,
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
                source: *source,
                local: self.well_known.local_addr().unwrap(),
            };
            frame.push(&Record::Message(Message { envelope, payload: text.as_bytes() }));
        }
        self.link.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
    }

    fn send(&self, record: &Record<'_>) {
        let mut frame = FrameBuilder::new();
        frame.push(record);
        self.link.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
    }

    /// Reads the link until `done`.
    fn wait(&mut self, done: impl Fn(&Front) -> bool, mut other: impl FnMut(&Record<'_>)) {
        let end = Instant::now() + WITHIN;
        let mut frame = vec![0; FRAME_HARD_LIMIT];
        loop {
            assert!(Instant::now() < end, "the worker did not say it in time");
            let length = match self.link.recv(&mut frame, &mut Vec::new()) {
                Ok(length) => length,
                Err(_) => {
                    let mut watched = [rustix::event::PollFd::new(&self.link, rustix::event::PollFlags::IN)];
                    let timeout = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
                    rustix::event::poll(&mut watched, Some(&timeout)).unwrap();
                    continue;
                }
            };
            assert!(length > 0, "the worker is gone");
            for record in Frame::parse(&frame[..length]).unwrap() {
                match record.unwrap() {
                    Record::Answered(seqs) => self.answered.extend(seqs.iter()),
                    Record::Refuse { seq, reason } => self.refused.push((seq, reason)),
                    Record::Report(report) => self.reports.push(report),
                    Record::Outcome(_) => {}
                    record => other(&record),
                }
            }
            if done(self) {
                return;
            }
        }
    }

    fn wait_for_sessions(&mut self, sessions: u32) {
        self.wait(|front| front.reports.last().is_some_and(|report| report.sessions == sessions), |_| ());
    }

    fn stop(mut self) {
        self.send(&Record::Drain(Drain { mode: DrainMode::Stop, within: Duration::from_secs(3) }));
        self.worker.take().unwrap().join().unwrap().unwrap();
    }
}

/// A UDP socket and a TCP listener at one port.
fn slot_sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn caller() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(WITHIN)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 65_536];
    let (length, source) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), source)
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

struct Words {
    call: &'static str,
    transport: &'static str,
    from: SocketAddr,
}

impl Words {
    fn request(&self, method: &str, cseq: u32, to_tag: &str, body: &str) -> String {
        let Words { call, transport, from } = self;
        format!(
            "{method} sip:echo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} {from};branch=z9hG4bK{call}{method}{cseq};rport\r\n\
             From: <sip:caller@127.0.0.1>;tag={call}\r\nTo: <sip:echo@127.0.0.1>{to_tag}\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{from}>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn invite(&self, rtp: SocketAddr, attribute: &str) -> String {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\na={attribute}\r\n",
            rtp.port()
        );
        self.request("INVITE", 1, "", &sdp)
    }
}

/// A range of RTP ports that no process has now, below those that the kernel gives to sockets without a port of their
/// own.
fn rtp_range(pairs: u16) -> (u16, u16) {
    let is_free = |port: u16| UdpSocket::bind(("127.0.0.1", port)).is_ok();
    // Tests that run at the same time, each in a process of its own, begin at different places.
    let own = std::process::id() as u16 % 256;
    let firsts = (0..256).map(|step| 10_000 + (own + step) % 256 * 64);
    let mut ranges = firsts.map(|first| (first, first + 2 * pairs - 1));
    ranges.find(|(first, last)| (*first..=*last).all(is_free)).expect("a range of free ports")
}

fn to_tag(response: &str) -> String {
    format!(";tag={}", header(response, "To").split_once(";tag=").unwrap().1)
}

#[test]
fn a_call_is_answered_from_the_well_known_port_and_goes_on_at_the_workers_own_with_its_sound_echoed() {
    let mut front = Front::start(10, rtp_range(20));
    let (sip, rtp) = (caller(), caller());
    let words = Words { call: "one", transport: "UDP", from: sip.local_addr().unwrap() };
    let seq = front.hand(&words.invite(rtp.local_addr().unwrap(), "sendrecv"), words.from);
    let (ok, source) = receive(&sip);
    assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
    assert_eq!(source, front.well_known.local_addr().unwrap());
    let own = front.slot.local_addr().unwrap();
    assert_eq!(header(&ok, "Contact"), format!("<sip:{own}>"));
    sip.send_to(words.request("ACK", 1, &to_tag(&ok), "").as_bytes(), own).unwrap();
    front.wait(|front| front.answered.contains(&seq), |_| ());
    front.wait_for_sessions(1);

    let port: u16 = ok.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
    packet.extend([0x55; 160]);
    rtp.send_to(&packet, ("127.0.0.1", port)).unwrap();
    let mut echoed = [0; 2_048];
    let (length, source) = rtp.recv_from(&mut echoed).unwrap();
    assert_eq!((length, source.port(), &echoed[12..length]), (172, port, &[0x55; 160][..]));

    sip.send_to(words.request("BYE", 2, &to_tag(&ok), "").as_bytes(), own).unwrap();
    let (bye_ok, source) = receive(&sip);
    assert!(bye_ok.starts_with("SIP/2.0 200 ") && source == own);
    front.wait_for_sessions(0);
    let report = front.reports.last().unwrap();
    assert_eq!((report.units_used, report.units_total, report.answered, report.covers), (0, 10, 1, seq));
    front.stop();
}

#[test]
fn messages_of_one_frame_are_answered_in_their_order_though_one_answer_cannot_be_sent() {
    let mut front = Front::start(1_000, rtp_range(1));
    let sip = caller();
    let from = sip.local_addr().unwrap();
    // No socket of the loopback sends there (RFC 5737).
    let far: SocketAddr = "203.0.113.9:5060".parse().unwrap();
    // More than leave with one system call.
    let messages: Vec<(String, SocketAddr)> = (0..70)
        .map(|number| {
            let source = if number % 10 == 3 { far } else { from };
            let words = Words { call: "options", transport: "UDP", from: source };
            (words.request("OPTIONS", number, "", ""), source)
        })
        .collect();
    front.hand_together(&messages);
    for number in (0..70).filter(|number| number % 10 != 3) {
        let (answer, source) = receive(&sip);
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        assert_eq!(
            (header(&answer, "CSeq"), source),
            (&*format!("{number} OPTIONS"), front.well_known.local_addr().unwrap())
        );
    }
    front.wait(|front| front.answered.len() == 70, |_| ());
    front.stop();
}

#[test]
fn a_call_over_tcp_to_the_workers_own_port_is_answered_on_its_connection() {
    let mut front = Front::start(10, rtp_range(20));
    let mut stream = TcpStream::connect(front.slot.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let words = Words { call: "tcp", transport: "TCP", from: stream.local_addr().unwrap() };
    let invite = words.invite("127.0.0.1:9".parse().unwrap(), "inactive");
    // In two pieces, with a keepalive in front.
    stream.write_all(b"\r\n\r\n").unwrap();
    stream.write_all(&invite.as_bytes()[..100]).unwrap();
    stream.write_all(&invite.as_bytes()[100..]).unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    while !text.contains("m=audio") {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    let ok = text.trim_start();
    assert!(ok.starts_with("SIP/2.0 200 ") && header(ok, "Contact").ends_with(";transport=tcp>"), "{text}");
    front.wait_for_sessions(1);
    assert_eq!(front.reports.last().unwrap().direct, 1);
    let ack_and_bye = words.request("ACK", 1, &to_tag(ok), "") + &words.request("BYE", 2, &to_tag(ok), "");
    stream.write_all(ack_and_bye.as_bytes()).unwrap();
    let length = stream.read(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 "));
    front.wait_for_sessions(0);
    front.stop();
}

#[test]
fn a_worker_without_room_or_ports_gives_calls_back_and_says_so() {
    let mut front = Front::start(2, rtp_range(1));
    let (sip, rtp) = (caller(), caller());
    let words = |call| Words { call, transport: "UDP", from: sip.local_addr().unwrap() };
    let media = rtp.local_addr().unwrap();
    front.hand(&words("a").invite(media, "sendrecv"), words("a").from);
    front.wait(|front| front.answered.len() == 1, |_| ());
    let second = front.hand(&words("b").invite(media, "sendrecv"), words("b").from);
    front.wait(|front| front.reports.last().is_some_and(|report| report.no_room), |_| ());
    assert_eq!(front.refused, [(second, RefuseReason::Exhausted)]);
    // Without media there is room for one more, and then no unit is left.
    front.hand(&words("c").invite(media, "inactive"), words("c").from);
    let fourth = front.hand(&words("d").invite(media, "inactive"), words("d").from);
    front.wait(|front| front.refused.len() == 2, |_| ());
    assert_eq!(front.refused[1], (fourth, RefuseReason::Full));
}

#[test]
fn a_stopped_worker_ends_its_calls_with_bye_and_returns() {
    let mut front = Front::start(10, rtp_range(20));
    let sip = caller();
    let words = Words { call: "stop", transport: "UDP", from: sip.local_addr().unwrap() };
    front.hand(&words.invite("127.0.0.1:9".parse().unwrap(), "inactive"), words.from);
    let (ok, _) = receive(&sip);
    let own = front.slot.local_addr().unwrap();
    sip.send_to(words.request("ACK", 1, &to_tag(&ok), "").as_bytes(), own).unwrap();
    // Its answer to a request after the ACK shows that the ACK has been read.
    sip.send_to(words.request("OPTIONS", 2, &to_tag(&ok), "").as_bytes(), own).unwrap();
    receive(&sip);
    let worker = front.worker.take().unwrap();
    front.send(&Record::Drain(Drain { mode: DrainMode::Stop, within: Duration::from_secs(3) }));
    let (bye, source) = receive(&sip);
    assert!(bye.starts_with("BYE sip:127.0.0.1"), "{bye}");
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        answer += &format!("{name}: {}\r\n", header(&bye, name));
    }
    sip.send_to(format!("{answer}Content-Length: 0\r\n\r\n").as_bytes(), source).unwrap();
    worker.join().unwrap().unwrap();
}

#[test]
fn a_worker_that_stops_is_not_called_back() {
    let mut front = Front::start(10, rtp_range(20));
    let sip = caller();
    let words = |call| Words { call, transport: "UDP", from: sip.local_addr().unwrap() };
    let media = "127.0.0.1:9".parse().unwrap();
    front.hand(&words("a").invite(media, "inactive"), words("a").from);
    front.wait_for_sessions(1);
    // Its 2xx has no ACK, so that the worker stays until its time is over.
    front.send(&Record::Drain(Drain { mode: DrainMode::Stop, within: Duration::from_secs(3) }));
    front.send(&Record::Drain(Drain { mode: DrainMode::Ready, within: Duration::ZERO }));
    let late = front.hand(&words("b").invite(media, "inactive"), words("b").from);
    front.wait(|front| !front.refused.is_empty(), |_| ());
    assert_eq!(front.refused, [(late, RefuseReason::Draining)]);
}

#[test]
fn an_rtp_port_that_another_program_has_costs_no_call() {
    let range = rtp_range(8);
    // All pairs but the last: of some the RTP port, of others the one for RTCP.
    let taken = |pair: u16| UdpSocket::bind(("127.0.0.1", range.0 + 2 * pair + pair % 2)).unwrap();
    let strangers: Vec<_> = (0..7).map(taken).collect();
    let mut front = Front::start(10, range);
    let sip = caller();
    let words = Words { call: "busy", transport: "UDP", from: sip.local_addr().unwrap() };
    front.hand(&words.invite("127.0.0.1:9".parse().unwrap(), "sendrecv"), words.from);
    let (ok, _) = receive(&sip);
    assert!(ok.contains(&format!("m=audio {} ", range.0 + 14)), "{ok}");
    front.wait_for_sessions(1);
    assert_eq!((front.refused.len(), strangers.len()), (0, 7));
}

/// Answers twice: a slip of an application.
struct Twice;

impl Application for Twice {
    fn on_call(&mut self, call: &mut Call<'_>) {
        call.echo();
        assert!(!call.echo());
    }
}

/// Asks for something that cannot be done, and then for something that can.
struct Misused;

impl Application for Misused {
    fn on_call(&mut self, call: &mut Call<'_>) {
        let status = |given, least, most| Err(Misuse::Status { given, least, most });
        assert_eq!(call.ring(200), status(200, 101, 199));
        assert_eq!(call.reject(200), status(200, 300, 699));
        assert!(matches!(call.accept(b"garbage"), Err(Misuse::NotSdp(_))));
        assert_eq!(call.reject(302), Err(Misuse::Missing { status: 302, header: "Contact" }));
        let answer = call.offer().expect("the caller offers").to_vec();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(call.early_media(183, &answer), Ok(()));
        assert_eq!(call.accept(text.replace("RTP/AVP 0", "RTP/AVP 8").as_bytes()), Err(Misuse::AnotherAnswer));
        let contact = ("Contact", "<sip:other@192.0.2.7>");
        assert_eq!(call.reject_with(302, &[contact]), Ok(()));
        assert_eq!(call.reject(486), Err(Misuse::NotWaiting));
    }
}

#[test]
fn misuse_of_a_call_is_an_error_and_a_redirect_has_its_contact() {
    let mut front = Front::start_with(Misused, 10, rtp_range(1));
    let sip = caller();
    let words = Words { call: "a", transport: "UDP", from: sip.local_addr().unwrap() };
    let invite = words.invite("127.0.0.1:9".parse().unwrap(), "sendrecv");
    front.hand(&invite.replace("Max-Forwards: 70", "Max-Forwards: 70\r\nSupported: 100rel"), words.from);
    let (early, _) = receive(&sip);
    assert!(early.starts_with("SIP/2.0 183 ") && early.contains("RSeq: "), "{early}");
    let (moved, _) = receive(&sip);
    assert!(moved.starts_with("SIP/2.0 302 "), "{moved}");
    assert!(moved.contains("\r\nContact: <sip:other@192.0.2.7>\r\n"), "{moved}");
}

#[test]
fn a_call_that_is_answered_twice_holds_its_ports_once() {
    let mut front = Front::start_with(Twice, 10, rtp_range(2));
    let sip = caller();
    for call in ["a", "b", "c"] {
        let words = Words { call, transport: "UDP", from: sip.local_addr().unwrap() };
        front.hand(&words.invite("127.0.0.1:9".parse().unwrap(), "sendrecv"), words.from);
        let (ok, _) = receive(&sip);
        assert!(ok.starts_with("SIP/2.0 200 "), "{ok}");
        front.wait_for_sessions(1);
        assert!(!front.reports.last().unwrap().no_room);
        sip.send_to(words.request("BYE", 2, &to_tag(&ok), "").as_bytes(), front.slot.local_addr().unwrap()).unwrap();
        receive(&sip);
        front.wait_for_sessions(0);
    }
    front.stop();
}

#[test]
fn a_conference_is_reported_with_its_first_leg_and_its_last() {
    let mut front = Front::start(10, rtp_range(1));
    let sip = caller();
    let words = Words { call: "conf", transport: "UDP", from: sip.local_addr().unwrap() };
    let invite = words
        .invite("127.0.0.1:9".parse().unwrap(), "inactive")
        .replace("sip:echo@127.0.0.1 ", "sip:conf=7@127.0.0.1 ");
    front.hand(&invite, words.from);
    let (ok, _) = receive(&sip);
    let own = front.slot.local_addr().unwrap();
    sip.send_to(words.request("ACK", 1, &to_tag(&ok), "").as_bytes(), own).unwrap();
    sip.send_to(words.request("BYE", 2, &to_tag(&ok), "").as_bytes(), own).unwrap();
    let mut said = Vec::new();
    front.wait(
        |front| front.reports.last().is_some_and(|report| report.answered == 1 && report.sessions == 0),
        |record| {
            said.push(match record {
                Record::GroupOpen { name, .. } => format!("open {}", String::from_utf8_lossy(name)),
                Record::GroupClosed { name } => format!("closed {}", String::from_utf8_lossy(name)),
                other => panic!("{other:?}"),
            });
        },
    );
    assert_eq!(said, ["open conf=7", "closed conf=7"]);
    front.stop();
}

#[test]
fn calls_outlive_the_dispatcher() {
    let mut front = Front::start(10, rtp_range(20));
    let sip = caller();
    let words = Words { call: "orphan", transport: "UDP", from: sip.local_addr().unwrap() };
    front.hand(&words.invite("127.0.0.1:9".parse().unwrap(), "inactive"), words.from);
    let (ok, _) = receive(&sip);
    let own = front.slot.local_addr().unwrap();
    sip.send_to(words.request("ACK", 1, &to_tag(&ok), "").as_bytes(), own).unwrap();
    drop(front);
    sip.send_to(words.request("BYE", 2, &to_tag(&ok), "").as_bytes(), own).unwrap();
    let (answer, _) = receive(&sip);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

#[test]
fn a_worker_that_is_not_wanted_says_why() {
    let (link, end) = SeqPacket::pair().unwrap();
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Goodbye("another has w0"));
    link.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
    let error = run(Settings::new(Link::Inherited(OwnedFd::from(end).into_raw_fd())), Echo::default()).unwrap_err();
    assert_eq!(error.to_string(), "the dispatcher did not welcome this worker: another has w0");
    let missing = Settings::new(Link::Path("/nonexistent/handoff.sock".into()));
    assert!(matches!(run(missing, Echo::default()), Err(WorkerError::Link { .. })));
}

/// Figures for `benches/README.md`: build the example first, in the same profile.
#[test]
#[ignore = "a measurement, to be run alone in a release build"]
fn the_cost_of_a_call_at_a_worker() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handoff.sock");
    let listener = SeqListener::bind(&path).unwrap();
    let executable = std::env::current_exe().unwrap();
    let example = executable.parent().unwrap().parent().unwrap().join("examples/echo_worker");
    let mut child = std::process::Command::new(example).arg(&path).stdout(std::process::Stdio::null()).spawn().unwrap();
    let link = loop {
        if let Some(link) = listener.accept().unwrap() {
            break link;
        }
        let mut watched = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut watched, None).unwrap();
    };
    let mut front = Front::welcome(link, None, 1_000_000, rtp_range(1));
    let own = front.slot.local_addr().unwrap();
    let sip = caller();
    let from = sip.local_addr().unwrap();
    let text = |method: &str, number: u32, cseq: u32, to_tag: &str, body: &str| {
        format!(
            "{method} sip:echo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{number}{method};rport\r\n\
             From: <sip:caller@127.0.0.1>;tag={number}\r\nTo: <sip:echo@127.0.0.1>{to_tag}\r\nCall-ID: {number}@127.0.0.1\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{from}>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0 8 101\r\n\
               a=rtpmap:101 telephone-event/8000\r\na=inactive\r\n";
    let status = |field: usize| {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        text.rsplit_once(") ").unwrap().1.split(' ').nth(field - 3).unwrap().parse::<u64>().unwrap()
    };
    let cpu = || Duration::from_millis((status(14) + status(15)) * 10);
    let mut run = |first: u32, count: u32, end: bool| {
        let before = cpu();
        for batch in (first..first + count).collect::<Vec<_>>().chunks(64) {
            for number in batch {
                front.hand(&text("INVITE", *number, 1, "", sdp), from);
            }
            // A response that is repeated, because this end was slow, must not be taken for another's.
            let mut waiting: std::collections::HashSet<(u32, bool)> = batch
                .iter()
                .flat_map(|number| [(*number, true), (*number, false)])
                .filter(|(_, it)| end || *it)
                .collect();
            while !waiting.is_empty() {
                let (ok, _) = receive(&sip);
                let number = header(&ok, "Call-ID").split('@').next().unwrap().parse().unwrap();
                let invite = header(&ok, "CSeq").ends_with("INVITE");
                if !waiting.remove(&(number, invite)) || !invite {
                    continue;
                }
                sip.send_to(text("ACK", number, 1, &to_tag(&ok), "").as_bytes(), own).unwrap();
                if end {
                    sip.send_to(text("BYE", number, 2, &to_tag(&ok), "").as_bytes(), own).unwrap();
                }
            }
            let last = front.seq;
            front.wait(|front| front.answered.last() == Some(&Seq(last)), |_| ());
            front.answered.clear();
        }
        (cpu() - before) / count
    };
    println!("a full call: {:?} of the worker's CPU", run(0, 20_000, true));
    let before = status(24) * 4096;
    println!("a call to set up: {:?}", run(1_000_000, 50_000, false));
    println!("resident: {} MiB before, {} MiB with 50,000 standing calls", before >> 20, (status(24) * 4096) >> 20);
    child.kill().unwrap();
    child.wait().unwrap();
}
