//! Strangers whose messages are changed on their way. None of them begins a session.

use std::net::SocketAddr;

use crate::dice::Dice;
use crate::town;

/// The address of a stranger.
pub fn stranger(number: u64) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, (number % 250) as u8], 10_000 + (number / 250 % 50_000) as u16))
}

/// Some messages of a stranger that belong to nothing.
pub fn messages(number: u64, dice: &mut Dice) -> Vec<String> {
    let (from, to) = (stranger(number), town::STREAMS);
    let count = dice.between(1, 4);
    let message = |cseq| {
        let method = dice.pick(&["OPTIONS", "BYE", "CANCEL", "ACK", "NOTIFY", "PUBLISH", "200"]);
        let first = match method {
            "200" => "SIP/2.0 200 OK".to_owned(),
            _ => format!("{method} sip:ivr@{to} SIP/2.0"),
        };
        let body = dice.pick(&["", "a body\r\n\r\n", "OPTIONS sip:in@a.body SIP/2.0\r\n\r\n"]);
        format!(
            "{first}\r\nVia: SIP/2.0/TCP {from};branch=z9hG4bK-noise-{number}-{cseq}\r\nMax-Forwards: 70\r\n\
             From: <sip:noise@example.org>;tag=n{number}\r\nTo: <sip:ivr@example.net>;tag=none\r\n\
             Call-ID: noise-{number}@example.org\r\nCSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    (1..=count).map(message).collect()
}

/// Flips, cuts and doubles bytes. A byte of ASCII stays one.
pub fn change(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.between(1, 4) {
        if bytes.is_empty() {
            return;
        }
        let [one, other] = [0, 0].map(|_| dice.roll(bytes.len() as u64) as usize);
        let range = one.min(other)..one.max(other);
        match dice.roll(4) {
            0 | 1 => bytes[one] ^= 1 << dice.roll(7),
            2 => drop(bytes.drain(range)),
            _ => {
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, part);
            }
        }
    }
}
