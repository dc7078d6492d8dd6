//! The requests to all endpoints, and the notifications on their way.

use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::measure::Measure;
use super::package::Package;
use super::quarantine::{Notice, NotificationState, Watch};
use super::request::{NotificationRequest, RequestParams, Scope};
use super::seen::Seen;
use crate::call::exchange::Egress;
use crate::call::gateway::exchange::{EndpointKey, LookupKey, Output};
use crate::call::gateway::kind::Kind;
use crate::call::gateway::notify::{Client, Draft, End, Entity, Purpose};
use crate::call::gateway::restart::{self, CallAgent, Change, Restarts};
use crate::ids::TransactionRange;
use crate::time::Time;
use crate::wire::mgcp::{Command, ConnectionParameters, Field, ReasonCode, Response, RestartMethod, ReturnCode, Verb};

/// The event side of a gateway.
#[derive(Debug)]
pub struct Events {
    client: Client,
    restarts: Restarts,
    endpoints: HashMap<EndpointKey, WatchedEndpoint, FixedState>,
}

/// The settings for commands that a gateway sends by itself.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The worker's token.
    pub token: Box<str>,
    /// The ids of its commands.
    pub range: TransactionRange,
    /// The call agents to tell of restarts, one for each way they may know the endpoints.
    pub agents: Vec<CallAgent>,
    /// The seed of the first transaction id and of jitter.
    pub seed: u64,
}

/// The source of a command, and the way on which its sender knows the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The address.
    pub source: SocketAddr,
    /// The socket.
    pub way: Egress,
}

/// A connection that has ended by itself.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// Its call id.
    pub call: &'a [u8],
    /// Its id.
    pub connection: &'a [u8],
    /// The reason.
    pub reason: ReasonCode,
    /// Its connection parameters: the counters of its packets.
    pub parameters: ConnectionParameters,
}

/// A command's event parameters, read and found good.
#[derive(Clone, Debug)]
pub struct Accepted {
    notified: Option<Notified>,
    request: Option<NotificationRequest>,
}

impl Accepted {
    /// Whether a request comes with it, and not only a notified entity.
    pub const fn is_request(&self) -> bool {
        self.request.is_some()
    }

    /// Replaces `@$` by the connection that the command made or named.
    pub fn resolve(&mut self, connection: &[u8]) {
        self.request.iter_mut().for_each(|request| request.resolve(connection));
    }
}

/// The notified entity (RFC 3435 §2.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Notified {
    /// The call agent has named none: the configured call agent, else the source of the last command.
    Configured,
    /// The entity that the call agent has named.
    Given(Entity),
    /// `N:` without a name: the source of the last command.
    Source,
}

#[derive(Debug)]
struct WatchedEndpoint {
    name: Box<[u8]>,
    watch: Watch,
    digit_map: Option<Box<[u8]>>,
    notified: Notified,
    last: Sender,
    /// The Notify that its notification state waits for.
    current: Option<u32>,
    /// The notifications that wait for their responses, oldest first.
    open: Vec<u32>,
}

/// Notifications of one endpoint that wait for their responses, at most. Each new request lets it send another
/// (§4.4.1).
const OPEN: usize = 8;

impl Events {
    /// An event side without endpoints; `aliases` are further first terms of their names, beside the kinds.
    pub fn new(voice: Voice, aliases: impl IntoIterator<Item = Box<str>>) -> Self {
        Events {
            client: Client::new(voice.range, voice.seed),
            restarts: Restarts::new(voice.token, voice.agents, aliases),
            endpoints: HashMap::default(),
        }
    }

    /// Reads and judges the event parameters of a command for an endpoint, which may be still to be made. Changes
    /// nothing. `has_connection` tells for an id whether the endpoint has that connection. The error is the answer's
    /// return code.
    pub fn check(
        &self,
        endpoint: Option<EndpointKey>,
        kind: Kind,
        command: &Command<'_>,
        has_connection: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Accepted, ReturnCode> {
        let asked = RequestParams {
            id: command.param(Field::RequestIdentifier),
            requested: command.param(Field::RequestedEvents),
            signals: command.param(Field::SignalRequests),
            digit_map: command.param(Field::DigitMap),
            quarantine: command.param(Field::QuarantineHandling),
            detect: command.param(Field::DetectEvents),
        };
        let has_digit_map = self.endpoint(endpoint).is_some_and(|endpoint| endpoint.digit_map.is_some());
        let scope = Scope {
            default: Package::default_of(kind),
            this: matches!(command.verb(), Verb::Crcx | Verb::Mdcx),
            knows: has_connection,
            has_digit_map,
        };
        let request = NotificationRequest::read(&asked, scope)?;
        if command.verb() == Verb::Rqnt && request.is_none() {
            return Err(ReturnCode::PROTOCOL_ERROR);
        }
        let notified = match command.param(Field::NotifiedEntity) {
            None => None,
            Some(b"") => Some(Notified::Source),
            Some(name) => Some(Notified::Given(Entity::parse(name).ok_or(ReturnCode::PROTOCOL_ERROR)?)),
        };
        Ok(Accepted { notified, request })
    }

    /// A command has been carried out on an endpoint of this full name.
    ///
    /// Returns the notifications of the endpoint that are not answered, oldest first. They go ahead of the response, in
    /// one datagram to its source, so that the call agent reads them before it learns that its new request is in force
    /// (§4.4.1).
    #[must_use]
    pub fn apply(
        &mut self,
        key: EndpointKey,
        name: &[u8],
        accepted: Accepted,
        sender: Sender,
        now: Time,
    ) -> Vec<Arc<[u8]>> {
        let endpoint = self.endpoints.entry(key).or_insert_with(|| WatchedEndpoint {
            name: name.into(),
            watch: Watch::default(),
            digit_map: None,
            notified: Notified::Configured,
            last: sender,
            current: None,
            open: Vec::new(),
        });
        endpoint.last = sender;
        if let Some(notified) = accepted.notified {
            endpoint.notified = notified;
        }
        self.restarts.on_command(key, &mut self.client, now);
        let Some(mut request) = accepted.request else { return Vec::new() };
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return Vec::new() };
        let unanswered = endpoint.open.iter().filter_map(|id| self.client.message(*id)).collect();
        if let Some(map) = request.digit_map.take() {
            endpoint.digit_map = Some(map);
        }
        // §4.4.1: the endpoint leaves the notification state; a Notify under way is repeated until it is answered.
        endpoint.current = None;
        let notice = endpoint.watch.on_request(request);
        self.notify(key, notice, now);
        self.settle(now);
        unanswered
    }

    /// An event has occurred on an endpoint. Announcements, digits and conferences are to report theirs here.
    pub fn on_event(&mut self, key: EndpointKey, seen: Seen, now: Time) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let notice = endpoint.watch.on_event(seen);
        self.notify(key, notice, now);
        self.settle(now);
    }

    /// A connection of the endpoint has ended by itself: the call agent is told by a DLCX (§2.3.8).
    pub fn on_gone(&mut self, key: EndpointKey, gone: &Gone<'_>, now: Time) {
        let Some(endpoint) = self.endpoints.get(&key) else { return };
        let entity = endpoint.entity(self.restarts.agents());
        let params = vec![
            (Field::CallId, gone.call.into()),
            (Field::ConnectionId, gone.connection.into()),
            (Field::ReasonCode, gone.reason.to_string().into_bytes().into()),
            (Field::ConnectionParameters, gone.parameters.to_string().into_bytes().into()),
        ];
        let draft = Draft { purpose: Purpose::Delete(key), verb: Verb::Dlcx, endpoint: endpoint.name.clone(), params };
        self.client.send(draft, &entity, endpoint.last.way, &[], now);
        self.settle(now);
    }

    /// Whether an event of this kind would be kept.
    pub fn is_watched(&self, key: EndpointKey, seen: &Seen) -> bool {
        self.endpoints.get(&key).is_some_and(|endpoint| endpoint.watch.is_watched(seen))
    }

    /// The measurements that the request in force asks for on a connection of the endpoint.
    pub fn measures(&self, key: EndpointKey, connection: &[u8]) -> Vec<Measure> {
        let requested = self.endpoints.get(&key).map(|endpoint| &endpoint.watch.request().requested.events);
        let wanted = requested.into_iter().flatten().map(|event| &event.wanted);
        wanted.filter(|wanted| wanted.place.holds(Some(connection))).filter_map(|wanted| wanted.measure).collect()
    }

    /// A response to a command of ours has come to the socket of `sender`.
    pub fn on_response(&mut self, response: &Response<'_>, sender: Sender, now: Time) {
        self.client.on_response(response, sender.source, sender.way, now);
        self.settle(now);
    }

    /// The addresses an [`Output::Resolve`] asked for.
    pub fn on_resolved(&mut self, key: LookupKey, addresses: &[SocketAddr], now: Time) {
        self.client.on_resolved(key, addresses, now);
        self.settle(now);
    }

    /// Tells the configured call agents that all endpoints go in or out of service.
    pub fn tell_all(&mut self, method: RestartMethod, now: Time) {
        self.restarts.tell_all(method, &mut self.client, now);
        self.settle(now);
    }

    /// Tells the configured call agents that the endpoints of a dead worker are gone.
    pub fn succeed(&mut self, dead: &str, now: Time) {
        self.restarts.succeed(dead, &mut self.client, now);
        self.settle(now);
    }

    /// The endpoint is gone. A notification on its way is delivered all the same.
    pub fn forget(&mut self, key: EndpointKey) {
        self.endpoints.remove(&key);
        self.restarts.forget(key, &mut self.client);
    }

    /// Forgets a connection of the endpoint that is gone: the parts of the request about it alone end.
    pub fn forget_connection(&mut self, key: EndpointKey, connection: &[u8]) {
        if let Some(endpoint) = self.endpoints.get_mut(&key) {
            endpoint.watch.forget_connection(connection);
        }
    }

    /// Whether a request or a notification holds the endpoint.
    pub fn is_active(&self, key: EndpointKey) -> bool {
        self.endpoints.get(&key).is_some_and(|endpoint| endpoint.watch.is_active())
    }

    /// The value of a parameter in the answer to an audit (§2.3.10); `None` for one that is not of events.
    pub fn audit(&self, key: EndpointKey, field: Field) -> Option<Vec<u8>> {
        let none = Watch::default();
        let endpoint = self.endpoints.get(&key);
        let watch = endpoint.map_or(&none, |endpoint| &endpoint.watch);
        let request = watch.request();
        Some(match field {
            Field::RequestedEvents => request.requested.text.to_vec(),
            Field::DigitMap => {
                let map = endpoint.and_then(|endpoint| endpoint.digit_map.as_ref());
                map.map_or_else(Vec::new, |map| map.to_vec())
            }
            Field::RequestIdentifier => request.id.to_vec(),
            Field::NotifiedEntity => {
                endpoint.map_or_else(Vec::new, |endpoint| endpoint.entity(self.restarts.agents()).text().to_vec())
            }
            Field::QuarantineHandling => request.quarantine.to_string().into_bytes(),
            Field::DetectEvents => request.detect.as_ref().map_or_else(Vec::new, |list| list.text.to_vec()),
            Field::ObservedEvents => write_events(watch.observed()),
            // Signals are not played and events have no state, so both lists are empty.
            Field::SignalRequests | Field::EventStates => Vec::new(),
            _ => return None,
        })
    }

    /// The packages that work here, as capabilities and PackageList name them (§2.3.10).
    pub fn packages() -> Vec<&'static str> {
        Package::all_offered().map(|package| package.name).collect()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.restarts.handle_timeout(&mut self.client, now);
        self.client.handle_timeout(now);
        self.settle(now);
    }

    /// When [`Events::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.restarts.poll_timeout(), self.client.poll_timeout()].into_iter().flatten().min()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.client.poll_output()
    }

    /// Whether a worker may exit: no notification waits for its response, and no goodbye is still to be told.
    pub fn is_idle(&self) -> bool {
        !self.restarts.is_saying_goodbye() && self.endpoints.values().all(|endpoint| endpoint.open.is_empty())
    }

    #[cfg(test)]
    pub(in crate::call::gateway) fn timers(&self) -> usize {
        self.client.timers()
    }

    fn endpoint(&self, key: Option<EndpointKey>) -> Option<&WatchedEndpoint> {
        self.endpoints.get(&key?)
    }

    /// Sends a Notify.
    fn notify(&mut self, key: EndpointKey, notice: Option<Notice>, now: Time) {
        let Some(notice) = notice else { return };
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        let entity = endpoint.entity(self.restarts.agents());
        let mut params = Vec::with_capacity(3);
        // §2.3.4: `N:` is sent only if a notified entity was given, and then as it was given.
        if let Notified::Given(entity) = &endpoint.notified {
            params.push((Field::NotifiedEntity, entity.text().into()));
        }
        params.push((Field::RequestIdentifier, notice.request));
        params.push((Field::ObservedEvents, write_events(notice.observed.iter()).into()));
        let draft = Draft { purpose: Purpose::Notify(key), verb: Verb::Ntfy, endpoint: endpoint.name.clone(), params };
        if endpoint.open.len() >= OPEN {
            self.client.abandon(endpoint.open.remove(0));
        }
        let id = self.client.send(draft, &entity, endpoint.last.way, &endpoint.open, now);
        endpoint.current = id;
        endpoint.open.extend(id);
    }

    /// Handles the commands to call agents that have ended.
    fn settle(&mut self, now: Time) {
        while let Some((purpose, id, end)) = self.client.poll_end() {
            match purpose {
                Purpose::Notify(key) => self.on_notified(key, id, end, now),
                Purpose::Delete(key) if end == End::Lost => self.disconnect(key, now),
                Purpose::Delete(_) => {}
                Purpose::Restart(number) => {
                    if let Some(change) = self.restarts.on_end(number, end, &mut self.client, now) {
                        self.on_change(change, now);
                    }
                }
            }
        }
    }

    fn on_notified(&mut self, key: EndpointKey, id: u32, end: End, now: Time) {
        let Some(endpoint) = self.endpoints.get_mut(&key) else { return };
        endpoint.open.retain(|open| *open != id);
        let awaited = endpoint.current == Some(id);
        match end {
            End::Lost => {
                endpoint.current = endpoint.current.filter(|_| !awaited);
                self.disconnect(key, now);
            }
            End::Answered { code, entity } => {
                if let (ReturnCode::REDIRECTED, Some(entity)) = (code, entity) {
                    endpoint.notified = Notified::Given(entity);
                }
                if awaited {
                    endpoint.current = None;
                    let notice = endpoint.watch.on_notified();
                    self.notify(key, notice, now);
                }
            }
        }
    }

    /// The call agent of an endpoint does not answer (§4.4.7).
    fn disconnect(&mut self, key: EndpointKey, now: Time) {
        if let Some(endpoint) = self.endpoints.get(&key) {
            let entity = endpoint.entity(self.restarts.agents());
            self.restarts.on_lost(key, &endpoint.name, entity, endpoint.last.way, &mut self.client, now);
        }
    }

    fn on_change(&mut self, change: Change, now: Time) {
        let concerned: Vec<EndpointKey> = match change.scope {
            restart::Scope::Endpoint(key) => vec![key],
            // A configured call agent has already been replaced in the list of agents.
            restart::Scope::Agent(_) => self.endpoints.keys().copied().collect(),
        };
        for key in concerned {
            let Some(endpoint) = self.endpoints.get_mut(&key) else { continue };
            if let (restart::Scope::Endpoint(_), Some(entity)) = (change.scope, &change.entity) {
                endpoint.notified = Notified::Given(entity.clone());
            }
            // §4.4.1: the Notify was lost. The endpoint leaves the notification state now that it is connected again.
            if change.connected
                && endpoint.watch.state() == NotificationState::Notification
                && endpoint.current.is_none()
            {
                let notice = endpoint.watch.on_notified();
                self.notify(key, notice, now);
            }
        }
    }
}

impl WatchedEndpoint {
    /// The call agent that is notified of its events (§2.1.4, §4.2).
    fn entity(&self, agents: &[CallAgent]) -> Entity {
        let configured = || agents.iter().find(|agent| agent.way.hop == self.last.way.hop).or(agents.first());
        match &self.notified {
            Notified::Given(entity) => entity.clone(),
            Notified::Source => Entity::at(self.last.source),
            Notified::Configured => {
                configured().map_or_else(|| Entity::at(self.last.source), |agent| agent.entity.clone())
            }
        }
    }
}

/// Writes events as in ObservedEvents.
fn write_events<'a>(events: impl Iterator<Item = &'a Seen>) -> Vec<u8> {
    let mut out = Vec::new();
    for seen in events {
        if !out.is_empty() {
            out.extend_from_slice(b", ");
        }
        seen.write(&mut out);
    }
    out
}
