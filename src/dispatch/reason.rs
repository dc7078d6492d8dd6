//! Every reason for a decision: one for each rule. Log, metric, `explain` and tests all show this one value.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal;)*) => {
        /// Why a message goes where it goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Reason {
            /// Number of reasons.
            pub const COUNT: usize = [$($label),*].len();

            /// Every reason, in order.
            pub const fn all() -> &'static [Reason] {
                &[$(Reason::$variant),*]
            }

            /// Its stable name in logs, counters and `explain`.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Reason::$variant => $label,)*
                }
            }
        }
    };
}

reasons! {
    /// A keepalive on a stream: answered by a CRLF (RFC 5626 §3.5.1).
    KeepaliveStream = "keepalive-stream";
    /// A keepalive in a datagram: silence.
    KeepaliveDatagram = "keepalive-datagram";
    /// A STUN message: silence; the dispatcher is no STUN server.
    Stun = "stun";
    /// Bytes that cannot be read, or a response, an ACK or a request without the fields that an answer needs: dropped.
    Unparsable = "unparsable";
    /// A request with a fault: answered by the fault's status (400, 505, 513, …; MGCP: 510, 528).
    Malformed = "malformed";
    /// A request whose URI has a scheme that the dispatcher does not know: 416 (RFC 3261 §8.2.2.1).
    UnknownScheme = "unknown-scheme";
    /// A method that is not known: 501 (RFC 3261 §21.5.2); a verb: 504 (RFC 3435 §2.4).
    UnknownMethod = "unknown-method";
    /// A method that the rules refuse outside a dialog: 405 (RFC 3261 §8.2.1); a command that only gateways send: 504.
    MethodRefused = "method-refused";
    /// A datagram smaller than any request of RFC 3261, whose answer would be several times as large: dropped.
    TooSmall = "too-small";
    /// The access rules deny its source: dropped.
    Denied = "denied";
    /// Its source has begun too much and is banned for a time: dropped.
    Banned = "banned";
    /// Its source has begun as much as the access rules allow: 503 (MGCP: 409), and dropped once the source has been
    /// told so as often. Or it has sent more responses than it can have been asked for: dropped.
    OverRate = "over-rate";
    /// It had waited in the kernel for longer than its sender waits for an answer (64·T1).
    TooOld = "too-old";
    /// Token in the To-tag.
    ToTag = "to-tag";
    /// Token in the request-URI.
    RequestUri = "request-uri";
    /// The request-URI names a worker's own address.
    WorkerAddress = "worker-address";
    /// Token in the topmost Route.
    Route = "route";
    /// Token in the to-tag of Replaces (RFC 3891) or Join (RFC 3911).
    Replaces = "replaces";
    /// Token in the tag of Target-Dialog (RFC 4538).
    TargetDialog = "target-dialog";
    /// Token in a digest nonce.
    Nonce = "nonce";
    /// Token in SIP-If-Match (RFC 3903).
    Etag = "etag";
    /// Token in the extension header.
    Extension = "extension";
    /// Token in the branch of our own Via: a response.
    Branch = "branch";
    /// Token in the local name of an endpoint.
    Endpoint = "endpoint";
    /// The domain of an endpoint's name is a worker's: its label, its address or its port.
    EndpointDomain = "endpoint-domain";
    /// Token in the name of the second endpoint.
    SecondEndpoint = "second-endpoint";
    /// Token in a connection id.
    ConnectionId = "connection-id";
    /// A response to a command of the worker that has these transaction ids.
    TransactionRange = "transaction-range";
    /// "All of" the endpoints: every worker.
    Everyone = "everyone";
    /// The answers of all workers are still being gathered: 100.
    Gathering = "gathering";
    /// There are more workers for "all of" the endpoints than can be gathered, or such commands come too fast: 503.
    TooManyGatherings = "too-many-gatherings";
    /// An endpoint that no worker has: 500.
    UnknownEndpoint = "unknown-endpoint";
    /// More messages in one datagram, or more datagrams with several messages, than can wait for each other: 409.
    TooManyParts = "too-many-parts";
    /// An acknowledgement of a transaction that this lane does not know: the other lanes are asked.
    AckElsewhere = "ack-elsewhere";
    /// The table is full of transactions that wait for an answer: 409.
    TableFull = "table-full";
    /// The table knows the transaction: a retransmission.
    Retransmission = "retransmission";
    /// The table knows the INVITE that a CANCEL is for.
    Cancel = "cancel";
    /// The table knows the INVITE that an ACK is for, or the transaction that a 000 is for.
    Ack = "ack";
    /// The table knows the call of a request inside a dialog.
    InDialog = "in-dialog";
    /// The table knows the call: the request again, with credentials or otherwise corrected.
    Again = "again";
    /// The table knows the call: a merged copy (RFC 3261 §8.2.2.2).
    Merged = "merged";
    /// The dispatcher has answered this before: it gives the same answer.
    AnsweredBefore = "answered-before";
    /// A CANCEL for a request that the dispatcher has answered: 200, without effect (RFC 3261 §9.2).
    CancelTooLate = "cancel-too-late";
    /// A worker has the conference, or the call of MGCP.
    Group = "group";
    /// The link of the only worker that may have it takes no more: 486 (MGCP: 409).
    HolderBusy = "holder-busy";
    /// Selected.
    Selected = "selected";
    /// Selected, and the worker has the conference from now on.
    SelectedGroup = "selected-group";
    /// Selected anew: the worker that had it died.
    SelectedAnew = "selected-anew";
    /// Placed by hash and not recorded: the table is full of requests that wait for an answer.
    Unrecorded = "unrecorded";
    /// The message belongs to a request that was placed by hash and not recorded.
    FollowsUnrecorded = "follows-unrecorded";
    /// The room that is left is for sources that wait for less than their fair share, which this one does not: 503
    /// (MGCP: 409).
    OverShare = "over-share";
    /// No worker is up: 503 (MGCP: 410).
    NoWorker = "no-worker";
    /// Every worker that is up drains: 503 (MGCP: 410).
    AllDraining = "all-draining";
    /// No worker has room even for size 1: 503 (MGCP: 410).
    Full = "full";
    /// No worker has room for this size now: 486 (MGCP: 403).
    NoRoomForSize = "no-room-for-size";
    /// Larger than any worker's total: 480 (MGCP: 502).
    LargerThanAnyWorker = "larger-than-any-worker";
    /// Forwarded to a downstream proxy that was chosen for it.
    Proxied = "proxied";
    /// Its proxy, or the address of a name that it has gone to, has not answered in time: it goes to another one, or to
    /// a worker.
    MovedSilent = "moved-silent";
    /// Its proxy, or the address of a name that it has gone to, has refused it with a status that is tried elsewhere:
    /// it goes to another one, or to a worker.
    MovedStatus = "moved-status";
    /// A CANCEL or ACK whose INVITE is not known, or not known any more: forwarded to all members of its pool that may
    /// have it, or to the one that a hash of the call names (RFC 3261 §16.10).
    Forgotten = "forgotten";
    /// Our Record-Route leads a request inside a dialog to the other side.
    RecordRouted = "record-routed";
    /// The identifier in it leads it to a downstream proxy.
    Identified = "identified";
    /// A request of a system that no flow token leads: it goes to the next Route.
    OutboundRoute = "outbound-route";
    /// A request of a system that no flow token leads: it goes to its request-URI.
    OutboundUri = "outbound-uri";
    /// The name that a request of a system goes to has been looked up: it goes to one of its addresses.
    OutboundLookedUp = "outbound-looked-up";
    /// A connection to the place that a request of a system goes to is open: it goes there.
    OutboundConnected = "outbound-connected";
    /// The connection that a request of a system has gone by is gone: it goes by another one to the same place, or to
    /// the Contact of its receiver.
    OutboundContact = "outbound-contact";
    /// A request of a system that names a place where none may be sent: 403.
    OutboundRefused = "outbound-refused";
    /// A request of a system that names a place to which there is no way: 480.
    OutboundUnreachable = "outbound-unreachable";
    /// The connection that a request goes by is gone: it gets 430 where that is a caller's (RFC 5626 §5.3.1), else 503;
    /// an ACK is dropped.
    FlowFailed = "flow-failed";
    /// Its proxy was found down before it has answered, or it cannot be sent to an address of a name: it goes to
    /// another one, or to a worker.
    MovedError = "moved-error";
    /// It stays at its proxy: no other one is quick enough to be better.
    NotBetter = "not-better";
    /// It stays at its proxy: all that may have it have had it.
    AllTried = "all-tried";
    /// No proxy that has had it has answered it in time: 408 (RFC 3261 §16.8).
    Unanswered = "unanswered";
    /// Answered 302 with the addresses of downstream proxies.
    Redirected = "redirected";
    /// No downstream proxy takes new requests: 503.
    NoProxy = "no-proxy";
    /// Its server wants only a part of the requests (RFC 7339), and no other one is there for this one: 503 without
    /// Retry-After, or it stays at its proxy.
    Overloaded = "overloaded";
    /// A request that the dispatcher has forwarded before, as it came: 482 (RFC 3261 §16.3).
    Loop = "loop";
    /// A request whose Max-Forwards is 0: 483 (RFC 3261 §16.3).
    TooManyHops = "too-many-hops";
    /// A request that requires an extension of proxies: 420 (RFC 3261 §16.3).
    BadExtension = "bad-extension";
    /// A request for a `sips:` URI, which must not travel on without TLS: 480 (RFC 5630 §5.3).
    SipsNotAllowed = "sips-not-allowed";
    /// A response to a request that the dispatcher has not forwarded: dropped.
    ResponseForged = "response-forged";
    /// A response of a proxy that the request has left, or after another final one: a 2xx of an INVITE goes to the
    /// caller all the same, others are dropped.
    LateResponse = "late-response";
    /// The branch of a probe that has gone to its source: a response, which the prober gets.
    ProbeAnswer = "probe-answer";
    /// The prober can take no more responses just now: dropped.
    ProberBusy = "prober-busy";
    /// Refused by one worker: offered to the next one.
    Refused = "refused";
    /// Its worker died: offered to the next one.
    Died = "died";
    /// Refused by every worker to which it may be offered: 486 or 503 (MGCP: 403 or 410).
    RefusedByAll = "refused-by-all";
    /// Refused by the only worker that may have it: 486, MGCP 403 (a second conference of the same name would be
    /// worse).
    RefusedByHolder = "refused-by-holder";
    /// Two workers have died with it: 500 (MGCP: 400).
    Poison = "poison";
    /// Refused or orphaned after its CANCEL was seen: 487.
    Cancelled = "cancelled";
    /// A CANCEL whose INVITE has no worker any more: 200, and 487 for the INVITE.
    CancelAnswered = "cancel-answered";
    /// It came back, but its transaction has moved on already: dropped.
    MovedAlready = "moved-already";
    /// It came back and belongs to a call that is gone with its worker: 481 (MGCP: 500 or 515); an ACK or a response is
    /// dropped.
    OrphanInDialog = "orphan-in-dialog";
    /// Refused by the worker that has its dialog: 500 (RFC 3261 §21.5.1). Refused by the worker that has its endpoint:
    /// 400.
    RefusedInDialog = "refused-in-dialog";
    /// OPTIONS to the dispatcher itself: 200.
    Options = "options";
    /// OPTIONS to the dispatcher itself while no worker takes new work: 503.
    OptionsUnavailable = "options-unavailable";
    /// REGISTER, which the rules have accepted without a registrar: 200.
    Registered = "registered";
    /// ACK to an answer of the dispatcher's own: absorbed.
    OwnAck = "own-ack";
    /// A request inside a dialog that no worker has: 481.
    UnknownDialog = "unknown-dialog";
    /// A CANCEL for a request that no worker has: 481.
    UnknownCancel = "unknown-cancel";
    /// An ACK or a 000 for no known transaction: dropped, never answered.
    UnknownAck = "unknown-ack";
    /// The lane that it belongs to can take no more just now: dropped, and its sender sends it again.
    LaneFull = "lane-full";
    /// A response to no known request: dropped.
    UnknownResponse = "unknown-response";
    /// It belongs to a call of a worker that is gone: 481 (MGCP: 500 or 515); an ACK or a response is dropped.
    WorkerGone = "worker-gone";
    /// Its Replaces or Join names a dialog of a worker that is gone: 481.
    ReplacesGone = "replaces-gone";
    /// It follows a call, and the link of its worker takes nothing more: dropped, and its sender sends it again.
    LinkFull = "link-full";
}

impl Reason {
    /// Whether a request under way stays with its proxy by it.
    pub const fn stays(self) -> bool {
        matches!(self, Reason::NotBetter | Reason::AllTried | Reason::NoProxy | Reason::Overloaded)
    }

    /// Whether a request under way leaves its proxy by it.
    pub const fn is_of_move(self) -> bool {
        matches!(self, Reason::MovedSilent | Reason::MovedStatus | Reason::MovedError)
    }

    /// Its place in [`Reason::all`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason at a place; `None` after the last one.
    pub fn at(index: usize) -> Option<Reason> {
        Reason::all().get(index).copied()
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_one_name_and_one_place_each() {
        let mut labels: Vec<_> = Reason::all().iter().map(|reason| reason.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Reason::COUNT);
        assert!(Reason::all().iter().enumerate().all(|(place, reason)| reason.index() == place));
        assert_eq!(Reason::at(Reason::COUNT), None);
    }
}
