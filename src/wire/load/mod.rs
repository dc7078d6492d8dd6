//! Reports of a server's load, in the forms that servers have for it.
//!
//! Each reader takes what a peer has sent as it is: what cannot be a number of sessions counts as not said.

mod agent;
mod document;
mod header;
mod overload;
mod series;

pub use agent::read_line;
pub use document::{Keys, read_document};
pub use header::{QUERY, REPORT, read_headers, write_report};
pub use overload::{OVERLOAD_QUERY, OverloadControl};

/// A number of sessions from one that a peer has written; `None` for one that cannot be meant.
fn count(number: f64) -> Option<u32> {
    // A NaN is in no range.
    (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as u32)
}

/// A number of sessions from digits alone.
fn digits(text: &[u8]) -> Option<u32> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}
