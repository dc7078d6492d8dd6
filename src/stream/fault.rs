//! Reasons for which a connection ends.

use rustls::{CertificateError, Error, PeerIncompatible};

use crate::wire::framing::StreamFault;

/// The reason for which a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer says that nothing more follows: an orderly end.
    Closed,
    /// No further message can be found in it.
    Framing(StreamFault),
    /// TLS fails.
    Tls(TlsFault),
    /// The WebSocket fails.
    WebSocket(WebSocketFault),
    /// Nothing at all came within the limit.
    Silent,
    /// The handshakes were not done within the limit.
    SlowHandshake,
    /// A message was not whole within the limit.
    SlowMessage,
    /// Nothing came for the limit's time.
    Idle,
    /// Too many keepalives came, and no message between them.
    Flood,
    /// A keepalive of ours was not answered, and earlier ones were.
    NoPong,
}

/// The reason for which TLS fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The bytes are no TLS.
    Garbage,
    /// The peer has no version that we have.
    Version,
    /// The peer has no algorithms that we have, or too few extensions.
    Incompatible,
    /// The peer has no certificate where one is required.
    NoCertificate,
    /// The peer's certificate has expired, or is not valid yet.
    Expired,
    /// The peer's certificate has been revoked.
    Revoked,
    /// The peer's certificate is of an authority that is not ours.
    UnknownIssuer,
    /// The peer's certificate is that of another name.
    WrongName,
    /// The peer's certificate is no good for another reason.
    Certificate,
    /// The peer refuses us.
    Refused,
    /// A record has been changed on its way, or is in other keys.
    Decrypt,
    /// The peer breaks the protocol, or repeats what is costly.
    Misbehaved,
    /// Our own side fails.
    Failed,
}

impl Fault {
    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            Fault::Closed => "closed",
            Fault::Framing(fault) => fault.label(),
            Fault::Tls(fault) => fault.label(),
            Fault::WebSocket(fault) => fault.label(),
            Fault::Silent => "silent",
            Fault::SlowHandshake => "slow-handshake",
            Fault::SlowMessage => "slow-message",
            Fault::Idle => "idle",
            Fault::Flood => "keepalive-flood",
            Fault::NoPong => "no-pong",
        }
    }
}

impl TlsFault {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidMessage(_) | Error::PeerSentOversizedRecord => TlsFault::Garbage,
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // Every client of TLS 1.2 sends it (RFC 5246 §7.4.1.4.1), and none of an older version.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => TlsFault::Version,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFault::Incompatible,
            Error::NoCertificatesPresented => TlsFault::NoCertificate,
            Error::InvalidCertificate(fault) => TlsFault::of_certificate(fault),
            Error::InvalidCertRevocationList(_) => TlsFault::Certificate,
            Error::AlertReceived(_) => TlsFault::Refused,
            Error::DecryptError => TlsFault::Decrypt,
            Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => TlsFault::Misbehaved,
            _ => TlsFault::Failed,
        }
    }

    fn of_certificate(fault: &CertificateError) -> Self {
        match fault {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::Expired,
            CertificateError::Revoked => TlsFault::Revoked,
            // Another authority may have the name of ours.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => TlsFault::WrongName,
            _ => TlsFault::Certificate,
        }
    }

    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            TlsFault::Garbage => "tls-garbage",
            TlsFault::Version => "tls-version",
            TlsFault::Incompatible => "tls-incompatible",
            TlsFault::NoCertificate => "tls-no-certificate",
            TlsFault::Expired => "tls-certificate-expired",
            TlsFault::Revoked => "tls-certificate-revoked",
            TlsFault::UnknownIssuer => "tls-certificate-unknown",
            TlsFault::WrongName => "tls-certificate-name",
            TlsFault::Certificate => "tls-certificate",
            TlsFault::Refused => "tls-refused",
            TlsFault::Decrypt => "tls-decrypt",
            TlsFault::Misbehaved => "tls-misbehaved",
            TlsFault::Failed => "tls-failed",
        }
    }
}

/// The reason for which a WebSocket fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketFault {
    /// The request for it cannot be read.
    Upgrade,
    /// The client does not speak SIP on it.
    Subprotocol,
    /// The page that asks for it may not.
    Origin,
    /// The peer breaks the protocol.
    Protocol,
    /// A frame of the client is not masked.
    Unmasked,
    /// A frame, or a message, is too large.
    TooLarge,
    /// A text is no UTF-8.
    Utf8,
    /// A message has too many pieces.
    Fragments,
    /// Too many frames bring nothing.
    Flood,
    /// Two Pings of ours had no answer.
    NoPong,
}

impl WebSocketFault {
    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            WebSocketFault::Upgrade => "ws-upgrade",
            WebSocketFault::Subprotocol => "ws-subprotocol",
            WebSocketFault::Origin => "ws-origin",
            WebSocketFault::Protocol => "ws-protocol",
            WebSocketFault::Unmasked => "ws-unmasked",
            WebSocketFault::TooLarge => "ws-too-large",
            WebSocketFault::Utf8 => "ws-utf8",
            WebSocketFault::Fragments => "ws-fragments",
            WebSocketFault::Flood => "ws-flood",
            WebSocketFault::NoPong => "ws-no-pong",
        }
    }
}

impl From<TlsFault> for Fault {
    fn from(fault: TlsFault) -> Self {
        Fault::Tls(fault)
    }
}

impl From<WebSocketFault> for Fault {
    fn from(fault: WebSocketFault) -> Self {
        Fault::WebSocket(fault)
    }
}
