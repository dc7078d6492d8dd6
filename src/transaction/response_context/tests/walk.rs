//! A walk of random events, with what must hold whatever happens.

use super::handed_on::handed_on;
use super::*;

/// A number from 0 to `below`, from a seed that moves on (xorshift).
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// What has been done so far.
#[derive(Default)]
struct Seen {
    finals: usize,
    forwarded: usize,
    is_bound: bool,
    is_cancelled: bool,
    branches: u16,
    has_rung: [bool; 8],
    is_done: [bool; 8],
    asked: bool,
    /// None but a worker may have it.
    is_last: bool,
    is_with_worker: bool,
    is_taken_back: bool,
    /// Each branch goes to another address of one receiver, instead of another proxy.
    is_by_address: bool,
}

impl Seen {
    /// Proxy and attempt of this branch.
    fn branch(&self, number: u16) -> (ProxyId, u8) {
        if self.is_by_address { (ProxyId(1), number as u8 - 1) } else { (ProxyId(number), 0) }
    }

    /// The number of the branch of a proxy and attempt.
    fn number(&self, to: &Candidate) -> u16 {
        if self.is_by_address { u16::from(to.attempt) + 1 } else { to.proxy.0 }
    }

    fn take(&mut self, effects: &[Effect], kind: Kind, came: Option<u16>, step: &str) {
        for effect in effects {
            if self.is_with_worker {
                let is_left = matches!(
                    effect,
                    Effect::Cancel(_)
                        | Effect::Acknowledge(_)
                        | Effect::Forward
                        | Effect::AcceptCancel
                        | Effect::TakeBack(_)
                );
                assert!(is_left, "{step}: {effect:?} though a worker has it");
            }
            match effect {
                Effect::Send { is_copy: false, .. } => {
                    self.branches += 1;
                    assert!(
                        self.branches == 1 || !self.is_bound && !self.is_cancelled,
                        "{step}: fail-over of a bound call"
                    );
                    assert_eq!(self.finals + self.forwarded, 0, "{step}: fail-over after the end");
                }
                Effect::Send { to, .. } => {
                    assert_eq!(self.number(to), self.branches, "{step}: a copy to an abandoned proxy")
                }
                Effect::Ask { is_last, .. } => {
                    assert!(!self.is_bound && !self.is_cancelled && !self.asked, "{step}: a question too many");
                    assert_eq!(*is_last, self.branches == 3, "{step}");
                    (self.asked, self.is_last) = (true, *is_last);
                }
                Effect::TakeBack(_) => {
                    let is_success = came.is_some_and(|status| (200..300).contains(&status));
                    assert!(self.is_with_worker && is_success && !self.is_taken_back, "{step}");
                    self.is_taken_back = true;
                }
                Effect::Cancel(to) => {
                    assert_eq!(kind, Kind::Invite, "{step}");
                    let number = usize::from(self.number(to));
                    assert!(self.has_rung[number], "{step}: CANCEL before any provisional response");
                }
                Effect::Acknowledge(_) => {
                    assert!(came.is_some_and(|status| status >= 300) && kind == Kind::Invite, "{step}")
                }
                Effect::Respond(answer) => match (answer, came) {
                    (Answer::Own(100), _) => assert_eq!(self.finals, 0, "{step}"),
                    (Answer::Theirs(_), Some(101..200)) => self.is_bound = true,
                    _ => self.finals += 1,
                },
                Effect::Forward => {
                    assert!(came.is_some_and(|status| (200..300).contains(&status)), "{step}");
                    self.forwarded += 1;
                }
                Effect::Again(_) | Effect::AcceptCancel => {}
            }
        }
        match kind {
            Kind::Invite => assert!(self.finals <= 1, "{step}: two final responses"),
            Kind::Other => assert!(self.finals <= 1 && self.forwarded == 0, "{step}"),
        }
    }
}

/// Walks, and returns all that is done. `is_handed_on`: after each step another owner goes on with the context.
fn walk(seed: u64, is_handed_on: bool) -> Vec<Effect> {
    let mut random = seed | 1;
    let kind = if draw(&mut random, 4) == 0 { Kind::Other } else { Kind::Invite };
    let may_be_forged = draw(&mut random, 2) == 0;
    let opening = Opening {
        kind,
        terms: Arc::new(terms()),
        first: Some(candidate(1)),
        is_reliable: false,
        may_be_forged,
        leads_to_flow: false,
        has_one_server: false,
        may_go_to_worker: draw(&mut random, 2) == 0,
    };
    let mut all = Vec::new();
    let mut seen = Seen { is_by_address: draw(&mut random, 3) == 0, ..Seen::default() };
    let (mut now, mut out) = (Time(0), Vec::new());
    let mut context = ResponseContext::begin(opening, now, &mut out);
    seen.take(&out, kind, None, "begin");
    let mut successes = 0;
    for count in 0..60 {
        out.clear();
        let mut came = None;
        let event = draw(&mut random, 10);
        let step = format!("seed {seed}, step {count}, event {event}, {now}");
        match event {
            0 => context.on_copy(&mut out),
            1 if draw(&mut random, 3) == 0 => {
                context.on_cancel(now, &mut out);
                seen.is_cancelled = kind == Kind::Invite;
            }
            2 => drop(context.on_ack(now)),
            3 => {
                let number = if seen.is_by_address { seen.branches } else { draw(&mut random, 3) as u16 + 1 };
                context.on_unsent(seen.branch(number).0, now, &mut out);
                seen.is_done[usize::from(number)] |= number <= seen.branches;
            }
            4 => context.on_response_to_cancel(seen.branch(draw(&mut random, 3) as u16 + 1), 200, now),
            5..8 => {
                let statuses = [100, 180, 183, 200, 200, 302, 401, 408, 482, 486, 487, 500, 503, 503, 504, 603];
                let status = statuses[draw(&mut random, statuses.len() as u64) as usize];
                let number = draw(&mut random, 3) as u16 + 1;
                let (proxy, attempt) = seen.branch(number);
                let is_ours = context.on_response(Response { proxy, attempt, status, bytes: b"x" }, now, &mut out);
                assert_eq!(is_ours, number <= seen.branches, "{step}");
                came = Some(status);
                if is_ours {
                    seen.has_rung[usize::from(number)] |= status < 200;
                    successes += usize::from(kind == Kind::Invite && (200..300).contains(&status));
                    let is_first = status >= 200 && !seen.is_done[usize::from(number)] && number == seen.branches;
                    seen.is_done[usize::from(number)] |= status >= 200;
                    seen.is_bound |= status >= 600 && is_first && seen.finals + seen.forwarded == 0;
                }
            }
            _ => {
                now = now + Duration::from_millis(draw(&mut random, 3_000));
                // Late wake-ups too: several timers may be due at once.
                context.handle_timeout(now, &mut out);
            }
        }
        seen.take(&out, kind, came, &step);
        all.extend_from_slice(&out);
        assert_eq!(seen.forwarded, successes, "{step}: each 2xx passes");
        if seen.asked {
            out.clear();
            let next = match draw(&mut random, 5) {
                0 => Next::None,
                1 => Next::Nowhere,
                2 => Next::Worker,
                _ if seen.is_last => Next::None,
                _ if seen.is_by_address => Next::Sought,
                _ => Next::This(candidate(seen.branches + 1)),
            };
            seen.asked = false;
            context.on_next(next, now, &mut out);
            seen.is_with_worker |= next == Next::Worker;
            seen.take(&out, kind, came, &step);
        }
        all.extend_from_slice(&out);
        if context.is_seeking() && draw(&mut random, 2) == 0 {
            out.clear();
            let way = match draw(&mut random, 4) {
                0 => Err(480),
                _ => Ok((ProxyId(1), candidate(seen.branches + 1).to)),
            };
            context.on_looked_up(way, now, &mut out);
            seen.take(&out, kind, None, &step);
            all.append(&mut out);
        }
        if is_handed_on {
            context = handed_on(&context, now).unwrap_or_else(|| panic!("{step}: {context:?}"));
        }
    }
    // Left alone it ends, and the caller has its answer.
    let mut turns = 0;
    out.clear();
    context.on_looked_up(Err(480), now, &mut out);
    seen.take(&out, kind, None, &format!("seed {seed}, {now}"));
    while !context.is_over(now) {
        out.clear();
        let at = context.poll_timeout();
        assert!(at < Time::NEVER, "seed {seed}: it waits for nothing");
        now = now.max(at);
        context.handle_timeout(now, &mut out);
        seen.take(&out, kind, None, &format!("seed {seed}, {now}"));
        seen.asked = false;
        all.append(&mut out);
        turns += 1;
        assert!(turns < 1_000, "seed {seed}: it turns round and round at {now}");
    }
    if kind == Kind::Invite && !seen.is_with_worker {
        assert!(seen.finals + seen.forwarded > 0, "seed {seed}: the caller was never answered");
        assert!(context.answered().is_some());
    }
    assert!(now < Time(1_000 * 1_000 * MS), "seed {seed}");
    all
}

#[test]
fn whatever_comes_in_whatever_order_the_caller_gets_one_final_response_and_each_2xx() {
    for seed in 1..20_000_u64 {
        walk(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), false);
    }
}

#[test]
fn another_owner_does_what_the_first_one_would_have_done() {
    for seed in 1..5_000_u64 {
        let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(walk(seed, false), walk(seed, true), "seed {seed}");
    }
}
