//! Silence and losses of connections: `R/rto`, `R/pl`.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn observed(sent: &[String]) -> Vec<String> {
    let is_observed = |line: &&str| line.starts_with("O: ");
    sent.iter().flat_map(|text| text.lines().filter(is_observed)).map(str::to_owned).collect()
}

fn made(rig: &mut Rig, requested: &str) -> String {
    let crcx = format!("CRCX 1 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX: A1\r\nR: {requested}\r\nQ: loop\r\n");
    let answer = rig.send(&crcx);
    assert_eq!(code(&answer), 200, "{requested}");
    param(&answer, Field::SpecificEndpointId)
}

#[test]
fn silence_for_the_requested_time_is_notified_once_with_the_time() {
    let mut rig = Rig::new();
    let endpoint = made(&mut rig, "R/rto@$(N)(30,st=im)");
    for _ in 0..5 {
        rig.counters.packets_received += 1;
        assert_eq!(rig.pass(seconds(20)), [""; 0]);
    }
    for _ in 0..5 {
        rig.counters.rtcp_received += 1;
        assert_eq!(rig.pass(seconds(20)), [""; 0]);
    }
    let sent = rig.pass(seconds(15));
    assert_eq!(observed(&sent)[0], format!("O: R/rto@{}(30)", id(1)));
    assert_eq!(rig.gateway.load().sessions, 1, "the call agent decides");
    // One-shot: the next request begins anew.
    rig.arrive(
        &format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: A2\r\nR: R/rto(N)\r\nQ: loop\r\n"),
        &Arrival::own(0, rig.agent, OWN.parse().unwrap(), 1),
    );
    rig.pass(seconds(58));
    assert_eq!(observed(&rig.pass(seconds(4)))[0], format!("O: R/rto@{}(60)", id(1)));
}

#[test]
fn a_time_that_begins_with_rtcp_does_not_begin_without() {
    let mut rig = Rig::new();
    made(&mut rig, "R/rto@$(N)(10,st=ra)");
    rig.pass(seconds(2));
    rig.counters.packets_received += 1;
    assert_eq!(rig.pass(seconds(100)), [""; 0]);
    rig.counters.rtcp_received += 1;
    assert_eq!(observed(&rig.pass(seconds(12)))[0], format!("O: R/rto@{}(10)", id(1)));
}

#[test]
fn losses_above_the_requested_rate_are_notified() {
    let mut rig = Rig::new();
    made(&mut rig, "R/pl(N)(1000)");
    rig.pass(seconds(2));
    (rig.counters.packets_received, rig.counters.packets_lost) = (1_000, 10);
    assert_eq!(rig.pass(seconds(5)), [""; 0]);
    rig.counters.packets_lost = 20;
    assert_eq!(observed(&rig.pass(seconds(2)))[0], format!("O: R/pl@{}(1000)", id(1)));
}

#[test]
fn a_connection_is_not_asked_any_more_when_nothing_is_measured() {
    let mut rig = Rig::new();
    let endpoint = made(&mut rig, "R/rto(N)(30)");
    rig.send(&format!("RQNT 2 {endpoint} MGCP 1.0\r\nX: A2\r\n"));
    rig.pass(seconds(2));
    rig.asked.clear();
    rig.pass(seconds(100));
    assert!(rig.asked.is_empty() && rig.gateway.jobs.is_empty());
}
