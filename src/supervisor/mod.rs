//! The dispatcher's control side: it binds the sockets, starts the lane and the workers, answers the stats socket, and
//! sees to an orderly end.
//!
//! The order of a start is a promise to those who are there already. (1) The lock of the run directory: a second dispatcher
//! ends here, and has touched nothing. (2) The handoff socket, where the workers of a dispatcher that died knock.
//! (3) These workers come back with the ports they hold ([`survivors`]). (4) What nobody brought is bound, what is
//! missing is started, and the sockets are read, with all that has waited in them.

mod admission;
mod child;
mod crew;
mod desk;
mod greeting;
mod reload;
mod slot;
mod sockets;
mod survivors;

use std::io;

use tokio::signal::unix::{SignalKind, signal};
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
use crate::net::{process, random, unix};
use crate::server;

/// Descriptors asked for: a worker has one for each RTP stream and TCP connection.
const DESCRIPTORS: u64 = 1 << 18;

/// Conferences that are remembered at once.
const CONFERENCES: usize = 65_536;

/// Why the dispatcher did not start. Each text names the thing and says what to do; nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum StartError {
    /// The run directory.
    RunDir(#[from] RunDirError),
    /// A well-known port or a slot's.
    Bind(#[from] BindError),
    /// The handoff socket.
    Handoff(#[from] unix::UnixError),
    /// The stats socket.
    Stats(#[from] admin::server::BindError),
    /// The workers of an earlier dispatcher.
    Survivors(#[from] GatherError),
    /// The dispatcher had started, and has failed since.
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
    // Without the limit the pool is smaller, and says so when it is full.
    let _ = process::raise_descriptor_limit(DESCRIPTORS);
    let home = RunDir::open(config.run_dir.as_deref())?;
    let _lock = home.lock()?;
    let handoff = SeqListener::bind(&home.handoff_socket())?;
    let key = home.key(config.token_key.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
        let listeners = Listeners::bind(&config, std::mem::take(&mut survivors.listeners))?;
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
        listen_to_signals(crew.orders())?;
        let orders = crew.orders();
        tokio::spawn(admin::server::serve(stats, move |command| orders.clone().ask(command)));
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

/// SIGTERM and SIGINT are the operator's will to stop; SIGHUP reads the configuration again.
fn listen_to_signals(orders: Orders) -> io::Result<()> {
    let mut stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let mut reloads = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let [terminate, interrupt] = &mut stops;
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => orders.stop(),
                Some(()) = interrupt.recv() => orders.stop(),
                Some(()) = reloads.recv() => orders.reload(),
                else => return,
            }
        }
    });
    Ok(())
}
