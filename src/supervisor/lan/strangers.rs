//! Connections that have not said `Hello` yet: how many there may be, of whom, and how many begin at a time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::crowd::{Crowd, Room, Standing};
use crate::fingerprint::host;
use crate::time::Time;

/// Most connections that have not said `Hello` yet, and most of them from one source. A host may have many workers,
/// each of which opens a connection for each lane when the dispatcher is another.
const MOST: usize = 256;
const MOST_OF_SOURCE: usize = 64;
/// Most handshakes that begin within a tick. Each takes some hundred microseconds of the thread that starts workers and
/// answers the operator.
const A_TICK: usize = 20;
pub(super) const TICK: Duration = Duration::from_millis(20);

/// The connections that have not said `Hello` yet. Copies are the same ones.
#[derive(Clone, Debug)]
pub(super) struct Strangers(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    crowd: Crowd,
    standing: Vec<Stranger>,
    next: u64,
    /// Number of those that came in this tick, which began then.
    came: usize,
    tick: Time,
}

#[derive(Debug)]
struct Stranger {
    number: u64,
    source: u64,
    since: Time,
    task: Option<AbortHandle>,
}

/// The place of a stranger; dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Strangers,
    number: u64,
}

impl Strangers {
    pub(super) fn new() -> Self {
        let crowd = Crowd::new(MOST, MOST_OF_SOURCE);
        Strangers(Arc::new(Mutex::new(Known { crowd, standing: Vec::new(), next: 0, came: 0, tick: Time(0) })))
    }

    /// A place for a connection that has come. The most silent one of the source that has most makes room for it; the
    /// second value says whether one did.
    pub(super) fn enter(&self, source: IpAddr, now: Time) -> Option<(Place, bool)> {
        let mut known = self.known();
        let source = host(source);
        let standing = known.standing.iter().map(|it| Standing {
            key: it.number,
            source: it.source,
            heard: it.since,
            in_use: false,
        });
        let room = known.crowd.room(source, standing);
        let makes_room = match room {
            Room::Free => false,
            Room::InPlaceOf(number) => {
                if let Some(task) = known.leave(number) {
                    task.abort();
                }
                true
            }
            Room::None => return None,
        };
        let number = known.next;
        known.next += 1;
        known.crowd.add(source);
        known.standing.push(Stranger { number, source, since: now, task: None });
        drop(known);
        Some((Place { strangers: self.clone(), number }, makes_room))
    }

    /// Names the task that serves a place: it ends if the place is given to another.
    pub(super) fn served(&self, number: u64, task: AbortHandle) {
        if let Some(stranger) = self.known().standing.iter_mut().find(|it| it.number == number) {
            stranger.task = Some(task);
        }
    }

    /// Counts a connection that has come; whether so many came in this tick that the next ones wait for its end.
    pub(super) fn is_hurried(&self, now: Time) -> bool {
        let mut known = self.known();
        if now.since(known.tick) >= TICK {
            (known.came, known.tick) = (0, now);
        }
        known.came += 1;
        known.came >= A_TICK
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is whole before it is seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn leave(&mut self, number: u64) -> Option<AbortHandle> {
        let at = self.standing.iter().position(|it| it.number == number)?;
        let stranger = self.standing.swap_remove(at);
        self.crowd.remove(stranger.source);
        stranger.task
    }
}

impl Place {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.known().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_many_silent_connections_takes_no_place_from_another() {
        let (strangers, ips) = (Strangers::new(), ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap()));
        let _worker = strangers.enter(ips[1], Time(0)).unwrap();
        let many: Vec<_> = (1..300).map(|at| strangers.enter(ips[0], Time(at)).unwrap()).collect();
        assert_eq!(many.iter().filter(|(_, makes_room)| *makes_room).count(), 299 - MOST_OF_SOURCE);
        let counts = || ips.map(|ip| strangers.known().crowd.count(host(ip)));
        assert_eq!(counts(), [MOST_OF_SOURCE, 1]);
        drop(many);
        assert_eq!(counts(), [0, 1]);
        assert_eq!(strangers.known().standing.len(), 1);
    }

    #[test]
    fn so_many_handshakes_begin_in_a_tick_and_no_more() {
        let strangers = Strangers::new();
        let hurried = |now| (0..A_TICK).map(|_| strangers.is_hurried(Time(now))).filter(|it| *it).count();
        assert_eq!(hurried(1_000_000), 1);
        assert_eq!(hurried(1_000_000 + TICK.as_micros() as u64), 1);
    }
}
