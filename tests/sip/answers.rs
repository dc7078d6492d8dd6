//! Answers of the dispatcher's own.

use super::*;

#[test]
fn a_verdict_stays_the_same_when_room_opens_and_its_ack_is_absorbed() {
    let mut rig = rig(1);
    rig.report(0, Report { number: 1, units_used: 100, units_total: 100, ..Report::default() });
    let first = rig.send(&invite("a"));
    assert_eq!((status(first), answer(first).retry_after), ((503, Reason::Full), Some(5)));
    rig.report(0, Report { number: 2, units_total: 100, ..Report::default() });
    let again = rig.send(&invite("a"));
    assert_eq!(status(again), (503, Reason::AnsweredBefore));
    assert_eq!(answer(again), answer(first), "tag included");
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (200, Reason::CancelTooLate));
    let tag = answer(first).to_tag.unwrap();
    let tag = std::str::from_utf8(tag.as_bytes()).unwrap();
    let ack = same(&invite("a"), "ACK")
        .replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"));
    assert_eq!(rig.send(&ack), dropped(Reason::OwnAck));
    assert_eq!(rig.send(&same(&invite("a"), "ACK")), dropped(Reason::OwnAck));
    assert_eq!(status(rig.send(&in_dialog("x", "BYE", tag))), (481, Reason::UnknownDialog));
    let next = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    assert_eq!(rig.send(&next).reason, Reason::Selected, "the verdict was for its branch");
}

#[test]
fn a_cancel_does_not_succeed_because_another_copy_of_its_invite_was_refused() {
    let mut rig = rig(1);
    rig.report(0, Report { number: 1, units_used: 100, units_total: 100, ..Report::default() });
    assert_eq!(status(rig.send(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-"))), (503, Reason::Full));
    rig.report(0, Report { number: 2, units_total: 100, ..Report::default() });
    // The INVITE that it cancels is still on its way, and will be answered (RFC 3261 §9.2: 481).
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (481, Reason::UnknownCancel));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Selected);
}

#[test]
fn the_next_attempt_of_a_proxy_that_hunts_is_selected_once_the_refusal_is_acknowledged() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let sized = with_header(&invite("a"), "X-Session-Size: 5");
    let attempt = |number: u32| sized.replace("z9hG4bK-", &format!("z9hG4bK-{number}-"));
    let ack = |attempt: &str, tag: &str| {
        same(attempt, "ACK").replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"))
    };
    let first = handoff(rig.send(&attempt(1)));
    rig.answered(&first);
    assert_eq!(to(rig.send(&attempt(2))), (first.worker.0, Reason::Merged), "it has not been acknowledged");
    let tag = rig.token(first.worker.0, 1);
    assert_eq!(to(rig.send(&ack(&attempt(1), &tag))), (first.worker.0, Reason::ToTag));
    assert_eq!(to(rig.send(&ack(&attempt(2), &tag))), (first.worker.0, Reason::ToTag));
    let next = rig.send(&attempt(3));
    assert_eq!((next.reason, handoff(next).size, handoff(next).follows), (Reason::Selected, 5, false));
    assert_ne!(handoff(next).worker, first.worker, "it is placed like any new request");
    assert_eq!(to(rig.send(&attempt(4))), (handoff(next).worker.0, Reason::Merged), "a copy of the next attempt");
    // With credentials it goes to the worker that asked for them.
    let again = attempt(5).replace("CSeq: 1", "CSeq: 2");
    assert_eq!(to(rig.send(&again)), (handoff(next).worker.0, Reason::Again));
    // The ACK was faster than the worker's word that it has answered: the next attempt is new before and after that
    // word.
    let other = |number| attempt(number).replace("Call-ID: a", "Call-ID: b");
    let early = handoff(rig.send(&other(6)));
    rig.send(&ack(&other(6), "tag-of-nobody"));
    let new = rig.send(&other(7));
    assert_eq!(new.reason, Reason::Selected);
    rig.send(&ack(&other(7), "tag-of-nobody"));
    rig.answered(&early);
    rig.answered(&handoff(new));
    assert_eq!(rig.send(&other(8)).reason, Reason::Selected);
    // No part of that call is left to be moved.
    rig.send(&ack(&attempt(3), "tag-of-nobody"));
    rig.down(handoff(next).worker.0);
    assert_eq!(rig.back(&attempt(3), &handoff(next), Cause::Died), dropped(Reason::MovedAlready));
    assert_eq!(rig.send(&attempt(3)), dropped(Reason::WorkerGone), "a late copy");
    assert_eq!(rig.send(&attempt(1)).reason, Reason::Retransmission);
}

#[test]
fn an_ack_to_an_answer_that_left_no_entry_is_known_by_its_tag() {
    let mut rig = rig(1);
    let refused = answer(rig.send(&invite("a").replace("70", "many")));
    assert_eq!(rig.dispatch.table_len(), 0);
    let tag = std::str::from_utf8(refused.to_tag.as_ref().unwrap().as_bytes()).unwrap().to_owned();
    let ack = same(&invite("a"), "ACK")
        .replace("To: <sip:ivr@ms.example.net>", &format!("To: <sip:ivr@ms.example.net>;tag={tag}"));
    assert_eq!(rig.send(&ack), dropped(Reason::OwnAck));
}

#[test]
fn options_to_the_dispatcher_tell_whether_an_invite_would_be_taken() {
    let mut rig = rig(2);
    let options = same(&invite("o"), "OPTIONS");
    let well = rig.send(&options);
    assert_eq!(status(well), (200, Reason::Options));
    assert_eq!(answer(well).says, Says::Capabilities);
    rig.dispatch.set_admin(WorkerId(0), Admin::Drain);
    assert_eq!(rig.send(&options).reason, Reason::Options);
    rig.dispatch.set_admin(WorkerId(1), Admin::Maint);
    let unwell = rig.send(&options);
    assert_eq!((status(unwell), answer(unwell).retry_after), ((503, Reason::OptionsUnavailable), Some(5)));
}

#[test]
fn where_no_worker_has_room_the_answer_is_503_only_when_not_even_size_1_fits() {
    let mut rig = rig(2);
    let sized = |call: &str, size: &str| with_header(&invite(call), &format!("X-Session-Size: {size}"));
    assert_eq!(status(rig.send(&sized("a", "101"))), (480, Reason::LargerThanAnyWorker));
    for call in ["b", "c"] {
        assert_eq!(rig.send(&sized(call, "60")).reason, Reason::Selected);
    }
    let busy = rig.send(&sized("d", "60"));
    assert_eq!((status(busy), answer(busy).retry_after), ((486, Reason::NoRoomForSize), None));
    for call in ["e", "f"] {
        assert_eq!(rig.send(&sized(call, "40")).reason, Reason::Selected);
    }
    assert_eq!(status(rig.send(&invite("g"))), (503, Reason::Full));
    (0..2).for_each(|worker| rig.dispatch.set_admin(WorkerId(worker), Admin::Drain));
    assert_eq!(status(rig.send(&invite("h"))), (503, Reason::AllDraining));
    (0..2).for_each(|worker| rig.down(worker));
    assert_eq!(status(rig.send(&invite("i"))), (503, Reason::NoWorker));
}
