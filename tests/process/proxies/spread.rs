//! Calls are spread by the weights that the dispatcher shows.
//!
//! Where it sees the answers, weights are those of the handicaps and of the delays that this machine makes.

use std::time::{Duration, Instant};

use super::callers::{Callers, Outcome};
use super::servers::Servers;
use super::{Front, settings};

/// Calls of each test.
const CALLS: usize = 10_000;
/// Largest difference between a share of the calls and that of the weights.
const POINT: f64 = 0.01;
/// Interval at which the weights are read.
const READ_EVERY: Duration = Duration::from_millis(10);

/// Calls that each server should have had, and the number of times that its weight was read.
#[derive(Debug, Default)]
struct Expected {
    calls: Vec<f64>,
    read: usize,
}

impl Expected {
    /// Takes note that so many calls began while these weights were shown.
    fn add(&mut self, weights: &[f64], calls: usize) {
        self.calls.resize(weights.len(), 0.0);
        let sum: f64 = weights.iter().sum();
        self.calls.iter_mut().zip(weights).for_each(|(expected, weight)| *expected += calls as f64 * weight / sum);
        self.read += 1;
    }
}

fn weights(front: &Front) -> Vec<f64> {
    front.rows().iter().filter_map(|row| row["weight"].as_f64()).collect()
}

/// Places the calls, and reads the weights meanwhile.
fn place(front: &Front) -> (Outcome, Expected) {
    let (callers, mut expected) = (Callers::new(front.pointsman.address()), Expected::default());
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(0..CALLS));
        let (mut before, mut done) = (weights(front), 0);
        while done < CALLS && !outcome.is_finished() {
            std::thread::sleep(READ_EVERY);
            let (now, after) = (callers.done(), weights(front));
            // Weights change by jumps in between.
            let half = (now - done) / 2;
            expected.add(&before, half);
            expected.add(&after, now - done - half);
            (before, done) = (after, now);
        }
        outcome.join().unwrap()
    });
    (outcome, expected)
}

/// Places calls at servers of these handicaps, of which one is down if it is given.
fn spread(mode: &str, handicaps: &[u32], down: Option<usize>, within: f64) {
    let servers = Servers::start(handicaps.len());
    let pool = format!("mode = \"{mode}\"\npolicy = \"weighted\"");
    let lines = |number: usize| format!("handicap = {}\nprobe-interval = \"500ms\"", handicaps[number]);
    if let Some(down) = down {
        servers.close(down);
    }
    let front = Front::start(&settings(&pool, &servers, lines));
    if let Some(down) = down {
        front.wait_for_state(&format!("s{down}"), "down");
    }
    let begin = Instant::now();
    let (outcome, expected) = place(&front);
    println!("{mode}: {CALLS} calls in {:?}, {} messages sent again", begin.elapsed(), outcome.again);
    let is_redirected = mode == "redirect";
    assert_eq!(outcome.statuses.get(&if is_redirected { 302 } else { 200 }), Some(&CALLS), "{:?}", outcome.statuses);
    let calls = |server| match is_redirected {
        true => outcome.contacts.get(&servers.address(server)).copied().unwrap_or_default(),
        false => servers.calls(server),
    };
    let counts: Vec<usize> = (0..servers.count()).map(calls).collect();
    let rounded: Vec<i64> = expected.calls.iter().map(|calls| calls.round() as i64).collect();
    println!("{counts:?}\n{rounded:?} by weights that were read {} times", expected.read);
    assert_eq!(counts.iter().sum::<usize>(), CALLS);
    assert_eq!(down.map_or(0, |down| counts[down]), 0);
    for (count, expected) in counts.iter().zip(&expected.calls) {
        let difference = (*count as f64 - expected) / CALLS as f64;
        assert!(difference.abs() <= within, "{counts:?} are not {rounded:?}");
    }
}

#[test]
fn proxied_calls_are_spread_by_weight() {
    spread("proxy", &[900, 600, 300], None, POINT);
}

#[test]
fn proxied_calls_with_state_are_spread_by_weight() {
    spread("stateful", &[900, 600, 300], None, POINT);
}

#[test]
fn redirected_calls_are_spread_by_weight() {
    spread("redirect", &[900, 600, 300], None, POINT);
}

#[test]
fn the_share_of_a_server_that_is_down_goes_to_all_others_and_not_to_its_neighbour() {
    spread("proxy", &[800, 600, 400, 200], Some(1), POINT);
}

#[test]
fn the_share_of_a_server_that_is_down_goes_to_all_others_with_state() {
    spread("stateful", &[800, 600, 400, 200], Some(1), POINT);
}

#[test]
fn the_share_of_a_server_that_is_down_goes_to_all_others_by_redirects() {
    spread("redirect", &[800, 600, 400, 200], Some(1), POINT);
}

fn thirty() -> Vec<u32> {
    (0..30).map(|number| 100 * (1 + number % 5)).collect()
}

#[test]
fn thirty_servers_get_calls_by_weight() {
    spread("proxy", &thirty(), None, POINT / 2.0);
}

#[test]
fn of_thirty_servers_the_share_of_one_that_is_down_goes_to_all_others() {
    spread("proxy", &thirty(), Some(29), POINT / 2.0);
}
