//! From, To, Contact, Route: an address with a name and parameters (RFC 3261 §20.10).

use super::params::{Params, is_plain};
use super::text::{cut, find, quoted_len, trim};
use super::uri::Uri;

/// `"Display" <uri>;params` or `uri;params`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, with its quotes.
    pub display: Option<&'a [u8]>,
    /// The URI as written.
    pub uri: &'a [u8],
    params: Params<'a>,
    tag: Option<&'a [u8]>,
    has_good_params: bool,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. `None` when a quote or an angle bracket is not closed or something that is no parameter follows
    /// it; the URI itself is not judged. A display name without quotes may hold anything (RFC 4475 §3.1.2.15), and
    /// white space inside the brackets is ignored (§3.1.2.14).
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        // Most have no display name.
        if let [b'<', rest @ ..] = value {
            let (uri, rest) = cut(rest, Some(find(rest, [b'>'])?));
            let params = trim(rest.get(1..)?);
            return matches!(params, [] | [b';', ..]).then(|| NameAddr::new(None, trim(uri), params));
        }
        let quoted = if value.first() == Some(&b'"') { quoted_len(value)? } else { 0 };
        let (quoted, rest) = cut(value, Some(quoted));
        match find(rest, [b'<', b'"', b';']).map(|at| cut(rest, Some(at))) {
            Some((before, after @ [b'<', ..])) => {
                let (uri, rest) = cut(after, Some(find(after, [b'>'])?));
                let display = if quoted.is_empty() { trim(before) } else { quoted };
                let params = trim(rest.get(1..)?);
                let display = (!display.is_empty()).then_some(display);
                matches!(params, [] | [b';', ..])
                    .then(|| NameAddr::new(display, trim(uri.get(1..).unwrap_or_default()), params))
            }
            Some((_, [b'"', ..])) => None,
            _ if !quoted.is_empty() => None,
            bare => {
                let (uri, params) = bare.unwrap_or((rest, &[]));
                Some(NameAddr::new(None, trim(uri), params))
            }
        }
    }

    fn new(display: Option<&'a [u8]>, uri: &'a [u8], params: &'a [u8]) -> Self {
        // Most have a tag and nothing else.
        let plain_tag = params.strip_prefix(b";tag=").filter(|tag| is_plain(tag));
        let params = Params::new(params);
        let (tag, has_good_params) = match plain_tag {
            Some(_) => (plain_tag, true),
            None => params.get_checked(b"tag"),
        };
        NameAddr { display, uri, params, tag: tag.filter(|tag| !tag.is_empty()), has_good_params }
    }

    /// The URI, read.
    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }

    /// The parameters after the address (not those of the URI).
    pub const fn params(&self) -> Params<'a> {
        self.params
    }

    /// The `tag` parameter.
    pub const fn tag(&self) -> Option<&'a [u8]> {
        self.tag
    }

    /// Whether there is an address and its parameters are well-formed.
    pub(crate) const fn is_well_formed(&self) -> bool {
        !self.uri.is_empty() && self.has_good_params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(Option<&str>, &str, Option<&str>)> {
        let text_of = |bytes| std::str::from_utf8(bytes).unwrap();
        let read = NameAddr::parse(text.as_bytes())?;
        Some((read.display.map(text_of), text_of(read.uri), read.tag().map(text_of)))
    }

    #[test]
    fn a_plain_address_is_read_as_in_any_other_form() {
        for uri in ["sip:a@h", "", " sip:a@h ", "sip:a@h>", "sip:\"<@h", "sip:a;b@h"] {
            for params in [
                "",
                ";tag=7",
                ";tag=",
                ";tag=a b",
                ";tag=a ",
                ";tag= a",
                ";tag=\"x\"",
                ";tag=\"",
                ";tag=7;x",
                ";tag",
                "x",
            ] {
                let plain = format!("<{uri}>{params}");
                let read = |text: &str| {
                    let read = NameAddr::parse(text.as_bytes())?;
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    Some((text(read.uri), read.tag().map(text), read.is_well_formed()))
                };
                // A display name is no plain form, nor is white space before the name of a parameter.
                assert_eq!(read(&plain), read(&format!("N {plain}")), "{plain}");
                assert_eq!(read(&plain), read(&plain.replace(";tag", ";\ttag")), "{plain}");
            }
        }
    }

    #[test]
    fn names_addresses_and_tags_are_told_apart() {
        assert_eq!(parse("<sip:a@h;x=1>;tag=7"), Some((None, "sip:a@h;x=1", Some("7"))));
        assert_eq!(parse("sip:a@h;tag=7"), Some((None, "sip:a@h", Some("7"))));
        assert_eq!(parse("caller<sip:a@h>;tag=323"), Some((Some("caller"), "sip:a@h", Some("323"))));
        assert_eq!(parse(r#""J <R> \\\"" <sip:a@h>; tag = 9"#), Some((Some(r#""J <R> \\\"""#), "sip:a@h", Some("9"))));
        assert_eq!(parse("Bell, Alexander <sip:a@h>"), Some((Some("Bell, Alexander"), "sip:a@h", None)));
        assert_eq!(parse("\"W\" < sip:t@h >"), Some((Some("\"W\""), "sip:t@h", None)));
        assert_eq!(parse(r#"sip:a@h;x="<";tag=1"#), Some((None, "sip:a@h", Some("1"))));
    }

    #[test]
    fn an_empty_tag_is_no_tag() {
        assert_eq!(parse("<sip:a@h>;tag="), Some((None, "sip:a@h", None)));
    }

    #[test]
    fn a_name_or_address_that_is_never_closed_is_not_read() {
        for bad in [r#""Mr. J. User <sip:j@h>"#, "<sip:a@h", "<sip:a@h> x", r#"J"x" <sip:a@h>"#, r#""only a name""#] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
