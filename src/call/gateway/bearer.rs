//! Bearer information (RFC 3435 §2.3.2): the encoding on the line side of an endpoint.

use crate::media::Codec;
use crate::wire::mgcp::{BearerEncoding, BearerInformation, ReturnCode};

/// The encoding that EPCF has set. Virtual endpoints have no line, so it only decides which codec comes first if
/// neither the options nor the other end do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    /// `e:mu`, the default.
    #[default]
    Mu,
    /// `e:A`
    A,
}

impl Coding {
    /// Reads `B:`. Attributes that the RFC does not name are not understood.
    pub(super) fn parse(value: &[u8]) -> Result<Self, ReturnCode> {
        let information = BearerInformation::parse(value).ok_or(ReturnCode::UNSUPPORTED_PARAMETER)?;
        if information.extensions().next().is_some() {
            return Err(ReturnCode::UNSUPPORTED_PARAMETER);
        }
        Ok(match information.encoding {
            Some(BearerEncoding::ALaw) => Coding::A,
            Some(BearerEncoding::MuLaw) | None => Coding::Mu,
        })
    }

    /// The text that [`Coding::parse`] reads.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Coding::Mu => "e:mu",
            Coding::A => "e:A",
        }
    }

    /// The codecs of this gateway, first choice first.
    pub(super) const fn codecs(self) -> [Codec; 3] {
        match self {
            Coding::Mu => [Codec::Pcmu, Codec::Pcma, Codec::TelephoneEvent],
            Coding::A => [Codec::Pcma, Codec::Pcmu, Codec::TelephoneEvent],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_mu_or_a_in_any_case() {
        assert_eq!(Coding::parse(b"e:mu"), Ok(Coding::Mu));
        assert_eq!(Coding::parse(b"E: a"), Ok(Coding::A));
        for bad in [&b"e"[..], b"e:", b"e:b", b"mu", b"x:mu"] {
            assert_eq!(Coding::parse(bad), Err(ReturnCode::UNSUPPORTED_PARAMETER));
        }
    }
}
