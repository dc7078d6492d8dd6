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
fn a_caller_that_asks_for_years_and_is_gone_holds_its_units_for_a_day_at_most() {
    let mut desk = desk(None);
    let years = invite().header("Supported: timer").header("Session-Expires: 4294967295;refresher=uac");
    let (key, _) = accepted(&mut desk, &years.header("Min-SE: 4294967295"));
    desk.wait(SECOND * 86_400);
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

/// A call that we refresh by UPDATE at 45 s and that ends at 60 s, at the moment of its first refresh; that refresh.
fn refreshed(desk: &mut Desk, allow: &str) -> (CallKey, String) {
    let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    let (key, _) = accepted(desk, &timer.header(&format!("Allow: INVITE{allow}")));
    desk.wait(SECOND * 45 + ms(100));
    (key, desk.only())
}

fn is_refresh(text: &str) -> bool {
    text.starts_with("UPDATE ") || text.starts_with("INVITE ")
}

/// The refreshes that were sent since the last look, without copies.
fn refreshes(desk: &mut Desk) -> Vec<String> {
    let mut sent: Vec<String> = desk.sent().into_iter().filter(|text| is_refresh(text)).collect();
    sent.dedup();
    sent
}

#[test]
fn a_refused_refresh_is_tried_again_while_there_is_time_and_the_call_stands() {
    for allow in ["", ", UPDATE"] {
        for (status, headers) in [
            (500, ""),
            (503, ""),
            (500, "Retry-After: 2\r\n"),
            (503, "Retry-After: 2 (busy);duration=9\r\n"),
            (488, ""),
        ]
        .into_iter()
        .chain([(401, ""), (420, "Unsupported: timer\r\n"), (400, ""), (603, "")])
        {
            let mut desk = desk(None);
            let (key, first) = refreshed(&mut desk, allow);
            desk.reply(&first, status, headers, "");
            desk.sent();
            desk.wait(ms(1_990));
            assert_eq!(refreshes(&mut desk).len(), 0, "{status} {headers}: after the time that the peer asks for");
            desk.wait(ms(2_100));
            let [second] = refreshes(&mut desk).try_into().unwrap();
            desk.reply(&second, 200, "Session-Expires: 90;refresher=uac\r\n", "");
            desk.wait(SECOND * 30);
            assert!(desk.uas.size(key).is_some(), "{status} {headers}");
        }
    }
}

#[test]
fn a_refresh_that_is_refused_again_and_again_is_tried_less_and_less_often_until_the_session_ends() {
    let mut desk = desk(None);
    let (key, mut refresh) = refreshed(&mut desk, "");
    let mut count = 1;
    loop {
        desk.reply(&refresh, 500, "", "");
        let due = desk.now;
        desk.sent();
        while desk.uas.size(key).is_some() && desk.now.since(due) < SECOND * 20 {
            desk.wait(ms(100));
            if let Some(next) = refreshes(&mut desk).pop() {
                refresh = next;
                break;
            }
        }
        if desk.uas.load().sessions == 0 {
            break;
        }
        count += 1;
    }
    assert!((3..=4).contains(&count), "{count} in 15 s");
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::SessionExpired))]);
}

#[test]
fn a_peer_that_asks_for_more_time_than_there_is_gets_bye_at_the_sessions_end() {
    let mut desk = desk(None);
    let (key, first) = refreshed(&mut desk, ", UPDATE");
    desk.reply(&first, 503, "Retry-After: 3600\r\n", "");
    desk.wait(SECOND * 14);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND * 2);
    assert!(desk.sent()[0].starts_with("BYE "));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::SessionExpired))]);
}

#[test]
fn a_peer_that_finds_fault_with_one_method_gets_the_other() {
    let mut desk = desk(None);
    let (_, first) = refreshed(&mut desk, ", UPDATE");
    desk.reply(&first, 488, "", "");
    desk.wait(ms(4_100));
    let [second] = refreshes(&mut desk).try_into().unwrap();
    assert!(first.starts_with("UPDATE ") && second.starts_with("INVITE "), "{second}");
    desk.reply(&second, 488, "", "");
    desk.wait(ms(6_100));
    let [third] = refreshes(&mut desk).try_into().unwrap();
    assert!(third.starts_with("UPDATE "), "{third}");
}

#[test]
fn after_422_all_refreshes_name_the_peers_shortest_interval() {
    let mut desk = desk(None);
    let (_, first) = refreshed(&mut desk, ", UPDATE");
    desk.reply(&first, 422, "Min-SE: 120\r\n", "");
    let second = desk.only();
    assert_eq!(
        (header(&second, "Min-SE"), header(&second, "Session-Expires")),
        (Some("120"), Some("120;refresher=uac"))
    );
    desk.reply(&second, 200, "Session-Expires: 120;refresher=uac\r\n", "");
    desk.wait(SECOND * 60 + ms(100));
    assert_eq!(header(&desk.only(), "Min-SE"), Some("120"));
}

#[test]
fn a_422_that_asks_for_nothing_more_is_a_refusal_like_others() {
    let mut desk = desk(None);
    let (_, first) = refreshed(&mut desk, ", UPDATE");
    desk.reply(&first, 422, "Min-SE: 90\r\n", "");
    assert_eq!(desk.sent().len(), 0);
    desk.wait(ms(4_100));
    assert_eq!(refreshes(&mut desk).len(), 1);
}

#[test]
fn no_refresh_is_sent_after_a_bye_whoever_says_it() {
    for (allow, ours) in [("", true), (", UPDATE", true), ("", false), (", UPDATE", false)] {
        let mut desk = desk(None);
        let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
        let (key, ok) = accepted(&mut desk, &timer.header(&format!("Allow: INVITE{allow}")));
        desk.wait(SECOND * 45 + ms(100));
        assert!(is_refresh(&desk.only()));
        match ours {
            true => desk.act(|uas, now| uas.hang_up(key, now)),
            false => desk.own(&text("BYE").to(&to_tag(&ok)).cseq(2)),
        }
        desk.sent();
        desk.wait(SECOND * 40);
        assert_eq!(refreshes(&mut desk).len(), 0, "{allow} {ours}");
        desk.assert_idle();
    }
}

#[test]
fn a_refresh_whose_name_is_not_found_is_tried_again() {
    let mut desk = desk(None);
    let mut invite = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    invite.contact = false;
    let (key, _) = accepted(
        &mut desk,
        &invite.header("Record-Route: <sip:p.example.net:5070;lr>").header("Contact: <sip:caller@c.example.net>"),
    );
    desk.wait(SECOND * 45 + ms(100));
    for _ in 0..2 {
        let asked = desk.outputs.iter().find_map(|output| match output {
            Output::Resolve(key, _) => Some(*key),
            _ => None,
        });
        desk.outputs.clear();
        desk.act(|uas, now| uas.on_resolved(asked.unwrap(), &[], now));
        assert!(desk.uas.size(key).is_some());
        desk.wait(ms(6_100));
    }
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
