//! A gateway behind a network that loses datagrams.

use super::*;

/// A gateway that opens another endpoint for each copy of a CRCX, as some do, and recognises copies of all other
/// commands.
#[derive(Default)]
struct Forgetful {
    endpoints: HashMap<u32, u32>,
    last: u32,
}

impl Forgetful {
    fn answer(&mut self, command: &str) -> String {
        let mut words = command.split(' ');
        let (verb, own): (&str, u32) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        if verb != "CRCX" {
            return format!("200 {own} OK\r\n");
        }
        *self.endpoints.entry(own).or_default() += 1;
        self.last += 1;
        format!("200 {own} OK\r\nZ: rtpbridge/{0}@mgw\r\nI: A{0}\r\n", self.last)
    }
}

#[test]
fn however_much_is_lost_each_call_is_one_endpoint_and_each_handover_ends_once() {
    for seed in 1..=60_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut lost = move |percent: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % 100 < percent
        };
        let mut world = World::up();
        world.external.set_units(1_000);
        let mut gateway = Forgetful::default();
        let (mut ends, mut finals) = (HashMap::new(), HashMap::<u32, u32>::new());
        for turn in 0..400_u64 {
            let mut said = Vec::new();
            let call = (turn / 8) as u32 + 1;
            // Each call agent repeats its CRCX until it has heard of it.
            if !lost(20) && !finals.contains_key(&call) {
                said = world.agent(&format!("CRCX {call} rtpbridge/*@mgw MGCP 1.0\r\nC: {call}\r\n"));
            }
            said.extend(world.pass(150 * MS));
            while let Some(what) = said.pop() {
                match what {
                    Said::Gateway(command) if !lost(20) => {
                        let answer = gateway.answer(&command);
                        if !lost(20) {
                            said.extend(world.gateway(&answer));
                        }
                    }
                    Said::Agent(response) if !lost(20) => {
                        let mut words = response.split(' ');
                        if words.next().is_some_and(|code| !code.starts_with('1')) {
                            *finals.entry(words.next().unwrap().parse().unwrap()).or_default() += 1;
                        }
                    }
                    Said::Answered(seq) | Said::Refused(seq, _) => *ends.entry(seq).or_insert(0) += 1,
                    _ => {}
                }
            }
        }
        for said in world.pass(40 * SECOND) {
            if let Said::Answered(seq) | Said::Refused(seq, _) = said {
                *ends.entry(seq).or_insert(0) += 1;
            }
        }
        assert!(gateway.endpoints.values().all(|copies| *copies == 1), "seed {seed}: {:?}", gateway.endpoints);
        assert!(gateway.endpoints.len() > 30, "seed {seed}");
        assert_eq!(ends.len() as u64, world.seq, "seed {seed}: each that was handed over");
        assert!(ends.values().all(|times| *times == 1), "seed {seed}");
        let load = world.external.load();
        assert_eq!(load.units_used, load.sessions, "seed {seed}: nothing is left of what was asked");
    }
}
