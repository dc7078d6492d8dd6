//! The words of the dispatcher and its workers about sessions, messages and each other: values without bytes.
//!
//! `wire::handoff` writes them as records and reads them back; the decision, a worker and the configuration use them as
//! they stand here.

mod access;
mod certificates;
mod dispatched;
mod drain;
pub mod features;
mod handed_over;
mod joining;
mod load_report;
mod message;
mod mgcp;
mod open_transaction;
mod outcome;
mod refusal;
mod reply_to;
mod report;
mod room;
pub mod takeover;
pub mod word_list;

pub use access::{AccessAction, AccessRule};
pub use certificates::{Certificates, Identity};
pub use dispatched::{Dispatched, Permit};
pub use drain::{Drain, DrainMode};
pub use handed_over::HandedOver;
pub use joining::{Hello, LanTerms, PassedSocket, Port, ReplyFrom, Resume, SocketRole, Welcome};
pub use load_report::{LoadReport, LoadWord};
pub use message::{Envelope, Message, Transport};
pub use mgcp::{Bypass, Mgcp, MgcpListener};
pub use open_transaction::OpenTransaction;
pub use outcome::Outcome;
pub use refusal::RefuseReason;
pub use reply_to::ReplyTo;
pub use report::Report;
pub use room::Room;
pub use takeover::Takeover;
