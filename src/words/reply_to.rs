//! The way back of an answer.

use crate::ids::{ConnId, GatheringId};
use crate::pack::packed;
use crate::words::Permit;

/// The place to which the answer to a message goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReplyTo {
    /// The message's source, in a datagram.
    #[default]
    Datagram,
    /// As `Datagram`, for a worker on another host: where the answer has to leave from the well-known socket, the
    /// dispatcher sends it by this permit.
    Permitted(Permit),
    /// The stream connection of the dispatcher that the message came on: the worker gives the answer to the dispatcher.
    Stream(ConnId),
    /// The gathering of the answers of all workers (MGCP): the worker gives the answer to the dispatcher.
    Gathering(GatheringId),
}

packed!(ReplyTo as Datagram = 0, Stream(connection) = 1, Gathering(gathering) = 2, Permitted(permit) = 3);

/// The bit that tells the number of a stream connection from that of a gathering. Higher bits are free for a worker,
/// which has links to several lanes.
const STREAM: u64 = 1 << 47;
/// The bit that tells a permit from the number of a gathering.
const PERMIT: u64 = 1 << 46;

impl ReplyTo {
    /// Its number on the link; 0 for a datagram.
    pub const fn number(self) -> u64 {
        match self {
            ReplyTo::Datagram => 0,
            ReplyTo::Permitted(Permit(number)) => number | PERMIT,
            ReplyTo::Stream(ConnId(number)) => number | STREAM,
            ReplyTo::Gathering(GatheringId(number)) => number,
        }
    }

    /// The place with this number on the link.
    pub const fn of(number: u64) -> Self {
        match number {
            0 => ReplyTo::Datagram,
            number if number & STREAM != 0 => ReplyTo::Stream(ConnId(number & !STREAM)),
            number if number & PERMIT != 0 => ReplyTo::Permitted(Permit(number & !PERMIT)),
            number => ReplyTo::Gathering(GatheringId(number)),
        }
    }

    /// Whether both are one connection, whichever of its links to the dispatcher a worker knows it from.
    pub const fn is_same_connection(self, other: Self) -> bool {
        let mask = STREAM | (STREAM - 1);
        self.number() & STREAM != 0 && self.number() & mask == other.number() & mask
    }

    /// Whether the worker gives the answer to the dispatcher instead of sending it.
    pub const fn is_through_dispatcher(self) -> bool {
        !matches!(self, ReplyTo::Datagram | ReplyTo::Permitted(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_a_gathering_and_a_permit_of_the_same_number_are_told_apart() {
        for to in [
            ReplyTo::Datagram,
            ReplyTo::Permitted(Permit(7)),
            ReplyTo::Stream(ConnId(7)),
            ReplyTo::Gathering(GatheringId(7)),
        ] {
            assert_eq!(ReplyTo::of(to.number()), to);
        }
        let (stream, gathering) = (ReplyTo::Stream(ConnId(7)), ReplyTo::Gathering(GatheringId(7)));
        assert!(stream.is_same_connection(ReplyTo::Stream(ConnId(3 << 48 | 7))), "known from two links");
        assert!(!stream.is_same_connection(ReplyTo::Stream(ConnId(8))));
        assert!(!stream.is_same_connection(gathering) && !gathering.is_same_connection(gathering));
    }
}
