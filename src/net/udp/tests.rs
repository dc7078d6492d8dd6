//! Tests with real sockets over the loopback: they show what tests with values cannot.

use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;

const SMALL: Buffers = Buffers { receive: 256 << 10, send: 256 << 10 };

fn bound(address: &str) -> Socket {
    Socket::bind(address.parse().unwrap(), SMALL).unwrap()
}

/// Waits until something can be read, at most 5 s.
fn readable(socket: &Socket) {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let within = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&within)).unwrap(), 1, "nothing came within 5 s");
}

/// Reads `count` datagrams: bytes, source, local address, truncated.
fn read(socket: &Socket, batch: &mut Batch, count: usize) -> Vec<(Vec<u8>, SocketAddr, SocketAddr, bool)> {
    let mut read = Vec::new();
    while read.len() < count {
        readable(socket);
        socket.recv_batch(batch).unwrap();
        read.extend(batch.iter().map(|d| (d.bytes.to_vec(), d.source, d.local, d.truncated)));
    }
    read
}

#[test]
fn datagrams_come_in_batches_with_source_and_local_address() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let mut batch = Batch::sized(4, 2048);
    assert_eq!(two.recv_batch(&mut batch).unwrap(), 0);
    for number in 0..6_u8 {
        assert_eq!(one.send(&[number; 3], two.local_addr(), None).unwrap(), Delivery::Left);
    }
    readable(&two);
    assert_eq!(two.recv_batch(&mut batch).unwrap(), batch.places());
    let first = batch.get(0).unwrap();
    assert_eq!(
        (first.bytes, first.source, first.local, first.truncated),
        (&[0; 3][..], one.local_addr(), two.local_addr(), false)
    );
    assert_eq!(two.recv_batch(&mut batch).unwrap(), 2);
    assert_eq!(batch.iter().map(|datagram| datagram.bytes[0]).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(two.recv_batch(&mut batch).unwrap(), 0);
    assert_eq!(batch.iter().count(), 0);
}

#[test]
fn the_largest_datagram_fits_and_an_empty_one_is_one() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let largest = vec![7; 65_507];
    assert_eq!(one.send(&largest, two.local_addr(), None).unwrap(), Delivery::Left);
    assert_eq!(one.send(&[], two.local_addr(), None).unwrap(), Delivery::Left);
    let datagrams = read(&two, &mut Batch::new(), 2);
    assert_eq!((datagrams[0].0.len(), datagrams[0].3), (65_507, false));
    assert!(datagrams[1].0.is_empty());
    assert_eq!(one.send(&vec![0; 65_508], two.local_addr(), None).unwrap(), Delivery::Undeliverable(libc::EMSGSIZE));
}

#[test]
fn a_datagram_longer_than_its_place_is_marked_as_truncated() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    one.send(&[1; 101], two.local_addr(), None).unwrap();
    one.send(&[2; 100], two.local_addr(), None).unwrap();
    let datagrams = read(&two, &mut Batch::sized(2, 100), 2);
    assert_eq!((datagrams[0].0.as_slice(), datagrams[0].3), ([1; 100].as_slice(), true));
    assert_eq!((datagrams[1].0.as_slice(), datagrams[1].3), ([2; 100].as_slice(), false));
}

#[test]
fn a_wildcard_socket_says_which_address_was_meant_and_answers_from_it() {
    let listener = bound("0.0.0.0:0");
    let caller = bound("127.0.0.1:0");
    let meant = SocketAddr::from(([127, 0, 0, 2], listener.local_addr().port()));
    let mut batch = Batch::sized(8, 2048);
    // The same batch serves more than one call: its control lengths must be set anew each time.
    for round in 0..3_u8 {
        caller.send(&[round], meant, None).unwrap();
        let question = read(&listener, &mut batch, 1).remove(0);
        assert_eq!((question.1, question.2), (caller.local_addr(), meant), "round {round}");
        assert_eq!(listener.send(b"one", question.1, Some(question.2.ip())).unwrap(), Delivery::Left);
        let answer = Answer { bytes: b"many", to: question.1, from: Some(question.2.ip()) };
        let elsewhere = Answer { from: Some(Ipv4Addr::new(127, 0, 0, 3).into()), ..answer };
        listener.send_batch([answer, elsewhere].into_iter(), |Answer { to, .. }, fate| panic!("{to} {fate:?}"));
        let sources: Vec<_> =
            read(&caller, &mut batch, 3).into_iter().map(|answer| answer.1.ip().to_string()).collect();
        assert_eq!(sources, ["127.0.0.2", "127.0.0.2", "127.0.0.3"]);
    }
}

#[test]
fn ipv6_sockets_are_for_ipv6_alone_and_know_the_address_that_was_meant() {
    if Socket::bind((Ipv6Addr::LOCALHOST, 0).into(), SMALL).is_err() {
        // The host has no IPv6, so there is nothing to test.
        return;
    }
    let listener = bound("[::]:0");
    let caller = bound("[::1]:0");
    let port = listener.local_addr().port();
    assert!(options::ipv6_v6only(&listener).unwrap());
    let meant: SocketAddr = (Ipv6Addr::LOCALHOST, port).into();
    caller.send(b"x", meant, None).unwrap();
    let mut batch = Batch::sized(2, 64);
    let question = read(&listener, &mut batch, 1).remove(0);
    assert_eq!((question.1, question.2), (caller.local_addr(), meant));
    assert_eq!(listener.send(b"y", question.1, Some(question.2.ip())).unwrap(), Delivery::Left);
    assert_eq!(read(&caller, &mut batch, 1)[0].1, meant);
}

#[test]
fn an_undeliverable_datagram_is_no_error_and_stops_no_other() {
    let (one, two) = (bound("0.0.0.0:0"), bound("127.0.0.1:0"));
    let not_ours = Some(Ipv4Addr::new(192, 0, 2, 1).into());
    assert!(matches!(one.send(b"x", two.local_addr(), not_ours).unwrap(), Delivery::Undeliverable(_)));
    assert!(matches!(one.send(b"x", "127.0.0.1:0".parse().unwrap(), None).unwrap(), Delivery::Undeliverable(_)));
    assert!(matches!(one.send(b"x", "[::1]:9".parse().unwrap(), None).unwrap(), Delivery::Undeliverable(_)));
    let good = Answer { bytes: b"good", to: two.local_addr(), from: None };
    let bad = Answer { from: not_ours, ..good };
    let answers: Vec<_> = (0..70).map(|number| if number % 3 == 1 { bad } else { good }).collect();
    let mut named = 0;
    one.send_batch(answers.into_iter(), |Answer { from, .. }, fate| {
        assert_eq!((from, fate.unwrap().is_of_address()), (not_ours, true));
        named += 1;
    });
    assert_eq!(named, 23);
    assert_eq!(read(&two, &mut Batch::new(), 47).len(), 47);
}

#[test]
fn a_datagram_that_is_too_large_in_a_batch_is_named_with_its_fate_and_the_others_leave_in_their_order() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let small: Vec<[u8; 1]> = (0..40).map(|number| [number]).collect();
    let (largest, to) = (vec![0; 65_508], two.local_addr());
    let bytes = |number: usize| if matches!(number, 0 | 7 | 8 | 31 | 39) { &largest[..] } else { &small[number] };
    let mut fates = Vec::new();
    one.send_batch(
        (0..40).map(|number| Answer { bytes: bytes(number), to, from: None }),
        |Answer { bytes, .. }, fate| {
            fates.push((bytes.len(), fate.unwrap()));
        },
    );
    assert_eq!(fates, [(65_508, Delivery::Undeliverable(libc::EMSGSIZE)); 5]);
    let came: Vec<usize> = read(&two, &mut Batch::new(), 35).iter().map(|it| usize::from(it.0[0])).collect();
    assert_eq!(came, (0..40).filter(|number| bytes(*number).len() == 1).collect::<Vec<_>>());
}

#[test]
fn a_port_that_was_closed_does_not_hide_the_datagrams_behind_it() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let gone = bound("127.0.0.1:0").local_addr();
    for _ in 0..3 {
        assert_eq!(one.send(b"x", gone, None).unwrap(), Delivery::Left);
    }
    two.send(b"good", one.local_addr(), None).unwrap();
    assert_eq!(read(&one, &mut Batch::sized(4, 64), 1)[0].0, b"good");
}

#[test]
fn a_bound_address_is_in_use_for_everybody_else() {
    let first = bound("127.0.0.1:0");
    let refused = Socket::bind(first.local_addr(), SMALL).unwrap_err();
    assert!(matches!(refused, BindError::InUse { .. }));
    assert_eq!(
        refused.to_string(),
        format!(
            "cannot listen on udp {}: the port is in use; stop the other program or choose another with --listen",
            first.local_addr()
        )
    );
    let refused = Socket::bind("192.0.2.1:0".parse().unwrap(), SMALL).unwrap_err();
    assert!(matches!(refused, BindError::NotOurs { .. }), "{refused}");
}

#[test]
fn a_duplicate_sends_from_the_same_port_and_a_passed_socket_is_known_again() {
    let (one, two) = (bound("127.0.0.1:0"), bound("127.0.0.1:0"));
    let passed = Socket::from_fd(one.try_clone().unwrap().into()).unwrap();
    assert_eq!(passed.local_addr(), one.local_addr());
    passed.send(b"x", two.local_addr(), None).unwrap();
    assert_eq!(read(&two, &mut Batch::new(), 1)[0].1, one.local_addr());
    let (seqpacket, _other) = crate::net::unix::SeqPacket::pair().unwrap();
    assert!(Socket::from_fd(seqpacket.into()).is_err());
}

#[test]
fn datagrams_that_the_kernel_drops_are_counted() {
    let buffers = Buffers { receive: 4 << 10, send: 256 << 10 };
    let small = Socket::bind("127.0.0.1:0".parse().unwrap(), buffers).unwrap();
    let one = bound("127.0.0.1:0");
    assert_eq!(small.drops().unwrap(), 0);
    for _ in 0..64 {
        one.send(&[0; 1000], small.local_addr(), None).unwrap();
    }
    // Over the loopback a datagram has been queued or dropped when its send returns.
    let mut batch = Batch::new();
    let kept = small.recv_batch(&mut batch).unwrap();
    let memory = small.memory().unwrap();
    assert!(memory.drops > 0 && kept + memory.drops as usize == 64, "{kept} kept, {memory:?}");
    assert!(memory.receive >= 1024 && memory.send >= 128 << 10, "{memory:?}");
}

#[test]
fn the_kernel_tells_how_long_a_datagram_has_waited_once_it_is_asked_to() {
    for address in ["127.0.0.1:0", "0.0.0.0:0"] {
        let listener = bound(address);
        let caller = bound("127.0.0.1:0");
        let to = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().port()));
        let mut batch = Batch::sized(1, 100);
        let next = |batch: &mut Batch| {
            readable(&listener);
            assert_eq!(listener.recv_batch(batch).unwrap(), 1);
            assert_eq!(batch.get(0).map(|datagram| datagram.source), Some(caller.local_addr()));
            batch.waited(0)
        };
        caller.send(b"1", to, None).unwrap();
        assert_eq!(next(&mut batch), None);
        // The setting is made on a duplicate: it belongs to the socket, whichever descriptor sets it.
        listener.try_clone().unwrap().stamp_arrivals(true).unwrap();
        // The kernel begins to stamp a moment after the call; a datagram that arrives earlier counts as fresh.
        let deadline = clock::now() + Duration::from_secs(5);
        loop {
            caller.send(b"2", to, None).unwrap();
            readable(&listener);
            let begin = clock::now();
            while clock::now().since(begin) < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            let waited = next(&mut batch).expect("the kernel keeps the time");
            assert!(waited < Duration::from_secs(60), "{waited:?}");
            if waited >= Duration::from_millis(1) {
                break;
            }
            assert!(clock::now() < deadline, "the kernel never stamps");
        }
        listener.stamp_arrivals(false).unwrap();
        caller.send(b"3", to, None).unwrap();
        assert_eq!(next(&mut batch), None);
    }
}
