//! The workers of an earlier dispatcher: those that live come back, with their sockets and their state. A worker that
//! holds its slot and does not come is killed.
//!
//! A dispatcher that dies takes no call with it. Its workers hold the slots' ports and, as duplicates, the well-known
//! ones, in which datagrams wait meanwhile; so nothing may be bound before the workers have given them back. The locks
//! in the run directory tell which workers live: the kernel releases a lock when its holder ends. If a cleaner has
//! removed the locks, the command lines of this user's processes tell it.

mod awaited;
mod unlocked;
mod wait_limit;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tracing::{debug, info, warn};

use self::awaited::AwaitedOnce;
use self::unlocked::Unlocked;
use self::wait_limit::WaitLimit;
use super::admission::{self, Evidence, Readmitted};
use super::child;
use super::handshake::{self, NoHello, Resync};
use super::sockets::{ReturnedSockets, SlotSockets};
use crate::dispatch::decision::{Brought, Unanswered};
use crate::ids::{ListenerId, TokenKey, WorkerId};
use crate::net::lock_file::{LockFile, LockHolder};
use crate::net::process::Process;
use crate::net::run_dir::{RunDir, RunDirError, own_uid, worker_lock};
use crate::net::unix::{SeqListener, SeqPacket};
use crate::net::{clock, udp, watch};
use crate::words::{Hello, PassedSocket, SocketRole};

/// Longest time from a worker's connection to the end of its `Hello` and all that it announces.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Interval at which the locks are checked: their holder may end meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Added to that interval for each lock, so that the checks leave CPU time to the workers that are awaited.
const LOOK_EACH: Duration = Duration::from_micros(250);
/// Longest wait for a worker whose lock's file was removed: it makes the file anew when it loses its dispatcher, in a
/// moment.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);
/// Most connections that may send a `Hello` at the same time, beyond the number of workers that are awaited.
const STRANGERS: usize = 16;
/// Longest wait for the end of a killed process: it is gone by then, unless the kernel itself hangs.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Additional wait for each of the processes that are killed at once.
const GONE_EACH: Duration = Duration::from_millis(20);

/// A worker that has come back and waits for its welcome.
#[derive(Debug)]
pub struct ReattachedWorker {
    /// Its slot, its incarnation, and the key of its token.
    pub readmitted: Readmitted,
    /// Its link.
    pub link: SeqPacket,
    /// Its process.
    pub process: Process,
    /// Its `Hello`.
    pub hello: Hello,
    /// Its load, transactions, conferences and unanswered messages.
    pub brought: Brought,
    /// Its slot's sockets.
    pub sockets: SlotSockets,
}

impl ReattachedWorker {
    /// Renumbers the messages that it has brought: each gets the present number of the well-known socket that it came
    /// to. `listeners` are the numbers and addresses now. A message whose socket is no listener any more gets the
    /// first.
    pub fn renumber(&mut self, listeners: &[(ListenerId, SocketAddr)]) {
        let ReattachedWorker { hello, brought, .. } = self;
        for Unanswered { envelope, .. } in &mut brought.messages {
            let is_its = |socket: &&PassedSocket| {
                socket.role == SocketRole::Listener && socket.listener == Some(envelope.listener.0)
            };
            let address = hello.sockets.iter().find(is_its).map(|socket| socket.address);
            let number = listeners.iter().find(|(_, listener)| Some(*listener) == address).map(|(number, _)| *number);
            envelope.listener = number.or(listeners.first().map(|(number, _)| *number)).unwrap_or(ListenerId(0));
        }
    }
}

/// Everything that came back.
#[derive(Debug, Default)]
pub struct Reattached {
    /// The workers.
    pub workers: Vec<ReattachedWorker>,
    /// Duplicates of the well-known sockets; several workers bring the same.
    pub listeners: Vec<udp::Socket>,
    /// Unmanaged workers that connected meanwhile.
    pub unmanaged: Vec<(SeqPacket, Hello)>,
}

impl Reattached {
    /// The key that the workers have from the earlier dispatcher.
    pub fn key(&self) -> Option<TokenKey> {
        self.workers.first().map(|found| found.readmitted.key.clone())
    }

    /// Whether the worker of a slot has come back.
    pub fn has(&self, slot: WorkerId) -> bool {
        self.workers.iter().any(|found| found.readmitted.worker == slot)
    }

    /// The sockets of a slot, where its worker has come back.
    pub fn take_sockets(&mut self, slot: WorkerId) -> Option<SlotSockets> {
        let found = self.workers.iter_mut().find(|found| found.readmitted.worker == slot)?;
        Some(std::mem::take(&mut found.sockets))
    }

    /// Number of slots needed for all of them.
    pub fn slots(&self) -> u16 {
        self.workers.iter().map(|found| found.readmitted.worker.0 + 1).max().unwrap_or_default()
    }
}

/// Reason why no worker can be waited for.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum ReattachError {
    /// The run directory.
    RunDir(#[from] RunDirError),
    /// The kernel watches no more descriptors.
    Kernel(#[from] io::Error),
}

/// The wait for workers, and those that have come.
#[derive(Debug)]
pub struct Reattachment<'h> {
    home: &'h RunDir,
    handoff: AsyncFd<SeqListener>,
    keys: Vec<TokenKey>,
    awaited: BTreeSet<WorkerId>,
    found: Reattached,
    awaited_once: AwaitedOnce,
    unlocked: Unlocked,
}

type HelloRead = Result<(SeqPacket, Resync), (SeqPacket, NoHello)>;

impl<'h> Reattachment<'h> {
    /// Begins at the handoff socket `handoff`. `keys` are the run directory's; empty if they have been lost.
    ///
    /// # Errors
    ///
    /// The run directory cannot be read, or the handoff socket cannot be watched.
    pub fn begin(home: &'h RunDir, handoff: SeqListener, keys: &[TokenKey]) -> Result<Self, ReattachError> {
        let mut awaited_once = AwaitedOnce::default();
        let held = home.held_slots()?;
        let unlocked = Unlocked::find(&home.handoff_socket(), &held);
        let awaited = awaited_once.next(held.into_iter().chain(unlocked.slots()), |_| false);
        let handoff = watch::readable(handoff).map_err(|(_, error)| error)?;
        Ok(Reattachment {
            home,
            handoff,
            keys: keys.to_vec(),
            awaited,
            found: Reattached::default(),
            awaited_once,
            unlocked,
        })
    }

    /// Waits for the workers that live, and kills those that hold their lock and do not come.
    ///
    /// # Errors
    ///
    /// The handoff socket is broken.
    pub async fn await_holders(&mut self) -> Result<(), ReattachError> {
        if self.awaited.is_empty() {
            return Ok(());
        }
        info!("waiting for the workers of an earlier dispatcher: {}", names(&self.awaited));
        let waited = self.wait().await?;
        self.end_the_missing(waited).await;
        Ok(())
    }

    /// Waits for workers that hold a port and make their lock anew only now: its file was removed while they ran.
    /// Returns false when none has made its lock for a second.
    ///
    /// # Errors
    ///
    /// As [`Reattachment::begin`].
    pub async fn await_latecomers(&mut self) -> Result<bool, ReattachError> {
        let deadline = Instant::now() + LOCKED_WITHIN;
        while self.awaited.is_empty() {
            let held = self.home.held_slots()?;
            self.awaited = self.awaited_once.next(held, |slot| self.found.has(slot));
            if self.awaited.is_empty() && Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
        self.await_holders().await?;
        Ok(true)
    }

    /// Workers that have come so far.
    pub const fn found(&self) -> &Reattached {
        &self.found
    }

    /// Ends the wait.
    pub fn end(self) -> (SeqListener, Reattached) {
        (self.handoff.into_inner(), self.found)
    }

    /// Waits until all have come or the time is over; returns how long it lasted.
    async fn wait(&mut self) -> io::Result<Duration> {
        let began = clock::now();
        let (mut wait_limit, all) = (WaitLimit::new(began), self.awaited.len());
        let mut talks: JoinSet<HelloRead> = JoinSet::new();
        let mut look = interval(LOOK_EVERY + LOOK_EACH * u32::try_from(all).unwrap_or(u32::MAX));
        while !self.awaited.is_empty() {
            let left = wait_limit.until(self.awaited.len(), all.max(self.awaited.len())).since(clock::now());
            if left.is_zero() {
                break;
            }
            tokio::select! {
                link = accept(&self.handoff) => self.hear(link?, &mut talks),
                Some(Ok(told)) = talks.join_next() => {
                    if self.on_hello(told) {
                        wait_limit.on_arrival(clock::now());
                    }
                }
                _ = look.tick() => {
                    let lives = |slot: &WorkerId| self.holder(*slot).is_some() || self.unlocked.living(*slot).is_some();
                    let ended: Vec<WorkerId> = self.awaited.iter().copied().filter(|slot| !lives(slot)).collect();
                    self.awaited.retain(|slot| !ended.contains(slot));
                }
                () = sleep(left) => {}
            }
        }
        // A worker that has connected is on its way, and one that is sending its transactions may finish.
        while let Some(link) = self.handoff.get_ref().accept()? {
            self.hear(link, &mut talks);
        }
        while let Some(told) = talks.join_next().await {
            if let Ok(told) = told {
                self.on_hello(told);
            }
        }
        Ok(clock::now().since(began))
    }

    /// Starts to read the `Hello` of a process that has connected, and all that it announces.
    fn hear(&self, link: SeqPacket, talks: &mut JoinSet<HelloRead>) {
        if talks.len() >= STRANGERS + self.awaited.len() {
            handshake::goodbye(&link, "too many connections wait for their first record; try again");
        } else if is_ours(&link) {
            talks.spawn(handshake::resync(link, TELL_WITHIN));
        }
    }

    /// Judges a `Hello` with all it announced. Returns true when a worker is back with it.
    fn on_hello(&mut self, told: HelloRead) -> bool {
        let (link, resync) = match told {
            Ok(told) => told,
            Err((link, reason)) => {
                warn!("a worker is refused: {reason}");
                handshake::goodbye(&link, &reason.to_string());
                return false;
            }
        };
        if admission::claimed(&resync.hello).is_none() {
            self.found.unmanaged.push((link, resync.hello));
            return false;
        }
        match self.readmit(&link, resync) {
            Ok((readmitted, process, returned, hello, brought)) => {
                let worker = readmitted.worker;
                debug!(%worker, pid = process.pid(), sessions = brought.sessions, "a worker of an earlier dispatcher is back");
                self.awaited.remove(&worker);
                // The run directory's key file was lost, and with it the key: from here on there is one again.
                if self.keys.is_empty() {
                    self.keys.push(readmitted.key.clone());
                }
                self.found.listeners.extend(returned.listeners);
                let sockets = returned.slot;
                self.found.workers.push(ReattachedWorker { readmitted, link, process, hello, brought, sockets });
                true
            }
            Err(reason) => {
                warn!("a worker is refused: {reason}");
                handshake::goodbye(&link, &reason);
                false
            }
        }
    }

    fn readmit(
        &self,
        link: &SeqPacket,
        resync: Resync,
    ) -> Result<(Readmitted, Process, ReturnedSockets, Hello, Brought), String> {
        let Resync { hello, descriptors, transactions, conferences, messages } = resync;
        let holder = admission::claimed(&hello).and_then(|slot| self.holder(slot)).and_then(|holder| holder.pid);
        let evidence = Evidence {
            peer: link.peer().ok().and_then(|peer| peer.pid),
            holder,
            descriptors: descriptors.len(),
            keys: &self.keys,
        };
        let readmitted = admission::readmit(&hello, &evidence).map_err(|refusal| refusal.to_string())?;
        if self.found.has(readmitted.worker) {
            return Err(format!("{} is back already", readmitted.worker));
        }
        let process = Process::open(hello.pid).map_err(|error| format!("{}: {error}", readmitted.worker))?;
        let returned = ReturnedSockets::sort(&hello.sockets, descriptors)
            .map_err(|error| format!("{}: {error}", readmitted.worker))?;
        let brought = Brought {
            units_used: hello.units_used,
            sessions: hello.sessions,
            draining: hello.draining,
            transactions,
            conferences,
            messages,
        };
        Ok((readmitted, process, returned, hello, brought))
    }

    /// Kills the workers that hold a slot's lock and have not come in `waited`: they are taken to hang, and their
    /// sockets are needed.
    async fn end_the_missing(&mut self, waited: Duration) {
        let mut ends = JoinSet::new();
        let within = GONE_WITHIN + GONE_EACH * u32::try_from(self.awaited.len()).unwrap_or(u32::MAX);
        for worker in std::mem::take(&mut self.awaited) {
            let process = match LockFile::holding_process(&worker_lock(self.home.path(), worker)) {
                Ok(process) => process,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Its command line is the only evidence that the slot is the process's, which is not enough to kill
                    // it, and its calls with it.
                    if let Some(pid) = self.unlocked.living(worker).map(Process::pid) {
                        warn!(
                            %worker,
                            pid,
                            "has lost its lock and has not come back within {waited:.1?}: its slot goes to a new worker, its \
                             calls go on without a dispatcher; end it with `kill {pid}`"
                        );
                    }
                    continue;
                }
                Err(error) => {
                    warn!(%worker, "holds its slot, has not come back and cannot be killed: {error}");
                    continue;
                }
            };
            let pid = process.pid();
            warn!(%worker, pid, "has not come back within {waited:.1?} and is killed; its calls end");
            ends.spawn(async move { (worker, pid, end(process, within).await) });
        }
        while let Some(ended) = ends.join_next().await {
            if let Ok((worker, pid, Err(error))) = ended {
                warn!(%worker, pid, "cannot be killed: {error}");
            }
        }
    }

    fn holder(&self, slot: WorkerId) -> Option<LockHolder> {
        LockFile::holder(&worker_lock(self.home.path(), slot)).ok().flatten()
    }
}

/// Most workers that are named; of any more only the number is given.
const NAMED: usize = 16;

fn names(workers: &BTreeSet<WorkerId>) -> String {
    let named: Vec<String> = workers.iter().take(NAMED).map(WorkerId::to_string).collect();
    match workers.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

async fn accept(handoff: &AsyncFd<SeqListener>) -> io::Result<SeqPacket> {
    loop {
        let mut ready = handoff.readable().await?;
        match handoff.get_ref().accept()? {
            Some(link) => return Ok(link),
            None => ready.clear_ready(),
        }
    }
}

fn is_ours(link: &SeqPacket) -> bool {
    match link.peer() {
        Ok(peer) if peer.uid == own_uid() || peer.uid == 0 => true,
        Ok(peer) => {
            warn!(uid = peer.uid, pid = peer.pid, "handoff socket: refused a process of another user");
            handshake::goodbye(link, "this socket is for workers of the dispatcher's own user");
            false
        }
        Err(_) => false,
    }
}

/// Kills a process and waits for its end, which frees its lock and its sockets.
async fn end(process: Process, within: Duration) -> io::Result<()> {
    process.signal(Signal::KILL)?;
    timeout(within, child::until_end(process)).await.map_err(|_| io::ErrorKind::TimedOut.into())
}
