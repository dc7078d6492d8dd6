//! Fuzz targets: everything that strangers can send to (the scanner, the MGCP port, the ends of a link, the stats
//! socket), and the decision as a machine that is driven by operations.
//!
//! The compiler of this project cannot instrument for coverage without a nightly toolchain, so the runner is our own
//! and safe: it keeps an input when the target *does* something that no input before has made it do (another fault,
//! another record, another reason). The ordinary test run makes a fixed number of inputs from fixed dice;
//! `tests/fuzz/run.sh` goes on for as long as it is told to and keeps what it finds in `target/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod decision;
#[allow(dead_code, reason = "the simulation throws them in more ways")]
#[path = "../sim/dice.rs"]
mod dice;
mod frames;
mod mgcp;
mod runner;
mod scanner;
mod stats;

use runner::Target;

#[test]
fn whatever_comes_as_a_datagram_the_scanner_reads_or_says_why_not() {
    runner::run(&Target {
        name: "scanner",
        seeds: scanner::seeds,
        words: scanner::WORDS,
        runs: 4_000,
        run: scanner::run,
    });
}

#[test]
fn whatever_comes_to_the_mgcp_port_is_read_or_has_its_answer() {
    runner::run(&Target { name: "mgcp", seeds: mgcp::seeds, words: mgcp::WORDS, runs: 20_000, run: mgcp::run });
}

#[test]
fn whatever_comes_over_a_link_is_a_frame_or_closes_it() {
    runner::run(&Target { name: "frames", seeds: frames::seeds, words: &[], runs: 20_000, run: frames::run });
}

#[test]
fn whatever_is_asked_on_the_stats_socket_is_a_command_or_an_error_on_one_line() {
    runner::run(&Target { name: "stats", seeds: stats::seeds, words: stats::WORDS, runs: 20_000, run: stats::run });
}

#[test]
fn whatever_happens_the_decision_keeps_its_tables_in_order() {
    runner::run(&Target { name: "decision", seeds: decision::seeds, words: &[], runs: 400, run: decision::run });
}
