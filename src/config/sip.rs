//! SIP: the rules of each listener.

use std::fmt;

use serde::Deserialize;

use super::error::Fault;
use super::table::table_keys;
use super::{Config, Listen, Service, SipBypass};

table_keys! {
    /// One table of the key `sip`: rules for SIP listeners. The first rule that fits a listener holds for it; a
    /// listener that no rule fits has all defaults.
    ///
    /// ```toml
    /// [[sip]]
    /// listen = "tls:192.0.2.1:5061"
    /// bypass = "pin"
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    pub struct SipRule {
        /// The listener it holds for, as `listen` has it. Default: all.
        pub listen: Option<Listen>,
        /// Port that workers name in Contact: `contact`, their own, so that the rest of the call bypasses the
        /// dispatcher; `pin`, the well-known one. Calls over WebSocket are pinned always. Default `contact`.
        pub bypass: SipBypass,
    }
}

/// Most rules.
const RULES: usize = 64;

impl Config {
    /// Whether the calls of the listener of this number stay at the well-known port. A browser never follows a Contact
    /// to another port.
    pub fn pins(&self, listener: usize) -> bool {
        let Some(listen) = self.listen.get(listener) else { return false };
        let rule = self.sip.iter().find(|rule| rule.fits(listen));
        listen.service.is_websocket() || rule.is_some_and(|rule| rule.bypass == SipBypass::Pin)
    }
}

impl SipRule {
    fn fits(&self, listen: &Listen) -> bool {
        listen.service != Service::Mgcp && self.listen.is_none_or(|named| named == *listen)
    }
}

/// Checks the rules against the listeners.
pub(super) fn checked(rules: Option<&[SipRule]>, listen: &[Listen]) -> Result<Vec<SipRule>, Fault> {
    let rules = rules.unwrap_or_default();
    if rules.len() > RULES {
        return Err(Fault::of("sip", format!("{} rules are too many; give at most {RULES}", rules.len())));
    }
    let mut left: Vec<&Listen> = listen.iter().filter(|listen| listen.service != Service::Mgcp).collect();
    for (rule, number) in rules.iter().zip(1..) {
        let websocket = rule.listen.filter(|listen| listen.service.is_websocket());
        if let Some(named) = websocket.filter(|_| rule.bypass == SipBypass::Contact) {
            let words =
                format!("a browser at {named} cannot reach a worker's port; write `pin`, or leave the rule out");
            return Err(Fault::of(&format!("sip.{number}.bypass"), words));
        }
        let before = left.len();
        left.retain(|listen| !rule.fits(listen));
        if left.len() == before {
            let (key, words) = match rule.listen {
                Some(named) => ("listen", format!("no SIP listener {named} is there for it, or another rule has it")),
                None => ("bypass", "every SIP listener has another rule; leave this one out".to_owned()),
            };
            return Err(Fault::of(&format!("sip.{number}.{key}"), words));
        }
    }
    Ok(rules.to_vec())
}

impl fmt::Display for SipRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ ")?;
        if let Some(listen) = self.listen {
            write!(f, "listen = \"{listen}\", ")?;
        }
        write!(f, "bypass = \"{}\" }}", self.bypass)
    }
}
