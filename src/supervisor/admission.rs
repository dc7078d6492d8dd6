//! Who may take which slot: a worker's [`Hello`] judged, as a value.

use crate::handoff::frame::Hello;
use crate::ids::WorkerId;

/// The most workers that bring their own ports; beyond it a stranger is told so.
const OUTSIDERS: usize = 256;
/// No worker has more units than this: sums of loads stay far inside their type.
const CAPACITY_LIMIT: u32 = 1_000_000_000;

/// How a worker came to its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The dispatcher started it for this slot.
    Child(WorkerId),
    /// It connected to the handoff socket.
    Outsider,
}

/// Why a worker is not let in; the text goes to the worker and to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It names a slot that is not its own.
    #[error("slot {claimed} belongs to another worker; leave `name` out and a place is given")]
    ForeignSlot {
        /// The name it gave.
        claimed: String,
    },
    /// It came by itself and has no port to serve.
    #[error("a worker that the dispatcher did not start must bind its own SIP port and name it in `ports`")]
    NoPort,
    /// It does not serve SIP.
    #[error("`services` must contain \"sip\": nothing else is dispatched")]
    NoService,
    /// A capacity outside its range.
    #[error("`capacity` must lie between 1 and {CAPACITY_LIMIT}, not {0}")]
    Capacity(u32),
    /// Every place for such workers is taken.
    #[error("all {OUTSIDERS} places for workers of their own are taken")]
    Crowded,
}

/// Decides where a worker goes. `configured` slots belong to the dispatcher's own workers; `taken` tells which of the
/// places behind them are in use.
pub fn admit(
    hello: &Hello,
    origin: Origin,
    configured: u16,
    taken: impl Fn(WorkerId) -> bool,
) -> Result<WorkerId, Refusal> {
    if !hello.services.iter().any(|service| service == "sip") {
        return Err(Refusal::NoService);
    }
    if let Some(capacity) = hello.capacity
        && !(1..=CAPACITY_LIMIT).contains(&capacity)
    {
        return Err(Refusal::Capacity(capacity));
    }
    let claimed = hello.name.as_deref();
    match origin {
        Origin::Child(slot) => match claimed {
            Some(name) if name != slot.to_string() => Err(Refusal::ForeignSlot { claimed: name.to_owned() }),
            _ => Ok(slot),
        },
        Origin::Outsider => {
            if let Some(name) = claimed
                && name.parse::<WorkerId>().is_ok()
            {
                return Err(Refusal::ForeignSlot { claimed: name.to_owned() });
            }
            if !hello.ports.iter().any(|port| port.service == "sip" && port.address.port() != 0) {
                return Err(Refusal::NoPort);
            }
            (configured..=u16::MAX).map(WorkerId).take(OUTSIDERS).find(|worker| !taken(*worker)).ok_or(Refusal::Crowded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::frame::Port;

    fn outsider() -> Hello {
        let address = "127.0.0.1:6060".parse().unwrap();
        Hello { ports: vec![Port { service: "sip".into(), address }], ..Hello::default() }
    }

    #[test]
    fn a_child_gets_its_own_slot_and_no_other() {
        let origin = Origin::Child(WorkerId(2));
        let named = |name: &str| Hello { name: Some(name.into()), ..Hello::default() };
        assert_eq!(admit(&Hello::default(), origin, 4, |_| true), Ok(WorkerId(2)));
        assert_eq!(admit(&named("w2"), origin, 4, |_| true), Ok(WorkerId(2)));
        assert_eq!(admit(&named("w1"), origin, 4, |_| false), Err(Refusal::ForeignSlot { claimed: "w1".into() }));
    }

    #[test]
    fn an_outsider_gets_the_first_free_place_behind_the_configured_ones() {
        assert_eq!(admit(&outsider(), Origin::Outsider, 4, |worker| worker.0 < 6), Ok(WorkerId(6)));
        let named = Hello { name: Some("gpu-box".into()), ..outsider() };
        assert_eq!(admit(&named, Origin::Outsider, 4, |_| false), Ok(WorkerId(4)));
    }

    #[test]
    fn an_outsider_that_claims_a_slot_is_refused() {
        let hello = Hello { name: Some("w0".into()), ..outsider() };
        assert_eq!(admit(&hello, Origin::Outsider, 4, |_| false), Err(Refusal::ForeignSlot { claimed: "w0".into() }));
    }

    #[test]
    fn impossible_hellos_are_refused_with_their_reason() {
        let judge = |hello: Hello| admit(&hello, Origin::Outsider, 1, |_| false);
        assert_eq!(judge(Hello::default()), Err(Refusal::NoPort));
        assert_eq!(judge(Hello { services: vec!["mgcp".into()], ..outsider() }), Err(Refusal::NoService));
        assert_eq!(judge(Hello { capacity: Some(0), ..outsider() }), Err(Refusal::Capacity(0)));
        assert_eq!(judge(Hello { capacity: Some(u32::MAX), ..outsider() }), Err(Refusal::Capacity(u32::MAX)));
        assert_eq!(admit(&outsider(), Origin::Outsider, 1, |_| true), Err(Refusal::Crowded));
    }
}
