use super::*;
use crate::wire::sip::CSeq;
use crate::wire::sip::Start;

const INVITE: &str = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP c:5062;branch=z9hG4bK1\r\nFrom: <sip:b@c>;tag=1\r\n\
    To: <sip:a@h>\r\nCall-ID: x@c\r\nCSeq: 7 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 4\r\n\r\nv=0\n";

fn fault(text: impl AsRef<[u8]>) -> (Fault, bool) {
    let mut scanner = Scanner::new();
    let bad = scanner.scan(text.as_ref()).unwrap_err();
    (bad.fault, bad.message.is_some())
}

fn changed(from: &str, to: &str) -> String {
    assert!(INVITE.contains(from), "{from}");
    INVITE.replacen(from, to, 1)
}

#[test]
fn a_request_is_read_into_start_line_fields_and_body() {
    let mut scanner = Scanner::new();
    let message = scanner.scan(INVITE.as_bytes()).unwrap();
    assert_eq!(message.start(), Start::Request { method: Method::Invite, uri: b"sip:a@h" });
    assert_eq!(message.call_id(), b"x@c");
    assert_eq!(message.cseq(), Some(CSeq { number: 7, method: Method::Invite }));
    assert_eq!(message.via().unwrap().port, Some(5062));
    assert_eq!(message.from().unwrap().tag(), Some(&b"1"[..]));
    assert_eq!(message.to().unwrap().tag(), None);
    assert_eq!(message.max_forwards(), Some(70));
    assert_eq!(message.body(), b"v=0\n");
    assert_eq!(message.bytes(), INVITE.as_bytes());
}

#[test]
fn a_response_is_read_with_and_without_a_reason() {
    let fields = &INVITE[INVITE.find('\n').unwrap() + 1..];
    let mut scanner = Scanner::new();
    for (line, status, reason) in [
        ("SIP/2.0 200 OK", 200, &b"OK"[..]),
        ("SIP/2.0 100 ", 100, b""),
        ("sip/2.0 699", 699, b""),
        ("SIP/2.0 180 Es klingelt \u{fc}berall", 180, "Es klingelt \u{fc}berall".as_bytes()),
    ] {
        let text = format!("{line}\r\n{fields}");
        let message = scanner.scan(text.as_bytes()).unwrap();
        assert_eq!(message.start(), Start::Response { status, reason });
    }
    for line in ["SIP/2.0 99 x", "SIP/2.0 700 x", "SIP/2.0 4294967301 better", "SIP/2.0  200 OK"] {
        assert_eq!(fault(format!("{line}\r\n{fields}")), (Fault::StartLine, false), "{line}");
    }
    assert_eq!(fault(format!("SIP/3.0 200 OK\r\n{fields}")), (Fault::Version, false));
}

#[test]
fn line_feeds_alone_compact_names_folds_and_bytes_that_are_not_utf8_are_read() {
    let text = b"\r\n\nOPTIONS sip:h SIP/2.0\nv :\n  SIP/2.0/UDP\n c , SIP/2.0/TCP d\nV: SIP/2.0/TLS e\nf: \"\xff\xfe\" <sip:b@c>;tag=1\n\
        T: <sip:h>\nI:x\nCSEQ: 1\n OPTIONS\nX-Session-Size:  120 \n\nbody";
    let mut scanner = Scanner::new();
    let message = scanner.scan(text).unwrap();
    let transports: Vec<_> = message.vias().map(|via| via.transport).collect();
    assert_eq!(transports, [&b"UDP"[..], b"TCP", b"TLS"]);
    assert_eq!(message.headers(Name::Via).count(), 2);
    assert_eq!(message.from().unwrap().display, Some(&b"\"\xff\xfe\""[..]));
    assert_eq!(message.extension(b"x-session-size"), Some(&b"120"[..]));
    assert_eq!(message.extension(b"x-session"), None);
    assert_eq!(message.body(), b"body");
}

#[test]
fn content_length_bounds_the_body() {
    let mut scanner = Scanner::new();
    let text = changed("Length: 4", "Length: 2");
    let message = scanner.scan(text.as_bytes()).unwrap();
    assert_eq!((message.body(), message.bytes().len()), (&b"v="[..], text.len() - 2));
    let text = changed("Length: 4", "Length: 4\r\nl: 04");
    assert!(scanner.scan(text.as_bytes()).is_ok());
    for bad in ["5", "-1", "4x", "99999999999", "", "4, 4", "4\r\nl: 3"] {
        assert_eq!(fault(changed("Length: 4", &format!("Length: {bad}"))), (Fault::ContentLength, true), "{bad}");
    }
}

#[test]
fn start_lines_that_are_not_three_parts_and_single_spaces_are_refused() {
    for line in [
        "INVITE  sip:a@h SIP/2.0",
        "INVITE sip:a@h  SIP/2.0",
        "INVITE sip:a@h SIP/2.0 ",
        "INVITE sip:a@h; lr SIP/2.0",
        "INVITE SIP/2.0",
    ] {
        assert_eq!(fault(changed("INVITE sip:a@h SIP/2.0", line)), (Fault::StartLine, true), "{line}");
    }
    assert_eq!(fault(changed("h SIP/2.0", "h SIP/7.0")), (Fault::Version, true));
    assert!(Scanner::new().scan(changed("h SIP/2.0", "h sip/2.0").as_bytes()).is_ok());
    for line in ["GET / HTTP/1.1", "\u{1}\u{2}\u{3}", "hello"] {
        assert_eq!(fault(changed("INVITE sip:a@h SIP/2.0", line)), (Fault::NotSip, false), "{line}");
    }
}

#[test]
fn missing_and_repeated_fields_are_faults() {
    for (from, answerable) in [
        ("Via: SIP/2.0/UDP c:5062;branch=z9hG4bK1\r\n", false),
        ("From: <sip:b@c>;tag=1\r\n", false),
        ("To: <sip:a@h>\r\n", false),
        ("Call-ID: x@c\r\n", false),
        ("CSeq: 7 INVITE\r\n", false),
    ] {
        assert_eq!(fault(changed(from, "")), (Fault::Missing, answerable), "{from}");
    }
    for line in ["i: y", "t: sip:c", "f: sip:d", "cseq: 8 INVITE", "max-forwards: 3"] {
        assert_eq!(fault(changed("Content", &format!("{line}\r\nContent"))), (Fault::Repeated, true), "{line}");
    }
    assert!(Scanner::new().scan(changed("Max-Forwards: 70\r\n", "").as_bytes()).is_ok());
    assert_eq!(fault(changed("Call-ID: x@c", "Call-ID:")), (Fault::Missing, false));
}

#[test]
fn cseq_has_a_number_below_2_to_the_32_and_the_requests_method() {
    assert_eq!(fault(changed("CSeq: 7", "CSeq: 36893488147419103232")), (Fault::CSeq, true));
    assert_eq!(fault(changed("7 INVITE", "7 OPTIONS")), (Fault::CSeqMethod, true));
    assert_eq!(fault(changed("7 INVITE", "7 invite")), (Fault::CSeqMethod, true));
    assert_eq!(fault(changed("INVITE sip", "NEWMETHOD sip")), (Fault::CSeqMethodUnknown, true));
}

#[test]
fn an_ack_is_never_answered() {
    assert_eq!(fault(changed("INVITE sip", "ACK sip")), (Fault::CSeqMethod, false));
}

#[test]
fn a_message_whose_answer_has_no_way_back_is_never_answered() {
    assert_eq!(
        fault(changed("SIP/2.0/UDP c:5062;branch=z9hG4bK1", "SIP/2.0/UDP").replace("7 INV", "x INV")),
        (Fault::CSeq, false)
    );
}

#[test]
fn keepalives_and_stun_are_recognised() {
    assert_eq!(fault(""), (Fault::Empty, false));
    for bytes in [&b"\r\n\r\n"[..], b"\r\n", b"\0", b"\0\0\0\0", b"\r\n\r\n\r\n\r\n", b"jaK"] {
        assert_eq!(fault(bytes), (Fault::Keepalive, false));
    }
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend_from_slice(&[7; 12]);
    assert_eq!(fault(&stun), (Fault::Stun, false));
}

#[test]
fn limits_hold() {
    let many = "a: b\r\n".repeat(MAX_FIELDS - 7);
    assert!(Scanner::new().scan(changed("Content", &format!("{many}Content")).as_bytes()).is_ok());
    assert_eq!(fault(changed("Content", &format!("{many}a: b\r\nContent"))), (Fault::TooManyHeaders, true));
    let huge = changed("70", &"0".repeat(MAX_MESSAGE));
    assert_eq!(fault(huge), (Fault::TooLarge, false));
    let bomb = changed("\r\nVia", &format!("\r\n{}Via", "a:b\r\n".repeat(12_000)));
    assert_eq!(fault(bomb), (Fault::TooManyHeaders, true), "what an answer needs stands behind the bomb");
}

#[test]
fn lines_that_are_no_fields_are_faults() {
    for line in ["no colon", ": no name", "a b: c", "a(b): c"] {
        assert_eq!(fault(changed("Content", &format!("{line}\r\nContent"))), (Fault::HeaderLine, true), "{line}");
    }
    assert_eq!(fault(changed("\r\nVia", "\r\n Via")), (Fault::HeaderLine, false));
    assert_eq!(fault(&INVITE[..INVITE.len() - 6]), (Fault::Truncated, true));
}

#[test]
fn a_scanner_forgets_the_message_before() {
    let mut scanner = Scanner::new();
    scanner.scan(INVITE.as_bytes()).unwrap();
    let text = changed("Max-Forwards: 70\r\n", "");
    assert_eq!(scanner.scan(text.as_bytes()).unwrap().max_forwards(), None);
}

#[test]
fn quoted_commas_and_dialog_references_are_read_through_the_message() {
    let text = changed(
        "Content-L",
        "Contact: \"a,b\" <sip:x,y@h>, <sip:z@h>\r\nReplaces: q@h;to-tag=1;from-tag=2\r\nTarget-Dialog: r;local-tag=3\r\n\
            Proxy-Authorization: Digest nonce=\"n,1\"\r\nContent-Type: application/sdp\r\nContent-L",
    );
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes()).unwrap();
    assert_eq!(message.values(Name::Contact).count(), 2);
    assert_eq!(message.contact().unwrap().uri, b"sip:x,y@h");
    assert_eq!(message.replaces().unwrap().to_tag, Some(&b"1"[..]));
    assert_eq!(message.target_dialog().unwrap().to_tag, Some(&b"3"[..]));
    assert_eq!(message.nonce(), Some(&b"n,1"[..]));
    assert_eq!(message.content(b"application/sdp"), Some(&b"v=0\n"[..]));
}

#[test]
fn line_ends_after_the_empty_line_are_no_body() {
    let head = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\nTo: <sip:a@b>\r\n\
        Call-ID: 1\r\nCSeq: 7 INVITE\r\n\r\n";
    for (behind, body) in [("\r\n", ""), ("\r\n\r\n\n", ""), ("\r\nx", "\r\nx"), (" \r\n", " \r\n")] {
        let text = format!("{head}{behind}");
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        assert_eq!((message.body(), message.bytes().len()), (body.as_bytes(), head.len() + body.len()), "{behind:?}");
    }
}

/// Bytes by which lines differ, each of them often.
const ODD: &[u8] = b"\r\n\r\n :\t\"x<>\0\xff:  ";

proptest::proptest! {
    #[test]
    fn a_field_is_the_same_whether_it_is_read_at_a_look_or_byte_by_byte(
        name in proptest::sample::select(&["Via", "v", "To", "Session-Expires", "P-Asserted-Identity", "via", "X-A", "Via ", ""][..]),
        colon in proptest::sample::select(&[": ", ":", " : ", ":  ", ":\t", "", ":\r\n "][..]),
        value in proptest::collection::vec((0..ODD.len(), 0..3_usize), 0..40),
        end in proptest::sample::select(&["\r\n", "\n", "\r\n ", "\r\n\r\n", " \r\n", "\r"][..]),
        rest in "[a-zA-Z :\r\n]{0,24}",
    ) {
        let value: Vec<u8> = value.iter().flat_map(|(at, plain)| [vec![b'a'; *plain], vec![ODD[*at]]].concat()).collect();
        let bytes = [name.as_bytes(), colon.as_bytes(), &value, end.as_bytes(), rest.as_bytes()].concat();
        if let Some((quick, line_feed)) = plain_field(&bytes, 0) {
            let (colon, end) = ends(&bytes, 0).unwrap();
            let slow = field(&bytes, 0, colon, end).unwrap();
            proptest::prop_assert_eq!(line_feed, end);
            proptest::prop_assert_eq!(format!("{quick:?}"), format!("{slow:?}"));
        }
    }
}
