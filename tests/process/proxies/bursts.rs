//! Calls through real dispatchers to servers that are slow at times: by delay, and in turn beside it.

use std::time::{Duration, Instant};

use super::callers::{Callers, Outcome};
use super::servers::{Manner, Servers};
use super::{Front, settings};

/// Calls of each policy, and how many come in a second: four servers can do 1,600.
const CALLS: usize = 9_000;
const RATE: f64 = 600.0;
const SERVICE: Duration = Duration::from_micros(2_500);
/// In a burst a server is slower by so much.
const SLOWER: u32 = 8;
/// Bursts: server, begin and end in milliseconds.
const BURSTS: [(usize, u64, u64); 2] = [(2, 2_000, 7_000), (3, 6_000, 11_000)];
/// Time after which callers give up.
const PATIENCE: Duration = Duration::from_secs(5);

struct Figures {
    mean: f64,
    p99: f64,
    given_up: usize,
}

impl Figures {
    /// Of a call that was given up the patience counts.
    fn of(policy: &str, outcome: &Outcome) -> Self {
        let mut delays: Vec<f64> = outcome.delays.iter().map(|delay| delay.as_secs_f64() * 1e3).collect();
        delays.extend((0..outcome.given_up).map(|_| PATIENCE.as_secs_f64() * 1e3));
        delays.sort_by(f64::total_cmp);
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let figures = Figures { mean, p99: delays[delays.len() * 99 / 100], given_up: outcome.given_up };
        println!("{policy}: mean {mean:.1} ms, p99 {:.1} ms, {} given up", figures.p99, figures.given_up);
        assert_eq!(outcome.statuses.get(&200), Some(&(CALLS - outcome.given_up)), "{:?}", outcome.statuses);
        figures
    }
}

/// Places the same calls by two policies at the same time, at servers with the same bursts.
fn side_by_side(policies: [&str; 2]) -> [Figures; 2] {
    let manner = Manner { service: SERVICE, ..Manner::default() };
    let sides = policies.map(|policy| {
        let servers = Servers::with(4, &manner);
        let pool = format!("policy = \"{policy}\"");
        let front = Front::start(&settings(&pool, &servers, |_| "probe-interval = \"500ms\"".to_owned()));
        let mut callers = Callers::at_rate(front.pointsman.address(), RATE);
        (callers.window, callers.patience) = (usize::MAX, Some(PATIENCE));
        (servers, front, callers)
    });
    let outcomes = std::thread::scope(|scope| {
        let outcomes = sides.each_ref().map(|(_, _, callers)| scope.spawn(|| callers.call(0..CALLS)));
        let begin = Instant::now();
        let mut changes: Vec<(u64, usize, u32)> = Vec::new();
        for (server, from, to) in BURSTS {
            changes.extend([(from, server, SLOWER), (to, server, 1)]);
        }
        changes.sort_unstable();
        for (at, server, factor) in changes {
            std::thread::sleep(Duration::from_millis(at).saturating_sub(begin.elapsed()));
            sides.iter().for_each(|(servers, ..)| servers.change(server, |manner| manner.service = factor * SERVICE));
        }
        outcomes.map(|outcome| outcome.join().unwrap())
    });
    [0, 1].map(|at| Figures::of(policies[at], &outcomes[at]))
}

// By how much is for the simulation, whose time is its own: a tenth, and less.
#[test]
fn calls_by_delay_wait_less_than_calls_in_turn_while_servers_are_slow_at_times() {
    let [latency, in_turn] = side_by_side(["latency", "round-robin"]);
    assert!(latency.given_up <= in_turn.given_up && latency.mean * 2.0 <= in_turn.mean);
}
