//! MGCP messages (RFC 3435) as views on the bytes they came in.
//!
//! [`parts`] takes a datagram apart into its messages (§3.5.5), [`parse`] reads one of them. Nothing is copied and
//! nothing is allocated: names and values are slices of what the sender wrote. All of it is read without regard to case
//! (§3.1); only session descriptions are left as they are. Messages are written with [`CommandWriter`] and
//! [`ResponseWriter`], and one that travels on gets a parameter line with [`patch`].
//!
//! ```
//! use pointsman::wire::mgcp::{Field, Message, Verb, parse, parts};
//!
//! let datagram = b"crcx 1204 ann/$@ms.example.net mgcp 1.0\r\nc: A3C47F21\r\nM: recvonly\r\nX-Size: 12\r\n";
//! let part = parts(datagram).next().unwrap();
//! let Ok(Message::Command(command)) = parse(part) else { panic!() };
//! assert_eq!(command.verb(), Verb::Crcx);
//! assert_eq!(command.transaction().0, 1204);
//! assert_eq!(command.call_id(), Some(&b"A3C47F21"[..]));
//! assert_eq!(command.param(Field::ConnectionMode), Some(&b"recvonly"[..]));
//! assert_eq!(command.extension(b"x-size"), Some(&b"12"[..]));
//! ```

mod command;
mod endpoint;
mod fault;
mod field;
mod line;
mod message;
mod params;
mod part;
pub mod patch;
mod ranges;
mod response;
mod return_code;
mod sessions;
mod transaction;
mod verb;
mod write;

pub use command::Command;
pub use endpoint::{EndpointName, Wildcard};
pub use fault::{Fault, Unparsable};
pub use field::Field;
pub use message::{MAX_MESSAGE, Message, parse};
pub use params::{MAX_PARAMS, Param, Params};
pub use part::{Parts, parts};
pub use ranges::Ranges;
pub use response::Response;
pub use return_code::ReturnCode;
pub use sessions::Sessions;
pub use transaction::TransactionId;
pub use verb::Verb;
pub use write::{CommandWriter, ResponseWriter, separator};
