//! The built-in media, over the slot's RTP ports: SIP calls whose sound is echoed, and the connections of MGCP
//! endpoints.
//!
//! A call's sockets are opened with its first active stream and closed with its last: a call on hold, or with
//! `a=inactive`, has none.

mod connections;

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::call::gateway::{Ask, ConnectionKey, Told};
use crate::call::offer::{Capabilities, Local, Offer, OfferError, terms_of};
use crate::call::{CallKey, MediaPlace, Uas};
use crate::media::{Echo, Ports, Session};
use crate::net::bind::BindError;
use crate::net::host;
use crate::net::udp::{Batch, Buffers, Datagram, Socket};
use crate::seldom::Seldom;
use crate::station;
use crate::time::Time;
use crate::wire::quoted;
use crate::words::RefuseReason;

use self::connections::Connection;

/// The first token of RTP sockets: each has this plus its port.
pub(super) const RTP_TOKENS: usize = 1 << 40;
/// Batches read from one socket before others have their turn.
const BATCHES: usize = 4;
/// Time for which the worker reports that it has no room after a stream could not be opened. After it, opening is tried
/// again.
const EXHAUSTED_FOR: Duration = Duration::from_secs(1);

/// The media of all calls and connections of a worker.
pub(super) struct RtpMedia {
    registry: Registry,
    capabilities: Capabilities,
    ports: Ports,
    calls: HashMap<CallKey, Box<EchoCall>>,
    connections: HashMap<ConnectionKey, Connection>,
    sockets: HashMap<u16, SocketPair>,
    /// Streams whose sockets may be open at once.
    most_streams: usize,
    seed: u64,
    /// When opening a stream last failed, until one is given back.
    exhausted: Option<Time>,
    /// Counts lines about it, and about ports that other programs have: callers of many streams do not flood the log.
    unopened: Seldom,
    taken: Seldom,
    scratch: Vec<u8>,
}

/// The media of one call.
struct EchoCall {
    local: Local,
    /// The addresses that its sockets are bound to, one of each family it has streams of.
    bound: Vec<IpAddr>,
    session: Session,
    /// Whether our offer waits for its answer.
    offered: bool,
}

/// The sockets of one stream.
struct SocketPair {
    of: Owner,
    rtp: Socket,
    rtcp: Socket,
}

/// The owner of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Call(CallKey),
    Connection(ConnectionKey),
}

/// Why a call has no media.
#[derive(Debug, thiserror::Error)]
enum NoMedia {
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error("no RTP port or descriptor is free")]
    Exhausted,
    #[error("fewer RTP ports are free than it takes")]
    TooMany,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot watch it: {0}")]
    Watch(#[from] io::Error),
    #[error("all descriptors that are for sound are taken; raise the limit (`ulimit -n`, `LimitNOFILE=`)")]
    Share,
}

impl RtpMedia {
    /// Media over the ports of `range`, whose sockets take at most `descriptors`.
    pub(super) fn new(registry: Registry, range: (u16, u16), descriptors: usize, seed: u64) -> Self {
        RtpMedia {
            registry,
            capabilities: Capabilities::default(),
            ports: Ports::new(range, seed),
            calls: HashMap::new(),
            connections: HashMap::new(),
            sockets: HashMap::new(),
            most_streams: descriptors / 2,
            seed,
            exhausted: None,
            unopened: Seldom::default(),
            taken: Seldom::default(),
            scratch: Vec::new(),
        }
    }

    /// Whether opening a stream has failed a moment ago: then it is not tried again, which may cost an attempt at every
    /// port of the slot.
    fn has_failed(&self, now: Time) -> bool {
        self.exhausted.is_some_and(|at| now.since(at) < EXHAUSTED_FOR)
    }

    /// Packets have come to the socket of this token. True when more may wait there.
    pub(super) fn on_readable(&mut self, token: Token, batch: &mut Batch, now: Time) -> bool {
        let Ok(port) = u16::try_from(token.0.saturating_sub(RTP_TOKENS)) else { return false };
        let even = port & !1;
        let Some(pair) = self.sockets.get(&even) else { return false };
        let key = match pair.of {
            Owner::Call(key) => key,
            Owner::Connection(key) => return self.on_connection_readable(key, port, batch, now),
        };
        let socket = if port == even { &pair.rtp } else { &pair.rtcp };
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let Some(echo) = call.session.leg_of_port(even).and_then(|leg| leg.echo()) else {
            // Our offer is not answered yet: packets that come early are read and dropped.
            return drain(socket, batch);
        };
        for _ in 0..BATCHES {
            let Ok(read @ 1..) = socket.recv_batch(batch) else { return false };
            for datagram in batch.iter() {
                self.scratch.clear();
                let answer = match port == even {
                    true => echo_sound(echo, &datagram, now, &mut self.scratch),
                    false => answer_report(echo, &datagram, now, &mut self.scratch),
                };
                if let Some((bytes, to)) = answer {
                    // A packet that does not leave is a lost packet.
                    let _ = socket.send(bytes, to, None);
                }
            }
            if read < batch.places() {
                return false;
            }
        }
        true
    }

    fn answer(
        &mut self,
        uas: &Uas,
        key: CallKey,
        call: &mut EchoCall,
        offer: &[u8],
        now: Time,
    ) -> Result<Vec<u8>, NoMedia> {
        let offer = Offer::parse(offer)?;
        if let Some(towards) = offer.other_family(&call.local)
            && let Some(place) = uas.media_place(towards, host::address_towards(towards))
        {
            call.bind_also(place);
        }
        let lines = offer.lines_to_open(&self.capabilities, &call.local)?;
        let lines: Vec<_> = lines.into_iter().map(|line| (line, offer.address_at(line, &call.local))).collect();
        let rtp = self.open(key, call, &lines, now)?;
        let answer = offer.answer(&self.capabilities, &mut call.local, &rtp)?;
        call.session.heard_from(uas.host_of_peer(key));
        let closed = call.session.apply(&answer.terms(), &mut self.ports);
        self.close(&closed);
        Ok(answer.sdp)
    }

    fn offer(&mut self, key: CallKey, call: &mut EchoCall, now: Time) -> Result<Vec<u8>, NoMedia> {
        let lines = self.capabilities.lines_to_offer(&call.local);
        let lines: Vec<_> = lines.into_iter().map(|line| (line, call.local.address_at(line))).collect();
        let rtp = self.open(key, call, &lines, now)?;
        Ok(self.capabilities.offer(&mut call.local, &rtp))
    }

    /// Opens ports and sockets for these lines, each with our address in it. The call keeps those it has already.
    fn open(
        &mut self,
        key: CallKey,
        call: &mut EchoCall,
        lines: &[(usize, IpAddr)],
        now: Time,
    ) -> Result<Vec<SocketAddr>, NoMedia> {
        let numbers: Vec<usize> = lines.iter().map(|(line, _)| *line).collect();
        let Ok(mut ports) = call.session.reserve(&numbers, &mut self.ports) else {
            return Err(if self.ports.is_exhausted() { NoMedia::Exhausted } else { NoMedia::TooMany });
        };
        for (port, (_, named)) in ports.iter_mut().zip(lines) {
            let is_open = |pair: &SocketPair| pair.rtp.local_addr().is_ipv4() == named.is_ipv4();
            if !self.sockets.get(port).is_some_and(is_open) {
                if self.has_failed(now) {
                    return Err(NoMedia::Exhausted);
                }
                let bound = call.bound_for(*named);
                let pair = self.bind_some(key, &mut call.session, bound, port, now).map_err(|error| {
                    self.on_unopened(&error, now);
                    NoMedia::Exhausted
                })?;
                self.sockets.insert(*port, pair);
            }
        }
        Ok(ports.iter().zip(lines).map(|(port, (_, named))| SocketAddr::new(*named, *port)).collect())
    }

    /// Opens `port` or, where another program has it, the next one that is free. A port in use goes to the end of the
    /// queue.
    fn bind_some(
        &mut self,
        key: CallKey,
        session: &mut Session,
        ip: IpAddr,
        port: &mut u16,
        now: Time,
    ) -> Result<SocketPair, Unopened> {
        for _ in 0..self.ports.free() {
            match self.bind(Owner::Call(key), ip, *port) {
                Err(Unopened::Bind(error @ BindError::InUse { .. })) => {
                    self.on_taken(&error, now);
                    let Some(other) = session.replace(*port, &mut self.ports) else {
                        return Err(error.into());
                    };
                    *port = other;
                }
                result => return result,
            }
        }
        self.bind(Owner::Call(key), ip, *port)
    }

    /// The next pseudo-random number. It is predictable, and used only where that does no harm.
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.seed
    }

    fn bind(&self, of: Owner, ip: IpAddr, port: u16) -> Result<SocketPair, Unopened> {
        if self.sockets.len() >= self.most_streams {
            return Err(Unopened::Share);
        }
        let open = |port: u16| -> Result<Socket, Unopened> {
            let bound = Socket::bind(SocketAddr::new(ip, port), Buffers::MEDIA);
            let socket = bound.map_err(|error| error.chosen_with("--rtp-ports"))?;
            let token = Token(RTP_TOKENS + usize::from(port));
            self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
            Ok(socket)
        };
        Ok(SocketPair { of, rtp: open(port)?, rtcp: open(port + 1)? })
    }

    fn close_all(&mut self, call: &mut EchoCall) {
        let closed = call.session.close(&mut self.ports);
        self.close(&closed);
    }

    /// A stream could not be opened.
    fn on_unopened(&mut self, error: &dyn Display, now: Time) {
        self.exhausted = Some(now);
        if let Some(times) = self.unopened.comes_up(now) {
            tracing::warn!(%error, times, "no RTP port of this slot can be opened; `--rtp-ports` has the range");
        }
    }

    /// Another program has a port of the range.
    fn on_taken(&mut self, error: &dyn Display, now: Time) {
        if let Some(times) = self.taken.comes_up(now) {
            tracing::warn!(%error, times, "another program has an RTP port of this slot; `--rtp-ports` has the range");
        }
    }

    /// Closes the sockets of ports that are free again. The poll forgets a descriptor that is closed.
    fn close(&mut self, ports: &[u16]) {
        for port in ports {
            // A port whose socket was never opened makes no room.
            if self.sockets.remove(port).is_some() {
                self.exhausted = None;
            }
        }
    }
}

impl station::Media for RtpMedia {
    fn is_exhausted(&self, now: Time) -> bool {
        self.ports.is_exhausted() || self.sockets.len() >= self.most_streams || self.has_failed(now)
    }

    fn has(&self, key: CallKey) -> bool {
        self.calls.contains_key(&key)
    }

    fn echo(&mut self, uas: &mut Uas, key: CallKey, offer: Option<&[u8]>, now: Time) -> bool {
        let Some(address) = uas.address(key).filter(|_| uas.is_undecided(key)) else { return false };
        let seed = self.next_seed();
        let mut call = EchoCall {
            local: Local::new(seed, address),
            bound: vec![uas.local_ip(key).unwrap_or(address)],
            session: Session::new(seed.rotate_left(29)),
            offered: offer.is_none(),
        };
        let said = match offer {
            Some(offer) => self.answer(uas, key, &mut call, offer, now),
            None => self.offer(key, &mut call, now),
        };
        match said {
            Ok(sdp) => {
                self.calls.insert(key, Box::new(call));
                uas.accept(key, Some(&sdp), now)
            }
            Err(reason) => {
                self.close_all(&mut call);
                let call_id = uas.call_id(key).unwrap_or_default();
                tracing::debug!(call_id = %quoted(call_id), %reason, "a call cannot be answered");
                match reason {
                    NoMedia::Offer(error) => uas.reject_description(key, &error, now),
                    NoMedia::Exhausted => uas.refuse(key, RefuseReason::Exhausted, now),
                    NoMedia::TooMany => uas.refuse(key, RefuseReason::Full, now),
                }
            }
        }
    }

    fn on_offer(&mut self, uas: &mut Uas, key: CallKey, offer: &[u8], now: Time) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        match self.answer(uas, key, &mut call, offer, now) {
            Ok(sdp) => uas.answer_offer(key, &sdp, now),
            Err(NoMedia::Offer(error)) => uas.reject_description(key, &error, now),
            Err(NoMedia::Exhausted | NoMedia::TooMany) => uas.reject_offer(key, 488, now),
        };
        self.calls.insert(key, call);
    }

    fn on_offer_wanted(&mut self, uas: &mut Uas, key: CallKey, now: Time) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        match self.offer(key, &mut call, now) {
            Ok(sdp) => uas.answer_offer(key, &sdp, now),
            // RFC 3261 §14.2 leaves the session as it was.
            Err(_) => uas.reject_offer(key, 500, now),
        };
        self.calls.insert(key, call);
    }

    fn on_answer(&mut self, uas: &mut Uas, key: CallKey, answer: &[u8], now: Time) {
        let Some(mut call) = self.calls.remove(&key) else { return };
        match self.capabilities.read_answer(&mut call.local, answer) {
            Ok(streams) => {
                call.offered = false;
                call.session.heard_from(uas.host_of_peer(key));
                let closed = call.session.apply(&terms_of(&streams), &mut self.ports);
                self.close(&closed);
            }
            // RFC 3261 §13.2.2.4 has a caller hang up on an unusable answer. The called side has no other way either.
            Err(reason) if call.offered => {
                let call_id = uas.call_id(key).unwrap_or_default();
                tracing::debug!(call_id = %quoted(call_id), %reason, "the answer to our offer cannot be used");
                uas.hang_up(key, now);
            }
            // An unreadable answer to a refresh: the session stays as it was.
            Err(_) => {}
        }
        self.calls.insert(key, call);
    }

    fn on_ended(&mut self, key: CallKey) {
        if let Some(mut call) = self.calls.remove(&key) {
            self.close_all(&mut call);
        }
    }

    fn carry_out(&mut self, key: ConnectionKey, ask: &Ask, now: Time) -> Told {
        self.do_for_connection(key, ask, now)
    }
}

impl EchoCall {
    /// Places streams of the other address family at `place`.
    fn bind_also(&mut self, place: MediaPlace) {
        self.local.set_other(place.named);
        self.bound.truncate(1);
        self.bound.push(place.bound);
    }

    /// The address to bind a stream's socket to when its peer is told `named`.
    fn bound_for(&self, named: IpAddr) -> IpAddr {
        self.bound.iter().copied().find(|ip| ip.is_ipv4() == named.is_ipv4()).unwrap_or(named)
    }
}

/// The echo of a packet, and its destination.
fn echo_sound<'s>(
    echo: &mut Echo,
    came: &Datagram<'_>,
    now: Time,
    out: &'s mut Vec<u8>,
) -> Option<(&'s [u8], SocketAddr)> {
    out.extend_from_slice(came.bytes);
    let echoed = echo.on_packet(out, came.source, now).ok()?;
    Some((echoed.bytes, echoed.to))
}

/// The answer to a report, if one is due, and its destination.
fn answer_report<'s>(
    echo: &mut Echo,
    came: &Datagram<'_>,
    now: Time,
    out: &'s mut Vec<u8>,
) -> Option<(&'s [u8], SocketAddr)> {
    echo.on_rtcp(came.bytes, came.source, now, out);
    (!out.is_empty()).then_some((out, came.source))
}

/// Reads and drops what waits at a socket.
fn drain(socket: &Socket, batch: &mut Batch) -> bool {
    (0..BATCHES).all(|_| socket.recv_batch(batch).is_ok_and(|read| read == batch.places()))
}
