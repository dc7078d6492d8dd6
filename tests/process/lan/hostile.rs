//! Workers that are certified, and do not keep to the rules: they harm nobody but themselves.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pointsman::ids::ListenerId;
use pointsman::net::lan::{Connection, Credentials, Network, dial};
use pointsman::time::Time;
use pointsman::wire::handoff::{Frame, FrameBuilder, Record, frame_header};
use pointsman::words::{Dispatched, Hello, Permit, Port, Resume, features};

use super::{started, states, wait_until_up};
use crate::support::lan::{LanWorker, PORT, Site};
use crate::support::phone::Phone;
use crate::support::pointsman::Pointsman;
use crate::support::{DEADLINE, own_address, wait_for};

struct Scene {
    site: Site,
    pointsman: Pointsman,
    ip: IpAddr,
    _honest: LanWorker,
}

impl Scene {
    fn new() -> Self {
        let ip = own_address().into();
        let site = Site::new(ip, &[]);
        let pointsman = started(&site, "");
        let honest = site.worker("media1", SocketAddr::new(ip, PORT));
        wait_until_up(&pointsman, 1);
        site.certify("rogue");
        Scene { site, pointsman, ip, _honest: honest }
    }

    fn dial(&self, hello: Hello) -> (Connection, Vec<u8>) {
        let file = |kind| self.site.file(&format!("rogue.{kind}"));
        let credentials = Credentials { certificate: file("pem"), key: file("key"), ca: self.site.file("ca.pem") };
        let network = Network { host: self.ip.to_string(), port: PORT, tls: credentials.client().unwrap() };
        let (connection, words, _) = dial(&network, &frame(&[Record::Hello(hello)])).unwrap();
        (connection, words)
    }

    /// A worker that is let in; the number of its link.
    fn rogue(&self) -> (Connection, u64) {
        let (connection, words) = self.rogue_at(SocketAddr::new(own_address().into(), 6_000));
        let link = Frame::parse(&words).unwrap().find_map(|record| match record.unwrap() {
            Record::Welcome(welcome) => Some(welcome.lan.unwrap().link),
            _ => None,
        });
        (connection, link.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&words))))
    }

    /// The first words to a worker that takes calls at this address.
    fn rogue_at(&self, address: SocketAddr) -> (Connection, Vec<u8>) {
        let port = Port { service: "sip".to_owned(), address };
        let hello = Hello {
            program: "rogue".to_owned(),
            services: vec!["sip".to_owned()],
            ports: vec![port],
            features: features::over_a_network(),
            // It gets no calls, which it would not answer.
            draining: true,
            links: 64,
            ..Hello::default()
        };
        self.dial(hello)
    }

    /// The rogue is taken for dead, and calls go on.
    fn is_given_up(&self, why: &str) {
        self.pointsman.wait_for_log(why);
        self.pointsman.wait_until("the rogue to be given up", |load| states(load) == ["up", "down"]);
        self.calls_go_on();
        self.pointsman.stats("forget w1");
    }

    fn calls_go_on(&self) {
        let phone = Phone::new(self.ip);
        let dialog = phone.call(&phone.invite(self.pointsman.address(), None), self.pointsman.address());
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
}

fn frame(records: &[Record<'_>]) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    records.iter().for_each(|record| frame.push(record));
    frame.bytes().to_vec()
}

/// Says as much of something as is taken within a limited time.
fn say(connection: &mut Connection, bytes: &[u8], times: usize) {
    let mut said = 0;
    wait_for("it to be taken, or the end", DEADLINE, || {
        loop {
            match connection.flush() {
                Ok(true) if said == times => return Some(()),
                Ok(true) => {
                    connection.add(bytes);
                    said += 1;
                }
                Ok(false) => {
                    let _ = connection.recv(&mut vec![0; 1 << 17]);
                    return None;
                }
                Err(_) => return Some(()),
            }
        }
    });
}

#[test]
fn a_certified_worker_that_sends_garbage_or_frames_without_end_or_of_a_newer_version_is_given_up_alone() {
    let scene = Scene::new();
    let mut huge = frame_header(0);
    huge[4..8].fill(0xff);
    let mut newer = frame_header(0);
    newer[2] = 9;
    for (bytes, why) in [
        (&b"INVITE sip:a@b SIP/2.0\r\n\r\n"[..], "not a handoff frame"),
        (&huge, "frame"),
        (&newer, "handoff version 9"),
        (&frame(&[Record::Ping(1 << 40)]), "the other end has read"),
    ] {
        let (mut rogue, _) = scene.rogue();
        say(&mut rogue, bytes, 1);
        scene.is_given_up(why);
    }
}

#[test]
fn a_worker_that_names_the_dispatchers_address_or_another_workers_as_its_own_is_refused() {
    let scene = Scene::new();
    let others = scene.pointsman.load()["workers"][0].clone();
    let other =
        SocketAddr::new(others["address"].as_str().unwrap().parse().unwrap(), others["port"].as_u64().unwrap() as u16);
    for taken in [scene.pointsman.address(), other] {
        let (_, words) = scene.rogue_at(taken);
        let words = String::from_utf8_lossy(&words).into_owned();
        assert!(words.contains("is the dispatcher's or another worker's"), "{taken}: {words}");
    }
    scene.calls_go_on();
}

#[test]
fn a_million_records_that_mean_nothing_are_read_beside_the_calls_and_no_answer_leaves_without_a_permit() {
    let scene = Scene::new();
    let victim = Phone::new(own_address().into());
    let (mut rogue, _) = scene.rogue();
    let answer = Dispatched {
        listener: ListenerId(0),
        to: victim.address(),
        from: scene.ip,
        permit: Permit::new(1),
        bytes: b"SIP/2.0 200 OK\r\n\r\n",
    };
    say(&mut rogue, &frame(&vec![Record::Send(answer); 100]), 90);
    scene.calls_go_on();
    let names: Vec<String> = (0..1_000).map(|number| format!("conf={number}")).collect();
    let opened: Vec<_> =
        names.iter().map(|name| Record::GroupOpen { opened: Time(u64::MAX), name: name.as_bytes() }).collect();
    say(&mut rogue, &frame(&opened), 100);
    scene.calls_go_on();
    say(&mut rogue, &frame(&vec![Record::ClockAsk(Time(u64::MAX)); 1_000]), 1_000);
    scene.calls_go_on();
    say(&mut rogue, &frame(&vec![Record::Send(answer); 100]), 100);
    scene.is_given_up("impossible records");
    assert!(victim.receive(Duration::from_millis(1)).is_none());
}

#[test]
fn numbers_of_another_workers_link_or_that_no_end_has_are_refused_and_the_others_link_stays() {
    let scene = Scene::new();
    let (rogue, link) = scene.rogue();
    let resumed = |link, lane, frames| {
        let resume = Some(Resume { link, lane, frames });
        let (connection, words) = scene.dial(Hello { resume, ..Hello::default() });
        (connection, String::from_utf8_lossy(&words).into_owned())
    };
    // The other worker's, one that never was, and a lane too many.
    for other in [0, link - 1, link + 1, u64::MAX] {
        assert!(resumed(other, 0, 0).1.contains("its link is over"));
    }
    assert!(resumed(link, u16::MAX, 0).1.contains("lanes"));
    assert_eq!(states(&scene.pointsman.load()), ["up", "up"]);
    drop(rogue);
    // Far ahead: frames that were never sent.
    let resume = Some(Resume { link, lane: 0, frames: u64::MAX });
    let hello = frame(&[Record::Hello(Hello { resume, ..Hello::default() })]);
    let file = |kind| scene.site.file(&format!("rogue.{kind}"));
    let credentials = Credentials { certificate: file("pem"), key: file("key"), ca: scene.site.file("ca.pem") };
    let network = Network { host: scene.ip.to_string(), port: PORT, tls: credentials.client().unwrap() };
    assert!(dial(&network, &hello).is_err());
    scene.is_given_up("the other end has read");
}
