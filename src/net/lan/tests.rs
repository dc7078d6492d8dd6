//! Links between two ends in this process, with certificates of a CA of their own.

use std::io::{self, IoSlice};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::certify::{End, certify};
use super::*;
use crate::link::session::Side;
use crate::net::clock;
use crate::stream::tls::Tls;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HARD_LIMIT, FrameBuilder, Record};

fn connected() -> (Connection, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ends = [End::Dispatcher(vec!["127.0.0.1".to_owned()]), End::Worker("media1".to_owned())];
    let [server, client] = ends.map(|end| {
        let (certificate, key) = certify(dir.path(), &end).unwrap();
        Credentials { certificate, key, ca: dir.path().join("ca.pem") }
    });
    let name = "127.0.0.1".try_into().unwrap();
    let mut client = Connection::new(one, Tls::client(client.client().unwrap(), name).unwrap()).unwrap();
    let mut server = Connection::new(other, Tls::server(server.server().unwrap()).unwrap()).unwrap();
    let deadline = clock::now() + Duration::from_secs(10);
    while server.peer_name().is_err() && clock::now() < deadline {
        assert_eq!(client.recv(&mut []).unwrap(), None);
        assert_eq!(server.recv(&mut []).unwrap(), None);
    }
    assert_eq!(server.peer_name().unwrap(), "media1");
    (server, client)
}

#[test]
fn a_broken_key_of_the_ca_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path(), &End::Worker("media1".to_owned())).unwrap();
    std::fs::write(dir.path().join("ca.key"), "").unwrap();
    let error = certify(dir.path(), &End::Worker("media2".to_owned())).unwrap_err().to_string();
    assert!(error.contains("ca.key holds no private key") && error.contains("put the right one back"), "{error}");
}

fn pair() -> (LanChannel, LanChannel) {
    let (mut one, mut other) = (LanChannel::new(Side::Dispatcher), LanChannel::new(Side::Worker));
    reconnect(&mut one, &mut other);
    (one, other)
}

fn reconnect(one: &mut LanChannel, other: &mut LanChannel) {
    let (here, there) = connected();
    let (read, read_there) = (other.frames_read(), one.frames_read());
    one.attach(here, read).unwrap();
    other.attach(there, read_there).unwrap();
}

fn frame(number: u64, length: usize) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::GroupOpen { opened: Time(number), name: &vec![b'x'; length] });
    frame.bytes().to_vec()
}

/// Reads until this many frames have come.
fn read(channel: &mut LanChannel, count: usize, mut meanwhile: impl FnMut()) -> Vec<u64> {
    let deadline = clock::now() + Duration::from_secs(10);
    let (mut buffer, mut got) = (vec![0; FRAME_HARD_LIMIT], Vec::new());
    while got.len() < count && clock::now() < deadline {
        match channel.recv(&mut buffer) {
            Ok(length) => match crate::wire::handoff::Frame::parse(&buffer[..length]).unwrap().next() {
                Some(Ok(Record::GroupOpen { opened, .. })) => got.push(opened.0),
                other => panic!("{other:?}"),
            },
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        meanwhile();
    }
    got
}

#[test]
fn frames_come_whole_however_the_socket_cuts_them_and_a_full_one_takes_no_more() {
    let (mut one, mut other) = pair();
    let mut sent = 0;
    while one.send(&[IoSlice::new(&frame(sent, 60_000))]).is_ok() {
        sent += 1;
    }
    assert!(sent > 10, "{sent}");
    assert!(!one.flush());
    let got = read(&mut other, sent as usize, || _ = one.flush());
    assert!(got.into_iter().eq(0..sent));
    let takes = (0..1_000).any(|_| one.recv(&mut [0; 100]).is_err() && one.flush());
    assert!(takes, "it takes frames again");
}

#[test]
fn a_cut_connection_loses_no_frame_and_none_comes_twice() {
    let (mut one, mut other) = pair();
    (0..100).for_each(|number| one.send(&[IoSlice::new(&frame(number, 1_000))]).unwrap());
    let mut got = read(&mut other, 30, || ());
    // The other 70 are on their way.
    one.cut();
    other.cut();
    let refused = one.send(&[IoSlice::new(&frame(100, 1_000))]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "a frame that is not taken can go elsewhere");
    reconnect(&mut one, &mut other);
    one.send(&[IoSlice::new(&frame(100, 1_000))]).unwrap();
    got.extend(read(&mut other, 71, || ()));
    assert!(got.into_iter().eq(0..=100));
}

#[test]
fn a_silent_connection_is_given_up_and_a_link_without_one_is_over_after_ten_seconds() {
    let (mut one, _other) = pair();
    let now = clock::now();
    assert!(!one.handle_timeout(now + Duration::from_secs(3)) && !one.is_cut());
    assert!(!one.handle_timeout(now + Duration::from_secs(4) + Duration::from_secs(1)) && one.is_cut());
    assert!(!one.handle_timeout(now + Duration::from_secs(9)));
    assert!(one.handle_timeout(clock::now() + Duration::from_secs(10)));
    assert_eq!(one.recv(&mut [0; 100]).unwrap(), 0);
}

#[test]
fn garbage_ends_the_link_with_its_reason() {
    let (mut one, mut other) = pair();
    let (here, mut there) = connected();
    one.attach(here, other.frames_read()).unwrap();
    other.cut();
    there.add(b"GET / HTTP/1.1\r\n\r\n");
    assert!(there.flush().unwrap());
    let deadline = clock::now() + Duration::from_secs(10);
    while one.recv(&mut [0; 100]).is_err() && clock::now() < deadline {}
    assert!(one.over().is_some_and(|why| why.contains("not a handoff frame")), "{:?}", one.over());
}

#[test]
fn an_end_that_only_counts_without_end_holds_its_reader_up_for_some_hundred_frames_at_most() {
    let mut count = FrameBuilder::new();
    count.push(&Record::Pong(0));
    for (counts, is_over) in [(200, false), (600, true)] {
        let (mut one, mut other) = pair();
        let (here, mut there) = connected();
        one.attach(here, other.frames_read()).unwrap();
        other.cut();
        (0..counts).for_each(|_| there.add(count.bytes()));
        // The last one is a frame for the link's user, and says that all have been read.
        there.add(&frame(7, 10));
        assert!(there.flush().unwrap());
        let deadline = clock::now() + Duration::from_secs(10);
        let mut buffer = vec![0; FRAME_HARD_LIMIT];
        let received = loop {
            match one.recv(&mut buffer) {
                Err(_) if clock::now() < deadline => {}
                received => break received.unwrap(),
            }
        };
        // 0: the link is over.
        assert_eq!((received == 0, one.over().is_some()), (is_over, is_over));
    }
}

#[test]
fn a_connection_that_was_held_back_on_its_way_and_comes_late_disturbs_no_later_one() {
    let (mut one, mut other) = pair();
    (0..10).for_each(|number| one.send(&[IoSlice::new(&frame(number, 100))]).unwrap());
    assert_eq!(read(&mut other, 10, || ()).len(), 10);
    // The other end tells of what it has read with its next connection.
    reconnect(&mut one, &mut other);
    let (late, _its_end) = connected();
    one.attach(late, 3).unwrap();
    one.send(&[IoSlice::new(&frame(10, 100))]).unwrap();
    assert_eq!(read(&mut other, 1, || ()), [10]);
}
