//! Answering an offer, offering, and reading the answer: line by line, in the order of the offer.

use std::net::{IpAddr, SocketAddr};

use crate::media::{Direction, Payload, Payloads, Terms};

use super::line::{Format, Line, LineRefusal, Remote};
use super::local::{Audio, Local, LocalLine};
use super::{Capabilities, Offer, OfferError};

/// Our answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body, `application/sdp`.
    pub sdp: Vec<u8>,
    /// The streams that were taken, in the order of their lines.
    pub streams: Vec<Stream>,
}

/// A stream that both sides have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its place among the m-lines, from 0.
    pub line: usize,
    /// The agreed terms, seen from our side.
    pub terms: Terms,
    /// The address at which we receive; `None` for an inactive stream, which has no port.
    pub rtp: Option<SocketAddr>,
    /// The host name and port that the peer gave instead of an address. Symmetric RTP needs no resolution of the name.
    pub remote_name: Option<(String, u16)>,
    /// Milliseconds of sound the peer wants in a packet, when it says so.
    pub ptime: Option<u16>,
}

impl Answer {
    /// The terms of the streams that carry media, as [`crate::media::Session::apply`] takes them.
    pub fn terms(&self) -> Vec<(usize, Terms)> {
        terms_of(&self.streams)
    }
}

/// The terms of the streams that carry media, as [`crate::media::Session::apply`] takes them.
pub fn terms_of(streams: &[Stream]) -> Vec<(usize, Terms)> {
    let active = streams.iter().filter(|stream| stream.terms.direction != Direction::Inactive);
    active.map(|stream| (stream.line, stream.terms)).collect()
}

impl Offer<'_> {
    /// The lines that will carry media and need a port; the error if the offer cannot be answered at all.
    pub fn lines_to_open(&self, capabilities: &Capabilities, local: &Local) -> Result<Vec<usize>, OfferError> {
        let judged = self.judge(capabilities, local)?;
        let taken = self.lines.iter().enumerate().zip(judged).filter(|(_, refusal)| refusal.is_none());
        let active = taken.filter(|((_, line), _)| line.our_direction(capabilities) != Direction::Inactive);
        Ok(active.map(|((number, _), _)| number).collect())
    }

    /// Our address for a line: of the family that the peer names there, if we have one of it.
    pub fn address_at(&self, line: usize, local: &Local) -> IpAddr {
        self.lines.get(line).and_then(|line| line.address(local)).unwrap_or(local.address())
    }

    /// The peer's address for a stream in the family that we are not reached at, if it has one.
    pub fn other_family(&self, local: &Local) -> Option<IpAddr> {
        let addresses = self.lines.iter().filter_map(|line| line.remote.address());
        addresses.map(|address| address.ip()).find(|ip| ip.is_ipv4() != local.address().is_ipv4())
    }

    /// Answers the offer. `rtp` are the addresses at which we receive, one for each of [`Offer::lines_to_open`] in that
    /// order; a line without one is refused.
    pub fn answer(
        &self,
        capabilities: &Capabilities,
        local: &mut Local,
        rtp: &[SocketAddr],
    ) -> Result<Answer, OfferError> {
        let judged = self.judge(capabilities, local)?;
        let mut rtp = rtp.iter().copied();
        let mut streams = Vec::new();
        let mut lines = Vec::with_capacity(self.lines.len());
        for ((number, line), refusal) in self.lines.iter().enumerate().zip(judged) {
            let direction = line.our_direction(capabilities);
            let place = match direction {
                Direction::Inactive => None,
                _ if refusal.is_some() => None,
                _ => rtp.next(),
            };
            if refusal.is_some() || direction != Direction::Inactive && place.is_none() {
                lines.push(line.refused());
                continue;
            }
            let payloads = line
                .chosen(capabilities)
                .map(|format| Payload { codec: format.codec, receive: format.payload_type, send: format.payload_type })
                .collect();
            let terms = Terms { direction, remote: line.remote.address(), payloads };
            streams.push(line.stream(number, terms, place));
            let ip = place.map_or_else(|| self.address_at(number, local), |place| place.ip());
            lines.push(LocalLine::Audio(Audio {
                proto: line.proto.into(),
                ip,
                rtp: place,
                direction,
                payloads,
                ptime: line.ptime,
            }));
        }
        Ok(Answer { sdp: local.say(lines, self.time), streams })
    }

    /// The refusal of each line, if it is refused; an error when the peer wants streams and gets none.
    fn judge(&self, capabilities: &Capabilities, local: &Local) -> Result<Vec<Option<LineRefusal>>, OfferError> {
        let mut taken = 0;
        let mut judged = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let refusal = line.judge(capabilities, local, taken).err();
            taken += usize::from(refusal.is_none());
            judged.push(refusal);
        }
        // Disabled streams do not ask for anything, nor does an offer without lines (RFC 3264 §5).
        match judged.iter().flatten().find(|refusal| **refusal != LineRefusal::Disabled) {
            Some(refusal) if taken == 0 => Err(OfferError::NothingCommon(*refusal)),
            _ => Ok(judged),
        }
    }
}

impl Offer<'_> {
    /// The first audio stream that can be taken, for MGCP. The directions in the description do not count there (RFC
    /// 3435 §3.4): the connection mode does. `rtp` is `None` in it, because no port has been opened. A stream whose
    /// address is "nowhere" has no remote.
    pub fn audio(&self, capabilities: &Capabilities, local: IpAddr) -> Result<Stream, OfferError> {
        let local = Local::new(0, local);
        let mut first_refusal = LineRefusal::Disabled;
        for (number, line) in self.lines.iter().enumerate() {
            match line.judge(capabilities, &local, 0) {
                Ok(()) => {
                    let payload = |format: Format| Payload {
                        codec: format.codec,
                        receive: format.payload_type,
                        send: format.payload_type,
                    };
                    let payloads = line.common(capabilities).map(payload).collect();
                    let terms = Terms { direction: Direction::SendRecv, remote: line.remote.address(), payloads };
                    return Ok(line.stream(number, terms, None));
                }
                Err(refusal) if first_refusal == LineRefusal::Disabled => first_refusal = refusal,
                Err(_) => {}
            }
        }
        Err(OfferError::NothingCommon(first_refusal))
    }
}

impl Capabilities {
    /// The lines of our next offer that need a port.
    pub fn lines_to_offer(&self, local: &Local) -> Vec<usize> {
        let audio = |line: &LocalLine| matches!(line, LocalLine::Audio(_));
        let lines = self.lines_of_offer(local);
        lines.iter().enumerate().filter(|(_, line)| audio(line)).map(|(number, _)| number).collect()
    }

    /// Our offer, for a request without one: one audio stream or, in a standing call, the lines it has. Each line has
    /// all our formats (RFC 6337 §5.2) and every direction we are willing to take: we must not prolong a hold of the
    /// peer's (§5.3). `rtp` are the addresses for [`Capabilities::lines_to_offer`]; a line without one is disabled.
    pub fn offer(&self, local: &mut Local, rtp: &[SocketAddr]) -> Vec<u8> {
        let mut rtp = rtp.iter().copied();
        let mut lines = self.lines_of_offer(local);
        for line in &mut lines {
            let LocalLine::Audio(audio) = line else { continue };
            audio.rtp = rtp.next();
            audio.ip = audio.rtp.map_or(audio.ip, |rtp| rtp.ip());
            audio.direction = self.direction;
            self.extend(&mut audio.payloads);
            if audio.rtp.is_none() {
                *line = audio.refused();
            }
        }
        local.say(lines, (0, 0))
    }

    /// Reads the answer to our last offer. Lines that the peer refused are disabled from now on.
    pub fn read_answer(&self, local: &mut Local, body: &[u8]) -> Result<Vec<Stream>, OfferError> {
        let answer = Offer::parse(body)?;
        let offered = local.lines().len();
        if answer.lines.len() != offered {
            return Err(OfferError::LineCount { offered, answered: answer.lines.len() });
        }
        let mut streams = Vec::new();
        let mut first_refusal = LineRefusal::Disabled;
        for (number, line) in answer.lines.iter().enumerate() {
            let judged = line.judge(self, local, streams.len());
            let Some(LocalLine::Audio(audio)) = local.line_mut(number) else { continue };
            // Our socket is of the family in our offer.
            let is_foreign = line.remote.address().is_some_and(|address| address.is_ipv4() != audio.ip.is_ipv4());
            let judged = judged.and(if is_foreign { Err(LineRefusal::Address) } else { Ok(()) });
            if let Err(refusal) = judged {
                first_refusal = refusal;
                let refused = audio.refused();
                local.line_mut(number).into_iter().for_each(|line| line.clone_from(&refused));
                continue;
            }
            let direction = line.our_direction(self).and(audio.direction);
            let payloads = agreed(&audio.payloads, line);
            let terms = Terms { direction, remote: line.remote.address(), payloads };
            streams.push(line.stream(number, terms, audio.rtp));
        }
        if streams.is_empty() { Err(OfferError::NothingCommon(first_refusal)) } else { Ok(streams) }
    }

    /// The lines that our next offer starts from: the existing lines, with at least one audio stream.
    fn lines_of_offer(&self, local: &Local) -> Vec<LocalLine> {
        let mut lines = local.lines().to_vec();
        if lines.iter().any(|line| matches!(line, LocalLine::Audio(_))) {
            return lines;
        }
        let fresh = LocalLine::Audio(self.fresh_audio(local.address()));
        // RFC 3264 §8.1: a new stream takes the place of a disabled one, or stands below the others.
        match lines.iter_mut().find(|line| line.is_disabled_audio()) {
            Some(line) => *line = fresh,
            None => lines.push(fresh),
        }
        lines
    }

    fn fresh_audio(&self, ip: IpAddr) -> Audio {
        Audio {
            proto: "RTP/AVP".into(),
            ip,
            rtp: None,
            direction: self.direction,
            payloads: Payloads::default(),
            ptime: Some(self.ptime),
        }
    }

    /// Adds missing formats, each under a free number: a number keeps its meaning for the whole call (RFC 3264 §8.3.2).
    fn extend(&self, payloads: &mut Payloads) {
        for codec in &self.codecs {
            if payloads.iter().any(|payload| payload.codec == *codec) {
                continue;
            }
            let usual = codec.usual_payload_type();
            let free = |number: &u8| payloads.received_as(*number).is_none();
            let number = std::iter::once(usual).chain(96..=127).find(free).unwrap_or(usual);
            payloads.push(Payload { codec: *codec, receive: number, send: number });
        }
    }
}

/// The formats of our offer that the answer takes, in the answer's order: received under our number, sent under theirs.
fn agreed(offered: &Payloads, answer: &Line<'_>) -> Payloads {
    let ours = |codec| offered.iter().find(|payload| payload.codec == codec);
    let taken = answer
        .formats
        .iter()
        .filter_map(|format| ours(format.codec).map(|payload| Payload { send: format.payload_type, ..payload }));
    taken.collect()
}

impl Line<'_> {
    fn refused(&self) -> LocalLine {
        let formats: Vec<&str> = self.fmt.split_ascii_whitespace().collect();
        LocalLine::Refused { media: self.media.into(), proto: self.proto.into(), fmt: formats.join(" ") }
    }

    fn stream(&self, line: usize, terms: Terms, rtp: Option<SocketAddr>) -> Stream {
        let remote_name = match &self.remote {
            Remote::Name(host, port) => Some((host.clone(), *port)),
            _ => None,
        };
        Stream { line, terms, rtp, remote_name, ptime: self.ptime }
    }
}

impl Audio {
    fn refused(&self) -> LocalLine {
        let fmt = self.payloads.iter().next().map_or(0, |payload| payload.receive).to_string();
        LocalLine::Refused { media: "audio".into(), proto: self.proto.clone(), fmt }
    }
}

impl Remote {
    /// The address, when there is one.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            Remote::Address(address) => Some(*address),
            _ => None,
        }
    }
}
