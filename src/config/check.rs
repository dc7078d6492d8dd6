//! Settings → configuration: defaults are filled in and every value is checked, alone and against the others.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::error::{ConfigError, Fault, Origin};
use super::key::within;
use super::proxies::{self, Proxies};
use super::{Config, Listen, MAX_WORKERS, MethodRule, PortRange, Settings, SizeSource, Span};
use super::{access, connections, lan, mgcp, sip, tls};
use crate::ids::WorkerId;
use crate::words::Bypass;

impl Config {
    /// Fills in the defaults and checks the whole.
    ///
    /// # Errors
    /// The first value that is not possible, with its key and what to write instead.
    pub fn check(settings: &Settings) -> Result<Config, ConfigError> {
        settings.check().map_err(|fault| fault.found_in(&Origin::default()))
    }

    /// Settings that are allowed and probably not meant, a line each: for `pointsman check` and the log at start
    /// and after a reload.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let streams = self.rtp_ports(WorkerId(0)).pairs();
        if self.workers == 0 && self.proxies.is_empty() {
            notes.push("workers: none is started; calls get 503 until one comes to the handoff socket".to_owned());
        } else if self.workers > 0 && streams < self.capacity {
            notes.push(format!(
                "rtp-ports: {} leaves each of {} {streams} media streams, fewer than its capacity of {}",
                self.rtp_ports,
                super::count_of_workers(self.workers),
                self.capacity
            ));
        }
        let beside = self.rtp_ports_beside().map_or(0, PortRange::pairs);
        let remedy = "narrow it, or start each of them with --rtp-ports";
        if beside == 0 {
            notes.push(format!("rtp-ports: {} leaves no ports to workers of your own; {remedy}", self.rtp_ports));
        } else if self.workers == 0 && beside < self.capacity {
            notes.push(format!(
                "rtp-ports: {} leaves workers of your own {beside} media streams between them, fewer than the capacity \
                 of {} of one; {remedy}",
                self.rtp_ports, self.capacity
            ));
        }
        let weighted = self.policy == super::Policy::Weighted;
        if !self.weights.is_empty() && !weighted {
            notes.push(format!("weights: the policy {} does not look at them; `weighted` does", self.policy));
        }
        if self.max_size > self.capacity {
            notes.push(format!(
                "max-size: {} is more than a worker's capacity of {}: such a session is always refused",
                self.max_size, self.capacity
            ));
        }
        if !self.serves(super::Service::Mgcp) && self.mgcp_aliases != Config::default().mgcp_aliases {
            notes.push("mgcp-aliases: no listener speaks MGCP".to_owned());
        }
        if !self.serves(super::Service::Mgcp) && self.mgcp_timeout != Config::default().mgcp_timeout {
            notes.push("mgcp-timeout: no listener speaks MGCP".to_owned());
        }
        notes.extend(self.tls_notes());
        notes.extend(self.access_notes());
        if let (Some(all), Some(one)) = (self.max_connections, self.max_connections_per_source)
            && one > all
        {
            notes.push(format!("max-connections-per-source: {one} is more than max-connections, {all}, which holds"));
        }
        notes.extend(self.proxy_notes());
        if !self.origins.is_empty() && !self.listen.iter().any(|listen| listen.service.is_websocket()) {
            notes.push("origins: no listener speaks WebSocket".to_owned());
        }
        if self.advertise.is_none() && self.listen.iter().any(|listen| listen.address.ip().is_loopback()) {
            notes.push("listen: a loopback address is reached from this host only".to_owned());
        }
        notes
    }
}

/// Most bytes of a socket's path, besides its closing NUL (unix(7)).
pub const LONGEST_SOCKET_PATH: usize = 107;

/// The longest name of a socket in the run directory.
pub const LONGEST_SOCKET_NAME: &str = "handoff.sock";

/// Methods that can open a session without a dialog. A worker is always selected for an INVITE, and OPTIONS is always
/// answered; every other method belongs to a transaction or dialog that a worker has.
const RULED_METHODS: [&str; 7] = ["INFO", "MESSAGE", "NOTIFY", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE"];

impl Settings {
    pub(super) fn check(&self) -> Result<Config, Fault> {
        let config = self.fill_in()?;
        check_ports(&config)?;
        Ok(config)
    }

    fn fill_in(&self) -> Result<Config, Fault> {
        let workers = count_of(self.workers()?)?;
        let listen = listeners(self.listen()?)?;
        let Proxies { routes, pools, defaults: proxy_defaults, proxies } = proxies::checked(self, &listen)?;
        Ok(Config {
            workers,
            run_dir: self.run_dir.as_deref().map(run_dir).transpose()?,
            stats_group: self.stats_group.as_deref().map(group).transpose()?,
            worker_ports: self.worker_ports()?,
            worker_mgcp_ports: self.worker_mgcp_ports()?,
            capacity: self.capacity()?,
            rtp_ports: self.rtp_ports()?,
            policy: self.policy()?,
            lanes: lanes(self.lanes()?)?,
            advertise: self.advertise.map(advertised).transpose()?,
            insert: self.insert()?,
            reply_from: self.reply_from()?,
            stop_after: time(self.stop_after()?),
            drain_after: drain_after(self.drain_after()?)?,
            max_size: self.max_size()?,
            video_size: self.video_size()?,
            size_from: self.size_from()?,
            size_order: size_order(self.size_order()?)?,
            table_cap: self.table_cap()?,
            pending_max: time(self.pending_max()?),
            retention: self.retention()?,
            slow_start: time(self.slow_start()?),
            silent_after: time(self.silent_after()?),
            weights: weights(self.weights.as_ref(), workers)?,
            methods: methods(self.methods.as_ref())?,
            token_key: self.token_key.as_ref().map(super::Secret::token_key),
            previous_token_key: self.previous_token_key.as_ref().map(super::Secret::token_key),
            pinned_sources: self.pinned_sources.clone().unwrap_or_default(),
            sip: sip::checked(self.sip.as_deref(), &listen)?,
            lan: lan::checked(self.lan.as_ref())?,
            tls: tls::checked(self.tls.as_deref(), &listen)?,
            max_connections: connections::count("max-connections", self.max_connections)?,
            max_connections_per_source: connections::count(
                "max-connections-per-source",
                self.max_connections_per_source,
            )?,
            connection_exempt: self.connection_exempt.clone().unwrap_or_default(),
            max_handshakes: self.max_handshakes()?,
            origins: connections::origins(self.origins.as_deref())?,
            linger: time(self.linger()?),
            ring_first: self.ring_first.clone().unwrap_or_default(),
            access: access::checked(self.access.as_deref())?,
            mgcp: mgcp::checked(self.mgcp.as_deref(), &listen, workers)?,
            mgcp_aliases: mgcp::aliases(&self.mgcp_aliases()?)?,
            mgcp_timeout: mgcp::timeout(self.mgcp_timeout()?)?,
            routes,
            pools,
            proxy_defaults,
            proxies,
            identifier_header: self.identifier_header()?,
            remember: self.remember()?.duration().unwrap_or(crate::transaction::LIFETIME),
            listen,
        })
    }
}

fn count_of(workers: u16) -> Result<u16, Fault> {
    if workers > MAX_WORKERS {
        return Err(Fault::of("workers", format!("{workers} is more than {MAX_WORKERS}, the most one host can have")));
    }
    Ok(workers)
}

/// The duration of a key whose range does not have `never`.
fn time(span: Span) -> Duration {
    span.duration().unwrap_or(Duration::MAX)
}

fn drain_after(after: Span) -> Result<Option<Duration>, Fault> {
    if after == Span::Of(Duration::ZERO) {
        return Err(Fault::of("drain-after", "0s would end every call at once; give a longer time, or `never`"));
    }
    Ok(after.duration())
}

fn run_dir(path: &Path) -> Result<std::path::PathBuf, Fault> {
    if path.as_os_str().is_empty() {
        return Err(Fault::of("run-dir", "the path is empty; name a directory, such as /run/pointsman"));
    }
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.contains(&0) {
        return Err(Fault::of("run-dir", "the path has a NUL in it; name a directory, such as /run/pointsman"));
    }
    // Workers get it as an argument, and the stats in JSON name it.
    if path.to_str().is_none() {
        let path = path.display();
        return Err(Fault::of("run-dir", format!("{path} is not UTF-8; name a directory, such as /run/pointsman")));
    }
    let room = LONGEST_SOCKET_PATH - LONGEST_SOCKET_NAME.len() - 1;
    if bytes.len() > room {
        return Err(Fault::of(
            "run-dir",
            format!(
                "{} has {} bytes, and socket paths hold {LONGEST_SOCKET_PATH}; name a directory of at most {room}",
                path.display(),
                bytes.len()
            ),
        ));
    }
    Ok(path.to_owned())
}

fn group(name: &str) -> Result<String, Fault> {
    if name.trim().is_empty() || name.contains(|c: char| c.is_control() || c == ':') {
        return Err(Fault::of("stats-group", "no group has that name; give one that `getent group` shows"));
    }
    Ok(name.to_owned())
}

fn listeners(listeners: Vec<Listen>) -> Result<Vec<Listen>, Fault> {
    if listeners.is_empty() {
        return Err(Fault::of("listen", "the list is empty; give at least one address, such as udp:0.0.0.0:5060"));
    }
    if listeners.len() > 64 {
        return Err(Fault::of("listen", format!("{} addresses are too many; give at most 64", listeners.len())));
    }
    for (n, listen) in listeners.iter().enumerate() {
        if listen.address.ip().is_multicast() {
            return Err(Fault::of("listen", format!("{listen}: a multicast address; give an address of this host")));
        }
        if listen.address.ip() == Ipv4Addr::BROADCAST {
            return Err(Fault::of("listen", format!("{listen}: the broadcast address; give an address of this host")));
        }
        if let Some(earlier) = listeners.iter().take(n).find(|earlier| listen.clashes_with(earlier)) {
            return Err(Fault::of(
                "listen",
                format!("{listen} clashes with {earlier}; give each another port or address"),
            ));
        }
    }
    Ok(listeners)
}

/// Most lanes: a worker has a link for each, and more lanes than cores only wait for each other.
pub(super) const LANES_LIMIT: u16 = 64;

fn lanes(lanes: u16) -> Result<u16, Fault> {
    match lanes {
        0 => Err(Fault::of("lanes", "0 lanes would read nothing; give 1")),
        1..=LANES_LIMIT => Ok(lanes),
        _ => Err(Fault::of("lanes", format!("{lanes} is more than {LANES_LIMIT}; one for each CPU core is plenty"))),
    }
}

fn advertised(ip: std::net::IpAddr) -> Result<std::net::IpAddr, Fault> {
    if ip.is_unspecified() || ip.is_multicast() || ip == Ipv4Addr::BROADCAST {
        return Err(Fault::of(
            "advertise",
            format!("{ip} is no address to send to; give the one that callers can reach"),
        ));
    }
    Ok(ip)
}

fn size_order(order: Vec<SizeSource>) -> Result<Vec<SizeSource>, Fault> {
    let twice = order.iter().enumerate().find(|(n, source)| order[..*n].contains(source));
    match twice {
        Some((_, source)) => Err(Fault::of("size-order", format!("`{source}` stands there twice; keep the first"))),
        None => Ok(order),
    }
}

fn weights(given: Option<&BTreeMap<String, u32>>, workers: u16) -> Result<BTreeMap<WorkerId, u32>, Fault> {
    let mut weights = BTreeMap::new();
    for (name, weight) in given.into_iter().flatten() {
        let key = format!("weights.{name}");
        let slot: WorkerId =
            name.parse().map_err(|error: crate::ids::NotAWorkerName| Fault::of(&key, error.to_string()))?;
        if slot.0 >= workers {
            let words = match workers.checked_sub(1).map(WorkerId) {
                Some(last) => format!("there is no such worker; the last of {workers} is {last}"),
                None => "there is no such worker: none is started".to_owned(),
            };
            return Err(Fault::of(&key, words));
        }
        if *weight == 0 {
            return Err(Fault::of(&key, format!("0 is no weight; to keep sessions away use `pointsman drain {slot}`")));
        }
        within(&key, weight, &(1..=1000), "")?;
        weights.insert(slot, *weight);
    }
    Ok(weights)
}

fn methods(given: Option<&BTreeMap<String, MethodRule>>) -> Result<BTreeMap<String, MethodRule>, Fault> {
    for (name, rule) in given.into_iter().flatten() {
        if *rule == MethodRule::Accept && name != "REGISTER" {
            return Err(Fault::of(&format!("methods.{name}"), "only REGISTER can be accepted without a worker"));
        }
        if !RULED_METHODS.contains(&name.as_str()) {
            let message = format!("no rule can be given for this method; rules are for {}", RULED_METHODS.join(", "));
            return Err(Fault::of(&format!("methods.{name}"), message));
        }
    }
    Ok(given.cloned().unwrap_or_default())
}

/// Checks that the ports of slots, media and listeners do not meet: sockets of one host share one space of port
/// numbers.
fn check_ports(config: &Config) -> Result<(), Fault> {
    let rtp = config.rtp_ports;
    let (pairs, workers) = (rtp.pairs(), u32::from(config.workers));
    if pairs < workers {
        return Err(Fault::between(
            "rtp-ports",
            "workers",
            format!(
                "{rtp} holds {pairs} pairs of an even port and the next, and each worker needs one; give {} ports or more, \
                 from an even one on",
                workers * 2
            ),
        ));
    }
    let sip = slot_ports("worker-ports", config.worker_ports, config.workers)?;
    let mgcp = slot_ports("worker-mgcp-ports", config.worker_mgcp_ports, config.workers)?;
    // A worker has a port for a protocol only if a listener speaks that protocol.
    let sip = sip.filter(|_| !config.sip_ips().is_empty());
    let has_own_ports = |(number, listen): (usize, &Listen)| {
        listen.service == super::Service::Mgcp && config.mgcp_of(number).bypass != Bypass::Domain
    };
    let mgcp = mgcp.filter(|_| config.listen.iter().enumerate().any(has_own_ports));
    if let Some(sip) = sip {
        meet("worker-ports", sip, "rtp-ports", rtp)?;
    }
    if let Some(mgcp) = mgcp {
        meet("worker-mgcp-ports", mgcp, "rtp-ports", rtp)?;
        sip.map_or(Ok(()), |sip| meet("worker-mgcp-ports", mgcp, "worker-ports", sip))?;
    }
    for listen in &config.listen {
        let port = listen.address.port();
        let taken = [("worker-ports", sip), ("worker-mgcp-ports", mgcp), ("rtp-ports", Some(rtp))];
        let met = taken.iter().find(|(_, range)| range.is_some_and(|range| range.contains(port)));
        if let Some((key, Some(range))) = met {
            let message = format!("{key} {range} holds port {port} of listener {listen}; choose ports apart from it");
            return Err(Fault::between(key, "listen", message));
        }
    }
    Ok(())
}

/// The ports FIRST, FIRST+1, … of all slots; `None` when the kernel chooses them.
fn slot_ports(key: &str, first: u16, workers: u16) -> Result<Option<PortRange>, Fault> {
    if first == 0 || workers == 0 {
        return Ok(None);
    }
    let last = u32::from(first) + u32::from(workers) - 1;
    match u16::try_from(last) {
        Ok(last) => Ok(Some(PortRange { first, last })),
        Err(_) => {
            let most = 65_536 - u32::from(workers);
            let message = format!(
                "{first} and {} run past port 65535; choose a first port of at most {most}",
                super::count_of_workers(workers)
            );
            Err(Fault::between(key, "workers", message))
        }
    }
}

fn meet(key: &str, range: PortRange, other_key: &str, other: PortRange) -> Result<(), Fault> {
    if range.overlaps(other) {
        let message = format!("{key} {range} and {other_key} {other} overlap; choose ranges apart from each other");
        return Err(Fault::between(key, other_key, message));
    }
    Ok(())
}
