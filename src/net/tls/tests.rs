use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig};
use tempfile::TempDir;
use webpki::EndEntityCert;

use super::*;
use crate::config::{ClientCertificates, Config, Proxy, TlsIdentity};
use crate::dispatch::targets::proxies::Security;
use crate::ids::TokenKey;
use crate::stream::tls::Tls;
use crate::stream::{Fault, Kind, TlsFault as StreamTlsFault};
use crate::time::Time;
use crate::words::Transport;

const KEY: TokenKey = TokenKey::new([7; 32]);

/// A CA with a directory for the files that it makes.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { directory: TempDir::new().unwrap(), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Certificate and key for these hosts, in files named after the first.
    fn certify(&self, hosts: &[&str], change: impl Fn(&mut CertificateParams)) -> TlsIdentity {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let name = hosts[0].clone();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsIdentity {
            certificate: self.write(&format!("{name}.pem"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
            ..TlsIdentity::default()
        }
    }

    /// A list that revokes the certificates with these numbers.
    fn revoke(&self, numbers: &[u64]) -> PathBuf {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &params.signed_by(&self.issuer).unwrap().pem().unwrap())
    }

    /// A caller that trusts this CA alone, and shows this certificate.
    fn client(&self, own: Option<&TlsIdentity>) -> Arc<ClientConfig> {
        let roots = server::roots(&Contents::read(&self.path("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let Some(own) = own.map(|own| Identity::read(own).unwrap()) else {
            return Arc::new(builder.with_no_client_auth());
        };
        let (certificates, key) = (own.certificate.certificates().unwrap(), own.key.private_key().unwrap());
        Arc::new(builder.with_client_auth_cert(certificates, key).unwrap())
    }

    /// The configuration of a side that calls back those whose certificates it asks for so.
    fn caller(&self, own: &TlsIdentity, ask: ClientCertificates, crl: Option<PathBuf>) -> Arc<ClientConfig> {
        let client_ca = Some(self.path("ca.pem"));
        let own = TlsIdentity { client_certificates: ask, client_ca, crl, ..own.clone() };
        client_config(&[Identity::read(&own).unwrap()]).unwrap()
    }
}

fn server(config: &[TlsIdentity]) -> Result<Arc<ServerConfig>, TlsError> {
    let identities: Result<Vec<_>, _> = config.iter().map(Identity::read).collect();
    server_config(&identities?, Some(&KEY))
}

/// A handshake: the client, and the fault that the server has found.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    host: impl TryInto<ServerName<'static>, Error: std::fmt::Debug>,
) -> (ClientConnection, Tls, Option<Fault>) {
    let name = host.try_into().unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = Tls::server(Arc::clone(server)).unwrap();
    let mut fault = None;
    for _ in 0..4 {
        let (mut to, mut from) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut to).unwrap();
        }
        fault = fault.or(server.on_bytes(&to, Time(1), &mut from, &mut |_| Ok(())).err());
        let mut rest = from.as_slice();
        while !rest.is_empty() && client.read_tls(&mut rest).is_ok() && client.process_new_packets().is_ok() {}
    }
    (client, server, fault)
}

/// The first host that the shown certificate is made for.
fn shown(client: &ClientConnection) -> String {
    let certificate = &client.peer_certificates().unwrap()[0];
    EndEntityCert::try_from(certificate).unwrap().valid_dns_names().next().unwrap().to_owned()
}

#[test]
fn a_caller_is_shown_the_certificate_of_the_host_that_it_names_or_the_first() {
    let ca = Authority::new();
    let config = server(&[
        ca.certify(&["sip.example.net", "192.0.2.1"], |_| {}),
        ca.certify(&["Other.example.net"], |_| {}),
        ca.certify(&["*.wild.example.net"], |_| {}),
    ])
    .unwrap();
    let client = ca.client(None);
    for (host, expected) in [
        ("sip.example.net", "sip.example.net"),
        ("other.EXAMPLE.net", "Other.example.net"),
        ("a.wild.example.net", "*.wild.example.net"),
        ("192.0.2.1", "sip.example.net"),
    ] {
        let (client, server, fault) = shake(&client, &config, host);
        assert_eq!((shown(&client).as_str(), fault, server.is_open()), (expected, None, true), "{host}");
    }
    for stranger in ["a.b.wild.example.net", "example.net"] {
        let (_, server, fault) = shake(&client, &config, stranger);
        assert_eq!(fault, Some(Fault::Tls(StreamTlsFault::Refused)), "{stranger}: the first is not its");
        assert!(!server.is_open());
    }
}

#[test]
fn client_certificates_are_wanted_checked_and_kept_for_later() {
    let (ca, foreign) = (Authority::new(), Authority::new());
    let numbered =
        |name, number: u64| ca.certify(&[name], |params| params.serial_number = Some(SerialNumber::from(number)));
    let (good, revoked) = (numbered("good", 5), numbered("revoked", 6));
    let expired = ca.certify(&["expired"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let stranger = foreign.certify(&["stranger"], |_| {});
    let asking = |client_certificates| {
        let own = ca.certify(&["h"], |_| {});
        let (client_ca, crl) = (Some(ca.path("ca.pem")), Some(ca.revoke(&[6, 9])));
        server(&[TlsIdentity { client_certificates, client_ca, crl, ..own }]).unwrap()
    };
    let [none, optional, required] =
        [ClientCertificates::None, ClientCertificates::Optional, ClientCertificates::Required].map(asking);
    let as_client = |own: Option<&TlsIdentity>, config: &Arc<ServerConfig>| {
        let (_, server, fault) = shake(&ca.client(own), config, "h");
        assert_eq!(server.is_open(), fault.is_none());
        (server.peer_certificates().map(<[_]>::len), fault)
    };
    assert_eq!(as_client(Some(&good), &none), (None, None));
    for config in [&optional, &required] {
        assert_eq!(as_client(Some(&good), config), (Some(1), None));
        for (own, fault) in [
            (&revoked, StreamTlsFault::Revoked),
            (&stranger, StreamTlsFault::UnknownIssuer),
            (&expired, StreamTlsFault::Expired),
        ] {
            assert_eq!(as_client(Some(own), config).1, Some(Fault::Tls(fault)));
        }
    }
    assert_eq!(as_client(None, &optional), (None, None));
    assert_eq!(as_client(None, &required), (None, Some(Fault::Tls(StreamTlsFault::NoCertificate))));
}

#[test]
fn a_session_is_resumed_after_a_restart_but_not_under_other_rules() {
    let ca = Authority::new();
    let own = TlsIdentity {
        client_certificates: ClientCertificates::Required,
        client_ca: Some(ca.path("ca.pem")),
        ..ca.certify(&["h"], |_| {})
    };
    let client = ca.client(Some(&ca.certify(&["caller"], |_| {})));
    let kind = |config: &Arc<ServerConfig>| {
        let (client, server, fault) = shake(&client, config, "h");
        assert_eq!((fault, server.is_open()), (None, true));
        assert!(server.peer_certificates().is_some());
        client.handshake_kind().unwrap()
    };
    assert_eq!(kind(&server(from_ref(&own)).unwrap()), HandshakeKind::Full);
    assert_eq!(kind(&server(from_ref(&own)).unwrap()), HandshakeKind::Resumed);
    let revoking = TlsIdentity { crl: Some(ca.revoke(&[9])), ..own };
    assert_eq!(kind(&server(from_ref(&revoking)).unwrap()), HandshakeKind::Full, "a certificate might be revoked now");
    assert_eq!(kind(&server(from_ref(&revoking)).unwrap()), HandshakeKind::Resumed);
    let other = server_config(&[Identity::read(&revoking).unwrap()], Some(&TokenKey::new([8; 32]))).unwrap();
    assert_eq!(kind(&other), HandshakeKind::Full);
}

#[test]
fn a_session_is_not_resumed_after_the_end_of_its_callers_certificate() {
    let ca = Authority::new();
    let own = TlsIdentity {
        client_certificates: ClientCertificates::Optional,
        client_ca: Some(ca.path("ca.pem")),
        ..ca.certify(&["h"], |_| {})
    };
    let config = server(from_ref(&own)).unwrap();
    let end = Duration::from_secs(UnixTime::now().as_secs() + 2);
    let client = ca.client(Some(&ca.certify(&["caller"], |params| params.not_after = date_time_ymd(1970, 1, 1) + end)));
    let begin = Instant::now();
    let mut resumed = 0;
    let fault = loop {
        let (client, _, fault) = shake(&client, &config, "h");
        resumed += u32::from(client.handshake_kind() == Some(HandshakeKind::Resumed));
        if fault.is_some() {
            break fault;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "resumed {resumed} times");
    };
    assert_eq!(fault, Some(Fault::Tls(StreamTlsFault::Expired)));
    assert!(resumed > 0);
}

#[test]
fn each_fault_names_its_file_in_plain_words() {
    let ca = Authority::new();
    let good = ca.certify(&["good"], |_| {});
    let other = ca.certify(&["other"], |_| {});
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let with = |change: &dyn Fn(&mut TlsIdentity)| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    let asking = |client_ca, crl| TlsIdentity {
        client_certificates: ClientCertificates::Required,
        client_ca: Some(client_ca),
        crl,
        ..good.clone()
    };
    let garbled = text(&good.certificate).replacen("MII", "AAA", 1);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (with(&|it| it.certificate = ca.path("absent.pem")), "absent.pem", "cannot be read: No such file"),
        (with(&|it| it.certificate = ca.directory.path().to_owned()), "", "cannot be read: Is a directory"),
        (with(&|it| it.certificate = ca.write("empty.pem", "")), "empty.pem", "has no certificate (PEM)"),
        (with(&|it| it.certificate = it.key.clone()), "good.key", "has no certificate (PEM)"),
        (with(&|it| it.certificate = ca.write("cut.pem", &text(&it.certificate)[..200])), "cut.pem", "is damaged: "),
        (
            with(&|it| it.certificate = ca.write("garbled.pem", &garbled)),
            "garbled.pem",
            "has a certificate that cannot be read",
        ),
        (with(&|it| it.key = it.certificate.clone()), "good.pem", "has no private key (PEM)"),
        (with(&|it| it.key = ca.write("locked.key", encrypted)), "locked.key", "has an encrypted key; decrypt it"),
        (with(&|it| it.key = other.key.clone()), "other.key", "has a key that does not belong to the certificate in "),
        (
            ca.certify(&["old"], |params| params.not_after = date_time_ymd(2020, 1, 1)),
            "old.pem",
            "has a certificate that expired ",
        ),
        (
            ca.certify(&["new"], |params| params.not_before = date_time_ymd(2999, 1, 1)),
            "new.pem",
            "has a certificate that is valid only in ",
        ),
        (asking(good.key.clone(), None), "good.key", "has no certificate (PEM)"),
        (asking(ca.path("ca.pem"), Some(ca.path("ca.pem"))), "ca.pem", "has no list of revoked certificates (PEM)"),
        (
            asking(
                ca.path("ca.pem"),
                Some(ca.write("bad.crl", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")),
            ),
            "bad.crl",
            "has a list of revoked certificates that cannot be read",
        ),
    ];
    for (config, file, words) in cases {
        let text = server(&[config, other.clone()]).unwrap_err().to_string();
        let path = if file.is_empty() { ca.directory.path().to_owned() } else { ca.path(file) };
        assert!(text.starts_with(&format!("{} {words}", path.display())), "{text}");
        assert!(!text.contains('\n'));
    }
}

#[test]
fn a_certificate_in_second_place_is_checked_as_well() {
    let ca = Authority::new();
    let good = ca.certify(&["good"], |_| {});
    let old = ca.certify(&["old"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(matches!(server(&[good, old]).unwrap_err().fault(), TlsFault::Expired(_)));
}

#[test]
fn a_peer_that_is_called_shows_a_certificate_of_the_ca_that_callers_have_and_one_that_is_not_revoked() {
    let (ca, foreign) = (Authority::new(), Authority::new());
    let own = ca.certify(&["ms.example.net"], |_| {});
    let numbered = |ca: &Authority, number: u64| {
        let peer = ca.certify(&["pbx.example.net"], |params| params.serial_number = Some(SerialNumber::from(number)));
        server(&[peer]).unwrap()
    };
    let list = ca.revoke(&[7]);
    for ask in [ClientCertificates::Optional, ClientCertificates::Required] {
        let caller = ca.caller(&own, ask, Some(list.clone()));
        let is_taken = |peer: &Arc<ServerConfig>, name| {
            let (client, _, _) = shake(&caller, peer, name);
            !client.is_handshaking()
        };
        assert!(is_taken(&numbered(&ca, 6), "pbx.example.net"));
        assert!(!is_taken(&numbered(&ca, 6), "other.example.net"));
        assert!(!is_taken(&numbered(&ca, 7), "pbx.example.net"), "it is revoked");
        assert!(!is_taken(&numbered(&foreign, 6), "pbx.example.net"));
    }
}

#[test]
fn the_cas_of_the_system_are_trusted_where_callers_need_no_certificate() {
    let ca = Authority::new();
    let own = ca.certify(&["ms.example.net"], |_| {});
    if let Err(error) = client_config(&[Identity::read(&own).unwrap()]) {
        assert_eq!(
            error.to_string(),
            "/etc/ssl/certs/ca-certificates.crt cannot be read: No such file or directory (os error 2)"
        );
    }
}

/// A downstream proxy over TLS.
fn proxy(name: &str, files: Option<&TlsIdentity>) -> Proxy {
    Proxy {
        name: name.to_owned(),
        host: "pbx.example.net".to_owned(),
        transport: Transport::Tls,
        tls_files: files.map(|own| (own.certificate.clone(), own.key.clone())),
        ..Proxy::default()
    }
}

#[test]
fn the_security_of_a_proxy_changes_with_each_file_and_name_that_its_connections_are_made_with() {
    let ca = Authority::new();
    let (first, own) = (ca.certify(&["ms.example.net"], |_| {}), ca.certify(&["edge.example.net"], |_| {}));
    let tls = [TlsIdentity {
        client_certificates: ClientCertificates::Required,
        client_ca: Some(ca.path("ca.pem")),
        ..first
    }];
    let mut config = Config { tls: tls.to_vec(), ..Config::default() };
    config.proxies = vec![proxy("plain", None), proxy("own", Some(&own))];
    let securities =
        |config: &Config| proxy_kinds(config).unwrap().proxies.values().map(|kind| kind.security).collect();
    // The proxy with a certificate of its own stands first.
    let mut before: Vec<Security> = securities(&config);
    assert_ne!(before[0], before[1]);
    let mut changed = |config: &Config| {
        let after: Vec<Security> = securities(config);
        let changed = [before[0] != after[0], before[1] != after[1]];
        before = after;
        changed
    };
    assert_eq!(changed(&config), [false, false]);
    ca.certify(&["ms.example.net"], |_| {});
    assert_eq!(changed(&config), [false, true], "it is renewed under the same name");
    ca.certify(&["edge.example.net"], |_| {});
    assert_eq!(changed(&config), [true, false]);
    let mut cas = fs::read(ca.path("ca.pem")).unwrap();
    cas.extend(fs::read(Authority::new().path("ca.pem")).unwrap());
    fs::write(ca.path("ca.pem"), cas).unwrap();
    assert_eq!(changed(&config), [true, true]);
    config.proxies[0].tls_name = Some("a.example.net".to_owned());
    assert_eq!(changed(&config), [false, true]);
}

#[test]
fn a_proxy_shows_a_certificate_for_its_name_and_is_shown_its_own() {
    let ca = Authority::new();
    let (first, own) = (ca.certify(&["ms.example.net"], |_| {}), ca.certify(&["edge.example.net"], |_| {}));
    let ask =
        |mode| vec![TlsIdentity { client_certificates: mode, client_ca: Some(ca.path("ca.pem")), ..first.clone() }];
    let mut config = Config { tls: ask(ClientCertificates::Required), ..Config::default() };
    let named = Proxy { tls_name: Some("other.example.net".to_owned()), ..proxy("named", None) };
    let tcp = Proxy { transport: Transport::Tcp, ..proxy("tcp", None) };
    config.proxies = vec![Proxy::default(), tcp, proxy("plain", None), named, proxy("own", Some(&own))];
    let kinds = proxy_kinds(&config).unwrap().proxies;
    let pbx = ca.certify(&["pbx.example.net"], |_| {});
    let (client_ca, client_certificates) = (Some(ca.path("ca.pem")), ClientCertificates::Required);
    let pbx = server(&[TlsIdentity { client_ca, client_certificates, ..pbx }]);
    let shown = |name: &str| {
        let Some(ProxyKind { kind: Kind::TlsClient(config, name), .. }) = kinds.get(name) else {
            panic!("{name}: {kinds:?}")
        };
        let (client, server, _) = shake(config, pbx.as_ref().unwrap(), name.clone());
        let certificate = server.peer_certificates().and_then(|shown| shown.first()).cloned();
        (!client.is_handshaking(), certificate)
    };
    let of = |own: &TlsIdentity| Contents::read(&own.certificate).unwrap().certificates().unwrap().pop();
    assert_eq!(shown("plain"), (true, of(&first)));
    assert_eq!(shown("own"), (true, of(&own)));
    assert!(!shown("named").0, "its certificate is that of another name");
    assert!(matches!(kinds["tcp"].kind, Kind::Plain) && kinds.len() == 4);

    let other = ca.certify(&["third.example.net"], |_| {});
    let mixed = TlsIdentity { key: other.key, ..own };
    config.proxies = vec![Proxy::default(), proxy("mixed", Some(&mixed))];
    let fault = proxy_kinds(&config).unwrap_err().to_string();
    let (key, certificate) = (mixed.key.display(), mixed.certificate.display());
    assert_eq!(fault, format!("proxy.2: {key} has a key that does not belong to the certificate in {certificate}"));
    fs::remove_file(&mixed.certificate).unwrap();
    let fault = proxy_kinds(&config).unwrap_err().to_string();
    assert!(fault.starts_with(&format!("proxy.2: {certificate} cannot be read: ")), "{fault}");
}
