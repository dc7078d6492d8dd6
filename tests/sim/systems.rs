//! Downstream proxies over connections, in virtual time: callers over UDP and on connections of their own, systems that
//! answer, die, lose a connection, take no bytes, come back, answer nothing, or answer what nobody has asked; and an
//! operator who takes systems out of the settings and gives them other certificates. Systems call phones over TCP as
//! well, by connections that are refused, open late or never, or end; and by names, some of whose addresses refuse
//! everything with 503 or say nothing for long.
//!
//! A shadow knows each request and each connection. After every step: nothing leaves on a connection that is not its
//! own, each request is answered once, no system gets an ACK to an answer of the dispatcher's own, CANCEL and ACK reach
//! the address that has the branch of their INVITE, what was on a connection that has ended is placed or answered at
//! once, and the counters add up.
//!
//! Broken rules change what the dispatcher hears; each of them has to be noticed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::{Insert, Pool, PoolPolicy, Proxy, RecordRoute, Route};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::targets::proxies::Security;
use pointsman::dispatch::targets::proxy::Ended;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{ConnId, ListenerId, TokenKey};
use pointsman::switch::owner::Owner;
use pointsman::switch::{Connections, Switch, Way};
use pointsman::time::Time;
use pointsman::words::Transport;

use super::dice::Dice;
use super::no_link::NoLink;
use super::text;

const START: Time = Time(1_000_000_000);
const LOCAL: &str = "192.0.2.200:5060";
const SYSTEMS: usize = 3;
const CALLERS: usize = 4;
const PHONES: usize = 3;
/// Places of names that are no phones: one refuses with 503, one says nothing for long.
const FULL: usize = PHONES;
const MUTE: usize = PHONES + 1;
/// Steps of trouble of each seed.
const STEPS: u64 = 70;
const SEEDS: u64 = 160;
const PARTS: u64 = 4;
/// All that a request can wait for has come or timed out after this.
const CALM: Duration = Duration::from_secs(700);
/// Within this time after all is well again, each connection is open.
const REOPENED_WITHIN: Duration = Duration::from_secs(15);

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// The end of a connection to a system is not told.
    EndsAreLost,
    /// No time passes for the dispatcher.
    TimeStands,
    /// Messages leave on the next connection.
    MessagesGoAstray,
    /// ACKs have a branch of their own.
    AcksAreNew,
    /// Copies of an INVITE have a branch of their own.
    CopiesAreNew,
    /// A system that takes no bytes is not told of.
    StopsAreLost,
    /// A connection that is open is not told.
    OpensAreLost,
    /// Responses lose what vouches for them.
    ResponsesAreForged,
}

impl Broken {
    const ALL: [Broken; 8] = [
        Broken::EndsAreLost,
        Broken::TimeStands,
        Broken::MessagesGoAstray,
        Broken::AcksAreNew,
        Broken::CopiesAreNew,
        Broken::StopsAreLost,
        Broken::OpensAreLost,
        Broken::ResponsesAreForged,
    ];
}

/// The end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Address(SocketAddr),
    Connection(ConnId),
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: Far,
    /// Whether the dispatcher has been told that it is open.
    is_open: bool,
    is_read: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Far {
    Caller,
    System(usize),
    Phone(usize),
}

/// The behaviour of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Answers,
    /// It answers nothing until then.
    Silent(Time),
    /// It says what nobody has asked.
    Raves,
}

#[derive(Debug)]
struct System {
    is_alive: bool,
    /// Whether the settings have it.
    is_wanted: bool,
    manner: Manner,
    /// The requests that it has had, each with its final response.
    had: HashMap<(usize, String), Option<u16>>,
}

/// A request of a caller.
#[derive(Clone, Debug)]
struct Request {
    call: usize,
    method: &'static str,
    from: End,
    /// The phone that a system calls by it; from `PHONES` on, by its name.
    phone: Option<usize>,
    /// The place at which each branch of it has come.
    places: HashMap<String, usize>,
    /// The final response that was given in each branch by a phone.
    said: HashMap<String, u16>,
    text: String,
    /// The connection that it has gone by last, with no final response since.
    at: Option<ConnId>,
    /// Connections that it has gone by.
    went: Vec<ConnId>,
    /// Final responses that came, each once: status and To-tag.
    finals: Vec<(u16, String)>,
    copies_of_finals: usize,
    has_heard: bool,
    /// Statuses that systems have sent.
    sent: HashSet<u16>,
    /// A system had reason to leave it without an answer.
    is_excused: bool,
    is_cancelled: bool,
    begin: Time,
}

/// Something that happens later.
#[derive(Clone, Debug)]
enum Event {
    /// A message comes to the dispatcher.
    Comes(End, String),
    /// A system sends a response.
    Responds { system: usize, by: ConnId, request: String, status: u16 },
    /// A connection to a system or a phone is open.
    Opens(ConnId),
    /// A connection to a phone is refused.
    IsRefused(ConnId),
    /// A phone sends a response.
    PhoneResponds { by: ConnId, request: String, status: u16 },
    /// The caller sends its request again, if it has heard nothing.
    Repeats { request: usize, after: Duration },
}

/// All connections, in the order in which they were opened.
type Lines = BTreeMap<u64, Line>;

struct World {
    switch: Switch<NoLink>,
    now: Time,
    dice: Dice,
    broken: Option<Broken>,
    per_system: u8,
    /// The settings of all systems.
    proxies: Vec<Proxy>,
    /// The security of the connections to each system.
    securities: BTreeMap<String, Security>,
    systems: Vec<System>,
    lines: Lines,
    /// Connections that are to be replaced.
    replaced: HashSet<ConnId>,
    callers: Vec<End>,
    requests: Vec<Request>,
    /// Requests by their call and method.
    by_name: HashMap<(usize, String), usize>,
    events: BTreeMap<(Time, u64), Event>,
    filed: u64,
    opened: u64,
    came: u64,
    is_calm: bool,
    figures: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    requests: u64,
    answered: u64,
    moved: u64,
    refused_here: u64,
    cuts: u64,
    repeated: u64,
    /// Connections that were closed because the settings no longer want them.
    hung_up: u64,
    /// Requests that have gone to phones, and those of them that went by a second connection.
    to_phones: u64,
    to_phones_again: u64,
    /// Attempts at further addresses of names.
    to_next: u64,
}

/// The connections of a lane, one of which ends.
struct Ends(Option<ConnId>);

impl Connections for Ends {
    fn queue(&mut self, _: ConnId, _: &[u8]) -> bool {
        unreachable!("nothing leaves")
    }

    fn write(&mut self) {}

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        Some((self.0.take()?, 0))
    }

    fn waiting(&self, _: ConnId) -> usize {
        0
    }
}

type Checked = Result<(), String>;

macro_rules! ensure {
    ($is_so:expr, $($what:tt)*) => {
        if !$is_so {
            return Err(format!($($what)*));
        }
    };
}

impl World {
    fn new(seed: u64, broken: Option<Broken>) -> Self {
        let mut dice = Dice::new(seed);
        let per_system = dice.between(1, 2) as u8;
        let proxy = |number: usize| Proxy {
            name: format!("s{number}"),
            host: format!("192.0.2.{}", number + 1),
            port: Some(5060),
            transport: Transport::Tcp,
            connections: per_system,
            ..Proxy::default()
        };
        let proxies: Vec<Proxy> = (0..SYSTEMS).map(proxy).collect();
        let policy = dice.pick(PoolPolicy::ALL);
        let rules = Rules {
            proxies: proxies.clone(),
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            pools: vec![Pool { record_route: RecordRoute::Always, policy, ..Pool::default() }],
            udp_listeners: vec![(ListenerId(0), LOCAL.parse().unwrap())],
            stream_listeners: vec![(ListenerId(1), Transport::Tcp, LOCAL.parse().unwrap())],
            slow_start: Duration::ZERO,
            ..Rules::default()
        };
        let keys = Keyring::new(TokenKey::new([5; 32]));
        let setup = Setup { rules, keys, table_cap: 512, group_cap: 4, workers: 0, seed };
        let system = || System { is_alive: true, is_wanted: true, manner: Manner::Answers, had: HashMap::new() };
        let mut world = World {
            switch: Switch::new(Dispatch::new(setup), Insert::None, 0, Owners::new(0, 1, seed)),
            now: START,
            dice,
            broken,
            per_system,
            proxies,
            securities: (0..SYSTEMS).map(|number| (format!("s{number}"), Security::default())).collect(),
            systems: (0..SYSTEMS).map(|_| system()).collect(),
            lines: BTreeMap::new(),
            replaced: HashSet::new(),
            callers: Vec::new(),
            requests: Vec::new(),
            by_name: HashMap::new(),
            events: BTreeMap::new(),
            filed: 0,
            opened: 0,
            came: 0,
            is_calm: false,
            figures: Figures::default(),
        };
        world.switch.set_securities(world.securities.clone(), START);
        for number in 0..CALLERS {
            let caller = world.caller(number);
            world.callers.push(caller);
        }
        world
    }

    /// Half of the callers have a connection.
    fn caller(&mut self, number: usize) -> End {
        if number.is_multiple_of(2) {
            return End::Address(([198, 51, 100, 7], 4_000 + number as u16).into());
        }
        End::Connection(self.line(Far::Caller))
    }

    fn line(&mut self, at: Far) -> ConnId {
        self.opened += 1;
        let conn = ConnId(self.opened);
        self.lines.insert(conn.0, Line { at, is_open: at == Far::Caller, is_read: true });
        conn
    }

    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn file(&mut self, after: Duration, event: Event) {
        self.filed += 1;
        self.events.insert((self.now + after, self.filed), event);
    }

    fn soon(&mut self) -> Duration {
        Duration::from_micros(self.dice.between(200, 30_000))
    }

    // -- what happens --

    fn trouble(&mut self) -> Checked {
        let system = self.dice.roll(SYSTEMS as u64) as usize;
        match self.dice.roll(100) {
            0..45 => self.call(),
            45..53 => self.call_phone(system),
            53..55 => self.phone_hangs_up(),
            55..62 => self.cancel(),
            62..65 => self.dies(system),
            65..71 => self.comes_back(system),
            71..76 => self.cut(system),
            76..80 => self.stops_reading(system),
            80..84 => self.manner(system),
            84..86 => self.caller_comes_anew(),
            86..88 => self.stranger(),
            88..91 => self.leaves_settings(system),
            91..93 => self.gets_certificate(system),
            _ => {
                let span = self.dice.pick(&[1, 50, 300, 2_000, 33_000]);
                self.pass(Duration::from_millis(span))
            }
        }
    }

    fn call(&mut self) -> Checked {
        let method = self.dice.weighted(&[(7, "INVITE"), (1, "OPTIONS"), (2, "MESSAGE")]);
        let from = {
            let at = self.dice.roll(CALLERS as u64) as usize;
            self.callers[at]
        };
        let call = self.requests.len();
        self.request((call, method, from), None, "", "")
    }

    /// A system sends a request to a phone.
    fn call_phone(&mut self, system: usize) -> Checked {
        let lines: Vec<_> = self.lines_of(system).filter(|conn| self.lines[&conn.0].is_open).collect();
        if lines.is_empty() || !self.systems[system].is_wanted {
            return Ok(());
        }
        let (from, phone) = (self.dice.pick(&lines), self.dice.roll(2 * PHONES as u64) as usize);
        let method = self.dice.weighted(&[(7, "INVITE"), (2, "MESSAGE")]);
        let call = self.requests.len();
        self.request((call, method, End::Connection(from)), Some(phone), "", "")
    }

    /// The connection to a phone ends.
    fn phone_hangs_up(&mut self) -> Checked {
        let is_phones = |(_, line): &(&u64, &Line)| matches!(line.at, Far::Phone(_)) && line.is_open;
        let lines: Vec<_> = self.lines.iter().filter(is_phones).map(|(conn, _)| ConnId(*conn)).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let conn = self.dice.pick(&lines);
        self.phone_is_gone(conn, Ended::Broken)
    }

    fn phone_is_gone(&mut self, conn: ConnId, ended: Ended) -> Checked {
        if self.lines.remove(&conn.0).is_none() {
            return Ok(());
        }
        self.left()?;
        self.switch.flush_replies(Ends(Some(conn)));
        self.switch.on_connection_closed(conn, ended, self.now);
        self.left()?;
        if !self.breaks(Broken::TimeStands) {
            self.switch.handle_timeout(self.now);
        }
        self.left()
    }

    /// A caller sends a request, or a system one to a phone: a new one, or one in a dialog.
    fn request(
        &mut self,
        (call, method, from): (usize, &'static str, End),
        phone: Option<usize>,
        routes: &str,
        tag: &str,
    ) -> Checked {
        let number = self.requests.len();
        let via = match from {
            End::Address(address) => format!("UDP {address}"),
            End::Connection(conn) => format!("TCP 10.0.0.1:{}", 5_000 + conn.0),
        };
        let uri = phone.map_or("sip:7@example.net".to_owned(), uri_of_phone);
        let cseq = if method == "BYE" { 2 } else { 1 };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};rport;branch=z9hG4bK-{number}\r\n{routes}Max-Forwards: 70\r\n\
             From: <sip:b@example.net>;tag=f{call}\r\nTo: <sip:7@example.net>{tag}\r\nCall-ID: c{call}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:b@10.0.0.1>\r\nContent-Length: 0\r\n\r\n"
        );
        self.figures.requests += 1;
        self.by_name.insert((call, method.to_owned()), number);
        self.requests.push(Request {
            call,
            method,
            from,
            phone,
            places: HashMap::new(),
            said: HashMap::new(),
            text: text.clone(),
            at: None,
            went: Vec::new(),
            finals: Vec::new(),
            copies_of_finals: 0,
            has_heard: false,
            sent: HashSet::new(),
            is_excused: false,
            is_cancelled: false,
            begin: self.now,
        });
        if let End::Address(_) = from {
            let after = Duration::from_millis(500);
            self.file(after, Event::Repeats { request: number, after });
        }
        self.comes(from, &text)
    }

    fn cancel(&mut self) -> Checked {
        let is_open = |it: &&Request| it.method == "INVITE" && it.finals.is_empty() && it.has_heard && !it.is_cancelled;
        let Some(request) = self.requests.iter().rev().take(20).find(is_open).cloned() else { return Ok(()) };
        let number = self.by_name[&(request.call, "INVITE".to_owned())];
        self.requests[number].is_cancelled = true;
        let text = request.text.replacen("INVITE ", "CANCEL ", 1).replace("CSeq: 1 INVITE", "CSeq: 1 CANCEL");
        self.comes(request.from, &text)
    }

    /// All connections of a system end, and it has forgotten everything.
    fn dies(&mut self, system: usize) -> Checked {
        if self.systems.iter().filter(|system| system.is_alive).count() < 2 {
            return Ok(());
        }
        self.systems[system].is_alive = false;
        self.systems[system].had.clear();
        let lines: Vec<_> = self.lines_of(system).collect();
        lines.into_iter().try_for_each(|conn| self.ends(conn))
    }

    fn comes_back(&mut self, system: usize) -> Checked {
        self.systems[system].is_alive = true;
        self.systems[system].manner = Manner::Answers;
        let lines: Vec<_> = self.lines_of(system).collect();
        for conn in lines {
            self.lines.get_mut(&conn.0).unwrap().is_read = true;
            self.switch.on_connection_taken(conn, true);
        }
        Ok(())
    }

    fn cut(&mut self, system: usize) -> Checked {
        let lines: Vec<_> = self.lines_of(system).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let conn = self.dice.pick(&lines);
        self.ends(conn)
    }

    fn stops_reading(&mut self, system: usize) -> Checked {
        let lines: Vec<_> = self.lines_of(system).filter(|conn| self.lines[&conn.0].is_open).collect();
        for conn in lines {
            self.lines.get_mut(&conn.0).unwrap().is_read = false;
            if !self.breaks(Broken::StopsAreLost) {
                self.switch.on_connection_taken(conn, false);
            }
        }
        Ok(())
    }

    fn manner(&mut self, system: usize) -> Checked {
        let until = self.now + Duration::from_secs(32);
        self.systems[system].manner = self.dice.pick(&[Manner::Answers, Manner::Silent(until), Manner::Raves]);
        Ok(())
    }

    /// The settings lose a system, or have it again.
    fn leaves_settings(&mut self, system: usize) -> Checked {
        let others = self.systems.iter().enumerate().filter(|(at, it)| *at != system && it.is_wanted).count();
        self.systems[system].is_wanted = others == 0 || !self.systems[system].is_wanted;
        self.reload()
    }

    /// A system has another certificate: its connections are replaced.
    fn gets_certificate(&mut self, system: usize) -> Checked {
        self.securities.insert(format!("s{system}"), Security(self.dice.number()));
        let lines: Vec<_> = self.lines_of(system).collect();
        self.replaced.extend(lines);
        self.reload()
    }

    fn reload(&mut self) -> Checked {
        let wanted = self.proxies.iter().zip(&self.systems).filter(|(_, system)| system.is_wanted);
        let proxies = wanted.map(|(proxy, _)| proxy.clone()).collect();
        let mut securities = self.securities.clone();
        securities
            .retain(|name, _| self.proxies.iter().zip(&self.systems).any(|(it, of)| it.name == *name && of.is_wanted));
        self.switch.set_securities(securities, self.now);
        let rules = Rules { proxies, ..self.switch.dispatch().rules().clone() };
        self.switch.reload(rules, Insert::None, 0, self.now);
        self.left()
    }

    /// The connection of a caller ends, and it opens another.
    fn caller_comes_anew(&mut self) -> Checked {
        let at = self.dice.roll(CALLERS as u64) as usize;
        if let End::Connection(conn) = self.callers[at] {
            self.lines.remove(&conn.0);
            self.callers[at] = End::Connection(self.line(Far::Caller));
        }
        Ok(())
    }

    /// Somebody who is no system sends a response with a Via like ours.
    fn stranger(&mut self) -> Checked {
        let from = {
            let at = self.dice.roll(CALLERS as u64) as usize;
            self.callers[at]
        };
        let Some(request) = self.requests.last().cloned() else { return Ok(()) };
        let via = format!("Via: SIP/2.0/TCP {LOCAL};branch=z9hG4bKforged.{}\r\nVia:", self.dice.number());
        let text = format!("SIP/2.0 200 OK\r\n{}", request.text.split_once("\r\n").unwrap().1);
        self.comes(from, &text.replacen("Via:", &via, 1))
    }

    fn lines_of(&self, system: usize) -> impl Iterator<Item = ConnId> + '_ {
        self.lines.iter().filter(move |(_, line)| line.at == Far::System(system)).map(|(conn, _)| ConnId(*conn))
    }

    /// A connection to a system ends: at once, each request on it is on another one, or answered.
    fn ends(&mut self, conn: ConnId) -> Checked {
        let line = self.lines.remove(&conn.0).unwrap();
        self.figures.cuts += 1;
        let there: Vec<usize> = (0..self.requests.len()).filter(|at| self.requests[*at].at == Some(conn)).collect();
        if !self.breaks(Broken::EndsAreLost) {
            let Far::System(system) = line.at else { unreachable!("callers' connections are not told") };
            let ended = if self.systems[system].is_alive { Ended::Broken } else { Ended::Refused };
            self.switch.on_connection_closed(conn, ended, self.now);
        }
        self.left()?;
        for at in there {
            let Request { call, method, at: now_at, finals, from, begin, .. } = &self.requests[at];
            // RFC 4320 §4.2: nobody waits for the answer to any other request by then.
            let is_over = *method != "INVITE" && self.now.since(*begin) >= Duration::from_secs(32);
            ensure!(
                *now_at != Some(conn) || !finals.is_empty() || is_over || self.is_gone(*from),
                "{method} of call {call} was on connection {} when it ended, and nothing has become of it",
                conn.0
            );
        }
        Ok(())
    }

    fn is_gone(&self, end: End) -> bool {
        matches!(end, End::Connection(conn) if !self.lines.contains_key(&conn.0))
    }

    /// Time passes, and all that falls due happens.
    fn pass(&mut self, span: Duration) -> Checked {
        let end = self.now + span;
        loop {
            self.dial()?;
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let own = self.switch.poll_timeout().filter(|_| !self.breaks(Broken::TimeStands));
            let Some(next) = [event, own].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happens(event)?;
            } else {
                self.now = self.now + Duration::from_micros(1);
                self.switch.handle_timeout(self.now);
                self.left()?;
            }
        }
        self.now = end.max(self.now);
        Ok(())
    }

    fn dial(&mut self) -> Checked {
        while let Some(dial) = self.switch.poll_dial(self.now) {
            let SocketAddr::V4(to) = dial.to else { unreachable!("all addresses are of IPv4") };
            let system = usize::from(to.ip().octets()[3]) - 1;
            let conn = self.line(Far::System(system));
            self.switch.on_dialled(&dial, Some(conn), self.now);
            match self.systems[system].is_alive {
                true => {
                    let after = self.soon();
                    self.file(after, Event::Opens(conn));
                }
                false => {
                    self.lines.remove(&conn.0);
                    self.switch.on_connection_closed(conn, Ended::Refused, self.now);
                }
            }
        }
        while let Some(look_up) = self.switch.poll_look_up() {
            let phone = look_up.host.bytes().filter_map(|byte| (byte as char).to_digit(10)).next().unwrap() as usize;
            let others: Vec<usize> = [FULL, MUTE].into_iter().filter(|_| self.dice.chance(65)).collect();
            let places = others.into_iter().chain([phone]).map(|place| ([203, 0, 113, place as u8 + 1], 5062).into());
            let found = look_up.found(places.collect(), self.now);
            self.switch.on_found(&[found], self.now);
            self.left()?;
        }
        while let Some(to) = self.switch.poll_callee() {
            let SocketAddr::V4(of) = to.address else { unreachable!("all addresses are of IPv4") };
            let phone = usize::from(of.ip().octets()[3]) - 1;
            let outcome = if self.is_calm { 0 } else { self.dice.roll(10) };
            if outcome == 9 {
                self.switch.on_callee_dialled(&to, None, self.now);
                continue;
            }
            let conn = self.line(Far::Phone(phone));
            self.switch.on_callee_dialled(&to, Some(conn), self.now);
            let after = self.soon();
            match outcome {
                0..6 => self.file(after, Event::Opens(conn)),
                6 => self.file(after * 200, Event::Opens(conn)),
                7 => self.file(after, Event::IsRefused(conn)),
                _ => {}
            }
        }
        while let Some(conn) = self.switch.poll_hang_up(self.now) {
            if let Some(Line { at: Far::Phone(_), .. }) = self.lines.get(&conn.0) {
                self.phone_is_gone(conn, Ended::Broken)?;
                continue;
            }
            self.figures.hung_up += 1;
            self.ends(conn)?;
        }
        self.left()
    }

    fn happens(&mut self, event: Event) -> Checked {
        match event {
            Event::Comes(from, text) => self.comes(from, &text),
            Event::Opens(conn) => {
                if let Some(line) = self.lines.get_mut(&conn.0) {
                    line.is_open = true;
                    if !self.breaks(Broken::OpensAreLost) {
                        self.switch.on_connection_open(conn, self.now);
                    }
                }
                self.left()
            }
            Event::Repeats { request, after } => {
                let Request { has_heard, finals, from, method, text, .. } = self.requests[request].clone();
                let is_awaited = if method == "INVITE" { !has_heard } else { finals.is_empty() };
                if !is_awaited || after >= Duration::from_secs(32) {
                    return Ok(());
                }
                self.figures.repeated += 1;
                self.file(after, Event::Repeats { request, after: after * 2 });
                match self.breaks(Broken::CopiesAreNew) {
                    true => self.comes(from, &text.replace("z9hG4bK-", "z9hG4bK-copy-")),
                    false => self.comes(from, &text),
                }
            }
            Event::Responds { system, by, request, status } => self.responds(system, by, &request, status),
            Event::IsRefused(conn) => self.phone_is_gone(conn, Ended::Refused),
            Event::PhoneResponds { by, request, status } => {
                if !self.lines.contains_key(&by.0) {
                    return Ok(());
                }
                let (call, method) = (text::caller(&request).unwrap(), text::method(&request).to_owned());
                if let Some(at) = self.by_name.get(&(call, method)) {
                    let said = &mut self.requests[*at].said;
                    let branch = text::branch(&request).to_owned();
                    if status >= 200 && *said.entry(branch).or_insert(status) != status {
                        return Ok(());
                    }
                    self.requests[*at].sent.insert(status);
                }
                self.comes(End::Connection(by), &response(&request, status, SYSTEMS))
            }
        }
    }

    /// A message comes to the dispatcher, unless its connection is gone.
    fn comes(&mut self, from: End, text: &str) -> Checked {
        let local = LOCAL.parse().unwrap();
        let way = match from {
            End::Address(source) => {
                let owner = Owner::Listener(ListenerId(0));
                Way::of_datagram(owner, ListenerId(0), Transport::Udp, (source, local), self.now)
            }
            End::Connection(conn) => {
                let Some(line) = self.lines.get(&conn.0) else { return Ok(()) };
                let source = match line.at {
                    Far::Caller => SocketAddr::from(([198, 51, 100, 8], 4_000 + conn.0 as u16)),
                    Far::System(system) => SocketAddr::from(([192, 0, 2, system as u8 + 1], 5060)),
                    Far::Phone(phone) => SocketAddr::from(([203, 0, 113, phone as u8 + 1], 5062)),
                };
                Way::of_stream(conn, ListenerId(1), Transport::Tcp, (source, local), self.now)
            }
        };
        self.came += 1;
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    // -- systems --

    /// A request has come to a system.
    fn arrives(&mut self, system: usize, by: ConnId, request: &str) {
        let (call, method) = (text::caller(request).unwrap(), text::method(request).to_owned());
        let line = self.lines[&by.0];
        if method == "ACK" || !line.is_read {
            if !line.is_read
                && let Some(at) = self.by_name.get(&(call, method))
            {
                self.requests[*at].is_excused = true;
            }
            return;
        }
        let known = self.systems[system].had.insert((call, method.clone()), None).flatten();
        match self.systems[system].manner {
            Manner::Silent(until) if self.now < until => {
                self.excuse(call, &method);
                return;
            }
            Manner::Raves => {
                self.excuse(call, &method);
                let nonsense = match self.dice.roll(4) {
                    0 => "SIP/2.0 200\r\n\r\n".to_owned(),
                    1 => response(request, 200, system).replace(&format!("c{call}"), &format!("c{}", call + 1)),
                    2 => response(request, 200, system).replacen("branch=", "branch=z9hG4bKx;x=", 1),
                    _ => response(request, 200, system).replace("CSeq: ", "CSeq: 7"),
                };
                let after = self.soon();
                self.file(after, Event::Comes(End::Connection(by), nonsense));
                return;
            }
            Manner::Answers | Manner::Silent(_) => {}
        }
        let respond = |world: &mut World, status: u16| {
            let after = world.soon();
            let after = if status < 200 { after } else { after * 4 };
            world.file(after, Event::Responds { system, by, request: request.to_owned(), status });
        };
        match method.as_str() {
            _ if known.is_some() => respond(self, known.unwrap()),
            "INVITE" => {
                if self.dice.chance(30) {
                    respond(self, 100);
                }
                if self.dice.chance(70) {
                    respond(self, 180);
                }
                if self.dice.chance(85) {
                    let status = self.dice.pick(&[200, 200, 200, 302, 401, 486, 503, 603]);
                    respond(self, status);
                }
            }
            "CANCEL" => {
                respond(self, 200);
                if self.systems[system].had.get(&(call, "INVITE".to_owned())).is_some_and(Option::is_none) {
                    let invite = request.replacen("CANCEL ", "INVITE ", 1).replace("1 CANCEL", "1 INVITE");
                    // Its Vias are those of the INVITE, which has two.
                    let number = self.by_name[&(call, "INVITE".to_owned())];
                    let Some(below) = self.requests[number].text.lines().find(|line| line.starts_with("Via:")) else {
                        return;
                    };
                    let at = invite.find("Via:").unwrap();
                    let end = at + invite[at..].find("\r\n").unwrap() + 2;
                    let invite = format!("{}{below}\r\n{}", &invite[..end], &invite[end..]);
                    let after = self.soon() * 5;
                    self.file(after, Event::Responds { system, by, request: invite, status: 487 });
                }
            }
            _ => respond(self, 200),
        }
    }

    /// A request has come to a phone.
    fn comes_to_phone(&mut self, place: usize, by: ConnId, request: &str) {
        match text::method(request) {
            "ACK" => {}
            "INVITE" | "MESSAGE" if place == FULL => self.phone_responds(by, request, 503),
            "INVITE" if place == MUTE => {
                if self.dice.chance(50) {
                    let [rings, then] = [self.dice.between(4_000, 9_000), self.dice.between(10, 3_000)];
                    for (status, after) in [(180, rings), (200, rings + then)] {
                        let request = request.to_owned();
                        self.file(Duration::from_millis(after), Event::PhoneResponds { by, request, status });
                    }
                }
            }
            "MESSAGE" if place == MUTE => self.excuse(text::caller(request).unwrap(), "MESSAGE"),
            "INVITE" => {
                let status = if self.dice.chance(70) { 200 } else { 486 };
                self.phone_responds(by, request, 180);
                self.phone_responds(by, request, status);
            }
            _ => self.phone_responds(by, request, 200),
        }
    }

    fn phone_responds(&mut self, by: ConnId, request: &str, status: u16) {
        let after = self.soon();
        let after = if status < 200 { after } else { after * 4 };
        self.file(after, Event::PhoneResponds { by, request: request.to_owned(), status });
    }

    fn excuse(&mut self, call: usize, method: &str) {
        if let Some(at) = self.by_name.get(&(call, method.to_owned())) {
            self.requests[*at].is_excused = true;
        }
    }

    fn responds(&mut self, system: usize, by: ConnId, request: &str, status: u16) -> Checked {
        let (call, method) = (text::caller(request).unwrap(), text::method(request).to_owned());
        let Some(known) = self.systems[system].had.get_mut(&(call, method.clone())) else { return Ok(()) };
        if known.is_some_and(|known| known != status) {
            return Ok(());
        }
        if status >= 200 {
            *known = Some(status);
        }
        // On the connection of its request, else on another one (RFC 3261 §18.2.2).
        let by = [by]
            .into_iter()
            .chain(self.lines_of(system))
            .find(|conn| self.lines.get(&conn.0).is_some_and(|it| it.is_open));
        let Some(by) = by else {
            self.excuse(call, &method);
            return Ok(());
        };
        if let Some(at) = self.by_name.get(&(call, method)) {
            self.requests[*at].sent.insert(status);
        }
        let mut text = response(request, status, system);
        if self.breaks(Broken::ResponsesAreForged) {
            text = text.replacen(";flow=", ";flow=0", 1).replacen("branch=z9hG4bK", "branch=z9hG4bK0", 1);
        }
        self.comes(End::Connection(by), &text)
    }

    // -- what leaves --

    /// Looks at all that leaves.
    fn left(&mut self) -> Checked {
        let mut left: Vec<(End, String)> = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.switch.flush_answers(|batch| {
            left.extend(batch.map(|(bytes, to)| (End::Address(to), text(bytes))));
        });
        let (lines, strays) = (&self.lines, self.broken == Some(Broken::MessagesGoAstray));
        self.switch.flush_replies(|conn: ConnId, bytes: &[u8]| {
            let on = if strays { ConnId(conn.0 % lines.len() as u64 + 1) } else { conn };
            let is_there = lines.contains_key(&on.0);
            if is_there {
                left.push((End::Connection(on), text(bytes)));
            }
            is_there
        });
        self.switch.check();
        let counters = self.switch.dispatch().counters();
        let reasons: u64 = counters.reasons().map(|(_, count)| count).sum();
        ensure!(
            counters.received == self.came && reasons == self.came + counters.returned,
            "{} came, {} were counted, {reasons} reasons, {} returned",
            self.came,
            counters.received,
            counters.returned
        );
        left.into_iter().try_for_each(|(to, text)| match text::status(&text) {
            Some(status) => self.response_leaves(to, status, &text),
            None => self.request_leaves(to, &text),
        })
    }

    fn response_leaves(&mut self, to: End, status: u16, text: &str) -> Checked {
        let (call, method) = (text::caller(text).unwrap(), text::method(text).to_owned());
        let name = if method == "CANCEL" { "INVITE" } else { &method };
        let Some(at) = self.by_name.get(&(call, name.to_owned())).copied() else {
            return Err(format!("a response to nothing: {text}"));
        };
        let request = &mut self.requests[at];
        ensure!(to == request.from, "a response to {:?} has left to {to:?}: {text}", request.from);
        ensure!(text.matches("\r\nVia:").count() == 1, "a Via too many: {text}");
        if method == "CANCEL" {
            return Ok(());
        }
        request.has_heard = true;
        if status < 200 {
            // A phone's way is sought first: its caller hears a 100 meanwhile.
            let is_between_streams = matches!(to, End::Connection(_)) && request.phone.is_none();
            ensure!(
                request.sent.contains(&status) || status == 100 && !is_between_streams,
                "a {status} that nobody has sent: {text}"
            );
            return Ok(());
        }
        request.at = None;
        let is_theirs = request.sent.contains(&status);
        ensure!(is_theirs || matches!(status, 408 | 430 | 480 | 481 | 487 | 500 | 503), "whose {status}? {text}");
        let tag = text::to_tag(text).unwrap_or_default().to_owned();
        let is_copy = request.finals.contains(&(status, tag.clone()));
        if is_copy {
            request.copies_of_finals += 1;
            // A system repeats a 2xx by itself, and an INVITE that has moved may come to it twice.
            let may_repeat = matches!(to, End::Address(_)) || status < 300;
            ensure!(may_repeat, "the {status} to {method} of call {call} has left twice on a connection");
        } else {
            self.figures.answered += u64::from(request.finals.is_empty());
            self.figures.refused_here += u64::from(!is_theirs);
            // A 2xx passes whatever has been sent before (RFC 3261 §16.7 step 5).
            let was_refused_here = request.finals.iter().all(|(status, _)| !request.sent.contains(status));
            let may_follow = status < 300 && request.method == "INVITE" && (was_refused_here || request.went.len() > 1);
            ensure!(
                request.finals.is_empty() || may_follow,
                "{method} of call {call} has got {status} after {:?}",
                request.finals
            );
            request.finals.push((status, tag.clone()));
        }
        if method == "INVITE" {
            let (from, phone, invite) = (request.from, request.phone, request.text.clone());
            let mut ack = invite.replacen("INVITE ", "ACK ", 1).replace("CSeq: 1 INVITE", "CSeq: 1 ACK");
            ack = ack.replace("To: <sip:7@example.net>", &format!("To: <sip:7@example.net>;tag={tag}"));
            if status < 300 {
                let routes = routes(text);
                ack = ack.replace("z9hG4bK-", "z9hG4bK-ack-").replacen(
                    "Max-Forwards",
                    &format!("{routes}Max-Forwards"),
                    1,
                );
                let is_first = !is_copy && !self.by_name.contains_key(&(call, "BYE".to_owned()));
                self.comes(from, &ack)?;
                if is_first && self.dice.chance(80) {
                    self.request((call, "BYE", from), phone, &routes, &format!(";tag={tag}"))?;
                }
                return Ok(());
            }
            if self.breaks(Broken::AcksAreNew) {
                ack = ack.replace("z9hG4bK-", "z9hG4bK-new-").replacen(
                    "Max-Forwards",
                    "Route: <sip:192.0.2.200;lr>\r\nMax-Forwards",
                    1,
                );
            }
            let after = self.soon();
            self.file(after, Event::Comes(from, ack));
        }
        Ok(())
    }

    fn request_leaves(&mut self, to: End, request: &str) -> Checked {
        let (call, method) = (text::caller(request).unwrap(), text::method(request).to_owned());
        let End::Connection(conn) = to else { return Err(format!("a request has left in a datagram: {request}")) };
        let line = self.lines[&conn.0];
        ensure!(line.is_open, "a request on a connection that is not open yet: {request}");
        if let Far::Phone(phone) = line.at {
            return self.request_leaves_for_phone(phone, conn, request);
        }
        let Far::System(system) = line.at else { return Err(format!("a request has left to a caller: {request}")) };
        ensure!(request.contains("\r\nVia: SIP/2.0/TCP 192.0.2.200:5060;branch="), "no Via of ours: {request}");
        match method.as_str() {
            "ACK" => {
                let had = self.systems[system].had.get(&(call, "INVITE".to_owned())).copied().flatten();
                let is_forgotten = !self.systems[system].had.contains_key(&(call, "INVITE".to_owned()));
                let of_success = request.contains("z9hG4bK-ack-");
                ensure!(
                    of_success || is_forgotten || had.is_some_and(|status| status >= 300),
                    "an ACK to an answer that is not the system's ({had:?}): {request}"
                );
                ensure!(
                    of_success || request.matches("\r\nVia:").count() == 1,
                    "an ACK of the caller's own, to a response that was acknowledged already: {request}"
                );
            }
            "CANCEL" => {}
            _ => {
                let is_for_new = |conn: ConnId, line: &Line| match line.at {
                    Far::System(system) => self.systems[system].is_wanted && !self.replaced.contains(&conn),
                    Far::Caller | Far::Phone(_) => false,
                };
                let mut others = self.lines.iter().filter(|(conn, line)| is_for_new(ConnId(**conn), line));
                let others_read = others.any(|(_, it)| it.is_open && it.is_read);
                let is_new = method != "BYE";
                let at = self.by_name[&(call, method.clone())];
                let it = &mut self.requests[at];
                ensure!(
                    line.is_read || !others_read || !is_new || !it.went.is_empty() || self.replaced.contains(&conn),
                    "a new request for a system that takes no bytes: {request}"
                );
                ensure!(!it.went.contains(&conn), "{method} of call {call} has gone by connection {} twice", conn.0);
                ensure!(it.finals.is_empty(), "{method} of call {call} has gone on after its answer");
                self.figures.moved += u64::from(!it.went.is_empty());
                it.went.push(conn);
                it.at = Some(conn);
            }
        }
        self.arrives(system, conn, request);
        Ok(())
    }

    fn request_leaves_for_phone(&mut self, place: usize, conn: ConnId, request: &str) -> Checked {
        let (call, method) = (text::caller(request).unwrap(), text::method(request).to_owned());
        ensure!(!request.contains("\r\nRoute:"), "a Route of ours: {request}");
        let of_success = method == "ACK" && request.contains("z9hG4bK-ack-");
        let is_within = matches!(method.as_str(), "ACK" | "CANCEL");
        let name = if is_within { "INVITE".to_owned() } else { method.clone() };
        let it = &mut self.requests[self.by_name[&(call, name)]];
        let Some(phone) = it.phone else { return Err(format!("no call of a system: {request}")) };
        let uri = uri_of_phone(phone);
        ensure!(
            request.starts_with(&format!("{method} {uri} SIP/2.0\r\n")),
            "for another phone than {phone}: {request}"
        );
        let is_its = place == phone % PHONES || place >= PHONES && phone >= PHONES;
        ensure!(is_its, "at {place}, and not at phone {phone}: {request}");
        let known = it.places.get(text::branch(request)).copied();
        ensure!(
            !is_within || of_success || known == Some(place),
            "{method} at {place}, and its INVITE at {known:?}: {request}"
        );
        if !is_within {
            ensure!(known.is_none_or(|known| known == place), "one branch at {known:?} and {place}: {request}");
            self.figures.to_next += u64::from(known.is_none() && !it.places.is_empty());
            it.places.insert(text::branch(request).to_owned(), place);
            ensure!(!it.went.contains(&conn), "{method} of call {call} has gone by connection {} twice", conn.0);
            ensure!(it.finals.is_empty(), "{method} of call {call} has gone on after its answer");
            self.figures.to_phones += 1;
            self.figures.to_phones_again += u64::from(!it.went.is_empty());
            it.went.push(conn);
        }
        self.comes_to_phone(place, conn, request);
        Ok(())
    }

    // -- the end --

    /// All is well again: in the end each request has its answer, and each system its connections.
    fn come_to_rest(&mut self) -> Checked {
        self.is_calm = true;
        for system in 0..SYSTEMS {
            self.comes_back(system)?;
        }
        if self.dice.chance(30) {
            // Systems that the settings have lost are let go meanwhile.
            self.pass(CALM)?;
        }
        self.systems.iter_mut().for_each(|system| system.is_wanted = true);
        self.reload()?;
        self.pass(REOPENED_WITHIN)?;
        for (calm, may_be_more) in [(CALM, true), (Duration::ZERO, false)] {
            for system in 0..SYSTEMS {
                let open = self.switch.dispatch().proxies().rows(self.now).len();
                let lines = self.lines_of(system).filter(|conn| self.lines[&conn.0].is_open).count();
                let wanted = usize::from(self.per_system);
                let is_well = lines == wanted || lines > wanted && may_be_more;
                ensure!(is_well, "system {system} has {lines} connections ({open} rows)");
            }
            self.pass(calm)?;
        }
        let left = self.requests.iter().find(|it| {
            let may_stay = it.method != "INVITE" && it.is_excused || self.is_gone(it.from);
            it.finals.is_empty() && !may_stay
        });
        ensure!(left.is_none(), "never answered: {left:?}");
        Ok(())
    }
}

/// The response of a system.
fn response(request: &str, status: u16, system: usize) -> String {
    let (_, rest) = request.split_once("\r\n").unwrap();
    let (head, _) = rest.split_once("\r\n\r\n").unwrap();
    let kept = |line: &&str| {
        ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"].iter().any(|name| line.starts_with(name))
    };
    let lines = head.split("\r\n").filter(kept).map(|line| match line.starts_with("To:") && !line.contains(";tag=") {
        true if status > 100 => format!("{line};tag=s{system}\r\n"),
        _ => format!("{line}\r\n"),
    });
    format!("SIP/2.0 {status} Said\r\n{}Content-Length: 0\r\n\r\n", lines.collect::<String>())
}

/// The URI of a phone.
fn uri_of_phone(phone: usize) -> String {
    match phone.checked_sub(PHONES) {
        None => format!("sip:phone@203.0.113.{}:5062;transport=tcp", phone + 1),
        Some(phone) => format!("sip:phone@p{phone}.example.org;transport=tcp"),
    }
}

/// The Route of a caller, from the Record-Route of an answer.
fn routes(answer: &str) -> String {
    let mut routes: Vec<_> = text::header(answer, "Record-Route").unwrap_or_default().split(", ").collect();
    routes.reverse();
    format!("Route: {}\r\n", routes.join(", "))
}

/// Runs a seed. `Err`: the step, and what was wrong at it.
fn run(seed: u64, broken: Option<Broken>) -> Result<Figures, String> {
    let mut world = World::new(seed, broken);
    let mut all = || -> Checked {
        world.pass(Duration::from_millis(100))?;
        for step in 0..STEPS {
            world.trouble().map_err(|what| format!("step {step}: {what}"))?;
            let span = world.dice.pick(&[0, 1, 1, 5, 20]);
            world.pass(Duration::from_millis(span)).map_err(|what| format!("after step {step}: {what}"))?;
        }
        world.come_to_rest().map_err(|what| format!("at rest: {what}"))
    };
    all()?;
    Ok(world.figures)
}

fn check_part(part: u64) {
    let mut sum = Figures::default();
    for seed in (0..SEEDS).filter(|seed| seed % PARTS == part) {
        let it = run(seed, None).unwrap_or_else(|what| panic!("seed {seed}, {what}"));
        sum.requests += it.requests;
        sum.answered += it.answered;
        sum.moved += it.moved;
        sum.refused_here += it.refused_here;
        sum.cuts += it.cuts;
        sum.repeated += it.repeated;
        sum.hung_up += it.hung_up;
        sum.to_phones += it.to_phones;
        sum.to_phones_again += it.to_phones_again;
        sum.to_next += it.to_next;
    }
    println!("{sum:?}");
    let Figures { requests, answered, moved, refused_here, cuts, repeated, hung_up, to_phones, .. } = sum;
    let Figures { to_phones_again, to_next, .. } = sum;
    let seldom = [moved, refused_here, cuts, repeated, hung_up, to_phones, to_next];
    assert!(answered * 100 > requests * 80 && seldom.iter().all(|it| *it > 20) && to_phones_again > 0);
}

#[test]
fn each_request_for_a_system_is_answered_once_part_1() {
    check_part(0);
}

#[test]
fn each_request_for_a_system_is_answered_once_part_2() {
    check_part(1);
}

#[test]
fn each_request_for_a_system_is_answered_once_part_3() {
    check_part(2);
}

#[test]
fn each_request_for_a_system_is_answered_once_part_4() {
    check_part(3);
}

#[test]
fn every_broken_rule_about_systems_is_noticed() {
    let mut missed = Vec::new();
    for broken in Broken::ALL {
        match (0..50).find_map(|seed| Some((seed, run(seed, Some(broken)).err()?))) {
            Some((seed, what)) => println!("{broken:?}: seed {seed}, {what}"),
            None => missed.push(broken),
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
