//! Fuzz targets: everything that strangers can send to (the scanner, connections, the MGCP port, the ends of a link,
//! the stats socket), and the decision as a machine that is driven by operations.
//!
//! The compiler of this project cannot instrument for coverage without a nightly toolchain, so the runner is our own
//! and safe: it keeps an input when the target *does* something that no input before has made it do (another fault,
//! another record, another reason). The ordinary test run makes a fixed number of inputs from fixed dice;
//! `tests/fuzz/run.sh` goes on for as long as it is told to and keeps what it finds in `target/fuzz`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "../../src/stream/tests/certificates.rs"]
mod certificates;
mod decision;
#[allow(dead_code, reason = "the simulation throws them in more ways")]
#[path = "../sim/dice.rs"]
mod dice;
mod frames;
mod framing;
mod mgcp;
mod runner;
mod scanner;
mod stats;
mod streams;

use runner::Target;

#[test]
fn the_scanner_reads_each_datagram_or_says_why_not() {
    runner::run(&Target {
        name: "scanner",
        seeds: scanner::seeds,
        words: scanner::WORDS,
        runs: 4_000,
        run: scanner::run,
    });
}

#[test]
fn the_bytes_of_a_stream_are_the_same_messages_in_all_pieces() {
    runner::run(&Target {
        name: "framing",
        seeds: framing::seeds,
        words: framing::WORDS,
        runs: 20_000,
        run: framing::run,
    });
}

#[test]
fn a_connection_is_bounded_over_random_operations() {
    runner::run(&Target {
        name: "streams",
        seeds: streams::seeds,
        words: streams::WORDS,
        runs: 3_000,
        run: streams::run,
    });
}

#[test]
fn each_datagram_at_the_mgcp_port_is_read_or_has_its_answer() {
    runner::run(&Target { name: "mgcp", seeds: mgcp::seeds, words: mgcp::WORDS, runs: 20_000, run: mgcp::run });
}

#[test]
fn bytes_over_a_link_are_a_frame_or_close_it() {
    runner::run(&Target { name: "frames", seeds: frames::seeds, words: &[], runs: 20_000, run: frames::run });
}

#[test]
fn each_line_on_the_stats_socket_is_a_command_or_an_error_on_one_line() {
    runner::run(&Target { name: "stats", seeds: stats::seeds, words: stats::WORDS, runs: 20_000, run: stats::run });
}

#[test]
fn the_decision_keeps_its_tables_in_order_over_random_events() {
    runner::run(&Target { name: "decision", seeds: decision::seeds, words: &[], runs: 400, run: decision::run });
}
