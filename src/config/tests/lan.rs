//! The table of workers on other hosts.

use super::{config, fault};

const LAN: &str =
    "[lan]\nlisten = \"192.0.2.1:5090\"\ncertificate = \"d.pem\"\nkey = \"d.key\"\nclient-ca = \"ca.pem\"\n";

#[test]
fn only_workers_that_are_named_may_come_where_any_is() {
    let all = config(LAN).lan.unwrap();
    assert!(all.admits("media1"));
    let some = config(&format!("{LAN}names = [\"media1\"]")).lan.unwrap();
    assert!(some.admits("MEDIA1") && !some.admits("media2"));
}

#[test]
fn a_fault_in_the_table_names_key_and_remedy() {
    let cases = [
        (LAN.replace("d.key", ""), "lan.key: the path is empty; give that of a PEM file"),
        (format!("{LAN}names = [\"w0\"]"), "lan.names: `w0` is not a name such as media1"),
        (LAN.replace("key = \"d.key\"\n", ""), "lan: `key` is missing"),
        (format!("{LAN}port = 1"), "no such key: `port`"),
    ];
    for (text, words) in cases {
        let said = fault(&text);
        assert!(said.contains(words), "{said}");
    }
}
