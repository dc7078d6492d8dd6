//! The dispatcher dies and is started again: its workers outlive it, and come back with their calls and their sockets.

mod calls;
mod cleaned;
mod faults;
mod settings;

use serde_json::Value;

use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::Pointsman;

/// `count` calls that stand.
fn calls(pointsman: &Pointsman, phone: &Phone, count: usize) -> Vec<Dialog> {
    (0..count).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect()
}

fn hang_up(phone: &Phone, dialog: &Dialog) {
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

/// An INVITE that rings for so many milliseconds.
fn ringing(pointsman: &Pointsman, phone: &Phone, milliseconds: u32) -> Request {
    let mut invite = phone.invite(pointsman.address(), None);
    invite.uri.push_str(&format!(";ring={milliseconds}"));
    phone.send(&invite, pointsman.address());
    phone.expect("ringing", |reply| reply.answers(&invite) && reply.status() == 180);
    invite
}

/// Kills the dispatcher and starts it again, until its workers are back.
fn restart(pointsman: &mut Pointsman) {
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
}

fn sum(load: &Value, field: &str) -> u64 {
    let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    workers.iter().filter_map(|worker| worker[field].as_u64()).sum()
}
