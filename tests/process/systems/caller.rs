//! A caller over UDP, TCP or WebSocket who says exactly what goes over the wire.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::WEBSOCKET;
use crate::proxies::systems::Came;
use crate::support::line::Line;
use crate::support::phone::{Phone, Received};
use crate::support::{DEADLINE, wait_for};

/// The way from a caller to the dispatcher.
pub(super) enum Way {
    Udp(Phone),
    Line(Line),
}

/// A caller with one call.
pub(super) struct Caller {
    pub(super) way: Way,
    front: SocketAddr,
    /// Its address as it knows it, in Via and Contact.
    own: SocketAddr,
    call: String,
    /// The routes of its dialog, once it has been answered, and its peer's tag and Contact.
    routes: String,
    to_tag: String,
    remote: String,
}

fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Caller {
    pub(super) fn udp(front: SocketAddr) -> Self {
        let phone = Phone::new(front.ip());
        let own = phone.address();
        Caller::new(Way::Udp(phone), front, own)
    }

    /// One behind a NAT: it knows another address than the dispatcher sees.
    pub(super) fn behind_nat(front: SocketAddr) -> Self {
        Caller::new(Way::Udp(Phone::new(front.ip())), front, "10.9.8.7:5062".parse().unwrap())
    }

    pub(super) fn tcp(front: SocketAddr) -> Self {
        let line = Line::tcp(front).unwrap();
        let own = line.local_addr();
        Caller::new(Way::Line(line), front, own)
    }

    pub(super) fn websocket(front: SocketAddr) -> Self {
        let line = Line::websocket(SocketAddr::new(front.ip(), front.port() + WEBSOCKET)).unwrap();
        Caller::new(Way::Line(line), front, "192.0.2.99:5099".parse().unwrap())
    }

    fn new(way: Way, front: SocketAddr, own: SocketAddr) -> Self {
        let call = format!("call-{}-{}", std::process::id(), serial());
        let remote = format!("sip:service@{front}");
        Caller { way, front, own, call, routes: String::new(), to_tag: String::new(), remote }
    }

    /// Its Call-ID.
    pub(super) fn call(&self) -> &str {
        &self.call
    }

    /// The ACK of a refusal (RFC 3261 §17.1.1.3).
    pub(super) fn ack(&self, refused: &Received) -> String {
        let to = format!("To: <sip:service@{}>{}", self.front, self.to_tag);
        let ack = self.request("ACK", 1, "i");
        ack.replace(&to, &format!("To: {}", refused.header("To").unwrap()))
    }

    /// A request of its call. The branch is made of `step`.
    pub(super) fn request(&self, method: &str, cseq: u32, step: &str) -> String {
        let Caller { front, own, call, routes, to_tag, remote, .. } = self;
        let (transport, parameter) = match &self.way {
            Way::Udp(_) => ("UDP", ""),
            Way::Line(line) if line.is_websocket() => ("WS", ";transport=ws"),
            Way::Line(_) => ("TCP", ";transport=tcp"),
        };
        format!(
            "{method} {remote} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};branch=z9hG4bK-{call}-{step};rport\r\n{routes}\
             Max-Forwards: 70\r\nFrom: <sip:caller@{own}>;tag=f-{call}\r\nTo: <sip:service@{front}>{to_tag}\r\n\
             Call-ID: {call}\r\nCSeq: {cseq} {method}\r\nContact: <sip:caller@{own}{parameter}>\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }

    pub(super) fn send(&mut self, text: &str) {
        match &mut self.way {
            Way::Udp(phone) => phone.send_bytes(text.as_bytes(), self.front),
            Way::Line(line) => line.send(text.as_bytes()).unwrap(),
        }
    }

    pub(super) fn says(&mut self, method: &str, cseq: u32, step: &str) {
        let text = self.request(method, cseq, step);
        self.send(&text);
    }

    /// The next message that is so; others are passed over.
    pub(super) fn expect(&mut self, what: &str, is_it: impl Fn(&Received) -> bool) -> Received {
        match &mut self.way {
            Way::Udp(phone) => phone.expect(what, is_it),
            Way::Line(line) => wait_for(what, DEADLINE, || {
                let text = line.receive().unwrap_or_else(|error| panic!("waited for {what}: {error}"));
                Some(Received { text, from: self.front }).filter(|received| is_it(received))
            }),
        }
    }

    /// The response of this status to a request of this method.
    pub(super) fn hears(&mut self, method: &str, status: u16) -> Received {
        let what = format!("{status} to {method}");
        let received = self.expect(&what, |it| it.status() >= 101 && it.method() == method);
        assert_eq!(received.status(), status, "{what}: {}", received.text);
        received
    }

    /// Takes part in the dialog of this response.
    pub(super) fn join(&mut self, answer: &Received) {
        self.to_tag = format!(";tag={}", answer.to_tag());
        self.remote = answer.contact_uri();
        let mut routes: Vec<&str> = routes(answer).collect();
        routes.reverse();
        self.routes = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    }

    /// Responds to a request.
    pub(super) fn respond(&mut self, request: &Received, status: u16) {
        let text = crate::proxies::servers::answer(request, status, "", self.own);
        self.send(&text);
    }

    /// The next message, if it has come.
    pub(super) fn next(&mut self) -> Option<Received> {
        match &mut self.way {
            Way::Udp(phone) => phone.receive(Duration::from_millis(1)),
            Way::Line(line) => {
                let text = line.receive_if_there()?;
                Some(Received { text, from: self.front })
            }
        }
    }

    /// The start lines of messages that came and were not asked for.
    pub(super) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).map(|received| received.start_line().to_owned()).collect()
    }
}

/// The values of Record-Route.
pub(super) fn routes(message: &Received) -> impl Iterator<Item = &str> {
    let lines = message.fields().filter(|(name, _)| name.eq_ignore_ascii_case("Record-Route"));
    lines.flat_map(|(_, value)| value.split(',').map(str::trim))
}

/// A request of the system's in the dialog that it has answered this INVITE in.
pub(super) fn of_system(invite: &Came, method: &str, cseq: u32, system: SocketAddr, tag: &str) -> String {
    let message = &invite.message;
    let routes: String = routes(message).map(|route| format!("Route: {route}\r\n")).collect();
    let (uri, header) = (message.contact_uri(), |name| message.header(name).unwrap());
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP {system};branch=z9hG4bK-s{};rport\r\n{routes}Max-Forwards: 70\r\n\
         From: {};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:server@{system};transport=tcp>\r\nContent-Length: 0\r\n\r\n",
        serial(),
        header("To"),
        header("From"),
        header("Call-ID"),
    )
}
