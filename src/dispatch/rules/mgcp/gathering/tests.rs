use super::*;
use crate::fingerprint::Printer;
use crate::ids::{ListenerId, TokenKey};
use crate::transaction::name::mgcp::Names;
use crate::wire::mgcp::{Message, parse};
use crate::words::{ReplyTo, Transport};

const W0: WorkerId = WorkerId(0);
const W1: WorkerId = WorkerId(1);
const W2: WorkerId = WorkerId(2);

fn arrival() -> Arrival {
    let address = "192.0.2.1:2727".parse().unwrap();
    Arrival {
        listener: ListenerId(0),
        transport: Transport::Mgcp,
        reply_to: ReplyTo::Datagram,
        source: address,
        local: address,
        received: Time(0),
        alias: false,
        certified: None,
    }
}

fn name(id: u32) -> Fingerprint {
    Names::transaction(arrival().source.ip(), TransactionId(id), &Printer::new(&TokenKey::new([1; 32])))
}

fn begun(gatherings: &mut Gatherings, id: u32, most: Option<u32>) -> GatheringId {
    let named = (name(id), TransactionId(id));
    let gathering = gatherings.begin(named, &arrival(), (vec![W2, W1, W0], Merged::new(most)), Time(0));
    while gatherings.next_worker(gathering).is_some() {}
    gathering
}

fn says(gatherings: &mut Gatherings, id: GatheringId, worker: WorkerId, text: &str, now: u64) {
    let Ok(Message::Response(response)) = parse(text.as_bytes()) else { panic!("{text}") };
    gatherings.on_answer(id, worker, &response, Time(now));
}

fn answer(gatherings: &Gatherings, id: GatheringId) -> Option<String> {
    gatherings.answer(id).map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
}

/// The merged answer of three workers.
fn merged(most: Option<u32>, answers: [&str; 3]) -> String {
    let mut gatherings = Gatherings::new();
    let id = begun(&mut gatherings, 9, most);
    for (worker, text) in [W0, W1, W2].into_iter().zip(answers) {
        assert_eq!(answer(&gatherings, id), None);
        says(&mut gatherings, id, worker, text, 1);
    }
    assert_eq!(gatherings.poll_ready(), Some(id));
    answer(&gatherings, id).unwrap()
}

#[test]
fn one_success_makes_the_whole_a_success_else_the_first_error_is_told() {
    assert_eq!(merged(None, ["500 9", "200 9", "500 9"]), "200 9 OK\r\n");
    assert_eq!(merged(None, ["516 9 no", "500 9", "500 9"]), "516 9 Unknown or incorrect call-id\r\n");
    assert_eq!(merged(None, ["200 9", "250 9", "200 9"]), "250 9 Connection deleted\r\n");
}

#[test]
fn lists_are_put_together_and_their_numbers_added_up() {
    let answers = ["200 9\nZ: a/1@gw\nz: a/2@gw\nZN: 2\n", "200 9\nZ: b/1@gw, b/2@gw\n", "200 9\nZN: 7\nZ: c/1@gw\n"];
    let names = "Z: a/1@gw\r\nZ: a/2@gw\r\nZ: b/1@gw\r\nZ: b/2@gw\r\nZ: c/1@gw\r\n";
    assert_eq!(merged(None, answers), format!("200 9 OK\r\nZN: 11\r\n{names}"));
}

#[test]
fn no_more_endpoints_are_named_than_were_asked_for_and_all_are_counted() {
    let answers = ["200 9\nZ: a/1@gw\nZN: 5\n", "200 9\nZ: b/1@gw\nZN: 5\n", "200 9\nZ: c/1@gw\nZN: 5\n"];
    assert_eq!(merged(Some(2), answers), "200 9 OK\r\nZN: 15\r\nZ: a/1@gw\r\nZ: b/1@gw\r\n");
}

#[test]
fn those_that_are_named_are_the_first_in_the_order_of_the_workers_tokens() {
    let line = |token: char, number: u32| format!("Z: ann/PM{}/{number}@gw", token.to_string().repeat(16));
    let answer = |token: char| format!("200 9\n{}\n{}\n{}\n", line(token, 1), line(token, 2), line(token, 10));
    let expected = [line('A', 1), line('A', 2), line('A', 10), line('b', 1)].join("\r\n");
    assert_eq!(merged(Some(4), [&answer('c'), &answer('b'), &answer('A')]), format!("200 9 OK\r\n{expected}\r\n"));
}

#[test]
fn an_answer_that_no_peer_need_take_is_too_large() {
    let long = format!("200 9\n{}", "Z: ann/0123456789/1@media.example.net\n".repeat(60));
    assert_eq!(merged(None, [&long, &long, "200 9"]), "533 9 Response too large\r\n");
    assert_eq!(merged(None, ["200 9", "533 9", "200 9"]), "533 9 Response too large\r\n", "a part of it");
}

#[test]
fn a_provisional_answer_and_one_of_another_worker_are_not_counted() {
    let mut gatherings = Gatherings::new();
    let id = begun(&mut gatherings, 9, None);
    for text in ["100 9", "200 9", "200 9"] {
        says(&mut gatherings, id, W0, text, 1);
    }
    says(&mut gatherings, id, WorkerId(7), "200 9", 1);
    says(&mut gatherings, id, W1, "200 9", 1);
    assert_eq!(gatherings.find(name(9)), Some(Known::UnderWay));
    gatherings.on_worker_down(W2, Time(2));
    assert_eq!(gatherings.find(name(9)), Some(Known::Answered(id)));
}

#[test]
fn a_worker_that_says_nothing_for_five_seconds_is_left_out_and_the_answer_is_kept_for_retransmissions() {
    let mut gatherings = Gatherings::new();
    let (silent, partly) = (begun(&mut gatherings, 1, None), begun(&mut gatherings, 2, None));
    says(&mut gatherings, partly, W1, "200 2", 1);
    gatherings.handle_timeout(Time(4_999_999));
    assert_eq!(gatherings.poll_ready(), None);
    assert_eq!(gatherings.poll_timeout(), Some(Time(5_000_000)));
    gatherings.handle_timeout(Time(5_000_000));
    assert_eq!((gatherings.poll_ready(), gatherings.poll_ready()), (Some(silent), Some(partly)));
    assert_eq!(answer(&gatherings, silent).unwrap(), "406 1 Transaction timed out\r\n");
    assert_eq!(answer(&gatherings, partly).unwrap(), "200 2 OK\r\n");
    says(&mut gatherings, partly, W0, "500 2", 5_000_001);
    assert_eq!(answer(&gatherings, partly).unwrap(), "200 2 OK\r\n");
    gatherings.handle_timeout(Time(36_999_999));
    assert_eq!(gatherings.all.len(), 2);
    gatherings.handle_timeout(Time(37_000_000));
    assert_eq!((gatherings.all.len(), gatherings.used, gatherings.find(name(1))), (0, Used::default(), None));
    assert_eq!(gatherings.poll_timeout(), None);
}

#[test]
fn gatherings_under_way_have_an_end_and_one_host_has_half_of_them() {
    let mut gatherings = Gatherings::new();
    let mut begun_so_far = 0;
    for (source, most) in [("192.0.2.1:1", MOST_UNDER_WAY / 2), ("192.0.2.7:1", MOST_UNDER_WAY)] {
        let arrival = Arrival { source: source.parse().unwrap(), ..arrival() };
        while gatherings.has_place(arrival.source.ip()) {
            begun_so_far += 1;
            let named = (name(begun_so_far), TransactionId(begun_so_far));
            gatherings.begin(named, &arrival, (vec![W0], Merged::new(None)), Time(0));
        }
        assert_eq!(begun_so_far as usize, most);
    }
    gatherings.handle_timeout(Time(5_000_000));
    assert!(gatherings.has_place("192.0.2.1".parse().unwrap()));
    gatherings.handle_timeout(Time(60_000_000));
    assert!(gatherings.hosts.is_empty());
}

#[test]
fn an_answer_is_repeated_as_often_as_a_command_is_sent() {
    let mut gatherings = Gatherings::new();
    let id = begun(&mut gatherings, 1, None);
    gatherings.handle_timeout(Time(5_000_000));
    assert!((0..7).all(|_| gatherings.find(name(1)) == Some(Known::Answered(id))));
    assert_eq!(gatherings.find(name(1)), Some(Known::AnsweredOften));
}
