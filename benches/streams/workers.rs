//! The workers' ends of the links: they read frames and answer each message.

use std::io::{self, IoSlice};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use mio::{Registry, Token};
use pointsman::dispatch::decision::Joined;
use pointsman::ids::{Incarnation, Seq, WorkerId};
use pointsman::link::session::Side;
use pointsman::net::lan::certify::{End, certify};
use pointsman::net::lan::{Connection, Credentials, LanChannel};
use pointsman::net::unix::{SEND_BUFFER, SeqPacket};
use pointsman::server::link_socket::{GivenLink, LinkSocket};
use pointsman::stream::tls::Tls;
use pointsman::switch::Switch;
use pointsman::time::Time;
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::{Dispatched, ReplyTo, Report};

use super::{Case, WORKERS};

/// An answer such as a worker gives: 400 bytes.
const ANSWER: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-1\r\n";

/// A worker's end of its link.
enum Link {
    Unix(SeqPacket),
    Lan(Box<LanChannel>),
}

impl Link {
    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Unix(socket) => socket.recv(frame, &mut Vec::new()),
            Link::Lan(channel) => channel.recv(frame),
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        match self {
            Link::Unix(socket) => socket.send(&[IoSlice::new(frame)], &[]),
            Link::Lan(channel) => channel.send(&[IoSlice::new(frame)]),
        }
    }
}

/// Both ends of a link over a network, on loopback.
fn lan() -> (LanChannel, LanChannel) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ends = [End::Dispatcher(vec!["127.0.0.1".to_owned()]), End::Worker("media1".to_owned())];
    let [server, client] = ends.map(|end| {
        let (certificate, key) = certify(dir.path(), &end).unwrap();
        Credentials { certificate, key, ca: dir.path().join("ca.pem") }
    });
    let name = "127.0.0.1".try_into().unwrap();
    let mut client = Connection::new(one, Tls::client(client.client().unwrap(), name).unwrap()).unwrap();
    let mut server = Connection::new(other, Tls::server(server.server().unwrap()).unwrap()).unwrap();
    while server.peer_name().is_err() {
        assert_eq!(client.recv(&mut []).unwrap(), None);
        assert_eq!(server.recv(&mut []).unwrap(), None);
    }
    let mut ends = [Side::Dispatcher, Side::Worker].map(LanChannel::new);
    ends[0].attach(server, 0).unwrap();
    ends[1].attach(client, 0).unwrap();
    ends.into()
}

pub struct Workers {
    links: Vec<Link>,
    reports: u64,
    answers: bool,
    answer: Vec<u8>,
    buffer: Vec<u8>,
}

impl Workers {
    pub fn new(registry: &Arc<Registry>, switch: &mut Switch<LinkSocket>, case: Case) -> Self {
        let mut links = Vec::new();
        for worker in 0..WORKERS {
            let (given, theirs) = if case.afar {
                let (ours, theirs) = lan();
                (GivenLink::Lan(Box::new(ours)), Link::Lan(Box::new(theirs)))
            } else {
                let (ours, theirs) = SeqPacket::pair().unwrap();
                ours.set_buffers(SEND_BUFFER, 0).unwrap();
                (GivenLink::Unix(ours), Link::Unix(theirs))
            };
            let token = Token(usize::from(worker) + 1);
            let link = LinkSocket::register(given, Arc::clone(registry), token).unwrap();
            let address = format!("127.0.0.1:{}", 5070 + worker).parse().unwrap();
            let joined = Joined::sip(Incarnation::new(u64::from(worker) + 1), 1_000_000, vec![address]);
            switch.on_link(WorkerId(worker), link, &joined, Time(0));
            links.push(theirs);
        }
        let mut answer = ANSWER.as_bytes().to_vec();
        answer.extend_from_slice(&[b'x'; 400][answer.len()..]);
        Workers { links, reports: 0, answers: case.answers, answer, buffer: vec![0; FRAME_HARD_LIMIT] }
    }

    /// Reads all frames and answers all messages, and reports.
    pub fn answer(&mut self) {
        let Workers { links, reports, answers, answer, buffer } = self;
        for link in links {
            let mut taken: Vec<Seq> = Vec::new();
            let mut builder = FrameBuilder::new();
            while let Ok(length @ 1..) = link.recv(buffer) {
                for record in Frame::parse(&buffer[..length]).unwrap() {
                    let Ok(Record::Message(message)) = record else { continue };
                    taken.push(message.envelope.seq);
                    if let ReplyTo::Permitted(permit) = message.envelope.reply_to
                        && *answers
                    {
                        let (to, from) = (message.envelope.source, message.envelope.local.ip());
                        let listener = message.envelope.listener;
                        builder.push(&Record::Send(Dispatched { listener, to, from, permit, bytes: answer }));
                    } else if *answers {
                        builder.push(&Record::Reply { to: message.envelope.reply_to, bytes: answer });
                    }
                }
            }
            let Some(last) = taken.last().copied() else { continue };
            *reports += 1;
            builder.push_answered(&taken);
            builder.push(&Record::Report(Report {
                number: *reports,
                taken_through: last,
                covers: last,
                units_total: 1_000_000,
                ..Report::default()
            }));
            link.send(builder.bytes()).unwrap();
        }
    }
}
