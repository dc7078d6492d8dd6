//! The names of transactions: by them a copy of a message is found.
//!
//! The dispatcher computes them from each request, a worker from each message that was handed over, by one rule. A
//! worker that comes back from an earlier dispatcher lists its transactions by them.

pub mod mgcp;
pub mod sip;
