//! Lists of members in one value, separated by commas or semicolons.

use super::line::trim;

/// Iterates over the members of a value, trimmed. A separator in parentheses or quotes separates nothing; one of these
/// that is never closed reaches to the end.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Members<'a> {
    /// The comma-separated members of `value`; none where it is empty.
    pub fn new(value: &'a [u8]) -> Self {
        Self::separated_by(b',', value)
    }

    /// The members of `value` between semicolons: several values of one option (RFC 3435 §3.2.2.10).
    pub fn of_option(value: &'a [u8]) -> Self {
        Self::separated_by(b';', value)
    }

    fn separated_by(separator: u8, value: &'a [u8]) -> Self {
        let value = trim(value);
        Members { rest: (!value.is_empty()).then_some(value), separator }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let at = outside(rest, |byte| byte == self.separator).unwrap_or(rest.len());
        let (member, behind) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        self.rest = behind.split_first().map(|(_separator, rest)| rest);
        Some(trim(member))
    }
}

/// The offset of the first `wanted` byte outside of parentheses and quotes.
pub(super) fn outside(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (mut depth, mut is_quoted) = (0_u32, false);
    bytes.iter().position(|&byte| {
        let is_found = depth == 0 && !is_quoted && wanted(byte);
        match byte {
            // An escaped quote is two quotes (Appendix A), which ends the text and starts it again.
            b'"' => is_quoted = !is_quoted,
            b'(' if !is_quoted => depth += 1,
            b')' if !is_quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        is_found
    })
}

/// Whether every parenthesis and quote is closed.
pub(super) fn is_closed(value: &[u8]) -> bool {
    let (mut depth, mut is_quoted) = (0_u32, false);
    for byte in value {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'(' if !is_quoted => depth += 1,
            b')' if !is_quoted => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && !is_quoted
}

/// The text before the first parentheses, inside them if there are any, and after them.
pub(super) type Group<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// Takes `text` apart at its first parentheses; `None` where they are not closed.
pub(super) fn group(text: &[u8]) -> Option<Group<'_>> {
    let Some(open) = outside(text, |byte| byte == b'(') else { return Some((trim(text), None, &[])) };
    let (front, rest) = text.split_at_checked(open)?;
    let inner = rest.get(1..)?;
    let close = outside(inner, |byte| byte == b')')?;
    let (inner, behind) = inner.split_at_checked(close)?;
    Some((trim(front), Some(trim(inner)), trim(behind.get(1..)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: &str) -> Vec<&str> {
        Members::new(value.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect()
    }

    #[test]
    fn parentheses_and_quotes_hold_commas_together() {
        assert_eq!(
            members("l/hd(A,E(S(l/dl),R(l/oc,l/hu))), \"a,\"\"b\" ,c"),
            ["l/hd(A,E(S(l/dl),R(l/oc,l/hu)))", "\"a,\"\"b\"", "c"]
        );
        assert_eq!(members("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(members("never(closed,b"), ["never(closed,b"]);
        assert!(members("").is_empty() && members(" \t").is_empty());
    }

    #[test]
    fn a_group_is_what_the_first_parentheses_hold() {
        assert_eq!(group(b"l/hd (A, E(R(x))) (y)"), Some((&b"l/hd"[..], Some(&b"A, E(R(x))"[..]), &b"(y)"[..])));
        assert_eq!(group(b"l/hd"), Some((&b"l/hd"[..], None, &b""[..])));
        assert_eq!(group(b"l/hd(A"), None);
    }

    #[test]
    fn a_list_with_unbalanced_brackets_is_not_closed() {
        for bad in ["(", ")", "\"", "(\")\"", "())("] {
            assert!(!is_closed(bad.as_bytes()), "{bad}");
        }
        assert!(is_closed(b"a(\"(\")b") && is_closed(b""));
    }
}
