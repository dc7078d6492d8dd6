//! Callers on connections, which read every message that comes on them.

use std::net::SocketAddr;

use super::WEBSOCKET;
use super::scenario::By;
use crate::support::line::Line;

/// Connections of callers, each with calls of its own.
pub struct Callers {
    front: SocketAddr,
    connect: fn(SocketAddr) -> Line,
    each: Vec<Caller>,
}

struct Caller {
    line: Line,
    standing: Vec<Standing>,
}

/// A call that has been answered: what its next requests are made of.
struct Standing {
    call: String,
    to: String,
    uri: String,
    /// The header lines that lead them to the system that has it.
    lead: String,
}

fn field<'m>(message: &'m str, name: &str) -> &'m str {
    let mut lines = message.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(of, _)| of.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

impl Standing {
    fn read(answer: &str, by: By) -> Self {
        let contact = field(answer, "Contact");
        let uri = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        let mut routes: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("Record-Route: ")).collect();
        routes.reverse();
        let routes = routes.iter().map(|route| {
            let values: Vec<&str> = route.split(',').rev().map(str::trim).collect();
            format!("Route: {}\r\n", values.join(", "))
        });
        let lead = match by {
            By::Routes => routes.collect(),
            By::Call => String::new(),
            By::Header => format!("X-Pointsman-System: {}\r\n", field(answer, "X-Pointsman-System")),
        };
        let [call, to] = ["Call-ID", "To"].map(|name| field(answer, name).to_owned());
        Standing { call, to, uri: uri.to_owned(), lead }
    }
}

impl Caller {
    fn sends(&mut self, method: &str, of: &Standing, cseq: u32) {
        let text = self.line.request(method, &of.uri, (&of.call, &of.to), cseq);
        let text = text.replacen("Max-Forwards", &format!("{}Max-Forwards", of.lead), 1);
        self.line.send(text.as_bytes()).unwrap();
    }

    /// The final response to a request. Nothing of another call comes on this connection.
    fn hears(&mut self, call: &str, method: &str) -> String {
        loop {
            let message = self.line.receive().unwrap_or_else(|error| panic!("{call}, {method}: {error}"));
            assert_eq!(field(&message, "Call-ID"), call, "{message}");
            assert!(field(&message, "CSeq").ends_with(method), "{message}");
            if !message.starts_with("SIP/2.0 1") {
                assert!(message.starts_with("SIP/2.0 200 "), "{message}");
                return message;
            }
        }
    }

    fn calls(&mut self, front: SocketAddr, at: usize, number: u64, by: By) {
        let transport = if self.line.is_websocket() { "ws" } else { "tcp" };
        let call = format!("{transport}-{at}-{number}");
        self.line.invite(front, &call).unwrap();
        let standing = Standing::read(&self.hears(&call, "INVITE"), by);
        self.sends("ACK", &standing, 1);
        self.standing.push(standing);
    }

    fn hangs_up(&mut self) {
        while let Some(standing) = self.standing.pop() {
            self.sends("BYE", &standing, 2);
            self.hears(&standing.call, "BYE");
        }
    }
}

impl Callers {
    /// So many of them over TCP.
    pub fn tcp(front: SocketAddr, count: usize) -> Self {
        Callers::new(front, count, |front| Line::tcp(front).unwrap())
    }

    /// So many of them over WebSocket.
    pub fn websocket(front: SocketAddr, count: usize) -> Self {
        let connect =
            |front: SocketAddr| Line::websocket(SocketAddr::new(front.ip(), front.port() + WEBSOCKET)).unwrap();
        Callers::new(front, count, connect)
    }

    fn new(front: SocketAddr, count: usize, connect: fn(SocketAddr) -> Line) -> Self {
        let each = (0..count).map(|_| Caller { line: connect(front), standing: Vec::new() }).collect();
        Callers { front, connect, each }
    }

    /// Has all do something at a time.
    fn all(&mut self, act: impl Fn(usize, &mut Caller) + Sync) {
        std::thread::scope(|scope| {
            let act = &act;
            self.each.iter_mut().enumerate().for_each(|(at, caller)| drop(scope.spawn(move || act(at, caller))));
        });
    }

    /// Each places so many calls, which stand.
    pub fn call(&mut self, by: By, calls: u64) {
        let front = self.front;
        self.all(|at, caller| (0..calls).for_each(|number| caller.calls(front, at, number, by)));
    }

    /// Each places so many calls and ends them, one after another.
    pub fn call_and_hang_up(&mut self, by: By, calls: u64) {
        let front = self.front;
        self.all(|at, caller| {
            for number in 0..calls {
                caller.calls(front, at, number, by);
                caller.hangs_up();
            }
        });
    }

    /// Each connects again, and ends all its calls.
    pub fn hang_up_on_new_connections(&mut self) {
        let (front, connect) = (self.front, self.connect);
        self.all(|_, caller| {
            caller.line = connect(front);
            caller.hangs_up();
        });
    }
}
