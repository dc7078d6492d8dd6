//! Connections of callers to the well-known address: bytes that come in order, in pieces of any length, until the
//! connection breaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pointsman::ids::ConnId;
use pointsman::stream::{Kind, Limits, Received, Stream};
use pointsman::time::Time;

use crate::air::Datagram;
use crate::dice::Dice;

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
}

impl Streams {
    /// No connections yet.
    pub fn new(seed: u64) -> Self {
        Streams { open: BTreeMap::new(), by_peer: BTreeMap::new(), next: 0, dice: Dice::new(seed) }
    }

    /// Bytes of a caller have come; they open a connection if it has none.
    pub fn on_bytes(&mut self, bytes: &Datagram, now: Time) {
        let number = *self.by_peer.entry(bytes.from).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        let connection = self.open.entry(number).or_insert_with(|| Connection {
            peer: bytes.from,
            stream: Stream::new(Kind::Plain, Limits::default(), now),
            waiting: Vec::new(),
        });
        connection.waiting.extend_from_slice(bytes.text.as_bytes());
    }

    /// Reads once from each connection, as much as the kernel happens to give; `sink` gets each whole message, its
    /// connection and its caller. Returns what went wrong.
    pub fn read(&mut self, now: Time, mut sink: impl FnMut(ConnId, SocketAddr, &[u8])) -> Option<String> {
        let mut wrong = None;
        for (number, Connection { peer, stream, waiting }) in &mut self.open {
            if waiting.is_empty() {
                continue;
            }
            let most = waiting.len() as u64;
            let length = if self.dice.chance(50) { most } else { self.dice.between(1, most) } as usize;
            let piece: Vec<u8> = waiting.drain(..length).collect();
            let mut pongs = Vec::new();
            let read = stream.on_bytes(&piece, now, &mut pongs, &mut |received| {
                if let Received::Message(message) = received {
                    sink(ConnId::new(0, *number), *peer, message);
                }
            });
            if let Err(fault) = read {
                wrong = Some(format!("the connection of {peer} broke off: {}", fault.label()));
            }
        }
        wrong
    }

    /// Whether bytes wait on a connection.
    pub fn is_busy(&self) -> bool {
        self.open.values().any(|connection| !connection.waiting.is_empty())
    }

    /// The caller at the other end; `None` when the connection is gone.
    pub fn peer(&self, connection: ConnId) -> Option<SocketAddr> {
        let number = self.open.range(..).map(|(number, _)| *number).find(|it| ConnId::new(0, *it) == connection)?;
        self.open.get(&number).map(|connection| connection.peer)
    }

    /// All callers.
    pub fn peers(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.open.values().map(|connection| connection.peer)
    }

    /// A connection breaks, and the bytes with it that were not read: its caller is told.
    pub fn reset(&mut self, chance: u64) -> Option<SocketAddr> {
        let number = *self.open.keys().nth(chance as usize % self.open.len().max(1))?;
        let peer = self.open.remove(&number)?.peer;
        self.by_peer.remove(&peer);
        Some(peer)
    }
}
