//! Whole dialogs between callers and systems: each side's requests, on whichever connection they come.

use super::caller::{Caller, Way, of_system};
use super::*;
use crate::proxies::systems::Came;
use crate::support::phone::Received;

/// A dispatcher in front of one system that the test plays.
fn one_system(lanes: usize, lines: &str) -> (System, Front) {
    let system = System::played();
    let front = start(&settings(&[system.address()], lines), lanes);
    wait_for_connections(&front, std::slice::from_ref(&system), lanes);
    (system, front)
}

fn invited(system: &System, caller: &mut Caller) -> Came {
    caller.says("INVITE", 1, "i");
    let id = caller.call().to_owned();
    system.expect("its INVITE", |message| message.method() == "INVITE" && message.header("Call-ID") == Some(&id))
}

/// An answered call. Returns its INVITE as the system has it.
fn call(system: &System, caller: &mut Caller) -> Came {
    let invite = invited(system, caller);
    system.respond(&invite, 200, "");
    let answer = caller.hears("INVITE", 200);
    caller.join(&answer);
    caller.says("ACK", 1, "a");
    system.expect("its ACK", |message| message.method() == "ACK");
    invite
}

/// The tag of the system's answers.
fn tag(system: &System) -> String {
    format!("at-{}", system.address().port())
}

/// The system hangs up, over the connection with this peer.
fn system_hangs_up(system: &System, invite: &Came, by: SocketAddr, caller: &mut Caller) {
    system.send(&of_system(invite, "BYE", 7, system.address(), &tag(system)), by);
    let bye = caller.expect("BYE", |message| message.status() == 0 && message.method() == "BYE");
    caller.respond(&bye, 200);
    let ok = system.expect("200 to BYE", |message| message.status() > 0 && message.method() == "BYE");
    assert_eq!((ok.message.status(), ok.by), (200, by), "{}", ok.message.text);
}

fn callers(front: &Front) -> [Caller; 4] {
    let to = front.pointsman.address();
    [Caller::udp(to), Caller::behind_nat(to), Caller::tcp(to), Caller::websocket(to)]
}

#[test]
fn a_bye_of_the_system_reaches_each_kind_of_caller_over_any_connection_of_two_lanes() {
    let (system, front) = one_system(2, "");
    let peers = system.peers();
    assert_eq!(front.row("s0")["state"], "up");
    for by in &peers {
        // Callers have sockets of their own, so both lanes have some.
        for _ in 0..4 {
            for mut caller in callers(&front) {
                let invite = call(&system, &mut caller);
                system_hangs_up(&system, &invite, *by, &mut caller);
            }
        }
    }
    assert!(peers.iter().all(|peer| system.peers().contains(peer)), "a lane has lost its connection");
}

#[test]
fn calls_that_ring_or_stand_over_a_takeover_are_answered_and_hung_up_by_their_system() {
    let (system, mut front) = one_system(2, "");
    let standing = callers(&front).map(|mut caller| (call(&system, &mut caller), caller));
    let ringing = callers(&front).map(|mut caller| {
        let invite = invited(&system, &mut caller);
        system.respond(&invite, 180, "");
        caller.hears("INVITE", 180);
        (invite, caller)
    });
    front.pointsman.take_over();
    for (invite, mut caller) in standing {
        system_hangs_up(&system, &invite, invite.by, &mut caller);
    }
    for (invite, mut caller) in ringing {
        system.respond(&invite, 200, "");
        let answer = caller.hears("INVITE", 200);
        caller.join(&answer);
        caller.says("ACK", 1, "a");
        system.expect("its ACK", |message| message.method() == "ACK");
        system_hangs_up(&system, &invite, invite.by, &mut caller);
    }
}

#[test]
fn a_bye_of_the_system_to_a_caller_whose_connection_is_gone_gets_430() {
    let (system, front) = one_system(1, "");
    let mut caller = Caller::tcp(front.pointsman.address());
    let invite = call(&system, &mut caller);
    drop(caller);
    front.pointsman.wait_until("the connection's end", |_| {
        front.pointsman.stats("connections")["listeners"][0]["connections"] == 0
    });
    system.send(&of_system(&invite, "BYE", 7, system.address(), &tag(&system)), invite.by);
    let refused = system.expect("430", |message| message.status() > 0 && message.method() == "BYE");
    assert_eq!(refused.message.status(), 430, "{}", refused.message.text);
}

#[test]
fn cancel_and_ack_on_another_connection_than_the_invites_reach_the_system() {
    let (system, front) = one_system(2, "");
    let mut caller = Caller::tcp(front.pointsman.address());
    let mut other = Caller::tcp(front.pointsman.address());
    let invite = invited(&system, &mut caller);
    system.respond(&invite, 180, "");
    caller.hears("INVITE", 180);
    other.send(&caller.request("CANCEL", 1, "i"));
    let cancel = system.expect("CANCEL", |message| message.method() == "CANCEL");
    assert_eq!(cancel.message.header("Via"), invite.message.header("Via"));
    system.respond(&cancel, 200, "");
    other.hears("CANCEL", 200);
    system.respond(&invite, 487, "");
    let ended = caller.hears("INVITE", 487);
    other.send(&caller.ack(&ended));

    let mut caller = Caller::tcp(front.pointsman.address());
    let invite = invited(&system, &mut caller);
    system.respond(&invite, 200, "");
    let answer = caller.hears("INVITE", 200);
    caller.join(&answer);
    other.send(&caller.request("ACK", 1, "a"));
    system.expect("ACK", |message| message.method() == "ACK");
}

#[test]
fn re_invites_of_both_sides_go_through_and_are_acknowledged() {
    let (system, front) = one_system(1, "");
    for mut caller in callers(&front) {
        let invite = call(&system, &mut caller);
        caller.says("INVITE", 2, "j");
        let again = system.expect("the re-INVITE", |message| message.method() == "INVITE");
        system.respond(&again, 200, "");
        caller.hears("INVITE", 200);
        caller.says("ACK", 2, "k");
        system.expect("its ACK", |message| message.method() == "ACK");

        let own = of_system(&invite, "INVITE", 7, system.address(), &tag(&system));
        system.send(&own, invite.by);
        let got = caller.expect("the system's re-INVITE", |message| message.start_line().starts_with("INVITE"));
        caller.respond(&got, 200);
        system.expect("200", |message| message.status() == 200);
        system.send(&of_system(&invite, "ACK", 7, system.address(), &tag(&system)), invite.by);
        caller.expect("ACK", |message| message.start_line().starts_with("ACK"));
        caller.says("BYE", 3, "b");
        let bye = system.expect("BYE", |message| message.method() == "BYE");
        system.respond(&bye, 200, "");
        caller.hears("BYE", 200);
    }
}

#[test]
fn a_challenge_and_a_redirection_are_passed_on_and_the_next_invite_of_the_call_goes_through() {
    let (system, front) = one_system(1, "");
    for mut caller in callers(&front) {
        let invite = invited(&system, &mut caller);
        system.respond(&invite, 401, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n");
        let challenge = caller.hears("INVITE", 401);
        assert!(challenge.header("WWW-Authenticate").is_some());
        let ack = caller.ack(&challenge);
        caller.send(&ack);
        caller.says("INVITE", 2, "j");
        let again = system.expect("the second INVITE", |message| message.header("CSeq") == Some("2 INVITE"));
        system.respond(&again, 302, "Contact: <sip:elsewhere@198.51.100.9>\r\n");
        let moved = caller.hears("INVITE", 302);
        assert_eq!(moved.header("Contact"), Some("<sip:elsewhere@198.51.100.9>"));
    }
}

#[test]
fn prack_reaches_the_system_before_the_final_answer() {
    let (system, front) = one_system(1, "");
    for mut caller in callers(&front) {
        let invite = invited(&system, &mut caller);
        system.respond(&invite, 183, "Require: 100rel\r\nRSeq: 1\r\n");
        let progress = caller.hears("INVITE", 183);
        caller.join(&progress);
        caller.says("PRACK", 2, "p");
        let prack = system.expect("PRACK", |message| message.method() == "PRACK");
        system.respond(&prack, 200, "");
        caller.hears("PRACK", 200);
        system.respond(&invite, 200, "");
        caller.hears("INVITE", 200);
        caller.says("ACK", 1, "a");
        system.expect("its ACK", |message| message.method() == "ACK");
    }
}

/// RFC 3261 §13.2.2.4: the caller gets each 2xx, and each dialog has its ACK and BYE.
#[test]
fn a_second_2xx_with_another_tag_reaches_the_caller_and_both_dialogs_end() {
    let (system, front) = one_system(1, "");
    for mut caller in callers(&front) {
        let invite = invited(&system, &mut caller);
        for tag in ["one", "two"] {
            let response = crate::proxies::servers::answer(&invite.message, 200, "", system.address());
            system.send(
                &response.replace(&format!("tag=at-{}", system.address().port()), &format!("tag={tag}")),
                invite.by,
            );
        }
        let answers: Vec<Received> = ["one", "two"].iter().map(|_| caller.hears("INVITE", 200)).collect();
        for (number, answer) in answers.iter().enumerate() {
            caller.join(answer);
            caller.says("ACK", 1, &format!("a{number}"));
            let ack = system.expect("ACK", |message| message.method() == "ACK");
            assert_eq!(ack.message.to_tag(), answer.to_tag());
            caller.says("BYE", 2, &format!("b{number}"));
            let bye = system.expect("BYE", |message| message.method() == "BYE");
            system.respond(&bye, 200, "");
            caller.hears("BYE", 200);
        }
        assert_ne!(answers[0].to_tag(), answers[1].to_tag());
        if let Way::Udp(_) = caller.way {
            assert!(caller.rest().is_empty());
        }
    }
}
