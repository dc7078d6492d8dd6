use super::*;
use crate::config::PoolPolicy;
use crate::dispatch::decision::{Admin, Hop, Tried};
use crate::dispatch::select::Ask;
use crate::dispatch::targets::proxy::{self, Precedence};
use crate::ids::TargetId;
use crate::pack::{Packed, Saved};
use crate::words::Transport;

fn at(milliseconds: u64) -> Time {
    Time(1_000_000_000 + milliseconds * 1_000)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn settings(name: &str, host: &str) -> config::Proxy {
    config::Proxy { name: name.to_owned(), host: host.to_owned(), ..config::Proxy::default() }
}

fn pool(policy: PoolPolicy) -> config::Pool {
    config::Pool { policy, ..config::Pool::default() }
}

fn numbered(count: usize) -> Vec<config::Proxy> {
    (0..count).map(|number| settings(&format!("fs{number}"), &format!("192.0.2.{}", number + 1))).collect()
}

fn proxies(count: usize, policy: PoolPolicy) -> Proxies {
    let mut proxies = Proxies::new(ms(10_000), 1);
    proxies.set(&numbered(count), &[pool(policy)], at(0));
    proxies
}

/// The proxy of an entry at an address.
fn placed(proxies: &Proxies, entry: &str, address: Option<SocketAddr>) -> ProxyId {
    proxies.slots.by_entry()[entry].iter().find(|(at, _)| *at == address).unwrap().1
}

fn ask(key: u64) -> Ask {
    Ask { size: 1, key, tried: Tried::default() }
}

fn choose(proxies: &mut Proxies, key: u64, now: Time) -> Result<u16, Refused> {
    proxies.choose(PoolId(0), &ask(key), 0, now).map(|choice| match choice {
        Choice::Proxy(id) => id.0,
        Choice::Workers => panic!("no workers"),
    })
}

/// Calls that each proxy gets of so many, each answered at once.
fn spread(proxies: &mut Proxies, calls: u64, now: Time) -> Vec<u64> {
    let mut counts = Vec::new();
    for call in 0..calls {
        let id = choose(proxies, call.wrapping_mul(0x9e37_79b9_7f4a_7c15), now).unwrap();
        let sent = proxies.on_sent(ProxyId(id), now);
        proxies.on_first_response(ProxyId(id), sent, 200, now);
        counts.resize(counts.len().max(usize::from(id) + 1), 0);
        counts[usize::from(id)] += 1;
    }
    proxies.check(now);
    counts
}

fn put_out(proxies: &mut Proxies, id: u16, now: Time) {
    let life = proxies.get(ProxyId(id)).unwrap().life();
    for number in 1..=2 {
        proxies.on_probe_lost(ProxyId(id), ProbeNumber { life, number }, now);
    }
}

fn changes(proxies: &mut Proxies) -> Vec<(String, Option<proxy::State>)> {
    let changes = std::iter::from_fn(|| proxies.poll_change());
    changes.map(|change| (change.name, change.to.map(|to| to.state))).collect()
}

fn state(proxies: &Proxies, name: &str, now: Time) -> &'static str {
    proxies.rows(now).iter().find(|row| row.name == name).unwrap().state
}

#[test]
fn the_share_of_a_dead_one_goes_to_all_others_and_not_to_a_neighbour() {
    for policy in PoolPolicy::ALL {
        let mut proxies = proxies(4, *policy);
        let even = spread(&mut proxies, 10_000, at(0));
        assert!(even.iter().all(|count| (2_300..2_700).contains(count)), "{policy}: {even:?}");
        put_out(&mut proxies, 1, at(0));
        assert_eq!(changes(&mut proxies), [("fs1".to_owned(), Some(proxy::State::Down))]);
        let rest = spread(&mut proxies, 9_000, at(0));
        assert_eq!(rest[1], 0);
        assert!([rest[0], rest[2], rest[3]].iter().all(|count| (2_700..3_300).contains(count)), "{policy}: {rest:?}");
    }
}

#[test]
fn thirty_members_share_by_their_handicaps() {
    let mut settings = numbered(30);
    settings.iter_mut().zip(1..).for_each(|(settings, number)| settings.handicap = number * 10);
    let mut proxies = Proxies::new(ms(0), 1);
    proxies.set(&settings, &[pool(PoolPolicy::Weighted)], at(0));
    let sum: u64 = (1..=30).sum();
    for (number, count) in (1..).zip(spread(&mut proxies, 46_500, at(0))) {
        assert!(count.abs_diff(46_500 * number / sum) <= 47, "fs{number}: {count}");
    }
}

#[test]
fn two_entries_with_one_address_have_each_a_health_of_their_own() {
    let mut proxies = Proxies::new(ms(0), 1);
    let same = [settings("a", "192.0.2.1"), settings("b", "192.0.2.1")];
    proxies.set(&same, &[pool(PoolPolicy::Latency)], at(0));
    let found: Vec<_> = proxies.at("192.0.2.1:5060".parse().unwrap()).collect();
    assert_eq!(found, [ProxyId(0), ProxyId(1)]);
    put_out(&mut proxies, 0, at(0));
    assert_eq!((state(&proxies, "a", at(0)), state(&proxies, "b", at(0))), ("down", "up"));
    assert_eq!(proxies.at("192.0.2.1:5061".parse().unwrap()).count(), 0);
}

#[test]
fn a_reload_keeps_state_and_number_by_name_and_another_address_is_another_life() {
    let mut proxies = proxies(3, PoolPolicy::Latency);
    put_out(&mut proxies, 2, at(0));
    let sent = proxies.on_sent(ProxyId(0), at(0));
    let mut changed = numbered(3);
    changed.reverse();
    changed[2].host = "192.0.2.99".to_owned();
    proxies.set(&changed, &[pool(PoolPolicy::Latency)], at(1));
    proxies.check(at(1));
    assert_eq!(state(&proxies, "fs2", at(1)), "down");
    assert_eq!(proxies.name(ProxyId(2)), Some("fs2"));
    let moved = proxies.iter().find(|(_, proxy)| proxy.address().unwrap().to_string() == "192.0.2.99:5060").unwrap();
    assert_eq!((moved.0, moved.1.life()), (ProxyId(3), 4));
    // The old address still serves what it got, and gets nothing new.
    assert_eq!(proxies.address(ProxyId(0), sent.life), Some("192.0.2.1:5060".parse().unwrap()));
    proxies.on_first_response(ProxyId(0), sent, 200, at(2));
    let counts = spread(&mut proxies, 100, at(2));
    assert_eq!((counts[0], counts[2]), (0, 0));
    // It is forgotten, and its place goes to another life.
    assert!(proxies.is_farewell_due(at(300_001)));
    proxies.let_go(&BTreeSet::new(), at(300_001));
    proxies.check(at(300_001));
    assert_eq!(proxies.address(ProxyId(0), sent.life), None);
    proxies.set(&numbered(5), &[pool(PoolPolicy::Latency)], at(300_002));
    assert!(proxies.address(ProxyId(0), sent.life).is_none() && proxies.get(ProxyId(0)).is_some());
}

#[test]
fn an_answer_that_comes_after_a_reload_changes_no_new_life() {
    let mut proxies = proxies(1, PoolPolicy::Latency);
    let life = proxies.get(ProxyId(0)).unwrap().life();
    proxies.set(&[settings("fs0", "192.0.2.77")], &[pool(PoolPolicy::Latency)], at(1));
    let (id, _) = proxies.iter().next().unwrap();
    put_out(&mut proxies, id.0, at(2));
    let ok = Answered { status: 200, retry_after: None, delay: ms(1) };
    for number in 3..9 {
        proxies.on_probe_answered(id, ProbeNumber { life, number }, &ok, at(3));
    }
    assert_eq!(state(&proxies, "fs0", at(3)), "down");
}

#[test]
fn orders_and_handicaps_that_were_said_survive_a_reload_that_does_not_touch_them() {
    let mut proxies = proxies(2, PoolPolicy::Weighted);
    assert!(proxies.set_admin("fs0", Admin::Drain) && !proxies.set_admin("fs9", Admin::Drain));
    assert!(proxies.set_handicap("fs1", 40, at(0)) && !proxies.set_handicap("w0", 40, at(0)));
    proxies.set(&numbered(2), &[pool(PoolPolicy::Weighted)], at(1));
    let rows = proxies.rows(at(1));
    assert_eq!((rows[0].admin, rows[0].weight, rows[1].handicap, rows[1].weight), ("drain", 0, 40, 40));
    let mut changed = numbered(2);
    changed[1].handicap = 70;
    proxies.set(&changed, &[pool(PoolPolicy::Weighted)], at(1));
    assert_eq!(proxies.rows(at(1))[1].handicap, 70);
}

#[test]
fn a_name_is_as_many_proxies_as_it_has_addresses() {
    let address =
        |last: u8, priority, weight| Address { address: SocketAddr::from(([192, 0, 2, last], 5060)), priority, weight };
    let mut proxies = Proxies::new(ms(0), 1);
    proxies.set(&[settings("fs", "fs.example.net")], &[pool(PoolPolicy::Weighted)], at(0));
    let rows = proxies.rows(at(0));
    assert_eq!(
        (rows[0].name.as_str(), rows[0].state, rows[0].address.as_str()),
        ("fs", "unresolved", "fs.example.net")
    );
    assert_eq!(choose(&mut proxies, 1, at(0)), Err(Refused::Empty));
    let found = [address(1, 10, 60), address(2, 10, 20), address(3, 20, 0), address(1, 30, 1)];
    assert!(proxies.set_addresses("fs", &found, at(1)));
    let names: Vec<_> = proxies.rows(at(1)).into_iter().map(|row| (row.name, row.weight)).collect();
    let name = |last: u8, weight: u32| (format!("fs/192.0.2.{last}:5060"), weight);
    assert_eq!(names, [name(1, 100), name(2, 33), name(3, 100)]);
    let first = placed(&proxies, "fs", Some(found[0].address));
    let second = placed(&proxies, "fs", Some(found[1].address));
    let third = placed(&proxies, "fs", Some(found[2].address));
    let counts = spread(&mut proxies, 400, at(1));
    assert!(counts[usize::from(first.0)].abs_diff(300) < 3, "{counts:?}");
    put_out(&mut proxies, first.0, at(2));
    put_out(&mut proxies, second.0, at(2));
    assert_eq!(choose(&mut proxies, 1, at(2)), Ok(third.0), "the next priority, once no earlier one takes any");
    // The name loses an address and gets it back: it is still down.
    proxies.set_addresses("fs", &found[1..], at(3));
    proxies.set_addresses("fs", &found, at(4));
    assert_eq!(state(&proxies, "fs/192.0.2.1:5060", at(4)), "down");
    assert!(proxies.set_admin("fs/192.0.2.3:5060", Admin::Maint));
    assert_eq!(proxies.rows(at(4)).iter().filter(|row| row.admin == "maint").count(), 1);
    proxies.set_addresses("fs", &[], at(5));
    assert_eq!(state(&proxies, "fs", at(5)), "unresolved");
    let many: Vec<_> = (0..=255).map(|last| address(last, 0, 0)).collect();
    proxies.set_addresses("fs", &many, at(6));
    assert_eq!(proxies.rows(at(6)).len(), 16);
    proxies.check(at(6));
    assert!(!proxies.set_addresses("other", &found, at(6)));
}

#[test]
fn a_request_that_moves_goes_to_a_worker_however_many_members_are_slow_or_have_had_it() {
    let mut proxies = Proxies::new(ms(0), 1);
    let fallback = vec![config::Pool::WORKERS.to_owned()];
    proxies.set(&numbered(20), &[config::Pool { fallback, ..pool(PoolPolicy::Latency) }], at(0));
    let had: Vec<ProxyId> = (0..10).map(ProxyId).collect();
    let next = |proxies: &mut Proxies, had: &[ProxyId], within, workers| {
        proxies.choose_next(
            PoolId(0),
            (&ask(1), Moving { had, within, precedence: Precedence::Ordinary }),
            workers,
            at(0),
        )
    };
    let quick = next(&mut proxies, &had, ms(1_000), 1);
    assert!(matches!(quick, Ok(Choice::Proxy(ProxyId(10..)))), "{quick:?}");
    // Nobody answers within no time.
    assert_eq!(next(&mut proxies, &had, ms(0), 1), Ok(Choice::Workers));
    assert_eq!(next(&mut proxies, &had, ms(0), 0), Err(Refused::Slow));
    let all: Vec<ProxyId> = (0..20).map(ProxyId).collect();
    assert_eq!(next(&mut proxies, &all, ms(1_000), 1), Ok(Choice::Workers));
    assert_eq!(next(&mut proxies, &all, ms(1_000), 0), Err(Refused::AllTried));
}

#[test]
fn probes_alone_never_empty_a_pool() {
    let mut proxies = proxies(3, PoolPolicy::Latency);
    (0..3).for_each(|id| put_out(&mut proxies, id, at(0)));
    let picks: Vec<_> = (0..6).map(|key| choose(&mut proxies, key, at(0)).unwrap()).collect();
    assert_eq!([0, 1, 2].map(|id| picks.iter().filter(|pick| **pick == id).count()), [2, 2, 2], "in turn");
    let rows = proxies.pool_rows(at(0));
    assert_eq!((rows[0].panic, rows[0].up, rows[0].calls), (true, 0, 6));
    let mut tried = Tried::default();
    tried.add(ProxyId(0));
    let again = proxies.choose(PoolId(0), &Ask { tried, ..ask(1) }, 0, at(0));
    assert_eq!(again, Err(Refused::Down), "fail-over picks none that is known to be down");
    assert_eq!(proxies.pool_rows(at(0))[0].calls, 6, "a request that looks for another proxy is no other call");
    proxies.set_admin("fs0", Admin::Maint);
    assert!((0..6).all(|key| choose(&mut proxies, key, at(0)) != Ok(0)));
    for id in 0..3 {
        let life = proxies.get(ProxyId(id)).unwrap().life();
        for number in 3..=4 {
            let ok = Answered { status: 200, retry_after: None, delay: ms(1) };
            proxies.on_probe_answered(ProxyId(id), ProbeNumber { life, number }, &ok, at(10));
        }
    }
    choose(&mut proxies, 1, at(10)).unwrap();
    assert!(!proxies.pool_rows(at(10))[0].panic);
}

#[test]
fn pools_after_a_pool_are_asked_in_their_order_and_a_circle_ends() {
    let mut settings = numbered(2);
    settings[1].pool = "other".to_owned();
    let named = |name: &str, fallback: &[&str]| config::Pool {
        name: name.to_owned(),
        fallback: fallback.iter().map(|name| (*name).to_owned()).collect(),
        ..config::Pool::default()
    };
    let mut proxies = Proxies::new(ms(0), 1);
    let pools = [named("default", &["default", "other", "nowhere"]), named("other", &["default", "workers"])];
    proxies.set(&settings, &pools, at(0));
    assert_eq!(choose(&mut proxies, 1, at(0)), Ok(0));
    proxies.set_admin("fs0", Admin::Drain);
    assert_eq!(choose(&mut proxies, 1, at(0)), Ok(1));
    proxies.set_admin("fs1", Admin::Drain);
    assert_eq!(proxies.choose(PoolId(0), &ask(1), 3, at(0)), Ok(Choice::Workers));
    assert_eq!(proxies.choose(PoolId(0), &ask(1), 0, at(0)), Err(Refused::Down));
    let mut redirected =
        |workers: usize| proxies.choose_several(PoolId(0), &ask(1), 3, workers, at(0)).map(|chosen| chosen.is_some());
    assert_eq!([redirected(3), redirected(0)], [Ok(false), Err(Refused::Down)]);
    assert_eq!(proxies.choose(PoolId(7), &ask(1), 0, at(0)), Err(Refused::Empty));
    assert_eq!((proxies.pool_id("other"), proxies.pool_id("nowhere")), (Some(PoolId(1)), None));
    proxies.set(&settings, &pools[1..], at(1));
    assert_eq!((proxies.pool_id("other"), proxies.pool_id("default")), (Some(PoolId(1)), None));
    proxies.check(at(1));
}

#[test]
fn full_servers_are_told_from_dead_ones() {
    let mut proxies = proxies(2, PoolPolicy::Latency);
    put_out(&mut proxies, 0, at(0));
    let (life, full) = (proxies.get(ProxyId(1)).unwrap().life(), Some(proxy::Word::Full));
    proxies.on_load(ProxyId(1), life, &Reported { word: full, ..Reported::default() }, at(0));
    proxies.set_admin("fs0", Admin::Maint);
    assert_eq!(choose(&mut proxies, 1, at(0)), Err(Refused::Full));
    proxies.on_load(ProxyId(1), life + 1, &Reported { word: Some(proxy::Word::Ready), ..Reported::default() }, at(0));
    assert_eq!(choose(&mut proxies, 1, at(0)), Err(Refused::Full), "a report of another life");
}

#[test]
fn the_same_call_goes_to_the_same_server_whatever_the_order_of_the_settings() {
    let mut one = proxies(8, PoolPolicy::Hash);
    let mut reversed = numbered(9);
    reversed.reverse();
    let mut other = Proxies::new(ms(0), 77);
    other.set(&reversed, &[pool(PoolPolicy::Hash)], at(0));
    let name = |proxies: &Proxies, id: u16| proxies.name(ProxyId(id)).unwrap().to_owned();
    let mut moved = 0;
    for key in (0..9_000_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let (before, after) = (choose(&mut one, key, at(0)).unwrap(), choose(&mut other, key, at(0)).unwrap());
        let (before, after) = (name(&one, before), name(&other, after));
        if before != after {
            assert_eq!(after, "fs8", "only the new one takes calls");
            moved += 1;
        }
    }
    assert!((850..1_150).contains(&moved), "{moved} of 9000 to the ninth");
}

#[test]
fn below_a_rate_calls_are_taken_in_turn() {
    let mut proxies = proxies(2, PoolPolicy::Latency);
    let settings = config::Pool { round_robin_below: 10, ..pool(PoolPolicy::Latency) };
    proxies.set(&numbered(2), &[settings], at(0));
    // The first one waits, so that the policy would avoid it.
    (0..3).for_each(|_| _ = proxies.on_sent(ProxyId(0), at(0)));
    let slow: Vec<_> = (1..9).map(|call| choose(&mut proxies, call, at(call * 1_000)).unwrap()).collect();
    assert_eq!(slow.iter().filter(|id| **id == 0).count(), 4);
    let fast: Vec<_> = (0..40).map(|call| choose(&mut proxies, call, at(9_000 + call)).unwrap()).collect();
    assert!(fast[20..].iter().all(|id| *id == 1));
}

#[test]
fn a_redirect_names_several_the_chosen_one_first_and_each_once() {
    let mut settings = numbered(6);
    settings.iter_mut().zip(1..).for_each(|(settings, number)| settings.handicap = number * 10);
    let mut proxies = Proxies::new(ms(0), 1);
    proxies.set(&settings, &[pool(PoolPolicy::Weighted)], at(0));
    let several = proxies.choose_several(PoolId(0), &ask(1), 3, 0, at(0)).unwrap().unwrap();
    let [first, rest @ ..] = several.as_slice() else { panic!("none") };
    let best: Vec<_> = [5, 4, 3].map(ProxyId).into_iter().filter(|id| id != first).take(2).collect();
    assert_eq!(rest, best);
    assert_eq!(proxies.choose_several(PoolId(0), &ask(1), 200, 0, at(0)).unwrap().unwrap().as_slice().len(), 6);
}

#[test]
fn every_member_is_the_first_that_a_redirect_names_in_turn() {
    let mut proxies = proxies(2, PoolPolicy::RoundRobin);
    let mut first =
        |call| proxies.choose_several(PoolId(0), &ask(call), 2, 0, at(call)).unwrap().unwrap().as_slice()[0];
    let firsts: Vec<_> = (0..4).map(&mut first).collect();
    assert_eq!(firsts, [0, 1, 0, 1].map(ProxyId));
}

#[test]
fn workers_take_part_as_members() {
    for policy in [PoolPolicy::RoundRobin, PoolPolicy::LeastLoad, PoolPolicy::Hash] {
        let mut proxies = Proxies::new(ms(0), 1);
        proxies.set(&numbered(2), &[config::Pool { workers: true, ..pool(policy) }], at(0));
        let keys = (0..4_000_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let workers = keys.filter(|key| proxies.choose(PoolId(0), &ask(*key), 2, at(0)) == Ok(Choice::Workers)).count();
        assert!((1_800..2_200).contains(&workers), "{policy}: {workers}");
        (0..2).for_each(|id| put_out(&mut proxies, id, at(0)));
        assert_eq!(proxies.choose(PoolId(0), &ask(1), 2, at(0)), Ok(Choice::Workers));
    }
}

#[test]
fn proxies_and_workers_take_exact_turns() {
    let mut proxies = Proxies::new(ms(0), 1);
    proxies.set(&numbered(3), &[config::Pool { workers: true, ..pool(PoolPolicy::RoundRobin) }], at(0));
    let choices: Vec<_> = (0..500).map(|key| proxies.choose(PoolId(0), &ask(key), 2, at(key)).unwrap()).collect();
    for turns in choices.chunks(5) {
        let count = |wanted: Choice| turns.iter().filter(|choice| **choice == wanted).count();
        assert_eq!([0, 1, 2].map(|id| count(Choice::Proxy(ProxyId(id)))), [1, 1, 1], "{turns:?}");
        assert_eq!(count(Choice::Workers), 2, "{turns:?}");
    }
    put_out(&mut proxies, 1, at(500));
    let workers =
        (0..400).filter(|key| proxies.choose(PoolId(0), &ask(*key), 2, at(500)) == Ok(Choice::Workers)).count();
    assert_eq!(workers, 200, "each of the four that are left takes a fourth");
    let mut ranked = Proxies::new(ms(0), 1);
    ranked.set(
        &[settings("fs", "fs.example.net")],
        &[config::Pool { workers: true, ..pool(PoolPolicy::RoundRobin) }],
        at(0),
    );
    let address =
        |last: u8, priority| Address { address: SocketAddr::from(([192, 0, 2, last], 5060)), priority, weight: 0 };
    ranked.set_addresses("fs", &[address(1, 10), address(2, 20)], at(1));
    let first = Choice::Proxy(placed(&ranked, "fs", Some(address(1, 10).address)));
    let turns: Vec<_> = (0..6).map(|key| ranked.choose(PoolId(0), &ask(key), 2, at(1)).unwrap()).collect();
    assert_eq!(turns, [first, Choice::Workers, Choice::Workers, first, Choice::Workers, Choice::Workers]);
}

#[test]
fn a_request_that_waits_wishes_for_a_probe_and_silence_is_found_by_time_alone() {
    let mut proxies = proxies(2, PoolPolicy::Latency);
    (0..5).for_each(|_| _ = proxies.on_sent(ProxyId(1), at(0)));
    let mut wishes = Vec::new();
    while let Some(due) = proxies.poll_timeout().filter(|due| *due <= at(600)) {
        proxies.handle_timeout(due);
        proxies.check(due);
        wishes.extend(std::iter::from_fn(|| proxies.poll_wish()).map(|id| (id, due)));
    }
    assert_eq!(wishes, [(ProxyId(1), at(200))]);
    assert_eq!(state(&proxies, "fs1", at(600)), "down");
    assert_eq!(proxies.poll_change().unwrap().to.unwrap().why, proxy::Why::Silent);
    assert!(proxies.poll_change().is_none());
}

#[test]
fn a_proxy_that_the_settings_lose_and_have_again_while_it_is_down_is_told_down_again() {
    let down = |name: &str| (name.to_owned(), Some(proxy::State::Down));
    let mut proxies = proxies(2, PoolPolicy::Latency);
    put_out(&mut proxies, 1, at(0));
    assert_eq!(changes(&mut proxies), [down("fs1")]);
    proxies.set(&numbered(1), &[pool(PoolPolicy::Latency)], at(1));
    assert_eq!(changes(&mut proxies), [("fs1".to_owned(), None)]);
    proxies.set(&numbered(1), &[pool(PoolPolicy::Latency)], at(2));
    assert_eq!(changes(&mut proxies), []);
    proxies.set(&numbered(2), &[pool(PoolPolicy::Latency)], at(3));
    assert_eq!(changes(&mut proxies), [down("fs1")]);
}

#[test]
fn a_proxy_that_is_down_at_a_takeover_is_told_by_the_new_dispatcher_as_well() {
    let mut old = proxies(2, PoolPolicy::Latency);
    put_out(&mut old, 1, at(0));
    let mut bytes = Vec::new();
    old.save(&mut bytes);
    let mut new = proxies(2, PoolPolicy::Latency);
    new.restore(&mut Packed::new(&bytes)).unwrap();
    assert_eq!(changes(&mut new), [("fs1".to_owned(), Some(proxy::State::Down))]);
}

#[test]
fn a_takeover_goes_on_where_the_old_one_was() {
    let mut old = proxies(3, PoolPolicy::Latency);
    put_out(&mut old, 2, at(0));
    old.set_admin("fs1", Admin::Drain);
    old.set_handicap("fs0", 7, at(0));
    let sent = old.on_sent(ProxyId(0), at(0));
    old.choose(PoolId(0), &Ask { size: 1, key: 0, tried: Tried::default() }, 0, at(0)).unwrap();
    let mut bytes = Vec::new();
    old.save(&mut bytes);
    // The new one has other settings: two are gone, one is new, and the order differs.
    let mut new = Proxies::new(ms(10_000), 2);
    let mut settings = numbered(4);
    settings.remove(2);
    settings.reverse();
    new.set(&settings, &[pool(PoolPolicy::Latency)], at(1));
    new.restore(&mut Packed::new(&bytes)).unwrap();
    assert_eq!(changes(&mut new), [], "fs2, which is down, is gone");
    new.check(at(1));
    assert_eq!((new.name(ProxyId(0)), new.name(ProxyId(1))), (Some("fs0"), Some("fs1")));
    let rows = new.rows(at(1));
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!((row("fs1").admin, row("fs0").handicap, row("fs0").outstanding), ("drain", 7, 1));
    assert_eq!((new.pool_rows(at(1))[0].calls, old.pool_rows(at(1))[0].calls), (1, 1));
    new.on_first_response(ProxyId(0), sent, 200, at(5));
    assert_eq!((new.get(ProxyId(0)).unwrap().outstanding(), new.rows(at(5)).len()), (0, 3));
    assert_eq!(new.get(ProxyId(2)).unwrap().address().unwrap().to_string(), "192.0.2.3:5060", "it stays for a while");
    assert!(TargetId::Proxy(ProxyId(2)).worker().is_none());
}

#[test]
fn after_a_takeover_a_proxy_is_as_full_of_calls_as_before() {
    let set = |proxies: &mut Proxies| {
        let full = config::Proxy { capacity: Some(3), ..settings("a", "192.0.2.1") };
        proxies.set(&[full], &[pool(PoolPolicy::Latency)], at(0));
        proxies.share_among(1, at(0));
    };
    let mut old = Proxies::new(ms(0), 1);
    set(&mut old);
    for _ in 0..3 {
        let sent = old.on_sent(ProxyId(0), at(0));
        old.on_first_response(ProxyId(0), sent, 200, at(0));
        let last = Final { status: 200, retry_after: None, begins_call: true };
        old.on_final_response(ProxyId(0), sent, last, at(0));
    }
    assert_eq!((old.rows(at(1))[0].used, choose(&mut old, 1, at(1))), (3, Err(Refused::Full)));
    let mut bytes = Vec::new();
    old.save(&mut bytes);
    // The settings may be read before the state, and are read again after it.
    let mut new = Proxies::new(ms(0), 2);
    set(&mut new);
    new.restore(&mut Packed::new(&bytes)).unwrap();
    set(&mut new);
    assert_eq!((new.rows(at(1))[0].used, choose(&mut new, 1, at(1))), (3, Err(Refused::Full)));
    assert_eq!(new.rows(at(181_000))[0].used, 0);
}

fn wants(proxies: &mut Proxies, id: u16, unwanted: u8, now: Time) {
    let seq = now.0 + u64::from(unwanted);
    let control = OverloadControl { percent: unwanted, validity: ms(500), seq };
    proxies.on_overload(ProxyId(id), control, now);
}

/// Servers that are asked for overload control, and a pool after theirs with another one.
fn overloadable(count: usize, policy: PoolPolicy) -> Proxies {
    let mut proxies = Proxies::new(ms(0), 1);
    let mut of: Vec<_> = numbered(count).into_iter().map(|proxy| config::Proxy { oc: true, ..proxy }).collect();
    of.push(config::Proxy { pool: "spare".to_owned(), ..settings("spare", "192.0.2.99") });
    let spare = config::Pool { name: "spare".to_owned(), ..pool(policy) };
    proxies.set(&of, &[pool(policy), spare], at(0));
    proxies
}

#[test]
fn a_lone_server_that_does_not_want_90_percent_gets_a_tenth_and_the_rest_is_refused() {
    for policy in [PoolPolicy::Latency, PoolPolicy::Weighted, PoolPolicy::LeastLoad, PoolPolicy::Hash] {
        let mut proxies = overloadable(1, policy);
        for (turn, (unwanted, expected)) in (1..).zip([(90, 20), (0, 200), (100, 0), (50, 100)]) {
            let now = at(1_000 * turn);
            wants(&mut proxies, 0, unwanted, now);
            let all: Vec<_> = (0..200).map(|call| choose(&mut proxies, call, now)).collect();
            let refused = all.iter().filter(|choice| **choice == Err(Refused::Overloaded)).count();
            assert_eq!((refused, all.iter().filter(|choice| choice.is_ok()).count()), (200 - expected, expected));
            assert!(!proxies.pool_rows(now)[0].panic);
            assert_eq!(choose(&mut proxies, 1, now + ms(500)), Ok(0), "oc-validity is over");
        }
    }
}

#[test]
fn calls_that_a_server_does_not_want_go_to_one_that_wants_all_and_not_to_another_overloaded_one() {
    let counts = |proxies: &mut Proxies| {
        let mut counts = [0; 4];
        for call in 0..400 {
            let at = choose(proxies, call, at(1)).map_or(3, usize::from);
            counts[at] += 1;
        }
        counts
    };
    for policy in [PoolPolicy::RoundRobin, PoolPolicy::Latency, PoolPolicy::Weighted, PoolPolicy::LeastLoad] {
        let mut proxies = overloadable(2, policy);
        wants(&mut proxies, 0, 90, at(1));
        assert_eq!(counts(&mut proxies), [20, 380, 0, 0], "a tenth of its half, {policy:?}");
    }
    let mut proxies = overloadable(2, PoolPolicy::RoundRobin);
    (0..2).for_each(|id| wants(&mut proxies, id, 50, at(1)));
    assert_eq!(counts(&mut proxies), [100, 100, 0, 200]);
    // The pools after it are asked before a request is refused, and workers.
    let fallback = vec!["spare".to_owned(), config::Pool::WORKERS.to_owned()];
    let own = config::Proxy { oc: true, ..settings("fs0", "192.0.2.1") };
    let spare = config::Proxy { pool: "spare".to_owned(), ..settings("spare", "192.0.2.99") };
    let pools = [
        config::Pool { fallback, ..pool(PoolPolicy::RoundRobin) },
        config::Pool { name: "spare".to_owned(), ..pool(PoolPolicy::RoundRobin) },
    ];
    let mut proxies = Proxies::new(ms(0), 1);
    proxies.set(&[own, spare], &pools, at(0));
    wants(&mut proxies, 0, 75, at(1));
    assert_eq!(counts(&mut proxies), [100, 300, 0, 0]);
    put_out(&mut proxies, 1, at(1));
    let chosen = |proxies: &mut Proxies| proxies.choose(PoolId(0), &ask(1), 2, at(1)).unwrap();
    let workers = (0..4).filter(|_| chosen(&mut proxies) == Choice::Workers).count();
    assert_eq!(workers, 3);
}

#[test]
fn a_call_for_help_is_not_reduced_and_one_that_another_server_has_had_goes_to_no_overloaded_one() {
    let mut proxies = overloadable(2, PoolPolicy::RoundRobin);
    (0..2).for_each(|id| wants(&mut proxies, id, 100, at(1)));
    for _ in 0..5 {
        let kept = proxies.choose_by(PoolId(0), (&ask(1), || Precedence::Kept), 0, at(1));
        assert!(matches!(kept, Ok(Choice::Proxy(_))), "{kept:?}");
    }
    let mut ask = ask(1);
    ask.tried.add(ProxyId(0));
    assert_eq!(proxies.choose(PoolId(0), &ask, 0, at(1)), Err(Refused::Overloaded));
    wants(&mut proxies, 1, 0, at(2));
    assert_eq!(proxies.choose(PoolId(0), &ask, 0, at(2)), Ok(Choice::Proxy(ProxyId(1))));
}

#[test]
fn a_state_with_a_damaged_byte_is_refused_or_can_be_used() {
    let mut old = proxies(3, PoolPolicy::Latency);
    put_out(&mut old, 1, at(0));
    let sent: Vec<Sent> = (0..6).map(|_| old.on_sent(ProxyId(0), at(0))).collect();
    old.on_first_response(ProxyId(0), sent[0], 200, at(5));
    old.on_first_response(ProxyId(0), sent[3], 200, at(5));
    old.on_sent(ProxyId(2), at(5));
    let mut bytes = Vec::new();
    old.save(&mut bytes);
    let mut refused = 0;
    for (place, flip) in (0..bytes.len()).flat_map(|place| [1, 0x80, 0xff].map(|flip| (place, flip))) {
        let mut damaged = bytes.clone();
        damaged[place] ^= flip;
        let mut new = proxies(3, PoolPolicy::Latency);
        if new.restore(&mut Packed::new(&damaged)).is_err() {
            refused += 1;
            continue;
        }
        for (call, sent) in (0..).zip(&sent) {
            let now = at(100 * call);
            new.on_first_response(ProxyId(0), *sent, 200, now);
            if let Ok(id) = choose(&mut new, call, now) {
                let sent = new.on_sent(ProxyId(id), now);
                new.on_final_response(
                    ProxyId(id),
                    sent,
                    Final { status: 503, retry_after: None, begins_call: true },
                    now,
                );
                new.on_given_up(ProxyId(id), sent, now);
            }
            new.handle_timeout(now);
        }
        let _ = (new.rows(at(40_000)), new.pool_rows(at(40_000)));
        new.handle_timeout(at(40_000));
        new.let_go(&BTreeSet::new(), at(400_000));
    }
    assert!(refused > 100, "{refused}");
}

/// A server over TLS, and the security of its connections.
fn secured(proxies: &mut Proxies, security: u64, now: Time) {
    proxies.set_securities([("a".to_owned(), Security(security))].into(), now);
    let settings = config::Proxy { transport: Transport::Tls, ..settings("a", "192.0.2.1") };
    proxies.set(&[settings], &[pool(PoolPolicy::RoundRobin)], now);
}

fn open(proxies: &mut Proxies, number: u64, now: Time) {
    let dial = proxies.poll_dial(now).unwrap();
    proxies.on_dialled(&dial, Some(ConnId(number)), now);
    proxies.on_connection_open(ConnId(number), now);
}

#[test]
fn a_connection_is_replaced_when_its_server_gets_another_name_or_certificate_and_ends_once_all_is_answered() {
    let (mut proxies, id) = (Proxies::new(ms(0), 1), ProxyId(0));
    secured(&mut proxies, 7, at(0));
    open(&mut proxies, 1, at(0));
    secured(&mut proxies, 7, at(1));
    assert_eq!(proxies.poll_dial(at(1)), None, "nothing has changed");
    proxies.set_securities([("a".to_owned(), Security(8))].into(), at(1));
    assert!(proxies.has_way_to(id));
    assert_eq!(proxies.hop_to(id), Some(Hop::Connection(ConnId(1))), "until there is another one");
    open(&mut proxies, 2, at(2));
    assert_eq!(proxies.hop_to(id), Some(Hop::Connection(ConnId(2))));
    assert_eq!(proxies.connection_like(id, ConnId(1)), Some(ConnId(1)), "a CANCEL goes where its INVITE went");
    assert_eq!(proxies.poll_hang_up(at(3_000), |_| false), None, "an answer is awaited on it");
    assert_eq!(proxies.poll_hang_up(at(6_000), |_| true), Some(ConnId(1)));
    proxies.on_connection_closed(ConnId(1), proxy::Ended::Broken, at(6_000));
    assert_eq!(proxies.poll_dial(at(6_000)), None);
    proxies.check(at(6_000));
}

#[test]
fn a_server_that_comes_back_to_the_settings_with_another_name_gets_another_connection() {
    for (security, is_replaced) in [(7, false), (8, true)] {
        let mut proxies = Proxies::new(ms(0), 1);
        secured(&mut proxies, 7, at(0));
        open(&mut proxies, 1, at(0));
        proxies.set_securities([].into(), at(1));
        proxies.set(&[], &[pool(PoolPolicy::RoundRobin)], at(1));
        secured(&mut proxies, security, at(2));
        assert_eq!(proxies.poll_dial(at(2)).is_some(), is_replaced, "{security}");
    }
}

#[test]
fn a_proxy_that_has_come_back_gets_its_first_call_within_a_round_of_a_pool_of_any_size() {
    let policies = [PoolPolicy::Latency, PoolPolicy::LeastLoad, PoolPolicy::Weighted, PoolPolicy::RoundRobin];
    for (policy, members) in policies.into_iter().flat_map(|policy| [32, 33, 250].map(|members| (policy, members))) {
        let mut proxies = proxies(members, policy);
        spread(&mut proxies, 1_000, at(0));
        put_out(&mut proxies, 7, at(0));
        spread(&mut proxies, 1_000, at(1_000));
        let life = proxies.get(ProxyId(7)).unwrap().life();
        for number in 3..=4 {
            let ok = Answered { status: 200, retry_after: None, delay: ms(5) };
            proxies.on_probe_answered(ProxyId(7), ProbeNumber { life, number }, &ok, at(2_000));
        }
        assert!(proxies.get(ProxyId(7)).unwrap().takes_new(at(3_000)));
        let got = (1..).find(|call| {
            let now = at(3_000 + call);
            let id = choose(&mut proxies, *call, now).unwrap();
            let sent = proxies.on_sent(ProxyId(id), now);
            proxies.on_first_response(ProxyId(id), sent, 200, now);
            id == 7
        });
        assert!(got.unwrap() <= members as u64 + 1, "{policy} among {members}: the {}th", got.unwrap());
    }
}

/// A way in which a proxy goes, and comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gone {
    /// It answers nothing, and probes tell of it.
    Silent,
    /// It answers nothing, and requests alone tell of it.
    Unprobed,
    /// Its connection is gone, and none is taken.
    Dead,
    /// Its connection is gone, and another one is taken at once.
    Cut,
}

/// A pool in virtual time, with few requests: the first of its proxies goes, and comes back.
struct Lull {
    proxies: Proxies,
    gone: Gone,
    is_gone: bool,
    now: Time,
    calls: u64,
    probes: u32,
}

impl Lull {
    /// Time between two requests.
    const CALLS: Duration = ms(100);
    /// Requests between two probes.
    const A_PROBE: u64 = 20;
    const ANSWER: Duration = ms(5);

    fn new(policy: PoolPolicy, gone: Gone) -> Self {
        let is_stream = matches!(gone, Gone::Dead | Gone::Cut);
        let mut settings = numbered(3);
        for settings in &mut settings {
            settings.transport = if is_stream { Transport::Tcp } else { Transport::Udp };
            settings.probe = if gone == Gone::Silent { settings.probe } else { config::Probe::None };
        }
        let mut proxies = Proxies::new(ms(10_000), 1);
        proxies.set(&settings, &[pool(policy)], at(0));
        Lull { proxies, gone, is_gone: false, now: at(0), calls: 0, probes: 0 }
    }

    /// Opens the connections that are due, as far as they are taken.
    fn dial(&mut self) {
        while let Some(dial) = self.proxies.poll_dial(self.now) {
            let conn = ConnId(u64::from(dial.proxy.0));
            self.proxies.on_dialled(&dial, Some(conn), self.now);
            if self.is_gone && self.gone == Gone::Dead && dial.proxy == ProxyId(0) {
                self.proxies.on_connection_closed(conn, proxy::Ended::Refused, self.now);
            } else {
                self.proxies.on_connection_open(conn, self.now);
            }
        }
    }

    /// One request, its answer, and the time until the next one. Returns whether the first proxy has got it.
    fn call(&mut self) -> bool {
        self.dial();
        self.calls += 1;
        if self.gone == Gone::Silent && self.calls.is_multiple_of(Lull::A_PROBE) {
            self.probes += 1;
            let life = self.proxies.get(ProxyId(0)).unwrap().life();
            let probe = ProbeNumber { life, number: self.probes };
            let ok = Answered { status: 200, retry_after: None, delay: Lull::ANSWER };
            match self.is_gone {
                true => self.proxies.on_probe_lost(ProxyId(0), probe, self.now),
                false => self.proxies.on_probe_answered(ProxyId(0), probe, &ok, self.now),
            }
        }
        let id = choose(&mut self.proxies, self.calls.wrapping_mul(0x9e37_79b9_7f4a_7c15), self.now).unwrap();
        let sent = self.proxies.on_sent(ProxyId(id), self.now);
        if !self.is_gone || id != 0 {
            self.proxies.on_first_response(ProxyId(id), sent, 200, self.now + Lull::ANSWER);
        }
        let until = self.now + Lull::CALLS;
        while let Some(due) = self.proxies.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.proxies.handle_timeout(self.now);
            self.dial();
            self.now = self.now + ms(1);
        }
        self.now = until;
        id == 0
    }

    /// The first proxy goes for so many calls and comes back. Returns the calls until it is known to have come back,
    /// and gets one.
    fn calls_until_it_gets_one(&mut self, away: usize) -> usize {
        (0..100).for_each(|_| _ = self.call());
        self.is_gone = true;
        if self.gone == Gone::Unprobed {
            (0..5).for_each(|_| _ = self.proxies.on_sent(ProxyId(0), self.now));
        }
        if matches!(self.gone, Gone::Dead | Gone::Cut) {
            let sent = self.proxies.on_sent(ProxyId(0), self.now);
            self.proxies.on_connection_closed(ConnId(0), proxy::Ended::Broken, self.now);
            self.proxies.on_transport_error(ProxyId(0), sent, self.now);
        }
        if self.gone != Gone::Cut {
            (0..away).for_each(|_| _ = self.call());
        }
        self.is_gone = false;
        self.dial();
        let is_back = |lull: &Self| lull.proxies.get(ProxyId(0)).unwrap().takes_new(lull.now);
        while !is_back(self) {
            self.call();
        }
        (1..).find(|_| self.call()).unwrap()
    }
}

#[test]
fn a_proxy_that_has_come_back_gets_a_call_within_a_second_under_every_policy_though_few_calls_come() {
    for policy in PoolPolicy::ALL {
        let ways = [Gone::Silent, Gone::Unprobed, Gone::Dead, Gone::Cut];
        for (gone, away) in ways.into_iter().flat_map(|gone| [50, 300].map(|away| (gone, away))) {
            let mut lull = Lull::new(*policy, gone);
            let calls = lull.calls_until_it_gets_one(away);
            assert!(calls <= 10, "{policy}, {gone:?} for {away}: the {calls}th");
            // Its share grows from then on.
            let had = |lull: &mut Lull, calls: usize| (0..calls).filter(|_| lull.call()).count();
            let shares = [had(&mut lull, 100), had(&mut lull, 90)];
            assert!(shares[0] >= 3 && shares[1] >= 15, "{policy}, {gone:?} for {away}: {shares:?}");
            lull.proxies.check(lull.now);
        }
    }
}
