//! A worker or the dispatcher is killed while calls come in.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::life::{expect_restart, gateway_with_call_agent};
use super::*;
use crate::support::calls::{Outcome, Plan};
use crate::support::{DEADLINE, PROMPT};

#[test]
fn after_the_kill_of_a_worker_every_command_is_answered_and_the_call_agent_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (pointsman, well_known, agent, told) = gateway_with_call_agent(4, dir.path());
    let mut tokens: Vec<String> = Vec::new();
    while tokens.len() < 4 {
        let token = expect_restart(&told, "restart", |token| !tokens.iter().any(|known| known == token));
        tokens.push(token);
    }
    let plan = Plan { hold: Duration::from_millis(100), window: 100, ..Plan::new(well_known, 800) };
    let mut killed = false;
    let outcome = plan.run(&agent, |outcome| {
        // Commands that it has not read would be answered by others, and no connection lost.
        if !killed && outcome.good >= 200 && pointsman.worker_number(1, "sessions") > 0 {
            pointsman.kill_worker(1);
            killed = true;
        }
    });
    assert!(killed && outcome.unanswered.is_empty(), "{:?}", outcome.unanswered);
    assert_eq!(outcome.sources.iter().collect::<Vec<_>>(), [&well_known]);
    // Connections of the dead worker are lost; the answer to each command for one says so. Every call that came is
    // made.
    let lost: usize = outcome.failures.values().sum();
    let is_lost = |what: &str| matches!(what, "MDCX 500" | "MDCX 515" | "DLCX 500" | "DLCX 515");
    assert!(outcome.failures.keys().all(|what| is_lost(what)), "{:?}", outcome.failures);
    assert!(lost > 0, "no connection stood in the worker that was killed");
    assert_eq!(outcome.good + lost, 800);
    let dead = expect_restart(&told, "forced", |_| true);
    assert!(tokens.contains(&dead), "{dead} is none of {tokens:?}");
    let successor = expect_restart(&told, "restart", |token| !tokens.iter().any(|known| known == token));
    assert!(!tokens.contains(&successor));
    // A worker can die between its answer and the dispatcher's hearing of it: then two workers have answered the CRCX.
    // A call agent that wants the room back at once deletes what it did not choose.
    for answer in &outcome.second_answers {
        let connection = format!("I: {}", answer.need("I"));
        let code = ask(&agent, well_known, "DLCX", answer.need("Z"), &[&connection]).code();
        assert!(matches!(code, 250 | 500), "{code}");
    }
    wait_until_empty(&pointsman);
}

#[test]
fn endpoints_and_connections_of_a_dead_worker_are_unknown_at_once() {
    let (pointsman, well_known, agent) = gateway(2);
    let made = create_on_two_workers(&agent, well_known);
    let killed = pointsman.kill_worker(0);
    pointsman.wait_until("the worker to be seen dead", |load| load["workers"][0]["pid"] != killed);
    let mut codes: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for (number, answer) in made.iter().enumerate() {
        let (call, connection) = (format!("C: {:X}", 0x500 + number), format!("I: {}", answer.need("I")));
        let mdcx = command("MDCX", answer.need("Z"), &[&call, &connection, "M: inactive"]);
        agent.send(&mdcx, well_known);
        let begin = Instant::now();
        let code = agent.response(&mdcx).code();
        assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
        codes.entry(token(answer)).or_default().push(code);
        // By the id of its connection alone.
        let dlcx = ask(&agent, well_known, "AUCX", "ann/$@ms", &[&connection, "F: C"]).code();
        assert!(matches!(dlcx, 500 | 515), "AUCX $: {dlcx}");
    }
    let all: Vec<&Vec<u16>> = codes.values().collect();
    let all_are = |codes: &Vec<u16>, code| codes.iter().all(|one| *one == code);
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|codes| all_are(codes, 200)) && all.iter().any(|codes| all_are(codes, 500)), "{all:?}");
}

#[test]
fn while_the_dispatcher_is_dead_connections_go_on_and_commands_wait_and_none_is_done_twice() {
    let (mut pointsman, well_known, agent) = gateway(4);
    let phone = UdpSocket::bind((agent.address().ip(), 0)).unwrap();
    phone.set_read_timeout(Some(DEADLINE)).unwrap();
    let standing = create(&agent, well_known, "ann/$@ms", &["C: FFFF", "L: a:PCMU", "M: loopback"]);
    let media = standing.media_address();
    let echo = |number: u8| {
        let mut packet = vec![0x80, 0, 0, number, 0, 0, 0, number, 1, 2, 3, 4];
        packet.extend_from_slice(&[number; 160]);
        phone.send_to(&packet, media).unwrap();
        let mut buffer = [0; 2_048];
        let (length, _) = phone.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[length - 1], number);
    };
    echo(1);
    let calls = Agent::new(agent.address().ip());
    let plan = Plan { hold: Duration::from_millis(50), ..Plan::new(well_known, 600) };
    let (progress, reached) = std::sync::mpsc::channel();
    let load = std::thread::spawn(move || -> Outcome {
        let mut told = false;
        plan.run(&calls, |outcome| {
            if !told && outcome.good >= 150 {
                told = progress.send(()).is_ok();
            }
        })
    });
    reached.recv_timeout(DEADLINE).unwrap();
    pointsman.crash();
    echo(2);
    pointsman.start_again();
    echo(3);
    let outcome = load.join().unwrap();
    assert!(outcome.unanswered.is_empty(), "{:?}", outcome.unanswered);
    assert_eq!((outcome.good, &outcome.failures), (600, &BTreeMap::new()));
    let mut by_transaction: BTreeMap<u32, &str> = BTreeMap::new();
    for (id, connection) in &outcome.connections {
        let first = by_transaction.entry(*id).or_insert(connection);
        assert_eq!(first, connection, "transaction {id} made two connections");
    }
    echo(4);
    let connection = format!("I: {}", standing.need("I"));
    let deleted = ask(&agent, well_known, "DLCX", standing.need("Z"), &["C: FFFF", &connection]);
    assert_eq!(deleted.code(), 250, "{}", deleted.text);
    wait_until_empty(&pointsman);
}
