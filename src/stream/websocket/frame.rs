//! Frames of a WebSocket (RFC 6455 §5.2), and the pipe in memory through which the library reads and writes them.

use std::io::{self, Cursor, Read, Write};

use tungstenite::error::Error;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

use crate::stream::fault::WebSocketFault;

/// A message, and a frame, is no larger.
pub(super) const LARGEST: usize = 65_535;
/// The most bytes of a control frame (RFC 6455 §5.5).
const LARGEST_CONTROL: usize = 125;

/// A frame by its header.
#[derive(Debug)]
pub(super) struct Frame {
    /// Bytes of header and content.
    pub(super) length: usize,
    pub(super) is_data: bool,
    pub(super) is_final: bool,
    /// Whether it has no content.
    pub(super) is_empty: bool,
}

impl Frame {
    /// Reads the header at the front of `bytes`; `None` while it is not whole. A frame that would be refused when it is
    /// whole is refused before it has come.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, WebSocketFault> {
        let mut cursor = Cursor::new(bytes);
        let Ok(read) = FrameHeader::parse(&mut cursor) else { return Err(WebSocketFault::Protocol) };
        let Some((header, content)) = read else { return Ok(None) };
        let is_data = matches!(header.opcode, OpCode::Data(_));
        let content = usize::try_from(content).unwrap_or(usize::MAX);
        if header.mask.is_none() {
            return Err(WebSocketFault::Unmasked);
        }
        if content > LARGEST {
            return Err(WebSocketFault::TooLarge);
        }
        if !is_data && (content > LARGEST_CONTROL || !header.is_final) {
            return Err(WebSocketFault::Protocol);
        }
        let length = cursor.position() as usize + content;
        Ok(Some(Frame { length, is_data, is_final: header.is_final, is_empty: content == 0 }))
    }

    /// Whether more pieces of its message follow.
    pub(super) fn is_unfinished(&self) -> bool {
        self.is_data && !self.is_final
    }
}

/// Adds a frame to `out`. A server's are not masked (RFC 6455 §5.1).
pub(super) fn write(opcode: OpCode, content: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // A buffer in memory takes all.
    let _ = header.format(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Bytes in memory that the library takes for a connection.
pub(super) struct Pipe<'a> {
    pub(super) incoming: &'a [u8],
    pub(super) out: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.incoming.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a read has ended because the pipe is empty.
pub(super) fn is_drained(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}
