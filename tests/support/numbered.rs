//! The input of a measured decision: messages that differ by a number, workers that take everything, and entries of the
//! table.

use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::Policy;
use pointsman::dispatch::decision::{Arrival, Joined, Services};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::table::{NewEntry, State, Table};
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::fingerprint::{Printer, SourcePrint};
use pointsman::ids::{Incarnation, ListenerId, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::words::{ReplyTo, Transport};

pub const KEY: TokenKey = TokenKey::new([9; 32]);

/// A message with a number in it.
pub struct Numbered {
    pub bytes: Vec<u8>,
    pub number: u64,
    places: Vec<usize>,
    digits: usize,
}

impl Numbered {
    /// A message whose number stands wherever there are so many `N`, ten at most.
    pub fn new(bytes: Vec<u8>, digits: usize) -> Self {
        let mark = &b"NNNNNNNNNN"[..digits];
        let places = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(mark)).collect();
        Numbered { bytes, number: 0, places, digits }
    }

    pub fn next(&mut self) {
        self.number += 1;
        let mut digits = [b'0'; 10];
        let mut rest = self.number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let digits = &digits[10 - self.digits..];
        self.places.iter().for_each(|&at| self.bytes[at..at + digits.len()].copy_from_slice(digits));
    }
}

pub fn arrival(now: Time) -> Arrival {
    Arrival {
        listener: ListenerId(0),
        transport: Transport::Udp,
        reply_to: ReplyTo::Datagram,
        source: SocketAddr::from(([203, 0, 113, 5], 5060)),
        local: SocketAddr::from(([198, 51, 100, 1], 5060)),
        received: now,
        alias: false,
        certified: None,
    }
}

/// The decision, with so many workers. The incarnation of each is its number.
pub fn dispatch(workers: usize, policy: Policy, table_cap: usize) -> Dispatch {
    let rules = Rules { policy, slow_start: Duration::ZERO, ..Rules::default() };
    let setup = Setup { rules, keys: Keyring::new(KEY), table_cap, group_cap: 1024, workers, seed: 3 };
    let mut dispatch = Dispatch::new(setup);
    for worker in 0..workers as u16 {
        let addresses = vec![SocketAddr::from(([198, 51, 100, 1], 10_000 + worker))];
        let joined =
            Joined { services: Services::ALL, ..Joined::sip(Incarnation::new(u64::from(worker)), u32::MAX, addresses) };
        dispatch.on_worker_up(WorkerId(worker), &joined, Time(1));
    }
    dispatch
}

/// Puts a transaction into the table that is answered at once.
pub fn enter(table: &mut Table, printer: &Printer, number: u64) {
    let text = number.to_le_bytes();
    let new = NewEntry {
        is_remembered: false,
        name: printer.print(1, &[&text]),
        call: printer.print(2, &[&text]),
        discriminator: 1,
        target: WorkerId(1).into(),
        life: 1,
        hold: None,
        is_invite: true,
        state: State::PENDING,
        source: SourcePrint::default(),
    };
    let (id, _) = table.insert(new, Time(number)).unwrap();
    table.answered(id, Time(number));
}
