//! The messages of two dispatchers while one takes over from the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A step of a takeover, in the order in which they are sent. A dispatcher that does not go on sends `Goodbye` with the
/// reason instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Takeover {
    /// The new dispatcher asks.
    Ask(Ask),
    /// The old dispatcher agrees. It goes on reading, and gives the parts that do not change any more: sockets,
    /// processes, and in the first descriptor the `PreCopy` that names each of them.
    Granted {
        /// Number of descriptors, which come with this frame and as many [`Takeover::More`] as needed.
        descriptors: usize,
        /// Approximate number of entries in the table of each lane.
        entries: Vec<usize>,
    },
    /// The new dispatcher has made room. From now on the old one pauses.
    Ready,
    /// The old dispatcher gives the lanes' states, in the first descriptor, and the links.
    Given {
        /// Number of descriptors.
        descriptors: usize,
    },
    /// Descriptors for which the previous frame had no room.
    More,
    /// The new dispatcher has everything, and reads nothing yet. Until this step the old one can go on as if nothing
    /// had happened.
    Taken,
    /// The old dispatcher has ended its work for good: the new one reads.
    Over,
}

impl Takeover {
    /// Number of descriptors that come with this step and in the [`Takeover::More`] after it.
    pub const fn descriptors(&self) -> usize {
        match self {
            Takeover::Granted { descriptors, .. } | Takeover::Given { descriptors } => *descriptors,
            _ => 0,
        }
    }
}

/// The data of a dispatcher that wants to take over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ask {
    /// Program and version, for people.
    pub program: String,
    /// The fingerprint of the layout in which it reads the state.
    pub layout: u64,
    /// A keyed hash, made with its token key.
    pub key: u64,
    /// Its settings that only a restart can change, as text.
    pub settings: BTreeMap<String, String>,
}
