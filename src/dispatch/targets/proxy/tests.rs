use super::*;

fn at(milliseconds: u64) -> Time {
    Time(1_000_000_000 + milliseconds * 1_000)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn terms() -> Terms {
    let limits = Limits { capacity: None, interval: ms(2_000), session_time: ms(180_000), lanes: 1 };
    Terms {
        handicap: 100.0,
        fall: 2,
        rise: 2,
        probe_interval: ms(2_000),
        probe_within: ms(1_000),
        is_probed: true,
        limits,
        slow_start: ms(10_000),
        is_redirected: false,
        asks_overload: false,
        transport: Transport::Udp,
        is_identified: false,
        moves_dialogs: false,
        connections: 0,
    }
}

fn proxy() -> Proxy {
    Proxy::new(Some("192.0.2.1:5060".parse().unwrap()), 3, terms(), at(0))
}

const fn probe(number: u32) -> ProbeNumber {
    ProbeNumber { life: 3, number }
}

const fn ok(delay: Duration) -> Answered {
    Answered { status: 200, retry_after: None, delay }
}

const FAILED: Final = Final { status: 503, retry_after: None, begins_call: true };

#[test]
fn reported_load_and_delay_move_the_weight_that_is_shown() {
    let mut proxy = proxy();
    assert_eq!(proxy.shown_weight(at(0)), 100);
    proxy.on_probe_answered(probe(1), &ok(ms(1)), at(0));
    proxy.on_probe_answered(probe(2), &ok(ms(21)), at(0));
    assert_eq!(proxy.shown_weight(at(0)), 20);
    proxy.on_load(&Reported { used: Some(50.0), total: Some(100.0), ..Reported::default() }, at(0));
    assert_eq!(proxy.shown_weight(at(0)), 10);
    proxy.on_load(&Reported { used: Some(100.0), total: Some(100.0), ..Reported::default() }, at(0));
    assert_eq!((proxy.shown_weight(at(0)), proxy.takes_new(at(0)), proxy.is_full(at(0))), (0, false, true));
    assert_eq!(proxy.shown_weight(at(7_000)), 20, "an old report is no report");
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut proxy = proxy();
    (1..=2).for_each(|number| proxy.on_probe_lost(probe(number), at(1_000)));
    assert_eq!(proxy.state(at(1_000)), State::Down);
    (1..=2).for_each(|number| proxy.on_probe_answered(probe(number), &ok(ms(1_500)), at(1_500)));
    (5..=9).for_each(|number| proxy.on_probe_answered(ProbeNumber { life: 2, number }, &ok(ms(1)), at(1_500)));
    assert_eq!(proxy.state(at(1_500)), State::Down);
    assert_eq!((proxy.counts.probes, proxy.counts.probes_lost), (2, 2));
    (3..=4).for_each(|number| proxy.on_probe_answered(probe(number), &ok(ms(1)), at(2_000)));
    assert_eq!(proxy.state(at(2_000)), State::Up, "it is probed on");
}

#[test]
fn a_server_that_fails_at_once_is_never_fast() {
    let mut proxy = proxy();
    for _ in 0..4 {
        let sent = proxy.on_sent(at(0));
        proxy.on_first_response(sent, 503, at(0));
        proxy.on_final_response(FAILED, at(0));
    }
    assert_eq!((proxy.shown_weight(at(0)), proxy.outstanding()), (1, 0));
    let sent = proxy.on_sent(at(0));
    proxy.on_first_response(sent, 503, at(0));
    proxy.on_final_response(FAILED, at(0));
    assert_eq!((proxy.state(at(0)), proxy.why()), (State::Down, Why::Status));
    assert_eq!(proxy.poll_change(at(0)), Some(Change { state: State::Down, why: Why::Status }));
    assert_eq!(proxy.poll_change(at(999)), None);
    assert_eq!(proxy.poll_change(at(1_000)), Some(Change { state: State::Trial, why: Why::Status }));
    let sent = proxy.on_sent(at(1_000));
    proxy.on_first_response(sent, 180, at(1_001));
    assert_eq!(proxy.poll_change(at(1_001)), Some(Change { state: State::Up, why: Why::Answer }));
}

#[test]
fn the_first_response_alone_ends_the_waiting() {
    let mut proxy = proxy();
    let sent = proxy.on_sent(at(0));
    proxy.on_first_response(sent, 100, at(5));
    proxy.on_first_response(sent, 180, at(900));
    proxy.on_given_up(sent, at(950));
    assert_eq!((proxy.outstanding(), proxy.delay.smoothed(at(950))), (0, 5_000.0));
    proxy.on_first_response(Sent { life: 2, ..proxy.clone().on_sent(at(950)) }, 200, at(951));
    proxy.check(at(951));
}

#[test]
fn a_request_that_waits_wishes_for_a_probe_once_and_then_counts_as_silence() {
    let mut proxy = proxy();
    (0..5).for_each(|_| _ = proxy.on_sent(at(0)));
    proxy.handle_timeout(at(199));
    assert!(!proxy.poll_wish(at(199)));
    proxy.handle_timeout(at(200));
    assert!(proxy.poll_wish(at(200)) && !proxy.poll_wish(at(200)));
    proxy.handle_timeout(at(499));
    assert!(!proxy.poll_wish(at(499)) && proxy.state(at(499)) == State::Up);
    assert_eq!(proxy.shown_weight(at(499)), 1);
    proxy.handle_timeout(at(500));
    assert_eq!((proxy.state(at(500)), proxy.why()), (State::Down, Why::Silent));
    proxy.handle_timeout(at(32_000));
    assert_eq!((proxy.outstanding(), proxy.counts.failed), (0, 5));
}

#[test]
fn one_request_and_the_probe_that_it_wished_for_are_enough_where_few_requests_go() {
    for (is_probed, is_answered, state) in
        [(true, false, State::Down), (true, true, State::Up), (false, false, State::Up)]
    {
        let mut proxy = proxy();
        proxy.set_terms(Terms { is_probed, ..terms() }, at(0));
        proxy.on_sent(at(0));
        for now in [200, 500, 899, 900] {
            proxy.handle_timeout(at(now));
            if proxy.poll_wish(at(now)) && is_answered {
                proxy.on_probe_answered(probe(1), &ok(ms(1)), at(now));
            }
            assert!(now == 900 || proxy.state(at(now)) == State::Up, "{now}");
        }
        assert_eq!(proxy.state(at(900)), state);
    }
}

#[test]
fn a_request_that_a_server_lost_when_it_died_does_not_keep_calls_away_from_it_when_it_is_back() {
    let mut proxy = proxy();
    proxy.set_terms(Terms { slow_start: Duration::ZERO, ..terms() }, at(0));
    proxy.on_probe_answered(probe(1), &ok(ms(1)), at(0));
    proxy.on_sent(at(1));
    (2..=3).for_each(|number| proxy.on_probe_refused(probe(number), at(200)));
    assert_eq!(proxy.state(at(200)), State::Down);
    (4..=20).for_each(|number| proxy.on_probe_answered(probe(number), &ok(ms(1)), at(1_000 * u64::from(number))));
    assert_eq!((proxy.state(at(20_000)), proxy.outstanding()), (State::Up, 1));
    assert!(proxy.shown_weight(at(20_000)) > 80, "{}", proxy.shown_weight(at(20_000)));
    // One of now counts.
    proxy.on_sent(at(20_000));
    assert_eq!(proxy.shown_weight(at(20_500)), 1);
    proxy.check(at(20_500));
}

#[test]
fn nothing_listens_and_a_second_probe_at_once_confirms_it() {
    let mut proxy = proxy();
    proxy.on_probe_refused(probe(1), at(0));
    assert!(proxy.poll_wish(at(0)) && proxy.state(at(0)) == State::Up);
    proxy.on_probe_refused(probe(2), at(1));
    assert!(!proxy.poll_wish(at(1)) && proxy.state(at(1)) == State::Down);
    assert_eq!((proxy.why(), proxy.counts.probes_lost), (Why::Refused, 2));
}

#[test]
fn a_probe_that_is_answered_with_a_failure_is_lost_and_one_with_503_is_not() {
    for (status, state) in [(408, State::Down), (500, State::Down), (504, State::Down), (503, State::Up)] {
        let mut proxy = proxy();
        let answered = Answered { status, retry_after: None, delay: ms(1) };
        (1..=2).for_each(|number| proxy.on_probe_answered(probe(number), &answered, at(0)));
        assert_eq!((proxy.state(at(0)), proxy.takes_new(at(0))), (state, false), "{status}");
    }
    for status in [400, 401, 404, 405, 420, 483, 501, 603] {
        let mut proxy = proxy();
        let answered = Answered { status, retry_after: None, delay: ms(1) };
        (1..=2).for_each(|number| proxy.on_probe_answered(probe(number), &answered, at(0)));
        assert!(proxy.takes_new(at(0)), "{status} is an answer");
    }
}

#[test]
fn only_a_proxy_that_is_quick_itself_gets_what_another_one_left() {
    let mut proxy = proxy();
    assert!(proxy.is_quick(ms(1_000), at(0)));
    let sent = proxy.on_sent(at(0));
    assert_eq!([249, 250].map(|now| proxy.is_quick(ms(1_000), at(now))), [true, false]);
    proxy.on_first_response(sent, 200, at(300));
    assert!(!proxy.is_quick(ms(1_000), at(300)), "it took longer than a quarter");
}

#[test]
fn orders_and_words_keep_new_requests_away() {
    let mut proxy = proxy();
    proxy.set_admin(Admin::Drain);
    assert_eq!((proxy.takes_new(at(0)), proxy.takes_in_panic(at(0), false)), (false, false));
    proxy.set_admin(Admin::Ready);
    proxy.on_load(&Reported { word: Some(Word::Drain), ..Reported::default() }, at(0));
    assert!(!proxy.takes_new(at(0)));
    proxy.on_load(&Reported { word: Some(Word::Ready), percent: Some(0.0), ..Reported::default() }, at(0));
    assert!(!proxy.takes_new(at(0)), "it wants no share");
    let row = proxy.row(at(500));
    assert_eq!((row.load, row.load_age_ms, row.word, row.admin, row.state), (-1.0, 500, "ready", "ready", "up"));
}

#[test]
fn a_proxy_without_an_address_is_unresolved() {
    let proxy = Proxy::new(None, 1, terms(), at(0));
    assert_eq!(
        (proxy.state(at(0)), proxy.why(), proxy.takes_in_panic(at(0), false)),
        (State::Unresolved, Why::Name, false)
    );
}

/// A server that is reached over this many connections.
fn system(connections: usize) -> Proxy {
    let terms = Terms { transport: Transport::Tcp, connections, ..terms() };
    Proxy::new(Some("192.0.2.1:5060".parse().unwrap()), 3, terms, at(0))
}

fn begin(proxy: &mut Proxy, number: u64, now: Time) -> ConnId {
    let conn = ConnId::new(0, number);
    let place = proxy.connections_mut().poll_due(now).unwrap();
    proxy.connections_mut().on_begun(place, Some(conn), 0.5, now);
    conn
}

#[test]
fn a_server_over_tcp_gets_requests_while_a_connection_is_open_and_its_host_takes_the_bytes() {
    let mut proxy = system(1);
    assert!(!proxy.takes_new(at(0)) && proxy.state(at(0)) == State::Up);
    let conn = begin(&mut proxy, 7, at(0));
    assert!(!proxy.takes_new(at(1)));
    proxy.on_connected(conn, at(2));
    assert!(proxy.takes_new(at(2)) && proxy.is_quick(ms(1_000), at(2)));
    proxy.connections_mut().on_taken(conn, false);
    assert!(!proxy.takes_new(at(3)), "it reads nothing");
    proxy.connections_mut().on_taken(conn, true);
    assert!(proxy.takes_new(at(4)));
}

#[test]
fn a_server_over_tcp_is_down_while_its_connection_cannot_be_opened_and_up_as_soon_as_it_is() {
    let mut proxy = system(1);
    let conn = begin(&mut proxy, 7, at(0));
    proxy.on_connected(conn, at(0));
    proxy.connections_mut().on_closed(conn, Ended::Broken, 0.5, at(1_000));
    assert_eq!((proxy.state(at(1_000)), proxy.why()), (State::Down, Why::Connection));
    let conn = begin(&mut proxy, 8, at(1_000));
    proxy.connections_mut().on_closed(conn, Ended::Refused, 0.5, at(1_001));
    (1..=2).for_each(|number| proxy.on_probe_refused(probe(number), at(1_100)));
    let conn = begin(&mut proxy, 9, at(2_000));
    proxy.on_connected(conn, at(2_001));
    assert_eq!(proxy.state(at(2_001)), State::Up);
    assert!(proxy.takes_new(at(2_001)));
}

#[test]
fn a_server_over_tcp_that_is_connected_anew_starts_slowly_though_no_probe_has_missed_it() {
    let mut proxy = system(1);
    let conn = begin(&mut proxy, 7, at(0));
    proxy.on_connected(conn, at(0));
    let full = proxy.weight(at(20_000));
    proxy.connections_mut().on_closed(conn, Ended::Broken, 0.5, at(20_000));
    let conn = begin(&mut proxy, 8, at(20_000));
    proxy.connections_mut().on_closed(conn, Ended::Refused, 0.5, at(20_001));
    let conn = begin(&mut proxy, 9, at(21_500));
    proxy.on_connected(conn, at(21_501));
    let weights = [21_501, 26_501, 31_501].map(|time| (proxy.weight(at(time)) / full * 10.0).round());
    assert_eq!(weights, [1.0, 5.0, 10.0]);
}

#[test]
fn the_sessions_of_a_proxy_are_those_of_the_lane_that_knows_of_most() {
    let row = |used, weight| Row { used, weight, ..Row::default() };
    for (one, other) in [(0, 3), (3, 0)] {
        let mut row_of_both = row(one, 0);
        row_of_both.add(&row(other, 0));
        assert_eq!(row_of_both.used, 3, "drained, all have a weight of 0");
    }
}
