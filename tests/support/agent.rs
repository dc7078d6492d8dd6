//! A small call agent: commands from a template, responses matched to them, retransmissions as RFC 3435 §3.5.3 asks. It
//! reads MGCP by itself, line by line, so that it can be wrong only in other places than the program under test.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// The first retransmission comes after this time, the next after twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(4);

/// A UDP socket that speaks MGCP as a call agent does.
pub struct Agent {
    socket: UdpSocket,
    address: SocketAddr,
    /// Messages that have come and were not asked for yet.
    waiting: RefCell<VecDeque<Said>>,
    /// Datagrams sent, by where to.
    sent: RefCell<HashMap<SocketAddr, u64>>,
    /// Every datagram that has come.
    heard: RefCell<Vec<Vec<u8>>>,
}

impl Agent {
    /// A call agent on a free port of `ip`.
    pub fn new(ip: IpAddr) -> Self {
        Agent::at(SocketAddr::new(ip, 0))
    }

    /// A call agent on a port of its choice.
    pub fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
        let address = socket.local_addr().expect("a bound socket has an address");
        let (waiting, sent, heard) = <_>::default();
        Agent { socket, address, waiting, sent, heard }
    }

    /// The address at which it can be reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The number of datagrams it has sent to an address, retransmissions included.
    pub fn sent_to(&self, to: SocketAddr) -> u64 {
        self.sent.borrow().get(&to).copied().unwrap_or_default()
    }

    /// Sends a command once.
    pub fn send(&self, command: &Command, to: SocketAddr) {
        self.send_bytes(command.text().as_bytes(), to);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&self, bytes: &[u8], to: SocketAddr) {
        *self.sent.borrow_mut().entry(to).or_default() += 1;
        self.socket.send_to(bytes, to).unwrap_or_else(|error| panic!("cannot send to {to}: {error}"));
    }

    /// The final response to a command, which is sent again until it comes.
    pub fn transact(&self, command: &Command, to: SocketAddr) -> Said {
        self.transact_all(std::slice::from_ref(command), to).swap_remove(0)
    }

    /// The final responses to commands that travel in one datagram (RFC 3435 §3.5.5), in the commands' order.
    pub fn transact_all(&self, commands: &[Command], to: SocketAddr) -> Vec<Said> {
        let text = commands.iter().map(Command::text).collect::<Vec<_>>().join(".\r\n");
        let mut answers: Vec<Option<Said>> = vec![None; commands.len()];
        let begin = Instant::now();
        let mut interval = FIRST;
        while begin.elapsed() < DEADLINE {
            self.send_bytes(text.as_bytes(), to);
            let round = Instant::now();
            while let Some(left) = interval.checked_sub(round.elapsed()) {
                for (command, answer) in commands.iter().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
                    *answer = self.take(|said| said.answers(command) && said.code() >= 200);
                }
                if answers.iter().all(Option::is_some) {
                    return answers.into_iter().flatten().collect();
                }
                self.listen(left);
            }
            interval = (interval * 2).min(LONGEST);
        }
        panic!("no final response from {to} to\n{text}what came: {:?}", self.waiting.borrow());
    }

    /// The first message that `is_it` accepts, of those that have come and will come; others are kept.
    pub fn expect(&self, what: &str, is_it: impl Fn(&Said) -> bool) -> Said {
        let begin = Instant::now();
        while let Some(left) = DEADLINE.checked_sub(begin.elapsed()) {
            if let Some(said) = self.take(&is_it) {
                return said;
            }
            self.listen(left);
        }
        panic!("waited {DEADLINE:?} for {what}; what came: {:?}", self.waiting.borrow());
    }

    /// The next message that `is_it` accepts, if one comes `within`.
    pub fn hear(&self, within: Duration, is_it: impl Fn(&Said) -> bool) -> Option<Said> {
        let begin = Instant::now();
        loop {
            if let Some(said) = self.take(&is_it) {
                return Some(said);
            }
            self.listen(within.checked_sub(begin.elapsed())?);
        }
    }

    /// The final response to a command that is sent once.
    pub fn response(&self, command: &Command) -> Said {
        self.expect("a final response", |said| said.answers(command) && said.code() >= 200)
    }

    /// A command that came, such as NTFY or RSIP.
    pub fn expect_command(&self, verb: &str) -> Said {
        self.expect(verb, |said| said.first_word().eq_ignore_ascii_case(verb))
    }

    /// Answers a command that came, to where it came from.
    pub fn answer(&self, command: &Said, code: u16) {
        self.send_bytes(format!("{code} {} Answer\r\n", command.id()).as_bytes(), command.from);
    }

    /// Whether a message is waiting that the test has not asked for.
    pub fn has_heard(&self, is_it: impl Fn(&Said) -> bool) -> bool {
        while self.listen(Duration::from_millis(1)) {}
        self.waiting.borrow().iter().any(is_it)
    }

    /// Every datagram that has come so far.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.borrow().clone()
    }

    fn take(&self, is_it: impl Fn(&Said) -> bool) -> Option<Said> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(is_it)?;
        waiting.remove(at)
    }

    /// Waits for a datagram; false when none comes.
    fn listen(&self, within: Duration) -> bool {
        let mut buffer = vec![0; 65_536];
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a timeout above zero");
        let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { return false };
        self.heard.borrow_mut().push(buffer[..length].to_vec());
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let mut message = String::new();
        let mut messages = Vec::new();
        for line in text.lines() {
            if line == "." {
                messages.push(std::mem::take(&mut message));
            } else {
                let _ = writeln!(message, "{line}");
            }
        }
        messages.push(message);
        self.waiting.borrow_mut().extend(messages.into_iter().map(|text| Said { text, from }));
        true
    }
}

/// A command to send.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its verb.
    pub verb: String,
    /// Its transaction.
    pub id: u32,
    /// The endpoint it names.
    pub endpoint: String,
    /// Its parameter lines.
    pub lines: Vec<String>,
    /// The session description after them.
    pub sdp: Option<String>,
}

impl Command {
    /// A fresh command.
    pub fn new(verb: &str, endpoint: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Command { verb: verb.to_owned(), id, endpoint: endpoint.to_owned(), lines: Vec::new(), sdp: None }
    }

    /// A CRCX of the call `call`, in a mode.
    pub fn create(endpoint: &str, call: &str, mode: &str) -> Self {
        Command::new("CRCX", endpoint).with(&format!("C: {call}")).with("L: p:20, a:PCMU").with(&format!("M: {mode}"))
    }

    /// Adds a parameter line.
    pub fn with(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds a session description that wants its sound at `rtp`.
    pub fn with_sound_at(mut self, rtp: SocketAddr) -> Self {
        let (family, ip, port) = (if rtp.is_ipv4() { "IP4" } else { "IP6" }, rtp.ip(), rtp.port());
        self.sdp = Some(format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        ));
        self
    }

    /// The text that goes over the wire.
    pub fn text(&self) -> String {
        let mut text = format!("{} {} {} MGCP 1.0\r\n", self.verb, self.id, self.endpoint);
        for line in &self.lines {
            let _ = write!(text, "{line}\r\n");
        }
        if let Some(sdp) = &self.sdp {
            let _ = write!(text, "\r\n{sdp}");
        }
        text
    }
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Said {
    /// The message, its lines ended by `\n`.
    pub text: String,
    /// The address it came from.
    pub from: SocketAddr,
}

impl Said {
    /// The return code of a response; 0 for a command.
    pub fn code(&self) -> u16 {
        self.first_word().parse().unwrap_or(0)
    }

    /// Its transaction.
    pub fn id(&self) -> u32 {
        self.text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Verb or return code.
    pub fn first_word(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }

    /// The endpoint that a command names.
    pub fn endpoint(&self) -> &str {
        self.text.split_whitespace().nth(2).unwrap_or_default()
    }

    /// Whether it is a response to this command.
    pub fn answers(&self, command: &Command) -> bool {
        self.code() != 0 && self.id() == command.id
    }

    /// The value of a parameter line.
    pub fn param(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The values of all parameter lines of this name.
    pub fn params(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\n\n").next().unwrap_or_default();
        let pairs = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The value of a parameter line that must be there.
    pub fn need(&self, name: &str) -> &str {
        self.param(name).unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }

    /// The address that its session description wants packets at.
    pub fn media_address(&self) -> SocketAddr {
        let line = |start: &str| self.text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        let ip = line("c=IN IP4 ").or(line("c=IN IP6 ")).and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = line("m=audio ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        match (ip, port) {
            (Some(ip), Some(port)) => SocketAddr::new(ip, port),
            _ => panic!("no media address in\n{}", self.text),
        }
    }
}
