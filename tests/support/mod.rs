//! The support that process tests and benchmarks share: the built executable on loopback, its stats socket, a small
//! telephone.
//!
//! Every test has a loopback address of its own (127.x.y.z), so fixed ports never collide, whatever runs beside it.
//! Nothing here waits for time to pass: each wait looks for an event and has a deadline that fails the test.

#![allow(dead_code, reason = "each test crate uses its part")]

pub mod agent;
pub mod calls;
pub mod flood;
pub mod lan;
pub mod line;
pub mod osmocom;
pub mod phone;
pub mod pointsman;
pub mod proc;

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest that an event of a healthy process may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The longest that something may take which waits for no timer of seconds, on a busy machine as well. On a quiet one
/// it takes milliseconds.
pub const PROMPT: Duration = Duration::from_secs(10);

/// The longest that a session may stand whose caller is gone: 64·T1 for its ACK and as long again for the answer to the
/// BYE (RFC 3261 §13.3.1.4, §17.1.2.2), and time to report the end.
pub const UNTIL_ABANDONED: Duration = Duration::from_secs(80);

/// A loopback address that no other test of this machine uses now: from the process id and a counter.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let counter = NEXT.fetch_add(1, Ordering::Relaxed) % 63;
    let bits = (std::process::id() & 0x1_ffff) << 6 | counter;
    let [_, high, middle, low] = bits.to_be_bytes();
    // The lower half of 127/8 is left to people; the last counter would make the broadcast address.
    Ipv4Addr::new(127, high | 0x80, middle, low)
}

/// Says that the test that asks shows nothing on this machine, and why. `tests/run.sh` repeats it when all is done:
/// test runners show no output of a test that passes.
#[track_caller]
pub fn pass_over(why: &str) {
    let why = why.trim_end().replace(['\n', '\t'], " ");
    let place = Location::caller().file();
    let test = std::thread::current().name().filter(|name| *name != "main").unwrap_or(place).to_owned();
    eprintln!("{test}: passed over: {why}");
    if let Some(list) = std::env::var_os("POINTSMAN_PASSED_OVER") {
        let list = File::options().append(true).create(true).open(list);
        // In one write: tests run beside each other.
        list.and_then(|mut list| list.write_all(format!("{why}\t{test}\n").as_bytes()))
            .expect("the list can be written");
    }
}

/// As [`pass_over`], for a test that a CI machine has to be able to run.
#[track_caller]
pub fn pass_over_outside_ci(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    pass_over(why);
}

/// Asks until there is an answer; panics with `what` when there is none within `within`.
pub fn wait_for<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < within, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(4));
    }
}
