//! The way from a lane to the prober: answers to probes that have left from a well-known listener come back there, and
//! a lane reads them; names in requests of systems are looked up by the prober.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use mio::Waker;

use crate::dispatch::probed::{LookUp, ProbeAnswer};

/// A lane's end.
#[derive(Debug)]
pub struct Mailbox {
    mail: Sender<Mail>,
    waker: Arc<Waker>,
}

/// Something of a lane for the prober.
#[derive(Debug)]
pub(super) enum Mail {
    /// A response to a probe.
    Answer(ProbeAnswer),
    /// A name to look up.
    LookUp(LookUp),
}

/// Most of a lane that waits for the prober.
pub(super) const WAITING: usize = 256;

impl Mailbox {
    /// A mailbox whose owner `waker` wakes, and the owner's end of it.
    pub(super) fn new(waker: Arc<Waker>) -> (Self, Receiver<Mail>) {
        let (mail, receiver) = crossbeam_channel::bounded(WAITING);
        (Mailbox { mail, waker }, receiver)
    }

    /// Number of responses that it can take now. Only this lane fills it.
    pub fn room(&self) -> usize {
        WAITING - self.mail.len().min(WAITING)
    }

    /// Puts responses in, no more than there is room for.
    pub fn put(&self, answers: impl ExactSizeIterator<Item = ProbeAnswer>) {
        if answers.len() == 0 {
            return;
        }
        for answer in answers {
            // A prober that has ended has said why in the log.
            let _ = self.mail.try_send(Mail::Answer(answer));
        }
        let _ = self.waker.wake();
    }

    /// Asks for a name. Returns whether there is room for the question.
    pub fn ask(&self, look_up: &LookUp) -> bool {
        let is_asked = self.mail.try_send(Mail::LookUp(look_up.clone())).is_ok();
        let _ = self.waker.wake();
        is_asked
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
