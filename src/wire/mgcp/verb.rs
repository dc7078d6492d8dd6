//! Command verbs (RFC 3435 §3.2.1.1).

use crate::wire::Label;

/// The verb of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb<'a> {
    /// EndpointConfiguration.
    Epcf,
    /// CreateConnection.
    Crcx,
    /// ModifyConnection.
    Mdcx,
    /// DeleteConnection.
    Dlcx,
    /// NotificationRequest.
    Rqnt,
    /// Notify.
    Ntfy,
    /// AuditEndpoint.
    Auep,
    /// AuditConnection.
    Aucx,
    /// RestartInProgress.
    Rsip,
    /// Message (Appendix B.3).
    Mesg,
    /// Any other, as written; the answer is 504.
    Other(&'a [u8]),
}

impl<'a> Verb<'a> {
    /// The verb that `name` names, in any case.
    #[inline]
    pub fn new(name: &'a [u8]) -> Self {
        let Ok(letters) = <[u8; 4]>::try_from(name) else { return Verb::Other(name) };
        match &letters.map(|byte| byte.to_ascii_uppercase()) {
            b"EPCF" => Verb::Epcf,
            b"CRCX" => Verb::Crcx,
            b"MDCX" => Verb::Mdcx,
            b"DLCX" => Verb::Dlcx,
            b"RQNT" => Verb::Rqnt,
            b"NTFY" => Verb::Ntfy,
            b"AUEP" => Verb::Auep,
            b"AUCX" => Verb::Aucx,
            b"RSIP" => Verb::Rsip,
            b"MESG" => Verb::Mesg,
            _ => Verb::Other(name),
        }
    }

    /// Its name when it is known, else [`Label::Other`]: it can be kept when the message is gone.
    pub const fn label(self) -> Label {
        match self {
            Verb::Epcf => Label::Epcf,
            Verb::Crcx => Label::Crcx,
            Verb::Mdcx => Label::Mdcx,
            Verb::Dlcx => Label::Dlcx,
            Verb::Rqnt => Label::Rqnt,
            Verb::Ntfy => Label::Ntfy,
            Verb::Auep => Label::Auep,
            Verb::Aucx => Label::Aucx,
            Verb::Rsip => Label::Rsip,
            Verb::Mesg => Label::Mesg,
            Verb::Other(_) => Label::Other,
        }
    }

    /// Its name, in capitals where it is known.
    pub const fn name(self) -> &'a [u8] {
        match self {
            Verb::Epcf => b"EPCF",
            Verb::Crcx => b"CRCX",
            Verb::Mdcx => b"MDCX",
            Verb::Dlcx => b"DLCX",
            Verb::Rqnt => b"RQNT",
            Verb::Ntfy => b"NTFY",
            Verb::Auep => b"AUEP",
            Verb::Aucx => b"AUCX",
            Verb::Rsip => b"RSIP",
            Verb::Mesg => b"MESG",
            Verb::Other(name) => name,
        }
    }
}
