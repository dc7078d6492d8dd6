//! The adapter for a gateway of another make, by value and in virtual time.

mod answers;
mod connections;
mod handoff;
mod lossy;
mod reach;
mod relay;

use std::collections::HashMap;

use super::*;
use crate::call::exchange::{Hop, Path};
use crate::ids::{GatheringId, ListenerId, Seq, WorkerId};
use crate::words::{ReplyTo, Transport};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;

/// A worker, and its outputs.
struct World {
    external: External,
    now: u64,
    seq: u64,
}

/// One output, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Agent(String),
    Gateway(String),
    Answered(u64),
    Refused(u64, RefuseReason),
    Opened(String),
    Closed(String),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n")
}

impl World {
    /// A worker that has not heard its gateway.
    fn new() -> Self {
        let range = TransactionRange::of(WorkerId(0));
        let identity = Identity { token: "pmtok".into(), range, units: 10, seed: [0, 1] };
        World { external: External::new(identity), now: SECOND, seq: 0 }
    }

    /// A worker whose gateway has answered.
    fn up() -> Self {
        let mut world = World::new();
        let asked = world.pass(0);
        assert_eq!(asked, [Said::Gateway("AUEP 1 null@mgw MGCP 1.0\n".into())]);
        assert_eq!(world.gateway("500 1 FAIL\n"), []);
        assert!(!world.external.is_without_gateway());
        world
    }

    fn arrival(&mut self) -> Arrival {
        self.seq += 1;
        let source = "203.0.113.9:2727".parse().unwrap();
        let path = Path::Handoff { seq: Seq(self.seq), listener: ListenerId(2), reply_to: ReplyTo::Datagram };
        let own = Arrival::own(0, source, "192.0.2.1:2427".parse().unwrap(), 1);
        Arrival { path, transport: Transport::Mgcp, ..own }
    }

    fn agent(&mut self, message: &str) -> Vec<Said> {
        let arrival = self.arrival();
        self.agent_by(message, &arrival)
    }

    fn agent_by(&mut self, message: &str, arrival: &Arrival) -> Vec<Said> {
        self.external.on_message(&parse(message.as_bytes()).unwrap(), arrival, Time(self.now));
        self.said()
    }

    fn gateway(&mut self, datagram: &str) -> Vec<Said> {
        self.external.on_gateway(datagram.as_bytes(), Time(self.now));
        self.said()
    }

    /// Lets time pass, doing what falls due at its time.
    fn pass(&mut self, micros: u64) -> Vec<Said> {
        let end = self.now + micros;
        let mut said = Vec::new();
        while let Some(due) = self.external.poll_timeout().filter(|due| due.0 <= end) {
            self.now = self.now.max(due.0);
            self.external.handle_timeout(Time(self.now));
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    fn said(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.external.poll_output())
            .map(|output| match output {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.to, "203.0.113.9:2727".parse().unwrap());
                    assert_eq!(transmit.from, Some("192.0.2.1".parse().unwrap()));
                    assert!(matches!(transmit.hop, Hop::Listener(2) | Hop::Dispatcher(_)), "{:?}", transmit.hop);
                    Said::Agent(text(&transmit.bytes))
                }
                Output::Gateway(bytes) => Said::Gateway(text(&bytes)),
                Output::Answered(seq) => Said::Answered(seq.0),
                Output::Refuse(seq, reason) => Said::Refused(seq.0, reason),
                Output::CallOpened(call, _) => Said::Opened(text(&call)),
                Output::CallClosed(call) => Said::Closed(text(&call)),
            })
            .collect()
    }

    /// A connection of call `c1` at `rtpbridge/1@mgw`, of `size` units.
    fn connect(&mut self, id: u32, size: u32) {
        let arrival = Arrival { size, ..self.arrival() };
        let said = self.agent_by(&format!("CRCX {id} rtpbridge/*@mgw MGCP 1.0\r\nC: C1\r\n"), &arrival);
        let own = own_of(&said);
        self.gateway(&format!("200 {own} OK\r\nZ: rtpbridge/1@mgw\r\nI: A{id}\r\n"));
    }
}

/// The transaction id of the last command sent to the gateway.
fn own_of(said: &[Said]) -> u32 {
    let sent = said.iter().rev().find_map(|said| match said {
        Said::Gateway(text) => text.split(' ').nth(1)?.parse().ok(),
        _ => None,
    });
    sent.unwrap_or_else(|| panic!("{said:?}"))
}
