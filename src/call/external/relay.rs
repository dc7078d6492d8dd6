//! The gateway's own commands: notifications go to the call agents, and their answers back.

use std::collections::{BTreeMap, VecDeque};

use super::connections::Which;
use super::exchange::Output;
use super::{External, rewrite};
use crate::time::Time;
use crate::wire::mgcp::{Command, Field, Response, RestartMethod, ReturnCode, TransactionId, Verb};

/// Transactions of the gateway at most. Beyond it answers to the oldest ones are not passed on.
const MOST: usize = 4_096;

/// The gateway's own transactions, as call agents and as the gateway number them.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    by_gateway: BTreeMap<u32, u32>,
    by_own: BTreeMap<u32, u32>,
    order: VecDeque<(u32, u32)>,
}

impl Relayed {
    fn insert(&mut self, gateway: u32, own: u32) {
        self.by_gateway.insert(gateway, own);
        self.by_own.insert(own, gateway);
        self.order.push_back((gateway, own));
        if self.order.len() > MOST
            && let Some((gateway, own)) = self.order.pop_front()
        {
            self.by_gateway.remove(&gateway);
            self.by_own.remove(&own);
        }
    }

    pub(super) fn has(&self, own: u32) -> bool {
        self.by_own.contains_key(&own)
    }
}

impl External {
    /// A command of the gateway. The gateway repeats a command that is not answered, so the worker does not repeat it.
    pub(super) fn on_gateways_command(&mut self, command: &Command<'_>, now: Time) {
        self.reach.on_heard(now);
        let name = command.endpoint().as_bytes();
        match command.verb() {
            Verb::Rsip => {
                let method = command.param(Field::RestartMethod).and_then(RestartMethod::parse);
                if matches!(method, Some(RestartMethod::Restart | RestartMethod::Forced)) {
                    self.forget(Which { name, id: None, call: None });
                }
                return self.tell_gateway(ReturnCode::OK, command.transaction());
            }
            Verb::Dlcx => self.forget(Which { name, id: command.connection_id(), call: None }),
            _ => {}
        }
        let gateways = command.transaction().0;
        let own = match self.relayed.by_gateway.get(&gateways) {
            Some(own) => *own,
            None => {
                let own = self.take_id();
                self.relayed.insert(gateways, own);
                own
            }
        };
        let bytes = rewrite::to_agent(command, own, &self.tokens);
        match self.agents.transmit(name, bytes) {
            Some(transmit) => self.outputs.push_back(Output::Transmit(transmit)),
            None => self.tell_gateway(ReturnCode::TRANSIENT_ERROR, command.transaction()),
        }
    }

    /// A call agent's answer to a command of the gateway.
    pub(super) fn on_agents_response(&mut self, response: &Response<'_>) {
        let Some(gateways) = self.relayed.by_own.get(&response.transaction().0) else { return };
        let bytes = rewrite::answer_to_gateway(response, TransactionId(*gateways), &self.tokens);
        self.outputs.push_back(Output::Gateway(bytes));
    }

    fn tell_gateway(&mut self, code: ReturnCode, id: TransactionId) {
        self.outputs.push_back(Output::Gateway(rewrite::plain(code, id)));
    }
}
