//! The truth about MGCP connections, told by the call agents and the workers: the promises are checked against it.

use std::collections::{BTreeMap, BTreeSet};

use crate::text;

/// The shadow of all connections.
#[derive(Debug, Default)]
pub struct Connections {
    asked: BTreeMap<u32, Asked>,
    made: Vec<Made>,
    /// Deletions that a worker has carried out: they count once.
    carried_out: BTreeSet<(u64, u32)>,
}

/// A command of a call agent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub kind: Kind,
    pub call: String,
    pub size: u32,
    /// The endpoint that it names; `None` for a wildcard.
    pub endpoint: Option<String>,
}

/// The kind of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Create,
    Change,
    Delete,
    /// Deletes all of the call, wherever it is.
    Sweep,
    /// Asks for all endpoints.
    Audit,
}

impl Kind {
    pub const fn verb(self) -> &'static str {
        match self {
            Kind::Create => "CRCX",
            Kind::Change => "MDCX",
            Kind::Delete | Kind::Sweep => "DLCX",
            Kind::Audit => "AUEP",
        }
    }
}

/// A connection that a worker has made.
#[derive(Debug)]
struct Made {
    transaction: u32,
    life: u64,
    call: String,
    endpoint: String,
    connection: String,
    size: u32,
}

/// Facts about the lives of workers.
pub trait Lives {
    /// Whether it is alive.
    fn is_alive(&self, life: u64) -> bool;
    /// The life that a name of an endpoint names.
    fn named(&self, endpoint: &str) -> Option<u64>;
}

/// The change that an answer has made, and the promise that it breaks, if any.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Units more, or fewer, at the worker that has sent it.
    pub units: i64,
    pub broken: Option<String>,
}

impl Connections {
    /// A call agent sends a command for the first time.
    pub fn on_command(&mut self, transaction: u32, asked: Asked) {
        self.asked.insert(transaction, asked);
    }

    /// A final answer leaves a worker (`Some`) or the dispatcher. `excused`: tables were full, so that what belongs
    /// together may have been parted.
    pub fn on_answer(&mut self, sender: Option<u64>, answer: &str, excused: bool, lives: &dyn Lives) -> Verdict {
        let Some((code, id)) = text::returned(answer).filter(|(code, _)| *code >= 200) else {
            return Verdict::default();
        };
        let Some(asked) = self.asked.get(&id).cloned() else { return Verdict::default() };
        let is_good = (200..300).contains(&code);
        match (asked.kind, sender) {
            (Kind::Create, Some(life)) if is_good => self.on_made(id, life, &asked, answer, excused, lives),
            (Kind::Create, None) => {
                let has = |made: &&Made| made.transaction == id && lives.is_alive(made.life);
                let made = self.made.iter().find(has).filter(|_| !excused);
                broken(made.map(|made| format!("the dispatcher says {code} to {id}, which has made {made:?}")))
            }
            (Kind::Delete, Some(life)) if is_good => self.on_deleted(id, life, |made| {
                asked.endpoint.as_deref() == Some(&made.endpoint) && made.call == asked.call
            }),
            (Kind::Sweep, Some(life)) if is_good => self.on_deleted(id, life, |made| made.call == asked.call),
            (Kind::Change | Kind::Delete, sender) => {
                let named = asked.endpoint.as_deref().and_then(|endpoint| lives.named(endpoint));
                let stands = self.made.iter().any(|made| Some(made.endpoint.as_str()) == asked.endpoint.as_deref());
                let what = match sender {
                    None if named.is_some_and(|life| lives.is_alive(life)) && code >= 500 => Some("the dispatcher"),
                    Some(life) if named != Some(life) => Some("a worker that it is not for"),
                    Some(_) if stands && asked.kind == Kind::Change && code >= 500 => Some("its worker"),
                    _ => None,
                };
                broken(what.map(|who| format!("{who} says {code} to {id}: {asked:?}")))
            }
            _ => Verdict::default(),
        }
    }

    fn on_made(
        &mut self,
        id: u32,
        life: u64,
        asked: &Asked,
        answer: &str,
        excused: bool,
        lives: &dyn Lives,
    ) -> Verdict {
        let connection = text::header(answer, "I").unwrap_or_default().to_owned();
        if self.made.iter().any(|made| made.life == life && made.connection == connection)
            || self.carried_out.contains(&(life, id))
        {
            return Verdict::default();
        }
        let elsewhere = |made: &&Made| made.life != life && lives.is_alive(made.life) && !excused;
        let twice = self.made.iter().filter(elsewhere).find(|made| made.transaction == id);
        let apart = self.made.iter().filter(elsewhere).find(|made| made.call == asked.call);
        let what = twice.map(|made| format!("{id} makes a second connection beside {made:?}: {answer}"));
        let what = what.or_else(|| apart.map(|made| format!("{id} is parted from {made:?} of its call: {answer}")));
        self.carried_out.insert((life, id));
        self.made.push(Made {
            transaction: id,
            life,
            call: asked.call.clone(),
            endpoint: text::header(answer, "Z").unwrap_or_default().to_owned(),
            connection,
            size: asked.size,
        });
        Verdict { units: i64::from(asked.size), ..broken(what) }
    }

    fn on_deleted(&mut self, id: u32, life: u64, covers: impl Fn(&Made) -> bool) -> Verdict {
        if !self.carried_out.insert((life, id)) {
            return Verdict::default();
        }
        let mut units = 0;
        self.made.retain(|made| {
            let goes = made.life == life && covers(made);
            units -= if goes { i64::from(made.size) } else { 0 };
            !goes
        });
        Verdict { units, broken: None }
    }

    /// A worker is gone, and all that it had.
    pub fn on_death(&mut self, life: u64) {
        self.made.retain(|made| made.life != life);
    }

    /// A connection that stands.
    pub fn standing(&self) -> Option<String> {
        self.made.first().map(|made| format!("{made:?}"))
    }
}

fn broken(what: Option<String>) -> Verdict {
    Verdict { units: 0, broken: what }
}
