//! CreateConnection (RFC 3435 §2.3.5).

use std::net::SocketAddr;

use crate::call::exchange::{Arrival, Path};
use crate::call::gateway::answer::{Answer, Denial};
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::calls::call_id;
use crate::call::gateway::connection::{Connection, ConnectionId, Settings};
use crate::call::gateway::description::Description;
use crate::call::gateway::embedded::Embedded;
use crate::call::gateway::endpoint::EndpointChoice;
use crate::call::gateway::exchange::{Ask, ConnectionKey, EndpointKey, Told};
use crate::call::gateway::kind::Kind;
use crate::call::gateway::listening::Hearing;
use crate::call::gateway::measuring::Measurings;
use crate::call::gateway::mode;
use crate::call::gateway::remote::Remote;
use crate::call::gateway::terms::{Sides, Terms};
use crate::call::gateway::wanted::Wanted;
use crate::call::gateway::{Gateway, Job};
use crate::call::strangers::Claim;
use crate::reservation::Weight;
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, ConnectionMode, EndpointName, Field, ReturnCode, Wildcard};
use crate::words::RefuseReason;

/// A CRCX whose connections are being opened.
#[derive(Debug)]
pub(super) struct Creation {
    transaction: TransactionKey,
    first: End,
    /// The connection on the second endpoint; the first one is joined with it.
    second: Option<End>,
    embedded: Embedded,
    arrival: Arrival,
}

/// One of the connections of a CRCX.
#[derive(Debug)]
struct End {
    connection: ConnectionKey,
    endpoint: EndpointKey,
    /// Whether the endpoint was made for it.
    is_new: bool,
    /// Whether the call agent has to be told the endpoint's name.
    was_wild: bool,
}

impl Creation {
    fn ends(&self) -> impl Iterator<Item = &End> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

/// The request for one of the connections.
struct ConnectionRequest<'a> {
    choice: EndpointChoice,
    was_wild: bool,
    call: &'a [u8],
    settings: Settings,
    size: u32,
    /// Its weight as a leg of a conference, if the endpoint is one. The two connections of one CRCX are a session of
    /// their own.
    leg: Option<Weight>,
}

impl Gateway {
    pub(super) fn on_crcx(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let call = call_id(command.call_id())?;
        let mode = mode::parse(command.param(Field::ConnectionMode).ok_or(ReturnCode::PROTOCOL_ERROR)?)?;
        let wanted = Wanted::default().with(command.param(Field::LocalConnectionOptions))?;
        let remote = Remote::of(command, self.public_ip(arrival))?;
        let second = self.second_choice(command, arrival)?;
        if second.is_some() && remote.is_some() {
            // RFC 3435 §2.3.5: the command either describes the other end or names it.
            return Err(ReturnCode::PROTOCOL_ERROR.into());
        }
        if second.is_none() && remote.is_none() && mode::needs_remote(mode) {
            return Err(ReturnCode::NO_DESCRIPTION.into());
        }
        let choice = self.choose_endpoint(&command.endpoint(), arrival)?;
        let belongs_here = arrival.follows || matches!(choice, EndpointChoice::Here(_)) || self.has_call(call);
        self.check_service(belongs_here)?;
        if let Some((EndpointChoice::Here(second), _)) = &second
            && choice == EndpointChoice::Here(*second)
        {
            // Both connections on one endpoint would pass sound round in a circle: each sends on to the other what it
            // receives.
            return Err(ReturnCode::UNSUPPORTED_PARAMETER.into());
        }
        let coding = command.param(Field::BearerInformation).map(Coding::parse).transpose()?;
        let terms = self.first_terms(&choice, &wanted, remote.as_ref(), coding)?;
        let (kind, existing) = match &choice {
            EndpointChoice::Here(key) => {
                (self.endpoints.get(*key).map_or(Kind::Ivr, |endpoint| endpoint.kind), Some(*key))
            }
            EndpointChoice::New(kind, _) => (*kind, None),
        };
        let embedded = self.check_embedded(command, existing, kind)?;
        // A session weighs at least one unit, and the two connections of one CRCX are one session.
        let size = arrival.size.max(1);
        let half = if second.is_some() { size / 2 } else { 0 };
        let first = ConnectionRequest {
            choice,
            was_wild: command.endpoint().wildcard() != Wildcard::None,
            call,
            settings: Settings { mode, wanted: wanted.clone(), remote, terms },
            size: size - half,
            leg: second.is_none().then_some(Weight { units: size, ..arrival.weight() }),
        };
        // RFC 3435 §2.3.5: the mode is that of the first connection.
        let second = match second {
            None => None,
            Some((choice, was_wild)) => {
                let other =
                    Remote { address: None, payloads: terms.payloads, ptime: Some(terms.ptime), text: [].into() };
                let terms = self.first_terms(&choice, &wanted, Some(&other), None)?;
                let settings = Settings { mode: ConnectionMode::SendRecv, wanted, remote: None, terms };
                Some(ConnectionRequest { choice, was_wild, call, settings, size: half, leg: None })
            }
        };
        self.check_room(&first, second.as_ref(), size)?;
        let first = self.make_end(first, arrival, now)?;
        let second = second.map(|second| self.make_second_end(second, &first, arrival, now)).transpose()?;
        let creation = Creation { transaction, first, second, embedded, arrival: *arrival };
        let first = creation.first.connection;
        self.open(creation, first, now);
        Ok(())
    }

    /// The media has answered for a connection of a CRCX.
    pub(super) fn on_creating(&mut self, creation: Creation, key: ConnectionKey, told: Told, now: Time) {
        let Told::Opened(port) = told else { return self.undo_creation(&creation, Some(key), now) };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.port = port;
            let Terms { payloads, ptime } = connection.settings.terms;
            connection.description.say(port, &payloads, ptime);
        }
        match &creation.second {
            Some(second) if second.connection != key => {
                let second = second.connection;
                self.join(second, key);
                self.open(creation, second, now);
            }
            _ => self.created(creation, now),
        }
    }

    fn created(&mut self, creation: Creation, now: Time) {
        let stands =
            |end: &End| self.connections.get(end.connection).is_some() && self.endpoints.get(end.endpoint).is_some();
        if !creation.ends().all(stands) {
            // A connection was lost while the media was being opened.
            return self.undo_creation(&creation, None, now);
        }
        let Creation { transaction, first, second, embedded, arrival } = creation;
        if let Some(second) = &second {
            self.join(first.connection, second.connection);
        }
        let mut answer = Answer::new(ReturnCode::OK);
        self.load.answered += 1;
        for end in std::iter::once(&first).chain(&second) {
            self.open_connection(end.connection, now);
            self.watch_silence(end.connection, now);
            if arrival.again {
                self.doubt(end.connection, now);
            }
        }
        for end in std::iter::once(&first).chain(&second) {
            self.refresh_flows(end.endpoint);
            self.listen(end.endpoint, now);
            self.measure(end.endpoint, now);
        }
        let before = self.apply_embedded(embedded, first.endpoint, Some(first.connection), &arrival, now);
        if let Some(connection) = self.connections.get(first.connection) {
            answer = answer.param(Field::ConnectionId, connection.id.as_bytes());
        }
        if let Some(endpoint) = self.endpoints.get(first.endpoint).filter(|_| first.was_wild) {
            answer = answer.param(Field::SpecificEndpointId, endpoint.name.as_bytes());
        }
        if let Some(second) = &second {
            if let Some(connection) = self.connections.get(second.connection) {
                answer = answer.param(Field::SecondConnectionId, connection.id.as_bytes());
            }
            if let Some(endpoint) = self.endpoints.get(second.endpoint).filter(|_| second.was_wild) {
                answer = answer.param(Field::SecondEndpointId, endpoint.name.as_bytes());
            }
        }
        if let Some(connection) = self.connections.get(first.connection) {
            answer = answer.description(connection.description.text());
        }
        self.answer(transaction, &answer.after(before), now);
    }

    fn undo_creation(&mut self, creation: &Creation, failed: Option<ConnectionKey>, now: Time) {
        for end in creation.ends() {
            let is_open = self.connections.get(end.connection).is_some_and(|connection| connection.port != 0);
            if is_open && Some(end.connection) != failed {
                self.ask_close(end.connection);
            }
        }
        creation.second.iter().chain([&creation.first]).for_each(|end| self.undo_end(end));
        let denial = Denial::back(ReturnCode::RESOURCES_NOT_NOW, RefuseReason::Exhausted);
        self.deny(creation.transaction, denial, now);
    }

    /// The second endpoint, and whether it was named by a wildcard.
    fn second_choice(
        &self,
        command: &Command<'_>,
        arrival: &Arrival,
    ) -> Result<Option<(EndpointChoice, bool)>, ReturnCode> {
        let Some(name) = command.param(Field::SecondEndpointId) else { return Ok(None) };
        let name = EndpointName::parse(name).ok_or(ReturnCode::PROTOCOL_ERROR)?;
        Ok(Some((self.choose_endpoint(&name, arrival)?, name.wildcard() != Wildcard::None)))
    }

    /// The terms of a connection that begins; `coding` is what the command sets on its endpoint.
    fn first_terms(
        &self,
        choice: &EndpointChoice,
        wanted: &Wanted,
        remote: Option<&Remote>,
        coding: Option<Coding>,
    ) -> Result<Terms, ReturnCode> {
        let (partner, before) = match choice {
            EndpointChoice::Here(key) => {
                (self.partner_terms(*key, None), self.endpoints.get(*key).map(|endpoint| endpoint.coding))
            }
            EndpointChoice::New(..) => (None, None),
        };
        let coding = coding.or(before).unwrap_or_default();
        Sides { wanted, remote, before: Terms::default(), partner, coding }.agree()
    }

    /// Whether new connections are made; `belongs_here`: this one can be made nowhere else.
    fn check_service(&self, belongs_here: bool) -> Result<(), Denial> {
        if self.stopped {
            return Err(Denial::back(ReturnCode::ENDPOINT_RESTARTING_NOW, RefuseReason::Draining));
        }
        if self.draining && !belongs_here {
            return Err(Denial::back(ReturnCode::RESOURCES_NOT_NOW, RefuseReason::Draining));
        }
        Ok(())
    }

    /// Whether there is room for everything that a CRCX asks for.
    fn check_room(
        &self,
        first: &ConnectionRequest<'_>,
        second: Option<&ConnectionRequest<'_>>,
        size: u32,
    ) -> Result<(), Denial> {
        let ends = || std::iter::once(first).chain(second);
        let on = |key: EndpointKey| ends().filter(|end| end.choice == EndpointChoice::Here(key)).count();
        for end in ends() {
            let EndpointChoice::Here(key) = end.choice else { continue };
            let Some(endpoint) = self.endpoints.get(key) else { continue };
            let most = if endpoint.kind == Kind::Bridge { 2 } else { self.limits.connections_per_endpoint };
            if endpoint.connections.len() + on(key) > most {
                return Err(ReturnCode::CONNECTION_LIMIT.into());
            }
        }
        if self.cost(first, size) > self.limits.units.saturating_sub(self.units_counted()) {
            return Err(Denial::back(ReturnCode::RESOURCES_NOT_NOW, RefuseReason::Full));
        }
        if self.connections.len() + ends().count() > self.limits.connections {
            return Err(Denial::back(ReturnCode::RESOURCES_NOT_NOW, RefuseReason::Exhausted));
        }
        Ok(())
    }

    fn make_end(&mut self, request: ConnectionRequest<'_>, arrival: &Arrival, now: Time) -> Result<End, Denial> {
        let (endpoint, is_new) = match request.choice {
            EndpointChoice::Here(key) if self.endpoints.get(key).is_none() => {
                // The endpoint was removed to make room for the first one.
                return Err(ReturnCode::ENDPOINT_UNKNOWN.into());
            }
            EndpointChoice::Here(key) => (key, false),
            EndpointChoice::New(kind, name) => {
                // RFC 3435 §2.4: the endpoint that was asked for does not exist, and cannot be made.
                let none = Denial::back(ReturnCode::NO_ENDPOINT, RefuseReason::Exhausted);
                (self.make_endpoint(kind, &name, now).ok_or(none)?, true)
            }
        };
        let number = self.next_connection();
        let id = ConnectionId::new(&self.identity.hex, number);
        let session = self.number(b's');
        let connection = Connection {
            id,
            endpoint,
            call: request.call.into(),
            size: request.size,
            claim: Claim::None,
            seat: None,
            other: None,
            local: arrival.local.ip(),
            port: 0,
            description: Description::new(session, self.public_ip(arrival)),
            flow: self.flow(endpoint, None, &request.settings),
            settings: request.settings,
            hearing: Hearing::Unasked,
            is_doubtful: false,
            measurings: Measurings::default(),
            packets: 0,
        };
        let Some(connection) = self.connections.insert(connection) else {
            if is_new {
                self.remove_endpoint(endpoint);
            }
            return Err(Denial::back(ReturnCode::RESOURCES_NOT_NOW, RefuseReason::Exhausted));
        };
        let cost = self.take_seat(connection, request.leg).unwrap_or(request.size);
        self.load.units_used = self.load.units_used.saturating_add(cost);
        self.claim(connection, cost, arrival.source.ip());
        self.load.sessions = self.connections.len() as u32;
        Ok(End { connection, endpoint, is_new, was_wild: request.was_wild })
    }

    /// Makes the second connection of a CRCX, or undoes the first.
    fn make_second_end(
        &mut self,
        request: ConnectionRequest<'_>,
        first: &End,
        arrival: &Arrival,
        now: Time,
    ) -> Result<End, Denial> {
        let second = self.make_end(request, arrival, now).inspect_err(|_| self.undo_end(first))?;
        for (end, other) in [(first, &second), (&second, first)] {
            let connection = self.connections.get_mut(end.connection);
            connection.into_iter().for_each(|connection| connection.other = Some(other.connection));
        }
        Ok(second)
    }

    /// The units that a CRCX costs: none inside the reservation of the conference that its connection comes to.
    fn cost(&self, request: &ConnectionRequest<'_>, size: u32) -> u32 {
        let EndpointChoice::Here(key) = request.choice else { return size };
        let conference = self.endpoints.get(key).filter(|endpoint| endpoint.kind == Kind::Conference);
        conference.zip(request.leg).map_or(size, |(endpoint, leg)| { endpoint.reservation }.join(leg).cost)
    }

    /// Seats a connection as a leg of its endpoint, if that is a conference. Returns the units that it costs.
    fn take_seat(&mut self, key: ConnectionKey, leg: Option<Weight>) -> Option<u32> {
        let connection = self.connections.get_mut(key)?;
        let endpoint = self.endpoints.get_mut(connection.endpoint)?;
        let seat = leg.filter(|_| endpoint.kind == Kind::Conference).map(|leg| endpoint.reservation.join(leg))?;
        connection.seat = Some(seat);
        Some(seat.cost)
    }

    fn undo_end(&mut self, end: &End) {
        self.remove_connection(end.connection);
        if end.is_new {
            self.remove_endpoint(end.endpoint);
        }
    }

    /// Asks the media to open a connection.
    fn open(&mut self, creation: Creation, key: ConnectionKey, now: Time) {
        let asked = self.connections.get(key).map(|connection| (connection.local, connection.flow));
        match asked.filter(|_| !self.jobs.is_full()) {
            None => self.undo_creation(&creation, None, now),
            Some((local, flow)) => {
                if let Some(job) = self.jobs.insert(Job::Create(Box::new(creation))) {
                    self.ask(key, Ask::Open { local, flow }, job);
                }
            }
        }
    }

    /// Lets a connection send to another one of this worker, over the network as to any other.
    fn join(&mut self, key: ConnectionKey, other: ConnectionKey) {
        let Some(other) = self.connections.get(other) else { return };
        let text = other.description.text().into_bytes().into_boxed_slice();
        let remote = Remote {
            address: Some(SocketAddr::new(other.local, other.port)),
            payloads: other.settings.terms.payloads,
            ptime: None,
            text,
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.settings.remote = Some(remote);
        if connection.port == 0 {
            connection.flow.remote = connection.settings.remote.as_ref().and_then(|remote| remote.address);
        }
    }

    pub(super) fn public_ip(&self, arrival: &Arrival) -> std::net::IpAddr {
        let listener = match arrival.path {
            Path::Handoff { listener, .. } => Some(listener.0),
            Path::Own(_) | Path::Stream(_) => None,
        };
        self.identity.public_ip(listener, arrival.local.ip())
    }
}
