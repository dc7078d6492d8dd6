use proptest::prelude::*;

use super::*;
use crate::wire::sip::Scanner;

/// A request whose fields are written as few write them.
const ODD: &str = "INVITE sip:a;b=c:d@h.example.net:5062;lr?x=y SIP/2.0\r\nRoute:<sip:p1;lr> ,\r\n <sip:p2;lr>\r\n\
    V  :  SIP/2.0/UDP c ;rport\r\n ;branch=z9hG4bK1 , SIP/2.0/TLS e\r\nMax-Forwards \t:\t 0070 \r\nVia: SIP/2.0/UDP g\r\n\
    f: <sip:b@c>;tag=1\r\nt: <sip:a@h>\r\ni: x@c\r\nrecord-route: <sip:r;lr>\r\nroute: <sip:p3;lr>\r\nCSeq: 7 INVITE\r\n\
    l: 4\r\n\r\nbody";

fn edited(text: &str, edit: impl Fn(&mut Edits, &Message<'_>)) -> String {
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes()).unwrap();
    let mut edits = Edits::default();
    // What an earlier message has left makes no difference.
    edit(&mut edits, &message);
    edits.clear();
    edit(&mut edits, &message);
    let pieces: Vec<_> = edits.pieces(&message).collect();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    let whole = pieces.concat();
    assert_eq!(edits.len(&message), whole.len());
    String::from_utf8(whole).unwrap()
}

/// Completes the Via of a request that comes from 192.0.2.9:4711.
fn complete(edits: &mut Edits, message: &Message<'_>) {
    let source = "192.0.2.9:4711".parse().unwrap();
    edits.complete_via(message, ViaCompletion::of(message.bytes(), &message.via().unwrap(), source), source);
}

/// Takes so many of the topmost Route values off.
fn take_routes(edits: &mut Edits, message: &Message<'_>, count: usize) {
    let last = message.values(Name::Route).take(count).last();
    edits.take_routes(message, last.map_or(0, |last| message.place_of(last).end) as usize);
}

/// [`ODD`] with each text in place of another.
fn odd(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(ODD.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    })
}

fn response(vias: &str) -> String {
    format!(
        "SIP/2.0 180 Ringing\r\n{vias}From: <sip:b@c>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n\r\n"
    )
}

#[test]
fn a_message_without_edits_is_one_piece() {
    let mut scanner = Scanner::new();
    let message = scanner.scan(ODD.as_bytes()).unwrap();
    let edits = Edits::default();
    assert_eq!(edits.pieces(&message).collect::<Vec<_>>(), [ODD.as_bytes()]);
}

#[test]
fn our_via_stands_on_a_line_of_its_own_above_the_others() {
    let put =
        |edits: &mut Edits, message: &Message<'_>| edits.put_via(message, b"SIP/2.0/UDP [2001:db8::1]:5060;branch=b");
    assert_eq!(edited(ODD, put), odd(&[("V  :", "Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=b\r\nV  :")]));
    let unix = ODD.replace("\r\n", "\n");
    assert_eq!(edited(&unix, put), unix.replace("V  :", "Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=b\r\nV  :"));
}

#[test]
fn the_topmost_via_value_is_completed_and_those_beside_it_stay() {
    assert_eq!(
        edited(ODD, complete),
        odd(&[("c ;rport\r\n ;branch=z9hG4bK1 ,", "c ;rport=4711\r\n ;branch=z9hG4bK1;received=192.0.2.9 ,")])
    );
    let plain = ODD.replace("c ;rport\r\n ;branch=z9hG4bK1", "192.0.2.9:5060  ;branch = z9hG4bK1");
    assert_eq!(edited(&plain, complete), plain, "a Via that says where it came from stays as it was written");
}

#[test]
fn the_topmost_via_gets_the_source_and_nothing_the_sender_claimed() {
    let completed = |via: &str, source: &str| {
        let mut out = Vec::new();
        complete_via(&mut out, &Via::parse(via.as_bytes()).unwrap(), source.parse().unwrap());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(completed("SIP/2.0/UDP c ;branch=1", "192.0.2.9:1"), "SIP/2.0/UDP c ;branch=1;received=192.0.2.9");
    assert_eq!(completed("SIP/2.0/UDP 192.0.2.9;branch=1", "192.0.2.9:1"), "SIP/2.0/UDP 192.0.2.9;branch=1");
    assert_eq!(
        completed("SIP/2.0/UDP 192.0.2.9;rport;branch=1", "192.0.2.9:1"),
        "SIP/2.0/UDP 192.0.2.9;rport=1;branch=1;received=192.0.2.9"
    );
    // RFC 5118 §4.5: no brackets around what is written.
    assert_eq!(
        completed("SIP/2.0/UDP [2001:db8::1];received=[2001:db8::2];rport=9;ttl=1", "[2001:db8::3]:7"),
        "SIP/2.0/UDP [2001:db8::1];ttl=1;rport=7;received=2001:db8::3"
    );
    for claimed in ["rport=9", "rport=", "rport;rport", "rport;received", "RECEIVED=192.0.2.8;rport"] {
        assert_eq!(
            completed(&format!("SIP/2.0/UDP c;{claimed};branch=1"), "192.0.2.9:1"),
            "SIP/2.0/UDP c;branch=1;rport=1;received=192.0.2.9",
            "{claimed}"
        );
    }
    assert_eq!(completed("SIP/2.0/UDP c;received=192.0.2.9", "192.0.2.9:1"), "SIP/2.0/UDP c;received=192.0.2.9");
    assert_eq!(completed("SIP/2.0/UDP c;rport;", "192.0.2.9:1"), "SIP/2.0/UDP c;rport=1;received=192.0.2.9");
    assert_eq!(completed("SIP/2.0/UDP c;rport", "192.0.2.9:1"), "SIP/2.0/UDP c;rport=1;received=192.0.2.9");
    assert_eq!(completed("SIP/2.0/UDP [2001:db8::1]:5060", "[2001:db8::1]:7"), "SIP/2.0/UDP [2001:db8::1]:5060");
    assert_eq!(
        completed("SIP/2.0/UDP\r\n c;a=\"x\r\n y\"", "[::ffff:192.0.2.9]:7"),
        "SIP/2.0/UDP   c;a=\"x   y\";received=192.0.2.9"
    );
}

#[test]
fn max_forwards_is_lowered_by_one_and_added_where_there_is_none() {
    let count = |edits: &mut Edits, message: &Message<'_>| edits.count_hop(message);
    assert_eq!(edited(ODD, count), odd(&[("0070", "69")]));
    assert_eq!(edited(&odd(&[("0070", "1")]), count), odd(&[("0070", "0")]));
    for (line, counted) in [("0", "0"), ("-1", "-1"), ("x", "x"), ("", "")] {
        assert_eq!(edited(&odd(&[("0070", line)]), count), odd(&[("0070", counted)]), "{line}");
    }
    // RFC 3261 §16.6 step 3: SHOULD be 70, not 69.
    let old = odd(&[("Max-Forwards \t:\t 0070 \r\n", "")]);
    assert_eq!(edited(&old, count), old.replace("f: ", "Max-Forwards: 70\r\nf: "));
}

#[test]
fn a_record_route_stands_above_the_others_or_below_the_vias() {
    let put = |edits: &mut Edits, message: &Message<'_>| edits.put_record_route(message, b"<sip:192.0.2.1;lr>");
    assert_eq!(edited(ODD, put), odd(&[("record-route", "Record-Route: <sip:192.0.2.1;lr>\r\nrecord-route")]));
    let first = odd(&[("record-route: <sip:r;lr>\r\n", "")]);
    assert_eq!(edited(&first, put), first.replace("f: ", "Record-Route: <sip:192.0.2.1;lr>\r\nf: "));
}

#[test]
fn lines_that_are_added_stand_in_the_order_they_were_added_and_cannot_hold_another_line() {
    let add = |edits: &mut Edits, message: &Message<'_>| {
        edits.append_line(message, b"X-A", b"1\r\nX-C: 3");
        edits.put_line(message, b"X-D", b"4");
        edits.append_line(message, b"X-B", b"2");
        edits.put_line(message, b"X-E", b"5");
    };
    assert_eq!(
        edited(ODD, add),
        odd(&[("f: ", "X-D: 4\r\nX-E: 5\r\nf: "), ("l: 4\r\n", "l: 4\r\nX-A: 1  X-C: 3\r\nX-B: 2\r\n")])
    );
    let folded = odd(&[("l: 4\r\n", "l: 4 \r\n\t\r\n  \r\n")]);
    let append = |edits: &mut Edits, message: &Message<'_>| edits.append_line(message, b"X-A", b"1");
    assert_eq!(edited(&folded, append), folded.replace("\r\n\r\nbody", "\r\nX-A: 1\r\n\r\nbody"));
    let unix = ODD.replace("\r\n", "\n");
    assert_eq!(edited(&unix, append), unix.replace("\n\nbody", "\nX-A: 1\r\n\nbody"));
}

#[test]
fn the_topmost_route_values_go_and_a_line_goes_with_its_last_one() {
    let take = |count| move |edits: &mut Edits, message: &Message<'_>| take_routes(edits, message, count);
    let first = "Route:<sip:p1;lr> ,\r\n <sip:p2;lr>\r\n";
    assert_eq!(edited(ODD, take(0)), ODD);
    assert_eq!(edited(ODD, take(1)), odd(&[(first, "Route:<sip:p2;lr>\r\n")]));
    assert_eq!(edited(ODD, take(2)), odd(&[(first, "")]));
    for count in [3, 4, 9] {
        assert_eq!(edited(ODD, take(count)), odd(&[(first, ""), ("route: <sip:p3;lr>\r\n", "")]));
    }
    let quoted = odd(&[("<sip:p1;lr>", "\"a, <b\" <sip:p1,1;lr>;x=\"1,2\"")]);
    assert_eq!(edited(&quoted, take(1)), odd(&[(first, "Route:<sip:p2;lr>\r\n")]));
    let empty = odd(&[("Route:<sip:p1;lr> ,", "Route: ,, <sip:p1;lr>,,")]);
    assert_eq!(edited(&empty, take(1)), odd(&[("Route:<sip:p1;lr> ,\r\n ", "Route: ")]));
    assert_eq!(edited(&empty, take(2)), odd(&[(first, "")]));
}

#[test]
fn a_response_goes_on_without_the_topmost_via_value() {
    let take = |edits: &mut Edits, message: &Message<'_>| {
        edits.take_via(message, message.place_of(message.via().unwrap().raw).end as usize);
    };
    for (came, leaves) in [
        ("Via: SIP/2.0/UDP a\r\nVia: SIP/2.0/UDP b\r\n", "Via: SIP/2.0/UDP b\r\n"),
        ("v: SIP/2.0/UDP a , SIP/2.0/UDP b\r\n", "v: SIP/2.0/UDP b\r\n"),
        ("Via: SIP/2.0/UDP a,\r\n SIP/2.0/UDP b, SIP/2.0/UDP c\r\n", "Via: SIP/2.0/UDP b, SIP/2.0/UDP c\r\n"),
        (
            "Via: SIP/2.0/UDP a\r\n ;branch=1\r\n \r\nSubject: x\r\nv: SIP/2.0/UDP b\r\n",
            "Subject: x\r\nv: SIP/2.0/UDP b\r\n",
        ),
        ("Via: SIP/2.0/UDP a ,\r\nVia: SIP/2.0/UDP b\r\n", "Via: SIP/2.0/UDP b\r\n"),
        ("Via: SIP/2.0/UDP a;x=\"a, b\"\r\nVia: SIP/2.0/UDP b\r\n", "Via: SIP/2.0/UDP b\r\n"),
        ("Via: SIP/2.0/UDP a\r\n", ""),
    ] {
        assert_eq!(edited(&response(came), take), response(leaves), "{came}");
    }
}

#[test]
fn host_and_port_of_the_request_uri_are_replaced_and_nothing_else() {
    let replaced = |uri: &str, address: &str| {
        let text = odd(&[("sip:a;b=c:d@h.example.net:5062;lr?x=y", uri)]);
        let changed = edited(&text, |edits, message| edits.replace_uri_host(message, address.parse().unwrap()));
        let line = changed.lines().next().unwrap().to_owned();
        assert_eq!(changed.split_once("\r\n").unwrap().1, text.split_once("\r\n").unwrap().1);
        line.strip_prefix("INVITE ").unwrap().strip_suffix(" SIP/2.0").unwrap().to_owned()
    };
    for (uri, expected) in [
        ("sip:a;b=c:d@h.example.net:5062;lr?x=y", "sip:a;b=c:d@192.0.2.7:5071;lr?x=y"),
        ("sips:h", "sips:192.0.2.7:5071"),
        ("sip:192.0.2.7@192.0.2.7", "sip:192.0.2.7@192.0.2.7:5071"),
        ("sip:a@[2001:db8::1]?x=y", "sip:a@192.0.2.7:5071?x=y"),
        ("tel:+49", "tel:+49"),
        ("urn:service:sos", "urn:service:sos"),
    ] {
        assert_eq!(replaced(uri, "192.0.2.7:5071"), expected, "{uri}");
    }
    assert_eq!(replaced("sip:a@h;lr", "[2001:db8::7]:5060"), "sip:a@[2001:db8::7]:5060;lr");
    assert_eq!(replaced("sip:a@h;lr", "[::ffff:192.0.2.7]:5060"), "sip:a@192.0.2.7:5060;lr");
}

#[test]
fn a_strict_router_in_front_of_us_has_put_the_request_uri_below_the_routes() {
    let restore = |edits: &mut Edits, message: &Message<'_>| {
        edits.restore_uri(message, 0);
    };
    assert_eq!(
        edited(ODD, restore),
        odd(&[("sip:a;b=c:d@h.example.net:5062;lr?x=y", "sip:p3;lr"), ("route: <sip:p3;lr>\r\n", "")])
    );
    let without = odd(&[("Route:<sip:p1;lr> ,\r\n <sip:p2;lr>\r\n", ""), ("route: <sip:p3;lr>\r\n", "")]);
    let keep = |edits: &mut Edits, message: &Message<'_>| edits.restore_uri(message, 0);
    assert_eq!(edited(&without, keep), without);
}

#[test]
fn a_strict_router_after_us_gets_its_uri_in_the_request_line_and_the_request_uri_as_the_last_route() {
    let give = |ours| move |edits: &mut Edits, message: &Message<'_>| edits.give_strict(message, ours);
    let uri = "sip:a;b=c:d@h.example.net:5062;lr?x=y";
    let last = format!("route: <sip:p3;lr>\r\nRoute: <{uri}>\r\n");
    let first = "Route:<sip:p1;lr> ,\r\n <sip:p2;lr>\r\n";
    assert_eq!(
        edited(ODD, give(0)),
        odd(&[(uri, "sip:p1;lr"), (first, "Route:<sip:p2;lr>\r\n"), ("route: <sip:p3;lr>\r\n", &last)])
    );
    assert_eq!(edited(ODD, give(1)), odd(&[(uri, "sip:p2;lr"), (first, ""), ("route: <sip:p3;lr>\r\n", &last)]));
    let only = format!("Route: <{uri}>\r\n");
    assert_eq!(edited(ODD, give(2)), odd(&[(uri, "sip:p3;lr"), (first, ""), ("route: <sip:p3;lr>\r\n", &only)]));
    assert_eq!(edited(ODD, give(3)), ODD);
}

#[test]
fn edits_meet_at_one_place_and_none_is_lost() {
    let text = "INVITE sip:a@h SIP/2.0\r\nRoute: <sip:us;lr>\r\nVia: SIP/2.0/UDP c;rport;branch=z9hG4bK1\r\n\
        From: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n\r\nv=0";
    let all = |edits: &mut Edits, message: &Message<'_>| {
        edits.replace_uri_host(message, "192.0.2.7:5060".parse().unwrap());
        complete(edits, message);
        take_routes(edits, message, 1);
        edits.put_record_route(message, b"<sip:us;lr>");
        edits.count_hop(message);
        edits.put_via(message, b"SIP/2.0/UDP us;branch=z9hG4bK2");
    };
    assert_eq!(
        edited(text, all),
        "INVITE sip:a@192.0.2.7:5060 SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK2\r\n\
         Via: SIP/2.0/UDP c;rport=4711;branch=z9hG4bK1;received=192.0.2.9\r\nRecord-Route: <sip:us;lr>\r\nMax-Forwards: 70\r\n\
         From: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x\r\nCSeq: 7 INVITE\r\n\r\nv=0"
    );
}

#[test]
fn a_line_of_sixty_thousand_bytes_is_edited_as_any_other() {
    let huge = "x".repeat(30_000);
    let text = odd(&[("z9hG4bK1", &format!("z9hG4bK{huge}")), ("<sip:p1;lr>", &format!("<sip:{huge};lr>"))]);
    let all = |edits: &mut Edits, message: &Message<'_>| {
        complete(edits, message);
        take_routes(edits, message, 1);
    };
    let via = format!("c ;rport=4711\r\n ;branch=z9hG4bK{huge};received=192.0.2.9 ,");
    let expected =
        odd(&[("Route:<sip:p1;lr> ,\r\n <sip:p2;lr>", "Route:<sip:p2;lr>"), ("c ;rport\r\n ;branch=z9hG4bK1 ,", &via)]);
    assert_eq!(edited(&text, all), expected);
}

#[test]
fn a_contact_keeps_user_and_parameters_and_leads_nowhere_else() {
    let contact = |uri: &str| {
        let mut out = Vec::new();
        write_contact(&mut out, &Uri::parse(uri.as_bytes()).unwrap(), "192.0.2.7:5071".parse().unwrap());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(contact("sip:a;b=c:d@h:5062;user=phone;lr?x=y"), "<sip:a;b=c:d@192.0.2.7:5071;user=phone;lr>");
    assert_eq!(contact("sips:h;MADDR=10.0.0.1;transport=tcp;ttl=1;x"), "<sips:192.0.2.7:5071;x>");
    assert_eq!(contact("tel:+49-1;ext=2"), "<sip:+49-1;ext=2@192.0.2.7:5071;user=phone>");
    assert_eq!(contact("sip:a>,<sip:evil\r\n@h"), "<sip:a_,_sip:evil__@192.0.2.7:5071>");
    let mut out = Vec::new();
    write_contact(&mut out, &Uri::parse(b"sip:a@h").unwrap(), "[2001:db8::7]:5060".parse().unwrap());
    assert_eq!(out, b"<sip:a@[2001:db8::7]:5060>");
}

proptest! {
    #[test]
    fn taking_values_off_leaves_exactly_the_others(
        fields in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    Just("<sip:a;lr>"), Just(""), Just(" <sip:b>\r\n "), Just("\"x,<\" <sip:c,d>;e=\"f,\""), Just("\t<sip:g>"),
                ],
                1..5,
            ),
            0..5,
        ),
        from in 0_usize..6,
        count in 0_usize..6,
        line_end in prop_oneof![Just("\r\n"), Just("\n")],
    ) {
        let lines: String = fields.iter().map(|field| format!("Route: {}\r\nX-Y: 1\r\n", field.join(","))).collect();
        let text = format!(
            "ACK sip:a@h SIP/2.0\r\n{lines}Via: SIP/2.0/UDP c\r\nFrom: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x\r\n\
             CSeq: 7 ACK\r\n\r\n"
        );
        let text = text.replace("\r\n", line_end);
        let (mut before, mut after) = (Scanner::new(), Scanner::new());
        let message = before.scan(text.as_bytes()).unwrap();
        let mut edits = Edits::default();
        edits.take_values(&message, Name::Route, from + count, |number| number >= from);
        let leaves = edits.pieces(&message).collect::<Vec<_>>().concat();
        let changed = after.scan(&leaves).unwrap();
        let kept = message.values(Name::Route).enumerate().filter(|(at, _)| !(from..from + count).contains(at));
        prop_assert_eq!(changed.values(Name::Route).collect::<Vec<_>>(), kept.map(|(_, value)| value).collect::<Vec<_>>());
        let others = |message: &Message<'_>| message.fields().filter(|(name, _)| name != b"Route").count();
        prop_assert_eq!(others(&changed), others(&message));
    }
}
