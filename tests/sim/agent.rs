//! A call agent: one call of it, with the transactions of RFC 3435 §3.5, that follows one plan.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::time::Time;

use crate::air::Datagram;
use crate::connections::{Asked, Kind};
use crate::truth::Truth;
use crate::{text, town};

/// The first retransmission, and the longest time between two (RFC 3435 §3.5.3).
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(4);
/// Limit for a command's final answer: each of two workers may die with it after its whole waiting time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Transactions of one call at most.
const TRANSACTIONS: u32 = 64;

/// The plan of a call agent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections of the call.
    pub legs: u32,
    /// Whether they are asked for in one datagram (§3.5.5), or one after the other.
    pub together: bool,
    /// Whether it writes `*` where RFC 3435 wants `$`.
    pub star: bool,
    pub size: u32,
    /// Whether the connections are changed while they stand.
    pub changes: bool,
    /// Whether all endpoints are asked for meanwhile.
    pub audits: bool,
    /// Milliseconds the call stands.
    pub stands: u64,
    pub delete: Delete,
}

/// The way in which connections are deleted (§2.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    /// Each by its own identifier.
    Connection,
    /// All of the call on an endpoint.
    Call,
    /// All of the endpoint.
    Endpoint,
    /// All of the call, wherever they are.
    Everywhere,
}

/// One call of a call agent.
#[derive(Debug)]
pub struct Agent {
    number: usize,
    plan: Plan,
    begun: u32,
    transactions: Vec<Transaction>,
    legs: Vec<Leg>,
    /// Connections that it heard of when its call was over.
    late: Vec<String>,
    /// Final answers that have not been acknowledged (§3.5.1).
    unacknowledged: Vec<u32>,
    /// When the connections are changed, when all endpoints are audited, and when the call is over.
    change_at: Option<Time>,
    audit_at: Option<Time>,
    delete_at: Option<Time>,
    /// Whether connections may be left that it has not heard of.
    is_unsure: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many connections are still to be asked for.
    Creating(u32),
    Standing,
    Deleting,
    /// Connections that may be left of the call are deleted everywhere.
    Sweeping,
    Over,
}

#[derive(Debug)]
struct Transaction {
    id: u32,
    kind: Kind,
    text: Rc<str>,
    begun: Time,
    interval: Duration,
    /// The next retransmission; `None` once it has its final answer.
    next: Option<Time>,
    /// Whether a provisional answer has come: then it waits longer before it asks again (§3.5.6).
    is_provisional: bool,
}

#[derive(Debug)]
struct Leg {
    endpoint: String,
    connection: String,
}

impl Agent {
    /// A call that begins now.
    pub fn new(number: usize, plan: Plan, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) -> Self {
        let legs = plan.legs;
        let mut agent = Agent {
            number,
            plan,
            begun: 0,
            transactions: Vec::new(),
            legs: Vec::new(),
            late: Vec::new(),
            unacknowledged: Vec::new(),
            change_at: None,
            audit_at: None,
            delete_at: None,
            is_unsure: false,
            stage: Stage::Creating(legs),
        };
        let first: Vec<_> = if agent.plan.together { (0..legs).collect() } else { vec![0] };
        let texts: Vec<_> = first.iter().map(|_| agent.create(now, truth)).collect();
        agent.stage = Stage::Creating(legs - first.len() as u32);
        agent.send(&texts.join(".\r\n"), out);
        agent
    }

    /// A datagram has come.
    pub fn on_datagram(&mut self, datagram: &Datagram, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        for message in datagram.text.split("\r\n.\r\n") {
            let Some((code, id)) = text::returned(message) else { continue };
            self.on_response(message, code, id, now, truth, out);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        for at in 0..self.transactions.len() {
            let transaction = &mut self.transactions[at];
            let Some(next) = transaction.next.filter(|next| *next <= now) else { continue };
            if now.since(transaction.begun) >= PATIENCE {
                transaction.next = None;
                truth.broken(format!("nobody answers until {now}: {}", transaction.text));
                continue;
            }
            transaction.interval = (transaction.interval * 2).min(LONGEST);
            transaction.next = Some(next.max(now) + transaction.interval);
            let text = transaction.text.clone();
            self.send(&text, out);
        }
        if self.change_at.is_some_and(|at| at <= now) {
            self.change_at = None;
            for leg in 0..self.legs.len() {
                let Leg { endpoint, connection } = &self.legs[leg];
                let lines = format!("C: {}\r\nI: {connection}\r\nM: inactive\r\n", self.call());
                let endpoint = endpoint.clone();
                self.begin(Kind::Change, Some(endpoint), &lines, now, truth, out);
            }
        }
        if self.audit_at.is_some_and(|at| at <= now) {
            self.audit_at = None;
            self.begin(Kind::Audit, None, "", now, truth, out);
        }
        if self.delete_at.is_some_and(|at| at <= now) {
            self.delete_at = None;
            self.delete(now, truth, out);
        }
        self.go_on(now, truth, out);
    }

    /// When it has something to do of itself.
    pub fn poll_timeout(&self) -> Option<Time> {
        let transactions = self.transactions.iter().filter_map(|transaction| transaction.next);
        transactions.chain(self.change_at).chain(self.audit_at).chain(self.delete_at).min()
    }

    /// Whether its call is over and nothing is waited for.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    fn on_response(
        &mut self,
        message: &str,
        code: u16,
        id: u32,
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) {
        let Some(transaction) = self.transactions.iter_mut().find(|transaction| transaction.id == id) else {
            return truth.broken(format!("agent {} gets an answer to what it has not asked: {message}", self.number));
        };
        if code < 200 {
            if !std::mem::replace(&mut transaction.is_provisional, true) && transaction.next.is_some() {
                transaction.interval = LONGEST;
                transaction.next = Some(now + LONGEST);
            }
            return;
        }
        let is_first = transaction.next.take().is_some();
        let kind = transaction.kind;
        if transaction.is_provisional || text::header(message, "K").is_some() {
            // §3.5.6: a call agent that has had a provisional answer acknowledges the final one.
            self.send(&format!("000 {id}\r\n"), out);
        } else if is_first {
            self.unacknowledged.push(id);
        }
        let is_good = (200..300).contains(&code);
        if kind == Kind::Create && is_good {
            let (Some(endpoint), Some(connection)) = (text::header(message, "Z"), text::header(message, "I")) else {
                return truth.broken(format!("a connection without a name: {message}"));
            };
            let is_known = self.legs.iter().any(|leg| leg.connection == connection);
            if self.stage == Stage::Over && !self.late.iter().any(|late| late == connection) {
                // A late copy was carried out after all, by another worker than the one that refused or died.
                self.late.push(connection.to_owned());
                let lines = format!("C: {}\r\nI: {connection}\r\n", self.call());
                self.stage = Stage::Deleting;
                self.begin(Kind::Delete, Some(endpoint.to_owned()), &lines, now, truth, out);
            } else if !is_known && self.stage != Stage::Over {
                self.legs.push(Leg { endpoint: endpoint.to_owned(), connection: connection.to_owned() });
            }
        }
        // A worker has died, perhaps with one answer given and its command given to another.
        self.is_unsure |= !is_good;
        if is_first {
            self.go_on(now, truth, out);
        }
    }

    /// The next stage, once nothing is waited for.
    fn go_on(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        if self.transactions.iter().any(|transaction| transaction.next.is_some()) {
            return;
        }
        match self.stage {
            Stage::Creating(left @ 1..) => {
                self.stage = Stage::Creating(left - 1);
                let text = self.create(now, truth);
                self.send(&text, out);
            }
            Stage::Creating(0) => {
                let stands = Duration::from_millis(self.plan.stands);
                self.stage = Stage::Standing;
                self.change_at = self.plan.changes.then(|| now + stands / 3);
                self.audit_at = self.plan.audits.then(|| now + stands / 2);
                self.delete_at = Some(now + stands);
            }
            Stage::Deleting if self.is_unsure => self.sweep(now, truth, out),
            Stage::Deleting | Stage::Sweeping => self.stage = Stage::Over,
            Stage::Standing | Stage::Over => {}
        }
    }

    fn create(&mut self, now: Time, truth: &mut Truth) -> Rc<str> {
        let any = if self.plan.star { "*" } else { "$" };
        let size = self.plan.size;
        let size = if size == 1 { String::new() } else { format!("X-Size: {size}\r\n") };
        let lines = format!("C: {}\r\n{size}M: recvonly\r\n", self.call());
        self.compose(Kind::Create, None, &format!("bridge/{any}"), &lines, now, truth)
    }

    fn delete(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        if self.plan.delete == Delete::Everywhere {
            return self.sweep(now, truth, out);
        }
        self.stage = Stage::Deleting;
        for leg in std::mem::take(&mut self.legs) {
            let lines = match self.plan.delete {
                Delete::Connection => format!("C: {}\r\nI: {}\r\n", self.call(), leg.connection),
                Delete::Call => format!("C: {}\r\n", self.call()),
                Delete::Endpoint | Delete::Everywhere => String::new(),
            };
            self.begin(Kind::Delete, Some(leg.endpoint), &lines, now, truth, out);
        }
    }

    fn sweep(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        self.stage = Stage::Sweeping;
        let lines = format!("C: {}\r\n", self.call());
        self.begin(Kind::Sweep, None, &lines, now, truth, out);
    }

    fn begin(
        &mut self,
        kind: Kind,
        endpoint: Option<String>,
        lines: &str,
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) {
        let local = endpoint.as_deref().map_or("*", |name| name.split('@').next().unwrap_or(name)).to_owned();
        let text = self.compose(kind, endpoint, &local, lines, now, truth);
        self.send(&text, out);
    }

    fn compose(
        &mut self,
        kind: Kind,
        endpoint: Option<String>,
        local: &str,
        lines: &str,
        now: Time,
        truth: &mut Truth,
    ) -> Rc<str> {
        self.begun += 1;
        assert!(self.begun < TRANSACTIONS, "an agent runs out of transactions");
        let id = self.number as u32 * TRANSACTIONS + self.begun;
        let acknowledged: Vec<_> = self.unacknowledged.drain(..).map(|id| id.to_string()).collect();
        let acknowledged = match acknowledged.is_empty() {
            true => String::new(),
            false => format!("K: {}\r\n", acknowledged.join(", ")),
        };
        let text = format!("{} {id} {local}@ms.example.net MGCP 1.0\r\n{lines}{acknowledged}", kind.verb());
        let text: Rc<str> = text.into();
        let (call, size) = (self.call(), self.plan.size);
        truth.connections.on_command(id, Asked { kind, call, size, endpoint });
        self.transactions.push(Transaction {
            id,
            kind,
            text: text.clone(),
            begun: now,
            interval: FIRST,
            next: Some(now + FIRST),
            is_provisional: false,
        });
        text
    }

    /// The call's identifier.
    fn call(&self) -> String {
        format!("{:X}", 0xA000 + self.number)
    }

    fn send(&self, text: &str, out: &mut Vec<Datagram>) {
        let from: SocketAddr = town::agent(self.number);
        out.push(Datagram { from, to: town::MGCP, text: text.into() });
    }
}
