//! The Python worker as a process.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// The Python worker, started for a run directory.
pub struct Python {
    child: Child,
    /// Kept open: a worker that cannot print is another case.
    said: BufReader<ChildStdout>,
}

impl Python {
    /// Starts it on `address`, to serve the dispatcher of this run directory.
    pub fn start(run_dir: &Path, address: Ipv4Addr, capacity: u32) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/worker.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(run_dir)
            .args(["--address", &address.to_string(), "--capacity", &capacity.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let said = BufReader::new(child.stdout.take().expect("a pipe, taken once"));
        Python { child, said }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child of ours")
    }

    /// Its first line: that it has been welcomed, and where it takes calls.
    pub fn takes_calls_at(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line from the worker");
        let address = line.trim().rsplit(' ').next().and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("the worker said `{line}`"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
