//! Calls that systems make by themselves: real connections and datagrams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::Front;
use super::connections::Authority;
use super::names::{NameServer, SRV, srv};
use super::systems::System;
use crate::support::line::Line;
use crate::support::phone::{Phone, Received};
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, own_address, wait_for};

/// A connection that leaves from this host address.
fn line_from(from: SocketAddr, to: SocketAddr) -> Line {
    Line::of(socket_from(from.ip(), to))
}

fn socket_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// A request of a system, whose listener this is, in the dialog of this call.
fn request(method: &str, uri: &str, system: SocketAddr, (call_id, to_tag): (&str, &str), routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let cseq = if matches!(method, "INVITE" | "ACK") { 1 } else { 2 };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP {system};branch=z9hG4bK-{call_id}-{method}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:ivr@{system}>;tag=ivr\r\nTo: <sip:phone@example.net>{to_tag}\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:ivr@{system};transport=tcp>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The 200 of a phone.
fn ok(phone: &Phone, request: &Received) -> String {
    response(phone, request, "200 OK")
}

fn response(phone: &Phone, request: &Received, status: &str) -> String {
    let fields = ["Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = request.text.split("\r\n").filter(|line| fields.iter().any(|field| line.starts_with(field)));
    let tagged = |line: &str| match line.starts_with("To:") && !line.contains(";tag=") {
        true => format!("{line};tag=phone\r\n"),
        false => format!("{line}\r\n"),
    };
    let lines: String = lines.map(tagged).collect();
    format!("SIP/2.0 {status}\r\n{lines}Contact: <sip:phone@{}>\r\nContent-Length: 0\r\n\r\n", phone.address())
}

/// The parameter of To, and the Route values, of the caller of an answered call.
fn dialog(answered: &str) -> (String, Vec<&str>) {
    let field = |name: &str| answered.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let (_, tag) = field("To: ").split_once(";tag=").unwrap();
    (format!(";tag={tag}"), field("Record-Route: ").split(", ").collect::<Vec<_>>().into_iter().rev().collect())
}

fn is(method: &'static str, call_id: &str) -> impl Fn(&Received) -> bool {
    move |it| it.method() == method && it.header("Call-ID") == Some(call_id)
}

/// A dispatcher with two lanes in front of a system, and its address.
fn front(system: &System) -> (Front, SocketAddr) {
    front_as(system, Setup::new(0))
}

fn front_as(system: &System, setup: Setup) -> (Front, SocketAddr) {
    let settings = format!("[[proxy]]\nname = \"s\"\nuri = \"sip:{};transport=tcp\"\n", system.address());
    let setup = setup.lanes(2);
    let at = SocketAddr::new(setup.ip, setup.port);
    let front = Front::start_as(&settings, setup.with(["--listen", &format!("tcp:{at}")]));
    wait_for("a connection to the system", DEADLINE, || (front.rows()[0]["state"] == "up").then_some(()));
    (front, at)
}

#[test]
fn a_system_calls_phones_over_udp_from_its_own_connection_and_both_sides_reach_each_other() {
    let system = System::start(None);
    let (front, at) = front(&system);
    let phone = Phone::new(own_address().into());
    let mut line = line_from(system.address(), at);
    // Its calls are dealt with by either lane.
    for number in 0..8 {
        let call = &*format!("out-{number}");
        let uri = format!("sip:phone@{}", phone.address());
        line.send(request("INVITE", &uri, system.address(), (call, ""), &[]).as_bytes()).unwrap();
        let invite = phone.expect("the INVITE", is("INVITE", call));
        phone.send_bytes(ok(&phone, &invite).as_bytes(), invite.from);
        let answered = line.receive_final("INVITE").unwrap();
        assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        let recorded = answered.lines().find_map(|line| line.strip_prefix("Record-Route: ")).unwrap();
        let mut routes: Vec<&str> = recorded.split(", ").collect();
        let to_system = format!(
            "INFO sip:ivr@{0};transport=tcp SIP/2.0\r\nVia: SIP/2.0/UDP {1};rport;branch=z9hG4bK-{call}-info\r\n\
             Route: {2}\r\nRoute: {3}\r\nMax-Forwards: 70\r\nFrom: <sip:phone@example.net>;tag=phone\r\n\
             To: <sip:ivr@{0}>;tag=ivr\r\nCall-ID: {call}\r\nCSeq: 9 INFO\r\nContent-Length: 0\r\n\r\n",
            system.address(),
            phone.address(),
            routes[0],
            routes[1],
        );
        phone.send_bytes(to_system.as_bytes(), at);
        let is_answer = |it: &Received| it.status() == 200 && it.header("CSeq") == Some("9 INFO");
        phone.expect("the system's answer", |it| is_answer(it) && it.header("Call-ID") == Some(call));
        routes.reverse();
        for method in ["ACK", "BYE"] {
            let text = request(method, &uri, system.address(), (call, ";tag=phone"), &routes);
            line.send(text.as_bytes()).unwrap();
            let came = phone.expect(method, is(method, call));
            assert!(came.header("Route").is_none(), "{}", came.text);
            if method == "BYE" {
                phone.send_bytes(ok(&phone, &came).as_bytes(), came.from);
            }
        }
        assert!(line.receive_final("BYE").unwrap().starts_with("SIP/2.0 200 "));
    }
    let forwarded = &front.pointsman.stats("counters")["forwarded"];
    assert_eq!(forwarded["reasons"]["outbound-uri"], 24, "{forwarded}");
}

#[test]
fn calls_of_a_system_on_connections_that_the_settings_no_longer_ask_for_get_their_answers_there() {
    let system = System::played();
    let settings = |connections: usize| {
        let uri = format!("sip:{};transport=tcp", system.address());
        format!("[[proxy]]\nname = \"s\"\nuri = \"{uri}\"\nprobe = \"none\"\nconnections = {connections}\n")
    };
    let setup = Setup::new(0).lanes(1);
    let listen = format!("tcp:{}", SocketAddr::new(setup.ip, setup.port));
    let front = Front::start_as(&settings(4), setup.with(["--listen", &listen]));
    wait_for("four connections", DEADLINE, || (system.connections() == 4).then_some(()));
    let phone = Phone::new(own_address().into());
    let uri = format!("sip:phone@{}", phone.address());
    let calls: Vec<(&str, SocketAddr)> = ["first", "second"].into_iter().zip(system.peers()).collect();
    let rings = calls.iter().map(|&(call, peer)| {
        system.send(&request("INVITE", &uri, system.address(), (call, ""), &[]), peer);
        phone.expect("the INVITE", is("INVITE", call))
    });
    let rings: Vec<Received> = rings.collect();
    front.reload(&settings(1));
    wait_for("the end of connections without calls", DEADLINE, || (system.connections() < 4).then_some(()));
    for (ring, (call, peer)) in rings.iter().zip(&calls) {
        phone.send_bytes(ok(&phone, ring).as_bytes(), ring.from);
        let came = system.expect("the 200", |it| it.status() == 200 && it.header("Call-ID") == Some(call));
        assert_eq!(came.by, *peer);
    }
    wait_for("the end of the others", DEADLINE, || (system.connections() == 1).then_some(()));
}

#[test]
fn strangers_and_datagrams_from_a_systems_address_are_not_led_to_where_they_name() {
    let system = System::start(None);
    let (_front, at) = front(&system);
    let phone = Phone::new(own_address().into());
    let uri = format!("sip:phone@{}", phone.address());
    let route = format!("<sip:{};lr>", phone.address());
    let texts = |call: &str| {
        [("a", &uri, vec![]), ("b", &uri, vec![route.as_str()])].map(|(number, uri, routes)| {
            let (first, second) = (format!("{call}-{number}-1"), format!("{call}-{number}-2"));
            let invite = request("INVITE", uri, system.address(), (&first, ""), &routes);
            [invite, request("BYE", uri, system.address(), (&second, ";tag=phone"), &routes)]
        })
    };
    let mut stranger = line_from(SocketAddr::new(own_address().into(), 0), at);
    let spoofed = Phone::new(system.address().ip());
    for text in texts("tcp").concat() {
        stranger.send(text.as_bytes()).unwrap();
        let method = text.split(' ').next().unwrap();
        stranger.receive_final(method).unwrap();
    }
    for text in texts("udp").concat() {
        let (call, text) = (text.lines().find_map(|line| line.strip_prefix("Call-ID: ")).unwrap().to_owned(), &text);
        let text = text
            .replace("/TCP ", "/UDP ")
            .replace(&format!("UDP {};", system.address()), &format!("UDP {};rport;", spoofed.address()));
        spoofed.send_bytes(text.as_bytes(), at);
        spoofed.expect("an answer", |it| it.status() >= 200 && it.header("Call-ID") == Some(&call));
    }
    // The first that comes to the phone is the system's.
    let mut line = line_from(system.address(), at);
    line.send(request("INVITE", &uri, system.address(), ("own", ""), &[]).as_bytes()).unwrap();
    let first = phone.receive(DEADLINE).expect("the system's call");
    assert_eq!(first.header("Call-ID"), Some("own"), "{}", first.text);
}

#[test]
fn a_system_calls_a_phone_by_its_name() {
    let system = System::start(None);
    let (front, at) = front(&system);
    // The hosts file has this name.
    let phone = Phone::new(Ipv4Addr::LOCALHOST.into());
    let mut line = line_from(system.address(), at);
    let uri = format!("sip:phone@localhost:{}", phone.address().port());
    for number in 0..4 {
        let call = &*format!("named-{number}");
        line.send(request("INVITE", &uri, system.address(), (call, ""), &[]).as_bytes()).unwrap();
        let invite = phone.expect("the INVITE", is("INVITE", call));
        phone.send_bytes(ok(&phone, &invite).as_bytes(), invite.from);
        assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 200 "));
    }
    let missing = request("INVITE", "sip:phone@missing.invalid", system.address(), ("missing", ""), &[]);
    line.send(missing.as_bytes()).unwrap();
    assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 480 "));
    let returned = &front.pointsman.stats("counters")["returned"];
    assert_eq!(returned["reasons"]["outbound-looked-up"], 4, "{returned}");
}

#[test]
fn a_call_to_a_name_goes_on_from_an_address_that_is_silent_and_from_one_that_answers_503() {
    let Some(names) = NameServer::start() else { return };
    let phones = [(); 3].map(|()| Phone::new(own_address().into()));
    names.change(|zone| {
        let service = phones.iter().enumerate().map(|(place, phone)| {
            let target = format!("p{place}.example.net");
            zone.set_address(&target, phone.address());
            srv(10 * place as u16, 0, phone.address().port(), &target)
        });
        let service = service.collect();
        zone.set("_sip._udp.phones.example.net", SRV, service);
    });
    let system = System::start(None);
    let (_front, at) = front_as(&system, names.setup());
    let mut line = line_from(system.address(), at);
    let uri = "sip:phone@phones.example.net";
    line.send(request("INVITE", uri, system.address(), ("named", ""), &[]).as_bytes()).unwrap();
    let [silent, full, well] = &phones;
    let came = [silent, full].map(|phone| phone.expect("the INVITE", is("INVITE", "named")));
    full.send_bytes(response(full, &came[1], "503 Service Unavailable").as_bytes(), came[1].from);
    let ack = full.expect("the ACK", is("ACK", "named"));
    assert_eq!(ack.header("Via"), came[1].header("Via"), "hop by hop");
    let invite = well.expect("the INVITE", is("INVITE", "named"));
    well.send_bytes(response(well, &invite, "180 Ringing").as_bytes(), invite.from);
    // The first one has only been slow.
    silent.send_bytes(response(silent, &came[0], "180 Ringing").as_bytes(), came[0].from);
    let cancel = silent.expect("the CANCEL", is("CANCEL", "named"));
    assert_eq!(cancel.header("Via"), came[0].header("Via"), "RFC 3261 §9.1");
    well.send_bytes(ok(well, &invite).as_bytes(), invite.from);
    assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 200 "));
}

#[test]
fn a_system_calls_a_phone_over_tcp_by_a_connection_that_is_opened_for_it_and_hears_when_there_is_none() {
    let system = System::start(None);
    let (front, at) = front(&system);
    // It answers every request.
    let phone = System::start(None);
    let uri = format!("sip:phone@{};transport=tcp", phone.address());
    let mut line = line_from(system.address(), at);
    for number in 0..8 {
        let call = &*format!("tcp-{number}");
        line.send(request("INVITE", &uri, system.address(), (call, ""), &[]).as_bytes()).unwrap();
        let answered = line.receive_final("INVITE").unwrap();
        assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
        let (tag, routes) = dialog(&answered);
        for method in ["ACK", "BYE"] {
            let text = request(method, &uri, system.address(), (call, &tag), &routes);
            line.send(text.as_bytes()).unwrap();
        }
        assert!(line.receive_final("BYE").unwrap().starts_with("SIP/2.0 200 "));
    }
    let counters = front.pointsman.stats("counters");
    let connected = counters["returned"]["reasons"]["outbound-connected"].as_u64().unwrap();
    assert!((1..=2).contains(&connected), "each lane has one connection: {counters}");
    drop(phone);
    line.send(request("INVITE", &uri, system.address(), ("gone", ""), &[]).as_bytes()).unwrap();
    let refused = line.receive_final("INVITE").unwrap();
    assert!(refused.starts_with("SIP/2.0 480 ") || refused.starts_with("SIP/2.0 503 "), "{refused}");
}

#[test]
fn a_call_whose_name_is_looked_up_during_a_takeover_goes_there_afterwards() {
    let Some(names) = NameServer::start() else { return };
    names.is_waited_for();
    let system = System::start(None);
    let (mut front, at) = front_as(&system, names.setup());
    let (phone, name) = (Phone::new(own_address().into()), "phones.example.net");
    names.change(|zone| {
        zone.set_address(name, phone.address());
        zone.keep_silent(name, true);
    });
    let mut line = line_from(system.address(), at);
    let uri = format!("sip:phone@{name}:{}", phone.address().port());
    line.send(request("INVITE", &uri, system.address(), ("sought", ""), &[]).as_bytes()).unwrap();
    names.wait_for_question(name);
    names.change(|zone| zone.keep_silent(name, false));
    front.pointsman.take_over();
    let invite = phone.expect("the INVITE", is("INVITE", "sought"));
    phone.send_bytes(ok(&phone, &invite).as_bytes(), invite.from);
    assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 200 "));
}

#[test]
fn a_call_to_a_phone_over_tcp_outlives_a_takeover_on_its_connection() {
    let system = System::start(None);
    let (mut front, at) = front(&system);
    let phone = System::played();
    let uri = format!("sip:phone@{};transport=tcp", phone.address());
    let mut line = line_from(system.address(), at);
    line.send(request("INVITE", &uri, system.address(), ("over", ""), &[]).as_bytes()).unwrap();
    let invite = phone.expect("the INVITE", is("INVITE", "over"));
    front.pointsman.take_over();
    phone.respond(&invite, 200, "");
    let answered = line.receive_final("INVITE").unwrap();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let (tag, routes) = dialog(&answered);
    for method in ["ACK", "BYE"] {
        let text = request(method, &uri, system.address(), ("over", &tag), &routes);
        line.send(text.as_bytes()).unwrap();
        let came = phone.expect(method, is(method, "over"));
        assert_eq!(came.by, invite.by, "by the connection of the INVITE");
        if method == "BYE" {
            phone.respond(&came, 200, "");
        }
    }
    assert!(line.receive_final("BYE").unwrap().starts_with("SIP/2.0 200 "));
}

#[test]
fn a_systems_call_that_rings_at_a_phone_over_tcp_during_a_takeover_is_cancelled_there_afterwards() {
    let system = System::start(None);
    let (mut front, at) = front(&system);
    let phone = System::played();
    let uri = format!("sip:phone@{};transport=tcp", phone.address());
    let mut line = line_from(system.address(), at);
    let text = request("INVITE", &uri, system.address(), ("rings", ""), &[]);
    line.send(text.as_bytes()).unwrap();
    let invite = phone.expect("the INVITE", is("INVITE", "rings"));
    phone.respond(&invite, 180, "");
    while !line.receive().unwrap().starts_with("SIP/2.0 180 ") {}
    front.pointsman.take_over();
    line.send(text.replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL").as_bytes()).unwrap();
    assert!(line.receive_final("CANCEL").unwrap().starts_with("SIP/2.0 200 "));
    let cancel = phone.expect("the CANCEL", is("CANCEL", "rings"));
    assert_eq!(cancel.message.header("Via"), invite.message.header("Via"));
    phone.respond(&cancel, 200, "");
    phone.respond(&invite, 487, "");
    phone.expect("the ACK", is("ACK", "rings"));
    assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 487 "));
}

#[test]
fn a_system_is_known_by_its_certificate_wherever_its_connection_comes_from() {
    let ca = Authority::new();
    let system = System::start(Some(ca.certify("system.example.test")));
    let uri = format!("sip:{};transport=tls", system.address());
    let proxy = format!("[[proxy]]\nname = \"s\"\nuri = \"{uri}\"\ntls-name = \"system.example.test\"\n");
    let setup = Setup::new(0).lanes(2);
    let at = SocketAddr::new(setup.ip, setup.port);
    let front = Front::start_as(&(proxy + &ca.tls()), setup.with(["--listen", &format!("tls:{at}")]));
    wait_for("a connection to the system", DEADLINE, || (front.rows()[0]["state"] == "up").then_some(()));
    let phone = Phone::new(own_address().into());
    let elsewhere = IpAddr::from([127, 0, 0, 5]);
    for (number, name) in ["system.example.test", "other.example.test", "system.example.test"].into_iter().enumerate() {
        let call = &*format!("certified-{number}");
        let mut line = Line::secure(socket_from(elsewhere, at), &ca.client(name), "edge.example.test").unwrap();
        let to = format!("sip:phone@{}", phone.address());
        let invite = request("INVITE", &to, system.address(), (call, ""), &[]).replace("SIP/2.0/TCP", "SIP/2.0/TLS");
        line.send(invite.as_bytes()).unwrap();
        if name.starts_with("system") {
            let invite = phone.expect("the INVITE", is("INVITE", call));
            phone.send_bytes(ok(&phone, &invite).as_bytes(), invite.from);
        }
        assert!(line.receive_final("INVITE").unwrap().starts_with("SIP/2.0 200 "), "{name}");
    }
    let reasons = &front.pointsman.stats("counters")["forwarded"]["reasons"];
    assert_eq!((&reasons["outbound-uri"], &reasons["proxied"]), (&2.into(), &1.into()), "{reasons}");
}

/// A dispatcher in front of a system over this transport, which trusts this CA and takes SIP over TCP and TLS.
fn secure_front(system: &System, transport: &str, ca: &Authority, setup: Setup) -> (Front, [SocketAddr; 2]) {
    let uri = format!("sip:{};transport={transport}", system.address());
    let name = if transport == "tls" { "tls-name = \"system.example.test\"" } else { "" };
    let proxy = format!("[[proxy]]\nname = \"s\"\nuri = \"{uri}\"\n{name}\n");
    let setup = setup.lanes(2);
    let at = [setup.port, setup.port + 1].map(|port| SocketAddr::new(setup.ip, port));
    let listen = [format!("tcp:{}", at[0]), format!("tls:{}", at[1])];
    let front = Front::start_as(&(proxy + &ca.tls()), setup.with(["--listen", &listen[0], "--listen", &listen[1]]));
    wait_for("a connection to the system", DEADLINE, || (front.rows()[0]["state"] == "up").then_some(()));
    (front, at)
}

#[test]
fn a_system_calls_a_phone_over_tls_that_shows_a_certificate_for_the_host_of_the_uri_and_no_other() {
    let Some(names) = NameServer::start() else { return };
    let ca = Authority::new();
    let (system, phone) = (System::start(None), System::start(Some(ca.certify("phone.example.test"))));
    names.change(|zone| {
        zone.set_address("phone.example.test", phone.address());
        zone.set_address("other.example.test", phone.address());
    });
    let (mut front, [at, _]) = secure_front(&system, "tcp", &ca, names.setup());
    let mut line = line_from(system.address(), at);
    let uri = |host: &str| format!("sip:phone@{host}:{};transport=tls", phone.address().port());
    line.send(request("INVITE", &uri("phone.example.test"), system.address(), ("tls", ""), &[]).as_bytes()).unwrap();
    let answered = line.receive_final("INVITE").unwrap();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let (tag, routes) = dialog(&answered);
    // The session of TLS stays behind, and what follows is for the same host.
    let mut old = front.pointsman.take_over_and_keep();
    let contact = uri(&phone.address().ip().to_string());
    for method in ["ACK", "BYE"] {
        line.send(request(method, &contact, system.address(), ("tls", &tag), &routes).as_bytes()).unwrap();
    }
    assert!(line.receive_final("BYE").unwrap().starts_with("SIP/2.0 200 "));
    for (call, host) in [("other", "other.example.test"), ("address", &phone.address().ip().to_string())] {
        line.send(request("INVITE", &uri(host), system.address(), (call, ""), &[]).as_bytes()).unwrap();
        let refused = line.receive_final("INVITE").unwrap();
        assert!(refused.starts_with("SIP/2.0 480 "), "{host}: {refused}");
    }
    let returned = &front.pointsman.stats("counters")["returned"];
    assert_eq!(returned["reasons"]["outbound-unreachable"], 2, "{returned}");
    phone.hang_up();
    let status = wait_for("the end of the old process", DEADLINE, || old.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn a_system_over_tls_calls_a_sips_uri_over_tls() {
    let Some(names) = NameServer::start() else { return };
    let ca = Authority::new();
    let system = System::start(Some(ca.certify("system.example.test")));
    let phone = System::start(Some(ca.certify("phone.example.test")));
    names.change(|zone| {
        let target = "host.example.test";
        zone.set_address(target, phone.address());
        zone.set("_sips._tcp.phone.example.test", SRV, vec![srv(10, 0, phone.address().port(), target)]);
    });
    let (_front, [_, at]) = secure_front(&system, "tls", &ca, names.setup());
    let client = ca.client("system.example.test");
    let socket = socket_from(system.address().ip(), at);
    let mut line = Line::secure(socket, &client, "edge.example.test").unwrap();
    let invite = request("INVITE", "sips:phone@phone.example.test", system.address(), ("sips", ""), &[]);
    line.send(invite.replace("SIP/2.0/TCP", "SIP/2.0/TLS").as_bytes()).unwrap();
    let answered = line.receive_final("INVITE").unwrap();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    assert!(answered.contains("Record-Route: <sips:"), "{answered}");
}
