//! Those that may not come, and are told why, while the others' calls go on.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use pointsman::net::lan::{Credentials, Network, dial};
use pointsman::wire::handoff::{FrameBuilder, Record, frame_header};
use pointsman::words::Hello;
use socket2::{Domain, Socket, Type};

use super::{started, states, wait_until_up};
use crate::support::lan::{PORT, Site};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, run};
use crate::support::{DEADLINE, own_address, wait_for};

fn call(pointsman: &Pointsman) {
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

/// A certificate of the site's CA that was good in the year 2000.
fn expire(site: &Site, name: &str) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(site.file("ca.key")).unwrap()).unwrap();
    let mark: String = ca_key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, format!("pointsman private CA {mark}"));
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(site.file(&format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(site.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A connection from an address of its own.
fn connect_from(ip: IpAddr, at: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    socket.connect(&at.into()).unwrap();
    socket.into()
}

#[test]
fn a_port_in_use_is_named_with_the_key_of_its_table() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let _taken = std::net::TcpListener::bind((ip, PORT)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // It writes the file.
    site.setup(1, "");
    let (file, run_dir) = (site.file("pointsman.toml").display().to_string(), dir.path().display().to_string());
    let output = run(&["--config", &file, "--listen", &format!("udp:{ip}:5060"), "--run-dir", &run_dir]);
    assert_eq!(output.status.code(), Some(2));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("choose another with `listen` in [lan]") && !log.contains("--listen"), "{log}");
}

#[test]
fn a_host_that_opens_hundreds_of_connections_and_says_nothing_or_a_byte_a_second_keeps_no_worker_out() {
    let (ip, stranger) = (own_address().into(), own_address().into());
    let site = Site::new(ip, &[]);
    let pointsman = started(&site, "");
    let at = SocketAddr::new(ip, PORT);
    let begin = Instant::now();
    let mut silent: Vec<_> = (0..300).map(|_| connect_from(stranger, at)).collect();
    let _worker = site.worker("media1", at);
    wait_until_up(&pointsman, 1);
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    pointsman.wait_for_log("too many connections wait for their first record");
    // The length of a TLS record, a byte a second.
    let mut slow = connect_from(stranger, at);
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begin = Instant::now();
    let mut bytes = [0x16, 3, 1, 1, 0].into_iter().cycle();
    let closed = wait_for("the slow one to be closed", DEADLINE, || {
        let written = slow.write(&[bytes.next()?]);
        let is_closed = written.is_err() || slow.read(&mut [0; 16]).is_ok_and(|length| length == 0);
        is_closed.then(|| begin.elapsed())
    });
    assert!(closed < Duration::from_secs(12), "{closed:?}");
    for silent in &mut silent {
        silent.set_read_timeout(Some(DEADLINE)).unwrap();
        // Closed, or reset.
        assert!(!matches!(silent.read(&mut [0; 16]), Ok(1..)));
    }
    assert_eq!(states(&pointsman.load()), ["up"]);
    call(&pointsman);
}

#[test]
fn a_worker_is_shown_with_the_name_in_its_certificate_and_drained_by_it() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let pointsman = started(&site, "");
    let _worker = site.worker("media1", SocketAddr::new(ip, PORT));
    wait_until_up(&pointsman, 1);
    let said = |words: &[&str]| {
        let output = pointsman.command(words);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let is_media1 = |worker: &serde_json::Value| worker["certified"] == "media1";
    let load = pointsman.load();
    let slot = load["workers"].as_array().unwrap().iter().position(is_media1).unwrap();
    assert!(said(&["stat"]).contains(&format!("w{slot} (media1)  up ")), "{}", said(&["stat"]));
    assert_eq!(said(&["drain", "media1", "--wait"]), "media1: drain\nnothing is left\n");
    assert_eq!(pointsman.worker(slot)["admin"], "drain");
    let refusal = said(&["forget", &format!("w{slot}")]);
    assert!(refusal.contains("is connected from another host, or has been for the last 10 s"), "{refusal}");
}

#[test]
fn foreign_certificates_names_garbage_and_strangers_are_refused_with_a_reason_and_calls_go_on() {
    let ip = own_address().into();
    let site = Site::new(ip, &[]);
    let pointsman = started(&site, "names = [\"media1\", \"old\"]");
    let at = SocketAddr::new(ip, PORT);
    let _worker = site.worker("media1", at);
    wait_until_up(&pointsman, 1);
    // Strangers that say nothing, and one that speaks HTTP.
    let _silent: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut web = TcpStream::connect(at).unwrap();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    web.set_read_timeout(Some(DEADLINE)).unwrap();
    let _ = web.read_to_end(&mut Vec::new());
    pointsman.wait_for_log("tls-garbage");
    let refused = |name: &str, word: &str| {
        let mut worker = site.start(name, at, &[own_address().into()]);
        let status = wait_for("its end", DEADLINE, || worker.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(2), "{}", worker.log());
        assert!(worker.log().contains(word), "{word}: {}", worker.log());
        call(&pointsman);
    };
    // A worker of another site, with this site's CA in its hand.
    let other = Site::new(ip, &[]);
    other.certify("foreign");
    for kind in ["pem", "key"] {
        std::fs::copy(other.file(&format!("foreign.{kind}")), site.file(&format!("foreign.{kind}"))).unwrap();
    }
    refused("foreign", "it refuses the certificate in --certificate");
    pointsman.wait_for_log("tls-certificate-unknown");
    expire(&site, "old");
    refused("old", "it refuses the certificate in --certificate");
    pointsman.wait_for_log("tls-certificate-expired");
    site.certify("media9");
    refused("media9", "`media9`, which is not among `names`");
    // A second one with the name of the first.
    refused("media1", "a worker of this name is connected");
    let mut nowhere = site.start("media1", at, &["0.0.0.0".parse().unwrap()]);
    assert_eq!(wait_for("its end", DEADLINE, || nowhere.child.try_wait().unwrap()).code(), Some(2));
    assert!(nowhere.log().contains("needs --address"), "{}", nowhere.log());
    // Frames of a newer version, records that are no Hello, and a dispatcher that is another than its certificate says.
    let credentials =
        Credentials { certificate: site.file("media1.pem"), key: site.file("media1.key"), ca: site.file("ca.pem") };
    let network = Network { host: ip.to_string(), port: PORT, tls: credentials.client().unwrap() };
    let foreign = Credentials { ca: other.file("ca.pem"), ..credentials };
    let error = dial(&Network { tls: foreign.client().unwrap(), ..network.clone() }, &[]).unwrap_err().to_string();
    assert_eq!(error, "its certificate is not by the CA in --ca; give the `ca.pem` of its site");
    let told = |bytes: &[u8]| {
        let (_, frame, _) = dial(&network, bytes).unwrap();
        String::from_utf8_lossy(&frame).into_owned()
    };
    let mut newer = frame_header(0);
    newer[2] = 2;
    assert!(told(&newer).contains("handoff version 2"));
    assert!(told(b"INVITE sip:a@b SIP/2.0\r\n\r\n").contains("not a handoff frame"));
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Ping(1));
    assert!(told(frame.bytes()).contains("its first record is not a Hello"));
    let mut frame = FrameBuilder::new();
    let resume = Some(pointsman::words::Resume { link: 1, lane: 0, frames: 0 });
    frame.push(&Record::Hello(Hello { resume, ..Hello::default() }));
    assert!(told(frame.bytes()).contains("its link is over"));
    call(&pointsman);
}
