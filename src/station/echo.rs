//! The built-in application: answers every call and sends its sound back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::call::{CallKey, EndReason};
use crate::time::Time;

use super::application::{Application, Call, Calls};

/// Answers G.711 and echoes it, so that every call carries sound.
///
/// It answers at once; a call to `sip:…;ring=3000` rings for so many milliseconds first (a minute at most).
#[derive(Clone, Debug, Default)]
pub struct Echo {
    /// The calls that ring, by the moment they are answered.
    ringing: BTreeMap<(Time, CallKey), Option<Box<[u8]>>>,
}

/// The longest ringing.
const RINGING_LIMIT: u64 = 60_000;

impl Application for Echo {
    fn on_call(&mut self, call: &mut Call<'_>) {
        let Some(ring) = call.request_uri().and_then(|uri| ring_for(uri.param(b"ring")?)) else {
            call.echo();
            return;
        };
        // A caller who gave up meanwhile hears nothing more.
        let _ = call.ring(180);
        let offer = call.offer().map(Into::into);
        self.ringing.insert((call.now() + ring, call.key()), offer);
    }

    fn on_ended(&mut self, call: CallKey, _reason: EndReason) {
        if !self.ringing.is_empty() {
            self.ringing.retain(|(_, key), _| *key != call);
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.ringing.first_key_value().map(|((at, _), _)| *at)
    }

    fn handle_timeout(&mut self, calls: &mut Calls<'_>) {
        while let Some(first) = self.ringing.first_entry().filter(|first| first.key().0 <= calls.now()) {
            let ((_, key), offer) = first.remove_entry();
            if let Some(mut call) = calls.call(key) {
                call.echo_to(offer.as_deref());
            }
        }
    }
}

fn ring_for(value: &[u8]) -> Option<Duration> {
    let milliseconds: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_millis(milliseconds.min(RINGING_LIMIT)))
}
