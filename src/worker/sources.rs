//! The sources that a worker's process reads from: one poll, and those that may have more to read, because the poll
//! tells an edge only once.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::net::clock;
use crate::net::signals::{self, StopSignals};
use crate::worker::link;
use crate::worker::settings::WorkerError;
use crate::worker::turn::{Rank, Turn};

// The sources of which a process has one. They stand side by side, so that no two of them have one number.

/// Addresses that were looked up.
pub(super) const RESOLVER: Token = Token(1);
/// SIGTERM and SIGINT.
pub(super) const SIGNALS: Token = Token(2);
/// The socket to the gateway.
pub(super) const GATEWAY: Token = Token(3);
/// A try to reach the dispatcher has ended.
pub(super) const DIALLED: Token = Token(4);

/// Batches or frames read from one source before others have their turn.
pub(super) const TURNS: usize = 4;

/// The sources of a worker's process.
pub(super) struct Sources {
    pub(super) poll: Poll,
    pub(super) signals: StopSignals,
    events: Events,
    turn: Turn,
    rank_of: fn(Token) -> Rank,
}

impl Sources {
    /// The signals, and room for more; `rank_of` says which sources are read first. Signals that ask for nothing are
    /// ignored. To be called before any thread is started: threads inherit the signal mask.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn new(rank_of: fn(Token) -> Rank) -> Result<Self, WorkerError> {
        signals::ignore_stray_signals();
        let signals = StopSignals::take().map_err(WorkerError::system("cannot take signals"))?;
        let poll = Poll::new().map_err(WorkerError::system("cannot make a poll"))?;
        poll.registry()
            .register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)
            .map_err(WorkerError::system("cannot watch signals"))?;
        let mut sources =
            Sources { poll, signals, events: Events::with_capacity(1_024), turn: Turn::default(), rank_of };
        // More frames may have come with the welcome; the poll may tell no edge for them.
        sources.add(link::token(0));
        Ok(sources)
    }

    /// Waits for events, as long as nothing is ready, and begins a turn with all that is. `source_of` says which source
    /// an event is of: several tokens may be one source.
    ///
    /// # Errors
    ///
    /// The system refuses to wait.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut source_of: impl FnMut(&Event) -> Token,
    ) -> Result<(), WorkerError> {
        let timeout = if self.has_more() { Some(Duration::ZERO) } else { timeout };
        let Sources { poll, events, turn, rank_of, .. } = self;
        match poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => {
                result.map_err(WorkerError::system("cannot wait for events"))?;
                events.iter().map(&mut source_of).for_each(|source| turn.add(rank_of(source), source));
            }
        }
        turn.begin();
        Ok(())
    }

    /// Whether any source may have more to read.
    pub(super) fn has_more(&self) -> bool {
        !self.turn.is_empty()
    }

    /// The next one to be read; `None` when the turn is over.
    pub(super) fn next(&mut self) -> Option<Token> {
        self.turn.next(clock::now())
    }

    /// Whether the source that is read now may go on: the time of its rank is not over.
    pub(super) fn has_time(&self) -> bool {
        self.turn.has_time(clock::now())
    }

    /// One that should be read in the next turn.
    pub(super) fn add(&mut self, source: Token) {
        self.turn.add((self.rank_of)(source), source);
    }
}
