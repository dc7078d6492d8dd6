//! Many calls, and the messages of them that reach the dispatcher.

use crate::generator::{Generator, Pace, Plan, Routing, Until};
use crate::support::pointsman::Setup;

const CALLS: u64 = 10_000;

#[test]
fn of_ten_thousand_calls_the_dispatcher_receives_the_invites_only() {
    let pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(1_000.0),
        at_most: 1_000,
        until: Until::Calls(CALLS),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let outcome = generator.run().clone();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (CALLS, CALLS));
    assert_eq!((outcome.from_elsewhere, outcome.strangers, outcome.second_answers), (0, 0, 0));
    let load = pointsman.load();
    assert_eq!(load["dispatcher"]["received"], outcome.invites_sent, "{load}");
    assert_eq!(load["dispatcher"]["handed_over"], outcome.invites_sent, "{load}");
    assert_eq!(load["dispatcher"]["dropped"], 0, "{load}");
    // Each worker named its own port, and least-load gave each its share.
    assert_eq!(outcome.contacts.len(), 4, "{:?}", outcome.contacts);
    assert!(outcome.contacts.values().all(|&calls| calls > CALLS / 8), "{:?}", outcome.contacts);
    pointsman.wait_until("the load to be nothing again", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().all(|worker| worker["units_used"] == 0 && worker["sessions"] == 0 && worker["ledger"] == 0)
    });
}

#[test]
fn a_client_with_a_fixed_outbound_proxy_is_served_through_the_well_known_port() {
    let pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(500.0),
        at_most: 1_000,
        until: Until::Calls(1_000),
        routing: Routing::Target,
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let outcome = generator.run().clone();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!(outcome.completed, 1_000);
    let received = pointsman.dispatcher("received");
    let acks = outcome.answered + outcome.answers_again;
    assert_eq!(received, outcome.invites_sent + acks + outcome.byes_sent + outcome.byes_again);
}
