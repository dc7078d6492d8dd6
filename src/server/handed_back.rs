//! Messages that workers of an earlier dispatcher came back with: handed over by that one, and not answered yet.
//!
//! The links' own stores know them by number, and these have none here. They go when their final response has left; when
//! their worker dies before that, they go to the next one, as what this dispatcher has handed over does. A caller who
//! has heard its call ring sends its INVITE no more (RFC 3261 §17.1.1.2), so nobody else has it.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::handoff::front::Returned;
use crate::ids::WorkerId;
use crate::pack::{Damaged, Pack, Packed, pack_length};

/// Messages that are not answered, by the names of their transactions.
#[derive(Debug, Default)]
pub struct HandedBack {
    held: HashMap<[u8; 16], (WorkerId, Returned), FixedState>,
}

impl HandedBack {
    /// A worker has come back with a message.
    pub fn add(&mut self, worker: WorkerId, branch: [u8; 16], message: Returned) {
        self.held.insert(branch, (worker, message));
    }

    /// The final response to a transaction of a worker has left.
    pub fn on_released(&mut self, worker: WorkerId, branch: [u8; 16]) {
        if self.held.get(&branch).is_some_and(|(holder, _)| *holder == worker) {
            self.held.remove(&branch);
        }
    }

    /// A worker is gone: what it had, the first message first.
    pub fn on_link_lost(&mut self, worker: WorkerId) -> Vec<Returned> {
        let lost = self.held.extract_if(|_, (holder, _)| *holder == worker);
        let mut lost: Vec<Returned> = lost.map(|(_, (_, message))| message).collect();
        lost.sort_unstable_by_key(|message| (message.envelope.received, message.envelope.seq));
        lost
    }
}

impl Pack for HandedBack {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.held.len(), out);
        for (branch, (worker, message)) in &self.held {
            branch.pack(out);
            worker.pack(out);
            message.pack(out);
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut back = HandedBack::default();
        for _ in 0..from.length()? {
            let branch = Pack::unpack(from)?;
            back.held.insert(branch, (Pack::unpack(from)?, Pack::unpack(from)?));
        }
        Ok(back)
    }

    fn layout(out: &mut String) {
        out.push_str("handed-back:branch,worker,");
        Returned::layout(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::frame::Envelope;
    use crate::handoff::front::Note;

    fn message(seq: u64) -> Returned {
        Returned { envelope: Envelope::plain(seq), note: Note::default(), payload: vec![b'x'], sent: true }
    }

    #[test]
    fn what_is_released_is_gone_and_the_rest_comes_back_in_order_also_behind_a_takeover() {
        let mut back = HandedBack::default();
        for seq in [3, 1, 2, 4] {
            back.add(WorkerId(0), [seq as u8; 16], message(seq));
        }
        back.add(WorkerId(1), [9; 16], message(9));
        back.on_released(WorkerId(0), [2; 16]);
        back.on_released(WorkerId(0), [9; 16]);
        let mut bytes = Vec::new();
        back.pack(&mut bytes);
        let mut back = HandedBack::unpack(&mut Packed::new(&bytes)).unwrap();
        let seqs = |lost: Vec<Returned>| lost.iter().map(|message| message.envelope.seq.0).collect::<Vec<_>>();
        assert_eq!(seqs(back.on_link_lost(WorkerId(0))), [1, 3, 4]);
        assert_eq!(seqs(back.on_link_lost(WorkerId(0))), [0; 0]);
        assert_eq!(seqs(back.on_link_lost(WorkerId(1))), [9], "another worker's word counts for nothing");
    }
}
