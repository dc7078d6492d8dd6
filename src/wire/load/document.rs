//! Documents: JSON, or the text format of Prometheus.

use serde_json::Value;

use super::{count, series};
use crate::words::{LoadReport, LoadWord};

/// The names by which a document has its values: a metric, a member or a pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Sessions in use; empty: `used`.
    pub used: String,
    /// Most sessions; empty: `total`.
    pub total: String,
}

/// The report in a document; `None` if it has none.
pub fn read_document(body: &[u8], keys: &Keys) -> Option<LoadReport> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    let is_series = text.starts_with(|first: char| first == '#' || first.is_ascii_alphabetic());
    let (used, total) = (named(&keys.used, "used"), named(&keys.total, "total"));
    let report = if is_series {
        LoadReport { used: series::sum(text, used), total: series::sum(text, total), ..LoadReport::default() }
    } else {
        of_json(&serde_json::from_str(text).ok()?, used, total)
    };
    (!report.is_empty()).then(|| report.completed())
}

fn named<'a>(written: &'a str, usual: &'a str) -> &'a str {
    if written.is_empty() { usual } else { written }
}

fn of_json(document: &Value, used: &str, total: &str) -> LoadReport {
    let at = |key: &str| if key.starts_with('/') { document.pointer(key) } else { document.get(key) };
    let number = |value: Option<&Value>| value.and_then(Value::as_f64).and_then(count);
    let word = match document.get("state").and_then(Value::as_str) {
        Some("ready" | "open" | "up") => Some(LoadWord::Ready),
        Some("full") => Some(LoadWord::Full),
        Some("drain" | "closed" | "maint" | "down") => Some(LoadWord::Drain),
        _ => None,
    };
    let process = |process: &Value| Some((number(process.get("used"))?, number(process.get("total"))));
    let processes = document.get("processes").and_then(Value::as_array).into_iter().flatten().filter_map(process);
    LoadReport {
        used: number(at(used)),
        total: number(at(total)),
        word,
        percent: None,
        processes: processes.take(LoadReport::PROCESSES).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, used: &str, total: &str) -> Option<LoadReport> {
        read_document(body.as_bytes(), &Keys { used: used.to_owned(), total: total.to_owned() })
    }

    #[test]
    fn json_is_read_by_member_or_pointer() {
        let report =
            read("{\"used\":17,\"total\":1000,\"state\":\"full\",\"processes\":[{\"used\":9,\"total\":500}]}", "", "");
        let report = report.unwrap();
        assert_eq!((report.used, report.total, report.word), (Some(17), Some(1000), Some(LoadWord::Full)));
        assert_eq!(report.processes, [(9, Some(500))]);
        let report = read("{\"calls\":{\"now\":3.0},\"max\":[5,9]}", "/calls/now", "/max/1").unwrap();
        assert_eq!((report.used, report.total), (Some(3), Some(9)));
    }

    #[test]
    fn text_of_prometheus_is_known_by_its_first_letter() {
        let report = read(
            "# TYPE asterisk_calls_count gauge\nasterisk_calls_count 17\nlimit 0\n",
            "asterisk_calls_count",
            "limit",
        );
        let report = report.unwrap();
        assert_eq!((report.used, report.total), (Some(17), Some(0)));
    }

    #[test]
    fn a_document_without_a_number_that_can_be_meant_says_nothing() {
        for body in [
            "",
            "<html>17</html>",
            "{",
            "[]",
            "17",
            "{\"used\":-1}",
            "{\"used\":1e300}",
            "{\"used\":\"17\"}",
            "{\"used\":null}",
            "used NaN\n",
            "used 1/0\n",
            "{\"used\":1/0}",
        ] {
            assert_eq!(read(body, "", ""), None, "{body}");
        }
        assert_eq!(read_document(b"{\"used\":\xff}", &Keys { used: String::new(), total: String::new() }), None);
        assert_eq!(read(&"[".repeat(200_000), "", ""), None, "no overflow");
    }
}
