//! Merging: one answer out of the answers of many workers to one command.
//!
//! It is a success if any worker reports one, else the first error. Lists of endpoints are joined and their numbers
//! added up (AuditEndpoint, RFC 3435 §2.3.10); the answer lists no more endpoints than the command asks for.

use crate::ids::Token;
use crate::wire::mgcp::{Field, Response, ResponseWriter, ReturnCode, TransactionId};

/// The largest answer: the size that every peer must accept (RFC 3435 §3.5.3).
const LARGEST: usize = 4_000;

/// Answers so far.
#[derive(Debug, Default)]
pub(super) struct Merged {
    good: Option<ReturnCode>,
    error: Option<ReturnCode>,
    names: Vec<Box<[u8]>>,
    /// Number of endpoints that the answers have listed, in all.
    named: u32,
    /// Most endpoints that the answer may list (`ZM:` of the command).
    most: Option<u32>,
    /// Number of endpoints that exist, by the workers' reports (`ZN:`).
    number: Option<u32>,
    is_too_large: bool,
}

impl Merged {
    /// No answers yet. The command wants at most `most` endpoints listed.
    pub(super) fn new(most: Option<u32>) -> Self {
        Merged { most, ..Merged::default() }
    }

    /// Adds a worker's final answer.
    pub(super) fn add(&mut self, response: &Response<'_>) {
        let code = response.code();
        // A list that lacks a part would pass for a complete one.
        self.is_too_large |= code == ReturnCode::RESPONSE_TOO_LARGE;
        if !code.is_success() {
            self.error = self.error.or(Some(code));
            return;
        }
        // RFC 3435 §2.4: 250 says that connections were deleted; a 200 of the other workers says that they had none.
        if code == ReturnCode::CONNECTION_DELETED || self.good.is_none() {
            self.good = Some(code);
        }
        let (mut named, mut number) = (0_u32, None);
        for param in response.params() {
            if param.field() == Some(Field::SpecificEndpointId) {
                let list = param.value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                for name in list.filter(|name| !name.is_empty()) {
                    named += 1;
                    self.names.push(name.into());
                }
            } else if param.name.eq_ignore_ascii_case(NUMBER) {
                number = read(param.value);
            }
        }
        // Once one worker reports its number of endpoints, a worker that reports none counts with the endpoints that it
        // lists.
        self.number = match (self.number, number) {
            (None, None) => None,
            (Some(sum), number) => Some(sum.saturating_add(number.unwrap_or(named))),
            (None, Some(number)) => Some(number.saturating_add(self.named)),
        };
        self.named = self.named.saturating_add(named);
        self.cut();
    }

    /// Takes note of an answer that has more lines than are read.
    pub(super) const fn add_too_large(&mut self) {
        self.is_too_large = true;
    }

    /// Writes the answer.
    pub(super) fn write(&self, transaction: TransactionId, out: &mut Vec<u8>) {
        let code = match (self.good, self.error) {
            _ if self.is_too_large => ReturnCode::RESPONSE_TOO_LARGE,
            (Some(good), _) => good,
            (None, Some(error)) => error,
            // No worker has answered in time.
            (None, None) => ReturnCode::TIMED_OUT,
        };
        let mut writer = ResponseWriter::new(out, code, transaction);
        if self.is_too_large || self.good.is_none() {
            return;
        }
        if let Some(number) = self.number {
            writer = writer.extension(NUMBER, number.to_string());
        }
        for name in &self.names {
            writer = writer.param(Field::SpecificEndpointId, name);
        }
    }

    /// Keeps as many names as the command asks for. The call agent then asks for the names after the last one, so they
    /// must have an order: that of the workers' tokens.
    fn cut(&mut self) {
        if self.is_too_large {
            return self.names.clear();
        }
        if let Some(most) = self.most {
            self.names.sort_by_cached_key(|name| token(name));
            self.names.truncate(most as usize);
        }
        if self.names.iter().map(|name| name.len() + LINE).sum::<usize>() > LARGEST {
            self.is_too_large = true;
            self.names = Vec::new();
        }
    }
}

/// Length of a line without the name.
const LINE: usize = b"Z: \r\n".len();

/// The term of a name that is a worker's token.
fn token(name: &[u8]) -> Vec<u8> {
    let local = name.split(|&byte| byte == b'@').next().unwrap_or_default();
    let is_token =
        |term: &&[u8]| term.len() >= Token::LEN && term.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(b"pm"));
    local.split(|&byte| byte == b'/').find(is_token).unwrap_or_default().to_ascii_lowercase()
}

/// Parameters for the number of endpoints that exist, and for the most to list (RFC 3435 §2.3.10).
const NUMBER: &[u8] = b"ZN";
pub(super) const MOST: &[u8] = b"ZM";

/// A number in the form of a parameter's value.
pub(super) fn read(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}
