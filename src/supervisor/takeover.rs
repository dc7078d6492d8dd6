//! A takeover: the side of the dispatcher that runs, the side of the one that asks, and the state that goes between.

pub mod predecessor;
pub mod state;
pub mod successor;
