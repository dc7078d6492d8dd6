//! The memory of answers: each command has one, and none is given twice.

use super::*;

#[test]
fn a_command_that_comes_again_gets_the_same_response_for_30_s() {
    let mut world = World::up();
    let mdcx = "MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n";
    world.agent(mdcx);
    world.gateway("200 2 OK\nI: 1\n");
    world.pass(29 * SECOND);
    let again = "mdcx 008 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n";
    assert_eq!(world.agent(again), [Said::Agent("200 8 OK\nI: 1\n".into()), Said::Answered(2)]);
    world.pass(2 * SECOND);
    assert!(matches!(&world.agent(mdcx)[..], [Said::Gateway(_)]), "another command with an old number");
}

#[test]
fn a_flood_of_unknown_verbs_leaves_half_of_the_memory_to_commands_that_were_carried_out() {
    let mut world = World::up();
    for id in 1..=MOST + 10 {
        world.agent(&format!("XYZW {id} rtpbridge/1@mgw MGCP 1.0\r\n"));
    }
    assert_eq!(world.external.transactions.len(), MOST / 2);
}

#[test]
fn a_verb_that_the_gateway_does_not_know_is_504_and_a_lost_answer_406() {
    let mut world = World::up();
    world.agent("EPCF 7 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nB: e:mu\r\n");
    world.agent("MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    let own = own_of(&world.agent("MDCX 9 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n"));
    world.pass(500 * MS);
    world.gateway(&format!("200 {own} OK\n"));
    let said = world.pass(4 * SECOND);
    for expected in ["504 7 Unknown or unsupported command\n", "406 8 Transaction timed out\n"] {
        assert!(said.contains(&Said::Agent(expected.into())), "{expected} {said:?}");
    }
    let said = world.agent("XFOO 10 rtpbridge/pmtok/1@mgw MGCP 1.0\r\n");
    assert_eq!(said, [Said::Agent("504 10 Unknown or unsupported command\n".into()), Said::Answered(4)]);
    assert!(!world.external.is_without_gateway());
}

#[test]
fn whatever_the_gateway_says_nothing_is_answered_twice() {
    let mut dice = 7_u64;
    let mut roll = move |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice as usize % sides
    };
    let mut world = World::up();
    let mut ends = HashMap::new();
    for id in 1..=4_000_u32 {
        let said = world.agent(&format!("CRCX {id} rtpbridge/$@mgw MGCP 1.0\r\nC: {}\r\n", id % 7));
        let mut answer = match said.iter().find(|said| matches!(said, Said::Gateway(_))) {
            Some(Said::Gateway(sent)) => {
                let own = sent.split(' ').nth(1).unwrap();
                format!("200 {own} OK\r\nK:\r\nZ: rtpbridge/{id}@mgw\r\nI: A{id}\r\n.\r\nNTFY 9 rtpbridge/{id}@mgw MGCP 1.0\r\n")
            }
            _ => "RSIP 1 *@mgw MGCP 1.0\r\nRM: restart\r\n".to_owned(),
        }
        .into_bytes();
        for _ in 0..roll(4) {
            let at = roll(answer.len());
            answer[at] = b"0159 /@$*\r\n.:Z"[roll(14)];
        }
        world.external.on_gateway(&answer, Time(world.now));
        let mut all = said;
        all.extend(std::iter::from_fn(|| world.external.poll_output()).filter_map(|output| match output {
            Output::Answered(seq) => Some(Said::Answered(seq.0)),
            Output::Refuse(seq, reason) => Some(Said::Refused(seq.0, reason)),
            _ => None,
        }));
        all.extend(world.pass(20 * MS));
        for said in all {
            if let Said::Answered(seq) | Said::Refused(seq, _) = said {
                *ends.entry(seq).or_insert(0) += 1;
            }
        }
    }
    for said in world.pass(100 * SECOND) {
        if let Said::Answered(seq) | Said::Refused(seq, _) = said {
            *ends.entry(seq).or_insert(0) += 1;
        }
    }
    assert_eq!(ends.len() as u64, world.seq);
    assert!(ends.values().all(|times| *times == 1));
    assert!(world.external.load().units_used <= 10);
}

#[test]
fn call_agents_at_one_address_that_count_alike_have_an_answer_each() {
    let mut world = World::up();
    let mdcx = "MDCX 8 rtpbridge/pmtok/1@mgw MGCP 1.0\r\nC: 1\r\nI: 1\r\n";
    let own = own_of(&world.agent(mdcx));
    world.gateway(&format!("200 {own} OK\n"));
    let other = Arrival { source: "203.0.113.9:5555".parse().unwrap(), ..world.arrival() };
    world.external.on_message(&parse(mdcx.as_bytes()).unwrap(), &other, Time(world.now));
    let Some(Output::Transmit(copy)) = world.external.poll_output() else { panic!("a copy from another port") };
    assert_eq!((text(&copy.bytes), copy.to), ("200 8 OK\n".into(), other.source));
    world.external.poll_output();
    let another = mdcx.replace("C: 1", "C: 2").replace("I: 1", "I: 2");
    world.external.on_message(&parse(another.as_bytes()).unwrap(), &other, Time(world.now));
    assert!(matches!(world.external.poll_output(), Some(Output::Gateway(_))), "another agent's command");
}
