//! Requests under way that the table does not have, after a takeover.

use super::Case;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::Carried;
use crate::dispatch::decision::{Forward, Reason, Target};
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
        let Some(case) = Case::of(&message, &arrival, now, &self.printer) else { return };
        // A sound dispatcher gives none of these. A request whose last branch is over would never end.
        let ends = !last.has_failed || standing.answered.is_some_and(|status| status >= 200);
        let is_sound = ends && standing.branches.len() == ways_out.len();
        if !is_sound || standing.branches.len() > usize::from(u8::MAX) || self.contexts.of(case.name).is_some() {
            return;
        }
        let way = (last.to.to, last.to.proxy, side);
        let decision = self.forward_to(&case, way, Reason::Retransmission, way_out.listener);
        let Target::Forward(forward) = decision.target else { return };
        let forward = Forward { rewrites_uri, records_route, routes, ..forward };
        if self.begin_context(&case, &forward, None)
            && let Some(id) = self.contexts.of(case.name)
        {
            if let Some(under_way) = self.contexts.get_mut(id) {
                ways_out.into_iter().for_each(|way| under_way.ways_out.push(way));
            }
            self.happen(id, now, |context, _| context.go_on(&standing, now));
        }
    }
}
