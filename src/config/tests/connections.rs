//! The rules of SIP listeners, certificates, and the limits of connections.

use super::*;

const IDENTITY: &str = "[[tls]]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n";

/// A configuration with a TLS listener, followed by this text.
fn with_tls(text: &str) -> String {
    format!("listen = [\"udp:192.0.2.1:5060\", \"tls:192.0.2.1:5061\"]\n{text}")
}

#[test]
fn a_listener_of_any_transport_is_accepted_and_a_secure_one_needs_a_certificate() {
    let open = config("listen = [\"tcp:0.0.0.0:5060\", \"udp:0.0.0.0:5060\", \"ws:0.0.0.0:8080\"]");
    assert!(open.has_stream_listeners() && open.serves(Service::Ws));
    let line = |listener: &str| {
        format!(
            "p.toml:1:1: listen: {listener} needs a certificate; write [[tls]] with `certificate = \"FILE.pem\"` and \
             `key = \"FILE.key\"` into the configuration file"
        )
    };
    for listener in ["tls:0.0.0.0:5061", "wss:0.0.0.0:443"] {
        assert_eq!(fault(&format!("listen = [\"{listener}\"]")), line(listener));
    }
    assert_eq!(config(&with_tls(IDENTITY)).tls.len(), 1);
}

#[test]
fn the_first_rule_that_fits_a_sip_listener_holds_for_it_and_websocket_is_pinned_always() {
    let text =
        "listen = [\"udp:192.0.2.1:5060\", \"tcp:192.0.2.1:5060\", \"ws:192.0.2.1:80\", \"mgcp:192.0.2.1:2427\"]\n";
    let pinned = |config: &Config| (0..5).map(|listener| config.pins(listener)).collect::<Vec<_>>();
    assert_eq!(pinned(&config(text)), [false, false, true, false, false]);
    let one = format!("{text}[[sip]]\nlisten = \"tcp:192.0.2.1:5060\"\nbypass = \"pin\"\n");
    assert_eq!(pinned(&config(&one)), [false, true, true, false, false]);
    let rest = format!("{text}[[sip]]\nlisten = \"tcp:192.0.2.1:5060\"\n[[sip]]\nbypass = \"pin\"\n");
    assert_eq!(pinned(&config(&rest)), [true, false, true, false, false]);
    let text = printed(&config(&rest));
    assert_eq!(config_of(&Settings::parse(&text).unwrap()), config(&rest), "{text}");
}

#[test]
fn a_fault_in_a_rule_for_sip_names_rule_key_and_place() {
    let text = "listen = [\"udp:192.0.2.1:5060\", \"ws:192.0.2.1:80\"]\n";
    let faults = [
        ("[[sip]]\nbypass = \"port\"", "p.toml:3:10: sip.1.bypass: `port` is not one of contact, pin"),
        (
            "[[sip]]\nlisten = \"tcp:192.0.2.1:5060\"",
            "p.toml:3:1: sip.1.listen: no SIP listener tcp:192.0.2.1:5060 is there for it, or another rule has it",
        ),
        (
            "[[sip]]\n[[sip]]\nbypass = \"pin\"",
            "p.toml:4:1: sip.2.bypass: every SIP listener has another rule; leave this one out",
        ),
        (
            "[[sip]]\nlisten = \"ws:192.0.2.1:80\"\nbypass = \"contact\"",
            "p.toml:4:1: sip.1.bypass: a browser at ws:192.0.2.1:80 cannot reach a worker's port; write `pin`, or leave \
             the rule out",
        ),
    ];
    for (rules, line) in faults {
        assert_eq!(fault(&format!("{text}{rules}")), line);
    }
}

#[test]
fn a_fault_in_the_settings_for_tls_names_certificate_key_and_place() {
    let faults = [
        (
            "[[tls]]\nkey = \"a.key\"",
            "p.toml:2:1: tls.1.certificate: `certificate` is missing; give the path of a PEM file",
        ),
        ("[[tls]]\ncertificate = \"a.pem\"", "p.toml:2:1: tls.1.key: `key` is missing; give the path of a PEM file"),
        (
            &format!("{IDENTITY}client-certificates = \"required\""),
            "p.toml:5:1: tls.1.client-certificates: `required` needs `client-ca`, the file of the CAs whose certificates \
             are accepted",
        ),
        (
            &format!("{IDENTITY}client-ca = \"ca.pem\""),
            "p.toml:5:1: tls.1.client-ca: no caller is asked for a certificate; add `client-certificates = \"optional\"` \
             or \"required\"",
        ),
        (
            &format!("{IDENTITY}crl = \"ca.crl\""),
            "p.toml:5:1: tls.1.crl: it speaks of certificates of a `client-ca`, and there is none",
        ),
        (
            &format!("{IDENTITY}contact-name = \"192.0.2.1\""),
            "p.toml:5:1: tls.1.contact-name: `192.0.2.1` is not a host's name; give one such as sip.example.net",
        ),
        (
            &format!("{IDENTITY}contact-name = \"a.example\"\n{IDENTITY}contact-name = \"b.example\""),
            "p.toml:9:1: tls.2.contact-name: workers name one host, and `a.example` stands before; keep one",
        ),
        (
            &format!("{IDENTITY}{IDENTITY}client-certificates = \"optional\"\nclient-ca = \"ca.pem\""),
            "p.toml:8:1: tls.2.client-certificates: give each [[tls]] the same `client-certificates`, `client-ca` and \
             `crl`: all lead to the same workers",
        ),
    ];
    for (text, line) in faults {
        assert_eq!(fault(&with_tls(text)), line);
    }
}

#[test]
fn certificates_and_their_notes_are_shown_and_read_back() {
    let full = format!(
        "{IDENTITY}contact-name = \"sip.example.net\"\nclient-certificates = \"optional\"\nclient-ca = \"c\\\"a.pem\"\ncrl = \"l\"\n"
    );
    let config = config(&with_tls(&full));
    assert_eq!(config.contact_name(), Some("sip.example.net"));
    assert_eq!(config.notes(), Vec::<String>::new());
    let text = printed(&config);
    assert_eq!(config_of(&Settings::parse(&text).unwrap()), config, "{text}");
    let notes = |text: &str| super::config(text).notes();
    assert_eq!(notes(IDENTITY), ["tls: no listener speaks TLS; add one, such as tls:0.0.0.0:5061"]);
    assert!(notes(&with_tls(IDENTITY))[0].contains("callers who verify the certificate reject"));
    let required = "client-certificates = \"required\"\nclient-ca = \"ca.pem\"\ncontact-name = \"sip.example.net\"\n";
    assert_eq!(notes(&with_tls(&format!("{IDENTITY}{required}"))), Vec::<String>::new());
    let only_tls = format!("listen = [\"tls:192.0.2.1:5061\"]\n{IDENTITY}{required}");
    assert!(notes(&only_tls)[0].contains("at the workers' own ports"), "{:?}", notes(&only_tls));
    assert_eq!(notes("origins = [\"https://example.net\"]"), ["origins: no listener speaks WebSocket"]);
}

#[test]
fn connections_get_half_of_the_spare_descriptors_and_a_source_an_eighth_of_that() {
    let caps = |text: &str, spare| {
        let ConnectionCaps { total, per_source, handshakes } = config(text).connection_caps(spare);
        (total, per_source, handshakes)
    };
    assert_eq!(caps("", 20_000), (10_000, 1_250, 512));
    assert_eq!(caps("", 1 << 20), (65_536, 8_192, 512));
    assert_eq!(caps("", 0), (1, 1, 512));
    assert_eq!(
        caps("max-connections = 100\nmax-connections-per-source = 500\nmax-handshakes = 9", 20_000),
        (100, 100, 9)
    );
    let out = "p.toml:1:1: max-connections: 0 is out of range; give 1 to 1000000 connections";
    assert_eq!(fault("max-connections = 0"), out);
    assert!(fault("max-handshakes = 0").contains("give 1 to 65536 handshakes"));
}

#[test]
fn an_origin_is_a_scheme_and_a_host_as_browsers_send_it() {
    assert_eq!(
        config("origins = [\"HTTPS://Example.net:8443\", \"null\"]").origins,
        ["https://example.net:8443", "null"]
    );
    for bad in ["example.net", "https://", "https://example.net/", "https://a b", ""] {
        let line = fault(&format!("origins = [\"{bad}\"]"));
        assert!(line.ends_with("is not an origin: write SCHEME://HOST[:PORT], such as https://example.net"), "{line}");
    }
}
