//! Connections: how many there may be, and the pages that may open a WebSocket.

use super::Config;
use super::error::Fault;
use super::key::within;

/// Most connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCaps {
    /// Connections of all listeners together.
    pub total: u32,
    /// Connections of one source.
    pub per_source: u32,
    /// Handshakes under way.
    pub handshakes: u32,
}

/// Most connections where the configuration names no number: of TLS connections, so many take 640 MiB.
const DERIVED_MOST: u64 = 1 << 16;

/// Most connections that the configuration can name.
const MOST: u32 = 1_000_000;

/// Most origins.
const ORIGINS: usize = 64;

impl Config {
    /// Whether a listener takes connections.
    pub fn has_stream_listeners(&self) -> bool {
        self.listen.iter().any(|listen| listen.service.is_stream())
    }

    /// The caps, where `spare` descriptors are left for connections. By default they take half of these: the process
    /// that stays after a takeover has two for each TLS connection.
    pub fn connection_caps(&self, spare: u64) -> ConnectionCaps {
        let derived = (spare / 2).clamp(1, DERIVED_MOST) as u32;
        let total = self.max_connections.unwrap_or(derived);
        let per_source = self.max_connections_per_source.unwrap_or((total / 8).max(1));
        ConnectionCaps { total, per_source: per_source.min(total), handshakes: self.max_handshakes }
    }
}

/// Checks a number of connections.
pub(super) fn count(key: &str, given: Option<u32>) -> Result<Option<u32>, Fault> {
    given.map_or(Ok(()), |number| within(key, &number, &(1..=MOST), " connections"))?;
    Ok(given)
}

/// Checks the origins and returns them in lower case, as browsers send them (RFC 6454 §6.2).
pub(super) fn origins(given: Option<&[String]>) -> Result<Vec<String>, Fault> {
    let given = given.unwrap_or_default();
    if given.len() > ORIGINS {
        return Err(Fault::of("origins", format!("{} are too many; give at most {ORIGINS}", given.len())));
    }
    let is_origin = |text: &str| {
        let rest = text.split_once("://").filter(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        rest.is_some_and(|(_, host)| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte))
        })
    };
    match given.iter().find(|text| *text != "null" && !is_origin(text)) {
        Some(other) => {
            let words = format!("`{other}` is not an origin: write SCHEME://HOST[:PORT], such as https://example.net");
            Err(Fault::of("origins", words))
        }
        None => Ok(given.iter().map(|text| text.to_ascii_lowercase()).collect()),
    }
}
