//! The protocol of the stats socket: a line in, a JSON object on one line out.
//!
//! A request is a word with its argument (`drain w2`) or a JSON object (`{"command":"drain","worker":"w2"}`); an empty
//! line asks for `load`. A reply that is an error is `{"error":"…"}`; nothing else has that field. Fields may be added
//! to replies; none is renamed or removed.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Change, Changed};
use crate::dispatch::targets::proxies::PoolRow;
use crate::dispatch::targets::proxy::Row;
use crate::ids::{NotAWorkerName, WorkerId};
use crate::server::stats::connections::{Connection, Connections};
use crate::server::stats::{AdminState, Counters, Explained, Snapshot, WorkerLoad};

/// A request line longer than this is refused.
pub const LONGEST_LINE: usize = 4096;

/// A request of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Workers and dispatcher, now.
    Load,
    /// The workers only.
    Workers,
    /// Downstream proxies and their pools.
    Proxies,
    /// Every total by reason.
    Counters,
    /// Stream connections that are open, by listener and source; with a number, that one.
    Connections {
        /// The connection's number, as `explain` shows it.
        number: Option<u64>,
    },
    /// `load` once a second until the connection is closed.
    Watch,
    /// Gives a worker another administrative state: `ready w2`, `drain w2`, `maint w2`.
    Set {
        /// The worker.
        worker: WorkerId,
        /// Its state from now on.
        admin: AdminState,
    },
    /// Gives a downstream proxy another administrative state: `drain fs1`. An address of it alone is `fs1/ADDR:PORT`.
    SetProxy {
        /// The proxy.
        proxy: String,
        /// Its state from now on.
        admin: AdminState,
    },
    /// Gives a downstream proxy another handicap until the settings change it: `handicap fs1 50`.
    Handicap {
        /// The proxy.
        proxy: String,
        /// Its handicap from now on, 1 to 1000.
        handicap: u16,
    },
    /// Forgets a dead worker that was not started by the dispatcher: it is no longer reported as missing.
    Forget {
        /// The worker.
        worker: WorkerId,
    },
    /// Decisions about a call.
    Explain {
        /// Its Call-ID.
        call_id: String,
    },
    /// Reads the configuration file again.
    Reload,
}

/// The commands, as they are listed in the reply to an unknown one.
pub const COMMANDS: [&str; 13] = [
    "load",
    "workers",
    "proxies",
    "counters",
    "connections [NUMBER]",
    "watch",
    "drain NAME",
    "ready NAME",
    "maint NAME",
    "handicap PROXY N",
    "forget WORKER",
    "explain CALL-ID",
    "reload",
];

impl Command {
    /// Reads a request line, with or without its line end.
    ///
    /// # Errors
    /// A line that is not a command; the error says which commands there are.
    pub fn parse(line: &[u8]) -> Result<Command, NotACommand> {
        if line.len() > LONGEST_LINE {
            return Err(NotACommand::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| NotACommand::NotText)?.trim();
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(NotACommand::NotText);
        }
        if text.starts_with('{') {
            let request: Request =
                serde_json::from_str(text).map_err(|error| NotACommand::Json(plain(&error.to_string())))?;
            return request.command();
        }
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = Some(rest.trim()).filter(|rest| !rest.is_empty());
        match word {
            "" => Ok(Command::Load),
            "explain" => Command::of(word, None, rest),
            "connections" => Ok(Command::Connections { number: rest.map(number).transpose()? }),
            "handicap" => {
                let (proxy, number) = rest.and_then(|rest| rest.split_once(char::is_whitespace)).unwrap_or_default();
                Command::handicap(proxy, number.trim().parse().ok())
            }
            _ => Command::of(word, rest, None),
        }
    }

    /// The request line for the command, without its end.
    pub fn to_line(&self) -> String {
        let mut request = Request { command: self.word().to_owned(), ..Request::default() };
        match self {
            Command::Set { worker, .. } | Command::Forget { worker } => request.worker = Some(worker.to_string()),
            Command::SetProxy { proxy, .. } => request.proxy = Some(proxy.clone()),
            Command::Handicap { proxy, handicap } => {
                (request.proxy, request.handicap) = (Some(proxy.clone()), Some(*handicap));
            }
            Command::Explain { call_id } => request.call_id = Some(call_id.clone()),
            Command::Connections { number } => request.connection = *number,
            _ => {}
        }
        // Texts and a number always make a JSON object.
        serde_json::to_string(&request).unwrap_or_default()
    }

    /// Whether the command changes nothing.
    pub const fn is_read_only(&self) -> bool {
        match self {
            Command::Load | Command::Workers | Command::Proxies | Command::Counters | Command::Watch => true,
            Command::Connections { .. } | Command::Explain { .. } => true,
            Command::Set { .. } | Command::Forget { .. } | Command::Reload => false,
            Command::SetProxy { .. } | Command::Handicap { .. } => false,
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Command::Load => "load",
            Command::Workers => "workers",
            Command::Proxies => "proxies",
            Command::Handicap { .. } => "handicap",
            Command::Counters => "counters",
            Command::Connections { .. } => "connections",
            Command::Watch => "watch",
            Command::Set { admin, .. } | Command::SetProxy { admin, .. } => admin.label(),
            Command::Forget { .. } => "forget",
            Command::Explain { .. } => "explain",
            Command::Reload => "reload",
        }
    }

    /// The command that gives a worker or a downstream proxy another administrative state.
    ///
    /// # Errors
    /// The name is neither a worker's nor a proxy's.
    pub fn set(name: &str, admin: AdminState) -> Result<Command, NotACommand> {
        match name.parse() {
            Ok(worker) => Ok(Command::Set { worker, admin }),
            Err(error) => {
                is_proxy(name).then(|| Command::SetProxy { proxy: name.to_owned(), admin }).ok_or(error.into())
            }
        }
    }

    /// The command that gives a downstream proxy another handicap.
    ///
    /// # Errors
    /// The name is not a proxy's, or the number is missing or out of range.
    pub fn handicap(proxy: &str, handicap: Option<u16>) -> Result<Command, NotACommand> {
        let handicap = handicap.filter(|handicap| (1..=1000).contains(handicap)).ok_or(NotACommand::NoHandicap)?;
        is_proxy(proxy).then(|| Command::Handicap { proxy: proxy.to_owned(), handicap }).ok_or(NotACommand::NoHandicap)
    }

    fn of(word: &str, worker: Option<&str>, call_id: Option<&str>) -> Result<Command, NotACommand> {
        let set = |admin: AdminState| -> Result<Command, NotACommand> {
            let name = worker.ok_or(NotACommand::NoName(admin.label()))?;
            Command::set(name, admin)
        };
        let command = match word {
            "load" => Command::Load,
            "workers" => Command::Workers,
            "proxies" => Command::Proxies,
            "counters" => Command::Counters,
            "connections" => Command::Connections { number: None },
            "watch" => Command::Watch,
            "reload" => Command::Reload,
            "drain" => set(AdminState::Drain)?,
            "ready" => set(AdminState::Ready)?,
            "maint" => set(AdminState::Maint)?,
            "forget" => Command::Forget { worker: worker.ok_or(NotACommand::NoWorker("forget"))?.parse()? },
            "explain" => Command::Explain { call_id: call_id.ok_or(NotACommand::NoCallId)?.to_owned() },
            _ => return Err(NotACommand::Unknown(word.chars().take(40).collect())),
        };
        let takes_worker = matches!(command, Command::Set { .. } | Command::SetProxy { .. } | Command::Forget { .. });
        let takes_call = matches!(command, Command::Explain { .. });
        if (worker.is_some() && !takes_worker) || (call_id.is_some() && !takes_call) {
            return Err(NotACommand::Argument(command.word()));
        }
        Ok(command)
    }
}

/// A request as a JSON object.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handicap: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<u64>,
}

impl Request {
    fn command(&self) -> Result<Command, NotACommand> {
        if self.command == "handicap" {
            return Command::handicap(self.proxy.as_deref().unwrap_or_default(), self.handicap);
        }
        if self.worker.is_some() && self.proxy.is_some() {
            return Err(NotACommand::TwoNames);
        }
        let name = self.worker.as_deref().or(self.proxy.as_deref());
        let command = Command::of(&self.command, name, self.call_id.as_deref())?;
        match (command, self.connection) {
            (Command::Connections { .. }, number) => Ok(Command::Connections { number }),
            (command, None) => Ok(command),
            (command, Some(_)) => Err(NotACommand::Argument(command.word())),
        }
    }
}

/// Whether it can be the name of a downstream proxy, or of one of its addresses.
fn is_proxy(name: &str) -> bool {
    let (entry, address) = name.split_once('/').map_or((name, None), |(entry, address)| (entry, Some(address)));
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&entry.len())
        && entry.bytes().all(is_part)
        && address.is_none_or(|address| address.parse::<SocketAddr>().is_ok())
}

/// The fault of a JSON text without words of the language that reads it.
fn plain(fault: &str) -> String {
    ["u16", "u64"].iter().fold(fault.to_owned(), |fault, name| {
        fault
            .replace(&format!("expected {name}"), "expected a whole number")
            .replace("expected struct Request", "expected an object")
    })
}

/// Reads the number of a connection.
fn number(text: &str) -> Result<u64, NotACommand> {
    text.parse().map_err(|_| NotACommand::NoNumber(text.chars().take(40).collect()))
}

/// A line that is not a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACommand {
    /// Longer than [`LONGEST_LINE`].
    #[error("the line is longer than {LONGEST_LINE} bytes")]
    TooLong,
    /// Not UTF-8, or with control characters.
    #[error("the line is not text")]
    NotText,
    /// A `{` that does not begin a valid request.
    #[error("not a request: {0}")]
    Json(String),
    /// An unknown word.
    #[error("no such command: `{0}`")]
    Unknown(String),
    /// The name is missing.
    #[error("`{0}` needs the name of a worker, such as w2, or of a proxy")]
    NoName(&'static str),
    /// Both a worker and a proxy are named.
    #[error("a request names a worker or a proxy, not both")]
    TwoNames,
    /// Name or number are missing.
    #[error("`handicap` needs a proxy's name and a number, 1 to 1000")]
    NoHandicap,
    /// The worker's name is missing.
    #[error("`{0}` needs a worker's name, such as w2")]
    NoWorker(&'static str),
    /// The argument is not a worker's name.
    #[error(transparent)]
    Worker(#[from] NotAWorkerName),
    /// The Call-ID is missing.
    #[error("`explain` needs a Call-ID")]
    NoCallId,
    /// The argument is not a number.
    #[error("`{0}` is not the number of a connection; `explain` shows it")]
    NoNumber(String),
    /// An argument that the command does not take.
    #[error("`{0}` takes no such argument")]
    Argument(&'static str),
}

impl NotACommand {
    /// Whether the peer speaks another protocol: it gets this error and is closed.
    pub const fn is_garbage(&self) -> bool {
        matches!(self, NotACommand::TooLong | NotACommand::NotText)
    }
}

/// A reply of the dispatcher.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `load` and, once a second, to `watch`.
    Load(Snapshot),
    /// To `workers`.
    Workers {
        /// One for each slot.
        workers: Vec<WorkerLoad>,
    },
    /// To `counters`.
    Counters(Box<Counters>),
    /// To `connections`.
    Connections(Connections),
    /// To `connections` with a number.
    Connection(Connection),
    /// To `ready`, `drain` and `maint`.
    Set {
        /// The worker's name.
        worker: String,
        /// Its state now.
        admin: AdminState,
    },
    /// To `proxies`.
    Proxies {
        /// One for each proxy.
        proxies: Vec<Row>,
        /// One for each pool of them.
        pools: Vec<PoolRow>,
    },
    /// To `ready`, `drain` and `maint` of a proxy.
    SetProxy {
        /// The proxy's name.
        proxy: String,
        /// Its state now.
        admin: AdminState,
    },
    /// To `handicap`.
    Handicap {
        /// The proxy's name.
        proxy: String,
        /// Its handicap now.
        handicap: u16,
    },
    /// To `forget`.
    Forgotten {
        /// The worker's name.
        worker: String,
        /// Always true.
        forgotten: bool,
    },
    /// To `explain`.
    Explain(Explained),
    /// To `reload`: the changes; an empty list if nothing changed.
    Reloaded {
        /// The keys that changed.
        changed: Vec<Changed>,
    },
    /// To a request that could not be carried out; nothing has been changed.
    Error {
        /// The fault, and the remedy.
        error: String,
        /// The commands that exist, if the request named none of them; else left out.
        #[serde(skip_serializing_if = "<[&str]>::is_empty")]
        commands: &'static [&'static str],
    },
}

impl Reply {
    /// An error, in plain words.
    pub fn error(error: impl std::fmt::Display) -> Self {
        Reply::Error { error: error.to_string(), commands: &[] }
    }

    /// The reply to a worker's name that no slot has.
    pub fn no_such_worker(worker: WorkerId, workers: usize) -> Self {
        match workers {
            0 => Reply::error(format_args!("there is no worker {worker}: none is started by the dispatcher")),
            1 => Reply::error(format_args!("there is no worker {worker}: w0 is the only one")),
            _ => Reply::error(format_args!("there is no worker {worker}: there are {workers}, the first is w0")),
        }
    }

    /// The reply line, with its end.
    pub fn to_line(&self) -> String {
        let line = serde_json::to_string(self);
        // Plain structs with text keys always make an object.
        let mut line = line.unwrap_or_else(|_| r#"{"error":"the reply could not be written"}"#.to_owned());
        line.push('\n');
        line
    }
}

impl From<NotACommand> for Reply {
    fn from(fault: NotACommand) -> Self {
        let commands: &[&str] = match fault {
            NotACommand::Worker(_) | NotACommand::NoNumber(_) => &[],
            _ => &COMMANDS,
        };
        Reply::Error { error: fault.to_string(), commands }
    }
}

impl From<Change> for Reply {
    fn from(change: Change) -> Self {
        Reply::Reloaded { changed: change.keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, NotACommand> {
        Command::parse(line.as_bytes())
    }

    fn set(worker: u16, admin: AdminState) -> Command {
        Command::Set { worker: WorkerId(worker), admin }
    }

    #[test]
    fn words_and_json_objects_mean_the_same() {
        let call_id = "a84b4c76e66710@pc33.atlanta.com".to_owned();
        let cases = [
            ("load", r#"{"command":"load"}"#, Command::Load),
            ("workers", r#"{"command":"workers"}"#, Command::Workers),
            ("counters", r#"{"command":"counters"}"#, Command::Counters),
            ("connections", r#"{"command":"connections"}"#, Command::Connections { number: None }),
            (
                "connections 549755813895",
                r#"{"command":"connections","connection":549755813895}"#,
                Command::Connections { number: Some(549_755_813_895) },
            ),
            ("watch", r#"{"command":"watch"}"#, Command::Watch),
            ("drain w2", r#"{"command":"drain","worker":"w2"}"#, set(2, AdminState::Drain)),
            ("ready w0", r#"{"worker":"w0","command":"ready"}"#, set(0, AdminState::Ready)),
            ("maint w10", r#"{"command":"maint","worker":"w10"}"#, set(10, AdminState::Maint)),
            ("proxies", r#"{"command":"proxies"}"#, Command::Proxies),
            (
                "drain fs1/192.0.2.4:5060",
                r#"{"command":"drain","proxy":"fs1/192.0.2.4:5060"}"#,
                Command::SetProxy { proxy: "fs1/192.0.2.4:5060".into(), admin: AdminState::Drain },
            ),
            (
                "handicap fs1  50",
                r#"{"command":"handicap","proxy":"fs1","handicap":50}"#,
                Command::Handicap { proxy: "fs1".into(), handicap: 50 },
            ),
            ("forget w4", r#"{"command":"forget","worker":"w4"}"#, Command::Forget { worker: WorkerId(4) }),
            (
                "explain a84b4c76e66710@pc33.atlanta.com",
                r#"{"command":"explain","call_id":"a84b4c76e66710@pc33.atlanta.com"}"#,
                Command::Explain { call_id },
            ),
            ("reload", r#"{"command":"reload"}"#, Command::Reload),
        ];
        for (word, json, command) in cases {
            assert_eq!(parse(word), Ok(command.clone()));
            assert_eq!(parse(json), Ok(command.clone()));
            assert_eq!(parse(&command.to_line()), Ok(command));
        }
    }

    #[test]
    fn an_empty_line_asks_for_load_and_blanks_do_not_matter() {
        for line in ["", "\n", "\r\n", "  \n", "load\n", " load\r\n", "\tload"] {
            assert_eq!(parse(line), Ok(Command::Load), "{line:?}");
        }
        assert_eq!(parse("drain   w2 \r\n"), Ok(set(2, AdminState::Drain)));
        assert_eq!(parse("explain a b"), Ok(Command::Explain { call_id: "a b".into() }));
    }

    #[test]
    fn each_line_that_is_no_command_says_why() {
        assert_eq!(parse("laod"), Err(NotACommand::Unknown("laod".into())));
        assert_eq!(parse("LOAD"), Err(NotACommand::Unknown("LOAD".into())));
        assert_eq!(parse("drain"), Err(NotACommand::NoName("drain")));
        assert_eq!(parse(r#"{"command":"drain","worker":"w0","proxy":"fs1"}"#), Err(NotACommand::TwoNames));
        assert_eq!(parse("drain Worker2"), Err(NotACommand::Worker(NotAWorkerName("Worker2".into()))));
        for line in
            ["handicap", "handicap fs1", "handicap fs1 0", "handicap fs1 1001", "handicap FS 5", "handicap fs1 -5"]
        {
            assert_eq!(parse(line), Err(NotACommand::NoHandicap), "{line}");
        }
        assert_eq!(parse("explain"), Err(NotACommand::NoCallId));
        assert_eq!(parse("load w2"), Err(NotACommand::Argument("load")));
        assert_eq!(parse(r#"{"command":"watch","worker":"w2"}"#), Err(NotACommand::Argument("watch")));
        assert_eq!(parse("connections w2"), Err(NotACommand::NoNumber("w2".into())));
        assert_eq!(parse("connections -1"), Err(NotACommand::NoNumber("-1".into())));
        assert_eq!(parse(r#"{"command":"load","connection":7}"#), Err(NotACommand::Argument("load")));
        assert!(matches!(parse(r#"{"command":"load""#), Err(NotACommand::Json(_))));
        assert!(matches!(parse(r#"{"command":"load","x":1}"#), Err(NotACommand::Json(_))));
        assert!(matches!(parse(r#"{"command":5}"#), Err(NotACommand::Json(_))));
        let fault = parse(r#"{"command":"connections","connection":"x"}"#).unwrap_err().to_string();
        assert!(fault.contains("expected a whole number"), "{fault}");
        assert_eq!(Command::parse(&[b'x'; LONGEST_LINE + 1]), Err(NotACommand::TooLong));
        assert_eq!(Command::parse(b"\xff\xfe"), Err(NotACommand::NotText));
        assert_eq!(Command::parse(b"load\0"), Err(NotACommand::NotText));
        assert_eq!(parse("GET / HTTP/1.1"), Err(NotACommand::Unknown("GET".into())));
    }

    #[test]
    fn an_unknown_command_is_answered_with_the_commands_there_are() {
        let line = Reply::from(NotACommand::Unknown("laod".into())).to_line();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["error"], "no such command: `laod`");
        assert_eq!(json["commands"].as_array().unwrap().len(), COMMANDS.len());
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        let error = Reply::no_such_worker(WorkerId(9), 4).to_line();
        assert_eq!(error, "{\"error\":\"there is no worker w9: there are 4, the first is w0\"}\n");
        let error = Reply::no_such_worker(WorkerId(9), 0).to_line();
        assert_eq!(error, "{\"error\":\"there is no worker w9: none is started by the dispatcher\"}\n");
    }

    #[test]
    fn replies_are_one_line_of_json() {
        let reply = Reply::Set { worker: "w2".into(), admin: AdminState::Drain };
        assert_eq!(reply.to_line(), "{\"worker\":\"w2\",\"admin\":\"drain\"}\n");
        let changed = vec![Changed { key: "workers", from: "4".into(), to: "6".into() }];
        let reply = Reply::from(Change { keys: changed });
        assert_eq!(reply.to_line(), "{\"changed\":[{\"key\":\"workers\",\"from\":\"4\",\"to\":\"6\"}]}\n");
        let explained = Explained { call_id: "a\nb".into(), decisions: Vec::new() };
        assert_eq!(Reply::Explain(explained).to_line(), "{\"call_id\":\"a\\nb\",\"decisions\":[]}\n");
        assert!(Reply::Counters(Box::default()).to_line().starts_with(r#"{"received":{"total":0,"reasons":{}}"#));
    }

    #[test]
    fn no_line_makes_the_reader_panic() {
        for line in
            [&b"{"[..], b"{}", b"[]", b"\"", b"{\"command\":null}", "explain é\u{200b}".as_bytes(), b"drain w99999"]
        {
            let _ = Command::parse(line);
        }
        let deep = format!("{{\"command\":{}", "[".repeat(4000));
        assert!(parse(&deep).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_a_command_reads_back(bytes: Vec<u8>, call_id in "\\PC{1,40}") {
            if let Err(fault) = Command::parse(&bytes) {
                proptest::prop_assert_eq!(Reply::from(fault).to_line().matches('\n').count(), 1);
            }
            let command = Command::Explain { call_id };
            proptest::prop_assert_eq!(Command::parse(command.to_line().as_bytes()), Ok(command));
        }
    }
}
