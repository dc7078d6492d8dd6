//! The session descriptions after the parameters.

use super::line::{is_blank, line_at};

/// Iterates over session descriptions. An empty line separates them (RFC 3435 §3.4); since each starts with `v=`, such
/// a line starts one too.
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a> {
    rest: &'a [u8],
}

impl<'a> Sessions<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Sessions { rest: body }
    }
}

impl<'a> Iterator for Sessions<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut at = 0;
        let mut start = None;
        while at < self.rest.len() {
            let (line, behind) = line_at(self.rest, at);
            match start {
                None if !is_blank(line) => start = Some(at),
                Some(_) if is_blank(line) || line.starts_with(b"v=") => break,
                _ => {}
            }
            at = behind;
        }
        let session = self.rest.get(start?..at)?;
        self.rest = self.rest.get(at..).unwrap_or_default();
        Some(session)
    }
}
