//! Clients of other makes over TLS and WebSocket: Python's, which is OpenSSL's, and SIP.js, a browser's telephone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{own_address, pass_over_outside_ci};

/// A site with a certificate for its address.
struct Site {
    ip: IpAddr,
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Site { ip: own_address().into(), directory: TempDir::new().unwrap() };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([site.ip.to_string()]).unwrap().self_signed(&key).unwrap();
        fs::write(site.path("site.pem"), certificate.pem()).unwrap();
        fs::write(site.path("site.key"), key.serialize_pem()).unwrap();
        let (ip, certificate, key) = (site.ip, site.path("site.pem"), site.path("site.key"));
        let text = format!(
            "listen = [\"udp:{ip}:5060\", \"tls:{ip}:5061\", \"ws:{ip}:5080\", \"wss:{ip}:5081\"]\n\
             token-key = \"{}\"\n[[tls]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            "5a".repeat(32),
            certificate.display(),
            key.display()
        );
        fs::write(site.path("p.toml"), text).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) -> Pointsman {
        let config = self.path("p.toml");
        Setup { ip: self.ip, sip: false, ..Setup::new(2) }.with(["--config", config.to_str().unwrap()]).start()
    }
}

/// A client that says what happens, a line each.
pub(crate) struct Client {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client starts");
        let said = BufReader::new(process.stdout.take().unwrap());
        Client { process, said }
    }

    /// The next line; empty where it has ended.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

#[test]
fn openssl_speaks_tls_and_its_sessions_outlive_a_restart_of_the_dispatcher() {
    let site = Site::new();
    let pointsman = site.start();
    let mut command = Command::new("python3");
    command.arg(script("tls.py")).args([&site.ip.to_string(), "5061"]).arg(site.path("site.pem"));
    let mut client = Client::start(&mut command);
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert_eq!(client.line(), format!("{version} SIP/2.0 200 OK b'\\r\\n'"));
    }
    drop(pointsman);
    // Another run directory, and the same key.
    let _pointsman = site.start();
    client.process.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
    for version in ["TLSv1.2", "TLSv1.3"] {
        assert_eq!(client.line(), format!("{version} SIP/2.0 200 OK True"));
    }
}

/// The directory in which `tests/run.sh` installs SIP.js. None where Node or it cannot be had: the test is passed over.
pub(crate) fn sipjs() -> Option<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/node/node_modules");
    let has_node = Command::new("node").arg("--version").stdout(Stdio::null()).status().is_ok();
    let found = (has_node && modules.join("sip.js").is_dir()).then_some(modules);
    if found.is_none() {
        pass_over_outside_ci("SIP.js is not installed (npm install --prefix target/node sip.js@0.21.2 ws)");
    }
    found
}

/// Calls of a browser's telephone over this listener.
fn browser_calls(scheme: &str, port: u16) {
    let Some(modules) = sipjs() else { return };
    let site = Site::new();
    let pointsman = site.start();
    browser_calls_at(&site, &format!("{scheme}://{}:{port}", site.ip), modules, pointsman);
}

/// Calls of a browser's telephone to this site by way of this server; `hangs_up` is stopped while a call stands.
fn browser_calls_at(site: &Site, server: &str, modules: PathBuf, hangs_up: Pointsman) {
    let mut command = Command::new("node");
    command.arg(script("sipjs.js")).args([server.to_owned(), format!("sip:echo@{}", site.ip)]);
    command.env("NODE_PATH", modules).env("NODE_EXTRA_CA_CERTS", site.path("site.pem"));
    let mut client = Client::start(&mut command);
    for expected in ["alive true", "bye 200", "bye after another connection 200", "established"] {
        assert_eq!(client.line(), expected);
    }
    // Workers hang up when they are told to end.
    hangs_up.stop();
    assert_eq!(client.line(), "hung up on");
}

#[test]
fn sip_js_calls_keeps_alive_connects_anew_and_hangs_up_over_websocket() {
    browser_calls("ws", 5080);
}

#[test]
fn sip_js_calls_keeps_alive_connects_anew_and_hangs_up_over_secure_websocket() {
    browser_calls("wss", 5081);
}

#[test]
fn sip_js_calls_a_downstream_server_and_hears_it_hang_up() {
    let Some(modules) = sipjs() else { return };
    let site = Site::new();
    let server = format!("udp:{}:5066", site.ip);
    let server = Setup { ip: site.ip, sip: false, ..Setup::new(1) }.with(["--listen", &server]).start();
    let proxy = format!("\n[[proxy]]\nname = \"a\"\nuri = \"sip:{}:5066\"\n", site.ip);
    let settings = fs::read_to_string(site.path("p.toml")).unwrap() + &proxy;
    fs::write(site.path("p.toml"), settings).unwrap();
    let config = site.path("p.toml");
    let front = Setup { ip: site.ip, sip: false, ..Setup::new(0) }.with(["--config", config.to_str().unwrap()]).start();
    browser_calls_at(&site, &format!("ws://{}:5080", site.ip), modules, server);
    let forwarded = &front.stats("counters")["forwarded"]["reasons"];
    // Of each call its ACK and its BYE, whoever hangs up.
    assert_eq!((&forwarded["proxied"], &forwarded["record-routed"]), (&3.into(), &6.into()), "{forwarded}");
}
