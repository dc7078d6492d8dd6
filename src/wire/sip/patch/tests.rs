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
