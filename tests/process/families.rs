//! Two address families: signalling in one, media or our own requests in the other.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use crate::support::DEADLINE;
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};

/// A dispatcher that listens in both families, one worker.
fn both() -> Pointsman {
    // The loopback address of IPv6 is shared with other tests: the kernel chooses the ports.
    let setup = Setup { worker_ports: 0, ..Setup::new(1) };
    setup.with(["--listen", "udp:[::1]:0"]).start()
}

#[test]
fn a_bye_to_a_route_of_the_other_family_arrives_there() {
    let pointsman = both();
    let (phone, proxy) = (Phone::new(pointsman.address().ip()), Phone::new(Ipv6Addr::LOCALHOST.into()));
    let route = format!("<sip:{};lr>", proxy.address());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    let bye = proxy.expect("our BYE", |message| message.method() == "BYE");
    let via = bye.header("Via").unwrap();
    assert!(via.starts_with(&format!("SIP/2.0/UDP {};", bye.from)), "{via} from {}", bye.from);
    proxy.answer(&bye, 200);
}

#[test]
fn sound_of_the_other_family_than_the_signalling_comes_back() {
    let pointsman = both();
    let phone = Phone::new(pointsman.address().ip());
    let sound = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    sound.set_read_timeout(Some(DEADLINE)).unwrap();
    let dialog = phone.call(&phone.invite(pointsman.address(), sound.local_addr().ok()), pointsman.address());
    let body = dialog.answer.body();
    assert!(body.contains("c=IN IP6 ::1\r\n"), "{body}");
    let port = body.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
    let media: SocketAddr = (Ipv6Addr::LOCALHOST, port).into();
    let packet = [&[0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4][..], b"sound"].concat();
    sound.send_to(&packet, media).unwrap();
    let mut buffer = [0; 2_048];
    let (length, from) = sound.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[12..length], from), (&b"sound"[..], media));
}
