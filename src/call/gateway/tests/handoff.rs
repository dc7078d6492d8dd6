//! Messages that the dispatcher hands over: each is answered or given back, exactly once, and on the right way.

use super::*;
use crate::ids::GatheringId;

const CRCX: &str = "CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n";

/// The way of each transmission, and the reports to the dispatcher, in order.
fn said(outputs: &[Output]) -> Vec<String> {
    let of = |output: &Output| match output {
        Output::Transmit(sent) => Some(format!("{:?} {}", sent.hop, text(sent).split(' ').next().unwrap())),
        Output::Answered(seq) => Some(format!("answered {}", seq.0)),
        Output::Refuse(seq, reason) => Some(format!("refuse {} {reason:?}", seq.0)),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

#[test]
fn an_answer_leaves_by_the_well_known_socket_and_then_the_message_is_dealt_with() {
    let mut rig = Rig::new();
    assert_eq!(said(&rig.hand_over(CRCX)), ["Listener(0) 200", "answered 1"]);
    assert_eq!(said(&rig.hand_over(CRCX)), ["Listener(0) 200", "answered 2"]);
    assert_eq!(rig.units(), 1);
    for other in ["000 7\r\n", "200 7 OK\r\n", "garbage", "999\r\n", "200 x\r\n"] {
        let outputs = rig.hand_over(other);
        assert_eq!(said(&outputs), [format!("answered {}", rig.seq)], "{other}");
    }
    assert_eq!(said(&rig.hand_over("NTFY 9 ann/1@gw MGCP 1.0\r\n")), ["Listener(0) 504", "answered 8"]);
    assert_eq!(said(&rig.hand_over("CRCX 10 ann/$@gw MGCP 2.0\r\n")), ["Listener(0) 528", "answered 9"]);
}

#[test]
fn without_a_duplicate_it_leaves_by_the_own_socket_and_a_gathering_s_over_the_link() {
    let mut rig = Rig::of(Identity { duplicates: Vec::new(), ..identity() }, Limits::default());
    assert_eq!(said(&rig.hand_over(CRCX)), ["Own(0) 200", "answered 1"]);
    let path = Path::Handoff { seq: Seq(9), listener: ListenerId(0), reply_to: ReplyTo::Gathering(GatheringId(77)) };
    let arrival = Arrival { path, ..rig.handed() };
    rig.arrive("AUEP 2 *@gw MGCP 1.0\r\n", &arrival);
    let outputs: Vec<Output> = rig.outputs.drain(..).collect();
    assert_eq!(said(&outputs), ["Dispatcher(Gathering(GatheringId(77))) 200", "answered 9"]);
}

#[test]
fn without_room_a_selected_crcx_goes_back_and_all_others_are_answered() {
    let mut rig = Rig::with(Limits { units: 1, ..Limits::default() });
    rig.create("ann", 1);
    let crcx = |id: u32| format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n");
    assert_eq!(said(&rig.hand_over(&crcx(2))), ["refuse 1 Full"]);
    // Its copy goes back as well, though there would be room now.
    rig.gateway.set_units(2);
    assert_eq!(said(&rig.hand_over(&crcx(2))), ["refuse 2 Follows"]);
    rig.gateway.set_units(1);
    assert_eq!(code(&rig.send(&crcx(3))), 403);
    let arrival = Arrival { follows: true, ..rig.handed() };
    rig.arrive(&crcx(4), &arrival);
    let outputs: Vec<Output> = rig.outputs.drain(..).collect();
    assert_eq!(said(&outputs), ["Listener(0) 403", "answered 3"]);
    // A new dispatcher may select us for a message that was given back to the old one.
    rig.gateway.on_dispatcher_lost();
    rig.gateway.set_units(2);
    assert_eq!(said(&rig.hand_over(&crcx(2))), ["Listener(0) 200", "answered 4"]);
}

#[test]
fn a_draining_worker_takes_no_new_connection_but_those_that_belong_to_it() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    rig.gateway.set_draining(true, rig.now);
    let crcx =
        |id: u32, endpoint: &str, call: &str| format!("CRCX {id} {endpoint} MGCP 1.0\r\nC: {call}\r\nM: recvonly\r\n");
    assert_eq!(said(&rig.hand_over(&crcx(2, "ann/$@gw", "9"))), ["refuse 1 Draining"]);
    assert_eq!(code(&rig.send(&crcx(3, "ann/$@gw", "9"))), 403);
    let arrival = Arrival { follows: true, ..rig.handed() };
    rig.arrive(&crcx(4, "ann/$@gw", "9"), &arrival);
    assert_eq!(code(&rig.answer()), 200);
    assert_eq!(code(&rig.send(&crcx(6, &endpoint, "8"))), 200);
    assert_eq!(code(&rig.send(&crcx(7, "ann/$@gw", "1"))), 200);
    let mdcx = format!("MDCX 5 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\nM: inactive\r\n");
    assert_eq!(said(&rig.hand_over(&mdcx)), ["Listener(0) 200", "answered 3"]);
}

#[test]
fn a_command_that_is_read_too_late_goes_back() {
    let mut rig = Rig::new();
    let deadline = Some(Time(rig.now.0 - 1));
    let arrival = Arrival { deadline, ..rig.handed() };
    rig.arrive(CRCX, &arrival);
    let late: Vec<Output> = rig.outputs.drain(..).collect();
    assert_eq!(said(&late), ["refuse 1 Late"]);
    assert_eq!(said(&rig.hand_over(CRCX)), ["refuse 2 Follows"]);
    let arrival = Arrival { deadline, follows: true, ..rig.handed() };
    rig.arrive("AUEP 7 *@gw MGCP 1.0\r\n", &arrival);
    assert_eq!(code(&rig.answer()), 200);
}

#[test]
fn a_crcx_for_an_endpoint_by_name_does_not_go_back() {
    let mut rig = Rig::with(Limits { units: 1, ..Limits::default() });
    let (endpoint, _) = rig.create("ann", 1);
    let crcx = format!("CRCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n");
    assert_eq!(said(&rig.hand_over(&crcx)), ["Listener(0) 403", "answered 1"]);
}

#[test]
fn media_that_is_used_up_sends_a_selected_crcx_to_another_worker() {
    let mut rig = Rig::new();
    rig.broken = true;
    assert_eq!(said(&rig.hand_over(CRCX)), ["refuse 1 Exhausted"]);
    rig.check_empty();
}

#[test]
fn only_what_was_not_carried_out_may_go_back() {
    let mut rig = Rig::new();
    rig.silent = true;
    assert!(said(&rig.hand_over(CRCX)).is_empty());
    // A 100 has left, so this worker must answer now.
    assert_eq!(said(&rig.hand_over(CRCX)), ["Listener(0) 100"]);
    let (key, _) = rig.asked[0];
    rig.gateway.on_media(key, Told::Failed, rig.now);
    rig.settle();
    let outputs: Vec<Output> = rig.outputs.drain(..).collect();
    assert_eq!(said(&outputs), ["Listener(0) 403", "answered 1", "answered 2"]);
    rig.check_empty();
}

#[test]
fn a_size_counts_while_the_connection_stands() {
    let mut rig = Rig::with(Limits { units: 10, ..Limits::default() });
    let answer = rig.send_sized("CRCX 1 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: sendrecv\r\nZ2: bridge/$@gw\r\n", 7);
    assert_eq!((code(&answer), rig.units()), (200, 7));
    assert_eq!(code(&rig.send_sized("CRCX 2 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n", 4)), 403);
    assert_eq!(code(&rig.send_sized("CRCX 3 ivr/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n", 3)), 200);
    assert_eq!(rig.units(), 10);
    rig.send(&format!("DLCX 4 {} MGCP 1.0\r\n", name("bridge", 2)));
    rig.send(&format!("DLCX 5 {} MGCP 1.0\r\n", name("ivr", 1)));
    assert_eq!(rig.units(), 3);
}

#[test]
fn a_command_given_back_of_one_call_agent_says_nothing_of_another_one_at_its_address() {
    let mut rig = Rig::with(Limits { units: 1, ..Limits::default() });
    let large = Arrival { size: 2, ..rig.handed() };
    rig.arrive("CRCX 5 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n", &large);
    assert_eq!(rig.outputs.drain(..).collect::<Vec<_>>(), [Output::Refuse(Seq(1), RefuseReason::Full)]);
    rig.agent.set_port(5_555);
    let outputs = rig.hand_over("CRCX 5 ann/$@gw MGCP 1.0\r\nC: 2\r\nM: recvonly\r\n");
    assert!(outputs.contains(&Output::Answered(Seq(2))), "{outputs:?}");
    assert_eq!(rig.units(), 1);
}
