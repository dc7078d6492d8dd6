//! Request methods.

use crate::wire::Label;

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $method:ident = $name:literal;)+) => {
        /// A method. Comparison is case-sensitive (RFC 3261 §7.1), and an escaped name is an unknown method (RFC 4475
        /// §3.1.1.5).
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method<'a> {
            $($(#[doc = $doc])+ $method,)+
            /// Any other token.
            Other(&'a [u8]),
        }

        impl<'a> Method<'a> {
            /// The method that `name` names.
            pub fn new(name: &'a [u8]) -> Self {
                match name {
                    $($name => Method::$method,)+
                    other => Method::Other(other),
                }
            }

            /// Its name.
            pub const fn as_bytes(self) -> &'a [u8] {
                match self {
                    $(Method::$method => $name,)+
                    Method::Other(name) => name,
                }
            }

            /// Its name when it is one of those named here, else [`Label::Other`]: it can be kept when the message is
            /// gone.
            pub const fn label(self) -> Label {
                match self {
                    $(Method::$method => Label::$method,)+
                    Method::Other(_) => Label::Other,
                }
            }
        }
    };
}

methods! {
    /// RFC 3261.
    Invite = b"INVITE";
    /// RFC 3261.
    Ack = b"ACK";
    /// RFC 3261.
    Bye = b"BYE";
    /// RFC 3261.
    Cancel = b"CANCEL";
    /// RFC 3261.
    Options = b"OPTIONS";
    /// RFC 6086.
    Info = b"INFO";
    /// RFC 3311.
    Update = b"UPDATE";
    /// RFC 3262.
    Prack = b"PRACK";
    /// RFC 3428.
    Message = b"MESSAGE";
    /// RFC 6665.
    Subscribe = b"SUBSCRIBE";
    /// RFC 6665.
    Notify = b"NOTIFY";
    /// RFC 3515.
    Refer = b"REFER";
    /// RFC 3903.
    Publish = b"PUBLISH";
    /// RFC 3261.
    Register = b"REGISTER";
}

impl Method<'_> {
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
