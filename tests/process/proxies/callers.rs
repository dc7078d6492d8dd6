//! Many calls from one socket, a window of them under way, each message sent again until it is answered.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::phone::Received;

/// Calls under way at a time: fewer datagrams than a socket's default buffer holds.
const WINDOW: usize = 48;
/// T1 of RFC 3261 §17.1.1.2.
const T1: Duration = Duration::from_millis(500);

/// The part of a call that is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The INVITE, until its final response, which is acknowledged.
    Answer,
    /// The INVITE, sent twice, until it rings.
    Ring,
    /// A copy of the INVITE and its CANCEL, until both have their final responses.
    Cancel,
    /// The CANCEL alone, until both have their final responses.
    CancelAlone,
}

/// The callers.
pub(super) struct Callers {
    socket: UdpSocket,
    front: SocketAddr,
    /// Most calls under way at a time.
    pub(super) window: usize,
    /// Time after which a call that has no answer is given up.
    pub(super) patience: Option<Duration>,
    /// Shortest time between the beginnings of two calls.
    pub(super) pause: Duration,
    /// Calls that are through their step.
    done: AtomicUsize,
}

/// The responses to some calls.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Calls by the status of the INVITE's final response.
    pub(super) statuses: BTreeMap<u16, usize>,
    /// Calls by the address in the first Contact of that response.
    pub(super) contacts: HashMap<SocketAddr, usize>,
    /// Time until the final response of each call.
    pub(super) delays: Vec<Duration>,
    /// Calls that were given up.
    pub(super) given_up: usize,
    /// Datagrams that were sent again.
    pub(super) again: usize,
    /// CANCELs with another final response than 200.
    pub(super) failed_cancels: usize,
}

/// A call under way.
struct Open {
    begun: Instant,
    /// The address that its INVITE goes to.
    to: SocketAddr,
    due: Instant,
    interval: Duration,
    has_invite: bool,
    has_cancel: bool,
}

impl Callers {
    pub(super) fn new(front: SocketAddr) -> Self {
        let socket = UdpSocket::bind((front.ip(), 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        Callers { socket, front, window: WINDOW, patience: None, pause: Duration::ZERO, done: AtomicUsize::new(0) }
    }

    /// Callers who begin so many calls a second.
    pub(super) fn at_rate(front: SocketAddr, rate: f64) -> Self {
        Callers { pause: Duration::from_secs_f64(1.0 / rate), ..Callers::new(front) }
    }

    /// Calls that are through their step so far.
    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Has each call answered.
    pub(super) fn call(&self, calls: Range<usize>) -> Outcome {
        self.exchange(calls, Step::Answer)
    }

    /// Has each call ring. Its INVITE is sent twice.
    pub(super) fn ring(&self, calls: Range<usize>) -> Outcome {
        self.exchange(calls, Step::Ring)
    }

    /// Sends each INVITE once more, and cancels it.
    pub(super) fn cancel(&self, calls: Range<usize>) -> Outcome {
        self.exchange(calls, Step::Cancel)
    }

    /// Cancels each call.
    pub(super) fn cancel_alone(&self, calls: Range<usize>) -> Outcome {
        self.exchange(calls, Step::CancelAlone)
    }

    fn exchange(&self, mut calls: Range<usize>, step: Step) -> Outcome {
        let (mut outcome, mut open) = (Outcome::default(), HashMap::new());
        let mut buffer = [0; 4_096];
        let (mut begun, mut progress) = (Instant::now(), Instant::now());
        let mut look = Instant::now() + T1;
        loop {
            while open.len() < self.window
                && !calls.is_empty()
                && begun.elapsed() >= self.pause
                && let Some(call) = calls.next()
            {
                // Later ones follow sooner after a delay of our own.
                begun = if self.pause.is_zero() { Instant::now() } else { begun + self.pause };
                let now = Instant::now();
                let open_call = Open {
                    begun: now,
                    to: self.front,
                    due: now + T1,
                    interval: T1,
                    has_invite: false,
                    has_cancel: matches!(step, Step::Answer | Step::Ring),
                };
                open.insert(call, open_call);
                self.send(call, step, self.front);
            }
            if open.is_empty() && calls.is_empty() {
                return outcome;
            }
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if self.on_reply(&Received { text, from }, step, &mut open, &mut outcome) {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    progress = Instant::now();
                }
            }
            let now = Instant::now();
            if now >= look {
                if let Some(patience) = self.patience {
                    let before = open.len();
                    open.retain(|_, open| open.begun.elapsed() < patience);
                    outcome.given_up += before - open.len();
                    self.done.fetch_add(before - open.len(), Ordering::Relaxed);
                }
                assert!(progress.elapsed() < DEADLINE, "{step:?}: no answer to {:?}", open.keys());
                look = now + T1 / 5;
                for (call, open) in open.iter_mut().filter(|(_, open)| open.due <= now) {
                    open.interval *= 2;
                    open.due = now + open.interval;
                    outcome.again += 1;
                    self.send(*call, step, open.to);
                }
            }
        }
    }

    /// Notes a response. Returns whether its call is through the step.
    fn on_reply(&self, reply: &Received, step: Step, open: &mut HashMap<usize, Open>, outcome: &mut Outcome) -> bool {
        let call = reply.header("Call-ID").and_then(|id| id.split('@').next()?.parse().ok());
        let (status, is_cancel) = (reply.status(), reply.method() == "CANCEL");
        let Some(call) = call.filter(|_| status >= 180) else { return false };
        if !is_cancel && status >= 200 {
            // Also once more, if the response comes once more.
            self.acknowledge(call, reply);
        }
        let Some(it) = open.get_mut(&call) else { return false };
        if is_cancel {
            outcome.failed_cancels += usize::from(status != 200);
            it.has_cancel = true;
        } else if !it.has_invite && (status >= 200 || step == Step::Ring) {
            it.has_invite = true;
            *outcome.statuses.entry(status).or_default() += 1;
            outcome.delays.push(it.begun.elapsed());
            if status < 400 && reply.header("Contact").is_some() {
                *outcome.contacts.entry(reply.contact_address()).or_default() += 1;
            }
        }
        let is_through = it.has_invite && it.has_cancel;
        if is_through {
            open.remove(&call);
        }
        is_through
    }

    fn send(&self, call: usize, step: Step, to: SocketAddr) {
        let methods: &[&str] = match step {
            Step::Answer => &["INVITE"],
            Step::Ring => &["INVITE", "INVITE"],
            Step::Cancel => &["INVITE", "CANCEL"],
            Step::CancelAlone => &["CANCEL"],
        };
        for method in methods {
            self.send_request(call, method, "", to);
        }
    }

    /// A 2xx is acknowledged where its Contact is (RFC 3261 §13.2.2.4), any other hop by hop (§17.1.1.3).
    fn acknowledge(&self, call: usize, reply: &Received) {
        let to = if reply.status() < 300 { reply.contact_address() } else { self.front };
        self.send_request(call, "ACK", reply.to_tag(), to);
    }

    fn send_request(&self, call: usize, method: &str, to_tag: &str, to: SocketAddr) {
        let (own, front) = (self.socket.local_addr().unwrap(), self.front);
        let to_tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        let text = format!(
            "{method} sip:{call}@{front} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller@{own}>;tag=c{call}\r\nTo: <sip:{call}@{front}>{to_tag}\r\n\
             Call-ID: {call}@{own}\r\nCSeq: 1 {method}\r\nContact: <sip:caller@{own}>\r\nContent-Length: 0\r\n\r\n"
        );
        // A full buffer is a loss as any other.
        let _ = self.socket.send_to(text.as_bytes(), to);
    }
}
