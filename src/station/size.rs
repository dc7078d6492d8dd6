//! The size of a session that comes straight to a worker's own port: no dispatcher has weighed it.

use crate::reservation::Weight;
use crate::wire::mgcp::Command;
use crate::wire::sdp;
use crate::wire::sip::Message;

/// The largest size believed (design: `max-size`).
const LIMIT: u32 = 1_000;

/// Units of a session: `X-Session-Size`, `size` in the request-URI, the weight of the offer's streams, else 1; between
/// 1 and 1,000.
pub(super) fn size_of(msg: &Message<'_>) -> Weight {
    let stated = msg.extension(b"X-Session-Size").and_then(number);
    let stated = stated.or_else(|| msg.uri().and_then(|uri| uri.param(b"size")).and_then(number));
    weight(stated, || sdp::weigh(msg.body(), 1))
}

/// Units of a connection: the size in the command itself, the weight of its session description's streams, else 1;
/// between 1 and 1,000.
pub(super) fn size_of_command(command: &Command<'_>) -> Weight {
    let said = command.stated_size().and_then(number);
    weight(said, || sdp::weigh(command.descriptions().next()?, 1))
}

fn weight(named: Option<u32>, weighed: impl FnOnce() -> Option<u32>) -> Weight {
    let units = named.or_else(weighed).unwrap_or(1).clamp(1, LIMIT);
    Weight { units, named: named.is_some() }
}

fn number(value: &[u8]) -> Option<u32> {
    let value = value.trim_ascii();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok().or(Some(LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mgcp::{self, Message};

    #[test]
    fn a_connection_weighs_what_its_command_says_or_its_description_holds() {
        let size = |lines: &str| {
            let text = format!("CRCX 1 ann/$@ms MGCP 1.0\n{lines}");
            let Ok(Message::Command(command)) = mgcp::parse(text.as_bytes()) else { panic!("{text}") };
            size_of_command(&command).units
        };
        assert_eq!((size("C: 1\n"), size("X-Size: 12\n"), size("x+size:3\n")), (1, 12, 3));
        assert_eq!((size("L: p:20, x-size:7\n"), size("X-Size: many\n"), size("X-Size: 0\n")), (7, 1, 1));
        assert_eq!(size("C: 1\n\nv=0\nm=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 0\n"), 2);
    }

    #[test]
    fn a_number_is_digits_only_and_a_huge_one_counts_as_the_limit() {
        assert_eq!(number(b" 12 "), Some(12));
        assert_eq!(number(b"99999999999"), Some(LIMIT));
        for bad in [&b""[..], b"-1", b"+1", b"1.5", b"many"] {
            assert_eq!(number(bad), None);
        }
    }
}
