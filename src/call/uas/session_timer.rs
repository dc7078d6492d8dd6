//! Session timers (RFC 4028): the refreshing side, the interval, and the end of a call without refresh. Arithmetic and
//! its header fields only.

use std::time::Duration;

use crate::call::identity::SessionTimer;
use crate::call::uas::request::Request;
use crate::time::Time;
use crate::wire::push_number;
use crate::wire::sip::{Name, delta_seconds};
use crate::words::Transport;

/// The side that sends the refreshes. The RFC's `uas` and `uac` are the roles in the *request*, so each side is named
/// from our point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
}

/// The longest interval, in seconds: a day. A caller that is gone holds its units no longer, whatever it has asked for.
/// RFC 4028 §9 lets us lower what a request proposes; a `Min-SE` beyond this is not believed.
pub const LONGEST: u32 = 86_400;

/// An agreed session interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its length in seconds.
    pub seconds: u32,
    /// The side that refreshes.
    pub refresher: Refresher,
}

impl Interval {
    /// Time from the last refresh to the next action. If we refresh, our refresh is due at half the interval. If the
    /// peer refreshes and has not, our BYE is due min(32 s, a third) before the end (RFC 4028 §10).
    pub fn due(&self) -> Duration {
        let seconds = match self.refresher {
            Refresher::Us => self.seconds / 2,
            Refresher::Peer => self.seconds - (self.seconds / 3).min(32),
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// Time from the last refresh to our BYE, if our refresh got no answer that counts.
    pub fn last_call(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds - (self.seconds / 3).min(32)))
    }
}

/// The session timer of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) interval: Interval,
    /// When we refresh; if the peer refreshes, when we hang up for lack of its refresh.
    pub(super) due: Time,
    /// When we hang up, whichever side should have refreshed.
    pub(super) expires: Time,
    /// Refreshes of ours in a row that were refused.
    refused: u32,
}

/// A session over a connection is refreshed this often at least: connections that are silent for ten minutes are
/// closed, and a browser cannot be called back.
const KEEPS_CONNECTION: Duration = Duration::from_secs(300);
/// The shortest pause before a refused refresh is tried again; each refusal doubles it.
const PAUSE: Duration = Duration::from_secs(2);
/// The pause is doubled at most this often.
const DOUBLED: u32 = 4;

impl Session {
    /// The timer of a call over `transport`, which begins now.
    pub(super) fn new(interval: Interval, transport: Transport, now: Time) -> Self {
        let due = match interval.refresher {
            Refresher::Us if transport != Transport::Udp => interval.due().min(KEEPS_CONNECTION),
            _ => interval.due(),
        };
        Session { interval, due: now + due, expires: now + interval.last_call(), refused: 0 }
    }

    /// A refresh of ours was refused. The next one comes after `pause` or, if the peer names none, after a pause that
    /// grows with each refusal.
    pub(super) fn try_again(&mut self, pause: Option<Duration>, jitter: Duration, now: Time) {
        let grown = PAUSE * 2_u32.pow(self.refused.min(DOUBLED));
        self.refused = self.refused.saturating_add(1);
        self.due = (now + pause.unwrap_or(grown) + jitter).min(self.expires);
    }
}

/// The proposal of a request for session timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// The interval of `Session-Expires`, in seconds.
    pub seconds: Option<u32>,
    /// Its `refresher` parameter: whether it names the sender of the request (`uac`) or us (`uas`).
    pub refresher: Option<Refresher>,
    /// `Min-SE`, in seconds.
    pub min_se: Option<u32>,
    /// Whether the peer's `Supported` or `Require` lists `timer`.
    pub supported: bool,
}

impl Proposal {
    /// The proposal of a request.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let supported = request.lists(Name::Supported, b"timer") || request.lists(Name::Require, b"timer");
        Proposal::read(request.msg.header(Name::SessionExpires), request.msg.header(Name::MinSe), supported)
    }

    /// Reads the values of `Session-Expires` and `Min-SE`. A value that is not a number counts as absent: RFC 4028
    /// gives no status for it, and a call without session timer does less harm than a refusal.
    pub fn read(session_expires: Option<&[u8]>, min_se: Option<&[u8]>, supported: bool) -> Self {
        let refresher = session_expires.and_then(|value| {
            value.split(|byte| *byte == b';').skip(1).find_map(|param| {
                let mut halves = param.splitn(2, |byte| *byte == b'=');
                let name = halves.next()?.trim_ascii();
                let value = halves.next()?.trim_ascii();
                if !name.eq_ignore_ascii_case(b"refresher") {
                    None
                } else if value.eq_ignore_ascii_case(b"uac") {
                    Some(Refresher::Peer)
                } else if value.eq_ignore_ascii_case(b"uas") {
                    Some(Refresher::Us)
                } else {
                    None
                }
            })
        });
        Proposal {
            seconds: session_expires.and_then(delta_seconds),
            refresher,
            min_se: min_se.and_then(delta_seconds),
            supported,
        }
    }

    /// The agreement we answer with as UAS: `Ok(None)` for no session timer, `Err` with our `Min-SE` for a 422.
    pub fn agree(&self, ours: &SessionTimer) -> Result<Option<Interval>, u32> {
        let floor = ours.min_se.max(90);
        let Some(proposed) = self.seconds else {
            let Some(wanted) = ours.expires else { return Ok(None) };
            let seconds = wanted.max(floor).max(self.min_se.unwrap_or(0).min(LONGEST));
            // RFC 4028 §9: a peer that does not know session timers cannot be made to refresh.
            let refresher = if self.supported { Refresher::Peer } else { Refresher::Us };
            return Ok(Some(Interval { seconds, refresher }));
        };
        if proposed < floor && self.supported {
            return Err(floor);
        }
        // A 422 means nothing to a peer without support: a proxy put the header in. Our interval may be no lower than
        // allowed.
        let seconds = proposed.min(LONGEST).max(floor);
        let refresher = match self.refresher {
            _ if !self.supported => Refresher::Us,
            Some(refresher) => refresher,
            None => Refresher::Peer,
        };
        Ok(Some(Interval { seconds, refresher }))
    }

    /// The agreement in the peer's 2xx to a refresh of ours. The `uac` of that response is this worker.
    pub fn accepted(&self) -> Option<Interval> {
        let seconds = self.seconds?.clamp(90, LONGEST);
        let refresher = match self.refresher {
            Some(Refresher::Us) => Refresher::Peer,
            Some(Refresher::Peer) | None => Refresher::Us,
        };
        Some(Interval { seconds, refresher })
    }
}

/// The agreement that our 2xx to a request states.
pub(super) struct Agreement {
    interval: Interval,
    /// The value of `Session-Expires`.
    value: Vec<u8>,
    /// Whether the peer knows session timers.
    supported: bool,
}

impl Agreement {
    /// The agreement with the sender of a proposal; `None` for no session timer.
    pub(super) fn with(proposal: &Proposal, ours: &SessionTimer) -> Option<Self> {
        let interval = proposal.agree(ours).ok()??;
        let mut value = Vec::with_capacity(24);
        push_number(&mut value, interval.seconds);
        value.extend_from_slice(match interval.refresher {
            Refresher::Us => b";refresher=uas",
            Refresher::Peer => b";refresher=uac",
        });
        Some(Agreement { interval, value, supported: proposal.supported })
    }

    /// Its header fields.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let require = self.supported.then_some(("Require", &b"timer"[..]));
        std::iter::once(("Session-Expires", self.value.as_slice())).chain(require)
    }

    /// The timer that begins with the 2xx.
    pub(super) fn begin(&self, transport: Transport, now: Time) -> Session {
        Session::new(self.interval, transport, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: SessionTimer = SessionTimer { expires: Some(1_800), min_se: 90 };

    fn agreed(
        session_expires: Option<&str>,
        min_se: Option<&str>,
        supported: bool,
    ) -> Result<Option<(u32, Refresher)>, u32> {
        let proposal = Proposal::read(session_expires.map(str::as_bytes), min_se.map(str::as_bytes), supported);
        proposal.agree(&OURS).map(|interval| interval.map(|interval| (interval.seconds, interval.refresher)))
    }

    #[test]
    fn the_table_of_rfc_4028_section_9() {
        use Refresher::{Peer, Us};
        // (Session-Expires, Min-SE, peer supports timer) → agreement
        assert_eq!(agreed(Some("600;refresher=uac"), None, true), Ok(Some((600, Peer))));
        assert_eq!(agreed(Some("600 ; refresher = UAS"), None, true), Ok(Some((600, Us))));
        assert_eq!(agreed(Some("600"), None, true), Ok(Some((600, Peer))));
        assert_eq!(agreed(Some("600"), None, false), Ok(Some((600, Us))));
        assert_eq!(agreed(Some("89"), None, true), Err(90));
        assert_eq!(agreed(Some("30"), None, false), Ok(Some((90, Us))));
        assert_eq!(agreed(None, None, true), Ok(Some((1_800, Peer))));
        assert_eq!(agreed(None, Some("3600"), true), Ok(Some((3_600, Peer))));
        assert_eq!(agreed(None, None, false), Ok(Some((1_800, Us))));
        assert_eq!(agreed(Some("soon"), None, true), Ok(Some((1_800, Peer))));
        assert_eq!(agreed(Some("4294967295"), Some("4294967295"), true), Ok(Some((86_400, Peer))));
        assert_eq!(agreed(None, Some("4294967295"), true), Ok(Some((86_400, Peer))));
        assert_eq!(agreed(Some("4294967296"), None, true), Ok(Some((86_400, Peer))), "no number is too large");
        assert_eq!(Proposal::default().agree(&SessionTimer { expires: None, min_se: 90 }), Ok(None));
    }

    #[test]
    fn the_refresher_acts_at_half_the_interval_and_the_other_shortly_before_its_end() {
        let of = |seconds, refresher| Interval { seconds, refresher }.due().as_secs();
        assert_eq!(of(1_800, Refresher::Us), 900);
        assert_eq!(of(1_800, Refresher::Peer), 1_768);
        assert_eq!(of(90, Refresher::Peer), 60);
    }

    #[test]
    fn in_a_response_uac_is_us() {
        let read = |value: &str| Proposal::read(Some(value.as_bytes()), None, true).accepted();
        assert_eq!(read("600;refresher=uac"), Some(Interval { seconds: 600, refresher: Refresher::Us }));
        assert_eq!(read("600;refresher=uas"), Some(Interval { seconds: 600, refresher: Refresher::Peer }));
    }
}
