//! Requests for downstream proxies, in the way of a stateless proxy.

use pointsman::config::{Pool, PoolMode, Proxy, RecordRoute, Route};
use pointsman::dispatch::contexts::LeavingMessage;
use pointsman::dispatch::decision::{Forward, ForwardedResponse, Hop, Side};
use pointsman::transaction::probe::ProbeBranch;

use super::*;

/// Rules with three proxies in the pool `default`.
pub(super) fn proxied(mode: PoolMode) -> Rules {
    let proxy = |number: u8| Proxy {
        name: format!("fs{number}"),
        host: format!("192.0.2.{number}"),
        port: Some(5060),
        ..Proxy::default()
    };
    Rules {
        pools: vec![Pool { mode, ..Pool::default() }],
        proxies: (1..=3).map(proxy).collect(),
        unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
        udp_listeners: vec![(ListenerId(0), "198.51.100.1:5060".parse().unwrap())],
        ..rules()
    }
}

pub(super) fn rig_of(mode: PoolMode) -> Rig {
    rig_with(1, proxied(mode), 1000)
}

#[track_caller]
pub(super) fn forward(decision: Decision) -> Forward {
    let Target::Forward(forward) = decision.target else { panic!("not forwarded: {decision:?}") };
    forward
}

/// A response of a proxy to a request that was forwarded so.
pub(super) fn response(request: &str, forward: &Forward, status: u16) -> String {
    let (_, fields) = request.split_once("\r\n").unwrap();
    let branch = std::str::from_utf8(forward.branch.as_bytes()).unwrap();
    let fields =
        fields.replace(";rport", ";rport=5060;received=203.0.113.5").replace("net>\r\nCall", "net>;tag=s\r\nCall");
    let flow = forward.flow.text();
    let flow = std::str::from_utf8(&flow).unwrap();
    format!("SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch={branch};flow={flow}\r\n{fields}")
}

impl Rig {
    pub(super) fn respond(&mut self, text: &str) -> Decision {
        self.send_from("192.0.2.1", text)
    }
}

#[test]
fn copy_cancel_and_ack_follow_their_invite_however_the_choice_would_be_now() {
    let mut rig = rig_of(PoolMode::Proxy);
    for call in ["a", "b", "c", "d", "e", "f"] {
        let text = invite(call);
        let first = forward(rig.send(&text));
        for (text, reason) in [
            (text.clone(), Reason::Retransmission),
            (same(&text, "CANCEL"), Reason::Cancel),
            (same(&text, "ACK"), Reason::Ack),
        ] {
            let decision = rig.send(&text);
            let again = forward(decision);
            assert_eq!((again.proxy, again.to, again.branch), (first.proxy, first.to, first.branch), "{text}");
            assert_eq!(decision.reason, reason);
        }
    }
    rig.dispatch.check();
}

#[test]
fn a_response_goes_to_the_next_via_and_a_forged_one_nowhere() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    for status in [100, 180, 200] {
        let text = response(&text, &sent, status);
        let Target::ForwardResponse(ForwardedResponse { to, listener, from, .. }) = rig.respond(&text).target else {
            panic!("{status}")
        };
        assert_eq!(
            (to.to_string().as_str(), listener.0, from.to_string().as_str()),
            ("203.0.113.5:5060", 0, "198.51.100.1")
        );
    }
    let ok = response(&text, &sent, 200);
    for (forged, reason) in [
        (ok.replace("z9hG4bK-a", "z9hG4bK-b"), Reason::ResponseForged),
        (ok.replace("tag=f-a", "tag=f-b"), Reason::ResponseForged),
        (ok.replace("Call-ID: a", "Call-ID: b"), Reason::ResponseForged),
        (ok.replace("CSeq: 1", "CSeq: 2"), Reason::ResponseForged),
        // A server knows our branch, and may not aim with it.
        (ok.replace("received=203.0.113.5", "received=203.0.113.6"), Reason::ResponseForged),
        (ok.replace("rport=5060", "rport=53"), Reason::ResponseForged),
        (ok.replace(";flow=", ";flow=x"), Reason::ResponseForged),
        (text.replace("INVITE sip:ivr@ms.example.net SIP/2.0", "SIP/2.0 200 OK"), Reason::UnknownResponse),
    ] {
        let decision = rig.respond(&forged);
        assert_eq!((decision.target, decision.reason), (Target::Drop, reason), "{forged}");
    }
}

/// An answer to a probe that has gone to 192.0.2.1:5060.
fn answer_to_probe() -> String {
    let branch = ProbeBranch::give(&Printer::new(&KEY), 7, "192.0.2.1:5060".parse().unwrap());
    format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch={}\r\nFrom: <sip:pointsman@198.51.100.1>;tag=1\r\n\
         To: <sip:192.0.2.1>;tag=2\r\nCall-ID: probe\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        branch.as_str()
    )
}

#[test]
fn an_answer_to_a_probe_goes_to_the_prober_from_its_own_address_alone() {
    let mut rig = rig_of(PoolMode::Proxy);
    rig.dispatch.set_prober_room(100);
    let answer = answer_to_probe();
    let decision = rig.respond(&answer);
    assert_eq!((decision.target, decision.reason), (Target::Prober, Reason::ProbeAnswer));
    let last = answer.find("\r\nFrom").unwrap() - 1;
    let other = if answer.as_bytes()[last] == b'0' { "1" } else { "0" };
    let forged = format!("{}{other}{}", &answer[..last], &answer[last + 1..]);
    for (source, text) in [("192.0.2.2", &answer), ("203.0.113.5", &answer), ("192.0.2.1", &forged)] {
        let decision = rig.send_from(source, text);
        assert_eq!((decision.target, decision.reason), (Target::Drop, Reason::UnknownResponse), "{source}");
    }
    let request = answer.replace("SIP/2.0 200 OK", "OPTIONS sip:198.51.100.1 SIP/2.0");
    assert_eq!(rig.respond(&request).reason, Reason::UnknownDialog, "a request is none");
    let counters = rig.dispatch.counters();
    assert_eq!((counters.received, counters.responses, counters.dropped, counters.replied), (5, 1, 3, 1));
}

#[test]
fn a_prober_that_takes_no_more_loses_answers_and_each_is_counted() {
    let mut rig = rig_of(PoolMode::Proxy);
    rig.dispatch.set_prober_room(2);
    let reasons: Vec<Reason> = (0..4).map(|_| rig.respond(&answer_to_probe()).reason).collect();
    assert_eq!(reasons, [Reason::ProbeAnswer, Reason::ProbeAnswer, Reason::ProberBusy, Reason::ProberBusy]);
    let counters = rig.dispatch.counters();
    assert_eq!((counters.received, counters.responses, counters.dropped), (4, 2, 2));
    rig.dispatch.set_prober_room(1);
    assert_eq!(rig.respond(&answer_to_probe()).reason, Reason::ProbeAnswer);
    assert!(rig.dispatch.explain(b"probe").is_empty(), "probes would push the decisions about calls out");
}

#[test]
fn a_request_with_credentials_reaches_the_proxy_that_asked_for_them() {
    let mut rig = rig_of(PoolMode::Proxy);
    for call in ["a", "b", "c", "d"] {
        let text = invite(call);
        let sent = forward(rig.send(&text));
        rig.respond(&response(&text, &sent, 401));
        rig.send(&same(&text, "ACK"));
        let decision = rig.send(&text.replace("CSeq: 1", "CSeq: 2").replace("z9hG4bK-", "z9hG4bK-2-"));
        assert_eq!((forward(decision).proxy, decision.reason), (sent.proxy, Reason::Again));
    }
}

#[test]
fn a_request_that_must_not_travel_on_is_answered() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = invite("a");
    for (number, (text, status, reason)) in [
        (text.replace("Max-Forwards: 70", "Max-Forwards: 0"), 483, Reason::TooManyHops),
        (with_header(&text, "Proxy-Require: x"), 420, Reason::BadExtension),
        (text.replace("Max-Forwards: 70", "Max-Forwards: -1"), 400, Reason::Malformed),
        (text.replace("Max-Forwards: 70", "Max-Forwards: 300"), 400, Reason::Malformed),
        (text.replace("INVITE sip:ivr@ms.example.net", "INVITE x:y"), 416, Reason::UnknownScheme),
    ]
    .into_iter()
    .enumerate()
    {
        let text = text.replace("z9hG4bK-a", &format!("z9hG4bK-{number}"));
        let decision = rig.send(&text);
        assert_eq!((answer(decision).status, decision.reason), (status, reason), "{text}");
    }
    assert_eq!(rig.send(&same(&text, "ACK").replace("Max-Forwards: 70", "Max-Forwards: 0")).target, Target::Drop);
}

#[test]
fn a_call_that_comes_back_unchanged_is_refused_and_one_for_another_uri_goes_on() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    let branch = std::str::from_utf8(sent.branch.as_bytes()).unwrap();
    let back = text.replace(
        "Via:",
        &format!("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77, SIP/2.0/UDP 198.51.100.1:5060;branch={branch}\r\nVia:"),
    );
    let decision = rig.send(&back);
    assert_eq!((answer(decision).status, decision.reason), (482, Reason::Loop));
    let spiral = back.replace("INVITE sip:ivr@", "INVITE sip:queue@").replace("z9hG4bK77", "z9hG4bK78");
    forward(rig.send(&spiral));
}

#[test]
fn methods_that_workers_refuse_travel_on_to_proxies() {
    let mut rig = rig_of(PoolMode::Proxy);
    for method in ["REGISTER", "PUBLISH", "FROBNICATE", "OPTIONS", "INFO", "MESSAGE"] {
        let text = same(&invite(&method.to_lowercase()), method);
        assert_eq!(rig.send(&text).reason, Reason::Proxied, "{method}");
    }
    let own = same(&invite("own"), "OPTIONS").replace("sip:ivr@ms.example.net SIP", "sip:198.51.100.1 SIP");
    assert_eq!(rig.send(&own).reason, Reason::Options);
}

#[test]
fn routes_send_a_request_to_its_pool_and_the_rest_to_the_workers() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.unrouted.pool = Pool::WORKERS.to_owned();
    let to_default = |route: Route| Route { pool: Pool::DEFAULT.to_owned(), ..route };
    rules.routes = vec![
        to_default(Route { user: Some("7*".to_owned()), ..Route::default() }),
        to_default(Route { header: Some(("X-Tenant".to_owned(), "acme".to_owned())), ..Route::default() }),
    ];
    let mut rig = rig_with(1, rules, 1000);
    handoff(rig.send(&invite("a")));
    forward(rig.send(&invite("b").replace("INVITE sip:ivr@", "INVITE sip:7001@")));
    forward(rig.send(&with_header(&invite("c"), "x-tenant: acme")));
    handoff(rig.send(&with_header(&invite("d"), "X-Tenant: other")));
}

#[test]
fn a_redirect_names_several_members_and_its_ack_is_absorbed() {
    let mut rig = rig_of(PoolMode::Redirect);
    let text = invite("a");
    let decision = rig.send(&text);
    let Target::Redirect(tag) = decision.target else { panic!("{decision:?}") };
    let mut named: Vec<_> = rig.dispatch.redirected().contacts().collect();
    named.sort();
    named.dedup();
    assert_eq!((named.len(), decision.reason), (3, Reason::Redirected));
    let tag = std::str::from_utf8(tag.as_bytes()).unwrap();
    let ack = same(&text, "ACK").replace("net>\r\nCall", &format!("net>;tag={tag}\r\nCall"));
    assert_eq!(rig.send(&ack).reason, Reason::OwnAck);
}

#[test]
fn where_no_member_of_a_pool_that_redirects_takes_a_call_its_fallback_workers_get_it() {
    let mut rules = proxied(PoolMode::Redirect);
    for pool in &mut rules.pools {
        pool.fallback = vec!["workers".to_owned()];
    }
    let mut rig = rig_with(1, rules, 1000);
    assert!(matches!(rig.send(&invite("a")).target, Target::Redirect(_)));
    let names: Vec<_> = rig.dispatch.rules().proxies.iter().map(|proxy| proxy.name.clone()).collect();
    for name in names {
        rig.dispatch.set_proxy_admin(&name, Admin::Drain);
    }
    assert!(matches!(rig.send(&invite("b")).target, Target::Worker(_)));
}

#[test]
fn a_dialog_of_a_caller_that_ignores_contact_is_found_by_the_table_or_by_the_address_it_names() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    rig.respond(&response(&text, &sent, 200));
    let bye = in_dialog("a", "BYE", "s");
    let decision = rig.send(&bye);
    assert_eq!((forward(decision).proxy, decision.reason), (sent.proxy, Reason::InDialog));
    rig.now = rig.now + Duration::from_secs(40);
    rig.dispatch.handle_timeout(rig.now);
    assert_eq!(answer(rig.send(&bye)).status, 481);
    let named = bye.replace("BYE sip:ivr@ms.example.net", "BYE sip:ivr@192.0.2.2:5060");
    let decision = rig.send(&named);
    assert_eq!((forward(decision).to.to_string().as_str(), decision.reason), ("192.0.2.2:5060", Reason::RequestUri));
    rig.dispatch.check();
}

#[test]
fn a_caller_cannot_have_anything_sent_to_an_address_that_no_proxy_has() {
    let mut rig = rig_of(PoolMode::Proxy);
    for uri in ["sip:ivr@192.0.2.9:5060", "sip:ivr@192.0.2.2:5070", "sip:ivr@[2001:db8::1]"] {
        let bye = in_dialog("x", "BYE", "s").replace("BYE sip:ivr@ms.example.net", &format!("BYE {uri}"));
        assert_eq!(answer(rig.send(&bye)).status, 481, "{uri}");
        let routed = with_header(&bye, "Route: <sip:192.0.2.9;lr>");
        assert_eq!(answer(rig.send(&routed)).status, 481, "{uri}");
    }
}

#[test]
fn a_call_is_refused_where_no_proxy_takes_any() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.proxies.clear();
    rules.proxies.push(Proxy { name: "named".to_owned(), host: "fs.example.net".to_owned(), ..Proxy::default() });
    let mut rig = rig_with(1, rules, 1000);
    let decision = rig.send(&invite("a"));
    assert_eq!((answer(decision).status, decision.reason), (503, Reason::NoProxy), "its name has no address yet");
}

#[test]
fn a_dispatcher_that_is_asked_for_its_load_tells_that_of_its_workers() {
    let mut rig = rig(3);
    rig.report(0, Report { number: 1, units_used: 30, units_total: 100, ..Report::default() });
    let probe = |more: &str| {
        with_header(&same(&invite("own"), "OPTIONS"), more)
            .replace("sip:ivr@ms.example.net SIP", "sip:198.51.100.1 SIP")
    };
    assert!(!answer(rig.send(&probe("X-Other: 1"))).tells_load);
    let asks = probe("X-Load-Query: 1").replace("z9hG4bK-own", "z9hG4bK-asks");
    assert!(answer(rig.send(&asks)).tells_load);
    let report = rig.dispatch.load_report();
    assert_eq!((report.used, report.total), (Some(30), Some(300)));
    assert_eq!(report.processes, [(30, Some(100)), (0, Some(100)), (0, Some(100))]);
    rig.down(2);
    assert_eq!(rig.dispatch.load_report().total, Some(200));
}

#[test]
fn a_known_call_is_no_way_around_the_checks_of_a_request_that_travels_on() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    rig.respond(&response(&text, &sent, 401));
    rig.send(&same(&text, "ACK"));
    let again = text.replace("CSeq: 1", "CSeq: 2").replace("z9hG4bK-", "z9hG4bK-2-");
    let decision = rig.send(&again.replace("Max-Forwards: 70", "Max-Forwards: 0"));
    assert_eq!((answer(decision).status, decision.reason), (483, Reason::TooManyHops));
}

#[test]
fn a_stranger_who_answers_for_a_server_says_nothing_about_its_health() {
    for mode in [PoolMode::Proxy, PoolMode::Stateful] {
        let mut rig = rig_of(mode);
        for call in 0..40 {
            let text = invite(&format!("c{call}"));
            let sent = forward(rig.send(&text));
            let passed = rig.send_from("203.0.113.77", &response(&text, &sent, 500));
            assert!(!matches!(passed.target, Target::Answer(_)), "{passed:?}");
        }
        let rows = rig.dispatch.proxies().rows(rig.now);
        assert!(rows.iter().all(|row| row.failed == 0), "{mode:?}: {rows:?}");
    }
}

#[test]
fn a_request_that_no_datagram_holds_is_refused() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = with_header(&invite("a"), &format!("X-Long: {}", "x".repeat(65_000)));
    let decision = rig.send(&text);
    assert_eq!((answer(decision).status, decision.reason), (513, Reason::Malformed));
}

#[test]
fn options_whose_hops_are_used_up_are_answered_here() {
    let mut rig = rig_of(PoolMode::Proxy);
    let text = same(&invite("a"), "OPTIONS").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(rig.send(&text).reason, Reason::Options);
}

#[test]
fn a_full_pool_is_unavailable() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.proxies.truncate(1);
    rules.proxies[0].capacity = Some(1);
    let mut rig = rig_with(1, rules, 1000);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    rig.respond(&response(&text, &sent, 200));
    let decision = rig.send(&invite("b"));
    assert_eq!((answer(decision).status, decision.reason), (503, Reason::NoProxy));
}

#[test]
fn of_the_requests_that_an_overloaded_server_does_not_want_new_ones_get_503_without_retry_after_and_no_others() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.proxies.truncate(1);
    rules.proxies[0].oc = true;
    let mut rig = rig_with(1, rules, 1000);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    let wish = |oc: u8| format!(";oc={oc};oc-algo=\"loss\";oc-validity=60000;oc-seq=1.{oc};flow=");
    rig.respond(&response(&text, &sent, 200).replacen(";flow=", &wish(50), 1));
    let mut reduced = |calls: std::ops::Range<u8>, change: &dyn Fn(String) -> String| {
        let decisions: Vec<Decision> = calls.map(|call| rig.send(&change(invite(&format!("call-{call}"))))).collect();
        let refused = decisions.into_iter().filter(|decision| !matches!(decision.target, Target::Forward(_)));
        refused.map(|decision| (status(decision), answer(decision).retry_after)).collect::<Vec<_>>()
    };
    assert_eq!(reduced(0..10, &|text| text), [((503, Reason::Overloaded), None); 5]);
    let for_help = |text: String| with_header(&text, "Resource-Priority: q735.2, ESNET.0");
    assert_eq!(reduced(10..20, &for_help), []);
    // They are five more than the server wants.
    assert_eq!(reduced(20..32, &|text| text).len(), 11);
    assert_eq!(rig.dispatch.explain(b"call-20").pop().unwrap().reason, Reason::Overloaded);
    let bye = |call: u8| {
        let text = in_dialog(&format!("in-{call}"), "BYE", "s");
        text.replace("sip:ivr@ms.example.net SIP", "sip:ivr@192.0.2.1:5060 SIP")
    };
    (0..4).for_each(|call| _ = forward(rig.send(&bye(call))));
    let refused = (40..46).filter(|call| status_of(rig.send(&invite(&format!("call-{call}")))) == Some(503));
    assert_eq!(refused.count(), 5, "of ten requests five have gone");
}

/// Status of an answer; `None` where a request has travelled on.
fn status_of(decision: Decision) -> Option<u16> {
    match decision.target {
        Target::Answer(answer) => Some(answer.status),
        _ => None,
    }
}

/// Has the rig's messages come on a connection.
pub(super) fn over_tcp(rig: &mut Rig) {
    (rig.arrival.listener, rig.arrival.transport) = (ListenerId(1), Transport::Tcp);
    rig.arrival.reply_to = ReplyTo::Stream(ConnId(7));
}

#[test]
fn a_call_on_a_connection_keeps_its_state_and_its_answer_goes_back_on_it() {
    let mut rig = rig_of(PoolMode::Proxy);
    let plain = rig.arrival;
    over_tcp(&mut rig);
    let text = invite("a").replace("/UDP", "/TCP");
    let sent = forward(rig.send(&text));
    assert_eq!(sent.listener, ListenerId(0), "it leaves from a datagram socket");
    let tcp = std::mem::replace(&mut rig.arrival, plain);
    assert!(matches!(rig.respond(&response(&text, &sent, 503)).target, Target::Passed(..)));
    let leaving: Vec<_> = std::iter::from_fn(|| rig.dispatch.poll_leaving()).collect();
    assert!(leaving.iter().all(|leaving| leaving.arrival.reply_to == tcp.reply_to), "{leaving:?}");
    assert!(
        !leaving.iter().any(|leaving| matches!(leaving.message, LeavingMessage::Request(_))),
        "a pool of mode proxy gives no call to another server: {leaving:?}"
    );
    // A request inside a dialog has a context of its own.
    rig.arrival = tcp;
    let bye = in_dialog("x", "BYE", "s").replace("BYE sip:ivr@ms.example.net", "BYE sip:ivr@192.0.2.2:5060");
    let sent = forward(rig.send(&bye));
    rig.arrival = plain;
    let ok = rig.send_from("192.0.2.2", &response(&bye, &sent, 200)).target;
    assert!(matches!(ok, Target::ForwardResponse(ForwardedResponse { to: Hop::Connection(ConnId(7)), .. })), "{ok:?}");
    std::iter::from_fn(|| rig.dispatch.poll_leaving()).for_each(drop);
    rig.now = rig.now + Duration::from_secs(40);
    rig.dispatch.handle_timeout(rig.now);
    rig.dispatch.check();
}

/// Calls that the first proxy has answered, and its sessions in use by them.
fn answered(rig: &Rig) -> (u64, u32) {
    let row = &rig.dispatch.proxies().rows(rig.now)[0];
    (row.answered, row.used)
}

#[test]
fn of_all_requests_that_a_server_answers_with_2xx_only_invites_that_begin_a_call_use_its_capacity() {
    for (mode, is_tcp) in [(PoolMode::Proxy, false), (PoolMode::Proxy, true), (PoolMode::Stateful, false)] {
        let mut rules = proxied(mode);
        rules.proxies.truncate(1);
        rules.proxies[0].capacity = Some(3);
        let mut rig = rig_with(1, rules, 1000);
        let plain = rig.arrival;
        let accepted = |rig: &mut Rig, text: &str| {
            if is_tcp {
                over_tcp(rig);
            }
            let text = if is_tcp { text.replace("/UDP", "/TCP") } else { text.to_owned() };
            let sent = forward(rig.send(&text));
            rig.arrival = plain;
            (0..2).for_each(|_| _ = rig.respond(&response(&text, &sent, 200)));
        };
        for method in ["REGISTER", "OPTIONS", "MESSAGE", "SUBSCRIBE"] {
            accepted(&mut rig, &same(&invite(method), method));
        }
        assert_eq!(answered(&rig), (0, 0), "{mode:?} {is_tcp}");
        accepted(&mut rig, &invite("a"));
        assert_eq!(answered(&rig), (1, 1), "{mode:?} {is_tcp}");
        for method in ["INFO", "INVITE", "UPDATE", "BYE"] {
            let text = in_dialog("a", method, "s").replace("sip:ivr@ms.example.net SIP", "sip:ivr@192.0.2.1:5060 SIP");
            accepted(&mut rig, &text.replace("-in-", &format!("-{method}-")));
        }
        assert_eq!(answered(&rig), (1, 1), "{mode:?} {is_tcp}");
        ["b", "c"].iter().for_each(|call| accepted(&mut rig, &invite(call)));
        assert_eq!(status(rig.send(&invite("d"))), (503, Reason::NoProxy));
    }
}

/// Our Record-Route in a request that was forwarded so.
fn recorded(rig: &Rig, text: &str, sent: &Forward) -> String {
    let (mut values, mut scanner) = (Vec::new(), Scanner::new());
    let message = scanner.scan(text.as_bytes()).unwrap();
    rig.dispatch.write_record_route(&mut values, sent, (&message, &rig.arrival));
    String::from_utf8(values).unwrap()
}

#[test]
fn a_request_inside_a_dialog_follows_our_record_route() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.pools[0].record_route = RecordRoute::Always;
    let mut rig = rig_with(1, rules, 1000);
    let text = invite("a");
    let sent = forward(rig.send(&text));
    assert!(sent.records_route);
    let values = recorded(&rig, &text, &sent);
    // The table has forgotten the call.
    rig.now = rig.now + Duration::from_secs(3600);
    rig.dispatch.handle_timeout(rig.now);
    let bye = with_header(&in_dialog("a", "BYE", "s"), &format!("Route: {values}"));
    let decision = rig.send_from(&sent.to.to_string().replace(":5060", ""), &bye);
    assert_eq!(decision.reason, Reason::RecordRouted);
    let back = forward(decision);
    assert_eq!((back.to.to_string(), back.routes.own.count), (rig.arrival.source.to_string(), 2));
    let explained = rig.dispatch.explain(b"a").pop().unwrap();
    let from_the_server = ShortTarget::Forwarded { proxy: back.proxy, sent_by: Some(Side::Server), weight: 0 };
    assert_eq!(explained.target, from_the_server, "not as one that went to the server");
    let forged = bye.replace("Call-ID: a", "Call-ID: b");
    assert_eq!(answer(rig.send(&forged)).status, 481);
}

#[test]
fn a_request_of_a_server_for_a_caller_whose_connection_is_gone_gets_430_and_its_ack_nothing() {
    let mut rules = proxied(PoolMode::Proxy);
    rules.stream_listeners = vec![(ListenerId(1), Transport::Tcp, "198.51.100.1:5060".parse().unwrap())];
    let mut rig = rig_with(1, rules.clone(), 1000);
    let plain = rig.arrival;
    over_tcp(&mut rig);
    let text = invite("a").replace("/UDP", "/TCP");
    let sent = forward(rig.send(&text));
    let values = recorded(&rig, &text, &sent);
    rig.arrival = plain;
    let of_server = |method| with_header(&in_dialog("a", method, "s"), &format!("Route: {values}"));
    for (method, answers) in [("BYE", 1), ("ACK", 0)] {
        let text = of_server(method).replace("-in-", &format!("-{method}-"));
        let sent = forward(rig.send_from("192.0.2.1", &text));
        let ours = format!("Via: SIP/2.0/TCP 198.51.100.1;branch={:?}\r\nVia:", sent.branch);
        let left = text.replacen("Via:", &ours, 1);
        let mut scanner = Scanner::new();
        let Hop::Connection(conn) = sent.to else { panic!("{sent:?}") };
        (0..2).for_each(|_| rig.dispatch.on_undelivered(&scanner.scan(left.as_bytes()).unwrap(), conn, rig.now));
        let leaving: Vec<_> = std::iter::from_fn(|| rig.dispatch.poll_leaving()).collect();
        let is_430 = |message: &LeavingMessage| matches!(message, LeavingMessage::Answer(it) if it.status == 430);
        assert!(leaving.len() == answers && leaving.iter().all(|leaving| is_430(&leaving.message)), "{leaving:?}");
    }
    assert!(rig.dispatch.explain(b"a").iter().any(|it| it.reason == Reason::FlowFailed));
    // Its listener is gone from the settings.
    rules.stream_listeners.clear();
    rig.dispatch.set_rules(rules, rig.now);
    let decision = rig.send_from("192.0.2.1", &of_server("INFO"));
    assert_eq!((answer(decision).status, decision.reason), (430, Reason::FlowFailed));
}

#[test]
fn a_cancel_whose_invite_a_killed_dispatcher_has_forwarded_reaches_every_server_that_may_have_it() {
    for (mode, method) in [(PoolMode::Proxy, "CANCEL"), (PoolMode::Stateful, "CANCEL"), (PoolMode::Proxy, "ACK")] {
        let text = invite("a");
        let first = forward(rig_of(mode).send(&text));
        let mut rig = rig_of(mode);
        rig.dispatch.on_start(rig.now);
        let decision = rig.send(&same(&text, method));
        assert_eq!(decision.reason, Reason::Forgotten);
        let mut sent = vec![forward(decision)];
        while let Some(leaving) = rig.dispatch.poll_leaving() {
            let LeavingMessage::Request(forward) = leaving.message else { panic!("{leaving:?}") };
            sent.push(forward);
        }
        let proxies: Vec<u16> = sent.iter().map(|forward| forward.proxy.0).collect();
        assert_eq!((sent.len(), proxies.iter().sum::<u16>()), (3, 3), "{proxies:?}");
        assert!(sent.iter().any(|forward| (forward.to, forward.branch) == (first.to, first.branch)));
        rig.dispatch.check();

        rig.now = rig.now + Duration::from_secs(33);
        let later = |rig: &mut Rig| forward(rig.send(&same(&text, method))).proxy;
        let one = later(&mut rig);
        assert_eq!((later(&mut rig), rig.dispatch.poll_leaving()), (one, None));
    }
}

#[test]
fn the_caller_of_an_unknown_cancel_gets_one_answer_of_the_many_and_a_2xx_if_there_is_one() {
    for (mode, statuses, expected) in [
        (PoolMode::Proxy, [481, 200, 200], [false, true, false]),
        (PoolMode::Stateful, [200, 481, 481], [true, false, false]),
        (PoolMode::Proxy, [481, 481, 481], [false, false, true]),
    ] {
        let mut rig = rig_of(mode);
        rig.dispatch.on_start(rig.now);
        let cancel = same(&invite("a"), "CANCEL");
        let mut sent = vec![forward(rig.send(&cancel))];
        while let Some(leaving) = rig.dispatch.poll_leaving() {
            let LeavingMessage::Request(forward) = leaving.message else { panic!("{leaving:?}") };
            sent.push(forward);
        }
        let answers = sent.iter().zip(statuses).map(|(to, status)| rig.respond(&response(&cancel, to, status)));
        let passed: Vec<bool> = answers.map(|it| matches!(it.target, Target::ForwardResponse(_))).collect();
        assert_eq!(passed, expected, "{statuses:?}");
    }
}

#[test]
fn a_copy_of_an_unknown_cancel_brings_the_refusal_of_one_where_another_server_is_silent() {
    let mut rig = rig_of(PoolMode::Proxy);
    rig.dispatch.on_start(rig.now);
    let cancel = same(&invite("a"), "CANCEL");
    let first = forward(rig.send(&cancel));
    let passes = |decision: Decision| matches!(decision.target, Target::ForwardResponse(_));
    let refusal = response(&cancel, &first, 481);
    assert!(!passes(rig.respond(&refusal)), "the others may have the INVITE");
    assert!(!passes(rig.respond(&refusal)), "it is one of three, however often it says so");
    assert_eq!(forward(rig.send(&cancel)).proxy, first.proxy);
    assert!(passes(rig.respond(&refusal)) && !passes(rig.respond(&refusal)));
}

#[test]
fn an_unknown_cancel_for_a_pool_that_redirects_gets_481() {
    let mut rig = rig_of(PoolMode::Redirect);
    rig.dispatch.on_start(rig.now);
    assert_eq!(answer(rig.send(&same(&invite("a"), "CANCEL"))).status, 481);
}

#[test]
fn a_request_with_a_cr_that_ends_no_line_does_not_travel_on() {
    let mut rig = rig_of(PoolMode::Proxy);
    for line in ["Subject: x\rContent-Length: 0", "Subject: x\r"] {
        let decision = rig.send(&invite("a").replace("Max-Forwards", &format!("{line}\r\nMax-Forwards")));
        assert_eq!(answer(decision).status, 400, "{line:?}");
    }
}
