//! One look-up: the records it needs next, or the endpoints it has found. A function of the records known so far.

use std::net::{IpAddr, SocketAddr};

use crate::names::hosts::Hosts;
use crate::names::question::{Endpoint, Protocol, Question, Server};
use crate::names::record::{Kind, Outcome, in_order};
use crate::names::servers::Servers;

/// Stage of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It needs these records.
    Ask(Vec<(Box<str>, Kind)>),
    /// It has found at least one endpoint, the best first.
    Found(Vec<Server>),
    /// There is no such name.
    NoName,
    /// There is nothing to be found.
    Nothing,
    /// Some name servers did not answer, and the answers of others lead nowhere.
    Failed,
}

/// The step that a look-up is at.
pub(super) struct Ground<'a, F> {
    pub(super) hosts: &'a Hosts,
    pub(super) servers: &'a Servers,
    /// Draws the order of servers of one priority.
    pub(super) seed: u64,
    /// The outcome of a query; `None` while there is none.
    pub(super) record: F,
}

/// A SIP element tries a handful of addresses at most.
const ENDPOINTS_LIMIT: usize = 16;
/// Servers of a service that are looked at.
const TARGETS_LIMIT: usize = 8;

/// A server whose addresses are wanted.
struct Target {
    protocol: Protocol,
    port: u16,
    name: Box<str>,
    priority: u16,
    weight: u16,
}

impl<F: Fn(&str, Kind) -> Option<Outcome>> Ground<'_, F> {
    /// The next step of the look-up of `question`.
    pub(super) fn step(&self, question: &Question) -> Step {
        let mut last = Step::NoName;
        for name in self.servers.candidates(&question.host) {
            match self.of_name(question, &name) {
                Step::NoName => {}
                Step::Nothing if last == Step::NoName => last = Step::Nothing,
                Step::Nothing => {}
                Step::Failed => last = Step::Failed,
                step => return step,
            }
        }
        last
    }

    /// RFC 3263 §4.2: without a port SRV records are asked for; without SRV records, or with a port, addresses. The
    /// file of hosts comes first: this host's operator has written it.
    fn of_name(&self, question: &Question, name: &str) -> Step {
        let protocol = question.protocols.first().copied().unwrap_or(Protocol::Udp);
        let itself = Target { protocol, port: question.usual_port(), name: name.into(), priority: 0, weight: 0 };
        if question.port.is_some() || self.hosts.get(name).is_some() {
            return self.addresses(&[itself]);
        }
        let (mut targets, mut missing, mut failed, mut any) = (Vec::new(), Vec::new(), false, false);
        let pointers = match question.asks_transports.then(|| (self.record)(name, Kind::Naptr)) {
            Some(None) => return Step::Ask(vec![(name.into(), Kind::Naptr)]),
            Some(Some(Outcome::Pointers(pointers, _))) => pointers,
            // Without them the SRV records of the transports are tried.
            Some(Some(_)) | None => Vec::new(),
        };
        for protocol in question.protocols {
            let pointer = pointers.iter().find(|pointer| &*pointer.service == protocol.pointer());
            let records =
                pointer.map_or_else(|| format!("{}.{name}", protocol.service()).into(), |pointer| pointer.name.clone());
            match (self.record)(&records, Kind::Srv) {
                None => missing.push((records, Kind::Srv)),
                Some(Outcome::Services(services, _)) => {
                    any = true;
                    // RFC 2782: an empty target says that the service is not there.
                    let there = in_order(&services, self.seed).into_iter().filter(|service| !service.target.is_empty());
                    targets.extend(there.map(|service| Target {
                        protocol: *protocol,
                        port: service.port,
                        name: service.target.clone(),
                        priority: service.priority,
                        weight: service.weight,
                    }));
                }
                Some(Outcome::Failed) => failed = true,
                Some(Outcome::Addresses(..) | Outcome::Pointers(..) | Outcome::NoName(_) | Outcome::Nothing(_)) => {}
            }
        }
        if !missing.is_empty() {
            return Step::Ask(missing);
        }
        if any {
            targets.truncate(TARGETS_LIMIT);
            // The name is there, whatever its servers' names are.
            return match self.addresses(&targets) {
                Step::NoName => Step::Nothing,
                step => step,
            };
        }
        match self.addresses(&[itself]) {
            Step::NoName | Step::Nothing if failed => Step::Failed,
            step => step,
        }
    }

    fn addresses(&self, targets: &[Target]) -> Step {
        let (mut found, mut missing, mut failed) = (Vec::new(), Vec::new(), false);
        let mut is_there = targets.is_empty();
        for &Target { protocol, port, ref name, priority, weight } in targets {
            let at = |ip: IpAddr| {
                let endpoint = Endpoint { protocol, address: SocketAddr::new(ip, port) };
                Server { endpoint, priority, weight }
            };
            if let Some(ips) = self.hosts.get(name) {
                found.extend(ips.into_iter().map(at));
                continue;
            }
            for kind in [Kind::A, Kind::Aaaa] {
                match (self.record)(name, kind) {
                    None => missing.push((name.clone(), kind)),
                    Some(Outcome::Addresses(ips, _)) => found.extend(ips.into_iter().map(at)),
                    Some(Outcome::Failed) => failed = true,
                    Some(Outcome::NoName(_)) => {}
                    Some(Outcome::Services(..) | Outcome::Pointers(..) | Outcome::Nothing(_)) => is_there = true,
                }
            }
        }
        found.truncate(ENDPOINTS_LIMIT);
        match (missing.is_empty(), found.is_empty()) {
            (false, _) => Step::Ask(missing),
            (true, false) => Step::Found(found),
            (true, true) if failed => Step::Failed,
            (true, true) if is_there => Step::Nothing,
            (true, true) => Step::NoName,
        }
    }
}
