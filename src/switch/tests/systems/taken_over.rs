//! Requests under way at a takeover: those that systems send by themselves, and those inside dialogs.

use super::outbound::{PHONE, answer, inside, of_call, to_uri};
use super::*;
use crate::words::{AccessAction, AccessRule};

/// Connections that are opened to the two addresses of a name.
const FIRST: ConnId = ConnId(60);
const SECOND: ConnId = ConnId(61);
const ELSEWHERE: &str = "203.0.113.8:5062";

/// A call of a system to a name whose first address answers 503: the INVITE at the second one.
fn at_second_address(rig: &mut Rig, is_stream: bool) -> Sent {
    let uri = uri(is_stream);
    assert_eq!(rig.system(&to_uri("INVITE", uri, &[])), []);
    let sent = rig.finds(&[PHONE, ELSEWHERE]);
    if !is_stream {
        let refused = rig.datagram(&answer(&one(sent), "503 Service Unavailable"), PHONE);
        return refused.into_iter().find(|sent| sent.shown().starts_with("INVITE")).unwrap();
    }
    rig.dials(FIRST);
    let first = one(rig.opens(FIRST));
    rig.phone(&first, "503 Service Unavailable", FIRST);
    rig.dials(SECOND);
    one(rig.opens(SECOND))
}

/// A call that rings at the second address of a name, by a connection.
fn ringing_at_second_address() -> (Rig, Sent) {
    let mut rig = Rig::connected(1);
    let invite = at_second_address(&mut rig, true);
    assert_eq!(shown(&rig.second(&invite, "180 Ringing", true)), ["180 to #50"]);
    (rig, invite)
}

fn uri(is_stream: bool) -> &'static str {
    if is_stream { "sip:phone@example.org;transport=tcp" } else { "sip:phone@example.org" }
}

/// Messages by what they are: which of several leaves first does not matter.
fn sorted(mut sent: Vec<Sent>) -> Vec<Sent> {
    sent.sort_by_key(Sent::shown);
    sent
}

impl Rig {
    /// Another dispatcher takes over, with the connection to a and that to the second address.
    fn is_taken_over(&mut self) {
        self.switch.settle(self.now);
        assert_eq!(self.left(), []);
        self.take_over(&[1]);
    }

    /// The phone at the second address responds.
    fn second(&mut self, request: &Sent, status: &str, is_stream: bool) -> Vec<Sent> {
        match is_stream {
            true => self.stream(&answer(request, status), SECOND, ELSEWHERE),
            false => self.datagram(&answer(request, status), ELSEWHERE),
        }
    }
}

#[test]
fn a_call_that_rings_at_the_second_address_of_a_name_is_cancelled_there_after_a_takeover() {
    for is_stream in [false, true] {
        let mut rig = Rig::connected(1);
        let invite = at_second_address(&mut rig, is_stream);
        assert_eq!(shown(&rig.second(&invite, "180 Ringing", is_stream)), ["180 to #50"]);
        rig.is_taken_over();
        let to = if is_stream { "#61" } else { ELSEWHERE };
        let cancel = to_uri("CANCEL", uri(is_stream), &[]).replace("-CANCEL", "-INVITE");
        let cancelled = sorted(rig.system(&cancel));
        assert_eq!(shown(&cancelled), ["200 to #50".to_owned(), format!("CANCEL to {to}")]);
        assert_eq!(cancelled[1].field("Via"), invite.field("Via"), "with the branch of that attempt");
        let ended = sorted(rig.second(&invite, "487 Request Terminated", is_stream));
        assert_eq!(shown(&ended), ["487 to #50".to_owned(), format!("ACK to {to}")]);
        assert_eq!(ended[1].field("Via"), invite.field("Via"));
        let ack = to_uri("ACK", uri(is_stream), &[]).replace("-ACK", "-INVITE");
        assert_eq!(rig.system(&ack.replace("example.net>\r\nCall", "example.net>;tag=p1\r\nCall")), []);
        assert_eq!(rig.switch.poll_look_up(), None);
    }
}

#[test]
fn a_systems_call_that_is_answered_after_a_takeover_stands_and_one_that_was_cancelled_before_ends() {
    for is_cancelled in [false, true] {
        let mut rig = Rig::connected(1);
        let invite = at_second_address(&mut rig, true);
        if is_cancelled {
            let cancel = to_uri("CANCEL", uri(true), &[]).replace("-CANCEL", "-INVITE");
            assert_eq!(shown(&rig.system(&cancel)), ["200 to #50"], "nothing to cancel before a response");
        }
        rig.is_taken_over();
        let rings = shown(&sorted(rig.second(&invite, "180 Ringing", true)));
        let status = if is_cancelled { "487 Request Terminated" } else { "200 OK" };
        let ends = shown(&sorted(rig.second(&invite, status, true)));
        match is_cancelled {
            false => assert_eq!((rings, ends), (vec!["180 to #50".to_owned()], vec!["200 to #50".to_owned()])),
            true => {
                assert_eq!(rings, ["180 to #50", "CANCEL to #61"]);
                assert_eq!(ends, ["487 to #50", "ACK to #61"]);
            }
        }
    }
}

#[test]
fn a_systems_call_in_a_datagram_that_is_lost_during_a_takeover_is_sent_again_and_ends_in_time() {
    let mut rig = Rig::connected(1);
    let invite = at_second_address(&mut rig, false);
    rig.is_taken_over();
    let again = one(rig.passes(600).into_iter().filter(|sent| sent.shown().starts_with("INVITE")).collect());
    assert_eq!((&again.to, &again.text), (&invite.to, &invite.text), "the same bytes");
    assert_eq!(shown(&rig.passes(40_000)).last().unwrap(), "500 to #50", "the 503 of the first address");
}

#[test]
fn a_request_inside_a_dialog_is_repeated_and_its_connection_is_watched_after_a_takeover() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.system(&to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[])));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    one(rig.datagram(&answer(&sent, "200 OK"), PHONE));
    let info = inside("INFO", "sip:phone@203.0.113.9:5062", "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    let info = one(rig.system(&info));
    let by_stream = to_uri("OPTIONS", "sip:x@192.0.2.12:5080;transport=tcp", &[]);
    assert_eq!(one(rig.system(&of_call(&by_stream, "other"))).shown(), "OPTIONS to #102");
    rig.is_taken_over();
    assert_eq!(shown(&rig.passes(600)), [format!("INFO to {PHONE}")]);
    assert_eq!(shown(&rig.datagram(&answer(&info, "200 OK"), PHONE)), ["200 to #50"]);
    assert_eq!(rig.passes(1_500), []);
}

#[test]
fn a_connection_that_was_opened_too_late_for_a_takeover_holds_no_call_up() {
    let (mut rig, _) = ringing_at_second_address();
    rig.is_taken_over();
    rig.switch.on_connections_missed(|conn| conn != SECOND, rig.now);
    assert_eq!(shown(&rig.left()), ["503 to #50"]);
}

#[test]
fn the_end_of_a_connection_right_before_a_takeover_is_told() {
    let (mut rig, _) = ringing_at_second_address();
    rig.switch.gone.push(SECOND);
    rig.switch.settle(rig.now);
    assert_eq!(shown(&rig.left()), ["503 to #50"]);
}

#[test]
fn a_takeover_that_comes_to_nothing_changes_nothing_for_requests_under_way() {
    let mut rig = Rig::connected(1);
    let invite = at_second_address(&mut rig, true);
    rig.switch.settle(rig.now);
    rig.switch.save(&mut Vec::new());
    assert_eq!(rig.left(), []);
    assert_eq!(shown(&rig.second(&invite, "180 Ringing", true)), ["180 to #50"]);
    assert_eq!(shown(&rig.second(&invite, "486 Busy Here", true)), ["ACK to #61", "486 to #50"]);
}

#[test]
fn a_systems_request_whose_way_is_sought_at_a_takeover_counts_once_against_the_rate_of_its_source() {
    let mut rig = Rig::connected(1);
    let action = AccessAction::Limit { rate: 1, burst: 2, ban_ms: 0 };
    let rule = AccessRule { network: "192.0.2.11".parse().unwrap(), prefix: 32, action };
    rig.set_rules(|rules| rules.access = vec![rule]);
    assert_eq!(rig.system(&to_uri("MESSAGE", uri(false), &[])), []);
    rig.is_taken_over();
    let another = |call: &str| of_call(&to_uri("MESSAGE", "sip:phone@203.0.113.9:5062", &[]), call);
    assert_eq!(shown(&rig.system(&another("one"))), [format!("MESSAGE to {PHONE}")]);
    assert_eq!(shown(&rig.system(&another("two"))), ["503 to #50"]);
    assert_eq!(shown(&rig.finds(&[ELSEWHERE])), [format!("MESSAGE to {ELSEWHERE}")]);
}

#[test]
fn a_call_whose_way_is_sought_at_a_takeover_is_cancelled_by_the_first_message_that_is_read_then() {
    let mut rig = Rig::connected(1);
    assert_eq!(rig.system(&to_uri("INVITE", uri(false), &[])), []);
    rig.is_taken_over();
    let cancel = to_uri("CANCEL", uri(false), &[]).replace("-CANCEL", "-INVITE");
    assert_eq!(shown(&rig.system(&cancel)), ["200 to #50", "487 to #50"]);
    assert_eq!(rig.finds(&[ELSEWHERE]), []);
}

/// A call of a system to a name, as it goes to the first address in a datagram.
fn at_first_address(rig: &mut Rig) -> Sent {
    assert_eq!(rig.system(&to_uri("INVITE", uri(false), &[])), []);
    one(rig.finds(&[PHONE, ELSEWHERE]))
}

fn invite_among(all: Vec<Sent>) -> Sent {
    one(all.into_iter().filter(|sent| sent.shown() == format!("INVITE to {ELSEWHERE}")).collect())
}

#[test]
fn a_call_whose_first_address_is_silent_goes_to_the_second_one_as_soon_after_a_takeover_as_without_it() {
    let mut rig = Rig::connected(1);
    at_first_address(&mut rig);
    rig.passes(3_000);
    rig.is_taken_over();
    assert!(!shown(&rig.passes(4_900)).contains(&format!("INVITE to {ELSEWHERE}")));
    let second = invite_among(rig.passes(5_100));
    assert_eq!(shown(&rig.second(&second, "200 OK", false)), ["200 to #50"]);
}

#[test]
fn a_call_whose_connection_to_its_second_address_is_being_opened_at_a_takeover_goes_by_another_one() {
    for is_taken_over in [true, false] {
        let mut rig = Rig::connected(1);
        assert_eq!(rig.system(&to_uri("INVITE", uri(true), &[])), []);
        assert_eq!(rig.finds(&[PHONE, ELSEWHERE]), []);
        rig.dials(FIRST);
        let first = one(rig.opens(FIRST));
        assert_eq!(shown(&rig.phone(&first, "503 Service Unavailable", FIRST)), ["ACK to #60"]);
        rig.dials(SECOND);
        let mut by = SECOND;
        rig.switch.settle(rig.now);
        if is_taken_over {
            rig.take_over(&[1]);
            by = ConnId(62);
            rig.dials(by);
        } else {
            // It comes to nothing.
            rig.switch.save(&mut Vec::new());
            rig.switch.decide_sought(rig.now);
        }
        let second = one(rig.opens(by));
        assert_eq!(second.shown(), format!("INVITE to #{}", by.0));
        let answered = rig.stream(&answer(&second, "200 OK"), by, ELSEWHERE);
        assert_eq!(shown(&answered), ["200 to #50"]);
    }
}

#[test]
fn a_call_whose_connection_was_lost_before_a_takeover_goes_around_by_another_one() {
    for is_taken_over in [true, false] {
        let mut rig = Rig::connected(1);
        assert_eq!(rig.system(&to_uri("INVITE", uri(true), &[])), []);
        assert_eq!(rig.finds(&[PHONE]), []);
        rig.dials(FIRST);
        one(rig.opens(FIRST));
        assert_eq!(rig.hangs_up(FIRST), []);
        let mut by = FIRST;
        for (is_next, conn) in [(true, SECOND), (is_taken_over, ConnId(62))] {
            if is_next {
                by = conn;
                rig.dials(by);
            }
            if is_taken_over && by == SECOND {
                rig.switch.settle(rig.now);
                rig.take_over(&[1]);
                rig.switch.on_connections_missed(|conn| conn != FIRST, rig.now);
                assert_eq!(rig.left(), []);
            }
        }
        assert_eq!(one(rig.opens(by)).shown(), format!("INVITE to #{}", by.0));
    }
}

#[test]
fn a_refusal_that_the_first_address_repeats_after_a_takeover_is_acknowledged_and_the_second_one_rings_on() {
    let mut rig = Rig::connected(1);
    let first = at_first_address(&mut rig);
    let second = invite_among(rig.datagram(&answer(&first, "503 Service Unavailable"), PHONE));
    assert_eq!(shown(&rig.second(&second, "180 Ringing", false)), ["180 to #50"]);
    rig.is_taken_over();
    let ack = one(rig.datagram(&answer(&first, "503 Service Unavailable"), PHONE));
    assert_eq!((ack.shown(), ack.field("Via")), (format!("ACK to {PHONE}"), first.field("Via")));
    assert_eq!(shown(&rig.second(&second, "200 OK", false)), ["200 to #50"]);
}

#[test]
fn the_first_address_of_a_call_that_has_left_it_is_cancelled_when_it_rings_after_a_takeover() {
    let mut rig = Rig::connected(1);
    let first = at_first_address(&mut rig);
    let second = invite_among(rig.passes(5_100));
    assert_eq!(shown(&rig.second(&second, "180 Ringing", false)), ["180 to #50"]);
    rig.is_taken_over();
    let cancel = one(rig.datagram(&answer(&first, "180 Ringing"), PHONE));
    assert_eq!((cancel.shown(), cancel.field("Via")), (format!("CANCEL to {PHONE}"), first.field("Via")));
    // Another takeover knows as much.
    rig.is_taken_over();
    let ack = one(rig.datagram(&answer(&first, "486 Busy Here"), PHONE));
    assert_eq!((ack.shown(), ack.field("Via")), (format!("ACK to {PHONE}"), first.field("Via")));
    assert_eq!(
        shown(&rig.second(&second, "486 Busy Here", false)),
        [format!("ACK to {ELSEWHERE}"), "486 to #50".into()]
    );
}

#[test]
fn a_systems_call_over_tls_has_the_via_of_its_invite_and_ends_by_the_same_status_after_a_takeover() {
    for (is_taken_over, is_cancelled) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut rig = Rig::secure(Transport::Tcp);
        let tls = "sip:phone@phones.example.net:5062;transport=tls";
        assert_eq!(rig.system(&to_uri("INVITE", tls, &[])), []);
        assert_eq!(rig.finds(&[PHONE]), []);
        let (_, invite) = rig.calls(FIRST);
        assert_eq!(shown(&rig.secured(&answer(&invite, "180 Ringing"), FIRST, PHONE)), ["180 to #50"]);
        if is_taken_over {
            rig.is_taken_over();
        }
        if is_cancelled {
            let cancelled = sorted(rig.system(&to_uri("CANCEL", tls, &[]).replace("-CANCEL", "-INVITE")));
            assert_eq!(shown(&cancelled), ["200 to #50", "CANCEL to #60"]);
            let ended = sorted(rig.secured(&answer(&invite, "487 Request Terminated"), FIRST, PHONE));
            assert_eq!(shown(&ended), ["487 to #50", "ACK to #60"]);
            assert_eq!([cancelled[1].field("Via"), ended[1].field("Via")], [invite.field("Via"); 2]);
        } else {
            assert_eq!(shown(&rig.hangs_up(FIRST)), ["503 to #50"]);
        }
    }
}

/// A caller's INVITE inside a dialog, as it came in a datagram and as it has left.
fn offered_again() -> (Rig, String, Sent) {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), [format!("200 to {CALLER}")]);
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let again = request("INVITE", BY_UDP, 2, &routes, ";tag=s").replace("CSeq: 1", "CSeq: 2");
    let sent = one(rig.udp(&again));
    (rig, again, sent)
}

#[test]
fn a_copy_of_an_invite_inside_a_dialog_gets_the_latest_provisional_response_again_after_a_takeover() {
    let (mut rig, again, sent) = offered_again();
    let rings = one(rig.responds(&sent, "180 Ringing"));
    assert_eq!(rings.shown(), format!("180 to {CALLER}"));
    rig.is_taken_over();
    assert_eq!(rig.udp(&again), [rings]);
}

#[test]
fn an_invite_inside_a_dialog_of_which_nothing_is_heard_gets_a_100_after_a_takeover() {
    let (mut rig, again, sent) = offered_again();
    assert_eq!(rig.responds(&sent, "100 Trying"), []);
    rig.is_taken_over();
    let trying = one(rig.passes(250));
    assert_eq!(trying.shown(), format!("100 to {CALLER}"));
    assert_eq!(rig.udp(&again), [trying]);
}

#[test]
fn a_request_of_which_nothing_is_heard_ends_as_soon_after_a_takeover_as_without_it() {
    let mut rig = Rig::connected(1);
    let message = to_uri("MESSAGE", "sip:phone@203.0.113.9:5062", &[]);
    assert_eq!(shown(&rig.system(&message)), [format!("MESSAGE to {PHONE}")]);
    assert!(shown(&rig.passes(20_000)).contains(&"100 to #50".to_owned()));
    // Another takeover knows as much.
    for at in [20_000, 25_000] {
        rig.passes(at);
        rig.is_taken_over();
    }
    let copies = shown(&rig.passes(31_900));
    assert!(!copies.is_empty() && copies.iter().all(|it| *it == format!("MESSAGE to {PHONE}")), "{copies:?}");
    assert_eq!(rig.passes(70_000), [], "its sender has given up (timer F)");
    assert_eq!(rig.system(&message)[0].shown(), format!("MESSAGE to {PHONE}"), "nothing is left of it");
}

#[test]
fn a_request_that_gets_its_100_late_gets_it_as_late_after_a_takeover() {
    let mut rig = Rig::connected(1);
    let message = to_uri("MESSAGE", "sip:phone@203.0.113.9:5062", &[]);
    assert_eq!(shown(&rig.system(&message)), [format!("MESSAGE to {PHONE}")]);
    rig.passes(2_000);
    rig.is_taken_over();
    assert!(!shown(&rig.passes(3_400)).contains(&"100 to #50".to_owned()));
    assert!(shown(&rig.passes(3_600)).contains(&"100 to #50".to_owned()), "RFC 4320 §4.1");
}

#[test]
fn an_abandoned_first_address_is_cancelled_after_a_takeover_though_the_caller_has_its_answer() {
    for status in ["200 OK", "486 Busy Here"] {
        let mut rig = Rig::connected(1);
        let first = at_first_address(&mut rig);
        let second = invite_among(rig.passes(5_100));
        let answered = shown(&rig.second(&second, status, false));
        assert_eq!(answered.last().unwrap(), &format!("{} to #50", &status[..3]));
        // Another takeover knows as much.
        for _ in 0..2 {
            rig.is_taken_over();
        }
        if status.starts_with("486") {
            let ack = to_uri("ACK", uri(false), &[]).replace("-ACK", "-INVITE");
            assert_eq!(rig.system(&ack.replace("example.net>\r\nCall", "example.net>;tag=p1\r\nCall")), []);
            rig.is_taken_over();
        }
        let cancel = one(rig.datagram(&answer(&first, "180 Ringing"), PHONE));
        assert_eq!((cancel.shown(), cancel.field("Via")), (format!("CANCEL to {PHONE}"), first.field("Via")));
        rig.is_taken_over();
        assert_eq!(shown(&rig.passes(5_900)), [format!("CANCEL to {PHONE}")], "it may have been lost");
        let ack = one(rig.datagram(&answer(&first, "487 Request Terminated"), PHONE));
        assert_eq!((ack.shown(), ack.field("Via")), (format!("ACK to {PHONE}"), first.field("Via")));
        assert_eq!(rig.passes(80_000), []);
    }
}

#[test]
fn a_call_goes_on_after_a_takeover_whose_settings_have_no_servers_any_more() {
    let (mut rig, invite) = ringing_at_second_address();
    rig.switch.settle(rig.now);
    rig.take_over_with(&[1], |rules| {
        (rules.proxies, rules.pools) = (Vec::new(), Vec::new());
        rules.unrouted.pool = Pool::WORKERS.to_owned();
    });
    let cancel = to_uri("CANCEL", uri(true), &[]).replace("-CANCEL", "-INVITE");
    assert_eq!(shown(&sorted(rig.system(&cancel))), ["200 to #50", "CANCEL to #61"]);
    assert_eq!(shown(&sorted(rig.second(&invite, "487 Request Terminated", true))), ["487 to #50", "ACK to #61"]);
}

#[test]
fn an_invite_inside_a_dialog_goes_on_after_a_takeover_whose_settings_reach_its_server_by_datagrams() {
    let (mut rig, again, sent) = offered_again();
    let rings = one(rig.responds(&sent, "180 Ringing"));
    rig.switch.settle(rig.now);
    rig.take_over_with(&[1], |rules| rules.proxies.iter_mut().for_each(|proxy| proxy.transport = Transport::Udp));
    assert_eq!(rig.udp(&again), [rings]);
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), [format!("200 to {CALLER}")]);
}

#[test]
fn an_invite_inside_a_dialog_is_cancelled_where_it_rings_though_its_server_is_reached_by_datagrams_meanwhile() {
    let by_datagrams = |proxies: &mut Vec<Proxy>| proxies.iter_mut().for_each(|it| it.transport = Transport::Udp);
    for is_taken_over in [false, true] {
        let (mut rig, again, sent) = offered_again();
        one(rig.responds(&sent, "180 Ringing"));
        if is_taken_over {
            rig.switch.settle(rig.now);
            rig.take_over_with(&[1], |rules| by_datagrams(&mut rules.proxies));
        } else {
            rig.reload(by_datagrams);
        }
        let cancelled = sorted(rig.udp(&again.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL")));
        assert_eq!(shown(&cancelled), [format!("200 to {CALLER}"), format!("CANCEL to {}", sent.to)]);
        assert_eq!(cancelled[1].field("Via"), sent.field("Via"));
        let ended = sorted(rig.responds(&sent, "487 Request Terminated"));
        assert_eq!(shown(&ended), [format!("487 to {CALLER}"), format!("ACK to {}", sent.to)]);
    }
}

#[test]
fn a_call_that_rings_is_cancelled_where_it_rings_and_hears_of_a_lost_connection_though_its_server_has_another_name() {
    for is_cancelled in [false, true] {
        let mut rig = Rig::connected(1);
        let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
        assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
        rig.switch.settle(rig.now);
        rig.take_over_with(&[1], |rules| rules.proxies[0].name = "another".to_owned());
        if is_cancelled {
            let cancel = request("CANCEL", BY_TCP, 1, &[], "");
            assert_eq!(shown(&rig.stream(&cancel, CALLERS, CALLER)), ["200 to #7", "CANCEL to #1"]);
        } else {
            assert_eq!(shown(&rig.ends(1)), ["503 to #7"]);
        }
    }
}

#[test]
fn a_request_inside_a_dialog_ends_at_once_where_a_takeover_loses_the_connection_to_its_server() {
    for rings in [false, true] {
        let told = [false, true].map(|is_taken_over| {
            let (mut rig, _, sent) = offered_again();
            if rings {
                one(rig.responds(&sent, "180 Ringing"));
            }
            if !is_taken_over {
                return shown(&rig.ends(1));
            }
            rig.switch.settle(rig.now);
            rig.take_over(&[]);
            rig.switch.on_connections_missed(|_| false, rig.now);
            shown(&rig.left())
        });
        assert_eq!(told, [[format!("503 to {CALLER}")], [format!("503 to {CALLER}")]], "it rings: {rings}");
    }
}
