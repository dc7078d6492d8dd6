use super::*;
use crate::wire::line;
use crate::wire::sip::Scanner;

fn invite(uri: &str, via: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: {via}\r\nFrom: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x@c\r\nCSeq: 7 INVITE\r\n\
        Via: SIP/2.0/TLS e\r\nContent-Length: 1\r\n\r\nv"
    )
}

fn patched(text: &str, change: impl for<'a> Fn(&Message<'a>) -> Option<Pieces<'a>>) -> Option<String> {
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes()).unwrap();
    change(&message).map(|pieces| String::from_utf8(pieces.concat()).unwrap())
}

const VIA: &str = "SIP/2.0/UDP c;branch=z9hG4bK1";

#[test]
fn a_header_is_put_in_front_of_the_others() {
    let mut line = Vec::new();
    line::write(&mut line, "X-Pointsman-Worker", b"w1\r\nEvil: 1");
    let text = invite("sip:a@h", VIA);
    let changed = patched(&text, |message| {
        // The pieces borrow from the buffer as long as from the message.
        let line: &'static [u8] = line.clone().leak();
        Some(with_header(message, line))
    });
    assert_eq!(changed.unwrap(), text.replacen("\r\n", "\r\nX-Pointsman-Worker: w1  Evil: 1\r\n", 1));
}

#[test]
fn a_parameter_goes_into_the_request_uri_in_front_of_its_headers() {
    for (uri, expected) in [
        ("sip:a@h", "sip:a@h;port=5071"),
        ("sip:a;port=1@h:5060;lr", "sip:a;port=1@h:5060;lr;port=5071"),
        ("sip:a@h;PORT=1;lr", "sip:a@h;port=5071;lr"),
        ("sip:a@h;%70ort=1;lr", "sip:a@h;port=5071;lr"),
        ("sips:[::1]:5061;lr?Subject=a;b", "sips:[::1]:5061;lr;port=5071?Subject=a;b"),
        ("tel:+49", "tel:+49;port=5071"),
    ] {
        let changed = patched(&invite(uri, VIA), |message| with_uri_param(message, b";port=5071"));
        assert_eq!(changed, Some(invite(expected, VIA)), "{uri}");
    }
    assert_eq!(patched(&invite("soap:x", VIA), |message| with_uri_param(message, b";a=b")), None);
}

#[test]
fn a_parameter_cannot_leave_the_uri() {
    let mut param = Vec::new();
    uri_param(&mut param, "size", b"1;x=2 SIP/2.0\r\n?");
    assert_eq!(param, b";size=1%3Bx%3D2%20SIP%2F2.0%0D%0A%3F");
}

#[test]
fn a_port_goes_behind_the_host() {
    for (uri, expected) in [
        ("sip:a@h", "sip:a@h:5071"),
        ("sip:h:5060;lr", "sip:h:5071;lr"),
        ("sip:a@[2001:db8::1]?x=y", "sip:a@[2001:db8::1]:5071?x=y"),
    ] {
        let changed = patched(&invite(uri, VIA), |message| with_uri_port(message, b":5071"));
        assert_eq!(changed, Some(invite(expected, VIA)), "{uri}");
    }
    assert_eq!(patched(&invite("tel:+49", VIA), |message| with_uri_port(message, b":5071")), None);
}

#[test]
fn the_topmost_via_gets_the_source_and_nothing_the_sender_claimed() {
    let completed = |via: &str, source: &str| {
        let mut out = Vec::new();
        via_with_source(&mut out, &Via::parse(via.as_bytes()).unwrap(), source.parse().unwrap());
        String::from_utf8(out).unwrap()
    };
    assert_eq!(completed("SIP/2.0/UDP c ;branch=1", "192.0.2.9:1"), "SIP/2.0/UDP c;branch=1;received=192.0.2.9");
    assert_eq!(completed("SIP/2.0/UDP 192.0.2.9;branch=1", "192.0.2.9:1"), "SIP/2.0/UDP 192.0.2.9;branch=1");
    assert_eq!(
        completed("SIP/2.0/UDP 192.0.2.9;rport;branch=1", "192.0.2.9:1"),
        "SIP/2.0/UDP 192.0.2.9;branch=1;rport=1;received=192.0.2.9"
    );
    // RFC 5118 §4.5: no brackets around what is written.
    assert_eq!(
        completed("SIP/2.0/UDP [2001:db8::1];received=[2001:db8::2];rport=9;ttl=1", "[2001:db8::3]:7"),
        "SIP/2.0/UDP [2001:db8::1];ttl=1;rport=7;received=2001:db8::3"
    );
    assert_eq!(completed("SIP/2.0/UDP [2001:db8::1]:5060", "[2001:db8::1]:7"), "SIP/2.0/UDP [2001:db8::1]:5060");
    assert_eq!(
        completed("SIP/2.0/UDP\r\n c;a=\"x\r\n y\"", "[::ffff:192.0.2.9]:7"),
        "SIP/2.0/UDP   c;a=\"x   y\";received=192.0.2.9"
    );
}

#[test]
fn a_via_needs_its_source_written_when_it_would_change() {
    let needs = |via: &str| via_needs_source(&Via::parse(via.as_bytes()).unwrap(), "192.0.2.9:1".parse().unwrap());
    assert!(!needs("SIP/2.0/UDP 192.0.2.9;branch=1"));
    assert!(needs("SIP/2.0/UDP 192.0.2.9;rport"));
    assert!(needs("SIP/2.0/UDP 192.0.2.9;received=192.0.2.9"));
    assert!(needs("SIP/2.0/UDP h"));
}

#[test]
fn the_topmost_via_is_replaced_or_taken_away_alone() {
    let list = "SIP/2.0/UDP c;x=\"a,b\" , SIP/2.0/TCP d";
    let replaced = patched(&invite("sip:h", list), |message| with_top_via(message, b"NEW"));
    assert_eq!(replaced, Some(invite("sip:h", "NEW , SIP/2.0/TCP d")));
    let text = invite("sip:h", list);
    let taken = patched(&text, without_top_via).unwrap();
    assert_eq!(taken, invite("sip:h", "SIP/2.0/TCP d"));
    let taken = patched(&taken, without_top_via).unwrap();
    assert_eq!(taken, text.replacen(&format!("Via: {list}\r\n"), "", 1));
    let folded = text.replacen(&format!("Via: {list}\r\n"), "Via: SIP/2.0/UDP\r\n c \r\n  \r\n", 1);
    assert_eq!(patched(&folded, without_top_via).unwrap(), taken);
}

#[test]
fn every_field_of_a_name_goes_with_its_folds_and_nothing_else() {
    let text = b"INVITE sip:a@h SIP/2.0\r\nX-Worker-Port: 1\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n\
        x-worker-port: 2\r\n 3\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nX-WORKER-PORT:4\r\n\r\nbody";
    let mut scanner = Scanner::new();
    let mut out = Vec::new();
    without_field(&mut out, &scanner.scan(text).unwrap(), "X-Worker-Port");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n\
         To: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\nbody"
    );
}
