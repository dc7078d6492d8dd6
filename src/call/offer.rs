//! Offer and answer (RFC 3264) for the formats of [`crate::media`]: G.711 and telephone events.
//!
//! [`Offer::parse`] reads a peer's offer, leniently; [`Offer::answer`] answers it line by line. [`Local`] is our side
//! of a call's negotiation: it numbers what we say and remembers our lines. For an INVITE without a body,
//! [`Capabilities::offer`] writes our offer and [`Capabilities::read_answer`] reads what comes back in the ACK.
//!
//! A stream is answered in the address family that the peer names for it, where we have an address of it (RFC 6157).
//!
//! Not supported, and refused with port 0 in place: video and other media, SRTP, DTLS, multicast. ICE, BUNDLE and RTCP
//! multiplexing are left unanswered, which tells the peer to do without.
//!
//! ```
//! use pointsman::call::offer::{Capabilities, Local, Offer};
//!
//! let body = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
//! let offer = Offer::parse(body)?;
//! let capabilities = Capabilities::default();
//! let mut local = Local::new(17, "192.0.2.9".parse().unwrap());
//! // One port for each line that will carry media, in their order.
//! assert_eq!(offer.lines_to_open(&capabilities, &local)?, [0]);
//! let answer = offer.answer(&capabilities, &mut local, &["192.0.2.9:20000".parse().unwrap()])?;
//! assert_eq!(answer.streams[0].terms.remote, Some("192.0.2.1:4000".parse().unwrap()));
//! # Ok::<(), pointsman::call::offer::OfferError>(())
//! ```

mod answer;
mod lenient;
mod line;
mod local;

pub use answer::{Answer, Stream, terms_of};
pub use lenient::{BODY_LIMIT, FORMAT_LIMIT, LINE_LIMIT, SECTION_LIMIT};
pub use line::{LineRefusal, Remote};
pub use local::Local;

use crate::media::{Codec, Direction};

use lenient::Description;
use line::Line;

/// The capabilities for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The formats, first choice first; in an answer the peer's order counts (RFC 3264 §6.1).
    pub codecs: Vec<Codec>,
    /// Audio streams of one call; more are refused.
    pub audio_streams: usize,
    /// The direction that we are willing to take, seen from our side.
    pub direction: Direction,
    /// The packet time that our own offers ask for, in milliseconds.
    pub ptime: u16,
}

impl Default for Capabilities {
    fn default() -> Self {
        Capabilities {
            codecs: vec![Codec::Pcmu, Codec::Pcma, Codec::TelephoneEvent],
            audio_streams: 4,
            direction: Direction::SendRecv,
            ptime: 20,
        }
    }
}

/// A peer's session description, read: an offer, or the answer to ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Start and stop time, which the answer repeats (RFC 3264 §6).
    time: (u64, u64),
    lines: Vec<Line<'a>>,
}

impl<'a> Offer<'a> {
    /// Reads a body of type `application/sdp`.
    pub fn parse(body: &'a [u8]) -> Result<Self, OfferError> {
        let Description { time, session, media } = Description::read(body)?;
        let lines = media.into_iter().map(|(media, section)| Line::read(media, &section, &session)).collect();
        Ok(Offer { time: time.unwrap_or_default(), lines })
    }

    /// Number of m-lines, refused and disabled ones included.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }
}

/// The reason for which an offer cannot be answered, or an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// No line at all.
    #[error("the session description is empty")]
    Empty,
    /// The first line is not `v=`.
    #[error("the body is not a session description")]
    NotSdp,
    /// Another version of SDP.
    #[error("session description of version `{0}`")]
    Version(String),
    /// A line that matters cannot be read.
    #[error("session description: {0}")]
    Malformed(String),
    /// The body exceeds a limit.
    #[error("session description with more than {limit} {what}")]
    TooLarge {
        /// The things there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No stream can be answered; the refusal is the first one's.
    #[error("no stream can be answered: {0}")]
    NothingCommon(LineRefusal),
    /// An answer with another number of m-lines than the offer had (RFC 3264 §6).
    #[error("an answer of {answered} media lines to an offer of {offered}")]
    LineCount {
        /// Lines of our offer.
        offered: usize,
        /// Lines of the answer.
        answered: usize,
    },
}

impl OfferError {
    /// The status to refuse the request with.
    pub const fn status(&self) -> u16 {
        match self {
            OfferError::NothingCommon(_) => 488,
            OfferError::TooLarge { .. } => 413,
            OfferError::Empty
            | OfferError::NotSdp
            | OfferError::Version(_)
            | OfferError::Malformed(_)
            | OfferError::LineCount { .. } => 400,
        }
    }

    /// The code and text of a Warning header with the reason (RFC 3261 §20.43).
    pub const fn warning(&self) -> Option<(u16, &'static str)> {
        match self {
            OfferError::NothingCommon(refusal) => Some(refusal.warning()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
