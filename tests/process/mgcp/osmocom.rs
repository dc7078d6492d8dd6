//! Osmocom's own MGCP client as call agent.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;

/// The call agent's source; `None` where this checkout has none beside it.
fn source() -> Option<PathBuf> {
    let named = std::env::var_os("POINTSMAN_PEERS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    let found = [named, Some(beside)].into_iter().flatten().map(|dir| dir.join("osmo-call-agent.c"));
    found.into_iter().find(|path| path.is_file())
}

/// Builds it; `None` where the compiler or the library is missing.
fn build(dir: &Path) -> Option<PathBuf> {
    let program = dir.join("call-agent");
    let mut compiler = Command::new("gcc");
    compiler.args(["-w", "-o"]).arg(&program).arg(source()?);
    let output = compiler.args(["-losmo-mgcp-client", "-losmocore", "-ltalloc"]).output().ok()?;
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
    let lock = std::fs::File::create(std::env::temp_dir().join("pointsman-osmo-call-agent.lock")).unwrap();
    lock.lock().unwrap();
    let port = free_port();
    let setup = Setup { ip: [127, 0, 0, 1].into(), port, sip: false, worker_ports: free_port(), ..Setup::new(4) };
    let listen = format!("mgcp:127.0.0.1:{port}");
    let worker_ports = format!("{}", free_port());
    let pointsman = setup.with(["--listen", &listen, "--worker-mgcp-ports", &worker_ports]).start();
    let begin = Instant::now();
    let output = Command::new(&program).args([&port.to_string(), "500"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("calls=500 ok=500 bad=0"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let handoffs: Vec<u64> = (0..4).map(|slot| pointsman.worker_number(slot, "handoffs")).collect();
    assert_eq!(handoffs.iter().sum::<u64>(), 500, "{handoffs:?}");
    assert!(handoffs.iter().all(|&count| count >= 75), "{handoffs:?}");
    wait_until_empty(&pointsman);
}

/// A port of 127.0.0.1 with some free ones behind it, below those that the system gives out.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 15_000 + (std::process::id() % 900) as u16 * 10 + NEXT.fetch_add(1, Ordering::Relaxed) * 10;
        if (port..port + 5).all(|port| std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}
