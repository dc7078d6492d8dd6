//! Whole calls over a link that loses, doubles and delays messages, in virtual time and from a seed.

use super::*;

/// Xorshift: enough for a test, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A caller: INVITE until 200, ACK for each 200, BYE until 200.
struct Caller {
    number: usize,
    stage: Stage,
    tag: String,
    next: Time,
    interval: Duration,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Inviting,
    /// A provisional response has come: the INVITE is not repeated any more (RFC 3261 §17.1.1.2).
    Waiting,
    Talking,
    Leaving,
    Done,
    GivenUp,
}

impl Caller {
    fn text(&self, method: &'static str) -> Text {
        let number = self.number;
        let text = text(method).call(&format!("call-{number}")).branch(&format!("{method}-{number}"));
        match method {
            "INVITE" => text.body(OFFER),
            "ACK" => text.to(&self.tag),
            _ => text.to(&self.tag).cseq(2),
        }
    }

    fn on_timer(&mut self, now: Time) -> Option<Text> {
        if now < self.next {
            return None;
        }
        let method = match self.stage {
            Stage::Inviting => "INVITE",
            Stage::Talking => {
                self.stage = Stage::Leaving;
                self.interval = ms(500);
                self.until = now + SECOND * 32;
                "BYE"
            }
            Stage::Leaving => "BYE",
            Stage::Waiting => {
                self.stage = Stage::GivenUp;
                return None;
            }
            Stage::Done | Stage::GivenUp => return None,
        };
        if now >= self.until {
            self.stage = Stage::GivenUp;
            return None;
        }
        self.next = now + self.interval;
        self.interval = if method == "BYE" { (self.interval * 2).min(SECOND * 4) } else { self.interval * 2 };
        Some(self.text(method))
    }

    fn on_response(&mut self, response: &str, now: Time) -> Option<Text> {
        let method = header(response, "CSeq").unwrap().split(' ').nth(1).unwrap();
        match (method, status(response), self.stage) {
            ("INVITE", 100..=199, Stage::Inviting) => {
                self.stage = Stage::Waiting;
                self.next = now + SECOND * 180;
                None
            }
            ("INVITE", 200, _) => {
                if matches!(self.stage, Stage::Inviting | Stage::Waiting) {
                    self.stage = Stage::Talking;
                    self.next = now + SECOND * 5;
                    self.until = now + SECOND * 60;
                }
                self.tag = to_tag(response);
                Some(self.text("ACK"))
            }
            ("BYE", 200 | 481, Stage::Leaving) => {
                self.stage = Stage::Done;
                None
            }
            _ => None,
        }
    }
}

enum Flying {
    ToWorker(Text),
    ToCaller(String),
}

/// Decision of the worker on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decides {
    AtOnce,
    /// A 100 after 200 ms, a 180 after 300, and the answer after 3 s.
    AfterRinging,
}

/// The worker's next step with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ring,
    Accept,
}

/// The outcome of the calls of one run.
struct Outcome {
    calls: usize,
    /// Number of calls that stood, as the worker saw it.
    stood: usize,
    /// Number of calls that their caller ended in order.
    done: usize,
}

fn run(seed: u64, loss: u64, decides: Decides) -> Outcome {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    // Session timers make a call end whose caller is gone.
    let mut desk = Desk::with(identity(), Limits::default(), SessionTimer { expires: Some(90), min_se: 90 });
    let start = desk.now;
    let mut callers: Vec<Caller> = (0..40)
        .map(|number| Caller {
            number,
            stage: Stage::Inviting,
            tag: String::new(),
            next: start + ms(number as u64 * 20),
            interval: ms(500),
            until: start + SECOND * 33,
        })
        .collect();
    let mut air: Vec<(Time, Flying)> = Vec::new();
    let (mut incoming, mut stood, mut ended, mut settled) = (0, 0, 0, Vec::new());
    let mut undecided: Vec<(Time, CallKey, Step)> = Vec::new();
    let mut handed = 0;
    while desk.now < start + SECOND * 200 {
        let now = desk.now;
        let mut sending: Vec<Flying> =
            callers.iter_mut().filter_map(|it| it.on_timer(now)).map(Flying::ToWorker).collect();
        let due: Vec<Flying> = {
            let mut due = Vec::new();
            let mut rest = Vec::new();
            for (at, flying) in air.drain(..) {
                if at <= now { due.push(flying) } else { rest.push((at, flying)) }
            }
            air = rest;
            due
        };
        for flying in due {
            match flying {
                // The dispatcher's port and the worker's own, as a caller that mixes both would use them.
                Flying::ToWorker(text) if dice.roll(2) == 0 => {
                    desk.hand_with(&text, |envelope| envelope.follows = text.method != "INVITE");
                    handed += 1;
                }
                Flying::ToWorker(text) => desk.own(&text),
                Flying::ToCaller(response) => {
                    if response.starts_with("INVITE") {
                        continue;
                    }
                    if response.starts_with("BYE") {
                        // The worker gave up on an ACK; the caller will find out by 481.
                        desk.reply(&response, 200, "", "");
                        continue;
                    }
                    let number =
                        header(&response, "Call-ID").unwrap().strip_prefix("call-").unwrap().parse::<usize>().unwrap();
                    sending.extend(callers[number].on_response(&response, now).map(Flying::ToWorker));
                }
            }
        }
        desk.act(|uas, now| uas.handle_timeout(now));
        for (due, key, step) in std::mem::take(&mut undecided) {
            match step {
                _ if due > now => undecided.push((due, key, step)),
                Step::Accept => {
                    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
                }
                Step::Ring => {
                    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
                    undecided.push((now + SECOND * 3, key, Step::Accept));
                }
            }
        }
        for (key, event) in desk.events() {
            match event {
                Event::Incoming { .. } => {
                    incoming += 1;
                    undecided.push(match decides {
                        Decides::AtOnce => (now, key, Step::Accept),
                        Decides::AfterRinging => (now + ms(300), key, Step::Ring),
                    });
                }
                Event::Established => stood += 1,
                Event::Ended(_) => ended += 1,
                _ => {}
            }
        }
        let (answered, refused) = desk.settled();
        settled.extend(answered);
        settled.extend(refused.into_iter().map(|(seq, _)| seq));
        sending.extend(desk.sent().into_iter().map(Flying::ToCaller));
        for flying in sending {
            if dice.roll(100) < loss {
                continue;
            }
            let at = now + ms(1 + dice.roll(80));
            if dice.roll(10) == 0 {
                let copy = match &flying {
                    Flying::ToWorker(text) => Flying::ToWorker(text.clone()),
                    Flying::ToCaller(text) => Flying::ToCaller(text.clone()),
                };
                air.push((at + ms(dice.roll(300)), copy));
            }
            air.push((at, flying));
        }
        desk.now = desk.now + ms(10);
    }
    assert_eq!(incoming, ended, "seed {seed}: every call that came has ended");
    settled.sort_unstable();
    let expected: Vec<_> = (1..=handed).map(Seq).collect();
    assert_eq!(settled, expected, "seed {seed}: every message handed over is settled once");
    assert!(desk.uas.is_idle(), "seed {seed}: {:#?}", desk.uas);
    assert_eq!(desk.uas.servers.bytes(), 0, "seed {seed}");
    let done = callers.iter().filter(|caller| caller.stage == Stage::Done).count();
    Outcome { calls: callers.len(), stood, done }
}

#[test]
fn calls_set_up_and_end_over_a_lossy_link_and_nothing_is_left() {
    for seed in 1..=12 {
        let Outcome { calls, done, .. } = run(seed, 20, Decides::AtOnce);
        assert!(done * 100 >= calls * 95, "seed {seed}: {done} of {calls}");
    }
}

#[test]
fn where_each_way_loses_a_tenth_99_of_100_first_calls_stand() {
    for decides in [Decides::AtOnce, Decides::AfterRinging] {
        let runs: Vec<Outcome> = (1..=25).map(|seed| run(seed, 10, decides)).collect();
        let sum = |part: fn(&Outcome) -> usize| runs.iter().map(part).sum::<usize>();
        let (calls, stood) = (sum(|run| run.calls), sum(|run| run.stood));
        println!("{decides:?}: {stood} of {calls} calls stood");
        assert!(stood * 100 >= calls * 99, "{decides:?}: {stood} of {calls}");
    }
}

#[test]
fn over_a_dead_link_nothing_is_left_either() {
    for seed in 1..=4 {
        run(seed, 85, Decides::AtOnce);
    }
}
