//! Replaces (RFC 3891) and Join (RFC 3911).

use super::*;

fn second(line: &str) -> Text {
    let mut second = invite().call("call-2").branch("second").header(line);
    second.from_tag = "transferee".into();
    second
}

#[test]
fn a_call_takes_the_place_of_another_and_that_one_is_hung_up() {
    let limits = Limits { units: 1, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer { expires: None, min_se: 90 });
    let (old, tag) = desk.standing(&invite());
    desk.hand_with(&second(&format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller")), |envelope| {
        envelope.follows = true;
    });
    let events = desk.events();
    let [(new, Event::Incoming { replaces, .. })] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*replaces, Some(old));
    desk.act(|uas, now| uas.accept(*new, Some(ANSWER.as_bytes()), now));
    let sent = desk.sent();
    assert_eq!((status(&sent[0]), header(&sent[0], "Call-ID")), (200, Some("call-2")));
    assert!(sent[1].starts_with("BYE ") && sent[1].contains("call-1@192.0.2.9"));
    assert_eq!(desk.events(), [(old, Event::Ended(EndReason::Replaced))]);
    assert_eq!(desk.uas.load().sessions, 1);
}

/// An INVITE of `units` units that replaces the call with this tag.
fn replace(desk: &mut Desk, tag: &str, units: u32) {
    desk.hand_with(&second(&format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller")), |envelope| {
        envelope.size = units;
    });
}

/// A worker of a hundred units with two calls: one has waited for its ACK for `waited`, the other one has `taken` units
/// and counts whole.
fn unacknowledged(invite: &Text, units: u32, taken: u32, waited: Duration) -> (Desk, String) {
    let limits = Limits { units: 100, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer { expires: None, min_se: 90 });
    desk.hand_with(invite, |envelope| (envelope.size, envelope.names_size) = (units, true));
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.wait(waited);
    desk.outputs.clear();
    desk.hand_with(&super::invite().call("other").branch("other"), |envelope| {
        envelope.size = taken;
        envelope.source = "127.0.0.1:5060".parse().unwrap();
    });
    desk.outputs.clear();
    (desk, tag)
}

#[test]
fn a_replaced_call_frees_what_it_counts_for_and_not_what_it_once_claimed() {
    // Its claim is given up at 7.5 s: it counts one unit from then on.
    // Strangers have fifty units at most: of the conference's eighty 51 count, the first leg's own among them.
    let leg = || Text { uri: "sip:conf=a@ms.example.com".into(), ..invite() };
    for (invite, units, taken, waited, frees) in
        [(invite(), 40, 60, 1, 40), (invite(), 40, 99, 8, 1), (invite(), 40, 80, 8, 20), (leg(), 80, 49, 1, 51)]
    {
        let (mut desk, tag) = unacknowledged(&invite, units, taken, SECOND * waited);
        replace(&mut desk, &tag, frees + 1);
        assert_eq!(desk.settled().1.len(), 1, "{frees} units and one more do not fit after {waited} s");
        let (mut desk, tag) = unacknowledged(&invite, units, taken, SECOND * waited);
        replace(&mut desk, &tag, frees);
        let events = desk.events();
        assert!(matches!(events[..], [(_, Event::Incoming { .. })]), "{frees} units fit after {waited} s: {events:?}");
    }
}

#[test]
fn a_replaced_call_frees_the_part_of_its_claim_that_counts() {
    // Strangers have fifty units at most: of the second call's 39 beyond its first 11 count.
    let (mut desk, _) = unacknowledged(&invite(), 40, 20, SECOND);
    let other = invite().call("stranger").branch("stranger");
    desk.hand_with(&other, |envelope| {
        envelope.size = 40;
        envelope.source = "198.51.100.9:5060".parse().unwrap();
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.outputs.clear();
    assert_eq!(desk.uas.load().units_used, 20 + 50 + 2);
    let by = |units: u32| {
        let line = format!("Replaces: stranger;to-tag={tag};from-tag=caller");
        (second(&line).call(&format!("by-{units}")).branch(&format!("by-{units}")), units)
    };
    for (invite, units) in [by(100 - 72 + 12 + 1), by(100 - 72 + 12)] {
        desk.hand_with(&invite, |envelope| envelope.size = units);
        assert_eq!(
            (desk.settled().1.len(), desk.events().len()),
            if units > 40 { (1, 0) } else { (0, 1) },
            "{units} units"
        );
    }
}

#[test]
fn only_a_dialog_that_stands_can_be_replaced() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    let cases = [
        ("Replaces: nobody;to-tag=1;from-tag=2".to_owned(), 481),
        (format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=other"), 481),
        (format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller;early-only"), 486),
        (format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller\r\nReplaces: x;to-tag=1;from-tag=2"), 400),
        (format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller\r\nJoin: x;to-tag=1;from-tag=2"), 400),
        (format!("Join: call-1@192.0.2.9;to-tag={tag};from-tag=caller"), 488),
        ("Join: nobody;to-tag=1;from-tag=2".to_owned(), 481),
    ];
    for (number, (line, expected)) in cases.into_iter().enumerate() {
        let mut text = second(&line).branch(&format!("try-{number}"));
        text.call_id = format!("try-{number}");
        desk.own(&text);
        assert_eq!((desk.statuses(), desk.events()), (vec![expected], vec![]), "{line}");
    }
}

#[test]
fn a_call_that_rings_here_cannot_be_replaced() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    let tag = to_tag(&desk.only());
    desk.own(&second(&format!("Replaces: call-1@192.0.2.9;to-tag={tag};from-tag=caller")));
    assert_eq!(desk.statuses(), [481]);
}
