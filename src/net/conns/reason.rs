//! Reasons for which connections end, and how often each was seen.

use crate::stream::Fault;

/// Reason for the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer ended it.
    Ended,
    /// The connection broke.
    Broken,
    /// A connection of ours could not be opened.
    Unreachable,
    /// Nothing listens where a connection of ours leads, or no route leads there.
    Refused,
    /// The peer does not read its answers.
    ReadsNothing,
    /// An access rule refuses its source.
    Denied,
    /// There are as many connections as there may be.
    TooMany,
    /// Its source has as many connections as it may have.
    TooManyOfSource,
    /// Its handshakes were under way when another dispatcher took over.
    Takeover,
    /// It made room for another one.
    MadeRoom,
    /// It is wanted no more, or was not open in time.
    Unneeded,
    /// Its bytes cannot be read, or it took too much time.
    Fault(Fault),
}

impl CloseReason {
    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            CloseReason::Ended => "ended",
            CloseReason::Broken => "broken",
            CloseReason::Unreachable => "unreachable",
            CloseReason::Refused => "refused",
            CloseReason::ReadsNothing => "reads-nothing",
            CloseReason::Denied => "denied",
            CloseReason::TooMany => "too-many",
            CloseReason::TooManyOfSource => "too-many-of-source",
            CloseReason::Takeover => "takeover",
            CloseReason::MadeRoom => "made-room",
            CloseReason::Unneeded => "unneeded",
            CloseReason::Fault(fault) => fault.label(),
        }
    }
}

/// Connections that ended, by the label of their reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closures(Vec<(&'static str, u64)>);

impl Closures {
    /// Counts one.
    pub fn count(&mut self, reason: CloseReason) {
        self.add(reason.label(), 1);
    }

    /// Adds `times` for a reason.
    fn add(&mut self, label: &'static str, times: u64) {
        match self.0.iter_mut().find(|(of, _)| *of == label) {
            Some((_, count)) => *count += times,
            None => self.0.push((label, times)),
        }
    }

    /// Adds what was seen elsewhere.
    pub fn add_all(&mut self, other: &Closures) {
        other.iter().for_each(|(label, times)| self.add(label, times));
    }

    /// All that were seen.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}
