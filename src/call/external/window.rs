//! How much the gateway is asked at a time. Gateways read from small buffers: a burst of commands would overflow them,
//! and what is sent only once would be lost there.

use std::sync::Arc;
use std::time::Duration;

use super::asked::{Flight, Pending, Purpose};
use super::exchange::Output;
use super::{AT_MOST, External, PATIENCE};
use crate::time::Time;

/// Commands that are under way at a time. The kernel's usual buffer of 208 KiB holds about 160 datagrams.
pub(super) const WINDOW: usize = 64;

impl External {
    /// Sends a command as soon as there is room for it; `patience` is for what a call agent waits for.
    pub(super) fn begin(
        &mut self,
        own: u32,
        purpose: Purpose,
        bytes: Arc<[u8]>,
        repeat: Option<Duration>,
        wait: Duration,
        now: Time,
    ) {
        let patience = matches!(purpose, Purpose::Command(_)).then_some(now + PATIENCE);
        let is_urgent = matches!(purpose, Purpose::Probe);
        let mut pending = Pending {
            purpose,
            bytes,
            begun: now,
            since: now,
            repeat,
            wait,
            resend: None,
            patience,
            deadline: now + AT_MOST,
            flight: Flight::Waiting,
        };
        if is_urgent || (self.under_way < WINDOW && self.waiting.is_empty()) {
            self.launch(&mut pending, now);
        } else {
            self.waiting.push_back(own);
        }
        self.keep(own, pending);
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn advance(&mut self, now: Time) {
        while self.under_way < WINDOW
            && let Some(own) = self.waiting.pop_front()
        {
            // Some have been given up meanwhile.
            let Some(mut pending) = self.take(own) else { continue };
            if pending.flight == Flight::Waiting {
                self.launch(&mut pending, now);
            }
            self.keep(own, pending);
        }
    }

    /// Keeps what is under way, or waits to be.
    pub(super) fn keep(&mut self, own: u32, pending: Pending) {
        self.under_way += usize::from(pending.flight.is_counted());
        self.timers.insert((pending.due(), own));
        self.pending.insert(own, pending);
    }

    /// Takes back what was kept.
    pub(super) fn take(&mut self, own: u32) -> Option<Pending> {
        let pending = self.pending.remove(&own)?;
        self.timers.remove(&(pending.due(), own));
        self.under_way -= usize::from(pending.flight.is_counted());
        Some(pending)
    }

    fn launch(&mut self, pending: &mut Pending, now: Time) {
        pending.since = now;
        pending.resend = pending.repeat.map(|after| (now + after, after));
        pending.deadline = now + pending.wait;
        // What is not answered for so long is lost, or does not fill the gateway's buffer.
        pending.flight = Flight::Counted(now + PATIENCE);
        self.outputs.push_back(Output::Gateway(Arc::clone(&pending.bytes)));
    }
}
