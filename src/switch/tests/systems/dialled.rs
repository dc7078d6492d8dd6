//! Connections that are opened for requests of systems, which go over TCP to where they name.

use super::outbound::{Ends, PHONE, answer, inside, of_call, to_caller, to_uri};
use super::*;
use crate::dispatch::decision::Reason;

/// The URI of a phone that is reached over TCP.
const BY_CONNECTION: &str = "sip:phone@203.0.113.9:5062;transport=tcp";
/// Connections that are opened to it, one after the other.
const FIRST: ConnId = ConnId(60);
const SECOND: ConnId = ConnId(61);

/// An event by which a connection is not opened, and what leaves then.
type Fails<'a> = &'a dyn Fn(&mut Rig, ConnId) -> Vec<Sent>;

impl Rig {
    /// The lane opens a connection that is asked for: it begins to.
    pub(super) fn dials(&mut self, conn: ConnId) -> SocketAddr {
        let to = self.switch.poll_callee().expect("a connection that is asked for");
        self.switch.on_callee_dialled(&to, Some(conn), self.now);
        assert!(self.left().is_empty(), "it is not open yet");
        to.address
    }

    pub(super) fn opens(&mut self, conn: ConnId) -> Vec<Sent> {
        self.switch.on_connection_open(conn, self.now);
        self.left()
    }

    /// A connection that we have opened ends.
    pub(super) fn hangs_up(&mut self, conn: ConnId) -> Vec<Sent> {
        self.gone.push(conn);
        self.switch.flush_replies(Ends(Some(conn)));
        self.switch.on_connection_closed(conn, Ended::Broken, self.now);
        let so_far = self.now.since(NOW).as_millis() as u64;
        let mut all = self.left();
        all.extend(self.passes(so_far));
        all
    }

    /// The phone answers by a connection.
    pub(super) fn phone(&mut self, request: &Sent, status: &str, conn: ConnId) -> Vec<Sent> {
        self.stream(&answer(request, status), conn, PHONE)
    }

    /// A call of the system to the phone, by a connection that is opened for it.
    fn calls_phone(&mut self) -> Sent {
        assert!(self.system(&to_uri("INVITE", BY_CONNECTION, &[])).is_empty());
        self.reaches_phone()
    }

    /// The first connection is opened, to the phone, and the call goes by it.
    fn reaches_phone(&mut self) -> Sent {
        assert_eq!(self.dials(FIRST), PHONE.parse().unwrap());
        let sent = one(self.opens(FIRST));
        assert_eq!(sent.shown(), "INVITE to #60");
        sent
    }
}

#[test]
fn a_systems_call_over_tcp_waits_for_a_connection_and_the_next_one_goes_by_it_at_once() {
    let mut rig = Rig::connected(1);
    let invite = to_uri("INVITE", BY_CONNECTION, &[]);
    assert!(rig.system(&invite).is_empty() && rig.system(&invite).is_empty(), "a copy");
    assert_eq!(shown(&rig.passes(250)), ["100 to #50"]);
    assert_eq!((rig.dials(FIRST), rig.switch.poll_callee()), (PHONE.parse().unwrap(), None));
    let sent = one(rig.opens(FIRST));
    assert_eq!(sent.shown(), "INVITE to #60");
    assert!(sent.field("Via").starts_with("SIP/2.0/TCP 192.0.2.2:5070;branch=z9hG4bK"), "{}", sent.text);
    assert!(sent.routes().iter().all(|route| route.contains("@192.0.2.2:5070;transport=tcp;")), "{}", sent.text);
    assert_eq!(one(rig.phone(&sent, "200 OK", FIRST)).shown(), "200 to #50");
    let other = one(rig.system(&of_call(&invite, "two")));
    assert_eq!(other.shown(), "INVITE to #60");
    assert_eq!(shown(&rig.phone(&other, "486 Busy Here", FIRST)), ["ACK to #60", "486 to #50"]);
    assert_eq!((rig.counted(Reason::OutboundUri), rig.counted(Reason::OutboundConnected)), (3, 1));
    assert!(rig.passes(60_000).iter().all(|sent| sent.shown() != "INVITE to #60"), "nothing is repeated");
}

#[test]
fn a_dialog_over_tcp_goes_by_its_connection_and_from_the_phone_by_any() {
    let mut rig = Rig::connected(1);
    let sent = rig.calls_phone();
    one(rig.phone(&sent, "200 OK", FIRST));
    let as_called = sent.routes();
    let as_system: Vec<String> = as_called.iter().rev().cloned().collect();
    for method in ["ACK", "INFO"] {
        let text = inside(method, BY_CONNECTION, "TCP 192.0.2.11:5080", &as_system, ("s1", "p1"));
        let sent = one(rig.system(&text));
        assert_eq!(sent.shown(), format!("{method} to #60"));
        assert!(!sent.text.contains("\r\nRoute:"), "{}", sent.text);
        if method == "INFO" {
            assert_eq!(one(rig.phone(&sent, "200 OK", FIRST)).shown(), "200 to #50");
        }
    }
    for (number, conn) in [FIRST, ConnId(9)].into_iter().enumerate() {
        let text = inside("INFO", "sip:ivr@192.0.2.11:5080;transport=tcp", "TCP 10.1.1.1", &as_called, ("p1", "s1"));
        let text = text.replace("branch=z9hG4bK-", &format!("branch=z9hG4bK-{number}-"));
        let came = one(rig.stream(&text, conn, PHONE));
        assert_eq!(came.shown(), "INFO to #1");
        assert_eq!(one(rig.responds(&came, "200 OK")).shown(), format!("200 to #{}", conn.0));
    }
    // Its Contact is another place than that which it was called at.
    let contact = "sip:phone@203.0.113.9:6000;transport=tcp";
    assert!(rig.system(&inside("BYE", contact, "TCP 192.0.2.11:5080", &as_system, ("s1", "p1"))).is_empty());
    assert_eq!(rig.dials(SECOND), "203.0.113.9:6000".parse().unwrap());
    assert_eq!(one(rig.opens(SECOND)).shown(), "BYE to #61");
}

#[test]
fn where_no_connection_can_be_opened_the_next_address_of_the_name_is_tried_and_then_480_says_so() {
    let named = "sip:phone@example.org;transport=tcp";
    let refused = |rig: &mut Rig, conn| {
        rig.switch.on_connection_closed(conn, Ended::Refused, rig.now);
        rig.left()
    };
    let silent = |rig: &mut Rig, _| {
        let so_far = rig.now.since(NOW).as_millis() as u64;
        let left = rig.passes(so_far + 4_001);
        left.into_iter().filter(|sent| sent.shown() != "100 to #50").collect()
    };
    let fails: [(Fails<'_>, bool); 2] = [(&refused, false), (&silent, true)];
    for (fails, is_silent) in fails {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", named, &[])).is_empty());
        assert!(rig.finds(&[PHONE, "203.0.113.8:5062"]).is_empty());
        assert_eq!(rig.dials(FIRST), PHONE.parse().unwrap());
        assert!(fails(&mut rig, FIRST).is_empty());
        assert_eq!(rig.switch.poll_hang_up(rig.now), Some(FIRST).filter(|_| is_silent));
        assert_eq!(rig.dials(SECOND), "203.0.113.8:5062".parse().unwrap());
        assert_eq!(shown(&fails(&mut rig, SECOND)), ["480 to #50"]);
        assert_eq!(rig.counted(Reason::OutboundUnreachable), 1);
    }
    let mut rig = Rig::connected(1);
    assert!(rig.system(&to_uri("INVITE", BY_CONNECTION, &[])).is_empty());
    let to = rig.switch.poll_callee().unwrap();
    rig.switch.on_callee_dialled(&to, None, rig.now);
    assert_eq!(shown(&rig.left()), ["480 to #50"], "not even begun");
}

/// The branch of our Via.
fn branch(sent: &Sent) -> &str {
    sent.field("Via").split("branch=").nth(1).unwrap().split(';').next().unwrap()
}

impl Rig {
    /// The system calls a name, which leads to the phone and to another place; the call goes by the first connection.
    fn calls_name(&mut self) -> Sent {
        assert!(self.system(&to_uri("INVITE", "sip:phone@example.org;transport=tcp", &[])).is_empty());
        assert!(self.finds(&[PHONE, "203.0.113.8:5062"]).is_empty());
        self.reaches_phone()
    }
}

#[test]
fn a_call_whose_silent_first_address_closes_while_the_next_is_connected_goes_there() {
    let mut rig = Rig::connected(1);
    rig.calls_name();
    assert_eq!(shown(&rig.passes(5_100)), ["100 to #50"]);
    assert_eq!(rig.dials(SECOND), "203.0.113.8:5062".parse().unwrap());
    rig.switch.on_connection_closed(FIRST, Ended::Broken, rig.now);
    assert_eq!(rig.left(), []);
    let second = one(rig.opens(SECOND));
    assert_eq!(second.shown(), "INVITE to #61");
    assert_eq!(shown(&rig.phone(&second, "200 OK", SECOND)), ["200 to #50"]);
}

#[test]
fn a_call_over_tcp_goes_to_the_next_address_of_the_name_where_the_first_is_silent_or_answers_503() {
    for is_silent in [false, true] {
        let mut rig = Rig::connected(1);
        let first = rig.calls_name();
        if is_silent {
            assert_eq!(shown(&rig.passes(5_100)), ["100 to #50"]);
        } else {
            assert_eq!(shown(&rig.phone(&first, "503 Service Unavailable", FIRST)), ["ACK to #60"]);
        }
        assert_eq!(rig.dials(SECOND), "203.0.113.8:5062".parse().unwrap());
        let second = one(rig.opens(SECOND));
        assert_eq!(second.shown(), "INVITE to #61");
        assert_ne!(branch(&first), branch(&second));
        assert_eq!(shown(&rig.phone(&second, "180 Ringing", SECOND)), ["180 to #50"]);
        if is_silent {
            // It has only been slow.
            let cancel = one(rig.phone(&first, "180 Ringing", FIRST));
            assert_eq!((cancel.shown().as_str(), branch(&cancel)), ("CANCEL to #60", branch(&first)));
            assert_eq!(shown(&rig.phone(&first, "487 Request Terminated", FIRST)), ["ACK to #60"]);
        }
        assert_eq!(shown(&rig.phone(&second, "200 OK", SECOND)), ["200 to #50"]);
        let moved = if is_silent { Reason::MovedSilent } else { Reason::MovedStatus };
        assert_eq!(rig.counted(moved), 1);
        assert_eq!(rig.switch.poll_callee(), None);
    }
}

#[test]
fn a_call_to_a_slow_server_with_two_addresses_goes_on_by_the_first_when_the_second_answers_482() {
    for rings_first in [false, true] {
        let mut rig = Rig::connected(1);
        let first = rig.calls_name();
        rig.passes(5_100);
        rig.dials(SECOND);
        let second = one(rig.opens(SECOND));
        if rings_first {
            assert_eq!(shown(&rig.phone(&first, "180 Ringing", FIRST)), ["180 to #50"]);
        }
        assert_eq!(shown(&rig.phone(&second, "482 Loop Detected", SECOND)), ["ACK to #61"]);
        assert_eq!(rig.explained("out").last().unwrap(), "Dropped 0 late-response");
        if !rings_first {
            assert_eq!(shown(&rig.phone(&first, "180 Ringing", FIRST)), ["180 to #50"]);
        }
        assert_eq!(rig.hangs_up(SECOND), []);
        assert_eq!(shown(&rig.hangs_up(FIRST)), ["482 to #50"], "nothing more comes of it");
    }
}

#[test]
fn a_call_that_rings_while_a_connection_to_the_next_address_is_opened_stays_where_it_rings() {
    for is_open in [false, true] {
        let mut rig = Rig::connected(1);
        let first = rig.calls_name();
        rig.passes(5_100);
        rig.dials(SECOND);
        assert_eq!(shown(&rig.phone(&first, "180 Ringing", FIRST)), ["180 to #50"]);
        if is_open {
            assert!(rig.opens(SECOND).is_empty());
        } else {
            rig.switch.on_connection_closed(SECOND, Ended::Refused, rig.now);
            assert!(rig.left().is_empty());
        }
        assert_eq!(shown(&rig.phone(&first, "200 OK", FIRST)), ["200 to #50"]);
    }
}

#[test]
fn a_call_that_was_refused_with_503_ends_with_that_where_the_next_address_cannot_be_reached() {
    let mut rig = Rig::connected(1);
    let first = rig.calls_name();
    rig.phone(&first, "503 Service Unavailable", FIRST);
    rig.dials(SECOND);
    rig.switch.on_connection_closed(SECOND, Ended::Refused, rig.now);
    assert_eq!(shown(&rig.left()), ["500 to #50"]);
}

#[test]
fn a_call_that_is_cancelled_while_its_next_address_is_connected_after_a_503_ends_with_487() {
    let mut rig = Rig::connected(1);
    let first = rig.calls_name();
    rig.phone(&first, "503 Service Unavailable", FIRST);
    let text = to_uri("CANCEL", "sip:phone@example.org;transport=tcp", &[]).replace("-CANCEL", "-INVITE");
    assert_eq!(shown(&rig.system(&text)), ["200 to #50", "487 to #50"]);
    assert!(rig.explained("out").contains(&"Replied 487 cancelled".to_owned()));
    rig.dials(SECOND);
    assert!(rig.opens(SECOND).is_empty());
}

#[test]
fn a_call_whose_connection_ends_twice_goes_to_the_next_address_of_the_name() {
    for is_refused in [false, true] {
        let mut rig = Rig::connected(1);
        let first = rig.calls_name();
        assert!(rig.hangs_up(FIRST).is_empty());
        assert_eq!(rig.dials(SECOND), PHONE.parse().unwrap(), "once more there");
        if is_refused {
            rig.switch.on_connection_closed(SECOND, Ended::Refused, rig.now);
            assert!(rig.left().is_empty());
        } else {
            let again = one(rig.opens(SECOND));
            assert_eq!((again.shown().as_str(), branch(&again)), ("INVITE to #61", branch(&first)));
            assert!(rig.hangs_up(SECOND).is_empty());
        }
        assert_eq!(rig.dials(ConnId(62)), "203.0.113.8:5062".parse().unwrap());
        let next = one(rig.opens(ConnId(62)));
        assert_eq!(next.shown(), "INVITE to #62");
        assert_ne!(branch(&first), branch(&next));
    }
}

#[test]
fn an_address_of_a_name_that_is_another_systems_is_used_in_its_turn() {
    for other in ["192.0.2.12:5080", "203.0.113.8:5062"] {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", "sip:phone@example.org;transport=tcp", &[])).is_empty());
        assert!(rig.finds(&[PHONE, "192.0.2.12:5080", other]).is_empty());
        rig.dials(FIRST);
        rig.switch.on_connection_closed(FIRST, Ended::Refused, rig.now);
        let sent = one(rig.left());
        assert_eq!(sent.shown(), "INVITE to #102", "by the connection that is open");
        assert_eq!(one(rig.responds(&sent, "200 OK")).shown(), "200 to #50");
    }
    // Its connection ends: the next one has its turn.
    let mut rig = Rig::connected(1);
    assert!(rig.system(&to_uri("INVITE", "sip:phone@example.org;transport=tcp", &[])).is_empty());
    assert_eq!(one(rig.finds(&["192.0.2.12:5080", PHONE])).shown(), "INVITE to #102");
    assert!(rig.hangs_up(ConnId(102)).is_empty());
    rig.dials(FIRST);
    assert_eq!(one(rig.opens(FIRST)).shown(), "INVITE to #60");
}

#[test]
fn a_call_whose_connection_ends_before_any_response_is_placed_once_more_and_then_ends() {
    let mut rig = Rig::connected(1);
    rig.calls_phone();
    assert!(rig.hangs_up(FIRST).is_empty());
    assert_eq!(rig.dials(SECOND), PHONE.parse().unwrap());
    assert_eq!(one(rig.opens(SECOND)).shown(), "INVITE to #61");
    assert_eq!(shown(&rig.hangs_up(SECOND)), ["503 to #50"]);
    assert_eq!(rig.switch.poll_callee(), None);
    // One that has rung is not placed again.
    let mut rig = Rig::connected(1);
    let sent = rig.calls_phone();
    assert_eq!(one(rig.phone(&sent, "180 Ringing", FIRST)).shown(), "180 to #50");
    let failed = one(rig.hangs_up(FIRST));
    assert_eq!(failed.shown(), "503 to #50");
    assert!(!failed.text.contains("Retry-After"), "other places are well: {}", failed.text);
    assert_eq!(rig.switch.poll_callee(), None);
}

#[test]
fn a_bye_for_a_phone_that_has_closed_its_connection_goes_by_a_new_one() {
    let mut rig = Rig::connected(1);
    let sent = rig.calls_phone();
    one(rig.phone(&sent, "200 OK", FIRST));
    assert!(rig.hangs_up(FIRST).is_empty());
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let bye = inside("BYE", BY_CONNECTION, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    assert!(rig.system(&bye).is_empty());
    assert_eq!(rig.dials(SECOND), PHONE.parse().unwrap());
    let sent = one(rig.opens(SECOND));
    assert_eq!(sent.shown(), "BYE to #61");
    assert_eq!(one(rig.phone(&sent, "200 OK", SECOND)).shown(), "200 to #50");
}

#[test]
fn a_call_that_is_cancelled_while_its_connection_is_opened_does_not_leave() {
    for is_refused in [false, true] {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", BY_CONNECTION, &[])).is_empty());
        rig.dials(FIRST);
        let cancel = to_uri("CANCEL", BY_CONNECTION, &[]).replace("-CANCEL", "-INVITE");
        assert_eq!(shown(&rig.system(&cancel)), ["200 to #50", "487 to #50"]);
        if is_refused {
            rig.switch.on_connection_closed(FIRST, Ended::Refused, rig.now);
        }
        assert!(rig.opens(FIRST).is_empty());
        assert!(rig.passes(40_000).is_empty());
    }
}

#[test]
fn a_request_for_a_caller_whose_connection_is_gone_goes_by_a_new_one_to_his_contact_over_tcp() {
    for is_refused in [false, true] {
        let mut rig = Rig::connected(1);
        let routes = rig.called();
        let bye = to_caller("BYE", "sip:b@198.51.100.7:5099;transport=tcp", &routes);
        assert_eq!(one(rig.stream(&bye, ConnId(1), "192.0.2.11:5080")).shown(), "BYE to #7");
        assert!(rig.closes(CALLERS).is_empty());
        assert_eq!(rig.dials(FIRST), "198.51.100.7:5099".parse().unwrap());
        if is_refused {
            rig.switch.on_connection_closed(FIRST, Ended::Refused, rig.now);
            assert_eq!(shown(&rig.left()), ["430 to #1"]);
            continue;
        }
        let sent = one(rig.opens(FIRST));
        assert_eq!(sent.shown(), "BYE to #60");
        assert_eq!(one(rig.phone(&sent, "200 OK", FIRST)).shown(), "200 to #1");
        assert_eq!((rig.counted(Reason::OutboundContact), rig.counted(Reason::FlowFailed)), (1, 0));
    }
}

#[test]
fn no_connection_is_opened_over_tls_or_for_a_stranger() {
    let mut rig = Rig::connected(1);
    for uri in ["sip:phone@203.0.113.9;transport=tls", "sips:phone@203.0.113.9"] {
        let text = of_call(&to_uri("INVITE", uri, &[]), &uri.len().to_string());
        assert!(matches!(&*shown(&rig.system(&text)), [one] if one == "480 to #50" || one == "416 to #50"), "{uri}");
    }
    // Nobody but a system is led anywhere.
    let sent = rig.stream(&to_uri("INVITE", BY_CONNECTION, &[]), CALLERS, CALLER);
    assert!(shown(&sent).iter().all(|it| it.ends_with("#1") || it.ends_with("#101")), "{sent:?}");
    assert_eq!(rig.switch.poll_callee(), None);
}

#[test]
fn an_ack_for_a_contact_without_a_connection_waits_for_one() {
    let mut rig = Rig::connected(1);
    let sent = rig.calls_phone();
    one(rig.phone(&sent, "200 OK", FIRST));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let contact = "sip:phone@203.0.113.9:6000;transport=tcp";
    let ack = inside("ACK", contact, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    assert!(rig.system(&ack).is_empty());
    assert_eq!(rig.dials(SECOND), "203.0.113.9:6000".parse().unwrap());
    assert_eq!(one(rig.opens(SECOND)).shown(), "ACK to #61");
    assert!(rig.passes(40_000).is_empty(), "it is no transaction");
    assert_eq!(one(rig.system(&ack)).shown(), "ACK to #61", "another copy of the 200 has come");
}

#[test]
fn an_ack_to_a_name_is_looked_up_and_goes_to_the_first_address_that_can_be_reached() {
    let ack = |uri: &str| {
        let text = to_uri("ACK", uri, &[]);
        text.replace("example.net>\r\nCall", "example.net>;tag=p1\r\nCall").replace("Content-Le", "X: y\r\nContent-Le")
    };
    let mut rig = Rig::connected(1);
    assert!(rig.system(&ack("sip:phone@example.org")).is_empty());
    let sent = one(rig.finds(&["192.0.2.2:5060", PHONE, "203.0.113.8:5062"]));
    assert_eq!(sent.shown(), format!("ACK to {PHONE}"));
    assert!(sent.text.contains("\r\nX: y\r\n") && sent.field("Via").starts_with("SIP/2.0/UDP 192.0.2.2:5060;"));
    assert_eq!((rig.counted(Reason::OutboundUri), rig.counted(Reason::OutboundLookedUp)), (1, 1));
    // By a connection, and also where another dispatcher takes over.
    assert!(rig.system(&ack("sip:phone@example.org;transport=tcp")).is_empty());
    rig.switch.settle(rig.now);
    rig.take_over(&[1]);
    rig.switch.handle_timeout(rig.now);
    assert!(rig.finds(&["203.0.113.8:5062", PHONE]).is_empty());
    rig.dials(FIRST);
    rig.switch.on_connection_closed(FIRST, Ended::Refused, rig.now);
    assert!(rig.left().is_empty());
    assert_eq!(rig.dials(SECOND), PHONE.parse().unwrap());
    assert_eq!(one(rig.opens(SECOND)).shown(), "ACK to #61");
    // One that leads nowhere is lost.
    assert!(rig.system(&ack("sip:phone@example.com")).is_empty());
    assert!(rig.finds(&[]).is_empty());
    assert!(rig.passes(40_000).is_empty());
}

#[test]
fn a_bye_for_a_phone_on_a_private_network_goes_by_a_new_connection_where_the_first_has_ended() {
    let uri = "sip:phone@10.0.0.9:5062;transport=tcp";
    for contact in [uri, "sip:phone@phone.invalid;transport=tcp"] {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", uri, &[])).is_empty());
        rig.dials(FIRST);
        let sent = one(rig.opens(FIRST));
        one(rig.stream(&answer(&sent, "200 OK"), FIRST, "10.0.0.9:5062"));
        assert!(rig.hangs_up(FIRST).is_empty());
        let routes: Vec<String> = sent.routes().into_iter().rev().collect();
        assert!(rig.system(&inside("BYE", contact, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"))).is_empty());
        assert_eq!(rig.dials(SECOND), "10.0.0.9:5062".parse().unwrap());
        assert_eq!(one(rig.opens(SECOND)).shown(), "BYE to #61");
    }
}

#[test]
fn a_call_that_rings_while_its_connection_is_opened_anew_goes_on() {
    for is_refused in [false, true] {
        let mut rig = Rig::connected(1);
        let sent = rig.calls_phone();
        assert!(rig.hangs_up(FIRST).is_empty());
        rig.dials(SECOND);
        assert_eq!(one(rig.phone(&sent, "180 Ringing", ConnId(70))).shown(), "180 to #50");
        if is_refused {
            rig.switch.on_connection_closed(SECOND, Ended::Refused, rig.now);
            assert!(rig.left().is_empty());
        } else {
            assert!(rig.opens(SECOND).is_empty());
        }
        assert_eq!(one(rig.phone(&sent, "200 OK", ConnId(70))).shown(), "200 to #50");
    }
}

#[test]
fn the_request_that_waits_longest_for_a_connection_does_not_end_the_attempt_of_later_ones() {
    let mut rig = Rig::connected(1);
    assert!(rig.system(&to_uri("INVITE", BY_CONNECTION, &[])).is_empty());
    rig.dials(FIRST);
    assert_eq!(shown(&rig.passes(3_900)), ["100 to #50"]);
    assert!(rig.system(&of_call(&to_uri("MESSAGE", BY_CONNECTION, &[]), "later")).is_empty());
    assert_eq!(shown(&rig.passes(4_100)), ["480 to #50"]);
    assert_eq!(rig.switch.poll_hang_up(rig.now), None);
    assert_eq!(one(rig.opens(FIRST)).shown(), "MESSAGE to #60");
}

#[test]
fn a_request_whose_way_is_still_sought_at_a_takeover_goes_there_afterwards_also_where_that_fails() {
    for is_taken_over in [false, true] {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", BY_CONNECTION, &[])).is_empty());
        assert!(rig.system(&of_call(&to_uri("MESSAGE", "sip:x@example.org", &[]), "named")).is_empty());
        rig.switch.poll_look_up().unwrap();
        rig.dials(FIRST);
        rig.switch.settle(rig.now);
        assert!(rig.left().is_empty());
        if is_taken_over {
            rig.take_over(&[1]);
        } else {
            rig.switch.on_connection_closed(FIRST, Ended::Refused, rig.now);
            rig.switch.decide_sought(rig.now);
        }
        assert!(rig.passes(0).is_empty());
        assert_eq!(shown(&rig.passes(250)), ["100 to #50"]);
        assert_eq!(rig.dials(SECOND), PHONE.parse().unwrap());
        let sent = one(rig.opens(SECOND));
        assert_eq!(sent.shown(), "INVITE to #61");
        assert_eq!(one(rig.phone(&sent, "200 OK", SECOND)).shown(), "200 to #50");
        assert_eq!(one(rig.finds(&["203.0.113.8:5060"])).shown(), "MESSAGE to 203.0.113.8:5060");
        let counters = rig.switch.dispatch().counters();
        assert_eq!((counters.received, counters.returned), (3, 2 + 2), "each is decided about once more");
    }
}

#[test]
fn a_cancel_that_another_lane_has_read_finds_its_call_whose_way_is_sought() {
    let in_lane = |call: &usize| {
        let text = of_call(&to_uri("INVITE", BY_CONNECTION, &[]), &call.to_string());
        Owners::new(0, 2, 0).lane_of(&Scanner::new().scan(text.as_bytes()).unwrap()) == 0
    };
    let call = (1..).find(in_lane).unwrap().to_string();
    let invite = of_call(&to_uri("INVITE", BY_CONNECTION, &[]), &call);
    let cancel = of_call(&to_uri("CANCEL", BY_CONNECTION, &[]).replace("-CANCEL", "-INVITE"), &call);
    for (is_early, is_taken_over) in [(false, false), (true, false), (true, true)] {
        let mut rig = Rig::new(1);
        let keys = Keyring::new(TokenKey::new([1; 32]));
        let rules = rig.switch.dispatch().rules().clone();
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 });
        rig.switch = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 2, 0));
        rig.open();
        let (first, second) = if is_early { (&cancel, &invite) } else { (&invite, &cancel) };
        let ends = ("192.0.2.11:40000".parse().unwrap(), TCP.parse().unwrap());
        let way = Way::of_stream(ConnId(50), ListenerId(1), Transport::Tcp, ends, rig.now);
        rig.switch.on_message(first.as_bytes(), &way, rig.now);
        rig.switch.on_message(second.as_bytes(), &way, rig.now);
        let left = match (is_early, is_taken_over) {
            (true, false) => rig.passes(11),
            (true, true) => {
                rig.switch.settle(rig.now);
                rig.left()
            }
            (false, _) => rig.left(),
        };
        assert_eq!(shown(&left), ["200 to #50", "487 to #50"], "early: {is_early}, a takeover: {is_taken_over}");
    }
}
