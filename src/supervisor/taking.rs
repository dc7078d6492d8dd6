//! The new side of a takeover: this dispatcher asks the one that runs for all it has, and begins where that stopped.
//!
//! Nothing is read, written or removed before the old one has ended its work: whatever fails until then, this process goes
//! and nobody has noticed it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use super::crew::{Crew, Muster};
use super::giving::Estate;
use super::roster::{Roster, Seat, layout};
use super::sockets::{Listeners, SlotSockets};
use super::{StartError, lane_setups};
use crate::admin::run_dir::{RunDir, own_uid};
use crate::admin::server::StatsListener;
use crate::config::{Config, Source};
use crate::handoff::frame::Takeover;
use crate::ids::WorkerId;
use crate::net::process::{LockFile, Process};
use crate::net::unix::{SeqListener, SeqPacket, UnixError};
use crate::net::{clock, udp, watch};
use crate::pack::{Damaged, Pack, Packed};
use crate::server::{self, Given};
use crate::upgrade::conversation::{Broken, Conversation};
use crate::upgrade::{self, Refusal};

/// The old one waits for workers that are being started.
const GRANTED_WITHIN: Duration = Duration::from_secs(10);
/// The old one pauses and gives in milliseconds, or does not.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);
/// A process that has closed its sockets has ended in a moment.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Why nothing was taken over. The dispatcher that runs, if one does, serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// There is nobody to take over from.
    #[error("no dispatcher runs in {}; start one without --takeover", .run_dir.display())]
    Nobody {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The run directory has no key, and the configuration neither.
    #[error("the token key is gone from {}; put it back, or restart the dispatcher, whose workers have it", .run_dir.display())]
    NoKey {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The old one does not want it, or could not.
    #[error("no takeover: {0}")]
    Refused(String),
    /// The old one went away in the middle.
    #[error(
        "no takeover: the dispatcher ended while it was asked; see whether another has taken over, else start one without --takeover"
    )]
    Gone,
    /// It did not keep to the order of steps.
    #[error("no takeover: of the dispatcher that runs: {0}")]
    Broken(Broken),
    /// What came is not what was announced.
    #[error("no takeover: {0}")]
    Damaged(#[from] Damaged),
    /// The kernel refuses something.
    #[error("no takeover: {0}")]
    Kernel(#[from] io::Error),
}

impl From<Broken> for TakeoverError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused(why) => TakeoverError::Refused(why),
            Broken::Closed => TakeoverError::Gone,
            broken => TakeoverError::Broken(broken),
        }
    }
}

/// All that the old dispatcher had, with its meaning.
struct Heritage {
    roster: Roster,
    lock: OwnedFd,
    handoff: OwnedFd,
    stats: OwnedFd,
    listeners: Vec<udp::Socket>,
    seats: Vec<Heir>,
    lanes: Vec<Given>,
}

/// A slot with its sockets and its process.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) seat: Seat,
    pub(super) sockets: SlotSockets,
    pub(super) process: Option<Process>,
}

/// Takes over from the dispatcher that runs in `home`.
///
/// # Errors
/// It cannot be; that dispatcher serves on.
pub(super) async fn take_over(home: &RunDir, config: Config, source: Source) -> Result<(Crew, LockFile), StartError> {
    let run_dir = || home.path().to_owned();
    let link = match SeqPacket::connect(&home.handoff_socket()) {
        Err(UnixError::Nobody { .. }) => return Err(TakeoverError::Nobody { run_dir: run_dir() }.into()),
        link => link?,
    };
    let key = home.key(config.token_key.clone())?.ok_or_else(|| TakeoverError::NoKey { run_dir: run_dir() })?;
    let conversation = Conversation::new(link)?;
    let peer = conversation.peer()?;
    if peer.uid != own_uid() {
        let refusal = Refusal::User { owner: peer.uid, asked: own_uid() };
        return Err(TakeoverError::Refused(refusal.to_string()).into());
    }
    let old = Process::open(peer.pid.unwrap_or_default()).map_err(TakeoverError::from)?;
    let pid = old.pid();
    conversation.say(Takeover::Ask(upgrade::ask(&config, &key, layout()))).map_err(|_| TakeoverError::Gone)?;
    conversation.expect(Takeover::Granted, "granted", GRANTED_WITHIN).await.map_err(TakeoverError::from)?;
    let descriptors = conversation.take(GIVEN_WITHIN).await.map_err(TakeoverError::from)?;
    let Heritage { roster, lock, handoff, stats, listeners, seats, lanes } = Heritage::sort(descriptors)?;

    let listeners = Listeners::bind(&config, listeners)?;
    let more = added(&config, &roster, seats.len())?;
    let (events, lane_events) = mpsc::unbounded_channel();
    let estate = Estate { lock: lock.try_clone()?, handoff: handoff.try_clone()?, stats: stats.try_clone()? };
    let mut setups = lane_setups(&config, &key, &listeners, roster.seed, 0)?;
    for (setup, given) in setups.iter_mut().zip(lanes) {
        setup.given = Some(given);
    }
    let lanes = server::Lanes::start(setups, &events).map_err(TakeoverError::from)?;
    conversation.say(Takeover::Taken).map_err(|_| TakeoverError::Gone)?;
    until_over(&conversation, old).await?;

    // From here on this is the dispatcher: nothing below may fail.
    lanes.send(|_| server::Command::Resume);
    let paused = clock::now().since(roster.paused_at);
    let lock = LockFile::inherit(lock, &home.lock_file());
    let handoff = SeqListener::inherit(handoff, &home.handoff_socket());
    let stats = StatsListener::inherit(stats, &home.stats_socket());
    let muster =
        Muster { config, source, key, listeners, handoff, stats, estate, lanes, lane_events, seed: roster.seed };
    let workers = seats.iter().filter(|heir| heir.process.is_some()).count() + roster.outsiders.len();
    let crew = Crew::inherit(muster, roster.started, seats, roster.outsiders, more);
    info!("taken over from process {pid}, with {workers} workers; nothing was read for {} µs", paused.as_micros());
    Ok((crew, lock))
}

/// Waits until the old one has ended its work. Without a limit: which of the two reads on is its word alone. One that dies
/// before it has said it cannot read on any more.
async fn until_over(conversation: &Conversation, old: Process) -> Result<(), TakeoverError> {
    match conversation.expect(Takeover::Over, "over", Duration::MAX).await {
        Ok(()) => Ok(()),
        Err(Broken::Closed | Broken::Link(_)) => {
            let watched = watch::readable(old).map_err(|(_, error)| error)?;
            match timeout(ENDED_WITHIN, watched.readable()).await {
                Ok(ended) => Ok(ended.map(drop)?),
                Err(_) => Err(TakeoverError::Gone),
            }
        }
        Err(broken) => Err(broken.into()),
    }
}

/// The sockets of slots that this configuration has beyond those that there are.
fn added(config: &Config, roster: &Roster, seats: usize) -> Result<Vec<SlotSockets>, StartError> {
    let added = || config.slots().skip(seats);
    let is_taken = |slot: &WorkerId| roster.outsiders.iter().any(|(worker, _)| worker == slot);
    if let Some(taken) = added().find(is_taken) {
        let why = format!("workers: {taken} is taken by a worker that came by itself; end that one first");
        return Err(TakeoverError::Refused(why).into());
    }
    Ok(added().map(|slot| SlotSockets::bind(config, slot)).collect::<Result<_, _>>()?)
}

impl Heritage {
    /// Reads the state, and gives each descriptor its meaning.
    fn sort(descriptors: Vec<OwnedFd>) -> Result<Self, TakeoverError> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Damaged("a descriptor is missing"));
        let file = File::from(next()?);
        let (roster, mut at) = read_roster(&file)?;
        let (lock, handoff, stats) = (next()?, next()?, next()?);
        let mut listeners = Vec::new();
        for _ in 0..roster.listeners {
            listeners.push(udp::Socket::from_fd(next()?)?);
        }
        let mut roster = roster;
        let mut seats = Vec::new();
        for seat in roster.seats.drain(..) {
            let sockets = (0..seat.sockets).map(|_| next()).collect::<Result<_, _>>()?;
            let process = seat.process.map(|pid| Ok::<_, Damaged>(Process::from_fd(next()?, pid))).transpose()?;
            seats.push(Heir { sockets: SlotSockets::inherit(sockets)?, process, seat });
        }
        let mut lanes = Vec::new();
        for lane in roster.lanes.drain(..) {
            let mut state = vec![0; lane.length];
            file.read_exact_at(&mut state, at)?;
            at += lane.length as u64;
            let link = |worker| Ok::<_, TakeoverError>((worker, SeqPacket::from_fd(next()?)?));
            lanes.push(Given { state, links: lane.links.into_iter().map(link).collect::<Result<_, _>>()? });
        }
        Ok(Heritage { roster, lock, handoff, stats, listeners, seats, lanes })
    }
}

/// The roster, and where the lanes' states begin.
fn read_roster(file: &File) -> Result<(Roster, u64), TakeoverError> {
    let mut length = [0; 4];
    file.read_exact_at(&mut length, 0)?;
    let length = u32::unpack(&mut Packed::new(&length))? as usize;
    let whole = file.metadata()?.len();
    if length as u64 > whole {
        return Err(Damaged("a roster longer than its file").into());
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 4)?;
    let (roster, begin) = (Roster::read(&bytes)?, 4 + length as u64);
    let lanes = roster.lanes.iter().try_fold(0_usize, |sum, lane| sum.checked_add(lane.length));
    if lanes.and_then(|lanes| begin.checked_add(lanes as u64)) == Some(whole) {
        Ok((roster, begin))
    } else {
        Err(Damaged("states longer than their file").into())
    }
}
