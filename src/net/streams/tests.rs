use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::thread;

use mio::{Events, Poll};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, RootCertStore, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::*;
use crate::net::conns::PAUSE;
use crate::slab::Handle;
use crate::words::Transport;

const WITHIN: Duration = Duration::from_secs(5);
const REQUEST: &str = "OPTIONS sip:ms SIP/2.0\r\nContent-Length: 0\r\n\r\n";
const ANSWER: &str = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";
const TOKENS: Tokens = Tokens { listeners: 512, connections: 1 << 20 };
const LIMIT: usize = 24;
/// Time in which a peer that has ended its half gets its answers.
const ENDED_FOR: Duration = Duration::from_secs(2);
/// The connections' deadlines are as late as this.
const LATE: Duration = Duration::from_millis(250);

/// Connections, their poll, and the messages that have come over them.
struct Desk {
    poll: Poll,
    streams: Streams,
    at: SocketAddr,
    now: Time,
    came: Vec<(String, u64)>,
    /// Their transports.
    transports: Vec<Transport>,
    /// Connections with calls.
    carrying: Vec<u64>,
}

impl Desk {
    fn new() -> Desk {
        let poll = Poll::new().unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr();
        let streams = Streams::new(poll.registry(), vec![listener], TOKENS, LIMIT).unwrap();
        Desk { poll, streams, at, now: Time(1_000_000), came: Vec::new(), transports: Vec::new(), carrying: Vec::new() }
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
            let within = if self.streams.has_readable() { Duration::ZERO } else { WITHIN };
            self.poll.poll(&mut events, Some(within)).unwrap();
            assert!(!events.is_empty() || within.is_zero(), "nothing happened");
            let Desk { streams, now, came, carrying, transports, .. } = self;
            for event in &events {
                match streams.is_listener(event.token()) {
                    true => while streams.accept(event.token(), *now, |conn| carrying.contains(&conn), |_| false) {},
                    false => streams.on_event(event),
                }
            }
            let mut sink = |origin: Origin<'_>, received: Received<'_>| {
                if let Received::Message(bytes) = received {
                    came.push((String::from_utf8(bytes.to_vec()).unwrap(), origin.key.number()));
                    transports.push(origin.transport);
                }
            };
            streams.read(*now, || true, &mut sink);
            streams.flush(*now);
        }
    }

    /// Lets time pass, and calls `handle_timeout` as often as the streams ask for.
    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.streams.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let carrying = &self.carrying;
            self.streams.handle_timeout(self.now, |conn| carrying.contains(&conn), |_| {});
            self.streams.flush(self.now);
        }
        self.now = end;
    }

    fn open(&self) -> usize {
        self.streams.conns.count()
    }

    /// Connections whose peers have ended their half.
    fn ended(&self) -> usize {
        self.streams.conns.keys().filter(|key| !self.streams.conns.takes_requests(*key)).count()
    }

    fn send(&mut self, conn: u64, bytes: &[u8]) {
        self.streams.send(conn, &bytes.into(), self.now);
        self.streams.flush(self.now);
    }

    fn dial(&mut self, to: SocketAddr, name: Option<&str>, bytes: &[u8]) {
        self.streams.dial(remote(to, name), &bytes.into(), self.now, |_| false);
        self.streams.flush(self.now);
    }

    /// The far ends that could not be reached, or no longer, since the last look.
    fn unreached(&mut self) -> Vec<Remote> {
        self.streams.take_lost().unreached
    }
}

fn remote(to: SocketAddr, name: Option<&str>) -> Remote {
    Remote { to, name: name.map(Into::into) }
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
    desk.turn_until(|desk| desk.ended() == 1);
    let (text, conn) = desk.came.remove(0);
    assert_eq!(text, REQUEST);
    desk.send(conn, b"SIP/2.0 200 OK\r\n\r\n");
    desk.wait(ENDED_FOR + 2 * LATE);
    assert_eq!((rest(&caller).as_str(), desk.open()), ("SIP/2.0 200 OK\r\n\r\n", 0));
}

#[test]
fn a_bye_to_a_peer_that_has_closed_its_connection_is_given_back() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    drop(caller);
    desk.turn_until(|desk| desk.ended() == 1);
    let conn = desk.came[0].1;
    let bye = b"BYE sip:caller SIP/2.0\r\n\r\n".as_slice();
    desk.send(conn, bye);
    assert_eq!(desk.streams.take_lost().unsent, [(conn, bye.into())]);
}

#[test]
fn an_answer_on_a_connection_that_breaks_under_it_is_given_back() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 1);
    let (conn, key) = (desk.came[0].1, desk.streams.conns.keys().next().unwrap());
    desk.streams.send(conn, &ANSWER.as_bytes().into(), desk.now);
    desk.streams.conns.close(key, CloseReason::Broken);
    desk.streams.flush(desk.now);
    let Lost { unreached, closed, unsent } = desk.streams.take_lost();
    assert_eq!((unreached, closed, unsent), (vec![], vec![conn], vec![(conn, ANSWER.as_bytes().into())]));
}

#[test]
fn a_connection_of_ours_that_is_refused_is_told_once_and_one_of_a_caller_that_breaks_is_not() {
    let mut desk = Desk::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.dial(nobody, None, b"BYE sip:caller SIP/2.0\r\n\r\n");
    if desk.open() > 0 {
        desk.turn_until(|desk| desk.open() == 0);
    }
    assert_eq!(desk.unreached(), [remote(nobody, None)]);
    assert_eq!(desk.unreached(), []);
    let caller = desk.caller();
    SockRef::from(&caller).set_linger(Some(Duration::ZERO)).unwrap();
    drop(caller);
    desk.turn_until(|desk| desk.open() == 0);
    assert_eq!(desk.unreached(), []);
}

#[test]
fn a_connection_of_ours_that_ends_in_order_has_failed() {
    let mut desk = Desk::new();
    let contact = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = contact.local_addr().unwrap();
    for answers in [false, true] {
        desk.dial(at, None, REQUEST.as_bytes());
        let (mut peer, _) = contact.accept().unwrap();
        desk.turn_until(|desk| desk.open() == 1 && !desk.streams.has_readable());
        peer.set_read_timeout(Some(WITHIN)).unwrap();
        // The peer reads the request: unread bytes would make its close a reset.
        peer.read_exact(&mut [0; REQUEST.len()]).unwrap();
        if answers {
            peer.write_all(b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
        peer.shutdown(Shutdown::Write).unwrap();
        desk.turn_until(|desk| desk.open() == 0);
        assert_eq!(desk.unreached(), [remote(at, None)]);
        drop(peer);
        desk.wait(ENDED_FOR + 2 * LATE);
        assert_eq!((desk.open(), desk.unreached()), (0, vec![]), "it is told once");
    }
}

#[test]
fn a_message_that_does_not_get_done_closes_its_connection_however_alive_it_is() {
    let mut desk = Desk::new();
    let (mut slow, mut honest) = (desk.caller(), desk.caller());
    for byte in REQUEST.as_bytes().iter().take(10) {
        slow.write_all(&[*byte]).unwrap();
        desk.wait(Duration::from_millis(900));
        honest.write_all(REQUEST.as_bytes()).unwrap();
        let came = desk.came.len();
        desk.turn_until(|desk| desk.came.len() > came);
    }
    assert_eq!(desk.open(), 2);
    desk.wait(Duration::from_secs(2));
    assert_eq!((desk.open(), rest(&slow).as_str()), (1, ""));
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut desk = Desk::new();
    let (silent, mut caller) = (desk.caller(), desk.caller());
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 1);
    let Limits { first, idle, .. } = Limits::default();
    desk.wait(first - LATE);
    assert_eq!(desk.open(), 2);
    desk.wait(2 * LATE);
    assert_eq!((desk.open(), rest(&silent).as_str()), (1, ""));
    desk.wait(idle - first - 2 * LATE);
    assert_eq!(desk.open(), 1);
    desk.wait(2 * LATE);
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
        let conns = &desk.streams.conns;
        conns.keys().any(|key| conns.heard(key) == Some(desk.now))
    });
    callers[0].read_exact(&mut pong).unwrap();
    let second = desk.streams.conns.keys().nth(1).unwrap();
    desk.carrying = vec![second.number()];
    let fourth = TcpStream::connect(desk.at).unwrap();
    desk.turn_until(|desk| desk.streams.conns.keys().any(|key| key.number() != u64::from(key.index())));
    assert_eq!((pong, desk.open(), rest(&callers[2]).as_str()), (*b"\r\n", 3, ""));
    drop(fourth);
}

#[test]
fn a_connection_that_carries_a_call_may_be_silent_as_long_as_the_call_lasts() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 1);
    desk.carrying = vec![desk.came[0].1];
    let idle = Limits::default().idle;
    desk.wait(3 * idle + 2 * LATE);
    assert_eq!(desk.open(), 1);
    desk.carrying.clear();
    desk.wait(idle + 2 * LATE);
    assert_eq!((desk.open(), rest(&caller).as_str()), (0, ""));
}

#[test]
fn from_a_peer_that_takes_no_answers_nothing_more_is_read_until_it_does() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 1);
    let (conn, key) = (desk.came[0].1, desk.streams.conns.keys().next().unwrap());
    let waiting = |desk: &Desk| desk.streams.conns.waiting(key);
    while waiting(&desk) < 3 * PAUSE {
        desk.send(conn, &[b'x'; 4_096]);
    }
    caller.write_all(REQUEST.as_bytes()).unwrap();
    // Another's is read meanwhile.
    let mut other = desk.caller();
    other.write_all(REQUEST.as_bytes()).unwrap();
    desk.turn_until(|desk| desk.came.len() == 2);
    assert_ne!(desk.came[1].1, conn, "it was read");
    let reader = caller.try_clone().unwrap();
    let read = std::thread::spawn(move || io::copy(&mut &reader, &mut io::sink()));
    desk.turn_until(|desk| desk.came.len() == 3);
    assert!(desk.came[2].1 == conn && waiting(&desk) < PAUSE);
    desk.streams.close_where(desk.now, |_| true);
    drop(read.join());
}

#[test]
fn a_request_in_front_of_garbage_is_answered_before_the_connection_is_closed() {
    let mut desk = Desk::new();
    let mut caller = desk.caller();
    caller.write_all(format!("{REQUEST}INVITE sip:ms SIP/2.0\r\nContent-Length: x\r\n\r\n").as_bytes()).unwrap();
    desk.turn_until(|desk| !desk.came.is_empty());
    assert_eq!(desk.came.len(), 1);
    desk.send(desk.came[0].1, b"SIP/2.0 200 OK\r\n\r\n");
    let mut answer = [0; 18];
    caller.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"SIP/2.0 200"));
    // Requests after the fault cannot be told apart.
    caller.write_all(REQUEST.as_bytes()).unwrap();
    desk.wait(ENDED_FOR + 2 * LATE);
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

/// A certificate for `ms.example.net` as the called side has it, and a caller that trusts it.
fn certified() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["ms.example.net".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

#[test]
fn callers_over_tls_and_over_tcp_are_served_at_one_port() {
    let mut desk = Desk::new();
    let (server, client) = certified();
    desk.streams.set_tls(Some(server), None);
    let mut plain = desk.caller();
    plain.write_all(REQUEST.as_bytes()).unwrap();
    let socket = desk.caller();
    let name = ServerName::try_from("ms.example.net").unwrap();
    let caller = thread::spawn(move || {
        let mut tls = StreamOwned::new(ClientConnection::new(client, name).unwrap(), socket);
        tls.write_all(REQUEST.as_bytes()).unwrap();
        let mut answer = [0; ANSWER.len()];
        tls.read_exact(&mut answer).unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), tls)
    });
    desk.turn_until(|desk| desk.came.len() == 2);
    assert_eq!(desk.transports, [Transport::Tcp, Transport::Tls]);
    let (_, conn) = desk.came[1];
    desk.send(conn, ANSWER.as_bytes());
    assert_eq!(caller.join().unwrap().0, ANSWER);
}

/// A peer that is called over TLS at an address of its own: what it reads, or the fault of its handshake.
fn called(server: Arc<ServerConfig>) -> (SocketAddr, thread::JoinHandle<io::Result<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(WITHIN))?;
        let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), socket);
        let mut request = [0; REQUEST.len()];
        tls.read_exact(&mut request)?;
        tls.write_all(ANSWER.as_bytes())?;
        Ok(String::from_utf8_lossy(&request).into_owned())
    });
    (at, peer)
}

#[test]
fn a_peer_that_shows_the_name_that_is_called_gets_the_request_over_tls() {
    let mut desk = Desk::new();
    let (server, client) = certified();
    desk.streams.set_tls(None, Some(client));
    let (at, peer) = called(server);
    desk.dial(at, Some("ms.example.net"), REQUEST.as_bytes());
    // The same way is found again while it is being opened, and by no other name.
    assert!(desk.streams.to(&remote(at, Some("ms.example.net"))).is_some());
    assert_eq!(desk.streams.to(&remote(at, Some("other.example.net"))), None);
    desk.turn_until(|desk| desk.came.len() == 1);
    assert_eq!(peer.join().unwrap().unwrap(), REQUEST);
    assert_eq!((desk.came[0].0.as_str(), desk.transports[0]), (ANSWER, Transport::Tls));
}

#[test]
fn a_peer_with_a_certificate_for_another_name_gets_nothing_and_the_call_to_it_has_failed() {
    let (server, client) = certified();
    for name in ["other.example.net", "127.0.0.1", "no name"] {
        let mut desk = Desk::new();
        desk.streams.set_tls(None, Some(Arc::clone(&client)));
        let (at, peer) = called(Arc::clone(&server));
        desk.dial(at, Some(name), REQUEST.as_bytes());
        desk.turn_until(|desk| desk.open() == 0);
        assert_eq!(desk.unreached(), [remote(at, Some(name))]);
        if name == "no name" {
            drop(TcpStream::connect(at));
        }
        assert!(peer.join().unwrap().is_err(), "{name}");
    }
    let mut desk = Desk::new();
    let to = "127.0.0.1:1".parse().unwrap();
    desk.dial(to, Some("ms.example.net"), REQUEST.as_bytes());
    assert_eq!((desk.open(), desk.unreached()), (0, vec![remote(to, Some("ms.example.net"))]), "without certificates");
}

#[test]
fn nothing_for_a_name_goes_on_a_connection_that_a_peer_has_opened() {
    let mut desk = Desk::new();
    let (server, client) = certified();
    desk.streams.set_tls(Some(server), Some(client));
    let caller = desk.caller();
    let at = caller.local_addr().unwrap();
    assert!(desk.streams.to(&remote(at, None)).is_some());
    assert_eq!(desk.streams.to(&remote(at, Some("ms.example.net"))), None);
}
