//! A worker that takes every message and answers none: for measurements in which only the way to the worker counts.
//!
//! It speaks the handoff protocol with the product's own end of it: numbers as answered within 10 ms, reports every 100
//! ms. It runs as a process of its own, which is this benchmark's executable with `sink` as its first word.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, wait_for};
use pointsman::ids::{Seq, Token};
use pointsman::link::worker_end::{FromDispatcher, WorkerEnd};
use pointsman::net::clock;
use pointsman::net::unix::{SEND_BUFFER, SeqPacket};
use pointsman::wire::handoff::FRAME_HARD_LIMIT;
use pointsman::words::{Hello, Port, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Interval at which a sink reports the messages it has taken.
const TELL_EVERY: Duration = Duration::from_millis(2);
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// More than any run hands over.
const UNITS: u32 = 1_000_000_000;

/// The way in which a sink gets its link.
pub enum Link {
    /// A descriptor that was left open for it.
    Inherited(RawFd),
    /// The dispatcher's handoff socket, and the address that it claims to serve.
    Path(PathBuf, SocketAddr),
}

/// The counts of all sinks, in a file: the count of each, eight bytes, and after the counts their tokens.
pub struct Counts(File);

/// The counts of so many sinks fit in front of the tokens.
const MOST: usize = 64;

impl Counts {
    /// A file for the counts of `sinks` sinks.
    pub fn create(path: &Path, sinks: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        assert!(sinks <= MOST, "more sinks than there is room for");
        file.set_len(((8 + Token::LEN) * MOST) as u64)?;
        Ok(Counts(file))
    }

    /// The tokens of all sinks, once each has its own: the dispatcher may show one as up before it has read its
    /// welcome.
    pub fn tokens(&self, sinks: usize) -> Vec<String> {
        wait_for("the tokens of the sinks", DEADLINE, || {
            let mut bytes = vec![0; Token::LEN * sinks];
            self.0.read_exact_at(&mut bytes, 8 * MOST as u64).ok()?;
            let is_there = |token: &[u8]| token.iter().all(|byte| *byte != 0);
            let text = |token: &[u8]| String::from_utf8_lossy(token).into_owned();
            let mut tokens = bytes.chunks_exact(Token::LEN);
            tokens.clone().all(is_there).then(|| tokens.by_ref().map(text).collect())
        })
    }

    fn introduce(&self, slot: usize, token: &str) -> io::Result<()> {
        self.0.write_all_at(token.as_bytes(), (8 * MOST + Token::LEN * slot) as u64)
    }

    /// All messages that all sinks have taken.
    pub fn sum(&self, sinks: usize) -> u64 {
        let mut bytes = vec![0; 8 * sinks];
        self.0.read_exact_at(&mut bytes, 0).expect("the counts can be read");
        bytes.chunks_exact(8).map(|count| u64::from_le_bytes(count.try_into().unwrap_or_default())).sum()
    }

    fn tell(&self, slot: usize, count: u64) -> io::Result<()> {
        self.0.write_all_at(&count.to_le_bytes(), 8 * slot as u64)
    }
}

/// The words that start a sink: `sink COUNTS SLOT fd N`, or `sink COUNTS SLOT path PATH ADDRESS`.
pub fn run(words: &[String]) -> io::Result<()> {
    let wrong = || io::Error::other("a sink is started by the benchmark only");
    let [counts, slot, how, rest @ ..] = words else { return Err(wrong()) };
    let counts = Counts(OpenOptions::new().read(true).write(true).open(counts)?);
    let slot: usize = slot.parse().map_err(|_| wrong())?;
    let link = match (how.as_str(), rest) {
        ("fd", [fd]) => Link::Inherited(fd.parse().map_err(|_| wrong())?),
        ("path", [path, address]) => Link::Path(path.into(), address.parse().map_err(|_| wrong())?),
        _ => return Err(wrong()),
    };
    serve(&counts, slot, link)
}

fn serve(counts: &Counts, slot: usize, link: Link) -> io::Result<()> {
    let mut hello =
        Hello { program: "sink".into(), pid: std::process::id(), capacity: Some(UNITS), ..Hello::default() };
    // Held for as long as it serves: no other process is to have the address.
    let mut own_port = None;
    let socket = match link {
        Link::Inherited(fd) => SeqPacket::from_fd(inherited(fd)?)?,
        Link::Path(path, address) => {
            own_port = Some(UdpSocket::bind(address)?);
            hello.services = vec!["sip".into(), "mgcp".into()];
            hello.ports = ["sip", "mgcp"].map(|service| Port { service: service.into(), address }).into();
            SeqPacket::connect(&path).map_err(io::Error::other)?
        }
    };
    socket.set_buffers(SEND_BUFFER, 0)?;
    let mut back = WorkerEnd::new();
    back.hello(hello);
    let mut frame = vec![0; FRAME_HARD_LIMIT];
    let mut seqs: Vec<Seq> = Vec::with_capacity(256);
    let (mut taken, mut told, mut reported) = (0_u64, Instant::now(), Instant::now());
    loop {
        let now = clock::now();
        back.poll_transmit(now, |pieces| socket.send(pieces, &[]).map(drop))?;
        match socket.recv(&mut frame, &mut Vec::new()) {
            Ok(0) => break,
            Ok(length) => {
                let mut welcomed = None;
                back.on_frame(&frame[..length], &mut |event| match event {
                    FromDispatcher::Message(message) => seqs.push(message.envelope.seq),
                    FromDispatcher::Welcome(welcome) => welcomed = Some(welcome.token),
                    _ => {}
                })
                .map_err(io::Error::other)?;
                taken += seqs.len() as u64;
                seqs.drain(..).for_each(|seq| back.done(seq, now));
                if let Some(token) = &welcomed {
                    counts.introduce(slot, token)?;
                }
                if welcomed.is_some() || back.report_due() || reported.elapsed() >= REPORT_EVERY {
                    reported = Instant::now();
                    back.report(report(back.taken_through()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
                poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }))?;
            }
            Err(error) => return Err(error),
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            counts.tell(slot, taken)?;
        }
    }
    drop(own_port);
    Ok(())
}

fn report(covers: Seq) -> Report {
    Report {
        number: 0,
        taken_through: covers,
        covers,
        units_used: 0,
        units_total: UNITS,
        sessions: 0,
        cpu: 0,
        no_room: false,
        draining: false,
        direct: 0,
        answered: 0,
    }
}

/// A descriptor that was inherited under its number, as one of our own.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    let duplicate = rustix::process::pidfd_getfd(own, fd, rustix::process::PidfdGetfdFlags::empty())?;
    nix::unistd::close(fd)?;
    Ok(duplicate)
}
