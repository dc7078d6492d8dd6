//! Events: requests to endpoints, the events they see, and the notifications that follow (RFC 3435 §2.3.3, §4.4).

pub mod measure;
pub mod package;
pub mod quarantine;
pub mod request;
pub mod seen;

mod watches;

pub use watches::{Accepted, Events, Gone, Sender, Voice};

#[cfg(test)]
mod tests;
