//! The whole in virtual time: callers, a network that loses and overtakes, the dispatcher's switch, links and workers,
//! all from one seed. A shadow of the truth checks the promises after every step.
//!
//! `SEED=17 STEPS=5000 cargo test --test sim` runs one seed again; a failure prints both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod agent;
mod air;
mod application;
mod caller;
mod churn;
mod connections;
mod delays;
mod desk;
mod dice;
mod mutation;
#[path = "../support/no_link.rs"]
mod no_link;
mod noise;
mod pipe;
mod process;
mod scene;
mod servers;
mod streams;
mod systems;
mod text;
mod town;
mod truth;
mod world;

use mutation::Mutation;
use world::{Tally, Violation, run};

/// Seeds in the ordinary run, in so many parts that run beside each other.
const SEEDS: u64 = 320;
const PARTS: u64 = 8;
/// Steps of trouble of each seed; coming to rest adds some.
const STEPS: u64 = 4_000;

/// A number from the environment; `None` when the variable is not set.
fn number(name: &str, value: Option<&str>) -> Result<Option<u64>, String> {
    let Some(value) = value else { return Ok(None) };
    value.trim().parse().map(Some).map_err(|_| format!("{name}={value}: not a number; {name} is a whole number from 0"))
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    number(name, value.as_deref()).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// Runs a seed; a failure is run again with its events written down.
fn check(seed: u64, steps: u64) -> Tally {
    match run(seed, steps, None, false) {
        Ok(tally) => tally,
        Err(first) => {
            let Violation { what, step, at, events } = *run(seed, steps, None, true).err().unwrap_or(first);
            let events = events.join("\n");
            panic!("{events}\n\n{what}\n\nat step {step}, {at}; again with SEED={seed} STEPS={steps}");
        }
    }
}

fn check_part(part: u64) {
    if setting("SEED").is_some() {
        return;
    }
    let begin = std::time::Instant::now();
    let (mut steps, mut calls, mut deaths, mut restarts, mut moved, mut unheard) = (0, 0, 0, 0, 0, 0);
    for seed in (0..SEEDS).filter(|seed| seed % PARTS == part) {
        let tally = check(seed, STEPS);
        steps += tally.steps;
        calls += tally.calls;
        deaths += tally.deaths;
        restarts += tally.restarts;
        moved += tally.moved;
        unheard += tally.died_unheard;
    }
    let rate = steps as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{steps} steps ({rate:.0}/s), {calls} calls, {deaths} deaths, {restarts} restarts, {moved} moved, {unheard} unheard"
    );
}

macro_rules! parts {
    ($($name:ident = $part:literal;)*) => {
        $(#[test]
        fn $name() {
            check_part($part);
        })*
    };
}

parts! {
    the_promises_hold_part_1 = 0;
    the_promises_hold_part_2 = 1;
    the_promises_hold_part_3 = 2;
    the_promises_hold_part_4 = 3;
    the_promises_hold_part_5 = 4;
    the_promises_hold_part_6 = 5;
    the_promises_hold_part_7 = 6;
    the_promises_hold_part_8 = 7;
}

#[test]
fn one_seed_runs_again() {
    if let Some(seed) = setting("SEED") {
        let tally = check(seed, setting("STEPS").unwrap_or(STEPS));
        println!("{tally:?}");
    }
}

#[test]
fn a_seed_that_is_not_a_number_is_named() {
    assert_eq!(number("SEED", Some("17")), Ok(Some(17)));
    assert_eq!(number("SEED", None), Ok(None));
    let complaint = number("SEED", Some("seventeen")).unwrap_err();
    assert_eq!(complaint, "SEED=seventeen: not a number; SEED is a whole number from 0");
}

#[test]
fn the_same_seed_takes_the_same_way() {
    let [one, two] = [0, 1].map(|_| run(5, 1_000, None, false).map(|tally| (tally.steps, tally.calls, tally.deaths)));
    assert_eq!(one.unwrap(), two.unwrap());
}

#[test]
fn every_broken_rule_is_noticed() {
    let mut missed = Vec::new();
    for &mutation in Mutation::ALL {
        let caught = (0..100).find_map(|seed| Some((seed, run(seed, STEPS, Some(mutation), false).err()?)));
        match caught {
            Some((seed, violation)) => {
                println!("{mutation:?}: seed {seed}, step {}: {}", violation.step, violation.what)
            }
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
