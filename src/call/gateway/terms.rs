//! The terms of a connection: the formats and the packet time that the call agent, the other end and this gateway can
//! agree on (RFC 3435 §2.6).

use crate::call::gateway::bearer::Coding;
use crate::call::gateway::remote::Remote;
use crate::call::gateway::wanted::{PACKET_TIMES, Wanted};
use crate::media::{Codec, Payload, Payloads};
use crate::wire::mgcp::ReturnCode;

/// The agreement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) payloads: Payloads,
    /// Milliseconds of sound in a packet.
    pub(super) ptime: u16,
}

/// The inputs of a negotiation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'a> {
    /// The call agent's options.
    pub(super) wanted: &'a Wanted,
    /// The other end's description.
    pub(super) remote: Option<&'a Remote>,
    /// Our terms so far: a format keeps its number.
    pub(super) before: Terms,
    /// The terms of the connection on the other side of a bridge: both must share a sound format, because each sends
    /// what the other one receives.
    pub(super) partner: Option<Terms>,
    pub(super) coding: Coding,
}

/// The packet time if neither the call agent nor the other end asks for one.
const USUAL_PTIME: u16 = 20;

impl Sides<'_> {
    /// The terms; 534 without a sound format that suits all, 535 without a packet time.
    pub(super) fn agree(&self) -> Result<Terms, ReturnCode> {
        let payloads = self.payloads();
        if !payloads.has_sound() {
            return Err(ReturnCode::CODEC_NEGOTIATION);
        }
        Ok(Terms { payloads, ptime: self.ptime()? })
    }

    /// The call agent's order counts, then the other end's, then the endpoint's own.
    fn payloads(&self) -> Payloads {
        let theirs: Vec<Codec> =
            self.remote.iter().flat_map(|remote| remote.payloads.iter()).map(|p| p.codec).collect();
        let ours = self.coding.codecs();
        let order: &[Codec] = match (&self.wanted.codecs, self.remote) {
            (Some(codecs), _) => codecs,
            (None, Some(_)) => &theirs,
            (None, None) => &ours,
        };
        let mut payloads = Payloads::default();
        for codec in order {
            if self.suits(*codec) && !payloads.iter().any(|payload| payload.codec == *codec) {
                let receive = self.number(*codec, &payloads);
                let send = self.theirs(*codec).map_or(receive, |payload| payload.send);
                payloads.push(Payload { codec: *codec, receive, send });
            }
        }
        payloads
    }

    fn suits(&self, codec: Codec) -> bool {
        let partner_takes =
            |partner: Terms| !codec.is_sound() || partner.payloads.iter().any(|payload| payload.codec == codec);
        (self.remote.is_none() || self.theirs(codec).is_some()) && self.partner.is_none_or(partner_takes)
    }

    fn theirs(&self, codec: Codec) -> Option<Payload> {
        self.remote?.payloads.iter().find(|payload| payload.codec == codec)
    }

    /// The payload type of packets to us: the one we have named before, else the other end's, else the usual one. It is
    /// never one that already means something else.
    fn number(&self, codec: Codec, taken: &Payloads) -> u8 {
        let before = self.before.payloads.iter().find(|payload| payload.codec == codec).map(|payload| payload.receive);
        let theirs = self.theirs(codec).map(|payload| payload.receive);
        let is_free = |number: &u8| {
            let meaning = self.before.payloads.received_as(*number).map(|payload| payload.codec);
            taken.received_as(*number).is_none() && meaning.is_none_or(|meaning| meaning == codec)
        };
        let usual = codec.usual_payload_type();
        before.into_iter().chain(theirs).chain([usual]).chain(96..=127).find(is_free).unwrap_or(usual)
    }

    fn ptime(&self) -> Result<u16, ReturnCode> {
        let (first, last) = self.wanted.ptime.unwrap_or(PACKET_TIMES);
        let (first, last) = (first.max(PACKET_TIMES.0), last.min(PACKET_TIMES.1));
        if first > last {
            return Err(ReturnCode::UNSUPPORTED_PACKETIZATION);
        }
        let theirs = self.remote.and_then(|remote| remote.ptime).filter(|ptime| (first..=last).contains(ptime));
        Ok(theirs.unwrap_or(USUAL_PTIME.clamp(first, last)))
    }
}
