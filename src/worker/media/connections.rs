//! The media of MGCP connections: carries out [`Ask`] with sockets.
//!
//! A connection has one RTP port from its beginning to its end, whatever its mode. Packets that arrive are read and
//! counted in every mode; the gateway's last [`Ask`] decides where they go.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::call::gateway::{Ask, ConnectionKey, Counters, Flow, Sound, Told};
use crate::media::codec::CLOCK_RATE;
use crate::media::rtcp::Answered;
use crate::media::{Stream, Terms};
use crate::net::bind::BindError;
use crate::net::udp::Batch;
use crate::time::Time;

use super::{BATCHES, Owner, RtpMedia, SocketPair, Unopened};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    port: u16,
    stream: Stream,
    sound: Sound,
    /// RTCP packets that have come from the other end.
    rtcp_received: u64,
}

impl RtpMedia {
    /// Does what the gateway asks for, and tells what came of it.
    pub(super) fn do_for_connection(&mut self, key: ConnectionKey, ask: &Ask, now: Time) -> Told {
        match ask {
            Ask::Open { local, flow } => self.open_connection(key, *local, flow, now),
            Ask::Change(flow) => {
                let Some(connection) = self.connections.get_mut(&key) else { return Told::Failed };
                connection.stream.set_terms(&terms(flow), None);
                connection.sound = flow.sound;
                Told::Changed
            }
            Ask::Close => match self.connections.remove(&key) {
                Some(connection) => {
                    self.ports.give_back(connection.port);
                    self.close(&[connection.port]);
                    Told::Closed(connection.counters())
                }
                None => Told::Closed(Counters::default()),
            },
            Ask::Count => Told::Counted(self.connections.get(&key).map(Connection::counters).unwrap_or_default()),
        }
    }

    fn open_connection(&mut self, key: ConnectionKey, local: IpAddr, flow: &Flow, now: Time) -> Told {
        if self.has_failed(now) {
            return Told::Failed;
        }
        let (port, pair) = match self.bind_connection(key, local, now) {
            Ok(bound) => bound,
            Err(error) => {
                self.on_unopened(&error, now);
                return Told::Failed;
            }
        };
        self.sockets.insert(port, pair);
        let stream = Stream::new(self.next_seed(), &terms(flow), None);
        self.connections.insert(key, Connection { port, stream, sound: flow.sound, rtcp_received: 0 });
        Told::Opened(port)
    }

    /// A port with its sockets: the next free one that no other program has.
    fn bind_connection(&mut self, key: ConnectionKey, local: IpAddr, now: Time) -> Result<(u16, SocketPair), NoPort> {
        let mut untried = self.ports.free();
        loop {
            let port = self.ports.take()?;
            untried = untried.saturating_sub(1);
            match self.bind(Owner::Connection(key), local, port) {
                Ok(pair) => return Ok((port, pair)),
                Err(error) => {
                    self.ports.give_back(port);
                    match error {
                        Unopened::Bind(BindError::InUse { .. }) if untried > 0 => self.on_taken(&error, now),
                        error => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Packets have come to `port` of a connection. True when more may wait there.
    pub(super) fn on_connection_readable(
        &mut self,
        key: ConnectionKey,
        port: u16,
        batch: &mut Batch,
        now: Time,
    ) -> bool {
        let even = port & !1;
        let RtpMedia { connections, sockets, scratch, .. } = self;
        for _ in 0..BATCHES {
            let Some(pair) = sockets.get(&even) else { return false };
            let socket = if port == even { &pair.rtp } else { &pair.rtcp };
            let Ok(read @ 1..) = socket.recv_batch(batch) else { return false };
            for datagram in batch.iter() {
                scratch.clear();
                if port == even {
                    scratch.extend_from_slice(datagram.bytes);
                    if let Some((port, to, bytes)) = pass_on(connections, key, scratch, datagram.source, now)
                        && let Some(pair) = sockets.get(&port)
                    {
                        // A packet that does not leave is a lost packet.
                        let _ = pair.rtp.send(bytes, to, None);
                    }
                } else if let Some(connection) = connections.get_mut(&key) {
                    let source = datagram.source;
                    let is_heard = connection.stream.takes_rtcp(source);
                    let came = connection.stream.on_rtcp(datagram.bytes, source, now, scratch);
                    connection.rtcp_received += u64::from(is_heard && came != Answered::NotRtcp);
                    if !scratch.is_empty() {
                        let _ = socket.send(scratch, datagram.source, None);
                    }
                }
            }
            if read < batch.places() {
                return false;
            }
        }
        true
    }
}

/// Takes a packet that has come to a connection from `source`, and returns the port by which it leaves, its
/// destination, and its bytes.
fn pass_on<'p>(
    connections: &mut HashMap<ConnectionKey, Connection>,
    key: ConnectionKey,
    packet: &'p mut [u8],
    source: SocketAddr,
    now: Time,
) -> Option<(u16, SocketAddr, &'p [u8])> {
    let connection = connections.get_mut(&key)?;
    let arrived = connection.stream.receive(packet, source, now).ok()?;
    match connection.sound {
        Sound::Silence => None,
        // RFC 3435 §2.3.5: in the loop and test modes everything that arrives goes back.
        Sound::Echo => {
            let bytes = connection.stream.send(&arrived, arrived.answered_as, packet, now).ok()?;
            Some((connection.port, source, bytes))
        }
        Sound::Connection(other) => {
            if !connection.stream.direction().receives() {
                return None;
            }
            let other = connections.get_mut(&other).filter(|other| other.sound == Sound::Connection(key))?;
            let (to, bytes) = other.stream.forward(&arrived, packet, now).ok()?;
            Some((other.port, to, bytes))
        }
    }
}

impl Connection {
    fn counters(&self) -> Counters {
        let (received, sent) = (self.stream.received(), self.stream.sent());
        let jitter = self.stream.reception().map_or(0, |reception| reception.jitter());
        Counters {
            packets_sent: sent.packets,
            octets_sent: sent.octets,
            packets_received: received.packets,
            octets_received: received.octets,
            packets_lost: self.stream.lost(),
            jitter_ms: jitter / (CLOCK_RATE / 1_000),
            latency_ms: self.stream.latency().map_or(0, |latency| latency.as_millis() as u32),
            rtcp_received: self.rtcp_received,
        }
    }
}

/// Terms of a connection. The call agent is not its other end.
fn terms(flow: &Flow) -> Terms {
    Terms { direction: flow.direction, remote: flow.remote, payloads: flow.payloads }
}

/// Why a connection has no port.
#[derive(Debug, thiserror::Error)]
enum NoPort {
    #[error(transparent)]
    Exhausted(#[from] crate::media::Exhausted),
    #[error(transparent)]
    Unopened(#[from] Unopened),
}

#[cfg(test)]
mod tests;
