//! Links over a network.

use std::collections::VecDeque;

use super::*;
use crate::wire::handoff::Frame;
use crate::words::{Dispatched, Permit};

/// A link that can be cut; what comes on it, and what has left.
#[derive(Clone, Default)]
struct Wire {
    is_cut: Arc<Mutex<bool>>,
    incoming: Arc<Mutex<VecDeque<Vec<u8>>>>,
    left: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Channel for Wire {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if self.is_cut() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.left.lock().unwrap().push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
        Ok(())
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        let next = self.incoming.lock().unwrap().pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        frame[..next.len()].copy_from_slice(&next);
        Ok(next.len())
    }

    fn watch_writable(&mut self, _: bool) {}

    fn is_over_network(&self) -> bool {
        true
    }

    fn is_cut(&self) -> bool {
        *self.is_cut.lock().unwrap()
    }
}

fn switch_of(wires: &[Wire]) -> Switch<Wire> {
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 100,
        group_cap: 10,
        workers: wires.len(),
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0));
    for (worker, wire) in (0..).zip(wires) {
        let joined = Joined::sip(Incarnation::new(1 + u64::from(worker)), 10, Vec::new());
        switch.on_link(WorkerId(worker), wire.clone(), &joined, NOW);
    }
    switch
}

fn say(switch: &mut Switch<Wire>, wire: &Wire, record: &Record<'_>, now: Time) {
    let mut frame = FrameBuilder::new();
    frame.push(record);
    wire.incoming.lock().unwrap().push_back(frame.bytes().to_vec());
    while switch.read_link(WorkerId(0), now) == LinkRead::Frame {}
}

/// The records that have left on a wire since they were asked for last.
fn left(wire: &Wire) -> Vec<String> {
    let frames = std::mem::take(&mut *wire.left.lock().unwrap());
    let records = frames.iter().flat_map(|frame| {
        Frame::parse(frame).unwrap().map(|record| match record.unwrap() {
            Record::Message(message) => String::from_utf8_lossy(message.payload).lines().next().unwrap().to_owned(),
            other => format!("{other:?}"),
        })
    });
    records.collect::<Vec<_>>()
}

fn invite(switch: &mut Switch<Wire>, call: usize, now: Time) {
    let text = format!(
        "INVITE sip:{call}@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{call}\r\nMax-Forwards: 70\r\n\
         From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
    );
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), now);
    switch.on_message(text.as_bytes(), &way, now);
    switch.flush_links();
}

#[test]
fn a_question_for_the_clock_is_answered_with_a_time_that_was_read_after_it() {
    let wire = Wire::default();
    let mut switch = switch_of(std::slice::from_ref(&wire));
    say(&mut switch, &wire, &Record::ClockAsk(Time(77)), NOW);
    switch.handle_timeout(NOW);
    switch.flush_links();
    assert_eq!(left(&wire), [""; 0], "the time of this turn is older than the question");
    assert_eq!(switch.poll_timeout(), Some(Time(0)));
    let later = NOW + Duration::from_micros(5);
    switch.handle_timeout(later);
    switch.flush_links();
    assert_eq!(left(&wire), [format!("{:?}", Record::Clock { asked: Time(77), at: later })]);
}

#[test]
fn a_worker_that_asks_for_the_clock_without_end_keeps_no_other_from_it() {
    let wires = [Wire::default(), Wire::default()];
    let mut switch = switch_of(&wires);
    (0..3_000).for_each(|asked| say(&mut switch, &wires[0], &Record::ClockAsk(Time(asked)), NOW));
    let mut frame = FrameBuilder::new();
    frame.push(&Record::ClockAsk(Time(77)));
    wires[1].incoming.lock().unwrap().push_back(frame.bytes().to_vec());
    while switch.read_link(WorkerId(1), NOW) == LinkRead::Frame {}
    let later = NOW + Duration::from_micros(5);
    switch.handle_timeout(later);
    switch.flush_links();
    let clock = |asked| format!("{:?}", Record::Clock { asked: Time(asked), at: later });
    assert_eq!(wires.each_ref().map(left), [[clock(2_999)], [clock(77)]].map(Vec::from));
}

#[test]
fn an_answer_to_be_sent_leaves_for_the_source_of_a_message_that_was_handed_over_and_for_nobody_else() {
    let wire = Wire::default();
    let mut switch = switch_of(std::slice::from_ref(&wire));
    invite(&mut switch, 1, NOW);
    let frames = std::mem::take(&mut *wire.left.lock().unwrap());
    let Some(Ok(Record::Message(message))) = Frame::parse(&frames[0]).unwrap().next() else { panic!("{frames:?}") };
    let (to, from) = (message.envelope.source, message.envelope.local.ip());
    let ReplyTo::Permitted(permit) = message.envelope.reply_to else { panic!("{message:?}") };
    let answer = Dispatched { listener: ListenerId(3), to, from, permit, bytes: b"SIP/2.0 200 OK" };
    let elsewhere = ["192.0.2.1:5061", "192.0.2.9:5060"].map(|to| Dispatched { to: to.parse().unwrap(), ..answer });
    for untrue in elsewhere.into_iter().chain([Dispatched { permit: Permit::new(permit.0 + 1), ..answer }]) {
        say(&mut switch, &wire, &Record::Send(untrue), NOW);
    }
    switch.flush_answers(|_| panic!("it was handed nothing from there"));
    // Its other lane's, or those of a link of before.
    let others = Wire::default();
    let mut other = switch_of(std::slice::from_ref(&others));
    for (switch, wire) in [(&mut switch, &wire), (&mut other, &others)] {
        say(switch, wire, &Record::Send(answer), NOW);
        let mut sent = Vec::new();
        switch.flush_answers(|leaving| {
            let (owner, from) = (leaving.owner, leaving.from);
            sent.extend(leaving.map(|(bytes, to)| (owner, from, bytes.to_vec(), to)));
        });
        assert_eq!(sent, [(Owner::Listener(ListenerId(3)), answer.from, answer.bytes.to_vec(), to)]);
    }
}

#[test]
fn a_message_that_comes_back_from_a_worker_on_another_host_has_no_permit_of_its_any_more() {
    let wires = [Wire::default(), Wire::default()];
    let mut switch = switch_of(&wires);
    invite(&mut switch, 1, NOW);
    let handed = |wire: &Wire| {
        let frames = std::mem::take(&mut *wire.left.lock().unwrap());
        frames.first().map(|frame| match Frame::parse(frame).unwrap().next() {
            Some(Ok(Record::Message(message))) => message.envelope,
            other => panic!("{other:?}"),
        })
    };
    let (at, first) = (0..2).find_map(|at| handed(&wires[at]).map(|envelope| (at, envelope))).unwrap();
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Refuse { seq: first.seq, reason: RefuseReason::Full });
    wires[at].incoming.lock().unwrap().push_back(frame.bytes().to_vec());
    while switch.read_link(WorkerId(at as u16), NOW) == LinkRead::Frame {}
    switch.flush_links();
    let second = handed(&wires[1 - at]).unwrap();
    let permits = [first, second].map(|envelope| matches!(envelope.reply_to, ReplyTo::Permitted(_)));
    assert_eq!(permits, [true, true]);
    assert_ne!(first.reply_to, second.reply_to);
}

#[test]
fn messages_before_a_cut_link_wait_for_it_until_they_are_late_and_then_go_to_another_worker() {
    let wires = [Wire::default(), Wire::default()];
    let mut switch = switch_of(&wires);
    *wires[0].is_cut.lock().unwrap() = true;
    (0..8).for_each(|call| invite(&mut switch, call, NOW));
    let others = left(&wires[1]).len();
    assert!((1..8).contains(&others), "{others}");
    let look = |switch: &mut Switch<Wire>, now| {
        switch.handle_timeout(now);
        switch.flush_links();
    };
    look(&mut switch, NOW + Duration::from_secs(1));
    assert_eq!(left(&wires[1]), [""; 0]);
    look(&mut switch, NOW + Duration::from_secs(3));
    assert_eq!(left(&wires[1]).len(), 8 - others);
    *wires[0].is_cut.lock().unwrap() = false;
    switch.on_link_event(WorkerId(0), true, true);
    switch.flush_links();
    assert_eq!(left(&wires[0]), [""; 0], "they are gone from here");
    switch.check();
}
