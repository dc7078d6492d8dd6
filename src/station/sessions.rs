//! The two kinds of sessions that a worker may have: its own ([`super::MediaServer`]), or those of another gateway
//! ([`super::Adapter`]). The station asks both the same questions.

use std::sync::Arc;

use crate::time::Time;
use crate::words::{AccessRule, Envelope, OpenTransaction, ReplyTo, Report, Welcome};

use super::dispatcher::DispatcherLinks;
use super::listeners::Listeners;

/// The sessions of a worker, and all that takes part in them.
pub trait Sessions {
    /// A request to the process, which has the sockets.
    type Effect;

    /// A message that the dispatcher has handed over. False when it is dropped: it cannot be parsed, or the access
    /// rules keep it out.
    fn on_message(&mut self, envelope: &Envelope, payload: &[u8], now: Time) -> bool;

    /// The connection `to` of the dispatcher is gone, and a reply of ours with it.
    fn on_undelivered(&mut self, _to: ReplyTo, _bytes: &[u8], _now: Time) {}

    /// The certificates of the worker's own ports, as the file has them that came beside a frame.
    fn set_certificates(&mut self, _file: Vec<u8>) {}

    /// The sources that may send to the worker's own ports.
    fn set_access(&mut self, rules: &[AccessRule]);

    /// Takes no new sessions, or takes them again.
    fn set_draining(&mut self, draining: bool, now: Time);

    /// Whether it takes no new sessions.
    fn is_draining(&self) -> bool;

    /// Ends all sessions, for the reason `why`.
    fn end_all(&mut self, why: &str, now: Time);

    /// The time has come.
    fn handle_timeout(&mut self, now: Time);

    /// When [`Sessions::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Time>;

    /// The next request to the process. What concerns the dispatcher alone is told to it here.
    fn poll_output(&mut self, dispatcher: &mut DispatcherLinks, now: Time) -> Option<Self::Effect>;

    /// Load and room.
    fn report(&self, now: Time) -> Report;

    /// Whether the process must stay: it has sessions or, while it stops, anything else that still goes on.
    fn is_needed(&self, is_stopping: bool) -> bool;

    /// The dispatcher is gone.
    fn on_dispatcher_lost(&mut self, now: Time);

    /// The duplicates of the well-known sockets are other ones.
    fn set_listeners(&mut self, welcome: &Welcome, listeners: &Listeners);

    /// A new dispatcher has welcomed the worker.
    fn on_welcome(&mut self, welcome: &mut Welcome, listeners: &Listeners);

    /// All that a new dispatcher has to be told.
    fn account(&mut self, now: Time) -> Account;
}

/// A conference, or the call of an MGCP call agent: since when it is open, and its name.
pub type Conference = (Time, Box<[u8]>);

/// The account of a worker: all that it has to tell a new dispatcher.
#[derive(Debug, Default)]
pub struct Account {
    /// Transactions whose messages may still come to the well-known port.
    pub transactions: Vec<OpenTransaction>,
    /// Conferences that are open.
    pub conferences: Vec<Conference>,
    /// Requests that have not been answered.
    pub messages: Vec<(Envelope, Arc<[u8]>)>,
}
