//! Findings of the prober, brought to the proxies that they are about.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Proxies;
use crate::dispatch::probed::{Finding, Found};
use crate::dispatch::targets::proxy::{Answered, ProbeNumber, Process, Reported, State, Word};
use crate::ids::ProxyId;
use crate::time::Time;
use crate::words::{LoadReport, LoadWord};

impl Proxies {
    /// Takes note of a finding of the prober. One about a proxy or address that is not known any more changes nothing.
    pub fn on_finding(&mut self, finding: &Finding, now: Time) {
        let Finding { proxy, at, what } = finding;
        match what {
            Found::Answered { address, number, status, retry_after, delay, load } => {
                let Some((id, probe)) = self.probed(proxy, *address, *number) else { return };
                let answered = Answered { status: *status, retry_after: *retry_after, delay: *delay };
                self.on_probe_answered(id, probe, &answered, *at);
                if let Some(load) = load {
                    self.on_load(id, probe.life, &Reported::from(load), *at);
                }
            }
            Found::Lost { address, number } => {
                if let Some((id, probe)) = self.probed(proxy, *address, *number) {
                    self.on_probe_lost(id, probe, *at);
                }
            }
            Found::Refused { address, number } => {
                if let Some((id, probe)) = self.probed(proxy, *address, *number) {
                    self.on_probe_refused(id, probe, *at);
                }
            }
            // It has counted as lost, and one that comes late is no sign of health.
            Found::Late(_) | Found::Taken(_) => {}
            // It is about a request.
            Found::Places(..) => {}
            Found::Reported { address, load } => {
                if let Some((id, ProbeNumber { life, .. })) = self.probed(proxy, *address, 0) {
                    self.on_load(id, life, &Reported::from(load), *at);
                }
            }
            Found::Load(load) => {
                let report = Reported::from(load);
                let of_name: Vec<(ProxyId, u32)> = self.of_entry(proxy).collect();
                of_name.into_iter().for_each(|(id, life)| self.on_load(id, life, &report, *at));
            }
            Found::Addresses { members, is_stale } => {
                self.set_addresses(proxy, members, now);
                self.set_stale(proxy, *is_stale);
            }
        }
    }

    /// The proxy of a probe that has failed, if it is down and requests wait there.
    pub fn fallen(&self, finding: &Finding, now: Time) -> Option<ProxyId> {
        let (Found::Lost { address, number } | Found::Refused { address, number }) = &finding.what else { return None };
        let (id, _) = self.probed(&finding.proxy, *address, *number)?;
        self.get(id).filter(|proxy| proxy.outstanding() > 0 && proxy.state(now) == State::Down)?;
        Some(id)
    }

    /// The proxy of this entry at an address, and the name of its probe.
    fn probed(&self, entry: &Arc<str>, address: SocketAddr, number: u32) -> Option<(ProxyId, ProbeNumber)> {
        let id = self.at(address).find(|id| self.name(*id).is_some_and(|name| is_of(name, entry)))?;
        Some((id, ProbeNumber { life: self.get(id)?.life(), number }))
    }

    fn of_entry<'s>(&'s self, entry: &'s str) -> impl Iterator<Item = (ProxyId, u32)> + 's {
        let is_it = move |id: &ProxyId| self.name(*id).is_some_and(|name| is_of(name, entry));
        self.iter().filter(move |(id, _)| is_it(id)).map(|(id, proxy)| (id, proxy.life()))
    }
}

/// Whether a proxy of this name is one of the entry: `fs1`, or `fs1/192.0.2.4:5060`.
fn is_of(name: &str, entry: &str) -> bool {
    name.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl From<&LoadReport> for Reported {
    fn from(report: &LoadReport) -> Self {
        let word = report.word.map(|word| match word {
            LoadWord::Ready => Word::Ready,
            LoadWord::Full => Word::Full,
            LoadWord::Drain => Word::Drain,
        });
        let process = |(used, total): &(u32, Option<u32>)| Process { used: *used, total: total.unwrap_or(0) };
        Reported {
            used: report.used.map(f64::from),
            total: report.total.map(f64::from),
            percent: report.percent.map(f64::from),
            word,
            processes: report.processes.iter().map(process).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config;
    use crate::dispatch::targets::proxies::{Address, REPORTS};

    fn proxies() -> Proxies {
        let proxy = |name: &str, host: &str| config::Proxy {
            name: name.to_owned(),
            host: host.to_owned(),
            load: config::LoadSource::Sip,
            ..config::Proxy::default()
        };
        let mut proxies = Proxies::new(Duration::ZERO, 1);
        let of = [proxy("fs1", "192.0.2.1"), proxy("fs", "fs.example.net"), proxy("fs10", "192.0.2.1")];
        proxies.set(&of, &[config::Pool::default()], Time(0));
        proxies
    }

    fn told(proxies: &mut Proxies, name: &str, at: u64, what: Found) {
        proxies.on_finding(&Finding { proxy: name.into(), at: Time(at), what }, Time(at));
    }

    /// Names, probes and lost probes of all.
    fn shown(proxies: &Proxies) -> Vec<(String, u64, u64)> {
        proxies.rows(Time(9_000_000)).into_iter().map(|row| (row.name, row.probes, row.probes_lost)).collect()
    }

    #[test]
    fn a_finding_reaches_the_proxy_of_its_name_and_address_alone() {
        let mut proxies = proxies();
        let address: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        told(&mut proxies, "fs10", 1_000, Found::Lost { address, number: 5 });
        told(&mut proxies, "fs10", 1_001, Found::Lost { address, number: 5 });
        let delay = Duration::from_millis(3);
        let load = Some(LoadReport { used: Some(5), total: Some(10), ..LoadReport::default() });
        let answered = Found::Answered { address, number: 6, status: 200, retry_after: None, delay, load };
        told(&mut proxies, "fs1", 1_002, answered.clone());
        told(&mut proxies, "nobody", 1_003, answered);
        told(&mut proxies, "fs1", 1_004, Found::Lost { address: "192.0.2.9:5060".parse().unwrap(), number: 7 });
        let expected = [("fs1", 1, 0), ("fs", 0, 0), ("fs10", 1, 1)].map(|(name, a, b)| (name.to_owned(), a, b));
        assert_eq!(shown(&proxies), expected);
    }

    #[test]
    fn a_load_counts_that_comes_from_the_address_of_a_proxy_and_from_no_other() {
        let mut proxies = proxies();
        let [own, other] = ["192.0.2.1:5060", "192.0.2.1:5070"].map(|text| text.parse::<SocketAddr>().unwrap());
        let load = LoadReport { used: Some(8), total: Some(10), ..LoadReport::default() };
        proxies.on_reported(other, load.clone());
        assert_eq!(proxies.poll_report(), None);
        proxies.on_reported(own, load.clone());
        assert_eq!(proxies.poll_report(), Some((own, load.clone())));
        told(&mut proxies, "fs10", 1_000, Found::Reported { address: own, load });
        let used: Vec<u32> = proxies.rows(Time(1_000)).iter().map(|row| row.used).collect();
        assert_eq!(used, [0, 0, 8]);
        (0..2 * REPORTS).for_each(|_| proxies.on_reported(own, LoadReport::default()));
        assert_eq!(std::iter::from_fn(|| proxies.poll_report()).count(), REPORTS);
    }

    #[test]
    fn an_agent_that_says_its_use_and_no_total_has_an_unknown_load_and_gets_calls() {
        let mut proxies = proxies();
        let address: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let report = crate::wire::load::read_line(b"ready used:5 used:4\n").unwrap();
        told(&mut proxies, "fs10", 1_000, Found::Reported { address, load: report });
        let row = &proxies.rows(Time(1_000))[2];
        assert_eq!((row.used, row.total, row.load, row.weight), (9, 0, -1.0, 100));
        assert_eq!(row.processes, [(5, 0), (4, 0)]);
    }

    #[test]
    fn addresses_of_a_name_become_members_that_findings_reach() {
        let mut proxies = proxies();
        let [one, two] = ["192.0.2.4:5060", "192.0.2.5:5060"].map(|text| text.parse::<SocketAddr>().unwrap());
        let members = [one, two].map(|address| Address { address, priority: 0, weight: 0 });
        told(&mut proxies, "fs", 1_000, Found::Addresses { members: members.to_vec(), is_stale: false });
        told(&mut proxies, "fs", 1_001, Found::Lost { address: two, number: 1 });
        let names: Vec<(String, u64, u64)> = shown(&proxies).into_iter().filter(|row| row.1 > 0).collect();
        assert_eq!(names, [("fs/192.0.2.5:5060".to_owned(), 1, 1)]);
        told(&mut proxies, "fs", 1_002, Found::Addresses { members: members.to_vec(), is_stale: true });
        assert!(proxies.rows(Time(2_000)).iter().filter(|row| row.name.starts_with("fs/")).all(|row| row.stale));
    }
}
