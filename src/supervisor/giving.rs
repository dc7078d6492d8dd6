//! The old side of a takeover: this dispatcher gives all it has to the one that asked, and goes on if that fails.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tracing::{info, warn};

use super::crew::{Crew, Happening};
use super::desk::LaneStuck;
use super::greeting;
use super::roster::{LaneState, Roster, Seat, layout};
use super::slot;
use crate::admin::run_dir::own_uid;
use crate::handoff::frame::Takeover;
use crate::handoff::frame::takeover::Ask;
use crate::net::unix::SeqPacket;
use crate::net::{clock, memory};
use crate::pack::{Pack, pack_bytes};
use crate::server::{self, Given};
use crate::time::Time;
use crate::upgrade::conversation::{Broken, Conversation};
use crate::upgrade::{self, Phase, Refusal};

/// How long workers that are being started are waited for: each gets its link in a moment, unless it dies.
const START_WITHIN: Duration = Duration::from_secs(5);
/// How long the new one may take to restore what it was given; nobody reads meanwhile.
const TAKE_WITHIN: Duration = Duration::from_secs(2);

/// What belongs to the dispatcher as such, beside listeners and slots.
#[derive(Debug)]
pub struct Estate {
    /// The run directory's lock, which belongs to the open file.
    pub lock: OwnedFd,
    /// The listening handoff socket.
    pub handoff: OwnedFd,
    /// The listening stats socket.
    pub stats: OwnedFd,
}

/// A dispatcher that waits to take over.
#[derive(Debug)]
pub(super) struct Asked {
    conversation: Conversation,
    until: Time,
}

/// Why nothing was given away after all.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Lane(#[from] LaneStuck),
    #[error(transparent)]
    New(#[from] Broken),
    #[error(transparent)]
    Kernel(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Crew {
    /// Somebody wants to take over.
    pub(super) fn on_asked(&mut self, link: SeqPacket, ask: &Ask) {
        let pid = link.peer().ok().and_then(|peer| peer.pid);
        if let Err(refusal) = self.judge(&link, ask) {
            warn!(pid, "no takeover: {refusal}");
            return greeting::goodbye(&link, &refusal.to_string());
        }
        match Conversation::new(link) {
            Ok(conversation) => {
                info!(pid, program = ask.program, "another dispatcher asks to take over");
                self.asked = Some(Asked { conversation, until: clock::now() + START_WITHIN });
            }
            Err(error) => warn!(pid, "no takeover: {error}"),
        }
    }

    fn judge(&self, link: &SeqPacket, ask: &Ask) -> Result<(), Refusal> {
        let (owner, asked) = (own_uid(), link.peer().map_or(u32::MAX, |peer| peer.uid));
        if asked != owner {
            return Err(Refusal::User { owner, asked });
        }
        if std::process::id() == 1 {
            return Err(Refusal::Init);
        }
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        if self.asked.is_some() {
            return Err(Refusal::Busy);
        }
        upgrade::judge(ask, &upgrade::ask(&self.config, &self.key, layout()))
    }

    /// When [`Crew::give_when_due`] gives up waiting.
    pub(super) fn give_until(&self) -> Option<Time> {
        self.asked.as_ref().map(|asked| asked.until)
    }

    /// Gives everything to the one that has asked, once no worker is on its way. True: all of it is the new one's, and this
    /// process has to end without touching any of it.
    pub(super) async fn give_when_due(&mut self, now: Time) -> bool {
        let is_starting = self.places.iter().any(|place| matches!(place.slot.phase(), slot::Phase::Starting { .. }));
        let Some(Asked { conversation, .. }) = self.asked.take_if(|asked| !is_starting || asked.until <= now) else {
            return false;
        };
        let mut phase = Phase::Asked;
        let given = if self.is_stopping() {
            Err(Refusal::Stopping.into())
        } else if is_starting {
            Err(Refusal::Starting.into())
        } else {
            self.give(&conversation, &mut phase).await
        };
        let Err(why) = given else { return true };
        if phase.has_paused() {
            self.lanes.send(|_| server::Command::Resume);
        }
        conversation.goodbye(&why.to_string());
        warn!("the takeover has failed while {}, this dispatcher serves on: {why}", phase.label());
        false
    }

    async fn give(&mut self, conversation: &Conversation, phase: &mut Phase) -> Result<(), Failed> {
        conversation.say(Takeover::Granted)?;
        *phase = Phase::Granted;
        let paused_at = clock::now();
        self.ask(server::Command::Pause).await?;
        *phase = Phase::Paused;
        // A link that has ended in the last moment is nobody's any more.
        while let Ok(event) = self.lane_events.try_recv() {
            self.on_lane_event(event);
        }
        let lanes = self.ask(server::Command::Give).await?.into_iter().collect::<io::Result<Vec<_>>>()?;
        let state = self.write(&lanes, paused_at)?;
        conversation.give(&self.descriptors(&state, &lanes))?;
        *phase = Phase::Given;
        conversation.expect(Takeover::Taken, "taken", TAKE_WITHIN).await?;
        // The operator's word to stop was said to this process, and would be lost with it.
        while let Ok(happening) = self.inbox.try_recv() {
            self.backlog.push_back(happening);
        }
        if self.backlog.iter().any(|happening| matches!(happening, Happening::Stop)) {
            return Err(Refusal::Stopping.into());
        }
        conversation.say(Takeover::Over)?;
        *phase = Phase::Taken;
        Ok(())
    }

    /// The state as a file in memory.
    fn write(&self, lanes: &[Given], paused_at: Time) -> io::Result<File> {
        let seats = self.places.iter().map(|place| Seat {
            slot: place.slot,
            sockets: place.sockets.descriptors().count(),
            process: place.leash.as_ref().map(|leash| leash.pid()),
            incarnation: place.incarnation,
            admin: place.admin,
            leaving: place.leaving,
        });
        let roster = Roster {
            paused_at,
            started: self.started,
            seed: self.seed,
            listeners: self.listeners.descriptors().count(),
            seats: seats.collect(),
            outsiders: self.outsiders.iter().map(|(worker, outsider)| (*worker, outsider.clone())).collect(),
            lanes: lanes
                .iter()
                .map(|lane| LaneState {
                    length: lane.state.len(),
                    links: lane.links.iter().map(|(worker, _)| *worker).collect(),
                })
                .collect(),
        };
        let (mut packed, mut head) = (Vec::new(), Vec::new());
        roster.pack(&mut packed);
        pack_bytes(&packed, &mut head);
        let mut file = memory::file()?;
        file.write_all(&head)?;
        lanes.iter().try_for_each(|lane| file.write_all(&lane.state))?;
        Ok(file)
    }

    /// Everything that is passed on as a descriptor, in the order of the roster.
    fn descriptors<'d>(&'d self, state: &'d File, lanes: &'d [Given]) -> Vec<BorrowedFd<'d>> {
        let Estate { lock, handoff, stats } = &self.estate;
        let mut all = vec![state.as_fd(), lock.as_fd(), handoff.as_fd(), stats.as_fd()];
        all.extend(self.listeners.descriptors());
        for place in &self.places {
            all.extend(place.sockets.descriptors());
            all.extend(place.leash.as_ref().map(|leash| leash.as_fd()));
        }
        all.extend(lanes.iter().flat_map(|lane| &lane.links).map(|(_, link)| link.as_fd()));
        all
    }
}
