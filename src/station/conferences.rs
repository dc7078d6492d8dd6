//! The conferences whose legs this worker has: the dispatcher sends further legs here as long as it knows of them.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::call::CallKey;
use crate::time::Time;
use crate::wire::sip::Uri;

/// Conferences by name, with their legs counted. Bounded by the calls there are.
#[derive(Debug, Default)]
pub(super) struct Conferences {
    open: BTreeMap<Box<[u8]>, OpenConference>,
    /// Names by their legs. Keys are our own numbers, so a fixed hasher is safe.
    names: HashMap<CallKey, Box<[u8]>, FixedState>,
}

/// A conference that is open.
#[derive(Debug)]
struct OpenConference {
    since: Time,
    legs: usize,
}

impl Conferences {
    /// A leg has come in. True when it is the conference's first.
    pub(super) fn join(&mut self, call: CallKey, name: Box<[u8]>, now: Time) -> bool {
        let open = self.open.entry(name.clone()).or_insert(OpenConference { since: now, legs: 0 });
        open.legs += 1;
        let first = open.legs == 1;
        self.names.insert(call, name);
        first
    }

    /// A call is over; the conference's name, if it was its last leg.
    pub(super) fn leave(&mut self, call: CallKey) -> Option<Box<[u8]>> {
        let name = self.names.remove(&call)?;
        let open = self.open.get_mut(&name)?;
        open.legs -= 1;
        if open.legs > 0 {
            return None;
        }
        self.open.remove(&name);
        Some(name)
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All that are open: since when, and their names.
    pub(super) fn open(&self) -> impl Iterator<Item = (Time, Box<[u8]>)> + '_ {
        self.open.iter().map(|(name, open)| (open.since, name.clone()))
    }
}

/// The conference that the request-URI of an INVITE names, in lower case: names compare in any case.
pub(super) fn name_of(uri: Uri<'_>) -> Option<Box<[u8]>> {
    uri.conference().map(|name| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Handle;

    #[test]
    fn a_conference_is_open_from_its_first_leg_to_its_last() {
        let mut conferences = Conferences::default();
        let name: Box<[u8]> = b"conf=1"[..].into();
        let [one, two, other] = [0, 1, 2].map(|index| CallKey::new(index, 0));
        assert!(conferences.join(one, name.clone(), Time(1)));
        assert!(!conferences.join(two, name.clone(), Time(2)));
        assert_eq!(conferences.open().collect::<Vec<_>>(), [(Time(1), name.clone())]);
        assert_eq!(conferences.leave(other), None);
        assert_eq!(conferences.leave(one), None);
        assert_eq!(conferences.leave(two), Some(name.clone()));
        assert!(conferences.join(one, name, Time(3)));
    }

    #[test]
    fn the_name_is_the_user_part_without_its_parameters() {
        let name = |uri: &str| name_of(Uri::parse(uri.as_bytes()).unwrap());
        assert_eq!(name("sip:conf=ab12@ms").as_deref(), Some(&b"conf=ab12"[..]));
        assert_eq!(name("sip:conf=ab12;unit=3@ms").as_deref(), Some(&b"conf=ab12"[..]));
        assert_eq!(name("sip:Conf=AB12@ms").as_deref(), Some(&b"conf=ab12"[..]));
        assert_eq!(name("sip:conf=@ms"), None);
        assert_eq!(name("sip:ivr@ms"), None);
    }
}
