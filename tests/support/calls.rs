//! Many MGCP calls at a time, each of its three commands repeated until it is answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::agent::{Agent, Command, Said};

/// The first repetition of a command comes after this time, and none later than [`LONGEST`] after the one before.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(4);

/// Many calls, each CRCX, MDCX, DLCX, as an application server makes them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The address that commands go to.
    pub to: SocketAddr,
    /// The number of calls.
    pub calls: usize,
    /// The number of calls at a time.
    pub window: usize,
    /// The time that each stands between MDCX and DLCX.
    pub hold: Duration,
    /// The endpoint that the CRCX names.
    pub endpoint: &'static str,
}

/// The outcome of the calls.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Calls whose three commands were answered with 2xx.
    pub good: usize,
    /// Commands answered otherwise: verb and code.
    pub failures: BTreeMap<String, usize>,
    /// Commands that got no answer within the deadline.
    pub unanswered: Vec<String>,
    /// The second term of the endpoints' names, and how many calls each had.
    pub tokens: BTreeMap<String, usize>,
    /// The addresses that answers came from.
    pub sources: BTreeSet<SocketAddr>,
    /// Connection ids that CRCX were answered with, repetitions of answers included.
    pub connections: Vec<(u32, String)>,
    /// Answers that name another connection than the first answer to the same CRCX.
    pub second_answers: Vec<Said>,
    /// Commands sent, repetitions included.
    pub sent: usize,
}

#[derive(Clone, Debug)]
struct Call {
    number: usize,
    endpoint: String,
    connection: String,
    verb: &'static str,
    command: Command,
    begin: Instant,
    due: Instant,
    interval: Duration,
}

impl Plan {
    /// `calls` calls to `to`, 50 at a time.
    pub fn new(to: SocketAddr, calls: usize) -> Self {
        Plan { to, calls, window: 50, hold: Duration::ZERO, endpoint: "ann/$@ms.example.net" }
    }

    /// Makes the calls. `watch` is called after each final answer.
    pub fn run(&self, agent: &Agent, mut watch: impl FnMut(&Outcome)) -> Outcome {
        let mut outcome = Outcome::default();
        let mut waiting: BTreeMap<u32, Call> = BTreeMap::new();
        let mut held: VecDeque<(Instant, Call)> = VecDeque::new();
        let mut started = 0;
        loop {
            while started < self.calls && waiting.len() + held.len() < self.window {
                let call = self.begin(started);
                started += 1;
                self.send(agent, call, &mut waiting, &mut outcome);
            }
            while held.front().is_some_and(|(until, _)| *until <= Instant::now()) {
                let Some((_, mut call)) = held.pop_front() else { break };
                Plan::follow(&mut call, "DLCX");
                self.send(agent, call, &mut waiting, &mut outcome);
            }
            if waiting.is_empty() && held.is_empty() {
                return outcome;
            }
            if let Some(said) = agent.hear(Duration::from_millis(2), |_| true) {
                self.on_said(agent, &said, &mut waiting, &mut held, &mut outcome, &mut watch);
            }
            self.repeat(agent, &mut waiting, &mut outcome);
        }
    }

    fn begin(&self, number: usize) -> Call {
        let command = Command::create(self.endpoint, &format!("{:X}", 0xA000 + number), "recvonly");
        let now = Instant::now();
        Call {
            number,
            endpoint: String::new(),
            connection: String::new(),
            verb: "CRCX",
            command,
            begin: now,
            due: now,
            interval: FIRST,
        }
    }

    /// The next command of a call.
    fn follow(call: &mut Call, verb: &'static str) {
        call.verb = verb;
        call.command = Command::new(verb, &call.endpoint)
            .with(&format!("C: {:X}", 0xA000 + call.number))
            .with(&format!("I: {}", call.connection));
        if verb == "MDCX" {
            let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
            call.command = call.command.clone().with("M: sendrecv").with_sound_at(nobody);
        }
        call.begin = Instant::now();
        call.interval = FIRST;
    }

    fn send(&self, agent: &Agent, mut call: Call, waiting: &mut BTreeMap<u32, Call>, outcome: &mut Outcome) {
        agent.send(&call.command, self.to);
        outcome.sent += 1;
        call.due = Instant::now() + call.interval;
        waiting.insert(call.command.id, call);
    }

    fn on_said(
        &self,
        agent: &Agent,
        said: &Said,
        waiting: &mut BTreeMap<u32, Call>,
        held: &mut VecDeque<(Instant, Call)>,
        outcome: &mut Outcome,
        watch: &mut impl FnMut(&Outcome),
    ) {
        let (code, id) = (said.code(), said.id());
        if said.first_word().starts_with(char::is_alphabetic) {
            agent.answer(said, 200);
        }
        if code < 200 {
            return;
        }
        if said.param("K").is_some_and(str::is_empty) {
            // RFC 3435 §3.5.6.
            agent.send_bytes(format!("000 {id}\r\n").as_bytes(), said.from);
        }
        outcome.sources.insert(said.from);
        if let Some(connection) = said.param("I") {
            let first = outcome.connections.iter().find(|(answered, _)| *answered == id);
            let is_second = first.is_some_and(|(_, known)| known != connection);
            outcome.connections.push((id, connection.to_owned()));
            if is_second {
                outcome.second_answers.push(said.clone());
            }
        }
        let Some(mut call) = waiting.remove(&id) else { return };
        if code >= 300 {
            *outcome.failures.entry(format!("{} {code}", call.verb)).or_default() += 1;
            watch(outcome);
            return;
        }
        match call.verb {
            "CRCX" => {
                call.endpoint = said.need("Z").to_owned();
                call.connection = said.need("I").to_owned();
                let token = call.endpoint.split('/').nth(1).unwrap_or_default().to_ascii_lowercase();
                *outcome.tokens.entry(token).or_default() += 1;
                Plan::follow(&mut call, "MDCX");
                self.send(agent, call, waiting, outcome);
            }
            "MDCX" => held.push_back((Instant::now() + self.hold, call)),
            _ => outcome.good += 1,
        }
        watch(outcome);
    }

    fn repeat(&self, agent: &Agent, waiting: &mut BTreeMap<u32, Call>, outcome: &mut Outcome) {
        let now = Instant::now();
        waiting.retain(|_, call| {
            if now.duration_since(call.begin) > DEADLINE {
                outcome.unanswered.push(call.command.text());
                return false;
            }
            if call.due <= now {
                agent.send(&call.command, self.to);
                outcome.sent += 1;
                call.interval = (call.interval * 2).min(LONGEST);
                call.due = now + call.interval;
            }
            true
        });
    }
}
