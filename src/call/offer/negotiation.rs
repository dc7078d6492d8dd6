//! A call's media as one value: its descriptions, its ports, the echo of each stream.
//!
//! It ties [`Offer`], [`Local`], [`Session`] and [`Ports`] together for a worker that takes every stream it can. A
//! refused offer changes nothing: the call goes on as it was (RFC 3264 §8).

use std::net::{IpAddr, SocketAddr};

use crate::media::{Exhausted, Ports, Session, Terms};

use super::{Capabilities, Local, Offer, OfferError, Stream, terms_of};

/// The media of one call, from its first offer to its end.
#[derive(Clone, Debug)]
pub struct Negotiation {
    local: Local,
    session: Session,
}

/// A description to send, and the ports to open and to close for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The body, `application/sdp`.
    pub sdp: Vec<u8>,
    /// RTP ports whose sockets (this one and the next, for RTCP) have to be opened before `sdp` is sent.
    pub opened: Vec<u16>,
    /// RTP ports whose sockets have to be closed; they are free for other calls already.
    pub closed: Vec<u16>,
}

/// The reason for which there is no description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The offer cannot be answered.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The slot has no ports left; another worker may have some.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

impl Negotiation {
    /// A call before its first description. `seed` is random and different for each call; `address` is the address that
    /// the caller is told.
    pub const fn new(seed: u64, address: IpAddr) -> Self {
        Negotiation { local: Local::new(seed, address), session: Session::new(seed) }
    }

    /// The description to send to the peer: the answer to its offer or, when it made none, our offer.
    ///
    /// When a socket cannot be opened (another program has the port), [`Negotiation::close`] and ask again: ports that
    /// are given back come last.
    pub fn describe(
        &mut self,
        offer: Option<&[u8]>,
        capabilities: &Capabilities,
        ports: &mut Ports,
    ) -> Result<Described, NoAnswer> {
        let Some(offer) = offer else {
            let lines = capabilities.lines_to_offer(&self.local);
            let lines: Vec<_> = lines.into_iter().map(|line| (line, self.local.address_at(line))).collect();
            let (opened, rtp) = self.reserve(&lines, ports)?;
            return Ok(Described { sdp: capabilities.offer(&mut self.local, &rtp), opened, closed: Vec::new() });
        };
        let offer = Offer::parse(offer)?;
        let lines = offer.lines_to_open(capabilities, &self.local)?;
        let lines: Vec<_> = lines.into_iter().map(|line| (line, offer.address_at(line, &self.local))).collect();
        let (opened, rtp) = self.reserve(&lines, ports)?;
        let answer = offer.answer(capabilities, &mut self.local, &rtp)?;
        let closed = self.session.apply(&answer.terms(), ports);
        Ok(Described { sdp: answer.sdp, opened, closed })
    }

    /// Takes the peer's answer to our offer; returns the ports whose sockets have to be closed. After an error the call
    /// has no agreed media, and ends.
    pub fn on_answer(
        &mut self,
        body: &[u8],
        capabilities: &Capabilities,
        ports: &mut Ports,
    ) -> Result<Vec<u16>, OfferError> {
        let streams: Vec<Stream> = capabilities.read_answer(&mut self.local, body)?;
        let terms: Vec<(usize, Terms)> = terms_of(&streams);
        Ok(self.session.apply(&terms, ports))
    }

    /// The call is over: the ports whose sockets have to be closed, already free.
    pub fn close(&mut self, ports: &mut Ports) -> Vec<u16> {
        self.session.close(ports)
    }

    /// The streams that have ports.
    pub const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Reserves ports for these lines, each given with our address in it; returns the new ports, and the address at
    /// which each line receives.
    fn reserve(
        &mut self,
        lines: &[(usize, IpAddr)],
        ports: &mut Ports,
    ) -> Result<(Vec<u16>, Vec<SocketAddr>), Exhausted> {
        let before: Vec<u16> = self.session.legs().iter().map(|leg| leg.port()).collect();
        let numbers: Vec<usize> = lines.iter().map(|(line, _)| *line).collect();
        let reserved = self.session.reserve(&numbers, ports)?;
        let rtp = reserved.iter().zip(lines).map(|(port, (_, ip))| SocketAddr::new(*ip, *port)).collect();
        let opened = reserved.into_iter().filter(|port| !before.contains(port)).collect();
        Ok((opened, rtp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    const HEAD: &str = "v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

    fn ports() -> Ports {
        Ports::new((20_000, 20_005), 0)
    }

    fn call() -> Negotiation {
        Negotiation::new(99, "192.0.2.9".parse().unwrap())
    }

    fn describe(call: &mut Negotiation, lines: &str, ports: &mut Ports) -> Result<Described, NoAnswer> {
        call.describe(Some(format!("{HEAD}{lines}").as_bytes()), &Capabilities::default(), ports)
    }

    #[test]
    fn ports_follow_the_active_streams_of_a_call() {
        let (mut call, mut ports) = (call(), ports());
        let mut step = |lines: &str| {
            let described = describe(&mut call, lines, &mut ports).unwrap();
            (described.opened, described.closed)
        };
        assert_eq!(step("m=audio 4000 RTP/AVP 0\r\na=inactive\r\n"), (vec![], vec![]));
        assert_eq!(step("m=audio 4000 RTP/AVP 0\r\n"), (vec![20_000], vec![]));
        assert_eq!(step("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"), (vec![], vec![]));
        assert_eq!(step("m=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"), (vec![20_002], vec![]));
        assert_eq!(step("m=audio 0 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"), (vec![], vec![20_000]));
        assert_eq!(call.close(&mut ports), [20_002]);
        assert_eq!(ports.free(), 3);
    }

    #[test]
    fn an_offer_that_is_refused_leaves_the_call_as_it_was() {
        let (mut call, mut ports) = (call(), ports());
        describe(&mut call, "m=audio 4000 RTP/AVP 0\r\n", &mut ports).unwrap();
        let refused = describe(&mut call, "m=audio 4000 RTP/AVP 18\r\n", &mut ports);
        assert!(matches!(refused, Err(NoAnswer::Offer(OfferError::NothingCommon(_)))));
        let too_many = describe(&mut call, &"m=audio 4000 RTP/AVP 0\r\n".repeat(4), &mut ports);
        assert_eq!(too_many, Err(NoAnswer::Exhausted(Exhausted { pairs: 3 })));
        assert_eq!(call.session().legs().len(), 1);
        assert_eq!(ports.free(), 2);
        let again = describe(&mut call, "m=audio 4000 RTP/AVP 0\r\n", &mut ports).unwrap();
        assert!(String::from_utf8(again.sdp).unwrap().contains("o=- 99 1 "), "nothing new was said in between");
    }

    #[test]
    fn a_delayed_offer_gets_its_echo_with_the_answer() {
        let (mut call, mut ports) = (call(), ports());
        let capabilities = Capabilities::default();
        let described = call.describe(None, &capabilities, &mut ports).unwrap();
        assert_eq!(described.opened, [20_000]);
        assert!(call.session().leg_of_port(20_000).unwrap().echo().is_none());
        let answer = format!("{HEAD}m=audio 4000 RTP/AVP 8\r\n");
        assert_eq!(call.on_answer(answer.as_bytes(), &capabilities, &mut ports), Ok(vec![]));
        let mut packet = [&[0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9][..], &[0xd5; 160]].concat();
        let source = "192.0.2.1:4000".parse().unwrap();
        let echo = call.session().leg_of_port(20_000).unwrap().echo().unwrap();
        assert_eq!(echo.on_packet(&mut packet, source, Time(0)).unwrap().to, source);
    }

    #[test]
    fn a_port_that_cannot_be_opened_is_not_the_next_one_to_be_tried() {
        let (mut call, mut ports) = (call(), ports());
        let offer = "m=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(describe(&mut call, offer, &mut ports).unwrap().opened, [20_000]);
        assert_eq!(call.close(&mut ports), [20_000]);
        assert_eq!(describe(&mut call, offer, &mut ports).unwrap().opened, [20_002]);
    }
}
