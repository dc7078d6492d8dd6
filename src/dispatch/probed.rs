//! Findings of the prober about downstream proxies, told to every lane.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Dispatch;
use super::decision::Admin;
use super::targets::proxies::{Address, StateChange};
use crate::time::Time;
use crate::words::{LoadReport, Transport};

/// A finding about a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the proxy.
    pub proxy: Arc<str>,
    /// The moment at which it was found.
    pub at: Time,
    /// The finding.
    pub what: Found,
}

/// Content of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// One of its addresses has answered a probe.
    Answered {
        /// The address.
        address: SocketAddr,
        /// Number of the probe: later ones to this address have higher ones.
        number: u32,
        /// Status of the final response.
        status: u16,
        /// Time for which it wants nothing.
        retry_after: Option<Duration>,
        /// Time from the probe to the first response.
        delay: Duration,
        /// Its load, if the answer says it.
        load: Option<LoadReport>,
    },
    /// A probe to this address was not answered in time.
    Lost {
        /// The address.
        address: SocketAddr,
        /// Number of the probe.
        number: u32,
    },
    /// The host at this address says that nothing listens there (ICMP).
    Refused {
        /// The address.
        address: SocketAddr,
        /// Number of the probe.
        number: u32,
    },
    /// The answer to a probe that counts as lost.
    Late(SocketAddr),
    /// The server at this address took a probe for a call. The call was ended, and probes are OPTIONS from now on.
    Taken(SocketAddr),
    /// The load that one of its addresses has reported by itself.
    Reported {
        /// The address.
        address: SocketAddr,
        /// The load.
        load: LoadReport,
    },
    /// The load that its source reports, for all of its addresses.
    Load(LoadReport),
    /// Its name leads to these addresses from now on; none: to nowhere.
    Addresses {
        /// The addresses.
        members: Vec<Address>,
        /// Whether they are old: the name servers give no answer at the moment.
        is_stale: bool,
    },
    /// A lane's name leads to these addresses, best first; none: it leads nowhere.
    Places(LookUp, Vec<SocketAddr>),
}

/// A name in a system's request, as the prober looks it up for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// The name, in lower case.
    pub host: Arc<str>,
    /// The port; without one SRV records name it (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport by which the place is reached.
    pub transport: Transport,
    /// Whether the request leaves the transport open (RFC 3263 §4.1).
    pub asks_transports: bool,
    /// The system that names it.
    pub from: IpAddr,
}

impl LookUp {
    /// The finding that it leads to these addresses.
    pub fn found(self, addresses: Vec<SocketAddr>, at: Time) -> Finding {
        Finding { proxy: Arc::clone(&self.host), at, what: Found::Places(self, addresses) }
    }
}

/// A response to a probe that has come to a well-known listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The address that it came from.
    pub from: SocketAddr,
    /// When it came.
    pub at: Time,
    /// The response.
    pub bytes: Box<[u8]>,
}

/// The end of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    /// Answered by a server that is well.
    Good,
    /// Answered 503: the server takes nothing new.
    Full,
    /// Answered 408, 500, 502 or 504.
    Failed,
    /// Refused by the host (ICMP).
    Refused,
    /// Not answered in time.
    Lost,
    /// Answered after it was lost, which changes nothing.
    Late,
    /// Taken for a call.
    Taken,
}

impl ProbeEnd {
    /// All ends.
    pub const ALL: [ProbeEnd; 7] = [
        ProbeEnd::Good,
        ProbeEnd::Full,
        ProbeEnd::Failed,
        ProbeEnd::Refused,
        ProbeEnd::Lost,
        ProbeEnd::Late,
        ProbeEnd::Taken,
    ];

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            ProbeEnd::Good => "good",
            ProbeEnd::Full => "full",
            ProbeEnd::Failed => "failed",
            ProbeEnd::Refused => "refused",
            ProbeEnd::Lost => "lost",
            ProbeEnd::Late => "late",
            ProbeEnd::Taken => "taken",
        }
    }
}

impl Found {
    /// The end of a probe that it tells of.
    const fn end(&self) -> Option<ProbeEnd> {
        match self {
            Found::Answered { status: 503, .. } => Some(ProbeEnd::Full),
            Found::Answered { status: 408 | 500 | 502 | 504, .. } => Some(ProbeEnd::Failed),
            Found::Answered { .. } => Some(ProbeEnd::Good),
            Found::Refused { .. } => Some(ProbeEnd::Refused),
            Found::Lost { .. } => Some(ProbeEnd::Lost),
            Found::Late(_) => Some(ProbeEnd::Late),
            Found::Taken(_) => Some(ProbeEnd::Taken),
            Found::Load(_) | Found::Reported { .. } | Found::Addresses { .. } | Found::Places(..) => None,
        }
    }
}

impl Dispatch {
    /// Takes note of findings of the prober.
    pub fn on_found(&mut self, findings: &[Finding], now: Time) {
        for finding in findings {
            if let Some(end) = finding.what.end() {
                self.counters.on_probe(end);
            }
            if let Found::Places(look_up, addresses) = &finding.what {
                self.on_looked_up(look_up, addresses, now);
            }
            self.proxies.on_finding(finding, now);
            if let Some(proxy) = self.proxies.fallen(finding, now) {
                self.leave_proxy(proxy, now);
            }
        }
    }

    /// Takes out a name that is to be looked up for a request of this lane.
    pub fn poll_look_up(&mut self) -> Option<LookUp> {
        self.awaiting.poll_look_up()
    }

    /// Sets the operator's order for a proxy, or for all addresses of one.
    pub fn set_proxy_admin(&mut self, name: &str, admin: Admin) {
        self.proxies.set_admin(name, admin);
    }

    /// Sets a proxy's handicap until the settings change it.
    pub fn set_handicap(&mut self, name: &str, handicap: u16, now: Time) {
        self.proxies.set_handicap(name, handicap, now);
    }

    /// Takes out the address of a proxy that is to be probed at once: requests have had no answer there.
    pub fn poll_silence(&mut self) -> Option<SocketAddr> {
        let id = self.proxies.poll_wish()?;
        self.proxies.get(id)?.address()
    }

    /// Takes out a load that the proxies at this address have reported by themselves: every lane is to know it.
    pub fn poll_report(&mut self) -> Option<(SocketAddr, LoadReport)> {
        self.proxies.poll_report()
    }

    /// Takes out a change of a proxy's state, for the log.
    pub fn poll_proxy_change(&mut self) -> Option<StateChange> {
        self.proxies.poll_change()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::dispatch::Setup;
    use crate::dispatch::identity::Keyring;
    use crate::dispatch::rules::Rules;
    use crate::ids::TokenKey;

    fn dispatch() -> Dispatch {
        let proxy = config::Proxy { name: "fs1".to_owned(), host: "192.0.2.1".to_owned(), ..config::Proxy::default() };
        let rules = Rules { pools: vec![config::Pool::default()], proxies: vec![proxy], ..Rules::default() };
        let keys = Keyring::new(TokenKey::new([7; 32]));
        Dispatch::new(Setup { rules, keys, table_cap: 10, group_cap: 10, workers: 0, seed: 1 })
    }

    #[test]
    fn each_probe_is_counted_by_its_end_and_a_late_answer_changes_nothing_else() {
        let (mut dispatch, address) = (dispatch(), "192.0.2.1:5060".parse().unwrap());
        let answered = |number, status| Found::Answered {
            address,
            number,
            status,
            retry_after: None,
            delay: Duration::from_millis(3),
            load: None,
        };
        let found = [
            answered(1, 200),
            answered(2, 404),
            answered(3, 503),
            answered(4, 500),
            Found::Refused { address, number: 5 },
            Found::Lost { address, number: 6 },
            Found::Lost { address, number: 7 },
            Found::Late(address),
            Found::Taken(address),
            Found::Load(LoadReport::default()),
        ];
        let now = Time(9_000_000);
        let tell = |dispatch: &mut Dispatch, what| {
            dispatch.on_found(&[Finding { proxy: "fs1".into(), at: now, what }], now);
        };
        found.into_iter().for_each(|what| tell(&mut dispatch, what));
        let counts: Vec<(&str, u64)> = dispatch.counters().probes().map(|(end, count)| (end.label(), count)).collect();
        let expected =
            [("good", 2), ("full", 1), ("failed", 1), ("refused", 1), ("lost", 2), ("late", 1), ("taken", 1)];
        assert_eq!(counts, expected);
        let row = || dispatch.proxies().rows(now).remove(0);
        assert_eq!((row().state, row().probes, row().probes_lost), ("down", 7, 4));
    }

    #[test]
    fn a_proxy_of_the_settings_has_its_state_since_the_lane_began_and_not_since_the_host_did() {
        let mut dispatch = dispatch();
        dispatch.on_start(Time(500_000_000));
        let since = |dispatch: &Dispatch, now| dispatch.proxies().rows(Time(now))[0].since_s;
        assert_eq!(since(&dispatch, 502_000_000), 2.0);
        let address = "192.0.2.1:5060".parse().unwrap();
        let lost = |number, at| Finding { proxy: "fs1".into(), at: Time(at), what: Found::Lost { address, number } };
        dispatch.on_found(&[lost(1, 503_000_000), lost(2, 504_000_000)], Time(504_000_000));
        assert_eq!(since(&dispatch, 505_000_000), 1.0);
        let changes: Vec<_> = std::iter::from_fn(|| dispatch.poll_proxy_change()).collect();
        assert_eq!(changes.len(), 1, "{changes:?}");
    }
}
