//! The window: the number of commands that the gateway has at a time. Gateways read from small buffers: a burst of
//! commands would overflow them, and a command that is sent only once would be lost there.

use std::sync::Arc;
use std::time::Duration;

use super::asked::{Flight, Pending, Purpose};
use super::exchange::Output;
use super::{AT_MOST, External, PATIENCE};
use crate::time::Time;
use crate::transaction::mgcp_client::{Spread, Transaction};

/// Commands that the gateway has at a time. The kernel's usual buffer of 208 KiB holds about 160 datagrams.
pub(super) const WINDOW: usize = 64;

/// A command to send, and its times.
pub(super) struct Sending {
    pub(super) bytes: Arc<[u8]>,
    /// Time after which it is sent again; `None`: it is sent once.
    pub(super) repeat: Option<Duration>,
    /// Time from sending for which an answer is awaited.
    pub(super) wait: Duration,
}

impl External {
    /// Sends a command as soon as the window has room for it. A call agent's command has a `patience`: when it ends,
    /// the call agent is told to wait.
    pub(super) fn begin(&mut self, own: u32, purpose: Purpose, sending: Sending, now: Time) {
        let Sending { bytes, repeat, wait } = sending;
        let patience = matches!(purpose, Purpose::Command(_)).then_some(now + PATIENCE);
        let is_urgent = matches!(purpose, Purpose::Probe);
        let mut pending = Pending {
            purpose,
            transaction: Transaction::new(bytes, repeat, now + AT_MOST),
            begun: now,
            wait,
            patience,
            flight: Flight::Waiting,
        };
        if is_urgent || (self.under_way < WINDOW && self.waiting.is_empty()) {
            self.launch(&mut pending, now);
        } else {
            self.waiting.push_back(own);
        }
        self.keep(own, pending);
    }

    /// Sends waiting commands, as far as there is room.
    pub(super) fn advance(&mut self, now: Time) {
        while self.under_way < WINDOW
            && let Some(own) = self.waiting.pop_front()
        {
            // A waiting command may have been given up meanwhile.
            let Some(mut pending) = self.take(own) else { continue };
            if pending.flight == Flight::Waiting {
                self.launch(&mut pending, now);
            }
            self.keep(own, pending);
        }
    }

    /// Keeps a command that is under way, or waits to be sent.
    pub(super) fn keep(&mut self, own: u32, pending: Pending) {
        self.under_way += usize::from(pending.flight.is_counted());
        self.timers.insert((pending.due(), own));
        self.pending.insert(own, pending);
    }

    /// Takes a kept command out.
    pub(super) fn take(&mut self, own: u32) -> Option<Pending> {
        let pending = self.pending.remove(&own)?;
        self.timers.remove(&(pending.due(), own));
        self.under_way -= usize::from(pending.flight.is_counted());
        Some(pending)
    }

    fn launch(&mut self, pending: &mut Pending, now: Time) {
        pending.transaction.wait_until(now + pending.wait);
        // A command that is unanswered for so long is lost, or no longer fills the gateway's buffer.
        pending.flight = Flight::Counted(now + PATIENCE);
        self.outputs.push_back(Output::Gateway(pending.transaction.send(Spread::NONE, now)));
    }
}
