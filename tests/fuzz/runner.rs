//! Makes inputs from inputs, and keeps those that make a target do something new.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::time::{ClockId, clock_gettime};

use crate::dice::Dice;

/// Something to fuzz.
pub struct Target {
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that inputs are made of.
    pub words: &'static [&'static str],
    /// Inputs made in the ordinary test run: some seconds' worth.
    pub runs: u64,
    /// Panics where something is wrong; notes what it has seen.
    pub run: fn(&[u8], &mut Seen),
}

/// The behaviour that a run has seen, as hashes.
#[derive(Debug, Default)]
pub struct Seen(Vec<u64>);

impl Seen {
    /// Notes a thing that the target has done.
    pub fn note(&mut self, thing: impl Hash) {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        self.0.push(hasher.finish());
    }
}

/// No input is longer: a datagram is not either.
const LONGEST: usize = 65_535;
/// No input may keep a target busy for so long, even without optimisation.
const SLOW: Duration = Duration::from_secs(2);

/// Fuzzes a target: `FUZZ_SECONDS` long, or its number of runs; `FUZZ_INPUT` names a file to run once.
///
/// # Panics
///
/// The target has panicked, or was slow. The input is kept, and shown.
pub fn run(target: &Target) {
    if let Some(path) = env::var_os("FUZZ_INPUT") {
        let input = fs::read(&path).unwrap_or_else(|error| panic!("FUZZ_INPUT={}: {error}", path.to_string_lossy()));
        return (target.run)(&input, &mut Seen::default());
    }
    let seconds = env::var("FUZZ_SECONDS").ok().map(|value| {
        value.parse().unwrap_or_else(|_| panic!("FUZZ_SECONDS={value}: not a number; it is a whole number of seconds"))
    });
    let begin = Instant::now();
    let seed = seconds.map_or(1, |_: u64| std::process::id().into());
    let mut fuzzer = Fuzzer { target, dice: Dice::new(seed), known: HashSet::new(), inputs: Vec::new(), runs: 0 };
    let kept = seconds.map(|_| directory(target));
    (target.seeds)().into_iter().for_each(|input| fuzzer.try_input(input));
    for entry in kept.iter().flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten()) {
        if !entry.file_name().to_string_lossy().starts_with("failed") {
            fuzzer.try_input(fs::read(entry.path()).unwrap_or_default());
        }
    }
    let from_files = fuzzer.inputs.len();
    let goes_on = |fuzzer: &Fuzzer<'_>| match seconds {
        Some(seconds) => begin.elapsed() < Duration::from_secs(seconds),
        None => fuzzer.runs < target.runs,
    };
    while goes_on(&fuzzer) {
        let input = fuzzer.make();
        fuzzer.try_input(input);
    }
    if let Some(path) = kept {
        fuzzer.inputs.iter().skip(from_files).for_each(|input| keep(&path, "", input));
    }
    let Fuzzer { runs, inputs, known, .. } = fuzzer;
    println!("{}: {runs} runs, {} inputs kept, {} things seen", target.name, inputs.len(), known.len());
}

/// The time that this thread has run: on a busy machine more of the clock's goes by.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec as u32)
}

struct Fuzzer<'t> {
    target: &'t Target,
    dice: Dice,
    known: HashSet<u64>,
    inputs: Vec<Vec<u8>>,
    runs: u64,
}

impl Fuzzer<'_> {
    fn try_input(&mut self, input: Vec<u8>) {
        self.runs += 1;
        let mut seen = Seen::default();
        let begin = cpu();
        let run = self.target.run;
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input, &mut seen)));
        let slow = cpu().saturating_sub(begin) > SLOW;
        if outcome.is_err() || slow {
            let path = directory(self.target);
            keep(&path, "failed-", &input);
            let why = if slow { "was slow with" } else { "panicked at" };
            panic!("{} {why} {} (kept in {})", self.target.name, input.escape_ascii(), path.display());
        }
        let before = self.known.len();
        self.known.extend(seen.0);
        if self.known.len() > before {
            self.inputs.push(input);
        }
    }

    /// An input made from those that are known.
    fn make(&mut self) -> Vec<u8> {
        let mut input = self.any();
        for _ in 0..=self.dice.roll(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn any(&mut self) -> Vec<u8> {
        let at = self.dice.roll(self.inputs.len() as u64) as usize;
        self.inputs.get(at).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let dice = &mut self.dice;
        let mut place = |input: &[u8]| dice.roll(input.len() as u64 + 1) as usize;
        let (one, two) = (place(input), place(input));
        let (from, to) = (one.min(two), one.max(two));
        match dice.roll(11) {
            0 => {
                if let Some(byte) = input.get_mut(one) {
                    *byte ^= 1 << dice.roll(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(one) {
                    *byte = dice.number() as u8;
                }
            }
            2 => input.insert(one, dice.pick(b"\r\n\0 \t\";,:<>=@%\xff\x80019az")),
            3 => drop(input.drain(from..to.min(from + 64))),
            4 => {
                let piece: Vec<u8> = input[from..to.min(from + 256)].to_vec();
                let copies = dice.pick(&[1, 1, 2, 30]);
                (0..copies).for_each(|_| drop(input.splice(two..two, piece.iter().copied())));
            }
            // A number of the sizes that frames have, at one of its ends.
            5 => {
                let number =
                    dice.pick(&[0, 1, 7, 8, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, u64::from(u32::MAX), u64::MAX]);
                let width = dice.pick(&[1, 2, 4, 8]);
                let bytes = number.wrapping_add(dice.roll(3)).to_le_bytes();
                input.iter_mut().skip(one).zip(&bytes[..width]).for_each(|(byte, new)| *byte = *new);
            }
            6 if !self.target.words.is_empty() => {
                let word = dice.pick(self.target.words).as_bytes();
                input.splice(one..one, word.iter().copied());
            }
            7 => {
                let digits = dice.pick(&["0", "-1", "1", "4294967295", "4294967296", "99999999999999999999", "1e9"]);
                let end = from + input[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                input.splice(from..end, digits.bytes());
            }
            8 => {
                let other = self.any();
                let cut = self.dice.roll(other.len() as u64 + 1) as usize;
                input.truncate(one);
                input.extend_from_slice(&other[cut..]);
            }
            9 => input.truncate(one),
            _ => input.extend((0..dice.roll(40)).map(|_| dice.number() as u8)),
        }
    }
}

fn directory(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fuzz").join(target.name)
}

fn keep(path: &PathBuf, prefix: &str, input: &[u8]) {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    // An input that cannot be written to disk has been printed; the next run finds it again.
    let _ = fs::create_dir_all(path);
    let _ = fs::write(path.join(format!("{prefix}{:016x}", hasher.finish())), input);
}
