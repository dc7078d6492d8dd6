//! Calls over TLS whose callers follow Contact to the worker's own port. The caller is a program of Python's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SerialNumber};
use tempfile::TempDir;

use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, proc, wait_for};

const NAME: &str = "ms.example.test";
const PHONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/process/secure.py");

/// A CA, and the files of certificates that it makes.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a CA of this test");
        let certificate = params.self_signed(&key).unwrap().pem();
        fs::write(dir.path().join("ca.pem"), &certificate).unwrap();
        // Such files are large: no frame of a link has room for this one.
        fs::write(dir.path().join("cas.pem"), certificate.repeat(400)).unwrap();
        Authority { dir, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate for `host` and its key as `host.pem` and `host.key`.
    fn certify(&self, host: &str, serial: u64) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{host}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{host}.key")), key.serialize_pem()).unwrap();
    }

    /// A dispatcher that serves TLS at port 5061, and trusts the certificates of this CA.
    fn start(&self) -> Pointsman {
        self.start_with("1s")
    }

    fn start_with(&self, stop_after: &str) -> Pointsman {
        self.start_as(Setup::new(2), stop_after)
    }

    fn start_as(&self, setup: Setup, stop_after: &str) -> Pointsman {
        self.certify(NAME, 0x51);
        let config = format!(
            "[[tls]]\ncertificate = \"{0}/{NAME}.pem\"\nkey = \"{0}/{NAME}.key\"\ncontact-name = \"{NAME}\"\n\
             client-certificates = \"optional\"\nclient-ca = \"{0}/cas.pem\"\n",
            self.dir.path().display()
        );
        fs::write(self.path("config.toml"), config).unwrap();
        let listen = format!("tls:{}", SocketAddr::new(setup.ip, 5061));
        let config = self.path("config.toml");
        setup.with(["--listen", &listen, "--config", config.to_str().unwrap(), "--stop-after", stop_after]).start()
    }
}

/// A phone of Python's, killed when the test gives up.
struct Phone {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Phone {
    fn new(pointsman: &Pointsman, authority: &Authority, mode: &str) -> Self {
        Phone::with(pointsman, authority, mode, None)
    }

    /// A phone whose Contact names `localhost`, and which shows there the certificate for `host`.
    fn called(pointsman: &Pointsman, authority: &Authority, mode: &str, host: &str) -> Self {
        authority.certify(host, 0x61);
        Phone::with(pointsman, authority, mode, Some(authority.path(host)))
    }

    fn with(pointsman: &Pointsman, authority: &Authority, mode: &str, certificate: Option<PathBuf>) -> Self {
        let file = |name: &str| authority.path(name);
        let mut child = Command::new("python3")
            .args([Path::new(PHONE).as_os_str(), pointsman.address().ip().to_string().as_ref(), "5061".as_ref()])
            .args([file("ca.pem").as_os_str(), NAME.as_ref(), mode.as_ref()])
            .args(certificate)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let output = BufReader::new(child.stdout.take().unwrap());
        Phone { child, output }
    }

    /// The next line of its account.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the phone has ended; its error is above");
        line.trim_end().to_owned()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_caller_over_tls_follows_contact_to_the_workers_own_port_and_hangs_up_there() {
    let authority = Authority::new();
    let pointsman = authority.start();
    let mut phone = Phone::new(&pointsman, &authority, "hangs-up");
    let contact = phone.line();
    assert!(contact.starts_with(&format!("Contact sip:{NAME}:507")), "{contact}");
    assert_eq!(
        (phone.line(), phone.line(), phone.line()),
        ("certificate 51".into(), "talking".into(), "BYE 200".into())
    );
}

#[test]
fn a_worker_hangs_up_over_the_connection_that_its_caller_has_opened_to_it() {
    let authority = Authority::new();
    let pointsman = authority.start();
    let mut phone = Phone::new(&pointsman, &authority, "waits");
    while phone.line() != "talking" {}
    pointsman.ask_to_stop();
    assert_eq!(phone.line(), "BYE over SIP/2.0/TLS");
}

#[test]
fn a_caller_whose_tls_connection_breaks_is_called_back_by_name() {
    let authority = Authority::new();
    let pointsman = authority.start();
    let mut phone = Phone::called(&pointsman, &authority, "breaks", "localhost");
    while phone.line() != "broken" {}
    pointsman.ask_to_stop();
    assert_eq!(phone.line(), "BYE over SIP/2.0/TLS");
}

#[test]
fn a_caller_whose_name_does_not_verify_gets_nothing_and_its_call_ends_at_once() {
    let authority = Authority::new();
    // A BYE without an answer would keep its worker for 32 s.
    let pointsman = authority.start_with("60s");
    let mut phone = Phone::called(&pointsman, &authority, "breaks", "other.example.test");
    while phone.line() != "broken" {}
    let workers = pointsman.worker_pids();
    pointsman.ask_to_stop();
    assert_eq!(phone.line(), "nothing SSLError");
    pointsman.wait_for_log("TLS fails with a peer that we call");
    assert!(pointsman.log().contains("tls-certificate-name"));
    wait_for("the workers to end", DEADLINE, || (!workers.iter().any(|pid| proc::runs(*pid))).then_some(()));
    assert_eq!(phone.line(), "not called again");
}

#[test]
fn a_connection_that_a_caller_offers_gets_the_requests_to_it_under_its_certificate_alone() {
    for mode in ["offers-own", "offers-known", "offers-nobody"] {
        let authority = Authority::new();
        // What begins no call may go to any worker.
        let pointsman = authority.start_as(Setup::new(1), "1s");
        let mut phone = Phone::called(&pointsman, &authority, mode, "localhost");
        while phone.line() != "broken" {}
        pointsman.ask_to_stop();
        assert_eq!(phone.line(), "BYE over SIP/2.0/TLS", "{mode}");
        if mode == "offers-nobody" {
            assert_eq!(phone.line(), "on a new connection");
        }
    }
}

#[test]
fn a_worker_whose_next_dispatcher_has_no_certificates_takes_no_more_handshakes_and_keeps_its_connections() {
    let authority = Authority::new();
    let mut pointsman = authority.start();
    let mut phone = Phone::new(&pointsman, &authority, "stays");
    while phone.line() != "talking" {}
    pointsman.crash();
    pointsman.start_again_as(Setup { more: Vec::new(), ..pointsman.setup() });
    assert_eq!(phone.line(), "no TLS, but OPTIONS 200");
}

#[test]
fn a_certificate_that_is_renewed_is_shown_at_workers_ports_after_a_reload() {
    let authority = Authority::new();
    let pointsman = authority.start();
    authority.certify(NAME, 0x52);
    assert!(pointsman.stats("reload")["error"].is_null());
    let mut phone = Phone::new(&pointsman, &authority, "hangs-up");
    phone.line();
    assert_eq!(phone.line(), "certificate 52");
}
