//! Requests under way, after a takeover.

use std::time::Duration;

use super::{Case, way_back};
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{Around, Carried, UnderWay};
use crate::dispatch::decision::Forward;
use crate::time::Time;
use crate::wire::sip::Scanner;

/// The longest `pending-max` (timer C).
const LONGEST_PENDING: Duration = Duration::from_secs(3_600);

impl Dispatch {
    /// Goes on with the requests of an earlier dispatcher, once all connections that were kept are known.
    pub fn on_taken_over(&mut self, now: Time) {
        for carried in self.contexts.take_carried() {
            let unheard = carried.unheard.clone();
            if self.go_on_with(carried, now).is_none() {
                unheard.iter().for_each(|(proxy, sent)| self.proxies.on_given_up(*proxy, *sent, now));
            }
        }
    }

    /// Goes on with one. It had room at the earlier dispatcher, and so it has here, whatever share its source has by
    /// now. `None`: it is one that no sound dispatcher gives.
    fn go_on_with(&mut self, carried: Carried, now: Time) -> Option<()> {
        let Carried { context, request, arrival, entry, pool, side, ways_out, others, opened, unheard, .. } = carried;
        let Carried { rewrites_uri, records_route, routes, moves, is_told, is_cut, around, has_copies, .. } = carried;
        let mut scanner = Scanner::new();
        let message = scanner.scan(&request).ok()?;
        let read = message.essentials();
        let case = Case::of(&message, &read, &arrival, now, &self.printer)?;
        let via = case.request.read.via?;
        let (last, way_out) = (context.in_use()?, ways_out.last()?);
        let is_sound = context.ends(LONGEST_PENDING, now) && context.attempts().count() == ways_out.len();
        if !is_sound || self.contexts.of(case.name).is_some() {
            return None;
        }
        // It has left by this way, wherever the settings would lead it now.
        let forward = self.forward_by(&case, &via, (last.to, side), way_out);
        let forward = Forward { rewrites_uri, records_route, routes, ..forward };
        let names = (case.name, case.call, case.discriminator);
        let way = (&arrival, case.source(self).print(), way_back(&via, &arrival));
        let pool = self.proxies.pool_of_earlier(pool);
        let first = (None, entry, moves);
        let mut under_way = UnderWay::new(context, names, (&message, request.clone()), way, (pool, &forward), first);
        (under_way.others, under_way.opened) = (others, opened);
        (under_way.ways_out, under_way.unheard) = (ways_out, unheard);
        (under_way.is_told, under_way.is_cut) = (is_told, is_cut);
        (under_way.around, under_way.has_copies) = (around, has_copies);
        let id = self.contexts.insert(under_way)?;
        if around == Around::Waits {
            // That the connection is gone which it has left by has been told.
            self.contexts.leave_way(id);
        }
        self.contexts.interrupt(id);
        Some(())
    }
}
