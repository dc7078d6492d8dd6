//! MGCP messages (RFC 3435) as views on the bytes they came in.
//!
//! [`parts`] takes a datagram apart into its messages (§3.5.5), [`parse`] reads one of them. Nothing is copied and
//! nothing is allocated: names and values are slices of the sender's bytes. All of it is read without regard to case
//! (§3.1); only session descriptions are left as they are. Messages are written with [`CommandWriter`] and
//! [`ResponseWriter`], and one that travels on loses parameter lines with [`patch`].
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

mod bearer;
mod capabilities;
mod command;
mod connection_params;
mod digit_map;
mod endpoint;
mod event;
mod fault;
mod field;
mod line;
mod list;
mod local_options;
mod message;
mod mode;
mod notified_entity;
mod params;
mod part;
pub mod patch;
mod quarantine;
mod ranges;
mod reason;
mod requested;
mod requested_info;
mod response;
mod restart;
mod return_code;
mod sessions;
mod signals;
mod size;
mod transaction;
mod verb;
mod write;

pub use bearer::{BearerEncoding, BearerInformation};
pub use capabilities::Capabilities;
pub use command::Command;
pub use connection_params::ConnectionParameters;
pub use digit_map::DigitMap;
pub use endpoint::{EndpointName, Wildcard};
pub use event::{EventConnection, EventId, EventName};
pub use fault::{Fault, Unparsable};
pub use field::Field;
pub use list::Members;
pub use local_options::{EncryptionKey, Gain, LocalOptions, OptionExtension, OptionsFault, Reservation, Switch};
pub use message::{MAX_MESSAGE, Message, parse};
pub use mode::ConnectionMode;
pub use notified_entity::{CALL_AGENT_PORT, NotifiedEntity};
pub use params::{MAX_PARAMS, Param, Params};
pub use part::{MOST_PARTS, Parts, parts};
pub use quarantine::{LoopControl, ProcessControl, QuarantineHandling};
pub use ranges::Ranges;
pub use reason::ReasonCode;
pub use requested::{Action, EmbeddedRequest, RequestedEvent, RequestedEvents};
pub use requested_info::{InfoCode, RequestedInfo};
pub use response::Response;
pub use restart::RestartMethod;
pub use return_code::ReturnCode;
pub use sessions::Sessions;
pub use signals::{SignalRequest, SignalRequests};
pub use transaction::TransactionId;
pub use verb::Verb;
pub use write::{CommandWriter, ResponseWriter, separator};
