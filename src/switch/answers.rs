//! The dispatcher's own answers: written into one buffer that is used again, sent in one go after each batch.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::Way;
use super::owner::Owner;
use super::replies::Replies;
use super::unsent::Unsent;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Answer, Return, Says};
use crate::dispatch::identity::DispatcherTag;
use crate::ids::ListenerId;
use crate::pack::packed;
use crate::wire::sip::{self, Name, NameAddr, ResponseWriter, capabilities};
use crate::wire::{load, mgcp};
use crate::words::{Dispatched, LoadReport, ReplyTo};

/// Largest datagram of joined answers, in bytes: one that passes every network without being fragmented.
const LARGEST_JOINED: usize = 1_200;

/// Longest time for which an accepted REGISTER is good, in seconds.
const REGISTERED_FOR: u32 = 3_600;

/// Answers that wait to be sent.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    /// Answers that leave on stream connections.
    pub(super) replies: Replies,
    /// Those of them that wait for slow connections.
    pub(super) unsent: Unsent,
}

/// One answer: its place in the buffer, and its way.
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

/// The extensions that a request requires in this field and nothing here supports, in one header line. A line for each
/// of a thousand short names would make an answer many times the size of the request.
struct Unsupported<'m>(&'m sip::Message<'m>, Name);

impl fmt::Display for Unsupported<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of what proxies may be required to support, the dispatcher supports nothing.
        let is_unknown = |option: &&[u8]| self.1 == Name::ProxyRequire || !capabilities::supports(option);
        for (number, option) in self.0.values(self.1).filter(is_unknown).enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}", String::from_utf8_lossy(option))?;
        }
        Ok(())
    }
}

/// Adds the headers of the answer to an accepted REGISTER (RFC 3261 §10.3): its addresses, and for how long they are
/// good. An address that states its own time keeps it; one that is being removed (`expires=0`) is not named.
fn registered<'o>(mut writer: ResponseWriter<'o>, request: &sip::Message<'_>) -> ResponseWriter<'o> {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u32>().ok();
    let asked = request.header(Name::Expires).and_then(number).unwrap_or(REGISTERED_FOR).min(REGISTERED_FOR);
    // Four are more than a telephone has. The limit keeps the answer from growing far beyond its request.
    for value in request.values(Name::Contact).take(4) {
        let Some(contact) = NameAddr::parse(value).filter(|contact| contact.uri != b"*") else { continue };
        let own = contact.params().get(b"expires");
        if own.map_or(Some(asked), number) == Some(0) {
            continue;
        }
        writer = match own {
            Some(_) => writer.header("Contact", value),
            None => writer.header_fmt("Contact", format_args!("{};expires={asked}", String::from_utf8_lossy(value))),
        };
    }
    writer.header_fmt("Expires", format_args!("{asked}"))
}

/// Texts of answers that do not depend on the request.
#[derive(Clone, Debug)]
pub struct Texts<'t> {
    /// The value of Allow.
    pub allow: &'t str,
    /// The load of the workers, where the answer tells it.
    pub load: Option<LoadReport>,
}

impl<'t> Texts<'t> {
    /// The texts for an answer.
    pub fn of(dispatch: &'t Dispatch, answer: &Answer) -> Self {
        Texts { allow: dispatch.allow(), load: answer.tells_load.then(|| dispatch.load_report()) }
    }
}

/// Appends the answer to `request`, which came from `source`.
fn write_response(
    out: &mut Vec<u8>,
    source: SocketAddr,
    answer: &Answer,
    texts: &Texts<'_>,
    request: &sip::Message<'_>,
) {
    let allow = texts.allow;
    let tag = answer.to_tag.as_ref().map(DispatcherTag::as_bytes);
    let phrase = match answer.says {
        Says::Fault(fault) if answer.status == 400 => fault.phrase(),
        _ => sip::reason_phrase(answer.status),
    };
    let mut writer = ResponseWriter::saying(out, request, answer.status, phrase, Some(source), tag);
    if let Some(seconds) = answer.retry_after {
        writer = writer.header_fmt("Retry-After", format_args!("{seconds}"));
    }
    if let Some(report) = &texts.load {
        let mut value = Vec::new();
        load::write_report(&mut value, report);
        writer = writer.header(load::REPORT, &value);
    }
    writer = match answer.says {
        Says::Nothing | Says::Fault(_) => writer,
        Says::Allow => writer.header("Allow", allow),
        Says::Capabilities => writer
            .header("Allow", allow)
            .header("Accept", capabilities::ACCEPT)
            .header("Accept-Encoding", capabilities::ACCEPT_ENCODING)
            .header("Accept-Language", capabilities::ACCEPT_LANGUAGE)
            .header("Supported", capabilities::SUPPORTED),
        Says::Registered => registered(writer, request),
        Says::Unsupported => writer.header_fmt("Unsupported", format_args!("{}", Unsupported(request, Name::Require))),
        Says::SipsNotAllowed => writer.header("Warning", "380 pointsman \"SIPS Not Allowed\""),
        Says::ProxyUnsupported => {
            writer.header_fmt("Unsupported", format_args!("{}", Unsupported(request, Name::ProxyRequire)))
        }
    };
    writer.finish();
}

impl Answers {
    /// Writes the answer to `request`, to leave from the socket or on the connection that it came to.
    pub fn write(&mut self, way: &Way, answer: &Answer, texts: &Texts<'_>, request: &sip::Message<'_>) {
        let source = way.arrival.source;
        let to = sip::where_to(request, source);
        self.write_by(way, to, |bytes| write_response(bytes, source, answer, texts, request));
    }

    /// Writes an MGCP answer of the dispatcher's own. It carries its meaning in words unless that makes it longer than
    /// the command, which was `question` bytes long: a forged source must not turn the dispatcher into an amplifier.
    pub fn write_return(&mut self, way: &Way, answer: &Return, question: usize) {
        let begin = self.bytes.len();
        let Return { code, transaction } = *answer;
        mgcp::ResponseWriter::new(&mut self.bytes, code, transaction);
        if self.bytes.len() - begin > question {
            self.bytes.truncate(begin);
            mgcp::ResponseWriter::with_comment(&mut self.bytes, code, transaction, None, b"");
        }
        self.send_from(begin, way);
    }

    /// Puts the MGCP answer that was written last into the datagram of the one before it, as the commands were (RFC
    /// 3435 §3.5.5): ten thousand answers to one datagram would flood the address that a forged source names.
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

    /// Writes an MGCP answer that is ready, to the address that its command came from (RFC 3435 §3.5).
    pub fn write_bytes(&mut self, way: &Way, bytes: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.send_from(begin, way);
    }

    /// Adds the answer of a worker on another host.
    pub fn write_for(&mut self, answer: &Dispatched<'_>) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(answer.bytes);
        let (owner, range) = (Owner::Listener(answer.listener), begin..self.bytes.len());
        self.waiting.push(Waiting { owner, range, to: answer.to, from: answer.from });
    }

    /// Writes a datagram that leaves from the well-known socket of a listener, and from this address of it.
    pub(super) fn write_datagram(
        &mut self,
        way_out: (ListenerId, IpAddr),
        to: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        let (owner, from) = (Owner::Listener(way_out.0), way_out.1);
        self.waiting.push(Waiting { owner, range: begin..self.bytes.len(), to, from });
    }

    /// Writes an answer with `write`, to leave on the way of its request.
    pub(super) fn write_by(&mut self, way: &Way, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        match way.arrival.reply_to {
            ReplyTo::Stream(conn) => self.replies.write(conn, write),
            _ => {
                let begin = self.bytes.len();
                write(&mut self.bytes);
                let (range, from) = (begin..self.bytes.len(), way.arrival.local.ip());
                self.waiting.push(Waiting { owner: way.owner, range, to, from });
            }
        }
    }

    fn send_from(&mut self, begin: usize, way: &Way) {
        let (range, arrival) = (begin..self.bytes.len(), &way.arrival);
        self.waiting.push(Waiting { owner: way.owner, range, to: arrival.source, from: arrival.local.ip() });
    }

    /// A copy of the answer that was written last, to be sent again. `None` where it leaves on a connection: Timer G is
    /// for unreliable transports only (RFC 3261 §17.2.1).
    pub fn last(&self, way: &Way) -> Option<Written> {
        if let ReplyTo::Stream(_) = way.arrival.reply_to {
            return None;
        }
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

    /// Gives the waiting answers to `send`, those that follow each other from one socket together, then forgets them.
    pub fn flush(&mut self, mut send: impl FnMut(Leaving<'_>)) {
        for run in self.waiting.chunk_by(|one, next| (one.owner, one.from) == (next.owner, next.from)) {
            let Some(Waiting { owner, from, .. }) = run.first() else { continue };
            send(Leaving { owner: *owner, from: *from, bytes: &self.bytes, waiting: run.iter() });
        }
        self.waiting.clear();
        self.bytes.clear();
    }
}

/// Answers that leave from one socket: iterates over their bytes and destinations.
#[derive(Clone, Debug)]
pub struct Leaving<'a> {
    /// Owner of the socket.
    pub owner: Owner,
    /// The local address that they leave from.
    pub from: IpAddr,
    bytes: &'a [u8],
    waiting: std::slice::Iter<'a, Waiting>,
}

impl<'a> Iterator for Leaving<'a> {
    type Item = (&'a [u8], SocketAddr);

    fn next(&mut self) -> Option<Self::Item> {
        let Waiting { range, to, .. } = self.waiting.next()?;
        Some((self.bytes.get(range.clone()).unwrap_or_default(), *to))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.waiting.size_hint()
    }
}

impl ExactSizeIterator for Leaving<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use crate::wire::sip::{Fault, Scanner};
    use crate::words::Transport;

    /// The answer to a request of this method with these headers.
    fn written(method: &str, headers: &str, change: impl FnOnce(&mut Answer)) -> String {
        let text = format!(
            "{method} sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\n\
             To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 7 {method}\r\n{headers}\r\n"
        );
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap_or_else(|bad| panic!("{:?}", bad.fault));
        let source = SocketAddr::from(([192, 0, 2, 9], 5060));
        let local = SocketAddr::from(([192, 0, 2, 1], 5060));
        let owner = Owner::Listener(ListenerId(0));
        let way = Way::of_datagram(owner, ListenerId(0), Transport::Udp, (source, local), Time(0));
        let mut answer = Answer::new(200, None);
        change(&mut answer);
        let mut answers = Answers::default();
        answers.write(&way, &answer, &Texts { allow: "INVITE", load: None }, &message);
        String::from_utf8_lossy(&answers.bytes).into_owned()
    }

    #[test]
    fn a_400_names_the_fault_and_other_statuses_keep_their_phrase() {
        let faulty =
            |status, fault| written("INVITE", "", |answer| (answer.status, answer.says) = (status, Says::Fault(fault)));
        assert!(faulty(400, Fault::ContentLength).starts_with("SIP/2.0 400 Wrong Content-Length\r\n"));
        assert!(faulty(505, Fault::Version).starts_with("SIP/2.0 505 Version Not Supported\r\n"));
    }

    #[test]
    fn options_is_answered_with_the_capabilities_of_the_workers() {
        let said = written("OPTIONS", "", |answer| answer.says = Says::Capabilities);
        for line in [
            "Allow: INVITE",
            "Accept: application/sdp",
            "Accept-Encoding: identity",
            "Accept-Language: en",
            "Supported: 100rel, timer, replaces",
        ] {
            assert!(said.contains(&format!("\r\n{line}\r\n")), "{line}: {said}");
        }
    }

    #[test]
    fn only_unknown_extensions_are_named_as_unsupported() {
        let said =
            written("OPTIONS", "Require: timer, foo\r\nRequire: bar\r\n", |answer| answer.says = Says::Unsupported);
        assert!(said.contains("\r\nUnsupported: foo,bar\r\n"), "{said}");
    }

    #[test]
    fn an_accepted_register_repeats_its_addresses_with_their_time() {
        let register = |headers: &str| written("REGISTER", headers, |answer| answer.says = Says::Registered);
        let said = register("Contact: <sip:a@192.0.2.9>, <sip:b@192.0.2.9>;expires=60\r\nExpires: 7200\r\n");
        assert!(said.contains("\r\nContact: <sip:a@192.0.2.9>;expires=3600\r\n"), "{said}");
        assert!(
            said.contains("\r\nContact: <sip:b@192.0.2.9>;expires=60\r\n") && said.contains("\r\nExpires: 3600\r\n")
        );
        for gone in
            ["Contact: *\r\nExpires: 0\r\n", "Contact: <sip:a@h>;expires=0\r\n", "Contact: <sip:a@h>\r\nExpires: 0\r\n"]
        {
            assert!(!register(gone).contains("Contact"), "{gone}");
        }
        assert_eq!(register(&"Contact: <sip:a@h>\r\n".repeat(40)).matches("Contact").count(), 4);
    }
}
