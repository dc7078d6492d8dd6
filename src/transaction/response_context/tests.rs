use super::*;

mod going_back;
mod handed_on;
mod to_worker;
mod walk;

const MS: u64 = 1_000;

/// A context, with what it has had done shown as text.
struct Call {
    context: ResponseContext,
    now: Time,
    out: Vec<Effect>,
}

fn terms() -> Terms {
    let (second, pending_max) = (Duration::from_secs(1), Duration::from_secs(300));
    Terms { answer_within: second, retry_on: vec![500, 503, 504], tries: 3, pending_max }
}

fn candidate(proxy: u16) -> Candidate {
    Candidate { proxy: ProxyId(proxy), attempt: 0, to: Hop::Address(([192, 0, 2, proxy as u8], 5060).into()) }
}

fn shown(effect: Effect) -> String {
    let answer = |answer| match answer {
        Answer::Own(status) => format!("our {status}"),
        Answer::Theirs(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
    };
    match effect {
        Effect::Send { to, is_copy: false } => format!("request to {}", to.proxy.0),
        Effect::Send { to, is_copy: true } => format!("copy to {}", to.proxy.0),
        Effect::Ask { left, why, is_last } => format!("{why:?} {}{}?", left.0, if is_last { ", a worker" } else { "" }),
        Effect::TakeBack(proxy) => format!("taken back for {}", proxy.0),
        Effect::Cancel(to) => format!("CANCEL to {}", to.proxy.0),
        Effect::Acknowledge(to) => format!("ACK to {}", to.proxy.0),
        Effect::Respond(it) => answer(it),
        Effect::Again(it) => format!("{} again", answer(it)),
        Effect::Forward => "2xx".to_owned(),
        Effect::AcceptCancel => "200 to CANCEL".to_owned(),
    }
}

impl Call {
    fn begin(kind: Kind) -> Self {
        Self::begin_with(kind, terms())
    }

    fn begin_with(kind: Kind, terms: Terms) -> Self {
        let mut out = Vec::new();
        let terms = Arc::new(terms);
        let opening = Opening {
            kind,
            terms,
            first: Some(candidate(1)),
            is_reliable: false,
            may_be_forged: false,
            leads_to_flow: false,
            has_one_server: false,
            may_go_to_worker: false,
        };
        let context = ResponseContext::begin(opening, Time(0), &mut out);
        assert_eq!(out.drain(..).map(shown).collect::<Vec<_>>(), ["request to 1"]);
        Call { context, now: Time(0), out }
    }

    fn effects(&mut self) -> Vec<String> {
        self.out.drain(..).map(shown).collect()
    }

    /// A response of a proxy comes; its bytes name both.
    fn gets(&mut self, proxy: u16, status: u16) -> Vec<String> {
        self.gets_whole(proxy, status, &format!("{status} of {proxy}"))
    }

    fn gets_whole(&mut self, proxy: u16, status: u16, bytes: &str) -> Vec<String> {
        self.gets_in((proxy, 0), status, bytes);
        self.effects()
    }

    /// A response comes in an attempt at a proxy.
    fn gets_in(&mut self, (proxy, attempt): (u16, u8), status: u16, bytes: &str) {
        let response = Response { proxy: ProxyId(proxy), attempt, status, bytes: bytes.as_bytes() };
        assert!(self.context.on_response(response, self.now, &mut self.out));
    }

    fn cancels(&mut self) -> Vec<String> {
        self.context.on_cancel(self.now, &mut self.out);
        self.effects()
    }

    fn sends_again(&mut self) -> Vec<String> {
        self.context.on_copy(&mut self.out);
        self.effects()
    }

    fn fails(&mut self, proxy: u16) -> Vec<String> {
        self.context.on_unsent(ProxyId(proxy), self.now, &mut self.out);
        self.effects()
    }

    fn next(&mut self, next: Next) -> Vec<String> {
        self.context.on_next(next, self.now, &mut self.out);
        self.effects()
    }

    fn moves_to(&mut self, proxy: u16) -> Vec<String> {
        self.next(Next::This(candidate(proxy)))
    }

    /// All that is done until `until` (ms), each with its time. A question is answered "none".
    fn passes(&mut self, until: u64) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while !self.context.is_over(self.now) {
            let at = self.context.poll_timeout();
            if at > Time(until * MS) {
                break;
            }
            self.now = self.now.max(at);
            self.context.handle_timeout(self.now, &mut self.out);
            let effects = self.effects();
            let asks = effects.iter().any(|effect| effect.ends_with('?'));
            all.extend(effects.into_iter().map(|effect| (self.now.0 / MS, effect)));
            if asks {
                all.extend(self.next(Next::None).into_iter().map(|effect| (self.now.0 / MS, effect)));
            }
        }
        if !self.context.is_over(self.now) {
            self.now = Time(until * MS);
        }
        all
    }

    /// What is done at the next moment at which anything is.
    fn waits(&mut self) -> (u64, Vec<String>) {
        loop {
            self.now = self.context.poll_timeout();
            self.context.handle_timeout(self.now, &mut self.out);
            let effects = self.effects();
            if !effects.is_empty() {
                return (self.now.0 / MS, effects);
            }
        }
    }
}

fn at(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(at, effect)| (*at, (*effect).to_owned())).collect()
}

#[test]
fn a_call_that_is_answered_at_once_gets_no_100_and_its_context_ends_after_64_t1() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 100), [""; 0]);
    assert_eq!(call.gets(1, 180), ["180 of 1"]);
    assert_eq!(call.sends_again(), ["180 of 1 again"]);
    assert!(!call.context.is_settled());
    assert_eq!(call.gets(1, 200), ["2xx"]);
    assert!(call.context.is_settled(), "what follows could be forwarded as it comes");
    assert_eq!(call.gets(1, 200), ["2xx"], "a 2xx is repeated by its sender");
    assert_eq!(call.sends_again(), [""; 0], "RFC 6026 §7.1");
    assert!(!call.context.on_ack(call.now), "its ACK is not ours");
    assert_eq!(call.passes(60_000), []);
    assert_eq!((call.now, call.context.is_over(call.now)), (Time(32_000 * MS), true));
}

#[test]
fn a_100_leaves_after_200_ms_and_the_invite_again_by_timer_a() {
    let mut call = Call::begin(Kind::Invite);
    let until = call.passes(999);
    assert_eq!(until, at(&[(200, "our 100"), (500, "copy to 1")]));
    assert_eq!(call.sends_again(), ["our 100 again"]);
    assert_eq!(call.gets(1, 100), [""; 0]);
    assert_eq!(call.passes(30_000), [], "a provisional response ends timer A and the wait");
}

#[test]
fn a_receiver_has_the_request_in_another_attempt_at_its_next_address_and_a_cancel_goes_there() {
    let mut call = Call::begin(Kind::Invite);
    call.passes(999);
    assert_eq!(call.waits(), (1_000, vec!["Silent 1?".to_owned()]));
    let to = Hop::Address(([192, 0, 2, 99], 5060).into());
    let second = Candidate { attempt: 1, to, ..candidate(1) };
    assert_eq!(call.next(Next::Sought), [""; 0]);
    call.context.on_looked_up(Ok((ProxyId(1), to)), call.now, &mut call.out);
    assert_eq!(std::mem::take(&mut call.out), [Effect::Send { to: second, is_copy: false }]);
    assert_eq!(call.passes(1_900), at(&[(1_500, "copy to 1")]));
    call.gets_in((1, 1), 180, "it rings");
    assert_eq!(call.effects(), ["it rings"]);
    call.context.on_cancel(call.now, &mut call.out);
    assert_eq!(std::mem::take(&mut call.out), [Effect::AcceptCancel, Effect::Cancel(second)]);
    // The first one has been slow, and not down.
    call.gets_in((1, 0), 180, "");
    assert_eq!(std::mem::take(&mut call.out), [Effect::Cancel(candidate(1))]);
    call.gets_in((1, 0), 487, "");
    assert_eq!(std::mem::take(&mut call.out), [Effect::Acknowledge(candidate(1))]);
    call.gets_in((1, 1), 487, "it ends");
    assert_eq!(call.out.first(), Some(&Effect::Acknowledge(second)));
    assert_eq!(call.effects().pop().unwrap(), "it ends");
}

impl Call {
    /// A call whose first address is silent, and that goes to the second one of the same receiver.
    fn begin_at_second_address() -> Self {
        let mut call = Call::begin(Kind::Invite);
        call.passes(999);
        assert_eq!(call.waits().1, ["Silent 1?"]);
        call.next(Next::Sought);
        call.context.on_looked_up(Ok((ProxyId(1), candidate(2).to)), call.now, &mut call.out);
        assert_eq!(call.effects(), ["request to 1"]);
        call
    }

    /// A response comes in this attempt at the receiver.
    fn gets_at(&mut self, attempt: u8, status: u16) -> Vec<String> {
        self.gets_in((1, attempt), status, &format!("{status} at {attempt}"));
        self.effects()
    }
}

#[test]
fn a_request_waits_for_the_way_to_its_next_address_and_ends_where_there_is_none() {
    let sought = |why: &str| {
        let mut call = Call::begin(Kind::Invite);
        let asked = match why {
            "Unsent 1?" => call.fails(1),
            _ => call.gets(1, 503),
        };
        assert_eq!(asked.last().unwrap(), why);
        assert_eq!(call.next(Next::Sought), [""; 0]);
        call
    };
    for why in ["Unsent 1?", "Status(503) 1?"] {
        let mut call = sought(why);
        call.context.on_looked_up(Err(480), call.now, &mut call.out);
        assert_eq!(call.effects(), ["our 500"]);
        let mut call = sought(why);
        assert_eq!(call.cancels(), ["200 to CANCEL", "our 487"]);
        call.context.on_looked_up(Ok((ProxyId(1), candidate(2).to)), call.now, &mut call.out);
        assert_eq!(call.effects(), [""; 0]);
    }
    // One that has only been silent answers while the next one is looked for.
    for status in [100, 180, 200, 486] {
        let mut call = Call::begin(Kind::Invite);
        call.passes(999);
        assert_eq!(call.waits().1, ["Silent 1?"]);
        call.next(Next::Sought);
        call.gets(1, status);
        call.context.on_looked_up(Ok((ProxyId(1), candidate(2).to)), call.now, &mut call.out);
        assert_eq!(call.effects(), [""; 0], "{status}");
    }
}

#[test]
fn a_cancelled_call_ends_with_487_and_not_with_the_failure_that_it_went_on_after() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    call.moves_to(2);
    assert_eq!(call.cancels(), ["200 to CANCEL"]);
    assert_eq!(call.passes(32_000).pop(), Some((32_000, "our 487".to_owned())), "the second one is silent");
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    call.moves_to(2);
    call.cancels();
    assert_eq!(call.fails(2), ["our 487"]);
    // A response of the proxy that has it by then is the better one.
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    call.moves_to(2);
    call.cancels();
    assert_eq!(call.gets(2, 486), ["ACK to 2", "486 of 2"]);
}

#[test]
fn a_proxy_that_is_silent_loses_the_request_and_gets_a_cancel_only_when_it_rings() {
    let mut call = Call::begin(Kind::Invite);
    call.passes(999);
    assert_eq!(call.waits(), (1_000, vec!["Silent 1?".to_owned()]));
    assert_eq!(call.moves_to(2), ["request to 2"]);
    assert_eq!(call.passes(1_800), at(&[(1_500, "copy to 2")]), "no more copies to 1, no CANCEL");
    assert_eq!(call.gets(1, 180), ["CANCEL to 1"], "its 180 does not pass");
    assert_eq!(call.gets(2, 180), ["180 of 2"]);
    assert_eq!(call.gets(1, 487), ["ACK to 1"]);
    assert_eq!(call.gets(1, 487), ["ACK to 1"]);
    assert_eq!(call.gets(2, 200), ["2xx"]);
    assert_eq!(call.passes(60_000), []);
}

#[test]
fn late_2xx_after_fail_over_is_forwarded_and_the_call_does_not_ring_on_unacknowledged() {
    let mut call = Call::begin(Kind::Invite);
    call.passes(999);
    call.waits();
    call.moves_to(2);
    call.gets(2, 180);
    assert_eq!(call.gets(1, 200), ["2xx", "CANCEL to 2"], "one call stands, the other is cancelled");
    assert!(!call.context.is_settled());
    assert_eq!(call.gets(2, 200), ["2xx"], "CANCEL and 2xx have crossed: the caller sends a BYE");
    assert_eq!(call.gets(1, 200), ["2xx"]);
    // After a final response of ours as well.
    let mut call = Call::begin(Kind::Invite);
    let until = call.passes(31_999);
    assert!(!until.iter().any(|(_, effect)| effect == "our 408"));
    assert_eq!(call.passes(32_100), at(&[(32_000, "TimedOut 1?"), (32_000, "our 408")]));
    assert_eq!(call.gets(1, 200), ["2xx"]);
}

#[test]
fn endless_retransmission_after_the_caller_cancelled_ends_with_timer_b_and_nobody_else_gets_the_call() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.cancels(), ["200 to CANCEL"], "nothing to cancel before a provisional response");
    let copies = [500, 1_500, 3_500, 7_500, 15_500, 31_500].map(|at| (at, "copy to 1".to_owned()));
    let mut expected = copies.to_vec();
    expected.insert(0, (200, "our 100".to_owned()));
    assert_eq!(call.passes(31_999), expected, "no fail-over");
    assert_eq!(call.passes(32_200), at(&[(32_000, "our 487")]));
}

#[test]
fn a_cancel_is_held_until_the_first_provisional_response() {
    let mut call = Call::begin(Kind::Invite);
    call.cancels();
    call.passes(600);
    assert_eq!(call.gets(1, 100), ["CANCEL to 1"]);
    assert_eq!(call.gets(1, 180), ["180 of 1"]);
    assert_eq!(call.passes(2_200), at(&[(1_100, "CANCEL to 1"), (2_100, "CANCEL to 1")]));
    call.context.on_response_to_cancel((ProxyId(1), 0), 200, call.now);
    assert_eq!(call.passes(5_000), []);
    assert_eq!(call.gets(1, 487), ["ACK to 1", "487 of 1"]);
}

#[test]
fn a_repeated_cancel_gets_the_same_200_and_no_second_487_also_after_the_ack() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 180);
    assert_eq!(call.cancels(), ["200 to CANCEL", "CANCEL to 1"]);
    assert_eq!(call.cancels(), ["200 to CANCEL"]);
    assert_eq!(call.gets(1, 487), ["ACK to 1", "487 of 1"]);
    assert!(call.context.on_ack(call.now));
    assert_eq!(call.cancels(), ["200 to CANCEL"]);
    assert_eq!(call.passes(31_000), []);
    assert_eq!(call.cancels(), ["200 to CANCEL"], "64·T1 long");
    call.passes(60_000);
    assert!(call.context.is_over(call.now));
}

#[test]
fn fail_over_after_a_503_never_goes_where_the_owner_knows_no_better_proxy() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 503), ["ACK to 1", "Status(503) 1?"]);
    assert_eq!(call.next(Next::None), ["our 500"], "RFC 3261 §16.7: a lone 503 becomes a 500");
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    assert_eq!(call.next(Next::Nowhere), ["our 503"]);
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    assert_eq!(call.moves_to(1), ["our 500"], "one that has had it does not get it again");
}

#[test]
fn a_503_is_not_multiplied_by_the_hops_on_its_way() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    assert_eq!(call.moves_to(2), ["request to 2"]);
    assert_eq!(call.gets(2, 503), ["ACK to 2", "Status(503) 2?"]);
    assert_eq!(call.moves_to(3), ["request to 3"]);
    assert_eq!(call.gets(3, 503), ["ACK to 3", "our 500"], "three tries, then one 500");
}

#[test]
fn a_cancel_goes_to_the_address_of_its_invite_wherever_the_name_leads_by_then() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 100);
    call.context.on_cancel(call.now, &mut call.out);
    assert_eq!(call.out, [Effect::AcceptCancel, Effect::Cancel(candidate(1))]);
}

#[test]
fn a_busy_signal_or_a_refusal_is_not_tried_elsewhere() {
    for status in [300, 302, 401, 404, 408, 480, 486, 487, 501, 505, 600, 603] {
        let mut call = Call::begin(Kind::Invite);
        assert_eq!(call.gets(1, status), ["ACK to 1".to_owned(), format!("{status} of 1")]);
        assert_eq!(call.context.answered(), Some(status));
    }
}

#[test]
fn once_a_call_rings_nobody_else_gets_it() {
    for early in [101, 180, 183, 199] {
        let mut call = Call::begin(Kind::Invite);
        call.gets(1, early);
        assert_eq!(call.gets(1, 504), ["ACK to 1", "504 of 1"]);
    }
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 100);
    assert_eq!(call.gets(1, 504), ["ACK to 1", "Status(504) 1?"], "a 100 binds nothing");
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 100);
    call.cancels();
    assert_eq!(call.gets(1, 503), ["ACK to 1", "our 500"], "a cancelled call moves nowhere");
}

#[test]
fn a_silent_proxy_keeps_the_request_while_no_other_is_better_and_is_asked_about_again() {
    let mut call = Call::begin(Kind::Invite);
    let questions =
        |all: &[(u64, String)]| all.iter().filter(|(_, it)| it == "Silent 1?").map(|(at, _)| *at).collect::<Vec<_>>();
    let all = call.passes(3_600);
    assert_eq!(questions(&all), [1_000, 2_000, 3_000]);
    assert!(all.contains(&(3_500, "copy to 1".to_owned())));
    assert_eq!(call.gets(1, 180), ["180 of 1"]);
    assert_eq!(call.passes(100_000), []);
}

#[test]
fn a_request_that_cannot_be_sent_goes_on_and_at_last_counts_as_a_503() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.fails(1), ["Unsent 1?"]);
    assert_eq!(call.moves_to(2), ["request to 2"]);
    assert_eq!(call.fails(1), [""; 0]);
    assert_eq!(call.fails(2), ["Unsent 2?"]);
    assert_eq!(call.next(Next::None), ["our 500"]);
    assert_eq!(call.gets(1, 200), ["2xx"], "it had arrived after all");
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 180);
    assert_eq!(call.fails(1), [""; 0], "a proxy that has answered is there");
}

#[test]
fn the_best_response_is_a_6xx_then_the_lowest_class_and_in_it_what_can_be_mended() {
    let best = |first: u16, second: u16| {
        let terms = Terms { retry_on: vec![first], ..terms() };
        let mut call = Call::begin_with(Kind::Invite, terms);
        call.gets(1, first);
        call.moves_to(2);
        call.gets(2, second).pop().unwrap()
    };
    assert_eq!(best(503, 486), "486 of 2");
    assert_eq!(best(404, 500), "404 of 1");
    assert_eq!(best(420, 404), "420 of 1");
    assert_eq!(best(500, 503), "500 of 1");
    assert_eq!(best(503, 500), "500 of 2");
    assert_eq!(best(486, 302), "302 of 2");
    assert_eq!(best(486, 603), "603 of 2");
    assert_eq!(best(480, 486), "486 of 2", "of equals the one that came last");
}

#[test]
fn a_6xx_of_an_abandoned_proxy_cancels_the_others_and_wins() {
    let mut call = Call::begin(Kind::Invite);
    call.passes(999);
    call.waits();
    call.moves_to(2);
    call.gets(2, 180);
    assert_eq!(call.gets(1, 603), ["ACK to 1", "CANCEL to 2"], "not at once: a 2xx may still come");
    assert_eq!(call.gets(2, 487), ["ACK to 2", "603 of 1"]);
}

#[test]
fn challenges_of_several_proxies_are_collected() {
    let response = |status: u16, challenge: &str| {
        format!(
            "SIP/2.0 {status} No\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag={status}\r\n\
             Call-ID: x\r\nCSeq: 1 INVITE\r\n{challenge}Content-Length: 0\r\n\r\n"
        )
    };
    let (www, proxy) =
        ("WWW-Authenticate: Digest realm=\"1\", nonce=\"a\"\r\n", "Proxy-Authenticate: Digest realm=\"2\"\r\n");
    let mut call = Call::begin_with(Kind::Invite, Terms { retry_on: vec![407], ..terms() });
    assert_eq!(call.gets_whole(1, 407, &response(407, proxy)).pop().unwrap(), "Status(407) 1?");
    call.moves_to(2);
    assert_eq!(
        call.gets_whole(2, 401, &response(401, www)).pop().unwrap(),
        response(401, www).replace("\r\n\r\n", &format!("\r\n{proxy}\r\n"))
    );
    // One challenge alone goes as it came.
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 407), ["ACK to 1", "407 of 1"]);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_which_goes_no_further() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 486);
    assert_eq!(call.passes(1_600), at(&[(500, "486 of 1 again"), (1_500, "486 of 1 again")]));
    assert_eq!(call.sends_again(), ["486 of 1 again"]);
    assert!(call.context.on_ack(call.now) && call.context.on_ack(call.now));
    assert_eq!(call.passes(60_000), []);
    assert_eq!(call.now, Time(32_000 * MS), "timer D of the branch ends last");
}

#[test]
fn after_pending_max_a_ringing_call_is_cancelled_and_one_without_any_answer_ends() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 100);
    call.passes(200_000);
    call.gets(1, 180);
    assert_eq!(call.passes(499_999), []);
    assert_eq!(call.waits(), (500_000, vec!["CANCEL to 1".to_owned()]));
    assert_eq!(call.gets(1, 487), ["ACK to 1", "487 of 1"]);
    // A server that does not answer the CANCEL either.
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 180);
    let all = call.passes(332_100);
    assert_eq!(all.last(), Some(&(332_000, "our 408".to_owned())));
    assert_eq!(all.iter().filter(|(_, it)| it == "CANCEL to 1").count(), 11);
}

#[test]
fn another_request_moves_on_is_never_cancelled_and_gets_exactly_one_final_response() {
    let mut call = Call::begin(Kind::Other);
    assert_eq!(call.passes(999), at(&[(500, "copy to 1")]), "no 100 so soon");
    assert_eq!(call.waits(), (1_000, vec!["Silent 1?".to_owned()]));
    assert_eq!(call.moves_to(2), ["request to 2"]);
    assert_eq!(call.gets(1, 100), [""; 0], "RFC 4320 §4.1");
    assert_eq!(call.gets(1, 200), ["200 of 1"]);
    assert_eq!(call.gets(2, 200), [""; 0]);
    assert_eq!(call.sends_again(), ["200 of 1 again"]);
    assert_eq!(call.cancels(), ["200 to CANCEL"]);
    assert_eq!(call.passes(60_000), []);
    assert_eq!(call.now, Time(33_000 * MS));
}

#[test]
fn a_408_of_another_request_is_not_sent_upstream() {
    let mut call = Call::begin(Kind::Other);
    assert_eq!(call.gets(1, 408), [""; 0]);
    assert!(call.context.is_over(call.now));
    let mut call = Call::begin(Kind::Other);
    let all = call.passes(60_000);
    assert_eq!(
        all.iter().filter(|(_, it)| it.starts_with("our")).collect::<Vec<_>>(),
        [&(3_500, "our 100".to_owned())]
    );
    assert_eq!((call.now, call.context.is_over(call.now)), (Time(32_000 * MS), true));
    assert_eq!(call.gets(1, 200), [""; 0], "RFC 4320 §4.2: none that is late");
}

#[test]
fn responses_that_contradict_each_other_do_no_harm() {
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 200);
    assert_eq!(call.gets(1, 486), [""; 0], "a refusal after a 2xx is neither acknowledged nor passed on");
    assert_eq!(call.gets(1, 180), [""; 0]);
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 486);
    assert_eq!(call.gets(1, 603), ["ACK to 1"]);
    assert_eq!(call.gets(1, 200), ["2xx"], "a 2xx after a 4xx: the caller decides");
    let response = Response { proxy: ProxyId(9), attempt: 0, status: 200, bytes: b"" };
    assert!(!call.context.on_response(response, call.now, &mut call.out), "no branch of this context");
}

#[test]
fn a_caller_that_may_be_forged_gets_a_refusal_at_most_five_times() {
    let terms = Arc::new(terms());
    let opening = Opening {
        kind: Kind::Invite,
        terms,
        first: Some(candidate(1)),
        is_reliable: false,
        may_be_forged: true,
        leads_to_flow: false,
        has_one_server: false,
        may_go_to_worker: false,
    };
    let mut out = Vec::new();
    let context = ResponseContext::begin(opening, Time(0), &mut out);
    let mut call = Call { context, now: Time(0), out };
    call.effects();
    for _ in 0..20 {
        assert_eq!(call.gets(1, 180), ["180 of 1"], "the server's own responses are not counted");
    }
    call.gets(1, 486);
    assert_eq!(call.passes(60_000).len(), 3);
}

#[test]
fn a_question_that_the_owner_forgets_keeps_nothing_for_ever() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 503), ["ACK to 1", "Status(503) 1?"]);
    assert_eq!(call.passes(0), at(&[(0, "our 500")]));
}

#[test]
fn a_pending_call_takes_at_most_a_kibibyte_beside_its_message() {
    let size = size_of::<ResponseContext>() + 3 * size_of::<Branch>();
    assert!(size <= 1_024, "{size}");
}

#[test]
fn a_server_that_rings_on_after_its_connection_was_cut_keeps_nothing_for_ever() {
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 180), ["180 of 1"]);
    call.context.on_cut(ProxyId(1), call.now, &mut call.out);
    assert_eq!(call.effects(), ["our 503"]);
    for late in [1_000, 20_000] {
        call.passes(late);
        assert_eq!(call.gets(1, 180), [""; 0], "the caller has its answer");
    }
    call.passes(40_000);
    assert!(call.context.is_over(call.now), "{:?}", call.context);
}
