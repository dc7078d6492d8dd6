//! Ranges of transaction identifiers: `K: 6234-6255, 6257` (RFC 3435 §3.2.2.16).

use std::ops::RangeInclusive;

use super::line::trim;
use super::transaction::TransactionId;

/// The transactions whose final responses the sender has. Empty in a response that asks for an acknowledgement
/// (§3.5.6); members that cannot be read are passed over.
#[derive(Clone, Copy, Debug)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    /// The ranges in `value`.
    pub const fn new(value: &'a [u8]) -> Self {
        Ranges(value)
    }

    /// The ranges, in order of writing.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u32>> + use<'a> {
        self.0.split(|&byte| byte == b',').filter_map(|member| {
            let mut ends = member.splitn(2, |&byte| byte == b'-').map(|end| TransactionId::parse(trim(end)));
            let first = ends.next()??;
            let last = ends.next().unwrap_or(Some(first))?;
            (first <= last).then_some(first.0..=last.0)
        })
    }

    /// Whether one of them holds `id`.
    pub fn contains(&self, id: u32) -> bool {
        self.iter().any(|range| range.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_ids_are_read_and_others_passed_over() {
        let ranges = Ranges::new(b"6234-6255, 6257,19030 - 19044, x, 9-8, -3, 1000000000");
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [6234..=6255, 6257..=6257, 19030..=19044]);
        assert!(ranges.contains(6255) && !ranges.contains(6256) && ranges.contains(19044));
        assert_eq!(Ranges::new(b"").iter().count(), 0);
    }
}
