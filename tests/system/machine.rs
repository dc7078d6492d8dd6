//! A machine made of namespaces, by `machine.sh`: another process 1 on this kernel, and the host's files below a layer
//! that is thrown away.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use crate::support::pointsman::EXECUTABLE;
use crate::support::{DEADLINE, pass_over_outside_ci, proc, wait_for};

/// A running machine. Dropped, it ends with all that runs on it.
pub struct Machine {
    unshare: Child,
    process_1: u32,
    /// The mount point of its file system, and its output while it starts.
    dir: TempDir,
}

/// The machines' script.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/machine.sh");
/// The machines' cgroups: this and the process id of the test.
const CGROUP: &str = "pointsman-test-";

impl Machine {
    /// A machine with this process 1. The thread that asks is in its network from then on. `None` where this host
    /// cannot have one: on a developer's machine the test is passed over then, in CI it fails.
    pub fn start(process_1: &[&str]) -> Option<Self> {
        Machine::try_start(process_1).map_err(|why| pass_over_outside_ci(&why)).ok()
    }

    fn try_start(process_1: &[&str]) -> Result<Self, String> {
        if !nix::unistd::getuid().is_root() {
            return Err("a machine of namespaces needs root".to_owned());
        }
        if !Path::new(process_1[0]).exists() {
            return Err(format!("there is no {}", process_1[0]));
        }
        clean();
        let dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
        let (base, log) = (dir.path().join("base"), dir.path().join("log"));
        fs::create_dir(&base).unwrap();
        let said = File::create(&log).unwrap();
        let unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--uts", "--ipc", "--", SCRIPT, "enter"])
            .arg(base)
            .args([&format!("{CGROUP}{}", std::process::id()), EXECUTABLE])
            .args(process_1)
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .map_err(|error| format!("setpriv and unshare: {error}"))?;
        // From here on all of it ends with this.
        let mut machine = Machine { unshare, process_1: 0, dir };
        machine.process_1 = machine.boot(process_1[0])?;
        let network = File::open(format!("/proc/{}/ns/net", machine.process_1)).unwrap();
        setns(network, CloneFlags::CLONE_NEWNET).map_err(|errno| format!("its network cannot be entered: {errno}"))?;
        Ok(machine)
    }

    /// Waits until the script has become `program`.
    fn boot(&mut self, program: &str) -> Result<u32, String> {
        let program = fs::canonicalize(program).unwrap();
        let begin = Instant::now();
        let is_it = |pid: &u32| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with(program.strip_prefix("/").unwrap()))
        };
        while begin.elapsed() < DEADLINE {
            if let Some(process_1) = proc::children(self.unshare.id()).into_iter().find(is_it) {
                return Ok(process_1);
            }
            if self.unshare.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(4));
        }
        let said = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        Err(format!("a machine of namespaces does not start: {}", said.trim_end()))
    }

    /// A command to be run on the machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process_1.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--", program]);
        command.stdin(Stdio::null()).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a line of shell on the machine, whatever comes of it.
    pub fn try_sh(&self, line: &str) -> Output {
        self.command("/bin/sh").args(["-c", line]).output().unwrap()
    }

    /// Runs a line of shell on the machine that has to succeed. Returns what it printed.
    pub fn sh(&self, line: &str) -> String {
        let output = self.try_sh(line);
        let printed = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{line}: {printed}{}", String::from_utf8_lossy(&output.stderr));
        printed
    }

    /// Writes a file on the machine.
    pub fn write(&self, path: &str, text: &str) {
        let mut tee = self.command("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        tee.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(tee.wait().unwrap().success(), "{path}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if self.process_1 != 0 {
            // The kernel ends whatever runs in the namespace before its process 1 is gone.
            wait_for("the machine's end", DEADLINE, || (!proc::runs(self.process_1)).then_some(()));
        }
        clean();
    }
}

/// Removes the cgroups of machines whose tests have ended, and those that this process has left.
fn clean() {
    let own = std::process::id().to_string();
    // A cgroup that cannot be removed is in use, or is removed by the next machine.
    let _ = Command::new("unshare").args(["--mount", "--", SCRIPT, "clean", CGROUP, &own]).status();
}
