//! The old side of a takeover: this dispatcher gives all it has to the new one that asked, and serves on if that fails.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::state::{self, FinalCopy, LaneHeader, NotifyTarget, PreCopy, SlotCopy, layout_number};
use super::{DispatcherFds, PendingTakeover};
use crate::net::conns::Pumped;
use crate::net::run_dir::own_uid;
use crate::net::unix::SeqPacket;
use crate::net::{clock, memory, notify};
use crate::server::gate::Order;
use crate::server::{self, GivenSocket, LaneState};
use crate::supervisor::commands::{self, LaneStuck};
use crate::supervisor::event::Event;
use crate::supervisor::event_loop::Supervisor;
use crate::supervisor::handshake;
use crate::supervisor::slot_state;
use crate::time::Time;
use crate::upgrade::conversation::{Conversation, ConversationError};
use crate::upgrade::{self, TakeoverPhase, TakeoverRefusal};
use crate::words::Takeover;
use crate::words::takeover::Ask;

/// Longest wait for workers that are being started: each gets its link in a moment, unless it dies.
const START_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for the gate to pause: it answers within its turn.
const PAUSE_WITHIN: Duration = Duration::from_secs(2);
/// Longest time for the new dispatcher to make room; everything goes on meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for the new dispatcher to restore the state that it was given; no lane reads meanwhile.
const TAKE_WITHIN: Duration = Duration::from_secs(2);

/// Reason why the takeover was given up.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Lane(#[from] LaneStuck),
    #[error(transparent)]
    New(#[from] ConversationError),
    #[error(transparent)]
    Kernel(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] TakeoverRefusal),
}

impl Supervisor {
    /// Another dispatcher asks to take over: checks whether it may, and keeps its conversation or refuses it.
    pub(in crate::supervisor) fn on_takeover_requested(&mut self, link: SeqPacket, ask: &Ask) {
        let pid = link.peer().ok().and_then(|peer| peer.pid);
        if let Err(refusal) = self.judge(&link, ask) {
            warn!(pid, "no takeover: {refusal}");
            return handshake::goodbye(&link, &refusal.to_string());
        }
        match Conversation::new(link) {
            Ok(conversation) => {
                info!(pid, program = ask.program, "another dispatcher asks to take over");
                self.pending_takeover = Some(PendingTakeover { conversation, until: clock::now() + START_WITHIN });
            }
            Err(error) => warn!(pid, "no takeover: {error}"),
        }
    }

    fn judge(&self, link: &SeqPacket, ask: &Ask) -> Result<(), TakeoverRefusal> {
        let (owner, asked) = (own_uid(), link.peer().map_or(u32::MAX, |peer| peer.uid));
        if asked != owner {
            return Err(TakeoverRefusal::User { owner, asked });
        }
        if std::process::id() == 1 {
            return Err(TakeoverRefusal::Init);
        }
        if self.is_stopping() {
            return Err(TakeoverRefusal::Stopping);
        }
        if self.pending_takeover.is_some() {
            return Err(TakeoverRefusal::Busy);
        }
        upgrade::judge(ask, &upgrade::ask(&self.config, &self.key, layout_number()))
    }

    /// The time at which [`Supervisor::hand_over_when_due`] gives up waiting.
    pub(in crate::supervisor) fn takeover_deadline(&self) -> Option<Time> {
        self.pending_takeover.as_ref().map(|asked| asked.until)
    }

    /// Gives everything to the dispatcher that has asked, once no worker is being started. Returns the new dispatcher's
    /// process id (0 where it lives in another pid namespace): this process then has to end without touching anything
    /// it has given.
    pub(in crate::supervisor) async fn hand_over_when_due(&mut self, now: Time) -> Option<u32> {
        let is_starting =
            self.slots.iter().any(|slot| matches!(slot.state.phase(), slot_state::Phase::Starting { .. }));
        let PendingTakeover { conversation, .. } =
            self.pending_takeover.take_if(|asked| !is_starting || asked.until <= now)?;
        let mut phase = TakeoverPhase::Asked;
        let given = if self.is_stopping() {
            Err(TakeoverRefusal::Stopping.into())
        } else if is_starting {
            Err(TakeoverRefusal::Starting.into())
        } else {
            self.hand_over(&conversation, &mut phase).await
        };
        let Err(why) = given else {
            return Some(conversation.peer().ok().and_then(|peer| peer.pid).unwrap_or_default());
        };
        if phase.has_paused() {
            self.lanes.send(|_| server::Command::Resume);
        }
        self.lanes.order(Order::Resume);
        conversation.refuse(&why.to_string());
        warn!("the takeover has failed while {}, this dispatcher serves on: {why}", phase.label());
        None
    }

    async fn hand_over(&mut self, conversation: &Conversation, phase: &mut TakeoverPhase) -> Result<(), Failed> {
        let loads = self.ask(server::Command::Load).await?;
        let entries: Vec<usize> = loads.iter().map(|load| load.totals.table_entries as usize).collect();
        // From here on connections only end: those that come wait to be accepted by the new dispatcher.
        self.pause_gate().await?;
        let sockets = self.ask(server::Command::GiveSockets).await?.into_iter().collect::<io::Result<Vec<_>>>()?;
        let mut pre_copy = memory::file()?;
        state::write(&self.pre_copy(&sockets), &mut pre_copy)?;
        let descriptors = self.descriptors(&pre_copy, &sockets);
        let granted = Takeover::Granted { descriptors: descriptors.len(), entries: entries.clone() };
        conversation.send_with(granted, &descriptors).await?;
        drop(descriptors);
        drop(sockets);
        *phase = TakeoverPhase::Granted;
        // The first touch of new memory costs more than copying into it, so all of it is touched before the lanes
        // pause.
        let mut buffers: Vec<_> = entries.iter().map(|entries| memory::warm(state::room_for(*entries))).collect();
        let mut state = memory::file()?;
        memory::reserve(&state, entries.iter().map(|entries| state::room_for(*entries) as u64).sum());
        conversation.expect(Takeover::Ready, "ready", READY_WITHIN).await?;

        *phase = TakeoverPhase::Paused;
        let paused_at = clock::now();
        self.ask(server::Command::Pause).await?;
        self.ask(server::Command::Settle).await?;
        // Links that have just ended are dealt with here: they are given to no other dispatcher.
        while let Ok(event) = self.lane_events.try_recv() {
            self.on_lane_event(event);
        }
        let give =
            |at: usize, reply| server::Command::Give(buffers.get_mut(at).map(mem::take).unwrap_or_default(), reply);
        let lanes = commands::ask(&self.lanes, give).await?.into_iter().collect::<io::Result<Vec<_>>>()?;
        let packed_at = clock::now();
        state::write(&self.final_copy(&lanes, paused_at), &mut state)?;
        lanes.iter().try_for_each(|lane| state.write_all(&lane.state))?;
        let links = lanes.iter().flat_map(|lane| &lane.links).map(|(_, link)| link.as_fd());
        let given: Vec<_> = std::iter::once(state.as_fd()).chain(links).collect();
        conversation.send_with(Takeover::Given { descriptors: given.len() }, &given).await?;
        *phase = TakeoverPhase::Given;
        let given_at = clock::now();
        conversation.expect(Takeover::Taken, "taken", TAKE_WITHIN).await?;
        // An order to stop that has just come would be lost with this process, so it ends the takeover.
        while let Ok(event) = self.events.try_recv() {
            self.backlog.push_back(event);
        }
        if self.backlog.iter().any(|event| matches!(event, Event::Stop)) {
            return Err(TakeoverRefusal::Stopping.into());
        }
        conversation.send(Takeover::Over)?;
        *phase = TakeoverPhase::Taken;
        let micros = |from: Time, to: Time| to.since(from).as_micros();
        debug!(
            packed = micros(paused_at, packed_at),
            given = micros(packed_at, given_at),
            taken = micros(given_at, clock::now()),
            "microseconds that each step took"
        );
        Ok(())
    }

    /// Ends the work of gate and lanes for good, once another dispatcher has taken over. Returns the TLS connections,
    /// whose plaintext goes to that one.
    pub(in crate::supervisor) async fn end_lanes(&self) -> Vec<Pumped> {
        self.lanes.order(Order::End);
        match self.ask(server::Command::GivePumped).await {
            Ok(lanes) => lanes.into_iter().flatten().collect(),
            Err(stuck) => {
                warn!("TLS connections are closed: {stuck}");
                Vec::new()
            }
        }
    }

    /// Has the gate accept nothing more.
    async fn pause_gate(&self) -> Result<(), Failed> {
        let (reply, paused) = oneshot::channel();
        if self.lanes.order(Order::Pause(reply)) {
            timeout(PAUSE_WITHIN, paused).await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn pre_copy(&self, sockets: &[Vec<GivenSocket>]) -> PreCopy {
        let slots = self.slots.iter().map(|slot| {
            let (sip, mgcp) = slot.sockets.shape();
            SlotCopy {
                state: slot.state,
                sip,
                mgcp,
                process: slot.process.as_ref().map(|process| process.pid()),
                incarnation: slot.incarnation,
                admin: slot.admin,
                leaving: slot.leaving,
            }
        });
        PreCopy {
            started: self.started,
            seed: self.seed,
            listeners: self.listeners.descriptors().count(),
            connections: sockets.iter().map(|lane| lane.iter().map(|(name, _)| *name).collect()).collect(),
            slots: slots.collect(),
            service_manager: notify::listener().map(|(socket, watchdog)| NotifyTarget { socket, watchdog }),
        }
    }

    fn final_copy(&self, lanes: &[LaneState], paused_at: Time) -> FinalCopy {
        let state = |lane: &LaneState| LaneHeader {
            length: lane.state.len(),
            links: lane.links.iter().map(|(worker, _)| *worker).collect(),
        };
        let unmanaged = self.unmanaged.iter().map(|(worker, unmanaged)| (*worker, unmanaged.clone()));
        FinalCopy { paused_at, unmanaged: unmanaged.collect(), lanes: lanes.iter().map(state).collect() }
    }

    /// Descriptors that go with the [`PreCopy`], in the order in which it names them.
    fn descriptors<'d>(&'d self, pre_copy: &'d File, sockets: &'d [Vec<GivenSocket>]) -> Vec<BorrowedFd<'d>> {
        let DispatcherFds { lock, handoff, stats } = &self.fds;
        let mut all = vec![pre_copy.as_fd(), lock.as_fd(), handoff.as_fd(), stats.as_fd()];
        all.extend(self.listeners.descriptors());
        for slot in &self.slots {
            all.extend(slot.sockets.descriptors());
            all.extend(slot.process.as_ref().map(|process| process.as_fd()));
        }
        all.extend(sockets.iter().flatten().map(|(_, socket)| socket.as_fd()));
        all
    }
}
