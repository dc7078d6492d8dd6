//! Requests under way that the table does not have, after a takeover.

use super::Case;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::Carried;
use crate::dispatch::decision::Forward;
use crate::time::Time;
use crate::wire::sip::Scanner;

impl Dispatch {
    /// Goes on with the requests of an earlier dispatcher, once all connections that were kept are known.
    pub fn on_taken_over(&mut self, now: Time) {
        for carried in self.contexts.take_carried() {
            self.go_on_with(carried, now);
        }
    }

    fn go_on_with(&mut self, carried: Carried, now: Time) {
        let Carried { request, arrival, standing, side, ways_out, rewrites_uri, records_route, routes } = carried;
        let Some((last, way_out)) = standing.branches.last().zip(ways_out.last()) else { return };
        let mut scanner = Scanner::new();
        let Ok(message) = scanner.scan(&request) else { return };
        let read = message.essentials();
        let Some(case) = Case::of(&message, &read, &arrival, now, &self.printer) else { return };
        let Some(via) = case.request.read.via else { return };
        // A sound dispatcher gives none of these. A request whose last branch is over would never end.
        let ends = !last.has_failed || standing.answered.is_some_and(|status| status >= 200);
        let is_sound = ends && standing.branches.len() == ways_out.len();
        if !is_sound || standing.branches.len() > usize::from(u8::MAX) || self.contexts.of(case.name).is_some() {
            return;
        }
        // It has left by this way, wherever the settings would lead it now.
        let forward = self.forward_by(&case, &via, (last.to.to, side), way_out);
        let forward = Forward { rewrites_uri, records_route, routes, ..forward };
        let Some(id) = self.begin_context_again(&case, request.clone(), &forward) else { return };
        if let Some(under_way) = self.contexts.get_mut(id) {
            ways_out.into_iter().for_each(|way| under_way.ways_out.push(way));
        }
        self.happen(id, now, |context, _| context.go_on(&standing, now));
    }
}
