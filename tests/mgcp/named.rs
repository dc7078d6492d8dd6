//! Commands that name an endpoint or a connection go where it is.

use super::*;

#[test]
fn a_command_goes_where_its_endpoint_or_its_connection_is() {
    let mut rig = rig(3);
    let (token, connection) = (rig.token(1, 1), rig.connection(2, 1));
    for (id, verb) in (1..).zip(["MDCX", "DLCX", "RQNT", "EPCF", "AUEP", "AUCX"]) {
        let decision = rig.send(&command(verb, id, &format!("ann/{token}/17@ms"), ""));
        assert_eq!(given(decision), (1, Reason::Endpoint, 0), "{verb}");
    }
    let all = rig.send(&command("AUEP", 10, &format!("ann/{token}/*@ms"), ""));
    assert_eq!(given(all), (1, Reason::Endpoint, 0), "all of one worker's");
    let lines = format!("C: 1\nI: {connection}\n");
    assert_eq!(given(rig.send(&command("DLCX", 11, "*@ms", &lines))), (2, Reason::ConnectionId, 0));
    assert_eq!(given(rig.send(&command("MDCX", 12, "ann/9@ms", &lines.to_uppercase()))), (2, Reason::ConnectionId, 0));
}

#[test]
fn a_domain_of_a_workers_own_leads_to_it() {
    let mut rig = rig(3);
    for (id, domain) in (1..).zip(["w2.ms.example.net", "W2.MS.example.NET", "ms.example.net:2432", "[198.51.100.22]"])
    {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: 1\n"));
        assert_eq!(given(decision), (2, Reason::EndpointDomain, 0), "{domain}");
        let decision = rig.send(&command("CRCX", 100 + id, &format!("ann/$@{domain}"), &format!("C: {id}\n")));
        assert_eq!(given(decision), (2, Reason::EndpointDomain, 1), "{domain}");
    }
    for (id, domain) in (20..).zip(["w9.ms.example.net", "w2.other.net", "ms.example.net:2427", "[198.51.100.99]"]) {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: ff\n"));
        assert_eq!(answer(decision), (500, Reason::UnknownEndpoint), "{domain}");
    }
}

#[test]
fn a_port_that_every_worker_has_at_an_address_of_its_own_is_nobodys() {
    let mut rig = rig(3);
    // Asked at another listener than the one beside which they are.
    rig.arrival.local.set_port(3427);
    let decision = rig.send(&command("CRCX", 1, "ann/$@ms.example.net:2427", "C: 1\n"));
    assert_eq!(given(decision).1, Reason::SelectedGroup);
    rig.down(2);
    rig.up(2, 100);
    let decision = rig.send(&command("CRCX", 2, "ann/$@ms.example.net:2427", "C: 2\n"));
    assert_eq!(given(decision).1, Reason::SelectedGroup);
    let decision = rig.send(&command("CRCX", 3, "ann/$@ms.example.net:2432", "C: 3\n"));
    assert_eq!(given(decision), (2, Reason::EndpointDomain, 1));
}

#[test]
fn a_slot_without_a_worker_is_gone_but_any_endpoint_there_is_any_endpoint() {
    let mut rig = rig(2);
    rig.down(1);
    for (id, domain) in (1..).zip(["w1.ms.example.net", "ms.example.net:2431", "[198.51.100.21]"]) {
        let decision = rig.send(&command("MDCX", id, &format!("ann/17@{domain}"), "C: 1\n"));
        assert_eq!(answer(decision), (500, Reason::WorkerGone), "{domain}");
        let decision = rig.send(&command("CRCX", 100 + id, &format!("ann/$@{domain}"), &format!("C: {id}\n")));
        assert_eq!(given(decision), (0, Reason::SelectedGroup, 1), "{domain}");
    }
}

#[test]
fn a_call_that_a_worker_has_leads_what_names_nobody() {
    let mut rig = rig(3);
    let first = rig.hand(&crcx(1, "a"));
    rig.dispatch.on_group_open(first.worker, b"C:a", rig.now);
    assert_eq!(given(rig.send(&command("MDCX", 2, "ann/3@ms", "C: A\n"))), (first.worker.0, Reason::Group, 0));
    assert_eq!(given(rig.send(&command("CRCX", 3, "ann/3@ms", "C: A\n"))), (first.worker.0, Reason::Group, 0));
}

#[test]
fn a_name_that_no_worker_has_is_an_unknown_endpoint() {
    let mut rig = rig(2);
    let other = TokenKey::new([8; 32]).token(Incarnation::new(1));
    for (id, verb, name) in [
        (1, "CRCX", "ann/1@ms".to_owned()),
        (2, "MDCX", "ann/1@ms".to_owned()),
        (3, "RQNT", format!("ann/{other}/1@ms")),
        (4, "MDCX", "*@ms".to_owned()),
        (5, "AUCX", "*@ms".to_owned()),
        (6, "RQNT", "$@ms".to_owned()),
    ] {
        assert_eq!(
            answer(rig.send(&command(verb, id, &name, "C: f\n"))),
            (500, Reason::UnknownEndpoint),
            "{verb} {name}"
        );
    }
}
