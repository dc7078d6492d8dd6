//! The worker that a command names: by a token in an endpoint name that it was told, or by a domain that belongs to one
//! worker.

use std::net::SocketAddr;

use super::{Case, Dispatch};
use crate::dispatch::decision::{Arrival, Reason};
use crate::dispatch::identity::Named;
use crate::ids::WorkerId;
use crate::wire::mgcp::{EndpointName, Field, ReturnCode};

/// The worker that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meant {
    /// It names no worker.
    NoWorker,
    /// A worker that lives.
    Worker(WorkerId, Reason),
    /// It names an endpoint or a connection that is gone with its worker; this is the return code for it.
    Gone(ReturnCode),
}

impl Dispatch {
    /// The worker that a command names. The endpoint decides. The second endpoint goes to the same worker (RFC 3435
    /// §2.3.5), so it is read if the first one leaves a choice.
    pub(super) fn meant(&self, case: &Case<'_>) -> Meant {
        let command = case.request.command;
        let endpoint = command.endpoint();
        if let Some(named) = self.token_among(endpoint.local()) {
            return meant(named, Reason::Endpoint, ReturnCode::ENDPOINT_UNKNOWN);
        }
        match self.in_domain(&endpoint, case.arrival) {
            // A slot without a worker. If the call agent leaves the choice of the endpoint, any other worker will do.
            Some(Named::Gone) if case.request.leaves_choice() => {}
            Some(named) => return meant(named, Reason::EndpointDomain, ReturnCode::ENDPOINT_UNKNOWN),
            None => {}
        }
        if let Some(second) = command.param(Field::SecondEndpointId)
            && let Some(named) = self.token_among(second)
        {
            return meant(named, Reason::SecondEndpoint, ReturnCode::ENDPOINT_UNKNOWN);
        }
        match command.connection_id().and_then(|id| self.directory.connection(id)) {
            Some(named) => meant(named, Reason::ConnectionId, ReturnCode::INCORRECT_CONNECTION),
            None => Meant::NoWorker,
        }
    }

    /// The worker whose token is a term of a local name.
    fn token_among(&self, name: &[u8]) -> Option<Named> {
        name.split(|byte| b"/@".contains(byte)).find_map(|term| self.directory.mgcp_token(term))
    }

    /// The worker that the domain belongs to: by `wN.` in front of a domain of ours, by a worker's address, or by its
    /// port after any domain.
    fn in_domain(&self, endpoint: &EndpointName<'_>, arrival: &Arrival) -> Option<Named> {
        let (domain, port) = (endpoint.domain(), endpoint.domain_port());
        if let Some(rest) = domain.strip_prefix(b"w").or_else(|| domain.strip_prefix(b"W"))
            && let Some(named) = self.labelled(rest)
        {
            return Some(named);
        }
        let well_known = arrival.local.port();
        let ip = domain.strip_prefix(b"[").and_then(|domain| domain.strip_suffix(b"]"));
        if let Some(ip) = ip.and_then(|ip| std::str::from_utf8(ip).ok()?.parse().ok())
            && let Some(named) = self.directory.mgcp(SocketAddr::new(ip, port.unwrap_or(well_known)))
        {
            return Some(named);
        }
        self.directory.mgcp_port(port.filter(|port| *port != well_known)?)
    }

    /// The worker of `N.DOMAIN`.
    fn labelled(&self, rest: &[u8]) -> Option<Named> {
        let dot = memchr::memchr(b'.', rest)?;
        let (number, domain) = rest.split_at_checked(dot)?;
        let domain = domain.get(1..)?;
        if !self.rules.mgcp_domains.iter().any(|ours| ours.as_bytes().eq_ignore_ascii_case(domain)) {
            return None;
        }
        let worker = WorkerId(std::str::from_utf8(number).ok()?.parse().ok()?);
        let slot = self.pool.get(worker)?;
        Some(if slot.is_alive() && slot.services.mgcp { Named::Live(worker) } else { Named::Gone })
    }
}

const fn meant(named: Named, reason: Reason, gone: ReturnCode) -> Meant {
    match named {
        Named::Live(worker) => Meant::Worker(worker, reason),
        Named::Gone => Meant::Gone(gone),
    }
}
