//! Datagrams, workers and time in a random order: every command gets an answer, and none is carried out twice.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::words::ReplyTo;

/// State of a walk: the truth, as the test knows it.
struct Walk {
    rig: Rig,
    dice: u64,
    /// The life of each worker.
    lives: Vec<u64>,
    /// Messages that workers got and have not answered yet.
    held: Vec<(Got, u64, Time)>,
    /// Worker and life in which the connection of a transaction was made.
    made: BTreeMap<u32, (u16, u64)>,
    /// Datagrams sent lately, and the times when they were sent.
    sent: Vec<(Time, String)>,
    asked: BTreeSet<u32>,
    told: BTreeSet<u32>,
    /// Commands that a worker has refused; it refuses copies of them as well.
    refused: BTreeSet<(u64, u32)>,
    next: u32,
    reports: u64,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let rig = sized(3, 0, 1, Insert::None, 10_000);
        Walk {
            rig,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            lives: vec![1, 2, 3],
            held: Vec::new(),
            made: BTreeMap::new(),
            sent: Vec::new(),
            asked: BTreeSet::new(),
            told: BTreeSet::new(),
            refused: BTreeSet::new(),
            next: 0,
            reports: 0,
        }
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as usize % sides
    }

    fn token(&mut self) -> String {
        let life = 1 + self.roll(*self.lives.iter().max().unwrap() as usize + 1) as u64;
        TokenKey::new([1; 32]).token(Incarnation::new(life)).to_string()
    }

    fn command(&mut self) -> String {
        self.next += 1;
        let id = self.next;
        self.asked.insert(id);
        let call = self.roll(6);
        let token = self.token();
        match self.roll(12) {
            0..4 => format!("CRCX {id} ann/$@ms MGCP 1.0\r\nC: {call}\r\n"),
            4 => format!("CRCX {id} ann/$@ms MGCP 1.0\nK: 1-99999, {id}"),
            5 => format!("CRCX {id} ann/$@ms:243{} MGCP 1.0\nC: {call}\n", self.roll(4)),
            6 => format!("MDCX {id} ann/{token}/1@ms MGCP 1.0\r\nC: {call}\r\nK: {}-{id}\r\n", id.saturating_sub(9)),
            7 => format!("DLCX {id} *@ms MGCP 1.0\nC: {call}\n"),
            8 => format!("AUEP {id} ann/*@ms MGCP 1.0\nZM: 3\n"),
            9 => format!("NTFY {id} ann/1@ms MGCP 1.0\n"),
            10 => format!("XYZ {id} nonsense"),
            _ => format!("RQNT {id} ann/7@ms MGCP 1.0\nC: {call}\n"),
        }
    }

    fn part(&mut self) -> String {
        let slot = self.roll(5) as u16;
        let own = crate::ids::TransactionRange::of(WorkerId(slot)).pick(7);
        match self.roll(9) {
            0 => format!("200 {own} OK\n"),
            1 => format!("000 {}\n", self.roll(50)),
            2 => "garbage\r\n\r\n".to_owned(),
            _ => self.command(),
        }
    }

    fn step(&mut self) {
        match self.roll(12) {
            0..4 => {
                let all: Vec<String> = (0..1 + self.roll(4)).map(|_| self.part()).collect();
                let text = all.join("\n.\n");
                self.sent.push((self.rig.now, text.clone()));
                self.send(&text);
            }
            4 => {
                let since = self.rig.now;
                self.sent.retain(|(at, _)| since.since(*at) < Duration::from_secs(10));
                if !self.sent.is_empty() {
                    let at = self.roll(self.sent.len());
                    let text = self.sent[at].1.clone();
                    self.send(&text);
                }
            }
            5..10 => {
                if !self.held.is_empty() {
                    let at = self.roll(self.held.len());
                    let it = self.held.swap_remove(at);
                    let refuses = self.roll(6) == 0;
                    self.worker_says(&it, refuses);
                }
            }
            10 => {
                let worker = self.roll(3);
                if self.roll(4) == 0 {
                    self.die(worker as u16);
                }
            }
            _ => {
                let step = [1, 200, 900, 3_000][self.roll(4)];
                self.wait(Duration::from_millis(step));
            }
        }
        self.hear();
    }

    fn send(&mut self, text: &str) {
        let answers = self.rig.send(text);
        self.note(&answers);
    }

    fn note(&mut self, answers: &[String]) {
        for answer in answers.iter().flat_map(|answer| parts(answer.as_bytes())) {
            let Ok(Message::Response(response)) = parse(answer) else { panic!("{answer:?}") };
            if response.code().is_final() {
                self.told.insert(response.transaction().0);
            }
        }
    }

    /// Notes the answers and the messages to workers that have come out of the switch.
    fn hear(&mut self) {
        let answers = self.rig.answers();
        self.note(&answers);
        for got in self.rig.got() {
            let life = self.lives[usize::from(got.worker)];
            self.held.push((got, life, self.rig.now));
        }
        self.rig.switch.dispatch.check();
    }

    fn worker_says(&mut self, (got, life, _): &(Got, u64, Time), refuses: bool) {
        if self.lives[usize::from(got.worker)] != *life {
            return;
        }
        let Ok(Message::Command(command)) = parse(got.text.as_bytes()) else {
            return self.rig.answered(got);
        };
        let id = command.transaction().0;
        if refuses && !self.told.contains(&id) && self.made.get(&id) != Some(&(got.worker, *life)) {
            self.refused.insert((*life, id));
        }
        if self.refused.contains(&(*life, id)) {
            return self.rig.says(got.worker, |back, _| back.refuse(got.seq, RefuseReason::Full));
        }
        if got.reply_to != ReplyTo::Datagram {
            let text = ["200 ID OK\r\nZ: a/1@ms\r\n", "100 ID\r\n.\r\n500 ID\r\n", "200 1999 OK\r\n", "rubbish"];
            let said = text[self.roll(4)].replace("ID", &id.to_string());
            self.rig.says(got.worker, |back, now| {
                back.reply(got.reply_to, said.as_bytes()).unwrap();
                back.answered(got.seq, now);
            });
            return;
        }
        if command.verb() == crate::wire::mgcp::Verb::Crcx {
            let here = (got.worker, *life);
            let there = *self.made.entry(id).or_insert(here);
            let is_gone = self.lives[usize::from(there.0)] != there.1;
            assert!(there == here || is_gone, "{id} is made at {there:?} and at {here:?}");
            self.made.insert(id, here);
            if let Some(call) = command.call_id().filter(|_| self.dice & 64 == 0) {
                let name = [&b"C:"[..], call].concat();
                self.rig.says(got.worker, |back, now| back.group_open(now, &name).unwrap());
            }
        }
        self.told.insert(id);
        self.rig.answered(got);
    }

    fn die(&mut self, worker: u16) {
        self.rig.switch.on_link_lost(WorkerId(worker), self.rig.now);
        let life = self.lives.iter().max().unwrap() + 1;
        self.lives[usize::from(worker)] = life;
        self.hear();
        self.rig.link(worker, life);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.rig.now + time;
        while let Some(due) = self.rig.switch.poll_timeout().filter(|due| *due <= until) {
            self.rig.now = due.max(self.rig.now);
            self.rig.switch.handle_timeout(self.rig.now);
            self.hear();
            self.report();
        }
        self.rig.now = until;
        // Every message that has waited for more than 8 s is answered.
        let (due, rest) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(_, _, since)| self.rig.now.since(*since) > Duration::from_secs(8));
        self.held = rest;
        let due: Vec<_> = due;
        due.iter().for_each(|it| self.worker_says(it, false));
        self.report();
        self.rig.switch.handle_timeout(self.rig.now);
    }

    /// Each worker reports that it lives, and that it has read everything.
    fn report(&mut self) {
        self.reports += 1;
        for worker in 0..3 {
            let (number, covers) = (self.reports, Seq(u64::MAX >> 1));
            let report = Report { number, covers, units_total: 1_000, ..Report::default() };
            self.rig.says(worker, |back, _| back.report(report));
        }
    }
}

#[test]
fn every_command_is_answered_and_none_carried_out_twice_whatever_the_order() {
    for seed in 1..12 {
        let mut walk = Walk::new(seed);
        (0..1_000).for_each(|_| walk.step());
        for _ in 0..40 {
            while let Some(it) = walk.held.pop() {
                walk.worker_says(&it, false);
                walk.hear();
            }
            walk.wait(Duration::from_secs(2));
            walk.hear();
        }
        let silent: Vec<u32> = walk.asked.difference(&walk.told).copied().collect();
        assert!(silent.is_empty(), "seed {seed}: no worker has answered {silent:?}");
        let switch = &walk.rig.switch;
        assert!(switch.chains.is_empty() && switch.outbox.asked.is_empty() && switch.resumed.is_empty(), "seed {seed}");
        assert!(switch.dispatch.has_no_gathering(), "seed {seed}");
    }
}
