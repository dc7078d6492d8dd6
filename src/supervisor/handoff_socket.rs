//! Arrivals on the handoff socket: read, judged, and welcomed or sent away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::event_loop::{Event, Supervisor, UnmanagedWorker};
use crate::config::Config;
use crate::dispatch::decision::{Admin, Joined, Services};
use crate::ids::{Incarnation, LinkId, TokenKey, WorkerId};
use crate::net::process::Process;
use crate::net::run_dir::own_uid;
use crate::net::seldom::Seldom;
use crate::net::unix::{SEND_BUFFER, SeqListener, SeqPacket};
use crate::net::{clock, random, watch};
use crate::supervisor::admission::{self, Admitted, Occupancy, Origin};
use crate::supervisor::child;
use crate::supervisor::handshake::{self, Introduction, NoHello};
use crate::supervisor::sockets::SlotSockets;
use crate::time::Time;
use crate::words::{Hello, PassedSocket, SocketRole, Welcome};

/// Longest time from the connection to the `Hello` of a worker that came by itself.
const UNMANAGED_HELLO: Duration = Duration::from_secs(1);
/// Most links that have not sent their `Hello` yet.
const MOST_AWAITING_HELLO: usize = 16;
/// Placeholder for a socket without an address of its own.
const UNNAMED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
/// Most refusals that are logged in a second.
const REFUSALS_LOGGED: u32 = 8;

impl Supervisor {
    pub(super) fn on_connected(&mut self, link: SeqPacket) {
        if self.awaiting_hello >= MOST_AWAITING_HELLO {
            handshake::goodbye(&link, "too many workers are introducing themselves; try again");
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
            // A process that has ended meanwhile: its link tells nothing about its successor.
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
                let links = std::iter::once(link).chain(more).collect();
                self.lanes.link(worker, links, &joined, None);
                self.said_no_worker = false;
                self.service_manager.update_soon(clock::now());
                if let Some(admin) = self.unmanaged.get(&worker).map(|unmanaged| unmanaged.admin) {
                    self.send_admin(worker, admin);
                }
            }
            Err(reason) => {
                if self.may_log_refusal(clock::now()) {
                    warn!("a worker is not let in: {reason}");
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

    /// Welcomes a worker, with a new incarnation or the one it had, and with the key of that incarnation's token.
    /// Passes the worker its links to the other lanes as well.
    pub(super) fn welcome(
        &mut self,
        worker: WorkerId,
        link: &SeqPacket,
        hello: &Hello,
        life: Option<(Incarnation, TokenKey)>,
    ) -> Result<(Joined, Vec<SeqPacket>), String> {
        let lanes = self.lanes.count();
        let pairs = (1..lanes).map(|_| SeqPacket::pair()).collect::<io::Result<Vec<_>>>();
        let pairs = pairs.map_err(|error| format!("{worker} gets no link for each lane: {error}"))?;
        let (incarnation, key) = match life {
            Some(life) => life,
            None => (self.new_life().map_err(|error| format!("{worker} gets no token: {error}"))?, self.key.clone()),
        };
        let capacity = hello.capacity.unwrap_or(self.config.capacity);
        let id = self.next_link();
        let slot = self.slots.get(usize::from(worker.0));
        let mut sockets = Vec::new();
        let mut passed = Vec::new();
        if let Some(slot) = slot {
            slot.sockets.pass(&mut passed, &mut sockets);
        }
        if hello.wants_listeners {
            self.listeners.pass(&mut passed, &mut sockets);
        }
        for (_, theirs) in &pairs {
            passed.push(PassedSocket { role: SocketRole::Link, address: UNNAMED, listener: None });
            sockets.push(theirs.as_fd());
        }
        let named = |service: &str| -> Vec<SocketAddr> {
            hello.ports.iter().filter(|port| port.service == service).map(|port| port.address).collect()
        };
        let (addresses, mgcp) = match slot {
            Some(slot) => (slot.sockets.addresses(), slot.sockets.mgcp_addresses()),
            None => (named("sip"), named("mgcp")),
        };
        let all: Vec<SocketAddr> = addresses.iter().chain(&mgcp).copied().collect();
        if slot.is_none()
            && let Some(taken) = all.iter().find(|address| self.is_in_use(**address, worker))
        {
            return Err(format!("{taken} is the dispatcher's or another worker's; name a port of your own"));
        }
        if usize::from(hello.links.max(1)) < lanes {
            return Err(format!(
                "it serves {} link, and each of the {lanes} lanes needs one of its own",
                hello.links.max(1)
            ));
        }
        // The default holds 93 messages. Whatever size the kernel grants is enough to go on.
        for link in std::iter::once(link).chain(pairs.iter().map(|(ours, _)| ours)) {
            let _ = link.set_buffers(SEND_BUFFER, 0);
        }
        let welcome = Welcome {
            name: worker.to_string(),
            slot: worker.0,
            token: key.token(incarnation).to_string(),
            incarnation: incarnation.bits(),
            secret: self.key.slot_secret(worker, incarnation),
            key: slot.map(|_| self.key.clone()),
            capacity,
            advertise: self.config.advertise.into_iter().collect(),
            rtp_ports: rtp_ports(&self.config, slot.map(|_| worker)),
            reply_from: self.config.reply_from,
            sockets: passed,
            listeners: self.listeners.addresses(),
            access: self.config.access_rules(),
            mgcp: self.mgcp_for(worker),
        };
        handshake::welcome(link, welcome, &sockets)
            .map_err(|error| format!("{worker} could not be welcomed: {error}"))?;
        if slot.is_none() {
            // Prefer SO_PEERCRED over the pid in `Hello`, which may be from another pid namespace or false.
            let pid = link.peer().ok().and_then(|peer| peer.pid).unwrap_or(hello.pid);
            info!(%worker, pid, program = ?hello.program, "a worker of its own has come");
            // An MGCP worker without a port of its own is reached over its link alone.
            let address = all.first().copied().unwrap_or(UNNAMED);
            let (name, program) = (hello.name.clone(), hello.program.clone());
            let before = self.unmanaged.get(&worker).filter(|before| before.is_alike(hello));
            // After a dispatcher's death, the draining that the worker itself reports is all that is left of the
            // operator's order.
            let left = if hello.draining { Admin::Drain } else { Admin::Ready };
            let admin = before.map_or(left, |before| before.admin);
            let addresses = all;
            let new = UnmanagedWorker {
                pid,
                address,
                addresses,
                incarnation,
                link: id,
                name,
                program,
                admin,
                is_down: false,
            };
            self.unmanaged.insert(worker, new);
        }
        let more = pairs.into_iter().map(|(ours, _)| ours).collect();
        let services = Services::named(&hello.services);
        Ok((Joined { incarnation, link: id, capacity, services, addresses, mgcp }, more))
    }

    /// The id of the next worker's links. It is taken from the clock, so that it rises over a takeover as well.
    fn next_link(&mut self) -> LinkId {
        self.last_link = LinkId(clock::now().0.max(self.last_link.0 + 1));
        self.last_link
    }

    /// An incarnation that no worker has: 50 random bits, other than those of all present workers, whichever dispatcher
    /// drew theirs.
    pub(super) fn new_life(&self) -> std::io::Result<Incarnation> {
        loop {
            let life = Incarnation::new(random::random_u64()?);
            let mut slots = self.slots.iter().map(|slot| slot.incarnation);
            let mut unmanaged = self.unmanaged.values().map(|unmanaged| unmanaged.incarnation);
            if !slots.any(|it| it == Some(life)) && !unmanaged.any(|it| it == life) {
                return Ok(life);
            }
        }
    }

    /// Whether `address`, if `worker` takes it, meets an address of the dispatcher or of another worker: an unspecified
    /// address stands for each of this host.
    pub(super) fn is_in_use(&self, address: SocketAddr, worker: WorkerId) -> bool {
        let own = |sockets: &SlotSockets| sockets.addresses().into_iter().chain(sockets.mgcp_addresses());
        let slots = self.slots.iter().flat_map(|slot| own(&slot.sockets));
        // Addresses of dead workers are free, and the worker whose place this one gets is dead.
        let others = self.unmanaged.iter().filter(|(other, unmanaged)| **other != worker && !unmanaged.is_down);
        let unmanaged = others.flat_map(|(_, unmanaged)| unmanaged.addresses.iter().copied());
        let others = self.listeners.addresses().into_iter().chain(slots).chain(unmanaged);
        others.into_iter().any(|other| admission::meet(address, other))
    }
}

impl UnmanagedWorker {
    /// Whether a worker that introduces itself so looks like this one.
    fn is_alike(&self, hello: &Hello) -> bool {
        self.name == hello.name && self.program == hello.program
    }

    /// Whether it is here, by these links. One lane after the other reports the end of links that it had before; that
    /// does not touch those with which the same incarnation, or another, has come back.
    pub(super) fn is_here_by(&self, link: LinkId) -> bool {
        self.link == link && !self.is_down
    }

    /// State of its place for a worker that introduces itself so.
    fn occupancy_for(&self, hello: &Hello) -> Occupancy {
        if self.is_down { Occupancy::Down { alike: self.is_alike(hello) } } else { Occupancy::Taken }
    }
}

/// First and last RTP port of a slot. A worker that came by itself gets ports outside all slots' ranges, or 0 and 0
/// where there are none.
fn rtp_ports(config: &Config, slot: Option<WorkerId>) -> (u16, u16) {
    let range = slot.map_or_else(|| config.rtp_ports_beside(), |slot| Some(config.rtp_ports(slot)));
    range.map_or((0, 0), |range| (range.first, range.last))
}

/// Accepts connections to the handoff socket.
pub(super) async fn accept_connections(listener: SeqListener, queue: mpsc::UnboundedSender<Event>) {
    let listener = match watch::readable(listener) {
        Ok(listener) => listener,
        Err((_, error)) => return error!("the handoff socket cannot be watched: {error}"),
    };
    let (mut unaccepted, mut refused) = (Seldom::default(), Seldom::default());
    while let Ok(mut ready) = listener.readable().await {
        match ready.try_io(|listener| listener.get_ref().accept()) {
            // `try_io` takes only an error for the end of readiness.
            Ok(Ok(None)) => ready.clear_ready(),
            Err(_) => {}
            Ok(Ok(Some(link))) => match link.peer() {
                Ok(peer) if peer.uid == own_uid() || peer.uid == 0 => {
                    if queue.send(Event::Connected { link }).is_err() {
                        return;
                    }
                }
                Ok(peer) => {
                    if let Some(times) = refused.comes_up(clock::now()) {
                        warn!(
                            uid = peer.uid,
                            pid = peer.pid,
                            times,
                            "handoff socket: refused a process of another user"
                        );
                    }
                    handshake::goodbye(&link, "this socket is for workers of the dispatcher's own user");
                }
                Err(error) => debug!("handoff socket: {error}"),
            },
            Ok(Err(error)) => {
                if let Some(times) = unaccepted.comes_up(clock::now()) {
                    warn!(%error, times, "handoff socket: cannot accept");
                }
                // The process is most likely out of descriptors: accepting again at once would spin.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Waits for a link's `Hello` and puts it into the event queue.
pub(super) async fn read_hello(
    origin: Origin,
    child: Option<u32>,
    link: SeqPacket,
    within: Duration,
    queue: mpsc::UnboundedSender<Event>,
) {
    let (link, hello) = match handshake::hello(link, within).await {
        Ok((link, Introduction::Hello(hello))) => (link, Ok(hello)),
        Ok((link, Introduction::Takeover(ask))) if origin == Origin::Unmanaged => {
            let _ = queue.send(Event::TakeoverRequested { link, ask });
            return;
        }
        Ok((link, Introduction::Takeover(_))) => (link, Err(NoHello::Other.to_string())),
        Err((link, reason)) => (link, Err(reason.to_string())),
    };
    let _ = queue.send(Event::Introduced { origin, child, link, hello });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_links_that_a_worker_had_before_is_not_the_end_of_those_it_has_come_back_by() {
        let here = |link| UnmanagedWorker {
            pid: 1,
            incarnation: Incarnation::new(7),
            link: LinkId(link),
            address: UNNAMED,
            addresses: Vec::new(),
            name: None,
            program: String::new(),
            admin: Admin::Ready,
            is_down: false,
        };
        let mut first = here(1);
        // The first lane has seen the end of the worker's link.
        assert!(first.is_here_by(LinkId(1)));
        first.is_down = true;
        assert!(!first.is_here_by(LinkId(1)), "the second lane tells nothing new");
        // The same incarnation is back before the second lane has reported.
        let back = here(2);
        assert!(!back.is_here_by(LinkId(1)));
        assert!(back.is_here_by(LinkId(2)));
    }
}
