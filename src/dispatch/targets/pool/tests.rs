//! The pool: states, loads, slots, looks.

use super::*;
use crate::dispatch::targets::worker::HUNG_LOOKS;
use crate::ids::Incarnation;

const W0: WorkerId = WorkerId(0);

fn joined(capacity: u32) -> Joined {
    Joined::sip(Incarnation::new(1), capacity, Vec::new())
}

fn pool() -> Pool {
    let mut pool = Pool::new(2, Duration::ZERO);
    pool.on_up(W0, &joined(10), Time(1));
    pool
}

#[test]
fn a_worker_that_comes_to_a_slot_that_was_taken_away_is_not_its_former_worker() {
    let mut pool = pool();
    pool.on_up(WorkerId(1), &joined(10), Time(1));
    let life = |pool: &Pool| pool.get(WorkerId(1)).map(|worker| worker.life);
    let former = life(&pool);
    pool.set_workers(1);
    pool.on_down(WorkerId(1));
    assert_eq!(life(&pool), None);
    pool.set_workers(2);
    pool.on_up(WorkerId(1), &joined(10), Time(2));
    assert_ne!(life(&pool), former);
}

#[test]
fn the_operator_the_worker_and_its_state_are_three_things() {
    let mut pool = pool();
    assert!(pool.has_open(Protocol::Sip));
    pool.set_admin(W0, Admin::Drain);
    pool.on_report(W0, &Report { number: 1, units_total: 10, draining: true, ..Report::default() }, Time(2));
    pool.set_admin(W0, Admin::Ready);
    assert!(!pool.has_open(Protocol::Sip), "its own word stands");
    pool.on_report(W0, &Report { number: 2, units_total: 10, ..Report::default() }, Time(3));
    assert!(pool.has_open(Protocol::Sip));
    pool.look(Time(4));
    assert_eq!(
        (pool.get(W0).map(|worker| worker.operational), pool.has_open(Protocol::Sip)),
        (Some(Operational::Silent), false)
    );
    pool.on_heard(W0, Time(5));
    assert!(pool.has_open(Protocol::Sip));
    pool.set_room(W0, Room::Following);
    assert!(!pool.has_open(Protocol::Sip));
}

#[test]
fn the_ledger_counts_until_a_report_does() {
    let mut pool = pool();
    let seq = pool.hand_over(W0.into(), 10).unwrap();
    assert!(!pool.has_open(Protocol::Sip), "its ten units are spoken for");
    assert_eq!(pool.get(W0).map(Worker::load), Some(1.0));
    let report = Report { number: 1, covers: seq, units_used: 4, units_total: 10, ..Report::default() };
    pool.on_report(W0, &report, Time(2));
    assert_eq!(pool.get(W0).map(|worker| (worker.units_used, worker.ledger())), Some((4, 0)));
    pool.on_report(W0, &Report { units_used: 9, ..report }, Time(3));
    assert_eq!(pool.get(W0).map(|worker| worker.units_used), Some(4), "the same report twice");
    let refused = pool.hand_over(W0.into(), 3).unwrap();
    pool.on_refused(W0, refused, 3);
    assert_eq!(pool.get(W0).map(|worker| (worker.ledger(), worker.refused)), Some((0, 1)));
}

#[test]
fn units_handed_over_by_other_lanes_count_until_those_lanes_say_otherwise() {
    let mut pool = pool();
    pool.set_elsewhere(W0, 2, 6);
    pool.hand_over(W0.into(), 3);
    assert_eq!(pool.get(W0).map(|worker| (worker.spoken_for(), worker.ledger())), Some((9, 3)));
    pool.set_elsewhere(W0, 1, 1);
    assert!(!pool.has_open(Protocol::Sip), "ten of ten units");
    pool.set_elsewhere(W0, 2, 0);
    assert!(pool.has_open(Protocol::Sip));
    pool.on_down(W0);
    pool.set_elsewhere(W0, 1, 5);
    assert_eq!(pool.get(W0).map(Worker::spoken_for), Some(0), "a worker that is gone has nothing");
}

#[test]
fn workers_that_start_together_do_not_wait_for_each_other() {
    let mut pool = Pool::new(2, Duration::from_secs(10));
    pool.on_up(W0, &joined(10), Time(0));
    pool.on_up(WorkerId(1), &joined(10), Time(50_000));
    let shares =
        |pool: &Pool, now: u64| [0, 1].map(|worker| pool.snapshot(Protocol::Sip, Room::All, Time(now)).share(worker));
    assert_eq!(shares(&pool, 60_000), [1024, 1024]);
    assert_eq!(shares(&pool, 2_000_000), [1024, 998], "a twentieth of a second in two");
    pool.on_down(WorkerId(1));
    pool.on_up(WorkerId(1), &joined(10), Time(60_000_000));
    assert_eq!(shares(&pool, 61_000_000), [1024, 102]);
    pool.set_admin(W0, Admin::Drain);
    assert_eq!(shares(&pool, 61_000_000)[1], 1024, "no warmer worker takes calls");
}

#[test]
fn a_slot_too_many_goes_when_its_process_has() {
    let mut pool = pool();
    pool.on_up(WorkerId(1), &joined(10), Time(1));
    pool.set_workers(1);
    assert_eq!(pool.len(), 2);
    assert!(!pool.is_ready(1));
    pool.on_down(WorkerId(1));
    assert_eq!(pool.len(), 1);
    pool.set_workers(3);
    assert_eq!(pool.len(), 3);
}

fn states(pool: &Pool) -> Vec<Operational> {
    pool.iter().map(|(_, worker)| worker.operational).collect()
}

#[test]
fn a_worker_that_reports_and_reads_nothing_is_silent_unless_no_worker_reads() {
    let mut pool = pool();
    pool.on_up(WorkerId(1), &joined(10), Time(1));
    let look = |pool: &mut Pool, behind: [Option<u64>; 2]| {
        for (worker, behind) in behind.into_iter().enumerate() {
            pool.on_heard(WorkerId(worker as u16), Time(2));
            pool.on_unread(WorkerId(worker as u16), behind.map(Seq));
        }
        pool.look(Time(2));
        states(pool)
    };
    let (up, silent) = (Operational::Up, Operational::Silent);
    assert_eq!(look(&mut pool, [Some(4), Some(8)]), [up, up]);
    assert_eq!(look(&mut pool, [Some(4), Some(9)]), [up, up], "w1 has read on");
    assert_eq!(look(&mut pool, [Some(4), None]), [silent, up]);
    assert_eq!(look(&mut pool, [Some(5), Some(9)]), [up, up]);
    look(&mut pool, [Some(5), Some(9)]);
    assert_eq!(look(&mut pool, [Some(5), Some(9)]), [up, up], "the host is busy");
}

#[test]
fn a_worker_that_stays_silent_is_hung_after_many_looks_and_not_after_a_long_pause() {
    let mut pool = pool();
    pool.look(Time(u64::MAX));
    assert_eq!((states(&pool)[0], pool.poll_hung()), (Operational::Silent, None), "one look, however late");
    (2..HUNG_LOOKS).for_each(|_| pool.look(Time(3)));
    assert_eq!(pool.poll_hung(), None);
    pool.look(Time(3));
    assert_eq!((pool.poll_hung(), pool.poll_hung()), (Some(W0), None));
    pool.set_admin(W0, Admin::Maint);
    (0..2 * HUNG_LOOKS).for_each(|_| pool.look(Time(3)));
    assert_eq!(pool.poll_hung(), None, "an operator works on it");
}
