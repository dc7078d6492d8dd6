use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use mio::{Events, Poll};

use super::*;
use crate::net::tcp;
use crate::stream::tests::certificates;
use crate::stream::{Kind, Limits};

const FIRST: usize = 10;
const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c\r\nContent-Length: 0\r\n\r\n";
const OK: &[u8] = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Connections with the poll that watches them, and a listener whose connections they are.
struct Rig {
    poll: Poll,
    conns: Conns,
    listener: TcpListener,
    now: Time,
    /// Messages that have come.
    messages: Vec<(ConnKey, Vec<u8>)>,
}

impl Rig {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let registry = Arc::new(poll.registry().try_clone().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Rig { poll, conns: Conns::new(registry, FIRST, 100), listener, now: Time(1), messages: Vec::new() }
    }

    /// A new connection, and its peer's end.
    fn connect(&mut self) -> (ConnKey, TcpStream) {
        let peer = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (socket, remote) = self.listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let ends = Ends { remote, local: socket.local_addr().unwrap(), listener: Some(ListenerId(0)) };
        (self.insert(socket, ends), peer)
    }

    fn insert(&mut self, socket: TcpStream, ends: Ends) -> ConnKey {
        let stream = Stream::new(Kind::Plain, Limits::default(), self.now);
        self.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, self.now).unwrap()
    }

    /// One turn, after waiting at most so long for an event.
    fn turn(&mut self, within: Duration) {
        let mut events = Events::with_capacity(100);
        self.poll.poll(&mut events, Some(if self.conns.has_readable() { Duration::ZERO } else { within })).unwrap();
        events.iter().for_each(|event| self.conns.on_event(event));
        let Rig { conns, messages, now, .. } = self;
        conns.read(*now, &mut |origin, received| {
            if let Received::Message(bytes) = received {
                messages.push((origin.key, bytes.to_vec()));
            }
        });
        conns.flush();
        conns.handle_timeout(*now, |_| false);
    }

    /// Turns until it is so, within 5 s.
    fn until(&mut self, is_so: impl Fn(&mut Self) -> bool) {
        let begin = std::time::Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < Duration::from_secs(5), "it does not happen");
            self.turn(Duration::from_millis(50));
        }
    }

    fn closed(&mut self) -> Option<(ConnKey, CloseReason)> {
        self.conns.poll_closed().map(|closed| (closed.key, closed.reason))
    }

    /// Sends until so much waits that the connection is not read any more.
    fn fill(&mut self, key: ConnKey, message: &[u8]) {
        while self.conns.places.get(key).unwrap().may_read() {
            assert!(self.conns.send(key, message));
            self.conns.flush();
        }
    }

    /// Turns until a connection is closed.
    fn until_closed(&mut self) -> (ConnKey, CloseReason) {
        self.until(|rig| !rig.conns.closed.is_empty());
        self.closed().unwrap()
    }
}

#[test]
fn messages_come_and_answers_of_a_turn_leave_with_one_write() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    peer.write_all([OPTIONS, OPTIONS].concat().as_bytes()).unwrap();
    rig.until(|rig| rig.messages.len() == 2);
    assert_eq!(rig.messages[1], (key, OPTIONS.as_bytes().to_vec()));
    assert!(rig.conns.send(key, OK) && rig.conns.send(key, OK));
    rig.conns.flush();
    let mut answers = vec![0; 2 * OK.len()];
    peer.read_exact(&mut answers).unwrap();
    assert_eq!(answers, [OK, OK].concat());
}

#[test]
fn a_peer_that_ends_its_half_gets_its_answer_and_is_closed_then() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    rig.until(|rig| !rig.conns.takes_requests(key));
    assert_eq!(rig.messages.len(), 1);
    assert!(rig.conns.send(key, OK), "it is still open for the answer");
    rig.conns.flush();
    assert_eq!(rig.until_closed(), (key, CloseReason::Ended));
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.as_slice(), rig.conns.count()), (OK, 0));
}

#[test]
fn a_peer_that_ends_its_half_and_gets_no_answer_is_closed_in_two_seconds() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    rig.until(|rig| !rig.conns.takes_requests(key));
    rig.turn(Duration::ZERO);
    assert_eq!(rig.closed(), None);
    rig.now = rig.now + ENDED_FOR + TICK;
    assert_eq!(rig.until_closed(), (key, CloseReason::Ended));
}

#[test]
fn a_peer_that_has_its_answers_is_closed_as_soon_as_it_ends_its_half() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    rig.until(|rig| rig.messages.len() == 1);
    rig.conns.send(key, OK);
    rig.conns.flush();
    peer.read_exact(&mut vec![0; OK.len()]).unwrap();
    drop(peer);
    assert_eq!(rig.until_closed(), (key, CloseReason::Ended));
}

#[test]
fn a_peer_that_reads_nothing_is_not_read_any_more_and_closed_in_the_end() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    let (other, mut other_peer) = rig.connect();
    let long = [OK, &vec![b'x'; 8 << 10]].concat();
    rig.fill(key, &long);
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    other_peer.write_all(OPTIONS.as_bytes()).unwrap();
    rig.until(|rig| !rig.messages.is_empty());
    assert_eq!(rig.messages, [(other, OPTIONS.as_bytes().to_vec())], "its own message is left unread");
    while rig.conns.send(key, &long) {}
    assert_eq!(rig.closed(), Some((key, CloseReason::ReadsNothing)));
}

/// Queues more for a connection than may wait, in one turn. Returns the number of bytes that it takes.
fn queue_much(rig: &mut Rig, key: ConnKey) -> usize {
    let long = [OK, &vec![b'x'; 8 << 10]].concat();
    let messages = CAP / long.len() + 8;
    (0..messages).take_while(|_| rig.conns.send(key, &long)).count() * long.len()
}

#[test]
fn a_peer_that_reads_is_not_closed_though_more_than_the_cap_is_queued_in_each_turn() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    for _ in 0..20 {
        let queued = queue_much(&mut rig, key);
        assert!(queued > CAP);
        assert_eq!(rig.closed(), None);
        let reader = std::thread::spawn(move || {
            peer.read_exact(&mut vec![0; queued]).unwrap();
            peer
        });
        rig.until(|rig| rig.conns.waiting(key) == 0);
        peer = reader.join().unwrap();
    }
}

#[test]
fn a_peer_that_reads_nothing_is_closed_though_all_is_queued_in_one_turn() {
    let mut rig = Rig::new();
    let (key, _peer) = rig.connect();
    let queued: usize = (0..1_000).map(|_| queue_much(&mut rig, key)).take_while(|queued| *queued > CAP).sum();
    assert_eq!(rig.closed(), Some((key, CloseReason::ReadsNothing)), "after {queued} bytes");
}

#[test]
fn a_peer_that_takes_nothing_for_half_a_minute_is_closed_though_little_waits_for_it() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    rig.until(|rig| !rig.messages.is_empty());
    rig.fill(key, &vec![b'x'; 8 << 10]);
    for _ in 0..4 {
        rig.now = rig.now + LOOK_EVERY;
        rig.turn(Duration::ZERO);
    }
    assert_eq!(rig.closed(), Some((key, CloseReason::ReadsNothing)));
}

#[test]
fn a_peer_that_reads_late_is_read_again_when_its_answers_have_left() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    let long = [OK, &vec![b'x'; 8 << 10]].concat();
    rig.fill(key, &long);
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while peer.read(&mut bytes).unwrap_or_default() > 0 {}
    });
    rig.until(|rig| rig.messages.len() == 1);
    rig.conns.close(key, CloseReason::Denied);
    reader.join().unwrap();
}

#[test]
fn a_message_is_not_slow_because_we_do_not_read_it() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    let (first, rest) = OPTIONS.split_at(20);
    peer.write_all(first.as_bytes()).unwrap();
    rig.until(|rig| !rig.conns.places.get(key).unwrap().stream.pending().is_empty());
    rig.fill(key, &[OK, &vec![b'x'; 8 << 10]].concat());
    peer.write_all(rest.as_bytes()).unwrap();
    rig.until(|rig| rig.conns.places.get(key).unwrap().is_paused);
    rig.now = rig.now + Duration::from_secs(20);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.closed(), None);
    let mut reader = peer.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while reader.read(&mut bytes).unwrap_or_default() > 0 {}
    });
    rig.until(|rig| rig.messages.len() == 1);
    // Read again, it has its usual time.
    peer.write_all(first.as_bytes()).unwrap();
    rig.until(|rig| !rig.conns.places.get(key).unwrap().stream.pending().is_empty());
    rig.now = rig.now + Duration::from_secs(11);
    assert_eq!(rig.until_closed(), (key, CloseReason::Fault(Fault::SlowMessage)));
    reader.join().unwrap();
}

#[test]
fn one_connection_that_sends_without_a_pause_keeps_no_other_waiting() {
    let mut rig = Rig::new();
    let (fast, mut fast_peer) = rig.connect();
    let others: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    fast_peer.write_all(OPTIONS.repeat(2_000).as_bytes()).unwrap();
    rig.until(|rig| rig.messages.len() > 100);
    for (_, peer) in &others {
        (&*peer).write_all(OPTIONS.as_bytes()).unwrap();
    }
    let before = rig.messages.len();
    rig.until(|rig| others.iter().all(|(key, _)| rig.messages.iter().any(|(of, _)| of == key)));
    let last = rig.messages.iter().rposition(|(key, _)| *key != fast).unwrap();
    let between = rig.messages[before..last].iter().filter(|(key, _)| *key == fast).count();
    assert!(between <= 2 * READ / OPTIONS.len(), "{between} of its messages came first");
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut rig = Rig::new();
    let (key, _peer) = rig.connect();
    rig.now = rig.now + Duration::from_secs(29);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.closed(), None);
    rig.now = rig.now + Duration::from_secs(2);
    rig.turn(Duration::ZERO);
    assert_eq!(rig.closed(), Some((key, CloseReason::Fault(Fault::Silent))));
}

#[test]
fn the_deadlines_of_a_connection_that_lasts_do_not_pile_up() {
    let mut rig = Rig::new();
    let (_key, mut peer) = rig.connect();
    for second in 1..500 {
        rig.now = Time(1) + Duration::from_secs(second);
        // Half a message, then the rest.
        let (one, other) = OPTIONS.split_at(20);
        let text = if second % 2 == 1 { one } else { other };
        peer.write_all(text.as_bytes()).unwrap();
        rig.until(|rig| rig.messages.len() as u64 == second / 2);
        rig.turn(Duration::from_millis(1));
    }
    assert!(rig.conns.timers.len() < 10, "{} entries", rig.conns.timers.len());
}

#[test]
fn a_connection_that_is_refused_is_reported_as_refused() {
    let mut rig = Rig::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = tcp::connect(gone).unwrap();
    let ends = Ends { remote: gone, local: gone, listener: None };
    let key = rig.insert(socket, ends);
    assert_eq!(rig.until_closed(), (key, CloseReason::Refused));
}

#[test]
fn a_message_for_a_connection_that_is_still_being_opened_leaves_when_it_is() {
    let mut rig = Rig::new();
    let to = rig.listener.local_addr().unwrap();
    let socket = tcp::connect(to).unwrap();
    let ends = Ends { remote: to, local: socket.local_addr().unwrap(), listener: None };
    let key = rig.insert(socket, ends);
    assert_eq!(rig.conns.to(to), Some(key));
    assert!(rig.conns.send(key, OPTIONS.as_bytes()));
    rig.conns.flush();
    let (mut peer, _) = rig.listener.accept().unwrap();
    rig.turn(Duration::from_millis(500));
    let mut bytes = vec![0; OPTIONS.len()];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, OPTIONS.as_bytes());
}

#[test]
fn a_connection_moves_to_another_poll_with_what_waits_in_it() {
    let (mut one, mut other) = (Rig::new(), Rig::new());
    let (key, mut peer) = one.connect();
    let (first, rest) = OPTIONS.split_at(20);
    peer.write_all(first.as_bytes()).unwrap();
    one.until(|rig| {
        rig.conns.heard(key).is_some() && rig.conns.places.get(key).unwrap().stream.poll_timeout() > Time(1)
    });
    one.turn(Duration::from_millis(50));
    one.conns.send(key, OK);
    let moved = one.conns.remove(key).unwrap();
    assert_eq!((one.conns.count(), one.closed()), (0, None));
    let key = other.conns.insert(moved, other.now).unwrap();
    other.turn(Duration::ZERO);
    let mut answer = vec![0; OK.len()];
    peer.read_exact(&mut answer).unwrap();
    peer.write_all(rest.as_bytes()).unwrap();
    other.until(|rig| rig.messages == [(key, OPTIONS.as_bytes().to_vec())]);
}

#[test]
fn a_number_names_one_connection_in_its_place() {
    let mut rig = Rig::new();
    let (first, _peer) = rig.connect();
    rig.conns.close(first, CloseReason::Denied);
    let (second, _peer) = rig.connect();
    assert_eq!(first.index(), second.index());
    assert_eq!(rig.conns.numbered(first.number()), None);
    assert_eq!(rig.conns.numbered(second.number()), Some(second));
    assert!(second.number() < 1 << 39);
}

#[test]
fn a_connection_whose_handshake_never_ends_takes_no_messages_without_end() {
    let mut rig = Rig::new();
    let to = rig.listener.local_addr().unwrap();
    let socket = tcp::connect(to).unwrap();
    let ends = Ends { remote: to, local: socket.local_addr().unwrap(), listener: None };
    let kind = Kind::TlsClient(certificates::client(rustls::DEFAULT_VERSIONS), certificates::localhost());
    let stream = Stream::new(kind, Limits::default(), rig.now);
    let key = rig.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, rig.now).unwrap();
    let taken = (0..1_000).take_while(|_| rig.conns.send(key, OPTIONS.as_bytes())).count();
    assert!((500..1_000).contains(&taken), "{taken}");
    assert_eq!(rig.closed(), Some((key, CloseReason::ReadsNothing)));
}

/// An answer of so many bytes.
fn answer(bytes: usize) -> Vec<u8> {
    [format!("SIP/2.0 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes(), vec![b'x'; bytes]].concat()
}

/// Time until which a connection that is hung up may stay.
const BY: Duration = Duration::from_secs(300);

impl Rig {
    /// Time passes, until hung-up connections are looked at.
    fn look(&mut self) {
        for _ in 0..3 {
            self.now = self.now + TICK;
            self.turn(Duration::ZERO);
        }
    }
}

#[test]
fn a_connection_that_is_hung_up_is_closed_when_all_that_is_queued_has_left() {
    let mut rig = Rig::new();
    let (key, mut peer) = rig.connect();
    let message = answer(8 << 10);
    rig.fill(key, &message);
    let by = rig.now + BY;
    rig.conns.hang_up(key, by, rig.now);
    assert!(rig.conns.send(key, b"ACK sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n"), "what comes late leaves as well");
    rig.look();
    assert_eq!(rig.closed(), None, "its peer has not read all");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).map(|_| all)
    });
    rig.until(|rig| {
        rig.now = rig.now + TICK;
        !rig.conns.closed.is_empty()
    });
    assert_eq!(rig.closed(), Some((key, CloseReason::Unneeded)));
    let all = reader.join().unwrap().unwrap();
    assert!(all.ends_with(b"ACK sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n") && all.starts_with(&message));
}

#[test]
fn a_connection_that_is_hung_up_stays_until_the_requests_of_its_peer_are_answered_or_its_time_is_over() {
    for is_answered in [true, false] {
        let mut rig = Rig::new();
        let (key, mut peer) = rig.connect();
        peer.write_all(OPTIONS.as_bytes()).unwrap();
        rig.until(|rig| rig.messages.len() == 1);
        let by = rig.now + BY;
        rig.conns.hang_up(key, by, rig.now);
        rig.look();
        assert_eq!(rig.closed(), None);
        if is_answered {
            assert!(rig.conns.send(key, OK));
            rig.turn(Duration::ZERO);
            rig.look();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, OK);
        } else {
            rig.now = by;
            rig.look();
        }
        assert_eq!(rig.closed(), Some((key, CloseReason::Unneeded)));
    }
}
