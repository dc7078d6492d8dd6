//! Mutual TLS with OpenSSL's own client, which also asks for what the protocol allows too often.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use serde_json::json;
use tempfile::TempDir;

use super::raw::Script;
use super::*;

const REVOKED: u64 = 0x52;

/// A CA and a directory for what it makes.
struct Authority<'d> {
    dir: &'d TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl<'d> Authority<'d> {
    fn new(dir: &'d TempDir, name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Authority { dir, issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a certificate and its key as `name.pem` and `name.key`.
    fn certify(&self, name: &str, change: impl Fn(&mut CertificateParams)) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Writes itself and the list of what it has revoked.
    fn publish(&self) {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.path("crl.pem"), list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        fs::write(self.path("ca.pem"), self.issuer.pem()).unwrap();
    }
}

#[test]
fn openssl_is_let_in_by_its_certificate_only_and_gets_no_keys_without_end() {
    let dir = TempDir::new().unwrap();
    let (ca, foreign) = (Authority::new(&dir, "ours"), Authority::new(&dir, "foreign"));
    ca.publish();
    ca.certify("site", |_| {});
    ca.certify("good", |_| {});
    ca.certify("expired", |params| params.not_after = date_time_ymd(2020, 1, 1));
    ca.certify("early", |params| params.not_before = date_time_ymd(2120, 1, 1));
    ca.certify("revoked", |params| params.serial_number = Some(SerialNumber::from(REVOKED)));
    foreign.certify("foreign", |_| {});
    let path = dir.path().display();
    let text = format!(
        "[[tls]]\ncertificate = \"{path}/site.pem\"\nkey = \"{path}/site.key\"\ncontact-name = \"site\"\n\
         client-certificates = \"required\"\nclient-ca = \"{path}/ca.pem\"\ncrl = \"{path}/crl.pem\"\n"
    );
    fs::write(ca.path("p.toml"), text).unwrap();
    let setup = Setup::new(1);
    let (host, listen) = (setup.ip.to_string(), format!("tls:{}:5061", setup.ip));
    let pointsman = setup.with(["--listen", &listen, "--config", ca.path("p.toml").to_str().unwrap()]).start();
    let names = ["good", "expired", "early", "revoked", "foreign", "none"];
    let words = [&[host.as_str(), "5061", dir.path().to_str().unwrap()], names.as_slice()].concat();
    let said = Script::start("openssl.py", &words).said();
    let both = |name, outcome| format!("{name} tls1_2 {outcome}\n{name} tls1_3 {outcome}\n");
    let expected = [
        both("good", "200"),
        both("expired", "alert 45"),
        both("early", "alert 45"),
        both("revoked", "alert 44"),
        both("foreign", "alert 48"),
        both("none", "alert 116"),
        "renegotiation refused\nkey-updates ended\n".to_owned(),
    ];
    assert_eq!(said, expected.concat());
    let closed = wait_for("the end of all", DEADLINE, || {
        let connections = pointsman.stats("counters")["connections"].clone();
        (connections["open"] == 0).then(|| connections["closed"]["reasons"].clone())
    });
    for (reason, times) in [
        ("tls-certificate-expired", 4),
        ("tls-certificate-revoked", 2),
        ("tls-certificate-unknown", 2),
        ("tls-no-certificate", 2),
        ("tls-misbehaved", 1),
    ] {
        assert_eq!(closed[reason], json!(times), "{closed}");
    }
}
