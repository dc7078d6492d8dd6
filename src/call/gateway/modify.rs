//! ModifyConnection (RFC 3435 §2.3.6).

use crate::call::exchange::Arrival;
use crate::call::gateway::answer::{Answer, Denial};
use crate::call::gateway::calls::call_id;
use crate::call::gateway::connection::Settings;
use crate::call::gateway::embedded::Embedded;
use crate::call::gateway::endpoint::Endpoint;
use crate::call::gateway::exchange::{Ask, ConnectionKey, EndpointKey, Flow, Told};
use crate::call::gateway::mode;
use crate::call::gateway::remote::Remote;
use crate::call::gateway::terms::Sides;
use crate::call::gateway::{Gateway, Job};
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, Field, ReturnCode};

/// An MDCX whose media is being changed.
#[derive(Debug)]
pub(super) struct Modification {
    transaction: TransactionKey,
    endpoint: EndpointKey,
    connection: ConnectionKey,
    settings: Settings,
    flow: Flow,
    /// Whether the MDCX has parameters that a session description must answer.
    negotiates: bool,
    embedded: Embedded,
    arrival: Arrival,
}

impl Gateway {
    pub(super) fn on_mdcx(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let endpoint = self.one_endpoint(&command.endpoint())?;
        let id = command.connection_id().ok_or(ReturnCode::PROTOCOL_ERROR)?;
        let key = self.find_connection(endpoint, id)?;
        let call = call_id(command.call_id())?;
        let connection = self.connections.get(key).ok_or(ReturnCode::INCORRECT_CONNECTION)?;
        if !connection.call.eq_ignore_ascii_case(call) {
            return Err(ReturnCode::INCORRECT_CALL.into());
        }
        let mode = command.param(Field::ConnectionMode).map(mode::parse).transpose()?;
        let mode = mode.unwrap_or(connection.settings.mode);
        let options = command.param(Field::LocalConnectionOptions);
        let wanted = connection.settings.wanted.with(options)?;
        let described = Remote::of(command, connection.description.address())?;
        let negotiates = options.is_some() || described.is_some();
        let remote = described.or_else(|| connection.settings.remote.clone());
        if remote.is_none() && mode::needs_remote(mode) {
            return Err(ReturnCode::NO_DESCRIPTION.into());
        }
        let &Endpoint { kind, coding, .. } = self.endpoints.get(endpoint).ok_or(ReturnCode::ENDPOINT_UNKNOWN)?;
        let terms = match negotiates {
            false => connection.settings.terms,
            true => {
                let sides = Sides {
                    wanted: &wanted,
                    remote: remote.as_ref(),
                    before: connection.settings.terms,
                    partner: self.partner_terms(endpoint, Some(key)),
                    coding,
                };
                sides.agree()?
            }
        };
        let settings = Settings { mode, wanted, remote, terms };
        let flow = self.flow(endpoint, Some(key), &settings);
        let is_same = flow == connection.flow;
        let embedded = self.check_embedded(command, Some(endpoint), kind)?;
        let modification = Modification {
            transaction,
            endpoint,
            connection: key,
            settings,
            flow,
            negotiates,
            embedded,
            arrival: *arrival,
        };
        if is_same {
            self.on_modified(modification, Told::Changed, now);
            return Ok(());
        }
        let job = self.jobs.insert(Job::Modify(Box::new(modification))).ok_or(ReturnCode::RESOURCES_NOT_NOW)?;
        self.ask(key, Ask::Change(flow), job);
        Ok(())
    }

    /// The media carries the flow that an MDCX wants, or has refused it.
    pub(super) fn on_modified(&mut self, modification: Modification, told: Told, now: Time) {
        let Modification { transaction, endpoint, connection: key, settings, flow, negotiates, embedded, arrival } =
            modification;
        if told != Told::Changed {
            return self.deny(transaction, ReturnCode::RESOURCES_NOT_NOW.into(), now);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            // The connection was deleted meanwhile.
            return self.deny(transaction, ReturnCode::ABORTED.into(), now);
        };
        connection.settings = settings;
        connection.flow = flow;
        let terms = connection.settings.terms;
        let is_new = connection.description.say(connection.port, &terms.payloads, terms.ptime);
        let mut answer = Answer::new(ReturnCode::OK);
        if negotiates || is_new {
            answer = answer.description(connection.description.text());
        }
        self.refresh_flows(endpoint);
        let before = self.apply_embedded(embedded, endpoint, Some(key), &arrival, now);
        self.answer(transaction, &answer.after(before), now);
    }
}
