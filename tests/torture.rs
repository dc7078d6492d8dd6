//! The torture messages of RFC 4475 and RFC 5118: the scan and the check have the outcome that the RFC asks for.
//!
//! The messages are not part of the project. `POINTSMAN_CORPORA` names the directory they lie in; without it they are
//! looked for beside the project, and the test says so when they are not there.

use std::fs;
use std::path::PathBuf;

use pointsman::wire::framing::{self, Framed, StreamFault};
use pointsman::wire::sip::{Edits, Fault, Method, Name, Scanner, Scheme, Uri, ViaCompletion};
use pointsman::wire::{mscml, msml};

fn corpus(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("POINTSMAN_CORPORA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora")), PathBuf::from);
    let path = root.join(name);
    if !path.is_dir() {
        eprintln!("not run: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// The outcome of the message: the status its fault is answered with, `drop` if none may be sent, or `accept`.
fn outcome(bytes: &[u8]) -> (String, Option<Fault>) {
    let mut scanner = Scanner::new();
    match scanner.scan(bytes) {
        Ok(message) => match message.check() {
            Ok(()) => ("accept".to_owned(), None),
            Err(fault) => (fault.status().map_or("drop".to_owned(), |status| status.to_string()), Some(fault)),
        },
        Err(bad) => {
            let status = bad.message.and(bad.fault.status());
            (status.map_or("drop".to_owned(), |status| status.to_string()), Some(bad.fault))
        }
    }
}

/// Rows of `index.tsv` by column name.
fn rows(path: &std::path::Path) -> Vec<Vec<(String, String)>> {
    let text = fs::read_to_string(path.join("index.tsv")).unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let names = lines.next().unwrap_or_default();
    lines.map(|values| names.iter().cloned().zip(values).collect()).collect()
}

fn column<'a>(row: &'a [(String, String)], name: &str) -> &'a str {
    row.iter().find(|(column, _)| column == name).map_or("", |(_, value)| value)
}

/// Faults that only a user agent or registrar can find: the parser accepts these, whatever the index allows.
const FOR_THE_USER_AGENT: [&str; 7] = ["intmeth", "esc02", "unksm2", "bext01", "invut", "regaut01", "sdp01"];

#[test]
fn every_message_of_rfc_4475_gets_what_the_rfc_asks_for() {
    let Some(path) = corpus("rfc4475") else { return };
    let rows = rows(&path);
    assert_eq!(rows.len(), 49);
    for row in rows {
        let name = column(&row, "name");
        let (got, fault) = outcome(&fs::read(path.join(column(&row, "file"))).unwrap());
        let class = column(&row, "class");
        let allowed: Vec<_> = match (class, column(&row, "allowed_status")) {
            _ if FOR_THE_USER_AGENT.contains(&name) => vec!["accept"],
            ("valid" | "valid-parse", _) if column(&row, "kind") == "response" => vec!["accept"],
            ("valid", _) => vec!["accept"],
            (_, "none") => vec!["drop"],
            // 416 and 483 come from the code that reads the URI or counts hops; any other status means: parsed.
            ("valid-parse", "416" | "416|404") => vec!["416"],
            ("valid-parse", _) => vec!["accept"],
            (_, allowed) => allowed.split('|').collect(),
        };
        assert!(allowed.contains(&got.as_str()), "{name}: {got} ({fault:?}), allowed {allowed:?}");
    }
}

#[test]
fn the_faults_of_rfc_4475_are_the_ones_meant() {
    let Some(path) = corpus("rfc4475") else { return };
    for (name, expected) in [
        ("badinv01", Fault::Via),
        ("clerr", Fault::ContentLength),
        ("ncl", Fault::ContentLength),
        ("scalar02", Fault::CSeq),
        ("scalarlg", Fault::CSeq),
        ("quotbal", Fault::FromTo),
        ("ltgtruri", Fault::RequestUri),
        ("lwsruri", Fault::StartLine),
        ("lwsstart", Fault::StartLine),
        ("trws", Fault::StartLine),
        ("badvers", Fault::Version),
        ("mismatch01", Fault::CSeqMethod),
        ("mismatch02", Fault::CSeqMethodUnknown),
        ("bigcode", Fault::StartLine),
        ("insuf", Fault::Missing),
        ("unkscm", Fault::UriScheme),
        ("novelsc", Fault::UriScheme),
        ("multi01", Fault::Repeated),
        ("mcl01", Fault::ContentLength),
        ("baddn", Fault::Truncated),
    ] {
        let (_, fault) = outcome(&fs::read(path.join(format!("{name}.dat"))).unwrap());
        assert_eq!(fault, Some(expected), "{name}");
    }
    assert_eq!(outcome(&fs::read(path.join("fixed/baddn.dat")).unwrap()).0, "accept");
}

#[test]
fn the_hard_valid_messages_of_rfc_4475_are_read_right() {
    let Some(path) = corpus("rfc4475") else { return };
    let mut scanner = Scanner::new();
    let read = |name: &str| fs::read(path.join(format!("{name}.dat"))).unwrap();

    let bytes = read("wsinv");
    let message = scanner.scan(&bytes).unwrap();
    assert_eq!(message.vias().count(), 3);
    assert_eq!(message.via().unwrap().branch(), Some(&b"390skdjuw"[..]));
    assert_eq!(message.to().unwrap().tag(), Some(&b"1918181833n"[..]));
    assert_eq!(message.from().unwrap().tag(), Some(&b"98asjd8"[..]));
    assert_eq!(message.cseq().unwrap().number, 9);
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.body().len(), 150);
    assert_eq!(message.contact().unwrap().params().get(b"q"), Some(&b"0.33"[..]));

    let bytes = read("esc02");
    let message = scanner.scan(&bytes).unwrap();
    assert_eq!(message.method(), Some(Method::Other(b"RE%47IST%45R")));
    assert_eq!(message.values(Name::Contact).count(), 2);

    let bytes = read("dblreq");
    let message = scanner.scan(&bytes).unwrap();
    assert_eq!((message.method(), message.body()), (Some(Method::Register), &b""[..]));
    assert!(message.bytes().len() < bytes.len());

    let bytes = read("semiuri");
    assert_eq!(scanner.scan(&bytes).unwrap().uri().unwrap().user, Some(&b"user;par=u%40example.net"[..]));

    let bytes = read("mpart01");
    assert_eq!(scanner.scan(&bytes).unwrap().content(b"text/plain"), Some(&b"Hello"[..]));

    let bytes = read("unkscm");
    let message = scanner.scan(&bytes).unwrap();
    assert_eq!(message.uri().unwrap().scheme, Scheme::Other(b"nobodyKnowsThisScheme"));
}

#[test]
fn every_message_of_rfc_5118_gets_what_the_rfc_asks_for() {
    let Some(path) = corpus("rfc5118") else { return };
    let rows = rows(&path);
    assert_eq!(rows.len(), 12);
    for row in rows {
        let (name, file) = (column(&row, "name"), column(&row, "file"));
        let mended = path.join("fixed-cl").join(file);
        let is_mended = mended.is_file();
        let (got, fault) = outcome(&fs::read(if is_mended { mended } else { path.join(file) }).unwrap());
        let expected = if column(&row, "class") == "invalid" { "400" } else { "accept" };
        assert_eq!(got, expected, "{name}: {fault:?}");
        // The archive's own line ends: bare line feeds. Only the length is mended above, and shorter bodies pass.
        let (got, fault) = outcome(&fs::read(path.join("raw-lf").join(file)).unwrap());
        match fault {
            Some(Fault::Truncated | Fault::ContentLength) => {}
            _ => assert_eq!(got, expected, "raw-lf/{name}: {fault:?}"),
        }
    }
}

#[test]
fn the_addresses_of_rfc_5118_are_read_right() {
    let Some(path) = corpus("rfc5118") else { return };
    let mut scanner = Scanner::new();
    let read = |name: &str| fs::read(path.join(format!("{name}.dat"))).unwrap();
    let bytes = read("port-ambiguous");
    let uri = scanner.scan(&bytes).unwrap().uri().unwrap();
    assert_eq!((uri.host.as_bytes(), uri.port), (&b"[2001:db8::10:5070]"[..], None));
    let bytes = read("port-unambiguous");
    let uri = scanner.scan(&bytes).unwrap().uri().unwrap();
    assert_eq!((uri.host.as_bytes(), uri.port), (&b"[2001:db8::10]"[..], Some(5070)));
    for name in ["via-received-param-no-delim", "via-received-param-with-delim"] {
        let bytes = read(name);
        assert_eq!(
            scanner.scan(&bytes).unwrap().via().unwrap().received(),
            Some("2001:db8::9:255".parse().unwrap()),
            "{name}"
        );
    }
    let bytes = read("ipv6-bug-abnf-3-colons");
    let via = scanner.scan(&bytes).unwrap().vias().find_map(|via| via.received());
    let uri = scanner.scan(&bytes).unwrap().uri().unwrap().host.ip();
    assert!(via.or(uri).is_some());
}

#[test]
fn on_a_stream_a_message_is_found_or_the_connection_closed() {
    let Some(path) = corpus("rfc4475") else { return };
    let frame = |name: &str| framing::next(&fs::read(path.join(format!("{name}.dat"))).unwrap());
    assert!(matches!(frame("ncl"), Framed::Faulty(_, StreamFault::ContentLength)));
    assert!(matches!(frame("mcl01"), Framed::Faulty(_, StreamFault::ContentLength)));
    assert!(matches!(frame("inv2543"), Framed::Faulty(_, StreamFault::NoContentLength)));
    assert!(matches!(frame("clerr"), Framed::NeedMore { .. }));
    let whole = fs::read(path.join("dblreq.dat")).unwrap();
    let Framed::Message(length) = framing::next(&whole) else { panic!("no message") };
    // On a stream the second message is one in its own right, after an empty line.
    let mut rest = &whole[length..];
    while let Framed::Blank(length) | Framed::Ping(length) = framing::next(rest) {
        rest = &rest[length..];
    }
    assert!(rest.starts_with(b"INVITE"));
}

#[test]
fn of_the_media_control_bodies_only_the_reservation_has_a_size() {
    let Some(path) = corpus("mediactl") else { return };
    let mut sizes = Vec::new();
    for folder in ["rfc5022", "rfc5707"] {
        for file in fs::read_dir(path.join(folder)).unwrap() {
            let file = file.unwrap().path();
            let body = fs::read(&file).unwrap();
            if let Some(size) = mscml::reserved_talkers(&body).or_else(|| msml::reserved_talkers(&body)) {
                sizes.push((file.file_name().unwrap().to_string_lossy().into_owned(), size));
            }
        }
    }
    assert_eq!(sizes, [("004-s5.2.xml".to_owned(), 120)]);
}

#[test]
fn the_service_uris_of_rfc_4240_and_its_followers_are_read() {
    let Some(path) = corpus("mediactl") else { return };
    let text = fs::read_to_string(path.join("netann-uris.tsv")).unwrap();
    let uris: Vec<_> = text.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(uris.len(), 16);
    for text in uris {
        let uri = Uri::parse(text.as_bytes()).unwrap();
        let user = text.strip_prefix("sip:").unwrap().split('@').next().unwrap();
        assert_eq!(uri.user, Some(user.as_bytes()));
        assert!(uri.host.as_bytes().starts_with(b"m") || uri.host.as_bytes().starts_with(b"example"), "{text}");
        for param in ["play", "voicexml"] {
            let expected = text.split_once(&format!(";{param}=")).map(|(_, value)| value.split(';').next().unwrap());
            assert_eq!(uri.param(param.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }
}

#[test]
fn every_message_of_rfc_4475_and_5118_that_is_read_travels_on_with_all_that_is_not_edited() {
    for corpus in ["rfc4475", "rfc5118"].iter().filter_map(|name| corpus(name)) {
        let mut read = 0;
        for file in fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
            let bytes = fs::read(&file).unwrap();
            let (mut before, mut after) = (Scanner::new(), Scanner::new());
            let Ok(message) = before.scan(&bytes) else { continue };
            let mut edits = Edits::default();
            if message.is_request() {
                edits.put_via(&message, b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK2");
                let source = "192.0.2.99:4711".parse().unwrap();
                let completion = message.via().map(|via| ViaCompletion::of(message.bytes(), &via, source));
                edits.complete_via(&message, completion.unwrap_or_default(), source);
                edits.put_record_route(&message, b"<sip:192.0.2.1;lr>");
                edits.count_hop(&message);
            } else {
                edits.take_via(
                    &message,
                    message.values(Name::Via).next().map_or(0, |top| message.place_of(top).end) as usize,
                );
            }
            let leaves = edits.pieces(&message).collect::<Vec<_>>().concat();
            assert_eq!(edits.len(&message), leaves.len());
            let Ok(changed) = after.scan(&leaves) else {
                assert!(!message.is_request(), "{}", file.display());
                assert_eq!(message.values(Name::Via).count(), 1, "{}: only the last Via may be missed", file.display());
                continue;
            };
            read += 1;
            assert_eq!(changed.body(), message.body());
            let vias = |message: &pointsman::wire::sip::Message<'_>| message.values(Name::Via).count();
            if !message.is_request() {
                assert_eq!(vias(&changed) + 1, vias(&message), "{}", file.display());
                continue;
            }
            assert_eq!(vias(&changed), vias(&message) + 1, "{}", file.display());
            assert_eq!(changed.via().unwrap().branch(), Some(&b"z9hG4bK2"[..]));
            assert_eq!(
                changed.vias().nth(1).and_then(|via| via.received()),
                message.via().and(Some([192, 0, 2, 99].into()))
            );
            let status = |message: &pointsman::wire::sip::Message<'_>| message.check().map_err(Fault::status);
            assert_eq!(status(&changed), status(&message), "{}", file.display());
            let others = |message: &pointsman::wire::sip::Message<'_>| {
                let edited = ["via", "v", "record-route", "max-forwards"].map(str::as_bytes);
                let kept = message.fields().filter(|(name, _)| !edited.iter().any(|it| name.eq_ignore_ascii_case(it)));
                kept.map(|(name, value)| (name.to_vec(), value.to_vec())).collect::<Vec<_>>()
            };
            assert_eq!(others(&changed), others(&message), "{}", file.display());
        }
        assert!(read > 5);
    }
}
