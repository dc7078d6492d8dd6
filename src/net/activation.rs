//! Sockets that a service manager has bound, or has kept, for this process (sd_listen_fds(3)): descriptors from 3 on.
//! Their number is `LISTEN_FDS`, and `LISTEN_PID` names the process they are for.

use super::inherited;
use super::listener::Listener;

/// The first descriptor that is passed.
const FIRST: i32 = 3;
/// Most descriptors that are taken: more than any configuration has listeners.
const MOST: i32 = 256;

/// The sockets that were passed, each as [`Listener::bind`] leaves one, and a line for each descriptor that cannot be
/// used. Call it once, before descriptors are opened.
pub fn sockets() -> (Vec<Listener>, Vec<String>) {
    let (mut sockets, mut refused) = (Vec::new(), Vec::new());
    for fd in FIRST..FIRST + count(|name| std::env::var(name).ok(), std::process::id()) {
        let taken = inherited(fd).and_then(Listener::from_fd).and_then(|socket| socket.prepare().map(|()| socket));
        match taken {
            Ok(socket) => sockets.push(socket),
            Err(error) => refused.push(format!("descriptor {fd} of the service manager is not used: {error}")),
        }
    }
    (sockets, refused)
}

/// Number of descriptors for the process `own`.
fn count(variable: impl Fn(&str) -> Option<String>, own: u32) -> i32 {
    let number = |name: &str| variable(name)?.parse::<i64>().ok();
    if number("LISTEN_PID") != Some(i64::from(own)) {
        return 0;
    }
    number("LISTEN_FDS").map_or(0, |count| count.clamp(0, i64::from(MOST)) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_taken_by_the_process_they_are_for_and_by_no_other() {
        let given = |pid: &'static str, fds: &'static str| {
            count(move |name| Some(if name == "LISTEN_PID" { pid } else { fds }.to_owned()), 4711)
        };
        assert_eq!(given("4711", "2"), 2);
        assert_eq!(given("4710", "2"), 0);
        assert_eq!(given("4711", "-1"), 0);
        assert_eq!(given("4711", "99999999999"), MOST);
        assert_eq!(given("4711", "two"), 0);
        assert_eq!(count(|_| None, 4711), 0);
    }
}
