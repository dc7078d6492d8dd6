//! One message: a command or a response.

use super::command::Command;
use super::fault::{Fault, Unparsable};
use super::line::{line_at, number, word};
use super::response::Response;
use super::transaction::TransactionId;

/// The largest message that is read, in bytes: the most that a datagram holds. RFC 3435 §3.5.4 asks for 4,000 at least.
pub const MAX_MESSAGE: usize = 65_535;

/// The length of the longest verb that is read, in characters. All known ones have four (Appendix A).
const MAX_VERB: usize = 32;

/// A message.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// A command.
    Command(Command<'a>),
    /// A response.
    Response(Response<'a>),
}

impl<'a> Message<'a> {
    /// The whole message.
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Message::Command(command) => command.bytes(),
            Message::Response(response) => response.bytes(),
        }
    }

    /// Its transaction.
    pub const fn transaction(&self) -> TransactionId {
        match self {
            Message::Command(command) => command.transaction(),
            Message::Response(response) => response.transaction(),
        }
    }
}

/// Reads one message, as [`parts`](super::parts) gives it. Empty lines in front of it are left out. Allocates nothing.
pub fn parse(part: &[u8]) -> Result<Message<'_>, Unparsable<'_>> {
    let bytes = from_first_line(part);
    let (line, head_end) = line_at(bytes, 0);
    let (first, rest) = word(line);
    let (id, rest) = word(rest);
    let is_response = first.first().is_some_and(u8::is_ascii_digit);
    // A number of more than nine digits is no identifier, but the answer can repeat it.
    let written = number(id).map(TransactionId);
    let fault = |fault| Unparsable { fault, transaction: written, is_response, bytes: part };
    if bytes.len() > MAX_MESSAGE {
        return Err(fault(Fault::TooLarge));
    }
    if bytes.is_empty() {
        return Err(fault(Fault::Empty));
    }
    let is_verb = first.len() <= MAX_VERB
        && first.first().is_some_and(u8::is_ascii_alphabetic)
        && first.iter().all(u8::is_ascii_alphanumeric);
    if !is_verb && !is_response {
        return Err(Unparsable { transaction: None, ..fault(Fault::NotMgcp) });
    }
    let Some(transaction) = TransactionId::parse(id) else { return Err(fault(Fault::Transaction)) };
    if is_response {
        return Response::read(bytes, first, transaction, rest, head_end).map(Message::Response).map_err(fault);
    }
    Command::read(bytes, first, transaction, rest, head_end).map(Message::Command).map_err(fault)
}

fn from_first_line(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests;
