//! The world that a seed makes: its setup, and the actions in it.

use std::time::Duration;

use pointsman::config::{Insert, Policy};
use pointsman::dispatch::rules::Rules;

use crate::agent::{self, Delete};
use crate::air::Weather;
use crate::caller::{Plan, Way};
use crate::desk::Settings;
use crate::dice::Dice;
use crate::process::CrashPoint;

/// The setup of a world.
#[derive(Clone, Debug)]
pub struct Scene {
    pub settings: Settings,
    pub weather: Weather,
    /// Milliseconds between two actions, at most.
    pub pace: u64,
    /// Whether dispatchers die as well. A message that dies with dispatcher and worker is excused, so most scenes go
    /// without.
    pub restarts: bool,
    /// Whether there are call agents (MGCP) beside the callers.
    pub has_agents: bool,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A caller calls.
    Call,
    /// A caller calls to take the place of a call that stands.
    Replace,
    /// Some legs of one conference call, all at once.
    Conference,
    /// A caller asks for OPTIONS.
    Options,
    /// A call agent begins a call.
    Command,
    /// Many callers call and ignore the answers.
    Flood,
    /// A worker is killed at once.
    Kill,
    /// A worker dies at the next point of this kind.
    Doom(CrashPoint),
    /// A worker is held for a while.
    Hold,
    /// The operator has a worker drain, or be ready again.
    Drain,
    /// A link takes nothing for a while.
    Freeze,
    /// The operator wants another number of workers.
    Reload,
    /// The dispatcher is killed, and another started.
    Restart,
    /// Another dispatcher takes over.
    TakeOver,
    /// A caller's connection to the dispatcher breaks.
    Reset,
    /// A caller ends its half of a connection.
    HalfEnd,
    /// A caller loses a connection without a word to the dispatcher.
    Vanish,
    /// A stranger's messages are changed on their way.
    Noise,
    /// Nothing happens for a while.
    Rest,
}

impl Scene {
    /// A scene.
    pub fn new(dice: &mut Dice) -> Self {
        // The default twice as often.
        let policies = [&[Policy::default()], Policy::ALL].concat();
        let rules = Rules {
            policy: dice.pick(&policies),
            weights: vec![1, 2, 3],
            slow_start: Duration::from_secs(dice.pick(&[0, 0, 3])),
            pinned_listeners: vec![false, false, dice.chance(40)],
            ..Rules::default()
        };
        let settings = Settings {
            rules,
            insert: dice.pick(&[Insert::None, Insert::None, Insert::Header, Insert::RequestUri]),
            workers: dice.between(2, 5) as usize,
            capacity: dice.pick(&[8, 20, 60]),
            table_cap: dice.weighted(&[(9, 2_000), (1, 12)]),
            group_cap: dice.weighted(&[(5, 50), (1, 2)]),
            retention: 1 << 20,
            link_buffer: dice.pick(&[4 << 10, 32 << 10, 256 << 10]),
        };
        let weather = match dice.roll(4) {
            0 => Weather { loss: 0, double: 0, late: 0, delay: 5 },
            1 => Weather { loss: 2, double: 2, late: 1, delay: 20 },
            2 => Weather { loss: 10, double: 5, late: 3, delay: 60 },
            _ => Weather { loss: 25, double: 10, late: 10, delay: 120 },
        };
        Scene {
            settings,
            weather,
            pace: dice.pick(&[120, 250, 500]),
            restarts: dice.chance(30),
            has_agents: dice.chance(60),
        }
    }

    /// The next action.
    pub fn action(&self, dice: &mut Dice) -> Action {
        let doom = Action::Doom(dice.pick(&CrashPoint::ALL));
        dice.weighted(&[
            (60, Action::Call),
            (5, Action::Replace),
            (8, Action::Conference),
            (3, Action::Options),
            (if self.has_agents { 30 } else { 0 }, Action::Command),
            (if self.settings.table_cap < 100 { 6 } else { 0 }, Action::Flood),
            (2, Action::Kill),
            (5, doom),
            (2, Action::Hold),
            (3, Action::Drain),
            (3, Action::Freeze),
            (1, Action::Reload),
            (if self.restarts { 2 } else { 0 }, Action::Restart),
            (3, Action::TakeOver),
            (4, Action::Reset),
            (4, Action::HalfEnd),
            (4, Action::Vanish),
            (8, Action::Noise),
            (8, Action::Rest),
        ])
    }

    /// The plan of one call agent.
    pub fn agent(&self, dice: &mut Dice) -> agent::Plan {
        agent::Plan {
            legs: dice.weighted(&[(3, 1), (3, 2), (1, 4)]),
            together: dice.chance(40),
            star: dice.chance(30),
            size: dice.weighted(&[(12, 1), (4, dice.clone().between(2, 4) as u32), (1, 25)]),
            changes: dice.chance(50),
            audits: dice.chance(15),
            stands: dice.between(100, 15_000),
            delete: dice.pick(&[
                Delete::Connection,
                Delete::Connection,
                Delete::Call,
                Delete::Endpoint,
                Delete::Everywhere,
            ]),
        }
    }

    /// The plan of one caller.
    pub fn plan(&self, dice: &mut Dice) -> Plan {
        let wait = dice.weighted(&[(4, 0), (3, dice_ms(dice.clone(), 900)), (2, dice_ms(dice.clone(), 9_000))]);
        let ring = u64::from(dice.chance(70));
        let status = dice.weighted(&[(8, 200), (1, 486), (1, 603)]);
        let auth = u64::from(dice.chance(12));
        let refuse = if dice.chance(10) { dice.roll(64) } else { 0 };
        let talk = dice.between(100, 15_000);
        let worker_talk = if dice.chance(30) { dice.between(100, 12_000) } else { 25_000 };
        Plan {
            user: "ivr".into(),
            wishes: format!(";wait={wait};ring={ring};status={status};auth={auth};refuse={refuse};talk={worker_talk}"),
            size: dice.weighted(&[(12, 1), (4, dice.clone().between(2, 4) as u32), (1, 25)]),
            cancel: dice.chance(18).then(|| dice.roll(wait + 300)),
            hasty: dice.chance(40),
            copy: dice.chance(8).then(|| dice.roll(400)),
            hunts: dice.chance(30),
            talk,
            reinvites: dice.chance(20),
            vanishes: dice.chance(5).then(|| dice.roll(6_000)),
            is_stream: dice.chance(30),
            way: dice.weighted(&[(5, Way::Contact), (3, Way::Proxy), (2, Way::Deaf)]),
            hidden: dice.chance(15),
            replaces: None,
            options: false,
        }
    }
}

fn dice_ms(mut dice: Dice, most: u64) -> u64 {
    dice.between(1, most)
}
