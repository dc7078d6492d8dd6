//! Frames: the header, and the records one after the other.

use serde::Serialize;

use super::numbers::{put_u16, put_u32, u16_at, u32_at};

/// The major version both ends must share.
pub const VERSION: u8 = 1;

/// A frame is flushed before the next record would make it longer than this.
pub const FRAME_SOFT_LIMIT: usize = 64 * 1024;

/// No frame is larger; a reader's buffer has this size.
pub const FRAME_HARD_LIMIT: usize = 72 * 1024;

/// The bytes in front of a frame's records.
pub const FRAME_HEADER: usize = 8;

/// The bytes in front of each record's fixed part.
pub const RECORD_HEADER: usize = 8;

const MAGIC: u16 = 0x4d50;

/// The reason why bytes are not a frame. After any of these, close the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or than the length it states.
    #[error("a frame of {got} bytes where {stated} were stated")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes that should have come.
        stated: usize,
    },
    /// Not a frame of this protocol at all.
    #[error("not a handoff frame (it begins with {0:#06x})")]
    Magic(u16),
    /// Another major version.
    #[error("handoff version {0}; this program speaks version {VERSION}")]
    Version(u8),
    /// Larger than [`FRAME_HARD_LIMIT`].
    #[error("a frame of {0} bytes; the limit is {FRAME_HARD_LIMIT}")]
    Oversized(usize),
    /// A record whose lengths do not fit into its frame, or a fixed part that is too short.
    #[error("record of kind {kind}: lengths do not fit")]
    Record {
        /// The record's kind.
        kind: u8,
    },
    /// A JSON body that cannot be read.
    #[error("record of kind {kind}: {error}")]
    Json {
        /// The record's kind.
        kind: u8,
        /// The error of the JSON reader.
        error: String,
    },
    /// A value outside its range, such as an unknown address family.
    #[error("record of kind {kind}: impossible {field}")]
    Value {
        /// The record's kind.
        kind: u8,
        /// The field's name.
        field: &'static str,
    },
}

/// A frame whose header has been checked; yields its records.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` are. Bytes after the frame are an error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let length = Frame::length(bytes)?;
        if length != bytes.len() {
            return Err(FrameError::Short { got: bytes.len(), stated: length });
        }
        Ok(Frame { rest: &bytes[FRAME_HEADER..] })
    }

    /// The length that a frame's header states, for a stream link that has at least the header.
    pub fn length(bytes: &[u8]) -> Result<usize, FrameError> {
        if bytes.len() < FRAME_HEADER {
            return Err(FrameError::Short { got: bytes.len(), stated: FRAME_HEADER });
        }
        let magic = u16_at(bytes, 0);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        if bytes[2] != VERSION {
            return Err(FrameError::Version(bytes[2]));
        }
        let length = u32_at(bytes, 4) as usize;
        if length > FRAME_HARD_LIMIT {
            return Err(FrameError::Oversized(length));
        }
        if length < FRAME_HEADER {
            return Err(FrameError::Short { got: length, stated: FRAME_HEADER });
        }
        Ok(length)
    }
}

pub(super) fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let fixed = usize::from(u16_at(bytes, 2));
    let length = u32_at(bytes, 4) as usize;
    if length < RECORD_HEADER + fixed || length > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let (fixed, body) = record[RECORD_HEADER..].split_at(fixed);
    Some((fixed, body, rest))
}

/// The header of a frame whose records take `records_length` bytes.
pub fn frame_header(records_length: usize) -> [u8; FRAME_HEADER] {
    let mut bytes = [0; FRAME_HEADER];
    put_u16(&mut bytes, 0, MAGIC);
    bytes[2] = VERSION;
    put_u32(&mut bytes, 4, (FRAME_HEADER + records_length) as u32);
    bytes
}

/// Builds a frame of small records in one buffer that is used again and again.
///
/// A record that would make the frame longer than [`FRAME_HARD_LIMIT`] is a bug of the caller: check
/// [`FrameBuilder::fits`].
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        FrameBuilder { bytes: frame_header(0).to_vec() }
    }
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        FrameBuilder::default()
    }

    /// Removes the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER);
    }

    /// The bytes of the frame so far, its header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Removes the records that were added since [`FrameBuilder::len`] was `length`.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length.max(FRAME_HEADER));
    }

    /// The records so far.
    pub fn records(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER..]
    }

    /// Adds the records of another frame.
    pub fn push_records(&mut self, records: &[u8]) {
        self.bytes.extend_from_slice(records);
    }

    /// Whether no record has been added.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEADER
    }

    /// The frame, ready to be sent.
    pub fn bytes(&mut self) -> &[u8] {
        let header = frame_header(self.bytes.len() - FRAME_HEADER);
        self.bytes[..FRAME_HEADER].copy_from_slice(&header);
        &self.bytes
    }

    pub(super) fn push_record(&mut self, kind: u8, fixed: &[u8], body: &[u8]) {
        let mut header = [0; RECORD_HEADER];
        put_record_header(&mut header, kind, fixed.len(), RECORD_HEADER + fixed.len() + body.len());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(fixed);
        self.bytes.extend_from_slice(body);
    }

    /// Adds a record of entries that all have the same length.
    pub(super) fn push_entries<const N: usize>(
        &mut self,
        kind: u8,
        fixed: &[u8],
        entries: impl Iterator<Item = [u8; N]>,
    ) {
        let begin = self.bytes.len();
        self.push_record(kind, fixed, &[]);
        entries.for_each(|entry| self.bytes.extend_from_slice(&entry));
        let length = self.bytes.len() - begin;
        put_u32(&mut self.bytes[begin..], 4, length as u32);
    }

    pub(super) fn push_json(&mut self, kind: u8, value: &impl Serialize) {
        // This cannot fail: the types are plain structs with text keys, and a Vec takes every byte.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.push_record(kind, &[], &body);
    }
}

pub(super) fn put_record_header(bytes: &mut [u8], kind: u8, fixed: usize, length: usize) {
    bytes[0] = kind;
    put_u16(bytes, 2, fixed as u16);
    put_u32(bytes, 4, length as u32);
}

/// The fixed part of a record of entries that are `stride` bytes long.
pub(super) fn stride_fixed(stride: usize) -> [u8; 8] {
    let mut fixed = [0; 8];
    put_u16(&mut fixed, 0, stride as u16);
    fixed
}
