//! Several messages in one datagram, and commands that are for all endpoints of all workers.

use super::*;

#[test]
fn commands_in_one_datagram_for_two_workers_are_answered_in_order() {
    let (_pointsman, well_known, agent) = gateway(2);
    let made = create_on_two_workers(&agent, well_known);
    let mut commands = Vec::new();
    for round in 0..3 {
        for (at, answer) in made.iter().enumerate() {
            let (call, connection) = (format!("C: {:X}", 0x500 + at), format!("I: {}", answer.need("I")));
            let mode = if round % 2 == 0 { "M: recvonly" } else { "M: inactive" };
            commands.push(command("MDCX", answer.need("Z"), &[&call, &connection, mode]));
        }
    }
    commands.push(command("CRCX", "cnf/$@ms", &["C: 9999", "M: recvonly"]));
    let datagram = commands.iter().map(|command| command.text()).collect::<Vec<_>>().join(".\r\n");
    agent.send_bytes(datagram.as_bytes(), well_known);
    let mut answered = Vec::new();
    while answered.len() < commands.len() {
        // A CRCX that was sent again while its worker was slow may have a second answer on its way.
        let is_ours = |said: &Said| commands.iter().any(|command| said.answers(command));
        let answer = agent.expect("an answer", |said| said.code() >= 200 && is_ours(said));
        assert_eq!((answer.code(), answer.from), (200, well_known), "{}", answer.text);
        answered.push(answer.id());
    }
    assert_eq!(answered, commands.iter().map(|command| command.id).collect::<Vec<_>>());
}

#[test]
fn a_bad_part_gets_its_answer_and_the_others_theirs() {
    let (_pointsman, well_known, agent) = gateway(2);
    let first = command("CRCX", "ann/$@ms", &["C: 1", "M: recvonly"]);
    let last = command("CRCX", "ann/$@ms", &["C: 2", "M: recvonly"]);
    let text = format!("{}.\r\n200 77 OK\r\n.\r\nFROB 5000 a@b MGCP 1.0\r\n.\r\n.\r\n{}", first.text(), last.text());
    agent.send_bytes(text.as_bytes(), well_known);
    let mut answers = Vec::new();
    while answers.len() < 3 {
        let answer = agent.expect("an answer", |said| said.code() >= 200);
        answers.push((answer.id(), answer.code()));
    }
    assert_eq!(answers, [(first.id, 200), (5_000, 504), (last.id, 200)]);
}

#[test]
fn an_audit_of_all_endpoints_names_those_of_all_workers() {
    let (pointsman, well_known, agent) = gateway(3);
    let mut names: Vec<String> = (0..9)
        .map(|number| {
            let call = format!("C: {number:X}");
            create(&agent, well_known, "ann/$@ms", &[&call, "M: recvonly"]).need("Z").to_owned()
        })
        .collect();
    names.sort();
    let answer = ask(&agent, well_known, "AUEP", "ann/*@ms", &[]);
    assert_eq!(answer.code(), 200, "{}", answer.text);
    let mut audited: Vec<String> = answer.params("Z").into_iter().map(str::to_owned).collect();
    audited.sort();
    assert_eq!(audited, names);
    // Of one worker.
    let token = names[0].split('/').nth(1).unwrap();
    let answer = ask(&agent, well_known, "AUEP", &format!("ann/{token}/*@ms"), &[]);
    let of_one = names.iter().filter(|name| name.contains(token)).count();
    assert_eq!((answer.code(), answer.params("Z").len()), (200, of_one), "{}", answer.text);
    // A request for all, and the end of all.
    assert_eq!(ask(&agent, well_known, "RQNT", "ann/*@ms", &["X: 1", "R: R/ma"]).code(), 200);
    let answer = ask(&agent, well_known, "DLCX", "ann/*@ms", &[]);
    assert!(answer.code() == 200 || answer.code() == 250, "{}", answer.text);
    wait_until_empty(&pointsman);
}

#[test]
fn a_call_is_deleted_whole_by_its_call_id() {
    let (pointsman, well_known, agent) = gateway(3);
    let mut last = String::new();
    for _ in 0..3 {
        last = create(&agent, well_known, "bridge/$@ms", &["C: ABC", "M: recvonly"]).need("Z").to_owned();
    }
    let other = create(&agent, well_known, "bridge/$@ms", &["C: DEF", "M: recvonly"]);
    let token = last.split('/').nth(1).unwrap();
    let answer = ask(&agent, well_known, "DLCX", &format!("bridge/{token}/*@ms"), &["C: abc"]);
    assert!(matches!(answer.code(), 200 | 250), "{}", answer.text);
    pointsman.wait_until("the other call alone", |load| {
        (0..3).map(|slot| load["workers"][slot]["sessions"].as_u64().unwrap_or(0)).sum::<u64>() == 1
    });
    let connection = format!("I: {}", other.need("I"));
    assert_eq!(ask(&agent, well_known, "DLCX", other.need("Z"), &["C: DEF", &connection]).code(), 250);
    wait_until_empty(&pointsman);
}
