//! Stream connections as operators see them: `load`, `counters`, `connections`, `explain`, and the log.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, wait_for};

/// A dispatcher that listens on UDP and TCP.
fn start(lanes: usize, more: &[&str]) -> Pointsman {
    let setup = Setup::new(1).lanes(lanes);
    let listen = format!("tcp:{}:{}", setup.ip, setup.port);
    setup.with(["--listen", &listen]).with(more.iter().copied()).start()
}

fn connect(pointsman: &Pointsman) -> TcpStream {
    let stream = TcpStream::connect(pointsman.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends OPTIONS and waits for the answer.
fn ask(mut stream: &TcpStream, call_id: &str) {
    let local = stream.local_addr().unwrap();
    let request = format!(
        "OPTIONS sip:service@{0} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bK-{call_id}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@{local}>;tag=1\r\nTo: <sip:service@{0}>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        stream.peer_addr().unwrap()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    assert!(answer.starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&answer));
}

/// Waits until the peer has closed the connection.
fn expect_closed(mut stream: TcpStream) {
    // A reset is an end as well.
    assert!(matches!(stream.read(&mut [0; 16]), Ok(0) | Err(_)));
}

/// The counters' part about connections, once `is_so`.
fn counters(pointsman: &Pointsman, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for("counters of connections", DEADLINE, || {
        let connections = pointsman.stats("counters")["connections"].clone();
        is_so(&connections).then_some(connections)
    })
}

/// The number of the connection that a call's message has come on.
fn number(pointsman: &Pointsman, call_id: &str) -> u64 {
    let explained = pointsman.stats(&format!("explain {call_id}"));
    explained["decisions"][0]["connection"].as_u64().unwrap_or_else(|| panic!("{explained}"))
}

#[test]
fn connections_are_counted_by_listener_source_and_transport_and_found_by_their_number() {
    for lanes in [1, 2] {
        let pointsman = start(lanes, &[]);
        let listener = format!("tcp:{}", pointsman.address());
        let peers: Vec<TcpStream> = (0..3).map(|_| connect(&pointsman)).collect();
        peers.iter().enumerate().for_each(|(at, peer)| ask(peer, &format!("call-{at}")));

        let dispatcher = pointsman.load()["dispatcher"].clone();
        assert_eq!(dispatcher["connections"], 3, "{dispatcher}");
        assert_eq!(dispatcher["transports"], json!({"udp": 0, "tcp": 3, "tls": 0, "ws": 0, "wss": 0, "mgcp": 0}));
        let table = String::from_utf8(pointsman.command(&["stat"]).stdout).unwrap();
        assert!(table.ends_with("connections 3: received over udp 0, tcp 3, tls 0, ws 0, wss 0, mgcp 0\n"), "{table}");

        let listeners = pointsman.stats("counters")["listeners"].clone();
        assert_eq!((&listeners[0]["transport"], &listeners[0]["connections"]), (&json!("udp"), &json!(0)));
        let tcp = &listeners[1];
        assert_eq!((&tcp["transport"], &tcp["address"]), (&json!("tcp"), &json!(pointsman.address().to_string())));
        assert_eq!(
            (&tcp["received"], &tcp["connections"], &tcp["accepted"], &tcp["receive_buffer"]),
            (&json!(3), &json!(3), &json!(3), &json!(0))
        );

        let all = pointsman.stats("connections");
        assert_eq!(all["listeners"][0]["connections"], 3, "{all}");
        assert!(all["listeners"].as_array().unwrap().len() == 1, "{all}");
        let own = peers[0].local_addr().unwrap().ip().to_string();
        assert_eq!(all["listeners"][0]["sources"], json!([{"source": own, "connections": 3}]), "{all}");
        let shown = pointsman.command(&["connections"]);
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success() && text.contains(&format!("{listener}  all")), "{text}");

        let number = number(&pointsman, "call-1");
        let one = pointsman.stats(&format!("connections {number}"));
        let remote: SocketAddr = peers[1].local_addr().unwrap();
        assert_eq!((&one["number"], &one["remote"]), (&json!(number), &json!(remote.to_string())), "{one}");
        assert_eq!((&one["listener"], &one["transport"]), (&json!(listener), &json!("tcp")), "{one}");
        assert_eq!((&one["waiting_bytes"], &one["unanswered"]), (&json!(0), &json!(0)), "{one}");
        assert_eq!(one["lane"], json!(number >> 39), "{one}");
        let text = String::from_utf8(pointsman.command(&["connections", &number.to_string()]).stdout).unwrap();
        assert!(text.contains(&format!("remote      {remote}\n")), "{text}");

        drop(peers);
        let closed = counters(&pointsman, |connections| connections["closed"]["total"] == 3);
        assert_eq!((&closed["open"], &closed["accepted"]["reasons"][&listener]), (&json!(0), &json!(3)), "{closed}");
        assert_eq!(closed["closed"]["reasons"], json!({"ended": 3}), "{closed}");
        let refused = pointsman.command(&["connections", &number.to_string()]);
        let words = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1));
        assert!(words.starts_with(&format!("pointsman: there is no connection {number}: it has ended")), "{words}");
    }
}

#[test]
fn a_cap_on_connections_that_is_reached_is_counted_and_said_once_with_the_key_to_raise() {
    let pointsman = start(1, &["--max-connections", "20", "--max-connections-per-source", "2"]);
    let kept = [connect(&pointsman), connect(&pointsman)];
    kept.iter().enumerate().for_each(|(at, peer)| ask(peer, &format!("call-{at}")));
    (0..5).for_each(|_| expect_closed(connect(&pointsman)));
    let counters = counters(&pointsman, |connections| connections["closed"]["total"] == 5);
    assert_eq!(counters["closed"]["reasons"], json!({"too-many-of-source": 5}), "{counters}");
    assert_eq!((&counters["open"], &counters["limit"]), (&json!(2), &json!(20)), "{counters}");
    assert_eq!((&counters["handshakes"], &counters["handshakes_limit"]), (&json!(0), &json!(512)), "{counters}");
    pointsman.wait_for_log("raise it, or name the source in connection-exempt");
    assert_eq!(pointsman.log().matches("max-connections-per-source").count(), 1, "{}", pointsman.log());
    ask(&kept[0], "still-there");
}

#[test]
fn a_takeover_keeps_numbers_ages_and_counts_of_connections() {
    let mut pointsman = start(1, &[]);
    let peer = connect(&pointsman);
    ask(&peer, "before");
    let number = number(&pointsman, "before");
    let age = |pointsman: &Pointsman| pointsman.stats(&format!("connections {number}"))["age_s"].as_f64().unwrap();
    let before = age(&pointsman);
    pointsman.take_over();
    assert!(age(&pointsman) > before, "a takeover makes no connection younger");
    ask(&peer, "after");
    let load = pointsman.load();
    assert_eq!((&load["dispatcher"]["connections"], &load["dispatcher"]["transports"]["tcp"]), (&json!(1), &json!(2)));
    assert_eq!(pointsman.stats("counters")["listeners"][1]["received"], 2);
}
