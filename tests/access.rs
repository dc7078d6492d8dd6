//! A reload reaches the workers that are linked, also those whose links take nothing just then.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use pointsman::config::Insert;
use pointsman::dispatch::decision::Joined;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, TokenKey, WorkerId};
use pointsman::switch::Switch;
use pointsman::switch::links::Channel;
use pointsman::time::Time;
use pointsman::wire::handoff::{Frame, Record};
use pointsman::words::{AccessAction, AccessRule};

/// A worker's end: the rules it was told, each time, unless it takes nothing.
#[derive(Clone, Default)]
struct Told {
    rules: Rc<RefCell<Vec<Vec<AccessRule>>>>,
    blocked: Rc<Cell<bool>>,
}

impl Channel for Told {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if self.blocked.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let frame: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        for record in Frame::parse(&frame).unwrap() {
            if let Record::Access(rules) = record.unwrap() {
                self.rules.borrow_mut().push(rules.iter().collect());
            }
        }
        Ok(())
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch_writable(&mut self, _: bool) {}
}

fn switch(workers: &[Told]) -> Switch<Told> {
    let rules = Rules::default();
    let keys = Keyring::new(TokenKey::new([9; 32]));
    let setup = Setup { rules, keys, table_cap: 1000, group_cap: 10, workers: workers.len(), seed: 1 };
    let mut switch = Switch::new(Dispatch::new(setup), Insert::None, 1 << 20, Owners::new(0, 1, 1));
    for (worker, channel) in (0..).zip(workers) {
        let addresses = vec![SocketAddr::from(([198, 51, 100, 1], 5070 + worker))];
        let joined = Joined::sip(Incarnation::new(worker.into()), 10, addresses);
        switch.on_link(WorkerId(worker), channel.clone(), &joined, Time(1));
    }
    switch
}

/// As many rules as there may be, other ones for each `seed`.
fn rules(seed: u32) -> Vec<AccessRule> {
    let rule = |number| AccessRule {
        network: Ipv4Addr::from_bits(seed << 16 | number).into(),
        prefix: 32,
        action: AccessAction::Limit { rate: 1, burst: 2, ban_ms: 3 },
    };
    (0..128).map(rule).collect()
}

fn reload(switch: &mut Switch<Told>, access: &[AccessRule]) {
    let rules = Rules { access: access.to_vec(), ..Rules::default() };
    let workers = switch.dispatch().pool().len();
    switch.reload(rules, Insert::None, workers, Time(0));
    switch.flush_links();
}

#[test]
fn a_reload_that_changes_the_rules_tells_every_worker_and_one_that_does_not_tells_nobody() {
    let workers = [Told::default(), Told::default()];
    let mut switch = switch(&workers);
    reload(&mut switch, &rules(1));
    reload(&mut switch, &rules(1));
    reload(&mut switch, &[]);
    for worker in &workers {
        assert_eq!(*worker.rules.borrow(), [rules(1), Vec::new()]);
    }
}

#[test]
fn a_worker_whose_link_takes_nothing_hears_the_last_rules_when_it_does_again() {
    let workers = [Told::default(), Told::default()];
    let mut switch = switch(&workers);
    workers[0].blocked.set(true);
    (1..=4).for_each(|seed| reload(&mut switch, &rules(seed)));
    assert_eq!(workers[0].rules.borrow().len(), 0);
    assert_eq!(workers[1].rules.borrow().len(), 4);
    workers[0].blocked.set(false);
    for turn in 0..4 {
        switch.on_link_event(WorkerId(0), false, true);
        switch.flush_links();
        switch.handle_timeout(Time(1_000_000) + Duration::from_secs(turn));
        switch.flush_links();
    }
    assert_eq!(workers[0].rules.borrow().last(), Some(&rules(4)));
    assert_eq!(workers[0].rules.borrow().len(), 2, "the first, which its link could still hold, and the last");
}
