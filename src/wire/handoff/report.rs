//! The record of a worker's load (`Report`).
//!
//! ```text
//! fixed part: 0 u64 number   8 u64 taken through   16 u64 covers   24 u32 units used   28 u32 units total
//!            32 u32 sessions  36 u32 cpu (millionths of one core)   40 u32 flags: 1 no room, 2 draining
//!            44 u32 reserved   48 u64 calls that came to its own port   56 u64 calls answered
//! ```

use super::numbers::{put_u32, put_u64, u32_at, u64_at};
use crate::ids::Seq;
use crate::words::Report;

pub(super) const REPORT_FIXED: usize = 64;

pub(super) fn read_report(fixed: &[u8]) -> Report {
    let flags = u32_at(fixed, 40);
    Report {
        number: u64_at(fixed, 0),
        taken_through: Seq(u64_at(fixed, 8)),
        covers: Seq(u64_at(fixed, 16)),
        units_used: u32_at(fixed, 24),
        units_total: u32_at(fixed, 28),
        sessions: u32_at(fixed, 32),
        cpu: u32_at(fixed, 36),
        no_room: flags & 1 != 0,
        draining: flags & 2 != 0,
        direct: u64_at(fixed, 48),
        answered: u64_at(fixed, 56),
    }
}

pub(super) fn report_fixed(report: &Report) -> [u8; REPORT_FIXED] {
    let mut fixed = [0; REPORT_FIXED];
    put_u64(&mut fixed, 0, report.number);
    put_u64(&mut fixed, 8, report.taken_through.0);
    put_u64(&mut fixed, 16, report.covers.0);
    put_u32(&mut fixed, 24, report.units_used);
    put_u32(&mut fixed, 28, report.units_total);
    put_u32(&mut fixed, 32, report.sessions);
    put_u32(&mut fixed, 36, report.cpu);
    put_u32(&mut fixed, 40, u32::from(report.no_room) | u32::from(report.draining) << 1);
    put_u64(&mut fixed, 48, report.direct);
    put_u64(&mut fixed, 56, report.answered);
    fixed
}
