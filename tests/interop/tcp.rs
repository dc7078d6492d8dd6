//! sipp over TCP.

use std::path::Path;

use crate::support::pointsman::{Pointsman, Setup};
use crate::{CALLS, Scenario, handed_over_and_relayed, place_calls_over};

/// A dispatcher that listens on UDP and TCP.
fn start(lanes: usize) -> Pointsman {
    let setup = Setup::new(4).lanes(lanes);
    let listen = format!("tcp:{}:{}", setup.ip, setup.port);
    // All calls come from one address, and a busy machine has more of them at a time than its share of connections.
    setup.with(["--listen", &listen, "--max-connections-per-source", "9000"]).start()
}

#[test]
fn calls_over_one_tcp_connection_are_spread_over_the_workers_and_none_fails() {
    for lanes in [1, 2, 4] {
        let pointsman = start(lanes);
        place_calls_over(&pointsman, &Scenario::BuiltIn("uac"), "t1");
        let (handed_over, relayed) = handed_over_and_relayed(&pointsman);
        // ACK and BYE come on it as well; a 200 that comes again to a busy sipp has another ACK.
        assert!(handed_over == CALLS && relayed >= 2 * CALLS, "{lanes} lanes: {handed_over} and {relayed}");
        let load = pointsman.load();
        for worker in load["workers"].as_array().expect("a list") {
            let handoffs = worker["handoffs"].as_u64().unwrap_or_default();
            assert!(handoffs > CALLS / 8, "{lanes} lanes: {load}");
        }
    }
}

#[test]
fn calls_over_a_tcp_connection_each_are_all_served() {
    let pointsman = start(1);
    place_calls_over(&pointsman, &Scenario::BuiltIn("uac"), "tn");
    let (handed_over, relayed) = handed_over_and_relayed(&pointsman);
    // A 200 that comes again to a busy sipp has another ACK.
    assert!(handed_over == CALLS && relayed >= 2 * CALLS, "{handed_over} and {relayed}");
}

#[test]
fn over_tcp_a_caller_that_follows_contact_sends_the_dispatcher_its_invites_only() {
    let pointsman = start(1);
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/follow_contact.xml");
    place_calls_over(&pointsman, &Scenario::File(&scenario), "tn");
    assert_eq!(handed_over_and_relayed(&pointsman), (CALLS, 0));
    assert_eq!(pointsman.dispatcher("received"), CALLS);
}
