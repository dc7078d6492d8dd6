//! Selection by delay beside round robin, in the same situations: two servers slow at times, always, dead, failing.

use pointsman::config::{PoolMode, PoolPolicy};

use super::servers::{Figures, Moves, Nature, Scenario, USUAL, Way, run};

const ROUND_ROBIN: Way =
    Way { policy: PoolPolicy::RoundRobin, mode: PoolMode::Proxy, interval: 2.0, lanes: 1, moves: None };
const LATENCY: Way = Way { policy: PoolPolicy::Latency, ..ROUND_ROBIN };
const LANES: Way = Way { lanes: 4, ..LATENCY };
const BLIND: Way = Way { mode: PoolMode::Redirect, ..ROUND_ROBIN };
const REDIRECT: Way = Way { policy: PoolPolicy::Weighted, mode: PoolMode::Redirect, interval: 0.5, ..ROUND_ROBIN };

/// Runs of each situation: means of their times, sums of their losses.
const SEEDS: u64 = 3;

fn of(scenario: &str, name: &str, it: &Scenario, way: Way) -> Figures {
    let runs: Vec<Figures> = (1_000..1_000 + SEEDS).map(|seed| run(it, way, seed)).collect();
    let mean = |of: fn(&Figures) -> f64| runs.iter().map(of).sum::<f64>() / SEEDS as f64;
    let figures = Figures {
        mean_ms: mean(|run| run.mean_ms),
        p99_ms: mean(|run| run.p99_ms),
        lost: runs.iter().map(|run| run.lost).sum(),
        failed: runs.iter().map(|run| run.failed).sum(),
        moved: runs.iter().map(|run| run.moved).sum(),
        out: runs.iter().filter_map(|run| run.out).max_by(f64::total_cmp),
        shares: [0, 1, 2, 3].map(|at| runs.iter().map(|run| run.shares[at]).sum::<f64>() / SEEDS as f64),
    };
    let Figures { mean_ms, p99_ms, lost, failed, moved, out, shares } = &figures;
    let shares = shares.map(|share| format!("{share:.0}")).join(" ");
    let out = out.map_or(String::new(), |out| format!(", out after {out:.2} s"));
    println!(
        "{scenario}: {name:<18} {mean_ms:7.1} ms, p99 {p99_ms:5.0} ms, lost {lost}, failed {failed}, moved {moved}, {shares} %{out}"
    );
    figures
}

fn with(servers: [Nature; 4]) -> Scenario {
    Scenario { servers, ..Scenario::default() }
}

fn bursts() -> Scenario {
    let bursty = Nature { slow: 8.0, burst: 8.0, pause: 20.0, ..USUAL };
    Scenario { calls: 50_000, ..with([USUAL, USUAL, bursty, bursty]) }
}

#[test]
fn two_servers_with_bursts_hold_up_a_tenth_of_what_they_do_in_turn() {
    let scenario = bursts();
    let even = of("bursts", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("bursts", "latency", &scenario, LATENCY);
    assert_eq!((latency.lost, latency.failed), (0, 0));
    assert!(latency.mean_ms * 10.0 <= even.mean_ms && latency.p99_ms * 20.0 <= even.p99_ms);
}

#[test]
fn lanes_that_share_nothing_do_nearly_as_well() {
    let scenario = bursts();
    let even = of("bursts", "round robin", &scenario, ROUND_ROBIN);
    let lanes = of("bursts", "latency, 4 lanes", &scenario, LANES);
    assert_eq!((lanes.lost, lanes.failed), (0, 0));
    assert!(lanes.mean_ms * 10.0 <= even.mean_ms && lanes.p99_ms * 20.0 <= even.p99_ms);
}

#[test]
fn redirected_calls_wait_a_quarter_where_probes_come_every_half_second() {
    let scenario = bursts();
    let even = of("bursts", "blind round robin", &scenario, BLIND);
    let redirect = of("bursts", "redirect", &scenario, REDIRECT);
    assert!(redirect.mean_ms * 4.0 <= even.mean_ms);
}

#[test]
fn servers_that_are_always_slower_get_what_they_can_do() {
    let slow = Nature { service: 10e-3, ..USUAL };
    let scenario = with([USUAL, USUAL, slow, slow]);
    let even = of("steady", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("steady", "latency", &scenario, LATENCY);
    assert_eq!((latency.lost, latency.failed), (0, 0));
    assert!(latency.mean_ms * 10.0 <= even.mean_ms && latency.p99_ms * 20.0 <= even.p99_ms);
}

#[test]
fn a_server_far_away_gets_its_part_when_all_are_needed() {
    let far = Nature { way: 40e-3, ..USUAL };
    let scenario = Scenario { rate: 1_300.0, ..with([USUAL, USUAL, USUAL, far]) };
    let even = of("far", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("far", "latency", &scenario, LATENCY);
    assert_eq!((latency.lost, latency.failed), (0, 0));
    assert!(latency.mean_ms <= even.mean_ms * 1.1, "{} beside {}", latency.mean_ms, even.mean_ms);
    assert!(latency.shares[3] > 10.0, "{:?}", latency.shares);
}

#[test]
fn a_dead_server_is_out_within_a_second_and_costs_next_to_nothing() {
    let scenario = Scenario { calls: 40_000, dead: Some((20.0, 50.0)), ..Scenario::default() };
    let even = of("dead", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("dead", "latency", &scenario, LATENCY);
    let lanes = of("dead", "latency, 4 lanes", &scenario, LANES);
    assert!(latency.out.unwrap() < 1.1 && even.out.unwrap() < 1.1, "{:?} {:?}", latency.out, even.out);
    assert!(
        latency.lost <= 10 * SEEDS as usize && lanes.lost <= 20 * SEEDS as usize,
        "{} {}",
        latency.lost,
        lanes.lost
    );
    assert!(latency.lost * 10 <= even.lost && latency.mean_ms < even.mean_ms);
    assert!(latency.shares[0] > 8.0, "it is back: {:?}", latency.shares);
}

#[test]
fn a_server_that_refuses_at_once_draws_no_calls() {
    let scenario = Scenario { calls: 30_000, failing: Some((20.0, 40.0)), ..Scenario::default() };
    let latency = of("failing", "latency", &scenario, LATENCY);
    assert!(latency.failed <= 20 * SEEDS as usize, "{} of {SEEDS} times 12,000", latency.failed);
    assert!(latency.shares[0] > 8.0, "it is back: {:?}", latency.shares);
}

#[test]
fn pauses_of_a_second_pass_by() {
    let stopping = Nature { slow: 400.0, burst: 1.0, pause: 20.0, ..USUAL };
    let scenario = with([stopping; 4]);
    let even = of("pauses", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("pauses", "latency", &scenario, LATENCY);
    assert!(latency.lost <= 5 * SEEDS as usize && latency.failed == 0);
    assert!(latency.mean_ms * 4.0 <= even.mean_ms);
}

#[test]
fn with_few_calls_the_probes_tell() {
    let slow = Nature { slow: 80.0, burst: 8.0, pause: 20.0, ..USUAL };
    let scenario = Scenario { rate: 5.0, calls: 3_000, ..with([USUAL, USUAL, slow, slow]) };
    let even = of("quiet", "round robin", &scenario, ROUND_ROBIN);
    let latency = of("quiet", "latency", &scenario, LATENCY);
    assert_eq!((latency.lost, latency.failed), (0, 0));
    assert!(latency.mean_ms * 4.0 <= even.mean_ms);
}

#[test]
fn calls_that_move_on_do_not_make_an_overload_worse() {
    // The four together can serve 1,600 calls a second.
    let scenario =
        Scenario { rate: 1_300.0, calls: 70_000, rush: Some(((20.0, 30.0), 1_904.0)), ..Scenario::default() };
    let moving =
        |within, to_quick| Way { mode: PoolMode::Stateful, moves: Some(Moves { within, to_quick }), ..LATENCY };
    let none = of("overload", "no fail-over", &scenario, LATENCY);
    let careful = of("overload", "to quick servers", &scenario, moving(1.0, true));
    let careless = of("overload", "to any server", &scenario, moving(1.0, false));
    assert!(careful.moved * 100 <= 70_000 * SEEDS as usize, "{} moved", careful.moved);
    assert!(careful.lost * 10 <= none.lost * 11, "{} lost beside {}", careful.lost, none.lost);
    assert!(careless.lost > none.lost, "the situation is one in which it matters: {}", careless.lost);
}

#[test]
fn calls_of_a_dead_server_move_on() {
    let scenario = Scenario { calls: 40_000, dead: Some((20.0, 50.0)), ..Scenario::default() };
    let moves = Some(Moves { within: 1.0, to_quick: true });
    let stateful = of("dead", "stateful", &scenario, Way { mode: PoolMode::Stateful, moves, ..LATENCY });
    assert_eq!((stateful.lost, stateful.failed), (0, 0));
    assert!(stateful.moved > 0);
}
