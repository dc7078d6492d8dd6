//! Connections that their peers take requests on (RFC 5923): which offers count.

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::wire::sip::Scanner;

/// Whether the sender of `message` takes requests on this connection. It says so in its Via, and must have shown by
/// `certificate` that it has the name there (§8.2, §9.2): else anyone could draw another's requests to itself.
pub fn is_alias(message: &[u8], certificate: Option<&CertificateDer<'_>>) -> bool {
    let offered = certificate.filter(|_| memchr::memmem::find(message, b"alias").is_some());
    let name = || {
        let mut scanner = Scanner::new();
        let message = scanner.scan(message).ok().filter(|message| message.is_request())?;
        message.via().filter(|via| via.params().has(b"alias"))?.host.name()
    };
    offered.is_some_and(|certificate| name().is_some_and(|name| names_shown(certificate)(&name)))
}

/// A test of names: whether this certificate is for one, a host name or an address.
pub fn names_shown<'c>(certificate: &'c CertificateDer<'_>) -> impl Fn(&str) -> bool + 'c {
    let parsed = ParsedCertificate::try_from(certificate);
    move |name| {
        let name = ServerName::try_from(name).ok();
        parsed.as_ref().ok().zip(name).is_some_and(|(parsed, name)| verify_server_name(parsed, &name).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(start: &str, via: &str) -> Vec<u8> {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/TLS {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\n\
             CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        text.into_bytes()
    }

    #[test]
    fn a_certificate_shows_its_names_and_no_others() {
        let names = ["pbx.example.net".to_owned(), "192.0.2.9".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let shown = names_shown(made.cert.der());
        assert!(shown("PBX.example.net") && shown("192.0.2.9"));
        assert!(!shown("example.net") && !shown("192.0.2.8") && !shown("") && !shown("a b"));
        assert!(!names_shown(&CertificateDer::from(vec![1, 2, 3]))("pbx.example.net"));
    }

    #[test]
    fn an_alias_counts_under_a_certificate_for_its_name_alone() {
        let names = ["pbx.example.net".to_owned(), "192.0.2.9".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = Some(made.cert.der());
        let request = |via| message("OPTIONS sip:ms SIP/2.0", via);
        for good in ["PBX.example.net.:5081;branch=z9hG4bK-1;alias", "192.0.2.9;alias;branch=z9hG4bK-1"] {
            assert!(is_alias(&request(good), certificate), "{good}");
            assert!(!is_alias(&request(good), None), "{good}");
        }
        let others = [
            "other.example.net;branch=z9hG4bK-1;alias",
            "192.0.2.8;branch=z9hG4bK-1;alias",
            "pbx.example.net;branch=z9hG4bK-1",
            "pbx.example.net;branch=z9hG4bK-alias",
            "other.example.net;branch=z9hG4bK-1, SIP/2.0/TLS pbx.example.net;branch=z9hG4bK-2;alias",
        ];
        for other in others {
            assert!(!is_alias(&request(other), certificate), "{other}");
        }
        let response = message("SIP/2.0 200 OK", "pbx.example.net;branch=z9hG4bK-1;alias");
        assert!(!is_alias(&response, certificate));
        assert!(!is_alias(b"alias\r\n\r\n", certificate));
    }
}
