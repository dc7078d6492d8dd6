//! Targets: those that can get a new session. Workers are the only kind.
//!
//! [`worker`] holds the link, the ledger and the reports of one worker; [`pool`] is the set of them from which a
//! selection is made.

mod ledger;
pub mod pool;
pub mod worker;
