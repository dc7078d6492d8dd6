//! Settings that the operator has changed, ordered or lost between two dispatchers.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use super::{calls, hang_up, restart, ringing};
use crate::strangers::{hello, knock};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup, run};
use crate::support::{DEADLINE, own_address, proc, wait_for};

#[test]
fn a_drain_outlives_the_dispatcher_it_was_ordered_from() {
    let mut pointsman = Setup::new(2).start();
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    let phone = Phone::new(pointsman.address().ip());
    calls(&pointsman, &phone, 1);
    restart(&mut pointsman);
    assert_eq!(pointsman.worker(0)["admin"], "drain");
    let other = pointsman.worker_address(1);
    assert!(calls(&pointsman, &phone, 4).iter().all(|dialog| dialog.target == other));
}

#[test]
fn a_worker_beyond_the_configured_ones_keeps_its_calls_and_leaves_behind_the_last() {
    let mut pointsman = Setup::new(3).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 3);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    let fewer = Setup { workers: 1, ..pointsman.setup() };
    pointsman.start_again_as(fewer);
    pointsman.wait_until("the idle worker beyond to be drained", |load| load["workers"][2]["admin"] == "drain");
    assert!(workers.iter().all(|&pid| proc::runs(pid)));
    let first = pointsman.worker_address(0);
    assert!(calls(&pointsman, &phone, 3).iter().all(|dialog| dialog.target == first));
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    wait_for("the others to leave", DEADLINE, || workers[1..].iter().all(|&pid| !proc::runs(pid)).then_some(()));
    pointsman.wait_until("one slot", |load| load["workers"].as_array().is_some_and(|all| all.len() == 1));
    assert!(proc::runs(workers[0]));
}

#[test]
fn other_worker_ports_hold_for_a_slot_from_its_next_worker_on() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    let moved = Setup { worker_ports: 6070, ..pointsman.setup() };
    pointsman.start_again_as(moved);
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_number(0, "port"), 5070);
    hang_up(&phone, &standing[0]);
    pointsman.kill_worker(0);
    pointsman.wait_until("a successor on the new port", |load| {
        load["workers"][0]["state"] == "up" && load["workers"][0]["port"] == 6070
    });
    hang_up(&phone, &calls(&pointsman, &phone, 1)[0]);
}

#[test]
fn another_listening_port_leaves_the_old_one_to_others_and_no_call_alone() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let rings = ringing(&pointsman, &phone, 1_000);
    let old = pointsman.address();
    pointsman.crash();
    let moved = Setup { port: 5062, ..pointsman.setup() };
    pointsman.start_again_as(moved);
    pointsman.wait_until_up();
    // The dispatcher shows the worker as up before the worker has read its welcome and closed its duplicate.
    wait_for("the worker to let go of the old port", DEADLINE, || UdpSocket::bind(old).ok());
    let answer = phone.final_response(&rings);
    assert_eq!((answer.status(), answer.from), (200, pointsman.worker_address(0)));
    hang_up(&phone, &standing[0]);
    hang_up(&phone, &calls(&pointsman, &phone, 1)[0]);
}

#[test]
fn another_number_of_lanes_changes_nothing_for_the_calls_that_stand() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 4);
    for lanes in ["3", "1", "2"] {
        let rings = ringing(&pointsman, &phone, 60_000);
        pointsman.crash();
        let mut other = pointsman.setup();
        other.more = vec!["--lanes".to_owned(), lanes.to_owned()];
        pointsman.start_again_as(other);
        pointsman.wait_until_up();
        phone.send(&rings, pointsman.address());
        phone.expect("ringing again", |reply| reply.answers(&rings) && reply.status() == 180);
        let cancel = rings.cancel();
        assert_eq!(phone.transact(&cancel, pointsman.address()).status(), 200);
    }
    for dialog in &standing {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn a_lost_key_comes_back_with_the_workers() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 4);
    let workers = pointsman.worker_pids();
    let file = pointsman.run_dir().join("key");
    let key = fs::read(&file).unwrap();
    pointsman.crash();
    fs::remove_file(&file).unwrap();
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    assert_eq!(fs::read(&file).unwrap(), key);
    pointsman.wait_for_log("token key was missing");
    for dialog in &standing {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn a_key_that_is_no_key_is_named_and_the_workers_wait_for_a_better_one() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let file = pointsman.run_dir().join("key");
    let key = fs::read(&file).unwrap();
    let listen = format!("udp:{}", pointsman.address());
    let run_dir = pointsman.run_dir().display().to_string();
    let refused = |words: &[&str]| {
        let output = run(&["--workers", "1", "--listen", &listen, "--run-dir", &run_dir]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)) && text.matches("pointsman:").count() == 1, "{text}");
    };
    pointsman.crash();
    fs::write(&file, &key[..31]).unwrap();
    refused(&["key", "31 bytes"]);
    fs::write(&file, &key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["key", "others can read it"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    pointsman.start_again();
    pointsman.wait_until_up();
    hang_up(&phone, &standing[0]);
}

#[test]
fn an_unmanaged_worker_comes_back_with_the_token_that_its_calls_carry() {
    use pointsman::wire::handoff::{Frame, Record};
    use pointsman::words::{Hello, Port, Welcome};
    use rustix::net::{RecvFlags, SendFlags, recv, send};

    let mut pointsman = Setup::new(1).start();
    let address = (own_address(), 6060).into();
    let introduce = |pointsman: &Pointsman, former: Option<&Welcome>| {
        let link = knock(pointsman.run_dir());
        let introduction = Hello {
            ports: vec![Port { service: "sip".into(), address }],
            // Enough links for any number of lanes that the test is run with.
            links: 16,
            secret: former.map(|former| former.secret),
            incarnation: former.map(|former| former.incarnation),
            ..Hello::default()
        };
        send(&link, &hello(introduction), SendFlags::NOSIGNAL).unwrap();
        let mut buffer = vec![0; 80_000];
        let (length, _) = wait_for("the welcome", DEADLINE, || recv(&link, &mut buffer[..], RecvFlags::DONTWAIT).ok());
        let welcome = match Frame::parse(&buffer[..length]).unwrap().next() {
            Some(Ok(Record::Welcome(welcome))) => welcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(welcome.key, None, "the key is for the dispatcher's own workers");
        (link, welcome)
    };
    let (link, first) = introduce(&pointsman, None);
    restart(&mut pointsman);
    drop(link);
    let (_link, second) = introduce(&pointsman, Some(&first));
    assert_eq!((second.token, second.incarnation, second.name), (first.token, first.incarnation, first.name));
}
