//! Workers on other hosts, here on loopback addresses of their own, and what lies between them and the dispatcher.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pointsman::net::lan::certify::{End, certify};
use tempfile::TempDir;

use super::own_address;
use super::pointsman::{EXECUTABLE, Setup};

/// The port where the dispatcher's workers on other hosts connect.
pub const PORT: u16 = 5090;

/// The certificates of a site, and the file of its dispatcher.
pub struct Site {
    dir: TempDir,
    dispatcher: IpAddr,
}

impl Site {
    /// A site whose workers reach their dispatcher at `dispatcher`, directly or over relays on `more`.
    pub fn new(dispatcher: IpAddr, more: &[IpAddr]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let names = std::iter::once(dispatcher).chain(more.iter().copied()).map(|ip| ip.to_string());
        certify(dir.path(), &End::Dispatcher(names.collect())).expect("a certificate");
        Site { dir, dispatcher }
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A dispatcher of this site with so many workers of its own, and more lines for its file.
    pub fn setup(&self, workers: usize, more: &str) -> Setup {
        let (path, at) = (self.file("pointsman.toml"), SocketAddr::new(self.dispatcher, PORT));
        let file = |name| self.file(name).display().to_string();
        let text = format!(
            "[lan]\nlisten = \"{at}\"\ncertificate = {:?}\nkey = {:?}\nclient-ca = {:?}\n{more}\n",
            file("dispatcher.pem"),
            file("dispatcher.key"),
            file("ca.pem")
        );
        std::fs::write(&path, text).expect("the file can be written");
        let setup = Setup { ip: self.dispatcher, ..Setup::new(workers) };
        setup.with(["--config", &path.display().to_string()])
    }

    /// Makes the certificate of a worker.
    pub fn certify(&self, name: &str) {
        certify(self.dir.path(), &End::Worker(name.to_owned())).expect("a certificate");
    }

    /// Starts a worker with a certificate of its own that calls the dispatcher at `at`.
    pub fn worker(&self, name: &str, at: SocketAddr) -> LanWorker {
        self.certify(name);
        self.start(name, at, &[own_address().into()])
    }

    /// Starts a worker whose certificate is there already.
    pub fn start(&self, name: &str, at: SocketAddr, addresses: &[IpAddr]) -> LanWorker {
        self.start_by(&[], name, at, addresses)
    }

    /// As [`Site::start`], by a command that becomes it.
    pub fn start_by(&self, by: &[String], name: &str, at: SocketAddr, addresses: &[IpAddr]) -> LanWorker {
        let log = self.file(&format!("{name}.log"));
        let stderr = std::fs::File::options().append(true).create(true).open(&log).expect("a file for stderr");
        let words: Vec<&str> = by.iter().map(String::as_str).chain([EXECUTABLE]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["worker", "-v", "--dispatcher", &format!("tls://{at}"), "--ca"])
            .arg(self.file("ca.pem"));
        command.arg("--certificate").arg(self.file(&format!("{name}.pem")));
        command.arg("--key").arg(self.file(&format!("{name}.key")));
        for address in addresses {
            command.args(["--address", &address.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stderr(stderr).spawn().expect("the executable starts");
        LanWorker { child, log, address: addresses[0] }
    }
}

/// A worker that came over the network. Dropped, it is killed.
pub struct LanWorker {
    pub child: Child,
    log: PathBuf,
    /// Its first address.
    pub address: IpAddr,
}

impl LanWorker {
    /// All it has logged.
    pub fn log(&self) -> String {
        read(&self.log)
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Drop for LanWorker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" a call ")).collect();
            println!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}

/// A wire between a worker and its dispatcher, which delays, and can be cut.
pub struct Relay {
    address: SocketAddr,
    state: Arc<(Mutex<Wire>, Condvar)>,
}

#[derive(Debug, Default)]
struct Wire {
    /// Nothing gets through, and neither end is told.
    is_cut: bool,
    open: Vec<TcpStream>,
    connections: usize,
}

impl Relay {
    /// A wire from `ip` to `to`, on which everything takes `delay`.
    pub fn new(ip: IpAddr, to: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind((ip, PORT)).expect("a free port");
        let relay = Relay { address: listener.local_addr().expect("a bound socket"), state: Arc::default() };
        let state = Arc::clone(&relay.state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(to) else { continue };
                let mut wire = state.0.lock().expect("no thread has panicked");
                wire.connections += 1;
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    to.set_nodelay(true).expect("an open socket");
                    wire.open.push(from.try_clone().expect("another descriptor"));
                    let state = Arc::clone(&state);
                    thread::spawn(move || pump(from, to, delay, &state));
                }
            }
        });
        relay
    }

    /// Where it takes connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.0.lock().expect("no thread has panicked").connections
    }

    /// Nothing gets through any more, until [`Relay::mend`].
    pub fn cut(&self) {
        self.state.0.lock().expect("no thread has panicked").is_cut = true;
    }

    /// Packets that were held back, and those that come, go on.
    pub fn mend(&self) {
        self.state.0.lock().expect("no thread has panicked").is_cut = false;
        self.state.1.notify_all();
    }

    /// Ends all connections, with whatever is on its way in them.
    pub fn reset(&self) {
        let open = std::mem::take(&mut self.state.0.lock().expect("no thread has panicked").open);
        for socket in open {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration, state: &(Mutex<Wire>, Condvar)) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let due = Instant::now() + delay;
        let wire = state.0.lock().expect("no thread has panicked");
        drop(state.1.wait_while(wire, |wire| wire.is_cut).expect("no thread has panicked"));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
