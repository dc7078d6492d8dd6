//! Requests to the media, and the continuation of the commands that waited for its answers.

use std::collections::VecDeque;

use crate::call::gateway::exchange::{Ask, ConnectionKey, Flow, Output, Told};
use crate::call::gateway::{Gateway, Job, JobKey};
use crate::time::Time;

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
            Some(Job::Audit(audit)) => {
                let counters = if let Told::Counted(counters) = told { counters } else { Default::default() };
                self.answer_audit(&audit, counters, now);
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
