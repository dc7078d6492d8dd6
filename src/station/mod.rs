//! A worker as a value: what it does about each event, without socket, clock, thread or random source.

pub(crate) mod call_log;
pub(crate) mod conferences;
pub(crate) mod gate;
pub(crate) mod misuse;
pub(crate) mod orphan;
pub(crate) mod report;
pub(crate) mod size;
pub(crate) mod stage;
pub(crate) mod transactions;

pub use transactions::OpenTransactions;
