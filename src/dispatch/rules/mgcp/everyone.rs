//! Commands for "all of" the endpoints: they go to every worker that may have some, and the answers are merged into
//! one.

use super::gathering::{Known, MOST_WORKERS};
use super::merge::{MOST, Merged, read};
use super::{Case, Dispatch};
use crate::dispatch::decision::{Arrival, Decision, Handoff, Reason, Target};
use crate::ids::{GatheringId, WorkerId};
use crate::time::Time;
use crate::transaction::name::mgcp::Names;
use crate::wire::mgcp::{Fault, Message, ReturnCode, parse, parts};

impl Dispatch {
    /// The next worker that is to have the command of a gathering. After the last one, the gathering waits for their
    /// answers.
    pub fn poll_everyone(&mut self, gathering: GatheringId, now: Time) -> Option<Handoff> {
        while let Some(worker) = self.gatherings.next_worker(gathering) {
            match self.follow(worker, Reason::Everyone, now).target {
                Target::Worker(handoff) => return Some(handoff),
                _ => self.gatherings.leave_out(gathering, worker, now),
            }
        }
        None
    }

    /// Takes a worker's answer to a gathering: a response, perhaps with notifications in front of it, which the worker
    /// sends again. An answer that cannot be read counts as none.
    pub fn on_gathered(&mut self, gathering: GatheringId, worker: WorkerId, bytes: &[u8], now: Time) {
        let mut is_read = false;
        for part in parts(bytes) {
            match parse(part) {
                Ok(Message::Response(response)) => {
                    is_read = true;
                    self.gatherings.on_answer(gathering, worker, &response, now);
                }
                Err(bad) if bad.is_response && matches!(bad.fault, Fault::TooManyParameters | Fault::TooLarge) => {
                    return self.gatherings.on_too_large(gathering, worker, now);
                }
                Ok(Message::Command(_)) | Err(_) => {}
            }
        }
        if !is_read {
            self.gatherings.leave_out(gathering, worker, now);
        }
    }

    /// The next gathering whose answer is ready to be sent: see [`Dispatch::gathered`].
    pub fn poll_gathered(&mut self) -> Option<GatheringId> {
        self.gatherings.poll_ready()
    }

    /// The merged answer of all workers, and the way on which the command came.
    pub fn gathered(&self, gathering: GatheringId) -> Option<(&[u8], &Arrival)> {
        self.gatherings.answer(gathering)
    }

    pub(super) fn everyone(&mut self, case: &Case<'_>) -> Decision {
        // A copy from another port is carried out again, which changes nothing.
        let name = Names::beside(case.arrival.source, case.request.transaction, &self.printer);
        match self.gatherings.find(name) {
            Some(Known::UnderWay) => {
                return self.answer(case, ReturnCode::EXECUTING.0, Reason::Gathering);
            }
            Some(Known::Answered(id)) => {
                return Decision { target: Target::Gathered(id), reason: Reason::AnsweredBefore };
            }
            Some(Known::AnsweredOften) => return Decision { target: Target::Drop, reason: Reason::AnsweredBefore },
            None => {}
        }
        if let Some(refusal) = self.turn_away(case) {
            return refusal;
        }
        let workers: Vec<WorkerId> =
            self.pool.iter().filter(|(_, slot)| slot.is_alive() && slot.services.mgcp).map(|(at, _)| at).collect();
        match *workers {
            [] => self.refuse(case, Reason::NoWorker),
            [worker] => self.follow_first(case, worker, Reason::Everyone),
            // If one of the workers cannot take it, an answer of the others would pass for the answer of all.
            _ if workers.iter().any(|worker| !self.pool.get(*worker).is_some_and(|slot| slot.room.takes_new())) => {
                self.refuse(case, Reason::HolderBusy)
            }
            _ if workers.len() > MOST_WORKERS || !self.gatherings.has_place(case.sender()) => {
                self.answer(case, ReturnCode::WILDCARD_TOO_COMPLICATED.0, Reason::TooManyGatherings)
            }
            _ => {
                let merged = Merged::new(case.request.command.extension(MOST).and_then(read));
                let named = (name, case.request.transaction);
                let id = self.gatherings.begin(named, case.arrival, (workers, merged), case.now);
                Decision { target: Target::Everyone(id), reason: Reason::Everyone }
            }
        }
    }
}
