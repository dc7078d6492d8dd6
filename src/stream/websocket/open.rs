//! A WebSocket after its upgrade: bytes to frames, frames to messages, and its end.

use std::mem::take;

use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::frame::{self, Frame, LARGEST, Pipe};
use crate::stream::fault::{Fault, WebSocketFault};
use crate::stream::signs::Signs;
use crate::stream::unfinished::Unfinished;
use crate::stream::{Limits, Received};
use crate::time::Time;
use crate::wire::framing::{self, Framed, StreamFault};

/// Pieces of a message.
const MAX_FRAGMENTS: u16 = 1_024;
/// Pings in a row that may stay without any answer.
const MAX_UNANSWERED: u8 = 2;
/// Bytes of a frame that are read at a time. All of them are allocated from the begin on.
const READ: usize = 1_024;

/// A WebSocket after its upgrade.
#[derive(Debug)]
pub(in crate::stream) struct Open {
    /// It is given whole frames only.
    context: WebSocketContext,
    /// The bytes of a message as they came.
    pub(super) raw: Unfinished,
    /// Number of them that are whole frames.
    whole: usize,
    fragments: u16,
    /// Frames since the last SIP message that bring nothing.
    signs: Signs,
    pub(super) ping_at: Time,
    /// Pings of ours after which nothing has come.
    unanswered: u8,
    /// Whether the message that ends it is answered.
    is_answered: bool,
    /// The code and the reason of our Close, if they are known before it.
    goodbye: (CloseCode, &'static str),
    /// Whether a Close of ours has left.
    has_closed: bool,
}

impl Open {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        Open {
            context: context(),
            raw: Unfinished::default(),
            whole: 0,
            fragments: 0,
            signs: Signs::default(),
            ping_at: now + limits.ping,
            unanswered: 0,
            is_answered: false,
            goodbye: (CloseCode::Away, ""),
            has_closed: false,
        }
    }

    /// Adds the frame of a message to `out`. False after a Close.
    pub(super) fn write(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        // RFC 7118 §4.2: the whole message is binary where a part of it is no UTF-8.
        let kind = if std::str::from_utf8(message).is_ok() { Data::Text } else { Data::Binary };
        if !self.has_closed {
            frame::write(OpCode::Data(kind), message, out);
        }
        !self.has_closed
    }

    /// Sends a Ping that is due, or finds that the last ones had no answer.
    pub(super) fn handle_timeout(&mut self, (limits, now): (&Limits, Time), out: &mut Vec<u8>) -> Result<(), Fault> {
        if now < self.ping_at {
            return Ok(());
        }
        if self.unanswered == MAX_UNANSWERED {
            return Err(Fault::WebSocket(WebSocketFault::NoPong));
        }
        self.unanswered += 1;
        self.ping_at = now + limits.ping;
        if !self.has_closed {
            frame::write(OpCode::Control(Control::Ping), &[], out);
        }
        Ok(())
    }

    /// Gives each message to `sink`, and adds Pongs to `out`.
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        if !bytes.is_empty() {
            self.unanswered = 0;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let partial = self.raw.bytes.get(self.whole..).unwrap_or_default();
            if partial.is_empty() {
                let whole = Frame::read(rest)?.filter(|frame| frame.length <= rest.len());
                let Some(frame) = whole else {
                    self.raw.bytes.extend_from_slice(rest);
                    break;
                };
                let (bytes, after) = rest.split_at(frame.length);
                self.on_frame(&frame, bytes, now, out, sink)?;
                if frame.is_unfinished() {
                    self.raw.bytes.extend_from_slice(bytes);
                    self.whole = self.raw.bytes.len();
                }
                rest = after;
                continue;
            }
            // A header says its length by its first bytes, so it is asked again after each one.
            let wanted = Frame::read(partial)?.map_or(1, |frame| frame.length - partial.len());
            let (copied, after) = rest.split_at(wanted.min(rest.len()));
            self.raw.bytes.extend_from_slice(copied);
            rest = after;
            self.complete(now, out, sink)?;
        }
        // An idle one keeps no buffer.
        self.raw.settle(true, now);
        Ok(())
    }

    /// Takes the frame at the end of the pending bytes, if it is whole.
    fn complete(&mut self, now: Time, out: &mut Vec<u8>, sink: &mut impl FnMut(Received<'_>)) -> Result<(), Fault> {
        let partial = self.raw.bytes.get(self.whole..).unwrap_or_default();
        let Some(frame) = Frame::read(partial)?.filter(|frame| frame.length <= partial.len()) else { return Ok(()) };
        let raw = take(&mut self.raw.bytes);
        let begin = self.whole;
        let outcome = self.on_frame(&frame, raw.get(begin..).unwrap_or_default(), now, out, sink);
        self.raw.bytes = raw;
        if frame.is_unfinished() {
            self.whole = self.raw.bytes.len();
        } else if frame.is_data {
            self.raw.bytes.clear();
        } else {
            // A Ping between the pieces of a message has been answered; the pieces stay.
            self.raw.bytes.truncate(begin);
            if begin == 0 {
                self.raw.end();
            }
        }
        outcome
    }

    /// Reads one whole frame.
    fn on_frame(
        &mut self,
        frame: &Frame,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        self.count(frame, now)?;
        let mut pipe = Pipe { incoming: bytes, out };
        let message = match self.context.read(&mut pipe) {
            Err(error) if frame::is_drained(&error) => None,
            read => Some(read.map_err(|error| of_error(&error))?),
        };
        // A Ping is answered here; after a Close this says that it is the end.
        self.context.flush(&mut pipe).map_err(|error| {
            self.has_closed = true;
            of_error(&error)
        })?;
        let (kind, bytes) = match &message {
            Some(Message::Text(text)) => (Data::Text, text.as_bytes()),
            Some(Message::Binary(bytes)) => (Data::Binary, bytes.as_ref()),
            _ => return Ok(()),
        };
        let size = self.whole + frame.length;
        if size > READ && !self.has_closed {
            // The library's buffer has grown, and does not shrink. Between messages it holds nothing else.
            self.context = context();
        }
        (self.whole, self.fragments) = (0, 0);
        // The pieces before the last.
        self.raw.bytes.clear();
        self.raw.end();
        self.on_message(kind, bytes, now, out, sink)
    }

    /// Counts the frames that cost work and bring nothing.
    fn count(&mut self, frame: &Frame, now: Time) -> Result<(), WebSocketFault> {
        if frame.is_unfinished() {
            self.fragments += 1;
        }
        if self.fragments > MAX_FRAGMENTS {
            return Err(WebSocketFault::Fragments);
        }
        let brings_nothing = !frame.is_data || frame.is_final && frame.is_empty;
        if brings_nothing && !self.signs.note(now) { Err(WebSocketFault::Flood) } else { Ok(()) }
    }

    fn on_message(
        &mut self,
        kind: Data,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match framing::whole(rest) {
                Framed::Message(length) => {
                    self.signs.on_message();
                    sink(Received::Message(rest));
                    length
                }
                Framed::Ping(_) | Framed::Blank(_) if !self.signs.note(now) => {
                    return Err(Fault::WebSocket(WebSocketFault::Flood));
                }
                Framed::Ping(length) => {
                    frame::write(OpCode::Data(kind), b"\r\n", out);
                    length
                }
                Framed::Blank(length) => length,
                Framed::Faulty(head, fault) => {
                    sink(Received::Faulty(rest.get(..head).unwrap_or_default(), fault));
                    self.is_answered = true;
                    return Err(Fault::Framing(fault));
                }
                Framed::Close(fault) => return Err(Fault::Framing(fault)),
                Framed::NeedMore { .. } => return Ok(()),
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// Says why it ends. A message that is answered has its answer first.
    pub(super) fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        let code = match fault {
            Fault::WebSocket(WebSocketFault::Protocol | WebSocketFault::Unmasked) => CloseCode::Protocol,
            Fault::WebSocket(WebSocketFault::Utf8) => CloseCode::Invalid,
            Fault::WebSocket(WebSocketFault::TooLarge)
            | Fault::Framing(StreamFault::HeadTooLarge | StreamFault::MessageTooLarge) => CloseCode::Size,
            // RFC 7118 §4.2: nothing but SIP messages may be sent.
            Fault::WebSocket(_) | Fault::Framing(_) => CloseCode::Policy,
            _ => return,
        };
        self.goodbye = (code, fault.label());
        if !self.is_answered {
            self.close(out);
        }
    }

    /// Says why it ends, or that we go away.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.has_closed {
            self.has_closed = true;
            let (code, reason) = self.goodbye;
            let frame = CloseFrame { code, reason: reason.into() };
            // A pipe in memory takes all.
            let _ = self.context.close(&mut Pipe { incoming: &[], out }, Some(frame));
        }
    }
}

/// The library's part of a WebSocket between two messages.
fn context() -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(0)
        .max_write_buffer_size(LARGEST)
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    WebSocketContext::new(Role::Server, Some(config))
}

/// The fault behind an error of the library.
fn of_error(error: &Error) -> Fault {
    Fault::WebSocket(match error {
        Error::ConnectionClosed | Error::AlreadyClosed => return Fault::Closed,
        Error::Capacity(_) => WebSocketFault::TooLarge,
        Error::Utf8(_) => WebSocketFault::Utf8,
        Error::Protocol(ProtocolError::UnmaskedFrameFromClient) => WebSocketFault::Unmasked,
        _ => WebSocketFault::Protocol,
    })
}
