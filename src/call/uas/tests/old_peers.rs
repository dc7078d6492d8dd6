//! Peers of RFC 2543, whose branch does not name the transaction (RFC 3261 §17.2.3).

use super::*;

fn old(text: Text) -> Text {
    Text { branch: "1".into(), ..text }
}

#[test]
fn the_second_fork_through_a_proxy_without_branches_gets_482_and_not_the_answer_of_the_first() {
    let mut desk = Desk::new();
    let first = old(invite());
    let second = Text { uri: "sip:other@192.0.2.1".into(), ..first.clone() };
    desk.hand(&first);
    desk.incoming();
    desk.statuses();
    desk.hand(&second);
    assert_eq!(desk.statuses(), [482]);
    desk.hand(&first);
    assert_eq!(desk.statuses(), [0; 0], "a retransmission of the first, which has no answer yet");
}

#[test]
fn a_bye_with_the_number_of_another_dialogs_bye_ends_its_own_call() {
    let mut desk = Desk::new();
    let (first, first_tag) = desk.standing(&old(invite()));
    let (second, second_tag) = desk.standing(&old(invite().cseq(2)));
    let bye = |tag: &str| old(text("BYE").cseq(3).to(tag));
    for (call, tag) in [(first, first_tag), (second, second_tag)] {
        desk.hand(&bye(&tag));
        assert_eq!(desk.statuses(), [200]);
        let ended = desk.events();
        assert!(matches!(ended[..], [(of, Event::Ended { .. })] if of == call), "{ended:?}");
    }
}
