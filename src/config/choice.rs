//! The words that keys choose from.

use crate::words::word_list::words;

/// Kind of an MGCP endpoint: the first term of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// Announcements.
    Announcement,
    /// A conference.
    Conference,
    /// Interactive voice response.
    Ivr,
    /// A packet relay between two connections.
    Bridge,
}

words!(EndpointKind { Announcement = "ann", Conference = "cnf", Ivr = "ivr", Bridge = "bridge" });

/// Policy by which a worker is chosen for a new session, among those that are ready and have room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The worker with the lowest (used + ledger + this size) / capacity.
    #[default]
    LeastLoad,
    /// The workers one after the other.
    RoundRobin,
    /// The workers in proportion to their weights.
    Weighted,
    /// The same worker for the same Call-ID (rendezvous hashing).
    Hash,
    /// Fills one worker before the next, so that idle workers can be taken away.
    Pack,
}

words!(Policy {
    LeastLoad = "least-load",
    RoundRobin = "round-robin",
    Weighted = "weighted",
    Hash = "hash",
    Pack = "pack",
});

/// Information that the dispatcher writes into a message it hands over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insert {
    /// Nothing: the bytes as they came.
    #[default]
    None,
    /// An extension header with the chosen worker's port.
    Header,
    /// The chosen worker's port in the request-URI.
    RequestUri,
}

impl Insert {
    /// The extension header that [`Insert::Header`] writes; its value is the chosen worker's port.
    pub const HEADER: &str = "X-Worker-Port";
}

words!(Insert { None = "none", Header = "header", RequestUri = "request-uri" });

/// Treatment of a request outside a dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MethodRule {
    /// A worker is selected for it.
    Select,
    /// It is answered with 405 and Allow; INFO and NOTIFY, which belong into a dialog, with 481.
    #[default]
    Refuse,
    /// It is answered with 200 and nothing is kept: for telephones that call only after a REGISTER has gone well.
    Accept,
}

words!(MethodRule { Select = "select", Refuse = "refuse", Accept = "accept" });

/// Place in a session's first message that may state its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeSource {
    /// The header X-Session-Size.
    Header,
    /// The parameter `size` of the request-URI.
    RequestUri,
    /// `reservedtalkers` of an MSCML conference (RFC 5022).
    Mscml,
    /// An MSML conference reservation (RFC 5707).
    Msml,
    /// The media streams of the SDP offer.
    Sdp,
}

words!(SizeSource {
    Header = "header",
    RequestUri = "request-uri",
    Mscml = "mscml",
    Msml = "msml",
    Sdp = "sdp",
});

/// Action of a rule of `access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessAction {
    /// Everything may come.
    Allow,
    /// Nothing may come.
    Deny,
    /// New requests may come up to a rate.
    Limit,
}

words!(AccessAction { Allow = "allow", Deny = "deny", Limit = "limit" });

/// Certificates that TLS callers are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None.
    #[default]
    None,
    /// One that a caller shows is checked; a caller without one is served as well.
    Optional,
    /// Only callers with a valid one are served.
    Required,
}

words!(ClientCertificates { None = "none", Optional = "optional", Required = "required" });

/// Port that a SIP worker names in Contact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SipBypass {
    /// The worker's own: the rest of the call bypasses the dispatcher.
    #[default]
    Contact,
    /// The well-known one: the call is pinned.
    Pin,
}

words!(SipBypass { Contact = "contact", Pin = "pin" });
