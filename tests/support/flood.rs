//! A flood of INVITEs with forged sources, and the honest callers beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pointsman::net::udp::{Answer, Buffers, Socket};

use super::DEADLINE;
use super::phone::{Phone, Received, Request};
use super::pointsman::Pointsman;

/// Sends INVITEs, each a new call that would ring for a minute, from as many addresses as it is told.
pub struct Flood {
    socket: Socket,
    target: SocketAddr,
    template: Vec<u8>,
    /// The offsets of the call's number in it.
    places: Vec<usize>,
    addresses: u32,
    sent: u32,
}

/// Bytes that the kernel counts for a waiting datagram of this size, about.
const KERNEL_BYTES: u64 = 1_280;
/// Datagrams in one go.
const BATCH: u32 = 16;
const NUMBER: &str = "NNNNNNNN";

impl Flood {
    /// A flood at `target` from `addresses` loopback addresses in turn; at most 2²¹.
    pub fn new(target: SocketAddr, addresses: u32) -> Self {
        let socket = Socket::bind((Ipv4Addr::UNSPECIFIED, 0).into(), Buffers::SIGNALLING).expect("a free port");
        let port = socket.local_addr().port();
        let template = format!(
            "INVITE sip:service@{target};ring=60000 SIP/2.0\r\nVia: SIP/2.0/UDP forged.invalid:{port};rport;branch=z9hG4bK-{NUMBER}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{NUMBER}@forged.invalid>;tag={NUMBER}\r\nTo: <sip:service@{target}>\r\n\
             Call-ID: {NUMBER}@forged.invalid\r\nCSeq: 1 INVITE\r\nContact: <sip:{NUMBER}@forged.invalid:{port}>\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let places = template.match_indices(NUMBER).map(|(at, _)| at).collect();
        assert!(addresses <= 1 << 21, "127.32.0.0/11 has no more");
        Flood { socket, target, template: template.into_bytes(), places, addresses, sent: 0 }
    }

    /// Floods until it is over: as much as the dispatcher reads, with no more on the way than the kernel holds for it.
    /// Datagrams beyond that the kernel would drop before the dispatcher could tell one caller from another.
    pub fn run(&mut self, pointsman: &Pointsman, over: &AtomicBool) {
        let buffer = pointsman.stats("counters")["listeners"][0]["receive_buffer"].as_u64().unwrap_or_default();
        let window = (buffer / KERNEL_BYTES / 2).max(u64::from(BATCH));
        let read = || pointsman.dispatcher("received") + pointsman.dispatcher("rx_overflow");
        let begin = read();
        while !over.load(Ordering::Relaxed) {
            (0..window).step_by(BATCH as usize).for_each(|_| self.send());
            while begin + self.sent() > read() + window && !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn send(&mut self) {
        let batch: Vec<(Vec<u8>, IpAddr)> = (self.sent..self.sent + BATCH).map(|number| self.message(number)).collect();
        let answers = batch.iter().map(|(bytes, from)| Answer { bytes, to: self.target, from: Some(*from) });
        self.socket.send_batch(answers, |_, _| ());
        self.sent += BATCH;
    }

    /// The number of datagrams it has sent.
    pub fn sent(&self) -> u64 {
        self.sent.into()
    }

    fn message(&self, number: u32) -> (Vec<u8>, IpAddr) {
        let mut bytes = self.template.clone();
        let digits = format!("{number:08}");
        self.places.iter().for_each(|&at| bytes[at..at + NUMBER.len()].copy_from_slice(digits.as_bytes()));
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 32, 0, 1).to_bits() + number % self.addresses);
        (bytes, address.into())
    }
}

/// Callers who keep to RFC 3261.
pub struct Honest {
    phone: Phone,
    target: SocketAddr,
    calls: Vec<Request>,
}

impl Honest {
    /// Callers at `ip` who call `target`.
    pub fn new(ip: IpAddr, target: SocketAddr) -> Self {
        Honest { phone: Phone::new(ip), target, calls: Vec::new() }
    }

    /// Places calls that ring; returns when each does, and says how long that took at most for one of them.
    pub fn ring(&mut self, calls: usize) -> Duration {
        for _ in 0..calls {
            let mut invite = self.phone.invite(self.target, None);
            invite.uri = format!("{};ring=60000", invite.uri);
            self.calls.push(invite);
        }
        let mut silent: Vec<usize> = (0..self.calls.len()).collect();
        self.until(|honest, reply| {
            silent.retain(|&call| !(reply.status() == 180 && reply.answers(&honest.calls[call])));
            silent.iter().map(|&call| honest.calls[call].clone()).collect()
        })
    }

    /// Cancels every call, and returns when each CANCEL has its 200 and each INVITE its 487, acknowledged.
    pub fn cancel(&mut self) -> Duration {
        let cancels: Vec<Request> = self.calls.iter().map(Request::cancel).collect();
        let mut open: Vec<(usize, bool, bool)> = (0..self.calls.len()).map(|call| (call, false, false)).collect();
        self.until(|honest, reply| {
            for (call, is_cancelled, is_ended) in &mut open {
                if reply.status() >= 200 && reply.answers(&cancels[*call]) {
                    assert_eq!(reply.status(), 200, "to a CANCEL: {}", reply.text);
                    *is_cancelled = true;
                } else if reply.status() >= 200 && reply.answers(&honest.calls[*call]) {
                    assert_eq!(reply.status(), 487, "to a cancelled INVITE: {}", reply.text);
                    honest.phone.send(&honest.calls[*call].ack(reply), honest.target);
                    *is_ended = true;
                }
            }
            open.retain(|(_, is_cancelled, is_ended)| !(*is_cancelled && *is_ended));
            open.iter().map(|&(call, ..)| cancels[call].clone()).collect()
        })
    }

    /// Sends what is open, again after 500 ms, 1 s, … (RFC 3261 §17.1), until nothing is. `on_reply` says what is.
    fn until(&self, mut on_reply: impl FnMut(&Honest, &Received) -> Vec<Request>) -> Duration {
        let begin = Instant::now();
        let nothing = Received { text: String::new(), from: self.target };
        let mut open = on_reply(self, &nothing);
        let mut interval = Duration::from_millis(500);
        while !open.is_empty() {
            assert!(begin.elapsed() < DEADLINE, "{} of {} are still open", open.len(), self.calls.len());
            open.iter().for_each(|request| self.phone.send(request, self.target));
            let round = Instant::now();
            while let Some(left) = interval.checked_sub(round.elapsed()).filter(|_| !open.is_empty()) {
                if let Some(reply) = self.phone.receive(left) {
                    open = on_reply(self, &reply);
                }
            }
            interval = (interval * 2).min(Duration::from_secs(4));
        }
        begin.elapsed()
    }
}

/// The memory that a dispatcher may take, in bytes: its table at 160 bytes an entry, the store of each worker, and the
/// parts that do not depend on either (code, buffers for batches, the ring of the last decisions, counts by source).
pub fn memory_cap(table: u64, workers: u64, retention: u64) -> u64 {
    table * 160 + workers * retention + (48 << 20)
}
