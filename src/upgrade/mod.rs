//! One dispatcher takes over from another, and no caller notices: no datagram is lost, no link is dropped, and what the
//! old one knew the new one knows.
//!
//! The new one connects to the handoff socket and asks. The old one judges whether this can be ([`judge`]), and gives what
//! does not change any more: listeners, the slots' sockets, the workers' processes, the lock of the run directory and its
//! own sockets. With these the new one makes itself ready, which takes longest. Then the old one has its lanes stop
//! reading, and gives what they have: the links to the workers as descriptors, table, ledger and all else as bytes in a
//! file in memory. Datagrams and the workers' frames wait in the sockets meanwhile. Once the new one says that it has
//! restored all of it, the old one gives up its own copy and exits, and only then the new one reads: at no time do two.
//!
//! Until then the old one has lost nothing, and whatever goes wrong (a word that does not come, a link that ends) has it
//! read on where it stopped: [`Phase`] says how far it came.
//!
//! How this is done stands in `supervisor`; here is what passes between the two.

pub mod conversation;

use std::collections::BTreeMap;

use crate::config::{Apply, Config};
use crate::handoff::frame::takeover::Ask;
use crate::ids::TokenKey;

/// How far a takeover has come, as the old dispatcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The new one has asked. All goes on as before.
    Asked,
    /// It may, and makes itself ready. All still goes on as before.
    Granted,
    /// The lanes stop reading; what was read is done.
    Paused,
    /// State and descriptors have been sent, and are still here as well.
    Given,
    /// The new one has them. There is no way back: the old one ends.
    Taken,
}

impl Phase {
    /// What the old dispatcher was doing, for the log.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Asked => "judging it",
            Phase::Granted => "waiting for the new dispatcher to be ready",
            Phase::Paused => "pausing and giving its state",
            Phase::Given => "waiting for the new dispatcher to have taken it",
            Phase::Taken => "ending",
        }
    }

    /// Whether the lanes have to be told to read on when a takeover ends here.
    pub const fn has_paused(self) -> bool {
        matches!(self, Phase::Paused | Phase::Given)
    }
}

/// Why a takeover is not begun; the text goes to the new dispatcher, which ends with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is run by another user.
    #[error("the dispatcher belongs to user {owner}, not to {asked}; take over as that user")]
    User {
        /// The dispatcher's.
        owner: u32,
        /// The one that asks.
        asked: u32,
    },
    /// It reads another state.
    #[error(
        "{asked} does not read the state of {own}; stop the one and start the other: its workers keep their calls over `kill -9`"
    )]
    Version {
        /// What runs.
        own: String,
        /// What asks.
        asked: String,
    },
    /// Its tokens would mean nothing.
    #[error("its token key is another one; give it the dispatcher's")]
    Key,
    /// It is configured in a way that cannot change while sockets and workers stay.
    #[error("{} cannot change with a takeover; put back the old value, or restart", .keys.join(", "))]
    Settings {
        /// What differs.
        keys: Vec<String>,
    },
    /// The end of process 1 is the end of its container.
    #[error("the dispatcher is process 1, whose end is everybody's; run it under an init")]
    Init,
    /// Another one has asked before.
    #[error("another takeover is on its way")]
    Busy,
    /// It ends.
    #[error("the dispatcher is stopping")]
    Stopping,
    /// A worker that is being started has no link yet that could be given.
    #[error("a worker is still being started; try again in a moment")]
    Starting,
}

/// What an [`Ask`] says of a dispatcher with this configuration and this key, and `layout` for its state.
pub fn ask(config: &Config, key: &TokenKey, layout: u64) -> Ask {
    let previous = config.previous_token_key.as_ref().map_or(&[][..], |key| key.bytes());
    Ask {
        program: concat!("pointsman ", env!("CARGO_PKG_VERSION")).to_owned(),
        layout,
        key: key.hash(b'u', previous),
        settings: settings(config),
    }
}

/// Whether one who asks may take over from the dispatcher that would ask as `own`.
///
/// # Errors
///
/// It may not, and why.
pub fn judge(asked: &Ask, own: &Ask) -> Result<(), Refusal> {
    if asked.layout != own.layout {
        return Err(Refusal::Version { own: own.program.clone(), asked: asked.program.clone() });
    }
    let differs = |(key, value): &(&String, &String)| asked.settings.get(*key).is_some_and(|other| other != *value);
    let keys: Vec<String> = own.settings.iter().filter(differs).map(|(key, _)| key.clone()).collect();
    if !keys.is_empty() {
        return Err(Refusal::Settings { keys });
    }
    if asked.key == own.key { Ok(()) } else { Err(Refusal::Key) }
}

/// The settings that only a restart changes. The run directory is not among them: they have met there. Nor are the keys,
/// whose text says nothing.
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

    fn judged(change: impl FnOnce(&mut Settings)) -> Result<(), Refusal> {
        judge(&ask(&config(change), &KEY, 1), &ask(&config(|_| {}), &KEY, 1))
    }

    #[test]
    fn one_that_is_as_the_old_one_or_differs_as_after_a_reload_may_take_over() {
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
        assert_eq!(refused, Err(Refusal::Settings { keys: vec!["lanes".into(), "listen".into()] }));
    }

    #[test]
    fn another_layout_or_another_key_is_refused() {
        let (config, own) = (config(|_| {}), ask(&config(|_| {}), &KEY, 1));
        let other = judge(&ask(&config, &KEY, 2), &own);
        assert!(matches!(&other, Err(Refusal::Version { own, .. }) if own.starts_with("pointsman ")), "{other:?}");
        assert_eq!(judge(&ask(&config, &TokenKey::new([2; 32]), 1), &own), Err(Refusal::Key));
        let previous = Config { previous_token_key: Some(KEY), ..config };
        assert_eq!(judge(&ask(&previous, &KEY, 1), &own), Err(Refusal::Key));
    }

    #[test]
    fn a_setting_that_only_one_of_two_versions_has_is_no_difference() {
        let (mut older, own) = (ask(&config(|_| {}), &KEY, 1), ask(&config(|_| {}), &KEY, 1));
        older.settings.remove("lanes");
        assert_eq!((judge(&older, &own), judge(&own, &older)), (Ok(()), Ok(())));
    }

    #[test]
    fn reading_goes_on_wherever_it_may_have_paused() {
        let all = [Phase::Asked, Phase::Granted, Phase::Paused, Phase::Given, Phase::Taken];
        assert_eq!(all.map(Phase::has_paused), [false, false, true, true, false]);
    }
}
