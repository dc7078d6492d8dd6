//! Several lanes: two and four keep together the promises that one lane keeps. (All process tests can be had with any
//! number of lanes: `POINTSMAN_TEST_LANES=4`.)

use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::agent::{Agent, Command, Said};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, UNTIL_ABANDONED, wait_for};

fn start(lanes: usize) -> Pointsman {
    Setup::new(4).lanes(lanes).start()
}

/// Records that left for a worker, for each lane's link to it.
fn records(pointsman: &Pointsman, worker: &str) -> Vec<u64> {
    let counters = pointsman.stats("counters");
    let links = counters["links"].as_array().map(Vec::as_slice).unwrap_or_default();
    links.iter().filter(|link| link["worker"] == worker).filter_map(|link| link["records"].as_u64()).collect()
}

#[test]
fn calls_are_shared_among_lanes_and_none_fails_while_a_worker_is_killed() {
    for lanes in [2, 4] {
        let pointsman = start(lanes);
        let plan = Plan {
            pace: Pace::Rate(1_000.0),
            at_most: 1_000,
            until: Until::Calls(3_000),
            hold: Some(Duration::from_millis(100)),
            ..Plan::new(pointsman.address())
        };
        let mut generator = Generator::new(plan).unwrap();
        let progress = generator.progress();
        let load = std::thread::spawn(move || generator.run().clone());
        wait_for("1,500 answered calls", DEADLINE, || (progress.answered() >= 1_500).then_some(()));
        let shared = records(&pointsman, "w0");
        assert_eq!(shared.len(), lanes);
        assert!(shared.iter().all(|records| *records > 0), "{shared:?}");
        pointsman.kill_worker(1);
        let outcome = load.join().unwrap();
        assert_eq!(outcome.failed("INVITE"), 0, "{:?}", outcome.failures);
        assert_eq!((outcome.started, outcome.answered), (3_000, 3_000));
        let load = pointsman.load();
        let total = |field: &str| load["dispatcher"][field].as_u64().unwrap();
        let done = total("handed_over") + total("relayed") + total("replied") + total("dropped");
        assert_eq!(total("received"), done, "{load}");
        // A worker can die between its answer and the dispatcher's hearing of it. Another then answers the call again,
        // and the caller, which has its answer, acknowledges no second one.
        pointsman.wait_until_within("no load at all, in all lanes", UNTIL_ABANDONED, |load| {
            let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
            workers.iter().all(|worker| worker["units_used"] == 0 && worker["sessions"] == 0 && worker["ledger"] == 0)
        });
    }
}

#[test]
fn legs_of_one_conference_meet_whichever_lane_reads_them() {
    let pointsman = start(4);
    let phone = Phone::new(pointsman.address().ip());
    for conference in 0..6 {
        let legs: Vec<_> = (0..6)
            .map(|_| {
                let mut leg = phone.invite(pointsman.address(), None);
                leg.uri = format!("sip:conf=room{conference}@{}", pointsman.address());
                phone.call(&leg, pointsman.address())
            })
            .collect();
        assert!(legs.iter().all(|leg| leg.target == legs[0].target), "a conference on two workers");
    }
}

#[test]
fn a_cancel_finds_its_invite_whichever_lane_reads_it() {
    let pointsman = start(4);
    let phone = Phone::new(pointsman.address().ip());
    for _ in 0..60 {
        let invite = phone.invite(pointsman.address(), None);
        let cancel = invite.cancel();
        phone.send(&invite, pointsman.address());
        phone.send(&cancel, pointsman.address());
        assert_eq!(phone.final_response(&cancel).status(), 200);
    }
}

fn gateway(lanes: usize) -> Pointsman {
    Setup::gateway(4).lanes(lanes).start()
}

fn create(call: usize) -> Command {
    Command::create("ann/$@ms", &format!("{call:x}"), "recvonly")
}

/// The token in the name of an endpoint that a CRCX has made.
fn worker_of(made: &Said) -> String {
    assert_eq!(made.code(), 200, "{}", made.text);
    made.need("Z").split('/').nth(1).unwrap().to_owned()
}

#[test]
fn legs_of_one_mgcp_call_meet_and_commands_of_one_datagram_are_answered_in_order_whichever_lane_reads_them() {
    let pointsman = gateway(4);
    let agent = Agent::new(pointsman.address().ip());
    let mut workers = std::collections::BTreeSet::new();
    for call in 1..=16 {
        let legs = [create(call), create(call)].map(|leg| agent.transact(&leg, pointsman.address()));
        assert_eq!(worker_of(&legs[0]), worker_of(&legs[1]), "a call on two workers");
        workers.insert(worker_of(&legs[0]));
    }
    assert_eq!(workers.len(), 4, "{workers:?}");
    // Each of another call, and so most of another lane than the one before.
    let commands: Vec<Command> = (100..116).map(create).collect();
    let datagram = commands.iter().map(Command::text).collect::<Vec<_>>().join(".\r\n");
    agent.send_bytes(datagram.as_bytes(), pointsman.address());
    for command in &commands {
        // A CRCX that was sent again while its worker was slow may have a second answer on its way.
        let is_ours = |said: &Said| commands.iter().any(|command| said.answers(command));
        let next = agent.expect("the next answer", |said| said.code() >= 200 && is_ours(said));
        assert_eq!((next.id(), next.code()), (command.id, 200), "{}", next.text);
    }
    let load = pointsman.load();
    let total = |field: &str| load["dispatcher"][field].as_u64().unwrap();
    // 32 legs, the one datagram's 16 commands in place of it, and each command that was sent again while its worker
    // was slow. A second leg goes where its call is.
    let sent = agent.sent_to(pointsman.address()) - 1 + 16;
    assert_eq!((total("received"), total("handed_over") + total("relayed")), (sent, sent), "{load}");
}

#[test]
fn everyone_is_asked_once_and_a_repeated_mgcp_command_gets_the_same_answer_whichever_lane_reads_it() {
    let pointsman = gateway(4);
    let agent = Agent::new(pointsman.address().ip());
    let made: Vec<(Command, Said)> = (1..=12)
        .map(|call| {
            let command = create(call);
            let said = agent.transact(&command, pointsman.address());
            (command, said)
        })
        .collect();
    for (command, first) in &made {
        assert_eq!(agent.transact(command, pointsman.address()).text, first.text);
    }
    for _ in 0..8 {
        let audit = Command::new("AUEP", "*@ms");
        let said = agent.transact(&audit, pointsman.address());
        let named = said.text.lines().filter(|line| line.starts_with("Z:")).count();
        assert_eq!((said.code(), named), (200, 12), "{}", said.text);
        assert_eq!(agent.transact(&audit, pointsman.address()).text, said.text, "the same answer again");
    }
    let deleted = agent.transact(&Command::new("DLCX", "*@ms"), pointsman.address());
    assert!(matches!(deleted.code(), 200 | 250), "{}", deleted.text);
    pointsman.wait_until("no connection at all", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().all(|worker| worker["units_used"] == 0 && worker["sessions"] == 0 && worker["ledger"] == 0)
    });
}
