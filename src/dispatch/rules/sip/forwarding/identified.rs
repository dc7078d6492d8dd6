//! Requests that name their downstream proxy by an identifier (see `transaction::identifier`): in the Route or the
//! request-URI, as our Record-Route had it, or in the extension header.

use super::record_route::RouteSet;
use super::{Case, unless_ack};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Decision, Forward, Reason, Routes, Target, Tried};
use crate::dispatch::select::Ask;
use crate::dispatch::targets::proxies::Choice;
use crate::dispatch::targets::proxy::Precedence;
use crate::ids::{ProxyId, TargetId};
use crate::transaction::identifier::{IDENTIFIER_PARAM, Identifier};
use crate::wire::sip::{Method, Uri};

impl Dispatch {
    /// The proxy that a URI of ours names.
    pub(super) fn identified_by(&self, uri: &Uri<'_>) -> Option<ProxyId> {
        if !self.proxies.has_identifiers() {
            return None;
        }
        self.proxies.identified(uri.param(IDENTIFIER_PARAM.as_bytes())?)
    }

    /// The proxy that a request names: its topmost Routes as far as they are ours, its request-URI, its extension
    /// header. A system that sends a request does not name itself: it has copied the header of its caller. Whoever else
    /// sends datagrams from its host is another.
    pub(super) fn identified(&self, case: &Case<'_>, set: &RouteSet<'_>) -> Option<ProxyId> {
        if !self.proxies.has_identifiers() {
            return None;
        }
        let in_header = || {
            let value = case.request.message.extension(self.rules.identifier_header.as_bytes())?;
            self.proxies.identified(value)
        };
        let in_uri = || case.request.read.uri.and_then(|uri| self.identified_by(&uri));
        let proxy = set.identified.or_else(in_uri).or_else(in_header)?;
        let address = self.proxies.get(proxy)?.address()?.ip().to_canonical();
        let is_its_own = case.sender().to_canonical() == address && self.system_of(case.arrival).is_some();
        (!is_its_own).then_some(proxy)
    }

    /// The identifier that requests to a proxy and its responses get in the extension header; `None`: they get none.
    /// Its own requests name nobody: another dispatcher with the same key would send them back to it.
    pub fn identifier_for(&self, proxy: ProxyId) -> Option<Identifier> {
        self.proxies.get(proxy).filter(|proxy| proxy.is_identified())?;
        self.proxies.identifier(proxy)
    }

    /// Forwards a request inside a dialog, or an ACK, to the proxy that it names. `None`: it names none.
    pub(super) fn forward_identified(&mut self, case: &Case<'_>, set: &RouteSet<'_>) -> Option<Decision> {
        let proxy = self.identified(case, set)?;
        Some(self.forward_unless_away(case, proxy, Reason::Identified))
    }

    /// Forwards a request to the proxy that has its dialog, or decides about it where that one is away.
    pub(super) fn forward_unless_away(&mut self, case: &Case<'_>, proxy: ProxyId, reason: Reason) -> Decision {
        // A server that the settings have lost has answered calls that rang there.
        let may_have = case.request.method == Method::Ack && self.proxies.has_way_to(proxy);
        if !may_have && self.is_away(proxy) {
            let known = Some(proxy).filter(|proxy| self.proxies.is_configured(*proxy));
            return self.server_is_away(case, known, Routes::default());
        }
        self.forward_within(case, (case.name, reason), |dispatch| dispatch.forward(case, proxy, reason, 0))
    }

    /// Whether a proxy that has a call can get no request now: it has no connection, or the settings have it no more.
    /// One that is reached by datagrams may always get one.
    pub(super) fn is_away(&self, proxy: ProxyId) -> bool {
        match self.proxies.get(proxy) {
            None => true,
            Some(it) => it.is_stream() && (!self.proxies.has_way_to(proxy) || !self.proxies.is_configured(proxy)),
        }
    }

    /// Decides about a request inside a dialog whose proxy has no connection, or is gone from the settings: another
    /// member of its pool gets it where the operator wants that.
    pub(super) fn server_is_away(&mut self, case: &Case<'_>, server: Option<ProxyId>, routes: Routes) -> Decision {
        // The server answers a request that it has had already, also while it gets no others.
        let reason = if case.request.method == Method::Cancel { Reason::Cancel } else { Reason::Retransmission };
        if case.request.method != Method::Ack
            && let Some(decision) = self.follow_context(case, case.name, reason)
        {
            return decision;
        }
        let Some(server) = server else {
            return self.refuse_to_forward(case, 480, Reason::NoProxy);
        };
        let away = |dispatch: &mut Self| unless_ack(case, dispatch.unavailable(case, Reason::NoProxy));
        if !self.proxies.get(server).is_some_and(|proxy| proxy.moves_dialogs()) || case.request.method == Method::Ack {
            return away(self);
        }
        let mut ask = Ask { size: 1, key: case.call.short(), tried: Tried::default() };
        ask.tried.add(TargetId::Proxy(server));
        let kept = || Precedence::Kept;
        let pool = self.proxies.pool_id_of(server);
        let other = pool.and_then(|pool| self.proxies.choose_by(pool, (&ask, kept), 0, case.now).ok());
        let Some(Choice::Proxy(other)) = other else { return away(self) };
        let reason = Reason::MovedError;
        self.proxies.on_moved(server);
        self.forward_within(case, (case.name, reason), |dispatch| {
            let decision = dispatch.forward(case, other, reason, 0);
            match decision.target {
                Target::Forward(forward) if routes != Routes::default() => Decision {
                    target: Target::Forward(Forward {
                        routes,
                        rewrites_uri: forward.rewrites_uri && !routes.restores_uri,
                        ..forward
                    }),
                    ..decision
                },
                _ => decision,
            }
        })
    }
}
