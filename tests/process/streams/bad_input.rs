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
    let rig = Rig::new(1);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", rig.pointsman.pid())).unwrap().count();
    let mut line = rig.line(true);
    line.call(rig.tls, "first").unwrap();
    let before = descriptors();
    for number in 0..1_000 {
        let mut line = Line::tcp(if number % 2 == 0 { rig.tcp } else { rig.tls }).unwrap();
        match number % 4 {
            0 => line.send(b"OPTIONS sip:").unwrap(),
            1 => line.send(b"\x16\x03\x01\x02").unwrap(),
            2 => line.send(b"\xff\xff").unwrap(),
            _ => {}
        }
    }
    wait_for("the end of all of them", DEADLINE, || (descriptors() <= before).then_some(()));
}
