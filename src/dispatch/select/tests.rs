use super::*;

struct Workers {
    open: Bits,
    loads: Vec<Load>,
}

fn workers(loads: &[(u32, u32)]) -> Workers {
    let mut open = Bits::default();
    open.resize(loads.len());
    (0..loads.len()).for_each(|at| open.set(at, true));
    let loads = loads.iter().map(|&(used, total)| Load { used, total, up_since: Time(0) }).collect();
    Workers { open, loads }
}

impl Workers {
    fn at(&self, now: Time) -> Snapshot<'_> {
        Snapshot { open: &self.open, loads: &self.loads, slow_start: Duration::from_secs(10), warmest: Time(0), now }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        self.at(Time(1_000_000_000))
    }
}

fn ask(size: u32) -> Ask {
    Ask { size, key: 42, tried: Tried::default() }
}

fn candidates(policy: Policy, weights: &[u32], workers: &Workers, size: u32) -> Vec<u16> {
    let mut selector = Selector::new(policy, weights, workers.loads.len(), 7);
    let mut ask = ask(size);
    std::iter::from_fn(|| {
        let worker = selector.pick(&workers.snapshot(), &ask)?;
        ask.tried.add(worker);
        Some(worker.0)
    })
    .collect()
}

fn counts(policy: Policy, weights: &[u32], workers: &Workers, now: Time, times: u64) -> Vec<u64> {
    let mut selector = Selector::new(policy, weights, workers.loads.len(), 7);
    let mut counts = vec![0; workers.loads.len()];
    for key in 0..times {
        let picked = selector.pick(&workers.at(now), &Ask { key: mix(key), ..ask(1) });
        counts[usize::from(picked.unwrap().0)] += 1;
    }
    counts
}

#[test]
fn least_load_orders_by_the_load_after_the_session() {
    let workers = workers(&[(50, 100), (10, 100), (60, 1000), (100, 100)]);
    assert_eq!(candidates(Policy::LeastLoad, &[], &workers, 1), [2, 1, 0]);
    assert_eq!(candidates(Policy::LeastLoad, &[], &workers, 90), [2, 1]);
    assert_eq!(candidates(Policy::LeastLoad, &[], &workers, 941), [0_u16; 0]);
}

#[test]
fn least_load_goes_round_among_equals() {
    assert_eq!(counts(Policy::LeastLoad, &[], &workers(&[(0, 10); 4]), Time(1 << 40), 400), [100; 4]);
}

#[test]
fn least_load_in_a_large_pool_avoids_the_busy_half_mostly() {
    let loads: Vec<(u32, u32)> = (0..200).map(|at| if at < 100 { (90, 100) } else { (10, 100) }).collect();
    let counts = counts(Policy::LeastLoad, &[], &workers(&loads), Time(1 << 40), 10_000);
    let busy: u64 = counts[..100].iter().sum();
    assert!((1_500..3_500).contains(&busy), "a quarter of the draws are two busy ones: {busy}");
}

#[test]
fn least_load_finds_the_only_one_with_room_in_a_large_pool() {
    let mut loads = vec![(100, 100); 1024];
    loads[777] = (99, 100);
    assert_eq!(candidates(Policy::LeastLoad, &[], &workers(&loads), 1), [777]);
}

#[test]
fn round_robin_gives_every_worker_the_same_and_skips_those_without_room() {
    let workers = workers(&[(0, 10), (10, 10), (0, 10), (0, 10)]);
    assert_eq!(counts(Policy::RoundRobin, &[], &workers, Time(1 << 40), 300), [100, 0, 100, 100]);
    assert_eq!(candidates(Policy::RoundRobin, &[], &workers, 1), [0, 2, 3]);
}

#[test]
fn weighted_follows_the_weights_evenly_and_never_picks_weight_0() {
    let workers = workers(&[(0, 10); 4]);
    assert_eq!(counts(Policy::Weighted, &[3, 1, 0], &workers, Time(1 << 40), 500), [300, 100, 0, 100]);
    assert_eq!(candidates(Policy::Weighted, &[6, 2, 0, 2], &workers, 1).len(), 3);
    let mut selector = Selector::new(Policy::Weighted, &[3, 1, 0, 1], 4, 7);
    let first: Vec<u16> = (0..5).map(|_| selector.pick(&workers.snapshot(), &ask(1)).unwrap().0).collect();
    assert_eq!(first.iter().filter(|&&worker| worker == 0).count(), 3);
    assert!(first.windows(3).all(|three| three != [0, 0, 0]), "turns lie apart: {first:?}");
}

#[test]
fn absurd_weights_are_scaled_to_a_round_of_limited_length() {
    let workers = workers(&[(0, 10); 2]);
    let counts = counts(Policy::Weighted, &[u32::MAX, u32::MAX / 3], &workers, Time(1 << 40), 16_000);
    assert!((11_900..12_100).contains(&counts[0]), "{counts:?}");
}

#[test]
fn hash_gives_a_key_the_same_worker_and_moves_only_the_keys_of_who_leaves() {
    let all = |_: usize| true;
    let before: Vec<usize> = (0..10_000).map(|key| by_hash(mix(key), 8, all).unwrap()).collect();
    let mut counts = [0_u32; 8];
    before.iter().for_each(|&worker| counts[worker] += 1);
    assert!(counts.iter().all(|count| (1_100..1_400).contains(count)), "{counts:?}");
    let mut gained = [0_u32; 8];
    for (key, &old) in before.iter().enumerate() {
        let new = by_hash(mix(key as u64), 8, |worker| worker != 3).unwrap();
        if old == 3 { gained[new] += 1 } else { assert_eq!(new, old) }
    }
    assert!(gained.iter().enumerate().all(|(at, &count)| at == 3 || (120..250).contains(&count)), "{gained:?}");
    for (key, &old) in before.iter().enumerate() {
        let new = by_hash(mix(key as u64), 9, all).unwrap();
        assert!(new == old || new == 8, "a pool that grows takes keys, it moves none between the others");
    }
    assert_eq!(by_hash(1, 8, |worker| worker == 5), Some(5));
    assert_eq!(by_hash(1, 8, |_| false), None);
    assert_eq!(by_hash(1, 0, all), None);
}

#[test]
fn pack_fills_one_worker_before_the_next() {
    let workers = workers(&[(10, 10), (9, 10), (0, 10)]);
    assert_eq!(candidates(Policy::Pack, &[], &workers, 1), [1, 2]);
    assert_eq!(candidates(Policy::Pack, &[], &workers, 2), [2]);
}

#[test]
fn a_worker_that_has_just_started_gets_a_growing_share() {
    let mut workers = workers(&[(0, 1000); 2]);
    workers.loads[1].up_since = Time(100_000_000);
    for policy in [Policy::RoundRobin, Policy::Weighted] {
        let share = |seconds: u64| {
            let counts = counts(policy, &[], &workers, Time(100_000_000 + seconds * 1_000_000), 1_000);
            counts[1]
        };
        let (first, middle, last) = (share(0), share(5), share(10));
        assert!(first < 200 && (250..450).contains(&middle) && last == 500, "{policy:?} {first} {middle} {last}");
    }
    workers.loads[0].used = 400;
    workers.loads[1].used = 100;
    let mut selector = Selector::new(Policy::LeastLoad, &[], 2, 7);
    assert_eq!(selector.pick(&workers.at(Time(101_000_000)), &ask(1)), Some(WorkerId(0)));
    assert_eq!(selector.pick(&workers.at(Time(110_000_000)), &ask(1)), Some(WorkerId(1)));
}
