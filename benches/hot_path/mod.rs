//! The steps of the hot path that benchmarks measure, by time (`decide`, `handoff`) and by instructions (`counts`).

#![allow(dead_code, unused_imports, reason = "each benchmark uses its part")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

#[path = "../../tests/support/balancer.rs"]
mod balancer;
mod calls;
mod decisions;
mod lane;
mod links;
mod messages;
#[path = "../../tests/support/no_link.rs"]
mod no_link;
#[path = "../../tests/support/numbered.rs"]
mod numbered;

pub use calls::{Calls, Request};
pub use decisions::{
    Between, ByName, Bye, Forwarded, InvitesTogether, NewConnections, NewInvites, Parse, Retransmission, Scan,
};
pub use lane::{Lane, Part};
pub use links::{Answered, Framed, Kept, Link, PAYLOAD, envelope};
pub use numbered::{KEY, enter};

/// A step of the hot path, done again and again.
pub trait Step {
    /// Makes ready what the next run takes. It is not part of the step.
    fn prepare(&mut self) {}

    /// Does the step.
    fn run(&mut self);

    /// Messages of one run.
    fn messages(&self) -> u64 {
        1
    }
}
