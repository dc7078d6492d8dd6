//! Health of a downstream proxy: whether it may get new requests, by its answers to probes and to requests.
//!
//! Probes and requests judge apart. Lost probes have it down until enough are answered. Requests that it does not
//! answer, or answers with a failure, have it down for a while; then one request at a time tries it. A proxy that says
//! that it is full is healthy, and gets nothing new.

use std::net::SocketAddr;
use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;
use crate::words::word_list::words;

/// Requests in a row with a failure, or without any sign of life since, after which a proxy is down.
const IN_A_ROW: u8 = 5;
/// Requests in a row without an answer after which it is down though it answers probes. One that drops what a scanner
/// sends must not be down for all others.
const DESPITE_PROBES: u8 = 20;
/// Times that the kernel says in a row that nothing listens after which a proxy is down. One may be forged.
const REFUSALS: u8 = 2;
/// First and longest time for which requests have a proxy down.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
const LONGEST_HOLD: Duration = Duration::from_secs(30);
/// Longest time for which a Retry-After is obeyed: a mistake of a server must not last for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// State of a proxy, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It gets requests.
    #[default]
    Up,
    /// It gets one request at a time.
    Trial,
    /// It gets none.
    Down,
    /// Its name has no address.
    Unresolved,
}

impl State {
    /// The state in which a proxy begins.
    pub(super) const fn first(address: Option<SocketAddr>) -> Self {
        if address.is_some() { State::Up } else { State::Unresolved }
    }
}

words!(State { Up = "up", Trial = "trial", Down = "down", Unresolved = "unresolved" });

/// Grounds of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// Nothing is known yet.
    #[default]
    Start,
    /// Probes were answered, or lost.
    Probe,
    /// The kernel says that nothing listens there.
    Refused,
    /// It gave no sign of life.
    Silent,
    /// It answered probes, and many requests in a row not.
    Unanswered,
    /// It answered requests with failures.
    Status,
    /// It answered the request that tried it.
    Answer,
    /// Its name has no address.
    Name,
    /// No connection to it can be opened.
    Connection,
}

words!(Why {
    Start = "start",
    Probe = "probe",
    Refused = "refused",
    Silent = "silent",
    Unanswered = "unanswered",
    Status = "status",
    Answer = "answer",
    Name = "name",
    Connection = "connection",
});

packed!(
    Why as Start = 0,
    Probe = 1,
    Refused = 2,
    Silent = 3,
    Status = 4,
    Answer = 5,
    Name = 6,
    Unanswered = 7,
    Connection = 8
);
packed!(State as Up = 0, Trial = 1, Down = 2, Unresolved = 3);

/// Time for which requests have a proxy down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    /// They do not.
    #[default]
    None,
    /// Until then; afterwards a request may try it.
    Until(Time, Why),
    /// The request of this number tries it.
    Trial(u32, Why),
}

packed!(Hold as None = 0, Until(time, why) = 1, Trial(number, why) = 2);

/// Whether a status says that the server fails. Others of the class are about the request: a caller could choose them
/// (501, 505, 513, 555, 580).
pub const fn is_failure(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// Health of one proxy.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Lost probes in a row.
    lost: u8,
    /// Answered probes in a row.
    good: u8,
    /// Times in a row that the kernel said that nothing listens.
    refused: u8,
    /// Whether probes have it down.
    is_out: bool,
    /// Requests in a row without an answer, and those of them without any sign of life since.
    silent: u8,
    dumb: u8,
    /// Requests in a row that were answered with a failure.
    failing: u8,
    /// When it last answered a request, and when it last answered anything.
    heard: Time,
    alive: Time,
    hold: Hold,
    /// Time for which requests will have it down next.
    next_hold: Duration,
    /// Until then it is full by a Retry-After: later answers do not shorten it.
    asked_off: Time,
    /// Until then it is full by an answer to a probe, unless another answer says otherwise.
    full: Time,
    /// When it last came back; slow start begins there.
    back: Time,
    since: Time,
    why: Why,
}

packed!(Health {
    lost,
    good,
    refused,
    is_out,
    silent,
    dumb,
    failing,
    heard,
    alive,
    hold,
    next_hold,
    asked_off,
    full,
    back,
    since,
    why,
});

impl Health {
    /// The health of a proxy of which nothing is known: it gets requests.
    pub fn new(now: Time) -> Self {
        Health { next_hold: SHORTEST_HOLD, since: now, ..Health::default() }
    }

    /// Its state begins now.
    pub const fn on_start(&mut self, now: Time) {
        self.since = now;
    }

    /// Takes note of an answered probe.
    pub fn on_good_probe(&mut self, rise: u8, now: Time) {
        (self.lost, self.refused, self.full) = (0, 0, Time(0));
        self.on_alive(rise, now);
    }

    /// Takes note that a proxy is reached which nothing could connect to: it has started anew, also where neither
    /// probes nor requests had it down meanwhile.
    pub fn on_reached(&mut self, now: Time) {
        self.on_good_probe(1, now);
        self.back = now;
    }

    /// Takes note of an answer that says that the proxy is full; without Retry-After that holds for `lasts`.
    pub fn on_full_probe(&mut self, retry_after: Option<Duration>, lasts: Duration, rise: u8, now: Time) {
        (self.lost, self.refused) = (0, 0);
        self.on_alive(rise, now);
        self.full = now + lasts;
        self.on_retry_after(retry_after, now);
    }

    /// Takes note of a lost probe.
    pub fn on_lost_probe(&mut self, fall: u8, now: Time) {
        self.good = 0;
        self.lost = self.lost.saturating_add(1);
        if self.lost >= fall.max(1) {
            self.put_out(Why::Probe, now);
        }
    }

    /// Takes note that the kernel says that nothing listens there. This counts as a lost probe; a second one at once
    /// must confirm it. Returns whether such a probe is wished for.
    pub fn on_refused(&mut self, fall: u8, now: Time) -> bool {
        self.good = 0;
        self.lost = self.lost.saturating_add(1);
        self.refused = self.refused.saturating_add(1);
        if self.refused >= REFUSALS || self.lost >= fall.max(1) {
            self.put_out(Why::Refused, now);
        }
        self.refused < REFUSALS
    }

    /// Takes note that request `number` is sent to it.
    pub fn on_sent(&mut self, number: u32, now: Time) {
        if let Hold::Until(until, why) = self.hold
            && until <= now
        {
            self.hold = Hold::Trial(number, why);
        }
    }

    /// Takes note of the first response to request `number`.
    pub fn on_first_response(&mut self, number: u32, status: u16, now: Time) {
        (self.heard, self.alive) = (now, now);
        (self.silent, self.dumb) = (0, 0);
        if !is_failure(status) && status > 100 {
            self.next_hold = SHORTEST_HOLD;
            self.on_known(Why::Answer);
        }
        match self.hold {
            Hold::Trial(trial, _) if trial == number && is_failure(status) => self.hold_off(Why::Status, now),
            Hold::Trial(trial, _) if trial == number => self.come_back(Why::Answer, now),
            // A late answer disproves the silence. Those that are still up may have more than they can do.
            Hold::Until(_, Why::Silent | Why::Unanswered) | Hold::Trial(_, Why::Silent | Why::Unanswered)
                if !is_failure(status) =>
            {
                self.come_back(Why::Answer, now);
            }
            _ => {}
        }
    }

    /// Takes note of a final response.
    pub fn on_final_response(&mut self, status: u16, retry_after: Option<Duration>, now: Time) {
        if !is_failure(status) {
            self.failing = 0;
            self.next_hold = SHORTEST_HOLD;
            return;
        }
        if status == 503 {
            self.on_retry_after(retry_after, now);
        }
        self.failing = self.failing.saturating_add(1);
        if self.failing >= IN_A_ROW && self.hold == Hold::None {
            self.hold_off(Why::Status, now);
        }
    }

    /// Takes note that request `number`, sent at `sent`, has no response after T1.
    pub fn on_silence(&mut self, number: u32, sent: Time, now: Time) {
        match self.hold {
            Hold::Trial(trial, why) if trial == number => {
                let is_alive = why == Why::Unanswered || self.alive >= sent;
                self.hold_off(if is_alive { Why::Unanswered } else { Why::Silent }, now);
            }
            Hold::None if self.heard < sent => {
                self.silent = self.silent.saturating_add(1);
                self.dumb = if self.alive < sent { self.dumb.saturating_add(1) } else { 0 };
                if self.dumb >= IN_A_ROW {
                    self.hold_off(Why::Silent, now);
                } else if self.silent >= DESPITE_PROBES {
                    self.hold_off(Why::Unanswered, now);
                }
            }
            _ => {}
        }
    }

    /// Takes note that several requests wait, the oldest since `sent`, which is long ago. If nothing has come from it
    /// since, it is down: few requests go to a proxy whose answers are late, so that five may take long.
    pub fn on_long_silence(&mut self, sent: Time, now: Time) {
        if self.hold == Hold::None && self.alive < sent {
            self.hold_off(Why::Silent, now);
        }
    }

    /// Takes note that no response to request `number` is waited for any more. Another one may try the proxy.
    pub fn on_given_up(&mut self, number: u32, now: Time) {
        if let Hold::Trial(trial, why) = self.hold
            && trial == number
        {
            self.hold = Hold::Until(now, why);
        }
    }

    /// Its state.
    pub fn state(&self, now: Time) -> State {
        match self.hold {
            _ if self.is_out => State::Down,
            Hold::None => State::Up,
            Hold::Until(until, _) if now < until => State::Down,
            Hold::Until(..) | Hold::Trial(..) => State::Trial,
        }
    }

    /// The grounds of its state.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// The time of its last change.
    pub fn since(&self, now: Time) -> Time {
        match self.hold {
            Hold::Until(until, _) if !self.is_out && until <= now => until,
            _ => self.since,
        }
    }

    /// When it last came back; [`Time`] 0 if it never was down.
    pub const fn back(&self) -> Time {
        self.back
    }

    /// When it came back, if that was less than `slow_start` ago, or when it began to wait for a request that tries it.
    pub fn returned(&self, slow_start: Duration, now: Time) -> Option<Time> {
        match self.state(now) {
            State::Trial => Some(self.since(now)),
            _ => Some(self.back).filter(|back| now.since(*back) < slow_start),
        }
    }

    /// Whether it may get a new request.
    pub fn takes_new(&self, now: Time) -> bool {
        let is_open = match self.hold {
            Hold::None => true,
            Hold::Until(until, _) => until <= now,
            Hold::Trial(..) => false,
        };
        is_open && !self.is_out && !self.is_full(now)
    }

    /// Whether it has said that it can take nothing new.
    pub fn is_full(&self, now: Time) -> bool {
        now < self.full || now < self.asked_off
    }

    /// Whether probes have it down, and nothing else speaks against a request.
    pub fn is_down_by_probes_alone(&self, now: Time) -> bool {
        self.is_out && self.hold == Hold::None && !self.is_full(now)
    }

    /// When it last answered a request.
    pub const fn heard(&self) -> Time {
        self.heard
    }

    /// The end of the time for which requests have it down; `None` if they do not.
    pub const fn held_until(&self) -> Option<Time> {
        match self.hold {
            Hold::Until(until, _) => Some(until),
            Hold::None | Hold::Trial(..) => None,
        }
    }

    fn on_alive(&mut self, rise: u8, now: Time) {
        (self.alive, self.dumb) = (now, 0);
        self.on_known(Why::Probe);
        self.good = self.good.saturating_add(1);
        if self.good < rise.max(1) {
            return;
        }
        if self.is_out {
            self.is_out = false;
            (self.why, self.since, self.back) = (Why::Probe, now, now);
        }
        // Silence is disproved as well. A server that fails requests, or ignores them, may still do so.
        if matches!(self.hold, Hold::Until(_, Why::Silent) | Hold::Trial(_, Why::Silent)) {
            self.come_back(Why::Probe, now);
        }
    }

    /// Takes note of the first sign that a proxy of which nothing was known is up.
    fn on_known(&mut self, why: Why) {
        if self.why == Why::Start {
            self.why = why;
        }
    }

    fn on_retry_after(&mut self, retry_after: Option<Duration>, now: Time) {
        if let Some(span) = retry_after {
            self.asked_off = self.asked_off.max(now + span.min(LONGEST_RETRY_AFTER));
        }
    }

    const fn put_out(&mut self, why: Why, now: Time) {
        if !self.is_out {
            self.is_out = true;
            (self.why, self.since) = (why, now);
        }
    }

    fn hold_off(&mut self, why: Why, now: Time) {
        self.hold = Hold::Until(now + self.next_hold, why);
        self.next_hold = (2 * self.next_hold).clamp(SHORTEST_HOLD, LONGEST_HOLD);
        (self.silent, self.dumb, self.failing, self.good) = (0, 0, 0, 0);
        if !self.is_out {
            (self.why, self.since) = (why, now);
        }
    }

    const fn come_back(&mut self, why: Why, now: Time) {
        self.hold = Hold::None;
        (self.silent, self.dumb, self.failing) = (0, 0, 0);
        if !self.is_out {
            (self.why, self.since, self.back) = (why, now, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(milliseconds: u64) -> Time {
        Time(1_000_000_000 + milliseconds * 1_000)
    }

    fn lost(health: &mut Health, times: usize, now: Time) {
        (0..times).for_each(|_| health.on_lost_probe(2, now));
    }

    #[test]
    fn lost_probes_have_it_down_and_answered_ones_up_again() {
        let mut health = Health::new(at(0));
        lost(&mut health, 1, at(1));
        assert_eq!((health.state(at(1)), health.why()), (State::Up, Why::Start));
        health.on_good_probe(2, at(2));
        lost(&mut health, 1, at(3));
        assert_eq!(health.state(at(3)), State::Up, "not in a row");
        lost(&mut health, 1, at(4));
        assert_eq!((health.state(at(4)), health.why(), health.since(at(9))), (State::Down, Why::Probe, at(4)));
        health.on_good_probe(2, at(5));
        assert!(!health.takes_new(at(5)));
        health.on_good_probe(2, at(6));
        assert_eq!((health.state(at(6)), health.back()), (State::Up, at(6)));
    }

    #[test]
    fn a_proxy_that_is_up_says_what_it_is_known_by_and_since_when_it_is_up() {
        let mut probed = Health::new(at(0));
        probed.on_good_probe(2, at(1));
        assert_eq!((probed.why(), probed.since(at(9))), (Why::Probe, at(0)));
        probed.on_first_response(1, 180, at(2));
        assert_eq!(probed.why(), Why::Probe, "one word that stays");
        let mut asked = Health::new(at(0));
        for (status, why) in [(100, Why::Start), (503, Why::Start), (486, Why::Answer)] {
            asked.on_first_response(1, status, at(1));
            assert_eq!((asked.why(), asked.state(at(1))), (why, State::Up), "{status}");
        }
        let mut full = Health::new(at(0));
        full.on_full_probe(None, 6 * SECOND, 2, at(1));
        assert_eq!(full.why(), Why::Probe);
    }

    #[test]
    fn a_server_at_its_limit_of_sessions_is_full_and_not_down() {
        let mut health = Health::new(at(0));
        for number in 0..10 {
            health.on_full_probe(None, 6 * SECOND, 2, at(number));
        }
        assert_eq!((health.state(at(10)), health.takes_new(at(10))), (State::Up, false));
        health.on_good_probe(2, at(11));
        assert!(health.takes_new(at(11)));
    }

    #[test]
    fn a_server_that_asks_to_stay_away_gets_nothing_for_so_long_and_for_five_minutes_at_most() {
        let mut health = Health::new(at(0));
        health.on_full_probe(Some(20 * SECOND), 6 * SECOND, 2, at(0));
        health.on_good_probe(2, at(2_000));
        assert!(!health.takes_new(at(19_999)) && health.takes_new(at(20_000)));
        health.on_final_response(503, Some(4_000_000_000 * SECOND), at(20_000));
        assert!(!health.takes_new(at(319_999)) && health.takes_new(at(320_000)));
    }

    #[test]
    fn a_refusal_by_the_kernel_is_one_lost_probe_and_two_have_it_down() {
        let mut health = Health::new(at(0));
        assert!(health.on_refused(5, at(0)));
        assert!(health.takes_new(at(0)), "one may be forged");
        assert!(!health.on_refused(5, at(1)));
        assert_eq!((health.state(at(1)), health.why()), (State::Down, Why::Refused));
        let mut health = Health::new(at(0));
        health.on_refused(5, at(0));
        health.on_good_probe(2, at(1));
        health.on_refused(5, at(2));
        assert!(health.takes_new(at(2)), "an answer came in between");
    }

    #[test]
    fn a_dead_server_is_out_after_five_silent_requests_and_not_after_thirty_seconds() {
        let mut health = Health::new(at(0));
        for number in 0..4 {
            health.on_silence(number, at(0), at(500));
        }
        assert!(health.takes_new(at(500)));
        health.on_silence(4, at(10), at(510));
        assert_eq!((health.state(at(510)), health.why()), (State::Down, Why::Silent));
        assert_eq!((health.state(at(1_509)), health.state(at(1_510))), (State::Down, State::Trial));
    }

    #[test]
    fn a_late_answer_to_a_request_disproves_the_silence() {
        let mut health = Health::new(at(0));
        (0..5).for_each(|number| health.on_silence(number, at(0), at(500)));
        health.on_first_response(0, 503, at(600));
        assert_eq!(health.state(at(600)), State::Down);
        health.on_first_response(1, 180, at(700));
        assert_eq!((health.state(at(700)), health.why(), health.back()), (State::Up, Why::Answer, at(700)));
    }

    #[test]
    fn silence_counts_only_while_nothing_else_is_heard() {
        let mut health = Health::new(at(0));
        for number in 0..20 {
            health.on_first_response(100, 180, at(100));
            health.on_silence(number, at(50), at(550));
        }
        assert!(health.takes_new(at(550)));
    }

    #[test]
    fn a_server_that_drops_what_scanners_send_is_not_down_while_it_answers_probes() {
        let mut health = Health::new(at(0));
        for number in 0..19 {
            health.on_good_probe(2, at(200));
            health.on_silence(number, at(0), at(500));
            health.on_long_silence(at(0), at(900));
        }
        assert!(health.takes_new(at(900)));
        health.on_silence(20, at(0), at(500));
        assert!(!health.takes_new(at(900)), "so many are no scanner's alone");
        (0..9).for_each(|_| health.on_good_probe(2, at(1_000)));
        assert_eq!((health.state(at(1_000)), health.why()), (State::Down, Why::Unanswered), "probes say nothing new");
    }

    #[test]
    fn two_requests_and_no_sign_of_life_for_long_are_enough() {
        let mut health = Health::new(at(0));
        health.on_good_probe(2, at(10));
        health.on_long_silence(at(5), at(905));
        assert!(health.takes_new(at(905)));
        health.on_long_silence(at(20), at(920));
        assert_eq!((health.state(at(920)), health.why()), (State::Down, Why::Silent));
    }

    #[test]
    fn one_request_at_a_time_tries_it_and_the_holds_double_to_thirty_seconds() {
        let mut health = Health::new(at(0));
        (0..5).for_each(|_| health.on_final_response(503, None, at(0)));
        let (mut now, mut holds) = (at(0), Vec::new());
        for number in 0..7 {
            let until = health.held_until().unwrap();
            holds.push(until.since(now).as_secs());
            assert!(!health.takes_new(until - Duration::from_micros(1)) && health.takes_new(until));
            health.on_sent(number, until);
            assert!(!health.takes_new(until), "one at a time");
            now = until;
            health.on_first_response(number, 503, now);
        }
        assert_eq!(holds, [1, 2, 4, 8, 16, 30, 30]);
        let until = health.held_until().unwrap();
        health.on_sent(8, until);
        health.on_given_up(8, until);
        health.on_sent(9, until);
        health.on_first_response(9, 180, until);
        assert_eq!((health.state(until), health.why(), health.back()), (State::Up, Why::Answer, until));
        (0..5).for_each(|_| health.on_final_response(500, None, until));
        assert_eq!(health.held_until().unwrap().since(until), SECOND, "it was well in between");
    }

    #[test]
    fn a_server_that_says_100_and_then_500_does_not_begin_with_a_second_each_time() {
        let mut health = Health::new(at(0));
        (0..5).for_each(|_| health.on_final_response(500, None, at(0)));
        health.on_sent(1, at(1_000));
        health.on_first_response(1, 100, at(1_000));
        (0..5).for_each(|_| health.on_final_response(500, None, at(1_000)));
        assert_eq!(health.held_until().unwrap().since(at(1_000)), 2 * SECOND);
    }

    #[test]
    fn a_caller_cannot_put_a_server_out_with_requests_that_it_must_refuse() {
        let mut health = Health::new(at(0));
        for status in [501, 505, 513, 555, 580, 400, 404, 486, 603] {
            (0..10).for_each(|_| health.on_final_response(status, None, at(0)));
        }
        assert!(health.takes_new(at(0)));
    }

    #[test]
    fn a_server_that_starts_again_is_back_by_its_probes_without_waiting_for_the_end_of_the_hold() {
        let mut health = Health::new(at(0));
        (0..5).for_each(|number| health.on_silence(number, at(0), at(500)));
        let mut seen = health.clone();
        lost(&mut health, 2, at(600));
        health.on_good_probe(2, at(700));
        health.on_good_probe(2, at(800));
        assert_eq!((health.state(at(800)), health.why(), health.back()), (State::Up, Why::Probe, at(800)));
        (0..2).for_each(|_| seen.on_good_probe(2, at(700)));
        assert_eq!(seen.state(at(700)), State::Up, "also before probes have it down");
    }

    #[test]
    fn probes_that_are_answered_do_not_bring_back_a_server_that_fails_its_requests() {
        let mut health = Health::new(at(0));
        (0..5).for_each(|_| health.on_final_response(500, None, at(0)));
        lost(&mut health, 2, at(100));
        (0..5).for_each(|_| health.on_good_probe(2, at(200)));
        assert!(!health.takes_new(at(900)) && health.takes_new(at(1_000)));
    }

    #[test]
    fn health_comes_back_from_its_bytes() {
        use crate::pack::{Pack, Packed};
        let mut health = Health::new(at(0));
        (0..5).for_each(|_| health.on_final_response(500, None, at(0)));
        let mut bytes = Vec::new();
        health.pack(&mut bytes);
        let restored = Health::unpack(&mut Packed::new(&bytes)).unwrap();
        assert_eq!(format!("{restored:?}"), format!("{health:?}"));
    }
}
