//! Connections that end while their systems live, and systems that read nothing.

use super::caller::Caller;
use super::*;
use crate::proxies::systems::Came;

const POOL: &str = "[[pool]]\nname = \"default\"\npolicy = \"round-robin\"\n";

/// Has callers place a call each until each system has so many. Returns the INVITEs by system.
fn calls(front: &Front, systems: &[System], each: usize) -> (Vec<Caller>, Vec<Vec<Came>>) {
    let mut callers: Vec<Caller> = Vec::new();
    let place = |number| {
        let to = front.pointsman.address();
        let mut caller = if number % 2 == 0 { Caller::udp(to) } else { Caller::tcp(to) };
        caller.says("INVITE", 1, "i");
        caller
    };
    callers.extend((0..each * systems.len()).map(place));
    let invites = systems
        .iter()
        .map(|system| (0..each).map(|_| system.expect("an INVITE", |message| message.method() == "INVITE")).collect());
    let invites = invites.collect();
    (callers, invites)
}

fn call_id(came: &Came) -> &str {
    came.message.header("Call-ID").unwrap()
}

#[test]
fn calls_without_response_are_placed_again_when_their_connection_ends_and_those_that_ring_get_503_once() {
    let systems = [(); 2].map(|()| System::played());
    let front = start(&(POOL.to_owned() + &settings(&addresses(&systems), "")), 1);
    wait_for_connections(&front, &systems, 1);
    let (mut callers, invites) = calls(&front, &systems, 10);
    let (ringing, unheard) = invites[0].split_at(4);
    for invite in ringing {
        systems[0].respond(invite, 180, "");
    }
    let of = |came: &Came, callers: &[Caller]| {
        callers.iter().position(|caller| caller.call() == call_id(came)).unwrap_or_else(|| panic!("{came:?}"))
    };
    for invite in ringing {
        let at = of(invite, &callers);
        callers[at].hears("INVITE", 180);
    }
    systems[0].cut(invites[0][0].by);
    for invite in ringing {
        let at = of(invite, &callers);
        let refused = callers[at].hears("INVITE", 503);
        let ack = callers[at].ack(&refused);
        callers[at].send(&ack);
    }
    // Each is placed again, with the other system or on a new connection, and once.
    let mut again = Vec::new();
    for _ in unheard {
        again.push(wait_for("an INVITE again", DEADLINE, || {
            let next = |at: usize| systems[at].next().filter(|came| came.message.method() == "INVITE");
            (0..2).find_map(|at| Some((at, next(at)?)))
        }));
    }
    for invite in unheard {
        let (at, came) = again.iter().find(|(_, came)| call_id(came) == call_id(invite)).expect("each once");
        systems[*at].respond(came, 200, "");
        let caller = of(invite, &callers);
        let answer = callers[caller].hears("INVITE", 200);
        callers[caller].join(&answer);
        callers[caller].says("ACK", 1, "a");
        systems[*at].expect("its ACK", |message| {
            message.method() == "ACK" && message.header("Call-ID") == Some(call_id(invite))
        });
    }
    for invite in &invites[1] {
        systems[1].respond(invite, 200, "");
        let at = of(invite, &callers);
        let answer = callers[at].hears("INVITE", 200);
        callers[at].join(&answer);
        callers[at].says("BYE", 2, "b");
        let bye = systems[1].expect("its BYE", |message| {
            message.method() == "BYE" && message.header("Call-ID") == Some(call_id(invite))
        });
        systems[1].respond(&bye, 200, "");
        callers[at].hears("BYE", 200);
    }
    for caller in &mut callers {
        let rest = caller.rest();
        assert!(rest.iter().all(|line| line.starts_with("SIP/2.0 100")), "answered twice: {rest:?}");
    }
    wait_for_connections(&front, &systems, 1);
}

#[test]
fn a_system_that_reads_nothing_gets_nothing_new_once_its_bytes_wait_and_others_are_undisturbed() {
    const CALLS: usize = 100;
    let systems = [(); 2].map(|()| System::played());
    let front = start(&(POOL.to_owned() + &settings(&addresses(&systems), "probe = \"none\"")), 1);
    wait_for_connections(&front, &systems, 1);
    let to = front.pointsman.address();
    let mut callers: Vec<Caller> = Vec::new();
    let refuse = |system: &System, came: &Came| {
        if came.message.method() == "INVITE" {
            system.respond(came, 486, "");
        }
    };
    systems[0].deaf_while(|| {
        // The kernel takes a few MiB before bytes wait.
        let body = format!("Content-Length: 20000\r\n\r\n{}", "x".repeat(20_000));
        let calls = |name| front.row(name)["calls"].as_u64().unwrap();
        let mut before = None;
        wait_for("calls to pass the system by", 3 * DEADLINE, || {
            for _ in 0..20 {
                let mut caller = Caller::tcp(to);
                let invite = caller.request("INVITE", 1, "i").replace("Content-Length: 0\r\n\r\n", &body);
                caller.send(&invite);
                callers.push(caller);
            }
            wait_for("the calls", DEADLINE, || (calls("s0") + calls("s1") >= callers.len() as u64).then_some(()));
            let last = before.replace(calls("s0"));
            (last == before).then_some(())
        });
        for _ in 0..CALLS {
            let mut caller = Caller::udp(to);
            caller.says("INVITE", 1, "i");
            let id = caller.call().to_owned();
            let invite = wait_for("its INVITE", DEADLINE, || {
                let came = systems[1].next()?;
                let is_it = call_id(&came) == id && came.message.method() == "INVITE";
                is_it.then(|| came.clone()).or_else(|| {
                    refuse(&systems[1], &came);
                    None
                })
            });
            systems[1].respond(&invite, 200, "");
            let answer = caller.hears("INVITE", 200);
            caller.join(&answer);
            caller.says("ACK", 1, "a");
        }
        assert_eq!(Some(calls("s0")), before, "it got calls");
        println!("{before:?} calls of {} before it was passed by", callers.len());
    });
    // It reads again, and answers all.
    for caller in &mut callers {
        let refused = wait_for("an answer to each call", DEADLINE, || {
            for system in &systems {
                while let Some(came) = system.next() {
                    refuse(system, &came);
                }
            }
            caller.next().filter(|message| message.status() >= 200)
        });
        assert_eq!(refused.status(), 486, "{}", refused.text);
    }
}
