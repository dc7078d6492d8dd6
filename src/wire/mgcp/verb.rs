//! Command verbs (RFC 3435 §3.2.1.1).

use crate::wire::Label;

macro_rules! verbs {
    ($($(#[doc = $doc:literal])+ $verb:ident = $name:literal;)+) => {
        /// The verb of a command.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Verb<'a> {
            $($(#[doc = $doc])+ $verb,)+
            /// Any other, as written; the answer is 504.
            Other(&'a [u8]),
        }

        impl<'a> Verb<'a> {
            /// The verb that `name` names, in any case.
            #[inline]
            pub fn new(name: &'a [u8]) -> Self {
                let Ok(letters) = <[u8; 4]>::try_from(name) else { return Verb::Other(name) };
                match &letters.map(|byte| byte.to_ascii_uppercase()) {
                    $($name => Verb::$verb,)+
                    _ => Verb::Other(name),
                }
            }

            /// Its name when it is known, else [`Label::Other`]: it can be kept when the message is gone.
            pub const fn label(self) -> Label {
                match self {
                    $(Verb::$verb => Label::$verb,)+
                    Verb::Other(_) => Label::Other,
                }
            }

            /// Its name, in capitals where it is known.
            pub const fn name(self) -> &'a [u8] {
                match self {
                    $(Verb::$verb => $name,)+
                    Verb::Other(name) => name,
                }
            }
        }
    };
}

verbs! {
    /// EndpointConfiguration.
    Epcf = b"EPCF";
    /// CreateConnection.
    Crcx = b"CRCX";
    /// ModifyConnection.
    Mdcx = b"MDCX";
    /// DeleteConnection.
    Dlcx = b"DLCX";
    /// NotificationRequest.
    Rqnt = b"RQNT";
    /// Notify.
    Ntfy = b"NTFY";
    /// AuditEndpoint.
    Auep = b"AUEP";
    /// AuditConnection.
    Aucx = b"AUCX";
    /// RestartInProgress.
    Rsip = b"RSIP";
    /// Message (Appendix B.3).
    Mesg = b"MESG";
}
