use std::time::Duration;

use super::*;

pub(crate) mod certificates;
mod plain;
mod tls;
mod websocket;

const HEAD: &str = "OPTIONS sip:h SIP/2.0\r\nCall-ID: x\r\n";

/// A connection, and what came of it.
struct Peer {
    stream: Stream,
    now: Time,
    out: Vec<u8>,
    messages: Vec<String>,
    faulty: Vec<(String, StreamFault)>,
}

impl Peer {
    fn new(kind: Kind) -> Self {
        let now = Time(7_000_000);
        let stream = Stream::new(kind, Limits::default(), now);
        Peer { stream, now, out: Vec::new(), messages: Vec::new(), faulty: Vec::new() }
    }

    fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        let Peer { stream, now, out, messages, faulty } = self;
        stream.on_bytes(bytes.as_ref(), *now, out, &mut |received| match received {
            Received::Message(bytes) => messages.push(text(bytes)),
            Received::Faulty(head, fault) => faulty.push((text(head), fault)),
        })
    }

    /// Lets time pass, with what is due in it.
    fn pass(&mut self, span: Duration) -> Result<(), Fault> {
        let end = self.now + span;
        while self.stream.poll_timeout() <= end {
            self.now = self.now.max(self.stream.poll_timeout());
            self.stream.handle_timeout(self.now, &mut self.out)?;
        }
        self.now = end;
        self.stream.handle_timeout(self.now, &mut self.out)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A message with this body.
fn message(body: &str) -> String {
    format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len())
}
