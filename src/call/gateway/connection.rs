//! Connections: each is one stream between an endpoint and a remote end, under an id that no other connection ever has.

use std::fmt;
use std::net::IpAddr;

use crate::call::gateway::Gateway;
use crate::call::gateway::description::Description;
use crate::call::gateway::exchange::{ConnectionKey, EndpointKey, Flow, Sound};
use crate::call::gateway::kind::Kind;
use crate::call::gateway::listening::Hearing;
use crate::call::gateway::measuring::Measurings;
use crate::call::gateway::mode;
use crate::call::gateway::remote::Remote;
use crate::call::gateway::terms::Terms;
use crate::call::gateway::wanted::Wanted;
use crate::call::strangers::Claim;
use crate::reservation::Seat;
use crate::time::Time;
use crate::wire::mgcp::{ConnectionMode, ReturnCode};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) endpoint: EndpointKey,
    /// The call id, as the call agent wrote it.
    pub(super) call: Box<[u8]>,
    pub(super) size: u32,
    /// Units it takes that its call agent has not yet shown to know of.
    pub(super) claim: Claim,
    /// Its place in a conference, whose reservation it shares.
    pub(super) seat: Option<Seat>,
    /// The other connection of its CRCX. Both are one session, which keeps its weight until both are gone.
    pub(super) other: Option<ConnectionKey>,
    /// The address its sockets are bound to.
    pub(super) local: IpAddr,
    /// Its RTP port; 0 until it is open.
    pub(super) port: u16,
    pub(super) description: Description,
    pub(super) settings: Settings,
    /// The flow that the media was last asked to carry.
    pub(super) flow: Flow,
    /// Whether a packet has come to it.
    pub(super) hearing: Hearing,
    /// Whether its call agent may not know of it.
    pub(super) is_doubtful: bool,
    /// The measurement.
    pub(super) measurings: Measurings,
    /// Number of packets that had come when the media was last asked for a sign of life.
    pub(super) packets: u64,
}

/// The settings that MDCX can change.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) mode: ConnectionMode,
    pub(super) wanted: Wanted,
    pub(super) remote: Option<Remote>,
    pub(super) terms: Terms,
}

/// A connection's id: the worker's token in hexadecimal, eight digits of a counter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionId([u8; ConnectionId::LEN], u8);

impl ConnectionId {
    /// RFC 3435 §2.1.3.2: at most 32 hexadecimal digits.
    const LEN: usize = 32;

    pub(super) fn new(hex: &str, number: u32) -> Self {
        let text = format!("{hex}{number:08x}");
        let mut digits = [0; ConnectionId::LEN];
        let length = text.len().min(digits.len());
        digits.iter_mut().zip(text.bytes()).for_each(|(digit, byte)| *digit = byte);
        ConnectionId(digits, length as u8)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.get(..usize::from(self.1)).unwrap_or_default()
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl Gateway {
    /// The connection with this id on this endpoint.
    pub(super) fn find_connection(&self, endpoint: EndpointKey, id: &[u8]) -> Result<ConnectionKey, ReturnCode> {
        self.connection_of_id(id)
            .filter(|key| self.connections.get(*key).is_some_and(|connection| connection.endpoint == endpoint))
            .ok_or(ReturnCode::INCORRECT_CONNECTION)
    }

    /// The connection with this id, on any endpoint. Ids are compared without regard to case.
    pub(super) fn connection_of_id(&self, id: &[u8]) -> Option<ConnectionKey> {
        let (hex, number) = id.split_at_checked(self.identity.hex.len()).filter(|(_, number)| number.len() == 8)?;
        if !hex.eq_ignore_ascii_case(self.identity.hex.as_bytes()) || !number.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let number = u32::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()?;
        self.by_id.get(&number).copied()
    }

    /// An id that no connection has had.
    pub(super) fn next_connection(&mut self) -> u32 {
        // The ids start over after four thousand million connections; ids of existing connections are skipped.
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            if !self.by_id.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }

    /// The flow that the media of a connection of `endpoint` with these settings carries.
    pub(super) fn flow(&self, endpoint: EndpointKey, key: Option<ConnectionKey>, settings: &Settings) -> Flow {
        let sound = match self.partner(endpoint, key) {
            _ if mode::is_echo(settings.mode) => Sound::Echo,
            Some(partner) => Sound::Connection(partner),
            None => Sound::Silence,
        };
        Flow {
            remote: settings.remote.as_ref().and_then(|remote| remote.address),
            payloads: settings.terms.payloads,
            ptime: settings.terms.ptime,
            direction: mode::direction(settings.mode),
            sound,
        }
    }

    /// The connection that a bridge's connection exchanges sound with; `None` if that one is set to echo its own sound.
    fn partner(&self, endpoint: EndpointKey, key: Option<ConnectionKey>) -> Option<ConnectionKey> {
        let endpoint = self.endpoints.get(endpoint).filter(|endpoint| endpoint.kind == Kind::Bridge)?;
        let partner = endpoint.connections.iter().copied().find(|other| Some(*other) != key)?;
        let is_echo = mode::is_echo(self.connections.get(partner)?.settings.mode);
        (!is_echo).then_some(partner)
    }

    /// The terms of the connection on the other side of a bridge: both must share a sound format.
    pub(super) fn partner_terms(&self, endpoint: EndpointKey, key: Option<ConnectionKey>) -> Option<Terms> {
        let endpoint = self.endpoints.get(endpoint).filter(|endpoint| endpoint.kind == Kind::Bridge)?;
        let partner = endpoint.connections.iter().copied().find(|other| Some(*other) != key)?;
        Some(self.connections.get(partner)?.settings.terms)
    }

    /// Tells the media of an endpoint's connections their new flows, if they have changed.
    pub(super) fn refresh_flows(&mut self, endpoint: EndpointKey) {
        let keys = self.endpoints.get(endpoint).map(|endpoint| endpoint.connections.clone()).unwrap_or_default();
        for key in keys {
            let Some(connection) = self.connections.get(key) else { continue };
            let flow = self.flow(endpoint, Some(key), &connection.settings);
            if flow != connection.flow {
                self.ask_change(key, flow);
            }
        }
    }

    /// A connection stands: it can be found, and its call id is this worker's.
    pub(super) fn open_connection(&mut self, key: ConnectionKey, now: Time) {
        let Some(connection) = self.connections.get(key) else { return };
        let (endpoint, call) = (connection.endpoint, connection.call.clone());
        if let Some(number) = number_of(&connection.id) {
            self.by_id.insert(number, key);
        }
        self.accompany(endpoint, key);
        self.calls_opened(&call, now);
    }

    /// Takes a connection out of all tables and frees its units.
    pub(super) fn remove_connection(&mut self, key: ConnectionKey) {
        self.believe_in(key);
        self.unclaim(key);
        let Some(connection) = self.connections.remove(key) else { return };
        match connection.other.and_then(|other| self.connections.get_mut(other)) {
            Some(heir) => heir.size = heir.size.saturating_add(connection.size),
            None => self.load.units_used = self.load.units_used.saturating_sub(self.vacate(&connection)),
        }
        self.load.sessions = self.connections.len() as u32;
        let standing = number_of(&connection.id).and_then(|number| self.by_id.remove(&number));
        if standing.is_none() {
            return;
        }
        if let Some(endpoint) = self.endpoints.get_mut(connection.endpoint) {
            endpoint.connections.retain(|other| *other != key);
        }
        self.events.forget_connection(connection.endpoint, connection.id.as_bytes());
        self.calls_closed(&connection.call);
        self.refresh_flows(connection.endpoint);
    }
}

impl Gateway {
    /// Frees the units of a connection that is gone; returns their number.
    fn vacate(&mut self, connection: &Connection) -> u32 {
        let Some(seat) = connection.seat else { return connection.size };
        // The units of a conference were freed together with its endpoint.
        let Some(endpoint) = self.endpoints.get_mut(connection.endpoint) else { return 0 };
        let stood = number_of(&connection.id).is_some_and(|number| self.by_id.contains_key(&number));
        if stood { endpoint.reservation.leave(seat) } else { endpoint.reservation.withdraw(seat) }
    }
}

fn number_of(id: &ConnectionId) -> Option<u32> {
    let digits = id.as_bytes();
    let digits = digits.get(digits.len().checked_sub(8)?..)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
