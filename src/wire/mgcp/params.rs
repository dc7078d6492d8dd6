//! Parameter lines: `name: value`, in any order (RFC 3435 §3.2.2).

use memchr::memchr;

use super::fault::Fault;
use super::field::Field;
use super::line::{is_blank, is_space, line_at, trim};

/// The most parameter lines that are read in one message. The RFC's longest answers, the audits, stay below it.
pub const MAX_PARAMS: usize = 96;

/// A parameter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written; never empty.
    pub name: &'a [u8],
    /// The value without white space around it. A line that starts with white space belongs to the line above it, as
    /// the RFC prints its long capabilities; such a value has line ends inside.
    pub value: &'a [u8],
}

impl Param<'_> {
    /// The parameter of RFC 3435 that it is; `None` for an extension.
    pub const fn field(&self) -> Option<Field> {
        Field::new(self.name)
    }
}

/// Iterates over the parameters of a message, in order.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        if self.at >= self.end {
            return None;
        }
        let (value, behind) = lines_at(self.bytes, self.at);
        let (name, value) = split(value)?;
        self.at = behind;
        Some(Param { name, value })
    }
}

/// The parameters of one message as the first reading found them.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    /// The offset of the first line.
    from: u16,
    /// The offset after the last line.
    end: u16,
    /// The line of the first extension; `end` when there is none.
    extensions: u16,
    /// The offset of the body, which follows the empty line.
    body: u16,
    /// Start and end of the value of each name's first parameter; the end is 0 when there is none.
    first: [(u16, u16); Field::ALL.len()],
}

impl<'a> Table<'a> {
    /// Reads the lines from `from` to the first empty one. The message must not be longer than `u16` holds.
    #[inline]
    pub(super) fn read(bytes: &'a [u8], from: usize) -> Result<Self, Fault> {
        let mut first = [(0, 0); Field::ALL.len()];
        let (mut at, mut body, mut count) = (from, bytes.len(), 0);
        let mut extensions = None;
        while at < bytes.len() {
            let (lines, behind) = lines_at(bytes, at);
            let Some((name, value)) = split(lines) else {
                // Descriptions follow an empty line; some senders forget it, and `v=` can be nothing else.
                body = match lines {
                    [b'v' | b'V', b'=', ..] => at,
                    _ if is_blank(lines) => behind,
                    _ => return Err(Fault::ParameterLine),
                };
                break;
            };
            count += 1;
            if count == 1 && lines.first().copied().is_some_and(is_space) {
                // This first line continues no other, but it would once a line is put in above it.
                return Err(Fault::ParameterLine);
            }
            if count > MAX_PARAMS {
                return Err(Fault::TooManyParameters);
            }
            match Field::new(name) {
                Some(field) => {
                    if let Some(place) = first.get_mut(field as usize)
                        && place.1 == 0
                    {
                        let start = value.as_ptr() as usize - bytes.as_ptr() as usize;
                        *place = (start as u16, (start + value.len()) as u16);
                    }
                }
                None => extensions = extensions.or(Some(at)),
            }
            at = behind;
        }
        let extensions = extensions.unwrap_or(at) as u16;
        Ok(Table { bytes, from: from as u16, end: at as u16, extensions, body: body as u16, first })
    }

    /// The value of the first parameter of that name.
    #[inline]
    pub(super) fn value(&self, field: Field) -> Option<&'a [u8]> {
        let &(start, end) = self.first.get(field as usize)?;
        if end == 0 {
            return None;
        }
        self.bytes.get(usize::from(start)..usize::from(end))
    }

    /// The value of the first extension called `name`, in any case.
    #[inline]
    pub(super) fn extension(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut from = Params { at: usize::from(self.extensions), ..self.all() };
        from.find(|param| param.name.eq_ignore_ascii_case(name)).map(|param| param.value)
    }

    pub(super) fn all(&self) -> Params<'a> {
        Params { bytes: self.bytes, at: usize::from(self.from), end: usize::from(self.end) }
    }

    /// The body, which follows the parameters and the empty line.
    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(usize::from(self.body)..).unwrap_or_default()
    }
}

/// The line at `at` with those that continue it, and where the next one starts.
#[inline]
pub(super) fn lines_at(bytes: &[u8], at: usize) -> (&[u8], usize) {
    let (line, mut behind) = line_at(bytes, at);
    if !bytes.get(behind).copied().is_some_and(is_space) || is_blank(line) {
        return (line, behind);
    }
    let mut end = at + line.len();
    while bytes.get(behind).copied().is_some_and(is_space) {
        let (more, next) = line_at(bytes, behind);
        if is_blank(more) {
            break;
        }
        (end, behind) = (behind + more.len(), next);
    }
    (bytes.get(at..end).unwrap_or_default(), behind)
}

/// Name and value of a parameter line.
#[inline]
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = trim(name);
    let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'=');
    // A line end in front of the colon would make a value's continuation a name.
    is_name.then_some((name, trim(value.get(1..)?)))
}
