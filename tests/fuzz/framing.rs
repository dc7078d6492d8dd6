//! Framing: bytes of a stream, however they are cut into pieces, are the same messages.

use pointsman::wire::framing::{self, Framed, Framer};
use pointsman::wire::sip::MAX_MESSAGE;

use crate::runner::Seen;

pub const WORDS: &[&str] = &[
    "INVITE sip:a@h SIP/2.0\r\n",
    "SIP/2.0 200 OK\r\n",
    "Content-Length: 3\r\n",
    "l:\r\n 0\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n\n",
    "v: x\r\n",
    "abc",
];

pub fn seeds() -> Vec<Vec<u8>> {
    let message = "INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nContent-Length: 4\r\n\r\nbody";
    let texts = [
        message.to_owned(),
        format!("{message}\r\n\r\n{message}\r\n"),
        message.replace("4", "65535"),
        message.replace("4", "-1"),
        message.replace("Content-Length: 4\r\n", ""),
        format!("{message}SIP/2.0 200 OK\nl: 0\n\n"),
    ];
    // The first byte says how it is cut.
    texts.iter().zip([1, 7, 250, 64, 2, 30]).map(|(text, cut)| [&[cut], text.as_bytes()].concat()).collect()
}

pub fn run(input: &[u8], seen: &mut Seen) {
    let Some((cut, bytes)) = input.split_first() else { return };
    alone(bytes, seen);
    let whole = walk(bytes, bytes.len(), seen);
    let pieces = walk(bytes, usize::from(*cut), &mut Seen::default());
    assert_eq!(pieces, whole);
}

/// Everything that the framer finds in bytes that come `step` at a time.
fn walk(bytes: &[u8], step: usize, seen: &mut Seen) -> Vec<Framed> {
    let mut framer = Framer::default();
    let (mut begin, mut end) = (0, 0);
    let mut found = Vec::new();
    loop {
        match framer.next(&bytes[begin..end]) {
            Framed::NeedMore { at_least } => {
                assert!(at_least > end - begin, "{at_least} of {} wanted", end - begin);
                if end == bytes.len() {
                    return found;
                }
                end = (end + step.max(1)).min(bytes.len());
            }
            framed @ (Framed::Message(length) | Framed::Ping(length) | Framed::Blank(length)) => {
                assert!(length > 0 && length <= end - begin && length <= MAX_MESSAGE);
                seen.note(std::mem::discriminant(&framed));
                begin += length;
                // Line ends are one thing or two, by what has come of them.
                if matches!(framed, Framed::Message(_)) {
                    found.push(framed);
                }
            }
            framed @ (Framed::Faulty(_, fault) | Framed::Close(fault)) => {
                seen.note(("fault", fault.label()));
                if let Framed::Faulty(head, _) = framed {
                    assert!(head <= end - begin && bytes[begin..begin + head].ends_with(b"\n"));
                }
                found.push(framed);
                return found;
            }
        }
    }
}

/// Checks a message that is whole by itself.
fn alone(bytes: &[u8], seen: &mut Seen) {
    let framed = framing::whole(bytes);
    seen.note(("alone", std::mem::discriminant(&framed)));
    match framed {
        Framed::Message(length) => assert_eq!(length, bytes.len()),
        Framed::Ping(length) | Framed::Blank(length) => assert!(length <= bytes.len()),
        Framed::Faulty(head, _) => assert!(head <= bytes.len()),
        Framed::NeedMore { .. } => panic!("nothing more comes"),
        Framed::Close(_) => {}
    }
}
