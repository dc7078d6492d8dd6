//! Those that may not come, and are told why, while the others' calls go on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use pointsman::net::lan::{Credentials, Network, dial};
use pointsman::wire::handoff::{FrameBuilder, Record, frame_header};
use pointsman::words::Hello;

use super::{started, wait_until_up};
use crate::support::lan::{PORT, Site};
use crate::support::phone::Phone;
use crate::support::pointsman::Pointsman;
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
    refused("foreign", "tls-refused");
    pointsman.wait_for_log("tls-certificate-unknown");
    expire(&site, "old");
    refused("old", "tls-refused");
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
