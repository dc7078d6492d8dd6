//! Why bytes are no message that can be worked with.

use super::Message;
use crate::wire::framing::StreamFault;

/// A fault of a message, or the reason why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No byte at all.
    Empty,
    /// Line ends only, or one to four bytes of anything (RFC 5626 §3.5.1 and older habits).
    Keepalive,
    /// A STUN message (RFC 5389 §6), which is a keepalive as well (RFC 5626 §3.5.2).
    Stun,
    /// Not SIP.
    NotSip,
    /// Larger than a message may be.
    TooLarge,
    /// A version other than SIP/2.0.
    Version,
    /// A request line that is not `Method SP Request-URI SP SIP-Version`, or a status line with a status outside
    /// 100–699.
    StartLine,
    /// A line of the header section that is no header field.
    HeaderLine,
    /// More header fields than are read.
    TooManyHeaders,
    /// The bytes end before the header section does.
    Truncated,
    /// Content-Length is no number, stands there with two different values, or exceeds the bytes there are.
    ContentLength,
    /// CSeq is not a number below 2^32 and a method.
    CSeq,
    /// CSeq names a method other than the request's.
    CSeqMethod,
    /// CSeq names another method than the request's, and the request's is not known (RFC 4475 §3.1.2.18).
    CSeqMethodUnknown,
    /// To, From, CSeq, Call-ID or Max-Forwards stands there twice.
    Repeated,
    /// No Via, To, From, CSeq or Call-ID.
    Missing,
    /// The topmost Via is not well-formed.
    Via,
    /// A Via below the topmost is not well-formed.
    ViaBelow,
    /// A request-URI that cannot be read.
    RequestUri,
    /// A request-URI of a scheme other than sip, sips and tel.
    UriScheme,
    /// From or To cannot be read.
    FromTo,
    /// Contact cannot be read.
    Contact,
    /// Max-Forwards is not a number from 0 to 255.
    MaxForwards,
    /// Route holds no SIP URI, in a request that follows it.
    Route,
}

impl From<StreamFault> for Fault {
    fn from(fault: StreamFault) -> Self {
        match fault {
            StreamFault::MessageTooLarge => Fault::TooLarge,
            StreamFault::HeadTooLarge => Fault::TooManyHeaders,
            StreamFault::NoContentLength | StreamFault::ContentLength => Fault::ContentLength,
            StreamFault::NotSip => Fault::NotSip,
        }
    }
}

impl Fault {
    /// Every fault, for counters.
    pub const ALL: [Fault; 24] = [
        Fault::Empty,
        Fault::Keepalive,
        Fault::Stun,
        Fault::NotSip,
        Fault::TooLarge,
        Fault::Version,
        Fault::StartLine,
        Fault::HeaderLine,
        Fault::TooManyHeaders,
        Fault::Truncated,
        Fault::ContentLength,
        Fault::CSeq,
        Fault::CSeqMethod,
        Fault::CSeqMethodUnknown,
        Fault::Repeated,
        Fault::Missing,
        Fault::Via,
        Fault::ViaBelow,
        Fault::RequestUri,
        Fault::UriScheme,
        Fault::FromTo,
        Fault::Contact,
        Fault::MaxForwards,
        Fault::Route,
    ];

    /// The status of the response that says so to the sender of a request; `None` where no answer is due.
    pub const fn status(self) -> Option<u16> {
        match self {
            Fault::Empty | Fault::Keepalive | Fault::Stun | Fault::NotSip => None,
            Fault::TooLarge | Fault::TooManyHeaders => Some(513),
            Fault::Version => Some(505),
            Fault::CSeqMethodUnknown => Some(501),
            Fault::UriScheme => Some(416),
            _ => Some(400),
        }
    }

    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            Fault::Empty => "empty",
            Fault::Keepalive => "keepalive",
            Fault::Stun => "stun",
            Fault::NotSip => "not-sip",
            Fault::TooLarge => "too-large",
            Fault::Version => "version",
            Fault::StartLine => "start-line",
            Fault::HeaderLine => "header-line",
            Fault::TooManyHeaders => "too-many-headers",
            Fault::Truncated => "truncated",
            Fault::ContentLength => "content-length",
            Fault::CSeq => "cseq",
            Fault::CSeqMethod => "cseq-method",
            Fault::CSeqMethodUnknown => "cseq-method-unknown",
            Fault::Repeated => "repeated",
            Fault::Missing => "missing",
            Fault::Via => "via",
            Fault::ViaBelow => "via-below",
            Fault::RequestUri => "request-uri",
            Fault::UriScheme => "uri-scheme",
            Fault::FromTo => "from-to",
            Fault::Contact => "contact",
            Fault::MaxForwards => "max-forwards",
            Fault::Route => "route",
        }
    }
}

impl Fault {
    /// Describes the fault in the words of a reason phrase (RFC 3261 §21.4.1): no part of it comes from the message.
    pub const fn phrase(self) -> &'static str {
        match self {
            Fault::Empty => "Empty Message",
            Fault::Keepalive => "Keepalive",
            Fault::Stun => "STUN Message",
            Fault::NotSip => "Not SIP",
            Fault::TooLarge => "Message Too Large",
            Fault::Version => "Version Not Supported",
            Fault::StartLine => "Malformed Start Line",
            Fault::HeaderLine => "Malformed Header Line",
            Fault::TooManyHeaders => "Too Many Header Fields",
            Fault::Truncated => "Header Section Without End",
            Fault::ContentLength => "Wrong Content-Length",
            Fault::CSeq => "Malformed CSeq",
            Fault::CSeqMethod => "CSeq Names Another Method",
            Fault::CSeqMethodUnknown => "CSeq Names An Unknown Method",
            Fault::Repeated => "Repeated To, From, CSeq, Call-ID or Max-Forwards",
            Fault::Missing => "Missing Via, To, From, CSeq or Call-ID",
            Fault::Via => "Malformed Via",
            Fault::ViaBelow => "Malformed Via Below The Topmost",
            Fault::RequestUri => "Malformed Request-URI",
            Fault::UriScheme => "Unsupported URI Scheme",
            Fault::FromTo => "Malformed From or To",
            Fault::Contact => "Malformed Contact",
            Fault::MaxForwards => "Max-Forwards Not From 0 To 255",
            Fault::Route => "Malformed Route",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// Bytes that are no message to work with.
#[derive(Clone, Copy, Debug)]
pub struct Unparsable<'a> {
    /// The fault.
    pub fault: Fault,
    /// The message as far as it was read, when the fault can be answered: a request other than ACK with a Via that
    /// names a host, From, To, Call-ID and CSeq. Its other parts may be missing or wrong.
    pub message: Option<Message<'a>>,
    /// The message as far as it was read, also when the fault cannot be answered; `None` for bytes that are not SIP.
    /// Only for logs and counters of dropped messages.
    pub seen: Option<Message<'a>>,
}
