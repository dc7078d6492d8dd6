//! Calls that a system makes over TLS: the phone is on Sofia-SIP, whose Contact is an address.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use super::*;
use crate::support::line::Line;

/// Writes a certificate for this host and its key, as one text, into each of these files.
fn certify(issuer: &CertifiedIssuer<'_, KeyPair>, host: &str, files: &[&Path]) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
    files.iter().for_each(|file| fs::write(file, certificate.pem() + &key.serialize_pem()).unwrap());
}

fn request(method: &str, uri: &str, to_tag: &str, routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n";
    let body = if method == "INVITE" { body } else { "" };
    let cseq = if method == "BYE" { 2 } else { 1 };
    let call = if uri.contains("plain@127") { "address" } else { "name" };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5099;rport;branch=z9hG4bK-{method}-{call}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:ivr@example.net>;tag=ivr\r\nTo: <sip:phone@example.net>{to_tag}\r\n\
         Call-ID: {call}\r\nCSeq: {cseq} {method}\r\nContact: <sip:ivr@127.0.0.1:5099;transport=tcp>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_phone_on_sofia_is_called_over_tls_by_its_name_and_its_dialog_goes_to_the_address_in_its_contact() {
    let dir = dir();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    // Sofia's own place for them.
    let [home, own, ca] = [".sip/auth", "edge.pem", "ca.pem"].map(|name| dir.path().join(name));
    fs::create_dir_all(&home).unwrap();
    [&ca, &home.join("cafile.pem")].into_iter().for_each(|file| fs::write(file, issuer.pem()).unwrap());
    certify(&issuer, "localhost", &[&home.join("agent.pem")]);
    certify(&issuer, "edge.example.test", &[&own]);
    let phone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _phone =
        Server::says_up(sofia_of(phone.port(), dir.path()).env("HOME", dir.path()).arg(format!("sips:{phone}")));

    let setup = Setup::new(0);
    let [tcp, tls] = [setup.port, setup.port + 1].map(|port| SocketAddr::new(setup.ip, port));
    let (own, ca) = (own.display(), ca.display());
    let settings = format!(
        "[[tls]]\ncertificate = \"{own}\"\nkey = \"{own}\"\nclient-certificates = \"optional\"\nclient-ca = \"{ca}\"\n\
         [[proxy]]\nname = \"s\"\nuri = \"sip:127.0.0.1:5099;transport=tcp\"\nprobe = \"none\"\nfrom = [\"127.0.0.0/8\"]\n"
    );
    let file = dir.path().join("settings.toml");
    fs::write(&file, settings).unwrap();
    let listen = [format!("tcp:{tcp}"), format!("tls:{tls}")];
    let config = file.display().to_string();
    let _front = setup.with(["--config", &config, "--listen", &listen[0], "--listen", &listen[1]]).start();

    let mut line = Line::tcp(tcp).unwrap();
    let uri = |host: &str| format!("sip:plain@{host}:{};transport=tls", phone.port());
    line.send(request("INVITE", &uri("localhost"), "", &[]).as_bytes()).unwrap();
    let answered = line.receive_final("INVITE").unwrap();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let fields = |name: &str| answered.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    let contact = fields("Contact: ")[0].trim_start_matches('<').split('>').next().unwrap();
    assert!(contact.contains("127.0.0.1"), "{contact}");
    let (_, tag) = fields("To: ")[0].split_once(";tag=").unwrap();
    let routes: Vec<&str> = fields("Record-Route: ").iter().rev().flat_map(|it| it.split(", ")).collect();
    for method in ["ACK", "BYE"] {
        line.send(request(method, contact, &format!(";tag={tag}"), &routes).as_bytes()).unwrap();
    }
    assert!(line.receive_final("BYE").unwrap().starts_with("SIP/2.0 200 "));
    // Its certificate is for its name alone.
    line.send(request("INVITE", &uri("127.0.0.1"), "", &[]).as_bytes()).unwrap();
    assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 480 "));
}
