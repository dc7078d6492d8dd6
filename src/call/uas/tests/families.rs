//! Two address families: a request of ours leaves by our socket of its destination's family.

use std::net::SocketAddr;

use super::*;

const V6: &str = "[2001:db8::1]:5071";

fn both() -> Identity {
    let own = vec!["192.0.2.1:5071".parse().unwrap(), V6.parse().unwrap()];
    Identity { own, ..identity() }
}

/// A call with these headers, whose Contact or first route is elsewhere than its source.
fn called(identity: Identity, headers: &[&str]) -> (Desk, CallKey) {
    let mut desk = Desk::with(identity, Limits::default(), SessionTimer { expires: None, min_se: 90 });
    let mut invite = invite();
    for line in headers {
        invite.contact &= !line.starts_with("Contact");
        invite = invite.header(line);
    }
    let (key, _) = desk.standing(&invite);
    (desk, key)
}

/// The way of our BYE, its source and destination, and its Via.
fn bye(identity: Identity, headers: &[&str]) -> (Hop, Option<String>, SocketAddr, String) {
    let (mut desk, key) = called(identity, headers);
    desk.act(|uas, now| uas.hang_up(key, now));
    let transmit = desk.outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.clone()),
        _ => None,
    });
    let transmit = transmit.expect("a BYE");
    let bye = String::from_utf8(transmit.bytes.to_vec()).unwrap();
    let via = header(&bye, "Via").unwrap().split(';').next().unwrap().to_owned();
    (transmit.hop, transmit.from.map(|ip| ip.to_string()), transmit.to, via)
}

#[test]
fn our_bye_to_a_contact_of_the_other_family_leaves_by_our_socket_of_that_family() {
    let headers = ["Contact: <sip:caller@[2001:db8::9]:5070>"];
    let expected = (Hop::Own(1), Some("2001:db8::1".into()), "[2001:db8::9]:5070".parse().unwrap());
    let (hop, from, to, via) = bye(both(), &headers);
    assert_eq!((hop, from, to), expected);
    assert_eq!(via, format!("SIP/2.0/UDP {V6}"));
}

#[test]
fn our_bye_to_a_first_route_of_the_other_family_leaves_by_our_socket_of_that_family() {
    let headers = ["Record-Route: <sip:[2001:db8::77]:5099;lr>"];
    let (hop, _, to, _) = bye(both(), &headers);
    assert_eq!((hop, to), (Hop::Own(1), "[2001:db8::77]:5099".parse().unwrap()));
}

#[test]
fn a_connection_to_the_other_family_names_our_address_of_that_family() {
    let (hop, _, _, via) = bye(both(), &["Contact: <sip:caller@[2001:db8::9]:5070;transport=tcp>"]);
    assert_eq!((hop, via), (Hop::Dial, format!("SIP/2.0/TCP {V6}")));
}

#[test]
fn a_socket_bound_to_all_addresses_is_called_by_an_address_of_the_host() {
    let own = vec!["0.0.0.0:5071".parse().unwrap(), "[::]:5071".parse().unwrap()];
    let hosts = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let headers = ["Contact: <sip:caller@[2001:db8::9]:5070>"];
    let (hop, from, _, via) = bye(Identity { own: own.clone(), hosts, ..identity() }, &headers);
    assert_eq!((hop, from, via), (Hop::Own(1), None, format!("SIP/2.0/UDP {V6}")));
    let advertise = vec!["2001:db8::5".parse().unwrap()];
    let (_, _, _, via) = bye(Identity { own, advertise, ..identity() }, &headers);
    assert_eq!(via, "SIP/2.0/UDP [2001:db8::5]:5071");
}

#[test]
fn to_a_contact_of_a_family_that_we_do_not_have_our_bye_goes_where_the_caller_was_heard() {
    let (hop, _, to, _) = bye(identity(), &["Contact: <sip:caller@[2001:db8::9]:5070>"]);
    assert_eq!((hop, to), (Hop::Own(0), "192.0.2.9:5070".parse().unwrap()));
}

#[test]
fn a_first_route_of_a_family_that_we_do_not_have_ends_the_matter() {
    let (mut desk, key) = called(identity(), &["Record-Route: <sip:[2001:db8::77]:5099;lr>"]);
    desk.act(|uas, now| uas.hang_up(key, now));
    assert_eq!(desk.sent().len(), 0);
    assert!(desk.uas.is_quiet());
    desk.assert_idle();
}

#[test]
fn our_bye_goes_to_maddr_where_the_contact_or_the_route_has_one() {
    for headers in [
        ["Contact: <sip:caller@192.0.2.9:5070;maddr=192.0.2.44>"],
        ["Record-Route: <sip:p.example.net:5070;lr;maddr=192.0.2.44>"],
    ] {
        let (_, _, to, _) = bye(both(), &headers);
        assert_eq!(to, "192.0.2.44:5070".parse().unwrap(), "{headers:?}");
    }
}
