//! The bytes of messages that travel on.

use std::net::SocketAddr;

use super::*;
use crate::config::{PoolMode, RecordRoute};
use crate::dispatch::probed::ProbeAnswer;
use crate::fingerprint::Printer;
use crate::transaction::probe::ProbeBranch;

/// A switch in front of one downstream proxy, which keeps itself out of dialogs.
fn never_recording(mode: PoolMode, rewrite_uri: bool) -> Switch<Mute> {
    in_front(Pool { mode, rewrite_uri, record_route: RecordRoute::Never, ..Pool::default() }, &["192.0.2.9"])
}

/// The datagrams that leave when this one has come, with their destinations.
fn sent(switch: &mut Switch<Mute>, text: &str, source: &str) -> Vec<(String, SocketAddr)> {
    let ends = (source.parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, NOW);
    switch.on_message(text.as_bytes(), &way, NOW);
    let mut leaving = Vec::new();
    switch.flush_answers(|batch| {
        leaving.extend(batch.map(|(bytes, to)| (String::from_utf8_lossy(bytes).into_owned(), to)));
    });
    leaving
}

const INVITE: &str = "INVITE sip:7@192.0.2.2;x=1 SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK-1\r\n\
    f: <sip:b@192.0.2.1>;tag=1\r\nt: <sip:a@192.0.2.2>\r\ni: 1\r\nCSeq: 1 INVITE\r\nX-Odd:   \r\n folded\r\n\
    m: <sip:b@10.0.0.1:5062>\r\nl: 4\r\n\r\nv=0\n";

#[test]
fn a_request_gets_our_via_and_its_senders_address_and_a_hop_and_stays_as_it_is_otherwise() {
    let mut switch = never_recording(PoolMode::Proxy, false);
    let [(text, to)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert_eq!(to.to_string(), "192.0.2.9:5080");
    let branch = text.split_once("branch=").unwrap().1.split_once("\r\n").unwrap().0;
    let expected = INVITE
        .replace("v: SIP", &format!("Via: SIP/2.0/UDP 192.0.2.2:5060;branch={branch}\r\nv: SIP"))
        .replace(";rport;branch=z9hG4bK-1", ";rport=4711;branch=z9hG4bK-1;received=192.0.2.1")
        .replace("f: <", "Max-Forwards: 70\r\nf: <");
    assert_eq!(*text, expected);
}

#[test]
fn a_response_loses_our_via_and_goes_back_and_the_rest_stays_as_it_is() {
    let mut switch = never_recording(PoolMode::Proxy, false);
    let [(text, _)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    let vias: Vec<&str> = text.lines().filter(|line| line.starts_with("Via:") || line.starts_with("v:")).collect();
    let rest = "f: <sip:b@192.0.2.1>;tag=1\r\nt: <sip:a@192.0.2.2>;tag=2\r\ni: 1\r\nCSeq: 1 INVITE\r\nServer: x\r\nl: 0\r\n\r\n";
    let below = vias[1].trim_start_matches("v: ");
    for response in [
        format!("SIP/2.0 200 OK\r\n{}\r\nv: {below}\r\n{rest}", vias[0]),
        format!("SIP/2.0 200 OK\r\n{}, {below}\r\n{rest}", vias[0].replace("Via", "v")),
    ] {
        let [(text, to)] = &sent(&mut switch, &response, "192.0.2.9:5080")[..] else { panic!("one datagram") };
        assert_eq!(
            (to.to_string().as_str(), text.as_str()),
            ("192.0.2.1:4711", format!("SIP/2.0 200 OK\r\nv: {below}\r\n{rest}").as_str())
        );
    }
}

#[test]
fn the_request_uri_names_the_proxy_where_the_pool_says_so() {
    let mut switch = never_recording(PoolMode::Proxy, true);
    let [(text, _)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert!(text.starts_with("INVITE sip:7@192.0.2.9:5080;x=1 SIP/2.0\r\n"), "{text}");
}

#[test]
fn a_redirect_keeps_the_user_and_the_parameters_of_the_request_uri() {
    let mut switch = never_recording(PoolMode::Redirect, false);
    let [(text, to)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert_eq!(to.to_string(), "192.0.2.1:4711");
    assert!(text.starts_with("SIP/2.0 302 Moved Temporarily\r\n"), "{text}");
    assert!(text.contains("\r\nContact: <sip:7@192.0.2.9:5080;x=1>;q=0.9\r\n"), "{text}");
}

#[test]
fn options_that_proxies_do_not_have_are_named_in_the_refusal() {
    let mut switch = never_recording(PoolMode::Proxy, false);
    let text = INVITE.replace("l: 4", "Proxy-Require: foo, bar\r\nl: 4");
    let [(text, _)] = &sent(&mut switch, &text, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert!(
        text.starts_with("SIP/2.0 420 Bad Extension\r\n") && text.contains("\r\nUnsupported: foo,bar\r\n"),
        "{text}"
    );
}

#[test]
fn a_302_with_long_contacts_names_one() {
    let mut switch = never_recording(PoolMode::Redirect, false);
    let rules = Rules {
        proxies: (1..=4)
            .map(|n| Proxy { name: format!("fs{n}"), host: format!("192.0.2.{}", 10 + n), ..Proxy::default() })
            .collect(),
        ..switch.dispatch().rules().clone()
    };
    switch.dispatch.set_rules(rules, NOW);
    let named = |text: &str| text.matches("\nContact: ").count();
    let [(text, _)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert_eq!(named(text), 3, "{text}");
    let long = INVITE.replace("sip:7@", &format!("sip:{}@", "7".repeat(500))).replace("z9hG4bK-1", "z9hG4bK-2");
    let [(text, _)] = &sent(&mut switch, &long, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    assert_eq!(named(text), 1, "{text}");
}

#[test]
fn our_via_asks_for_overload_control_and_what_the_server_answers_there_is_its_load() {
    let mut switch = never_recording(PoolMode::Proxy, false);
    let mut rules = switch.dispatch().rules().clone();
    rules.proxies[0].oc = true;
    switch.reload(rules, Insert::None, 0, NOW);
    let [(text, _)] = &sent(&mut switch, INVITE, "192.0.2.1:4711")[..] else { panic!("one datagram") };
    let asks = ";oc;oc-algo=\"loss\"";
    let via = text.lines().find(|line| line.starts_with("Via:")).unwrap();
    assert!(via.ends_with(asks), "{via}");
    let below = text.lines().find(|line| line.starts_with("v:")).unwrap();
    let rest = "f: <sip:b@192.0.2.1>;tag=1\r\nt: <sip:a@192.0.2.2>;tag=2\r\ni: 1\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n";
    let wish = |percent: u8| format!(";oc={percent};oc-validity=5000;oc-algo=\"loss\";oc-seq=1.{percent}");
    let mut load = |via: &str, below: &str, source: &str| {
        sent(&mut switch, &format!("SIP/2.0 180 X\r\n{via}\r\n{below}\r\n{rest}"), source);
        switch.dispatch().proxies().rows(NOW)[0].load
    };
    assert_eq!(load(via, below, "192.0.2.9:5080"), -1.0, "it repeats our question");
    assert_eq!(load(via, &format!("{below}{}", wish(90)), "192.0.2.9:5080"), -1.0, "a foreign Via");
    assert_eq!(load(&via.replace(asks, &wish(80)), below, "192.0.2.77:5080"), -1.0, "a stranger");
    assert_eq!(load(&via.replace(asks, &wish(40)), below, "192.0.2.9:5080"), 0.4);
    assert_eq!(load(&via.replace(asks, &wish(20)), below, "192.0.2.9:5080"), 0.4, "oc-seq backwards");
}

#[test]
fn an_answer_to_a_probe_is_kept_for_the_prober_whole_and_nothing_leaves_for_it() {
    let mut switch = never_recording(PoolMode::Proxy, false);
    switch.set_prober_room(1);
    let (from, printer) = ("192.0.2.9:5080", Printer::new(&TokenKey::new([1; 32])));
    let branch = ProbeBranch::give(&printer, 7, from.parse().unwrap());
    let answer = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch={}\r\nf: <sip:p@192.0.2.2>;tag=1\r\nt: <sip:192.0.2.9>;tag=2\r\n\
         i: 1\r\nCSeq: 1 OPTIONS\r\nl: 4\r\n\r\nfull",
        branch.as_str()
    );
    for text in [&answer, &answer] {
        assert_eq!(sent(&mut switch, text, from), []);
    }
    let kept: Vec<ProbeAnswer> = switch.take_probe_answers().collect();
    assert_eq!(kept, [ProbeAnswer { from: from.parse().unwrap(), at: NOW, bytes: answer.into_bytes().into() }]);
    assert_eq!(switch.take_probe_answers().len(), 0);
    let load = switch.load(NOW).totals;
    assert_eq!((load.received, load.responses, load.dropped), (2, 1, 1), "the prober takes one");
}
