//! Instructions and simulated cache misses of each step of the hot path, for one message: figures that a busy machine
//! does not move.
//!
//! This program starts itself under callgrind, once for each step, and reads what callgrind has counted in
//! [`counted`]. The caches are the same on every machine: 32 KiB of data and 32 KiB of instructions at the first level,
//! 1 MiB at the last, as much as one core often has for itself.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

mod hot_path;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use hot_path::{
    Answered, Between, ByName, Bye, Calls, Forwarded, Framed, InvitesTogether, Kept, Lane, NewConnections, NewInvites,
    Parse, Part, Request, Retransmission, Scan, Step,
};
use pointsman::config::{Policy, PoolPolicy};

/// The name of a step, and the function that makes it.
type Case = (&'static str, fn() -> Box<dyn Step>);

const CASES: &[Case] = &[
    ("scan of an INVITE", || Box::new(Scan::new())),
    ("INVITE, 10^3 entries", || Box::new(NewInvites::new(4, Policy::LeastLoad, 1_000))),
    ("INVITE, 10^5 entries", || Box::new(NewInvites::new(4, Policy::LeastLoad, 100_000))),
    ("four INVITEs together, 10^5 entries", || Box::new(InvitesTogether::new(4, Policy::LeastLoad, 100_000))),
    ("retransmission", || Box::new(Retransmission::new())),
    ("BYE by token", || Box::new(Bye::new())),
    ("parse of a CRCX", || Box::new(Parse::new())),
    ("CRCX, 10^3 entries", || Box::new(NewConnections::new(4, Policy::LeastLoad, 1_000))),
    ("CRCX, 10^5 entries", || Box::new(NewConnections::new(4, Policy::LeastLoad, 100_000))),
    ("DLCX by name", || Box::new(ByName::new(4, 1_000))),
    ("INVITE and 200 of proxies, UDP", || Box::new(Forwarded::new(PoolPolicy::Latency, 4))),
    ("INVITE between connections", || Box::new(Between::invites())),
    ("200 between connections", || Box::new(Between::answers())),
    ("keep", || Box::new(Kept::new())),
    ("frame", || Box::new(Framed::new())),
    ("read Answered", || Box::new(Answered::new())),
    ("turn: 32 INVITEs to frames", || Box::new(Lane::new(Part::Messages, 10_000))),
    ("turn: the workers' frames", || Box::new(Lane::new(Part::Frames, 10_000))),
    ("worker: INVITE", || Box::new(Calls::new(Request::Invite))),
    ("worker: ACK", || Box::new(Calls::new(Request::Ack))),
    ("worker: BYE", || Box::new(Calls::new(Request::Bye))),
];

/// Runs before any is counted, and runs that are counted.
const WARM: usize = 200;
const RUNS: usize = 2_000;
/// The options of the simulated caches: size, ways, bytes of a line.
const CACHES: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"];
/// The argument by which this program starts itself.
const COUNT: &str = "--count";

/// The only function in which callgrind counts.
#[inline(never)]
fn counted(step: &mut dyn Step) {
    step.run();
}

/// The counts of callgrind for one message.
struct Counts {
    instructions: f64,
    first_level: f64,
    first_level_code: f64,
    last_level: f64,
}

fn main() {
    let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some(COUNT) {
        return count(&arguments.next().unwrap());
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("counts: left out, for valgrind is not installed (`apt-get install valgrind`)");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("target")).join("bench/counts");
    fs::create_dir_all(&folder).unwrap();
    let wanted = first.unwrap_or_default();
    println!("| step, one message | instructions | L1d misses | L1i misses | LL misses |\n|---|---|---|---|---|");
    for (name, _) in CASES.iter().filter(|(name, _)| name.contains(&wanted)) {
        let Counts { instructions, first_level, first_level_code, last_level } = measure(name, &folder);
        println!(
            "| {name:30} | {instructions:12.0} | {first_level:10.1} | {first_level_code:10.1} | {last_level:9.1} |"
        );
    }
    println!("each function's part: callgrind_annotate {}/STEP.out", folder.display());
}

/// Does a step as often as it is to be counted.
fn count(name: &str) {
    let (_, make) = CASES.iter().find(|(other, _)| *other == name).unwrap();
    let mut step = make();
    for _ in 0..WARM {
        step.prepare();
        step.run();
    }
    for _ in 0..RUNS {
        step.prepare();
        counted(&mut *step);
    }
    println!("{}", step.messages());
}

fn measure(name: &str, folder: &Path) -> Counts {
    let out: PathBuf = folder.join(format!("{}.out", name.replace([' ', ':', ','], "_")));
    let said = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--toggle-collect=counts::counted", "-q"])
        .args(CACHES)
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().unwrap())
        .args([COUNT, name])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{name}: {error}");
    let messages: u64 = String::from_utf8_lossy(&said.stdout).trim().parse().unwrap();
    let written = fs::read_to_string(&out).unwrap();
    let line = |name: &str| written.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace();
    let total = |event: &str| {
        let at = line("events:").position(|other| other == event).unwrap();
        let total: f64 = line("totals:").nth(at).map_or(0.0, |total| total.parse().unwrap());
        total / (RUNS as u64 * messages) as f64
    };
    let counts = Counts {
        instructions: total("Ir"),
        first_level: total("D1mr") + total("D1mw"),
        first_level_code: total("I1mr"),
        last_level: total("DLmr") + total("DLmw") + total("ILmr"),
    };
    assert!(counts.instructions > 0.0, "{name}: callgrind has counted nothing: {error}");
    counts
}
