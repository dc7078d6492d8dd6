//! The network: it loses, doubles, delays and overtakes datagrams. Connections it only delays.
//!
//! It is unfair only so far: of the copies of one message it loses two at most. So a peer that retransmits as RFC 3261
//! says is heard in the end, and silence is the fault of a process, not of the network.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::time::Time;

use crate::dice::Dice;
use crate::{text, town};

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The sender's address.
    pub from: SocketAddr,
    /// The receiver's address.
    pub to: SocketAddr,
    /// The message.
    pub text: Rc<str>,
}

/// The roughness of the network.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of a hundred datagrams so many are lost.
    pub loss: u64,
    /// So many arrive twice.
    pub double: u64,
    /// So many are late by up to two seconds.
    pub late: u64,
    /// The usual delay, in milliseconds at most.
    pub delay: u64,
}

/// The network.
#[derive(Debug)]
pub struct Air {
    weather: Weather,
    lost: HashMap<u64, u8, BuildHasherDefault<DefaultHasher>>,
    /// When the last bytes of each connection arrive: none overtakes others.
    last: HashMap<(SocketAddr, SocketAddr), Time, BuildHasherDefault<DefaultHasher>>,
}

/// Copies of one message that may be lost.
const LOST_AT_MOST: u8 = 2;

impl Weather {
    /// Whether all arrives, once, and soon.
    pub const fn is_fair(&self) -> bool {
        self.loss == 0 && self.double == 0 && self.late == 0
    }
}

impl Air {
    /// A network in this weather.
    pub fn new(weather: Weather) -> Self {
        Air { weather, lost: HashMap::default(), last: HashMap::default() }
    }

    /// When the copies of a datagram arrive: none, one or two.
    pub fn carry(&mut self, datagram: &Datagram, now: Time, dice: &mut Dice) -> [Option<Time>; 2] {
        let Weather { loss, double, late, delay } = self.weather;
        if town::is_stream(datagram.from) || town::is_stream(datagram.to) {
            let last = self.last.entry((datagram.from, datagram.to)).or_insert(now);
            let arrival = now + Duration::from_micros(dice.between(500, delay * 1000));
            *last = arrival.max(*last + Duration::from_micros(1));
            return [Some(*last), None];
        }
        if loss > 0 && dice.chance(loss) {
            let first_line = datagram.text.split("\r\n").next().unwrap_or_default();
            let identity =
                (datagram.to, first_line, text::branch(&datagram.text), text::header(&datagram.text, "CSeq"));
            let lost = self.lost.entry(self.lost.hasher().hash_one(identity)).or_default();
            if *lost < LOST_AT_MOST {
                *lost += 1;
                return [None, None];
            }
        }
        let mut arrival = || {
            let usual = dice.between(500, delay * 1000);
            now + Duration::from_micros(if dice.chance(late) { usual + dice.roll(2_000_000) } else { usual })
        };
        let first = arrival();
        let again = arrival();
        [Some(first), dice.chance(double).then_some(again)]
    }
}
