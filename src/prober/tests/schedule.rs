//! All addresses together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::schedule::{Leaves, Output, Schedule, Wanted};
use super::*;
use crate::dispatch::probed::Found;
use crate::time::Time;
use crate::wire::sip::Scanner;

const SECOND: u64 = 1_000_000;

fn wanted(number: u32) -> Wanted {
    let to = SocketAddr::from(([10, 0, (number / 250) as u8, (number % 250) as u8], 5060));
    let subject = Subject { to, ..subject(Probe::Options) };
    Wanted { proxy: Arc::from(format!("p{number}")), subject, interval: Duration::from_secs(2), leaves: Leaves::Own }
}

fn scheduled(count: u32) -> Schedule {
    let mut schedule = Schedule::new((1, printer()));
    for number in 0..count {
        schedule.add(wanted(number), address("192.0.2.1:40000"), Time(0));
    }
    schedule
}

/// Runs until this moment, with an answer to each probe after 1 ms. Returns when each entry's probes began.
fn run(schedule: &mut Schedule, until: u64) -> BTreeMap<usize, Vec<u64>> {
    let (mut begun, mut scanner, mut out) = (BTreeMap::<usize, Vec<u64>>::new(), Scanner::new(), Vec::new());
    while let Some(at) = schedule.poll_timeout().filter(|at| at.0 < until) {
        schedule.handle_timeout(at, &mut out);
        for output in std::mem::take(&mut out) {
            let Output::Send { entry, bytes, to, .. } = output else { continue };
            begun.entry(entry).or_default().push(at.0);
            let answer = response(std::str::from_utf8(&bytes).unwrap(), "200 OK", "");
            schedule.on_message(entry, (to, answer.as_bytes()), &mut scanner, Time(at.0 + 1000), &mut out);
        }
        out.clear();
    }
    begun
}

#[test]
fn probes_of_many_servers_are_spread_over_the_interval_and_stay_so() {
    let begun = run(&mut scheduled(1000), 20 * SECOND);
    assert_eq!(begun.len(), 1000);
    for times in begun.values() {
        assert!(times[0] < 2 * SECOND && (8..=11).contains(&times.len()), "{times:?}");
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.clone().all(|gap| (1_800_000..=2_200_000).contains(&gap)), "{times:?}");
    }
    let mut per_tenth = BTreeMap::<u64, u32>::new();
    begun
        .values()
        .flatten()
        .filter(|at| **at > 2 * SECOND)
        .for_each(|at| *per_tenth.entry(at / 100_000).or_default() += 1);
    assert!(per_tenth.values().all(|count| (20..=90).contains(count)), "{per_tenth:?}");
}

#[test]
fn a_silence_has_its_address_probed_at_once_but_one_probe_at_a_time() {
    let mut schedule = scheduled(2);
    let first = schedule.poll_timeout().unwrap();
    schedule.on_silence(wanted(1).subject.to, Time(100));
    schedule.on_silence(address("203.0.113.1:5060"), Time(100));
    let mut out = Vec::new();
    assert_eq!(schedule.poll_timeout(), Some(Time(50_000)));
    schedule.handle_timeout(Time(50_000), &mut out);
    assert!(matches!(out[..], [Output::Send { entry: 2, is_probe: true, .. }]), "{out:?} {first:?}");
    out.clear();
    // The probe waits for its answer: another silence changes nothing.
    schedule.on_silence(wanted(1).subject.to, Time(200_000));
    schedule.handle_timeout(Time(200_000), &mut out);
    assert_eq!(out.iter().filter(|it| matches!(it, Output::Send { entry: 2, .. })).count(), 0);
}

#[test]
fn a_refused_probe_is_told_at_once_and_tried_again_once() {
    let mut schedule = scheduled(1);
    let (mut out, begin) = (Vec::new(), schedule.poll_timeout().unwrap());
    schedule.handle_timeout(begin, &mut out);
    out.clear();
    schedule.on_refused(1, begin, &mut out);
    assert!(matches!(&out[..], [Output::Tell(finding)] if matches!(finding.what, Found::Refused { .. })));
    let second = schedule.poll_timeout().unwrap();
    assert!(second.since(begin) <= Duration::from_millis(50));
    schedule.handle_timeout(second, &mut out);
    schedule.on_refused(1, second, &mut out);
    assert!(
        schedule.poll_timeout().unwrap().since(second) >= Duration::from_millis(1800),
        "then at the interval again"
    );
}

#[test]
fn entries_that_are_the_same_go_on_and_others_end() {
    let mut schedule = scheduled(3);
    let changed = Wanted { interval: Duration::from_secs(9), ..wanted(1) };
    let plan = [wanted(0), changed.clone(), wanted(7)];
    assert_eq!(schedule.fit(&plan), [2, 3]);
    let missing = schedule.missing(&plan);
    assert_eq!(missing, [changed, wanted(7)]);
    assert_eq!(schedule.fit(&[]), [1]);
    assert_eq!(schedule.poll_timeout(), None);
}

/// One address that is reached over a connection, with an interval of 2 s.
fn connected() -> Schedule {
    let mut schedule = Schedule::new((1, printer()));
    let wanted = Wanted { leaves: Leaves::Connection(None), ..wanted(0) };
    let subject = Subject { transport: Transport::Tcp, ..wanted.subject };
    schedule.add(Wanted { subject, ..wanted }, address("0.0.0.0:0"), Time(0));
    schedule
}

/// Has the next probe begin on a connection, which is new or was there. Returns when.
fn begin(schedule: &mut Schedule, is_new: bool) -> Time {
    let (mut out, at) = (Vec::new(), schedule.poll_timeout().unwrap());
    schedule.handle_timeout(at, &mut out);
    assert_eq!(out, [Output::Connect(1)]);
    out.clear();
    schedule.on_connection(1, (address("192.0.2.1:40000"), is_new), at, &mut out);
    assert!(matches!(out[..], [Output::Send { entry: 1, is_probe: true, .. }]), "{out:?}");
    at
}

#[test]
fn a_server_whose_connection_ends_is_probed_at_once_unless_the_connection_was_younger_than_the_interval() {
    let mut schedule = connected();
    let first = begin(&mut schedule, true);
    let mut out = Vec::new();
    schedule.on_closed(1, first + Duration::from_millis(5), &mut out);
    assert!(matches!(&out[..], [Output::Tell(finding)] if matches!(finding.what, Found::Lost { .. })), "{out:?}");
    assert!(
        schedule.poll_timeout().unwrap().since(first) >= Duration::from_millis(1800),
        "it is not called without end"
    );
    let second = begin(&mut schedule, true);
    // The probe is lost by its time, and the next one leaves on the same connection.
    schedule.handle_timeout(second + Duration::from_secs(1), &mut out);
    let third = begin(&mut schedule, false);
    schedule.handle_timeout(third + Duration::from_secs(1), &mut out);
    out.clear();
    let closed = third + Duration::from_millis(1500);
    schedule.on_closed(1, closed, &mut out);
    assert_eq!((out.len(), schedule.poll_timeout()), (0, Some(closed)), "nothing waits, and it is probed now");
    let fourth = begin(&mut schedule, true);
    schedule.on_refused(1, fourth, &mut out);
    assert!(matches!(&out[..], [Output::Tell(finding)] if matches!(finding.what, Found::Refused { .. })), "{out:?}");
}
