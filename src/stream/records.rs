//! The ends of TLS records in a sequence of bytes (RFC 8446 §5.1): how long one has been under way.

use crate::time::Time;

/// Type, version and length.
const HEADER: u8 = 5;

/// The place in a sequence of records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the header that have come.
    header: u8,
    /// The length, as far as the header has come, and from then on the bytes that are missing.
    missing: u16,
    begun: Option<Time>,
}

impl Records {
    pub(super) fn on_bytes(&mut self, bytes: &[u8], now: Time) {
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            if self.header < HEADER {
                self.begun.get_or_insert(now);
                self.header += 1;
                // The last two say the length.
                self.missing = self.missing << 8 | u16::from(first);
                rest = after;
            } else {
                let taken = rest.len().min(usize::from(self.missing));
                self.missing -= taken as u16;
                rest = rest.get(taken..).unwrap_or_default();
            }
            if self.header == HEADER && self.missing == 0 {
                *self = Records::default();
            }
        }
    }

    /// The time at which the record began that is not whole yet.
    pub(super) fn begun(&self) -> Option<Time> {
        self.begun
    }

    /// Its time counts from now on.
    pub(super) fn begin_again(&mut self, now: Time) {
        self.begun = self.begun.map(|_| now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_in_any_pieces_ends_with_its_last_byte() {
        let record = [&[23, 3, 3, 1, 2], [7; 258].as_slice()].concat();
        let two = [record.as_slice(), &record, &[23, 3, 3, 0, 0]].concat();
        for cut in 0..two.len() {
            let mut records = Records::default();
            records.on_bytes(&two[..cut], Time(1));
            let is_between = cut % record.len() == 0;
            assert_eq!(records.begun(), (!is_between).then_some(Time(1)), "{cut}");
            records.on_bytes(&two[cut..], Time(2));
            assert_eq!(records.begun(), None, "{cut}");
        }
    }

    #[test]
    fn the_time_of_a_record_is_its_own() {
        let mut records = Records::default();
        records.on_bytes(&[23, 3], Time(1));
        records.on_bytes(&[3, 0, 1], Time(2));
        assert_eq!(records.begun(), Some(Time(1)));
        records.on_bytes(&[9, 23], Time(3));
        assert_eq!(records.begun(), Some(Time(3)));
    }
}
