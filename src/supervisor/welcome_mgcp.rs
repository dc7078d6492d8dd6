//! The part of a worker's `Welcome` about MGCP.

use std::net::{IpAddr, SocketAddr};

use super::event_loop::Supervisor;
use crate::config::Service;
use crate::ids::WorkerId;
use crate::words::{Bypass, Mgcp, MgcpListener};

impl Supervisor {
    /// Everything that `worker` needs to serve MGCP; `None` where no listener speaks it.
    pub(super) fn mgcp_for(&self, worker: WorkerId) -> Option<Mgcp> {
        let slot = self.slots.get(usize::from(worker.0));
        let bound = self.listeners.addresses();
        let speaking = self.config.listen.iter().zip(bound).enumerate();
        let speaking = speaking.filter(|(_, (listen, _))| listen.service == Service::Mgcp);
        let listeners = speaking.map(|(number, (_, bound))| self.mgcp_listener(worker, number, bound));
        let mgcp = Mgcp {
            aliases: self
                .config
                .mgcp_aliases
                .iter()
                .map(|(name, kind)| (name.clone(), kind.label().to_owned()))
                .collect(),
            listeners: listeners.collect(),
            timeout_ms: self.config.mgcp_timeout.map(|time| time.as_millis() as u64),
            predecessor: slot.and_then(|slot| slot.predecessor).map(|dead| self.key.token(dead).to_string()),
        };
        (!mgcp.listeners.is_empty()).then_some(mgcp)
    }

    fn mgcp_listener(&self, worker: WorkerId, number: usize, bound: SocketAddr) -> MgcpListener {
        let rule = self.config.mgcp_of(number);
        let slot = self.slots.get(usize::from(worker.0));
        let own = slot.and_then(|slot| {
            let wanted = self.config.mgcp_address(number, worker, bound)?;
            let is_it =
                |own: &SocketAddr| own.ip() == wanted.ip() && (wanted.port() == 0 || own.port() == wanted.port());
            slot.sockets.mgcp_addresses().into_iter().find(is_it)
        });
        // A worker that came by itself has no address set aside: the dispatcher goes on finding it by name.
        let bypass = match rule.bypass {
            Bypass::Domain if own.is_none() => Bypass::Relay,
            bypass => bypass,
        };
        let domain = match (bypass, own, rule.domain) {
            (Bypass::Domain, _, Some(domain)) => format!("{worker}.{domain}"),
            (Bypass::Domain, Some(own), None) => literal(own.ip()),
            (_, _, Some(domain)) => domain,
            (_, _, None) => literal(self.reached_at(bound.ip())),
        };
        MgcpListener { listener: number as u16, bypass, domain, own, call_agent: rule.call_agent }
    }
}

/// An address as a domain (RFC 3435 §3.2.1.3: in brackets).
fn literal(ip: IpAddr) -> String {
    format!("[{ip}]")
}
