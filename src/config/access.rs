//! Rules about the sources that may send: in order, the first that fits decides.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::error::Fault;
use super::{AccessAction, Config, Network, Span};
use crate::words;

/// One rule of the key `access`. The first rule whose networks hold a message's source decides about it; if no rule's
/// do, the source may send.
///
/// ```toml
/// access = [
///     { from = ["10.0.0.0/8"], action = "allow" },
///     { from = ["198.51.100.7", "2001:db8::/32"], action = "deny" },
///     { action = "limit", rate = 20, burst = 60, ban = "5m" },
/// ]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AccessRule {
    /// The sources, as networks. Default: all.
    #[serde(default = "everybody")]
    pub from: Vec<Network>,
    /// The sources' rights: `allow`, everything; `deny`, nothing: all their messages are dropped, whatever they belong
    /// to; `limit`, as many new requests as `rate` says.
    pub action: AccessAction,
    /// For `limit`: requests outside calls and known transactions that each source may send, a second, 1 to 100000. A
    /// source is an IPv4 address or an IPv6 /64. Later messages of a call, and retransmissions, are not counted.
    /// Requests beyond the rate are refused with 503, as many again a second; the rest is dropped. The workers' own
    /// ports drop all requests beyond it.
    pub rate: Option<u32>,
    /// For `limit`: requests that may come at once, 1 to 1000000. Default: as many as in a second.
    pub burst: Option<u32>,
    /// For `limit`: a source that sends more is banned for so long, 1s to 24h: all its requests outside calls and known
    /// transactions are dropped after the first, which gets 503. Default: no ban. The source of a datagram can be
    /// forged, so that an attacker may have others banned; a reload that changes `access` lifts every ban.
    pub ban: Option<Span>,
}

/// Most networks in all rules together: each message is compared with every one at worst. An operator with more
/// networks to keep out has a packet filter, which does it at less cost.
pub const MAX_ACCESS_NETWORKS: usize = 128;

fn everybody() -> Vec<Network> {
    Network::ALL.to_vec()
}

impl AccessRule {
    /// The rule as the decision and the workers read it, one for each network.
    pub fn each(&self) -> impl Iterator<Item = words::AccessRule> + '_ {
        let action = match self.action {
            AccessAction::Allow => words::AccessAction::Allow,
            AccessAction::Deny => words::AccessAction::Deny,
            AccessAction::Limit => {
                let rate = self.rate.unwrap_or(1);
                let ban = match self.ban {
                    Some(Span::Of(ban)) => ban,
                    Some(Span::Never) | None => Duration::ZERO,
                };
                let ban_ms = u32::try_from(ban.as_millis()).unwrap_or(u32::MAX);
                words::AccessAction::Limit { rate, burst: self.burst.unwrap_or(rate), ban_ms }
            }
        };
        let rule =
            move |network: &Network| words::AccessRule { network: network.address(), prefix: network.prefix(), action };
        self.from.iter().map(rule)
    }

    fn check(&self) -> Result<(), String> {
        if self.from.is_empty() {
            return Err("`from` is an empty list; name networks, or leave it out for all".to_owned());
        }
        if self.action != AccessAction::Limit {
            return match (self.rate, self.burst, self.ban) {
                (None, None, None) => Ok(()),
                _ => Err(format!(
                    "`rate`, `burst` and `ban` say how much may come; with `{}` leave them out",
                    self.action
                )),
            };
        }
        match self.rate {
            None => return Err("`limit` needs a rate, such as `rate = 20` requests a second".to_owned()),
            Some(rate) if !(1..=100_000).contains(&rate) => {
                return Err(format!("a rate of {rate} is out of range; give 1 to 100000 requests a second"));
            }
            Some(_) => {}
        }
        if let Some(burst) = self.burst.filter(|burst| !(1..=1_000_000).contains(burst)) {
            return Err(format!("a burst of {burst} is out of range; give 1 to 1000000 requests"));
        }
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(86_400));
        match self.ban {
            None => Ok(()),
            Some(Span::Of(ban)) if least <= ban && ban <= most => Ok(()),
            Some(ban) => Err(format!("a ban of {ban} is out of range; give 1s to 24h, or leave it out")),
        }
    }
}

/// Checks the rules, each alone and all together.
pub(super) fn checked(rules: Option<&[AccessRule]>) -> Result<Vec<AccessRule>, Fault> {
    let rules = rules.unwrap_or_default();
    for (rule, number) in rules.iter().zip(1..) {
        rule.check().map_err(|message| Fault::of(&format!("access.{number}"), message))?;
    }
    let networks: usize = rules.iter().map(|rule| rule.from.len()).sum();
    if networks > MAX_ACCESS_NETWORKS {
        let message = format!(
            "{networks} networks are too many; name at most {MAX_ACCESS_NETWORKS}, and leave the rest to a packet filter"
        );
        return Err(Fault::of("access", message));
    }
    Ok(rules.to_vec())
}

impl Config {
    /// The note about rules that are never asked.
    pub(super) fn access_notes(&self) -> Option<String> {
        let fits_all = |rule: &AccessRule| Network::ALL.iter().all(|all| rule.from.contains(all));
        let all = self.access.iter().position(fits_all)? + 1;
        (all < self.access.len())
            .then(|| format!("access: every source fits rule {all}; those after it are never asked"))
    }
}

impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self.from.iter().map(|network| format!("\"{network}\"")).collect();
        write!(f, "{{ from = [{}], action = \"{}\"", networks.join(", "), self.action)?;
        if let Some(rate) = self.rate {
            write!(f, ", rate = {rate}")?;
        }
        if let Some(burst) = self.burst {
            write!(f, ", burst = {burst}")?;
        }
        if let Some(ban) = self.ban {
            write!(f, ", ban = \"{ban}\"")?;
        }
        f.write_str(" }")
    }
}
