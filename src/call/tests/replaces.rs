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
