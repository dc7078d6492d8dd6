//! The slot's sockets: what comes to them, and what leaves from them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::Token;
use mio::event::Event;

use crate::call::{Arrival, Hop, Transmit};
use crate::ids::ListenerId;
use crate::names::{self, Asked};
use crate::net::clock;
use crate::net::conns::Origin;
use crate::net::resolve::Resolver;
use crate::net::streams::{Lost, Remote, Streams};
use crate::net::tls::{Identity, client_config, server_config};
use crate::net::udp::{Batch, Socket};
use crate::station::{Application, Effect, MediaServer, Question, Station};
use crate::stream::{Received, is_alias};
use crate::time::Time;
use crate::words::{Certificates, Dispatched, Hello, PassedSocket, Port, SocketRole};
use crate::worker::media::{RTP_TOKENS, RtpMedia};
use crate::worker::own_ports;
use crate::worker::settings::Settings;
use crate::worker::shell::{Ports, Shell};
use crate::worker::sources::{RESOLVER, Sources, TURNS};

use super::held::{Exit, Held};
use super::{OWN_MGCP, OWN_UDP, SOCKETS, STREAM_TOKENS, STREAMS};

/// A name that takes longer is given up: the BYE's own time is 32 s.
const LOOKUP_WITHIN: Duration = Duration::from_secs(8);

/// The sockets of the built-in worker, but for links and media.
pub(super) struct Sockets {
    pub(super) settings: Settings,
    pub(super) own: Vec<Socket>,
    pub(super) mgcp: Vec<Socket>,
    pub(super) streams: Streams,
    pub(super) resolver: Resolver<Question>,
    pub(super) batch: Batch,
    pub(super) rtp_batch: Batch,
    pub(super) held: Held,
}

/// The process that they belong to.
type Process<A> = Shell<MediaServer<A, RtpMedia>>;

impl<A: Application> Ports<MediaServer<A, RtpMedia>> for Sockets {
    fn source_of(&mut self, event: &Event) -> Token {
        if !(STREAM_TOKENS..RTP_TOKENS).contains(&event.token().0) {
            return event.token();
        }
        self.streams.on_event(event);
        STREAMS
    }

    fn on_ready(&mut self, token: Token, shell: &mut Process<A>) -> bool {
        let now = clock::now();
        match token {
            STREAMS => {
                self.on_streams(shell, now);
                false
            }
            RESOLVER => {
                self.on_found(&mut shell.station, now);
                false
            }
            Token(token) if token >= RTP_TOKENS => {
                shell.station.sessions_mut().media_mut().on_readable(Token(token), &mut self.rtp_batch, now)
            }
            Token(token) if (OWN_UDP..OWN_UDP + SOCKETS).contains(&token) => {
                self.on_own(token - OWN_UDP, &mut shell.station)
            }
            Token(token) if (OWN_MGCP..OWN_MGCP + SOCKETS).contains(&token) => {
                self.on_own_mgcp(token - OWN_MGCP, shell)
            }
            token => {
                let sessions = shell.station.sessions();
                let carries_call = |conn| sessions.carries_call(conn);
                self.streams.accept(token, now, carries_call, |address| sessions.denies(address))
            }
        }
    }

    fn flush(&mut self, sources: &mut Sources) {
        self.streams.flush(clock::now());
        if self.streams.has_readable() {
            sources.add(STREAMS);
        }
    }

    fn carry_out(&mut self, effect: Effect, shell: &mut Process<A>, now: Time) {
        match effect {
            Effect::Sip(transmit) => self.transmit(transmit, shell, now),
            Effect::Mgcp(transmit) => self.transmit_mgcp(transmit, shell, now),
            Effect::LookUp(whose, question) => self.look_up(whose, question, &mut shell.station, now),
            Effect::Access => {
                let sessions = shell.station.sessions();
                self.streams.close_where(now, |address| sessions.denies(address));
            }
            Effect::Certificates(file) => self.set_certificates(&file, &mut shell.station),
        }
    }

    fn send_held(&mut self, shell: &mut Process<A>, now: Time) -> bool {
        self.send_all(shell, now)
    }

    fn tell_failed(&mut self, station: &mut Station<MediaServer<A, RtpMedia>>) -> bool {
        let Lost { unreached, closed, unsent } = self.streams.take_lost();
        if unreached.is_empty() && closed.is_empty() && unsent.is_empty() {
            return false;
        }
        let (sessions, now) = (station.sessions_mut(), clock::now());
        unsent.iter().for_each(|(conn, bytes)| sessions.on_unsent_on(*conn, bytes, now));
        if !closed.is_empty() {
            let closed: HashSet<u64> = closed.into_iter().collect();
            sessions.on_connections_closed(|conn| closed.contains(&conn), now);
        }
        if !unreached.is_empty() {
            let unreached: HashSet<_> = unreached.iter().map(|it| (it.to, it.name.as_deref())).collect();
            sessions.on_dialled_failed(|to, name| unreached.contains(&(to, name)), now);
        }
        true
    }

    fn handle_timeout(&mut self, shell: &mut Process<A>, now: Time) {
        let Shell { station, sources, .. } = shell;
        let sessions = station.sessions();
        self.streams.handle_timeout(now, |conn| sessions.carries_call(conn), |listener| sources.add(listener));
        self.on_found(station, now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.streams.poll_timeout().into_iter().chain(self.resolver.poll_timeout()).min()
    }

    fn hello(&self) -> Hello {
        self.settings.hello()
    }

    fn named(&self) -> Vec<Port> {
        own_ports::ports(&self.own, &self.mgcp)
    }

    fn passed(&self) -> Vec<(PassedSocket, BorrowedFd<'_>)> {
        let about = |role, address| PassedSocket { role, address, listener: None };
        let sip = self.own.iter().map(|own| (about(SocketRole::SipUdp, own.local_addr()), own.as_fd()));
        let tcp = self.streams.listeners().iter();
        let tcp = tcp.map(|own| (about(SocketRole::SipTcp, own.local_addr()), own.as_fd()));
        // The new dispatcher knows by the address which listener the socket belongs to.
        let mgcp = self.mgcp.iter().map(|own| (about(SocketRole::Mgcp, own.local_addr()), own.as_fd()));
        sip.chain(tcp).chain(mgcp).collect()
    }
}

impl Sockets {
    /// Serves TLS with these certificates from now on. Without any that can be used the port speaks TCP alone, and
    /// calls over TLS stay with the dispatcher.
    fn set_certificates<A: Application>(&mut self, file: &[u8], station: &mut Station<MediaServer<A, RtpMedia>>) {
        let told: Certificates = match serde_json::from_slice(file) {
            Ok(told) => told,
            Err(error) => return tracing::warn!(%error, "certificates that cannot be read"),
        };
        let identities: Vec<Identity> = told.identities.iter().map(Identity::told).collect();
        let key = station.dispatcher().welcome().key.clone();
        let config = match identities.is_empty() {
            true => None,
            false => server_config(&identities, key.as_ref())
                .inspect_err(|error| tracing::warn!(%error, "the port does not speak TLS"))
                .ok(),
        };
        station.sessions_mut().set_secure(config.is_some(), told.contact_name.as_deref());
        let caller = config.as_ref().and_then(|_| {
            let caller = client_config(&identities);
            caller.inspect_err(|error| tracing::warn!(%error, "nobody is called over TLS")).ok()
        });
        self.streams.set_tls(config, caller);
    }

    /// Datagrams at the slot's own port.
    fn on_own<A: Application>(&mut self, number: usize, station: &mut Station<MediaServer<A, RtpMedia>>) -> bool {
        let Some(socket) = self.own.get(number) else { return false };
        for _ in 0..TURNS {
            let read = match socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the slot's own port");
                    return false;
                }
            };
            let now = clock::now();
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                station.sessions_mut().on_sip(datagram.bytes, arrival, now);
            }
            if read < self.batch.places() {
                return false;
            }
        }
        true
    }

    /// Datagrams at the slot's own MGCP port.
    fn on_own_mgcp<A: Application>(&mut self, number: usize, shell: &mut Process<A>) -> bool {
        for _ in 0..TURNS {
            let Some(socket) = self.mgcp.get(number) else { return false };
            let read = match socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the slot's own MGCP port");
                    return false;
                }
            };
            let now = clock::now();
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                shell.station.sessions_mut().on_mgcp(datagram.bytes, arrival, now);
            }
            let more = read == self.batch.places();
            shell.carry_out(self);
            if !more {
                return false;
            }
        }
        true
    }

    /// Messages on stream connections, as many as there is time for.
    fn on_streams<A: Application>(&mut self, shell: &mut Process<A>, now: Time) {
        let Shell { station, sources, .. } = shell;
        self.streams.read(now, || sources.has_time(), &mut |origin, received| {
            let Origin { key, ends, transport, certificate } = origin;
            let arrival = Arrival::stream(key.number(), transport, (ends.remote, ends.local), 1);
            match received {
                Received::Message(bytes) => {
                    let arrival = Arrival { alias: is_alias(bytes, certificate), ..arrival };
                    station.sessions_mut().on_sip(bytes, arrival, now);
                }
                Received::Faulty(head, fault) => station.sessions_mut().on_faulty(head, fault, arrival, now),
            }
        });
    }

    /// Sends a message. A request without a route goes to its next address, if it has one.
    fn transmit<A: Application>(&mut self, transmit: Transmit, shell: &mut Process<A>, now: Time) {
        let Transmit { hop, to, ref peer, from, ref bytes } = transmit;
        let sessions = shell.station.sessions();
        let carries_call = |conn| sessions.carries_call(conn);
        let exit = match hop {
            Hop::Own(number) => Some(Exit::Sip(number)),
            Hop::Permitted(number, permit) => {
                let (listener, from) = (ListenerId(number), from.unwrap_or(to.ip()));
                return shell.station.send(number, Dispatched { listener, to, from, permit, bytes });
            }
            Hop::Listener(number) if shell.duplicates.get(number).is_some() => Some(Exit::SipListener(number)),
            // A listener that a new dispatcher has given up: from our own port then, as if `reply-from` said so.
            Hop::Listener(_) => own_towards(&self.own, to).map(Exit::Sip),
            Hop::Stream(conn) => return self.streams.send(conn, bytes, now),
            Hop::Dial => return self.streams.dial(Remote { to, name: None }, bytes, now, carries_call),
            Hop::DialSecure => {
                let Some(name) = peer.clone() else { return };
                return self.streams.dial(Remote { to, name: Some(name) }, bytes, now, carries_call);
            }
            Hop::Dispatcher(to) => return shell.station.reply(to, bytes),
            Hop::Gone => return,
        };
        self.hold(exit, transmit, shell, now);
    }

    fn transmit_mgcp<A: Application>(&mut self, transmit: Transmit, shell: &mut Process<A>, now: Time) {
        let exit = match transmit.hop {
            Hop::Dispatcher(to) => return shell.station.reply(to, &transmit.bytes),
            Hop::Own(number) => Some(Exit::Mgcp(number)),
            Hop::Listener(number) if shell.duplicates.get(number).is_some() => Some(Exit::MgcpListener(number)),
            // A listener that a new dispatcher has given up: from our own port then.
            Hop::Listener(_) => own_towards(&self.mgcp, transmit.to).map(Exit::Mgcp),
            // MGCP runs over UDP alone, and its answers need not leave from the port that a command came to.
            Hop::Permitted(..) | Hop::Stream(_) | Hop::Dial | Hop::DialSecure | Hop::Gone => None,
        };
        self.hold(exit, transmit, shell, now);
    }

    /// Holds a datagram back for those after it, if it has a socket to leave by.
    fn hold<A: Application>(&mut self, exit: Option<Exit>, transmit: Transmit, shell: &mut Process<A>, now: Time) {
        if exit.is_some_and(|exit| self.held.push(exit, transmit)) {
            self.send_all(shell, now);
        }
    }

    /// Sends the datagrams that are held back; true when the station was told that a route is missing.
    fn send_all<A: Application>(&mut self, shell: &mut Process<A>, now: Time) -> bool {
        let (Sockets { own, mgcp, held, .. }, Shell { station, duplicates, .. }) = (self, shell);
        let socket_of = |exit| match exit {
            Exit::Sip(number) => own.get(usize::from(number)),
            Exit::Mgcp(number) => mgcp.get(usize::from(number)),
            Exit::SipListener(number) | Exit::MgcpListener(number) => duplicates.get(number),
        };
        let mut has_told = false;
        held.send(socket_of, |bytes| {
            station.sessions_mut().on_unsent(bytes, now);
            has_told = true;
        });
        has_told
    }

    /// Looks up the address that a message goes to.
    fn look_up<A: Application>(
        &mut self,
        whose: Question,
        question: names::Question,
        station: &mut Station<MediaServer<A, RtpMedia>>,
        now: Time,
    ) {
        match self.resolver.ask(whose, question, now + LOOKUP_WITHIN, now) {
            Ok(Asked::Now(endpoint)) => station.sessions_mut().on_found(whose, &[endpoint], now),
            Ok(Asked::Later) => {}
            Err(error) => {
                tracing::debug!(%error, "a message cannot be sent");
                station.sessions_mut().on_found(whose, &[], now);
            }
        }
    }

    fn on_found<A: Application>(&mut self, station: &mut Station<MediaServer<A, RtpMedia>>, now: Time) {
        while let Some(answer) = self.resolver.poll(now) {
            let servers = answer.found.unwrap_or_else(|error| {
                tracing::debug!(%error, "a message cannot be sent");
                Vec::new()
            });
            let endpoints: Vec<names::Endpoint> = servers.iter().map(|server| server.endpoint).collect();
            station.sessions_mut().on_found(answer.key, &endpoints, now);
        }
    }
}

/// The number of the socket of our own whose address family is that of `to`.
fn own_towards(own: &[Socket], to: SocketAddr) -> Option<u16> {
    own.iter().position(|own| own.local_addr().is_ipv4() == to.is_ipv4()).map(|number| number as u16)
}
