//! SIP messages (RFC 3261) read lazily from the bytes they came in.
//!
//! A [`Scanner`] goes over the header section once and notes where each field lies; [`Message`] is the view on it. A
//! field's value is parsed when it is asked for. Responses are written with [`ResponseWriter`]; a message that travels
//! on is changed with [`Edits`].
//!
//! ```
//! use pointsman::wire::sip::{Method, Scanner};
//!
//! let bytes = b"OPTIONS sip:ms.example.net SIP/2.0\r\n\
//!     v: SIP/2.0/UDP [2001:db8::9]:5062;rport;branch=z9hG4bK1\r\n\
//!     f: <sip:as@example.net>;tag=7\r\nt: <sip:ms.example.net>\r\ni: a84b@as\r\nCSeq: 1 OPTIONS\r\n\r\n";
//! let mut scanner = Scanner::new();
//! let message = scanner.scan(bytes).unwrap();
//! assert_eq!(message.method(), Some(Method::Options));
//! assert_eq!(message.via().and_then(|via| via.port), Some(5062));
//! assert_eq!(message.from().and_then(|from| from.tag()), Some(&b"7"[..]));
//! ```

pub mod capabilities;
mod check;
mod credentials;
mod cseq;
mod dialog_ref;
mod edits;
mod fault;
mod head;
mod host;
mod kept;
mod message;
mod method;
mod name;
mod name_addr;
mod params;
pub mod patch;
mod peek;
mod scan;
mod text;
mod uri;
mod via;
mod write;

pub use check::{Hindrance, is_uri_text};
pub use cseq::CSeq;
pub use dialog_ref::DialogRef;
pub use edits::{Edits, Pieces, ViaCompletion, write_contact};
pub use fault::{Fault, Unparsable};
pub use host::Host;
pub use kept::KeptMessage;
pub use message::{Essentials, Headers, Message, Start, Values, Vias};
pub use method::Method;
pub use name::Name;
pub use name_addr::NameAddr;
pub use params::Params;
pub use peek::{Peek, peek};
pub use scan::{MAX_FIELDS, MAX_MESSAGE, SMALLEST_ANSWERED, Scanner};
pub use text::{Members, delta_seconds};
pub use uri::{Scheme, Uri};
pub use via::{Rport, Via};
pub use write::{RequestWriter, ResponseWriter, reason_phrase, where_to};
