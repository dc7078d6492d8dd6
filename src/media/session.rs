//! The media of one call: which of its m-lines have a port, on which terms, and the echo of each.
//!
//! Lines are numbered as they stand in the SDP, and keep their port for as long as they are active: an m-line never
//! changes its place (RFC 3264 §8). Lines without active media have neither port nor socket, so a call on hold or with
//! `a=inactive` costs nothing but memory. The process opens the sockets of [`Session::legs`] and closes what
//! [`Session::apply`] and [`Session::close`] hand back.

use std::net::IpAddr;

use crate::time::Time;

use super::echo::Echo;
use super::ports::{Exhausted, Ports};
use super::stream::Terms;

/// One active line.
#[derive(Clone, Debug)]
pub struct Leg {
    line: usize,
    port: u16,
    echo: Option<Echo>,
}

impl Leg {
    /// Its place among the m-lines, from 0.
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Its RTP port; RTCP has the next one.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The echo; `None` until the line's terms are known (an offer of ours that is not answered yet).
    pub const fn echo(&mut self) -> Option<&mut Echo> {
        self.echo.as_mut()
    }
}

/// The media of one call.
#[derive(Clone, Debug)]
pub struct Session {
    seed: u64,
    /// Streams that have begun so far.
    begun: u64,
    /// The host that the caller's SIP comes from.
    signalling: Option<IpAddr>,
    legs: Vec<Leg>,
}

impl Session {
    /// A call without media. SSRCs and first numbers come from `seed`.
    pub const fn new(seed: u64) -> Self {
        Session { seed, begun: 0, signalling: None, legs: Vec::new() }
    }

    /// Says where the caller's SIP comes from, for the next outcome of an offer.
    pub const fn heard_from(&mut self, signalling: Option<IpAddr>) {
        self.signalling = signalling;
    }

    /// A port for each of `lines`, in their order: the one a line has, or a new one. All or none are taken.
    pub fn reserve(&mut self, lines: &[usize], ports: &mut Ports) -> Result<Vec<u16>, Exhausted> {
        let missing: Vec<usize> = lines.iter().copied().filter(|line| self.leg(*line).is_none()).collect();
        let taken = ports.take_all(missing.len())?;
        self.legs.extend(missing.into_iter().zip(taken).map(|(line, port)| Leg { line, port, echo: None }));
        Ok(lines.iter().filter_map(|line| self.leg(*line).map(Leg::port)).collect())
    }

    /// Another port for the line that has `port`, because another program uses that one; `None` when no other is free.
    pub fn replace(&mut self, port: u16, ports: &mut Ports) -> Option<u16> {
        let leg = self.legs.iter_mut().find(|leg| leg.port == port)?;
        leg.port = ports.take().ok()?;
        ports.give_back(port);
        Some(leg.port)
    }

    /// The outcome of an offer and its answer: the terms of all active lines. Lines that are not named lose their port;
    /// these ports come back, already free again, so that their sockets can be closed.
    pub fn apply(&mut self, terms: &[(usize, Terms)], ports: &mut Ports) -> Vec<u16> {
        let mut closed = Vec::new();
        self.legs.retain(|leg| {
            let stays = terms.iter().any(|(line, _)| *line == leg.line);
            if !stays {
                ports.give_back(leg.port);
                closed.push(leg.port);
            }
            stays
        });
        for leg in &mut self.legs {
            let Some((_, terms)) = terms.iter().find(|(line, _)| *line == leg.line) else { continue };
            match &mut leg.echo {
                Some(echo) => echo.set_terms(terms, self.signalling),
                echo => {
                    // Two streams of a call must not share a source (RFC 3550 §8.1). A stream that comes back from
                    // another port is a new source (§8.2): its numbers start anew, and within one source they must not.
                    self.begun += 1;
                    let seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(self.begun));
                    *echo = Some(Echo::new(seed, terms, self.signalling));
                }
            }
        }
        closed
    }

    /// The call is over: all its ports, already free again.
    pub fn close(&mut self, ports: &mut Ports) -> Vec<u16> {
        self.apply(&[], ports)
    }

    /// The active line that has this RTP port.
    pub fn leg_of_port(&mut self, port: u16) -> Option<&mut Leg> {
        self.legs.iter_mut().find(|leg| leg.port == port)
    }

    /// The active lines.
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// When anything was last received; `None` when never.
    pub fn heard(&self) -> Option<Time> {
        self.legs.iter().filter_map(|leg| leg.echo.as_ref()?.heard()).max()
    }

    fn leg(&self, line: usize) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.line == line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::{Codec, Direction, Payload, Payloads};
    use super::super::stream::Dropped;
    use super::*;

    fn terms(direction: Direction) -> Terms {
        Terms { direction, remote: None, payloads: Payloads::default() }
    }

    #[test]
    fn a_line_keeps_its_port_over_new_offers_and_loses_it_when_it_ends() {
        let mut ports = Ports::new((20_000, 20_007), 0);
        let mut session = Session::new(1);
        assert_eq!(session.reserve(&[0], &mut ports), Ok(vec![20_000]));
        session.apply(&[(0, terms(Direction::SendRecv))], &mut ports);
        assert_eq!(session.reserve(&[0, 2], &mut ports), Ok(vec![20_000, 20_002]));
        let both = [(0, terms(Direction::SendRecv)), (2, terms(Direction::SendRecv))];
        assert_eq!(session.apply(&both, &mut ports), [0; 0]);
        assert_eq!(session.apply(&both[1..], &mut ports), [20_000]);
        assert_eq!(ports.free(), 3);
        assert_eq!(session.close(&mut ports), [20_002]);
        assert_eq!(ports.free(), 4);
    }

    #[test]
    fn when_the_range_cannot_hold_all_lines_none_is_taken() {
        let mut ports = Ports::new((20_000, 20_003), 0);
        let mut session = Session::new(1);
        session.reserve(&[0], &mut ports).unwrap();
        assert_eq!(session.reserve(&[0, 1, 2], &mut ports), Err(Exhausted { pairs: 2 }));
        assert_eq!(session.legs().len(), 1);
        assert_eq!(ports.free(), 1);
    }

    #[test]
    fn a_port_that_somebody_else_uses_is_replaced_and_tried_last() {
        let mut ports = Ports::new((20_000, 20_003), 0);
        let mut session = Session::new(1);
        session.reserve(&[0], &mut ports).unwrap();
        assert_eq!(session.replace(20_000, &mut ports), Some(20_002));
        assert_eq!(session.replace(20_002, &mut ports), Some(20_000));
        assert_eq!(session.reserve(&[0, 1], &mut ports), Ok(vec![20_000, 20_002]));
        assert_eq!(session.replace(20_000, &mut ports), None);
        assert_eq!(session.legs().len(), 2);
    }

    #[test]
    fn two_streams_of_a_call_have_different_sources() {
        let mut ports = Ports::new((20_000, 20_007), 0);
        let mut session = Session::new(77);
        session.reserve(&[0, 1], &mut ports).unwrap();
        session.apply(&[(0, terms(Direction::SendRecv)), (1, terms(Direction::SendRecv))], &mut ports);
        let mut ssrc = |port| session.leg_of_port(port).unwrap().echo().unwrap().ssrc();
        assert_ne!(ssrc(20_000), ssrc(20_002));
    }

    #[test]
    fn a_line_that_comes_back_is_another_source_because_its_numbers_start_anew() {
        let mut ports = Ports::new((20_000, 20_007), 0);
        let mut session = Session::new(77);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let port = session.reserve(&[0], &mut ports).unwrap()[0];
            session.apply(&[(0, terms(Direction::SendRecv))], &mut ports);
            let ssrc = session.leg_of_port(port).unwrap().echo().unwrap().ssrc();
            assert!(!seen.contains(&ssrc), "{seen:?}");
            seen.push(ssrc);
            // `inactive`, or port 0.
            session.apply(&[], &mut ports);
        }
    }

    #[test]
    fn sound_is_taken_from_the_host_that_the_sip_comes_from_and_from_no_stranger() {
        let (here, stranger) = ("198.51.100.5:4002", "203.0.113.66:6");
        let mut ports = Ports::new((20_000, 20_007), 0);
        let mut session = Session::new(77);
        session.reserve(&[0], &mut ports).unwrap();
        let payloads = [Payload { codec: Codec::Pcmu, receive: 0, send: 0 }].into_iter().collect();
        let terms = Terms { remote: "192.0.2.1:4000".parse().ok(), payloads, ..terms(Direction::SendRecv) };
        session.heard_from("198.51.100.5".parse().ok());
        session.apply(&[(0, terms)], &mut ports);
        let echo = session.leg_of_port(20_000).unwrap().echo().unwrap();
        let mut packet = [&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0xff; 160]].concat();
        assert_eq!(echo.on_packet(&mut packet.clone(), stranger.parse().unwrap(), Time(0)), Err(Dropped::OtherSender));
        assert_eq!(echo.on_packet(&mut packet, here.parse().unwrap(), Time(0)).unwrap().to, here.parse().unwrap());
    }
}
