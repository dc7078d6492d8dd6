//! One connection: its socket, the state of its bytes, and the bytes that wait to leave.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::{CAP, CloseReason, ConnKey, Ends, Moved, Origin, PAUSE, SPARE, SPARE_BYTES, TICK};
use crate::net::tcp;
use crate::stream::{Fault, Received, Stream};
use crate::time::Time;

/// A connection that we have opened may have so many times the bytes waiting.
const MANY: usize = 16;

/// A connection on which nothing has come for so long is quiet.
const QUIET: Duration = Duration::from_secs(5);

/// A peer that has taken nothing for so long while bytes wait for it reads nothing.
const STALLED: Duration = Duration::from_secs(30);

/// A connection in its place.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    pub(super) stream: Stream,
    pub(super) ends: Ends,
    /// Bytes that must leave. A connection has a buffer only while there are any.
    pub(super) outgoing: Vec<u8>,
    /// Number of them that have left.
    sent: usize,
    /// The time at which it is closed, and why: nothing more is read from it.
    ending: Option<(Time, CloseReason)>,
    /// Whether the kernel takes no more bytes until it says so.
    is_blocked: bool,
    /// The time at which it was first found blocked since the kernel took bytes last.
    stalled: Option<Time>,
    /// Whether it is still being opened.
    is_connecting: bool,
    /// Whether a message has come on it.
    has_served: bool,
    /// The certificate by which its peer has shown who it is.
    certificate: Option<CertificateDer<'static>>,
    /// Requests that have come and have no final response yet. One that never gets one stays counted.
    pub(super) unanswered: u32,
    /// Whether it must be read to its end: the peer has ended its half, and no event follows.
    pub(super) must_reach_end: bool,
    /// Whether something may be read from it that is not, because too much waits to leave.
    pub(super) is_paused: bool,
    /// Whether it stands in the list of readable connections.
    pub(super) is_listed: bool,
    /// Whether it stands in the list of connections that have bytes to leave.
    pub(super) is_unflushed: bool,
    /// The time from which it was there, also in processes before this one.
    pub(super) since: Time,
    pub(super) heard: Time,
    /// The deadline that is filed for it.
    pub(super) armed: Time,
    /// Times at which a connection that another process enciphers for us is closed: from the first on when it is quiet,
    /// at the second in any case.
    pub(super) leaves: Option<(Time, Time)>,
    /// No more is wanted of it: the time at which it is looked at whether anything still waits, and that at which it is
    /// closed in any case.
    pub(super) hung_up: Option<(Time, Time)>,
    /// Our end of the pair that gives another process its plaintext.
    pub(super) plaintext: Option<UnixStream>,
}

/// Result of a read.
#[derive(Debug)]
pub(super) enum Read {
    /// There may be more.
    More,
    /// There is nothing more for now.
    Drained,
    /// The peer has ended its half.
    Ended,
    /// The connection is of no more use.
    Over(CloseReason),
    /// No later message can be read.
    Faulty(Fault),
}

impl Connection {
    pub(super) fn new(moved: Moved, now: Time) -> Self {
        let Moved { socket, stream, outgoing, ends } = moved;
        Connection {
            is_connecting: ends.listener.is_none(),
            socket,
            stream,
            ends,
            outgoing,
            sent: 0,
            ending: None,
            is_blocked: false,
            stalled: None,
            has_served: false,
            certificate: None,
            unanswered: 0,
            must_reach_end: false,
            is_paused: false,
            is_listed: false,
            is_unflushed: false,
            since: now,
            heard: now,
            armed: Time::NEVER,
            leaves: None,
            hung_up: None,
            plaintext: None,
        }
    }

    pub(super) fn into_moved(mut self) -> Moved {
        self.outgoing.drain(..self.sent);
        Moved { socket: self.socket, stream: self.stream, outgoing: self.outgoing, ends: self.ends }
    }

    /// Whether a message has come on it.
    pub(super) const fn has_served(&self) -> bool {
        self.has_served
    }

    /// Reason for its end by an error of its socket. A connection of ours on which nothing has come yet most likely was
    /// never open.
    pub(super) fn broken(&self, error: &io::Error) -> CloseReason {
        match self.ends.listener {
            None if !self.has_served && tcp::is_refusal(error) => CloseReason::Refused,
            None if !self.has_served => CloseReason::Unreachable,
            _ => CloseReason::Broken,
        }
    }

    /// Notes whether a message has come on it.
    pub(super) const fn set_served(&mut self, has_served: bool) {
        self.has_served = has_served;
    }

    /// The bytes that wait to leave.
    pub(super) fn unsent(&self) -> &[u8] {
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// Number of bytes that wait to leave.
    pub(super) const fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Whether its peer has not ended its half.
    pub(super) const fn is_whole(&self) -> bool {
        self.ending.is_none()
    }

    /// Bytes that may wait to leave while it is read, and those with which it is closed. Connections that we have
    /// opened carry the messages of many.
    const fn limits(&self) -> (usize, usize) {
        if self.ends.listener.is_some() { (PAUSE, CAP) } else { (MANY * PAUSE, MANY * CAP) }
    }

    /// Whether something is to be read from it now.
    pub(super) const fn may_read(&self) -> bool {
        self.is_whole() && self.waiting() < self.limits().0
    }

    /// Whether it is still being opened.
    pub(super) const fn is_connecting(&self) -> bool {
        self.is_connecting
    }

    /// Whether we are still opening it: it is not connected, or its handshakes are under way.
    pub(super) fn is_being_opened(&self) -> bool {
        self.ends.listener.is_none() && (self.is_connecting || !self.stream.is_open())
    }

    /// Whether the kernel has connected it.
    pub(super) fn is_connected(&self) -> bool {
        self.socket.peer_addr().is_ok()
    }

    /// Whether it should be written to, and stands in no list for that yet.
    pub(super) const fn wants_flush(&self) -> bool {
        self.waiting() > 0 && !self.is_unflushed && !self.is_blocked
    }

    /// The kernel takes bytes. True where it should be written to, and stands in no list for that yet.
    pub(super) fn on_writable(&mut self) -> bool {
        (self.is_blocked, self.stalled) = (false, None);
        self.is_connecting = false;
        let wants = self.wants_flush();
        self.is_unflushed |= wants;
        wants
    }

    /// Gets a buffer that has been used before.
    pub(super) fn lend(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = spare.pop().unwrap_or_default();
        }
    }

    /// Gives its buffer back when nothing waits.
    pub(super) fn give_back(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.waiting() == 0 && self.outgoing.capacity() > 0 {
            let mut buffer = std::mem::take(&mut self.outgoing);
            self.sent = 0;
            if spare.len() < SPARE && buffer.capacity() <= SPARE_BYTES {
                buffer.clear();
                spare.push(buffer);
            }
        }
    }

    /// Reads once into `buffer`, and gives the messages to `sink`, as those of the connection `key`. Returns the number
    /// of bytes as well.
    pub(super) fn read(
        &mut self,
        key: ConnKey,
        buffer: &mut [u8],
        now: Time,
        sink: &mut impl FnMut(Origin<'_>, Received<'_>),
    ) -> (Read, usize) {
        if !self.may_read() {
            self.is_paused = true;
            return (Read::Drained, 0);
        }
        if std::mem::take(&mut self.is_paused) {
            self.stream.read_again(now);
        }
        let (count, outcome) = match self.socket.read(buffer) {
            Ok(0) => (0, Read::Ended),
            // A short read means that nothing is left, unless the peer has ended its half meanwhile.
            Ok(count) if count < buffer.len() && !self.must_reach_end => (count, Read::Drained),
            Ok(count) => (count, Read::More),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, Read::Drained),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, Read::More),
            Err(error) => (0, Read::Over(self.broken(&error))),
        };
        let Connection { stream, outgoing, ends, has_served, certificate, unanswered, .. } = self;
        if certificate.is_none() {
            *certificate = stream.peer_certificates().and_then(|shown| shown.first()).cloned();
        }
        if count > 0 {
            self.heard = now;
        }
        let origin = Origin { key, ends, transport: stream.transport(), certificate: certificate.as_ref() };
        let bytes = buffer.get(..count).unwrap_or_default();
        let taken = stream.on_bytes(bytes, now, outgoing, &mut |received| {
            *has_served = true;
            *unanswered += u32::from(awaits_answer(&received));
            sink(origin, received);
        });
        if matches!(outcome, Read::Drained) && count > 0 && !self.stream.pending().is_empty() {
            // A peer that writes a message in pieces may wait for the acknowledgement of the first (Nagle's algorithm).
            tcp::acknowledge_now(&self.socket);
        }
        match taken {
            Ok(()) => (outcome, count),
            Err(Fault::Closed) => (Read::Ended, count),
            Err(fault) => (Read::Faulty(fault), count),
        }
    }

    /// Queues a message.
    ///
    /// # Errors
    ///
    /// Nothing more can leave on the connection, or too much waits: it has to be closed.
    pub(super) fn queue(&mut self, message: &[u8]) -> Result<(), CloseReason> {
        let is_taken = self.stream.write(message, &mut self.outgoing);
        if is_taken && self.waiting() > self.limits().1 {
            // One peer may have very many messages in a turn. A connection that is broken shows as such to the poll.
            let _ = self.write();
        }
        if !is_taken || self.waiting() > self.limits().1 {
            return Err(self.ending.map_or(CloseReason::ReadsNothing, |(_, reason)| reason));
        }
        if is_final(message) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        Ok(())
    }

    /// Reason to close a connection at once whose peer has ended its half: the peer waits for no answer.
    pub(super) fn end_at_once(&self) -> Option<CloseReason> {
        match (self.has_served, self.ends.listener) {
            (false, None) => Some(CloseReason::Unreachable),
            _ if self.unanswered > 0 || self.waiting() > 0 => None,
            _ => Some(CloseReason::Ended),
        }
    }

    /// Reason to close it now that its queue was written: its peer has ended its half and has the last answer. A peer
    /// whose bytes could not be read has time to read the answer: bytes of it that nobody reads make the kernel reset
    /// the connection, and that takes back what has not been read.
    pub(super) const fn over(&self) -> Option<CloseReason> {
        match self.ending {
            Some((_, CloseReason::Ended)) if self.unanswered == 0 && self.waiting() == 0 => Some(CloseReason::Ended),
            _ => None,
        }
    }

    /// Reads nothing more, and is closed at this time.
    pub(super) fn end(&mut self, at: Time, reason: CloseReason) {
        self.ending.get_or_insert((at, reason));
    }

    /// Writes once.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.is_connecting || self.is_blocked {
            return Ok(());
        }
        while self.waiting() > 0 {
            match self.socket.write(self.outgoing.get(self.sent..).unwrap_or_default()) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    self.is_blocked = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        // Bytes that have left are not kept: the queue of a slow peer would grow by them.
        if self.sent >= CAP / 4 {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Tells the peer that the connection is closed, as far as the kernel takes it.
    pub(super) fn say_goodbye(&mut self) {
        self.stream.close(&mut self.outgoing);
        // The connection is closed in any case.
        let _ = self.write();
    }

    pub(super) fn poll_timeout(&self) -> Time {
        match self.ending {
            Some((at, _)) => at,
            None => {
                let hung_up = self.hung_up.map_or(Time::NEVER, |(look, by)| look.min(by));
                let own = self.leaves_at().min(hung_up);
                // Its message is late because it is not read.
                if self.is_paused { own } else { self.stream.poll_timeout().min(own) }
            }
        }
    }

    /// Whether its peer has taken nothing for so long. The kernel says that it takes bytes again only when much of its
    /// buffer is free: a peer that reads slowly is found by trying.
    fn is_stalled(&mut self, now: Time) -> bool {
        let before = self.waiting();
        self.is_blocked = false;
        // A connection that is broken shows as such to the poll.
        let _ = self.write();
        if self.waiting() < before {
            self.stalled = None;
        }
        self.is_blocked && now.since(*self.stalled.get_or_insert(now)) >= STALLED
    }

    /// The time at which it may be closed because another process enciphers for it: nothing has come for a while, and
    /// no request waits for its answer.
    fn leaves_at(&self) -> Time {
        match self.leaves {
            Some((quiet_from, by)) if self.unanswered == 0 => by.min(quiet_from.max(self.heard + QUIET)),
            Some((_, by)) => by,
            None => Time::NEVER,
        }
    }

    /// Reason to close it now, if its time is over.
    pub(super) fn handle_timeout(&mut self, now: Time) -> Option<CloseReason> {
        if let Some((at, reason)) = self.ending {
            return (at <= now).then_some(reason);
        }
        if self.leaves_at() <= now {
            return Some(CloseReason::Takeover);
        }
        if let Some((look, by)) = &mut self.hung_up {
            *look = now + TICK;
            if *by <= now || self.unanswered == 0 && self.outgoing.len() == self.sent {
                return Some(CloseReason::Unneeded);
            }
        }
        if self.is_blocked && self.is_stalled(now) {
            return Some(CloseReason::ReadsNothing);
        }
        // Its message is late because it is not read.
        if !self.is_paused && self.stream.poll_timeout() <= now {
            return self.stream.handle_timeout(now, &mut self.outgoing).err().map(CloseReason::Fault);
        }
        None
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether its sender waits for a final response.
fn awaits_answer(received: &Received<'_>) -> bool {
    match received {
        Received::Message(bytes) => !bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"ACK "),
        Received::Faulty(..) => true,
    }
}

/// Whether it is a final response.
fn is_final(message: &[u8]) -> bool {
    message.strip_prefix(b"SIP/2.0 ").is_some_and(|rest| matches!(rest.first(), Some(b'2'..=b'6')))
}
