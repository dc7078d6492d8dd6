//! The way of responses from a lane to the prober: answers to probes that have left from a well-known listener come
//! back there, and a lane reads them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use mio::Waker;

use crate::dispatch::probed::ProbeAnswer;

/// A lane's end.
#[derive(Debug)]
pub struct Mailbox {
    answers: Sender<ProbeAnswer>,
    waker: Arc<Waker>,
}

/// Most responses of a lane that wait for the prober.
pub(super) const WAITING: usize = 256;

impl Mailbox {
    /// A mailbox whose owner `waker` wakes, and the owner's end of it.
    pub(super) fn new(waker: Arc<Waker>) -> (Self, Receiver<ProbeAnswer>) {
        let (answers, receiver) = crossbeam_channel::bounded(WAITING);
        (Mailbox { answers, waker }, receiver)
    }

    /// Number of responses that it can take now. Only this lane fills it.
    pub fn room(&self) -> usize {
        WAITING - self.answers.len().min(WAITING)
    }

    /// Puts responses in, no more than there is room for.
    pub fn put(&self, answers: impl ExactSizeIterator<Item = ProbeAnswer>) {
        if answers.len() == 0 {
            return;
        }
        for answer in answers {
            // A prober that has ended has said why in the log.
            let _ = self.answers.try_send(answer);
        }
        let _ = self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn a_mailbox_that_is_not_read_takes_so_many_responses_and_then_none() {
        let poll = mio::Poll::new().unwrap();
        let (mailbox, owner) = Mailbox::new(Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap()));
        let answers = |count: usize| {
            let from = "192.0.2.21:5060".parse().unwrap();
            (0..count).map(move |at| ProbeAnswer { from, at: Time(at as u64), bytes: Box::default() })
        };
        let room = mailbox.room();
        assert!(room > 0);
        mailbox.put(answers(room));
        assert_eq!(mailbox.room(), 0);
        mailbox.put(answers(1));
        assert_eq!(owner.try_iter().count(), room);
        assert_eq!(mailbox.room(), room);
    }
}
