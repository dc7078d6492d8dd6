//! The outbox: they carry a decision out, as a record on a link or an answer in the buffer.

use std::net::SocketAddr;

use tracing::debug;

use super::answers::Answers;
use super::final_retransmits::FinalRetransmits;
use super::links::{Channel, Links};
use super::owner::Owner;
use super::returned_message::ReturnedMessage;
use super::totals::Totals;
use crate::config::Insert;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, Cause, ChainId, Decision, Handoff, Target};
use crate::dispatch::note::Note;
use crate::ids::WorkerId;
use crate::link::dispatcher_end;
use crate::wire::handoff::Record;
use crate::wire::line;
use crate::wire::sip::{self, patch};
use crate::words::{Drain, RefuseReason};

/// Links and answers: all that a decision is carried out with.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    pub(super) links: Links<C>,
    pub(super) answers: Answers,
    pub(super) retransmits: FinalRetransmits,
    pub(super) insert: Insert,
    pub(super) totals: Totals,
    /// The message with the worker's port written into it, if `insert` asks for that.
    pub(super) patched: Vec<u8>,
}

impl<C: Channel> Outbox<C> {
    /// Carries out a decision. Gives back a message that its worker's link does not take after all.
    pub(super) fn carry_out(
        &mut self,
        dispatch: &mut Dispatch,
        decision: Decision,
        message: Option<&sip::Message<'_>>,
        arrival: &Arrival,
        owner: Owner,
    ) -> Option<ReturnedMessage> {
        match (decision.target, message) {
            (Target::Worker(handoff), Some(message)) => return self.hand_over(dispatch, &handoff, message, arrival),
            (Target::Answer(answer), Some(message)) => {
                if let Some(fault) = answer.fault {
                    let call_id = String::from_utf8_lossy(message.call_id());
                    debug!(source = %arrival.source, ?call_id, %fault, "a request that cannot be worked with");
                }
                self.answers.write(owner, &answer, dispatch.allow(), message, arrival);
            }
            _ => {}
        }
        None
    }

    fn hand_over(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        message: &sip::Message<'_>,
        arrival: &Arrival,
    ) -> Option<ReturnedMessage> {
        let port =
            dispatch.pool().get(handoff.worker).and_then(|worker| worker.addresses.first()).map(SocketAddr::port);
        self.patched.clear();
        let pieces = match (self.insert, port) {
            (Insert::Header, Some(port)) if !handoff.follows => {
                // The dispatcher alone writes this line: one of the sender's, or of an earlier handover, is removed.
                patch::without_field(&mut self.patched, message, Insert::HEADER);
                let rest = self.patched.len();
                line::write(&mut self.patched, Insert::HEADER, port.to_string().as_bytes());
                let (message, line) = self.patched.split_at(rest);
                let start = memchr::memchr(b'\n', message).map_or(0, |end| end + 1);
                [&message[..start], line, &message[start..]]
            }
            (Insert::RequestUri, Some(port)) if !handoff.follows => {
                self.patched.extend_from_slice(format!(":{port}").as_bytes());
                // A request-URI without a host has no port either; its message goes on as it came.
                patch::with_uri_port(message, &self.patched).unwrap_or([message.bytes(), &[], &[]])
            }
            _ => [message.bytes(), &[], &[]],
        };
        push(&mut self.links, dispatch, handoff, None, arrival, &pieces, message.bytes())
    }

    pub(super) fn tell(&mut self, worker: WorkerId, drain: Drain) {
        if let Some(link) = self.links.get_mut(worker) {
            link.front.push_control(&Record::Drain(drain));
            self.links.touch(worker);
        }
    }
}

/// Puts a message on its worker's link: `pieces` are `message` as the worker is to have it. Gives back a message that
/// the link does not take. The core knows what each link can take, so this is rare, and counts as a refusal by that
/// worker.
pub(super) fn push<C: Channel>(
    links: &mut Links<C>,
    dispatch: &mut Dispatch,
    handoff: &Handoff,
    chain: Option<ChainId>,
    arrival: &Arrival,
    pieces: &[&[u8]],
    message: &[u8],
) -> Option<ReturnedMessage> {
    let envelope = handoff.envelope(arrival);
    let note = Note { entry: handoff.entry, search: handoff.search, chain };
    let not_taken = || ReturnedMessage {
        message: dispatcher_end::Returned { envelope, note, payload: message.to_vec(), sent: false },
        from: handoff.worker,
        cause: Cause::Refused(RefuseReason::Exhausted),
    };
    let Some(link) = links.get_mut(handoff.worker) else { return Some(not_taken()) };
    let pushed = link.front.push(&envelope, note, pieces);
    dispatch.on_link_room(handoff.worker, link.front.room());
    if let Err(error) = pushed {
        debug!(worker = %handoff.worker, "not handed over: {error}");
        return Some(not_taken());
    }
    links.touch(handoff.worker);
    None
}
