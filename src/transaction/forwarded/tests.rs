use super::*;
use crate::transaction::name::sip::Names;
use crate::wire::sip::{Edits, Scanner, ViaCompletion};

const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK776asdhds\r\n";

fn request(method: &str, vias: &str) -> String {
    format!(
        "{method} sip:bob@example.net SIP/2.0\r\n{vias}From: <sip:alice@a>;tag=1928301774\r\nTo: <sip:bob@example.net>\r\n\
         Call-ID: a84b4c76e66710@pc33\r\nCSeq: 314159 {method}\r\n\r\n"
    )
}

fn response(vias: &str) -> String {
    let request = request("INVITE", vias);
    let (_, fields) = request.split_once("\r\n").unwrap();
    format!("SIP/2.0 180 Ringing\r\n{}", fields.replace("net>\r\n", "net>;tag=314\r\n"))
}

fn branches(byte: u8) -> Branches {
    Branches::new(&TokenKey::new([byte; 32]), None)
}

fn scanned<T>(text: &str, see: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut scanner = Scanner::new();
    see(&scanner.scan(text.as_bytes()).unwrap())
}

fn given_by(branches: &Branches, text: &str, proxy: u16) -> ForwardedBranch {
    given_at(branches, text, (proxy, Side::Caller))
}

fn given_at(branches: &Branches, text: &str, (proxy, side): (u16, Side)) -> ForwardedBranch {
    scanned(text, |message| {
        let way = branches.way(message);
        branches.give(&came(branches, message), way, (ListenerId(63), 5), (ProxyId(proxy), side))
    })
}

fn came<'a>(branches: &Branches, message: &Message<'a>) -> Came<'a> {
    let read = message.essentials();
    let names = Names::of(message, &read, &branches.current);
    Came { via: read.via.unwrap(), call: names.call, cseq: names.cseq }
}

fn given(text: &str) -> ForwardedBranch {
    given_by(&branches(1), text, 7)
}

fn text(branch: &ForwardedBranch) -> &str {
    std::str::from_utf8(branch.as_bytes()).unwrap()
}

/// Our Via, as it stands in a response to the request that came.
fn our_via(branch: &ForwardedBranch) -> String {
    format!("Via: SIP/2.0/UDP 192.0.2.1:5060;branch={}\r\n", text(branch))
}

fn believed(branches: &Branches, response: &Message<'_>) -> Option<ForwardedBranch> {
    let mut vias = response.values(Name::Via);
    let branch = ForwardedBranch::read(Via::parse(vias.next()?)?.branch()?)?;
    let below = Via::parse(vias.next()?)?;
    branches.is_answered_by(response, &branch, &below).then_some(branch)
}

fn believed_by(branches: &Branches, vias: &str) -> Option<ForwardedBranch> {
    scanned(&response(vias), |message| believed(branches, message))
}

fn loops(text: &str) -> bool {
    let branches = branches(1);
    scanned(text, |message| branches.is_loop(message, &message.via().unwrap(), branches.way(message)))
}

#[test]
fn a_branch_tells_listener_lane_proxy_and_side_and_is_read_in_either_case() {
    let branch = given_by(&branches(1), &request("INVITE", VIA), u16::MAX);
    assert!(text(&branch).starts_with("z9hG4bK1v051vvv"), "{branch:?}");
    assert_eq!((branch.listener(), branch.lane(), branch.proxy()), (ListenerId(63), 5, ProxyId(u16::MAX)));
    for side in [Side::Caller, Side::Server] {
        let branch = given_at(&branches(1), &request("INVITE", VIA), (u16::MAX, side));
        assert_eq!((branch.proxy(), branch.side()), (ProxyId(u16::MAX), side));
    }
    let shouted = text(&branch).to_uppercase();
    assert_eq!(ForwardedBranch::read(shouted.as_bytes()), Some(branch));
    for bad in [&text(&branch)[1..], &format!("{branch:?}0"), &text(&branch).replace("1vvv", "1vv-"), "z9hG4bK", ""] {
        assert_eq!(ForwardedBranch::read(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn cancel_ack_and_copies_by_another_way_get_the_branch_of_their_invite() {
    let invite = given(&request("INVITE", VIA));
    assert_eq!(given(&request("CANCEL", VIA)), invite);
    assert_eq!(given(&request("ACK", VIA).replace("net>\r\n", "net>;tag=314\r\n")), invite);
    assert_eq!(given(&request("INVITE", &VIA.replace("UDP 192.0.2.9:5062", "TCP 192.0.2.10"))), invite);
    assert_eq!(given(&request("INVITE", &VIA.replace("776asdhds", "776ASDHDS"))), invite, "RFC 3261 §7.3.1");
}

#[test]
fn each_attempt_at_a_receiver_has_a_branch_of_its_own_which_is_believed_as_the_first_is() {
    let (branches, came_so) = (branches(1), request("INVITE", VIA));
    for side in [Side::Caller, Side::Server] {
        let first = given_at(&branches, &came_so, (u16::MAX, side));
        let of = |attempt| scanned(&came_so, |message| branches.give_anew(&came(&branches, message), first, attempt));
        assert_eq!((first.attempt(), of(0)), (0, first));
        for attempt in 1..MOST_ATTEMPTS {
            let branch = of(attempt);
            assert_eq!((branch.attempt(), branch.proxy(), branch.side()), (attempt, ProxyId(u16::MAX), side));
            assert_eq!(believed_by(&branches, &(our_via(&branch) + VIA)), Some(branch));
            assert!(loops(&request("INVITE", &(our_via(&branch) + VIA))));
            let forged = format!("{}{}", &text(&branch)[..26], &text(&first)[26..]);
            let forged = ForwardedBranch::read(forged.as_bytes()).unwrap();
            assert_eq!(believed_by(&branches, &(our_via(&forged) + VIA)), None, "{attempt}");
        }
    }
}

#[test]
fn another_transaction_has_another_branch() {
    let text = request("INVITE", VIA);
    let mut all = vec![given(&text), given_by(&branches(1), &text, 8), given_by(&branches(2), &text, 7)];
    for (from, to) in [
        ("776asdhds", "776asdhdt"),
        ("a84b4c76e66710@pc33", "a84b4c76e66711@pc33"),
        ("tag=1928301774", "tag=1928301775"),
        ("CSeq: 314159", "CSeq: 314160"),
        ("INVITE sip:bob@", "INVITE sip:rob@"),
        ("From:", "Route: <sip:p;lr>\r\nFrom:"),
    ] {
        all.push(given(&text.replace(from, to)));
    }
    let count = all.len();
    all.sort_by_key(|branch| branch.0);
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn a_peer_of_rfc_2543_is_told_by_its_sent_by_where_it_has_no_branch() {
    let bare = VIA.replace(";branch=z9hG4bK776asdhds", "");
    let old = given(&request("INVITE", &bare));
    assert_eq!(given(&request("CANCEL", &bare)), old);
    assert_eq!(given(&request("ACK", &bare).replace("net>\r\n", "net>;tag=314\r\n")), old);
    for (from, to) in [(":5062", ":5063"), ("192.0.2.9", "192.0.2.8"), ("5062", "5062;branch=1")] {
        assert_ne!(given(&request("INVITE", &bare.replace(from, to))), old, "{to}");
    }
    assert_eq!(believed_by(&branches(1), &(our_via(&old) + &bare)), Some(old));
    assert_eq!(
        believed_by(&branches(1), &(our_via(&old) + &bare.replace("9:5062", "9:5062;received=192.0.2.77"))),
        Some(old)
    );
}

#[test]
fn a_response_is_believed_only_with_the_via_that_its_request_came_with() {
    let (branches, branch) = (branches(1), given(&request("INVITE", VIA)));
    let ours = our_via(&branch);
    assert_eq!(believed_by(&branches, &format!("{ours}{VIA}")), Some(branch));
    let one_line = format!("{}, {}", ours.trim_end(), VIA.replace("Via: ", ""));
    assert_eq!(believed_by(&branches, &one_line), Some(branch));
    let completed = VIA.replace(";branch", ";rport=4711;received=198.51.100.7;branch");
    assert_eq!(believed_by(&branches, &format!("{ours}{completed}{VIA}")), Some(branch));
    for forged in [
        ours.clone(),
        VIA.to_owned(),
        format!("{VIA}{ours}"),
        format!("{ours}{}", VIA.replace("776asdhds", "776asdhdt")),
        format!("{}{VIA}", ours.replace("Via: SIP/2.0/UDP 192.0.2.1:5060", "Via: SIP/2.0/UDP")),
        format!("{}{VIA}", ours.replace("branch=z9hG4bK1v050007", "branch=z9hG4bK1v050008")),
        format!("{}{VIA}", ours.replace("branch=z9hG4bK1v", "branch=z9hG4bK1u")),
        format!("{ours}Via: garbage\r\n{VIA}"),
    ] {
        assert_eq!(believed_by(&branches, &forged), None, "{forged}");
    }
    let other = response(&format!("{ours}{VIA}")).replace("tag=1928301774", "tag=1");
    assert_eq!(scanned(&other, |message| believed(&branches, message)), None);
}

#[test]
fn the_previous_key_still_counts() {
    let (old, new) = (TokenKey::new([1; 32]), TokenKey::new([2; 32]));
    let branch = given(&request("INVITE", VIA));
    let vias = format!("{}{VIA}", our_via(&branch));
    assert_eq!(believed_by(&Branches::new(&new, Some(&old)), &vias), Some(branch));
    assert_eq!(believed_by(&Branches::new(&new, None), &vias), None);
}

#[test]
fn a_request_that_comes_back_unchanged_has_looped_and_one_for_another_uri_spirals() {
    let first = request("INVITE", VIA);
    let back = our_via(&given(&first)) + VIA;
    assert!(!loops(&first));
    assert!(loops(&request("INVITE", &back)));
    let far = "Via: SIP/2.0/UDP p2;branch=z9hG4bK2, SIP/2.0/UDP p1;branch=z9hG4bK1\r\n".to_owned()
        + &back
        + "Via: SIP/2.0/TLS x\r\n";
    assert!(loops(&request("INVITE", &far)));
    assert!(!loops(&request("INVITE", &far).replace("INVITE sip:bob", "INVITE sip:carol")), "a spiral");
    assert!(!loops(&request("INVITE", &far).replace("From:", "Route: <sip:us;lr>\r\nFrom:")), "a spiral");
    assert!(!loops(&request("INVITE", &far.replace("776asdhds", "forged"))));
    // The second time round the spiral is a loop.
    let twice = our_via(&given(&request("INVITE", &far).replace("INVITE sip:bob", "INVITE sip:carol"))) + &far;
    assert!(loops(&request("INVITE", &twice).replace("INVITE sip:bob", "INVITE sip:carol")));
}

#[test]
fn a_loop_is_found_after_the_edits_that_forwarding_makes() {
    let branches = branches(1);
    let text = request("INVITE", &VIA.replace(";branch", ";rport;branch"));
    let branch = given(&text);
    let back = scanned(&text, |message| {
        let mut edits = Edits::default();
        edits.put_via(message, &[b"SIP/2.0/UDP 192.0.2.1:5060;branch=", branch.as_bytes()].concat());
        let (via, source) = (message.via().unwrap(), "198.51.100.7:4711".parse().unwrap());
        edits.complete_via(message, ViaCompletion::of(message.bytes(), &via, source), source);
        edits.count_hop(message);
        String::from_utf8(edits.pieces(message).collect::<Vec<_>>().concat()).unwrap()
    });
    scanned(&back, |message| assert!(branches.is_loop(message, &message.via().unwrap(), branches.way(message))));
}

#[test]
fn a_hundred_vias_are_looked_at_and_a_request_of_nothing_else_takes_linear_time() {
    let ours = our_via(&given(&request("INVITE", VIA)));
    let other = "SIP/2.0/UDP h;branch=z9hG4bK1";
    let after = |count: usize| format!("Via: {}\r\n{ours}{VIA}", vec![other; count].join(","));
    assert!(loops(&request("INVITE", &after(98))));
    assert!(!loops(&request("INVITE", &after(99))));
    // Our form on every line, a Call-ID that is all the rest: it is hashed once.
    let vias = ours.repeat(90);
    let long = request("INVITE", &vias).replace("a84b4c76e66710", &"c".repeat(50_000));
    assert!(!loops(&long));
}
