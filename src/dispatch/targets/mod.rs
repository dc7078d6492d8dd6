//! Targets: those that can get a new session. Workers are the only kind.
//!
//! [`pool`] is the set of them from which a selection is made.

mod ledger;
pub mod pool;
