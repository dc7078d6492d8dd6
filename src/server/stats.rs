//! Values that the stats socket shows. Field names, their order and their units are a promise to operators.
//!
//! Numbers are never null; `pid` is null while a worker has no process. Counts are since the dispatcher's start.

pub mod connections;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize, Serializer};

use self::connections::ConnectionCounters;
use crate::dispatch::targets::proxies::PoolRow;
use crate::dispatch::targets::proxy::Row;
use crate::switch::totals::ByTransport;

/// The reply to `load`: every configured worker, also those that are down, and the dispatcher.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// One for each slot, w0 first.
    pub workers: Vec<WorkerLoad>,
    /// The dispatcher itself.
    pub dispatcher: DispatcherLoad,
    /// One for each downstream proxy, in the order of the settings. The command `proxies` gives them alone.
    #[serde(skip_deserializing)]
    pub proxies: Vec<Row>,
    /// One for each pool of them.
    #[serde(skip_deserializing)]
    pub pools: Vec<PoolRow>,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerLoad {
    /// `w0`, `w1`, …
    pub name: String,
    /// The name in its certificate, of a worker on another host; left out of the JSON while it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certified: String,
    /// Its process; null when it has none.
    pub pid: Option<u32>,
    /// Its operational state, as the dispatcher sees it.
    pub state: State,
    /// The administrative state that the operator has set.
    pub admin: AdminState,
    /// The address at which callers reach it.
    pub address: IpAddr,
    /// Its own SIP port (UDP and TCP).
    pub port: u16,
    /// Units in use, by its last report.
    pub units_used: u32,
    /// Units it offers.
    pub units_total: u32,
    /// Units handed over that are not yet in its reports.
    pub ledger: u64,
    /// (units_used + ledger) / units_total; 0 while it offers none.
    #[serde(serialize_with = "rounded")]
    pub load: f64,
    /// Sessions, by its last report.
    pub sessions: u32,
    /// Share of one core, by its last report: 1 is a whole core.
    #[serde(serialize_with = "rounded")]
    pub cpu: f64,
    /// Messages handed over to it.
    pub handoffs: u64,
    /// Messages it refused.
    pub refused: u64,
    /// Number of times that it was started again.
    pub restarts: u64,
    /// Milliseconds since its last report; since its start while no report has come.
    pub report_age_ms: u64,
    /// End of its last process, in words, until another process has come up; left out of the JSON while it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

impl WorkerLoad {
    /// (used + ledger) / total; 0 when total is 0.
    pub fn share(units_used: u32, ledger: u64, units_total: u32) -> f64 {
        if units_total == 0 { 0.0 } else { (f64::from(units_used) + ledger as f64) / f64::from(units_total) }
    }
}

impl WorkerLoad {
    /// Adds another lane's figures for the same worker. The later report counts; handoffs, refusals and ledger add up.
    pub fn add_lane(&mut self, other: &WorkerLoad) {
        let handoffs = self.handoffs + other.handoffs;
        let refused = self.refused + other.refused;
        let ledger = self.ledger + other.ledger;
        if self.state == State::Down || other.report_age_ms < self.report_age_ms {
            *self = other.clone();
        }
        let load = WorkerLoad::share(self.units_used, ledger, self.units_total);
        *self = WorkerLoad { handoffs, refused, ledger, load, ..self.clone() };
    }
}

impl Default for WorkerLoad {
    /// A slot without a process.
    fn default() -> Self {
        WorkerLoad {
            name: String::new(),
            certified: String::new(),
            pid: None,
            state: State::Down,
            admin: AdminState::Ready,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            units_used: 0,
            units_total: 0,
            ledger: 0,
            load: 0.0,
            sessions: 0,
            cpu: 0.0,
            handoffs: 0,
            refused: 0,
            restarts: 0,
            report_age_ms: 0,
            fault: String::new(),
        }
    }
}

/// Operational state of a worker, as the dispatcher sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has no process, or the process has no link.
    #[default]
    Down,
    /// It has been started and has not reported yet.
    Starting,
    /// It reports.
    Up,
    /// It has a link and does not report: it gets no new sessions.
    Silent,
}

impl State {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            State::Down => "down",
            State::Starting => "starting",
            State::Up => "up",
            State::Silent => "silent",
        }
    }
}

/// Administrative state of a worker, set by the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// It gets new sessions.
    #[default]
    Ready,
    /// It gets no new sessions; those that it has go on.
    Drain,
    /// It is out of service: it gets no new sessions, and its absence is no fault.
    Maint,
}

impl AdminState {
    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maint => "maint",
        }
    }
}

/// The dispatcher itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DispatcherLoad {
    /// Its process.
    pub pid: u32,
    /// Seconds since its start.
    #[serde(serialize_with = "rounded")]
    pub uptime_s: f64,
    /// Messages read from the well-known sockets, retransmissions included.
    pub received: u64,
    /// Messages handed to a worker by selection, table or group.
    pub handed_over: u64,
    /// Messages of a dialog handed to the worker that has the dialog.
    pub relayed: u64,
    /// Messages the dispatcher answered itself.
    pub replied: u64,
    /// Messages dropped without an answer.
    pub dropped: u64,
    /// Entries in the table of recent messages.
    pub table_entries: u64,
    /// Datagrams the kernel dropped because a receive buffer was full.
    pub rx_overflow: u64,
    /// Calls whose dialog stays at the well-known port: each message of such a dialog passes through the dispatcher.
    #[serde(default)]
    pub pinned: u64,
    /// Stream connections that are open.
    #[serde(default)]
    pub connections: u64,
    /// The parts of `received`, by the transport that the messages came over.
    #[serde(default)]
    pub transports: ByTransport,
    /// Requests forwarded to downstream proxies.
    #[serde(default)]
    pub forwarded: u64,
    /// Responses of downstream proxies that were forwarded, or given to the prober.
    #[serde(default)]
    pub responses: u64,
}

/// The reply to `counters`: every total by reason, and the figures of sockets and links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages read, by the reason of the decision: the sum of the next six.
    pub received: Total,
    /// Messages handed to a worker, by the way that the worker was found.
    pub handed_over: Total,
    /// Requests forwarded to downstream proxies, by the way that the proxy was found.
    #[serde(default)]
    pub forwarded: Total,
    /// Responses of downstream proxies, by what has become of them: forwarded, or given to the prober.
    #[serde(default)]
    pub responses: Total,
    /// Messages of a dialog handed to the worker that has the dialog, by the way that the worker was found.
    pub relayed: Total,
    /// Messages the dispatcher answered itself, by the reason of the answer.
    pub replied: Total,
    /// Messages dropped without an answer, by the reason.
    pub dropped: Total,
    /// Messages that workers refused, by their reason; most went to another worker.
    pub refused: Total,
    /// Messages that came back from a worker, refused or found unanswered after its death, by the reason of the
    /// decision made then.
    #[serde(default)]
    pub returned: Total,
    /// Messages to the ports of slots without a worker, by the reason of the decision.
    #[serde(default)]
    pub vacant: Total,
    /// Probes of downstream proxies, by their ends.
    #[serde(default)]
    pub probes: Total,
    /// The table of recent messages.
    pub table: TableCounters,
    /// The conferences, and the calls of MGCP call agents, whose worker is known.
    #[serde(default)]
    pub conferences: TableCounters,
    /// The well-known sockets.
    pub listeners: Vec<ListenerCounters>,
    /// The links to the workers.
    pub links: Vec<LinkCounters>,
    /// Stream connections.
    #[serde(default)]
    pub connections: ConnectionCounters,
}

impl Counters {
    /// The counts of two lanes together. Both read the same sockets. Connections are not among them.
    pub fn plus(mut self, other: Counters) -> Counters {
        let Counters { received, handed_over, forwarded, responses, relayed, replied, dropped, .. } = other;
        let Counters { refused, returned, vacant, probes, table, conferences, listeners, links, .. } = other;
        let totals = [
            (&mut self.received, received),
            (&mut self.handed_over, handed_over),
            (&mut self.forwarded, forwarded),
            (&mut self.responses, responses),
            (&mut self.relayed, relayed),
            (&mut self.replied, replied),
            (&mut self.dropped, dropped),
            (&mut self.refused, refused),
            (&mut self.returned, returned),
            (&mut self.vacant, vacant),
        ];
        for (own, other) in totals {
            other.reasons.into_iter().for_each(|(reason, count)| own.add(reason, count));
        }
        // Every lane is told of each probe.
        if probes.total > self.probes.total {
            self.probes = probes;
        }
        self.table.entries += table.entries;
        self.table.cap += table.cap;
        self.table.unrecorded += table.unrecorded;
        // A worker tells every lane of each conference.
        self.conferences.entries = self.conferences.entries.max(conferences.entries);
        self.conferences.cap = self.conferences.cap.max(conferences.cap);
        self.conferences.unrecorded = self.conferences.unrecorded.max(conferences.unrecorded);
        for (own, other) in self.listeners.iter_mut().zip(listeners) {
            own.received += other.received;
        }
        self.links.extend(links);
        self
    }
}

/// A count and its parts; the parts add up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// The sum.
    pub total: u64,
    /// The parts, by reason, those that are 0 included.
    pub reasons: BTreeMap<Cow<'static, str>, u64>,
}

impl Total {
    /// Adds a part.
    pub fn add(&mut self, reason: impl Into<Cow<'static, str>>, count: u64) {
        self.total += count;
        *self.reasons.entry(reason.into()).or_default() += count;
    }
}

impl<R: Into<Cow<'static, str>>> FromIterator<(R, u64)> for Total {
    fn from_iter<I: IntoIterator<Item = (R, u64)>>(parts: I) -> Self {
        let mut total = Total::default();
        parts.into_iter().for_each(|(reason, count)| total.add(reason, count));
        total
    }
}

/// A table of what has been placed: recent messages, or conferences.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounters {
    /// Entries in it.
    pub entries: u64,
    /// Most entries it can hold.
    pub cap: u64,
    /// Requests or conferences without an entry because it was full.
    pub unrecorded: u64,
}

/// A well-known socket. One that takes connections has no buffers of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerCounters {
    /// Its address.
    pub address: SocketAddr,
    /// Messages read from it.
    pub received: u64,
    /// Datagrams the kernel dropped because its buffer was full.
    pub rx_overflow: u64,
    /// Bytes of its receive buffer, as granted.
    pub receive_buffer: u64,
    /// Bytes of its send buffer, as granted.
    pub send_buffer: u64,
    /// Its transport: `udp`, `mgcp`, `tcp`, `tls`, `ws` or `wss`.
    #[serde(default)]
    pub transport: Cow<'static, str>,
    /// Connections that it has accepted and that are open; 0 where it takes datagrams.
    #[serde(default)]
    pub connections: u64,
    /// Connections accepted at it; 0 where it takes datagrams.
    #[serde(default)]
    pub accepted: u64,
}

/// The link to a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// The worker's name.
    pub worker: String,
    /// Frames written.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of messages that wait for their answer.
    pub retained_bytes: u64,
    /// Most bytes it keeps.
    pub retention: u64,
}

/// The reply to `explain`: the decisions about the messages of one call, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The Call-ID asked for.
    pub call_id: String,
    /// The decisions that are remembered; empty if there are none (any more).
    pub decisions: Vec<Decided>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Milliseconds since the decision.
    pub age_ms: u64,
    /// The method or verb; `response` for a response, empty if it cannot be told.
    #[serde(default)]
    pub method: Cow<'static, str>,
    /// The action taken.
    pub action: Action,
    /// The worker that got it; null if no worker did, or all of them.
    pub worker: Option<String>,
    /// The downstream proxy that got it or sent it; null if there is none.
    #[serde(default)]
    pub proxy: Option<String>,
    /// The sender of a message that was forwarded; null for others.
    #[serde(default)]
    pub sent_by: Option<Sender>,
    /// The weight of that proxy when it was chosen; 0 if it was not chosen for this message.
    #[serde(default)]
    pub weight: u16,
    /// Milliseconds until the first response of that proxy that travelled on, or until another proxy got the request;
    /// null if there was neither, or the proxy was not chosen for this message.
    #[serde(default)]
    pub ms: Option<u64>,
    /// The status or return code of the dispatcher's answer. 0 if it gave none, or repeated the merged answer of all
    /// workers.
    pub status: u16,
    /// The reason, as in `counters`.
    pub reason: Cow<'static, str>,
    /// Units it counted as; 0 if it opened no session.
    pub size: u32,
    /// The transport that it came over: `udp`, `tcp`, `tls`, `ws` or `wss`.
    #[serde(default)]
    pub transport: Cow<'static, str>,
    /// The number of the connection that it came on; null if it came in a datagram.
    #[serde(default)]
    pub connection: Option<u64>,
    /// Whether its dialog stays on the well-known port.
    pub pinned: bool,
    /// The reason why the dialog is pinned: `pinned-sources`, `websocket` or `listener`; null if it is not.
    #[serde(default)]
    pub pinned_by: Option<Cow<'static, str>>,
    /// The status of the final response by the worker that got the message; 0 if it is not known.
    #[serde(default)]
    pub final_status: u16,
    /// The fault of the message, or its worker's reason to refuse it, in words; empty if there is neither.
    #[serde(default)]
    pub why: String,
}

/// An action that the dispatcher can take on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Given to a worker by selection, table or group.
    HandedOver,
    /// Given to the worker that has its dialog.
    Relayed,
    /// A request, forwarded to a downstream proxy, or from one to the caller of its dialog.
    Forwarded,
    /// A request under way that no other downstream proxy gets: it stays with the one that has it.
    Stays,
    /// A response, forwarded to the sender of its request.
    Response,
    /// Answered by the dispatcher.
    Replied,
    /// Dropped.
    Dropped,
}

/// The sender of a message that was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// The caller.
    Caller,
    /// The downstream proxy.
    Proxy,
    /// Neither: a request that is forwarded as those of the proxy are, and does not come from the proxy.
    Other,
}

/// Four digits after the point are enough. A value that is not a number is shown as 0, never as null.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let value = if value.is_finite() { (value * 10_000.0).round() / 10_000.0 } else { 0.0 };
    serializer.serialize_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Transport;

    #[test]
    fn load_has_the_documented_fields_in_the_documented_order() {
        let worker = WorkerLoad {
            name: "w0".into(),
            pid: Some(4711),
            state: State::Up,
            address: "192.0.2.10".parse().unwrap(),
            port: 5070,
            units_used: 17,
            units_total: 1000,
            ledger: 1,
            load: WorkerLoad::share(17, 1, 1000),
            sessions: 12,
            cpu: 0.04,
            handoffs: 1234,
            report_age_ms: 87,
            ..WorkerLoad::default()
        };
        let mut transports = ByTransport::default();
        transports.count(Transport::Tls);
        let dispatcher =
            DispatcherLoad { pid: 4700, uptime_s: 12.5, received: 1, connections: 3, transports, ..Default::default() };
        let snapshot = Snapshot { workers: vec![worker], dispatcher, ..Snapshot::default() };
        assert_eq!(
            serde_json::to_string(&snapshot).unwrap(),
            "{\"workers\":[{\"name\":\"w0\",\"pid\":4711,\"state\":\"up\",\"admin\":\"ready\",\"address\":\"192.0.2.10\",\
             \"port\":5070,\"units_used\":17,\"units_total\":1000,\"ledger\":1,\"load\":0.018,\"sessions\":12,\
             \"cpu\":0.04,\"handoffs\":1234,\"refused\":0,\"restarts\":0,\"report_age_ms\":87}],\
             \"dispatcher\":{\"pid\":4700,\"uptime_s\":12.5,\"received\":1,\"handed_over\":0,\"relayed\":0,\
             \"replied\":0,\"dropped\":0,\"table_entries\":0,\"rx_overflow\":0,\"pinned\":0,\"connections\":3,\
             \"transports\":{\"udp\":0,\"tcp\":0,\"tls\":1,\"ws\":0,\"wss\":0,\"mgcp\":0},\"forwarded\":0,\"responses\":0},\
             \"proxies\":[],\"pools\":[]}"
        );
        let read: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot).unwrap()).unwrap();
        assert_eq!(read, snapshot);
    }

    #[test]
    fn a_worker_that_is_down_has_a_null_pid_and_no_other_null() {
        let worker = WorkerLoad { cpu: f64::NAN, load: WorkerLoad::share(5, 5, 0), ..WorkerLoad::default() };
        let json = serde_json::to_value(&worker).unwrap();
        let nulls: Vec<&String> =
            json.as_object().unwrap().iter().filter(|(_, v)| v.is_null()).map(|(k, _)| k).collect();
        assert_eq!(nulls, ["pid"]);
        assert_eq!((json["cpu"].as_f64(), json["load"].as_f64()), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_total_is_the_sum_of_its_reasons() {
        let mut total = Total::from_iter([("selected", 3), ("no-room", 0)]);
        total.add("selected", 2);
        assert_eq!(serde_json::to_string(&total).unwrap(), r#"{"total":5,"reasons":{"no-room":0,"selected":5}}"#);
    }

    #[test]
    fn a_field_of_a_newer_version_is_passed_over() {
        let mut json = serde_json::to_value(Snapshot::default()).unwrap();
        json["dispatcher"]["lanes"] = 4.into();
        assert_eq!(serde_json::from_value::<Snapshot>(json).unwrap(), Snapshot::default());
    }
}
