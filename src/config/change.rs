//! Changes of a reload: all of them are applied or none.

use std::fmt;

use super::{Apply, Config, KEYS};

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
    /// Its value before, as written in the file; a long one without its end.
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
        for key in KEYS.iter().filter(|key| !(key.is_same)(old, new)) {
            match key.apply {
                Apply::Live => {
                    let (from, to) = (shortened((key.value)(old)), shortened((key.value)(new)));
                    keys.push(Changed { key: key.name, from, to });
                }
                Apply::Restart => refused.push(key.name),
            }
        }
        if refused.is_empty() { Ok(Change { keys }) } else { Err(NeedsRestart { keys: refused }) }
    }

    /// Whether no key differs.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The value without its end if it is long: a thousand proxies would fill the log.
fn shortened(mut value: String) -> String {
    const LONGEST: usize = 1000;
    if let Some((end, _)) = value.char_indices().nth(LONGEST) {
        value.truncate(end);
        value.push('…');
    }
    value
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
