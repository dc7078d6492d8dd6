use super::*;
use crate::wire::sip::{Method, Scanner};

const INVITE: &str = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP c:5062;rport;branch=z9hG4bK1 ,\r\n SIP/2.0/TCP d\r\nv: SIP/2.0/TLS e\r\n\
    f: <sip:b@c>\r\n ;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x@c\r\nCSeq: 7 INVITE\r\n\
    Record-Route: <sip:p;lr>, <sip:q;lr>\r\nRecord-Route: <sip:r;lr>\r\n\r\n";

fn source() -> SocketAddr {
    "192.0.2.9:4711".parse().unwrap()
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap()
}

#[test]
fn a_response_takes_its_fields_from_the_request() {
    let mut scanner = Scanner::new();
    let request = scanner.scan(INVITE.as_bytes()).unwrap();
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, &request, 200, Some(source()), Some(b"pm1"))
        .record_routes(&request)
        .header("Contact", "<sip:h:5071>")
        .header_fmt("Retry-After", format_args!("{}", 5))
        .finish_with_body("application/sdp", b"v=0\r\n");
    assert_eq!(
        text(out),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP c:5062;rport=4711;branch=z9hG4bK1;received=192.0.2.9, SIP/2.0/TCP d\r\n\
        Via: SIP/2.0/TLS e\r\nFrom: <sip:b@c>   ;tag=1\r\nTo: <sip:a@h>;tag=pm1\r\nCall-ID: x@c\r\nCSeq: 7 INVITE\r\n\
        Record-Route: <sip:p;lr>, <sip:q;lr>\r\nRecord-Route: <sip:r;lr>\r\nContact: <sip:h:5071>\r\nRetry-After: 5\r\n\
        Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
}

#[test]
fn a_tag_that_is_there_stays_and_without_a_source_the_via_does_too() {
    let with_tag = INVITE.replace("To: <sip:a@h>", "To: sip:a@h;tag=t");
    let mut scanner = Scanner::new();
    let request = scanner.scan(with_tag.as_bytes()).unwrap();
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, &request, 481, None, Some(b"pm1")).finish();
    let out = text(out);
    assert!(out.starts_with("SIP/2.0 481 Call/Transaction Does Not Exist\r\nVia: SIP/2.0/UDP c:5062;rport;branch=z9hG4bK1 ,   SIP/2.0/TCP d\r\n"), "{out}");
    assert!(out.contains("\r\nTo: sip:a@h;tag=t\r\n"));
    assert!(out.ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn no_value_can_start_a_line() {
    let mut scanner = Scanner::new();
    let folded = INVITE.replace("Call-ID: x@c", "Call-ID: x\r\n Evil: 1\r\r\n @c");
    let request = scanner.scan(folded.as_bytes()).unwrap();
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, &request, 400, Some(source()), Some(b"t\r\nEvil: 2"))
        .header("Warning", "a\r\nEvil: 3\nEvil: 4")
        .header_fmt("Reason", format_args!("{}", "a\r\nEvil: 5"))
        .finish();
    let mut again = Scanner::new();
    let response = again.scan(&out).unwrap();
    assert_eq!(response.fields().filter(|(name, _)| *name == b"Evil").count(), 0);
    let mut out = Vec::new();
    RequestWriter::new(&mut out, "BYE", b"sip:a@h SIP/2.0\r\nEvil: 1").header("Call-ID", "x\nEvil: 2").finish();
    assert_eq!(text(out), "BYE sip:a@hSIP/2.0Evil:1 SIP/2.0\r\nCall-ID: x Evil: 2\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_request_that_was_written_is_read_back() {
    let mut out = Vec::new();
    RequestWriter::new(&mut out, "BYE", b"sip:b@c:5062")
        .header("Via", "SIP/2.0/UDP h;branch=z9hG4bK2")
        .header("From", "<sip:a@h>;tag=2")
        .header("To", "<sip:b@c>;tag=1")
        .header("Call-ID", b"x@c")
        .header("CSeq", "1 BYE")
        .finish();
    let mut scanner = Scanner::new();
    let request = scanner.scan(&out).unwrap();
    assert_eq!(request.method(), Some(Method::Bye));
    assert_eq!(request.check(), Ok(()));
}

#[test]
fn a_response_goes_to_the_source_at_the_port_the_via_asks_for() {
    let to = |via: &str| {
        let text = INVITE.replace("SIP/2.0/UDP c:5062;rport", via);
        where_to(&Scanner::new().scan(text.as_bytes()).unwrap(), source()).to_string()
    };
    assert_eq!(to("SIP/2.0/UDP c:5062;rport"), "192.0.2.9:4711");
    assert_eq!(to("SIP/2.0/UDP c:5062"), "192.0.2.9:5062");
    assert_eq!(to("SIP/2.0/UDP c"), "192.0.2.9:5060");
    assert_eq!(to("SIP/2.0/TLS c"), "192.0.2.9:5061");
    assert_eq!(to("SIP/2.0/UDP c;maddr=203.0.113.5;received=203.0.113.6"), "192.0.2.9:5060");
}

#[test]
fn a_response_to_a_link_local_source_leaves_on_the_link_that_the_request_came_from() {
    let source: SocketAddr = "[fe80::2%3]:4711".parse().unwrap();
    let to = |via: &str| {
        let text = INVITE.replace("SIP/2.0/UDP c:5062;rport", via);
        where_to(&Scanner::new().scan(text.as_bytes()).unwrap(), source).to_string()
    };
    assert_eq!(to("SIP/2.0/UDP c:5062;rport"), "[fe80::2%3]:4711");
    assert_eq!(to("SIP/2.0/UDP c:5062"), "[fe80::2%3]:5062");
}

#[test]
fn every_status_has_a_phrase() {
    assert_eq!(reason_phrase(486), "Busy Here");
    assert!((100..700).all(|status| !reason_phrase(status).is_empty()));
}
