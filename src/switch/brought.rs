//! Messages that workers of an earlier dispatcher brought with them: that dispatcher handed them over, and they have no
//! answer yet.
//!
//! The links' stores find messages by their sequence numbers, and these have none on a link of this dispatcher. A
//! message is dropped here when its final response has left. If its worker dies before that, it goes to the next
//! worker, like one that this dispatcher handed over. A caller that has heard ringing does not send its INVITE again
//! (RFC 3261 §17.1.1.2), so this is the only copy.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::dispatch::note::Note;
use crate::ids::{Seq, WorkerId};
use crate::pack::{Damaged, packed, saved};
use crate::time::Time;
use crate::words::HandedOver;

/// Messages that are not answered, by the worker that has come back with them.
#[derive(Debug, Default)]
pub struct BroughtMessages {
    by_worker: BTreeMap<WorkerId, OfWorker>,
}

/// The messages of one worker. They are kept in order, so that its death sorts nothing.
#[derive(Debug, Default)]
pub struct OfWorker {
    messages: BTreeMap<Key, HandedOver<Note>>,
    by_name: HashMap<[u8; 16], Key, FixedState>,
}

/// Key of a message: when it came in, its number, and its transaction, which tells two of one number apart.
type Key = (Time, Seq, [u8; 16]);

/// One message, as it is given to another dispatcher.
struct Given {
    worker: WorkerId,
    name: [u8; 16],
    message: HandedOver<Note>,
}

saved!(BroughtMessages by Vec<Given>: BroughtMessages::all, BroughtMessages::add_all);
packed!(Given { worker, name, message });

impl BroughtMessages {
    fn all(&self) -> Vec<Given> {
        let held = self.by_worker.iter().flat_map(|(worker, held)| held.messages.iter().map(move |it| (worker, it)));
        held.map(|(worker, ((_, _, name), message))| Given { worker: *worker, name: *name, message: message.clone() })
            .collect()
    }

    fn add_all(&mut self, all: Vec<Given>) -> Result<(), Damaged> {
        all.into_iter().for_each(|Given { worker, name, message }| self.add(worker, name, message));
        Ok(())
    }

    /// A worker has come back with a message.
    pub fn add(&mut self, worker: WorkerId, name: [u8; 16], message: HandedOver<Note>) {
        self.by_worker.entry(worker).or_default().add(name, message);
    }

    /// The final response to a transaction of a worker has left.
    pub fn on_released(&mut self, worker: WorkerId, name: [u8; 16]) {
        if let Some(held) = self.by_worker.get_mut(&worker) {
            held.on_released(name);
        }
    }

    /// A worker is gone: returns the messages that it had.
    pub fn on_link_lost(&mut self, worker: WorkerId) -> OfWorker {
        self.by_worker.remove(&worker).unwrap_or_default()
    }
}

impl OfWorker {
    fn add(&mut self, name: [u8; 16], message: HandedOver<Note>) {
        let place = (message.envelope.received, message.envelope.seq, name);
        if let Some(before) = self.by_name.insert(name, place) {
            self.messages.remove(&before);
        }
        self.messages.insert(place, message);
    }

    /// The final response to a transaction has left.
    pub fn on_released(&mut self, name: [u8; 16]) {
        if let Some(place) = self.by_name.remove(&name) {
            self.messages.remove(&place);
        }
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<HandedOver<Note>> {
        let ((_, _, name), message) = self.messages.pop_first()?;
        self.by_name.remove(&name);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Packed, Saved};
    use crate::words::Envelope;

    fn message(seq: u64) -> HandedOver<Note> {
        HandedOver { envelope: Envelope::plain(seq), note: Note::default(), payload: vec![b'x'], sent: true }
    }

    #[test]
    fn a_released_message_is_gone_and_the_others_come_back_in_order_also_after_a_takeover() {
        let mut back = BroughtMessages::default();
        for seq in [3, 1, 2, 4] {
            back.add(WorkerId(0), [seq as u8; 16], message(seq));
        }
        back.add(WorkerId(1), [9; 16], message(9));
        back.on_released(WorkerId(0), [2; 16]);
        back.on_released(WorkerId(0), [9; 16]);
        let mut bytes = Vec::new();
        back.save(&mut bytes);
        let mut back = BroughtMessages::default();
        back.restore(&mut Packed::new(&bytes)).unwrap();
        let seqs = |mut lost: OfWorker| {
            std::iter::from_fn(|| lost.pop()).map(|message| message.envelope.seq.0).collect::<Vec<_>>()
        };
        assert_eq!(seqs(back.on_link_lost(WorkerId(0))), [1, 3, 4]);
        assert_eq!(seqs(back.on_link_lost(WorkerId(0))), [0; 0]);
        assert_eq!(seqs(back.on_link_lost(WorkerId(1))), [9], "another worker's word counts for nothing");
    }
}
