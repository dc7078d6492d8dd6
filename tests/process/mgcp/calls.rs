//! Calls through the well-known port: handed over, relayed by name, counted.

use std::time::Duration;

use super::*;
use crate::support::calls::Plan;

#[test]
fn two_hundred_calls_are_spread_by_load_and_answered_from_the_well_known_port() {
    let (pointsman, well_known, agent) = gateway(4);
    let plan = Plan { hold: Duration::from_millis(50), ..Plan::new(well_known, 200) };
    let outcome = plan.run(&agent, |_| {});
    assert_eq!((outcome.good, &outcome.failures, &outcome.unanswered), (200, &Default::default(), &Vec::new()));
    assert_eq!(outcome.sources.iter().collect::<Vec<_>>(), [&well_known]);
    assert_eq!(outcome.tokens.len(), 4, "{:?}", outcome.tokens);
    assert!(outcome.tokens.values().all(|&calls| calls >= 25), "{:?}", outcome.tokens);
    // Every command is counted once; 200 were handed over by selection, 400 went where the names say.
    let load = pointsman.load();
    assert_eq!(load["dispatcher"]["received"], outcome.sent, "{load}");
    assert_eq!(load["dispatcher"]["dropped"], 0, "{load}");
    let handoffs: u64 = (0..4).map(|slot| pointsman.worker_number(slot, "handoffs")).sum();
    assert_eq!(handoffs, 200, "{load}");
    let done = ["handed_over", "relayed", "replied"].map(|field| pointsman.dispatcher(field));
    assert_eq!(done.iter().sum::<u64>(), outcome.sent as u64, "{load}");
    if outcome.sent == 600 {
        assert_eq!(done, [200, 400, 0], "{load}");
    }
    wait_until_empty(&pointsman);
}

#[test]
fn while_connections_stand_they_count_as_units_and_sessions() {
    let (pointsman, well_known, agent) = gateway(2);
    let mut made = Vec::new();
    for number in 0..6 {
        let call = format!("C: {number:X}");
        made.push((call.clone(), create(&agent, well_known, "cnf/$@ms", &[&call, "M: recvonly", "X-Size: 3"])));
    }
    pointsman.wait_until("six sessions of three units", |load| {
        let sum = |field: &str| (0..2).filter_map(|slot| load["workers"][slot][field].as_u64()).sum::<u64>();
        (sum("units_used"), sum("sessions")) == (18, 6)
    });
    for (call, answer) in made {
        let connection = format!("I: {}", answer.need("I"));
        let deleted = ask(&agent, well_known, "DLCX", answer.need("Z"), &[&call, &connection]);
        assert_eq!(deleted.code(), 250, "{}", deleted.text);
        assert!(deleted.param("P").is_some(), "{}", deleted.text);
    }
    wait_until_empty(&pointsman);
}

#[test]
fn an_endpoint_is_named_after_its_worker_in_the_domain_of_the_command() {
    let (_pointsman, well_known, agent) = gateway(2);
    let answer = create(&agent, well_known, "ANN/$@Ms.Example.net", &["C: 1", "M: recvonly"]);
    let name = answer.need("Z").to_owned();
    let (local, domain) = name.split_once('@').unwrap();
    let terms: Vec<_> = local.split('/').collect();
    assert_eq!((domain, terms.len()), ("Ms.Example.net", 3), "{name}");
    assert_eq!(terms[1].len(), 18, "{name}");
    // Names are accepted in any case of letters, with the connection identifier of the answer.
    let connection = format!("I: {}", answer.need("I").to_lowercase());
    let upper = name.to_uppercase();
    let audited = ask(&agent, well_known, "AUCX", &upper, &[&connection, "F: C,M"]);
    assert_eq!((audited.code(), audited.param("C"), audited.param("M")), (200, Some("1"), Some("recvonly")));
    assert_eq!(ask(&agent, well_known, "DLCX", &upper, &["C: 1", &connection]).code(), 250);
}

#[test]
fn a_repeated_command_gets_the_same_answer_and_makes_nothing_new() {
    let (pointsman, well_known, agent) = gateway(4);
    let crcx = command("CRCX", "ann/$@ms", &["C: 77", "M: recvonly"]);
    let first = agent.transact(&crcx, well_known);
    let again = agent.transact(&crcx, well_known);
    assert_eq!(first.text, again.text);
    let zeros = crcx.text().replacen(&format!(" {} ", crcx.id), &format!(" 000{} ", crcx.id), 1);
    agent.send_bytes(zeros.as_bytes(), well_known);
    let answer = agent.expect("the same answer", |said| said.code() == 200);
    assert_eq!(answer.param("I"), first.param("I"));
    pointsman.wait_until("one session", |load| {
        (0..4).map(|slot| load["workers"][slot]["sessions"].as_u64().unwrap_or(0)).sum::<u64>() == 1
    });
}

#[test]
fn both_legs_of_one_call_are_on_one_worker() {
    let (_pointsman, well_known, agent) = gateway(4);
    for number in 0..8 {
        let call = format!("C: {}", 0xF00 + number);
        let token = |answer: Said| answer.need("Z").split('/').nth(1).unwrap_or_default().to_owned();
        let first = token(create(&agent, well_known, "ann/$@ms", &[&call, "M: recvonly"]));
        let second = token(create(&agent, well_known, "bridge/$@ms", &[&call, "M: recvonly"]));
        assert_eq!(first, second, "{call}");
    }
}

#[test]
fn bad_input_gets_the_return_codes_of_the_rfc() {
    let (_pointsman, well_known, agent) = gateway(2);
    let made = create(&agent, well_known, "ann/$@ms", &["C: 1", "M: recvonly"]);
    let name = made.need("Z").to_owned();
    let connection = format!("I: {}", made.need("I"));
    let elsewhere = name.replace(name.split(['/', '@']).nth(2).unwrap(), "4711");
    for (verb, endpoint, lines, code) in [
        ("FROB", name.as_str(), &[][..], 504),
        ("NTFY", &name, &["X: 1", "O: R/ma"], 504),
        ("RSIP", &name, &["RM: restart"], 504),
        ("MDCX", "ann/nosuch/1@ms", &["C: 1", "I: 1"], 500),
        ("MDCX", &elsewhere, &["C: 1", "I: 1"], 500),
        ("MDCX", &name, &["C: 1", "I: FFFF"], 515),
        ("MDCX", &name, &["C: 2", &connection], 516),
        ("CRCX", "ann/$@ms", &["C: 9", "M: confrnce"], 517),
        ("CRCX", "ann/$@ms", &["C: 9", "M: recvonly", "X+Frob: 1"], 511),
        ("RQNT", &name, &["X: 1", "R: L/hd(N)"], 518),
        ("RQNT", &name, &["X: 1", "R: R/nosuch"], 522),
        ("RQNT", &name, &["X: 1", "R: D/5(N)"], 512),
        ("RQNT", &name, &["X: 1", "S: G/rt"], 513),
        ("RQNT", &name, &["X: 1", "S: ann(http://x/y.wav)"], 514),
        ("RQNT", &name, &["X: 1", "R: G/oc(N,A)"], 523),
        ("RQNT", &name, &["X: 1", "Q: never"], 508),
        ("RQNT", &name, &["R: G/oc"], 510),
        ("RQNT", &name, &["X: 1", "R: R/ma", "S:"], 200),
    ] {
        let answer = ask(&agent, well_known, verb, endpoint, lines);
        assert_eq!(answer.code(), code, "{verb} {lines:?}: {}", answer.text);
    }
    for (text, code) in [
        ("AUEP 900001 ann/$@ms MGCP 2.0\r\n", 528),
        ("AUEP 900002 ann/$@ms HTTP 1.0\r\n", 528),
        ("AUEP 900003 nodomain MGCP 1.0\r\n", 510),
        ("AUEP 900004 ann/1@ms MGCP 1.0\r\nno parameter\r\n", 510),
    ] {
        let id: u32 = text.split(' ').nth(1).unwrap().parse().unwrap();
        agent.send_bytes(text.as_bytes(), well_known);
        let answer = agent.expect(text, |said| said.code() > 0 && said.id() == id);
        assert_eq!(answer.code(), code, "{text}");
    }
    // A response is never answered, nor are bytes that are no MGCP: the next answer is the one to the command sent
    // last.
    for silent in ["200 900005 OK\r\n", "000 900005\r\n", "hello\r\n", "\r\n", "999 900006 ???\r\n"] {
        agent.send_bytes(silent.as_bytes(), well_known);
    }
    let last = command("AUEP", &name, &[]);
    agent.send(&last, well_known);
    // A command that was sent again while its worker was slow may have a second answer on its way.
    let is_repeated = |said: &Said| said.code() > 0 && (1..last.id).contains(&said.id());
    let answer = agent.expect("the answer to the last command alone", |said| !is_repeated(said));
    assert_eq!((answer.code(), answer.id()), (200, last.id), "{}", answer.text);
}
