//! Endpoint names (RFC 3435 §2.1.2): `term/term@domain`, terms with wildcards.

use super::line::number;

/// The name of an endpoint, or of several by a wildcard.
#[derive(Clone, Copy, Debug)]
pub struct EndpointName<'a> {
    text: &'a [u8],
    /// The offset of the `@`.
    at: usize,
}

/// The wildcard of a name: none, any of, or all of the endpoints that the name covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wildcard {
    /// It names one endpoint (or a range of them, see [`EndpointName::covers`]).
    None,
    /// `$`: any one of them, for the gateway to choose.
    AnyOf,
    /// `*`: all of them.
    AllOf,
}

impl<'a> EndpointName<'a> {
    /// The longest local name and the longest domain name, in characters (§2.1.2 and Appendix A).
    pub const MAX: usize = 255;

    /// Reads a name; `None` where a side of the `@` is empty or longer than [`MAX`](Self::MAX), or where something
    /// stands in it that is neither a letter, a digit nor a sign.
    #[inline]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let at = memchr::memrchr(b'@', text)?;
        let domain = text.len() - at - 1;
        let is_name = at > 0 && domain > 0 && at <= Self::MAX && domain <= Self::MAX;
        (is_name && text.iter().all(u8::is_ascii_graphic)).then_some(EndpointName { text, at })
    }

    /// The name as written.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// The local name, before the `@`.
    pub fn local(&self) -> &'a [u8] {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The domain after the `@`, without a port: a domain name, or an address in brackets.
    pub fn domain(&self) -> &'a [u8] {
        self.split_domain().0
    }

    /// The port after the domain. RFC 3435 has none there; call agents of the `port` kind write one.
    pub fn domain_port(&self) -> Option<u16> {
        self.split_domain().1
    }

    /// The domain after the `@`, as written, with its port.
    pub fn domain_as_written(&self) -> &'a [u8] {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// The terms of the local name.
    pub fn terms(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone + use<'a> {
        self.local().split(|&byte| byte == b'/')
    }

    /// The wildcard in it. `$` decides where both stand there.
    pub fn wildcard(&self) -> Wildcard {
        if memchr::memchr2(b'$', b'*', self.local()).is_none() {
            return Wildcard::None;
        }
        let mut found = Wildcard::None;
        for term in self.terms() {
            match term {
                b"$" => return Wildcard::AnyOf,
                b"*" => found = Wildcard::AllOf,
                _ => {}
            }
        }
        found
    }

    /// Whether it stands for several endpoints: by a wildcard, or by a range (Appendix E.5).
    pub fn is_several(&self) -> bool {
        self.wildcard() != Wildcard::None || self.terms().any(|term| term.starts_with(b"[") && term.ends_with(b"]"))
    }

    /// Whether the local name covers that of `other`: term by term the same (any case), a wildcard or a range that the
    /// other's term lies in (`[1-96]`, `[1,3,20-23]`; Appendix E.5). A wildcard at the end covers all terms from there
    /// on (§2.1.2).
    pub fn covers(&self, other: &EndpointName<'_>) -> bool {
        let mut terms = self.terms().peekable();
        let mut others = other.terms();
        while let Some(term) = terms.next() {
            let Some(named) = others.next() else { return false };
            match term {
                b"$" | b"*" if terms.peek().is_none() => return true,
                b"$" | b"*" => {}
                _ if term.eq_ignore_ascii_case(named) || range_covers(term, named) => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    fn split_domain(&self) -> (&'a [u8], Option<u16>) {
        let written = self.domain_as_written();
        let Some(colon) = memchr::memrchr(b':', written) else { return (written, None) };
        let (domain, port) = written.split_at_checked(colon).unwrap_or((written, &[]));
        // The colons of an address stand in its brackets.
        let is_behind = !domain.is_empty() && (domain.first() != Some(&b'[') || domain.last() == Some(&b']'));
        let port = port.get(1..).and_then(number).and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        match port {
            Some(port) if is_behind => (domain, Some(port)),
            _ => (written, None),
        }
    }
}

fn range_covers(term: &[u8], named: &[u8]) -> bool {
    let Some(ranges) = term.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) else { return false };
    let Some(named) = number(named) else { return false };
    ranges.split(|&byte| byte == b',').any(|range| {
        let mut ends = range.splitn(2, |&byte| byte == b'-').map(number);
        match (ends.next().flatten(), ends.next()) {
            (Some(first), None) => first == named,
            (Some(first), Some(Some(last))) => (first..=last).contains(&named),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EndpointName<'_> {
        EndpointName::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_has_terms_a_domain_and_perhaps_a_port() {
        let table: [(&str, &str, &str, Option<u16>); 6] = [
            ("aaln/1@rgw-2567.whatever.net", "aaln/1", "rgw-2567.whatever.net", None),
            ("ann/$@[128.96.41.12]", "ann/$", "[128.96.41.12]", None),
            ("ann/$@[2001:db8::1]", "ann/$", "[2001:db8::1]", None),
            ("ann/$@[2001:db8::1]:2431", "ann/$", "[2001:db8::1]", Some(2431)),
            ("ann/1@ms.example.net:2431", "ann/1", "ms.example.net", Some(2431)),
            ("ann/1@ms.example.net:0", "ann/1", "ms.example.net:0", None),
        ];
        for (text, local, domain, port) in table {
            let name = name(text);
            assert_eq!((name.local(), name.domain(), name.domain_port()), (local.as_bytes(), domain.as_bytes(), port));
        }
        assert_eq!(name("ds/ds3-1/7@gw").terms().collect::<Vec<_>>(), [&b"ds"[..], b"ds3-1", b"7"]);
    }

    #[test]
    fn a_name_that_lacks_a_side_or_is_too_long_is_none() {
        let long = [&[b'a'; 256][..], b"@gw"].concat();
        for bad in [&b"ann/1"[..], b"@gw", b"ann/1@", b"an n@gw", b"ann\x01@gw", &long] {
            assert!(EndpointName::parse(bad).is_none(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn any_of_decides_where_both_wildcards_stand() {
        for (text, wildcard) in [
            ("ann/1@gw", Wildcard::None),
            ("ann/a$b*@gw", Wildcard::None),
            ("ann/$@gw", Wildcard::AnyOf),
            ("*@gw", Wildcard::AllOf),
            ("ann/*/$@gw", Wildcard::AnyOf),
        ] {
            assert_eq!(name(text).wildcard(), wildcard, "{text}");
            assert_eq!(name(text).is_several(), wildcard != Wildcard::None, "{text}");
        }
    }

    #[test]
    fn a_range_is_several_endpoints_too() {
        assert!(name("ds/ds1-2/[1-24]@gw").is_several());
        assert!(!name("ds/1[2]@gw").is_several());
    }

    #[test]
    fn a_wildcard_at_the_end_covers_all_that_follows_and_ranges_cover_numbers() {
        for (pattern, other, covers) in [
            ("*@gw", "ann/tok/7@gw", true),
            ("ANN/*@gw", "ann/tok/7@gw", true),
            ("ann/*/7@gw", "ann/tok/7@gw", true),
            ("ann/*/8@gw", "ann/tok/7@gw", false),
            ("ann@gw", "ann/7@gw", false),
            ("ann/7/*@gw", "ann/7@gw", false),
            ("ds/ds1-2/[1-24]@gw", "ds/ds1-2/24@gw", true),
            ("ds/ds1-2/[1-24]@gw", "ds/ds1-2/25@gw", false),
            ("ds/ds1-2/[1,3,20-23]@gw", "ds/ds1-2/3@gw", true),
            ("ds/ds1-2/[1,3,20-23]@gw", "ds/ds1-2/2@gw", false),
            ("ds/ds1-2/[x-]@gw", "ds/ds1-2/2@gw", false),
        ] {
            assert_eq!(name(pattern).covers(&name(other)), covers, "{pattern} {other}");
        }
    }
}
