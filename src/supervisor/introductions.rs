//! Workers that introduce themselves: judged, and welcomed or sent away.

use std::time::Duration;

use tracing::warn;

use super::admission::{self, Admitted, Occupancy, Origin};
use super::child;
use super::event_loop::Supervisor;
use super::handoff_socket::read_hello;
use super::handshake;
use crate::net::clock;
use crate::net::process::Process;
use crate::net::unix::SeqPacket;
use crate::server::link_socket::GivenLink;
use crate::time::Time;
use crate::words::Hello;

/// Longest time from the connection to the `Hello` of an unmanaged worker.
const UNMANAGED_HELLO: Duration = Duration::from_secs(1);
/// Most links that have not sent their `Hello` yet.
const MOST_AWAITING_HELLO: usize = 16;
/// Most refusals that are logged in a second.
const REFUSALS_LOGGED: u32 = 8;

impl Supervisor {
    pub(super) fn on_connected(&mut self, link: SeqPacket) {
        if self.awaiting_hello >= MOST_AWAITING_HELLO {
            handshake::goodbye(&link, "too many connections wait for their first record; try again");
            return;
        }
        self.awaiting_hello += 1;
        tokio::spawn(read_hello(Origin::Unmanaged, None, link, UNMANAGED_HELLO, self.event_sender.clone()));
    }

    pub(super) fn on_introduced(
        &mut self,
        origin: Origin,
        child: Option<u32>,
        link: SeqPacket,
        hello: Result<Box<Hello>, String>,
    ) {
        match origin {
            Origin::Unmanaged => self.awaiting_hello -= 1,
            // The process has ended meanwhile. Its link must not be taken for that of its successor in the slot.
            Origin::Child(worker) if self.process_of(worker).map(Process::pid) != child => return,
            Origin::Child(_) => {}
        }
        let admitted = hello.and_then(|hello| {
            let occupancy = |worker| self.unmanaged.get(&worker).map_or(Occupancy::Free, |it| it.occupancy_for(&hello));
            let admitted = admission::admit(&hello, origin, self.slots.len() as u16, &self.key, occupancy);
            Ok((admitted.map_err(|refusal| refusal.to_string())?, *hello))
        });
        let result = admitted.and_then(|(Admitted { worker, incarnation }, hello)| {
            let life = incarnation.map(|incarnation| (incarnation, self.key.clone()));
            self.welcome(worker, &link, &hello, life).map(|welcomed| (worker, welcomed))
        });
        match result {
            Ok((worker, (joined, more))) => {
                if let Some(slot) = self.slots.get_mut(usize::from(worker.0)) {
                    slot.state.on_up(clock::now());
                    slot.fault.clear();
                    slot.incarnation = Some(joined.incarnation);
                }
                let links = std::iter::once(link).chain(more).map(GivenLink::Unix).collect();
                self.lanes.link(worker, links, &joined, None);
                self.said_no_worker = false;
                self.service_manager.update_soon(clock::now());
                if let Some(admin) = self.unmanaged.get(&worker).map(|unmanaged| unmanaged.admin) {
                    self.send_admin(worker, admin);
                }
            }
            Err(reason) => {
                if self.may_log_refusal(clock::now()) {
                    warn!("a worker is refused: {reason}");
                }
                handshake::goodbye(&link, &reason);
                if let Origin::Child(worker) = origin
                    && let Some(process) = self.process_of(worker)
                {
                    child::kill(process);
                }
            }
        }
    }

    /// Whether one more refusal goes into the log: a process that connects all the time must not fill it.
    pub(super) fn may_log_refusal(&mut self, now: Time) -> bool {
        let (since, logged) = &mut self.refusals;
        if now.since(*since) >= Duration::from_secs(1) {
            (*since, *logged) = (now, 0);
        }
        *logged += 1;
        *logged <= REFUSALS_LOGGED
    }
}
