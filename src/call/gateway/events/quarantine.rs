//! One endpoint's watch for events and its handling of those it detects: the states of RFC 3435 §4.4.1.
//!
//! Events are examined as they occur until one triggers a notification. While that Notify is unanswered, events wait in
//! the quarantine buffer. They also wait after it until the next request, unless the present request said `loop`. So a
//! call agent sees each event at most once, in order, and never two notifications at a time that it has not asked for.

use std::collections::VecDeque;

use super::request::{Action, EventList, NotificationRequest, RequestedEvent};
use super::seen::Seen;
use crate::wire::mgcp::{LoopControl, ProcessControl};

/// The request to an endpoint, and the events it has seen since.
#[derive(Debug, Default)]
pub struct Watch {
    request: NotificationRequest,
    state: NotificationState,
    /// Events seen under this request and not reported; in the notification state, those that the Notify reports.
    observed: Vec<Seen>,
    /// Events seen and not examined yet.
    quarantine: VecDeque<Seen>,
    /// Number of events that found no room.
    lost: u64,
}

/// A notification to send: NTFY with this RequestIdentifier and these ObservedEvents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The identifier of the request that triggered it.
    pub request: Box<[u8]>,
    /// The events, in the order they occurred.
    pub observed: Vec<Seen>,
}

/// The states of RFC 3435 §4.4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotificationState {
    /// Events are examined as they occur.
    #[default]
    Normal,
    /// A Notify has been sent and is not answered.
    Notification,
    /// The one notification that the request allowed has been answered (`step`): the next request is awaited.
    Lockstep,
}

/// Events that wait or are accumulated, at most; further ones are lost (RFC 3435 §4.4.1: excess events are discarded).
/// This many in one NTFY stay below the 4,000 bytes that every implementation takes (§3.5.2).
pub const CAPACITY: usize = 64;

impl Watch {
    /// A new request replaces the whole previous one. Returns the notification that the events in quarantine trigger
    /// under it.
    #[must_use]
    pub fn on_request(&mut self, request: NotificationRequest) -> Option<Notice> {
        // The observed events are on their way in the notification state, so they are not examined again.
        let unreported = match self.state {
            NotificationState::Notification => Vec::new(),
            NotificationState::Normal | NotificationState::Lockstep => std::mem::take(&mut self.observed),
        };
        self.observed.clear();
        match request.quarantine.process {
            ProcessControl::Discard => self.quarantine.clear(),
            ProcessControl::Process => unreported.into_iter().rev().for_each(|seen| self.quarantine.push_front(seen)),
        }
        self.request = request;
        self.state = NotificationState::Normal;
        self.examine()
    }

    /// An event has occurred.
    #[must_use]
    pub fn on_event(&mut self, seen: Seen) -> Option<Notice> {
        if !self.is_watched(&seen) {
            return None;
        }
        if self.quarantine.len() + self.observed.len() >= CAPACITY {
            self.lost += 1;
            return None;
        }
        self.quarantine.push_back(seen);
        self.examine()
    }

    /// The Notify has been answered, with success or not, or the endpoint is connected again after it was disconnected.
    #[must_use]
    pub fn on_notified(&mut self) -> Option<Notice> {
        if self.state != NotificationState::Notification {
            return None;
        }
        self.observed.clear();
        self.state = match self.request.quarantine.cycle {
            LoopControl::Step => NotificationState::Lockstep,
            LoopControl::Loop => NotificationState::Normal,
        };
        self.examine()
    }

    /// Forgets a connection that is gone: the parts of the request about it alone end.
    pub fn forget_connection(&mut self, connection: &[u8]) {
        self.request.forget_connection(connection);
    }

    /// Whether an event of this kind would be kept.
    pub fn is_watched(&self, seen: &Seen) -> bool {
        let asked = |event: &RequestedEvent| event.wanted.matches(seen);
        let detected = |list: &EventList| list.wanted.iter().any(|wanted| wanted.matches(seen));
        self.request.requested.events.iter().any(asked) || self.request.detect.as_ref().is_some_and(detected)
    }

    /// Whether the request could still lead to a notification, or a notification is under way.
    pub fn is_active(&self) -> bool {
        self.state == NotificationState::Notification || !self.request.requested.events.is_empty()
    }

    /// The request in force; with id 0 while there has been none.
    pub const fn request(&self) -> &NotificationRequest {
        &self.request
    }

    /// The events that have been observed and not been dealt with, including those in quarantine.
    pub fn observed(&self) -> impl Iterator<Item = &Seen> {
        self.observed.iter().chain(&self.quarantine)
    }

    /// The present state.
    pub const fn state(&self) -> NotificationState {
        self.state
    }

    /// Number of events that found no room.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Examines the events in quarantine until one triggers a notification.
    fn examine(&mut self) -> Option<Notice> {
        while self.state == NotificationState::Normal {
            let seen = self.quarantine.pop_front()?;
            let asked = self.request.requested.events.iter().find(|event| event.wanted.matches(&seen));
            // An event that only DetectEvents names may wait in quarantine for a later request. If the request in force
            // does not ask for it when it is examined, it is dropped.
            let Some(asked) = asked else { continue };
            let (action, embedded) = (asked.action, asked.embedded.clone());
            if action != Action::Ignore {
                self.observed.push(seen);
            }
            if let Some(embedded) = embedded {
                // §4.4.1: an embedded request takes effect as a new one does, and the observed events stay.
                self.request.embed(*embedded);
            }
            if action == Action::Notify {
                self.state = NotificationState::Notification;
                return Some(Notice { request: self.request.id.clone(), observed: self.observed.clone() });
            }
        }
        None
    }
}
