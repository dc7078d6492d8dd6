//! Changes of a reload: all of them are applied or none.

use std::fmt;

use super::Config;
use super::describe::Apply;

/// The keys whose values differ between two configurations, all of which a reload may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// One for each key that differs.
    pub keys: Vec<Changed>,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Changed {
    /// The key.
    pub key: &'static str,
    /// Its value before, as written in the file.
    pub from: String,
    /// Its value now.
    pub to: String,
}

/// Keys that differ and cannot be changed while the dispatcher runs; nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {} cannot change while it runs; restart the dispatcher, or put back the old value", .keys.join(", "))]
pub struct NeedsRestart {
    /// The keys.
    pub keys: Vec<&'static str>,
}

impl Change {
    /// The difference between the configuration in force and the one that is to replace it.
    ///
    /// # Errors
    /// Names the keys that need a restart; then none of the others may be applied either.
    pub fn between(old: &Config, new: &Config) -> Result<Change, NeedsRestart> {
        let (mut keys, mut refused) = (Vec::new(), Vec::new());
        for (before, after) in old.describe().into_iter().zip(new.describe()) {
            let same = match before.key {
                // Secrets are shown as `…`, so their text does not tell whether they differ.
                "token-key" => old.token_key == new.token_key,
                "previous-token-key" => old.previous_token_key == new.previous_token_key,
                _ => before.value == after.value,
            };
            match after.apply {
                _ if same => {}
                Apply::Live => keys.push(Changed { key: after.key, from: before.value, to: after.value }),
                Apply::Restart => refused.push(after.key),
            }
        }
        if refused.is_empty() { Ok(Change { keys }) } else { Err(NeedsRestart { keys: refused }) }
    }

    /// Whether no key differs.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        for (n, changed) in self.keys.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {} -> {}", changed.key, changed.from, changed.to)?;
        }
        Ok(())
    }
}
