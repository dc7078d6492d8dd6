//! Messages after the first that still reach the well-known port go to the worker that has the call.
//!
//! The policy is round robin throughout: a message that was selected anew would certainly meet another worker.

use serde_json::Value;

use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::{Pointsman, Setup};

fn front() -> (Pointsman, Phone) {
    let pointsman = Setup::new(4).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    (pointsman, phone)
}

/// The workers that a call's messages went to, oldest decision first.
fn workers_of(pointsman: &Pointsman, request: &Request) -> Vec<Value> {
    let explained = pointsman.stats(&format!("explain {}", request.call_id));
    let decisions = explained["decisions"].as_array().unwrap_or_else(|| panic!("no decisions in {explained}"));
    decisions.iter().map(|decision| decision["worker"].clone()).collect()
}

#[test]
fn a_cancel_goes_to_the_worker_that_rings_and_ends_the_call_with_487() {
    let (pointsman, phone) = front();
    for _ in 0..4 {
        // The built-in application rings for so many milliseconds when it is asked to.
        let mut invite = phone.invite(pointsman.address(), None);
        invite.uri.push_str(";ring=60000");
        phone.send(&invite, pointsman.address());
        phone.expect("ringing", |reply| reply.answers(&invite) && reply.status() == 180);
        let cancel = invite.cancel();
        phone.send(&cancel, pointsman.address());
        let mut finals = Vec::new();
        while finals.len() < 2 {
            let reply = phone.expect("answers to INVITE and CANCEL", |reply| reply.status() >= 200);
            if reply.answers(&invite) {
                phone.send(&invite.ack(&reply), pointsman.address());
            }
            finals.push((reply.method().to_owned(), reply.status()));
        }
        finals.sort();
        assert_eq!(finals, [("CANCEL".to_owned(), 200), ("INVITE".to_owned(), 487)]);
        let workers = workers_of(&pointsman, &invite);
        assert!(workers.len() >= 2 && workers.iter().all(|worker| *worker == workers[0]), "{workers:?}");
    }
}

#[test]
fn a_cancel_right_behind_its_invite_finds_it() {
    let (pointsman, phone) = front();
    for _ in 0..20 {
        let invite = phone.invite(pointsman.address(), None);
        let cancel = invite.cancel();
        phone.send(&invite, pointsman.address());
        phone.send(&cancel, pointsman.address());
        // Whether the call is answered first is the worker's affair; that the CANCEL belongs to it is not.
        assert_eq!(phone.final_response(&cancel).status(), 200);
    }
}

#[test]
fn an_old_callers_copy_and_cancel_find_its_call_where_the_workers_port_is_written_into_the_first_message() {
    // Without the magic cookie the request-URI names the transaction as well (RFC 3261 §17.2.3).
    for insert in ["request-uri", "header"] {
        let pointsman = Setup::new(2).with(["--policy", "round-robin", "--insert", insert]).start();
        let phone = Phone::new(pointsman.address().ip());
        let mut invite = phone.invite(pointsman.address(), None);
        (invite.branch, invite.uri) = ("1".to_owned(), format!("{};ring=60000", invite.uri));
        phone.send(&invite, pointsman.address());
        phone.expect("ringing", |reply| reply.answers(&invite) && reply.status() == 180);
        phone.send(&invite, pointsman.address());
        let again = phone.expect("the answer again", |reply| reply.answers(&invite));
        assert_eq!(again.status(), 180, "{insert}: {}", again.text);
        assert_eq!(phone.transact(&invite.cancel(), pointsman.address()).status(), 200, "{insert}");
        let ended = phone.final_response(&invite);
        assert_eq!(ended.status(), 487, "{insert}: {}", ended.text);
        phone.send(&invite.ack(&ended), pointsman.address());
        let [first, rest @ ..] = &workers_of(&pointsman, &invite)[..] else { panic!("no decision") };
        assert!(rest.len() >= 2 && rest.iter().all(|worker| worker == first), "{insert}: {first} {rest:?}");
    }
}

#[test]
fn a_cancel_without_a_call_gets_481() {
    let (pointsman, phone) = front();
    let cancel = phone.invite(pointsman.address(), None).cancel();
    assert_eq!(phone.transact(&cancel, pointsman.address()).status(), 481);
}

#[test]
fn a_retransmitted_invite_gets_the_same_answer_from_the_same_worker() {
    let (pointsman, phone) = front();
    let invite = phone.invite(pointsman.address(), None);
    let first = phone.transact(&invite, pointsman.address());
    phone.send(&invite, pointsman.address());
    let second = phone.final_response(&invite);
    assert_eq!((first.status(), second.status()), (200, 200));
    assert_eq!((first.to_tag(), first.contact_uri()), (second.to_tag(), second.contact_uri()));
    let sessions = |load: &Value| -> u64 {
        load["workers"].as_array().unwrap().iter().filter_map(|worker| worker["sessions"].as_u64()).sum()
    };
    pointsman.wait_until("a session", |load| sessions(load) > 0);
    assert_eq!(sessions(&pointsman.load()), 1);
}

#[test]
fn a_request_that_is_sent_again_after_a_challenge_reaches_the_same_worker() {
    let (pointsman, phone) = front();
    for _ in 0..4 {
        // 420 stands for every answer after which a client tries again: 401, 407, 413, 415, 420, 422.
        let invite = phone.invite(pointsman.address(), None).with("Require", "nothing-like-that");
        let refusal = phone.transact(&invite, pointsman.address());
        assert_eq!(refusal.status(), 420, "{}", refusal.text);
        phone.send(&invite.ack(&refusal), pointsman.address());
        let mut again = invite.clone().on_new_branch();
        again.cseq += 1;
        again.headers.clear();
        let dialog = phone.call(&again, pointsman.address());
        let workers = workers_of(&pointsman, &invite);
        let first = workers[0].as_str().unwrap().to_owned();
        assert_eq!(first, format!("w{}", pointsman.slot_of(dialog.target)), "{workers:?}");
    }
}

#[test]
fn a_merged_invite_gets_482_from_the_worker_that_has_the_call() {
    let (pointsman, phone) = front();
    let invite = phone.invite(pointsman.address(), None);
    let merged = invite.clone().on_new_branch();
    phone.send(&invite, pointsman.address());
    phone.send(&merged, pointsman.address());
    let (mut answered, mut loop_detected) = (None, None);
    while answered.is_none() || loop_detected.is_none() {
        let reply = phone.expect("answers to both copies", |reply| reply.status() >= 200);
        if reply.answers(&invite) {
            answered = Some(reply);
        } else if reply.answers(&merged) {
            loop_detected = Some(reply);
        }
    }
    // Two copies that are on their way together may arrive in either order, and two lanes may read them in either.
    let mut statuses = [answered, loop_detected].map(|reply| reply.map(|reply| reply.status()));
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(200), Some(482)]);
}

#[test]
fn an_invite_with_replaces_reaches_the_worker_that_has_the_call() {
    let (pointsman, phone) = front();
    for _ in 0..4 {
        let old = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
        let replaces =
            format!("{};to-tag={};from-tag={}", old.invite.call_id, old.answer.to_tag(), old.invite.from_tag);
        let invite = phone.invite(pointsman.address(), None).with("Replaces", replaces);
        phone.transact(&invite, pointsman.address());
        let slot = format!("w{}", pointsman.slot_of(old.target));
        assert_eq!(workers_of(&pointsman, &invite)[0], slot.as_str());
    }
}

#[test]
fn a_request_in_a_dialog_is_relayed_when_it_comes_to_the_well_known_port() {
    let (pointsman, phone) = front();
    for _ in 0..4 {
        let invite = phone.invite(pointsman.address(), None);
        let dialog = Dialog::new(&invite, phone.transact(&invite, pointsman.address()));
        phone.send(&dialog.ack(), pointsman.address());
        let bye = dialog.request("BYE", 1);
        assert_eq!(phone.transact(&bye, pointsman.address()).status(), 200);
    }
    assert_eq!(pointsman.dispatcher("relayed"), 8);
}

#[test]
fn a_request_of_a_dialog_nobody_has_gets_481_and_an_ack_gets_nothing() {
    let (pointsman, phone) = front();
    let mut bye = phone.request("BYE", pointsman.address());
    bye.to_tag = Some("pm00000000000000000-nobody".to_owned());
    let ack = Request { method: "ACK".to_owned(), ..bye.clone() }.on_new_branch();
    phone.send(&ack, pointsman.address());
    assert_eq!(phone.transact(&bye, pointsman.address()).status(), 481);
}
