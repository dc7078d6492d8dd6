//! Transactions (RFC 3435 §3.5): nothing is done twice, and every answer can be had again.

use super::*;

const CRCX: &str = "CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n";

#[test]
fn a_copy_gets_the_very_same_bytes_for_t_hist() {
    let mut rig = Rig::new();
    let answer = rig.send(CRCX);
    for _ in 0..29 {
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.send(&CRCX.replace("CRCX 1", "CRCX 0001")), answer);
    }
    assert_eq!(rig.units(), 1);
    rig.pass(Duration::from_millis(1_020));
    assert_ne!(rig.send(CRCX), answer);
    assert_eq!(rig.units(), 2);
}

#[test]
fn a_refusal_is_repeated_too_though_it_would_not_be_one_any_more() {
    let mut rig = Rig::with(Limits { units: 1, ..Limits::default() });
    let answer = rig.send_sized(CRCX, 2);
    assert_eq!(code(&answer), 403);
    rig.gateway.set_units(9);
    assert_eq!(rig.send_sized(CRCX, 2), answer);
    rig.check_empty();
}

#[test]
fn an_id_is_a_call_agent_s_own_whatever_its_port() {
    let mut rig = Rig::new();
    let answer = rig.send(CRCX);
    rig.agent.set_port(5_555);
    assert_eq!(rig.send(CRCX), answer);
    rig.agent = "[::ffff:192.0.2.1]:2727".parse().unwrap();
    assert_eq!(rig.send(CRCX), answer);
    rig.agent = "192.0.2.2:2727".parse().unwrap();
    assert_ne!(rig.send(CRCX), answer);
    assert_eq!(rig.units(), 2);
}

#[test]
fn two_call_agents_at_one_address_have_each_their_own_ids() {
    let mut rig = Rig::new();
    let answer = rig.send(CRCX);
    let other = CRCX.replace("C: 1", "C: 2");
    rig.agent.set_port(5_555);
    let second = rig.send(&other);
    assert_ne!(param(&second, Field::ConnectionId), param(&answer, Field::ConnectionId));
    assert_eq!((rig.send(&other), rig.units()), (second, 2));
    // A call agent cannot confirm the transaction of another one.
    assert_eq!(rig.send("000 1\r\n"), "");
    rig.agent = AGENT.parse().unwrap();
    assert_eq!(rig.send(CRCX), answer);
}

#[test]
fn another_command_under_a_used_id_is_taken_for_a_copy() {
    let mut rig = Rig::new();
    let answer = rig.send(CRCX);
    assert_eq!(rig.send("DLCX 1 *@gw MGCP 1.0\r\n"), answer);
    assert_eq!(rig.units(), 1);
}

#[test]
fn a_confirmed_command_is_neither_answered_nor_carried_out_again() {
    let mut rig = Rig::new();
    rig.send(CRCX);
    assert_eq!(rig.send("000 1\r\n"), "");
    assert_eq!(rig.send(CRCX), "");
    rig.send(&CRCX.replace("CRCX 1", "CRCX 6234"));
    rig.send(&CRCX.replace("CRCX 1", "CRCX 6257"));
    rig.send("AUEP 7000 *@gw MGCP 1.0\r\nK: 6234-6255, 6257\r\n");
    assert_eq!(rig.send(&CRCX.replace("CRCX 1", "CRCX 6234")), "");
    assert_eq!(rig.send(&CRCX.replace("CRCX 1", "CRCX 6257")), "");
    assert_eq!(rig.units(), 3);
    // A confirmation of other call agents' transactions has no effect.
    rig.agent = "192.0.2.2:2727".parse().unwrap();
    rig.send("AUEP 1 *@gw MGCP 1.0\r\nK: 1-999999999\r\n");
    rig.agent = AGENT.parse().unwrap();
    assert_ne!(rig.send("AUEP 7000 *@gw MGCP 1.0\r\n"), "");
}

#[test]
fn f_3_what_takes_long_is_told_100_and_its_answer_is_repeated_until_it_is_confirmed() {
    let mut rig = Rig::new();
    rig.silent = true;
    assert_eq!(rig.send(CRCX), "");
    assert_eq!(rig.pass(Duration::from_millis(5_020)), ["100 1 Transaction being executed\r\n"]);
    assert_eq!(rig.send(CRCX), "100 1 Transaction being executed\r\n");
    assert_eq!(rig.pass(Duration::from_secs(60)), [""; 0]);
    let (key, _) = rig.asked[0];
    rig.gateway.on_media(key, Told::Opened(20_000), rig.now);
    rig.settle();
    let answer = rig.answer();
    assert!(answer.starts_with("200 1 OK\r\nK:\r\nI: "), "{answer}");
    // 200, 400, 800 and 1,600 ms apart.
    assert_eq!(rig.pass(Duration::from_millis(3_100)), vec![answer.clone(); 4]);
    assert_eq!(rig.send("000 1\r\n"), "");
    assert_eq!(rig.pass(Duration::from_secs(40)), [""; 0]);
    assert_eq!(rig.gateway.transactions.len(), 0);
}

#[test]
fn an_answer_that_nobody_confirms_is_not_repeated_beyond_t_max() {
    let mut rig = Rig::new();
    rig.silent = true;
    rig.send(CRCX);
    rig.send(CRCX);
    let (key, _) = rig.asked[0];
    rig.gateway.on_media(key, Told::Opened(20_000), rig.now);
    rig.settle();
    rig.answer();
    // 0.2, 0.6, 1.4, 3, 6.2, 10.2, 14.2 and 18.2 s.
    assert_eq!(rig.pass(Duration::from_secs(19)).len(), 8);
    assert_eq!(rig.pass(Duration::from_secs(60)).len(), 0);
    assert_eq!(rig.gateway.transactions.len(), 0);
}

#[test]
fn an_answer_that_would_be_too_long_is_533() {
    let mut rig = Rig::new();
    for number in 1..=120 {
        rig.create("ann", number);
    }
    assert_eq!(code(&rig.send("AUEP 200 *@gw MGCP 1.0\r\n")), 533);
    assert_eq!(code(&rig.send("AUEP 201 *@gw MGCP 1.0\r\nZM: 100\r\n")), 533);
    assert_eq!(code(&rig.send("AUEP 202 *@gw MGCP 1.0\r\nZM: 50\r\n")), 200);
}
