//! Session timers (RFC 4028).

use super::*;

fn desk(expires: Option<u32>) -> Desk {
    Desk::with(identity(), Limits::default(), SessionTimer { expires, min_se: 90 })
}

fn accepted(desk: &mut Desk, invite: &Text) -> (CallKey, String) {
    desk.hand(invite);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let ok = desk.only();
    desk.own(&text("ACK").branch("ack").to(&to_tag(&ok)));
    desk.outputs.clear();
    (key, ok)
}

#[test]
fn an_interval_that_is_too_short_gets_422_with_ours() {
    let mut desk = desk(Some(1_800));
    desk.hand(&invite().header("Supported: timer").header("Session-Expires: 60"));
    let refusal = desk.only();
    assert_eq!((status(&refusal), header(&refusal, "Min-SE")), (422, Some("90")));
}

#[test]
fn the_2xx_says_who_refreshes() {
    let (_, ok) = accepted(&mut desk(None), &invite().header("k: timer").header("x: 600;refresher=uac"));
    assert_eq!((header(&ok, "Session-Expires"), header(&ok, "Require")), (Some("600;refresher=uac"), Some("timer")));
    let (_, ok) = accepted(&mut desk(Some(1_800)), &invite());
    assert_eq!((header(&ok, "Session-Expires"), header(&ok, "Require")), (Some("1800;refresher=uas"), None));
    let (_, ok) = accepted(&mut desk(None), &invite());
    assert_eq!(header(&ok, "Session-Expires"), None);
}

#[test]
fn a_peer_that_does_not_refresh_gets_bye_shortly_before_the_end() {
    let mut desk = desk(None);
    let (key, _) =
        accepted(&mut desk, &invite().header("Supported: timer").header("Session-Expires: 90;refresher=uac"));
    desk.wait(SECOND * 59);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND * 2);
    assert!(desk.sent()[0].starts_with("BYE "));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::SessionExpired))]);
}

#[test]
fn a_peers_refresh_starts_the_time_anew() {
    let mut desk = desk(None);
    let timer = ["Supported: timer", "Session-Expires: 90;refresher=uac"];
    let (_, ok) = accepted(&mut desk, &invite().header(timer[0]).header(timer[1]));
    let tag = to_tag(&ok);
    for round in 0..5 {
        desk.wait(SECOND * 50);
        desk.own(
            &text("UPDATE").to(&tag).cseq(2 + round).branch(&format!("r{round}")).header(timer[0]).header(timer[1]),
        );
        assert_eq!(header(&desk.only(), "Session-Expires"), Some("90;refresher=uac"));
    }
    assert_eq!(desk.uas.load().sessions, 1);
}

#[test]
fn we_refresh_by_update_where_the_peer_takes_it_at_half_the_time() {
    let mut desk = desk(None);
    let line = "Session-Expires: 600;refresher=uas";
    let (_, ok) =
        accepted(&mut desk, &invite().header("Supported: timer").header(line).header("Allow: INVITE, UPDATE"));
    assert_eq!(header(&ok, "Session-Expires"), Some("600;refresher=uas"));
    desk.wait(SECOND * 299);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND + ms(100));
    let update = desk.only();
    assert!(update.starts_with("UPDATE "));
    assert_eq!((header(&update, "Session-Expires"), body(&update)), (Some("600;refresher=uac"), ""));
    desk.reply(&update, 200, "Session-Expires: 600;refresher=uac\r\n", "");
    desk.wait(SECOND * 299);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND * 2);
    assert!(desk.sent()[0].starts_with("UPDATE "));
}

#[test]
fn we_refresh_by_reinvite_with_the_same_session_and_acknowledge_it() {
    let mut desk = desk(Some(1_800));
    let (key, ok) = accepted(&mut desk, &invite());
    desk.wait(SECOND * 900 + ms(100));
    let reinvite = desk.only();
    assert!(reinvite.starts_with("INVITE "), "{reinvite}");
    assert_eq!(body(&reinvite), ANSWER);
    // A change by the peer crosses it.
    desk.own(&invite().to(&to_tag(&ok)).cseq(2).branch("cross"));
    assert_eq!(desk.statuses(), [491]);
    desk.own(&text("ACK").to(&to_tag(&ok)).cseq(2).branch("cross"));
    desk.reply(&reinvite, 100, "", "");
    desk.reply(&reinvite, 200, "Contact: <sip:caller@192.0.2.9:5070>\r\n", OFFER);
    let ack = desk.only();
    assert!(ack.starts_with("ACK ") && header(&ack, "CSeq") == Some("1 ACK"));
    assert_ne!(header(&ack, "Via"), header(&reinvite, "Via"));
    assert_eq!(desk.events(), [(key, Event::Answer(OFFER.as_bytes().into()))]);
    desk.reply(&reinvite, 200, "", OFFER);
    assert_eq!((desk.only(), desk.events()), (ack, vec![]));
    desk.wait(SECOND * 890);
    assert_eq!(desk.sent().len(), 0);
}

#[test]
fn a_refusal_of_update_is_followed_by_a_reinvite() {
    let mut desk = desk(None);
    let line = "Session-Expires: 600;refresher=uas";
    accepted(&mut desk, &invite().header("Supported: timer").header(line).header("Allow: UPDATE"));
    desk.wait(SECOND * 300 + ms(100));
    let update = desk.only();
    desk.reply(&update, 501, "", "");
    let reinvite = desk.only();
    assert!(reinvite.starts_with("INVITE "));
    desk.reply(&reinvite, 488, "", "");
    let ack = desk.only();
    // The ACK of a refusal belongs to the INVITE's transaction.
    assert_eq!((ack.starts_with("ACK "), header(&ack, "Via")), (true, header(&reinvite, "Via")));
    assert_eq!(desk.uas.load().sessions, 1);
    desk.wait(SECOND * 280);
    assert!(desk.sent().iter().any(|text| text.starts_with("BYE ")));
}

#[test]
fn a_peer_that_does_not_know_the_call_or_does_not_answer_ends_it() {
    for answer in [Some(481), None] {
        let mut desk = desk(Some(1_800));
        let (key, _) = accepted(&mut desk, &invite());
        desk.wait(SECOND * 900 + ms(100));
        let reinvite = desk.sent().remove(0);
        match answer {
            Some(status) => desk.reply(&reinvite, status, "", ""),
            None => desk.wait(SECOND * 33),
        }
        assert!(desk.sent().iter().any(|text| text.starts_with("BYE ")));
        let status = answer.unwrap_or(408);
        assert_eq!(desk.events(), [(key, Event::Ended(EndReason::RefreshFailed(status)))]);
        desk.assert_idle();
    }
}

#[test]
fn crossing_refreshes_are_tried_again_and_a_longer_interval_is_taken() {
    let mut desk = desk(Some(1_800));
    accepted(&mut desk, &invite());
    desk.wait(SECOND * 900 + ms(100));
    let first = desk.only();
    desk.reply(&first, 491, "", "");
    desk.sent();
    desk.wait(ms(2_100));
    let second = desk.sent().remove(0);
    desk.reply(&second, 422, "Min-SE: 3600\r\n", "");
    let sent = desk.sent();
    assert_eq!(header(sent.last().unwrap(), "Session-Expires"), Some("3600;refresher=uac"));
}
