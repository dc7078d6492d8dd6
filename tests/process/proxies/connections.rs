//! Servers that are reached over TCP and TLS: their health.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;

use super::Front;
use super::names::{NameServer, SRV, srv};
use super::systems::System;
use crate::support::pointsman::{Setup, run};
use crate::support::{DEADLINE, wait_for};

/// Settings with one server, `s0`, that is probed often.
fn settings(system: &System, transport: &str, lines: &str) -> String {
    let uri = format!("sip:{};transport={transport}", system.address());
    format!("[[proxy]]\nname = \"s0\"\nuri = \"{uri}\"\nprobe-interval = \"200ms\"\n{lines}\n")
}

/// A dispatcher with these settings, which takes SIP over the servers' transport as well.
fn start(transport: &str, settings: &str) -> Front {
    start_as(transport, settings, Setup::new(0))
}

fn start_as(transport: &str, settings: &str, setup: Setup) -> Front {
    let listen = format!("{transport}:{}", SocketAddr::new(setup.ip, 5061));
    Front::start_as(settings, setup.with(["--listen", &listen]))
}

/// A CA, and the files that it makes.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { dir, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate for `host`, a name or an address, and its key. Returns the configuration of a server with
    /// it.
    pub(crate) fn certify(&self, host: &str) -> Arc<ServerConfig> {
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{host}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{host}.key")), key.serialize_pem()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// The configuration of a client that shows a certificate for this name.
    pub(crate) fn client(&self, name: &str) -> Arc<ClientConfig> {
        self.certify(name);
        let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap())
    }

    /// The table `tls` of a dispatcher that trusts this CA.
    pub(crate) fn tls(&self) -> String {
        self.certify("edge.example.test");
        let dir = self.dir.path().display();
        format!(
            "[[tls]]\ncertificate = \"{dir}/edge.example.test.pem\"\nkey = \"{dir}/edge.example.test.key\"\n\
             client-certificates = \"optional\"\nclient-ca = \"{dir}/ca.pem\"\n"
        )
    }
}

/// It goes down when the server is killed, and comes back with it.
fn goes_and_comes_back(front: &Front, system: &mut System) {
    let row = front.wait_until("s0", "to answer probes", |row| row["probe_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert_eq!(row["state"], "up", "{row}");
    let probes = system.probes();
    front.wait_until("s0", "to answer more", |_| system.probes() > probes + 5);
    system.close();
    front.wait_for_state("s0", "down");
    system.open();
    front.wait_for_state("s0", "up");
    let probes = system.probes();
    front.wait_until("s0", "to answer again", |_| system.probes() > probes + 5);
}

#[test]
fn a_server_over_tcp_is_down_while_nothing_listens_and_up_when_it_answers() {
    let mut system = System::start(None);
    let front = start("tcp", &settings(&system, "tcp", ""));
    goes_and_comes_back(&front, &mut system);
    // One that only hangs up is called again.
    let lost = front.row("s0")["probes_lost"].as_u64();
    let probes = system.probes();
    system.hang_up();
    let row = front.wait_until("s0", "to be called again", |_| system.probes() > probes + 5);
    assert_eq!(row["state"], "up", "{row}, {lost:?} probes were lost before");
}

#[test]
fn a_server_over_tcp_that_is_killed_is_down_at_once_however_seldom_it_is_probed() {
    let mut system = System::start(None);
    let text = settings(&system, "tcp", "probe-within = \"200ms\"").replacen("\"200ms\"", "\"2s\"", 1);
    let front = start("tcp", &text);
    front.wait_until("s0", "to answer", |_| system.probes() >= 3);
    let begin = Instant::now();
    system.close();
    front.wait_for_state("s0", "down");
    println!("down after {:?}", begin.elapsed());
    front.pointsman.wait_until("probes to be refused", |_| {
        front.pointsman.stats("counters")["probes"]["reasons"]["refused"].as_u64() > Some(0)
    });
    println!("refused after {:?}", begin.elapsed());
}

#[test]
fn a_server_over_tcp_reports_its_load_in_answers_and_in_options_of_its_own() {
    let system = System::start(None);
    let front = start("tcp", &settings(&system, "tcp", "load = \"sip\""));
    front.wait_until("s0", "to answer", |_| system.probes() > 3);
    let (at, to) = (system.address(), front.pointsman.address().ip());
    let options = |count: u32| {
        format!(
            "OPTIONS sip:{to}:5061;transport=tcp SIP/2.0\r\nVia: SIP/2.0/TCP {at};branch=z9hG4bK{count}\r\nMax-Forwards: 70\r\n\
             From: <sip:s0@{at}>;tag=f\r\nTo: <sip:{to}>\r\nCall-ID: {count}@{at}\r\nCSeq: 1 OPTIONS\r\n\
             X-Load: used={count};total=100\r\nContent-Length: 0\r\n\r\n"
        )
    };
    system.says(&options(7));
    front.wait_until("s0", "to have reported", |row| row["used"] == 7 && row["total"] == 100);
    system.set_headers("X-Load: used=40;total=100\r\n");
    front.wait_until("s0", "to report in answers", |row| row["used"] == 40);
}

#[test]
fn a_server_over_tls_shows_a_certificate_for_its_address_or_its_tls_name() {
    let ca = Authority::new();
    let mut system = System::start(Some(ca.certify("system.example.test")));
    let named = settings(&system, "tls", "tls-name = \"system.example.test\"") + &ca.tls();
    let front = start("tls", &named);
    goes_and_comes_back(&front, &mut system);
    front.reload(&(settings(&system, "tls", "handicap = 50") + &ca.tls()));
    system.set_tls(ca.certify(&system.address().ip().to_string()));
    system.hang_up();
    front.wait_until("s0", "to be known by its address", |row| row["state"] == "up" && row["handicap"] == 50);
    let probes = system.probes();
    front.wait_until("s0", "to answer more", |_| system.probes() > probes + 5);
}

/// RFC 5922 §7: the certificate is for the name that the operator has written, whatever DNS makes of it.
#[test]
fn names_of_servers_over_tcp_and_tls_are_followed_by_records_of_their_own() {
    let Some(names) = NameServer::start() else { return };
    let ca = Authority::new();
    for (transport, service, tls) in [("tcp", "_sip._tcp", None), ("tls", "_sips._tcp", Some(ca.certify("sys.test")))] {
        let system = System::start(tls);
        names.change(|zone| {
            zone.set_address("one.other.test", system.address());
            zone.set(&format!("{service}.sys.test"), SRV, vec![srv(1, 1, system.address().port(), "one.other.test")]);
        });
        let uri = format!("sip:sys.test;transport={transport}");
        let text = format!("[[proxy]]\nname = \"s0\"\nuri = \"{uri}\"\nprobe-interval = \"200ms\"\n{}", ca.tls());
        let front = start_as(transport, &text, names.setup());
        wait_for("probes", DEADLINE, || (system.probes() > 3).then_some(()));
        front.wait_for_state(&format!("s0/{}", system.address()), "up");
    }
}

#[test]
fn a_server_with_a_wrong_certificate_is_down_and_the_log_says_why_once() {
    let ca = Authority::new();
    let system = System::start(Some(ca.certify("other.example.test")));
    let text = settings(&system, "tls", "tls-name = \"system.example.test\"") + &ca.tls();
    let front = start("tls", &text);
    front.wait_for_state("s0", "down");
    let line = |why: &str| format!("s0: no probe gets through to {}: {why}", system.address());
    front.pointsman.wait_for_log(&line("tls-certificate-name"));
    let foreign = Authority::new();
    system.set_tls(foreign.certify("system.example.test"));
    front.pointsman.wait_for_log(&line("tls-certificate-unknown"));
    let lost = front.row("s0")["probes_lost"].as_u64().unwrap();
    front.wait_until("s0", "to lose more probes", |row| row["probes_lost"].as_u64() > Some(lost + 5));
    let log = front.pointsman.log();
    assert_eq!(log.matches("no probe gets through").count(), 2, "{log}");
    system.set_tls(ca.certify("system.example.test"));
    front.wait_for_state("s0", "up");
}

#[test]
fn a_certificate_that_cannot_be_read_refuses_the_start_and_the_reload() {
    let ca = Authority::new();
    let system = System::start(Some(ca.certify("system.example.test")));
    let good = settings(&system, "tls", "tls-name = \"system.example.test\"") + &ca.tls();
    let front = start("tls", &good);
    front.wait_for_state("s0", "up");
    let missing = ca.path("missing.pem");
    let files = format!("tls-certificate = \"{0}\"\ntls-key = \"{0}\"", missing.display());
    let bad = settings(&system, "tls", &files) + &ca.tls();
    let fault = format!("proxy.1: {} cannot be read: No such file or directory", missing.display());
    let file = front.dir.path().join("settings.toml");
    fs::write(&file, &bad).unwrap();
    let reply = front.pointsman.stats("reload").to_string();
    assert!(reply.contains(&fault), "{reply}");
    let probes = system.probes();
    front.wait_until("s0", "to be probed as before", |_| system.probes() > probes + 3);
    let check = run(&["check", file.to_str().unwrap(), "--listen", "tls:127.0.0.1:5061"]);
    assert!(String::from_utf8_lossy(&check.stderr).contains(&fault), "{check:?}");
    drop(front);
    wait_for("the end of its connections", DEADLINE, || (system.connections() == 0).then_some(()));
}
