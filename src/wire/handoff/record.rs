//! Records: each kind's bytes, read and written.

use std::net::SocketAddr;
use std::time::Duration;

use super::access::{ACCESS_RULE, AccessRules};
use super::frame::{Frame, FrameBuilder, FrameError, split_record, stride_fixed};
use super::message::{MESSAGE_FIXED, read_envelope};
use super::numbers::{put_address, put_u32, put_u64, read_address, u16_at, u32_at, u64_at};
use super::report::{REPORT_FIXED, read_report, report_fixed};
use super::transactions::{Released, TRANSACTION, Transactions};
use crate::ids::{ListenerId, Seq};
use crate::time::Time;
use crate::words::{
    Dispatched, Drain, DrainMode, Hello, Message, Outcome, Permit, RefuseReason, ReplyTo, Report, Takeover, Welcome,
};

const SEND_FIXED: usize = 52;

/// One record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's doc names each")]
pub enum Record<'a> {
    Welcome(Welcome),
    Message(Message<'a>),
    Drain(Drain),
    Ping(u64),
    Goodbye(&'a str),
    Access(AccessRules<'a>),
    /// The file beside the frame has them.
    Certificates,
    Undelivered {
        to: ReplyTo,
        bytes: &'a [u8],
    },
    Hello(Hello),
    Report(Report),
    Answered(Seqs<'a>),
    Refuse {
        seq: Seq,
        reason: RefuseReason,
    },
    Reply {
        to: ReplyTo,
        bytes: &'a [u8],
    },
    Release(Released<'a>),
    Holding(Transactions<'a>),
    GroupOpen {
        opened: Time,
        name: &'a [u8],
    },
    GroupClosed {
        name: &'a [u8],
    },
    Pong(u64),
    Outcome(Outcome<'a>),
    Unanswered(Message<'a>),
    Clock {
        asked: Time,
        at: Time,
    },
    ClockAsk(Time),
    Send(Dispatched<'a>),
    Takeover(Takeover),
}

/// The sequence numbers of an `Answered` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seqs<'a>(pub(super) &'a [u8]);

impl Seqs<'_> {
    /// The same numbers in their order, `most` at a time.
    pub fn some_at_a_time(&self, most: usize) -> impl Iterator<Item = Seqs<'_>> {
        self.0.chunks(8 * most).map(Seqs)
    }

    /// The numbers, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Seq> + '_ {
        self.0.chunks_exact(8).map(|chunk| Seq(u64_at(chunk, 0)))
    }
}

impl<'a> Iterator for Frame<'a> {
    type Item = Result<Record<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let kind = self.rest[0];
            let Some((fixed, body, rest)) = split_record(self.rest) else {
                self.rest = &[];
                return Some(Err(FrameError::Record { kind }));
            };
            self.rest = rest;
            match read_record(kind, fixed, body) {
                Ok(Some(record)) => return Some(Ok(record)),
                // A kind of a newer version: the rule is to skip it.
                Ok(None) => {}
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

fn read_record<'a>(kind: u8, fixed: &'a [u8], body: &'a [u8]) -> Result<Option<Record<'a>>, FrameError> {
    let need = |length: usize| if fixed.len() < length { Err(FrameError::Record { kind }) } else { Ok(()) };
    let json_error = |error: serde_json::Error| FrameError::Json { kind, error: error.to_string() };
    let record = match kind {
        1 => Record::Welcome(serde_json::from_slice(body).map_err(json_error)?),
        2 => {
            need(MESSAGE_FIXED)?;
            let payload = body;
            Record::Message(Message { envelope: read_envelope(fixed)?, payload })
        }
        3 => {
            need(16)?;
            let mode = match fixed[0] {
                0 => DrainMode::Ready,
                1 => DrainMode::Drain,
                2 => DrainMode::Stop,
                _ => return Err(FrameError::Value { kind, field: "mode" }),
            };
            Record::Drain(Drain { mode, within: Duration::from_millis(u64_at(fixed, 8)) })
        }
        5 => {
            need(8)?;
            Record::Ping(u64_at(fixed, 0))
        }
        6 => Record::Goodbye(std::str::from_utf8(body).map_err(|_| FrameError::Value { kind, field: "reason" })?),
        7 => {
            need(8)?;
            let stride = usize::from(u16_at(fixed, 0));
            if stride < ACCESS_RULE || !body.len().is_multiple_of(stride) {
                return Err(FrameError::Value { kind, field: "length of an entry" });
            }
            Record::Access(AccessRules { bytes: body, stride })
        }
        8 => Record::Certificates,
        9 => {
            need(8)?;
            Record::Undelivered { to: ReplyTo::of(u64_at(fixed, 0)), bytes: body }
        }
        10 => {
            need(16)?;
            Record::Clock { asked: Time(u64_at(fixed, 0)), at: Time(u64_at(fixed, 8)) }
        }
        65 => Record::Hello(serde_json::from_slice(body).map_err(json_error)?),
        66 => {
            need(REPORT_FIXED)?;
            Record::Report(read_report(fixed))
        }
        67 => {
            if !body.len().is_multiple_of(8) {
                return Err(FrameError::Record { kind });
            }
            Record::Answered(Seqs(body))
        }
        68 => {
            need(16)?;
            Record::Refuse { seq: Seq(u64_at(fixed, 0)), reason: refusal(fixed[8]) }
        }
        69 => {
            need(8)?;
            Record::Reply { to: ReplyTo::of(u64_at(fixed, 0)), bytes: body }
        }
        70 => {
            need(16)?;
            // A worker of an earlier version gives the message back; if this record were skipped as unknown, the
            // message would be lost.
            Record::Refuse { seq: Seq(u64_at(fixed, 0)), reason: RefuseReason::Other }
        }
        71 => {
            if !body.len().is_multiple_of(16) {
                return Err(FrameError::Record { kind });
            }
            Record::Release(Released(body))
        }
        72 => {
            need(8)?;
            Record::GroupOpen { opened: Time(u64_at(fixed, 0)), name: body }
        }
        73 => Record::GroupClosed { name: body },
        74 => {
            need(8)?;
            Record::Pong(u64_at(fixed, 0))
        }
        75 => {
            need(8)?;
            let stride = usize::from(u16_at(fixed, 0));
            if stride < TRANSACTION || !body.len().is_multiple_of(stride) {
                return Err(FrameError::Value { kind, field: "length of an entry" });
            }
            Record::Holding(Transactions { bytes: body, stride })
        }
        76 => {
            need(16)?;
            let why = body.get(..Outcome::LONGEST).unwrap_or(body);
            // The text is for people: if it is cut or damaged, its readable beginning is shown.
            let why = match std::str::from_utf8(why) {
                Ok(why) => why,
                Err(error) => {
                    why.get(..error.valid_up_to()).and_then(|why| std::str::from_utf8(why).ok()).unwrap_or_default()
                }
            };
            Record::Outcome(Outcome { seq: Seq(u64_at(fixed, 0)), status: u16_at(fixed, 8), why })
        }
        77 => {
            need(MESSAGE_FIXED)?;
            Record::Unanswered(Message { envelope: read_envelope(fixed)?, payload: body })
        }
        78 => {
            need(8)?;
            Record::ClockAsk(Time(u64_at(fixed, 0)))
        }
        79 => {
            need(SEND_FIXED)?;
            let address = |at: usize, field| read_address(&fixed[at..at + 20]).ok_or(FrameError::Value { kind, field });
            let (mut to, from) = (address(8, "destination")?, address(28, "local address")?.ip());
            if let SocketAddr::V6(v6) = &mut to {
                v6.set_scope_id(u32_at(fixed, 48));
            }
            let (listener, permit) = (ListenerId(u16_at(fixed, 0)), Permit(u64_at(fixed, 0) >> 16));
            Record::Send(Dispatched { listener, to, from, permit, bytes: body })
        }
        128 => Record::Takeover(serde_json::from_slice(body).map_err(json_error)?),
        _ => return Ok(None),
    };
    Ok(Some(record))
}

impl FrameBuilder {
    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        match record {
            Record::Welcome(welcome) => self.push_json(1, welcome),
            Record::Message(message) => self.push_message(2, message),
            Record::Drain(drain) => {
                let mut fixed = [0; 16];
                fixed[0] = match drain.mode {
                    DrainMode::Ready => 0,
                    DrainMode::Drain => 1,
                    DrainMode::Stop => 2,
                };
                put_u64(&mut fixed, 8, u64::try_from(drain.within.as_millis()).unwrap_or(u64::MAX));
                self.push_record(3, &fixed, &[]);
            }
            Record::Takeover(takeover) => self.push_json(128, takeover),
            Record::Ping(number) => self.push_record(5, &number.to_le_bytes(), &[]),
            Record::Goodbye(reason) => self.push_record(6, &[], reason.as_bytes()),
            Record::Access(rules) => self.push_record(7, &stride_fixed(rules.stride), rules.bytes),
            Record::Certificates => self.push_record(8, &[], &[]),
            Record::Undelivered { to, bytes } => self.push_record(9, &to.number().to_le_bytes(), bytes),
            Record::Hello(hello) => self.push_json(65, hello),
            Record::Report(report) => self.push_record(66, &report_fixed(report), &[]),
            Record::Answered(seqs) => self.push_record(67, &[], seqs.0),
            Record::Refuse { seq, reason } => {
                let mut fixed = [0; 16];
                put_u64(&mut fixed, 0, seq.0);
                fixed[8] = refusal_code(*reason);
                self.push_record(68, &fixed, &[]);
            }
            Record::Reply { to, bytes } => self.push_record(69, &to.number().to_le_bytes(), bytes),
            Record::Release(names) => self.push_record(71, &[], names.0),
            Record::Holding(transactions) => {
                self.push_record(75, &stride_fixed(transactions.stride), transactions.bytes);
            }
            Record::GroupOpen { opened, name } => self.push_record(72, &opened.0.to_le_bytes(), name),
            Record::GroupClosed { name } => self.push_record(73, &[], name),
            Record::Pong(number) => self.push_record(74, &number.to_le_bytes(), &[]),
            Record::Outcome(outcome) => {
                let mut fixed = [0; 16];
                put_u64(&mut fixed, 0, outcome.seq.0);
                fixed[8..10].copy_from_slice(&outcome.status.to_le_bytes());
                self.push_record(76, &fixed, outcome.why.as_bytes());
            }
            Record::Unanswered(message) => self.push_message(77, message),
            Record::Clock { asked, at } => {
                let mut fixed = [0; 16];
                put_u64(&mut fixed, 0, asked.0);
                put_u64(&mut fixed, 8, at.0);
                self.push_record(10, &fixed, &[]);
            }
            Record::ClockAsk(time) => self.push_record(78, &time.0.to_le_bytes(), &[]),
            Record::Send(answer) => {
                let mut fixed = [0; SEND_FIXED];
                put_u64(&mut fixed, 0, answer.permit.0 << 16 | u64::from(answer.listener.0));
                put_address(&mut fixed[8..28], answer.to);
                if let SocketAddr::V6(v6) = answer.to {
                    put_u32(&mut fixed, 48, v6.scope_id());
                }
                put_address(&mut fixed[28..48], SocketAddr::new(answer.from, 0));
                self.push_record(79, &fixed, answer.bytes);
            }
        }
    }

    /// Adds an `Answered` record for `seqs`.
    pub fn push_answered(&mut self, seqs: &[Seq]) {
        self.push_entries(67, &[], seqs.iter().map(|seq| seq.0.to_le_bytes()));
    }
}

const fn refusal_code(reason: RefuseReason) -> u8 {
    match reason {
        RefuseReason::Full => 1,
        RefuseReason::Draining => 2,
        RefuseReason::Late => 3,
        RefuseReason::Exhausted => 4,
        RefuseReason::Follows => 5,
        RefuseReason::Other => 255,
    }
}

const fn refusal(code: u8) -> RefuseReason {
    match code {
        1 => RefuseReason::Full,
        2 => RefuseReason::Draining,
        3 => RefuseReason::Late,
        4 => RefuseReason::Exhausted,
        5 => RefuseReason::Follows,
        _ => RefuseReason::Other,
    }
}
