//! Source and destination of a stream's packets: symmetric RTP (RFC 4961) with rules that keep strangers out.
//!
//! Behind a NAT packets come from another address than the SDP names, so the remote address is learnt from the packets
//! that arrive. Any host can send to an open port; so senders have a [`Rank`], by the addresses in signalling. The
//! rules:
//!
//! 1. A sender without a rank is not believed.
//! 2. Nothing is sent before a valid packet has arrived, so that no packet of ours goes to an address that only the SDP
//!    names. The first valid packet of a sender with a rank latches it.
//! 3. A sender of a better rank takes over with one packet, at any time.
//! 4. A packet from elsewhere that continues the stream (same SSRC, one of the [`NEXT`] numbers) moves the latch at
//!    once: a NAT has rebound. A forger that sees the stream can do so as well; against that only SRTP helps.
//! 5. Another port of the latched host must find the latched one silent for [`SILENCE`], and sends [`PROBATION`]
//!    packets in sequence before it is believed. Another host is not, however long the latched one is silent.
//! 6. An offer or answer that names another address starts again at rule 2 (a transfer can move a stream anywhere).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Time;

/// Silence of the latched sender before another port of its host may take its place.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Packets in sequence that a new port has to show (RFC 3550 A.1 asks two of a new source; here it has to show more).
pub const PROBATION: u8 = 4;
/// Numbers that can be the next one of a stream that has moved: a second's packets of 20 ms, for those lost on the way.
pub const NEXT: u16 = 50;
/// A gap up to this is a loss (RFC 3550 A.1, MAX_DROPOUT).
pub(crate) const MAX_DROPOUT: u16 = 3_000;
/// A step back up to this is a reordering (RFC 3550 A.1, MAX_MISORDER).
pub(crate) const MAX_MISORDER: u16 = 100;

/// Whether `next` can belong to a stream that had reached `last`.
pub(crate) const fn continues(last: u16, next: u16) -> bool {
    let step = next.wrapping_sub(last);
    step < MAX_DROPOUT || step > u16::MAX - MAX_MISORDER
}

/// Rank of a sender by how likely it is the stream's, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The address and port that the SDP names.
    Signalled,
    /// Another port of that host.
    Host,
    /// The host that the signalling comes from.
    Signalling,
    /// Any sender. The SDP names no address, or a private one that is not the signalling's own: then a NAT lies in
    /// between, and the address it gives to the stream cannot be known.
    Anybody,
}

/// Addresses that signalling gives for the source of a stream's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The address in the SDP.
    pub media: Option<SocketAddr>,
    /// The host that the signalling comes from, where that is also the stream's other end.
    pub signalling: Option<IpAddr>,
}

impl Expected {
    fn rank(self, source: SocketAddr) -> Option<Rank> {
        match self.media {
            Some(said) if said == source => Some(Rank::Signalled),
            Some(said) if said.ip() == source.ip() => Some(Rank::Host),
            _ if self.signalling == Some(source.ip()) => Some(Rank::Signalling),
            Some(said) if !is_private(said.ip()) || self.signalling == Some(said.ip()) => None,
            _ => Some(Rank::Anybody),
        }
    }
}

/// Whether an address can be reached from its own network only (RFC 1918, RFC 6598, RFC 4193), so that packets from it
/// arrive with another source address.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The remote address of one stream.
#[derive(Clone, Debug)]
pub struct Latch {
    expected: Expected,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// No sender is believed yet.
    Open,
    /// The sender that is believed.
    Latched { remote: SocketAddr, ssrc: u32, sequence: u16, heard: Time, candidate: Option<Candidate> },
}

/// Another port of the believed host.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    sequence: u16,
    shown: u8,
}

impl Latch {
    /// A latch that expects these senders.
    pub const fn new(expected: Expected) -> Self {
        Latch { expected, state: State::Open }
    }

    /// A new offer or answer. A stream that stays where it is keeps flowing.
    pub fn expect(&mut self, expected: Expected) {
        let before = std::mem::replace(&mut self.expected, expected);
        if before == expected {
            return;
        }
        let stays = match expected.media == before.media {
            true => Rank::Signalling,
            false => Rank::Signalled,
        };
        if self.remote().and_then(|remote| expected.rank(remote)).is_none_or(|rank| rank > stays) {
            self.state = State::Open;
        }
    }

    /// Judges a valid packet; true when its sender is the believed one (from now on, perhaps).
    pub fn on_packet(&mut self, source: SocketAddr, ssrc: u32, sequence: u16, now: Time) -> bool {
        let rank = self.expected.rank(source);
        let fresh = State::Latched { remote: source, ssrc, sequence, heard: now, candidate: None };
        let State::Latched { remote, ssrc: known, sequence: last, heard, candidate } = &mut self.state else {
            if rank.is_some() {
                self.state = fresh;
            }
            return rank.is_some();
        };
        if source == *remote {
            // A late packet does not move the highest number back; after a leap, or from another SSRC, numbers start
            // anew.
            if *known != ssrc || last.wrapping_sub(sequence) > MAX_MISORDER {
                *last = sequence;
            }
            *known = ssrc;
            *heard = now;
            *candidate = None;
            return true;
        }
        let moved = *known == ssrc && (1..=NEXT).contains(&sequence.wrapping_sub(*last));
        if moved || is_better(rank, self.expected.rank(*remote)) {
            self.state = fresh;
            return true;
        }
        if source.ip() != remote.ip() || now.since(*heard) < SILENCE {
            return false;
        }
        let shown = match candidate {
            Some(seen) if seen.from == source && seen.ssrc == ssrc && seen.sequence.wrapping_add(1) == sequence => {
                seen.shown + 1
            }
            _ => 1,
        };
        if shown >= PROBATION {
            self.state = fresh;
            return true;
        }
        *candidate = Some(Candidate { from: source, ssrc, sequence, shown });
        false
    }

    /// Whether RTCP from `source` is the stream's: from the believed sender's host, whatever the port (RFC 4961), or
    /// from a sender of a better rank. Before any sender is believed there is nothing to report, so no RTCP is taken.
    pub fn takes_rtcp(&self, source: SocketAddr) -> bool {
        self.remote().is_some_and(|remote| {
            source.ip() == remote.ip() || is_better(self.expected.rank(source), self.expected.rank(remote))
        })
    }

    /// Source of packets; `None` until one of a believed sender has arrived.
    pub const fn remote(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open => None,
            State::Latched { remote, .. } => Some(*remote),
        }
    }

    /// Destination of sound that another stream received: `None` if the SDP names no address (hold), else the believed
    /// sender's address, else the one in the SDP.
    pub fn destination(&self) -> Option<SocketAddr> {
        let said = self.expected.media?;
        Some(self.remote().unwrap_or(said))
    }

    /// When the believed sender was last heard.
    pub const fn heard(&self) -> Option<Time> {
        match &self.state {
            State::Open => None,
            State::Latched { heard, .. } => Some(*heard),
        }
    }
}

/// Whether a sender of rank `one` goes before one of rank `other`; a latched sender that has moved may have no rank.
fn is_better(one: Option<Rank>, other: Option<Rank>) -> bool {
    one.is_some_and(|one| other.is_none_or(|other| one < other))
}

#[cfg(test)]
mod tests;
