//! A line `name: value` as SIP and MGCP write it.

use memchr::memchr2;

/// Appends `name: value` and a line end to `out`; line ends in the value become spaces.
pub fn write(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    clean(out.get_mut(from..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Makes spaces of line ends.
pub(crate) fn clean(text: &mut [u8]) {
    if memchr2(b'\r', b'\n', text).is_some() {
        text.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_starts_a_line_of_its_own() {
        let mut line = Vec::new();
        write(&mut line, "X-A", b"1\r\nC: 2");
        assert_eq!(line, b"X-A: 1  C: 2\r\n");
    }
}
