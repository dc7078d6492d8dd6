//! Chains: the commands of one datagram that wait for those before them (RFC 3435 §3.5.5).
//!
//! Piggybacked commands are carried out in their order: the next one is decided about once the one before it has been
//! answered, by a worker or by the dispatcher, and at most [`LONGTRAN`] later. Waiting commands are bounded by number
//! and by bytes, and one host has no more than half of either.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use crate::fingerprint::host;
use crate::time::Time;
use crate::transaction::LONGTRAN;
use crate::wire::mgcp;

/// Most chains that wait at a time.
const MOST: usize = 1_024;
/// Most bytes of all chains.
const MOST_BYTES: usize = 4 << 20;

/// A chain that waits for one answer. Each wait has a number of its own: an answer that comes too late finds no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainId(NonZeroU64);

/// Chains that wait. `W` is the way on which their datagrams came.
#[derive(Debug)]
pub struct Chains<W> {
    // All chains wait equally long, and numbers rise: the first one is due first.
    waiting: BTreeMap<ChainId, (Time, Rest<W>)>,
    last: NonZeroU64,
    bytes: usize,
    /// Number and bytes of the chains of each host.
    hosts: BTreeMap<u64, (usize, usize)>,
}

/// The rest of a datagram: commands that have not been decided about.
#[derive(Clone, Debug)]
pub struct Rest<W> {
    /// The way on which the datagram came.
    pub way: W,
    host: u64,
    bytes: Arc<[u8]>,
    at: usize,
}

impl<W> Rest<W> {
    /// The commands in `bytes`, separated as in a datagram, from `source`.
    pub fn new(bytes: &[u8], way: W, source: IpAddr) -> Self {
        Rest { way, host: host(source), bytes: bytes.into(), at: 0 }
    }

    /// Takes out the next command; returns its place in [`Rest::bytes`].
    pub fn next_part(&mut self) -> Option<Range<usize>> {
        let rest = self.bytes.get(self.at..)?;
        let part = mgcp::parts(rest).next()?;
        let begin = self.at + (part.as_ptr() as usize).wrapping_sub(rest.as_ptr() as usize);
        let range = begin..begin + part.len();
        // The place after the command. The separator is left, and the next search skips it.
        self.at = range.end;
        Some(range)
    }

    /// All bytes, including the commands that were taken out.
    pub fn bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// The bytes that are left.
    pub fn left(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether no command is left.
    pub fn is_empty(&self) -> bool {
        mgcp::parts(self.left()).next().is_none()
    }
}

impl<W> Chains<W> {
    /// No chains.
    pub const fn new() -> Self {
        Chains { waiting: BTreeMap::new(), last: NonZeroU64::MIN, bytes: 0, hosts: BTreeMap::new() }
    }

    /// Whether a chain from `source` finds a place.
    pub fn has_place(&self, source: IpAddr) -> bool {
        let (count, bytes) = self.hosts.get(&host(source)).copied().unwrap_or_default();
        self.waiting.len() < MOST && self.bytes < MOST_BYTES && count < MOST / 2 && bytes < MOST_BYTES / 2
    }

    /// Lets `rest` wait.
    pub fn wait(&mut self, rest: Rest<W>, now: Time) -> ChainId {
        let id = ChainId(self.last);
        self.last = self.last.saturating_add(1);
        self.bytes += rest.bytes.len();
        let (count, bytes) = self.hosts.entry(rest.host).or_default();
        (*count, *bytes) = (*count + 1, *bytes + rest.bytes.len());
        self.waiting.insert(id, (now + LONGTRAN, rest));
        id
    }

    /// Takes out a chain whose answer has come.
    pub fn go_on(&mut self, id: ChainId) -> Option<Rest<W>> {
        let (_, rest) = self.waiting.remove(&id)?;
        self.bytes -= rest.bytes.len();
        if let Some((count, bytes)) = self.hosts.get_mut(&rest.host) {
            (*count, *bytes) = (*count - 1, *bytes - rest.bytes.len());
            if *count == 0 {
                self.hosts.remove(&rest.host);
            }
        }
        Some(rest)
    }

    /// Takes out a chain that has waited long enough.
    pub fn poll_expired(&mut self, now: Time) -> Option<Rest<W>> {
        let (&id, _) = self.waiting.first_key_value().filter(|(_, (due, _))| *due <= now)?;
        self.go_on(id)
    }

    /// The time at which the next chain has waited long enough.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.waiting.first_key_value().map(|(_, (due, _))| *due)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<W> Default for Chains<W> {
    fn default() -> Self {
        Chains::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATAGRAM: &[u8] = b"AUEP 1 a@b MGCP 1.0\n.\nAUEP 2 a@b MGCP 1.0\r\n.\r\nAUEP 3 a@b MGCP 1.0\n";

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn taken(rest: &mut Rest<u8>) -> Option<String> {
        let bytes = rest.bytes();
        let part = rest.next_part()?;
        Some(String::from_utf8_lossy(&bytes[part]).trim_end().to_owned())
    }

    #[test]
    fn commands_come_out_one_by_one_in_their_order() {
        let mut rest = Rest::new(DATAGRAM, 0, HOST);
        for number in 1..=3 {
            assert!(!rest.is_empty());
            assert_eq!(taken(&mut rest), Some(format!("AUEP {number} a@b MGCP 1.0")));
        }
        assert!(rest.is_empty());
        assert_eq!(taken(&mut rest), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_moves_nothing_on() {
        let mut chains = Chains::new();
        let first = chains.wait(Rest::new(DATAGRAM, 7, HOST), Time(0));
        assert_eq!(chains.poll_timeout(), Some(Time(5_000_000)));
        assert!(chains.poll_expired(Time(4_999_999)).is_none());
        let rest = chains.poll_expired(Time(5_000_000)).unwrap();
        let second = chains.wait(rest, Time(5_000_000));
        assert!(chains.go_on(first).is_none());
        assert_eq!(chains.go_on(second).map(|rest| rest.way), Some(7));
        assert!(chains.is_empty() && chains.bytes == 0 && chains.hosts.is_empty());
    }

    #[test]
    fn the_number_of_chains_and_their_bytes_have_an_end_and_one_host_has_half_of_them() {
        let hosts: Vec<IpAddr> =
            ["192.0.2.1", "2001:db8::1", "192.0.2.3"].iter().map(|ip| ip.parse().unwrap()).collect();
        let mut chains = Chains::new();
        for (at, host) in hosts.iter().enumerate() {
            while chains.has_place(*host) {
                chains.wait(Rest::new(b"x", 0, *host), Time(0));
            }
            assert_eq!(chains.waiting.len(), [MOST / 2, MOST, MOST][at]);
        }
        let mut chains = Chains::new();
        for host in &hosts {
            while chains.has_place(*host) {
                chains.wait(Rest::new(&[b'x'; 60_000], 0, *host), Time(0));
            }
        }
        assert!(chains.bytes < MOST_BYTES + 60_000);
    }
}
