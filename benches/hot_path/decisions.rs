//! Reading and decision.

use std::hint::black_box;
use std::time::Duration;

use pointsman::config::{Policy, Pool, PoolPolicy, Proxy, RecordRoute, Route};
use pointsman::dispatch::decision::{Arrival, Forward, Hop, Target};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Foreseen, ReadRequest, Setup};
use pointsman::ids::{ConnId, ListenerId};
use pointsman::time::Time;
use pointsman::transaction::forwarded::{Flow, ForwardedBranch};
use pointsman::wire::mgcp;
use pointsman::wire::sip::{Essentials, Message, Scanner};

use super::Step;
use super::balancer::{Balancer, End, responses};
use super::messages::{bye, crcx, dlcx, invite};
use super::numbered::{KEY, Numbered, arrival, dispatch};

const NOW: Time = Time(1_000_000);

/// Scan of an INVITE.
pub struct Scan {
    caller: Numbered,
    scanner: Scanner,
}

impl Scan {
    pub fn new() -> Self {
        Scan { caller: Numbered::new(invite(), 10), scanner: Scanner::new() }
    }
}

impl Step for Scan {
    fn prepare(&mut self) {
        self.caller.next();
    }

    fn run(&mut self) {
        black_box(self.scanner.scan(&self.caller.bytes).unwrap().call_id().len());
    }
}

/// Parse of a CRCX.
pub struct Parse {
    caller: Numbered,
}

impl Parse {
    pub fn new() -> Self {
        Parse { caller: Numbered::new(crcx(), 9) }
    }
}

impl Step for Parse {
    fn prepare(&mut self) {
        self.caller.next();
    }

    fn run(&mut self) {
        black_box(mgcp::parse(&self.caller.bytes).unwrap().transaction());
    }
}

/// Scan and decision of new INVITEs against a table that holds so many entries all the time: each new one answered,
/// each pushing out the oldest.
pub struct NewInvites {
    dispatch: Dispatch,
    caller: Numbered,
    scanner: Scanner,
}

impl NewInvites {
    pub fn new(workers: usize, policy: Policy, held: usize) -> Self {
        let dispatch = dispatch(workers, policy, held);
        let mut step = NewInvites { dispatch, caller: Numbered::new(invite(), 10), scanner: Scanner::new() };
        for _ in 0..held {
            step.prepare();
            step.run();
        }
        step
    }
}

impl Step for NewInvites {
    fn prepare(&mut self) {
        self.caller.next();
    }

    fn run(&mut self) {
        let message = self.scanner.scan(&self.caller.bytes).unwrap();
        let decision = self.dispatch.on_message(&message, &arrival(NOW), NOW);
        let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
        self.dispatch.on_answered(handoff.entry.unwrap(), NOW);
        black_box(handoff.seq);
    }
}

/// The same of INVITEs that have come together: as in a lane, they are read before the first is decided about.
pub struct InvitesTogether {
    dispatch: Dispatch,
    callers: [Numbered; TOGETHER],
    scanners: [Scanner; TOGETHER],
    number: u64,
}

const TOGETHER: usize = 4;

impl InvitesTogether {
    pub fn new(workers: usize, policy: Policy, held: usize) -> Self {
        let mut step = InvitesTogether {
            dispatch: dispatch(workers, policy, held),
            callers: std::array::from_fn(|_| Numbered::new(invite(), 10)),
            scanners: std::array::from_fn(|_| Scanner::new()),
            number: 0,
        };
        for _ in 0..held.div_ceil(TOGETHER) {
            step.prepare();
            step.run();
        }
        step
    }
}

impl Step for InvitesTogether {
    fn prepare(&mut self) {
        for caller in &mut self.callers {
            caller.number = self.number;
            caller.next();
            self.number += 1;
        }
    }

    fn run(&mut self) {
        let mut scanned = self.scanners.iter_mut().zip(&self.callers);
        let messages: [Message<'_>; TOGETHER] = std::array::from_fn(|_| {
            let (scanner, caller) = scanned.next().unwrap();
            scanner.scan(&caller.bytes).unwrap()
        });
        let came = arrival(NOW);
        let ahead = |at: usize| self.dispatch.read_ahead(&messages[at], &came).unwrap();
        let essentials: [Essentials<'_>; TOGETHER] = [ahead(0), ahead(1), ahead(2), ahead(3)];
        let mut read = messages.iter().zip(&essentials);
        let foreseen: [Option<ReadRequest<'_>>; TOGETHER] = std::array::from_fn(|_| {
            let (message, essentials) = read.next().unwrap();
            self.dispatch.foresee(message, essentials, &came, NOW)
        });
        for (message, foreseen) in messages.iter().zip(&foreseen) {
            let decision = self.dispatch.on_foreseen(message, foreseen.as_ref().map(Foreseen::Request), &came, NOW);
            let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
            self.dispatch.on_answered(handoff.entry.unwrap(), NOW);
            black_box(handoff.seq);
        }
    }

    fn messages(&self) -> u64 {
        TOGETHER as u64
    }
}

/// The same of new connections.
pub struct NewConnections {
    dispatch: Dispatch,
    caller: Numbered,
}

impl NewConnections {
    pub fn new(workers: usize, policy: Policy, held: usize) -> Self {
        let mut step = NewConnections { dispatch: dispatch(workers, policy, held), caller: Numbered::new(crcx(), 9) };
        for _ in 0..held {
            step.prepare();
            step.run();
        }
        step
    }
}

impl Step for NewConnections {
    fn prepare(&mut self) {
        self.caller.next();
    }

    fn run(&mut self) {
        let message = mgcp::parse(&self.caller.bytes).unwrap();
        let decision = self.dispatch.on_message(&message, &arrival(NOW), NOW);
        let Target::Worker(handoff) = decision.target else { panic!("{decision:?}") };
        self.dispatch.on_answered(handoff.entry.unwrap(), NOW);
        black_box(handoff.seq);
    }
}

/// Parse and decision of a command for an endpoint's name.
pub struct ByName {
    dispatch: Dispatch,
    caller: Numbered,
}

impl ByName {
    pub fn new(workers: usize, held: usize) -> Self {
        ByName { dispatch: dispatch(workers, Policy::LeastLoad, held), caller: Numbered::new(dlcx(), 9) }
    }
}

impl Step for ByName {
    fn prepare(&mut self) {
        self.caller.next();
    }

    fn run(&mut self) {
        let message = mgcp::parse(&self.caller.bytes).unwrap();
        black_box(self.dispatch.on_message(&message, &arrival(NOW), NOW));
    }
}

/// Scan and decision of an INVITE that came before.
pub struct Retransmission {
    dispatch: Dispatch,
    scanner: Scanner,
    bytes: Vec<u8>,
}

impl Retransmission {
    pub fn new() -> Self {
        let mut step = Retransmission {
            dispatch: dispatch(4, Policy::LeastLoad, 1000),
            scanner: Scanner::new(),
            bytes: Numbered::new(invite(), 10).bytes,
        };
        step.run();
        step
    }
}

impl Step for Retransmission {
    fn run(&mut self) {
        let message = self.scanner.scan(&self.bytes).unwrap();
        black_box(self.dispatch.on_message(&message, &arrival(NOW), NOW));
    }
}

/// Scan and decision of a BYE that names its worker.
pub struct Bye(Retransmission);

impl Bye {
    pub fn new() -> Self {
        Bye(Retransmission { bytes: bye(), ..Retransmission::new() })
    }
}

impl Step for Bye {
    fn run(&mut self) {
        self.0.run();
    }
}

/// Scan and decision of new INVITEs for downstream proxies and of the 200 to each, against a full table.
pub struct Forwarded {
    dispatch: Dispatch,
    scanner: Scanner,
    caller: Numbered,
    answer: Numbered,
    now: Time,
}

impl Forwarded {
    /// The first line of the 200 and the begin of its Via; the branch follows.
    const STATUS: &'static [u8] = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=";

    pub fn new(policy: PoolPolicy, proxies: u32) -> Self {
        let proxy = |number: u32| Proxy {
            name: format!("fs{number}"),
            host: format!("10.1.{}.{}", number / 250, number % 250 + 1),
            port: Some(5060),
            ..Proxy::default()
        };
        let rules = Rules {
            proxies: (0..proxies).map(proxy).collect(),
            pools: vec![Pool { policy, record_route: RecordRoute::Never, ..Pool::default() }],
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), "198.51.100.1:5060".parse().unwrap())],
            slow_start: Duration::ZERO,
            ..Rules::default()
        };
        let setup = Setup { rules, keys: Keyring::new(KEY), table_cap: 10_000, group_cap: 16, workers: 0, seed: 3 };
        let completed = String::from_utf8(invite()).unwrap().replace(";rport;", ";rport=5060;received=203.0.113.5;");
        let (_, fields) = completed.split_once("\r\n").unwrap();
        let places = [b'b'; ForwardedBranch::LEN].into_iter().chain(*b";flow=").chain([b'f'; Flow::LEN]);
        let head: Vec<u8> = Self::STATUS.iter().copied().chain(places).chain(*b"\r\n").collect();
        let mut step = Forwarded {
            dispatch: Dispatch::new(setup),
            scanner: Scanner::new(),
            caller: Numbered::new(invite(), 10),
            answer: Numbered::new([&head, fields.as_bytes()].concat(), 10),
            now: NOW,
        };
        for _ in 0..20_000 {
            step.prepare();
            step.run();
        }
        step
    }
}

impl Step for Forwarded {
    fn prepare(&mut self) {
        self.caller.next();
        self.answer.next();
        self.now = self.now + Duration::from_micros(50);
    }

    fn run(&mut self) {
        let Forwarded { dispatch, scanner, caller, answer, now } = self;
        let (now, came) = (*now, arrival(*now));
        let message = scanner.scan(&caller.bytes).unwrap();
        let decision = dispatch.on_message(&message, &came, now);
        let Target::Forward(Forward { to: Hop::Address(server), branch, flow, .. }) = decision.target else {
            panic!("{decision:?}")
        };
        let at = Self::STATUS.len();
        answer.bytes[at..at + ForwardedBranch::LEN].copy_from_slice(branch.as_bytes());
        let at = at + ForwardedBranch::LEN + 6;
        answer.bytes[at..at + Flow::LEN].copy_from_slice(&flow.text());
        let message = scanner.scan(&answer.bytes).unwrap();
        let decision = dispatch.on_message(&message, &Arrival { source: server, ..came }, now);
        assert!(matches!(decision.target, Target::ForwardResponse(_)), "{decision:?}");
        dispatch.handle_timeout(now);
        black_box(server);
    }
}

/// All that the switch does with an INVITE on a connection that leaves on another one, or with its 200: scan, decision,
/// table, response context and the edited message, without the system calls.
pub struct Between {
    caller: Numbered,
    balancer: Balancer,
    is_200: bool,
    came: Vec<(Vec<u8>, End)>,
}

impl Between {
    /// Messages that come together.
    const BATCH: u64 = 32;

    pub fn invites() -> Self {
        Self::new(false)
    }

    pub fn answers() -> Self {
        Self::new(true)
    }

    fn new(is_200: bool) -> Self {
        let text = String::from_utf8(invite()).unwrap().replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        let (caller, balancer) = (Numbered::new(text.into(), 10), Balancer::new(4));
        let mut step = Between { caller, balancer, is_200, came: Vec::new() };
        for _ in 0..20_000 / Self::BATCH {
            step.prepare();
            step.run();
        }
        step
    }
}

impl Step for Between {
    fn prepare(&mut self) {
        let Between { caller, balancer, is_200, came } = self;
        // INVITEs that have left are answered, so that nothing stays of them.
        let left = balancer.left();
        if !*is_200 && !left.is_empty() {
            balancer.come(&responses(&left, "200 OK"));
            assert_eq!(balancer.left().len(), left.len());
        }
        *came = (0..Self::BATCH)
            .map(|_| {
                caller.next();
                (caller.bytes.clone(), End::Connection(ConnId(77)))
            })
            .collect();
        if *is_200 {
            balancer.come(came);
            *came = responses(&balancer.left(), "200 OK");
        }
    }

    fn run(&mut self) {
        self.balancer.come(&self.came);
    }

    fn messages(&self) -> u64 {
        Self::BATCH
    }
}
