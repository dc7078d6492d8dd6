//! Selection by a hash: the same workers for the same names.
//!
//! A jump consistent hash (Lamping and Veach, 2014) gives each key its worker in about ln N steps. If that worker may
//! not have the key, the next draw for the key gives another. So a worker that leaves or is full gives its keys to all
//! others evenly, and no other keys move. A pool that grows at its end takes keys from all evenly. Rendezvous hashing
//! promises the same, but reads every worker.

use super::mix;

/// Draws before the workers are tried one by one.
const DRAWS: u64 = 32;

/// The worker of `key` among `workers`, of those for which `takes` is true.
pub fn by_hash(key: u64, workers: usize, takes: impl Fn(usize) -> bool) -> Option<usize> {
    if workers == 0 {
        return None;
    }
    let draw = |number: u64| jump(mix(key.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))), workers);
    let drawn = (0..DRAWS).map(draw).find(|&worker| takes(worker));
    drawn.or_else(|| {
        let start = draw(DRAWS);
        (start..workers).chain(0..start).find(|&worker| takes(worker))
    })
}

fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0_u64, 0_u64);
    while next < buckets as u64 {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = ((bucket + 1) as f64 * ((1_u64 << 31) as f64 / ((key >> 33) + 1) as f64)) as u64;
    }
    bucket as usize
}
