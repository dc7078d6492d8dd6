//! The reading of session descriptions: from real bodies, what matters of the lines that matter.
//!
//! Real bodies end lines with CR, LF or both, indent them, pad fields with two spaces, write Latin-1, invent line
//! types, state `c=` twice or break lines that are not needed. Refusing a call for that helps no one. Only `v=`, `t=`,
//! `c=`, `m=` and the attributes of [`Section`] are read. Lines that are passed over cost nothing further on, however
//! much ICE there is. `m=` lines are never passed over: the answer must have as many (RFC 3264 §6).

use crate::media::{Codec, Direction};
use crate::wire::find;

use super::{LineRefusal, OfferError};

/// Bytes of a body that is read.
pub const BODY_LIMIT: usize = 32 * 1024;
/// Lines of a body, those that are passed over included.
pub const LINE_LIMIT: usize = 1_024;
/// `m=` lines of a body.
pub const SECTION_LIMIT: usize = 32;
/// Formats of a media line, and `rtpmap` lines of one section, that are read.
pub const FORMAT_LIMIT: usize = 128;
/// Bytes of a line that is read.
const LENGTH_LIMIT: usize = 1_024;

/// A body as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Description<'a> {
    /// Start and stop time.
    pub(super) time: Option<(u64, u64)>,
    /// The part before the first media line.
    pub(super) session: Section<'a>,
    /// The media lines, each with its section.
    pub(super) media: Vec<(MediaLine<'a>, Section<'a>)>,
}

/// A media line.
#[derive(Debug)]
pub(super) struct MediaLine<'a> {
    pub(super) media: &'a str,
    pub(super) port: u16,
    pub(super) proto: &'a str,
    /// The formats with spaces between them.
    pub(super) fmt: &'a str,
    /// The refusal that the line must get, because its sender wrote it wrong. It has port 0 then.
    pub(super) fault: Option<LineRefusal>,
}

/// The other lines of a section, or of the part before the first one. Of a line that is repeated the first counts.
#[derive(Debug, Default)]
pub(super) struct Section<'a> {
    pub(super) connection: Option<Connection<'a>>,
    pub(super) direction: Option<Direction>,
    pub(super) ptime: Option<u16>,
    pub(super) maxptime: Option<u16>,
    /// Payload types, each with its codec if that is one of ours.
    maps: Vec<(u8, Option<Codec>)>,
}

/// A connection line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection<'a> {
    pub(super) is_ipv4: bool,
    /// The address as written.
    pub(super) address: &'a str,
}

impl<'a> Description<'a> {
    /// Reads `body`.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, OfferError> {
        if body.len() > BODY_LIMIT {
            return Err(OfferError::TooLarge { what: "bytes", limit: BODY_LIMIT });
        }
        let mut lines = lines(body);
        check_version(lines.next().ok_or(OfferError::Empty)?)?;
        let mut read = Description::default();
        for (line, number) in lines.zip(1..) {
            if number >= LINE_LIMIT {
                return Err(OfferError::TooLarge { what: "lines", limit: LINE_LIMIT });
            }
            let [kind, b'=', value @ ..] = line else { continue };
            let value = value.trim_ascii();
            let sections = read.media.len();
            let section = read.media.last_mut().map_or(&mut read.session, |(_, section)| section);
            match kind {
                b'm' if sections == SECTION_LIMIT => {
                    return Err(OfferError::TooLarge { what: "media sections", limit: SECTION_LIMIT });
                }
                b'm' => read.media.push((MediaLine::read(value)?, Section::default())),
                _ if value.len() > LENGTH_LIMIT => {}
                b'c' => section.connection = section.connection.or_else(|| Connection::read(value)),
                b'a' => section.read_attribute(value),
                b't' if sections == 0 => read.time = read.time.or_else(|| time_of(value)),
                _ => {}
            }
        }
        Ok(read)
    }
}

impl<'a> MediaLine<'a> {
    /// Reads a media line. RFC 8866 §5.14 requires a media type, a port, a protocol and at least one format. A disabled
    /// line that lacks something is only mended.
    fn read(value: &'a [u8]) -> Result<Self, OfferError> {
        let is_text = value.len() <= LENGTH_LIMIT && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let Some(text) = std::str::from_utf8(value).ok().filter(|_| is_text) else {
            return Err(OfferError::Malformed("a media line with impossible characters or length".into()));
        };
        let (media, rest) = first_field(text);
        if media.is_empty() {
            return Err(OfferError::Malformed("a media line without a media type".into()));
        }
        let (port, rest) = first_field(rest);
        let (proto, fmt) = first_field(rest);
        let (port, count) = port.split_once('/').unwrap_or((port, "1"));
        let fault = match (port.parse::<u16>(), count.parse::<u16>()) {
            (Ok(_), Ok(_)) if proto.is_empty() => Some(LineRefusal::Transport),
            (Ok(_), Ok(_)) => fmt.is_empty().then_some(LineRefusal::Format),
            _ => Some(LineRefusal::Port),
        };
        Ok(MediaLine {
            media,
            port: port.parse().ok().filter(|_| fault.is_none()).unwrap_or(0),
            proto: if proto.is_empty() { "RTP/AVP" } else { proto },
            fmt: if fmt.is_empty() { "0" } else { fmt },
            fault: fault.filter(|_| port != "0"),
        })
    }
}

impl Section<'_> {
    fn read_attribute(&mut self, attribute: &[u8]) {
        let (name, value) = match find(attribute, [b':']) {
            Some(colon) => attribute.split_at(colon),
            None => (attribute, &b""[..]),
        };
        let name = name.trim_ascii();
        let value = value.get(1..).unwrap_or_default();
        let number = || std::str::from_utf8(trimmed(value)).ok()?.parse().ok();
        if name.eq_ignore_ascii_case(b"rtpmap") {
            self.maps.extend(map_of(value).filter(|_| self.maps.len() < FORMAT_LIMIT));
        } else if name.eq_ignore_ascii_case(b"ptime") {
            self.ptime = self.ptime.or_else(number);
        } else if name.eq_ignore_ascii_case(b"maxptime") {
            self.maxptime = self.maxptime.or_else(number);
        } else if self.direction.is_none() {
            self.direction = Direction::of_attribute(name);
        }
    }

    /// The codec of a payload type: from its `rtpmap`, else from the static assignment (RFC 3551 §6).
    pub(super) fn codec(&self, payload_type: u8) -> Option<Codec> {
        match self.maps.iter().find(|(mapped, _)| *mapped == payload_type) {
            Some((_, codec)) => *codec,
            None => Codec::of_static(payload_type),
        }
    }
}

impl<'a> Connection<'a> {
    fn read(value: &'a [u8]) -> Option<Self> {
        let mut fields = fields(value);
        let (network, family, address) = (fields.next()?, fields.next()?, fields.next()?);
        let is_internet = network.eq_ignore_ascii_case(b"IN") && fields.next().is_none();
        let is_ipv4 = match is_internet {
            true if family.eq_ignore_ascii_case(b"IP4") => true,
            true if family.eq_ignore_ascii_case(b"IP6") => false,
            _ => return None,
        };
        Some(Connection { is_ipv4, address: std::str::from_utf8(address).ok()? })
    }
}

/// The first field of a media line, and those after it.
fn first_field(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    (first, rest.trim_ascii_start())
}

/// The lines of a body without white space around them, those that hold something.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let (line, behind) =
            find(text, [b'\r', b'\n']).and_then(|end| text.split_at_checked(end)).unwrap_or((text, b""));
        rest = behind.get(1..);
        Some(line.trim_ascii())
    });
    lines.filter(|line| !line.is_empty())
}

fn check_version(line: &[u8]) -> Result<(), OfferError> {
    match line {
        [b'v', b'=', version @ ..] if version.trim_ascii() == b"0" => Ok(()),
        [b'v', b'=', version @ ..] => {
            Err(OfferError::Version(String::from_utf8_lossy(version.get(..16).unwrap_or(version)).into_owned()))
        }
        _ => Err(OfferError::NotSdp),
    }
}

fn time_of(value: &[u8]) -> Option<(u64, u64)> {
    let mut fields = fields(value).map(|field| std::str::from_utf8(field).ok()?.parse().ok());
    let time = (fields.next()??, fields.next()??);
    fields.next().is_none().then_some(time)
}

/// Payload type and encoding of an `rtpmap`.
fn map_of(value: &[u8]) -> Option<(u8, Option<Codec>)> {
    let value = trimmed(value);
    let (payload_type, encoding) = value.split_at_checked(value.iter().position(|byte| is_space(*byte))?)?;
    Some((std::str::from_utf8(payload_type).ok()?.parse().ok()?, Codec::of_rtpmap(trimmed(encoding))))
}

/// White space, or a control character, which counts as such.
const fn is_space(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// The value without white space around it.
fn trimmed(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| !is_space(*byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The fields of a line. Control characters stand between fields as white space does.
fn fields(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| is_space(*byte)).filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Description<'_>, OfferError> {
        Description::read(body)
    }

    #[test]
    fn lines_that_nobody_needs_are_passed_over_and_the_rest_is_read_leniently() {
        let body = b"\r\nv=0 \nnonsense\n o=- 1 1 IN IP4 x\rs=caf\xe9\nX=1\nb=AS:64\nb=broken\nc=IN  IP4 192.0.2.1\n\
            c=IN IP4 192.0.2.2\nt=0  7\nt=1 1\na=tool:x\na=SendOnly\na=sendrecv\nr=7d\nk=clear:x\n\
            m=audio  4000\tRTP/AVP 0 \na=candidate:1 1 UDP\na=rtpmap:8\t PCMU/8000\na=rtpmap:8 PCMA/8000\n\
            a=rtpmap:0 \xb5\na=ptime:x\na=ptime: 30\nc=IN IP4\nc=in ip6 ::1\x01\n";
        // The tab in the media line is an impossible character; the body without it is taken.
        assert!(matches!(read(body), Err(OfferError::Malformed(_))));
        let body: Vec<u8> = body.iter().map(|byte| if *byte == b'\t' { b' ' } else { *byte }).collect();
        let Description { time, session, media } = read(&body).unwrap();
        let connection = session.connection.unwrap();
        assert_eq!((time, connection.is_ipv4, connection.address), (Some((0, 7)), true, "192.0.2.1"));
        assert_eq!(session.direction, Some(Direction::SendOnly));
        let [(line, section)] = &media[..] else { panic!("{media:?}") };
        let MediaLine { media, port, proto, fmt, fault } = line;
        assert_eq!((*media, *port, *proto, *fmt, *fault), ("audio", 4000, "RTP/AVP", "0", None));
        let connection = section.connection.unwrap();
        assert_eq!((connection.is_ipv4, connection.address), (false, "::1"));
        assert_eq!((section.direction, section.ptime, section.maxptime), (None, Some(30), None));
        assert_eq!([0, 8, 9].map(|number| section.codec(number)), [None, Some(Codec::Pcmu), None], "0 is of no text");
    }

    #[test]
    fn a_control_character_at_the_end_of_a_value_costs_no_codec() {
        let body = b"v=0\r\nm=audio 4000 RTP/AVP 8 101\r\na=ptime:20\0\r\na=rtpmap:101\x01telephone-event/ 8000\x7f\r\na=rtpmap:8 PCMA/8000\0";
        let Description { media, .. } = read(body).unwrap();
        let section = &media[0].1;
        assert_eq!(section.ptime, Some(20));
        assert_eq!([8, 101].map(|number| section.codec(number)), [Some(Codec::Pcma), Some(Codec::TelephoneEvent)]);
    }

    #[test]
    fn a_media_line_that_lacks_something_is_mended_and_marked() {
        let media = |line: &str| {
            let MediaLine { media, port, proto, fmt, fault } = MediaLine::read(line.as_bytes()).unwrap();
            (format!("{media} {port} {proto} {fmt}"), fault)
        };
        for (line, mended, fault) in [
            ("video 36924 RTP/AVP", "video 0 RTP/AVP 0", Some(LineRefusal::Format)),
            ("video 0 RTP/AVP", "video 0 RTP/AVP 0", None),
            ("audio 70000 RTP/AVP 8 0", "audio 0 RTP/AVP 8 0", Some(LineRefusal::Port)),
            ("audio -1 RTP/AVP 0", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000/x RTP/AVP 0", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000", "audio 0 RTP/AVP 0", Some(LineRefusal::Transport)),
            ("audio", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000/2 RTP/AVP 0", "audio 4000 RTP/AVP 0", None),
        ] {
            assert_eq!(media(line), (mended.to_owned(), fault), "{line}");
        }
        assert!(matches!(read(b"v=0\r\nm=\r\n"), Err(OfferError::Malformed(_))));
    }

    #[test]
    fn a_body_that_is_not_sdp_is_refused_with_its_reason() {
        let fault = |body| read(body).unwrap_err();
        assert_eq!(fault(b""), OfferError::Empty);
        assert_eq!(fault(b"\r\n \r\n"), OfferError::Empty);
        assert_eq!(fault(b"<xml/>"), OfferError::NotSdp);
        assert_eq!(fault(b"m=audio 1 RTP/AVP 0\r\n"), OfferError::NotSdp);
        assert_eq!(fault(b"v=1\r\n"), OfferError::Version("1".into()));
    }

    #[test]
    fn bodies_lines_sections_and_formats_have_limits() {
        let fault = |body: &[u8]| read(body).unwrap_err();
        let too_large = |what, limit| OfferError::TooLarge { what, limit };
        assert_eq!(fault(&[b'v'; BODY_LIMIT + 1]), too_large("bytes", BODY_LIMIT));
        let lines = format!("v=0\r\n{}", "x\n".repeat(LINE_LIMIT));
        assert_eq!(fault(lines.as_bytes()), too_large("lines", LINE_LIMIT));
        assert!(read(&lines.as_bytes()[..lines.len() - 2]).is_ok());
        let sections = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\n".repeat(SECTION_LIMIT + 1));
        assert_eq!(fault(sections.as_bytes()), too_large("media sections", SECTION_LIMIT));
        let maps = format!("v=0\r\nm=audio 1 RTP/AVP 0\n{}", "a=rtpmap:0 PCMU/8000\n".repeat(FORMAT_LIMIT + 1));
        assert_eq!(read(maps.as_bytes()).unwrap().media[0].1.maps.len(), FORMAT_LIMIT);
    }
}
