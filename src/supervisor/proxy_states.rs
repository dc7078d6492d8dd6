//! States of the downstream proxies, as the lanes see them, for the log.
//!
//! Every lane hears the answers to probes, and each hears those to its own requests. The state of a proxy is that of
//! the lane where it is worst, as in the stats; a change of it is logged once, whichever lanes have seen it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tracing::{info, warn};

use crate::dispatch::targets::proxies::StateChange;
use crate::dispatch::targets::proxy::{Change, State};

/// The proxies that any lane does not see up.
#[derive(Debug, Default)]
pub(super) struct ProxyStates {
    proxies: BTreeMap<(String, Option<SocketAddr>), BTreeMap<usize, Change>>,
}

impl ProxyStates {
    /// Takes note of a change that a lane has seen, and logs the change that it makes.
    pub(super) fn on_change(&mut self, lane: usize, seen: &StateChange) {
        let Some(Change { state, why }) = self.changed(lane, seen) else { return };
        let StateChange { name: proxy, address, .. } = seen;
        let (address, why) = (address.map(tracing::field::display), why.label());
        match state {
            State::Up => info!(proxy, address, why, "a downstream proxy is up"),
            State::Trial => info!(proxy, address, why, "a downstream proxy is tried again"),
            State::Down | State::Unresolved => warn!(proxy, address, why, "a downstream proxy is down"),
        }
    }

    /// The change of a proxy's state that a change in one lane makes.
    fn changed(&mut self, lane: usize, seen: &StateChange) -> Option<Change> {
        let key = (seen.name.clone(), seen.address);
        let lanes = self.proxies.entry(key.clone()).or_default();
        let worst = |lanes: &BTreeMap<usize, Change>| lanes.values().copied().max_by_key(|change| change.state);
        let before = worst(lanes);
        match seen.to {
            Some(change) if change.state != State::Up => _ = lanes.insert(lane, change),
            _ => _ = lanes.remove(&lane),
        }
        let after = worst(lanes);
        if lanes.is_empty() {
            self.proxies.remove(&key);
        }
        let is_changed = after.map(|change| change.state) != before.map(|change| change.state);
        // A proxy that the settings have no more is neither up nor down.
        let to = seen.to.filter(|_| is_changed)?;
        Some(after.unwrap_or(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::targets::proxy::Why;

    fn told(states: &mut ProxyStates, lane: usize, to: Option<(State, Why)>) -> Option<(State, Why)> {
        let to = to.map(|(state, why)| Change { state, why });
        let seen = StateChange { name: "fs1".to_owned(), address: "192.0.2.1:5060".parse().ok(), to };
        states.changed(lane, &seen).map(|change| (change.state, change.why))
    }

    #[test]
    fn a_change_that_all_lanes_see_is_told_once() {
        let mut states = ProxyStates::default();
        let (down, up) = (Some((State::Down, Why::Probe)), Some((State::Up, Why::Probe)));
        assert_eq!([3, 0, 1, 2].map(|lane| told(&mut states, lane, down)), [down, None, None, None]);
        assert_eq!([0, 1, 2, 3].map(|lane| told(&mut states, lane, up)), [None, None, None, up]);
        assert!(states.proxies.is_empty());
    }

    #[test]
    fn a_change_that_one_lane_sees_is_told_whichever_it_is() {
        for lane in [0, 1, 7] {
            let mut states = ProxyStates::default();
            for change in [(State::Down, Why::Silent), (State::Trial, Why::Silent), (State::Up, Why::Answer)] {
                assert_eq!(told(&mut states, lane, Some(change)), Some(change));
            }
        }
    }

    #[test]
    fn a_proxy_is_in_the_worst_state_that_a_lane_sees() {
        let mut states = ProxyStates::default();
        let (down, trial, up) = ((State::Down, Why::Status), (State::Trial, Why::Silent), (State::Up, Why::Answer));
        assert_eq!(told(&mut states, 0, Some(trial)), Some(trial));
        assert_eq!(told(&mut states, 1, Some(down)), Some(down));
        assert_eq!(told(&mut states, 0, Some(up)), None);
        assert_eq!(told(&mut states, 0, Some(trial)), None);
        assert_eq!(told(&mut states, 1, Some(up)), Some(trial));
        assert_eq!(told(&mut states, 0, Some(up)), Some(up));
    }

    #[test]
    fn a_proxy_that_the_settings_lose_while_it_is_down_is_down_anew_when_it_comes_again() {
        let mut states = ProxyStates::default();
        let down = Some((State::Down, Why::Probe));
        assert_eq!([0, 1].map(|lane| told(&mut states, lane, down)), [down, None]);
        assert_eq!([0, 1].map(|lane| told(&mut states, lane, None)), [None, None]);
        assert!(states.proxies.is_empty());
        assert_eq!([0, 1].map(|lane| told(&mut states, lane, down)), [down, None]);
    }
}
