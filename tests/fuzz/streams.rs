//! One connection as a machine: bytes, frames, records, writes, time and its end in any order.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pointsman::stream::websocket::Rules;
use pointsman::stream::{Fault, Kind, Limits, Received, Stream};
use pointsman::time::Time;
use pointsman::wire::sip::MAX_MESSAGE;
use pointsman::words::Transport;
use rustls::{ClientConfig, ClientConnection, DEFAULT_VERSIONS, ServerConfig};

use crate::certificates;
use crate::runner::Seen;

pub const WORDS: &[&str] = &["INVITE sip:a@h SIP/2.0\r\n", "l: 3\r\n", "\r\n\r\n", "GET ", "\u{16}\u{3}\u{1}"];

/// The answers to bytes are no longer than these so many times, and a flight of the handshake.
const ANSWER: usize = 4;
const FLIGHT: usize = 8 << 10;
/// Bytes that a connection keeps of a message that is not whole: its pieces with their headers.
const KEPT: usize = MAX_MESSAGE + 16 * 1_100;

/// New keys of the client in one input.
const MOST_KEYS: u32 = 1_024;

/// A step of the machine, as the input's bytes say.
#[derive(Debug)]
enum Operation<'a> {
    /// Bytes as they are, in pieces of this size.
    Bytes(&'a [u8], usize),
    /// A frame of a client.
    Frame(u8, &'a [u8]),
    /// A good message, with a body of this length.
    Message(usize),
    /// An answer of ours.
    Write(usize),
    /// Seconds that pass.
    Pass(u64),
    /// New keys of the client, so many times.
    Keys(u8),
    /// A frame without content, so many times.
    Flood(u8, usize),
    /// So many fields of a head.
    Fields(usize),
    /// An upgrade to a WebSocket.
    Upgrade,
    /// The connection goes to another process.
    HandOver,
    /// We close.
    Close,
    /// The client closes.
    Closed,
}

impl<'a> Operation<'a> {
    fn read(input: &mut &'a [u8]) -> Option<Self> {
        let (code, rest) = input.split_first()?;
        let (size, rest) = rest.split_first()?;
        *input = rest;
        let mut bytes = |length: u8| {
            let (front, rest) = input.split_at(usize::from(length).min(input.len()));
            *input = rest;
            front
        };
        Some(match code & 0xf {
            0 | 1 | 14 | 15 => Operation::Bytes(bytes(*size), usize::from(code >> 4) + 1),
            2 | 3 => Operation::Frame(code >> 4 | size & 0x80, bytes(size & 0x7f)),
            4 => Operation::Message(usize::from(*size) * 40),
            5 => Operation::Write(usize::from(*size) * 200),
            6 => Operation::Pass(u64::from(*size)),
            7 => Operation::Keys(*size),
            8 => Operation::Upgrade,
            9 => Operation::HandOver,
            10 => Operation::Close,
            11 => Operation::Flood(code >> 4 | size & 0x80, usize::from(*size) * 10),
            12 => Operation::Fields(usize::from(*size)),
            _ => Operation::Closed,
        })
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let frame = |first: u8, content: &str| {
        [&[(first & 0xf) << 4 | 3, first & 0x80 | content.len() as u8], content.as_bytes()].concat()
    };
    let message = "OPTIONS sip:h SIP/2.0\r\nl: 0\r\n\r\n";
    let bytes = |content: &str| [&[0x20, content.len() as u8], content.as_bytes()].concat();
    vec![
        [vec![0], bytes(message), vec![4, 9, 5, 3, 6, 40, 9, 0, 4, 1]].concat(),
        [vec![1, 8, 0], frame(0x81, message), frame(1, "OPT"), frame(0x89, ""), frame(0x80, "IONS"), vec![9, 0, 4, 1]]
            .concat(),
        [vec![2], vec![4, 1, 7, 0, 4, 200, 5, 250, 6, 3], bytes(message), vec![10, 0]].concat(),
        [vec![3, 8, 0], frame(0x82, message), vec![6, 31, 4, 3, 13, 0]].concat(),
        [vec![4], bytes(message), vec![6, 255]].concat(),
        [vec![5], vec![4, 1, 4, 2, 13, 0]].concat(),
        vec![2, 7, 20, 4, 1, 7, 40],
        vec![1, 8, 0, 0x9b, 0x8d],
        vec![1, 8, 0, 0x13, 0, 0x0b, 120],
        [vec![0, 12, 200, 0, 50], bytes("OPTIONS sip:h SIP/2.0\r\nl: 70000\r\n\r\n")].concat(),
    ]
}

/// Configurations are made once: a key takes long.
fn configs() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| (certificates::server(DEFAULT_VERSIONS), certificates::client(DEFAULT_VERSIONS)))
}

/// The connection, with the client at its other end.
struct World {
    stream: Stream,
    client: Option<ClientConnection>,
    now: Time,
    is_websocket: bool,
    /// Whether it has ended: nothing more is read from it.
    is_over: bool,
    /// Messages of the client that are good, and what came of them.
    sent: usize,
    received: usize,
    bytes: usize,
    bytes_of_messages: usize,
}

pub fn run(input: &[u8], seen: &mut Seen) {
    let mut rest = input;
    let Some((kind, after)) = rest.split_first() else { return };
    rest = after;
    let (server, client) = configs();
    let rules = Arc::new(Rules::default());
    let (kind, has_tls, is_websocket) = match kind % 6 {
        0 => (Kind::Plain, false, false),
        1 => (Kind::WebSocket(rules), false, true),
        2 => (Kind::Tls(server.clone()), true, false),
        3 => (Kind::SecureWebSocket(server.clone(), rules), true, true),
        4 => (Kind::Sniffed(server.clone()), false, false),
        _ => (Kind::Sniffed(server.clone()), true, false),
    };
    let now = Time(1_000_000);
    let client = || ClientConnection::new(client.clone(), certificates::localhost()).unwrap();
    let mut world = World {
        stream: Stream::new(kind, Limits::default(), now),
        client: has_tls.then(client),
        now,
        is_websocket,
        is_over: false,
        sent: 0,
        received: 0,
        bytes: 0,
        bytes_of_messages: 0,
    };
    world.settle(seen);
    // A client that shakes hands has its messages read, unless it has broken something itself.
    let (mut is_good, mut keys) = (true, 0);
    while let Some(operation) = Operation::read(&mut rest) {
        is_good &= match operation {
            Operation::Message(_) | Operation::Write(_) => true,
            // The client itself ends after as many keys of ours.
            Operation::Keys(times) => {
                keys += u32::from(times);
                keys < 32
            }
            _ => false,
        };
        // Making keys is what the client takes its time for; more of them show nothing new.
        if keys <= MOST_KEYS || !matches!(operation, Operation::Keys(_)) {
            world.step(&operation, seen);
        }
    }
    if is_good && !world.is_websocket && !world.is_over {
        assert_eq!(world.received, world.sent);
    }
}

impl World {
    fn step(&mut self, operation: &Operation<'_>, seen: &mut Seen) {
        match operation {
            Operation::Bytes(bytes, piece) => bytes.chunks(*piece).for_each(|piece| self.give(piece, seen)),
            Operation::Frame(first, content) => self.say(&frame(*first, content), seen),
            Operation::Message(length) => {
                let body = "x".repeat(*length);
                let text = format!("OPTIONS sip:h SIP/2.0\r\nContent-Length: {length}\r\n\r\n{body}");
                let bytes = if self.is_websocket { frame(0x82, text.as_bytes()) } else { text.into_bytes() };
                self.sent += 1;
                self.say(&bytes, seen);
            }
            Operation::Write(length) => {
                let mut out = Vec::new();
                self.stream.write(&vec![b'x'; *length], &mut out);
                assert!(out.len() <= length + 200 + length / 100, "{length} became {}", out.len());
                self.answer(&out);
            }
            Operation::Pass(seconds) => self.pass(Duration::from_secs(*seconds), seen),
            Operation::Keys(times) => {
                for _ in 0..*times {
                    let refreshed = self.client.as_mut().is_some_and(|client| client.refresh_traffic_keys().is_ok());
                    seen.note(("keys", refreshed));
                    self.settle(seen);
                }
            }
            Operation::Flood(first, times) => self.say(&frame(*first, b"").repeat(*times), seen),
            Operation::Fields(times) => self.say("OPTIONS sip:h SIP/2.0\r\na: b\r\n".repeat(*times).as_bytes(), seen),
            Operation::Upgrade => {
                let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Protocol: sip\r\n\r\n";
                self.say(request.as_bytes(), seen);
            }
            Operation::HandOver => self.hand_over(seen),
            Operation::Close => {
                let mut out = Vec::new();
                self.stream.close(&mut out);
                assert!(out.len() < 200);
                self.answer(&out);
                self.is_over = true;
            }
            Operation::Closed => match &mut self.client {
                Some(client) => {
                    client.send_close_notify();
                    self.settle(seen);
                }
                None => self.say(&frame(0x88, &[0x03, 0xe8]), seen),
            },
        }
    }

    /// The client says something, in records where there are any.
    fn say(&mut self, bytes: &[u8], seen: &mut Seen) {
        match &mut self.client {
            Some(client) => {
                let _ = client.writer().write_all(bytes);
                self.settle(seen);
            }
            None => self.give(bytes, seen),
        }
    }

    /// Carries records both ways until none are left.
    fn settle(&mut self, seen: &mut Seen) {
        for _ in 0..10 {
            let mut bytes = Vec::new();
            let Some(client) = &mut self.client else { return };
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            if bytes.is_empty() {
                // The call that completes the handshake gives no message.
                return self.give(&[], seen);
            }
            self.give(&bytes, seen);
        }
    }

    /// Bytes come.
    fn give(&mut self, bytes: &[u8], seen: &mut Seen) {
        if self.is_over {
            return;
        }
        let was_open = self.stream.is_open();
        self.bytes += bytes.len();
        let (mut out, mut messages, mut length, mut faulty) = (Vec::new(), 0, 0, 0);
        let outcome = self.stream.on_bytes(bytes, self.now, &mut out, &mut |received| match received {
            Received::Message(message) => {
                assert!((1..=MAX_MESSAGE).contains(&message.len()) && !message.starts_with(b"\r"));
                (messages, length) = (messages + 1, length + message.len());
            }
            Received::Faulty(head, _) => {
                assert!(head.ends_with(b"\n"));
                faulty += 1;
            }
        });
        (self.received, self.bytes_of_messages) = (self.received + messages, self.bytes_of_messages + length);
        assert!(self.bytes_of_messages <= self.bytes, "messages that never came");
        assert!(was_open || !self.stream.is_open() || messages == 0 || self.stream.transport() == Transport::Tcp);
        assert!(out.len() <= ANSWER * bytes.len() + FLIGHT, "{} bytes in, {} out", bytes.len(), out.len());
        assert!(self.stream.pending().len() <= KEPT);
        seen.note((self.stream.transport().via_name(), self.stream.is_open(), messages.min(3), faulty, out.is_empty()));
        self.answer(&out);
        match outcome {
            Ok(()) => assert_eq!(faulty, 0),
            Err(fault) => self.end(fault, faulty, seen),
        }
    }

    fn end(&mut self, fault: Fault, faulty: usize, seen: &mut Seen) {
        seen.note(("end", fault.label()));
        assert!(faulty == 0 || matches!(fault, Fault::Framing(_)) && faulty == 1);
        self.is_over = true;
        let mut out = Vec::new();
        self.stream.write(b"the last words", &mut out);
        self.stream.close(&mut out);
        assert!(out.len() < 400);
        self.answer(&out);
    }

    /// The client reads.
    fn answer(&mut self, bytes: &[u8]) {
        let Some(client) = &mut self.client else { return };
        let mut rest = bytes;
        while !rest.is_empty() && client.read_tls(&mut rest).is_ok_and(|read| read > 0) {
            if client.process_new_packets().is_err() {
                return;
            }
            let _ = client.reader().read_to_end(&mut Vec::new());
        }
    }

    /// Time passes, with what is due in it.
    fn pass(&mut self, span: Duration, seen: &mut Seen) {
        let end = self.now + span;
        let mut calls = 0;
        while self.stream.poll_timeout() <= end && !self.is_over {
            self.now = self.now.max(self.stream.poll_timeout());
            calls += 1;
            assert!(calls < 1_000, "it spins");
            let mut out = Vec::new();
            let outcome = self.stream.handle_timeout(self.now, &mut out);
            self.answer(&out);
            match outcome {
                // It may be kept: it is asked about again later.
                Ok(()) | Err(Fault::Idle) => assert!(self.stream.poll_timeout() > self.now),
                Err(fault) => self.end(fault, 0, seen),
            }
        }
        self.now = end;
    }

    /// The connection goes on in another process, from its pending bytes.
    fn hand_over(&mut self, seen: &mut Seen) {
        if self.is_over || self.client.is_some() || !self.stream.is_open() {
            return;
        }
        let pending = self.stream.pending().to_vec();
        self.stream = Stream::resumed(self.stream.transport(), Limits::default(), self.now);
        seen.note(("handed over", pending.is_empty()));
        self.bytes -= pending.len();
        let received = self.received;
        self.give(&pending, seen);
        assert_eq!((self.received, self.is_over), (received, false), "the bytes were not whole there");
        assert_eq!(self.stream.pending(), pending);
    }
}

/// A frame of a client.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let length = u16::try_from(content.len()).unwrap();
    let masked = content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0xfe].into_iter().chain(length.to_be_bytes()).chain(MASK).chain(masked).collect()
}
