use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::net::udp;

fn send(link: &SeqPacket, bytes: &[u8]) -> io::Result<()> {
    link.send(&[IoSlice::new(bytes)], &[])
}

fn recv(link: &SeqPacket) -> io::Result<Vec<u8>> {
    let mut frame = [0; 4096];
    let mut descriptors = Vec::new();
    let length = link.recv(&mut frame, &mut descriptors)?;
    assert!(descriptors.is_empty());
    Ok(frame[..length].to_vec())
}

#[test]
fn a_frame_arrives_whole_however_many_pieces_it_was_sent_in() {
    let (one, two) = SeqPacket::pair().unwrap();
    assert_eq!(recv(&two).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    one.send(&[IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")], &[]).unwrap();
    send(&one, b"next").unwrap();
    assert_eq!(recv(&two).unwrap(), b"headbody");
    assert_eq!(recv(&two).unwrap(), b"next");
    assert_eq!(recv(&two).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn descriptors_ride_beside_a_frame() {
    let (one, two) = SeqPacket::pair().unwrap();
    let sockets: Vec<_> =
        (0..20).map(|_| udp::Socket::bind("127.0.0.1:0".parse().unwrap(), udp::Buffers::MEDIA).unwrap()).collect();
    let passed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    one.send(&[IoSlice::new(b"welcome")], &passed).unwrap();
    let (mut frame, mut descriptors) = ([0; 64], Vec::new());
    assert_eq!(two.recv(&mut frame, &mut descriptors).unwrap(), 7);
    let addresses: Vec<_> = descriptors.into_iter().map(|fd| udp::Socket::from_fd(fd).unwrap().local_addr()).collect();
    assert_eq!(addresses, sockets.iter().map(udp::Socket::local_addr).collect::<Vec<_>>());
    let too_many = vec![one.as_fd(); DESCRIPTORS + 1];
    assert_eq!(one.send(&[IoSlice::new(b"x")], &too_many).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    one.send(&[IoSlice::new(b"x")], &too_many[1..]).unwrap();
    let mut descriptors = Vec::new();
    assert_eq!(two.recv(&mut frame, &mut descriptors).unwrap(), 1);
    assert_eq!(descriptors.len(), DESCRIPTORS);
    let flags = nix::fcntl::fcntl(&descriptors[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC, "a child must not inherit it");
}

#[test]
fn a_frame_longer_than_the_buffer_is_an_error_not_a_part_of_one() {
    let (one, two) = SeqPacket::pair().unwrap();
    send(&one, &[1; 5000]).unwrap();
    assert_eq!(recv(&two).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_link_that_is_full_takes_no_part_of_a_frame() {
    let (one, two) = SeqPacket::pair().unwrap();
    let mut sent = 0;
    let full = loop {
        match send(&one, &[sent as u8; 1000]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    for number in 0..sent {
        assert_eq!(recv(&two).unwrap(), [number as u8; 1000]);
    }
    assert_eq!(recv(&two).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_larger_send_buffer_holds_thousands_of_messages() {
    let (one, _two) = SeqPacket::pair().unwrap();
    let granted = one.set_buffers(SEND_BUFFER, 0).unwrap();
    assert!(granted >= 128 << 10, "{granted}");
    let held = (0..).take_while(|_| send(&one, &[0; 1100]).is_ok()).count();
    assert!(held * 4096 > granted, "{held} messages in {granted} bytes");
}

#[test]
fn a_dead_link_is_read_to_its_end() {
    let (one, two) = SeqPacket::pair().unwrap();
    send(&two, b"never read").unwrap();
    send(&one, b"answered").unwrap();
    send(&one, b"report").unwrap();
    // Dropping it with unread bytes makes this a reset.
    drop(one);
    assert_eq!(recv(&two).unwrap(), b"answered");
    assert_eq!(recv(&two).unwrap(), b"report");
    assert_eq!(recv(&two).unwrap(), b"");
    assert_eq!(recv(&two).unwrap(), b"");
    assert_eq!(send(&two, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_listener_is_for_its_owner_and_knows_who_comes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handoff.sock");
    let listener = SeqListener::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(listener.accept().unwrap().is_none());
    let caller = SeqPacket::connect(&path).unwrap();
    let mut fds = [PollFd::new(&listener, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap(), 1);
    let called = listener.accept().unwrap().expect("a link waits");
    let us = Peer { pid: Some(std::process::id()), uid: rustix::process::getuid().as_raw() };
    assert_eq!((called.peer().unwrap(), caller.peer().unwrap()), (us, us));
    send(&caller, b"hello").unwrap();
    assert_eq!(recv(&called).unwrap(), b"hello");
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_live_socket_file_is_in_use_and_a_dead_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handoff.sock");
    let live = SeqListener::bind(&path).unwrap();
    assert!(matches!(SeqListener::bind(&path), Err(UnixError::InUse { .. })));
    assert!(SeqPacket::connect(&path).is_ok(), "the live one is undisturbed");
    let moved = directory.path().join("dead.sock");
    fs::rename(&path, &moved).unwrap();
    drop(live);
    assert!(matches!(SeqPacket::connect(&moved), Err(UnixError::NotListening { .. })));
    let replaced = SeqListener::bind(&moved).unwrap();
    assert!(SeqPacket::connect(&moved).is_ok());
    drop(replaced);
    let stream = directory.path().join("stats.sock");
    let _other_kind = UnixListener::bind(&stream).unwrap();
    assert!(matches!(SeqListener::bind(&stream), Err(UnixError::InUse { .. })));
}

#[test]
fn a_listener_that_was_replaced_leaves_the_new_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handoff.sock");
    let first = SeqListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = SeqListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn the_fault_of_a_path_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "kept").unwrap();
    assert!(matches!(SeqListener::bind(&file), Err(UnixError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    assert!(matches!(SeqListener::bind(&directory.path().join("no/handoff.sock")), Err(UnixError::NoDirectory { .. })));
    let base = directory.path().as_os_str().len() + 1;
    let longest = directory.path().join("x".repeat(PATH_LIMIT - base));
    drop(SeqListener::bind(&longest).expect("107 bytes fit"));
    let longer = directory.path().join("x".repeat(PATH_LIMIT - base + 1));
    let refused = SeqListener::bind(&longer).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the socket path {} has 108 bytes, at most 107 are possible; choose a shorter one with --run-dir",
            longer.display()
        )
    );
    assert!(matches!(SeqPacket::connect(&longer), Err(UnixError::PathTooLong { .. })));
    assert!(matches!(SeqPacket::connect(&directory.path().join("none")), Err(UnixError::NotListening { .. })));
}
