//! Messages of the corpora over a connection: however the bytes are cut into pieces, the messages are the same.
//!
//! The messages are not part of the project. `POINTSMAN_CORPORA` names the directory they lie in; without it they are
//! looked for beside the project, and the test says so when they are not there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "../src/stream/tests/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "the simulation throws them in more ways")]
#[path = "sim/dice.rs"]
mod dice;

use std::io::Write;
use std::path::PathBuf;
use std::{fs, iter};

use dice::Dice;
use pointsman::stream::{Fault, Kind, Limits, Received, Stream};
use pointsman::time::Time;
use pointsman::wire::framing::StreamFault;
use pointsman::words::Transport;
use rustls::{ClientConnection, DEFAULT_VERSIONS};

const NOW: Time = Time(1_000_000);
/// The message behind each one.
const NEXT: &[u8] = b"OPTIONS sip:next@h SIP/2.0\r\nCall-ID: next\r\nContent-Length: 4\r\n\r\nnext";
/// Cuts into three pieces that are tried with each message.
const SAMPLED: usize = 200;
/// Handshakes that are made for a message that ends its connection.
const HANDSHAKES: usize = 20;

/// The messages of the corpora, by their paths.
fn messages() -> Vec<(PathBuf, Vec<u8>)> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora"));
    let root = std::env::var_os("POINTSMAN_CORPORA").map_or_else(beside, PathBuf::from);
    let folders = ["rfc4475", "rfc4475/fixed", "rfc5118", "rfc5118/fixed-cl", "rfc5118/raw-lf"];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok()).flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|name| name == "dat"));
    let messages: Vec<_> = paths.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    if messages.is_empty() {
        eprintln!("not run: {} is not there", root.display());
    }
    messages
}

/// Everything that came of some bytes.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    messages: Vec<String>,
    faulty: Option<(String, StreamFault)>,
    end: Option<Fault>,
    /// Bytes that wait for more.
    pending: String,
}

impl Outcome {
    /// Whether the connection can be used for the next message.
    fn is_clean(&self) -> bool {
        self.end.is_none() && self.pending.is_empty()
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn read<'a>(stream: &mut Stream, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut outcome = Outcome::default();
    for piece in pieces {
        let ended = stream.on_bytes(piece, NOW, &mut Vec::new(), &mut |received| match received {
            Received::Message(bytes) => outcome.messages.push(text(bytes)),
            Received::Faulty(head, fault) => outcome.faulty = Some((text(head), fault)),
        });
        outcome.end = ended.err();
        if outcome.end.is_some() {
            return outcome;
        }
    }
    outcome.pending = text(stream.pending());
    outcome
}

/// Reads bytes whole, in two and three pieces, and byte by byte.
fn cut(name: &str, bytes: &[u8], make: impl Fn() -> Stream) {
    let whole = read(&mut make(), [bytes]);
    let check = |pieces: &[&[u8]]| {
        let outcome = read(&mut make(), pieces.iter().copied());
        assert_eq!(outcome, whole, "{name}: pieces of {:?}", pieces.iter().map(|it| it.len()).collect::<Vec<_>>());
    };
    for at in 0..=bytes.len() {
        let (one, two) = bytes.split_at(at);
        check(&[one, two]);
    }
    let mut dice = Dice::new(7);
    for _ in 0..SAMPLED {
        let [one, other] = [0, 0].map(|_| dice.roll(bytes.len() as u64 + 1) as usize);
        let (from, to) = (one.min(other), one.max(other));
        check(&[&bytes[..from], &bytes[from..to], &bytes[to..]]);
    }
    check(&bytes.chunks(1).collect::<Vec<_>>());
}

/// A frame of a client.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let length = u16::try_from(content.len()).unwrap();
    let masked = content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, 0xfe].into_iter().chain(length.to_be_bytes()).chain(MASK).chain(masked).collect()
}

#[test]
fn every_cut_of_every_message_gives_the_same_messages_over_tcp() {
    for (path, message) in messages() {
        let bytes = [&message, NEXT].concat();
        cut(&path.to_string_lossy(), &bytes, || Stream::new(Kind::Plain, Limits::default(), NOW));
    }
}

#[test]
fn every_cut_of_every_message_gives_the_same_messages_over_websocket() {
    for (path, message) in messages() {
        let (front, back) = message.split_at(message.len() / 2);
        // Binary, because some are no UTF-8; in one piece and in two with a Ping between.
        let bytes = [frame(0x82, &message), frame(0x02, front), frame(0x89, b""), frame(0x80, back), frame(0x82, NEXT)];
        cut(&path.to_string_lossy(), &bytes.concat(), || Stream::resumed(Transport::Ws, Limits::default(), NOW));
    }
}

/// A connection of TLS, its handshake done.
struct Pair {
    client: ClientConnection,
    server: Stream,
}

impl Pair {
    fn new(config: &Configs) -> Self {
        let mut client = ClientConnection::new(config.client.clone(), certificates::localhost()).unwrap();
        let mut server = Stream::new(Kind::Tls(config.server.clone()), Limits::default(), NOW);
        while client.is_handshaking() || !server.is_open() {
            let mut out = Vec::new();
            server.on_bytes(&written(&mut client), NOW, &mut out, &mut |_| {}).unwrap();
            let mut rest = out.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        Pair { client, server }
    }

    /// The records of these pieces of plaintext.
    fn records(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        pieces.iter().for_each(|piece| self.client.writer().write_all(piece).unwrap());
        written(&mut self.client)
    }
}

struct Configs {
    client: std::sync::Arc<rustls::ClientConfig>,
    server: std::sync::Arc<rustls::ServerConfig>,
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn every_cut_of_every_message_gives_the_same_messages_over_tls() {
    let config =
        Configs { client: certificates::client(DEFAULT_VERSIONS), server: certificates::server(DEFAULT_VERSIONS) };
    for (path, message) in messages() {
        let bytes = [&message, NEXT].concat();
        let whole = read(&mut Stream::new(Kind::Plain, Limits::default(), NOW), [bytes.as_slice()]);
        let mut pair = Pair::new(&config);
        let step = if whole.is_clean() { 1 } else { bytes.len() / HANDSHAKES };
        let mut check = |pieces: &[&[u8]], cuts: &[usize]| {
            let records = pair.records(pieces);
            let mut rest = records.as_slice();
            let parts = cuts.iter().map(|at| rest.split_off(..*at.min(&rest.len())).unwrap());
            let parts: Vec<&[u8]> = parts.collect();
            let outcome = read(&mut pair.server, parts.into_iter().chain(iter::once(rest)));
            assert_eq!(outcome, whole, "{}: {cuts:?}", path.display());
            if !whole.is_clean() {
                pair = Pair::new(&config);
            }
        };
        for at in (0..=bytes.len()).step_by(step.max(1)) {
            let (one, two) = bytes.split_at(at);
            check(&[one, two], &[]);
            check(&[&bytes], &[at]);
        }
        let mut dice = Dice::new(7);
        for _ in 0..if whole.is_clean() { SAMPLED } else { 1 } {
            let [one, two] = [0, 0].map(|_| dice.roll(bytes.len() as u64 + 1) as usize);
            check(&[&bytes], &[one, two]);
        }
    }
}
