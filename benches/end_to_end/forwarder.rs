//! The bare forwarder: the least that a dispatcher process could do, as the measure for the one that does everything.
//!
//! It reads batches with `recvmmsg`, puts a fixed record header in front of each message and writes it to the next
//! worker's `SOCK_SEQPACKET` link, one write a message, round robin. No parsing, no table, no retention, no load. Its
//! workers are the same executables, with the same sockets, that Pointsman starts; it runs as a process of its own,
//! which is this benchmark's executable with `forwarder` as its first word.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use pointsman::ids::{Incarnation, ListenerId, Seq, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::wire::handoff::{
    FRAME_HEADER, Frame, FrameBuilder, MESSAGE_HEADER, Record, frame_header, message_header,
};
use pointsman::words::{Envelope, PassedSocket, ReplyFrom, ReplyTo, SocketRole, Transport, Welcome};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
    send, sendmsg, socketpair,
};

use crate::support::pointsman::EXECUTABLE;

/// The largest datagram.
const LARGEST: usize = 65_535;
/// Messages read in one system call.
const BATCH: usize = 32;
/// Bytes before each message: the frame's header and the record's.
const HEAD: usize = FRAME_HEADER + MESSAGE_HEADER;
/// Batches between two looks at what the workers say.
const READ_LINKS_EVERY: u32 = 64;

/// The forwarder's command line.
pub struct Setup {
    /// The address where it listens; IPv4.
    pub listen: SocketAddrV4,
    /// The first worker's port.
    pub worker_ports: u16,
    /// The number of workers.
    pub workers: u16,
    /// Units of each worker.
    pub capacity: u32,
    /// The file where sinks count, when the forwarder has sinks instead of workers.
    pub sinks: Option<PathBuf>,
}

impl Setup {
    /// The words that [`Setup::from_words`] reads.
    pub fn words(&self) -> Vec<String> {
        let Setup { listen, worker_ports, workers, capacity, sinks } = self;
        let words = [listen.to_string(), worker_ports.to_string(), workers.to_string(), capacity.to_string()];
        words.into_iter().chain(sinks.iter().map(|counts| counts.display().to_string())).collect()
    }

    /// The setup that `words` name.
    pub fn from_words(words: &[String]) -> Option<Self> {
        let [listen, worker_ports, workers, capacity, sinks @ ..] = words else { return None };
        Some(Setup {
            listen: listen.parse().ok()?,
            worker_ports: worker_ports.parse().ok()?,
            workers: workers.parse().ok()?,
            capacity: capacity.parse().ok()?,
            sinks: sinks.first().map(PathBuf::from),
        })
    }
}

/// Runs until stdin is closed; says `ready` on stdout when all workers are.
pub fn run(setup: &Setup) -> std::io::Result<()> {
    let listener = UdpSocket::bind(setup.listen)?;
    let options = socket2::SockRef::from(&listener);
    options.set_recv_buffer_size(8 << 20)?;
    options.set_send_buffer_size(4 << 20)?;
    let workers =
        (0..setup.workers).map(|slot| Worker::start(setup, slot, &listener)).collect::<std::io::Result<Vec<_>>>()?;
    println!("ready");
    std::io::stdout().flush()?;
    forward(&listener, workers)
}

struct Worker {
    link: OwnedFd,
    child: Child,
    seq: u64,
}

impl Worker {
    fn start(setup: &Setup, slot: u16, listener: &UdpSocket) -> std::io::Result<Self> {
        let (link, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for end in [&link, &theirs] {
            let options = socket2::SockRef::from(end);
            options.set_send_buffer_size(4 << 20)?;
            options.set_recv_buffer_size(4 << 20)?;
        }
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let name = WorkerId(slot).to_string();
        let fd = theirs.as_raw_fd().to_string();
        let mut command = match &setup.sinks {
            None => Command::new(EXECUTABLE),
            Some(_) => Command::new(std::env::current_exe()?),
        };
        match &setup.sinks {
            None => command.args(["worker", "--name", &name, "--link-fd", &fd]),
            Some(counts) => command.arg("sink").arg(counts).args([&slot.to_string(), "fd", &fd]),
        };
        let child = command
            // Only warnings: workers would log the forwarder's end at each run.
            .env("POINTSMAN_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        drop(theirs);
        let worker = Worker { link, child, seq: 0 };
        worker.await_hello()?;
        worker.welcome(setup, slot, name, listener)?;
        Ok(worker)
    }

    fn await_hello(&self) -> std::io::Result<()> {
        let mut buffer = vec![0; LARGEST];
        let (length, _) = recv(&self.link, &mut buffer[..], RecvFlags::empty())?;
        let first = Frame::parse(&buffer[..length]).ok().and_then(|mut frame| frame.next());
        match first {
            Some(Ok(Record::Hello(_))) => Ok(()),
            other => Err(std::io::Error::other(format!("the worker's first record is {other:?}"))),
        }
    }

    fn welcome(&self, setup: &Setup, slot: u16, name: String, listener: &UdpSocket) -> std::io::Result<()> {
        let ip = IpAddr::from(*setup.listen.ip());
        let own = SocketAddr::new(ip, setup.worker_ports + slot);
        let (udp, tcp) = (UdpSocket::bind(own)?, TcpListener::bind(own)?);
        let key = TokenKey::new([7; 32]);
        let incarnation = Incarnation::new(u64::from(std::process::id()) << 16 | u64::from(slot));
        let passed = |role, address, listener| PassedSocket { role, address, listener };
        let well_known = SocketAddr::from(setup.listen);
        let rtp = 20_000 + 2_000 * slot;
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Welcome(Welcome {
            name,
            slot,
            token: key.token(incarnation).to_string(),
            incarnation: incarnation.bits(),
            secret: key.slot_secret(WorkerId(slot), incarnation),
            key: None,
            capacity: setup.capacity,
            advertise: Vec::new(),
            contact_name: None,
            rtp_ports: (rtp, rtp + 1_999),
            reply_from: ReplyFrom::Listener,
            sockets: vec![
                passed(SocketRole::SipUdp, own, None),
                passed(SocketRole::SipTcp, own, None),
                passed(SocketRole::Listener, well_known, Some(0)),
            ],
            listeners: vec![well_known],
            access: Vec::new(),
            mgcp: None,
            features: vec![],
            lan: None,
        }));
        let fds: [BorrowedFd<'_>; 3] = [udp.as_fd(), tcp.as_fd(), listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.link, &[IoSlice::new(frame.bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// One frame of one record, in front of the message in `buffer`, in one write.
    fn hand_over(&mut self, buffer: &mut [u8], mut envelope: Envelope, scratch: &mut [u8]) -> std::io::Result<()> {
        self.seq += 1;
        envelope.seq = Seq(self.seq);
        let payload = buffer.len() - HEAD;
        buffer[..FRAME_HEADER].copy_from_slice(&frame_header(MESSAGE_HEADER + payload));
        buffer[FRAME_HEADER..HEAD].copy_from_slice(&message_header(&envelope, payload));
        loop {
            match send(&self.link, buffer, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => {
                    // The worker may itself wait until it is heard.
                    self.discard_reports(scratch)?;
                    let mut fds = [PollFd::new(&self.link, PollFlags::OUT | PollFlags::IN)];
                    poll(&mut fds, None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what the worker says, and does nothing with it.
    fn discard_reports(&self, scratch: &mut [u8]) -> std::io::Result<()> {
        loop {
            match recv(&self.link, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(std::io::Error::other("a worker has gone")),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(listener: &UdpSocket, mut workers: Vec<Worker>) -> std::io::Result<()> {
    let local = listener.local_addr()?;
    let mut buffers = vec![vec![0_u8; HEAD + LARGEST]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut arrived: Vec<(usize, SocketAddr)> = Vec::with_capacity(BATCH);
    let mut scratch = vec![0; 4096];
    let (mut next, mut batches) = (0, 0_u32);
    loop {
        arrived.clear();
        receive(listener, &mut buffers, &mut headers, &mut arrived)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let received = Time(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000);
        for (buffer, &(length, source)) in buffers.iter_mut().zip(&arrived) {
            let envelope = Envelope {
                seq: Seq(0),
                received,
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
                source,
                local,
            };
            workers[next].hand_over(&mut buffer[..HEAD + length], envelope, &mut scratch)?;
            next = (next + 1) % workers.len();
        }
        batches = batches.wrapping_add(1);
        if arrived.len() < BATCH || batches % READ_LINKS_EVERY == 0 {
            let waits = arrived.len() < BATCH;
            if !attend(listener, &workers, waits, &mut scratch)? {
                return Ok(());
            }
        }
    }
}

/// Reads a batch into `buffers`, after the room for the headers; `arrived` gets length and source of each message.
fn receive(
    listener: &UdpSocket,
    buffers: &mut [Vec<u8>],
    headers: &mut MultiHeaders<SockaddrIn>,
    arrived: &mut Vec<(usize, SocketAddr)>,
) -> std::io::Result<()> {
    let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(&mut buffer[HEAD..])]).collect();
    match recvmmsg(listener.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
        Ok(results) => arrived.extend(results.map(|result| (result.bytes, source(result.address)))),
        Err(nix::errno::Errno::EAGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Waits for a message where there is none, reads the links that have something; false when stdin was closed.
fn attend(listener: &UdpSocket, workers: &[Worker], waits: bool, scratch: &mut [u8]) -> std::io::Result<bool> {
    let stdin = std::io::stdin();
    let mut fds = vec![PollFd::new(listener, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    fds.extend(workers.iter().map(|worker| PollFd::new(&worker.link, PollFlags::IN)));
    let timeout = (!waits).then_some(rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 });
    poll(&mut fds, timeout.as_ref())?;
    let told: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    if told[1] && stdin.lock().read(&mut [0])? == 0 {
        return Ok(false);
    }
    for (worker, _) in workers.iter().zip(&told[2..]).filter(|(_, told)| **told) {
        worker.discard_reports(scratch)?;
    }
    Ok(true)
}

fn source(address: Option<SockaddrIn>) -> SocketAddr {
    address.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |address| SocketAddrV4::from(address).into())
}
