//! DeleteConnection (RFC 3435 §2.3.7 to §2.3.9): one connection, those of a call or of an endpoint, or those of all
//! endpoints that a name covers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::call::exchange::Arrival;
use crate::call::gateway::answer::{Answer, Denial};
use crate::call::gateway::calls::call_id;
use crate::call::gateway::embedded::Embedded;
use crate::call::gateway::exchange::{Ask, ConnectionKey, Counters, EndpointKey, Told};
use crate::call::gateway::{Gateway, Job, JobKey};
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, ConnectionParameters, Field, ReturnCode, Wildcard};

/// A DLCX whose media is being closed.
#[derive(Debug)]
pub(super) struct Deletion {
    transaction: TransactionKey,
    waiting: usize,
    /// Counters of the connection, if the command named a single one.
    counters: Option<Counters>,
    before: Vec<Arc<[u8]>>,
}

/// The connections that a DLCX deletes.
struct Deleted {
    connections: Vec<ConnectionKey>,
    /// Whether a connection was named: the answer then has its parameters (RFC 3435 §2.3.7).
    is_named: bool,
    endpoint: Option<EndpointKey>,
}

impl Gateway {
    pub(super) fn on_dlcx(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let deleted = self.deleted(command)?;
        let embedded = match deleted.endpoint.and_then(|key| Some((key, self.endpoints.get(key)?.kind))) {
            Some((key, kind)) => self.check_embedded(command, Some(key), kind)?,
            // RFC 3435 §2.3.9: deleting on many endpoints goes without requests.
            None if Embedded::is_in(command) => return Err(ReturnCode::UNSUPPORTED_PARAMETER.into()),
            None => Embedded::default(),
        };
        let Deleted { connections, is_named, endpoint } = deleted;
        let waiting = connections.len();
        let none = Deletion { transaction, waiting, counters: is_named.then(Counters::default), before: Vec::new() };
        let job = self.jobs.insert(Job::Delete(none)).ok_or(ReturnCode::RESOURCES_NOT_NOW)?;
        let endpoints = self.close_connections(&connections, Some(job));
        let before = match endpoint {
            Some(endpoint) => self.apply_embedded(embedded, endpoint, None, arrival, now),
            None => Vec::new(),
        };
        endpoints.into_iter().chain(endpoint).for_each(|endpoint| self.release(endpoint, now));
        match self.jobs.get_mut(job) {
            Some(Job::Delete(deletion)) if waiting > 0 => deletion.before = before,
            _ => {
                self.jobs.remove(job);
                let answer = Answer::new(ReturnCode::CONNECTION_DELETED).after(before);
                match endpoint {
                    Some(_) => self.answer(transaction, &answer, now),
                    None => self.tell(transaction, &answer, now),
                }
            }
        }
        Ok(())
    }

    /// The media of a connection is closed.
    pub(super) fn on_deleted(&mut self, job: JobKey, told: Told, now: Time) {
        let Some(Job::Delete(deletion)) = self.jobs.get_mut(job) else { return };
        deletion.waiting = deletion.waiting.saturating_sub(1);
        if let (Told::Closed(carried), Some(counters)) = (told, &mut deletion.counters) {
            *counters = carried;
        }
        if deletion.waiting > 0 {
            return;
        }
        let Some(Job::Delete(deletion)) = self.jobs.remove(job) else { return };
        let mut answer = Answer::new(ReturnCode::CONNECTION_DELETED);
        if let Some(counters) = deletion.counters {
            answer = answer.param(Field::ConnectionParameters, ConnectionParameters::from(counters).to_string());
        }
        self.answer(deletion.transaction, &answer.after(deletion.before), now);
    }

    /// Finds the connections that a DLCX names.
    fn deleted(&self, command: &Command<'_>) -> Result<Deleted, ReturnCode> {
        let name = command.endpoint();
        let call = command.call_id().map(|id| call_id(Some(id))).transpose()?;
        let of_call = |key: &ConnectionKey| {
            let connection = self.connections.get(*key);
            call.is_none_or(|call| connection.is_some_and(|connection| connection.call.eq_ignore_ascii_case(call)))
        };
        if name.wildcard() == Wildcard::AnyOf {
            return Err(ReturnCode::ENDPOINT_UNKNOWN);
        }
        let of_endpoint =
            |key: EndpointKey| self.endpoints.get(key).into_iter().flat_map(|endpoint| endpoint.connections.iter());
        if Gateway::is_many(&name) {
            if command.connection_id().is_some() {
                return Err(ReturnCode::INCORRECT_CONNECTION);
            }
            let covered = self.covered(&name);
            let connections = covered.into_iter().flat_map(of_endpoint).copied().filter(of_call).collect();
            return Ok(Deleted { connections, is_named: false, endpoint: None });
        }
        let endpoint = self.one_endpoint(&name)?;
        if let Some(id) = command.connection_id() {
            let key = self.find_connection(endpoint, id)?;
            // RFC 3435 §2.3.7 wants the call id beside the connection id. A missing call id is accepted: the connection
            // id suffices.
            if !of_call(&key) {
                return Err(ReturnCode::INCORRECT_CALL);
            }
            return Ok(Deleted { connections: vec![key], is_named: true, endpoint: Some(endpoint) });
        }
        let connections: Vec<ConnectionKey> = of_endpoint(endpoint).copied().filter(of_call).collect();
        if call.is_some() && connections.is_empty() {
            return Err(ReturnCode::INCORRECT_CALL);
        }
        Ok(Deleted { connections, is_named: false, endpoint: Some(endpoint) })
    }

    /// Closes connections; `job` waits for the media of each. Returns the endpoints they were on.
    pub(super) fn close_connections(&mut self, keys: &[ConnectionKey], job: Option<JobKey>) -> BTreeSet<EndpointKey> {
        let mut endpoints = BTreeSet::new();
        for key in keys {
            endpoints.extend(self.connections.get(*key).map(|connection| connection.endpoint));
            self.remove_connection(*key);
            match job {
                Some(job) => self.ask(*key, Ask::Close, job),
                None => self.ask_close(*key),
            }
        }
        endpoints
    }
}

impl From<Counters> for ConnectionParameters {
    fn from(counters: Counters) -> Self {
        ConnectionParameters {
            packets_sent: Some(counters.packets_sent),
            octets_sent: Some(counters.octets_sent),
            packets_received: Some(counters.packets_received),
            octets_received: Some(counters.octets_received),
            packets_lost: Some(counters.packets_lost),
            jitter: Some(counters.jitter_ms.into()),
            latency: Some(counters.latency_ms.into()),
        }
    }
}
