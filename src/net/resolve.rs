//! Names to addresses, off the loop: a few threads, a bounded queue, a deadline for each question.
//!
//! The system's resolver can hang for many seconds and cannot be interrupted. So the deadline is kept here: a question
//! whose time is up is answered with [`ResolveError::Late`], and what its thread finds out later is thrown away. While
//! all threads hang, questions wait in the queue; when that is full, [`Resolver::ask`] says so at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::clock;
use crate::time::Time;

/// Looks names up on threads of its own. Dropping it ends them once their question is through.
pub struct Resolver<K> {
    questions: Sender<Question>,
    findings: Receiver<Finding>,
    /// Bounded: not more than the queue and the threads hold.
    open: Vec<Open<K>>,
    limit: usize,
    last: u64,
}

/// How many threads and how many waiting questions there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads, each with one question at a time.
    pub threads: usize,
    /// Questions that wait for a thread.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { threads: 2, queue: 256 }
    }
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was an address: no look-up needed.
    Now(SocketAddr),
    /// [`Resolver::poll`] brings the answer.
    Later,
}

/// The answer to a question.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<K> {
    /// What the asker called the question.
    pub key: K,
    /// At least one address, in the system's order of preference.
    pub addresses: Result<Vec<SocketAddr>, ResolveError>,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The resolver said no.
    #[error("cannot find the address of `{name}`: {reason}")]
    Failed {
        /// The name.
        name: String,
        /// What the resolver said.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("the address of `{name}` was not found in time")]
    Late {
        /// The name.
        name: String,
    },
    /// Too many questions wait already.
    #[error("cannot look up `{name}`: too many look-ups wait already")]
    Busy {
        /// The name.
        name: String,
    },
    /// Not a host name at all.
    #[error("`{name}` is not a host name")]
    NotAName {
        /// The name, as far as it is text.
        name: String,
    },
}

struct Open<K> {
    number: u64,
    key: K,
    name: String,
    deadline: Time,
}

struct Question {
    number: u64,
    name: String,
    port: u16,
    deadline: Time,
}

struct Finding {
    number: u64,
    addresses: Result<Vec<SocketAddr>, String>,
}

/// RFC 1035 §2.3.4.
const NAME_LIMIT: usize = 255;
/// A SIP element tries a handful of addresses at most.
const ADDRESSES_LIMIT: usize = 16;

impl<K> Resolver<K> {
    /// A resolver that asks the system. `wake` is called from a thread whenever an answer has come: it makes the loop
    /// call [`Resolver::poll`].
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn new(limits: Limits, wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        Resolver::with(limits, wake, |name, port| Ok((name, port).to_socket_addrs()?.collect()))
    }

    /// A resolver that asks `look_up`.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn with(
        limits: Limits,
        wake: impl Fn() + Send + Sync + 'static,
        look_up: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (questions, waiting) = crossbeam_channel::bounded(limits.queue);
        // Every finding belongs to a question that was let in, but a question may be given up before its finding comes.
        let (found, findings) = crossbeam_channel::unbounded();
        let work = Arc::new((wake, look_up));
        for number in 0..limits.threads.max(1) {
            let (waiting, found, work) = (waiting.clone(), found.clone(), Arc::clone(&work));
            thread::Builder::new()
                .name(format!("resolve-{number}"))
                .spawn(move || serve(&waiting, &found, &work.0, &work.1))?;
        }
        let limit = limits.queue + limits.threads.max(1);
        Ok(Resolver { questions, findings, open: Vec::with_capacity(limit), limit, last: 0 })
    }

    /// Asks for the addresses of `host` (a name, an IPv4 address, or an IPv6 address with or without brackets), to be had
    /// by `deadline`.
    ///
    /// # Errors
    ///
    /// It is not a name, or too many questions wait already.
    pub fn ask(&mut self, key: K, host: &str, port: u16, deadline: Time) -> Result<Asked, ResolveError> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Ok(Asked::Now(SocketAddr::new(ip, port)));
        }
        if !is_host_name(host) {
            let name = host.chars().take(NAME_LIMIT).collect();
            return Err(ResolveError::NotAName { name });
        }
        let busy = || ResolveError::Busy { name: host.to_owned() };
        if self.open.len() >= self.limit {
            return Err(busy());
        }
        self.last += 1;
        let question = Question { number: self.last, name: host.to_owned(), port, deadline };
        match self.questions.try_send(question) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(busy()),
        }
        self.open.push(Open { number: self.last, key, name: host.to_owned(), deadline });
        Ok(Asked::Later)
    }

    /// The next answer, or the next question whose time is up at `now`.
    pub fn poll(&mut self, now: Time) -> Option<Answer<K>> {
        while let Ok(finding) = self.findings.try_recv() {
            // A question that was given up is no longer open.
            let Some(at) = self.open.iter().position(|open| open.number == finding.number) else { continue };
            let open = self.open.swap_remove(at);
            let addresses = finding.addresses.map_err(|reason| ResolveError::Failed { name: open.name, reason });
            return Some(Answer { key: open.key, addresses });
        }
        let at = self.open.iter().position(|open| open.deadline <= now)?;
        let open = self.open.swap_remove(at);
        Some(Answer { key: open.key, addresses: Err(ResolveError::Late { name: open.name }) })
    }

    /// When the next question's time is up.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.open.iter().map(|open| open.deadline).min()
    }

    /// Questions without an answer.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }
}

impl<K> fmt::Debug for Resolver<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("waiting", &self.open.len()).finish_non_exhaustive()
    }
}

fn serve(
    waiting: &Receiver<Question>,
    found: &Sender<Finding>,
    wake: &impl Fn(),
    look_up: &impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
) {
    for question in waiting {
        // Its asker has given it up: do not keep the others waiting for it.
        if clock::now() >= question.deadline {
            continue;
        }
        let addresses = match look_up(&question.name, question.port) {
            Ok(addresses) if addresses.is_empty() => Err("it has none".to_owned()),
            Ok(mut addresses) => {
                addresses.truncate(ADDRESSES_LIMIT);
                Ok(addresses)
            }
            Err(error) => Err(error.to_string()),
        };
        if found.send(Finding { number: question.number, addresses }).is_err() {
            return;
        }
        wake();
    }
}

/// Letters, digits, hyphens and dots (RFC 1123 §2.1), and the underscore that many networks use. Everything else would
/// only reach the system's resolver to be refused there.
fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= NAME_LIMIT
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Time = Time(u64::MAX);
    const WITHIN: Duration = Duration::from_secs(5);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let mut resolver = Resolver::new(Limits::default(), || ()).unwrap();
        assert_eq!(resolver.ask(1, "192.0.2.1", 5060, LONG), Ok(Asked::Now(address("192.0.2.1:5060"))));
        assert_eq!(resolver.ask(1, "[2001:db8::1]", 5060, LONG), Ok(Asked::Now(address("[2001:db8::1]:5060"))));
        assert_eq!(resolver.ask(1, "2001:db8::1", 5060, LONG), Ok(Asked::Now(address("[2001:db8::1]:5060"))));
        assert_eq!(resolver.waiting(), 0);
    }

    #[test]
    fn what_is_no_name_is_refused_at_once() {
        let mut resolver = Resolver::new(Limits::default(), || ()).unwrap();
        for bad in ["", "a b", "a\0b", "[::1", "ü.example", &"a".repeat(256)] {
            assert!(matches!(resolver.ask(1, bad, 1, LONG), Err(ResolveError::NotAName { .. })), "{bad}");
        }
    }

    #[test]
    fn a_name_is_looked_up_by_the_system_and_the_loop_is_woken() {
        let (woken, wakes) = crossbeam_channel::unbounded();
        let wake = move || woken.send(()).unwrap();
        let mut resolver = Resolver::new(Limits::default(), wake).unwrap();
        assert_eq!(resolver.ask("key", "localhost", 5060, LONG), Ok(Asked::Later));
        wakes.recv_timeout(WITHIN).expect("an answer within 5 s");
        let answer = resolver.poll(Time(0)).expect("the answer");
        assert_eq!(answer.key, "key");
        let addresses = answer.addresses.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 5060), "{addresses:?}");
        assert_eq!(resolver.poll(Time(0)), None);
    }

    #[test]
    fn a_name_that_hangs_is_late_and_its_answer_is_thrown_away() {
        let (release, hang) = crossbeam_channel::bounded::<()>(0);
        let (woken, wakes) = crossbeam_channel::unbounded();
        let look_up = move |name: &str, port| {
            if name == "hangs" {
                let _ = hang.recv();
            }
            Ok(vec![SocketAddr::from(([192, 0, 2, 1], port))])
        };
        let limits = Limits { threads: 1, queue: 1 };
        let mut resolver = Resolver::with(limits, move || woken.send(()).unwrap(), look_up).unwrap();
        let soon = clock::now() + Duration::from_secs(60);
        assert_eq!(resolver.ask(1, "hangs", 1, soon), Ok(Asked::Later));
        // The thread takes the first question out of the queue at its leisure: until then the second finds it full.
        while resolver.ask(2, "waits", 1, LONG) != Ok(Asked::Later) {
            thread::yield_now();
        }
        assert_eq!(resolver.ask(3, "more", 1, LONG), Err(ResolveError::Busy { name: "more".into() }));
        assert_eq!(resolver.poll_timeout(), Some(soon));
        assert_eq!(resolver.poll(Time(0)), None);
        let late = resolver.poll(soon).expect("its time is up");
        assert_eq!((late.key, late.addresses), (1, Err(ResolveError::Late { name: "hangs".into() })));
        release.send(()).unwrap();
        for _ in 0..2 {
            wakes.recv_timeout(WITHIN).expect("both look-ups end");
        }
        let answer = resolver.poll(soon).expect("the second answer");
        assert_eq!((answer.key, answer.addresses), (2, Ok(vec![address("192.0.2.1:1")])));
        assert_eq!(resolver.poll(soon), None);
    }
}
