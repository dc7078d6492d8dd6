//! Answers to messages that came on stream connections.

use super::*;
use crate::dispatch::decision::{Arrival, Unanswered};
use crate::fingerprint::Printer;
use crate::ids::ConnId;
use crate::transaction::name::sip::Names;
use crate::wire::handoff::Frame;

/// The way of a message that came on a connection.
fn on_stream(conn: ConnId) -> Way {
    let arrival = Arrival {
        listener: ListenerId(0),
        transport: Transport::Tcp,
        reply_to: ReplyTo::Stream(conn),
        source: "192.0.2.1:40000".parse().unwrap(),
        local: "192.0.2.2:5060".parse().unwrap(),
        received: NOW,
        alias: false,
        certified: None,
    };
    Way { owner: Owner::Listener(ListenerId(0)), arrival }
}

/// A request of this method in a call of its own.
fn request(method: &str, call: usize) -> Vec<u8> {
    format!(
        "{method} sip:a@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK-{call}\r\nMax-Forwards: 70\r\n\
         From: <sip:b@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.2>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:b@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The answers that wait for connections of this lane. None may wait for a socket.
fn replies<C: Channel>(switch: &mut Switch<C>) -> Vec<(ConnId, String)> {
    switch.flush_answers(|leaving| panic!("{} answers in datagrams", leaving.len()));
    let mut replies = Vec::new();
    switch.flush_replies(|conn, bytes: &[u8]| {
        replies.push((conn, String::from_utf8_lossy(bytes).into_owned()));
        true
    });
    replies
}

#[test]
fn an_answer_leaves_on_the_connection_that_its_request_came_on() {
    let mut switch = switch(1);
    let (one, other) = (ConnId::new(0, 7), ConnId::new(0, 8));
    for (call, conn) in [one, other, other].into_iter().enumerate() {
        switch.on_message(&request("UNHEARD", call), &on_stream(conn), NOW);
    }
    let replies = replies(&mut switch);
    let sent: Vec<_> = replies.iter().map(|(conn, text)| (*conn, text.matches("SIP/2.0 501 ").count())).collect();
    assert_eq!(sent, [(one, 1), (other, 1), (other, 1)], "each message by itself: a WebSocket has a frame for each");
}

#[test]
fn the_answer_to_a_dead_workers_invite_is_sent_once_on_a_connection() {
    let mut switch = switch(1);
    switch.on_message(&request("INVITE", 1), &on_stream(ConnId::new(0, 7)), NOW);
    assert_eq!(replies(&mut switch), []);
    switch.on_link_lost(WorkerId(0), NOW);
    switch.handle_timeout(NOW);
    let first = replies(&mut switch);
    assert!(first.len() == 1 && first[0].1.starts_with("SIP/2.0 503"), "{first:?}");
    for second in 1..100 {
        switch.handle_timeout(NOW + Duration::from_secs(second));
        assert_eq!(replies(&mut switch), []);
    }
}

#[test]
fn an_answer_for_another_lanes_connection_goes_back_in_a_parcel() {
    let conn = ConnId::new(1, 7);
    let mut passed = Parcel::new(1);
    passed.add(&request("UNHEARD", 1), &on_stream(conn));
    let mut deciding = lane(1, 2);
    deciding.on_parcel(&passed, NOW);
    assert_eq!(replies(&mut deciding), []);
    let mut back = None;
    deciding.flush_parcels(NOW, |to, parcel| {
        assert_eq!(to, 1);
        back = Some(std::mem::take(parcel));
        true
    });
    let mut reading = lane_of(1, 1, 2);
    reading.on_parcel(&back.unwrap(), NOW);
    let replies = replies(&mut reading);
    assert!(replies.len() == 1 && replies[0].0 == conn && replies[0].1.starts_with("SIP/2.0 501 "), "{replies:?}");
}

#[test]
fn the_last_answer_of_a_dead_worker_still_leaves_on_its_connection() {
    let own = ConnId::new(0, 7);
    let answer = Record::Reply { to: ReplyTo::Stream(own), bytes: b"SIP/2.0 200 OK" };
    let (mut switch, _) = wordy([frame(&[answer])]);
    (0..8).for_each(|call| switch.on_message(&request("INVITE", call), &on_stream(own), NOW));
    switch.flush_links();
    switch.end_link(WorkerId(0), NOW);
    switch.handle_timeout(NOW);
    assert_eq!(replies(&mut switch), [(own, "SIP/2.0 200 OK".to_owned())]);
}

#[test]
fn a_workers_answer_goes_to_the_connection_that_it_names_if_a_lane_can_have_it() {
    let (own, nobodys) = (ConnId::new(0, 7), ConnId::new(63, 7));
    let reply = |conn, bytes| Record::Reply { to: ReplyTo::Stream(conn), bytes };
    let (mut switch, _) = wordy([frame(&[reply(own, b"SIP/2.0 200 OK"), reply(nobodys, b"SIP/2.0 486 Busy")])]);
    // A worker may say as much as it has been handed.
    (0..8).for_each(|call| switch.on_message(&request("INVITE", call), &on_stream(own), NOW));
    switch.flush_links();
    switch.on_link_event(WorkerId(0), true, false);
    assert_eq!(switch.read_link(WorkerId(0), NOW), LinkRead::Frame);
    assert_eq!(replies(&mut switch), [(own, "SIP/2.0 200 OK".to_owned())]);
    assert!(!switch.has_parcels());
}

/// A link whose worker has sent one frame, and that keeps what it is sent.
struct Kept {
    frame: Option<Vec<u8>>,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    files: Arc<Mutex<Vec<String>>>,
}

impl Channel for Kept {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.sent.lock().unwrap().push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
        Ok(())
    }

    fn send_file(&mut self, _: &[IoSlice<'_>], content: &[u8]) -> io::Result<()> {
        self.files.lock().unwrap().push(String::from_utf8(content.to_vec()).unwrap());
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(frame) = self.frame.take() else { return Err(io::ErrorKind::WouldBlock.into()) };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(frame.len())
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// Connections that take everything, and of which this one ends when it is written to.
struct Breaking(ConnId, Option<(ConnId, usize)>);

impl Connections for Breaking {
    fn queue(&mut self, _: ConnId, _: &[u8]) -> bool {
        true
    }

    fn write(&mut self) {
        self.1 = Some((self.0, 0));
    }

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        self.1.take()
    }

    fn waiting(&self, _: ConnId) -> usize {
        0
    }
}

/// Connections on which so many bytes wait, and of which one may have ended.
struct Slow(usize, Option<(ConnId, usize)>);

impl Connections for Slow {
    fn queue(&mut self, _: ConnId, _: &[u8]) -> bool {
        true
    }

    fn write(&mut self) {}

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        self.1.take()
    }

    fn waiting(&self, _: ConnId) -> usize {
        self.0
    }
}

#[test]
fn a_workers_bye_for_a_connection_that_is_gone_comes_back_to_it() {
    assert_comes_back(true);
}

#[test]
fn a_workers_bye_comes_back_to_it_from_a_connection_that_breaks_under_it() {
    assert_comes_back(false);
}

fn assert_comes_back(is_gone: bool) {
    let (gone, stands) = (ConnId::new(0, 7), ConnId::new(0, 8));
    let reply = |conn, bytes| Record::Reply { to: ReplyTo::Stream(conn), bytes };
    let said = frame(&[reply(gone, b"BYE sip:a SIP/2.0"), reply(stands, b"SIP/2.0 200 OK")]);
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 10_000,
        group_cap: 10,
        workers: 1,
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 16 << 20, Owners::new(0, 1, 0));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let channel = Kept { frame: Some(said), sent: sent.clone(), files: Arc::default() };
    switch.on_link(WorkerId(0), channel, &Joined::sip(Incarnation::new(1), 10_000, Vec::new()), NOW);
    switch.on_message(&request("INVITE", 1), &on_stream(stands), NOW);
    switch.flush_links();
    switch.on_link_event(WorkerId(0), true, false);
    assert_eq!(switch.read_link(WorkerId(0), NOW), LinkRead::Frame);
    if is_gone {
        switch.flush_replies(|conn, _: &[u8]| conn == stands);
    } else {
        switch.flush_replies(Breaking(gone, None));
    }
    sent.lock().unwrap().clear();
    switch.flush_links();
    let sent = sent.lock().unwrap();
    let records: Vec<_> = sent.iter().flat_map(|frame| Frame::parse(frame).unwrap()).map(Result::unwrap).collect();
    assert_eq!(records, [Record::Undelivered { to: ReplyTo::Stream(gone), bytes: b"BYE sip:a SIP/2.0" }]);
}

#[test]
fn messages_that_wait_for_a_slow_peer_come_back_to_their_worker_when_it_is_gone() {
    let mut switch = switch(1);
    let conn = ConnId::new(0, 7);
    for bytes in [b"SIP/2.0 200 OK".as_slice(), b"BYE sip:a SIP/2.0"] {
        switch.outbox.answers.replies.push(Reply { conn, bytes, from: Some(WorkerId(0)) });
        switch.flush_replies(Slow(17, None));
    }
    switch.flush_links();
    let front = |switch: &Switch<Mute>| switch.outbox.links.get(WorkerId(0)).unwrap().front.wants_transmit();
    assert!(!front(&switch), "nothing is lost yet");
    switch.flush_replies(Slow(0, Some((conn, 17))));
    assert!(front(&switch), "the BYE waited, and its connection is gone");
}

#[test]
fn a_message_that_has_left_does_not_come_back_when_its_peer_is_gone_later() {
    let mut switch = switch(1);
    let conn = ConnId::new(0, 7);
    switch.outbox.answers.replies.push(Reply { conn, bytes: b"SIP/2.0 200 OK", from: Some(WorkerId(0)) });
    switch.flush_replies(Slow(3, None));
    switch.flush_replies(Slow(0, None));
    switch.flush_links();
    switch.flush_replies(Slow(0, Some((conn, 0))));
    assert!(!switch.outbox.links.get(WorkerId(0)).unwrap().front.wants_transmit());
}

#[test]
fn a_message_of_an_earlier_dispatchers_connection_is_not_answered_on_one_with_its_number() {
    let mut switch = switch(1);
    let payload = request("INVITE", 1);
    let opened = Names::opened_by(&Scanner::new().scan(&payload).unwrap(), &Printer::new(&TokenKey::new([1; 32])));
    let reply_to = ReplyTo::Stream(ConnId::new(0, 7));
    let envelope = Envelope { transport: Transport::Tcp, reply_to, ..Envelope::plain(1) };
    let messages = vec![Unanswered { envelope, payload: payload.into() }];
    let brought = Brought { transactions: opened.into_iter().collect(), messages, ..Brought::default() };
    switch.on_link_back(WorkerId(0), Mute, &Joined::sip(Incarnation::new(1), 10_000, Vec::new()), &brought, NOW);
    switch.on_link_lost(WorkerId(0), NOW);
    switch.handle_timeout(NOW);
    assert_eq!(replies(&mut switch), []);
}

#[test]
fn a_reply_for_a_connection_that_no_lane_can_have_comes_back_as_well() {
    let mut switch = switch(1);
    let reply = Reply { conn: ConnId::GONE, bytes: b"SIP/2.0 200 OK", from: Some(WorkerId(0)) };
    switch.outbox.answers.replies.push(reply);
    assert_eq!(replies(&mut switch), []);
    assert!(switch.outbox.links.get(WorkerId(0)).unwrap().front.wants_transmit());
}

#[test]
fn workers_of_slots_get_the_certificates_with_their_link_and_after_a_reload_and_no_other_worker_does() {
    let dispatch = Dispatch::new(Setup {
        rules: Rules::default(),
        keys: Keyring::new(TokenKey::new([1; 32])),
        table_cap: 10_000,
        group_cap: 10,
        workers: 1,
        seed: 1,
    });
    let mut switch = Switch::new(dispatch, Insert::None, 16 << 20, Owners::new(0, 1, 0));
    let told = |files: &Arc<Mutex<Vec<String>>>| std::mem::take(&mut *files.lock().unwrap());
    let link = |switch: &mut Switch<Kept>, worker| {
        let files = Arc::default();
        let joined = Joined::sip(Incarnation::new(1), 10_000, Vec::new());
        let kept = Kept { frame: None, sent: Arc::default(), files: Arc::clone(&files) };
        switch.on_link(WorkerId(worker), kept, &joined, NOW);
        files
    };
    switch.set_certificates(b"one"[..].into());
    let (own, other) = (link(&mut switch, 0), link(&mut switch, 1));
    switch.flush_links();
    assert_eq!((told(&own), told(&other)), (vec!["one".to_owned()], vec![]));
    switch.set_certificates(b"two"[..].into());
    switch.set_certificates(b"two"[..].into());
    switch.flush_links();
    assert_eq!((told(&own), told(&other)), (vec!["two".to_owned()], vec![]));
}

#[test]
fn messages_are_counted_by_the_transport_that_they_came_over() {
    let mut switch = switch(1);
    let mut way = on_stream(ConnId::new(0, 7));
    for (call, transport) in [Transport::Tcp, Transport::Wss, Transport::Tcp].into_iter().enumerate() {
        way.arrival.transport = transport;
        switch.on_message(&request("OPTIONS", call), &way, NOW);
    }
    switch.on_faulty(&request("INVITE", 9), StreamFault::ContentLength, &way, NOW);
    way.owner = Owner::Vacant(WorkerId(0));
    switch.on_message(&request("OPTIONS", 10), &way, NOW);
    let totals = switch.totals();
    assert_eq!((totals.received, totals.transports.tcp, totals.transports.wss), (4, 3, 1));
    assert_eq!(totals.transports.on_connections(), 4, "what comes to a slot's own port is not received");
}
