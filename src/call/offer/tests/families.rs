//! Streams in the address family that the peer names for them (RFC 6157 §4).

use super::*;

const OTHER: &str = "2001:db8::9";
const IN_IP6: &str = "m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\n";

fn both() -> Local {
    let mut local = local();
    local.set_other(OTHER.parse().unwrap());
    local
}

/// The answer to an offer of these lines, by a host that has ports in both families.
fn answer_in(local: &mut Local, lines: &str) -> Answer {
    let (offer, capabilities) = (parse(lines), Capabilities::default());
    let lines = offer.lines_to_open(&capabilities, local).unwrap();
    let ports = (20_000..).step_by(2);
    let rtp: Vec<SocketAddr> =
        lines.into_iter().zip(ports).map(|(line, port)| (offer.address_at(line, local), port).into()).collect();
    offer.answer(&capabilities, local, &rtp).unwrap()
}

#[test]
fn a_stream_of_the_other_family_is_answered_in_that_family() {
    assert_eq!(parse(IN_IP6).other_family(&local()), Some("2001:db8::1".parse().unwrap()));
    let answer = answer_in(&mut both(), IN_IP6);
    assert!(media_of(&answer).starts_with("m=audio 20000 RTP/AVP 0\nc=IN IP6 2001:db8::9\n"), "{}", media_of(&answer));
    assert_eq!(first(&answer).terms.remote, Some(addr("[2001:db8::1]:4000")));
    assert_eq!(first(&answer).rtp, Some(addr("[2001:db8::9]:20000")));
}

#[test]
fn a_stream_of_a_family_that_the_host_does_not_have_is_refused() {
    let refused = parse(IN_IP6).lines_to_open(&Capabilities::default(), &local());
    assert_eq!(refused, Err(OfferError::NothingCommon(LineRefusal::Address)));
    assert_eq!(refused.unwrap_err().status(), 488);
}

#[test]
fn each_stream_has_the_family_that_its_own_line_names() {
    let answer = answer_in(&mut both(), &format!("m=audio 4002 RTP/AVP 0\n{IN_IP6}"));
    let rtp: Vec<_> = answer.streams.iter().map(|stream| stream.rtp.unwrap()).collect();
    assert_eq!(rtp, [addr("192.0.2.9:20000"), addr("[2001:db8::9]:20002")]);
}

#[test]
fn a_held_stream_keeps_its_family() {
    let mut local = both();
    answer_in(&mut local, IN_IP6);
    for held in ["m=audio 4000 RTP/AVP 0\nc=IN IP6 ::\n", "m=audio 4000 RTP/AVP 0\nc=IN IP6 ::\na=inactive\n"] {
        let answer = answer_in(&mut local, held);
        assert!(media_of(&answer).contains("\nc=IN IP6 2001:db8::9\n"), "{}", media_of(&answer));
    }
}

#[test]
fn our_offer_in_a_call_names_the_family_that_its_stream_has() {
    let (mut local, capabilities) = (both(), Capabilities::default());
    answer_in(&mut local, IN_IP6);
    assert_eq!(local.address_at(0), OTHER.parse::<IpAddr>().unwrap());
    let offer = capabilities.offer(&mut local, &[addr("[2001:db8::9]:20000")]);
    assert!(text(&offer).contains("\nc=IN IP6 2001:db8::9\n"), "{}", text(&offer));
    // The answer must be of the same family as our socket.
    let foreign = capabilities.read_answer(&mut local, &sdp("m=audio 4000 RTP/AVP 0\n"));
    assert_eq!(foreign, Err(OfferError::NothingCommon(LineRefusal::Address)));
}
