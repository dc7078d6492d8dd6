use super::*;

const SIGNALLED: &str = "192.0.2.1:4000";
const PRIVATE: &str = "10.1.2.3:4000";
const NATTED: &str = "203.0.113.9:61000";
const STRANGER: &str = "198.51.100.66:6666";

fn at(ms: u64) -> Time {
    Time(1_000_000 + ms * 1_000)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A latch for a caller whose SDP names `media` and whose SIP comes from the host of `signalling`.
fn latch(media: &str, signalling: &str) -> Latch {
    Latch::new(expected(media, signalling))
}

fn expected(media: &str, signalling: &str) -> Expected {
    Expected { media: Some(addr(media)), signalling: Some(addr(signalling).ip()) }
}

#[test]
fn the_first_sender_with_a_rank_is_believed_and_nobody_without_one() {
    for (from, believed) in [(SIGNALLED, true), ("192.0.2.1:4002", true), (NATTED, true), (STRANGER, false)] {
        let mut latch = latch(SIGNALLED, NATTED);
        assert_eq!(latch.on_packet(addr(from), 7, 1, at(0)), believed, "{from}");
        assert_eq!(latch.remote(), believed.then(|| addr(from)));
    }
}

#[test]
fn a_better_rank_takes_over_with_one_packet_at_any_time_and_a_worse_one_never() {
    let ranked = [SIGNALLED, "192.0.2.1:4002", NATTED];
    for (better, one) in ranked.iter().enumerate() {
        for other in &ranked[better + 1..] {
            let mut latch = latch(SIGNALLED, NATTED);
            assert!(latch.on_packet(addr(other), 8, 1, at(0)));
            assert!(latch.on_packet(addr(other), 8, 2, at(600_000)));
            assert!(latch.on_packet(addr(one), 7, 30_000, at(600_010)), "{one} after {other}");
            assert!(!latch.on_packet(addr(other), 8, 3, at(600_020)), "{other} after {one}");
        }
    }
}

#[test]
fn a_stranger_gets_nothing_of_a_stream_that_talks_pauses_or_has_not_begun() {
    let mut latch = latch(SIGNALLED, SIGNALLED);
    let mut now = 0;
    let mut stranger = |latch: &mut Latch, from: u16| {
        for n in 0..200 {
            now += 20;
            assert!(!latch.on_packet(addr(STRANGER), 8, from + n, at(now)));
        }
        now
    };
    stranger(&mut latch, 0);
    assert_eq!(latch.remote(), None, "it has not begun");
    assert!(latch.on_packet(addr(SIGNALLED), 7, 1, at(4_001)));
    let now = stranger(&mut latch, 200);
    assert!(latch.on_packet(addr(SIGNALLED), 7, 2, at(now)), "after its pause");
    assert_eq!(latch.remote(), Some(addr(SIGNALLED)));
}

#[test]
fn behind_a_nat_the_first_sender_stays_until_one_of_a_better_rank_comes() {
    let mut latch = latch(PRIVATE, NATTED);
    assert!(latch.on_packet(addr(STRANGER), 8, 1, at(0)), "nobody can know where the NAT sends from");
    assert!(latch.on_packet(addr(NATTED), 7, 500, at(9_000)), "the host that the SIP comes from");
    for n in 0..500 {
        assert!(!latch.on_packet(addr(STRANGER), 8, 2 + n, at(20_000 + u64::from(n) * 20)));
    }
    assert!(latch.on_packet(addr(PRIVATE), 7, 9, at(40_000)), "no NAT after all");
}

#[test]
fn a_private_address_that_the_signalling_comes_from_too_has_no_nat_in_between() {
    let mut latch = latch(PRIVATE, "10.1.2.3:5060");
    assert!(!latch.on_packet(addr(STRANGER), 8, 1, at(0)));
    assert!(latch.on_packet(addr(PRIVATE), 7, 1, at(1)));
}

#[test]
fn without_an_address_anybody_is_heard_and_nobody_sent_to() {
    let mut latch = Latch::new(Expected::default());
    assert!(latch.on_packet(addr(STRANGER), 8, 1, at(0)));
    assert_eq!((latch.remote(), latch.destination()), (Some(addr(STRANGER)), None));
}

#[test]
fn a_rebound_nat_is_followed_at_once_to_wherever_the_stream_goes_on() {
    for elsewhere in ["192.0.2.1:61001", STRANGER] {
        let mut latch = latch(SIGNALLED, SIGNALLED);
        latch.on_packet(addr(SIGNALLED), 7, 65_535, at(0));
        assert!(!latch.on_packet(addr(elsewhere), 8, 0, at(10)), "another source");
        assert!(!latch.on_packet(addr(elsewhere), 7, NEXT, at(11)), "too far ahead");
        assert!(!latch.on_packet(addr(elsewhere), 7, 65_535, at(12)), "a copy");
        assert!(latch.on_packet(addr(elsewhere), 7, 0, at(20)));
        assert_eq!(latch.remote(), Some(addr(elsewhere)));
        assert_eq!(latch.destination(), Some(addr(elsewhere)));
    }
}

#[test]
fn after_silence_another_port_of_the_host_has_to_show_four_packets_in_sequence() {
    let other = addr("192.0.2.1:4002");
    let mut latch = latch(SIGNALLED, SIGNALLED);
    latch.on_packet(addr(SIGNALLED), 7, 1, at(0));
    assert!(!latch.on_packet(other, 8, 1, at(2_000)));
    assert!(!latch.on_packet(other, 8, 2, at(2_020)));
    assert!(!latch.on_packet(other, 8, 9, at(2_040)), "out of sequence: counted from one again");
    assert!(!latch.on_packet(other, 8, 10, at(2_060)));
    assert!(!latch.on_packet(other, 8, 11, at(2_080)));
    assert!(latch.on_packet(other, 8, 12, at(2_100)));
}

#[test]
fn the_believed_sender_coming_back_ends_a_probation() {
    let other = addr("192.0.2.1:4002");
    let mut latch = latch(SIGNALLED, SIGNALLED);
    latch.on_packet(addr(SIGNALLED), 7, 1, at(0));
    for n in 0..3 {
        assert!(!latch.on_packet(other, 8, n, at(2_000)));
    }
    assert!(latch.on_packet(addr(SIGNALLED), 7, 2, at(2_100)));
    assert!(!latch.on_packet(other, 8, 3, at(2_101)));
}

#[test]
fn rtcp_is_taken_from_the_host_that_the_sound_comes_from_or_a_better_one() {
    let mut latch = latch(SIGNALLED, NATTED);
    assert!(!latch.takes_rtcp(addr(SIGNALLED)), "nothing has been heard");
    latch.on_packet(addr(NATTED), 7, 1, at(0));
    for (from, taken) in [("203.0.113.9:9", true), ("192.0.2.1:4001", true), (STRANGER, false)] {
        assert_eq!(latch.takes_rtcp(addr(from)), taken, "{from}");
    }
    latch.on_packet(addr(SIGNALLED), 7, 2, at(10));
    assert!(!latch.takes_rtcp(addr(NATTED)));
}

#[test]
fn a_new_answer_opens_the_latch_unless_the_stream_stays_where_it_is() {
    let mut latch = latch(SIGNALLED, NATTED);
    latch.on_packet(addr(NATTED), 7, 1, at(0));
    latch.expect(expected(SIGNALLED, NATTED));
    assert_eq!(latch.remote(), Some(addr(NATTED)), "the same again changes nothing");
    latch.expect(expected(NATTED, NATTED));
    assert_eq!(latch.remote(), Some(addr(NATTED)));
    latch.expect(expected("203.0.113.9:61002", NATTED));
    assert_eq!((latch.remote(), latch.destination()), (None, Some(addr("203.0.113.9:61002"))), "another port");
    latch.on_packet(addr("203.0.113.9:61002"), 7, 9, at(30));
    latch.expect(expected("203.0.113.9:61002", "192.0.2.200:5060"));
    assert_eq!(latch.remote(), Some(addr("203.0.113.9:61002")), "the SIP comes from elsewhere, the sound does not");
    latch.expect(expected("192.0.2.77:4000", NATTED));
    assert_eq!(latch.remote(), None);
}
