use proptest::prelude::*;

use super::*;
use crate::fingerprint::Printer;
use crate::ids::TokenKey;

const DENY: AccessAction = AccessAction::Deny;
const ALLOW: AccessAction = AccessAction::Allow;

fn limit(rate: u32, burst: u32, ban_ms: u32) -> AccessAction {
    AccessAction::Limit { rate, burst, ban_ms }
}

fn access(rules: &[(&str, AccessAction)]) -> Access {
    let rule = |(text, action): &(&str, AccessAction)| {
        let network: Network = text.parse().unwrap();
        AccessRule { network: network.address(), prefix: network.prefix(), action: *action }
    };
    Access::new(&rules.iter().map(rule).collect::<Vec<_>>())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ask(access: &mut Access, address: IpAddr, millis: u64) -> Admission {
    let source = Printer::new(&TokenKey::new([3; 32])).source(address);
    access.admit(address, || source, Time(millis * 1_000))
}

/// Numbers of `count` requests at one moment that are granted, refused, ignored and banned, in this order.
fn tally(access: &mut Access, address: &str, millis: u64, count: usize) -> [usize; 4] {
    let words = [Admission::Granted, Admission::Refused, Admission::Ignored, Admission::Banned];
    let mut tally = [0; 4];
    for _ in 0..count {
        let word = ask(access, ip(address), millis);
        words.iter().zip(&mut tally).filter(|(other, _)| **other == word).for_each(|(_, count)| *count += 1);
    }
    tally
}

#[test]
fn the_first_rule_that_holds_the_source_decides_and_without_one_all_may_come() {
    let access = access(&[("10.1.0.0/16", ALLOW), ("10.0.0.0/8", DENY), ("2001:db8::/32", DENY)]);
    assert!(!access.denies(ip("10.1.2.3")));
    assert!(access.denies(ip("10.2.2.3")) && access.denies(ip("::ffff:10.2.2.3")));
    assert!(access.denies(ip("2001:db8::7")));
    assert!(!access.denies(ip("192.0.2.1")) && !access.denies(ip("2001:db9::7")));
    assert!(!Access::new(&[]).denies(ip("10.2.2.3")));
}

#[test]
fn beyond_the_burst_so_much_is_granted_a_second_and_no_more_is_refused_than_granted() {
    let mut access = access(&[("0.0.0.0/0", limit(10, 5, 0))]);
    assert_eq!(tally(&mut access, "192.0.2.1", 0, 100), [5, 5, 90, 0]);
    assert_eq!(tally(&mut access, "192.0.2.2", 0, 6), [5, 1, 0, 0], "each source for itself");
    assert_eq!(tally(&mut access, "192.0.2.1", 100, 100), [1, 1, 98, 0]);
    assert_eq!(tally(&mut access, "192.0.2.1", 10_000, 100), [5, 5, 90, 0]);
    assert_eq!(tally(&mut access, "2001:db8::1", 0, 9), [9, 0, 0, 0], "no rule is for it");
}

#[test]
fn a_source_that_exceeds_its_rate_is_told_so_once_banned_for_the_time_and_then_begins_anew() {
    let mut access = access(&[("0.0.0.0/0", limit(10, 2, 60_000))]);
    assert_eq!(tally(&mut access, "192.0.2.1", 0, 10), [2, 1, 0, 7]);
    assert_eq!(tally(&mut access, "192.0.2.1", 59_999, 1), [0, 0, 0, 1]);
    assert_eq!(tally(&mut access, "192.0.2.1", 60_000, 2), [2, 0, 0, 0]);
    assert_eq!(tally(&mut access, "192.0.2.2", 0, 2), [2, 0, 0, 0]);
}

#[test]
fn the_same_rules_again_keep_a_ban_and_others_lift_it() {
    let rule = |rate| [AccessRule { network: ip("0.0.0.0"), prefix: 0, action: limit(rate, 1, 60_000) }];
    let mut access = Access::new(&rule(1));
    assert_eq!(tally(&mut access, "192.0.2.1", 0, 3), [1, 1, 0, 1]);
    access.set_rules(&rule(1));
    assert_eq!(tally(&mut access, "192.0.2.1", 10, 1), [0, 0, 0, 1]);
    access.set_rules(&rule(2));
    assert_eq!(tally(&mut access, "192.0.2.1", 10, 1), [1, 0, 0, 0]);
}

#[test]
fn addresses_without_number_do_not_lift_a_ban_and_cost_no_memory() {
    let mut access = access(&[("0.0.0.0/0", limit(10, 2, 600_000))]);
    for banned in 0..200 {
        tally(&mut access, &format!("192.0.2.{banned}"), 0, 3);
    }
    for number in 0..300_000 {
        ask(&mut access, IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number)), 1);
    }
    assert_eq!(access.buckets.len(), BUCKETS);
    let banned = (0..200).filter(|banned| tally(&mut access, &format!("192.0.2.{banned}"), 2, 1)[3] == 1).count();
    assert_eq!(banned, 200);
}

#[test]
fn rules_of_a_newer_version_and_networks_that_cannot_be_say_nothing() {
    let rule = |prefix, action| AccessRule { network: ip("10.0.0.0"), prefix, action };
    let access = Access::new(&[rule(8, AccessAction::Other), rule(33, DENY)]);
    assert!(!access.denies(ip("10.0.0.1")));
}

proptest! {
    #[test]
    fn in_no_span_of_time_is_more_granted_than_the_burst_and_the_rate_over_it(
        (rate, burst) in (1_u32..2_000, 1_u32..50),
        gaps in prop::collection::vec(0_u64..3_000, 1..300),
    ) {
        let mut access = access(&[("0.0.0.0/0", limit(rate, burst, 0))]);
        let source = Printer::new(&TokenKey::new([3; 32])).source(ip("192.0.2.1"));
        let (mut now, mut granted) = (Time(5), Vec::new());
        for gap in gaps {
            now = Time(now.0 + gap);
            if access.admit(ip("192.0.2.1"), || source, now) == Admission::Granted {
                granted.push(now.0);
            }
        }
        for (at, &from) in granted.iter().enumerate() {
            for (more, &to) in granted[at..].iter().enumerate() {
                let most = f64::from(burst) + (to - from) as f64 * f64::from(rate) / 1e6;
                // One more than the rate is allowed: the limiter's division drops fractions of a nanosecond.
                prop_assert!((more + 1) as f64 <= most + 1.0, "{} in {} µs", more + 1, to - from);
            }
        }
        prop_assert!(!granted.is_empty());
    }
}

#[test]
fn lanes_that_share_a_limit_grant_it_once_together() {
    let mut lanes = [access(&[("0.0.0.0/0", limit(10, 6, 0))]), access(&[("0.0.0.0/0", limit(10, 6, 0))])];
    lanes.iter_mut().for_each(|lane| lane.share_among(2));
    let granted = |lanes: &mut [Access; 2], millis| -> usize {
        lanes.iter_mut().map(|lane| tally(lane, "192.0.2.1", millis, 50)[0]).sum()
    };
    assert_eq!(granted(&mut lanes, 0), 6);
    assert_eq!(granted(&mut lanes, 200), 2);
    let mut one = access(&[("0.0.0.0/0", limit(10, 1, 0))]);
    one.share_among(4);
    assert_eq!(tally(&mut one, "192.0.2.1", 0, 9)[0], 1, "each has one at least");
}
