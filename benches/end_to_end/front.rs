//! The processes in front that are compared, each started with four of the same workers.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::forwarder;
use crate::generator::Plan;
use crate::relay;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{own_address, proc, wait_for};

/// Workers of every front.
pub const WORKERS: usize = 4;
/// Units of a worker: more than any part of the benchmark can fill.
const CAPACITY: u32 = 1_000_000;
/// Limit for a front's first answer to OPTIONS.
const PATIENCE: Duration = Duration::from_secs(10);

/// Modes of `kamailio/proxies.cfg`: without state, and with transactions but no Record-Route.
const OWN_MODES: [&str; 2] = ["redirect", "stateful-norr"];

/// A process in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// This project's dispatcher.
    Pointsman,
    /// The bare forwarder.
    Bare,
    /// This project's dispatcher in front of the workers of another one, which are downstream proxies to it.
    Proxy(&'static str),
    /// The bare relay, on the way of responses as well.
    Relay,
    /// Kamailio in one of the modes of `shared/peers/kamailio`, or of [`OWN_MODES`].
    Kamailio(&'static str),
}

impl Front {
    /// All of them, in the order of the table.
    pub const ALL: [Front; 13] = [
        Front::Pointsman,
        Front::Bare,
        Front::Kamailio("rawsend"),
        Front::Kamailio("stateless"),
        Front::Kamailio("callload-stateless"),
        Front::Kamailio("stateful"),
        Front::Kamailio("callload"),
        Front::Relay,
        Front::Proxy("proxy"),
        Front::Proxy("stateful"),
        Front::Proxy("redirect"),
        Front::Kamailio("redirect"),
        Front::Kamailio("stateful-norr"),
    ];

    /// Its name in options, table and JSON.
    pub fn name(self) -> String {
        match self {
            Front::Pointsman => "pointsman".to_owned(),
            Front::Bare => "bare".to_owned(),
            Front::Proxy(mode) => format!("pointsman-{mode}"),
            Front::Relay => "relay".to_owned(),
            Front::Kamailio(mode) => format!("kamailio-{mode}"),
        }
    }

    /// Why it cannot take part on this machine, if so.
    pub fn missing(self) -> Option<String> {
        match self {
            Front::Pointsman | Front::Bare | Front::Proxy(_) | Front::Relay => None,
            Front::Kamailio(mode) if !OWN_MODES.contains(&mode) && kamailio_folder().is_none() => {
                Some("no configurations: set POINTSMAN_PEERS to the folder that holds kamailio/".to_owned())
            }
            Front::Kamailio(_) => {
                let found = Command::new("kamailio").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
                found.is_err().then(|| "kamailio is not installed (apt-get install kamailio)".to_owned())
            }
        }
    }

    /// Starts it, and returns when it answers.
    pub fn start(self) -> Running {
        let running = match self {
            Front::Pointsman => Running::of_pointsman(),
            Front::Bare => Running::of_bare(None),
            Front::Proxy(mode) => Running::of_proxy(mode),
            Front::Relay => Running::of_relay(),
            Front::Kamailio(mode) if OWN_MODES.contains(&mode) => Running::of_own_kamailio(mode),
            Front::Kamailio(mode) => Running::of_kamailio(mode),
        };
        running.await_answer();
        running
    }
}

fn kamailio_folder() -> Option<PathBuf> {
    let named = std::env::var_os("POINTSMAN_PEERS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    [named, Some(beside)].into_iter().flatten().map(|peers| peers.join("kamailio")).find(|folder| folder.is_dir())
}

/// A front and its workers. Dropped, all of them are killed.
pub struct Running {
    /// The address that calls go to.
    pub address: SocketAddr,
    /// The address that MGCP commands go to, if the front takes any.
    pub mgcp: SocketAddr,
    /// Whether its callers may ask for replies at the source port.
    rport: bool,
    process: Process,
    /// The dispatcher that has the workers, or that is the front itself.
    pointsman: Option<Pointsman>,
    /// The sinks that it has instead of workers.
    sinks: Vec<Guard>,
}

enum Process {
    Pointsman,
    Bare(Guard),
    Proxy(Pointsman, #[allow(dead_code, reason = "kept until the process has ended")] TempDir),
    Kamailio(Guard, #[allow(dead_code, reason = "kept until the process has ended")] TempDir),
}

/// A child that is killed, with its children, when it is dropped.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let children = proc::children(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        proc::kill_all(&children);
    }
}

impl Running {
    /// Starts `front` with [`WORKERS`] sinks as workers, which count in the file `counts`; `None` where it can have
    /// only workers of its own.
    pub fn with_sinks(front: Front, counts: &Path) -> Option<Self> {
        match front {
            Front::Pointsman => Some(Running::of_pointsman_with_sinks(counts)),
            Front::Bare => Some(Running::of_bare(Some(counts.to_owned()))),
            Front::Kamailio(_) | Front::Proxy(_) | Front::Relay => None,
        }
    }

    /// The sinks come by themselves, beside one worker that is drained.
    fn of_pointsman_with_sinks(counts: &Path) -> Self {
        let setup = Setup::new(1);
        let mgcp = SocketAddr::new(setup.ip, 2_427);
        let listen = format!("mgcp:{mgcp}");
        let pointsman = setup.with(["--capacity", &CAPACITY.to_string(), "--listen", &listen]).start();
        pointsman.stats("drain w0");
        let handoff = pointsman.run_dir().join("handoff.sock");
        let start = |slot: usize| {
            let address = SocketAddr::new(pointsman.address().ip(), 6_000 + slot as u16);
            let mut command = Command::new(std::env::current_exe().expect("this executable has a path"));
            command.arg("sink").arg(counts).args([&slot.to_string(), "path"]).arg(&handoff).arg(address.to_string());
            Guard(command.stdin(Stdio::null()).spawn().expect("this executable starts again"))
        };
        let sinks = (0..WORKERS).map(start).collect();
        pointsman.wait_until("all sinks to be up", |load| {
            let up = |worker: &&serde_json::Value| worker["state"] == "up";
            load["workers"].as_array().is_some_and(|all| all.iter().filter(up).count() == 1 + WORKERS)
        });
        let address = pointsman.address();
        Running { address, mgcp, rport: true, process: Process::Pointsman, pointsman: Some(pointsman), sinks }
    }

    fn of_pointsman() -> Self {
        let setup = Setup::new(WORKERS);
        // Beside the UDP address that it listens on in any case.
        let listen = format!("tcp:{}", SocketAddr::new(setup.ip, setup.port));
        let pointsman = setup.with(["--capacity", &CAPACITY.to_string(), "--listen", &listen]).start();
        Running {
            address: pointsman.address(),
            mgcp: pointsman.address(),
            rport: true,
            process: Process::Pointsman,
            pointsman: Some(pointsman),
            sinks: Vec::new(),
        }
    }

    /// The bare forwarder with workers, or with sinks that count in a file.
    fn of_bare(sinks: Option<PathBuf>) -> Self {
        let listen = SocketAddrV4::new(own_address(), 5060);
        let setup = forwarder::Setup { listen, worker_ports: 5070, workers: WORKERS as u16, capacity: CAPACITY, sinks };
        let program = std::env::current_exe().expect("this executable has a path");
        let mut command = Command::new(program);
        command.arg("forwarder").args(setup.words()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guard = Guard(command.spawn().expect("this executable starts again"));
        let mut line = String::new();
        let stdout = guard.0.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the forwarder's first line");
        assert_eq!(line.trim(), "ready", "the bare forwarder did not start");
        Running {
            address: listen.into(),
            // The forwarder reads no message: it passes MGCP on from the same address.
            mgcp: listen.into(),
            rport: true,
            process: Process::Bare(guard),
            pointsman: None,
            sinks: Vec::new(),
        }
    }

    /// Starts Kamailio in this mode, with its configurations changed so that it listens and forwards over TCP as well.
    pub fn of_kamailio_over_tcp(mode: &str) -> Self {
        let folder = kamailio_folder().expect("looked for before");
        let changed = tempfile::Builder::new().prefix("pm-kamailio-tcp-").tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let text = std::fs::read_to_string(entry.path()).expect("a text file");
            let text = text
                .replace("disable_tcp=yes", "disable_tcp=no\ntcp_children=1\nlisten=tcp:127.0.0.1:5060")
                .replace(" 0 0 duid", ";transport=tcp 0 0 duid");
            std::fs::write(changed.path().join(entry.file_name()), text).expect("a file in a temporary directory");
        }
        let running = Running::of_kamailio_in(changed.path(), mode);
        running.await_answer();
        running
    }

    fn of_own_kamailio(mode: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-kamailio-").tempdir().expect("a temporary directory");
        let servers = dir.path().join("servers");
        let line = |port| format!("1 sip:127.0.0.1:{port} 0 0 duid=s{port}\n");
        let text: String = (relay::FIRST_SERVER..).take(WORKERS).map(line).collect();
        std::fs::write(&servers, text).expect("a file in a temporary directory");
        let mut command = Command::new("kamailio");
        let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/end_to_end/kamailio/proxies.cfg");
        command.arg("-DD").arg("-f").arg(configuration).args(["-m", "1024", "-M", "64", "-x", "tlsf"]);
        command.args(["-A", &format!("SERVERS=\"{}\"", servers.display())]);
        if mode == "redirect" {
            command.args(["-A", "REDIRECT"]);
        }
        command.arg("-P").arg(dir.path().join("pid")).arg("-Y").arg(dir.path()).arg("-w").arg(dir.path());
        Running::of_started_kamailio(&mut command, dir, true)
    }

    fn of_kamailio(mode: &str) -> Self {
        Running::of_kamailio_in(&kamailio_folder().expect("looked for before"), mode)
    }

    /// A dispatcher whose workers are servers on ports of their own, from 7001 on.
    fn servers() -> Pointsman {
        let mut setup = Setup::new(WORKERS).with(["--capacity", &CAPACITY.to_string()]);
        setup.ip = Ipv4Addr::LOCALHOST.into();
        setup.port = 15_060;
        setup.worker_ports = relay::FIRST_SERVER;
        setup.start()
    }

    fn of_proxy(mode: &str) -> Self {
        let servers = Running::servers();
        let dir = tempfile::Builder::new().prefix("pm-proxy-").tempdir().expect("a temporary directory");
        let mut text = format!("[[pool]]\nname = \"default\"\nmode = \"{mode}\"\n");
        for port in (relay::FIRST_SERVER..).take(WORKERS) {
            text += &format!("[[proxy]]\nname = \"s{port}\"\nuri = \"sip:127.0.0.1:{port}\"\n");
        }
        let file = dir.path().join("pointsman.toml");
        std::fs::write(&file, text).expect("a file in a temporary directory");
        let mut setup = Setup::new(0).with(["--config", &file.display().to_string()]);
        setup.ip = Ipv4Addr::LOCALHOST.into();
        setup.port = 5_060;
        let front = setup.start();
        Running {
            address: front.address(),
            mgcp: front.address(),
            rport: true,
            process: Process::Proxy(front, dir),
            pointsman: Some(servers),
            sinks: Vec::new(),
        }
    }

    /// Starts the dispatcher in front of servers that it has one connection each to, and stays in the dialogs.
    pub fn of_systems() -> Self {
        let servers = Running::servers();
        let dir = tempfile::Builder::new().prefix("pm-systems-").tempdir().expect("a temporary directory");
        let mut text = "[[pool]]\nname = \"default\"\nrecord-route = \"always\"\n".to_owned();
        for port in (relay::FIRST_SERVER..).take(WORKERS) {
            let uri = format!("sip:127.0.0.1:{port};transport=tcp");
            text += &format!("[[proxy]]\nname = \"s{port}\"\nuri = \"{uri}\"\nprobe = \"none\"\n");
        }
        let file = dir.path().join("pointsman.toml");
        std::fs::write(&file, text).expect("a file in a temporary directory");
        let listen = format!("tcp:{}", relay::address());
        let mut setup = Setup::new(0).lanes(1).with(["--config", &file.display().to_string(), "--listen", &listen]);
        setup.ip = Ipv4Addr::LOCALHOST.into();
        setup.port = relay::address().port();
        let front = setup.start();
        let running = Running {
            address: front.address(),
            mgcp: front.address(),
            rport: true,
            process: Process::Proxy(front, dir),
            pointsman: Some(servers),
            sinks: Vec::new(),
        };
        running.await_answer();
        running
    }

    fn of_relay() -> Self {
        Running::of_bare_relay("relay")
    }

    /// Starts the bare relay over TCP.
    pub fn of_stream_relay() -> Self {
        // It answers nothing by itself, and listens before it says that it is ready.
        Running::of_bare_relay("stream-relay")
    }

    fn of_bare_relay(word: &str) -> Self {
        let servers = Running::servers();
        let mut command = Command::new(std::env::current_exe().expect("this executable has a path"));
        command.args([word, &WORKERS.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut guard = Guard(command.spawn().expect("this executable starts again"));
        let mut line = String::new();
        let stdout = guard.0.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the relay's first line");
        assert_eq!(line.trim(), "ready", "the bare relay did not start");
        Running {
            address: relay::address(),
            mgcp: relay::address(),
            // The servers see the relay as the source, and must not take its port for the caller's.
            rport: true,
            process: Process::Bare(guard),
            pointsman: Some(servers),
            sinks: Vec::new(),
        }
    }

    fn of_kamailio_in(folder: &Path, mode: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-kamailio-").tempdir().expect("a temporary directory");
        let mut command = Command::new("sh");
        command.arg(folder.join("run.sh")).args([mode, "1"]).env("KAMRUN", dir.path()).env("SHM_MB", "1024");
        // The raw relay's workers see the relay as the source, and would answer there.
        Running::of_started_kamailio(&mut command, dir, mode != "rawsend")
    }

    fn of_started_kamailio(command: &mut Command, dir: TempDir, rport: bool) -> Self {
        // Its configuration names these addresses: itself on port 5060, four backends from 7001 on.
        let pointsman = Running::servers();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it was found before");
        Running {
            address: (Ipv4Addr::LOCALHOST, 5060).into(),
            mgcp: (Ipv4Addr::LOCALHOST, 5060).into(),
            rport,
            process: Process::Kamailio(Guard(child), dir),
            pointsman: Some(pointsman),
            sinks: Vec::new(),
        }
    }

    /// Sends OPTIONS until it is answered: the front stands, and so does a worker where it answers.
    fn await_answer(&self) {
        let socket = UdpSocket::bind((self.address.ip(), 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout above zero");
        let local = socket.local_addr().expect("a bound socket has an address");
        let rport = if self.rport { ";rport" } else { "" };
        let text = format!(
            "OPTIONS sip:service@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKready{rport}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ready@{local}>;tag=ready\r\nTo: <sip:service@{target}>\r\n\
             Call-ID: ready@{local}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            target = self.address
        );
        wait_for("the front's first answer", PATIENCE, || {
            socket.send_to(text.as_bytes(), self.address).ok()?;
            let mut answer = [0; 2048];
            // A front that has no connection to a server yet refuses it; one that redirects names the servers.
            socket.recv(&mut answer).ok()?;
            (answer.starts_with(b"SIP/2.0 200") || answer.starts_with(b"SIP/2.0 302")).then_some(())
        });
    }

    /// The plan of a load on it: calls without media, whose sockets would cost the workers more than their signalling.
    pub fn plan(&self) -> Plan {
        Plan { rport: self.rport, inactive: true, ..Plan::new(self.address) }
    }

    /// The processes in front.
    pub fn front_pids(&self) -> Vec<u32> {
        match &self.process {
            Process::Pointsman => self.pointsman.iter().map(Pointsman::pid).collect(),
            Process::Bare(guard) => vec![guard.0.id()],
            Process::Proxy(front, _) => vec![front.pid()],
            Process::Kamailio(guard, _) => {
                // `run.sh` becomes the main process; its children do the work.
                let main = guard.0.id();
                std::iter::once(main).chain(proc::children(main)).collect()
            }
        }
    }

    /// The processes of its workers, or sinks.
    pub fn worker_pids(&self) -> Vec<u32> {
        if !self.sinks.is_empty() {
            return self.sinks.iter().map(|sink| sink.0.id()).collect();
        }
        match (&self.process, &self.pointsman) {
            (Process::Bare(guard), None) => proc::children(guard.0.id()),
            (_, Some(pointsman)) => pointsman.worker_pids(),
            (_, None) => Vec::new(),
        }
    }

    /// The dispatcher behind a Kamailio, which has nothing to do.
    pub fn bystander(&self) -> Option<u32> {
        match self.process {
            Process::Kamailio(..) | Process::Proxy(..) | Process::Bare(_) => {
                self.pointsman.as_ref().map(Pointsman::pid)
            }
            Process::Pointsman => None,
        }
    }

    /// The dispatcher, when it is the front.
    pub fn pointsman(&self) -> Option<&Pointsman> {
        self.pointsman.as_ref().filter(|_| matches!(self.process, Process::Pointsman))
    }
}
