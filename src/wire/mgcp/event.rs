//! Names of events and signals: `package/event@connection` (RFC 3435 §2.1.7 and §3.2.2.12).

use std::fmt;

use super::line::trim;

/// The name of an event or signal, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventName<'a> {
    /// The package; `None` is the endpoint's default one, `*` all of them.
    pub package: Option<&'a [u8]>,
    /// The event of the package, or several.
    pub event: EventId<'a>,
    /// The connection it is detected or played on, where one is named.
    pub connection: Option<EventConnection<'a>>,
}

/// The events of a package that a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventId<'a> {
    /// One event. `*` and `#` are events of their own: the keys (Appendix A).
    One(&'a [u8]),
    /// `all`.
    All,
    /// `[0-9*#T]`: the events named by one sign that is in the list between the brackets.
    Range(&'a [u8]),
}

/// The connection after an `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventConnection<'a> {
    /// A connection identifier.
    Id(&'a [u8]),
    /// `$`: the connection that the command creates.
    Current,
    /// `*`: every connection of the endpoint.
    All,
}

impl<'a> EventName<'a> {
    /// Reads a name; `None` where a piece is empty or holds a character that no name may have.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let mut halves = trim(text).splitn(2, |&byte| byte == b'@');
        let name = halves.next()?;
        let connection = match halves.next() {
            None => None,
            Some(b"$") => Some(EventConnection::Current),
            Some(b"*") => Some(EventConnection::All),
            Some(id) if !id.is_empty() && id.iter().all(u8::is_ascii_hexdigit) => Some(EventConnection::Id(id)),
            Some(_) => return None,
        };
        let (package, event) = match memchr::memchr(b'/', name) {
            None => (None, name),
            Some(at) => (Some(name.get(..at)?), name.get(at + 1..)?),
        };
        if package.is_some_and(|package| package != b"*" && !is_id(package)) {
            return None;
        }
        Some(EventName { package, event: EventId::parse(event)?, connection })
    }

    /// Whether it means that event of that package, `default` being the package of names without one.
    pub fn means(&self, default: &[u8], package: &[u8], event: &[u8]) -> bool {
        let named = self.package.unwrap_or(default);
        (named == b"*" || named.eq_ignore_ascii_case(package)) && self.event.means(event)
    }
}

impl<'a> EventId<'a> {
    /// Whether it means that event.
    pub fn means(&self, event: &[u8]) -> bool {
        match self {
            EventId::One(id) => id.eq_ignore_ascii_case(event),
            EventId::All => true,
            EventId::Range(list) => matches!(event, [one] if in_range(list, *one)),
        }
    }

    fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            [b'[', list @ .., b']'] => {
                let is_list = !list.is_empty()
                    && list.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*' | b'#'));
                is_list.then_some(EventId::Range(list))
            }
            [b'*' | b'#'] => Some(EventId::One(text)),
            id if id.eq_ignore_ascii_case(b"all") => Some(EventId::All),
            id => is_id(id).then_some(EventId::One(id)),
        }
    }
}

impl fmt::Display for EventName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(package) = self.package {
            write!(f, "{}/", String::from_utf8_lossy(package))?;
        }
        match self.event {
            EventId::One(id) => f.write_str(&String::from_utf8_lossy(id))?,
            EventId::All => f.write_str("all")?,
            EventId::Range(list) => write!(f, "[{}]", String::from_utf8_lossy(list))?,
        }
        match self.connection {
            None => Ok(()),
            Some(EventConnection::Id(id)) => write!(f, "@{}", String::from_utf8_lossy(id)),
            Some(EventConnection::Current) => f.write_str("@$"),
            Some(EventConnection::All) => f.write_str("@*"),
        }
    }
}

/// Whether a list of signs and of ranges of them (`0-9`, `A-D`) holds `sign`, in any case.
fn in_range(mut list: &[u8], sign: u8) -> bool {
    let sign = sign.to_ascii_uppercase();
    while let [first, rest @ ..] = list {
        let first = first.to_ascii_uppercase();
        let (last, rest) = match rest {
            [b'-', last, rest @ ..] => (last.to_ascii_uppercase(), rest),
            _ => (first, rest),
        };
        if (first..=last).contains(&sign) {
            return true;
        }
        list = rest;
    }
    false
}

/// A package name or an event: letters, digits and hyphens.
fn is_id(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_package_event_and_connection() {
        let name = |package, event, connection| Some(EventName { package, event, connection });
        let hd = EventId::One(b"hd");
        for (text, expected) in [
            ("L/hd", name(Some(&b"L"[..]), hd, None)),
            ("hd", name(None, hd, None)),
            ("G/rt@0A3F58", name(Some(b"G"), EventId::One(b"rt"), Some(EventConnection::Id(b"0A3F58")))),
            ("R/qa@$", name(Some(b"R"), EventId::One(b"qa"), Some(EventConnection::Current))),
            ("R/all@*", name(Some(b"R"), EventId::All, Some(EventConnection::All))),
            ("*/ALL", name(Some(b"*"), EventId::All, None)),
            ("D/#", name(Some(b"D"), EventId::One(b"#"), None)),
            ("D/[0-9#*T]", name(Some(b"D"), EventId::Range(b"0-9#*T"), None)),
            ("", None),
            ("L/", None),
            ("/hd", None),
            ("L/hd@", None),
            ("L/hd@xyz", None),
            ("D/[]", None),
            ("D/[0,9]", None),
            ("a b", None),
        ] {
            let parsed = EventName::parse(text.as_bytes());
            assert_eq!(parsed, expected, "{text}");
            if let Some(parsed) = parsed {
                assert!(parsed.to_string().eq_ignore_ascii_case(text), "{text}");
            }
        }
    }

    #[test]
    fn a_name_means_events_by_itself_by_all_or_by_a_range() {
        for (text, package, event, means) in [
            ("L/hd", "l", "HD", true),
            ("L/hd", "l", "hu", false),
            ("hd", "X", "hd", true),
            ("hd", "L", "hd", false),
            ("*/hd", "L", "hd", true),
            ("D/all", "D", "7", true),
            ("D/*", "D", "*", true),
            ("D/*", "D", "7", false),
            ("D/[0-9#*T]", "D", "7", true),
            ("D/[0-9#*t]", "D", "T", true),
            ("D/[0-9#*T]", "D", "A", false),
            ("D/[a-d]", "D", "C", true),
            ("D/[0-9]", "D", "oc", false),
            ("D/[5-]", "D", "5", true),
        ] {
            let name = EventName::parse(text.as_bytes()).unwrap();
            assert_eq!(name.means(b"X", package.as_bytes(), event.as_bytes()), means, "{text} {event}");
        }
    }
}
