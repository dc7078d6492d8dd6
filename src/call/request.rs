//! A request with the fields that every rule needs, and its fingerprints.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::wire::sip::{CSeq, Message, Method, Name, Via};
use crate::wire::{write_lowered, write_words};

/// A request with all fields that RFC 3261 §8.1.1 makes mandatory.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
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
    pub(super) fn read(msg: &'a Message<'a>) -> Option<Self> {
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

    /// Whether a comma-separated header lists `option`.
    pub(super) fn lists(&self, name: Name, option: &[u8]) -> bool {
        self.msg.values(name).any(|value| value.eq_ignore_ascii_case(option))
    }
}

/// Makes fingerprints. They are keyed, because peers choose the content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fingerprints {
    key: [u64; 2],
}

impl Fingerprints {
    pub(super) const fn new(key: [u64; 2]) -> Self {
        Fingerprints { key }
    }

    /// The fingerprint of the server transaction (RFC 3261 §17.2.3): branch, sent-by and method, ACK counting as
    /// INVITE.
    pub(super) fn transaction(&self, request: &Request<'_>) -> u128 {
        let method = match request.method {
            Method::Ack => Method::Invite,
            method => method,
        };
        self.of_method(request, method)
    }

    /// The fingerprint of the INVITE transaction that a CANCEL means, or that a request follows.
    pub(super) fn invite(&self, request: &Request<'_>) -> u128 {
        self.of_method(request, Method::Invite)
    }

    fn of_method(&self, request: &Request<'_>, method: Method<'_>) -> u128 {
        let mut hasher = self.hasher(b't');
        put(&mut hasher, method.as_bytes());
        match request.via.unique_branch() {
            Some(branch) => {
                put_lowered(&mut hasher, branch);
                put_lowered(&mut hasher, request.via.host.as_bytes());
                hasher.write_u64(u64::from(request.via.port.unwrap_or(0)));
            }
            // RFC 2543 peers have no branch: the fields of §17.2.3's second list count. The To-tag is left out because
            // it differs in the ACK.
            None => {
                put(&mut hasher, request.call_id);
                put_lowered(&mut hasher, request.from_tag);
                hasher.write_u64(u64::from(request.cseq.number));
                put(&mut hasher, request.via.raw);
            }
        }
        hasher.finish128().as_u128()
    }

    /// The fingerprint that two copies of one request share when they reached us on different ways (RFC 3261 §8.2.2.2).
    pub(super) fn merged(&self, request: &Request<'_>) -> u128 {
        let mut hasher = self.hasher(b'm');
        put(&mut hasher, request.method.as_bytes());
        put(&mut hasher, request.call_id);
        put_lowered(&mut hasher, request.from_tag);
        hasher.write_u64(u64::from(request.cseq.number));
        hasher.finish128().as_u128()
    }

    /// The conference that an INVITE without To-tag is for.
    pub(super) fn conference(&self, request: &Request<'_>) -> Option<u128> {
        let begins = request.method == Method::Invite && request.to_tag.is_none();
        let name = begins.then(|| request.msg.uri()?.conference()).flatten()?;
        let mut hasher = self.hasher(b'k');
        put_lowered(&mut hasher, name);
        Some(hasher.finish128().as_u128())
    }

    /// The source that an address belongs to: itself, or the /64 of an IPv6 address.
    pub(super) fn source(&self, address: IpAddr) -> u64 {
        source(self.hasher(b's'), address)
    }

    /// A number that cannot be predicted from outside.
    pub(super) fn number(&self, purpose: u8, count: u64) -> u64 {
        let mut hasher = self.hasher(purpose);
        hasher.write_u64(count);
        hasher.finish128().h1
    }

    fn hasher(&self, purpose: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        hasher.write_u64(u64::from(purpose));
        hasher
    }
}

/// The hash of the source that an address belongs to: of the address itself, or of the /64 of an IPv6 address. Never 0.
pub(super) fn source(mut hasher: SipHasher13, address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()[..8]),
    }
    hasher.finish128().h1.max(1)
}

/// The rest of a tag or branch that begins with `prefix`, in either case (RFC 3261 §7.3.1).
pub(super) fn without_prefix<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// [`put`] for a text that is compared without regard to case: tags, branches and hosts (RFC 3261 §7.3.1).
fn put_lowered(hasher: &mut SipHasher13, text: &[u8]) {
    hasher.write_u64(text.len() as u64);
    write_lowered(hasher, text);
}

/// Hashes a text so that its end is part of it.
fn put(hasher: &mut SipHasher13, text: &[u8]) {
    hasher.write_u64(text.len() as u64);
    write_words(hasher, text);
}
