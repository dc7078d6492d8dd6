//! Request methods.

use crate::wire::Label;

/// A method. Comparison is case-sensitive (RFC 3261 §7.1), and an escaped name is an unknown method (RFC 4475
/// §3.1.1.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// RFC 3261.
    Invite,
    /// RFC 3261.
    Ack,
    /// RFC 3261.
    Bye,
    /// RFC 3261.
    Cancel,
    /// RFC 3261.
    Options,
    /// RFC 6086.
    Info,
    /// RFC 3311.
    Update,
    /// RFC 3262.
    Prack,
    /// RFC 3428.
    Message,
    /// RFC 6665.
    Subscribe,
    /// RFC 6665.
    Notify,
    /// RFC 3515.
    Refer,
    /// RFC 3903.
    Publish,
    /// RFC 3261.
    Register,
    /// Any other token.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method that `name` names.
    pub fn new(name: &'a [u8]) -> Self {
        match name {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"INFO" => Method::Info,
            b"UPDATE" => Method::Update,
            b"PRACK" => Method::Prack,
            b"MESSAGE" => Method::Message,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"REFER" => Method::Refer,
            b"PUBLISH" => Method::Publish,
            b"REGISTER" => Method::Register,
            other => Method::Other(other),
        }
    }

    /// Its name.
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Method::Invite => b"INVITE",
            Method::Ack => b"ACK",
            Method::Bye => b"BYE",
            Method::Cancel => b"CANCEL",
            Method::Options => b"OPTIONS",
            Method::Info => b"INFO",
            Method::Update => b"UPDATE",
            Method::Prack => b"PRACK",
            Method::Message => b"MESSAGE",
            Method::Subscribe => b"SUBSCRIBE",
            Method::Notify => b"NOTIFY",
            Method::Refer => b"REFER",
            Method::Publish => b"PUBLISH",
            Method::Register => b"REGISTER",
            Method::Other(name) => name,
        }
    }

    /// Its name when it is one of those named here, else [`Label::Other`]: it can be kept when the message is gone.
    pub const fn label(self) -> Label {
        match self {
            Method::Invite => Label::Invite,
            Method::Ack => Label::Ack,
            Method::Bye => Label::Bye,
            Method::Cancel => Label::Cancel,
            Method::Options => Label::Options,
            Method::Info => Label::Info,
            Method::Update => Label::Update,
            Method::Prack => Label::Prack,
            Method::Message => Label::Message,
            Method::Subscribe => Label::Subscribe,
            Method::Notify => Label::Notify,
            Method::Refer => Label::Refer,
            Method::Publish => Label::Publish,
            Method::Register => Label::Register,
            Method::Other(_) => Label::Other,
        }
    }

    /// Whether it is one of those named here.
    pub const fn is_known(self) -> bool {
        !matches!(self, Method::Other(_))
    }
}

impl std::fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_apart_by_case_and_escapes_are_not_read() {
        assert_eq!(Method::new(b"INVITE"), Method::Invite);
        assert_eq!(Method::new(b"invite"), Method::Other(b"invite"));
        assert_eq!(Method::new(b"RE%47IST%45R"), Method::Other(b"RE%47IST%45R"));
        assert!(!Method::new(b"NEWMETHOD").is_known());
    }
}
