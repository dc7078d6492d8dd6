//! Routes, pools and proxies: each checked alone, against each other and against the listeners.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::super::Insert;
use super::{Fault, Listen, Pool, Proxy, ProxyKeys, Route, Settings};
use crate::words::Transport;

/// The checked values of the keys `route`, `pool`, `proxy-defaults` and `proxy`.
pub(in super::super) struct Proxies {
    pub(in super::super) routes: Vec<Route>,
    pub(in super::super) pools: Vec<Pool>,
    pub(in super::super) defaults: ProxyKeys,
    pub(in super::super) proxies: Vec<Proxy>,
}

/// Most of each.
const PROXIES: usize = 1024;
const POOLS: usize = 256;
const ROUTES: usize = 256;

/// Checks the settings about proxies.
pub(in super::super) fn checked(settings: &Settings, listen: &[Listen]) -> Result<Proxies, Fault> {
    let counts = [
        ("proxy", settings.proxies.as_ref().map_or(0, Vec::len), PROXIES),
        ("pool", settings.pools.as_ref().map_or(0, Vec::len), POOLS),
        ("route", settings.routes.as_ref().map_or(0, Vec::len), ROUTES),
    ];
    if let Some((key, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        return Err(Fault::of(key, format!("{count} are too many; give at most {most}")));
    }
    let mut pools = written_pools(settings)?;
    let defaults = settings.proxy_defaults.clone().unwrap_or_default();
    defaults.check_as_defaults()?;
    let proxies = written_proxies(settings, &defaults)?;
    check_identifier_header(settings)?;
    check_addresses(&proxies, listen, settings.advertise)?;
    let mut routes = Vec::new();
    for (route, number) in settings.routes.iter().flatten().zip(1..) {
        let fault = |(key, words): (&str, String)| Fault::of(&format!("route.{number}.{key}"), words);
        routes.push(route.checked(listen).map_err(fault)?);
    }
    let named = proxies.iter().map(|proxy| &proxy.pool).chain(routes.iter().map(|route| &route.pool));
    let named = named.chain(pools.iter().flat_map(|pool| &pool.fallback));
    if named.into_iter().any(|name| name == Pool::DEFAULT) && !pools.iter().any(|pool| pool.name == Pool::DEFAULT) {
        pools.push(Pool::default());
    }
    check_pools(&pools, &proxies, &routes)?;
    Ok(Proxies { routes, pools, defaults, proxies })
}

/// Whether the header is an extension that means nothing else.
fn check_identifier_header(settings: &Settings) -> Result<(), Fault> {
    let Some(name) = &settings.identifier_header else { return Ok(()) };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let rest = name.strip_prefix("X-").unwrap_or_default();
    if rest.is_empty() || name.len() > 64 || !rest.bytes().all(is_token) {
        let words =
            format!("`{name}` is no extension header; give a name that begins with X-, such as X-Pointsman-System");
        return Err(Fault::of("identifier-header", words));
    }
    if TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name)) {
        let words = format!("`{name}` has another meaning here; give another, such as X-Pointsman-System");
        return Err(Fault::of("identifier-header", words));
    }
    Ok(())
}

/// Extension headers that say something else: a session's size, a server's load, a worker's port.
const TAKEN: [&str; 7] =
    ["X-Session-Size", "X-Size", "X-Load", "X-Load-Query", "X-FS-Calls", "X-FS-Status", Insert::HEADER];

fn written_pools(settings: &Settings) -> Result<Vec<Pool>, Fault> {
    let mut pools: Vec<Pool> = Vec::new();
    for (keys, number) in settings.pools.iter().flatten().zip(1..) {
        let pool = keys.checked(&format!("pool.{number}"))?;
        if let Some(other) = pools.iter().position(|other| other.name == pool.name) {
            let words = format!("`{}` is the name of pool {} already; give another", pool.name, other + 1);
            return Err(Fault::of(&format!("pool.{number}.name"), words));
        }
        pools.push(pool);
    }
    Ok(pools)
}

fn written_proxies(settings: &Settings, defaults: &ProxyKeys) -> Result<Vec<Proxy>, Fault> {
    let mut proxies: Vec<Proxy> = Vec::new();
    let mut names = HashMap::new();
    for (keys, number) in settings.proxies.iter().flatten().zip(1..) {
        let proxy = keys.checked(defaults, &format!("proxy.{number}"))?;
        if let Some(other) = names.insert(proxy.name.clone(), number) {
            let words = format!("`{}` is the name of proxy {other} already; give another", proxy.name);
            return Err(Fault::of(&format!("proxy.{number}.name"), words));
        }
        proxies.push(proxy);
    }
    Ok(proxies)
}

/// Whether requests can be sent to each address: over a UDP listener of its family, to another than ourselves, and to
/// one once in each pool.
fn check_addresses(proxies: &[Proxy], listen: &[Listen], advertise: Option<IpAddr>) -> Result<(), Fault> {
    let mut taken: HashMap<(&str, &str, u16), &str> = HashMap::new();
    for (proxy, number) in proxies.iter().zip(1..) {
        let fault = |words: String| Fault::of(&format!("proxy.{number}.uri"), words);
        let port = proxy.port();
        let ip: Option<IpAddr> = proxy.host.parse().ok();
        let is_way = |listen: &&Listen| {
            listen.service.transport() == proxy.transport
                && ip.is_none_or(|ip| ip.is_ipv4() == listen.address.is_ipv4())
        };
        if !listen.iter().any(|listen| is_way(&listen)) {
            return Err(fault(no_way(proxy.transport, ip)));
        }
        let own = ip.and_then(|ip| own_listener(proxy, SocketAddr::new(ip, port), listen, advertise));
        if let Some(own) = own {
            return Err(fault(format!(
                "{} is our own listener {own}; give the address of another server",
                proxy.uri()
            )));
        }
        if let Some(other) = taken.insert((&proxy.pool, &proxy.host, port), &proxy.name) {
            let words = format!("`{other}` of pool `{}` has this address already; keep one of them", proxy.pool);
            return Err(fault(words));
        }
    }
    Ok(())
}

/// The fault of a proxy that has no listener of its transport and family beside it.
fn no_way(transport: Transport, ip: Option<IpAddr>) -> String {
    let (kind, service, port) = match transport {
        Transport::Tcp => ("TCP", "tcp", 5060),
        Transport::Tls => ("TLS", "tls", 5061),
        _ => ("UDP", "udp", 5060),
    };
    let (family, host) = match ip {
        Some(IpAddr::V6(_)) => (" of IPv6", "[::]"),
        Some(IpAddr::V4(_)) => (" of IPv4", "0.0.0.0"),
        None => ("", "0.0.0.0"),
    };
    let use_of_it = match transport {
        Transport::Udp => "requests for it leave from",
        _ => "it sends requests of its own to",
    };
    format!("{use_of_it} a {kind} listener{family}, and there is none; add such as {service}:{host}:{port}")
}

/// The listener that what is sent to this address would reach.
fn own_listener<'l>(
    proxy: &Proxy,
    address: SocketAddr,
    listen: &'l [Listen],
    advertise: Option<IpAddr>,
) -> Option<&'l Listen> {
    let is_it = |listen: &&Listen| {
        let own = listen.address.ip();
        let is_here = own == address.ip()
            || advertise == Some(address.ip())
            || own.is_unspecified() && address.ip().is_loopback() && own.is_ipv4() == address.is_ipv4();
        listen.service.is_stream() == proxy.is_stream() && listen.address.port() == address.port() && is_here
    };
    listen.iter().find(is_it)
}

/// Whether each name of a pool is known, and none falls back to itself.
fn check_pools(pools: &[Pool], proxies: &[Proxy], routes: &[Route]) -> Result<(), Fault> {
    let numbers: HashMap<&str, usize> = pools.iter().zip(0..).map(|(pool, at)| (pool.name.as_str(), at)).collect();
    let is_known = |name: &str| name == Pool::WORKERS || numbers.contains_key(name);
    let unknown = |name: &str| format!("there is no pool `{name}`; write [[pool]] with `name = \"{name}\"`");
    for (proxy, number) in proxies.iter().zip(1..) {
        // The pool may be that of `proxy-defaults`.
        let key = format!("proxy.{number}.pool");
        if proxy.pool == Pool::WORKERS {
            let words = "`workers` is the pool of the workers alone; name another, with `workers = true` for both";
            return Err(Fault::of(&key, words));
        }
        if !is_known(&proxy.pool) {
            return Err(Fault::of(&key, unknown(&proxy.pool)));
        }
    }
    for (route, number) in routes.iter().zip(1..) {
        if !is_known(&route.pool) {
            return Err(Fault::of(&format!("route.{number}.pool"), unknown(&route.pool)));
        }
    }
    for (pool, number) in pools.iter().zip(1..) {
        let key = format!("pool.{number}.fallback");
        if let Some(name) = pool.fallback.iter().find(|name| !is_known(name)) {
            return Err(Fault::of(&key, unknown(name)));
        }
    }
    for (pool, number) in pools.iter().zip(1..) {
        let (mut seen, mut left) = (HashSet::new(), vec![pool]);
        while let Some(here) = left.pop() {
            if here.fallback.contains(&pool.name) {
                let words = format!("`{}` falls back to itself over `{}`; name other pools", pool.name, here.name);
                return Err(Fault::of(&format!("pool.{number}.fallback"), words));
            }
            let next = here.fallback.iter().filter_map(|name| numbers.get(name.as_str()));
            left.extend(next.filter(|at| seen.insert(**at)).map(|at| &pools[*at]));
        }
    }
    Ok(())
}
