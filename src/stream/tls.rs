//! The TLS layer of a connection: bytes to plaintext and back, without a socket.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig, ServerConnection};

use super::fault::{Fault, TlsFault};
use super::records::Records;
use crate::time::Time;

/// Plaintext that may wait for the end of the handshake.
const WAITING: usize = 64 << 10;

/// The TLS layer of one connection.
pub struct Tls {
    connection: Connection,
    records: Records,
    /// Bytes of plaintext that wait for the end of the handshake.
    waiting: usize,
    /// Whether we have said that nothing more follows.
    has_closed: bool,
}

impl Tls {
    /// The side that is called.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        ServerConnection::new(config).map(|it| Tls::new(it.into())).map_err(|error| TlsFault::of(&error))
    }

    /// The side that calls a server of this name. Its first bytes leave with the first call of [`Tls::on_bytes`], which
    /// may have none to read.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsFault> {
        ClientConnection::new(config, name).map(|it| Tls::new(it.into())).map_err(|error| TlsFault::of(&error))
    }

    fn new(connection: Connection) -> Self {
        Tls { connection, records: Records::default(), waiting: 0, has_closed: false }
    }

    /// Reads the bytes that have come and gives the plaintext of each record to `sink`. Adds to `out` the bytes that
    /// have to leave, even if it fails: alerts, and answers to the peer's new keys.
    ///
    /// # Errors
    ///
    /// The peer breaks the protocol, is refused or has ended its half, or `sink` has failed.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.records.on_bytes(bytes, now);
        let mut rest = bytes;
        while !rest.is_empty() {
            let read = self.connection.read_tls(&mut rest);
            let processed = self.connection.process_new_packets();
            // Plaintext of whole records in front of a fault is as good as any.
            let taken = self.take_plaintext(sink);
            self.flush(out);
            taken?;
            let state = processed.map_err(|error| Fault::Tls(TlsFault::of(&error)))?;
            if state.peer_has_closed() {
                // RFC 5246 §7.2.1 wants an answer at once; in TLS 1.3 our half stays open (RFC 8446 §6.1).
                if self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
                    self.close(out);
                }
                return Err(Fault::Closed);
            }
            // Only a handshake message that is too large fills the buffer.
            if !read.is_ok_and(|read| read > 0) {
                return Err(Fault::Tls(TlsFault::Misbehaved));
            }
        }
        self.flush(out);
        Ok(())
    }

    /// Adds the records of `plaintext` to `out`. During the handshake it waits. False where it does not leave at all:
    /// too much waits already, or we have said that nothing more follows.
    pub fn write(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> bool {
        if self.has_closed {
            return false;
        }
        if self.connection.is_handshaking() {
            if self.waiting + plaintext.len() > WAITING {
                return false;
            }
            self.waiting += plaintext.len();
        }
        let mut rest = plaintext;
        while let Ok(taken @ 1..) = self.connection.writer().write(rest) {
            rest = rest.get(taken..).unwrap_or_default();
            self.flush(out);
        }
        rest.is_empty()
    }

    /// Says that nothing more follows.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.has_closed = true;
        self.connection.send_close_notify();
        self.flush(out);
    }

    /// Whether the handshake is done.
    pub fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The certificates by which the peer has shown who it is, its own first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// The time at which the record began that is not whole yet.
    pub fn begun(&self) -> Option<Time> {
        self.records.begun()
    }

    /// The time of a record that is not whole yet counts from now on.
    pub(super) fn begin_again(&mut self, now: Time) {
        self.records.begin_again(now);
    }

    fn take_plaintext(&mut self, sink: &mut impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut reader = self.connection.reader();
        // It fails where there is nothing, and is empty at the end.
        while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
            let length = chunk.len();
            sink(chunk)?;
            reader.consume(length);
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.connection.is_handshaking() {
            self.waiting = 0;
            // The answer to new keys of the peer leaves only in front of something that is written, or of nothing.
            let _ = self.connection.writer().write(&[]);
        }
        while self.connection.wants_write() && self.connection.write_tls(out).is_ok() {}
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("is_open", &self.is_open()).field("has_closed", &self.has_closed).finish()
    }
}
