use super::*;

fn plain() -> Peer {
    Peer::new(Kind::Plain)
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Stream>() <= 208, "{}", size_of::<Stream>());
}

#[test]
fn two_messages_in_one_read_and_one_and_a_half_are_all_served() {
    let (first, second) = (message("first"), message("the second"));
    let both = format!("{first}{second}");
    for cut in 0..=both.len() {
        let mut peer = plain();
        peer.bytes(&both[..cut]).unwrap();
        assert_eq!(peer.messages.len(), usize::from(cut >= first.len()) + usize::from(cut == both.len()), "{cut}");
        peer.bytes(&both[cut..]).unwrap();
        assert_eq!(peer.messages, [first.as_str(), second.as_str()], "{cut}");
        assert_eq!(peer.stream.slow_at(), Time::NEVER);
    }
}

#[test]
fn a_piece_that_ends_in_half_a_line_end_before_the_body_reads_no_body_as_a_field() {
    let whole = message("a=b\r\nl: 999\r\n\r\n");
    let cut = whole.find("\r\n\r\n").unwrap() + 3;
    let mut peer = plain();
    peer.bytes(&whole[..cut]).unwrap();
    peer.bytes(&whole[cut..]).unwrap();
    assert_eq!(peer.messages, [whole]);
}

#[test]
fn messages_behind_one_that_came_in_pieces_are_slices_of_what_came() {
    let (first, second) = (message(&"x".repeat(3_000)), message("second"));
    let (begin, end) = first.split_at(2_000);
    let bytes = format!("{end}{second}{second}");
    let mut stream = Stream::new(Kind::Plain, Limits::default(), Time(1));
    stream.on_bytes(begin.as_bytes(), Time(1), &mut Vec::new(), &mut |_| panic!("no message yet")).unwrap();
    let mut slices = 0;
    let mut sink = |received: Received<'_>| {
        let Received::Message(message) = received else { panic!("{received:?}") };
        slices += usize::from(bytes.as_bytes().as_ptr_range().contains(&message.as_ptr()));
    };
    stream.on_bytes(bytes.as_bytes(), Time(1), &mut Vec::new(), &mut sink).unwrap();
    assert_eq!(slices, 2);
}

#[test]
fn a_double_line_end_in_any_pieces_is_answered_by_a_single_one() {
    let bytes = format!("\r\n\r\n{}\r\n{}\r\n\r\n", message("a"), message("b"));
    for cut in 0..bytes.len() {
        for second in cut..bytes.len() {
            let mut peer = plain();
            for piece in [&bytes[..cut], &bytes[cut..second], &bytes[second..]] {
                peer.bytes(piece).unwrap();
            }
            assert_eq!(text(&peer.out), "\r\n\r\n", "{cut} {second}");
            assert_eq!(peer.messages, [message("a"), message("b")]);
        }
    }
}

#[test]
fn a_single_line_end_sent_as_keepalive_is_no_message_that_takes_too_long() {
    let mut peer = plain();
    for _ in 0..40 {
        peer.bytes("\r\n").unwrap();
        peer.pass(seconds(60)).unwrap();
    }
    // Two of them look like one ping.
    assert_eq!(text(&peer.out), "\r\n".repeat(20));
}

#[test]
fn a_connection_that_says_nothing_or_a_byte_a_second_is_given_up() {
    let mut peer = plain();
    peer.pass(seconds(29)).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::Silent));

    let mut peer = plain();
    let whole = message("");
    let given_up = whole.bytes().position(|byte| peer.bytes([byte]).and_then(|()| peer.pass(seconds(1))).is_err());
    assert_eq!(given_up, Some(9));
    assert_eq!(peer.pass(seconds(0)), Err(Fault::SlowMessage));
}

#[test]
fn each_message_has_its_own_time() {
    let mut peer = plain();
    let whole = message("body");
    peer.bytes(&whole[..9]).unwrap();
    for _ in 0..5 {
        peer.pass(seconds(8)).unwrap();
        peer.bytes(&whole[9..]).unwrap();
        peer.bytes(&whole[..9]).unwrap();
    }
    assert_eq!(peer.pass(seconds(10)), Err(Fault::SlowMessage));
}

#[test]
fn a_silent_connection_that_is_kept_is_asked_about_again() {
    let mut peer = plain();
    peer.bytes(message("")).unwrap();
    peer.pass(seconds(599)).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::Idle));
    peer.pass(seconds(599)).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::Idle));
}

#[test]
fn a_head_whose_end_cannot_be_found_is_given_to_be_answered_and_then_it_ends() {
    for (lines, fault) in [
        ("", StreamFault::NoContentLength),
        ("l: -1\r\n", StreamFault::ContentLength),
        ("l: 1\r\nl: 2\r\n", StreamFault::ContentLength),
        ("l: 65536\r\n", StreamFault::MessageTooLarge),
    ] {
        let head = format!("{HEAD}{lines}Via: after it\r\n\r\n");
        let bytes = format!("{}{head}body", message("before"));
        for cut in 0..bytes.len() - 4 {
            let mut peer = plain();
            peer.bytes(&bytes[..cut]).unwrap();
            assert_eq!(peer.bytes(&bytes[cut..]), Err(Fault::Framing(fault)), "{cut}");
            assert_eq!(peer.faulty, [(head.clone(), fault)]);
            assert_eq!(peer.messages, [message("before")]);
        }
    }
}

#[test]
fn of_a_head_that_is_too_large_the_first_fields_are_given_to_be_answered() {
    let many = format!("{HEAD}{}\r\n", "a: b\r\n".repeat(97));
    let long = format!("{HEAD}a: {}\r\n\r\n", "b".repeat(40_000));
    for (bytes, fields) in [(many, 96), (long, 0)] {
        for piece in [1, 7, 1_000, 50_000] {
            let mut peer = plain();
            let gone = bytes.as_bytes().chunks(piece).find_map(|piece| peer.bytes(piece).err());
            assert_eq!(gone, Some(Fault::Framing(StreamFault::HeadTooLarge)));
            let front = format!("{HEAD}{}", "a: b\r\n".repeat(fields));
            assert_eq!(peer.faulty, [(front, StreamFault::HeadTooLarge)], "{piece}");
        }
    }
}

#[test]
fn bytes_that_are_no_sip_or_have_no_end_give_nothing_to_answer() {
    for (bytes, fault) in [("\x16\x03\x01\x02", StreamFault::NotSip), (&"x".repeat(40_000), StreamFault::HeadTooLarge)]
    {
        let mut peer = plain();
        let gone = bytes.as_bytes().chunks(1_000).find_map(|piece| peer.bytes(piece).err());
        assert_eq!(gone, Some(Fault::Framing(fault)));
        assert!(peer.faulty.is_empty() && peer.messages.is_empty());
    }
}

#[test]
fn line_ends_without_a_message_between_them_are_no_more_than_keepalives() {
    for flood in ["\r\n\r\n", "\n\n", "\r\n"] {
        for piece in [1, 7, 1_000] {
            let mut peer = plain();
            let gone = flood.repeat(10_000).as_bytes().chunks(piece).find_map(|piece| peer.bytes(piece).err());
            assert_eq!(gone, Some(Fault::Flood));
            assert!(peer.out.len() <= 2 * 128, "{}", peer.out.len());
        }
    }
    // Four a second, and those between messages, may come for ever.
    let mut peer = plain();
    for _ in 0..400 {
        peer.bytes("\r\n\r\n").unwrap();
        peer.pass(Duration::from_millis(250)).unwrap();
    }
    for _ in 0..20 {
        peer.bytes(message("")).unwrap();
        peer.bytes("\r\n\r\n".repeat(100)).unwrap();
    }
}

/// A connection to a server, which is kept open.
fn persistent() -> Peer {
    let now = Time(7_000_000);
    Peer { stream: Stream::persistent(Kind::Plain, now), ..plain() }
}

#[test]
fn a_server_that_says_nothing_for_a_day_keeps_its_connection_and_gets_a_keepalive_each_half_minute() {
    let mut peer = persistent();
    peer.pass(seconds(86_400)).unwrap();
    assert_eq!(peer.out, b"\r\n\r\n".repeat(86_400 / 30));
}

#[test]
fn a_server_that_another_process_has_connected_to_keeps_its_connection_and_gets_keepalives() {
    let stream = Stream::persistent_resumed(Transport::Tcp, Time(7_000_000));
    let mut peer = Peer { stream, ..plain() };
    peer.pass(seconds(3_600)).unwrap();
    assert_eq!(peer.out, b"\r\n\r\n".repeat(3_600 / 30));
}

#[test]
fn a_server_that_has_answered_keepalives_and_does_no_more_has_lost_its_connection() {
    let mut peer = persistent();
    for _ in 0..3 {
        peer.pass(seconds(30)).unwrap();
        peer.bytes("\r").unwrap();
        peer.bytes("\n").unwrap();
    }
    assert_eq!(peer.out, b"\r\n\r\n".repeat(3), "an answer to an answer would come back for ever");
    peer.pass(seconds(30)).unwrap();
    peer.pass(seconds(9)).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::NoPong));
}

#[test]
fn a_message_of_a_server_says_as_much_as_the_answer_to_a_keepalive() {
    let mut peer = persistent();
    peer.pass(seconds(30)).unwrap();
    peer.bytes("\r\n").unwrap();
    peer.pass(seconds(30)).unwrap();
    peer.bytes(message("a")).unwrap();
    peer.pass(seconds(29)).unwrap();
    assert_eq!((peer.messages.len(), peer.out.len()), (1, 8));
}
