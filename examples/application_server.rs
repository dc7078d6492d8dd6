//! An application server that says how large its sessions are.
//!
//! ```text
//! pointsman --workers 4 &
//! cargo run --example application_server -- 127.0.0.1:5060 120 1 1 8 1 40
//! ```
//!
//! Each number is a session: an INVITE with that `X-Session-Size` goes to the dispatcher. The worker that answers names
//! its own port in Contact; ACK and BYE go there. All calls stand before the first ends, so the workers' loads are seen
//! to follow the sizes. It reads responses with `rsip` and answers with `sdp-rs`: libraries that had no part in the
//! dispatcher.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// 64·T1: a request without a final response has failed.
const PATIENCE: Duration = Duration::from_secs(32);

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: application_server DISPATCHER:PORT SIZE…";
    let dispatcher: SocketAddr = words.next().ok_or(usage)?.parse()?;
    let sizes: Vec<u32> = words.map(|word| word.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        return Err(usage.into());
    }
    let mut load: BTreeMap<SocketAddr, (u32, usize)> = BTreeMap::new();
    for Taken { size, outcome } in run(dispatcher, &sizes)? {
        match outcome {
            Ok(worker) => {
                println!("size {size:>4}  worker {worker}");
                let (units, sessions) = load.entry(worker).or_default();
                *units += size;
                *sessions += 1;
            }
            Err(status) => println!("size {size:>4}  refused with {status}"),
        }
    }
    for (worker, (units, sessions)) in load {
        println!("worker {worker}: {units} units in {sessions} sessions");
    }
    Ok(())
}

/// The outcome of one session.
pub struct Taken {
    /// Its size, as the INVITE said.
    pub size: u32,
    /// The worker's address as its Contact names it, or the status of the refusal.
    pub outcome: Result<SocketAddr, u16>,
}

/// Places a session of each size; when all stand, ends them.
pub fn run(dispatcher: SocketAddr, sizes: &[u32]) -> Result<Vec<Taken>, Box<dyn Error>> {
    let server = Server::new(dispatcher)?;
    let mut calls = Vec::new();
    let mut taken = Vec::new();
    for (number, &size) in sizes.iter().enumerate() {
        let outcome = match server.place(number, size)? {
            Placed::Refused(status) => Err(status),
            Placed::Stands(call) => {
                let worker = call.worker;
                calls.push(call);
                Ok(worker)
            }
        };
        taken.push(Taken { size, outcome });
    }
    for call in &calls {
        server.end(call)?;
    }
    Ok(taken)
}

struct Server {
    socket: UdpSocket,
    address: SocketAddr,
    dispatcher: SocketAddr,
}

enum Placed {
    Stands(Call),
    Refused(u16),
}

/// A call that stands.
struct Call {
    /// The worker's own address, as Contact names it.
    worker: SocketAddr,
    target: String,
    from: String,
    to: String,
    call_id: String,
}

impl Server {
    fn new(dispatcher: SocketAddr) -> std::io::Result<Self> {
        let any = if dispatcher.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        // Connected for a moment, the socket tells which of our addresses faces the dispatcher.
        let probe = socket.try_clone()?;
        probe.connect(dispatcher)?;
        let address = probe.local_addr()?;
        // Responses come from the dispatcher's address, from the worker's, or both: start over unconnected.
        drop((probe, socket));
        let socket = UdpSocket::bind(address)?;
        Ok(Server { socket, address, dispatcher })
    }

    fn place(&self, number: usize, size: u32) -> Result<Placed, Box<dyn Error>> {
        let address = self.address;
        let serial = format!("{:x}-{number}", std::process::id());
        let mut call = Call {
            worker: self.dispatcher,
            target: format!("sip:session@{}", self.dispatcher),
            from: format!("<sip:application@{address}>;tag=as{serial}"),
            to: format!("<sip:session@{}>", self.dispatcher),
            call_id: format!("{serial}@{}", address.ip()),
        };
        let offer = offer(address);
        let headers = format!(
            "Contact: <sip:application@{address}>\r\nX-Session-Size: {size}\r\nContent-Type: application/sdp\r\n"
        );
        let branch = format!("z9hG4bKinv{serial}");
        let invite = self.request("INVITE", 1, &branch, &call, &headers, &offer);
        let response = self.transact(&invite, "INVITE", &call, self.dispatcher)?;
        let status = response.status_code().code();
        call.to = response.to_header()?.typed()?.to_string();
        if status >= 300 {
            // The ACK of a refusal belongs to the INVITE's transaction: same branch, same way (RFC 3261 §17.1.1.3).
            let ack = self.request("ACK", 1, &branch, &call, "", "");
            self.socket.send_to(ack.as_bytes(), self.dispatcher)?;
            return Ok(Placed::Refused(status));
        }
        let contact = response.contact_header()?.typed()?;
        call.target = contact.uri.to_string();
        call.worker = contact.uri.host_with_port.clone().try_into()?;
        let answer = sdp_rs::SessionDescription::try_from(String::from_utf8(response.body.clone())?)?;
        if answer.media_descriptions.first().is_none_or(|stream| stream.media.port == 0) {
            return Err("a 2xx that refuses the only stream".into());
        }
        self.acknowledge(&call)?;
        Ok(Placed::Stands(call))
    }

    /// The ACK of a 2xx is a request of its own, and goes straight to the worker (RFC 3261 §13.2.2.4).
    fn acknowledge(&self, call: &Call) -> std::io::Result<()> {
        let ack = self.request("ACK", 1, &format!("z9hG4bKack{}", call.call_id), call, "", "");
        self.socket.send_to(ack.as_bytes(), call.worker).map(drop)
    }

    fn end(&self, call: &Call) -> Result<(), Box<dyn Error>> {
        let bye = self.request("BYE", 2, &format!("z9hG4bKbye{}", call.call_id), call, "", "");
        let status = self.transact(&bye, "BYE", call, call.worker)?.status_code().code();
        if status == 200 { Ok(()) } else { Err(format!("BYE of {} was answered with {status}", call.call_id).into()) }
    }

    fn request(&self, method: &str, cseq: u32, branch: &str, call: &Call, headers: &str, body: &str) -> String {
        let Call { target, from, to, call_id, .. } = call;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
    }

    /// Sends a request until its final response is there (RFC 3261 §17.1).
    fn transact(
        &self,
        request: &str,
        method: &str,
        call: &Call,
        to: SocketAddr,
    ) -> Result<rsip::Response, Box<dyn Error>> {
        let begin = Instant::now();
        let mut interval = T1;
        let mut buffer = [0; 65_535];
        self.socket.send_to(request.as_bytes(), to)?;
        let mut again = begin + interval;
        while begin.elapsed() < PATIENCE {
            let wait = again.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(wait))?;
            if let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                let Ok(response) = rsip::Response::try_from(&buffer[..length]) else { continue };
                if response.call_id_header()?.value() != call.call_id {
                    continue;
                }
                let cseq = response.cseq_header()?.typed()?;
                match response.status_code().code() {
                    _ if cseq.method.to_string() != method => self.acknowledge(call)?,
                    // A provisional response ends the repeating of an INVITE (§17.1.1.2).
                    100..200 if method == "INVITE" => again = begin + PATIENCE,
                    100..200 => {}
                    _ => return Ok(response),
                }
            } else if Instant::now() >= again {
                self.socket.send_to(request.as_bytes(), to)?;
                interval *= 2;
                again = Instant::now() + interval;
            }
        }
        Err(format!("no final response to {method} from {to}").into())
    }
}

/// One stream of µ-law that carries nothing: the calls are about their size.
fn offer(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let ip = address.ip();
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}
