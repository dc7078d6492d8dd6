//! A message that outlives its bytes: its reader answers it later.

use super::head::Head;
use super::message::Message;

/// A scanned message with bytes of its own: it is read without another scan.
#[derive(Debug)]
pub struct KeptMessage {
    bytes: Box<[u8]>,
    head: Head,
}

impl KeptMessage {
    /// The message.
    pub fn read(&self) -> Message<'_> {
        Message { bytes: &self.bytes, head: &self.head }
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory that such a copy of a message takes.
    pub fn size_of(message: &Message<'_>) -> usize {
        message.bytes.len() + size_of_val(message.head.fields.as_slice())
    }
}

impl From<&Message<'_>> for KeptMessage {
    fn from(message: &Message<'_>) -> Self {
        KeptMessage { bytes: message.bytes.into(), head: message.head.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::{Name, Scanner};

    #[test]
    fn a_kept_message_reads_as_the_one_that_came() {
        let text = b"\r\nINFO sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\n\
            To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 7 INFO\r\nX: y\r\nContent-Length: 2\r\n\r\nhi and more";
        let mut scanner = Scanner::new();
        let message = scanner.scan(text).unwrap();
        let kept = KeptMessage::from(&message);
        let read = kept.read();
        assert_eq!((read.start(), read.bytes(), read.body()), (message.start(), message.bytes(), &b"hi"[..]));
        assert!(read.fields().eq(message.fields()));
        assert_eq!((read.cseq(), read.header(Name::CallId)), (message.cseq(), Some(&b"1"[..])));
        assert_eq!(kept.bytes(), message.bytes());
        assert_eq!(KeptMessage::size_of(&read), KeptMessage::size_of(&message));
    }
}
