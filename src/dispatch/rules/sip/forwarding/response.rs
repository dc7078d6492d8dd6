//! Responses of downstream proxies (RFC 3261 §16.7, §16.11).

use std::net::IpAddr;

use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, Decision, EntryId, ForwardedResponse, Reason, Side, Target};
use crate::dispatch::table::{Entry, Hold};
use crate::dispatch::targets::proxy::{Final, Sent};
use crate::fingerprint::Fingerprint;
use crate::ids::{ListenerId, ProxyId, TargetId};
use crate::time::Time;
use crate::transaction::forwarded::{FLOW_PARAM, ForwardedBranch};
use crate::transaction::name::sip::{Fields, call_of};
use crate::transaction::probe::ProbeBranch;
use crate::wire::load::OverloadControl;
use crate::wire::sip::{Message, Method, Name, Via};

impl Dispatch {
    /// Forwards a response whose topmost Via is ours: the one below it gives the hash in our branch again, so that no
    /// stranger can have the dispatcher send anything anywhere. `None`: it is not such a response.
    pub(in crate::dispatch::rules::sip) fn forward_response(
        &mut self,
        (message, ours): (&Message<'_>, &Via<'_>),
        arrival: &Arrival,
        now: Time,
    ) -> Option<Decision> {
        let forged = Decision { target: Target::Drop, reason: Reason::ResponseForged };
        let branch = ForwardedBranch::read(ours.branch()?)?;
        let below = message.values_below(Name::Via, ours.raw).next().and_then(Via::parse);
        let name = below.and_then(|via| self.name_of(message, &via));
        // The branch of a request under way is at hand, and need not be made again.
        let under_way = name.and_then(|name| self.contexts.get(self.contexts.of(name)?));
        let is_known = under_way.is_some_and(|under_way| {
            under_way.forward.branch == branch
                && message.cseq().is_some_and(|cseq| cseq.number == under_way.cseq)
                && (under_way.has_identity_of(message) || call_of(message, &self.printer) == under_way.call)
        });
        let is_answer = |below: &Via<'_>| is_known || self.branches.is_answered_by(message, &branch, below);
        let Some(via) = below.filter(is_answer) else {
            let of_cancel = self.response_to_cancel(message, (branch.proxy(), branch.attempt()), now);
            return Some(of_cancel.unwrap_or(forged));
        };
        let (proxy, listener, side) = (branch.proxy(), branch.listener(), branch.side().other());
        let via_end = message.place_of(ours.raw).end;
        // Another address may answer for a server, but it says nothing about that server. Nor does a caller.
        let address = self.proxies.get(proxy).and_then(|proxy| proxy.address());
        let is_own = side == Side::Server
            && address.is_some_and(|address| address.ip().to_canonical() == arrival.source.ip().to_canonical());
        let is_stream = self.proxies.get(proxy).is_some_and(|proxy| proxy.is_stream());
        let is_from_it = || is_own || self.proxies.is_from(proxy, arrival.source.ip(), arrival.certified);
        if side == Side::Server && is_stream && !is_from_it() {
            // Nobody but the system that has the request answers it: its callees see our Via as well, and so do systems
            // that it sends the request to.
            return Some(forged);
        }
        if is_own && self.asks_overload(proxy) {
            // Other Vias are for those who have written them.
            OverloadControl::read(ours).into_iter().for_each(|control| self.proxies.on_overload(proxy, control, now));
        }
        let of = (proxy, branch.attempt());
        if let Some(decision) = name.and_then(|name| self.respond_in_context(message, (name, of, is_own), via_end, now))
        {
            return Some(decision);
        }
        let entry = name.and_then(|name| self.table.by_name(name));
        let is_success = message.status().is_some_and(|status| (200..300).contains(&status));
        // RFC 3261 §16.7 step 5, RFC 6026 §8.4: the context was over by its 2xx, or a worker has the request by now and
        // answers it. Further 2xx to an INVITE alone pass.
        let is_late = |entry: &Entry| match entry.target {
            TargetId::Worker(_) => !(is_success && entry.is_invite),
            TargetId::Proxy(_) => !is_success && entry.is_accepted,
        };
        if side == Side::Server && entry.and_then(|id| self.table.get(id)).is_some_and(is_late) {
            return Some(Decision { target: Target::Drop, reason: Reason::LateResponse });
        }
        if self.is_beside_another(message, &via, proxy) {
            return Some(Decision { target: Target::Drop, reason: Reason::LateResponse });
        }
        let flow = ours.params().get(FLOW_PARAM.as_bytes());
        let to = flow.and_then(|flow| self.branches.way_back(flow, &branch, via.reply_address()));
        let Some(to) = to else { return Some(forged) };
        if let Some(id) = entry {
            self.on_response(message, id, (proxy, is_own), now);
        }
        let from = self.local_of(listener, arrival);
        let response = ForwardedResponse { proxy, side, to, listener, from, via_end };
        Some(Decision { target: Target::ForwardResponse(response), reason: Reason::Branch })
    }

    /// Has the prober get a response to one of its probes, which is known by its branch alone. `None`: it is no such
    /// response, or does not come from the address that the probe has gone to.
    pub(in crate::dispatch::rules::sip) fn answer_to_probe(
        &mut self,
        via: &Via<'_>,
        arrival: &Arrival,
    ) -> Option<Decision> {
        ProbeBranch::read(&self.printer, via.branch()?, arrival.source)?;
        Some(match self.prober_room.checked_sub(1) {
            Some(left) => {
                self.prober_room = left;
                Decision { target: Target::Prober, reason: Reason::ProbeAnswer }
            }
            None => Decision { target: Target::Drop, reason: Reason::ProberBusy },
        })
    }

    /// Takes note of a response in the table, and of the time that its server took.
    fn on_response(&mut self, message: &Message<'_>, id: EntryId, (proxy, is_own): (ProxyId, bool), now: Time) {
        let Some(status) = message.status() else { return };
        let Some(entry) = self.table.get(id).filter(|entry| entry.target == TargetId::from(proxy)) else { return };
        let (is_pending, life, begins_call) = (entry.is_pending(), entry.life, entry.is_invite);
        match self.table.take_hold(id) {
            Some(Hold::Unheard { sent, .. }) if is_own => self.proxies.on_first_response(proxy, sent, status, now),
            hold => self.give_back(hold, now),
        }
        if (101..200).contains(&status) {
            self.table.ring(id, now);
        }
        if status >= 200 && is_pending {
            if is_own {
                let last = Final { status, retry_after: message.retry_after(), begins_call };
                self.proxies.on_final_response(proxy, Sent { life, number: 0 }, last, now);
            }
            self.on_answered(id, now);
        }
    }

    /// The name of the transaction that a response is for. A CANCEL has the branch of its INVITE, and its answer is
    /// none to that.
    pub(super) fn name_of(&self, message: &Message<'_>, via: &Via<'_>) -> Option<Fingerprint> {
        let cseq = message.cseq()?;
        if cseq.method == Method::Cancel {
            return None;
        }
        if via.unique_branch().is_some() {
            let (call_id, from_tag) = (message.call_id(), &[][..]);
            let fields = Fields { message, via: Some(via), call_id, from_tag, cseq: cseq.number };
            return Some(fields.transaction(&self.printer));
        }
        // The name of an older peer's transaction has the request-URI in it, which no response repeats.
        let mut of_call = self.table.of_call(call_of(message, &self.printer)).map(|(_, entry)| entry);
        of_call.find(|entry| entry.discriminator == cseq.number).map(|entry| entry.name)
    }

    /// The local address from which an answer to a request at this listener leaves (RFC 3581 §4).
    fn local_of(&self, listener: ListenerId, arrival: &Arrival) -> IpAddr {
        let bound = self.rules.udp_listener(listener).filter(|address| !address.ip().is_unspecified());
        bound.map_or(arrival.local.ip(), |address| address.ip())
    }
}
