//! Restarts: the method of RSIP (RFC 3435 §2.3.12).

/// The way in which endpoints come into or go out of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartMethod {
    /// Out of service after the delay; connections go on until then.
    Graceful,
    /// Out of service at once; connections are lost.
    Forced,
    /// In service after the delay, without connections.
    Restart,
    /// Again in contact, after the call agent could not be reached.
    Disconnected,
    /// A graceful restart is called off.
    CancelGraceful,
}

impl RestartMethod {
    /// Every method.
    pub const ALL: [RestartMethod; 5] = [
        RestartMethod::Graceful,
        RestartMethod::Forced,
        RestartMethod::Restart,
        RestartMethod::Disconnected,
        RestartMethod::CancelGraceful,
    ];

    /// The method that `name` names, in any case; `None` for those of packages and unknown ones (536).
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|method| name.eq_ignore_ascii_case(method.name().as_bytes()))
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            RestartMethod::Graceful => "graceful",
            RestartMethod::Forced => "forced",
            RestartMethod::Restart => "restart",
            RestartMethod::Disconnected => "disconnected",
            RestartMethod::CancelGraceful => "cancel-graceful",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read() {
        for method in RestartMethod::ALL {
            assert_eq!(RestartMethod::parse(method.name().to_ascii_uppercase().as_bytes()), Some(method));
        }
        assert_eq!(RestartMethod::parse(b"X-quick"), None);
    }
}
