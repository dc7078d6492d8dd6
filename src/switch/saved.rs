//! The switch as bytes, for the dispatcher that takes over.

use super::Switch;
use super::final_retransmits::FinalRetransmits;
use super::handed_back::HandedBack;
use super::links::Channel;
use super::outbox::Outbox;
use super::returned_message::ReturnedMessage;
use super::suspects::Suspects;
use super::totals::Totals;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::Cause;
use crate::dispatch::note::Note;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::link::dispatcher_end::DispatcherEnd;
use crate::pack::{Damaged, Pack, Packed, pack_length, packed};
use crate::words::RefuseReason;

impl<C: Channel> Switch<C> {
    /// Writes the whole state, between two messages. The links' channels are passed separately: by worker, in this
    /// order.
    pub fn save(&self, out: &mut Vec<u8>) {
        // The rest comes from the configuration, is used again for each message, or is empty now: answers and parcels
        // have been flushed, and messages that came back have been decided about.
        let Switch {
            dispatch,
            scanner: _,
            outbox,
            retention_bytes: _,
            configured: _,
            frame: _,
            refused,
            given_back,
            given_back_left: _,
            estates,
            orphans_left: _,
            suspects,
            may_clear: _,
            handed_back,
            owners: _,
            parcels: _,
            early,
            told: _,
            told_at: _,
            untold: _,
            // Call agents send again the commands that waited, and those that were asked of all workers.
            chains: _,
            resumed: _,
        } = self;
        let Outbox { links, answers: _, retransmits, insert: _, totals, patched: _, returned, asked: _ } = outbox;
        debug_assert!(early.is_empty(), "messages wait for others");
        debug_assert!(estates.is_empty(), "messages of workers that are gone wait");
        debug_assert!(returned.is_empty() && given_back.is_empty(), "messages that came back wait for their decision");
        dispatch.save(out);
        refused.pack(out);
        totals.pack(out);
        retransmits.save(out);
        suspects.pack(out);
        handed_back.pack(out);
        pack_length(links.iter().count(), out);
        for (worker, link) in links.iter() {
            worker.pack(out);
            link.incarnation.pack(out);
            link.id.pack(out);
            link.front.save(out);
        }
    }

    /// Makes room for a state with so many entries in its table, so that restoring it asks the kernel for no memory.
    pub fn make_room(&mut self, entries: usize) {
        self.dispatch.make_room(entries);
    }

    /// Replaces the state by the one that [`Switch::save`] wrote. `channel` gives each worker's channel.
    ///
    /// # Errors
    ///
    /// The bytes are no such state, or a worker has no channel; the switch must not be used then.
    pub fn restore(
        &mut self,
        from: &mut Packed<'_>,
        mut channel: impl FnMut(WorkerId) -> Option<C>,
    ) -> Result<(), Damaged> {
        self.dispatch.restore(from)?;
        self.refused = Pack::unpack(from)?;
        self.outbox.totals = Totals::unpack(from)?;
        self.outbox.retransmits.restore(from)?;
        self.suspects = Pack::unpack(from)?;
        self.handed_back = Pack::unpack(from)?;
        for _ in 0..from.length()? {
            let (worker, incarnation) = (WorkerId::unpack(from)?, Incarnation::unpack(from)?);
            let id = LinkId::unpack(from)?;
            let front = DispatcherEnd::restore(self.retention_bytes, from)?;
            let channel = channel(worker).ok_or(Damaged("a worker without a link"))?;
            self.outbox.links.insert(worker, (incarnation, id), channel, front);
            self.outbox.links.touch(worker);
            if self.is_first() {
                // It may have the rules of another configuration; telling it the same ones again changes nothing.
                self.untold.push(worker);
            }
        }
        self.fit_pool();
        // The figures that the other lanes were told last may not have reached them.
        self.told = vec![u32::MAX; self.dispatch.pool().len()];
        Ok(())
    }

    /// Describes the layout that [`Switch::save`] writes.
    pub fn layout(out: &mut String) {
        Dispatch::layout(out);
        out.push_str(&format!("refused:{}×u64", RefuseReason::ALL.len()));
        Totals::layout(out);
        LinkId::layout(out);
        <DispatcherEnd<Note>>::layout(out);
        FinalRetransmits::layout(out);
        <Suspects<ReturnedMessage>>::layout(out);
        HandedBack::layout(out);
    }
}

packed!(ReturnedMessage { message, from, cause });

impl Pack for Cause {
    fn pack(&self, out: &mut Vec<u8>) {
        let reason = match self {
            Cause::Died => None,
            Cause::Refused(reason) => RefuseReason::ALL.iter().position(|other| other == reason),
        };
        reason.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        match <Option<usize>>::unpack(from)? {
            None => Ok(Cause::Died),
            Some(at) => RefuseReason::ALL.get(at).map(|reason| Cause::Refused(*reason)).ok_or(Damaged("a reason")),
        }
    }

    fn layout(out: &mut String) {
        out.push_str("Cause");
    }
}
