//! Connections of a CRCX that a dead worker may have answered.

use super::*;

fn create_again(rig: &mut Rig, id: u32) -> (String, String) {
    let arrival = Arrival { again: true, ..rig.handed() };
    rig.arrive(&format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: {id}\r\nM: recvonly\r\n"), &arrival);
    let answer = rig.answer();
    (param(&answer, Field::SpecificEndpointId), param(&answer, Field::ConnectionId))
}

const LONG: Duration = Duration::from_secs(3_600);

#[test]
fn one_that_nobody_names_or_uses_is_deleted_and_the_call_agent_is_told() {
    let mut rig = Rig::new();
    let (endpoint, connection) = create_again(&mut rig, 1);
    assert_eq!(rig.pass(Duration::from_secs(590)), [""; 0]);
    let told = rig.pass(Duration::from_secs(20)).remove(0);
    assert!(told.starts_with("DLCX ") && told.contains(&endpoint) && told.contains(&connection), "{told}");
    assert!(told.contains("\r\nE: 905 "), "{told}");
    rig.check_empty();
    assert_eq!(rig.gateway.doubts, 0);
}

#[test]
fn one_that_a_command_names_stays() {
    for verb in ["AUCX", "MDCX", "RQNT", "AUEP"] {
        let mut rig = Rig::new();
        let (endpoint, connection) = create_again(&mut rig, 1);
        let lines = match verb {
            "AUCX" => format!("I: {connection}\r\n"),
            "MDCX" => format!("C: 1\r\nI: {connection}\r\nM: inactive\r\n"),
            "RQNT" => "X: 1\r\n".to_owned(),
            _ => String::new(),
        };
        assert_eq!(code(&rig.send(&format!("{verb} 2 {endpoint} MGCP 1.0\r\n{lines}"))), 200, "{verb}");
        assert_eq!(rig.gateway.doubts, 0);
        rig.pass(LONG);
        assert_eq!(rig.gateway.load().sessions, 1, "{verb}");
    }
}

#[test]
fn one_that_a_packet_has_come_to_stays() {
    let mut rig = Rig::new();
    create_again(&mut rig, 1);
    rig.counters.packets_received = 1;
    rig.pass(LONG);
    assert_eq!((rig.gateway.load().sessions, rig.gateway.doubts), (1, 0));
}

#[test]
fn one_that_is_deleted_in_time_leaves_no_doubt() {
    let mut rig = Rig::new();
    let (endpoint, connection) = create_again(&mut rig, 1);
    assert_eq!(code(&rig.send(&format!("DLCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"))), 250);
    assert_eq!(rig.gateway.doubts, 0);
    assert_eq!(rig.pass(LONG), [""; 0]);
    rig.check_empty();
}

#[test]
fn one_that_was_handed_over_for_the_first_time_is_not_doubted() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    rig.pass(LONG);
    assert_eq!(rig.gateway.load().sessions, 1);
}
