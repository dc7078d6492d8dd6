//! Parameters: `;name=value`, of header fields and of URIs.

use super::text::{cut, find, is_lws, quoted_len, trim};

/// The parameters after a value or an address, read when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// `bytes` is empty or starts with a semicolon.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Params(bytes)
    }

    /// The bytes they stand in, with the semicolon in front.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The value of the parameter `name` (any case): empty when it has none, with its quotes when it has some.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.unwrap_or_default())
    }

    /// The value of the parameter `name`, and whether all are well-formed: no two semicolons meet, no quote never ends.
    #[inline]
    pub(crate) fn get_checked(self, name: &[u8]) -> (Option<&'a [u8]>, bool) {
        let (mut wanted, mut well_formed) = (None, true);
        for (found, value) in self {
            well_formed &= is_well_formed(found, value);
            if wanted.is_none() && found.eq_ignore_ascii_case(name) {
                wanted = Some(value.unwrap_or_default());
            }
        }
        (wanted, well_formed)
    }

    /// Whether there is a parameter `name`, with a value or without.
    pub fn has(self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }
}

/// Whether this is a value as most are: nothing in it ends the parameter, and no white space is to be cut off.
#[inline]
pub(super) fn is_plain(value: &[u8]) -> bool {
    let is_tight = |at: Option<&u8>| at.is_some_and(|byte| !is_lws(*byte));
    is_tight(value.first()) && is_tight(value.last()) && find(value, [b';', b'"']).is_none()
}

/// Whether a parameter has a name, and a quote in its value ends.
#[inline]
pub(super) fn is_well_formed(name: &[u8], value: Option<&[u8]>) -> bool {
    let never_ends = |value: &[u8]| value.first() == Some(&b'"') && (value.len() == 1 || value.last() != Some(&b'"'));
    !name.is_empty() && !value.is_some_and(never_ends)
}

impl<'a> IntoIterator for Params<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        Pairs(self.0)
    }
}

/// Iterates over names and values, trimmed; the name is empty where two semicolons meet.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (_semicolon, rest) = self.0.split_first()?;
        let at = find(rest, [b';', b'=', b'"']);
        let (name, behind) = cut(rest, at);
        match behind {
            [b'=', value @ ..] => {
                let (value, behind) = cut(value, end_of_param(value));
                self.0 = behind;
                Some((trim(name), Some(trim(value))))
            }
            // No name has quotes: what stands in them separates nothing.
            [b'"', ..] => {
                let (param, behind) = cut(rest, end_of_param(rest));
                self.0 = behind;
                let (name, value) = cut(param, find(param, [b'=']));
                Some((trim(name), value.split_first().map(|(_equals, value)| trim(value))))
            }
            _ => {
                self.0 = behind;
                Some((trim(name), None))
            }
        }
    }
}

#[inline]
fn end_of_param(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += find(bytes.get(at..)?, [b';', b'"'])?;
        if bytes.get(at) == Some(&b';') {
            return Some(at);
        }
        at += quoted_len(bytes.get(at..)?)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_names_in_any_case_and_values_or_none() {
        let params = Params::new(b"; Tag = 12 ;lr;q=\"a;\\\"b\" ;;x=");
        assert_eq!(params.get(b"tag"), Some(&b"12"[..]));
        assert_eq!(params.get(b"LR"), Some(&b""[..]));
        assert_eq!(params.get(b"q"), Some(&br#""a;\"b""#[..]));
        assert_eq!(params.get(b"b"), None);
        assert!(params.has(b"x") && !params.has(b"y"));
        assert_eq!(params.into_iter().filter(|(name, _)| name.is_empty()).count(), 1);
    }

    #[test]
    fn a_quote_that_never_ends_reaches_to_the_end() {
        let params = Params::new(b";a=\"x;b=1");
        assert_eq!(params.get(b"a"), Some(&b"\"x;b=1"[..]));
        assert_eq!(params.get(b"b"), None);
    }
}
