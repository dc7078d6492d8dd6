//! Servers that answer calls and probes as they are told, and keep what came.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::support::own_address;
use crate::support::phone::Received;

/// The way in which a server answers.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Status of its answers to calls; 0: silence. 180: it rings until the CANCEL comes.
    pub(super) status: u16,
    /// Time until then.
    pub(super) after: Duration,
    /// Status of its answers to probes; 0: silence.
    pub(super) probe_status: u16,
    /// Time that it takes for each call and each probe, one after the other. A copy costs a fifth.
    pub(super) service: Duration,
    /// Time until an answer to OPTIONS and to an INVITE that probes.
    pub(super) options_after: Duration,
    pub(super) refusal_after: Duration,
    /// Broken copies of each answer to a call that come before it.
    pub(super) broken: u32,
    /// The only address that it takes messages from, as a firewall in front of it would; `None`: any.
    pub(super) only_from: Option<SocketAddr>,
    /// Header lines of its answers to calls and to probes.
    pub(super) headers: String,
    pub(super) probe_headers: String,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            status: 200,
            after: Duration::ZERO,
            probe_status: 200,
            service: Duration::ZERO,
            broken: 0,
            only_from: None,
            options_after: Duration::ZERO,
            refusal_after: Duration::ZERO,
            headers: String::new(),
            probe_headers: String::new(),
        }
    }
}

/// The messages that a server has had.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// INVITEs of each call, by Call-ID.
    pub(super) invites: HashMap<String, u32>,
    /// CANCELs of each call.
    pub(super) cancels: HashMap<String, u32>,
    /// ACKs of each call.
    pub(super) acks: HashMap<String, u32>,
    /// Probes, by method.
    pub(super) probes: BTreeMap<String, u32>,
    /// The last of them.
    pub(super) probe: Option<Received>,
    /// The INVITE of each call that rings.
    ringing: HashMap<String, Received>,
}

/// Servers that one thread runs, so that a pause of this machine delays them all alike. They end with this value.
pub(super) struct Servers {
    shared: Arc<Shared>,
    registry: Registry,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_over: AtomicBool,
    servers: Vec<Mutex<Server>>,
}

/// A server.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// `None` while it is closed.
    socket: Option<UdpSocket>,
    manner: Manner,
    seen: Seen,
    /// When it is through with everything that has come.
    free: Instant,
    /// Draws what is broken.
    seed: u64,
}

/// The token of the waker; servers have their numbers.
const WAKER: Token = Token(usize::MAX);

impl Servers {
    /// So many servers that answer everything at once.
    pub(super) fn start(count: usize) -> Self {
        Servers::with(count, &Manner::default())
    }

    pub(super) fn with(count: usize, manner: &Manner) -> Self {
        let poll = Poll::new().unwrap();
        let one = |_| {
            let address = SocketAddr::new(own_address().into(), 0);
            Mutex::new(Server {
                address,
                socket: None,
                manner: manner.clone(),
                seen: Seen::default(),
                free: Instant::now(),
                seed: 1,
            })
        };
        let shared = Arc::new(Shared { is_over: AtomicBool::new(false), servers: (0..count).map(one).collect() });
        let registry = poll.registry().try_clone().unwrap();
        let waker = Waker::new(&registry, WAKER).unwrap();
        let mut servers = Servers { shared: Arc::clone(&shared), registry, waker, thread: None };
        (0..count).for_each(|number| servers.open(number));
        servers.thread = Some(std::thread::spawn(move || shared.serve(poll)));
        servers
    }

    fn get(&self, number: usize) -> MutexGuard<'_, Server> {
        self.shared.servers[number].lock().unwrap()
    }

    pub(super) fn count(&self) -> usize {
        self.shared.servers.len()
    }

    pub(super) fn address(&self, number: usize) -> SocketAddr {
        self.get(number).address
    }

    /// Has a server answer otherwise from now on.
    pub(super) fn change(&self, number: usize, change: impl FnOnce(&mut Manner)) {
        change(&mut self.get(number).manner);
    }

    /// Reads the messages that a server has had.
    pub(super) fn seen<T>(&self, number: usize, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.get(number).seen)
    }

    /// Calls that a server has had.
    pub(super) fn calls(&self, number: usize) -> usize {
        self.seen(number, |seen| seen.invites.len())
    }

    /// Sends something from a server's address.
    pub(super) fn send(&self, number: usize, bytes: &[u8], to: SocketAddr) {
        self.get(number).socket.as_ref().unwrap().send_to(bytes, to).unwrap();
    }

    /// Opens a server's socket, at the same address as before.
    pub(super) fn open(&self, number: usize) {
        let mut server = self.get(number);
        let mut socket = UdpSocket::bind(server.address).unwrap_or_else(|error| panic!("{}: {error}", server.address));
        server.address = socket.local_addr().unwrap();
        self.registry.register(&mut socket, Token(number), Interest::READABLE).unwrap();
        server.socket = Some(socket);
    }

    /// Closes a server's socket, as it is closed when a server is killed.
    pub(super) fn close(&self, number: usize) {
        self.get(number).socket = None;
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.waker.wake().unwrap();
        self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn serve(&self, mut poll: Poll) {
        let mut due: BTreeMap<(Instant, u64), (usize, String, SocketAddr)> = BTreeMap::new();
        let (mut buffer, mut count, mut events) = ([0; 4_096], 0, Events::with_capacity(64));
        while !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Some(first) = due.first_entry().filter(|first| first.key().0 <= now) {
                let (number, text, to) = first.remove();
                let server = self.servers[number].lock().unwrap();
                // A caller that is gone needs no answer.
                let _ = server.socket.as_ref().map(|socket| socket.send_to(text.as_bytes(), to));
            }
            let wait = due.keys().next().map(|(at, _)| at.saturating_duration_since(now));
            match poll.poll(&mut events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.unwrap(),
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                let Token(number) = event.token();
                let mut server = self.servers[number].lock().unwrap();
                while let Some(Ok((length, from))) = server.socket.as_ref().map(|socket| socket.recv_from(&mut buffer))
                {
                    let request = Received { text: String::from_utf8_lossy(&buffer[..length]).into_owned(), from };
                    let queued = server.queue(&request);
                    for (text, after) in server.answers(&request) {
                        let after = after + queued;
                        if let Some(socket) = server.socket.as_ref().filter(|_| after.is_zero()) {
                            let _ = socket.send_to(text.as_bytes(), from);
                        } else {
                            count += 1;
                            due.insert((Instant::now() + after, count), (number, text, from));
                        }
                    }
                }
            }
        }
    }
}

impl Server {
    /// Puts a request into the queue. Returns the time until it is through.
    fn queue(&mut self, request: &Received) -> Duration {
        let Manner { service, .. } = self.manner;
        if service.is_zero() || !["INVITE", "OPTIONS"].contains(&request.method()) {
            return Duration::ZERO;
        }
        let is_copy = request.header("Call-ID").is_some_and(|call| self.seen.invites.contains_key(call));
        let now = Instant::now();
        self.free = self.free.max(now) + if is_copy { service / 5 } else { service };
        self.free - now
    }

    /// The answers to a request, and the time until each.
    fn answers(&mut self, request: &Received) -> Vec<(String, Duration)> {
        let Server { address, manner, seen, seed, .. } = self;
        let address = *address;
        if manner.only_from.is_some_and(|only| only != request.from) {
            return Vec::new();
        }
        let method = request.method();
        let Some(call) = request.header("Call-ID").map(str::to_owned) else { return Vec::new() };
        let is_probe = request.header("User-Agent") == Some("pointsman");
        if is_probe && (method == "OPTIONS" || method == "INVITE") {
            *seen.probes.entry(method.to_owned()).or_default() += 1;
            seen.probe = Some(request.clone());
            let (status, after) = match (method, manner.probe_status) {
                (_, 0) => return Vec::new(),
                ("INVITE", 200) => (420, manner.refusal_after),
                ("INVITE", status) => (status, manner.refusal_after),
                (_, status) => (status, manner.options_after),
            };
            return vec![(answer(request, status, &manner.probe_headers, address), after)];
        }
        let count = |of: &mut HashMap<String, u32>| *of.entry(call.clone()).or_default() += 1;
        match method {
            "ACK" => count(&mut seen.acks),
            "CANCEL" => {
                count(&mut seen.cancels);
                let mut answers = vec![(answer(request, 200, "", address), Duration::ZERO)];
                let invite = seen.ringing.get(&call);
                answers.extend(invite.map(|invite| (answer(invite, 487, "", address), Duration::ZERO)));
                return answers;
            }
            "INVITE" => {
                count(&mut seen.invites);
                if manner.status == 180 {
                    seen.ringing.insert(call.clone(), request.clone());
                }
                let status = if seen.cancels.contains_key(&call) { 487 } else { manner.status };
                if status != 0 {
                    let whole = answer(request, status, &manner.headers, address);
                    let mut answers: Vec<_> =
                        (0..manner.broken).map(|_| (broken(&whole, seed), manner.after)).collect();
                    answers.push((whole, manner.after));
                    return answers;
                }
            }
            _ => return vec![(answer(request, 200, "", address), Duration::ZERO)],
        }
        Vec::new()
    }
}

/// An answer to a request.
pub(crate) fn answer(request: &Received, status: u16, headers: &str, address: SocketAddr) -> String {
    let mut text = format!("SIP/2.0 {status} Answer\r\n");
    for (name, value) in request.fields() {
        let is_copied =
            ["Via", "From", "Call-ID", "CSeq", "Record-Route"].iter().any(|wanted| name.eq_ignore_ascii_case(wanted));
        if is_copied {
            text += &format!("{name}: {value}\r\n");
        } else if name.eq_ignore_ascii_case("To") {
            let tag = if value.contains("tag=") { String::new() } else { format!(";tag=at-{}", address.port()) };
            text += &format!("{name}: {value}{tag}\r\n");
        }
    }
    text + headers + &format!("Contact: <sip:server@{address}>\r\nContent-Length: 0\r\n\r\n")
}

/// An answer with three bytes changed in front of its Contact.
fn broken(answer: &str, seed: &mut u64) -> String {
    let end = answer.find("Contact:").unwrap_or(answer.len());
    let mut bytes = answer.as_bytes().to_vec();
    for _ in 0..3 {
        *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let drawn = *seed >> 33;
        bytes[drawn as usize % end] = (drawn >> 16) as u8 % 127;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
