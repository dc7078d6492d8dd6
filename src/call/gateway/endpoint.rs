//! Endpoints: their names, the endpoints that a name means, and their lifetime.
//!
//! An endpoint is called `KIND/TOKEN/N@DOMAIN`: the kind as the call agent named it, the worker's token, a number that
//! is never used again. It is made by a CRCX for any endpoint of a kind, and is gone with its last connection and
//! request.

use crate::call::exchange::{Arrival, Path};
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::exchange::{ConnectionKey, EndpointKey};
use crate::call::gateway::identity::Naming;
use crate::call::gateway::kind::Kind;
use crate::call::gateway::{Gateway, Timer};
use crate::reservation::Reservation;
use crate::time::Time;
use crate::wire::mgcp::{EndpointName, ReturnCode, Wildcard};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// Its whole name, as it was told to the call agent that made it.
    pub(super) name: Box<str>,
    pub(super) connections: Vec<ConnectionKey>,
    /// The units of a conference's connections.
    pub(super) reservation: Reservation,
    /// The encoding that EPCF has set (RFC 3435 §2.3.2).
    pub(super) coding: Coding,
    /// When a command last named it, or a packet came to a connection of it.
    pub(super) alive: Time,
    /// The time since which it has no connection.
    pub(super) lonely_since: Option<Time>,
    /// Whether it is filed with the wheel.
    pub(super) is_timed: bool,
}

/// The endpoint that a CRCX is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EndpointChoice {
    /// One that exists.
    Here(EndpointKey),
    /// A new one.
    New(Kind, NewName),
}

/// The call agent's parts of a new endpoint's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewName {
    /// The kind, or an alias of it, as the call agent wrote it.
    term: Box<str>,
    domain: Box<str>,
}

impl Gateway {
    /// Finds the endpoint of a name without wildcards. Domains are not compared: the token shows which worker the name
    /// belongs to, and a call agent may reach this worker by several domains.
    pub(super) fn find_endpoint(&self, name: &EndpointName<'_>) -> Option<EndpointKey> {
        let key = *self.by_number.get(&number_of(name)?)?;
        let endpoint = self.endpoints.get(key)?;
        local_of(&endpoint.name).eq_ignore_ascii_case(name.local()).then_some(key)
    }

    /// The one endpoint that a command names: RFC 3435 lets only some commands name several.
    pub(super) fn one_endpoint(&self, name: &EndpointName<'_>) -> Result<EndpointKey, ReturnCode> {
        self.find_endpoint(name).ok_or(ReturnCode::ENDPOINT_UNKNOWN)
    }

    /// Whether a name stands for all endpoints that it covers: `*`, or a range of numbers (RFC 3435 §2.1.2, E.5).
    pub(super) fn is_many(name: &EndpointName<'_>) -> bool {
        name.wildcard() == Wildcard::AllOf || name.wildcard() == Wildcard::None && name.local().ends_with(b"]")
    }

    /// The endpoints that a name with wildcards or ranges covers, in the order they were made.
    pub(super) fn covered(&self, name: &EndpointName<'_>) -> Vec<EndpointKey> {
        let keys = self.by_number.values().copied();
        keys.filter(|key| {
            let endpoint = self.endpoints.get(*key);
            let theirs = endpoint.and_then(|endpoint| EndpointName::parse(endpoint.name.as_bytes()));
            theirs.is_some_and(|theirs| name.covers(&theirs))
        })
        .collect()
    }

    /// The endpoint for the connection of a CRCX. `*` is taken for `$`: call agents send it, and mean any endpoint.
    pub(super) fn choose_endpoint(
        &self,
        name: &EndpointName<'_>,
        arrival: &Arrival,
    ) -> Result<EndpointChoice, ReturnCode> {
        if name.wildcard() == Wildcard::None {
            return self.one_endpoint(name).map(EndpointChoice::Here);
        }
        let is_wild = |term: &[u8]| matches!(term, b"$" | b"*");
        let first = name.terms().next().filter(|term| !is_wild(term));
        let (kind, written) = match first {
            None => (Kind::Ivr, Kind::Ivr.term().as_bytes()),
            Some(_) => self.kind_of(name).ok_or(ReturnCode::ENDPOINT_UNKNOWN)?,
        };
        let many = if first.is_some() { written.split(|byte| *byte == b'/').count() } else { 1 };
        let mut terms = name.terms().skip(many);
        let is_ours = |term: &[u8]| term.eq_ignore_ascii_case(self.identity.token.as_bytes());
        let is_valid = match (terms.next(), terms.next(), terms.next()) {
            (None, ..) => true,
            (Some(second), None, _) => is_wild(second),
            (Some(second), Some(third), None) => (is_wild(second) || is_ours(second)) && is_wild(third),
            _ => false,
        };
        if !is_valid {
            return Err(ReturnCode::ENDPOINT_UNKNOWN);
        }
        let written = std::str::from_utf8(written).unwrap_or(kind.term());
        let name = NewName { term: written.into(), domain: self.domain(name, arrival).into() };
        Ok(EndpointChoice::New(kind, name))
    }

    /// Makes a new endpoint; `None` when there are too many.
    pub(super) fn make_endpoint(&mut self, kind: Kind, name: &NewName, now: Time) -> Option<EndpointKey> {
        if self.endpoints.is_full() {
            self.let_go_of_lonely();
        }
        let number = self.next_number;
        let name = format!("{}/{}/{number}@{}", name.term, self.identity.token, name.domain).into();
        let endpoint = Endpoint {
            kind,
            number,
            name,
            connections: Vec::new(),
            reservation: Reservation::default(),
            coding: Coding::default(),
            alive: now,
            lonely_since: Some(now),
            is_timed: false,
        };
        let key = self.endpoints.insert(endpoint)?;
        self.next_number += 1;
        self.by_number.insert(number, key);
        Some(key)
    }

    /// Removes an endpoint if it has lost its last connection and its last request.
    pub(super) fn release(&mut self, key: EndpointKey, now: Time) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        if !endpoint.connections.is_empty() {
            return;
        }
        let since = *endpoint.lonely_since.get_or_insert(now);
        if !self.events.is_active(key) {
            return self.remove_endpoint(key);
        }
        self.lonely.insert((since, key));
        if let Some(endpoint) = self.endpoints.get_mut(key)
            && !std::mem::replace(&mut endpoint.is_timed, true)
        {
            self.wheel.schedule(now + LOOK_AGAIN, Timer::Lonely(key));
        }
        if self.lonely.len() > LONELY {
            self.let_go_of_lonely();
        }
    }

    /// Looks again at an endpoint that only its requests hold.
    pub(super) fn on_lonely(&mut self, key: EndpointKey, now: Time) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.is_timed = false;
        if let Some(since) = endpoint.lonely_since
            && self.lonely.remove(&(since, key))
        {
            self.release(key, now);
        }
    }

    /// A connection has come to an endpoint.
    pub(super) fn accompany(&mut self, key: EndpointKey, connection: ConnectionKey) {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return };
        endpoint.connections.push(connection);
        if let Some(since) = endpoint.lonely_since.take() {
            self.lonely.remove(&(since, key));
        }
    }

    /// Makes room: removes the endpoint that has been without connections the longest, with its requests.
    fn let_go_of_lonely(&mut self) {
        if let Some((_, key)) = self.lonely.pop_first() {
            self.remove_endpoint(key);
        }
    }

    pub(super) fn remove_endpoint(&mut self, key: EndpointKey) {
        let Some(endpoint) = self.endpoints.remove(key) else { return };
        self.by_number.remove(&endpoint.number);
        self.load.units_used = self.load.units_used.saturating_sub(endpoint.reservation.units());
        if let Some(since) = endpoint.lonely_since {
            self.lonely.remove(&(since, key));
        }
        self.events.forget(key);
    }

    /// The kind that a name begins with, as the name writes it. An alias may have several terms; the longest match
    /// counts.
    fn kind_of<'n>(&self, name: &EndpointName<'n>) -> Option<(Kind, &'n [u8])> {
        let local = name.local();
        let beginning = |text: &str| {
            let (start, rest) = local.split_at_checked(text.len())?;
            let is_it = start.eq_ignore_ascii_case(text.as_bytes()) && matches!(rest.first(), None | Some(b'/'));
            is_it.then_some(start)
        };
        let kinds = Kind::ALL.into_iter().filter_map(|kind| Some((kind, beginning(kind.term())?)));
        let aliases = self.identity.aliases.iter().filter_map(|(alias, kind)| Some((*kind, beginning(alias)?)));
        kinds.chain(aliases).max_by_key(|(_, written)| written.len())
    }

    /// The domain, after the `@`, of an endpoint that this command makes.
    fn domain(&self, name: &EndpointName<'_>, arrival: &Arrival) -> String {
        let naming = match arrival.path {
            Path::Handoff { listener, .. } => self.identity.naming.get(usize::from(listener.0)),
            Path::Own(socket) => self.identity.own_naming.get(usize::from(socket)),
            Path::Stream(_) => None,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match naming {
            None | Some(Naming::Relay) => text(name.domain_as_written()),
            Some(Naming::Domain(domain)) => domain.to_string(),
            Some(Naming::Port) => {
                let socket = self.identity.own_socket(arrival.local.ip());
                let own = self.identity.own.get(usize::from(socket));
                let named = text(name.domain());
                match own
                    .map(|own| format!("{named}:{}", own.port()))
                    .filter(|domain| domain.len() <= EndpointName::MAX)
                {
                    Some(domain) => domain,
                    None => named,
                }
            }
        }
    }
}

/// At most this many endpoints are held by requests alone: call agents that forget their requests must not fill the
/// table.
const LONELY: usize = 2_000;
/// Endpoints that only their requests hold are looked at at this interval.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The number in the name of an endpoint.
pub(super) fn number_of(name: &EndpointName<'_>) -> Option<u64> {
    // An alias for the kind may have several terms: the token and the number are the last two.
    let number = name.terms().next_back().filter(|_| name.terms().nth(2).is_some());
    number.and_then(decimal)
}

/// The part of a name before the `@`.
fn local_of(name: &str) -> &[u8] {
    name.rsplit_once('@').map_or(name, |(local, _)| local).as_bytes()
}

/// A number without leading zeros: another spelling would be another name.
fn decimal(term: &[u8]) -> Option<u64> {
    if term.first() == Some(&b'0') || !term.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(term).ok()?.parse().ok()
}
