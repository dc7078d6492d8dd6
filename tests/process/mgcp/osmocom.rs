//! Osmocom's own MGCP client as call agent.

use super::*;
use crate::support::osmocom::{CallAgent, free_port};
use crate::support::pass_over;

#[test]
fn osmocoms_call_agent_makes_five_hundred_calls_all_of_them_good_and_spread_by_load() {
    let Some(agent) = CallAgent::build() else {
        return pass_over("no source of Osmocom's call agent, no compiler or no library");
    };
    let port = free_port();
    let setup = Setup { ip: [127, 0, 0, 1].into(), port, sip: false, worker_ports: free_port(), ..Setup::new(4) };
    let listen = format!("mgcp:127.0.0.1:{port}");
    let worker_ports = format!("{}", free_port());
    let pointsman = setup.with(["--listen", &listen, "--worker-mgcp-ports", &worker_ports]).start();
    let said = agent.run(port, 500);
    assert!(said.contains("calls=500 ok=500 bad=0"), "{said}");
    let handoffs: Vec<u64> = (0..4).map(|slot| pointsman.worker_number(slot, "handoffs")).collect();
    assert_eq!(handoffs.iter().sum::<u64>(), 500, "{handoffs:?}");
    // Lanes hear of each other's handovers a little later, so their spread is wider.
    assert!(handoffs.iter().all(|&count| count >= if pointsman.has_lanes() { 50 } else { 75 }), "{handoffs:?}");
    wait_until_empty(&pointsman);
}
