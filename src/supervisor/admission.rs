//! Admission of workers to slots: a worker's [`Hello`] judged, as a value.

use std::net::SocketAddr;

use crate::config::MAX_WORKERS;
use crate::dispatch::decision::Services;
use crate::ids::{Incarnation, TokenKey, WorkerId};
use crate::words::Hello;

/// Most workers that bring their own ports. One worker more is refused and told the reason.
const UNMANAGED_WORKERS: usize = 256;
/// Most units of a worker: sums of loads stay far inside their type.
const CAPACITY_LIMIT: u32 = 1_000_000_000;
/// Most transactions that a worker may announce. One process cannot serve so many in the 64·T1 for which it keeps
/// each.
const TRANSACTIONS: u32 = 1 << 20;
/// Most conferences that a worker may announce: as many as a dispatcher remembers.
const CONFERENCES: u32 = 1 << 16;
/// Most unanswered messages that a worker may announce: more than fit into the bytes that it may hand back.
const MESSAGES: u32 = 1 << 16;

/// Way in which a worker came to its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The dispatcher started it for this slot.
    Child(WorkerId),
    /// It connected to the handoff socket.
    Unmanaged,
}

/// Reason why a worker is refused; the text goes to the worker and to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names a slot that is not its own.
    #[error("slot {claimed} belongs to another worker; leave `name` out, and a free slot is given")]
    ForeignSlot {
        /// The name it gave.
        claimed: String,
    },
    /// It is unmanaged, serves SIP by its own account, and names no port to serve it on.
    #[error("a worker that the dispatcher did not start must bind its own SIP port and name it in `ports`")]
    NoPort,
    /// It serves neither SIP nor MGCP.
    #[error("`services` must contain \"sip\" or \"mgcp\": nothing else is dispatched")]
    NoService,
    /// A capacity outside its range.
    #[error("`capacity` must lie between 1 and {CAPACITY_LIMIT}, not {0}")]
    Capacity(u32),
    /// Every slot for unmanaged workers is taken.
    #[error("all {UNMANAGED_WORKERS} slots for unmanaged workers are taken")]
    Crowded,
    /// It claims to be a worker of an earlier dispatcher, but its process does not hold the slot's lock.
    #[error("it claims {slot}, whose lock is held by {}", .holder.map_or_else(|| "no process".to_owned(), |pid| format!("process {pid}")))]
    NotTheHolder {
        /// The slot.
        slot: WorkerId,
        /// Process that holds the lock.
        holder: Option<u32>,
    },
    /// Slot, incarnation and secret do not belong together.
    #[error("it claims to be {0} of an earlier dispatcher, but its secret was not made with this run directory's key")]
    ForeignSecret(WorkerId),
    /// A number that no worker can have.
    #[error("it announces {count} {what}, more than a worker can have")]
    Count {
        /// Name of the number.
        what: &'static str,
        /// The number.
        count: u32,
    },
    /// The descriptors beside its `Hello` are not those that it names.
    #[error("it names {named} sockets and has sent {came}")]
    Sockets {
        /// Number of sockets that it names.
        named: usize,
        /// Number of sockets that came.
        came: usize,
    },
}

/// Occupancy of a slot after the configured ones, for an unmanaged worker that has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// No worker has the slot.
    Free,
    /// A worker has the slot.
    Taken,
    /// The slot's worker is gone without a goodbye.
    Down {
        /// Whether it had the same name and program as the worker that has connected.
        alike: bool,
    },
}

/// The slot of an admitted worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The slot.
    pub worker: WorkerId,
    /// The incarnation that it keeps, if it was there before; its calls carry that token.
    pub incarnation: Option<Incarnation>,
}

/// Evidence, beside its [`Hello`], about a process that says it is a worker of an earlier dispatcher.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its process id, as the kernel reports it; `None` where the process lives in another container.
    pub peer: Option<u32>,
    /// Process that holds the lock of the slot that it names.
    pub holder: Option<u32>,
    /// Number of descriptors that came beside the `Hello`.
    pub descriptors: usize,
    /// The run directory's key and the one before it. Empty when the key has been lost: a worker that proves itself by
    /// its own copy of the key then gives it back.
    pub keys: &'a [TokenKey],
}

/// A worker of an earlier dispatcher that may come back to its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readmitted {
    /// Its slot.
    pub worker: WorkerId,
    /// The incarnation that it keeps.
    pub incarnation: Incarnation,
    /// The key that its token was made with.
    pub key: TokenKey,
}

/// The slot that a worker names as its own.
pub fn claimed(hello: &Hello) -> Option<WorkerId> {
    hello.name.as_deref()?.parse().ok()
}

/// Checks the counts in a `Hello` against their limits.
pub fn check_counts(hello: &Hello) -> Result<(), Refusal> {
    let limits = [
        ("units in use", hello.units_used, CAPACITY_LIMIT),
        // Every session takes at least one unit.
        ("sessions", hello.sessions, hello.units_used),
        ("transactions", hello.transactions, TRANSACTIONS),
        ("conferences", hello.conferences, CONFERENCES),
        ("messages", hello.messages, MESSAGES),
    ];
    match limits.into_iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, _)) => Err(Refusal::Count { what, count }),
        None => Ok(()),
    }
}

/// Decides whether a worker of an earlier dispatcher may come back. Its lock, if the lock's file is still there, proves
/// that the slot is its own; its secret proves that an earlier dispatcher gave it the slot.
pub fn readmit(hello: &Hello, evidence: &Evidence<'_>) -> Result<Readmitted, Refusal> {
    let name = || Refusal::ForeignSlot { claimed: hello.name.clone().unwrap_or_default() };
    let worker = claimed(hello).filter(|worker| worker.0 < MAX_WORKERS).ok_or_else(name)?;
    check_capacity(hello)?;
    check_counts(hello)?;
    let holder = evidence.holder;
    // A lock whose file was cleaned away has no holder. SO_PEERCRED then names the process, and the secret below proves
    // that the slot is its own.
    if holder.or(evidence.peer) != Some(hello.pid) || evidence.peer.is_some_and(|peer| peer != hello.pid) {
        return Err(Refusal::NotTheHolder { slot: worker, holder });
    }
    if evidence.descriptors != hello.sockets.len() {
        return Err(Refusal::Sockets { named: hello.sockets.len(), came: evidence.descriptors });
    }
    let own = hello.key.as_slice();
    let keys = if evidence.keys.is_empty() { own } else { evidence.keys };
    match proven(hello, worker, keys) {
        Some((incarnation, key)) => Ok(Readmitted { worker, incarnation, key: key.clone() }),
        None => Err(Refusal::ForeignSecret(worker)),
    }
}

/// The incarnation that a secret proves, and the key it was made with.
fn proven<'k>(hello: &Hello, worker: WorkerId, keys: &'k [TokenKey]) -> Option<(Incarnation, &'k TokenKey)> {
    let (secret, bits) = (hello.secret?, hello.incarnation?);
    let incarnation = Incarnation::new(bits);
    // Two 64-bit numbers are compared in one step, so that the time it takes tells a guesser nothing.
    let is_it = |key: &&TokenKey| key.slot_secret(worker, incarnation) ^ secret == 0;
    (incarnation.bits() == bits).then(|| keys.iter().find(is_it)).flatten().map(|key| (incarnation, key))
}

/// Decides on a worker's slot. The first `configured` slots are the supervisor's own; `occupancy` returns the state
/// of a slot after them.
pub fn admit(
    hello: &Hello,
    origin: Origin,
    configured: u16,
    key: &TokenKey,
    occupancy: impl Fn(WorkerId) -> Occupancy,
) -> Result<Admitted, Refusal> {
    let services = Services::named(&hello.services);
    if services.is_empty() {
        return Err(Refusal::NoService);
    }
    check_capacity(hello)?;
    let claimed = hello.name.as_deref();
    match origin {
        Origin::Child(slot) => match claimed {
            Some(name) if name != slot.to_string() => Err(Refusal::ForeignSlot { claimed: name.to_owned() }),
            _ => Ok(Admitted { worker: slot, incarnation: None }),
        },
        Origin::Unmanaged => {
            if let Some(name) = claimed
                && name.parse::<WorkerId>().is_ok()
            {
                return Err(Refusal::ForeignSlot { claimed: name.to_owned() });
            }
            // Its MGCP endpoints are found by name over the link; later messages of a SIP call come to its port alone.
            if services.sip && !hello.ports.iter().any(|port| port.service == "sip" && port.address.port() != 0) {
                return Err(Refusal::NoPort);
            }
            let all = || {
                (configured..=u16::MAX).map(WorkerId).take(UNMANAGED_WORKERS).map(|worker| (worker, occupancy(worker)))
            };
            let free = || all().filter(|(_, occupancy)| *occupancy != Occupancy::Taken).map(|(worker, _)| worker);
            // A worker that was here before keeps its slot and incarnation: messages that carry its token still find
            // it.
            let former = free().find_map(|worker| {
                let (incarnation, _) = proven(hello, worker, std::slice::from_ref(key))?;
                Some(Admitted { worker, incarnation: Some(incarnation) })
            });
            // A successor takes the slot of the worker that died; slots of dead workers go to others only when none is
            // free.
            let with = |wanted| all().find(|(_, occupancy)| *occupancy == wanted).map(|(worker, _)| worker);
            let successor = || with(Occupancy::Down { alike: true });
            let new = || with(Occupancy::Free).or_else(|| with(Occupancy::Down { alike: false }));
            let fresh = || successor().or_else(new).map(|worker| Admitted { worker, incarnation: None });
            former.or_else(fresh).ok_or(Refusal::Crowded)
        }
    }
}

fn check_capacity(hello: &Hello) -> Result<(), Refusal> {
    match hello.capacity {
        Some(capacity) if !(1..=CAPACITY_LIMIT).contains(&capacity) => Err(Refusal::Capacity(capacity)),
        _ => Ok(()),
    }
}

/// Whether two workers on these addresses would get each other's messages: an unspecified address stands for every
/// address of its family.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_any = ip.is_unspecified() || other_ip.is_unspecified();
    one.port() == other.port() && (ip == other_ip || is_any && ip.is_ipv4() == other_ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Port;

    fn unmanaged() -> Hello {
        let address = "127.0.0.1:6060".parse().unwrap();
        Hello { ports: vec![Port { service: "sip".into(), address }], ..Hello::default() }
    }

    const KEY: TokenKey = TokenKey::new([3; 32]);

    fn at(worker: u16) -> Admitted {
        Admitted { worker: WorkerId(worker), incarnation: None }
    }

    fn admitted(
        hello: &Hello,
        origin: Origin,
        configured: u16,
        key: &TokenKey,
        taken: impl Fn(WorkerId) -> bool,
    ) -> Result<Admitted, Refusal> {
        admit(hello, origin, configured, key, |worker| if taken(worker) { Occupancy::Taken } else { Occupancy::Free })
    }

    #[test]
    fn a_child_gets_its_own_slot_and_no_other() {
        let origin = Origin::Child(WorkerId(2));
        let named = |name: &str| Hello { name: Some(name.into()), ..Hello::default() };
        assert_eq!(admitted(&Hello::default(), origin, 4, &KEY, |_| true), Ok(at(2)));
        assert_eq!(admitted(&named("w2"), origin, 4, &KEY, |_| true), Ok(at(2)));
        assert_eq!(
            admitted(&named("w1"), origin, 4, &KEY, |_| false),
            Err(Refusal::ForeignSlot { claimed: "w1".into() })
        );
    }

    #[test]
    fn an_unmanaged_worker_gets_the_first_free_slot_after_the_configured_ones() {
        assert_eq!(admitted(&unmanaged(), Origin::Unmanaged, 4, &KEY, |worker| worker.0 < 6), Ok(at(6)));
        let named = Hello { name: Some("gpu-box".into()), ..unmanaged() };
        assert_eq!(admitted(&named, Origin::Unmanaged, 4, &KEY, |_| false), Ok(at(4)));
    }

    #[test]
    fn an_unmanaged_worker_that_claims_a_slot_is_refused() {
        let hello = Hello { name: Some("w0".into()), ..unmanaged() };
        assert_eq!(
            admitted(&hello, Origin::Unmanaged, 4, &KEY, |_| false),
            Err(Refusal::ForeignSlot { claimed: "w0".into() })
        );
    }

    #[test]
    fn impossible_hellos_are_refused_with_their_reason() {
        let judge = |hello: Hello| admitted(&hello, Origin::Unmanaged, 1, &KEY, |_| false);
        assert_eq!(judge(Hello::default()), Err(Refusal::NoPort));
        assert_eq!(judge(Hello { services: vec!["h248".into()], ..unmanaged() }), Err(Refusal::NoService));
        let gateway = Hello { services: vec!["mgcp".into()], ports: Vec::new(), ..unmanaged() };
        assert!(judge(gateway.clone()).is_ok(), "it is reached over its link");
        let both = Hello { services: vec!["sip".into(), "mgcp".into()], ..gateway };
        assert_eq!(judge(both), Err(Refusal::NoPort));
        assert_eq!(judge(Hello { capacity: Some(0), ..unmanaged() }), Err(Refusal::Capacity(0)));
        assert_eq!(judge(Hello { capacity: Some(u32::MAX), ..unmanaged() }), Err(Refusal::Capacity(u32::MAX)));
        assert_eq!(admitted(&unmanaged(), Origin::Unmanaged, 1, &KEY, |_| true), Err(Refusal::Crowded));
    }

    #[test]
    fn an_unmanaged_worker_that_was_here_before_goes_on_with_its_token() {
        let life = Incarnation::new(77);
        let back =
            Hello { incarnation: Some(life.bits()), secret: Some(KEY.slot_secret(WorkerId(5), life)), ..unmanaged() };
        let judge = |hello: &Hello| admitted(hello, Origin::Unmanaged, 4, &KEY, |_| false);
        assert_eq!(judge(&back), Ok(Admitted { worker: WorkerId(5), incarnation: Some(life) }));
        assert_eq!(judge(&Hello { incarnation: Some(78), ..back.clone() }), Ok(at(4)), "a guess is a new worker");
        let taken = admitted(&back, Origin::Unmanaged, 4, &KEY, |worker| worker.0 == 5);
        assert_eq!(taken, Ok(at(4)), "its place has another by now");
    }

    #[test]
    fn a_successor_takes_the_slot_of_the_one_that_died_and_others_only_where_none_is_free() {
        let left = |alike: bool| {
            move |worker: WorkerId| match worker.0 {
                4 => Occupancy::Taken,
                5 => Occupancy::Down { alike },
                _ => Occupancy::Free,
            }
        };
        assert_eq!(admit(&unmanaged(), Origin::Unmanaged, 4, &KEY, left(true)), Ok(at(5)));
        assert_eq!(admit(&unmanaged(), Origin::Unmanaged, 4, &KEY, left(false)), Ok(at(6)));
        let full = |worker: WorkerId| if worker.0 == 7 { Occupancy::Down { alike: false } } else { Occupancy::Taken };
        assert_eq!(admit(&unmanaged(), Origin::Unmanaged, 4, &KEY, full), Ok(at(7)));
    }

    fn reattaching() -> Hello {
        let life = Incarnation::new(77);
        Hello {
            name: Some("w2".into()),
            pid: 4711,
            incarnation: Some(life.bits()),
            secret: Some(KEY.slot_secret(WorkerId(2), life)),
            units_used: 10,
            sessions: 10,
            ..Hello::default()
        }
    }

    fn evidence(keys: &[TokenKey]) -> Evidence<'_> {
        Evidence { peer: Some(4711), holder: Some(4711), descriptors: 0, keys }
    }

    #[test]
    fn a_worker_of_an_earlier_dispatcher_comes_back_by_lock_and_secret() {
        let readmitted = Readmitted { worker: WorkerId(2), incarnation: Incarnation::new(77), key: KEY };
        assert_eq!(readmit(&reattaching(), &evidence(&[KEY])), Ok(readmitted.clone()));
        let newer = TokenKey::new([4; 32]);
        assert_eq!(readmit(&reattaching(), &evidence(&[newer, KEY])), Ok(readmitted.clone()), "the key before");
        let elsewhere = Evidence { peer: None, ..evidence(&[KEY]) };
        assert_eq!(readmit(&reattaching(), &elsewhere), Ok(readmitted), "its number says nothing here");
    }

    #[test]
    fn a_worker_whose_lock_was_cleaned_away_comes_back_by_its_process_and_its_secret() {
        let unlocked = Evidence { holder: None, ..evidence(&[KEY]) };
        assert_eq!(readmit(&reattaching(), &unlocked).map(|readmitted| readmitted.worker), Ok(WorkerId(2)));
        let guess = Hello { secret: Some(1), ..reattaching() };
        assert_eq!(readmit(&guess, &unlocked), Err(Refusal::ForeignSecret(WorkerId(2))));
    }

    #[test]
    fn a_worker_gives_back_the_key_that_was_lost_and_no_other() {
        let keeper = Hello { key: Some(KEY), ..reattaching() };
        assert_eq!(readmit(&keeper, &evidence(&[])).map(|readmitted| readmitted.key), Ok(KEY));
        let refused = Err(Refusal::ForeignSecret(WorkerId(2)));
        assert_eq!(readmit(&reattaching(), &evidence(&[])), refused);
        let foreign = Hello { key: Some(TokenKey::new([9; 32])), ..reattaching() };
        assert_eq!(readmit(&foreign, &evidence(&[])), refused);
        // While the run directory has a key, no worker's key replaces it.
        let other = TokenKey::new([4; 32]);
        assert_eq!(readmit(&keeper, &evidence(std::slice::from_ref(&other))), refused);
    }

    #[test]
    fn a_false_claim_to_be_a_reattaching_worker_is_refused_with_its_reason() {
        let judge = |hello: Hello| readmit(&hello, &evidence(&[KEY]));
        let foreign = Err(Refusal::ForeignSecret(WorkerId(2)));
        assert_eq!(judge(Hello { secret: Some(1), ..reattaching() }), foreign);
        assert_eq!(judge(Hello { secret: None, ..reattaching() }), foreign);
        assert_eq!(judge(Hello { incarnation: Some(78), ..reattaching() }), foreign);
        // Bits that no incarnation has must not be cut to one that is proven.
        assert_eq!(judge(Hello { incarnation: Some(77 | 1 << 60), ..reattaching() }), foreign);
        assert_eq!(judge(Hello { name: Some("w3".into()), ..reattaching() }), Err(Refusal::ForeignSecret(WorkerId(3))));
        let beyond = Err(Refusal::ForeignSlot { claimed: "w65535".into() });
        assert_eq!(judge(Hello { name: Some("w65535".into()), ..reattaching() }), beyond);
        assert_eq!(judge(Hello { name: None, ..reattaching() }), Err(Refusal::ForeignSlot { claimed: String::new() }));
        assert_eq!(judge(Hello { capacity: Some(0), ..reattaching() }), Err(Refusal::Capacity(0)));
        let count = |what, count| Err(Refusal::Count { what, count });
        assert_eq!(judge(Hello { units_used: u32::MAX, ..reattaching() }), count("units in use", u32::MAX));
        assert_eq!(judge(Hello { sessions: 11, ..reattaching() }), count("sessions", 11));
        assert_eq!(judge(Hello { transactions: 1 << 21, ..reattaching() }), count("transactions", 1 << 21));
        assert_eq!(judge(Hello { conferences: 1 << 17, ..reattaching() }), count("conferences", 1 << 17));
        let with = |change: Evidence<'_>| readmit(&reattaching(), &change);
        let not_it = |holder| Err(Refusal::NotTheHolder { slot: WorkerId(2), holder });
        assert_eq!(with(Evidence { peer: Some(1), ..evidence(&[KEY]) }), not_it(Some(4711)));
        assert_eq!(with(Evidence { holder: None, peer: None, ..evidence(&[KEY]) }), not_it(None));
        assert_eq!(with(Evidence { holder: None, peer: Some(1), ..evidence(&[KEY]) }), not_it(None));
        assert_eq!(judge(Hello { pid: 1, ..reattaching() }), not_it(Some(4711)));
        assert_eq!(with(Evidence { descriptors: 1, ..evidence(&[KEY]) }), Err(Refusal::Sockets { named: 0, came: 1 }));
    }

    #[test]
    fn an_unspecified_address_meets_every_address_of_its_family() {
        let meets = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(meets("192.0.2.1:5070", "192.0.2.1:5070"));
        assert!(meets("0.0.0.0:5070", "192.0.2.1:5070") && meets("192.0.2.1:5070", "0.0.0.0:5070"));
        assert!(meets("[::]:5070", "[2001:db8::1]:5070") && meets("[::ffff:192.0.2.1]:5070", "192.0.2.1:5070"));
        assert!(!meets("192.0.2.1:5070", "192.0.2.2:5070") && !meets("0.0.0.0:5070", "192.0.2.1:5071"));
        assert!(!meets("0.0.0.0:5070", "[2001:db8::1]:5070"), "listeners of one family leave the other alone");
    }
}
