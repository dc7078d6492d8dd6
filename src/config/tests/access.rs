//! The rules about sources.

use super::*;

#[test]
fn access_rules_stand_in_order_one_for_each_network() {
    let config = config(
        r#"
        [[access]]
        from = ["10.0.0.0/8", "2001:db8::/32"]
        action = "deny"
        [[access]]
        action = "limit"
        rate = 20
        ban = "5m"
    "#,
    );
    let rules: Vec<_> =
        config.access_rules().iter().map(|rule| (rule.network.to_string(), rule.prefix, rule.action)).collect();
    let limit = words::AccessAction::Limit { rate: 20, burst: 20, ban_ms: 300_000 };
    let expected = [
        ("10.0.0.0", 8, words::AccessAction::Deny),
        ("2001:db8::", 32, words::AccessAction::Deny),
        ("0.0.0.0", 0, limit),
        ("::", 0, limit),
    ];
    assert_eq!(rules, expected.map(|(network, prefix, action)| (network.to_owned(), prefix, action)));
    let described = config.describe().into_iter().find(|row| row.key == "access").unwrap();
    let again = config_of(&Settings::parse(&format!("access = {}", described.value)).unwrap());
    assert_eq!((again.access, described.apply), (config.access.clone(), Apply::Live));
    assert_eq!(Config::default().access_rules(), []);
}

#[test]
fn a_fault_in_an_access_rule_names_the_rule_and_its_place() {
    let rules = |last: &str| format!("access = [\n  {{ action = \"allow\" }},\n  {last},\n]\n");
    let faults = [
        (
            r#"{ action = "limit" }"#,
            "p.toml:3:3: access.2: `limit` needs a rate, such as `rate = 20` requests a second",
        ),
        (
            r#"{ action = "deny", rate = 3 }"#,
            "p.toml:3:3: access.2: `rate`, `burst` and `ban` say how much may come; with `deny` leave them out",
        ),
        (
            r#"{ action = "limit", rate = 0 }"#,
            "p.toml:3:3: access.2: a rate of 0 is out of range; give 1 to 100000 requests a second",
        ),
        (
            r#"{ action = "limit", rate = 1, ban = "never" }"#,
            "p.toml:3:3: access.2: a ban of never is out of range; give 1s to 24h, or leave it out",
        ),
        (
            r#"{ from = [], action = "deny" }"#,
            "p.toml:3:3: access.2: `from` is an empty list; name networks, or leave it out for all",
        ),
        (r#"{ action = "ban" }"#, "p.toml:3:14: access.2.action: `ban` is not one of allow, deny, limit"),
        (
            r#"{ from = ["10.0.0.1/8"], action = "deny" }"#,
            "p.toml:3:13: access.2.from: `10.0.0.1/8` has bits set beyond its prefix: write 10.0.0.0/8",
        ),
        (r#"{ from = ["10.0.0.0/8"] }"#, "p.toml:3:3: access.2: `action` is missing"),
    ];
    for (rule, line) in faults {
        assert_eq!(fault(&rules(rule)), line);
    }
    assert!(
        fault(&rules(r#"{ action = "allow", rates = 3 }"#))
            .starts_with("p.toml:3:23: access.2.rates: no such key: `rates`")
    );
    let many: Vec<String> = (0..129).map(|n| format!("\"10.0.{n}.0/24\"")).collect();
    let text = format!("workers = 1\naccess = [{{ from = [{}], action = \"deny\" }}]\n", many.join(", "));
    let line = "p.toml:2:1: access: 129 networks are too many; name at most 128, and leave the rest to a packet filter";
    assert_eq!(fault(&text), line);
}
