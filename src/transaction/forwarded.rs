//! The branch that we give a request which we forward (RFC 3261 §16.6 step 8, §16.11).
//!
//! ```text
//! z9hG4bK 07 00 000j 3q1v 0f3kq9u2v7a1c
//!         │  │  │    │    └ hash of all before it and of the request that came
//!         │  │  │    └ way: hash of request-URI and Route as they came
//!         │  │  └ proxy that it goes to, or comes from, and the number of the attempt at its receiver
//!         │  └ lane that has its transaction
//!         └ listener that it has come to
//! ```
//!
//! All of it follows from the request, so that a stateless proxy gives each copy of it the same branch. The hash is
//! over the received branch, Call-ID, From-tag and CSeq number: CANCEL and the ACK to a 300–699 repeat them (§9.1,
//! §17.1.1.3), and a response brings all of them back. So whether a response answers a request of ours is seen from the
//! response alone. Sent-by and source do not count: copies may come another way. Instead of a branch without the
//! cookie, which RFC 2543 knows, the Via's branch and sent-by count; §16.11 has the To-tag and the request-URI as well,
//! but an ACK has another To-tag, and the request-URI counts by the way.
//!
//! A request that goes to one address of its receiver after another has a branch for each of these attempts (RFC 3263
//! §4.3), so that CANCEL and ACK reach the right one and a response tells which one it is of. That takes the state of a
//! transaction: without it there is one attempt, number 0.
//!
//! The way that responses go is not in the branch, since a CANCEL may come another way than its request. A [`Flow`]
//! beside it vouches for it, so that a server that knows our branch cannot aim responses elsewhere: for the address
//! that the next Via gives, or for a connection, whose number stands in front of it.
//!
//! The characters are digits and small letters, and are read in either case.

use std::net::SocketAddr;

use super::flow_token::{CONNECTION, Hop, Side, hop_text};
use crate::fingerprint::Text::{AsItIs, InAnyCase, Number};
use crate::fingerprint::{Fingerprint, Printer};
use crate::ids::{ConnId, ListenerId, ProxyId, TokenKey, decode, encode};
use crate::transaction::name::sip::call_of;
use crate::wire::sip::{Message, Name, Via};

/// Purposes of fingerprints.
const FORWARDED: u8 = b'v';
const OF_OLD_PEER: u8 = b'w';
const FLOW: u8 = b'x';

/// The parameter of our Via that holds the [`Flow`].
pub const FLOW_PARAM: &str = "flow";

/// A branch of ours.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForwardedBranch([u8; ForwardedBranch::LEN]);

impl ForwardedBranch {
    /// The length of its text.
    pub const LEN: usize = ForwardedBranch::FRONT + 13;
    /// The length of its text without the hash.
    const FRONT: usize = 7 + 2 + 2 + 4 + 4;

    /// Reads a branch that has this form; it is not checked whether this dispatcher has made it.
    pub fn read(branch: &[u8]) -> Option<Self> {
        let text: [u8; Self::LEN] = branch.try_into().ok()?;
        let (cookie, rest) = text.split_at_checked(COOKIE.len())?;
        let branch = ForwardedBranch(text.map(|byte| byte.to_ascii_lowercase()));
        let is_ours = cookie.eq_ignore_ascii_case(COOKIE) && decode(rest).is_some();
        is_ours.then_some(branch.with_cookie())
    }

    /// The text.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The listener that the request has come to.
    pub fn listener(&self) -> ListenerId {
        ListenerId(self.number(7..9) as u16)
    }

    /// The lane that has the request's transaction.
    pub fn lane(&self) -> usize {
        self.number(9..11) as usize
    }

    /// The proxy that the request has gone to, or whose dialog it is of.
    pub fn proxy(&self) -> ProxyId {
        ProxyId(self.number(11..15) as u16)
    }

    /// The side that has sent the request.
    pub fn side(&self) -> Side {
        if self.number(11..15) & OF_SERVER == 0 { Side::Caller } else { Side::Server }
    }

    /// The number of the attempt at its receiver.
    pub fn attempt(&self) -> u8 {
        (self.number(11..15) / ATTEMPT) as u8
    }

    fn way(&self) -> Way {
        Way(self.number(15..19) as u32)
    }

    fn number(&self, place: std::ops::Range<usize>) -> u64 {
        self.0.get(place).and_then(decode).unwrap_or_default()
    }

    fn with_cookie(mut self) -> Self {
        self.0.iter_mut().zip(COOKIE).for_each(|(byte, cookie)| *byte = *cookie);
        self
    }

    /// The same with the hash that belongs to the request that came.
    fn hashed(mut self, printer: &Printer, came: &Came<'_>) -> Self {
        let (front, hash) = self.0.split_at_mut(Self::FRONT);
        let (call, number) = (came.call.to_bytes(), came.cseq.to_be_bytes());
        let common = [AsItIs(front), AsItIs(&call), AsItIs(&number)];
        let print = match came.via.unique_branch() {
            Some(branch) => printer.print_each(FORWARDED, common.into_iter().chain([InAnyCase(branch)])),
            None => {
                let branch = InAnyCase(came.via.branch().unwrap_or_default());
                let sent_by = [InAnyCase(came.via.host.as_bytes()), Number(came.via.port.unwrap_or(0))];
                printer.print_each(OF_OLD_PEER, common.into_iter().chain([branch]).chain(sent_by))
            }
        };
        encode(print.short(), hash);
        self
    }
}

impl std::fmt::Debug for ForwardedBranch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

/// The bit beside the proxy's number that says that it has sent the request.
const OF_SERVER: u64 = 1 << 16;

/// The number of an attempt stands above that bit.
const ATTEMPT: u64 = OF_SERVER << 1;

/// Most attempts at the receiver of a request.
pub const MOST_ATTEMPTS: u8 = 8;

/// The first characters of every RFC 3261 branch.
pub(super) const COOKIE: &[u8; 7] = b"z9hG4bK";

/// The parts of a request, as it came, by which its branch is made.
#[derive(Clone, Copy)]
pub struct Came<'a> {
    /// The topmost Via.
    pub via: Via<'a>,
    /// The name of the call: [`Names::call`](super::name::sip::Names::call).
    pub call: Fingerprint,
    /// The CSeq number.
    pub cseq: u32,
}

/// A hash of request-URI and Route: a request that comes again by the same way has looped, one that comes by another
/// spirals (RFC 3261 §16.6 step 8). Whoever could make two ways look alike would have only their own request refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way(u32);

/// A keyed hash of a branch and of the way that its responses go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow(u64);

impl Flow {
    /// The length of its text.
    pub const LEN: usize = 13;

    /// The text.
    pub fn text(self) -> [u8; Flow::LEN] {
        let mut text = [0; Flow::LEN];
        encode(self.0, &mut text);
        text
    }

    fn read(text: &[u8]) -> Option<Self> {
        decode(text).filter(|_| text.len() == Flow::LEN).map(Flow)
    }

    fn of(printer: &Printer, branch: &ForwardedBranch, to: Hop, epoch: u64) -> Self {
        Flow(printer.print_each(FLOW, [AsItIs(&branch.0), AsItIs(&hop_text(to, epoch))]).short())
    }
}

/// Writes the number of a connection as it stands in front of a flow.
pub fn connection_text(conn: ConnId) -> [u8; CONNECTION] {
    let mut text = [0; CONNECTION];
    encode(conn.0, &mut text);
    text
}

/// Makes branches, and knows its own again.
#[derive(Clone, Debug)]
pub struct Branches {
    current: Printer,
    previous: Option<Printer>,
    epoch: u64,
}

/// Via values that are looked at for a loop: more than any request has that is not made to cost time.
const MOST_VIAS: usize = 100;

impl Branches {
    /// Branches are made with the `current` key, and known again by either.
    pub fn new(current: &TokenKey, previous: Option<&TokenKey>) -> Self {
        Branches { current: Printer::new(current), previous: previous.map(Printer::new), epoch: 0 }
    }

    /// Connections are those of this epoch: numbers of an earlier one are of other connections.
    pub const fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// The way of a request.
    pub fn way(&self, request: &Message<'_>) -> Way {
        let texts = [request.request_uri()].into_iter().chain(request.headers(Name::Route));
        Way(self.current.quick(texts) as u32 & 0xf_ffff)
    }

    /// The branch of a request that leaves for a proxy, or that one sends to a caller.
    pub fn give(
        &self,
        came: &Came<'_>,
        way: Way,
        at: (ListenerId, usize),
        (proxy, side): (ProxyId, Side),
    ) -> ForwardedBranch {
        let mut branch = ForwardedBranch([0; ForwardedBranch::LEN]).with_cookie();
        let (listener, lane) = (u64::from(at.0.0), at.1 as u64);
        let proxy = u64::from(proxy.0) | if side == Side::Server { OF_SERVER } else { 0 };
        let numbers = [(listener, 7..9), (lane, 9..11), (proxy, 11..15), (u64::from(way.0), 15..19)];
        for (number, place) in numbers {
            encode(number, branch.0.get_mut(place).unwrap_or_default());
        }
        branch.hashed(&self.current, came)
    }

    /// The branch of a further attempt at the receiver of a request, whose first one has this branch.
    pub fn give_anew(&self, came: &Came<'_>, mut first: ForwardedBranch, attempt: u8) -> ForwardedBranch {
        let number = first.number(11..15) % ATTEMPT + u64::from(attempt % MOST_ATTEMPTS) * ATTEMPT;
        encode(number, first.0.get_mut(11..15).unwrap_or_default());
        first.hashed(&self.current, came)
    }

    /// Whether the request with this branch in our Via, and with the Via below it, is one of ours that the response
    /// answers. It is not so for responses that anyone else has thought of: sent on, they would make us a reflector.
    pub fn is_answered_by(&self, response: &Message<'_>, branch: &ForwardedBranch, below: &Via<'_>) -> bool {
        self.made(*branch, *below, &mut Call::of(response))
    }

    /// The flow of a request that leaves with this branch, and whose responses go this way.
    pub fn flow(&self, branch: &ForwardedBranch, to: Hop) -> Flow {
        Flow::of(&self.current, branch, to, self.epoch)
    }

    /// The way of a response with this flow in our Via, and this address in the Via below. `None` if that is not the
    /// way that its request came.
    pub fn way_back(&self, flow: &[u8], branch: &ForwardedBranch, address: Option<SocketAddr>) -> Option<Hop> {
        let (conn, flow) = flow.split_at_checked(flow.len().checked_sub(Flow::LEN)?)?;
        let to = match conn {
            [] => Hop::Address(address?),
            conn => Hop::Connection(ConnId(decode(conn).filter(|_| conn.len() == CONNECTION)?)),
        };
        let flow = Flow::read(flow)?;
        let mut printers = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        printers.any(|printer| Flow::of(printer, branch, to, self.epoch) == flow).then_some(to)
    }

    /// Whether the request with this topmost Via has come here before and left for the same `way` (RFC 3261 §16.3 item
    /// 4).
    pub fn is_loop(&self, request: &Message<'_>, top: &Via<'_>, way: Way) -> bool {
        let of_this_way = |via: Via<'_>| ForwardedBranch::read(via.branch()?).filter(|branch| branch.way() == way);
        let mut call = Call::of(request);
        let mut upper = of_this_way(*top);
        for value in request.values_below(Name::Via, top.raw).take(MOST_VIAS - 1) {
            let via = Via::parse(value);
            if let (Some(branch), Some(below)) = (upper, via)
                && self.made(branch, below, &mut call)
            {
                return true;
            }
            upper = via.and_then(of_this_way);
        }
        false
    }

    /// Whether the branch was made here, for a request that came with the Via below it.
    fn made(&self, branch: ForwardedBranch, below: Via<'_>, call: &mut Call<'_>) -> bool {
        let printers =
            [Some((&self.current, &mut call.by_current)), self.previous.as_ref().zip(Some(&mut call.by_previous))];
        let (message, cseq) = (call.message, call.cseq);
        printers.into_iter().flatten().any(|(printer, known)| {
            let call = *known.get_or_insert_with(|| call_of(message, printer));
            branch.hashed(printer, &Came { via: below, call, cseq }) == branch
        })
    }
}

/// The call of a message, hashed at most once by each key however many Vias are looked at.
struct Call<'a> {
    message: &'a Message<'a>,
    cseq: u32,
    by_current: Option<Fingerprint>,
    by_previous: Option<Fingerprint>,
}

impl<'a> Call<'a> {
    fn of(message: &'a Message<'a>) -> Self {
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        Call { message, cseq, by_current: None, by_previous: None }
    }
}

#[cfg(test)]
mod tests;
