//! The switch as bytes, for the dispatcher that takes over.

use super::links::Channel;
use super::outbox::Outbox;
use super::{Refused, Switch};
use crate::dispatch::note::Note;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::link::dispatcher_end::DispatcherEnd;
use crate::pack::{Damaged, Pack, Packed, Saved, pack_length, packed, saved};
use crate::words::RefuseReason;

// The rest comes from the configuration, is used again for each message, or is empty now: answers and parcels have been
// flushed, and messages that came back have been decided about.
saved!(Switch<C: Channel> { dispatch, refused, outbox, suspects, brought, sought } else {
    scanner,
    scanners,
    retention_bytes,
    configured,
    frame,
    given_back,
    given_back_left,
    estates,
    orphans_left,
    may_clear,
    owners,
    parcels,
    // They have been told before: see `Switch::settle`.
    undelivered,
    gone,
    early,
    ledgers_told,
    ledgers_told_at,
    access_untold,
    // The control side tells them anew.
    certificates,
    // Call agents send again the commands that waited, and those that were asked of all workers.
    chains,
    resumed,
    // Each worker asks again.
    clock_asks,
});
saved!(Outbox<C: Channel> { totals, retransmits } else {
    links,
    answers,
    travelling,
    insert,
    patched,
    not_taken,
    // The prober counts each as lost.
    probe_answers,
    asked,
});

/// The worker at the other end of a link. The link's own state follows; its channel is passed separately.
struct LinkPeer {
    worker: WorkerId,
    incarnation: Incarnation,
    id: LinkId,
}

packed!(LinkPeer { worker, incarnation, id });

impl<C: Channel> Switch<C> {
    /// Writes the whole state, between two messages. The links' channels are passed separately: by worker, in this
    /// order.
    pub fn save(&self, out: &mut Vec<u8>) {
        debug_assert!(self.early.is_empty(), "messages wait for others");
        debug_assert!(self.estates.is_empty(), "messages of workers that are gone wait");
        debug_assert!(
            self.outbox.not_taken.is_empty() && self.given_back.is_empty(),
            "messages that came back wait for their decision"
        );
        Saved::save(self, out);
        pack_length(self.outbox.links.iter().count(), out);
        for (worker, link) in self.outbox.links.iter() {
            LinkPeer { worker, incarnation: link.incarnation, id: link.id }.pack(out);
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
        Saved::restore(self, from)?;
        for _ in 0..from.length()? {
            let LinkPeer { worker, incarnation, id } = LinkPeer::unpack(from)?;
            let front = DispatcherEnd::restored(self.retention_bytes, from)?;
            let channel = channel(worker).ok_or(Damaged("a worker without a link"))?;
            let front = self.permitting(front, &channel, incarnation);
            self.outbox.links.insert(worker, (incarnation, id), channel, front);
            self.outbox.links.touch(worker);
            if self.is_first() {
                // It may have the rules of another configuration; telling it the same ones again changes nothing.
                self.access_untold.push(worker);
            }
        }
        // After the links: a worker that the dispatcher did not start has its slot for as long as it has its link.
        self.fit_pool();
        // The figures that the other lanes were told last may not have reached them.
        self.ledgers_told = vec![u32::MAX; self.dispatch.pool().len()];
        Ok(())
    }

    /// Describes the layout that [`Switch::save`] writes.
    pub fn describe(out: &mut String) {
        <Self as Saved>::describe(out);
        <Vec<LinkPeer>>::layout(out);
        <DispatcherEnd<Note>>::describe(out);
    }
}

saved!(Refused by Vec<(RefuseReason, u64)>: |refused| refused.iter().collect(), Refused::set);
