//! A SIP server transaction (RFC 3261 §17.2, RFC 6026 §7.1): one request, its responses, and the copies of both.
//!
//! ```text
//!  INVITE (§17.2.1, RFC 6026 §7.1)                       other requests (§17.2.2)
//!
//!        INVITE                                                request
//!          │                                                     │
//!          ▼         200 ms: 100                                 ▼
//!     Proceeding ◄── 101–199 sent                          Proceeding ◄── 1xx sent
//!      │      │  └── copy: last 1xx                             │     └── copy: last 1xx
//!      │      │                                                 │
//!      │ 300–699 sent      2xx sent                             │ 200–699 sent
//!      ▼      └───────────────────┐                             ▼
//!  Completed ◄─ G: again          ▼                         Completed ◄─ copy: again
//!      │     └─ copy: again    Accepted ◄─ core: again          │
//!      │ ACK             │        │ │   └─ copy: again          │ J: 64·T1,
//!      ▼                 │        │ └ ACK: 2xx forgotten        │ 0 if reliable
//!  Confirmed             │ H      │ L                           │
//!      │ I: T4,          │ 64·T1  │ 64·T1                       │
//!      ▼ 0 if reliable   ▼        ▼                             ▼
//!  ───────────────────── Terminated ─────────────────────────────
//! ```
//!
//! The owner finds the transaction of a message ([`super::name`]), writes the responses, knows the way back, and files
//! the transaction with its wheel. The transaction says what leaves and when.
//!
//! It departs from the RFCs in these points:
//!
//! - The core's part of a 2xx (§13.3.1.4: repeated until the ACK, over every transport) is done here, because it has
//!   the same clock as timer G.
//! - In `Accepted` a copy of the INVITE gets the 2xx again, where RFC 6026 §7.1 absorbs it. A source that has not been
//!   heard gets few repetitions, and a caller that asks again has heard nothing.
//! - At most five datagrams leave for an INVITE from a source that may be forged, where §17.2.1 sends about eleven.
//! - The minute of §13.3.1.1, after which a provisional response is sent again, is counted here.
//! - A request other than INVITE without a final response ends by the clock: its sender gave up at 64·T1 (timer F).
//!
//! That is for an agent, which makes its responses. Above a proxy ([`Transaction::open_for_proxy`]) the responses are
//! another's: it repeats provisional ones and a 2xx itself, so that they pass and nothing is repeated here but a
//! 300–699. A request other than INVITE then gets a 100 at last (RFC 4320 §4.1).

use std::sync::Arc;
use std::time::Duration;

use super::Kind;
use super::allowance::{Allowance, Purpose};
use super::timers::{LIFETIME, Resend, T1, T2, T4};
use crate::pack::packed;
use crate::time::Time;
use crate::wire::sip::KeptMessage;

/// A server transaction. `M` stands for a response.
#[derive(Clone, Debug)]
pub struct Transaction<M = Arc<[u8]>> {
    kind: Kind,
    core: Core,
    state: State,
    kept: Kept<M>,
    cseq: u32,
    is_reliable: bool,
    /// Timer G, or the core's repetition of a 2xx.
    resend: Option<Resend>,
    /// When the ACK to its 2xx came.
    acknowledged: Option<Time>,
    /// Datagrams that may leave by themselves.
    allowance: Allowance,
    /// When timer H, I, J or L fires; in [`State::Proceeding`], when a provisional response is due.
    end: Time,
}

packed!(Transaction<M: Clone> { kind, core, state, kept, cseq, is_reliable, resend, acknowledged, allowance, end });

/// The circumstances in which a transaction begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The kind of request.
    pub kind: Kind,
    /// Its CSeq number.
    pub cseq: u32,
    /// The request, if it is needed until its final response.
    pub request: Option<Arc<KeptMessage>>,
    /// Whether the transport repeats lost messages by itself.
    pub is_reliable: bool,
    /// Whether the source may be forged.
    pub may_be_forged: bool,
}

/// The layer above the transaction (RFC 3261 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Agent,
    Proxy,
}

packed!(Core as Agent = 0, Proxy = 1);

/// The states of the figure. Of the two kinds only INVITE has `Confirmed` and `Accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

packed!(State as Proceeding = 0, Completed = 1, Confirmed = 2, Accepted = 3, Terminated = 4);

/// The messages a transaction holds.
#[derive(Clone, Debug)]
enum Kept<M> {
    /// The request, as long as it is needed.
    Request(Arc<KeptMessage>),
    /// The request and the last provisional response to it.
    Both(Arc<KeptMessage>, M),
    /// The final response; above a proxy also the last provisional one.
    Response(M),
    /// None.
    Nothing,
}

// Above a proxy there is no request.
packed!(Kept<M: Clone> by Option<M>: |kept| kept.response().cloned(), |response| {
    Ok(response.map_or(Kept::Nothing, Kept::Response))
});

impl<M> Kept<M> {
    /// The response among them.
    const fn response(&self) -> Option<&M> {
        match self {
            Kept::Response(response) | Kept::Both(_, response) => Some(response),
            Kept::Request(_) | Kept::Nothing => None,
        }
    }
}

/// Something for the owner to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due<M = Arc<[u8]>> {
    /// Nothing; look again at [`Transaction::poll_timeout`].
    Nothing,
    /// Send this response again.
    Send(M),
    /// Respond with 100 (§17.2.1).
    Trying,
    /// Respond with a final status: the request has gone without one for its whole life.
    Undecided,
    /// The last copy of the final response that may leave has left, and no sign of its receiver has come.
    Unheard,
    /// It is over, and its 2xx has got no ACK.
    Unacknowledged {
        /// Whether a BYE may leave for its INVITE.
        may_send_bye: bool,
    },
    /// It is over.
    Over,
}

/// A 100 leaves if no other response has left for this time (RFC 3261 §17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);
/// A proxy responds with 100 to a request other than INVITE after this time, in which timer E has come to T2 (RFC 4320
/// §4.1).
const TRYING_OTHER_AFTER: Duration = T1.saturating_mul(7);
/// Time from that 100 until its sender gives up (timer F).
const UNDECIDED_AFTER_TRYING: Duration = LIFETIME.saturating_sub(TRYING_OTHER_AFTER);
/// RFC 3261 §13.3.1.1: a ringing call sends a provisional response every minute, or proxies on its way give up (timer
/// C).
const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);
/// Time of the last provisional response if only one more is allowed: timer C is 3 minutes, and 2 in some proxies.
const PROVISIONAL_ONCE_MORE: Duration = Duration::from_secs(110);

impl<M: Clone> Transaction<M> {
    /// The transaction of a request that is no copy of another.
    pub fn open(opening: Opening, now: Time) -> Self {
        let Opening { kind, cseq, request, is_reliable, may_be_forged } = opening;
        Transaction {
            kind,
            core: Core::Agent,
            state: State::Proceeding,
            kept: request.map_or(Kept::Nothing, Kept::Request),
            cseq,
            is_reliable,
            resend: None,
            acknowledged: None,
            allowance: if may_be_forged { Allowance::unheard() } else { Allowance::heard() },
            end: match kind {
                Kind::Invite => now + TRYING_AFTER,
                Kind::Other => now + LIFETIME,
            },
        }
    }

    /// The same above a proxy.
    pub fn open_for_proxy(opening: Opening, now: Time) -> Self {
        let end = match opening.kind {
            Kind::Invite => now + TRYING_AFTER,
            Kind::Other => now + TRYING_OTHER_AFTER,
        };
        Transaction { core: Core::Proxy, end, ..Transaction::open(opening, now) }
    }

    /// Takes a response, and moves to the state that follows it. Returns whether the response leaves now.
    pub fn respond(&mut self, status: u16, response: M, now: Time) -> bool {
        if self.core == Core::Proxy && status < 300 {
            self.pass(status, Some(response), now);
            return true;
        }
        let purpose = if status < 200 { Purpose::Provisional } else { Purpose::Final };
        let leaves = self.allowance.take(purpose);
        match (self.kind, status) {
            (_, ..200) => {
                if let Some(request) = self.request().cloned() {
                    self.kept = Kept::Both(request, response);
                }
                self.end = if status == 100 { Time::NEVER } else { now + self.says_again_after() };
                return leaves;
            }
            (Kind::Invite, 200..300) => self.state = State::Accepted,
            _ if self.kind == Kind::Other && self.is_reliable => self.state = State::Terminated,
            _ => self.state = State::Completed,
        }
        let repeats = self.state == State::Accepted || (self.kind == Kind::Invite && !self.is_reliable);
        self.resend = repeats.then(|| Resend::first(T1, now));
        let is_kept = self.state == State::Accepted || !self.is_reliable;
        self.kept = if is_kept { Kept::Response(response) } else { Kept::Nothing };
        self.end = now + LIFETIME;
        leaves
    }

    /// Lets a provisional response or a 2xx of a server after us pass. `response`: for copies of the request.
    pub fn pass(&mut self, status: u16, response: Option<M>, now: Time) {
        match (self.kind, status) {
            (Kind::Invite, ..200) => self.end = Time::NEVER,
            // The clock goes on: the sender gives up at 64·T1.
            (Kind::Other, ..200) => {}
            (Kind::Invite, _) => {
                (self.state, self.kept, self.end) = (State::Accepted, Kept::Nothing, now + LIFETIME);
                return;
            }
            (Kind::Other, _) => {
                self.state = if self.is_reliable { State::Terminated } else { State::Completed };
                self.end = now + LIFETIME;
            }
        }
        self.kept = response.map_or(Kept::Nothing, Kept::Response);
    }

    /// Another agent answers the request from now on: nothing leaves any more.
    pub fn leave(&mut self) {
        (self.state, self.kept, self.resend) = (State::Terminated, Kept::Nothing, None);
        self.end = Time::NEVER;
    }

    /// Later responses leave over another transport: a copy of the request has come over it.
    pub const fn change_transport(&mut self, is_reliable: bool) {
        self.is_reliable = is_reliable;
    }

    /// A copy of the request has come: returns the response that it gets.
    pub fn on_copy(&self) -> Option<&M> {
        self.response()
    }

    /// The ACK to a 300–699 has come.
    pub fn on_ack(&mut self, now: Time) {
        if !self.waits_for_ack_of_refusal() {
            return;
        }
        self.state = if self.is_reliable { State::Terminated } else { State::Confirmed };
        (self.kept, self.resend) = (Kept::Nothing, None);
        self.end = now + T4;
    }

    /// An ACK with this CSeq number has come in the dialog of a 2xx. Returns whether it is the one that was awaited.
    pub fn on_ack_of_success(&mut self, cseq: u32, now: Time) -> bool {
        let is_awaited = self.state == State::Accepted && self.cseq == cseq;
        if is_awaited {
            self.acknowledged = Some(now);
            self.stop_repeating();
        }
        is_awaited
    }

    /// The caller has the 2xx, though no ACK has come: it sent a request that only makes sense after it.
    pub fn stop_repeating(&mut self) {
        (self.kept, self.resend) = (Kept::Nothing, None);
    }

    /// A copy of an INVITE has come from another host: neither host is known to hear us.
    pub fn doubt(&mut self) {
        if self.allowance.is_heard() {
            self.allowance = Allowance::unheard();
        }
    }

    /// The sender has shown that it hears us.
    pub fn on_heard(&mut self, now: Time) {
        if self.allowance.is_heard() {
            return;
        }
        self.allowance = Allowance::heard();
        if self.state == State::Accepted {
            // The ACK has not come yet, so the 2xx is repeated at the usual intervals.
            self.resend = self.resend.map(|resend| resend.resume(now));
        }
    }

    /// Whether a reliable provisional response may be repeated now (RFC 3262 §3); if so, it counts.
    pub fn may_repeat_reliable(&mut self) -> bool {
        self.allowance.take(Purpose::Reliable)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) -> Due<M> {
        if self.end <= now {
            return self.on_end(now);
        }
        let Some(resend) = self.resend.filter(|resend| resend.is_due(now)) else { return Due::Nothing };
        if !self.allowance.take(Purpose::Final) {
            self.resend = Some(resend.suspend());
            return Due::Unheard;
        }
        self.resend = Some(resend.next(T2, now));
        self.response().cloned().map_or(Due::Nothing, Due::Send)
    }

    /// When [`Transaction::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Time {
        self.resend.map_or(self.end, |resend| resend.at().min(self.end))
    }

    fn on_end(&mut self, now: Time) -> Due<M> {
        match (self.state, self.kind) {
            (State::Proceeding, Kind::Invite) => {
                let Some(last) = self.response().cloned() else {
                    self.end = Time::NEVER;
                    return Due::Trying;
                };
                self.end = now + self.says_again_after();
                if self.allowance.take(Purpose::Provisional) { Due::Send(last) } else { Due::Nothing }
            }
            (State::Proceeding, Kind::Other) if self.core == Core::Proxy && self.response().is_none() => {
                self.end = now + UNDECIDED_AFTER_TRYING;
                Due::Trying
            }
            (State::Proceeding, Kind::Other) => {
                self.end = Time::NEVER;
                Due::Undecided
            }
            (State::Accepted, _) => {
                let is_acknowledged = self.resend.is_none();
                let may_send_bye = self.allowance.take(Purpose::Bye);
                self.state = State::Terminated;
                if is_acknowledged { Due::Over } else { Due::Unacknowledged { may_send_bye } }
            }
            (State::Completed | State::Confirmed | State::Terminated, _) => {
                self.state = State::Terminated;
                Due::Over
            }
        }
    }

    /// Time after which a call that still rings sends a provisional response again.
    const fn says_again_after(&self) -> Duration {
        if self.allowance.is_heard() { PROVISIONAL_EVERY } else { PROVISIONAL_ONCE_MORE }
    }

    /// The request, while it has no final response and was kept.
    pub const fn request(&self) -> Option<&Arc<KeptMessage>> {
        match &self.kept {
            Kept::Request(request) | Kept::Both(request, _) => Some(request),
            Kept::Response(_) | Kept::Nothing => None,
        }
    }

    /// The response that would be sent again.
    pub const fn response(&self) -> Option<&M> {
        self.kept.response()
    }

    /// The CSeq number of its request.
    pub const fn cseq(&self) -> u32 {
        self.cseq
    }

    /// When it is over, once it has a final response.
    pub const fn end(&self) -> Time {
        self.end
    }

    /// Whether it has no final response yet.
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Whether it is an INVITE whose 300–699 waits for its ACK.
    pub fn waits_for_ack_of_refusal(&self) -> bool {
        self.state == State::Completed && self.kind == Kind::Invite
    }

    /// Whether another copy of its request on another way is one too many (RFC 3261 §8.2.2.2: beside an ongoing
    /// transaction). A refusal that has been acknowledged is over: the next attempt of a proxy that hunts is a new
    /// request. A standing call is over in this respect T4 after the ACK, when no copy can be on its way any more.
    pub fn is_ongoing(&self, now: Time) -> bool {
        match self.state {
            State::Proceeding | State::Completed => true,
            State::Accepted => self.acknowledged.is_none_or(|at| now < at + T4),
            State::Confirmed | State::Terminated => false,
        }
    }

    /// Whether its sender cannot ask for the answer again: it is to be forgotten.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

impl Transaction {
    /// Bytes of the messages it holds.
    pub fn bytes(&self) -> usize {
        self.request().map_or(0, |request| KeptMessage::size_of(&request.read()))
            + self.response().map_or(0, |bytes| bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    const SECOND: u64 = 1_000_000;

    fn open(kind: Kind, is_reliable: bool, may_be_forged: bool) -> Transaction {
        let bytes = b"A sip:b SIP/2.0\r\nv: SIP/2.0/UDP h\r\nf: <a:b>\r\nt: <a:b>\r\ni: 1\r\nCSeq: 1 A\r\n\r\n";
        let request = Some(Arc::new((&Scanner::new().scan(bytes).unwrap()).into()));
        let opening = Opening { kind, cseq: 1, request, is_reliable, may_be_forged };
        Transaction::open(opening, Time(0))
    }

    #[test]
    fn a_refusal_to_an_invite_whose_copy_came_by_datagram_is_repeated() {
        let mut transaction = open(Kind::Invite, true, false);
        transaction.change_transport(false);
        respond(&mut transaction, 486, 0);
        assert_eq!(transaction.on_copy().map(|bytes| &bytes[..]), Some(&b"486"[..]));
        assert_eq!(pass(&mut transaction, SECOND), [(500, again("486"))]);
    }

    fn respond(transaction: &mut Transaction, status: u16, now: u64) -> bool {
        transaction.respond(status, status.to_string().into_bytes().into(), Time(now))
    }

    /// All that falls due, each with its time in milliseconds, until nothing does or `until` has come.
    fn pass(transaction: &mut Transaction, until: u64) -> Vec<(u64, Due)> {
        let mut all = Vec::new();
        while !transaction.is_terminated() && transaction.poll_timeout() <= Time(until) {
            let at = transaction.poll_timeout();
            match transaction.handle_timeout(at) {
                Due::Nothing => {}
                due => all.push((at.0 / 1_000, due)),
            }
        }
        all
    }

    fn again(text: &str) -> Due {
        Due::Send(text.as_bytes().into())
    }

    #[test]
    fn an_invite_gets_a_100_after_200_ms_and_its_last_provisional_response_each_minute() {
        let mut invite = open(Kind::Invite, false, false);
        assert_eq!(pass(&mut invite, SECOND), [(200, Due::Trying)]);
        assert!(respond(&mut invite, 180, SECOND));
        assert_eq!(invite.on_copy().map(|bytes| &bytes[..]), Some(&b"180"[..]));
        assert_eq!(pass(&mut invite, 130 * SECOND), [(61_000, again("180")), (121_000, again("180"))]);
    }

    #[test]
    fn a_refusal_is_repeated_by_timer_g_until_its_ack_and_absorbs_copies_for_t4() {
        let mut invite = open(Kind::Invite, false, false);
        assert!(respond(&mut invite, 486, 0));
        assert_eq!(pass(&mut invite, 4 * SECOND), [500, 1_500, 3_500].map(|at| (at, again("486"))));
        invite.on_ack(Time(4 * SECOND));
        assert_eq!((invite.on_copy(), invite.bytes(), invite.is_ongoing(Time(0))), (None, 0, false));
        assert_eq!(pass(&mut invite, 60 * SECOND), [(9_000, Due::Over)]);
    }

    #[test]
    fn a_refusal_without_ack_ends_after_64_t1() {
        let mut invite = open(Kind::Invite, false, false);
        respond(&mut invite, 486, 0);
        let all = pass(&mut invite, 60 * SECOND);
        assert_eq!((all.len(), all.last()), (11, Some(&(32_000, Due::Over))));
    }

    #[test]
    fn a_2xx_is_repeated_over_every_transport_until_its_ack() {
        for is_reliable in [false, true] {
            let mut invite = open(Kind::Invite, is_reliable, false);
            respond(&mut invite, 200, 0);
            assert_eq!(pass(&mut invite, SECOND), [(500, again("200"))]);
            assert!(!invite.on_ack_of_success(2, Time(SECOND)), "the ACK of another INVITE");
            assert!(invite.on_ack_of_success(1, Time(SECOND)));
            assert!(invite.is_ongoing(Time(5 * SECOND)) && !invite.is_ongoing(Time(6 * SECOND)));
            assert_eq!(pass(&mut invite, 60 * SECOND), [(32_000, Due::Over)]);
        }
        let mut invite = open(Kind::Invite, false, false);
        respond(&mut invite, 200, 0);
        assert_eq!(pass(&mut invite, 60 * SECOND).last(), Some(&(32_000, Due::Unacknowledged { may_send_bye: true })));
    }

    #[test]
    fn over_a_reliable_transport_timers_g_i_and_j_are_zero() {
        let mut invite = open(Kind::Invite, true, false);
        respond(&mut invite, 486, 0);
        assert_eq!((pass(&mut invite, SECOND), invite.bytes()), (vec![], 0));
        invite.on_ack(Time(SECOND));
        assert!(invite.is_terminated());
        let mut other = open(Kind::Other, true, false);
        respond(&mut other, 200, 0);
        assert!(other.is_terminated());
    }

    #[test]
    fn another_request_repeats_its_answer_only_when_asked_again_and_ends_after_timer_j() {
        let mut other = open(Kind::Other, false, false);
        respond(&mut other, 200, 0);
        assert_eq!(other.on_copy().map(|bytes| &bytes[..]), Some(&b"200"[..]));
        other.on_ack(Time(0));
        assert_eq!(pass(&mut other, 60 * SECOND), [(32_000, Due::Over)]);
    }

    #[test]
    fn another_request_that_is_not_decided_on_ends_by_the_clock() {
        let mut other = open(Kind::Other, false, false);
        assert_eq!(pass(&mut other, 60 * SECOND), [(32_000, Due::Undecided)]);
    }

    #[test]
    fn a_source_that_may_be_forged_gets_four_copies_of_a_2xx_until_it_is_heard() {
        let mut invite = open(Kind::Invite, false, true);
        respond(&mut invite, 200, 0);
        let three = [500, 1_500, 3_500].map(|at| (at, again("200")));
        assert_eq!(pass(&mut invite, 20 * SECOND), [&three[..], &[(7_500, Due::Unheard)]].concat());
        invite.on_heard(Time(20 * SECOND));
        assert_eq!(pass(&mut invite, 24 * SECOND), [(24_000, again("200"))]);
    }

    /// A transaction above a proxy, whose responses stand there as their statuses.
    fn open_for_proxy(kind: Kind) -> Transaction<u16> {
        let opening = Opening { kind, cseq: 1, request: None, is_reliable: false, may_be_forged: false };
        Transaction::open_for_proxy(opening, Time(0))
    }

    fn pass_statuses(transaction: &mut Transaction<u16>, until: u64) -> Vec<(u64, Due<u16>)> {
        let mut all = Vec::new();
        while !transaction.is_terminated() && transaction.poll_timeout() <= Time(until) {
            let at = transaction.poll_timeout();
            match transaction.handle_timeout(at) {
                Due::Nothing => {}
                due => all.push((at.0 / 1_000, due)),
            }
        }
        all
    }

    #[test]
    fn above_a_proxy_provisional_responses_and_a_2xx_are_left_to_their_sender() {
        let mut invite = open_for_proxy(Kind::Invite);
        assert_eq!(pass_statuses(&mut invite, SECOND), [(200, Due::Trying)]);
        assert!(invite.respond(100, 100, Time(SECOND)) && invite.respond(180, 180, Time(SECOND)));
        assert_eq!(invite.on_copy(), Some(&180));
        assert_eq!(pass_statuses(&mut invite, 300 * SECOND), []);
        assert!(invite.respond(200, 200, Time(300 * SECOND)));
        assert_eq!(invite.on_copy(), None, "RFC 6026 §7.1: a copy is absorbed");
        assert_eq!(pass_statuses(&mut invite, 400 * SECOND), [(332_000, Due::Over)]);
    }

    #[test]
    fn above_a_proxy_a_refusal_is_repeated_until_its_ack() {
        let mut invite = open_for_proxy(Kind::Invite);
        assert!(invite.respond(486, 486, Time(0)));
        assert_eq!(pass_statuses(&mut invite, SECOND), [(500, Due::Send(486))]);
        invite.on_ack(Time(SECOND));
        assert_eq!(pass_statuses(&mut invite, 60 * SECOND), [(6_000, Due::Over)]);
    }

    #[test]
    fn above_a_proxy_another_request_gets_a_100_when_timer_e_has_come_to_t2() {
        let mut other = open_for_proxy(Kind::Other);
        assert_eq!(pass_statuses(&mut other, 30 * SECOND), [(3_500, Due::Trying)]);
        other.respond(100, 100, Time(3_500_000));
        assert_eq!(other.on_copy(), Some(&100));
        assert_eq!(pass_statuses(&mut other, 60 * SECOND), [(32_000, Due::Undecided)]);
        let mut other = open_for_proxy(Kind::Other);
        other.respond(200, 200, Time(0));
        assert_eq!(other.on_copy(), Some(&200));
        assert_eq!(pass_statuses(&mut other, 60 * SECOND), [(32_000, Due::Over)]);
    }
}
