//! Name look-ups for an event loop: [`names::Resolver`] with the name servers and files of this host.
//!
//! `/etc/hosts` and `/etc/resolv.conf` are read again when they have changed. Sources of names other than these (mDNS,
//! LDAP) are not asked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::dns::Dns;
use super::random::random_u64;
use crate::names::{self, Answer, Asked, Hosts, Limits, Question, Servers, Unfound};
use crate::time::Time;

/// Looks names up. `K` is the caller's key for its question, returned with the answer.
#[derive(Debug)]
pub struct Resolver<K> {
    names: names::Resolver<K>,
    dns: Dns,
    hosts: Watched,
    servers: Watched,
    looked: Option<Time>,
}

/// Shortest interval between two checks of the files for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of a file that are read.
const FILE_LIMIT: u64 = 4 << 20;

impl<K> Resolver<K> {
    /// A resolver with this host's name servers and files. A thread calls `wake` whenever an answer may have come:
    /// `wake` makes the loop call [`Resolver::poll`].
    ///
    /// # Errors
    ///
    /// The system refuses the thread, or has no random numbers.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        Resolver::with("/etc/hosts", "/etc/resolv.conf", wake)
    }

    fn with(
        hosts: impl Into<PathBuf>,
        servers: impl Into<PathBuf>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Ok(Resolver {
            names: names::Resolver::new(Limits::default(), random_u64()?),
            dns: Dns::start(wake)?,
            hosts: Watched::new(hosts),
            servers: Watched::new(servers),
            looked: None,
        })
    }

    /// Asks for a host's addresses, needed by `deadline`. [`Resolver::poll`] brings an answer that is not known at
    /// once.
    ///
    /// # Errors
    ///
    /// It is not a name, or too many questions wait already.
    pub fn ask(&mut self, key: K, question: Question, deadline: Time, now: Time) -> Result<Asked, Unfound> {
        self.look_at_files(now);
        let asked = self.names.ask(key, question, deadline, now);
        self.send();
        asked
    }

    /// The next answer.
    pub fn poll(&mut self, now: Time) -> Option<Answer<K>> {
        while let Some((number, outcome)) = self.dns.poll() {
            self.names.on_outcome(number, outcome, now);
        }
        self.names.handle_timeout(now);
        self.send();
        self.names.poll_answer()
    }

    /// The time at which [`Resolver::poll`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.names.poll_timeout()
    }

    fn send(&mut self) {
        while let Some(query) = self.names.poll_query() {
            self.dns.send(query);
        }
    }

    fn look_at_files(&mut self, now: Time) {
        if self.looked.is_some_and(|looked| now.since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        if let Some(text) = self.hosts.changed() {
            self.names.set_hosts(Hosts::parse(&text));
        }
        if let Some(text) = self.servers.changed() {
            self.names.set_servers(Servers::parse(&text));
        }
    }
}

/// A file that may change at any time.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Inode, size and time of the last change when it was last read; the inner `None` where there was no file.
    seen: Option<Option<(u64, u64, i64, i64)>>,
}

impl Watched {
    fn new(path: impl Into<PathBuf>) -> Self {
        Watched { path: path.into(), seen: None }
    }

    /// Its text, if it may have changed since the last look; a file that is gone or cannot be read is empty.
    fn changed(&mut self) -> Option<String> {
        let status = fs::metadata(&self.path).ok();
        let seen = status.map(|status| (status.ino(), status.size(), status.mtime(), status.mtime_nsec()));
        if self.seen == Some(seen) {
            return None;
        }
        self.seen = Some(seen);
        Some(read(&self.path).unwrap_or_default())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Protocol, Source};

    const WITHIN: Duration = Duration::from_secs(60);

    fn question(host: &str) -> Question {
        let protocols = &[Protocol::Udp];
        Question { host: host.into(), port: Some(5060), protocols, asks_transports: false, source: Source::CallAgents }
    }

    #[test]
    fn a_files_names_are_known_at_once_and_its_changes_within_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let [hosts, servers] = ["hosts", "resolv.conf"].map(|name| dir.path().join(name));
        fs::write(&hosts, "192.0.2.7 as.example.net\n").unwrap();
        let mut resolver = Resolver::with(&hosts, &servers, || ()).unwrap();
        let mut look_up = |now: Time| {
            assert_eq!(resolver.ask(now, question("as.example.net"), now + WITHIN, now), Ok(Asked::Later));
            let answer = resolver.poll(now).expect("a name of the file needs no server");
            assert_eq!(answer.key, now);
            answer.found.unwrap()[0].endpoint.address.to_string()
        };
        let begin = Time(1_000_000);
        assert_eq!(look_up(begin), "192.0.2.7:5060");
        fs::write(&hosts, "192.0.2.18 as.example.net\n").unwrap();
        assert_eq!(look_up(begin + LOOK_EVERY / 2), "192.0.2.7:5060");
        assert_eq!(look_up(begin + LOOK_EVERY), "192.0.2.18:5060");
    }

    #[test]
    fn the_loop_is_woken_for_a_name_that_servers_are_asked_for() {
        let (woken, wakes) = crossbeam_channel::unbounded();
        let dir = tempfile::tempdir().unwrap();
        let servers = dir.path().join("resolv.conf");
        // No server listens there: the query fails at once, at every attempt.
        fs::write(&servers, "nameserver 127.255.255.254\n").unwrap();
        let mut resolver = Resolver::with("/nonexistent", &servers, move || woken.send(()).unwrap()).unwrap();
        let now = Time(1);
        assert_eq!(resolver.ask((), question("ms.example.net"), now + WITHIN, now), Ok(Asked::Later));
        let answer = loop {
            wakes.recv_timeout(WITHIN).expect("an outcome");
            if let Some(answer) = resolver.poll(now) {
                break answer;
            }
        };
        assert_eq!(answer.found, Err(Unfound::Failed { name: "ms.example.net".into() }));
    }
}
