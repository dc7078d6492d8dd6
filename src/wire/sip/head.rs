//! The head of a scanned message: the offsets of its parts. [`Scanner`](super::Scanner) fills it, and
//! [`Message`](super::Message) reads the bytes through it.
//!
//! Invariant: every offset lies inside the message, in order.

use super::name::Name;

/// The offsets of a message's parts, counted from the start line.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) fields: Vec<Field>,
    /// The first field of each known name, [`NONE`] where there is none.
    pub(super) first: [u8; Name::KNOWN.len() + 1],
    /// The known names that occur more than once, one bit each.
    pub(super) repeated: u64,
    /// Whether there is a field whose name is not known.
    pub(super) has_others: bool,
    pub(super) start: StartLine,
    /// CSeq, where it can be read: its number, and the place of its method.
    pub(super) cseq: Option<(u32, u32, u32)>,
    /// The end of the start line, its line end included.
    pub(super) fields_start: u32,
    pub(super) body_start: u32,
    pub(super) end: u32,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            fields: Vec::new(),
            first: [NONE; Name::KNOWN.len() + 1],
            repeated: 0,
            has_others: false,
            start: StartLine::None,
            cseq: None,
            fields_start: 0,
            body_start: 0,
            end: 0,
        }
    }
}

/// No field.
pub(super) const NONE: u8 = u8::MAX;
const _: () = assert!(Name::KNOWN.len() <= 64);

/// One header field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: Name,
    /// The offset of its line, and the length of its name.
    pub(super) line: u32,
    pub(super) name_len: u32,
    /// The value without white space around it.
    pub(super) value: u32,
    pub(super) value_end: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    None,
    /// Ends of the method, and the request-URI's place; an empty one when the line is at fault.
    Request {
        method_end: u32,
        uri: u32,
        uri_end: u32,
    },
    Response {
        status: u16,
        reason: u32,
        reason_end: u32,
    },
}

impl Head {
    /// The first field of that name.
    #[inline]
    pub(super) fn field(&self, name: Name) -> Option<&Field> {
        self.place(name).and_then(|place| self.fields.get(place))
    }

    /// A range of fields that contains all fields of that name.
    #[inline]
    pub(super) fn fields_from(&self, name: Name) -> &[Field] {
        match self.place(name) {
            Some(first) if self.repeated >> name as u8 & 1 == 0 => self.fields.get(first..=first),
            Some(first) => self.fields.get(first..),
            None => None,
        }
        .unwrap_or_default()
    }

    /// The index in `fields` of the first field of that name.
    #[inline]
    pub(super) fn place(&self, name: Name) -> Option<usize> {
        self.first.get(name as usize).filter(|first| **first != NONE).map(|first| usize::from(*first))
    }
}

impl Field {
    #[inline]
    pub(super) fn value<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.value as usize..self.value_end as usize).unwrap_or_default()
    }

    #[inline]
    pub(super) fn name_text<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.line as usize..(self.line + self.name_len) as usize).unwrap_or_default()
    }
}
