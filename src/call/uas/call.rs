//! One call: its dialog, its progress, and all that waits in it.

use crate::call::exchange::{CallKey, EndReason};
use crate::call::strangers::Claim;
use crate::call::uas::addresses::Addresses;
use crate::call::uas::client::ClientKey;
use crate::call::uas::dialog::Dialog;
use crate::call::uas::reliable::Reliable;
use crate::call::uas::rooms::RoomSeat;
use crate::call::uas::server::ServerKey;
use crate::call::uas::session_timer::{Proposal, Session};
use crate::time::Time;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) dialog: Dialog,
    pub(super) phase: Phase,
    pub(super) size: u32,
    /// Its place in a conference, whose reservation it shares.
    pub(super) seat: Option<RoomSeat>,
    /// The part of the size that it claims before its far end has been heard.
    pub(super) claim: Claim,
    pub(super) addresses: Addresses,
    /// The stream connection that its peer was last heard on.
    pub(super) conn: Option<u64>,
    /// The initial INVITE without a final response, or the (re-)INVITE whose 2xx waits for its ACK.
    pub(super) invite: Option<ServerKey>,
    /// A request in the dialog whose offer the application has not answered yet.
    pub(super) asked: Option<ServerKey>,
    /// Whether an offer of ours waits for its answer.
    pub(super) offered: bool,
    /// A refresh of ours that is under way.
    pub(super) refresh: Option<ClientKey>,
    /// The proposal of its INVITE for session timers.
    pub(super) proposal: Proposal,
    pub(super) session: Option<Session>,
    pub(super) reliable: Option<Box<Reliable>>,
    /// The session description we gave last; a refresh offers it again.
    pub(super) sdp: Option<Box<[u8]>>,
    /// The call that this one replaces.
    pub(super) replaces: Option<CallKey>,
    /// Whether a 180 is due before the answer.
    pub(super) ring_first: bool,
    /// When the INVITE's `Expires` runs out.
    pub(super) expires: Time,
    /// Whether we refresh by UPDATE (RFC 3311).
    pub(super) takes_update: bool,
    /// Whether the peer has listed UPDATE in `Allow`.
    pub(super) allows_update: bool,
    /// The shortest session interval that the peer has asked for when it refused a refresh of ours (RFC 4028 §7.4), in
    /// seconds.
    pub(super) min_se: u32,
    /// Copies of our requests that left for an address from which neither its INVITE nor an answer has come.
    pub(super) unanswered: u8,
    /// When the wheel looks at it next.
    pub(super) armed: Time,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No final response to the initial INVITE yet.
    Early,
    /// Our 2xx waits for its ACK. With a reason: we hang up as soon as the ACK has come (RFC 3261 §15).
    Accepted(Option<EndReason>),
    /// Acknowledged.
    Confirmed,
    /// Our BYE waits for its answer. The application has been told already.
    Ending,
}

impl Call {
    /// A call whose INVITE waits for the application.
    pub(super) fn early(dialog: Dialog, invite: ServerKey, addresses: Addresses) -> Self {
        Call {
            dialog,
            phase: Phase::Early,
            size: 0,
            seat: None,
            claim: Claim::None,
            addresses,
            conn: None,
            invite: Some(invite),
            asked: None,
            offered: false,
            refresh: None,
            proposal: Proposal::default(),
            session: None,
            reliable: None,
            sdp: None,
            replaces: None,
            ring_first: false,
            expires: Time::NEVER,
            takes_update: false,
            allows_update: false,
            min_se: 0,
            unanswered: 0,
            armed: Time::NEVER,
        }
    }

    /// When the wheel must look at it.
    pub(super) fn due(&self) -> Time {
        let expires = if self.phase == Phase::Early { self.expires } else { Time::NEVER };
        let reliable = self.reliable.as_ref().map_or(Time::NEVER, |reliable| reliable.due());
        let session =
            self.session.as_ref().filter(|_| self.phase == Phase::Confirmed).map_or(Time::NEVER, |session| session.due);
        expires.min(reliable).min(session)
    }
}
