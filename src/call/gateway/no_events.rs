//! Stands in for the machinery of events until it is here: nothing is detected, nothing requested.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::exchange::Arrival;
use crate::call::gateway::{ConnectionKey, EndpointKey, Identity, Kind, LookupKey, Output};
use crate::time::Time;
use crate::wire::mgcp::{Command, Field, Response, ReturnCode, Verb};

#[derive(Debug)]
pub struct Events;

#[derive(Debug)]
pub struct Accepted;

impl Events {
    pub fn new(_: &Identity) -> Self {
        Events
    }
    pub fn check(
        &self,
        _: Option<EndpointKey>,
        _: Kind,
        command: &Command<'_>,
        _: Time,
    ) -> Result<Accepted, ReturnCode> {
        let is_empty =
            command.param(Field::RequestedEvents).is_none() && command.param(Field::SignalRequests).is_none();
        if is_empty || command.verb() == Verb::Dlcx { Ok(Accepted) } else { Err(ReturnCode::UNKNOWN_PACKAGE) }
    }
    pub fn apply(&mut self, _: EndpointKey, _: &[u8], _: Accepted, _: &Arrival, _: Time) {}
    pub fn pending(&self, _: EndpointKey) -> Vec<Arc<[u8]>> {
        Vec::new()
    }
    pub fn is_active(&self, _: EndpointKey) -> bool {
        false
    }
    pub fn forget(&mut self, _: EndpointKey) {}
    pub fn forget_connection(&mut self, _: EndpointKey, _: ConnectionKey) {}
    pub fn audit(&self, _: EndpointKey, _: Field) -> Option<Vec<u8>> {
        None
    }
    pub fn packages(&self) -> &'static [&'static str] {
        &["G"]
    }
    pub fn on_response(&mut self, _: &Response<'_>, _: &Arrival, _: Time) {}
    pub fn on_resolved(&mut self, _: LookupKey, _: &[SocketAddr], _: Time) {}
    pub fn handle_timeout(&mut self, _: Time) {}
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }
}
