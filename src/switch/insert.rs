//! The worker's own port, written into a message that is handed over if the operator asks for that.

use std::net::SocketAddr;

use crate::config::Insert;
use crate::dispatch::Incoming;
use crate::dispatch::decision::Handoff;
use crate::dispatch::targets::worker::Worker;
use crate::wire::mgcp::{self, Command, MAX_PARAMS, Verb};
use crate::wire::sip::patch::Pieces;
use crate::wire::{line, sip};

/// The message as the worker is to have it. `room` is for text that is written.
pub(super) fn pieces<'p>(
    insert: Insert,
    message: Incoming<'p>,
    handoff: &Handoff,
    worker: Option<&Worker>,
    room: &'p mut Vec<u8>,
) -> Pieces<'p> {
    room.clear();
    let port = |own: fn(&Worker) -> &Vec<SocketAddr>| worker.and_then(|it| own(it).first()).map(SocketAddr::port);
    match message {
        Incoming::Sip(message) if insert != Insert::None && !handoff.follows => port(|worker| &worker.addresses)
            .map_or([message.bytes(), &[], &[]], |port| sip(insert, message, port, room)),
        // A retransmission gets the line as the first copy did: a worker that compares the two must find them alike.
        Incoming::Mgcp(mgcp::Message::Command(command))
            if insert == Insert::Header
                && command.verb() == Verb::Crcx
                // One parameter line more would make it a command that no parser accepts.
                && command.params().count() < MAX_PARAMS =>
        {
            port(|worker| &worker.mgcp).map_or([command.bytes(), &[], &[]], |port| mgcp(command, port, room))
        }
        _ => [message.bytes(), &[], &[]],
    }
}

fn sip<'p>(insert: Insert, message: &'p sip::Message<'p>, port: u16, room: &'p mut Vec<u8>) -> Pieces<'p> {
    if insert == Insert::RequestUri {
        room.extend_from_slice(format!(":{port}").as_bytes());
        // A request-URI without a host has no port either; its message goes on as it came.
        return sip::patch::with_uri_port(message, room).unwrap_or([message.bytes(), &[], &[]]);
    }
    // The dispatcher alone writes this line: one of the sender's, or of an earlier handover, is removed.
    sip::patch::without_field(room, message, Insert::HEADER);
    let rest = room.len();
    line::write(room, Insert::HEADER, port.to_string().as_bytes());
    let (message, line) = room.split_at(rest);
    let start = memchr::memchr(b'\n', message).map_or(0, |end| end + 1);
    [&message[..start], line, &message[start..]]
}

fn mgcp<'p>(command: &Command<'_>, port: u16, room: &'p mut Vec<u8>) -> Pieces<'p> {
    // The dispatcher alone writes this line: one of the sender's is removed.
    mgcp::patch::without_param(room, command, Insert::HEADER);
    let rest = room.len();
    line::write(room, Insert::HEADER, port.to_string().as_bytes());
    let (text, line) = room.split_at(rest);
    let head = command.head_end().min(rest);
    match text.get(head.saturating_sub(1)) {
        Some(b'\n') => [&text[..head], line, &text[head..]],
        // The command line ends with the datagram, without a line end.
        _ => [text, b"\r\n", line],
    }
}
