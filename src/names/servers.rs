//! The name servers of this host and how they are asked (`/etc/resolv.conf`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A host's configuration of its name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Addresses of the servers; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Domains that are appended to a name.
    pub search: Vec<Box<str>>,
    /// A name with fewer dots is looked for under the search domains first.
    pub dots: usize,
    /// The time that a server has to answer.
    pub timeout: Duration,
    /// Number of times each server is asked.
    pub attempts: u32,
}

/// Servers that are asked; glibc has the same limit.
const SERVERS_LIMIT: usize = 3;
/// Search domains; more would only make a name that is not there cost more.
const SEARCH_LIMIT: usize = 6;

impl Default for Servers {
    fn default() -> Self {
        Servers {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
            search: Vec::new(),
            dots: 1,
            // Shorter than glibc's 5 s: the request that waits has a transaction of 32 s, which must leave time for
            // another attempt.
            timeout: Duration::from_secs(2),
            attempts: 2,
        }
    }
}

impl Servers {
    /// Reads the text of a `resolv.conf`. Lines that cannot be read are passed over.
    pub fn parse(text: &str) -> Self {
        let mut servers = Servers { addresses: Vec::new(), ..Servers::default() };
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if servers.addresses.len() < SERVERS_LIMIT => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    servers.addresses.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                // The last of these lines counts.
                Some("search" | "domain") => {
                    let domains = words.map(|word| word.trim_matches('.')).filter(|word| !word.is_empty());
                    servers.search = domains.take(SEARCH_LIMIT).map(|word| word.to_ascii_lowercase().into()).collect();
                }
                Some("options") => words.for_each(|word| servers.set(word)),
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            servers.addresses = Servers::default().addresses;
        }
        servers
    }

    fn set(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.dots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 5))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The whole names that `name` may stand for, in the order in which they are looked for.
    pub(super) fn candidates(&self, name: &str) -> Vec<Box<str>> {
        let whole = super::hosts::bare(name);
        if name.ends_with('.') {
            return vec![whole];
        }
        let with = self.search.iter().map(|domain| format!("{whole}.{domain}"));
        let mut candidates: Vec<Box<str>> = with.filter(|name| name.len() <= 253).map(Box::from).collect();
        let is_first = whole.bytes().filter(|byte| *byte == b'.').count() >= self.dots;
        candidates.insert(if is_first { 0 } else { candidates.len() }, whole);
        candidates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_and_what_cannot_be_read_is_passed_over() {
        let servers = Servers::parse(
            "# made by hand\nnameserver 192.0.2.53\nnameserver 2001:db8::53 ; another\nnameserver fe80::1%eth0\n\
             domain Example.net\nsearch a.example.net. b.example.net\noptions ndots:2 timeout:30 attempts:0 rotate x:y\n",
        );
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        assert_eq!(servers.addresses, [at("192.0.2.53:53"), at("[2001:db8::53]:53")]);
        assert_eq!((servers.dots, servers.timeout, servers.attempts), (2, Duration::from_secs(5), 1));
        assert_eq!(servers.search, ["a.example.net".into(), "b.example.net".into()] as [Box<str>; 2]);
        assert_eq!(Servers::parse("nonsense"), Servers::default());
    }

    #[test]
    fn a_short_name_is_looked_for_under_the_search_domains_first_and_a_long_one_last() {
        let servers = Servers::parse("search a.net b.net\noptions ndots:2\n");
        assert_eq!(servers.candidates("MS"), ["ms.a.net", "ms.b.net", "ms"].map(Box::from));
        assert_eq!(servers.candidates("ms.x"), ["ms.x.a.net", "ms.x.b.net", "ms.x"].map(Box::from));
        assert_eq!(servers.candidates("a.ms.x"), ["a.ms.x", "a.ms.x.a.net", "a.ms.x.b.net"].map(Box::from));
        assert_eq!(servers.candidates("ms.x."), ["ms.x"].map(Box::from));
    }
}
