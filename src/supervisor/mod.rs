//! The dispatcher's control side: it binds the sockets, starts the lanes and the workers, answers the stats socket, and
//! ends everything in order.
//!
//! The order of a start is a promise to the processes that are there already. (1) The lock of the run directory: a
//! second dispatcher ends here, and has touched nothing. (2) The handoff socket, to which the workers of a dispatcher
//! that died connect. (3) These workers come back with the ports they hold (`reattach`). (4) Sockets that no worker
//! brought are bound, missing workers are started, and the sockets are read, with all messages that have waited in
//! them. In a takeover ([`crate::upgrade`]) all of this comes from the dispatcher that runs.

mod admission;
mod bound_sockets;
mod child;
mod commands;
mod connections;
mod descriptors;
mod event;
mod event_loop;
mod handoff_socket;
mod handshake;
mod introductions;
mod lan;
mod links;
mod processes;
mod proxy_states;
mod reattach;
mod reload;
mod run_dir_refresh;
mod service_manager;
mod slot;
mod slot_state;
mod sockets;
mod stop;
mod stream_listeners;
mod takeover;
mod unmanaged;
mod welcome;
mod welcome_mgcp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::bound_sockets::BoundSockets;
use self::event::CommandSender;
use self::event_loop::{Ending, LaneDied, Resources, Supervisor};
use self::lan::LanListener;
use self::reattach::{ReattachError, Reattachment};
use self::run_dir_refresh::RunDirRefresh;
use self::sockets::Listeners;
use self::takeover::DispatcherFds;
use self::takeover::error::TakeoverError;
use crate::admin;
use crate::config::{Config, Listen, Source, count_of_workers};
use crate::dispatch::Dispatch;
use crate::dispatch::history::History;
use crate::dispatch::identity::Keyring;
use crate::dispatch::owner::Owners;
use crate::dispatch::rules::Rules;
use crate::ids::TokenKey;
use crate::net::bind::BindError;
use crate::net::conns::Pumped;
use crate::net::listener::Listener;
use crate::net::run_dir::{RunDir, RunDirError};
use crate::net::tls::{ProxyKinds, TlsError, proxy_kinds};
use crate::net::unix::SeqListener;
use crate::net::{activation, clock, host, log, memory, process, random, signals, unix};
use crate::server;
use crate::upgrade::pump::Pump;

/// Most conferences that are remembered at once.
const CONFERENCES: usize = 65_536;

/// Reason why the dispatcher did not start. Each text names the fault and its remedy. No socket and no file is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A well-known port or a slot's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The handoff socket.
    #[error(transparent)]
    Handoff(#[from] unix::UnixError),
    /// The stats socket.
    #[error(transparent)]
    Stats(#[from] admin::listener::StatsSocketError),
    /// The workers of an earlier dispatcher.
    #[error(transparent)]
    Reattach(#[from] ReattachError),
    /// The dispatcher that was to be taken over from.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The limit of open descriptors.
    #[error(
        "{}{} take {needed} file descriptors, and {limit} are allowed; raise the limit (`ulimit -n`, `LimitNOFILE=`)",
        count_of_workers(*.workers),
        if *.connections > 0 { format!(" and {connections} connections") } else { String::new() }
    )]
    Descriptors {
        /// Number of workers to be started.
        workers: u16,
        /// Number of connections that there may be.
        connections: u32,
        /// Number of descriptors that they and the dispatcher take.
        needed: u64,
        /// Number of descriptors that are allowed.
        limit: u64,
    },
    /// Memory for the table and the workers' unanswered messages.
    #[error(
        "{} MiB of memory for {workers} workers cannot be had; lower --retention, --table-cap or --workers, or raise the \
         limit (`ulimit -v`)",
        needed >> 20
    )]
    Memory {
        /// Number of workers to be started.
        workers: u16,
        /// Bytes that table, workers and threads may take.
        needed: usize,
    },
    /// The certificates for workers on other hosts.
    #[error("lan: {0}")]
    Lan(TlsError),
    /// A file of a certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The dispatcher had started, and has failed since.
    #[error(transparent)]
    Lane(#[from] LaneDied),
    /// The kernel gives no thread, poll or signal.
    #[error("cannot start: {0}")]
    Kernel(#[from] io::Error),
}

/// Way in which a dispatcher gets its sockets and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// It binds and starts them itself; workers of a dispatcher that died come back.
    Start,
    /// It gets them from the dispatcher that runs, which then ends.
    Takeover,
}

/// Runs the dispatcher until SIGTERM or SIGINT, or until another takes over.
///
/// # Errors
/// Anything that keeps it from starting: a run directory in use, a port in use, an address that is not this host's.
pub fn run(config: Config, source: Source, mode: StartMode) -> Result<(), StartError> {
    signals::ignore_stray_signals();
    // Before the first large block is freed.
    memory::map_large_blocks();
    // Before any descriptor is opened.
    let (given, refused) = activation::sockets();
    refused.iter().for_each(|line| warn!("{line}"));
    descriptors::check(&config)?;
    check_memory(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Signals are handled before the first file is made: their default action would leave it behind.
    let signals = {
        let _runtime = runtime.enter();
        Signals::catch()?
    };
    let home = RunDir::open(config.run_dir.as_deref())?;
    runtime.block_on(async {
        let supervisor = match mode {
            StartMode::Start => start(&home, config, source, given).await?,
            StartMode::Takeover => takeover::successor::take_over(&home, config, source).await?,
        };
        home.keep();
        service_manager::tell(&format!("MAINPID={}\nREADY=1", std::process::id()));
        tokio::spawn(signals.obey(supervisor.command_sender()));
        match supervisor.serve().await? {
            Ending::Stopped => info!("stopped"),
            Ending::TakenOver { by, pumped, linger } => {
                info!("process {by} has taken over");
                // A service manager may accept this message from its main process alone, which is this one.
                service_manager::tell(&format!("MAINPID={by}"));
                pump_on(pumped, linger);
                log::finish();
                // The process ends at once: sockets and files that an orderly end would close or remove belong to the
                // new one now.
                std::process::exit(0);
            }
        }
        Ok(())
    })
}

/// Stays between the callers' TLS sessions and the dispatcher that has taken over, until the last has ended.
fn pump_on(pumped: Vec<Pumped>, linger: Duration) {
    if pumped.is_empty() {
        return;
    }
    let pump = match Pump::new(pumped) {
        Ok(pump) => pump,
        Err(error) => return warn!(%error, "TLS connections are closed"),
    };
    info!("{} TLS connections go on through this process, at most {} min", pump.count(), linger.as_secs().div_ceil(60));
    // The successor's sockets must not stay open here beyond its own end, and an order to stop ends this process.
    signals::restore_stop_signals();
    if let Err(error) = process::close_all_but(&pump.descriptors()) {
        return warn!(%error, "TLS connections are closed: this process cannot give up its sockets");
    }
    if let Err(error) = pump.run(linger) {
        warn!(%error, "TLS connections are closed");
    }
}

/// Starts a dispatcher in the order that the module's doc promises. `given` are well-known sockets that the service
/// manager has bound or kept.
async fn start(home: &RunDir, config: Config, source: Source, given: Vec<Listener>) -> Result<Supervisor, StartError> {
    let lock = home.lock()?;
    let handoff = SeqListener::bind(&home.handoff_socket())?;
    let key = home.key(config.token_key.clone())?;
    let keys: Vec<TokenKey> = key.iter().chain(config.previous_token_key.as_ref()).cloned().collect();
    // Workers are awaited before anything is bound: those of an earlier dispatcher have the ports, and give them back.
    let known = if key.is_some() { keys.as_slice() } else { &[] };
    let mut reattachment = Reattachment::begin(home, handoff, known)?;
    reattachment.await_holders().await?;
    let ports = loop {
        match BoundSockets::bind(&config, &given, reattachment.found()) {
            Ok(ports) => break ports,
            // Workers whose locks were cleaned away make them anew as soon as they are without a dispatcher.
            Err(BindError::InUse { .. }) if reattachment.await_latecomers().await? => {}
            Err(error) => return Err(error.with_holders().into()),
        }
    };
    let (handoff, mut reattached) = reattachment.end();
    let key = match key {
        Some(key) => key,
        None => {
            // With a new key the tokens of every call in progress would mean nothing: the workers have the old key.
            if let Some(worker) = reattached.workers.first().map(|found| found.readmitted.worker) {
                warn!("the token key was missing in {}; {worker} has given it back", home.path().display());
            }
            home.keep_key(reattached.key())?
        }
    };
    let (listeners, slots) = ports.complete(&config, &mut reattached);
    let lan = LanListener::bind(config.lan.as_ref())?;
    let proxy_kinds = proxy_kinds(&config)?;
    let stats = admin::listener::bind(&home.stats_socket(), config.stats_group.as_deref())?;
    let fds = DispatcherFds {
        lock: lock.as_fd().try_clone_to_owned()?,
        handoff: handoff.as_fd().try_clone_to_owned()?,
        stats: stats.as_fd().try_clone_to_owned()?,
    };

    let (events, lane_events) = mpsc::unbounded_channel();
    let seed = random::random_u64()?;
    let lanes = lane_setups(&config, &key, &listeners, (seed, reattached.workers.len()), &proxy_kinds)?;
    let gate = stream_listeners::gate_setup(&config, &key, &listeners, false)?;
    let lanes = server::Lanes::start(lanes, gate, &events)?;
    for (listen, address) in config.listen.iter().zip(listeners.addresses()) {
        let listen = Listen { address, ..*listen };
        info!("listening on {listen}, {}, run directory {}", count_of_workers(config.workers), home.path().display());
    }
    let run_dir_refresh = RunDirRefresh::new(home, lock, config.token_key.is_none().then(|| key.clone()), clock::now());
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
    Ok(Supervisor::new(resources, slots, reattached))
}

/// The rules of a configuration on this host.
fn rules(config: &Config) -> Rules {
    let wildcards = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    Rules { wildcard_addresses: wildcards.map(host::own_address).to_vec(), ..Rules::from(config) }
}

/// The setup of each lane. `shared` is the seed that all lanes share: it assigns calls to lanes; so many workers are
/// `awaited`.
fn lane_setups(
    config: &Config,
    key: &TokenKey,
    listeners: &Listeners,
    (shared, awaited): (u64, usize),
    proxy_kinds: &ProxyKinds,
) -> io::Result<Vec<server::Setup>> {
    let lanes = usize::from(config.lanes);
    let caps = descriptors::connection_caps(config, process::descriptor_limit());
    let connections = if config.has_stream_listeners() { caps.total as usize } else { 0 };
    let setup = |own| {
        let dispatch = Dispatch::new(crate::dispatch::Setup {
            rules: rules(config),
            keys: Keyring { current: key.clone(), previous: config.previous_token_key.clone() },
            table_cap: config.table_cap.div_ceil(lanes),
            group_cap: CONFERENCES,
            workers: usize::from(config.workers),
            seed: random::random_u64()?,
        });
        Ok(server::Setup {
            listeners: listeners.copies(config)?,
            dispatch,
            insert: config.insert,
            retention_bytes: config.retention.count() / lanes,
            owners: Owners::new(own, lanes, shared),
            awaited,
            inherited_entries: None,
            connections,
            linger: config.linger,
            proxy_kinds: proxy_kinds.clone(),
        })
    };
    (0..lanes).map(setup).collect()
}

/// Checks, before anything is begun, that all memory that may be used can be had: running out later would end the
/// process, and the calls that wait in it. Nothing is allocated yet.
fn check_memory(config: &Config) -> Result<(), StartError> {
    let lanes = usize::from(config.lanes);
    let shared = [config.table_cap * TABLE_ENTRY, lanes * History::LEN * HISTORY_LINE];
    let threads = std::iter::repeat_n(THREAD_HEAP, lanes + 2);
    let stores = std::iter::repeat_n(config.retention.count(), usize::from(config.workers));
    let blocks = || shared.into_iter().chain(threads.clone()).chain(stores.clone());
    if !memory::can_have(blocks()) {
        return Err(StartError::Memory { workers: config.workers, needed: blocks().sum() });
    }
    Ok(())
}

/// Bytes that one entry of the table takes with its share of the indexes, rounded up: measured in
/// `tests/allocation.rs`.
const TABLE_ENTRY: usize = 168;
/// Bytes of one line of the history with its outcome and its connection, rounded up.
const HISTORY_LINE: usize = 96;
/// Addresses that glibc sets aside for the heap of a thread.
const THREAD_HEAP: usize = 64 << 20;

/// The signals that are handled: SIGTERM and SIGINT order a stop, SIGHUP orders a reload of the configuration.
struct Signals {
    stops: [Signal; 2],
    reloads: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok(Signals { stops, reloads: signal(SignalKind::hangup())? })
    }

    async fn obey(mut self, commands: CommandSender) {
        let [terminate, interrupt] = &mut self.stops;
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => commands.stop(),
                Some(()) = interrupt.recv() => commands.stop(),
                Some(()) = self.reloads.recv() => commands.reload(),
                else => return,
            }
        }
    }
}
