//! Proxies that are names: their servers follow what a name server says, and stay while it says nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::Front;
use super::callers::Callers;
use super::servers::Servers;
use crate::names::name_server_socket;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, wait_for};

/// Life of every record: the shortest after which a proxy's name is asked for again.
const TTL: Duration = Duration::from_secs(5);
/// Record types (RFC 1035 §3.2.2, RFC 2782, RFC 3403).
const A: u16 = 1;
pub(super) const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// The way in which a name server answers for a name and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// Not at all.
    Nothing,
    /// SERVFAIL.
    Failure,
    /// NXDOMAIN.
    NoName,
}

/// The records of a name server, and the domains that it is to answer otherwise for.
#[derive(Debug, Default)]
pub(super) struct Zone {
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    broken: HashMap<String, Says>,
    /// Questions for each domain since it is broken.
    asked: HashMap<String, u32>,
}

impl Zone {
    pub(super) fn set(&mut self, name: &str, kind: u16, values: Vec<Vec<u8>>) {
        self.records.insert((name.to_owned(), kind), values);
    }

    /// A name with one address.
    pub(super) fn set_address(&mut self, name: &str, address: SocketAddr) {
        let SocketAddr::V4(address) = address else { panic!("{address}") };
        self.set(name, A, vec![address.ip().octets().to_vec()]);
    }

    /// Nothing is answered for a domain, or what its records say again.
    pub(super) fn keep_silent(&mut self, domain: &str, is_silent: bool) {
        self.broken.remove(domain);
        self.broken.extend(is_silent.then(|| (domain.to_owned(), Says::Nothing)));
    }

    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while let Some(&length) = query.get(at).filter(|length| **length > 0) {
            let label = query.get(at + 1..at + 1 + usize::from(length))?;
            name += &format!("{}.", String::from_utf8_lossy(label).to_lowercase());
            at += 1 + usize::from(length);
        }
        let name = name.trim_end_matches('.');
        let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
        let question = query.get(12..at + 5)?;
        let broken = self.broken.iter().find(|(domain, _)| name.ends_with(domain.as_str()));
        let code = match broken {
            Some((domain, says)) => {
                *self.asked.entry(domain.clone()).or_default() += 1;
                match says {
                    Says::Nothing => return None,
                    Says::Failure => 2,
                    Says::NoName => 3,
                }
            }
            None if self.records.keys().any(|(known, _)| known == name) => 0,
            None => 3,
        };
        let values = self.records.get(&(name.to_owned(), kind)).filter(|_| code == 0);
        let values = values.map(Vec::as_slice).unwrap_or_default();
        let mut said = query[..2].to_vec();
        // A response to a question that wanted recursion; one question, the answers, nothing else.
        said.extend([0x81, 0x80 | code, 0, 1, 0, values.len() as u8, 0, 0, 0, 0]);
        said.extend(question);
        for value in values {
            said.extend([0xc0, 12]);
            said.extend(kind.to_be_bytes());
            said.extend([0, 1]);
            said.extend((TTL.as_secs() as u32).to_be_bytes());
            said.extend((value.len() as u16).to_be_bytes());
            said.extend(value);
        }
        Some(said)
    }
}

/// A domain name as a record has it.
fn written(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

pub(super) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let head = [priority, weight, port].map(u16::to_be_bytes).concat();
    [head, written(target)].concat()
}

/// A pointer from a domain to the records of a service over UDP.
fn naptr(to: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0, 10, 0, 10], text("s"), text("SIP+D2U"), text(""), written(to)].concat()
}

/// A name server. It ends with this value.
pub(super) struct NameServer {
    zone: Arc<Mutex<Zone>>,
    file: NamedTempFile,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// `None` where this machine has no room for one: then nothing is shown.
    pub(super) fn start() -> Option<Self> {
        let socket = name_server_socket()?;
        let ip = socket.local_addr().unwrap().ip();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (zone, is_over) = (Arc::new(Mutex::new(Zone::default())), Arc::new(AtomicBool::new(false)));
        let (records, over) = (Arc::clone(&zone), Arc::clone(&is_over));
        let serve = move || {
            let mut buffer = [0; 1_024];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let said = records.lock().unwrap().answer(&buffer[..length]);
                let _ = said.map(|said| socket.send_to(&said, from));
            }
        };
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("nameserver {ip}\noptions timeout:1 attempts:1\n")).unwrap();
        Some(NameServer { zone, file, is_over, thread: Some(std::thread::spawn(serve)) })
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap());
    }

    /// Has those who ask it wait for an answer for longer than a takeover takes.
    pub(super) fn is_waited_for(&self) {
        let text = std::fs::read_to_string(self.file.path()).unwrap();
        std::fs::write(self.file.path(), text.replace("timeout:1 ", "timeout:15 ")).unwrap();
    }

    /// Waits until a question for a domain has come that is not answered.
    pub(super) fn wait_for_question(&self, domain: &str) {
        let is_asked = || self.zone.lock().unwrap().asked.contains_key(domain).then_some(());
        wait_for("a question", DEADLINE, is_asked);
    }

    /// The setup of a dispatcher without workers that asks it.
    pub(super) fn setup(&self) -> Setup {
        Setup { resolv_conf: Some(self.file.path().to_owned()), ..Setup::new(0) }
    }

    /// A dispatcher in front of proxies with these URIs: `s0`, `s1`, and so on.
    fn front(&self, pool: &str, uris: &[&str]) -> Front {
        let mut text = format!("[[pool]]\nname = \"default\"\n{pool}\n");
        for (number, uri) in uris.iter().enumerate() {
            text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"{uri}\"\nprobe-interval = \"500ms\"\n");
        }
        Front::start_as(&text, self.setup())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The addresses of the proxies that take calls.
fn up(front: &Front) -> Vec<String> {
    let rows = front.rows();
    let up = rows.iter().filter(|row| row["state"] == "up");
    up.map(|row| row["address"].as_str().unwrap_or_default().to_owned()).collect()
}

fn sorted(servers: &Servers, numbers: &[usize]) -> Vec<String> {
    let mut addresses: Vec<String> = numbers.iter().map(|number| servers.address(*number).to_string()).collect();
    addresses.sort_unstable();
    addresses
}

fn wait_for_members(front: &Front, expected: &[String]) -> Duration {
    let begin = Instant::now();
    wait_for(&format!("the members {expected:?}"), DEADLINE, || {
        let mut up = up(front);
        up.sort_unstable();
        (up == expected).then_some(())
    });
    begin.elapsed()
}

#[test]
fn servers_of_a_name_get_calls_by_the_weights_and_priorities_of_its_records_and_follow_a_change() {
    let Some(names) = NameServer::start() else { return };
    let servers = Servers::start(4);
    let [one, two, spare, new] = [0, 1, 2, 3].map(|number| servers.address(number));
    let service = "_sip._udp.fs.example.net";
    names.change(|zone| {
        zone.set("fs.example.net", NAPTR, vec![naptr(service)]);
        let records = [(10, 60, one, "a"), (10, 30, two, "b"), (20, 1, spare, "c")];
        let records = records.map(|(priority, weight, address, host)| {
            let target = format!("{host}.example.net");
            zone.set_address(&target, address);
            srv(priority, weight, address.port(), &target)
        });
        zone.set(service, SRV, records.to_vec());
        zone.set_address("d.example.net", new);
    });
    let front = names.front("policy = \"weighted\"", &["sip:fs.example.net"]);
    wait_for_members(&front, &sorted(&servers, &[0, 1, 2]));
    assert_eq!(front.row(&format!("s0/{one}"))["pool"], "default");
    let callers = Callers::new(front.pointsman.address());
    assert_eq!(callers.call(0..1_500).statuses.get(&200), Some(&1_500));
    let had: Vec<usize> = (0..4).map(|number| servers.calls(number)).collect();
    // Delays of this machine count as well.
    assert!(had[0] > 800 && had[1] > 300 && had[2..] == [0, 0], "{had:?}");
    // One server is replaced by another while calls come in.
    let callers = Callers::at_rate(front.pointsman.address(), 200.0);
    let calls = 2_000;
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(2_000..2_000 + calls));
        wait_for("calls", DEADLINE, || (callers.done() > 100).then_some(()));
        names.change(|zone| {
            let records = vec![srv(10, 60, one.port(), "a.example.net"), srv(10, 30, new.port(), "d.example.net")];
            zone.set(service, SRV, records);
        });
        let took = wait_for_members(&front, &sorted(&servers, &[0, 3]));
        println!("the change took effect after {took:?}");
        assert!(took <= TTL * 2, "{took:?}");
        outcome.join().unwrap()
    });
    assert_eq!(outcome.statuses.get(&200), Some(&calls), "{:?}", outcome.statuses);
    assert!(servers.calls(3) > 50, "{}", servers.calls(3));
    // Without its servers of the first priority a name has its spare ones.
    names.change(|zone| {
        zone.set(
            service,
            SRV,
            vec![srv(10, 60, one.port(), "a.example.net"), srv(20, 1, spare.port(), "c.example.net")],
        );
    });
    wait_for_members(&front, &sorted(&servers, &[0, 2]));
    servers.close(0);
    wait_for_members(&front, &sorted(&servers, &[2]));
    let callers = Callers::new(front.pointsman.address());
    assert_eq!(callers.call(5_000..5_100).statuses.get(&200), Some(&100));
    assert_eq!(servers.calls(2), 100);
}

#[test]
fn calls_go_on_while_the_name_server_is_silent_fails_or_knows_the_names_no_more() {
    let Some(names) = NameServer::start() else { return };
    let servers = Servers::start(5);
    let domains = ["silent.test", "failing.test", "gone.test", "good.test"];
    names.change(|zone| {
        for (number, domain) in domains.iter().enumerate() {
            zone.set_address(domain, servers.address(number));
        }
        zone.set_address("new.good.test", servers.address(4));
        zone.set("_sip._udp.good.test", SRV, vec![srv(1, 1, servers.address(3).port(), "good.test")]);
    });
    let uris: Vec<String> = (0..3).map(|at| format!("sip:{}:{}", domains[at], servers.address(at).port())).collect();
    let uris: Vec<&str> = uris.iter().map(String::as_str).chain(["sip:good.test;transport=udp"]).collect();
    let front = names.front("policy = \"round-robin\"\nmode = \"stateful\"", &uris);
    wait_for_members(&front, &sorted(&servers, &[0, 1, 2, 3]));
    let callers = Callers::at_rate(front.pointsman.address(), 200.0);
    let calls = 3_000;
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(0..calls));
        names.change(|zone| {
            let says = [Says::Nothing, Says::Failure, Says::NoName];
            zone.broken = domains.iter().zip(says).map(|(domain, says)| ((*domain).to_owned(), says)).collect();
        });
        for (at, domain) in domains.iter().enumerate().take(3) {
            let row =
                front.wait_until(&format!("s{at}/{}", servers.address(at)), "to be stale", |row| row["stale"] == true);
            assert_eq!((&row["state"], &row["weight"] != 0), (&"up".into(), true), "{domain}: {row}");
        }
        // One broken name poisons no other: it is asked for as ever, and its change takes effect.
        names.change(|zone| {
            let record = srv(1, 1, servers.address(4).port(), "new.good.test");
            zone.set("_sip._udp.good.test", SRV, vec![record]);
        });
        let name = format!("s3/{}", servers.address(4));
        let begin = Instant::now();
        wait_for("the change of the good name", DEADLINE, || {
            front.rows().iter().any(|row| row["name"] == name.as_str()).then_some(())
        });
        println!("the change took effect after {:?}", begin.elapsed());
        assert!(begin.elapsed() <= TTL * 2, "{:?}", begin.elapsed());
        assert!(!front.rows().iter().any(|row| row["name"] == name.as_str() && row["stale"] == true));
        outcome.join().unwrap()
    });
    assert_eq!(outcome.statuses.get(&200), Some(&calls), "{:?}", outcome.statuses);
    names.change(|zone| assert_eq!(zone.asked.len(), 3, "{:?}", zone.asked));
    for number in 0..3 {
        assert!(servers.calls(number) > 500, "{number}: {}", servers.calls(number));
    }
}
