//! The links to the dispatcher: one for each of its lanes, each with numbers and reports of its own.
//!
//! The rest of the worker knows a message by one number, whichever link it came on: made of the lane, the count of
//! messages on earlier links, and its number on the link. So each number is used once, under a new dispatcher as well.

use std::io::{self, IoSlice};
use std::time::Duration;

use crate::ids::{ConnId, GatheringId, Seq};
use crate::link::Transmit as Flow;
use crate::link::worker_end::{Backlog, WorkerEnd};
use crate::time::Time;
use crate::words::{Dispatched, Permit, RefuseReason, ReplyTo, Report};

/// Bits of a number that count messages; the bits above them hold the lane.
const NUMBER_BITS: u32 = 48;

/// All links of one dispatcher; none while there is no dispatcher.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// Messages of earlier links.
    earlier: u64,
}

/// The link to one lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) end: WorkerEnd,
    /// Whether the link took nothing more when it was written last.
    is_blocked: bool,
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
            ReplyTo::Permitted(Permit(number)) => ReplyTo::Permitted(Permit(lane | number)),
            ReplyTo::Stream(ConnId(number)) => ReplyTo::Stream(ConnId(lane | number)),
            ReplyTo::Gathering(GatheringId(number)) => ReplyTo::Gathering(GatheringId(lane | number)),
        }
    }

    /// The worker's number for message `seq` of link `lane`.
    pub(super) const fn of(self, lane: usize, seq: Seq) -> Seq {
        Seq((lane as u64) << NUMBER_BITS | (self.earlier + seq.0))
    }
}

impl Lane {
    const fn new(end: WorkerEnd) -> Self {
        Lane { end, is_blocked: false, is_over: false }
    }
}

impl Lanes {
    /// A dispatcher's links: the one of the welcome, with the protocol's state so far, and `more` that came beside it.
    pub(super) fn set(&mut self, first: WorkerEnd, more: usize) {
        let more = (0..more).map(|_| Lane::new(WorkerEnd::new()));
        self.lanes = std::iter::once(Lane::new(first)).chain(more).collect();
    }

    /// The dispatcher is gone.
    pub(super) fn clear(&mut self) {
        let taken = self.lanes.iter().map(|lane| lane.end.taken_through().0).max().unwrap_or_default();
        self.earlier += taken;
        self.lanes.clear();
    }

    /// Whether there is a dispatcher.
    pub(super) fn is_up(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// A link.
    pub(super) fn get(&self, lane: usize) -> Option<&Lane> {
        self.lanes.get(lane)
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
        lane.end.answered(seq, now);
        true
    }

    /// Tells the dispatcher the final answer to a message. It is not told for a message of an earlier link.
    pub(super) fn outcome(&mut self, number: Seq, status: u16, why: Option<Box<str>>) {
        if let Some((lane, seq)) = self.place(number) {
            lane.end.outcome(seq, status, why);
        }
    }

    /// Gives a message back. A message of an earlier link cannot be given back; the application answers it instead.
    pub(super) fn refuse(&mut self, number: Seq, reason: RefuseReason) {
        let place = self.place(number);
        debug_assert!(place.is_some(), "a message of an earlier link is given back, and its caller hears nothing");
        if let Some((lane, seq)) = place {
            lane.end.refuse(seq, reason);
        }
    }

    /// A transaction of an earlier link is over. The worker cannot know which lane looks after it, so it tells all
    /// lanes.
    pub(super) fn release(&mut self, name: [u8; 16]) {
        self.lanes.iter_mut().for_each(|lane| lane.end.release(name));
    }

    /// A conference is open; every lane is told.
    ///
    /// # Errors
    ///
    /// A link takes nothing, and its backlog is full.
    pub(super) fn group_open(&mut self, opened: Time, name: &[u8]) -> Result<(), Backlog> {
        self.lanes.iter_mut().try_for_each(|lane| lane.end.group_open(opened, name))
    }

    /// A conference is closed; every lane is told.
    ///
    /// # Errors
    ///
    /// As [`Lanes::group_open`].
    pub(super) fn group_closed(&mut self, name: &[u8]) -> Result<(), Backlog> {
        self.lanes.iter_mut().try_for_each(|lane| lane.end.group_closed(name))
    }

    /// Gives the dispatcher the answer `bytes` to a message that it passes on itself.
    ///
    /// # Errors
    ///
    /// As [`Lanes::group_open`].
    pub(super) fn reply(&mut self, to: ReplyTo, bytes: &[u8]) -> Result<(), Backlog> {
        let Some(lane) = self.lanes.get_mut((to.number() >> NUMBER_BITS) as usize) else { return Ok(()) };
        lane.end.reply(ReplyTo::of(to.number() & ((1 << NUMBER_BITS) - 1)), bytes)
    }

    /// Has the dispatcher send an answer from a well-known socket. Each lane has all of them; the one that handed the
    /// message over counts what is said about it.
    ///
    /// # Errors
    ///
    /// As [`Lanes::group_open`].
    pub(super) fn send(&mut self, answer: &Dispatched<'_>) -> Result<(), Backlog> {
        let number = answer.permit.0;
        let answer = Dispatched { permit: Permit::new(number), ..*answer };
        let lane = Some((number >> NUMBER_BITS) as usize).filter(|lane| *lane < self.lanes.len());
        // A new dispatcher may have fewer lanes.
        self.lanes.get_mut(lane.unwrap_or_default()).map_or(Ok(()), |lane| lane.end.send(&answer))
    }

    /// Asks for the dispatcher's clock.
    pub(super) fn ask_clock(&mut self, now: Time) {
        if let Some(lane) = self.lanes.first_mut() {
            lane.end.ask_clock(now);
        }
    }

    /// Whether a lane should hear how far its messages have been read.
    pub(super) fn report_due(&self) -> bool {
        self.lanes.iter().any(|lane| lane.end.report_due())
    }

    /// Reports to every lane. The number of the last message read on each link is filled in here.
    pub(super) fn report(&mut self, report: Report) {
        for Lane { end, .. } in &mut self.lanes {
            let taken_through = end.taken_through();
            end.report(Report { taken_through, covers: taken_through, ..report });
        }
    }

    /// Says on every link why it is closed, and sends it: the process ends either way.
    pub(super) fn goodbye(
        &mut self,
        reason: &str,
        now: Time,
        mut send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>,
    ) {
        for (number, Lane { end, .. }) in self.lanes.iter_mut().enumerate() {
            end.goodbye(reason);
            let _ = end.poll_transmit(now + Duration::from_secs(1), |pieces| send(number, pieces));
        }
    }

    /// Sends what is due. Returns the links that should be read: they take more again, or have broken.
    pub(super) fn flush(
        &mut self,
        now: Time,
        mut send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>,
        mut ready: impl FnMut(usize),
    ) {
        for (number, Lane { end, is_blocked, .. }) in self.lanes.iter_mut().enumerate() {
            let was_blocked = *is_blocked;
            let flow = end.poll_transmit(now, |pieces| send(number, pieces));
            *is_blocked = !matches!(flow, Ok(Flow::Drained));
            // Frames that the dispatcher sent before it died can still be read; the end of the link follows them.
            if flow.is_err() || was_blocked && !*is_blocked {
                ready(number);
            }
        }
    }

    /// When [`Lanes::flush`] has something to send.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let free = self.lanes.iter().filter(|lane| !lane.is_blocked);
        free.filter_map(|lane| lane.end.poll_timeout()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ListenerId;
    use crate::wire::handoff::{FRAME_HEADER, frame_header, message_header};
    use crate::words::Envelope;

    fn lanes(count: usize) -> Lanes {
        let mut lanes = Lanes::default();
        lanes.set(WorkerEnd::new(), count - 1);
        lanes
    }

    fn read(lanes: &mut Lanes, lane: usize, seq: u64) {
        let header = message_header(&Envelope::plain(seq), 4);
        let frame = [&frame_header(header.len() + 4)[..FRAME_HEADER], &header[..], b"ping"].concat();
        lanes.get_mut(lane).unwrap().end.on_frame(&frame, &mut |_| {}).unwrap();
    }

    /// The lanes that hear something now.
    fn heard(lanes: &mut Lanes, now: u64) -> Vec<usize> {
        let mut heard = Vec::new();
        let send = |lane, _: &[IoSlice<'_>]| {
            heard.push(lane);
            Ok(())
        };
        lanes.flush(Time(now), send, |_| {});
        heard
    }

    #[test]
    fn an_answer_goes_to_the_lane_that_handed_the_message_over() {
        let mut lanes = lanes(2);
        read(&mut lanes, 0, 7);
        read(&mut lanes, 1, 7);
        let number = lanes.numbers().of(1, Seq(7));
        assert_ne!(number, lanes.numbers().of(0, Seq(7)));
        assert!(lanes.answered(number, Time(0)));
        assert_eq!(heard(&mut lanes, 20_000), [1]);
    }

    #[test]
    fn an_answer_to_be_sent_goes_to_the_lane_that_handed_the_message_over_or_to_the_first_if_that_is_no_more() {
        let mut lanes = lanes(2);
        let permit = Permit::new(u64::MAX);
        for (lane, heard_by) in [(0, 0), (1, 1), (2, 0)] {
            let ReplyTo::Permitted(permit) = lanes.numbers().reply_to(lane, ReplyTo::Permitted(permit)) else {
                panic!()
            };
            let (to, from) = ("192.0.2.9:5060".parse().unwrap(), "192.0.2.1".parse().unwrap());
            lanes.send(&Dispatched { listener: ListenerId(0), to, from, permit, bytes: b"SIP/2.0" }).unwrap();
            assert_eq!(heard(&mut lanes, 0), [heard_by]);
        }
    }

    #[test]
    fn every_lane_hears_reports_and_conferences() {
        let mut lanes = lanes(3);
        lanes.report(Report::default());
        lanes.group_open(Time(0), b"conf=1").unwrap();
        assert_eq!(heard(&mut lanes, 0), [0, 1, 2]);
    }

    #[test]
    fn a_link_that_takes_frames_again_or_has_broken_is_to_be_read() {
        let mut lanes = lanes(1);
        let mut flush = |error: Option<io::ErrorKind>| {
            lanes.report(Report::default());
            let (mut ready, mut due) = (Vec::new(), None);
            lanes.flush(Time(0), |_, _| error.map_or(Ok(()), |kind| Err(kind.into())), |lane| ready.push(lane));
            due = lanes.poll_timeout().or(due);
            (ready, due)
        };
        assert_eq!(flush(None), (vec![], None));
        assert_eq!(flush(Some(io::ErrorKind::WouldBlock)), (vec![], None), "it is tried again when it takes more");
        assert_eq!(flush(None), (vec![0], None));
        assert_eq!(flush(Some(io::ErrorKind::BrokenPipe)), (vec![0], None));
    }

    #[test]
    fn the_dispatcher_is_gone_when_all_links_are_and_its_numbers_are_not_used_again() {
        let mut lanes = lanes(2);
        read(&mut lanes, 1, 40);
        let before = lanes.numbers().of(1, Seq(40));
        assert!(!lanes.on_end(1), "the other lane's last messages are still to be read");
        assert!(lanes.on_end(0));
        lanes.clear();
        assert!(!lanes.is_up());
        assert!(!lanes.answered(before, Time(0)));
        lanes.set(WorkerEnd::new(), 0);
        assert!(lanes.numbers().of(0, Seq(1)).0 > 40);
        assert!(!lanes.answered(before, Time(0)), "an earlier dispatcher's message");
    }
}
