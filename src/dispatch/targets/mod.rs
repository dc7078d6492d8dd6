//! Targets: those that can get a new session: workers and downstream proxies.
//!
//! [`worker`] holds the link, the ledger and the reports of one worker; [`pool`] is the set of them from which a
//! selection is made; [`proxy`] is one downstream proxy, [`proxies`] all of them with
//! their pools.

mod ledger;
pub mod pool;
pub mod proxies;
pub mod proxy;
pub mod worker;
