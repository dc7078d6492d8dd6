//! The case: a request as the decision sees it, whatever its protocol, and the differences between the protocols.
//!
//! Every question that both protocols ask is asked once, of a [`Case`]. [`Request`] lists the differences: `sip` and
//! `mgcp` answer for theirs.

use std::net::IpAddr;

use super::Dispatch;
use super::decision::{Arrival, Decision, EntryId, Handoff, Protocol, Reason, Target, Tried};
use super::group::GroupId;
use super::returned::Returned;
use super::table::{Entry, NewEntry, State};
use crate::fingerprint::{Fingerprint, Source};
use crate::ids::TargetId;
use crate::reservation::Weight;
use crate::time::Time;

/// A request that is decided about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a, R> {
    /// The request in its own protocol.
    pub(super) request: R,
    /// The name of its transaction.
    pub(super) name: Fingerprint,
    /// The name of its call; that of its transaction if it belongs to no call.
    pub(super) call: Fingerprint,
    /// The number that tells transactions of one call, or call agents of one address, apart.
    pub(super) discriminator: u32,
    /// The way on which it came.
    pub(super) arrival: &'a Arrival,
    /// The time of the decision.
    pub(super) now: Time,
}

/// The differences between the protocols.
pub(super) trait Request: Sized {
    /// The protocol.
    const PROTOCOL: Protocol;
    /// Whether a request without an entry in the table is answered rather than handed over: its copy would be carried
    /// out a second time (RFC 3435 §3.5).
    const AT_MOST_ONCE: bool;
    /// Whether the first request of a group may reserve units for those that follow.
    const RESERVES: bool;

    /// Whether it is an INVITE: it may wait for its answer as long as a telephone rings.
    fn is_invite(&self) -> bool;

    /// The group that it belongs to: its conference, or the call of MGCP.
    fn group(case: &Case<'_, Self>, dispatch: &Dispatch) -> Option<Fingerprint>;

    /// The size of the session that it begins; `None` if it begins none.
    fn size(case: &Case<'_, Self>, dispatch: &Dispatch) -> Option<Weight>;

    /// The status or return code of an answer of the dispatcher's own. `has_open`: some worker takes new work.
    fn code(why: Reason, has_open: bool) -> u16;

    /// An answer of the dispatcher's own.
    fn answer(case: &Case<'_, Self>, dispatch: &Dispatch, code: u16, why: Reason) -> Decision;

    /// Decides about a new request for which the table has no place; `None` if it does not need one.
    fn without_place(case: &Case<'_, Self>, dispatch: &mut Dispatch, size: Weight) -> Option<Decision>;

    /// Decides about a copy of a request whose worker is gone; `None` if the request may go to any other worker.
    fn after_death(case: &Case<'_, Self>, dispatch: &mut Dispatch, known: (EntryId, &Entry)) -> Option<Decision>;

    /// The answer if the request refers to something that is gone with its worker.
    fn gone(case: &Case<'_, Self>, dispatch: &Dispatch) -> Option<(u16, Reason)>;

    /// Another copy of the request that another worker has: the request goes there as well.
    fn beside<'d>(case: &Case<'_, Self>, dispatch: &'d Dispatch, id: EntryId, tried: Tried) -> Option<&'d Entry>;

    /// Whether a request that followed something at the worker that has refused it may go to no other worker.
    fn is_bound(case: &Case<'_, Self>, dispatch: &Dispatch, known: (EntryId, &Entry), back: &Returned) -> bool;

    /// Decides about a request that comes back from a worker and has made no entry: it followed something there.
    fn follower_returned(case: &Case<'_, Self>, dispatch: &mut Dispatch, back: &Returned) -> Decision;

    /// Forwards a request to the downstream proxy that has its transaction. Only SIP has proxies.
    fn forward(_: &Case<'_, Self>, _: &mut Dispatch, _: &Entry, _: Reason) -> Decision {
        Decision { target: Target::Drop, reason: Reason::WorkerGone }
    }

    /// Adds what only this protocol's worker is told.
    fn complete(case: &Case<'_, Self>, dispatch: &Dispatch, handoff: &mut Handoff);
}

impl<R: Request> Case<'_, R> {
    /// The address of its source.
    pub(super) fn sender(&self) -> IpAddr {
        self.arrival.source.ip()
    }

    /// Its source, for shares.
    pub(super) fn source(&self, dispatch: &Dispatch) -> Source {
        dispatch.printer.source(self.sender())
    }

    /// Its entry for the table, given to a life of a target.
    pub(super) fn entry(&self, dispatch: &Dispatch, at: (TargetId, u32), state: State) -> NewEntry {
        let (target, life) = at;
        NewEntry {
            name: self.name,
            call: self.call,
            discriminator: self.discriminator,
            target,
            life,
            hold: None,
            is_invite: self.request.is_invite(),
            is_remembered: false,
            state,
            source: self.source(dispatch).print(),
        }
    }
}

/// The target for a request that begins something, and the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    pub(super) target: TargetId,
    pub(super) reason: Reason,
    pub(super) size: Weight,
    pub(super) follows: bool,
    pub(super) group: Option<GroupId>,
}
