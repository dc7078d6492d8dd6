//! Whether the gateway is there: it is as long as it answers something.

use std::time::Duration;

use crate::time::Time;

/// A gateway that is not there is asked this often.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the gateway.
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

    /// It has said something.
    pub(super) const fn on_heard(&mut self, now: Time) {
        *self = Reach { is_up: true, heard: now, ask_at: None, is_asked: self.is_asked, has_begun: true };
    }

    /// It has not answered for some time: ask whether it is there.
    pub(super) fn suspect(&mut self, now: Time) {
        if !self.is_asked && self.ask_at.is_none() {
            self.ask_at = Some(now);
        }
    }

    /// It has not answered the question.
    pub(super) fn on_silence(&mut self, now: Time) {
        self.is_asked = false;
        self.is_up = false;
        self.ask_at = Some(now + ASK_EVERY);
    }

    /// The question was answered.
    pub(super) const fn on_answer(&mut self) {
        self.is_asked = false;
    }

    /// Nobody listens at its address.
    pub(super) fn lose(&mut self, now: Time) {
        self.is_up = false;
        if !self.is_asked && self.ask_at.is_none() {
            self.ask_at = Some(now + ASK_EVERY);
        }
    }

    /// Whether it is to be asked now; at the beginning it is.
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
