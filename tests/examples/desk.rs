//! The dispatcher's end of a handoff link, played by a test.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType,
};

use pointsman::ids::{Incarnation, ListenerId, Seq, Token, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::{
    Envelope, Hello, Message, PassedSocket, RefuseReason, ReplyFrom, ReplyTo, Report, SocketRole, Transport, Welcome,
};

use crate::python::Python;
use crate::support::phone::{Phone, Request};
use crate::support::{DEADLINE, own_address};

/// The dispatcher's end of the link, played by the test: it does what the frame format requires, no more.
pub struct Desk {
    socket: OwnedFd,
    link: OwnedFd,
    listener: UdpSocket,
    /// The well-known address: where the listener is, or one of the addresses of a wildcard listener.
    address: SocketAddr,
    pub phone: Phone,
    /// The worker's own port, by its `Hello`.
    pub port: SocketAddr,
    pub token: Token,
    next: std::cell::Cell<u64>,
    pub python: Python,
    _run_dir: tempfile::TempDir,
}

impl Desk {
    pub fn open(capacity: u32) -> Self {
        let ip = own_address();
        Desk::open_on(UdpSocket::bind((ip, 0)).unwrap(), ip, capacity)
    }

    pub fn open_on(listener: UdpSocket, ip: Ipv4Addr, capacity: u32) -> Self {
        let run_dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(run_dir.path().join("handoff.sock")).unwrap()).unwrap();
        rustix::net::listen(&socket, 4).unwrap();
        let python = Python::start(run_dir.path(), ip, capacity);
        let link = accept(&socket);
        let hello = receive(&link, hello);
        let name = hello.name.clone().filter(|name| name.parse::<WorkerId>().is_err());
        assert!(name.is_some(), "{hello:?}");
        let (ports, pid, program) = (hello.ports.clone(), python.pid(), "worker.py".into());
        assert_eq!(hello, Hello { name, ports, pid, program, capacity: Some(capacity), links: 64, ..Hello::default() });
        let desk = Desk {
            socket,
            link,
            phone: Phone::new(ip.into()),
            address: SocketAddr::new(ip.into(), listener.local_addr().unwrap().port()),
            listener,
            port: hello.ports[0].address,
            token: TokenKey::new([5; 32]).token(Incarnation::new(77)),
            next: std::cell::Cell::new(1),
            python,
            _run_dir: run_dir,
        };
        desk.welcome(capacity, ip);
        desk
    }

    pub fn welcome(&self, capacity: u32, ip: Ipv4Addr) {
        let address = self.listener.local_addr().unwrap();
        let welcome = Welcome {
            name: "w4".into(),
            slot: 4,
            token: self.token.to_string(),
            incarnation: 77,
            secret: 1,
            key: None,
            capacity,
            advertise: vec![ip.into()],
            contact_name: None,
            rtp_ports: (20_000, 20_999),
            reply_from: ReplyFrom::Listener,
            sockets: vec![PassedSocket { role: SocketRole::Listener, address, listener: Some(0) }],
            listeners: vec![address],
            access: Vec::new(),
            mgcp: None,
            features: vec![],
            lan: None,
        };
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Welcome(welcome));
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors = [self.listener.as_fd()];
        assert!(beside.push(SendAncillaryMessage::ScmRights(&descriptors)));
        rustix::net::sendmsg(&self.link, &[IoSlice::new(frame.bytes())], &mut beside, SendFlags::empty()).unwrap();
    }

    /// The link ends, as if the dispatcher had died; the worker's `Hello` to the next one.
    pub fn die_and_come_back(&mut self) -> Hello {
        rustix::net::shutdown(&self.link, Shutdown::Both).unwrap();
        self.link = accept(&self.socket);
        receive(&self.link, hello)
    }

    /// The well-known address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn send(&self, record: &Record<'_>) {
        let mut frame = FrameBuilder::new();
        frame.push(record);
        rustix::net::send(&self.link, frame.bytes(), SendFlags::empty()).unwrap();
    }

    /// Hands a message over; returns its number.
    pub fn hand_over(&self, bytes: &[u8], change: impl FnOnce(&mut Envelope)) -> Seq {
        let seq = Seq(self.next.replace(self.next.get() + 1));
        let mut envelope = Envelope {
            seq,
            received: now(),
            deadline: Some(now() + Duration::from_secs(20)),
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
            source: self.phone.address(),
            local: self.address(),
        };
        change(&mut envelope);
        self.send(&Record::Message(Message { envelope, payload: bytes }));
        seq
    }

    pub fn hand_over_request(&self, request: &Request) -> Seq {
        self.hand_over(request.text().as_bytes(), |_| {})
    }

    /// Reads records until one is what is asked for.
    pub fn expect<T>(&self, wanted: impl FnMut(&Record<'_>) -> Option<T>) -> T {
        receive(&self.link, wanted)
    }

    pub fn expect_answered(&self, seq: Seq) {
        self.expect(|record| match record {
            Record::Answered(seqs) => seqs.iter().find(|answered| *answered == seq),
            Record::Refuse { seq: refused, reason } => panic!("{refused:?} was refused: {reason:?}"),
            _ => None,
        });
    }

    pub fn expect_refused(&self, seq: Seq) -> RefuseReason {
        self.expect(|record| match record {
            Record::Refuse { seq: refused, reason } if *refused == seq => Some(*reason),
            Record::Answered(seqs) if seqs.iter().any(|answered| answered == seq) => panic!("{seq:?} was answered"),
            _ => None,
        })
    }

    pub fn expect_report(&self, is_it: impl Fn(&Report) -> bool) -> Report {
        self.expect(|record| match record {
            Record::Report(report) if is_it(report) => Some(*report),
            _ => None,
        })
    }
}

/// The next worker that connects.
fn accept(socket: &OwnedFd) -> OwnedFd {
    set_socket_timeout(socket, Timeout::Recv, Some(DEADLINE)).unwrap();
    let link = rustix::net::accept(socket).expect("the worker connects");
    set_socket_timeout(&link, Timeout::Recv, Some(DEADLINE)).unwrap();
    link
}

fn hello(record: &Record<'_>) -> Option<Hello> {
    match record {
        Record::Hello(hello) => Some(hello.clone()),
        other => panic!("{other:?} before Hello"),
    }
}

fn receive<T>(link: &OwnedFd, mut wanted: impl FnMut(&Record<'_>) -> Option<T>) -> T {
    let begin = Instant::now();
    let mut buffer = vec![0; FRAME_HARD_LIMIT];
    while begin.elapsed() < DEADLINE {
        let (length, _) =
            rustix::net::recv(link, &mut buffer[..], RecvFlags::empty()).expect("a record before the deadline");
        assert!(length > 0, "the worker closed its link");
        for record in Frame::parse(&buffer[..length]).expect("a frame") {
            if let Some(found) = wanted(&record.expect("a record")) {
                return found;
            }
        }
    }
    panic!("waited {DEADLINE:?} for a record");
}

fn now() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Time(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
}
