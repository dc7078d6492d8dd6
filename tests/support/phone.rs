//! A small telephone: requests from a template, replies with a deadline. It keeps no transactions and retransmits
//! nothing by itself, so a test says exactly what goes over the wire.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// A UDP socket that speaks SIP.
pub struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Phone {
    /// A telephone on a free port of `ip`.
    pub fn new(ip: IpAddr) -> Self {
        Phone::at(SocketAddr::new(ip, 0))
    }

    /// A telephone on a port of its choice.
    pub fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
        let address = socket.local_addr().expect("a bound socket has an address");
        Phone { socket, address }
    }

    /// The address at which it can be reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A fresh initial request to `target`, from this telephone.
    pub fn request(&self, method: &str, target: SocketAddr) -> Request {
        let serial = next_serial();
        Request {
            method: method.to_owned(),
            uri: format!("sip:service@{target}"),
            via: self.address,
            branch: format!("z9hG4bK-{serial}"),
            from_tag: format!("f{serial}"),
            to: format!("<sip:service@{target}>"),
            to_tag: None,
            call_id: format!("{serial}@{}", self.address),
            cseq: 1,
            contact: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// An INVITE with an offer of G.711 at `rtp`, or an inactive one without.
    pub fn invite(&self, target: SocketAddr, rtp: Option<SocketAddr>) -> Request {
        let mut request = self.request("INVITE", target);
        request.body = Some(offer(rtp, self.address.ip()));
        request
    }

    /// Sends a request.
    pub fn send(&self, request: &Request, to: SocketAddr) {
        self.send_bytes(request.text().as_bytes(), to);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).unwrap_or_else(|error| panic!("cannot send to {to}: {error}"));
    }

    /// The next datagram, if one comes `within`.
    pub fn receive(&self, within: Duration) -> Option<Received> {
        let mut buffer = vec![0; 65_536];
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a timeout above zero");
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        Some(Received { text: String::from_utf8_lossy(&buffer[..length]).into_owned(), from })
    }

    /// The next datagram that `is_it` accepts; others are skipped. Panics at the deadline, with the datagrams that came
    /// instead.
    pub fn expect(&self, what: &str, is_it: impl Fn(&Received) -> bool) -> Received {
        self.expect_within(what, DEADLINE, is_it)
    }

    /// [`Phone::expect`] with a deadline of its own.
    pub fn expect_within(&self, what: &str, within: Duration, is_it: impl Fn(&Received) -> bool) -> Received {
        let begin = Instant::now();
        let mut skipped = Vec::new();
        while let Some(left) = within.checked_sub(begin.elapsed()) {
            match self.receive(left) {
                Some(received) if is_it(&received) => return received,
                Some(received) => skipped.push(received.start_line().to_owned()),
                None => {}
            }
        }
        panic!("waited {within:?} for {what}; what came: {skipped:?}");
    }

    /// The final response to `request` (others are skipped); sent again at 500 ms, 1 s, … as RFC 3261 §17.1 asks.
    pub fn transact(&self, request: &Request, to: SocketAddr) -> Received {
        let begin = Instant::now();
        let mut interval = Duration::from_millis(500);
        while begin.elapsed() < DEADLINE {
            self.send(request, to);
            let round = Instant::now();
            while let Some(left) = interval.checked_sub(round.elapsed()) {
                match self.receive(left) {
                    Some(reply) if reply.answers(request) && reply.status() >= 200 => return reply,
                    _ => {}
                }
            }
            interval *= 2;
        }
        panic!("no final response to {} from {to}", request.method);
    }

    /// The final response to a request that is sent once.
    pub fn final_response(&self, request: &Request) -> Received {
        let what = format!("a final response to {}", request.method);
        self.expect(&what, |reply| reply.answers(request) && reply.status() >= 200)
    }

    /// Answers a request that came, to where it came from.
    pub fn answer(&self, request: &Received, status: u16) {
        let mut text = format!("SIP/2.0 {status} Answer\r\n");
        for (name, value) in request.fields() {
            if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|wanted| name.eq_ignore_ascii_case(wanted)) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        self.send_bytes(text.as_bytes(), request.from);
    }

    /// Places a call and acknowledges it; panics when it is not answered with 2xx.
    pub fn call(&self, invite: &Request, to: SocketAddr) -> Dialog {
        let answer = self.transact(invite, to);
        assert_eq!(answer.status() / 100, 2, "{}", answer.text);
        let dialog = Dialog::new(invite, answer);
        self.send(&dialog.ack(), dialog.target);
        dialog
    }

    /// Places a call that carries sound. Gives the socket that its sound comes to as well, which waits for it until the
    /// deadline.
    pub fn call_with_sound(&self, to: SocketAddr) -> (Dialog, UdpSocket) {
        let sound = UdpSocket::bind((self.address().ip(), 0)).expect("a port for sound");
        sound.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero");
        (self.call(&self.invite(to, sound.local_addr().ok()), to), sound)
    }
}

/// A call that stands, from the caller's side.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// The INVITE that made it.
    pub invite: Request,
    /// The 2xx that answered it.
    pub answer: Received,
    /// The remote target's address: host and port of Contact.
    pub target: SocketAddr,
}

impl Dialog {
    /// The dialog that `answer` made of `invite`.
    pub fn new(invite: &Request, answer: Received) -> Self {
        let target = answer.contact_address();
        Dialog { invite: invite.clone(), answer, target }
    }

    /// The ACK of the 2xx.
    pub fn ack(&self) -> Request {
        Request { cseq: self.invite.cseq, ..self.request("ACK", 0) }
    }

    /// A request in the dialog, `later` steps of CSeq after the INVITE.
    pub fn request(&self, method: &str, later: u32) -> Request {
        Request {
            method: method.to_owned(),
            uri: self.answer.contact_uri(),
            branch: format!("z9hG4bK-{}", next_serial()),
            to_tag: Some(self.answer.to_tag().to_owned()),
            cseq: self.invite.cseq + later,
            headers: Vec::new(),
            body: None,
            ..self.invite.clone()
        }
    }
}

/// A request that can be changed before it is written.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the parts of a SIP request by their names")]
pub struct Request {
    pub method: String,
    pub uri: String,
    pub via: SocketAddr,
    pub branch: String,
    pub from_tag: String,
    pub to: String,
    pub to_tag: Option<String>,
    pub call_id: String,
    pub cseq: u32,
    /// The URI in Contact, where it is not its sender's address.
    pub contact: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

impl Request {
    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// A new branch: another transaction.
    pub fn on_new_branch(mut self) -> Self {
        self.branch = format!("z9hG4bK-{}", next_serial());
        self
    }

    /// The CANCEL of this INVITE (RFC 3261 §9.1: same branch, same request-URI, no To-tag).
    pub fn cancel(&self) -> Request {
        Request { method: "CANCEL".to_owned(), headers: Vec::new(), body: None, ..self.clone() }
    }

    /// The ACK of a response other than 2xx (RFC 3261 §17.1.1.3: same branch, the response's To).
    pub fn ack(&self, response: &Received) -> Request {
        let to_tag = Some(response.to_tag().to_owned());
        Request { method: "ACK".to_owned(), to_tag, headers: Vec::new(), body: None, ..self.clone() }
    }

    /// The request as it goes over the wire.
    pub fn text(&self) -> String {
        let Request { method, uri, via, branch, from_tag, to, call_id, cseq, .. } = self;
        let to_tag = self.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let contact = self.contact.clone().unwrap_or_else(|| format!("sip:caller@{via}"));
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {via};branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:caller@{via}>;tag={from_tag}\r\n\
             To: {to}{to_tag}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <{contact}>\r\n"
        );
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() && !self.headers.iter().any(|(name, _)| name == "Content-Type") {
            text.push_str("Content-Type: application/sdp\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        text
    }
}

/// A datagram that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The message.
    pub text: String,
    /// The address it came from.
    pub from: SocketAddr,
}

impl Received {
    /// The start line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        let rest = self.text.strip_prefix("SIP/2.0 ");
        rest.and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    /// The method of a request, or the one that a response's CSeq names.
    pub fn method(&self) -> &str {
        match self.status() {
            0 => self.start_line().split(' ').next().unwrap_or_default(),
            _ => self.header("CSeq").and_then(|cseq| cseq.split_whitespace().nth(1)).unwrap_or_default(),
        }
    }

    /// Whether it is a response to `request`.
    pub fn answers(&self, request: &Request) -> bool {
        let cseq = format!("{} {}", request.cseq, request.method);
        self.status() > 0
            && self.header("CSeq") == Some(cseq.as_str())
            && self.header("Call-ID") == Some(request.call_id.as_str())
            && self.header("Via").is_some_and(|via| via.contains(&request.branch))
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All header lines: name and value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().skip(1).filter_map(|line| line.split_once(':').map(|(name, value)| (name.trim(), value.trim())))
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default()
    }

    /// The To-tag; empty when there is none.
    pub fn to_tag(&self) -> &str {
        let to = self.header("To").unwrap_or_default();
        to.split(';').find_map(|param| param.trim().strip_prefix("tag=")).unwrap_or_default()
    }

    /// The URI in Contact.
    pub fn contact_uri(&self) -> String {
        let contact = self.header("Contact").unwrap_or_else(|| panic!("no Contact in\n{}", self.text));
        let uri = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        uri.map(|(uri, _)| uri).unwrap_or(contact).to_owned()
    }

    /// Host and port of the URI in Contact.
    pub fn contact_address(&self) -> SocketAddr {
        let uri = self.contact_uri();
        let rest = uri.split_once(':').map(|(_, rest)| rest).unwrap_or_default();
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split([';', '?']).next().unwrap_or_default();
        let with_port = || format!("{host}:5060").parse().ok();
        host.parse().ok().or_else(with_port).unwrap_or_else(|| panic!("no address in Contact {uri}"))
    }

    /// The address that the answer in the body wants its RTP at.
    pub fn media_address(&self) -> SocketAddr {
        let line = |prefix| self.body().lines().find_map(move |line: &str| line.strip_prefix(prefix));
        let ip = line("c=IN IP4 ").and_then(|ip| ip.trim().parse().ok());
        let port = line("m=audio ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let (Some(ip), Some(port)) = (ip, port) else { panic!("no media address in\n{}", self.text) };
        SocketAddr::new(ip, port)
    }
}

/// An offer of G.711 at `rtp`; inactive when there is no address for it.
pub fn offer(rtp: Option<SocketAddr>, ip: IpAddr) -> String {
    let (address, direction) = match rtp {
        Some(rtp) => (rtp, "sendrecv"),
        None => (SocketAddr::new(ip, 40_000), "inactive"),
    };
    let (ip, port) = (address.ip(), address.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
    )
}

fn next_serial() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
