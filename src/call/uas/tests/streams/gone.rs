//! Requests of ours whose connection is gone with the dispatcher, or for lack of traffic.

use super::*;

/// A call over a connection of the dispatcher, whose session we refresh.
fn refreshed(desk: &mut Desk, transport: Transport) -> (CallKey, String) {
    let invite = invite().header("Supported: timer").header("Session-Expires: 600;refresher=uas");
    desk.hand_over(&invite, transport, 5);
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
    let tag = to_tag(&desk.only());
    desk.hand_over(&text("ACK").branch("ack").to(&tag), transport, 5);
    desk.outputs.clear();
    (key, tag)
}

/// Way and destination of what was sent.
fn ways(desk: &Desk) -> Vec<(Hop, String)> {
    desk.transmits().iter().map(|transmit| (transmit.hop, transmit.to.to_string())).collect()
}

#[test]
fn an_ack_for_a_peer_of_the_old_dispatcher_never_goes_to_a_peer_of_the_new_one() {
    for (transport, expected) in
        [(Transport::Tcp, Hop::Dial), (Transport::Tls, Hop::DialSecure), (Transport::Ws, Hop::Gone)]
    {
        let mut desk = desk(secure());
        refreshed(&mut desk, transport);
        desk.wait(SECOND * 301);
        let (hop, _, reinvite) = desk.only_transmit();
        assert_eq!(hop, Hop::Dispatcher(conn(5)));
        desk.reply(&reinvite, 100, "", "");
        desk.act(|uas, now| uas.on_dispatcher_lost(now));
        assert_eq!(ways(&desk), [], "{transport:?}: the peer has it");
        desk.reply(&reinvite, 200, "Contact: <sip:caller@192.0.2.9:5070>\r\n", ANSWER);
        assert_eq!(ways(&desk)[0], (expected, "192.0.2.9:5070".to_owned()), "{transport:?}");
        // The peer repeats its 200, and gets the ACK again.
        desk.outputs.clear();
        desk.reply(&reinvite, 200, "Contact: <sip:caller@192.0.2.9:5070>\r\n", ANSWER);
        assert_eq!(ways(&desk), [(expected, "192.0.2.9:5070".to_owned())], "{transport:?}");
    }
}

#[test]
fn a_refresh_that_waits_for_an_answer_when_the_dispatcher_dies_is_sent_to_the_contact() {
    let mut desk = Desk::new();
    refreshed(&mut desk, Transport::Tcp);
    desk.wait(SECOND * 301);
    let (_, _, first) = desk.only_transmit();
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    let (hop, to, second) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5070"));
    assert_eq!(header(&second, "CSeq"), header(&first, "CSeq"));
    desk.reply(&second, 200, "Contact: <sip:caller@192.0.2.9:5070>\r\n", ANSWER);
    assert_eq!(ways(&desk)[0].0, Hop::Dial, "its ACK");
}

#[test]
fn a_refresh_for_a_browser_that_the_dispatcher_took_along_is_sent_when_it_has_come_back() {
    let mut desk = Desk::new();
    let (_, tag) = refreshed(&mut desk, Transport::Ws);
    desk.wait(SECOND * 301);
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    assert_eq!(ways(&desk), []);
    desk.hand_over(&text("INFO").to(&tag).cseq(2), Transport::Ws, 1);
    desk.outputs.clear();
    desk.wait(SECOND * 5);
    let (hop, _, again) = desk.only_transmit();
    assert!(again.starts_with("INVITE "), "{again}");
    assert_eq!(hop, Hop::Dispatcher(conn(1)));
}

#[test]
fn a_bye_on_the_way_to_a_browser_is_over_when_the_dispatcher_dies() {
    let mut desk = Desk::new();
    let (key, ..) = desk.standing_over(Transport::Ws, 5);
    desk.bye(key);
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    assert_eq!(ways(&desk), []);
    assert!(desk.uas.is_quiet(), "its BYE waits");
}

#[test]
fn a_pinned_call_whose_connection_is_gone_is_refreshed_over_a_new_one_to_its_contact() {
    let mut desk = Desk::new();
    let pinned = |desk: &mut Desk, text: &Text| {
        desk.seq += 1;
        let mut envelope = Envelope { received: desk.now, ..Envelope::plain(desk.seq) };
        over(Transport::Tcp, 5)(&mut envelope);
        (envelope.pinned, envelope.follows) = (true, text.to_tag.is_some());
        desk.say(&via(text, Transport::Tcp), &Arrival::handed_over(&envelope));
    };
    pinned(&mut desk, &invite().header("Supported: timer").header("Session-Expires: 1800;refresher=uas"));
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
    let tag = to_tag(&desk.only());
    pinned(&mut desk, &text("ACK").branch("ack").to(&tag));
    desk.outputs.clear();
    desk.wait(SECOND * 301);
    let (hop, _, refresh) = desk.only_transmit();
    assert_eq!(hop, Hop::Dispatcher(conn(5)), "half of its interval would be too late: the connection would be silent");
    desk.reply(&refresh, 200, "Contact: <sip:caller@192.0.2.9:5070>\r\n", ANSWER);
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.wait(SECOND * 301);
    let (hop, to, refresh) = desk.only_transmit();
    assert!(refresh.starts_with("INVITE "), "{refresh}");
    assert_eq!((hop, to.as_str()), (Hop::Dial, "192.0.2.9:5070"));
}
