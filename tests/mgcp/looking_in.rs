//! Looking in, slots without workers, and a state that goes on.

use pointsman::pack::{Packed, Saved};

use super::*;

#[test]
fn explain_tells_of_a_call_else_of_endpoint_and_transaction() {
    let mut rig = rig(2);
    let token = rig.token(1, 1);
    let Handoff { worker, .. } = rig.hand(&crcx(1, "A1"));
    rig.send(&command("RQNT", 4711, &format!("ann/{token}/17@MS"), "X: 1\n"));
    for name in ["A1", "a1"] {
        let explained = rig.dispatch.explain(name.as_bytes());
        let target = ShortTarget::Worker { worker, size: 1, pinned: None, follows: false };
        assert_eq!(explained.iter().map(|line| line.target).collect::<Vec<_>>(), [target]);
    }
    let by_name = rig.dispatch.explain(format!("ann/{token}/17@MS").as_bytes());
    assert_eq!(by_name.iter().map(|line| line.reason).collect::<Vec<_>>(), [Reason::Endpoint]);
    assert_eq!(rig.dispatch.explain(b"4711"), by_name);
}

#[test]
fn a_vacant_slots_port_gets_the_same_answers() {
    let mut rig = rig(2);
    let token = rig.token(1, 1);
    rig.down(1);
    for (text, code) in [
        (command("MDCX", 1, &format!("ann/{token}/17@ms:2431"), ""), 500),
        (command("DLCX", 2, "ann/1@ms", &format!("I: {}\n", rig.connection(1, 1))), 515),
    ] {
        let message = parse(text.as_bytes()).unwrap();
        let decision = rig.dispatch.on_vacant(&message, &rig.arrival, rig.now);
        assert_eq!(answer(decision), (code, Reason::WorkerGone));
    }
    let text = crcx(3, "a");
    let decision = rig.dispatch.on_vacant(&parse(text.as_bytes()).unwrap(), &rig.arrival, rig.now);
    assert_eq!(given(decision), (0, Reason::SelectedGroup, 1));
    assert_eq!(rig.dispatch.counters().received, 0, "counted apart");
}

#[test]
fn a_state_that_was_saved_decides_on() {
    let mut rig = rig(3);
    let text = crcx(1, "a");
    let first = rig.hand(&text);
    let (gathering, _) = everyone(&mut rig, "AUEP 2 *@ms MGCP 1.0\n");
    let mut state = Vec::new();
    Saved::save(&rig.dispatch, &mut state);
    let mut heir = rig_with(3, rules(), 1000);
    heir.dispatch.restore(&mut Packed::new(&state)).unwrap();
    assert_eq!(given(heir.send(&text)), (first.worker.0, Reason::Retransmission, 0));
    assert_eq!(given(heir.send(&crcx(3, "a"))), (first.worker.0, Reason::Group, 1));
    assert_eq!(given(heir.send(&command("MDCX", 4, "ann/1@ms:2431", ""))), (1, Reason::EndpointDomain, 0));
    let (again, _) = everyone(&mut heir, "AUEP 2 *@ms MGCP 1.0\n");
    assert_ne!(again, gathering, "an answer to the earlier one is none to this");
    assert_eq!(first.seq, Seq(1));
    assert_eq!(ReturnCode::OVERLOAD.0, 409);
}
