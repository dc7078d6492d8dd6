//! An entry of the table: a transaction, the worker that has it, and its state.

use crate::dispatch::group::GroupId;
use crate::dispatch::targets::proxy::Sent;
use crate::fingerprint::{Fingerprint, SourcePrint};
use crate::ids::{ProxyId, TargetId};
use crate::net::memory::fetch;
use crate::pack::packed;
use crate::time::Time;

/// A transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name (`transaction::name`): the transaction is found by it.
    pub name: Fingerprint,
    /// The name of its call.
    pub call: Fingerprint,
    /// The number that tells transactions of one call apart (SIP: CSeq), or call agents of one address (MGCP: port); 0
    /// if it is not known.
    pub discriminator: u32,
    /// The target that has it.
    pub target: TargetId,
    /// The number of that target's life.
    pub life: u32,
    /// Something that it holds while it waits for an answer.
    pub hold: Option<Hold>,
    /// Its state.
    pub state: State,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Whether it leads later requests of its call: it stays for longer.
    pub is_remembered: bool,
    /// Whether it is an INVITE whose caller has a 2xx, and whose response context is over by that.
    pub is_accepted: bool,
    /// Number of workers that have died with it.
    pub deaths: u8,
    /// Its source.
    pub source: SourcePrint,
    /// Number of times that its place had been used before.
    pub(super) generation: u32,
    /// The end of its life.
    pub(super) deadline: Time,
    /// The queue that it is in.
    pub(super) queue: u8,
    /// Its neighbours in the queue.
    pub(super) queue_links: Neighbours,
    /// Its neighbours in the list of its call.
    pub(super) call_links: Neighbours,
}

/// Queue of INVITEs that wait.
pub(super) const INVITES: u8 = 0;
/// Queue of other requests that wait.
const OTHERS: u8 = 1;
/// Queue of transactions that wait for no answer.
pub(super) const FINISHED: u8 = 2;
/// Queue of those that lead later requests of their calls for a longer time.
pub(super) const REMEMBERED: u8 = 3;

impl Entry {
    /// The conference in which it waits.
    pub fn group(&self) -> Option<GroupId> {
        self.hold.and_then(Hold::group)
    }

    /// Asks the memory for it, and does not wait for it.
    pub(super) fn fetch(&self) {
        fetch(&self.name);
        fetch(&self.queue);
    }

    /// The queue for its state.
    pub(super) const fn queue_for_state(&self) -> u8 {
        match (self.is_pending(), self.is_invite) {
            (true, true) => INVITES,
            (true, false) => OTHERS,
            // A refused request leads nothing.
            _ if self.is_remembered && matches!(self.state, State::Answered { .. }) => REMEMBERED,
            _ => FINISHED,
        }
    }

    /// Whether it waits for its final response.
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending { .. })
    }

    /// Whether its final response has been acknowledged.
    pub const fn is_acknowledged(&self) -> bool {
        matches!(self.state, State::Over | State::Pending { acknowledged: true, .. })
    }

    /// Whether it is an INVITE whose refusal has been acknowledged: the next attempt of its call is a new request. An
    /// acknowledgement of MGCP ends nothing: it names no more than a number, which may be another call agent's.
    pub const fn is_over(&self) -> bool {
        self.is_invite && self.is_acknowledged()
    }

    /// Whether its CANCEL was seen before it was over.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self.state, State::Pending { cancelled: true, .. } | State::Answered { cancelled: true })
    }
}

/// Something that a transaction holds while it waits, and gives back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A leg of the conference that its placement opened or joined.
    Leg(GroupId),
    /// A place among the requests that this downstream proxy has not answered at all.
    Unheard {
        /// The proxy.
        proxy: ProxyId,
        /// The request as the proxy knows it.
        sent: Sent,
    },
}

impl Hold {
    /// The conference, if it is a leg of one.
    pub const fn group(self) -> Option<GroupId> {
        match self {
            Hold::Leg(group) => Some(group),
            Hold::Unheard { .. } => None,
        }
    }
}

packed!(Hold as Leg(group) = 0, Unheard { proxy, sent } = 1);

/// The state of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has a worker and no final response yet.
    Pending {
        /// Whether its CANCEL was seen.
        cancelled: bool,
        /// Whether the acknowledgement of its final response came before its worker reported that it has answered.
        acknowledged: bool,
    },
    /// Its final response has been sent.
    Answered {
        /// Whether its CANCEL was seen.
        cancelled: bool,
    },
    /// Its final response has been sent and acknowledged.
    Over,
    /// The dispatcher has answered it, with this status or return code.
    AnsweredHere(u16),
}

impl State {
    /// The state of a transaction that its worker has just been given.
    pub const PENDING: State = State::Pending { cancelled: false, acknowledged: false };
    /// The state of a transaction that its worker has answered.
    pub const ANSWERED: State = State::Answered { cancelled: false };
}

/// A transaction to be entered.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry {
    /// Its name (`transaction::name`): the transaction is found by it.
    pub name: Fingerprint,
    /// The name of its call.
    pub call: Fingerprint,
    /// The number that tells transactions of one call apart (SIP: CSeq), or call agents of one address (MGCP: port); 0
    /// if it is not known.
    pub discriminator: u32,
    /// The target that gets it.
    pub target: TargetId,
    /// The number of that target's life.
    pub life: u32,
    /// Something that it holds while it waits for an answer.
    pub hold: Option<Hold>,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Whether it leads later requests of its call: it stays for longer.
    pub is_remembered: bool,
    /// Its first state.
    pub state: State,
    /// Its source.
    pub source: SourcePrint,
}

/// Neighbours in a list: places of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbours {
    pub(super) previous: u32,
    pub(super) next: u32,
}
