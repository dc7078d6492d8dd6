//! A real container, by `runc`, with the refusals that container engines have by default.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Child;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::machine::Machine;
use crate::support::phone::Phone;
use crate::support::{DEADLINE, wait_for};

/// Address where the dispatcher listens; the container has the machine's network.
const WELL_KNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5060);

/// A volume such as Kubernetes' `emptyDir` belongs to root, and every user may write in it: the run directory is one in
/// it.
const RUN_DIR: &str = "/state/pointsman";

/// A running container on a machine of its own.
struct Container {
    machine: Machine,
    runc: Child,
    log: NamedTempFile,
    phone: Phone,
}

impl Container {
    /// Runs `args` as process 1 of a container, as `user`.
    fn run(args: &[&str], user: u32) -> Option<Self> {
        let machine = Machine::start(&["/usr/bin/sleep", "infinity"])?;
        // Process 1 leaves the root of the machine's cgroups to the container's.
        machine.sh("mkdir /sys/fs/cgroup/init && echo 1 > /sys/fs/cgroup/init/cgroup.procs");
        // Over a directory of the image a mount has that one's mode.
        machine.sh("mkdir -p /container/rootfs && cd /container/rootfs && mkdir usr etc proc dev sys run tmp state && chmod 777 state");
        machine.sh("cd /container/rootfs && cp -a /bin /sbin /lib* .");
        machine.write("/container/config.json", &config(args, user).to_string());
        let log = NamedTempFile::new().unwrap();
        let said = File::options().append(true).open(log.path()).unwrap();
        let mut runc = machine.command("runc");
        runc.args(["run", "--bundle", "/container", "it"]).stdout(said.try_clone().unwrap()).stderr(said);
        let runc = runc.spawn().unwrap();
        let container = Container { machine, runc, log, phone: Phone::new(WELL_KNOWN.ip()) };
        wait_for("the workers", DEADLINE, || {
            let up = container.machine.try_sh(&format!("runc exec it pointsman stat --run-dir {RUN_DIR}"));
            (up.status.success() && !up.stdout.is_empty()).then_some(())
        });
        Some(container)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// Runs a line of shell in the container.
    fn sh(&self, line: &str) -> String {
        self.machine.sh(&format!("runc exec it sh -c '{line}'"))
    }

    /// The processes in the container: number, parent, state and name.
    fn processes(&self) -> Vec<(u32, u32, String, String)> {
        let stats = self.sh("cat /proc/[0-9]*/stat 2>/dev/null || :");
        let parse = |line: &str| {
            let (pid, rest) = line.split_once(" (")?;
            let (name, rest) = rest.rsplit_once(") ")?;
            let mut fields = rest.split(' ');
            let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse().ok()?);
            Some((pid.parse().ok()?, parent, state, name.to_owned()))
        };
        stats.lines().filter_map(parse).collect()
    }

    fn named(&self, name: &str) -> Vec<u32> {
        self.processes().into_iter().filter(|(.., it)| it == name).map(|(pid, ..)| pid).collect()
    }

    fn workers(&self) -> [Vec<u32>; 2] {
        ["pointsman-w0", "pointsman-w1"].map(|name| self.named(name))
    }

    /// Waits until each worker bears its name: it learns it from its welcome, after the dispatcher shows it as up.
    fn wait_for_workers(&self) -> [Vec<u32>; 2] {
        let one_each = || Some(self.workers()).filter(|workers| workers.iter().all(|worker| worker.len() == 1));
        wait_for("one process for each slot", DEADLINE, one_each)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the last lines of the container ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        // It ends with the machine; here it is only collected.
        let _ = self.runc.kill();
        let _ = self.runc.wait();
    }
}

/// A container as an engine would start it: a read-only image, no new privileges, the network of the host.
fn config(args: &[&str], user: u32) -> Value {
    let kept: &[&str] = if user == 0 { &DOCKERS } else { &[] };
    let tmpfs = |at: &str, mode: &str| {
        let options = ["nosuid".to_owned(), format!("mode={mode}")];
        json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": user},
            "args": args,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": kept, "effective": kept, "permitted": kept},
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            tmpfs("/dev", "755"),
            {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]},
            tmpfs("/tmp", "1777"),
            tmpfs("/state", "777"),
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            "seccomp": seccomp(),
        },
    })
}

/// The capabilities that Docker leaves to root in a container.
const DOCKERS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Refuses what the default rules of Docker and containerd refuse to a container without more capabilities than these.
fn seccomp() -> Value {
    let refused = [
        "acct",
        "add_key",
        "bpf",
        "clock_adjtime",
        "clock_settime",
        "delete_module",
        "fanotify_init",
        "finit_module",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "get_mempolicy",
        "init_module",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_file_load",
        "kexec_load",
        "keyctl",
        "lookup_dcookie",
        "mbind",
        "migrate_pages",
        "mount",
        "mount_setattr",
        "move_mount",
        "move_pages",
        "name_to_handle_at",
        "nfsservctl",
        "open_by_handle_at",
        "open_tree",
        "perf_event_open",
        "personality",
        "pidfd_getfd",
        "pivot_root",
        "process_madvise",
        "process_vm_readv",
        "process_vm_writev",
        "ptrace",
        "quotactl",
        "reboot",
        "request_key",
        "set_mempolicy",
        "setdomainname",
        "sethostname",
        "setns",
        "settimeofday",
        "swapoff",
        "swapon",
        "sysfs",
        "syslog",
        "umount",
        "umount2",
        "unshare",
        "uselib",
        "userfaultfd",
        "ustat",
        "vhangup",
    ];
    let mut rules = vec![
        json!({"names": refused.as_slice(), "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM}),
        // Programs fall back to `clone`, whose flags a filter can see.
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}),
    ];
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    rules.extend(namespaces.map(|flag| {
        let has_it = json!({"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"});
        json!({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM, "args": [has_it]})
    }));
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

#[test]
fn as_process_1_of_a_container_it_serves_collects_orphans_and_stops_in_order() {
    let words = ["pointsman", "dispatch", "--workers", "2", "--run-dir", RUN_DIR];
    let Some(mut container) = Container::run(&words, 0) else { return };
    // The filter is in force.
    assert!(container.sh("grep Seccomp: /proc/1/status").ends_with('2'));
    let unshared = container.machine.try_sh("runc exec it unshare --user true");
    assert!(String::from_utf8_lossy(&unshared.stderr).contains("Operation not permitted"), "{unshared:?}");

    let phone = &container.phone;
    let call = || phone.call(&phone.invite(WELL_KNOWN, None), WELL_KNOWN);
    let dialog = call();
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    container.wait_for_workers();
    assert_eq!(container.named("pointsman"), [1]);

    container.sh("sleep 0.2 &");
    wait_for("the orphan to be collected", DEADLINE, || container.named("sleep").is_empty().then_some(()));

    call();
    container.machine.sh("runc kill it TERM");
    let bye = container.phone.expect("BYE to the call that stood", |heard| heard.method() == "BYE");
    container.phone.answer(&bye, 200);
    let status = wait_for("its end", DEADLINE, || container.runc.try_wait().unwrap());
    assert!(status.success(), "{status}: {}", container.log());
}

#[test]
fn under_an_init_in_a_container_calls_outlive_the_dispatcher() {
    // A shell in place of an init that starts it again; the user has no capabilities, as clusters want it.
    let again = format!("while :; do pointsman dispatch --workers 2 --run-dir {RUN_DIR}; sleep 0.1; done");
    let Some(container) = Container::run(&["/bin/sh", "-c", &again], 65_534) else { return };
    let phone = &container.phone;
    let standing = phone.call(&phone.invite(WELL_KNOWN, None), WELL_KNOWN);
    let (before, dispatcher) = (container.wait_for_workers(), container.named("pointsman"));
    assert_eq!(dispatcher.len(), 1);
    container.sh(&format!("kill -9 {}", dispatcher[0]));
    let invite = phone.invite(WELL_KNOWN, None);
    phone.send(&invite, WELL_KNOWN);
    assert_eq!(phone.final_response(&invite).status(), 200);
    assert_ne!(container.named("pointsman"), dispatcher);
    assert_eq!(container.workers(), before);
    assert_eq!(phone.transact(&standing.request("BYE", 1), standing.target).status(), 200);
}
