//! Tags in an XML text, for the few attributes a size is read from. Not a parser: entities, declarations and whether
//! tags match are not looked at; comments, CDATA and processing instructions are skipped.

use memchr::{memchr, memchr3, memmem};

/// A tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag<'a> {
    /// `<name attributes>`; `is_empty` for `<name/>`.
    Open { name: &'a [u8], attributes: Attributes<'a>, is_empty: bool },
    /// `</name>`
    Close { name: &'a [u8] },
}

/// Iterates over the tags of a text. Names come without their namespace prefix.
pub(crate) struct Tags<'a>(&'a [u8]);

impl<'a> Tags<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Tags(text)
    }

    /// Goes on after the next `end`; to the end of the text if there is none.
    fn skip(&mut self, end: &[u8]) {
        self.0 = memmem::find(self.0, end).and_then(|at| self.0.get(at + end.len()..)).unwrap_or_default();
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            self.0 = self.0.get(memchr(b'<', self.0)? + 1..)?;
            if self.0.starts_with(b"!--") {
                self.skip(b"-->");
            } else if self.0.starts_with(b"![CDATA[") {
                self.skip(b"]]>");
            } else if self.0.starts_with(b"?") {
                self.skip(b"?>");
            } else if !self.0.starts_with(b"!") {
                break;
            }
        }
        let end = end_of_tag(self.0)?;
        let (tag, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        if let Some(name) = tag.strip_prefix(b"/") {
            return Some(Tag::Close { name: local(name.trim_ascii()) });
        }
        let (tag, is_empty) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let name_end = tag.iter().position(u8::is_ascii_whitespace).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at_checked(name_end)?;
        Some(Tag::Open { name: local(name), attributes: Attributes(attributes), is_empty })
    }
}

/// The place of the `>` that ends the tag: one in quotes does not.
fn end_of_tag(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr3(b'>', b'"', b'\'', bytes.get(at..)?)?;
        match *bytes.get(at)? {
            b'>' => return Some(at),
            quote => at += 2 + memchr(quote, bytes.get(at + 1..)?)?,
        }
    }
}

/// The attributes of one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the attribute `name`, in any case and with any prefix.
    pub(crate) fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.0;
        loop {
            let (found, behind) = rest.split_at_checked(memchr(b'=', rest)?)?;
            let behind = behind.get(1..)?.trim_ascii_start();
            let (&quote, behind) = behind.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
            let (value, behind) = behind.split_at_checked(memchr(quote, behind)?)?;
            if local(found.trim_ascii()).eq_ignore_ascii_case(name) {
                return Some(value);
            }
            rest = behind.get(1..)?;
        }
    }

    /// The whole number in the attribute `name`; one beyond `i64` is the nearest.
    pub(crate) fn number(self, name: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(self.get(name)?.trim_ascii()).ok()?;
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
    }
}

fn local(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_between_comments_cdata_and_instructions() {
        let text =
            b"<?xml version='1.0'?><!DOCTYPE x><!-- <a n='1'> --><m:b x = '>' n=\"2\"/><![CDATA[<c>]]></m:b >text<d\n>";
        let names: Vec<_> = Tags::new(text)
            .map(|tag| match tag {
                Tag::Open { name, .. } => (true, name),
                Tag::Close { name } => (false, name),
            })
            .collect();
        assert_eq!(names, [(true, &b"b"[..]), (false, b"b"), (true, b"d")]);
        let Some(Tag::Open { attributes, is_empty, .. }) = Tags::new(text).next() else { panic!("no tag") };
        assert_eq!((attributes.get(b"x"), attributes.number(b"N"), is_empty), (Some(&b">"[..]), Some(2), true));
    }

    #[test]
    fn an_element_that_never_ends_yields_nothing() {
        for text in ["<a", "<a b='>", "<!-- <a>", "<![CDATA[<a>", "<?<a>", "<"] {
            assert_eq!(Tags::new(text.as_bytes()).next(), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_saturate() {
        let number = |text: &str| Attributes(text.as_bytes()).number(b"n");
        assert_eq!(number(" n='-1'"), Some(-1));
        assert_eq!(number(" n=' 12 '"), Some(12));
        assert_eq!(number(" n='99999999999999999999'"), Some(i64::MAX));
        for bad in [" n=''", " n='1.5'", " n='x'", " n=1", " m='1'", " n='--1'"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
