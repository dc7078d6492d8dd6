//! The other end's session description, as MGCP reads it (RFC 3435 §3.4).

use std::net::{IpAddr, SocketAddr};

use crate::call::offer::{Capabilities, LineRefusal, Offer, OfferError};
use crate::media::Payloads;
use crate::wire::mgcp::{Command, ReturnCode};

/// The other end's session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// The address at which it wants its packets; `None` while it is on hold.
    pub(super) address: Option<SocketAddr>,
    /// The formats that both it and this gateway take, in its order.
    pub(super) payloads: Payloads,
    /// Milliseconds of sound it wants in a packet.
    pub(super) ptime: Option<u16>,
    /// The text of the description, for audits.
    pub(super) text: Box<[u8]>,
}

/// The longest description that is taken, in bytes. It is kept as long as the connection is, and the answer to an audit
/// could not hold a longer one.
const LONGEST: usize = 4_000;

impl Remote {
    /// Reads the description of a command, for a connection that is reached at `local`.
    pub(super) fn of(command: &Command<'_>, local: IpAddr) -> Result<Option<Self>, ReturnCode> {
        let mut descriptions = command.descriptions();
        let Some(text) = descriptions.next() else { return Ok(None) };
        if descriptions.next().is_some() {
            return Err(ReturnCode::PROTOCOL_ERROR);
        }
        Remote::read(text, local).map(Some)
    }

    fn read(text: &[u8], local: IpAddr) -> Result<Self, ReturnCode> {
        if text.len() > LONGEST {
            return Err(ReturnCode::UNSUPPORTED_DESCRIPTION);
        }
        let offer = Offer::parse(text).map_err(|_| ReturnCode::DESCRIPTION_ERROR)?;
        let stream = offer.audio(&Capabilities::default(), local).map_err(|error| match error {
            OfferError::NothingCommon(LineRefusal::Port) => ReturnCode::DESCRIPTION_ERROR,
            OfferError::NothingCommon(LineRefusal::Format) => ReturnCode::CODEC_NEGOTIATION,
            OfferError::NothingCommon(_) => ReturnCode::UNSUPPORTED_DESCRIPTION,
            _ => ReturnCode::DESCRIPTION_ERROR,
        })?;
        if stream.remote_name.is_some() {
            // Names in session descriptions are not looked up: media would wait for an address that may never come.
            return Err(ReturnCode::UNSUPPORTED_DESCRIPTION);
        }
        Ok(Remote {
            address: stream.terms.remote,
            payloads: stream.terms.payloads,
            ptime: stream.ptime,
            text: text.into(),
        })
    }
}
