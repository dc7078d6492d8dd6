//! The numbers of the handed-over copies of one request, which get their answer together.

use crate::ids::Seq;

/// The numbers of the handed-over copies of one request. There is nearly always one.
#[derive(Clone, Debug, Default)]
pub(super) struct Seqs {
    first: Option<Seq>,
    others: Vec<Seq>,
}

impl Seqs {
    /// Copies that are kept: more than seven retransmissions (64·T1) on two ways. Further copies are reported as dealt
    /// with at once.
    const LIMIT: usize = 16;

    pub(super) const fn new(seq: Option<Seq>) -> Self {
        Seqs { first: seq, others: Vec::new() }
    }

    /// Adds a copy; returns it when there are too many.
    pub(super) fn add(&mut self, seq: Seq) -> Option<Seq> {
        if self.first.is_none() {
            self.first = Some(seq);
            return None;
        }
        if self.others.len() == Seqs::LIMIT {
            return Some(seq);
        }
        self.others.push(seq);
        None
    }

    /// The number of the copy that came first.
    pub(super) const fn first(&self) -> Option<Seq> {
        self.first
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Seq> + use<> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }
}
