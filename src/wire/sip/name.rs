//! The header fields that are known by name, with their compact forms.

use crate::wire::find::begin_alike;

macro_rules! names {
    ($($variant:ident = $text:literal $(, $compact:literal)?;)*) => {
        /// A header field's name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = $text] $variant,)*
            /// Any other name: see [`Message::extension`](super::Message::extension).
            Other,
        }

        /// By place in the enumeration; the last stands for any other name.
        static TEXTS: [&str; Name::KNOWN.len() + 1] = [$($text,)* ""];

        impl Name {
            /// Every known name.
            pub(crate) const KNOWN: &'static [Name] = &[$(Name::$variant),*];

            /// The name as RFCs write it.
            pub const fn as_str(self) -> &'static str {
                TEXTS[self as usize]
            }

            const fn of_compact(letter: u8) -> Name {
                match letter.to_ascii_lowercase() {
                    $($($compact => Name::$variant,)?)*
                    _ => Name::Other,
                }
            }
        }
    };
}

names! {
    Via = "Via", b'v';
    From = "From", b'f';
    To = "To", b't';
    CallId = "Call-ID", b'i';
    CSeq = "CSeq";
    MaxForwards = "Max-Forwards";
    Contact = "Contact", b'm';
    Route = "Route";
    RecordRoute = "Record-Route";
    ContentLength = "Content-Length", b'l';
    ContentType = "Content-Type", b'c';
    ContentEncoding = "Content-Encoding", b'e';
    ContentDisposition = "Content-Disposition";
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Supported = "Supported", b'k';
    Unsupported = "Unsupported";
    Allow = "Allow";
    Accept = "Accept";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    Authorization = "Authorization";
    ProxyAuthorization = "Proxy-Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthenticate = "Proxy-Authenticate";
    Replaces = "Replaces";
    Join = "Join";
    TargetDialog = "Target-Dialog";
    ReferTo = "Refer-To", b'r';
    ReferredBy = "Referred-By", b'b';
    Event = "Event", b'o';
    AllowEvents = "Allow-Events", b'u';
    SubscriptionState = "Subscription-State";
    SessionExpires = "Session-Expires", b'x';
    MinSe = "Min-SE";
    Expires = "Expires";
    MinExpires = "Min-Expires";
    Subject = "Subject", b's';
    SipIfMatch = "SIP-If-Match";
    SipEtag = "SIP-ETag";
    RAck = "RAck";
    RSeq = "RSeq";
    RecvInfo = "Recv-Info";
    InfoPackage = "Info-Package";
    UserAgent = "User-Agent";
    Server = "Server";
    RetryAfter = "Retry-After";
    Date = "Date";
    Timestamp = "Timestamp";
    Warning = "Warning";
    Reason = "Reason";
    Path = "Path";
    Privacy = "Privacy";
    PAssertedIdentity = "P-Asserted-Identity";
    Diversion = "Diversion";
    Identity = "Identity", b'y';
    IdentityInfo = "Identity-Info", b'n';
    RequestDisposition = "Request-Disposition", b'd';
    AcceptContact = "Accept-Contact", b'a';
    RejectContact = "Reject-Contact", b'j';
}

impl Name {
    /// The known name that `text` spells, in any case and in its long or compact form.
    #[inline]
    pub fn of(text: &[u8]) -> Name {
        match text {
            [] => Name::Other,
            [letter] => Name::of_compact(*letter),
            _ => {
                let name = BY_HASH[hash(text)];
                let known = name.as_str().as_bytes();
                // Nearly every sender writes names as the RFCs do.
                if text == known || text.eq_ignore_ascii_case(known) { name } else { Name::Other }
            }
        }
    }
}

impl Name {
    /// The known name that the first `len` bytes of a block spell as the RFCs do; at most 16.
    #[inline(always)]
    pub(super) fn of_block(block: [u8; 16], len: usize) -> Option<Name> {
        let name = BY_HASH[hash(block.get(..len)?)];
        let known = &BLOCKS[name as usize];
        (name.as_str().len() == len && begin_alike(block, *known, len)).then_some(name)
    }
}

/// The front of each name, by place in the enumeration.
static BLOCKS: [[u8; 16]; Name::KNOWN.len() + 1] = {
    let mut blocks = [[0; 16]; Name::KNOWN.len() + 1];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        let text = TEXTS[at].as_bytes();
        let mut place = 0;
        while place < text.len() && place < 16 {
            blocks[at][place] = text[place];
            place += 1;
        }
        at += 1;
    }
    blocks
};

/// First letter, last letter and length tell all known names apart; the compiler checks that they still do.
#[inline]
const fn hash(text: &[u8]) -> usize {
    let (first, last) = match text {
        [first, .., last] => (*first as usize | 0x20, *last as usize | 0x20),
        _ => (0, 0),
    };
    (first + 11 * last + 11 * text.len()) & 255
}

static BY_HASH: [Name; 256] = by_hash();

const fn by_hash() -> [Name; 256] {
    let mut table = [Name::Other; 256];
    let mut at = 0;
    while at < Name::KNOWN.len() {
        let name = Name::KNOWN[at];
        let place = hash(name.as_str().as_bytes());
        assert!(matches!(table[place], Name::Other), "two names share a place: choose other factors in hash()");
        table[place] = name;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &name in Name::KNOWN {
            assert_eq!(Name::of(name.as_str().as_bytes()), name);
            assert_eq!(Name::of(name.as_str().to_lowercase().as_bytes()), name);
            assert_eq!(Name::of(name.as_str().to_uppercase().as_bytes()), name);
        }
    }

    #[test]
    fn compact_names_are_those_of_the_registry() {
        let compact = [
            (b'a', Name::AcceptContact),
            (b'b', Name::ReferredBy),
            (b'c', Name::ContentType),
            (b'd', Name::RequestDisposition),
            (b'e', Name::ContentEncoding),
            (b'f', Name::From),
            (b'i', Name::CallId),
            (b'j', Name::RejectContact),
            (b'k', Name::Supported),
            (b'l', Name::ContentLength),
            (b'm', Name::Contact),
            (b'n', Name::IdentityInfo),
            (b'o', Name::Event),
            (b'r', Name::ReferTo),
            (b's', Name::Subject),
            (b't', Name::To),
            (b'u', Name::AllowEvents),
            (b'v', Name::Via),
            (b'x', Name::SessionExpires),
            (b'y', Name::Identity),
        ];
        for letter in 0..=255_u8 {
            let known = compact.iter().find(|(compact, _)| *compact == letter.to_ascii_lowercase());
            assert_eq!(Name::of(&[letter]), known.map_or(Name::Other, |(_, name)| *name), "{letter}");
        }
    }

    #[test]
    fn other_names_are_other() {
        for name in ["", "-", "X-Session-Size", "C%6Fntact", "Viaa", "To ", "Fr\u{f6}m"] {
            assert_eq!(Name::of(name.as_bytes()), Name::Other, "{name}");
        }
    }
}
