//! Broken rules: each changes what passes between two parts, and the simulation has to notice.

use pointsman::ids::Seq;
use pointsman::wire::handoff::{FrameBuilder, Record};
use pointsman::words::Message;

use crate::pipe::records;
use crate::text;

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// One broken rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$name),*];
        }
    };
}

mutations! {
    /// Workers never tell that a message is answered.
    AnsweredIsLost,
    /// A worker says that a message that it has just read is answered.
    AnsweredTooEarly,
    /// Messages that a worker gives back do not arrive.
    RefusalsAreLost,
    /// Workers never tell that a conference opens.
    ConferencesAreForgotten,
    /// Workers never tell that a conference closes.
    ConferencesStayForEver,
    /// A dead worker's last frames are thrown away.
    DeadLinksAreNotRead,
    /// Messages that a dead worker had not answered go to no other worker.
    OrphansAreDropped,
    /// A worker reports one unit too many.
    ReportsLie,
    /// A report claims to count handovers that it does not count.
    ReportsCoverTooMuch,
    /// CANCELs do not reach the worker.
    CancelsAreLost,
    /// The ACK to a refusal is taken for that of another transaction.
    RefusalsAreNotAcknowledged,
    /// The records of a frame arrive in the wrong order.
    RecordsAreReversed,
    /// An INVITE that comes again is taken for another one.
    RetransmissionsAreSelected,
    /// An INVITE that waits for long is forgotten.
    PendingInvitesAreForgotten,
    /// A worker's token is taken for its neighbour's.
    TokensAreSwapped,
    /// The time within which a message may be read is not told.
    DeadlinesAreIgnored,
    /// Every session is handed over with size 1.
    SizesAreIgnored,
    /// A worker does not tell a new dispatcher which transactions it has.
    TransactionsAreNotBrought,
    /// A worker does not tell a new dispatcher which conferences it has.
    ConferencesAreNotBrought,
    /// A worker does not hand back to a new dispatcher the messages it has not answered.
    MessagesAreNotBrought,
    /// Workers never tell that they have the connections of a call.
    CallIdsAreForgotten,
    /// A CRCX that comes again is taken for another one.
    CommandsAreSelectedAgain,
}

impl Mutation {
    /// A worker's frame as the dispatcher reads it. `sent`: the last message that has been handed to it.
    pub fn at_the_front(self, frame: Vec<u8>, sent: Seq) -> Vec<u8> {
        self.rebuilt(frame, |record| match (self, record) {
            (Mutation::AnsweredIsLost | Mutation::AnsweredTooEarly, Record::Answered(_)) => None,
            (Mutation::RefusalsAreLost, Record::Refuse { .. }) => None,
            (Mutation::ConferencesAreForgotten, Record::GroupOpen { .. }) => None,
            (Mutation::ConferencesStayForEver, Record::GroupClosed { .. }) => None,
            (Mutation::CallIdsAreForgotten, Record::GroupOpen { name, .. }) if name.starts_with(b"C:") => None,
            (Mutation::ReportsLie, Record::Report(mut report)) => {
                report.units_used += 1;
                Some(Record::Report(report))
            }
            (Mutation::ReportsCoverTooMuch, Record::Report(mut report)) => {
                report.covers = sent;
                Some(Record::Report(report))
            }
            (_, record) => Some(record),
        })
    }

    /// The dispatcher's frame as the worker reads it.
    pub fn at_the_worker(self, frame: Vec<u8>) -> Vec<u8> {
        if matches!(
            self,
            Mutation::RetransmissionsAreSelected
                | Mutation::CommandsAreSelectedAgain
                | Mutation::RefusalsAreNotAcknowledged
        ) {
            return self.rebuilt_messages(frame);
        }
        self.rebuilt(frame, |record| match (self, record) {
            (Mutation::CancelsAreLost, Record::Message(message)) if message.payload.starts_with(b"CANCEL") => None,
            (Mutation::DeadlinesAreIgnored, Record::Message(mut message)) => {
                message.envelope.deadline = None;
                Some(Record::Message(message))
            }
            (Mutation::SizesAreIgnored, Record::Message(mut message)) => {
                message.envelope.size = message.envelope.size.min(1);
                Some(Record::Message(message))
            }
            (_, record) => Some(record),
        })
    }

    /// The frame that the mutation makes a worker send when it has read a frame.
    pub fn on_read(self, frame: &[u8]) -> Option<Vec<u8>> {
        let seqs: Vec<Seq> = records(frame)
            .filter_map(|record| match record {
                Record::Message(message) => Some(message.envelope.seq),
                _ => None,
            })
            .collect();
        (self == Mutation::AnsweredTooEarly && !seqs.is_empty()).then(|| answered(&seqs))
    }

    /// A message as the dispatcher reads it; `copies`: how often it has come before.
    pub fn to_dispatcher(self, message: &str, copies: u32) -> Option<String> {
        if self == Mutation::CommandsAreSelectedAgain && copies > 0 && message.starts_with("CRCX ") {
            let (_, rest) = message.split_once(' ')?;
            let (transaction, rest) = rest.split_once(' ')?;
            let transaction = transaction.parse::<u32>().ok()? + copies * ANOTHER;
            return Some(format!("CRCX {transaction} {}", rest.replacen("C: ", &format!("C: {copies}F"), 1)));
        }
        if self != Mutation::RetransmissionsAreSelected
            || copies == 0
            || !message.starts_with("INVITE")
            || text::to_tag(message).is_some()
        {
            return None;
        }
        let branch = format!(";branch={}", text::branch(message));
        let call_id = format!("Call-ID: {}", text::header(message, "Call-ID")?);
        let marked = message.replacen(&branch, &format!("{branch}{MARK}{copies}{MARK}"), 1);
        Some(marked.replacen(&call_id, &format!("{call_id}{MARK}{copies}{MARK}"), 1))
    }

    fn rebuilt(self, frame: Vec<u8>, mut change: impl FnMut(Record<'_>) -> Option<Record<'_>>) -> Vec<u8> {
        let mut kept: Vec<Record<'_>> = records(&frame).filter_map(&mut change).collect();
        if self == Mutation::RecordsAreReversed && kept.iter().all(|record| matches!(record, Record::Message(_))) {
            kept.reverse();
        }
        let mut builder = FrameBuilder::new();
        kept.iter().for_each(|record| builder.push(record));
        builder.bytes().to_vec()
    }

    fn rebuilt_messages(self, frame: Vec<u8>) -> Vec<u8> {
        let mut builder = FrameBuilder::new();
        for record in records(&frame) {
            match record {
                Record::Message(Message { envelope, payload }) => {
                    let text = std::str::from_utf8(payload).expect("callers write plain text");
                    let text = match self {
                        Mutation::CommandsAreSelectedAgain if text.starts_with("CRCX ") => unnumbered(text),
                        Mutation::RefusalsAreNotAcknowledged if text.starts_with("ACK ") => {
                            Some(text.replacen(";branch=z9hG4bK", ";branch=z9hG4bK-other", 1))
                        }
                        _ => None,
                    }
                    .unwrap_or_else(|| unmarked(text));
                    builder.push(&Record::Message(Message { envelope, payload: text.as_bytes() }));
                }
                record => builder.push(&record),
            }
        }
        builder.bytes().to_vec()
    }
}

const MARK: char = '~';
/// Distance between a call agent's transaction and the one it is taken for: more than there are transactions.
const ANOTHER: u32 = 10_000_000;

/// A command without what [`Mutation::to_dispatcher`] has put into it.
fn unnumbered(text: &str) -> Option<String> {
    let (verb, rest) = text.split_once(' ')?;
    let (transaction, rest) = rest.split_once(' ')?;
    let transaction = transaction.parse::<u32>().ok()?;
    let copies = transaction / ANOTHER;
    let rest = if copies == 0 { rest.to_owned() } else { rest.replacen(&format!("C: {copies}F"), "C: ", 1) };
    Some(format!("{verb} {} {rest}", transaction % ANOTHER))
}

/// A text without what [`Mutation::to_dispatcher`] has put into it.
pub fn unmarked(text: &str) -> String {
    text.split(MARK).step_by(2).collect()
}

/// A frame that says that these messages are answered.
pub fn answered(seqs: &[Seq]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    builder.push_answered(seqs);
    builder.bytes().to_vec()
}
