//! Requests of a `stateful` pool: what leaves for whom, and when.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::PoolMode;

const LISTENER: &str = "192.0.2.2:5060";
const CALLER: &str = "192.0.2.1:4711";

struct Rig {
    switch: Switch<Mute>,
    now: Time,
    /// Whether another dispatcher takes over after each step.
    is_taken_over: bool,
}

/// A datagram that left, and the last number of the host that it went to: 1 is the caller, 11 and 12 the proxies.
struct Left {
    to: u8,
    text: String,
}

impl Left {
    fn shown(&self) -> String {
        let line = self.text.lines().next().unwrap();
        let words: Vec<_> = line.split(' ').take(2).collect();
        let name = if words[0] == "SIP/2.0" { words[1] } else { words[0] };
        format!("{name} to {}", self.to)
    }

    fn vias(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with("Via:")).collect()
    }
}

impl Rig {
    fn new() -> Self {
        let [rig, _] = Rig::each();
        rig
    }

    /// A dispatcher that stays, and one that is followed by another after each message that leaves.
    fn each() -> [Self; 2] {
        [false, true].map(|is_taken_over| {
            let pool = Pool { mode: PoolMode::Stateful, ..Pool::default() };
            Rig { switch: in_front(pool, &["192.0.2.11", "192.0.2.12"]), now: NOW, is_taken_over }
        })
    }

    fn left(&mut self) -> Vec<Left> {
        let mut all = Vec::new();
        self.switch.flush_answers(|batch| {
            all.extend(batch.map(|(bytes, to): (&[u8], SocketAddr)| {
                let SocketAddr::V4(to) = to else { panic!("IPv4") };
                Left { to: to.ip().octets()[3], text: String::from_utf8_lossy(bytes).into_owned() }
            }));
        });
        self.switch.check();
        if self.is_taken_over && !all.is_empty() {
            self.switch = taken_over(&mut self.switch, |_| {}, self.now.0);
            self.switch.on_taken_over(self.now);
            self.switch.check();
        }
        all
    }

    fn comes(&mut self, text: &str, source: &str) -> Vec<Left> {
        let ends = (source.parse().unwrap(), LISTENER.parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    fn calls(&mut self, text: &str) -> Vec<Left> {
        self.comes(text, CALLER)
    }

    /// The proxy responds to a request that it got.
    fn responds(&mut self, request: &Left, status: u16) -> Vec<Left> {
        let fields: String = request
            .text
            .split("\r\n")
            .skip(1)
            .filter(|line| ["Via", "From", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(&format!("{name}:"))))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let text =
            format!("SIP/2.0 {status} X\r\n{fields}To: <sip:a@h>;tag=p{}\r\nContent-Length: 0\r\n\r\n", request.to);
        self.comes(&text, &format!("192.0.2.{}:5080", request.to))
    }

    /// All that leaves until `until` (ms), each with its time.
    fn passes(&mut self, until: u64) -> Vec<(u64, Left)> {
        let mut all = Vec::new();
        let end = NOW + Duration::from_millis(until);
        while let Some(at) = self.switch.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at) + Duration::from_micros(1);
            self.switch.handle_timeout(self.now);
            let at = self.now.since(NOW).as_millis() as u64 / 100 * 100;
            all.extend(self.left().into_iter().map(|left| (at, left)));
        }
        self.now = end;
        all
    }
}

fn request(method: &str) -> String {
    format!(
        "{method} sip:a@h.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK-1\r\n\
         From: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x@c\r\nCSeq: 7 {method}\r\nMax-Forwards: 70\r\n\r\n"
    )
}

fn shown(all: &[Left]) -> Vec<String> {
    all.iter().map(Left::shown).collect()
}

fn timed(all: &[(u64, Left)]) -> Vec<(u64, String)> {
    all.iter().map(|(at, left)| (*at, left.shown())).collect()
}

fn at(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(at, text)| (*at, (*text).to_owned())).collect()
}

#[test]
fn a_silent_server_loses_the_call_to_another_and_is_cancelled_when_it_rings_at_last() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        assert_eq!(first.shown(), "INVITE to 11");
        assert_eq!(timed(&rig.passes(900)), at(&[(200, "100 to 1"), (500, "INVITE to 11")]));
        let mut moved = rig.passes(1_100);
        assert_eq!(timed(&moved), at(&[(1_000, "INVITE to 12")]));
        let second = moved.pop().unwrap().1;
        assert_ne!(first.vias()[0], second.vias()[0], "another branch");
        assert_eq!(first.vias()[1], second.vias()[1]);
        assert_eq!(shown(&rig.responds(&second, 180)), ["180 to 1"]);
        let cancel = rig.responds(&first, 180).pop().unwrap();
        assert_eq!((cancel.shown(), cancel.vias()), ("CANCEL to 11".to_owned(), vec![first.vias()[0]]));
        assert_eq!(shown(&rig.responds(&cancel, 200)), [""; 0]);
        let ack = rig.responds(&first, 487).pop().unwrap();
        assert_eq!((ack.shown(), ack.vias()), ("ACK to 11".to_owned(), vec![first.vias()[0]]));
        assert!(ack.text.contains("To: <sip:a@h>;tag=p11\r\n"), "{}", ack.text);
        let answer = rig.responds(&second, 200).pop().unwrap();
        assert_eq!((answer.shown(), answer.vias().len()), ("200 to 1".to_owned(), 1));
        assert_eq!(timed(&rig.passes(60_000)), []);
        let counters = rig.switch.dispatch().counters();
        assert_eq!(counters.of(Reason::ResponseForged), 0);
    }
}

#[test]
fn a_call_that_rings_for_too_long_is_cancelled_after_timer_c() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        assert_eq!(shown(&rig.responds(&first, 180)), ["180 to 1"]);
        assert_eq!(timed(&rig.passes(200_000)), []);
        assert_eq!(shown(&rig.calls(&request("INVITE"))), ["180 to 1"]);
        let all = timed(&rig.passes(300_100));
        assert_eq!(all, at(&[(300_000, "CANCEL to 11")]), "RFC 3261 §16.8");
        assert_eq!(shown(&rig.responds(&first, 487)), ["ACK to 11", "487 to 1"]);
    }
}

#[test]
fn a_call_moves_on_after_a_takeover_whose_settings_have_lost_its_silent_server() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(&request("INVITE")).pop().unwrap().shown(), "INVITE to 11");
    rig.switch = taken_over(&mut rig.switch, |rules| drop(rules.proxies.remove(0)), 1);
    rig.switch.on_taken_over(rig.now);
    let all = timed(&rig.passes(1_100));
    assert_eq!(all.last(), Some(&(1_000, "INVITE to 12".to_owned())), "{all:?}");
}

#[test]
fn a_call_that_a_fallback_pool_has_goes_on_to_the_pool_after_that_though_a_dispatcher_takes_over() {
    for is_taken_over in [false, true] {
        let mut rig = Rig::new();
        let mut rules = rig.switch.dispatch().rules().clone();
        let pool = |name: &str| Pool { name: name.to_owned(), mode: PoolMode::Stateful, ..Pool::default() };
        let fallback = ["first", "second"].map(str::to_owned).into();
        rules.pools = vec![Pool { fallback, ..pool(Pool::DEFAULT) }, pool("first"), pool("second")];
        for (proxy, pool) in rules.proxies.iter_mut().zip(["first", "second"]) {
            proxy.pool = pool.to_owned();
        }
        rig.switch.reload(rules, Insert::None, 0, rig.now);
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        assert_eq!(first.shown(), "INVITE to 11");
        if is_taken_over {
            // The numbers of pools are others there.
            rig.switch = taken_over(&mut rig.switch, |rules| rules.pools.reverse(), 1);
            rig.switch.on_taken_over(rig.now);
        }
        assert_eq!(shown(&rig.responds(&first, 503)), ["ACK to 11", "INVITE to 12"]);
    }
}

#[test]
fn a_call_for_help_moves_to_a_server_that_wants_no_requests_and_another_call_does_not() {
    for is_for_help in [true, false] {
        let mut rig = Rig::new();
        let mut rules = rig.switch.dispatch().rules().clone();
        rules.proxies.iter_mut().for_each(|proxy| proxy.oc = true);
        rig.switch.reload(rules, Insert::None, 0, rig.now);
        for number in 0..2 {
            let mut sent = rig.calls(&another("INVITE", number)).pop().unwrap();
            if sent.to == 12 {
                let wish = ";oc=100;oc-algo=\"loss\";oc-validity=500000;oc-seq=1.0";
                sent.text = sent.text.replacen(";oc;oc-algo=\"loss\"", wish, 1);
            }
            assert_eq!(shown(&rig.responds(&sent, 200)), ["200 to 1"]);
        }
        let help = if is_for_help { "Resource-Priority: esnet.0\r\nMax-F" } else { "Max-F" };
        // One of them may go to the other server at once.
        let mut calls =
            (2..99).map(|number| rig.calls(&another("INVITE", number).replace("Max-F", help)).pop().unwrap());
        let first = calls.find(|sent| sent.to == 11).unwrap();
        let next = if is_for_help { "INVITE to 12" } else { "500 to 1" };
        assert_eq!(shown(&rig.responds(&first, 503)), ["ACK to 11", next]);
    }
}

#[test]
fn a_503_moves_the_call_and_a_busy_signal_does_not() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        let moved = rig.responds(&first, 503);
        assert_eq!(shown(&moved), ["ACK to 11", "INVITE to 12"]);
        assert_eq!(shown(&rig.responds(&first, 503)), ["ACK to 11"]);
        assert_eq!(shown(&rig.responds(&moved[1], 486)), ["ACK to 12", "486 to 1"]);
        assert_eq!(timed(&rig.passes(600)), at(&[(500, "486 to 1")]));
        assert_eq!(shown(&rig.calls(&request("INVITE"))), ["486 to 1"]);
        let ack = request("ACK").replace("To: <sip:a@h>", "To: <sip:a@h>;tag=p12");
        assert_eq!(shown(&rig.calls(&ack)), [""; 0], "absorbed");
        assert_eq!(timed(&rig.passes(60_000)), []);
        let counters = rig.switch.dispatch().counters();
        assert_eq!((counters.of(Reason::MovedStatus), counters.of(Reason::OwnAck)), (1, 1));
    }
}

#[test]
fn a_cancel_waits_for_the_first_response_and_each_copy_of_it_gets_a_200() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        let accepted = rig.calls(&request("CANCEL")).pop().unwrap();
        assert_eq!(accepted.shown(), "200 to 1");
        assert_eq!(timed(&rig.passes(1_400)), at(&[(200, "100 to 1"), (500, "INVITE to 11")]), "no fail-over");
        assert_eq!(rig.calls(&request("CANCEL")).pop().unwrap().text, accepted.text);
        assert_eq!(shown(&rig.responds(&first, 100)), ["CANCEL to 11"]);
        assert_eq!(shown(&rig.responds(&first, 487)), ["ACK to 11", "487 to 1"]);
        assert_eq!(rig.calls(&request("CANCEL")).pop().unwrap().text, accepted.text);
    }
}

#[test]
fn when_no_server_answers_the_caller_hears_of_it_once_and_its_ack_ends_it() {
    for mut rig in Rig::each() {
        rig.calls(&request("INVITE"));
        let all = rig.passes(40_000);
        let finals: Vec<_> =
            all.iter().filter(|(_, left)| left.to == 1 && !left.text.starts_with("SIP/2.0 100")).collect();
        assert_eq!(finals[0].1.shown(), "408 to 1");
        let tag = finals[0].1.text.split_once("To: <sip:a@h>").unwrap().1.split_once("\r\n").unwrap().0;
        assert!(finals.iter().all(|(_, left)| left.text == finals[0].1.text));
        let ack = request("ACK").replace("To: <sip:a@h>", &format!("To: <sip:a@h>{tag}"));
        assert_eq!(shown(&rig.calls(&ack)), [""; 0]);
        assert_eq!(timed(&rig.passes(80_000)), [], "no more copies after the ACK");
    }
}

#[test]
fn a_late_2xx_reaches_the_caller_however_the_call_ended_for_the_dispatcher() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("INVITE")).pop().unwrap();
        let moved = rig.passes(1_100).pop().unwrap().1;
        rig.responds(&moved, 486);
        let late = rig.responds(&first, 200);
        assert_eq!(shown(&late), ["200 to 1"]);
        assert_eq!(late[0].vias().len(), 1);
    }
}

#[test]
fn another_request_moves_on_and_its_answer_is_kept_for_copies() {
    for mut rig in Rig::each() {
        let first = rig.calls(&request("MESSAGE")).pop().unwrap();
        assert_eq!(first.shown(), "MESSAGE to 11");
        let mut moved = rig.passes(1_100);
        assert_eq!(timed(&moved), at(&[(500, "MESSAGE to 11"), (1_000, "MESSAGE to 12")]));
        let second = moved.pop().unwrap().1;
        assert_eq!(shown(&rig.responds(&second, 202)), ["202 to 1"]);
        assert_eq!(shown(&rig.responds(&first, 202)), [""; 0]);
        assert_eq!(shown(&rig.calls(&request("MESSAGE"))), ["202 to 1"]);
    }
}

/// The request of another call.
fn another(method: &str, number: u32) -> String {
    request(method).replace("z9hG4bK-1", &format!("z9hG4bK-{number}")).replace("x@c", &format!("{number}@c"))
}

#[test]
fn a_call_does_not_move_to_a_server_that_is_slow_itself() {
    let mut rig = Rig::new();
    assert_eq!(shown(&rig.calls(&another("INVITE", 1))), ["INVITE to 11"]);
    assert_eq!(shown(&rig.calls(&another("INVITE", 2))), ["INVITE to 12"]);
    let all = rig.passes(3_000);
    let copies: Vec<_> = all.iter().filter(|(_, left)| left.to != 1).map(|(at, left)| (*at, left.to)).collect();
    assert_eq!(copies, [(500, 11), (500, 12), (1_500, 11), (1_500, 12)]);
    assert_eq!(rig.switch.dispatch().counters().of(Reason::MovedSilent), 0);
}

#[test]
fn when_a_server_dies_every_call_is_answered_by_the_other() {
    let mut rig = Rig::new();
    let mut waiting = Vec::new();
    let mut answered = 0;
    for number in 0..200 {
        let sent = rig.calls(&another("INVITE", number));
        waiting.extend(sent);
        let left = rig.passes(10 * u64::from(number + 1));
        waiting.extend(left.into_iter().map(|(_, left)| left));
        for left in std::mem::take(&mut waiting) {
            // Host 11 is dead.
            if left.to == 12 && left.text.starts_with("INVITE") {
                answered += rig.responds(&left, 200).iter().filter(|left| left.shown() == "200 to 1").count();
            }
        }
    }
    for turn in 0..400 {
        for (_, left) in rig.passes(2_000 + 10 * turn) {
            if left.to == 12 && left.text.starts_with("INVITE") {
                answered += rig.responds(&left, 200).iter().filter(|left| left.shown() == "200 to 1").count();
            }
        }
    }
    assert_eq!(answered, 200);
}
