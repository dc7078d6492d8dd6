//! Calls over stream connections: those of the dispatcher, and our own.

mod gone;

use super::*;
use crate::call::{ResolveKey, Transmit};
use crate::names::{Endpoint, Protocol};
use crate::words::ReplyTo;

/// The address that the caller's connection comes from.
const SOURCE: &str = "192.0.2.9:41000";

/// A connection of the dispatcher.
fn conn(number: u64) -> ReplyTo {
    ReplyTo::Stream(ConnId(number))
}

/// The envelope of a message that came to the dispatcher over this transport, on this connection.
fn over(transport: Transport, number: u64) -> impl Fn(&mut Envelope) + Copy {
    move |envelope| {
        (envelope.transport, envelope.reply_to) = (transport, conn(number));
        envelope.source = SOURCE.parse().unwrap();
        envelope.pinned = matches!(transport, Transport::Ws | Transport::Wss);
    }
}

/// A text whose Via names this transport.
fn via(text: &Text, transport: Transport) -> String {
    text.bytes().replace("SIP/2.0/UDP", &format!("SIP/2.0/{}", transport.via_name()))
}

impl Desk {
    /// The dispatcher hands over a message that came on its connection `number`.
    fn hand_over(&mut self, text: &Text, transport: Transport, number: u64) {
        self.seq += 1;
        let mut envelope = Envelope { received: self.now, ..Envelope::plain(self.seq) };
        over(transport, number)(&mut envelope);
        envelope.follows = text.to_tag.is_some();
        self.say(&via(text, transport), &Arrival::handed_over(&envelope));
    }

    /// A call over a connection of the dispatcher, on which its ACK comes as well. Returns its key, our tag and our
    /// 200.
    fn standing_over(&mut self, transport: Transport, number: u64) -> (CallKey, String, String) {
        self.hand_over(&invite(), transport, number);
        let key = self.incoming();
        assert!(self.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
        let answer = self.only();
        let tag = to_tag(&answer);
        self.hand_over(&text("ACK").branch("ack").to(&tag), transport, number);
        assert_eq!(self.events(), [(key, Event::Established)]);
        self.outputs.clear();
        (key, tag, answer)
    }

    /// Messages sent since the last look at all outputs.
    fn transmits(&self) -> Vec<Transmit> {
        let sent = self.outputs.iter().filter_map(|output| match output {
            Output::Transmit(transmit) => Some(transmit.clone()),
            _ => None,
        });
        sent.collect()
    }

    /// The dispatcher gives a message back, whose connection is gone.
    fn undelivered(&mut self, number: u64, text: &str) {
        self.act(|uas, now| uas.on_undelivered(Hop::Dispatcher(conn(number)), text.as_bytes(), now));
    }
}

/// A worker whose own port speaks TLS.
fn secure() -> Identity {
    Identity { speaks_tls: true, contact_name: Some("ms.example.net".into()), ..identity() }
}

fn desk(identity: Identity) -> Desk {
    Desk::with(identity, Limits::default(), SessionTimer { expires: None, min_se: 90 })
}

#[test]
fn contact_names_what_the_workers_own_port_speaks() {
    let contact = |identity: Identity, invite: &Text, transport| {
        let mut desk = desk(identity);
        desk.hand_over(invite, transport, 5);
        let key = desk.incoming();
        desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
        header(&desk.only(), "Contact").unwrap().to_owned()
    };
    let mut sips = invite();
    sips.uri = "sips:ivr@192.0.2.1".into();
    let pinned = format!("<sip:{TOKEN}@192.0.2.1:5060;transport=");
    let cases = [
        (identity(), invite(), Transport::Tcp, "<sip:192.0.2.1:5071;transport=tcp>".to_owned()),
        (secure(), invite(), Transport::Tcp, "<sip:192.0.2.1:5071;transport=tcp>".to_owned()),
        (secure(), invite(), Transport::Tls, "<sip:ms.example.net:5071;transport=tls>".to_owned()),
        // RFC 5630 §3.1.4: a SIPS URI has no `transport=tls`.
        (secure(), sips.clone(), Transport::Tls, "<sips:ms.example.net:5071>".to_owned()),
        // A worker that speaks no TLS leaves the call where it is safe.
        (identity(), invite(), Transport::Tls, format!("{pinned}tls>")),
        (secure(), invite(), Transport::Ws, format!("{pinned}ws>")),
        (secure(), invite(), Transport::Wss, format!("{pinned}ws>")),
        (identity(), sips, Transport::Wss, format!("{pinned}ws>").replace("<sip:", "<sips:")),
    ];
    for (identity, invite, transport, expected) in cases {
        assert_eq!(contact(identity, &invite, transport), expected, "{transport:?}");
    }
}

#[test]
fn a_bye_leaves_on_the_dispatchers_connection_that_the_dialog_stands_on_and_dials_no_advertised_port() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut desk = desk(secure());
        let (key, ..) = desk.standing_over(transport, 5);
        let (hop, _, bye) = desk.bye(key);
        assert_eq!(hop, Hop::Dispatcher(conn(5)));
        let via = header(&bye, "Via").unwrap();
        assert!(via.starts_with(&format!("SIP/2.0/{} ", transport.via_name())), "{via}");
    }
}

#[test]
fn own_requests_follow_the_connection_that_the_dialogs_last_request_came_on() {
    let mut desk = Desk::new();
    let (key, tag, _) = desk.standing_over(Transport::Ws, 5);
    // The browser has come back on a new connection.
    desk.hand_over(&text("INFO").to(&tag).cseq(2), Transport::Ws, 6);
    desk.outputs.clear();
    assert_eq!(desk.bye(key).0, Hop::Dispatcher(conn(6)));

    let mut desk = Desk::new();
    let (key, tag, _) = desk.standing_over(Transport::Tcp, 5);
    let arrival = Arrival::stream(9, Transport::Tcp, (SOURCE.parse().unwrap(), "192.0.2.1:5071".parse().unwrap()), 1);
    desk.say(&via(&text("INFO").to(&tag).cseq(2), Transport::Tcp), &arrival);
    desk.outputs.clear();
    assert_eq!(desk.bye(key).0, Hop::Stream(9));
}

#[test]
fn a_bye_whose_connection_is_gone_is_dialled_at_the_contact_and_never_at_the_source_port() {
    let mut desk = Desk::new();
    let (key, ..) = desk.standing_over(Transport::Tcp, 5);
    let (_, _, first) = desk.bye(key);
    desk.undelivered(5, &first);
    let (hop, to, second) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5070"));
    assert_eq!(header(&second, "CSeq"), header(&first, "CSeq"));
    assert_ne!(header(&second, "Via"), header(&first, "Via"), "another transaction (RFC 3263 §4.3)");
    desk.undelivered(5, &first);
    assert_eq!(desk.sent().len(), 0, "it is under way already");
    desk.reply(&second, 200, "", "");
    desk.assert_idle();
}

#[test]
fn a_bye_for_a_browser_that_is_gone_is_over_at_once() {
    for transport in [Transport::Ws, Transport::Wss] {
        let mut desk = Desk::new();
        let (key, ..) = desk.standing_over(transport, 5);
        let (_, _, bye) = desk.bye(key);
        desk.undelivered(5, &bye);
        assert_eq!(desk.sent().len(), 0);
        desk.wait(SECOND);
        assert!(desk.uas.is_quiet(), "{transport:?}: its BYE waits");
    }
}

#[test]
fn a_call_whose_caller_is_gone_waits_until_it_comes_back() {
    let mut desk = Desk::new();
    let (key, tag, _) = desk.standing_over(Transport::Ws, 5);
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.hand_over(&text("INFO").to(&tag).cseq(2), Transport::Ws, 1);
    desk.outputs.clear();
    assert_eq!(desk.bye(key).0, Hop::Dispatcher(conn(1)));
}

#[test]
fn no_message_leaves_on_a_new_dispatchers_connection_that_has_the_number_of_an_old_one() {
    let mut desk = Desk::new();
    let (key, ..) = desk.standing_over(Transport::Ws, 5);
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.act(|uas, now| uas.hang_up(key, now));
    assert_eq!(desk.sent().len(), 0);

    let mut desk = Desk::new();
    let (key, ..) = desk.standing_over(Transport::Tcp, 5);
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    assert_eq!(desk.bye(key).0, Hop::Dial);

    // An answer that has not been acknowledged is repeated on a connection to the caller.
    let mut desk = Desk::new();
    desk.hand_over(&invite(), Transport::Tcp, 5);
    let key = desk.incoming();
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let (hop, to, _) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5070"));
}

#[test]
fn an_answer_whose_connection_is_gone_goes_to_the_sent_by_port_on_a_new_one() {
    let mut desk = Desk::new();
    desk.hand_over(&invite(), Transport::Tcp, 5);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let answer = desk.only();
    desk.undelivered(5, &answer);
    let (hop, to, again) = desk.only_transmit();
    assert_eq!((hop, to.as_str(), &again), (Hop::Dial, "192.0.2.9:5070", &answer));
    // Its repetitions go there as well.
    desk.wait(ms(600));
    let (hop, to, _) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5070"));
}

#[test]
fn an_answer_without_a_port_in_its_via_goes_to_the_default_port() {
    let mut desk = Desk::new();
    let answer = "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/TCP phone.example.net;branch=z9hG4bK-1;received=192.0.2.9;\
                  rport=41000\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
                  Content-Length: 0\r\n\r\n";
    desk.undelivered(5, answer);
    let (hop, to, _) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5060"));
}

#[test]
fn an_answer_over_tls_or_websocket_never_leaves_in_the_clear() {
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut desk = Desk::new();
        desk.hand_over(&invite(), transport, 5);
        let key = desk.incoming();
        desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
        let answer = desk.only();
        desk.undelivered(5, &answer);
        desk.wait(ms(600));
        let way = if transport == Transport::Tls { Hop::DialSecure } else { Hop::Gone };
        let ways: Vec<_> = desk.transmits().iter().map(|transmit| transmit.hop).collect();
        assert!(ways.iter().all(|hop| *hop == way), "{transport:?}: {ways:?}");
    }
}

#[test]
fn a_cancel_over_tcp_with_another_sent_by_than_its_invite_ends_the_call() {
    let cancel = |branch: &str, transport, source: &str| {
        let mut desk = Desk::new();
        desk.hand_over(&invite(), Transport::Tcp, 5);
        desk.incoming();
        let mut cancel = text("CANCEL");
        cancel.branch = branch.to_owned();
        let text = via(&cancel, transport).replace("192.0.2.9:5070;branch", "192.0.2.9:41000;branch");
        let mut envelope = Envelope { received: desk.now, ..Envelope::plain(2) };
        over(transport, 5)(&mut envelope);
        envelope.follows = true;
        envelope.source = source.parse().unwrap();
        if transport == Transport::Udp {
            envelope.reply_to = ReplyTo::Datagram;
        }
        desk.say(&text, &Arrival::handed_over(&envelope));
        desk.statuses()
    };
    let branch = invite().branch;
    assert_eq!(cancel(&branch, Transport::Tcp, SOURCE), [200, 487]);
    assert_eq!(cancel(&branch, Transport::Tcp, "192.0.2.10:41000"), [481], "from another host");
    assert_eq!(cancel("z9hG4bK-other", Transport::Tcp, SOURCE), [481], "another branch is another attempt");
    assert_eq!(cancel(&branch, Transport::Udp, SOURCE), [481], "a datagram's source may be forged");
}

#[test]
fn nothing_of_a_call_over_tls_at_the_own_port_leaves_in_the_clear() {
    let mut desk = desk(secure());
    let ends = (SOURCE.parse().unwrap(), "192.0.2.1:5071".parse().unwrap());
    desk.say(&via(&invite(), Transport::Tls), &Arrival::stream(9, Transport::Tls, ends, 1));
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let (hop, _, answer) = desk.only_transmit();
    assert_eq!(hop, Hop::Stream(9));
    assert_eq!(header(&answer, "Contact"), Some("<sip:ms.example.net:5071;transport=tls>"));
    let ack = text("ACK").branch("ack").to(&to_tag(&answer));
    desk.say(&via(&ack, Transport::Tls), &Arrival::stream(9, Transport::Tls, ends, 1));
    let (hop, _, bye) = desk.bye(key);
    assert_eq!(hop, Hop::Stream(9));
    assert!(header(&bye, "Via").unwrap().starts_with("SIP/2.0/TLS "));
    // It breaks before the answer: the Contact is called, which says nothing of TLS.
    desk.act(|uas, now| uas.on_connections_closed(|conn| conn == 9, now));
    let called = desk.transmits().remove(0);
    assert_eq!(way(&called), (Hop::DialSecure, "192.0.2.9:5070".to_owned(), Some("192.0.2.9")));
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_dialled_failed(|_, name| name == Some("192.0.2.9"), now));
    assert_eq!(desk.sent().len(), 0);
    assert!(desk.uas.is_quiet(), "its BYE waits");
}

/// Way, destination and peer of a message.
fn way(transmit: &Transmit) -> (Hop, String, Option<&str>) {
    (transmit.hop, transmit.to.to_string(), transmit.peer.as_deref())
}

/// A call over TLS whose caller has this Contact; returns its key and our tag.
fn standing_at(desk: &mut Desk, contact: &str) -> (CallKey, String) {
    let mut invite = invite().header(&format!("Contact: <{contact}>"));
    invite.contact = false;
    desk.hand_over(&invite, Transport::Tls, 5);
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
    let tag = to_tag(&desk.only());
    desk.hand_over(&text("ACK").branch("ack").to(&tag), Transport::Tls, 5);
    desk.outputs.clear();
    (key, tag)
}

#[test]
fn a_caller_whose_tls_connection_is_gone_is_called_by_the_name_in_its_contact() {
    let found = Endpoint { protocol: Protocol::Tls, address: "192.0.2.44:5061".parse().unwrap() };
    let cases = [
        ("sip:caller@PBX.example.net.:5081;transport=tls", Some(5081)),
        ("sips:caller@pbx.example.net", None),
        // Nothing of a call that began over TLS leaves in the clear, whatever its Contact forgets or names.
        ("sip:caller@pbx.example.net", None),
        ("sip:caller@pbx.example.net;transport=tcp", None),
    ];
    for (contact, port) in cases {
        let mut desk = desk(secure());
        let (key, _) = standing_at(&mut desk, contact);
        let (_, _, bye) = desk.bye(key);
        desk.undelivered(5, &bye);
        let [Output::Resolve(asked, question)] = desk.outputs.as_slice() else { panic!("{:?}", desk.outputs) };
        assert_eq!((question.port, question.protocols), (port, [Protocol::Tls].as_slice()), "{contact}");
        let asked = *asked;
        desk.outputs.clear();
        desk.act(|uas, now| uas.on_resolved(asked, &[found], now));
        let called = desk.transmits().remove(0);
        assert_eq!(way(&called), (Hop::DialSecure, "192.0.2.44:5061".to_owned(), Some("pbx.example.net")));
        let text = String::from_utf8_lossy(&called.bytes).into_owned();
        assert!(header(&text, "Via").unwrap().starts_with("SIP/2.0/TLS "), "{text}");
    }
}

#[test]
fn a_maddr_names_no_peer_that_a_certificate_could_be_shown_for() {
    let mut desk = desk(secure());
    let (key, _) = standing_at(&mut desk, "sips:caller@pbx.example.net;maddr=192.0.2.66");
    let (_, _, bye) = desk.bye(key);
    desk.undelivered(5, &bye);
    let called = desk.transmits().remove(0);
    assert_eq!(way(&called), (Hop::DialSecure, "192.0.2.66:5061".to_owned(), Some("pbx.example.net")));
}

#[test]
fn a_caller_that_has_acknowledged_nothing_is_not_called_over_tls() {
    let mut desk = desk(secure());
    desk.hand_over(&invite(), Transport::Tls, 5);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.wait(SECOND * 40);
    let byes = desk.sent().into_iter().filter(|text| text.starts_with("BYE")).collect::<Vec<_>>();
    desk.undelivered(5, &byes[0]);
    assert_eq!((byes.len(), desk.sent().len()), (1, 0));
    assert!(desk.uas.is_quiet(), "its BYE waits");
}

#[test]
fn an_answer_whose_tls_connection_is_gone_goes_to_the_peer_that_its_via_names() {
    let mut desk = desk(secure());
    let invite = via(&invite(), Transport::Tls).replace("192.0.2.9:5070;branch", "Pbx.example.net;branch");
    let mut envelope = Envelope { received: desk.now, ..Envelope::plain(1) };
    over(Transport::Tls, 5)(&mut envelope);
    desk.say(&invite, &Arrival::handed_over(&envelope));
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let answer = desk.only();
    desk.undelivered(5, &answer);
    // Its repetitions go there as well.
    desk.wait(ms(600));
    let ways: Vec<_> = desk.transmits();
    assert_eq!(ways.len(), 2);
    for transmit in &ways {
        assert_eq!(way(transmit), (Hop::DialSecure, "192.0.2.9:5061".to_owned(), Some("pbx.example.net")));
    }
}

#[test]
fn a_contact_that_asks_for_tls_is_called_over_tls_by_a_worker_that_speaks_it() {
    for (identity, expected) in [(secure(), Hop::DialSecure), (identity(), Hop::Own(0))] {
        let mut desk = desk(identity);
        let mut invite = invite().header("Contact: <sips:caller@192.0.2.44>");
        invite.contact = false;
        let (key, _) = desk.standing(&invite.header("Via: SIP/2.0/UDP 192.0.2.44;branch=z9hG4bK-far"));
        let (hop, ..) = desk.bye(key);
        assert_eq!(hop, expected);
    }
}

/// A request outside calls that offers our connection `conn` for requests to `pbx.example.net`, or does not.
fn offer(desk: &mut Desk, conn: u64, alias: bool) {
    let ends = (SOURCE.parse().unwrap(), "192.0.2.1:5071".parse().unwrap());
    let options = text("OPTIONS").call("another").branch(&format!("offer-{conn}"));
    let options = via(&options, Transport::Tls).replace("192.0.2.9:5070;branch", "pbx.example.net;branch");
    desk.say(&options, &Arrival { alias, ..Arrival::stream(conn, Transport::Tls, ends, 1) });
    desk.outputs.clear();
}

/// The name that is being looked up.
fn asked(desk: &Desk) -> ResolveKey {
    let asked = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, _) => Some(*key),
        _ => None,
    });
    asked.expect("a question")
}

/// The way of the BYE to a caller whose Contact is `pbx.example.net`, once its own connection is gone and the name has
/// led to this address; and the BYE.
fn called_at(desk: &mut Desk, key: CallKey, place: &str) -> (Hop, String) {
    let (_, _, bye) = desk.bye(key);
    desk.undelivered(5, &bye);
    let asked = asked(desk);
    desk.outputs.clear();
    let found = Endpoint { protocol: Protocol::Tls, address: place.parse().unwrap() };
    desk.act(|uas, now| uas.on_resolved(asked, &[found], now));
    let (hop, _, bye) = desk.only_transmit();
    (hop, bye)
}

#[test]
fn a_request_to_a_peer_that_offers_its_connection_goes_there_and_to_no_other_that_has_not_shown_its_name() {
    let cases = [
        (true, "192.0.2.9:5061", Hop::Stream(9)),
        // Without a certificate for its name the offer is none.
        (false, "192.0.2.9:5061", Hop::DialSecure),
        (true, "192.0.2.9:5062", Hop::DialSecure),
        (true, "192.0.2.44:5061", Hop::DialSecure),
    ];
    for (alias, place, expected) in cases {
        let mut desk = desk(secure());
        let (key, _) = standing_at(&mut desk, "sips:caller@pbx.example.net");
        offer(&mut desk, 9, alias);
        let (hop, bye) = called_at(&mut desk, key, place);
        assert_eq!(hop, expected, "{alias} {place}");
        assert!(header(&bye, "Via").unwrap().starts_with("SIP/2.0/TLS "), "{bye}");
    }
    let mut desk = desk(secure());
    let (key, _) = standing_at(&mut desk, "sips:caller@other.example.net");
    offer(&mut desk, 9, true);
    assert_eq!(called_at(&mut desk, key, "192.0.2.9:5061").0, Hop::DialSecure, "another name at the same address");
}

#[test]
fn a_connection_that_was_offered_and_is_gone_is_dialled_anew() {
    let mut desk = desk(secure());
    let (key, _) = standing_at(&mut desk, "sips:caller@pbx.example.net");
    offer(&mut desk, 9, true);
    offer(&mut desk, 10, true);
    // The newest counts. The request on it is given back when it is gone, and so it is for the next ones.
    let (hop, bye) = called_at(&mut desk, key, "192.0.2.9:5061");
    assert_eq!(hop, Hop::Stream(10));
    desk.act(|uas, now| uas.on_undelivered(Hop::Stream(10), bye.as_bytes(), now));
    let (asked, address) = (asked(&desk), "192.0.2.9:5061".parse().unwrap());
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_resolved(asked, &[Endpoint { protocol: Protocol::Tls, address }], now));
    assert_eq!(desk.only_transmit().0, Hop::DialSecure);
}

#[test]
fn a_dispatchers_connection_that_was_offered_ends_with_the_dispatcher() {
    for is_lost in [false, true] {
        let mut desk = desk(secure());
        let (key, _) = standing_at(&mut desk, "sips:caller@pbx.example.net");
        let options = via(&text("OPTIONS").call("another").branch("offer"), Transport::Tls);
        let mut envelope = Envelope { received: desk.now, alias: true, ..Envelope::plain(90) };
        over(Transport::Tls, 7)(&mut envelope);
        desk.say(&options.replace("192.0.2.9:5070;branch", "pbx.example.net;branch"), &Arrival::handed_over(&envelope));
        desk.outputs.clear();
        if is_lost {
            desk.act(|uas, now| uas.on_dispatcher_lost(now));
            desk.act(|uas, now| uas.hang_up(key, now));
            let asked = asked(&desk);
            let address = "192.0.2.9:5061".parse().unwrap();
            desk.outputs.clear();
            desk.act(|uas, now| uas.on_resolved(asked, &[Endpoint { protocol: Protocol::Tls, address }], now));
            assert_eq!(desk.only_transmit().0, Hop::DialSecure);
        } else {
            assert_eq!(called_at(&mut desk, key, "192.0.2.9:5061").0, Hop::Dispatcher(conn(7)));
        }
    }
}
