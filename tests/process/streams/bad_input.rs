//! Peers that speak something else, say nothing, or want too much.

use super::*;

#[test]
fn a_source_has_its_share_of_the_connections_and_others_are_served() {
    let rig = Rig::with(Setup::new(1), "max-connections = 40\nmax-connections-per-source = 20");
    let mut greedy: Vec<Line> = (0..60).filter_map(|_| Line::tcp(rig.tcp).ok()).collect();
    let mut open = 0;
    for (number, line) in greedy.iter_mut().enumerate() {
        open += usize::from(line.call(rig.tcp, &format!("greedy-{number}")).is_ok());
    }
    assert_eq!(open, 20);
    // Another source: a connection from another loopback address.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.bind(&SocketAddr::from((crate::support::own_address(), 0)).into()).unwrap();
    other.connect(&rig.tcp.into()).unwrap();
    let mut other = Line::of(other.into());
    assert!(other.call(rig.tcp, "other").is_ok());
    // One that ends makes room.
    drop(greedy);
    wait_for("room again", DEADLINE, || rig.line(false).call(rig.tcp, "later").ok());
}

#[test]
fn a_handshake_that_stops_half_way_keeps_no_other_waiting() {
    let rig = Rig::with(Setup::new(1), "max-handshakes = 16");
    let stalled: Vec<_> = (0..40)
        .map(|_| {
            let mut line = Line::tcp(rig.tls).unwrap();
            // The begin of a ClientHello.
            let _ = line.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
            line
        })
        .collect();
    let mut line = rig.line(true);
    assert!(line.call(rig.tls, "honest").is_ok());
    drop(stalled);
}

#[test]
fn descriptors_are_what_they_were_after_a_thousand_connections_of_each_kind() {
    let setup = Setup::new(1);
    let ws = SocketAddr::new(setup.ip, 5080);
    let rig = Rig::with(setup.with(["--listen", &format!("ws:{ws}")]), "");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", rig.pointsman.pid())).unwrap().count();
    let mut line = rig.line(true);
    line.call(rig.tls, "first").unwrap();
    let before = descriptors();
    for number in 0..9_000 {
        let kind = number % 9;
        let mut line = Line::tcp([rig.tcp, rig.tls, ws][kind % 3]).unwrap();
        // Some of them find the connection closed while they write.
        let _ = line.send([&b"OPTIONS sip:"[..], b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n"][kind % 3]);
        match kind {
            // It says more, which is wrong, so that the end of its half meets our own end.
            0..=2 => {
                let _ = line.send(&[0xff; 200]);
                line.end_half();
            }
            3..=5 => line.reset(),
            _ => drop(line),
        }
    }
    // Connections that have ended their half wait for no answer here; it is closed although they stay.
    let halves: Vec<Line> = (0..100).map(|_| rig.line(false)).collect();
    for line in &halves {
        line.end_half();
    }
    wait_for("the end of all of them", DEADLINE, || (descriptors() <= before).then_some(()));
    drop(halves);
}

#[test]
fn a_head_that_is_too_large_gets_513_before_its_connection_ends_and_explain_knows_of_it() {
    let setup = Setup::new(1);
    let ws = SocketAddr::new(setup.ip, 5080);
    let rig = Rig::with(setup.with(["--listen", &format!("ws:{ws}")]), "");
    let worker = rig.pointsman.worker_address(0);
    for (number, extra) in ["X: a\r\n".repeat(95), format!("X: {}\r\n", "a".repeat(40_000))].iter().enumerate() {
        for (at, to) in [rig.tcp, ws, worker].into_iter().enumerate() {
            let mut line = if to == ws { Line::websocket(to) } else { Line::tcp(to) }.unwrap();
            let call_id = format!("large-{number}-{at}");
            let uri = format!("sip:service@{to}");
            let invite = line.request("INVITE", &uri, (&call_id, &format!("<{uri}>")), 1);
            line.send(invite.replacen("Content-Length", &format!("{extra}Content-Length"), 1).as_bytes()).unwrap();
            let answer = line.receive_final("INVITE").unwrap();
            assert!(answer.starts_with("SIP/2.0 513 "), "{answer}");
            assert!(line.receive().is_err(), "the next message cannot be found");
            if to != worker {
                let said = rig.pointsman.stats(&format!("explain {call_id}"));
                let decision = &said["decisions"][0];
                assert_eq!((&decision["action"], &decision["status"]), (&"replied".into(), &513.into()), "{said}");
            }
        }
    }
    let counters = rig.pointsman.stats("counters");
    assert_eq!(counters["connections"]["closed"]["reasons"]["head-too-large"], 4, "{counters}");
}

/// Ticks of the clock for which a process has had a CPU.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn connections_for_which_no_descriptor_is_left_wait_and_nothing_spins() {
    let rig = Rig::new(1);
    let mut standing = rig.line(false);
    let pid = rig.pointsman.pid();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = |count: &str| {
        let mut set = std::process::Command::new("prlimit");
        set.args(["--pid", &pid.to_string(), &format!("--nofile={count}:")]);
        let set = set.status().expect("prlimit is installed");
        assert!(set.success());
    };
    limit(&(open + 4).to_string());
    let mut waiting: Vec<Line> = (0..20).map(|_| rig.line(false)).collect();
    for (number, line) in waiting.iter_mut().enumerate() {
        line.invite(rig.tcp, &format!("waits-{number}")).unwrap();
    }
    rig.pointsman.wait_for_log("cannot accept a connection");
    let (begin, before) = (std::time::Instant::now(), ticks(pid));
    // The others go on. Each look at the waiting connections takes the gate a second.
    let mut calls = 0;
    while begin.elapsed() < Duration::from_millis(1_500) {
        let answered = standing.call(rig.tcp, &format!("standing-{calls}")).unwrap();
        standing.bye(&answered, &format!("sip:service@{}", rig.tcp)).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        calls += 1;
    }
    // A tick is 10 ms. A thread that spins would have more than a hundred.
    let spent = ticks(pid) - before;
    assert!(spent < 40, "{spent} ticks in {:?}", begin.elapsed());
    limit(&open.saturating_add(200).to_string());
    for line in &mut waiting {
        assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 200"));
    }
}
