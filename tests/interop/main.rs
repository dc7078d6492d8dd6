//! Programs of other projects, against the built executable. A peer that is not installed is an error: a test that
//! skips itself shows nothing.

mod nat;
mod osmo;
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
mod proxies;
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tcp;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::own_address;
use support::pointsman::{Pointsman, Setup};

const CALLS: u64 = 10_000;
const CALLS_PER_SECOND: u64 = 1_000;
/// Sockets that sipp may have open, more than there are calls at a time. It refuses to start where that is more than
/// the limit of descriptors.
const SOCKETS: u64 = 4_000;
/// The calls themselves take ten seconds; a test that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// The scenario that sipp brings along, or one of ours.
enum Scenario<'s> {
    BuiltIn(&'s str),
    File(&'s Path),
}

/// A caller of sipp's, killed when the test gives up.
struct Sipp(Child);

impl Drop for Sipp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Places all calls with sipp over UDP.
fn place_calls(pointsman: &Pointsman, scenario: &Scenario<'_>) {
    place_calls_over(pointsman, scenario, "u1");
}

/// Places all calls with sipp over a transport of its: `u1` UDP, `t1` one TCP connection, `tn` one for each call. Fails
/// with its last screen and its errors unless each call was successful.
fn place_calls_over(pointsman: &Pointsman, scenario: &Scenario<'_>, transport: &str) {
    place_so_many(CALLS, pointsman, scenario, transport);
}

/// The same for another number of calls.
fn place_so_many(calls: u64, pointsman: &Pointsman, scenario: &Scenario<'_>, transport: &str) {
    // sipp opens and closes connections slowly: at a higher rate it has thousands of calls at a time.
    let rate = if transport == "tn" { CALLS_PER_SECOND / 3 } else { CALLS_PER_SECOND };
    place_with(&["-r", &rate.to_string()], calls, pointsman, scenario, transport);
}

/// The same with these words to sipp, which say how fast.
fn place_with(pace: &[&str], calls: u64, pointsman: &Pointsman, scenario: &Scenario<'_>, transport: &str) {
    let dir = tempfile::Builder::new().prefix("pm-sipp-").tempdir().expect("a temporary directory");
    let screen = dir.path().join("screen");
    // sipp shares connections where it may have no more sockets, and breaks some of them then.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n $(ulimit -H -n) && exec sipp \"$@\"", "sipp"]);
    match scenario {
        Scenario::BuiltIn(name) => command.args(["-sn", name]),
        Scenario::File(path) => command.arg("-sf").arg(path),
    };
    command
        .arg(pointsman.address().to_string())
        // sipp refuses to start where the limit of descriptors is below what it could use.
        .args(["-t", transport, "-max_socket", &SOCKETS.to_string()])
        .args(["-i", &own_address().to_string(), "-m", &calls.to_string()])
        .args(pace)
        .args(["-nostdin", "-trace_err", "-error_file", "errors", "-buff_size", "4194304"])
        .args(["-timeout", &PATIENCE.as_secs().to_string(), "-timeout_error"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(File::create(&screen).expect("a file for sipp's screen"))
        .stderr(Stdio::null());
    let child = command.spawn();
    let child = child.unwrap_or_else(|error| panic!("cannot start sipp ({error}): apt-get install sip-tester"));
    let mut sipp = Sipp(child);
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = sipp.0.try_wait().expect("a child of ours") {
            break status;
        }
        assert!(begin.elapsed() < PATIENCE + Duration::from_secs(10), "sipp does not come to an end");
        std::thread::sleep(Duration::from_millis(20));
    };
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap_or_default();
    let errors = String::from_utf8_lossy(&read("errors")).lines().take(40).collect::<Vec<_>>().join("\n");
    let screen = String::from_utf8_lossy(&read("screen")).into_owned();
    // sipp says 0 when every call was successful, 1 when one was not.
    assert!(status.success(), "sipp: {status}\n{errors}\n{}", last_screen(&screen));
    assert!(counted(&screen, "Successful call") == Some(calls), "{}", last_screen(&screen));
    assert!(counted(&screen, "Failed call") == Some(0), "{}", last_screen(&screen));
}

fn last_screen(screen: &str) -> String {
    let lines: Vec<_> = screen.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The cumulative value of a line of the last statistics screen.
fn counted(screen: &str, name: &str) -> Option<u64> {
    screen.lines().rev().find(|line| line.contains(name))?.rsplit('|').next()?.trim().parse().ok()
}

/// Messages given to a worker as new, and messages passed on to the worker that has the call.
fn handed_over_and_relayed(pointsman: &Pointsman) -> (u64, u64) {
    (pointsman.dispatcher("handed_over"), pointsman.dispatcher("relayed"))
}

#[test]
fn stock_sipp_that_ignores_contact_completes_all_its_calls() {
    let pointsman = Setup::new(4).start();
    place_calls(&pointsman, &Scenario::BuiltIn("uac"));
    let (handed_over, relayed) = handed_over_and_relayed(&pointsman);
    assert!(handed_over >= CALLS, "{handed_over}");
    // Its ACK and BYE came to the well-known port, and were relayed by the token in the To-tag.
    assert!(relayed >= 2 * CALLS, "{relayed}");
}

#[test]
fn sipp_that_follows_contact_sends_the_dispatcher_its_invites_only() {
    let pointsman = Setup::new(4).start();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/follow_contact.xml");
    place_calls(&pointsman, &Scenario::File(&scenario));
    let (handed_over, relayed) = handed_over_and_relayed(&pointsman);
    assert!(handed_over >= CALLS, "{handed_over}");
    assert_eq!(relayed, 0);
    assert_eq!(pointsman.dispatcher("received"), handed_over);
}
