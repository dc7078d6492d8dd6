//! The certificates of the workers' own ports: each worker of a slot gets them with its link, and all get new ones.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use super::Switch;
use super::links::Channel;
use crate::ids::WorkerId;
use crate::wire::handoff::{FrameBuilder, Record};

/// The content of the file, empty until it is known, and the workers that have not got it.
#[derive(Default)]
pub(super) struct Certificates {
    file: Arc<[u8]>,
    untold: Vec<WorkerId>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The file has private keys.
        f.debug_struct("Certificates").field("untold", &self.untold).finish_non_exhaustive()
    }
}

impl<C: Channel> Switch<C> {
    /// The certificates from now on, as the content of a file. Only workers of slots get them: it has private keys.
    pub fn set_certificates(&mut self, file: Arc<[u8]>) {
        if file == self.certificates.file {
            return;
        }
        self.certificates.file = file;
        let workers: Vec<WorkerId> = self.outbox.links.iter().map(|(worker, _)| worker).collect();
        workers.into_iter().for_each(|worker| self.owe_certificates(worker));
        self.tell_certificates();
    }

    /// A worker has to get the certificates.
    pub(super) fn owe_certificates(&mut self, worker: WorkerId) {
        if self.is_first() && usize::from(worker.0) < self.configured && !self.certificates.file.is_empty() {
            self.certificates.untold.push(worker);
        }
    }

    /// Tells the certificates to the workers that have not got them.
    pub(super) fn tell_certificates(&mut self) {
        let Switch { outbox, certificates: Certificates { file, untold }, .. } = self;
        if untold.is_empty() {
            return;
        }
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Certificates);
        let frame = [IoSlice::new(frame.bytes())];
        // A link that is broken is read to its end soon, and its worker is not there then.
        untold.retain(|&worker| {
            let link = outbox.links.get_mut(worker);
            link.is_some_and(|link| link.channel_mut().send_file(&frame, file).is_err())
        });
    }
}
