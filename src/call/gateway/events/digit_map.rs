//! Digit maps (RFC 3435 §2.1.5): which strings of digits are worth reporting.
//!
//! A map is read and kept; nothing detects digits yet that it could be held against.

use super::list;
use crate::wire::mgcp::ReturnCode as Code;

/// A digit map that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitMap {
    text: Box<[u8]>,
}

/// RFC 3435 §2.1.5: everybody must take 2,048 bytes.
const LONGEST: usize = 2_048;

impl DigitMap {
    /// Reads `(0T|00T|[1-7]xxx|*xx)` or one string without parentheses. The error is the return code: 537 for a letter
    /// that only an extension could mean, 510 for what is none at all.
    pub fn read(text: &[u8]) -> Result<Self, Code> {
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() || trimmed.len() > LONGEST {
            return Err(Code::PROTOCOL_ERROR);
        }
        let inside = match trimmed.strip_prefix(b"(") {
            Some(rest) => rest.strip_suffix(b")").ok_or(Code::PROTOCOL_ERROR)?,
            None => trimmed,
        };
        for string in inside.split(|&byte| byte == b'|') {
            read_string(string.trim_ascii())?;
        }
        Ok(DigitMap { text: trimmed.into() })
    }

    /// As written.
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

fn read_string(string: &[u8]) -> Result<(), Code> {
    if string.is_empty() {
        return Err(Code::PROTOCOL_ERROR);
    }
    let mut rest = string;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first.to_ascii_uppercase() {
            b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D' | b'T' | b'X' => {}
            // A dot repeats what stands before it: there must be something.
            b'.' if string.len() > tail.len() + 1 => {}
            b'[' => {
                let end = memchr::memchr(b']', tail).ok_or(Code::PROTOCOL_ERROR)?;
                let letters = list::letters(&tail[..end]).ok_or(Code::PROTOCOL_ERROR)?;
                letters.into_iter().try_for_each(letter)?;
                rest = &tail[end + 1..];
            }
            other => letter(other)?,
        }
    }
    Ok(())
}

/// A letter that may stand in a range.
fn letter(letter: u8) -> Result<(), Code> {
    match letter.to_ascii_uppercase() {
        b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D' | b'T' => Ok(()),
        byte if byte.is_ascii_alphabetic() => Err(Code::UNSUPPORTED_DIGIT_MAP),
        _ => Err(Code::PROTOCOL_ERROR),
    }
}
