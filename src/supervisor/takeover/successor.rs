//! The new side of a takeover: this dispatcher asks the one that runs for all it has, and begins at the point where
//! that one stopped.
//!
//! Nothing is read, written or removed before the old dispatcher has ended its work: if a step fails until then, this
//! process ends, and no caller has noticed it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use super::DispatcherFds;
use super::error::TakeoverError;
use super::state::{self, FinalCopy, NotifyTarget, PreCopy, SlotCopy, layout_number};
use crate::admin::listener::StatsListener;
use crate::config::{Config, Source};
use crate::ids::WorkerId;
use crate::net::lan::Connected;
use crate::net::listener::Listener;
use crate::net::lock_file::LockFile;
use crate::net::process::Process;
use crate::net::run_dir::{RunDir, own_uid};
use crate::net::tls::proxy_kinds;
use crate::net::unix::{SeqListener, SeqPacket, UnixError};
use crate::net::{clock, memory, notify};
use crate::pack::Damaged;
use crate::server::{self, GivenSocket, LaneState};
use crate::supervisor::child;
use crate::supervisor::commands;
use crate::supervisor::event_loop::{Resources, Supervisor};
use crate::supervisor::lan::LanListener;
use crate::supervisor::run_dir_refresh::RunDirRefresh;
use crate::supervisor::slot::Slot;
use crate::supervisor::sockets::{Listeners, SlotSockets};
use crate::supervisor::stream_listeners::gate_setup;
use crate::supervisor::unmanaged::UnmanagedWorker;
use crate::supervisor::{StartError, lane_setups};
use crate::time::Time;
use crate::upgrade::conversation::{Conversation, ConversationError};
use crate::upgrade::{self, TakeoverRefusal};
use crate::words::Takeover;

/// Longest wait for the grant: the old dispatcher waits for workers that are being started.
const GRANTED_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for the states: the old dispatcher pauses and gives in milliseconds, or not at all.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for the end of the old process: one that has closed its sockets ends in a moment.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// All that the old dispatcher has besides its lanes' states, each descriptor with its meaning.
struct Inheritance {
    pre_copy: PreCopy,
    fds: DispatcherFds,
    listeners: Vec<Listener>,
    slots: Vec<InheritedSlot>,
    /// Sockets of the connections of each lane.
    connections: Vec<Vec<GivenSocket>>,
}

/// A slot with its sockets and its process.
#[derive(Debug)]
struct InheritedSlot {
    copy: SlotCopy,
    sockets: SlotSockets,
    process: Option<Process>,
}

impl Supervisor {
    /// The supervisor of a dispatcher that has taken over. Its lanes have the links already. `more` has the sockets of
    /// slots that are new.
    fn inherit(
        resources: Resources,
        started: Time,
        slots: Vec<InheritedSlot>,
        unmanaged: Vec<(WorkerId, UnmanagedWorker)>,
        more: Vec<SlotSockets>,
    ) -> Self {
        let now = clock::now();
        let mut supervisor = Supervisor::without_slots(resources, now);
        supervisor.started = started;
        supervisor.unmanaged = unmanaged.into_iter().collect();
        let lanes = supervisor.lanes.count();
        let on_lan = supervisor.unmanaged.iter().filter(|(_, it)| it.is_on_lan && !it.is_down);
        supervisor.lan =
            on_lan.map(|(worker, _)| (*worker, (0..lanes).map(|_| Connected::default()).collect())).collect();
        for InheritedSlot { copy, sockets, process } in slots {
            supervisor.add_slot(sockets, now);
            let worker = WorkerId((supervisor.slots.len() - 1) as u16);
            let process = process.map(|process| supervisor.watch(worker, process));
            if let Some(slot) = supervisor.slots.last_mut() {
                let SlotCopy { state, sip: _, mgcp: _, process: _, incarnation, admin, leaving } = copy;
                let (sockets, predecessor) = (std::mem::take(&mut slot.sockets), None);
                let fault = String::new();
                *slot = Slot { state, sockets, process, incarnation, predecessor, admin, leaving, fault };
            }
        }
        supervisor.fit_slots(more, now);
        supervisor
    }
}

/// Takes over from the dispatcher that runs in `home`.
///
/// # Errors
/// The takeover fails; the old dispatcher serves on.
pub(in crate::supervisor) async fn take_over(
    home: &RunDir,
    config: Config,
    source: Source,
) -> Result<Supervisor, StartError> {
    let run_dir = || home.path().to_owned();
    let link = match SeqPacket::connect(&home.handoff_socket()) {
        Err(UnixError::NotListening { .. }) => return Err(TakeoverError::NotRunning { run_dir: run_dir() }.into()),
        link => link?,
    };
    let key = home.key(config.token_key.clone())?.ok_or_else(|| TakeoverError::NoKey { run_dir: run_dir() })?;
    let conversation = Conversation::new(link)?;
    let old = old_process(&conversation)?;
    let pid = old.pid();
    conversation.send(Takeover::Ask(upgrade::ask(&config, &key, layout_number()))).map_err(|_| TakeoverError::Gone)?;

    // The slow steps are done before the old dispatcher pauses.
    let proxy_kinds = proxy_kinds(&config)?;
    let (Inheritance { pre_copy, fds, listeners, slots, connections }, entries) =
        Inheritance::receive(&conversation).await?;
    let listeners = Listeners::bind(&config, listeners)?;
    let lan = LanListener::prepare(config.lan.as_ref())?;
    let added: Vec<WorkerId> = config.slots().skip(slots.len()).collect();
    let more = added.iter().map(|slot| SlotSockets::bind(&config, &listeners, *slot)).collect::<Result<Vec<_>, _>>()?;
    let inherited = fds.try_clone().map_err(TakeoverError::from)?;
    let (events, lane_events) = mpsc::unbounded_channel();
    let mut setups = lane_setups(&config, &key, &listeners, (pre_copy.seed, 0), &proxy_kinds)?;
    set_entries(&mut setups, &entries)?;
    let gate = gate_setup(&config, &key, &listeners, true)?;
    let lanes = server::Lanes::start(setups, gate, &events).map_err(TakeoverError::from)?;
    adopt(&lanes, connections).await?;
    let mut buffers: Vec<_> = entries.iter().map(|entries| memory::warm(state::room_for(*entries))).collect();

    conversation.send(Takeover::Ready).map_err(|_| TakeoverError::Gone)?;
    let (FinalCopy { paused_at, unmanaged, .. }, states) = receive_states(&conversation, &mut buffers).await?;
    if let Some((taken, _)) = unmanaged.iter().find(|(worker, it)| !it.is_down && added.contains(worker)) {
        let why = format!("workers: slot {taken} is taken by an unmanaged worker; stop that worker first");
        return Err(TakeoverError::Refused(why).into());
    }
    restore(&lanes, states).await?;
    conversation.send(Takeover::Taken).map_err(|_| TakeoverError::Gone)?;
    until_over(&conversation, old).await?;

    // From here on this process is the dispatcher: nothing below may fail.
    lanes.send(|_| server::Command::Resume);
    lanes.order(server::gate::Order::Resume);
    let paused = clock::now().since(paused_at);
    let DispatcherFds { lock, handoff, stats } = inherited;
    let lock = LockFile::inherit(lock, &home.lock_file());
    let handoff = SeqListener::inherit(handoff, &home.handoff_socket());
    let stats = StatsListener::inherit(stats, &home.stats_socket());
    let PreCopy { started, seed, service_manager, .. } = pre_copy;
    if let Some(NotifyTarget { socket, watchdog }) = service_manager {
        notify::inherit(socket, watchdog);
    }
    let workers = slots.iter().filter(|slot| slot.process.is_some()).count()
        + unmanaged.iter().filter(|(_, it)| !it.is_down).count();
    let kept = config.token_key.is_none().then(|| key.clone());
    let run_dir_refresh = RunDirRefresh::new(home, lock, kept, clock::now());
    let resources = Resources {
        config,
        source,
        key,
        listeners,
        handoff,
        lan,
        stats,
        fds,
        run_dir_refresh,
        lanes,
        lane_events,
        seed,
        proxy_kinds,
    };
    let supervisor = Supervisor::inherit(resources, started, slots, unmanaged, more);
    info!(
        "taken over from process {pid}, with {}; nothing was read for {} µs",
        crate::config::count_of_workers(workers as u64),
        paused.as_micros()
    );
    Ok(supervisor)
}

/// The process of the old dispatcher, which has to be the same user's.
fn old_process(conversation: &Conversation) -> Result<Process, TakeoverError> {
    let peer = conversation.peer()?;
    if peer.uid != own_uid() {
        let refusal = TakeoverRefusal::User { owner: peer.uid, asked: own_uid() };
        return Err(TakeoverError::Refused(refusal.to_string()));
    }
    Ok(Process::open(peer.pid.unwrap_or_default())?)
}

/// Tells each lane how many entries the table of its predecessor has.
fn set_entries(setups: &mut [server::Setup], entries: &[usize]) -> Result<(), TakeoverError> {
    if setups.len() != entries.len() {
        return Err(Damaged("another number of lanes").into());
    }
    for (setup, entries) in setups.iter_mut().zip(entries) {
        setup.inherited_entries = Some(*entries);
    }
    Ok(())
}

/// Gives every lane the sockets of its connections.
async fn adopt(lanes: &server::Lanes, connections: Vec<Vec<GivenSocket>>) -> Result<(), TakeoverError> {
    let mut connections = connections.into_iter();
    let adopt = |_, reply| server::Command::Adopt(connections.next().unwrap_or_default(), reply);
    let adopted = commands::ask(lanes, adopt).await.map_err(|stuck| io::Error::other(stuck.to_string()))?;
    Ok(adopted.into_iter().collect::<io::Result<()>>()?)
}

/// Has every lane take over its state.
async fn restore(lanes: &server::Lanes, states: Vec<LaneState>) -> Result<(), TakeoverError> {
    let mut states = states.into_iter();
    let take = |_, reply| match states.next() {
        Some(given) => server::Command::Take(given, reply),
        // The states are as many as the lanes: that was checked before.
        None => server::Command::Resume,
    };
    let taken = commands::ask(lanes, take).await.map_err(|stuck| io::Error::other(stuck.to_string()))?;
    Ok(taken.into_iter().collect::<io::Result<()>>()?)
}

/// Waits until the old dispatcher says that it has ended its work, without a time limit: until then that one may still
/// read on. A dispatcher that dies before it has said so cannot read on either.
async fn until_over(conversation: &Conversation, old: Process) -> Result<(), TakeoverError> {
    match conversation.expect(Takeover::Over, "over", Duration::MAX).await {
        Ok(()) => Ok(()),
        Err(ConversationError::Closed | ConversationError::Link(_)) => {
            timeout(ENDED_WITHIN, child::until_end(old)).await.map_err(|_| TakeoverError::Gone)
        }
        Err(broken) => Err(broken.into()),
    }
}

impl Inheritance {
    /// Waits for the grant. Returns with it the number of entries in the table of each lane.
    async fn receive(conversation: &Conversation) -> Result<(Self, Vec<usize>), TakeoverError> {
        match conversation.receive(GRANTED_WITHIN).await? {
            (Takeover::Granted { entries, .. }, descriptors) => Ok((Inheritance::sort(descriptors)?, entries)),
            _ => Err(ConversationError::Unexpected("granted").into()),
        }
    }

    /// Reads the [`PreCopy`], and assigns each descriptor its meaning.
    fn sort(descriptors: Vec<OwnedFd>) -> Result<Self, TakeoverError> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(Damaged("a descriptor is missing"));
        let (mut pre_copy, _) = state::read::<PreCopy>(&File::from(next()?))?;
        let fds = DispatcherFds { lock: next()?, handoff: next()?, stats: next()? };
        let mut listeners = Vec::new();
        for _ in 0..pre_copy.listeners {
            listeners.push(Listener::from_fd(next()?)?);
        }
        let mut slots = Vec::new();
        for copy in pre_copy.slots.drain(..) {
            let sockets = SlotSockets::inherit((copy.sip, &copy.mgcp), &mut || next().map_err(io::Error::other))?;
            let process =
                copy.process.map(|pid| Ok::<_, TakeoverError>(Process::from_fd(next()?, pid)?)).transpose()?;
            slots.push(InheritedSlot { sockets, process, copy });
        }
        let mut connections = Vec::new();
        for names in pre_copy.connections.drain(..) {
            let socket = |name| Ok::<_, TakeoverError>((name, next()?));
            connections.push(names.into_iter().map(socket).collect::<Result<_, _>>()?);
        }
        Ok(Inheritance { pre_copy, fds, listeners, slots, connections })
    }
}

/// Waits for the lanes' states, and reads them into `buffers`.
async fn receive_states(
    conversation: &Conversation,
    buffers: &mut [Vec<u8>],
) -> Result<(FinalCopy, Vec<LaneState>), TakeoverError> {
    match conversation.receive(GIVEN_WITHIN).await? {
        (Takeover::Given { .. }, descriptors) => sort_states(descriptors, buffers),
        _ => Err(ConversationError::Unexpected("given").into()),
    }
}

/// Reads the lanes' states into `buffers`, and gives each lane its links.
fn sort_states(
    descriptors: Vec<OwnedFd>,
    buffers: &mut [Vec<u8>],
) -> Result<(FinalCopy, Vec<LaneState>), TakeoverError> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(Damaged("a descriptor is missing"));
    let mut file = File::from(next()?);
    let (mut final_copy, mut at) = state::read::<FinalCopy>(&file)?;
    if final_copy.lanes.len() != buffers.len() {
        return Err(Damaged("another number of lanes").into());
    }
    let whole = file.metadata()?.len();
    let mut lanes = Vec::new();
    for (lane, buffer) in final_copy.lanes.drain(..).zip(buffers) {
        let end = at.checked_add(lane.length as u64).filter(|end| *end <= whole);
        let end = end.ok_or(Damaged("a state longer than its file"))?;
        let mut state = mem::take(buffer);
        file.seek(SeekFrom::Start(at))?;
        (&file).take(lane.length as u64).read_to_end(&mut state)?;
        at = end;
        let link = |worker| Ok::<_, TakeoverError>((worker, SeqPacket::from_fd(next()?)?));
        lanes.push(LaneState { state, links: lane.links.into_iter().map(link).collect::<Result<_, _>>()? });
    }
    Ok((final_copy, lanes))
}
