//! AuditEndpoint and AuditConnection (RFC 3435 §2.3.10 and §2.3.11).

use crate::call::gateway::answer::{Answer, Denial};
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::endpoint::number_of;
use crate::call::gateway::events::Events;
use crate::call::gateway::exchange::{Ask, ConnectionKey, Counters, EndpointKey};
use crate::call::gateway::mode::MODES;
use crate::call::gateway::wanted::PACKET_TIMES;
use crate::call::gateway::{Gateway, Job};
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{
    Capabilities, Command, ConnectionParameters, EndpointName, Field, InfoCode, MAX_MESSAGE, MAX_PARAMS, ReasonCode,
    RequestedInfo, RestartMethod, ReturnCode, Switch, Wildcard,
};

/// An AUCX.
#[derive(Debug)]
pub(super) struct ConnectionAudit {
    transaction: TransactionKey,
    connection: ConnectionKey,
    /// The fields that it asks for.
    wanted: Vec<Field>,
}

impl Gateway {
    pub(super) fn on_auep(
        &mut self,
        command: &Command<'_>,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let name = command.endpoint();
        let wanted = wanted(command)?;
        let answer = if name.wildcard() == Wildcard::AnyOf {
            return Err(ReturnCode::ENDPOINT_UNKNOWN.into());
        } else if Gateway::is_many(&name) {
            if !wanted.is_empty() {
                // RFC 3435 §2.3.10: details of one endpoint cannot be asked of all.
                return Err(ReturnCode::WILDCARD_TOO_COMPLICATED.into());
            }
            self.list(command)?
        } else {
            let endpoint = self.one_endpoint(&name)?;
            let mut answer = Answer::new(ReturnCode::OK);
            for field in wanted {
                answer = self.audit(answer, endpoint, field)?;
            }
            answer
        };
        self.tell(transaction, &answer, now);
        Ok(())
    }

    pub(super) fn on_aucx(
        &mut self,
        command: &Command<'_>,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let endpoint = self.one_endpoint(&command.endpoint())?;
        let key = self.find_connection(endpoint, command.connection_id().ok_or(ReturnCode::PROTOCOL_ERROR)?)?;
        let wanted = wanted(command)?;
        let can_tell = |field: &Field| {
            matches!(
                field,
                Field::CallId
                    | Field::NotifiedEntity
                    | Field::LocalConnectionOptions
                    | Field::ConnectionMode
                    | Field::RemoteConnectionDescriptor
                    | Field::LocalConnectionDescriptor
                    | Field::ConnectionParameters
            )
        };
        if !wanted.iter().all(can_tell) {
            return Err(ReturnCode::UNSUPPORTED_PARAMETER.into());
        }
        let audit = ConnectionAudit { transaction, connection: key, wanted };
        if !audit.wanted.contains(&Field::ConnectionParameters) {
            self.answer_audit(&audit, Counters::default(), now);
            return Ok(());
        }
        let job = self.jobs.insert(Job::Audit(audit)).ok_or(ReturnCode::RESOURCES_NOT_NOW)?;
        self.ask(key, Ask::Count, job);
        Ok(())
    }

    /// Answers an AUCX.
    pub(super) fn answer_audit(&mut self, audit: &ConnectionAudit, counters: Counters, now: Time) {
        let (transaction, wanted) = (audit.transaction, &audit.wanted);
        let Some(connection) = self.connections.get(audit.connection) else {
            return self.deny(transaction, ReturnCode::ABORTED.into(), now);
        };
        let mut answer = Answer::new(ReturnCode::OK);
        for field in wanted {
            let value = match field {
                Field::CallId => connection.call.to_vec(),
                Field::NotifiedEntity => self.events.audit(connection.endpoint, *field).unwrap_or_default(),
                Field::LocalConnectionOptions => connection.settings.wanted.text(),
                Field::ConnectionMode => connection.settings.mode.name().into(),
                Field::ConnectionParameters => ConnectionParameters::from(counters).to_string().into(),
                _ => continue,
            };
            answer = answer.param(*field, value);
        }
        // RFC 3435 §3.3.7: first the local description, then the remote one; a description that does not exist is `v=0`
        // alone.
        if wanted.contains(&Field::LocalConnectionDescriptor) {
            answer = answer.description(connection.description.text());
        }
        if wanted.contains(&Field::RemoteConnectionDescriptor) {
            let remote = connection.settings.remote.as_ref().map(|remote| remote.text.to_vec());
            answer = answer.description(remote.unwrap_or_else(|| b"v=0\r\n".to_vec()));
        }
        self.tell(transaction, &answer, now);
    }

    /// The names of all endpoints that a name covers, and their number: at most `ZM` names, from the one after `Z` on.
    fn list(&self, command: &Command<'_>) -> Result<Answer, ReturnCode> {
        let covered = self.covered(&command.endpoint());
        let count = covered.len();
        let most = command.extension(b"ZM").map(|most| number(most).ok_or(ReturnCode::PROTOCOL_ERROR)).transpose()?;
        let from = match command.param(Field::SpecificEndpointId) {
            None => 0,
            Some(last) => {
                let last = EndpointName::parse(last).ok_or(ReturnCode::PROTOCOL_ERROR)?;
                let last = number_of(&last).map(|number| (token_of(&last), number));
                let last = last.ok_or(ReturnCode::ENDPOINT_UNKNOWN)?;
                // The endpoint in `Z` may be gone meanwhile, or be another worker's: all workers list in the order of
                // tokens and numbers.
                let token = self.identity.token.to_ascii_lowercase().into_bytes();
                let is_told = |key: &EndpointKey| {
                    let number = self.endpoints.get(*key).map_or(0, |endpoint| endpoint.number);
                    (&token, number) <= (&last.0, last.1)
                };
                covered.iter().take_while(|key| is_told(key)).count()
            }
        };
        let mut answer = Answer::new(ReturnCode::OK);
        let told = covered.get(from..).unwrap_or_default();
        let told = told.get(..most.unwrap_or(usize::MAX)).unwrap_or(told);
        // The list would need more lines than a message may have; the line for `ZN` is one of them.
        if told.len() >= MAX_PARAMS {
            return Err(ReturnCode::RESPONSE_TOO_LARGE);
        }
        for key in told {
            let Some(endpoint) = self.endpoints.get(*key) else { continue };
            answer = answer.param(Field::SpecificEndpointId, endpoint.name.as_bytes());
        }
        if most.is_some() {
            answer = answer.named("ZN", count.to_string());
        }
        Ok(answer)
    }

    /// Adds one field of an endpoint to the answer of an audit.
    fn audit(&self, answer: Answer, key: EndpointKey, field: Field) -> Result<Answer, ReturnCode> {
        let endpoint = self.endpoints.get(key).ok_or(ReturnCode::ENDPOINT_UNKNOWN)?;
        let value: Vec<u8> = match field {
            Field::Capabilities => self.capabilities(endpoint.coding).into(),
            Field::BearerInformation => endpoint.coding.text().into(),
            Field::ConnectionId => {
                let ids = endpoint.connections.iter().filter_map(|key| self.connections.get(*key));
                ids.map(|connection| connection.id.as_bytes()).collect::<Vec<_>>().join(&b","[..])
            }
            Field::PackageList => {
                let packages = Events::packages().into_iter().map(|package| format!("{package}:1"));
                packages.collect::<Vec<_>>().join(",").into()
            }
            Field::MaxDatagram => MAX_MESSAGE.to_string().into(),
            // A virtual endpoint is in service from its first moment to its last.
            Field::ReasonCode => ReasonCode::NOMINAL.to_string().into(),
            Field::RestartMethod if self.draining => RestartMethod::Graceful.name().into(),
            Field::RestartMethod => RestartMethod::Restart.name().into(),
            Field::RestartDelay => b"0".to_vec(),
            Field::RequestedEvents
            | Field::DigitMap
            | Field::SignalRequests
            | Field::RequestIdentifier
            | Field::NotifiedEntity
            | Field::DetectEvents
            | Field::ObservedEvents
            | Field::EventStates
            | Field::QuarantineHandling => self.events.audit(key, field).unwrap_or_default(),
            _ => return Err(ReturnCode::UNSUPPORTED_PARAMETER),
        };
        Ok(answer.param(field, value))
    }

    fn capabilities(&self, coding: Coding) -> String {
        let codecs = coding.codecs().map(|codec| codec.name());
        let capabilities = Capabilities {
            codecs: &codecs,
            packetization: PACKET_TIMES.0.into()..=PACKET_TIMES.1.into(),
            echo_cancellation: Switch::Off,
            silence_suppression: Switch::Off,
            networks: &["IN"],
            packages: &Events::packages(),
            modes: MODES,
        };
        capabilities.to_string()
    }
}

/// The fields that `F:` asks for. Unknown `X-` codes of vendors are passed over; other unknown codes are refused.
fn wanted(command: &Command<'_>) -> Result<Vec<Field>, ReturnCode> {
    let mut wanted = Vec::new();
    for code in command.param(Field::RequestedInfo).map(RequestedInfo::new).iter().flat_map(RequestedInfo::iter) {
        match code {
            InfoCode::Field(field) if !wanted.contains(&field) => wanted.push(field),
            InfoCode::Field(_) | InfoCode::Other([b'x' | b'X', b'-', ..]) => {}
            InfoCode::Other([b'x' | b'X', b'+', ..]) => return Err(ReturnCode::UNRECOGNIZED_EXTENSION),
            InfoCode::Other(_) => return Err(ReturnCode::UNSUPPORTED_PARAMETER),
        }
    }
    Ok(wanted)
}

/// The worker's term in the name of an endpoint, in lower case.
fn token_of(name: &EndpointName<'_>) -> Vec<u8> {
    // The token precedes the number; the kind's part of the name may have several terms.
    name.terms().rev().nth(1).unwrap_or_default().to_ascii_lowercase()
}

fn number(value: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}
