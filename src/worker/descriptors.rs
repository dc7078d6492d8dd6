//! Division of a worker's descriptors, so that callers' connections do not take those that sound and links need.
//! Arithmetic only.

/// Connections at the same time, at most.
const MOST_STREAMS: usize = 4_096;

/// The most descriptors that each purpose may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Stream connections.
    pub(super) streams: usize,
    /// RTP and RTCP sockets.
    pub(super) media: usize,
}

impl Descriptors {
    /// The division of as many as the system allows: a quarter for connections, an eighth for the links, listeners and
    /// files, which come back after a dispatcher's death, and the rest for media.
    pub(super) const fn of(limit: u64) -> Self {
        let limit = if limit > 1 << 24 { 1 << 24 } else { limit as usize };
        let streams = if limit / 4 < MOST_STREAMS { limit / 4 } else { MOST_STREAMS };
        Descriptors { streams, media: limit - limit / 4 - limit / 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_sound_leave_descriptors_for_the_links_whatever_the_limit() {
        for limit in [64, 1_024, 4_096, 20_000, 1 << 18, u64::MAX] {
            let Descriptors { streams, media } = Descriptors::of(limit);
            assert!((streams + media) as u64 <= limit - limit / 8, "{limit}: {streams}, {media}");
            assert!(streams > 0 && media >= streams, "{limit}: {streams}, {media}");
        }
        assert_eq!(Descriptors::of(1_024), Descriptors { streams: 256, media: 640 });
        assert_eq!(Descriptors::of(u64::MAX).streams, 4_096);
    }
}
