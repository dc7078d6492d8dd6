//! The echo of one stream: a packet in, the same sound out, as a packet of our own source.

use std::net::{IpAddr, SocketAddr};

use crate::time::Time;

use super::rtcp::{Answered, Reception, Sent};
use super::stream::{Dropped, Stream, Terms};

/// One stream whose packets are sent back to their source.
#[derive(Clone, Debug)]
pub struct Echo(Stream);

/// A packet that is ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echoed<'a> {
    /// The address to send it to.
    pub to: SocketAddr,
    /// The packet, a part of the buffer it arrived in.
    pub bytes: &'a [u8],
}

impl Echo {
    /// An echo on these terms, with the numbers that come from `seed`; see [`Stream::new`].
    pub fn new(seed: u64, terms: &Terms, signalling: Option<IpAddr>) -> Self {
        Echo(Stream::new(seed, terms, signalling))
    }

    /// Changes the terms after a new offer or answer; the packets we send go on as the same stream.
    pub fn set_terms(&mut self, terms: &Terms, signalling: Option<IpAddr>) {
        self.0.set_terms(terms, signalling);
    }

    /// Takes a packet from the RTP port; the echo is written into the same buffer.
    pub fn on_packet<'a>(
        &mut self,
        packet: &'a mut [u8],
        source: SocketAddr,
        now: Time,
    ) -> Result<Echoed<'a>, Dropped> {
        if !self.0.direction().receives() {
            return Err(Dropped::Held);
        }
        let arrived = self.0.receive(packet, source, now)?;
        let bytes = self.0.send(&arrived, arrived.answered_as, packet, now)?;
        Ok(Echoed { to: source, bytes })
    }

    /// Takes a packet from the RTCP port; an answer, when one is due, is appended to `out` and goes back to `source`.
    pub fn on_rtcp(&mut self, packet: &[u8], source: SocketAddr, now: Time, out: &mut Vec<u8>) -> Answered {
        self.0.on_rtcp(packet, source, now, out)
    }

    /// The address that packets go to; `None` until one has arrived.
    pub const fn remote(&self) -> Option<SocketAddr> {
        self.0.remote()
    }

    /// When the stream's sender was last heard; `None` when never.
    pub const fn heard(&self) -> Option<Time> {
        self.0.heard()
    }

    /// Our synchronisation source.
    pub const fn ssrc(&self) -> u32 {
        self.0.ssrc()
    }

    /// Counts of the packets sent so far.
    pub const fn sent(&self) -> &Sent {
        self.0.sent()
    }

    /// Reception statistics of the present source.
    pub const fn reception(&self) -> Option<&Reception> {
        self.0.reception()
    }
}

#[cfg(test)]
mod tests;
