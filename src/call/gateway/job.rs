//! Commands that wait for the media, and their continuation once it has answered.

use std::collections::VecDeque;

use crate::call::gateway::Gateway;
use crate::call::gateway::create::Creation;
use crate::call::gateway::delete::Deletion;
use crate::call::gateway::exchange::{Ask, ConnectionKey, Flow, Output, Told};
use crate::call::gateway::lost::Loss;
use crate::call::gateway::modify::Modification;
use crate::slab::handle;
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::Field;

handle! {
    /// A command that waits.
    pub(super) struct JobKey;
}

/// The command or check that waits.
#[derive(Debug)]
pub(super) enum Job {
    Create(Box<Creation>),
    Modify(Box<Modification>),
    Delete(Deletion),
    /// An audit that waits for the counters of a connection.
    Audit(TransactionKey, ConnectionKey, Vec<Field>),
    /// A request that waits for the first packet of a connection.
    Listen(ConnectionKey),
    /// A connection that perhaps no call agent knows; its packets are counted.
    Doubt(ConnectionKey),
    /// A connection that is asked for its packets, as a sign of life.
    Silence(ConnectionKey),
    /// A connection that is measured.
    Measure(ConnectionKey),
    /// A connection that is lost.
    Lose(Box<Loss>),
}

/// Requests to the media that are not answered yet, in order. Each answer is for the oldest one of its connection.
pub(super) type MediaRequests = VecDeque<(ConnectionKey, Option<JobKey>)>;

impl Gateway {
    /// Takes the outcome of a media request, or the loss of a connection's media.
    pub fn on_media(&mut self, key: ConnectionKey, told: Told, now: Time) {
        if told == Told::Lost {
            return self.on_media_lost(key, now);
        }
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == key) else { return };
        let Some((_, Some(job))) = self.asked.remove(at) else { return };
        if let Some(Job::Delete(_)) = self.jobs.get(job) {
            return self.on_deleted(job, told, now);
        }
        match self.jobs.remove(job) {
            Some(Job::Create(creation)) => self.on_creating(*creation, key, told, now),
            Some(Job::Modify(modification)) => self.on_modified(*modification, told, now),
            Some(Job::Audit(transaction, connection, wanted)) => {
                let counters = if let Told::Counted(counters) = told { counters } else { Default::default() };
                self.answer_audit(transaction, connection, &wanted, Some(counters), now);
            }
            Some(Job::Listen(connection)) => self.on_counted(connection, told, now),
            Some(Job::Doubt(connection)) => self.on_doubt_counted(connection, told, now),
            Some(Job::Silence(connection)) => self.on_silence_counted(connection, told, now),
            Some(Job::Measure(connection)) => self.on_measured(connection, told, now),
            Some(Job::Lose(loss)) => self.on_lost_closed(&loss, told, now),
            Some(Job::Delete(_)) | None => {}
        }
    }

    /// Asks the media; a job waits for the answer.
    pub(super) fn ask(&mut self, key: ConnectionKey, ask: Ask, job: JobKey) {
        self.asked.push_back((key, Some(job)));
        self.outputs.push_back(Output::Media(key, ask));
    }

    /// Asks the media to close a connection; no job waits for the answer.
    pub(super) fn ask_close(&mut self, key: ConnectionKey) {
        self.asked.push_back((key, None));
        self.outputs.push_back(Output::Media(key, Ask::Close));
    }

    /// Asks the media to carry another flow, because another connection has changed; no job waits for the answer.
    pub(super) fn ask_change(&mut self, key: ConnectionKey, flow: Flow) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.flow = flow;
            self.asked.push_back((key, None));
            self.outputs.push_back(Output::Media(key, Ask::Change(flow)));
        }
    }
}
