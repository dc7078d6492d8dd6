//! The links to the dispatcher: one for each of its lanes, each with numbers and reports of its own.
//!
//! The rest of the worker knows a message by one number, whichever link it came on: made of the lane, the count of
//! messages on earlier links, and its number on the link. So each number is used once, under a new dispatcher as well.

use std::io;
use std::time::Duration;

use mio::{Poll, Token};

use crate::ids::{ConnId, GatheringId, Seq};
use crate::link::Transmit as Flow;
use crate::link::worker_end::{Backlog, WorkerEnd};
use crate::time::Time;
use crate::words::ReplyTo;
use crate::words::{RefuseReason, Report};
use crate::worker::link::LinkEnd;

/// The first link's token; the others have the next ones.
pub(super) const LINKS: usize = 1 << 7;
/// More lanes than any machine has CPUs for.
pub(super) const MOST: usize = 1 << 7;
/// Bits of a number that count messages; the bits above them hold the lane.
const NUMBER_BITS: u32 = 48;

/// All links of one dispatcher; none while there is no dispatcher.
#[derive(Debug, Default)]
pub(super) struct Links {
    lanes: Vec<Lane>,
    /// Messages of earlier links.
    earlier: u64,
}

/// The link to one lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) end: LinkEnd,
    pub(super) back: WorkerEnd,
    /// Whether the link has been read to its end.
    is_over: bool,
}

/// The numbering of messages: a copy, because a link that is being read cannot be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    earlier: u64,
}

impl Numbers {
    /// The worker's own word for `to` of link `lane`.
    pub(super) const fn reply_to(self, lane: usize, to: ReplyTo) -> ReplyTo {
        let lane = (lane as u64) << NUMBER_BITS;
        match to {
            ReplyTo::Datagram => ReplyTo::Datagram,
            ReplyTo::Stream(ConnId(number)) => ReplyTo::Stream(ConnId(lane | number)),
            ReplyTo::Gathering(GatheringId(number)) => ReplyTo::Gathering(GatheringId(lane | number)),
        }
    }

    /// The worker's number for message `seq` of link `lane`.
    pub(super) const fn of(self, lane: usize, seq: Seq) -> Seq {
        Seq((lane as u64) << NUMBER_BITS | (self.earlier + seq.0))
    }
}

/// The token of link `lane`.
pub(super) const fn token(lane: usize) -> Token {
    Token(LINKS + lane)
}

impl Links {
    /// A dispatcher's links: the one of the welcome, with the protocol's state so far, and those that came beside it.
    ///
    /// # Errors
    ///
    /// The poll watches nothing more.
    pub(super) fn set(&mut self, first: LinkEnd, back: WorkerEnd, more: Vec<LinkEnd>, poll: &Poll) -> io::Result<()> {
        for (number, end) in more.iter().enumerate() {
            end.watch(poll, token(1 + number))?;
        }
        let first = Lane { end: first, back, is_over: false };
        let more = more.into_iter().map(|end| Lane { end, back: WorkerEnd::new(), is_over: false });
        self.lanes = std::iter::once(first).chain(more).collect();
        Ok(())
    }

    /// The dispatcher is gone.
    pub(super) fn clear(&mut self) {
        let taken = self.lanes.iter().map(|lane| lane.back.taken_through().0).max().unwrap_or_default();
        self.earlier += taken;
        self.lanes.clear();
    }

    /// Whether there is a dispatcher.
    pub(super) fn is_up(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// A link.
    pub(super) fn get_mut(&mut self, lane: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(lane)
    }

    /// A link has been read to its end; true when all of them have.
    pub(super) fn on_end(&mut self, lane: usize) -> bool {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.is_over = true;
        }
        self.lanes.iter().all(|lane| lane.is_over)
    }

    /// The numbering of these links' messages.
    pub(super) const fn numbers(&self) -> Numbers {
        Numbers { earlier: self.earlier }
    }

    /// Link and number on it; `None` for a message of an earlier link.
    fn place(&mut self, number: Seq) -> Option<(&mut Lane, Seq)> {
        let own = (number.0 & ((1 << NUMBER_BITS) - 1)).checked_sub(self.earlier).filter(|own| *own > 0)?;
        let lane = self.lanes.get_mut((number.0 >> NUMBER_BITS) as usize)?;
        Some((lane, Seq(own)))
    }

    /// The first final response to a message has left, or none will; false for a message of an earlier link.
    pub(super) fn answered(&mut self, number: Seq, now: Time) -> bool {
        let Some((lane, seq)) = self.place(number) else { return false };
        lane.back.answered(seq, now);
        true
    }

    /// Tells the dispatcher the final answer to a message. It is not told for a message of an earlier link.
    pub(super) fn outcome(&mut self, number: Seq, status: u16, why: Option<Box<str>>) {
        if let Some((lane, seq)) = self.place(number) {
            lane.back.outcome(seq, status, why);
        }
    }

    /// Gives a message back. A message of an earlier link cannot be given back.
    pub(super) fn refuse(&mut self, number: Seq, reason: RefuseReason) {
        if let Some((lane, seq)) = self.place(number) {
            lane.back.refuse(seq, reason);
        }
    }

    /// A transaction of an earlier link is over. The worker cannot know which lane looks after it, so it tells all
    /// lanes.
    pub(super) fn release(&mut self, branch: [u8; 16]) {
        self.lanes.iter_mut().for_each(|lane| lane.back.release(branch));
    }

    /// A conference is open; every lane is told.
    ///
    /// # Errors
    ///
    /// A link takes nothing, and its backlog is full.
    pub(super) fn group_open(&mut self, opened: Time, name: &[u8]) -> Result<(), Backlog> {
        self.lanes.iter_mut().try_for_each(|lane| lane.back.group_open(opened, name))
    }

    /// A conference is closed; every lane is told.
    ///
    /// # Errors
    ///
    /// As [`Links::group_open`].
    pub(super) fn group_closed(&mut self, name: &[u8]) -> Result<(), Backlog> {
        self.lanes.iter_mut().try_for_each(|lane| lane.back.group_closed(name))
    }

    /// Gives the dispatcher the answer `bytes` to a message that it passes on itself.
    ///
    /// # Errors
    ///
    /// As [`Links::group_open`].
    pub(super) fn reply(&mut self, to: ReplyTo, bytes: &[u8]) -> Result<(), Backlog> {
        let Some(lane) = self.lanes.get_mut((to.number() >> NUMBER_BITS) as usize) else { return Ok(()) };
        lane.back.reply(ReplyTo::of(to.number() & ((1 << NUMBER_BITS) - 1)), bytes)
    }

    /// Whether a lane should hear how far its messages have been read.
    pub(super) fn report_due(&self) -> bool {
        self.lanes.iter().any(|lane| lane.back.report_due())
    }

    /// Reports to every lane. The number of the last message read on each link is filled in here.
    pub(super) fn report(&mut self, report: Report) {
        for Lane { back, .. } in &mut self.lanes {
            let taken_through = back.taken_through();
            back.report(Report { taken_through, covers: taken_through, ..report });
        }
    }

    /// Says on every link why it is closed, and sends it: the process ends either way.
    pub(super) fn goodbye(&mut self, reason: &str, now: Time) {
        for Lane { end, back, .. } in &mut self.lanes {
            back.goodbye(reason);
            let _ = back.poll_transmit(now + Duration::from_secs(1), |pieces| end.send(pieces));
        }
    }

    /// Sends what is due. `ready` gets the links that should be read: they take more again, or have broken.
    pub(super) fn flush(&mut self, now: Time, mut ready: impl FnMut(Token)) {
        for (number, Lane { end, back, .. }) in self.lanes.iter_mut().enumerate() {
            match back.poll_transmit(now, |pieces| end.send(pieces)) {
                Ok(Flow::Drained) => {
                    if end.unblock() {
                        ready(token(number));
                    }
                }
                Ok(Flow::Blocked) => end.block(),
                // Frames that the dispatcher sent before it died can still be read; the end of the link follows them.
                Err(_) => {
                    end.block();
                    ready(token(number));
                }
            }
        }
    }

    /// When [`Links::flush`] has something to send.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let free = self.lanes.iter().filter(|lane| !lane.end.is_blocked());
        free.filter_map(|lane| lane.back.poll_timeout()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::handoff::{FRAME_HEADER, frame_header, message_header};
    use crate::words::Envelope;

    use crate::net::unix::SeqPacket;

    fn links(lanes: usize) -> (Links, Vec<SeqPacket>) {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (0..lanes).map(|_| SeqPacket::pair().unwrap()).map(|(ours, theirs)| (LinkEnd::on(ours), theirs)).unzip();
        let mut ours = ours.into_iter();
        let mut links = Links::default();
        links.set(ours.next().unwrap(), WorkerEnd::new(), ours.collect(), &Poll::new().unwrap()).unwrap();
        (links, theirs)
    }

    fn read(links: &mut Links, lane: usize, seq: u64) {
        let header = message_header(&Envelope::plain(seq), 4);
        let frame = [&frame_header(header.len() + 4)[..FRAME_HEADER], &header[..], b"ping"].concat();
        links.get_mut(lane).unwrap().back.on_frame(&frame, &mut |_| {}).unwrap();
    }

    fn heard(socket: &SeqPacket) -> bool {
        socket.recv(&mut [0; 4096], &mut Vec::new()).is_ok_and(|length| length > FRAME_HEADER)
    }

    #[test]
    fn an_answer_goes_to_the_lane_that_handed_the_message_over() {
        let (mut links, theirs) = links(2);
        read(&mut links, 0, 7);
        read(&mut links, 1, 7);
        let number = links.numbers().of(1, Seq(7));
        assert_ne!(number, links.numbers().of(0, Seq(7)));
        assert!(links.answered(number, Time(0)));
        links.flush(Time(20_000), |_| {});
        assert_eq!(theirs.iter().map(heard).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn every_lane_hears_reports_and_conferences() {
        let (mut links, theirs) = links(3);
        links.report(Report::default());
        links.group_open(Time(0), b"conf=1").unwrap();
        links.flush(Time(0), |_| {});
        assert_eq!(theirs.iter().map(heard).collect::<Vec<_>>(), [true; 3]);
    }

    #[test]
    fn the_dispatcher_is_gone_when_all_links_are_and_its_numbers_are_not_used_again() {
        let (mut links, _theirs) = links(2);
        read(&mut links, 1, 40);
        let before = links.numbers().of(1, Seq(40));
        assert!(!links.on_end(1), "the other lane's last messages are still to be read");
        assert!(links.on_end(0));
        links.clear();
        assert!(!links.is_up());
        assert!(!links.answered(before, Time(0)));
        let (first, _other) = SeqPacket::pair().unwrap();
        links.set(LinkEnd::on(first), WorkerEnd::new(), Vec::new(), &Poll::new().unwrap()).unwrap();
        assert!(links.numbers().of(0, Seq(1)).0 > 40);
        assert!(!links.answered(before, Time(0)), "an earlier dispatcher's message");
    }
}
