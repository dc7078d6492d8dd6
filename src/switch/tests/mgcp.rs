//! MGCP over links in memory, with the workers' ends of them.

mod random;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use super::*;
use crate::dispatch::decision::Services;
use crate::ids::{ListenerId, Seq};

use crate::link::worker_end::{FromDispatcher, WorkerEnd};
use crate::switch::parcel::Parcel;
use crate::wire::mgcp::{Message, parse, parts};
use crate::words::{ReplyTo, Report};

/// Frames on their way.
#[derive(Default)]
struct Wire {
    out: VecDeque<Vec<u8>>,
    back: VecDeque<Vec<u8>>,
}

struct Pipe(Rc<RefCell<Wire>>);

impl Channel for Pipe {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let frame = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        self.0.borrow_mut().out.push_back(frame);
        Ok(())
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        let came = self.0.borrow_mut().back.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        frame[..came.len()].copy_from_slice(&came);
        Ok(came.len())
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// A switch and its workers.
struct Rig {
    switch: Switch<Pipe>,
    workers: Vec<(Rc<RefCell<Wire>>, WorkerEnd)>,
    now: Time,
}

/// A message that a worker got.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    worker: u16,
    seq: Seq,
    reply_to: ReplyTo,
    text: String,
}

fn rig(workers: u16) -> Rig {
    lane_of(workers, 0, 1, Insert::None)
}

fn lane_of(workers: u16, own: usize, lanes: usize, insert: Insert) -> Rig {
    sized(workers, own, lanes, insert, 100)
}

fn sized(workers: u16, own: usize, lanes: usize, insert: Insert, table_cap: usize) -> Rig {
    let dispatch = Dispatch::new(Setup {
        rules: Rules { slow_start: Duration::ZERO, ..Rules::default() },
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap,
        group_cap: 10,
        workers: usize::from(workers),
        seed: 1,
    });
    let switch = Switch::new(dispatch, insert, 1 << 20, Owners::new(own, lanes, 7));
    let mut rig = Rig { switch, workers: Vec::new(), now: NOW };
    (0..workers).for_each(|worker| rig.link(worker, u64::from(worker) + 1));
    rig
}

fn token(worker: u16) -> String {
    TokenKey::new([1; 32]).token(Incarnation::new(u64::from(worker) + 1)).to_string()
}

impl Rig {
    /// A worker comes, the first in its slot or a successor.
    fn link(&mut self, worker: u16, life: u64) {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let joined = Joined {
            services: Services::MGCP,
            mgcp: vec![SocketAddr::from(([192, 0, 2, 2], 2430 + worker))],
            ..Joined::sip(Incarnation::new(life), 10, Vec::new())
        };
        self.switch.on_link(WorkerId(worker), Pipe(Rc::clone(&wire)), &joined, self.now);
        let place = usize::from(worker);
        match self.workers.get_mut(place) {
            Some(before) => *before = (wire, WorkerEnd::new()),
            None => self.workers.push((wire, WorkerEnd::new())),
        }
    }

    /// Sends a datagram to the switch, and returns the answers that it gets at once.
    fn send(&mut self, text: &str) -> Vec<String> {
        let (source, local) = ("192.0.2.1:2727".parse().unwrap(), "192.0.2.2:2427".parse().unwrap());
        let owner = Owner::Listener(ListenerId(0));
        let way = Way::of_datagram(owner, ListenerId(0), Transport::Mgcp, (source, local), self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.answers()
    }

    fn answers(&mut self) -> Vec<String> {
        let mut answers = Vec::new();
        self.switch.flush_answers(|leaving| {
            answers.extend(leaving.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()))
        });
        answers
    }

    /// The messages that workers have got since the last look.
    fn got(&mut self) -> Vec<Got> {
        self.switch.flush_links();
        let mut all = Vec::new();
        for (worker, (wire, back)) in (0..).zip(&mut self.workers) {
            while let Some(frame) = wire.borrow_mut().out.pop_front() {
                let mut sink = |event: FromDispatcher<'_>| {
                    if let FromDispatcher::Message(message) = event {
                        let text = String::from_utf8_lossy(message.payload).into_owned();
                        let Envelope { seq, reply_to, transport, .. } = message.envelope;
                        assert_eq!(transport, Transport::Mgcp);
                        all.push(Got { worker, seq, reply_to, text });
                    }
                };
                back.on_frame(&frame, &mut sink).unwrap();
            }
        }
        all
    }

    /// The transactions of the messages that workers get, one for each message.
    fn transactions(&mut self) -> Vec<u32> {
        let got = self.got();
        got.iter().map(|got| parse(got.text.as_bytes()).unwrap().transaction().0).collect()
    }

    /// A worker sends something, and the switch reads it.
    fn says(&mut self, worker: u16, what: impl FnOnce(&mut WorkerEnd, Time)) {
        self.writes(worker, what);
        self.switch.on_link_event(WorkerId(worker), true, false);
        while self.switch.read_link(WorkerId(worker), self.now) == LinkRead::Frame {}
    }

    /// A worker sends something that the switch does not read yet.
    fn writes(&mut self, worker: u16, what: impl FnOnce(&mut WorkerEnd, Time)) {
        let (wire, back) = &mut self.workers[usize::from(worker)];
        what(back, self.now);
        // The time is past every delay for which a record may be kept back.
        let send = |pieces: &[IoSlice<'_>]| {
            wire.borrow_mut().back.push_back(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
            Ok(())
        };
        back.poll_transmit(self.now + Duration::from_secs(1), send).unwrap();
    }

    fn answered(&mut self, got: &Got) {
        self.says(got.worker, |back, now| back.answered(got.seq, now));
    }

    fn parcels(&mut self) -> Vec<(usize, Parcel)> {
        let mut all = Vec::new();
        self.switch.flush_parcels(self.now, |lane, parcel| {
            all.push((lane, std::mem::take(parcel)));
            true
        });
        all.retain(|(_, parcel)| parcel.messages().next().is_some());
        all
    }
}

fn crcx(transaction: u32, call: &str) -> String {
    format!("CRCX {transaction} ann/$@ms MGCP 1.0\r\nC: {call}\r\n")
}

fn joined(messages: &[String]) -> String {
    messages.join(".\r\n")
}

#[test]
fn the_next_command_of_a_datagram_waits_until_the_one_before_is_answered() {
    let mut rig = rig(2);
    assert_eq!(rig.send(&joined(&[crcx(1, "a"), crcx(2, "b"), crcx(3, "c")])), [""; 0]);
    for transaction in 1..=3 {
        let got = rig.got();
        let [one] = &got[..] else { panic!("{got:?}") };
        assert_eq!(one.text, crcx(transaction, ["a", "b", "c"][transaction as usize - 1]));
        rig.answered(one);
    }
    assert!(rig.got().is_empty() && rig.switch.chains.is_empty());
    assert_eq!(rig.switch.totals().received, 3);
    let counters = rig.switch.dispatch().counters();
    assert_eq!((counters.received, counters.handed_over), (3, 3));
}

#[test]
fn a_command_after_one_that_is_answered_here_goes_at_once_and_one_after_silence_in_five_seconds() {
    let mut rig = rig(2);
    let unknown = "MDCX 1 ann/1@ms MGCP 1.0\r\n".to_owned();
    assert_eq!(rig.send(&joined(&[unknown, crcx(2, "b"), crcx(3, "c")])), ["500 1 Endpoint unknown\r\n"]);
    let got = rig.got();
    assert_eq!(got.len(), 1);
    assert!(rig.switch.poll_timeout().unwrap() <= NOW + Duration::from_secs(5));
    rig.now = NOW + Duration::from_micros(4_999_999);
    rig.switch.handle_timeout(rig.now);
    assert!(rig.got().is_empty());
    rig.now = NOW + Duration::from_secs(5);
    rig.switch.handle_timeout(rig.now);
    assert_eq!(rig.transactions(), [3]);
    rig.answered(&got[0]);
    assert!(rig.got().is_empty(), "an answer that comes too late");
}

#[test]
fn responses_of_a_datagram_go_at_once_and_so_does_what_cannot_be_read() {
    let mut rig = rig(2);
    let response = format!("200 {} OK\r\n", crate::ids::TransactionRange::of(WorkerId(1)).pick(5));
    let answers = rig.send(&joined(&[crcx(1, "a"), crcx(2, "b"), "CRCX 3 x\r\n".to_owned(), response.clone()]));
    assert_eq!(answers, ["510 3\r\n"], "no longer than the question");
    let got = rig.got();
    assert_eq!(got.len(), 2);
    assert!(got.iter().any(|got| got.worker == 1 && got.text == response));
}

#[test]
fn a_datagram_of_very_many_messages_is_answered_and_not_carried_out_beyond_sixty_four() {
    let mut rig = rig(1);
    let name = format!("ann/{}/1@ms", token(0));
    let many: Vec<String> = (1..=70).map(|id| format!("AUEP {id} {name} MGCP 1.0\r\n")).collect();
    let answers = rig.send(&joined(&many));
    let all: Vec<String> = (65..=70).map(|id| format!("409 {id} Processing overload\r\n")).collect();
    assert_eq!(answers, [joined(&all)]);
    let mut carried_out = 0;
    while let [one] = &rig.got()[..] {
        carried_out += 1;
        rig.answered(&one.clone());
    }
    assert_eq!(carried_out, 64);
}

#[test]
fn thousands_of_broken_commands_in_one_datagram_are_answered_in_few() {
    let mut rig = rig(1);
    let text = "A 1\n.\n".repeat(10_000);
    let answers = rig.send(&text);
    let bytes: usize = answers.iter().map(String::len).sum();
    let told: usize = answers.iter().map(|answer| parts(answer.as_bytes()).count()).sum();
    assert_eq!(told, 10_000);
    assert!(answers.len() < 64 + 120 && bytes < 2 * text.len(), "{} datagrams, {bytes} bytes", answers.len());
}

#[test]
fn a_copy_has_the_workers_port_too_so_that_it_is_a_copy_for_the_worker() {
    let mut rig = lane_of(2, 0, 1, Insert::Header);
    rig.send(&crcx(1, "a"));
    let first = rig.got();
    rig.send(&crcx(1, "a"));
    let copy = rig.got();
    assert!(first[0].text.contains("X-Worker-Port: 243"));
    assert_eq!((first[0].worker, &first[0].text), (copy[0].worker, &copy[0].text));
}

#[test]
fn a_command_with_as_many_lines_as_are_read_gets_none_more() {
    let mut rig = lane_of(1, 0, 1, Insert::Header);
    for (id, lines) in [(1, 95), (2, 96)] {
        rig.send(&format!("CRCX {id} ann/$@ms MGCP 1.0\r\n{}", "X-A: 1\r\n".repeat(lines)));
        let got = rig.got();
        assert!(parse(got[0].text.as_bytes()).is_ok(), "{lines} lines");
        assert_eq!(got[0].text.contains("X-Worker-Port"), lines == 95);
    }
}

#[test]
fn more_datagrams_than_can_wait_are_answered() {
    let mut rig = rig(1);
    let name = format!("ann/{}/1@ms", token(0));
    let pair = |id: usize| format!("AUEP {id} {name} MGCP 1.0\n.\nAUEP {} {name} MGCP 1.0\n", id + 1);
    let answers = (0..1_100).map(|number| rig.send(&pair(2 * number + 1))).find(|answers| !answers.is_empty());
    let answers = answers.unwrap();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| answer.starts_with("409 ")), "{answers:?}");
}

#[test]
fn a_refused_command_goes_to_another_worker_and_the_commands_after_it_wait_on() {
    let mut rig = rig(2);
    rig.send(&joined(&[crcx(1, "a"), crcx(2, "b")]));
    let got = rig.got();
    rig.says(got[0].worker, |back, _| back.refuse(got[0].seq, RefuseReason::Full));
    let second = rig.got();
    assert_eq!(second.iter().map(|got| &got.text).collect::<Vec<_>>(), [&crcx(1, "a")]);
    assert_ne!(second[0].worker, got[0].worker);
    rig.says(second[0].worker, |back, _| back.refuse(second[0].seq, RefuseReason::Full));
    assert_eq!(rig.answers(), ["403 1\r\n"]);
    assert_eq!(rig.transactions(), [2], "it has its answer, and the next one goes");
}

#[test]
fn a_dead_workers_commands_go_to_others_or_are_answered_and_those_after_them_follow() {
    let mut rig = rig(2);
    let named = format!("DLCX 1 ann/{}/7@ms MGCP 1.0\r\n", token(0));
    rig.send(&joined(&[named, crcx(2, "b")]));
    let got = rig.got();
    assert_eq!((got.len(), got[0].worker), (1, 0));
    rig.switch.on_link_lost(WorkerId(0), rig.now);
    assert_eq!(rig.answers(), ["500 1 Endpoint unknown\r\n"]);
    assert_eq!(rig.transactions(), [2]);
}

#[test]
fn a_command_for_everyone_goes_to_each_and_their_answers_come_back_as_one() {
    let mut rig = rig(3);
    let all = "AUEP 1 *@ms MGCP 1.0\r\n".to_owned();
    assert_eq!(rig.send(&joined(&[all.clone(), crcx(2, "b")])), [""; 0]);
    let got = rig.got();
    assert_eq!(got.iter().map(|got| got.worker).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(
        got.iter().all(|one| one.text == all && one.reply_to == got[0].reply_to && one.reply_to != ReplyTo::Datagram)
    );
    assert_eq!(rig.send(&all), ["100 1\r\n"]);
    for one in &got {
        let said = format!("200 1 OK\r\nZ: ann/{}@ms\r\n", one.worker);
        rig.says(one.worker, |back, now| {
            back.reply(one.reply_to, said.as_bytes()).unwrap();
            back.answered(one.seq, now);
        });
    }
    let merged = "200 1 OK\r\nZ: ann/0@ms\r\nZ: ann/1@ms\r\nZ: ann/2@ms\r\n";
    assert_eq!(rig.answers(), [merged]);
    assert_eq!(rig.transactions(), [2], "what is behind it goes then");
    assert_eq!(rig.send(&all), [merged], "a retransmission");
    assert!(rig.got().is_empty() && rig.switch.outbox.asked.is_empty());
}

#[test]
fn an_answer_to_everyones_command_counts_after_its_worker_has_died() {
    for has_successor in [false, true] {
        let mut rig = rig(2);
        rig.send("AUEP 1 *@ms MGCP 1.0\r\n");
        for one in &rig.got() {
            let said = format!("200 1 OK\r\nZ: ann/{}@ms\r\n", one.worker);
            let says = |back: &mut WorkerEnd, now: Time| {
                back.reply(one.reply_to, said.as_bytes()).unwrap();
                back.answered(one.seq, now);
            };
            match one.worker {
                0 => rig.writes(0, says),
                _ => rig.says(1, says),
            }
        }
        rig.switch.end_link(WorkerId(0), rig.now);
        assert_eq!(rig.answers(), [""; 0], "its last words are still to be read");
        if has_successor {
            // The successor is no part of a question that was asked before it came.
            rig.link(0, 9);
        }
        while rig.switch.has_orphans() {
            rig.switch.handle_timeout(rig.now);
        }
        let all =
            if has_successor { "200 1 OK\r\nZ: ann/1@ms\r\n" } else { "200 1 OK\r\nZ: ann/1@ms\r\nZ: ann/0@ms\r\n" };
        assert_eq!(rig.answers(), [all]);
    }
}

#[test]
fn the_workers_port_is_written_into_the_part_that_begins_something_and_no_other() {
    let mut rig = lane_of(1, 0, 1, Insert::Header);
    let named = format!("DLCX 1 ann/{}/7@ms MGCP 1.0\r\nX-Worker-Port: 1\r\n", token(0));
    rig.send(&joined(&[named.clone(), format!("{}x-worker-port: 9\r\n", crcx(2, "b"))]));
    let got = rig.got();
    assert_eq!(got[0].text, named, "what follows stays as it came");
    rig.answered(&got[0]);
    assert_eq!(rig.got()[0].text, "CRCX 2 ann/$@ms MGCP 1.0\r\nX-Worker-Port: 2430\r\nC: b\r\n");
}

#[test]
fn acknowledgements_go_to_the_workers_that_have_the_transactions() {
    let mut rig = rig(3);
    (1..=3).for_each(|id| drop(rig.send(&crcx(id, &id.to_string()))));
    let got = rig.got();
    let first = got.iter().find(|got| got.text.contains(" 1 ")).unwrap().worker;
    rig.send(&format!("DLCX 9 ann/{}/1@ms MGCP 1.0\r\nK: 1-3\r\n", token(first)));
    let got = rig.got();
    let mut acks: Vec<&str> = got.iter().filter(|got| got.worker != first).map(|got| got.text.as_str()).collect();
    acks.sort_unstable();
    assert_eq!(acks, ["000 2\r\n", "000 3\r\n"]);
    assert_eq!(rig.switch.dispatch().counters().received, 4, "no peer has sent them");
}

#[test]
fn lanes_give_each_other_the_commands_of_a_datagram_that_are_theirs() {
    let mut lanes = [0, 1].map(|own| lane_of(2, own, 2, Insert::None));
    let source = "192.0.2.1".parse().unwrap();
    let owner = |text: &str| {
        let Ok(Message::Command(command)) = parse(text.as_bytes()) else { panic!() };
        Owners::new(0, 2, 7).lane_of_command(&command, source)
    };
    // One call of the second lane between two of the first.
    let of = |lane: usize, id: u32| {
        (0..).map(|call| crcx(id, &format!("{call:x}"))).find(|text| owner(text) == lane).unwrap()
    };
    let messages = [of(0, 1), of(1, 2), of(0, 3)];
    let [first, second] = &mut lanes;
    second.send(&joined(&messages));
    assert!(second.got().is_empty(), "the first command is not its own");
    let pass = |from: &mut Rig, to: &mut Rig, expected: usize| {
        let parcels = from.parcels();
        let [(_, parcel)] = &parcels[..] else { panic!("{parcels:?}") };
        assert_eq!(parcel.messages().map(|(bytes, ..)| parts(bytes).count()).collect::<Vec<_>>(), [expected]);
        to.switch.on_parcel(parcel, to.now);
        let got = to.got();
        assert_eq!(got.len(), 1);
        to.answered(&got[0]);
        got[0].text.clone()
    };
    assert_eq!(pass(second, first, 3), messages[0]);
    assert_eq!(pass(first, second, 2), messages[1]);
    assert_eq!(pass(second, first, 1), messages[2]);
    assert_eq!(second.switch.totals().received + first.switch.totals().received, 3);
}

#[test]
fn a_lane_that_does_not_know_what_is_acknowledged_asks_the_others() {
    let mut lanes = [0, 1].map(|own| lane_of(2, own, 2, Insert::None));
    let [first, second] = &mut lanes;
    let own = (0..).map(|call| crcx(1, &format!("{call:x}"))).find(|text| {
        first.send(text);
        !first.got().is_empty()
    });
    assert!(own.is_some());
    first.parcels();
    second.send("000 1\r\n");
    let parcels = second.parcels();
    assert_eq!(parcels.len(), 1);
    first.switch.on_parcel(&parcels[0].1, first.now);
    assert_eq!(first.got().iter().map(|got| got.text.as_str()).collect::<Vec<_>>(), ["000 1\r\n"]);
    second.switch.on_parcel(&parcels[0].1, second.now);
    assert!(second.got().is_empty() && second.parcels().is_empty(), "it goes round once");
}

#[test]
fn many_acknowledgements_of_one_command_are_one_message_to_the_other_lanes() {
    let mut lanes = [0, 1].map(|own| lane_of(3, own, 2, Insert::None));
    let [first, second] = &mut lanes;
    let mut known = Vec::new();
    for id in 1..=12 {
        first.send(&crcx(id, &format!("{id:x}")));
        known.extend(first.got().iter().map(|got| (got.worker, format!("000 {id}\r\n"))));
    }
    first.parcels();
    known.sort();
    let name = format!("ann/{}/1@ms", token(0));
    let audit = (100..).map(|id| format!("AUEP {id} {name} MGCP 1.0\r\nK: 1-999999999\r\n"));
    let own = audit.into_iter().find(|text| {
        second.send(text);
        !second.got().is_empty()
    });
    assert!(own.is_some() && known.len() > 2);
    let parcels = second.parcels();
    let messages: Vec<_> = parcels.iter().flat_map(|(_, parcel)| parcel.messages()).collect();
    let acks: Vec<_> = messages.iter().filter(|(bytes, ..)| bytes.starts_with(b"000 ")).collect();
    assert_eq!(acks.len(), 1);
    for _ in 0..2 {
        first.switch.on_parcel(&parcels[0].1, first.now);
    }
    let mut got: Vec<_> = first.got().into_iter().map(|got| (got.worker, got.text)).collect();
    got.retain(|(_, text)| text.starts_with("000 "));
    got.sort();
    assert_eq!(got, known, "each once");
}

#[test]
fn a_vacant_slots_port_answers_for_the_dead() {
    let mut rig = rig(2);
    rig.switch.on_link_lost(WorkerId(1), rig.now);
    let text = format!("MDCX 1 ann/{}/7@ms:2431 MGCP 1.0\r\n", token(1));
    let (source, local) = ("192.0.2.1:2727".parse().unwrap(), "192.0.2.2:2431".parse().unwrap());
    let owner = Owner::VacantMgcp(WorkerId(1), ListenerId(0));
    let way = Way::of_datagram(owner, ListenerId(0), Transport::Mgcp, (source, local), rig.now);
    rig.switch.on_message(text.as_bytes(), &way, rig.now);
    let mut answers = Vec::new();
    rig.switch.flush_answers(|leaving| {
        let owner = leaving.owner;
        answers.extend(leaving.map(|(bytes, to)| (owner, bytes.to_vec(), to)));
    });
    assert_eq!(answers, [(owner, b"500 1 Endpoint unknown\r\n".to_vec(), source)]);
    assert_eq!(rig.switch.totals().received, 0);
}

#[test]
fn a_report_of_a_worker_is_heard_beside_its_answers() {
    let mut rig = rig(1);
    rig.send(&crcx(1, "a"));
    let got = rig.got();
    let report = Report { number: 1, covers: got[0].seq, units_used: 3, units_total: 10, ..Report::default() };
    rig.says(0, |back, now| {
        back.group_open(now, b"C:a").unwrap();
        back.report(report);
        back.answered(got[0].seq, now);
    });
    assert_eq!(rig.switch.dispatch().pool().get(WorkerId(0)).unwrap().units_used, 3);
    assert_eq!(rig.switch.dispatch().conferences(), 1);
}
