//! CRCX (RFC 3435 §2.3.5, F.3): endpoints and connections come into being, or not.

use super::*;
use crate::media::{Codec, Direction};
use crate::reservation::Weight;

#[test]
fn f_3_a_connection_is_created_and_described() {
    let mut rig = Rig::new();
    let crcx =
        "CRCX 1204 ann/$@rgw-2567.whatever.net MGCP 1.0\r\nC: A3C47F21456789F0\r\nL: p:10, a:PCMU\r\nM: recvonly\r\n";
    let answer = rig.send(crcx);
    assert_eq!(code(&answer), 200);
    assert_eq!(param(&answer, Field::ConnectionId), id(1));
    assert_eq!(param(&answer, Field::SpecificEndpointId), format!("ann/{TOKEN}/1@rgw-2567.whatever.net"));
    let description = &descriptions(&answer)[0];
    assert_eq!(line(description, "m="), "m=audio 20000 RTP/AVP 0");
    assert_eq!(line(description, "c="), "c=IN IP4 192.0.2.9");
    assert_eq!(line(description, "a=ptime"), "a=ptime:10");
    // RFC 3435 §3.4: the description does not state the mode.
    assert!(!description.contains("a=recvonly") && !description.contains("a=sendrecv"));
    let flow = rig.media.values().next().unwrap();
    assert_eq!((flow.direction, flow.remote, flow.ptime), (Direction::RecvOnly, None, 10));
    assert_eq!(rig.units(), 1);
}

#[test]
fn f_3_a_description_of_the_other_end_is_taken() {
    let mut rig = Rig::new();
    let crcx = format!("CRCX 1205 ivr/$@gw MGCP 1.0\r\nC: A3\r\nL: p:10, a:PCMU\r\nM: sendrecv\r\n\r\n{SDP}");
    let answer = rig.send(&crcx);
    assert_eq!(code(&answer), 200);
    let flow = rig.media.values().next().unwrap();
    assert_eq!(flow.remote, Some("128.96.41.1:3456".parse().unwrap()));
    assert_eq!(flow.direction, Direction::SendRecv);
}

#[test]
fn any_endpoint_without_a_kind_is_for_voice_response_and_an_alias_is_kept() {
    let mut rig = Rig::new();
    let table = [
        ("$@gw", "ivr"),
        ("*@gw", "ivr"),
        ("rtpbridge/*@gw", "rtpbridge"),
        ("RtpBridge/$@gw", "RtpBridge"),
        ("CNF/$@gw", "CNF"),
        (&format!("ann/{}/$@gw", TOKEN.to_uppercase()), "ann"),
        ("$/$/$@gw", "ivr"),
        ("mobicents/cnf/$@gw", "mobicents/cnf"),
        ("Mobicents/CNF/*/$@gw", "Mobicents/CNF"),
    ];
    for (number, (wild, term)) in (1..).zip(table) {
        let answer = rig.send(&format!("CRCX {number} {wild} MGCP 1.0\nC: 1\nM: inactive\n"));
        assert_eq!(param(&answer, Field::SpecificEndpointId), name(term, number), "{wild}");
    }
    assert_eq!(rig.gateway.endpoints.len(), table.len());
}

#[test]
fn an_endpoint_with_an_alias_of_two_terms_is_found_by_every_later_command() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("mobicents/cnf", 1);
    assert_eq!(endpoint, name("mobicents/cnf", 1));
    assert_eq!(code(&rig.send(&format!("AUCX 2 {endpoint} MGCP 1.0\r\nI: {connection}\r\n"))), 200);
    assert_eq!(param(&rig.send("AUEP 3 mobicents/cnf/*@gw MGCP 1.0\r\n"), Field::SpecificEndpointId), endpoint);
    assert_eq!(code(&rig.send("CRCX 4 mobicents/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n")), 500);
    assert_eq!(code(&rig.send(&format!("DLCX 5 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"))), 250);
    rig.check_empty();
}

#[test]
fn names_that_no_endpoint_has_are_500() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let table = [
        "aaln/$@gw",
        "ann/1@gw",
        "ann/1/$@gw",
        &format!("ann/{TOKEN}/1/$@gw"),
        &format!("ann/{TOKEN}/2@gw"),
        &format!("ann/{TOKEN}/01@gw"),
        &format!("ivr/{TOKEN}/1@gw"),
        &format!("ann/{TOKEN}/[1-3]@gw"),
        &format!("ann/{TOKEN}/18446744073709551616@gw"),
    ];
    for (number, wrong) in (2..).zip(table) {
        let answer = rig.send(&format!("CRCX {number} {wrong} MGCP 1.0\r\nC: 1\r\nM: inactive\r\n"));
        assert_eq!(code(&answer), 500, "{wrong}");
    }
    assert_eq!(rig.units(), 1);
}

#[test]
fn a_named_endpoint_takes_further_connections_and_is_not_named_again() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("ivr", 1);
    let crcx = format!("CRCX 2 {} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n", endpoint.to_uppercase());
    let answer = rig.send(&crcx);
    assert_eq!((code(&answer), param(&answer, Field::SpecificEndpointId)), (200, String::new()));
    assert_eq!((rig.gateway.endpoints.len(), rig.units()), (1, 2));
}

#[test]
fn an_endpoint_has_a_limit_of_connections_and_a_bridge_has_two() {
    let mut rig = Rig::with(Limits { connections_per_endpoint: 3, ..Limits::default() });
    for (kind, most) in [("cnf", 3), ("bridge", 2)] {
        let (endpoint, _) = rig.create(kind, most * 100);
        for number in 1..=most {
            let answer =
                rig.send(&format!("CRCX {} {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n", most * 10 + number));
            assert_eq!(code(&answer), if number < most { 200 } else { 540 });
        }
    }
    assert_eq!(rig.units(), 5);
}

#[test]
fn names_follow_the_way_of_bypass() {
    for (naming, domain) in [
        (Naming::Relay, "ms.example.net:2427"),
        (Naming::Domain("w3.ms.example.net".into()), "w3.ms.example.net"),
        (Naming::Port, "ms.example.net:2431"),
    ] {
        let identity = Identity { naming: vec![naming.clone()], own_naming: vec![naming], ..identity() };
        let mut rig = Rig::of(identity, Limits::default());
        let outputs = rig.hand_over("CRCX 1 ann/$@ms.example.net:2427 MGCP 1.0\r\nC: 1\r\nM: inactive\r\n");
        let answer = outputs.into_iter().find_map(transmitted).map(|sent| text(&sent)).unwrap();
        let endpoint = param(&answer, Field::SpecificEndpointId);
        assert_eq!(endpoint, format!("ann/{TOKEN}/1@{domain}"));
        let mdcx = format!("MDCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {}\r\nM: recvonly\r\n", id(1));
        assert_eq!(code(&rig.send(&mdcx)), 200);
    }
}

#[test]
fn each_fault_of_a_crcx_has_its_code_and_changes_nothing() {
    let mut rig = Rig::new();
    let port_0 = SDP.replace("3456", "0");
    let video = SDP.replace("m=audio", "m=video");
    let named = SDP.replace("c=IN IP4 128.96.41.1", "c=IN IP4 media.example.net");
    let g729 = SDP.replace("AVP 0", "AVP 18");
    let table = [
        ("M: recvonly\r\n", 510),
        ("C: 1\r\n", 510),
        ("C: 1\r\nC: 1\r\nM: recvonly\r\n", 510),
        ("C: 0123456789abcdef0123456789abcdef0\r\nM: recvonly\r\n", 516),
        ("C:\r\nM: recvonly\r\n", 516),
        ("C: 1\r\nM: confrnce\r\n", 517),
        ("C: 1\r\nM: data\r\n", 517),
        ("C: 1\r\nM: \r\n", 517),
        ("C: 1\r\nM: sendrecv\r\n", 527),
        ("C: 1\r\nM: sendonly\r\n", 527),
        ("C: 1\r\nM: recvonly\r\nI: 1\r\n", 539),
        ("C: 1\r\nM: recvonly\r\nF: A\r\n", 539),
        ("C: 1\r\nM: recvonly\r\nYY: 1\r\n", 539),
        ("C: 1\r\nM: recvonly\r\nX+Foo: 1\r\n", 511),
        ("C: 1\r\nM: recvonly\r\nfoo/bar: 1\r\n", 518),
        ("C: 1\r\nM: recvonly\r\nL: p:20, p:30\r\n", 524),
        ("C: 1\r\nM: recvonly\r\nL: x+a:1\r\n", 525),
        ("C: 1\r\nM: recvonly\r\nL: nt:ATM\r\n", 532),
        ("C: 1\r\nM: recvonly\r\nL: a:G729\r\n", 534),
        ("C: 1\r\nM: recvonly\r\nL: a:telephone-event\r\n", 534),
        ("C: 1\r\nM: recvonly\r\nL: p:1\r\n", 535),
        ("C: 1\r\nM: recvonly\r\nL: zz:1\r\n", 541),
        ("C: 1\r\nM: recvonly\r\nB: e:x\r\n", 539),
        (&format!("C: 1\r\nM: sendrecv\r\n\r\n{port_0}"), 505),
        (&format!("C: 1\r\nM: sendrecv\r\n\r\n{video}"), 505),
        (&format!("C: 1\r\nM: sendrecv\r\n\r\n{named}"), 505),
        (&format!("C: 1\r\nM: sendrecv\r\n\r\n{g729}"), 534),
        (&format!("C: 1\r\nM: sendrecv\r\nL: a:PCMA\r\n\r\n{SDP}"), 534),
        ("C: 1\r\nM: sendrecv\r\n\r\nv=0\r\nm=audio x y\r\n", 509),
        ("C: 1\r\nM: sendrecv\r\n\r\nv=1\r\n", 509),
        (&format!("C: 1\r\nM: sendrecv\r\n\r\n{SDP}{SDP}"), 510),
        (&format!("C: 1\r\nM: sendrecv\r\nZ2: ivr/$@gw\r\n\r\n{SDP}"), 510),
        ("C: 1\r\nM: sendrecv\r\nZ2: ivr\r\n", 510),
        ("C: 1\r\nM: sendrecv\r\nZ2: aaln/1@gw\r\n", 500),
    ];
    for (number, (lines, wanted)) in (1..).zip(table) {
        let answer = rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\n{lines}"));
        assert_eq!(code(&answer), wanted, "{lines}");
    }
    rig.check_empty();
}

#[test]
fn vendor_extensions_and_a_size_are_passed_over() {
    let mut rig = Rig::new();
    let crcx = "CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX-Osmo-IGN: C\r\nX+Size: 3\r\nL: p:20, a:PCMU, nt:IN, x-a:b\r\n";
    assert_eq!(code(&rig.send_sized(crcx, 3)), 200);
    assert_eq!(rig.units(), 3);
}

#[test]
fn without_options_the_other_end_s_order_counts_and_numbers_are_its_own() {
    let mut rig = Rig::new();
    let sdp = SDP.replace("AVP 0\r\n", "AVP 8 97 0\r\na=rtpmap:97 telephone-event/8000\r\na=ptime:30\r\n");
    let answer = rig.send(&format!("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\n\r\n{sdp}"));
    assert_eq!(line(&descriptions(&answer)[0], "m="), "m=audio 20000 RTP/AVP 8 97 0");
    let flow = rig.media.values().next().unwrap();
    let codecs: Vec<_> = flow.payloads.iter().map(|payload| (payload.codec, payload.receive, payload.send)).collect();
    assert_eq!(codecs, [(Codec::Pcma, 8, 8), (Codec::TelephoneEvent, 97, 97), (Codec::Pcmu, 0, 0)]);
    assert_eq!(flow.ptime, 30);
}

#[test]
fn directions_in_a_description_do_not_count() {
    let mut rig = Rig::new();
    let sdp = format!("{SDP}a=inactive\r\n");
    rig.send(&format!("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\n\r\n{sdp}"));
    assert_eq!(rig.media.values().next().unwrap().direction, Direction::SendRecv);
}

#[test]
fn media_that_cannot_be_opened_is_403_and_leaves_nothing() {
    let mut rig = Rig::new();
    rig.broken = true;
    for (number, z2) in [(1, ""), (2, "Z2: ivr/$@gw\r\n")] {
        let answer = rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n{z2}"));
        assert_eq!(code(&answer), 403);
        rig.check_empty();
    }
}

#[test]
fn two_endpoints_of_one_crcx_are_joined() {
    let mut rig = Rig::new();
    let answer = rig.send("CRCX 1 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nZ2: bridge/$@gw\r\n");
    assert_eq!(code(&answer), 200);
    assert_eq!((param(&answer, Field::ConnectionId), param(&answer, Field::SecondConnectionId)), (id(1), id(2)));
    assert_eq!(param(&answer, Field::SpecificEndpointId), name("ivr", 1));
    assert_eq!(param(&answer, Field::SecondEndpointId), name("bridge", 2));
    let remotes: Vec<_> = rig.media.values().map(|flow| flow.remote.unwrap().to_string()).collect();
    assert_eq!(remotes, ["192.0.2.9:20002", "192.0.2.9:20000"]);
    assert_eq!(rig.gateway.calls().count(), 1);
    assert_eq!(code(&rig.send("DLCX 2 *@gw MGCP 1.0\r\n")), 250);
    rig.check_empty();
}

#[test]
fn an_endpoint_is_not_joined_with_itself() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("ivr", 1);
    let crcx = format!("CRCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nZ2: {endpoint}\r\n");
    assert_eq!((code(&rig.send(&crcx)), rig.units()), (539, 1));
    let other = "CRCX 3 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nZ2: ivr/$@gw\r\n";
    assert_eq!(code(&rig.send(other)), 200);
}

#[test]
fn the_encoding_that_comes_with_a_crcx_counts_for_it() {
    let mut rig = Rig::new();
    let answer = rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nB: e:A\r\n");
    assert_eq!(line(&descriptions(&answer)[0], "m="), "m=audio 20000 RTP/AVP 8 0 101");
}

#[test]
fn an_endpoint_that_goes_while_its_connection_is_opened_takes_it_along() {
    let mut rig = Rig::new();
    rig.silent = true;
    rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n");
    rig.silent = false;
    assert_eq!(code(&rig.send(&format!("DLCX 2 {} MGCP 1.0\r\n", name("ann", 1)))), 250);
    let (key, ask) = rig.asked[0].clone();
    rig.media.insert(key, flow_of(&ask));
    rig.gateway.on_media(key, Told::Opened(20_000), rig.now);
    rig.settle();
    assert_eq!(code(&rig.answer()), 403);
    rig.check_empty();
}

#[test]
fn the_second_connection_that_cannot_be_opened_takes_the_first_with_it() {
    let mut rig = Rig::new();
    rig.silent = true;
    rig.send("CRCX 1 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nZ2: bridge/$@gw\r\n");
    rig.silent = false;
    let (first, _) = rig.asked[0];
    let flow = Flow { remote: None, ..flow_of(&rig.asked[0].1) };
    rig.media.insert(first, flow);
    rig.broken = true;
    rig.gateway.on_media(first, Told::Opened(20_000), rig.now);
    rig.settle();
    assert_eq!(code(&rig.answer()), 403);
    rig.check_empty();
}

fn flow_of(ask: &Ask) -> Flow {
    match ask {
        Ask::Open { flow, .. } | Ask::Change(flow) => *flow,
        Ask::Close | Ask::Count => panic!("{ask:?}"),
    }
}

#[test]
fn all_connections_of_a_call_open_it_once_and_the_last_closes_it() {
    let mut rig = Rig::new();
    let opened = |outputs: &[Output]| {
        let is_call = |output: &&Output| matches!(output, Output::CallOpened(..) | Output::CallClosed(_));
        outputs.iter().filter(is_call).cloned().collect::<Vec<_>>()
    };
    let now = rig.now;
    let first = rig.hand_over("CRCX 1 ann/$@gw MGCP 1.0\r\nC: A3c\r\nM: recvonly\r\n");
    assert_eq!(opened(&first), [Output::CallOpened(b"a3c"[..].into(), now)]);
    let second = rig.hand_over("CRCX 2 ann/$@gw MGCP 1.0\r\nC: a3C\r\nM: recvonly\r\n");
    assert_eq!(opened(&second), []);
    assert_eq!(rig.gateway.calls().collect::<Vec<_>>(), [(&b"a3c"[..], now)]);
    let third = rig.hand_over(&format!("DLCX 3 {} MGCP 1.0\r\n", name("ann", 1)));
    assert_eq!(opened(&third), []);
    let last = rig.hand_over(&format!("DLCX 4 {} MGCP 1.0\r\n", name("ann", 2)));
    assert_eq!(opened(&last), [Output::CallClosed(b"a3c"[..].into())]);
}

#[test]
fn a_connection_inside_the_reservation_of_its_conference_costs_nothing_more() {
    let mut rig = Rig::new();
    let weigh = |units, named| Weight { units, named };
    let create = |rig: &mut Rig, number: u32, endpoint: &str, weight| {
        let text = format!("CRCX {number} {endpoint} MGCP 1.0\nC: {number}\nM: inactive\n");
        rig.arrive(&text, &Arrival::own(0, rig.agent, OWN.parse().unwrap(), 1).weighing(weight));
        let answer = rig.answer();
        (code(&answer), param(&answer, Field::ConnectionId), rig.units())
    };
    let (_, first, units) = create(&mut rig, 1, "cnf/$@gw", weigh(5, true));
    assert_eq!(units, 5);
    let room = name("cnf", 1);
    let (_, second, units) = create(&mut rig, 2, &room, weigh(3, false));
    assert_eq!(units, 5, "one and three of five");
    let (_, third, units) = create(&mut rig, 3, &room, weigh(3, true));
    assert_eq!(units, 7, "two beyond it");
    let mut delete = |call: u32, connection: &str| {
        rig.send(&format!("DLCX {} {room} MGCP 1.0\nC: {call}\nI: {connection}\n", 100 + call));
        rig.units()
    };
    assert_eq!((delete(1, &first), delete(3, &third), delete(2, &second)), (6, 5, 0));
    // Endpoints of other kinds are no conference.
    create(&mut rig, 4, "ann/$@gw", weigh(5, true));
    assert_eq!(create(&mut rig, 5, &name("ann", 2), weigh(1, false)).2, 6);
}

#[test]
fn a_full_worker_takes_what_a_conference_has_reserved() {
    let mut rig = Rig::new();
    rig.agent = "127.0.0.1:2727".parse().unwrap();
    let units = rig.gateway.units();
    let weight = Weight { units, named: true };
    let mut create = |number: u32, endpoint: &str, weight| {
        let text = format!("CRCX {number} {endpoint} MGCP 1.0\nC: {number}\nM: inactive\n");
        rig.arrive(&text, &Arrival::own(0, rig.agent, OWN.parse().unwrap(), 1).weighing(weight));
        (code(&rig.answer()), rig.units())
    };
    assert_eq!(create(1, "cnf/$@gw", weight), (200, units));
    assert_eq!(create(2, &name("cnf", 1), Weight::plain(1)), (200, units));
    assert_eq!(create(3, "cnf/$@gw", Weight::plain(1)), (403, units));
    assert_eq!(create(4, &name("cnf", 1), Weight::plain(units)), (403, units));
}

#[test]
fn connections_of_call_agents_that_never_name_them_hold_half_of_a_worker_at_most() {
    let limits = Limits { units: 1_000, ..Limits::default() };
    let mut rig = Rig::with(limits);
    let create = |rig: &mut Rig, number: u32, agent: &str, units: u32| {
        rig.agent = format!("{agent}:2727").parse().unwrap();
        let text = format!("CRCX {number} ann/$@gw MGCP 1.0\nC: {number}\nM: inactive\n");
        let answer = rig.send_sized(&text, units);
        (code(&answer), rig.units())
    };
    assert_eq!(create(&mut rig, 1, "198.51.100.1", 400), (200, 400), "a first one counts by its size");
    let forged = (2..10).map(|number| create(&mut rig, number, &format!("198.51.100.{number}"), 400));
    assert_eq!(forged.last(), Some((200, 500 + 9)), "each has one unit for certain");
    assert_eq!(create(&mut rig, 10, "127.0.0.1", 400), (200, 909), "nobody forges that from another host");
    // The first call agent names the endpoint that it was told.
    rig.agent = "198.51.100.1:2727".parse().unwrap();
    rig.send(&format!("AUEP 11 {} MGCP 1.0\n", name("ann", 1)));
    let others = 8 * 400;
    assert_eq!(rig.units(), 400 + 400 + (others - (others - 8 - 500)));
    rig.send(&format!("DLCX 12 {} MGCP 1.0\n", name("ann", 10)));
    assert_eq!(create(&mut rig, 13, "198.51.100.1", 90), (200, 400 + 508 + 90), "its later ones count whole");
    (1..=11).for_each(|number| drop(rig.send(&format!("DLCX {} {} MGCP 1.0\n", 20 + number, name("ann", number)))));
    assert_eq!(rig.units(), 0);
}
