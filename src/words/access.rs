//! The rules about sources that worker and dispatcher apply alike.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A rule about sources. The first rule whose network holds the source decides; if no rule does, the source may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// The first address of the network.
    pub network: IpAddr,
    /// Number of its leading bits that count.
    pub prefix: u8,
    /// The rights of its sources.
    #[serde(flatten)]
    pub action: AccessAction,
}

/// The rights of a network's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum AccessAction {
    /// Everything.
    Allow,
    /// Nothing: all their messages are dropped.
    Deny,
    /// A limited rate of requests.
    Limit {
        /// Requests a second that belong to no call and no known transaction, for each IPv4 address and IPv6 /64.
        rate: u32,
        /// Number of them that may come at once.
        burst: u32,
        /// Milliseconds for which a source that sends more may begin nothing; 0: it is not banned.
        #[serde(rename = "ban-ms")]
        ban_ms: u32,
    },
    /// An action of a newer version: the rule is skipped.
    #[serde(other)]
    Other,
}
