//! The dispatcher's own answers: written into one buffer that is used again, sent in one go after each batch.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::door::Owner;
use crate::dispatch::decision::{Answer, Arrival, Return};
use crate::dispatch::identity::DispatcherTag;
use crate::pack::packed;
use crate::wire::mgcp;
use crate::wire::sip::{self, Name, ResponseWriter};

/// So many bytes of answers leave in one datagram: what passes every network whole.
const LARGEST_JOINED: usize = 1_200;

/// Answers that wait to be sent.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

/// One answer: where it lies in the buffer, and its way.
#[derive(Clone, Debug)]
struct Waiting {
    owner: Owner,
    range: Range<usize>,
    to: SocketAddr,
    from: IpAddr,
}

/// An answer with its way, to be sent again.
#[derive(Clone, Debug)]
pub struct Written {
    owner: Owner,
    bytes: Box<[u8]>,
    to: SocketAddr,
    from: IpAddr,
}

packed!(Written { owner, bytes, to, from });

impl Answers {
    /// Writes the answer to `request`, to leave from a socket of `owner`; `allow` is the value of Allow, where it has one.
    pub fn write(&mut self, owner: Owner, answer: &Answer, allow: &str, request: &sip::Message<'_>, arrival: &Arrival) {
        let begin = self.bytes.len();
        let tag = answer.to_tag.as_ref().map(DispatcherTag::as_bytes);
        let mut writer = ResponseWriter::new(&mut self.bytes, request, answer.status, Some(arrival.source), tag);
        if let Some(seconds) = answer.retry_after {
            writer = writer.header_fmt("Retry-After", format_args!("{seconds}"));
        }
        if answer.allow {
            writer = writer.header("Allow", allow);
        }
        if answer.capabilities {
            writer = writer.header("Accept", "application/sdp");
        }
        if answer.unsupported {
            // As they came: a line for each of a thousand short names would make an answer many times the request.
            for options in request.headers(Name::Require) {
                writer = writer.header("Unsupported", options);
            }
        }
        writer.finish();
        let to = sip::where_to(request, arrival.source);
        self.waiting.push(Waiting { owner, range: begin..self.bytes.len(), to, from: arrival.local.ip() });
    }

    /// Writes an MGCP answer of the dispatcher's own. It says in words what it means where that does not make it longer than
    /// the question, which was `question` bytes long: forged sources are to gain nothing.
    pub fn write_return(&mut self, owner: Owner, answer: &Return, question: usize, arrival: &Arrival) {
        let begin = self.bytes.len();
        let Return { code, transaction } = *answer;
        mgcp::ResponseWriter::new(&mut self.bytes, code, transaction);
        if self.bytes.len() - begin > question {
            self.bytes.truncate(begin);
            mgcp::ResponseWriter::with_comment(&mut self.bytes, code, transaction, None, b"");
        }
        self.send_from(begin, owner, arrival);
    }

    /// Puts the MGCP answer that was written last into the datagram of the one before it, as the commands were
    /// (RFC 3435 §3.5.5): ten thousand answers to one datagram would be a flood at whoever is named as its source.
    pub fn join_last(&mut self) {
        let [.., before, last] = &mut self.waiting[..] else { return };
        let is_beside = before.range.end == last.range.start && (before.owner, before.to) == (last.owner, last.to);
        if !is_beside || last.range.end - before.range.start > LARGEST_JOINED {
            return;
        }
        let text = self.bytes.split_off(last.range.start);
        mgcp::separator(&mut self.bytes);
        self.bytes.extend_from_slice(&text);
        before.range.end = self.bytes.len();
        self.waiting.pop();
    }

    /// Writes an MGCP answer that is ready. It goes where its command came from (RFC 3435 §3.5).
    pub fn write_bytes(&mut self, owner: Owner, bytes: &[u8], arrival: &Arrival) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.send_from(begin, owner, arrival);
    }

    fn send_from(&mut self, begin: usize, owner: Owner, arrival: &Arrival) {
        let range = begin..self.bytes.len();
        self.waiting.push(Waiting { owner, range, to: arrival.source, from: arrival.local.ip() });
    }

    /// A copy of the answer that was written last.
    pub fn last(&self) -> Option<Written> {
        let Waiting { owner, range, to, from } = self.waiting.last()?.clone();
        Some(Written { owner, bytes: self.bytes.get(range)?.into(), to, from })
    }

    /// Writes an answer again.
    pub fn write_again(&mut self, answer: &Written) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&answer.bytes);
        let range = begin..self.bytes.len();
        self.waiting.push(Waiting { owner: answer.owner, range, to: answer.to, from: answer.from });
    }

    /// Gives every waiting answer to `send`, then forgets them.
    pub fn flush(&mut self, mut send: impl FnMut(Owner, &[u8], SocketAddr, IpAddr)) {
        for answer in self.waiting.drain(..) {
            send(answer.owner, &self.bytes[answer.range], answer.to, answer.from);
        }
        self.bytes.clear();
    }
}
