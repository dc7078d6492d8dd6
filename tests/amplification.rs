//! A source gets out little more than it put in. The dispatcher sends one answer at most to a datagram, and none much
//! larger than the datagram. For a call that its caller never acknowledges, a worker sends five datagrams at most in
//! all the life of its transactions.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::call::{Arrival, Delivery, Event, Identity, Limits, Output, SessionTimer, Uas};
use pointsman::config::Insert;
use pointsman::dispatch::decision::{Joined, Reason, Services};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, TokenKey, WorkerId};
use pointsman::switch::links::Channel;
use pointsman::switch::owner::Owner;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::wire::sip::Scanner;
use pointsman::words::ReplyFrom;
use pointsman::words::Transport;

/// A worker that reads and says nothing.
struct Mute;

impl Channel for Mute {
    fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// The longest addresses there are, which the answer's Via has to name.
fn source() -> SocketAddr {
    "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap()
}

fn switch(workers: usize) -> Switch<Mute> {
    let rules = Rules { slow_start: Duration::ZERO, ..Rules::default() };
    let keys = Keyring::new(TokenKey::new([9; 32]));
    let setup = Setup { rules, keys, table_cap: 1000, group_cap: 10, workers: 1, seed: 1 };
    let mut switch = Switch::new(Dispatch::new(setup), Insert::None, 1 << 20, Owners::new(0, 1, 1));
    if workers > 0 {
        let addresses = vec![SocketAddr::from(([198, 51, 100, 1], 5070))];
        let joined = Joined { services: Services::ALL, ..Joined::sip(Incarnation::new(1), 10, addresses) };
        switch.on_link(WorkerId(0), Mute, &joined, Time(1));
    }
    switch
}

/// The sizes of the answers to one datagram.
fn answers(switch: &mut Switch<Mute>, bytes: &[u8]) -> Vec<usize> {
    let local = "[2001:db8::1]:5060".parse().unwrap();
    let listener = ListenerId(0);
    let way = Way::of_datagram(Owner::Listener(listener), listener, Transport::Udp, (source(), local), Time(2));
    switch.on_message(bytes, &way, Time(2));
    let mut sizes = Vec::new();
    switch.flush_answers(|leaving| {
        for (bytes, to) in leaving {
            assert_eq!(to.ip(), source().ip());
            sizes.push(bytes.len());
        }
    });
    sizes
}

/// The shortest request of RFC 3261 with this method: every field of §8.1.1 in its compact form.
fn shortest(method: &str) -> String {
    format!(
        "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nMax-Forwards:1\r\nf:sip:a;tag=1\r\nt:sip:a\r\n\
         i:1\r\nCSeq:1 {method}\r\n\r\n"
    )
}

/// An ordinary request.
fn ordinary(method: &str) -> String {
    format!(
        "{method} sip:service@ms.example.net:5060 SIP/2.0\r\nVia: SIP/2.0/UDP as.example.net:5060;rport;branch=z9hG4bK-4b43c2ff8\r\n\
         Max-Forwards: 70\r\nFrom: \"AS\" <sip:as@example.net>;tag=9fxced76sl\r\nTo: <sip:service@ms.example.net>\r\n\
         Call-ID: 3848276298220188511@as.example.net\r\nCSeq: 2 {method}\r\nContact: <sip:as@as.example.net>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// Requests that are answered for all reasons there are, and some that are not.
fn variants(text: &str) -> Vec<String> {
    let with = |line: &str| text.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    vec![
        text.to_owned(),
        text.replace("SIP/2.0\r\n", "SIP/7.0\r\n"),
        text.replace(" sip:", " http:"),
        text.replace("Max-Forwards", "Max-Forwards:x\r\nx"),
        text.replace("\r\nt:sip:a", "\r\nt:sip:a;tag=2").replace("net>\r\nCall", "net>;tag=1\r\nCall"),
        text.replace("\r\n", "\n"),
        with("Require: a,b,c,d,e,f,g"),
        with(&format!("Require: {}", "a,".repeat(10_000))),
        with(&"v:SIP/2.0/UDP b\r\n".repeat(60)),
        with(&"Max-Forwards: 7\r\n".repeat(20)),
        with("Content-Length: 99"),
        with(&"x: y\r\n".repeat(3_000)),
        text.replace("z9hG4bK", "old"),
    ]
}

#[test]
fn a_datagram_gets_one_answer_at_most_and_none_much_larger_than_it_is() {
    let methods = ["OPTIONS", "INVITE", "BYE", "REGISTER", "MESSAGE", "CANCEL", "ACK", "PRACK", "SUBSCRIBE", "WINK"];
    let mut answered = 0;
    for workers in [0, 1] {
        let mut switch = switch(workers);
        for text in methods.iter().flat_map(|method| [shortest(method), ordinary(method)]).flat_map(|it| variants(&it))
        {
            let sizes = answers(&mut switch, text.as_bytes());
            assert!(sizes.len() <= 1, "{} answers to {text}", sizes.len());
            let Some(&size) = sizes.first() else { continue };
            answered += 1;
            // An answer adds fields of its own: the addresses in its Via, a tag, Allow, Accept, Retry-After.
            assert!(size <= text.len() * 3 / 2 + 220, "{size} bytes for {}: {text}", text.len());
            assert!(size <= text.len() * 7 / 2, "{size} bytes for {}: {text}", text.len());
            assert!(!text.starts_with("ACK "), "{text}");
        }
    }
    assert!(answered > 200, "{answered}");
}

#[test]
fn every_request_with_what_rfc_3261_asks_for_is_answered_and_less_is_not() {
    let mut switch = switch(1);
    for method in ["OPTIONS", "BYE", "REGISTER", "CANCEL", "PRACK", "WINK"] {
        assert_eq!(answers(&mut switch, shortest(method).as_bytes()).len(), 1, "{method}");
    }
    for text in [
        "OPTIONS sip:a SIP/2.0\nv:SIP/2.0/UDP a\nf:sip:a\nt:sip:a\ni:1\nCSeq:1 OPTIONS\n\n",
        "BYE x SIP/2.0\nv:SIP/2.0/UDP a\nf:a:b\nt:a:b\ni:1\nCSeq:1 BYE\n\n",
    ] {
        assert_eq!(answers(&mut switch, text.as_bytes()), [0_usize; 0], "{text}");
    }
    assert_eq!(switch.dispatch().counters().of(Reason::TooSmall), 2);
}

#[test]
fn keepalives_noise_and_responses_are_never_answered() {
    let mut switch = switch(1);
    let response = ordinary("INVITE").replacen("INVITE sip:service@ms.example.net:5060 SIP/2.0", "SIP/2.0 200 OK", 1);
    for bytes in [&b""[..], b"\r\n\r\n", b"\0\0\0\0", &[0; 300], &[0xff; 1200], response.as_bytes()] {
        assert_eq!(answers(&mut switch, bytes), [0_usize; 0]);
    }
}

/// The same for one datagram of MGCP.
fn returns(switch: &mut Switch<Mute>, bytes: &[u8]) -> Vec<usize> {
    let local = "[2001:db8::1]:2427".parse().unwrap();
    let listener = ListenerId(0);
    let way = Way::of_datagram(Owner::Listener(listener), listener, Transport::Mgcp, (source(), local), Time(2));
    switch.on_message(bytes, &way, Time(2));
    let mut sizes = Vec::new();
    switch.flush_answers(|leaving| {
        for (bytes, to) in leaving {
            assert_eq!(to, source());
            sizes.push(bytes.len());
        }
    });
    sizes
}

#[test]
fn a_command_gets_an_answer_that_is_no_longer_than_itself_and_a_response_none() {
    let mut answered = 0;
    for workers in [0, 1] {
        let mut switch = switch(workers);
        let verbs = ["CRCX", "MDCX", "DLCX", "RQNT", "EPCF", "AUEP", "AUCX", "NTFY", "RSIP", "MESG", "X"];
        for (verb, name) in verbs.iter().flat_map(|verb| ["a@b", "$@b", "*@b", "a"].map(|name| (verb, name))) {
            for text in [
                format!("{verb} 1 {name} MGCP 1.0"),
                format!("{verb} 999999999 {name} MGCP 1.0\nC: 1\nX-Size: 99\n"),
                format!("{verb} 2 {name} MGCP 7.0\n"),
            ] {
                let sizes = returns(&mut switch, text.as_bytes());
                assert!(sizes.len() <= 1 && sizes.iter().all(|&size| size <= text.len()), "{sizes:?} for {text}");
                answered += sizes.len();
                let many = [text.as_str(); 200].join("\n.\n");
                assert!(returns(&mut switch, many.as_bytes()).iter().sum::<usize>() <= many.len(), "{many}");
            }
        }
        for response in ["000 1", "100 1", "200 1 OK", "500 1", "2000 1", "200 x", "200", "", "\n.\n.\n"] {
            assert_eq!(returns(&mut switch, response.as_bytes()), [0_usize; 0], "{response}");
        }
    }
    assert!(answered > 100, "{answered}");
}

/// An INVITE of so many bytes whose sender knows reliable provisional responses, and is never heard of again.
fn invite_of(length: usize) -> String {
    let short = shortest("INVITE").replace("\r\n\r\n", "\r\nm:sip:a\r\nk:100rel\r\n\r\n");
    let bare = if short.len() <= length && length < 300 {
        short
    } else {
        ordinary("INVITE").replace("Max-F", "k:100rel\r\nMax-F")
    };
    let line = "\r\ns:";
    let padding = length - bare.len() - line.len();
    bare.replacen("\r\n\r\n", &format!("{line}{}\r\n\r\n", "x".repeat(padding)), 1)
}

/// Decision of a worker on a call before it falls silent.
type Decide = fn(&mut Uas, pointsman::call::CallKey, Time);

const ANSWER: &str = "v=0\r\no=- 3005881234 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n\
                      m=audio 20000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
                      a=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n";

/// The sizes of all that a worker sends for these datagrams in ten minutes, after a check that every datagram goes to
/// the caller.
fn whole_transaction(datagrams: &[&str], decide: Decide) -> Vec<usize> {
    let identity = Identity {
        token: "pm0123456789abcdef".into(),
        own: vec!["[2001:db8::1]:5070".parse().unwrap()],
        listeners: vec!["[2001:db8::1]:5060".parse().unwrap()],
        duplicates: vec![true],
        away: Vec::new(),
        hosts: Vec::new(),
        advertise: Vec::new(),
        reply_from: ReplyFrom::Listener,
        program: "pointsman/0.1.0".into(),
        seed: [1, 2],
        contact_name: None,
        speaks_tls: false,
    };
    let mut uas = Uas::new(identity, Limits::default(), SessionTimer::default());
    let (mut scanner, mut now, mut sizes) = (Scanner::new(), Time(1_000_000), Vec::new());
    let end = now + Duration::from_secs(600);
    let arrival = Arrival::own(0, source(), "[2001:db8::1]:5070".parse().unwrap(), 1);
    for text in datagrams {
        uas.on_message(&scanner.scan(text.as_bytes()).unwrap(), &arrival, now);
    }
    loop {
        while let Some(output) = uas.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.to.ip(), source().ip(), "nobody but the source gets anything");
                    sizes.push(transmit.bytes.len());
                }
                Output::Event(key, Event::Incoming { .. }) => decide(&mut uas, key, now),
                Output::Resolve { .. } => panic!("a name of a stranger's is looked up"),
                _ => {}
            }
        }
        let Some(due) = uas.poll_timeout().filter(|due| *due < end) else { return sizes };
        now = now.max(due) + Duration::from_millis(1);
        uas.handle_timeout(now);
    }
}

#[test]
fn of_a_call_that_nobody_acknowledges_five_datagrams_leave_at_most() {
    let decisions: [(&str, Decide); 5] = [
        ("accepted", |uas, key, now| assert!(uas.accept(key, Some(ANSWER.as_bytes()), now))),
        ("accepted after ringing", |uas, key, now| {
            uas.ring(key, 180, None, Delivery::AsRequired, now);
            uas.accept(key, Some(ANSWER.as_bytes()), now);
        }),
        ("ringing, 100rel", |uas, key, now| {
            uas.ring(key, 183, Some(ANSWER.as_bytes()), Delivery::Reliable, now);
        }),
        ("rejected", |uas, key, now| assert!(uas.reject(key, 486, now))),
        ("undecided", |_, _, _| {}),
    ];
    for length in [180, 900] {
        let text = invite_of(length);
        assert_eq!(text.len(), length);
        for (name, decide) in decisions {
            let sizes = whole_transaction(&[&text], decide);
            let (count, bytes) = (sizes.len(), sizes.iter().sum::<usize>());
            println!("INVITE, {name}: in {length} B, out {count} datagrams, {bytes} B");
            assert!((1..=5).contains(&count), "{name}: {sizes:?}");
            let copies = whole_transaction(&[text.as_str(); 8], decide);
            assert!(copies.len() <= 5 + 7, "{name}: each copy is answered once: {copies:?}");
        }
    }
}

#[test]
fn a_third_party_in_contact_or_record_route_gets_nothing() {
    let accept: Decide = |uas, key, now| assert!(uas.accept(key, Some(ANSWER.as_bytes()), now));
    let text = ordinary("INVITE");
    let routed = |uri: &str| text.replacen("\r\n\r\n", &format!("\r\nRecord-Route: <{uri};lr>\r\n\r\n"), 1);
    for text in [
        text.replace("Contact: <sip:as@as.example.net>", "Contact: <sip:as@[2001:db8::bad]:7777>"),
        text.replace("Contact: <sip:as@as.example.net>", "Contact: <sip:as@[2001:db8::bad];transport=tcp>"),
        routed("sip:[2001:db8::bad]:7777"),
        routed("sip:victim.example.net"),
        text,
    ] {
        assert_eq!(whole_transaction(&[&text], accept).len(), 5, "{text}");
    }
}
