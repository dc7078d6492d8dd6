//! Messages to the service manager (systemd): READY, WATCHDOG, STATUS, STOPPING. Nothing depends on them: a dispatcher
//! that was started by hand sends none.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::count_of_workers;
use crate::net::notify;
use crate::server::stats::{Snapshot, State, WorkerLoad};
use crate::time::Time;

/// The service manager, if it listens.
#[derive(Debug)]
pub struct ServiceManager {
    listens: bool,
    /// Interval of the watchdog messages: half of what the service manager asks for.
    watchdog: Option<Duration>,
    due: Time,
    status: String,
}

/// Interval between checks of the status line while no worker comes or goes.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Delay of the check after a worker has come or gone: a pool that starts is not reported worker by worker.
const STATUS_SOON: Duration = Duration::from_millis(100);

impl ServiceManager {
    /// The service manager that has started this process, if there is one.
    pub fn new(now: Time) -> Self {
        let watchdog = notify::watchdog().map(|interval| interval / 2);
        ServiceManager { listens: notify::is_heard(), watchdog, due: now, status: String::new() }
    }

    /// The time of the next message to it; `None` where no service manager listens.
    pub const fn poll_timeout(&self) -> Option<Time> {
        if self.listens { Some(self.due) } else { None }
    }

    /// The lanes have answered, with these figures: the dispatcher is well. A dispatcher whose lanes do not answer
    /// sends no message, so the service manager starts it anew; its workers and their calls go on.
    pub fn on_healthy(&mut self, load: &Snapshot, now: Time) {
        self.postpone(now);
        // The first report of a worker reaches its lane alone, so the status is looked at again soon.
        if load.workers.iter().any(|worker| worker.state == State::Starting) {
            self.update_soon(now);
        }
        let status = status_of(load);
        let mut lines = String::new();
        if self.watchdog.is_some() {
            lines.push_str("WATCHDOG=1\n");
        }
        if status != self.status {
            lines.push_str(&format!("STATUS={status}\n"));
            self.status = status;
        }
        if !lines.is_empty() {
            self.tell(&lines);
        }
    }

    /// The lanes have not answered: nothing is sent until the next look.
    pub fn postpone(&mut self, now: Time) {
        self.due = now + self.watchdog.unwrap_or(STATUS_EVERY).min(STATUS_EVERY);
    }

    /// A worker has come or gone: the status line is not right any more.
    pub fn update_soon(&mut self, now: Time) {
        self.due = self.due.min(now + STATUS_SOON);
    }

    /// The dispatcher ends in order.
    pub fn on_stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=workers end their calls\n");
    }

    /// Has the service manager keep the well-known sockets for the next dispatcher: messages that arrive between the
    /// two wait.
    pub fn keep<'s>(&self, sockets: impl Iterator<Item = BorrowedFd<'s>>) {
        if !self.listens {
            return;
        }
        for socket in sockets {
            if let Err(error) = notify::store("listener", socket) {
                return info!("the service manager does not store the sockets: {error}");
            }
        }
    }

    fn tell(&mut self, lines: &str) {
        // A service manager that takes no message is warned about once, and not tried again.
        self.listens &= tell(lines);
    }
}

/// Sends lines to the service manager. Returns false when it cannot be reached.
pub fn tell(lines: &str) -> bool {
    notify::tell(lines).inspect_err(|error| warn!("the service manager cannot be notified: {error}")).is_ok()
}

/// One line for people to read.
fn status_of(load: &Snapshot) -> String {
    let up = load.workers.iter().filter(|worker| worker.state == State::Up).count();
    let sessions: u64 = load.workers.iter().map(|worker| u64::from(worker.sessions)).sum();
    let status = format!(
        "{up} of {} up, {sessions} {}",
        count_of_workers(load.workers.len() as u64),
        if sessions == 1 { "session" } else { "sessions" }
    );
    match load.workers.iter().find(|worker| !worker.fault.is_empty()) {
        Some(WorkerLoad { name, fault, .. }) => format!("{status}; {name}: {fault}, see the log"),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_status_counts_workers_and_sessions() {
        let worker = |state, sessions| WorkerLoad { state, sessions, ..WorkerLoad::default() };
        let workers = vec![worker(State::Up, 7), worker(State::Down, 0), worker(State::Up, 5)];
        let load = Snapshot { workers, ..Snapshot::default() };
        assert_eq!(status_of(&load), "2 of 3 workers up, 12 sessions");
    }

    #[test]
    fn the_status_tells_why_a_worker_does_not_come_up() {
        let fault = "exited with code 2, 3 times in a row".to_owned();
        let workers = vec![WorkerLoad { name: "w0".to_owned(), fault, ..WorkerLoad::default() }];
        let status = status_of(&Snapshot { workers, ..Snapshot::default() });
        assert_eq!(status, "0 of 1 worker up, 0 sessions; w0: exited with code 2, 3 times in a row, see the log");
    }

    #[test]
    fn the_status_is_looked_at_soon_after_a_worker_has_come_or_gone_and_until_it_reports() {
        let mut service_manager =
            ServiceManager { listens: false, watchdog: None, due: Time(0), status: String::new() };
        service_manager.postpone(Time(0));
        service_manager.update_soon(Time(1_000));
        assert_eq!(service_manager.due, Time(101_000));
        service_manager.update_soon(Time(2_000));
        assert_eq!(service_manager.due, Time(101_000), "not put off by the next one");
        let worker = |state| WorkerLoad { state, ..WorkerLoad::default() };
        let load = |state| Snapshot { workers: vec![worker(State::Up), worker(state)], ..Snapshot::default() };
        service_manager.on_healthy(&load(State::Starting), Time(101_000));
        assert_eq!(service_manager.due, Time(201_000));
        service_manager.on_healthy(&load(State::Up), Time(201_000));
        assert_eq!(service_manager.due, Time(5_201_000));
    }

    #[test]
    fn a_dispatcher_started_by_hand_sends_no_messages() {
        let mut service_manager =
            ServiceManager { listens: false, watchdog: None, due: Time(0), status: String::new() };
        assert_eq!(service_manager.poll_timeout(), None);
        service_manager.listens = true;
        service_manager.watchdog = Some(Duration::from_millis(50));
        service_manager.postpone(Time(1_000));
        assert_eq!(service_manager.poll_timeout(), Some(Time(51_000)));
        service_manager.watchdog = None;
        service_manager.postpone(Time(0));
        assert_eq!(service_manager.poll_timeout(), Some(Time(5_000_000)));
    }
}
