//! Messages that have come together. A few are read before the first of them is decided about, and the memory that
//! their decisions need is on its way meanwhile. The decisions are made one after the other, in the order of the
//! messages. The code of the reader, and then that of the decision, also stays in the cache for several messages.

use super::in_hand::InHand;
use super::links::Channel;
use super::{Switch, Way};
use crate::dispatch::{Foreseen, ReadCommand, ReadRequest};
use crate::time::Time;
use crate::wire::mgcp;
use crate::wire::sip::{Essentials, Message, Scanner, Unparsable};
use crate::words::Transport;

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
        let (mut group, mut commands) = (Group::default(), Commands::default());
        for (bytes, way) in came {
            if way.arrival.transport == Transport::Mgcp {
                self.add_datagram(&mut commands, (bytes, way), now);
            } else if self.is_own(bytes, &way) {
                self.add(&mut group, (bytes, way), now);
            }
        }
        self.decide_group(&group, now);
        self.decide_commands(&mut commands, now);
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
        let mut read: [Option<Read<'_>>; TOGETHER] = [const { None }; TOGETHER];
        for ((place, scanner), (bytes, _)) in read.iter_mut().zip(&mut scanners.0).zip(group.0.iter().flatten()) {
            *place = Some(scanner.scan(bytes));
        }
        let ahead = |at: usize| match (read.get(at)?, group.0.get(at)?) {
            (Some(Ok(message)), Some((_, way))) => self.dispatch.read_ahead(message, &way.arrival),
            _ => None,
        };
        // Each is made where it stays: they are large, and `array::from_fn` would move them three times.
        let essentials: [Option<Essentials<'_>>; TOGETHER] = [ahead(0), ahead(1), ahead(2), ahead(3)];
        let mut foreseen: [Option<ReadRequest<'_>>; TOGETHER] = [const { None }; TOGETHER];
        for (((place, message), essentials), came) in foreseen.iter_mut().zip(&read).zip(&essentials).zip(&group.0) {
            if let (Some(Ok(message)), Some(essentials), Some((_, way))) = (message, essentials, came) {
                *place = self.dispatch.foresee(message, essentials, &way.arrival, now);
            }
        }
        for ((message, (bytes, way)), foreseen) in read.iter().flatten().zip(group.0.iter().flatten()).zip(&foreseen) {
            let message = match message {
                Ok(message) if self.is_kept_early(message, bytes, way, now) => continue,
                Ok(message) => message.into(),
                Err(bad) => bad.into(),
            };
            let in_hand = InHand { message, way, chain: None, now };
            self.outbox.decide(&mut self.dispatch, &in_hand, foreseen.as_ref().map(Foreseen::Request));
            self.place_not_taken(now);
        }
        self.scanners = scanners;
    }

    /// Adds the message of a datagram of MGCP to those that are decided about together. Several messages in one
    /// datagram wait for each other: they are acted on by themselves, after those that came before.
    fn add_datagram<'m>(&mut self, commands: &mut Commands<'m>, (bytes, way): Came<'m>, now: Time) {
        let mut parts = mgcp::parts(bytes);
        let first = parts.next().unwrap_or(bytes);
        if parts.next().is_some() {
            self.decide_commands(commands, now);
            self.on_several(bytes, &way, now);
            return self.go_on_chains(now);
        }
        self.count_received(&way);
        let message = mgcp::parse(first);
        if self.is_passed(self.lane_of_message(&message, &way), first, &way) {
            return;
        }
        if commands.0.iter().all(Option::is_some) {
            self.decide_commands(commands, now);
        }
        if let Some(place) = commands.0.iter_mut().find(|place| place.is_none()) {
            *place = Some((message, way));
        }
    }

    /// Decides about the messages of MGCP that have been put together, and takes them out.
    fn decide_commands(&mut self, commands: &mut Commands<'_>, now: Time) {
        let mut foreseen: [Option<ReadCommand<'_>>; TOGETHER] = [const { None }; TOGETHER];
        for (place, command) in foreseen.iter_mut().zip(&commands.0) {
            if let Some((Ok(mgcp::Message::Command(command)), way)) = command {
                *place = self.dispatch.foresee_command(command, &way.arrival, now);
            }
        }
        for ((message, way), foreseen) in commands.0.iter().flatten().zip(&foreseen) {
            self.decide_parsed(message, way, None, foreseen.as_ref().map(Foreseen::Command), now);
            self.go_on_chains(now);
        }
        *commands = Commands::default();
    }
}

/// Messages of MGCP that are decided about together.
#[derive(Debug, Default)]
struct Commands<'m>([Option<(Result<mgcp::Message<'m>, mgcp::Unparsable<'m>>, Way)>; TOGETHER]);

/// A message as the scanner found it.
type Read<'m> = Result<Message<'m>, Unparsable<'m>>;

/// Messages that are decided about together.
#[derive(Debug, Default)]
pub(super) struct Group<'m>([Option<Came<'m>>; TOGETHER]);
