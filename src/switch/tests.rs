//! The switch over links in memory.

mod fallback;
mod mgcp;
mod network;
mod record_route;
mod stateful;
mod streams;
mod systems;
mod together;
mod travelling;

use std::io::{self, IoSlice, Write};
use std::sync::{Arc, Mutex};

use super::*;
use crate::config::{Pool, Proxy, Route};
use crate::dispatch::Setup;
use crate::dispatch::identity::Keyring;
use crate::dispatch::note::Note;
use crate::dispatch::reason::Reason;
use crate::dispatch::rules::Rules;
use crate::ids::ListenerId;
use crate::ids::{LinkId, Seq, TokenKey};
use crate::pack::Packed;
use crate::wire::handoff::{FrameBuilder, Record};
use crate::words::{Envelope, Report};

const NOW: Time = Time(1_000_000);

/// A link that takes everything and never has anything to read.
struct Mute;

impl Channel for Mute {
    fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch_writable(&mut self, _: bool) {}
}

fn switch(workers: u16) -> Switch<Mute> {
    lane(workers, 1)
}

/// A switch with room for a thousand calls.
fn roomy(workers: u16) -> Switch<Mute> {
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 10_000,
        group_cap: 10,
        workers: usize::from(workers),
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 16 << 20, Owners::new(0, 1, 0));
    for worker in 0..workers {
        let joined = Joined::sip(Incarnation::new(1), 10_000, Vec::new());
        switch.on_link(WorkerId(worker), Mute, &joined, NOW);
    }
    switch
}

/// The first of `lanes` lanes.
fn lane(workers: u16, lanes: usize) -> Switch<Mute> {
    lane_of(0, workers, lanes)
}

/// One of `lanes` lanes.
fn lane_of(own: usize, workers: u16, lanes: usize) -> Switch<Mute> {
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 100,
        group_cap: 10,
        workers: usize::from(workers),
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 0, Owners::new(own, lanes, 0));
    (0..workers).for_each(|worker| link(&mut switch, worker));
    switch
}

/// A switch without workers in front of downstream proxies at port 5080 of these hosts. Listener 0 is for UDP, 1 for
/// WebSockets.
fn in_front(pool: Pool, hosts: &[&str]) -> Switch<Mute> {
    let proxy = |(name, host): (char, &&str)| Proxy {
        name: name.to_string(),
        host: (*host).to_owned(),
        port: Some(5080),
        ..Proxy::default()
    };
    let rules = Rules {
        pools: vec![pool],
        proxies: ('a'..).zip(hosts).map(proxy).collect(),
        unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
        udp_listeners: vec![(ListenerId(0), "192.0.2.2:5060".parse().unwrap())],
        stream_listeners: vec![(ListenerId(1), Transport::Ws, "192.0.2.2:8080".parse().unwrap())],
        ..Rules::default()
    };
    let keys = Keyring::new(TokenKey::new([1; 32]));
    let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 });
    Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0))
}

/// The dispatcher that takes over from this one, with other settings. `seed`: of its choices.
fn taken_over(switch: &mut Switch<Mute>, change: impl FnOnce(&mut Rules), seed: u64) -> Switch<Mute> {
    let mut bytes = Vec::new();
    switch.save(&mut bytes);
    let mut rules = switch.dispatch().rules().clone();
    change(&mut rules);
    let keys = Keyring::new(TokenKey::new([1; 32]));
    let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed });
    let mut successor = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0));
    successor.restore(&mut Packed::new(&bytes), |_| None).unwrap();
    successor
}

fn link(switch: &mut Switch<Mute>, worker: u16) {
    let joined = Joined::sip(Incarnation::new(1), 10, Vec::new());
    switch.on_link(WorkerId(worker), Mute, &joined, NOW);
}

/// Makes a link refuse everything: its last number is above all later ones.
fn spoil(switch: &mut Switch<Mute>, worker: u16) {
    let envelope = Envelope { received: NOW, size: 0, ..Envelope::plain(1_000_000) };
    let link = switch.outbox.links.get_mut(WorkerId(worker)).unwrap();
    link.front.push(&envelope, Note::default(), &[b"x"]).unwrap();
}

/// The answers that an INVITE gets at once.
fn answers_to_an_invite(switch: &mut Switch<Mute>) -> Vec<String> {
    let bytes =
        b"INVITE sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-1\r\nMax-Forwards: 70\r\n\
        From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n";
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
    switch.on_message(bytes, &way, NOW);
    let mut answers = Vec::new();
    switch
        .flush_answers(|leaving| answers.extend(leaving.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())));
    answers
}

/// A message of some bytes that belongs to another lane, or to this one.
fn options(switch: &mut Switch<Mute>, call: usize, padding: usize) {
    let text = format!(
        "OPTIONS sip:192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{call}\r\n\
         From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n\
         Subject: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(padding)
    );
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
    switch.on_message(text.as_bytes(), &way, NOW);
}

/// Writer that collects the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines logged at `level` while an INVITE is decided about.
fn logged(level: tracing::Level) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || answers_to_an_invite(&mut switch(1)));
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_decision_is_a_line_with_method_call_source_target_and_reason() {
    let text = logged(tracing::Level::DEBUG);
    let line = text.lines().find(|line| line.contains("decided")).unwrap_or_else(|| panic!("no line: {text}"));
    assert!(
        line.ends_with("decided method=INVITE call_id=1 source=192.0.2.1:5060 target=w0 reason=selected"),
        "{line}"
    );
    assert_eq!(logged(tracing::Level::INFO), "");
}

#[test]
fn messages_that_another_lane_does_not_take_now_wait_up_to_a_megabyte() {
    let mut switch = lane(1, 2);
    (0..20).for_each(|call| options(&mut switch, call, 0));
    let own = switch.dispatch().counters().received;
    assert!((1..20).contains(&own), "{own} of 20 are this lane's own");
    switch.flush_parcels(NOW, |_, _| false);
    assert!(switch.has_parcels());
    let mut came = 0;
    switch.flush_parcels(NOW, |_, parcel| {
        came += parcel.len();
        parcel.clear();
        true
    });
    assert_eq!((came as u64, switch.has_parcels()), (20 - own, false));
    for call in 0..40 {
        options(&mut switch, call, 60_000);
        switch.flush_parcels(NOW, |_, _| false);
    }
    let lost = switch.dispatch().counters().of(Reason::LaneFull);
    assert!((17..40).contains(&lost), "{lost} messages of 60 KB, and more than a megabyte");
}

#[test]
fn a_message_that_its_workers_link_does_not_take_goes_to_another_worker() {
    let mut switch = switch(2);
    spoil(&mut switch, 0);
    spoil(&mut switch, 1);
    link(&mut switch, 1);
    assert_eq!(answers_to_an_invite(&mut switch), Vec::<String>::new());
    let records = |worker| switch.links().get(WorkerId(worker)).map(|link| link.front.stats().retained);
    assert_eq!((records(0), records(1)), (Some(1), Some(1)), "the second link has it");
    let ledgers: Vec<u32> = switch.dispatch().pool().iter().map(|(_, worker)| worker.ledger()).collect();
    assert_eq!(ledgers, [0, 1]);
}

#[test]
fn a_message_that_no_link_takes_is_answered_and_counted_nowhere_as_load() {
    let mut switch = switch(2);
    spoil(&mut switch, 0);
    spoil(&mut switch, 1);
    let answers = answers_to_an_invite(&mut switch);
    // Links that take nothing have no room for a call.
    assert!(answers.iter().all(|answer| answer.starts_with("SIP/2.0 503")), "{answers:?}");
    assert_eq!(answers.len(), 1);
    assert!(switch.dispatch().pool().iter().all(|(_, worker)| worker.ledger() == 0));
    assert_eq!(switch.dispatch().counters().of(Reason::RefusedByAll), 1);
}

#[test]
fn the_answer_to_a_dead_workers_invite_is_sent_again_until_its_ack_comes() {
    let mut switch = switch(1);
    assert_eq!(answers_to_an_invite(&mut switch), Vec::<String>::new());
    // The caller may have had a 180 by now, and then does not send its INVITE again.
    switch.on_link_lost(WorkerId(0), NOW);
    let answers = |switch: &mut Switch<Mute>, after: u64| {
        switch.handle_timeout(NOW + Duration::from_millis(after));
        let mut answers = Vec::new();
        switch.flush_answers(|leaving| {
            answers.extend(leaving.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()))
        });
        answers
    };
    let first = answers(&mut switch, 0);
    assert!(first.len() == 1 && first[0].starts_with("SIP/2.0 503"), "{first:?}");
    assert_eq!(answers(&mut switch, 400).len(), 0);
    assert_eq!(answers(&mut switch, 550), first);
    assert_eq!(answers(&mut switch, 1_000).len(), 0);
    assert_eq!(answers(&mut switch, 1_700), first);
    assert!(switch.poll_timeout().is_some());
    let tag = first[0].split_once(";tag=pd").unwrap().1.split_once('\r').unwrap().0;
    let ack = format!(
        "ACK sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-1\r\nMax-Forwards: 70\r\n\
         From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>;tag=pd{tag}\r\nCall-ID: 1\r\nCSeq: 1 ACK\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
    switch.on_message(ack.as_bytes(), &way, NOW);
    assert_eq!(answers(&mut switch, 10_000).len(), 0);
}

#[test]
fn an_answer_without_an_acknowledgement_is_given_up_after_64_t1() {
    let mut switch = switch(1);
    answers_to_an_invite(&mut switch);
    switch.on_link_lost(WorkerId(0), NOW);
    let mut sent = 0;
    for second in 0..100 {
        switch.handle_timeout(NOW + Duration::from_secs(second));
        switch.flush_answers(|leaving| sent += leaving.len());
    }
    assert!((9..=11).contains(&sent), "{sent}");
    assert_eq!(switch.outbox.retransmits.poll_timeout(), None);
}

#[test]
fn a_worker_that_dies_with_many_calls_holds_a_turn_up_for_some_of_them_only() {
    let mut switch = roomy(2);
    (0..1_000).for_each(|call| invite(&mut switch, call));
    let (lost, others) = (held(&switch, 0), held(&switch, 1));
    assert!(lost > 400 && lost + others == 1_000, "{lost} and {others}");
    let decided = |switch: &Switch<Mute>| switch.dispatch().counters().returned;
    switch.on_link_lost(WorkerId(0), NOW);
    let mut before = 0;
    let mut turns = 1;
    while switch.has_orphans() {
        let now = decided(&switch);
        assert!(now - before <= 128, "{} in one turn", now - before);
        assert_eq!(switch.poll_timeout(), Some(Time(0)), "the lane does not wait");
        before = now;
        turns += 1;
        switch.handle_timeout(NOW);
    }
    assert!(turns > 3);
    assert_eq!(held(&switch, 1), 1_000, "nothing is lost");
}

/// A link with frames to read: those of a worker that is gone, or that goes on writing.
struct Wordy {
    frames: VecDeque<Vec<u8>>,
    read: Arc<Mutex<usize>>,
}

impl Channel for Wordy {
    fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(frame) = self.frames.pop_front() else { return Ok(0) };
        *self.read.lock().unwrap() += 1;
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(frame.len())
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// A frame with these records.
fn frame(records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    records.iter().for_each(|record| builder.push(record));
    builder.bytes().to_vec()
}

/// A switch with two workers, the first of which has sent `frames`; and the number of these that have been read.
fn wordy(frames: impl IntoIterator<Item = Vec<u8>>) -> (Switch<Wordy>, Arc<Mutex<usize>>) {
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 10_000,
        group_cap: 10,
        workers: 2,
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 16 << 20, Owners::new(0, 1, 0));
    let read = Arc::new(Mutex::new(0));
    let mut frames = Some(frames.into_iter().collect());
    for worker in 0..2 {
        let channel = Wordy { frames: frames.take().unwrap_or_default(), read: read.clone() };
        switch.on_link(WorkerId(worker), channel, &Joined::sip(Incarnation::new(1), 10_000, Vec::new()), NOW);
    }
    (switch, read)
}

/// An INVITE of a call of its own.
fn invite<C: Channel>(switch: &mut Switch<C>, call: usize) {
    let text = format!(
        "INVITE sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{call}\r\nMax-Forwards: 70\r\n\
         From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
    );
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
    switch.on_message(text.as_bytes(), &way, NOW);
}

fn held<C: Channel>(switch: &Switch<C>, worker: u16) -> u64 {
    switch.links().get(WorkerId(worker)).map_or(0, |link| link.front.stats().retained)
}

#[test]
fn a_link_that_ends_with_much_unread_is_read_some_frames_a_turn_and_its_successor_need_not_wait() {
    let (mut switch, read) = wordy((1..=100).map(|seq| {
        let mut answered = FrameBuilder::new();
        answered.push_answered(&[Seq(seq)]);
        answered.bytes().to_vec()
    }));
    (0..210).for_each(|call| invite(&mut switch, call));
    switch.flush_links();
    let (lost, others) = (held(&switch, 0), held(&switch, 1));
    assert!(lost > 102 && lost < 110 && lost + others == 210, "{lost} and {others}");
    assert_eq!(switch.end_link(WorkerId(0), NOW), Some(Incarnation::new(1)));
    assert_eq!(*read.lock().unwrap(), 0);
    let heir = Wordy { frames: VecDeque::new(), read: Arc::default() };
    switch.on_link(WorkerId(0), heir, &Joined::sip(Incarnation::new(2), 10_000, Vec::new()), NOW);
    let mut before = 0;
    while switch.has_orphans() {
        assert_eq!(switch.poll_timeout(), Some(Time(0)), "the lane does not wait");
        switch.handle_timeout(NOW);
        let now = *read.lock().unwrap();
        assert!(now - before <= 8, "{} frames in one turn", now - before);
        before = now;
    }
    assert_eq!(before, 100);
    // Suspects, which may have killed the worker, are handed over one after the other.
    for later in 1..10 {
        switch.handle_timeout(NOW + Duration::from_millis(250 * later));
    }
    assert_eq!(held(&switch, 0) + held(&switch, 1), 110, "an answered message goes to no worker");
}

#[test]
fn a_worker_that_goes_on_writing_does_not_keep_its_link_from_ending() {
    let report = |number| frame(&[Record::Report(Report { number, units_total: 10, ..Report::default() })]);
    let (mut switch, read) = wordy((1..20_000).map(report));
    invite(&mut switch, 1);
    invite(&mut switch, 2);
    assert_eq!(held(&switch, 0), 1);
    switch.end_link(WorkerId(0), NOW);
    let mut turns = 0;
    while switch.has_orphans() {
        switch.handle_timeout(NOW);
        turns += 1;
    }
    assert_eq!((*read.lock().unwrap(), turns), (16_384, 2_048));
    assert_eq!(held(&switch, 1), 2);
}

#[test]
fn a_worker_that_gives_back_thousands_at_once_holds_a_turn_up_for_some_of_them_only() {
    let refusals = |first: u64| {
        let refused: Vec<_> =
            (first..first + 1_000).map(|seq| Record::Refuse { seq: Seq(seq), reason: RefuseReason::Full }).collect();
        frame(&refused)
    };
    let (mut switch, _) = wordy([refusals(1), refusals(1_001)]);
    (0..4_000).for_each(|call| invite(&mut switch, call));
    switch.flush_links();
    let lost = held(&switch, 0);
    assert!((1_500..=2_500).contains(&lost), "{lost}");
    let decided = |switch: &Switch<Wordy>| switch.dispatch().counters().returned;
    let mut before = 0;
    for turn in 0.. {
        // The lane's order: links first, then timeouts.
        if !switch.is_behind() {
            switch.read_link(WorkerId(0), NOW);
        }
        switch.handle_timeout(NOW);
        let now = decided(&switch);
        assert!(now - before <= 64 || turn == 0 && now <= 128, "{} in turn {turn}", now - before);
        assert!(switch.given_back.len() < 1_000 + 512, "{} wait", switch.given_back.len());
        before = now;
        if switch.given_back.is_empty() && held(&switch, 0) <= lost.saturating_sub(2_000) {
            break;
        }
        assert!(turn < 100);
    }
    assert_eq!(decided(&switch), lost.min(2_000));
    assert_eq!(held(&switch, 0) + held(&switch, 1), 4_000, "nothing is lost");
}

fn answered(seq: u64) -> Vec<u8> {
    let mut answered = FrameBuilder::new();
    answered.push_answered(&[Seq(seq)]);
    answered.bytes().to_vec()
}

#[test]
fn a_dead_workers_late_answer_settles_nothing_that_another_worker_has_by_now() {
    let (mut switch, _) = wordy([answered(1)]);
    let call = (1..10).find(|call| {
        invite(&mut switch, *call);
        held(&switch, 0) == 1
    });
    let others = held(&switch, 1);
    switch.flush_links();
    switch.end_link(WorkerId(0), NOW);
    // The caller sends it again before the last frames of the dead worker are read.
    invite(&mut switch, call.unwrap());
    assert_eq!(held(&switch, 1), others + 1);
    while switch.has_orphans() {
        switch.handle_timeout(NOW);
    }
    let heir = Wordy { frames: VecDeque::new(), read: Arc::default() };
    switch.on_link(WorkerId(0), heir, &Joined::sip(Incarnation::new(2), 10_000, Vec::new()), NOW);
    // Its messages were never sent, so they cannot have killed it.
    switch.end_link(WorkerId(1), NOW);
    for later in 1..20 {
        switch.handle_timeout(NOW + Duration::from_millis(250 * later));
    }
    assert_eq!(held(&switch, 0), others + 1, "none of them has its answer");
}

#[test]
fn ending_links_and_those_of_the_living_are_read_in_turn_where_both_give_back_much() {
    let refusals = |first: u64| {
        let refused: Vec<_> =
            (first..first + 600).map(|seq| Record::Refuse { seq: Seq(seq), reason: RefuseReason::Full }).collect();
        frame(&refused)
    };
    let (mut switch, read) = wordy([refusals(1), refusals(601), refusals(1_201)]);
    let heard = Arc::new(Mutex::new(0));
    let living = Wordy { frames: (1..1_000).map(answered).collect(), read: heard.clone() };
    switch.on_link(WorkerId(1), living, &Joined::sip(Incarnation::new(2), 10_000, Vec::new()), NOW);
    (0..4_000).for_each(|call| invite(&mut switch, call));
    switch.flush_links();
    assert!(held(&switch, 0) >= 1_800);
    switch.end_link(WorkerId(0), NOW);
    let frames = |of: &Arc<Mutex<usize>>| *of.lock().unwrap();
    let (mut before, mut since) = (0, 1);
    for _ in 0..200 {
        switch.handle_timeout(NOW);
        if frames(&read) > before {
            assert_eq!(frames(&read), before + 1, "one frame is enough for now");
            assert!(since > 0, "the living had no turn in between");
            (before, since) = (frames(&read), 0);
        }
        assert!(switch.given_back.len() < 512 + 600, "{} wait", switch.given_back.len());
        if !switch.is_behind() {
            switch.read_link(WorkerId(1), NOW);
            since += 1;
        }
    }
    assert_eq!((frames(&read), switch.has_orphans()), (3, false));
    assert!(frames(&heard) > 100);
}

#[test]
fn a_worker_that_comes_and_goes_has_four_ending_links_and_loses_no_message() {
    let (mut switch, _) = wordy([]);
    for life in 2..30 {
        // These messages are never sent, so they cannot have killed a worker.
        (0..10).for_each(|call| invite(&mut switch, life * 10 + call));
        switch.end_link(WorkerId(0), NOW);
        assert!(switch.estates.ending_of(WorkerId(0)) <= 4);
        let again = Wordy { frames: VecDeque::new(), read: Arc::default() };
        let joined = Joined::sip(Incarnation::new(life as u64), 10_000, Vec::new());
        switch.on_link(WorkerId(0), again, &joined, NOW);
    }
    while switch.has_orphans() {
        switch.handle_timeout(NOW);
    }
    assert_eq!((held(&switch, 0) + held(&switch, 1), switch.has_orphans()), (280, false));
}

#[test]
fn a_message_that_a_worker_gave_back_before_it_died_is_no_burden_to_its_successor() {
    let refused: Vec<_> = (1..=500).map(|seq| Record::Refuse { seq: Seq(seq), reason: RefuseReason::Full }).collect();
    let (mut switch, _) = wordy([frame(&refused)]);
    (0..1_000).for_each(|call| invite(&mut switch, call));
    switch.flush_links();
    assert!(held(&switch, 0) >= 400);
    switch.read_link(WorkerId(0), NOW);
    assert!(!switch.given_back.is_empty());
    switch.end_link(WorkerId(0), NOW);
    let heir = Wordy { frames: VecDeque::new(), read: Arc::default() };
    switch.on_link(WorkerId(0), heir, &Joined::sip(Incarnation::new(2), 10_000, Vec::new()), NOW);
    for later in 0..200 {
        switch.handle_timeout(NOW + Duration::from_millis(250 * later));
    }
    assert_eq!(held(&switch, 0) + held(&switch, 1), 1_000, "each of them once, and none was its death");
    let ledgers: u64 = switch.dispatch().pool().iter().map(|(_, worker)| u64::from(worker.ledger())).sum();
    assert_eq!(ledgers, 1_000);
}

#[test]
fn a_worker_that_comes_back_with_the_same_life_keeps_its_new_link_when_the_end_of_the_old_one_is_told_late() {
    let mut switch = switch(0);
    let mut joined = Joined { link: LinkId(1), ..Joined::sip(Incarnation::new(1), 10, Vec::new()) };
    switch.on_link(WorkerId(0), Mute, &joined, NOW);
    assert_eq!(switch.end_link_of(WorkerId(0), LinkId(1), NOW), Some(Incarnation::new(1)));
    joined.link = LinkId(2);
    switch.on_link(WorkerId(0), Mute, &joined, NOW);
    // Another lane has seen the end of its own old link only now.
    assert_eq!(switch.end_link_of(WorkerId(0), LinkId(1), NOW), None);
    assert!(switch.has_link(WorkerId(0)));
    assert_eq!(switch.end_link_of(WorkerId(0), LinkId(2), NOW), Some(Incarnation::new(1)));
}

/// A request of a call that belongs to the first of two lanes.
fn request(method: &str, number: usize) -> String {
    let text = |call: usize| {
        format!(
            "{method} sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK-{call}\r\nMax-Forwards: 70\r\n\
             From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let owners = Owners::new(0, 2, 0);
    (0..).map(text).filter(|text| owners.at_a_look(text.as_bytes()) == Some(0)).nth(number).unwrap()
}

#[test]
fn a_cancel_that_overtakes_its_invite_between_two_lanes_waits_for_it() {
    let mut switch = lane(1, 2);
    let (source, local) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let read = |switch: &mut Switch<Mute>, text: &str| {
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
        switch.on_message(text.as_bytes(), &way, NOW);
    };
    let answered = |switch: &mut Switch<Mute>| {
        let mut statuses = Vec::new();
        switch.flush_answers(|leaving| {
            statuses.extend(leaving.map(|(bytes, _)| String::from_utf8_lossy(&bytes[8..11]).into_owned()));
        });
        statuses
    };
    read(&mut switch, &request("CANCEL", 0));
    assert_eq!(answered(&mut switch), Vec::<String>::new(), "no 481: the other lane may have read the INVITE");
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, (source, local), NOW);
    let mut parcel = Parcel::new(1);
    parcel.add(request("INVITE", 0).as_bytes(), &way);
    switch.on_parcel(&parcel, NOW);
    let counters = switch.dispatch().counters();
    assert_eq!((counters.of(Reason::Selected), counters.of(Reason::Cancel)), (1, 1));
    read(&mut switch, &request("CANCEL", 1));
    assert_eq!(switch.poll_timeout(), Some(NOW + Duration::from_millis(10)));
    switch.handle_timeout(NOW + Duration::from_millis(10));
    assert_eq!(answered(&mut switch), ["481"], "its INVITE never came");
}
