//! The media of a worker, as the station asks for it: ports, sockets and packets are the process's affair.

use crate::call::gateway::{Ask, ConnectionKey, Told};
use crate::call::{CallKey, Uas};
use crate::time::Time;

/// Media that answers calls by itself, and carries the connections of a media gateway.
pub trait Media {
    /// Whether the next call would find no port or descriptor.
    fn is_exhausted(&self, now: Time) -> bool;

    /// Whether this call's media is its own: then it answers offers within the call.
    fn has(&self, key: CallKey) -> bool;

    /// Answers an incoming call, whose sound goes back as long as it lasts.
    fn echo(&mut self, uas: &mut Uas, key: CallKey, offer: Option<&[u8]>, now: Time) -> bool;

    /// The caller changes the session.
    fn on_offer(&mut self, uas: &mut Uas, key: CallKey, offer: &[u8], now: Time);

    /// The caller wants an offer of ours within the call.
    fn on_offer_wanted(&mut self, uas: &mut Uas, key: CallKey, now: Time);

    /// The caller answers an offer of ours: to an INVITE without one, or to a refresh.
    fn on_answer(&mut self, uas: &mut Uas, key: CallKey, answer: &[u8], now: Time);

    /// A call is over.
    fn on_ended(&mut self, key: CallKey);

    /// Does what the gateway asks for, at once, and tells what came of it.
    fn carry_out(&mut self, key: ConnectionKey, ask: &Ask, now: Time) -> Told;
}
