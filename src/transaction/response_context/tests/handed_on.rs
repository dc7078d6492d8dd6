//! Requests that another owner has left.

use super::*;
use crate::pack::{Pack as _, Packed};

fn bytes(context: &ResponseContext) -> Vec<u8> {
    let mut bytes = Vec::new();
    context.pack(&mut bytes);
    bytes
}

/// The context that another owner reads, if it is one that ends.
fn read(bytes: &[u8], now: Time) -> Option<ResponseContext> {
    let context = ResponseContext::unpack(&mut Packed::new(bytes)).ok()?;
    context.ends(terms().pending_max, now).then_some(context)
}

/// The same context in the hands of another owner.
pub(super) fn handed_on(context: &ResponseContext, now: Time) -> Option<ResponseContext> {
    read(&bytes(context), now)
}

/// Whether a context ends by itself. Its owner finds no other proxy, and no way.
fn ends(mut context: ResponseContext) -> bool {
    let (mut now, mut out) = (Time(0), Vec::new());
    context.on_looked_up(Err(480), now, &mut out);
    for _ in 0..20_000 {
        if context.is_over(now) {
            return true;
        }
        let due = context.poll_timeout();
        if due == Time::NEVER {
            return false;
        }
        now = now.max(due);
        context.handle_timeout(now, &mut out);
    }
    false
}

#[test]
fn a_request_of_another_owner_ends_whatever_that_says() {
    let mut accepted = 0;
    for kind in [Kind::Invite, Kind::Other] {
        let mut call = Call::begin(kind);
        let mut states = vec![bytes(&call.context)];
        for step in [
            |call: &mut Call| drop((call.gets(1, 503), call.moves_to(2))),
            |call: &mut Call| drop(call.gets(2, 180)),
            |call: &mut Call| drop(call.cancels()),
            |call: &mut Call| drop(call.gets(2, 487)),
            |call: &mut Call| {
                call.context.on_ack(call.now);
            },
        ] {
            step(&mut call);
            states.push(bytes(&call.context));
        }
        for state in states {
            for (at, to) in (0..state.len()).flat_map(|at| [0, 1, 2, 3, 4, 0x7f, 0xff].map(|to| (at, to))) {
                let mut damaged = state.clone();
                // The high bytes of a time make it endless, or late.
                damaged[at..].iter_mut().take(if to == 0xff { 8 } else { 1 }).for_each(|byte| *byte = to);
                let Some(context) = read(&damaged, Time(0)) else { continue };
                accepted += 1;
                assert!(ends(context.clone()), "{kind:?}, byte {at} is {to}: {context:?}");
            }
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}
