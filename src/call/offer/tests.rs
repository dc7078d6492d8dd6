mod families;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::media::{Payload, Payloads, Terms};

const OURS: &str = "192.0.2.9";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn local() -> Local {
    Local::new(17, OURS.parse().unwrap())
}

/// A description with the usual head and then these lines.
fn sdp(lines: &str) -> Vec<u8> {
    let head = "v=0\no=alice 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n";
    format!("{head}{lines}").replace('\n', "\r\n").into_bytes()
}

fn parse(lines: &str) -> Offer<'static> {
    Offer::parse(sdp(lines).leak()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

/// `count` addresses: ports 20000, 20002, …
fn rtp(count: usize) -> Vec<SocketAddr> {
    (0..count).map(|n| SocketAddr::new(OURS.parse().unwrap(), 20_000 + 2 * n as u16)).collect()
}

fn answer_with(local: &mut Local, offer: &Offer) -> Result<Answer, OfferError> {
    let capabilities = Capabilities::default();
    let lines = offer.lines_to_open(&capabilities, local)?;
    offer.answer(&capabilities, local, &rtp(lines.len()))
}

fn answer(lines: &str) -> Answer {
    answer_with(&mut local(), &parse(lines)).unwrap()
}

/// The m-lines and the lines after them.
fn media_of(answer: &Answer) -> String {
    let sdp = text(&answer.sdp);
    sdp.find("m=").map_or(String::new(), |begin| sdp[begin..].to_owned())
}

fn first(answer: &Answer) -> &Stream {
    &answer.streams[0]
}

fn payloads(list: &[(Codec, u8)]) -> Payloads {
    list.iter().map(|(codec, n)| Payload { codec: *codec, receive: *n, send: *n }).collect()
}

#[test]
fn a_plain_call_is_answered_in_full() {
    let answer =
        answer("m=audio 4000 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\n");
    assert_eq!(
        text(&answer.sdp),
        "v=0\no=- 17 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\nm=audio 20000 RTP/AVP 0 101\n\
         a=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=sendrecv\n"
    );
    let terms = Terms {
        direction: Direction::SendRecv,
        remote: Some(addr("192.0.2.1:4000")),
        payloads: payloads(&[(Codec::Pcmu, 0), (Codec::TelephoneEvent, 101)]),
    };
    assert_eq!(answer.terms(), [(0, terms)]);
    assert_eq!(first(&answer).rtp, Some(addr("192.0.2.9:20000")));
    assert_eq!(first(&answer).ptime, Some(20));
}

#[test]
fn an_answer_names_the_first_sound_format_alone_and_events_by_the_offerers_numbers() {
    // RFC 3264 §6.1: the answer SHOULD list formats in the order of the offer, and a format keeps its number. Callers
    // that are left a choice of two ask again which one is meant.
    let answer =
        answer("m=audio 4000 RTP/AVP 18 98 8 97 0\na=rtpmap:97 TELEPHONE-EVENT/8000\na=rtpmap:98 opus/48000/2\n");
    assert!(media_of(&answer).starts_with("m=audio 20000 RTP/AVP 8 97\n"), "{}", media_of(&answer));
}

#[test]
fn a_dynamic_number_can_stand_for_g711_and_a_static_one_for_something_else() {
    let dynamic = answer("m=audio 4000 RTP/AVP 0 110\na=rtpmap:0 G729/8000\na=rtpmap:110 pcma/8000/1\n");
    assert_eq!(first(&dynamic).terms.payloads, payloads(&[(Codec::Pcma, 110)]));
    let twice = answer("m=audio 4000 RTP/AVP 110 0\na=rtpmap:110 PCMU/8000\n");
    assert_eq!(first(&twice).terms.payloads, payloads(&[(Codec::Pcmu, 110)]));
}

#[test]
fn directions_are_answered_from_the_other_side() {
    // RFC 3264 §6.1.
    for (offered, answered) in
        [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")]
    {
        let at_media = answer(&format!("m=audio 4000 RTP/AVP 0\na={offered}\n"));
        let at_session = answer(&format!("a={offered}\nm=audio 4000 RTP/AVP 0\n"));
        for answer in [at_media, at_session] {
            assert!(media_of(&answer).ends_with(&format!("a={answered}\n")), "{offered}: {}", media_of(&answer));
            assert_eq!(first(&answer).terms.direction.attribute(), answered);
        }
    }
    let both = answer("a=inactive\nm=audio 4000 RTP/AVP 0\na=sendonly\n");
    assert_eq!(first(&both).terms.direction, Direction::RecvOnly, "the stream's own word counts");
}

#[test]
fn our_own_will_narrows_the_direction() {
    let capabilities = Capabilities { direction: Direction::SendOnly, ..Capabilities::default() };
    let offer = parse("m=audio 4000 RTP/AVP 0\n");
    let answer = offer.answer(&capabilities, &mut local(), &rtp(1)).unwrap();
    assert_eq!(first(&answer).terms.direction, Direction::SendOnly);
    let offer = parse("m=audio 4000 RTP/AVP 0\na=sendonly\n");
    assert_eq!(offer.lines_to_open(&capabilities, &local()), Ok(vec![]), "nothing is left of it: inactive");
}

#[test]
fn an_inactive_stream_needs_no_port_and_stays_a_stream() {
    let offer = parse("m=audio 4000 RTP/AVP 0\na=inactive\n");
    assert_eq!(offer.lines_to_open(&Capabilities::default(), &local()), Ok(vec![]));
    let answer = answer_with(&mut local(), &offer).unwrap();
    assert!(media_of(&answer).starts_with("m=audio 9 RTP/AVP 0\n"));
    assert_eq!(first(&answer).rtp, None);
    assert_eq!(answer.terms(), []);
}

#[test]
fn an_address_of_zeroes_means_that_nothing_is_sent() {
    // RFC 3264 §8.4; RFC 6157 §4.1 for IPv6 and `.invalid`.
    for nowhere in ["IP4 0.0.0.0", "IP6 ::", "IP4 nobody.invalid", "IP6 nobody.INVALID."] {
        let offer = parse(&format!("m=audio 4000 RTP/AVP 0\nc=IN {nowhere}\n"));
        let answer = answer_with(&mut local(), &offer).unwrap();
        assert_eq!(first(&answer).terms.direction, Direction::RecvOnly, "{nowhere}");
        assert_eq!(first(&answer).terms.remote, None);
    }
}

#[test]
fn a_media_line_that_is_not_taken_is_refused_in_its_place() {
    // RFC 3264 §6: as many m-lines as the offer, in its order; port 0 refuses, and keeps media, transport and a format.
    let answer = answer(
        "m=video 5000 RTP/AVP 31 34\nm=audio 4000 RTP/AVP 0\nm=application 6000 UDP/BFCP *\nm=audio 4002 RTP/AVP 18\n\
         m=image 4004 udptl t38\nm=audio 4006 RTP/SAVP 0\nm=audio 0 RTP/AVP 0\nm=message 7000 TCP/MSRP *\n",
    );
    let lines: Vec<String> =
        media_of(&answer).lines().filter(|line| line.starts_with("m=")).map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/AVP 31 34",
            "m=audio 20000 RTP/AVP 0",
            "m=application 0 UDP/BFCP *",
            "m=audio 0 RTP/AVP 18",
            "m=image 0 udptl t38",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=message 0 TCP/MSRP *",
        ]
    );
    assert_eq!(answer.streams.len(), 1);
    assert_eq!(first(&answer).line, 1);
}

#[test]
fn several_audio_streams_get_a_port_each_up_to_the_limit() {
    let answer = answer(&"m=audio 4000 RTP/AVP 0\n".repeat(5));
    let rtp: Vec<_> = answer.streams.iter().map(|stream| (stream.line, stream.rtp.unwrap().port())).collect();
    assert_eq!(rtp, [(0, 20_000), (1, 20_002), (2, 20_004), (3, 20_006)]);
    assert_eq!(media_of(&answer).matches("m=audio 0 ").count(), 1);
}

#[test]
fn ports_go_to_the_lines_that_need_them() {
    let answer = answer(
        "m=audio 4000 RTP/AVP 18\nm=audio 4002 RTP/AVP 0\na=inactive\nm=audio 4004 RTP/AVP 0\nm=audio 4006 RTP/AVP 0\n",
    );
    let rtp: Vec<_> = answer.streams.iter().map(|stream| (stream.line, stream.rtp.map(|rtp| rtp.port()))).collect();
    assert_eq!(rtp, [(1, None), (2, Some(20_000)), (3, Some(20_002))]);
}

#[test]
fn a_stream_for_which_there_is_no_port_is_refused() {
    let offer = parse("m=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\n");
    let answer = offer.answer(&Capabilities::default(), &mut local(), &rtp(1)).unwrap();
    assert_eq!(answer.streams.len(), 1);
    assert!(media_of(&answer).ends_with("m=audio 0 RTP/AVP 0\n"));
}

#[test]
fn a_refused_line_is_repeated_with_one_space_between_its_fields() {
    let answer = answer("m=audio 4000 RTP/AVP 0\nm=video  5000   RTP/AVP  31  32 \n");
    assert!(media_of(&answer).ends_with("m=video 0 RTP/AVP 31 32\n"), "{}", media_of(&answer));
}

#[test]
fn when_nothing_can_be_answered_the_reason_says_why() {
    for (lines, refusal, code) in [
        ("m=audio 4000 RTP/AVP 18\n", LineRefusal::Format, 305),
        ("m=audio 4000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000\n", LineRefusal::Format, 305),
        ("m=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/16000\n", LineRefusal::Format, 305),
        ("m=video 4000 RTP/AVP 31\n", LineRefusal::MediaType, 304),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 111 0\na=ice-ufrag:x\na=fingerprint:sha-256 00\n", LineRefusal::Transport, 302),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\n", LineRefusal::Address, 301),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 224.2.1.1/127\n", LineRefusal::Multicast, 330),
        ("m=audio 4000 RTP/AVP 0\nc=IN IP4 999.1.1.1\n", LineRefusal::Address, 301),
        ("m=audio 0 RTP/AVP 0\nm=video 4000 RTP/AVP 31\n", LineRefusal::MediaType, 304),
    ] {
        let error = answer_with(&mut local(), &parse(lines)).unwrap_err();
        assert_eq!(error, OfferError::NothingCommon(refusal), "{lines}");
        assert_eq!((error.status(), error.warning().map(|(code, _)| code)), (488, Some(code)));
    }
}

#[test]
fn an_offer_without_streams_or_with_disabled_ones_only_is_answered() {
    // RFC 3264 §5: "zero or more media streams"; a port of 0 asks for nothing.
    assert_eq!(media_of(&answer("")), "");
    assert_eq!(media_of(&answer("m=audio 0 RTP/AVP 18\n")), "m=audio 0 RTP/AVP 18\n");
}

#[test]
fn broken_descriptions_are_errors_with_a_status() {
    for (body, status) in [
        (&b""[..], 400),
        (b"hello", 400),
        (b"v=7\r\n", 400),
        (b"v=0\r\nm=\r\n", 400),
        (b"v=0\r\nm=audio 4\x000 RTP/AVP 0\r\n", 400),
    ] {
        assert_eq!(Offer::parse(body).unwrap_err().status(), status, "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_media_line_without_formats_or_with_an_impossible_port_costs_the_line_and_not_the_call() {
    for broken in
        ["video 36924 RTP/AVP", "video 0 RTP/AVP", "video 70000 RTP/AVP 31", "video 5000", "video -1 RTP/AVP 0"]
    {
        let answer = answer(&format!("m={broken}\nm=audio 4000 RTP/AVP 0\n"));
        let media = media_of(&answer);
        assert!(media.starts_with("m=video 0 RTP/AVP ") && media.contains("\nm=audio 20000 RTP/AVP 0\n"), "{media}");
        assert_eq!((answer.streams.len(), first(&answer).line), (1, 1), "{broken}");
    }
    for (alone, refusal) in [
        ("m=audio 4000 RTP/AVP\n", LineRefusal::Format),
        ("m=audio 70000 RTP/AVP 0\n", LineRefusal::Port),
        ("m=audio 4000\n", LineRefusal::Transport),
    ] {
        assert_eq!(answer_with(&mut local(), &parse(alone)), Err(OfferError::NothingCommon(refusal)));
    }
}

#[test]
fn ipv6_is_answered_with_ipv6() {
    let body = "v=0\no=a 1 1 IN IP6 2001:db8::1\ns=-\nc=IN IP6 2001:db8::1\nt=0 0\nm=audio 4000 RTP/AVP 0\n";
    let offer = Offer::parse(body.as_bytes()).unwrap();
    let mut local = Local::new(17, "2001:db8::9".parse().unwrap());
    let answer = offer.answer(&Capabilities::default(), &mut local, &[addr("[2001:db8::9]:20000")]).unwrap();
    assert!(text(&answer.sdp).contains("o=- 17 1 IN IP6 2001:db8::9\ns=-\nc=IN IP6 2001:db8::9\n"));
    assert_eq!(first(&answer).terms.remote, Some(addr("[2001:db8::1]:4000")));
}

#[test]
fn a_host_name_is_taken_as_it_is() {
    let answer = answer("m=audio 4000 RTP/AVP 0\nc=IN IP4 pc33.example.com\n");
    assert_eq!(first(&answer).terms.remote, None);
    assert_eq!(first(&answer).remote_name, Some(("pc33.example.com".into(), 4000)));
    assert_eq!(first(&answer).terms.direction, Direction::SendRecv);
}

#[test]
fn a_stream_received_elsewhere_has_its_own_connection_line() {
    let offer = parse("m=audio 4000 RTP/AVP 0\n");
    let answer = offer.answer(&Capabilities::default(), &mut local(), &[addr("198.51.100.4:20000")]).unwrap();
    assert!(media_of(&answer).starts_with("m=audio 20000 RTP/AVP 0\nc=IN IP4 198.51.100.4\n"));
}

#[test]
fn the_answer_repeats_the_times_of_the_offer() {
    // RFC 3264 §6.
    let body = "v=0\no=a 1 1 IN IP4 x\ns=-\nc=IN IP4 192.0.2.1\nt=3338481189 3370017201\nm=audio 4000 RTP/AVP 0\n";
    let answer = answer_with(&mut local(), &Offer::parse(body.as_bytes()).unwrap()).unwrap();
    assert!(text(&answer.sdp).contains("\nt=3338481189 3370017201\n"));
}

#[test]
fn packet_times_outside_reason_are_as_if_they_were_not_there() {
    for (attributes, ptime) in [
        ("a=ptime:30\n", Some(30)),
        ("a=ptime:0\n", None),
        ("a=ptime:60000\n", None),
        ("a=ptime:x\n", None),
        ("a=ptime:60\na=maxptime:40\n", Some(40)),
    ] {
        let answer = answer(&format!("m=audio 4000 RTP/AVP 0\n{attributes}"));
        assert_eq!(first(&answer).ptime, ptime, "{attributes}");
    }
}

#[test]
fn the_version_rises_with_every_change_and_only_then() {
    // RFC 3264 §8.
    let mut local = local();
    let plain = parse("m=audio 4000 RTP/AVP 0\n");
    let first = answer_with(&mut local, &plain).unwrap();
    assert_eq!(answer_with(&mut local, &plain).unwrap().sdp, first.sdp);
    assert_eq!(local.version(), 1);
    answer_with(&mut local, &parse("m=audio 4000 RTP/AVP 0\na=sendonly\n")).unwrap();
    assert_eq!(local.version(), 2);
    let again = answer_with(&mut local, &plain).unwrap();
    assert_eq!(local.version(), 3);
    assert!(text(&again.sdp).contains("o=- 17 3 IN IP4"));
    assert!(answer_with(&mut local, &parse("m=audio 4000 RTP/AVP 18\n")).is_err());
    assert_eq!(local.version(), 3, "what is refused is not said");
}

#[test]
fn our_own_offer_asks_for_one_stream_with_all_we_can() {
    let capabilities = Capabilities::default();
    let mut local = local();
    assert_eq!(capabilities.lines_to_offer(&local), [0]);
    let offer = capabilities.offer(&mut local, &rtp(1));
    assert_eq!(
        text(&offer),
        "v=0\no=- 17 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\nm=audio 20000 RTP/AVP 0 8 101\n\
         a=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n\
         a=ptime:20\na=sendrecv\n"
    );
    let answer = sdp("m=audio 4000 RTP/AVP 8 96\na=rtpmap:96 telephone-event/8000\na=sendonly\n");
    let streams = capabilities.read_answer(&mut local, &answer).unwrap();
    let expected = Terms {
        direction: Direction::RecvOnly,
        remote: Some(addr("192.0.2.1:4000")),
        // RFC 3264 §6.1: a number in an answer is what the answerer wants to receive.
        payloads: [
            Payload { codec: Codec::Pcma, receive: 8, send: 8 },
            Payload { codec: Codec::TelephoneEvent, receive: 101, send: 96 },
        ]
        .into_iter()
        .collect(),
    };
    assert_eq!(terms_of(&streams), [(0, expected)]);
}

#[test]
fn an_answer_that_does_not_fit_our_offer_is_an_error() {
    let capabilities = Capabilities::default();
    let mut local = local();
    capabilities.offer(&mut local, &rtp(1));
    let two = sdp("m=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\n");
    assert_eq!(capabilities.read_answer(&mut local, &two), Err(OfferError::LineCount { offered: 1, answered: 2 }));
    let other = sdp("m=audio 4000 RTP/AVP 18\n");
    assert_eq!(capabilities.read_answer(&mut local, &other), Err(OfferError::NothingCommon(LineRefusal::Format)));
    let refused = sdp("m=audio 0 RTP/AVP 0\n");
    assert_eq!(capabilities.read_answer(&mut local, &refused), Err(OfferError::NothingCommon(LineRefusal::Disabled)));
}

#[test]
fn a_new_offer_in_a_call_keeps_its_lines_their_places_and_their_numbers() {
    // RFC 3264 §8: never fewer lines; §8.3.2: a number keeps its meaning.
    let capabilities = Capabilities::default();
    let mut local = local();
    let offer = parse("m=video 5000 RTP/AVP 31\nm=audio 4000 RTP/AVP 101 8\na=rtpmap:101 PCMA/8000\na=sendonly\n");
    answer_with(&mut local, &offer).unwrap();
    assert_eq!(capabilities.lines_to_offer(&local), [1]);
    let again = text(&capabilities.offer(&mut local, &rtp(1)));
    assert!(again.contains("\no=- 17 2 "), "{again}");
    assert!(again.contains("m=video 0 RTP/AVP 31\nm=audio 20000 RTP/AVP 101 0 96\n"), "{again}");
    assert!(again.contains("a=rtpmap:101 PCMA/8000\n") && again.contains("a=rtpmap:96 telephone-event/8000\n"));
    assert!(again.ends_with("a=sendrecv\n"), "a hold is not prolonged: {again}");
    let answer = sdp("m=video 0 RTP/AVP 31\nm=audio 4000 RTP/AVP 0\n");
    let streams = capabilities.read_answer(&mut local, &answer).unwrap();
    assert_eq!((streams.len(), streams[0].line), (1, 1));
}

#[test]
fn a_new_offer_in_a_call_without_a_stream_has_one_again() {
    let capabilities = Capabilities::default();
    for (lines, media) in [
        // RFC 3264 §8.1: in the place of the disabled one,
        ("m=video 5000 RTP/AVP 31\nm=audio 4000 RTP/AVP 8\n", "m=video 0 RTP/AVP 31\nm=audio 20000 RTP/AVP 0 8 101\n"),
        // or below the existing lines.
        ("m=audio 4000 RTP/SAVP 8\n", "m=audio 0 RTP/SAVP 8\nm=audio 20000 RTP/AVP 0 8 101\n"),
        ("", "m=audio 20000 RTP/AVP 0 8 101\n"),
    ] {
        let mut local = local();
        let disabled = lines.replace(" 4000 ", " 0 ").replace(" 5000 ", " 0 ");
        answer_with(&mut local, &parse(lines)).ok();
        answer_with(&mut local, &parse(&disabled)).unwrap();
        let wanted = capabilities.lines_to_offer(&local).len();
        let offer = text(&capabilities.offer(&mut local, &rtp(wanted)));
        assert!(offer.contains(media) && offer.ends_with("a=sendrecv\n"), "{offer}");
    }
}

#[test]
fn an_offer_of_webrtc_is_refused_without_reading_its_candidates() {
    let mut lines = String::from("a=group:BUNDLE 0 1\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\na=rtcp-mux\na=mid:0\n");
    (0..200).for_each(|n| lines.push_str(&format!("a=candidate:{n} 1 udp 1 10.0.0.{n} 9 typ host\n")));
    lines.push_str("m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:1\na=bundle-only\n");
    assert_eq!(answer_with(&mut local(), &parse(&lines)), Err(OfferError::NothingCommon(LineRefusal::Transport)));
}

/// The published messages, when they are there.
fn corpora() -> Option<PathBuf> {
    let named = std::env::var_os("POINTSMAN_CORPORA").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"));
    path.is_dir().then_some(path)
}

fn body_of(message: &[u8]) -> &[u8] {
    let begin = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    &message[begin..]
}

#[test]
fn the_torture_messages_bodies_are_answered_as_their_streams_allow() {
    let Some(corpora) = corpora() else { return };
    let read = |name: &str| std::fs::read(corpora.join(name)).unwrap();
    let at = |ip: &str| Local::new(1, ip.parse().unwrap());

    // RFC 4475 §3.1.1.1 and others carry this body: µ-law can be answered, video cannot.
    let message = read("rfc4475/sdp01.dat");
    let offer = Offer::parse(body_of(&message)).unwrap();
    let answer = answer_with(&mut at(OURS), &offer).unwrap();
    assert_eq!(first(&answer).terms.remote, Some(addr("192.0.2.5:49217")));
    assert!(media_of(&answer).contains("m=video 0 RTP/AVP 31\n"));

    // RFC 5118 §4.7: one stream over IPv4, one over IPv6.
    let message = read("rfc5118/mult-ip-in-sdp.dat");
    let offer = Offer::parse(body_of(&message)).unwrap();
    assert_eq!(first(&answer_with(&mut at(OURS), &offer).unwrap()).terms.remote, Some(addr("192.0.2.1:22334")));
    let other_family = answer_with(&mut at("2001:db8::9"), &offer);
    assert_eq!(other_family, Err(OfferError::NothingCommon(LineRefusal::Address)));

    // RFC 5118 §4.6: G.726 under a static number, H.263: nothing for us, but read without complaint.
    let message = read("rfc5118/ipv6-in-sdp.dat");
    let offer = Offer::parse(body_of(&message)).unwrap();
    assert_eq!(offer.line_count(), 2);
    assert_eq!(answer_with(&mut at("2001:db8::9"), &offer), Err(OfferError::NothingCommon(LineRefusal::Format)));
}

#[test]
fn every_body_of_the_torture_messages_is_read_or_refused() {
    let Some(corpora) = corpora() else { return };
    let mut answered = 0;
    for folder in ["rfc4475", "rfc5118", "mgcp/rfc3435"] {
        for entry in std::fs::read_dir(corpora.join(folder)).unwrap().flatten() {
            if !entry.path().is_file() {
                continue;
            }
            let message = std::fs::read(entry.path()).unwrap();
            let begin = message.windows(4).position(|window| window == b"v=0\r").unwrap_or(message.len());
            if let Ok(offer) = Offer::parse(&message[begin..]) {
                answered += usize::from(answer_with(&mut local(), &offer).is_ok());
            }
        }
    }
    assert!(answered >= 20, "only {answered} bodies could be answered");
}

#[test]
fn another_parser_reads_our_answers_as_we_mean_them() {
    for lines in [
        "m=audio 4000 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000\na=ptime:20\n",
        "m=video 5000 RTP/AVP 31\nm=audio 4000 RTP/AVP 8\na=inactive\nm=audio 4002 RTP/AVP 0\n",
        "m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n",
    ] {
        let offer = parse(lines);
        let answer = answer_with(&mut local(), &offer).unwrap();
        let read = sdp_rs::SessionDescription::try_from(text(&answer.sdp).replace('\n', "\r\n").as_str()).unwrap();
        assert_eq!(read.media_descriptions.len(), offer.line_count());
        for (number, description) in read.media_descriptions.iter().enumerate() {
            let stream = answer.streams.iter().find(|stream| stream.line == number);
            let port = stream.map_or(0, |stream| stream.rtp.map_or(9, |rtp| rtp.port()));
            assert_eq!(description.media.port, port, "{lines}");
        }
    }
}

fn line_strategy() -> impl Strategy<Value = String> {
    let media = prop::sample::select(vec!["audio", "video", "AUDIO", "image", "x"]);
    let proto = prop::sample::select(vec!["RTP/AVP", "rtp/avp", "RTP/SAVP", "RTP/AVPF", "udptl"]);
    let fmt = prop::collection::vec(prop::sample::select(vec!["0", "8", "18", "96", "101", "t38", "999", "*"]), 1..6);
    let attribute = prop::sample::select(vec![
        "a=rtpmap:96 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:0 L16/44100/2",
        "a=sendonly",
        "a=inactive",
        "a=recvonly",
        "a=ptime:20",
        "c=IN IP4 0.0.0.0",
        "c=IN IP4 198.51.100.7",
        "c=IN IP4 224.1.1.1/1/2",
        "c=IN IP6 2001:db8::5",
        "c=IN IP4 host.example",
        "b=AS:64",
        "junk",
    ]);
    let attributes = prop::collection::vec(attribute, 0..5);
    (media, any::<u16>(), proto, fmt, attributes).prop_map(|(media, port, proto, fmt, attributes)| {
        // Every second stream is disabled or nearly so.
        let port = if port % 4 == 0 { 0 } else { port };
        let attributes: String = attributes.iter().map(|line| format!("{line}\n")).collect();
        format!("m={media} {port} {proto} {}\n{attributes}", fmt.join(" "))
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Offer::parse(&body);
        let mut prefixed = b"v=0\r\nm=audio 1 RTP/AVP 0\r\n".to_vec();
        prefixed.extend_from_slice(&body);
        if let Ok(offer) = Offer::parse(&prefixed) {
            let _ = answer_with(&mut local(), &offer);
        }
    }

    #[test]
    fn an_answer_parses_again_and_has_the_lines_of_its_offer(
        lines in prop::collection::vec(line_strategy(), 0..8),
        ports in 0_usize..8,
    ) {
        let offer = Offer::parse(sdp(&lines.concat()).leak()).unwrap();
        let capabilities = Capabilities::default();
        let mut local = local();
        let Ok(needed) = offer.lines_to_open(&capabilities, &local) else { return Ok(()) };
        let answer = offer.answer(&capabilities, &mut local, &rtp(ports)).unwrap();
        let again = Offer::parse(&answer.sdp).unwrap();
        prop_assert_eq!(again.line_count(), offer.line_count());
        prop_assert!(sdp_types::Session::parse(&answer.sdp).is_ok());
        for (theirs, ours) in offer.lines.iter().zip(&again.lines) {
            prop_assert_eq!(&theirs.media.to_ascii_lowercase(), &ours.media.to_ascii_lowercase());
            prop_assert_eq!(&theirs.proto, &ours.proto);
            prop_assert!(theirs.port != 0 || ours.port == 0, "a disabled stream stays disabled");
            // RFC 3264 §6.1: a side must not send media that the other side does not want.
            prop_assert!(ours.port == 0 || !ours.direction.sends() || theirs.direction.receives());
            prop_assert!(ours.port == 0 || !ours.direction.receives() || theirs.direction.sends());
        }
        if ports >= needed.len() {
            let open: Vec<usize> =
                answer.streams.iter().filter(|stream| stream.rtp.is_some()).map(|stream| stream.line).collect();
            prop_assert_eq!(open, needed);
        }
    }

    #[test]
    fn another_parser_reads_the_lines_of_an_offer_as_we_do(lines in prop::collection::vec(line_strategy(), 0..8)) {
        let body = sdp(&lines.concat().replace("junk\n", ""));
        let (theirs, ours) = (sdp_types::Session::parse(&body).unwrap(), Offer::parse(&body).unwrap());
        prop_assert_eq!(theirs.medias.len(), ours.line_count());
        for (theirs, ours) in theirs.medias.iter().zip(&ours.lines) {
            prop_assert_eq!(
                (theirs.media.as_str(), theirs.port, theirs.proto.as_str(), theirs.fmt.as_str()),
                (ours.media, ours.port, ours.proto, ours.fmt)
            );
            let direction = theirs.attributes.iter().find_map(|it| Direction::of_attribute(it.attribute.as_bytes()));
            prop_assert_eq!(direction.unwrap_or_default(), ours.direction);
        }
    }

    #[test]
    fn our_offer_can_always_be_answered_by_ourselves(first_lines in prop::collection::vec(line_strategy(), 0..5)) {
        let capabilities = Capabilities::default();
        let mut ours = local();
        let offer = Offer::parse(sdp(&first_lines.concat()).leak()).unwrap();
        if let Ok(needed) = offer.lines_to_open(&capabilities, &ours) {
            let _ = offer.answer(&capabilities, &mut ours, &rtp(needed.len()));
        }
        let needed = capabilities.lines_to_offer(&ours).len();
        let ours_offered = capabilities.offer(&mut ours, &rtp(needed));
        let mut theirs = Local::new(2, "192.0.2.200".parse::<IpAddr>().unwrap());
        let read = Offer::parse(&ours_offered).unwrap();
        let answer = answer_with(&mut theirs, &read).unwrap();
        let lines = answer.streams.len();
        if lines > 0 {
            prop_assert_eq!(capabilities.read_answer(&mut ours, &answer.sdp).unwrap().len(), lines);
        }
    }
}
