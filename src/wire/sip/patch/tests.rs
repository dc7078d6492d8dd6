use super::*;
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
fn a_port_is_written_after_the_host() {
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
