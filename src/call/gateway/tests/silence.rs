//! Connections whose call agent has died.

use super::*;

const SILENCE: Duration = Duration::from_secs(600);

fn rig() -> Rig {
    let mut rig = Rig::new();
    let limits = Limits { silence: Some(SILENCE), ..Limits::default() };
    rig.gateway = Gateway::new(identity(), voice(), limits);
    rig
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

#[test]
fn connections_of_a_dead_call_agent_end_and_give_their_units_back() {
    let mut rig = rig();
    let (endpoint, connection) = rig.create("ivr", 1);
    assert_eq!(rig.pass(minutes(10) - Duration::from_secs(1)), [""; 0]);
    let told = rig.pass(Duration::from_secs(2)).remove(0);
    assert!(told.starts_with("DLCX ") && told.contains(&endpoint) && told.contains(&connection), "{told}");
    assert!(told.contains("\r\nE: 902 ") && told.contains("\r\nP: PS=0"), "{told}");
    rig.pass(minutes(1));
    rig.check_empty();
}

#[test]
fn a_connection_whose_endpoint_a_command_names_lives_and_a_name_for_all_names_nobody() {
    for verb in ["AUCX", "MDCX", "RQNT", "AUEP"] {
        let mut rig = rig();
        let (endpoint, connection) = rig.create("ann", 1);
        let lines = match verb {
            "AUCX" => format!("I: {connection}\r\n"),
            "MDCX" => format!("C: 1\r\nI: {connection}\r\nM: inactive\r\n"),
            "RQNT" => "X: 1\r\n".to_owned(),
            _ => String::new(),
        };
        for id in 2..6 {
            rig.pass(minutes(9));
            assert_eq!(code(&rig.send(&format!("{verb} {id} {endpoint} MGCP 1.0\r\n{lines}"))), 200, "{verb}");
        }
        assert_eq!(rig.gateway.load().sessions, 1, "{verb}");
        rig.pass(minutes(9));
        assert_eq!(code(&rig.send("AUEP 9 *@gw MGCP 1.0\r\n")), 200);
        rig.pass(minutes(4));
        assert_eq!(rig.gateway.load().sessions, 0, "{verb}");
    }
}

#[test]
fn packets_keep_a_connection_of_a_silent_call_agent_until_they_stop() {
    let mut rig = rig();
    rig.create("ivr", 1);
    for _ in 0..12 {
        rig.counters.packets_received += 1;
        rig.pass(minutes(5));
    }
    assert_eq!(rig.gateway.load().sessions, 1);
    rig.pass(minutes(13));
    assert_eq!(rig.gateway.load().sessions, 0);
}

#[test]
fn a_leg_held_on_a_bridge_lives_by_the_packets_of_the_other() {
    let mut rig = rig();
    let (endpoint, _) = rig.create("bridge", 1);
    let second = rig.send(&format!("CRCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n"));
    let second = param(&second, Field::ConnectionId);
    rig.send(&format!("MDCX 3 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {second}\r\nM: inactive\r\n"));
    let held = rig.gateway.connection_of_id(second.as_bytes()).unwrap();
    rig.silent = true;
    let mut packets = 0;
    let end = rig.now + minutes(40);
    while let Some(due) = rig.gateway.poll_timeout().filter(|due| *due <= end) {
        rig.now = rig.now.max(due);
        rig.gateway.handle_timeout(rig.now);
        rig.settle();
        for (key, ask) in std::mem::take(&mut rig.asked) {
            packets += 1;
            let packets_received = if key == held { 0 } else { packets };
            if ask == Ask::Count {
                let counters = Counters { packets_received, ..Counters::default() };
                rig.gateway.on_media(key, Told::Counted(counters), rig.now);
            }
        }
    }
    assert_eq!(rig.gateway.load().sessions, 2);
}

#[test]
fn without_a_time_connections_stay() {
    let mut rig = Rig::new();
    rig.create("ivr", 1);
    rig.pass(minutes(10_000));
    assert_eq!(rig.gateway.load().sessions, 1);
}
