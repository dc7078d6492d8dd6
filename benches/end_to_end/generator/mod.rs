//! A load generator: a caller with many calls, in one thread, on one UDP socket or on TCP connections.
//!
//! It places INVITEs at a fixed rate or keeps a fixed number of transactions open, follows Contact (or Record-Route)
//! with ACK and BYE, retransmits by RFC 3261 §17.1, and counts whatever did not go as it should. Sent and read one
//! datagram at a time: on loopback the batch calls save 36 ns of 471 when reading and nothing when sending.
//!
//! ```text
//! let mut generator = Generator::new(Plan { until: Until::Calls(10_000), ..Plan::new(target) })?;
//! generator.run();
//! assert_eq!(generator.outcome().completed, 10_000);
//! ```

#![allow(dead_code, reason = "benchmarks and tests each use their part")]

mod exchange;
pub mod message;
mod outcome;
mod path;
mod plan;
pub mod sizes;
mod timers;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use message::{InDialog, InviteTemplate, Key, Method, Remote, Shape};
pub use outcome::{Outcome, Progress};
use path::Path;
pub use plan::{Pace, Plan, Routing, Until};
use sizes::SizeStream;
pub use sizes::Sizes;
use timers::Timers;

/// A caller with many calls.
pub struct Generator {
    plan: Plan,
    path: Path,
    local: String,
    run: u32,
    template: InviteTemplate,
    shape: Shape,
    /// The addresses that 302s have named, each with the INVITE for it.
    redirections: Vec<(SocketAddr, InviteTemplate)>,
    sizes: SizeStream,
    calls: Vec<Call>,
    free: Vec<u32>,
    timers: Timers,
    /// Answered calls in the order in which their BYE falls due.
    standing: VecDeque<(Instant, Key)>,
    /// Calls that wait for a response to INVITE or BYE.
    open: usize,
    /// Calls that have been answered and not ended.
    established: usize,
    begin: Instant,
    placed: u64,
    ended: u64,
    /// No BYE is sent while so many transactions are open.
    bye_window: usize,
    scratch: Vec<u8>,
    buffer: Vec<u8>,
    outcome: Outcome,
    progress: Arc<Progress>,
}

#[derive(Clone, Debug, Default)]
struct Call {
    serial: u32,
    size: u32,
    state: State,
    /// The place among the redirections that its INVITE has gone to.
    redirected: Option<usize>,
    remote: Remote,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    /// No response yet: Timer A runs.
    Calling {
        since: Instant,
    },
    /// A provisional response came: nothing is sent again.
    Proceeding {
        since: Instant,
    },
    Standing,
    /// BYE sent: Timer E runs.
    Ending {
        since: Instant,
    },
}

/// Datagrams read before anything else gets its turn.
const READ_BATCH: usize = 64;
/// Calls placed, or ended, in one turn: more would let replies overflow the buffer.
const PLACE_BATCH: u64 = 64;
/// Transactions open while all calls are hung up: a burst of every BYE at once would overflow the far end's buffer.
const HANG_UP_WINDOW: usize = 256;

impl Generator {
    /// A generator with its socket bound to a free port.
    pub fn new(plan: Plan) -> io::Result<Self> {
        let path = Path::open(&plan)?;
        let local = path.local_addr()?;
        let shape = Shape {
            local,
            transport: path.transport(),
            target: plan.target,
            mark: 'i',
            bytes: plan.invite_bytes,
            rport: plan.rport,
            inactive: plan.inactive,
            sized: plan.sizes != Sizes::Unstated,
        };
        let nanos =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        Ok(Generator {
            template: InviteTemplate::new(&shape),
            shape,
            redirections: Vec::new(),
            sizes: SizeStream::new(plan.sizes),
            timers: Timers::new(plan.t1),
            path,
            local: local.to_string(),
            run: std::process::id().rotate_left(16) ^ nanos,
            calls: Vec::new(),
            free: Vec::new(),
            standing: VecDeque::new(),
            open: 0,
            established: 0,
            begin: Instant::now(),
            placed: 0,
            ended: 0,
            bye_window: usize::MAX,
            scratch: Vec::with_capacity(2048),
            buffer: vec![0; 65_536],
            outcome: Outcome::default(),
            progress: Arc::default(),
            plan,
        })
    }

    /// Places all calls of the plan and returns when no transaction is open and no call waits for its BYE.
    pub fn run(&mut self) -> &Outcome {
        self.begin = Instant::now();
        while self.places_more() || self.open > 0 || (self.plan.hold.is_some() && self.established > 0) {
            self.turn();
        }
        self.finish()
    }

    /// Ends all calls that stand.
    pub fn hang_up(&mut self) -> &Outcome {
        self.stop_placing();
        self.plan.hold = Some(Duration::ZERO);
        self.bye_window = HANG_UP_WINDOW;
        self.begin = Instant::now();
        self.ended = 0;
        while self.open > 0 || self.established > 0 {
            self.turn();
        }
        self.finish()
    }

    /// Answers what comes until the far end has ended every call, at most `within`; false when calls are left.
    pub fn wait_for_byes(&mut self, within: Duration) -> bool {
        self.stop_placing();
        let begin = Instant::now();
        while self.established > 0 && begin.elapsed() < within {
            self.turn();
        }
        self.finish();
        self.established == 0
    }

    /// The outcome so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The figures that another thread can watch.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Calls that stand.
    pub fn established(&self) -> usize {
        self.established
    }

    /// The generator's address.
    pub fn address(&self) -> SocketAddr {
        self.path.local_addr().unwrap_or(SocketAddr::new(self.plan.local, 0))
    }

    fn stop_placing(&mut self) {
        self.plan.until = Until::Calls(0);
    }

    fn finish(&mut self) -> &Outcome {
        self.outcome.elapsed = self.begin.elapsed();
        &self.outcome
    }

    fn places_more(&self) -> bool {
        !self.progress.is_stopped()
            && match self.plan.until {
                Until::Calls(calls) => self.placed < calls,
                Until::After(span) => self.begin.elapsed() < span,
                Until::Stopped => true,
            }
    }

    /// Everything that is due, then a wait for the next thing.
    fn turn(&mut self) {
        let drained = self.read();
        let now = Instant::now();
        while let Some(due) = self.timers.pop(now) {
            self.on_timer(due);
        }
        self.end_due(now);
        let next_call = self.place_due(now);
        self.progress.publish(&self.outcome, self.established as u64);
        if drained {
            self.wait(now, next_call);
        }
    }

    /// Sleeps until a datagram comes, a timer falls due or the next call is to be placed; at most 20 ms.
    fn wait(&self, now: Instant, next_call: Option<Instant>) {
        let bye = match self.plan.hold {
            Some(_) if self.open < self.bye_window => self.standing.front().map(|&(due, _)| due.max(self.next_bye())),
            _ => None,
        };
        let next = [self.timers.next(), bye, next_call].into_iter().flatten().min();
        let span =
            next.map_or(Duration::MAX, |next| next.saturating_duration_since(now)).min(Duration::from_millis(20));
        if span.is_zero() {
            return;
        }
        self.path.wait(span);
    }

    /// Places the calls that are due; when the next one falls due, for a fixed rate.
    fn place_due(&mut self, now: Instant) -> Option<Instant> {
        let due = match self.plan.pace {
            Pace::Rate(rate) => ((self.begin.elapsed().as_secs_f64() * rate) as u64 + 1).saturating_sub(self.placed),
            Pace::Window(window) => window.saturating_sub(self.open) as u64,
        };
        for _ in 0..due.min(PLACE_BATCH) {
            if !self.places_more() || self.calls.len() - self.free.len() >= self.plan.at_most {
                return None;
            }
            self.place(now);
        }
        match self.plan.pace {
            Pace::Rate(rate) if self.places_more() => {
                Some(self.begin + Duration::from_secs_f64(self.placed as f64 / rate))
            }
            _ => None,
        }
    }

    fn place(&mut self, now: Instant) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Call::default());
            (self.calls.len() - 1) as u32
        });
        let size = self.sizes.draw().unwrap_or(0);
        let call = &mut self.calls[slot as usize];
        call.serial = call.serial.wrapping_add(1);
        call.size = size;
        call.state = State::Calling { since: now };
        call.redirected = None;
        let key = Key { run: self.run, slot, serial: call.serial };
        self.placed += 1;
        self.open += 1;
        self.outcome.started += 1;
        self.send_invite(key, size);
        self.timers.start(now, key, Method::Invite);
    }

    fn send_invite(&mut self, key: Key, size: u32) {
        let redirected = self.calls[key.slot as usize].redirected;
        let (target, template) = match redirected.and_then(|at| self.redirections.get_mut(at)) {
            Some((target, template)) => (*target, template),
            None => {
                self.outcome.invites_sent += 1;
                (self.plan.target, &mut self.template)
            }
        };
        if self.path.send(key.slot, template.write(key, size), target).is_err() {
            // Lost here or lost on the way: Timer A knows no difference.
            self.outcome.send_failed += 1;
        }
    }

    /// Reads what is there; false when there may be more.
    fn read(&mut self) -> bool {
        if let Path::Tcp(lines) = &mut self.path {
            let messages = lines.read();
            messages.iter().for_each(|(bytes, from)| self.on_message(bytes, *from));
            return messages.is_empty();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut drained = false;
        for _ in 0..READ_BATCH {
            let Path::Udp(socket) = &self.path else { break };
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.on_message(&buffer[..length], from),
                Err(_) => {
                    drained = true;
                    break;
                }
            }
        }
        self.buffer = buffer;
        drained
    }

    /// Sends the BYEs that are due and within the limit.
    fn end_due(&mut self, now: Instant) {
        let Some(hold) = self.plan.hold else { return };
        let mut left = PLACE_BATCH;
        while let Some(&(due, key)) = self.standing.front() {
            let call = &mut self.calls[key.slot as usize];
            if call.serial != key.serial || call.state != State::Standing {
                self.standing.pop_front();
                continue;
            }
            if (due > now && !hold.is_zero()) || self.next_bye() > now || self.open >= self.bye_window || left == 0 {
                return;
            }
            left -= 1;
            self.standing.pop_front();
            self.calls[key.slot as usize].state = State::Ending { since: now };
            self.ended += 1;
            self.open += 1;
            self.outcome.byes_sent += 1;
            self.send_bye(key);
            self.timers.start(now, key, Method::Bye);
        }
    }

    fn next_bye(&self) -> Instant {
        match self.plan.byes_per_second {
            Some(rate) => self.begin + Duration::from_secs_f64(self.ended as f64 / rate),
            None => self.begin,
        }
    }

    fn send_bye(&mut self, key: Key) {
        let remote = std::mem::take(&mut self.calls[key.slot as usize].remote);
        self.send_in_dialog(InDialog::Bye, key, &remote);
        self.calls[key.slot as usize].remote = remote;
    }

    fn send_in_dialog(&mut self, method: InDialog, key: Key, remote: &Remote) {
        let local = (self.path.transport(), self.local.as_str());
        message::write_in_dialog(&mut self.scratch, method, key, local, remote);
        let sent = self.destination(remote).map(|to| self.path.send(key.slot, &self.scratch, to));
        if !matches!(sent, Some(Ok(_))) {
            self.outcome.send_failed += 1;
        }
    }

    fn destination(&self, remote: &Remote) -> Option<SocketAddr> {
        match self.plan.routing {
            Routing::Dialog => remote.next_hop,
            Routing::Target => Some(self.plan.target),
        }
    }

    /// Frees the slot of a call whose open transaction has ended.
    fn close(&mut self, key: Key) {
        self.calls[key.slot as usize].state = State::Free;
        self.free.push(key.slot);
        self.open -= 1;
    }
}
