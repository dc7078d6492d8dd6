//! Commands that the gateway sends by itself: events to the notified entity, its life cycle to the configured call
//! agent.

use std::path::Path;

use super::*;
use crate::support::DEADLINE;

/// A gateway that tells a call agent of restarts; the second agent is the one that is told.
pub(super) fn gateway_with_call_agent(workers: usize, dir: &Path) -> (Pointsman, SocketAddr, Agent, Agent) {
    let setup = Setup::gateway(workers);
    let told = Agent::new(setup.ip);
    let file = dir.join("pointsman.toml");
    let text = format!(
        "[[mgcp]]\ndomain = \"ms.example.net\"\ncall-agent = \"ca@[{}]:{}\"\n",
        setup.ip,
        told.address().port()
    );
    std::fs::write(&file, text).unwrap();
    let setup = setup.with(["--config", file.to_str().unwrap()]);
    let (pointsman, well_known, agent) = start(setup);
    (pointsman, well_known, agent, told)
}

/// The first terms of the endpoints of which a call agent hears this, in any order, and the token they have.
pub(super) fn expect_restart(told: &Agent, method: &str, is_it: impl Fn(&str) -> bool) -> String {
    let mut token = String::new();
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 5 {
        let rsip = expect_command(told, "RSIP", |rsip| {
            let (local, _) = rsip.endpoint().split_once('@').unwrap();
            rsip.need("RM") == method && is_it(local.split('/').nth(1).unwrap_or_default())
        });
        let (local, domain) = rsip.endpoint().split_once('@').unwrap();
        assert_eq!(domain, "ms.example.net");
        let terms: Vec<_> = local.split('/').collect();
        assert_eq!((terms.len(), terms[2]), (3, "*"), "{local}");
        if token.is_empty() {
            token = terms[1].to_owned();
        }
        if terms[1] == token {
            heard.insert(terms[0].to_owned());
        }
    }
    let told: Vec<_> = heard.iter().map(String::as_str).collect();
    assert_eq!(told, ["ann", "bridge", "cnf", "ivr", "rtpbridge"]);
    token
}

#[test]
fn the_configured_call_agent_hears_of_start_drain_ready_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (pointsman, well_known, agent, told) = gateway_with_call_agent(1, dir.path());
    let token = expect_restart(&told, "restart", |_| true);
    let made = create(&agent, well_known, "ann/$@ms.example.net", &["C: 1", "M: recvonly"]);
    assert_eq!(made.need("Z").split('/').nth(1).unwrap().to_lowercase(), token.to_lowercase());
    pointsman.stats("drain w0");
    expect_restart(&told, "graceful", |_| true);
    pointsman.stats("ready w0");
    expect_restart(&told, "cancel-graceful", |_| true);
    let stopped = std::thread::spawn(move || pointsman.stop());
    assert_eq!(expect_restart(&told, "forced", |_| true), token);
    assert!(stopped.join().unwrap().success());
}

#[test]
fn a_restart_of_the_dispatcher_is_no_restart_of_the_endpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (mut pointsman, well_known, agent, told) = gateway_with_call_agent(2, dir.path());
    let first = expect_restart(&told, "restart", |_| true);
    expect_restart(&told, "restart", |token| token != first);
    let made = create(&agent, well_known, "ann/$@ms.example.net", &["C: 1", "M: recvonly"]);
    let known = told.heard().len();
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
    let connection = format!("I: {}", made.need("I"));
    let audited = ask(&agent, well_known, "AUCX", made.need("Z"), &[&connection, "F: C"]);
    assert_eq!((audited.code(), audited.param("C")), (200, Some("1")), "{}", audited.text);
    // A second life would be announced within a tenth of a second. Repetitions of the first announcement say nothing
    // new.
    let _ = told.hear(std::time::Duration::from_millis(400), |said| said.code() > 0);
    let heard = told.heard();
    let (before, after) = heard.split_at(known);
    let parts = |datagrams: &[Vec<u8>]| -> std::collections::BTreeSet<String> {
        let texts = datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram).into_owned());
        texts
            .flat_map(|text| text.split("\r\n.\r\n").map(|part| part.trim_end().to_owned()).collect::<Vec<_>>())
            .collect()
    };
    assert!(parts(after).is_subset(&parts(before)), "{:?}", parts(after));
}

#[test]
fn without_a_configured_call_agent_nobody_is_told_of_anything() {
    let (pointsman, well_known, agent) = gateway(1);
    create(&agent, well_known, "ann/$@ms", &["C: 1", "M: recvonly"]);
    pointsman.stats("drain w0");
    pointsman.stop();
    let commands: Vec<_> = agent.heard().into_iter().filter(|datagram| datagram.starts_with(b"RSIP")).collect();
    assert!(commands.is_empty(), "{commands:?}");
}

#[test]
fn the_first_packet_of_a_connection_is_notified_once_when_it_was_asked_for() {
    let (_pointsman, well_known, agent) = gateway(1);
    let entity = format!("N: ca@[{}]:{}", agent.address().ip(), agent.address().port());
    let made = create(&agent, well_known, "ann/$@ms", &["C: 1", "M: recvonly", "X: 1F", "R: R/ma@$(N)", &entity]);
    let phone = std::net::UdpSocket::bind((agent.address().ip(), 0)).unwrap();
    let mut rtp = vec![0x80, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4];
    rtp.extend_from_slice(&[0x7f; 160]);
    phone.send_to(&rtp, made.media_address()).unwrap();
    let notify = expect_command(&agent, "NTFY", |_| true);
    assert_eq!((notify.from, notify.endpoint()), (well_known, made.need("Z")));
    assert_eq!((notify.need("X"), notify.need("N")), ("1F", &entity[3..]));
    assert_eq!(notify.need("O").to_lowercase(), format!("r/ma@{}", made.need("I")).to_lowercase());
    // The answer went to the well-known port and found the worker, so that the command is not repeated. The test can
    // only wait for the absence of a repetition: longer than the first two would take (200 and 400 ms, RFC 3435
    // §3.5.3).
    std::thread::sleep(std::time::Duration::from_millis(700));
    let audited = ask(&agent, well_known, "AUEP", made.need("Z"), &["F: X,R,O,Q,N"]);
    assert_eq!((audited.code(), audited.need("X"), audited.need("O")), (200, "1F", ""));
    let notified = agent.heard().iter().filter(|datagram| datagram.starts_with(b"NTFY")).count();
    assert!(notified <= 2, "{notified} times");
}

#[test]
fn a_call_agent_that_is_silent_at_the_start_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_pointsman, _, _, told) = gateway_with_call_agent(1, dir.path());
    let first = told.expect("an RSIP", |said| said.first_word() == "RSIP");
    let again = told.expect("the same again", |said| said.text == first.text);
    assert_eq!(again.text, first.text);
    let begin = std::time::Instant::now();
    expect_restart(&told, "restart", |_| true);
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn connections_of_a_call_agent_that_says_nothing_more_end_and_make_room() {
    let setup = Setup::gateway(1).with(["--mgcp-timeout", "1s", "--capacity", "1"]);
    let (pointsman, well_known, agent) = start(setup);
    let made = create(&agent, well_known, "ivr/$@ms", &["C: 1", "M: recvonly"]);
    let told = expect_command(&agent, "DLCX", |said| said.need("I") == made.need("I"));
    assert!(told.need("E").starts_with("902"), "{}", told.text);
    wait_until_empty(&pointsman);
    create(&agent, well_known, "ivr/$@ms", &["C: 2", "M: recvonly"]);
}
