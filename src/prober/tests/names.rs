//! Names.

use super::super::names::{Names, Own};
use super::*;
use crate::config::Proxy;
use crate::dispatch::probed::Found;
use crate::names::{Endpoint, Protocol, Server, Unfound};
use crate::time::Time;

const SECOND: u64 = 1_000_000;

struct Ours;

impl Own for Ours {
    fn is_own(&self, _: &str, to: Endpoint) -> bool {
        to.address.ip() == std::net::IpAddr::from([192, 0, 2, 1])
    }
}

fn named() -> Names {
    let mut names = Names::default();
    let proxy = |name: &str, host: &str| Proxy { name: name.into(), host: host.into(), ..Proxy::default() };
    names.set(&[proxy("fs", "fs.example.net"), proxy("numeric", "192.0.2.9")], Time(0));
    names
}

fn servers(list: &[&str]) -> Vec<Server> {
    let server = |text: &&str| {
        let endpoint = Endpoint { protocol: Protocol::Udp, address: address(text) };
        Server { endpoint, priority: 0, weight: 0 }
    };
    list.iter().map(server).collect()
}

/// Asks and answers at a second; what the lanes are told, and when it is asked for next.
fn answer(names: &mut Names, at: u64, found: Result<Vec<Server>, Unfound>, ttl: u64) -> (Option<(usize, bool)>, u64) {
    let now = Time(at * SECOND);
    let (proxy, question) = names.poll_question(now).expect("it is due");
    assert_eq!((&*proxy, &*question.host, question.asks_transports), ("fs", "fs.example.net", true));
    assert!(names.poll_question(now).is_none());
    names.on_answer("fs", (found, now + Duration::from_secs(ttl)), &Ours, 0.0, now);
    let told = names.poll_finding(now).map(|finding| match finding.what {
        Found::Addresses { members, is_stale } => (members.len(), is_stale),
        other => panic!("{other:?}"),
    });
    (told, names.poll_timeout().unwrap().0 / SECOND)
}

fn no_name() -> Unfound {
    Unfound::NoName { name: "fs.example.net".into() }
}

#[test]
fn a_name_is_asked_for_again_when_its_records_end_and_told_when_they_differ() {
    let mut names = named();
    assert_eq!(answer(&mut names, 0, Ok(servers(&["192.0.2.4:5060", "192.0.2.5:5060"])), 60), (Some((2, false)), 60));
    assert_eq!(answer(&mut names, 60, Ok(servers(&["192.0.2.5:5060", "192.0.2.4:5060"])), 0), (None, 65));
    let ends = answer(&mut names, 65, Ok(servers(&["192.0.2.4:5060"])), 1_000_000);
    assert_eq!(ends, (Some((1, false)), 65 + 3600));
    names.tell_all();
    assert!(names.poll_finding(Time(0)).is_some() && names.poll_finding(Time(0)).is_none());
}

#[test]
fn without_an_answer_the_last_addresses_stay_and_show_as_stale() {
    let mut names = named();
    let failed = || Unfound::Failed { name: "fs.example.net".into() };
    let empty = || Unfound::Nothing { name: "fs.example.net".into() };
    assert_eq!(answer(&mut names, 0, Err(failed()), 0), (None, 20), "there is nothing to be stale");
    assert_eq!(answer(&mut names, 20, Ok(servers(&["192.0.2.4:5060"])), 30), (Some((1, false)), 50));
    assert_eq!(answer(&mut names, 50, Err(failed()), 0), (Some((1, true)), 70));
    for at in 0..20 {
        assert_eq!(answer(&mut names, 70 + at * 20, Err(empty()), 0), (None, 90 + at * 20));
    }
    assert_eq!(answer(&mut names, 470, Ok(servers(&["192.0.2.4:5060"])), 30), (Some((1, false)), 500));
    assert_eq!(answer(&mut names, 500, Ok(servers(&["192.0.2.1:5060"])), 30), (Some((1, true)), 530), "it leads to us");
}

#[test]
fn a_name_that_is_gone_keeps_its_addresses_until_this_is_sure() {
    let mut names = named();
    answer(&mut names, 0, Ok(servers(&["192.0.2.4:5060"])), 5);
    assert_eq!(answer(&mut names, 5, Err(no_name()), 0), (Some((1, true)), 25));
    assert_eq!(answer(&mut names, 25, Err(no_name()), 0), (None, 45));
    assert_eq!(answer(&mut names, 45, Err(no_name()), 0), (None, 65), "three times, but 40 s");
    assert_eq!(answer(&mut names, 65, Err(no_name()), 0), (Some((0, false)), 85));
    assert_eq!(answer(&mut names, 85, Ok(servers(&["192.0.2.4:5060"])), 5), (Some((1, false)), 90));
}

#[test]
fn of_a_thousand_addresses_sixteen_are_used_and_each_once() {
    let mut names = named();
    let many: Vec<String> = (0..1000).map(|n| format!("10.0.{}.{}:5060", n / 250, n % 250 / 2)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["0.0.0.0:5060", "224.0.0.1:5060"]).collect();
    assert_eq!(answer(&mut names, 0, Ok(servers(&many)), 60).0, Some((16, false)));
    names.set(&[], Time(0));
    assert_eq!((names.poll_timeout(), names.members("fs").len()), (None, 0));
}

#[test]
fn the_records_of_a_name_are_those_of_the_transport_that_its_uri_names() {
    for (transport, protocol) in
        [(Transport::Udp, Protocol::Udp), (Transport::Tcp, Protocol::Tcp), (Transport::Tls, Protocol::Tls)]
    {
        let mut names = named();
        names.poll_question(Time(0)).expect("it is due");
        let proxy = Proxy { name: "fs".into(), host: "fs.example.net".into(), transport, ..Proxy::default() };
        names.set(&[Proxy { names_transport: true, ..proxy }], Time(1));
        let (_, question) = names.poll_question(Time(1)).expect("another transport, another question");
        assert_eq!((question.protocols, question.asks_transports), (&[protocol][..], false));
    }
}
