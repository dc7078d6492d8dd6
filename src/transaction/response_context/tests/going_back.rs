//! Requests that go back to an earlier attempt, and the 482 of a server that has them by two addresses.

use super::*;

#[test]
fn a_call_that_a_server_has_by_its_first_address_does_not_end_with_the_482_to_the_second() {
    for rings in [true, false] {
        let mut call = Call::begin_at_second_address();
        assert_eq!(call.gets_at(1, 482), ["ACK to 1"], "merged: RFC 3261 §8.2.2.2");
        assert_eq!(call.gets_at(1, 482), ["ACK to 1"], "a copy");
        if rings {
            assert_eq!(call.gets_at(0, 180), ["180 at 0"], "and no CANCEL");
        }
        assert_eq!(call.gets_at(0, 486), ["ACK to 1", "486 at 0"]);
    }
    let mut call = Call::begin_at_second_address();
    call.gets_at(1, 482);
    call.gets_at(0, 180);
    call.context.on_cancel(call.now, &mut call.out);
    assert_eq!(std::mem::take(&mut call.out), [Effect::AcceptCancel, Effect::Cancel(candidate(1))]);
    // One that gives no answer there either: then the 482 is all that has come (§16.7 step 6).
    for attempt in [0, 1] {
        let mut call = Call::begin_at_second_address();
        assert_eq!(call.gets_at(attempt, 482), ["ACK to 1"]);
        let ends: Vec<_> = call.passes(33_000).into_iter().filter(|(_, effect)| effect.starts_with("482 at")).collect();
        let end = if attempt == 0 { 33_000 } else { 32_000 };
        assert_eq!(ends.first(), Some(&(end, format!("482 at {attempt}"))));
    }
    let mut call = Call::begin_at_second_address();
    call.gets_at(1, 482);
    assert_eq!(call.gets_at(0, 503), ["ACK to 1", "Status(503) 1?"]);
    assert_eq!(call.next(Next::None), ["our 500"], "the outcome where the server has it");
    let mut call = Call::begin_at_second_address();
    call.cancels();
    assert_eq!(call.gets_at(1, 482), ["ACK to 1", "482 at 1"]);
    assert_eq!(call.gets_at(0, 100), ["CANCEL to 1"], "the caller's");
    // Without another attempt that may be answered it is a refusal like any other.
    let mut call = Call::begin(Kind::Invite);
    assert_eq!(call.gets(1, 482), ["ACK to 1", "482 of 1"]);
    let mut call = Call::begin(Kind::Invite);
    call.gets(1, 503);
    call.moves_to(2);
    assert_eq!(call.gets(2, 482), ["ACK to 2", "482 of 2"]);
}

#[test]
fn a_slow_server_that_rings_by_its_first_address_before_it_answers_the_second_with_482_is_not_cancelled() {
    for statuses in [&[100, 180][..], &[180]] {
        let mut call = Call::begin_at_second_address();
        for status in statuses {
            let passes: &[&str] = if *status == 180 { &["180 at 0"] } else { &[] };
            assert_eq!(call.gets_at(0, *status), passes);
        }
        assert_eq!(call.gets_at(1, 482), ["ACK to 1"]);
        assert_eq!(call.gets_at(0, 200), ["2xx"]);
    }
    // It is the second one that gets the CANCEL where both are servers of their own.
    let mut call = Call::begin_at_second_address();
    call.gets_at(0, 180);
    call.context.on_response(
        Response { proxy: ProxyId(1), attempt: 1, status: 180, bytes: b"" },
        call.now,
        &mut call.out,
    );
    let second = Candidate { attempt: 1, to: candidate(2).to, ..candidate(1) };
    assert_eq!(std::mem::take(&mut call.out), [Effect::Cancel(second)]);
    assert_eq!(call.gets_at(1, 487), ["ACK to 1"]);
    assert_eq!(call.gets_at(0, 200), ["2xx"]);
    // A 100 of the second one: a 100 of the first changes nothing, but the first that rings has the call.
    let mut call = Call::begin_at_second_address();
    call.gets_at(1, 100);
    assert_eq!(call.gets_at(0, 180), ["CANCEL to 1", "180 at 0"]);
    let mut call = Call::begin_at_second_address();
    call.gets_at(1, 100);
    assert_eq!(call.gets_at(0, 100), ["CANCEL to 1"]);
    assert_eq!(call.gets_at(1, 180), ["180 at 1"]);
}

#[test]
fn a_call_that_went_back_to_its_first_address_goes_to_a_third_as_another_attempt() {
    let mut call = Call::begin_at_second_address();
    assert_eq!(call.gets_at(0, 100), [""; 0]);
    assert_eq!(call.gets_at(1, 482), ["ACK to 1"]);
    assert_eq!(call.gets_at(0, 503), ["ACK to 1", "Status(503) 1?"]);
    call.next(Next::Sought);
    call.context.on_looked_up(Ok((ProxyId(1), candidate(3).to)), call.now, &mut call.out);
    let third = Candidate { attempt: 2, to: candidate(3).to, ..candidate(1) };
    assert_eq!(call.out, [Effect::Send { to: third, is_copy: false }]);
}

#[test]
fn a_482_of_a_proxy_reaches_the_caller_where_the_one_before_it_was_silent_or_down() {
    for (kind, is_down) in [Kind::Invite, Kind::Other].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut call = Call::begin(kind);
        if is_down {
            call.context.on_down(ProxyId(1), call.now, &mut call.out);
            assert_eq!(call.effects(), ["Down 1?"]);
        } else {
            call.passes(999);
            assert_eq!(call.waits().1.last().unwrap(), "Silent 1?");
        }
        call.moves_to(2);
        assert_eq!(call.gets(2, 482).last().unwrap(), "482 of 2", "{kind:?}, down: {is_down}");
        if kind == Kind::Invite {
            assert_eq!(call.gets(1, 180), ["CANCEL to 1"], "it was slow");
            assert_eq!(call.gets(1, 487), ["ACK to 1"]);
        }
    }
    // Nothing but an INVITE is left for another address while its outcome may still come.
    let mut call = Call::begin(Kind::Other);
    call.context.on_down(ProxyId(1), call.now, &mut call.out);
    call.effects();
    call.next(Next::Sought);
    call.context.on_looked_up(Ok((ProxyId(1), candidate(2).to)), call.now, &mut call.out);
    assert_eq!(call.effects(), ["request to 1"]);
    assert_eq!(call.gets_at(1, 482), ["482 at 1"]);
}
