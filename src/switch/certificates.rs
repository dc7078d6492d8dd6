//! The certificates of the workers' own ports: each worker of a slot gets them with its link, and all get new ones.

use std::fmt;
use std::sync::Arc;

use super::Switch;
use super::links::Channel;
use crate::ids::WorkerId;

/// The body of the record, empty if there is none, and the workers that have not got it.
#[derive(Default)]
pub(super) struct Certificates {
    body: Arc<[u8]>,
    untold: Vec<WorkerId>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body has private keys.
        f.debug_struct("Certificates").field("untold", &self.untold).finish_non_exhaustive()
    }
}

impl<C: Channel> Switch<C> {
    /// The certificates from now on, as the body of a record. Only workers of slots get them: they have private keys.
    pub fn set_certificates(&mut self, body: Arc<[u8]>) {
        if body == self.certificates.body {
            return;
        }
        self.certificates.body = body;
        let workers: Vec<WorkerId> = self.outbox.links.iter().map(|(worker, _)| worker).collect();
        workers.into_iter().for_each(|worker| self.owe_certificates(worker));
        self.tell_certificates();
    }

    /// A worker has to get the certificates.
    pub(super) fn owe_certificates(&mut self, worker: WorkerId) {
        if self.is_first() && usize::from(worker.0) < self.configured && !self.certificates.body.is_empty() {
            self.certificates.untold.push(worker);
        }
    }

    /// Tells the certificates to the workers that have not got them.
    pub(super) fn tell_certificates(&mut self) {
        let Switch { outbox, certificates: Certificates { body, untold }, .. } = self;
        untold.retain(|&worker| {
            let is_told = outbox.links.get_mut(worker).is_none_or(|link| link.front.push_certificates(body));
            outbox.links.touch(worker);
            !is_told
        });
    }
}
