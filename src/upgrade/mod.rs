//! One dispatcher takes over from another, and callers notice nothing: no datagram is lost, no link is dropped, and the
//! new dispatcher has the whole state of the old one.
//!
//! The new one connects to the handoff socket and asks. The old one checks whether a takeover is possible ([`judge`]),
//! and gives the parts that do not change any more: listeners, the slots' sockets, the workers' processes, the lock of
//! the run directory and its own sockets. With these the new one makes itself ready, which takes longest. Then the old
//! one has its lanes stop reading, and gives their state: the links to the workers as descriptors, and table, ledger
//! and all else as bytes in a file in memory. Datagrams and the workers' frames wait in the sockets meanwhile. Once the
//! new one reports that it has restored everything, the old one drops its own copy and exits. Only then the new one
//! reads: two dispatchers never read at the same time.
//!
//! Until then the old one has lost nothing. Any failure (an expected step that does not come, a link that ends) makes
//! it read on where it stopped: [`TakeoverPhase`] tells how far the takeover had come.
//!
//! The work is done in `supervisor`; this module has the messages between the two dispatchers.

pub mod conversation;
mod pipe;
pub mod pump;

use std::collections::BTreeMap;

use crate::config::{Apply, Config};
use crate::ids::TokenKey;
use crate::words::takeover::Ask;

/// The progress of a takeover, as the old dispatcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TakeoverPhase {
    /// The new dispatcher has asked. The old one works as before.
    Asked,
    /// The old dispatcher has agreed, and the new one makes itself ready. The old one still works as before.
    Granted,
    /// The lanes have stopped reading; all messages that were read are dealt with.
    Paused,
    /// State and descriptors have been sent; the old dispatcher still has them as well.
    Given,
    /// The new dispatcher has them. There is no way back: the old one ends.
    Taken,
}

impl TakeoverPhase {
    /// The activity of the old dispatcher in this phase, for the log.
    pub const fn label(self) -> &'static str {
        match self {
            TakeoverPhase::Asked => "checking the request",
            TakeoverPhase::Granted => "waiting for the new dispatcher to be ready",
            TakeoverPhase::Paused => "pausing and sending its state",
            TakeoverPhase::Given => "waiting for the new dispatcher to restore it",
            TakeoverPhase::Taken => "ending",
        }
    }

    /// Whether the lanes must be told to read on if a takeover ends in this phase.
    pub const fn has_paused(self) -> bool {
        matches!(self, TakeoverPhase::Paused | TakeoverPhase::Given)
    }
}

/// The reason why a takeover is not begun; the text goes to the new dispatcher, which exits with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeoverRefusal {
    /// The new dispatcher is run by another user.
    #[error("the dispatcher belongs to user {owner}, not to {asked}; take over as that user")]
    User {
        /// The user of the running dispatcher.
        owner: u32,
        /// The user of the dispatcher that asks.
        asked: u32,
    },
    /// The new dispatcher reads another layout of the state.
    #[error(
        "{asked} does not read the state of {own}; end the running dispatcher with `kill -9` and start the new one: the workers keep their calls"
    )]
    Version {
        /// The running program and its version.
        own: String,
        /// The program that asks, and its version.
        asked: String,
    },
    /// The new dispatcher's token key is another one, so its workers' tokens would be unknown.
    #[error("the new dispatcher has another token key; give it the running one's")]
    Key,
    /// The new dispatcher has settings that cannot change while sockets and workers stay.
    #[error("{} cannot change with a takeover; put back the old value, or restart", .keys.join(", "))]
    Settings {
        /// The settings that differ.
        keys: Vec<String>,
    },
    /// The running dispatcher is process 1, whose end is the end of its container.
    #[error("the dispatcher is process 1, whose end would end the container; run it under an init")]
    Init,
    /// Another dispatcher has asked before.
    #[error("another takeover is in progress")]
    Busy,
    /// The running dispatcher is stopping.
    #[error("the dispatcher is stopping")]
    Stopping,
    /// A worker that is being started has no link yet that could be given.
    #[error("a worker is still being started; try again in a moment")]
    Starting,
}

/// The [`Ask`] of a dispatcher with this configuration and this key; `layout` is that of its state.
pub fn ask(config: &Config, key: &TokenKey, layout: u64) -> Ask {
    let previous = config.previous_token_key.as_ref().map_or(&[][..], |key| key.bytes());
    Ask {
        program: concat!("pointsman ", env!("CARGO_PKG_VERSION")).to_owned(),
        layout,
        key: key.hash(b'u', previous),
        settings: settings(config),
    }
}

/// Whether the dispatcher that sent `asked` may take over from the one that would ask as `own`.
///
/// # Errors
///
/// It may not; the error says why.
pub fn judge(asked: &Ask, own: &Ask) -> Result<(), TakeoverRefusal> {
    if asked.layout != own.layout {
        return Err(TakeoverRefusal::Version { own: own.program.clone(), asked: asked.program.clone() });
    }
    let differs = |(key, value): &(&String, &String)| asked.settings.get(*key).is_some_and(|other| other != *value);
    let keys: Vec<String> = own.settings.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    if !keys.is_empty() {
        return Err(TakeoverRefusal::Settings { keys });
    }
    if asked.key == own.key { Ok(()) } else { Err(TakeoverRefusal::Key) }
}

/// The settings that only a restart changes. The run directory is not among them: both dispatchers use the same one.
/// Nor are the keys, whose text does not show whether they differ.
fn settings(config: &Config) -> BTreeMap<String, String> {
    let fixed = config.describe().into_iter().filter(|row| row.apply == Apply::Restart);
    let told = fixed.filter(|row| !matches!(row.key, "run-dir" | "token-key" | "previous-token-key"));
    told.map(|row| (row.key.to_owned(), row.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Source};

    const KEY: TokenKey = TokenKey::new([1; 32]);

    fn config(change: impl FnOnce(&mut Settings)) -> Config {
        let mut flags = Settings::default();
        change(&mut flags);
        Source { file: None, flags }.load().unwrap()
    }

    fn judged(change: impl FnOnce(&mut Settings)) -> Result<(), TakeoverRefusal> {
        judge(&ask(&config(change), &KEY, 1), &ask(&config(|_| {}), &KEY, 1))
    }

    #[test]
    fn a_dispatcher_with_the_same_settings_or_those_a_reload_changes_may_take_over() {
        assert_eq!(judged(|_| {}), Ok(()));
        assert_eq!(judged(|flags| flags.workers = Some(7)), Ok(()));
        assert_eq!(judged(|flags| flags.run_dir = Some("/run/elsewhere".into())), Ok(()), "they have met somewhere");
    }

    #[test]
    fn settings_that_only_a_restart_changes_are_refused_by_name() {
        let refused = judged(|flags| {
            flags.listen = Some(vec!["udp:127.0.0.1:5062".parse().unwrap()]);
            flags.lanes = Some(2);
            flags.workers = Some(3);
        });
        assert_eq!(refused, Err(TakeoverRefusal::Settings { keys: vec!["lanes".into(), "listen".into()] }));
    }

    #[test]
    fn another_layout_or_another_key_is_refused() {
        let (config, own) = (config(|_| {}), ask(&config(|_| {}), &KEY, 1));
        let other = judge(&ask(&config, &KEY, 2), &own);
        assert!(
            matches!(&other, Err(TakeoverRefusal::Version { own, .. }) if own.starts_with("pointsman ")),
            "{other:?}"
        );
        assert_eq!(judge(&ask(&config, &TokenKey::new([2; 32]), 1), &own), Err(TakeoverRefusal::Key));
        let previous = Config { previous_token_key: Some(KEY), ..config };
        assert_eq!(judge(&ask(&previous, &KEY, 1), &own), Err(TakeoverRefusal::Key));
    }

    #[test]
    fn a_setting_that_only_one_of_two_versions_has_is_no_difference() {
        let (mut older, own) = (ask(&config(|_| {}), &KEY, 1), ask(&config(|_| {}), &KEY, 1));
        older.settings.remove("lanes");
        assert_eq!((judge(&older, &own), judge(&own, &older)), (Ok(()), Ok(())));
    }

    #[test]
    fn reading_goes_on_wherever_it_may_have_paused() {
        let all = [
            TakeoverPhase::Asked,
            TakeoverPhase::Granted,
            TakeoverPhase::Paused,
            TakeoverPhase::Given,
            TakeoverPhase::Taken,
        ];
        assert_eq!(all.map(TakeoverPhase::has_paused), [false, false, true, true, false]);
    }
}
