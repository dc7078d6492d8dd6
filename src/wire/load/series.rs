//! The text format of Prometheus: all series of a name, added up.

use super::count;

/// The sum of all series of this name; `None` if there is none with a number that can be meant.
pub(super) fn sum(text: &str, name: &str) -> Option<u32> {
    let values = text.lines().filter_map(|line| value(line, name));
    // A series that no number of sessions can be in says nothing, and does not spoil the others.
    let numbers = values.filter_map(|value| value.parse::<f64>().ok()).filter(|number| count(*number).is_some());
    numbers.fold(None, |sum, number| Some(sum.unwrap_or(0.0) + number)).and_then(count)
}

/// The value of a line, if it is of this series: `name{labels} value [timestamp]`.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.trim_start().strip_prefix(name)?;
    let rest = match rest.strip_prefix('{') {
        Some(labels) => labels.get(end_of_labels(labels)?..)?,
        None => rest.strip_prefix([' ', '\t'])?,
    };
    rest.split_ascii_whitespace().next()
}

/// The place behind the closing brace: a brace in a label's value does not count.
fn end_of_labels(labels: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP calls Number\n# TYPE calls gauge\ncalls{dir=\"in\"} 12\ncalls{dir=\"o}u\\\"t\"} 5.0 169\n\
                        calls_total 99\nnocalls 7\n  idle 3\r\nbad NaN\nbad +Inf\nbad -1\nbad 1e300\nhalf{a=\"b\n";

    #[test]
    fn all_series_of_a_name_are_added_up_and_none_of_another() {
        assert_eq!(sum(TEXT, "calls"), Some(17));
        assert_eq!(sum(TEXT, "idle"), Some(3));
        for name in ["bad", "half", "cal", "none"] {
            assert_eq!(sum(TEXT, name), None, "{name}");
        }
        assert_eq!(sum("n 4294967295\nn 4294967295\n", "n"), None, "a sum that no server has");
        assert_eq!(sum("n 1\nn NaN\n", "n"), Some(1));
    }
}
