//! Reports in SIP messages: `X-Load: used=17;total=1000;state=ready;w=9/500;w=8/500`, and the fields of others.

use std::io::Write as _;

use super::digits;
use crate::wire::sip::Message;
use crate::words::{LoadReport, LoadWord};

/// The field of a request that asks for the load; its value is `1`.
pub const QUERY: &str = "X-Load-Query";
/// The field of a report.
pub const REPORT: &str = "X-Load";

/// The report in a message: `X-Load`, or `X-FS-Calls` and `X-FS-Status` of jambonz.
pub fn read_headers(message: &Message<'_>) -> Option<LoadReport> {
    let report = match message.extension(REPORT.as_bytes()) {
        Some(value) => read_value(value),
        None => LoadReport {
            used: message.extension(b"X-FS-Calls").and_then(|value| digits(value.trim_ascii())),
            word: message.extension(b"X-FS-Status").and_then(|value| word(value.trim_ascii())),
            ..LoadReport::default()
        },
    };
    (!report.is_empty()).then(|| report.completed())
}

fn read_value(value: &[u8]) -> LoadReport {
    let mut report = LoadReport::default();
    for part in value.split(|&byte| byte == b';') {
        let mut halves = part.splitn(2, |&byte| byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default().trim_ascii(), halves.next().unwrap_or_default());
        let value = value.trim_ascii();
        // The first of several is the one that holds.
        match name {
            b"used" => report.used = report.used.or_else(|| digits(value)),
            b"total" => report.total = report.total.or_else(|| digits(value)),
            b"state" => report.word = report.word.or_else(|| word(value)),
            b"w" if report.processes.len() < LoadReport::PROCESSES => {
                let mut halves = value.splitn(2, |&byte| byte == b'/');
                let used = digits(halves.next().unwrap_or_default());
                report.processes.extend(used.map(|used| (used, halves.next().and_then(digits))));
            }
            _ => {}
        }
    }
    report
}

fn word(value: &[u8]) -> Option<LoadWord> {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    match () {
        () if is("ready") || is("open") => Some(LoadWord::Ready),
        () if is("full") => Some(LoadWord::Full),
        () if is("drain") || is("closed") => Some(LoadWord::Drain),
        () => None,
    }
}

/// Writes the value of `X-Load`.
pub fn write_report(out: &mut Vec<u8>, report: &LoadReport) {
    let state = report.word.map(|word| match word {
        LoadWord::Ready => "ready",
        LoadWord::Full => "full",
        LoadWord::Drain => "drain",
    });
    let begin = out.len();
    // A Vec takes every byte.
    let _ = report.used.map_or(Ok(()), |used| write!(out, "used={used};"));
    let _ = report.total.map_or(Ok(()), |total| write!(out, "total={total};"));
    let _ = state.map_or(Ok(()), |state| write!(out, "state={state};"));
    for (used, total) in report.processes.iter().take(LoadReport::PROCESSES) {
        let _ = match total {
            Some(total) => write!(out, "w={used}/{total};"),
            None => write!(out, "w={used};"),
        };
    }
    if out.len() > begin {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    fn read(fields: &str) -> Option<LoadReport> {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        let mut scanner = Scanner::new();
        read_headers(&scanner.scan(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_report_is_read_as_it_is_written() {
        let report = LoadReport {
            used: Some(17),
            total: Some(1000),
            word: Some(LoadWord::Ready),
            percent: None,
            processes: vec![(9, Some(500)), (8, Some(500))],
        };
        let mut out = Vec::new();
        write_report(&mut out, &report);
        assert_eq!(out, b"used=17;total=1000;state=ready;w=9/500;w=8/500");
        assert_eq!(read(&format!("X-Load: {}\r\n", String::from_utf8(out).unwrap())), Some(report));
    }

    #[test]
    fn processes_alone_are_added_up() {
        let report = read("X-Load: w=9/500; w = 8/500\r\n").unwrap();
        assert_eq!((report.used, report.total), (Some(17), Some(1000)));
        assert_eq!(read("X-Load: w=9;w=8/500\r\n").unwrap().total, None);
        let many = format!("X-Load: {}\r\n", "w=4294967295;".repeat(70));
        let report = read(&many).unwrap();
        assert_eq!((report.processes.len(), report.used), (64, Some(u32::MAX)));
    }

    #[test]
    fn numbers_that_cannot_be_meant_are_not_said() {
        for bad in ["-1", "NaN", "1e300", "1/0", "4294967296", "", "0x10", " ", "+1", "17 000"] {
            assert_eq!(read(&format!("X-Load: used={bad}\r\n")), None, "{bad}");
        }
        assert_eq!(read("X-Load: <html>\r\n"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("X-Load: used=1;used=2;foo;=;w=/;total\r\n").unwrap().used, Some(1));
    }

    #[test]
    fn the_fields_of_jambonz_are_read_too() {
        let report = read("X-FS-Calls: 17\r\nX-FS-Status: closed\r\n").unwrap();
        assert_eq!((report.used, report.word), (Some(17), Some(LoadWord::Drain)));
        assert_eq!(read("X-FS-Status: open\r\n").unwrap().word, Some(LoadWord::Ready));
    }
}
