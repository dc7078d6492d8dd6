//! The ends of links, and hung workers, as the lanes report them.

use tracing::{debug, info, warn};

use super::child;
use super::event_loop::Supervisor;
use crate::dispatch::decision::Admin;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::net::clock;
use crate::server;
use crate::switch::Parting;

impl Supervisor {
    pub(super) fn on_lane_event(&mut self, event: server::Event) {
        match event {
            server::Event::LinkLost { worker, incarnation, link, parting, why } => {
                self.on_link_lost(worker, (incarnation, link), parting, &why);
            }
            server::Event::Silence { address } => self.prober.on_silence(address),
            server::Event::Reported { address, load } => self.prober.on_report(address, load),
            server::Event::ProxyChanged { lane, change } => self.proxy_states.on_change(lane, &change),
            server::Event::Hung { worker, incarnation, link } => self.on_hung(worker, incarnation, link),
        }
    }

    /// Kills a worker that hangs: only after its end do its messages go to other workers, and its sockets to its
    /// successor. The dispatcher does not kill an unmanaged worker. It closes the link, and the worker has to refuse
    /// messages that it reads after their deadline, which has passed.
    fn on_hung(&mut self, worker: WorkerId, incarnation: Incarnation, link: LinkId) {
        self.service_manager.update_soon(clock::now());
        if let Some(unmanaged) = self.unmanaged.get(&worker) {
            if !unmanaged.is_here_by(link) || self.lan.contains_key(&worker) {
                // A link over a network ends by itself when nothing has come on it for long enough.
                return;
            }
            warn!(%worker, pid = unmanaged.pid, "hangs (sends no report, or reads nothing); its link is closed");
            self.lanes.send(|_| server::Command::HangUp { worker, link });
            return;
        }
        let Some(slot) = self.slots.get(usize::from(worker.0)) else { return };
        if let Some(process) = slot.process.as_ref().filter(|_| slot.incarnation == Some(incarnation)) {
            warn!(%worker, pid = process.pid(), "hangs (sends no report, or reads nothing) and is killed");
            child::kill(process);
        }
    }

    fn on_link_lost(
        &mut self,
        worker: WorkerId,
        (incarnation, link): (Incarnation, LinkId),
        parting: Parting,
        why: &str,
    ) {
        // The links to the other lanes that the worker got with this one are of no use any more.
        self.lanes.send(|_| server::Command::EndLink { worker, link });
        if let Some(unmanaged) = self.unmanaged.get_mut(&worker) {
            if !unmanaged.is_here_by(link) {
                return;
            }
            self.lan.remove(&worker);
            let pid = unmanaged.pid;
            if parting == Parting::Lost {
                unmanaged.is_down = true;
                warn!(%worker, pid, "died: {why}; shown as down until it comes back, or until `pointsman forget {worker}`");
                return;
            }
            info!(%worker, pid, "left: {why}");
            self.forget(worker);
            return;
        }
        let Some(slot) = self.slots.get(usize::from(worker.0)) else { return };
        let Some(process) = &slot.process else { return };
        if self.is_stopping() || slot.leaving || slot.incarnation != Some(incarnation) {
            return;
        }
        // A worker without its link gets no more calls, and must have ended before its successor gets the sockets.
        debug!(%worker, pid = process.pid(), "its link ended: {why}");
        child::kill(process);
    }

    /// Frees the slot number of an unmanaged worker for the next one. The operator's admin state was set for the
    /// worker that had it, so it does not stay.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.unmanaged.remove(&worker);
        self.send_admin(worker, Admin::Ready);
    }
}
