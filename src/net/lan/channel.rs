//! A link over a network: the frames of a [`Session`] on one connection after the other.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Connection;
use crate::link::session::{SavedSession, Session, SessionFault, Side};
use crate::net::clock;
use crate::time::Time;

/// A connection on which nothing has come for so long is given up: each end sends a count every second.
const SILENT_FOR: Duration = Duration::from_secs(4);
/// A link without a connection for so long is over.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// Most counts in a row. An end that has read all that may be unread, and was not read itself for as long as a link
/// lives without a connection, sends a third of them.
const MOST_COUNTS: usize = 256;

/// One end of a link over a network.
#[derive(Debug)]
pub struct LanChannel {
    session: Session,
    connection: Option<Connection>,
    /// When a frame came last, or when the connection was lost.
    since: Time,
    /// Why the link is over.
    over: Option<String>,
    connected: Connected,
}

/// Whether a link has a connection, as other threads see it.
#[derive(Clone, Debug, Default)]
pub struct Connected(Arc<AtomicBool>);

impl Connected {
    /// Whether it has one.
    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_up: bool) {
        self.0.store(is_up, Ordering::Relaxed);
    }
}

impl LanChannel {
    /// A link that has no connection yet.
    pub fn new(side: Side) -> Self {
        LanChannel::of(Session::new(side))
    }

    /// The link of a dispatcher that was taken over from; its worker has to connect again.
    pub fn restored(saved: SavedSession) -> Self {
        LanChannel::of(Session::restored(Side::Dispatcher, saved))
    }

    fn of(session: Session) -> Self {
        LanChannel { session, connection: None, since: clock::now(), over: None, connected: Connected::default() }
    }

    /// The link gets a connection, on which the other end has said how many frames it has read.
    ///
    /// # Errors
    ///
    /// Frames are missing at this end: the link is over.
    pub fn attach(&mut self, connection: Connection, read: u64) -> Result<(), String> {
        if self.session.is_outdated(read) {
            // A try that was given up long ago, and was held back on its way. The present connection is a later one.
            return Ok(());
        }
        self.cut();
        if let Err(mismatch) = self.session.on_connected(read) {
            self.over = Some(mismatch.to_string());
            return Err(mismatch.to_string());
        }
        (self.connection, self.since) = (Some(connection), clock::now());
        self.connected.set(true);
        self.count(clock::now());
        self.pump();
        Ok(())
    }

    /// The present connection.
    pub const fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Has other threads see by `connected` whether it has a connection.
    pub fn show(&mut self, connected: Connected) {
        connected.set(self.connection.is_some());
        self.connected = connected;
    }

    /// Its state, for the dispatcher that takes over.
    pub fn save(&self) -> SavedSession {
        self.session.save()
    }

    /// Whether it has no connection now, and is not over.
    pub const fn is_cut(&self) -> bool {
        self.connection.is_none() && self.over.is_none()
    }

    /// Number of frames that were read from the other end.
    pub const fn frames_read(&self) -> u64 {
        self.session.read()
    }

    /// Sends `pieces` as one frame, whole or not at all, on this connection or the next. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while there is no connection, or while too much waits for the other end; `BrokenPipe` when the link
    /// is over.
    pub fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if self.over.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // A frame that was never given to a connection was not read for certain: its messages may go elsewhere.
        if !self.takes() || !self.session.push(pieces) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.pump();
        Ok(())
    }

    /// Sends what waits, as far as the connection takes it; true when nothing waits any more.
    pub fn flush(&mut self) -> bool {
        self.pump()
    }

    fn takes(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_full()) && !self.session.has_next()
    }

    /// Receives one frame into `frame`. Never waits. Returns 0 when the link is over.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing now.
    pub fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        let mut counts = 0;
        loop {
            if self.over.is_some() {
                return Ok(0);
            }
            let Some(connection) = &mut self.connection else { return Err(io::ErrorKind::WouldBlock.into()) };
            let length = match connection.recv(frame) {
                Ok(Some(length)) => length,
                Ok(None) => {
                    self.count(clock::now());
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.end(error.to_string());
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of a link is lost");
                    self.cut();
                    continue;
                }
            };
            self.since = clock::now();
            match self.session.on_frame(frame.get(..length).unwrap_or_default()) {
                Ok(true) => {
                    self.count(self.since);
                    return Ok(length);
                }
                // The reader of many links would come to none of the others.
                Ok(false) if counts >= MOST_COUNTS => self.end("it tells without end how much it has read".to_owned()),
                Ok(false) => counts += 1,
                Err(SessionFault::Frame(error)) => self.end(error.to_string()),
                Err(SessionFault::Count(error)) => self.end(error.to_string()),
            }
        }
    }

    /// Does what is due: counts leave, a silent connection is given up, a link without a connection ends. Returns
    /// whether it is over.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        if self.connection.is_some() {
            self.count(now);
            if now.since(self.since) >= SILENT_FOR {
                tracing::debug!("nothing has come on a connection of a link for {SILENT_FOR:?}");
                self.cut();
            }
        } else if self.over.is_none() && now.since(self.since) >= OVER_AFTER {
            self.end(format!("it had no connection for {OVER_AFTER:?}"));
        }
        self.over.is_some()
    }

    /// When [`LanChannel::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Time {
        match &self.connection {
            Some(_) => self.session.poll_timeout().min(self.since + SILENT_FOR),
            None => self.since + OVER_AFTER,
        }
    }

    /// Why the link is over.
    pub fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// Ends the link.
    pub fn end(&mut self, why: String) {
        self.cut();
        self.over.get_or_insert(why);
    }

    /// Gives the connection up; the link waits for another.
    pub(super) fn cut(&mut self) {
        if self.connection.take().is_some() {
            self.since = clock::now();
            self.connected.set(false);
        }
        self.session.on_cut();
    }

    /// Tells the other end how much was read, when that is due.
    fn count(&mut self, now: Time) {
        let Some(connection) = &mut self.connection else { return };
        if let Some(mut count) = self.session.poll_count(now) {
            connection.add(count.bytes());
            self.pump();
        }
    }

    /// Gives the connection the frames that wait, as far as it takes them; true when none is left.
    fn pump(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        loop {
            while !connection.is_full()
                && let Some(frame) = self.session.next_frame()
            {
                connection.add(frame);
            }
            match connection.flush() {
                Ok(true) if self.session.has_next() => {}
                Ok(is_done) => return is_done,
                Err(error) => {
                    // Bytes that the other end sent before can still be read, so the next read finds the end.
                    tracing::debug!(%error, "a connection of a link takes nothing more");
                    return false;
                }
            }
        }
    }
}
