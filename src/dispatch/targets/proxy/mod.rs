//! A downstream proxy as a target: address, health, delay, load and weight, as one lane sees them.
//!
//! Probes and reports come from outside of the lanes, and every lane is told of them. Requests and responses are the
//! lane's own. Everything of one address: a name with several addresses is several proxies.

mod connections;
mod delay;
mod health;
mod load;
mod overload;
mod probes;
mod recent;
mod row;
mod waiting;
mod weight;

use std::net::SocketAddr;
use std::time::Duration;

use crate::dispatch::decision::Admin;
use crate::ids::ConnId;
use crate::pack::packed;
use crate::time::Time;
use crate::transaction::T1;
use crate::wire::load::OverloadControl;
use crate::words::Transport;

use connections::Connections;
pub use connections::Ended;
use delay::Delay;
use health::Health;
pub use health::{State, Why, is_failure};
use load::Load;
pub use load::{Limits, Process, Reported, Word};
use overload::Overload;
pub use overload::Precedence;
use probes::Concluded;
pub use probes::{Answered, ProbeNumber};
pub use row::Row;
use waiting::Waiting;
use weight::{Damped, Parts};

/// Time after which a request without an answer wishes for a probe.
const DOUBTFUL: Duration = Duration::from_millis(200);
/// Time after which a request without an answer, and no sign of life since, has a proxy down if a second message
/// confirms it: another request, or the probe that was wished for.
const DEAD: Duration = Duration::from_millis(900);
/// A wish is not repeated sooner, even if no probe comes.
const WISH_EVERY: Duration = Duration::from_secs(1);

/// The settings of one proxy that its state is judged by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// Share beside others of the same delay and load.
    pub handicap: f64,
    /// Lost probes in a row after which it is down.
    pub fall: u8,
    /// Answered probes in a row after which it is up again.
    pub rise: u8,
    /// Interval of its probes.
    pub probe_interval: Duration,
    /// Time after which a probe is lost.
    pub probe_within: Duration,
    /// Whether it is probed at all.
    pub is_probed: bool,
    /// Limits of its load.
    pub limits: Limits,
    /// Time after its return until it has its full share.
    pub slow_start: Duration,
    /// Whether its requests are redirected: then only probes tell of its delay.
    pub is_redirected: bool,
    /// Whether requests ask it for overload control (RFC 7339).
    pub asks_overload: bool,
    /// Its transport.
    pub transport: Transport,
    /// Whether messages name it in the extension header.
    pub is_identified: bool,
    /// Whether another proxy gets the requests inside its dialogs while it is down.
    pub moves_dialogs: bool,
    /// Persistent connections that are kept to it.
    pub connections: usize,
}

/// A request that was sent to a proxy, as the proxy knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sent {
    /// Life of the proxy then.
    pub life: u32,
    /// Number of the request.
    pub number: u32,
}

packed!(Sent { life, number });

/// A final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Final {
    /// Its status.
    pub status: u16,
    /// Its Retry-After.
    pub retry_after: Option<Duration>,
    /// Whether it is one to an INVITE that begins a call: a 2xx to another request begins no session.
    pub begins_call: bool,
}

/// A change of state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state from now on.
    pub state: State,
    /// Its grounds.
    pub why: Why,
}

/// Counts since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    calls: u64,
    answered: u64,
    moved: u64,
    failed: u64,
    probes: u64,
    probes_lost: u64,
}

packed!(Counts { calls, answered, moved, failed, probes, probes_lost });

/// One address of a downstream proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its address; `None` while its name has none.
    address: Option<SocketAddr>,
    /// Number of this address among all that there were.
    life: u32,
    admin: Admin,
    terms: Terms,
    health: Health,
    delay: Delay,
    damped: Damped,
    load: Load,
    waiting: Waiting,
    /// Its connections. A takeover does not hand them on: those that stay are found by their address.
    connections: Connections,
    concluded: Concluded,
    /// Microseconds of the last answered probe.
    probe_delay: Option<Duration>,
    counts: Counts,
    /// Whether a probe is wished for now, and when one last was.
    wish: bool,
    wished: Time,
    /// The state that was told last.
    told: State,
}

/// State of a proxy that a takeover hands on.
#[derive(Clone, Debug)]
pub struct Kept {
    address: Option<SocketAddr>,
    transport: Transport,
    life: u32,
    admin: Admin,
    health: Health,
    delay: Delay,
    damped: Damped,
    load: Load,
    waiting: Waiting,
    concluded: Concluded,
    probe_delay: Option<Duration>,
    counts: Counts,
}

packed!(Kept { address, transport, life, admin, health, delay, damped, load, waiting, concluded, probe_delay, counts });

impl Kept {
    /// Whether it does not contradict itself.
    pub fn is_sound(&self) -> bool {
        self.waiting.is_sound()
    }
}

impl Proxy {
    /// A proxy of which nothing is known: it gets requests.
    pub fn new(address: Option<SocketAddr>, life: u32, terms: Terms, now: Time) -> Self {
        let mut connections = Connections::default();
        connections.set_count(terms.connections, now);
        Proxy {
            address,
            life,
            admin: Admin::Ready,
            connections,
            health: Health::new(now),
            delay: Delay::default(),
            damped: Damped::new(now),
            load: Load::new(terms.limits),
            waiting: Waiting::default(),
            concluded: Concluded::default(),
            probe_delay: None,
            counts: Counts::default(),
            wish: false,
            wished: Time(0),
            told: State::first(address),
            terms,
        }
    }

    /// The proxy whose state was kept. The settings say its other terms.
    pub fn restored(kept: Kept) -> Self {
        let Kept { address, transport, life, admin, health, delay, damped, load, waiting, .. } = kept;
        let Kept { concluded, probe_delay, counts, .. } = kept;
        // Limits of no time would have its load forget the calls that it has counted.
        let terms = Terms { transport, ..Terms::default() };
        Proxy {
            address,
            life,
            admin,
            terms,
            health,
            delay,
            damped,
            load,
            waiting,
            connections: Connections::default(),
            concluded,
            probe_delay,
            counts,
            wish: false,
            wished: Time(0),
            told: State::first(address),
        }
    }

    /// Its state begins now.
    pub const fn on_start(&mut self, now: Time) {
        self.health.on_start(now);
    }

    /// The state that a takeover hands on.
    pub fn kept(&self) -> Kept {
        let Proxy { address, life, admin, health, delay, damped, load, waiting, .. } = self.clone();
        let Proxy { concluded, probe_delay, counts, terms: Terms { transport, .. }, .. } = self.clone();
        Kept { address, transport, life, admin, health, delay, damped, load, waiting, concluded, probe_delay, counts }
    }

    /// Forgets the requests that wait, but those that `is_known` names.
    pub fn keep_waiting(&mut self, now: Time, is_known: impl Fn(Sent) -> bool) {
        let life = self.life;
        let lost: Vec<u32> = self.waiting.numbers().filter(|&number| !is_known(Sent { life, number })).collect();
        lost.into_iter().for_each(|number| self.on_given_up(Sent { life, number }, now));
    }

    /// Sets other terms; the state stays.
    pub fn set_terms(&mut self, terms: Terms, now: Time) {
        if terms.transport != self.terms.transport {
            self.connections.retire_all();
        }
        self.connections.set_count(terms.connections, now);
        self.load.set_limits(terms.limits);
        if !terms.asks_overload {
            // Its server cannot take a wish back that nobody reads.
            *self.load.overload_mut() = Overload::default();
        }
        self.terms = terms;
    }

    /// Its persistent connections.
    pub const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Its persistent connections.
    pub const fn connections_mut(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// Takes note that a connection to it is open: a server that nothing listened for is there again.
    pub fn on_connected(&mut self, conn: ConnId, now: Time) {
        let (was_unreachable, was_without) = (self.connections.has_failed(), self.connections.open() == 0);
        if !self.connections.on_open(conn, now) {
            return;
        }
        if was_unreachable || self.health.why() == Why::Refused {
            self.change_health(now, |health| health.on_reached(now));
            self.waiting.on_lost();
        }
        if was_without {
            self.delay.begin_anew();
        }
    }

    /// Changes its health. Where it comes back by that, what it has not answered before says nothing of it any more.
    fn change_health(&mut self, now: Time, change: impl FnOnce(&mut Health)) {
        let before = self.health.back();
        change(&mut self.health);
        if self.health.back() != before {
            self.waiting.on_lost();
            self.delay.begin_anew();
            self.damped = Damped::new(now);
        }
    }

    /// Whether messages name it in the extension header.
    pub const fn is_identified(&self) -> bool {
        self.terms.is_identified
    }

    /// Whether another proxy gets the requests inside its dialogs while it is down.
    pub const fn moves_dialogs(&self) -> bool {
        self.terms.moves_dialogs
    }

    /// Whether it is reached over persistent connections.
    pub fn is_stream(&self) -> bool {
        self.transport() != Transport::Udp
    }

    /// Its transport.
    pub const fn transport(&self) -> Transport {
        self.terms.transport
    }

    /// Forgets what was reported of its load.
    pub fn forget_reports(&mut self) {
        self.load.forget_reports();
    }

    /// Sets the operator's order for it.
    pub const fn set_admin(&mut self, admin: Admin) {
        self.admin = admin;
    }

    /// Takes note that a new request is sent to it.
    pub fn on_sent(&mut self, now: Time) -> Sent {
        self.counts.calls += 1;
        let number = self.waiting.push(now);
        self.health.on_sent(number, now);
        Sent { life: self.life, number }
    }

    /// Takes note of the first response to a request, of any class.
    pub fn on_first_response(&mut self, sent: Sent, status: u16, now: Time) {
        let waited = if sent.life == self.life { self.waiting.on_response(sent.number) } else { None };
        let Some(begin) = waited else { return };
        self.change_health(now, |health| health.on_first_response(sent.number, status, now));
        let delay = now.since(begin);
        if is_failure(status) {
            self.delay.on_failure(delay, now);
        } else {
            self.delay.on_delay(delay, now);
        }
    }

    /// Takes note of the final response to a request, which may be the first one too.
    pub fn on_final_response(&mut self, last: Final, now: Time) {
        let Final { status, retry_after, begins_call } = last;
        self.health.on_final_response(status, retry_after, now);
        if is_failure(status) {
            self.counts.failed += 1;
            self.delay.on_failure(Duration::ZERO, now);
        } else if begins_call && (200..300).contains(&status) {
            self.counts.answered += 1;
            self.load.on_answered(now);
        }
    }

    /// Takes note that a request could not be sent, or that its connection is gone.
    pub fn on_transport_error(&mut self, sent: Sent, now: Time) {
        let Some(begin) = self.take(sent) else { return };
        self.counts.failed += 1;
        self.delay.on_failure(now.since(begin), now);
        self.health.on_first_response(sent.number, 503, now);
        self.health.on_final_response(503, None, now);
    }

    /// Takes note that no first response to a request is waited for any more, though it may have come later: the caller
    /// has cancelled it, or its entry is gone.
    pub fn on_given_up(&mut self, sent: Sent, now: Time) {
        if self.take(sent).is_some() {
            self.health.on_given_up(sent.number, now);
        }
    }

    /// Takes note that another proxy gets a request that it has not answered, or has answered with a failure.
    pub const fn on_moved(&mut self) {
        self.counts.moved += 1;
    }

    /// Takes note of the answer to a probe. One that comes late, twice, or for another life changes nothing.
    pub fn on_probe_answered(&mut self, probe: ProbeNumber, answered: &Answered, now: Time) {
        if !self.conclude(probe) {
            return;
        }
        self.counts.probes += 1;
        self.wish = false;
        self.probe_delay = Some(answered.delay);
        match answered.status {
            408 | 500 | 502 | 504 => self.on_bad_probe(now),
            503 => {
                let (lasts, rise) = (3 * self.terms.probe_interval, self.terms.rise);
                self.change_health(now, |health| health.on_full_probe(answered.retry_after, lasts, rise, now));
            }
            _ => {
                let rise = self.terms.rise;
                self.change_health(now, |health| health.on_good_probe(rise, now));
                self.delay.on_delay(answered.delay, now);
                let excess = answered.delay.as_secs_f64() * 1e6 - self.delay.best(now);
                self.damped.on_answered(excess, now);
            }
        }
    }

    /// Takes note that a probe was lost.
    pub fn on_probe_lost(&mut self, probe: ProbeNumber, now: Time) {
        if self.conclude(probe) {
            self.counts.probes += 1;
            self.wish = false;
            self.on_bad_probe(now);
        }
    }

    /// Takes note that the kernel says that nothing listens at its address.
    pub fn on_probe_refused(&mut self, probe: ProbeNumber, now: Time) {
        if !self.conclude(probe) {
            return;
        }
        self.counts.probes += 1;
        self.counts.probes_lost += 1;
        self.delay.on_failure(Duration::ZERO, now);
        self.damped.on_lost(now);
        self.wish = self.health.on_refused(self.terms.fall, now);
    }

    /// Takes note of a report of its load.
    pub fn on_load(&mut self, report: &Reported, now: Time) {
        self.load.on_report(report, now);
    }

    /// Takes note of its wish that fewer requests come to it.
    pub fn on_overload(&mut self, control: OverloadControl, now: Time) {
        self.load.overload_mut().on_wish(control, now);
    }

    /// Whether a request that would go to it may go there by its last wish; it is counted.
    pub fn admits(&mut self, precedence: Precedence, now: Time) -> bool {
        self.load.overload_mut().admits(precedence, now)
    }

    /// Counts a request that goes to it without a choice, where it wants fewer.
    pub fn on_kept(&mut self, now: Time) {
        self.load.overload_mut().on_kept(now);
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((number, sent)) = self.waiting.poll_silent(T1, now) {
            self.delay.on_failure(now.since(sent), now);
            self.health.on_silence(number, sent, now);
        }
        if let Some(sent) = self.waiting.oldest().filter(|sent| now.since(*sent) >= DEAD)
            && (self.outstanding() >= 2 || self.terms.is_probed && self.wished >= sent)
        {
            self.health.on_long_silence(sent, now);
        }
        while let Some(number) = self.waiting.poll_ended(now) {
            self.counts.failed += 1;
            self.health.on_given_up(number, now);
        }
        let is_doubtful = self.oldest(now) >= DOUBTFUL && self.health.state(now) != State::Down;
        if is_doubtful && now.since(self.wished) >= WISH_EVERY {
            self.wish = true;
        }
    }

    /// Takes out the wish for a probe at once.
    pub fn poll_wish(&mut self, now: Time) -> bool {
        if self.wish {
            self.wished = now;
        }
        std::mem::take(&mut self.wish)
    }

    /// Takes out a change of state; each once.
    pub fn poll_change(&mut self, now: Time) -> Option<Change> {
        let state = self.state(now);
        if state == self.told {
            return None;
        }
        self.told = state;
        Some(Change { state, why: self.why() })
    }

    /// Takes back the changes that were told, because the settings have it no more. Returns whether there were any: if
    /// it comes again, its state is told anew.
    pub fn take_back_changes(&mut self) -> bool {
        let first = State::first(self.address);
        std::mem::replace(&mut self.told, first) != first
    }

    /// Whether time alone changes it: requests wait, or the end of a hold is due.
    pub const fn is_busy(&self) -> bool {
        self.waiting.len() > 0 || self.health.held_until().is_some()
    }

    /// Its address; `None` while its name has none.
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether requests ask it for overload control.
    pub const fn asks_overload(&self) -> bool {
        self.terms.asks_overload
    }

    /// Number of this address among all that there were: entries that name another one mean an earlier proxy.
    pub const fn life(&self) -> u32 {
        self.life
    }

    /// Its state.
    pub fn state(&self, now: Time) -> State {
        match self.address {
            None => State::Unresolved,
            Some(_) if self.connections.has_failed() => State::Down,
            Some(_) => self.health.state(now),
        }
    }

    /// The grounds of its state.
    pub fn why(&self) -> Why {
        match self.address {
            None => Why::Name,
            Some(_) if self.connections.has_failed() => Why::Connection,
            Some(_) => self.health.why(),
        }
    }

    /// Whether it may get a new request.
    pub fn takes_new(&self, now: Time) -> bool {
        self.is_open(now) && self.load.takes_new(now)
    }

    /// The same, whatever part of the requests it does not want.
    pub fn is_open(&self, now: Time) -> bool {
        self.is_wanted(now) && self.health.takes_new(now)
    }

    /// The end of its last wish for fewer requests.
    pub fn overloaded_until(&self) -> Time {
        self.load.overload().until()
    }

    /// Whether it wants only a part of the requests, or none.
    pub fn is_overloaded(&self, now: Time) -> bool {
        self.load.overload().unwanted(now).is_some()
    }

    /// Whether it may get a request while the whole pool is down: only its state speaks against it.
    pub fn takes_in_panic(&self, now: Time, by_probes_alone: bool) -> bool {
        let is_worth_it = !by_probes_alone || self.health.is_down_by_probes_alone(now);
        is_worth_it && self.is_wanted(now) && !self.health.is_full(now)
    }

    /// Whether it is up, and only has no room.
    pub fn is_full(&self, now: Time) -> bool {
        self.state(now) == State::Up && (self.health.is_full(now) || !self.load.takes_new(now))
    }

    /// Whether it answers within a quarter of `deadline`: only then a request may move to it.
    pub fn is_quick(&self, deadline: Duration, now: Time) -> bool {
        let quarter = deadline / 4;
        self.state(now) == State::Up
            && self.oldest(now) < quarter
            && self.delay.smoothed(now) < quarter.as_secs_f64() * 1e6
    }

    /// Its weight as selections use it, above 0.
    pub fn weight(&self, now: Time) -> f64 {
        let pace = if self.terms.is_redirected {
            self.damped.factor()
        } else {
            weight::pace_of(self.delay.excess(self.oldest(now), now))
        };
        let parts = Parts {
            handicap: self.terms.handicap * self.load.share(now),
            pace,
            // Overload control is no matter of weight: a part of what the weight gives it goes elsewhere.
            load: self.load.in_use(now),
            warmth: weight::warmth(self.health.back(), self.terms.slow_start, now),
        };
        parts.weight()
    }

    /// When it came back, while its share is small because of that, or when a request was first to try it.
    pub fn returned(&self, now: Time) -> Option<Time> {
        self.health.returned(self.terms.slow_start, now)
    }

    /// Its load with the requests that wait, 0 to 1 and above; an unknown load counts as none.
    pub fn burden(&self, now: Time) -> f64 {
        let (waiting, load) = (f64::from(self.awaited(now)), self.load.in_use(now).unwrap_or(0.0));
        match self.load.total(now) {
            Some(total) => load + waiting / f64::from(total.max(1)),
            // Beside others that report, requests without an answer are all that is known.
            None => load + waiting / f64::from(u16::MAX),
        }
    }

    /// Requests without a response that it may be busy with: it has not lost them, and has not been down since.
    pub fn awaited(&self, now: Time) -> u32 {
        if self.health.state(now) == State::Trial { 0 } else { self.waiting.kept() }
    }

    /// Requests without a response.
    pub const fn outstanding(&self) -> u32 {
        self.waiting.len()
    }

    /// Time for which the oldest request has waited for a response that may still come.
    pub fn oldest(&self, now: Time) -> Duration {
        self.waiting.oldest().map_or(Duration::ZERO, |sent| now.since(sent))
    }

    /// Panics if it contradicts itself.
    pub fn check(&self, now: Time) {
        self.waiting.check();
        let weight = self.weight(now);
        assert!(weight > 0.0 && weight <= self.terms.handicap.max(1.0), "weight {weight}");
        let counts = &self.counts;
        assert!(counts.probes_lost <= counts.probes && counts.calls >= u64::from(self.outstanding()), "{counts:?}");
    }

    /// Whether a request can be sent to it now.
    fn is_reachable(&self) -> bool {
        self.address.is_some() && (self.connections.is_unused() || self.connections.has_usable())
    }

    /// Whether operator, server, name and connections let it have new requests.
    fn is_wanted(&self, now: Time) -> bool {
        self.is_reachable() && self.admin == Admin::Ready && self.load.has_room(now) && self.load.share(now) > 0.0
    }

    fn take(&mut self, sent: Sent) -> Option<Time> {
        if sent.life == self.life { self.waiting.take(sent.number) } else { None }
    }

    const fn conclude(&mut self, probe: ProbeNumber) -> bool {
        probe.life == self.life && self.concluded.conclude(probe.number)
    }

    fn on_bad_probe(&mut self, now: Time) {
        self.counts.probes_lost += 1;
        // A proxy that has answered a request since the probe was sent is not slow: the network lost the probe.
        if self.health.heard() < now - self.terms.probe_within {
            self.delay.on_failure(Duration::ZERO, now);
        }
        self.damped.on_lost(now);
        self.health.on_lost_probe(self.terms.fall, now);
    }
}

#[cfg(test)]
mod tests;
