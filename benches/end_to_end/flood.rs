//! CPU time per message of a front that has no quiet moment: one kind of message only, each a new one, more than it can
//! take, and sinks as its workers, so that neither callers nor workers set the pace.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::front::{Front, Running, WORKERS};
use crate::generator::message::{InviteTemplate, Key, Shape};
use crate::load::records_per_frame;
use crate::options::Options;
use crate::placement::Placement;
use crate::report::Spread;
use crate::sink::Counts;
use crate::support::{DEADLINE, proc, wait_for};

/// Messages before the measurement begins.
const WARM_UP: u64 = 20_000;

/// The messages that flood a front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flooding {
    /// Initial INVITEs: each is selected a worker for.
    Invite,
    /// MGCP `CRCX $`: each is selected a worker for.
    Create,
    /// MGCP commands whose endpoint name names a worker: relayed, nothing is written down.
    Named,
}

impl Flooding {
    /// All of them, in the order of the table.
    pub const ALL: [Flooding; 3] = [Flooding::Invite, Flooding::Create, Flooding::Named];

    /// Its name in table and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Flooding::Invite => "INVITE",
            Flooding::Create => "CRCX $",
            Flooding::Named => "MDCX by name",
        }
    }
}

/// Measurements of one front in one placement, run by run.
pub struct Flood {
    /// The messages that it got.
    pub flooding: Flooding,
    /// The front that was measured.
    pub front: Front,
    /// The placement that it ran in.
    pub placement: Placement,
    runs: Vec<Run>,
}

struct Run {
    /// CPU of the front per message handed over, in µs.
    cpu: f64,
    /// Messages handed over a second.
    rate: f64,
    /// CPU of the front over the time that passed.
    share: f64,
    records_per_frame: Option<f64>,
}

/// Measures every front that can have sinks as workers, in turn, as many rounds as the options ask for.
pub fn measure(options: &Options, fronts: &[Front], placements: &[Placement]) -> Vec<Flood> {
    let able = fronts.iter().filter(|front| matches!(front, Front::Pointsman | Front::Bare));
    let pairs: Vec<_> = able.flat_map(|&front| placements.iter().map(move |&placement| (front, placement))).collect();
    let all = Flooding::ALL.into_iter().flat_map(|flooding| pairs.iter().map(move |&pair| (flooding, pair)));
    let mut all: Vec<Flood> =
        all.map(|(flooding, (front, placement))| Flood { flooding, front, placement, runs: Vec::new() }).collect();
    for round in 1..=options.runs {
        for flood in &mut all {
            let Some(run) = run(flood.flooding, flood.front, flood.placement, options.span) else { continue };
            let (what, front, placement) = (flood.flooding.name(), flood.front.name(), flood.placement.name());
            eprintln!(
                "round {round}: {what}, {front}, {placement}: {:.2} µs a message, {:.0} messages/s",
                run.cpu, run.rate
            );
            flood.runs.push(run);
        }
    }
    all
}

fn run(flooding: Flooding, front: Front, placement: Placement, span: Duration) -> Option<Run> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("counts");
    let counts = Counts::create(&path, WORKERS).expect("a file for the counts");
    let running = Running::with_sinks(front, &path)?;
    placement.apply(&running);
    let over = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let (over, target, mgcp) = (Arc::clone(&over), running.address, running.mgcp);
        let tokens = counts.tokens(WORKERS);
        move || match flooding {
            Flooding::Invite => invite(target, &over),
            Flooding::Create => command(mgcp, &over, |out, serial| {
                let _ = write!(out, "CRCX {serial} ann/$@ms.example.net MGCP 1.0\r\nC: {serial:x}\r\n{DETAILS}");
            }),
            Flooding::Named => command(mgcp, &over, |out, serial| {
                let token = &tokens[serial as usize % tokens.len()];
                let name = format_args!("ann/{token}/{serial}@ms.example.net");
                let _ = write!(out, "MDCX {serial} {name} MGCP 1.0\r\nC: {serial:x}\r\nI: {serial:x}\r\n{DETAILS}");
            }),
        }
    });
    wait_for("the flood to run", DEADLINE, || (counts.sum(WORKERS) >= WARM_UP).then_some(()));
    let pids = running.front_pids();
    let cpu = || pids.iter().map(|&pid| proc::precise_cpu(pid)).sum::<Duration>();
    let (begin, cpu_before, before) = (Instant::now(), cpu(), counts.sum(WORKERS));
    thread::sleep(span);
    let (cpu_after, after, elapsed) = (cpu(), counts.sum(WORKERS), begin.elapsed());
    over.store(true, Ordering::Relaxed);
    thread.join().expect("the flood's thread");
    let messages = (after - before).max(1) as f64;
    let spent = (cpu_after - cpu_before).as_secs_f64();
    Some(Run {
        cpu: spent * 1e6 / messages,
        rate: messages / elapsed.as_secs_f64(),
        share: spent / elapsed.as_secs_f64(),
        records_per_frame: records_per_frame(&running),
    })
}

/// Sends new INVITEs, one after the other, until it is over. Datagrams that a full receive buffer does not take are
/// lost.
fn invite(target: SocketAddr, over: &AtomicBool) {
    let socket = UdpSocket::bind((target.ip(), 0)).expect("a free port");
    let local = socket.local_addr().expect("a bound socket has an address");
    let shape =
        Shape { local, transport: "UDP", target, mark: 'i', bytes: 956, rport: true, inactive: true, sized: false };
    let mut template = InviteTemplate::new(&shape);
    let mut serial = 0;
    while !over.load(Ordering::Relaxed) {
        serial += 1;
        // A full send buffer is room soon.
        let _ = socket.send_to(template.write(Key { run: std::process::id(), slot: 0, serial }, 0), target);
    }
}

/// The parameters of a call agent's connection, with a caller's session description.
const DETAILS: &str = "L: p:20, a:PCMU;PCMA, e:on, s:off\r\nM: sendrecv\r\n\r\nv=0\r\no=- 3890844516 3890844516 IN IP4 \
     192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:101 \
     telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";

/// Sends new commands, one after the other, until the measurement is over.
fn command(target: SocketAddr, over: &AtomicBool, mut compose: impl FnMut(&mut Vec<u8>, u32)) {
    let socket = UdpSocket::bind((target.ip(), 0)).expect("a free port");
    let (mut text, mut serial) = (Vec::with_capacity(1_024), 0);
    while !over.load(Ordering::Relaxed) {
        serial += 1;
        text.clear();
        compose(&mut text, serial);
        let _ = socket.send_to(&text, target);
    }
}

impl Flood {
    /// CPU of the front per message in µs.
    pub fn cpu(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.cpu))
    }

    /// Messages handed over a second.
    pub fn rate(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.rate))
    }

    /// CPU use of the front: 1 is a whole CPU.
    pub fn share(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.share))
    }

    /// Messages handed over in one write, where the front tells.
    pub fn records_per_frame(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.records_per_frame))
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        json!({
            "messages": self.flooding.name(),
            "front": self.front.name(),
            "placement": self.placement.name(),
            "front_cpu_us_per_message": self.cpu().map(Spread::json),
            "messages_per_second": self.rate().map(Spread::json),
            "front_cpu_share": self.share().map(Spread::json),
            "records_per_frame": self.records_per_frame().map(Spread::json),
        })
    }
}
