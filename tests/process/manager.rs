//! A service manager's part, by its words: a socket in systemd's place. A real one is run by the tests of
//! `system`.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::support::phone::Phone;
use crate::support::pointsman::EXECUTABLE;
use crate::support::{DEADLINE, own_address, proc, wait_for};

/// A service manager that has started a dispatcher.
struct Manager {
    socket: UnixDatagram,
    child: Child,
    dir: TempDir,
    heard: String,
    stored: Vec<OwnedFd>,
}

impl Manager {
    /// Starts `pointsman` with `words`; a shell names the process that the descriptors are for, as systemd does.
    fn start(listen: &str, environment: &[(&str, &str)], given: Option<&UdpSocket>) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let redirect = given.map_or(String::new(), |socket| format!("3<&{}", socket.as_raw_fd()));
        if let Some(socket) = given {
            // It has to survive exec; the shell gives it its number.
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty()).unwrap();
        }
        let script = format!(
            "LISTEN_PID=$$ exec {EXECUTABLE} --workers 1 --listen {listen} --worker-ports 0 --run-dir {} {redirect}",
            dir.path().join("run").display()
        );
        let child = Command::new("sh")
            .args(["-c", &script])
            .env("NOTIFY_SOCKET", &path)
            .envs(environment.iter().copied())
            .env("LISTEN_FDS", if given.is_some() { "1" } else { "0" })
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Manager { socket, child, dir, heard: String::new(), stored: Vec::new() }
    }

    /// Starts another dispatcher, of which the service manager knows nothing, and which takes over.
    fn replace(&mut self, listen: &str) {
        let new = Command::new(EXECUTABLE)
            .args(["--takeover", "--workers", "1", "--worker-ports", "0", "--listen", listen, "--run-dir"])
            .arg(self.dir.path().join("run"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut old = std::mem::replace(&mut self.child, new);
        let status = wait_for("the end of the old one", DEADLINE, || old.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }

    /// Waits until it has heard `line`.
    fn wait_for(&mut self, line: &str) {
        wait_for(line, DEADLINE, || {
            self.hear();
            self.heard.lines().any(|heard| heard == line).then_some(())
        });
    }

    fn hear(&mut self) {
        let mut buffer = [0; 1024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let Ok(message) = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty())
        else {
            return;
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.stored.extend(descriptors);
            }
        }
        self.heard.push_str(&String::from_utf8_lossy(&buffer[..message.bytes]));
        self.heard.push('\n');
    }
}

/// Whether the process that a lock names was started for this directory: a number may be another process's by now.
fn wants_it(lock: &str, dir: &std::path::Path) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", lock.trim())).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&dir.display().to_string())
}

impl Drop for Manager {
    fn drop(&mut self) {
        let mut children = proc::children(self.child.id());
        // The worker of a dispatcher that was taken over from is not the manager's child or grandchild any more; its
        // lock names it.
        let lock = std::fs::read_to_string(self.dir.path().join("run/w0.lock")).unwrap_or_default();
        children.extend(lock.trim().parse::<u32>().ok().filter(|_| wants_it(&lock, self.dir.path())));
        let _ = self.child.kill();
        let _ = self.child.wait();
        proc::kill_all(&children);
    }
}

#[test]
fn a_service_manager_hears_that_it_serves_that_it_is_well_and_that_it_ends() {
    let mut manager = Manager::start(&format!("{}:5060", own_address()), &[("WATCHDOG_USEC", "100000")], None);
    manager.wait_for("READY=1");
    manager.wait_for("WATCHDOG=1");
    manager.heard.clear();
    manager.wait_for("WATCHDOG=1");
    manager.wait_for("STATUS=1 of 1 worker up, 0 sessions");
    assert!(proc::signal(manager.child.id(), Signal::SIGTERM));
    manager.wait_for("STOPPING=1");
    let status = wait_for("its end", DEADLINE, || manager.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn the_status_line_is_right_as_soon_as_the_workers_report_also_without_a_watchdog() {
    let mut manager = Manager::start(&format!("{}:5060", own_address()), &[], None);
    manager.wait_for("READY=1");
    let ready = Instant::now();
    manager.wait_for("STATUS=1 of 1 worker up, 0 sessions");
    // By the clock alone it would be looked at 5 s after the start.
    assert!(ready.elapsed() < Duration::from_secs(4), "{:?}", ready.elapsed());
    let first = manager.heard.lines().find(|line| line.starts_with("STATUS=")).unwrap();
    assert!(first.contains("of 1 worker up"), "{first}");
}

#[test]
fn a_socket_that_the_service_manager_has_bound_is_read_with_what_waits_in_it() {
    let given = UdpSocket::bind((own_address(), 0)).unwrap();
    let address = given.local_addr().unwrap();
    let phone = Phone::new(address.ip());
    let invite = phone.invite(address, None);
    phone.send(&invite, address);
    let mut manager = Manager::start(&address.to_string(), &[], Some(&given));
    manager.wait_for("READY=1");
    let answer =
        phone.expect("the answer to what was there before", |reply| reply.answers(&invite) && reply.status() >= 200);
    assert_eq!(answer.status(), 200);
}

#[test]
fn the_well_known_socket_is_kept_by_the_service_manager_and_given_back_to_the_next_dispatcher() {
    let listen = format!("{}:5060", own_address());
    let mut manager = Manager::start(&listen, &[], None);
    manager.wait_for("FDNAME=listener");
    let kept = UdpSocket::from(manager.stored.pop().unwrap());
    assert_eq!(kept.local_addr().unwrap().to_string(), listen);
    // The dispatcher and its workers die, and still no message is lost.
    drop(manager);
    let phone = Phone::new(kept.local_addr().unwrap().ip());
    let invite = phone.invite(kept.local_addr().unwrap(), None);
    phone.send(&invite, kept.local_addr().unwrap());
    let mut next = Manager::start(&listen, &[], Some(&kept));
    next.wait_for("READY=1");
    let answer =
        phone.expect("the answer to what came in between", |reply| reply.answers(&invite) && reply.status() >= 200);
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_service_manager_is_told_who_has_taken_over_and_goes_on_hearing_that_all_is_well() {
    let listen = format!("{}:5060", own_address());
    let mut manager = Manager::start(&listen, &[("WATCHDOG_USEC", "100000")], None);
    manager.wait_for("STATUS=1 of 1 worker up, 0 sessions");
    manager.replace(&listen);
    manager.wait_for(&format!("MAINPID={}", manager.child.id()));
    for _ in 0..2 {
        manager.heard.clear();
        manager.wait_for("WATCHDOG=1");
    }
    assert!(proc::signal(manager.child.id(), Signal::SIGTERM));
    manager.wait_for("STOPPING=1");
    let status = wait_for("its end", DEADLINE, || manager.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}
