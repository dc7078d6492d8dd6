//! The rules of `mgcp:` listeners, and endpoint names.

use super::*;

/// A configuration with two MGCP listeners and two workers, followed by these rules.
fn with_rules(rules: &str) -> String {
    format!("workers = 2\nlisten = [\"mgcp:192.0.2.11:2427\", \"mgcp:192.0.2.12:2427\"]\n{rules}")
}

#[test]
fn an_mgcp_listener_needs_no_more_than_its_address() {
    let config = config("workers = 2\nlisten = [\"mgcp:0.0.0.0:2427\"]\n");
    assert!(config.serves(Service::Mgcp) && !config.serves(Service::Udp));
    assert_eq!(config.mgcp_of(0), MgcpRule::default());
    assert_eq!(config.mgcp_of(0).bypass, words::Bypass::Relay);
    let aliases: Vec<(&str, &str)> =
        config.mgcp_aliases.iter().map(|(name, kind)| (name.as_str(), kind.label())).collect();
    assert_eq!(aliases, [("rtpbridge", "bridge")]);
    assert_eq!(config.sip_ips(), Vec::<IpAddr>::new(), "no worker has a SIP port where nobody takes SIP");
    let bound = ["0.0.0.0:2427".parse().unwrap()];
    assert_eq!(config.mgcp_addresses(WorkerId(1), &bound), [(0, "0.0.0.0:2431".parse().unwrap())]);
    assert_eq!(config.notes(), Vec::<String>::new());
}

#[test]
fn the_first_rule_that_fits_an_mgcp_listener_holds_for_it() {
    let config = config(&with_rules(
        r#"
        [[mgcp]]
        listen = "192.0.2.12:2427"
        bypass = "domain"
        domain = "ms.example.net"
        addresses = ["192.0.2.20", "192.0.2.21", "192.0.2.22"]
        call-agent = "ca@ca.example.net:2727"
        [[mgcp]]
        bypass = "port"
        call-agent = "[2001:db8::7]"
        [mgcp-aliases]
        RTPBridge = "bridge"
        dlg = "ivr"
        "mobicents/ivr" = "ivr"
    "#,
    ));
    assert_eq!((config.mgcp_of(0).bypass, config.mgcp_of(1).bypass), (words::Bypass::Port, words::Bypass::Domain));
    assert_eq!(config.mgcp_of(1).call_agent.as_deref(), Some("ca@ca.example.net:2727"));
    assert_eq!(config.mgcp_aliases.keys().collect::<Vec<_>>(), ["dlg", "mobicents/ivr", "rtpbridge"]);
    let bound = ["192.0.2.11:2427".parse().unwrap(), "192.0.2.12:4711".parse().unwrap()];
    let wanted = [(0, "192.0.2.11:2431".parse().unwrap()), (1, "192.0.2.21:4711".parse().unwrap())];
    assert_eq!(config.mgcp_addresses(WorkerId(1), &bound), wanted, "in domain mode it has the listener's port");
    let text = printed(&config);
    assert_eq!(config_of(&Settings::parse(&text).unwrap()), config, "{text}");
    let mut other = config.clone();
    other.mgcp.truncate(1);
    let refused = Change::between(&config, &other).unwrap_err();
    assert_eq!(refused.keys, ["mgcp"], "sockets and workers were set up with it");
}

#[test]
fn a_fault_in_a_rule_for_mgcp_names_rule_key_and_place() {
    let faults = [
        (
            "[[mgcp]]\nbypass = \"direct\"",
            "p.toml:4:10: mgcp.1.bypass: unknown variant `direct`, expected one of `relay`, `domain`, `port`",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"",
            "p.toml:4:1: mgcp.1.bypass: `domain` needs `addresses`, one of its own for each worker",
        ),
        (
            "[[mgcp]]\naddresses = [\"192.0.2.20\"]",
            "p.toml:4:1: mgcp.1.addresses: they are for `bypass = \"domain\"`; with `relay` leave them out",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\"]",
            "p.toml:5:1: mgcp.1.addresses: 1 for 2 workers; name one for each",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"192.0.2.20\"]",
            "p.toml:5:1: mgcp.1.addresses: 192.0.2.20 stands there twice; each worker needs its own",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"192.0.2.12\"]",
            "p.toml:5:1: mgcp.1.addresses: 192.0.2.12 is an address of listener mgcp:192.0.2.12:2427; give another",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"::1\"]",
            "p.toml:5:1: mgcp.1.addresses: ::1 is of another family than its listener mgcp:192.0.2.11:2427",
        ),
        (
            "[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"0.0.0.0\"]",
            "p.toml:5:1: mgcp.1.addresses: 0.0.0.0 is no address of one host; give one of this host's",
        ),
        (
            "[[mgcp]]\nlisten = \"192.0.2.13:2427\"",
            "p.toml:4:1: mgcp.1.listen: no listener mgcp:192.0.2.13:2427 is there for it, or another rule has it",
        ),
        (
            "[[mgcp]]\n[[mgcp]]\nbypass = \"port\"",
            "p.toml:5:1: mgcp.2.bypass: every MGCP listener has another rule; leave this one out",
        ),
        (
            "[[mgcp]]\ndomain = \"ms example\"",
            "p.toml:4:1: mgcp.1.domain: `ms example` is not a domain; give a name such as ms.example.net",
        ),
        (
            "[[mgcp]]\ndomain = \"192.0.2.1\"",
            "p.toml:4:1: mgcp.1.domain: `192.0.2.1` is not a domain; give a name such as ms.example.net",
        ),
        (
            "[[mgcp]]\ncall-agent = \"ca@[224.0.0.1]:2727\"",
            "p.toml:4:1: mgcp.1.call-agent: 224.0.0.1 is no address of one host; give the call agent's own",
        ),
        (
            "[[mgcp]]\ncall-agent = \"255.255.255.255\"",
            "p.toml:4:1: mgcp.1.call-agent: 255.255.255.255 is no address of one host; give the call agent's own",
        ),
        (
            "[[mgcp]]\ncall-agent = \"ca:0\"",
            "p.toml:4:1: mgcp.1.call-agent: `ca:0` is not a call agent: write HOST:PORT, such as ca.example.net:2727",
        ),
        (
            "[mgcp-aliases]\nrtp = \"relay\"",
            "p.toml:4:7: mgcp-aliases.rtp: `relay` is not one of ann, cnf, ivr, bridge",
        ),
        (
            "[mgcp-aliases]\nANN = \"ivr\"",
            "p.toml:4:1: mgcp-aliases.ANN: `ann` is a kind itself and stands for nothing else",
        ),
        (
            "[mgcp-aliases]\n\"a//b\" = \"ivr\"",
            "p.toml:4:1: mgcp-aliases.a//b: no beginning of an endpoint name; give terms of letters, digits, `-`, `_` and \
             `.`, with `/` between",
        ),
        (
            "[mgcp-aliases]\n\"ann/b\" = \"ivr\"",
            "p.toml:4:1: mgcp-aliases.ann/b: `ann` is a kind itself and stands for nothing else",
        ),
        (
            "[mgcp-aliases]\nx = \"ivr\"\nX = \"ann\"",
            "p.toml:4:1: mgcp-aliases.x: stands there twice: endpoint names are the same in either case",
        ),
    ];
    for (rules, line) in faults {
        assert_eq!(fault(&with_rules(rules)), line);
    }
    let nobody =
        "p.toml:1:1: mgcp.1: no listener speaks MGCP; add one, such as mgcp:0.0.0.0:2427, or leave the rules out";
    assert_eq!(fault("[[mgcp]]\ncall-agent = \"ca.example.net\"\n"), nobody);
    for agent in ["ca", "ca.example.net:2727", "Ca_1@[192.0.2.1]:5", "[2001:db8::1]", "192.0.2.1:2727"] {
        config(&with_rules(&format!("[[mgcp]]\ncall-agent = \"{agent}\"")));
    }
    for agent in ["", "@ca", "ca:", "ca:70000", "[2001:db8::1", "[2001:db8::1]x", "[]:1", "a b", "ca:+5", "a@b@c d"] {
        let line = fault(&with_rules(&format!("[[mgcp]]\ncall-agent = \"{agent}\"")));
        assert!(line.starts_with("p.toml:4:1: mgcp.1.call-agent: "), "{agent}: {line}");
    }
}

#[test]
fn workers_addresses_of_their_own_meet_no_listener_on_all_addresses_and_no_other_worker() {
    let wildcard = "listen = [\"mgcp:0.0.0.0:2427\"]\n[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\"]\n";
    let line = "p.toml:4:1: mgcp.1.addresses: 192.0.2.20 is an address of listener mgcp:0.0.0.0:2427; name the address it \
                listens on";
    assert_eq!(fault(wildcard), line);
    let swapped = with_rules(
        "[[mgcp]]\nlisten = \"192.0.2.11:2427\"\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"192.0.2.21\"]\n\
         [[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.21\", \"192.0.2.20\"]\n",
    );
    assert_eq!(fault(&swapped), "p.toml:9:1: mgcp.2.addresses: 192.0.2.21 is w1's already; each worker needs its own");
    let shared = with_rules("[[mgcp]]\nbypass = \"domain\"\naddresses = [\"192.0.2.20\", \"192.0.2.21\"]\n");
    let config = config(&shared);
    assert_eq!(config.mgcp_addresses(WorkerId(0), &[]).len(), 1, "one socket serves both listeners");
}
