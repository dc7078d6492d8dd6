//! Osmocom's own MGCP client as call agent: its source lies beside this checkout, or where `POINTSMAN_PEERS` says.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::{DEADLINE, wait_for};

/// It sends all its calls at once and repeats nothing: a datagram that the kernel cannot keep for it is lost to it. So
/// its sockets get more room than the kernel gives by itself.
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

/// The call agent, built.
pub struct CallAgent {
    program: PathBuf,
    dir: TempDir,
    /// It has a fixed port on 127.0.0.1 and speaks to that address: one at a time on a machine.
    _lock: File,
}

impl CallAgent {
    /// Builds it; `None` where its source, the compiler or the library is missing. Waits until no other process has it
    /// open.
    pub fn build() -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let (program, room) = (dir.path().join("call-agent"), dir.path().join("room.c"));
        fs::write(&room, ROOM).ok()?;
        let mut compiler = Command::new("gcc");
        compiler.args(["-w", "-rdynamic", "-o"]).arg(&program).arg(source()?).arg(room);
        let output = compiler.args(["-losmo-mgcp-client", "-losmocore", "-ltalloc", "-ldl"]).output().ok()?;
        if !output.status.success() {
            return None;
        }
        let lock = File::create(std::env::temp_dir().join("pointsman-osmo-call-agent.lock")).ok()?;
        lock.lock().ok()?;
        Some(CallAgent { program, dir, _lock: lock })
    }

    /// Makes `calls` calls, each of CRCX, MDCX and DLCX, at that port of 127.0.0.1. Gives what it says of them.
    pub fn run(&self, port: u16, calls: usize) -> String {
        let said = self.dir.path().join("said");
        let mut command = Command::new(&self.program);
        command.args([port.to_string(), calls.to_string()]).stderr(Stdio::null());
        command.stdout(File::create(&said).expect("a file for what it says"));
        let mut running = Running(command.spawn().expect("a program that was just built"));
        wait_for("the end of the call agent", DEADLINE, || running.0.try_wait().expect("a child of ours"));
        fs::read_to_string(said).expect("what it has said")
    }
}

/// The call agent's source.
fn source() -> Option<PathBuf> {
    let named = std::env::var_os("POINTSMAN_PEERS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    let found = [named, Some(beside)].into_iter().flatten().map(|dir| dir.join("osmo-call-agent.c"));
    found.into_iter().find(|path| path.is_file())
}

/// The call agent; it would wait for ever for an answer that was lost.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of 127.0.0.1 with some free ones after it, below those for RTP.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 15_000 + (std::process::id() % 450) as u16 * 10 + NEXT.fetch_add(1, Ordering::Relaxed) * 10;
        if (port..port + 5).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}
