//! Orders to a worker about new work.

use std::time::Duration;

/// Orders about new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Take new work again.
    Ready,
    /// Finish the work that there is, take nothing new.
    Drain,
    /// End all calls within the time given, then exit.
    Stop,
}

/// An order to a worker about new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The order.
    pub mode: DrainMode,
    /// Time for which calls may go on; for [`DrainMode::Stop`].
    pub within: Duration,
}
