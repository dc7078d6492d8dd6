//! Messages that name their server: by an identifier, or by the call while it is remembered.

use super::*;

/// Two servers whose messages name them in the extension header, with a connection each.
fn identified() -> Rig {
    let mut rig = Rig::with(1, |proxy| proxy.identifier = true);
    rig.open();
    rig
}

const HEADER: &str = "X-Pointsman-System";

#[test]
fn a_server_and_its_caller_see_its_identifier_which_leads_the_next_call_to_it() {
    let mut rig = identified();
    let forged = invite(BY_UDP).replace("Contact:", "x-pointsman-system: me\r\nX-Pointsman-System: you\r\nContact:");
    let sent = one(rig.udp(&forged));
    let identifier = sent.field(HEADER).to_owned();
    assert_eq!(sent.text.to_lowercase().matches("x-pointsman-system").count(), 1, "{}", sent.text);
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!(ok.field(HEADER), identifier);
    let with =
        |call: &str, value: &str| another(BY_UDP, call).replace("Contact:", &format!("{HEADER}: {value}\r\nContact:"));
    for call in ["d", "e", "f"] {
        assert_eq!(one(rig.udp(&with(call, &identifier))).to, sent.to);
    }
    let others: Vec<_> = ["g", "h"].iter().map(|call| one(rig.udp(&with(call, "0000000000000"))).to).collect();
    assert_ne!(others[0], others[1], "one that is none of ours leads nowhere");
}

#[test]
fn a_request_inside_a_dialog_finds_its_server_by_the_header_alone() {
    let mut rig = identified();
    let sent = one(rig.udp(&invite(BY_UDP)));
    let identifier = sent.field(HEADER).to_owned();
    // Another dispatcher with the same key knows nothing of the call.
    let mut rig = identified();
    for (method, branch) in [("INFO", 2), ("ACK", 3), ("BYE", 4)] {
        let text = request(method, BY_UDP, branch, &[], ";tag=s");
        let found = one(rig.udp(&text.replace("Contact:", &format!("{HEADER}: {identifier}\r\nContact:"))));
        assert_eq!(found.shown(), format!("{method} to {}", sent.to));
    }
    assert_eq!(one(rig.udp(&request("BYE", BY_UDP, 5, &[], ";tag=s"))).shown(), "481 to 198.51.100.7:4711");
}

#[test]
fn an_identifier_in_a_datagram_counts_also_from_the_host_of_the_server_that_it_names() {
    let mut rig = identified();
    let first = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(first.to, "#1");
    let with = |call: &str| {
        another(BY_UDP, call).replace("Contact:", &format!("{HEADER}: {}\r\nContact:", first.field(HEADER)))
    };
    for call in ["d", "e", "f"] {
        assert_eq!(one(rig.datagram(&with(call), "192.0.2.11:5999")).to, "#1", "servers over TCP send no datagrams");
    }
    // A server that copies the header into a call of its own does not call itself.
    assert_ne!(one(rig.stream(&with("g"), ConnId(1), "192.0.2.11:5080")).to, "#1");
}

#[test]
fn a_caller_on_a_connection_of_an_earlier_dispatcher_finds_its_server_by_the_identifier_in_its_route() {
    let mut rig = Rig::connected(1);
    another_call(&mut rig);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(sent.to, "#102");
    let mut routes = sent.routes();
    routes.reverse();
    let mut later = Rig::later(1);
    let found = one(later.stream(&request("BYE", BY_TCP, 2, &routes, ";tag=s"), ConnId(9), CALLER));
    assert_eq!(found.shown(), "BYE to #102");
    assert!(!found.text.contains("\r\nRoute:"), "{}", found.text);
    // The server's own request has nobody to go to.
    routes.reverse();
    let bye = request("BYE", "TCP 192.0.2.12:5080", 3, &routes, ";tag=1");
    assert_eq!(later.stream(&bye, ConnId(102), "192.0.2.12:5080").len(), 1);
}

#[test]
fn a_request_inside_a_dialog_without_route_and_header_follows_the_call_while_it_is_remembered() {
    let mut rig = Rig::connected(1);
    let rules = Rules { remember: Duration::from_secs(600), ..rig.switch.dispatch().rules().clone() };
    rig.switch.reload(rules, Insert::None, 0, NOW);
    let sent = one(rig.udp(&invite(BY_UDP)));
    rig.responds(&sent, "200 OK");
    for (branch, at) in [(2, 599_000), (3, 1_198_000)] {
        rig.passes(at);
        let info = one(rig.udp(&request("INFO", BY_UDP, branch, &[], ";tag=s")));
        assert_eq!(info.shown(), "INFO to #1");
        rig.responds(&info, "200 OK");
    }
    rig.passes(1_800_000);
    assert_eq!(one(rig.udp(&request("INFO", BY_UDP, 4, &[], ";tag=s"))).shown(), "481 to 198.51.100.7:4711");
}
