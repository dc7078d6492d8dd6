//! Selection by the lowest cost, such as (outstanding requests + 1) / weight: exact for small pools, the better of two
//! drawn for large ones.

use super::Random;

/// Up to this many members every one is compared.
pub const EXACT: usize = 32;

/// Number of draws to find two members that take it before the pool is searched: with half of the pool out, all 16 fail
/// once in 65,536 selections.
const DRAWS: usize = 16;

/// The member with the lowest cost, of those for which `takes` is true. The look begins after the one picked last
/// (`cursor`), so that members of equal cost take turns, and one that takes nothing does not give its turns to the
/// next.
pub fn lowest(
    members: usize,
    cursor: &mut usize,
    random: &mut Random,
    takes: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> f64,
) -> Option<usize> {
    if members <= EXACT {
        let start = if *cursor >= members { 0 } else { *cursor };
        let mut best: Option<(usize, f64)> = None;
        for member in (start..members).chain(0..start).filter(|&member| takes(member)) {
            let cost = cost(member);
            if best.is_none_or(|(_, lowest)| cost < lowest) {
                best = Some((member, cost));
            }
        }
        let (member, _) = best?;
        *cursor = member + 1;
        return Some(member);
    }
    let mut first = None;
    for _ in 0..DRAWS {
        let drawn = random.below(members);
        if first == Some(drawn) || !takes(drawn) {
            continue;
        }
        match first {
            None => first = Some(drawn),
            Some(first) => return Some(if cost(drawn) < cost(first) { drawn } else { first }),
        }
    }
    first.or_else(|| {
        let start = random.below(members);
        (start..members).chain(0..start).find(|&member| takes(member))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_cost_wins_and_equal_ones_take_turns() {
        let (mut cursor, mut random) = (0, Random::new(1));
        let costs = [3.0, 1.0, 1.0, 2.0];
        let mut picks = [0; 4];
        for _ in 0..100 {
            picks[lowest(4, &mut cursor, &mut random, |_| true, |member| costs[member]).unwrap()] += 1;
        }
        assert_eq!(picks[0] + picks[3], 0);
        assert!(picks[1].min(picks[2]) >= 25, "{picks:?}");
        assert_eq!(lowest(4, &mut cursor, &mut random, |member| member == 0, |_| 1.0), Some(0));
        assert_eq!(lowest(4, &mut cursor, &mut random, |_| false, |_| 1.0), None);
        assert_eq!(lowest(0, &mut cursor, &mut random, |_| true, |_| 1.0), None);
    }

    #[test]
    fn in_a_large_pool_the_better_of_two_wins_and_the_last_one_is_found() {
        let (mut cursor, mut random) = (0, Random::new(1));
        for _ in 0..1_000 {
            let picked = lowest(1_024, &mut cursor, &mut random, |_| true, |member| member as f64).unwrap();
            assert!(picked < 1_023, "the worst never wins");
            assert_eq!(lowest(1_024, &mut cursor, &mut random, |member| member == 77, |_| 1.0), Some(77));
        }
    }
}
