//! The kinds of endpoints that a worker makes: the first term of their names.

/// The purpose of an endpoint (RFC 3435 §2.1.1). All are virtual: they exist while they have a connection or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Announcements: sound goes out.
    Announcement,
    /// A conference: its connections hear each other.
    Conference,
    /// Interactive voice response: sound goes out, digits come in.
    Ivr,
    /// A packet relay: it has two connections, and each sends the packets that the other one receives.
    Bridge,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Announcement, Kind::Conference, Kind::Ivr, Kind::Bridge];

    /// The first term of the names of its endpoints.
    pub const fn term(self) -> &'static str {
        match self {
            Kind::Announcement => "ann",
            Kind::Conference => "cnf",
            Kind::Ivr => "ivr",
            Kind::Bridge => "bridge",
        }
    }

    /// The kind whose endpoints' names begin with this term, in any case.
    pub fn of_term(term: &[u8]) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.term().as_bytes().eq_ignore_ascii_case(term))
    }
}
