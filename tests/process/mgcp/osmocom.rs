//! Osmocom's own MGCP client as call agent.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;
use crate::support::{DEADLINE, wait_for};

/// It sends all its calls at once and repeats nothing: what the kernel cannot keep for it is lost to it. So its sockets get
/// more room than the kernel gives by itself.
const ROOM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
int socket(int domain, int type, int protocol)
{
	int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
	int made = real(domain, type, protocol), room = 4 << 20;
	setsockopt(made, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	return made;
}
"#;

/// The call agent's source; `None` where this checkout has none beside it.
fn source() -> Option<PathBuf> {
    let named = std::env::var_os("POINTSMAN_PEERS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    let found = [named, Some(beside)].into_iter().flatten().map(|dir| dir.join("osmo-call-agent.c"));
    found.into_iter().find(|path| path.is_file())
}

/// Builds it; `None` where the compiler or the library is missing.
fn build(dir: &Path) -> Option<PathBuf> {
    let (program, room) = (dir.join("call-agent"), dir.join("room.c"));
    fs::write(&room, ROOM).ok()?;
    let mut compiler = Command::new("gcc");
    compiler.args(["-w", "-rdynamic", "-o"]).arg(&program).arg(source()?).arg(room);
    let output = compiler.args(["-losmo-mgcp-client", "-losmocore", "-ltalloc", "-ldl"]).output().ok()?;
    output.status.success().then_some(program)
}

#[test]
fn osmocoms_call_agent_makes_five_hundred_calls_all_of_them_good_and_spread_by_load() {
    let dir = tempfile::tempdir().unwrap();
    let Some(program) = build(dir.path()) else {
        eprintln!("skipped: no source of the call agent, no compiler or no library");
        return;
    };
    // The call agent has a fixed port on 127.0.0.1 and speaks to that address: one at a time on a machine.
    let lock = File::create(std::env::temp_dir().join("pointsman-osmo-call-agent.lock")).unwrap();
    lock.lock().unwrap();
    let port = free_port();
    let setup = Setup { ip: [127, 0, 0, 1].into(), port, sip: false, worker_ports: free_port(), ..Setup::new(4) };
    let listen = format!("mgcp:127.0.0.1:{port}");
    let worker_ports = format!("{}", free_port());
    let pointsman = setup.with(["--listen", &listen, "--worker-mgcp-ports", &worker_ports]).start();
    let said = dir.path().join("said");
    let mut command = Command::new(&program);
    command.args([&port.to_string(), "500"]).stdout(File::create(&said).unwrap()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    wait_for("the end of the call agent", DEADLINE, || running.0.try_wait().unwrap());
    let said = fs::read_to_string(said).unwrap();
    assert!(said.contains("calls=500 ok=500 bad=0"), "{said}");
    let handoffs: Vec<u64> = (0..4).map(|slot| pointsman.worker_number(slot, "handoffs")).collect();
    assert_eq!(handoffs.iter().sum::<u64>(), 500, "{handoffs:?}");
    assert!(handoffs.iter().all(|&count| count >= 75), "{handoffs:?}");
    wait_until_empty(&pointsman);
}

/// The call agent; it would wait for ever for an answer that was lost.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of 127.0.0.1 with some free ones behind it, below those for RTP.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 15_000 + (std::process::id() % 450) as u16 * 10 + NEXT.fetch_add(1, Ordering::Relaxed) * 10;
        if (port..port + 5).all(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}
