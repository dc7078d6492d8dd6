//! A dispatcher's decision with its workers, and a clock that the test moves: the tests of both protocols' rules share
//! it.

use std::net::SocketAddr;
use std::time::Duration;

use pointsman::dispatch::decision::{Arrival, Handoff, Joined, Services};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::note::Note;
use pointsman::dispatch::returned::{Cause, Returned};
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, LinkId, ListenerId, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::words::{HandedOver, ReplyTo, Report, Transport};

pub const KEY: TokenKey = TokenKey::new([9; 32]);
pub const START: Time = Time(1_000_000_000);

pub struct Rig {
    pub dispatch: Dispatch,
    /// The arrival of the next message.
    pub arrival: Arrival,
    pub now: Time,
    /// The number of lives that each slot has had.
    pub lives: Vec<u64>,
}

impl Rig {
    /// A dispatcher whose workers are there, each with a hundred units.
    pub fn new(transport: Transport, workers: usize, rules: Rules, table_cap: usize) -> Self {
        let (source, local) = if transport == Transport::Mgcp { (2727, 2427) } else { (5060, 5060) };
        let setup = Setup { rules, keys: Keyring::new(KEY), table_cap, group_cap: 100, workers, seed: 1 };
        let arrival = Arrival {
            listener: ListenerId(0),
            transport,
            reply_to: ReplyTo::Datagram,
            source: SocketAddr::from(([203, 0, 113, 5], source)),
            local: SocketAddr::from(([198, 51, 100, 1], local)),
            received: START,
            alias: false,
            certified: None,
        };
        let mut rig = Rig { dispatch: Dispatch::new(setup), arrival, now: START, lives: vec![0; workers] };
        (0..workers).for_each(|worker| rig.up(worker as u16, 100));
        rig
    }

    pub fn up(&mut self, worker: u16, capacity: u32) {
        let joined = self.joined(worker, capacity, Services::ALL);
        self.dispatch.on_worker_up(WorkerId(worker), &joined, self.now);
    }

    /// The introduction of a worker's next life.
    pub fn joined(&mut self, worker: u16, capacity: u32, services: Services) -> Joined {
        let life = &mut self.lives[usize::from(worker)];
        *life += 1;
        Joined {
            incarnation: Incarnation::new(u64::from(worker) << 20 | *life),
            link: LinkId(*life),
            capacity,
            services,
            addresses: vec![SocketAddr::from(([0, 0, 0, 0], 5070 + worker))],
            mgcp: vec![
                SocketAddr::from(([198, 51, 100, 1], 2430 + worker)),
                SocketAddr::from(([198, 51, 100, 20_u8.wrapping_add(worker as u8)], 2427)),
            ],
        }
    }

    pub fn down(&mut self, worker: u16) {
        let (worker, life) = (WorkerId(worker), self.dispatch.life(WorkerId(worker)));
        self.dispatch.on_worker_lost(worker);
        self.dispatch.on_link_read(worker, life, self.now);
    }

    /// A sign of life of a worker: a report that is its first, or older than its last.
    pub fn heard(&mut self, worker: u16) {
        let report = Report { number: 1, units_total: 100, ..Report::default() };
        self.dispatch.on_report(WorkerId(worker), &report, self.now);
    }

    /// The token of a worker's life, the first being 1.
    pub fn token(&self, worker: u16, life: u64) -> String {
        KEY.token(Incarnation::new(u64::from(worker) << 20 | life)).to_string()
    }

    /// The final response to a handed-over message has left.
    pub fn answered(&mut self, had: &Handoff) {
        self.dispatch.on_answered(had.entry.unwrap(), self.now);
    }

    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.dispatch.handle_timeout(self.now);
    }
}

/// A handed-over message, as it comes back.
pub fn returned(text: &str, had: &Handoff, arrival: &Arrival, cause: Cause) -> Returned {
    let (envelope, note, payload) = (had.envelope(arrival), Note::of(had, None), text.as_bytes().to_vec());
    Returned { message: HandedOver { envelope, note, payload, sent: true }, from: had.worker, cause }
}
