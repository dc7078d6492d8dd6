//! Echoed identity: the worker that a message names itself, in a field that its sender had to copy from an earlier one.

use super::{Case, EXTENSION, URI_PARAM};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, Reason};
use crate::dispatch::identity::Named;
use crate::ids::WorkerId;
use crate::wire::sip::{Name, NameAddr, Uri};

/// The result of the search for a worker that the message itself names.
pub(super) enum Echoed {
    NoWorker,
    Worker(WorkerId, Reason),
    /// It refers to a dialog that is gone with its worker.
    Gone(Reason),
}

impl Dispatch {
    /// The worker that the message itself names, for requests that begin something.
    pub(super) fn echoed(&self, case: &Case<'_>) -> Echoed {
        let message = case.request.message;
        if let Some((Named::Live(worker), reason)) = self.addressed(case) {
            return Echoed::Worker(worker, reason);
        }
        if let Some(dialog) = message.replaces().or_else(|| message.join())
            && let Some(named) = dialog.to_tag.and_then(|tag| self.directory.token(tag))
        {
            return match named {
                Named::Live(worker) => Echoed::Worker(worker, Reason::Replaces),
                Named::Gone => Echoed::Gone(Reason::ReplacesGone),
            };
        }
        let field = |field: Option<&[u8]>| match field.and_then(|field| self.directory.token(field)) {
            Some(Named::Live(worker)) => Some(worker),
            // These fields are worth nothing once the worker's life is over: a new worker challenges again.
            Some(Named::Gone) | None => None,
        };
        let extension = field(message.extension(EXTENSION.as_bytes())).map(|worker| (worker, Reason::Extension));
        let target = || message.target_dialog().and_then(|dialog| dialog.to_tag);
        let found = extension
            .or_else(|| Some((field(target())?, Reason::TargetDialog)))
            .or_else(|| Some((field(message.nonce())?, Reason::Nonce)))
            .or_else(|| Some((field(message.header(Name::SipIfMatch))?, Reason::Etag)));
        found.map_or(Echoed::NoWorker, |(worker, reason)| Echoed::Worker(worker, reason))
    }

    /// The worker that request-URI or topmost Route name, by token or by its own address.
    pub(super) fn addressed(&self, case: &Case<'_>) -> Option<(Named, Reason)> {
        let by_uri = case.request.read.uri.and_then(|uri| {
            let token = self.token_in(&uri).map(|named| (named, Reason::RequestUri));
            token.or_else(|| self.own_port(&uri, case.arrival).map(|named| (named, Reason::WorkerAddress)))
        });
        // Without workers no Route can lead to one.
        if matches!(by_uri, Some((Named::Live(_), _))) || self.pool.is_empty() {
            return by_uri;
        }
        let route =
            case.request.message.values(Name::Route).next().and_then(NameAddr::parse).and_then(|route| route.uri());
        let by_route = route.and_then(|uri| self.token_in(&uri).or_else(|| self.own_port(&uri, case.arrival)));
        by_route.map(|named| (named, Reason::Route)).or(by_uri)
    }

    fn token_in(&self, uri: &Uri<'_>) -> Option<Named> {
        let user = uri.user.and_then(|user| self.directory.token(user));
        user.or_else(|| uri.param(URI_PARAM).and_then(|param| self.directory.token(param)))
    }

    fn own_port(&self, uri: &Uri<'_>, arrival: &Arrival) -> Option<Named> {
        // A worker's port is never the default one, so a worker's address always has a port, and not the well-known
        // one.
        let port = uri.port.filter(|&port| port != arrival.local.port())?;
        let host = uri.host.ip()?;
        let is_ours = |host| host == arrival.local.ip() || self.rules.own_addresses.contains(&host);
        self.directory.address(host, port, is_ours)
    }
}
