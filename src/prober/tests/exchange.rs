//! One address.

use std::sync::Arc;

use super::super::exchange::{Exchange, Shown, Step};
use super::*;
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::LoadReport;

const MS: u64 = 1000;

/// An exchange and the messages that it sends.
struct Desk {
    exchange: Exchange,
    scanner: Scanner,
}

impl Desk {
    /// Over a connection from this address.
    fn connected(kind: Probe, transport: Transport, local: &str) -> Self {
        let subject = Subject { transport, ..subject(kind) };
        let exchange = Exchange::new(subject, address("0.0.0.0:0"), (7, printer()));
        let mut desk = Desk { exchange, scanner: Scanner::new() };
        desk.exchange.set_local(address(local));
        desk
    }

    fn new(kind: Probe) -> Self {
        Desk {
            exchange: Exchange::new(subject(kind), address("192.0.2.1:40000"), (7, printer())),
            scanner: Scanner::new(),
        }
    }

    /// Begins a probe at this millisecond; the request.
    fn begin(&mut self, at: u64) -> String {
        let step = self.exchange.begin(Time(at * MS));
        assert_eq!((step.send.len(), step.shown.len()), (1, 0));
        text(&step.send[0])
    }

    fn comes(&mut self, message: &str, at: u64) -> Step {
        let from = address("192.0.2.21:5060");
        self.exchange.on_message((from, message.as_bytes()), &mut self.scanner, Time(at * MS))
    }
}

fn text(bytes: &Arc<[u8]>) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn answered(status: u16, delay_ms: u64) -> Shown {
    answered_as(0, status, delay_ms)
}

fn answered_as(number: u32, status: u16, delay_ms: u64) -> Shown {
    Shown::Answered { number, status, retry_after: None, delay: Duration::from_millis(delay_ms), load: None }
}

#[test]
fn options_asks_for_the_load_and_its_answer_shows_delay_and_load() {
    let mut desk = Desk::new(Probe::Options);
    let request = desk.begin(0);
    assert!(request.starts_with("OPTIONS sip:192.0.2.21:5060 SIP/2.0\r\n"), "{request}");
    assert_eq!((field(&request, "Max-Forwards"), field(&request, "X-Load-Query")), ("70", "1"));
    assert!(field(&request, "Via").starts_with("SIP/2.0/UDP 192.0.2.1:40000;branch=z9hG4bK"));
    assert!(!request.contains("rport"));
    desk.exchange.on_sent(Time(2 * MS));
    let more = "X-Load: used=17;total=1000\r\nRetry-After: 30 (later);duration=3\r\n";
    let step = desk.comes(&response(&request, "200 OK", more), 9);
    let load = Some(LoadReport { used: Some(17), total: Some(1000), ..LoadReport::default() });
    let (delay, retry_after) = (Duration::from_millis(7), Some(Duration::from_secs(30)));
    assert_eq!(step.shown, [Shown::Answered { number: 0, status: 200, retry_after, delay, load }]);
    assert_eq!(desk.comes(&response(&request, "200 OK", more), 10), Step::default(), "a copy changes nothing");
    assert_eq!(desk.exchange.poll_timeout(), None);
}

#[test]
fn a_full_server_says_for_how_long() {
    for (written, seconds) in [("86400", 86_400), (" 5", 5)] {
        let mut desk = Desk::new(Probe::OptionsZero);
        let request = desk.begin(0);
        assert_eq!(field(&request, "Max-Forwards"), "0");
        let step = desk.comes(&response(&request, "503 Full", &format!("Retry-After:{written}\r\n")), 1);
        let retry_after = Some(Duration::from_secs(seconds));
        let delay = Duration::from_millis(1);
        assert_eq!(step.shown, [Shown::Answered { number: 0, status: 503, retry_after, delay, load: None }]);
    }
}

#[test]
fn an_answer_that_comes_after_the_probe_was_lost_is_late_once() {
    let mut desk = Desk::new(Probe::Options);
    let request = desk.begin(0);
    assert_eq!(desk.exchange.handle_timeout(Time(999 * MS)), Step::default());
    assert_eq!(desk.exchange.handle_timeout(Time(1000 * MS)).shown, [Shown::Lost { number: 0 }]);
    let next = desk.begin(2000);
    assert_eq!(desk.comes(&response(&request, "200 OK", ""), 2100).shown, [Shown::Late]);
    assert_eq!(desk.comes(&response(&request, "200 OK", ""), 2101).shown, []);
    assert_eq!(desk.comes(&response(&next, "200 OK", ""), 2105).shown, [answered_as(122, 200, 105)]);
}

#[test]
fn garbage_and_answers_to_nothing_of_ours_show_nothing() {
    let mut desk = Desk::new(Probe::Options);
    let request = desk.begin(0);
    let good = response(&request, "200 OK", "");
    let branch = field(&request, "Via").rsplit('=').next().unwrap();
    let foreign = [
        String::new(),
        "\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\n\r\n".to_owned(),
        request.clone(),
        good.replace(branch, "z9hG4bK00000000000000000000000000"),
        good.replace("192.0.2.1:40000", "192.0.2.1:40001"),
        good.replace("192.0.2.1:40000", "192.0.2.9:40000"),
        good.replace("From:", "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx\r\nFrom:"),
        good.replace("Via:", "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bKx,"),
        good.replace("CSeq: 1 OPTIONS", "CSeq: 2 OPTIONS"),
        good.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
        good.replace("Call-ID: ", "Call-ID: x"),
        good.lines().filter(|line| !line.starts_with("Via")).map(|line| format!("{line}\r\n")).collect(),
    ];
    for message in &foreign {
        assert_eq!(desk.comes(message, 5), Step::default(), "{message}");
    }
    let elsewhere = (address("192.0.2.22:5060"), good.as_bytes());
    assert_eq!(desk.exchange.on_message(elsewhere, &mut desk.scanner, Time(5)), Step::default());
    assert_eq!(desk.comes(&good, 6).shown, [answered(200, 6)], "none of them ended the probe");
}

#[test]
fn an_invite_that_is_refused_is_acknowledged_and_each_copy_of_the_refusal_again() {
    let mut desk = Desk::new(Probe::Invite);
    let invite = desk.begin(0);
    assert_eq!((field(&invite, "Require"), field(&invite, "Proxy-Require")), ("pointsman-probe", "pointsman-probe"));
    assert_eq!((field(&invite, "Max-Forwards"), field(&invite, "Content-Length")), ("0", "0"));
    let refusal = response(&invite, "420 Bad Extension", "Unsupported: pointsman-probe\r\n");
    let step = desk.comes(&refusal, 4);
    assert_eq!(step.shown, [answered(420, 4)]);
    let ack = text(&step.send[0]);
    assert!(ack.starts_with("ACK sip:192.0.2.21:5060 ") && field(&ack, "Via") == field(&invite, "Via"), "{ack}");
    let again = desk.comes(&refusal, 504);
    assert_eq!((again.send.len(), again.shown.len()), (1, 0));
    let mut slow = Desk::new(Probe::Invite);
    let invite = slow.begin(0);
    slow.exchange.handle_timeout(Time(1000 * MS));
    let late = slow.comes(&response(&invite, "483 Too Many Hops", ""), 1500);
    assert_eq!((late.send.len(), late.shown), (1, vec![Shown::Late]), "a late refusal is acknowledged as well");
}

#[test]
fn a_server_that_rings_for_a_probe_is_cancelled_and_gets_options_from_then_on() {
    let mut desk = Desk::new(Probe::Invite);
    let invite = desk.begin(0);
    let trying = desk.comes(&response(&invite, "100 Trying", ""), 3);
    assert!(trying.shown.is_empty() && text(&trying.send[0]).starts_with("CANCEL "), "{trying:?}");
    let step = desk.comes(&response(&invite, "180 Ringing", ""), 5);
    assert_eq!((step.shown, step.send.len()), (vec![Shown::Taken], 0));
    let cancel = text(&trying.send[0]);
    assert_eq!(desk.comes(&response(&cancel, "200 OK", ""), 6), Step::default());
    let step = desk.comes(&response(&invite, "487 Request Terminated", ""), 8);
    assert_eq!((step.shown, step.send.len()), (vec![answered(487, 3)], 1), "the delay is that of the first response");
    assert!(desk.begin(2000).starts_with("OPTIONS "));
    desk.exchange.handle_timeout(Time(3000 * MS));
    desk.exchange.on_reload();
    assert!(desk.begin(4000).starts_with("INVITE "), "until a reload");
}

#[test]
fn a_call_that_a_probe_has_made_is_ended_with_bye_until_it_is_answered() {
    let mut desk = Desk::new(Probe::Invite);
    let invite = desk.begin(0);
    let more = "Contact: <sip:me@198.51.100.9>\r\nRecord-Route: <sip:a;lr>\r\nRecord-Route: <sip:b;lr>\r\n";
    let ok = response(&invite, "200 OK", more);
    let step = desk.comes(&ok, 5);
    assert_eq!(step.shown, [Shown::Taken, answered(200, 5)]);
    let [ack, bye] = [0, 1].map(|at| text(&step.send[at]));
    assert!(ack.starts_with("ACK sip:me@198.51.100.9 ") && bye.starts_with("BYE sip:me@198.51.100.9 "), "{ack}{bye}");
    assert_eq!((field(&ack, "CSeq"), field(&bye, "CSeq"), field(&bye, "Route")), ("1 ACK", "2 BYE", "<sip:b;lr>"));
    assert_eq!(field(&bye, "To"), "<sip:192.0.2.21:5060>;tag=t");
    assert_eq!(desk.comes(&ok, 505).send.len(), 1, "the ACK again");
    assert_eq!(desk.exchange.handle_timeout(Time(505 * MS)).send.len(), 1, "the BYE again");
    desk.comes(&response(&bye, "200 OK", "").replace(";tag=t;tag=t", ";tag=t"), 510);
    assert_eq!(desk.exchange.poll_timeout(), None);
}

#[test]
fn icmp_ends_the_probe_that_waits_and_no_other() {
    let mut desk = Desk::new(Probe::Options);
    assert_eq!(desk.exchange.on_refused(), None);
    desk.begin(0);
    assert_eq!((desk.exchange.on_refused(), desk.exchange.on_refused()), (Some(Shown::Refused { number: 0 }), None));
    assert_eq!(desk.exchange.handle_timeout(Time(5000 * MS)), Step::default());
}

#[test]
fn over_a_connection_via_uri_and_contact_name_its_transport_and_address() {
    for (transport, name, param) in
        [(Transport::Tcp, "TCP", ";transport=tcp"), (Transport::Tls, "TLS", ";transport=tls")]
    {
        let mut desk = Desk::connected(Probe::Options, transport, "192.0.2.1:40000");
        let request = desk.begin(0);
        assert!(request.starts_with(&format!("OPTIONS sip:192.0.2.21:5060{param} SIP/2.0\r\n")), "{request}");
        assert!(field(&request, "Via").starts_with(&format!("SIP/2.0/{name} 192.0.2.1:40000;branch=z9hG4bK")));
        assert_eq!(field(&request, "Contact"), format!("<sip:pointsman@192.0.2.1:40000{param}>"));
        assert_eq!(desk.comes(&response(&request, "200 OK", ""), 4).shown, [answered(200, 4)]);
    }
}

#[test]
fn over_a_connection_nothing_leaves_twice() {
    let mut desk = Desk::connected(Probe::Invite, Transport::Tcp, "192.0.2.1:40000");
    let invite = desk.begin(0);
    let step = desk.comes(&response(&invite, "200 OK", "Contact: <sip:me@198.51.100.9>\r\n"), 5);
    let [ack, bye] = [0, 1].map(|at| text(&step.send[at]));
    assert!(ack.contains("Via: SIP/2.0/TCP 192.0.2.1:40000;") && bye.contains("Via: SIP/2.0/TCP 192.0.2.1:40000;"));
    // The BYE has no answer.
    let mut sent = Vec::new();
    while let Some(at) = desk.exchange.poll_timeout() {
        sent.extend(desk.exchange.handle_timeout(at).send);
    }
    assert!(sent.is_empty(), "{sent:?}");
    let mut ringing = Desk::connected(Probe::Invite, Transport::Tls, "192.0.2.1:40000");
    let invite = ringing.begin(0);
    let cancel = ringing.comes(&response(&invite, "180 Ringing", ""), 5);
    assert!(text(&cancel.send[0]).starts_with("CANCEL "));
    while let Some(at) = ringing.exchange.poll_timeout() {
        assert!(ringing.exchange.handle_timeout(at).send.is_empty());
    }
}

#[test]
fn a_probe_whose_connection_ends_is_lost_and_the_next_has_the_address_of_the_next() {
    let mut desk = Desk::connected(Probe::Options, Transport::Tcp, "192.0.2.1:40000");
    assert_eq!(desk.exchange.on_closed(), None);
    let first = desk.begin(0);
    assert_eq!((desk.exchange.on_closed(), desk.exchange.on_closed()), (Some(Shown::Lost { number: 0 }), None));
    desk.exchange.set_local(address("192.0.2.1:40001"));
    let second = desk.begin(2000);
    assert!(field(&second, "Via").contains(" 192.0.2.1:40001;"));
    let elsewhere = response(&second, "200 OK", "").replace("192.0.2.1:40001", "192.0.2.1:40000");
    assert_eq!(desk.comes(&elsewhere, 2001), Step::default());
    assert_eq!(desk.comes(&response(&first, "200 OK", ""), 2002).shown, [Shown::Late]);
    assert_eq!(desk.comes(&response(&second, "200 OK", ""), 2003).shown, [answered_as(122, 200, 3)]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(garbage in "SIP/2.0 \\PC{0,60}", cut in 0_usize..400) {
        let mut desk = Desk::new(Probe::Invite);
        let invite = desk.begin(0);
        let good = response(&invite, "200 OK", "");
        desk.comes(&garbage, 1);
        desk.comes(good.get(..cut).unwrap_or(&good), 1);
    }
}
