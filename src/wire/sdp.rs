//! SDP (RFC 8866), only as far as a session's weight: one look at its lines, for the dispatcher. Offers are read whole
//! in `call`.

use super::find::{find, find_pair};

/// The weight of a description in capacity units: an audio stream counts 1, an image stream (fax, RFC 3362) 1, a video
/// stream `video_size`, other media nothing, and a disabled stream nothing (port 0, unless `a=bundle-only` says it
/// shares another stream's port, RFC 8843 §6). `None` when the body has no stream at all.
pub fn weigh(body: &[u8], video_size: u32) -> Option<u32> {
    let mut total = None;
    // Units of the current section's stream when its port is 0: `a=bundle-only` makes them count.
    let mut disabled = 0_u32;
    let mut rest = body;
    while !rest.is_empty() {
        let (line, behind) = rest.split_at_checked(find(rest, [b'\n']).unwrap_or(rest.len())).unwrap_or((rest, &[]));
        rest = behind.get(1..).unwrap_or_default();
        let units = match line {
            [b'm', b'=', media @ ..] => {
                let (units, is_disabled) = stream(media, video_size);
                disabled = if is_disabled { units } else { 0 };
                Some(if is_disabled { 0 } else { units })
            }
            [b'a', b'=', b'b', ..] if line.trim_ascii_end() == b"a=bundle-only" => Some(std::mem::take(&mut disabled)),
            _ => None,
        };
        if let Some(units) = units {
            total = Some(total.unwrap_or(0_u32).saturating_add(units));
        }
        // Only a disabled stream's attributes can matter.
        if disabled == 0 && !rest.starts_with(b"m=") {
            rest = from_next_stream(rest);
        }
    }
    total
}

/// `lines` from the next that starts with an `m`: most lines are attributes that do not matter here.
fn from_next_stream(lines: &[u8]) -> &[u8] {
    find_pair(lines, b'\n', [b'm']).and_then(|line_feed| lines.get(line_feed + 1..)).unwrap_or_default()
}

/// The units of a stream, and whether its port is 0.
fn stream(media: &[u8], video_size: u32) -> (u32, bool) {
    // Nearly every call has one such stream.
    if let [b'a', b'u', b'd', b'i', b'o', b' ', b'1'..=b'9', ..] = media {
        return (1, false);
    }
    let mut words = media.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or_default();
    let port = words.next().unwrap_or_default();
    let port = port.split(|&byte| byte == b'/').next().unwrap_or_default();
    let units = if kind.eq_ignore_ascii_case(b"audio") || kind.eq_ignore_ascii_case(b"image") {
        1
    } else if kind.eq_ignore_ascii_case(b"video") {
        video_size
    } else {
        0
    };
    (units, port.is_empty() || port.iter().all(|&byte| byte == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_are_not_disabled_count() {
        assert_eq!(weigh(b"v=0\r\nm=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\n", 10), Some(11));
        assert_eq!(weigh(b"v=0\nm=audio 49217/2 RTP/AVP 0\nm=video 0 RTP/AVP 31\n", 10), Some(1));
        assert_eq!(weigh(b"m=audio 0 RTP/AVP 0\r\n", 10), Some(0));
        assert_eq!(
            weigh(b"m=image 4000 udptl t38\r\nm=application 9 UDP/DTLS/SCTP x\r\nm=text 1 RTP/AVP 98", 10),
            Some(1)
        );
    }

    #[test]
    fn a_bundled_stream_counts_though_its_port_is_0() {
        let body = b"m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\na=bundle-only\r\nm=audio 0 RTP/AVP 0\r\n";
        assert_eq!(weigh(body, 4), Some(5));
    }

    #[test]
    fn a_body_without_streams_has_no_weight() {
        assert_eq!(weigh(b"", 10), None);
        assert_eq!(weigh(b"v=0\r\ns=m=audio 1\r\n", 10), None);
        assert_eq!(weigh(b"m=", 10), Some(0));
    }

    #[test]
    fn a_flood_of_streams_does_not_overflow() {
        assert_eq!(weigh(&b"m=video 1 x\n".repeat(3), u32::MAX), Some(u32::MAX));
    }
}
