//! Latency of calls beside connections that ask much of the dispatcher: TLS handshakes beside calls over UDP, and one
//! connection that sends without a pause beside calls on others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use crate::front::WORKERS;
use crate::generator::{Generator, Pace, Plan, Until};
use crate::load::RATE;
use crate::options::Options;
use crate::report::{Spread, cell};
use crate::support::pointsman::{Pointsman, Setup};

/// Handshakes a second.
const HANDSHAKES: f64 = 2_000.0;
/// Connections of the calls that one without a pause stands beside.
const OTHERS: usize = 99;
const NAME: &str = "localhost";

/// A case: the calls that are measured, and the connections beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Udp,
    UdpBesideHandshakes,
    Connections,
    ConnectionsBesideAFastOne,
}

impl Case {
    const ALL: [Case; 4] = [Case::Udp, Case::UdpBesideHandshakes, Case::Connections, Case::ConnectionsBesideAFastOne];

    const fn name(self) -> &'static str {
        match self {
            Case::Udp => "calls over udp",
            Case::UdpBesideHandshakes => "the same beside TLS handshakes",
            Case::Connections => "calls over 99 connections",
            Case::ConnectionsBesideAFastOne => "the same beside one that sends without a pause",
        }
    }
}

/// The figures of one case, run by run.
pub struct Beside {
    case: Case,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Handshakes or messages beside the calls, a second.
    others: Vec<f64>,
}

/// Measures all cases in turn, as many rounds as the options ask for.
pub fn measure(options: &Options) -> Vec<Beside> {
    let mut rows = Case::ALL.map(|case| Beside { case, p50: Vec::new(), p99: Vec::new(), others: Vec::new() });
    for round in 1..=options.runs {
        for row in &mut rows {
            let (p50, p99, others) = run(row.case, options.span);
            eprintln!("round {round}: {}: p50 {p50} µs, p99 {p99} µs, beside {others:.0}/s", row.case.name());
            row.p50.push(p50);
            row.p99.push(p99);
            row.others.push(others);
        }
    }
    rows.into()
}

fn run(case: Case, span: Duration) -> (f64, f64, f64) {
    let secrets = Secrets::new();
    let pointsman = secrets.start();
    let connections = if matches!(case, Case::Udp | Case::UdpBesideHandshakes) { 0 } else { OTHERS };
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let beside = {
        let (over, done, target) = (Arc::clone(&over), Arc::clone(&done), pointsman.address());
        let client = Arc::clone(&secrets.client);
        thread::spawn(move || match case {
            Case::UdpBesideHandshakes => handshakes(SocketAddr::new(target.ip(), 5061), &client, &over, &done),
            Case::ConnectionsBesideAFastOne => send_without_a_pause(target, &over, &done),
            Case::Udp | Case::Connections => {}
        })
    };
    let begun = Instant::now();
    let plan = Plan {
        pace: Pace::Rate(RATE),
        until: Until::After(span),
        connections,
        inactive: true,
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).expect("sockets for the generator");
    let outcome = generator.run();
    let others = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    beside.join().expect("the thread beside the calls");
    assert_eq!(outcome.failed("INVITE") + outcome.failed("BYE"), 0, "calls failed");
    let quantile = |part| outcome.latency.value_at_quantile(part) as f64;
    (quantile(0.5), quantile(0.99), others)
}

/// Makes connections and shakes hands on them, every time anew.
fn handshakes(target: SocketAddr, client: &Arc<ClientConfig>, over: &AtomicBool, done: &AtomicU64) {
    let begun = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let due = begun + Duration::from_secs_f64(done.load(Ordering::Relaxed) as f64 / HANDSHAKES);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let name = ServerName::try_from(NAME).expect("a name");
        let mut session = ClientConnection::new(Arc::clone(client), name).expect("a session");
        let mut socket = TcpStream::connect(target).expect("the dispatcher accepts");
        socket.set_nodelay(true).expect("an option of TCP");
        // Ports would run out in TIME_WAIT.
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("an option of sockets");
        while session.is_handshaking() {
            session.complete_io(&mut socket).expect("a handshake");
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends OPTIONS as fast as the connection takes them, and reads the answers. The callers go first where there are too
/// few processors: their wait for one is not the dispatcher's doing.
fn send_without_a_pause(target: SocketAddr, over: &Arc<AtomicBool>, done: &AtomicU64) {
    let _ = rustix::process::nice(19);
    let mut socket = TcpStream::connect(target).expect("the dispatcher accepts");
    let mut answers = socket.try_clone().expect("the same socket");
    let reader = thread::spawn(move || while let Ok(1..) = answers.read(&mut [0; 65_536]) {});
    let options = format!(
        "OPTIONS sip:service@{target} SIP/2.0\r\nVia: SIP/2.0/TCP {target};branch=z9hG4bKfast\r\nMax-Forwards: 70\r\n\
         From: <sip:fast@{target}>;tag=fast\r\nTo: <sip:service@{target}>\r\nCall-ID: fast@{target}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    let many = options.repeat(50);
    while !over.load(Ordering::Relaxed) {
        socket.write_all(many.as_bytes()).expect("the dispatcher reads");
        done.fetch_add(50, Ordering::Relaxed);
    }
    socket.shutdown(std::net::Shutdown::Both).expect("an open connection");
    reader.join().expect("the reader of answers");
}

/// The certificate of the dispatcher, and a client that trusts it and remembers no session.
struct Secrets {
    dir: tempfile::TempDir,
    client: Arc<ClientConfig>,
}

impl Secrets {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).expect("a file");
        write("cert.pem", made.cert.pem());
        write("key.pem", made.signing_key.serialize_pem());
        write(
            "config.toml",
            format!(
                "connection-exempt = [\"127.0.0.0/8\"]\n\
                 [[tls]]\ncertificate = \"{0}/cert.pem\"\nkey = \"{0}/key.pem\"\n",
                dir.path().display()
            ),
        );
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).expect("a certificate to trust");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        Secrets { dir, client: Arc::new(client) }
    }

    fn start(&self) -> Pointsman {
        let setup = Setup::new(WORKERS);
        let [tcp, tls] = [("tcp", 5060), ("tls", 5061)]
            .map(|(transport, port)| format!("{transport}:{}", SocketAddr::new(setup.ip, port)));
        let config = self.dir.path().join("config.toml");
        let config = config.to_str().expect("a path in UTF-8");
        setup.with(["--capacity", "1000000", "--listen", &tcp, "--listen", &tls, "--config", config]).start()
    }
}

impl Beside {
    /// Prints the table.
    pub fn print(rows: &[Beside]) {
        println!("\nINVITE to 200 at {RATE} calls/s beside busy connections, in µs; median (min–max)");
        println!("| calls | p50 | p99 | p99 × without | handshakes or messages beside them, a second |");
        println!("|---|---|---|---|---|");
        for pair in rows.chunks_exact(2) {
            for row in pair {
                let p99 = |row: &Beside| Spread::of(row.p99.iter().copied());
                let ratio = p99(row).zip(p99(&pair[0])).map(|(own, without)| own.median / without.median);
                let p50 = Spread::of(row.p50.iter().copied());
                let others = Spread::of(row.others.iter().copied());
                let (p50, p99, others) = (cell(p50, 0), cell(p99(row), 0), cell(others, 0));
                println!("| {} | {p50} | {p99} | {:.2} | {others} |", row.case.name(), ratio.unwrap_or_default());
            }
        }
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        json!({ "case": self.case.name(), "p50_us": self.p50, "p99_us": self.p99, "others_per_second": self.others })
    }
}
