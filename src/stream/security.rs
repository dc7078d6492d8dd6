//! The lower half of a connection: plain, or in TLS.

use std::sync::Arc;

use rustls::ServerConfig;

use super::fault::TlsFault;
use super::tls::Tls;

/// The first byte of a TLS connection: a record of the handshake (RFC 8446 §5.1). No SIP message begins with it.
const HANDSHAKE: u8 = 0x16;

/// The security of a connection.
#[derive(Debug)]
pub(super) enum Security {
    /// It has none.
    Plain,
    /// Another process does TLS for it, and gives us its plaintext.
    Elsewhere,
    /// The first byte tells.
    Sniffing(Arc<ServerConfig>),
    Tls(Box<Secured>),
    /// TLS could not begin.
    Broken(TlsFault),
}

/// A TLS connection.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) tls: Tls,
    /// Plaintext that came with the end of the handshake.
    pub(super) early: Vec<u8>,
}

impl Security {
    pub(super) fn tls(tls: Result<Tls, TlsFault>) -> Self {
        match tls {
            Ok(tls) => Security::Tls(Box::new(Secured { tls, early: Vec::new() })),
            Err(fault) => Security::Broken(fault),
        }
    }

    /// Decides by the first byte. True when it is TLS.
    pub(super) fn sniff(&mut self, bytes: &[u8]) -> bool {
        let (Security::Sniffing(config), Some(first)) = (&*self, bytes.first()) else { return false };
        *self = match *first {
            HANDSHAKE => Security::tls(Tls::server(Arc::clone(config))),
            _ => Security::Plain,
        };
        !matches!(self, Security::Plain)
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Security::Plain | Security::Elsewhere => true,
            Security::Sniffing(_) | Security::Broken(_) => false,
            Security::Tls(secured) => secured.tls.is_open(),
        }
    }
}
