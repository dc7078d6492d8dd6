//! The outbox: a decision is carried out, as a record on a link or an answer in the buffer.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracing::debug;

use super::answers::{Answers, Texts};
use super::final_retransmits::FinalRetransmits;
use super::in_hand::{InHand, Way};
use super::links::{Channel, Links};
use super::owner::Owner;
use super::totals::Totals;
use super::travelling::{self, Travelling};
use super::{decided, insert};
use crate::config::Insert;
use crate::dispatch::contexts::LeavingMessage;
use crate::dispatch::decision::{Arrival, ChainId, Decision, Handoff, Reason, Says, Target};
use crate::dispatch::note::Note;
use crate::dispatch::probed::ProbeAnswer;
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::{Dispatch, Foreseen, Incoming};
use crate::ids::{GatheringId, WorkerId};
use crate::time::Time;
use crate::transaction::sip_client::write_cancel;
use crate::wire::handoff::Record;
use crate::wire::mgcp::TransactionId;
use crate::wire::sip::{Message, Scanner};
use crate::words::{Drain, Envelope, HandedOver, RefuseReason, ReplyTo};

/// Links and answers: all that a decision is carried out with.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    pub(super) links: Links<C>,
    pub(super) answers: Answers,
    pub(super) travelling: Travelling,
    pub(super) retransmits: FinalRetransmits,
    pub(super) insert: Insert,
    pub(super) totals: Totals,
    /// The message with the worker's port written into it, if `insert` asks for that.
    pub(super) patched: Vec<u8>,
    /// Messages that their worker's link has not taken after all, and that are decided about again.
    pub(super) not_taken: VecDeque<Returned>,
    /// Responses that the prober is to have.
    pub(super) probe_answers: Vec<ProbeAnswer>,
    /// The way of each MGCP command that asks several workers: their answers are gathered into one.
    pub(super) asked: HashMap<GatheringId, Asked, FixedState>,
}

/// Receiver of a gathered answer: the owner of the command's socket, and the chain that waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) owner: Owner,
    pub(super) chain: Option<ChainId>,
}

impl<C: Channel> Outbox<C> {
    /// An empty outbox.
    pub(super) fn new(insert: Insert) -> Self {
        Outbox {
            links: Links::default(),
            answers: Answers::default(),
            travelling: Travelling::default(),
            retransmits: FinalRetransmits::default(),
            insert,
            totals: Totals::default(),
            patched: Vec::new(),
            not_taken: VecDeque::new(),
            probe_answers: Vec::new(),
            asked: HashMap::default(),
        }
    }

    /// Decides about a message from a socket, and carries the decision out. Returns whether its answer is still to
    /// come. `foreseen`: what has been read of it before.
    pub(super) fn decide(
        &mut self,
        dispatch: &mut Dispatch,
        in_hand: &InHand<'_>,
        foreseen: Option<Foreseen<'_>>,
    ) -> bool {
        let InHand { message, way: Way { owner, arrival }, now, .. } = *in_hand;
        let decision = match owner {
            Owner::Listener(_) => dispatch.on_foreseen(message, foreseen, arrival, now),
            Owner::Vacant(_) | Owner::VacantMgcp(..) => dispatch.on_vacant(message, arrival, now),
        };
        if decision.reason == Reason::OwnAck
            && let Incoming::Sip(ack) = message
        {
            self.retransmits.on_ack(ack.to().and_then(|to| to.tag()).unwrap_or_default());
        }
        self.carry_out(dispatch, decision, in_hand)
    }

    /// Carries out a decision. Returns whether the message's answer is still to come.
    pub(super) fn carry_out(&mut self, dispatch: &mut Dispatch, decision: Decision, in_hand: &InHand<'_>) -> bool {
        let InHand { message, way, .. } = *in_hand;
        decided::about(message, &way.arrival, &decision);
        match decision.target {
            Target::Worker(handoff) => {
                self.hand_over(dispatch, &handoff, in_hand);
                return true;
            }
            Target::Everyone(id) => {
                self.ask_everyone(dispatch, id, in_hand);
                return true;
            }
            Target::Answer(answer) => {
                let request = match message {
                    Incoming::Sip(message) => Some(message),
                    Incoming::UnreadableSip(bad) => bad.message.as_ref(),
                    Incoming::Mgcp(_) | Incoming::UnreadableMgcp(_) => None,
                };
                if let Some(request) = request {
                    if let Says::Fault(fault) = answer.says {
                        let call_id = String::from_utf8_lossy(request.call_id());
                        debug!(source = %way.arrival.source, ?call_id, %fault, "a request that cannot be worked with");
                    }
                    self.answers.write(way, &answer, &Texts::of(dispatch, &answer), request);
                }
            }
            Target::Forward(_) | Target::ForwardResponse(_) | Target::Redirect(_) => {
                if let Incoming::Sip(message) = message {
                    self.travel(dispatch, way, &decision.target, message);
                }
            }
            Target::Return(answer) => self.answers.write_return(way, &answer, message.bytes().len()),
            Target::Gathered(id) => {
                if let Some((bytes, _)) = dispatch.gathered(id) {
                    self.answers.write_bytes(way, bytes);
                }
            }
            Target::Prober => {
                let Arrival { source, received, .. } = way.arrival;
                self.probe_answers.push(ProbeAnswer { from: source, at: received, bytes: message.bytes().into() });
            }
            Target::Passed(..) | Target::Waits(_) | Target::Drop => {}
        }
        self.send_leaving(dispatch, in_hand.now);
        false
    }

    /// Sends the messages of requests under way that are to leave. One that its worker's link does not take is decided
    /// about again: see [`Switch::place_not_taken`](super::Switch::place_not_taken).
    pub(super) fn send_leaving(&mut self, dispatch: &mut Dispatch, now: Time) {
        while let Some(leaving) = dispatch.poll_leaving() {
            match &leaving.message {
                LeavingMessage::HandedOver(handoff) => {
                    self.hand_over_bytes(dispatch, handoff, (&leaving.request, &leaving.arrival), now);
                }
                LeavingMessage::TakenBack(handoff) => {
                    let mut cancel = Vec::new();
                    if let Ok(request) = Scanner::new().scan(&leaving.request) {
                        write_cancel(&mut cancel, &request);
                    }
                    self.hand_over_bytes(dispatch, handoff, (&cancel, &leaving.arrival), now);
                }
                _ => self.travelling.leave(&mut self.answers, dispatch, &leaving),
            }
        }
    }

    /// Puts a message of SIP that is not in hand on its worker's link.
    fn hand_over_bytes(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        (bytes, arrival): (&[u8], &Arrival),
        now: Time,
    ) {
        let mut scanner = Scanner::new();
        let Ok(message) = scanner.scan(bytes) else { return };
        let way = Way { owner: Owner::Listener(arrival.listener), arrival: *arrival };
        self.hand_over(dispatch, handoff, &InHand { message: (&message).into(), way: &way, chain: None, now });
    }

    /// Sends a message on its way, or tells its sender the way.
    fn travel(&mut self, dispatch: &Dispatch, way: &Way, target: &Target, message: &Message<'_>) {
        let Outbox { travelling, answers, .. } = self;
        match target {
            Target::Forward(forward) => travelling.forward(answers, dispatch, way, (forward, message)),
            Target::ForwardResponse(response) => travelling.respond(answers, dispatch, (response, message)),
            Target::Redirect(tag) => travelling::redirect(answers, way, (dispatch.redirected(), tag), message),
            _ => {}
        }
    }

    /// Hands a message over to every worker that its gathering waits for.
    fn ask_everyone(&mut self, dispatch: &mut Dispatch, id: GatheringId, in_hand: &InHand<'_>) {
        let InHand { way: Way { owner, arrival }, chain, now, .. } = *in_hand;
        self.asked.insert(id, Asked { owner: *owner, chain });
        let way = Way { owner: *owner, arrival: Arrival { reply_to: ReplyTo::Gathering(id), ..*arrival } };
        while let Some(handoff) = dispatch.poll_everyone(id, now) {
            self.hand_over(dispatch, &handoff, &InHand { way: &way, chain: None, ..*in_hand });
        }
    }

    /// Puts a message on its worker's link. The core knows what each link can take, so it is rare that a link does not
    /// take it; that counts as a refusal by that worker.
    fn hand_over(&mut self, dispatch: &mut Dispatch, handoff: &Handoff, in_hand: &InHand<'_>) {
        let InHand { message, way, chain, .. } = *in_hand;
        let envelope = handoff.envelope(&way.arrival);
        let note = Note::of(handoff, chain);
        let worker = dispatch.pool().get(handoff.worker);
        let pieces = insert::pieces(self.insert, message, handoff, worker, &mut self.patched);
        if !push(&mut self.links, dispatch, (handoff.worker, note), &envelope, &pieces) {
            let payload = message.bytes().to_vec();
            self.not_taken.push_back(Returned {
                message: HandedOver { envelope, note, payload, sent: false },
                from: handoff.worker,
                cause: Cause::Refused(RefuseReason::Exhausted),
            });
        }
    }

    /// Gives a worker the acknowledgement of an MGCP transaction. If its link does not take it, it is lost like any
    /// datagram.
    pub(super) fn acknowledge(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        transaction: TransactionId,
        arrival: &Arrival,
    ) {
        let (bytes, length) = acknowledgement(transaction);
        let note = Note::of(handoff, None);
        push(&mut self.links, dispatch, (handoff.worker, note), &handoff.envelope(arrival), &[&bytes[..length]]);
    }

    pub(super) fn tell(&mut self, worker: WorkerId, drain: Drain) {
        if let Some(link) = self.links.get_mut(worker) {
            link.front.push_control(&Record::Drain(drain));
            self.links.touch(worker);
        }
    }
}

/// Puts a record on a worker's link; false if the link does not take it.
fn push<C: Channel>(
    links: &mut Links<C>,
    dispatch: &mut Dispatch,
    (worker, note): (WorkerId, Note),
    envelope: &Envelope,
    pieces: &[&[u8]],
) -> bool {
    let Some(link) = links.get_mut(worker) else { return false };
    let pushed = link.front.push(envelope, note, pieces);
    dispatch.on_link_room(worker, link.front.room());
    if let Err(error) = pushed {
        debug!(%worker, "not handed over: {error}");
        return false;
    }
    links.touch(worker);
    true
}

/// `000 TRANSACTION`, and its length.
pub(super) fn acknowledgement(TransactionId(mut id): TransactionId) -> ([u8; 16], usize) {
    let mut bytes = *b"000 ............";
    let length = id.checked_ilog10().map_or(1, |digits| digits as usize + 1).min(10);
    for place in (4..4 + length).rev() {
        bytes[place] = b'0' + (id % 10) as u8;
        id /= 10;
    }
    bytes[4 + length..4 + length + 2].copy_from_slice(b"\r\n");
    (bytes, 4 + length + 2)
}
