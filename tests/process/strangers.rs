//! A stranger that speaks out of turn is refused with a reason, and no other process notices.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use pointsman::ids::Seq;
use pointsman::wire::handoff::{Frame, FrameBuilder, Record, frame_header};
use pointsman::words::{Hello, Port};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, PROMPT, pass_over, proc, wait_for};

/// A call is still answered, and no worker was restarted.
fn assert_undisturbed(pointsman: &Pointsman) {
    assert_undisturbed_beside(pointsman, usize::MAX);
}

/// A call is still answered, and none of the first `own` workers was restarted.
fn assert_undisturbed_beside(pointsman: &Pointsman, own: usize) {
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    let load = pointsman.load();
    for worker in load["workers"].as_array().unwrap().iter().take(own) {
        assert_eq!((&worker["state"], &worker["restarts"]), (&"up".into(), &0.into()), "{load}");
    }
}

pub fn knock(run_dir: &Path) -> OwnedFd {
    let link = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    connect(&link, &SocketAddrUnix::new(run_dir.join("handoff.sock")).unwrap()).unwrap();
    link
}

/// The frames of the dispatcher until it closes the link; a reset counts as a close.
fn listen(link: &OwnedFd) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    let mut buffer = vec![0; 80_000];
    wait_for("the link to be closed", DEADLINE, || match recv(link, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((0, _)) => Some(()),
        Ok((length, _)) => {
            said.push(buffer[..length].to_vec());
            None
        }
        Err(rustix::io::Errno::AGAIN) => None,
        Err(_) => Some(()),
    });
    said
}

/// Connects to the handoff socket, sends `frame`, and returns what the dispatcher says to that.
pub fn say(run_dir: &Path, frame: &[u8]) -> Vec<Vec<u8>> {
    let link = knock(run_dir);
    send(&link, frame, SendFlags::NOSIGNAL).unwrap();
    listen(&link)
}

pub fn goodbye(said: &[Vec<u8>]) -> Option<String> {
    let frame = Frame::parse(said.last()?).ok()?;
    frame.filter_map(Result::ok).find_map(|record| match record {
        Record::Goodbye(reason) => Some(reason.to_owned()),
        _ => None,
    })
}

pub fn hello(hello: Hello) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Hello(hello));
    frame.bytes().to_vec()
}

#[test]
fn garbage_on_the_handoff_socket_ends_the_link_and_nothing_else() {
    let pointsman = Setup::new(2).start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", &[0xff; 70_000], &frame_header(100)] {
        say(pointsman.run_dir(), garbage);
    }
    assert_undisturbed(&pointsman);
}

#[test]
fn a_worker_that_claims_anothers_slot_is_refused_with_a_reason() {
    let pointsman = Setup::new(2).start();
    let address = "127.0.0.1:6060".parse().unwrap();
    let said = say(
        pointsman.run_dir(),
        &hello(Hello {
            name: Some("w0".into()),
            ports: vec![Port { service: "sip".into(), address }],
            ..Hello::default()
        }),
    );
    assert!(goodbye(&said).is_some_and(|reason| reason.contains("w0")), "{said:?}");
    assert_undisturbed(&pointsman);
}

#[test]
fn a_worker_of_a_newer_version_is_refused() {
    let pointsman = Setup::new(1).start();
    let mut newer = hello(Hello::default());
    newer[2] = 2;
    let said = say(pointsman.run_dir(), &newer);
    assert!(goodbye(&said).is_some_and(|reason| reason.contains('2')), "{said:?}");
    assert_undisturbed(&pointsman);
}

#[test]
fn one_that_connects_and_says_nothing_is_closed() {
    let pointsman = Setup::new(1).start();
    let link = knock(pointsman.run_dir());
    let begin = Instant::now();
    listen(&link);
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    assert_undisturbed(&pointsman);
}

#[test]
fn garbage_on_the_stats_socket_gets_an_error_and_nothing_else() {
    let pointsman = Setup::new(1).start();
    for garbage in [&b"\xff\xfe\xfd\n"[..], &[b'x'; 100_000], b"{\"command\":\n", b"load\0\n"] {
        let mut stream = UnixStream::connect(pointsman.run_dir().join("stats.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The far end may close before it has read all of it.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // A reset is as good as an answer here: the server must only not hang.
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.contains("error"), "{text}");
    }
    assert_eq!(pointsman.load()["workers"].as_array().map(Vec::len), Some(1));
    assert_undisturbed(&pointsman);
}

#[test]
fn the_sockets_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let pointsman = Setup::new(1).start();
    for name in ["stats.sock", "handoff.sock", "key"] {
        let mode = std::fs::metadata(pointsman.run_dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_worker_that_names_anothers_port_as_its_own_is_refused_with_a_reason() {
    let pointsman = Setup::new(2).start();
    let everywhere = |address: SocketAddr| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
    let taken = [pointsman.worker_address(0), pointsman.address()];
    for address in taken.into_iter().chain(taken.map(everywhere)) {
        let ports = vec![Port { service: "sip".into(), address }];
        let said = say(pointsman.run_dir(), &hello(Hello { ports, ..Hello::default() }));
        assert!(goodbye(&said).is_some_and(|reason| reason.contains(&address.to_string())), "{said:?}");
    }
    assert_undisturbed(&pointsman);
}

#[test]
fn a_worker_that_names_a_port_that_an_earlier_one_named_second_is_refused() {
    let pointsman = Setup::new(1).start();
    let port = |port| Port { service: "sip".into(), address: SocketAddr::new(pointsman.address().ip(), port) };
    let first = knock(pointsman.run_dir());
    let frame = hello(Hello { ports: vec![port(6060), port(6061)], pid: 1, links: 64, ..Hello::default() });
    send(&first, &frame, SendFlags::NOSIGNAL).unwrap();
    pointsman.wait_until("the first to be there", |load| load["workers"][1]["state"] == "up");
    assert_eq!(pointsman.worker(1)["pid"], std::process::id(), "the kernel knows its process better than itself");
    let said = say(pointsman.run_dir(), &hello(Hello { ports: vec![port(6061)], ..Hello::default() }));
    assert!(goodbye(&said).is_some_and(|reason| reason.contains("6061")), "{said:?}");
}

#[test]
fn two_hundred_workers_that_join_after_a_death_take_no_memory_and_hold_nobody_up() {
    let pointsman = Setup::new(2).start();
    if pointsman.has_lanes() {
        return pass_over("these workers serve a single link");
    }
    let ip = pointsman.address().ip();
    let died = pointsman.kill_worker(0);
    pointsman.wait_until("a successor", |load| {
        let worker = &load["workers"][0];
        worker["state"] == "up" && worker["pid"] != u64::from(died)
    });
    let before = proc::resident(pointsman.pid());
    let links: Vec<_> = (0..200)
        .map(|number| {
            let port = Port { service: "sip".into(), address: SocketAddr::new(ip, 7_000 + number) };
            let link = knock(pointsman.run_dir());
            send(
                &link,
                &hello(Hello { services: vec!["sip".into()], ports: vec![port], ..Hello::default() }),
                SendFlags::NOSIGNAL,
            )
            .unwrap();
            // The welcome; sixteen at most may wait for theirs.
            recv(&link, &mut vec![0; 80_000][..], RecvFlags::empty()).unwrap();
            if number % 20 == 10 {
                // In the middle of it.
                pointsman.wait_until("the first of them", |load| {
                    load["workers"].as_array().is_some_and(|all| (3..202).contains(&all.len()))
                });
                assert!(pointsman.stats("explain nobody")["decisions"].is_array());
            }
            link
        })
        .collect();
    pointsman.wait_until("all of them", |load| load["workers"].as_array().is_some_and(|all| all.len() == 202));
    assert!(pointsman.stats("explain nobody")["decisions"].is_array());
    let grown = proc::resident(pointsman.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB for 200 workers that have nothing to do", grown >> 20);
    drop(links);
    // They are missed from now on.
    pointsman.wait_until("their leaving", |load| {
        let all = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|worker| worker["state"] == "up").count() == 2
    });
}

#[test]
fn one_that_knocks_all_the_time_does_not_fill_the_log_and_costs_no_descriptor() {
    let pointsman = Setup::new(1).start();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", pointsman.pid())).unwrap().count();
    let before = descriptors();
    // One after the other, so that none is turned away as one too many.
    let begin = Instant::now();
    for _ in 0..300 {
        say(pointsman.run_dir(), b"let me in");
    }
    pointsman.wait_for_log("is refused");
    let refusals = pointsman.log().lines().filter(|line| line.contains("is refused")).count();
    let seconds = begin.elapsed().as_secs() as usize + 1;
    assert!((1..=8 * (seconds + 1)).contains(&refusals), "{refusals} lines in {seconds} s");
    wait_for("the descriptors to be closed", DEADLINE, || (descriptors() <= before).then_some(()));
    assert_undisturbed(&pointsman);
}

#[test]
fn a_worker_that_tells_lies_without_end_loses_its_link_and_nobody_waits_for_it() {
    let pointsman = Setup::new(2).start();
    let port = Port { service: "sip".into(), address: SocketAddr::new(pointsman.address().ip(), 7_000) };
    let link = knock(pointsman.run_dir());
    let frame = hello(Hello { services: vec!["sip".into()], ports: vec![port], links: 64, ..Hello::default() });
    send(&link, &frame, SendFlags::NOSIGNAL).unwrap();
    pointsman.wait_until("it to be there", |load| load["workers"][2]["state"] == "up");
    let before = proc::resident(pointsman.pid());
    let mut lies = FrameBuilder::new();
    lies.push_answered(&(1_000_000..1_008_000).map(Seq).collect::<Vec<_>>());
    let liar = std::thread::spawn(move || {
        // A gigabyte, if the dispatcher read it all.
        (0..16_384).take_while(|_| send(&link, lies.bytes(), SendFlags::NOSIGNAL).is_ok()).count()
    });
    loop {
        assert_undisturbed_beside(&pointsman, 2);
        if liar.is_finished() {
            break;
        }
    }
    let frames = liar.join().unwrap();
    assert!(frames < 64, "{frames} frames of lies were taken");
    pointsman.wait_until("it to be missed", |load| load["workers"][2]["state"] == "down");
    assert_undisturbed_beside(&pointsman, 2);
    let grown = proc::resident(pointsman.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} MiB of lies are kept", grown >> 20);
}
