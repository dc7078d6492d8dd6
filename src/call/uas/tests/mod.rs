//! The rules of the user agent, by value and in virtual time: message texts in, outputs out.

mod away;
mod begin;
mod end;
mod fail_over;
mod families;
mod handoff;
mod heard;
mod lossy;
mod old_peers;
mod refusals;
mod reliable;
mod reoffer;
mod replaces;
mod rooms;
mod session;
mod strangers;
mod streams;
mod unheard;

use std::time::Duration;

use crate::call::{Arrival, CallKey, Delivery, EndReason, Event, Hop, Identity, Limits, Output, SessionTimer, Uas};
use crate::ids::{ConnId, Seq};
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::{Envelope, RefuseReason, ReplyFrom, Transport};

pub(super) const TOKEN: &str = "pm0123456789abcdef";
pub(super) const OFFER: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
pub(super) const ANSWER: &str =
    "v=0\r\no=- 7 7 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 0\r\n";

/// A request as a caller writes it, to be varied.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) method: &'static str,
    pub(super) uri: String,
    pub(super) branch: String,
    pub(super) call_id: String,
    pub(super) from_tag: String,
    pub(super) to_tag: Option<String>,
    pub(super) cseq: u32,
    pub(super) headers: Vec<String>,
    pub(super) body: String,
    pub(super) content_type: &'static str,
    pub(super) contact: bool,
}

pub(super) fn text(method: &'static str) -> Text {
    Text {
        method,
        uri: "sip:ivr@192.0.2.1".into(),
        branch: format!("z9hG4bK-{method}-1"),
        call_id: "call-1@192.0.2.9".into(),
        from_tag: "caller".into(),
        to_tag: None,
        cseq: 1,
        headers: Vec::new(),
        body: String::new(),
        content_type: "application/sdp",
        contact: true,
    }
}

pub(super) fn invite() -> Text {
    text("INVITE").body(OFFER)
}

impl Text {
    pub(super) fn header(mut self, line: &str) -> Self {
        self.headers.push(line.into());
        self
    }

    pub(super) fn branch(mut self, branch: &str) -> Self {
        self.branch = format!("z9hG4bK-{branch}");
        self
    }

    pub(super) fn cseq(mut self, cseq: u32) -> Self {
        self.cseq = cseq;
        self
    }

    pub(super) fn to(mut self, tag: &str) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    pub(super) fn call(mut self, call_id: &str) -> Self {
        self.call_id = call_id.into();
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn bytes(&self) -> String {
        let method = self.method;
        let to_tag = self.to_tag.as_ref().map_or(String::new(), |tag| format!(";tag={tag}"));
        let contact = if self.contact { "Contact: <sip:caller@192.0.2.9:5070>\r\n" } else { "" };
        let content_type =
            if self.body.is_empty() { String::new() } else { format!("Content-Type: {}\r\n", self.content_type) };
        let headers: String = self.headers.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5070;branch={};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:caller@example.net>;tag={}\r\nTo: <sip:ivr@example.net>{to_tag}\r\nCall-ID: {}\r\n\
             CSeq: {} {method}\r\n{contact}{headers}{content_type}Content-Length: {}\r\n\r\n{}",
            self.uri,
            self.branch,
            self.from_tag,
            self.call_id,
            self.cseq,
            self.body.len(),
            self.body
        )
    }
}

/// A user agent, its clock, and its outputs.
pub(super) struct Desk {
    pub(super) uas: Uas,
    pub(super) now: Time,
    scanner: Scanner,
    seq: u64,
    pub(super) outputs: Vec<Output>,
}

pub(super) fn identity() -> Identity {
    Identity {
        token: TOKEN.into(),
        own: vec!["192.0.2.1:5071".parse().unwrap()],
        listeners: vec!["192.0.2.1:5060".parse().unwrap()],
        duplicates: vec![true],
        away: Vec::new(),
        advertise: Vec::new(),
        hosts: Vec::new(),
        reply_from: ReplyFrom::Listener,
        program: "".into(),
        seed: [1, 2],
        contact_name: None,
        speaks_tls: false,
    }
}

impl Desk {
    pub(super) fn new() -> Self {
        Desk::with(identity(), Limits::default(), SessionTimer { expires: None, min_se: 90 })
    }

    pub(super) fn with(identity: Identity, limits: Limits, session_timer: SessionTimer) -> Self {
        Desk {
            uas: Uas::new(identity, limits, session_timer),
            now: Time(1_000_000_000),
            scanner: Scanner::new(),
            seq: 0,
            outputs: Vec::new(),
        }
    }

    /// The dispatcher hands a message over; returns its number.
    pub(super) fn hand(&mut self, text: &Text) -> Seq {
        self.hand_with(text, |_| {})
    }

    pub(super) fn hand_with(&mut self, text: &Text, change: impl FnOnce(&mut Envelope)) -> Seq {
        self.seq += 1;
        let mut envelope = Envelope { received: self.now, ..Envelope::plain(self.seq) };
        change(&mut envelope);
        self.say(&text.bytes(), &Arrival::handed_over(&envelope));
        Seq(self.seq)
    }

    /// A message comes straight to the worker's own port.
    pub(super) fn own(&mut self, text: &Text) {
        let arrival = Arrival::own(0, "192.0.2.9:5070".parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
        self.say(&text.bytes(), &arrival);
    }

    pub(super) fn say(&mut self, text: &str, arrival: &Arrival) {
        let msg = self.scanner.scan(text.as_bytes()).unwrap();
        self.uas.on_message(&msg, arrival, self.now);
        self.collect();
    }

    /// A response to a request that was sent: `status` with `headers`, and a body.
    pub(super) fn reply(&mut self, request: &str, status: u16, headers: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status} Answer\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", header(request, name).unwrap());
        }
        text += headers;
        if !body.is_empty() {
            text += "Content-Type: application/sdp\r\n";
        }
        text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let arrival = Arrival::own(0, "192.0.2.9:5070".parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
        self.say(&text, &arrival);
    }

    /// Lets time pass, timers included.
    pub(super) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.uas.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.uas.handle_timeout(self.now);
            self.collect();
            // The wheel may have been early.
            self.now = self.now + Duration::from_millis(1);
        }
        self.now = self.now.max(end);
        self.uas.handle_timeout(self.now);
        self.collect();
    }

    pub(super) fn act<R>(&mut self, action: impl FnOnce(&mut Uas, Time) -> R) -> R {
        let result = action(&mut self.uas, self.now);
        self.collect();
        result
    }

    fn collect(&mut self) {
        self.outputs.extend(std::iter::from_fn(|| self.uas.poll_output()));
    }

    /// All messages sent since the last look, as texts.
    pub(super) fn sent(&mut self) -> Vec<String> {
        let sent = self.outputs.iter().filter_map(|output| match output {
            Output::Transmit(transmit) => Some(String::from_utf8(transmit.bytes.to_vec()).unwrap()),
            _ => None,
        });
        let sent = sent.collect();
        self.outputs.retain(|output| !matches!(output, Output::Transmit(_)));
        sent
    }

    /// The one message sent since the last look.
    pub(super) fn only(&mut self) -> String {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    /// The statuses that have been sent since the last look; 0 for a request.
    pub(super) fn statuses(&mut self) -> Vec<u16> {
        self.sent().iter().map(|text| status(text)).collect()
    }

    /// Events that the application has got since the last look.
    pub(super) fn events(&mut self) -> Vec<(CallKey, Event)> {
        let events = self.outputs.iter().filter_map(|output| match output {
            Output::Event(key, event) => Some((*key, event.clone())),
            _ => None,
        });
        let events = events.collect();
        self.outputs.retain(|output| !matches!(output, Output::Event(..)));
        events
    }

    /// The handed-over messages that have been dealt with, and those given back, since the last look.
    pub(super) fn settled(&mut self) -> (Vec<Seq>, Vec<(Seq, RefuseReason)>) {
        let mut answered = Vec::new();
        let mut refused = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Answered(seq) => {
                answered.push(*seq);
                false
            }
            Output::Refuse(seq, reason) => {
                refused.push((*seq, *reason));
                false
            }
            _ => true,
        });
        (answered, refused)
    }

    /// The call that has just come in.
    pub(super) fn incoming(&mut self) -> CallKey {
        match self.events().as_slice() {
            [(key, Event::Incoming { .. })] => *key,
            other => panic!("{other:?}"),
        }
    }

    /// A call from INVITE to ACK; returns its key and our tag. Its outputs are forgotten.
    pub(super) fn standing(&mut self, invite: &Text) -> (CallKey, String) {
        self.hand(invite);
        let key = self.incoming();
        assert!(self.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
        let tag = to_tag(&self.only());
        let mut ack = text("ACK").branch("ack").to(&tag).cseq(invite.cseq).call(&invite.call_id);
        ack.from_tag = invite.from_tag.clone();
        self.own(&ack);
        assert_eq!(self.events(), [(key, Event::Established)]);
        self.outputs.clear();
        (key, tag)
    }

    /// A ringing call whose caller has shown by PRACK that it hears us; returns its key and our tag.
    pub(super) fn ringing_with_prack(&mut self) -> (CallKey, String) {
        self.hand(&invite().header("Supported: 100rel"));
        let key = self.incoming();
        self.act(|uas, now| uas.ring(key, 180, None, Delivery::Reliable, now));
        let ringing = self.only();
        let rack = format!("RAck: {} 1 INVITE", header(&ringing, "RSeq").unwrap());
        self.own(&text("PRACK").to(&to_tag(&ringing)).cseq(2).header(&rack));
        assert_eq!(self.statuses(), [200]);
        (key, to_tag(&ringing))
    }

    /// The one datagram sent since the last look: its way, its destination, and its text.
    pub(super) fn only_transmit(&mut self) -> (Hop, String, String) {
        let mut all: Vec<_> = self
            .outputs
            .iter()
            .filter_map(|output| match output {
                Output::Transmit(transmit) => {
                    let text = String::from_utf8(transmit.bytes.to_vec()).unwrap();
                    Some((transmit.hop, transmit.to.to_string(), text))
                }
                _ => None,
            })
            .collect();
        self.outputs.clear();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Checks that nothing is left once all transactions have run out.
    pub(super) fn assert_idle(&mut self) {
        self.wait(Duration::from_secs(80));
        assert!(self.uas.is_idle(), "{:#?}", self.uas);
        assert_eq!(self.uas.servers.bytes(), 0);
        assert_eq!((self.uas.load().units_used, self.uas.load().sessions), (0, 0));
        assert_eq!(self.uas.servers.names(), (0, 0));
    }
}

/// The status of a response, 0 for a request.
pub(super) fn status(text: &str) -> u16 {
    text.strip_prefix("SIP/2.0 ").map_or(0, |rest| rest[..3].parse().unwrap())
}

pub(super) fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.split("\r\n\r\n").next()?;
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub(super) fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").unwrap().1
}

pub(super) fn to_tag(text: &str) -> String {
    header(text, "To").unwrap().split_once(";tag=").unwrap().1.to_owned()
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
