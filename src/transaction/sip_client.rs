//! A SIP client transaction (RFC 3261 §17.1, RFC 6026 §7.2): one request of ours to one destination, and its responses.
//!
//! ```text
//!  INVITE (§17.1.1, RFC 6026 §7.2)                     other requests (§17.1.2)
//!
//!       INVITE sent                                        request sent
//!          │                                                   │
//!          ▼                                                   ▼
//!       Trying ◄─ A: again, interval doubles               Trying ◄─ E: again, interval doubles up to T2
//!       │  │ │ B: 64·T1 ──────────┐                        │  │ │ F: 64·T1 ──────────┐
//!       │  │ 1xx                  │                        │  │ 1xx                  │
//!       │  ▼                      │                        │  ▼                      │
//!       │  Proceeding ◄─ 1xx      │                        │  Proceeding ◄─ E: again, each T2
//!       │  │       │ 181 s ───────┤                        │  │       │ F ───────────┤
//!       │  │ 200–699              │                        │  │ 200–699              │
//!       ▼  ▼                      │                        ▼  ▼                      │
//!    Acknowledged ◄─ 200–699:     │                    ─── Terminated ◄──────────────┘
//!          │         ACK again    │
//!          │ D, M: 64·T1          │
//!          ▼                      │
//!     Terminated ◄────────────────┘
//! ```
//!
//! The owner finds the request's destination and transport, writes it with a branch of its own, and finds the
//! transaction of a response. A CANCEL is a request like any other, in a transaction of its own with the branch of its
//! INVITE ([`write_cancel`], §9.1).
//!
//! It departs from the RFCs in these points:
//!
//! - `Calling` of an INVITE is called `Trying`, as of other requests.
//! - `Completed` (300–699) and `Accepted` (2xx) are one state: in both a response that is repeated gets the ACK again.
//!   The owner writes the ACK to a 2xx by itself (§13.2.2.4), that to a 300–699 by [`write_ack`] (§17.1.1.3).
//! - `Completed` of other requests (timer K) is left out: a copy of the response finds no transaction, and is ignored.
//! - Timer D does not depend on the transport: over a stream it holds a little memory for 32 s.
//! - An INVITE stays in `Proceeding` for 181 s at most: timer C of §16.6, which is a proxy's.
//! - That limit is the owner's where it has a timer C of its own ([`Transaction::end_at`]).
//! - Copies can be limited, for a destination that a peer has named and from which nothing was heard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Kind;
use super::timers::{LIFETIME, Resend, T1, T2};
use crate::pack::packed;
use crate::time::Time;
use crate::wire::sip::{Message, Name, RequestWriter, Start};

/// A client transaction. `M` stands for the request, and later for its ACK: their bytes, or nothing where the owner has
/// them. `T` stands likewise for the destination.
#[derive(Clone, Debug)]
pub struct Transaction<M = Arc<[u8]>, T = SocketAddr> {
    kind: Kind,
    state: State,
    to: T,
    /// The request; after its final response, the ACK of an INVITE.
    bytes: M,
    /// Timer A or E.
    resend: Option<Resend>,
    /// Copies that may still leave while no response has come; `None`: as many as the timers want.
    copies: Option<u8>,
    /// When timer B, D, F or M fires.
    end: Time,
}

packed!(Transaction<M, T> { kind, state, to, bytes, resend, copies, end });

/// A request to send.
#[derive(Clone, Debug)]
pub struct Opening<M = Arc<[u8]>, T = SocketAddr> {
    /// The kind of request.
    pub kind: Kind,
    /// Its destination.
    pub to: T,
    /// The request as it leaves.
    pub bytes: M,
    /// Whether the transport repeats lost messages by itself.
    pub is_reliable: bool,
    /// Copies that may leave while no response has come, the first one included; `None`: as many as the timers want.
    pub copies: Option<u8>,
    /// When timer B or F fires: 64·T1 after the owner began to look for the destination.
    pub end: Time,
}

/// The states of the figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Acknowledged,
    Terminated,
}

packed!(State as Trying = 0, Proceeding = 1, Acknowledged = 2, Terminated = 3);

/// A copy of the message that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy<M = Arc<[u8]>> {
    /// The request, or the ACK.
    pub bytes: M,
    /// Whether it counts as one of the limited copies.
    pub is_counted: bool,
}

/// The meaning of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<M = Arc<[u8]>> {
    /// None: it is a copy, or comes too late.
    Nothing,
    /// The request is being dealt with.
    Provisional,
    /// The final response. That of an INVITE is to be acknowledged ([`Transaction::acknowledge`]).
    Final,
    /// A copy of the final response to an INVITE: send the ACK again.
    Again(M),
}

/// Something for the owner to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due<M = Arc<[u8]>> {
    /// Nothing; look again at [`Transaction::poll_timeout`].
    Nothing,
    /// Send this.
    Send(Copy<M>),
    /// It is over without a final response: as by 408 (RFC 3261 §8.1.3.1).
    TimedOut,
    /// It is over.
    Over,
}

/// Time for which an INVITE may stay provisional (RFC 3261 §16.6: timer C is longer than 3 minutes).
const PROCEEDING_LIMIT: Duration = Duration::from_secs(181);

impl<M: Clone, T> Transaction<M, T> {
    /// Begins the transaction of a request; the first copy leaves now.
    pub fn begin(opening: Opening<M, T>, now: Time) -> (Self, Copy<M>) {
        let Opening { kind, to, bytes, is_reliable, copies, end } = opening;
        let resend = (!is_reliable).then(|| Resend::first(T1, now));
        let mut transaction = Transaction { kind, state: State::Trying, to, bytes, resend, copies, end };
        let sent = transaction.send();
        (transaction, sent)
    }

    /// A response has come.
    pub fn on_response(&mut self, status: u16, now: Time) -> Outcome<M> {
        match (self.state, self.kind) {
            (State::Acknowledged, Kind::Invite) if status >= 200 => Outcome::Again(self.bytes.clone()),
            (State::Acknowledged | State::Terminated, _) => Outcome::Nothing,
            (State::Trying | State::Proceeding, kind) if status < 200 => {
                self.state = State::Proceeding;
                match kind {
                    Kind::Invite => (self.resend, self.end) = (None, now + PROCEEDING_LIMIT),
                    Kind::Other => self.resend = self.resend.map(|resend| resend.with_interval(T2)),
                }
                Outcome::Provisional
            }
            (State::Trying | State::Proceeding, kind) => {
                self.resend = None;
                if kind == Kind::Other {
                    self.state = State::Terminated;
                }
                Outcome::Final
            }
        }
    }

    /// The ACK to the final response of an INVITE: a request of its own after a 2xx (RFC 3261 §13.2.2.4), part of this
    /// transaction otherwise ([`write_ack`]). It leaves now.
    pub fn acknowledge(&mut self, ack: M, now: Time) -> Copy<M> {
        self.state = State::Acknowledged;
        self.bytes = ack;
        self.resend = None;
        self.end = now + LIFETIME;
        self.send()
    }

    /// The copy that left last has not reached the network. Returns whether it had been counted.
    pub fn on_unsent(&mut self) -> bool {
        match &mut self.copies {
            Some(copies) if self.state == State::Trying => {
                *copies += 1;
                true
            }
            _ => false,
        }
    }

    /// The outcome does not matter any more: no copy leaves. The final response to an INVITE still gets its ACK.
    pub fn stop_sending(&mut self) {
        self.resend = None;
    }

    /// Another time at which it is over without a final response.
    pub const fn end_at(&mut self, end: Time) {
        self.end = end;
    }

    /// When it is over without a final response, or, after that of an INVITE, whatever comes.
    pub const fn end(&self) -> Time {
        self.end
    }

    /// The request cannot be sent: it is over.
    pub const fn fail(&mut self) {
        (self.state, self.resend) = (State::Terminated, None);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) -> Due<M> {
        if self.end <= now {
            let is_answered = matches!(self.state, State::Acknowledged | State::Terminated);
            self.state = State::Terminated;
            return if is_answered { Due::Over } else { Due::TimedOut };
        }
        let Some(resend) = self.resend.filter(|resend| resend.is_due(now)) else { return Due::Nothing };
        // §17.1.1.2: the intervals of an INVITE (timer A) have no cap, those of other requests (timer E) have T2.
        let longest = if self.kind == Kind::Invite { LIFETIME } else { T2 };
        self.resend = Some(resend.next(longest, now)).filter(|_| self.copies != Some(0));
        if self.resend.is_some() { Due::Send(self.send()) } else { Due::Nothing }
    }

    /// When [`Transaction::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Time {
        self.resend.map_or(self.end, |resend| resend.at().min(self.end))
    }

    /// Whether no response has come yet.
    pub fn is_trying(&self) -> bool {
        self.state == State::Trying
    }

    /// Whether a final response is awaited.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    /// Whether no message of it is awaited any more.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn send(&mut self) -> Copy<M> {
        let copies = self.copies.as_mut().filter(|_| self.state == State::Trying);
        let is_counted = copies.is_some();
        copies.into_iter().for_each(|copies| *copies = copies.saturating_sub(1));
        Copy { bytes: self.bytes.clone(), is_counted }
    }
}

impl<M> Transaction<M> {
    /// The destination.
    pub const fn to(&self) -> SocketAddr {
        self.to
    }
}

impl Transaction {
    /// The request as it left; after the final response to an INVITE, its ACK.
    pub fn message(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes the ACK to a 300–699 (RFC 3261 §17.1.1.3). `request`: the INVITE as it left.
pub fn write_ack(out: &mut Vec<u8>, request: &Message<'_>, response: &Message<'_>) {
    write_ack_to(out, request, response.header(Name::To).unwrap_or_default());
}

/// [`write_ack`] by the To of the response alone.
pub fn write_ack_to(out: &mut Vec<u8>, request: &Message<'_>, to: &[u8]) {
    follow(out, "ACK", request, Some(to));
}

/// Writes the CANCEL of an INVITE (RFC 3261 §9.1). `request`: the INVITE as it left.
pub fn write_cancel(out: &mut Vec<u8>, request: &Message<'_>) {
    follow(out, "CANCEL", request, request.header(Name::To));
}

/// Writes a request with the fields by which it belongs to an INVITE's transaction.
fn follow(out: &mut Vec<u8>, method: &str, request: &Message<'_>, to: Option<&[u8]>) {
    let via = request.via().map(|via| via.raw).unwrap_or_default();
    let Start::Request { uri, .. } = request.start() else { return };
    let mut writer = RequestWriter::new(out, method, uri);
    writer = writer.header("Via", via).header("Max-Forwards", "70");
    for route in request.headers(Name::Route) {
        writer = writer.header("Route", route);
    }
    let cseq = request.cseq().map_or(0, |cseq| cseq.number);
    writer
        .header("From", request.header(Name::From).unwrap_or_default())
        .header("To", to.unwrap_or_default())
        .header("Call-ID", request.call_id())
        .header_fmt("CSeq", format_args!("{cseq} {method}"))
        .finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    const SECOND: u64 = 1_000_000;

    fn begin(kind: Kind, is_reliable: bool, copies: Option<u8>) -> (Transaction, Copy) {
        let (to, bytes) = ("192.0.2.1:5060".parse().unwrap(), Arc::from(&b"request"[..]));
        let opening = Opening { kind, to, bytes, is_reliable, copies, end: Time(32 * SECOND) };
        Transaction::begin(opening, Time(0))
    }

    fn respond(transaction: &mut Transaction, status: u16, now: u64) -> Outcome {
        transaction.on_response(status, Time(now))
    }

    /// When messages leave until `until`, in milliseconds, and what ends it.
    fn pass(transaction: &mut Transaction, until: u64) -> (Vec<u64>, Option<Due>) {
        let mut sent = Vec::new();
        while transaction.poll_timeout() <= Time(until) {
            let at = transaction.poll_timeout();
            match transaction.handle_timeout(at) {
                Due::Nothing => {}
                Due::Send(_) => sent.push(at.0 / 1_000),
                over => return (sent, Some(over)),
            }
        }
        (sent, None)
    }

    #[test]
    fn timer_a_doubles_without_end_and_timer_e_up_to_t2() {
        let (mut invite, _) = begin(Kind::Invite, false, None);
        let times = vec![500, 1_500, 3_500, 7_500, 15_500, 31_500];
        assert_eq!(pass(&mut invite, 60 * SECOND), (times, Some(Due::TimedOut)));
        let (mut bye, _) = begin(Kind::Other, false, None);
        let times = vec![500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(pass(&mut bye, 60 * SECOND), (times, Some(Due::TimedOut)));
    }

    #[test]
    fn over_a_reliable_transport_a_request_leaves_once() {
        for kind in [Kind::Invite, Kind::Other] {
            let (mut transaction, _) = begin(kind, true, None);
            assert_eq!(pass(&mut transaction, 60 * SECOND), (vec![], Some(Due::TimedOut)));
        }
    }

    #[test]
    fn a_provisional_response_ends_timer_a_and_slows_timer_e_down() {
        let (mut invite, _) = begin(Kind::Invite, false, None);
        assert_eq!(respond(&mut invite, 180, SECOND), Outcome::Provisional);
        assert_eq!(pass(&mut invite, 300 * SECOND), (vec![], Some(Due::TimedOut)));
        let (mut bye, _) = begin(Kind::Other, false, None);
        respond(&mut bye, 100, 100);
        assert_eq!(pass(&mut bye, 13 * SECOND), (vec![500, 4_500, 8_500, 12_500], None));
    }

    #[test]
    fn each_copy_of_a_final_response_to_an_invite_gets_the_ack_for_64_t1() {
        let (mut invite, _) = begin(Kind::Invite, false, None);
        assert_eq!(respond(&mut invite, 486, SECOND), Outcome::Final);
        let ack: Arc<[u8]> = Arc::from(&b"ACK"[..]);
        let sent = invite.acknowledge(ack.clone(), Time(SECOND));
        assert_eq!(sent, Copy { bytes: ack.clone(), is_counted: false });
        assert_eq!(respond(&mut invite, 180, 2 * SECOND), Outcome::Nothing);
        assert_eq!(respond(&mut invite, 486, 2 * SECOND), Outcome::Again(ack));
        assert_eq!(pass(&mut invite, 60 * SECOND), (vec![], Some(Due::Over)));
    }

    #[test]
    fn another_request_is_over_with_its_final_response() {
        let (mut bye, _) = begin(Kind::Other, false, None);
        assert_eq!(respond(&mut bye, 200, SECOND), Outcome::Final);
        assert_eq!(respond(&mut bye, 200, SECOND), Outcome::Nothing);
    }

    #[test]
    fn copies_can_be_limited_and_one_that_never_left_does_not_count() {
        let (mut bye, first) = begin(Kind::Other, false, Some(2));
        assert!(first.is_counted && bye.on_unsent());
        assert_eq!(pass(&mut bye, 60 * SECOND), (vec![500, 1_500], Some(Due::TimedOut)));
        let (mut bye, _) = begin(Kind::Other, false, Some(1));
        respond(&mut bye, 100, 100);
        assert!(!bye.on_unsent());
    }

    #[test]
    fn ack_and_cancel_have_the_branch_and_the_route_of_their_invite() {
        let request = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
                       Route: <sip:p;lr>\r\nFrom: <sip:c@d>;tag=f\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\n\
                       CSeq: 7 INVITE\r\nContact: <sip:c@h>\r\n\r\n";
        let response = "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\n\
                        To: <sip:a@b>;tag=t\r\nCall-ID: 1\r\nCSeq: 7 INVITE\r\n\r\n";
        let (mut first, mut second) = (Scanner::new(), Scanner::new());
        let request = first.scan(request.as_bytes()).unwrap();
        let response = second.scan(response.as_bytes()).unwrap();
        let expected = |method: &str, to: &str| {
            format!(
                "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
                 Route: <sip:p;lr>\r\nFrom: <sip:c@d>;tag=f\r\nTo: <sip:a@b>{to}\r\nCall-ID: 1\r\n\
                 CSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let mut out = Vec::new();
        write_ack(&mut out, &request, &response);
        assert_eq!(String::from_utf8(out).unwrap(), expected("ACK", ";tag=t"));
        let mut out = Vec::new();
        write_cancel(&mut out, &request);
        assert_eq!(String::from_utf8(out).unwrap(), expected("CANCEL", ""));
    }
}
