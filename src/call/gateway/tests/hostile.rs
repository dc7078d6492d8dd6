//! Call agents that are hostile or faulty.

use super::*;
use crate::transaction::name::mgcp::TransactionKey;

#[test]
fn a_flood_of_endpoints_is_bounded_and_room_comes_back() {
    let mut rig = Rig::with(Limits { endpoints: 50, connections: 60, ..Limits::default() });
    for number in 1..=200 {
        let answer = rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n"));
        assert_eq!(code(&answer), if number <= 50 { 200 } else { 410 });
    }
    let more = format!("CRCX 300 {} MGCP 1.0\r\nC: 1\r\nM: inactive\r\n", name("ann", 1));
    assert_eq!(code(&rig.send(&more)), 200);
    assert_eq!(code(&rig.send("DLCX 301 *@gw MGCP 1.0\r\n")), 250);
    rig.check_empty();
    rig.create("ann", 302);
}

#[test]
fn a_full_memory_of_commands_lets_none_be_carried_out_twice() {
    let mut rig = Rig::with(Limits { transactions: 20, ..Limits::default() });
    let crcx = |id: u32| format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n");
    let first = rig.send(&crcx(1));
    for number in 2..=25 {
        assert_eq!(code(&rig.send(&crcx(number))), if number <= 20 { 200 } else { 409 });
    }
    assert_eq!(rig.send(&crcx(1)), first);
    let back = rig.hand_over(&crcx(30));
    assert_eq!(back, [Output::Refuse(Seq(1), RefuseReason::Exhausted)]);
    assert_eq!((rig.units(), code(&rig.send("DLCX 40 *@gw MGCP 1.0\r\n"))), (20, 409));
    rig.pass(Duration::from_secs(31));
    assert_eq!(code(&rig.send("DLCX 40 *@gw MGCP 1.0\r\n")), 250);
    rig.check_empty();
}

#[test]
fn commands_that_change_nothing_take_no_place_from_those_that_do() {
    let mut rig = Rig::with(Limits { transactions: 20, ..Limits::default() });
    for number in 1..=1_000 {
        let (verb, wanted) =
            [("AUEP 1NN *@gw", 200), ("DLCX 1NN ann/1@gw", 500), ("CRCX 1NN no/$@gw", 510)][number % 3];
        let command = format!("{} MGCP 1.0\r\n", verb.replace("NN", &number.to_string()));
        assert_eq!(code(&rig.send(&command)), wanted);
    }
    assert_eq!(rig.gateway.transactions.len(), 9);
    assert!(rig.gateway.wheel.len() <= 10, "timers of what is forgotten");
    rig.create("ann", 1);
}

#[test]
fn answers_that_take_too_many_bytes_count_as_too_many() {
    let mut rig = Rig::with(Limits { kept_bytes: 1_000, ..Limits::default() });
    let codes =
        (1..=20).map(|number| code(&rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n"))));
    let codes: Vec<u16> = codes.collect();
    let done = codes.iter().take_while(|code| **code == 200).count();
    assert!((2..10).contains(&done) && codes[done..].iter().all(|code| *code == 409), "{codes:?}");
    rig.send("000 1\r\n");
    assert_eq!(code(&rig.send("CRCX 30 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n")), 200);
}

#[test]
fn datagrams_of_the_largest_size_are_answered() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("ann", 1);
    let crcx = |id: u32, lines: &str| format!("CRCX {id} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n{lines}");
    let long = |unit: &str, length: usize| unit.repeat(length / unit.len());
    let table = [
        (crcx(2, &format!("X-Long: {}\r\n", long("x", 65_000))), 200),
        (crcx(3, &format!("K: {}\r\n", long("1-999999999,", 65_000))), 200),
        (crcx(4, &format!("L: {}\r\n", long("x-a:b,", 65_000))), 541),
        (crcx(5, &format!("L: x-a:{}\r\n", long("b", 1_500))), 541),
        (crcx(6, &format!("L: a:{}\r\n", long("PCMU;", 65_000))), 541),
        (crcx(7, &format!("\r\n{SDP}{}", long("a=x:y\r\n", 60_000))), 505),
        (crcx(8, &long("X-A: b\r\n", 65_000)), 510),
        (crcx(9, &format!("X-Long: {}\r\n", long("x", 65_535))), 510),
        (format!("CRCX 10 {}/$@gw MGCP 1.0\r\n", long("a", 60_000)), 510),
        (format!("CRCX 11 {}$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n", long("*/", 250)), 500),
        (format!("DLCX 12 ann/{TOKEN}/[{}]@gw MGCP 1.0\r\n", long("9,", 200)), 250),
        (format!("AUEP 13 {endpoint} MGCP 1.0\r\nF: {}\r\n", long("A,", 65_000)), 200),
        (format!("AUCX 14 {endpoint} MGCP 1.0\r\nI: {connection}\r\nF: {}\r\n", long("P,LC,", 65_000)), 200),
    ];
    for (command, wanted) in table {
        let answer = rig.send(&command);
        assert_eq!(code(&answer), wanted, "{}", &command[..60]);
        assert!(answer.len() <= 4_000);
    }
    assert_eq!(rig.units(), 3);
}

#[test]
fn nothing_that_looks_like_a_response_is_answered() {
    let mut rig = Rig::new();
    for response in
        ["200 1 OK\r\n", "000 1\r\n", "999 1\r\n", "100 1\r\n", "200 99999999999 OK\r\n", "2000 1\r\n", "250\r\n"]
    {
        assert_eq!(rig.send(response), "", "{response}");
    }
    for nothing in ["", "\r\n", "\0\0\0\0", "CRCX\r\n", "CRCX x ann/$@gw MGCP 1.0\r\n", ".\r\n", "hello world\r\n"] {
        assert_eq!(rig.send(nothing), "", "{nothing}");
    }
}

#[test]
fn endpoints_that_only_requests_hold_are_bounded_and_the_oldest_goes_first() {
    let mut rig = Rig::with(Limits { endpoints: 3, ..Limits::default() });
    let mut names = Vec::new();
    for number in 1..=5 {
        let (endpoint, _) = rig.create("ann", number * 10);
        let dlcx = format!("DLCX {} {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma\r\n", number * 10 + 1);
        assert_eq!(code(&rig.send(&dlcx)), 250);
        rig.pass(Duration::from_secs(2));
        names.push(endpoint);
    }
    let codes: Vec<u16> =
        (100..).zip(&names).map(|(id, name)| code(&rig.send(&format!("AUEP {id} {name} MGCP 1.0\r\n")))).collect();
    assert_eq!(codes, [500, 500, 200, 200, 200]);
    // A request without events releases them.
    assert_eq!(code(&rig.send("RQNT 200 *@gw MGCP 1.0\r\nX: 2\r\n")), 200);
    rig.check_empty();
}

/// A source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// A command out of parts that may or may not go together.
fn some_command(dice: &mut Dice) -> String {
    let number = dice.roll(12) as u32 + 1;
    let kind = dice.one(&["ann", "cnf", "bridge", "ivr", "rtpbridge"]);
    let named = name(kind, number);
    let ranged = format!("{kind}/{TOKEN}/[1-{number}]@gw");
    let of_kind = format!("{kind}/*@gw");
    let wild = format!("{kind}/$@gw");
    let endpoint = dice.one(&[&named, &named, &named, &ranged, &of_kind, "*@gw", &wild, &wild, &wild, "$@gw", "x@gw"]);
    let verb = dice.one(&["CRCX", "CRCX", "CRCX", "MDCX", "MDCX", "DLCX", "AUEP", "AUCX", "RQNT", "EPCF", "NTFY"]);
    let mut command = format!("{verb} {} {endpoint} MGCP 1.0\r\n", dice.roll(400) + 1);
    let connection = id(dice.roll(30) as u32 + 1);
    let call = dice.one(&["C: 1\r\n", "C: 2\r\n", "C: 3\r\n", ""]);
    let mode =
        dice.one(&["M: recvonly\r\n", "M: sendrecv\r\n", "M: inactive\r\n", "M: loopback\r\n", "M: data\r\n", ""]);
    let options = dice.one(&["", "", "L: p:20, a:PCMU\r\n", "L: a:PCMA\r\n", "L: p:1\r\n"]);
    let info = dice.one(&["F: A,I\r\n", "F: P,LC,RC\r\n", ""]);
    let second = dice.one(&["", "", "", "", "Z2: bridge/$@gw\r\n"]);
    command.push_str(call);
    match verb {
        "CRCX" => command.push_str(&format!("{mode}{options}{second}")),
        "MDCX" => command.push_str(&format!("I: {connection}\r\n{mode}{options}")),
        "DLCX" if dice.roll(4) == 0 => command.push_str("X: 4\r\nR: R/ma\r\n"),
        "DLCX" if dice.roll(2) == 0 => command.push_str(&format!("I: {connection}\r\n")),
        "AUEP" => command = command.replace(call, info),
        "AUCX" => command = command.replace(call, &format!("I: {connection}\r\n{info}")),
        "EPCF" => command = command.replace(call, "B: e:A\r\n"),
        "RQNT" => {
            let request = dice.one(&["X: 1\r\nR: R/ma\r\n", "X: 2\r\n", "X: 3\r\nR: L/hd\r\n", "R: R/ma\r\n"]);
            command = command.replace(call, request);
        }
        _ => {}
    }
    if dice.roll(10) == 0 {
        command.push_str("K: 1-200\r\n");
    }
    if matches!(verb, "CRCX" | "MDCX") && dice.roll(3) == 0 {
        command.push_str(&format!("\r\n{}", SDP.replace("AVP 0", dice.one(&["AVP 0", "AVP 8", "AVP 0 8", "AVP 18"]))));
    }
    command
}

#[test]
fn whatever_comes_in_whatever_order_the_books_balance() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut rig = Rig::with(Limits { units: 25, endpoints: 15, transactions: 300, ..Limits::default() });
        let mut open: BTreeMap<u64, String> = BTreeMap::new();
        for _ in 0..600 {
            rig.broken = dice.roll(20) == 0;
            match dice.roll(12) {
                0 => drop(rig.pass(Duration::from_millis(dice.roll(40_000) as u64))),
                1 => {
                    let key = rig.media.keys().nth(dice.roll(8)).copied();
                    if let Some(key) = key {
                        rig.media.insert(key, rig.media[&key]);
                        rig.gateway.on_media(key, Told::Lost, rig.now);
                        rig.settle();
                    }
                }
                _ => {
                    let command = some_command(&mut dice);
                    let arrival = Arrival { follows: dice.roll(2) == 0, size: dice.roll(4) as u32, ..rig.handed() };
                    open.insert(rig.seq, command.clone());
                    rig.arrive(&command, &arrival);
                }
            }
            for output in rig.outputs.drain(..) {
                let dealt_with = match output {
                    Output::Answered(seq) | Output::Refuse(seq, _) => seq,
                    _ => continue,
                };
                assert!(open.remove(&dealt_with.0).is_some(), "seed {seed}: {dealt_with:?} is dealt with twice");
            }
            assert!(open.is_empty(), "seed {seed}: nothing was said of {open:?}");
            check_books(&rig, seed);
        }
        rig.broken = false;
        rig.gateway.end_all(rig.now);
        rig.settle();
        rig.check_empty();
    }
}

/// Bytes that mean something somewhere, and some that never do.
const JUNK: &[u8] = b"\r\n:;,@/$*[]-\"(){}.0 aZ\0\xff\x80";

/// A command of which some bytes are changed, left out or doubled.
fn broken(command: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = command.as_bytes().to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        match dice.roll(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, JUNK[dice.roll(JUNK.len())]),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 if !bytes.is_empty() => bytes[at] = dice.roll(256) as u8,
            _ => {
                let end = (at + dice.roll(40)).min(bytes.len());
                let twice = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, twice);
            }
        }
    }
    bytes
}

#[test]
fn whatever_is_broken_the_books_balance_and_every_command_with_an_id_is_answered() {
    for seed in 100..130 {
        let mut dice = Dice(seed);
        let mut rig = Rig::with(Limits { units: 25, endpoints: 15, transactions: 2_000, ..Limits::default() });
        for _ in 0..600 {
            let command = some_command(&mut dice);
            let bytes = broken(&command, &mut dice);
            let arrival = Arrival { follows: true, ..rig.handed() };
            rig.arrive_bytes(&bytes, &arrival);
            let (mut answers, mut dealt_with) = (0, 0);
            for output in rig.outputs.drain(..) {
                match output {
                    Output::Transmit(sent) => {
                        answers += usize::from(sent.to == arrival.source && sent.bytes[0].is_ascii_digit());
                    }
                    Output::Answered(seq) => dealt_with += usize::from(seq.0 == rig.seq),
                    _ => {}
                }
            }
            let wanted = match parse(&bytes) {
                // A confirmed command is not answered again.
                Ok(Message::Command(command)) => {
                    match rig.gateway.transactions.get(TransactionKey::new(arrival.source, command.transaction())) {
                        Some(transaction) if transaction.is_confirmed() => answers.min(1),
                        _ => 1,
                    }
                }
                Ok(Message::Response(_)) => 0,
                Err(unparsable) => usize::from(unparsable.answer().is_some()),
            };
            assert_eq!((answers, dealt_with), (wanted, 1), "seed {seed}: {}", bytes.escape_ascii());
            check_books(&rig, seed);
        }
    }
}

fn check_books(rig: &Rig, seed: u64) {
    let gateway = &rig.gateway;
    let sizes: u32 = gateway.connections.keys().filter_map(|key| gateway.connections.get(key)).map(|c| c.size).sum();
    assert_eq!((rig.units(), gateway.load().sessions as usize), (sizes, gateway.connections.len()), "seed {seed}");
    assert!(rig.units() <= 25);
    let standing: Vec<ConnectionKey> = gateway.connections.keys().collect();
    assert_eq!(
        rig.media.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        standing.iter().copied().collect()
    );
    assert_eq!(
        (gateway.by_id.len(), gateway.by_number.len()),
        (standing.len(), gateway.endpoints.len()),
        "seed {seed}"
    );
    let mut calls = std::collections::BTreeSet::new();
    for key in standing {
        let connection = gateway.connections.get(key).unwrap();
        calls.insert(connection.call.to_ascii_lowercase());
        assert!(gateway.endpoints.get(connection.endpoint).unwrap().connections.contains(&key), "seed {seed}");
        assert_eq!(connection.flow, rig.media[&key], "seed {seed}");
        assert_eq!(gateway.flow(connection.endpoint, Some(key), &connection.settings), connection.flow, "seed {seed}");
    }
    assert_eq!(gateway.calls().map(|(id, _)| id.to_vec()).collect::<std::collections::BTreeSet<_>>(), calls);
    for key in gateway.endpoints.keys() {
        let endpoint = gateway.endpoints.get(key).unwrap();
        let is_lonely = endpoint.lonely_since.is_some_and(|since| gateway.lonely.contains(&(since, key)));
        assert_eq!(endpoint.connections.is_empty(), is_lonely, "seed {seed}: an endpoint of nobody");
    }
    assert!(gateway.jobs.is_empty() && gateway.asked.is_empty(), "seed {seed}");
}

#[test]
fn an_endpoint_that_comes_and_goes_is_not_looked_at_ever_more_often() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("ann", 1);
    assert_eq!(code(&rig.send(&format!("DLCX 2 {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma\r\n"))), 250);
    for round in 0..50 {
        let crcx = format!("CRCX {} {endpoint} MGCP 1.0\r\nC: 1\r\nM: inactive\r\nK: 1-9999\r\n", 2 * round + 10);
        assert_eq!(code(&rig.send(&crcx)), 200);
        assert_eq!(code(&rig.send(&format!("DLCX {} {endpoint} MGCP 1.0\r\n", 2 * round + 11))), 250);
        rig.pass(Duration::from_millis(10));
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!((rig.gateway.transactions.len(), rig.gateway.wheel.len()), (0, 1));
}

#[test]
fn half_of_a_session_is_not_for_nothing() {
    let mut rig = Rig::with(Limits { units: 6, ..Limits::default() });
    let mut open = Vec::new();
    for number in 1..=6 {
        let made = rig.send(&format!("CRCX {number} ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\nZ2: ivr/$@gw\r\n"));
        assert_eq!((code(&made), rig.units()), (200, number));
        let (endpoint, other) = (Field::SpecificEndpointId, Field::SecondEndpointId);
        let (gone, stays) = if number % 2 == 0 { (endpoint, other) } else { (other, endpoint) };
        assert_eq!(code(&rig.send(&format!("DLCX {} {} MGCP 1.0\r\n", number + 100, param(&made, gone)))), 250);
        assert_eq!(rig.units(), number, "the other half stands");
        open.push(param(&made, stays));
    }
    assert_eq!(code(&rig.send("CRCX 50 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: inactive\r\n")), 403);
    for (id, endpoint) in (200..).zip(open) {
        assert_eq!(code(&rig.send(&format!("DLCX {id} {endpoint} MGCP 1.0\r\n"))), 250);
    }
    rig.check_empty();
}

#[test]
fn commands_for_nobody_never_take_the_place_of_what_is_carried_out() {
    let mut rig = Rig::with(Limits { transactions: 20, ..Limits::default() });
    for number in 1..=100 {
        let (command, wanted) = [("DLCX NN *@gw", 250), ("EPCF NN ann/*@gw", 200), ("RQNT NN *@gw", 200)][number % 3];
        let lines = ["", "B: e:mu\r\n", "X: 1\r\nR: R/ma\r\n"][number % 3];
        let command = format!("{} MGCP 1.0\r\n{lines}", command.replace("NN", &(100 + number).to_string()));
        assert_eq!(code(&rig.send(&command)), wanted);
    }
    rig.create("ann", 1);
}

#[test]
fn a_request_alone_needs_no_worker() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("ann", 1);
    assert!(rig.gateway.is_needed());
    assert_eq!(code(&rig.send(&format!("DLCX 2 {endpoint} MGCP 1.0\r\nX: 1\r\nR: R/ma\r\n"))), 250);
    assert!(!rig.gateway.is_quiet() && !rig.gateway.is_needed());
}

#[test]
fn a_provisional_response_that_floods_in_files_nothing_twice() {
    let mut rig = Rig::new();
    rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\nX: A1\r\nR: R/ma\r\n");
    rig.counters.packets_received = 1;
    let notify = rig.pass(Duration::from_millis(150)).remove(0);
    let id = notify.split(' ').nth(1).unwrap();
    for _ in 0..1_000 {
        assert_eq!(rig.send(&format!("100 {id} Pending\r\n")), "");
    }
    assert!(rig.gateway.events.timers() < 10, "{}", rig.gateway.events.timers());
    // 5, 10, 14, 18 s after it, and no more without another provisional response.
    let repeats = rig.pass(Duration::from_secs(30)).iter().filter(|sent| **sent == notify).count();
    assert!((2..=5).contains(&repeats), "{repeats}");
}

/// The call agent's reply to a command of the gateway: yes, no, later, another call agent, or nothing.
fn some_reply(dice: &mut Dice, id: &str) -> String {
    let code = dice.one(&["200", "200", "200", "400", "500", "521", "100", "250", "000", "999"]);
    let lines = dice.one(&["", "", "K:\r\n", "N: ca@[192.0.2.77]:99\r\n", "N: ca@nowhere.example\r\n", "N: \r\n"]);
    format!("{code} {id} X\r\n{lines}")
}

#[test]
fn whatever_call_agents_say_to_notifications_each_is_repeated_for_a_while_and_all_end() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut rig = Rig::new();
        let mut names = Vec::new();
        let mut said: BTreeMap<String, (u32, Time)> = BTreeMap::new();
        for step in 0..400_u32 {
            rig.counters.packets_received = dice.roll(3) as u64;
            let id = step + 10;
            let name = names.get(dice.roll(6)).cloned().unwrap_or_else(|| "ann/$@gw".to_owned());
            let lines = dice.one(&[
                "X: 1\r\nR: R/ma(N)\r\n",
                "X: 2\r\nR: R/ma@*\r\nQ: loop\r\n",
                "X: 3\r\nR: R/ma(A)\r\nT: R/ma\r\n",
                "X: 4\r\nR: R/ma(E(R(R/ma(N))))\r\nQ: discard,loop\r\n",
                "X: 5\r\nN: ca@192.0.2.9:5\r\nR: R/ma\r\n",
                "X: 6\r\nN: ca@ca.example\r\nR: R/ma\r\n",
                "X: 7\r\n",
                "",
            ]);
            let command = match dice.roll(6) {
                0 | 1 => format!("CRCX {id} {name} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n{lines}"),
                2 => format!("DLCX {id} {name} MGCP 1.0\r\n{lines}"),
                3 => format!("RQNT {id} {name} MGCP 1.0\r\n{lines}"),
                4 => format!("RQNT {id} *@gw MGCP 1.0\r\n{lines}"),
                _ => String::new(),
            };
            let arrival = Arrival::own(0, rig.agent, OWN.parse().unwrap(), 1);
            if !command.is_empty() {
                rig.arrive(&command, &arrival);
            }
            let mut sent: Vec<Output> = rig.outputs.drain(..).collect();
            let end = rig.now + Duration::from_millis(dice.roll(3_000) as u64);
            while let Some(due) = rig.gateway.poll_timeout().filter(|due| *due <= end) {
                rig.now = rig.now.max(due);
                rig.gateway.handle_timeout(rig.now);
                rig.settle();
                sent.extend(rig.outputs.drain(..));
            }
            rig.now = end;
            for output in sent {
                let Output::Transmit(transmit) = output else {
                    if let Output::Resolve { key, .. } = output {
                        let found: &[SocketAddr] = match dice.roll(4) {
                            0 => &[],
                            1 => &["[ff02::1]:9".parse().unwrap()],
                            _ => &["192.0.2.5:7".parse().unwrap(), "192.0.2.6:7".parse().unwrap()],
                        };
                        rig.gateway.on_resolved(key, found, rig.now);
                    }
                    continue;
                };
                assert!(!transmit.to.ip().is_multicast());
                for part in crate::wire::mgcp::parts(&transmit.bytes) {
                    match parse(part).unwrap() {
                        Message::Response(response) => {
                            if let Some(name) = response.param(Field::SpecificEndpointId) {
                                names.push(String::from_utf8(name.to_vec()).unwrap());
                            }
                        }
                        Message::Command(command) => {
                            let number = command.transaction().to_string();
                            let (times, first) = said.entry(number.clone()).or_insert((0, rig.now));
                            *times += 1;
                            // A copy precedes each answer to a request, in addition to its own repetitions.
                            assert!(*times < 60, "seed {seed}: {number} is repeated without end");
                            let is_long_ago = rig.now.since(*first) > Duration::from_secs(130);
                            assert!(!is_long_ago, "seed {seed}: {number} is said for ever");
                            if dice.roll(3) == 0 {
                                let reply = some_reply(&mut dice, &number);
                                rig.arrive(&reply, &arrival);
                            }
                        }
                    }
                }
            }
            if names.len() > 6 {
                names.remove(0);
            }
        }
        assert!(said.len() > 5, "seed {seed}: {}", said.len());
        rig.outputs.clear();
        rig.gateway.end_all(rig.now);
        rig.settle();
        rig.pass(Duration::from_secs(200));
        rig.check_empty();
        assert_eq!((rig.gateway.events.timers(), rig.gateway.transactions.len()), (0, 0), "seed {seed}");
    }
}
