//! SIP over TCP and TLS at the well-known address.

mod bad_input;
mod mutual;
mod raw;
mod symptoms;
mod takeover;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::support::line::{Answered, Line};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, wait_for};

/// A dispatcher that takes SIP over UDP, TCP and, at the next port, TLS.
pub struct Rig {
    pub pointsman: Pointsman,
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
    pub config: Arc<ClientConfig>,
    /// The directory of configuration and certificate.
    pub dir: tempfile::TempDir,
}

impl Rig {
    pub fn new(workers: usize) -> Self {
        Rig::with(Setup::new(workers), "")
    }

    /// With more lines of a configuration file.
    pub fn with(setup: Setup, lines: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("pm-tls-").tempdir().unwrap();
        let config = renew_certificate(dir.path());
        let (tcp, tls) = (SocketAddr::new(setup.ip, setup.port), SocketAddr::new(setup.ip, setup.port + 1));
        let path = dir.path().display();
        let text = format!("{lines}\n[[tls]]\ncertificate = \"{path}/cert.pem\"\nkey = \"{path}/key.pem\"\n");
        let file = dir.path().join("p.toml");
        fs::write(&file, text).unwrap();
        let words = ["--listen", &format!("tcp:{tcp}"), "--listen", &format!("tls:{tls}"), "--config"];
        let pointsman = setup.with(words).with([file.to_str().unwrap()]).start();
        Rig { pointsman, tcp, tls, config, dir }
    }

    /// A new connection.
    pub fn line(&self, is_secure: bool) -> Line {
        if is_secure { Line::tls(self.tls, &self.config).unwrap() } else { Line::tcp(self.tcp).unwrap() }
    }
}

/// Writes a new certificate for `localhost` and its key, and returns the configuration of a client that trusts it.
fn renew_certificate(dir: &Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Callers that place calls all the time, each on a connection of its own.
pub struct Callers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Callers {
    /// So many callers on these lines, each with a call every so often. A call is an INVITE, its ACK and a BYE, all on
    /// the line.
    pub fn start(lines: Vec<Line>, to: SocketAddr, interval: Duration) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let caller = |(number, mut line): (usize, Line)| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let uri = format!("sip:service@{to}");
                for call in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let answered = line.call(to, &format!("{number}-{call}-{}", line.local_addr().port()))?;
                    std::thread::sleep(interval);
                    let bye = line.bye(&answered, &uri)?;
                    if !bye.starts_with("SIP/2.0 200") {
                        return Err(io::Error::other(bye));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        };
        Callers { threads: lines.into_iter().enumerate().map(caller).collect(), stop, done }
    }

    /// Waits for so many more calls.
    pub fn wait_for_more(&self, calls: u64) {
        let before = self.done.load(Ordering::Relaxed);
        let is_done = || {
            let is_over = self.threads.iter().any(JoinHandle::is_finished);
            (is_over || self.done.load(Ordering::Relaxed) >= before + calls).then_some(())
        };
        wait_for("more calls", DEADLINE, is_done);
    }

    /// Ends the calls; an error is the first fault of a caller.
    pub fn end(self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap()?;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

#[test]
fn a_thousand_interleaved_dialogs_of_one_connection_are_spread_and_each_stays_whole() {
    const DIALOGS: usize = 1_000;
    for lanes in [1, 2, 4] {
        let rig = Rig::with(Setup::new(4).lanes(lanes), "");
        let mut line = rig.line(false);
        let uri = format!("sip:service@{}", rig.tcp);
        let mut dialogs = Vec::new();
        for wave in 0..DIALOGS / 100 {
            for call in 0..100 {
                line.invite(rig.tcp, &format!("dialog-{wave}-{call}")).unwrap();
            }
            let mut missing = 100;
            while missing > 0 {
                let answered = Answered::of(&line.receive_final("INVITE").unwrap()).unwrap();
                line.ack(&answered, &uri).unwrap();
                if !dialogs.iter().any(|known: &Answered| known.call_id == answered.call_id) {
                    dialogs.push(answered);
                    missing -= 1;
                }
            }
        }
        for dialog in &dialogs {
            let bye = line.bye(dialog, &uri).unwrap();
            assert!(bye.starts_with("SIP/2.0 200") && bye.contains(&dialog.call_id), "{lanes} lanes: {bye}");
        }
        for worker in 0..4 {
            let handoffs = rig.pointsman.worker_number(worker, "handoffs");
            assert!(handoffs > DIALOGS as u64 / 8, "{lanes} lanes: w{worker} had {handoffs}");
        }
    }
}

#[test]
fn a_dispatcher_that_is_killed_leaves_calls_at_the_workers_ports_and_callers_that_come_back_are_served() {
    let mut rig = Rig::new(2);
    let mut line = rig.line(false);
    let standing = line.call(rig.tcp, "standing").unwrap();
    rig.pointsman.crash();
    assert!(line.receive().is_err(), "the connection ends with the dispatcher");
    // The rest of the dialog goes to the worker's own port.
    let port = standing.contact.split([':', ';', '>']).nth(2).and_then(|port| port.parse().ok()).unwrap();
    let mut direct = Line::tcp(SocketAddr::new(rig.tcp.ip(), port)).unwrap();
    let bye = direct.bye(&standing, &standing.contact).unwrap();
    assert!(bye.starts_with("SIP/2.0 200"), "{bye}");
    rig.pointsman.start_again();
    let mut again = wait_for("the new dispatcher", DEADLINE, || Line::tls(rig.tls, &rig.config).ok());
    let answered = again.call(rig.tls, "again").unwrap();
    assert!(again.bye(&answered, &format!("sip:service@{}", rig.tls)).unwrap().starts_with("SIP/2.0 200"));
}

#[test]
fn two_hundred_new_certificates_under_load_fail_no_call_and_a_bad_one_changes_nothing() {
    let rig = Rig::new(2);
    let lines = (0..4).map(|_| rig.line(true)).collect();
    let callers = Callers::start(lines, rig.tls, Duration::from_millis(20));
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", rig.pointsman.pid())).unwrap().count();
    let mut before = None;
    for round in 0..200 {
        let config = renew_certificate(rig.dir.path());
        let reply = rig.pointsman.stats("reload");
        assert_eq!(reply["error"], serde_json::Value::Null, "{reply}");
        // New connections get the new certificate as soon as the gate has it.
        let line = wait_for("the new certificate", DEADLINE, || Line::tls(rig.tls, &config).ok());
        drop(line);
        if round == 20 {
            before = Some(descriptors());
        }
    }
    callers.wait_for_more(10);
    assert!(descriptors() <= before.unwrap() + 8, "{} after {before:?}", descriptors());
    let good = fs::read(rig.dir.path().join("cert.pem")).unwrap();
    fs::write(rig.dir.path().join("cert.pem"), &good[..good.len() / 2]).unwrap();
    let reply = rig.pointsman.stats("reload");
    assert!(reply["error"].as_str().is_some_and(|error| error.contains("cert.pem")), "{reply}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(rig.pointsman.pid() as i32), Signal::SIGHUP).unwrap();
    callers.wait_for_more(10);
    assert!(callers.end().unwrap() > 0);
}
