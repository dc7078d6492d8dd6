//! Messages that have come together. A few are read before the first of them is decided about, and the memory that
//! their decisions need is on its way meanwhile. The decisions are made one after the other, in the order of the
//! messages. The code of the reader, and then that of the decision, also stays in the cache for several messages.

use super::in_hand::InHand;
use super::links::Channel;
use super::{Switch, Way};
use crate::dispatch::Foreseen;
use crate::time::Time;
use crate::wire::sip::{Message, Scanner, Unparsable};

/// Messages that are read before the first of them is decided about.
const TOGETHER: usize = 4;

/// A message, and the way on which it came.
type Came<'m> = (&'m [u8], Way);

/// Scanners for messages that are read together.
#[derive(Debug)]
pub(super) struct Scanners(Vec<Scanner>);

impl Scanners {
    pub(super) fn new() -> Self {
        Scanners((0..TOGETHER).map(|_| Scanner::new()).collect())
    }
}

impl<C: Channel> Switch<C> {
    /// Messages of one transport have come to a socket together.
    pub fn on_messages<'m>(&mut self, came: impl IntoIterator<Item = Came<'m>>, now: Time) {
        let mut group = Group::default();
        for (bytes, way) in came {
            if self.is_own(bytes, &way, now) {
                self.add(&mut group, (bytes, way), now);
            }
        }
        self.decide_group(&group, now);
    }

    /// Adds a message of this lane to those that are decided about together.
    pub(super) fn add<'m>(&mut self, group: &mut Group<'m>, came: Came<'m>, now: Time) {
        if let Some(place) = group.0.iter_mut().find(|place| place.is_none()) {
            *place = Some(came);
        }
        if group.0.iter().all(Option::is_some) {
            self.decide_group(group, now);
            *group = Group::default();
        }
    }

    /// Decides about the messages of a group.
    pub(super) fn decide_group(&mut self, group: &Group<'_>, now: Time) {
        if let [Some((bytes, way)), None, ..] = &group.0 {
            return self.decide_in_turn(bytes, way, now);
        }
        // They are the switch's only in between: the messages that they hold are decided about by all of the switch.
        let mut scanners = std::mem::replace(&mut self.scanners, Scanners(Vec::new()));
        let mut scanned = scanners.0.iter_mut().zip(group.0.iter().flatten());
        let read: [Option<(Read<'_>, &Came<'_>)>; TOGETHER] =
            std::array::from_fn(|_| scanned.next().map(|(scanner, came)| (scanner.scan(came.0), came)));
        let foreseen: [Option<Foreseen<'_>>; TOGETHER] = std::array::from_fn(|at| match &read[at] {
            Some((Ok(message), (_, way))) => self.dispatch.foresee(message, &way.arrival, now),
            _ => None,
        });
        for ((message, (bytes, way)), foreseen) in read.iter().flatten().zip(&foreseen) {
            let message = match message {
                Ok(message) if self.is_kept_early(message, bytes, way, now) => continue,
                Ok(message) => message.into(),
                Err(bad) => bad.into(),
            };
            let in_hand = InHand { message, way, chain: None, now };
            self.outbox.decide(&mut self.dispatch, &in_hand, foreseen.as_ref());
            self.place_not_taken(now);
        }
        self.scanners = scanners;
    }
}

/// A message as the scanner found it.
type Read<'m> = Result<Message<'m>, Unparsable<'m>>;

/// Messages that are decided about together.
#[derive(Debug, Default)]
pub(super) struct Group<'m>([Option<Came<'m>>; TOGETHER]);
