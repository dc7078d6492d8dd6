//! Whether the gateway is there: an answer of any kind shows that it is.

use std::time::Duration;

use crate::time::Time;

/// A gateway that is not there is asked at this interval.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The knowledge about the gateway's presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    is_up: bool,
    /// When it was heard last.
    heard: Time,
    /// When it is asked next; `None` while a question is under way, or none is needed.
    ask_at: Option<Time>,
    is_asked: bool,
    has_begun: bool,
}

impl Reach {
    pub(super) const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether it was heard since then.
    pub(super) fn is_heard_since(&self, since: Time) -> bool {
        self.is_up && self.heard > since
    }

    /// The gateway has sent a message.
    pub(super) const fn on_heard(&mut self, now: Time) {
        *self = Reach { is_up: true, heard: now, ask_at: None, is_asked: self.is_asked, has_begun: true };
    }

    /// The gateway has not answered a command for some time: it is asked whether it is there.
    pub(super) fn suspect(&mut self, now: Time) {
        if !self.is_asked && self.ask_at.is_none() {
            self.ask_at = Some(now);
        }
    }

    /// The gateway has not answered the question.
    pub(super) fn on_silence(&mut self, now: Time) {
        self.is_asked = false;
        self.is_up = false;
        self.ask_at = Some(now + ASK_EVERY);
    }

    /// The question was answered.
    pub(super) const fn on_answer(&mut self) {
        self.is_asked = false;
    }

    /// The kernel reports that no socket is open at the gateway's address.
    pub(super) fn lose(&mut self, now: Time) {
        self.is_up = false;
        if !self.is_asked && self.ask_at.is_none() {
            self.ask_at = Some(now + ASK_EVERY);
        }
    }

    /// Whether the gateway is to be asked now; a new worker asks at once.
    pub(super) fn asks(&mut self, now: Time) -> bool {
        let is_due = !self.has_begun || self.ask_at.take_if(|at| *at <= now).is_some();
        if is_due {
            self.has_begun = true;
            self.is_asked = true;
        }
        is_due
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        if self.has_begun { self.ask_at } else { Some(Time(0)) }
    }
}
