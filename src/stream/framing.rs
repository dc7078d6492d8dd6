//! The upper half of a connection: bytes to SIP messages, one after the other or in a WebSocket's.

use super::sip::Messages;
use super::websocket::WebSocket;
use super::{Fault, Limits, Received};
use crate::time::Time;

/// The way in which messages follow each other on a connection.
#[derive(Debug)]
pub(super) enum Framing {
    Sip(Messages),
    WebSocket(WebSocket),
}

impl Framing {
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        (limits, now): (&Limits, Time),
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        match self {
            Framing::Sip(messages) => messages.on_bytes(bytes, now, out, sink),
            Framing::WebSocket(websocket) => websocket.on_bytes(bytes, (limits, now), out, sink),
        }
    }

    /// False where the message does not leave.
    pub(super) fn write(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Framing::Sip(_) => {
                out.extend_from_slice(message);
                true
            }
            Framing::WebSocket(websocket) => websocket.write(message, out),
        }
    }

    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if let Framing::WebSocket(websocket) = self {
            websocket.close(out);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Framing::Sip(_) => true,
            Framing::WebSocket(websocket) => matches!(websocket, WebSocket::Open(_)),
        }
    }

    /// The bytes of a message that is not whole yet.
    pub(super) fn pending(&self) -> &[u8] {
        match self {
            Framing::Sip(messages) => messages.pending(),
            Framing::WebSocket(websocket) => websocket.pending(),
        }
    }

    /// The time at which the message began that is not whole yet.
    pub(super) fn begun(&self) -> Time {
        match self {
            Framing::Sip(messages) => messages.begun(),
            Framing::WebSocket(websocket) => websocket.begun(),
        }
    }

    /// The time of a message that is not whole yet counts from now on.
    pub(super) const fn begin_again(&mut self, now: Time) {
        match self {
            Framing::Sip(messages) => messages.begin_again(now),
            Framing::WebSocket(websocket) => websocket.begin_again(now),
        }
    }

    /// The time of the next Ping of a WebSocket, or of the next keepalive.
    pub(super) fn ping_at(&self) -> Time {
        match self {
            Framing::Sip(messages) => messages.keepalive_at(),
            Framing::WebSocket(websocket) => websocket.ping_at(),
        }
    }

    /// Sends a Ping or keepalive that is due, or finds that the last ones had no answer.
    pub(super) fn handle_timeout(&mut self, time: (&Limits, Time), out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Framing::Sip(messages) => messages.handle_timeout(time.1, out),
            Framing::WebSocket(websocket) => websocket.handle_timeout(time, out),
        }
    }
}
