//! The rules of decisions, as the operator sets them. A reload replaces all of them; the table stays.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::config::{self, Config, MethodRule, Network, Policy, Route, Service};
use crate::ids::ListenerId;
use crate::transaction::LIFETIME;
use crate::wire::sip::{Method, capabilities};
use crate::words::{AccessRule, Transport};

pub use crate::dispatch::size::SizeRules;

/// All settings of the operator that concern decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The policy by which workers are selected.
    pub policy: Policy,
    /// Weights for `weighted`, by slot; 1 if none is given, 0: never.
    pub weights: Vec<u32>,
    /// The methods that begin something at a worker.
    pub methods: Methods,
    /// The rules by which the size of a session is read.
    pub size: SizeRules,
    /// Longest time that an INVITE may wait for its final response before the table forgets it.
    pub pending_max: Duration,
    /// Time that a worker takes to get its full share after its start; zero: at once.
    pub slow_start: Duration,
    /// Longest time that a request may be offered around after refusals.
    pub patience: Duration,
    /// A worker that reads a request later than this after its arrival refuses it.
    pub read_within: Duration,
    /// A worker not heard of for this long is silent.
    pub silent_after: Duration,
    /// Retry-After of a 503, in seconds.
    pub retry_after: u32,
    /// Sources that can reach only the well-known address.
    pub pinned: Vec<Network>,
    /// Whether calls stay at the well-known address, by listener; those without an entry do not.
    pub pinned_listeners: Vec<bool>,
    /// Sources to which a worker sends 180 before its answer to their call.
    pub ring_first: Vec<Network>,
    /// Sources that may send, and their rates.
    pub access: Vec<AccessRule>,
    /// Addresses of this host beside the one a message arrived on, such as `--advertise`.
    pub own_addresses: Vec<IpAddr>,
    /// The addresses, one of a family, from which sockets that are bound to a wildcard reach others.
    pub wildcard_addresses: Vec<IpAddr>,
    /// Routes to the pools, in their order.
    pub routes: Vec<Route>,
    /// The route of what no other fits.
    pub unrouted: Route,
    /// Pools of downstream proxies.
    pub pools: Vec<config::Pool>,
    /// Downstream proxies.
    pub proxies: Vec<config::Proxy>,
    /// The extension header that holds a proxy's identifier.
    pub identifier_header: String,
    /// Time for which a message that went to a proxy over TCP or TLS is remembered after its final response.
    pub remember: Duration,
    /// All listeners, by number: routes name them.
    pub listen: Vec<config::Listen>,
    /// The well-known UDP sockets of SIP, with the addresses that they are bound to.
    pub udp_listeners: Vec<(ListenerId, SocketAddr)>,
    /// The well-known stream listeners of SIP, with the addresses that they are bound to.
    pub stream_listeners: Vec<(ListenerId, Transport, SocketAddr)>,
    /// The name in the certificates of TLS and WebSocket listeners.
    pub contact_name: Option<String>,
    /// Domains of MGCP endpoints, compared in any case. Endpoints of worker wN are at `wN.` followed by one of these.
    pub mgcp_domains: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            policy: Policy::LeastLoad,
            weights: Vec::new(),
            methods: Methods::default(),
            size: SizeRules::default(),
            pending_max: Duration::from_secs(300),
            slow_start: Duration::from_secs(10),
            patience: Duration::from_millis(400),
            read_within: Duration::from_secs(2),
            silent_after: Duration::from_secs(5),
            retry_after: 5,
            pinned: Vec::new(),
            pinned_listeners: Vec::new(),
            ring_first: Vec::new(),
            access: Vec::new(),
            own_addresses: Vec::new(),
            wildcard_addresses: Vec::new(),
            routes: Vec::new(),
            unrouted: Route { pool: config::Pool::WORKERS.to_owned(), ..Route::default() },
            pools: Vec::new(),
            proxies: Vec::new(),
            identifier_header: config::Config::default().identifier_header,
            remember: LIFETIME,
            listen: Vec::new(),
            udp_listeners: Vec::new(),
            stream_listeners: Vec::new(),
            contact_name: None,
            mgcp_domains: Vec::new(),
        }
    }
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        Rules {
            policy: config.policy,
            weights: config.slots().map(|slot| config.weight(slot)).collect(),
            methods: Methods {
                message: config.method_rule("MESSAGE"),
                subscribe: config.method_rule("SUBSCRIBE"),
                notify: config.method_rule("NOTIFY"),
                refer: config.method_rule("REFER"),
                info: config.method_rule("INFO"),
                publish: config.method_rule("PUBLISH"),
                register: config.method_rule("REGISTER"),
            },
            size: SizeRules {
                order: config.size_order.clone(),
                max: config.max_size,
                video: config.video_size,
                from: config.size_from.clone(),
            },
            pending_max: config.pending_max,
            slow_start: config.slow_start,
            silent_after: config.silent_after,
            pinned: config.pinned_sources.clone(),
            pinned_listeners: (0..config.listen.len()).map(|number| config.pins(number)).collect(),
            ring_first: config.ring_first.clone(),
            access: config.access_rules(),
            own_addresses: config.advertise.into_iter().collect(),
            routes: config.routes.clone(),
            unrouted: Route { pool: config.pool_without_route().to_owned(), ..Route::default() },
            pools: config.pools.clone(),
            proxies: config.proxies.clone(),
            identifier_header: config.identifier_header.clone(),
            remember: config.remember,
            listen: config.listen.clone(),
            udp_listeners: udp_listeners(config),
            stream_listeners: stream_listeners(config),
            contact_name: config.contact_name().map(str::to_owned),
            mgcp_domains: (0..config.listen.len()).filter_map(|number| config.mgcp_of(number).domain).collect(),
            ..Rules::default()
        }
    }
}

/// The well-known UDP sockets of SIP.
fn udp_listeners(config: &Config) -> Vec<(ListenerId, SocketAddr)> {
    let numbered = (0..).zip(&config.listen);
    let udp = numbered.filter(|(_, listen)| listen.service == Service::Udp);
    udp.map(|(number, listen)| (ListenerId(number), listen.address)).collect()
}

/// The well-known stream listeners of SIP.
fn stream_listeners(config: &Config) -> Vec<(ListenerId, Transport, SocketAddr)> {
    let transport = |service| match service {
        Service::Tcp => Some(Transport::Tcp),
        Service::Tls => Some(Transport::Tls),
        Service::Ws => Some(Transport::Ws),
        Service::Wss => Some(Transport::Wss),
        Service::Udp | Service::Mgcp => None,
    };
    let numbered = (0..).zip(&config.listen);
    let stream =
        numbered.filter_map(|(number, listen)| Some((ListenerId(number), transport(listen.service)?, listen.address)));
    stream.collect()
}

/// The well-known UDP socket from which a request leaves for an address, unless it has come to one that reaches it.
/// Sockets with an address of their own come first: what leaves from there is known. `listeners` are all of them, with
/// the addresses that they are bound to.
pub fn udp_listener_towards<Id: Copy>(
    listeners: impl Iterator<Item = (Id, SocketAddr)> + Clone,
    to: IpAddr,
) -> Option<(Id, SocketAddr)> {
    let mut fitting = listeners.filter(|(_, address)| address.is_ipv4() == to.is_ipv4());
    // From a loopback address nothing reaches another host, and the other way round.
    let named = |(_, own): &(Id, SocketAddr)| !own.ip().is_unspecified() && own.ip().is_loopback() == to.is_loopback();
    let wildcard = |(_, own): &(Id, SocketAddr)| own.ip().is_unspecified();
    let (mut first, mut second) = (fitting.clone(), fitting.clone());
    first.find(named).or_else(|| second.find(wildcard)).or_else(|| fitting.next())
}

impl Rules {
    /// The well-known listeners of SIP, with the addresses that they are bound to.
    pub(in crate::dispatch) fn listeners(&self) -> impl Iterator<Item = (ListenerId, Transport, SocketAddr)> + Clone {
        let udp = self.udp_listeners.iter().map(|(id, address)| (*id, Transport::Udp, *address));
        udp.chain(self.stream_listeners.iter().copied())
    }

    /// The well-known listener for connections over this transport that an address of this family reaches, and the
    /// address that it is bound to.
    pub fn stream_listener(&self, transport: Transport, from: IpAddr) -> Option<(ListenerId, SocketAddr)> {
        let fits = |(_, of, address): &&(ListenerId, Transport, SocketAddr)| {
            *of == transport && address.is_ipv4() == from.to_canonical().is_ipv4()
        };
        self.stream_listeners.iter().find(fits).map(|(listener, _, address)| (*listener, *address))
    }

    /// The address that a well-known UDP socket of SIP is bound to; `None` if the listener is of another kind.
    pub fn udp_listener(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.udp_listeners.iter().find(|(of, _)| *of == listener).map(|(_, address)| *address)
    }
}

/// The methods besides INVITE that may begin something, each with its rule. OPTIONS is the dispatcher's own. BYE, PRACK
/// and UPDATE exist in dialogs only and get 481 outside (RFC 3261 §15.1.2, RFC 3262 §3, RFC 3311 §5.2). So do INFO and
/// NOTIFY that are refused (RFC 6086 §4.2.2, RFC 6665 §4.1.3); other refused methods get 405.
///
/// A media server has neither a registrar nor an event state compositor, and its subscriptions (KPML, RFC 4730) and
/// INFOs (RFC 6086) use the dialog of the call. So those are refused unless the operator's workers serve them. A
/// page-mode MESSAGE and an out-of-dialog REFER (RFC 3515, by which conferences are told to dial out) concern the
/// application on the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// RFC 3428.
    pub message: MethodRule,
    /// RFC 6665.
    pub subscribe: MethodRule,
    /// RFC 6665, for subscriptions that were made without a SUBSCRIBE.
    pub notify: MethodRule,
    /// RFC 3515.
    pub refer: MethodRule,
    /// RFC 6086.
    pub info: MethodRule,
    /// RFC 3903.
    pub publish: MethodRule,
    /// RFC 3261 §10.
    pub register: MethodRule,
}

impl Default for Methods {
    fn default() -> Self {
        Methods {
            message: MethodRule::Select,
            subscribe: MethodRule::Refuse,
            notify: MethodRule::Refuse,
            refer: MethodRule::Select,
            info: MethodRule::Refuse,
            publish: MethodRule::Refuse,
            register: MethodRule::Refuse,
        }
    }
}

impl Methods {
    /// The rule for a method; `None` for methods without such a rule.
    pub const fn rule(&self, method: Method<'_>) -> Option<MethodRule> {
        Some(match method {
            Method::Message => self.message,
            Method::Subscribe => self.subscribe,
            Method::Notify => self.notify,
            Method::Refer => self.refer,
            Method::Info => self.info,
            Method::Publish => self.publish,
            Method::Register => self.register,
            _ => return None,
        })
    }

    /// The value of Allow: the methods that are not answered 405, in or outside of dialogs.
    pub fn allow(&self) -> String {
        let mut allow = String::from(capabilities::ALLOW);
        let ruled = [
            (self.message, ", MESSAGE"),
            (self.subscribe, ", SUBSCRIBE"),
            (self.notify, ", NOTIFY"),
            (self.refer, ", REFER"),
            (self.publish, ", PUBLISH"),
            (self.register, ", REGISTER"),
        ];
        ruled.iter().filter(|(rule, _)| *rule != MethodRule::Refuse).for_each(|(_, name)| allow.push_str(name));
        allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_leaves_from_a_socket_that_reaches_its_receiver_and_one_with_an_address_of_its_own_comes_first() {
        let towards = |listeners: &[&str], to: &str| {
            let listeners = (0..).zip(listeners.iter().map(|address| address.parse().unwrap()));
            udp_listener_towards(listeners, to.parse().unwrap()).map(|(number, _): (usize, SocketAddr)| number)
        };
        let all = ["[::]:5060", "127.0.0.1:5060", "0.0.0.0:5061", "192.0.2.2:5060", "192.0.2.3:5060"];
        assert_eq!(towards(&all, "192.0.2.9"), Some(3));
        assert_eq!(towards(&all, "127.0.0.9"), Some(1));
        assert_eq!(towards(&all, "2001:db8::9"), Some(0));
        assert_eq!(towards(&all[..3], "192.0.2.9"), Some(2), "nothing leaves the host from a loopback address");
        assert_eq!(towards(&all[..2], "192.0.2.9"), Some(1), "nothing else is there");
        assert_eq!(towards(&all[1..], "2001:db8::9"), None);
    }

    #[test]
    fn allow_names_what_the_rules_let_through() {
        assert!(Methods::default().allow().ends_with(", MESSAGE, REFER"));
        assert!(!Methods::default().allow().contains("REGISTER"));
    }
}
