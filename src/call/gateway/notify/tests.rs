//! The client side of RFC 3435 §3.5.

use std::net::IpAddr;

use super::*;
use crate::call::exchange::{Hop, Transmit};
use crate::ids::WorkerId;
use crate::wire::mgcp::{Message, parse, parts};

const AGENT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 5)), 2_727);
const WAY: Egress = Egress { hop: Hop::Listener(0), from: None };

fn client() -> Client {
    Client::new(TransactionRange::of(WorkerId(3)), 7)
}

fn agent() -> Entity {
    Entity::parse(b"ca@[192.0.2.5]:2727").unwrap()
}

fn draft(endpoint: &str) -> Draft {
    Draft {
        purpose: Purpose::Notify(EndpointKey::new(1, 0)),
        verb: Verb::Ntfy,
        endpoint: endpoint.as_bytes().into(),
        params: vec![
            (Field::RequestIdentifier, b"1A".as_slice().into()),
            (Field::ObservedEvents, b"R/ma".as_slice().into()),
        ],
    }
}

fn at(ms: u64) -> Time {
    Time(1_000_000) + Duration::from_millis(ms)
}

/// All datagrams that are to be sent, with their destinations.
fn sent(client: &mut Client) -> Vec<(SocketAddr, String)> {
    let text = |output| match output {
        Output::Transmit(Transmit { to, bytes, .. }) => (to, String::from_utf8(bytes.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| client.poll_output()).map(text).collect()
}

fn answer(client: &mut Client, response: &str, now: Time) {
    let Ok(Message::Response(response)) = parse(response.as_bytes()) else { panic!("{response}") };
    client.on_response(&response, AGENT, WAY, now);
}

/// Runs the clock to `until`; returns the times in ms at which something was sent.
fn run(client: &mut Client, from: u64, until: u64) -> Vec<(u64, SocketAddr)> {
    let mut times = Vec::new();
    for ms in (from..=until).step_by(10) {
        client.handle_timeout(at(ms));
        times.extend(sent(client).into_iter().map(|(to, _)| (ms, to)));
    }
    times
}

#[test]
fn a_command_carries_an_id_of_the_slots_range_and_its_parameters() {
    let mut client = client();
    let id = client.send(draft("ann/T/1@ms"), &agent(), WAY, &[], at(0)).unwrap();
    assert!(TransactionRange::of(WorkerId(3)).contains(id));
    let expected = format!("NTFY {id} ann/T/1@ms MGCP 1.0\r\nX: 1A\r\nO: R/ma\r\n");
    assert_eq!(sent(&mut client), [(AGENT, expected)]);
    let next = client.send(draft("ann/T/1@ms"), &agent(), WAY, &[], at(0)).unwrap();
    assert_eq!(next, id + 1);
}

#[test]
fn where_ids_begin_depends_on_the_seed() {
    let first = |seed| {
        let mut client = Client::new(TransactionRange::of(WorkerId(0)), seed);
        client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap()
    };
    assert_ne!(first(1), first(2));
}

#[test]
fn repetitions_start_after_200_ms_and_double_to_4_s_until_t_max() {
    let mut client = client();
    client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let times: Vec<u64> = run(&mut client, 0, 30_000).into_iter().map(|(ms, _)| ms).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, expected) in gaps.iter().zip([200, 400, 800, 1_600, 3_200, 4_000, 4_000, 4_000]) {
        assert!(gap.abs_diff(expected) <= expected / 8 + 20, "{gaps:?}");
    }
    assert!(times.last().unwrap() <= &20_000 && times.len() >= 8, "{times:?}");
    assert_eq!(client.poll_end().unwrap().2, End::Lost);
    assert!(client.is_idle() && client.poll_timeout().is_none());
}

#[test]
fn a_final_response_ends_it_and_says_what_it_said() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    answer(&mut client, &format!("200 {id} OK\r\n"), at(10));
    let end = End::Answered { code: ReturnCode::OK, entity: None };
    assert_eq!(client.poll_end(), Some((Purpose::Notify(EndpointKey::new(1, 0)), id, end)));
    let _ = sent(&mut client);
    assert_eq!(run(&mut client, 20, 30_000), []);
    answer(&mut client, &format!("200 {id} OK\r\n"), at(30_000));
    assert_eq!((client.poll_end(), client.poll_output()), (None, None));
}

#[test]
fn a_response_to_nothing_of_ours_is_ignored() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let _ = sent(&mut client);
    for stray in [
        "200 5 OK\r\n",
        "200 999999999 OK\r\nK:\r\n",
        &format!("000 {id}\r\n"),
        &format!("200 {} OK\r\nK:\r\n", id + 1),
    ] {
        answer(&mut client, stray, at(10));
    }
    assert_eq!((client.poll_end(), client.poll_output()), (None, None));
}

#[test]
fn after_a_provisional_response_it_is_repeated_only_every_longtran() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let _ = sent(&mut client);
    answer(&mut client, &format!("100 {id} Pending\r\n"), at(100));
    let times: Vec<u64> = run(&mut client, 110, 20_000).into_iter().map(|(ms, _)| ms).collect();
    assert!(times.len() <= 4 && times[0].abs_diff(5_100) <= 20, "{times:?}");
}

#[test]
fn provisional_responses_without_end_do_not_keep_it_for_ever() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let mut lost = None;
    for second in 1..1_000 {
        answer(&mut client, &format!("100 {id} Pending\r\n"), at(second * 1_000));
        let _ = run(&mut client, second * 1_000, second * 1_000 + 990);
        if client.poll_end().is_some() {
            lost = Some(second);
            break;
        }
    }
    assert!(lost.is_some_and(|second| (299..=301).contains(&second)), "{lost:?}");
}

#[test]
fn a_final_response_that_asks_for_it_is_acknowledged_each_time_it_comes() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let _ = sent(&mut client);
    let acknowledged = || [(AGENT, format!("000 {id} Response acknowledgement\r\n"))];
    answer(&mut client, &format!("200 {id} OK\r\nK:\r\n"), at(100));
    assert_eq!(sent(&mut client), acknowledged());
    assert!(client.poll_end().is_some());
    answer(&mut client, &format!("200 {id} OK\r\nK:\r\n"), at(300));
    assert_eq!(sent(&mut client), acknowledged());
    assert!(client.poll_end().is_none());
    answer(&mut client, &format!("200 {id} OK\r\nK:\r\n"), at(40_000));
    assert_eq!(sent(&mut client), []);
}

#[test]
fn the_next_command_to_the_same_call_agent_confirms_the_responses_that_came() {
    let mut client = client();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap());
    }
    let _ = sent(&mut client);
    for id in &ids {
        answer(&mut client, &format!("200 {id} OK\r\n"), at(10));
    }
    client.send(draft("a@b"), &Entity::parse(b"[192.0.2.9]").unwrap(), WAY, &[], at(20)).unwrap();
    assert!(!sent(&mut client)[0].1.contains("K:"));
    for confirms in [true, false] {
        client.send(draft("a@b"), &agent(), WAY, &[], at(20)).unwrap();
        let (_, text) = sent(&mut client).remove(0);
        assert_eq!(text.contains(&format!("\r\nK: {}-{}\r\n", ids[0], ids[2])), confirms, "{text}");
    }
}

#[test]
fn messages_that_leave_together_share_a_datagram_below_1400_bytes() {
    let mut client = client();
    for number in 0..40 {
        client.send(draft(&format!("ann/T/{number}@ms.example.net")), &agent(), WAY, &[], at(0)).unwrap();
    }
    let datagrams = sent(&mut client);
    assert!(datagrams.len() < 5 && datagrams.iter().all(|(_, text)| text.len() <= JOINED), "{}", datagrams.len());
    let count: usize = datagrams.iter().map(|(_, text)| parts(text.as_bytes()).count()).sum();
    assert_eq!(count, 40);
}

#[test]
fn an_older_notification_without_an_answer_goes_in_front_of_the_next() {
    let mut client = client();
    let older = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let _ = sent(&mut client);
    let newer = client.send(draft("a@b"), &agent(), WAY, &[older], at(50)).unwrap();
    let datagrams = sent(&mut client);
    assert_eq!(datagrams.len(), 1);
    let first_words = |part: &[u8]| String::from_utf8_lossy(part).split(' ').take(2).collect::<Vec<_>>().join(" ");
    let order: Vec<String> = parts(datagrams[0].1.as_bytes()).map(first_words).collect();
    assert_eq!(order, [format!("NTFY {older}"), format!("NTFY {newer}")]);
}

#[test]
fn a_name_is_looked_up_and_its_addresses_are_tried_one_after_the_other() {
    let mut client = client();
    let entity = Entity::parse(b"ca@ca1.example.net:5678").unwrap();
    let id = client.send(draft("a@b"), &entity, WAY, &[], at(0)).unwrap();
    let Some(Output::Resolve { key, host, port }) = client.poll_output() else { panic!() };
    assert_eq!((&*host, port), ("ca1.example.net", 5_678));
    let other = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 6)), 5_678);
    client.on_resolved(key, &[AGENT, other], at(50));
    let times = run(&mut client, 50, 19_000);
    let first = times.iter().take_while(|(_, to)| *to == AGENT).count();
    assert_eq!(first, SUSPICIOUS as usize, "{times:?}");
    assert!(times[first..].iter().filter(|(_, to)| *to == other).count() >= 3, "{times:?}");
    answer(&mut client, &format!("200 {id} OK\r\n"), at(19_500));
    assert!(matches!(client.poll_end(), Some((_, _, End::Answered { .. }))));
}

#[test]
fn a_name_without_an_address_is_lost_and_so_is_one_that_is_never_found() {
    let mut client = client();
    let entity = Entity::parse(b"ca@nowhere.invalid").unwrap();
    client.send(draft("a@b"), &entity, WAY, &[], at(0)).unwrap();
    let Some(Output::Resolve { key, .. }) = client.poll_output() else { panic!() };
    client.on_resolved(key, &[], at(50));
    assert!(matches!(client.poll_end(), Some((_, _, End::Lost))));
    client.send(draft("a@b"), &entity, WAY, &[], at(100)).unwrap();
    client.handle_timeout(at(20_200));
    assert!(matches!(client.poll_end(), Some((_, _, End::Lost))));
}

#[test]
fn without_room_a_command_is_lost_at_once() {
    let mut client = client();
    for _ in 0..OPEN {
        client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    }
    assert_eq!(client.send(draft("a@b"), &agent(), WAY, &[], at(0)), None);
    assert!(matches!(client.poll_end(), Some((_, 0, End::Lost))));
}

#[test]
fn a_stranger_who_guesses_the_id_redirects_nobody() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    let text = format!("521 {id} Redirected\r\nN: CA-1@evil.example\r\n");
    let Ok(Message::Response(response)) = parse(text.as_bytes()) else { panic!() };
    client.on_response(&response, "198.51.100.66:2727".parse().unwrap(), WAY, at(10));
    assert_eq!(client.poll_end().unwrap().2, End::Answered { code: ReturnCode::REDIRECTED, entity: None });
}

#[test]
fn a_redirection_names_the_new_call_agent() {
    let mut client = client();
    let id = client.send(draft("a@b"), &agent(), WAY, &[], at(0)).unwrap();
    answer(&mut client, &format!("521 {id} Redirected\r\nN: CA-1@whatever.net\r\n"), at(10));
    let entity = Entity::parse(b"CA-1@whatever.net");
    assert_eq!(client.poll_end().unwrap().2, End::Answered { code: ReturnCode::REDIRECTED, entity });
}
