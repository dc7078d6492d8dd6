//! Answers of servers that cannot be meant, between those that are.

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};

const CALLS: usize = 1_000;
/// Broken copies of each answer.
const BROKEN: u32 = 20;

fn broken_answers(mode: &str) {
    let servers = Servers::with(3, &Manner { broken: BROKEN, ..Manner::default() });
    let front = Front::start(&settings(&format!("mode = \"{mode}\""), &servers, |_| String::new()));
    let mut callers = Callers::new(front.pointsman.address());
    // The answers of more would not fit into a socket's buffer.
    callers.window = 4;
    let outcome = callers.call(0..CALLS);
    println!("{mode}: {:?}, {} sent again", outcome.statuses, outcome.again);
    assert_eq!(outcome.statuses.values().sum::<usize>(), CALLS);
    // Text that no one checks may change on the way to a caller, the status among it.
    assert!(outcome.statuses[&200] > CALLS * 9 / 10, "{:?}", outcome.statuses);
    let ways = ["handed_over", "forwarded", "responses", "relayed", "replied", "dropped"];
    front.pointsman.wait_until("the counts to add up", |load| {
        let of = |field: &str| load["dispatcher"][field].as_u64().unwrap_or_else(|| panic!("{field}: {load}"));
        of("received") == ways.iter().map(|field| of(field)).sum::<u64>()
    });
    let rows = front.rows();
    assert!(rows.iter().all(|row| row["outstanding"] == 0 && row["state"] == "up"), "{rows:#?}");
    let of_rows = |field: &str| rows.iter().filter_map(|row| row[field].as_u64()).sum::<u64>();
    assert_eq!(of_rows("calls"), CALLS as u64 + of_rows("moved"), "{rows:#?}");
    assert!(!front.pointsman.log().contains("panicked"), "{}", front.pointsman.log());
}

#[test]
fn broken_answers_between_good_ones_lose_no_call_and_no_count() {
    broken_answers("proxy");
}

#[test]
fn broken_answers_between_good_ones_lose_no_call_with_state_and_no_count() {
    broken_answers("stateful");
}
