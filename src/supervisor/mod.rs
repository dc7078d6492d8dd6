//! The dispatcher's control side: it binds the sockets, starts the lane and the workers, answers the stats socket, and
//! sees to an orderly end.
//!
//! The order of a start is a promise to those who are there already. (1) The lock of the run directory: a second dispatcher
//! ends here, and has touched nothing. (2) The handoff socket, where the workers of a dispatcher that died knock.
//! (3) These workers come back with the ports they hold (`survivors`). (4) What nobody brought is bound, what is
//! missing is started, and the sockets are read, with all that has waited in them.

mod admission;
mod child;
mod crew;
mod desk;
mod greeting;
mod manager;
mod reload;
mod slot;
mod sockets;
mod survivors;

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::crew::{Crew, LaneDied, Muster, Orders};
use self::sockets::{Listeners, SlotSockets};
use self::survivors::GatherError;
use crate::admin;
use crate::admin::run_dir::{RunDir, RunDirError};
use crate::config::{Config, Source};
use crate::dispatch::Dispatch;
use crate::dispatch::identity::Keyring;
use crate::dispatch::owner::Owners;
use crate::dispatch::rules::Rules;
use crate::ids::{TokenKey, WorkerId};
use crate::net::bind::BindError;
use crate::net::unix::SeqListener;
use crate::net::{activation, notify, process, random, unix};
use crate::server;

/// Descriptors asked for: a worker has one for each RTP stream and TCP connection.
const DESCRIPTORS: u64 = 1 << 18;

/// Descriptors of the dispatcher beside listeners and slots: polls, wakers, run directory, clients of its sockets.
const DESCRIPTORS_BESIDE: u64 = 40;

/// Conferences that are remembered at once.
const CONFERENCES: usize = 65_536;

/// Why the dispatcher did not start. Each text names the thing and says what to do; nothing is left behind.
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
    Stats(#[from] admin::server::BindError),
    /// The workers of an earlier dispatcher.
    #[error(transparent)]
    Survivors(#[from] GatherError),
    /// The limit of open descriptors.
    #[error(
        "{workers} workers take {needed} file descriptors, and {limit} are allowed; raise the limit (`ulimit -n`, `LimitNOFILE=`)"
    )]
    Descriptors {
        /// How many workers are to be started.
        workers: u16,
        /// What they and the dispatcher take.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// The dispatcher had started, and has failed since.
    #[error(transparent)]
    Lane(#[from] LaneDied),
    /// The kernel gives no thread, poll or signal.
    #[error("cannot start: {0}")]
    Kernel(#[from] io::Error),
}

/// Runs the dispatcher until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting: a run directory in use, a port in use, an address that is not this host's.
pub fn run(config: Config, source: Source) -> Result<(), StartError> {
    // Before any descriptor is opened.
    let (mut given, refused) = activation::sockets();
    refused.iter().for_each(|line| warn!("{line}"));
    check_descriptors(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything is made that would have to be taken away again: from here on a signal is an order.
    let signals = {
        let _runtime = runtime.enter();
        Signals::catch()?
    };
    let home = RunDir::open(config.run_dir.as_deref())?;
    let _lock = home.lock()?;
    let handoff = SeqListener::bind(&home.handoff_socket())?;
    let key = home.key(config.token_key.clone())?;
    runtime.block_on(async {
        let keys: Vec<TokenKey> = key.iter().chain(config.previous_token_key.as_ref()).cloned().collect();
        // Before anything is bound: what lives from an earlier dispatcher has the ports, and gives them back.
        let known = if key.is_some() { keys.as_slice() } else { &[] };
        let (handoff, mut survivors) = survivors::gather(&home, handoff, known).await?;
        let key = match key {
            Some(key) => key,
            None => {
                // With a new key the tokens of every call that stands would mean nothing: the workers have the old one.
                if let Some(worker) = survivors.workers.first().map(|survivor| survivor.resumed.worker) {
                    warn!("the token key was gone from {}; {worker} had it", home.path().display());
                }
                home.keep_key(survivors.key())?
            }
        };
        given.append(&mut survivors.listeners);
        let listeners = Listeners::bind(&config, given)?;
        let slots = (0..config.workers.max(survivors.slots())).map(WorkerId);
        let slots = slots.map(|slot| match survivors.take_sockets(slot) {
            Some(sockets) => Ok(sockets),
            None if slot.0 < config.workers => SlotSockets::bind(&config, slot),
            None => Ok(SlotSockets::default()),
        });
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let stats = admin::server::bind(&home.stats_socket())?;

        let (events, lane_events) = mpsc::unbounded_channel();
        let lanes = server::Lanes::start(lane_setups(&config, &key, &listeners, survivors.workers.len())?, &events)?;
        for address in listeners.addresses() {
            info!("listening on udp {address}, {} workers, run directory {}", config.workers, home.path().display());
        }
        home.keep();
        let crew = Crew::new(Muster { config, source, key, listeners, slots, survivors, handoff, lanes, lane_events });
        tokio::spawn(signals.obey(crew.orders()));
        let orders = crew.orders();
        tokio::spawn(admin::server::serve(stats, move |command| orders.clone().ask(command)));
        // Behind everything that can fail: whoever waits for the word may send calls.
        if let Err(error) = notify::tell(&format!("READY=1\nMAINPID={}\n", std::process::id())) {
            warn!("the service manager cannot be told: {error}");
        }
        crew.serve().await?;
        info!("stopped");
        Ok(())
    })
}

fn lane_setups(
    config: &Config,
    key: &TokenKey,
    listeners: &Listeners,
    awaited: usize,
) -> io::Result<Vec<server::Setup>> {
    let (lanes, shared) = (usize::from(config.lanes), random::random_u64()?);
    let setup = |own| {
        let dispatch = Dispatch::new(crate::dispatch::Setup {
            rules: Rules::from(config),
            keys: Keyring { current: key.clone(), previous: config.previous_token_key.clone() },
            table_cap: config.table_cap.div_ceil(lanes),
            group_cap: CONFERENCES,
            workers: usize::from(config.workers),
            seed: random::random_u64()?,
        });
        Ok(server::Setup {
            listeners: listeners.copies()?,
            dispatch,
            insert: config.insert,
            retention_bytes: config.retention_bytes / lanes,
            owners: Owners::new(own, lanes, shared),
            awaited,
        })
    };
    (0..lanes).map(setup).collect()
}

/// Raises the limit of descriptors as far as it goes. A high one is for the workers' calls: without it the pool is
/// smaller, and says so when it is full. Below what the start itself takes, it is not begun.
fn check_descriptors(config: &Config) -> Result<(), StartError> {
    // A limit that cannot be read is found out by running into it.
    let limit = process::raise_descriptor_limit(DESCRIPTORS).unwrap_or(u64::MAX);
    let addresses = config.listener_ips().len() as u64;
    // A slot has its sockets, the lane's copies for the times without a worker, the link and the process.
    let slots = u64::from(config.workers) * (4 * addresses + 3);
    let needed = 2 * config.listen.len() as u64 + slots + DESCRIPTORS_BESIDE;
    if limit < needed {
        return Err(StartError::Descriptors { workers: config.workers, needed, limit });
    }
    Ok(())
}

/// The signals that mean something: SIGTERM and SIGINT are the operator's will to stop, SIGHUP has the configuration
/// read again.
struct Signals {
    stops: [Signal; 2],
    reloads: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok(Signals { stops, reloads: signal(SignalKind::hangup())? })
    }

    async fn obey(mut self, orders: Orders) {
        let [terminate, interrupt] = &mut self.stops;
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => orders.stop(),
                Some(()) = interrupt.recv() => orders.stop(),
                Some(()) = self.reloads.recv() => orders.reload(),
                else => return,
            }
        }
    }
}
