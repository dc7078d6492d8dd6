//! Return codes and their texts (RFC 3435 §2.4).

use std::fmt;

/// A return code, from 0 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReturnCode(pub u16);

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        impl ReturnCode {
            $(#[doc = concat!($text, ".")] pub const $name: ReturnCode = ReturnCode($code);)*

            /// Every code that the RFC names, in order.
            pub const ALL: &'static [ReturnCode] = &[$(ReturnCode::$name),*];

            /// The RFC's text for the code; the text of its class when the RFC does not name it.
            pub const fn text(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    0..=99 => "Response acknowledgement",
                    100..=199 => "Provisional response",
                    200..=299 => "OK",
                    400..=499 => "Transient error",
                    800..=899 => "Package specific",
                    _ => "Permanent error",
                }
            }
        }
    };
}

codes! {
    ACKNOWLEDGEMENT = 0, "Response acknowledgement";
    EXECUTING = 100, "Transaction being executed";
    QUEUED = 101, "Transaction queued for execution";
    OK = 200, "OK";
    CONNECTION_DELETED = 250, "Connection deleted";
    TRANSIENT_ERROR = 400, "Transient error";
    OFF_HOOK = 401, "Phone off-hook";
    ON_HOOK = 402, "Phone on-hook";
    RESOURCES_NOT_NOW = 403, "Insufficient resources at this time";
    BANDWIDTH_NOT_NOW = 404, "Insufficient bandwidth at this time";
    ENDPOINT_RESTARTING_NOW = 405, "Endpoint restarting";
    TIMED_OUT = 406, "Transaction timed out";
    ABORTED = 407, "Transaction aborted";
    OVERLOAD = 409, "Processing overload";
    NO_ENDPOINT = 410, "No endpoint available";
    ENDPOINT_UNKNOWN = 500, "Endpoint unknown";
    ENDPOINT_NOT_READY = 501, "Endpoint not ready";
    INSUFFICIENT_RESOURCES = 502, "Insufficient resources";
    WILDCARD_TOO_COMPLICATED = 503, "All-of wildcard too complicated";
    UNKNOWN_COMMAND = 504, "Unknown or unsupported command";
    UNSUPPORTED_DESCRIPTION = 505, "Unsupported remote connection descriptor";
    OPTIONS_AGAINST_DESCRIPTION = 506, "Local connection options and remote connection descriptor conflict";
    UNSUPPORTED_FUNCTIONALITY = 507, "Unsupported functionality";
    UNSUPPORTED_QUARANTINE = 508, "Unknown or unsupported quarantine handling";
    DESCRIPTION_ERROR = 509, "Error in remote connection descriptor";
    PROTOCOL_ERROR = 510, "Protocol error";
    UNRECOGNIZED_EXTENSION = 511, "Unrecognized extension";
    CANNOT_DETECT = 512, "Cannot detect a requested event";
    CANNOT_GENERATE = 513, "Cannot generate a requested signal";
    CANNOT_ANNOUNCE = 514, "Cannot send the announcement";
    INCORRECT_CONNECTION = 515, "Incorrect connection-id";
    INCORRECT_CALL = 516, "Unknown or incorrect call-id";
    UNSUPPORTED_MODE = 517, "Unsupported or invalid mode";
    UNKNOWN_PACKAGE = 518, "Unsupported or unknown package";
    NO_DIGIT_MAP = 519, "Endpoint has no digit map";
    ENDPOINT_RESTARTING = 520, "Endpoint is restarting";
    REDIRECTED = 521, "Endpoint redirected to another call agent";
    NO_SUCH_EVENT = 522, "No such event or signal";
    UNKNOWN_ACTION = 523, "Unknown action or illegal combination of actions";
    OPTIONS_INCONSISTENT = 524, "Inconsistent local connection options";
    UNKNOWN_OPTION_EXTENSION = 525, "Unknown extension in local connection options";
    INSUFFICIENT_BANDWIDTH = 526, "Insufficient bandwidth";
    NO_DESCRIPTION = 527, "Missing remote connection descriptor";
    INCOMPATIBLE_VERSION = 528, "Incompatible protocol version";
    HARDWARE_FAILURE = 529, "Internal hardware failure";
    CAS_ERROR = 530, "CAS signaling protocol error";
    TRUNKS_FAILED = 531, "Failure of a grouping of trunks";
    UNSUPPORTED_OPTION_VALUE = 532, "Unsupported values in local connection options";
    RESPONSE_TOO_LARGE = 533, "Response too large";
    CODEC_NEGOTIATION = 534, "Codec negotiation failure";
    UNSUPPORTED_PACKETIZATION = 535, "Packetization period not supported";
    UNSUPPORTED_RESTART = 536, "Unknown or unsupported restart method";
    UNSUPPORTED_DIGIT_MAP = 537, "Unknown or unsupported digit map extension";
    EVENT_PARAMETER = 538, "Event or signal parameter error";
    UNSUPPORTED_PARAMETER = 539, "Invalid or unsupported command parameter";
    CONNECTION_LIMIT = 540, "Per endpoint connection limit exceeded";
    UNSUPPORTED_OPTIONS = 541, "Invalid or unsupported local connection options";
}

impl ReturnCode {
    /// Reads three digits.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let is_code = digits.len() == 3 && digits.iter().all(u8::is_ascii_digit);
        is_code.then(|| ReturnCode(digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))))
    }

    /// 000: it acknowledges a response, and is never answered.
    pub const fn is_ack(self) -> bool {
        self.0 < 100
    }

    /// 1xx: another response follows.
    pub const fn is_provisional(self) -> bool {
        matches!(self.0, 100..=199)
    }

    /// 2xx: it was done.
    pub const fn is_success(self) -> bool {
        matches!(self.0, 200..=299)
    }

    /// Neither an acknowledgement nor provisional.
    pub const fn is_final(self) -> bool {
        self.0 >= 200
    }
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_three_digits_and_say_which_class_they_are_of() {
        assert_eq!(ReturnCode::parse(b"000"), Some(ReturnCode::ACKNOWLEDGEMENT));
        assert_eq!(ReturnCode::parse(b"521"), Some(ReturnCode::REDIRECTED));
        for bad in [&b""[..], b"20", b"2000", b"2x0"] {
            assert_eq!(ReturnCode::parse(bad), None);
        }
        assert!(ReturnCode::ALL.is_sorted());
        assert_eq!(ReturnCode::ALL.len(), 57);
        assert_eq!((ReturnCode(299).text(), ReturnCode(499).text()), ("OK", "Transient error"));
        assert_eq!((ReturnCode(812).text(), ReturnCode(599).text()), ("Package specific", "Permanent error"));
        assert_eq!(ReturnCode::ACKNOWLEDGEMENT.to_string(), "000");
    }
}
