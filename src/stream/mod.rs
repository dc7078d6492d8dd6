//! The bytes of one connection to SIP messages and back, as a value: no socket, no clock.
//!
//! The owner of the connection gives [`Stream`] the bytes that come, sends the bytes that it writes, and asks
//! [`Stream::poll_timeout`] when to call it again. A message that lies whole in the bytes at hand, or in one record of
//! TLS, is a slice of them; only an unfinished one is kept.

mod alias;
mod fault;
mod framing;
mod keepalive;
mod limits;
mod records;
mod security;
mod signs;
mod sip;
pub mod tls;
mod unfinished;
pub mod websocket;

use std::mem::take;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

pub use alias::{is_alias, names_shown};
pub use fault::{Fault, TlsFault, WebSocketFault};
pub use limits::Limits;
pub use websocket::Rules;

use framing::Framing;
use security::{Secured, Security};
use sip::Messages;
use tls::Tls;
use websocket::WebSocket;

use crate::time::Time;
use crate::wire::framing::StreamFault;
use crate::words::Transport;

/// The protocol of a connection.
#[derive(Clone, Debug)]
pub enum Kind {
    /// SIP over TCP.
    Plain,
    /// SIP over TLS, called by the peer.
    Tls(Arc<ServerConfig>),
    /// SIP over TLS if the first byte says so, else over TCP.
    Sniffed(Arc<ServerConfig>),
    /// SIP over TLS, called by us; the peer shows that it has this name.
    TlsClient(Arc<ClientConfig>, ServerName<'static>),
    /// SIP over WebSocket, called by the peer.
    WebSocket(Arc<Rules>),
    /// SIP over WebSocket over TLS, called by the peer.
    SecureWebSocket(Arc<ServerConfig>, Arc<Rules>),
}

impl Kind {
    /// Whether something has to be agreed upon before the first message.
    pub const fn has_handshake(&self) -> bool {
        !matches!(self, Kind::Plain)
    }
}

/// A message of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// The head of a message whose end cannot be found, up to its empty line. It is answered 400 or 513 where its Via
    /// allows that; the call that gives it returns the fault.
    Faulty(&'a [u8], StreamFault),
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    limits: Limits,
    security: Security,
    framing: Framing,
    /// The last time at which bytes came; while it is not open, the begin of the handshake.
    since: Time,
    /// Whether bytes have come at all.
    has_spoken: bool,
}

impl Stream {
    /// A connection that begins now.
    pub fn new(kind: Kind, limits: Limits, now: Time) -> Self {
        let sip = Framing::Sip(Messages::default());
        let websocket = |rules| Framing::WebSocket(WebSocket::new(rules));
        let (security, framing) = match kind {
            Kind::Plain => (Security::Plain, sip),
            Kind::Tls(config) => (Security::tls(Tls::server(config)), sip),
            Kind::Sniffed(config) => (Security::Sniffing(config), sip),
            Kind::TlsClient(config, name) => (Security::tls(Tls::client(config, name)), sip),
            Kind::WebSocket(rules) => (Security::Plain, websocket(rules)),
            Kind::SecureWebSocket(config, rules) => (Security::tls(Tls::server(config)), websocket(rules)),
        };
        Stream { limits, security, framing, since: now, has_spoken: false }
    }

    /// A connection to a server that begins now and is kept open: it is never closed for its silence, and we send
    /// keepalives on it.
    pub fn persistent(kind: Kind, now: Time) -> Self {
        let framing = Framing::Sip(Messages::kept_alive(now));
        Stream { framing, ..Stream::new(kind, Limits::of_persistent(), now) }
    }

    /// A connection that we open for a message of our own: its peer may say nothing until it is asked something.
    pub fn called(kind: Kind, now: Time) -> Self {
        Stream::new(kind, Limits::of_called(), now)
    }

    /// A connection of this transport that another process has opened, which gives us its plaintext, or has given us
    /// the connection. The first bytes are those that were pending there.
    pub fn resumed(transport: Transport, limits: Limits, now: Time) -> Self {
        let security = match transport {
            Transport::Tls | Transport::Wss => Security::Elsewhere,
            _ => Security::Plain,
        };
        let framing = match transport {
            Transport::Ws | Transport::Wss => Framing::WebSocket(WebSocket::open(&limits, now)),
            _ => Framing::Sip(Messages::default()),
        };
        Stream { limits, security, framing, since: now, has_spoken: true }
    }

    /// The same for a connection that is kept open to a server.
    pub fn persistent_resumed(transport: Transport, now: Time) -> Self {
        let framing = Framing::Sip(Messages::kept_alive(now));
        Stream { framing, ..Stream::resumed(transport, Limits::of_persistent(), now) }
    }

    /// Whether it is kept open to a server.
    pub fn is_persistent(&self) -> bool {
        self.limits == Limits::of_persistent()
    }

    /// Reads the bytes that have come and gives each message to `sink`. Adds to `out` the bytes that have to leave,
    /// even if it fails.
    ///
    /// The call that completes a handshake gives no message. The next one does, and may be made without bytes. The
    /// first call for a connection that we have opened may have none either, and says hello.
    ///
    /// # Errors
    ///
    /// No further message can be read: the connection has to be closed, when `out` and answers to earlier messages have
    /// left.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        if self.security.sniff(bytes) {
            self.since = now;
        }
        self.has_spoken |= !bytes.is_empty();
        let was_open = self.is_open();
        let is_websocket = matches!(self.framing, Framing::WebSocket(_));
        let time = (&self.limits, now);
        let framing = &mut self.framing;
        let outcome = match &mut self.security {
            Security::Broken(fault) => Err(Fault::Tls(*fault)),
            Security::Tls(secured) => {
                let Secured { tls, early } = &mut **secured;
                let mut answers = Vec::new();
                let mut read = |plaintext: &[u8]| framing.on_bytes(plaintext, time, &mut answers, sink);
                // The request for a WebSocket is a part of the handshakes.
                let outcome = if tls.is_open() || is_websocket {
                    read(&take(early)).and_then(|()| tls.on_bytes(bytes, now, out, &mut read))
                } else {
                    let mut keep = |plaintext: &[u8]| {
                        early.extend_from_slice(plaintext);
                        Ok(())
                    };
                    tls.on_bytes(bytes, now, out, &mut keep)
                };
                tls.write(&answers, out);
                outcome
            }
            _ => framing.on_bytes(bytes, time, out, sink),
        };
        if self.is_open() && !(was_open && bytes.is_empty()) {
            self.since = now;
        }
        outcome
    }

    /// Adds the bytes of a SIP message to `out`. During a handshake of TLS it waits. False where it does not leave: too
    /// much waits for the handshake, or the connection has ended.
    pub fn write(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        match (&mut self.security, &self.framing) {
            (Security::Tls(secured), Framing::Sip(_)) => secured.tls.write(message, out),
            (Security::Tls(secured), framing) => {
                let mut framed = Vec::new();
                framing.write(message, &mut framed) && secured.tls.write(&framed, out)
            }
            (Security::Broken(_), _) => false,
            (_, framing) => framing.write(message, out),
        }
    }

    /// Adds to `out` what the protocol says at an orderly end.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        match &mut self.security {
            Security::Tls(secured) => {
                let mut last = Vec::new();
                self.framing.close(&mut last);
                secured.tls.write(&last, out);
                secured.tls.close(out);
            }
            _ => self.framing.close(out),
        }
    }

    /// Whether its handshakes are done.
    pub fn is_open(&self) -> bool {
        self.security.is_open() && self.framing.is_open()
    }

    /// Its transport, as a Via names it.
    pub fn transport(&self) -> Transport {
        let is_plain = matches!(self.security, Security::Plain | Security::Sniffing(_));
        match (&self.framing, is_plain) {
            (Framing::Sip(_), true) => Transport::Tcp,
            (Framing::Sip(_), false) => Transport::Tls,
            (Framing::WebSocket(_), true) => Transport::Ws,
            (Framing::WebSocket(_), false) => Transport::Wss,
        }
    }

    /// Whether it does TLS itself.
    pub fn does_tls(&self) -> bool {
        matches!(self.security, Security::Tls(_))
    }

    /// Whether another process does TLS for it.
    pub fn is_enciphered_elsewhere(&self) -> bool {
        matches!(self.security, Security::Elsewhere)
    }

    /// The TLS of the connection, for a process that gives its plaintext to another one.
    pub fn into_tls(self) -> Option<Tls> {
        match self.security {
            Security::Tls(secured) => Some(secured.tls),
            _ => None,
        }
    }

    /// The bytes of a message that is not whole yet, by which [`Stream::resumed`] goes on.
    pub fn pending(&self) -> &[u8] {
        self.framing.pending()
    }

    /// The certificates by which the peer has shown who it is, its own first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.security {
            Security::Tls(secured) => secured.tls.peer_certificates(),
            _ => None,
        }
    }

    /// Its owner has left bytes unread for a while and reads again: the peer has its whole time again.
    pub fn read_again(&mut self, now: Time) {
        self.since = now;
        self.framing.begin_again(now);
        if let Security::Tls(secured) = &mut self.security {
            secured.tls.begin_again(now);
        }
    }

    /// When [`Stream::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Time {
        self.silent_at().min(self.slow_at()).min(self.framing.ping_at())
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// A limit has passed. After [`Fault::Idle`] the owner may keep the connection: it is asked again when it has been
    /// silent for as long once more.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<u8>) -> Result<(), Fault> {
        if now >= self.slow_at() {
            return Err(Fault::SlowMessage);
        }
        if now >= self.silent_at() {
            return Err(match (self.has_spoken, self.is_open()) {
                (false, _) => Fault::Silent,
                (true, false) => Fault::SlowHandshake,
                (true, true) => {
                    self.since = now;
                    Fault::Idle
                }
            });
        }
        if now < self.framing.ping_at() {
            return Ok(());
        }
        let mut ping = Vec::new();
        let outcome = self.framing.handle_timeout((&self.limits, now), &mut ping);
        match &mut self.security {
            Security::Tls(secured) => {
                secured.tls.write(&ping, out);
            }
            _ => out.append(&mut ping),
        }
        outcome
    }

    /// The time at which it has been silent, or in its handshakes, for too long.
    fn silent_at(&self) -> Time {
        let limits = &self.limits;
        let limit = match &self.security {
            Security::Sniffing(_) => limits.first,
            _ if !self.is_open() => limits.handshake,
            _ if !self.has_spoken => limits.first,
            _ => limits.idle,
        };
        self.since + limit
    }

    /// The time at which a message, or a record of TLS, that has begun takes too long.
    fn slow_at(&self) -> Time {
        let record = match &self.security {
            Security::Tls(secured) if self.is_open() => secured.tls.begun().unwrap_or(Time::NEVER),
            _ => Time::NEVER,
        };
        self.framing.begun().min(record) + self.limits.message
    }
}

#[cfg(test)]
pub(crate) mod tests;
