//! Connections over real sockets, each test on a loopback address of its own.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use mio::{Poll, Token};

use super::*;
use crate::media::{Codec, Direction, Payload};
use crate::slab::Handle;
use crate::station::Media as _;
use crate::worker::media::RTP_TOKENS;

struct Rig {
    media: RtpMedia,
    ip: IpAddr,
    batch: Batch,
    _poll: Poll,
}

/// One end of a stream.
struct Phone {
    socket: UdpSocket,
    sequence: u16,
}

impl Rig {
    fn new(pairs: u16) -> Self {
        let poll = Poll::new().unwrap();
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        // Loopback addresses below those of the process tests.
        let ip = Ipv4Addr::new(127, high & 0x7f | 1, middle, low).into();
        let media = RtpMedia::new(poll.registry().try_clone().unwrap(), (20_000, 20_000 + 2 * pairs - 1), 1 << 10, 0);
        Rig { media, ip, batch: Batch::sized(32, 2_048), _poll: poll }
    }

    fn phone(&self) -> Phone {
        let socket = UdpSocket::bind((self.ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Phone { socket, sequence: 0 }
    }

    fn open(&mut self, index: u32, flow: Flow) -> u16 {
        let ask = Ask::Open { local: self.ip, flow };
        match self.media.carry_out(key(index), &ask, Time(0)) {
            Told::Opened(port) => port,
            told => panic!("{told:?}"),
        }
    }

    fn change(&mut self, index: u32, flow: Flow) {
        assert_eq!(self.media.carry_out(key(index), &Ask::Change(flow), Time(0)), Told::Changed);
    }

    fn count(&mut self, index: u32) -> (u64, u64) {
        match self.media.carry_out(key(index), &Ask::Count, Time(0)) {
            Told::Counted(counters) => (counters.packets_received, counters.packets_sent),
            told => panic!("{told:?}"),
        }
    }

    /// Sends a packet to a connection, which reads it.
    fn say(&mut self, phone: &mut Phone, port: u16) {
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&phone.sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(phone.sequence) * 160).to_be_bytes());
        packet.extend_from_slice(&7_u32.to_be_bytes());
        packet.extend_from_slice(b"sound");
        phone.sequence += 1;
        phone.socket.send_to(&packet, (self.ip, port)).unwrap();
        self.media.on_readable(Token(RTP_TOKENS + usize::from(port)), &mut self.batch, Time(0));
    }
}

impl Phone {
    /// The port that a packet has come from; `None` when none has come.
    fn hears(&self) -> Option<u16> {
        let mut buffer = [0; 2_048];
        // On loopback a packet is there as soon as it was sent.
        self.socket.set_nonblocking(true).unwrap();
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(&buffer[12..length], b"sound");
        Some(from.port())
    }
}

fn key(index: u32) -> ConnectionKey {
    ConnectionKey::new(index, 0)
}

fn flow(phone: &Phone, direction: Direction, sound: Sound) -> Flow {
    let pcmu = Payload { codec: Codec::Pcmu, receive: 0, send: 0 };
    let remote = phone.socket.local_addr().ok();
    Flow { remote, payloads: [pcmu].into_iter().collect(), ptime: 20, direction, sound }
}

#[test]
fn packets_to_a_connection_that_sends_no_sound_are_counted_and_go_nowhere() {
    let mut rig = Rig::new(2);
    let mut phone = rig.phone();
    let port = rig.open(1, flow(&phone, Direction::RecvOnly, Sound::Silence));
    rig.say(&mut phone, port);
    rig.change(1, flow(&phone, Direction::Inactive, Sound::Silence));
    rig.say(&mut phone, port);
    assert_eq!((phone.hears(), rig.count(1)), (None, (2, 0)));
    rig.change(1, flow(&phone, Direction::SendRecv, Sound::Echo));
    rig.say(&mut phone, port);
    assert_eq!((phone.hears(), rig.count(1)), (Some(port), (3, 1)), "in a test mode it comes back");
}

#[test]
fn sound_passes_between_two_connections_as_far_as_both_their_directions_let_it() {
    let mut rig = Rig::new(4);
    let (mut alice, mut bob) = (rig.phone(), rig.phone());
    let (to_bob, to_alice) = (Sound::Connection(key(2)), Sound::Connection(key(1)));
    let a = rig.open(1, flow(&alice, Direction::SendRecv, to_bob));
    let b = rig.open(2, flow(&bob, Direction::SendRecv, to_alice));
    rig.say(&mut alice, a);
    rig.say(&mut bob, b);
    assert_eq!((alice.hears(), bob.hears()), (Some(a), Some(b)), "each hears the other by its own port");
    rig.change(1, flow(&alice, Direction::RecvOnly, to_bob));
    rig.say(&mut alice, a);
    rig.say(&mut bob, b);
    assert_eq!((alice.hears(), bob.hears()), (None, Some(b)), "nothing is sent to Alice");
    rig.change(1, flow(&alice, Direction::SendOnly, to_bob));
    rig.say(&mut alice, a);
    rig.say(&mut bob, b);
    assert_eq!((alice.hears(), bob.hears()), (Some(a), None), "nothing of hers is let in");
    assert_eq!((rig.count(1), rig.count(2)), ((3, 2), (3, 2)), "all of it has arrived");
    rig.change(2, flow(&bob, Direction::SendRecv, Sound::Silence));
    rig.say(&mut alice, a);
    rig.say(&mut bob, b);
    assert_eq!((alice.hears(), bob.hears()), (None, None), "one that names nobody is no end of a bridge");
}

#[test]
fn a_closed_connection_tells_what_it_carried_and_its_port_is_free_again() {
    let mut rig = Rig::new(1);
    let mut phone = rig.phone();
    let silent = flow(&phone, Direction::SendRecv, Sound::Echo);
    let port = rig.open(1, silent);
    rig.say(&mut phone, port);
    assert!(rig.media.is_exhausted(Time(0)));
    let refused = rig.media.carry_out(key(2), &Ask::Open { local: rig.ip, flow: silent }, Time(0));
    assert_eq!(refused, Told::Failed, "there is one port");
    let Told::Closed(counters) = rig.media.carry_out(key(1), &Ask::Close, Time(0)) else { panic!("it is open") };
    assert_eq!((counters.packets_received, counters.octets_received, counters.octets_sent), (1, 5, 5));
    assert!(!rig.media.is_exhausted(Time(0)));
    assert_eq!(rig.open(2, silent), port);
    let again = rig.media.carry_out(key(1), &Ask::Close, Time(0));
    assert_eq!(again, Told::Closed(Counters::default()), "it is gone already");
    assert_eq!(rig.media.carry_out(key(1), &Ask::Change(silent), Time(0)), Told::Failed);
}

#[test]
fn a_port_that_another_program_has_is_passed_over() {
    let mut rig = Rig::new(3);
    let phone = rig.phone();
    let _taken = [20_000, 20_003].map(|port| UdpSocket::bind((rig.ip, port)).unwrap());
    assert_eq!(rig.open(1, flow(&phone, Direction::SendRecv, Sound::Echo)), 20_004, "RTCP needs the next one, too");
    assert_eq!(rig.media.taken.unsaid(), 1, "of two ports that were passed over the log names the first");
}

#[test]
fn a_peer_that_asks_for_more_ports_than_there_are_does_not_flood_the_log() {
    let mut rig = Rig::new(1);
    let phone = rig.phone();
    let ask = Ask::Open { local: rig.ip, flow: flow(&phone, Direction::SendRecv, Sound::Echo) };
    assert!(matches!(rig.media.carry_out(key(1), &ask, Time(0)), Told::Opened(_)));
    for number in 1..=100 {
        assert_eq!(rig.media.carry_out(key(2), &ask, Time(number * 99_000)), Told::Failed);
    }
    assert_eq!(rig.media.unopened.unsaid(), 9, "tried once a second, and said the first time");
    assert_eq!(rig.media.carry_out(key(2), &ask, Time(20_000_000)), Told::Failed);
    assert_eq!(rig.media.unopened.unsaid(), 0, "and again ten seconds later");
}

#[test]
fn every_free_port_is_found_however_many_another_program_has() {
    let mut rig = Rig::new(40);
    let held: Vec<_> = (0..37).map(|pair| UdpSocket::bind((rig.ip, 20_000 + 2 * pair)).unwrap()).collect();
    let phone = rig.phone();
    let mut ports: Vec<_> = (1..4).map(|n| rig.open(n, flow(&phone, Direction::RecvOnly, Sound::Silence))).collect();
    ports.sort_unstable();
    assert_eq!(ports, [20_074, 20_076, 20_078]);
    let ask = Ask::Open { local: rig.ip, flow: flow(&phone, Direction::RecvOnly, Sound::Silence) };
    assert!(matches!(rig.media.carry_out(key(9), &ask, Time(0)), Told::Failed));
    assert!(rig.media.is_exhausted(Time(0)));
    drop(held);
    assert!(matches!(rig.media.carry_out(key(9), &ask, Time(0) + super::super::EXHAUSTED_FOR), Told::Opened(_)));
}
