//! A server's own report of its load.

/// Load of a downstream proxy as it reports it itself. What it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Sessions in use.
    pub used: Option<u32>,
    /// Most sessions.
    pub total: Option<u32>,
    /// Its word about new sessions.
    pub word: Option<LoadWord>,
    /// Share of its handicap that it wants, in percent.
    pub percent: Option<u16>,
    /// Each of its processes: sessions in use, and most sessions if it says so.
    pub processes: Vec<(u32, Option<u32>)>,
}

/// A server's word about new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadWord {
    /// It takes them.
    Ready,
    /// It has no room at the moment.
    Full,
    /// It takes none.
    Drain,
}

impl LoadReport {
    /// Most processes that a report names.
    pub const PROCESSES: usize = 64;

    /// Whether it says nothing.
    pub const fn is_empty(&self) -> bool {
        self.used.is_none()
            && self.total.is_none()
            && self.word.is_none()
            && self.percent.is_none()
            && self.processes.is_empty()
    }

    /// The report with what follows from the processes where it says nothing of the whole.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.processes.is_empty() {
            return self;
        }
        let used = || self.processes.iter().fold(0, |sum: u32, (used, _)| sum.saturating_add(*used));
        self.used = self.used.or_else(|| Some(used()));
        let totals = self.processes.iter().try_fold(0, |sum: u32, (_, total)| Some(sum.saturating_add((*total)?)));
        self.total = self.total.or(totals);
        self
    }
}
