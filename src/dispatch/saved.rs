//! One lane's state as bytes, for the dispatcher that takes over: it decides as this one would have.
//!
//! The settings of the configuration (rules, keys, sizes) are not in them: the new dispatcher has its own. The memory
//! of selections and the ring of past decisions are left out. The former is worth nothing; the latter takes longer than
//! reading may pause, so `explain` begins anew. The gatherings of MGCP commands for all workers are left out as well:
//! their senders send them again.

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::Dispatch;
use super::table::Hold;
use super::targets::proxy::Sent;
use crate::ids::ProxyId;
use crate::pack::{Damaged, saved};
use crate::time::Time;

saved!(Dispatch {
    directory,
    pool,
    proxies,
    table,
    contexts,
    groups,
    access,
    counters,
    unrecorded_until,
    next_look,
    gatherings,
    apart_until,
} else {
    rules,
    allow,
    printer,
    branches,
    flow_tokens,
    redirected,
    forgotten_until,
    forgotten_cancels,
    awaiting,
    callees,
    selector,
    history,
    call_hash,
    // Their senders send the acknowledgements again.
    acks,
    prober_room,
    lane,
    lanes,
} then Dispatch::resume);

impl Dispatch {
    /// Makes room for a state with this many entries in its table.
    pub fn make_room(&mut self, entries: usize) {
        self.table.make_room(entries);
    }

    fn resume(&mut self) -> Result<(), Damaged> {
        self.forgotten_until = Time(0);
        self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
        let in_table = self.table.holds().filter_map(unheard);
        let held: HashSet<(ProxyId, Sent), FixedState> = in_table.chain(self.contexts.carried_unheard()).collect();
        self.proxies.keep_waiting(|proxy, sent| held.contains(&(proxy, sent)));
        Ok(())
    }
}

const fn unheard(hold: Hold) -> Option<(ProxyId, Sent)> {
    match hold {
        Hold::Unheard { proxy, sent } => Some((proxy, sent)),
        Hold::Leg(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Pool, PoolMode, Proxy, Route};
    use crate::dispatch::Setup;
    use crate::dispatch::decision::{Arrival, Target};
    use crate::dispatch::identity::Keyring;
    use crate::dispatch::rules::Rules;
    use crate::ids::{ConnId, ListenerId, TokenKey};
    use crate::pack::{Packed, Saved as _};
    use crate::wire::sip::Scanner;
    use crate::words::{Envelope, ReplyTo, Transport};

    fn in_front(mode: PoolMode) -> Dispatch {
        let rules = Rules {
            pools: vec![Pool { mode, ..Pool::default() }],
            proxies: vec![Proxy { name: "a".to_owned(), host: "192.0.2.9".to_owned(), ..Proxy::default() }],
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), ([192, 0, 2, 2], 5060).into())],
            ..Rules::default()
        };
        let keys = Keyring::new(TokenKey::new([1; 32]));
        Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 })
    }

    #[test]
    fn after_a_takeover_a_proxy_has_the_requests_that_it_has_not_answered() {
        for mode in [PoolMode::Stateful, PoolMode::Proxy] {
            let (mut before, now) = (in_front(mode), Time(1_000_000_000));
            let text = b"INVITE sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
                From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n";
            let local = ([192, 0, 2, 2], 5060).into();
            let arrival = Arrival { local, received: now, ..Arrival::of(&Envelope::plain(1)) };
            let decision = before.on_message(&Scanner::new().scan(text).unwrap(), &arrival, now);
            assert!(!matches!(decision.target, Target::Drop), "{decision:?}");
            let mut bytes = Vec::new();
            before.save(&mut bytes);
            let mut after = in_front(mode);
            after.restore(&mut Packed::new(&bytes)).unwrap();
            let waiting =
                |dispatch: &Dispatch| dispatch.proxies().iter().map(|(_, proxy)| proxy.outstanding()).sum::<u32>();
            after.on_taken_over(now);
            assert_eq!((waiting(&before), waiting(&after)), (1, 1), "{mode:?}");
            after.handle_timeout(now + Duration::from_millis(900));
            while after.poll_leaving().is_some() {}
            after.check();
        }
    }

    #[test]
    fn a_request_under_way_goes_on_after_a_takeover_though_its_source_has_all_the_room() {
        let make = || {
            let mut dispatch = in_front(PoolMode::Proxy);
            let mut rules = dispatch.rules().clone();
            rules.proxies[0].transport = Transport::Tcp;
            dispatch.set_rules(rules, Time(0));
            dispatch
        };
        let (mut before, now) = (make(), Time(1_000_000_000));
        let text = b"MESSAGE sip:a@203.0.113.9 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bK1\r\n\
            From: <sip:b@192.0.2.9>;tag=1\r\nTo: <sip:a@203.0.113.9>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\r\n";
        let arrival = Arrival {
            local: ([192, 0, 2, 2], 5060).into(),
            source: ([192, 0, 2, 9], 4_000).into(),
            transport: Transport::Tcp,
            reply_to: ReplyTo::Stream(ConnId(1)),
            received: now,
            ..Arrival::of(&Envelope::plain(1))
        };
        let decision = before.on_message(&Scanner::new().scan(text).unwrap(), &arrival, now);
        assert!(matches!(decision.target, Target::Forward(_)), "{decision:?}");
        let mut bytes = Vec::new();
        before.save(&mut bytes);
        let mut after = make();
        after.restore(&mut Packed::new(&bytes)).unwrap();
        after.contexts.crowd_like(&before.contexts);
        after.on_taken_over(now);
        assert_eq!(after.contexts.proxies(), before.contexts.proxies());
        assert_eq!(after.contexts.proxies().len(), 1);
    }
}
