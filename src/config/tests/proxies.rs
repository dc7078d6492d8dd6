//! Routes, pools and proxies.

use super::*;
use crate::words::Transport;

/// A file in which everything about proxies is written, as the manual has it.
const WHOLE: &str = r#"
    [[route]]
    method = "INVITE"
    user = "7*"
    host = "IVR.example.net"
    from = ["10.0.0.0/8"]
    header = "X-Tenant:  acme"
    pool = "ivr"
    [[pool]]
    name = "ivr"
    mode = "proxy"
    policy = "latency"
    fallback = ["overflow", "workers"]
    workers = false
    answer-within = "1s"
    retry-on = [500, 503, 504]
    tries = 3
    record-route = "auto"
    rewrite-uri = false
    round-robin-below = 0
    [[pool]]
    name = "overflow"
    mode = "redirect"
    [proxy-defaults]
    handicap = 50
    load-used = "calls"
    [[proxy]]
    name = "fs1"
    uri = "sip:192.0.2.21:5060"
    pool = "ivr"
    handicap = 100
    capacity = 500
    probe = "options"
    probe-interval = "500ms"
    probe-from = "own"
    fall = 2
    rise = 2
    session-time = "3m"
    load = "http://192.0.2.21:8088/metrics"
    load-total = ""
    oc = false
    [[proxy]]
    name = "fs2"
    uri = "sip:FS.example.net;transport=udp"
    pool = "overflow"
    load = "agent:[2001:db8::2]:5555"
    [[proxy]]
    name = "fs3"
    uri = "sip:[2001:DB8:0::3]:5070"
"#;

const BOTH: &str = "listen = [\"udp:192.0.2.1:5060\", \"udp:[2001:db8::1]:5060\"]\n";

fn whole() -> Config {
    config(&format!("{BOTH}{WHOLE}"))
}

#[test]
fn the_documented_ranges_of_the_tables_are_those_that_are_checked() {
    let beyond = [
        ("proxy", "handicap", "0"),
        ("proxy", "capacity", "0"),
        ("proxy", "fall", "0"),
        ("proxy", "rise", "0"),
        ("proxy", "connections", "0"),
        ("proxy", "probe-interval", "\"1ms\""),
        ("proxy", "probe-within", "\"1ms\""),
        ("proxy", "session-time", "\"1ms\""),
        ("pool", "answer-within", "\"1ms\""),
        ("pool", "tries", "0"),
        ("pool", "round-robin-below", "100001"),
    ];
    for (table, key, value) in beyond {
        let uri = if table == "proxy" { "uri = \"sip:192.0.2.1;transport=tcp\"\n" } else { "" };
        let error = fault(&format!("[[{table}]]\nname = \"a\"\n{uri}{key} = {value}\n"));
        let (_, range) = error.split_once("out of range; give ").expect(&error);
        let range = range.trim_end_matches(" requests a second");
        let keys = TABLES.iter().find(|it| it.name == table).unwrap().keys;
        let described = keys.iter().find(|it| it.name() == key).unwrap().description();
        assert!(described.contains(range), "{key}: {range}: {described}");
    }
}

#[test]
fn routes_pools_and_proxies_are_read_as_the_manual_has_them() {
    let config = whole();
    let header = Some(("X-Tenant".to_owned(), "acme".to_owned()));
    assert_eq!((&config.routes[0].header, config.routes[0].host.as_deref()), (&header, Some("ivr.example.net")));
    let pools: Vec<(&str, PoolMode, PoolPolicy)> =
        config.pools.iter().map(|pool| (pool.name.as_str(), pool.mode, pool.policy)).collect();
    let expected = [
        ("ivr", PoolMode::Proxy, PoolPolicy::Latency),
        ("overflow", PoolMode::Redirect, PoolPolicy::Weighted),
        ("default", PoolMode::Proxy, PoolPolicy::Latency),
    ];
    assert_eq!(pools, expected);
    let [one, two, three] = &config.proxies[..] else { panic!("{:?}", config.proxies) };
    assert_eq!((one.handicap, one.capacity, one.load_used.as_str()), (100, Some(500), "calls"));
    assert_eq!((one.probe_interval, one.probe_within), (Duration::from_millis(500), Duration::from_millis(500)));
    assert_eq!((two.handicap, two.host.as_str(), two.port, two.names_transport), (50, "fs.example.net", None, true));
    assert_eq!(two.load.place(), Some(("2001:db8::2".to_owned(), 5555, "")));
    assert_eq!(one.load.place(), Some(("192.0.2.21".to_owned(), 8088, "/metrics")));
    assert_eq!((three.host.as_str(), three.port, three.pool.as_str()), ("2001:db8::3", Some(5070), "default"));
    assert_eq!((two.load_used.as_str(), three.uri().as_str()), ("", "sip:[2001:db8::3]:5070"));
}

#[test]
fn proxies_are_shown_as_text_that_reads_back_and_a_reload_may_change_them() {
    let config = whole();
    let text = printed(&config);
    let again = config_of(&Settings::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}")));
    assert_eq!(again, config, "{text}");
    let change = Change::between(&super::config(BOTH), &config).unwrap();
    let keys: Vec<&str> = change.keys.iter().map(|changed| changed.key).collect();
    assert_eq!(keys, ["route", "pool", "proxy-defaults", "proxy"]);
    assert_eq!(Change::between(&config, &again).unwrap().to_string(), "nothing changed");
    let many: String = (0..1024)
        .map(|n| format!("[[proxy]]\nname = \"p{n}\"\nuri = \"sip:10.0.{}.{}\"\n", n / 250, n % 250))
        .collect();
    let change = Change::between(&super::config(""), &super::config(&many)).unwrap();
    assert!(change.to_string().len() < 3000, "a line of the log: {}", change.to_string().len());
}

#[test]
fn requests_without_a_route_are_for_the_workers_while_there_are_some() {
    let proxy = "[[proxy]]\nname = \"fs1\"\nuri = \"sip:192.0.2.21\"\n";
    let other = "[[pool]]\nname = \"ivr\"\n[[proxy]]\nname = \"fs1\"\nuri = \"sip:192.0.2.21\"\npool = \"ivr\"\n";
    assert_eq!(config(proxy).pool_without_route(), Pool::WORKERS);
    assert_eq!(config(&format!("workers = 0\n{proxy}")).pool_without_route(), Pool::DEFAULT);
    assert_eq!(config(&format!("workers = 0\n{other}")).pool_without_route(), Pool::WORKERS);
    assert_eq!(config(&format!("workers = 0\n{proxy}")).notes(), Vec::<String>::new());
    assert_eq!(config(proxy).pool("default"), Some(&Pool::default()));
    assert_eq!(config("").pool("default"), None);
}

#[test]
fn keys_of_proxies_that_contradict_each_other_are_refused_or_noted() {
    let twice = "[[proxy]]\nname = \"a\"\nuri = \"sip:192.0.2.1;transport=tcp;transport=udp\"";
    assert_eq!(fault(twice), "p.toml:3:1: proxy.1.uri: `;transport` stands there twice; keep one");
    let redirected = "[[pool]]\nname = \"a\"\nmode = \"redirect\"\nrewrite-uri = true";
    let words = "p.toml:4:1: pool.1.rewrite-uri: a redirected caller names the server itself; leave this out";
    assert_eq!(fault(redirected), words);
    let routed = "workers = 0\n[[proxy]]\nname = \"a\"\nuri = \"sip:192.0.2.1\"\n[[route]]\npool = \"workers\"";
    let notes = Config::check(&Settings::parse(routed).unwrap()).unwrap().notes();
    assert!(
        notes.iter().any(|note| note.starts_with("workers: none is started; what the pool `workers`")),
        "{notes:?}"
    );
    let from = |name: &str, ip: &str| {
        format!("[[proxy]]\nname = \"{name}\"\nuri = \"sip:{ip};transport=tcp\"\nfrom = [\"10.0.0.0/8\"]\n")
    };
    let both = from("a", "192.0.2.1") + &from("b", "192.0.2.2");
    let notes = Config::check(&Settings::parse(&both).unwrap()).unwrap().notes();
    let words = "proxy: a and b both have 10.0.0.0/8 in `from`; who comes from there is a";
    assert!(notes.iter().any(|note| note == words), "{notes:?}");
    let limited = "max-connections = 10\nmax-connections-per-source = 100";
    let notes = Config::check(&Settings::parse(limited).unwrap()).unwrap().notes();
    let words = "max-connections-per-source: 100 is more than max-connections, 10, which holds";
    assert!(notes.iter().any(|note| note == words), "{notes:?}");
    let access = "access = [{ action = \"deny\" }, { action = \"allow\", from = [\"192.0.2.0/24\"] }]";
    let notes = Config::check(&Settings::parse(access).unwrap()).unwrap().notes();
    let words = "access: every source fits rule 1; those after it are never asked";
    assert!(notes.iter().any(|note| note == words), "{notes:?}");
}

#[test]
fn a_header_that_means_something_else_is_no_identifier_header() {
    let taken = "X-Session-Size X-Size X-Load X-load-query X-FS-Calls X-FS-Status X-Worker-Port";
    for name in taken.split(' ') {
        let words = format!("identifier-header: `{name}` has another meaning here; give another");
        let fault = fault(&format!("identifier-header = \"{name}\""));
        assert!(fault.contains(&words), "{fault}");
    }
    assert!(fault("identifier-header = \"Call-ID\"").contains("is no extension header"));
}

#[test]
fn a_fault_about_proxies_names_key_and_place() {
    let fs1 = "[[proxy]]\nname = \"fs1\"\nuri = \"sip:192.0.2.21\"\n";
    let faults = [
        (
            "[[proxy]]\nuri = \"sip:192.0.2.21\"",
            "1:1: proxy.1: `name` is missing; give the proxy a name, such as \"fs1\"",
        ),
        ("[[proxy]]\nname = \"fs1\"", "1:1: proxy.1: `uri` is missing; write such as `uri = \"sip:192.0.2.21:5060\"`"),
        ("[[proxy]]\nname = \"FS 1\"", "2:1: proxy.1.name: `FS 1` is no name; give 1 to 32 of a to z, 0 to 9 and `-`"),
        ("[[proxy]]\nname = \"w17\"", "2:1: proxy.1.name: `w17` is the name of a worker; give another"),
        (
            &format!("{fs1}[[proxy]]\nname = \"fs1\"\nuri = \"sip:192.0.2.22\"\n"),
            "5:1: proxy.2.name: `fs1` is the name of proxy 1 already; give another",
        ),
        (
            &format!("{fs1}[[proxy]]\nname = \"fs2\"\nuri = \"sip:192.0.2.21:5060;transport=udp\"\n"),
            "6:1: proxy.2.uri: `fs1` of pool `default` has this address already; keep one of them",
        ),
        (
            &format!("{fs1}pool = \"ivr\""),
            "4:1: proxy.1.pool: there is no pool `ivr`; write [[pool]] with `name = \"ivr\"`",
        ),
        (
            &format!("{fs1}pool = \"workers\""),
            "4:1: proxy.1.pool: `workers` is the pool of the workers alone; name another, with `workers = true` for both",
        ),
        (&format!("{fs1}handicap = 0"), "4:1: proxy.1.handicap: 0 is out of range; give 1 to 1000"),
        (&format!("{fs1}handicap = 1001"), "4:1: proxy.1.handicap: 1001 is out of range; give 1 to 1000"),
        (&format!("{fs1}capacity = 0"), "4:1: proxy.1.capacity: 0 is out of range; give 1 to 1000000"),
        (&format!("{fs1}fall = 0"), "4:1: proxy.1.fall: 0 is out of range; give 1 to 100"),
        (
            &format!("{fs1}probe-interval = \"1ms\""),
            "4:1: proxy.1.probe-interval: 1ms is out of range; give 100ms to 1h",
        ),
        (
            &format!("{fs1}probe-interval = \"1s\"\nprobe-within = \"2s\""),
            "5:1: proxy.1.probe-within: 2s is longer than the `probe-interval` of 1s; give less, or leave it out",
        ),
        (&format!("{fs1}probe-from = \"lane\""), "4:14: proxy.1.probe-from: `lane` is not one of own, listener"),
        (
            &format!("{fs1}handicap = nan"),
            "4:12: proxy.1.handicap: invalid type: floating point `NaN`, expected a whole number",
        ),
        (&format!("{fs1}handicap = -1"), "4:12: proxy.1.handicap: -1 is too small"),
        (
            &format!("{fs1}load = \"agent:foo\""),
            "4:8: proxy.1.load: `agent:foo` is no source of the load: write none, sip, http://HOST:PORT/PATH or \
             agent:HOST:PORT",
        ),
        (
            &format!("{fs1}load = \"http://\""),
            "4:8: proxy.1.load: `http://` is no source of the load: write none, sip, http://HOST:PORT/PATH or \
             agent:HOST:PORT",
        ),
        ("[proxy-defaults]\noc = 1", "2:6: proxy-defaults.oc: invalid type: integer `1`, expected a boolean"),
        (
            &format!("{fs1}probe = \"ping\""),
            "4:9: proxy.1.probe: `ping` is not one of options, options-0, invite, none",
        ),
        (
            &format!("{fs1}load = \"https://192.0.2.21/\""),
            "4:8: proxy.1.load: `https://192.0.2.21/` is no source of the load: write none, sip, http://HOST:PORT/PATH or \
             agent:HOST:PORT",
        ),
        (
            &format!("{fs1}load = \"sip\"\nload-used = \"calls\""),
            "5:1: proxy.1.load-used: it names a value of a document; with `load = \"http://HOST:PORT/PATH\"` alone it \
             has a use",
        ),
        (
            &format!("{fs1}load-used = \"a b\""),
            "4:1: proxy.1.load-used: `a b` is neither a metric nor a JSON pointer; write such as asterisk_calls_count \
             or /calls/used",
        ),
        (
            "[proxy-defaults]\nname = \"fs\"",
            "2:1: proxy-defaults.name: each proxy has its own `name`; write it into [[proxy]]",
        ),
        ("[proxy-defaults]\nhandicap = 0", "2:1: proxy-defaults.handicap: 0 is out of range; give 1 to 1000"),
        ("[[pool]]\nmode = \"proxy\"", "1:1: pool.1: `name` is missing; give the pool a name"),
        (
            "[[pool]]\nname = \"workers\"",
            "2:1: pool.1.name: `workers` is the pool of the workers and has no settings; give another",
        ),
        (
            "[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"",
            "4:1: pool.2.name: `a` is the name of pool 1 already; give another",
        ),
        (
            "[[pool]]\nname = \"a\"\nfallback = [\"a\"]",
            "3:1: pool.1.fallback: `a` falls back to itself; name other pools",
        ),
        (
            "[[pool]]\nname = \"a\"\nfallback = [\"b\"]\n[[pool]]\nname = \"b\"\nfallback = [\"workers\", \"a\"]",
            "3:1: pool.1.fallback: `a` falls back to itself over `b`; name other pools",
        ),
        (
            "[[pool]]\nname = \"a\"\nfallback = [\"b\"]",
            "3:1: pool.1.fallback: there is no pool `b`; write [[pool]] with `name = \"b\"`",
        ),
        (
            "[[pool]]\nname = \"a\"\nfallback = [\"workers\", \"workers\"]",
            "3:1: pool.1.fallback: `workers` stands there twice; keep the first",
        ),
        (
            "[[pool]]\nname = \"a\"\nmode = \"redirect\"\nrecord-route = \"always\"",
            "4:1: pool.1.record-route: a redirected call never comes through here; write mode `proxy` or `stateful`, or \
             leave this out",
        ),
        (
            "[[pool]]\nname = \"a\"\nmode = \"redirect\"\npolicy = \"latency\"",
            "4:1: pool.1.policy: a redirect pool sees no answers; write `weighted`, `least-load`, `round-robin` or \
             `hash`",
        ),
        (
            "[[pool]]\nname = \"a\"\nworkers = true\npolicy = \"weighted\"",
            "4:1: pool.1.policy: workers have no delay that `weighted` could compare; write `least-load`, `round-robin` \
             or `hash`",
        ),
        (
            "[[pool]]\nname = \"a\"\nworkers = true\nmode = \"redirect\"",
            "3:1: pool.1.workers: a 302 names proxies alone; leave the workers to `fallback`",
        ),
        (
            "[[pool]]\nname = \"a\"\nretry-on = [603]",
            "3:1: pool.1.retry-on: 603 does not ask for another server; give statuses 400 to 599",
        ),
        ("[[pool]]\nname = \"a\"\ntries = 0", "3:1: pool.1.tries: 0 is out of range; give 1 to 16"),
        (
            "[[pool]]\nname = \"a\"\nanswer-within = \"1ms\"",
            "3:1: pool.1.answer-within: 1ms is out of range; give 50ms to 32s",
        ),
        ("[[route]]\nuser = \"7*\"", "1:1: route.1.pool: `pool` is missing; name the pool of the requests that fit"),
        ("[[route]]\npool = \"a\"", "2:1: route.1.pool: there is no pool `a`; write [[pool]] with `name = \"a\"`"),
        (
            "[[route]]\nmethod = \"invite\"\npool = \"workers\"",
            "2:1: route.1.method: methods are in upper case: write INVITE",
        ),
        (
            "[[route]]\nmethod = \"CANCEL\"\npool = \"workers\"",
            "2:1: route.1.method: CANCEL goes where its INVITE went; write a route for INVITE",
        ),
        (
            "[[route]]\nheader = \"X-Tenant acme\"\npool = \"workers\"",
            "2:10: route.1.header: `X-Tenant acme` is no condition on a header: write `NAME: PATTERN`, such as `X-Tenant: acme`",
        ),
        (
            "[[route]]\nuser = \"\"\npool = \"workers\"",
            "2:1: route.1.user: `` is no pattern; give text such as 7*, or leave the key out",
        ),
    ];
    for (text, line) in faults {
        assert_eq!(fault(text), format!("p.toml:{line}"), "{text}");
    }
}

#[test]
fn a_uri_that_is_no_address_of_another_server_is_refused_by_one_line() {
    let line = |uri: &str| fault(&format!("{BOTH}[[proxy]]\nname = \"a\"\nuri = \"{uri}\""));
    let faults = [
        (
            "sip:192.0.2.21;transport=tcp",
            "it sends requests of its own to a TCP listener of IPv4, and there is none; add such as tcp:0.0.0.0:5060",
        ),
        (
            "sip:[2001:db8::2];transport=TLS",
            "it sends requests of its own to a TLS listener of IPv6, and there is none; add such as tls:[::]:5061",
        ),
        ("sip:192.0.2.21;transport=sctp", "proxies are reached over udp, tcp or tls; write one of them for `sctp`"),
        ("sip:192.0.2.21;lr", "the parameter `;lr` has no use here; leave it out"),
        ("sips:192.0.2.21", "write `sip:HOST[:PORT];transport=tls`: `sips:` asks for TLS on the whole way"),
        ("tel:+431", "`tel:+431` is not a URI of a server; write sip:HOST[:PORT]"),
        ("192.0.2.21", "`192.0.2.21` is not a URI of a server; write sip:HOST[:PORT]"),
        ("sip:me@192.0.2.21", "`sip:me@192.0.2.21` names a user; write sip:HOST[:PORT]"),
        ("sip:192.0.2.21:0", "`0` is not a port; give 1 to 65535; write sip:HOST[:PORT]"),
        ("sip:192.0.2.21:65536", "`65536` is not a port; give 1 to 65535; write sip:HOST[:PORT]"),
        ("sip:2001:db8::1", "`2001:db8::1`: an IPv6 address stands in brackets: write [ADDR]; write sip:HOST[:PORT]"),
        ("sip:[2001:db8::g]", "`2001:db8::g` is not an IPv6 address; write sip:HOST[:PORT]"),
        ("sip:192.0.2.256", "`192.0.2.256` is neither an address nor a host's name; write sip:HOST[:PORT]"),
        ("sip:0.0.0.0", "0.0.0.0 is no address of one host; write sip:HOST[:PORT]"),
        ("sip:a..b", "`a..b` is neither an address nor a host's name; write sip:HOST[:PORT]"),
        ("sip:192.0.2.1", "sip:192.0.2.1 is our own listener udp:192.0.2.1:5060; give the address of another server"),
    ];
    for (uri, words) in faults {
        assert_eq!(line(uri), format!("p.toml:4:1: proxy.1.uri: {words}"));
    }
    for uri in ["sip:", "sip:[::1", "sip:[::1]x", "sip:a:", "sip:a:5060:1", "sip:a b", "sip:a/b", "sip:a?b=c", ""] {
        assert!(line(uri).starts_with("p.toml:4:1: proxy.1.uri: "), "{uri}: {}", line(uri));
    }
    let proxy = "[[proxy]]\nname = \"a\"\nuri = \"sip:127.0.0.1\"\n";
    assert_eq!(
        fault(proxy),
        "p.toml:3:1: proxy.1.uri: sip:127.0.0.1 is our own listener udp:0.0.0.0:5060; give the address of another server"
    );
    assert_eq!(
        fault(&format!("listen = [\"tcp:0.0.0.0:5060\"]\n{proxy}")),
        "p.toml:4:1: proxy.1.uri: requests for it leave from a UDP listener of IPv4, and there is none; add such as \
         udp:0.0.0.0:5060"
    );
    assert_eq!(config(&format!("workers = 0\n{}", proxy.replace("0.0.1", "0.0.1:5090"))).notes(), Vec::<String>::new());
    let mapped = config("[[proxy]]\nname = \"a\"\nuri = \"sip:[::ffff:192.0.2.7]:5070\"");
    assert_eq!(mapped.proxies[0].host, "192.0.2.7");
}

/// A processing system behind persistent connections, as the manual has it.
const SYSTEM: &str = r#"
    listen = ["udp:192.0.2.1:5060", "tls:192.0.2.1:5061", "tcp:192.0.2.1:5060"]
    identifier-header = "X-System"
    remember = "1h"
    [[tls]]
    certificate = "/c.pem"
    key = "/k.pem"
    contact-name = "sip.example.net"
    [[route]]
    listen = "tcp:192.0.2.1:5060"
    pool = "default"
    [[proxy]]
    name = "s1"
    uri = "sip:192.0.2.21;transport=tls"
    connections = 4
    from = ["192.0.2.0/24"]
    identifier = true
    system-down = "move"
    tls-name = "s1.example.net"
    tls-certificate = "/s.pem"
    tls-key = "/s.key"
    [[proxy]]
    name = "s2"
    uri = "sip:192.0.2.22;transport=tcp"
"#;

#[test]
fn a_proxy_over_tcp_or_tls_is_one_with_persistent_connections() {
    let config = config(SYSTEM);
    let [one, two] = &config.proxies[..] else { panic!("{:?}", config.proxies) };
    assert_eq!((one.transport, one.port(), one.connections, one.identifier), (Transport::Tls, 5061, 4, true));
    assert_eq!((one.system_down, one.tls_name.as_deref()), (SystemDown::Move, Some("s1.example.net")));
    assert_eq!(one.tls_files, Some(("/s.pem".into(), "/s.key".into())));
    assert_eq!(
        (two.transport, two.port(), two.connections, two.system_down),
        (Transport::Tcp, 5060, 1, SystemDown::Refuse)
    );
    assert_eq!((config.identifier_header.as_str(), config.remember), ("X-System", Duration::from_secs(3600)));
    assert_eq!(config.routes[0].listen, Some("tcp:192.0.2.1:5060".parse().unwrap()));
    let again = self::config(&printed(&config));
    assert_eq!((again.proxies, again.routes), (config.proxies, config.routes));
}

#[test]
fn settings_of_a_system_that_make_no_sense_are_refused_by_one_line() {
    let system = |lines: &str| fault(&format!("{BOTH}[[proxy]]\nname = \"a\"\nuri = \"sip:192.0.2.2\"\n{lines}"));
    let faults = [
        ("connections = 2", "5:1: proxy.1.connections: it has a use with `;transport=tcp` in `uri` alone"),
        ("connections = 17", "5:1: proxy.1.connections: 17 is out of range; give 1 to 16"),
        ("system-down = \"move\"", "5:1: proxy.1.system-down: it has a use with `;transport=tcp` in `uri` alone"),
        ("tls-name = \"a.example\"", "5:1: proxy.1.tls-name: it has a use with `;transport=tls` in `uri` alone"),
    ];
    for (lines, line) in faults {
        assert_eq!(system(lines), format!("p.toml:{line}"), "{lines}");
    }
    let other = |from: &str, to: &str| fault(&SYSTEM.replace(from, to)).split_once(": ").unwrap().1.to_owned();
    let faults = [
        ("    tls-key = \"/s.key\"\n", "", "proxy.1.tls-certificate: it needs `tls-key` beside it"),
        (
            "tls-name = \"s1.example.net\"",
            "tls-name = \"s1 \"",
            "proxy.1.tls-name: `s1 ` is not a host's name; give one that its certificate is made for",
        ),
        (
            "\"X-System\"",
            "\"X System\"",
            "identifier-header: `X System` is no extension header; give a name that begins with X-, such as X-Pointsman-System",
        ),
        (
            "\"X-System\"",
            "\"Via\"",
            "identifier-header: `Via` is no extension header; give a name that begins with X-, such as X-Pointsman-System",
        ),
        ("remember = \"1h\"", "remember = \"13h\"", "remember: 13h is out of range; give 32s to 12h"),
        (
            "listen = \"tcp:192.0.2.1:5060\"",
            "listen = \"tcp:192.0.2.1:5070\"",
            "route.1.listen: no listener is tcp:192.0.2.1:5070; write one as `listen` has it",
        ),
        (
            "    name = \"s2\"\n",
            "    name = \"s2\"\n    probe-from = \"listener\"\n",
            "proxy.2.probe-from: probes over TCP and TLS leave on a connection of their own; leave it out",
        ),
        (
            "    name = \"s2\"\n",
            "    name = \"s2\"\n    tls-key = \"/k\"\n",
            "proxy.2.tls-key: it has a use with `;transport=tls` in `uri` alone",
        ),
    ];
    for (from, to, line) in faults {
        assert_eq!(other(from, to), line, "{to}");
    }
}

#[test]
fn more_proxies_than_a_table_of_weights_can_show_are_refused() {
    let many: String = (0..1025).map(|n| format!("[[proxy]]\nname = \"p{n}\"\nuri = \"sip:h{n}.example\"\n")).collect();
    assert_eq!(fault(&many), "p.toml:1:3: proxy: 1025 are too many; give at most 1024");
}

#[test]
fn settings_of_proxies_that_are_probably_not_meant_are_noted() {
    let notes = |text: &str| config(text).notes();
    let two = "workers = 0\n[[proxy]]\nname = \"a\"\nuri = \"sip:127.0.0.1:5090\"\n[[proxy]]\nname = \"b\"\nuri = \"sip:192.0.2.2\"\n";
    assert_eq!(notes(two), ["proxy: a is on this host, others are not"]);
    assert_eq!(notes("[[pool]]\nname = \"a\""), ["pool: a has no proxy; its requests get 503"]);
    let shadowed = "[[route]]\npool = \"workers\"\n[[route]]\nuser = \"7*\"\npool = \"workers\"";
    assert_eq!(notes(shadowed), ["route: every request fits route 1; those after it are never asked"]);
    let unseen = "workers = 0\n[[proxy]]\nname = \"a\"\nuri = \"sip:192.0.2.2\"\noc = true\n";
    assert_eq!(notes(unseen), Vec::<String>::new());
    assert_eq!(
        notes(&format!("{unseen}[[pool]]\nname = \"default\"\nmode = \"redirect\"")),
        ["proxy: `oc` of a has no effect: no answer comes through here in mode redirect"]
    );
    let idle = "[[route]]\npool = \"a\"\n[[pool]]\nname = \"a\"\nworkers = true\nanswer-within = \"2s\"";
    assert_eq!(notes(idle), ["pool: mode proxy of a does not look at answer-within and retry-on; `stateful` does"]);
}

#[test]
fn a_pool_whose_members_get_no_request_is_noted_with_the_key_to_add() {
    let notes = |text: &str| config(text).notes();
    let proxy = |pool: &str| format!("[[proxy]]\nname = \"p\"\nuri = \"sip:192.0.2.2\"\npool = \"{pool}\"\n");
    let pool = |name: &str, key: &str| format!("[[pool]]\nname = \"{name}\"\n{key}\n");
    let route = |pool: &str| format!("[[route]]\nuser = \"7*\"\npool = \"{pool}\"\n");
    let default = "pool: no request comes to default: without a route they are for the workers; add a [[route]] with `pool = \"default\"`";
    let named = |name: &str| {
        format!(
            "pool: no request comes to {name}; add a [[route]] with `pool = \"{name}\"`, or name it in the `fallback` of another pool"
        )
    };

    assert_eq!(notes(&proxy("default")), [format!("{default}, or set `workers = 0`")]);
    assert_eq!(notes(&pool("default", "workers = true")), [default]);
    assert_eq!(notes(&format!("{}{}", pool("x", ""), proxy("x"))), [named("x")]);
    // A fallback of a pool that gets nothing gets nothing either.
    let both = format!("{}{}{}", pool("x", ""), pool("y", "workers = true\nfallback = [\"x\"]"), proxy("x"));
    assert_eq!(notes(&both), [named("x"), named("y")]);
    let after = format!("[[route]]\npool = \"workers\"\n{}{}{}", route("x"), pool("x", ""), proxy("x"));
    assert!(notes(&after).contains(&named("x")), "{:?}", notes(&after));

    for reached in [
        format!("workers = 0\n{}", proxy("default")),
        format!("{}{}", route("default"), proxy("default")),
        format!("{}{}{}", route("x"), pool("x", ""), proxy("x")),
        format!("{}{}{}{}", route("y"), pool("x", ""), pool("y", "workers = true\nfallback = [\"x\"]"), proxy("x")),
    ] {
        assert_eq!(notes(&reached), Vec::<String>::new(), "{reached}");
    }
}

#[test]
fn a_request_fits_a_route_when_it_fits_each_of_its_conditions() {
    let route = &whole().routes[0];
    let asked = Asked {
        method: b"INVITE",
        user: Some(b"701"),
        host: b"ivr.EXAMPLE.net",
        source: [10, 1, 2, 3].into(),
        listen: None,
    };
    let with = |value: &'static str| {
        move |name: &str, test: &dyn Fn(&[u8]) -> bool| name == "X-Tenant" && test(value.as_bytes())
    };
    assert!(route.fits(&asked, with("acme")));
    assert!(!route.fits(&asked, with("Acme")) && !route.fits(&asked, |_: &str, _: &dyn Fn(&[u8]) -> bool| false));
    assert!(!route.fits(&Asked { method: b"MESSAGE", ..asked }, with("acme")));
    assert!(!route.fits(&Asked { user: None, ..asked }, with("acme")));
    assert!(!route.fits(&Asked { user: Some(b"801"), ..asked }, with("acme")));
    assert!(!route.fits(&Asked { host: b"example.net", ..asked }, with("acme")));
    assert!(!route.fits(&Asked { source: [192, 0, 2, 1].into(), ..asked }, with("acme")));
    let at = |text: &str| Some(text.parse().unwrap());
    let listening = Route { listen: at("tcp:192.0.2.1:5060"), ..route.clone() };
    assert!(listening.fits(&Asked { listen: at("tcp:192.0.2.1:5060"), ..asked }, with("acme")));
    assert!(!listening.fits(&Asked { listen: at("udp:192.0.2.1:5060"), ..asked }, with("acme")));
    let any = Route { pool: "x".into(), ..Route::default() };
    assert!(any.fits(&Asked { user: None, ..asked }, |_: &str, _: &dyn Fn(&[u8]) -> bool| false));
}
