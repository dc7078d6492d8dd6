//! A lane in a takeover: it comes to rest, gives its state away or takes one over, and reads again.

use std::collections::BTreeMap;
use std::io;

use mio::Token;
use tokio::sync::oneshot;

use super::{FIRST_LINK, Lane};
use crate::ids::WorkerId;
use crate::link::session::SavedSession;
use crate::net::clock;
use crate::net::conns::SavedConns;
use crate::net::lan::LanChannel;
use crate::pack::{Damaged, Pack, Packed};
use crate::server::LaneState;
use crate::server::link_socket::{GivenLink, LinkSocket};
use crate::time::Time;

/// The lane's stage in a takeover.
#[derive(Debug)]
pub(super) enum Stage {
    /// No takeover is under way.
    Reading,
    /// The lane comes to rest, and reports that on this channel.
    Pausing(oneshot::Sender<()>),
    /// The lane rests; another lane may still have a parcel for it.
    Paused,
    /// The lane's state was given away, or is still to come from another dispatcher: only a command changes anything
    /// here.
    Given,
}

impl Lane {
    /// Stops reading sockets and links: messages wait there. Messages that were read are still decided about by the
    /// lane that they belong to, so parcels go between lanes until all lanes rest.
    pub(super) fn bring_to_rest(&mut self, now: Time) {
        if matches!(self.stage, Stage::Given) {
            return;
        }
        self.read_parcels(now);
        self.flush(now);
        if self.switch.has_parcels() {
            return;
        }
        if let Stage::Pausing(reply) = std::mem::replace(&mut self.stage, Stage::Paused) {
            // The supervisor that asked may be gone: then its answer is dropped, which does no harm.
            let _ = reply.send(());
        }
    }

    pub(super) fn resume(&mut self) {
        self.stage = Stage::Reading;
        self.conns.take_back();
        // An edge that came during the pause is noted in its port; one that came before the socket was registered is
        // not.
        self.ports.read_all();
        // A CANCEL that has waited in a socket finds its request.
        self.switch.decide_sought(clock::now());
    }

    /// Returns the lane's state, between two messages. All lanes rest, so messages that another lane read for this one
    /// are here.
    pub(super) fn give(&mut self, mut state: Vec<u8>) -> io::Result<LaneState> {
        let now = clock::now();
        self.read_parcels(now);
        self.switch.settle(now);
        self.flush(now);
        self.stage = Stage::Given;
        self.ports.received().pack(&mut state);
        self.on_streams.pack(&mut state);
        let links = self.switch.links().iter();
        let sessions: Vec<_> = links.filter_map(|(worker, link)| Some((worker, link.channel().session()?))).collect();
        sessions.pack(&mut state);
        self.conns.save().pack(&mut state);
        self.switch.save(&mut state);
        let mut links = Vec::new();
        for (worker, link) in self.switch.links().iter() {
            links.extend(link.channel().duplicate()?.map(|socket| (worker, socket)));
        }
        Ok(LaneState { state, links })
    }

    /// Takes over the state of a lane of the old dispatcher. The lane reads again only at
    /// [`Command::Resume`](crate::server::Command::Resume).
    pub(super) fn take(&mut self, given: LaneState) -> io::Result<()> {
        let invalid = |damaged: Damaged| io::Error::new(io::ErrorKind::InvalidData, damaged);
        let mut from = Packed::new(&given.state);
        let received = <Vec<u64>>::unpack(&mut from).map_err(invalid)?;
        self.ports.set_received(received);
        self.on_streams = Pack::unpack(&mut from).map_err(invalid)?;
        let sessions = <Vec<(WorkerId, SavedSession)>>::unpack(&mut from).map_err(invalid)?;
        let mut sessions: BTreeMap<WorkerId, SavedSession> = sessions.into_iter().collect();
        let token = |worker: WorkerId| Token(FIRST_LINK + usize::from(worker.0));
        let conns = SavedConns::unpack(&mut from).map_err(invalid)?;
        let now = clock::now();
        self.conns.restore(conns, self.linger, now);
        self.tell_sources();
        let mut channels = given.links.into_iter().map(|(worker, link)| {
            Some((worker, LinkSocket::register(GivenLink::Unix(link), self.registry.clone(), token(worker)).ok()?))
        });
        let mut next = |worker| match sessions.remove(&worker) {
            // Its connection has ended with the old dispatcher.
            Some(session) => {
                let link = GivenLink::Lan(Box::new(LanChannel::restored(session)));
                LinkSocket::register(link, self.registry.clone(), token(worker)).ok()
            }
            None => channels.next().flatten().filter(|(of, _)| *of == worker).map(|(_, channel)| channel),
        };
        self.switch.restore(&mut from, &mut next).map_err(invalid)?;
        self.keep_dialled(now);
        let Lane { switch, conns, .. } = self;
        switch.on_taken_over(now);
        switch.on_connections_missed(|conn| conns.numbered(conn.number()).is_some(), now);
        if self.switch.links().iter().next().is_some() {
            self.holding_until = None;
        }
        Ok(())
    }
}
