//! Agent lines, as HAProxy's agent-check has them: words such as `up 75% maxconn:500`, and `used:17`.

use super::digits;
use crate::words::{LoadReport, LoadWord};

/// The report in a line; `None` if it has no word that is known.
pub fn read_line(line: &[u8]) -> Option<LoadReport> {
    let line = line.split(|&byte| matches!(byte, b'\r' | b'\n' | b'#')).next().unwrap_or_default();
    let mut report = LoadReport::default();
    for word in line.split(|&byte| matches!(byte, b' ' | b'\t' | b',')) {
        let word = word.to_ascii_lowercase();
        match word.as_slice() {
            b"up" | b"ready" => report.word = report.word.or(Some(LoadWord::Ready)),
            // Of several words the one that keeps sessions away holds.
            b"drain" | b"maint" | b"down" | b"fail" | b"failed" | b"stopped" => report.word = Some(LoadWord::Drain),
            word => read_number(word, &mut report),
        }
    }
    (!report.is_empty()).then(|| report.completed())
}

fn read_number(word: &[u8], report: &mut LoadReport) {
    if let Some(percent) = word.strip_suffix(b"%") {
        report.percent = digits(percent).filter(|percent| *percent <= 100).map(|percent| percent as u16);
    } else if let Some(total) = word.strip_prefix(b"maxconn:") {
        report.total = digits(total);
    } else if let Some(used) = word.strip_prefix(b"used:").and_then(digits)
        && report.processes.len() < LoadReport::PROCESSES
    {
        report.processes.push((used, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_processes_of_a_line_are_read() {
        let report = read_line(b"up 75% maxconn:500, used:9 used:8\r\nthe rest").unwrap();
        assert_eq!((report.word, report.percent), (Some(LoadWord::Ready), Some(75)));
        assert_eq!((report.used, report.total), (Some(17), Some(500)));
        for word in ["drain", "MAINT", "down", "fail", "stopped#disk full", "up down"] {
            assert_eq!(read_line(word.as_bytes()).unwrap().word, Some(LoadWord::Drain), "{word}");
        }
    }

    #[test]
    fn a_line_of_anything_else_says_nothing() {
        for line in ["", "\n", "<html>", "used:-1", "used:NaN", "101%", "-1%", "maxconn:1e300", "maxconn:1/0", "%"] {
            assert_eq!(read_line(line.as_bytes()), None, "{line}");
        }
        assert_eq!(read_line(&b"x".repeat(1 << 16)), None);
    }
}
