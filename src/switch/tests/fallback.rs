//! Calls that the servers of a `stateful` pool do not answer and a worker gets: what goes by its link.

use super::*;
use crate::config::PoolMode;
use crate::wire::handoff::Frame;

const CALLER: &str = "192.0.2.1:4711";

/// A link that takes everything and keeps it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

impl Channel for Kept {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.0.lock().unwrap().push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
        Ok(())
    }

    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// Two workers behind two servers.
struct Rig {
    switch: Switch<Kept>,
    links: [Kept; 2],
    now: Time,
}

/// A datagram that left: its text, and the last number of the host that it went to.
type Left = (String, u8);

impl Rig {
    fn new() -> Self {
        let proxy = |(name, host): (&str, &str)| Proxy {
            name: name.to_owned(),
            host: host.to_owned(),
            port: Some(5080),
            ..Proxy::default()
        };
        let fallback = vec![Pool::WORKERS.to_owned()];
        let rules = Rules {
            pools: vec![Pool { mode: PoolMode::Stateful, fallback, ..Pool::default() }],
            proxies: [("a", "192.0.2.11"), ("b", "192.0.2.12")].map(proxy).to_vec(),
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), "192.0.2.2:5060".parse().unwrap())],
            ..Rules::default()
        };
        let keys = Keyring::new(TokenKey::new([1; 32]));
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 2, seed: 1 });
        let mut switch = Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0));
        let links = [Kept::default(), Kept::default()];
        for (worker, link) in (0..).zip(&links) {
            switch.on_link(WorkerId(worker), link.clone(), &Joined::sip(Incarnation::new(1), 10, Vec::new()), NOW);
        }
        Rig { switch, links, now: NOW }
    }

    /// The datagrams that leave.
    fn left(&mut self) -> Vec<Left> {
        let mut all = Vec::new();
        self.switch.flush_answers(|batch| {
            all.extend(batch.map(|(bytes, to): (&[u8], SocketAddr)| {
                let SocketAddr::V4(to) = to else { panic!("IPv4") };
                (String::from_utf8_lossy(bytes).into_owned(), to.ip().octets()[3])
            }));
        });
        self.switch.flush_links();
        self.switch.check();
        all
    }

    /// The messages that the workers have got since this was asked last: the worker, and the text.
    fn handed(&mut self) -> Vec<(usize, String)> {
        let mut all = Vec::new();
        for (worker, link) in self.links.iter().enumerate() {
            for frame in std::mem::take(&mut *link.0.lock().unwrap()) {
                all.extend(Frame::parse(&frame).unwrap().filter_map(|record| match record.unwrap() {
                    Record::Message(message) => {
                        assert_eq!(message.envelope.source.to_string(), CALLER);
                        Some((worker, String::from_utf8_lossy(message.payload).into_owned()))
                    }
                    _ => None,
                }));
            }
        }
        all
    }

    fn comes(&mut self, text: &str, source: &str) -> Vec<Left> {
        let ends = (source.parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    fn responds(&mut self, (request, to): &Left, status: u16) -> Vec<Left> {
        let fields = request.split_once("\r\n").unwrap().1.replace("To: <sip:a@h>", "To: <sip:a@h>;tag=p");
        self.comes(&format!("SIP/2.0 {status} X\r\n{fields}"), &format!("192.0.2.{to}:5080"))
    }

    /// Calls, and has each server refuse it with this status.
    fn refused_by_all(&mut self, status: u16) -> Vec<Left> {
        let first = self.comes(&request("INVITE"), CALLER).pop().unwrap();
        let second = self.responds(&first, status).pop().unwrap();
        self.responds(&second, status)
    }

    /// All that leaves for `span`, with both servers silent.
    fn passes(&mut self, span: Duration) -> Vec<Left> {
        let (mut all, end) = (Vec::new(), self.now + span);
        while let Some(at) = self.switch.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at) + Duration::from_micros(1);
            self.switch.handle_timeout(self.now);
            all.extend(self.left());
        }
        self.now = end;
        all
    }
}

fn request(method: &str) -> String {
    format!(
        "{method} sip:a@h.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK-1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: x@c\r\nCSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn line(text: &str) -> &str {
    text.lines().next().unwrap()
}

#[test]
fn a_worker_gets_the_call_as_it_came_once_every_server_has_refused_it_and_the_caller_hears_of_no_refusal() {
    let mut rig = Rig::new();
    let left = rig.refused_by_all(503);
    assert!(left.iter().all(|(text, to)| text.starts_with("ACK") && *to != 1), "{left:?}");
    let handed = rig.handed();
    let [(worker, text)] = &handed[..] else { panic!("{handed:?}") };
    assert_eq!(*text, request("INVITE"));
    for method in ["INVITE", "CANCEL", "ACK"] {
        assert_eq!(rig.comes(&request(method), CALLER), []);
        assert_eq!(rig.handed(), [(*worker, request(method))], "it follows");
    }
    assert_eq!(rig.passes(Duration::from_secs(60)), []);
}

#[test]
fn a_worker_whose_link_takes_nothing_leaves_the_call_of_silent_servers_to_another() {
    let mut rig = Rig::new();
    // The last number on the first link is above all later ones.
    let envelope = Envelope { received: NOW, size: 0, ..Envelope::plain(1_000_000) };
    let link = rig.switch.outbox.links.get_mut(WorkerId(0)).unwrap();
    link.front.push(&envelope, Note::default(), &[b"x"]).unwrap();
    let called = rig.comes(&request("INVITE"), CALLER);
    assert_eq!(called.len(), 1);
    let left = rig.passes(Duration::from_millis(2_200));
    assert!(left.iter().all(|(text, to)| *to != 1 || text.starts_with("SIP/2.0 100")), "{left:?}");
    let ledgers: Vec<u32> = rig.switch.dispatch().pool().iter().map(|(_, worker)| worker.ledger()).collect();
    assert_eq!(ledgers, [0, 1]);
    rig.links[0].0.lock().unwrap().clear();
    assert_eq!(rig.handed(), [(1, request("INVITE"))]);
}

#[test]
fn a_worker_gets_a_cancel_when_a_silent_server_answers_the_call_after_all() {
    let mut rig = Rig::new();
    let first = rig.comes(&request("INVITE"), CALLER).pop().unwrap();
    rig.passes(Duration::from_millis(2_200));
    let handed = rig.handed();
    let [(worker, _)] = handed[..] else { panic!("{handed:?}") };
    let success = rig.responds(&first, 200);
    assert!(matches!(&success[..], [(text, 1)] if text.starts_with("SIP/2.0 200")), "{success:?}");
    let cancel = rig.handed();
    let [(at, text)] = &cancel[..] else { panic!("{cancel:?}") };
    assert_eq!((*at, line(text)), (worker, "CANCEL sip:a@h.example.net SIP/2.0"));
    for field in ["Via: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK-1", "CSeq: 7 CANCEL", "Call-ID: x@c"] {
        assert!(text.contains(&format!("{field}\r\n")), "RFC 3261 §9.1: {text}");
    }
    assert_eq!(rig.passes(Duration::from_secs(60)), []);
}
