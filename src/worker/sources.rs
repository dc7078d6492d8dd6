//! What a worker's process reads from: one poll, and those that may have more to read, because an edge is told only once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::net::process::StopSignals;
use crate::worker::links;
use crate::worker::settings::WorkerError;

/// SIGTERM and SIGINT.
pub(super) const SIGNALS: Token = Token(2);
/// Batches or frames read from one source before others have their turn.
pub(super) const TURNS: usize = 4;

/// The sources of a worker's process.
pub(super) struct Sources {
    pub(super) poll: Poll,
    pub(super) signals: StopSignals,
    events: Events,
    ready: VecDeque<Token>,
}

impl Sources {
    /// The signals, and room for more. To be called before any thread is started: they all inherit what it does.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn new() -> Result<Self, WorkerError> {
        let signals = StopSignals::take().map_err(WorkerError::system("cannot take signals"))?;
        let poll = Poll::new().map_err(WorkerError::system("cannot make a poll"))?;
        poll.registry()
            .register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)
            .map_err(WorkerError::system("cannot watch signals"))?;
        // The welcome's frame may have had company.
        let ready = VecDeque::from([links::token(0)]);
        Ok(Sources { poll, signals, events: Events::with_capacity(1_024), ready })
    }

    /// Waits for events, as long as nothing is ready. `on_writable` gets what takes more.
    ///
    /// # Errors
    ///
    /// The system refuses to wait.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut on_writable: impl FnMut(Token),
    ) -> Result<(), WorkerError> {
        let timeout = if self.ready.is_empty() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(WorkerError::system("cannot wait for events"))?,
        }
        let leftover = self.ready.len();
        for event in &self.events {
            if event.is_writable() {
                on_writable(event.token());
            }
            if !self.ready.iter().take(leftover).any(|token| *token == event.token()) {
                self.ready.push_back(event.token());
            }
        }
        Ok(())
    }

    /// How many are to be read, as far as is known.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The next one to be read.
    pub(super) fn next(&mut self) -> Option<Token> {
        self.ready.pop_front()
    }

    /// One that has just been read may have more.
    pub(super) fn again(&mut self, source: Token) {
        self.ready.push_back(source);
    }

    /// One that should be read, whether or not that is known.
    pub(super) fn add(&mut self, source: Token) {
        if !self.ready.contains(&source) {
            self.ready.push_back(source);
        }
    }
}
