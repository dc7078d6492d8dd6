//! Our own requests in a dialog go to the address where its far end was heard, by the socket it was heard by.

use super::*;

const NAT: &str = "203.0.113.7:40001";

/// The call of a caller behind a NAT: its Contact is an address of its own network.
fn behind_nat() -> Text {
    let mut invite = invite().header("Contact: <sip:caller@192.168.1.4:5070;ob>");
    invite.contact = false;
    invite
}

/// A call whose INVITE came from `source` to the well-known port and was accepted; its key and our tag.
fn accepted(desk: &mut Desk, invite: &Text, source: &str) -> (CallKey, String) {
    desk.hand_with(invite, |envelope| envelope.source = source.parse().unwrap());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let ok = desk.only();
    assert_eq!(header(&ok, "Contact"), Some("<sip:192.0.2.1:5071>"), "it names the worker's own port");
    desk.outputs.clear();
    (key, to_tag(&ok))
}

fn ack(tag: &str) -> Text {
    text("ACK").branch("ack").to(tag)
}

impl Desk {
    /// A message comes to the worker's own port from `source`.
    fn own_from(&mut self, text: &Text, source: &str) {
        let arrival = Arrival::own(0, source.parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
        self.say(&text.bytes(), &arrival);
    }

    /// Our BYE in this call, and its way.
    pub(super) fn bye(&mut self, key: CallKey) -> (Hop, String, String) {
        self.outputs.clear();
        self.act(|uas, now| uas.hang_up(key, now));
        self.only_transmit()
    }
}

#[test]
fn the_bye_to_a_caller_behind_a_nat_goes_to_where_its_ack_came_from_by_our_own_port() {
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &behind_nat(), "203.0.113.7:40000");
    // The caller's NAT gives it another port towards another port of ours.
    desk.own_from(&ack(&tag), NAT);
    let (hop, to, bye) = desk.bye(key);
    assert_eq!((hop, to.as_str()), (Hop::Own(0), NAT));
    assert!(bye.starts_with("BYE sip:caller@192.168.1.4:5070;ob SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5071;"), "{bye}");
}

#[test]
fn a_caller_behind_a_nat_that_keeps_to_the_well_known_port_is_reached_from_there() {
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &behind_nat(), NAT);
    desk.hand_with(&ack(&tag), |envelope| {
        envelope.follows = true;
        envelope.source = NAT.parse().unwrap();
    });
    let (hop, to, bye) = desk.bye(key);
    assert_eq!((hop, to.as_str()), (Hop::Listener(0), NAT));
    assert!(bye.contains("\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;"), "{bye}");
}

#[test]
fn the_last_request_of_the_dialog_says_where_the_caller_is() {
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &behind_nat(), NAT);
    desk.own_from(&ack(&tag), NAT);
    desk.own_from(&text("INFO").to(&tag).cseq(2), "203.0.113.7:50000");
    // A request that it has overtaken, from its former address, and a request of another dialog.
    desk.own_from(&text("OPTIONS").to(&tag).cseq(1), NAT);
    desk.own_from(&text("INFO").to("other").cseq(9).branch("other"), "203.0.113.9:1");
    assert_eq!(desk.bye(key).1, "203.0.113.7:50000");
}

#[test]
fn one_private_network_can_hide_behind_another() {
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &behind_nat(), "172.17.0.1:5070");
    desk.own_from(&ack(&tag), "172.17.0.1:5070");
    assert_eq!(desk.bye(key).1, "172.17.0.1:5070");
}

#[test]
fn behind_a_proxy_that_records_its_route_the_route_says_where_to_go() {
    let mut desk = Desk::new();
    let invite = behind_nat().header("Record-Route: <sip:203.0.113.7:5099;lr>").header("Route: <sip:192.0.2.1;lr>");
    let (key, tag) = accepted(&mut desk, &invite, NAT);
    desk.own_from(&ack(&tag), NAT);
    let (hop, to, _) = desk.bye(key);
    assert_eq!((hop, to.as_str()), (Hop::Own(0), "203.0.113.7:5099"));
}

#[test]
fn a_proxy_that_stays_out_of_the_dialog_is_not_where_the_caller_was_heard() {
    let mut desk = Desk::new();
    let via = "Via: SIP/2.0/UDP 198.51.100.4:5060;branch=z9hG4bK-before";
    let (key, tag) = accepted(&mut desk, &invite().header(via), NAT);
    desk.own_from(&ack(&tag).header(via), NAT);
    assert_eq!(desk.bye(key).1, "192.0.2.9:5070", "its Contact");
    // The ACK comes from the caller itself, which is behind a NAT.
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &behind_nat().header(via), "198.51.100.5:5060");
    desk.own_from(&ack(&tag), NAT);
    assert_eq!(desk.bye(key).1, NAT);
}

#[test]
fn a_caller_at_its_contact_is_reached_from_our_own_port_even_when_it_keeps_to_the_well_known_one() {
    let mut desk = Desk::new();
    let (key, tag) = accepted(&mut desk, &invite(), "192.0.2.9:5070");
    desk.hand_with(&ack(&tag), |envelope| envelope.follows = true);
    // The answer then needs no dispatcher.
    let (hop, to, bye) = desk.bye(key);
    assert_eq!((hop, to.as_str()), (Hop::Own(0), "192.0.2.9:5070"));
    assert!(bye.contains("\r\nVia: SIP/2.0/UDP 192.0.2.1:5071;"), "{bye}");
}

#[test]
fn without_rport_a_caller_listens_where_its_via_says() {
    let mut desk = Desk::new();
    let mut invite = invite().header("Contact: <sip:caller@192.0.2.9:5070>");
    invite.contact = false;
    let without = |text: &Text| text.bytes().replace(";rport", "");
    let handed = Arrival::handed_over(&Envelope { source: "192.0.2.9:41000".parse().unwrap(), ..Envelope::plain(1) });
    desk.say(&without(&invite), &handed);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    let arrival = Arrival::own(0, "192.0.2.9:41000".parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
    desk.say(&without(&ack(&tag)), &arrival);
    assert_eq!(desk.bye(key).1, "192.0.2.9:5070");
}

#[test]
fn a_contact_whose_name_has_no_address_leaves_where_the_caller_was_heard() {
    let mut desk = Desk::new();
    let mut invite = invite().header("Contact: <sip:caller@phone.local>");
    invite.contact = false;
    let (key, tag) = accepted(&mut desk, &invite, NAT);
    desk.own_from(&ack(&tag), NAT);
    desk.outputs.clear();
    desk.act(|uas, now| uas.hang_up(key, now));
    let asked = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, _) => Some(*key),
        _ => None,
    });
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_resolved(asked.unwrap(), &[], now));
    let (hop, to, _) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Own(0), NAT));
}
