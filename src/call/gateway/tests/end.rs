//! DLCX (RFC 3435 §2.3.7 to §2.3.9, F.5 to F.7) and connections that end by themselves.

use super::*;

const COUNTERS: Counters = Counters {
    packets_sent: 1_245,
    octets_sent: 62_345,
    packets_received: 780,
    octets_received: 45_123,
    packets_lost: 10,
    jitter_ms: 27,
    latency_ms: 48,
    rtcp_received: 0,
};

#[test]
fn f_5_a_connection_is_deleted_and_its_parameters_are_told() {
    let mut rig = Rig::new();
    rig.counters = COUNTERS;
    let (endpoint, connection) = rig.create("ann", 1);
    let answer = rig.send(&format!("DLCX 1210 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"));
    let parameters = "PS=1245, OS=62345, PR=780, OR=45123, PL=10, JI=27, LA=48";
    assert_eq!(answer, format!("250 1210 Connection deleted\r\nP: {parameters}\r\n"));
    rig.check_empty();
    assert_eq!(code(&rig.send(&format!("AUEP 2 {endpoint} MGCP 1.0\r\n"))), 500);
}

#[test]
fn f_7_the_connections_of_a_call_on_an_endpoint_are_deleted() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("cnf", 1);
    for (number, call) in [(2, "1"), (3, "A3C47F21456789F0"), (4, "a3c47f21456789f0")] {
        rig.send(&format!("CRCX {number} {endpoint} MGCP 1.0\r\nC: {call}\r\nM: recvonly\r\n"));
    }
    let answer = rig.send(&format!("DLCX 5 {endpoint} MGCP 1.0\r\nC: A3C47F21456789F0\r\n"));
    assert_eq!(answer, "250 5 Connection deleted\r\n");
    assert_eq!((rig.units(), rig.media.len(), rig.gateway.calls().count()), (2, 2, 1));
    assert_eq!(code(&rig.send(&format!("DLCX 6 {endpoint} MGCP 1.0\r\nC: A3C47F21456789F0\r\n"))), 516);
    assert_eq!(code(&rig.send(&format!("DLCX 7 {endpoint} MGCP 1.0\r\n"))), 250);
    rig.check_empty();
}

#[test]
fn f_7_the_connections_of_all_endpoints_that_a_name_covers_are_deleted() {
    let mut rig = Rig::new();
    for number in 1..=12 {
        rig.create(["ann", "ivr", "cnf"][number as usize % 3], number);
    }
    assert_eq!(rig.send("DLCX 20 ann/*@gw MGCP 1.0\r\n"), "250 20 Connection deleted\r\n");
    assert_eq!(rig.units(), 8);
    assert_eq!(code(&rig.send(&format!("DLCX 21 ivr/{TOKEN}/[1-4,7]@gw MGCP 1.0\r\n"))), 250);
    assert_eq!(rig.units(), 5, "ivr has 1, 4, 7 and 10");
    assert_eq!(code(&rig.send("DLCX 22 *@gw MGCP 1.0\r\nC: 5\r\n")), 250);
    assert_eq!(rig.units(), 4);
    assert_eq!(code(&rig.send(&format!("DLCX 23 */{TOKEN}/*@gw MGCP 1.0\r\n"))), 250);
    rig.check_empty();
    assert_eq!(code(&rig.send("DLCX 24 *@gw MGCP 1.0\r\n")), 250, "that there is nothing left is no error");
}

#[test]
fn each_fault_of_a_dlcx_has_its_code_and_deletes_nothing() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let (other, _) = rig.create("ann", 2);
    let table = [
        (format!("DLCX 10 {} MGCP 1.0\r\n", name("ann", 3)), 500),
        ("DLCX 11 $@gw MGCP 1.0\r\n".to_owned(), 500),
        (format!("DLCX 12 {other} MGCP 1.0\r\nI: {connection}\r\n"), 515),
        (format!("DLCX 13 {endpoint} MGCP 1.0\r\nI: 17\r\n"), 515),
        (format!("DLCX 14 {endpoint} MGCP 1.0\r\nI: {HEX}0000000g\r\n"), 515),
        (format!("DLCX 15 *@gw MGCP 1.0\r\nI: {connection}\r\n"), 515),
        (format!("DLCX 16 {endpoint} MGCP 1.0\r\nC: 2\r\nI: {connection}\r\n"), 516),
        (format!("DLCX 17 {endpoint} MGCP 1.0\r\nC: 2\r\n"), 516),
        (format!("DLCX 18 {endpoint} MGCP 1.0\r\nM: inactive\r\n"), 539),
        ("DLCX 19 *@gw MGCP 1.0\r\nX: 1\r\nR: G/oc\r\n".to_owned(), 539),
        (format!("DLCX 20 {endpoint} MGCP 1.0\r\nX+Foo: 1\r\n"), 511),
    ];
    for (command, wanted) in table {
        assert_eq!(code(&rig.send(&command)), wanted, "{command}");
    }
    assert_eq!((rig.units(), rig.media.len()), (2, 2));
}

#[test]
fn a_connection_id_is_never_used_again() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    rig.send(&format!("DLCX 2 {endpoint} MGCP 1.0\r\n"));
    let (other, another) = rig.create("ann", 3);
    assert_ne!((endpoint, &connection), (other.clone(), &another));
    assert_eq!(code(&rig.send(&format!("DLCX 4 {other} MGCP 1.0\r\nI: {connection}\r\n"))), 515);
}

#[test]
fn a_connection_whose_media_is_lost_is_gone_and_the_call_agent_hears_of_it() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let (key, _) = rig.asked[0];
    rig.counters = Counters { packets_received: 7, ..Counters::default() };
    rig.gateway.on_media(key, Told::Lost, rig.now);
    rig.settle();
    let told = rig.answer();
    assert!(
        told.starts_with("DLCX ") && told.contains(&format!(" {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n")),
        "{told}"
    );
    assert!(told.contains("\r\nE: 902 ") && told.contains("PR=7"), "{told}");
    rig.check_empty();
    rig.gateway.on_media(key, Told::Lost, rig.now);
    rig.settle();
    assert_eq!(code(&rig.send(&format!("DLCX 2 {endpoint} MGCP 1.0\r\nI: {connection}\r\n"))), 500);
}

#[test]
fn at_the_end_everything_is_closed() {
    let mut rig = Rig::new();
    (1..=5).for_each(|number| drop(rig.create("bridge", number)));
    rig.gateway.end_all(rig.now);
    rig.settle();
    rig.check_empty();
    let crcx = |id: u32| format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n");
    assert_eq!(code(&rig.send(&crcx(10))), 405);
    let arrival = Arrival { follows: true, ..rig.handed() };
    rig.arrive(&crcx(11), &arrival);
    assert_eq!(code(&rig.answer()), 405);
    assert!(!rig.gateway.is_idle());
    rig.pass(Duration::from_secs(31));
    assert!(rig.gateway.is_idle());
    rig.gateway.set_draining(false, rig.now);
    rig.create("ann", 12);
}
