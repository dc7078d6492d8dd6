//! Connections of callers to the well-known address: bytes that come in order, in pieces of any length, until the
//! connection breaks, or its peer ends its half or vanishes. Some are WebSockets.
//!
//! TLS is not among them: its library draws random numbers of its own, so a seed would not take the same way again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pointsman::ids::ConnId;
use pointsman::stream::{Kind, Limits, Received, Rules, Stream};
use pointsman::time::Time;
use pointsman::words::Transport;

use crate::air::Datagram;
use crate::dice::Dice;
use crate::noise;

/// A peer that has ended its half gets the answers that leave within this time.
const ENDED_FOR: Duration = Duration::from_secs(2);
/// A peer that has vanished without a word is missed after this time.
const MISSED_AFTER: Duration = Duration::from_secs(90);
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n";

/// The dispatcher's connections.
#[derive(Debug)]
pub struct Streams {
    open: BTreeMap<u64, Connection>,
    by_peer: BTreeMap<SocketAddr, u64>,
    /// Number of the next one. A dispatcher that has just started begins again with the first.
    next: u64,
    dice: Dice,
}

#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    stream: Stream,
    /// Bytes that wait in the socket.
    waiting: Vec<u8>,
    /// Bytes that the peer of a WebSocket keeps until it is open.
    later: Vec<u8>,
    state: State,
    /// Whether its bytes are wrong on purpose.
    is_noise: bool,
}

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// It has ended its half, and hears what leaves before this time.
    Ended(Time),
    /// It hears nothing any more, which is noticed at this time.
    Vanished(Time),
}

/// The fate of a message that leaves on a connection.
#[derive(Clone, Copy, Debug)]
pub enum Written {
    To(SocketAddr),
    /// The peer does not hear it.
    Lost,
    /// The connection is no more.
    Gone,
}

impl Streams {
    /// No connections yet.
    pub fn new(seed: u64) -> Self {
        Streams { open: BTreeMap::new(), by_peer: BTreeMap::new(), next: 0, dice: Dice::new(seed) }
    }

    /// Bytes of a caller have come; they open a connection if it has none.
    pub fn on_bytes(&mut self, bytes: &Datagram, now: Time) {
        let number = match self.by_peer.get(&bytes.from) {
            Some(number) => *number,
            None => self.connect(bytes.from, now),
        };
        self.say(number, &[bytes.text.as_ref()], |_, _| ());
    }

    /// The peer of a connection says messages, in bytes that `change` may change.
    fn say(&mut self, number: u64, messages: &[&str], change: impl FnOnce(&mut Vec<u8>, &mut Dice)) {
        let Some(connection) = self.open.get_mut(&number) else { return };
        let is_websocket = connection.is_websocket();
        let mut bytes = Vec::new();
        for message in messages {
            match is_websocket {
                true => frames(message.as_bytes(), &mut self.dice, &mut bytes),
                false => bytes.extend_from_slice(message.as_bytes()),
            }
        }
        change(&mut bytes, &mut self.dice);
        let place = if connection.stream.is_open() { &mut connection.waiting } else { &mut connection.later };
        place.append(&mut bytes);
    }

    fn connect(&mut self, peer: SocketAddr, now: Time) -> u64 {
        self.next += 1;
        self.by_peer.insert(peer, self.next);
        let is_websocket = self.dice.chance(40);
        let kind = if is_websocket { Kind::WebSocket(Arc::new(Rules::default())) } else { Kind::Plain };
        let connection = Connection {
            peer,
            stream: Stream::new(kind, Limits::default(), now),
            waiting: if is_websocket { UPGRADE.to_vec() } else { Vec::new() },
            later: Vec::new(),
            state: State::Whole,
            is_noise: false,
        };
        self.open.insert(self.next, connection);
        self.next
    }

    /// A stranger says these messages, changed on their way: bytes of them are flipped, missing or there twice. Then it
    /// ends its half.
    pub fn on_noise(&mut self, stranger: SocketAddr, messages: &[String], now: Time) {
        let number = self.connect(stranger, now);
        self.by_peer.remove(&stranger);
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        self.say(number, &messages, noise::change);
        if let Some(connection) = self.open.get_mut(&number) {
            (connection.is_noise, connection.state) = (true, State::Ended(now + ENDED_FOR));
        }
    }

    /// Reads once from each connection, as much as the kernel happens to give; `sink` gets what comes, with its
    /// connection and its caller. Returns what went wrong.
    pub fn read(&mut self, now: Time, mut sink: impl FnMut(ConnId, SocketAddr, Received<'_>)) -> Option<String> {
        let mut wrong = None;
        let mut over = Vec::new();
        for (number, connection) in &mut self.open {
            if connection.waiting.is_empty() {
                continue;
            }
            let Connection { peer, stream, waiting, later, is_noise, .. } = connection;
            let most = waiting.len() as u64;
            let length = if self.dice.chance(50) { most } else { self.dice.between(1, most) } as usize;
            let piece: Vec<u8> = waiting.drain(..length).collect();
            let mut answers = Vec::new();
            let read = stream.on_bytes(&piece, now, &mut answers, &mut |received| {
                sink(ConnId::new(0, *number), *peer, received);
            });
            if stream.is_open() {
                waiting.append(later);
            }
            match read {
                Err(_) if *is_noise => over.push(*number),
                Err(fault) => wrong = Some(format!("the connection of {peer} broke off: {}", fault.label())),
                Ok(()) => {}
            }
        }
        over.iter().for_each(|number| drop(self.open.remove(number)));
        wrong
    }

    /// Whether bytes wait on a connection.
    pub fn is_busy(&self) -> bool {
        self.open.values().any(|connection| !connection.waiting.is_empty())
    }

    /// A message leaves on a connection.
    pub fn write(&mut self, connection: ConnId, message: &[u8]) -> Written {
        let number = self.open.keys().copied().find(|it| ConnId::new(0, *it) == connection);
        let Some(connection) = number.and_then(|number| self.open.get_mut(&number)) else { return Written::Gone };
        let mut bytes = Vec::new();
        assert!(connection.stream.write(message, &mut bytes), "nothing is answered during the handshake");
        let content = if connection.is_websocket() { content(&bytes) } else { &bytes };
        assert_eq!(content, message, "the peer reads the message as it was written");
        match connection.state {
            State::Vanished(_) => Written::Lost,
            State::Whole | State::Ended(_) => Written::To(connection.peer),
        }
    }

    /// All callers.
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.open.values().map(|connection| connection.peer)
    }

    fn any(&self, chance: u64) -> Option<u64> {
        self.open.keys().nth(chance as usize % self.open.len().max(1)).copied()
    }

    fn remove(&mut self, number: u64) -> Option<SocketAddr> {
        let peer = self.open.remove(&number)?.peer;
        if self.by_peer.get(&peer) == Some(&number) {
            self.by_peer.remove(&peer);
        }
        Some(peer)
    }

    /// A connection breaks, and the bytes with it that were not read: its caller is told.
    pub fn reset(&mut self, chance: u64) -> Option<SocketAddr> {
        self.remove(self.any(chance)?)
    }

    /// A caller ends its half of a connection. What it says from now on goes over another one.
    pub fn end_half(&mut self, chance: u64, now: Time) {
        let Some((number, connection)) = self.any(chance).and_then(|it| Some((it, self.open.get_mut(&it)?))) else {
            return;
        };
        // The peer of a WebSocket waits until it is open.
        if connection.state == State::Whole && connection.later.is_empty() {
            connection.state = State::Ended(now + ENDED_FOR);
            let peer = connection.peer;
            if self.by_peer.get(&peer) == Some(&number) {
                self.by_peer.remove(&peer);
            }
        }
    }

    /// A caller loses a connection without a word to the dispatcher, and with it what was on its way. It is told.
    pub fn vanish(&mut self, chance: u64, now: Time) -> Option<SocketAddr> {
        let number = self.any(chance)?;
        let connection = self.open.get_mut(&number)?;
        connection.state = State::Vanished(now + MISSED_AFTER);
        connection.waiting.clear();
        connection.later.clear();
        let peer = connection.peer;
        if self.by_peer.get(&peer) == Some(&number) {
            self.by_peer.remove(&peer);
        }
        Some(peer)
    }

    /// When the next connection is over whose peer has ended its half or vanished.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.open.values().filter_map(Connection::over_at).min()
    }

    /// Closes the connections that are over. Returns their callers.
    pub fn handle_timeout(&mut self, now: Time) -> Vec<SocketAddr> {
        let is_over = |connection: &Connection| connection.over_at().is_some_and(|at| at <= now);
        let over: Vec<u64> = self.open.iter().filter(|(_, it)| is_over(it)).map(|(number, _)| *number).collect();
        over.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Another process goes on with the connections, from the bytes that are not whole yet. Those whose handshakes are
    /// under way are closed. Returns their callers.
    pub fn hand_over(&mut self, now: Time) -> Vec<SocketAddr> {
        for connection in self.open.values_mut().filter(|connection| connection.stream.is_open()) {
            let transport = if connection.is_websocket() { Transport::Ws } else { Transport::Tcp };
            let mut stream = Stream::resumed(transport, Limits::default(), now);
            let mut sink = |_: Received<'_>| panic!("the bytes were not whole before");
            stream.on_bytes(connection.stream.pending(), now, &mut Vec::new(), &mut sink).expect("they had no fault");
            connection.stream = stream;
        }
        let half: Vec<u64> =
            self.open.iter().filter(|(_, it)| !it.stream.is_open()).map(|(number, _)| *number).collect();
        half.into_iter().filter_map(|number| self.remove(number)).collect()
    }
}

impl Connection {
    fn is_websocket(&self) -> bool {
        self.stream.transport() == Transport::Ws
    }

    fn over_at(&self) -> Option<Time> {
        match self.state {
            State::Whole => None,
            State::Ended(at) | State::Vanished(at) => Some(at),
        }
    }
}

/// The frames of a client's message: in one piece or some, perhaps with a Ping between them.
fn frames(message: &[u8], dice: &mut Dice, bytes: &mut Vec<u8>) {
    let mut rest = message;
    let mut opcode = dice.between(1, 2) as u8;
    while !rest.is_empty() {
        let length = if dice.chance(60) { rest.len() } else { dice.between(1, rest.len() as u64) as usize };
        let (piece, after) = rest.split_at(length);
        rest = after;
        frame(if rest.is_empty() { 0x80 | opcode } else { opcode }, piece, dice, bytes);
        opcode = 0;
        if dice.chance(10) {
            frame(0x89, b"still there?", dice, bytes);
        }
    }
}

fn frame(first: u8, content: &[u8], dice: &mut Dice, bytes: &mut Vec<u8>) {
    // A mask of zeros keeps a text one where a stranger changes it.
    let mask = if dice.chance(50) { [0; 4] } else { (dice.number() as u32 & 0x7f7f_7f7f).to_be_bytes() };
    match content.len() {
        length @ 0..126 => bytes.extend([first, 0x80 | length as u8]),
        length => bytes.extend([&[first, 0xfe][..], &(length as u16).to_be_bytes()].concat()),
    }
    bytes.extend(mask);
    bytes.extend(content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// The content of a server's frame.
fn content(frame: &[u8]) -> &[u8] {
    match frame {
        [_, 0..126, content @ ..] => content,
        [_, 126, _, _, content @ ..] => content,
        _ => panic!("a frame of a server is not masked, and no longer than a message"),
    }
}
