//! The dispatcher's end of a link as bytes, for the dispatcher that takes over: numbers, retained messages, messages
//! that wait to be sent. The worker notices nothing.

use super::{CONTROL_LIMIT, DispatcherEnd, Held, Stats};
use crate::ids::Seq;
use crate::link::store::{LARGEST, Share};
use crate::pack::{Damaged, Pack, Packed, pack_length, packed};

packed!(Stats { frames, records, bytes, blocked, faults, words, retained, retained_bytes, unread });

/// A count that no link reaches, and that can be doubled and added to.
const LARGEST_COUNT: u64 = 1 << 62;

/// Numbers and counts of a link, and the control records that wait.
#[derive(Debug)]
struct LinkHead {
    pushed: Seq,
    sent: Seq,
    taken: Seq,
    report: u64,
    stats: Stats,
    control: Box<[u8]>,
}

/// A retained message without its bytes.
#[derive(Debug)]
struct MessageHead<N> {
    seq: Seq,
    note: N,
    sent: bool,
}

packed!(LinkHead { pushed, sent, taken, report, stats, control });
packed!(MessageHead<N> { seq, note, sent });

/// A link's messages, in the order of their numbers: places and lists follow from it. Their bytes are written from the
/// store and read into it, never as a list of their own: they may be many megabytes, and no lane reads meanwhile.
type Messages<N> = Vec<(MessageHead<N>, Box<[u8]>)>;

impl<N: Copy + Pack> DispatcherEnd<N> {
    /// Writes the whole link.
    pub fn save(&self, out: &mut Vec<u8>) {
        let DispatcherEnd {
            store,
            index: _,
            answered: _,
            held,
            vacant: _,
            unsent: _,
            unsent_blocks: _,
            // They follow from the worker's life.
            permits: _,
            control,
            // Their messages are lost with them; timers of the worker find it out.
            undelivered: _,
            pushed,
            sent,
            taken,
            report,
            stats,
        } = self;
        let (pushed, sent, taken, report, stats) = (*pushed, *sent, *taken, *report, *stats);
        LinkHead { pushed, sent, taken, report, stats, control: control.records().into() }.pack(out);
        let mut held: Vec<&Held<N>> = held.iter().flatten().collect();
        held.sort_unstable_by_key(|held| held.seq);
        pack_length(held.len(), out);
        for Held { seq, note, chain, sent, .. } in held {
            MessageHead { seq: *seq, note: *note, sent: *sent }.pack(out);
            pack_length(chain.len(), out);
            store.copy(chain, out);
        }
    }

    /// Reads a link that [`DispatcherEnd::save`] wrote. `store_bytes` must be the same.
    ///
    /// # Errors
    ///
    /// The bytes are no link, or its messages do not fit into the store.
    pub fn restored(store_bytes: usize, from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut end = DispatcherEnd::new(store_bytes);
        let LinkHead { pushed, sent, taken, report, stats, control } = LinkHead::unpack(from)?;
        if control.len() > CONTROL_LIMIT {
            return Err(Damaged("the control records of a link"));
        }
        let Stats { frames, records, bytes, blocked, faults, words, .. } = stats;
        if [frames, records, bytes, blocked, faults, words].iter().any(|&count| count > LARGEST_COUNT) {
            return Err(Damaged("the counts of a link"));
        }
        (end.pushed, end.sent, end.taken, end.report, end.stats) = (pushed, sent, taken, report, stats);
        end.control.push_records(&control);
        let mut last = Seq(0);
        for _ in 0..from.length()? {
            let MessageHead { seq, note, sent } = MessageHead::unpack(from)?;
            // An unsent message before a sent one, or a number twice, would be found under another's number.
            if seq <= last || seq > end.pushed || sent != (seq <= end.sent) || end.index.room() == 0 {
                return Err(Damaged("the messages of a link"));
            }
            last = seq;
            let bytes = from.bytes()?;
            // No frame has room for it.
            if bytes.len() > LARGEST {
                return Err(Damaged("a message of a link"));
            }
            let chain = end.store.put(&[bytes], Share::Reserve).ok_or(Damaged("more messages than fit"))?;
            end.keep(Held { seq, note, chain, next: None, sent });
        }
        Ok(end)
    }

    /// Describes the layout that [`DispatcherEnd::save`] writes.
    pub fn describe(out: &mut String) {
        LinkHead::layout(out);
        <Messages<N>>::layout(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::store::SMALLEST;
    use crate::words::Envelope;

    /// A link with these control records and one message.
    fn link(control: usize, message: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (seq, control) = (Seq(1), vec![0; control].into());
        LinkHead { pushed: seq, sent: Seq(0), taken: Seq(0), report: 0, stats: Stats::default(), control }
            .pack(&mut bytes);
        let messages = vec![(MessageHead { seq, note: 7_u64, sent: false }, vec![0; message].into())];
        <Messages<u64>>::pack(&messages, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_or_control_records_for_which_no_frame_has_room_are_refused() {
        let restored = |bytes: &[u8]| <DispatcherEnd<u64>>::restored(SMALLEST, &mut Packed::new(bytes));
        assert!(restored(&link(CONTROL_LIMIT, LARGEST)).is_ok());
        for (control, message) in [(CONTROL_LIMIT + 1, 10), (0, LARGEST + 1), (0, SMALLEST / 2)] {
            assert!(restored(&link(control, message)).is_err(), "{control}, {message}");
        }
    }

    #[test]
    fn the_bytes_of_a_link_have_the_layout_that_is_described() {
        let mut end = DispatcherEnd::<u64>::new(SMALLEST);
        end.push(&Envelope::plain(1), 8, &[b"first"]).unwrap();
        end.poll_transmit(|_| Ok(())).unwrap();
        end.push(&Envelope::plain(2), 9, &[b"second"]).unwrap();
        let mut bytes = Vec::new();
        end.save(&mut bytes);

        let mut from = Packed::new(&bytes);
        let head = LinkHead::unpack(&mut from).unwrap();
        let messages = <Messages<u64>>::unpack(&mut from).unwrap();
        assert!(from.is_empty(), "more is written than is described");
        assert_eq!((head.pushed, head.sent), (Seq(2), Seq(1)));
        let messages: Vec<_> = messages.iter().map(|(head, bytes)| (head.seq.0, head.note, head.sent, bytes)).collect();
        let [(1, 8, true, first), (2, 9, false, second)] = &messages[..] else { panic!("{messages:?}") };
        assert!(first.ends_with(b"first") && second.ends_with(b"second"));
    }
}
