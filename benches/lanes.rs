//! The gain of more lanes: new INVITEs from memory through the whole of a lane but its system calls (scan, passing to
//! the lane that decides, decision, table, retention, frames), with callers and workers that cost nothing.
//!
//! Each lane is a thread with a core of its own where the machine has one. Every lane reads its share of the datagrams,
//! as it does from a socket; the half that belongs to the other one is passed on in parcels.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that cannot go on fails here")]

#[allow(dead_code, reason = "the load generator's INVITE is all that is wanted here")]
#[path = "end_to_end/generator/message.rs"]
mod message;

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use message::{InviteTemplate, Key, Shape};
use pointsman::config::{Insert, Policy};
use pointsman::dispatch::decision::Joined;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, Seq, TokenKey, WorkerId};
use pointsman::switch::links::Channel;
use pointsman::switch::owner::Owner;
use pointsman::switch::parcel::Parcel;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HEADER, Frame, FrameBuilder, Record};
use pointsman::words::Report;
use pointsman::words::Transport;

const KEY: TokenKey = TokenKey::new([9; 32]);
const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)), 5060);
const FRONT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 5060);
const WORKERS: u16 = 4;
/// INVITEs that each lane reads.
const MESSAGES: usize = 400_000;
const BATCH: usize = 128;
/// Most parcels that wait for one lane, and the interval at which a lane looks whether another takes more: those of the
/// dispatcher. A lane reads no further meanwhile, as the kernel would keep the messages.
const PARCELS: usize = 32;
const PARCEL_AGAIN: Duration = Duration::from_millis(1);
/// INVITEs that one system call reads.
const READ: usize = 32;
const RUNS: usize = 5;
const BEGIN: Time = Time(1_000_000);

/// A worker that answers every message at once, and costs nothing.
#[derive(Default)]
struct Eager {
    answered: Vec<Seq>,
    number: u64,
    last: Seq,
}

impl Channel for Eager {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        // The fixed part of a record lies in one piece; its sequence number is all a worker of this kind reads.
        let bytes = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        let mut frame = Vec::with_capacity(bytes);
        pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
        for record in Frame::parse(&frame).unwrap() {
            if let Record::Message(message) = record.unwrap() {
                self.last = message.envelope.seq;
                self.answered.push(self.last);
            }
        }
        Ok(())
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        if self.answered.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.number += 1;
        let mut builder = FrameBuilder::new();
        builder.push_answered(&self.answered);
        builder.push(&Record::Report(Report {
            number: self.number,
            taken_through: self.last,
            covers: self.last,
            units_total: 1_000_000,
            ..Report::default()
        }));
        self.answered.clear();
        let bytes = builder.bytes();
        assert!(bytes.len() > FRAME_HEADER);
        frame[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn watch_writable(&mut self, _wanted: bool) {}
}

struct Lane {
    switch: Switch<Eager>,
    incoming: Receiver<Parcel>,
    peers: Vec<Sender<Parcel>>,
    spare: Vec<Parcel>,
    template: InviteTemplate,
    read: Vec<Vec<u8>>,
    serial: u32,
}

impl Lane {
    fn new(own: usize, lanes: usize, incoming: Receiver<Parcel>, peers: Vec<Sender<Parcel>>) -> Self {
        let rules = Rules { policy: Policy::LeastLoad, slow_start: Duration::ZERO, ..Rules::default() };
        let keys = Keyring { current: KEY, previous: None };
        let dispatch = Dispatch::new(Setup {
            rules,
            keys,
            table_cap: 1_000_000 / lanes,
            group_cap: 1024,
            workers: usize::from(WORKERS),
            seed: own as u64,
        });
        let mut switch = Switch::new(dispatch, Insert::None, (16 << 20) / lanes, Owners::new(own, lanes, 7));
        for worker in 0..WORKERS {
            let address = SocketAddr::new(FRONT.ip(), 5070 + worker);
            let joined = Joined::sip(Incarnation::new(u64::from(worker) + 1), 1_000_000, vec![address]);
            switch.on_link(WorkerId(worker), Eager::default(), &joined, Time(0));
        }
        let shape = Shape {
            local: CALLER,
            transport: "UDP",
            target: FRONT,
            bytes: 956,
            rport: true,
            inactive: true,
            mark: 'i',
            sized: false,
        };
        let (template, serial) = (InviteTemplate::new(&shape), own as u32 * 1_000_000_000);
        Lane { switch, incoming, peers, spare: Vec::new(), template, read: vec![Vec::new(); READ], serial }
    }

    /// Reads all its INVITEs, and returns the time at which that is done.
    fn run(&mut self) -> Time {
        let mut now = BEGIN;
        for _ in 0..MESSAGES / BATCH {
            now = now + Duration::from_micros(50);
            self.take_parcels(now);
            while self.switch.has_parcels() {
                self.wait(now);
            }
            for _ in 0..BATCH / READ {
                // They lie side by side, as a socket gives them.
                for place in &mut self.read {
                    self.serial += 1;
                    place.clear();
                    place.extend_from_slice(self.template.write(Key { run: 0, slot: 0, serial: self.serial }, 0));
                }
                let owner = Owner::Listener(ListenerId(0));
                let way = Way::of_datagram(owner, ListenerId(0), Transport::Udp, (CALLER, FRONT), now);
                self.switch.on_messages(self.read.iter().map(|bytes| (&bytes[..], way)), now);
            }
            self.flush(now);
        }
        now
    }

    /// Waits for the other lanes, and decides about what they pass.
    fn wait(&mut self, now: Time) {
        thread::sleep(PARCEL_AGAIN);
        self.take_parcels(now);
        self.flush(now);
    }

    fn take_parcels(&mut self, now: Time) {
        // As many as a lane takes in a turn.
        for _ in 0..PARCELS {
            let Ok(mut parcel) = self.incoming.try_recv() else { break };
            self.switch.on_parcel(&parcel, now);
            parcel.clear();
            self.spare.push(parcel);
        }
    }

    fn flush(&mut self, now: Time) {
        self.switch.flush_answers(|_| ());
        self.switch.flush_links();
        let Lane { switch, peers, spare, .. } = self;
        switch.flush_parcels(now, |lane, parcel| {
            let full = std::mem::replace(parcel, spare.pop().unwrap_or_default());
            match peers[lane].try_send(full) {
                Ok(()) => true,
                Err(error) => {
                    *parcel = error.into_inner();
                    false
                }
            }
        });
        for worker in 0..WORKERS {
            switch.on_link_event(WorkerId(worker), true, false);
        }
        while let Some(worker) = switch.take_readable_link() {
            switch.read_link(worker, now);
        }
    }
}

/// The work that `lanes` lanes did together.
struct Done {
    /// Messages a second, by the clock on the wall: right on a machine that has nothing else to do.
    rate: f64,
    /// CPU time of a message in µs, in all lanes that had to do with it.
    cpu: f64,
}

fn measure(lanes: usize) -> Done {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| bounded::<Parcel>(PARCELS)).unzip();
    let barrier = Arc::new(Barrier::new(lanes + 1));
    let reading = Arc::new(AtomicUsize::new(lanes));
    let threads: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(own, incoming)| {
            let (senders, barrier, reading) = (senders.clone(), Arc::clone(&barrier), Arc::clone(&reading));
            thread::spawn(move || {
                let mut lane = Lane::new(own, lanes, incoming, senders);
                barrier.wait();
                let before = cpu_time();
                let now = lane.run();
                // The last parcels leave, and those of the other lanes are decided as well.
                while lane.switch.has_parcels() {
                    lane.wait(now);
                }
                reading.fetch_sub(1, Ordering::SeqCst);
                while reading.load(Ordering::SeqCst) > 0 || !lane.incoming.is_empty() {
                    lane.wait(now);
                }
                let spent = cpu_time() - before;
                barrier.wait();
                (lane.switch.dispatch().counters().handed_over, spent)
            })
        })
        .collect();
    barrier.wait();
    let begin = Instant::now();
    barrier.wait();
    let elapsed = begin.elapsed().as_secs_f64();
    let done: Vec<(u64, Duration)> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let handed_over = done.iter().map(|(handed_over, _)| handed_over).sum::<u64>();
    assert_eq!(handed_over as usize, lanes * (MESSAGES / BATCH) * BATCH, "every INVITE was handed over once");
    let cpu = done.iter().map(|(_, spent)| spent.as_secs_f64()).sum::<f64>();
    Done { rate: handed_over as f64 / elapsed, cpu: cpu * 1e6 / handed_over as f64 }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runs: Vec<(Done, Done)> = (0..RUNS).map(|_| (measure(1), measure(2))).collect();
    let (rate_one, rate_two) =
        (median(runs.iter().map(|(one, _)| one.rate)), median(runs.iter().map(|(_, two)| two.rate)));
    let (cpu_one, cpu_two) = (median(runs.iter().map(|(one, _)| one.cpu)), median(runs.iter().map(|(_, two)| two.cpu)));
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("| lanes | messages/s | CPU of a message, µs |\n|---|---|---|");
    println!("| 1 | {rate_one:.0} | {cpu_one:.2} |\n| 2 | {rate_two:.0} | {cpu_two:.2} |");
    println!(
        "on {cpus} CPUs: {:.2} × by the clock, {:.2} × by CPU time (2 × {cpu_one:.2} / {cpu_two:.2})",
        rate_two / rate_one,
        2.0 * cpu_one / cpu_two
    );
}
