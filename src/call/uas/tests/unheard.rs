//! Datagrams that leave for an INVITE whose sender has not shown that it hears us: its source may be forged.

use super::*;

/// All datagrams that leave for one INVITE after which its sender is silent, and their destinations.
fn alone(invite: &Text, decide: impl FnOnce(&mut Desk, CallKey)) -> (Vec<u16>, Vec<String>) {
    let mut desk = Desk::new();
    desk.hand(invite);
    let key = desk.incoming();
    decide(&mut desk, key);
    desk.wait(SECOND * 600);
    let ways = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.to.to_string()),
        _ => None,
    });
    let ways = ways.collect();
    let statuses = desk.statuses();
    desk.assert_idle();
    (statuses, ways)
}

fn accept(desk: &mut Desk, key: CallKey) {
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
}

#[test]
fn a_forged_invite_makes_five_datagrams_leave_the_bye_included() {
    let (statuses, ways) = alone(&invite(), accept);
    assert_eq!(statuses, [200, 200, 200, 200, 0]);
    assert_eq!(ways, ["192.0.2.9:5070"; 5]);
    let (statuses, _) = alone(&invite(), |desk, key| {
        desk.wait(SECOND);
        desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
        desk.wait(SECOND * 300);
        accept(desk, key);
    });
    assert_eq!(statuses, [100, 180, 200, 200, 200]);
    let (statuses, _) = alone(&invite().header("Supported: 100rel"), |desk, key| {
        desk.act(|uas, now| uas.ring(key, 183, Some(ANSWER.as_bytes()), Delivery::Reliable, now));
    });
    assert_eq!(statuses, [183, 183, 183, 183, 504]);
    let (statuses, _) = alone(&invite(), |desk, key| {
        desk.act(|uas, now| uas.reject(key, 486, now));
    });
    assert_eq!(statuses, [486; 4]);
}

#[test]
fn however_often_an_application_rings_five_leave() {
    let (statuses, _) = alone(&invite(), |desk, key| {
        for status in 180..190 {
            desk.act(|uas, now| uas.ring(key, status, None, Delivery::AsRequired, now));
        }
        accept(desk, key);
    });
    assert_eq!(statuses, [180, 181, 200, 200, 200]);
}

#[test]
fn the_contact_of_a_call_that_nobody_acknowledged_gets_nothing() {
    let mut invite = invite().header("Contact: <sip:victim@198.51.100.66:7777>");
    invite.contact = false;
    let (_, ways) = alone(&invite, accept);
    assert_eq!(ways, ["192.0.2.9:5070"; 5]);
    let routed = invite.header("Record-Route: <sip:198.51.100.66:7777;lr>");
    assert_eq!(alone(&routed, accept).1, ["192.0.2.9:5070"; 5]);
    let named = super::invite().header("Record-Route: <sip:victim.example.net;lr>");
    assert_eq!(alone(&named, accept).1, ["192.0.2.9:5070"; 5], "nor is its name looked up");
}

#[test]
fn copies_of_an_invite_are_answered_one_for_one() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    accept(&mut desk, key);
    desk.wait(SECOND * 10);
    desk.outputs.clear();
    for _ in 0..3 {
        desk.hand(&invite());
        assert_eq!(desk.statuses(), [200]);
    }
    desk.wait(SECOND * 10);
    assert_eq!(desk.sent().len(), 0);
}

#[test]
fn a_request_with_our_tag_shows_that_its_sender_hears_us_and_the_2xx_is_repeated_on() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    accept(&mut desk, key);
    let tag = to_tag(&desk.only());
    desk.wait(SECOND * 10);
    assert_eq!(desk.statuses(), [200; 3]);
    desk.own(&text("INFO").to("guessed").cseq(2).branch("guessed"));
    desk.wait(SECOND * 5);
    assert_eq!(desk.statuses(), [481]);
    desk.own(&text("INFO").to(&tag).cseq(2));
    desk.wait(SECOND * 10);
    assert_eq!(desk.statuses(), [200, 200, 200], "the INFO's, then the INVITE's, which has no ACK yet");
    assert_eq!(desk.events().len(), 1);
}

#[test]
fn over_a_connection_which_nobody_forges_all_is_repeated_as_ever() {
    let mut desk = Desk::new();
    let arrival =
        Arrival::stream(9, Transport::Tcp, ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5071".parse().unwrap()), 1);
    desk.say(&invite().bytes(), &arrival);
    let key = desk.incoming();
    accept(&mut desk, key);
    desk.wait(SECOND * 31);
    assert_eq!(desk.statuses().len(), 10);
}

#[test]
fn our_bye_to_an_address_that_its_call_did_not_come_from_leaves_five_times() {
    let mut desk = Desk::new();
    let (key, _) = desk.standing(&invite().header("Record-Route: <sip:198.51.100.66:7777;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    desk.wait(SECOND * 31);
    assert_eq!(desk.sent().len(), 5);
    desk.assert_idle();
}

const VICTIM: &str = "198.51.100.66:5060";

impl Desk {
    /// A datagram whose source is forged.
    fn forge(&mut self, text: &Text) {
        let arrival = Arrival::own(0, VICTIM.parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
        self.say(&text.bytes(), &arrival);
    }

    /// Datagrams that left for the victim since the last look.
    fn at_the_victim(&mut self) -> usize {
        let to = |output: &&Output| matches!(output, Output::Transmit(it) if it.to.to_string() == VICTIM);
        let count = self.outputs.iter().filter(to).count();
        self.outputs.clear();
        count
    }
}

#[test]
fn a_reinvite_from_a_forged_source_makes_five_datagrams_leave_for_it_at_most() {
    for refused in [false, true] {
        let mut desk = Desk::new();
        let (key, tag) = desk.standing(&invite());
        let again = invite().to(&tag).cseq(2).branch("again");
        desk.forge(&if refused { again.header("Require: nonsense") } else { again });
        desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
        // A sender that knows the tag is heard, and it is not the victim.
        desk.own(&text("INFO").to(&tag).cseq(3));
        desk.wait(SECOND * 31);
        let count = desk.at_the_victim();
        assert!((3..=5).contains(&count), "{count}");
    }
}

#[test]
fn a_copy_of_an_invite_from_a_forged_source_makes_five_datagrams_leave_for_it_at_most() {
    for heard_first in [false, true] {
        let mut desk = Desk::new();
        desk.own(&invite());
        let key = desk.incoming();
        accept(&mut desk, key);
        let tag = to_tag(&desk.only());
        let hear = |desk: &mut Desk| desk.own(&text("INFO").to(&tag).cseq(2));
        if heard_first {
            hear(&mut desk);
        }
        desk.forge(&invite());
        if !heard_first {
            hear(&mut desk);
        }
        desk.wait(SECOND * 31);
        let count = desk.at_the_victim();
        // The other datagrams go to the source of the first INVITE.
        assert!((1..=6).contains(&count), "the answer to the copy, and five at most: {count}");
    }
}

#[test]
fn a_reinvite_from_where_the_call_came_from_is_answered_as_ever() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&invite().to(&tag).cseq(2).branch("again"));
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    desk.wait(SECOND * 31);
    assert_eq!(desk.statuses().len(), 10);
}
