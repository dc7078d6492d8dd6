//! Answers to a GET.

use super::super::http::{LONGEST, Read, read};

fn whole(body: &str) -> Read {
    Read::Whole(body.as_bytes().to_vec())
}

fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes()
}

#[test]
fn a_document_ends_by_its_length_by_its_last_chunk_or_with_the_connection() {
    let cases = [
        (answer("Content-Length: 4\r\n", "used"), false),
        (answer("transfer-encoding: Chunked\r\n", "2;a=b\r\nus\r\n2\r\ned\r\n0\r\n\r\n"), false),
        (answer("", "used"), true),
    ];
    for (bytes, is_end) in cases {
        assert_eq!(read(&bytes, is_end), whole("used"));
        for end in 0..bytes.len() {
            let cut = read(&bytes[..end], false);
            assert!(cut == Read::More || cut == whole("used"), "{cut:?} at {end}");
        }
    }
    assert_eq!(read(&answer("Content-Length: 5\r\n", "used"), true), Read::Bad, "cut short");
    assert_eq!(read(&answer("Transfer-Encoding: chunked\r\n", "4\r\nus"), true), Read::Bad);
}

#[test]
fn answers_without_a_document_or_without_end_are_of_no_use() {
    for bad in [
        &b"HTTP/1.1 503 Busy\r\n\r\n{}"[..],
        b"HTTP/1.1 301 Moved\r\nLocation: http://192.0.2.9/\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nusedx",
    ] {
        assert_eq!(read(bad, false), Read::Bad, "{}", String::from_utf8_lossy(bad));
    }
    assert_eq!(read(&b"x".repeat(20 << 10), false), Read::Bad);
    assert_eq!(read(&answer("", &"x".repeat(LONGEST + 1)), false), Read::Bad);
    let chunks = "1000\r\n".to_owned() + &"x".repeat(0x1000) + "\r\n";
    assert_eq!(read(&answer("Transfer-Encoding: chunked\r\n", &chunks.repeat(65)), false), Read::Bad);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(head in "[a-zA-Z-]{0,20}: \\PC{0,20}\r\n", body in "\\PC{0,40}") {
        read(&answer(&head, &body), false);
        read(&answer("Transfer-Encoding: chunked\r\n", &body), true);
    }
}
