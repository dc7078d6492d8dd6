//! What two dispatchers say to each other while one takes over from the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A step of a takeover, in the order in which they are said. A dispatcher that does not go on says `Goodbye` with the
/// reason instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Takeover {
    /// The new one asks.
    Ask(Ask),
    /// The old one agrees. It goes on reading, and gives what does not change any more: sockets, processes, and the roster
    /// that tells which is which, in the first descriptor.
    Granted {
        /// How many descriptors come, beside this frame and as many [`Takeover::More`] as it takes.
        descriptors: usize,
        /// How many entries the table of each lane has, about.
        entries: Vec<usize>,
    },
    /// The new one has made room. From here on the old one pauses.
    Ready,
    /// The lanes' states, in the first descriptor, and the links.
    Given {
        /// How many descriptors come.
        descriptors: usize,
    },
    /// Descriptors for which the frame before had no room.
    More,
    /// The new one has everything, and reads nothing yet. Until this the old one can go on as if nothing had been.
    Taken,
    /// The old one has ended its work for good: the new one reads.
    Over,
}

impl Takeover {
    /// How many descriptors come with it and behind it.
    pub const fn descriptors(&self) -> usize {
        match self {
            Takeover::Granted { descriptors, .. } | Takeover::Given { descriptors } => *descriptors,
            _ => 0,
        }
    }
}

/// What a dispatcher says of itself that wants to take over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ask {
    /// What it is, for people: program and version.
    pub program: String,
    /// The fingerprint of the layout in which it reads the state.
    pub layout: u64,
    /// A keyed hash, which it has made with its token key.
    pub key: u64,
    /// Its settings of the kind that only a restart changes, as text.
    pub settings: BTreeMap<String, String>,
}
