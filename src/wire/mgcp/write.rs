//! Commands and responses, written into the caller's buffer.
//!
//! A message is complete after each step. Only the buffer allocates, when it grows, and no value can start a line of
//! its own: line ends inside it become spaces.

use std::fmt;
use std::io::Write as _;

use super::field::Field;
use super::line::{is_blank, line_at};
use super::return_code::ReturnCode;
use super::transaction::TransactionId;
use super::verb::Verb;
use crate::wire::line::clean;

/// Writes a command (RFC 3435 §3.2).
#[derive(Debug)]
pub struct CommandWriter<'o> {
    lines: Lines<'o>,
}

/// Writes a response (RFC 3435 §3.3).
#[derive(Debug)]
pub struct ResponseWriter<'o> {
    lines: Lines<'o>,
}

/// Ends one message and makes room for the next in the same datagram (RFC 3435 §3.5.5).
pub fn separator(out: &mut Vec<u8>) {
    out.extend_from_slice(b".\r\n");
}

impl<'o> CommandWriter<'o> {
    /// Starts with the command line.
    pub fn new(out: &'o mut Vec<u8>, verb: Verb<'_>, transaction: TransactionId, endpoint: &[u8]) -> Self {
        Self::with_profile(out, verb, transaction, endpoint, b"")
    }

    /// Starts with the command line, with a profile after the version (§3.2.1.4).
    pub fn with_profile(
        out: &'o mut Vec<u8>,
        verb: Verb<'_>,
        transaction: TransactionId,
        endpoint: &[u8],
        profile: &[u8],
    ) -> Self {
        let mut lines = Lines { out };
        lines.text(verb.name());
        // Writing to a Vec cannot fail.
        let _ = write!(lines.out, " {transaction} ");
        lines.text(endpoint);
        lines.out.extend_from_slice(b" MGCP 1.0");
        if !profile.is_empty() {
            lines.out.push(b' ');
            lines.text(profile);
        }
        lines.out.extend_from_slice(b"\r\n");
        CommandWriter { lines }
    }
}

impl<'o> ResponseWriter<'o> {
    /// Starts with the response line and the text of the code.
    pub fn new(out: &'o mut Vec<u8>, code: ReturnCode, transaction: TransactionId) -> Self {
        Self::with_comment(out, code, transaction, None, code.text().as_bytes())
    }

    /// Starts with a response line that names a package or says something of its own.
    pub fn with_comment(
        out: &'o mut Vec<u8>,
        code: ReturnCode,
        transaction: TransactionId,
        package: Option<&[u8]>,
        comment: &[u8],
    ) -> Self {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{code} {transaction}");
        let mut lines = Lines { out };
        if let Some(package) = package {
            lines.out.extend_from_slice(b" /");
            lines.text(package);
        }
        if !comment.is_empty() {
            lines.out.push(b' ');
            lines.text(comment);
        }
        lines.out.extend_from_slice(b"\r\n");
        ResponseWriter { lines }
    }
}

macro_rules! parameters {
    ($writer:ident) => {
        impl $writer<'_> {
            /// Adds a parameter.
            pub fn param(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
                self.lines.param(field.name().as_bytes(), value.as_ref());
                self
            }

            /// Adds a parameter whose value is formatted into place.
            pub fn param_fmt(mut self, field: Field, value: fmt::Arguments<'_>) -> Self {
                self.lines.param_fmt(field.name().as_bytes(), value);
                self
            }

            /// Adds a parameter of any name.
            pub fn extension(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
                self.lines.param(name.as_ref(), value.as_ref());
                self
            }

            /// Adds a session description after an empty line. No parameter may follow. Its lines get CRLF; empty lines
            /// and lines with a single dot, which would end it, are left out.
            pub fn session(mut self, description: &[u8]) -> Self {
                self.lines.session(description);
                self
            }

            /// The end: the message is in the buffer.
            pub fn finish(self) {}
        }
    };
}

parameters!(CommandWriter);
parameters!(ResponseWriter);

#[derive(Debug)]
struct Lines<'o> {
    out: &'o mut Vec<u8>,
}

impl Lines<'_> {
    fn param(&mut self, name: &[u8], value: &[u8]) {
        self.text(name);
        self.out.extend_from_slice(if value.is_empty() { b":" } else { b": " });
        self.text(value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn param_fmt(&mut self, name: &[u8], value: fmt::Arguments<'_>) {
        self.text(name);
        self.out.extend_from_slice(b": ");
        let from = self.out.len();
        // Writing to a Vec cannot fail.
        let _ = self.out.write_fmt(value);
        clean(self.out.get_mut(from..).unwrap_or_default());
        self.out.extend_from_slice(b"\r\n");
    }

    fn session(&mut self, description: &[u8]) {
        self.out.extend_from_slice(b"\r\n");
        let mut at = 0;
        while at < description.len() {
            let (line, behind) = line_at(description, at);
            if !is_blank(line) && line != b"." {
                self.text(line);
                self.out.extend_from_slice(b"\r\n");
            }
            at = behind;
        }
    }

    fn text(&mut self, text: &[u8]) {
        let from = self.out.len();
        self.out.extend_from_slice(text);
        clean(self.out.get_mut(from..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_with_its_parameters_and_its_description() {
        let mut out = Vec::new();
        CommandWriter::with_profile(&mut out, Verb::Crcx, TransactionId(7), b"ann/$@gw", b"NCS 1.0")
            .param(Field::CallId, "A3")
            .param_fmt(Field::ConnectionMode, format_args!("{}\r\nK: 1", "sendrecv"))
            .param(Field::ResponseAck, "")
            .extension("X-Size", "3")
            .session(b"v=0\ns=-\n\n.\nt=0 0")
            .finish();
        let expected = "CRCX 7 ann/$@gw MGCP 1.0 NCS 1.0\r\nC: A3\r\nM: sendrecv  K: 1\r\nK:\r\nX-Size: 3\r\n\r\n\
            v=0\r\ns=-\r\nt=0 0\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_response_has_three_digits_and_a_text() {
        let mut out = Vec::new();
        ResponseWriter::new(&mut out, ReturnCode::ACKNOWLEDGEMENT, TransactionId(1)).finish();
        separator(&mut out);
        ResponseWriter::with_comment(&mut out, ReturnCode(801), TransactionId(2), Some(b"fxr"), b"No\nfax").finish();
        assert_eq!(String::from_utf8(out).unwrap(), "000 1 Response acknowledgement\r\n.\r\n801 2 /fxr No fax\r\n");
    }
}
