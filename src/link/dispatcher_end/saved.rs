//! The dispatcher's end of a link as bytes, for the dispatcher that takes over: numbers, retained messages, messages
//! that wait to be sent. The worker notices nothing.

use super::{DispatcherEnd, Held, Returned, Stats};
use crate::ids::Seq;
use crate::link::store::Share;
use crate::pack::{Damaged, Pack, Packed, pack_bytes, pack_length, packed};
use crate::wire::handoff::{Frame, Record, frame_header, message_header};
use crate::words::Message;

packed!(Stats { frames, records, bytes, blocked, faults, words, retained, retained_bytes, unread });

impl<N: Copy + Pack> DispatcherEnd<N> {
    /// Writes the whole link.
    pub fn save(&self, out: &mut Vec<u8>) {
        // Places and lists follow from the messages, which are in the order of their numbers.
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
        (*pushed, *sent).pack(out);
        taken.pack(out);
        report.pack(out);
        stats.pack(out);
        pack_bytes(control.records(), out);
        let mut messages: Vec<&Held<N>> = held.iter().flatten().collect();
        messages.sort_unstable_by_key(|held| held.seq);
        pack_length(messages.len(), out);
        for held in messages {
            held.seq.pack(out);
            held.note.pack(out);
            held.sent.pack(out);
            pack_length(held.chain.len(), out);
            store.copy(&held.chain, out);
        }
    }

    /// A link that goes on from the state that [`DispatcherEnd::save`] wrote. `store_bytes` must be the same.
    ///
    /// # Errors
    ///
    /// The bytes are no link, or do not fit into the store.
    pub fn restore(store_bytes: usize, from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut front = DispatcherEnd::new(store_bytes);
        (front.pushed, front.sent) = Pack::unpack(from)?;
        front.taken = Pack::unpack(from)?;
        front.report = Pack::unpack(from)?;
        front.stats = Pack::unpack(from)?;
        front.control.push_records(from.bytes()?);
        let mut last = Seq(0);
        for _ in 0..from.length()? {
            let (seq, note, sent) = (Seq::unpack(from)?, N::unpack(from)?, bool::unpack(from)?);
            let message = from.bytes()?;
            // An unsent message before a sent one, or a number twice, would be found under another's number.
            if seq <= last || seq > front.pushed || sent != (seq <= front.sent) || front.index.room() == 0 {
                return Err(Damaged("the messages of a link"));
            }
            last = seq;
            let chain = front.store.put(&[message], Share::Reserve).ok_or(Damaged("more messages than fit"))?;
            front.keep(Held { seq, note, chain, next: None, sent });
        }
        Ok(front)
    }

    /// The layout of these bytes.
    pub fn layout(out: &mut String) {
        out.push_str("link:pushed,sent,taken,report,control,messages:");
        Stats::layout(out);
        N::layout(out);
    }
}

impl<N: Pack> Pack for Returned<N> {
    fn pack(&self, out: &mut Vec<u8>) {
        let Returned { envelope, note, payload, sent } = self;
        let header = message_header(envelope, payload.len());
        pack_length(header.len() + payload.len(), out);
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
        note.pack(out);
        sent.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let record = from.bytes()?;
        let frame = [&frame_header(record.len()), record].concat();
        let Some(Ok(Record::Message(Message { envelope, payload }))) =
            Frame::parse(&frame).ok().and_then(|mut it| it.next())
        else {
            return Err(Damaged("a message"));
        };
        Ok(Returned { envelope, note: Pack::unpack(from)?, payload: payload.to_vec(), sent: Pack::unpack(from)? })
    }

    fn layout(out: &mut String) {
        out.push_str("record,sent,");
        N::layout(out);
    }
}
