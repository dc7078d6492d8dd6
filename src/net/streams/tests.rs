use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use mio::{Events, Poll};
use socket2::SockRef;

use super::*;

const WITHIN: Duration = Duration::from_secs(5);
const REQUEST: &str = "OPTIONS sip:ms SIP/2.0\r\nContent-Length: 0\r\n\r\n";
const TOKENS: Tokens = Tokens { listeners: 512, connections: 1 << 20 };
const LIMIT: usize = 24;

/// Connections, their poll, and the messages that have come over them.
struct Desk {
    poll: Poll,
    streams: Streams,
    at: SocketAddr,
    now: Time,
    came: Vec<(String, u64)>,
    /// Connections with calls.
    carrying: Vec<u64>,
}

impl Desk {
    fn new() -> Desk {
        let poll = Poll::new().unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr();
        let streams = Streams::new(poll.registry(), vec![listener], TOKENS, LIMIT).unwrap();
        Desk { poll, streams, at, now: Time(1_000_000), came: Vec::new(), carrying: Vec::new() }
    }

    fn caller(&mut self) -> TcpStream {
        let caller = TcpStream::connect(self.at).unwrap();
        caller.set_read_timeout(Some(WITHIN)).unwrap();
        let before = self.open();
        self.turn_until(|desk| desk.open() > before);
        caller
    }

    /// Serves events until `done`.
    fn turn_until(&mut self, done: impl Fn(&Desk) -> bool) {
        let mut events = Events::with_capacity(16);
        while !done(self) {
            self.poll.poll(&mut events, Some(WITHIN)).unwrap();
            assert!(!events.is_empty(), "nothing happened");
            for event in &events {
                let Desk { streams, now, came, carrying, .. } = self;
                let mut sink = |bytes: &[u8], conn: u64, _: SocketAddr, _: SocketAddr| {
                    came.push((String::from_utf8(bytes.to_vec()).unwrap(), conn));
                };
                match streams.is_listener(event.token()) {
                    true => while streams.accept(event.token(), *now, |conn| carrying.contains(&conn), |_| false) {},
                    false => while streams.on_ready(event.token(), *now, &mut sink) {},
                }
            }
        }
    }

    /// Lets time pass, and calls `handle_timeout` as often as the streams ask for.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.streams.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let carrying = &self.carrying;
            self.streams.handle_timeout(self.now, |conn| carrying.contains(&conn), |_| {});
        }
        self.now = end;
    }

    fn open(&self) -> usize {
        self.streams.connections.keys().count()
    }
}

fn rest(mut caller: &TcpStream) -> String {
    let mut text = String::new();
    caller.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_peer_that_has_ended_its_half_gets_its_answer_and_then_the_end() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    desk.turn_until(|desk| desk.streams.ended.len() == 1);
    let (text, conn) = desk.came.remove(0);
    assert_eq!(text, REQUEST);
    // No process listens on port 1: the answer must not be dialled.
    desk.streams.send(conn, "127.0.0.1:1".parse().unwrap(), b"SIP/2.0 200 OK\r\n\r\n", desk.now, |_| false);
    desk.wait(ENDED_FOR);
    assert_eq!((rest(&caller).as_str(), desk.open()), ("SIP/2.0 200 OK\r\n\r\n", 0));
}

#[test]
fn a_bye_to_a_peer_that_has_closed_its_connection_goes_by_another() {
    let mut desk = Desk::new();
    let contact = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = contact.local_addr().unwrap();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    drop(caller);
    desk.turn_until(|desk| desk.streams.ended.len() == 1);
    let conn = desk.came[0].1;
    desk.streams.send(conn, at, b"BYE sip:caller SIP/2.0\r\n\r\n", desk.now, |_| false);
    let remotes = desk.streams.connections.keys().filter_map(|key| Some(desk.streams.connections.get(key)?.remote));
    assert!(remotes.into_iter().any(|remote| remote == at), "its Contact is dialled");
}

#[test]
fn a_connection_of_ours_that_is_refused_is_told_once_and_one_of_a_caller_that_breaks_is_not() {
    let mut desk = Desk::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.streams.dial(nobody, b"BYE sip:caller SIP/2.0\r\n\r\n", desk.now, |_| false);
    if desk.open() > 0 {
        desk.turn_until(|desk| desk.open() == 0);
    }
    assert_eq!(desk.streams.take_failed(), [nobody]);
    assert_eq!(desk.streams.take_failed(), []);
    let caller = desk.caller();
    SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
    drop(caller);
    desk.turn_until(|desk| desk.open() == 0);
    assert_eq!(desk.streams.take_failed(), []);
}

#[test]
fn a_connection_of_ours_that_ends_in_order_before_anything_came_has_failed() {
    let mut desk = Desk::new();
    let contact = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = contact.local_addr().unwrap();
    for answers in [false, true] {
        desk.streams.dial(at, REQUEST.as_bytes(), desk.now, |_| false);
        let (mut peer, _) = contact.accept().unwrap();
        peer.set_read_timeout(Some(WITHIN)).unwrap();
        // The peer reads the request: unread bytes would make its close a reset.
        peer.read_exact(&mut [0; REQUEST.len()]).unwrap();
        if answers {
            peer.write_all(b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
        peer.shutdown(Shutdown::Write).unwrap();
        desk.turn_until(|desk| desk.streams.ended.len() == 1);
        let failed = desk.streams.take_failed();
        assert_eq!(failed, if answers { vec![] } else { vec![at] });
        drop(peer);
        desk.wait(ENDED_FOR);
        assert_eq!((desk.open(), desk.streams.take_failed()), (0, vec![]), "it is told once");
    }
}

#[test]
fn a_message_that_does_not_get_done_closes_its_connection_however_alive_it_is() {
    let mut desk = Desk::new();
    let (mut slow, mut honest) = (desk.caller(), desk.caller());
    for byte in REQUEST.as_bytes().iter().take(10) {
        slow.write_all(&[*byte]).unwrap();
        let key = desk.streams.connections.keys().next().unwrap();
        let before = desk.streams.connections.get(key).unwrap().incoming.len();
        desk.turn_until(|desk| desk.streams.connections.get(key).unwrap().incoming.len() > before);
        honest.write_all(REQUEST.as_bytes()).unwrap();
        let came = desk.came.len();
        desk.turn_until(|desk| desk.came.len() > came);
        desk.wait(Duration::from_secs(3));
    }
    assert_eq!(desk.open(), 2);
    desk.wait(Duration::from_secs(12));
    assert_eq!((desk.open(), rest(&slow).as_str()), (1, ""));
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_ten_minutes() {
    let mut desk = Desk::new();
    let caller = desk.caller();
    desk.wait(IDLE_LIMIT - Duration::from_secs(1));
    assert_eq!(desk.open(), 1);
    desk.wait(LOOK_EVERY);
    assert_eq!((desk.open(), rest(&caller).as_str()), (0, ""));
}

#[test]
fn one_connection_too_many_of_a_host_closes_its_most_silent_without_a_call() {
    let mut desk = Desk::new();
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(desk.caller());
        desk.now = desk.now + Duration::from_secs(1);
    }
    callers[0].write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    desk.turn_until(|desk| {
        let keys: Vec<ConnKey> = desk.streams.connections.keys().collect();
        keys.iter().any(|key| desk.streams.connections.get(*key).unwrap().heard == desk.now)
    });
    callers[0].read_exact(&mut pong).unwrap();
    let second = desk.streams.connections.keys().nth(1).unwrap();
    desk.carrying = vec![number_of(second)];
    let fourth = TcpStream::connect(desk.at).unwrap();
    desk.turn_until(|desk| desk.streams.connections.keys().any(|key| number_of(key) > u64::from(u32::MAX)));
    assert_eq!((pong, desk.open(), rest(&callers[2]).as_str()), (*b"\r\n", 3, ""));
    drop(fourth);
}

#[test]
fn a_connection_that_carries_a_call_may_be_silent_as_long_as_the_call_lasts() {
    let mut desk = Desk::new();
    let caller = desk.caller();
    desk.carrying = desk.streams.connections.keys().map(number_of).collect();
    desk.wait(3 * IDLE_LIMIT);
    assert_eq!(desk.open(), 1);
    desk.carrying.clear();
    desk.wait(LOOK_EVERY);
    assert_eq!((desk.open(), rest(&caller).as_str()), (0, ""));
}

#[test]
fn from_a_peer_that_takes_no_answers_nothing_more_is_read_until_it_does() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 1);
    let (conn, key) = (desk.came[0].1, desk.streams.connections.keys().next().unwrap());
    let waiting = |desk: &Desk| desk.streams.connections.get(key).unwrap().outgoing.len();
    // Buffers of a set size: the kernel would make room for more and more.
    SockRef::from(&caller).set_recv_buffer_size(1 << 14).unwrap();
    SockRef::from(&desk.streams.connections.get(key).unwrap().stream).set_send_buffer_size(1 << 14).unwrap();
    while waiting(&desk) < 3 * OUTGOING_PAUSE {
        desk.streams.send(conn, desk.at, &[b'x'; 4_096], desk.now, |_| false);
    }
    caller.write_all(REQUEST.as_bytes()).unwrap();
    let token = Token(TOKENS.connections + key.index() as usize);
    assert!(!desk.streams.on_ready(token, desk.now, &mut |_, _, _, _| panic!("it was read")));
    let reader = caller.try_clone().unwrap();
    let read = std::thread::spawn(move || io::copy(&mut &reader, &mut io::sink()));
    desk.turn_until(|desk| desk.came.len() == 2);
    assert!(waiting(&desk) < OUTGOING_PAUSE);
    desk.streams.close(key);
    drop(read.join());
}

#[test]
fn a_request_in_front_of_garbage_is_answered_before_the_connection_is_closed() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(format!("{REQUEST}INVITE sip:ms SIP/2.0\r\nContent-Length: x\r\n\r\n").as_bytes()).unwrap();
    desk.turn_until(|desk| !desk.came.is_empty());
    assert_eq!(desk.came.len(), 1);
    let (conn, now) = (desk.came[0].1, desk.now);
    desk.streams.send(conn, caller.peer_addr().unwrap(), b"SIP/2.0 200 OK\r\n\r\n", now, |_| false);
    let mut answer = [0; 18];
    caller.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"SIP/2.0 200"));
    // Requests after the fault cannot be told apart.
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.wait(ENDED_FOR);
    assert_eq!((desk.came.len(), desk.open()), (1, 0));
}

#[test]
fn garbage_alone_closes_the_connection_at_once() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(b"\x16\x03\x01 no SIP\r\n\r\n").unwrap();
    desk.turn_until(|desk| desk.open() == 0);
    assert_eq!(desk.came.len(), 0);
}
