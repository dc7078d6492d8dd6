//! The table.

use super::*;

#[test]
fn a_retransmission_reaches_the_same_worker_from_any_source_port() {
    let mut rig = rig(4);
    let first = rig.send(&invite("a"));
    rig.arrival.source = "203.0.113.5:33333".parse().unwrap();
    let again = rig.send(&invite("a"));
    assert_eq!(to(again), (handoff(first).worker.0, Reason::Retransmission));
    assert_eq!((handoff(again).entry, handoff(again).size), (None, 0), "its answer starts no clock");
    assert_eq!(rig.dispatch.table_len(), 1);
}

#[test]
fn a_cancel_finds_its_invite_by_branch_else_by_call_and_cseq() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    let cancel = same(&invite("a"), "CANCEL");
    assert_eq!(to(rig.send(&cancel)), (worker, Reason::Cancel));
    assert_eq!(to(rig.send(&cancel)), (worker, Reason::Cancel), "and so do its retransmissions");
    assert_eq!(to(rig.send(&cancel.replace("z9hG4bK-", "z9hG4bK-new-"))), (worker, Reason::Cancel));
    let other = cancel.replace("z9hG4bK-", "z9hG4bK-new-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(status(rig.send(&other)), (481, Reason::UnknownCancel));
    assert_eq!(status(rig.send(&same(&invite("b"), "CANCEL"))), (481, Reason::UnknownCancel));
}

#[test]
fn a_branch_of_rfc_2543_does_not_name_the_transaction() {
    let mut rig = rig(4);
    let old = |call: &str| invite(call).replace(&format!("branch=z9hG4bK-{call}"), "branch=1");
    let first = handoff(rig.send(&old("a"))).worker.0;
    assert_eq!(rig.send(&old("b")).reason, Reason::Selected);
    assert_eq!(to(rig.send(&old("a"))), (first, Reason::Retransmission));
    assert_eq!(to(rig.send(&same(&old("a"), "CANCEL"))), (first, Reason::Cancel));
}

#[test]
fn a_fork_through_a_proxy_without_branches_is_no_retransmission_of_the_other_fork() {
    let mut rig = rig(4);
    let first = invite("a").replace("branch=z9hG4bK-a", "branch=1");
    let second = first.replace("INVITE sip:ivr@", "INVITE sip:other@");
    let worker = handoff(rig.send(&first)).worker.0;
    assert_eq!(to(rig.send(&second)), (worker, Reason::Merged));
    assert_eq!(to(rig.send(&second)), (worker, Reason::Retransmission));
    assert_eq!(to(rig.send(&same(&second, "CANCEL"))), (worker, Reason::Cancel));
}

#[test]
fn an_ack_goes_where_its_invite_went_and_is_never_answered() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    assert_eq!(to(rig.send(&same(&invite("a"), "ACK"))), (worker, Reason::Ack));
    assert_eq!(to(rig.send(&in_dialog("a", "ACK", "foreign"))), (worker, Reason::Ack));
    assert_eq!(rig.send(&same(&invite("b"), "ACK")), dropped(Reason::UnknownAck));
    rig.down(worker);
    assert_eq!(rig.send(&same(&invite("a"), "ACK")), dropped(Reason::WorkerGone));
}

#[test]
fn a_request_in_a_dialog_without_a_token_is_found_by_its_call() {
    let mut rig = rig(4);
    let worker = handoff(rig.send(&invite("a"))).worker.0;
    assert_eq!(to(rig.send(&in_dialog("a", "BYE", "foreign"))), (worker, Reason::InDialog));
    assert_eq!(status(rig.send(&in_dialog("b", "BYE", "foreign"))), (481, Reason::UnknownDialog));
    assert_eq!(answer(rig.send(&in_dialog("b", "BYE", "foreign"))).to_tag, None, "To has a tag already");
    rig.down(worker);
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", "foreign"))), (481, Reason::WorkerGone));
}

#[test]
fn the_request_again_and_merged_copies_reach_the_same_worker() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&invite("a")));
    rig.answered(&first);
    let again =
        with_header(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2"), "X-Session-Size: 5");
    let decision = rig.send(&again);
    assert_eq!(to(decision), (first.worker.0, Reason::Again));
    assert_eq!(handoff(decision).size, 5);
    assert_ne!(handoff(decision).entry, first.entry);
    let merged = rig.send(&again.replace("z9hG4bK-2-", "z9hG4bK-3-"));
    assert_eq!((to(merged), handoff(merged).size), ((first.worker.0, Reason::Merged), 0));
}

#[test]
fn an_entry_lives_pending_max_then_64_t1_after_its_answer() {
    let mut rig = rig(2);
    let ringing = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(299));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
    rig.answered(&ringing);
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.dispatch.table_len(), 0);
    rig.send(&invite("b"));
    rig.pass(Duration::from_secs(300));
    assert_eq!(rig.dispatch.table_len(), 0);
    rig.send(&same(&invite("c"), "MESSAGE"));
    rig.pass(Duration::from_secs(32));
    assert_eq!(rig.dispatch.table_len(), 0);
}

#[test]
fn an_acknowledged_invite_whose_worker_died_before_it_could_say_so_goes_after_64_t1() {
    let mut rig = rig(2);
    let answered = handoff(rig.send(&invite("a")));
    rig.send(&same(&invite("a"), "ACK"));
    rig.down(answered.worker.0);
    assert_eq!(rig.back(&invite("a"), &answered, Cause::Died), dropped(Reason::MovedAlready));
    rig.pass(Duration::from_secs(31));
    assert_eq!(rig.dispatch.table_len(), 1);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.dispatch.table_len(), 0);
}

#[test]
fn an_initial_request_whose_worker_died_is_selected_anew_and_its_entry_rewritten() {
    let mut rig = rig(2);
    let first = handoff(rig.send(&invite("a")));
    rig.down(first.worker.0);
    let anew = rig.send(&invite("a"));
    assert_eq!(to(anew), (1 - first.worker.0, Reason::SelectedAnew));
    assert_eq!((handoff(anew).entry, handoff(anew).again), (first.entry, true));
    assert_eq!(to(rig.send(&same(&invite("a"), "CANCEL"))), (1 - first.worker.0, Reason::Cancel));
    assert_eq!(rig.back(&invite("a"), &first, Cause::Died), dropped(Reason::MovedAlready));
}
