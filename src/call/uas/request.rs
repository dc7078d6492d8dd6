//! A request with the fields that every rule needs, and its fingerprints.

use std::net::IpAddr;

use crate::call::exchange::Arrival;
use crate::fingerprint::Text::{AsItIs, InAnyCase};
use crate::fingerprint::{Fingerprint, Printer, Source};
use crate::time::Time;
use crate::transaction::name::sip::Fields;
use crate::wire::sip::{CSeq, Message, Method, Name, Via};
use crate::words::OpenTransaction;

/// A request with all fields that RFC 3261 §8.1.1 makes mandatory.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub(super) msg: &'a Message<'a>,
    pub(super) method: Method<'a>,
    pub(super) via: Via<'a>,
    pub(super) call_id: &'a [u8],
    pub(super) from_tag: &'a [u8],
    pub(super) to_tag: Option<&'a [u8]>,
    pub(super) cseq: CSeq<'a>,
}

impl<'a> Request<'a> {
    /// Reads a request; `None` when a mandatory header is missing or unreadable, or CSeq names another method.
    pub fn read(msg: &'a Message<'a>) -> Option<Self> {
        let method = msg.method()?;
        let cseq = msg.cseq().filter(|cseq| cseq.method == method)?;
        Some(Request {
            msg,
            method,
            via: msg.via()?,
            call_id: Some(msg.call_id()).filter(|id| !id.is_empty())?,
            // A peer of RFC 2543 has no tag (RFC 3261 §12.1.1 provides for it).
            from_tag: msg.from()?.tag().unwrap_or_default(),
            to_tag: msg.to()?.tag(),
            cseq,
        })
    }

    /// As [`Fields::opened`].
    pub fn opened(&self, printer: &Printer) -> Option<OpenTransaction> {
        self.named_by().opened(self.method, self.to_tag, printer)
    }

    /// The name of the transaction that a CANCEL is for: both have the same branch (RFC 3261 §9.1).
    pub fn cancelled(&self, printer: &Printer) -> Option<[u8; 16]> {
        (self.method == Method::Cancel).then(|| self.named_by().transaction(printer).to_bytes())
    }

    /// The fields that name its transaction.
    fn named_by(&self) -> Fields<'_> {
        let Request { msg, via, call_id, from_tag, cseq, .. } = self;
        Fields { message: msg, via: Some(via), call_id, from_tag, cseq: cseq.number }
    }

    /// Whether a comma-separated header lists `option`.
    pub(super) fn lists(&self, name: Name, option: &[u8]) -> bool {
        self.msg.values(name).any(|value| value.eq_ignore_ascii_case(option))
    }
}

/// A request that has come, with its circumstances: every rule asks about them together.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) request: &'a Request<'a>,
    /// [`Fingerprints::transaction`].
    pub(super) name: Fingerprint,
    /// [`Fingerprints::merged`], for requests outside a dialog.
    pub(super) merged: Option<Fingerprint>,
    pub(super) arrival: &'a Arrival,
    pub(super) now: Time,
}

impl<'a> Case<'a> {
    pub(super) fn new(request: &'a Request<'a>, prints: &Fingerprints, arrival: &'a Arrival, now: Time) -> Self {
        let merged = request.to_tag.is_none().then(|| prints.merged(request));
        Case { request, name: prints.transaction(request), merged, arrival, now }
    }
}

/// Makes fingerprints. They are keyed, because peers choose the content.
#[derive(Clone, Debug)]
pub(super) struct Fingerprints(Printer);

/// Purposes of fingerprints beside those of [`crate::transaction::name`].
const MERGED: u8 = b'd';
const CONFERENCE: u8 = b'k';

impl Fingerprints {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Fingerprints(Printer::seeded(key))
    }

    /// The name of the server transaction.
    pub(super) fn transaction(&self, request: &Request<'_>) -> Fingerprint {
        request.named_by().server(request.method, request.to_tag, &self.0)
    }

    /// The name of the INVITE transaction that a CANCEL means, or that a request follows.
    pub(super) fn invite(&self, request: &Request<'_>) -> Fingerprint {
        request.named_by().server(Method::Invite, None, &self.0)
    }

    /// The name of the server transaction that a response of ours answers.
    pub(super) fn answered(&self, response: &Message<'_>) -> Option<Fingerprint> {
        let via = response.via()?;
        let cseq = response.cseq()?;
        let from = response.from()?;
        let from_tag = from.tag().unwrap_or_default();
        let call_id = response.call_id();
        let fields = Fields { message: response, via: Some(&via), call_id, from_tag, cseq: cseq.number };
        Some(fields.server(cseq.method, response.to().and_then(|to| to.tag()), &self.0))
    }

    /// The fingerprint that the INVITE of a CANCEL shares with its copies.
    pub(super) fn merged_invite(&self, cancel: &Request<'_>) -> Fingerprint {
        self.merged(&Request { method: Method::Invite, ..*cancel })
    }

    /// The fingerprint that two copies of one request share when they reached us on different ways (RFC 3261 §8.2.2.2).
    pub(super) fn merged(&self, request: &Request<'_>) -> Fingerprint {
        let number = request.cseq.number.to_be_bytes();
        let (method, call_id) = (AsItIs(request.method.as_bytes()), AsItIs(request.call_id));
        self.0.print_each(MERGED, [method, call_id, InAnyCase(request.from_tag), AsItIs(&number)])
    }

    /// The conference that an INVITE without To-tag is for.
    pub(super) fn conference(&self, request: &Request<'_>) -> Option<Fingerprint> {
        let begins = request.method == Method::Invite && request.to_tag.is_none();
        let name = begins.then(|| request.msg.uri()?.conference()).flatten()?;
        Some(self.0.print_each(CONFERENCE, [InAnyCase(name)]))
    }

    /// The source that an address belongs to: itself, or the /64 of an IPv6 address.
    pub(super) fn source(&self, address: IpAddr) -> Source {
        self.0.source(address)
    }

    /// A number that cannot be predicted from outside.
    pub(super) fn number(&self, purpose: u8, count: u64) -> u64 {
        self.0.print(purpose, &[&count.to_be_bytes()]).short()
    }
}

/// The rest of a tag or branch that begins with `prefix`, in either case (RFC 3261 §7.3.1).
pub(super) fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}
