//! The link of a worker on another host: joining, and the ways back when a connection was cut or the dispatcher is
//! another.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::{SourceFd, pipe};
use mio::{Interest, Poll, Token};

use crate::link::session::Side;
use crate::link::worker_end::WorkerEnd;
use crate::net::clock;
use crate::net::lan::{Connection, Dialled, Dialler, LanChannel, Network, dial};
use crate::time::Time;
use crate::wire::handoff::{Frame, FrameBuilder, FrameError, Record};
use crate::words::{Hello, LanTerms, Resume, Welcome, features};
use crate::worker::link::{Introduced, LinkEnd};
use crate::worker::own_ports::OwnPorts;
use crate::worker::settings::WorkerError;
use crate::worker::sources::DIALLED;

/// Pause after a try that failed; twice as long after each one more.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The dispatcher's first words on a connection.
#[derive(Debug)]
pub(super) enum FirstWords {
    /// It welcomes the worker. The clock: asked at our time, theirs, heard at our time.
    Welcome(Box<Welcome>, Option<(Time, Time, Time)>),
    /// It has read so many frames of this link, which goes on.
    Resumed(u64),
    /// It refuses the worker.
    Goodbye(String),
}

impl FirstWords {
    fn read(frame: &[u8], heard: Time) -> Result<Self, FrameError> {
        let (mut welcome, mut clock) = (None, None);
        for record in Frame::parse(frame)? {
            match record? {
                Record::Goodbye(reason) => return Ok(FirstWords::Goodbye(reason.to_owned())),
                Record::Ping(read) => return Ok(FirstWords::Resumed(read)),
                Record::Welcome(it) => welcome = Some(it),
                Record::Clock { asked, at } => clock = Some((asked, at, heard)),
                _ => {}
            }
        }
        Ok(welcome.map_or_else(
            || FirstWords::Goodbye("its first record is no Welcome".to_owned()),
            |welcome| FirstWords::Welcome(Box::new(welcome), clock),
        ))
    }
}

/// The introduction of a link that begins.
fn introduction(hello: Hello) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Hello(Hello { features: features::over_a_network(), wants_listeners: false, ..hello }));
    frame.push(&Record::ClockAsk(clock::now()));
    frame.bytes().to_vec()
}

/// Connects, says `hello` and waits for the welcome.
pub(super) fn join(network: &Network, own: OwnPorts, hello: Hello, poll: &Poll) -> Result<Introduced, WorkerError> {
    let at = || format!("{}:{}", network.host, network.port);
    let (connection, frame, heard) =
        dial(network, &introduction(hello)).map_err(|error| WorkerError::Unreachable { at: at(), error })?;
    let words = FirstWords::read(&frame, heard).map_err(|error| WorkerError::NotWelcome(error.to_string()))?;
    match words {
        FirstWords::Welcome(welcome, clock) => {
            let (link, more) = links(&welcome, connection).map_err(WorkerError::NotWelcome)?;
            link.watch(poll, super::link::token(0)).map_err(WorkerError::system("cannot watch the link"))?;
            let listeners = welcome.listeners.iter().map(|_| None).collect();
            Ok(Introduced { link, end: WorkerEnd::new(), welcome: *welcome, own, listeners, more, clock })
        }
        FirstWords::Resumed(_) => Err(WorkerError::NotWelcome("it takes this worker for another".to_owned())),
        FirstWords::Goodbye(reason) => Err(WorkerError::NotWelcome(reason)),
    }
}

/// The links of a worker that has been welcomed: the one of the welcome, and one for each other lane, which has no
/// connection yet.
pub(super) fn links(welcome: &Welcome, connection: Connection) -> Result<(LinkEnd, Vec<LinkEnd>), String> {
    let lanes = welcome.lan.map_or(1, |terms| terms.lanes.max(1));
    let mut first = LanChannel::new(Side::Worker);
    first.attach(connection, 0)?;
    let more = (1..lanes).map(|_| LinkEnd::over_network(LanChannel::new(Side::Worker))).collect();
    Ok((LinkEnd::over_network(first), more))
}

/// The tries of a worker on another host to reach its dispatcher.
pub(super) struct Redial {
    dialler: Dialler,
    readable: pipe::Receiver,
    terms: Option<LanTerms>,
    /// By lane; the last one is that of links that begin.
    tries: Vec<Try>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Try {
    is_under_way: bool,
    failures: u32,
}

impl Try {
    fn pause(self) -> Duration {
        if self.failures == 0 { Duration::ZERO } else { LONGEST_PAUSE.min(PAUSE * (1 << self.failures.min(8))) }
    }
}

/// The end of a try.
pub(super) enum Tried {
    /// The link to a lane goes on: on this connection, after so many frames that the dispatcher has read.
    Resumed(usize, Connection, u64),
    /// The link to a lane is over.
    Over(usize, String),
    /// A link begins.
    Welcome(Connection, Box<Welcome>, Option<(Time, Time, Time)>),
    /// The dispatcher refuses this worker.
    Refused(String),
    /// Nothing has come of it; true where a link was to begin.
    Failed(bool),
}

impl Redial {
    /// The tries of a worker whose dispatcher is at `network`.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub(super) fn new(network: Network, poll: &Poll) -> Result<Self, WorkerError> {
        let failed = WorkerError::system("cannot make a pipe");
        let (writable, mut readable) = pipe::new().map_err(failed)?;
        let watched = poll.registry().register(&mut readable, DIALLED, Interest::READABLE);
        watched.map_err(WorkerError::system("cannot watch a pipe"))?;
        // A full pipe wakes the loop all the same.
        let wake = move || _ = (&writable).write(&[1]);
        Ok(Redial { dialler: Dialler::new(network, wake), readable, terms: None, tries: Vec::new() })
    }

    /// The worker has links on these terms.
    pub(super) fn set_terms(&mut self, terms: Option<LanTerms>) {
        let lanes = terms.map_or(1, |terms| usize::from(terms.lanes.max(1)));
        (self.terms, self.tries) = (terms, vec![Try::default(); lanes + 1]);
    }

    /// Begins to look for a connection of the link to a lane, unless that is done already.
    pub(super) fn resume(&mut self, lane: usize, frames: u64) {
        let (Some(terms), Some(it)) = (self.terms, self.tries.get_mut(lane)) else { return };
        if it.is_under_way {
            return;
        }
        let resume = Some(Resume { link: terms.link, lane: lane as u16, frames });
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Hello(Hello { features: features::over_a_network(), resume, ..Hello::default() }));
        it.is_under_way =
            self.dialler.start(Some((terms.link, lane as u16)), frame.bytes().to_vec(), it.pause()).is_ok();
    }

    /// Begins to look for a dispatcher.
    ///
    /// # Errors
    ///
    /// The system refuses the thread.
    pub(super) fn begin(&mut self, hello: Hello) -> io::Result<()> {
        let pause = self.tries.last().map_or(Duration::ZERO, |it| it.pause());
        self.dialler.start(None, introduction(hello), pause)
    }

    /// The end of a try.
    pub(super) fn poll(&mut self) -> Option<Tried> {
        let mut bytes = [0; 64];
        while matches!(io::Read::read(&mut self.readable, &mut bytes), Ok(1..)) {}
        let Dialled { of, outcome } = self.dialler.poll()?;
        if of.is_some_and(|(link, _)| self.terms.is_none_or(|terms| terms.link != link)) {
            // Of an earlier link, and held up on its way: its end is not that of the present one.
            return Some(Tried::Failed(false));
        }
        let lane = of.map(|(_, lane)| lane);
        let at = lane.map_or(self.tries.len().saturating_sub(1), usize::from);
        let words = outcome.and_then(|(connection, frame, heard)| {
            let words = FirstWords::read(&frame, heard).map_err(io::Error::other)?;
            Ok((connection, words))
        });
        let it = self.tries.get_mut(at)?;
        it.is_under_way = false;
        it.failures = if words.is_ok() { 0 } else { it.failures.saturating_add(1) };
        Some(match (lane, words) {
            (Some(lane), Ok((connection, FirstWords::Resumed(read)))) => {
                Tried::Resumed(usize::from(lane), connection, read)
            }
            (Some(lane), Ok((_, FirstWords::Goodbye(reason)))) => Tried::Over(usize::from(lane), reason),
            (Some(lane), Ok(_)) => Tried::Over(usize::from(lane), "the dispatcher is another".to_owned()),
            (None, Ok((connection, FirstWords::Welcome(welcome, clock)))) => Tried::Welcome(connection, welcome, clock),
            (None, Ok((_, FirstWords::Goodbye(reason)))) => Tried::Refused(reason),
            (lane, other) => {
                let error = other.err();
                tracing::debug!(?error, "the dispatcher cannot be reached");
                Tried::Failed(lane.is_none())
            }
        })
    }
}

/// Watches the connection that a link has.
pub(super) fn watch(channel: &LanChannel, poll: &Poll, token: Token) -> io::Result<()> {
    let Some(connection) = channel.connection() else { return Ok(()) };
    let fd = connection.as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)
}
