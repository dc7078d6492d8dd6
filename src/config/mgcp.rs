//! MGCP: the rules of each listener, and the names of endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use super::describe::quoted;
use super::error::Fault;
use super::key::within;
use super::{Config, EndpointKind, Listen, Service, Span};
use crate::ids::WorkerId;
use crate::words::Bypass;

/// One table of the key `mgcp`: rules for `mgcp:` listeners. The first rule that fits a listener holds for it; a
/// listener that no rule fits has all defaults.
///
/// ```toml
/// [[mgcp]]
/// listen = "192.0.2.11:2427"
/// bypass = "domain"
/// domain = "ms.example.net"
/// addresses = ["192.0.2.20", "192.0.2.21"]
/// call-agent = "ca.example.net:2727"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MgcpRule {
    /// The listener it holds for, as ADDR:PORT. Default: all.
    pub listen: Option<SocketAddr>,
    /// Way in which the commands after a CRCX come to the worker: `relay`, through the dispatcher; `domain`, to an
    /// address of the worker's own; `port`, to the worker's port, written after the domain. Default `relay`.
    pub bypass: Bypass,
    /// With `domain`: endpoints of worker wN are at `wN.` followed by this name, which the call agent's DNS must know.
    /// Without it they are at `[ADDRESS]`. With another `bypass`: the domain that restarts are announced for.
    pub domain: Option<String>,
    /// With `domain`: each worker's own address, w0's first; it takes the listener's port there.
    pub addresses: Option<Vec<IpAddr>>,
    /// The call agent that hears of starts and ends (RSIP) and is the first notified entity: `[NAME@]HOST[:PORT]`, with
    /// port 2727 if none is given. Default: none.
    pub call_agent: Option<String>,
}

/// Most rules and most aliases.
const RULES: usize = 64;
const ALIASES: usize = 64;

impl Config {
    /// Whether a listener speaks this protocol.
    pub fn serves(&self, service: Service) -> bool {
        self.listen.iter().any(|listen| listen.service == service)
    }

    /// The rule for the listener of this number; all defaults where no rule is written.
    pub fn mgcp_of(&self, listener: usize) -> MgcpRule {
        let listen = self.listen.get(listener);
        let rule = listen.and_then(|listen| self.mgcp.iter().find(|rule| rule.fits(listen)));
        rule.cloned().unwrap_or_default()
    }

    /// Addresses of a slot's own MGCP sockets: each with the number of the listener it belongs to. `bound` are the
    /// listeners' addresses with the ports that the kernel has chosen. A socket that serves several listeners is listed
    /// once.
    pub fn mgcp_addresses(&self, slot: WorkerId, bound: &[SocketAddr]) -> Vec<(u16, SocketAddr)> {
        let mut wanted: Vec<(u16, SocketAddr)> = Vec::new();
        for (number, listen) in self.listen.iter().enumerate().filter(|(_, listen)| listen.service == Service::Mgcp) {
            let address = self.mgcp_address(number, slot, bound.get(number).copied().unwrap_or(listen.address));
            if let Some(address) = address.filter(|address| !wanted.iter().any(|(_, other)| other == address)) {
                wanted.push((number as u16, address));
            }
        }
        wanted
    }

    /// The address of a slot's own socket for one listener. The port is 0 when the kernel is to choose it.
    pub fn mgcp_address(&self, listener: usize, slot: WorkerId, bound: SocketAddr) -> Option<SocketAddr> {
        let rule = self.mgcp_of(listener);
        match rule.bypass {
            Bypass::Domain => {
                let ip = rule.addresses?.get(usize::from(slot.0)).copied()?;
                Some(SocketAddr::new(ip, bound.port()))
            }
            Bypass::Relay | Bypass::Port => Some(SocketAddr::new(bound.ip(), self.mgcp_port(slot))),
        }
    }
}

impl MgcpRule {
    fn fits(&self, listen: &Listen) -> bool {
        listen.service == Service::Mgcp && self.listen.is_none_or(|address| address == listen.address)
    }

    /// Checks the rule alone; the error is the key within it, and the message.
    fn check(&self, workers: u16) -> Result<(), (&'static str, String)> {
        if let Some(domain) = &self.domain {
            check_domain(domain).map_err(|words| ("domain", words))?;
        }
        if let Some(agent) = &self.call_agent {
            check_call_agent(agent).map_err(|words| ("call-agent", words))?;
        }
        match (self.bypass, &self.addresses) {
            (Bypass::Domain, Some(addresses)) => {
                check_addresses(addresses, workers).map_err(|words| ("addresses", words))
            }
            (Bypass::Domain, None) => {
                Err(("bypass", "`domain` needs `addresses`, one of its own for each worker".to_owned()))
            }
            (Bypass::Relay | Bypass::Port, None) => Ok(()),
            (other, Some(_)) => Err((
                "addresses",
                format!("they are for `bypass = \"domain\"`; with `{}` leave them out", other.label()),
            )),
        }
    }
}

/// Checks the rules, each alone and against the listeners.
pub(super) fn checked(rules: Option<&[MgcpRule]>, listen: &[Listen], workers: u16) -> Result<Vec<MgcpRule>, Fault> {
    let rules = rules.unwrap_or_default();
    if rules.len() > RULES {
        return Err(Fault::of("mgcp", format!("{} rules are too many; give at most {RULES}", rules.len())));
    }
    let mut left: Vec<&Listen> = listen.iter().filter(|listen| listen.service == Service::Mgcp).collect();
    if !rules.is_empty() && left.is_empty() {
        let words = "no listener speaks MGCP; add one, such as mgcp:0.0.0.0:2427, or leave the rules out";
        return Err(Fault::between("mgcp.1", "listen", words));
    }
    let mut own: Vec<(usize, SocketAddr, usize)> = Vec::new();
    for (rule, number) in rules.iter().zip(1..) {
        rule.check(workers).map_err(|(key, words)| Fault::of(&format!("mgcp.{number}.{key}"), words))?;
        let (mine, others): (Vec<&Listen>, Vec<&Listen>) = left.into_iter().partition(|listen| rule.fits(listen));
        left = others;
        if mine.is_empty() {
            let (key, words) = match rule.listen {
                Some(address) => {
                    ("listen", format!("no listener mgcp:{address} is there for it, or another rule has it"))
                }
                None => ("bypass", "every MGCP listener has another rule; leave this one out".to_owned()),
            };
            return Err(Fault::of(&format!("mgcp.{number}.{key}"), words));
        }
        for listener in mine {
            let addresses = rule.addresses.iter().flatten().enumerate();
            for (slot, ip) in addresses {
                let address = SocketAddr::new(*ip, listener.address.port());
                check_own(address, listener, listen, (slot, &own))
                    .map_err(|words| Fault::of(&format!("mgcp.{number}.addresses"), words))?;
                own.push((slot, address, number));
            }
        }
    }
    Ok(rules.to_vec())
}

/// Whether a worker can have this address beside the listeners and the other workers.
fn check_own(
    address: SocketAddr,
    of: &Listen,
    listen: &[Listen],
    (slot, others): (usize, &[(usize, SocketAddr, usize)]),
) -> Result<(), String> {
    if address.is_ipv4() != of.address.is_ipv4() {
        return Err(format!("{} is of another family than its listener {of}", address.ip()));
    }
    let own = Listen { service: Service::Mgcp, address };
    let same = |listener: &&Listen| listener.address == address && address.port() == 0;
    if let Some(listener) = listen.iter().find(|listener| own.clashes_with(listener) || same(listener)) {
        let hint =
            if listener.address.ip().is_unspecified() { "name the address it listens on" } else { "give another" };
        return Err(format!("{} is an address of listener {listener}; {hint}", address.ip()));
    }
    match others.iter().find(|(other, taken, _)| *taken == address && *other != slot) {
        Some((other, ..)) => Err(format!("{} is w{other}'s already; each worker needs its own", address.ip())),
        None => Ok(()),
    }
}

fn check_addresses(addresses: &[IpAddr], workers: u16) -> Result<(), String> {
    if addresses.len() < usize::from(workers) {
        return Err(format!("{} for {workers} workers; name one for each", addresses.len()));
    }
    if addresses.len() > usize::from(super::MAX_WORKERS) {
        return Err(format!("{} are too many; there are at most {} workers", addresses.len(), super::MAX_WORKERS));
    }
    for (at, ip) in addresses.iter().enumerate() {
        if is_no_host(ip) {
            return Err(format!("{ip} is no address of one host; give one of this host's"));
        }
        if addresses.iter().take(at).any(|other| other == ip) {
            return Err(format!("{ip} stands there twice; each worker needs its own"));
        }
    }
    Ok(())
}

/// The longest domain: `w1023.` has to fit in front of it (RFC 1035 §2.3.4 has 255 octets, length octets included).
const LONGEST_DOMAIN: usize = 240;

fn check_domain(domain: &str) -> Result<(), String> {
    if domain.len() > LONGEST_DOMAIN {
        return Err(format!("{} characters are too many; give at most {LONGEST_DOMAIN}", domain.len()));
    }
    if is_host(domain) && domain.parse::<Ipv4Addr>().is_err() {
        return Ok(());
    }
    Err(format!("`{domain}` is not a domain; give a name such as ms.example.net"))
}

/// `[NAME@]HOST[:PORT]` with a name, an IPv4 address or a bracketed address as host (RFC 3435 §3.2.1.3).
fn check_call_agent(agent: &str) -> Result<(), String> {
    let bad = || format!("`{agent}` is not a call agent: write HOST:PORT, such as ca.example.net:2727");
    let (name, place) = agent.rsplit_once('@').map_or((None, agent), |(name, place)| (Some(name), place));
    if name.is_some_and(|name| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@')) {
        return Err(bad());
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, port)) if ip.parse::<IpAddr>().is_ok() => {
            (None, port.strip_prefix(':').or((!port.is_empty()).then_some("0")))
        }
        Some(_) => return Err(bad()),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(place), None),
        },
    };
    let is_port =
        |port: &str| port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let literal = host.unwrap_or_else(|| place.trim_start_matches('[').split(']').next().unwrap_or_default());
    if let Some(ip) = literal.parse::<IpAddr>().ok().filter(is_no_host) {
        return Err(format!("{ip} is no address of one host; give the call agent's own"));
    }
    match host.is_none_or(is_host) && port.is_none_or(is_port) && agent.len() <= 255 {
        true => Ok(()),
        false => Err(bad()),
    }
}

/// Whether `ip` cannot be the address of one host.
pub(super) fn is_no_host(ip: &IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast() || *ip == Ipv4Addr::BROADCAST
}

/// Labels of letters, digits and hyphens (RFC 1123 §2.1), with dots between them.
pub(crate) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Checks the aliases and returns them in lower case, in which names are compared.
pub(super) fn aliases(given: &BTreeMap<String, EndpointKind>) -> Result<BTreeMap<String, EndpointKind>, Fault> {
    if given.len() > ALIASES {
        return Err(Fault::of("mgcp-aliases", format!("{} are too many; give at most {ALIASES}", given.len())));
    }
    let mut aliases = BTreeMap::new();
    for (name, kind) in given {
        let fault = |words: String| Fault::of(&format!("mgcp-aliases.{name}"), words);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_term = |term: &str| !term.is_empty() && term.bytes().all(is_part);
        if name.len() > 63 || !name.split('/').all(is_term) {
            let words =
                "no beginning of an endpoint name; give terms of letters, digits, `-`, `_` and `.`, with `/` between";
            return Err(fault(words.to_owned()));
        }
        let lower = name.to_ascii_lowercase();
        let first = lower.split('/').next().unwrap_or_default();
        if EndpointKind::ALL.iter().any(|kind| kind.label() == first) {
            return Err(fault(format!("`{first}` is a kind itself and stands for nothing else")));
        }
        if aliases.insert(lower, *kind).is_some() {
            return Err(fault("stands there twice: endpoint names are the same in either case".to_owned()));
        }
    }
    Ok(aliases)
}

/// Checks the time after which connections without a sign of life end.
pub(super) fn timeout(given: Span) -> Result<Option<Duration>, Fault> {
    const LEAST: Span = Span::Of(Duration::from_secs(1));
    const MOST: Span = Span::Of(Duration::from_secs(7 * 86_400));
    if given != Span::Never {
        within("mgcp-timeout", &given, &(LEAST..=MOST), ", or `never`")?;
    }
    Ok(given.duration())
}

impl fmt::Display for MgcpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ ")?;
        if let Some(listen) = self.listen {
            write!(f, "listen = \"{listen}\", ")?;
        }
        write!(f, "bypass = \"{}\"", self.bypass.label())?;
        if let Some(domain) = &self.domain {
            write!(f, ", domain = \"{domain}\"")?;
        }
        if let Some(addresses) = &self.addresses {
            let addresses: Vec<String> = addresses.iter().map(|ip| format!("\"{ip}\"")).collect();
            write!(f, ", addresses = [{}]", addresses.join(", "))?;
        }
        if let Some(agent) = &self.call_agent {
            write!(f, ", call-agent = {}", quoted(agent))?;
        }
        f.write_str(" }")
    }
}
