//! The `Welcome` of a worker: its identity, sockets, ports and rules.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};

use tracing::info;

use super::admission;
use super::event_loop::Supervisor;
use super::handshake;
use super::sockets::SlotSockets;
use super::unmanaged::UnmanagedWorker;
use crate::config::Config;
use crate::dispatch::decision::{Admin, Joined, Services};
use crate::ids::{Incarnation, LinkId, TokenKey, WorkerId};
use crate::net::unix::{SEND_BUFFER, SeqPacket};
use crate::net::{clock, random};
use crate::words::{Hello, PassedSocket, SocketRole, Welcome};

/// Placeholder for a socket without an address of its own.
const UNNAMED: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// A life of a worker, and the key that its token is made with.
pub(super) struct Life {
    pub(super) incarnation: Incarnation,
    pub(super) key: TokenKey,
}

impl Supervisor {
    /// Welcomes a worker, with a new incarnation or the one it had, and with the key of that incarnation's token.
    /// Passes the worker its links to the other lanes as well.
    pub(super) fn welcome(
        &mut self,
        worker: WorkerId,
        link: &SeqPacket,
        hello: &Hello,
        life: Option<(Incarnation, TokenKey)>,
    ) -> Result<(Joined, Vec<SeqPacket>), String> {
        let (more, theirs) = self.lane_links(worker)?;
        let (incarnation, key) = match life {
            Some(life) => life,
            None => (self.new_life().map_err(|error| format!("{worker} gets no token: {error}"))?, self.key.clone()),
        };
        let (addresses, mgcp) = self.addresses_of(worker, hello);
        self.check_addresses(worker, addresses.iter().chain(&mgcp))?;
        self.check_links(hello)?;
        // A socket's default buffer holds 93 messages. Whatever size the kernel grants is enough to go on.
        for link in std::iter::once(link).chain(&more) {
            let _ = link.set_buffers(SEND_BUFFER, 0);
        }
        let id = self.next_link();
        let capacity = hello.capacity.unwrap_or(self.config.capacity);
        let (passed, sockets) = self.passed_sockets(worker, hello, &theirs);
        let is_unmanaged = usize::from(worker.0) >= self.slots.len();
        let welcome = self.welcome_of(worker, hello, &Life { incarnation, key }, passed);
        handshake::welcome(link, welcome, &sockets)
            .map_err(|error| format!("{worker} could not be welcomed: {error}"))?;
        if is_unmanaged {
            // Prefer SO_PEERCRED over the pid in `Hello`, which may be from another pid namespace or false.
            let pid = link.peer().ok().and_then(|peer| peer.pid).unwrap_or(hello.pid);
            info!(%worker, pid, program = ?hello.program, "an unmanaged worker has connected");
            let all = addresses.iter().chain(&mgcp).copied().collect();
            self.add_unmanaged(worker, hello, pid, all, (incarnation, id));
        }
        let services = Services::named(&hello.services);
        Ok((Joined { incarnation, link: id, capacity, services, addresses, mgcp }, more))
    }

    /// The words of a welcome.
    pub(super) fn welcome_of(
        &self,
        worker: WorkerId,
        hello: &Hello,
        life: &Life,
        sockets: Vec<PassedSocket>,
    ) -> Welcome {
        let slot = self.slots.get(usize::from(worker.0));
        Welcome {
            name: worker.to_string(),
            slot: worker.0,
            token: life.key.token(life.incarnation).to_string(),
            incarnation: life.incarnation.bits(),
            secret: self.key.slot_secret(worker, life.incarnation),
            key: slot.map(|_| self.key.clone()),
            capacity: hello.capacity.unwrap_or(self.config.capacity),
            advertise: self.config.advertise.into_iter().collect(),
            rtp_ports: rtp_ports(&self.config, slot.map(|_| worker)),
            reply_from: self.config.reply_from,
            contact_name: self.config.contact_name().map(str::to_owned),
            sockets,
            listeners: self.listeners.addresses(),
            access: self.config.access_rules(),
            mgcp: self.mgcp_for(worker),
            features: Vec::new(),
            lan: None,
        }
    }

    /// A pair of links for each lane but the first: the dispatcher's ends and the worker's.
    fn lane_links(&self, worker: WorkerId) -> Result<(Vec<SeqPacket>, Vec<SeqPacket>), String> {
        let pairs = (1..self.lanes.count()).map(|_| SeqPacket::pair()).collect::<io::Result<Vec<_>>>();
        let pairs = pairs.map_err(|error| format!("{worker} gets no link for each lane: {error}"))?;
        Ok(pairs.into_iter().unzip())
    }

    /// The SIP and MGCP addresses of a worker: its slot's, or those that an unmanaged worker names.
    pub(super) fn addresses_of(&self, worker: WorkerId, hello: &Hello) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let named = |service: &str| -> Vec<SocketAddr> {
            hello.ports.iter().filter(|port| port.service == service).map(|port| port.address).collect()
        };
        match self.slots.get(usize::from(worker.0)) {
            Some(slot) => (slot.sockets.addresses(), slot.sockets.mgcp_addresses()),
            None => (named("sip"), named("mgcp")),
        }
    }

    /// Checks that no address of an unmanaged worker is the dispatcher's or another worker's.
    fn check_addresses<'a>(
        &self,
        worker: WorkerId,
        mut addresses: impl Iterator<Item = &'a SocketAddr>,
    ) -> Result<(), String> {
        let is_unmanaged = usize::from(worker.0) >= self.slots.len();
        match addresses.find(|address| is_unmanaged && self.is_in_use(**address, worker)) {
            Some(taken) => Err(format!("{taken} is the dispatcher's or another worker's; name a port of your own")),
            None => Ok(()),
        }
    }

    /// Checks that a worker serves as many links as there are lanes.
    pub(super) fn check_links(&self, hello: &Hello) -> Result<(), String> {
        let (lanes, links) = (self.lanes.count(), hello.links.max(1));
        if usize::from(links) < lanes {
            return Err(format!("it serves {links} link, and each of the {lanes} lanes needs one of its own"));
        }
        Ok(())
    }

    /// The sockets that go with a welcome, and their descriptors: those of the slot, the well-known ones where the
    /// worker asks for them, and `links`, its ends of the links to the other lanes.
    fn passed_sockets<'s>(
        &'s self,
        worker: WorkerId,
        hello: &Hello,
        links: &'s [SeqPacket],
    ) -> (Vec<PassedSocket>, Vec<BorrowedFd<'s>>) {
        let (mut passed, mut sockets) = (Vec::new(), Vec::new());
        if let Some(slot) = self.slots.get(usize::from(worker.0)) {
            slot.sockets.pass(&mut passed, &mut sockets);
        }
        if hello.wants_listeners {
            self.listeners.pass(&mut passed, &mut sockets);
        }
        for link in links {
            passed.push(PassedSocket { role: SocketRole::Link, address: UNNAMED, listener: None });
            sockets.push(link.as_fd());
        }
        (passed, sockets)
    }

    /// Remembers an unmanaged worker. One that comes back, or its successor, keeps the admin state that the operator
    /// has set.
    pub(super) fn add_unmanaged(
        &mut self,
        worker: WorkerId,
        hello: &Hello,
        pid: u32,
        addresses: Vec<SocketAddr>,
        (incarnation, link): (Incarnation, LinkId),
    ) {
        // An MGCP worker without a port of its own is reached over its link alone.
        let address = addresses.first().copied().unwrap_or(UNNAMED);
        let (name, program) = (hello.name.clone(), hello.program.clone());
        let before = self.unmanaged.get(&worker).filter(|before| before.is_alike(hello));
        // The operator's order to drain dies with a dispatcher; the worker still reports that it drains.
        let left = if hello.draining { Admin::Drain } else { Admin::Ready };
        let admin = before.map_or(left, |before| before.admin);
        let (is_down, is_on_lan) = (false, false);
        let new =
            UnmanagedWorker { pid, address, addresses, incarnation, link, name, program, admin, is_down, is_on_lan };
        self.unmanaged.insert(worker, new);
    }

    /// The id of the next worker's links. It is taken from the clock, so that it rises over a takeover as well.
    pub(super) fn next_link(&mut self) -> LinkId {
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
        // Nor does one on another host take an address here.
        let is_here = |it: &UnmanagedWorker| !it.is_down && !it.is_on_lan;
        let others = self.unmanaged.iter().filter(|(other, it)| **other != worker && is_here(it));
        let unmanaged = others.flat_map(|(_, unmanaged)| unmanaged.addresses.iter().copied());
        let others = self.listeners.addresses().into_iter().chain(slots).chain(unmanaged);
        others.into_iter().any(|other| admission::overlap(address, other))
    }
}

/// First and last RTP port of a slot. A worker that came by itself gets ports outside all slots' ranges, or 0 and 0
/// where there are none.
fn rtp_ports(config: &Config, slot: Option<WorkerId>) -> (u16, u16) {
    let range = slot.map_or_else(|| config.rtp_ports_beside(), |slot| Some(config.rtp_ports(slot)));
    range.map_or((0, 0), |range| (range.first, range.last))
}
