//! The dispatcher's end of a link as bytes, for the dispatcher that takes over: numbers, retained messages, messages
//! that wait to be sent. The worker notices nothing.

use super::{DispatcherEnd, Held, Stats};
use crate::ids::Seq;
use crate::link::store::Share;
use crate::pack::{Damaged, packed};

packed!(Stats { frames, records, bytes, blocked, faults, words, retained, retained_bytes, unread });

/// State that another dispatcher needs to go on with a link. Places and lists follow from the messages, which are in
/// the order of their numbers.
#[derive(Debug)]
pub struct LinkState<N> {
    pushed: Seq,
    sent: Seq,
    taken: Seq,
    report: u64,
    stats: Stats,
    control: Box<[u8]>,
    messages: Vec<MessageState<N>>,
}

#[derive(Debug)]
struct MessageState<N> {
    seq: Seq,
    note: N,
    sent: bool,
    bytes: Box<[u8]>,
}

packed!(LinkState<N> { pushed, sent, taken, report, stats, control, messages });
packed!(MessageState<N> { seq, note, sent, bytes });

impl<N: Copy> DispatcherEnd<N> {
    /// The whole link.
    pub fn state(&self) -> LinkState<N> {
        let DispatcherEnd {
            store,
            index: _,
            held,
            vacant: _,
            unsent: _,
            unsent_blocks: _,
            control,
            pushed,
            sent,
            taken,
            report,
            stats,
        } = self;
        let mut held: Vec<&Held<N>> = held.iter().flatten().collect();
        held.sort_unstable_by_key(|held| held.seq);
        let messages = held.into_iter().map(|held| {
            let mut bytes = Vec::with_capacity(held.chain.len());
            store.copy(&held.chain, &mut bytes);
            MessageState { seq: held.seq, note: held.note, sent: held.sent, bytes: bytes.into() }
        });
        LinkState {
            pushed: *pushed,
            sent: *sent,
            taken: *taken,
            report: *report,
            stats: *stats,
            control: control.records().into(),
            messages: messages.collect(),
        }
    }

    /// A link that goes on from this state. `store_bytes` must be the same.
    ///
    /// # Errors
    ///
    /// The state is of no link, or does not fit into the store.
    pub fn from_state(store_bytes: usize, state: LinkState<N>) -> Result<Self, Damaged> {
        let mut end = DispatcherEnd::new(store_bytes);
        let LinkState { pushed, sent, taken, report, stats, control, messages } = state;
        (end.pushed, end.sent, end.taken, end.report, end.stats) = (pushed, sent, taken, report, stats);
        end.control.push_records(&control);
        let mut last = Seq(0);
        for MessageState { seq, note, sent, bytes } in messages {
            // An unsent message before a sent one, or a number twice, would be found under another's number.
            if seq <= last || seq > end.pushed || sent != (seq <= end.sent) || end.index.room() == 0 {
                return Err(Damaged("the messages of a link"));
            }
            last = seq;
            let chain = end.store.put(&[&bytes[..]], Share::Reserve).ok_or(Damaged("more messages than fit"))?;
            end.keep(Held { seq, note, chain, next: None, sent });
        }
        Ok(end)
    }
}
