//! Filters of system calls, as containers and systemd put them around a program, and kernels that lack a call: what is
//! refused is not needed.

use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};

/// A dispatcher whose processes get `errno` from each of `calls`. The filter holds for the thread that starts it, and for
/// whatever that starts.
fn where_refused(calls: &[i64], errno: i32) -> Pointsman {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(rules, allow, refuse, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let start = move || {
        apply_filter(&program).expect("a process may filter itself");
        Setup::new(2).spawn()
    };
    thread::spawn(start).join().unwrap()
}

fn serves(pointsman: &Pointsman) {
    pointsman.wait_until_up();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
}

#[test]
fn workers_come_up_where_containers_and_systemd_refuse_pidfd_getfd() {
    serves(&where_refused(&[libc::SYS_pidfd_getfd], libc::EPERM));
}
