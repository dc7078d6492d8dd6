//! The examples at work: the Python worker against the handoff format and against the built executable, the application
//! server's sizes followed by the choice, the systemd unit read by systemd.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

#[allow(dead_code, reason = "the example's main is not called here")]
#[path = "../examples/application_server.rs"]
mod application_server;

#[allow(dead_code, reason = "the example's main is not called here")]
#[path = "../examples/decide.rs"]
mod decide;
#[path = "examples/desk.rs"]
mod desk;
#[path = "examples/python.rs"]
mod python;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pointsman::dispatch::decision::{Reason, Target};
use pointsman::ids::{ConnId, WorkerId};
use pointsman::time::Time;
use pointsman::wire::handoff::Record;
use pointsman::words::{Drain, DrainMode, Envelope, RefuseReason, ReplyTo};

use desk::Desk;
use python::Python;
use support::phone::{Dialog, Phone, Request};
use support::pointsman::{EXECUTABLE, Pointsman, Setup};
use support::{DEADLINE, own_address};

#[test]
fn a_decision_by_hand_goes_to_the_worker_with_the_least_load_and_so_does_the_message_again() {
    let decided = decide::decide().unwrap();
    let handoffs = decided.map(|decision| match decision.target {
        Target::Worker(handoff) => (handoff.worker, handoff.size, decision.reason),
        other => panic!("{other:?}"),
    });
    assert_eq!(handoffs, [(WorkerId(1), 8, Reason::Selected), (WorkerId(1), 0, Reason::Retransmission)]);
}

#[test]
fn a_python_worker_answers_from_the_well_known_port_and_names_its_own() {
    let desk = Desk::open(100);
    let media = UdpSocket::bind((desk.phone.address().ip(), 0)).unwrap();
    let invite = desk.phone.invite(desk.address(), Some(media.local_addr().unwrap()));
    let seq = desk
        .hand_over(invite.with("Record-Route", "<sip:192.0.2.1;lr>").text().as_bytes(), |envelope| envelope.size = 7);
    let answer = desk.phone.expect("an answer", |reply| reply.status() == 200);
    assert_eq!(answer.from, desk.address());
    assert_eq!(answer.contact_address(), desk.port);
    assert!(answer.to_tag().starts_with(desk.token.as_str()), "{}", answer.text);
    assert_eq!(answer.header("Record-Route"), Some("<sip:192.0.2.1;lr>"));
    let via = answer.header("Via").unwrap();
    assert!(
        via.ends_with(&format!(";received={};rport={}", desk.phone.address().ip(), desk.phone.address().port())),
        "{via}"
    );
    desk.expect_answered(seq);
    let report = desk.expect_report(|report| report.covers == seq);
    assert_eq!((report.units_used, report.units_total, report.sessions, report.answered), (7, 100, 1, 1));

    media.set_read_timeout(Some(DEADLINE)).unwrap();
    let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9][..], &[0xff; 160]].concat();
    media.send_to(&packet, answer.media_address()).unwrap();
    let mut echo = [0; 256];
    let (length, from) = media.recv_from(&mut echo).expect("an echo");
    assert_eq!((&echo[..length], from), (&packet[..], answer.media_address()));
}

#[test]
fn a_python_worker_that_has_just_started_does_not_report_the_time_of_its_start_as_that_of_a_moment() {
    let cpu = Desk::open(100).expect_report(|_| true).cpu;
    assert!(cpu <= 1_000_000, "one thread has no more than a core, not {cpu} millionths");
}

#[test]
fn the_rest_of_a_call_goes_to_the_python_workers_own_port() {
    let desk = Desk::open(100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    let dialog = Dialog::new(&invite, desk.phone.final_response(&invite));
    desk.phone.send(&dialog.ack(), dialog.target);
    let again =
        desk.phone.transact(&Request { body: invite.body.clone(), ..dialog.request("INVITE", 1) }, dialog.target);
    assert_eq!((again.status(), again.from, again.to_tag()), (200, desk.port, dialog.answer.to_tag()));
    desk.phone.send(&dialog.request("ACK", 1), dialog.target);
    let bye = desk.phone.transact(&dialog.request("BYE", 2), dialog.target);
    assert_eq!((bye.status(), bye.from), (200, desk.port));
    desk.expect_report(|report| report.sessions == 0 && report.answered == 2);
    let late = desk.phone.transact(&dialog.request("BYE", 3), dialog.target);
    assert_eq!(late.status(), 481);
}

#[test]
fn on_a_wildcard_listener_the_answer_leaves_from_the_address_the_request_came_to() {
    let desk = Desk::open_on(UdpSocket::bind("0.0.0.0:0").unwrap(), own_address(), 100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    assert_eq!(desk.phone.final_response(&invite).from, desk.address());
}

#[test]
fn a_python_worker_keeps_its_calls_when_the_dispatcher_dies_and_comes_back_to_the_next() {
    let mut desk = Desk::open(100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    let dialog = Dialog::new(&invite, desk.phone.final_response(&invite));
    desk.phone.send(&dialog.ack(), dialog.target);
    let back = desk.die_and_come_back();
    assert_eq!((back.incarnation, back.secret, back.ports[0].address), (Some(77), Some(1), desk.port));
    // The worker serves its calls before a dispatcher has welcomed it.
    let again =
        desk.phone.transact(&Request { body: invite.body.clone(), ..dialog.request("INVITE", 1) }, dialog.target);
    assert_eq!((again.status(), again.to_tag()), (200, dialog.answer.to_tag()));
    desk.phone.send(&dialog.request("ACK", 1), dialog.target);
    desk.welcome(100, own_address());
    assert_eq!(desk.expect_report(|_| true).sessions, 1);
    assert_eq!(desk.phone.transact(&dialog.request("BYE", 2), dialog.target).status(), 200);
}

#[test]
fn a_python_worker_repeats_its_answer_until_the_ack() {
    let desk = Desk::open(100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    let first = desk.phone.final_response(&invite);
    let second = desk.phone.final_response(&invite);
    assert_eq!(first.text, second.text);
    let seq = desk.hand_over_request(&invite);
    let third = desk.phone.final_response(&invite);
    assert_eq!(first.text, third.text, "a retransmission is no second call");
    desk.expect_answered(seq);
    assert_eq!(desk.expect_report(|report| report.covers >= seq).sessions, 1);
}

#[test]
fn a_python_worker_gives_back_what_it_cannot_take() {
    let desk = Desk::open(10);
    let late = |envelope: &mut Envelope| envelope.deadline = Some(Time(1));
    let invite = || desk.phone.invite(desk.address(), None);
    assert_eq!(desk.expect_refused(desk.hand_over(invite().text().as_bytes(), late)), RefuseReason::Late);
    let large = |envelope: &mut Envelope| envelope.size = 11;
    assert_eq!(desk.expect_refused(desk.hand_over(invite().text().as_bytes(), large)), RefuseReason::Full);
    for unreadable in [&b"\0\0"[..], b"INVITE\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", &[0xff; 3_000], b""] {
        assert_eq!(desk.expect_refused(desk.hand_over(unreadable, |_| {})), RefuseReason::Other);
    }
    desk.send(&Record::Drain(Drain { mode: DrainMode::Drain, within: Duration::ZERO }));
    assert_eq!(desk.expect_refused(desk.hand_over_request(&invite())), RefuseReason::Draining);
    desk.expect_report(|report| report.draining);
    desk.send(&Record::Drain(Drain { mode: DrainMode::Ready, within: Duration::ZERO }));
    desk.expect_answered(desk.hand_over_request(&invite()));
}

#[test]
fn a_python_worker_keeps_to_the_rules_of_sip() {
    let desk = Desk::open(100);
    let status_of = |request: &Request| {
        desk.hand_over_request(request);
        desk.phone.final_response(request).status()
    };
    let invite = desk.phone.invite(desk.address(), None);
    assert_eq!(status_of(&invite), 200);
    assert_eq!(status_of(&invite.cancel()), 200, "an answered INVITE: the CANCEL changes nothing");
    assert_eq!(status_of(&invite.clone().on_new_branch()), 482, "merged");
    assert_eq!(status_of(&desk.phone.invite(desk.address(), None).cancel()), 481);
    assert_eq!(status_of(&desk.phone.request("OPTIONS", desk.address())), 200);
    assert_eq!(status_of(&desk.phone.request("BYE", desk.address())), 481);
    assert_eq!(status_of(&desk.phone.request("SUBSCRIBE", desk.address())), 501);
    let mut video = desk.phone.invite(desk.address(), None);
    video.body = Some("v=0\r\nm=video 9 RTP/AVP 31\r\n".into());
    assert_eq!(status_of(&video), 488);
    let ack = desk.hand_over_request(&desk.phone.request("ACK", desk.address()));
    desk.expect_answered(ack);
}

#[test]
fn a_pinned_caller_gets_the_well_known_address_in_contact() {
    let desk = Desk::open(100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over(invite.text().as_bytes(), |envelope| envelope.pinned = true);
    let answer = desk.phone.final_response(&invite);
    assert_eq!(answer.contact_address(), desk.address());
    assert!(answer.contact_uri().starts_with(&format!("sip:{}@", desk.token)));
}

#[test]
fn a_message_from_a_stream_is_answered_through_the_dispatcher() {
    let desk = Desk::open(100);
    let options = desk.phone.request("OPTIONS", desk.address());
    desk.hand_over(options.text().as_bytes(), |envelope| envelope.reply_to = ReplyTo::Stream(ConnId(9)));
    desk.expect(|record| match record {
        Record::Reply { to: ReplyTo::Stream(ConnId(9)), bytes } => bytes.starts_with(b"SIP/2.0 200 ").then_some(()),
        _ => None,
    });
}

#[test]
fn a_python_worker_answers_pings_and_ends_its_calls_when_told_to_stop() {
    let mut desk = Desk::open(100);
    desk.send(&Record::Ping(42));
    desk.expect(|record| (*record == Record::Pong(42)).then_some(()));

    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    let dialog = Dialog::new(&invite, desk.phone.final_response(&invite));
    desk.phone.send(&dialog.ack(), dialog.target);
    desk.send(&Record::Drain(Drain { mode: DrainMode::Stop, within: Duration::from_secs(3) }));
    let bye = desk.phone.expect("a BYE", |request| request.method() == "BYE" && request.status() == 0);
    assert_eq!(bye.header("Call-ID"), Some(invite.call_id.as_str()));
    assert!(bye.header("From").unwrap().ends_with(&format!(";tag={}", dialog.answer.to_tag())));
    assert!(desk.python.wait().success());
}

#[test]
fn a_stranger_cannot_stop_the_python_worker_nor_use_its_echo() {
    let desk = Desk::open(100);
    let invite = desk.phone.invite(desk.address(), None);
    desk.hand_over_request(&invite);
    let answer = desk.phone.final_response(&invite);
    let stranger = Phone::new(desk.phone.address().ip());
    let options = stranger.request("OPTIONS", desk.port);
    let head = options.text();
    for garbage in [&b""[..], b"\r\n\r\n", &[0; 2_000], b"INVITE x y z SIP/2.0\r\n\r\n", &[0x80; 100]] {
        stranger.send_bytes(garbage, desk.port);
    }
    for (from, to) in [("SIP/2.0/UDP ", "SIP/2.0/UDP x:99999999"), ("CSeq: 1 ", "CSeq: \u{b2} "), ("Via:", "Vai:")] {
        stranger.send_bytes(head.replacen(from, to, 1).as_bytes(), desk.port);
    }
    assert_eq!(stranger.transact(&options, desk.port).status(), 200);
    let media = UdpSocket::bind((desk.phone.address().ip(), 0)).unwrap();
    let packet = [0x80; 100];
    media.send_to(&packet, answer.media_address()).unwrap();
    // The worker's loop takes this after the packet: when it is answered, an echo would have been sent.
    stranger.transact(&stranger.request("OPTIONS", desk.port), desk.port);
    media.set_nonblocking(true).unwrap();
    assert_eq!(media.recv(&mut [0; 256]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// Starts the executable with one worker of its own, which then takes nothing new, and the Python worker beside it.
fn python_beside(setup: Setup) -> (Pointsman, Python, SocketAddr) {
    let IpAddr::V4(ip) = setup.ip else { panic!("the Python worker is told an IPv4 address") };
    let pointsman = setup.start();
    let mut python = Python::start(pointsman.run_dir(), ip, 1_000);
    let address = python.takes_calls_at();
    pointsman.wait_until("the Python worker to be up", |load| {
        load["workers"].as_array().is_some_and(|all| {
            all.iter().any(|worker| worker["port"] == u64::from(address.port()) && worker["state"] == "up")
        })
    });
    pointsman.stats("drain w0");
    pointsman.wait_until("w0 to drain", |load| load["workers"][0]["admin"] == "drain");
    (pointsman, python, address)
}

#[test]
fn a_python_worker_takes_real_calls() {
    let (pointsman, _python, address) = python_beside(Setup::new(1));
    let slot = pointsman.slot_of(address);
    let phone = Phone::new(pointsman.address().ip());
    let calls: Vec<_> = (0..10)
        .map(|_| phone.call(&phone.invite(pointsman.address(), None).with("X-Session-Size", "3"), pointsman.address()))
        .collect();
    assert!(calls.iter().all(|call| call.target == address), "Contact names the worker's own port");
    pointsman.wait_until("the load to be reported", |load| {
        load["workers"][slot]["units_used"] == 30 && load["workers"][slot]["ledger"] == 0
    });
    for (number, call) in calls.iter().enumerate() {
        // Half of the callers ignore the port in Contact: the token in the To-tag brings their BYE to the same place.
        let to = if number % 2 == 0 { call.target } else { pointsman.address() };
        assert_eq!(phone.transact(&call.request("BYE", 1), to).status(), 200);
    }
    pointsman.wait_until("the calls to be over", |load| load["workers"][slot]["units_used"] == 0);
}

#[test]
fn the_choice_follows_the_sizes_that_an_application_server_states() {
    let pointsman = Setup::new(2).start();
    let sizes: Vec<u32> = std::iter::once(100).chain(std::iter::repeat_n(1, 20)).collect();
    let taken = application_server::run(pointsman.address(), &sizes).unwrap();
    let workers: Vec<SocketAddr> = taken.iter().map(|taken| taken.outcome.expect("a worker")).collect();
    let sessions_beside_the_large_one = workers.iter().filter(|worker| **worker == workers[0]).count() - 1;
    assert_eq!(sessions_beside_the_large_one, 0, "{workers:?}");
    assert!(workers.iter().all(|worker| worker.ip() == pointsman.address().ip() && *worker != pointsman.address()));
    pointsman.wait_until("the calls to be over", |load| {
        load["workers"].as_array().is_some_and(|all| all.iter().all(|worker| worker["sessions"] == 0))
    });
    assert_eq!(pointsman.dispatcher("handed_over"), sizes.len() as u64, "ACK and BYE went to the workers");
}

#[test]
fn a_call_that_fits_no_worker_is_refused_to_the_application_server() {
    let pointsman = Setup::new(2).with(["--capacity", "50"]).start();
    let taken = application_server::run(pointsman.address(), &[40, 40, 20, 60, 10]).unwrap();
    let outcomes: Vec<Option<u16>> = taken.iter().map(|taken| taken.outcome.err()).collect();
    // 20 does not fit now; 60 fits no worker even when idle; 10 fits beside either.
    assert_eq!(outcomes, [None, None, Some(486), Some(480), None]);
}

/// The unit, with the executable under test in place of the installed one.
fn unit(dir: &Path) -> PathBuf {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/pointsman.service")).unwrap();
    assert!(text.contains("ExecStart=/usr/bin/pointsman "));
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/pointsman.socket"), dir.join("pointsman.socket"))
        .unwrap();
    let path = dir.join("pointsman.service");
    fs::write(&path, text.replace("/usr/bin/pointsman ", &format!("{EXECUTABLE} "))).unwrap();
    path
}

#[test]
fn systemd_accepts_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let service = unit(dir.path());
    let mut verify = Command::new("systemd-analyze");
    // Not the manual pages it refers to: small machines have none.
    verify.args(["verify", "--man=no"]).arg(service).arg(dir.path().join("pointsman.socket"));
    let output = verify.output().expect("systemd-analyze is installed (package systemd)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_unit_lets_the_workers_outlive_the_dispatcher() {
    let dir = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(unit(dir.path())).unwrap();
    let lines: Vec<&str> = unit.lines().collect();
    for setting in [
        "KillMode=process",
        "OOMPolicy=continue",
        "RuntimeDirectoryPreserve=yes",
        "Restart=on-failure",
        "RuntimeDirectory=pointsman",
        "FileDescriptorStoreMax=16",
    ] {
        assert!(lines.contains(&setting), "{setting}");
    }
    assert!(lines.iter().any(|line| line.starts_with("ExecReload=")));
}
