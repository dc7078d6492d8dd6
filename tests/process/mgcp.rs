//! MGCP as call agents see it: the built executable, its workers as gateways behind one port.

use std::net::SocketAddr;

use crate::support::agent::{Agent, Command, Said};
use crate::support::pointsman::{Pointsman, Setup};

mod calls;
mod crash;
mod dissection;
mod life;
mod osmocom;
mod sound;
mod wildcards;

/// A dispatcher with `workers` workers that listens on the well-known MGCP port of its address, and a call agent.
fn gateway(workers: usize) -> (Pointsman, SocketAddr, Agent) {
    start(Setup::gateway(workers))
}

fn start(setup: Setup) -> (Pointsman, SocketAddr, Agent) {
    let (well_known, agent) = (SocketAddr::new(setup.ip, setup.port), Agent::new(setup.ip));
    (setup.start(), well_known, agent)
}

/// A fresh command; `lines` are its parameters and the text that follows them.
fn command(verb: &str, endpoint: &str, lines: &[&str]) -> Command {
    lines.iter().fold(Command::new(verb, endpoint), |command, line| command.with(line))
}

/// Sends a command and gives its final answer.
fn ask(agent: &Agent, to: SocketAddr, verb: &str, endpoint: &str, lines: &[&str]) -> Said {
    agent.transact(&command(verb, endpoint, lines), to)
}

/// Makes a connection; gives the answer to the CRCX.
fn create(agent: &Agent, to: SocketAddr, endpoint: &str, lines: &[&str]) -> Said {
    let answer = ask(agent, to, "CRCX", endpoint, lines);
    assert_eq!(answer.code(), 200, "{}", answer.text);
    answer
}

/// The worker's token in the name of the endpoint that a CRCX made.
fn token(answer: &Said) -> String {
    answer.need("Z").split('/').nth(1).unwrap_or_default().to_owned()
}

/// Connections on new endpoints, at least two of each of two workers: the answers to their CRCX. Call number N has the
/// id `500 + N`, in hexadecimal digits.
fn create_on_two_workers(agent: &Agent, to: SocketAddr) -> Vec<Said> {
    let mut made: Vec<Said> = Vec::new();
    for number in 0x500..0x540 {
        made.push(create(agent, to, "ann/$@ms", &[&format!("C: {number:X}"), "M: recvonly"]));
        let first = made.iter().filter(|answer| token(answer) == token(&made[0])).count();
        if first >= 2 && made.len() - first >= 2 {
            return made;
        }
    }
    panic!("64 connections on one worker of two");
}

/// The next command of a gateway with this verb that `is_it` accepts, answered with 200.
fn expect_command(agent: &Agent, verb: &str, is_it: impl Fn(&Said) -> bool) -> Said {
    let said = agent.expect(verb, |said| said.first_word().eq_ignore_ascii_case(verb) && is_it(said));
    agent.answer(&said, 200);
    said
}

fn wait_until_empty(pointsman: &Pointsman) {
    pointsman.wait_until("the load to be nothing again", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().all(|worker| worker["units_used"] == 0 && worker["sessions"] == 0 && worker["ledger"] == 0)
    });
}
