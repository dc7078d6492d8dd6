//! The way back to a new dispatcher: the worker introduces itself, tells its account, gives its sockets, and waits for
//! the welcome. Calls go on meanwhile: nothing here waits.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::station::Account;
use crate::time::Time;
use crate::wire::handoff::{Frame, FrameBuilder, HOLDING_AT_ONCE, Record};
use crate::words::{Hello, Message, Welcome};
use crate::worker::link::{LinkEnd, Received};

/// Limit for the welcome: a dispatcher waits for up to a thousand workers, binds and starts before it welcomes them.
/// One that takes longer hangs.
const WELCOME_WITHIN: Duration = Duration::from_secs(60);

/// A worker that speaks to a new dispatcher.
#[derive(Debug)]
pub(super) struct Comeback {
    link: LinkEnd,
    /// The part of the account that is not sent yet.
    account: Account,
    /// A frame that the link has not taken yet.
    waiting: Option<FrameBuilder>,
    give_up_at: Time,
}

/// The state of a comeback.
pub(super) enum Progress {
    /// The dispatcher has not answered yet.
    Waiting(Comeback),
    /// The dispatcher has welcomed the worker. Descriptors came beside the `Welcome`.
    Welcome(LinkEnd, Box<Welcome>, Vec<OwnedFd>),
    /// The dispatcher has refused the worker.
    Refused(String),
    /// The dispatcher is gone again, or has not answered in time.
    Failed,
}

impl Comeback {
    /// Says `hello` on a new link, with `sockets` beside it, and begins to send the account.
    ///
    /// # Errors
    ///
    /// The dispatcher is gone again.
    pub(super) fn begin(
        mut link: LinkEnd,
        hello: Hello,
        sockets: &[BorrowedFd<'_>],
        account: Account,
        now: Time,
    ) -> io::Result<Self> {
        let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let hello = Hello {
            transactions: counted(account.transactions.len()),
            conferences: counted(account.conferences.len()),
            messages: counted(account.messages.len()),
            ..hello
        };
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Hello(hello));
        link.send_with(&[IoSlice::new(frame.bytes())], sockets)?;
        let mut back = Comeback { link, account, waiting: None, give_up_at: now + WELCOME_WITHIN };
        back.tell()?;
        Ok(back)
    }

    /// The link can be read or written, or the time is over.
    pub(super) fn go_on(mut self, now: Time) -> Progress {
        // A dispatcher that has refused us reads no more, so that sending may fail. Its reason is read all the same.
        let told = self.tell();
        let mut descriptors = Vec::new();
        let welcome = loop {
            match self.link.receive_with(&mut descriptors) {
                Ok(Received::Frame(frame)) => match Frame::parse(frame).ok().and_then(|mut records| records.next()) {
                    Some(Ok(Record::Welcome(welcome))) => break welcome,
                    Some(Ok(Record::Goodbye(reason))) => return Progress::Refused(reason.to_owned()),
                    _ => {}
                },
                Ok(Received::Nothing) if told.is_ok() && now < self.give_up_at => return Progress::Waiting(self),
                Ok(Received::Nothing | Received::End) | Err(_) => return Progress::Failed,
            }
        };
        Progress::Welcome(self.link, Box::new(welcome), descriptors)
    }

    /// When [`Comeback::go_on`] gives up.
    pub(super) const fn poll_timeout(&self) -> Time {
        self.give_up_at
    }

    /// Sends as much of the account as the link takes.
    fn tell(&mut self) -> io::Result<()> {
        while let Some(mut frame) = self.waiting.take().or_else(|| self.next_frame()) {
            match self.link.send(&[IoSlice::new(frame.bytes())]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waiting = Some(frame);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Option<FrameBuilder> {
        let Account { transactions, conferences, messages } = &mut self.account;
        let mut frame = FrameBuilder::new();
        if !transactions.is_empty() {
            let rest = transactions.len().saturating_sub(HOLDING_AT_ONCE);
            frame.push_holding(&transactions.split_off(rest));
            return Some(frame);
        }
        while let Some((opened, name)) = conferences.pop_if(|(_, name)| frame.is_empty() || frame.fits(name.len())) {
            frame.push(&Record::GroupOpen { opened, name: &name });
        }
        while let Some((envelope, payload)) =
            messages.pop_if(|(_, payload)| frame.is_empty() || frame.fits(payload.len()))
        {
            frame.push(&Record::Unanswered(Message { envelope, payload: &payload }));
        }
        (!frame.is_empty()).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::unix::SeqPacket;
    use crate::station::Conference;
    use crate::wire::handoff::FRAME_HARD_LIMIT;
    use crate::words::{Envelope, OpenTransaction};

    #[test]
    fn a_worker_with_very_much_tells_all_of_it_in_frames_of_the_usual_size_and_never_waits() {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let transactions: Vec<OpenTransaction> =
            (0..50_000).map(|cseq| OpenTransaction { cseq, ..OpenTransaction::default() }).collect();
        let conferences: Vec<Conference> =
            (0..20_000_u32).map(|number| (Time(1), format!("conf={number}").into_bytes().into())).collect();
        let messages: Vec<(Envelope, Arc<[u8]>)> =
            (0..500).map(|seq| (Envelope::plain(seq), Arc::from(vec![b'x'; 40 * seq as usize]))).collect();
        let account = Account { transactions, conferences, messages };
        let begun = Comeback::begin(LinkEnd::on(ours), Hello::default(), &[], account, Time(0));
        let mut comeback = begun.unwrap();
        let (mut told, mut open, mut back) = (Vec::new(), 0, Vec::new());
        let mut buffer = vec![0; FRAME_HARD_LIMIT];
        let mut hello = None;
        while told.len() < 50_000 || open < 20_000 || back.len() < 500 {
            // The dispatcher reads one frame in the time in which the worker could send many.
            let length = theirs.recv(&mut buffer, &mut Vec::new()).expect("there is more");
            for record in Frame::parse(&buffer[..length]).unwrap() {
                match record.unwrap() {
                    Record::Hello(it) => hello = Some((it.transactions, it.conferences, it.messages)),
                    Record::Holding(held) => told.extend(held.iter().map(|held| held.cseq)),
                    Record::GroupOpen { .. } => open += 1,
                    Record::Unanswered(message) => back.push((message.envelope.seq.0, message.payload.len())),
                    other => panic!("{other:?}"),
                }
            }
            match comeback.go_on(Time(0)) {
                Progress::Waiting(on) => comeback = on,
                _ => panic!("nobody has answered"),
            }
        }
        assert_eq!(hello, Some((50_000, 20_000, 500)));
        back.sort_unstable();
        assert!(back.into_iter().eq((0..500).map(|seq| (seq, 40 * seq as usize))));
        told.sort_unstable();
        assert!(told.iter().copied().eq(0..50_000) && open == 20_000);
    }

    #[test]
    fn a_refusal_is_heard_and_a_dispatcher_that_dies_or_hangs_is_given_up() {
        let begin = || {
            let (ours, theirs) = SeqPacket::pair().unwrap();
            let begun = Comeback::begin(LinkEnd::on(ours), Hello::default(), &[], Account::default(), Time(0));
            (begun.unwrap(), theirs)
        };
        let (refused, theirs) = begin();
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Goodbye("no"));
        theirs.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
        drop(theirs);
        assert!(matches!(refused.go_on(Time(0)), Progress::Refused(reason) if reason == "no"));
        let (left, theirs) = begin();
        drop(theirs);
        assert!(matches!(left.go_on(Time(0)), Progress::Failed));
        let (hangs, _theirs) = begin();
        let Progress::Waiting(hangs) = hangs.go_on(Time(59_999_999)) else { panic!("it is not time yet") };
        assert_eq!(hangs.poll_timeout(), Time(60_000_000));
        assert!(matches!(hangs.go_on(Time(60_000_000)), Progress::Failed));
    }
}
